"""Where the bands, rows and columns of a cube are, and how anything becomes a cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import BandError, CubeError
from xrxai.labelled.axes import (
    FILL_ATTRS,
    FWHM_NAMES,
    GOOD_BAND_NAMES,
    band_coord,
    fwhm_to_nm,
    is_fill,
    numbers,
    settle_dims,
    spectral_coord,
    to_nm,
)
from xrxai.labelled.convert import as_data_array, conventional, kind, scale_and_clean, tell_bands

if TYPE_CHECKING:
    from xrxai.labelled.areas import Areas
    from xrxai.labelled.chips import Chips


@dataclass(frozen=True, eq=False)
class Cube:
    """A DataArray and where its bands, rows and columns are.

    Attributes
    ----------
    data : DataArray
        As given, untouched.
    band : str
        Name of the spectral dim.
    y, x : str or None
        Names of the spatial dims; both None for a table of spectra.
    lead : tuple of str
        Every other dim, in order (time, sample).
    wavelength : array (band,) or None
        Nanometres, float64, in band order; None when the cube has none.
    fwhm : array (band,) or None
        Nanometres.
    good_band : bool array (band,)
        All True when the cube says nothing.
    chips : Chips, Areas or None
        How a scene was cut, where this is a cube of chips of it or of windows around regions.
    """

    data: xr.DataArray
    band: str
    y: str | None
    x: str | None
    lead: tuple[str, ...]
    wavelength: np.ndarray | None
    fwhm: np.ndarray | None
    good_band: np.ndarray
    chips: Chips | Areas | None = None

    @property
    def lazy(self) -> bool:
        """True when the values are a dask array."""
        return hasattr(self.data.data, "dask")

    def require_wavelength(self) -> np.ndarray:
        """Wavelengths in nm, (band,).

        Raises
        ------
        BandError
            When the cube has none.
        """
        if self.wavelength is None:
            raise BandError(
                f"The cube has no wavelengths along {self.band!r} "
                f"({self.data.sizes[self.band]} bands), and they are needed here; type "
                "cube = xrxai.to_cube(cube, wavelength=[...]) with nanometres in band order."
            )
        return self.wavelength

    def valid(self, mask: xr.DataArray | np.ndarray | None = None) -> xr.DataArray:
        """Pixels with data, over every dim but the spectral one; True = keep.

        A pixel is valid when every good band is finite and not the fill value (attrs
        ``_FillValue``, ``missing_value``, ``nodata``), the coordinate ``valid`` is True where
        there is one, and `mask` is True.

        Parameters
        ----------
        mask : bool array or DataArray, (y, x) or any of the dims but the spectral one
            True = keep.

        Returns
        -------
        bool DataArray
            Lazy when the cube is lazy.

        Raises
        ------
        CubeError
            When the mask does not fit the cube.
        """
        good = self.data.isel({self.band: np.flatnonzero(self.good_band)})
        kept: xr.DataArray = np.isfinite(good)  # type: ignore[assignment]
        for name in FILL_ATTRS:
            if name in self.data.attrs:
                kept = kept & ~is_fill(good, self.data.attrs[name])
        kept = kept.all(self.band)
        others = tuple(str(d) for d in self.data.dims if d != self.band)
        if "valid" in self.data.coords:
            kept = kept & self.data.coords["valid"].astype(bool).reset_coords(drop=True)
        if mask is not None:
            kept = kept & mask_over(self, mask)
        kept = kept.reset_coords("valid", drop=True) if "valid" in kept.coords else kept
        kept.attrs = {"long_name": "pixels with data"}
        found: xr.DataArray = kept.transpose(*others).rename("valid")
        return found


def mask_over(cube: Cube, mask: xr.DataArray | np.ndarray) -> xr.DataArray:
    """`mask` as a bool DataArray on the cube's own coordinates, or CubeError."""
    sizes = {str(d): n for d, n in cube.data.sizes.items() if d != cube.band}
    if not hasattr(mask, "dtype"):
        mask = np.asarray(mask)
    if mask.dtype.kind not in "bui":
        raise CubeError(
            f"The mask has dtype {mask.dtype}, and it must say True (keep) or False; type "
            "mask=mask.astype(bool) or a comparison such as mask > 0."
        )
    if not isinstance(mask, xr.DataArray):
        dims = tuple(sizes)
        if mask.ndim != len(dims) and cube.y is not None and cube.x is not None:
            dims = tuple(d for d in dims if d in (cube.y, cube.x))
        if mask.shape != tuple(sizes[d] for d in dims):
            raise CubeError(
                f"The mask has shape {mask.shape} and the cube {sizes}; type a mask of shape "
                f"{tuple(sizes[d] for d in dims)} over {dims}."
            )
        return xr.DataArray(np.asarray(mask, dtype=bool), dims=dims)
    wrong = {str(d): n for d, n in mask.sizes.items() if sizes.get(str(d)) != n}
    if wrong:
        raise CubeError(
            f"The mask has the dims {dict(mask.sizes)} and the cube {sizes}; type a mask over dims "
            "of the cube other than the spectral one, of the same sizes."
        )
    for dim in mask.dims:
        theirs, ours = mask.indexes.get(dim), cube.data.indexes.get(dim)
        if theirs is not None and ours is not None and not theirs.equals(ours):
            raise CubeError(
                f"The mask and the cube differ in the values of {dim!r}; type "
                "mask.reindex_like(cube, method='nearest') or drop the coordinate with "
                f"mask.drop_vars({dim!r})."
            )
    return mask.astype(bool).reset_coords(drop=True)


def locate(
    da: xr.DataArray,
    *,
    band_dim: str | None = None,
    y_dim: str | None = None,
    x_dim: str | None = None,
) -> Cube:
    """Find bands, rows, columns and wavelengths; reads no pixel.

    Parameters
    ----------
    da : DataArray, any order of dims
    band_dim, y_dim, x_dim : str
        Names that the table of names does not know.

    Returns
    -------
    Cube

    Raises
    ------
    CubeError
        When no dim, or more than one, can be the spectral one.
    BandError
        When wavelengths, widths or the list of good bands cannot be understood.
    """
    if not isinstance(da, xr.DataArray):
        raise CubeError(
            f"A {kind(da)} came where a DataArray is needed; type xrxai.to_cube(...) to make one."
        )
    band, y, x = settle_dims(da, band_dim, y_dim, x_dim)
    if da.sizes[band] == 0:
        raise CubeError(f"The cube has no band along {band!r}; select at least one.")
    lead = tuple(str(d) for d in da.dims if d not in (band, y, x))
    coord = spectral_coord(da, band)
    wavelength = None
    if coord is not None:
        wavelength = to_nm(numbers(coord), _wavelength_units(da, coord))
    width = band_coord(da, band, FWHM_NAMES)
    fwhm = None
    if width is not None:
        units = width.attrs.get("units", da.attrs.get("fwhm_units"))
        fwhm = fwhm_to_nm(numbers(width), units, wavelength)
    return Cube(da, band, y, x, lead, wavelength, fwhm, _good_band(da, band))


def _wavelength_units(da: xr.DataArray, coord: xr.DataArray) -> object:
    named = {"wavelength_nm": "nm", "wavelength_um": "um"}.get(str(coord.name).lower())
    return coord.attrs.get("units", named or da.attrs.get("wavelength_units"))


def _good_band(da: xr.DataArray, band: str) -> np.ndarray:
    n = da.sizes[band]
    coord = band_coord(da, band, GOOD_BAND_NAMES)
    good: np.ndarray
    if coord is not None:
        good = numbers(coord).astype(np.float64) == 1
    elif "bbl" in da.attrs:
        good = _parse_flags(da.attrs["bbl"])
        if good.size != n:
            raise BandError(
                f"attrs['bbl'] lists {good.size} bands and the cube has {n}, so they no longer "
                "belong together; type del cube.attrs['bbl'], or select bands after "
                "xrxai.to_cube(cube), which turns the list into the coordinate good_band."
            )
    else:
        return np.ones(n, dtype=bool)
    if not good.any():
        raise BandError(
            f"All {n} bands are marked bad (good_band or bbl is False everywhere); correct it "
            "with xrxai.to_cube(cube, good_band=[...])."
        )
    return good


def _parse_flags(value: object) -> np.ndarray:
    items: Any = value.strip("{} ").split(",") if isinstance(value, str) else value
    try:
        flags: np.ndarray = np.atleast_1d(np.asarray(items)).astype(np.float64) == 1
        return flags
    except (TypeError, ValueError):
        raise BandError(
            f"attrs['bbl'] is {value!r}, and a list of 1 (good) and 0 (bad) is needed; type "
            "xrxai.to_cube(cube, good_band=[...])."
        ) from None


def to_cube(
    obj: xr.DataArray | xr.Dataset | np.ndarray,
    *,
    wavelength: Sequence[float] | np.ndarray | None = None,
    units: str | None = None,
    band_dim: str | None = None,
    y_dim: str | None = None,
    x_dim: str | None = None,
    scale: float | Sequence[float] | None = None,
    offset: float | Sequence[float] | None = None,
    nodata: float | None = None,
    fwhm: Sequence[float] | np.ndarray | None = None,
    good_band: Sequence[bool] | np.ndarray | None = None,
    mask: xr.DataArray | np.ndarray | None = None,
) -> xr.DataArray:
    """Bring an array, a DataArray or a Dataset of bands to the convention of xrxai.

    The result has dims (..., band, y, x), float32, NaN where data is missing, and the
    coordinates wavelength (band, nm), and fwhm (band, nm), good_band (band), valid (y, x) where
    known. CRS and all other coordinates are kept. A lazy input stays lazy.

    Parameters
    ----------
    obj : DataArray, Dataset or array
        A Dataset holds one cube with a spectral dim, or one variable per band. A plain array has
        the axes (band, y, x), (sample, band) or (sample, band, y, x).
    wavelength : (band,)
        In band order; replaces what the input says. Needed when the input has none and its bands
        carry no known names.
    units : str
        Of the wavelengths ("nm", "um", "m"); by default as the input says, else by their range.
    band_dim, y_dim, x_dim : str
        Names that are not detected.
    scale, offset : float or (band,)
        value = stored * scale + offset. By default the input's own scale_factor and add_offset
        (or the ENVI reflectance_scale_factor) where they have not been applied yet.
    nodata : float
        Stored value that means missing, besides the input's own.
    fwhm : (band,)
        Band widths in nm.
    good_band : bool (band,)
        False for bands to leave out.
    mask : bool (y, x) or with the leading dims
        True = keep; becomes the coordinate valid.

    Returns
    -------
    DataArray, (..., band, y, x), float32

    Raises
    ------
    CubeError
        When dims, dtype or mask do not fit.
    BandError
        When the wavelengths are missing or do not fit.

    Notes
    -----
    Wavelengths by band name are those of the sensor that the attributes platform, constellation
    or sensor name, and of Sentinel-2A for names such as B04, B8A or red; the attribute
    wavelength_source says so.
    """
    da = as_data_array(obj, band_dim=band_dim, y_dim=y_dim, x_dim=x_dim)
    band, y, x = settle_dims(da, band_dim, y_dim, x_dim)
    grid_mapping = da.encoding.get("grid_mapping", da.attrs.get("grid_mapping"))
    da = tell_bands(da, band, wavelength, units, fwhm, good_band)
    found = locate(da, band_dim=band, y_dim=y, x_dim=x)
    if mask is not None:
        keep = mask_over(found, mask)
        if "valid" in da.coords:
            keep = keep & da.coords["valid"].astype(bool).reset_coords(drop=True)
        da = da.assign_coords(valid=keep.assign_attrs(long_name="pixels with data"))
    da = conventional(
        scale_and_clean(da, band, scale, offset, nodata),
        band,
        y,
        x,
        wavelength=found.require_wavelength(),
        fwhm=found.fwhm,
        good_band=found.good_band,
    )
    if grid_mapping is not None and grid_mapping in da.coords:
        da.encoding["grid_mapping"] = grid_mapping
    return da


def summary(da: xr.DataArray) -> str:
    """One line about a cube, without reading a pixel."""
    try:
        place = locate(da)
    except (BandError, CubeError) as error:
        return f"<xai: not a cube: {error}>"
    parts = [f"{da.sizes[place.band]} bands"]
    if place.wavelength is not None:
        parts[0] += f" {np.nanmin(place.wavelength):.0f}-{np.nanmax(place.wavelength):.0f} nm"
    if place.y is not None and place.x is not None:
        parts.append(f"{da.sizes[place.y]} x {da.sizes[place.x]} px")
    if not place.good_band.all():
        parts.append(f"{int((~place.good_band).sum())} bad bands")
    mapping = da.coords.get("spatial_ref")
    if mapping is not None and "crs_wkt" in mapping.attrs:
        parts.append(str(mapping.attrs["crs_wkt"]).split('"')[1])
    return f"<xai: {', '.join(parts)}>"
