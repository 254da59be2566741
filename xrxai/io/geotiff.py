"""Explanations to GeoTIFF, one file per target, for a GIS."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.io.read import quiet_about_georeference
from xrxai.io.write import part_of, refuse_existing, require_explanation

_STACKED = ("group", "union", "segment", "window", "channel", "statistic")


def to_geotiff(
    explanation: xr.Dataset,
    folder: str | os.PathLike[str],
    *,
    variable: str = "attribution",
    overwrite: bool = False,
) -> list[Path]:
    """Write one variable of an explanation as GeoTIFF, one file per target.

    The files are named ``<variable>_<target>.tif``, with the position along leading dims such as
    time appended. Each appears when it is complete. A lazy explanation is computed once, window by
    window, for all targets together.

    Parameters
    ----------
    explanation : Dataset
        As every method of xrxai returns it.
    folder : str or path
        Made when it is not there.
    variable : str
        A variable over y and x. Bands of the file are the spectral bands, groups or channels.
    overwrite : bool
        True replaces existing files.

    Returns
    -------
    list of Path
        One per target, in order.

    Raises
    ------
    ResultError
        When the variable is not there or has no y and x, or a file exists and `overwrite` is
        False.

    Notes
    -----
    Each band carries its wavelength and fwhm as tags and in the IMAGERY domain, and a description.
    Missing values are NaN; whole numbers and flags are written without a nodata value.
    """
    ds = require_explanation(explanation)
    da, y, x, stacked = _layout(ds, variable)
    folder = Path(folder)
    split = [str(d) for d in da.dims if d not in (y, x, stacked)]
    parts = list(_parts(da, split, variable))
    paths = [folder / f"{name}.tif" for name, _ in parts]
    if len(set(paths)) != len(paths):
        raise ResultError(
            f"The targets {[str(t) for t in ds['target'].values]} give the same file name twice; "
            "rename them with explanation.assign_coords(target=[...])."
        )
    for path in paths:
        refuse_existing(path, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = [part_of(p) for p in paths]
    try:
        _write(ds, da, [where for _, where in parts], unfinished, (stacked, y, x))
        for part, path in zip(unfinished, paths, strict=True):
            os.replace(part, path)
    finally:
        for part in unfinished:
            part.unlink(missing_ok=True)
    return paths


def _layout(ds: xr.Dataset, variable: str) -> tuple[xr.DataArray, str, str, str | None]:
    if variable not in ds.data_vars:
        raise ResultError(
            f"variable={variable!r} is not in the explanation; choose one of "
            f"{[str(v) for v in ds.data_vars]}."
        )
    da = ds[variable]
    y, x = str(ds.attrs.get("y_dim", "y")), str(ds.attrs.get("x_dim", "x"))
    if y not in da.dims or x not in da.dims:
        raise ResultError(
            f"{variable!r} has the dims {tuple(map(str, da.dims))} and no pixels to map; type "
            "explanation.xai.on_cube() first and write what it returns."
        )
    stack = (str(ds.attrs.get("band_dim", "band")), *_STACKED)
    stacked = next((str(d) for d in da.dims if d in stack), None)
    return da, y, x, stacked


def _parts(
    da: xr.DataArray, split: list[str], variable: str
) -> Iterator[tuple[str, dict[str, int]]]:
    """File names and where they lie along target and the leading dims."""
    for place in itertools.product(*(range(da.sizes[d]) for d in split)):
        words = [variable]
        for dim, i in zip(split, place, strict=True):
            if dim == "target":
                words.append(str(da[dim].values[i]) if dim in da.coords else str(i))
            else:
                words.append(f"{dim}{i}")
        name = "_".join(re.sub(r"[^\w.+-]+", "_", w).strip("_") or "_" for w in words)
        yield name, dict(zip(split, place, strict=True))


def _write(
    ds: xr.Dataset,
    da: xr.DataArray,
    places: list[dict[str, int]],
    files: list[Path],
    dims: tuple[str | None, str, str],
) -> None:
    import rasterio
    from rasterio.windows import Window

    stacked, y, x = dims
    da = da if stacked is not None else da.expand_dims("_single")
    order = (stacked or "_single", y, x)
    dtype = {"f": "float32", "b": "uint8"}.get(da.dtype.kind, "int32")
    crs, transform = _georeference(ds, y, x)
    bands = _band_tags(da, order[0], str(da.attrs.get("long_name", da.name)))
    with ExitStack() as stack:
        stack.enter_context(quiet_about_georeference())
        opened = [
            stack.enter_context(
                rasterio.open(
                    file,
                    "w",
                    driver="GTiff",
                    height=da.sizes[y],
                    width=da.sizes[x],
                    count=da.sizes[order[0]],
                    dtype=dtype,
                    crs=crs,
                    transform=transform,
                    nodata=np.nan if dtype == "float32" else None,
                    compress="deflate",
                    bigtiff="if_safer",
                )
            )
            for file in files
        ]
        for target, place in zip(opened, places, strict=True):
            _describe(target, ds, da.isel(place), bands)
        # Windows outermost: a chunk of a lazy explanation holds all targets and is computed once.
        for rows, cols in _windows(da, y, x):
            block = da.isel({y: rows, x: cols}).compute()
            window = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
            for target, place in zip(opened, places, strict=True):
                target.write(
                    block.isel(place).transpose(*order).values.astype(dtype), window=window
                )


def _windows(da: xr.DataArray, y: str, x: str) -> Iterator[tuple[slice, slice]]:
    sizes = [da.chunksizes.get(d, (da.sizes[d],)) for d in (y, x)]
    edges = [np.cumsum((0, *s)).tolist() for s in sizes]
    for (a, b), (c, d) in itertools.product(*(itertools.pairwise(e) for e in edges)):
        yield slice(a, b), slice(c, d)


def _georeference(ds: xr.Dataset, y: str, x: str) -> tuple[Any, Any]:
    import rioxarray  # noqa: F401

    spatial = ds.rio.set_spatial_dims(x_dim=x, y_dim=y)
    # Recalculated from x and y where they are: the stored transform is stale after a selection.
    has_both = x in ds.coords and y in ds.coords
    with quiet_about_georeference():
        return spatial.rio.crs, spatial.rio.transform(recalc=has_both)


def _band_tags(da: xr.DataArray, dim: str, what: str) -> list[dict[str, str]]:
    """One dict per band: what it is, and its wavelengths where it has some."""
    tags: list[dict[str, str]] = []
    along = {str(n): c.values for n, c in da.coords.items() if c.dims == (dim,)}
    for i in range(da.sizes[dim]):
        tag = {"description": what}
        if dim in along and along[dim].dtype.kind in "OUT":
            tag["description"] = f"{what} {along[dim][i]}"
        if "wavelength" in along:
            tag["wavelength"] = repr(float(along["wavelength"][i]))
            tag["wavelength_units"] = "nm"
            tag["description"] = f"{what} {float(along['wavelength'][i]):g} nm"
        if "fwhm" in along and np.isfinite(along["fwhm"][i]):
            tag |= {"fwhm": repr(float(along["fwhm"][i])), "fwhm_units": "nm"}
        if "good_band" in along:
            tag["good_band"] = str(int(along["good_band"][i]))
        for name in ("group_wavelength_min", "group_wavelength_max"):
            if name in along:
                tag[name] = repr(float(along[name][i]))
        tags.append(tag)
    return tags


def _describe(target: Any, ds: xr.Dataset, da: xr.DataArray, bands: list[dict[str, str]]) -> None:
    about = {str(k): str(v) for k, v in ds.attrs.items()}
    about |= {str(k): str(v) for k, v in da.attrs.items()} | {"variable": str(da.name)}
    if "target" in da.coords:
        about["target"] = str(da.coords["target"].item())
    target.update_tags(**about)
    for i, tag in enumerate(bands, start=1):
        target.set_band_description(i, tag["description"])
        target.update_tags(i, **{k: v for k, v in tag.items() if k != "description"})
        if "wavelength" in tag:
            domain = {"CENTRAL_WAVELENGTH_UM": f"{float(tag['wavelength']) / 1e3:.6g}"}
            if "fwhm" in tag:
                domain["FWHM_UM"] = f"{float(tag['fwhm']) / 1e3:.6g}"
            target.update_tags(i, ns="IMAGERY", **domain)
