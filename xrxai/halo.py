"""Windows of a scene as a layer of a dask graph: one task each, made when it is asked for.

`dask.array.overlap` cuts every margin in a task of its own, a dozen for a tile, and makes all of
them at once; here a window takes what it needs of its neighbours in one, so that a scene of many
tiles has a small graph, and a part of it a small part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph, Layer

from xrxai.tiles import Grid

Key = Any


def windows(array: da.Array, grid: Grid, axes: tuple[int | None, int | None]) -> da.Array:
    """Give blocks with their halo; `axes` are those of rows and columns, None where there is none.

    The chunks of the array are the cores of the grid; those of the result are said to be, too.
    """
    from dask.base import tokenize

    name = f"window-{tokenize(array.name, grid, axes)}"
    layer = _Windows(name, array.name, array.numblocks, grid, axes)
    below: Any = [array]
    graph = HighLevelGraph.from_collections(name, layer, dependencies=below)
    return da.Array(graph, name, array.chunks, meta=array._meta)


class _Windows(Layer):
    """Tasks (name, *block) that cut a window out of the blocks of `source`."""

    def __init__(
        self,
        name: str,
        source: str,
        blocks: tuple[int, ...],
        grid: Grid,
        axes: tuple[int | None, int | None],
        only: frozenset[Key] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.source = source
        self.blocks = blocks
        self.grid = grid
        self.axes = axes
        self.only = only

    def __iter__(self) -> Iterator[Key]:
        if self.only is not None:
            return iter(self.only)
        return ((self.name, *block) for block in product(*map(range, self.blocks)))

    def __len__(self) -> int:
        return int(np.prod(self.blocks)) if self.only is None else len(self.only)

    def __contains__(self, key: object) -> bool:
        if self.only is not None:
            return key in self.only
        return (
            isinstance(key, tuple)
            and len(key) == 1 + len(self.blocks)
            and key[0] == self.name
            and all(0 <= i < n for i, n in zip(key[1:], self.blocks, strict=True))
        )

    def __getitem__(self, key: Key) -> Task:
        if key not in self:
            raise KeyError(key)
        block = key[1:]
        near: list[Any] = [(i,) for i in block]
        parts: list[tuple[tuple[int, int], ...]] = []
        for axis, edges in zip(self.axes, (self.grid.rows, self.grid.columns), strict=True):
            if axis is not None:
                near[axis], cut = self._cut(edges, block[axis])
                parts.append(cut)
        refs = [TaskRef((self.source, *each)) for each in product(*near)]
        used = tuple(axis for axis in self.axes if axis is not None)
        return Task(key, _joined, used, tuple(parts), *refs)

    def _cut(
        self, edges: tuple[int, ...], i: int
    ) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        """Blocks along an axis that a window needs, and which part of each."""
        start = max(edges[i] - self.grid.halo, 0)
        stop = min(edges[i + 1] + self.grid.halo, edges[-1])
        first, last = bisect_right(edges, start) - 1, bisect_right(edges, stop - 1) - 1
        near = tuple(range(first, last + 1))
        parts = tuple(
            (max(start, edges[k]) - edges[k], min(stop, edges[k + 1]) - edges[k]) for k in near
        )
        return near, parts

    def is_materialized(self) -> bool:
        return False

    @property
    def has_legacy_tasks(self) -> bool:
        """Not asked of every task, which would make them all."""
        return False

    def get_output_keys(self) -> set[Key]:
        return set(self)

    def cull(
        self, keys: set[Key], all_hlg_keys: Collection[Key]
    ) -> tuple[Layer, Mapping[Key, set[Key]]]:
        kept = frozenset(key for key in keys if key in self)
        made = _Windows(self.name, self.source, self.blocks, self.grid, self.axes, kept)
        return made, {key: set(self[key].dependencies) for key in kept}


def _joined(
    axes: tuple[int, ...], parts: tuple[tuple[tuple[int, int], ...], ...], *blocks: np.ndarray
) -> np.ndarray:
    """Put the parts of blocks together, the last axis fastest; the blocks are not kept."""
    shape = list(blocks[0].shape)
    for axis, cut in zip(axes, parts, strict=True):
        shape[axis] = sum(stop - start for start, stop in cut)
    out = np.empty(shape, blocks[0].dtype)
    for block, place in zip(blocks, product(*(range(len(cut)) for cut in parts)), strict=True):
        source: list[Any] = [slice(None)] * out.ndim
        target = list(source)
        for axis, cut, i in zip(axes, parts, place, strict=True):
            source[axis] = slice(*cut[i])
            before = sum(stop - start for start, stop in cut[:i])
            target[axis] = slice(before, before + cut[i][1] - cut[i][0])
        out[tuple(target)] = block[tuple(source)]
    return out
