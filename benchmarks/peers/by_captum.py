"""captum, which takes one target at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from captum import attr

from benchmarks.peers import Plan
from benchmarks.problems import Problem, Work

FEW = 20  # spectra of a scene, which it explains one by one


def prepare(work: Work, asked: Problem, how: str) -> Plan:
    """Make a call per target; `how` = "default" leaves the batch to it."""
    options, kind = options_of(work, asked)
    if how != "default":
        options.update(_batch(work, asked))
    explainer: Any = getattr(attr, kind)(asked.scores)
    if work.method == "smoothgrad":
        explainer = attr.NoiseTunnel(explainer)
    inputs = [asked.sample]
    if asked.takes == "spectrum":
        table = torch.as_tensor(asked.cube).flatten(1).T
        inputs = [row[None].contiguous() for row in table[:FEW]]

    def one(k: int) -> None:
        for x in inputs:
            explainer.attribute(x.clone(), target=k, **options)

    calls: list[Callable[[], object]] = [partial(one, k) for k in range(len(asked.targets))]
    return Plan(calls, len(inputs))


def options_of(work: Work, asked: Problem) -> tuple[dict[str, Any], str]:
    """Options of a method at its own batch, and the name of its class."""
    if work.method.startswith(("lime", "kernel_shap")):
        mask = asked.segment[None, None]
        if work.method.endswith("spectral"):
            mask = asked.band_group.reshape(1, -1, *[1] * (asked.sample.ndim - 2))
        mask = np.broadcast_to(mask, (1, *asked.sample.shape[1:])).copy()
        kind = "Lime" if work.method.startswith("lime") else "KernelShap"
        return {"feature_mask": torch.as_tensor(mask), "n_samples": work.n}, kind
    if work.method == "saliency":
        return {"abs": False}, "Saliency"
    if work.method == "smoothgrad":
        spread = 0.15 * float(asked.cube.max() - asked.cube.min())
        return {"abs": False, "nt_samples": work.n, "stdevs": spread}, "Saliency"
    if work.method == "integrated_gradients":
        return {"n_steps": work.n}, "IntegratedGradients"
    window, stride = work.window, work.stride
    shape = tuple(asked.sample.shape[1:])
    if work.method == "occlusion_spatial":
        window, stride = (shape[0], *window), (shape[0], *stride)
    elif work.method == "occlusion_spectral":
        window, stride = (*window, *shape[1:]), (*stride, *shape[1:])
    return {"sliding_window_shapes": window, "strides": stride}, "Occlusion"


def _batch(work: Work, asked: Problem) -> dict[str, int]:
    if work.method == "integrated_gradients":
        return {"internal_batch_size": 4}
    if work.method == "smoothgrad":
        return {"nt_samples_batch_size": 4}
    # Images are best left one by one, as it does by itself: ten at a time took a quarter longer.
    return {"perturbations_per_eval": work.n} if asked.takes == "spectrum" else {}
