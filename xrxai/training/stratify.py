"""Which part each block goes to: each class in each part, near the shares that were asked for."""

from __future__ import annotations

import numpy as np

TRIES = 8
PASSES = 5


def stratified(pixels: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """pixels (block, class), shares (part) -> part of each block, the best of some orders."""
    rng = np.random.default_rng(seed)
    made = [_one(pixels, shares, rng) for _ in range(TRIES)]
    best = min(made, key=lambda parts: _faults(_sums(pixels, shares, parts), shares))
    return _moved(pixels, shares, best)


def _one(pixels: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Serve the class that has fewest blocks left, its largest block first."""
    there = pixels > 0
    parts = np.full(len(pixels), -1, np.int8)
    # In shares of each class: a rare one weighs as much as a frequent one.
    relative = pixels / np.maximum(pixels.sum(0), 1)
    wanted = np.repeat(shares[:, None], pixels.shape[1], axis=1)
    has = np.zeros((len(shares), pixels.shape[1]), dtype=bool)
    while (parts < 0).any():
        left = there & (parts < 0)[:, None]
        count = left.sum(0)
        k = int(np.argmin(np.where(count > 0, count + rng.random(len(count)) / 2, np.inf)))
        among = np.flatnonzero(left[:, k])
        b = int(among[np.argmax(pixels[among, k] * (1 + 0.2 * rng.random(among.size)))])
        lacking = ~has[:, k]
        # As many blocks as parts without the class: each of these must get one.
        allowed = lacking if 0 < lacking.sum() >= among.size else np.ones(len(shares), bool)
        need = wanted[:, k] + 1e-3 * wanted @ relative[b] + 1e-9 * rng.random(len(shares))
        part = int(np.argmax(np.where(allowed, need, -np.inf)))
        parts[b] = part
        wanted[part] -= relative[b]
        has[part] |= there[b]
    return parts


def _moved(pixels: np.ndarray, shares: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Move single blocks to another part for as long as that helps."""
    sums = _sums(pixels, shares, parts)
    best = _faults(sums, shares)
    for _ in range(PASSES):
        before = best
        for b, p in np.ndindex(len(pixels), len(shares)):
            if p == parts[b]:
                continue
            other = sums.copy()
            other[parts[b]] -= pixels[b]
            other[p] += pixels[b]
            found = _faults(other, shares)
            if found < best:
                parts[b], sums, best = p, other, found
        if best == before:
            break
    return parts


def _sums(pixels: np.ndarray, shares: np.ndarray, parts: np.ndarray) -> np.ndarray:
    made: np.ndarray = np.stack([pixels[parts == p].sum(0) for p in range(len(shares))])
    return made


def _faults(sums: np.ndarray, shares: np.ndarray) -> tuple[int, int, float]:
    """Empty parts, classes missing in parts, and how far the shares are from those wanted."""
    total = sums.sum(0)
    got = sums[:, total > 0] / total[total > 0]
    missing = int((got == 0).sum())
    return int((sums.sum(1) == 0).sum()), missing, float(np.abs(got - shares[:, None]).mean())
