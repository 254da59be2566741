"""Mean and spread of draws that are not kept: one pass, never negative."""

from __future__ import annotations

import torch
from torch import Tensor


class Running:
    """Moments of draws for samples (n, target, *f), which come in any batches.

    E[a²] - E[a]² loses every digit when the spread is small beside the mean; here the squares
    are of distances from the running mean (Welford 1962, doi:10.1080/00401706.1962.10490022).
    Memory is that of two results, whatever the number of draws.
    """

    def __init__(self, like: Tensor) -> None:
        self.mean = torch.zeros_like(like)
        self._squares = torch.zeros_like(like)
        self._count = torch.zeros_like(like[:, :1])

    def push(self, of: Tensor, values: Tensor, weight: Tensor | None = None) -> None:
        """Add one draw of the samples `of`: values (len(of), target, *f), weight (*f) 0 or 1."""
        one = torch.ones_like(values[:, :1]) if weight is None else weight.expand_as(values[:, :1])
        count = self._count[of] + one
        before = self.mean[of]
        away = (values - before) * one
        mean = before + away / count.clamp(min=1)
        self._squares[of] += away * (values - mean)
        self._count[of], self.mean[of] = count, mean

    @property
    def variance(self) -> Tensor:
        """Of the draws themselves (divided by their number)."""
        return self._squares / self._count.clamp(min=1)

    @property
    def standard_error(self) -> Tensor:
        """Of the mean, were the draws to be made anew; NaN below two draws."""
        free = self._count - 1
        error = (self._squares / (free * self._count)).sqrt()
        return error.masked_fill(free < 1, torch.nan)

    @property
    def seen(self) -> Tensor:
        """Whether there was a draw at all: (n, 1, *f)."""
        return self._count > 0
