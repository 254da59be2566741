"""How strong noise is: a share of each band's spread, or of each value by its SNR."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, positive
from xrxai.labelled import statistics
from xrxai.labelled.cube import Cube

Snr: TypeAlias = float | np.ndarray | xr.DataArray
"""What `snr=` accepts: a number, or one per band."""


def settle(
    place: Cube, valid: xr.DataArray, noise: float, snr: Snr | None
) -> tuple[xr.DataArray, bool]:
    """Standard deviation (..., band), 0 in bad bands, and whether it is a share of the value."""
    positive(noise, "noise", 0.15, zero=True)
    if snr is not None:
        return _inverse(place, snr), True
    low, high = statistics.quantiles(place, valid, [0.02, 0.98]).transpose("quantile", ...)
    spread = high - low
    some = (valid.sum(statistics.pixels(place)) > 0) if not place.lazy else None
    if some is not None and noise > 0 and bool((some & (spread == 0).all(place.band)).any()):
        raise OptionError(
            f"noise={noise!r} is a share of the spread of the valid pixels, and they do not "
            f"differ: there would be no noise. Type snr=100 for noise of a share of each value."
        )
    return spread * noise, False


def describe(snr: Snr | None) -> float | str | None:
    """How an SNR is written into the options of a result."""
    if snr is None:
        return None
    return float(snr) if np.ndim(snr) == 0 else f"given array {tuple(np.shape(snr))}"


def _inverse(place: Cube, snr: Any) -> xr.DataArray:
    """1 / SNR (band,), 0 in bad bands."""
    n_bands = place.good_band.size
    if np.ndim(snr) == 0 and not hasattr(snr, "dims"):
        snr = np.full(n_bands, positive(snr, "snr", 100))
    if isinstance(snr, xr.DataArray) and snr.dims not in ((), (place.band,)):
        raise OptionError(
            f"snr= has dims {snr.dims}; give a number or one value per band, ({place.band!r},)."
        )
    values = np.asarray(snr)
    if values.dtype.kind not in "fiu" or values.shape not in ((), (n_bands,)):
        raise OptionError(
            f"snr= has shape {values.shape} and dtype {values.dtype}; give a positive number or "
            f"one per band ({n_bands},)."
        )
    values = np.broadcast_to(values.astype(float), (n_bands,))
    if not (values[place.good_band] > 0).all():
        raise OptionError(
            "snr= is not above 0 in every good band; give a ratio of signal to noise such as 100, "
            "np.inf where there is no noise."
        )
    inverse = np.divide(1.0, values, out=np.zeros(n_bands), where=place.good_band)
    return xr.DataArray(inverse, dims=place.band)
