"""Slow twins of the methods that switch parts on and off: loops, float64, no cleverness.

A game is a function of a set of players that returns one number per target.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def game(f, x, b, part):
    """v(S): the answer with the groups of S kept and the others at b; 0 = always kept."""

    def value(players):
        keep = np.isin(part, [0, *(p + 1 for p in players)])
        return np.array(f(np.where(keep, x, b)))

    return value


def shapley(value, n):
    """Mean gain of each player over all orders (Shapley 1953): (target, n)."""
    total = 0.0
    for order in itertools.permutations(range(n)):
        total = total + marginal(value, order)
    return total / math.factorial(n)


def shapley_by_subsets(value, n):
    """The same by all subsets, for more players."""
    out = np.zeros((len(value([])), n))
    for player in range(n):
        others = [p for p in range(n) if p != player]
        for k in range(n):
            weight = math.factorial(k) * math.factorial(n - k - 1) / math.factorial(n)
            for some in itertools.combinations(others, k):
                out[:, player] += weight * (value([*some, player]) - value(some))
    return out


def marginal(value, order):
    """Gain of each player when it comes in, in this order: (target, n)."""
    out = np.zeros((len(value([])), len(order)))
    for i, player in enumerate(order):
        out[:, player] = value(order[: i + 1]) - value(order[:i])
    return out


def owen(value, tree, n):
    """Mean gain over the orders in which every union comes in in one piece (Winter 1989)."""
    orders = list(contiguous(tree))
    return sum(marginal(value, order) for order in orders) / len(orders)


def contiguous(tree):
    """Every order of the leaves (numbers) of nested lists that keeps unions together."""
    if not isinstance(tree, list):
        yield (tree,)
        return
    for some in itertools.permutations(tree):
        for pieces in itertools.product(*(list(contiguous(one)) for one in some)):
            yield sum(pieces, ())


def constrained(value, n, coalitions):
    """Weighted least squares over given coalitions, the sum held by a Lagrange multiplier."""
    nothing, gain = value([]), value(range(n)) - value([])
    z = np.array([[p in some for p in range(n)] for some in coalitions], dtype=float)
    y = np.array([value(some) for some in coalitions]) - nothing
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = 2 * z.T @ z
    system[:n, n] = system[n, :n] = 1
    right = np.vstack([2 * z.T @ y, gain[None]])
    return np.linalg.solve(system, right)[:n].T


def pair_errors(value, n, pairs):
    """Sandwich errors HC3, the residual of a pair taken from a fit without it."""
    gain = value(range(n)) - value([])
    z = np.array([[p in some for p in range(n)] for some in pairs], dtype=float)
    design = z[:, :-1] - z[:, -1:]
    rest = [[p for p in range(n) if p not in some] for some in pairs]
    y = np.array([value(a) - value(b) for a, b in zip(pairs, rest, strict=True)]) / 2
    y = y - (z[:, -1:] - 0.5) * gain
    bread = np.linalg.inv(design.T @ design)
    out = np.zeros((len(gain), n))
    for i in range(len(pairs)):
        others = np.arange(len(pairs)) != i
        slope = np.linalg.lstsq(design[others], y[others], rcond=None)[0]
        residual = y[i] - design[i] @ slope
        step = np.append(bread @ design[i], 0)
        step[-1] = -step.sum()
        out += np.outer(residual, step) ** 2
    return np.sqrt(out)


def soft_mask(cells, shift, cell, size):
    """Stretch a grid of coins to one cell more than the image, bilinearly, and cut it out."""
    n, m = cells.shape
    out = np.zeros(size)
    for y, x in np.ndindex(size):
        place = []
        for at, k, c, s in ((y, n, cell[0], shift[0]), (x, m, cell[1], shift[1])):
            where = (at + s + 0.5) * k / ((k + 1) * c) - 0.5
            where = min(max(where, 0), k - 1)
            low = int(np.floor(where))
            place.append((low, min(low + 1, k - 1), where - low))
        (a, b, u), (c, d, v) = place
        top = (1 - v) * cells[a, c] + v * cells[a, d]
        bottom = (1 - v) * cells[b, c] + v * cells[b, d]
        out[y, x] = (1 - u) * top + u * bottom
    return out


def rise(f, x, b, masks, p):
    """Equation 6 of Petsiuk et al. 2018, and the error of that mean: (target, y, x) each."""
    terms = []
    for mask in masks:
        terms.append(np.multiply.outer(f(mask * x + (1 - mask) * b), mask) / p)
    terms = np.array(terms)
    return terms.mean(0), terms.std(0, ddof=1) / np.sqrt(len(terms))
