"""Every method against its slow twin, and against captum and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xrxai
from tests import oracles, worlds
from xrxai import designs, patterns


@pytest.fixture(scope="module")
def patch():
    return worlds.cube(y=4, x=5), worlds.model("patch")


@pytest.fixture(scope="module")
def spectra():
    return worlds.cube(y=2, x=3, invalid=False), worlds.model("spectrum")


def hide(values, cube):
    """NaN where the cube has no data, as in a result."""
    return np.where(np.isnan(cube.values), np.nan, values)


@pytest.mark.parametrize("absolute", [False, True])
def test_saliency_twin(patch, absolute):
    cube, model = patch
    f, x = worlds.function(model, cube.values)
    slow = oracles.gradient(f, x)
    fast = cube.xai.saliency(model, absolute=absolute).attribution
    np.testing.assert_allclose(fast, hide(abs(slow) if absolute else slow, cube), atol=1e-8)


def test_input_x_gradient_twin(patch):
    cube, model = patch
    f, x = worlds.function(model, cube.values)
    fast = cube.xai.input_x_gradient(model).attribution
    np.testing.assert_allclose(fast, hide(x * oracles.gradient(f, x), cube), atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("b", [0.0, 0.3])
def test_integrated_gradients_twin(patch, b):
    cube, model = patch
    f, x = worlds.function(model, cube.values)
    # Invalid pixels hold the fill, 0, in the cube and in the baseline alike.
    start = np.where(np.isnan(cube.values), 0.0, b)
    slow = oracles.integrated_gradients(f, x, start, 60)
    fast = cube.xai.integrated_gradients(model, baseline=b, n_steps=50)
    np.testing.assert_allclose(fast.attribution, hide(slow, cube), atol=1e-6)
    np.testing.assert_allclose(fast.completeness_gap, 0, atol=1e-5)
    np.testing.assert_allclose(
        fast.attribution.sum(["band", "y", "x"]) - (fast.prediction - fast.baseline_prediction),
        fast.completeness_gap,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "rule", ["gauss_legendre", "riemann_left", "riemann_right", "riemann_middle"]
)
def test_integrated_gradients_captum(patch, rule):
    attr = pytest.importorskip("captum.attr")
    cube, model = patch
    x = torch.as_tensor(np.nan_to_num(cube.values))[None]
    fast = cube.xai.integrated_gradients(model, n_steps=7, rule=rule).attribution
    for k, name in enumerate(worlds.TARGETS):
        theirs = attr.IntegratedGradients(model.forward).attribute(
            x, target=k, n_steps=7, method=rule.replace("gauss_legendre", "gausslegendre")
        )
        np.testing.assert_allclose(
            fast.sel(target=name), hide(theirs[0].detach().numpy(), cube), rtol=1e-5, atol=1e-12
        )


def test_trapezoid_is_exact_for_a_quadratic():
    """captum's weights of this rule sum to (n - 1) / n; a linear gradient must come out exact."""
    cube = worlds.cube(y=2, x=2, invalid=False)
    model = xrxai.Model(
        lambda x: (x**2).sum((1, 2, 3))[:, None],
        takes="patch",
        targets=["energy"],
        dtype="float64",
    )
    found = cube.xai.integrated_gradients(model, n_steps=5, rule="riemann_trapezoid")
    np.testing.assert_allclose(found.attribution[0], cube**2, rtol=1e-12)


def test_gradients_captum(patch):
    attr = pytest.importorskip("captum.attr")
    cube, model = patch
    x = torch.as_tensor(np.nan_to_num(cube.values))[None].requires_grad_()
    saliency = cube.xai.saliency(model).attribution
    product = cube.xai.input_x_gradient(model).attribution
    for k, name in enumerate(worlds.TARGETS):
        theirs = attr.Saliency(model.forward).attribute(x, target=k, abs=False)
        np.testing.assert_allclose(
            saliency.sel(target=name), hide(theirs[0].detach().numpy(), cube), rtol=1e-5
        )
        theirs = attr.InputXGradient(model.forward).attribute(x, target=k)
        np.testing.assert_allclose(
            product.sel(target=name), hide(theirs[0].detach().numpy(), cube), rtol=1e-5
        )


def test_spectra_twins(spectra):
    cube, model = spectra
    saliency = cube.xai.saliency(model).attribution
    effects = cube.xai.occlusion_spectral(model, window=3, stride=2, unit="band")
    inside = effects.band_in_window.values
    for y, x in np.ndindex(2, 3):
        f, one = worlds.function(model, cube.values[:, y, x])
        at = {"y": y, "x": x}
        np.testing.assert_allclose(saliency.isel(at), oracles.gradient(f, one), atol=1e-8)
        mean, each = oracles.occlusion(f, one, np.zeros_like(one), inside)
        np.testing.assert_allclose(effects.attribution.isel(at), mean, atol=1e-12)
        np.testing.assert_allclose(effects.window_effect.isel(at), each, atol=1e-12)


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (4, 4), (2, 3), (4, 1)])
def test_occlusion_spatial_twin_and_captum(patch, window, stride):
    attr = pytest.importorskip("captum.attr")
    cube, model = patch
    f, x = worlds.function(model, cube.values)
    fast = cube.xai.occlusion_spatial(model, window=window, stride=stride, baseline=0.2)
    b = np.where(np.isnan(cube.values), 0.0, 0.2)
    windows = []
    for r in oracles.sliding(4, window, stride):
        for c in oracles.sliding(5, window, stride):
            inside = np.zeros(x.shape, dtype=bool)
            inside[:, slice(*r), slice(*c)] = True
            windows.append(inside)
    slow, each = oracles.occlusion(f, x, b, windows)
    np.testing.assert_allclose(fast.window_effect, each, atol=1e-12)
    np.testing.assert_allclose(
        fast.attribution, hide(slow, cube).mean(1), atol=1e-12, equal_nan=True
    )
    ends = [fast[f"window_{axis}_{end}"] for axis in ("row", "column") for end in ("start", "stop")]
    for i, inside in enumerate(windows):
        rows, columns = np.nonzero(inside[0])
        found = [int(end[i]) for end in ends]
        assert found == [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
    if stride > window:
        return  # captum divides 0 by 0 between windows
    for k, name in enumerate(worlds.TARGETS):
        theirs = attr.Occlusion(model.forward).attribute(
            torch.as_tensor(x)[None],
            sliding_window_shapes=(10, window, window),
            strides=(10, stride, stride),
            baselines=torch.as_tensor(b)[None],
            target=k,
        )
        np.testing.assert_allclose(
            fast.attribution.sel(target=name),
            hide(theirs[0].numpy(), cube).mean(0),
            rtol=1e-5,
            atol=1e-10,
        )


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (4, 4), (10, 1)])
def test_occlusion_spectral_captum(patch, window, stride):
    attr = pytest.importorskip("captum.attr")
    cube, model = patch
    x = torch.as_tensor(np.nan_to_num(cube.values))[None]
    fast = cube.xai.occlusion_spectral(model, window=window, stride=stride, unit="band")
    for k, name in enumerate(worlds.TARGETS):
        theirs = attr.Occlusion(model.forward).attribute(
            x, sliding_window_shapes=(window, 4, 5), strides=(stride, 4, 5), target=k
        )
        np.testing.assert_allclose(
            fast.attribution.sel(target=name), theirs[0, :, 0, 0], rtol=1e-5, atol=1e-10
        )


def test_occlusion_in_nm_follows_the_spectrum_not_the_order():
    cube = worlds.cube(y=2, x=2, invalid=False)
    model = worlds.model("patch")
    forth = cube.xai.occlusion_spectral(model, window=120.0, stride=60.0)
    mixed = cube.isel(band=[3, 0, 9, 5, 1, 2, 8, 7, 6, 4])
    weights = model.forward.first.weight.data[:, [3, 0, 9, 5, 1, 2, 8, 7, 6, 4]]
    net = worlds.PatchNet().double()
    net.first.weight.data = weights
    other = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    back = mixed.xai.occlusion_spectral(other, window=120.0, stride=60.0)
    np.testing.assert_allclose(back.attribution.sel(band=cube.band), forth.attribution, rtol=1e-9)
    np.testing.assert_allclose(back.window_effect, forth.window_effect, rtol=1e-9)
    low, high = forth.window_min, forth.window_max
    assert (high - low < 120).all()
    inside = forth.band_in_window
    np.testing.assert_array_equal(inside.argmax("band"), np.searchsorted(cube.wavelength, low))


def test_window_counts_of_the_published_tutorial():
    """150 x 224 x 224: window 50 stride 30 -> 7 x 7 = 49; bands 8 / 6 -> 25; 3-D 5 x 7 x 7."""
    assert len(patterns.windows(224, 50, 30)) ** 2 == 49
    assert len(patterns.windows(150, 8, 6)) == 25
    assert len(patterns.windows(150, 50, 30)) * len(patterns.windows(224, 50, 30)) ** 2 == 245
    for size, window, stride in [(224, 50, 30), (10, 3, 2), (7, 7, 3), (8, 2, 5)]:
        found = patterns.windows(size, window, stride)
        assert (found[:, 0] < found[:, 1]).all(), "no window is empty"
        if stride <= window:
            assert [tuple(w) for w in found] == oracles.sliding(size, window, stride)


@pytest.mark.parametrize("width", [0.25, None])
@pytest.mark.parametrize("alpha", [0.0, 1e-6, 0.05])
@pytest.mark.parametrize("design", ["random", "paired", "balanced"])
def test_lime_spectral_equals_the_normal_equations(patch, alpha, width, design):
    cube, model = patch
    f, x = worlds.function(model, cube.values)
    fast = cube.xai.lime_spectral(
        model,
        bands=100.0,
        n_samples=40,
        design=design,
        alpha=alpha,
        kernel_width=width,
        seed=3,
    )
    part = np.broadcast_to(fast.group_of_band.values[:, None, None], x.shape)
    on = designs.draw(design, [40], 6, 3)[0].on.astype(float)
    interval = oracles.hc3_interval if design == "random" else oracles.cr2_interval
    scores = oracles.lime_scores(f, x, np.zeros_like(x), part, on)
    weights = np.array([oracles.lime_weight(row, width) for row in on])
    for k in range(3):
        _, slope = oracles.weighted_ridge(on, weights, scores[:, k], alpha)
        one = fast.isel(target=k)
        np.testing.assert_allclose(one.attribution, slope, rtol=1e-8)
        error, low, high = interval(on, weights, scores[:, k], alpha)
        np.testing.assert_allclose(one.standard_error, error, rtol=1e-6)
        np.testing.assert_allclose(one.ci_low, low, rtol=1e-6)
        np.testing.assert_allclose(one.ci_high, high, rtol=1e-6)
        offset, slope = oracles.weighted_ridge(on, weights, scores[:, k], alpha)
        guess = offset + on @ slope
        np.testing.assert_allclose(
            one.fidelity, oracles.weighted_r2(scores[:, k], guess, weights), rtol=1e-8
        )
        np.testing.assert_allclose(
            one.fidelity_heldout,
            oracles.heldout_r2(on, weights, scores[:, k], alpha, 1 if design == "random" else 2),
            rtol=1e-6,
        )
    np.testing.assert_allclose(fast.prediction, f(x), rtol=1e-12)
    np.testing.assert_allclose(fast.baseline_prediction, f(np.zeros_like(x)), rtol=1e-12)


def test_lime_per_pixel_equals_the_normal_equations(spectra):
    cube, model = spectra
    fast = cube.xai.lime_spectral(model, bands=150.0, n_samples=50, baseline="mean")
    on = designs.draw("balanced", [16], 4, 0)[0].on.astype(float)
    assert fast.model_evaluations.max() == 16 + 2
    weights = np.array([oracles.lime_weight(row, 0.25) for row in on])
    mean = cube.mean(["y", "x"]).values
    for y, x in np.ndindex(2, 3):
        f, one = worlds.function(model, cube.values[:, y, x])
        scores = oracles.lime_scores(f, one, mean, fast.group_of_band.values, on)
        for k in range(3):
            _, slope = oracles.weighted_ridge(on, weights, scores[:, k], 1e-6)
            np.testing.assert_allclose(fast.attribution[k, y, x], slope, rtol=1e-8, atol=1e-12)


def test_lime_spatial_equals_the_normal_equations(patch):
    cube, model = patch
    f, x = worlds.function(model, cube.values)
    fast = cube.xai.lime_spatial(model, segments="patch", patch=2, n_samples=60, baseline=0.5)
    ids = fast.segment_of_pixel.values
    assert (ids[np.isnan(cube.values[0])] == 0).all()
    assert set(np.unique(ids)) - {0} == set(fast.segment.values)
    part = np.broadcast_to(ids, x.shape)
    on = designs.draw("balanced", [60], fast.sizes["segment"], 0)[0].on.astype(float)
    scores = oracles.lime_scores(f, x, np.full_like(x, 0.5), part, on)
    weights = np.array([oracles.lime_weight(row, 0.25) for row in on])
    for k in range(3):
        _, slope = oracles.weighted_ridge(on, weights, scores[:, k], 1e-6)
        np.testing.assert_allclose(fast.attribution[k], slope, rtol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 1e5])
def test_lasso_equals_scikit_learn_and_does_not_care_for_scale(patch, scale):
    linear = pytest.importorskip("sklearn.linear_model")
    cube, model = patch
    f, x = worlds.function(model, cube.values)
    big = xrxai.Model(
        lambda z: model.forward(z) * scale, takes="patch", targets=worlds.TARGETS, dtype="float64"
    )
    fast = cube.xai.lime_spectral(
        big, bands=100.0, n_samples=60, surrogate="lasso", alpha=0.1, seed=1
    )
    part = np.broadcast_to(fast.group_of_band.values[:, None, None], x.shape)
    on = designs.draw("balanced", [60], 6, 1)[0].on.astype(float)
    scores = oracles.lime_scores(f, x, np.zeros_like(x), part, on)
    weights = np.array([oracles.lime_weight(row, 0.25) for row in on])
    zeros = 0
    for k in range(3):
        y = scores[:, k]
        spread = np.sqrt(np.average((y - np.average(y, weights=weights)) ** 2, weights=weights))
        fit = linear.Lasso(alpha=0.1, tol=1e-12, max_iter=100_000)
        fit.fit(on, y / spread, sample_weight=weights)
        np.testing.assert_allclose(
            fast.attribution[k], fit.coef_ * spread * scale, atol=1e-8 * scale
        )
        zeros += int((fast.attribution[k] == 0).sum())
    assert zeros > 0
    assert (fast.ci_low <= fast.ci_high).all()
    assert (fast.standard_error >= 0).all()


def test_samples_that_only_fit_noise_are_told_apart():
    """Pure noise: in sample it looks explained, out of sample it does not."""
    cube = worlds.cube(bands=20, y=2, x=2, invalid=False)

    def noise(x):
        # A chaotic function of the input: no line in the patterns predicts it.
        return torch.sin(1e6 * x.sum((1, 2, 3)))[:, None]

    model = xrxai.Model(noise, takes="patch", targets=["noise"], dtype="float64")
    with pytest.warns(UserWarning, match="30 samples for 20 groups"):
        found = cube.xai.lime_spectral(
            model, bands=list(cube.wavelength.values), n_samples=30, design="random"
        )
    assert found.fidelity.item() > 0.5
    assert found.fidelity_heldout.item() <= 0


def test_a_constant_model_has_no_fidelity():
    cube = worlds.cube(y=2, x=2, invalid=False)
    model = xrxai.Model(
        lambda x: torch.ones(len(x), 1, dtype=x.dtype), takes="patch", targets=["one"]
    )
    found = cube.xai.lime_spectral(model, bands=150.0, n_samples=40)
    assert np.isnan(found.fidelity).all()
    assert np.isnan(found.fidelity_heldout).all()
    np.testing.assert_allclose(found.attribution, 0, atol=1e-6)
