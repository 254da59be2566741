"""Explanations to cloud-optimised GeoTIFF, one file per variable and target, for a GIS."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.io.bar import counting
from xrxai.io.read import quiet_about_georeference
from xrxai.io.write import part_of, refuse_existing, require_explanation

_STACKED = ("group", "union", "segment", "window", "channel", "statistic")
_CACHE_MB = 256  # GDAL takes a twentieth of the memory unless told
_BLOCK_BYTES = 2**24


def to_geotiff(
    explanation: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    variables: str | Sequence[str] = "attribution",
    overwrite: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Write variables of an explanation as cloud-optimised GeoTIFF, one file per target.

    The files are named ``<variable>-<target>.tif``, with the position along leading dims such as
    time appended. Each appears when it is complete. A lazy explanation is computed once, some tiles
    at a time, for all variables and targets together.

    Parameters
    ----------
    explanation : Dataset
        As every method of xrxai returns it.
    path : str or path
        A folder, made when it is not there. A name that ends in ``.tif`` is a file, for what fits
        in one: one variable of one target.
    variables : str or sequence of str
        Variables over y and x. Bands of a file are the spectral bands, groups or channels.
    overwrite : bool
        True replaces existing files.
    progress : bool
        Show a bar that counts tiles, when it takes more than a second.

    Returns
    -------
    list of Path
        One per variable and target, in order.

    Raises
    ------
    ResultError
        When a variable is not there or has no y and x, or a file exists and `overwrite` is
        False.

    Notes
    -----
    Files are tiled and compressed, and hold overviews: averages of numbers, the nearest of flags
    and counts. The folder must have room for the maps without compression while they are written.

    Each band carries its wavelength and fwhm as tags and in the IMAGERY domain, its units, and a
    description; each file the attributes of the explanation: method, options, model.
    Missing values are NaN; whole numbers and flags are written without a nodata value.
    """
    ds = require_explanation(explanation)
    files = [
        file
        for name in ([variables] if isinstance(variables, str) else variables)
        for file in _files(ds, name)
    ]
    paths = _paths(ds, files, Path(path))
    for one in paths:
        refuse_existing(one, overwrite)
        one.parent.mkdir(parents=True, exist_ok=True)
    drafts, unfinished = [part_of(p) for p in paths], [part_of(p) for p in paths]
    try:
        _draft(ds, files, drafts, progress)
        for file, draft, part in zip(files, drafts, unfinished, strict=True):
            _optimise(file, draft, part)
        for part, one in zip(unfinished, paths, strict=True):
            os.replace(part, one)
    finally:
        for part in (*drafts, *unfinished):
            part.unlink(missing_ok=True)
    return paths


@dataclass(frozen=True)
class _File:
    """A map of one variable: where it lies along the dims that are no bands, and its dims."""

    name: str
    variable: str
    place: dict[str, int]
    bands: str
    y: str
    x: str
    dtype: str

    def of(self, ds: xr.Dataset) -> xr.DataArray:
        """Values over (bands, y, x)."""
        da = ds[self.variable].isel(self.place)
        da = da if self.bands in da.dims else da.expand_dims(self.bands)
        return da.transpose(self.bands, self.y, self.x)


def _files(ds: xr.Dataset, variable: str) -> list[_File]:
    if variable not in ds.data_vars:
        raise ResultError(
            f"variables={variable!r} is not in the explanation; choose of "
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
    stacked = next((str(d) for d in da.dims if d in stack), "_single")
    split = [str(d) for d in da.dims if d not in (y, x, stacked)]
    dtype = {"f": "float32", "b": "uint8"}.get(da.dtype.kind, "int32")
    return [
        _File(name, variable, place, stacked, y, x, dtype)
        for name, place in _parts(da, split, variable)
    ]


def _paths(ds: xr.Dataset, files: list[_File], path: Path) -> list[Path]:
    if path.suffix.lower() in (".tif", ".tiff"):
        if len(files) > 1:
            raise ResultError(
                f"{str(path)!r} is one file, and there are {len(files)} to write "
                f"({', '.join(f.name for f in files[:3])}, ...); type the name of a folder, or "
                "select one target with explanation.sel(target=...)."
            )
        return [path]
    paths = [path / f"{file.name}.tif" for file in files]
    if len({str(p).lower() for p in paths}) != len(paths):
        raise ResultError(
            f"The targets {[str(t) for t in ds['target'].values]} give the same file name twice; "
            "rename them with explanation.assign_coords(target=[...])."
        )
    return paths


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
        name = "-".join(re.sub(r"[^\w.+-]+", "_", w).strip("_") or "_" for w in words)
        yield name, dict(zip(split, place, strict=True))


def _draft(ds: xr.Dataset, files: list[_File], drafts: list[Path], progress: bool) -> None:
    """Write plain GeoTIFFs, tile by tile: an overview needs the whole map."""
    import rasterio
    from rasterio.windows import Window

    ds = ds[list(dict.fromkeys(file.variable for file in files))]
    y, x = files[0].y, files[0].x
    crs, transform = _georeference(ds, y, x)
    with ExitStack() as stack:
        stack.enter_context(quiet_about_georeference())
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE_MB))
        opened = []
        for file, draft in zip(files, drafts, strict=True):
            da = file.of(ds)
            target = stack.enter_context(
                rasterio.open(
                    draft,
                    "w",
                    driver="GTiff",
                    height=da.sizes[y],
                    width=da.sizes[x],
                    count=da.sizes[file.bands],
                    dtype=file.dtype,
                    crs=crs,
                    transform=transform,
                    nodata=np.nan if file.dtype == "float32" else None,
                    # Not compressed: a block that is written in two parts would be stored twice.
                    tiled=True,
                    blockxsize=256,
                    blockysize=256,
                    interleave="band",
                    bigtiff="if_safer",
                )
            )
            what = str(da.attrs.get("long_name", file.variable))
            _describe(target, ds, da, _band_tags(da, file.bands, what))
            opened.append(target)
        windows = list(_windows(ds, y, x))
        tick = stack.enter_context(counting("to_geotiff", len(windows), progress=progress))
        # Windows outermost: a chunk of a lazy explanation holds all targets and is computed once.
        for (rows, cols), block in _computed(ds, windows, y, x):
            window = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
            for file, target in zip(files, opened, strict=True):
                target.write(file.of(block).values.astype(file.dtype, copy=False), window=window)
            tick()


def _optimise(file: _File, draft: Path, part: Path) -> None:
    """Copy a draft as a cloud-optimised GeoTIFF."""
    import rasterio
    import rasterio.shutil

    with quiet_about_georeference(), rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
        with rasterio.open(draft) as source:
            pixel = source.count * np.dtype(file.dtype).itemsize
        # All bands of a block are stored together, and read together.
        fits = (n for n in (512, 256) if n * n * pixel <= _BLOCK_BYTES)
        rasterio.shutil.copy(
            draft,
            part,
            driver="COG",
            compress="deflate",
            predictor="yes",
            blocksize=next(fits, 128),
            overview_resampling="average" if file.dtype == "float32" else "nearest",
            bigtiff="if_safer",
        )
    draft.unlink()


def _windows(ds: xr.Dataset, y: str, x: str) -> Iterator[tuple[slice, slice]]:
    lazy = (da for da in ds.data_vars.values() if da.chunks is not None)
    chunks = next((da.chunksizes for da in lazy), {})
    sizes = [chunks.get(d, (ds.sizes[d],)) for d in (y, x)]
    edges = [np.cumsum((0, *s)).tolist() for s in sizes]
    for (a, b), (c, d) in itertools.product(*(itertools.pairwise(e) for e in edges)):
        yield slice(a, b), slice(c, d)


def _computed(
    ds: xr.Dataset, windows: list[tuple[slice, slice]], y: str, x: str
) -> Iterator[tuple[tuple[slice, slice], xr.Dataset]]:
    """Blocks in order, as many at a time as there are cores; one evaluation for all variables."""
    from dask import config
    from dask.base import compute
    from dask.system import CPU_COUNT

    some = int(config.get("num_workers", None) or CPU_COUNT)
    for at in range(0, len(windows), some):
        chosen = windows[at : at + some]
        blocks = [ds.isel({y: rows, x: cols}) for rows, cols in chosen]
        yield from zip(chosen, compute(*blocks), strict=True)


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
        target.set_band_unit(i, str(da.attrs.get("units", "")))
        target.update_tags(i, **{k: v for k, v in tag.items() if k != "description"})
        if "wavelength" in tag:
            domain = {"CENTRAL_WAVELENGTH_UM": f"{float(tag['wavelength']) / 1e3:.6g}"}
            if "fwhm" in tag:
                domain["FWHM_UM"] = f"{float(tag['fwhm']) / 1e3:.6g}"
            target.update_tags(i, ns="IMAGERY", **domain)
