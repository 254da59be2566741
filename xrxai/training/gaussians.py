"""How far apart Gaussian classes are, from few pixels of many bands."""

from __future__ import annotations

import numpy as np

PER_COMPONENT = 5
"""Pixels (of all classes) per principal component: with fewer, noise passes for distance."""


def settled(spectra: list[np.ndarray], shrinkage: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Spectra (pixel, band) of each class -> means and covariances, in coordinates that they share.

    The distances do not depend on these coordinates; the shrunk covariances do. Shrunk towards
    the unit matrix, those of correlated bands take identical classes for far apart. So they are
    shrunk where the common covariance within classes is the unit matrix.
    """
    from sklearn.covariance import ledoit_wolf, oas

    centred = np.concatenate([s - s.mean(0) for s in spectra])
    spread = centred.std(0)
    spectra = [s / np.where(spread > 0, spread, 1.0) for s in spectra]
    if shrinkage == "none":
        return [s.mean(0) for s in spectra], [np.atleast_2d(np.cov(s.T, ddof=0)) for s in spectra]
    spectra = _reduced(spectra)
    centred = np.concatenate([s - s.mean(0) for s in spectra])
    root = np.linalg.cholesky(oas(centred, assume_centered=True)[0])
    white = [np.linalg.solve(root, s.T).T for s in spectra]
    shrink = oas if shrinkage == "oas" else ledoit_wolf
    return [s.mean(0) for s in white], [np.atleast_2d(shrink(s)[0]) for s in white]


def _reduced(spectra: list[np.ndarray]) -> list[np.ndarray]:
    """As many principal components as the pixels can carry."""
    together = np.concatenate(spectra)
    most = max(1, (len(together) - len(spectra)) // PER_COMPONENT)
    if most >= together.shape[1]:
        return spectra
    axes = np.linalg.svd(together - together.mean(0), full_matrices=False)[2][:most]
    return [s @ axes.T for s in spectra]


def bhattacharyya(
    one: np.ndarray,
    spread: np.ndarray,
    other: np.ndarray,
    wide: np.ndarray,
    counts: tuple[int, int] | None = None,
) -> float:
    """Distance of two Gaussians; with `counts` less what the noise of their means adds to it."""
    both, apart = (spread + wide) / 2, one - other
    means = apart @ np.linalg.solve(both, apart) / 8
    if counts is not None:
        noise = spread / counts[0] + wide / counts[1]
        means -= np.trace(np.linalg.solve(both, noise)) / 8
    half = (np.linalg.slogdet(spread)[1] + np.linalg.slogdet(wide)[1]) / 2
    return max(float(means + (np.linalg.slogdet(both)[1] - half) / 2), 0.0)


def each_alone(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance of two classes in each band by itself, from spectra (pixel, band)."""
    a, b = one.var(0), other.var(0)
    floor = 1e-12 * np.maximum(a + b, np.finfo(float).tiny)
    a, b = np.maximum(a, floor), np.maximum(b, floor)
    noise = a / len(one) + b / len(other)
    means = np.maximum((one.mean(0) - other.mean(0)) ** 2 - noise, 0) / (a + b) / 4
    made: np.ndarray = means + np.log((a + b) / (2 * np.sqrt(a * b))) / 2
    return made
