"""XRAI against its slow twin and the `saliency` package, in worlds where the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import oracles, oracles_regions, planted, worlds
from tests.conftest import no_compute, skip_or_fail
from xrxai.datasets import synthetic
from xrxai.labelled import pool
from xrxai.labelled.cube import locate
from xrxai.tensors import greedy


def random_pool(rng, shape=(9, 11), n_maps=3):
    maps = [rng.integers(0, 6, shape) for _ in range(n_maps)]
    return maps, rng.random(shape) > 0.15


@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("radius", [0, 2])
@pytest.mark.parametrize("min_area", [1, 4, 1000])
def test_ranking_twin(rng, mode, radius, min_area):
    for _ in range(5):
        maps, valid = random_pool(rng)
        value = rng.normal(size=(2, 3, *valid.shape))
        stack = np.stack([valid.astype(int), *(np.where(valid, m, 0) for m in maps)])[None]
        heat, rank = greedy.ranked(
            torch.as_tensor(value),
            torch.as_tensor(stack),
            mode=mode,
            min_area=min_area,
            grow=[radius] * len(maps),
        )
        masks = oracles_regions.unpacked([m * valid for m in maps], valid, radius)
        for at in np.ndindex(2, 3):
            slow, steps = oracles_regions.xrai(value[at], masks, valid, mode, min_area)
            np.testing.assert_allclose(heat[at], slow, atol=1e-12)
            np.testing.assert_array_equal(rank[at], steps)
            np.testing.assert_allclose(np.nansum(heat[at]), value[at][valid].sum(), atol=1e-12)


@pytest.fixture(scope="module")
def twin():
    """A cube with gaps, a pool, and integrated gradients from the extremes of each band."""
    cube, model = worlds.cube(bands=4, y=4, x=5), worlds.model("patch", bands=4)
    f, x = worlds.function(model, cube.values)
    valid = cube.notnull().all("band").values
    total = 0.0
    for extreme in (cube.min(["y", "x"]), cube.max(["y", "x"])):
        b = np.where(valid, extreme.values[:, None, None], 0.0)
        total = total + oracles.integrated_gradients(f, x, b, 60) / 2
    rng = np.random.default_rng(3)
    maps = [rng.integers(0, 4, (4, 5)) for _ in range(3)]
    return cube, model, total, [m * valid for m in maps], valid


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("over_bands", ["max", "sum"])
def test_xrai_twin(twin, mode, over_bands):
    cube, model, total, maps, valid = twin
    found = cube.xai.xrai(model, segments=maps, over_bands=over_bands, mode=mode, min_area=2)
    masks = oracles_regions.unpacked(maps, valid)
    for k in range(3):
        value = getattr(total[k], over_bands)(0)
        heat, rank = oracles_regions.xrai(value, masks, valid, mode, 2)
        np.testing.assert_allclose(found.attribution[k], heat, atol=1e-6)
        np.testing.assert_array_equal(found["rank"][k], rank)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-5)
    assert len({found["rank"][k].values.tobytes() for k in range(3)}) > 1, "targets rank alone"


def test_what_the_numbers_add_up_to():
    cube, model = worlds.cube(), worlds.model("patch")
    low, high = cube.min(["y", "x"]), cube.max(["y", "x"])
    found = cube.xai.xrai(model, n_steps=2)
    one, two = (cube.xai.integrated_gradients(model, baseline=b, n_steps=2) for b in (low, high))
    mean = (one.attribution + two.attribution) / 2
    for mode in ("full", "fast"):
        heat = cube.xai.xrai(model, n_steps=2, mode=mode).attribution.sum(["y", "x"])
        xr.testing.assert_allclose(heat, mean.max("band").sum(["y", "x"]))
    for key in ("completeness_gap", "baseline_prediction"):
        xr.testing.assert_allclose(found[key], (one[key] + two[key]) / 2, atol=1e-12)
    assert (abs(found.completeness_gap) > 1e-9).all(), "two steps leave a gap"
    summed = cube.xai.xrai(model, n_steps=2, over_bands="sum")
    xr.testing.assert_allclose(
        summed.attribution.sum(["y", "x"]) - (summed.prediction - summed.baseline_prediction),
        summed.completeness_gap,
        atol=1e-12,
    )
    options = json.loads(found.attrs["options"])
    assert options["baseline"] == ["min", "max"]
    assert len(options["scales"]) == 6
    np.testing.assert_array_equal(found["rank"] == 0, np.broadcast_to(~found.valid, (3, 6, 7)))


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_peer(twin, mode):
    """The ranking of the authors' package, from the same attributions and the same masks.

    Their own segments and gradients are another matter: they resize to 224, scale all channels
    to -1..1 by the extremes of the image, see three colours, start integrated gradients from the
    extremes of all channels together and weigh both of its ends fully. Their ranks are sorted by
    heat, ours are the order of inclusion.
    """
    try:
        from saliency.core import xrai as peer
    except ImportError as error:
        skip_or_fail(str(error))
    cube, model, _, maps, valid = twin
    found = cube.xai.xrai(model, segments=maps, mode=mode, min_area=2)
    low, high = cube.min(["y", "x"]), cube.max(["y", "x"])
    ours = [cube.xai.integrated_gradients(model, baseline=b).attribution for b in (low, high)]
    attribution = ((ours[0] + ours[1]) / 2).fillna(0.0)
    options = peer.XRAIParameters(algorithm=mode)
    options.experimental_params["min_pixel_diff"] = 2
    # They know no invalid pixels: as a region that comes last, those take from no other.
    masks = oracles_regions.unpacked(maps, valid)
    for k in range(3):
        values = attribution[k].transpose("y", "x", "band").values
        values = np.where(valid[..., None], values, -1e9)
        theirs = peer.XRAI().GetMaskWithDetails(
            x_value=values,
            call_model_function=None,
            base_attribution=values,
            segments=[*masks, ~valid],
            extra_parameters=options,
        )
        known = valid & np.logical_or.reduce(masks)
        left = found["rank"][k].values == found["rank"][k].values.max()
        compared = known & ~left
        assert compared.sum() > 8
        np.testing.assert_allclose(
            found.attribution[k].values[compared], theirs.attribution_mask[compared], rtol=1e-9
        )


def linear(cube, seed=2):
    w = np.random.default_rng(seed).normal(size=(3, *cube.shape))
    weight = torch.as_tensor(w)
    model = xrxai.Model(
        lambda x: torch.einsum("nbyx,kbyx->nk", x, weight) + 5,
        takes="patch",
        targets=worlds.TARGETS,
        dtype="float64",
    )
    return w, model


@pytest.mark.parametrize("b", [0.4, "mean", [0.0, 0.2, "blur"]])
def test_linear_world(b):
    """Pixels as regions are ranked by the highest w (x - b) of their bands."""
    cube = worlds.cube(invalid=False)
    w, model = linear(cube)
    bases = [cube.xai.baseline(one) for one in (b if isinstance(b, list) else [b])]
    mean = sum(base.broadcast_like(cube) for base in bases) / len(bases)
    true = (w * (cube - mean).transpose("band", "y", "x").values).max(1)
    pixels = np.arange(1, 43).reshape(6, 7)
    for mode in ("full", "fast"):
        found = cube.xai.xrai(model, baseline=b, n_steps=1, segments=pixels, mode=mode)
        np.testing.assert_allclose(found.attribution, true, rtol=1e-9, atol=1e-12)
        order = np.argsort(np.argsort(-true.reshape(3, -1), axis=1), axis=1) + 1
        np.testing.assert_array_equal(found["rank"].values.reshape(3, -1), order)


def test_bad_bands_do_not_hide_what_is_negative():
    cube = worlds.cube(invalid=False).assign_coords(good_band=("band", np.arange(10) > 0))
    model = xrxai.Model(
        lambda x: -x.sum((1, 2, 3))[:, None], takes="patch", targets=["less"], dtype="float64"
    )
    found = cube.xai.xrai(model, baseline=0.0, n_steps=1, segments="patch", patch=1)
    np.testing.assert_allclose(found.attribution[0], -cube.isel(band=slice(1, None)).min("band"))


def test_what_no_region_holds_comes_last():
    cube = worlds.cube()
    ids = np.zeros((6, 7), dtype=int)
    ids[2:4, 2:4], ids[4:, 5:] = 1, 2
    found = cube.xai.xrai(worlds.model(), segments=ids)
    rank = found["rank"].isel(target=0).values
    assert set(np.unique(rank)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(rank == 3, found.valid.values & (ids == 0))
    small = cube.xai.xrai(worlds.model(), segments=ids, min_area=4)["rank"].isel(target=0).values
    # The corner of six pixels holds an invalid one: three are left.
    assert set(np.unique(small[ids == 1])) == {1}
    assert set(np.unique(small[(ids == 2) & found.valid.values])) == {2}


def test_ways_to_write_segments():
    cube, model = worlds.cube(), worlds.model()
    halves = np.where(np.arange(7) < 3, 1, 2) * np.ones((6, 1), dtype=int)
    stripes = (np.arange(6) // 2 + 1)[:, None] * np.ones((1, 7), dtype=int)
    one = cube.xai.xrai(model, segments=halves)
    xr.testing.assert_identical(
        one.drop_attrs(), cube.xai.xrai(model, segments=halves.tolist()).drop_attrs()
    )
    mask = xr.DataArray(halves == 2, dims=("y", "x"))
    xr.testing.assert_identical(one.drop_attrs(), cube.xai.xrai(model, segments=mask).drop_attrs())
    both = cube.xai.xrai(model, segments=[mask, stripes])
    assert one["rank"].max() == 2
    assert both["rank"].max() > 2
    assert json.loads(both.attrs["options"])["segments"] == ["DataArray", "ndarray"]
    everything = cube.xai.xrai(model, segments=["felzenszwalb", stripes, "patch"], patch=3)
    assert everything["rank"].max() > both["rank"].max()


def test_polygons():
    pytest.importorskip("rioxarray")
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    cube = worlds.cube(invalid=False).rio.write_crs(32633)
    west = geopandas.GeoDataFrame(geometry=[shapely.box(97, -5, 112, 30)], crs=32633)
    found = cube.xai.xrai(worlds.model(), segments=west)["rank"].isel(target=0)
    assert found.values.tolist() == [[1, 1, 1, 2, 2, 2, 2]] * 6


def test_superpixels():
    """Valid pixels only, connected, fewer and larger at larger scales, of samples by themselves."""
    cube = worlds.cube(y=24, x=30, lead={"time": 2}, invalid=False, bands=5)
    smooth = cube.rolling(y=5, x=5, center=True, min_periods=1).mean()
    smooth[0, :, :, 14:16] = np.nan
    place = locate(smooth)
    options = {"segment_bands": None, "patch": 1, "min_size": 4}

    def cut(place, scales):
        return pool.settle(place, ["felzenszwalb"], place.valid(), scales=scales, **options)

    found = cut(place, [0.05, 1.0, 500.0])
    assert found.maps.dims == ("band", "time", "y", "x")
    assert found.superpixels == [True, True, True]
    first, *maps = found.maps.values
    assert (first == 1).all()
    valid = place.valid().values
    counts = np.array([[one.max() for one in each] for each in maps])
    assert (np.diff(counts, axis=0) < 0).all()
    for each in maps:
        np.testing.assert_array_equal(each > 0, valid)
    # Nothing joins over the gap; without one, the largest scale is the whole image.
    assert counts[-1].tolist() == [2, 1]
    assert set(np.unique(maps[-1][0, :, :14])) == {1}
    alone = cut(locate(smooth.isel(time=1)), [0.05, 1.0, 500.0])
    np.testing.assert_array_equal(alone.maps, found.maps[:, 1])
    scaled = cut(locate(100 * smooth + 3), [0.05, 1.0, 500.0])
    np.testing.assert_array_equal(scaled.maps, found.maps)


def test_a_scale_is_a_number_of_pixels():
    """A step as high as the spread survives in regions below the scale, and not far above."""
    values = np.zeros((2, 16, 16))
    values[:, :, 8:] = 1.0  # the step is twice the root mean square distance from the mean
    place = locate(
        xr.DataArray(
            values,
            dims=("band", "y", "x"),
            coords={"wavelength": ("band", [5e2, 6e2], {"units": "nm"})},
        )
    )
    options = {"segment_bands": None, "patch": 1, "min_size": 1}
    count = {
        scale: pool.settle(place, ["felzenszwalb"], place.valid(), scales=[scale], **options)
        .maps[1]
        .values.max()
        for scale in (16, 512)
    }
    assert count[16] >= 2
    assert count[512] == 1


def test_chosen_bands_cut_the_image():
    scene = synthetic.textures(seed=1, n_per_class=1)
    chip = scene.cube.isel(sample=0)
    chip = chip.copy(data=chip.values)
    model = xrxai.Model(lambda x: x.mean((1, 2, 3))[:, None], takes="patch", targets=["mean"])
    found = chip.xai.xrai(model, n_steps=1, segment_bands=["R", "N"])
    assert json.loads(found.attrs["options"])["segment_bands"] == ["R", "N"]
    other = chip.copy(data=chip.values)
    other[:2] = 0.5  # blue and green say nothing about the cut
    np.testing.assert_array_equal(
        pool.settle(
            locate(chip),
            ["felzenszwalb"],
            locate(chip).valid(),
            scales=[0.1],
            segment_bands=["R", "N"],
            patch=1,
            min_size=3,
        ).maps,
        pool.settle(
            locate(other),
            ["felzenszwalb"],
            locate(other).valid(),
            scales=[0.1],
            segment_bands=["R", "N"],
            patch=1,
            min_size=3,
        ).maps,
    )
    every = [490.0, 560.0, 665.0, 842.0]  # four: reduced to three, without a remark
    assert chip.xai.xrai(model, n_steps=1, segment_bands=every)["rank"].max() > 1


def test_garbage_without_validity_does_not_move_superpixels():
    clean = worlds.cube(y=12, x=12, invalid=False)
    mask = np.random.default_rng(1).random((12, 12)) > 0.2
    good = np.arange(10) != 4
    results = []
    for garbage in (0.0, 1e30, np.inf, -np.inf, np.nan):
        dirty = clean.where(xr.DataArray(mask, dims=("y", "x")), garbage)
        dirty = dirty.where(xr.DataArray(good, dims="band"), garbage)
        dirty = dirty.assign_coords(good_band=("band", good)).transpose(*clean.dims)
        results.append(dirty.xai.xrai(worlds.model(), mask=mask, n_steps=3, dilation=1))
    for other in results[1:]:
        xr.testing.assert_identical(other, results[0])
    assert results[0]["rank"].max() > 2


def test_lazy_maps_and_a_sample_without_data():
    cube = worlds.cube(lead={"time": 3})
    cube[1] = np.nan
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 5, (6, 7)) for _ in range(4)]
    each = xr.DataArray(rng.integers(0, 5, (3, 6, 7)), dims=("time", "y", "x"))
    model = worlds.model()
    with no_compute():
        lazy = cube.chunk(time=1, x=3).xai.xrai(model, segments=[*maps, each], n_steps=4)
    eager = cube.xai.xrai(model, segments=[*maps, each], n_steps=4)
    keys = ["attribution", "rank", "completeness_gap", "baseline_prediction"]
    done = lazy[keys].compute(scheduler="synchronous")
    assert done["rank"].dtype == np.int64
    for key in keys:
        xr.testing.assert_allclose(done[key], eager[key])
    assert (eager["rank"].isel(time=1) == 0).all()
    alone = cube.isel(time=2).xai.xrai(model, segments=[*maps, each.isel(time=2)], n_steps=4)
    xr.testing.assert_equal(alone["rank"], eager["rank"].isel(time=2))


@pytest.mark.parametrize("options", [{}, {"mode": "fast"}, {"over_bands": "sum", "baseline": 0.0}])
def test_planted_region_is_included_first(options):
    scene = synthetic.textures(seed=3)
    for sample in range(3):
        chip = scene.cube.isel(sample=sample)
        here = scene.truth.region.isel(sample=sample)
        model = xrxai.Model(planted.RegionNet(here, 4), takes="patch", targets=["object"])
        found = chip.xai.xrai(model, **options).isel(target=0)
        first = found["rank"] == 1
        assert (first & here).sum() > 0.9 * first.sum()
        rank = found["rank"]
        assert rank.where(here).max() < rank.where(~here).quantile(0.5)
        best = chip.xai.xrai(model, **options).xai.top(float(here.mean())).isel(target=0)
        assert (best & here).sum() > 0.8 * here.sum()
