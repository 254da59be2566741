"""What lies below an attribution: colours and spectra of the cube, or the quick look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import BandError, CubeError, ResultError
from xrxai.explorer.window import Window, chunks_of, read, read_means
from xrxai.labelled.axes import FILL_ATTRS, is_fill
from xrxai.labelled.cube import Cube, locate
from xrxai.plot.grid import Grid, grid
from xrxai.plot.picture import (
    TRUE_COLOUR,
    colour_bands,
    colour_mean,
    stretch_limits,
    stretched,
)
from xrxai.plot.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Lead = tuple[tuple[str, int], ...]
"""Positions along the dims before bands and pixels."""


class Backdrop:
    """Reads colours of a window and spectra of a pixel; without a cube, the explanation's own."""

    def __init__(self, cube: xr.DataArray | None, seen: View, lead: Iterable[str]) -> None:
        self.place = None if cube is None else _located(cube, seen, tuple(lead))
        self._stretch: dict[Lead, tuple[Floats, Floats]] = {}
        self._bands: tuple[list[NDArray[Any]], str] | None = None
        place = self.place
        if place is not None and place.y is not None:
            try:
                self._bands = colour_bands(
                    place.data, place.band, place.wavelength, place.good_band, TRUE_COLOUR
                )
            except BandError:  # a sensor of the infrared has no such bands
                self._bands = None

    @property
    def grid(self) -> Grid | None:
        """Where the pixels of the cube lie."""
        if self.place is None or self.place.y is None or self.place.x is None:
            return None
        return grid(self.place.data, self.place.y, self.place.x)

    def has_colours(self, seen: View) -> bool:
        """Whether there is a picture."""
        if self.place is not None:
            return self._bands is not None
        return "rgb" in seen.dataset and {seen.y, seen.x} <= set(seen.dataset["rgb"].dims)

    def said(self, seen: View) -> str:
        """Return which bands make the picture, in words."""
        if self.place is not None:
            return "" if self._bands is None else self._bands[1]
        rgb = seen.dataset.get("rgb")
        return "" if rgb is None else str(rgb.attrs.get("wavelengths", ""))

    def picture(self, seen: View, lead: Lead, window: Window, every: Window) -> Floats:
        """Return the true colours in a window, (y, x, rgba).

        The contrast is that of the window `every`, of the whole scene.
        """
        found = self._colours(seen, lead, window)
        if lead not in self._stretch:
            whole = found if window == every else self._colours(seen, lead, every)
            self._stretch[lead] = stretch_limits(*whole, "channel")
        return stretched(*found, *self._stretch[lead])

    def _colours(self, seen: View, lead: Lead, window: Window) -> tuple[Floats, NDArray[np.bool_]]:
        place = self.place
        if place is None:
            rgb = seen.dataset["rgb"].transpose("channel", seen.y, seen.x)
            colours = read(rgb, seen.y, seen.x, window, chunks_of(rgb)).astype(np.float64)
            return colours, np.asarray(np.isfinite(colours).all(axis=0))
        assert place.y is not None
        assert place.x is not None
        assert self._bands is not None
        data, chunks = self._at(place, lead), chunks_of(place.data)
        dims = (place.band, place.y, place.x)
        channels = []
        for positions in self._bands[0]:
            values = read(data.isel({place.band: positions}), place.y, place.x, window, chunks)
            channels.append(colour_mean(xr.DataArray(values, dims=dims), place.data.attrs))
        stacked = np.stack(channels)
        keep = np.asarray(np.isfinite(stacked).all(axis=0))
        valid = seen.dataset.get("valid")
        if valid is not None and {seen.y, seen.x} == set(valid.dims):
            keep &= read(valid, seen.y, seen.x, window, chunks_of(valid)).astype(bool)
        return stacked, keep

    def spectrum(self, lead: Lead, row: int, column: int) -> Floats | None:
        """Return the cube's values at a pixel, (band,); None without the cube."""
        place = self.place
        if place is None or place.y is None or place.x is None:
            return None
        data = self._at(place, lead).isel({place.y: row, place.x: column})
        data = _without_fill(data.load() if data.chunks is None else data.compute(), place)
        return np.where(place.good_band, data.to_numpy().astype(np.float64), np.nan)

    def means(self, lead: Lead, window: Window) -> NDArray[np.float32] | None:
        """Return means of k x k pixels of the cube, (band, y, x); None without the cube."""
        place = self.place
        if place is None or place.y is None or place.x is None:
            return None
        data = _without_fill(self._at(place, lead), place)
        found = read_means(data, place.y, place.x, window, chunks_of(place.data))
        found[~place.good_band] = np.nan
        return found

    @staticmethod
    def _at(place: Cube, lead: Lead) -> xr.DataArray:
        data = place.data.isel({d: i for d, i in lead if d in place.lead})
        assert place.y is not None
        assert place.x is not None
        return data.transpose(place.band, place.y, place.x)


def _without_fill(data: xr.DataArray, place: Cube) -> xr.DataArray:
    for name in FILL_ATTRS:
        if name in place.data.attrs:
            data = data.where(~is_fill(data, place.data.attrs[name]))
    return data


def _located(cube: xr.DataArray, seen: View, lead: tuple[str, ...]) -> Cube:
    """Find the dims of a cube, and refuse one that is not of the explanation."""
    place = locate(cube)
    alone = [d for d in place.lead if d not in lead]
    for dim in alone:
        if cube.sizes[dim] != 1:
            raise CubeError(
                f"The explorer shows one cube, and this one has {dim}: {cube.sizes[dim]}. "
                f"Type .isel({dim}=0) to take the first."
            )
    if alone:
        place = locate(cube.squeeze(alone))
    sizes = seen.dataset.sizes
    for own, theirs in ((place.band, seen.band), (place.y, seen.y), (place.x, seen.x)):
        if own is not None and theirs in sizes and cube.sizes[own] != sizes[theirs]:
            raise ResultError(
                f"The cube has {own}: {cube.sizes[own]} and the explanation {theirs}: "
                f"{sizes[theirs]}: pass the cube that was explained."
            )
    return place
