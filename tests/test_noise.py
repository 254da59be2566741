"""SmoothGrad and tunnels of masked bands: twins, peers, worlds whose moments are known."""

from __future__ import annotations

import copy
import json
import types

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import oracles_noise, worlds
from tests.conftest import raises_exactly
from xrxai import patterns, rounds
from xrxai.errors import OptionError

OF = ["saliency", "input_x_gradient", "integrated_gradients"]
N_STEPS = oracles_noise.N_STEPS
STATISTICS = ["mean", "square", "variance"]


@pytest.fixture(scope="module")
def small():
    return worlds.cube(bands=4, y=2, x=3), worlds.model("patch", bands=4)


def linear(w, constant=5.0):
    """The score w.x + c of patches, one target."""
    weight = torch.as_tensor(w)
    return xrxai.Model(
        lambda x: (x * weight).flatten(1).sum(1, keepdim=True) + constant,
        takes="patch",
        targets=["K"],
        dtype="float64",
    )


def powers(power):
    """sum of x**power: its gradient under noise has moments that are known."""
    return xrxai.Model(
        lambda x: (x**power).flatten(1).sum(1, keepdim=True),
        takes="patch",
        targets=["K"],
        dtype="float64",
    )


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("of", OF)
def test_smoothgrad_twin(small, of, statistic):
    cube, model = small
    f, x = worlds.function(model, cube.values)
    ok = cube.notnull().all("band").values
    spread = np.diff(np.quantile(cube.values[:, ok], [0.02, 0.98], axis=1), axis=0)[0]
    sigma = 0.15 * spread[:, None, None] * ok
    b = np.where(ok, 0.2, 0.0)[None].repeat(4, 0)
    draws = [
        oracles_noise.method(of, f, x + sigma * noise, b)
        for noise in oracles_noise.noises(x.shape, 3, 4)
    ]
    value, error = oracles_noise.told(draws, statistic)
    found = cube.xai.smoothgrad(
        model,
        of=of,
        statistic=statistic,
        n_samples=3,
        seed=4,
        baseline=0.2,
        n_steps=N_STEPS,
    )
    np.testing.assert_allclose(found.attribution, np.where(ok, value, np.nan), atol=1e-6)
    assert ("standard_error" in found) == (statistic != "variance")
    if error is not None:
        np.testing.assert_allclose(found.standard_error, np.where(ok, error, np.nan), atol=1e-6)
    np.testing.assert_allclose(found.prediction, f(x), rtol=1e-12)
    options = json.loads(found.attrs["options"])
    assert ("n_steps" in options) == ("baseline" in options) == (of == "integrated_gradients")


@pytest.mark.parametrize("snr", [20.0, "bands"])
def test_smoothgrad_of_spectra_by_snr(snr):
    """The standard deviation is the value over the SNR; all pixels share the draws."""
    cube, model = worlds.cube(bands=4, y=2, x=2, invalid=False), worlds.model("spectrum", bands=4)
    cube = -cube  # |value|: a reflectance of noise may fall below zero
    ratio = np.array([5.0, 10.0, 20.0, np.inf]) if snr == "bands" else np.full(4, snr)
    given = xr.DataArray(ratio, dims="band") if snr == "bands" else snr
    found = cube.xai.smoothgrad(model, snr=given, n_samples=5)
    for y, x in np.ndindex(2, 2):
        f, one = worlds.function(model, cube.values[:, y, x])
        draws = [
            oracles_noise.method("saliency", f, one + abs(one) / ratio * noise)
            for noise in oracles_noise.noises((4,), 5, 0)
        ]
        value, error = oracles_noise.told(draws, "mean")
        np.testing.assert_allclose(found.attribution[..., y, x], value, atol=1e-7)
        np.testing.assert_allclose(found.standard_error[..., y, x], error, atol=1e-7)


def test_frozen_classes_are_those_of_the_clean_cube():
    cube, model = worlds.cube(bands=4, y=3, x=3, invalid=False), worlds.model("map", bands=4)
    x = cube.values
    with torch.no_grad():
        won = model.forward(torch.as_tensor(x)[None])[0].argmax(0).numpy()

    def f(z):
        with torch.no_grad():
            out = model.forward(torch.as_tensor(z)[None])[0].numpy()
        return np.array([(out[k] * (won == k)).sum() for k in range(3)])

    spread = np.diff(cube.quantile([0.02, 0.98], ["y", "x"]).values, axis=0)[0]
    draws = [
        oracles_noise.method("saliency", f, x + 0.9 * spread[:, None, None] * noise)
        for noise in oracles_noise.noises(x.shape, 4, 0)
    ]
    found = cube.xai.smoothgrad(model, noise=0.9, n_samples=4)
    np.testing.assert_allclose(found.attribution, np.mean(draws, axis=0), atol=1e-7)


@pytest.mark.parametrize("of", OF)
@pytest.mark.parametrize("kind", ["patch", "map", "spectrum"])
def test_without_noise_it_is_the_method(of, kind):
    cube, model = worlds.cube(), worlds.model(kind)
    extra = {"n_steps": 4} if of == "integrated_gradients" else {}
    alone = getattr(cube.xai, of)(model, **extra)
    found = {
        "smoothgrad": cube.xai.smoothgrad(model, of=of, noise=0, n_samples=2, **extra),
        "tunnel": cube.xai.hyper_noise_tunnel(model, of=of, probability=0, n_samples=2, **extra),
    }
    for name, one in found.items():
        xr.testing.assert_allclose(one.attribution, alone.attribution, rtol=1e-12), name
        np.testing.assert_allclose(one.standard_error.fillna(0), 0, atol=1e-12)


def test_moments_of_a_known_world():
    """f = sum x^3: 3 (x + s e)^2 has the mean 3 (x^2 + s^2), variance 9 (4 x^2 s^2 + 2 s^4).

    The error that is told must be the one that is made.
    """
    cube = worlds.cube(bands=6, y=5, x=5, invalid=False)
    spread = np.diff(cube.quantile([0.02, 0.98], ["y", "x"]).values, axis=0)[0]
    s = 0.15 * spread[:, None, None]
    x = cube.values
    found = cube.xai.smoothgrad(powers(3), n_samples=2000)
    off = (found.attribution[0].values - 3 * (x**2 + s**2)) / found.standard_error[0].values
    assert abs(off).max() < 5
    assert 0.85 < off.std() < 1.15
    spread = cube.xai.smoothgrad(powers(3), n_samples=2000, statistic="variance").attribution[0]
    np.testing.assert_allclose(spread, 9 * (4 * x**2 * s**2 + 2 * s**4), rtol=0.25)


def test_units_and_signs():
    cube = worlds.cube().assign_attrs(units="W")
    model = worlds.model(units="mg/kg")
    units = {"mean": "mg/kg / (W)", "square": "(mg/kg / (W))²", "variance": "(mg/kg / (W))²"}
    for statistic in STATISTICS:
        found = cube.xai.smoothgrad(model, statistic=statistic, n_samples=2)
        assert found.attribution.attrs["units"] == units[statistic]
        assert found.attribution.attrs["signed"] == (statistic == "mean")
        found = cube.xai.hyper_noise_tunnel(model, statistic=statistic, n_samples=2)
        wanted = "mg/kg" if statistic == "mean" else "(mg/kg)²"
        assert found.attribution.attrs["units"] == wanted


def test_level_of_noise_is_of_valid_pixels_of_each_sample():
    from xrxai.labelled import noise
    from xrxai.labelled.cube import locate

    cube = worlds.cube(lead={"time": 2})
    cube = cube * xr.DataArray([1.0, 10.0], dims="time")
    cube = cube.assign_coords(good_band=("band", np.arange(10) != 3))
    dirty = cube.where(cube.good_band, np.inf).transpose(*cube.dims)
    place = locate(dirty)
    level, relative = noise.settle(place, place.valid(), 0.5, None)
    assert not relative
    q = cube.quantile([0.02, 0.98], ["y", "x"]).where(cube.good_band, 0)
    np.testing.assert_allclose(level, 0.5 * (q[1] - q[0]).transpose("time", "band"))
    lazy = locate(dirty.chunk(time=1, y=2, band=3))
    later, _ = noise.settle(lazy, lazy.valid(), 0.5, None)
    assert later.chunks is not None
    np.testing.assert_array_equal(later, level)


# the peers


def level_cube(bands=4, y=3, x=3):
    """Every band holds the same values in another order: one sigma for all of them."""
    rng = np.random.default_rng(5)
    values = rng.uniform(0.1, 0.9, y * x)
    made = np.stack([rng.permutation(values) for _ in range(bands)]).reshape(bands, y, x)
    return worlds.cube(bands, y, x, invalid=False).copy(data=made)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_captum_noise_tunnel_on_the_same_draws(statistic, monkeypatch):
    attr = pytest.importorskip("captum.attr")
    cube, model = level_cube(), worlds.model("patch", bands=4)
    sigma = 0.15 * np.diff(np.quantile(cube.values[0], [0.02, 0.98]))[0]
    name = {"mean": "smoothgrad", "square": "smoothgrad_sq", "variance": "vargrad"}[statistic]
    noise = torch.as_tensor(np.stack(oracles_noise.noises(cube.shape, 6, 0))) * sigma
    monkeypatch.setattr(torch, "normal", lambda mean, std: noise)
    found = cube.xai.smoothgrad(model, statistic=statistic, n_samples=6)
    tunnel = attr.NoiseTunnel(attr.Saliency(model.forward))
    for k, target in enumerate(worlds.TARGETS):
        theirs = tunnel.attribute(
            torch.as_tensor(cube.values)[None],
            nt_type=name,
            nt_samples=6,
            stdevs=float(sigma),
            target=k,
            abs=False,
        )
        np.testing.assert_allclose(
            found.attribution.sel(target=target), theirs[0].detach(), rtol=1e-6, atol=1e-10
        )


def test_captum_noise_tunnel_by_statistics():
    attr = pytest.importorskip("captum.attr")
    cube, model = level_cube(), worlds.model("patch", bands=4)
    sigma = 0.15 * np.diff(np.quantile(cube.values[0], [0.02, 0.98]))[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = attr.NoiseTunnel(attr.Saliency(model.forward)).attribute(
            torch.as_tensor(cube.values)[None],
            nt_samples=1000,
            stdevs=float(sigma),
            target=0,
            abs=False,
        )
    ours = cube.xai.smoothgrad(model, target="K", n_samples=1000)
    off = (ours.attribution[0] - theirs[0].detach().numpy()) / (np.sqrt(2) * ours.standard_error[0])
    assert abs(off).max() < 4.5
    assert 0.6 < off.std() < 1.5


def test_variance_where_the_mean_is_large():
    """captum (and meteors on it) take E[a^2] - E[a]^2 in float32: negative, and far off."""
    attr = pytest.importorskip("captum.attr")
    cube = level_cube().astype("float32")
    sigma = 0.15 * np.diff(np.quantile(cube.values[0], [0.02, 0.98]))[0]
    slope = 0.01 / sigma  # so that the gradient is 1000 with a spread of 0.01

    def net(x):
        return (1000 * x + slope * x**2 / 2).flatten(1).sum(1, keepdim=True)

    model = xrxai.Model(net, takes="patch", targets=["K"])
    ours = cube.xai.smoothgrad(model, statistic="variance", n_samples=500).attribution
    assert ours.dtype == np.float32
    assert (ours >= 0).all()
    np.testing.assert_allclose(ours, 1e-4, rtol=0.3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = attr.NoiseTunnel(attr.Saliency(net)).attribute(
            torch.as_tensor(cube.values)[None],
            nt_type="vargrad",
            nt_samples=500,
            stdevs=float(sigma),
            abs=False,
        )
    assert theirs.min() <= -0.0625


@pytest.mark.parametrize("magnitude", [None, True, False])
def test_saliency_squares_unless_told_not_to(magnitude, monkeypatch):
    """PAIR's default is the square, and its noise 0.15 of the range of the whole image."""
    core = pytest.importorskip("saliency.core")
    cube, model = level_cube(), worlds.model("patch", bands=4)
    noise = iter(oracles_noise.noises(cube.shape, 25, 0))
    level = 0.15 * (cube.max() - cube.min()).item()
    asked = []

    def normal(mean, sigma, shape):
        asked.append(sigma)
        return next(noise) * ours

    ours = 0.15 * np.diff(np.quantile(cube.values[0], [0.02, 0.98]))[0]
    monkeypatch.setattr(np.random, "normal", normal)

    def call(x, call_model_args=None, expected_keys=None):
        z = torch.as_tensor(x).requires_grad_()
        (slope,) = torch.autograd.grad(model.forward(z)[:, 0].sum(), z)
        return {core.INPUT_OUTPUT_GRADIENTS: slope.numpy()}

    more = {} if magnitude is None else {"magnitude": magnitude}
    theirs = core.GradientSaliency().GetSmoothedMask(cube.values, call, **more)
    statistic = "mean" if magnitude is False else "square"
    found = cube.xai.smoothgrad(model, target="K", statistic=statistic).attribution[0]
    np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-9)  # theirs adds in float32
    np.testing.assert_allclose(asked, [level] * 25)


# running moments


def test_running_moments_are_those_of_all_draws():
    from xrxai.tensors.running import Running

    rng = np.random.default_rng(0)
    draws = 1e6 + rng.normal(size=(40, 3, 2, 5))
    weight = rng.random((40, 5)) < 0.4
    weight[:, 4] = False
    table = torch.as_tensor(weight).double()
    x = torch.zeros(3, 5, dtype=torch.float64)
    found = {}
    for statistic in ("mean", "variance"):
        plain, some = Running(x, 2, torch.ones_like(table[:, :1])), Running(x, 2, table)
        for j in range(40):
            for rows in (slice(0, 2), slice(2, 3)):
                for k in range(2):
                    for bands in (slice(0, 3), slice(3, 5)):
                        here = draws[j, rows, k, bands]
                        plain.push(j, k, (rows, bands), torch.tensor(here))
                        some.push(j, k, (rows, bands), torch.tensor(here))
        found[statistic] = plain.finish(statistic), some.finish(statistic)
    plain, some = found["mean"]
    np.testing.assert_allclose(plain["attribution"], draws.mean(0), rtol=1e-14)
    error = draws.std(0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(plain["standard_error"], error, rtol=1e-8)
    variance, of_some = (one["attribution"] for one in found["variance"])
    np.testing.assert_allclose(variance, draws.var(0), rtol=1e-8)
    for f in range(4):
        kept = draws[weight[:, f], :, :, f]
        np.testing.assert_allclose(some["attribution"][..., f], kept.mean(0), rtol=1e-14)
        np.testing.assert_allclose(of_some[..., f], kept.var(0), rtol=1e-8)
        error = kept.std(0, ddof=1) / np.sqrt(len(kept))
        np.testing.assert_allclose(some["standard_error"][..., f], error, rtol=1e-8)
    for never in (some["attribution"], some["standard_error"], of_some):
        assert torch.isnan(never[..., 4]).all()


def test_one_draw_has_no_error():
    from xrxai.tensors.running import Running

    run = Running(torch.zeros(1, 2), 1, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    every = slice(0, 1), slice(0, 2)
    run.push(0, 0, every, torch.ones(1, 2))
    run.push(1, 0, every, torch.ones(1, 2))
    np.testing.assert_array_equal(run.finish("mean")["standard_error"], [[[0, np.nan]]])


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8])
def test_variance_is_never_negative(scale):
    from xrxai.tensors.running import Running

    rng = np.random.default_rng(1)
    run = Running(torch.zeros(50, 20), 1, torch.ones(200, 1))
    for j in range(200):
        values = scale + rng.normal(size=(50, 20)) * rng.choice([0, 1e-8, 1e-3, 1])
        every = slice(0, 50), slice(0, 20)
        run.push(j, 0, every, torch.as_tensor(values, dtype=torch.float32))
        assert (copy.deepcopy(run).finish("variance")["attribution"] >= 0).all()


@pytest.mark.parametrize("antithetic", [False, True])
def test_no_more_than_a_batch_goes_through_the_model(antithetic):
    seen = []
    net = worlds.PatchNet().double()

    def watched(x):
        seen.append(len(x))
        return net(x)

    model = xrxai.Model(watched, takes="patch", targets=worlds.TARGETS, dtype="float64")
    cube = worlds.cube(lead={"time": 3})
    for size in (1, 2, 5):
        seen.clear()
        cube.xai.smoothgrad(model, n_samples=4, batch_size=size)
        cube.xai.hyper_noise_tunnel(model, n_samples=4, batch_size=size, antithetic=antithetic)
        assert max(seen) <= size
        assert sum(seen) == 3 * (1 + 4) * 2


# tunnels of masked bands


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("normalise", ["none", "kept"])
@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("of", OF)
def test_tunnel_twin(small, of, statistic, normalise, antithetic):
    cube, model = small
    f, x = worlds.function(model, cube.values)
    ok = cube.notnull().all("band").values
    found = cube.xai.hyper_noise_tunnel(
        model,
        of=of,
        statistic=statistic,
        normalise=normalise,
        antithetic=antithetic,
        n_samples=6,
        n_steps=N_STEPS,
        baseline=0.2,
        seed=2,
    )
    kept = patterns.masks(6, 4, probability=0.5, n_masked=None, antithetic=antithetic, seed=2)
    if antithetic:
        np.testing.assert_array_equal(kept[::2], ~kept[1::2])
    b = np.where(ok, 0.2, 0.0)[None].repeat(4, 0)
    draws = np.array(
        [oracles_noise.method(of, f, np.where(k[:, None, None], x, b), b) for k in kept]
    )
    np.testing.assert_array_equal(found.draws_kept, kept.sum(0))
    for band in range(4):
        rows = kept[:, band] if normalise == "kept" else np.ones(6, bool)
        one = draws[rows, :, band]
        if antithetic and normalise == "none" and statistic != "variance":
            squared = one**2 if statistic == "square" else one
            value, error = oracles_noise.told((squared[::2] + squared[1::2]) / 2, "mean")
        else:
            value, error = oracles_noise.told(one, statistic)
        here = found.isel(band=band)
        np.testing.assert_allclose(here.attribution, np.where(ok, value, np.nan), atol=1e-6)
        if error is not None and rows.sum() > 1:
            np.testing.assert_allclose(here.standard_error, np.where(ok, error, np.nan), atol=1e-6)


def test_tunnel_of_a_linear_model():
    """Expectation (1 - p) x w; x w itself when only the draws that kept a band count."""
    cube = worlds.cube(bands=5, y=2, x=2, invalid=False)
    w = np.random.default_rng(2).normal(size=cube.shape)
    model = linear(w)
    for p in (0.2, 0.7):
        found = cube.xai.hyper_noise_tunnel(model, probability=p, n_samples=3000)
        off = (found.attribution[0] - (1 - p) * cube * w) / found.standard_error[0]
        assert abs(off).max() < 4.5
    kept = cube.xai.hyper_noise_tunnel(model, normalise="kept", n_samples=20)
    np.testing.assert_allclose(kept.attribution[0], cube * w, rtol=1e-12)
    np.testing.assert_allclose(kept.standard_error, 0, atol=1e-12)
    # Every band is kept in exactly half of the draws: no error is left.
    pairs = cube.xai.hyper_noise_tunnel(model, antithetic=True, n_samples=2)
    np.testing.assert_allclose(pairs.attribution[0], cube * w / 2, rtol=1e-12)
    pairs = cube.xai.hyper_noise_tunnel(model, antithetic=True, n_samples=20)
    np.testing.assert_allclose(pairs.standard_error, 0, atol=1e-12)


def test_tunnel_of_groups():
    cube, model = worlds.cube(), worlds.model()
    found = cube.xai.hyper_noise_tunnel(
        model, bands={"low": [(440, 560)], "high": [(700, 860)]}, n_masked=1, n_samples=8
    )
    part = found.group_of_band.values
    assert list(found.group.values) == ["low", "high"]
    assert set(part) == {0, 1, 2}
    kept = found.draws_kept
    assert kept.dims == ("group",)
    assert kept.sum() == 8, "one of the two in every draw"
    # Masked, the product with the gradient is 0; in no group, it never is.
    square = cube.xai.hyper_noise_tunnel(
        model, bands={"low": [(440, 560)]}, probability=0.999, n_samples=2
    ).attribution.isel(target=0, y=3, x=3)
    assert (square.values[part == 1] == 0).all()
    assert (square.values[part != 1] != 0).all()
    assert json.loads(found.attrs["options"])["bands"] == ["low", "high"]


def test_a_band_that_no_draw_kept_is_unknown():
    cube, model = worlds.cube(), worlds.model()
    found = cube.xai.hyper_noise_tunnel(model, probability=0.9, n_samples=3, normalise="kept")
    never = found.draws_kept == 0
    assert never.any()
    assert not never.all()
    assert found.attribution.sel(band=never).isnull().all()
    valid = found.attribution.sel(band=~never).where(found.valid, 0)
    assert valid.notnull().all()


def test_masks():
    for k in (1, 3, 6):
        kept = patterns.masks(50, 7, probability=0.5, n_masked=k, antithetic=False, seed=0)
        assert ((~kept).sum(1) == k).all()
        assert len({tuple(row) for row in kept}) > 5
    kept = patterns.masks(4000, 3, probability=0.3, n_masked=None, antithetic=False, seed=0)
    np.testing.assert_allclose(kept.mean(0), 0.7, atol=0.03)
    kept = patterns.masks(10, 4, probability=0.5, n_masked=2, antithetic=True, seed=0)
    assert ((~kept).sum(1) == 2).all()
    np.testing.assert_array_equal(kept[::2], ~kept[1::2])


# noise that belongs to places


def whole(y, x, bands=3, seed=0, k=0):
    return patterns.Noise(seed).draw(k, (bands, y, x))


@pytest.mark.parametrize(
    ("y", "x"),
    [((0, 5), (0, 5)), ((60, 70), (63, 65)), ((64, 128), (3, 150)), ((149, 150), (1, 2))],
)
def test_a_window_sees_the_noise_of_the_scene(y, x):
    scene = whole(150, 150)
    window = patterns.Noise(0, origin=(y[0], x[0])).draw(0, (3, y[1] - y[0], x[1] - x[0]))
    np.testing.assert_array_equal(window, scene[:, slice(*y), slice(*x)])


def test_noise_at_a_tile_of_a_window():
    tile = types.SimpleNamespace(origin=(40, 50))
    inner = patterns.Noise(0, origin=(30, 20)).at(tile)
    assert inner == patterns.Noise(0, origin=(70, 70))
    # A halo may reach over the edge of the scene.
    outer = patterns.Noise(0).at(types.SimpleNamespace(origin=(-3, -70)))
    drawn = outer.draw(0, (3, 10, 100))
    np.testing.assert_array_equal(drawn[:, 3:, 70:], whole(7, 30))
    assert np.unique(drawn).size == drawn.size


def test_noise_is_normal_and_never_the_same():
    scene = whole(130, 130)
    assert np.unique(scene).size == scene.size, "no block is another one's"
    assert abs(scene.mean((1, 2))).max() < 4 / 130
    assert abs(scene.std((1, 2)) - 1).max() < 4 / 130 / np.sqrt(2)
    np.testing.assert_allclose(np.corrcoef(scene.reshape(3, -1)), np.eye(3), atol=4 / 130)
    beside = [(scene[:, :-d] * scene[:, d:]).mean() for d in (1, 64)]
    np.testing.assert_allclose(beside, 0, atol=4 / np.sqrt(scene.size / 2))
    for other in (whole(130, 130, seed=1), whole(130, 130, k=1)):
        assert not np.isin(other, scene).any()


def test_tiles_of_a_scene_get_its_smoothgrad():
    """The kernel under the noise of a window gives what the scene's gives there."""
    cube = worlds.cube(bands=2, y=70, x=70, invalid=False)
    scene = cube.xai.smoothgrad(powers(3), snr=4.0, n_samples=3)
    from xrxai.attribution import noise as method
    from xrxai.tensors import run, running

    repeat = running.Repeat(
        method._each_gradient, {}, "mean", False, False, rounds.Rounds([3], None)
    )
    tile = np.ascontiguousarray(cube.values[None, :, 50:, 60:])
    found = run.execute(
        method._smoothgrad,
        powers(3),
        tile,
        targets=[0],
        weight=None,
        core=None,
        inputs={"level": np.full((1, 2, 1, 1), 0.25), "keep": np.ones((1, 1, 20, 10))},
        static={
            "relative": True,
            "noise": patterns.Noise(0, origin=(50, 60)),
            "repeat": repeat,
        },
        device=None,
        batch_size=None,
        tick=None,
    )
    np.testing.assert_allclose(
        found["attribution"][0], scene.attribution.values[:, :, 50:, 60:], rtol=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize("of", OF[:2])
def test_one_target_is_held_at_a_time(of):
    """All targets' gradients at once are several times the memory of a batch."""
    cube, model, held = worlds.counting_batches(16)
    cube.xai.hyper_noise_tunnel(model, of=of, n_samples=32, batch_size=16)
    assert len(held) == 2 * 6
    # The draw as it came and as the model sees it, its clone, and what flows back.
    assert max(held) <= 4


@pytest.mark.parametrize("invalid", [False, True])
def test_a_baseline_of_one_spectrum_is_kept_once(invalid, monkeypatch):
    """Painted over the cube it would be as large as that; it is, where pixels are missing."""
    from xrxai.tensors import running

    given = []
    repeat = running.repeat

    def watched(*args, **options):
        given.append(options["baseline"])
        return repeat(*args, **options)

    monkeypatch.setattr(running, "repeat", watched)
    cube, model = worlds.cube(invalid=invalid), worlds.model()
    worlds.explain("hyper_noise_tunnel", cube, model, baseline=np.full(10, 0.3))
    assert given[0].shape == (1, *cube.shape)
    assert given[0].untyped_storage().nbytes() == 8 * (cube.size if invalid else 10)


def test_a_gradient_that_is_a_buffer_of_the_model_is_left_alone():
    """What autograd hands out may be the model's own: changed in place, the next one is wrong."""
    slope = torch.full((1, 2, 3, 3), 2.0, dtype=torch.float64)

    class Line(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return (x * slope).flatten(1).sum(1, keepdim=True)

        @staticmethod
        def backward(ctx, g):
            return slope

    model = xrxai.Model(Line.apply, takes="patch", targets=["K"], dtype="float64")
    cube = worlds.cube(bands=2, y=3, x=3, invalid=False)
    for name in ("smoothgrad", "hyper_noise_tunnel", "input_x_gradient"):
        getattr(cube.xai, name)(model, batch_size=1)
        assert (slope == 2).all(), name
    found = cube.xai.smoothgrad(
        model, of="input_x_gradient", statistic="square", n_samples=2, snr=1e9, batch_size=1
    )
    np.testing.assert_allclose(found.attribution[0], (2 * cube) ** 2, rtol=1e-6)


# wrong calls


def never(x):
    raise AssertionError("the model ran")


def blind():
    return xrxai.Model(never, takes="patch", targets=["K"])


WRONG = [
    (
        "smoothgrad",
        {"of": "lime"},
        "of='lime' is not known; choose one of 'saliency', "
        "'input_x_gradient', 'integrated_gradients'.",
    ),
    (
        "smoothgrad",
        {"statistic": "median"},
        "statistic='median' is not known; choose one of 'mean', 'square', 'variance'.",
    ),
    (
        "smoothgrad",
        {"noise": -0.1},
        "noise=-0.1 is not a number of 0 or more; type for example noise=0.15.",
    ),
    ("smoothgrad", {"snr": 0}, "snr=0 is not a positive number; type for example snr=100."),
    (
        "smoothgrad",
        {"snr": np.ones(3)},
        "snr= has shape (3,) and dtype float64; give a positive number or one per band (10,).",
    ),
    (
        "smoothgrad",
        {"snr": "high"},
        "snr='high' is not a positive number; type for example snr=100.",
    ),
    (
        "smoothgrad",
        {"snr": xr.DataArray(np.ones(7), dims="x")},
        "snr= has dims ('x',); give a number or one value per band, ('band',).",
    ),
    (
        "smoothgrad",
        {"snr": np.arange(10)},
        "snr= is not above 0 in every good band; give a ratio "
        "of signal to noise such as 100, np.inf where there is no noise.",
    ),
    ("smoothgrad", {"n_samples": 1}, "n_samples=1 is too small; type n_samples=2 or more."),
    ("smoothgrad", {"n_steps": 0}, "n_steps=0 is too small; type n_steps=1 or more."),
    ("smoothgrad", {"seed": -1}, "seed=-1 is too small; type seed=0 or more."),
    ("smoothgrad", {"batch_size": 0}, "batch_size=0 is too small; type batch_size=1 or more."),
    (
        "smoothgrad",
        {"mask": np.arange(42).reshape(6, 7) == 20},
        "noise=0.15 is a share of the "
        "spread of the valid pixels, and they do not differ: there would be no noise. Type snr=100 "
        "for noise of a share of each value.",
    ),
    (
        "hyper_noise_tunnel",
        {"of": "shap"},
        "of='shap' is not known; choose one of 'saliency', "
        "'input_x_gradient', 'integrated_gradients'.",
    ),
    (
        "hyper_noise_tunnel",
        {"statistic": None},
        "statistic=None is not known; choose one of 'mean', 'square', 'variance'.",
    ),
    (
        "hyper_noise_tunnel",
        {"probability": 1.0},
        "probability=1.0 masks every band in every draw; type for example probability=0.5.",
    ),
    (
        "hyper_noise_tunnel",
        {"probability": -0.5},
        "probability=-0.5 is not a number of 0 or more; type for example probability=0.5.",
    ),
    ("hyper_noise_tunnel", {"n_masked": 0}, "n_masked=0 is too small; type n_masked=1 or more."),
    (
        "hyper_noise_tunnel",
        {"n_masked": 10},
        "n_masked=10 masks everything there is to mask, 10 "
        "group(s) of bands; type for example n_masked=5.",
    ),
    (
        "hyper_noise_tunnel",
        {"n_masked": 1, "bands": [(400, 1000)]},
        "n_masked=1 masks everything "
        "there is to mask, 1 group(s) of bands; type for example probability=0.5.",
    ),
    (
        "hyper_noise_tunnel",
        {"normalise": True},
        "normalise=True is not known; choose one of 'none', 'kept'.",
    ),
    (
        "hyper_noise_tunnel",
        {"antithetic": True, "n_samples": 5},
        "antithetic=True draws in pairs, and n_samples=5 is odd; type n_samples=6.",
    ),
    (
        "hyper_noise_tunnel",
        {"antithetic": True, "probability": 0.3},
        "antithetic=True masks in "
        "one draw what the other keeps, so half of the 10 groups must be masked, not "
        "probability=0.3; type probability=0.5 without n_masked=, or antithetic=False.",
    ),
    (
        "hyper_noise_tunnel",
        {"antithetic": True, "n_masked": 3},
        "antithetic=True masks in one "
        "draw what the other keeps, so half of the 10 groups must be masked, not n_masked=3; type "
        "probability=0.5 without n_masked=, or antithetic=False.",
    ),
    (
        "hyper_noise_tunnel",
        {"n_samples": 2.5},
        "n_samples=2.5 is not a whole number; type n_samples=2 or more.",
    ),
    (
        "hyper_noise_tunnel",
        {"overlap": "last"},
        "overlap='last' is not known; choose one of 'first', 'error', 'split'.",
    ),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_wrong_calls(name, options, message):
    bands = {"bands": 100.0} if "overlap" in options else {}
    with raises_exactly(OptionError, message):
        getattr(worlds.cube().xai, name)(blind(), **bands, **options)
