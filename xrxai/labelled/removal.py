"""What stands in for removed bands: a baseline, or what the kept bands make likely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xrxai.errors import BaselineError, CubeError, OptionError, choice, positive
from xrxai.imputation import Gaussian, Interpolated
from xrxai.labelled import baseline as baselines
from xrxai.labelled import statistics
from xrxai.labelled.cube import Cube, locate
from xrxai.spec import Output

Removal: TypeAlias = Literal["marginal", "conditional"]
"""What `removal=` accepts."""

_OTHER = "_other"


@dataclass(frozen=True, eq=False)
class Settled:
    """What a method that switches bands hands to `explain` for their removal.

    `inputs` and `static` are options of its kernel, for `tensors.perturb.fills`.
    """

    inputs: Mapping[str, xr.DataArray]
    static: Mapping[str, Any]
    outputs: Mapping[str, Output]
    coords: Mapping[str, Any]
    options: Mapping[str, Any]


def settle(
    place: Cube,
    valid: xr.DataArray,
    baseline: baselines.Baseline,
    removal: str = "marginal",
    covariance: xr.Dataset | None = None,
) -> Settled:
    """Turn what the user wrote into data for the kernel."""
    choice(removal, ("marginal", "conditional"), "removal")
    between = isinstance(baseline, str) and baseline == "interpolate"
    marginal = Interpolated(place.require_wavelength(), place.good_band) if between else None
    gaussian = None
    if covariance is not None:
        gaussian = _given(place, covariance)
    elif removal == "conditional":
        if place.lazy:
            raise OptionError(
                "removal='conditional' needs the covariance of the bands, and the cube is lazy; "
                "type covariance=xrxai.spectral_covariance(cube).compute()."
            )
        gaussian = _gaussian(place, _fit(place, valid, 1e-3))
    inputs = {"baseline": baselines.settle(place, "mean" if between else baseline, valid)}
    if marginal is not None or gaussian is not None:
        inputs["keep"] = valid
    outputs, coords = {}, {}
    if gaussian is not None:
        about = "distance from the distribution of spectra without bands, relative to with all"
        outputs = {"off_manifold": Output(("removal",), about, "1", signed=False)}
        words = np.array(["marginal", "conditional"], dtype=object)
        coords = {"removal": ("removal", words)}
    return Settled(
        inputs,
        {"marginal": marginal, "gaussian": gaussian, "removal": removal},
        outputs,
        coords,
        {
            "baseline": baselines.describe(baseline),
            "removal": removal,
            "covariance": None if covariance is None else "given",
        },
    )


def settle_plain(place: Cube, valid: xr.DataArray, baseline: baselines.Baseline) -> Settled:
    """The same for methods that do not switch bands: a baseline, and nothing else."""
    inputs = {"baseline": baselines.settle(place, baseline, valid)}
    return Settled(inputs, {}, {}, {}, {"baseline": baselines.describe(baseline)})


def spectral_covariance(
    cube: xr.DataArray,
    *,
    mask: xr.DataArray | np.ndarray | None = None,
    shrinkage: float = 1e-3,
) -> xr.Dataset:
    """
    Mean and covariance of the spectra of a cube, for ``removal="conditional"``.

    All valid pixels of all samples are one population; of large cubes about 20 000 are taken,
    evenly. Bad bands are NaN.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The cube that is explained, or a larger one of the same bands: the more it has of what
        the model may meet, the better.
    mask : bool DataArray or array, (y, x), optional
        True = keep.
    shrinkage : float, default: 1e-3
        Between 0 and 1: the covariances of different bands are multiplied by one minus it.
        Larger trusts neighbouring bands less, and is needed where pixels are fewer than bands.

    Returns
    -------
    Dataset
        ``mean`` (band), in units of the cube, ``covariance`` (band, band_other), in their
        square, and ``n_pixels``. Lazy when the cube is lazy: type ``.compute()``.

    Raises
    ------
    CubeError, OptionError
        There are fewer than two valid pixels, or all are the same.
    """
    place = locate(cube)
    if positive(shrinkage, "shrinkage", 1e-3, zero=True) > 1:
        raise OptionError(f"shrinkage={shrinkage!r} is above 1; type for example shrinkage=0.001.")
    return _fit(place, place.valid(mask), shrinkage)


def _fit(place: Cube, valid: xr.DataArray, shrinkage: float) -> xr.Dataset:
    other = f"{place.band}{_OTHER}"
    found = statistics.moments(place, valid, shrinkage, other)
    some = statistics.thinned(place, [str(d) for d in valid.dims])
    count = valid.isel(some).sum().reset_coords(drop=True)
    mean = found.isel({other: 0}).assign_attrs(long_name="mean spectrum")
    covariance = found.isel({other: slice(1, None)}).transpose(place.band, other)
    covariance = covariance.assign_attrs(long_name="covariance of the bands")
    coords = {k: c for k, c in place.data.coords.items() if c.dims == (place.band,)}
    if not place.lazy:
        good = np.flatnonzero(place.good_band)
        if int(count) < 2:
            raise CubeError(
                f"The cube has {int(count)} valid pixel(s), and a covariance needs several; type "
                f"covariance=xrxai.spectral_covariance(cubes) of a larger cube."
            )
        if not np.diag(covariance.values[np.ix_(good, good)]).any():
            raise CubeError(
                "All valid pixels of the cube are the same, so there is no covariance; type "
                "covariance=xrxai.spectral_covariance(cubes) of a larger cube."
            )
    made = xr.Dataset({"mean": mean, "covariance": covariance, "n_pixels": count})
    return made.assign_coords(coords)


def _gaussian(place: Cube, fit: xr.Dataset) -> Gaussian:
    good = place.good_band
    mean = np.where(good, fit["mean"].values, 0.0)
    both = good[:, None] & good
    covariance = np.where(both, fit["covariance"].values, np.eye(good.size))
    return Gaussian(mean.astype(float), covariance.astype(float), good)


def _given(place: Cube, fit: Any) -> Gaussian:
    n, other = place.good_band.size, f"{place.band}{_OTHER}"
    dims = {"mean": (place.band,), "covariance": (place.band, other)}
    fits = isinstance(fit, xr.Dataset) and all(
        name in fit and fit[name].dims == d and set(fit[name].shape) == {n}
        for name, d in dims.items()
    )
    if not fits:
        raise OptionError(
            f"covariance= needs a Dataset of mean ({place.band!r},) and covariance "
            f"({place.band!r}, {other!r}) over the {n} bands of the cube; type "
            f"covariance=xrxai.spectral_covariance(cube)."
        )
    if any(hasattr(fit[name].data, "dask") for name in dims):
        raise OptionError(
            "The covariance is lazy, and it is needed before the model runs; type "
            "covariance=covariance.compute()."
        )
    try:
        baselines.same_wavelengths(place, fit["mean"], "covariance")
    except BaselineError as error:
        raise OptionError(str(error)) from None
    made = _gaussian(place, fit)
    try:
        proper = np.isfinite(made.covariance).all() and np.isfinite(made.mean).all()
        symmetric = np.allclose(made.covariance, made.covariance.T, rtol=1e-6, atol=0)
        made.whitening()
    except np.linalg.LinAlgError:
        proper = False
    if not proper or not symmetric:
        raise OptionError(
            "The covariance is not finite, symmetric and positive definite over the good bands; "
            "type covariance=xrxai.spectral_covariance(cube, shrinkage=0.01)."
        )
    return made
