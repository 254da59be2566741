"""A gradient method on many draws, of which mean and spread are kept: one pass, never negative."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xrxai.rounds import Rounds
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, in_a_row, rows_of

_AT_ONCE = 2**17  # values


class Running:
    """Moments of draws for samples like x (n, *f), (n, target, *f), which come in any batches.

    E[a²] - E[a]² loses every digit when the spread is small beside the mean; here the squares
    are of distances from the running mean (Welford 1962, doi:10.1080/00401706.1962.10490022).
    Memory is that of two results, whatever the number of draws. Every sample gets every draw,
    so weight (draw, *f), 0 or 1, says for all of them how many there were.
    """

    def __init__(self, x: Tensor, n_targets: int, weight: Tensor) -> None:
        self._mean = x.new_zeros((x.shape[0], n_targets, *x.shape[1:]))
        self._squares = torch.zeros_like(self._mean)
        self._alike = weight[0].numel() == 1  # a number does what an array of them would
        weight = weight.expand(-1, x.shape[1], *[-1] * (x.ndim - 2))
        self._counts = weight.cumsum(0)
        self._share = weight / self._counts.clamp(min=1)
        self._rest = weight - self._share
        self._count = torch.zeros_like(weight[0])

    def push(self, draw: int, target: int, at: tuple[slice, slice], values: Tensor) -> None:
        """Add draw number `draw` at some samples and bands, which had all before.

        The values (rows, bands, ...) are changed.
        """
        rows, bands = at
        mean = self._mean[rows, target, bands]
        away, squares = values.sub_(mean), self._squares[rows, target, bands]
        share, rest = self._share[draw, bands], self._rest[draw, bands]
        if self._alike:
            mean.add_(away, alpha=float(share.flatten()[0]))
            squares.addcmul_(away, away, value=float(rest.flatten()[0]))
        else:
            mean.addcmul_(away, share)
            squares.addcmul_(away.square_(), rest)
        self._count = self._counts[draw]

    def unsure(self, keep: Tensor) -> Tensor:
        """Root mean square of the errors over that of the means, for each (n, target).

        Of the pixels in keep (n or 1, 1, ...) alone.
        """
        count = self._count
        scale = keep / ((count - 1).clamp(min=1) * count.clamp(min=1))
        error = (self._squares * scale.unsqueeze(1)).flatten(2).sum(2)
        return (
            (error / (self._mean.square() * keep.unsqueeze(1)).flatten(2).sum(2))
            .sqrt_()
            .nan_to_num_(0.0)
        )

    def part(self, rows: Tensor) -> Running:
        """Those of some samples, to go on with or to finish by themselves."""
        made = copy.copy(self)
        made._mean, made._squares = self._mean[rows], self._squares[rows]
        return made

    def finish(self, statistic: str) -> dict[str, Tensor]:
        """Mean, or variance of the draws themselves, and error of the mean: in place, once.

        The error is that of draws made anew, NaN below two; both are NaN where there was none.
        """
        count = self._count
        if statistic == "variance":
            variance = self._squares.div_(count.clamp(min=1))
            return {"attribution": variance.masked_fill_(count == 0, torch.nan)}
        error = self._squares.div_((count - 1).clamp(min=1) * count.clamp(min=1)).sqrt_()
        return {
            "attribution": self._mean.masked_fill_(count == 0, torch.nan),
            "standard_error": error.masked_fill_(count < 2, torch.nan),
        }


@dataclass(frozen=True)
class Repeat:
    """A gradient method, its options, and what is told of its answers: a statistic.

    each(x, score, **static) gives the attribution (n, *f) of one target after the other, to be
    multiplied by x where that is asked for.
    """

    each: Callable[..., Iterator[Tensor]]
    static: Mapping[str, Any]
    statistic: str
    times_x: bool
    baseline: bool
    rounds: Rounds


def repeat(
    x: Tensor,
    score: Score,
    how: Repeat,
    *,
    draw: Callable[[list[int]], Tensor],
    apply: Callable[[slice | Tensor, Tensor], Tensor],
    keep: Tensor,
    baseline: Tensor | None,
    weight: Tensor | None = None,
    pairs: bool = False,
) -> dict[str, Tensor]:
    """Run a method on draws of the samples, and keep statistics of its answers only.

    draw(j) is what the draws j share, apply(i, that) the samples i under it (i, j, *f); weight
    (draw, *f) is 0 where a draw does not count. `pairs` of draws count as one. With a
    tolerance, a sample goes on until all its targets are as sure as that, over the pixels in keep
    (n or 1, 1, ...).
    """
    sizes, tolerance = how.rounds
    step = 2 if pairs else 1
    if weight is None:
        weight = x.new_ones((sizes[-1] // step, *[1] * (x.ndim - 1)))
    seen = Running(x, score.n_targets, weight)
    push = functools.partial(
        _push, x=x, score=score, how=how, draw=draw, apply=apply, baseline=baseline, step=step
    )
    if tolerance is None:
        push(seen, None, range(sizes[-1]))
        return seen.finish(how.statistic)
    going, done = torch.arange(len(x), device=x.device), torch.zeros(len(x), device=x.device) > 0
    used = torch.zeros_like(going)
    out: dict[str, Tensor] = {}
    for start, stop in itertools.pairwise([0, *sizes]):
        push(seen, going if len(going) < len(x) else None, range(start, stop))
        used[going] = stop
        enough = (seen.unsure(rows_of(keep, going)) <= tolerance).all(1)
        done[going] = enough
        ended = torch.ones_like(enough) if stop == sizes[-1] else enough
        if bool(ended.any()):
            own = seen if bool(ended.all()) else seen.part(ended)
            for name, values in own.finish(how.statistic).items():
                if name not in out:
                    out[name] = values.new_empty((len(x), *values.shape[1:]))
                out[name][going[ended]] = values
            going = going[~ended]
            if not len(going):
                break
            seen = seen.part(~ended)
    return {**out, "n_samples_used": used, "converged": done}


def _push(
    seen: Running,
    among: Tensor | None,
    numbers: range,
    *,
    x: Tensor,
    score: Score,
    how: Repeat,
    draw: Callable[[list[int]], Tensor],
    apply: Callable[[slice | Tensor, Tensor], Tensor],
    baseline: Tensor | None,
    step: int,
) -> None:
    """Add draws of all samples, or of those `among` them, which ascend."""
    n = x.shape[0] if among is None else len(among)
    batch = score.batch(x, gradient=True)
    at_once = max(1, batch // n)

    def parts(rows: int) -> list[slice]:
        """Bands to be added at once: what is made on the way is small, and stays in the cache."""
        width = max(1, _AT_ONCE // (rows * x[0, 0].numel()))
        return [slice(b, b + width) for b in range(0, x.shape[1], width)]

    # Draws outside, samples inside: what a draw shares is made once.
    for j in batches(len(numbers), at_once + at_once % step, x.device):
        draws = [numbers[k] for k in j.tolist()]
        shared = draw(draws)
        for i in batches(n, batch // len(j), x.device):
            rows = in_a_row(i)
            whose = i if among is None else among[i]
            made_of = whose.repeat_interleave(len(j))
            given = dict(how.static)
            if how.baseline and baseline is not None:
                given["baseline"] = rows_of(baseline, made_of)
            drawn = apply(rows if among is None else whose, shared).flatten(0, 1)
            each = how.each(drawn, score.descend(made_of), **given)
            drawn = drawn.unflatten(0, (len(i), len(j)))
            for target in range(score.n_targets):  # enumerate would hold one while the next is made
                values = next(each).unflatten(0, (len(i), len(j)))
                for k, bands in itertools.product(range(0, len(j), step), parts(len(i))):
                    here = (slice(None), slice(k, k + step), bands)
                    one = values[here] * drawn[here] if how.times_x else values[here].clone()
                    one = one.square_() if how.statistic == "square" else one
                    one = one[:, 0] if step == 1 else one.mean(1)
                    seen.push(draws[k] // step, target, (rows, bands), one)
                del values, one  # which can be a view of them
            del drawn, each  # with the graph
        del shared
