"""Ask on/off patterns in rounds, until what is made of the answers is precise enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xrxai.tensors import perturb
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, rows_of

_VALUES = 4_000_000
_ROUNDINGS = 16.0


class Asked(NamedTuple):
    """made: each (n, target, ...); nothing (n, target); used, converged (n,)."""

    made: tuple[Tensor, ...]
    nothing: Tensor
    used: Tensor
    converged: Tensor

    def told(self, tolerance: float | None) -> dict[str, Tensor]:
        """What a result says of the rounds, if there was something to decide."""
        if tolerance is None:
            return {}
        return {"n_samples_used": self.used, "converged": self.converged}


def ask(
    score: Score,
    x: Tensor,
    fill: Tensor | perturb.Fill,
    part: Tensor,
    rounds: Sequence[np.ndarray],
    make: Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, ...]],
    tolerance: float | None,
) -> Asked:
    """Score samples under the patterns (m, g) of rounds, each of which begins with the one before.

    make(i, y, nothing, r) makes of the scores y (i, m, target) of the samples i in round r, and of
    those without any group (i, target), a tuple that begins with values and their standard
    errors, each (i, target, group), NaN for groups that a sample does not have. A sample goes on
    until, for all targets, the median of its errors is at most `tolerance` of its largest value,
    or a few roundings of the scores; with None the rounds are asked to their end.
    """
    n = x.shape[0]
    used = torch.zeros(n, dtype=torch.int64, device=x.device)
    converged = torch.zeros(n, dtype=torch.bool, device=x.device)
    nothing = _nothing(score, x, fill, part)
    kept: list[Tensor] = []
    most = max(1, len(rounds[-1]))
    full = max(1, score.batch(x) // most)  # samples that fill a batch of the model
    size = max(1, _VALUES // (most * score.n_targets) // full) * full
    for going in batches(n, size, x.device):
        y = x.new_empty(0)
        for r, on in enumerate(rounds):
            new = on if r == 0 else on[len(rounds[r - 1]) :]
            scores = perturb.evaluate(score, x, fill, new, part, among=going)
            y = torch.cat([y, scores], dim=1) if r else scores
            made = make(going, y, nothing[going], r)
            if not kept:
                kept = [v.new_zeros((n, *v.shape[1:])) for v in made]
            for all_of, some in zip(kept, made, strict=True):
                all_of[going] = some
            used[going] = len(on)
            if tolerance is None:
                continue
            enough = _enough(made[0], made[1], y, tolerance, score.runner.dtype)
            converged[going] = enough
            going, y = going[~enough], y[~enough]
            if not len(going):
                break
    return Asked(tuple(kept), nothing, used, converged)


def _nothing(score: Score, x: Tensor, fill: Tensor | perturb.Fill, part: Tensor) -> Tensor:
    """Scores (n, target) without any group: a start like those of ways, and kept like them."""
    fill = fill if isinstance(fill, perturb.Fill) else perturb.Fill(fill)
    maps = fill.maps((part.view(1, -1) == 0).cpu().numpy(), x) if fill.rule else None
    found = []
    for i in batches(len(x), score.batch(x), x.device):
        z = torch.where(rows_of(part, i) == 0, x[i], fill.stand_in(x, i, maps)[:, 0])
        found.append(score.start(z, i))
    return torch.cat(found)


def _enough(value: Tensor, error: Tensor, y: Tensor, tolerance: float, dtype: Any) -> Tensor:
    """Whether the typical error is small beside the largest value, for all targets: (n,)."""
    largest = value.abs().nan_to_num().amax(2)
    typical = error.nanmedian(2).values
    rounding = _ROUNDINGS * torch.finfo(dtype).eps * y.abs().amax(1)
    return ((typical <= tolerance * largest + rounding) | value.isnan().all(2)).all(1)
