"""Explanations to netCDF and Zarr, and back the same."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import DataError, ResultError
from xrxai.io.record import Unreadable, read


def to_netcdf(
    explanation: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write an explanation to one netCDF file.

    The file appears under its name when it is complete, never before. A lazy explanation is
    computed block by block on the way.

    Parameters
    ----------
    explanation : Dataset
        As every method of xrxai returns it.
    path : str or path
        The file.
    overwrite : bool
        True replaces an existing file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ResultError
        When the Dataset is not an explanation, or the file exists and `overwrite` is False.
    """
    target = new_file(explanation, path, overwrite)
    ds, part = prepared(explanation), part_of(target)
    try:
        ds.to_netcdf(part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def open_explanation(
    path: str | os.PathLike[str],
    *,
    chunks: int | str | Mapping[str, int | str] | None = None,
    partial: bool = False,
) -> xr.Dataset:
    """Open an explanation that to_netcdf or to_zarr wrote, identical to what was written.

    Parameters
    ----------
    path : str or path
        The netCDF file or the Zarr folder.
    chunks : int, "auto" or dict, optional
        As in xarray: the variables become dask arrays; ``{}`` takes the chunks of the store. By
        default values are read when they are first used, and figures of a large store read the
        coarse copies beside it.
    partial : bool
        True opens a store that to_zarr has not finished: numbers of tiles that are not there are
        NaN or 0, and the attribute ``tiles`` says how many are there.

    Returns
    -------
    Dataset
        With its coordinates, attributes and CRS.

    Raises
    ------
    DataError
        When there is nothing at `path`.
    ResultError
        When what is there is not an explanation, is not finished, or is damaged.

    Notes
    -----
    The files of a store that was written tile by tile are compared in size with what was written,
    up to 100 000 tiles; a check sum in every chunk guards the rest when it is read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no file {str(path)!r}; type the path of an explanation.")
    tiles = _tiles(path, partial)
    try:
        ds = open_any(path, chunks)
    except (OSError, ValueError, KeyError) as error:
        raise ResultError(
            f"{str(path)!r} is neither netCDF nor Zarr ({error}); type the path of a file that "
            "to_netcdf or to_zarr wrote."
        ) from error
    if not is_explanation(ds):
        ds.close()
        raise ResultError(
            f"{str(path)!r} holds the variables {list(ds.data_vars)} and no 'attribution', so it "
            f"is not an explanation; type xrxai.open_cube({str(path)!r}) if it is a cube."
        )
    ds.attrs.pop("complete", None)
    if tiles is not None:
        ds.attrs["tiles"] = tiles
    # Names and wavelengths are looked at all the time; read here, whatever scheduler is set.
    small = {
        str(n): c.compute(scheduler="synchronous") for n, c in ds.coords.items() if c.ndim <= 1
    }
    return strings(ds.assign_coords(small), np.dtype(object))


def _tiles(path: Path, partial: bool) -> str | None:
    """Refuse a store with tiles that are damaged or missing; how many there are if that is fine."""
    try:
        record = read(path)
        if record is None:
            return None
        done = record.done() if not record.complete or math.prod(record.done_shape) <= 1e5 else None
        damaged = [] if done is None else record.damaged(done)
    except Unreadable as error:
        raise ResultError(
            f"{str(path)!r} is damaged ({error}); write it again with overwrite=True."
        ) from error
    if damaged:
        raise ResultError(
            f"{len(damaged)} of {math.prod(record.done_shape)} tiles of {str(path)!r} are damaged, "
            f"the first at {damaged[0]}: their files are not as long as they were written; call "
            "to_zarr as it was called for this store, and these tiles alone are computed again."
        )
    if record.complete:
        return None
    assert done is not None
    count = f"{np.count_nonzero(done)} of {done.size}"
    if not partial:
        raise ResultError(
            f"{str(path)!r} is not finished: {count} tiles are done; call to_zarr as it was called "
            "for this store, and it goes on from there, or type partial=True to see what is there."
        )
    return count


def open_any(path: Path, chunks: Any) -> xr.Dataset:
    """Open a Zarr folder or a netCDF file with its CRS and other helpers as coordinates."""
    if path.is_dir():
        # Of one's own disk nothing is gained by consolidated metadata, and its absence warns.
        store: xr.Dataset = xr.open_zarr(
            path, chunks=chunks, consolidated=False, decode_coords="all"
        )
        return store
    return xr.open_dataset(path, chunks=chunks, decode_coords="all")


def is_explanation(ds: xr.Dataset) -> bool:
    """Whether it holds attributions, or answers: what `predict` gives is written alike."""
    return "attribution" in ds.data_vars or ds.attrs.get("method") == "predict"


def require_explanation(explanation: object) -> xr.Dataset:
    """Return the Dataset when it is an explanation, or say what it is."""
    if isinstance(explanation, xr.Dataset) and is_explanation(explanation):
        return explanation
    what = f"A {type(explanation).__name__}"
    if isinstance(explanation, xr.Dataset):
        what += f" with the variables {list(explanation.data_vars)}"
    raise ResultError(
        f"{what} is not an explanation, which has the variable 'attribution'; type the Dataset "
        "that a method such as cube.xai.lime_spectral(...) returned."
    )


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise when something is at `path` and may not be replaced."""
    if path.exists() and not overwrite:
        raise ResultError(
            f"{str(path)!r} exists; type overwrite=True to replace it, or another path."
        )


def part_of(target: Path) -> Path:
    """Name the unfinished file beside `target`: same folder, so that the rename is atomic."""
    return target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}.part{target.suffix}")


def crs_coord(ds: xr.Dataset) -> str | None:
    """Find the scalar coordinate that holds the CRS."""
    for name, coord in ds.coords.items():
        if coord.ndim == 0 and ({"crs_wkt", "spatial_ref", "grid_mapping_name"} & set(coord.attrs)):
            return str(name)
    return None


def new_file(explanation: object, path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Path to write to, in a folder that is there."""
    require_explanation(explanation)
    target = Path(path)
    refuse_existing(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def prepared(ds: xr.Dataset) -> xr.Dataset:
    """Storage settings of the source dropped, the CRS named, attrs that every format can hold."""
    ds = ds.drop_encoding()
    crs = crs_coord(ds)
    spatial = {ds.attrs.get("y_dim", "y"), ds.attrs.get("x_dim", "x")}
    for name, variable in ds.variables.items():
        variable.attrs = {k: v for k, v in map(_storable, variable.attrs.items()) if v is not None}
        if crs is not None and name not in ds.indexes and spatial <= set(variable.dims):
            variable.attrs.pop("grid_mapping", None)
            variable.encoding["grid_mapping"] = crs
    ds.attrs = {k: v for k, v in map(_storable, ds.attrs.items()) if v is not None}
    return ds


def _storable(item: tuple[Any, Any]) -> tuple[str, Any]:
    name, value = item
    if isinstance(value, bool | np.bool_):
        return str(name), json.dumps(bool(value))
    if isinstance(value, dict):
        return str(name), json.dumps(value, default=str)
    if isinstance(value, tuple):
        return str(name), list(value)
    return str(name), value


def strings(ds: xr.Dataset, dtype: Any) -> xr.Dataset:
    """Make all strings of one dtype: format 3 of Zarr describes those of variable length only."""
    changed: dict[str, xr.DataArray] = {}
    for name, variable in ds.variables.items():
        if variable.dtype.kind in "OUT":
            values = np.asarray(variable.values.tolist())
            if values.dtype.kind == "U":
                changed[str(name)] = ds[name].copy(data=values.astype(dtype))
    coords = {n: v for n, v in changed.items() if n in ds.coords}
    return ds.assign_coords(coords).assign({n: v for n, v in changed.items() if n not in coords})
