"""meteors, one target at a time; it asks for numpy before 2, so it has an environment of its own.

``python -m benchmarks --peers meteors`` makes that environment (see benchmarks/meteors_env.py), and
this module is imported there, where there is no xrxai.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from meteors import HSI, attr
from meteors.models import ExplainableModel

from benchmarks.peers import Plan
from benchmarks.problems import Problem, Work


def prepare(work: Work, asked: Problem, how: str) -> Plan:
    """Make a call per target."""
    model = ExplainableModel(asked.scores, "regression")
    hsi = HSI(
        image=torch.as_tensor(asked.cube),
        wavelengths=torch.as_tensor(asked.wavelength),
        orientation=("C", "H", "W"),
    )
    ask = _asked(work, asked, model, hsi)
    calls: list[Callable[[], object]] = [partial(ask, target=k) for k in range(len(asked.targets))]
    return Plan(calls)


def _asked(work: Work, asked: Problem, model: Any, hsi: Any) -> Callable[..., object]:
    lime = {"n_samples": work.n, "perturbations_per_eval": 10}
    windows = {"sliding_window_shapes": work.window, "strides": work.stride}
    if work.method == "lime_spectral":
        # Ids from 1, and names beside them: without these the last group is "not included".
        names = {f"group {i + 1}": i + 1 for i in range(work.groups)}
        mask = torch.as_tensor(asked.band_group + 1)[:, None, None]
        spectral = attr.Lime(model).get_spectral_attributes
        return partial(spectral, hsi, band_mask=mask, band_names=names, **lime)
    if work.method == "lime_spatial":
        mask = torch.as_tensor(asked.segment)[None]
        return partial(attr.Lime(model).get_spatial_attributes, hsi, segmentation_mask=mask, **lime)
    if work.method == "occlusion":
        return partial(attr.Occlusion(model).attribute, hsi, **windows)
    if work.method == "occlusion_spatial":
        return partial(attr.Occlusion(model).get_spatial_attributes, hsi, **windows)
    if work.method == "occlusion_spectral":
        return partial(attr.Occlusion(model).get_spectral_attributes, hsi, **windows)
    if work.method == "saliency":
        return partial(attr.Saliency(model).attribute, hsi)
    if work.method == "integrated_gradients":
        gradients = attr.IntegratedGradients(model).attribute
        return partial(gradients, hsi, n_steps=work.n, internal_batch_size=4)
    inner = attr.InputXGradient(model)
    return partial(attr.HyperNoiseTunnel(inner).attribute, hsi, n_samples=work.n)
