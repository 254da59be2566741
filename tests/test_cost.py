"""A plan says what a run will cost, and is right."""

from __future__ import annotations

import warnings

import dask
import numpy as np
import pytest
import xarray as xr

import xrxai
from tests import test_scenes as scenes
from tests import worlds

CASES = [
    (name, kind)
    for kind in ("patch", "map", "spectrum")
    for name in xrxai.methods()
    if not (kind == "spectrum" and name in worlds.SPATIAL)
    and not (kind != "spectrum" and name in worlds.TREES)
    and name != "captum"  # what an explainer of others calls, nobody knows before
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_planned_evaluations_are_counted_ones(name, kind):
    cube = worlds.cube(lead={"time": 2})
    model = worlds.model(kind, method=name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(guided_|deconvnet)")
        plan = xrxai.plan(cube, model, name, options=worlds.QUICK.get(name))
    found = worlds.explain(name, cube, model)
    assert plan.evaluations == int(found.model_evaluations.sum())
    made = sum(v.nbytes for k, v in found.items() if "target" in v.dims or k == "model_evaluations")
    # Flags are made of counts, not by the model.
    made -= found["target_absent"].nbytes if "target_absent" in found else 0
    made -= sum(
        found[k].nbytes for k in found if k.startswith("window_") and "target" not in found[k].dims
    )
    assert plan.bytes_out == made
    assert plan.bytes_in == cube.nbytes
    assert (plan.pieces, plan.eta) == (1, None)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("saliency", {}),
        ("integrated_gradients", {"n_steps": 3}),
        ("occlusion_spatial", {"window": 8, "stride": 5}),
        ("occlusion", {"window": (200.0, 8, 8)}),
        ("lime_spectral", {"bands": 150.0, "n_samples": 10}),
        ("rise", {"n_samples": 4}),
    ],
)
def test_tiles_are_planned(name, options):
    cube = scenes.scene((90, 70), holes=False).chunk(y=32, x=32)
    net = scenes.model("plain")
    plan = xrxai.plan(cube, net, name, options=options, measure=False)
    found = getattr(cube.xai, name)(net, **options).compute()
    assert plan.pieces == found.sizes["tile_y"] * found.sizes["tile_x"]
    assert plan.evaluations == int(found.model_evaluations.sum())
    assert plan.halo == found.attrs["halo"]
    assert plan.seconds is None
    if plan.halo:
        assert plan.overhead > 1
        assert f"halo {plan.halo}" in repr(plan)


def test_one_piece_is_measured():
    cube = scenes.scene((90, 70), holes=False).chunk(y=32, x=32)
    net = scenes.model("plain")
    plan = xrxai.plan(cube, net, "saliency", workers=3)
    assert plan.workers == 3
    assert plan.eta == pytest.approx(plan.seconds * plan.evaluations / 3)
    assert "measured for one piece" in repr(plan)
    assert "saliency: 9 pieces of 32 x 32 pixels" in repr(plan)


def test_a_plan_without_measurement_runs_nothing():
    calls = []

    def watched(x):
        calls.append(len(x))
        return x[:, :3] * 2.0

    model = xrxai.Model(watched, takes="spectrum", targets=worlds.TARGETS)

    def refuse(dsk, keys, **kwargs):
        raise AssertionError("something was computed")

    cube = worlds.cube(y=30, x=40, invalid=False).chunk(y=10, x=20)
    with dask.config.set(scheduler=refuse):
        plan = xrxai.plan(cube, model, "saliency", measure=False)
    assert (plan.pieces, plan.evaluations, calls) == (6, 1200, [])
    assert plan.piece_in == 10 * 20 * cube.sizes["band"] * 8


def test_workers_are_those_of_the_scheduler():
    cube = worlds.cube(invalid=False).chunk(y=2, x=2)
    model = worlds.model("spectrum")

    def workers(**config):
        with dask.config.set(**config):
            return xrxai.plan(cube, model, "saliency", measure=False).workers

    assert workers(scheduler="synchronous") == 1
    assert workers(scheduler="threads", num_workers=5) == 5


def test_a_cluster_lends_its_threads():
    from distributed import Client, LocalCluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0"
            ) as cluster,
            Client(cluster),
        ):
            cube = worlds.cube(invalid=False).chunk(y=2, x=2)
            plan = xrxai.plan(cube, worlds.model("spectrum"), "saliency", measure=False)
    assert plan.workers == 4


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            "salience",
            None,
            "method='salience' is no attribution method; see xrxai.methods() for their names.",
        ),
        (
            "band_groups",
            None,
            "method='band_groups' is no attribution method; see xrxai.methods() for their names.",
        ),
        (
            "saliency",
            {"steps": 3},
            "options={'steps': 3} do not fit saliency: saliency() got an unexpected keyword "
            "argument 'steps'; see help(xrxai.saliency).",
        ),
    ],
)
def test_wrong_plans(method, options, message):
    with pytest.raises(xrxai.XrxaiError) as error:
        xrxai.plan(worlds.cube(), worlds.model(), method, options=options)
    assert str(error.value) == message


def test_what_the_method_refuses_is_refused():
    with pytest.raises(xrxai.XrxaiError, match="n_steps=0 is too small"):
        xrxai.plan(worlds.cube(), worlds.model(), options={"n_steps": 0})


def test_samples_without_data_cost_nothing():
    cube = worlds.cube(lead={"time": 3})
    cube = cube.where(cube.time != 1) if "time" in cube.coords else cube.copy()
    cube[{"time": 1}] = np.nan
    plan = cube.xai.plan(worlds.model(), "saliency")
    assert plan.evaluations == 2
    assert isinstance(cube, xr.DataArray)
