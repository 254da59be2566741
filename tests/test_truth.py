"""Worlds where the truth is known: planted bands and regions, linear scores, all 2**G patterns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import oracles, planted, worlds
from xrxai import patterns
from xrxai.datasets import synthetic


@pytest.mark.parametrize("seed", range(20))
def test_planted_group_is_ranked_first(seed):
    """Must-show line 5, first half: LIME, occlusion and IG on soil with planted absorptions."""
    scene = synthetic.soil(seed, size=(8, 8), border=1)
    cube, truth = scene.cube, scene.truth
    net = planted.DepthNet(cube.wavelength.values, truth.bands, seed)
    model = xrxai.Model(net, takes="spectrum", targets=truth.targets)
    groups = dict(truth.groups)
    lime = cube.xai.lime_spectral(model, bands=groups, seed=seed).attribution
    ig = cube.xai.integrated_gradients(model, baseline="mean", n_steps=32)
    hidden = cube.xai.occlusion_spectral(model, window=60.0, stride=20.0)
    found = {
        "lime": lime,
        "integrated gradients": ig.xai.to_groups(groups),
        "occlusion": hidden.xai.to_groups(groups),
    }
    assert len(groups) >= 3
    for method, values in found.items():
        strength = abs(values).mean(["y", "x"])
        first = strength.idxmax("group")
        for target in truth.targets:
            assert first.sel(target=target) == truth.group[target], (method, target)


@pytest.mark.parametrize("method", ["lime_spatial", "occlusion_spatial", "integrated_gradients"])
def test_planted_region_is_ranked_first(method):
    scene = synthetic.textures(seed=3)
    for sample in range(3):
        chip = scene.cube.isel(sample=sample)
        here = scene.truth.region.isel(sample=sample)
        model = xrxai.Model(planted.RegionNet(here, 4), takes="patch", targets=["object"])
        options = {
            "lime_spatial": {"segments": here},
            "occlusion_spatial": {"window": 4},
            "integrated_gradients": {"n_steps": 16},
        }[method]
        found = getattr(chip.xai, method)(model, **options).xai.on_cube().attribution
        if "band" in found.dims:
            found = found.sum("band")
        value = abs(found.isel(target=0))
        assert value.where(here).mean() > 3 * value.where(~here).mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "n_samples"),
    [("random", 200), ("paired", 60), ("paired", 200)]
    + [("balanced", n) for n in (48, 60, 100, 200)],
)
def test_interval_covers_the_coefficient_of_all_patterns(design, n_samples):
    """Must-show line 5, second half: 600 seeds, 2**8 patterns enumerated, a non-linear net."""
    n_groups, n_seeds = 8, 600
    rng = np.random.default_rng(4)
    cube = xr.DataArray(
        rng.uniform(0.5, 1.5, (n_groups, 1, 1)),
        dims=("band", "y", "x"),
        coords={"wavelength": ("band", 450.0 + 50 * np.arange(n_groups), {"units": "nm"})},
    )
    net = worlds.SpectrumNet(n_groups, seed=11).double()
    net.first.weight.data *= 3
    model = xrxai.Model(net, takes="spectrum", targets=worlds.TARGETS)
    f, x = worlds.function(model, cube.values[:, 0, 0])
    every = oracles.all_patterns(n_groups)
    scores = oracles.lime_scores(f, x, np.zeros_like(x), np.arange(1, n_groups + 1), every)
    weights = np.array([oracles.lime_weight(row, 0.25) for row in every])
    truth = np.array(
        [oracles.weighted_ridge(every, weights, scores[:, k], 1e-6)[1] for k in range(3)]
    )
    covered = np.zeros((n_seeds, 3, n_groups), dtype=bool)
    for seed in range(n_seeds):
        found = cube.xai.lime_spectral(
            model,
            bands=list(cube.wavelength.values),
            n_samples=n_samples,
            design=design,
            seed=seed,
            progress=False,
        )
        low, high = found.ci_low.values[:, 0, 0], found.ci_high.values[:, 0, 0]
        covered[seed] = (low <= truth) & (truth <= high)
    assert found.fidelity.max() < 0.99, "the net must not be linear in the patterns"
    share = covered.mean()
    print(
        f"{design} {n_samples}: coverage {share:.4f}; "
        f"per coefficient {covered.mean(0).round(3).tolist()}"
    )
    assert 0.93 <= share <= 0.97
    # Each coefficient of a balanced design has its own share of what the design takes away.
    assert (covered.mean(0) > 0.9).all()


@pytest.mark.parametrize("b", [0.0, 0.4, "mean"])
def test_linear_world(b):
    """For a score w.x + c: gradient = w, and every other method says w (x - b)."""
    cube = worlds.cube(invalid=False)
    w = np.random.default_rng(2).normal(size=(3, 10, 6, 7))
    weight = torch.as_tensor(w)
    model = xrxai.Model(
        lambda x: torch.einsum("nbyx,kbyx->nk", x, weight) + 5,
        takes="patch",
        targets=worlds.TARGETS,
        dtype="float64",
    )
    np.testing.assert_allclose(cube.xai.saliency(model).attribution, w, rtol=1e-12)
    np.testing.assert_allclose(
        cube.xai.input_x_gradient(model).attribution, w * cube.values, rtol=1e-12
    )
    base = cube.xai.baseline(b)
    true = w * (cube - base.broadcast_like(cube)).transpose("band", "y", "x").values
    found = cube.xai.integrated_gradients(model, baseline=b, n_steps=1)
    np.testing.assert_allclose(found.attribution, true, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-9)
    single = cube.xai.occlusion_spectral(model, window=1, stride=1, unit="band", baseline=b)
    np.testing.assert_allclose(single.attribution, true.sum((2, 3)), rtol=1e-9, atol=1e-10)
    pixel = cube.xai.occlusion_spatial(model, window=1, stride=1, baseline=b)
    np.testing.assert_allclose(pixel.attribution, true.sum(1), rtol=1e-9, atol=1e-10)
    lime = cube.xai.lime_spectral(model, bands=100.0, baseline=b, alpha=0, n_samples=60)
    sums = [true[:, lime.group_of_band == g].sum((1, 2, 3)) for g in range(1, 7)]
    np.testing.assert_allclose(lime.attribution, np.transpose(sums), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(lime.fidelity_heldout, 1, atol=1e-9)
    np.testing.assert_allclose(lime.standard_error, 0, atol=1e-8)
    lime = cube.xai.lime_spatial(model, segments="patch", patch=3, baseline=b, alpha=0)
    ids = lime.segment_of_pixel.values
    sums = [true[:, :, ids == s].sum((1, 2)) for s in lime.segment.values]
    np.testing.assert_allclose(lime.attribution, np.transpose(sums), rtol=1e-8, atol=1e-10)


def test_all_patterns_are_all():
    found = patterns.every(3)
    assert len({tuple(row) for row in found}) == 8
    assert patterns.proximity(found, None).tolist() == [1.0] * 8
    full, none = patterns.proximity(np.array([[1, 1, 1], [0, 0, 0]]) > 0, 0.25)
    assert full == 1.0
    assert none == pytest.approx(np.exp(-1 / (2 * 0.25**2)))
