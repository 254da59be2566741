"""The linear stem: sums of the first layer's answers are what it would say to every pattern."""

from __future__ import annotations

import logging
import warnings

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xrxai
from tests import worlds
from tests.conftest import raises_exactly
from xrxai.errors import OptionError

OPTIONS = {"takes": "patch", "targets": worlds.TARGETS}
CALLS = {
    "lime_spectral": {"bands": 150.0, "n_samples": 20},
    "lime_spatial": {"segments": "patch", "patch": 7, "n_samples": 40},
    "kernel_shap_spectral": {"bands": 150.0, "n_samples": 16},
    "kernel_shap_spatial": {"segments": "patch", "patch": 9, "n_samples": 24},
    "owen_spectral": {"hierarchy": "correlation", "max_evaluations": 40},
    "ablation_spectral": {},
    "ablation_spatial": {"segments": "patch", "patch": 5},
    "occlusion_spectral": {"window": 3, "stride": 1, "unit": "band"},
    "occlusion_spatial": {"window": 6, "stride": 4},
    "occlusion": {"window": (120.0, 6, 6)},
}


class Net(nn.Module):
    """A convolution on many bands, and little behind it; `how` it treats its input."""

    def __init__(self, how="", *, gives="vector", kernel=7, stride=2, padding=3, bands=14):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(bands, 8, kernel, stride, padding)
            self.head = nn.Conv2d(8, 3, 1)
        self.how, self.gives, self.stride = how, gives, stride

    def forward(self, x):
        z = x
        if self.how == "scaled":
            z = (x - 0.3) / torch.linspace(1, 2, x.shape[1], dtype=x.dtype)[:, None, None]
        if self.how == "norm":
            z = x / (0.1 + x.square().mean((1, 2, 3), keepdim=True))
        if self.how == "asks":
            z = x if float(x.max()) > 0 else -x
        z = self.first(z)
        if self.how == "twice":
            z = self.first(x) + z
        z = torch.tanh(z)
        if self.how == "skip":
            z = z + x.mean((2, 3), keepdim=True)[:, :1]
        if self.how == "valid":  # which not-a-number hides
            z = z * (x != 0).any(1).to(x.dtype).mean((1, 2))[:, None, None, None]
        if self.how == "numpy":
            z = z + torch.from_numpy(np.mean(x.detach().numpy(), (1, 2, 3), keepdims=True))
        if self.gives == "map":
            out = nn.functional.interpolate(self.head(z), scale_factor=self.stride)
            return out - out.mean((2, 3), keepdim=True)
        return self.head(z).mean((2, 3))


@pytest.fixture(autouse=True)
def eager_to_help(monkeypatch):
    """Layers of tests are small."""
    from xrxai.tensors import worth

    monkeypatch.setattr(worth, "_TAPS", 2)
    monkeypatch.setattr(worth, "_TAPS_OF_ROWS", 2)
    monkeypatch.setattr(worth, "_PER_GROUP", 0)
    monkeypatch.setattr(worth, "_FEWEST", 3)


def both(name, net, cube, options=None, model=OPTIONS, **more):
    given = {**CALLS.get(name, {}), **(options or {})}
    call = getattr(cube.xai, name)
    models = [xrxai.Model(net, stem=stem, **{**model, **more}) for stem in ("off", "auto")]
    return [call(model, progress=False, **given) for model in models]


def close(full, fast, rtol):
    scale = float(abs(full.attribution).max())
    for key in full.data_vars:
        if full[key].dtype.kind == "f" and key not in ("fidelity", "fidelity_heldout"):
            np.testing.assert_allclose(fast[key], full[key], rtol=rtol, atol=rtol * scale)
    assert fast.model_evaluations.equals(full.model_evaluations)


@pytest.mark.parametrize("gives", ["vector", pytest.param("map", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CALLS)
def test_sums_are_what_full_runs_say(name, gives):
    cube = worlds.cube(14, 18, 20, lead={"time": 2})
    net = Net(gives=gives).double()
    full, fast = both(name, net, cube, gives=gives)
    assert fast.attrs["stem"] == "conv2d first"
    assert "stem" not in full.attrs
    close(full, fast, 1e-8)
    assert "forward" not in vars(net.first)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (8, 8, 0), (4, 6, 1), (5, 2, (0, 3))]
)
@pytest.mark.parametrize("name", ["lime_spatial", "occlusion"])
def test_every_position_sees_what_it_should(name, kernel, stride, padding):
    cube = worlds.cube(14, 18, 20)
    net = Net(kernel=kernel, stride=stride, padding=padding).double()
    full, fast = both(name, net, cube, {"baseline": 0.4})
    assert fast.attrs["stem"] == "conv2d first"
    close(full, fast, 1e-8)


@pytest.mark.parametrize("name", ["lime_spectral", "lime_spatial"])
@pytest.mark.parametrize(
    "more",
    [
        {"scale": 3.0, "pad": "square"},
        {"resize": (24, 24)},
        {"prepare": lambda x: x.clamp(0.2, 0.6)},
    ],
)
def test_what_lies_before_may_treat_features_one_by_one(name, more):
    cube = worlds.cube(14, 18, 20)
    full, fast = both(name, Net("scaled").double(), cube, {"n_samples": 60}, **more)
    assert fast.attrs["stem"] == "conv2d first"
    close(full, fast, 1e-7)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("norm", "what lies before it mixes features"),
        ("skip", "the input is used twice"),
        ("valid", "the input is used twice"),
        ("numpy", "the input is used twice"),
        ("twice", "it is called twice"),
        ("asks", "the network asks for values of its input"),
    ],
)
@pytest.mark.parametrize(
    "name", ["lime_spectral", pytest.param("occlusion_spatial", marks=pytest.mark.slow)]
)
def test_what_is_not_a_stem_runs_in_full_and_says_why(name, how, reason, caplog):
    cube = worlds.cube(14, 18, 20)
    with caplog.at_level(logging.DEBUG, "xrxai"):
        full, fast = both(name, Net(how).double(), cube, {"baseline": 0.0})
    assert fast.attrs["stem"] == f"none: {reason}"
    assert f"Net: linear stem: none: {reason}" in caplog.messages
    xr.testing.assert_allclose(fast.attribution, full.attribution, rtol=1e-9)


@pytest.mark.parametrize("layer", ["linear", "conv1d"])
def test_spectra(layer):
    net = worlds.LayeredNet("spectrum") if layer == "conv1d" else worlds.SpectrumNet()
    cube = worlds.cube(lead={"time": 2})
    options = {"bands": 150.0, "n_samples": 40, "batch_size": 23}
    full, fast = both("lime_spectral", net.double(), cube, options, takes="spectrum")
    assert fast.attrs["stem"] == f"{layer} first"
    close(full, fast, 1e-8)


def test_single_precision_and_its_own_batches():
    cube = worlds.cube(14, 18, 20, dtype="float32")
    full, fast = both("lime_spectral", Net(), cube)
    close(full, fast, 1e-3)
    one = xrxai.Model(Net(), **OPTIONS)
    again = cube.xai.lime_spectral(one, batch_size=3, **CALLS["lime_spectral"])
    np.testing.assert_allclose(again.attribution, fast.attribution, rtol=1e-3, atol=1e-6)


def test_threads_have_stems_of_their_own():
    cube = worlds.cube(14, 18, 20, lead={"time": 6})
    net = Net().double()
    model = xrxai.Model(net, **OPTIONS)
    lazy = cube.chunk(time=1).xai.lime_spectral(model, **CALLS["lime_spectral"])
    assert "stem" not in lazy.attrs
    runs = [lazy.compute(scheduler=s) for s in ("synchronous", "threads")]
    xr.testing.assert_identical(*runs)
    full, _ = both("lime_spectral", net, cube)
    close(full, runs[0], 1e-8)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_layer_is_given_back_after_an_error(error):
    calls = []

    class Fails(Net):
        def forward(self, x):
            out = super().forward(x)
            calls.append("forward" in vars(self.first))
            if len(calls) >= 5:
                raise error("boom")
            return out

    net = Fails().double()
    cube = worlds.cube(14, 18, 20)
    with pytest.raises((KeyboardInterrupt, xrxai.XrxaiError), match="boom"):
        cube.xai.lime_spectral(xrxai.Model(net, **OPTIONS), batch_size=2, **CALLS["lime_spectral"])
    assert any(calls)
    assert "forward" not in vars(net.first)


def test_hooks_of_the_user_see_all_they_would():
    net, seen = Net().double(), []
    net.first.register_forward_hook(lambda m, i, o: seen.append(bool(i[0].isnan().any())))
    _, fast = both("lime_spectral", net, worlds.cube(14, 18, 20))
    assert not any(seen)
    assert fast.attrs["stem"] != "conv2d first"


@pytest.mark.parametrize("kind", ["callable", "scripted", "autocast", "off"])
def test_models_without_a_stem(kind):
    net, more = Net(), {}
    if kind == "callable":
        net = lambda x, own=net: own(x)  # noqa: E731
    if kind == "scripted":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            net = torch.jit.trace(net.eval(), torch.zeros(2, 14, 18, 20))
    if kind in ("autocast", "off"):
        more = {"autocast": "bfloat16"} if kind == "autocast" else {"stem": "off"}
    model = xrxai.Model(net, **OPTIONS, **more)
    found = worlds.cube(14, 18, 20).xai.lime_spectral(model, **CALLS["lime_spectral"])
    assert "stem" not in found.attrs


def test_a_small_layer_is_left_alone(monkeypatch):
    from xrxai.tensors import worth

    monkeypatch.setattr(worth, "_TAPS", 10**6)
    _, fast = both("lime_spectral", Net().double(), worlds.cube(14, 18, 20))
    assert "stem" not in fast.attrs


def test_the_switch_is_part_of_the_token_and_refused_if_unknown():
    net = Net()
    tokens = {dask.base.tokenize(xrxai.Model(net, stem=s, **OPTIONS)) for s in ("auto", "off")}
    assert len(tokens) == 2
    assert xrxai.Model(net, stem="off", **OPTIONS).options()["stem"] == "off"
    with raises_exactly(OptionError, "stem='on' is not known; choose one of 'auto', 'off'."):
        xrxai.Model(net, stem="on", **OPTIONS)


def test_behind_the_stem_images_keep_their_layout():
    seen = []

    class Mobile(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(14, 8, 7, 2, 3)
            self.wide = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            z = self.first(x)
            seen.append(z.is_contiguous(memory_format=torch.channels_last))
            return self.head(torch.tanh(self.wide(z)).mean((2, 3)))

    cube = worlds.cube(14, 18, 20, dtype="float32")
    for name in ("lime_spectral", "lime_spatial", "occlusion_spatial"):
        full, fast = both(name, Mobile(), cube)
        assert fast.attrs["stem"] == "conv2d first"
        assert all(seen)
        close(full, fast, 1e-3)
