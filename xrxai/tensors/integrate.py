"""Quadrature on [0, 1]: nodes and weights of the path integral."""

from __future__ import annotations

import numpy as np

RULES = (
    "gauss_legendre",
    "riemann_left",
    "riemann_right",
    "riemann_middle",
    "riemann_trapezoid",
)


def nodes(n_steps: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (n,) in [0, 1] and weights (n,) that sum to 1."""
    if rule == "gauss_legendre":
        points, weights = np.polynomial.legendre.leggauss(n_steps)
        return (points + 1) / 2, weights / 2
    weights = np.full(n_steps, 1 / n_steps)
    if rule == "riemann_trapezoid":
        if n_steps == 1:
            return np.array([0.5]), weights
        weights = np.full(n_steps, 1 / (n_steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, n_steps), weights
    shift = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[rule]
    return (np.arange(n_steps) + shift) / n_steps, weights


FIRST = 4


def nested(n_intervals: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (m,) that come with `n_intervals`, and n_intervals times their weights.

    The trapezoidal rule in u, where t = u - sin(2 pi u) / (2 pi) (the sin^2 transformation of
    Sidi 1993). Doubling the intervals keeps every node and halves every weight, so that one
    running sum serves all levels; Clenshaw-Curtis, which nests too, needs one for each. Both
    ends weigh nothing: their gradients, not finite where a model takes a root or a log of the
    baseline, are not asked for.
    """
    j = np.arange(1, n_intervals, 1 if n_intervals == FIRST else 2)
    angle = 2 * np.pi * j / n_intervals
    return j / n_intervals - np.sin(angle) / (2 * np.pi), 1 - np.cos(angle)
