"""Kernel SHAP and Owen values: against all orders, captum and shap; exact where they say so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import oracles_coalitions as oracles
from tests import worlds
from tests.conftest import skip_or_fail
from tests.test_bad_input import cube as plain
from tests.test_bad_input import patch as patches
from tests.test_bad_input import spectrum
from xrxai import patterns
from xrxai.errors import BandError, ModelError, OptionError, SegmentError

TREE = [[(440, 510), (540, 610)], [(640, 660), [(690, 760), (790, 810)]], (840, 910)]
LEAVES = [[0, 1], [2, [3, 4]], 5]


@pytest.fixture(scope="module")
def patch():
    return worlds.cube(y=4, x=5), worlds.model("patch")


def steep(bands=10):
    """A net that is far from additive in its bands."""
    net = worlds.SpectrumNet(bands, seed=11).double()
    net.first.weight.data *= 3
    return net


def game(model, values, part, b=0.0):
    f, x = worlds.function(model, values)
    known = np.isfinite(values)
    return oracles.game(f, x, np.where(known, b, 0.0), np.broadcast_to(part, x.shape))


def the_shap_package():
    with warnings.catch_warnings():
        # shap 0.51 prepares its colour maps in the way that matplotlib 3.11 discourages.
        warnings.filterwarnings(
            "ignore", "The set_(bad|over|under) function will be", PendingDeprecationWarning
        )
        try:
            import shap
        except ImportError as error:
            skip_or_fail(f"shap cannot be imported: {error}")
    return shap


@pytest.mark.slow
@pytest.mark.parametrize("b", [0.0, 0.3])
def test_exact_shapley_values_of_bands(patch, b):
    cube, model = patch
    found = cube.xai.kernel_shap_spectral(model, bands=100.0, baseline=b)
    n = found.sizes["group"]
    value = game(model, cube.values, found.group_of_band.values[:, None, None], b)
    assert n == 6
    np.testing.assert_allclose(found.attribution, oracles.shapley(value, n), atol=1e-12)
    np.testing.assert_allclose(found.attribution, oracles.shapley_by_subsets(value, n), atol=1e-12)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-14)
    np.testing.assert_allclose(found.baseline_prediction, value([]), rtol=1e-12)
    np.testing.assert_allclose(found.prediction, value(range(n)), rtol=1e-12)
    assert (found.standard_error == 0).all()
    xr.testing.assert_equal(found.ci_low.drop_attrs(), found.attribution.drop_attrs())
    assert found.model_evaluations == 2**n


@pytest.mark.slow
def test_exact_shapley_values_of_segments_and_of_eight_players(patch):
    cube, model = patch
    found = cube.xai.kernel_shap_spatial(model, segments="patch", patch=2, n_samples=64)
    n = found.sizes["segment"]
    value = game(model, cube.values, found.segment_of_pixel.values)
    np.testing.assert_allclose(found.attribution, oracles.shapley(value, n), atol=1e-12)
    net = xrxai.Model(steep(8), takes="spectrum", targets=worlds.TARGETS)
    pixel = worlds.cube(bands=8, y=1, x=1, invalid=False)
    found = pixel.xai.kernel_shap_spectral(net, bands=list(pixel.wavelength.values))
    value = game(net, pixel.values[:, 0, 0], np.arange(1, 9))
    slow = oracles.shapley_by_subsets(value, 8)
    np.testing.assert_allclose(found.attribution[:, 0, 0], slow, atol=1e-12)


@pytest.mark.parametrize("n_groups", [1, 2, 3])
def test_few_players(n_groups):
    cube = worlds.cube(bands=n_groups, y=2, x=2, invalid=False)
    model = xrxai.Model(steep(n_groups), takes="spectrum", targets=worlds.TARGETS)
    found = cube.xai.kernel_shap_spectral(model, bands=list(cube.wavelength.values))
    value = game(model, cube.values[:, 1, 0], np.arange(1, n_groups + 1))
    slow = oracles.shapley(value, n_groups)
    np.testing.assert_allclose(found.attribution[:, 1, 0], slow, atol=1e-12)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-14)


def test_drawn_coalitions_equal_the_normal_equations(patch):
    cube, model = patch
    found = cube.xai.kernel_shap_spectral(model, n_samples=50, seed=3, baseline=0.1)
    n = found.sizes["group"]
    assert n == 10
    half = [list(np.flatnonzero(row)) for row in patterns.drawn_pairs(25, n, 3)]
    rest = [[p for p in range(n) if p not in some] for some in half]
    value = game(model, cube.values, found.group_of_band.values[:, None, None], 0.1)
    slow = oracles.constrained(value, n, half + rest)
    np.testing.assert_allclose(found.attribution, slow, atol=1e-11)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-14)
    error = oracles.pair_errors(value, n, half)
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-6)
    assert (found.ci_low < found.attribution).all()
    assert (found.attribution < found.ci_high).all()
    assert found.model_evaluations == len({tuple(some) for some in half + rest}) + 2


@pytest.mark.slow
def test_drawn_values_tend_to_the_exact_ones_and_know_how_far_they_are():
    cube = worlds.cube(y=1, x=1, invalid=False)
    model = xrxai.Model(steep(), takes="spectrum", targets=worlds.TARGETS)
    exact = cube.xai.kernel_shap_spectral(model)
    assert exact.model_evaluations.item() == 1024
    covered, far = [], {80: [], 320: []}
    for seed in range(60):
        n_samples = 320 if seed % 4 == 0 else 80
        found = cube.xai.kernel_shap_spectral(model, n_samples=n_samples, seed=seed)
        covered.append((found.ci_low <= exact.attribution) & (exact.attribution <= found.ci_high))
        far[n_samples].append(((found.attribution - exact.attribution) ** 2).values)
    share = np.mean(covered)
    print(f"coverage {share:.4f}")
    assert 0.92 <= share <= 0.98
    # Four times the samples, half the distance: a quarter of its square, give or take.
    ratio = np.mean(far[80], axis=0).sum((1, 2, 3)) / np.mean(far[320], axis=0).sum((1, 2, 3))
    assert (ratio > 2.5).all()
    assert (ratio < 8).all()


def test_the_shapley_kernel_is_that_of_the_paper():
    half, weight = patterns.coalition_pairs(5)
    assert len(half) == 15
    seen = {tuple(row) for row in np.vstack([half, ~half])}
    assert len(seen) == 30, "with their complements, all but none and all"
    for row, w in zip(half, weight, strict=True):
        k = row.sum()
        assert w == pytest.approx(4 / ([0, 5, 10, 10, 5][k] * k * (5 - k)))
    drawn = patterns.drawn_pairs(40_000, 5, 0)
    share = np.bincount(drawn.sum(1), minlength=6)[1:5] / len(drawn)
    true = np.array([1 / (k * (5 - k)) for k in range(1, 5)])
    np.testing.assert_allclose(share, true / true.sum(), atol=0.01)
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.01)


@pytest.mark.slow
def test_captum(patch):
    attr = pytest.importorskip("captum.attr")
    cube, model = patch
    found = cube.xai.kernel_shap_spectral(model, bands=100.0)
    x = torch.as_tensor(np.nan_to_num(cube.values))[None]
    ids = torch.as_tensor(found.group_of_band.values)[None, :, None, None] - 1
    first = [int(np.flatnonzero(found.group_of_band.values == g)[0]) for g in range(1, 7)]
    torch.manual_seed(0)
    for k in range(2):
        theirs = attr.ShapleyValues(model.forward).attribute(x, feature_mask=ids, target=k)
        # Theirs is the whole share of a group on each of its values, in float32.
        np.testing.assert_allclose(
            found.attribution[k], theirs[0, first, 1, 1].numpy(), rtol=1e-4, atol=1e-7
        )
        drawn = attr.ShapleyValueSampling(model.forward).attribute(
            x, feature_mask=ids, target=k, n_samples=60
        )
        size = abs(found.attribution[k]).max()
        np.testing.assert_allclose(
            found.attribution[k], drawn[0, first, 1, 1].numpy(), atol=0.1 * size
        )
        # Theirs draws no pairs and weights both ends by 1e6.
        drawn = attr.KernelShap(model.forward).attribute(
            x, feature_mask=ids, target=k, n_samples=600
        )
        np.testing.assert_allclose(
            found.attribution[k], drawn[0, first, 1, 1].numpy(), atol=0.15 * size
        )


def test_shap_kernel_explainer():
    shap = the_shap_package()
    cube = worlds.cube(y=1, x=2, invalid=False)
    model = xrxai.Model(steep(), takes="spectrum", targets=worlds.TARGETS)
    found = cube.xai.kernel_shap_spectral(model, baseline=0.2)
    f, _ = worlds.function(model, cube.values)

    def rows(x):
        return np.array([f(row) for row in x])

    theirs = shap.KernelExplainer(rows, np.full((1, 10), 0.2)).shap_values(
        cube.values[:, 0].T, nsamples=2**10, l1_reg=0, silent=True
    )
    np.testing.assert_allclose(
        found.attribution[:, 0].transpose("x", "group", "target"), theirs, atol=1e-8
    )


@pytest.fixture(scope="module")
def table():
    """Spectra, two things to know about each, and a cube of some of them."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 0.9, (120, 6))
    y = np.column_stack([x[:, 0] * x[:, 3] + x[:, 1], np.sin(5 * x[:, 4]) - x[:, 5]])
    cube = xr.DataArray(
        x[:5],
        dims=("sample", "band"),
        coords={"wavelength": ("band", 450.0 + 60 * np.arange(6), {"units": "nm"})},
    )
    return x, y, cube


TABULAR = {
    "ablation_spectral": {"bands": 60.0},
    "permutation_spectral": {"bands": 60.0},
    "kernel_shap_spectral": {"bands": 60.0},
    "owen_spectral": {},
}


@pytest.mark.parametrize("name", TABULAR)
def test_a_forest_and_a_line(table, name):
    ensemble = pytest.importorskip("sklearn.ensemble")
    linear = pytest.importorskip("sklearn.linear_model")
    x, y, cube = table
    forest = ensemble.RandomForestRegressor(8, max_depth=4, random_state=0).fit(x, y)
    line = linear.LinearRegression().fit(x, y)
    spectral = getattr(cube.xai, name)
    option = {} if name == "permutation_spectral" else {"baseline": x.mean(0)}
    found = spectral(xrxai.Model(forest, targets=["a", "b"]), **option, **TABULAR[name])
    assert found.attribution.dims == ("target", "sample", "group")
    np.testing.assert_allclose(found.prediction, forest.predict(x[:5]).T)
    assert np.isfinite(found.attribution).all()
    if "completeness_gap" in found:
        np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-12)
    if name == "permutation_spectral":
        return
    found = spectral(xrxai.Model(line, targets=["a", "b"]), **option, **TABULAR[name])
    true = np.einsum("tb,sb->tsb", line.coef_, x[:5] - x.mean(0))
    np.testing.assert_allclose(found.attribution, true, atol=1e-12)


def test_spatial_methods_refuse_a_table(table):
    linear = pytest.importorskip("sklearn.linear_model")
    x, y, cube = table
    line = xrxai.Model(linear.LinearRegression().fit(x, y), targets=["a", "b"])
    for name, instead in (
        ("ablation_spatial", "ablation_spectral"),
        ("kernel_shap_spatial", "kernel_shap_spectral"),
        ("rise", "occlusion_spectral"),
        ("occlusion", "occlusion_spectral"),
    ):
        with pytest.raises(ModelError) as caught:
            getattr(cube.xai, name)(line)
        assert str(caught.value) == (
            f"The method {name} switches regions, but the model takes='spectrum' sees one pixel "
            f"at a time; its answer for a pixel cannot depend on others. Use {instead}."
        )


def test_shap_tree_explainer(table):
    shap = the_shap_package()
    trees = pytest.importorskip("sklearn.tree")
    x, y, cube = table
    tree = trees.DecisionTreeRegressor(max_depth=4, random_state=0).fit(x, y[:, 0])
    background = x[50:54]
    explainer = shap.TreeExplainer(tree, background, feature_perturbation="interventional")
    theirs = explainer(x[:5], check_additivity=False)
    model = xrxai.Model(tree, targets=["a"])
    # Interventional values over a background are the mean over its samples as baselines.
    ours = [
        cube.xai.kernel_shap_spectral(model, bands=60.0, baseline=b).attribution[0]
        for b in background
    ]
    np.testing.assert_allclose(np.mean(ours, axis=0), theirs.values, atol=1e-6)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_segment_that_a_sample_has_not_takes_no_share(drawn):
    cube = worlds.cube(lead={"time": 2}, invalid=False)
    cube[1, :, :3] = np.nan
    ids = np.arange(42).reshape(6, 7) // 7 + 1
    model = worlds.model("patch")
    option = {"n_samples": 30} if drawn else {}
    lazy = cube.chunk(time=1).xai.kernel_shap_spatial(model, segments=ids, **option).compute()
    assert np.isfinite(lazy.attribution[:, 0]).all()
    assert np.isnan(lazy.attribution[:, 1, :3]).all()
    assert np.isfinite(lazy.attribution[:, 1, 3:]).all()
    np.testing.assert_allclose(lazy.completeness_gap, 0, atol=1e-14)
    if not drawn:
        alone = cube[1].xai.kernel_shap_spatial(model, segments=ids)
        np.testing.assert_allclose(alone.attribution, lazy.attribution[:, 1, 3:], atol=1e-12)


@pytest.mark.parametrize("b", [0.0, 0.4, "mean"])
def test_linear_world(b):
    cube = worlds.cube(invalid=False)
    w = np.random.default_rng(2).normal(size=(3, 10, 6, 7))
    weight = torch.as_tensor(w)
    model = xrxai.Model(
        lambda x: torch.einsum("nbyx,kbyx->nk", x, weight) + 5,
        takes="patch",
        targets=worlds.TARGETS,
        dtype="float64",
    )
    base = cube.xai.baseline(b)
    true = w * (cube - base.broadcast_like(cube)).transpose("band", "y", "x").values
    for options in ({"bands": 100.0}, {"n_samples": 60}):
        found = cube.xai.kernel_shap_spectral(model, baseline=b, **options)
        ids = found.group_of_band.values
        sums = [true[:, ids == g + 1].sum((1, 2, 3)) for g in range(found.sizes["group"])]
        np.testing.assert_allclose(found.attribution, np.transpose(sums), atol=1e-9)
        np.testing.assert_allclose(found.standard_error, 0, atol=1e-9)
    for budget in (4, 30, 500):
        found = cube.xai.owen_spectral(model, baseline=b, max_evaluations=budget)
        ids = found.group_of_band.values
        sums = [true[:, ids == g + 1].sum((1, 2, 3)) for g in range(found.sizes["group"])]
        np.testing.assert_allclose(found.attribution, np.transpose(sums), atol=1e-9)


# ---------------------------------------------------------------------------------- Owen values


def test_owen_values_by_all_orders():
    cube = worlds.cube(y=1, x=1, invalid=False)
    model = xrxai.Model(steep(), takes="spectrum", targets=worlds.TARGETS)
    found = cube.xai.owen_spectral(model, hierarchy=TREE, baseline=0.1)
    value = game(model, cube.values[:, 0, 0], found.group_of_band.values, 0.1)
    slow = oracles.owen(value, LEAVES, 6)
    np.testing.assert_allclose(found.attribution[:, 0, 0], slow, atol=1e-12)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-14)
    # 2 ends, 3 unions at the top, two pairs in 4 contexts each, one more in 8.
    assert found.model_evaluations.item() == 2 + 6 + 2 * 4 * 2 + 8 * 2
    np.testing.assert_array_equal(found.union_parent, [0, 1, 1, 3])
    np.testing.assert_array_equal(found.group_union, [2, 2, 3, 4, 4, 1])
    np.testing.assert_array_equal(found.union_size, [10, 4, 4, 3])
    assert list(found.union.values) == ["450-900 nm", "450-600 nm", "650-800 nm", "700-800 nm"]


@pytest.mark.parametrize("tree", [[0, 1, 2, 3, 4], [[0, 1], [2, 3, 4]], [[[0, 1], 2], [3, 4]]])
def test_flat_and_two_and_three_levels(tree):
    cube = worlds.cube(bands=5, y=1, x=1, invalid=False)
    model = xrxai.Model(steep(5), takes="spectrum", targets=worlds.TARGETS)

    def named(one):
        return [named(o) for o in one] if isinstance(one, list) else f"b{one:02d}"

    found = cube.xai.owen_spectral(model, hierarchy=named(tree))
    value = game(model, cube.values[:, 0, 0], np.arange(1, 6))
    np.testing.assert_allclose(found.attribution[:, 0, 0], oracles.owen(value, tree, 5), atol=1e-12)
    if tree == [0, 1, 2, 3, 4]:
        shapley = cube.xai.kernel_shap_spectral(model, bands=list(cube.wavelength.values))
        np.testing.assert_allclose(found.attribution, shapley.attribution, atol=1e-12)


def test_the_share_of_a_union_does_not_depend_on_the_depth():
    cube, model = worlds.cube(bands=16), worlds.model("spectrum", bands=16)
    full = cube.xai.owen_spectral(model, max_evaluations=5000)
    assert full.sizes["group"] == 16
    for budget in (4, 8, 40, 200):
        found = cube.xai.owen_spectral(model, max_evaluations=budget)
        assert found.model_evaluations.max() <= budget
        assert found.sizes["group"] == found.sizes["union"] + 1
        for g in range(found.sizes["group"]):
            inside = full.group_of_band.values[found.group_of_band.values == g + 1] - 1
            np.testing.assert_allclose(
                found.attribution.isel(group=g),
                full.attribution.isel(group=inside).sum("group", skipna=False),
                atol=1e-12,
            )
        np.testing.assert_allclose(
            found.union_attribution,
            full.union_attribution.sel(union=found.union),
            atol=1e-12,
        )
        # A union is the sum of what is right below it.
        for u in range(found.sizes["union"]):
            below = found.attribution.isel(group=(found.group_union == u + 1).values).sum(
                "group", skipna=False
            ) + found.union_attribution.isel(union=(found.union_parent == u + 1).values).sum(
                "union", skipna=False
            )
            np.testing.assert_allclose(found.union_attribution.isel(union=u), below, atol=1e-12)


def test_bands_that_are_alike_are_unions_of_the_dendrogram():
    rng = np.random.default_rng(0)
    one, two, three = rng.normal(size=(3, 8, 8))
    planes = [one, two, one, three, two, two]
    values = np.array([p + 0.1 * rng.normal(size=(8, 8)) for p in planes])
    cube = xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={"wavelength": ("band", 400.0 + 10 * np.arange(6), {"units": "nm"})},
    )
    model = xrxai.Model(steep(6), takes="spectrum", targets=worlds.TARGETS)
    found = cube.xai.owen_spectral(model)
    members = {name: set() for name in found.union.values}
    for band, g in enumerate(found.group_of_band.values):
        union = int(found.group_union[g - 1])
        while union:
            members[found.union.values[union - 1]].add(band)
            union = int(found.union_parent[union - 1])
    assert {0, 2} in members.values()
    assert {1, 4, 5} in members.values()
    assert "400, 420 nm" in members
    assert "410, 440-450 nm" in members
    # The correlation is that of the valid pixels, whatever the others hold and the dims' order.
    mask = rng.random((8, 8)) > 0.3
    clean = cube.xai.owen_spectral(model, mask=mask)
    garbage = cube.where(xr.DataArray(mask, dims=("y", "x")), 1e9)
    xr.testing.assert_identical(garbage.xai.owen_spectral(model, mask=mask), clean)
    turned = cube.transpose("x", "band", "y").xai.owen_spectral(model)
    np.testing.assert_array_equal(turned.group, found.group)
    np.testing.assert_allclose(
        turned.attribution.transpose(*found.attribution.dims), found.attribution, atol=1e-12
    )


def test_bad_bands_and_repeated_wavelengths():
    cube = worlds.cube()
    wavelength = cube.wavelength.values.copy()
    wavelength[5] = wavelength[4]
    good = np.ones(10, dtype=bool)
    good[2] = False
    cube = cube.assign_coords(
        wavelength=("band", wavelength, {"units": "nm"}), good_band=("band", good)
    )
    found = cube.xai.owen_spectral(worlds.model("spectrum"))
    assert found.sizes["group"] == 9
    assert found.group_of_band.values[2] == 0
    assert len(set(found.group.values)) == 9
    assert {"650 nm", "650 nm #2"} <= set(found.group.values)
    unnamed = cube.drop_vars("wavelength")
    found = unnamed.xai.owen_spectral(worlds.model("spectrum"))
    assert found.group.values[0] == "position 0"


@pytest.mark.slow
def test_shap_partition_explainer():
    shap = the_shap_package()
    cube = worlds.cube(bands=6, y=1, x=1, invalid=False)
    model = xrxai.Model(steep(6), takes="spectrum", targets=worlds.TARGETS)
    tree = [[["b00", "b01"], "b02"], ["b03", ["b04", "b05"]]]
    found = cube.xai.owen_spectral(model, hierarchy=tree, baseline=0.2)
    f, _ = worlds.function(model, cube.values)
    merges = np.array(
        [[0, 1, 1, 2], [4, 5, 1, 2], [6, 2, 2, 3], [3, 7, 2, 3], [8, 9, 3, 6]], dtype=float
    )
    masker = shap.maskers.Partition(np.full((1, 6), 0.2), clustering=merges)
    explainer = shap.explainers.Partition(lambda x: np.array([f(row) for row in x]), masker)
    theirs = explainer(cube.values[:, 0].T, max_evals=10_000, silent=True).values[0]
    np.testing.assert_allclose(found.attribution[:, 0, 0].T, theirs, atol=1e-8)


def test_one_band_is_everything():
    cube = worlds.cube(bands=1, invalid=False)
    model = xrxai.Model(steep(1), takes="spectrum", targets=worlds.TARGETS)
    found = cube.xai.owen_spectral(model)
    gain = found.prediction - found.baseline_prediction
    np.testing.assert_allclose(found.attribution.isel(group=0), gain, atol=1e-14)
    np.testing.assert_allclose(found.union_attribution.isel(union=0), gain, atol=1e-14)


def test_fewer_samples_than_can_tell_are_noted(patch):
    cube, model = patch
    text = (
        "20 samples for 10 groups: the shares will be noise. Type n_samples=40 or more, and "
        "mind standard_error."
    )
    with pytest.warns(UserWarning, match="20 samples for 10 groups") as caught:
        found = cube.xai.kernel_shap_spectral(model, n_samples=20)
    assert [str(w.message) for w in caught] == [text]
    assert caught[0].filename == __file__
    assert found.completeness_gap.max() < 1e-12
    with pytest.warns(UserWarning, match="2 samples for 10 groups"):
        few = cube.xai.kernel_shap_spectral(model, n_samples=2)
    assert np.isnan(few.standard_error).all()
    np.testing.assert_allclose(few.completeness_gap, 0, atol=1e-12)


REFUSED = [
    (
        lambda: xrxai.kernel_shap_spectral(plain(), patches(), n_samples=1),
        OptionError,
        "n_samples=1 is too small; type n_samples=2 or more.",
    ),
    (
        lambda: xrxai.kernel_shap_spectral(plain(), patches(), n_samples=100.0),
        OptionError,
        "n_samples=100.0 is not a whole number; type n_samples=100.",
    ),
    (
        lambda: xrxai.kernel_shap_spectral(plain(), patches(), n_samples="exact"),
        OptionError,
        "n_samples='exact' is neither a number nor 'auto'; type n_samples=64 or n_samples='auto'.",
    ),
    (
        lambda: xrxai.kernel_shap_spatial(plain(), patches(), segments="patch", seed=-1),
        OptionError,
        "seed=-1 is too small; type seed=0 or more.",
    ),
    (
        lambda: xrxai.kernel_shap_spectral(plain(), patches(), overlap="last"),
        OptionError,
        "overlap='last' is not known; choose one of 'first', 'error', 'split'.",
    ),
    (
        lambda: xrxai.kernel_shap_spatial(plain(), patches(), segments="grid"),
        SegmentError,
        "segments='grid' is not known; type 'slic', 'patch', a map of ids or polygons.",
    ),
    (
        lambda: xrxai.owen_spectral(plain(), patches(), max_evaluations=1),
        OptionError,
        "max_evaluations=1 is too small; type max_evaluations=2 or more.",
    ),
    (
        lambda: xrxai.owen_spectral(plain(), patches(), max_evaluations=99.5),
        OptionError,
        "max_evaluations=99.5 is not a whole number; type max_evaluations=2 or more.",
    ),
    (
        lambda: xrxai.owen_spectral(
            plain(), patches(), hierarchy=["B", "G", "R", "N"], max_evaluations=15
        ),
        OptionError,
        "max_evaluations=15 does not reach below the whole spectrum: its 4 unions need 16; type "
        "max_evaluations=16 or more.",
    ),
    (
        lambda: xrxai.owen_spectral(plain(), patches(), hierarchy="euclid"),
        BandError,
        "hierarchy='euclid' is no hierarchy; type 'correlation', or nested lists of band groups "
        "such as [['B', 'G'], ['R', (760, 900)]].",
    ),
    (
        lambda: xrxai.owen_spectral(plain(), patches(), hierarchy=50.0),
        BandError,
        "hierarchy=50.0 is no hierarchy; type 'correlation', or nested lists of band groups such "
        "as [['B', 'G'], ['R', (760, 900)]].",
    ),
    (
        lambda: xrxai.owen_spectral(plain(), patches(), hierarchy=["R", []]),
        BandError,
        "The hierarchy holds an empty list; type at least one group in it.",
    ),
    (
        lambda: xrxai.owen_spectral(plain(), patches(), hierarchy=["R", ["R", "N"]]),
        BandError,
        "Group 'R' is listed twice; list it once.",
    ),
    (
        lambda: xrxai.owen_spectral(plain(), patches(), hierarchy=["R", (600, 700)]),
        BandError,
        "Groups 'R' and '600-700 nm' share 1 band (650 nm); a band can be in one group only. "
        "Change the hierarchy.",
    ),
    (
        lambda: xrxai.owen_spectral(plain().chunk(), patches()),
        BandError,
        "hierarchy='correlation' must see the pixels, and the cube is lazy (dask); type "
        "cube.compute(), or give nested lists such as hierarchy=[['B', 'G'], ['R', 'N']].",
    ),
    (
        lambda: xrxai.owen_spectral(plain().isel(x=[0], y=[0, 1]), patches()),
        BandError,
        "hierarchy='correlation' needs 3 valid pixels or more, the cube has 2; give nested lists "
        "such as hierarchy=[['B', 'G'], ['R', 'N']].",
    ),
    (
        lambda: xrxai.owen_spectral(plain(), spectrum(), region=np.ones((6, 5), bool)),
        xrxai.errors.TargetError,
        "region= sums a map inside a region, but the model takes one pixel at a time; type mask= "
        "to choose pixels.",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refused(call, error, message):
    with pytest.raises(xrxai.XrxaiError) as caught:
        call()
    assert str(caught.value) == message
    assert type(caught.value) is error


def test_each_sample_draws_what_its_precision_needs():
    cube = worlds.cube(bands=10, y=1, x=5, invalid=False).isel(y=0).drop_vars("y")
    net, asked = steep(), []
    net.register_forward_pre_hook(lambda module, inputs: asked.append(len(inputs[0])))
    model = xrxai.Model(net, takes="spectrum", targets=worlds.TARGETS)
    options = {"bands": 50.0, "n_samples": "auto", "tolerance": 0.02}
    found = cube.xai.kernel_shap_spectral(model, max_samples=800, **options)
    used = found.n_samples_used
    assert found.converged.all()
    assert used.min() >= 4 * (10 + 8)
    assert used.max() > used.min()
    # Coalitions that come again within a round are asked once.
    assert (found.model_evaluations <= used + 2).all()
    assert found.model_evaluations.sum() == sum(asked)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-12)
    typical = found.standard_error.median("group")
    assert (typical <= 0.02 * abs(found.attribution).max("group")).all()
    exact = cube.xai.kernel_shap_spectral(model, bands=50.0)
    away = abs(found.attribution - exact.attribution) / found.standard_error
    assert away.median() < 1.5
    with pytest.warns(UserWarning, match="5 of 5 explained samples miss tolerance=0.001 after 90"):
        cube.xai.kernel_shap_spectral(
            model, bands=50.0, n_samples="auto", tolerance=0.001, max_samples=90
        )
    few = cube.xai.kernel_shap_spectral(model, bands=100.0, n_samples="auto")
    assert (few.n_samples_used == 62).all(), "all there are besides none and all"
    assert (few.standard_error == 0).all()


def test_rounds_are_for_maps_of_segments_too():
    cube, model = worlds.cube(y=8, x=8), worlds.model("map")
    options = {"segments": "patch", "patch": 2, "n_samples": "auto", "tolerance": 0.2}
    found = cube.xai.kernel_shap_spatial(model, **options)
    assert found.converged.item()
    lazy = cube.chunk(band=5).xai.kernel_shap_spatial(model, **options)
    assert int(lazy.n_samples_used) == int(found.n_samples_used)
