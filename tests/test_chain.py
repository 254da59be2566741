"""Several methods that share evaluations, and answer what they answer alone."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xrxai
from tests import worlds
from tests.test_bad_input import cube as plain
from tests.test_bad_input import patch as never
from xrxai.tensors import known

CHAIN = {
    "lime_spectral": {"bands": 100.0, "n_samples": 20},
    "lime_spatial": {"segments": "patch", "patch": 3, "n_samples": 20},
    "kernel_shap_spectral": {"bands": 100.0, "n_samples": 24},
    "occlusion_spatial": {"window": 3},
    "integrated_gradients": {"n_steps": 3},
    "smoothgrad": {"n_samples": 2},
    "saliency": {},
}
COMMON = {"target": ["Mg", "K"], "baseline": 0.2, "seed": 3}
PER_PIXEL = {k: v for k, v in CHAIN.items() if k not in worlds.SPATIAL}


def alone(cube, model, methods, common):
    out = {}
    for name, own in methods.items():
        fits = {"saliency": {"target"}, "occlusion_spatial": {"target", "baseline"}}
        fits |= {"integrated_gradients": {"target", "baseline"}, "smoothgrad": {"target", "seed"}}
        given = {k: v for k, v in common.items() if k in fits.get(name, set(common))}
        out[name] = getattr(cube.xai, name)(model, **given, **own)
    return out


@pytest.mark.parametrize("kind", ["patch", "map", "spectrum"])
def test_answers_are_those_of_separate_calls_and_cost_less(kind):
    cube = worlds.cube(lead={"time": 2})
    methods = PER_PIXEL if kind == "spectrum" else CHAIN
    rows = []
    separate = alone(cube, worlds.watched(rows, kind), methods, COMMON)
    paid = sum(n for n, _ in rows)
    rows.clear()
    tree = cube.xai.explain(worlds.watched(rows, kind), methods, **COMMON)
    assert list(tree) == list(methods)
    spent = 0
    for name, found in separate.items():
        node = tree[name].to_dataset()
        count = node.model_evaluations
        spent += int(count.sum())
        xr.testing.assert_identical(
            node.drop_vars("model_evaluations").drop_attrs(deep=False),
            found.drop_vars("model_evaluations").drop_attrs(deep=False),
        )
        assert node.attrs["options"] == found.attrs["options"]
        assert (count <= found.model_evaluations).all()
    assert spent == sum(n for n, _ in rows), "counted is what was spent"
    samples = int(cube.notnull().all("band").sum()) if kind == "spectrum" else 2
    # The cube and "nothing" are asked once: of the methods after the first that ask for them by
    # themselves, one or two each. Superpixels and bands leave invalid pixels alike.
    saved = {"spectrum": 2 * 2 + 1, "patch": 2 * 3 + 2, "map": 2 * 3 + 2}[kind]
    assert paid - spent == saved * samples


def test_nothing_is_kept_after_the_chain():
    rows = []
    cube, model = worlds.cube(), worlds.watched(rows)
    first = cube.xai.explain(model, ["occlusion_spectral", "ablation_spectral"])
    second = cube.xai.explain(model, ["occlusion_spectral", "ablation_spectral"])
    assert known._KNOWN.get() is None
    counts = [[int(tree[name].model_evaluations) for name in tree] for tree in (first, second)]
    assert counts[0] == counts[1]
    assert sum(map(sum, counts)) == sum(n for n, _ in rows)


def test_other_pixels_or_options_of_a_model_are_other_scores():
    """The same values, another mask, region or baseline: nothing is taken for something else."""
    cube = worlds.cube()
    mask = xr.ones_like(cube[0], bool)
    mask[3:] = False
    model = worlds.model("map")
    methods = {
        "occlusion_spectral": {},
        "ablation_spectral": {"mask": mask, "bands": 100.0},
        "lime_spectral": {"region": mask, "bands": 100.0, "n_samples": 20},
        "kernel_shap_spectral": {"baseline": 0.4, "bands": 100.0, "n_samples": 24},
        "integrated_gradients": {"n_steps": 2, "target": "pH"},
    }
    tree = xrxai.explain(cube, model, methods)
    for name, own in methods.items():
        found = getattr(xrxai, name)(cube, model, **own)
        xr.testing.assert_identical(tree[name].attribution, found.attribution)
        xr.testing.assert_identical(tree[name].prediction, found.prediction)
        shared = name == "kernel_shap_spectral"  # the cube, as occlusion has asked for it
        assert int(tree[name].model_evaluations) == int(found.model_evaluations) - shared, name


def test_lazy_cubes_give_lazy_trees():
    cube = worlds.cube(lead={"time": 2})
    methods = {k: CHAIN[k] for k in ("lime_spectral", "integrated_gradients")}
    model = worlds.model()
    eager = xrxai.explain(cube, model, methods, **COMMON)
    lazy = xrxai.explain(cube.chunk(time=1), model, methods, **COMMON)
    assert lazy["lime_spectral"].attribution.chunks
    for name in methods:
        done = lazy[name].to_dataset().compute(scheduler="synchronous")
        xr.testing.assert_allclose(done.attribution, eager[name].attribution)
        assert (done.model_evaluations >= eager[name].model_evaluations).all()


def test_a_tree_is_written(tmp_path):
    cube = worlds.cube().assign_coords(band=np.arange(10))  # zarr has no fixed strings
    tree = xrxai.explain(cube, worlds.model(), ["saliency", "occlusion_spectral"])
    tree.to_zarr(tmp_path / "why.zarr", consolidated=False)
    tree.to_netcdf(tmp_path / "why.nc")
    for back in (
        xr.open_datatree(tmp_path / "why.zarr", engine="zarr", consolidated=False),
        xr.open_datatree(tmp_path / "why.nc"),
    ):
        with back:
            for name in tree:
                xr.testing.assert_identical(back[name].to_dataset(), tree[name].to_dataset())


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("saliency", "methods='saliency' is one string; type methods=['saliency']."),
        (
            ["saliency", "plan"],
            "The method 'plan' is no attribution method; see xrxai.methods() for their names.",
        ),
        (
            ["saliency", "saliency"],
            "methods=['saliency', 'saliency'] names a method twice; a tree has one node for each "
            "name.",
        ),
        (
            {"saliency": {"steps": 3}},
            "methods={'saliency': ...} does not fit saliency: saliency() got an unexpected keyword "
            "argument 'steps'; see help(xrxai.saliency).",
        ),
        (
            {"saliency": {}, "integrated_gradients": {"n_steps": 0}},
            "n_steps=0 is too small; type n_steps=1 or more.",
        ),
    ],
)
def test_wrong_chains(methods, message):
    with pytest.raises(xrxai.XrxaiError) as error:
        xrxai.explain(plain(), never(), methods)
    assert str(error.value) == message
