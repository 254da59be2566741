"""Which dim is which, and what the wavelengths are: one table for names, one for units."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
import xarray as xr

from xrxai.errors import BandError, CubeError

WAVELENGTH_STANDARD_NAMES = (
    "sensor_band_central_radiation_wavelength",
    "radiation_wavelength",
)
WAVELENGTH_NAMES = (
    "wavelength",
    "wavelengths",
    "radiation_wavelength",
    "sensor_band_central_radiation_wavelength",
    "center_wavelength",
    "centre_wavelength",
    "central_wavelength",
    "center_wavelengths",
    "wavelength_nm",
    "wavelength_um",
    "wl",
    "wvl",
    "lambda",
)
FWHM_NAMES = ("fwhm", "full_width_half_max", "fwhm_nm", "bandwidth", "bandwidths")
FILL_ATTRS = ("_FillValue", "missing_value", "nodata")
GOOD_BAND_NAMES = ("good_band", "good_bands", "good_wavelengths", "good_wavelength", "bbl")
BAND_NAMES = (
    "band",
    "bands",
    *WAVELENGTH_NAMES,
    "channel",
    "channels",
    "spectral",
    "spectral_band",
)
# Pairs, because "sample" is a column beside "line" and a leading dim anywhere else.
SPATIAL_PAIRS = (
    ("y", "x"),
    ("lat", "lon"),
    ("latitude", "longitude"),
    ("northing", "easting"),
    ("row", "col"),
    ("row", "column"),
    ("rows", "cols"),
    ("rows", "columns"),
    ("line", "sample"),
    ("lines", "samples"),
    ("downtrack", "crosstrack"),
    ("along_track", "across_track"),
    ("ortho_y", "ortho_x"),
    ("height", "width"),
    ("yc", "xc"),
)
AXIS_STANDARD_NAMES = {
    "y": ("projection_y_coordinate", "latitude", "grid_latitude"),
    "x": ("projection_x_coordinate", "longitude", "grid_longitude"),
}
AXIS_UNITS = {
    "y": ("degrees_north", "degree_north", "degree_n", "degrees_n"),
    "x": ("degrees_east", "degree_east", "degree_e", "degrees_e"),
}

NM_PER_UNIT = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometers": 1.0,
    "nanometre": 1.0,
    "nanometres": 1.0,
    "um": 1e3,
    "\u00b5m": 1e3,  # micro sign
    "\u03bcm": 1e3,  # Greek mu
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometers": 1e3,
    "micrometre": 1e3,
    "micrometres": 1e3,
    "angstrom": 0.1,
    "angstroms": 0.1,
    "m": 1e9,
    "meter": 1e9,
    "meters": 1e9,
    "metre": 1e9,
    "metres": 1e9,
}
NO_UNIT = ("", "1", "-", "none", "unknown", "index")
# A metre is a unit of wavelength, but on a dim it says "projected map".
_UNITS_OF_A_BAND_DIM = tuple(u for u, f in NM_PER_UNIT.items() if f < 1e9)


def settle_dims(
    da: xr.DataArray, band_dim: str | None, y_dim: str | None, x_dim: str | None
) -> tuple[str, str | None, str | None]:
    """Names of the spectral dim and of the two spatial ones (both or neither)."""
    dims = [str(d) for d in da.dims]
    for option, name in (("band_dim", band_dim), ("y_dim", y_dim), ("x_dim", x_dim)):
        if name is not None and name not in dims:
            raise CubeError(
                f"{option}={name!r} is not a dim of the cube, whose dims are {tuple(dims)}; "
                f"type {option}= with one of them."
            )
    given = [n for n in (band_dim, y_dim, x_dim) if n is not None]
    if len(set(given)) != len(given):
        raise CubeError(
            f"band_dim={band_dim!r}, y_dim={y_dim!r} and x_dim={x_dim!r} name one dim twice; "
            f"type three different ones of {tuple(dims)}."
        )
    free = [d for d in dims if d not in given]
    y, x = _settle_spatial(da, free, y_dim, x_dim)
    band = band_dim or _settle_band(da, [d for d in free if d not in (y, x)])
    return band, y, x


def _settle_spatial(
    da: xr.DataArray, free: list[str], y: str | None, x: str | None
) -> tuple[str | None, str | None]:
    if y is not None and x is not None:
        return y, x
    lower = {d.lower(): d for d in free}
    if y is not None or x is not None:
        partner = dict(SPATIAL_PAIRS) if y else {b: a for a, b in SPATIAL_PAIRS}
        other = lower.get(partner.get(str(y or x).lower(), ""))
        other = other or _by_cf(da, free)["x" if y else "y"]
        if other is None:
            have, lack = ("y_dim", "x_dim") if y else ("x_dim", "y_dim")
            raise CubeError(
                f"{have}={y or x!r} came alone and no dim of {tuple(map(str, da.dims))} is plainly "
                f"its partner; type {lack}= too."
            )
        return (y, other) if y else (other, x)
    cf = _by_cf(da, free)
    if cf["y"] is not None and cf["x"] is not None:
        return cf["y"], cf["x"]
    for a, b in SPATIAL_PAIRS:
        if a in lower and b in lower:
            return lower[a], lower[b]
    if "rioxarray" in sys.modules:  # names told with .rio.set_spatial_dims
        try:
            y, x = str(da.rio.y_dim), str(da.rio.x_dim)
        except Exception:
            return None, None
        return (y, x) if y in free and x in free else (None, None)
    return None, None


def _by_cf(da: xr.DataArray, free: Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {"y": None, "x": None}
    for dim in free:
        attrs = da[dim].attrs if dim in da.coords else {}
        for role in ("y", "x"):
            if found[role] is None and (
                str(attrs.get("axis", "")).lower() == role
                or attrs.get("standard_name") in AXIS_STANDARD_NAMES[role]
                or str(attrs.get("units", "")).lower() in AXIS_UNITS[role]
            ):
                found[role] = dim
    return found


def _settle_band(da: xr.DataArray, free: list[str]) -> str:
    told = [d for d in free if spectral_coord(da, d) is not None]
    named = [d for d in free if d.lower() in BAND_NAMES]
    for candidates in (told, named):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise CubeError(
                f"The dims {tuple(candidates)} could both be the spectral one; say which holds the "
                f"bands: xrxai.to_cube(cube, band_dim={candidates[0]!r})."
            )
    raise CubeError(
        f"No dim of {tuple(map(str, da.dims))} is known as the spectral one (names such as 'band' "
        "or 'wavelength', or a coordinate of wavelengths); name it: "
        f"xrxai.to_cube(cube, band_dim={str(da.dims[0])!r})."
    )


def band_coord(da: xr.DataArray, band: str, names: tuple[str, ...]) -> xr.DataArray | None:
    """Find the first 1-D coordinate along `band` with one of `names`, whatever the case."""
    along: dict[str, xr.DataArray] = {}
    for key, coord in da.coords.items():
        if coord.dims == (band,):
            along[str(key).lower()] = coord
    return next((along[n] for n in names if n in along), None)


def spectral_coord(da: xr.DataArray, band: str) -> xr.DataArray | None:
    """Find the coordinate of wavelengths along `band`: by CF name, by name, by its units."""
    coords: list[xr.DataArray] = [c for c in da.coords.values() if c.dims == (band,)]
    for coord in coords:
        if coord.attrs.get("standard_name") in WAVELENGTH_STANDARD_NAMES:
            return coord
    named = band_coord(da, band, WAVELENGTH_NAMES)
    if named is not None and named.dtype.kind in "iuf":
        return named
    for coord in coords:
        units = str(coord.attrs.get("units", "")).strip().lower()
        if coord.name == band and coord.dtype.kind in "iuf" and units in _UNITS_OF_A_BAND_DIM:
            return coord
    return None


def numbers(coord: xr.DataArray) -> np.ndarray:
    """Read a small coordinate: one number per band, also where zarr left it lazy."""
    data = coord.data
    if hasattr(data, "dask"):  # open_zarr makes every non-index coordinate a dask array
        data = data.compute(scheduler="synchronous")
    return np.asarray(data)


def to_nm(values: np.ndarray, units: object, *, what: str = "wavelengths") -> np.ndarray:
    """Wavelengths in nm, float64; without units the range decides."""
    try:
        wl = np.asarray(values).astype(np.float64)
    except (TypeError, ValueError):
        raise BandError(
            f"The {what} {_listed(values)} are not numbers; type wavelength= with one number per "
            "band."
        ) from None
    if not np.all(np.isfinite(wl) & (wl > 0)):
        bad = np.flatnonzero(~(np.isfinite(wl) & (wl > 0))).tolist()
        raise BandError(
            f"The {what} of the bands at positions {bad} are not positive numbers "
            f"({_listed(wl[bad])}); drop these bands with .isel() or type wavelength= anew."
        )
    unit = "" if units is None else str(units).strip().lower()
    low, high = (float(wl.min()), float(wl.max())) if wl.size else (500.0, 500.0)
    if unit in NO_UNIT:
        if high < 30:
            factor = 1e3
        elif low >= 200 and high <= 30000:
            factor = 1.0
        else:
            raise BandError(
                f"The {what} run from {low:g} to {high:g} and carry no units, which fits neither "
                "micrometres (below 30) nor nanometres (200 to 30000); set units='nm', 'um' or 'm' "
                "on the coordinate or in xrxai.to_cube(..., units=)."
            )
    elif unit in NM_PER_UNIT:
        factor = NM_PER_UNIT[unit]
        if not 100 <= low * factor <= high * factor <= 1e6:
            raise BandError(
                f"The {what} run from {low:g} to {high:g} and their units say {units!r}, which is "
                "outside 100 to 1000000 nm; correct the units of the coordinate or type "
                "units= in xrxai.to_cube(...)."
            )
    else:
        raise BandError(
            f"The {what} have units {units!r}, which are no length that is known; type "
            "wavelength= in nanometres, or units='nm', 'um' or 'm'."
        )
    # Rounded at 1e-9 nm: 0.4505 um * 1000 is 450.49999999999994.
    return wl if factor == 1.0 else np.round(wl * factor, 9)


def fwhm_to_nm(values: np.ndarray, units: object, wavelength: np.ndarray | None) -> np.ndarray:
    """Band widths in nm; their units are their own, even beside wavelengths in nm."""
    fwhm = np.asarray(values).astype(np.float64)
    fwhm = np.where(np.isfinite(fwhm) & (fwhm > 0), fwhm, np.nan)
    unit = "" if units is None else str(units).strip().lower()
    if unit in NM_PER_UNIT:
        factor = NM_PER_UNIT[unit]
    elif unit in NO_UNIT:
        factor = _likely_fwhm_factor(fwhm, wavelength)
    else:
        raise BandError(
            f"The band widths (fwhm) have units {units!r}, which are no length that is known; type "
            "fwhm= in nanometres in xrxai.to_cube(...)."
        )
    return fwhm if factor == 1.0 else np.round(fwhm * factor, 9)


def _likely_fwhm_factor(fwhm: np.ndarray, wavelength: np.ndarray | None) -> float:
    if not np.isfinite(fwhm).any():
        return 1.0
    width = float(np.nanmedian(fwhm))
    step = 10.0
    if wavelength is not None and np.unique(wavelength).size > 1:
        step = float(np.median(np.diff(np.unique(wavelength))))
    # Neighbouring bands touch: of nm and um, the unit whose width is nearer to the step.
    return min((1.0, 1e3), key=lambda f: abs(np.log(width * f / step)))


def is_fill(da: xr.DataArray, fill: object) -> xr.DataArray:
    """Say where the stored value is `fill` (one number, or several); lazy."""
    found = xr.zeros_like(da, dtype=bool)
    for value in np.atleast_1d(np.asarray(np.nan if fill is None else fill)):
        if not np.issubdtype(np.asarray(value).dtype, np.number) or not np.isfinite(value):
            continue
        if da.dtype.kind == "f":  # -3.4e38 said as float64 equals no float32
            with np.errstate(over="ignore"):
                value = np.asarray(value).astype(da.dtype)[()]
        found = found | (da == value)
    return found


def _listed(values: object) -> str:
    listed = [v.item() if hasattr(v, "item") else v for v in np.atleast_1d(np.asarray(values))]
    return str(listed) if len(listed) <= 5 else f"[{listed[0]!r}, ..., {listed[-1]!r}]"
