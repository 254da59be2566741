"""Pools of overlapping regions: segmentations of one image, from fine to coarse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, SegmentError, positive
from xrxai.labelled import bands as band_groups
from xrxai.labelled import segments as segmentation
from xrxai.labelled.cube import Cube

_PHOTO = 224 * 224
# What the paper's code gives scikit-image for a photo of 224 x 224 in -1..1, brought to an image
# whose pixels differ by 1 from their mean: skimage divides by 255, and photos spread by about 0.5.
_SCALES = (0.4, 0.8, 1.2, 2.0, 4.0, 10.0)
_SMOOTH, _COMPONENTS = 0.8, 3


class Pool(NamedTuple):
    """Maps of ids (band = map, [lead], y, x), the first 1 everywhere, and how they were made."""

    maps: xr.DataArray
    superpixels: list[bool]
    scales: list[float]
    features: list[str]


def share_of_photo(place: Cube, pixels: float) -> float:
    """As large in this image as `pixels` are in a photo of 224 x 224."""
    return pixels * place.data.sizes[place.y] * place.data.sizes[place.x] / _PHOTO


def settle(
    place: Cube,
    entries: list[Any],
    valid: xr.DataArray,
    *,
    scales: Sequence[float] | None,
    segment_bands: band_groups.Bands | None,
    patch: int,
    min_size: int,
) -> Pool:
    """Turn what the user wrote into maps of ids, one on top of the other."""
    reach = _scales(place, scales)
    features, names = _features(place, valid, segment_bands)
    maps: list[xr.DataArray] = []
    made: list[bool] = []
    for entry in entries:
        if isinstance(entry, str) and entry == "felzenszwalb":
            found = _felzenszwalb(place, features, valid, reach, min_size)
        elif isinstance(entry, str) and entry != "patch":
            raise SegmentError(
                f"segments={entry!r} is not known; type 'felzenszwalb', 'patch', a map of ids, "
                f"polygons, or a list of them."
            )
        else:
            found = [segmentation.settle(place, entry, valid, patch=patch)]
        maps += found
        made += [isinstance(entry, str) and entry == "felzenszwalb"] * len(found)
    if not maps:
        raise SegmentError("segments=[] is empty; give at least one map of ids or polygons.")
    dims = [d for d in place.data.dims if any(d in m.dims for m in maps)]
    layers = [xr.DataArray(1), *(xr.DataArray(m.values, dims=m.dims) for m in maps)]
    sizes = {d: place.data.sizes[d] for d in dims}
    whole = [m.expand_dims({d: n for d, n in sizes.items() if d not in m.dims}) for m in layers]
    stack = xr.concat([m.transpose(*dims) for m in whole], dim=place.band)
    return Pool(stack, made, reach, names)


def entries(asked: Any) -> list[Any]:
    """One map, or several: a list of rows of numbers is one."""
    if isinstance(asked, list | tuple) and not (asked and np.ndim(asked[0]) == 1):
        return list(asked)
    return [asked]


def _scales(place: Cube, scales: Sequence[float] | None) -> list[float]:
    if scales is None:
        return [share_of_photo(place, s) for s in _SCALES]
    listed = [scales] if np.isscalar(scales) else list(scales)
    if not listed:
        raise OptionError("scales=[] is empty; type at least one, for example scales=[1, 4].")
    return [positive(s, "scales", 4) for s in listed]


def _felzenszwalb(
    place: Cube,
    features: xr.DataArray,
    valid: xr.DataArray,
    scales: list[float],
    min_size: int,
) -> list[xr.DataArray]:
    from skimage.segmentation import felzenszwalb

    if place.lazy:
        raise SegmentError(
            "Superpixels must see the pixels, and the cube is lazy (dask); type "
            "segments='patch', give maps of ids or polygons, or explain cube.compute()."
        )
    dims = (*place.lead, place.y, place.x)
    values = features.transpose(*dims, place.band).values.astype(float)
    keep = valid.transpose(*dims).values
    ids = np.zeros((len(scales), *keep.shape), dtype=int)
    for at in np.ndindex(keep.shape[:-2]):
        inside = keep[at]
        if not inside.any():
            continue
        image = _smooth(_standardised(values[at], inside), inside)
        # Far from every value, so that no region reaches into what is not valid.
        image[~inside] = 1e3
        for i, scale in enumerate(scales):
            # skimage divides scale by 255.
            found = felzenszwalb(image, scale=255 * scale, sigma=0, min_size=min_size) + 1
            ids[(i, *at)] = _apart(np.where(inside, found, 0))
    return [xr.DataArray(one, dims=dims) for one in ids]


def _apart(ids: np.ndarray) -> np.ndarray:
    """Ids of connected regions: islands that were joined over invalid pixels are two."""
    from skimage import measure

    found: np.ndarray = measure.label(ids, background=0, connectivity=2)  # type: ignore[no-untyped-call]
    return found


def _features(
    place: Cube, valid: xr.DataArray, segment_bands: band_groups.Bands | None
) -> tuple[xr.DataArray, list[str]]:
    """What tells pixels apart: the good bands, or the mean of each group that was asked for."""
    data = place.data.where(valid, 0)
    if segment_bands is None:
        return data.isel({place.band: np.flatnonzero(place.good_band)}), []
    groups = band_groups.settle(place, segment_bands, "first", "fixed")
    member = groups["group_of_band"].values
    names = [str(n) for n in groups["group"].values]
    planes = [
        data.isel({place.band: np.flatnonzero(member == g)}).mean(place.band)
        for g in range(1, len(names) + 1)
    ]
    return xr.concat([p.reset_coords(drop=True) for p in planes], dim=place.band), names


def _standardised(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(y, x, band) -> features whose pixels lie 1 from their mean, in the root mean square."""
    known = values[inside]
    centred = known - known.mean(axis=0)
    spread = centred.std(axis=0)
    # Rounding of a constant band is no contrast.
    still = spread <= 1e-7 * np.abs(known).max(axis=0)
    centred = np.where(still, 0.0, centred / np.where(still, 1.0, spread))
    if centred.shape[1] > _COMPONENTS:
        _, axes = np.linalg.eigh(centred.T @ centred)
        centred = centred @ axes[:, -_COMPONENTS:]
    size = np.sqrt((centred**2).sum(axis=1).mean())
    out = np.zeros((*inside.shape, centred.shape[1]))
    out[inside] = centred / size if size > 0 else centred
    return out


def _smooth(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Gaussian over y and x that takes nothing from invalid pixels."""
    from scipy.ndimage import gaussian_filter

    width = (_SMOOTH, _SMOOTH)
    share = gaussian_filter(inside.astype(float), width, mode="nearest")
    top = gaussian_filter(image * inside[..., None], (*width, 0.0), mode="nearest")
    out: np.ndarray = top / np.maximum(share, 1e-12)[..., None]
    return out
