"""Methods that reach into layers: twins, captum, truth, what is refused, what is given back."""

from __future__ import annotations

import threading
import warnings

import dask
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from torch import nn

import xrxai
from tests import oracles_layers, worlds
from tests.conftest import raises_exactly
from xrxai.errors import ModelError, OptionError

METHODS = sorted(worlds.LAYERED)
RULED = ["deconvnet", "deep_lift", "guided_backprop", "lrp"]


@pytest.fixture(autouse=True)
def _fixed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Net(nn.Module):
    """Convolutions, batch norm, pools and ReLUs, each its own module: what captum can do too.

    With a pool right behind a ReLU its DeepLIFT loses part of the difference (0.9.0: the ReLU is
    handed the plain gradient of the pool), and says so in its delta; hence the one between.
    """

    def __init__(self, bands=10, targets=3):
        super().__init__()
        self.first = nn.Conv2d(bands, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(8, 6, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, targets)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2.0)
        nn.init.normal_(self.norm.weight)

    def forward(self, x):
        z = self.pool(self.middle(self.relu1(self.norm(self.first(x)))))
        return self.head(self.mean(self.relu2(self.second(z))).flatten(1))


def patch(net, targets=worlds.TARGETS, **options):
    return xrxai.Model(net.double(), takes="patch", targets=targets, **options)


def spectrum(net, targets=worlds.TARGETS, **options):
    return xrxai.Model(net.double(), takes="spectrum", targets=targets, **options)


def tensor(cube):
    return torch.as_tensor(np.nan_to_num(cube.values))[None]


def hide(values, cube):
    return np.where(np.isnan(cube.values), np.nan, values)


# ------------------------------------------------------------------------------------- twins


def dense(bands=7):
    """A network of spectra and the same as a list of layers."""
    parts = [nn.Linear(bands, 9), nn.ReLU(), nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 5)]
    net = nn.Sequential(*parts, nn.ReLU(), nn.Linear(5, 3)).double()
    kinds = [oracles_layers.RELU, oracles_layers.TANH, oracles_layers.RELU, oracles_layers.NONE]
    layers = [
        (part.weight.detach().numpy(), part.bias.detach().numpy(), kind)
        for part, kind in zip(net[::2], kinds, strict=True)
    ]
    return net, layers


@pytest.mark.parametrize("method", RULED)
def test_spectra_twins(method):
    net, layers = dense()
    cube = worlds.cube(bands=7, y=2, x=3, invalid=False) - 0.4
    model = spectrum(net)
    b = np.random.default_rng(3).normal(size=7)
    options = {"deep_lift": {"baseline": b}, "lrp": {"epsilon": 0.01}}.get(method, {})
    fast = worlds.explain(method, cube, model, **options).attribution
    largest = 0.0
    for r, c in np.ndindex(2, 3):
        x = cube.values[:, r, c]
        slow = {
            "guided_backprop": lambda x=x: oracles_layers.rectified(layers, x, guided=True),
            "deconvnet": lambda x=x: oracles_layers.rectified(layers, x, guided=False),
            "deep_lift": lambda x=x: oracles_layers.deep_lift(layers, x, b),
            "lrp": lambda x=x: oracles_layers.lrp(layers, x, 0.01),
        }[method]()
        largest = max(largest, abs(slow).max())
        np.testing.assert_allclose(fast.isel(y=r, x=c), slow, atol=1e-12)
    assert largest > 1e-3


@pytest.mark.parametrize("positive", [True, False])
def test_grad_cam_twin(positive):
    cube = worlds.cube(bands=4, y=6, x=7)
    net = nn.Sequential(nn.Conv2d(4, 3, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2))
    whole = nn.Sequential(net, nn.Conv2d(3, 3, 3, padding=1), nn.Softplus(), nn.Flatten(2)).double()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.whole = whole

        def forward(self, x):
            return self.whole(x).mean(2)

    x = np.nan_to_num(cube.values)
    weights = [p.detach().numpy() for p in whole.parameters()]
    z = np.tanh(oracles_layers.convolved(x, *weights[:2]))
    a = z[:, :6, :6].reshape(3, 3, 2, 3, 2).max((2, 4))

    def head(a):
        return np.logaddexp(0, oracles_layers.convolved(a, *weights[2:])).mean((1, 2))

    slow = oracles_layers.grad_cam(a, head, (6, 7), positive)
    fast = cube.xai.grad_cam(patch(Net()), layer="whole.0", positive=positive)
    assert fast.attribution.dims == ("target", "y", "x")
    assert fast.attribution.attrs["signed"] == int(not positive)
    np.testing.assert_allclose(fast.attribution, hide(slow, cube.isel(band=0)), atol=1e-8)
    assert (slow < 0).any() or positive


def test_grad_cam_over_bands():
    """A 1-D convolution keeps positions along the spectrum: the map is over bands."""
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 3, stride=2, padding=1))
    net = nn.Sequential(net, nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))
    cube = worlds.cube(y=2, x=2, invalid=False)
    found = cube.xai.grad_cam(spectrum(net), layer="0.1", positive=False).attribution
    assert found.dims == ("target", "band", "y", "x")
    a = net[0](torch.as_tensor(cube.values.transpose(1, 2, 0).reshape(4, 10))).detach()
    a.requires_grad_()
    s = net[1:](a)
    for k in range(3):
        (g,) = torch.autograd.grad(s[:, k].sum(), a, retain_graph=True)
        cam = (g.mean(2, keepdim=True) * a).sum(1).detach().numpy()
        at = np.clip((np.arange(10) + 0.5) * 5 / 10 - 0.5, 0, 4)
        slow = np.array([np.interp(at, np.arange(5), row) for row in cam])
        np.testing.assert_allclose(
            found[k].stack(p=("y", "x")).transpose("p", "band"), slow, atol=1e-12
        )


# ------------------------------------------------------------------------------------- captum


@pytest.fixture
def peers():
    attr = pytest.importorskip("captum.attr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield attr


@pytest.mark.parametrize("method", METHODS)
def test_captum_says_the_same(peers, method):
    net = Net().double().eval()
    cube = worlds.cube(y=8, x=8)
    model = patch(net)
    x = tensor(cube).requires_grad_()
    b = torch.full_like(x, 0.3)
    b[torch.as_tensor(np.isnan(cube.values))[None]] = 0.0
    options, theirs = {
        "grad_cam": ({"layer": "relu2"}, lambda k: cam(k)),
        "guided_grad_cam": (
            {"layer": "relu2"},
            lambda k: peers.GuidedGradCam(net, net.relu2).attribute(
                x, target=k, interpolate_mode="bilinear"
            ),
        ),
        "guided_backprop": ({}, lambda k: peers.GuidedBackprop(net).attribute(x, target=k)),
        "deconvnet": ({}, lambda k: peers.Deconvolution(net).attribute(x, target=k)),
        "deep_lift": (
            {"baseline": 0.3},
            lambda k: peers.DeepLift(net).attribute(x, baselines=b, target=k),
        ),
        # Theirs has epsilon = 1e-9 in pools as well.
        "lrp": ({"epsilon": 1e-9}, lambda k: peers.LRP(net).attribute(x, target=k)),
    }[method]

    def cam(k):
        small = peers.LayerGradCam(net, net.relu2).attribute(x, target=k, relu_attributions=True)
        return F.interpolate(small, size=(8, 8), mode="bilinear")[:, 0]

    fast = worlds.explain(method, cube, model, **options).attribution
    for k, name in enumerate(worlds.TARGETS):
        slow = theirs(k)[0].detach().numpy()
        shown = cube if slow.ndim == 3 else cube.isel(band=0)
        largest = abs(slow).max()
        assert largest > 1e-9
        np.testing.assert_allclose(
            fast.sel(target=name), hide(slow, shown), rtol=1e-6, atol=1e-6 * largest
        )


# -------------------------------------------------------------------------------- known truth


def test_linear_world():
    """For w.x + c: DeepLIFT says w (x - b), LRP w x, whose gap is what the bias keeps, -c."""
    cube = worlds.cube(invalid=False)
    net = nn.Sequential(nn.Flatten(), nn.Linear(420, 3)).double()
    w = net[1].weight.detach().numpy().reshape(3, 10, 6, 7)
    found = cube.xai.deep_lift(patch(net), baseline="mean")
    start = cube.mean(["y", "x"]).values[:, None, None]
    np.testing.assert_allclose(found.attribution, w * (cube.values - start), rtol=1e-9)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-12)
    found = cube.xai.lrp(patch(net), epsilon=1e-12)
    np.testing.assert_allclose(found.attribution, w * cube.values, rtol=1e-8)
    np.testing.assert_allclose(found.completeness_gap, -net[1].bias.detach(), atol=1e-9)


class Shared(nn.Module):
    """Residual, with one ReLU in place that is used four times, as in many backbones."""

    def __init__(self, shared):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(c, 5, 3, padding=1) for c in (10, 5, 5, 5))
        one = nn.ReLU(inplace=True)
        self.relus = nn.ModuleList(one if shared else nn.ReLU() for _ in range(4))
        self.pools = nn.ModuleList([nn.MaxPool2d(3, stride=2, padding=1), nn.AdaptiveMaxPool2d(2)])
        self.head = nn.Linear(20, 3)

    def forward(self, x):
        z = self.relus[0](self.convolutions[0](x))
        again = self.relus[1](self.convolutions[1](z))
        again = self.convolutions[2](again)
        again += z
        z = self.pools[0](self.relus[2](again))
        z = self.pools[1](self.relus[3](self.convolutions[3](z)))
        return self.head(z.flatten(1))


@pytest.mark.parametrize("method", METHODS)
def test_modules_used_twice_and_in_place_are_right(method):
    cube = worlds.cube(y=8, x=9)
    one, other = Shared(True), Shared(False)
    other.load_state_dict(one.state_dict())
    options = {"layer": "convolutions.3"} if "cam" in method else {}
    found = [worlds.explain(method, cube, patch(net), **options) for net in (one, other)]
    xr.testing.assert_allclose(found[0].attribution, found[1].attribution, rtol=1e-12)
    np.testing.assert_allclose(found[0].prediction, one(tensor(cube)).detach()[0])
    if method == "deep_lift":
        np.testing.assert_allclose(found[0].completeness_gap, 0, atol=1e-13)


@pytest.mark.parametrize("kind", ["patch", "map"])
@pytest.mark.parametrize("reduction", ["frozen_argmax", "area"])
def test_deep_lift_is_complete(kind, reduction):
    model = worlds.model(kind, method="deep_lift", reduction=reduction)
    found = worlds.cube().xai.deep_lift(model, baseline="mean")
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-12)
    np.testing.assert_allclose(
        found.attribution.sum(["band", "y", "x"]),
        found.prediction - found.baseline_prediction,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "activation",
    [nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.PReLU(), nn.LeakyReLU(), nn.Softplus(), nn.ReLU6()],
    ids=lambda a: type(a).__name__,
)
def test_deep_lift_of_other_activations_is_complete(activation):
    net = nn.Sequential(nn.Linear(10, 8), activation, nn.Linear(8, 3))
    cube = 9 * worlds.cube(y=2, x=2)
    found = cube.xai.deep_lift(spectrum(net), baseline=0.1)
    np.testing.assert_allclose(found.completeness_gap.fillna(0), 0, atol=1e-12)


def test_deep_lift_of_a_maximum():
    """A rise of the maximum is its winner's in the cube, a fall its winner's in the baseline."""
    cube = worlds.cube(bands=1, y=4, x=6, invalid=False)
    b = np.random.default_rng(5).uniform(0.1, 0.9, cube.shape)
    net = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6, 3)).double()
    x, w = cube.values[0], net[2].weight.detach().numpy().reshape(3, 2, 3)
    slow = np.zeros((3, 1, 4, 6))
    for r, c in np.ndindex(2, 3):
        inside = slice(2 * r, 2 * r + 2), slice(2 * c, 2 * c + 2)
        one, other = x[inside], b[0][inside]
        winner = one if one.max() >= other.max() else other
        i, j = np.unravel_index(winner.argmax(), (2, 2))
        slow[:, 0, 2 * r + i, 2 * c + j] = w[:, r, c] * (one.max() - other.max())
    found = cube.xai.deep_lift(patch(net), baseline=b)
    np.testing.assert_allclose(found.attribution, slow, atol=1e-14)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-14)


def test_deep_lift_at_the_baseline_is_zero_and_its_slope_is_the_gradient():
    """Where cube and baseline are the same the slope stands in: no 0 / 0."""
    cube = worlds.cube(y=2, x=2, invalid=False)
    net, _ = dense(10)
    found = cube.xai.deep_lift(spectrum(net), baseline=cube)
    np.testing.assert_array_equal(found.attribution, 0)
    close = cube.xai.deep_lift(spectrum(net), baseline=cube - 1e-5).attribution / 1e-5
    np.testing.assert_allclose(close, cube.xai.saliency(spectrum(net)).attribution, rtol=1e-3)


def test_lrp_of_rectifiers_is_input_times_gradient():
    cube = worlds.cube(y=8, x=9)
    model = patch(Shared(True))
    one = cube.xai.lrp(model, epsilon=1e-12).attribution
    xr.testing.assert_allclose(one, cube.xai.input_x_gradient(model).attribution, rtol=1e-6)
    large = cube.xai.lrp(model, epsilon=10.0)
    assert abs(large.attribution).sum() < 0.1 * abs(one).sum()
    np.testing.assert_allclose(
        large.completeness_gap, large.attribution.sum(["band", "y", "x"]) - large.prediction
    )


def test_lrp_takes_functional_rectifiers_because_their_gradient_is_the_rule():
    class Functional(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.first, self.head = net[0], net[2]

        def forward(self, x):
            return self.head(F.relu(self.first(x)))

    net = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
    cube = worlds.cube(y=2, x=2)
    one, two = (cube.xai.lrp(spectrum(n)).attribution for n in (net, Functional(net)))
    xr.testing.assert_allclose(one, two, rtol=1e-9)


# ------------------------------------------------------------------ the grid, tokens, networks


@pytest.mark.parametrize(
    "options", [{"pad": "square"}, {"pad": 4}, {"resize": (12, 20)}, {"pad": 4, "resize": (16, 16)}]
)
def test_grad_cam_comes_back_to_the_cube(options):
    """A layer that copies the cube: its map is the cube's, wherever pad and resize put it."""
    y, x = np.mgrid[0:6, 0:7]
    plane = (1.0 + 0.1 * y + 0.2 * x)[None]
    cube = xr.DataArray(plane, dims=("band", "y", "x"))
    copy = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(copy.weight)
    net = nn.Sequential(copy, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = cube.xai.grad_cam(patch(net, ["mean"], **options), layer="0").attribution[0]
    found = found / found.mean()
    # A plane survives bilinear steps but at its edges.
    inner = {"y": slice(1, -2), "x": slice(1, -2)}
    expected = (cube[0] / cube[0].mean()).isel(inner)
    ratio = found.isel(inner) / expected
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.03)
    assert found.shape == (6, 7)


class Tokens(nn.Module):
    """A vision transformer in small: class tokens first, (n, tokens, channels)."""

    def __init__(self, extra, last=False):
        super().__init__()
        self.last = last
        self.embed = nn.Conv2d(10, 6, 2, stride=2)
        self.extra = nn.Parameter(torch.randn(1, extra, 6))
        self.block = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        z = self.embed(x).movedim(1, -1)
        if self.last:
            return self.head(torch.tanh(self.block(z)).flatten(1, 2).mean(1))
        z = torch.cat([self.extra.expand(len(x), -1, -1), z.flatten(1, 2)], 1)
        return self.head(torch.tanh(self.block(z)).mean(1))


@pytest.mark.parametrize(
    ("extra", "shape", "tokens"),
    [(0, (8, 8), None), (1, (8, 8), None), (1, (6, 8), (3, 4)), (5, (8, 6), (4, 3))],
)
def test_grad_cam_of_tokens(extra, shape, tokens):
    cube = worlds.cube(y=shape[0], x=shape[1], invalid=False)
    net = Tokens(extra).double()
    found = cube.xai.grad_cam(patch(net), layer="block", tokens=tokens, positive=False).attribution
    h, w = shape[0] // 2, shape[1] // 2
    z = net.embed(tensor(cube)).flatten(2).movedim(1, 2)
    a = net.block(torch.cat([net.extra, z], 1)).detach().requires_grad_()
    s = net.head(torch.tanh(a).mean(1))
    for k in range(3):
        (g,) = torch.autograd.grad(s[0, k], a, retain_graph=True)
        cam = (g[0, extra:].mean(0) * a[0, extra:]).sum(1).detach().numpy().reshape(h, w)
        np.testing.assert_allclose(found[k], oracles_layers.spread(cam, shape), atol=1e-12)
    last = Tokens(0, last=True).double()
    last.load_state_dict({**net.state_dict(), "extra": last.extra})
    if extra == 0:
        other = cube.xai.grad_cam(patch(last), layer="block", tokens=(h, w), positive=False)
        xr.testing.assert_allclose(other.attribution, found)


@pytest.mark.parametrize("layer", ["layers.0.self_attn", "layers.1.linear1", "layers.1"])
def test_grad_cam_inside_of_transformers(layer):
    """In evaluation mode their layers are fused, past their own parts."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(10, 8, 2, stride=2)
            one = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.layers = nn.ModuleList(nn.TransformerEncoder(one, 2).layers)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            z = self.embed(x).flatten(2).movedim(1, 2)
            for layer in self.layers:
                z = layer(z)
            return self.head(z.mean(1))

    cube = worlds.cube(y=8, x=8)
    net = Net().double()
    found = cube.xai.grad_cam(patch(net), layer=layer, positive=False).attribution
    assert abs(found).max() > 1e-6
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ModelError, match=r"relu in TransformerEncoderLayer 'layers.0', "):
        worlds.explain("guided_backprop", cube, patch(net))
    with pytest.raises(ModelError, match=r"native_layer_norm in LayerNorm 'layers.0.norm1'"):
        worlds.explain("lrp", cube, patch(net))


def test_tokens_of_spectra():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Linear(2, 4), nn.Linear(4, 3)

        def forward(self, x):
            z = self.embed(x.unflatten(1, (5, 2)))
            return self.head(torch.cat([z[:, :1] * 0 + 1, torch.tanh(z)], 1).mean(1))

    cube = worlds.cube(y=2, x=2, invalid=False)
    model = spectrum(Net())
    found = cube.xai.grad_cam(model, layer="embed", tokens=5).attribution
    assert found.dims == ("target", "band", "y", "x")
    assert np.isfinite(found).all()


def test_networks_inside_a_callable():
    net, head = Net().double(), nn.Linear(3, 3).double()
    both = nn.Sequential(net, nn.ReLU(), head)
    cube = worlds.cube(y=8, x=8)
    relu = nn.ReLU()

    def answer(x):
        return head(relu(net(x)))

    inside = xrxai.Model(answer, takes="patch", targets=worlds.TARGETS)
    for method in METHODS:
        options = {"layer": "second"} if "cam" in method else {}
        named = {"layer": "0.second"} if "cam" in method else {}
        one = worlds.explain(method, cube, inside, **options).attribution
        two = worlds.explain(method, cube, patch(both), **named).attribution
        xr.testing.assert_allclose(one, two)
    with raises_exactly(
        OptionError,
        "2 networks that the model uses have a layer '0'; wrap them in one torch.nn.Module, so "
        "that every layer has a name of its own.",
    ):
        one, two = nn.Sequential(net), nn.Sequential(head)
        cube.xai.grad_cam(
            xrxai.Model(lambda x: two(one(x)), takes="patch", targets=["a"]), layer="0"
        )


# ---------------------------------------------------------------------- threads, given back


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_threads_share_a_network(method):
    """Blocks in threads, and another thread that explains with the same network meanwhile."""
    cube = worlds.cube(lead={"time": 6}, y=4, x=4)
    model = worlds.model(method=method)
    whole = worlds.explain(method, cube, model).attribution
    gradient = cube.xai.saliency(model).attribution
    meanwhile, stop = [], threading.Event()

    def other():
        while not stop.is_set():
            meanwhile.append(cube.xai.saliency(model, progress=False).attribution)

    lazy = worlds.explain(method, cube.chunk(time=1), model).attribution
    thread = threading.Thread(target=other)
    thread.start()
    try:
        with dask.config.set(scheduler="threads", num_workers=4):
            parts = [lazy.compute() for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for part in parts:
        xr.testing.assert_allclose(part, whole, rtol=1e-9)
    assert meanwhile
    for one in meanwhile:
        xr.testing.assert_allclose(one, gradient, rtol=1e-9)


def state(net):
    return [
        {k: (v.copy() if isinstance(v, dict) else v) for k, v in vars(part).items()}
        for part in net.modules()
    ]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("method", [*METHODS, "captum"])
def test_nothing_is_left_on_the_network(method, fails):
    net = Net().double()
    net.train()
    own = net.relu1.forward
    net.relu1.forward = lambda z: own(z)  # somebody's patch
    model = patch(net)
    cube = worlds.cube(y=8, x=8)
    options = {"layer": "second"} if "cam" in method else {}
    if method == "captum":
        attr = pytest.importorskip("captum.attr")
        # LRP of captum leaves the activations on its layers.
        options = {"method": attr.LRP, "options": {}}
        if fails:
            net.relu2 = nn.GELU()
    elif fails:
        net.head = nn.Linear(5, 3).double()
    before = state(net)
    if fails:
        with pytest.raises(ModelError):
            worlds.explain(method, cube, model, **options)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            worlds.explain(method, cube, model, **options)
    after = state(net)
    assert [list(one) for one in after] == [list(one) for one in before]
    for one, two in zip(before, after, strict=True):
        assert all(one[k] is two[k] or one[k] == two[k] for k in one)


# ----------------------------------------------------------------------------------- refusals


class Odd(nn.Module):
    """One operation between two linear layers, with a ReLU before it."""

    def __init__(self, operation):
        super().__init__()
        self.first, self.relu, self.head = nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3)
        self.operation = operation

    def forward(self, x):
        return self.head(self.operation(self.relu(self.first(x))))


RECTIFIERS = {
    "relu": F.relu,
    "relu ": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "hardtanh": F.relu6,
    "threshold": lambda x: F.threshold(x, 0, 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "gt": lambda x: x * (x > 0),
}


@pytest.mark.parametrize("operation", RECTIFIERS)
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_functional_rectifiers_are_refused(method, operation):
    model = spectrum(Odd(RECTIFIERS[operation]))
    with raises_exactly(
        ModelError,
        f"The method {method} changes the gradient of torch.nn.ReLU modules, but the network "
        f"rectifies outside of them: {operation.strip()} in Odd. Their gradient would stay as it "
        f"is, and nobody would see it. Make each a torch.nn.ReLU() of its own module, clip the "
        f"input in prepare=, or use integrated_gradients.",
    ):
        worlds.explain(method, worlds.cube(), model)


def test_the_place_of_a_functional_rectifier_is_named():
    block = Odd(F.relu)
    net = nn.Sequential(nn.Linear(10, 10), block)
    with pytest.raises(ModelError, match=r"outside of them: relu in Odd '1'\. Their"):
        worlds.explain("guided_backprop", worlds.cube(), spectrum(net))
    # Also around the networks of a callable; a subclass that does something else is no ReLU.
    net = net[0].double()

    class Other(nn.ReLU):
        def forward(self, x):
            return F.relu(x) * 0.5

    relu = Other()
    model = xrxai.Model(lambda x: relu(net(x))[:, :3], takes="spectrum", targets=worlds.TARGETS)
    with pytest.raises(ModelError, match=r"outside of them: relu in Other\. Their"):
        worlds.explain("guided_backprop", worlds.cube(), model)
    model = xrxai.Model(lambda x: net(x).relu()[:, :3], takes="spectrum", targets=worlds.TARGETS)
    with pytest.raises(ModelError, match=r"relu in what is around its layers\. Their"):
        worlds.explain("guided_backprop", worlds.cube(), model)


def test_clipping_in_prepare_is_no_rectifier():
    net, _ = dense(10)
    cube = worlds.cube(y=2, x=2)
    clipped = spectrum(net, prepare=lambda x: x.clamp(0, 1))
    one = worlds.explain("guided_backprop", cube, clipped).attribution
    two = worlds.explain("guided_backprop", cube, spectrum(net)).attribution
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_a_network_without_relu_is_refused(method):
    net = nn.Sequential(nn.Linear(10, 3), nn.GELU())
    with raises_exactly(
        ModelError,
        f"The method {method} changes the gradient of torch.nn.ReLU modules, and the network ran "
        f"none: the result would be the plain gradient. Use saliency.",
    ):
        worlds.explain(method, worlds.cube(), spectrum(net))


RULELESS = {
    "gelu in Odd": (F.gelu, {}),
    "sigmoid in Odd": (torch.sigmoid, {}),
    "mul in Odd": (lambda x: x * x, {}),
    "native_layer_norm in LayerNorm 'operation'": (nn.LayerNorm(6), {}),
    "_softmax in Softmax 'operation'": (nn.Softmax(1), {}),
    "div in Odd": (lambda x: x / (1 + x.mean(1, keepdim=True)), {}),
    "gt in Odd": (lambda x: x * (x > 1), {}),
    "log in what is around its layers": (lambda x: x, {"prepare": lambda x: torch.log(x + 1)}),
}


@pytest.mark.parametrize("found", RULELESS)
@pytest.mark.parametrize("method", ["deep_lift", "lrp"])
def test_what_has_no_rule_is_refused_by_name(method, found):
    operation, options = RULELESS[found]
    name = found.lstrip("_")
    with raises_exactly(
        ModelError,
        f"The method {method} has rules for what is linear and for modules such as "
        f"torch.nn.ReLU, and none for {name}. Make activations modules of their own, do to the "
        f"cube itself what prepare= does beyond shift and scale, or use integrated_gradients, "
        f"which needs no rules.",
    ):
        worlds.explain(method, worlds.cube(), spectrum(Odd(operation), **options))


def test_functional_relu_has_no_rule_in_deep_lift():
    with pytest.raises(ModelError, match=r"none for relu in Odd\. Make"):
        worlds.cube().xai.deep_lift(spectrum(Odd(F.relu)))


def test_what_is_linear_needs_no_rule():
    """Shapes, sums, constants, means, eval-mode dropout and batch norm, shift and scale."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4)
            self.drop, self.head = nn.Dropout(), nn.Linear(4, 3)
            self.scale = nn.Parameter(torch.randn(4, 1))

        def forward(self, x):
            z = self.norm(self.first(x[:, None])) * self.scale + 1
            z = torch.cat([z[..., :5], z[..., 5:].flip(-1)], -1) - z.mean(-1, keepdim=True) / 2
            z = F.pad(z, (1, 1)) @ torch.ones(12, 2, dtype=z.dtype)
            return self.head(self.drop(torch.einsum("ncl->nc", z)))

    model = spectrum(Linear(), prepare=lambda x: (x - 0.5) / 0.1)
    cube = worlds.cube(y=2, x=2)
    exact = cube.xai.input_x_gradient(model).attribution
    xr.testing.assert_allclose(cube.xai.deep_lift(model).attribution, exact, rtol=1e-9)
    xr.testing.assert_allclose(cube.xai.lrp(model, epsilon=1e-14).attribution, exact, rtol=1e-6)


def test_another_way_at_the_baseline_is_refused():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act = nn.Linear(10, 3), nn.Tanh()

        def forward(self, x):
            z = self.act(self.first(x))
            return self.act(z) if bool((x.detach() > 0).any()) else z

    with raises_exactly(
        ModelError,
        "The method deep_lift compares the calls of each layer at the cube and at the baseline, "
        "but the network took another way at the baseline; use integrated_gradients.",
    ):
        worlds.cube().xai.deep_lift(spectrum(Branch()))


def test_scores_after_an_activation_are_refused():
    for method in ("deep_lift", "lrp"):
        with raises_exactly(
            ModelError,
            f"The method {method} has no rule for activation='softmax', and explains what goes "
            f"into it; type Model(..., activation=None).",
        ):
            worlds.explain(method, worlds.cube(), spectrum(dense(10)[0], activation="softmax"))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_network_is_refused(method):
    cube = worlds.cube()
    options = {"takes": "patch", "targets": worlds.TARGETS}
    plain = xrxai.Model(lambda x: x.mean((2, 3))[:, :3], name="mean", **options)
    with raises_exactly(
        ModelError,
        f"The method {method} reaches into layers, and mean holds no torch.nn.Module that could "
        f"be found; give Model(...) the network itself.",
    ):
        worlds.explain(method, cube, plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(worlds.LayeredNet("patch").first)
        compiled = torch.compile(Net())
    with raises_exactly(
        ModelError,
        f"The method {method} reaches into layers, and TorchScript lets nobody in; give "
        f"Model(...) the torch.nn.Module that was scripted or traced.",
    ):
        worlds.explain(method, cube, xrxai.Model(scripted, **options))
    with raises_exactly(
        ModelError,
        f"The method {method} reaches into layers, which torch.compile has fused; give "
        f"Model(...) the network before torch.compile.",
    ):
        worlds.explain(method, cube, xrxai.Model(compiled, **options))
    numbers = xrxai.Model(lambda x: x.mean((2, 3))[:, :3], arrays="numpy", name="mean", **options)
    with raises_exactly(
        ModelError,
        f"The method {method} needs gradients, which mean (arrays='numpy') cannot give; use "
        f"lime_spectral or occlusion_spectral.",
    ):
        worlds.explain(method, cube, numbers)


def test_a_program_is_refused():
    program = torch.export.export(Net(), (torch.ones(2, 10, 8, 8),))
    with raises_exactly(
        ModelError,
        "The method lrp reaches into layers, and a program of torch.export has none left; give "
        "Model(...) the torch.nn.Module that was exported.",
    ):
        worlds.cube().xai.lrp(xrxai.Model(program, takes="patch", targets=worlds.TARGETS))


@pytest.mark.parametrize("method", ["grad_cam", "guided_grad_cam"])
def test_layers_are_called_by_name(method):
    model = patch(nn.Sequential(nn.ModuleDict({"layer4": nn.Conv2d(10, 3, 1)}), nn.Flatten()))
    names = "'0', '0.layer4', '1'"

    def told(message, layer):
        with raises_exactly(OptionError, message):
            worlds.explain(method, worlds.cube(), model, layer=layer)

    told(f"layer= is missing: which layer is looked at? Choose one of {names}.", None)
    told(
        f"The model has no layer 'layer4'. Did you mean '0.layer4'? Its layers are {names}.",
        "layer4",
    )
    told(
        f"The model has no layer '0.layr4'. Did you mean '0.layer4'? Its layers are {names}.",
        "0.layr4",
    )
    told(f"The model has no layer 7. Its layers are {names}.", 7)
    with raises_exactly(
        OptionError, "The network has no layers inside; layer= needs one that is built of modules."
    ):
        worlds.explain(method, worlds.cube(), patch(nn.Conv2d(10, 3, 1)), layer="a")


@pytest.mark.parametrize(
    ("net", "layer", "options", "error", "message"),
    [
        (
            Net,
            "head",
            {},
            ModelError,
            "The layer 'head' gives (n, 3), which has no positions left to map; choose an "
            "earlier one, such as the last convolution.",
        ),
        (
            lambda: Shared(True),
            "relus.0",
            {},
            ModelError,
            "The layer 'relus.0' gave 4 tensors in one pass, and one is needed; choose a layer "
            "that the network calls once.",
        ),
        (
            lambda: Tokens(2),
            "block",
            {},
            OptionError,
            "The layer 'block' gives 18 tokens, no square with or without a class token; type "
            "tokens=(rows, columns).",
        ),
        (
            lambda: Tokens(2),
            "block",
            {"tokens": (5, 4)},
            OptionError,
            "tokens=(5, 4) does not fit the layer 'block', which gives (n, 18, 6); it is the "
            "layout of the tokens without class tokens.",
        ),
        (
            lambda: Tokens(2),
            "block",
            {"tokens": 16},
            OptionError,
            "tokens=16 is no number of rows and of columns; type tokens=(14, 14).",
        ),
        (
            lambda: Tokens(2),
            "block",
            {"tokens": (4, 0)},
            OptionError,
            "tokens=0 is too small; type tokens=1 or more.",
        ),
    ],
    ids=["no positions", "called often", "no square", "no fit", "no pair", "zero"],
)
def test_layers_that_cannot_be_mapped(net, layer, options, error, message):
    cube = worlds.cube(y=8, x=8)
    with raises_exactly(error, message):
        cube.xai.grad_cam(patch(net()), layer=layer, **options)


def test_a_layer_aside_of_the_answer():
    class Aside(Net):
        def __init__(self):
            super().__init__()
            self.aside = nn.Conv2d(10, 2, 1)

        def forward(self, x):
            self.aside(x)
            return super().forward(x)

    with raises_exactly(
        ModelError,
        "The score of Aside does not follow from the layer 'aside', or no gradient comes "
        "through; choose a layer between the cube and the answer.",
    ):
        worlds.cube(y=8, x=8).xai.grad_cam(patch(Aside()), layer="aside")


def test_a_layer_that_mixes_samples():
    class Mixed(Net):
        def forward(self, x):
            return super().forward(x.flatten(0, 1).unflatten(0, (-1, 10)))

    net = Mixed()
    net.pool = nn.Sequential(net.pool, nn.Flatten(0, 1), nn.Unflatten(0, (-1, 8)))
    with raises_exactly(
        ModelError,
        "The layer 'pool.1' answered shape (8, 4, 4) to 1 samples, which it no longer keeps "
        "apart; choose a layer that gives (n, ...).",
    ):
        worlds.cube(y=8, x=8).xai.grad_cam(patch(net), layer="pool.1")


def test_tokens_of_a_spectrum_are_a_number():
    net = worlds.model("spectrum", method="grad_cam")
    with raises_exactly(
        OptionError,
        "tokens=(2, 5) are rows and columns, and a spectrum has neither; type their number, "
        "tokens=16.",
    ):
        worlds.cube().xai.grad_cam(net, layer="second", tokens=(2, 5))
    with raises_exactly(
        OptionError,
        "tokens=11 does not fit the layer 'second', which gives (n, 8, 10); it is the layout of "
        "the tokens without class tokens.",
    ):
        worlds.cube().xai.grad_cam(net, layer="second", tokens=11)


@pytest.mark.parametrize("epsilon", [0, -1.0, np.nan, "small", None, True])
def test_epsilon_is_a_positive_number(epsilon):
    with raises_exactly(
        OptionError,
        f"epsilon={epsilon!r} is not a positive number; type for example epsilon=1e-06.",
    ):
        worlds.cube().xai.lrp(worlds.model(method="lrp"), epsilon=epsilon)


# ------------------------------------------------------------------------------------ caution


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("guided_backprop", "fails the sanity check of Adebayo et al. 2018"),
        ("guided_grad_cam", "fails the sanity check of Adebayo et al. 2018"),
        ("deconvnet", "recovers the image rather than what the network sees in it"),
    ],
)
def test_what_these_methods_show_is_said(method, why):
    model = worlds.model(method=method)
    options = worlds.QUICK.get(method, {})
    with pytest.warns(UserWarning, match=f"^{method} {why}") as caught:
        found = getattr(worlds.cube().xai, method)(model, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert found.attrs["caution"] == str(caught[0].message)
    assert why in found.attrs["caution"]


def test_the_sanity_check_fails_indeed():
    """Adebayo et al. 2018: whatever the last weights are, here of eight targets, one map."""
    cube = worlds.cube(bands=3, y=12, x=12, invalid=False)
    net = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 8)),
    )
    likeness = {}
    for method in ("guided_backprop", "saliency"):
        maps = worlds.explain(method, cube, patch(net, list("abcdefgh"))).attribution
        likeness[method] = np.corrcoef(maps.values.reshape(8, -1))[np.triu_indices(8, 1)].mean()
    assert likeness["guided_backprop"] > 0.6, likeness
    assert abs(likeness["saliency"]) < 0.2, likeness
