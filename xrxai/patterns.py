"""On/off matrices, drawn once from a seed and shared by every sample, tile and target."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np


def every(n_groups: int) -> np.ndarray:
    """All 2**n_groups on/off patterns: (2**n_groups, n_groups) bool, in binary order."""
    codes = np.arange(2**n_groups)[:, None]
    on: np.ndarray = (codes >> np.arange(n_groups)) % 2 == 1
    return on


def single(n_groups: int) -> np.ndarray:
    """All but one: (n_groups, n_groups) bool, group i is off in row i."""
    return ~np.eye(n_groups, dtype=bool)


def windows(size: int, window: int, stride: int) -> np.ndarray:
    """Half-open ranges (n, 2) of a sliding window; the last one is cut at the end.

    Their number is ``ceil((size - window) / stride) + 1``, so every position is covered as
    long as the stride does not exceed the window.
    """
    count = max(0, -(-(size - window) // stride)) + 1
    start = np.arange(count) * stride
    start = start[start < size]  # a stride wider than the window can step over the end
    return np.stack([start, np.minimum(start + window, size)], axis=1)


class Boxes(NamedTuple):
    """Windows of pixels of a scene, as half-open ranges: rows (r, 2) and columns (c, 2)."""

    rows: np.ndarray
    columns: np.ndarray

    def at(self, tile: Any) -> Boxes:
        """Those that touch the core of a tile, counted from the first pixel of its window.

        What reaches beyond the window is cut off: no output that counts can see it there.
        """
        found = []
        for ranges, core, window in zip(self, tile.core, tile.window, strict=True):
            near = ranges[(ranges[:, 0] < core.stop) & (ranges[:, 1] > core.start)]
            size = window.stop - window.start
            found.append((near - window.start).clip(0, size))
        return Boxes(*found)

    @property
    def boxes(self) -> np.ndarray:
        """Start and stop of rows, start and stop of columns: (r * c, 4), columns fastest."""
        row, column = np.indices((len(self.rows), len(self.columns))).reshape(2, -1)
        both: np.ndarray = np.concatenate([self.rows[row], self.columns[column]], axis=1)
        return both


class Pixels(NamedTuple):
    """Values of a scene that every tile needs its own part of: (..., y, x)."""

    values: np.ndarray

    def at(self, tile: Any) -> np.ndarray:
        """Those of the tile's window."""
        part: np.ndarray = self.values[(..., *tile.window)]
        return part


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


def masks(
    n_samples: int,
    n_groups: int,
    *,
    probability: float,
    n_masked: int | None,
    antithetic: bool,
    seed: int,
) -> np.ndarray:
    """Which groups are kept: (n_samples, n_groups) bool.

    Each is masked with `probability`, or exactly `n_masked` of them in every row. Antithetic
    rows come in pairs, the second with what the first has not.
    """
    rows = n_samples // 2 if antithetic else n_samples
    drawn = np.random.default_rng(seed).random((rows, n_groups))
    kept: np.ndarray = drawn >= probability
    if n_masked is not None:
        kept = drawn.argsort(axis=1).argsort(axis=1) >= n_masked
    return np.stack([kept, ~kept], axis=1).reshape(n_samples, n_groups) if antithetic else kept


def exchanges(pool: np.ndarray, n_repeats: int, seed: int) -> np.ndarray:
    """Who gives its values to whom: (n_repeats, n), a permutation within each pool (n,) of ids.

    Pools of the same size are permuted alike, so that none depends on which others there are.
    """
    donor = np.tile(np.arange(pool.size), (n_repeats, 1))
    for one in np.unique(pool):
        members = np.flatnonzero(pool == one)
        for r in range(n_repeats):
            donor[r, members] = members[np.random.default_rng([seed, r]).permutation(members.size)]
    return donor


def coalition_pairs(n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Every coalition but "none" and "all", one of each complementary pair, and its weight.

    Returns (2**(n_groups - 1) - 1, n_groups) bool and the Shapley kernel of Lundberg & Lee
    2017, theorem 2; the complement weighs the same.
    """
    half = every(n_groups)[1 : 2 ** (n_groups - 1)]
    size = half.sum(axis=1)
    ways = np.array([math.comb(n_groups, k) for k in range(n_groups + 1)], dtype=float)
    return half, (n_groups - 1) / (ways[size] * size * (n_groups - size))


def drawn_pairs(n_pairs: int, n_groups: int, seed: int | list[int]) -> np.ndarray:
    """Coalitions (n_pairs, n_groups) drawn with the probability of the Shapley kernel."""
    rng = np.random.default_rng(seed)
    size = np.arange(1, n_groups)
    chance = 1 / (size * (n_groups - size))
    drawn = rng.choice(size, size=n_pairs, p=chance / chance.sum())
    rank = rng.random((n_pairs, n_groups)).argsort(axis=1)
    on: np.ndarray = rank < drawn[:, None]
    return on


class Levels(NamedTuple):
    """Coalitions that give the Owen values of a hierarchy, as far as the budget reaches.

    Attributes
    ----------
    on : bool array (m, group)
        Coalitions, from "none" to "all".
    groups, unions : list of int
        Nodes that were not split (leaves among them), and those that were, in order.
    weight : array (group + union, m)
        Value of a node = its row times the scores.
    """

    on: np.ndarray
    groups: list[int]
    unions: list[int]
    weight: np.ndarray


def levels(children: Sequence[Sequence[int]], budget: int) -> Levels:
    """Split a hierarchy from its root, node 0, while the coalitions stay within the budget.

    `children` (node) are the nodes below each, with higher numbers; one without is a leaf.
    Siblings enter in every order, each with all of its leaves in a row (Owen 1977, Winter 1989):
    a node joins every subset of the unions beside it, on its own level and on all above.
    Splitting a node of k children in c such contexts takes ``c (2**k - 2)`` coalitions more; the
    nearest to the root go first, then the largest.
    """
    member = _members(children)
    context: dict[int, dict[int, float]] = {0: {0: 1.0}}
    used, unions, waiting = 2, [], [(0, 0, 0)]
    while waiting:
        depth, _, node = heapq.heappop(waiting)
        below, here = children[node], context[node]
        cost = len(here) * (2 ** len(below) - 2)
        if not below or used + cost > budget:
            continue
        used += cost
        unions.append(node)
        for child in below:
            context[child] = {}
            heapq.heappush(waiting, (depth + 1, -member[child].bit_count(), child))
        _join(context, here, below, member)
    unions.sort()
    nodes = [*sorted(context.keys() - unions), *unions]
    ends = {c | own for n in nodes for c in context[n] for own in (0, member[n])}
    known = sorted(ends, key=lambda c: (c.bit_count(), c))
    place = {c: i for i, c in enumerate(known)}
    weight = np.zeros((len(nodes), len(known)))
    for row, node in zip(weight, nodes, strict=True):
        for before, share in context[node].items():
            row[place[before | member[node]]] += share
            row[place[before]] -= share
    groups = nodes[: len(nodes) - len(unions)]
    on = np.array([[c & member[node] > 0 for node in groups] for c in known], dtype=bool)
    return Levels(on, groups, unions, weight)


def _members(children: Sequence[Sequence[int]]) -> list[int]:
    """Leaves of each node, as the bits of a number."""
    member = [0] * len(children)
    for node in reversed(range(len(children))):
        for child in children[node]:
            member[node] |= member[child]
        member[node] = member[node] or 1 << node
    return member


def _join(
    context: dict[int, dict[int, float]],
    here: dict[int, float],
    below: Sequence[int],
    member: list[int],
) -> None:
    """Give each child its contexts: those of the node, with every subset of its siblings."""
    k = len(below)
    for subset in range(2**k - 1):
        inside = [child for i, child in enumerate(below) if subset >> i & 1]
        union = sum(member[child] for child in inside)
        share = math.factorial(len(inside)) * math.factorial(k - len(inside) - 1)
        for child in below:
            if child not in inside:
                for before, chance in here.items():
                    context[child][before | union] = chance * share / math.factorial(k)


def soft_mask(
    draw: int, cells: tuple[int, int], size: tuple[int, int], probability: float, seed: int
) -> np.ndarray:
    """Draw number `draw` of a smooth random mask (y, x) in [0, 1].

    A grid of coins, one cell larger than the image when stretched bilinearly, cut out at a
    random shift of up to a cell (Petsiuk et al. 2018, section 3.2). The mean of every pixel is
    `probability`, as bilinear weights sum to one.
    """
    rng = np.random.default_rng([seed, draw])
    mask = (rng.random(cells) < probability).astype(float)
    for axis, (n, length) in enumerate(zip(cells, size, strict=True)):
        cell = -(-length // n)
        at = (rng.integers(cell) + np.arange(length) + 0.5) * n / ((n + 1) * cell) - 0.5
        at = at.clip(0, n - 1)
        left = np.minimum(at.astype(int), max(0, n - 2))
        share = np.expand_dims(at - left, tuple(range(1, 2 - axis)))
        one, two = mask.take(left, axis), mask.take(np.minimum(left + 1, n - 1), axis)
        mask = one + share * (two - one)
    return mask


_BLOCK = 64  # pixels


@dataclass(frozen=True)
class Noise:
    """Standard normal noise that belongs to places in a scene: a window sees that of the scene.

    Attributes
    ----------
    seed : int
        Of all draws.
    origin : (int, int)
        Row and column of the window's first pixel in the scene.
    """

    seed: int
    origin: tuple[int, int] = (0, 0)

    def at(self, tile: Any) -> Noise:
        """Noise of a window, whose first pixel is at `tile.origin` of this one."""
        (y, x), (dy, dx) = self.origin, tile.origin
        return replace(self, origin=(y + int(dy), x + int(dx)))

    def draw(self, k: int, shape: tuple[int, ...]) -> np.ndarray:
        """Draw number k: (band,), the same everywhere, or the window's own (band, y, x)."""
        if len(shape) == 1:
            return np.random.default_rng([self.seed, k]).standard_normal(shape)
        out = np.empty(shape)
        for row, inside_y, outside_y in _blocks(self.origin[0], shape[1]):
            for column, inside_x, outside_x in _blocks(self.origin[1], shape[2]):
                # A window can begin above or left of the scene, a seed is never negative.
                rng = np.random.default_rng([self.seed, k, row % 2**32, column % 2**32])
                # The first rows of a block are the same however many are drawn.
                block = rng.standard_normal((inside_y.stop, _BLOCK, shape[0]))
                out[:, outside_y, outside_x] = block[inside_y, inside_x].transpose(2, 0, 1)
        return out


def _blocks(start: int, length: int) -> list[tuple[int, slice, slice]]:
    """Blocks of the lattice that touch a range: number, part of the block, part of the range."""
    found = []
    for block in range(start // _BLOCK, (start + length - 1) // _BLOCK + 1):
        low = max(start, block * _BLOCK)
        high = min(start + length, (block + 1) * _BLOCK)
        inside = slice(low - block * _BLOCK, high - block * _BLOCK)
        found.append((block, inside, slice(low - start, high - start)))
    return found


def count(on: np.ndarray) -> int:
    """Patterns that differ."""
    return len(distinct(on)[0])


def distinct(on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patterns (m, g) without repetitions, in order, and for each of the m its place there."""
    places: dict[bytes, int] = {}
    first: list[int] = []
    back = np.empty(len(on), dtype=np.int64)
    for row, key in enumerate(np.packbits(on, axis=1)):
        back[row] = places.setdefault(key.tobytes(), len(places))
        if len(places) > len(first):
            first.append(row)
    return on[first], back
