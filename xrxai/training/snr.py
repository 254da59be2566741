"""How noisy a sensor is, by band or by wavelength."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError

Noise = float | Sequence[float] | np.ndarray | xr.DataArray | Callable[[np.ndarray], Any]
"""A ratio of signal to noise: one, one per band, or by wavelength in nm."""


def inverse_snr(
    noise: Noise | None, bands: int, wavelength: np.ndarray | None
) -> np.ndarray | None:
    """1 / SNR (band,), 0 where it is infinite; None without noise."""
    if noise is None:
        return None
    at = noise.coords.get("wavelength") if isinstance(noise, xr.DataArray) else None
    if (callable(noise) or at is not None) and wavelength is None:
        raise OptionError(
            "noise= goes by wavelength, and the cube has none; type "
            "cube = xrxai.to_cube(cube, wavelength=[...]), or one ratio of signal to noise per "
            "band."
        )
    values: Any = noise
    if at is not None and isinstance(noise, xr.DataArray):
        order = np.argsort(at.values)
        values = np.interp(wavelength, at.values[order], noise.values[order])  # type: ignore[arg-type]
    elif callable(noise):
        values = noise(wavelength)  # type: ignore[arg-type]
    snr = np.asarray(values)
    if snr.dtype.kind not in "fiu" or snr.shape not in ((), (bands,)):
        raise OptionError(
            f"noise= has shape {snr.shape} and dtype {snr.dtype}; type a ratio of signal to noise "
            f"such as noise=100, or one per band ({bands},)."
        )
    if not (snr > 0).all():
        raise OptionError(
            "noise= is a ratio of signal to noise, and is not above 0 in every band; type for "
            "example noise=100, np.inf in bands without noise."
        )
    return np.broadcast_to(1.0 / snr.astype(np.float64), (bands,)).copy()
