"""Slow twins of the path methods, written from the papers with loops and float64."""

from __future__ import annotations

import itertools

import numpy as np

from tests.oracles import gradient


def adaptive(f, x, b, tolerance, max_steps):
    """Per target: the trapezoidal rule in u, t = u - sin(2 pi u) / 2 pi, with 4, 8, ... intervals.

    Returns attribution (target, *features) and the inner nodes that were used (target).
    """
    change = np.array(f(x)) - np.array(f(b))
    out, steps = np.zeros((len(change), *x.shape)), np.zeros(len(change), int)
    for k in range(len(change)):
        n = 4
        while n - 1 <= max_steps:
            total = np.zeros(x.shape)
            for j in range(1, n):
                u = j / n
                t = u - np.sin(2 * np.pi * u) / (2 * np.pi)
                total += (1 - np.cos(2 * np.pi * u)) / n * gradient(f, b + t * (x - b))[k]
            out[k], steps[k] = (x - b) * total, n - 1
            if abs(out[k].sum() - change[k]) <= tolerance * abs(change[k]):
                break
            n *= 2
    return out, steps


def expected_gradients(f, x, background, rows, places):
    """Mean and standard error over the draws; `background` (row, *features)."""
    draws = []
    for row, place in zip(rows, places, strict=True):
        b = background[row]
        draws.append((x - b) * gradient(f, b + place * (x - b)))
    return np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))


def blur(x, known, sigma, position=None):
    """Normalised Gaussian means over the known neighbours, one value at a time."""
    out = x.copy()
    if sigma == 0:
        return out
    for index in np.argwhere(known):
        top = share = 0.0
        for other in np.argwhere(known):
            if position is None:  # the same band, any pixel
                near = other[0] == index[0]
                distance2 = ((other[1:] - index[1:]) ** 2).sum()
            else:  # the same pixel, any band
                near = (other[1:] == index[1:]).all()
                distance2 = (position[other[0]] - position[index[0]]) ** 2
            if near:
                weight = np.exp(-distance2 / (2 * sigma**2))
                top += weight * x[tuple(other)]
                share += weight
        out[tuple(index)] = top / share
    return out


def blur_ig(f, x, known, widths, position=None):
    """Sum over the steps of gradient, halfway, times the difference of two blurs."""
    levels = [blur(x, known, sigma, position) for sigma in widths]
    total = 0.0
    for fine, coarse in itertools.pairwise(levels):
        total = total + gradient(f, (fine + coarse) / 2) * (fine - coarse)
    return total, levels[-1]


def guided_ig(f, x, b, k, n_steps, fraction, max_distance):
    """Algorithm 1 of Kapishnikov et al. 2021 for target k, in coordinates of the cube."""
    p, total = b.copy(), np.zeros(x.shape)
    whole = abs(x - b).sum()
    differs = x != b
    for t in range(n_steps):
        g = gradient(f, p)[k]
        alpha = (t + 1) / n_steps
        low = b + max(alpha - max_distance, 0) * (x - b)
        high = b + min(alpha + max_distance, 1) * (x - b)
        goal = whole * (1 - alpha)
        behind = abs(p - b) < abs(low - b)
        total[behind] += (g * (low - p))[behind]
        p[behind] = low[behind]
        for _ in range(p.size):
            left = abs(x - p).sum()
            open_ = differs & ~np.isclose(p, high, rtol=0, atol=1e-14)
            if left - goal <= 1e-12 * whole or not open_.any():
                break
            rank = np.where(open_, abs(g), np.inf)[differs]
            limit = np.sort(rank)[int(np.floor(fraction * (rank.size - 1)))]
            chosen = open_ & (abs(g) <= limit)
            room = abs(high - p)[chosen].sum()
            share = min(1.0, (left - goal) / room)
            step = np.where(chosen, share * (high - p), 0.0)
            total += g * step
            p = p + step
    return total
