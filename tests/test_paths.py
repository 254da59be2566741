"""Adaptive integrated gradients and the other ways: twins, peers, exact worlds, wrong calls."""

from __future__ import annotations

import re

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import oracles_paths, worlds
from tests.conftest import no_compute, raises_exactly
from xrxai import patterns
from xrxai.errors import BandError, BaselineError, ModelError, OptionError

BANDS = 4
TABLE = np.random.default_rng(3).uniform(0.1, 0.9, (5, BANDS))


def small(**options):
    """Four bands over three rows and columns, three pixels of them without data."""
    return worlds.cube(bands=BANDS, y=3, x=3, **options)


def net(kind="patch", **options):
    if kind == "map":
        options = {"reduction": "area", **options}  # not every class wins a pixel of so few
    return worlds.model(kind, bands=BANDS, **options)


def strong(kind="patch", by=12):
    """A net with a bend on the way, so that few steps do not do."""
    made = net(kind)
    made.forward.first.weight.data *= by
    return made


def hide(values, cube):
    return np.where(np.isnan(cube.values), np.nan, values)


def gap_share(found):
    change = found.prediction - found.baseline_prediction
    return abs(found.completeness_gap) / abs(change)


# integrated gradients with a tolerance


@pytest.mark.parametrize(("tolerance", "by"), [(0.03, 12), (0.003, 16)])
def test_adaptive_twin(tolerance, by):
    cube, model = small(), strong(by=by)
    f, x = worlds.function(model, cube.values)
    slow, steps = oracles_paths.adaptive(f, x, np.zeros_like(x), tolerance, 127)
    fast = cube.xai.integrated_gradients(model, tolerance=tolerance, max_steps=127)
    np.testing.assert_allclose(fast.attribution, hide(slow, cube), atol=1e-6)
    np.testing.assert_array_equal(fast.n_steps_used, steps)
    assert fast.converged.all()
    assert (gap_share(fast) <= tolerance).all()
    assert fast.model_evaluations == steps.max() + 2
    assert len(set(steps)) > 1, "targets must differ for this test to mean something"


def test_adaptive_is_the_integral_and_a_linear_score_takes_three_steps():
    cube, model = small(), strong()
    fine = cube.xai.integrated_gradients(model, tolerance=1e-9)
    fixed = cube.xai.integrated_gradients(model, n_steps=300)
    np.testing.assert_allclose(fine.attribution, fixed.attribution, atol=1e-7)
    weight = torch.linspace(-1, 1, BANDS * 9).view(BANDS, 3, 3).double()
    linear = xrxai.Model(
        lambda x: (x * weight).sum((1, 2, 3))[:, None],
        takes="patch",
        targets=["w"],
        dtype="float64",
    )
    cube = small(invalid=False)
    found = cube.xai.integrated_gradients(linear, tolerance=1e-12, baseline=0.3)
    np.testing.assert_allclose(found.attribution[0], weight.numpy() * (cube.values - 0.3))
    assert found.n_steps_used == 3
    assert found.model_evaluations == 5


def test_a_root_at_the_baseline_is_integrated():
    """The gradient at zero is infinite; no rule with an end there can bear it."""
    cube = small(invalid=False)
    root = xrxai.Model(
        lambda x: x.clamp(min=0).sqrt().sum((1, 2, 3))[:, None],
        takes="patch",
        targets=["root"],
        dtype="float64",
    )
    with pytest.raises(ModelError, match="not finite"):
        cube.xai.integrated_gradients(root, rule="riemann_trapezoid")
    found = cube.xai.integrated_gradients(root, tolerance=1e-3)
    np.testing.assert_allclose(found.attribution[0], cube**0.5, rtol=1e-3)


@pytest.mark.parametrize("kind", ["patch", "map", "spectrum"])
def test_evaluations_are_counted_for_each_sample(kind):
    """Each point on the way from zero is a multiple of its sample, which tells whose it is."""
    cube = small(invalid=False, lead={"time": 3})
    rows = []
    model = strong(kind)

    def watched(x):
        rows.append(x.detach().flatten(1).numpy())
        return model.forward(x)

    asked = xrxai.Model(
        watched, takes=model.takes, gives=model.gives, targets=worlds.TARGETS, dtype="float64"
    )
    found = cube.xai.integrated_gradients(asked, tolerance=0.003)
    seen = np.concatenate(rows)
    features = ["band"] if kind == "spectrum" else ["band", "y", "x"]
    order = [d for d in cube.dims if d not in features] + features
    samples = cube.transpose(*order).values.reshape(-1, seen.shape[1])
    unit = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    length = np.linalg.norm(seen, axis=1)
    whose = (seen[length > 0] @ unit.T).argmax(1)
    counted = found.model_evaluations.values.ravel()
    np.testing.assert_array_equal(counted, 1 + np.bincount(whose, minlength=len(samples)))
    np.testing.assert_array_equal(counted, 2 + found.n_steps_used.max("target").values.ravel())
    assert len(set(counted)) > 1
    assert len(seen) == counted.sum()


@pytest.mark.parametrize("kind", ["patch", "map", "spectrum"])
def test_adaptive_conforms(kind, tmp_path):
    cube, model = worlds.cube(lead={"time": 3}), worlds.model(kind)
    whole = cube.xai.integrated_gradients(model, tolerance=1e-4)
    assert whole.attrs["method"] == "integrated_gradients"
    assert whole.converged.dtype == bool
    assert whole.n_steps_used.dtype == np.int64
    for batch_size in (1, 7):
        part = cube.xai.integrated_gradients(model, tolerance=1e-4, batch_size=batch_size)
        xr.testing.assert_allclose(part, whole, rtol=1e-9, atol=1e-12)
    with no_compute():
        lazy = cube.chunk(time=1).xai.integrated_gradients(model, tolerance=1e-4)
    done = lazy.compute(scheduler="synchronous")
    for name, values in whole.data_vars.items():
        assert done[name].dtype == values.dtype
        if name != "spectrum":
            xr.testing.assert_allclose(done[name], values, rtol=1e-9, atol=1e-12)
    alone = cube.isel(time=1).xai.integrated_gradients(model, tolerance=1e-4, target=["Mg", "K"])
    xr.testing.assert_allclose(
        alone.attribution,
        whole.attribution.isel(time=1).sel(target=["Mg", "K"]),
        rtol=1e-9,
        atol=1e-12,
    )
    whole.xai.to_netcdf(tmp_path / "why.nc")
    xr.testing.assert_identical(xrxai.open_explanation(tmp_path / "why.nc").load(), whole)


def test_garbage_does_not_change_the_steps():
    clean = worlds.cube(invalid=False)
    mask = np.random.default_rng(0).random((6, 7)) > 0.3
    results = [
        clean.where(mask, garbage)
        .transpose("band", "y", "x")
        .xai.integrated_gradients(worlds.model(), tolerance=1e-4, mask=mask)
        for garbage in (0.0, 1e30, np.nan)
    ]
    xr.testing.assert_identical(results[0], results[1])
    xr.testing.assert_identical(results[0], results[2])


def test_samples_without_data_take_no_step_and_do_not_warn():
    cube = small(lead={"time": 2}, invalid=False)
    cube[1] = np.nan
    found = cube.xai.integrated_gradients(net(), tolerance=0.01)
    assert (found.n_steps_used.isel(time=1) == 0).all()
    assert (found.converged.values[:, 0]).all()
    assert found.model_evaluations.values[1] == 0


def test_a_sample_that_is_the_baseline_is_done():
    cube = small(invalid=False).astype("float32")
    model = xrxai.Model(worlds.PatchNet(BANDS), takes="patch", targets=worlds.TARGETS)
    found = cube.xai.integrated_gradients(model, baseline=cube, tolerance=1e-9)
    assert found.converged.all()
    assert (found.attribution == 0).all()


def test_what_has_not_converged_is_told():
    cube = small()
    with pytest.warns(UserWarning, match="tolerance") as told:
        found = cube.xai.integrated_gradients(strong(), tolerance=1e-7, max_steps=10)
    missed = int((~found.converged).sum())
    assert missed > 0
    assert found.n_steps_used.max() == 7
    assert str(told[0].message) == (
        f"{missed} of 3 attributions (samples and targets) miss tolerance=1e-07 after 7 steps. "
        f"completeness_gap says how far they are off. Raise max_steps= or tolerance=, or start "
        f"nearer to the cube, for example with baseline='mean'."
    )
    assert told[0].filename == __file__


def test_argmax_is_told_which_reduction_to_take():
    cube = worlds.cube()
    with pytest.warns(UserWarning, match="argmax") as told:
        found = cube.xai.integrated_gradients(
            worlds.model("map", reduction="argmax"), tolerance=0.01, max_steps=31
        )
    missed = int((~found.converged).sum())
    assert str(told[-1].message) == (
        f"{missed} of 3 attributions (samples and targets) miss tolerance=0.01 after 31 steps. "
        f"No number of steps closes it: reduction='argmax' jumps where a pixel changes its "
        f"class, and no gradient sees that. Type Model(..., reduction='frozen_argmax') or "
        f"reduction='area'."
    )
    for reduction in ("frozen_argmax", "area"):
        model = worlds.model("map", reduction=reduction)
        found = cube.xai.integrated_gradients(model, tolerance=0.01)
        assert found.converged.all()


# expected gradients


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("kind", ["patch", "spectrum"])
def test_gradient_shap_twin(kind, stratified):
    cube, model = small(), net(kind)
    fast = cube.xai.gradient_shap(
        model, background=TABLE, n_samples=7, seed=4, stratified=stratified
    )
    rows, places = patterns.draws(7, 5, 4, stratified)
    if kind == "patch":
        f, x = worlds.function(model, cube.values)
        usual = np.where(np.isnan(cube.values), 0.0, TABLE[:, :, None, None])
        value, error = oracles_paths.expected_gradients(f, x, usual, rows, places)
        value, error = hide(value, cube), hide(error, cube)
        score = np.mean([f(usual[row]) for row in rows], axis=0)
        np.testing.assert_allclose(fast.prediction, f(x))
    else:
        f, x = worlds.function(model, cube.values[:, 1, 1])
        value, error = oracles_paths.expected_gradients(f, x, TABLE, rows, places)
        score = np.mean([f(TABLE[row]) for row in rows], axis=0)
        fast = fast.isel(y=1, x=1)
    np.testing.assert_allclose(fast.attribution, value, atol=1e-7)
    np.testing.assert_allclose(fast.standard_error, error, atol=1e-7)
    np.testing.assert_allclose(fast.baseline_prediction, score, rtol=1e-12)
    over = [d for d in ("band", "y", "x") if d in fast.attribution.dims]
    total = fast.attribution.sum(over) - (fast.prediction - fast.baseline_prediction)
    np.testing.assert_allclose(fast.completeness_gap, total, atol=1e-12)


def test_gradient_shap_captum(monkeypatch):
    """captum draws with its own generator; given our draws, each of its terms is ours."""
    module = pytest.importorskip("captum.attr._core.gradient_shap")
    cube, model = small(invalid=False), net()
    rows, places = patterns.draws(9, 5, 0, True)
    monkeypatch.setattr(module.np.random, "uniform", lambda low, high, size: places)
    x = torch.as_tensor(cube.values)[None].repeat(9, 1, 1, 1)
    b = torch.as_tensor(TABLE[rows])[:, :, None, None].expand_as(x)
    fast = cube.xai.gradient_shap(model, background=TABLE, n_samples=9)
    for k, name in enumerate(worlds.TARGETS):
        theirs = module.InputBaselineXGradient(model.forward).attribute(x, b, target=k)
        np.testing.assert_allclose(
            fast.attribution.sel(target=name), theirs.mean(0).detach(), atol=1e-12
        )
        np.testing.assert_allclose(
            fast.standard_error.sel(target=name), theirs.std(0).detach() / 3, atol=1e-12
        )


def test_gradient_shap_of_one_row_is_integrated_gradients():
    cube, model = small(invalid=False), strong()
    many = cube.xai.gradient_shap(model, background=TABLE[:1], n_samples=4000)
    one = cube.xai.integrated_gradients(
        model, baseline=xr.DataArray(TABLE[0], dims="band"), n_steps=200
    )
    np.testing.assert_allclose(many.attribution, one.attribution, atol=1e-5)
    np.testing.assert_allclose(many.baseline_prediction, one.baseline_prediction)


def test_the_standard_error_is_that_of_the_mean():
    """Over seeds, independent draws scatter as they say; stratified ones scatter less."""
    cube, model = small(invalid=False).isel(y=[1], x=[1]), net("spectrum")
    for stratified in (False, True):
        found = [
            cube.xai.gradient_shap(
                model, background=TABLE, n_samples=20, seed=seed, stratified=stratified
            )
            for seed in range(40)
        ]
        scatter = np.std([f.attribution for f in found], axis=0)
        said = np.mean([f.standard_error**2 for f in found], axis=0) ** 0.5
        if stratified:
            assert (scatter < 0.7 * said).all()
        else:
            np.testing.assert_allclose(scatter, said, rtol=0.35)


def test_backgrounds_of_every_shape():
    cube, model = small(), net()
    cubes = np.broadcast_to(TABLE[:, :, None, None], (5, BANDS, 3, 3))
    one = cube.xai.gradient_shap(model, background=TABLE, n_samples=5).attribution
    for background in (
        xr.DataArray(TABLE, dims=("spectrum", "band")),
        xr.DataArray(TABLE.T, dims=("band", "sample"), coords={"band": cube.band}),
        cubes,
        xr.DataArray(cubes, dims=("chip", "band", "y", "x")).transpose("y", "chip", "x", "band"),
    ):
        two = cube.xai.gradient_shap(model, background=background, n_samples=5).attribution
        xr.testing.assert_allclose(one, two, rtol=1e-12)
    bad = cube.assign_coords(good_band=("band", [True, False, True, True]))
    garbage = TABLE.copy()
    garbage[:, 1] = np.nan
    xr.testing.assert_identical(
        bad.xai.gradient_shap(model, background=garbage),
        bad.xai.gradient_shap(model, background=np.where(np.isnan(garbage), 1e9, garbage)),
    )


def test_draws_are_spread():
    rows, places = patterns.draws(10, 5, 0, True)
    np.testing.assert_array_equal(np.bincount(rows), [2] * 5)
    np.testing.assert_array_equal(np.sort((places * 10).astype(int)), np.arange(10))
    rows, _ = patterns.draws(4, 9, 0, True)
    assert len(set(rows)) == 4
    rows, places = patterns.draws(1000, 5, 0, False)
    assert np.bincount(rows).min() > 150
    assert 0 <= places.min() < places.max() < 1


# blurs


@pytest.mark.parametrize("spacing", ["log", "linear", "sqrt"])
def test_blur_ig_twin(spacing):
    cube, model = small(), strong()
    f, x = worlds.function(model, cube.values)
    known = ~np.isnan(cube.values)
    widths = {
        "linear": [0, 0.5, 1.0, 1.5],
        "sqrt": [0, 1.5 * np.sqrt(1 / 3), 1.5 * np.sqrt(2 / 3), 1.5],
        "log": [0, 0.25, 0.25 * np.sqrt(6), 1.5],
    }[spacing]
    slow, end = oracles_paths.blur_ig(f, x, known, widths)
    fast = cube.xai.blur_ig(model, max_sigma=1.5, n_steps=3, spacing=spacing)
    np.testing.assert_allclose(fast.attribution, hide(slow, cube), atol=1e-6)
    np.testing.assert_allclose(fast.baseline_prediction, f(end), rtol=1e-10)


@pytest.mark.parametrize("kind", ["patch", "spectrum"])
def test_spectral_blur_twin(kind):
    cube, model = small(invalid=False), strong(kind)
    cube = cube.assign_coords(
        wavelength=("band", [450.0, 900.0, 500.0, 480.0], {"units": "nm"}),
        good_band=("band", [True, True, True, False]),
    )
    fast = cube.xai.blur_ig(model, axes="spectral", max_sigma=90.0, n_steps=3, spacing="linear")
    shown = np.where(cube.good_band, cube.values.T, 0.0).T
    known = np.broadcast_to(cube.good_band.values[:, None, None], cube.shape)
    at = {}
    if kind == "spectrum":
        at, shown, known = {"y": 1, "x": 2}, shown[:, 1, 2], known[:, 1, 2]
    f, x = worlds.function(model, shown)
    slow, end = oracles_paths.blur_ig(f, x, known, [0, 30, 60, 90], cube.wavelength.values)
    fast = fast.isel(at)
    np.testing.assert_allclose(fast.attribution, np.where(known, slow, np.nan), atol=1e-6)
    np.testing.assert_allclose(fast.baseline_prediction, f(end), rtol=1e-10)


def test_the_widest_blur_is_the_mean_of_what_is_known():
    cube, model = small(), net()
    f, _ = worlds.function(model, cube.values)
    found = cube.xai.blur_ig(model, max_sigma=1e4, n_steps=2)
    mean = np.where(np.isnan(cube.values), 0.0, np.nanmean(cube, (1, 2))[:, None, None])
    np.testing.assert_allclose(found.baseline_prediction, f(mean), rtol=1e-6)


def test_blur_steps_close_the_gap():
    cube, model = worlds.cube(), worlds.model()
    gaps = [gap_share(cube.xai.blur_ig(model, n_steps=n)).max() for n in (5, 50)]
    assert gaps[1] < 0.01 * gaps[0]
    assert gaps[1] < 1e-3


def test_equal_wavelengths_are_not_mixed_at_the_cube():
    cube = small(invalid=False).assign_coords(wavelength=("band", [500.0, 500.0, 600.0, 700.0]))
    found = cube.xai.blur_ig(net("spectrum"), n_steps=60)
    assert (gap_share(found) < 0.01).all()


def centred():
    """A 4 x 4 object in the middle of nothing: what is beyond the border does not matter."""
    values = np.zeros((BANDS, 16, 16))
    values[:, 6:10, 6:10] = np.random.default_rng(2).uniform(0.2, 1.5, (BANDS, 4, 4))
    return xr.DataArray(values, dims=("band", "y", "x"))


def of_saliency(model, k):
    """The model as the package saliency asks it: (n, y, x, band) in, gradients out."""
    core = pytest.importorskip("saliency.core")

    def call(x, call_model_args=None, expected_keys=None):
        z = torch.as_tensor(np.moveaxis(np.asarray(x, float), -1, 1)).requires_grad_()
        (g,) = torch.autograd.grad(model.forward(z)[:, k].sum(), z)
        return {core.INPUT_OUTPUT_GRADIENTS: np.moveaxis(g.numpy(), 1, -1)}

    return core, call


@pytest.mark.slow
@pytest.mark.parametrize("spacing", ["linear", "sqrt"])
def test_blur_ig_saliency(spacing):
    """Its derivative is a difference at the start of each step, so only many steps agree.

    With sqrt=True it blurs up to the root of max_sigma; and it gives every step of a batch the
    length of the batch's last one, which is wrong for every batch of more than one step.
    """
    model, cube = strong(), centred()
    core, call = of_saliency(model, 1)
    image = np.moveaxis(cube.values, 0, -1)
    n, top = 300, 1.5

    def theirs(batch):
        return core.BlurIG().GetMask(
            image, call, max_sigma=top, steps=n, sqrt=spacing == "sqrt", batch_size=batch
        )

    widest = np.sqrt(top) if spacing == "sqrt" else top
    ours = [
        np.moveaxis(
            cube.xai.blur_ig(
                model, max_sigma=widest, n_steps=n, spacing=spacing, batch_size=batch
            ).attribution.values[1],
            0,
            -1,
        )
        for batch in (1, 100)
    ]
    np.testing.assert_allclose(ours[0], ours[1], atol=1e-12)
    size = abs(ours[0]).max()
    np.testing.assert_allclose(ours[0], theirs(1), atol=0.03 * size)
    if spacing == "sqrt":
        assert abs(theirs(100) - ours[0]).max() > 0.2 * size


# guided


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fraction", "distance"), [(0.25, 0.02), (0.25, 0.2), (0.1, 1.0), (1.0, 0.3), (0.5, 0.0)]
)
def test_guided_ig_twin(fraction, distance):
    cube, model = small(), strong()
    f, x = worlds.function(model, cube.values)
    fast = cube.xai.guided_ig(model, n_steps=12, fraction=fraction, max_distance=distance)
    for k in range(3):
        slow = oracles_paths.guided_ig(f, x, np.zeros_like(x), k, 12, fraction, distance)
        np.testing.assert_allclose(fast.attribution[k], hide(slow, cube), atol=1e-6)


@pytest.mark.parametrize("distance", [0.02, 0.3, 1.0])
def test_guided_ig_saliency(monkeypatch, distance):
    """Its np.quantile still says interpolation=, which numpy 2.4 has dropped."""
    quantile = np.quantile
    monkeypatch.setattr(np, "quantile", lambda a, q, interpolation: quantile(a, q, method="lower"))
    cube, model = small(invalid=False), strong()
    fast = cube.xai.guided_ig(model, n_steps=20, max_distance=distance, baseline=0.05)
    for k in range(3):
        core, call = of_saliency(model, k)
        image = np.moveaxis(cube.values, 0, -1)
        theirs = core.GuidedIG().GetMask(
            image, call, x_baseline=np.full_like(image, 0.05), x_steps=20, max_dist=distance
        )
        np.testing.assert_allclose(
            np.moveaxis(fast.attribution[k].values, 0, -1), theirs, atol=1e-6
        )


@pytest.mark.parametrize("options", [{"max_distance": 0.0}, {"fraction": 1.0}])
@pytest.mark.parametrize("kind", ["patch", "map", "spectrum"])
def test_guided_ig_without_freedom_is_integrated_gradients(kind, options):
    cube, model = small(), strong(kind)
    guided = cube.xai.guided_ig(model, n_steps=9, **options)
    straight = cube.xai.integrated_gradients(model, n_steps=9, rule="riemann_left")
    for name in ("attribution", "completeness_gap", "baseline_prediction"):
        np.testing.assert_allclose(guided[name], straight[name], atol=1e-12)


def test_guided_ig_does_not_divide_by_a_way_of_no_length():
    cube = small(invalid=False, lead={"time": 2})
    base = cube.copy(deep=True)
    base[1] = 0.2
    found = cube.xai.guided_ig(net(), baseline=base, n_steps=5)
    assert (found.attribution.isel(time=0) == 0).all()
    alone = cube.isel(time=1).xai.guided_ig(net(), baseline=0.2, n_steps=5)
    xr.testing.assert_allclose(
        found.attribution.isel(time=1, drop=True), alone.attribution, rtol=1e-9
    )


def test_guided_ig_ties_move_together():
    """A plane has the same gradient everywhere: no feature goes first."""
    cube = small(invalid=False)
    plane = xrxai.Model(
        lambda x: x.sum((1, 2, 3))[:, None] ** 2, takes="patch", targets=["s"], dtype="float64"
    )
    guided = cube.xai.guided_ig(plane, n_steps=10, max_distance=1.0)
    straight = cube.xai.integrated_gradients(plane, n_steps=10, rule="riemann_left")
    np.testing.assert_allclose(guided.attribution, straight.attribution, rtol=1e-10)


# all of them


def test_linear_world():
    cube = small(invalid=False)
    w = np.random.default_rng(2).normal(size=(3, *cube.shape))
    weight = torch.as_tensor(w)
    model = xrxai.Model(
        lambda x: torch.einsum("nbyx,kbyx->nk", x, weight) + 5,
        takes="patch",
        targets=worlds.TARGETS,
        dtype="float64",
    )
    table = np.random.default_rng(5).uniform(size=(6, BANDS))
    found = cube.xai.gradient_shap(model, background=table, n_samples=18)
    way = cube.values - table[:, :, None, None]
    np.testing.assert_allclose(found.attribution, w * way.mean(0), atol=1e-10)
    # Each row is drawn three times, and the place on the way does not matter.
    error = np.sqrt(3 * ((way - way.mean(0)) ** 2).sum(0) / (18 * 17))
    np.testing.assert_allclose(found.standard_error, abs(w) * error, atol=1e-10)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-10)
    found = cube.xai.guided_ig(model, baseline=0.4, n_steps=3, max_distance=0.5)
    np.testing.assert_allclose(found.attribution, w * (cube.values - 0.4), atol=1e-10)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-10)
    known = np.ones(cube.shape, bool)
    for axes, widest, position in (("spatial", 2.0, None), ("spectral", 80.0, cube.wavelength)):
        found = cube.xai.blur_ig(model, axes=axes, max_sigma=widest, n_steps=4)
        end = oracles_paths.blur(cube.values, known, widest, position)
        np.testing.assert_allclose(found.attribution, w * (cube.values - end), atol=1e-10)
        np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-9)


def test_axes_follow_the_model():
    cube = small()
    for kind, axes in (("patch", "spatial"), ("map", "spatial"), ("spectrum", "spectral")):
        one = cube.xai.blur_ig(net(kind), n_steps=2)
        two = cube.xai.blur_ig(net(kind), n_steps=2, axes=axes)
        xr.testing.assert_identical(one, two)
    spectral = cube.xai.blur_ig(net(), n_steps=2, axes="spectral")
    assert not np.allclose(spectral.attribution.fillna(0), one.attribution.fillna(0))


def test_lazy_blur_by_bands_computes_nothing():
    cube = small(lead={"time": 2})
    with no_compute():
        lazy = cube.chunk(time=1, band=2).xai.blur_ig(net(), axes="spectral", n_steps=3)
    with dask.config.set(scheduler="synchronous"):
        eager = cube.xai.blur_ig(net(), axes="spectral", n_steps=3)
        xr.testing.assert_allclose(lazy.attribution.compute(), eager.attribution)


# wrong calls


def never(x):
    raise AssertionError("the model ran")


def patch(**options):
    return xrxai.Model(never, **{"takes": "patch", "targets": ["K", "pH"], **options})


def spectrum():
    return patch(takes="spectrum")


def shap(background, **options):
    return xrxai.gradient_shap(small(), patch(), background=background, **options)


WRONG = {
    "n_steps_and_tolerance": (
        lambda: xrxai.integrated_gradients(small(), patch(), n_steps=20, tolerance=0.01),
        OptionError,
        "n_steps=20 and tolerance=0.01 came together, and tolerance= chooses the steps by "
        "itself; leave out one of them.",
    ),
    "rule_and_tolerance": (
        lambda: xrxai.integrated_gradients(small(), patch(), rule="riemann_left", tolerance=0.01),
        OptionError,
        "rule='riemann_left' and tolerance=0.01 came together, and tolerance= chooses the "
        "steps by itself; leave out one of them.",
    ),
    "tolerance_zero": (
        lambda: xrxai.integrated_gradients(small(), patch(), tolerance=0),
        OptionError,
        "tolerance=0 is not a positive number; type for example tolerance=0.01.",
    ),
    "max_steps": (
        lambda: xrxai.integrated_gradients(small(), patch(), tolerance=0.1, max_steps=2),
        OptionError,
        "max_steps=2 is too small; type max_steps=3 or more.",
    ),
    "n_samples": (
        lambda: shap(TABLE, n_samples=1),
        OptionError,
        "n_samples=1 is too small; type n_samples=2 or more.",
    ),
    "seed": (
        lambda: shap(TABLE, seed=-1),
        OptionError,
        "seed=-1 is too small; type seed=0 or more.",
    ),
    "background_words": (
        lambda: shap("mean"),
        BaselineError,
        "The background has dtype <U4, and real numbers are needed; type background= with "
        "spectra (row, band), such as those the model was trained on.",
    ),
    "background_one": (
        lambda: shap(TABLE[0]),
        BaselineError,
        "The background has shape (4,); give rows of spectra, (row, 4) or (row, 4, 3, 3).",
    ),
    "background_shape": (
        lambda: xrxai.gradient_shap(small(), spectrum(), background=TABLE.T),
        BaselineError,
        "The background has shape (4, 5); give rows of spectra, (row, 4).",
    ),
    "background_dims": (
        lambda: shap(xr.DataArray(TABLE[:, :, None], dims=("row", "band", "y"))),
        BaselineError,
        "The background has dims {'row': 5, 'band': 4, 'y': 1}; give one dim of rows beside "
        "{'band': 4, 'y': 3, 'x': 3}, of which the bands must be there: spectra (row, band), "
        "for example cube.stack(row=[...]).dropna('row').",
    ),
    "background_no_rows": (
        lambda: xrxai.gradient_shap(
            small(), spectrum(), background=xr.DataArray(TABLE[0], dims="band")
        ),
        BaselineError,
        "The background has dims {'band': 4}; give one dim of rows beside {'band': 4}, of which "
        "the bands must be there: spectra (row, band), for example "
        "cube.stack(row=[...]).dropna('row').",
    ),
    "background_other_bands": (
        lambda: shap(xr.DataArray(TABLE, dims=("row", "band"), coords={"band": list("abcd")})),
        BaselineError,
        "The background and the cube differ in the values of 'band'; type "
        "background.drop_vars('band') if they mean the same.",
    ),
    "background_lazy": (
        lambda: shap(xr.DataArray(TABLE, dims=("row", "band")).chunk()),
        BaselineError,
        "The background is lazy (dask), and every block needs the whole of it; type "
        "background.compute().",
    ),
    "background_gaps": (
        lambda: shap(np.where(TABLE > 0.8, np.nan, TABLE)),
        BaselineError,
        "The background is empty or not finite; leave out rows with gaps: type "
        "background.dropna('row'), or fill them.",
    ),
    "background_empty": (
        lambda: shap(TABLE[:0]),
        BaselineError,
        "The background is empty or not finite; leave out rows with gaps: type "
        "background.dropna('row'), or fill them.",
    ),
    "blur_steps": (
        lambda: xrxai.blur_ig(small(), patch(), n_steps=0),
        OptionError,
        "n_steps=0 is too small; type n_steps=1 or more.",
    ),
    "blur_spacing": (
        lambda: xrxai.blur_ig(small(), patch(), spacing="cubic"),
        OptionError,
        "spacing='cubic' is not known; choose one of 'log', 'linear', 'sqrt'.",
    ),
    "blur_axes": (
        lambda: xrxai.blur_ig(small(), patch(), axes="time"),
        OptionError,
        "axes='time' is not known; choose one of 'spatial', 'spectral'.",
    ),
    "blur_sigma": (
        lambda: xrxai.blur_ig(small(), patch(), max_sigma=0),
        OptionError,
        "max_sigma=0 is not a positive number; type for example max_sigma=3.",
    ),
    "blur_pixels_alone": (
        lambda: xrxai.blur_ig(small(), spectrum(), axes="spatial"),
        ModelError,
        "axes='spatial' blurs over rows and columns, but the model takes='spectrum' sees one "
        "pixel at a time; type axes='spectral'.",
    ),
    "blur_no_wavelength": (
        lambda: xrxai.blur_ig(small().drop_vars("wavelength"), spectrum()),
        BandError,
        "The cube has no wavelengths along 'band' (4 bands), and they are needed here; type "
        "cube = xrxai.to_cube(cube, wavelength=[...]) with nanometres in band order.",
    ),
    "blur_one_band": (
        lambda: xrxai.blur_ig(small().isel(band=[0]), patch(), axes="spectral"),
        BandError,
        "axes='spectral' blurs over the bands, and the cube has only one good wavelength; type "
        "axes='spatial', or use integrated_gradients.",
    ),
    "guided_steps": (
        lambda: xrxai.guided_ig(small(), patch(), n_steps=2.5),
        OptionError,
        "n_steps=2.5 is not a whole number; type n_steps=1 or more.",
    ),
    "guided_fraction": (
        lambda: xrxai.guided_ig(small(), patch(), fraction=0),
        OptionError,
        "fraction=0 is no share above 0, up to 1; type fraction=0.25.",
    ),
    "guided_distance": (
        lambda: xrxai.guided_ig(small(), patch(), max_distance=1.5),
        OptionError,
        "max_distance=1.5 is no share from 0 to 1; type max_distance=0.02.",
    ),
    "guided_distance_word": (
        lambda: xrxai.guided_ig(small(), patch(), max_distance="far"),
        OptionError,
        "max_distance='far' is no share from 0 to 1; type max_distance=0.02.",
    ),
    "guided_baseline": (
        lambda: xrxai.guided_ig(small(), patch(), baseline="black"),
        BaselineError,
        "baseline='black' is not known; type 'mean', 'median', a percentile such as 'p05', 'blur', "
        "a number or an array.",
    ),
    "not_differentiable": (
        lambda: xrxai.guided_ig(small(), patch(arrays="numpy")),
        ModelError,
        "The method guided_ig needs gradients, which never (arrays='numpy') cannot give; use "
        "lime_spectral or occlusion_spectral.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused_before_the_model_runs(name):
    call, error, message = WRONG[name]
    with raises_exactly(error, message):
        call()
    assert re.search(r"[.]$", message)
