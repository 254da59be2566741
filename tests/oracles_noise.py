"""Slow twins of methods under noise, and of imputation: loops, float64, no torch."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tests import oracles

N_STEPS = 4


def method(of, f, x, baseline=None):
    """One answer of the method that is repeated: (target, *features)."""
    if of == "integrated_gradients":
        nodes, weights = np.polynomial.legendre.leggauss(N_STEPS)
        way = [oracles.gradient(f, baseline + (1 + t) / 2 * (x - baseline)) for t in nodes]
        return (x - baseline) * np.tensordot(weights / 2, way, 1)
    slope = oracles.gradient(f, x)
    return x * slope if of == "input_x_gradient" else slope


def noises(shape, n, seed):
    """Noise of a spectrum, or of a scene: one block of 64 x 64 pixels beside the other."""
    if len(shape) == 1:
        return [np.random.default_rng([seed, j]).standard_normal(shape) for j in range(n)]
    bands, height, width = shape
    out = []
    for j in range(n):
        rows = [
            np.concatenate(
                [
                    np.random.default_rng([seed, j, r, c]).standard_normal((64, 64, bands))
                    for c in range(-(-width // 64))
                ],
                axis=1,
            )
            for r in range(-(-height // 64))
        ]
        out.append(np.moveaxis(np.concatenate(rows), -1, 0)[:, :height, :width])
    return out


def told(answers, statistic):
    """Statistic of the answers, and its standard error."""
    answers = np.array(answers)
    if statistic == "variance":
        return ((answers - answers.mean(0)) ** 2).mean(0), None
    values = answers**2 if statistic == "square" else answers
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))


def conditional_mean(x, kept, mean, covariance):
    """E[x | x kept] through the precision matrix, another way than the kernel's."""
    gone = ~kept
    out = x.copy()
    if not gone.any():
        return out
    precision = np.linalg.inv(covariance)
    pull = precision[np.ix_(gone, kept)] @ (x - mean)[kept]
    out[gone] = mean[gone] - np.linalg.inv(precision[np.ix_(gone, gone)]) @ pull
    return out


def interpolated(x, kept, wavelength, mean):
    """np.interp over what is kept."""
    if not kept.any():
        return mean
    known = np.flatnonzero(kept)[np.argsort(wavelength[kept], kind="stable")]
    return np.where(kept, x, np.interp(wavelength, wavelength[known], x[known]))


def distance(x, mean, covariance):
    """Mahalanobis."""
    away = x - mean
    return math.sqrt(away @ np.linalg.solve(covariance, away))


def shapley(value, n_players):
    """Shapley values of value(frozenset): the definition."""
    players = range(n_players)
    out = np.zeros(n_players)
    for j in players:
        others = [i for i in players if i != j]
        for size in range(n_players):
            for some in itertools.combinations(others, size):
                share = (
                    math.factorial(size)
                    * math.factorial(n_players - size - 1)
                    / math.factorial(n_players)
                )
                out[j] += share * (value(frozenset(some) | {j}) - value(frozenset(some)))
    return out
