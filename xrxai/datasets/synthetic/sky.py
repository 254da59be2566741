"""A Sentinel-2 like scene under clouds, with the shadows where the sun puts them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.datasets.synthetic.scene import Scene, Truth, require_size, smooth_fields
from xrxai.errors import OptionError
from xrxai.labelled.cube import to_cube
from xrxai.labelled.npz import wavelength_list

_BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
# Typical top-of-atmosphere reflectance, in the order of _BANDS. Water vapour hides everything but
# high ice clouds in B10.
_SPECTRA = {
    "water": (.120, .100, .080, .060, .050, .045, .045, .040, .035, .015, .001, .020, .012),
    "vegetation": (.120, .090, .090, .060, .120, .280, .340, .360, .380, .120, .001, .200, .100),
    "bare soil": (.150, .150, .180, .230, .250, .270, .290, .310, .330, .130, .001, .400, .340),
    "thick cloud": (.620, .620, .600, .610, .620, .630, .640, .640, .630, .400, .003, .450, .350),
    "cirrus": (.320, .320, .320, .320, .320, .320, .320, .320, .320, .200, .050, .250, .200),
}  # fmt: skip
# What is left under a shadow: the blue light of the sky, little of the infrared.
_SHADOW = (.80, .70, .60, .50, .45, .40, .38, .36, .35, .40, 1.0, .30, .30)  # fmt: skip
_TARGETS = ("clear", "thick cloud", "thin cloud", "cloud shadow")
_MARGIN_NM = 10.0
_PIXEL_M = 20.0


def clouds(
    seed: int = 0,
    *,
    size: tuple[int, int] = (64, 64),
    cover: float = 0.15,
    sun_azimuth: float = 140.0,
    sun_elevation: float = 45.0,
    cloud_height: float = 200.0,
    noise: float = 0.002,
) -> Scene:
    """Make a scene of 13 bands with thick clouds, thin clouds and cloud shadows.

    Land cover is water, vegetation and bare soil. Thin cloud is cirrus, mixed into what is below.
    The shadow is the outline of the thick cloud moved away from the sun by
    cloud_height / tan(sun_elevation); over water, which it hardly changes, it is left out.

    Parameters
    ----------
    seed : int
        The same seed gives the same scene.
    size : (int, int)
        Rows and columns of 20 m.
    cover : float
        Part of the scene under thick cloud, and again under thin cloud; 0.02 to 0.3.
    sun_azimuth, sun_elevation : float
        Degrees, clockwise from north and above the horizon. A lower sun moves shadows farther.
    cloud_height : float
        Metres.
    noise : float
        Standard deviation of the sensor noise in reflectance, at most 0.005.

    Returns
    -------
    Scene
        cube (band, y, x) float32 reflectance at the top of the atmosphere, EPSG:32640, and its
        truth: labels (y, x), region and values (target, y, x), and the bands that tell a class:

        * thick cloud: B02 above 0.45, no other class reaches it;
        * thin cloud: B10 above 0.006, no other class reaches it;
        * cloud shadow: B8A between 0.06 and 0.20 where B10 is below 0.006;
        * clear: the rest, so all three.

    Raises
    ------
    OptionError
        When an option is outside its range.
    """
    require_size(size, 16)
    for name, value, low, high in (
        ("cover", cover, 0.02, 0.3),
        ("sun_elevation", sun_elevation, 5.0, 90.0),
        ("noise", noise, 0.0, 0.005),
    ):
        if not low <= value <= high:
            raise OptionError(f"{name}={value!r} is outside {low:g} to {high:g}; type one inside.")
    rng = np.random.default_rng(seed)
    cover_of = _land(rng, size)
    thick_field, thin_field = smooth_fields(rng, 2, size, length=min(size) / 14)
    thick = thick_field > np.quantile(thick_field, 1 - cover)
    thin = thin_field > np.quantile(np.where(thick, -np.inf, thin_field), 1 - cover)
    thin &= ~thick
    rows, cols = _shift(sun_azimuth, sun_elevation, cloud_height)
    shadow = _moved(thick, rows, cols) & (cover_of != 0) & ~thick
    spectra = _reflectance(rng, cover_of, thick, thin, shadow, noise)
    labels = np.select([thick, thin, shadow], _TARGETS[1:], _TARGETS[0])
    return Scene(_cube(spectra, size), _truth(labels, size))


def _land(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """0 water, 1 vegetation, 2 bare soil."""
    wet, green = smooth_fields(rng, 2, size, length=min(size) / 8)
    cover: np.ndarray = np.where(wet > 1.0, 0, np.where(green > 0, 1, 2))
    return cover


def _shift(azimuth: float, elevation: float, height: float) -> tuple[int, int]:
    """Rows (southward) and columns (eastward) from a cloud to its shadow."""
    distance = height / np.tan(np.radians(elevation)) / _PIXEL_M
    away = np.radians(azimuth + 180)
    return round(-distance * np.cos(away)), round(distance * np.sin(away))


def _moved(mask: np.ndarray, rows: int, cols: int) -> np.ndarray:
    moved = np.zeros_like(mask)
    y, x = np.nonzero(mask)
    y, x = y + rows, x + cols
    inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
    moved[y[inside], x[inside]] = True
    return moved


def _reflectance(
    rng: np.random.Generator,
    cover: np.ndarray,
    thick: np.ndarray,
    thin: np.ndarray,
    shadow: np.ndarray,
    noise: float,
) -> np.ndarray:
    table = {n: np.array(v)[:, None, None] for n, v in _SPECTRA.items()}
    ground = np.stack([table[n] for n in ("water", "vegetation", "bare soil")])[:, :, 0, 0]
    scene = np.moveaxis(ground[cover], -1, 0)
    size = (cover.shape[0], cover.shape[1])
    texture, depth = np.clip(smooth_fields(rng, 2, size, length=2), -2, 2)
    scene = scene * (1 + 0.06 * texture)
    scene = np.where(shadow, scene * np.array(_SHADOW)[:, None, None], scene)
    share = 0.35 + 0.1 * depth
    scene = np.where(thin, (1 - share) * scene + share * table["cirrus"], scene)
    scene = np.where(thick, table["thick cloud"] * (1 + 0.05 * depth), scene)
    # Noise of the cirrus band is a tenth, as its signal is.
    sd = np.where(np.array(_BANDS) == "B10", noise / 10, noise)[:, None, None]
    noisy: np.ndarray = np.clip(scene + rng.standard_normal(scene.shape) * sd, 1e-4, 1.5)
    return noisy


def _map_coords(size: tuple[int, int]) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    y = 2_790_000.0 - (np.arange(size[0]) + 0.5) * _PIXEL_M
    x = 330_000.0 + (np.arange(size[1]) + 0.5) * _PIXEL_M
    return {
        "y": ("y", y, {"units": "m", "standard_name": "projection_y_coordinate", "axis": "Y"}),
        "x": ("x", x, {"units": "m", "standard_name": "projection_x_coordinate", "axis": "X"}),
    }


def _cube(spectra: np.ndarray, size: tuple[int, int]) -> xr.DataArray:
    import rioxarray  # noqa: F401

    cube = xr.DataArray(
        spectra.astype(np.float32),
        dims=("band", "y", "x"),
        coords={"band": _BANDS, **_map_coords(size)},
        name="reflectance",
        attrs={
            "units": "1",
            "long_name": "reflectance at the top of the atmosphere",
            "platform": "Sentinel-2A",
        },
    ).rio.write_crs("EPSG:32640")
    return to_cube(cube, wavelength=wavelength_list("sentinel2"), units="nm")


def _truth(labels: np.ndarray, size: tuple[int, int]) -> Truth:
    centres = dict(zip(_BANDS, wavelength_list("sentinel2").tolist(), strict=True))
    groups = {n: (nm - _MARGIN_NM, nm + _MARGIN_NM) for n, nm in centres.items()}
    coords = _map_coords(size)
    region = xr.DataArray(
        np.stack([labels == t for t in _TARGETS]),
        dims=("target", "y", "x"),
        coords={"target": list(_TARGETS), **coords},
        name="region",
    )
    bands = {
        "clear": (groups["B02"], groups["B8A"], groups["B10"]),
        "thick cloud": (groups["B02"],),
        "thin cloud": (groups["B10"],),
        "cloud shadow": (groups["B8A"], groups["B10"]),
    }
    return Truth(
        targets=_TARGETS,
        bands=bands,
        group={"thick cloud": "B02", "thin cloud": "B10", "cloud shadow": "B8A"},
        groups=groups,
        values=region.astype(np.float32).rename("value"),
        labels=xr.DataArray(labels, dims=("y", "x"), coords=coords, name="label"),
        region=region,
    )
