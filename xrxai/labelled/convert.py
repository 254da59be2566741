"""The steps of to_cube: one array out of anything, wavelengths told, scaled, renamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import BandError, CubeError
from xrxai.labelled.axes import (
    FILL_ATTRS,
    FWHM_NAMES,
    GOOD_BAND_NAMES,
    WAVELENGTH_NAMES,
    band_coord,
    is_fill,
    numbers,
    settle_dims,
    spectral_coord,
    to_nm,
)
from xrxai.labelled.sensors import PLATFORM_ATTRS, wavelengths_by_name

QUANTITIES = ("reflectance", "surface_reflectance", "toa_reflectance", "radiance")
_AXES = {2: ("sample", "band"), 3: ("band", "y", "x"), 4: ("sample", "band", "y", "x")}
# Said once as coordinates or already applied; kept as attrs they would go stale.
_SPENT = (
    *FILL_ATTRS,
    "scale_factor",
    "add_offset",
    "scales",
    "offsets",
    "reflectance_scale_factor",
    "bbl",
    "wavelength",
    "wavelength_units",
    "fwhm",
    "fwhm_units",
    "grid_mapping",
)


def kind(obj: object) -> str:
    """What a message calls a thing of the wrong kind."""
    return "numpy array" if isinstance(obj, np.ndarray) else type(obj).__name__


def as_data_array(
    obj: Any, *, band_dim: str | None, y_dim: str | None, x_dim: str | None
) -> xr.DataArray:
    """`obj` as one DataArray with a spectral dim."""
    if isinstance(obj, xr.DataArray):
        da = obj
    elif isinstance(obj, xr.Dataset):
        da = _from_dataset(obj, band_dim, y_dim, x_dim)
    elif hasattr(obj, "shape") and hasattr(obj, "dtype") and len(obj.shape) in _AXES:
        da = xr.DataArray(obj, dims=_AXES[len(obj.shape)])
    else:
        what = f"of shape {tuple(obj.shape)} " if hasattr(obj, "shape") else ""
        raise CubeError(
            f"A {kind(obj)} {what}came where a cube is needed; type a DataArray, a "
            "Dataset of bands, or an array with the axes (band, y, x), (sample, band) or "
            "(sample, band, y, x)."
        )
    if da.dtype.kind not in "biuf":
        raise CubeError(
            f"The values have dtype {da.dtype}, and real numbers are needed; type "
            "cube.astype('float32') or take .real first."
        )
    return da


def _from_dataset(
    ds: xr.Dataset, band_dim: str | None, y_dim: str | None, x_dim: str | None
) -> xr.DataArray:
    small = [n for n, v in ds.data_vars.items() if v.ndim == 0 or _is_band_table(v)]
    ds = ds.set_coords(small)
    large = {n: v for n, v in ds.data_vars.items() if v.ndim >= 2 and v.dtype.kind in "biuf"}
    cubes: list[str] = []
    for name, variable in large.items():
        try:
            settle_dims(variable, band_dim, y_dim, x_dim)
        except CubeError:
            continue
        cubes.append(str(name))
    if not cubes:
        return _with_dataset_attrs(_stack_bands(ds, large), ds)
    if len(cubes) > 1:
        cubes = [n for n in QUANTITIES if n in cubes][:1] or cubes
    if len(cubes) > 1:
        raise CubeError(
            f"The variables {cubes} of the Dataset could all be the cube; type "
            f"xrxai.to_cube(ds[{cubes[0]!r}], ...) with the one you mean."
        )
    return _with_dataset_attrs(ds[cubes[0]], ds)


def _is_band_table(variable: xr.DataArray) -> bool:
    names = (*WAVELENGTH_NAMES, *FWHM_NAMES, *GOOD_BAND_NAMES)
    return variable.ndim == 1 and str(variable.name).lower() in names


def _with_dataset_attrs(da: xr.DataArray, ds: xr.Dataset) -> xr.DataArray:
    kept = {k: ds.attrs[k] for k in (*PLATFORM_ATTRS, "wavelength_units") if k in ds.attrs}
    da = da.assign_attrs({**kept, **da.attrs})
    if "crs" in ds.attrs and "spatial_ref" not in da.coords:
        # HyperCoast keeps the CRS in an attribute only; rioxarray makes it a coordinate.
        try:
            import rioxarray  # noqa: F401
        except ImportError:
            return da.assign_attrs(crs=str(ds.attrs["crs"]))
        written: xr.DataArray = da.rio.write_crs(ds.attrs["crs"])
        return written
    return da


def _stack_bands(ds: xr.Dataset, large: dict[Any, xr.DataArray]) -> xr.DataArray:
    if not large:
        raise CubeError(
            f"The Dataset has no variable of numbers with two dims or more, only "
            f"{list(ds.variables)}; type xrxai.to_cube(ds[name]) with the one that holds the cube."
        )
    dims = {v.dims for v in large.values()}
    if len(dims) > 1:
        raise CubeError(
            f"The bands of the Dataset have different dims {sorted(map(str, dims))}; drop those "
            "that are no bands with ds.drop_vars([...])."
        )
    cleaned, per_band = {}, []
    for name, variable in large.items():
        stored = variable.astype(np.float32)
        for attr in FILL_ATTRS:
            stored = stored.where(~is_fill(variable, variable.attrs.get(attr)))
        cleaned[str(name)] = stored.drop_attrs()
        per_band.append(variable.attrs)
    stacked = xr.Dataset(cleaned).to_dataarray("band", name="bands")
    stacked.attrs = {}
    scales = [float(a.get("scale_factor", 1.0)) for a in per_band]
    offsets = [float(a.get("add_offset", 0.0)) for a in per_band]
    if any(s != 1 for s in scales) or any(o != 0 for o in offsets):
        stacked.attrs |= {"scales": scales, "offsets": offsets}
    for key in ("center_wavelength", "wavelength"):
        if all(key in a for a in per_band):
            units = per_band[0].get("wavelength_units")
            values = to_nm(np.array([a[key] for a in per_band]), units)
            return stacked.assign_coords(wavelength=("band", values, {"units": "nm"}))
    return stacked


def tell_bands(
    da: xr.DataArray,
    band: str,
    wavelength: Sequence[float] | np.ndarray | None,
    units: str | None,
    fwhm: Sequence[float] | np.ndarray | None,
    good_band: Sequence[bool] | np.ndarray | None,
) -> xr.DataArray:
    """Write what the caller says of the bands where locate() reads it, or look names up."""
    if wavelength is not None:
        values = to_nm(_per_band(da, band, wavelength, "wavelength"), units)
        da = _replace(da, band, (spectral_coord(da, band),), "wavelength", values, "nm")
    else:
        coord = spectral_coord(da, band)
        if coord is None:
            values, source = _by_name(da, band)
            da = da.assign_coords(wavelength=(band, values, {"units": "nm"}))
            da = da.assign_attrs(wavelength_source=source)
        elif units is not None:
            da = da.assign_coords({coord.name: coord.assign_attrs(units=units)})
    if fwhm is not None:
        old = band_coord(da, band, FWHM_NAMES)
        da = _replace(da, band, (old,), "fwhm", _per_band(da, band, fwhm, "fwhm"), "nm")
    if good_band is not None:
        old = band_coord(da, band, GOOD_BAND_NAMES)
        flags = _per_band(da, band, good_band, "good_band").astype(bool)
        da = _replace(da, band, (old,), "good_band", flags, None)
    return da


def _replace(
    da: xr.DataArray,
    band: str,
    old: tuple[xr.DataArray | None],
    name: str,
    values: np.ndarray,
    units: str | None,
) -> xr.DataArray:
    da = da.drop_vars([c.name for c in old if c is not None])
    return da.assign_coords({name: (band, values, {} if units is None else {"units": units})})


def _per_band(da: xr.DataArray, band: str, values: Any, option: str) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (da.sizes[band],):
        hint = ""
        if array.ndim == 1 and da.ndim > 1 and da.sizes[da.dims[-1]] == array.size:
            hint = (
                f"; the last axis has that length, so type np.moveaxis(array, -1, "
                f"{da.get_axis_num(band)}) or band_dim={da.dims[-1]!r}"
            )
        raise BandError(
            f"{option}= has shape {array.shape} and the cube {da.sizes[band]} bands along "
            f"{band!r}; type one value per band{hint}."
        )
    return array


def _by_name(da: xr.DataArray, band: str) -> tuple[np.ndarray, str]:
    names: list[str] = []
    for coord in (band, "common_name", "band_name", "description"):
        found = da.coords.get(coord)
        if found is not None and found.dims == (band,) and found.dtype.kind in "OUT":
            names = [str(v) for v in numbers(found)]
            break
    else:
        described = da.attrs.get("long_name")
        if isinstance(described, tuple | list) and len(described) == da.sizes[band]:
            names = [str(v) for v in described]
    return wavelengths_by_name(names, da.attrs, n_bands=da.sizes[band])


def scale_and_clean(
    da: xr.DataArray,
    band: str,
    scale: float | Sequence[float] | None,
    offset: float | Sequence[float] | None,
    nodata: float | None,
) -> xr.DataArray:
    """Values in their units as float32, NaN where the stored value is a fill value; lazy."""
    attrs = da.attrs
    out = da.astype(np.float32)
    for fill in (*(attrs.get(name) for name in FILL_ATTRS), nodata):
        if fill is not None:
            out = out.where(~is_fill(da, fill))
    if scale is None:
        scale = attrs.get("scales", attrs.get("scale_factor", 1.0))
        if np.all(np.asarray(scale) == 1) and "reflectance_scale_factor" in attrs:
            scale = 1.0 / float(attrs["reflectance_scale_factor"])
    if offset is None:
        offset = attrs.get("offsets", attrs.get("add_offset", 0.0))
    factor, shift = (_over_band(da, band, v) for v in (scale, offset))
    if np.any(factor != 1):
        out = out * factor
    if np.any(shift != 0):
        out = out + shift
    out = out.rename(da.name)
    out.attrs = {k: v for k, v in attrs.items() if k not in _SPENT}
    described = out.attrs.get("long_name")
    if isinstance(described, tuple | list):
        del out.attrs["long_name"]
        if len(described) == da.sizes[band]:
            out = out.assign_coords(description=(band, np.asarray(described, dtype=object)))
    return out


def _over_band(da: xr.DataArray, band: str, value: Any) -> xr.DataArray:
    number = np.asarray(value, dtype=np.float32)
    if number.ndim == 0:
        return xr.DataArray(number)
    return xr.DataArray(_per_band(da, band, number, "scale/offset"), dims=band)


def conventional(
    da: xr.DataArray,
    band: str,
    y: str | None,
    x: str | None,
    *,
    wavelength: np.ndarray,
    fwhm: np.ndarray | None,
    good_band: np.ndarray,
) -> xr.DataArray:
    """Dims (..., band, y, x) and CF coordinates along the bands."""
    said = [spectral_coord(da, band)]
    said += [band_coord(da, band, names) for names in (FWHM_NAMES, GOOD_BAND_NAMES)]
    da = da.drop_vars({c.name for c in said if c is not None})
    names = {"y": y, "x": x, "band": band}
    for target, dim in names.items():
        if dim is not None and dim != target:
            da, names[target] = _rename(da, dim, target)
    band = str(names["band"])
    index = da.indexes.get(band)
    if index is None or not index.is_unique or index.dtype.kind == "f":
        da = da.assign_coords({band: np.arange(1, da.sizes[band] + 1)})
    attrs = {
        "units": "nm",
        "standard_name": "sensor_band_central_radiation_wavelength",
        "long_name": "wavelength",
    }
    da = da.assign_coords(wavelength=(band, wavelength, attrs))
    if fwhm is not None:
        width = {"units": "nm", "long_name": "full width at half maximum"}
        da = da.assign_coords(fwhm=(band, fwhm, width))
    da = da.assign_coords(good_band=(band, good_band, {"long_name": "band to be used"}))
    last = [n for n in (band, names["y"], names["x"]) if n is not None]
    return da.transpose(..., *last)


def _rename(da: xr.DataArray, dim: str, target: str) -> tuple[xr.DataArray, str]:
    if target in da.dims or target in da.coords:
        coord = da.coords.get(target)
        if target in da.dims or coord is None or coord.dims not in ((dim,), ()):
            return da, dim  # taken, for example by a 2-D coordinate: the name stays
        if coord.dims == ():
            return da.drop_vars(target).rename({dim: target}), target
        return da.swap_dims({dim: target}), target
    return da.rename({dim: target}), target
