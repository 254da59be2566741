"""What "absent" means: the values that stand in for what a method removes."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import BaselineError
from xrxai.labelled.cube import Cube, locate

Baseline = float | str | np.ndarray | xr.DataArray
"""What `baseline=` accepts: see `baseline`."""


def baseline(
    cube: xr.DataArray,
    value: Baseline = 0.0,
    *,
    mask: xr.DataArray | np.ndarray | None = None,
    sigma: float = 5.0,
) -> xr.DataArray:
    """
    Make the values that stand in for what a method removes.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The cube that is explained.
    value : optional
        * a number, in units of the cube (default 0: for reflectance that is deep shadow, not
          absence);
        * ``"mean"``: the mean spectrum of the valid pixels, of each sample for itself;
        * ``"blur"``: the cube smoothed over y and x by a Gaussian, nodata left out
          (normalised convolution);
        * an array or DataArray of one value per band, or of the shape of the cube.
    mask : bool DataArray or array, (y, x), optional
        True = keep: the valid pixels of ``"mean"`` and ``"blur"``.
    sigma : float, default: 5.0
        Width of the blur in pixels. Larger removes more detail.

    Returns
    -------
    DataArray
        Over those dims of the cube that the values need. Lazy when it is computed from a
        lazy cube.

    Raises
    ------
    BaselineError
        The word is unknown, the values do not fit the cube or are not finite.
    """
    place = locate(cube)
    return settle(place, value, place.valid(mask), sigma=sigma)


def settle(
    place: Cube, value: Baseline, valid: xr.DataArray, *, sigma: float = 5.0
) -> xr.DataArray:
    """Turn what the user wrote into a DataArray over dims of the cube."""
    da = place.data
    if isinstance(value, bool):
        raise BaselineError(f"baseline={value!r} is no value; type a number such as 0.0.")
    if isinstance(value, Real):
        if not np.isfinite(value):
            raise BaselineError(f"baseline={value!r} is not finite; type a number such as 0.0.")
        made = xr.DataArray(np.float64(value))
    elif isinstance(value, str):
        if value not in ("mean", "blur"):
            raise BaselineError(
                f"baseline={value!r} is not known; type 'mean', 'blur', a number or an array."
            )
        made = _mean(place, valid) if value == "mean" else _blur(place, valid, sigma)
    else:
        made = _given(place, value)
    finite = np.isfinite(made) | ~valid | ~xr.DataArray(place.good_band, dims=place.band)
    if not place.lazy and not bool(finite.all()):
        raise BaselineError(
            "The baseline is not finite everywhere; fill its gaps: type baseline.fillna(0), or "
            "np.nan_to_num(baseline) for a plain array."
        )
    return made.transpose(*(d for d in da.dims if d in made.dims))


def describe(value: Baseline) -> float | str:
    """How a baseline is written into the options of a result."""
    if isinstance(value, str):
        return value
    if isinstance(value, Real):
        return float(value)
    name = getattr(value, "name", None)
    return f"given {name or 'array'} {tuple(np.shape(value))}"


def _pixels(place: Cube) -> list[str]:
    return [d for d in (place.y, place.x) if d is not None] or list(place.lead)


def _mean(place: Cube, valid: xr.DataArray) -> xr.DataArray:
    over = _pixels(place)
    if not place.lazy and bool((valid.sum(over) == 1).any()):
        raise BaselineError(
            "baseline='mean' of a single valid pixel is that pixel: nothing would be removed. "
            "Give the mean spectrum of other pixels: baseline=cubes.mean(['sample', 'y', 'x'])."
        )
    # where() before mean: what an invalid pixel holds must not matter, infinite or not.
    kept = place.data.where(valid & xr.DataArray(place.good_band, dims=place.band))
    return kept.mean(over).fillna(0.0).reset_coords(drop=True)


def extremes(place: Cube, valid: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Lowest and highest value of each band over the valid pixels of a sample."""
    kept = valid & xr.DataArray(place.good_band, dims=place.band)
    low = place.data.where(kept, np.inf).min(_pixels(place))
    high = place.data.where(kept, -np.inf).max(_pixels(place))
    found = (low.where(np.isfinite(low), 0.0), high.where(np.isfinite(high), 0.0))
    return found[0].reset_coords(drop=True), found[1].reset_coords(drop=True)


def _blur(place: Cube, valid: xr.DataArray, sigma: float) -> xr.DataArray:
    if place.y is None or place.x is None:
        raise BaselineError(
            "baseline='blur' needs rows and columns, the cube is a table of spectra; "
            "type baseline='mean'."
        )
    if not sigma > 0:
        raise BaselineError(f"sigma={sigma!r} does not blur; type a width in pixels such as 5.0.")
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


def _given(place: Cube, value: Any) -> xr.DataArray:
    da = place.data
    array = value if isinstance(value, xr.DataArray) else np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise BaselineError(
            f"The baseline has dtype {array.dtype}, and real numbers are needed; type a number, "
            f"'mean', 'blur' or an array of numbers."
        )
    if not isinstance(value, xr.DataArray):
        dims: tuple[Any, ...] = (place.band,) if array.ndim == 1 else da.dims
        if array.shape != tuple(da.sizes[d] for d in dims):
            raise BaselineError(
                f"The baseline has shape {array.shape}; give one value per band "
                f"({da.sizes[place.band]},) or the shape of the cube {da.shape}."
            )
        return xr.DataArray(array, dims=dims)
    wrong = {str(d): n for d, n in value.sizes.items() if da.sizes.get(d) != n}
    if wrong:
        raise BaselineError(
            f"The baseline has dims {dict(value.sizes)}, the cube {dict(da.sizes)}; give a "
            f"DataArray over dims of the cube, for example cube.mean(['y', 'x'])."
        )
    for dim in value.dims:
        theirs, ours = value.indexes.get(dim), da.indexes.get(dim)
        if theirs is not None and ours is not None and not theirs.equals(ours):
            raise BaselineError(
                f"The baseline and the cube differ in the values of {str(dim)!r}; "
                f"type baseline.drop_vars({str(dim)!r}) if they mean the same."
            )
    return value.reset_coords(drop=True)
