"""Chips of three classes, told apart by one object each."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.datasets.synthetic.scene import (
    Scene,
    Truth,
    axis_coords,
    require_size,
    smooth_fields,
)
from xrxai.errors import OptionError
from xrxai.labelled.cube import to_cube

_CLASSES = ("airplane", "storage tanks", "tennis court")
_WAVELENGTH = {"blue": 490.0, "green": 560.0, "red": 665.0, "nir": 842.0}
_GROUND = np.array([0.10, 0.12, 0.14, 0.22])
# One paint for all objects: their shape tells the class, no band does.
_PAINT = np.array([0.55, 0.56, 0.57, 0.60])


def textures(
    seed: int = 0,
    *,
    n_per_class: int = 8,
    size: tuple[int, int] = (32, 32),
    noise: float = 0.01,
) -> Scene:
    """Make chips with an airplane, storage tanks or a tennis court on like ground.

    An airplane is a bright cross, storage tanks are two bright disks, a tennis court is a
    rectangle of bright stripes; each at a random place, size and angle. The ground is drawn
    without regard to the class, so that only the object tells it.

    Parameters
    ----------
    seed : int
        The same seed gives the same chips.
    n_per_class : int
        Chips of each of the three classes, in mixed order.
    size : (int, int)
        Rows and columns of a chip.
    noise : float
        Standard deviation of the sensor noise in reflectance.

    Returns
    -------
    Scene
        cube (sample, band, y, x) float32 reflectance with four bands, and its truth: labels
        (sample), values (target, sample) and region (sample, y, x), True on the object. No band
        determines a class: ``truth.bands`` is empty.

    Raises
    ------
    OptionError
        When an option is too small.
    """
    require_size(size, 24)
    if n_per_class < 1:
        raise OptionError(f"n_per_class={n_per_class!r} makes no chip; type 1 or more.")
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.repeat(np.arange(len(_CLASSES)), n_per_class))
    chips = np.empty((kinds.size, len(_WAVELENGTH), *size), dtype=np.float32)
    region = np.empty((kinds.size, *size), dtype=bool)
    for i, kind in enumerate(kinds):
        texture = np.clip(smooth_fields(rng, 1, size, length=2), -2.5, 2.5)
        ground = _GROUND[:, None, None] * (1 + 0.2 * texture)
        region[i] = _object(rng, _CLASSES[kind], size)
        chip = np.where(region[i], _PAINT[:, None, None], ground)
        chips[i] = np.clip(chip + rng.normal(0, noise, chip.shape), 0.001, 1.0)
    cube = xr.DataArray(
        chips,
        dims=("sample", "band", "y", "x"),
        coords={"band": list(_WAVELENGTH), **axis_coords(size)},
        name="reflectance",
        attrs={"units": "1", "long_name": "reflectance"},
    )
    cube = to_cube(cube, wavelength=list(_WAVELENGTH.values()), units="nm")
    labels = np.array(_CLASSES)[kinds]
    hot = np.stack([labels == c for c in _CLASSES]).astype(np.float32)
    truth = Truth(
        targets=_CLASSES,
        bands={c: () for c in _CLASSES},
        group={},
        groups={n: (nm - 10, nm + 10) for n, nm in _WAVELENGTH.items()},
        values=xr.DataArray(
            hot, dims=("target", "sample"), coords={"target": list(_CLASSES)}, name="value"
        ),
        labels=xr.DataArray(labels, dims="sample", name="label"),
        region=xr.DataArray(
            region, dims=("sample", "y", "x"), coords=axis_coords(size), name="region"
        ),
    )
    return Scene(cube, truth)


def _object(rng: np.random.Generator, kind: str, size: tuple[int, int]) -> np.ndarray:
    """Pixels (y, x) of one object, wholly inside the chip."""
    reach = min(size) * rng.uniform(0.28, 0.36)
    angle = rng.uniform(0, np.pi)
    centre_y, centre_x = (rng.uniform(reach, n - 1 - reach) for n in size)
    y, x = np.indices(size)
    dy, dx = y - centre_y, x - centre_x
    along = (dx * np.cos(angle) + dy * np.sin(angle)) / reach
    across = (-dx * np.sin(angle) + dy * np.cos(angle)) / reach
    if kind == "airplane":
        body = (abs(along) < 1.0) & (abs(across) < 0.16)
        wings = (abs(across) < 0.9) & (abs(along - 0.15) < 0.18)
        found = body | wings
    elif kind == "storage tanks":
        found = np.hypot(abs(along) - 0.52, across) < 0.45
    else:
        court = (abs(along) < 0.85) & (abs(across) < 0.5)
        found = court & (np.floor((along + 0.85) / 0.34).astype(int) % 2 == 0)
    return np.asarray(found, dtype=bool)
