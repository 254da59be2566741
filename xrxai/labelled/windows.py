"""Sliding windows: which bands and pixels each covers, and how a result says so."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xrxai import patterns
from xrxai.errors import BandError, SegmentError, at_least, pair, positive
from xrxai.labelled.cube import Cube


class BandWindows(NamedTuple):
    """inside (window, band) bool; low, high (window,) in nm or positions."""

    inside: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stride: float

    def repeated(self, times: int) -> BandWindows:
        """Each window several times in a row."""
        inside, low, high = (
            np.repeat(a, times, axis=0) for a in (self.inside, self.low, self.high)
        )
        return BandWindows(inside, low, high, self.stride)


class PixelWindows(NamedTuple):
    """Windows of pixels, their size and the step between them."""

    pattern: patterns.Boxes
    window: tuple[int, int]
    stride: tuple[int, int]


def over_bands(
    place: Cube, window: float, stride: float | None, unit: str, at: str = ""
) -> BandWindows:
    """Windows of a width in nm or bands that hold a good band; stride None is half the window.

    `at` is where the two stand in what the user wrote, for messages.
    """
    n_bands = place.good_band.size
    if unit == "band":
        at_least(window, 1, f"window{at}")
        stride = max(1, int(window) // 2) if stride is None else stride
        at_least(stride, 1, f"stride{at}")
        if window > n_bands:
            raise BandError(
                f"window{at}={window} bands is wider than the cube, which has {n_bands}; "
                f"type window{at}={n_bands} or less."
            )
        ends = patterns.windows(n_bands, int(window), int(stride))
        inside = np.zeros((len(ends), n_bands), dtype=bool)
        for row, (start, stop) in zip(inside, ends, strict=True):
            row[start:stop] = True
    else:
        positive(window, f"window{at}", 50)
        stride = window / 2 if stride is None else stride
        positive(stride, f"stride{at}", 25)
        inside = _by_nm(place.require_wavelength(), window, stride)
    inside &= place.good_band
    inside = inside[inside.any(axis=1)]
    if not len(inside):
        raise BandError("No window holds a good band; widen window= or lower stride=.")
    scale = np.arange(n_bands) if place.wavelength is None else place.wavelength
    low = np.array([scale[row].min() for row in inside], dtype=float)
    high = np.array([scale[row].max() for row in inside], dtype=float)
    return BandWindows(inside, low, high, stride)


def _by_nm(wavelength: np.ndarray, window: float, stride: float) -> np.ndarray:
    first, last = np.nanmin(wavelength), np.nanmax(wavelength)
    count = max(0, int(np.ceil((last - first - window) / stride))) + 1
    start = first + stride * np.arange(count)[:, None]
    # Half open, so that windows side by side share no band; the last one is closed.
    stop = np.where(np.arange(count)[:, None] == count - 1, np.inf, start + window)
    inside: np.ndarray = (wavelength >= start) & (wavelength < stop)
    return inside


def over_pixels(
    place: Cube,
    window: int | tuple[int, int],
    stride: int | tuple[int, int] | None,
    at: str = "",
) -> PixelWindows:
    """Windows of pixels; stride None is half the window."""
    size = (place.data.sizes[place.y], place.data.sizes[place.x])
    high, wide = pair(window, f"window{at}", 16)
    half = (max(1, high // 2), max(1, wide // 2))
    down, right = half if stride is None else pair(stride, f"stride{at}", 16)
    if high > size[0] or wide > size[1]:
        raise SegmentError(
            f"window{at}=({high}, {wide}) is larger than the cube of {size[0]} x {size[1]} "
            f"pixels; type window{at}=({min(high, size[0])}, {min(wide, size[1])}) or less."
        )
    rows = patterns.windows(size[0], high, down)
    columns = patterns.windows(size[1], wide, right)
    return PixelWindows(patterns.Boxes(rows, columns), (high, wide), (down, right))


def quarters(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) cut in halves along both axes: their parts (m, 4), and of which each is one.

    What is one pixel high or wide is not cut along that axis, and one pixel has no parts.
    """
    found, parent = [], []
    for i, (top, bottom, left, right) in enumerate(boxes.tolist()):
        rows = sorted({top, (top + bottom + 1) // 2, bottom})
        columns = sorted({left, (left + right + 1) // 2, right})
        if len(rows) + len(columns) > 4:
            for a, b in itertools.pairwise(rows):
                for c, d in itertools.pairwise(columns):
                    found.append((a, b, c, d))
                    parent.append(i)
    return np.array(found, dtype=int).reshape(-1, 4), np.array(parent, dtype=int)


def band_coords(place: Cube, bands: BandWindows) -> dict[str, Any]:
    """Coords along `window` for windows of bands."""
    about = {"units": "nm"} if place.wavelength is not None else {"units": "1"}
    return {
        "window": ("window", np.arange(1, len(bands.inside) + 1)),
        "window_min": ("window", bands.low, about),
        "window_max": ("window", bands.high, about),
    }


def pixel_coords(boxes: np.ndarray) -> dict[str, Any]:
    """Coords along `window` for windows of pixels: half-open ranges of rows and columns."""
    names = ("row_start", "row_stop", "column_start", "column_stop")
    return {
        "window": ("window", np.arange(1, len(boxes) + 1)),
        **{f"window_{name}": ("window", boxes[:, i]) for i, name in enumerate(names)},
    }


def band_in_window(place: Cube, bands: BandWindows) -> dict[str, xr.DataArray]:
    """The membership, as a variable of the result."""
    about = {"long_name": "the window covers the band"}
    return {"band_in_window": xr.DataArray(bands.inside, dims=("window", place.band), attrs=about)}
