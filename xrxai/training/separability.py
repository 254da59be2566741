"""Whether a sensor can tell classes apart at all, before anybody trains on them."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from xrxai.errors import CubeError, LabelError, OptionError, at_least, choice, note
from xrxai.labelled import bands as band_groups
from xrxai.labelled.cube import Cube, locate
from xrxai.training.classes import classes_of, labels_of
from xrxai.training.gaussians import bhattacharyya, each_alone, settled

Shrinkage = Literal["oas", "ledoit_wolf", "none"]
VERDICTS = ((1.0, "cannot be told apart with these bands"), (1.9, "hard"), (np.inf, "apart"))
FEW = "too few pixels"


def separability(
    cube: xr.DataArray,
    labels: xr.DataArray,
    *,
    bands: Any = None,
    shrinkage: Shrinkage = "oas",
    max_pixels: int = 2000,
    min_pixels: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """
    Tell which classes the spectra can tell apart: Jeffries-Matusita distance, from 0 to 2.

    ``2 (1 - exp(-B))``, where B is the Bhattacharyya distance of two Gaussians. Classes below 1
    are better lumped, or need texture, other dates or other bands.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The image; only the labelled pixels that are drawn are read.
    labels : DataArray, (y, x)
        What `rasterise` or `labels_of` made.
    bands : optional
        Means of band groups instead of bands, see `xrxai.band_groups`.
    shrinkage : {"oas", "ledoit_wolf", "none"}, default: "oas"
        How covariances of few pixels are made. "none" takes them as they are, and asks for more
        pixels of each class than bands.
    max_pixels : int, default: 2000
        So many pixels of a class are drawn, at most.
    min_pixels : int, default: 10
        Of classes with fewer nothing is said: NaN.
    seed : int, default: 0
        Of the draw.

    Returns
    -------
    Dataset
        Over (class, other): ``jeffries_matusita``, 0 (the same) to 2, ``bhattacharyya``,
        ``verdict``: "cannot be told apart with these bands" (below 1), "hard" (below 1.9) or
        "apart"; ``best``, the band in nm, or the group, that separates them best by itself, and
        ``best_alone``, its Jeffries-Matusita distance. ``pixels`` (class) were used.

    Raises
    ------
    LabelError
        Fewer than two classes are labelled.
    CubeError
        The cube has more dims than bands, rows and columns.
    OptionError
        ``shrinkage="none"`` with fewer pixels than bands.

    Warns
    -----
    UserWarning
        A class has too few pixels.

    Notes
    -----
    Unless ``shrinkage="none"``: covariances are shrunk after the common covariance within classes
    has been made the unit matrix, in as many principal components as there are five pixels for,
    and B is freed of what the noise of the means adds. Shrunk as they are, covariances of many
    correlated bands take two draws from one Gaussian for far apart. Pixels of one field are alike:
    with few fields the distances are too large.

    References
    ----------
    .. [1] A. Bhattacharyya (1943). On a measure of divergence between two statistical populations
       defined by their probability distributions. Bulletin of the Calcutta Mathematical Society
       35, 99-109.
    .. [2] L. Bruzzone, F. Roli, S. B. Serpico (1995). An extension of the Jeffreys-Matusita
       distance to multiclass cases for feature selection. IEEE TGRS 33(6).
       https://doi.org/10.1109/36.477187
    .. [3] Y. Chen, A. Wiesel, Y. C. Eldar, A. O. Hero (2010). Shrinkage algorithms for MMSE
       covariance estimation. IEEE TSP 58(10). https://doi.org/10.1109/TSP.2010.2053029
    """
    choice(shrinkage, get_args(Shrinkage), "shrinkage")
    at_least(max_pixels, 1, "max_pixels")
    at_least(min_pixels, 2, "min_pixels")
    known = classes_of(labels)
    place = locate(cube)
    if place.lead or place.y is None:
        raise CubeError(
            f"The cube has the dims {tuple(map(str, cube.dims))}, and one image is needed; type "
            f"cube.isel({place.lead[0] if place.lead else 'time'}=0)."
        )
    array = labels_of(labels, cube, known).values
    spectra, features = _spectra(place, array, len(known), bands, max_pixels, seed)
    pixels = np.array([len(s) for s in spectra])
    used = np.flatnonzero(pixels >= min_pixels)
    few = [k for k in range(len(known)) if (array == k).sum() > 0 and pixels[k] < min_pixels]
    if used.size < 2:
        raise LabelError(
            f"{used.size} class{'es' * (used.size != 1)} with {min_pixels} pixels or more "
            f"({', '.join(f'{n!r}: {c}' for n, c in zip(known.names, pixels, strict=True))}), and "
            f"telling apart takes two; label more, or type a smaller min_pixels."
        )
    if few:
        listed = ", ".join(f"{known.names[k]!r} ({pixels[k]})" for k in few)
        note(
            f"Too few pixels with data to judge {listed}: NaN. Label more than {min_pixels} of "
            f"each, or lump them."
        )
    if shrinkage == "none" and pixels[used].min() <= len(features):
        raise OptionError(
            f"shrinkage='none' has {pixels[used].min()} pixels of a class for {len(features)} "
            f"bands, so its covariance is singular; type shrinkage='oas', or bands= for fewer."
        )
    n = len(known)
    distance, alone = np.full((n, n), np.nan), np.full((n, n), np.nan)
    best = np.full((n, n), "", dtype=object)
    means, spreads = settled([spectra[k] for k in used], shrinkage)
    for i, a in enumerate(used):
        distance[a, a] = 0.0
        for j, b in enumerate(used[:i]):
            counts = None if shrinkage == "none" else (int(pixels[a]), int(pixels[b]))
            found = bhattacharyya(means[i], spreads[i], means[j], spreads[j], counts)
            distance[a, b] = distance[b, a] = found
            each = each_alone(spectra[a], spectra[b])
            best[a, b] = best[b, a] = features[int(np.argmax(each))]
            alone[a, b] = alone[b, a] = 2 * (1 - np.exp(-each.max()))
    return _dataset(distance, best, alone, pixels, list(known.names))


def _spectra(
    place: Cube, array: np.ndarray, classes: int, bands: Any, most: int, seed: int
) -> tuple[list[np.ndarray], list[str]]:
    """Spectra (pixel, band) of each class, float64, and the names of the bands or groups."""
    rng = np.random.default_rng(seed)
    drawn = []
    for k in range(classes):
        where = np.flatnonzero(array == k)
        drawn.append(np.sort(rng.permutation(where)[:most]))
    at = np.unravel_index(np.concatenate(drawn), array.shape)
    points = {d: xr.DataArray(i, dims="pixel") for d, i in zip((place.y, place.x), at, strict=True)}
    data = place.data.isel(points).compute()
    keep = locate(data, band_dim=place.band).valid().values
    values = data.transpose("pixel", place.band).values.astype(np.float64)
    values, features = _features(place, values, bands)
    parts = np.repeat(np.arange(classes), [len(d) for d in drawn])
    return [values[keep & (parts == k)] for k in range(classes)], features


def _features(place: Cube, values: np.ndarray, bands: Any) -> tuple[np.ndarray, list[str]]:
    """Good bands, or the means of groups of them."""
    if bands is None:
        good = np.flatnonzero(place.good_band)
        if place.wavelength is not None:
            return values[:, good], [f"{nm:g} nm" for nm in place.wavelength[good]]
        return values[:, good], [f"band {i}" for i in good]
    groups = band_groups.settle(place, bands, "first", "fixed")
    ids, names = groups["group_of_band"].values, [str(n) for n in groups["group"].values]
    return np.stack([values[:, ids == i + 1].mean(1) for i in range(len(names))], axis=1), names


def _dataset(
    distance: np.ndarray, best: np.ndarray, alone: np.ndarray, pixels: np.ndarray, names: list[str]
) -> xr.Dataset:
    measure = 2 * (1 - np.exp(-distance))
    verdict = np.full(measure.shape, FEW, dtype=object)
    for bound, word in VERDICTS[::-1]:
        verdict[measure < bound] = word
    np.fill_diagonal(verdict, "")
    pair = ("class", "other")
    return xr.Dataset(
        {
            "jeffries_matusita": (
                pair,
                measure,
                {"long_name": "Jeffries-Matusita distance", "units": "1"},
            ),
            "bhattacharyya": (pair, distance, {"long_name": "Bhattacharyya distance"}),
            "verdict": (pair, verdict),
            "best": (pair, best, {"long_name": "band or group that separates best alone"}),
            "best_alone": (pair, alone, {"long_name": "its Jeffries-Matusita distance"}),
            "pixels": ("class", pixels, {"long_name": "pixels that were used", "units": "1"}),
        },
        coords={"class": names, "other": names},
    )
