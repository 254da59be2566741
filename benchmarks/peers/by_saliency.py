"""saliency of PAIR, on numpy arrays, one target at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import saliency.core as pair
import torch

from benchmarks.peers import Plan
from benchmarks.problems import Problem, Work


def prepare(work: Work, asked: Problem, how: str) -> Plan:
    """Make a call per target."""

    def gradients(x: np.ndarray, call_model_args: int, expected_keys: Any) -> dict[str, Any]:
        inside = torch.as_tensor(np.asarray(x), dtype=torch.float32).requires_grad_(True)
        score = asked.scores(inside)[:, call_model_args].sum()
        gradient = torch.autograd.grad(score, inside)[0]
        return {pair.INPUT_OUTPUT_GRADIENTS: gradient.numpy()}

    def one(k: int) -> None:
        if work.method == "saliency":
            pair.GradientSaliency().GetMask(asked.cube, gradients, k)
        elif work.method == "smoothgrad":
            pair.GradientSaliency().GetSmoothedMask(
                asked.cube, gradients, k, nsamples=work.n, magnitude=False
            )
        else:
            pair.IntegratedGradients().GetMask(
                asked.cube, gradients, k, x_steps=work.n, batch_size=4
            )

    calls: list[Callable[[], object]] = [partial(one, k) for k in range(len(asked.targets))]
    return Plan(calls)
