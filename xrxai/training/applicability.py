"""Where a model may be believed: how unlike a pixel is to all that it was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import CubeError, OptionError, at_least
from xrxai.labelled.cube import Cube
from xrxai.training.places import scene, trained_mask


def applicability(
    cube: xr.DataArray,
    trained: xr.DataArray | np.ndarray,
    *,
    training_cube: xr.DataArray | None = None,
    weights: xr.DataArray | np.ndarray | None = None,
    block: int = 32,
    folds: int = 5,
    max_pixels: int = 5_000,
    seed: int = 0,
) -> xr.Dataset:
    """
    Map where spectra are unlike all that a model was trained on.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The scene to judge, in memory or lazy.
    trained : DataArray or array of bool, (y, x)
        True where pixels were trained on, such as ``(split == 0) & (labels >= 0)``.
    training_cube : DataArray, (band, y, x), optional
        The scene of `trained`, when that is another one. Default: `cube`.
    weights : array or DataArray, (band,), optional
        How much each band matters to the model, such as the mean size of its attributions; not
        negative. Default: all alike.
    block : int, default: 32
        Side in pixels of the blocks that are held out in turn, to learn what distance is usual
        between places that are apart. Larger blocks allow more.
    folds : int, default: 5
        Into which the blocks are dealt.
    max_pixels : int, default: 5000
        Of the training pixels, drawn at random. More find nearer neighbours, at a higher cost.
    seed : int, default: 0
        Of the draw and the folds.

    Returns
    -------
    Dataset
        ``dissimilarity`` (y, x): distance to the nearest training pixel in standardised and
        weighted bands, over the mean distance between training pixels, NaN without data; lazy if
        the cube is; ``applicable`` (y, x) bool, up to the attribute ``threshold``: the largest of
        the same number for held-out training pixels, of those not above the upper quartile plus
        1.5 interquartile ranges.

    Raises
    ------
    OptionError
        The mask, weights or blocks do not fit.
    CubeError
        The two cubes have different bands.

    References
    ----------
    .. [1] H. Meyer, E. Pebesma (2021). Predicting into unknown space? Estimating the area of
       applicability of spatial prediction models. Methods in Ecology and Evolution 12.
       https://doi.org/10.1111/2041-210X.13650
    """
    at_least(block, 1, "block")
    at_least(folds, 2, "folds")
    at_least(max_pixels, 10, "max_pixels")
    source = cube if training_cube is None else training_cube
    here, there = scene(cube), scene(source)
    _same_bands(here, there)
    known = np.flatnonzero(here.good_band & there.good_band)
    w = _weights(weights, here.data.sizes[here.band])[known]
    spectra, blocks = _training(there, trained, known, block, max_pixels, seed)
    mean, spread = spectra.mean(0), spectra.std(0)
    spread[np.ptp(spectra, axis=0) == 0] = 0  # the deviation of a constant is not quite zero
    factor = np.divide(w, spread, out=np.zeros_like(spread), where=spread > 0)
    points = (spectra - mean) * factor
    unit = _mean_distance(points, seed)
    threshold = _usual(points, blocks, folds, seed) / unit

    from scipy.spatial import cKDTree

    tree = cKDTree(points)

    def distance(values: np.ndarray) -> np.ndarray:
        """(..., band) -> (...)."""
        flat = (values.reshape(-1, values.shape[-1])[:, known].astype(np.float64) - mean) * factor
        whole = np.isfinite(flat).all(1)
        found = np.full(len(flat), np.nan, np.float32)
        if whole.any():
            found[whole] = tree.query(flat[whole])[0] / unit
        return found.reshape(values.shape[:-1])

    dissimilar = xr.apply_ufunc(
        distance,
        here.data,
        input_core_dims=[[here.band]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[np.float32],
        keep_attrs=False,
    )
    valid = here.valid().reset_coords(drop=True)
    dissimilar = dissimilar.where(valid).transpose(here.y, here.x).rename("dissimilarity")
    dissimilar.attrs = {
        "long_name": "distance to the training data over their mean distance",
        "units": "1",
        "threshold": float(threshold),
    }
    inside = (dissimilar <= threshold).rename("applicable")
    inside.attrs = {"long_name": "as near to the training data as these to one another"}
    return xr.Dataset({"dissimilarity": dissimilar, "applicable": inside})


def _same_bands(here: Cube, there: Cube) -> None:
    """Refuse a training cube that has seen other bands."""
    count, other = (cube.data.sizes[cube.band] for cube in (here, there))
    if count != other:
        raise CubeError(
            f"The cube has {count} bands and the training cube {other}; give both the bands that "
            f"the model sees."
        )
    if here.wavelength is None or there.wavelength is None:
        return
    apart = np.abs(here.wavelength - there.wavelength)
    if apart.max() > 1.0:
        k = int(apart.argmax())
        raise CubeError(
            f"Band {k} lies at {here.wavelength[k]:g} nm in the cube and at "
            f"{there.wavelength[k]:g} nm in the training cube; give both the bands that the model "
            f"sees, in the same order."
        )


def _weights(weights: Any, n: int) -> np.ndarray:
    if weights is None:
        return np.ones(n)
    w = np.asarray(weights, np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise OptionError(
            f"weights has shape {w.shape}, and {n} finite numbers from 0, one per band, are "
            f"needed; type weights=abs(why.attribution).mean(('target', 'y', 'x'))."
        )
    scaled: np.ndarray = w / w.mean()
    return scaled


def _training(
    place: Cube, trained: Any, known: np.ndarray, block: int, max_pixels: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (pixel, band) of some training pixels, and the block of each."""
    y, x = str(place.y), str(place.x)
    shape = (place.data.sizes[y], place.data.sizes[x])
    mask = trained_mask(trained, place)
    rows = np.flatnonzero(mask & place.valid().transpose(y, x).values)
    if len(rows) < 10:
        raise OptionError(
            f"trained holds {len(rows)} valid pixels, too few to tell what is usual; check that "
            f"it is True where pixels were trained on."
        )
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(rows)[:max_pixels])
    i, j = np.unravel_index(rows, shape)
    points = {y: xr.DataArray(i, dims="pixel"), x: xr.DataArray(j, dims="pixel")}
    spectra = place.data.isel(points).transpose("pixel", place.band).values[:, known]
    blocks = (i // block) * (shape[1] // block + 1) + j // block
    return spectra.astype(np.float64), blocks


def _mean_distance(points: np.ndarray, seed: int) -> float:
    """Mean distance between training pixels, of at most 1000 of them."""
    from scipy.spatial.distance import pdist

    some = np.random.default_rng(seed).permutation(len(points))[:1000]
    found = float(pdist(points[some]).mean())
    if found == 0:
        raise OptionError(
            "All training pixels have the same spectrum, so nothing can be said about others; "
            "check trained= and weights=."
        )
    return found


def _usual(points: np.ndarray, blocks: np.ndarray, folds: int, seed: int) -> float:
    """Largest distance from a fold to the others that is no outlier."""
    from scipy.spatial import cKDTree

    names, where = np.unique(blocks, return_inverse=True)
    if len(names) < 2:
        raise OptionError(
            "All training pixels lie in one block, so none can be held out; type a smaller block."
        )
    rng = np.random.default_rng(seed)
    fold = (rng.permutation(len(names)) % min(folds, len(names)))[where]
    found = [
        cKDTree(points[fold != k]).query(points[fold == k])[0]
        for k in range(min(folds, len(names)))
    ]
    distances = np.concatenate(found)
    low, high = np.quantile(distances, [0.25, 0.75])
    return float(distances[distances <= high + 1.5 * (high - low)].max())
