"""A part of a raster at every k-th pixel, read piece by piece: never more than a view shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xrxai.plot.grid import Grid

# A map on a screen is not wider; more pixels would be sent, and not be seen.
SIDE = 700
# What is held at once while a large array is read.
PIECE_BYTES = 2**25
_TURNS = tuple(prime**0.5 for prime in (2, 3, 5, 7, 11))


@dataclass(frozen=True)
class Window:
    """Rows and columns from start to stop, of which every `step`-th is shown."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    step: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are shown."""
        return (
            -(-(self.rows[1] - self.rows[0]) // self.step),
            -(-(self.columns[1] - self.columns[0]) // self.step),
        )

    def extent(self, placed: Grid) -> tuple[float, float, float, float]:
        """Left, right, bottom and top in axis units; the last pixel is drawn as wide as the rest.

        Left is less than right and bottom less than top, whichever way the raster runs.
        """
        rows, columns = self.shape
        across = placed.column_edges(
            np.array([self.columns[0], self.columns[0] + columns * self.step])
        )
        down = placed.row_edges(np.array([self.rows[0], self.rows[0] + rows * self.step]))
        return float(across.min()), float(across.max()), float(down.min()), float(down.max())


def whole(placed: Grid, side: int = SIDE) -> Window:
    """Return the window of a whole raster."""
    return _thinned((0, placed.rows), (0, placed.columns), side)


def seen_in(
    placed: Grid, x: tuple[float, float], y: tuple[float, float], side: int = SIDE
) -> Window:
    """Return the window that an axis range shows: all pixels of it that are partly inside."""
    columns = _positions(x, placed.left, placed.right, placed.columns)
    rows = _positions(y, placed.top, placed.bottom, placed.rows)
    return _thinned(rows, columns, side)


def _positions(shown: tuple[float, float], first: float, last: float, n: int) -> tuple[int, int]:
    ends = sorted((v - first) / (last - first) * n for v in shown)
    start = min(max(math.floor(ends[0] + 1e-6), 0), n - 1)
    return start, max(min(math.ceil(ends[1] - 1e-6), n), start + 1)


def _thinned(rows: tuple[int, int], columns: tuple[int, int], side: int) -> Window:
    longest = max(rows[1] - rows[0], columns[1] - columns[0])
    return Window(rows, columns, max(1, math.ceil(longest / side)))


def pixel_at(placed: Grid, x: float, y: float) -> tuple[int, int] | None:
    """Return row and column under a point of the axes, None beside the raster."""
    column = math.floor((x - placed.left) / (placed.right - placed.left) * placed.columns)
    row = math.floor((y - placed.top) / (placed.bottom - placed.top) * placed.rows)
    inside = 0 <= row < placed.rows and 0 <= column < placed.columns
    return (row, column) if inside else None


def chunks_of(array: xr.DataArray) -> dict[str, int]:
    """Return the chunk of an array on disk (or in dask) along each dim; {} when it is in memory."""
    if array.chunks is not None:
        return {str(d): int(sizes[0]) for d, sizes in array.chunksizes.items()}
    if array.variable._in_memory:
        return {}
    stored = array.encoding.get("preferred_chunks") or {}
    return {str(d): int(stored.get(d, array.sizes[d])) for d in array.dims}


def touched(array: xr.DataArray, chunks: Mapping[str, int], **one: int) -> int:
    """Return the bytes of all chunks that are read for one position along the dims in `one`."""
    if not chunks:
        return 0
    count = array.dtype.itemsize
    for dim in map(str, array.dims):
        n, chunk = array.sizes[dim], chunks[dim]
        count *= min(chunk, n) if dim in one else n
    return count


def read(
    array: xr.DataArray, y: str, x: str, window: Window, chunks: Mapping[str, int]
) -> NDArray[Any]:
    """Read every k-th pixel in a window, (..., y, x), a few rows of chunks at a time."""
    k, thin = window.step, []
    for at, part in _by_rows(array, y, x, window, chunks):
        # Copied: a view would hold the rest as well.
        thin.append(part[..., (window.rows[0] - at) % k :: k, ::k].copy())
    return np.concatenate(thin, axis=-2)


def read_means(
    array: xr.DataArray, y: str, x: str, window: Window, chunks: Mapping[str, int]
) -> NDArray[np.float32]:
    """Read the mean of each k x k pixels in a window, over those that have a value."""
    others = [d for d in array.dims if d not in (y, x)]
    if not others:
        return _means(array, y, x, window, chunks)
    n = array.sizes[others[0]]
    piece = max(1, chunks.get(str(others[0]), PIECE_BYTES * n // max(1, array.nbytes)))
    parts = (array.isel({others[0]: slice(at, at + piece)}) for at in range(0, n, piece))
    return np.concatenate([_means(part, y, x, window, chunks) for part in parts])


def _means(
    array: xr.DataArray, y: str, x: str, window: Window, chunks: Mapping[str, int]
) -> NDArray[np.float32]:
    k = window.step
    others = [array.sizes[d] for d in array.dims if d not in (y, x)]
    total = np.zeros((*others, *window.shape))
    count = np.zeros(total.shape, dtype=np.int32)
    for at, part in _by_rows(array, y, x, window, chunks):
        # A piece may begin and end within a row of means: its sums are added to what is there.
        rows = (np.arange(at, at + part.shape[-2]) - window.rows[0]) // k
        cuts = (np.unique(rows, return_index=True)[1], np.arange(0, part.shape[-1], k))
        finite = np.isfinite(part)
        sums = np.where(finite, part, 0.0).astype(np.float64)
        for axis, starts in zip((-2, -1), cuts, strict=True):
            sums = np.add.reduceat(sums, starts, axis=axis)
            finite = np.add.reduceat(finite, starts, axis=axis, dtype=np.int32)
        total[..., rows[0] : rows[-1] + 1, :] += sums
        count[..., rows[0] : rows[-1] + 1, :] += finite
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _by_rows(
    array: xr.DataArray, y: str, x: str, window: Window, chunks: Mapping[str, int]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give rows of a window as they are stored, cut where chunks end.

    A strided read of netCDF is many times slower than one of all rows that is thinned here; of
    Zarr whole chunks are read in any case.
    """
    (start, stop), columns = window.rows, window.columns
    others = [d for d in array.dims if d not in (y, x)]
    array = array.isel({x: slice(*columns)}).transpose(*others, y, x)
    row = array.dtype.itemsize * math.prod(array.sizes[d] for d in array.dims if d != y)
    most = max(1, PIECE_BYTES // max(1, row))
    chunk = chunks.get(y, 1)
    if chunks and most >= chunk:
        most -= most % chunk
    elif chunks:
        most = chunk
    at = start
    while at < stop:
        end = at + most if not chunks else (at // chunk) * chunk + max(most, chunk)
        end = min(stop, end)
        yield at, array.isel({y: slice(at, end)}).to_numpy()
        at = end


def read_sum(
    array: xr.DataArray, over: str, y: str, x: str, window: Window, chunks: Mapping[str, int]
) -> NDArray[np.float64]:
    """Read the sum over one dim of every k-th pixel, (y, x); NaN where nothing has a value."""
    n = array.sizes[over]
    piece = max(1, chunks.get(over, n))
    shape = window.shape
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for at in range(0, n, piece):
        part = read(array.isel({over: slice(at, at + piece)}), y, x, window, chunks)
        finite = np.isfinite(part)
        total += np.where(finite, part, 0.0).sum(axis=0, dtype=np.float64)
        count += finite.sum(axis=0)
    return np.where(count > 0, total, np.nan)


def sample(array: xr.DataArray, chunks: Mapping[str, int], most: int = 24) -> NDArray[np.float64]:
    """Read some finite values from all over an array: of one on disk, from at most `most` chunks.

    The chunks lie on a lattice: along every dim they are spread as evenly as their number allows.
    """
    if not chunks:
        step = max(1, math.ceil(array.size / 1_000_000))
        values = np.asarray(array.to_numpy()).reshape(-1)[::step]
        return np.asarray(values[np.isfinite(values)], dtype=np.float64)
    counts = {str(d): -(-array.sizes[d] // chunks[str(d)]) for d in array.dims}
    total = math.prod(counts.values())
    taken = min(total, most)
    found = []
    for i in range(taken):
        where: dict[str, slice] = {}
        if taken == total:
            position = tuple(int(p) for p in np.unravel_index(i, tuple(counts.values())))
        else:  # rotations by irrational numbers fill a box evenly
            position = tuple(
                int((i + 0.5) * turn % 1 * c)
                for turn, c in zip(_TURNS * 2, counts.values(), strict=False)
            )
        for (d, _), p in zip(counts.items(), position, strict=True):
            where[d] = slice(int(p) * chunks[d], (int(p) + 1) * chunks[d])
        values = np.asarray(array.isel(where).to_numpy()).reshape(-1)
        values = values[np.isfinite(values)]
        found.append(values[:: max(1, math.ceil(values.size * taken / 1_000_000))])
    joined = np.concatenate(found) if found else np.zeros(0)
    return np.asarray(joined, dtype=np.float64)
