"""A scene cut into chips, each a sample of its own, and results put together again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import CubeError

if TYPE_CHECKING:
    from xrxai.labelled.cube import Cube

ROW, COLUMN = "tile_y", "tile_x"


@dataclass(frozen=True, eq=False)
class Chips:
    """How a scene is cut: chips of `size` (rows, columns), the last ones filled up with nodata."""

    scene: Cube
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of chips along rows and columns."""
        rows, columns = (-(-n // side) for n, side in self._sides())
        return rows, columns

    def _sides(self) -> list[tuple[int, int]]:
        sizes = self.scene.data.sizes
        return [(sizes[d], s) for d, s in zip(self._dims(), self.size, strict=True)]

    def _dims(self) -> tuple[str, str]:
        y, x = self.scene.y, self.scene.x
        assert y is not None  # a model that takes a patch has been refused before
        assert x is not None
        return y, x

    def cut(self, array: xr.DataArray, fill: Any) -> xr.DataArray:
        """(..., y, x) -> (tile_y, tile_x, ..., y, x); what has no rows or columns stays."""
        y, x = self._dims()
        if y not in array.dims and x not in array.dims:
            return array
        both = array.expand_dims([d for d in (y, x) if d not in array.dims])
        sizes = self.scene.data.sizes
        # A single row or column stands for all of them.
        both = both.broadcast_like(xr.DataArray(np.empty((sizes[y], sizes[x])), dims=(y, x)))
        rest = [d for d in both.dims if d not in (y, x)]
        gone = [n for n, c in both.coords.items() if {y, x} & set(c.dims)]
        both = both.drop_vars(gone).transpose(*rest, y, x)
        ends = {d: (0, -n % s) for d, (n, s) in zip((y, x), self._sides(), strict=True)}
        whole = both.pad(ends, constant_values=fill) if any(e[1] for e in ends.values()) else both
        if hasattr(whole.data, "dask"):
            whole = whole.chunk(self._chunks(whole))
        (rows, columns), (h, w) = self.shape, self.size
        lead = whole.shape[:-2]
        data = whole.data.reshape(*lead, rows, h, columns, w)
        found = xr.DataArray(
            data, dims=(*rest, ROW, y, COLUMN, x), coords=both.coords, attrs=array.attrs
        )
        return found.transpose(ROW, COLUMN, *rest, y, x)

    def _chunks(self, whole: xr.DataArray) -> dict[str, int]:
        """Chunks that hold whole chips, near those that are there."""
        sides = dict(zip(self._dims(), self.size, strict=True))
        return {d: -(-max(whole.chunksizes[d]) // s) * s for d, s in sides.items()}

    def place(self) -> Cube:
        """Give the scene as a cube of chips."""
        scene = self.scene
        data = scene.data
        if data.dtype.kind != "f":
            data = data.astype(np.float32 if data.dtype.itemsize < 4 else np.float64)
        taken = {ROW, COLUMN} & set(map(str, data.dims))
        if taken:
            raise CubeError(
                f"The cube has the dim {taken.pop()!r}, by which the chips of a scene are counted; "
                f"type cube.rename(...) to give it another name."
            )
        cut = self.cut(data, np.nan)
        cut.encoding = dict(scene.data.encoding)
        return replace(scene, data=cut, lead=(ROW, COLUMN, *scene.lead), chips=self)

    def valid(self, valid: xr.DataArray) -> xr.DataArray:
        """Cut a map of valid pixels; those beyond the scene are not."""
        return self.cut(valid.reset_coords(drop=True), False)

    def join(self, array: xr.DataArray) -> xr.DataArray:
        """(tile_y, tile_x, ..., y, x) -> (..., y, x); what has no rows or columns stays."""
        y, x = self._dims()
        if y not in array.dims:
            return array
        rest = [d for d in array.dims if d not in (ROW, COLUMN, y, x)]
        same = [d for d in (ROW, COLUMN) if d not in array.dims]  # what is the same in every chip
        array = array.expand_dims({d: self.shape[d == COLUMN] for d in same})
        ordered = array.transpose(*rest, ROW, y, COLUMN, x)
        (rows, columns), (h, w) = self.shape, self.size
        data = ordered.data.reshape(*ordered.shape[: len(rest)], rows * h, columns * w)
        kept = {n: c for n, c in array.coords.items() if not {ROW, COLUMN, y, x} & set(c.dims)}
        made = xr.DataArray(data, dims=(*rest, y, x), coords=kept, attrs=array.attrs)
        (n_rows, _), (n_columns, _) = self._sides()
        return made.isel({y: slice(n_rows), x: slice(n_columns)})

    def coords(self) -> dict[str, xr.Variable]:
        """Where the chips are."""
        rows, columns = (tuple([*range(0, n, s), n]) for n, s in self._sides())
        return coords(self.scene, (rows, columns))

    def extra(self) -> dict[str, xr.DataArray]:
        """Nothing more."""
        return {}


def coords(scene: Cube, edges: tuple[tuple[int, ...], tuple[int, ...]]) -> dict[str, xr.Variable]:
    """Coordinates along tile_y and tile_x: centres, and half-open ranges of rows and columns."""
    out: dict[str, xr.Variable] = {}
    for dim, own, ends, word in (
        (ROW, scene.y, edges[0], "row"),
        (COLUMN, scene.x, edges[1], "column"),
    ):
        start, stop = np.array(ends[:-1]), np.array(ends[1:])
        middle = (start + stop - 1) / 2
        given = scene.data.coords.get(own)
        about: dict[str, Any] = {"long_name": f"centre of the tile's {word}s"}
        if given is not None and given.ndim == 1 and given.dtype.kind in "fiu":
            values = given.values
            middle = (values[start].astype(float) + values[stop - 1]) / 2
            about |= {k: given.attrs[k] for k in ("units",) if k in given.attrs}
        out[dim] = xr.Variable(dim, middle, about)
        out[f"tile_{word}_start"] = xr.Variable(dim, start)
        out[f"tile_{word}_stop"] = xr.Variable(dim, stop)
    return out
