"""How the variables of a lazy explanation lie on its tiles: what one tile writes, and where."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import xarray as xr

Position = tuple[int, ...]
_CHUNK_BYTES = 2**25  # a map of one target is read without the other targets
_PER_TILE = "#"


@dataclass(frozen=True)
class Layout:
    """Sizes of the tiles along each grid dim, and the grid dim of every axis of every variable.

    An axis that has one entry per tile is marked with a "#"; None is an axis that no tile cuts.
    """

    tiles: Mapping[str, tuple[int, ...]]
    axes: Mapping[str, tuple[str | None, ...]]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of tiles along each grid dim."""
        return tuple(len(sizes) for sizes in self.tiles.values())

    @cached_property
    def _edges(self) -> dict[str, list[int]]:
        return {d: [0, *itertools.accumulate(sizes)] for d, sizes in self.tiles.items()}

    def positions(self) -> Iterator[Position]:
        """Every tile, the last grid dim running fastest."""
        return itertools.product(*(range(n) for n in self.shape))

    def writes(self, at: Position) -> list[str]:
        """Variables that the tile writes: one without a grid dim is written by its first tiles."""
        where = dict(zip(self.tiles, at, strict=True))
        out = []
        for name, axes in self.axes.items():
            own = {axis.removeprefix(_PER_TILE) for axis in axes if axis is not None}
            if all(i == 0 for dim, i in where.items() if dim not in own):
                out.append(name)
        return out

    def region(self, name: str, at: Position) -> tuple[slice, ...]:
        """Where in the variable the tile lies."""
        where = dict(zip(self.tiles, at, strict=True))
        out = []
        for axis, n in zip(self.axes[name], self.shapes[name], strict=True):
            if axis is None:
                out.append(slice(0, n))
            elif axis.startswith(_PER_TILE):
                i = where[axis.removeprefix(_PER_TILE)]
                out.append(slice(i, i + 1))
            else:
                i, edges = where[axis], self._edges[axis]
                out.append(slice(edges[i], edges[i + 1]))
        return tuple(out)

    def block(self, name: str, at: Position) -> Position:
        """Index of the block of the variable's dask array."""
        where = dict(zip(self.tiles, at, strict=True))
        return tuple(
            0 if axis is None else where[axis.removeprefix(_PER_TILE)] for axis in self.axes[name]
        )

    def chunks(self, name: str, itemsize: int) -> tuple[int, ...]:
        """Chunk of the variable in the store: a tile, or a part of one along the other axes."""
        out = []
        for axis, n in zip(self.axes[name], self.shapes[name], strict=True):
            if axis is None:
                out.append(n)
            else:
                out.append(1 if axis.startswith(_PER_TILE) else self.tiles[axis][0])
        # Targets come first: they are what is read apart.
        for i, axis in enumerate(self.axes[name]):
            if axis is None and math.prod(out) * itemsize > _CHUNK_BYTES:
                rest = max(1, math.prod(out) // max(1, out[i]) * itemsize)
                out[i] = max(1, _CHUNK_BYTES // rest)
        return tuple(max(1, n) for n in out)

    def to_json(self) -> dict[str, Any]:
        """Lists and strings."""
        return {
            "tiles": {d: list(s) for d, s in self.tiles.items()},
            "axes": {n: list(a) for n, a in self.axes.items()},
            "shapes": {n: list(s) for n, s in self.shapes.items()},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Layout:
        """What to_json gave."""
        return cls(
            *({str(k): tuple(v) for k, v in found[part].items()} for part in cls.__annotations__)
        )


def lay_out(ds: xr.Dataset) -> tuple[Layout, dict[str, xr.Variable]]:
    """Layout of a lazy explanation, and its variables on tiles, each cut as the layout says.

    Lazy variables without the dims that the tiles cut (spectra over all pixels) are in neither.
    """
    lazy = {str(n): v for n, v in ds.variables.items() if v.chunks is not None}
    per_tile = _per_tile(ds)
    main = lazy.get("attribution")
    if main is None and ds.attrs.get("method") == "predict":
        main = lazy.get("prediction")
    if main is None:
        main = max(lazy.values(), key=lambda v: math.prod(map(len, v.chunks or ())))
    tiles = {}
    for d, sizes in main.chunksizes.items():
        dim = per_tile.get(str(d), str(d))
        whole = _seen(lazy, dim, ds.sizes[d], ds.sizes.get(dim)) if dim != d else _regular(sizes)
        if len(whole) > 1:
            tiles[dim] = whole
    spatial = [d for d in per_tile.values() if d in tiles]
    needed = set(spatial or tiles)
    axes, cut = {}, {}
    for name, variable in lazy.items():
        own = tuple(_axis(str(d), variable.sizes[d], tiles, per_tile) for d in variable.dims)
        if variable.dtype.kind not in "biufc" or not needed <= {
            a.removeprefix(_PER_TILE) for a in own if a is not None
        }:
            continue
        axes[name] = own
        wanted = {
            d: variable.sizes[d] if a is None else 1 if a.startswith(_PER_TILE) else tiles[a]
            for d, a in zip(variable.dims, own, strict=True)
        }
        cut[name] = variable.chunk(wanted)
    return Layout(tiles, axes, {n: v.shape for n, v in cut.items()}), cut


def _per_tile(ds: xr.Dataset) -> dict[str, str]:
    """Dims with one entry per tile, and the dims of the pixels of those tiles."""
    out: dict[str, str] = {}
    for axis in ("y", "x"):
        dim = str(ds.attrs.get(f"{axis}_dim") or axis)
        out |= {f"tile_{axis}": dim, f"tile_{dim}": dim}
    return out


def _axis(
    dim: str, size: int, tiles: Mapping[str, tuple[int, ...]], per_tile: Mapping[str, str]
) -> str | None:
    if dim in tiles:
        return dim
    of = per_tile.get(dim, dim)
    return f"{_PER_TILE}{of}" if len(tiles.get(of, ())) == size else None


def _regular(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The same sizes where all but the last are alike; else cut anew, as Zarr can hold it."""
    if len(set(sizes[:-1])) <= 1 and sizes[0]:
        return sizes
    size, total = max(1, *sizes), sum(sizes)
    return tuple(min(size, total - at) for at in range(0, total, size)) or (0,)


def _seen(
    lazy: Mapping[str, xr.Variable], dim: str, count: int, size: int | None
) -> tuple[int, ...]:
    """Pixels of `count` tiles, from a variable that is cut into as many."""
    for variable in lazy.values():
        sizes = variable.chunksizes.get(dim, ())
        if len(sizes) == count and _regular(sizes) == sizes:
            return sizes
    each = 1 if size is None else max(1, size // count)
    last = each if size is None else size - each * (count - 1)
    return (*(each,) * (count - 1), last)
