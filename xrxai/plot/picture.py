"""The true-colour picture of a scene, from an explanation's quick look or from the cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai.errors import BandError, CubeError, OptionError, ResultError, choice
from xrxai.labelled.axes import FILL_ATTRS, is_fill
from xrxai.labelled.cube import locate
from xrxai.plot.grid import Grid, grid
from xrxai.plot.view import thin

if TYPE_CHECKING:
    from numpy.typing import NDArray

Stretch = Literal["channel", "joint", "none"] | tuple[float, float]

TRUE_COLOUR = (660.0, 550.0, 480.0)
WINDOW = 15.0
NEAREST = 40.0
BAND_NAMES = ({"red", "r", "b4", "b04"}, {"green", "g", "b3", "b03"}, {"blue", "b", "b2", "b02"})
PIXELS_FOR_STRETCH = 1_000_000


@dataclass(frozen=True)
class Picture:
    """Colours (y, x, rgba) between 0 and 1, transparent where nothing was measured."""

    rgba: NDArray[np.float64]
    step: int
    placed: Grid
    title: str

    @property
    def grey(self) -> NDArray[np.float64]:
        """The same picture without colour, lightened so that lines on it can be read."""
        light = self.rgba.copy()
        light[..., :3] = 0.42 + 0.55 * self.rgba[..., :3].mean(axis=-1, keepdims=True)
        return light.clip(0.0, 1.0)


def from_explanation(
    dataset: xr.Dataset, y: str, x: str, *, stretch: Stretch = "channel"
) -> Picture | None:
    """Make the picture of the quick look `rgb` in an explanation; None when it has none."""
    if "rgb" not in dataset or not {y, x} <= set(dataset["rgb"].dims):
        return None
    channels, step = thin(dataset["rgb"], y, x)
    colours = np.asarray(channels.transpose("channel", y, x).to_numpy(), dtype=np.float64)
    valid = np.asarray(np.isfinite(colours).all(axis=0))
    said = str(dataset["rgb"].attrs.get("wavelengths", ""))
    return Picture(
        coloured(colours, valid, stretch),
        step,
        grid(dataset, y, x),
        f"True colour  {said}".rstrip(),
    )


def from_cube(
    cube: xr.DataArray,
    *,
    wavelengths: Sequence[float] = TRUE_COLOUR,
    stretch: Stretch = "channel",
    dataset: xr.Dataset | None = None,
) -> Picture:
    """Make the picture of a cube; measured pixels that the explanation left out turn pale."""
    if len(wavelengths) != 3:
        raise OptionError(
            f"wavelengths has {len(wavelengths)} values; a picture needs three, for red, green "
            "and blue, such as wavelengths=(660, 550, 480)."
        )
    found = locate(cube)
    if found.y is None or found.x is None:
        raise CubeError(
            f"This cube has dims {tuple(map(str, cube.dims))}: a table of spectra, which has no "
            "picture. Plot .spectral() instead."
        )
    for dim in found.lead:
        if cube.sizes[dim] != 1:
            raise CubeError(
                f"A picture shows one sample, and the cube has {dim}: {cube.sizes[dim]}. "
                f"Type .isel({dim}=0) to take the first."
            )
    valid_source = found.valid().squeeze(list(found.lead))
    data = cube.squeeze(list(found.lead))
    positions, says = colour_bands(data, found.band, found.wavelength, found.good_band, wavelengths)
    used = np.unique(np.concatenate(positions))
    small, step = thin(data.isel({found.band: used}), found.y, found.x)
    small = small.transpose(found.band, found.y, found.x)
    colours = np.stack(
        [
            colour_mean(small.isel({found.band: np.searchsorted(used, p)}), cube.attrs)
            for p in positions
        ]
    )
    valid = valid_source.transpose(found.y, found.x)
    if dataset is not None and "valid" in dataset:
        names = dict(zip(dataset["valid"].dims, (found.y, found.x), strict=False))
        theirs = dataset["valid"].rename({k: v for k, v in names.items() if k != v})
        if theirs.sizes != valid.sizes:
            raise ResultError(
                f"The cube has {valid.sizes[found.y]} × {valid.sizes[found.x]} pixels and the "
                f"explanation {theirs.sizes[found.y]} × {theirs.sizes[found.x]}: pass the cube "
                "that was explained."
            )
        valid = theirs
    keep = np.asarray(thin(valid, found.y, found.x)[0].to_numpy(), dtype=bool)
    kind = "True colour" if tuple(map(float, wavelengths)) == TRUE_COLOUR else "Colour composite"
    return Picture(
        coloured(colours, keep, stretch), step, grid(cube, found.y, found.x), f"{kind}  {says}"
    )


def colour_bands(
    data: xr.DataArray,
    band: str,
    wavelength: NDArray[np.float64] | None,
    good: NDArray[np.bool_],
    wanted: Sequence[float],
) -> tuple[list[NDArray[Any]], str]:
    """Find the bands of three channels by wavelength, else by name; and say which they are."""
    if wavelength is None:
        names = [str(n).lower() for n in data[band].to_numpy()] if band in data.coords else []
        positions = [np.flatnonzero([n in known for n in names]) for known in BAND_NAMES]
        if tuple(map(float, wanted)) != TRUE_COLOUR or any(p.size == 0 for p in positions):
            raise BandError(
                "The cube has neither wavelengths nor bands named red, green and blue; add them "
                "with xrxai.to_cube(cube, wavelength=[...])."
            )
        chosen = [p[:1] for p in positions]
        labels = [str(data[band].to_numpy()[p[0]]) for p in chosen]
        return chosen, " · ".join(f"{c} {name}" for c, name in zip("RGB", labels, strict=True))
    positions, words = [], []
    for channel, centre in zip("RGB", wanted, strict=True):
        distance = np.where(good, np.abs(wavelength - float(centre)), np.inf)
        inside = np.flatnonzero(distance <= WINDOW)
        if inside.size == 0:
            nearest = int(np.argmin(distance))
            if not distance[nearest] <= NEAREST:
                raise BandError(
                    f"No band lies within {NEAREST:g} nm of {float(centre):g} nm; this sensor "
                    f"covers {wavelength.min():.0f}-{wavelength.max():.0f} nm. Choose three "
                    "wavelengths in it: plot.rgb(cube, wavelengths=(...))."
                )
            inside = np.array([nearest])
        positions.append(inside)
        words.append(f"{channel} {wavelength[inside].mean():.0f}")
    return positions, " · ".join(words) + " nm"


def colour_mean(bands: xr.DataArray, attrs: Mapping[Any, Any]) -> NDArray[np.float64]:
    """Return the mean of the bands (band, y, x) of one channel, NaN where the attrs say fill."""
    for name in FILL_ATTRS:
        if name in attrs:
            bands = bands.where(~is_fill(bands, attrs[name]))
    mean: NDArray[np.float64] = bands.to_numpy().astype(np.float64).mean(axis=0)
    return mean


def coloured(
    colours: NDArray[np.float64], valid: NDArray[np.bool_], stretch: Stretch
) -> NDArray[np.float64]:
    """Stretch three channels to 0-1 on valid pixels, fade the others, hide what is missing."""
    return stretched(colours, valid, *stretch_limits(colours, valid, stretch))


def stretched(
    colours: NDArray[np.float64],
    valid: NDArray[np.bool_],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Stretch three channels between limits that are known; (y, x, rgba)."""
    measured = np.asarray(np.isfinite(colours).all(axis=0))
    span = np.where(high > low, high - low, 1.0)
    shown = ((colours - low[:, None, None]) / span[:, None, None]).clip(0.0, 1.0)
    pale = 0.55 * shown.mean(axis=0) + 0.40
    shown = np.where(valid, shown, pale)
    rgba = np.concatenate([shown, measured[None].astype(np.float64)])
    return np.asarray(np.nan_to_num(np.moveaxis(rgba, 0, -1)))


def stretch_limits(
    colours: NDArray[np.float64], valid: NDArray[np.bool_], stretch: Stretch
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what becomes black and what becomes full colour, per channel."""
    measured = np.asarray(np.isfinite(colours).all(axis=0))
    used = colours[:, valid & measured]
    if used.shape[1] == 0:
        used = colours[:, measured]
    used = used[:, :: max(1, used.shape[1] // PIXELS_FOR_STRETCH)]
    if not isinstance(stretch, str):
        try:
            low, high = (float(v) for v in stretch)
        except (TypeError, ValueError):
            low, high = 0.0, 0.0
        if not low < high:
            raise OptionError(
                f"stretch={stretch!r} is not two rising values; type for example stretch=(0, 0.3)."
            )
        return np.full(3, low), np.full(3, high)
    word = choice(stretch, ("channel", "joint", "none"), "stretch")
    if word == "none" or used.size == 0:
        return np.zeros(3), np.ones(3)
    if word == "joint":
        both = np.percentile(used, (2, 98))
        return np.full(3, both[0]), np.full(3, both[1])
    return np.percentile(used, 2, axis=1), np.percentile(used, 98, axis=1)
