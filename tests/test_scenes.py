"""Scenes in pieces: tiles without seams, chips, regions."""

from __future__ import annotations

import itertools
import warnings

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xrxai
from xrxai.halo import windows
from xrxai.tiles import Grid, Tile

TARGETS = ["cloud", "shadow", "clear"]
SIZE = (301, 257)


def scene(size=SIZE, *, bands=4, dtype="float32", holes=True, seed=0):
    """A smooth scene with noise, holes without data, and a corner that is empty."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / 40.0
    waves = [np.sin(y * (1 + k / 3) + k) * np.cos(x * (1 + k / 4)) for k in range(bands)]
    values = 0.5 + 0.3 * np.stack(waves) + rng.normal(scale=0.05, size=(bands, *size))
    if holes:
        values[:, 40:60, size[1] // 3 : size[1] // 2] = np.nan
        values[:, -size[0] // 4 :, -size[1] // 4 :] = np.nan
        values[:, size[0] // 2, :] = np.nan
    nm = ("band", np.linspace(480.0, 860.0, bands), {"units": "nm"})
    coords = {"wavelength": nm, "y": -10.0 * np.arange(size[0]), "x": 10.0 * np.arange(size[1])}
    return xr.DataArray(values.astype(dtype), dims=("band", "y", "x"), coords=coords)


def plain():
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 3, 3, padding=1),
    )


def dilated():
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=2, dilation=2),
        nn.Tanh(),
        nn.Conv2d(6, 3, 3, padding=4, dilation=4),
    )


def strided():
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, stride=2),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(6, 3, 1),
    )


class UNet(nn.Module):
    """Three levels down and up again."""

    def __init__(self, width=6):
        super().__init__()
        sizes = [4, width, 2 * width, 4 * width]
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(sizes)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(b + a, a, 3, padding=1) for a, b in itertools.pairwise(sizes[1:])
        )
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x):
        seen = []
        for i, layer in enumerate(self.down):
            x = torch.relu(layer(x if i == 0 else torch.max_pool2d(x, 2)))
            seen.append(x)
        for layer, skip in zip(reversed(self.up), reversed(seen[:-1]), strict=True):
            x = nn.functional.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = torch.relu(layer(torch.cat([x, skip], 1)))
        return self.head(x)


NETS = {"plain": plain, "dilated": dilated, "strided": strided}
METHODS = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 4, "baseline": 0.2},
    "smoothgrad": {"n_samples": 2, "noise": 0.1},
    "occlusion_spatial": {"window": 40, "stride": 32},
}


def model(net, **options):
    """A model of maps in which every class wins somewhere."""
    torch.manual_seed(1)
    options = {"takes": "patch", "gives": "map", "targets": TARGETS} | options
    if net == "strided":  # and does not divide the scene
        options = {"pad": 4} | options
    net = (NETS[net]() if isinstance(net, str) else net).eval()
    last = [part for part in net.modules() if isinstance(part, nn.Conv2d)][-1]
    some = torch.as_tensor(scene((96, 96), holes=False).values[None], dtype=last.bias.dtype)
    with torch.no_grad():
        last.bias -= net(some).mean((0, 2, 3))
    return xrxai.Model(net, **options)


def explain(name, cube, model, **more):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(guided_backprop fails|deconvnet recovers)")
        return getattr(cube.xai, name)(model, progress=False, **METHODS.get(name, {}), **more)


def error(tiled, whole):
    """Largest difference over the largest value, after the same values are missing."""
    tiled = tiled.transpose(*whole.dims)
    np.testing.assert_array_equal(np.isnan(tiled), np.isnan(whole))
    return float(abs(tiled - whole).max() / abs(whole).max())


@pytest.fixture(scope="module")
def whole():
    """Explanations of whole scenes, made once."""
    made = {}

    def of(net, method, reduction):
        key = net, method, reduction
        if key not in made:
            made[key] = explain(method, scene(), model(net, reduction=reduction))
        return made[key]

    return of


@pytest.mark.parametrize(
    "side",
    [100, pytest.param(32, marks=pytest.mark.slow), pytest.param(256, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(m, marks=[pytest.mark.slow] if m == "occlusion_spatial" else [])
        for m in METHODS
    ],
)
@pytest.mark.parametrize("net", NETS)
def test_tiles_have_no_seams(net, method, side, whole):
    reduction = "area" if side == 256 else "frozen_argmax"
    one = whole(net, method, reduction)
    cube = scene().chunk(y=side, x=side)
    tiled = explain(method, cube, model(net, reduction=reduction))
    assert tiled.attrs["halo_exact"] == 1
    done = tiled.compute()
    assert error(done.attribution, one.attribution) < 1e-5
    # Scores of the cores add up to that of the scene.
    total = done.prediction.sum(["tile_y", "tile_x"])
    np.testing.assert_allclose(total, one.prediction, rtol=1e-5)
    np.testing.assert_array_equal(done.target_pixels.sum(["tile_y", "tile_x"]), one.target_pixels)


def test_a_stretched_map_has_no_tiles():
    net = model("strided", pad=None)
    cube = scene((90, 90)).chunk(y=48, x=48)
    with pytest.warns(UserWarning, match=r"stretched.*type Model\(\.\.\., pad=4\)"):
        assert cube.xai.saliency(net).attrs["halo_exact"] == 0
    assert cube.isel(y=slice(88), x=slice(88)).xai.saliency(net).attrs["halo_exact"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_too_small_a_halo_shows(method, whole):
    one = whole("plain", method, "frozen_argmax")
    for halo, least in ((0, 0.05), (3, 1e-3)):  # the radius is 3, and twice that is needed
        tiled = explain(method, scene().chunk(y=64, x=64), model("plain", halo=halo))
        assert tiled.attrs["halo"] == halo
        assert tiled.attrs["halo_exact"] == 0
        assert error(tiled.attribution.compute(), one.attribution) > least


@pytest.mark.parametrize(("dtype", "most"), [("float64", 1e-12), ("float32", 2e-4)])
def test_a_u_net_in_tiles(dtype, most):
    torch.manual_seed(3)
    net = model(UNet().to(getattr(torch, dtype)))
    cube = scene((180, 260), dtype=dtype)
    one = explain("saliency", cube, net)
    tiled = explain("saliency", cube.chunk(y=96, x=96), net)
    assert tiled.attrs["halo_exact"] == 1
    assert error(tiled.attribution.compute(), one.attribution) < most


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    ["guided_backprop", "deconvnet", "deep_lift", "lrp", "hyper_noise_tunnel", "gradient_shap"],
)
def test_other_gradients_have_no_seams(method):
    options = {
        "hyper_noise_tunnel": {"n_samples": 3, "of": "integrated_gradients", "n_steps": 2},
        "gradient_shap": {
            "background": scene((150, 130)).fillna(0).expand_dims("row"),
            "n_samples": 2,
        },
    }.get(method, {})
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 3, padding=1))
    net = model(net.double())
    cube = scene((150, 130), dtype="float64")
    one = explain(method, cube, net, **options)
    tiled = explain(method, cube.chunk(y=40, x=50), net, **options).compute()
    assert error(tiled.attribution, one.attribution) < 1e-12
    for name in ("prediction", "baseline_prediction"):
        if name in one:
            total = tiled[name].sum(["tile_y", "tile_x"])
            np.testing.assert_allclose(total, one[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("occlusion_spectral", {"window": 1, "unit": "band"}),
        ("ablation_spectral", {"bands": 150.0}),
        ("lime_spectral", {"bands": 150.0, "n_samples": 20}),
        ("kernel_shap_spectral", {"bands": 150.0}),
        ("owen_spectral", {"hierarchy": [[(470, 500), (590, 620)], [(720, 740), (850, 870)]]}),
    ],
)
def test_what_bands_do_adds_up_over_tiles(method, options):
    net = model(plain().double())
    cube = scene((150, 130), dtype="float64")
    one = explain(method, cube, net, **options)
    tiled = explain(method, cube.chunk(y=40, x=50), net, **options).compute()
    assert tiled.attribution.sizes["tile_y"] == 4
    for name in ("attribution", "prediction"):
        total = tiled[name].sum(["tile_y", "tile_x"])
        np.testing.assert_allclose(total.transpose(*one[name].dims), one[name], rtol=1e-9)
    if "baseline_prediction" in one:
        total = tiled.baseline_prediction.sum(["tile_y", "tile_x"])
        np.testing.assert_allclose(total, one.baseline_prediction, rtol=1e-9)


@pytest.mark.parametrize("method", ["rise", "lime_spatial", "grad_cam", "guided_ig", "blur_ig"])
def test_methods_that_need_all_pixels_take_a_tile_for_an_image(method):
    options = {
        "rise": {"n_samples": 10, "cells": 3},
        "lime_spatial": {"segments": "patch", "patch": 10, "n_samples": 80},
        "grad_cam": {"layer": "2"},
        "guided_ig": {"n_steps": 2},
        "blur_ig": {"n_steps": 2},
    }[method]
    net = model(plain().double(), reduction="area")
    cube = scene((80, 90), dtype="float64", holes=False)
    tiled = explain(method, cube.chunk(y=40, x=45), net, **options)
    assert tiled.attrs["halo_exact"] == 0
    image = cube.isel(y=slice(40, 80), x=slice(45, 90))
    alone = explain(method, image, net, **options).xai.on_cube()
    part = tiled.compute().xai.on_cube().attribution.isel(y=slice(40, 80), x=slice(45, 90))
    np.testing.assert_allclose(part.transpose(*alone.attribution.dims), alone.attribution)


def test_nodata_is_never_shown_to_the_model_and_empty_tiles_are_skipped():
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain()

        def forward(self, x):
            seen.append(x.detach().clone())
            return self.net(x)

    net = model(Watch(), halo=6)
    garbage = scene().fillna(-9e9).assign_attrs(nodata=-9e9)
    one = explain("saliency", garbage, net)
    lazy = explain("saliency", garbage.chunk(y=64, x=64), net)
    seen.clear()
    tiled = lazy.compute(scheduler="synchronous")
    assert error(tiled.attribution, one.attribution) < 1e-5
    assert all(float(x.min()) > -10 for x in seen)
    # The last tile of the last two rows and columns has no data.
    tiles = tiled.sizes["tile_y"] * tiled.sizes["tile_x"]
    empty = int((tiled.model_evaluations == 0).sum())
    assert empty >= 1
    assert len(seen) == tiles - empty
    assert bool(tiled.prediction.isel(tile_y=-1, tile_x=-1).isnull().all())


@pytest.mark.slow
def test_same_bits_whatever_the_chunks_and_the_scheduler():
    net = model("plain")
    cube = scene((128, 96))
    options = {"n_samples": 3}
    one = cube.chunk(y=32, x=32).xai.smoothgrad(net, **options)
    done = one.compute(scheduler="synchronous")
    other = cube.chunk(y=(16, 32, 16, 32, 32), x=32, band=1).xai.smoothgrad(net, **options)
    for lazy, scheduler in ((one, "threads"), (one, "processes"), (other, "threads")):
        again = lazy.compute(scheduler=scheduler)
        for name in ("attribution", "standard_error", "prediction", "model_evaluations"):
            np.testing.assert_array_equal(again[name], done[name], err_msg=f"{name}, {scheduler}")
    assert one.attrs["run"] == cube.chunk(y=32, x=32).xai.smoothgrad(net, **options).attrs["run"]
    assert one.attrs["run"] != cube.chunk(y=32, x=32).xai.smoothgrad(net, n_samples=4).attrs["run"]
    assert one.attrs["run"] != (cube * 2).chunk(y=32, x=32).xai.smoothgrad(net).attrs["run"]


def test_noise_belongs_to_places_in_the_scene():
    net = model(plain().double())
    cube = scene((130, 150), dtype="float64")
    found = [
        cube.chunk(y=side, x=side).xai.smoothgrad(net, n_samples=2).attribution.compute()
        for side in (40, 70)
    ]
    assert error(*found) < 1e-12


def test_a_lazy_scene_is_not_looked_at_before_it_is_computed():
    def refuse(dsk, keys, **kwargs):
        raise AssertionError("something was computed")

    cube = scene((64, 64)).chunk(y=32, x=32)
    with dask.config.set(scheduler=refuse):
        lazy = cube.xai.integrated_gradients(model("plain"))
        cube.xai.occlusion_spatial(model("plain"), window=8)
        cube.xai.lime_spectral(model("plain"), bands=150.0)
    assert lazy.attribution.chunks is not None
    assert lazy.prediction.data.numblocks == (1, 2, 2)


def test_a_mean_spectrum_as_baseline_is_that_of_the_scene():
    net = model(plain().double())
    cube = scene((90, 100), dtype="float64")
    one = cube.xai.integrated_gradients(net, n_steps=3, baseline="mean", progress=False)
    lazy = cube.chunk(y=45, x=50).xai.integrated_gradients(net, n_steps=3, baseline="mean")
    assert error(lazy.attribution.compute(), one.attribution) < 1e-10


def chip_model(**options):
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(4, 5, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, 3),
    )  # fmt: skip
    return xrxai.Model(net.double(), takes="patch", targets=TARGETS, **options)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "method", ["saliency", "occlusion_spatial", "lime_spectral", "lime_spatial"]
)
def test_a_grid_of_chips(method, lazy):
    options = {
        "occlusion_spatial": {"window": 8, "stride": 8},
        "lime_spectral": {"bands": 150.0, "n_samples": 30},
        "lime_spatial": {"segments": "patch", "patch": 8, "n_samples": 60},
    }.get(method, {})
    # Segments without data are left out of an image, and draws depend on how many there are.
    cube = scene((70, 85), dtype="float64", holes=method != "lime_spatial")
    given = cube.chunk(y=20, x=50, band=2) if lazy else cube

    def run(cube, model):
        return getattr(cube.xai, method)(model, progress=False, **options)

    found = run(given, chip_model(patch=(16, 24))).compute()
    assert found.prediction.dims == ("target", "tile_y", "tile_x")
    assert found.prediction.shape == (3, 5, 4)
    flat = found.xai.on_cube()
    for i, j in ((0, 0), (2, 1), (3, 2)):
        rows, columns = slice(16 * i, 16 * i + 16), slice(24 * j, 24 * j + 24)
        alone = run(cube.isel(y=rows, x=columns), chip_model())
        np.testing.assert_allclose(found.prediction[:, i, j], alone.prediction)
        part = flat.attribution.isel(y=rows, x=columns)
        one = alone.xai.on_cube().attribution
        if one.dims == ("target", "band"):
            one = one.broadcast_like(part).where(part.notnull())
        np.testing.assert_allclose(part, one.transpose(*part.dims), rtol=1e-9, atol=1e-12)
    # The last chips reach over the edge: what is beyond is no data.
    assert flat.attribution.sizes["y"] == 70
    assert int(found.tile_row_stop[-1]) == 70
    np.testing.assert_allclose(found.tile_y[0], cube.y[:16].mean())


def regions():
    ids = np.zeros((90, 100), dtype=int)
    ids[5:15, 3:20], ids[50:64, 40:64], ids[80:90, 0:10] = 7, 3, 12
    ids[84:88, 92:96] = 20  # without data
    return ids


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["spectrum", "map"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lime_spectral", {"bands": 150.0, "n_samples": 30}),
        ("kernel_shap_spectral", {"bands": 150.0}),
        ("occlusion_spectral", {"window": 130.0}),
        ("ablation_spectral", {"bands": 150.0}),
        ("owen_spectral", {"hierarchy": [[(470, 500), (590, 620)], [(720, 740), (850, 870)]]}),
    ],
)
def test_each_region_by_itself(method, options, kind, lazy):
    cube = scene((90, 100), dtype="float64")
    if kind == "map":
        net = model(plain().double(), reduction="area")
    else:
        torch.manual_seed(5)
        layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
        net = xrxai.Model(layers, takes="spectrum", targets=TARGETS, scale=2.0)
    given = cube.chunk(y=40, x=30) if lazy else cube

    def run(cube, **more):
        return getattr(cube.xai, method)(net, progress=False, **options, **more)

    found = run(given, per=regions()).compute()
    assert found.region.values.tolist() == [3, 7, 12, 20]
    assert found.region_size.values.tolist() == [14 * 24, 170, 100, 16]
    assert bool(found.attribution.sel(region=20).isnull().all())
    each = None if kind == "map" else run(cube)
    for name in (3, 7, 12):
        here = xr.DataArray(regions() == name, dims=("y", "x"))
        if kind == "map":
            one = run(cube, region=here).attribution
        else:
            # The explanation of a mean is the mean of the explanations: all is linear in scores.
            one = each.attribution.where(here).mean(["y", "x"])
        got = found.attribution.sel(region=name).transpose(*one.dims)
        np.testing.assert_allclose(got, one, rtol=1e-9, atol=1e-12)
    spread = found.xai.on_cube()
    assert set(spread.attribution.dims) == {"target", "band", "y", "x"}


def test_regions_are_named_by_the_index_of_polygons():
    import geopandas
    import shapely

    cube = scene((60, 60), dtype="float64", holes=False).assign_coords(
        y=600.0 - 10 * np.arange(60), x=5.0 + 10 * np.arange(60)
    )
    boxes = [shapely.box(400, 100, 500, 200), shapely.box(0, 300, 100, 400)]
    fields = geopandas.GeoDataFrame({"crop": ["wheat", "rye"]}, geometry=boxes)
    net = model(plain().double(), reduction="area")
    found = net_per(cube, net, fields.set_index("crop"))
    assert found.region.values.tolist() == ["wheat", "rye"]
    inside = net_per(cube, net, fields.set_index("crop").loc[["rye"]])
    np.testing.assert_allclose(
        inside.attribution.sel(region="rye"), found.attribution.sel(region="rye"), rtol=1e-9
    )


def net_per(cube, net, per):
    return cube.xai.occlusion_spectral(net, window=130.0, per=per, progress=False)


def test_superpixels_as_regions():
    cube = scene((60, 60), dtype="float64", holes=False)
    found = net_per(cube, model(plain().double(), reduction="area"), "slic")
    # Regions that cover the scene: what bands do in them adds up to what they do in all of it.
    one = cube.xai.occlusion_spectral(
        model(plain().double(), reduction="area"), window=130.0, progress=False
    )
    np.testing.assert_allclose(found.attribution.sum("region"), one.attribution, rtol=1e-9)


@pytest.mark.parametrize(
    ("n", "side", "halo", "stride"), [(301, 64, 8, 4), (65, 64, 8, 1), (7, 9, 3, 2)]
)
def test_a_grid_covers_the_scene_once(n, side, halo, stride):
    grid = Grid.regular((n, n + 5), (side, side), halo, stride)
    times = np.zeros((n, n + 5), dtype=int)
    for tile in grid:
        times[tile.core] += 1
        assert tile.window[0].start % stride == 0
        rows = tile.window[0].stop - tile.window[0].start
        assert np.zeros(tile.shape)[tile.inner].shape == np.zeros((n, n + 5))[tile.core].shape
        assert rows <= max(grid.chunks[0]) + 2 * halo
    assert (times == 1).all()
    assert min(grid.chunks[0]) >= min(halo, n)
    assert grid.pixels[0] == n * (n + 5)
    assert grid.pixels[1] == sum(int(np.prod(t.shape)) for t in grid)
    assert Tile.whole((n, n)).inner == (slice(0, n), slice(0, n))


@pytest.mark.parametrize(("side", "halo"), [(8, 3), (8, 8), (16, 5), (40, 20)])
@pytest.mark.parametrize("axes", [(1, 2), (0, None)])
def test_windows_are_cut_out_of_the_blocks(side, halo, axes):
    values = np.arange(2 * 37 * 45).reshape(2, 37, 45)
    if axes[1] is None:
        values = values[:, :, :1].transpose(1, 0, 2)
    grid = Grid.regular((37, 45), (side, side), halo)
    chunks = tuple(
        grid.chunks[axes.index(i)] if i in axes else (n,) for i, n in enumerate(values.shape)
    )
    array = dask.array.from_array(values, chunks)
    cut = windows(array, grid, axes)
    assert cut.chunks == array.chunks
    for row in range(grid.shape[0]):
        for column in range(grid.shape[1] if axes[1] is not None else 1):
            tile = grid.tile(row, column)
            wanted = [slice(None)] * 3
            block = [0, 0, 0]
            for axis, window, i in zip(axes, tile.window, (row, column), strict=True):
                if axis is not None:
                    wanted[axis], block[axis] = window, i
            found = dask.get(cut.__dask_graph__(), (cut.name, *block))
            np.testing.assert_array_equal(found, values[tuple(wanted)])


def test_a_part_of_a_scene_has_a_small_graph():
    grid = Grid.regular((1000, 1000), (10, 10), 5)
    array = dask.array.zeros((1, 1000, 1000), chunks=(1, 10, 10))
    cut = windows(array, grid, (1, 2))
    layer = cut.dask.layers[cut.name]
    assert len(layer) == 10_000
    some = cut.dask.cull({(cut.name, 0, 50, 50), (cut.name, 0, 50, 51)})
    assert len(some.to_dict()) == 2 + 3 * 4  # two windows, and the blocks around them
    with pytest.raises(KeyError):
        layer[(cut.name, 0, 100, 0)]


def spectrum_model():
    return xrxai.Model(lambda x: x[:, :3], takes="spectrum", targets=TARGETS)


def small():
    return scene((20, 30), holes=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: small().xai.occlusion_spectral(spectrum_model(), per="fields"),
            "per='fields' is not known; type polygons (a GeoDataFrame), a map of ids (y, x) or "
            "'slic'.",
        ),
        (
            lambda: small().chunk(y=5).xai.occlusion_spectral(spectrum_model(), per="slic"),
            "per='slic' must see the pixels, and the cube is lazy (dask); type "
            "per=xrxai.segments(cube.compute()), or give polygons or a map of ids.",
        ),
        (
            lambda: small().xai.occlusion_spectral(spectrum_model(), per=np.ones((3, 3), int)),
            "The segment map has shape (3, 3) and the cube {'y': 20, 'x': 30}; type a map of shape "
            "(20, 30) over ('y', 'x').",
        ),
        (
            lambda: small().xai.lime_spectral(chip_model(), per=np.ones((20, 30), int)),
            "per= asks of regions of a scene, but the model answers one value per target for a "
            "whole chip; drop per=, or switch regions of the chip with "
            "lime_spatial(segments=...).",
        ),
        (
            lambda: small().xai.lime_spectral(
                model("plain"), per=np.ones((20, 30), int), region=np.ones((20, 30), bool)
            ),
            "region= and per= came together: region= sums the map inside one region, per= asks of "
            "each region by itself; drop region=.",
        ),
        (
            lambda: (
                small()
                .stack(pixel=("y", "x"))
                .reset_index("pixel", drop=True)
                .xai.ablation_spectral(spectrum_model(), per=np.ones((20, 30), int))
            ),
            "per= asks of regions, but the cube has dims ('band', 'pixel') and no rows and "
            "columns; drop per=, or average the explanation of each spectrum over a group.",
        ),
        (
            lambda: (
                small()
                .expand_dims(region=2)
                .xai.ablation_spectral(spectrum_model(), per=np.ones((20, 30), int))
            ),
            "The cube has the dim 'region', by which regions are counted; type "
            "cube.rename(region=...) to give it another name.",
        ),
        (
            lambda: small().expand_dims(tile_y=2).xai.saliency(chip_model(patch=8)),
            "The cube has the dim 'tile_y', by which the chips of a scene are counted; type "
            "cube.rename(...) to give it another name.",
        ),
        (
            lambda: chip_model(patch=0),
            "patch=0 is too small; type patch=1 or more.",
        ),
        (
            lambda: model("plain", patch=32),
            "patch=(32, 32) cuts a scene into chips, but the model answers a map of any size; drop "
            "patch=, and chunk the cube.",
        ),
        (
            lambda: xrxai.Model(lambda x: x, takes="spectrum", targets=["a"], patch=(8, 8)),
            "patch=(8, 8) cuts a scene into chips, but the model takes one pixel at a time; drop "
            "patch=.",
        ),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(xrxai.XrxaiError) as error:
        call()
    assert str(error.value) == message


def test_chunks_that_cost_are_told():
    """Without a pixel being read."""
    size = (2100, 2100)
    chunks = ((2, 2), (700,) * 3, (1000, 1000, 100))
    lazy = dask.array.zeros((4, *size), chunks=chunks, dtype="float32")
    cube = xr.DataArray(lazy, dims=("band", "y", "x"), coords=small().coords["wavelength"].coords)
    with pytest.warns(UserWarning, match=r"along band are not those of tiles, so 18 chunks"):
        cube.xai.saliency(model("plain"))
    with pytest.warns(UserWarning, match=r"18 pieces.*joined to 67 MiB each.*patch=\(height"):
        cube.xai.saliency(chip_model())
