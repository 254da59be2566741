"""What every method on the accessor must do, by the accessor's own list."""

from __future__ import annotations

import inspect
import json

import dask
import dask.array
import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import worlds
from xrxai.accessor import CubeAccessor

METHODS = xrxai.methods()
KINDS = ["patch", "map", "spectrum"]
# Where a test of patches and spectra says what it says of maps, these are left to the slow ones.
CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}", marks=[pytest.mark.slow] if kind == "map" else [])
    for name in METHODS
    for kind in KINDS
    if not (kind == "spectrum" and name in worlds.SPATIAL)
    and not (kind != "spectrum" and name in worlds.EXCHANGING | worlds.TREES)
]
# What takes a second each: spectra too.
PATCHES = [
    pytest.param(
        *case.values, id=case.id, marks=[pytest.mark.slow] if case.values[1] != "patch" else []
    )
    for case in CASES
]
LAZY_CASES = [case for case in CASES if case.values[0] not in worlds.EXCHANGING]


def asks(name, option):
    return option in inspect.signature(getattr(xrxai, name)).parameters


def refuse(*args, **kwargs):
    raise AssertionError("something was computed")


def stacked(name, cube, kind, **options):
    return worlds.explain(name, cube, worlds.model(kind, method=name, **options))


def same(one, two, rtol=1e-9, atol=1e-12):
    xr.testing.assert_allclose(one, two, rtol=rtol, atol=atol)
    assert one.attrs == two.attrs


def test_the_list():
    expected = {
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "gradient_shap",
        "blur_ig",
        "guided_ig",
        "occlusion_spectral",
        "occlusion_spatial",
        "lime_spectral",
        "lime_spatial",
    }
    assert expected <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_bound_and_plain_are_one(name):
    plain, bound = getattr(xrxai, name), getattr(CubeAccessor, name)
    first, *rest = inspect.signature(plain).parameters.values()
    assert first.name == "cube"
    assert list(inspect.signature(bound).parameters.values())[1:] == rest
    optional = [p for p in rest[1:] if p.default is not p.empty]
    assert all(p.kind is p.KEYWORD_ONLY for p in optional), "options are keyword-only"
    assert "cube : DataArray" not in bound.__doc__
    assert "model : Model" in bound.__doc__


def test_every_public_attribution_function_is_bound():
    from xrxai import attribution

    folder = attribution.__path__[0]
    import importlib
    import pkgutil

    for module in pkgutil.iter_modules([folder]):
        loaded = importlib.import_module(f"xrxai.attribution.{module.name}")
        for name, thing in vars(loaded).items():
            if inspect.isfunction(thing) and thing.__module__ == loaded.__name__:
                assert name.startswith("_") or name in METHODS, f"{name} is not on the accessor"


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_schema(name, kind):
    cube = worlds.cube()
    found = stacked(name, cube, kind)
    assert found.attribution.dims[0] == "target"
    assert list(found.target.values) == worlds.TARGETS
    for key, coord in cube.coords.items():
        if set(coord.dims) <= set(found.dims):
            xr.testing.assert_identical(found[key].variable, coord.variable)
    assert set(cube.coords) <= set(found.coords)
    for key, values in found.data_vars.items():
        assert all(isinstance(v, str | float | int) for v in values.attrs.values()), key
        if key not in ("valid", "target_absent", "group_of_band", "segment_of_pixel"):
            assert values.attrs["long_name"], key
    assert all(isinstance(v, str | int) for v in found.attrs.values())
    assert found.attrs["method"] == name
    assert json.loads(found.attrs["options"])["target"] == worlds.TARGETS
    assert found.attrs["references"]
    assert json.loads(found.attrs["versions"])["torch"]
    assert (found.model_evaluations.where(found.model_evaluations > 0) >= 1).any()
    per_pixel = ("y", "x") if kind == "spectrum" else ()
    assert found.prediction.dims == ("target", *per_pixel)
    # At least one number, and none where there is no data.
    assert np.isfinite(found.attribution).any()
    if "y" in found.attribution.dims:
        assert np.isnan(found.attribution).where(~found.valid, True).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_order_of_dims_does_not_matter(name, kind):
    cube = worlds.cube()
    model = worlds.model(kind, method=name)
    one = worlds.explain(name, cube, model)
    two = worlds.explain(name, cube.transpose("x", "band", "y"), model)
    own = [d for d in ("x", "band", "y") if d in two.attribution.dims]
    assert [d for d in two.attribution.dims if d in own] == own
    same(two.transpose(*one.dims), one.transpose(*one.dims))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_names_of_dims_do_not_matter(name, kind):
    cube = worlds.cube()
    model = worlds.model(kind, method=name)
    other = cube.rename(band="wl_index", y="lat", x="lon")
    other = other.swap_dims(wl_index="wavelength").reset_index("wavelength")
    one = worlds.explain(name, cube, model).attribution
    two = worlds.explain(name, other, model).attribution
    np.testing.assert_allclose(two.values, one.values, rtol=1e-9)


@pytest.mark.parametrize(("name", "kind"), LAZY_CASES)
def test_lazy_equals_eager_and_computes_nothing(name, kind):
    cube = worlds.cube(lead={"time": 3})
    model = worlds.model(kind, method=name)
    chunks = {"time": 1, "y": 4, "x": 3, "band": 4}
    if kind == "map":
        chunks |= {"y": -1, "x": -1}  # a map of a scene in pieces is made in tiles: test_scenes
    with dask.config.set(scheduler=refuse):
        lazy = worlds.explain(name, cube.chunk(chunks), model)
    for key in ("attribution", "prediction", "model_evaluations", "valid", "spectrum"):
        assert isinstance(lazy[key].data, dask.array.Array), key
    eager = worlds.explain(name, cube, model)
    done = lazy.compute(scheduler="synchronous")
    for key in eager.data_vars:
        assert done[key].dtype == eager[key].dtype, key
        assert done[key].dims == eager[key].dims or key == "segment_of_pixel"
    if name in worlds.SEGMENTED:
        # A lazy cube is not looked at: all samples share one map, which is cut by their valid
        # pixels only when they are explained; a segment without any is NaN.
        done = done.attribution.dropna("segment", how="all")
        np.testing.assert_allclose(
            np.sort(done.values.ravel()),
            np.sort(eager.attribution.dropna("segment", how="all").values.ravel()),
        )
        return
    for key in eager.data_vars:
        assert done[key].attrs == eager[key].attrs
    xr.testing.assert_allclose(done.drop_vars("spectrum"), eager.drop_vars("spectrum"))
    xr.testing.assert_allclose(done["spectrum"], eager["spectrum"], rtol=1e-4)


@pytest.mark.parametrize(("name", "kind"), LAZY_CASES)
def test_one_evaluation_of_a_block_feeds_every_variable(name, kind):
    calls = []
    model = worlds.watched(calls, kind, method=name)
    cube = worlds.cube(lead={"time": 2})
    lazy = worlds.explain(name, cube.chunk(time=1), model)
    done = lazy.compute(scheduler="synchronous")
    samples = int(done.valid.sum()) if kind == "spectrum" else 2
    per_sample = int(done.model_evaluations.max())
    assert sum(n for n, _ in calls) == samples * per_sample


@pytest.mark.parametrize(
    "scheduler", ["threads", pytest.param("synchronous", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("name", "kind"), PATCHES)
def test_batch_and_scheduler_do_not_matter(name, kind, scheduler):
    cube = worlds.cube(lead={"time": 2})
    model = worlds.model(kind, method=name)
    whole = worlds.explain(name, cube, model)
    same(worlds.explain(name, cube, model, batch_size=1), whole)
    same(worlds.explain(name, cube, model, batch_size=7), whole)
    if name not in worlds.SEGMENTED | worlds.EXCHANGING:
        chunks = {"time": 1, "x": -1 if kind == "map" else 3}
        parts = worlds.explain(name, cube.chunk(chunks), model).compute(scheduler=scheduler)
        del parts.attrs["run"]  # which only a run in blocks has
        same(parts.drop_vars("spectrum"), whole.drop_vars("spectrum"))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_sample_does_not_know_its_neighbours(name, kind):
    cube = worlds.cube(lead={"time": 3})
    model = worlds.model(kind, method=name)
    together = worlds.explain(name, cube, model)
    alone = worlds.explain(name, cube.isel(time=1), model)
    xr.testing.assert_allclose(
        together.attribution.isel(time=1), alone.attribution, rtol=1e-9, atol=1e-12
    )
    xr.testing.assert_allclose(together.prediction.isel(time=1), alone.prediction)
    assert together.attribution.dims[:1] == ("target",)
    assert "time" in together.attribution.dims


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_asked_targets_are_those_of_all(name, kind):
    cube = worlds.cube()
    model = worlds.model(kind, method=name)
    every = worlds.explain(name, cube, model)
    some = worlds.explain(name, cube, model, target=["Mg", "K"])
    for key in ("attribution", "prediction"):
        xr.testing.assert_allclose(some[key], every[key].sel(target=["Mg", "K"]))
    one = worlds.explain(name, cube, model, target="pH")
    assert list(one.target.values) == ["pH"]


@pytest.mark.parametrize("name", [n for n in METHODS if asks(n, "seed")])
def test_seed(name):
    cube = worlds.cube()
    model = worlds.model("spectrum" if name in worlds.EXCHANGING else "patch")
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one = worlds.explain(name, cube, model, seed=5)
    two = worlds.explain(name, cube, model, seed=5)
    three = worlds.explain(name, cube, model, seed=6)
    xr.testing.assert_identical(one, two)
    assert not np.allclose(one.attribution, three.attribution)
    assert one.attrs["seed"] == 5
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("name", "kind"), [c for c in CASES if c.values[0] not in worlds.TREES])
def test_cube_and_model_are_given_back_as_found(name, kind, fails):
    cube = worlds.cube(invalid=fails)
    model = worlds.model(kind, method=name)
    net = model.forward
    net.train()
    net.first.bias.requires_grad_(False)
    seen = []

    def hook(module, inputs, output):
        seen.append((module.training, module.weight.requires_grad))
        if fails:
            raise RuntimeError("boom")

    def spoil(module, inputs):
        if not inputs[0].requires_grad:
            inputs[0].add_(1.0)

    net.first.register_forward_hook(hook)
    net.register_forward_pre_hook(spoil)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    values = cube.copy(deep=True)
    if fails:
        with pytest.raises(xrxai.XrxaiError, match="boom"):
            worlds.explain(name, cube, model)
    else:
        worlds.explain(name, cube, model)
    assert set(seen) == {(False, False)}, "evaluated in eval mode with frozen parameters"
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == [
        n != "first.bias" for n, _ in net.named_parameters()
    ]
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert len(net.first._forward_hooks) == len(net._forward_pre_hooks) == 1
    xr.testing.assert_identical(cube, values)


@pytest.mark.parametrize(("name", "kind"), PATCHES)
def test_garbage_without_validity_changes_nothing_bit_for_bit(name, kind):
    """Must-show line 7: invalid pixels (NaN, fill value, mask) and bad bands."""
    rng = np.random.default_rng(1)
    clean = worlds.cube(invalid=False, lead={"time": 2})
    good = np.ones(10, dtype=bool)
    good[[2, 7]] = False
    mask = xr.DataArray(rng.random((6, 7)) > 0.3, dims=("y", "x"))
    clean = clean.assign_coords(good_band=("band", good)).assign_attrs(_FillValue=-9999.0)
    filled = xr.DataArray(rng.random((6, 7)) > 0.9, dims=("y", "x"))
    cube = clean.where(~filled, -9999.0)
    results = []
    for garbage in (0.0, 1e30, -np.inf, np.nan, 0.3):
        dirty = cube.where(mask, garbage).where(cube.good_band, garbage)
        dirty = dirty.transpose(*clean.dims).assign_attrs(clean.attrs)
        results.append(worlds.explain(name, dirty, worlds.model(kind, method=name), mask=mask))
        if asks(name, "baseline"):
            results.append(
                worlds.explain(
                    name, dirty, worlds.model(kind, method=name), mask=mask, baseline="mean"
                )
            )
    step = 2 if asks(name, "baseline") else 1
    for i, other in enumerate(results[step:]):
        xr.testing.assert_identical(other, results[i % step])
    first = results[0].attribution
    assert np.isfinite(first).any()
    if "band" in first.dims:
        assert np.isnan(first.where(~first.good_band, drop=True)).all()
    if "y" in first.dims:
        assert np.isnan(first).where(~(mask & ~filled), True).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_sample_without_data_is_never_sent(name):
    cube = worlds.cube(lead={"time": 3}, invalid=False)
    cube[1] = np.nan
    seen = []
    found = worlds.explain(name, cube, worlds.watched(seen, method=name), batch_size=1)
    per_sample = found.model_evaluations.values
    assert (per_sample[1] == 0).all()
    assert sum(n for n, _ in seen) == per_sample.sum()
    assert found.attribution.isel(time=1).isnull().all()
    assert found.attribution.isel(time=[0, 2]).notnull().any()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_netcdf_and_zarr_give_back_what_was_written(name, kind, tmp_path):
    pytest.importorskip("rioxarray")
    cube = worlds.cube(lead={"time": 2}).rio.write_crs("EPSG:32633")
    found = stacked(name, cube, kind)
    for path, write in (
        (tmp_path / "why.nc", found.xai.to_netcdf),
        (tmp_path / "why.zarr", found.xai.to_zarr),
    ):
        write(path)
        back = xrxai.open_explanation(path).load()
        xr.testing.assert_identical(back, found)
        assert back.rio.crs == cube.rio.crs


def test_a_table_of_spectra_is_a_cube_too():
    cube = worlds.cube(invalid=False)
    table = cube.stack(sample=("y", "x")).drop_vars(["sample", "y", "x", "elevation"])
    for name in METHODS:
        if name in worlds.SPATIAL:
            continue
        model = worlds.model("spectrum", method=name)
        one = worlds.explain(name, cube, model).attribution
        two = worlds.explain(name, table, model).attribution
        assert two.sizes["sample"] == 42
        np.testing.assert_allclose(
            one.stack(sample=("y", "x")).transpose(*two.dims).values, two.values, rtol=1e-9
        )
