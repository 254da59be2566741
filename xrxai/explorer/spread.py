"""Values of tiles and regions, laid over the pixels of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.explorer.window import Window, chunks_of, read
from xrxai.plot.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Spread:
    """Which tile or region each pixel is in."""

    def __init__(self, seen: View) -> None:
        self._y, self._x, self._of = seen.y, seen.x, seen.dataset
        self.dims = _dims(seen)
        self._lines: list[NDArray[np.int64]] = []
        if self.dims[:1] == ("tile_y",):
            for own, word in ((seen.y, "row"), (seen.x, "column")):
                number = np.full(seen.dataset.sizes[own], -1)
                ends = (seen.dataset[f"tile_{word}_{end}"].to_numpy() for end in ("start", "stop"))
                for i, (start, stop) in enumerate(zip(*ends, strict=True)):
                    number[start:stop] = i
                self._lines.append(number)

    def places(self, window: Window) -> list[NDArray[np.int64]]:
        """Return positions along the dims for the pixels of a window, -1 in none."""
        if self._lines:
            ends = (window.rows, window.columns)
            rows, columns = (
                line[slice(*e, window.step)] for line, e in zip(self._lines, ends, strict=True)
            )
            return list(np.broadcast_arrays(rows[:, None], columns[None]))
        raster = self._of["region_of_pixel"]
        return [np.asarray(read(raster, self._y, self._x, window, chunks_of(raster))) - 1]

    def take(self, values: xr.DataArray, window: Window) -> NDArray[np.float64]:
        """Return values of tiles or regions at the pixels of a window, (..., y, x)."""
        others = [d for d in values.dims if d not in self.dims]
        found = np.asarray(values.transpose(*others, *self.dims).to_numpy(), dtype=np.float64)
        places = [p.astype(np.int64) for p in self.places(window)]
        inside = np.logical_and.reduce([p >= 0 for p in places])
        index: Any = (..., *(p.clip(0) for p in places))
        return np.where(inside, found[index], np.nan)

    def pixel(self, row: int, column: int) -> dict[Any, int] | None:
        """Return the position along each dim at a pixel, None where it is in none."""
        places = self.places(Window((row, row + 1), (column, column + 1), 1))
        at = {d: int(p[0, 0]) for d, p in zip(self.dims, places, strict=True)}
        return None if min(at.values()) < 0 else at


def _dims(seen: View) -> tuple[str, ...]:
    dataset, dims = seen.dataset, set(map(str, seen.attribution.dims))
    if not {seen.y, seen.x} <= set(dataset.dims) or seen.per_pixel:
        return ()
    if {"tile_y", "tile_x"} <= dims and "tile_row_start" in dataset.coords:
        return ("tile_y", "tile_x")
    if "region" in dims and "region_of_pixel" in dataset:
        plain = set(dataset["region_of_pixel"].dims) == {seen.y, seen.x}
        return ("region",) if plain else ()
    return ()
