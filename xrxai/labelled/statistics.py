"""Statistics over the valid pixels of a cube: what baselines, noise and imputation start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xrxai.labelled.cube import Cube

_PIXELS = 20_000


def pixels(place: Cube) -> list[str]:
    """Dims of the pixels of one sample: rows and columns, or the rows of a table."""
    return [d for d in (place.y, place.x) if d is not None] or list(place.lead)


def thinned(place: Cube, over: list[str]) -> dict[Any, slice]:
    """Every how manieth pixel to take along `over`, so that about 20 000 remain."""
    total = int(np.prod([place.data.sizes[d] for d in over]))
    step = max(1, int(np.ceil((total / _PIXELS) ** (1 / len(over))))) if over else 1
    return dict.fromkeys(over, slice(None, None, step))


def over_spectra(
    place: Cube,
    valid: xr.DataArray,
    function: Callable[[np.ndarray], np.ndarray],
    new: Mapping[Any, int],
    over: list[str],
) -> xr.DataArray:
    """function(spectra (pixel, good band) float64) over `new` dims, for the other dims each.

    Now, or later for a lazy cube; at most about 20 000 pixels, the same ones either way, so
    that a scene needs no memory to speak of.
    """
    some = thinned(place, over)
    data = place.data.isel(some).reset_coords(drop=True)
    keep = valid.isel(some).reset_coords(drop=True)
    if place.lazy:
        data = data.chunk(dict.fromkeys([place.band, *over], -1))
        keep = keep.chunk(dict.fromkeys(over, -1))

    def each(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
        table = values.reshape(len(values), -1)[place.good_band][:, kept.ravel()]
        return function(table.T.astype(np.float64))

    made: xr.DataArray = xr.apply_ufunc(
        each,
        data,
        keep,
        input_core_dims=[[place.band, *over], over],
        output_core_dims=[list(new)],
        exclude_dims={place.band},
        vectorize=any(d not in over for d in keep.dims),
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": dict(new)},
        output_dtypes=[np.float64],
    )
    return made


def quantiles(place: Cube, valid: xr.DataArray, levels: list[float]) -> xr.DataArray:
    """Quantiles of every band (quantile, band), 0 in bad bands; of each sample for itself."""
    n_bands = place.good_band.size

    def found(spectra: np.ndarray) -> np.ndarray:
        out = np.zeros((len(levels), n_bands))
        if len(spectra):
            out[:, place.good_band] = np.quantile(spectra, levels, axis=0)
        return out

    new = {"quantile": len(levels), place.band: n_bands}
    return over_spectra(place, valid, found, new, pixels(place))


def moments(place: Cube, valid: xr.DataArray, shrinkage: float, other: str) -> xr.DataArray:
    """Mean (first row) and covariance (the others) of all valid spectra; NaN in bad bands."""
    n_bands, good = place.good_band.size, np.flatnonzero(place.good_band)

    def found(spectra: np.ndarray) -> np.ndarray:
        out = np.full((1 + n_bands, n_bands), np.nan)
        if len(spectra) < 2:
            return out
        covariance = np.atleast_2d(np.cov(spectra, rowvar=False))
        variance = np.diag(covariance)
        # A band that never varies tells nothing of others; its variance must not be zero.
        floor = np.maximum(variance, 1e-9 * variance.mean())
        covariance = (1 - shrinkage) * covariance + np.diag(floor - (1 - shrinkage) * variance)
        out[0, good] = spectra.mean(axis=0)
        out[np.ix_(1 + good, good)] = covariance
        return out

    over = [str(d) for d in place.data.dims if d != place.band]
    return over_spectra(place, valid, found, {other: 1 + n_bands, place.band: n_bands}, over)


def mean(place: Cube, valid: xr.DataArray) -> xr.DataArray:
    """Mean spectrum, of each sample for itself; 0 in bad bands."""
    # where() before mean: what an invalid pixel holds must not matter, infinite or not.
    kept = place.data.where(valid & xr.DataArray(place.good_band, dims=place.band))
    return kept.mean(pixels(place)).fillna(0.0).reset_coords(drop=True)


def blur(place: Cube, valid: xr.DataArray, sigma: float) -> xr.DataArray:
    """The cube smoothed over rows and columns by normalised convolution."""
    plane = [place.y, place.x]

    def smooth(values: np.ndarray, keep: np.ndarray) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        width = (0.0,) * (values.ndim - 2) + (sigma, sigma)
        top = gaussian_filter(np.where(keep, values, 0.0), width, mode="nearest")
        share = gaussian_filter(keep.astype(top.dtype), width[-keep.ndim :], mode="nearest")
        out: np.ndarray = np.divide(top, share, out=np.zeros_like(top), where=share > 1e-6)
        return out

    data = place.data.astype(float) if place.data.dtype.kind != "f" else place.data
    data = data.where(xr.DataArray(place.good_band, dims=place.band), 0.0)
    if place.lazy:
        data = data.chunk(dict.fromkeys(plane, -1))
        valid = valid.chunk(dict.fromkeys(plane, -1))
    blurred: xr.DataArray = xr.apply_ufunc(
        smooth,
        data.reset_coords(drop=True),
        valid.reset_coords(drop=True),
        input_core_dims=[[place.band, *plane], plane],
        output_core_dims=[[place.band, *plane]],
        vectorize=bool(place.lead),
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[data.dtype],
        keep_attrs=True,
    )
    return blurred
