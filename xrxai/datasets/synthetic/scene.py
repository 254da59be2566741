"""What a synthetic scene is, and the random fields that scenes share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xrxai.errors import BandError, OptionError


@dataclass(frozen=True, eq=False)
class Truth:
    """What was planted in a scene.

    Parameters
    ----------
    targets : tuple of str
        What a model of the scene predicts.
    bands : dict of str to tuple of (float, float)
        Per target, the wavelength ranges in nm that determine it; empty when it is not spectral.
    group : dict of str to str
        Per target, the one of `groups` that matters most; targets without one are left out.
    groups : dict of str to (float, float)
        Ranges in nm, without overlap, that cover every band: fit for the option ``bands=``.
    values : DataArray
        Soil: target values (target, [sample], y, x), NaN where there is no data. Otherwise 1 where
        the target is and 0 elsewhere, over the dims of `labels`.
    labels : DataArray of str or None
        The target of each pixel (y, x), or of each sample.
    region : bool DataArray or None
        The pixels that determine the target: (target, y, x) of a scene, (sample, y, x) of chips.
    ingredients : DataArray or None
        Amounts (ingredient, [sample], y, x) from which the spectra were mixed.
    """

    targets: tuple[str, ...]
    bands: Mapping[str, tuple[tuple[float, float], ...]]
    group: Mapping[str, str]
    groups: Mapping[str, tuple[float, float]]
    values: xr.DataArray
    labels: xr.DataArray | None = None
    region: xr.DataArray | None = None
    ingredients: xr.DataArray | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A cube and the truth that was planted in it.

    Parameters
    ----------
    cube : DataArray, ([sample], band, y, x)
        Reflectance.
    truth : Truth
        Which bands and regions matter.
    """

    cube: xr.DataArray
    truth: Truth


def band_depth(cube: xr.DataArray, low: float, high: float) -> xr.DataArray:
    """Compute the depth of an absorption between its shoulders, 0 where there is none.

    1 - (mean of the central fifth of the range) / (mean of the outer tenths), a ratio that
    brightness and shade cancel from.

    Parameters
    ----------
    cube : DataArray
        With the coordinate wavelength in nm along its dim band.
    low, high : float
        The range in nm.

    Returns
    -------
    DataArray
        Without the dim band.

    Raises
    ------
    BandError
        When the centre or the shoulders hold no band.
    """
    wl = np.asarray(cube.coords["wavelength"].values, dtype=np.float64)
    width = high - low
    inside = (wl >= low) & (wl <= high)
    shoulder = inside & ((wl <= low + width / 10) | (wl >= high - width / 10))
    centre = np.abs(wl - (low + high) / 2) <= width / 10
    if not shoulder.any() or not centre.any():
        raise BandError(
            f"The range {low:g} to {high:g} nm holds {int(shoulder.sum())} bands on its shoulders "
            f"and {int(centre.sum())} at its centre, and one of each is needed; type a wider range."
        )
    top = cube.isel(band=np.flatnonzero(shoulder)).mean("band", skipna=False)
    depth: xr.DataArray = (
        1 - cube.isel(band=np.flatnonzero(centre)).mean("band", skipna=False) / top
    )
    return depth.rename("band_depth").assign_attrs(units="1", long_name="band depth")


def smooth_fields(
    rng: np.random.Generator, n: int, size: tuple[int, int], length: float
) -> np.ndarray:
    """Draw n smooth fields (n, y, x), mean 0, std 1, that are uncorrelated in the sample too."""
    freq_y, freq_x = np.meshgrid(np.fft.fftfreq(size[0]), np.fft.fftfreq(size[1]), indexing="ij")
    keep = np.exp(-2 * (np.pi * length) ** 2 * (freq_y**2 + freq_x**2))
    white = rng.standard_normal((n, *size))
    smooth = np.fft.ifft2(np.fft.fft2(white) * keep).real.reshape(n, -1)
    smooth -= smooth.mean(axis=1, keepdims=True)
    # Chance correlation of smooth fields would make one ingredient a proxy of another.
    basis, _ = np.linalg.qr(smooth.T)
    fields: np.ndarray = basis.T.reshape(n, *size) * np.sqrt(size[0] * size[1])
    return fields


def unit_interval(fields: np.ndarray) -> np.ndarray:
    """Map fields of mean 0 and std 1 to between 0 and 1."""
    mapped: np.ndarray = 1 / (1 + np.exp(-1.7 * fields))
    return mapped


def require_size(size: tuple[int, int], least: int) -> None:
    """Raise when a scene is too small to hold what is planted."""
    if len(size) != 2 or min(size) < least:
        raise OptionError(
            f"size={size!r} is too small for what is planted; type size=({least}, {least}) or more."
        )


def axis_coords(size: tuple[int, int]) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """Pixel centres of a scene without a map."""
    about = {"units": "1", "long_name": "pixel centre"}
    return {
        "y": ("y", np.arange(size[0]) + 0.5, about | {"axis": "Y"}),
        "x": ("x", np.arange(size[1]) + 0.5, about | {"axis": "X"}),
    }
