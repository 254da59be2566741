"""open_cube: the file says what it is, and this turns it into a cube."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import CubeError, DataError
from xrxai.io.bandinfo import band_info
from xrxai.io.write import open_any
from xrxai.labelled.cube import to_cube
from xrxai.labelled.npz import read_npz

ENVI_SUFFIXES = ("", ".img", ".dat", ".raw", ".bin", ".bsq", ".bil", ".bip", ".ndi")
_NETCDF_SUFFIXES = (".nc", ".nc4", ".cdf")


def open_cube(
    path: str | os.PathLike[str],
    *,
    chunks: int | str | tuple[int, ...] | Mapping[str, int | str] | None = None,
    wavelength: Sequence[float] | np.ndarray | None = None,
    units: str | None = None,
    scale: float | Sequence[float] | None = None,
    offset: float | Sequence[float] | None = None,
    nodata: float | None = None,
    fwhm: Sequence[float] | np.ndarray | None = None,
    good_band: Sequence[bool] | np.ndarray | None = None,
    mask: xr.DataArray | np.ndarray | None = None,
) -> xr.DataArray:
    """Open a cube with its wavelengths, CRS and missing pixels.

    ENVI (the header or the raw file beside it), GeoTIFF and what else GDAL reads, netCDF and Zarr
    that hold a cube, and the .npz of the HYPERVIEW challenge.

    Parameters
    ----------
    path : str or path
        The file; for Zarr the folder.
    chunks : int, "auto", tuple or dict, optional
        As in xarray, for example ``{"y": 512, "x": 512}``: the cube is then a dask array and pixels
        are read when they are needed. By default the whole cube is read now. An .npz is always
        read whole and split afterwards.
    wavelength : (band,)
        Replaces what the file says. Needed when it says nothing.
    units : str
        Of the wavelengths ("nm", "um", "m"); by default as the file says, else by their range.
    scale, offset : float or (band,)
        value = stored * scale + offset; by default the file's own.
    nodata : float
        Stored value that means missing, besides the file's own.
    fwhm : (band,)
        Band widths in nm.
    good_band : bool (band,)
        False for bands to leave out.
    mask : bool (y, x)
        True = keep.

    Returns
    -------
    DataArray, (band, y, x), float32
        With the coordinates wavelength (nm), good_band, and fwhm (nm), valid (y, x) and
        spatial_ref where known; NaN where data is missing.

    Raises
    ------
    DataError
        When there is no such file, or no raw file beside an ENVI header.
    CubeError
        When the file does not hold a cube.
    BandError
        When it has no wavelengths, or some that cannot be understood.

    Notes
    -----
    Wavelengths of a raster are taken from the first of: tags of each band (wavelength,
    wavelength_units), the lists of an ENVI header, CENTRAL_WAVELENGTH_UM of the IMAGERY domain, a
    number with a unit in the description of each band, known band names.
    A map that is turned against the pixel grid keeps its 2-D coordinates xc and yc.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no file {str(path)!r}; type the path of a cube.")
    # However the path is spelled, what dask makes of the file has one name: a run is resumed by it.
    path = path.resolve()
    suffix = path.suffix.lower()
    found: xr.DataArray | xr.Dataset
    if suffix == ".npz":
        found = read_npz(path, wavelength=wavelength, units=units)
        wavelength = units = None
        found = found if chunks is None else _chunked(found, chunks)
    elif suffix in _NETCDF_SUFFIXES or suffix == ".zarr":
        found = _open_dataset(path, chunks)
    else:
        has_own = wavelength is not None
        found = _open_raster(_raw_of(path) if suffix == ".hdr" else path, chunks, has_own)
    return to_cube(
        found,
        wavelength=wavelength,
        units=units,
        scale=scale,
        offset=offset,
        nodata=nodata,
        fwhm=fwhm,
        good_band=good_band,
        mask=mask,
    )


def _chunked(da: xr.DataArray, chunks: Any) -> xr.DataArray:
    return da.chunk(dict(chunks) if isinstance(chunks, Mapping) else chunks)


def _raw_of(header: Path) -> Path:
    """Find the raw file of an ENVI header: scene.hdr -> scene, scene.img; scene.img.hdr."""
    stem = header.with_suffix("")
    tried = [Path(str(stem) + s) for s in ENVI_SUFFIXES]
    tried += [Path(str(stem) + s.upper()) for s in ENVI_SUFFIXES if s]
    found = next((p for p in tried if p.is_file()), None)
    if found is None:
        shown = ", ".join(p.name for p in tried[: len(ENVI_SUFFIXES)])
        raise DataError(
            f"The header {str(header)!r} has no raw file beside it (looked for {shown}); put it "
            "there, or type the path of the raw file."
        )
    return found


def _open_dataset(path: Path, chunks: Any) -> xr.Dataset:
    ds = open_any(path, chunks)
    if "attribution" in ds.data_vars:
        raise CubeError(
            f"{str(path)!r} holds an explanation, not a cube; type "
            f"xrxai.open_explanation({str(path)!r})."
        )
    return ds if chunks is not None else ds.load()


@contextmanager
def quiet_about_georeference() -> Iterator[None]:
    """Let rasterio say nothing of rasters without a map: a cube in pixel space is fine."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _open_raster(path: Path, chunks: Any, has_wavelength: bool) -> xr.DataArray:
    import rasterio
    import rioxarray
    from rasterio.errors import RasterioIOError

    with quiet_about_georeference():
        try:
            with rasterio.open(path) as src:
                info = band_info(src)
        except RasterioIOError as error:
            raise CubeError(
                f"{str(path)!r} is not a raster that GDAL can read ({error}); type the path of an "
                "ENVI, GeoTIFF, netCDF, Zarr or HYPERVIEW .npz cube."
            ) from error
        da = rioxarray.open_rasterio(path, chunks=chunks, parse_coordinates=True)
    if not isinstance(da, xr.DataArray):
        raise CubeError(
            f"{str(path)!r} holds several rasters; open it with rioxarray.open_rasterio and type "
            "xrxai.to_cube(...) with the one you mean."
        )
    if chunks is None:
        da = da.load()
        da.close()
    da = da.drop_vars([n for n in ("wavelength", "fwhm", "good_band") if n in da.coords])
    da.attrs = {k: v for k, v in da.attrs.items() if not re.fullmatch(r"(?i)band_\d+", str(k))}
    if info.wavelength is not None and not has_wavelength:
        units = {} if info.units is None else {"units": info.units}
        da = da.assign_coords(wavelength=("band", info.wavelength, units))
    if info.fwhm is not None:
        units = {} if info.fwhm_units is None else {"units": info.fwhm_units}
        da = da.assign_coords(fwhm=("band", info.fwhm, units))
    if info.good_band is not None:
        da.attrs.pop("bbl", None)
        da = da.assign_coords(good_band=("band", info.good_band))
    if info.names is not None:
        da = da.assign_coords(description=("band", np.asarray(info.names, dtype=object)))
        da.attrs.pop("long_name", None)
    da.attrs.pop("wavelength_units", None)  # said on the coordinate now
    return da
