"""A kernel on many draws, of which mean and spread are kept: one pass, never negative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, rows_of


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


@dataclass(frozen=True)
class Repeat:
    """A gradient kernel, its options, and what is told of its answers: a statistic."""

    kernel: Callable[..., Mapping[str, Any]]
    static: Mapping[str, Any]
    statistic: str
    baseline: bool


def repeat(
    x: Tensor,
    score: Score,
    how: Repeat,
    *,
    draw: Callable[[list[int]], Tensor],
    apply: Callable[[Tensor, Tensor], Tensor],
    n_samples: int,
    baseline: Tensor | None,
    weight: Tensor | None = None,
    pairs: bool = False,
) -> dict[str, Tensor]:
    """Run a kernel on draws of the samples, and keep statistics of its answers only.

    draw(j) is what the draws j share, apply(i, that) the samples i under it (i, j, *f); weight
    (n_samples, *f) is 0 where a draw does not count. `pairs` of draws count as one.
    """
    n = x.shape[0]
    seen = Running(x.new_zeros((n, score.n_targets, *x.shape[1:])))
    batch = score.batch(x)
    at_once = max(1, batch // n)
    # Draws outside, samples inside: what a draw shares is made once.
    for j in batches(n_samples, at_once + at_once % 2 if pairs else at_once, x.device):
        shared = draw(j.tolist())
        for i in batches(n, batch // len(j), x.device):
            rows = i.repeat_interleave(len(j))
            given = dict(how.static)
            if how.baseline and baseline is not None:
                given["baseline"] = rows_of(baseline, rows)
            found = how.kernel(apply(i, shared).flatten(0, 1), score.descend(rows), **given)
            values = found["attribution"].unflatten(0, (len(i), len(j)))
            if how.statistic == "square":
                values = values**2
            if pairs:
                values = values.unflatten(1, (len(j) // 2, 2)).mean(2)
            for k in range(values.shape[1]):
                seen.push(i, values[:, k], None if weight is None else weight[j[k]])
    value = seen.variance if how.statistic == "variance" else seen.mean
    out = {"attribution": value.masked_fill(~seen.seen, torch.nan)}
    if how.statistic != "variance":
        out["standard_error"] = seen.standard_error
    return out
