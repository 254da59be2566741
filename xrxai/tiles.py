"""Tiles of a scene: cores that share no pixel, and windows of what a core needs to be exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Tile:
    """A core, half-open rows and columns of the scene, and the window around it."""

    core: tuple[slice, slice]
    window: tuple[slice, slice]
    scene: tuple[int, int]

    @classmethod
    def whole(cls, scene: tuple[int, int]) -> Tile:
        """Everything at once."""
        all_of_it = (slice(0, scene[0]), slice(0, scene[1]))
        return cls(all_of_it, all_of_it, scene)

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the window's first pixel in the scene."""
        return self.window[0].start, self.window[1].start

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core, counted from the window's first pixel."""
        rows, columns = (
            slice(c.start - w.start, c.stop - w.start)
            for c, w in zip(self.core, self.window, strict=True)
        )
        return rows, columns

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        rows, columns = (w.stop - w.start for w in self.window)
        return rows, columns

    @property
    def has_halo(self) -> bool:
        """Whether the window is larger than the core."""
        return self.core != self.window


@dataclass(frozen=True)
class Grid:
    """Edges of the cores along rows and columns, and how far windows reach beyond them."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    halo: int = 0

    @classmethod
    def regular(
        cls, scene: tuple[int, int], side: tuple[int, int], halo: int = 0, stride: int = 1
    ) -> Grid:
        """Cores of a multiple of `stride` near `side`, and at least as large as the halo.

        What is left at the end and shorter than the halo is given to the last core: a window
        then never needs more than the neighbours of its core.
        """
        rows, columns = (_edges(n, each, halo, stride) for n, each in zip(scene, side, strict=True))
        return cls(rows, columns, halo)

    @property
    def scene(self) -> tuple[int, int]:
        """Rows and columns of it all."""
        return self.rows[-1], self.columns[-1]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tiles along rows and columns."""
        return len(self.rows) - 1, len(self.columns) - 1

    @property
    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Sizes of the cores along rows and columns."""
        rows, columns = (tuple(b - a for a, b in pairwise(e)) for e in (self.rows, self.columns))
        return rows, columns

    def tile(self, row: int, column: int) -> Tile:
        """Give the tile at a place of the grid; windows end where the scene does."""
        core = (
            slice(self.rows[row], self.rows[row + 1]),
            slice(self.columns[column], self.columns[column + 1]),
        )
        rows, columns = (_wider(c, self.halo, n) for c, n in zip(core, self.scene, strict=True))
        return Tile(core, (rows, columns), self.scene)

    def __iter__(self) -> Iterator[Tile]:
        """Yield all tiles, row by row."""
        for row, column in np.ndindex(self.shape):
            yield self.tile(row, column)

    @property
    def pixels(self) -> tuple[int, int]:
        """Pixels in all cores, and in all windows: what the halo costs."""
        sums = []
        for edges in (self.rows, self.columns):
            windows = (_wider(slice(a, b), self.halo, edges[-1]) for a, b in pairwise(edges))
            sums.append(sum(w.stop - w.start for w in windows))
        return self.scene[0] * self.scene[1], sums[0] * sums[1]


def _wider(core: slice, halo: int, size: int) -> slice:
    return slice(max(core.start - halo, 0), min(core.stop + halo, size))


def _edges(n: int, side: int, halo: int, stride: int) -> tuple[int, ...]:
    least = max(side, halo, 1)
    side = -(-least // stride) * stride
    edges = list(range(0, n, side))
    if len(edges) > 1 and n - edges[-1] < max(halo, 1):
        edges.pop()
    return (*edges, n)
