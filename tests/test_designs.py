"""Designs of on/off patterns, and rounds of them until a precision is reached."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import oracles, worlds
from tests.test_bad_input import cube as plain
from tests.test_bad_input import patch as never
from xrxai import designs, rounds


def steep(bands=10):
    """A net that is far from additive in its bands."""
    net = worlds.SpectrumNet(bands, seed=11).double()
    net.first.weight.data *= 3
    return xrxai.Model(net, takes="spectrum", targets=worlds.TARGETS)


def lines(bands=10, n=3):
    """A few spectra."""
    return worlds.cube(bands=bands, y=1, x=n, invalid=False).isel(y=0).drop_vars("y")


def test_hadamard_matrices_are_orthogonal():
    made = [n for n in range(1, 120) if designs.hadamard(n) is not None]
    for n in made:
        square = designs.hadamard(n).astype(int)
        assert set(np.unique(square)) <= {-1, 1}
        np.testing.assert_array_equal(square @ square.T, n * np.eye(n, dtype=int))
    # Those of 52, 92, 100 and 116 need other constructions.
    assert made == [1, 2, *(n for n in range(4, 120, 4) if n not in (52, 92, 100, 116))]


@pytest.mark.parametrize("design", ["paired", "balanced"])
@pytest.mark.parametrize(("n", "n_groups"), [(16, 5), (48, 8), (100, 8), (62, 30), (40, 25)])
def test_pairs(design, n, n_groups):
    (found,) = designs.draw(design, [n], n_groups, 0)
    assert found.paired
    np.testing.assert_array_equal(found.on[::2], ~found.on[1::2])
    assert (found.on.mean(0) == 0.5).all()
    assert len(np.unique(found.on, axis=0)) == n, "no pattern twice"
    assert found.left == (1 - n / 2**n_groups if n_groups <= 20 else 1)
    (other,) = designs.draw(design, [n], n_groups, 1)
    assert (other.on != found.on).any()


@pytest.mark.parametrize(("n", "n_groups"), [(48, 12), (88, 40), (120, 23)])
def test_two_groups_are_on_together_in_a_quarter(n, n_groups):
    (found,) = designs.draw("balanced", [n], n_groups, 3)
    together = found.on.T.astype(int) @ found.on
    np.testing.assert_array_equal(together, n // 4 * (1 + np.eye(n_groups, dtype=int)))


def test_sizes_without_a_matrix_are_nearly_balanced():
    for n in (50, 180, 2500):
        (found,) = designs.draw("balanced", [n], 40 if n > 50 else 10, 3)
        (coins,) = designs.draw("paired", [n], found.on.shape[1], 3)
        off = [
            (on.T.astype(int) @ on)[np.triu_indices(on.shape[1], 1)] - n / 4
            for on in (found.on, coins.on)
        ]
        assert off[0].std() < 0.45 * off[1].std()


@pytest.mark.parametrize("design", ["random", "paired", "balanced"])
def test_rounds_begin_with_the_one_before(design):
    few, more = designs.draw(design, [32, 48], 9, 0)
    np.testing.assert_array_equal(more.on[:32], few.on)
    assert len(np.unique(more.on, axis=0)) == 48 or design == "random"


def test_signs_are_fair():
    """Over seeds a group is on in any place of the design: estimates are not biased by order."""
    mean = np.mean([designs.draw("balanced", [24], 6, seed)[0].on for seed in range(400)], axis=0)
    assert abs(mean - 0.5).max() < 5 * 0.5 / 20


@pytest.mark.parametrize("surrogate", ["ridge", "lasso"])
@pytest.mark.parametrize("design", ["paired", "balanced"])
def test_every_pattern_is_asked_where_these_are_no_more(design, surrogate):
    cube, model = lines(), steep()
    options = {"bands": 100.0, "design": design, "surrogate": surrogate, "alpha": 0.001}
    found = cube.xai.lime_spectral(model, n_samples=70, **options)
    assert found.sizes["group"] == 6
    assert (found.model_evaluations == 64 + 2).all()
    assert '"exact": true' in found.attrs["options"]
    assert '"n_samples": 64' in found.attrs["options"]
    assert (found.standard_error == 0).all()
    xr.testing.assert_equal(found.ci_low.drop_attrs(), found.attribution.drop_attrs())
    other = cube.xai.lime_spectral(model, n_samples=64, seed=5, **options)
    np.testing.assert_allclose(other.attribution, found.attribution, rtol=1e-12)
    if surrogate == "lasso":
        return
    f, x = worlds.function(model, cube.values[:, 1])
    every = oracles.all_patterns(6)
    scores = oracles.lime_scores(f, x, np.zeros_like(x), found.group_of_band.values, every)
    weights = np.array([oracles.lime_weight(row, 0.25) for row in every])
    for k in range(3):
        _, slope = oracles.weighted_ridge(every, weights, scores[:, k], 0.001)
        np.testing.assert_allclose(found.attribution.isel(target=k, x=1), slope, rtol=1e-8)


def test_pairs_make_an_even_number():
    found = lines().xai.lime_spectral(steep(), bands=100.0, n_samples=31)
    assert (found.model_evaluations == 32 + 2).all()
    (coins,) = designs.draw("random", [31], found.sizes["group"], 0)
    different = len(np.unique(coins.on, axis=0))
    assert different < 31
    found = lines().xai.lime_spectral(steep(), bands=100.0, n_samples=31, design="random")
    assert (found.model_evaluations == different + 2).all()


def test_what_cannot_be_held_out_is_not_told():
    """Fewer pairs than groups: without one of them the fit knows nothing of it."""
    cube = worlds.cube(bands=20, y=2, x=2, invalid=False)
    model = worlds.model(bands=20)
    with pytest.warns(UserWarning, match="30 samples for 20 groups"):
        found = cube.xai.lime_spectral(
            model, bands=list(cube.wavelength.values), n_samples=30, alpha=0
        )
    assert np.isnan(found.fidelity_heldout).all()
    assert np.isnan(found.standard_error).all()


def test_lasso_draws_and_leaves_out_pairs():
    cube, model = lines(), steep()
    options = {"bands": 50.0, "surrogate": "lasso", "n_samples": 60}
    found = cube.xai.lime_spectral(model, design="balanced", **options)
    coins = cube.xai.lime_spectral(model, design="random", **options)
    assert (found.ci_low <= found.attribution + 1e-12).all()
    assert found.standard_error.mean() < coins.standard_error.mean()
    assert (found.fidelity_heldout < found.fidelity).all()


# rounds


def test_sizes_grow_by_half():
    found = rounds.settle("auto", None, 200, least=3, first=32)
    assert found.sizes == [32, 48, 72, 108, 162, 200]
    assert found.tolerance == 0.05
    assert rounds.settle("auto", 0.1, 10, least=3, first=32).sizes == [10]
    assert rounds.settle(7, None, None, least=3, first=32) == ([7], None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"design": "sobol"},
            "design='sobol' is not known; choose one of 'random', 'paired', 'balanced'.",
        ),
        (
            {"n_samples": "all"},
            "n_samples='all' is neither a number nor 'auto'; type n_samples=32 or "
            "n_samples='auto'.",
        ),
        (
            {"n_samples": 50, "tolerance": 0.1},
            "tolerance=0.1 and n_samples=50 came together, and tolerance= is for as many samples "
            "as are needed; type n_samples='auto', or leave out tolerance=.",
        ),
        (
            {"n_samples": 50, "max_samples": 100},
            "max_samples=100 and n_samples=50 came together, and max_samples= is for as many "
            "samples as are needed; type n_samples='auto', or leave out max_samples=.",
        ),
        (
            {"n_samples": "auto", "tolerance": 0},
            "tolerance=0 is not a positive number; type for example tolerance=0.05.",
        ),
        (
            {"n_samples": "auto", "max_samples": 2},
            "max_samples=2 is too small; type max_samples=3 or more.",
        ),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(xrxai.XrxaiError) as error:
        xrxai.lime_spectral(plain(), never(), bands=50.0, **options)
    assert str(error.value) == message


def test_each_sample_stops_at_its_own_precision():
    cube, model = lines(n=6), steep()
    options = {"bands": 50.0, "n_samples": "auto"}
    found = cube.xai.lime_spectral(model, tolerance=0.02, max_samples=700, **options)
    assert found.converged.dtype == bool
    assert found.converged.all()
    used = found.n_samples_used
    assert used.min() >= 32
    assert used.max() > used.min(), "they stop apart"
    np.testing.assert_array_equal(found.model_evaluations, used + 2)
    typical = found.standard_error.median("group")
    largest = abs(found.attribution).max("group")
    assert (typical <= 0.02 * largest).all()
    for one in (0, int(used.argmax("x"))):
        alone = cube.isel(x=[one]).xai.lime_spectral(
            model, tolerance=0.02, max_samples=700, **options
        )
        np.testing.assert_array_equal(alone.n_samples_used, used[[one]])
        np.testing.assert_allclose(alone.attribution, found.attribution.isel(x=[one]), rtol=1e-9)
    less = cube.xai.lime_spectral(model, tolerance=0.2, max_samples=700, **options)
    assert less.n_samples_used.sum() < used.sum()
    # What stops at n is the fit to the first n patterns.
    n = int(used.max())
    asked = rounds.settle("auto", 0.02, 700, least=3, first=designs.first(10))
    sizes = [s for s in asked.sizes if s <= n]
    on = designs.draw("balanced", sizes, 10, 0)[-1].on.astype(float)
    f, x = worlds.function(model, cube.values[:, int(used.argmax("x"))])
    scores = oracles.lime_scores(f, x, np.zeros_like(x), found.group_of_band.values, on)
    weights = np.array([oracles.lime_weight(row, 0.25) for row in on])
    _, slope = oracles.weighted_ridge(on, weights, scores[:, 0], 1e-6)
    np.testing.assert_allclose(
        found.attribution.isel(target=0, x=int(used.argmax("x"))), slope, rtol=1e-7
    )


def test_what_is_missed_is_told():
    cube, model = lines(), steep()
    options = {"bands": 50.0, "n_samples": "auto", "tolerance": 0.001, "max_samples": 60}
    with pytest.warns(
        UserWarning,
        match=r"3 of 3 explained samples miss tolerance=0.001 after 60 draws; standard_error says "
        r"how far they are off. Raise max_samples= or tolerance=, or ask for fewer groups.",
    ):
        found = cube.xai.lime_spectral(model, **options)
    assert not found.converged.any()
    assert (found.n_samples_used == 60).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lazy = cube.chunk(x=1).xai.lime_spectral(model, **options)
    xr.testing.assert_allclose(lazy.compute()[list(found)], found, rtol=1e-6)
    assert cube.xai.plan(model, "lime_spectral", options=options).evaluations is None


def test_all_patterns_are_precise_enough():
    options = {"bands": 100.0, "n_samples": "auto", "tolerance": 1e-9}
    found = lines().xai.lime_spectral(steep(), **options)
    assert (found.n_samples_used == 64).all()
    assert found.converged.all()


def test_a_constant_is_known_at_once():
    model = xrxai.Model(lambda x: 0 * x[:, :1] + 0.3, takes="spectrum", targets=["K"])
    found = lines().xai.lime_spectral(model, bands=50.0, n_samples="auto")
    assert found.converged.all()
    assert (found.n_samples_used == 48).all()


def test_samples_without_data_are_not_asked():
    cube = worlds.cube(y=3, x=3)
    found = cube.xai.lime_spectral(steep(), bands=100.0, n_samples="auto", tolerance=0.3)
    gone = np.isnan(cube.values[0])
    assert (found.n_samples_used.values[gone] == 0).all()
    assert not found.converged.values[gone].any()
    assert found.converged.values[~gone].all()


@pytest.mark.slow
@pytest.mark.parametrize("design", ["random", "paired", "balanced"])
def test_stopping_keeps_intervals_nearly_honest(design):
    """Optional stopping costs a little: 300 seeds, all 2**8 patterns known."""
    cube = worlds.cube(bands=8, y=1, x=1, seed=4, invalid=False).isel(y=0)
    model = steep(8)
    bands = list(cube.wavelength.values)
    truth = cube.xai.lime_spectral(model, bands=bands, n_samples=256).attribution
    covered = []
    for seed in range(300):
        found = cube.xai.lime_spectral(
            model, bands=bands, design=design, seed=seed, n_samples="auto", progress=False
        )
        covered.append(((found.ci_low <= truth) & (truth <= found.ci_high)).mean())
    print(f"{design}: coverage {np.mean(covered):.3f}")
    assert 0.9 < np.mean(covered) < 0.99


def test_batches_and_blocks_of_samples_do_not_matter(monkeypatch):
    from xrxai.tensors import until

    cube, model = lines(n=5), steep()
    options = {"bands": 50.0, "n_samples": "auto", "tolerance": 0.1, "max_samples": 400}
    whole = cube.xai.lime_spectral(model, **options)
    monkeypatch.setattr(until, "_VALUES", 1)
    few = cube.xai.lime_spectral(model, batch_size=3, **options)
    xr.testing.assert_allclose(few, whole, rtol=1e-9)


def test_conditional_removal_takes_rounds_too():
    cube = worlds.cube(bands=10, y=4, x=4, invalid=False)
    options = {"bands": 50.0, "removal": "conditional", "n_samples": "auto", "tolerance": 0.1}
    found = cube.xai.lime_spectral(steep(), **options)
    assert found.converged.all()
    fixed = {**options, "n_samples": int(found.n_samples_used.min()), "tolerance": None}
    one = found.n_samples_used == found.n_samples_used.min()
    assert torch.isfinite(torch.as_tensor(found.off_manifold.values)).all()
    same = cube.xai.lime_spectral(steep(), **fixed)
    np.testing.assert_allclose(same.prediction.where(one), found.prediction.where(one))
