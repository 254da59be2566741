"""Windows: squares of pixels that a scene is annotated and learned in."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, at_least
from xrxai.training.places import plane

TILE = "tile"


def grid(cube: xr.DataArray, size: int, *, stride: int | None = None) -> xr.Dataset:
    """
    Lay windows over a scene, row by row, only those that lie fully inside.

    Parameters
    ----------
    cube : DataArray
        A cube (band, y, x) or a map (y, x), such as labels; no pixel is read.
    size : int
        Side of a window in pixels.
    stride : int, optional
        From one window to the next, in pixels. Default: `size`, windows side by side.

    Returns
    -------
    Dataset
        ``row`` and ``column`` (tile) of the upper left pixel from 0, and the attribute
        ``tile_size``.

    Raises
    ------
    OptionError
        When no window fits into the scene.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xrxai import training
    >>> windows = training.grid(xr.DataArray(np.zeros((5, 4)), dims=("y", "x")), 2)
    >>> windows.row.values.tolist(), windows.column.values.tolist()
    ([0, 0, 2, 2], [0, 2, 0, 2])
    """
    y, x = plane(cube)
    at_least(size, 1, "size")
    step = at_least(size if stride is None else stride, 1, "stride")
    down, across = cube.sizes[y], cube.sizes[x]
    if size > min(down, across):
        raise OptionError(
            f"size={size} is larger than the scene of {down} rows and {across} columns; type "
            f"size={min(down, across)} or less."
        )
    rows, columns = np.arange(0, down - size + 1, step), np.arange(0, across - size + 1, step)
    return described(np.repeat(rows, columns.size), np.tile(columns, rows.size), size)


def described(rows: np.ndarray, columns: np.ndarray, size: int) -> xr.Dataset:
    """Windows as a Dataset, from their upper left pixels."""
    about = "of the upper left pixel, from 0"
    return xr.Dataset(
        {
            "row": (TILE, np.asarray(rows, np.int64), {"long_name": f"row {about}"}),
            "column": (TILE, np.asarray(columns, np.int64), {"long_name": f"column {about}"}),
        },
        attrs={"tile_size": int(size)},
    )


def counted(where: np.ndarray, windows: xr.Dataset) -> np.ndarray:
    """How many pixels (..., y, x) of each window are True: (..., tile)."""
    size, rows, columns = tile_size(windows), windows["row"].values, windows["column"].values
    sums = np.zeros((*where.shape[:-2], where.shape[-2] + 1, where.shape[-1] + 1), np.int64)
    np.cumsum(where, axis=-2, out=sums[..., 1:, 1:])
    np.cumsum(sums[..., 1:, 1:], axis=-1, out=sums[..., 1:, 1:])
    low, left, high, right = rows, columns, rows + size, columns + size
    made: np.ndarray = (
        sums[..., high, right]
        - sums[..., low, right]
        - sums[..., high, left]
        + sums[..., low, left]
    )
    return made


def tile_size(windows: xr.Dataset) -> int:
    """Side of the windows in pixels, or why these are none."""
    if not isinstance(windows, xr.Dataset) or not {"row", "column"} <= set(windows.variables):
        raise OptionError(
            f"windows is a {type(windows).__name__} without 'row' and 'column'; type "
            f"windows = training.grid(cube, 64)."
        )
    if "tile_size" not in windows.attrs:
        raise OptionError(
            "windows lost its attribute 'tile_size', the side in pixels; type "
            "windows.attrs['tile_size'] = 64."
        )
    return int(windows.attrs["tile_size"])
