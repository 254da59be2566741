"""Must-show line 4: all targets cost the model evaluations of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xrxai
from tests import worlds
from xrxai import patterns


def different(on):
    """Patterns that are not equal, and "none": each is evaluated once."""
    return len({tuple(row) for row in on.tolist()} | {(False,) * on.shape[1]})


def pairs(n_samples, n_groups):
    half = patterns.drawn_pairs(n_samples // 2, n_groups, 0)
    return different(np.vstack([half, ~half]))


COST = {
    "saliency": lambda found: 1,
    "input_x_gradient": lambda found: 1,
    "integrated_gradients": lambda found: 8 + 2,
    "smoothgrad": lambda found: 1 + 3 * (2 + 2),
    "hyper_noise_tunnel": lambda found: 1 + 4,
    "gradient_shap": lambda found: 6 + 4 + 1,
    "blur_ig": lambda found: 8 + 2,
    "guided_ig": lambda found: 3 * found.sizes["target"] + 2,
    "xrai": lambda found: 2 * (8 + 1) + 1,
    "occlusion_spectral": lambda found: found.sizes["window"] + 1,
    "occlusion_spatial": lambda found: found.sizes["window"] + 1,
    "occlusion": lambda found: found.sizes["window"] + 1,
    "ablation_spectral": lambda found: found.sizes["group"] + 1,
    "ablation_spatial": lambda found: found.sizes["segment"] + 1,
    "permutation_spectral": lambda found: 3 * found.sizes["group"] + 1,
    "kernel_shap_spectral": lambda found: pairs(40, found.sizes["group"]) + 1,
    "kernel_shap_spatial": lambda found: pairs(24, found.sizes["segment"]) + 1,
    "owen_spectral": lambda found: 2 + 2 + 2 * 2 + 2 * 2,
    "tree_shap_spectral": lambda found: 1,
    "rise": lambda found: 30 + 1,
    "lime_spectral": lambda found: min(40, 2 ** found.sizes["group"]) + 2,
    "lime_spatial": lambda found: min(40, 2 ** found.sizes["segment"]) + 2,
    "grad_cam": lambda found: 1,
    "guided_grad_cam": lambda found: 2,
    "guided_backprop": lambda found: 1,
    "deconvnet": lambda found: 1,
    "deep_lift": lambda found: 2,
    "lrp": lambda found: 1,
    "captum": lambda found: 1 + found.sizes["target"] * (4 + 2),
}


@pytest.mark.parametrize("name", xrxai.methods())
@pytest.mark.parametrize("batch_size", [1, None])
def test_every_target_for_the_price_of_one(name, batch_size):
    rows = []
    model = worlds.watched(rows, method=name)
    cube = worlds.cube(lead={"sample": 2} if name in worlds.EXCHANGING else None)
    n_samples = cube.sizes.get("sample", 1)
    if model.takes == "spectrum":
        n_samples = int(cube.notnull().all("band").sum())
    costs = {}
    for target in (None, "K"):
        rows.clear()
        found = worlds.explain(name, cube, model, target=target, batch_size=batch_size)
        costs[target] = sum(n for n, _ in rows) / n_samples
        spent = found.model_evaluations.where(found.model_evaluations > 0, costs[target])
        assert (spent == costs[target]).all()
        if name in worlds.FORWARD_ONLY:
            assert not any(grad for _, grad in rows)
        assert costs[target] == COST[name](found)
    assert costs[None] == costs["K"] or name in worlds.PER_TARGET


def test_integrated_gradients_take_one_forward_per_step():
    forwards, backwards = [], []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            forwards.append(len(x))
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            backwards.append(len(g))
            return g

    net = worlds.PatchNet().double()
    model = xrxai.Model(
        lambda x: net(Watched.apply(x)), takes="patch", targets=worlds.TARGETS, dtype="float64"
    )
    worlds.cube().xai.integrated_gradients(model, n_steps=12, batch_size=1)
    assert sum(forwards) == 12 + 2
    assert sum(backwards) == 12 * 3


@pytest.mark.slow
def test_integrated_gradients_hold_one_batch_whatever_the_targets():
    """All targets' gradients at once, or two batches, are several times the memory."""
    cube, model, held = worlds.counting_batches(16)
    cube.xai.integrated_gradients(model, n_steps=64, batch_size=16)
    assert len(held) == 4 * 6
    # The points on the way and what flows back from the scores.
    assert min(held) >= 2
    assert max(held) <= 3
