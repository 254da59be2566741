"""What "absent" means: the values that stand in for what a method removes."""

from __future__ import annotations

import re
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import BaselineError
from xrxai.labelled import statistics
from xrxai.labelled.cube import Cube, locate

Baseline = float | str | np.ndarray | xr.DataArray
"""What `baseline=` accepts: see `baseline`."""

_SAME_NM = 1.0


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
        * ``"mean"``, ``"median"`` or a percentile such as ``"p05"`` of every band over the
          valid pixels, of each sample for itself (the last two of about 20 000 pixels at most);
        * ``"blur"``: the cube smoothed over y and x by a Gaussian, nodata left out
          (normalised convolution);
        * a spectrum (band,): the mean of a class, an endmember, a background;
        * an array or DataArray of the shape of the cube, or over some of its dims: another date;
        * ``"interpolate"``, in `occlusion_spectral` and `lime_spectral` only, as it depends on
          what is removed: linear in wavelength between the nearest kept bands, the nearest one
          beyond the ends, the mean spectrum where nothing is kept.
    mask : bool DataArray or array, (y, x), optional
        True = keep: the valid pixels of the words above.
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
        if value == "interpolate":
            raise BaselineError(
                "baseline='interpolate' fills removed bands from the kept ones, so it needs a "
                "method that removes some bands and keeps others: occlusion_spectral or "
                "lime_spectral. Type baseline='mean' here."
            )
        if not (value in ("mean", "median", "blur") or _is_percentile(value)):
            raise BaselineError(
                f"baseline={value!r} is not known; type 'mean', 'median', a percentile such as "
                f"'p05', 'blur', a number or an array."
            )
        blurred = value == "blur"
        made = _blur(place, valid, sigma) if blurred else _of_pixels(place, value, valid)
    else:
        made = _given(place, value)
    finite = np.isfinite(made) | ~valid | ~xr.DataArray(place.good_band, dims=place.band)
    if not place.lazy and not bool(finite.all()):
        raise BaselineError(
            "The baseline is not finite everywhere; fill its gaps: type baseline.fillna(0), or "
            "np.nan_to_num(baseline) for a plain array."
        )
    return made.transpose(*(d for d in da.dims if d in made.dims))


def _is_percentile(word: str) -> bool:
    return re.fullmatch(r"p\d{1,2}(\.\d+)?|p100", word) is not None


def describe(value: Baseline) -> float | str:
    """How a baseline is written into the options of a result."""
    if isinstance(value, str):
        return value
    if isinstance(value, Real):
        return float(value)
    name = getattr(value, "name", None)
    return f"given {name or 'array'} {tuple(np.shape(value))}"


def _of_pixels(place: Cube, word: str, valid: xr.DataArray) -> xr.DataArray:
    if not place.lazy and bool((valid.sum(statistics.pixels(place)) == 1).any()):
        raise BaselineError(
            f"baseline={word!r} of a single valid pixel is that pixel: nothing would be removed. "
            f"Give the mean spectrum of other pixels: baseline=cubes.mean(['sample', 'y', 'x'])."
        )
    if word == "mean":
        return statistics.mean(place, valid)
    level = 50.0 if word == "median" else float(word[1:])
    return statistics.quantiles(place, valid, [level / 100]).isel(quantile=0)


def extremes(place: Cube, valid: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Lowest and highest value of each band over the valid pixels of a sample."""
    kept = valid & xr.DataArray(place.good_band, dims=place.band)
    low = place.data.where(kept, np.inf).min(statistics.pixels(place))
    high = place.data.where(kept, -np.inf).max(statistics.pixels(place))
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
    return statistics.blur(place, valid, sigma)


def _given(place: Cube, value: Any) -> xr.DataArray:
    if place.chips is not None:
        return place.chips.cut(_given(place.chips.scene, value), 0)
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
    if place.band in value.dims:
        same_wavelengths(place, value, "baseline")
    return value.reset_coords(drop=True)


def same_wavelengths(place: Cube, value: xr.DataArray, name: str) -> None:
    """Refuse a spectrum that was sampled elsewhere than the cube."""
    theirs = locate(value, band_dim=place.band).wavelength
    if theirs is None or place.wavelength is None:
        return
    off = np.abs(theirs - place.wavelength)[place.good_band].max()
    if off > _SAME_NM:
        raise BaselineError(
            f"The {name} and the cube differ in wavelength by up to {off:.3g} nm; interpolate it "
            f"to the cube's bands, or type {name}.drop_vars('wavelength') if they mean the same."
        )
