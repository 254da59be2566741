"""On/off matrices, drawn once from a seed and shared by every sample, tile and target."""

from __future__ import annotations

import numpy as np


def random(n_samples: int, n_groups: int, seed: int) -> np.ndarray:
    """Independent fair coins: (n_samples, n_groups) bool, True = kept."""
    kept: np.ndarray = np.random.default_rng(seed).random((n_samples, n_groups)) < 0.5
    return kept


def every(n_groups: int) -> np.ndarray:
    """All 2**n_groups on/off patterns: (2**n_groups, n_groups) bool, in binary order."""
    codes = np.arange(2**n_groups)[:, None]
    on: np.ndarray = (codes >> np.arange(n_groups)) % 2 == 1
    return on


def windows(size: int, window: int, stride: int) -> np.ndarray:
    """Half-open ranges (n, 2) of a sliding window; the last one is cut at the end.

    Their number is ``ceil((size - window) / stride) + 1``, so every position is covered as
    long as the stride does not exceed the window.
    """
    count = max(0, -(-(size - window) // stride)) + 1
    start = np.arange(count) * stride
    start = start[start < size]  # a stride wider than the window can step over the end
    return np.stack([start, np.minimum(start + window, size)], axis=1)


def resamples(n_samples: int, n_repeats: int, seed: int) -> np.ndarray:
    """Bootstrap multiplicities: (n_repeats, n_samples), each row sums to n_samples."""
    rng = np.random.default_rng([seed, 1])
    share = np.full(n_samples, 1.0 / n_samples)
    return rng.multinomial(n_samples, share, size=n_repeats).astype(float)


def draws(
    n_samples: int, n_rows: int, seed: int, stratified: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a table (n_samples,) and places in [0, 1) (n_samples,).

    Stratified: every row equally often, as far as it goes, and one place in each
    n_samples-th of the way.
    """
    rng = np.random.default_rng(seed)
    if not stratified:
        return rng.integers(n_rows, size=n_samples), rng.random(n_samples)
    rounds = [rng.permutation(n_rows) for _ in range(-(-n_samples // n_rows))]
    places = (rng.permutation(n_samples) + rng.random(n_samples)) / n_samples
    return np.concatenate(rounds)[:n_samples], places


def proximity(on: np.ndarray, width: float | None) -> np.ndarray:
    """Weight of each pattern: a Gaussian of its cosine distance to "all kept".

    For k of G groups kept the distance is ``1 - sqrt(k / G)``; None weighs all alike.
    """
    if width is None:
        return np.ones(len(on))
    distance = 1 - np.sqrt(on.mean(axis=1))
    weights: np.ndarray = np.exp(-(distance**2) / (2 * width**2))
    return weights
