"""Soil whose constituents absorb at known wavelengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xrxai.datasets.synthetic.scene import (
    Scene,
    Truth,
    axis_coords,
    require_size,
    smooth_fields,
    unit_interval,
)
from xrxai.errors import BandError, OptionError
from xrxai.labelled.cube import to_cube
from xrxai.labelled.npz import wavelength_list

# Name: centre and standard deviation in nm, depth at full abundance, and the target value as
# intercept + slope * abundance with its unit. Centres after [1]_; widths are narrower than in
# nature, so that neighbours do not overlap and each target has a range of its own.
_FEATURES = {
    "goethite": (505.0, 11.0, 0.30, (2.0, 18.0), "g/kg"),
    "chlorophyll": (676.0, 11.0, 0.35, (0.0, 40.0), "ug/cm2"),
    "iron": (870.0, 17.0, 0.30, (5.0, 30.0), "g/kg"),
    "clay": (2205.0, 25.0, 0.25, (50.0, 350.0), "g/kg"),
    "carbonate": (2338.0, 18.0, 0.20, (0.0, 150.0), "g/kg"),
}
_NUISANCES = ("albedo", "moisture", "organic")


def soil(
    seed: int = 0,
    *,
    size: tuple[int, int] = (48, 48),
    wavelength: Sequence[float] | np.ndarray | None = None,
    n_samples: int | None = None,
    noise: float = 0.002,
    border: int = 0,
) -> Scene:
    """Make soil spectra whose constituents absorb at known wavelengths.

    Reflectance is a smooth continuum, made brighter or darker (albedo), darkened by moisture and
    bent by organic matter, times one Gaussian absorption per constituent. Each constituent is a
    target: its value is a linear function of its own abundance and of nothing else. Abundances are
    smooth in space and uncorrelated with one another.

    Parameters
    ----------
    seed : int
        The same seed gives the same scene.
    size : (int, int)
        Rows and columns.
    wavelength : (band,)
        Band centres in nm; by default the 150 of HYPERVIEW, 462 to 938 nm. Constituents whose
        absorption they do not cover are left out: clay and carbonate need 2100 to 2400 nm.
    n_samples : int or None
        None: one scene (band, y, x). A number: that many independent chips along the dim sample.
    noise : float
        Standard deviation of the sensor noise in reflectance. More noise blurs the link from
        spectrum to target; the target itself stays free of noise.
    border : int
        Pixels without data along each edge: NaN, and False in the coordinate valid.

    Returns
    -------
    Scene
        cube ([sample], band, y, x) float32 reflectance, and its truth. ``truth.groups`` covers
        every band; ``truth.group[target]`` alone determines the target, as
        ``band_depth(cube, *truth.bands[target][0])`` shows.

    Raises
    ------
    BandError
        When no constituent absorbs within the wavelengths.
    OptionError
        When size, border or n_samples do not fit.

    References
    ----------
    .. [1] R. N. Clark, "Spectroscopy of rocks and minerals, and principles of spectroscopy",
       Manual of Remote Sensing, 1999.
    .. [2] D. B. Lobell and G. P. Asner, "Moisture effects on soil reflectance", Soil Science
       Society of America Journal 66, 2002.
    """
    require_size(size, 8)
    if border < 0 or 2 * border >= min(size):
        raise OptionError(f"border={border!r} leaves no pixel of {size}; type a smaller border.")
    if n_samples is not None and n_samples < 1:
        raise OptionError(f"n_samples={n_samples!r} makes no chip; type 1 or more, or None.")
    wl = wavelength_list("hyperview") if wavelength is None else np.asarray(wavelength, np.float64)
    features = _covered(wl)
    rng = np.random.default_rng(seed)
    chips = [_mix(rng, wl, features, size, noise) for _ in range(n_samples or 1)]
    spectra, amounts = (np.stack(a) for a in zip(*chips, strict=True))
    keep = np.zeros(size, dtype=bool)
    keep[border : size[0] - border, border : size[1] - border] = True
    spectra = np.where(keep, spectra, np.nan).astype(np.float32)
    lead: tuple[str, ...] = ("sample",)
    if n_samples is None:
        spectra, amounts, lead = spectra[0], amounts[0], ()
    coords = axis_coords(size)
    cube = xr.DataArray(
        spectra,
        dims=(*lead, "band", "y", "x"),
        coords=coords,
        name="reflectance",
        attrs={"units": "1", "long_name": "reflectance"},
    )
    cube = to_cube(cube, wavelength=wl, units="nm", mask=keep)
    ingredients = xr.DataArray(
        np.moveaxis(amounts, -3, 0),
        dims=("ingredient", *lead, "y", "x"),
        coords={"ingredient": [*features, *_NUISANCES], **coords},
        name="abundance",
        attrs={"units": "1", "long_name": "abundance"},
    )
    return Scene(cube, _truth(wl, features, ingredients, cube.coords["valid"]))


def _covered(wl: np.ndarray) -> list[str]:
    found = []
    for name, (centre, sd, *_) in _FEATURES.items():
        shoulders = (centre - 3 * sd, centre + 3 * sd)
        if wl.min() <= shoulders[0] and shoulders[1] <= wl.max():
            found.append(name)
    if not found:
        ranges = ", ".join(
            f"{n} {c - 3 * s:g}-{c + 3 * s:g}" for n, (c, s, *_) in _FEATURES.items()
        )
        raise BandError(
            f"The wavelengths run from {wl.min():g} to {wl.max():g} nm and cover no absorption "
            f"({ranges} nm); type wavelengths around one of them."
        )
    return found


def _mix(
    rng: np.random.Generator,
    wl: np.ndarray,
    features: list[str],
    size: tuple[int, int],
    noise: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (band, y, x) and amounts (ingredient, y, x)."""
    n = len(features) + len(_NUISANCES)
    amounts = unit_interval(smooth_fields(rng, n, size, length=min(size) / 12))
    albedo, moisture, organic = amounts[len(features) :, None]
    nm = wl[:, None, None]
    continuum = 0.42 * (1 - np.exp(-(nm - 250) / 380))
    # Wet soil is darker, more so at longer wavelengths [2]_; organic matter darkens the visible.
    wet = 1 - moisture * (0.35 + 0.10 * np.clip((nm - 400) / 2000, 0, 1))
    dark = 1 - 0.35 * organic * np.exp(-(((nm - 450) / 600) ** 2))
    spectra = continuum * (0.7 + 0.6 * albedo) * wet * dark
    for name, amount in zip(features, amounts, strict=False):
        centre, sd, depth, *_ = _FEATURES[name]
        spectra = spectra * (1 - depth * amount * np.exp(-0.5 * ((nm - centre) / sd) ** 2))
    spectra = spectra + rng.normal(0.0, noise, spectra.shape)
    return np.clip(spectra, 0.001, 1.0), amounts


def _truth(
    wl: np.ndarray, features: list[str], ingredients: xr.DataArray, valid: xr.DataArray
) -> Truth:
    lines = [_FEATURES[n][3] for n in features]
    own = ingredients.sel(ingredient=features).rename(ingredient="target")
    slope = xr.DataArray([s for _, s in lines], dims="target")
    start = xr.DataArray([i for i, _ in lines], dims="target")
    values = (start + slope * own).transpose(*own.dims).where(valid.reset_coords(drop=True))
    values = values.reset_coords(drop=True).rename("value")
    values = values.assign_coords(unit=("target", [_FEATURES[n][4] for n in features]))
    bands = {n: ((_FEATURES[n][0] - 3 * _FEATURES[n][1], _FEATURES[n][0] + 3 * _FEATURES[n][1]),)
             for n in features}  # fmt: skip
    groups: dict[str, tuple[float, float]] = {}
    low = float(wl.min())
    for name in features:  # in order of wavelength
        (start_nm, stop_nm) = bands[name][0]
        _between(groups, wl, low, start_nm)
        groups[name] = (start_nm, stop_nm)
        low = stop_nm
    _between(groups, wl, low, float(wl.max()) + 1e-6)
    return Truth(
        targets=tuple(features),
        bands=bands,
        group={n: n for n in features},
        groups=groups,
        values=values,
        ingredients=ingredients,
    )


def _between(
    groups: dict[str, tuple[float, float]], wl: np.ndarray, low: float, high: float
) -> None:
    """Add the bands between two absorptions as a group of their own, where there are any."""
    inside = wl[(wl > low) & (wl < high)] if groups else wl[(wl >= low) & (wl < high)]
    if inside.size:
        low, high = float(inside.min()), float(inside.max())
        # A hundredth of a nm more, so that a range of one band has a width.
        groups[f"{low:.0f}-{high:.0f} nm"] = (low - 0.01, high + 0.01)
