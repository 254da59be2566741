"""Slow twins, written from the papers with loops and float64: no torch, no cleverness.

`f` is a function of one sample (an array of features) that returns one number per target.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import linalg, stats


def gradient(f, x, step=1e-5):
    """Central differences: (target, *features)."""
    out = np.empty((len(f(x)), *x.shape))
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        out[(slice(None), *index)] = (np.array(f(up)) - np.array(f(down))) / (2 * step)
    return out


def integrated_gradients(f, x, b, n_steps):
    """Middle Riemann sum of Sundararajan et al. 2017, eq. 1."""
    total = 0.0
    for k in range(n_steps):
        total = total + gradient(f, b + (k + 0.5) / n_steps * (x - b)) / n_steps
    return (x - b) * total


def occlusion(f, x, b, windows):
    """Mean over the windows that cover a feature of f(x) - f(x without the window).

    `windows` are boolean arrays of the shape of x.
    """
    whole = np.array(f(x))
    total = np.zeros((len(whole), *x.shape))
    count = np.zeros(x.shape)
    effects = []
    for inside in windows:
        effect = whole - np.array(f(np.where(inside, b, x)))
        effects.append(effect)
        total += effect.reshape(-1, *[1] * x.ndim) * inside
        count += inside
    with np.errstate(invalid="ignore"):
        return total / count, np.array(effects).T


def sliding(size, window, stride):
    """Starts and stops of a sliding window, the last one cut at the end."""
    start, out = 0, []
    while True:
        out.append((start, min(start + window, size)))
        if start + window >= size:
            return out
        start += stride


def lime_scores(f, x, b, part, patterns):
    """Answers to every on/off pattern; `part` counts groups from 1, 0 = always kept."""
    out = []
    for pattern in patterns:
        z = x.copy()
        for group, on in enumerate(pattern, start=1):
            if not on:
                z[part == group] = b[part == group]
        out.append(f(z))
    return np.array(out)


def lime_weight(pattern, width):
    """exp(-d^2 / 2 width^2), d the cosine distance of the pattern to all ones."""
    if width is None:
        return 1.0
    ones = np.ones(len(pattern))
    norm = np.linalg.norm(pattern) * np.linalg.norm(ones)
    cosine = np.dot(pattern, ones) / norm if norm else 0.0
    return np.exp(-((1 - cosine) ** 2) / (2 * width**2))


def weighted_ridge(patterns, weights, y, alpha):
    """Normal equations with an unpenalised intercept, as a stacked least-squares problem."""
    m, g = patterns.shape
    share = weights / weights.sum()
    rows = np.hstack([np.ones((m, 1)), patterns]) * np.sqrt(share)[:, None]
    penalty = np.hstack([np.zeros((g, 1)), np.sqrt(alpha) * np.eye(g)])
    stacked = np.vstack([rows, penalty])
    answer = np.concatenate([y * np.sqrt(share), np.zeros(g)])
    solution, *_ = np.linalg.lstsq(stacked, answer, rcond=None)
    return solution[0], solution[1:]


def hc3_interval(patterns, weights, y, alpha, level=0.95):
    """Sandwich errors, the residual of each row taken from the fit with its own leverage."""
    m, g = patterns.shape
    share = weights / weights.sum()
    rows = np.hstack([np.ones((m, 1)), patterns])
    bread = np.linalg.inv(rows.T @ np.diag(share) @ rows + alpha * np.diag([0.0] + [1.0] * g))
    offset, slope = weighted_ridge(patterns, weights, y, alpha)
    meat = np.zeros((g + 1, g + 1))
    for i in range(m):
        leverage = share[i] * rows[i] @ bread @ rows[i]
        residual = (y[i] - offset - patterns[i] @ slope) / (1 - leverage)
        meat += np.outer(rows[i], rows[i]) * (share[i] * residual) ** 2
    error = np.sqrt(np.diag(bread @ meat @ bread))[1:]
    reach = stats.t.ppf(0.5 + level / 2, m - g - 1) * error
    return error, slope - reach, slope + reach


def weighted_r2(y, guess, weights):
    mean = np.average(y, weights=weights)
    return 1 - np.sum(weights * (y - guess) ** 2) / np.sum(weights * (y - mean) ** 2)


def cr2_interval(patterns, weights, y, alpha, level=0.95):
    """Bell & McCaffrey 2002: rows 2i and 2i + 1 are a cluster, its residuals times (I - H)^-1/2.

    Times the share of pairs that was not drawn: no pair comes twice.
    """
    m, g = patterns.shape
    root = np.sqrt(weights / weights.sum())
    rows = np.hstack([np.ones((m, 1)), patterns]) * root[:, None]
    bread = np.linalg.inv(rows.T @ rows + alpha * np.diag([0.0] + [1.0] * g))
    offset, slope = weighted_ridge(patterns, weights, y, alpha)
    residual = (y - offset - patterns @ slope) * root
    meat = np.zeros((g + 1, g + 1))
    for i in range(0, m, 2):
        assert (patterns[i] + patterns[i + 1] == 1).all()
        own = rows[i : i + 2]
        adjusted = linalg.inv(linalg.sqrtm(np.eye(2) - own @ bread @ own.T))
        moved = own.T @ adjusted @ residual[i : i + 2]
        meat += np.outer(moved, moved)
    left = 1 - m / 2**g
    error = np.sqrt(np.diag(bread @ meat @ bread)[1:] * left)
    reach = stats.t.ppf(0.5 + level / 2, m // 2 - g - 1) * error
    return error, slope - reach, slope + reach


def heldout_r2(patterns, weights, y, alpha, size=1):
    """Leave one pattern (or `size` in a row) out, refit, predict; against the mean of the others.

    The penalty stays what it was for all patterns together.
    """
    top = bottom = 0.0
    for i in range(len(y)):
        rest = np.arange(len(y)) // size != i // size
        scaled = alpha * weights.sum() / weights[rest].sum()
        offset, slope = weighted_ridge(patterns[rest], weights[rest], y[rest], scaled)
        top += weights[i] * (y[i] - offset - patterns[i] @ slope) ** 2
        bottom += weights[i] * (y[i] - np.average(y[rest], weights=weights[rest])) ** 2
    return 1 - top / bottom


def all_patterns(n_groups):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n_groups)))
