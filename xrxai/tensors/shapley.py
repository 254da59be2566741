"""Shapley values from coalitions and their complements: least squares under a constraint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from scipy import special  # not stats, whose import takes a quarter of a second
from torch import Tensor


class Plan(NamedTuple):
    """What the coalitions alone settle, for the groups that a sample has."""

    project: Tensor  # (g, pair)
    design: Tensor  # (pair, g - 1)
    leverage: Tensor  # (pair,)
    last: Tensor  # (pair,)


class Fitted:
    """Shapley values of the groups that each sample has, from one set of coalitions.

    half (pair, g) are coalitions, weight (pair,) theirs; exact: they are all there are.
    """

    def __init__(self, half: np.ndarray, weight: np.ndarray, exact: bool) -> None:
        self._half, self._weight, self._exact = half, weight, exact
        self._plans: dict[tuple[bool, ...], Plan] = {}

    def __call__(
        self, y: Tensor, gain: Tensor, there: Tensor, level: float = 0.95
    ) -> tuple[Tensor, ...]:
        """Values, errors and both ends of the intervals: each (n, target, g), float64.

        y (n, 2 pairs, target): a coalition, its complement, and so on; gain = v(all) - v(none)
        (n, target); there (n, g) bool: a group that a sample has not gets NaN and no share.
        """
        n, g = there.shape
        each = y.new_full((4, n, y.shape[2], g), torch.nan, dtype=torch.float64)
        for row in torch.unique(there, dim=0):
            if not bool(row.any()):
                continue
            key = tuple(row.tolist())
            if key not in self._plans:
                half, weight = (
                    torch.tensor(a, dtype=torch.float64, device=y.device)
                    for a in (self._half, self._weight)
                )
                self._plans[key] = plan(half[:, row], weight)
            same = (there == row).all(1)
            found = solve(self._plans[key], y[same].double(), gain[same], self._exact, level)
            block = each.new_full((4, int(same.sum()), y.shape[2], g), torch.nan)
            block[..., row] = torch.stack(found)
            each[:, same] = block
        return tuple(each)


def plan(on: Tensor, weight: Tensor) -> Plan:
    """Prepare the fit on coalitions (pair, g) with weights (pair,), both float64.

    The values must sum to v(all) - v(none): the last group is eliminated by that, rather than
    both ends being weighted heavily. A coalition and its complement have the same row but for
    the sign, so half the difference of their answers holds all that the fit needs.
    """
    design = on[:, :-1] - on[:, -1:]
    share = weight / weight.sum() if len(weight) else weight
    normal = (design * share[:, None]).T @ design
    project = torch.linalg.pinv(normal, hermitian=True) @ (design * share[:, None]).T
    leverage = (project.T * design).sum(1).clamp(max=1 - 1e-12)
    project = torch.cat([project, -project.sum(0, keepdim=True)])
    return Plan(project, design, leverage, on[:, -1] - 0.5)


def solve(plan: Plan, y: Tensor, gain: Tensor, exact: bool, level: float) -> tuple[Tensor, ...]:
    """Values, errors and both ends of the intervals, each (n, target, g).

    y (n, 2 pairs, target), each beside its complement, gain = v(all) - v(none) (n, target),
    float64. Errors are HC3 (MacKinnon & White 1985) over the pairs, which are what is drawn;
    zero when exact.
    """
    n_pairs, g = plan.design.shape[0], plan.design.shape[1] + 1
    answer = (y[:, 0::2] - y[:, 1::2]) / 2 - plan.last[:, None] * gain[:, None]
    value = torch.einsum("gp,npk->nkg", plan.project, answer)
    value[..., -1] += gain
    freedom = n_pairs - (g - 1)
    if exact:
        error = torch.zeros_like(value)
    elif freedom < 1:
        error = torch.full_like(value, torch.nan)
    else:
        left = answer - torch.einsum("pg,nkg->npk", plan.design, value[..., :-1])
        left_out = left / (1 - plan.leverage)[:, None]
        error = torch.einsum("gp,npk->nkg", plan.project**2, left_out**2).sqrt()
    reach = error * float(special.stdtrit(max(freedom, 1), 0.5 + level / 2))
    return value, error, value - reach, value + reach


def weighted(
    scores: Iterable[tuple[Tensor, Tensor]], everything: Tensor, weight: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Sums of scores, in float64: (n, target, value), and v(none) (n, target).

    `scores` yields samples i and their scores (i, m - 1, target) from "none" upwards; everything
    = v(all) (n, target) is the last; weight (value, m).
    """
    share = torch.tensor(weight, dtype=torch.float64, device=everything.device)
    out = everything.new_empty((*everything.shape, len(share)), dtype=torch.float64)
    nothing = torch.empty_like(everything)
    for i, s in scores:
        nothing[i] = s[:, 0]
        whole = torch.cat([s, everything[i][:, None]], dim=1).double()
        out[i] = torch.einsum("vm,nmk->nkv", share, whole)
    return out, nothing
