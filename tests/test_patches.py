"""Convolutions over patches that do not overlap are products of matrices, forward and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

import xrxai
from tests import worlds
from xrxai.tensors import patches
from xrxai.tensors.patches import answer, fits, product


class Net(nn.Module):
    """Patches of 8 x 8, and little behind them."""

    def __init__(self, writes=False):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(14, 6, 8, 8)
            self.bend, self.head = nn.Tanh(), nn.Linear(6, 3)
        self.writes = writes

    def forward(self, x):
        if self.writes:
            x -= 0.25
        return self.head(self.bend(self.first(x)).mean((2, 3)))


@pytest.fixture
def counted(monkeypatch):
    """How often a product was made."""
    calls = []

    def counting(*given):
        calls.append(given[0].shape)
        return product(*given)

    monkeypatch.setattr(patches, "product", counting)
    return calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kernel", "size", "rows"),
    [((8, 8), (16, 24), 3), ((8, 9), (23, 18), 1), ((16, 4), (16, 7), 2)],
)
@pytest.mark.parametrize("room", [2**20, 1])
def test_it_is_the_convolution(kernel, size, rows, bias, room, monkeypatch):
    monkeypatch.setattr(patches, "_AT_ONCE", room)
    layer = nn.Conv2d(5, 4, kernel, kernel, bias=bias).double().requires_grad_(False)
    assert fits(layer)
    x = torch.rand((rows, 5, *size), dtype=torch.float64, requires_grad=True)
    wanted, found = layer(x), product(x, layer.weight, layer.bias)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert found.is_contiguous()
    slope = torch.rand_like(wanted)
    back = [torch.autograd.grad(out, x, slope)[0] for out in (wanted, found)]
    torch.testing.assert_close(back[1], back[0], rtol=1e-12, atol=1e-12)


def test_a_gradient_of_the_gradient():
    weight = torch.rand((4, 3, 8, 8), dtype=torch.float64)
    x = torch.rand((2, 3, 17, 16), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: product(x, weight).square(), x, fast_mode=True)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 8, 8, padding=1),
        nn.Conv2d(4, 4, 8, 7),
        nn.Conv2d(4, 4, 8, 8, groups=2),
        nn.Conv2d(4, 4, 8, 8, dilation=2),
        nn.Conv2d(4, 4, 7, 7),
        nn.LazyConv2d(4, 8, 8),
        nn.Conv1d(4, 4, 64, 64),
    ],
)
def test_what_is_left_alone(layer):
    assert not fits(layer)


def test_what_it_cannot_do_the_layer_does(counted):
    layer = nn.Conv2d(4, 4, 8, 8).requires_grad_(False)
    x = torch.rand(3, 4, 16, 16)
    torch.testing.assert_close(answer(layer, x), layer(x))
    assert len(counted) == 1
    one = answer(layer, x[0])  # without a batch
    torch.testing.assert_close(one, layer(x[0]))
    with pytest.raises(RuntimeError, match="Kernel size"):
        answer(layer, x[..., :4])
    with pytest.raises(RuntimeError, match="4 channels"):
        answer(layer, x[:, :2])
    with pytest.raises(RuntimeError, match="double"):
        answer(layer, x.double())
    batched = torch.vmap(lambda z: answer(layer, z[None]))(x)
    torch.testing.assert_close(batched[:, 0], layer(x))
    assert len(counted) == 1
    layer.weight.requires_grad_(True)
    answer(layer, x).sum().backward()
    assert layer.weight.grad is not None


CALLS = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 3},
    "hyper_noise_tunnel": {"n_samples": 4},
    "lime_spectral": {"bands": 150.0, "n_samples": 20},
    "lime_spatial": {"segments": "patch", "patch": 7, "n_samples": 40},
    "occlusion_spatial": {"window": 6, "stride": 4},
    "deep_lift": {},
    "lrp": {},
    "grad_cam": {"layer": "first"},
    "captum": {"method": captum.attr.InputXGradient},
}


@pytest.mark.parametrize("stem", ["auto", pytest.param("off", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CALLS)
def test_explanations_are_the_same(name, stem, monkeypatch, counted):
    net, cube = Net().double(), worlds.cube(14, 18, 25)
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS, stem=stem)
    found = getattr(cube.xai, name)(model, progress=False, **CALLS[name])
    assert counted
    assert "forward" not in vars(net.first)
    monkeypatch.setattr(patches, "_TAPS", 1000)
    seen = len(counted)
    wanted = getattr(cube.xai, name)(model, progress=False, **CALLS[name])
    assert len(counted) == seen
    scale = float(abs(wanted.attribution).max())
    np.testing.assert_allclose(found.attribution, wanted.attribution, rtol=1e-9, atol=1e-9 * scale)
    assert found.model_evaluations.equals(wanted.model_evaluations)


def test_the_layer_is_given_back_after_an_error():
    class Broken(Net):
        def forward(self, x):
            super().forward(x)
            raise ValueError("no")

    net = Broken()
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    with pytest.raises(xrxai.errors.ModelError, match="no"):
        worlds.cube(14, 18, 25).xai.saliency(model)
    assert "forward" not in vars(net.first)


def test_hooks_and_own_forwards_of_the_user(counted):
    net, cube, seen = Net(), worlds.cube(14, 18, 25), []
    net.first.register_forward_hook(lambda part, given, out: seen.append(out.shape))
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    cube.xai.saliency(model)
    assert seen
    assert len(seen) == len(counted)
    own = net.first.forward
    net.first.forward = lambda x: own(x) * 2
    kept = vars(net.first)["forward"]
    counted.clear()
    cube.xai.saliency(model)
    assert not counted
    assert vars(net.first)["forward"] is kept


def test_autocast_is_what_the_network_makes_of_it(counted):
    model = xrxai.Model(Net(), takes="patch", targets=worlds.TARGETS, autocast="bfloat16")
    worlds.cube(14, 18, 25).xai.saliency(model)
    assert not counted


def test_threads_do_not_meet():
    net, cube = Net().double(), worlds.cube(14, 18, 25)
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    wanted = cube.xai.saliency(model)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cube.xai.saliency(model), range(8)))
    assert all(each.attribution.equals(wanted.attribution) for each in found)
    assert "forward" not in vars(net.first)


@pytest.mark.parametrize("writes", [False, True])
def test_one_row_of_the_input_stands_for_a_batch_where_a_stem_is_summed(writes, monkeypatch):
    from xrxai.tensors import worth

    monkeypatch.setattr(worth, "_TAPS", 2)
    cube, rows = worlds.cube(14, 18, 25), []
    net = Net(writes).double()
    net.head.register_forward_hook(lambda part, given, out: rows.append(len(out)))
    # One sample is more than fits the room for inputs, and its answers are small.
    from xrxai.tensors import device

    monkeypatch.setattr(device, "_ROOM", 20_000)
    asked = {"bands": 150.0, "n_samples": 20, "progress": False}
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    found = cube.xai.lime_spectral(model, **asked)
    assert found.attrs["stem"] == "conv2d first"
    assert (max(rows) == 8) is not writes
    assert min(rows) == 1
    wanted = cube.xai.lime_spectral(
        xrxai.Model(net, takes="patch", targets=worlds.TARGETS, stem="off"), **asked
    )
    np.testing.assert_allclose(found.attribution, wanted.attribution, rtol=1e-9, atol=1e-12)
    assert found.model_evaluations.equals(wanted.model_evaluations)
    # Who names a batch gets it.
    rows.clear()
    cube.xai.lime_spectral(model, batch_size=3, **asked)
    assert max(rows) == 3
