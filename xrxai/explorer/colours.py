"""Colours of the screen: those of the static figures, as Bokeh takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.plot.grid import Grid
from xrxai.plot.style import Scale, sign_colours

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How fast a value becomes visible over the picture: 1 hides the small ones, 0 hides the picture.
FADE = 0.6


def palette(scaled: Scale, *, over_picture: bool) -> list[str]:
    """Return 256 colours from the low limit to the high one.

    Over a picture what is near zero is transparent: the white middle of a signed map would hide
    the scene.
    """
    t = np.linspace(0.0, 1.0, 256)
    rgba = np.array(scaled.cmap(t))
    if over_picture:
        span = scaled.high - scaled.low
        value = scaled.low + t * span
        rgba[:, 3] = (np.abs(value) / max(abs(scaled.low), abs(scaled.high))) ** FADE
    return [_hex(colour) for colour in rgba]


def signs() -> tuple[str, str]:
    """Return the colours of positive and of negative values."""
    positive, negative = sign_colours()
    return _hex(positive)[:7], _hex(negative)[:7]


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{round(float(c) * 255):02x}" for c in colour)


def packed(rgba: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return colours (y, x, rgba) between 0 and 1 as one number per pixel."""
    octets = np.ascontiguousarray((rgba * 255).round().astype(np.uint8))
    numbers: NDArray[np.uint32] = octets.view(np.uint32)[..., 0]
    return numbers


def upright(image: NDArray[Any], placed: Grid) -> NDArray[Any]:
    """Turn a raster so that its first row is at the lowest y, and its first column at the lowest x.

    That is how Bokeh takes images, whichever way the axes run.
    """
    if placed.top > placed.bottom:
        image = image[::-1]
    if placed.left > placed.right:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
