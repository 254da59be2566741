"""A mosaic of fields with ten classes, with confusions and label errors where one plants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xrxai.datasets.synthetic.mosaic import Mosaic
from xrxai.datasets.synthetic.scene import Truth, require_size, smooth_fields
from xrxai.errors import BandError, OptionError
from xrxai.labelled.cube import to_cube
from xrxai.labelled.npz import wavelength_list


class _Cover(NamedTuple):
    """What stands on a field: how much of it is covered, and what the leaves are like."""

    cover: float  # part of the soil that is hidden
    visible: float  # reflectance of leaves in blue and red
    green: float  # height of the green peak above it
    edge: float  # red edge in nm
    nir: float  # plateau
    water: float  # depth of the water absorptions
    dry: float  # part that is straw
    share: float  # of the fields


# Winter cereals are close to one another, as they are in May. The shares make four classes rare.
_CLASSES = {
    "Background": _Cover(0.10, 0.050, 0.020, 712.0, 0.300, 0.50, 0.30, 0.28),
    "Wheat": _Cover(0.80, 0.040, 0.050, 724.0, 0.420, 1.00, 0.05, 0.20),
    "Rye": _Cover(0.80, 0.040, 0.050, 724.0, 0.420, 1.00, 0.05, 0.05),
    "Barley": _Cover(0.78, 0.048, 0.060, 718.0, 0.400, 0.85, 0.18, 0.12),
    "Oats": _Cover(0.74, 0.042, 0.064, 720.0, 0.455, 1.15, 0.04, 0.03),
    "Corn": _Cover(0.30, 0.044, 0.055, 716.0, 0.400, 0.95, 0.02, 0.12),
    "Oil Seeds": _Cover(0.85, 0.065, 0.130, 714.0, 0.470, 1.10, 0.02, 0.08),
    "Root Crops": _Cover(0.45, 0.036, 0.045, 722.0, 0.490, 1.40, 0.00, 0.03),
    "Meadows": _Cover(0.95, 0.050, 0.055, 716.0, 0.370, 0.80, 0.12, 0.06),
    "Forage Crops": _Cover(0.90, 0.044, 0.062, 720.0, 0.435, 1.00, 0.06, 0.03),
}
# What else is background: forest, roofs and streets, water; the fourth is unused land, as above.
_OTHER = (
    _Cover(0.97, 0.025, 0.020, 718.0, 0.300, 1.20, 0.03, 0.0),
    _Cover(0.05, 0.150, 0.020, 712.0, 0.280, 0.10, 0.60, 0.0),
    _Cover(0.90, 0.020, 0.012, 705.0, 0.015, 2.50, 0.00, 0.0),
)
_GROUPS = {
    "blue": (430.0, 515.0),
    "green": (515.0, 600.0),
    "red": (600.0, 690.0),
    "red edge": (690.0, 770.0),
    "NIR": (770.0, 1000.0),
    "SWIR 1": (1500.0, 1800.0),
    "SWIR 2": (2000.0, 2400.0),
}
_TRUE, _TAKEN_FOR = "Wheat", "Rye"
_SIGN = 0.35  # what Rye has more than Wheat in the group that tells them apart
_TRACE = 0.05  # and in all others
_PIXEL_M = 10.0


def crops(
    seed: int = 0,
    *,
    size: tuple[int, int] = (192, 192),
    wavelength: Sequence[float] | np.ndarray | None = None,
    field: float = 16.0,
    variety: float = 1.0,
    confused_by: str = "SWIR 1",
    stressed: float = 0.0,
    label_errors: float = 0.0,
    noise: float = 0.004,
) -> Mosaic:
    """
    Make a mosaic of fields with the ten classes of a crop map.

    Fields of a class differ from one another (sowing, variety, soil), more than pixels of a field
    do, and the whole scene drifts slowly: pixels that are near one another are alike, so a random
    split of tiles knows what it is tested on. Rare classes (Oats, Root Crops, Forage Crops, Rye)
    are found in some corners only. Rye is Wheat, brighter by a third in one group of bands.

    Parameters
    ----------
    seed : int
        The same seed gives the same scene, also through other wavelengths: what is on the ground
        does not depend on the sensor.
    size : (int, int)
        Rows and columns of 10 m.
    wavelength : (band,), optional
        Band centres in nm; by default those of Sentinel-2 without B10.
    field : float
        Mean side of a field in pixels.
    variety : float
        How much fields of a class differ; 0 makes them alike.
    confused_by : {"blue", "green", "red", "red edge", "NIR", "SWIR 1", "SWIR 2"}
        The group of bands that tells Rye from Wheat.
    stressed : float
        Part of the Wheat fields that look like Rye in that group, 0 to 1. A model that has not
        seen such fields takes them for Rye.
    label_errors : float
        Part of the fields that were given the label of another class, 0 to 0.5.
    noise : float
        Standard deviation of the sensor noise in reflectance.

    Returns
    -------
    Mosaic
        The cube, its truth, and the labels as given.

    Raises
    ------
    BandError
        When the wavelengths do not cover the group that tells Rye from Wheat.
    OptionError
        When an option is outside its range.

    References
    ----------
    .. [1] S. Jacquemoud, F. Baret (1990). PROSPECT: a model of leaf optical properties spectra.
       Remote Sensing of Environment 34. https://doi.org/10.1016/0034-4257(90)90100-Z (where
       leaves absorb; the shapes here are simpler)
    """
    require_size(size, 64)
    for name, value, low, high in (
        ("field", field, 4.0, min(size) / 4),
        ("variety", variety, 0.0, 3.0),
        ("stressed", stressed, 0.0, 1.0),
        ("label_errors", label_errors, 0.0, 0.5),
        ("noise", noise, 0.0, 0.05),
    ):
        if not low <= value <= high:
            raise OptionError(f"{name}={value!r} is outside {low:g} to {high:g}; type one inside.")
    if confused_by not in _GROUPS:
        raise OptionError(
            f"confused_by={confused_by!r} is no group; choose one of "
            f"{', '.join(map(repr, _GROUPS))}."
        )
    if wavelength is None:
        wl = np.delete(wavelength_list("sentinel2"), 10)  # cirrus sees no field
    else:
        wl = np.asarray(wavelength, np.float64)
    groups = {n: r for n, r in _GROUPS.items() if ((wl >= r[0]) & (wl < r[1])).any()}
    if confused_by not in groups:
        low, high = _GROUPS[confused_by]
        raise BandError(
            f"No wavelength lies in {confused_by!r} ({low:g} to {high:g} nm), which tells Rye from "
            f"Wheat; add one, or choose confused_by= out of {', '.join(map(repr, groups))}."
        )
    ground, texture, sensor, labels = (np.random.default_rng([seed, part]) for part in (0, 1, 2, 3))
    fields, centres = _parcels(ground, size, field)
    kinds = _kinds(ground, centres, size)
    spectra, ill = _spectra(ground, wl, kinds, variety, confused_by, stressed)
    scene = np.moveaxis(spectra[fields], -1, 0)
    drift = smooth_fields(texture, 1, size, length=min(size) / 6)[0]
    rough = texture.standard_normal(size)
    scene = scene * (1 + 0.03 * variety * drift) * (1 + 0.03 * rough)
    scene = np.clip(scene + sensor.normal(0.0, noise, scene.shape), 1e-4, 1.2)
    names = np.array(list(_CLASSES))
    told = _told(labels, kinds, label_errors)
    return _mosaic(scene, wl, groups, confused_by, fields, names[kinds], names[told], ill)


def _parcels(
    rng: np.random.Generator, size: tuple[int, int], field: float
) -> tuple[np.ndarray, np.ndarray]:
    """Number the field of each pixel from 0, and give its centre (row, column)."""
    from scipy.spatial import cKDTree

    # Parcels lie along one direction and are longer than wide.
    angle = rng.uniform(-0.5, 0.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.array([field * 0.75, field / 0.75])
    y, x = np.indices(size)
    places = np.stack([y, x], -1).reshape(-1, 2) @ turn / stretch
    low, high = np.floor(places.min(0)).astype(int) - 1, np.ceil(places.max(0)).astype(int) + 1
    grid = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), -1).reshape(-1, 2)
    seeds = grid + rng.uniform(-0.35, 0.35, grid.shape)
    nearest = cKDTree(seeds).query(places, p=np.inf)[1]
    used, fields = np.unique(nearest, return_inverse=True)
    return fields.reshape(size), (seeds[used] * stretch) @ turn.T


def _kinds(rng: np.random.Generator, centres: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw the class of each field; a class has regions where it is at home."""
    n = len(_CLASSES)
    at_home = smooth_fields(rng, n, size, length=min(size) / 10)
    rows, cols = (np.clip(centres[:, i].astype(int), 0, size[i] - 1) for i in (0, 1))
    share = np.array([kind.share for kind in _CLASSES.values()])
    likely = share * np.exp(1.2 * at_home[:, rows, cols].T)
    likely /= likely.sum(1, keepdims=True)
    drawn = (rng.random((len(centres), 1)) > np.cumsum(likely, 1)).sum(1)
    kinds: np.ndarray = np.minimum(drawn, n - 1)
    # Every class is somewhere: one that was not drawn takes the place of a common one.
    for missing in np.setdiff1d(np.arange(n), kinds):
        often = np.bincount(kinds, minlength=n).argmax()
        kinds[rng.choice(np.flatnonzero(kinds == often))] = missing
    return kinds


def _leaf(wl: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Reflectance (n, band) of fields described by (n, 7) numbers."""
    cover, visible, green, edge, nir, water, dry = (kind[:, i : i + 1] for i in range(7))
    nm = wl[None, :]
    peak = green * np.exp(-(((nm - 555) / 35) ** 2))
    wet = 0.10 * _bump(nm, 970, 35) + 0.25 * _bump(nm, 1200, 60) + 1.6 * _bump(nm, 1450, 90)
    wet = wet + 2.4 * _bump(nm, 1940, 110) + 0.9 / (1 + np.exp(-(nm - 1600) / 180))
    leaf = visible + peak + (nir - visible) / (1 + np.exp(-(nm - edge) / 14))
    leaf = leaf * np.exp(-water * wet)
    straw = (0.08 + 0.34 * (1 - np.exp(-(nm - 400) / 450))) * (1 - 0.12 * _bump(nm, 2100, 70))
    soil = 0.34 * (1 - np.exp(-(nm - 250) / 600)) * (1 - 0.15 * _bump(nm, 2205, 40))
    mixed: np.ndarray = cover * ((1 - dry) * leaf + dry * straw) + (1 - cover) * soil
    return mixed


def _bump(nm: np.ndarray, centre: float, width: float) -> np.ndarray:
    shape: np.ndarray = np.exp(-(((nm - centre) / width) ** 2))
    return shape


def _spectra(
    rng: np.random.Generator,
    wl: np.ndarray,
    kinds: np.ndarray,
    variety: float,
    confused_by: str,
    stressed: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (field, band), and which fields are stressed."""
    table = np.array([kind[:7] for kind in _CLASSES.values()])
    leaves = table[kinds]
    background = list(_CLASSES).index("Background")
    sort = rng.integers(0, len(_OTHER) + 1, len(kinds))
    for i, other in enumerate(_OTHER):
        leaves[(kinds == background) & (sort == i)] = other[:7]
    spread = np.array([0.03, 0.04, 0.05, 0.0, 0.03, 0.05, 0.15]) * variety
    leaves = leaves * np.exp(spread * np.clip(rng.standard_normal(leaves.shape), -2, 2))
    leaves[:, 3] += 1.0 * variety * np.clip(rng.standard_normal(len(kinds)), -2, 2)
    leaves[:, 0] = np.clip(leaves[:, 0], 0, 1)
    leaves[:, 6] = np.clip(leaves[:, 6], 0, 1)
    spectra = _leaf(wl, leaves)
    low, high = _GROUPS[confused_by]
    inside = (wl >= low) & (wl < high)
    names = list(_CLASSES)
    rye, wheat = kinds == names.index(_TAKEN_FOR), kinds == names.index(_TRUE)
    ill = wheat & (rng.random(len(kinds)) < stressed)
    spectra[rye] *= np.where(inside, 1 + _SIGN, 1 + _TRACE)
    spectra[ill] *= np.where(inside, 1 + _SIGN, 1.0)
    return spectra, ill


def _told(rng: np.random.Generator, kinds: np.ndarray, share: float) -> np.ndarray:
    """Class numbers as given: of a part of the fields those of another crop."""
    told = kinds.copy()
    drawn = np.flatnonzero(kinds)  # background is not drawn, so it is not drawn wrongly
    for i in rng.permutation(drawn)[: round(share * len(drawn))]:
        others = np.setdiff1d(np.unique(kinds[drawn]), kinds[i])
        told[i] = rng.choice(others)
    return told


def _mosaic(
    scene: np.ndarray,
    wl: np.ndarray,
    groups: dict[str, tuple[float, float]],
    group: str,
    fields: np.ndarray,
    true: np.ndarray,
    told: np.ndarray,
    ill: np.ndarray,
) -> Mosaic:
    import rioxarray  # noqa: F401

    rows, cols = fields.shape
    y = 5_400_000.0 - (np.arange(rows) + 0.5) * _PIXEL_M
    x = 600_000.0 + (np.arange(cols) + 0.5) * _PIXEL_M
    coords: dict[str, Any] = {
        "y": ("y", y, {"units": "m", "standard_name": "projection_y_coordinate", "axis": "Y"}),
        "x": ("x", x, {"units": "m", "standard_name": "projection_x_coordinate", "axis": "X"}),
    }
    about = {"units": "1", "long_name": "reflectance"}
    cube = xr.DataArray(
        scene.astype(np.float32), dims=("band", "y", "x"), coords=coords, name="reflectance"
    ).assign_attrs(about)
    cube = to_cube(cube.rio.write_crs("EPSG:32632"), wavelength=wl, units="nm")

    def over(values: np.ndarray, name: str) -> xr.DataArray:
        return xr.DataArray(values[fields], dims=("y", "x"), coords=coords, name=name)

    labels = over(true, "label")
    region = xr.concat([labels == name for name in _CLASSES], "target")
    region = region.assign_coords(target=list(_CLASSES)).rename("region")
    truth = Truth(
        targets=tuple(_CLASSES),
        bands={_TAKEN_FOR: (groups[group],)},
        group={_TAKEN_FOR: group},
        groups=groups,
        values=region.astype(np.float32).rename("value"),
        labels=labels,
        region=region,
    )
    numbers = over(np.arange(1, len(true) + 1), "field")
    wrong, stressed = over(told != true, "wrong"), over(ill, "stressed")
    return Mosaic(cube, truth, numbers, over(told, "given"), wrong, stressed)
