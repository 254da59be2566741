"""What a model says: its own answers, labelled, once per sample; classes and how large they are."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.ensemble import RandomForestClassifier

import xrxai
from tests import worlds
from tests.conftest import no_compute
from tests.test_scenes import model as scene_model
from tests.test_scenes import scene
from xrxai.labelled.ground import pixel_area

KINDS = ["patch", "map", "spectrum"]


def on_ground(cube, crs="EPSG:32633"):
    import rioxarray  # noqa: F401  registers .rio

    return cube.rio.write_crs(crs)


def answers(model, cube, activation=None):
    """Of the network itself, in float64: (target, y, x)."""
    x = torch.as_tensor(cube.fillna(0).values, dtype=torch.float64)
    with torch.no_grad():
        if model.takes == "spectrum":
            out = model.forward(x.flatten(1).T).T.unflatten(1, x.shape[1:])
        else:
            out = model.forward(x[None])[0]
    return out.numpy()


# ------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("kind", ["map", "spectrum"])
def test_pixels_get_the_answers_of_the_network_and_their_largest(kind):
    cube, model = worlds.cube(), worlds.model(kind)
    found = xrxai.predict(cube, model, classes=True)
    own, valid = answers(model, cube), cube.notnull().all("band").values
    assert found.prediction.dims == ("target", "y", "x")
    np.testing.assert_array_equal(np.isnan(found.prediction[0].values), ~valid)
    np.testing.assert_allclose(found.prediction.values[:, valid], own[:, valid], rtol=1e-12)
    best = np.where(valid, own.argmax(0), -1)
    np.testing.assert_array_equal(found.class_map, best)
    assert found.class_map.dtype == np.int16
    np.testing.assert_array_equal(found.class_map.attrs["flag_values"], [0, 1, 2])
    assert found.class_map.attrs["flag_values"].dtype == found.class_map.dtype
    assert found.class_map.attrs["flag_meanings"] == "K pH Mg"
    np.testing.assert_array_equal(found.target_pixels, np.bincount(best[valid], minlength=3))
    assert "area" not in found
    assert found.attrs["method"] == "predict"
    assert set(cube.coords) <= set(found.coords)


def test_a_patch_has_one_answer_and_a_scene_one_per_chip():
    cube, model = worlds.cube(invalid=False), worlds.model()
    found = xrxai.predict(cube, model)
    np.testing.assert_allclose(found.prediction, answers(model, cube), rtol=1e-12)
    assert not {"class_map", "target_pixels", "area"} & set(found)
    chips = worlds.model(patch=(3, 7))
    for given in (cube, cube.chunk(y=2)):
        cut = xrxai.predict(given, chips).compute()
        assert cut.prediction.dims == ("target", "tile_y", "tile_x")
        half = answers(model, cube.isel(y=slice(3)))
        np.testing.assert_allclose(cut.prediction[:, 0, 0], half, rtol=1e-12)


def test_preprocessing_and_activation_are_those_of_the_model():
    cube = worlds.cube(invalid=False)
    plain = worlds.model("map")
    softmax = worlds.model("map", activation="softmax", scale=2.0)
    found = xrxai.predict(cube, softmax).prediction
    own = torch.softmax(torch.as_tensor(answers(plain, 2 * cube)), 0)
    np.testing.assert_allclose(found, own, rtol=1e-12)


def test_leading_dims_have_maps_and_counts_of_their_own():
    cube = worlds.cube(lead={"time": 3})
    found = xrxai.predict(cube, worlds.model("map"))
    assert found.class_map.dims == ("time", "y", "x")
    assert found.target_pixels.dims == ("target", "time")
    one = xrxai.predict(cube.isel(time=1), worlds.model("map"))
    xr.testing.assert_equal(found.class_map.isel(time=1), one.class_map)
    np.testing.assert_array_equal(found.target_pixels.isel(time=1), one.target_pixels)
    spectra = xrxai.predict(cube, worlds.model("spectrum"), classes=True)
    assert spectra.target_pixels.dims == ("target", "time")


def test_a_table_of_spectra_has_a_class_each_and_no_area():
    cube = worlds.cube().stack(sample=("y", "x")).reset_index("sample", drop=True)
    table = cube.drop_vars(["y", "x", "elevation"], errors="ignore")
    found = xrxai.predict(table, worlds.model("spectrum"), classes=True)
    assert found.class_map.dims == ("sample",)
    assert (found.class_map == -1).sum() == table.isnull().any("band").sum()
    assert "target_pixels" not in found


def test_names_and_order_of_dims_do_not_matter():
    cube, model = worlds.cube(), worlds.model("map")
    one = xrxai.predict(cube, model)
    turned = xrxai.predict(cube.transpose("x", "band", "y"), model)
    xr.testing.assert_allclose(turned.class_map.transpose("y", "x"), one.class_map)
    named = xrxai.predict(cube.rename(y="row", x="col", band="channel"), model)
    assert named.class_map.dims == ("row", "col")
    np.testing.assert_array_equal(named.target_pixels, one.target_pixels)


# -------------------------------------------------------------------------------------- classes


class _Labels(RandomForestClassifier):
    """A forest that is fitted to the largest of the three targets."""

    def __init__(self):
        super().__init__(4, random_state=0)

    def fit(self, X, y):
        return super().fit(X, np.array(worlds.TARGETS)[y.argmax(1)])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: worlds.model("map"), True),
        (lambda: worlds.model("map", activation="sigmoid"), False),
        (lambda: worlds.model("spectrum"), False),
        (lambda: worlds.model("spectrum", activation="softmax"), True),
        (lambda: worlds.model("patch", activation="softmax"), False),
        (lambda: xrxai.Model(worlds.forest(), targets=worlds.TARGETS), False),
        (lambda: xrxai.Model(worlds.forest(kind=lambda *a, **k: _Labels())), True),
    ],
)
def test_targets_that_exclude_each_other_are_classes(model, expected):
    found = xrxai.predict(worlds.cube(), model())
    assert ("class_map" in found) is expected
    assert ("target_pixels" in found) is expected
    assert ("target_absent" in found) is expected


def test_classes_can_be_left_out_and_one_target_has_none():
    found = xrxai.predict(worlds.cube(), worlds.model("map"), classes=False)
    assert not {"class_map", "target_pixels", "target_absent", "area"} & set(found)
    net = torch.nn.Conv2d(10, 1, 1).double()
    cloud = xrxai.Model(net, takes="patch", gives="map", targets=["cloud"], reduction="area")
    assert "class_map" not in xrxai.predict(worlds.cube(), cloud)


@pytest.mark.filterwarnings("error")
def test_an_absent_class_is_marked_and_no_cause_for_a_warning():
    def call(x):
        return torch.stack([x[:, 0], x[:, 0] - 1, x[:, 0] - 2], 1)

    model = xrxai.Model(call, takes="patch", gives="map", targets=["a b", "c", "d"])
    found = xrxai.predict(on_ground(worlds.cube()), model)
    assert found.target_absent.values.tolist() == [False, True, True]
    assert found.target_pixels.values.tolist() == [39, 0, 0]
    assert found.area.values.tolist() == [39 * 25.0, 0.0, 0.0]
    assert found.class_map.attrs["flag_meanings"] == "a_b c d"


def test_area_needs_a_projected_grid():
    cube = worlds.cube()
    assert pixel_area(on_ground(cube), "y", "x") == 25.0
    assert pixel_area(on_ground(cube.transpose("x", "y", "band")), "y", "x") == 25.0
    foot = 1200 / 3937  # of the US survey
    assert pixel_area(on_ground(cube, "EPSG:2263"), "y", "x") == pytest.approx(25 * foot**2)
    assert pixel_area(cube, "y", "x") is None
    assert pixel_area(on_ground(cube, "EPSG:4326"), "y", "x") is None
    assert pixel_area(on_ground(cube).isel(x=[0, 1, 4]), "y", "x") is None
    assert pixel_area(on_ground(cube), None, None) is None
    rotated = on_ground(cube.drop_vars(["y", "x"]))
    assert pixel_area(rotated, "y", "x") is None
    rotated["spatial_ref"].attrs["GeoTransform"] = "0 3 4 0 4 -3"
    assert pixel_area(rotated, "y", "x") == 25.0


# -------------------------------------------------------------------- what it costs, and on pieces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_every_sample_costs_one_forward_pass(kind, batch_size):
    seen = []
    cube = worlds.cube(lead={"time": 3})
    cube[2] = np.nan  # a sample without data is never sent
    found = xrxai.predict(cube, worlds.watched(seen, kind), batch_size=batch_size)
    samples = int(cube.notnull().all("band").sum()) if kind == "spectrum" else 2
    assert sum(rows for rows, _ in seen) == samples
    assert not any(differentiated for _, differentiated in seen)
    assert int(found.model_evaluations.sum()) == samples
    assert found.model_evaluations.max() == 1
    one = xrxai.predict(cube, worlds.model(kind))
    xr.testing.assert_allclose(found.prediction, one.prediction, rtol=1e-12)


def test_a_scene_in_tiles_is_that_in_one_piece_and_every_tile_is_seen_once(tmp_path):
    calls = []
    model = scene_model("plain")
    cube = on_ground(scene((90, 70)))
    cube[:, 60:, 60:] = np.nan  # the last tile has no data
    one = xrxai.predict(cube, model)

    class Watched(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model.forward

        def forward(self, x):
            calls.append(tuple(x.shape[2:]))
            return self.net(x)

    watched = xrxai.Model(Watched(), takes="patch", gives="map", targets=model.targets)
    with no_compute():
        lazy = xrxai.predict(cube.chunk(y=32, x=32), watched)
    assert (lazy.attrs["halo"], lazy.attrs["halo_exact"]) == (3, 1)  # one radius
    calls.clear()
    with dask.config.set(scheduler="synchronous"):
        tiled = lazy.compute()
    alive = int((tiled.model_evaluations == 1).sum())
    assert len(calls) == alive == int(tiled.model_evaluations.sum()) == 8
    assert max(calls) == (38, 38)
    xr.testing.assert_allclose(tiled.prediction, one.prediction, atol=1e-6)
    np.testing.assert_array_equal(tiled.class_map, one.class_map)
    for name in ("target_pixels", "area"):
        np.testing.assert_array_equal(tiled[name].sum(["tile_y", "tile_x"]), one[name])
    cost = xrxai.plan(cube.chunk(y=32, x=32), watched, "predict", measure=False)
    assert (cost.pieces, cost.halo, cost.evaluations) == (9, 3, 9)
    calls.clear()
    with dask.config.set(scheduler="synchronous"):
        lazy.xai.to_zarr(tmp_path / "said.zarr", progress=False)
    assert len(calls) == alive
    back = xrxai.open_explanation(tmp_path / "said.zarr")
    xr.testing.assert_identical(back.class_map.drop_attrs(), tiled.class_map.drop_attrs())
    assert back.class_map.attrs["flag_meanings"] == "cloud shadow clear"


def test_spectra_are_lazy_too():
    cube, model = worlds.cube(), worlds.model("spectrum")
    one = xrxai.predict(cube, model, classes=True)
    with no_compute():
        lazy = xrxai.predict(cube.chunk(y=2, x=3), model, classes=True)
    done = lazy.compute()
    xr.testing.assert_allclose(done.drop_attrs(), one.drop_attrs())


def test_files_give_back_what_was_written(tmp_path):
    import rasterio

    found = xrxai.predict(on_ground(worlds.cube()), worlds.model("map"))
    path = found.xai.to_netcdf(tmp_path / "said.nc")
    with xrxai.open_explanation(path) as back:
        xr.testing.assert_identical(back.load(), found)
    (file,) = found.xai.to_geotiff(tmp_path / "maps", variables="class_map", progress=False)
    with rasterio.open(file) as raster:
        assert raster.crs.to_epsg() == 32633
        np.testing.assert_array_equal(raster.read(1), found.class_map)


def test_what_lies_under_nodata_and_beyond_a_mask_does_not_matter():
    cube = worlds.cube()
    keep = cube.x < 120
    for kind in ("map", "spectrum"):
        model = worlds.model(kind, activation="softmax")
        one = xrxai.predict(cube, model, mask=keep & (cube.y > -1))
        garbage = cube.where(cube.x < 120, 1e6)
        two = xrxai.predict(garbage, model, mask=keep & (cube.y > -1))
        xr.testing.assert_identical(one[["prediction"]], two[["prediction"]])
        xr.testing.assert_identical(one.class_map, two.class_map)
        assert (one.class_map.where(~keep, -1) == -1).all()
        assert int(one.target_pixels.sum()) == int((cube.notnull().all("band") & keep).sum())


def test_lower_precision_says_what_it_changed():
    net = worlds.MapNet().float()
    model = xrxai.Model(
        net, takes="patch", gives="map", targets=worlds.TARGETS, autocast="bfloat16"
    )
    exact = xrxai.Model(net, takes="patch", gives="map", targets=worlds.TARGETS)
    cube = worlds.cube().astype("float32")
    found, true = xrxai.predict(cube, model), xrxai.predict(cube, exact)
    change = abs(found.prediction - true.prediction).max(["y", "x"])
    assert (change > 0).all()
    np.testing.assert_allclose(found.autocast_error, change, rtol=1e-5)
    assert found.model_evaluations == 2


def test_it_is_no_method_of_attribution_and_bound_like_one():
    assert "predict" not in xrxai.methods()
    cube, model = worlds.cube(), worlds.model("map")
    xr.testing.assert_identical(cube.xai.predict(model), xrxai.predict(cube, model))
