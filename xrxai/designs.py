"""Which on/off patterns a linear surrogate is asked: by chance, in pairs, or balanced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from xrxai.errors import choice

Design = Literal["random", "paired", "balanced"]

_DESIGNS = ("random", "paired", "balanced")
_COUNTED = 20  # groups, up to which no pair is drawn twice; beyond it hardly ever is
_BLOCK = 1024  # pairs that are balanced together at most


class Drawn(NamedTuple):
    """Patterns, in the order in which they are asked.

    Attributes
    ----------
    on : bool array (m, group)
        True = kept.
    paired : bool
        Row 2i + 1 keeps what row 2i does not.
    left : float
        Share of all pairs of patterns that is not among them: 0 when these are all there are.
    """

    on: np.ndarray
    paired: bool
    left: float


def settle(design: str, n_samples: int, n_groups: int) -> int:
    """Rows that a design has for that many samples: pairs are whole, and no more than there are."""
    if choice(design, _DESIGNS, "design") == "random":
        return n_samples
    return min(n_samples + n_samples % 2, int(2**n_groups))


def first(n_groups: int) -> int:
    """Patterns of a first round, from which errors can be told: a balanced design."""
    return 2 * 8 * -(-(n_groups + 8) // 8)


def draw(design: str, n_samples: Sequence[int], n_groups: int, seed: int) -> list[Drawn]:
    """Patterns of rounds of growing size, as `settle` made them; each begins with the one before.

    Random: independent fair coins. Paired: each with its complement, no pair twice. Balanced:
    besides, the halves of the pairs are rows of a Hadamard matrix whose rows and columns are
    drawn and whose signs are flipped by coins.
    """
    if design == "random":
        coins = np.random.default_rng(seed).random((n_samples[-1], n_groups)) < 0.5
        return [Drawn(coins[:n], False, 1.0) for n in n_samples]
    half = np.zeros((0, n_groups), dtype=bool)
    found = []
    for k, n in enumerate(n_samples):
        rng = np.random.default_rng([seed, k])
        missing = n // 2 - len(half)
        if not k and n == 2**n_groups:  # all there are, the same for every seed
            more = _of_codes(np.arange(missing), n_groups)
        elif design == "paired":
            more = rng.random((missing, n_groups)) < 0.5
        else:
            more = _orthogonal(missing, n_groups, rng)
        half = _distinct(np.vstack([half, more]), rng)
        on = np.stack([half, ~half], axis=1).reshape(n, n_groups)
        left = 1 - len(half) / 2.0 ** (n_groups - 1) if n_groups <= _COUNTED else 1.0
        found.append(Drawn(on, True, left))
    return found


def hadamard(order: int) -> np.ndarray | None:
    """Matrix (order, order) of +-1 with orthogonal rows and columns, where we know how to make one.

    Twice a smaller one (Sylvester), or from the squares modulo a prime (Paley 1933).
    """
    if order in (1, 2):
        return np.array([[1, 1], [1, -1]], dtype=np.int8)[:order, :order]
    if order % 4:
        return None
    if _prime(order - 1):  # 3 modulo 4
        skew = _bordered(order - 1)
        skew[1:, 0] = -1
        skew[range(order), range(order)] = 1
        return skew
    smaller = hadamard(order // 2)
    if smaller is not None:
        return np.block([[smaller, smaller], [smaller, -smaller]])
    if order % 8 == 4 and _prime(order // 2 - 1):  # 1 modulo 4
        flip = np.array([[1, -1], [-1, -1]], dtype=np.int8)
        turn = np.array([[1, 1], [1, -1]], dtype=np.int8)
        same = np.eye(order // 2, dtype=np.int8)
        square: np.ndarray = np.kron(_bordered(order // 2 - 1), turn) + np.kron(same, flip)
        return square
    return None


def _bordered(q: int) -> np.ndarray:
    """Whether differences are squares modulo a prime, +-1, 0 on the diagonal; ones around it."""
    sign = np.full(q, -1, dtype=np.int8)
    sign[np.arange(1, q) ** 2 % q] = 1
    sign[0] = 0
    out = np.ones((q + 1, q + 1), dtype=np.int8)
    out[0, 0] = 0
    out[1:, 1:] = sign[(np.arange(q) - np.arange(q)[:, None]) % q]
    return out


def _prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def _orthogonal(n_pairs: int, n_groups: int, rng: np.random.Generator) -> np.ndarray:
    """Halves of pairs (n_pairs, group) in which groups are on independently of each other.

    Exactly where `n_pairs` is the order of a matrix that has enough columns, else as near as
    leaving out a few rows or adding a few coins comes.
    """
    blocks = []
    while n_pairs:
        square = _nearest(min(n_pairs, max(_BLOCK, n_groups)), n_groups)
        order = len(square)
        rows, columns = rng.permutation(order)[:n_pairs], rng.permutation(order)[:n_groups]
        signs = square[rows][:, columns] * rng.choice([-1, 1], size=n_groups)
        blocks.append(signs > 0)
        n_pairs -= len(rows)
        if n_pairs < 4:
            blocks.append(rng.random((n_pairs, n_groups)) < 0.5)
            n_pairs = 0
    return np.concatenate(blocks)


def _nearest(n_pairs: int, n_groups: int) -> np.ndarray:
    """The matrix whose order is nearest to the pairs, and no less than the groups."""
    away = 0
    while True:
        for order in (n_pairs - away, n_pairs + away):
            found = hadamard(order) if order >= n_groups else None
            if found is not None:
                return found
        away += 1


def _of_codes(codes: np.ndarray, n_groups: int) -> np.ndarray:
    on: np.ndarray = (codes[:, None] >> np.arange(n_groups)) % 2 == 1
    return on


def _distinct(half: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put pairs that have not been drawn in place of those that come again."""
    n_groups = half.shape[1]
    if n_groups > _COUNTED:
        return half
    code = half @ (1 << np.arange(n_groups))
    code = np.minimum(code, 2**n_groups - 1 - code)
    first = np.unique(code, return_index=True)[1]
    again = np.setdiff1d(np.arange(len(half)), first)
    if again.size:
        free = np.setdiff1d(np.arange(2 ** (n_groups - 1)), code)
        half[again] = _of_codes(rng.choice(free, again.size, replace=False), n_groups)
    return half
