"""Which tiles to take: by greatest gain per cost, or at random to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Offer:
    """Tiles that may be taken, and the rules."""

    rows: np.ndarray
    columns: np.ndarray
    costs: np.ndarray
    budget: float
    size: int
    gap: int  # pixels between tiles
    easy: np.ndarray  # background alone, and not difficult
    easy_budget: float

    def apart(self, tile: int, gap: int) -> np.ndarray:
        """Tiles that lie at least `gap` pixels beside one."""
        down = np.abs(self.rows - self.rows[tile])
        across = np.abs(self.columns - self.columns[tile])
        found: np.ndarray = np.maximum(down, across) >= self.size + gap
        return found


def greedy(
    offer: Offer, amounts: np.ndarray, weights: np.ndarray, scale: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """amounts (tile, kind) -> tiles in the order to take them, and the gain of each by kind.

    The gain of a tile is what it adds to sum_k weight_k log(1 + amount_k / scale): much of what
    there is little of, and less each time.
    """
    rng = np.random.default_rng(seed)
    tie = 1 + 1e-9 * rng.random(len(amounts))
    have = np.zeros(amounts.shape[1])
    free = np.ones(len(amounts), dtype=bool)
    left, easy_left = offer.budget, offer.easy_budget
    order, gains = [], []
    while True:
        fits = free & (offer.costs <= left + 1e-9)
        fits &= ~offer.easy | (offer.costs <= easy_left + 1e-9)
        if not fits.any():
            break
        more = np.log1p(amounts / (scale + have)) * weights
        worth = np.where(fits, more.sum(1) * tie / offer.costs, -1.0)
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        order.append(best)
        gains.append(more[best])
        have += amounts[best]
        left -= offer.costs[best]
        easy_left -= offer.costs[best] * offer.easy[best]
        free &= offer.apart(best, offer.gap)
    return np.array(order, dtype=np.int64), np.array(gains).reshape(-1, amounts.shape[1])


def at_random(offer: Offer, pixels: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """pixels (tile, class) -> those of simple random plans of the same budget, (draw, class)."""
    rng = np.random.default_rng(seed)
    made = np.zeros((draws, pixels.shape[1]))
    cheapest = float(offer.costs.min())
    for d in range(draws):
        left, free = offer.budget, np.ones(len(pixels), dtype=bool)
        for tile in rng.permutation(len(pixels)):
            if free[tile] and offer.costs[tile] <= left + 1e-9:
                made[d] += pixels[tile]
                left -= offer.costs[tile]
                free &= offer.apart(tile, 0)  # an overlap is not drawn twice
                if left < cheapest:
                    break
    return made
