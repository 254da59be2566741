"""A background: spectra or cubes that stand for what is usual."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import BaselineError
from xrxai.labelled.cube import Cube

Background = np.ndarray | xr.DataArray
"""What `background=` accepts: rows of spectra, or of cubes."""


def settle(place: Cube, value: Any, takes: str, fill: float) -> np.ndarray:
    """Rows (m, band) or, for a model that takes a patch, (m, band, y, x or 1, 1)."""
    cube = [place.band, place.y, place.x] if takes == "patch" else [place.band]
    sizes = {str(d): place.data.sizes[d] for d in cube}
    array = value if isinstance(value, xr.DataArray) else np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise BaselineError(
            f"The background has dtype {array.dtype}, and real numbers are needed; type "
            f"background= with spectra (row, band), such as those the model was trained on."
        )
    if not isinstance(array, xr.DataArray):
        shape: tuple[int, ...] = tuple(sizes.values())
        if array.shape[1:] not in (shape[:1], shape) or array.ndim < 2:
            more = f" or (row, {', '.join(map(str, shape))})" if len(shape) > 1 else ""
            raise BaselineError(
                f"The background has shape {array.shape}; give rows of spectra, "
                f"(row, {shape[0]}){more}."
            )
        array = xr.DataArray(array, dims=("row", *cube[: array.ndim - 1]))
    rows = [d for d in array.dims if d not in cube]
    fits = all(array.sizes[d] == n for d, n in sizes.items() if d in array.dims)
    if len(rows) != 1 or set(array.dims) - set(rows) not in ({place.band}, set(cube)) or not fits:
        raise BaselineError(
            f"The background has dims {dict(array.sizes)}; give one dim of rows beside "
            f"{sizes}, of which the bands must be there: spectra (row, {place.band}), for "
            f"example cube.stack(row=[...]).dropna('row')."
        )
    theirs, ours = array.indexes.get(place.band), place.data.indexes.get(place.band)
    if theirs is not None and ours is not None and not theirs.equals(ours):
        raise BaselineError(
            f"The background and the cube differ in the values of {place.band!r}; "
            f"type background.drop_vars({place.band!r}) if they mean the same."
        )
    if hasattr(array.data, "dask"):
        raise BaselineError(
            "The background is lazy (dask), and every block needs the whole of it; "
            "type background.compute()."
        )
    array = array.expand_dims([d for d in cube if d not in array.dims])
    table = array.transpose(*rows, *cube).values.astype(np.float64)
    table = np.where(place.good_band.reshape(-1, *[1] * (len(cube) - 1)), table, fill)
    if not table.size or not np.isfinite(table).all():
        raise BaselineError(
            f"The background is empty or not finite; leave out rows with gaps: type "
            f"background.dropna({str(rows[0])!r}), or fill them."
        )
    return table
