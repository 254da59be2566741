"""How far models see: nets whose radius is known on paper, and what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn

import xrxai
from tests.conftest import raises_exactly
from xrxai.errors import ModelError, OptionError
from xrxai.tensors import field

BANDS = 3


def conv(inside: int, outside: int, kernel: int = 3, **options: int) -> nn.Conv2d:
    options.setdefault("padding", options.get("dilation", 1) * (kernel // 2))
    return nn.Conv2d(inside, outside, kernel, **options)


class Call(nn.Module):
    """A function as a layer."""

    def __init__(self, function, *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def plain() -> nn.Module:
    act = nn.Tanh
    return nn.Sequential(conv(BANDS, 6), act(), conv(6, 6), act(), conv(6, 2))


def normed() -> nn.Module:
    net = nn.Sequential(conv(BANDS, 6), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 2))
    net[1].running_mean.uniform_(-0.3, 0.3)
    return net


def dilated() -> nn.Module:
    steps = [conv(BANDS, 6), nn.Softplus()]
    for rate in (2, 4):
        steps += [conv(6, 6, dilation=rate), nn.Softplus()]
    return nn.Sequential(*steps, conv(6, 2, 1))


def pooled(by: int = 2, up: str = "nearest") -> nn.Module:
    pool = nn.MaxPool2d(2) if up == "nearest" else nn.Conv2d(6, 6, 3, stride=2, padding=1)
    back = {
        "nearest": nn.Upsample(scale_factor=2),
        "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
        "corners": nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        "transposed": nn.ConvTranspose2d(6, 6, 4, stride=2, padding=1),
    }[up]
    first = conv(BANDS, 6, 3 if up == "nearest" else 1)
    middle = conv(6, 6, 3 if up == "nearest" else 1)
    return nn.Sequential(first, nn.Softplus(), pool, middle, nn.Tanh(), back, conv(6, 2, 1))


class UNet(nn.Module):
    def __init__(self, depth: int, width: int = 4) -> None:
        super().__init__()

        def block(inside: int) -> nn.Module:
            act = nn.Tanh
            return nn.Sequential(conv(inside, width), act(), conv(width, width), act())

        self.down = nn.ModuleList(block(BANDS if i == 0 else width) for i in range(depth + 1))
        self.up = nn.ModuleList(block(2 * width) for _ in range(depth))
        self.head = conv(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for block in self.down[:-1]:
            x = block(x)
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = self.down[-1](x)
        for block in self.up:
            x = block(torch.cat([kept.pop(), F.interpolate(x, scale_factor=2)], 1))
        return self.head(x)


def unet_radius(depth: int) -> int:
    """On paper: the pixels that an interval of the answer needs, level by level."""

    def needs(a: int, b: int, level: int) -> tuple[int, int]:
        """What [a, b] of the answer at a level needs of that level's input."""
        if level == depth:
            return a - 2, b + 2
        a, b = a - 2, b + 2  # the block on the way up
        low, high = needs(a // 2, b // 2, level + 1)
        a, b = min(a, 2 * low), max(b, 2 * high + 1)  # the skip, or the pooled cells
        return a - 2, b + 2  # the block on the way down

    spans = [(q, *needs(q, q, 0)) for q in range(2**depth)]
    return max(max(q - a, b - q) for q, a, b in spans)


def gated(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
    return a(x) * torch.sigmoid(b(x))


def squeezed(x: Tensor, body: nn.Module, gate: nn.Module, head: nn.Module) -> Tensor:
    z = torch.tanh(body(x))
    return head(z * torch.sigmoid(gate(z.mean((2, 3))))[..., None, None])


def attended(x: Tensor, body: nn.Module, head: nn.Module) -> Tensor:
    z = F.avg_pool2d(body(x), 4).flatten(2).mT
    z = F.scaled_dot_product_attention(9 * z, z, z).mT
    side = x.shape[2] // 4, x.shape[3] // 4
    return head(F.interpolate(z.unflatten(2, side), scale_factor=4))


def in_windows(x: Tensor, head: nn.Module) -> Tensor:
    """Attention within windows of 8 by 8."""
    n, c, h, w = x.shape
    z = x.view(n, c, h // 8, 8, w // 8, 8).permute(0, 2, 4, 3, 5, 1).reshape(-1, 64, c)
    z = F.scaled_dot_product_attention(z, z, z).view(n, h // 8, w // 8, 8, 8, c)
    return head(z.permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w))


def placed(x: Tensor, head: nn.Module) -> Tensor:
    """Knows where in the window it is."""
    ramp = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype).expand_as(x[:, :1])
    return head(torch.cat([x, ramp], 1))


def checkered(x: Tensor, head: nn.Module) -> Tensor:
    """Even and odd columns see equally far, with other weights."""
    return head(x) * (1 + torch.arange(x.shape[-1], device=x.device) % 2)


KNOWN = {
    "three": (plain, 3, 1),
    "one by one": (lambda: conv(BANDS, 2, 1), 0, 1),
    "batch norm": (normed, 2, 1),
    "dilated": (dilated, 7, 1),
    # to the right there is one column more than to the left
    "even": (
        lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 0, 0)), nn.Conv2d(BANDS, 2, (1, 4))),
        2,
        1,
    ),
    "tall": (lambda: nn.Conv2d(BANDS, 2, (9, 3), padding=(4, 1)), 4, 1),
    # cell c of 2c, 2c+1 needs cells c-1..c+1, that is 2c-2..2c+3, and one more on each side
    "max-pool": (pooled, 4, 2),
    # cell c sees 2c-1..2c+1; pixel 2c is made of cells c-1 and c, pixel 2c+1 of c and c+1
    "strided, bilinear": (lambda: pooled(up="bilinear"), 3, 2),
    "strided, transposed": (lambda: pooled(up="transposed"), 3, 2),
    "pooled by three": (
        lambda: nn.Sequential(nn.AvgPool2d(3), conv(BANDS, 2, 1), nn.Upsample(scale_factor=3)),
        2,
        3,
    ),
    "gate": (lambda: Call(gated, conv(BANDS, 2, 5), conv(BANDS, 2, 7)), 3, 1),
    "windows": (lambda: Call(in_windows, conv(BANDS, 2, 3)), 8, 8),
    "checkered": (lambda: Call(checkered, conv(BANDS, 2, 3)), 1, 2),
    "NaN hidden at once": (
        lambda: Call(lambda x, a: a(torch.nan_to_num(x)), conv(BANDS, 2, 5)),
        2,
        1,
    ),
    # the NaN goes through the 3 by 3 only; the 9 by 9 is seen by the gradient
    "NaN hidden in part": (
        lambda: Call(
            lambda x, a, b: a(x) + b(torch.where(x > -9, x, 0)), conv(BANDS, 2), conv(BANDS, 2, 9)
        ),
        4,
        1,
    ),
    # the gradient ends at the threshold of the second layer; the NaN does not
    "no gradient": (lambda: Call(lambda x, a: (a(x) > 0).to(x.dtype), conv(BANDS, 2, 5)), 2, 1),
    "U-Net 2": (lambda: UNet(2), unet_radius(2), 4),
    "U-Net 4": (lambda: UNet(4, width=2), unet_radius(4), 16),
}


def made(build, **options) -> xrxai.Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build()
    options = {"targets": ["a", "b"], "takes": "patch", "gives": "map", **options}
    if options.get("dtype") != "float32" and isinstance(net, nn.Module):
        net = net.double()
    return xrxai.Model(net, **options)


@pytest.mark.parametrize("name", KNOWN)
def test_the_radius_on_paper(name):
    build, radius, stride = KNOWN[name]
    found = made(build, n_bands=BANDS).receptive_field()
    assert (found.radius, found.stride, found.exact) == (radius, stride, True), found
    assert found.window > 2 * radius


@pytest.mark.parametrize(
    ("build", "radius", "stride"),
    [(plain, 3, 1), (pooled, 4, 2), (lambda: UNet(3), unet_radius(3), 8)],
    ids=["three", "max-pool", "U-Net 3"],
)
def test_float32_says_the_same(build, radius, stride):
    found = made(build, n_bands=BANDS, dtype="float32").receptive_field()
    assert (found.radius, found.stride, found.exact) == (radius, stride, True), found


@pytest.mark.parametrize(
    ("build", "stride"),
    [
        (lambda: Call(squeezed, conv(BANDS, 6), nn.Linear(6, 6), conv(6, 2)), 1),
        (lambda: Call(attended, conv(BANDS, 6), conv(6, 2)), 4),
        (lambda: nn.Sequential(conv(BANDS, 6), nn.InstanceNorm2d(6), conv(6, 2)), 1),
        (
            lambda: nn.Sequential(
                conv(BANDS, 6), nn.AvgPool2d(8), nn.InstanceNorm2d(6), nn.Upsample(scale_factor=8),
                conv(6, 2),
            ),
            8,
        ),
    ],
    ids=["squeeze-excitation", "attention", "instance norm", "instance norm on a grid of 8"],
)  # fmt: skip
def test_global_context_has_no_radius_but_a_stride(build, stride):
    found = made(build).receptive_field(largest=256)
    assert found.radius is None
    assert not found.exact
    assert "global context" in found.reason
    assert found.stride == stride


def test_a_radius_beyond_the_largest_window_is_not_found():
    model = made(dilated)
    assert model.receptive_field().radius == 7
    # Only the middle of its kernel is inside a small window, and reaches no edge of it.
    wide = made(lambda: conv(BANDS, 2, 3, dilation=40))
    assert wide.receptive_field(largest=64).radius is None
    assert wide.receptive_field(largest=128).radius == 40


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [lambda: pooled(up="corners"), lambda: Call(placed, conv(BANDS + 1, 2, 1))],
    ids=["align_corners", "coordinates"],
)
def test_an_answer_that_depends_on_the_position_is_not_exact(build):
    # No pixel reaches far, and yet no halo would make tiles agree.
    found = made(build, n_bands=BANDS).receptive_field(largest=256)
    assert found.radius is None
    assert "position" in found.reason


@pytest.mark.parametrize(
    "options", [{"resize": (64, 64)}, {"pad": "square"}], ids=["resize", "pad"]
)
def test_preprocessing_that_looks_at_the_whole_window(options):
    found = made(plain, **options).receptive_field()
    assert found.radius is None
    assert next(iter(options)) in found.reason


@pytest.mark.parametrize(("pad", "stride"), [(32, 32), (6, 6), (100, 100)])
def test_an_integer_pad_is_part_of_the_stride(pad, stride):
    found = made(pooled, pad=pad).receptive_field()
    assert (found.radius, found.stride) == (4, stride)
    assert found.ragged


def test_a_ragged_side_is_told():
    small = lambda: nn.Sequential(conv(BANDS, 2), nn.AvgPool2d(4, ceil_mode=True))  # noqa: E731
    assert made(plain).receptive_field().ragged
    assert not made(lambda: UNet(2)).receptive_field().ragged  # refuses the size
    assert not made(small).receptive_field().ragged  # spread over the grid by another factor
    assert made(small, pad=4).receptive_field().ragged


def test_prepare_counts():
    found = made(
        lambda: conv(BANDS, 2, 1), n_bands=BANDS, prepare=lambda x: F.avg_pool2d(x, 5, 1, 2)
    )
    assert found.receptive_field().radius == 2
    whole = made(plain, n_bands=BANDS, prepare=lambda x: x - x.mean((2, 3), keepdim=True))
    assert whole.receptive_field().radius is None


def smooth(x: np.ndarray) -> np.ndarray:
    """A mean over 3 by 7, and the first band as it is."""
    padded = np.pad(x[:, 0], ((0, 0), (1, 1), (3, 3)))
    wide = np.lib.stride_tricks.sliding_window_view(padded, (3, 7), axis=(1, 2))
    return np.stack([wide.mean((-2, -1)), x[:, 0]], 1)


def strict(x: np.ndarray) -> np.ndarray:
    if np.isnan(x).any():
        raise ValueError("Input contains NaN.")
    return smooth(x)


@pytest.mark.parametrize(
    "function", [smooth, strict, lambda x: np.round(smooth(x), 1)], ids=["plain", "strict", "steps"]
)
def test_functions_of_numpy_arrays(function):
    model = made(lambda: function, arrays="numpy", n_bands=BANDS)
    assert model.receptive_field().radius == 3


def test_programs():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(plain())
        shapes = (
            {0: torch.export.Dim("n", min=1), 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},
        )
        program = torch.export.export(
            plain(), (torch.rand(2, BANDS, 40, 48),), dynamic_shapes=shapes
        )
    assert made(lambda: scripted).receptive_field().radius == 3
    model = made(lambda: program, n_bands=BANDS, dtype="float32")
    assert model.receptive_field().radius == 3


def test_noise_that_the_model_bears():
    # A log asks for positive values.
    model = made(lambda: Call(lambda x, a: a(torch.log(x)), conv(BANDS, 2)))
    assert model.receptive_field().radius == 1
    scene = cube(80) + 30
    only = made(
        lambda: Call(lambda x, a: a(x) + torch.sqrt(x[:, :1] - 25), conv(BANDS, 2)), scale=0.01
    )
    with pytest.raises(ModelError, match="type cube="):
        only.receptive_field()
    assert only.receptive_field(cube=100 * scene).radius == 1


# ---------------------------------------------------------------------------- what it is for


@pytest.fixture(autouse=True)
def smaller_seams(monkeypatch):
    """Measure on windows of 320 pixels: these nets need no more."""
    monkeypatch.setattr(field, "_SEAM_SIDE", 320)


def cube(side: int, seed: int = 0) -> xr.DataArray:
    values = np.random.default_rng(seed).normal(size=(BANDS, side, side))
    return xr.DataArray(values, dims=("band", "y", "x"))


def slope(model: xrxai.Model, x: np.ndarray) -> np.ndarray:
    """Gradient of the sum of both scores, on its own: the classes of the window itself."""
    z = torch.from_numpy(x)[None].requires_grad_(True)
    out = model.forward(z)
    if model.reduction == "frozen_argmax":
        # of each pixel's winner, and not alike for both, for centred answers
        won = F.one_hot(out.detach().argmax(1), 2).movedim(-1, 1)
        out = out * won * torch.tensor([1.0, -0.7])[:, None, None]
    (g,) = torch.autograd.grad((out * out if model.reduction == "area" else out).sum(), z)
    return g[0].numpy()


@pytest.mark.parametrize("reduction", ["area", "frozen_argmax"])
@pytest.mark.parametrize(
    ("name", "too_little"),
    # Tiles begin with a pooled cell, and not all that a pixel reaches is bent there.
    [("three", 5), ("dilated", 13), ("max-pool", 6), ("strided, transposed", 0), ("U-Net 2", 32)],
)
def test_two_radii_make_tiles_agree_and_less_does_not(name, too_little, reduction):
    model = made(KNOWN[name][0], reduction=reduction)
    found = model.receptive_field()
    r, s = found.radius, found.stride
    side = 8 * max(4 * r // 8 + 4, 8)
    scene = cube(side).values
    whole = slope(model, scene)
    scale = np.abs(whole).max()

    def off(halo: int, at: int) -> float:
        core = slice(at, at + 2 * s)
        low, high = max(0, at - halo), min(side, at + 2 * s + halo)
        part = slope(model, scene[:, low:high, low:high])
        inner = slice(at - low, at - low + 2 * s)
        return float(np.abs(part[:, inner, inner] - whole[:, core, core]).max() / scale)

    enough = 2 * r + -2 * r % s
    middle = side // 2 // s * s
    for at in (0, s, middle, side - 2 * s):
        assert off(enough, at) < 1e-12
    assert off(too_little, middle) > 1e-9


def test_choose_takes_the_exact_halo_where_it_is_affordable(monkeypatch):
    model = made(lambda: UNet(2))
    r = unet_radius(2)
    for reach, extent in ((1, 0), (2, 0), (1, 7), (2, 5)):
        halo = field.choose(model, tile=128, reach=reach, extent=extent)
        assert (halo.exact, halo.error, halo.stride) == (True, 0.0, 4)
        assert halo.pixels == 4 * math.ceil((reach * r + extent) / 4)
    # 48 pixels cost little whatever the tile
    assert field.choose(model, tile=32, reach=2).exact
    # more than the tile: the ladder, and what it costs
    monkeypatch.setattr(field, "_CHEAP", 32)
    tight = field.choose(model, tile=32, reach=2)
    assert not tight.exact
    assert tight.pixels <= 32
    assert tight.pixels % 4 == 0
    assert 0 < tight.error < 1


def test_the_error_is_that_of_the_core():
    model = made(lambda: UNet(2), reduction="area")
    scene = cube(200)
    exact = field.choose(model, tile=64, reach=2).pixels
    errors = field.seam_errors(model, [0, 8, exact], tile=16, sample=scene.values)
    assert list(errors) == [0, 8]  # the exact halo is what they are measured against
    weight = torch.randn(2, generator=torch.Generator().manual_seed(1)).double()

    def at(halo: int) -> np.ndarray:
        inside = slice((200 - 16) // 2 - halo, (200 + 16) // 2 + halo)
        z = torch.from_numpy(scene.values[:, inside, inside])[None].requires_grad_(True)
        (g,) = torch.autograd.grad((model.forward(z).sum((0, 2, 3)) * weight).sum(), z)
        return g[0, :, halo : halo + 16, halo : halo + 16].numpy()

    for halo, error in errors.items():
        away = np.abs(at(halo) - at(exact)).sum() / np.abs(at(exact)).sum()
        assert error == pytest.approx(away, rel=1e-9)
    assert errors[0] > 5 * errors[8] > 0
    assert model.seam_error(8, tile=16, cube=scene) == errors[8]


def test_choose_where_context_is_global():
    model = made(lambda: Call(squeezed, conv(BANDS, 6), nn.Linear(6, 6), conv(6, 2)))
    halo = field.choose(model, tile=64, reach=2)
    assert not halo.exact
    assert 0 < halo.error < 0.1
    assert 0 < halo.pixels <= 64


@pytest.mark.parametrize(("told", "pixels", "exact"), [(0, 0, False), (5, 6, False), (9, 10, True)])
def test_a_halo_that_is_told(told, pixels, exact):
    model = made(pooled, halo=told)
    halo = field.choose(model, tile=32, reach=2)
    assert (halo.pixels, halo.exact, halo.error == 0) == (pixels, exact, exact)
    assert halo.error == 0 or 1e-4 < halo.error < 2


def test_scores_are_measured_by_the_map():
    model = made(lambda: UNet(2), halo=8)
    scores, gradients = (field.choose(model, tile=32, reach=reach).error for reach in (1, 2))
    assert 0 < scores < gradients
    steps = made(lambda: smooth, arrays="numpy", n_bands=BANDS, halo=2)
    assert 0 < field.choose(steps, tile=16, reach=2).error < 1


# ---------------------------------------------------------------------------- manners


def test_it_is_measured_once_and_the_model_given_back():
    calls = []

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = conv(BANDS, 2)

        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return self.first(x)

    model = made(Counted)
    model.forward.train()
    found = model.receptive_field()
    spent = sum(calls)
    assert 0 < spent < 50
    assert model.receptive_field() is found
    assert sum(calls) == spent
    assert model.forward.training
    assert model.forward.first.weight.requires_grad
    assert model.forward.first.weight.grad is None
    with torch.no_grad():
        model.forward.first.weight.add_(1)
    model.receptive_field()
    assert sum(calls) > spent


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    made(lambda: UNet(1)).receptive_field()
    torch.manual_seed(3)
    assert torch.equal(before, torch.get_rng_state())
    state = torch.get_rng_state()
    model = made(lambda: UNet(1, width=3))
    field.choose(model, tile=16, reach=2)
    assert torch.equal(state, torch.get_rng_state())


def test_one_line():
    found = made(lambda: UNet(2)).receptive_field()
    assert repr(found) == (
        f"<xrxai.ReceptiveField: radius {found.radius} px, stride 4, measured in {found.window} px>"
    )


def test_what_cannot_be():
    spectra = xrxai.Model(lambda x: x[:, :2], takes="spectrum", targets=["a", "b"])
    with raises_exactly(
        ModelError,
        "The model sees one pixel, so there is no radius to measure; a spectrum has no "
        "surroundings, and no halo is needed.",
    ):
        spectra.receptive_field()
    with pytest.raises(ModelError, match="type gives='map' if it answers per pixel"):
        made(plain, gives="vector").receptive_field()
    with pytest.raises(ModelError, match="n_bands="):
        made(lambda: torch.sin).receptive_field()
    with pytest.raises(ModelError, match=r"^halo=3 is what surrounds the tiles of a map"):
        made(plain, gives="vector", halo=3)
    with pytest.raises(OptionError, match="halo"):
        made(plain, halo=-1)
    with pytest.raises(ModelError, match=r"(?s)cannot be measured.*failed on an input.*n_bands="):
        made(plain).receptive_field(n_bands=BANDS + 1)
    with pytest.raises(ModelError, match="is smaller than the"):
        field.seam_errors(made(plain), [2], tile=64, sample=np.zeros((BANDS, 40, 90)))
