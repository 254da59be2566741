"""The explanation on the scene: signs over a grey picture, or only what matters in colour."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError, choice
from xrxai.labelled.top import highest
from xrxai.plot.grid import draw_image, hatch_ground, scale_bar
from xrxai.plot.outlines import draw_edges
from xrxai.plot.picture import Picture
from xrxai.plot.reading import Field, Map, coloured, picture_of, read_field
from xrxai.plot.style import (
    Scale,
    canvas,
    colour_bar,
    head_line,
    house_style,
    scale,
    with_grey_nan,
)
from xrxai.plot.view import View, head, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

# Weak values let the scene through; the white middle of a map would hide it.
STRONGEST, POWER = 0.9, 0.7
# Share of a map of two colours that is left out at each end: its darkest red and blue over a scene
# are too alike for those who see no red: CIEDE2000 17 apart, and 31 without the ends.
DARKEST = 0.08
# Where nothing was explained the scene is this faint over the hatched ground.
UNEXPLAINED = 0.35


def overlay(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    target: str | None = None,
    robust: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the attribution over the scene in grey: the stronger, the less of the scene shows.

    Values are summed over bands or groups. The opacity is ``0.9 * (|a| / limit) ** 0.7``, and
    the colour bar shows each value as it looks over the median grey of the scene. Where nothing
    was explained the scene is faint and hatched.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values in space: per pixel, per window or per segment.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained: the scene is made of it. Without it, the
        explanation's quick look is taken.
    target : str, optional
        The target to draw; needed when the explanation has several.
    robust : bool
        Limit at the 98th percentile of ``|attribution|`` (99th when nothing is negative); False
        takes the largest.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        The panel, labelled "overlay".

    Raises
    ------
    ResultError
        If the explanation has no values in space, several samples or targets, or no quick look
        and no cube was given.
    """
    seen = view(explanation, target)
    field = read_field(seen)
    picture = _scene(seen, field, cube, "overlay")
    scaled = _lighter(scale(field.values, robust=robust, signed=field.signed))
    title = f"{field.what}, {scaled.note}" if scaled.note else field.what
    drawn = coloured(field, seen, scaled, title)
    return _on(ax, seen, picture, lambda panel: _draw_overlay(panel, drawn, picture))


def top(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    q: float = 0.7,
    background: Literal["fade", "black"] = "fade",
    target: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the scene in colour where the attribution is strong, and pale or black elsewhere.

    The pixels are those of ``explanation.xai.top(1 - q)``: the highest ``|attribution|``, or the
    highest values where nothing is negative and for XRAI, whose regions are ranked by value.
    Pixels of one value, as in a segment, come together; the title tells when they are more than
    was asked for.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values in space: per pixel (summed over bands), per window or per
        segment.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained: the scene is made of it. Without it, the
        explanation's quick look is taken.
    q : float
        Quantile of the valid pixels, from 0 to below 1. Higher keeps less.
    background : {"fade", "black"}
        What the other pixels become: light grey, or black as in the figures of XRAI. Pixels
        without any measurement are grey either way.
    target : str, optional
        The target to draw; needed when the explanation has several.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        The panel, labelled "top".

    Raises
    ------
    OptionError
        If `q` is not from 0 to below 1.
    ResultError
        If the explanation has no values in space, several samples or targets, or no quick look
        and no cube was given.
    """
    choice(background, ("fade", "black"), "background")
    if isinstance(q, bool) or not (isinstance(q, Real) and 0 <= q < 1):
        raise OptionError(f"q={q!r} is not a number from 0 to below 1; type for example q=0.7.")
    seen = view(explanation, target)
    field = read_field(seen)
    picture = _scene(seen, field, cube, "top")
    absolute = field.signed and seen.dataset.attrs.get("method") != "xrai"
    kept = highest(np.abs(field.values) if absolute else field.values, 1.0 - q)
    valid = np.isfinite(field.values)
    rgba = picture.rgba.copy()
    rest = 0.0 if background == "black" else 0.35 * picture.rgba[..., :3].mean(axis=-1) + 0.6
    rgba[..., :3] = np.where(kept[..., None], rgba[..., :3], np.atleast_2d(rest)[..., None])
    what = "|attribution|" if absolute else "attribution"
    if not valid.any():
        title = "No valid pixels"
    elif not np.nan_to_num(field.values).any():
        title = "Attribution is all zero"
    else:
        share = 100 * float(kept.sum() / valid.sum())
        ties = f" ({share:.0f} % with ties)" if share > 100 * (1 - q) + 1 else ""
        title = f"Top {100 * (1 - q):.3g} % of {what}{ties}"
    made = replace(picture, rgba=rgba, title=title)
    return _on(ax, seen, picture, lambda panel: _draw_top(panel, made))


def _scene(seen: View, field: Field, cube: xr.DataArray | None, name: str) -> Picture:
    picture = picture_of(seen, cube)
    if picture is None:
        raise ResultError(
            "This explanation has no quick look 'rgb' (no bands near 660, 550 and 480 nm) to draw "
            f"on; pass the cube: plot.{name}(explanation, cube)."
        )
    theirs, own = picture.placed, field.placed
    if (theirs.rows, theirs.columns) != (own.rows, own.columns):
        raise ResultError(
            f"The cube has {theirs.rows} × {theirs.columns} pixels and the explanation "
            f"{own.rows} × {own.columns}: pass the cube that was explained."
        )
    return picture


def _on(ax: Axes | None, seen: View, picture: Picture, draw: Any) -> Axes:
    """Draw on the axes of the user, or in a new figure with a head line."""
    if ax is not None:
        with house_style():
            draw(ax)
        return ax
    with canvas(5.4, 1.1 + 4.0 * min(max(picture.placed.ratio(), 0.35), 2.0)) as figure:
        head_line(figure, head(seen))
        panel = figure.add_subplot()
        draw(panel)
    return panel


def _draw_overlay(ax: Axes, drawn: Map, picture: Picture) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    ax.set_label("overlay")
    known = np.isfinite(drawn.values)
    base = picture.grey
    ground = base[known & (base[..., 3] > 0), 0]
    base[..., 3] *= np.where(known, 1.0, UNEXPLAINED)
    draw_image(ax, drawn.placed, base, picture.step, None)
    image = draw_image(ax, drawn.placed, drawn.values, drawn.step, drawn.scaled)
    image.set_alpha(_opacity(np.nan_to_num(drawn.values), drawn.scaled))
    hatch_ground(ax)
    ax.set_title(drawn.title)
    if drawn.ids is not None:
        draw_edges(ax, drawn.ids, drawn.placed, drawn.step, colour="black", width=0.5)
    grey = float(np.median(ground)) if ground.size else 0.5
    seen_through = ScalarMappable(
        Normalize(drawn.scaled.low, drawn.scaled.high), _over(drawn.scaled, grey)
    )
    colour_bar(ax, seen_through, drawn.scaled, drawn.label)
    scale_bar(ax, drawn.placed)


def _lighter(scaled: Scale) -> Scale:
    """Leave the darkest ends of two colours out."""
    from matplotlib.colors import ListedColormap

    if scaled.low == 0.0:
        return scaled
    colours = scaled.cmap(np.linspace(DARKEST, 1.0 - DARKEST, 257))
    return replace(scaled, cmap=with_grey_nan(ListedColormap(colours, name=scaled.cmap.name)))


def _opacity(values: NDArray[np.float64], scaled: Scale) -> NDArray[np.float64]:
    strength: NDArray[np.float64] = (np.abs(values) / scaled.high).clip(0.0, 1.0)
    return STRONGEST * strength**POWER


def _over(scaled: Scale, grey: float) -> Colormap:
    """Return the colours of a scale as they look over a grey."""
    from matplotlib.colors import ListedColormap

    # The middle of each of 257 steps: an odd number has zero in the middle.
    at = (np.arange(257) + 0.5) / 257
    opacity = _opacity(scaled.low + at * (scaled.high - scaled.low), scaled)[:, None]
    return ListedColormap(opacity * scaled.cmap(at)[:, :3] + (1 - opacity) * grey)


def _draw_top(ax: Axes, made: Picture) -> None:
    ax.set_label("top")
    draw_image(ax, made.placed, made.rgba, made.step, None)
    ax.set_title(made.title)
    scale_bar(ax, made.placed)
