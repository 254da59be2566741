"""Models of every kind: one face, the same explanation, given back as found."""

from __future__ import annotations

import copy
import functools
import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from dask.base import tokenize
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import xrxai
from tests.conftest import skip_or_fail
from xrxai import fingerprint
from xrxai.errors import ModelError

BANDS, ROWS, COLUMNS = 6, 5, 7
TARGETS = ["K", "pH"]
rng = np.random.default_rng(7)
WEIGHT = rng.normal(size=(2, BANDS))
OFFSET = np.array([0.5, -1.0])


def cube(dtype: str = "float64", **sizes: int) -> xr.DataArray:
    shape = {"band": BANDS, "y": ROWS, "x": COLUMNS, **sizes}
    values = np.random.default_rng(1).uniform(0.1, 0.9, tuple(shape.values()))
    nm = np.linspace(450, 900, shape["band"])
    coords = {"wavelength": ("band", nm, {"units": "nm"})}
    return xr.DataArray(values.astype(dtype), dims=tuple(shape), coords=coords)


# ---------------------------------------------------------------------------- one function


def linear() -> nn.Linear:
    net = nn.Linear(BANDS, 2).double()
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(WEIGHT))
        net.bias.copy_(torch.from_numpy(OFFSET))
    return net


class MeanThenLinear(nn.Module):
    """Patches: the mean spectrum, then a line."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))


def exported(net: nn.Module, *shape: int) -> Any:
    example = torch.rand(3, *shape, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says about itself
        return torch.export.export(
            net.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
        )


def scripted(net: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(net)


def fitted(estimator: Any) -> Any:
    x = np.random.default_rng(2).uniform(size=(40, BANDS))
    return estimator.fit(x, x @ WEIGHT.T + OFFSET)


SPECTRUM: dict[str, Callable[[], Any]] = {
    "network": linear,
    "script": lambda: scripted(linear()),
    "export": lambda: exported(linear(), BANDS),
    "callable": lambda: lambda x: x @ torch.from_numpy(WEIGHT.T) + torch.from_numpy(OFFSET),
    "method": lambda: linear().forward,
    "partial": lambda: functools.partial(lambda net, x: net(x), linear()),
    "numpy": lambda: lambda x: x @ WEIGHT.T + OFFSET,
    "estimator": lambda: fitted(LinearRegression()),
    "pipeline": lambda: fitted(make_pipeline(StandardScaler(), LinearRegression())),
}
PATCH: dict[str, Callable[[], Any]] = {
    "network": MeanThenLinear,
    "script": lambda: scripted(MeanThenLinear()),
    "export": lambda: exported(MeanThenLinear(), BANDS, ROWS, COLUMNS),
    "callable": lambda: (
        lambda x: x.mean((2, 3)) @ torch.from_numpy(WEIGHT.T) + torch.from_numpy(OFFSET)
    ),
    "numpy": lambda: lambda x: x.mean((2, 3)) @ WEIGHT.T + OFFSET,
}


def model_of(kind: str, takes: str) -> xrxai.Model:
    options: dict[str, Any] = {"takes": takes, "targets": TARGETS, "dtype": "float64"}
    if kind == "numpy":
        options["arrays"] = "numpy"
    return xrxai.Model({"spectrum": SPECTRUM, "patch": PATCH}[takes][kind](), **options)


@pytest.mark.parametrize("kind", SPECTRUM)
def test_spectra_of_every_kind_of_model(kind: str) -> None:
    made, model = cube(), model_of(kind, "spectrum")
    expected = WEIGHT[:, :, None, None] * made.values
    why = xrxai.occlusion_spectral(made, model, window=1, stride=1, unit="band")
    np.testing.assert_allclose(why["attribution"], expected, atol=1e-9)
    score = np.einsum("kb,byx->kyx", WEIGHT, made.values) + OFFSET[:, None, None]
    np.testing.assert_allclose(why["prediction"], score, atol=1e-9)
    lime = xrxai.lime_spectral(made, model, bands=90.0, n_samples=30)
    np.testing.assert_allclose(lime["attribution"].transpose(..., "y", "x"), expected, atol=1e-4)
    if model.differentiable:
        slope = xrxai.saliency(made, model)["attribution"].values
        np.testing.assert_allclose(slope, WEIGHT[:, :, None, None] + 0 * made.values, atol=1e-12)
        way = xrxai.integrated_gradients(made, model, n_steps=3)
        np.testing.assert_allclose(way["attribution"], expected, atol=1e-12)


@pytest.mark.parametrize("kind", PATCH)
def test_patches_of_every_kind_of_model(kind: str) -> None:
    made, model = cube(), model_of(kind, "patch")
    share = WEIGHT[:, :, None, None] * made.values / (ROWS * COLUMNS)
    why = xrxai.occlusion_spectral(made, model, window=1, stride=1, unit="band")
    np.testing.assert_allclose(why["attribution"], share.sum((2, 3)), atol=1e-9)
    pixels = xrxai.occlusion_spatial(made, model, window=1, stride=1)
    np.testing.assert_allclose(pixels["attribution"], share.sum(1), atol=1e-9)
    if model.differentiable:
        way = xrxai.integrated_gradients(made, model, n_steps=3)
        np.testing.assert_allclose(way["attribution"], share, atol=1e-12)
        assert float(np.abs(way["completeness_gap"]).max()) < 1e-12


def _classes() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(3).uniform(size=(60, BANDS))
    return x, np.array(["soil", "crop", "water"])[np.argmax(x[:, :3], axis=1)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogisticRegression(),
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        lambda: RandomForestClassifier(5, random_state=0),
    ],
    ids=["logistic", "pipeline", "forest"],
)
def test_classifiers_answer_probabilities_of_their_classes(make: Callable[[], Any]) -> None:
    made, classifier = cube(), make().fit(*_classes())
    why = made.xai.occlusion_spectral(classifier, window=2, unit="band")
    assert why["target"].values.tolist() == ["crop", "soil", "water"]
    table = made.stack(pixel=("y", "x")).transpose("pixel", "band").values
    expected = classifier.predict_proba(table).T.reshape(3, ROWS, COLUMNS)
    np.testing.assert_allclose(why["prediction"], expected, atol=1e-12)
    assert xrxai.Model(classifier).n_bands == BANDS


def test_several_outputs_of_a_regressor_are_several_targets() -> None:
    why = xrxai.lime_spectral(
        cube(), xrxai.Model(fitted(LinearRegression()), targets=TARGETS), target="pH", n_samples=40
    )
    assert why["target"].values.tolist() == ["pH"]


def test_one_output_may_come_without_its_axis() -> None:
    flat = xrxai.Model(lambda x: x.sum(1), takes="spectrum", targets=["K"], dtype="float64")
    np.testing.assert_allclose(xrxai.saliency(cube(), flat)["attribution"], 1.0)


def test_an_answer_that_cannot_be_written_to() -> None:
    model = xrxai.Model(
        lambda x: np.broadcast_to(np.float32(3), (len(x), 1)),
        takes="spectrum",
        targets=["K"],
        arrays="numpy",
    )
    why = xrxai.occlusion_spectral(cube(), model, window=3, unit="band")
    assert (why["attribution"] == 0).all()


# ---------------------------------------------------------------------------- given back


class Fragile(nn.Module):
    """Dropout, batch norm, a frozen part, and an error when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(BANDS)
        self.drop = nn.Dropout(0.5)
        self.frozen = nn.Conv2d(BANDS, 3, 1).requires_grad_(False)
        self.head = nn.Linear(3, 2)
        self.fail = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fail:
            raise RuntimeError("broken inside")
        return self.head(self.frozen(self.drop(self.norm(x))).mean((2, 3)))


def _state(net: nn.Module) -> dict[str, Any]:
    return {
        "training": [part.training for part in net.modules()],
        "requires_grad": [p.requires_grad for p in net.parameters()],
        "grad": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "state": {k: v.clone() for k, v in net.state_dict().items()},
        "hooks": [
            (len(part._forward_hooks), len(part._backward_hooks), len(part._forward_pre_hooks))
            for part in net.modules()
        ],
    }


def _assert_same(one: Any, two: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        one, two = list(one.values()), list(two.values())
    if isinstance(one, list):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            _assert_same(a, b)
    elif isinstance(one, Tensor):
        assert torch.equal(one, two)
    else:
        assert one == two


METHODS: dict[str, Callable[..., xr.Dataset]] = {
    "saliency": xrxai.saliency,
    "integrated_gradients": functools.partial(xrxai.integrated_gradients, n_steps=3),
    "lime_spectral": functools.partial(xrxai.lime_spectral, n_samples=30),
    "lime_spatial": functools.partial(xrxai.lime_spatial, segments="patch", patch=4, n_samples=20),
    "occlusion_spectral": xrxai.occlusion_spectral,
    "occlusion_spatial": functools.partial(xrxai.occlusion_spatial, window=3),
}


def fragile() -> tuple[Fragile, list[str]]:
    """In training, with one part in evaluation, a gradient waiting, and a hook."""
    net = Fragile().train()
    net.norm.eval()
    net.head.weight.grad = torch.ones_like(net.head.weight)
    calls: list[str] = []
    net.head.register_forward_hook(lambda *_: calls.append("head"))
    return net, calls


@pytest.mark.parametrize("name", METHODS)
def test_a_network_is_given_back_as_found(name: str) -> None:
    net, calls = fragile()
    before = _state(net)
    why = METHODS[name](cube("float32"), xrxai.Model(net, takes="patch", targets=TARGETS))
    _assert_same(_state(net), before)
    assert calls  # hooks of the user run, and stay
    # It answered in evaluation mode all the same.
    quiet = copy.deepcopy(net).eval()
    expected = quiet(torch.from_numpy(cube("float32").values)[None]).detach()[0]
    np.testing.assert_allclose(why["prediction"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_network_is_given_back_as_found_after_an_error(name: str) -> None:
    net, _ = fragile()
    net.fail = True
    before = _state(net)
    with pytest.raises(ModelError, match="broken inside"):
        METHODS[name](cube("float32"), xrxai.Model(net, takes="patch", targets=TARGETS))
    _assert_same(_state(net), before)


@pytest.mark.parametrize("how", ["closure", "method", "partial", "object"])
def test_a_network_inside_a_callable_is_quiet_too(how: str) -> None:
    net, _ = fragile()

    class Wrapped:
        def __init__(self) -> None:
            self.net = net

        def __call__(self, x: Tensor) -> Tensor:
            return self.net(x)

    calls: dict[str, Any] = {
        "closure": lambda x: net(x)[:, [0, 1]],
        "method": net.forward,
        "partial": functools.partial(lambda module, x: module(x), net),
        "object": Wrapped(),
    }
    before = _state(net)
    model = xrxai.Model(calls[how], takes="patch", targets=TARGETS)
    why = xrxai.saliency(cube("float32"), model)
    _assert_same(_state(net), before)
    expected = copy.deepcopy(net).eval()(torch.from_numpy(cube("float32").values)[None])
    np.testing.assert_allclose(why["prediction"], expected.detach()[0], rtol=1e-5)


def test_a_network_may_remember_what_it_computed() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.scale is None:
                self.scale = torch.linspace(0, 1, x.shape[1])
            return (x * self.scale[:, None, None]).sum((1, 2, 3))[:, None]

    net = Remembers()
    model = xrxai.Model(net, takes="patch", targets=["K"])
    # The scores come first here, without gradients; the gradients need what was kept.
    why = xrxai.integrated_gradients(cube("float32"), model, n_steps=2)
    assert float(np.abs(why["completeness_gap"]).max()) < 1e-4
    x = torch.ones(1, BANDS, 2, 2, requires_grad=True)
    net(x).sum().backward()


def test_torch_script_is_told_by_its_last_line() -> None:
    model = xrxai.Model(scripted(linear()), takes="spectrum", targets=TARGETS)
    with pytest.raises(ModelError) as caught:
        xrxai.saliency(cube(band=4), model)
    assert re.match(
        r"The model failed on an input of shape \(35, 4\): RuntimeError: mat1 and mat2 shapes "
        r"cannot be multiplied .*\. Check takes='spectrum', the number of bands \(4\)",
        str(caught.value),
    )


# ---------------------------------------------------------------------------- preprocessing


class Wiggly(nn.Module):
    """A smooth network of patches; the same convolution for a vector or a map."""

    def __init__(self, gives: str = "vector") -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(BANDS, 2, 3, padding=1).double()
        self.gives = gives

    def forward(self, x: Tensor) -> Tensor:
        out = torch.tanh(self.conv(x))
        return out if self.gives == "map" else (out + out**3).sum((2, 3))


class ByHand(nn.Module):
    """The same preprocessing, written out."""

    def __init__(self, net: nn.Module, steps: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.steps(x))


def _pad(x: Tensor, bottom: int, right: int, value: float = 0.0) -> Tensor:
    return nn.functional.pad(x, (0, right, 0, bottom), value=value)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


PREPARED: dict[str, tuple[dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "square": ({"pad": "square"}, lambda x: _pad(x, 2, 0)),
    "multiple": ({"pad": 4}, lambda x: _pad(x, 3, 1)),
    "filled": ({"pad": 4, "fill": 0.3}, lambda x: _pad(x, 3, 1, 0.3)),
    "resize": ({"resize": (8, 9)}, lambda x: _resize(x, (8, 9))),
    "scale": ({"scale": 1e-2}, lambda x: x * 1e-2),
    "prepare": ({"prepare": lambda x: (x - 0.4) / 0.2}, lambda x: (x - 0.4) / 0.2),
    "all": (
        {"scale": 2.0, "pad": "square", "resize": (10, 10), "prepare": lambda x: x - 0.4},
        lambda x: _resize(_pad(x, 2, 0) * 2.0, (10, 10)) - 0.4,
    ),
}


@pytest.mark.parametrize("case", PREPARED)
@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "occlusion_spatial"])
def test_preprocessing_is_part_of_the_model(case: str, name: str) -> None:
    options, steps = PREPARED[case]
    made, net = cube(), Wiggly()
    ours = METHODS[name](made, xrxai.Model(net, takes="patch", targets=TARGETS, **options))
    by_hand = xrxai.Model(ByHand(net, steps), takes="patch", targets=TARGETS)
    theirs = METHODS[name](made, by_hand)
    assert ours["attribution"].sizes == theirs["attribution"].sizes
    for variable in ("attribution", "prediction"):
        np.testing.assert_allclose(ours[variable], theirs[variable], atol=1e-12)


@pytest.mark.parametrize(
    ("options", "padded", "inside"),
    [
        ({"pad": "square"}, (2, 0), None),
        ({"pad": 4}, (3, 1), None),
        ({"resize": (10, 14)}, (0, 0), (10, 14)),
        ({"pad": "square", "resize": (9, 9)}, (2, 0), (9, 9)),
        ({"pad": 4, "resize": (16, 16)}, (3, 1), (16, 16)),
    ],
    ids=["square", "multiple", "resize", "square resize", "multiple resize"],
)
def test_maps_come_back_on_the_grid_of_the_cube(
    options: dict[str, Any], padded: tuple[int, int], inside: tuple[int, int] | None
) -> None:
    made, net = cube(), Wiggly("map")

    def by_hand(x: Tensor) -> Tensor:
        z = _pad(x, *padded)
        out = net(z if inside is None else _resize(z, inside))
        out = out if inside is None else _resize(out, (ROWS + padded[0], COLUMNS + padded[1]))
        return out[..., :ROWS, :COLUMNS]

    common: dict[str, Any] = {"takes": "patch", "gives": "map", "targets": TARGETS}
    ours = xrxai.Model(net, reduction="area", **common, **options)
    theirs = xrxai.Model(by_hand, reduction="area", **common)
    for method in (xrxai.saliency, METHODS["occlusion_spatial"]):
        one, two = method(made, ours), method(made, theirs)
        assert one["attribution"].sizes["y"] == ROWS
        np.testing.assert_allclose(one["attribution"], two["attribution"], atol=1e-12)
        np.testing.assert_allclose(one["prediction"], two["prediction"], atol=1e-12)


def test_a_coarse_map_is_brought_to_the_grid() -> None:
    coarse = xrxai.Model(
        lambda x: nn.functional.avg_pool2d(x[:, :2], 2),
        takes="patch", gives="map", targets=TARGETS, reduction="area", dtype="float64",
    )  # fmt: skip
    made = cube(y=4, x=6)
    why = xrxai.saliency(made, coarse)
    out = nn.functional.avg_pool2d(torch.from_numpy(made.values)[None, :2], 2)
    expected = _resize(out, (4, 6)).sum((2, 3))[0]
    np.testing.assert_allclose(why["prediction"], expected)


# ---------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32", "float64", ">f4", ">i2"])
def test_dtypes_of_the_cube(dtype: str) -> None:
    made = (cube() * 1000).round().astype(dtype)
    why = xrxai.input_x_gradient(made, xrxai.Model(linear(), takes="spectrum", targets=TARGETS))
    assert why["attribution"].dtype == np.float64  # that of the parameters
    expected = WEIGHT[:, :, None, None] * made.values.astype(float)
    np.testing.assert_allclose(why["attribution"], expected)


def test_nodata_of_an_integer_cube_is_no_value() -> None:
    made = (cube() * 1000).round().astype("int16").assign_attrs(_FillValue=-9999)
    made[:, 0, 0] = -9999
    model = xrxai.Model(linear(), takes="spectrum", targets=TARGETS)
    why = xrxai.saliency(made, model)
    assert np.isnan(why["attribution"][..., 0, 0]).all()
    assert int(np.isnan(why["prediction"]).sum()) == len(TARGETS)


@pytest.mark.parametrize(
    ("make", "options", "expected"),
    [
        (lambda: nn.Linear(BANDS, 2), {}, "float32"),
        (linear, {}, "float64"),
        (lambda: lambda x: x[:, :2], {}, "float32"),
        (lambda: lambda x: x[:, :2], {"dtype": "float64"}, "float64"),
        (lambda: lambda x: x[:, :2], {"arrays": "numpy"}, "float64"),
        (lambda: lambda x: x[:, :2], {"arrays": "numpy", "dtype": "float32"}, "float32"),
    ],
)
def test_the_model_gets_and_gives_its_own_precision(
    make: Callable[[], Any], options: dict[str, Any], expected: str
) -> None:
    inner, seen = make(), []

    def watched(x: Any) -> Any:
        seen.append(str(x.dtype).removeprefix("torch."))
        return inner(x)

    model = xrxai.Model(watched, takes="spectrum", targets=TARGETS, **options)
    why = xrxai.occlusion_spectral(cube(), model, window=2, unit="band")
    assert set(seen) == {expected}
    assert why["attribution"].dtype == expected


# ---------------------------------------------------------------------------- maps


class Votes(nn.Module):
    """A map of three classes, of which the last never wins."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.conv = nn.Conv2d(BANDS, 3, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        a, b = out[:, :1], out[:, 1:2]
        centred = a - a.mean((2, 3), keepdim=True), b - b.mean((2, 3), keepdim=True)
        return torch.cat([*centred, out[:, 2:] - 50.0], dim=1)


CLASSES = ["clear", "cloud", "shadow"]
ABSENT = (
    "No pixel is given to shadow: score and attribution are 0 there because nothing is summed, "
    "not because nothing matters. Model(..., reduction='area') explains an absent target."
)


def votes(reduction: str, **options: Any) -> xrxai.Model:
    return xrxai.Model(
        Votes(), takes="patch", gives="map", targets=CLASSES, reduction=reduction, **options
    )


def _clean(made: xr.DataArray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(Votes()(torch.from_numpy(made.values)[None])[0])


def _quiet(method: Callable[..., xr.Dataset], *args: Any, **options: Any) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No pixel is given to")
        return method(*args, **options)


@pytest.mark.parametrize("reduction", ["area", "frozen_argmax", "argmax"])
def test_reductions_of_a_map(reduction: str) -> None:
    made = cube()
    out = _clean(made)
    won = np.eye(3)[out.argmax(0)].transpose(2, 0, 1)
    expected = (out if reduction == "area" else out * won).sum((1, 2))
    why = _quiet(xrxai.occlusion_spatial, made, votes(reduction), window=2)
    np.testing.assert_allclose(why["prediction"], expected, atol=1e-12)
    assert why["target_pixels"].values.tolist() == won.sum((1, 2)).tolist()
    assert why["target_absent"].values.tolist() == [False, False, True]
    # Each window again, by hand: only the gate differs between the reductions.
    for w in range(why.sizes["window"]):
        one = why.isel(window=w)
        rows = slice(int(one["window_row_start"]), int(one["window_row_stop"]))
        columns = slice(int(one["window_column_start"]), int(one["window_column_stop"]))
        gone = made.copy()
        gone[:, rows, columns] = 0
        seen = _clean(gone)
        gate = {
            "area": np.ones_like(won),
            "frozen_argmax": won,
            "argmax": np.eye(3)[seen.argmax(0)].transpose(2, 0, 1),
        }[reduction]
        effect = expected - (seen * gate).sum((1, 2))
        np.testing.assert_allclose(one["window_effect"], effect, atol=1e-12)


def test_the_gate_of_a_gradient_is_held() -> None:
    made = cube()
    frozen, moving = (_quiet(xrxai.saliency, made, votes(r)) for r in ("frozen_argmax", "argmax"))
    np.testing.assert_array_equal(frozen["attribution"], moving["attribution"])
    x = torch.from_numpy(made.values)[None].requires_grad_(True)
    out = Votes()(x)
    gate = nn.functional.one_hot(out.argmax(1), 3).permute(0, 3, 1, 2)
    for k in range(3):
        (slope,) = torch.autograd.grad((out * gate)[:, k].sum(), x, retain_graph=True)
        np.testing.assert_allclose(frozen["attribution"][k], slope[0], atol=1e-12)


def test_an_absent_class_is_told() -> None:
    made = cube()
    with pytest.warns(UserWarning, match=f"^{re.escape(ABSENT)}$") as caught:
        why = xrxai.saliency(made, votes("argmax"))
    assert [w.filename for w in caught] == [__file__]
    assert (why["attribution"].sel(target="shadow") == 0).all()
    assert why["prediction"].sel(target="shadow") == 0
    # Not asked for, not told.
    asked = xrxai.saliency(made, votes("argmax"), target=["clear", "cloud"])
    assert not asked["target_absent"].any()


def test_area_explains_an_absent_class() -> None:
    why = xrxai.saliency(cube(), votes("area"), target="shadow")
    assert why["target_absent"].all()
    assert (why["attribution"] != 0).all()
    expected = Votes().conv.weight.detach()[2, :, 0, 0].numpy()
    np.testing.assert_allclose(
        why["attribution"][0], np.broadcast_to(expected[:, None, None], (BANDS, ROWS, COLUMNS))
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_activation_comes_before_the_reduction(activation: str) -> None:
    made = cube()
    out = torch.from_numpy(_clean(made))
    soft = torch.softmax(out, 0) if activation == "softmax" else torch.sigmoid(out)
    why = xrxai.saliency(made, votes("area", activation=activation))
    np.testing.assert_allclose(why["prediction"], soft.sum((1, 2)))
    if activation == "softmax":
        np.testing.assert_allclose(why["prediction"].sum(), ROWS * COLUMNS)


def test_activation_of_a_vector() -> None:
    made, net = cube(), linear()
    model = xrxai.Model(net, takes="spectrum", targets=TARGETS, activation="softmax")
    # One target asked for: softmax still goes over all of them.
    why = xrxai.saliency(made, model, target="pH")
    x = torch.from_numpy(made.values).movedim(0, -1)
    expected = torch.softmax(net(x), -1)[..., 1].detach()
    np.testing.assert_allclose(why["prediction"][0], expected)


def _left_half() -> np.ndarray:
    return np.broadcast_to(np.arange(COLUMNS) < 3, (ROWS, COLUMNS))


@pytest.mark.parametrize("reduction", ["area", "frozen_argmax", "argmax"])
def test_a_region_counts_its_own_valid_pixels(reduction: str) -> None:
    made = cube()
    made[:, 0, 0] = np.nan
    inside = _left_half() & made.notnull().all("band").values
    out = _clean(made.fillna(0))
    won = np.eye(3)[out.argmax(0)].transpose(2, 0, 1)
    expected = ((out if reduction == "area" else out * won) * inside).sum((1, 2))
    why = _quiet(xrxai.saliency, made, votes(reduction), region=_left_half())
    np.testing.assert_allclose(why["prediction"], expected)
    assert why["target_pixels"].values.tolist() == (won * inside).sum((1, 2)).tolist()
    as_array = xr.DataArray(_left_half(), dims=("y", "x"))
    again = _quiet(xrxai.saliency, made, votes(reduction), region=as_array)
    xr.testing.assert_equal(again, why)


def test_a_region_of_polygons() -> None:
    try:
        import geopandas
        import rioxarray  # noqa: F401  registers .rio
        import shapely
    except ImportError as error:
        skip_or_fail(str(error))
    made = cube().assign_coords(y=500.0 - 10 * np.arange(ROWS), x=100.0 + 10 * np.arange(COLUMNS))
    made = made.rio.write_crs(32633)
    field = geopandas.GeoDataFrame(geometry=[shapely.box(95, 400, 125, 600)], crs=32633)
    by_mask = _quiet(xrxai.saliency, made, votes("frozen_argmax"), region=_left_half())
    by_field = _quiet(xrxai.saliency, made, votes("frozen_argmax"), region=field)
    xr.testing.assert_equal(by_field, by_mask)
    assert int(by_field["target_pixels"].sum()) == 3 * ROWS


# ---------------------------------------------------------------------------- identity


def test_the_fingerprint_follows_weights_and_nothing_else() -> None:
    net = Fragile()
    model = xrxai.Model(net, takes="patch", targets=TARGETS)
    first = model.weights_hash()
    net.train(not net.training)
    net.head.requires_grad_(False)
    net.norm.weight.grad = torch.ones_like(net.norm.weight)
    assert model.weights_hash() == first
    assert (
        xrxai.Model(copy.deepcopy(net), takes="patch", targets=["a", "b"]).weights_hash() == first
    )
    xrxai.saliency(cube("float32"), model)
    assert model.weights_hash() == first
    with torch.no_grad():
        net.frozen.bias[0] += 1e-6
    second = model.weights_hash()
    assert second != first
    net.norm.running_mean += 1e-3  # a buffer answers too
    assert model.weights_hash() != second


def _swapped(weight: torch.Tensor) -> None:
    weight.data[[0, 1]] = weight.data[[1, 0]].clone()


@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.data.add_(1e-6),
        lambda w: w.data.neg_(),
        _swapped,
        lambda w: w.detach().numpy().__setitem__((0, 0), 5.0),
        lambda w: setattr(w, "data", w.data + 1),
        lambda w: w.detach().mul_(2),
    ],
)
def test_the_fingerprint_sees_what_leaves_no_version(write: Any) -> None:
    net = linear()
    model = xrxai.Model(net, takes="spectrum", targets=TARGETS)
    first = model.weights_hash()
    assert model.weights_hash() == first
    before = net.weight.detach().clone()
    write(net.weight)
    second = model.weights_hash()
    assert second != first
    assert second == fingerprint.fingerprint(net, [net], fingerprint.Digests())
    net.weight.data.copy_(before)
    assert model.weights_hash() == first


def test_the_fingerprint_is_made_once_of_weights_that_stay(monkeypatch: Any) -> None:
    asked = []
    whole = fingerprint.hashlib.blake2b
    net = nn.Linear(64, 64)
    model = xrxai.Model(net, takes="spectrum", targets=[str(k) for k in range(64)])
    first = model.weights_hash()
    monkeypatch.setattr(
        fingerprint.hashlib, "blake2b", lambda *a, **k: asked.append(a) or whole(*a, **k)
    )
    assert model.weights_hash() == first
    again = len(asked)
    assert fingerprint.fingerprint(net, [net], fingerprint.Digests()) == first
    assert len(asked) - again == again + 2, "a weight and a bias more"
    monkeypatch.setattr(fingerprint.google_crc32c, "implementation", "python")
    assert model.weights_hash() == first, "and without a fast checksum"


def test_the_fingerprint_follows_the_architecture() -> None:
    layer = nn.Linear(BANDS, 2)
    nets: list[nn.Module] = [
        nn.Sequential(layer, nn.ReLU()),
        nn.Sequential(layer, nn.Tanh()),
        nn.Sequential(layer, nn.LeakyReLU(0.1)),
        nn.Sequential(layer, nn.LeakyReLU(0.2)),
    ]
    for factor in (2.0, 3.0):  # a class made anew in a notebook, with the same name

        class Scaled(nn.Module):
            exec(f"def forward(self, x): return self.layer(x) * {factor}")

        nets.append(Scaled())
        nets[-1].layer = layer
    models = [xrxai.Model(net, takes="spectrum", targets=TARGETS) for net in nets]
    assert len({m.weights_hash() for m in models}) == len(nets)
    assert len({tokenize(m) for m in models}) == len(nets)


@pytest.mark.parametrize("how", ["closure", "method", "script", "export"])
def test_the_fingerprint_of_other_kinds_follows_their_weights(how: str) -> None:
    net = linear()
    forward: Any = {
        "closure": lambda: lambda x: net(x),
        "method": lambda: net.forward,
        "script": lambda: scripted(net),
        "export": lambda: exported(net, BANDS),
    }[how]()
    model = xrxai.Model(forward, takes="spectrum", targets=TARGETS)
    first = model.weights_hash()
    net.train(not net.training)
    assert model.weights_hash() == first
    with torch.no_grad():
        net.weight[0, 0] += 1
    assert model.weights_hash() != first


def test_the_fingerprint_of_an_estimator_follows_its_fit() -> None:
    one, two = fitted(LinearRegression()), fitted(LinearRegression())
    hashes = [xrxai.Model(e, targets=TARGETS).weights_hash() for e in (one, two)]
    assert hashes[0] == hashes[1]
    two.coef_[0, 0] += 1
    assert xrxai.Model(two, targets=TARGETS).weights_hash() != hashes[0]


def _shift(x: Tensor) -> Tensor:
    return x - 0.5


def test_dask_names_a_model_by_weights_and_options() -> None:
    net = linear()
    options: dict[str, Any] = {"takes": "spectrum", "targets": TARGETS, "prepare": _shift}
    model = xrxai.Model(net, **options)
    assert tokenize(model) == tokenize(xrxai.Model(copy.deepcopy(net), **options))
    assert tokenize(model) == tokenize(pickle.loads(pickle.dumps(model)))
    others = [{"scale": 2.0}, {"fill": 1.0}, {"activation": "softmax"}, {"targets": ["K", "P"]}]
    others += [{"prepare": None}, {"prepare": torch.tanh}]
    tokens = {tokenize(xrxai.Model(net, **{**options, **other})) for other in others}
    assert len(tokens | {tokenize(model)}) == len(others) + 1


def test_a_model_travels() -> None:
    model = xrxai.Model(
        Wiggly(), takes="patch", targets=TARGETS, pad=4, resize=[8, 8], scale=2.0, units="mg/kg",
        prepare=_shift,
    )  # fmt: skip
    again = pickle.loads(pickle.dumps(model))
    assert repr(again) == repr(model)
    assert again.weights_hash() == model.weights_hash()
    assert again.resize == (8, 8)
    one, two = (xrxai.saliency(cube(), m) for m in (model, again))
    xr.testing.assert_identical(one, two)


def test_what_a_model_says_of_itself() -> None:
    one = xrxai.Model(Wiggly(), takes="patch", targets=TARGETS)
    assert repr(one) == "<xrxai.Model 'Wiggly': patch -> K, pH>"
    assert repr(votes("area", name="U-Net")) == (
        "<xrxai.Model 'U-Net': patch -> map of clear, cloud, shadow>"
    )
    forest = RandomForestClassifier(2, random_state=0).fit(*_classes())
    assert repr(xrxai.Model.ensure(forest)) == (
        "<xrxai.Model 'RandomForestClassifier': spectrum -> crop, soil, water>"
    )
    why = xrxai.saliency(cube(), one)
    assert why.attrs["model"] == repr(one)
    assert why.attrs["model_hash"] == one.weights_hash()


def test_the_hash_tells_networks_apart_that_hold_other_functions_or_tensors():
    class Net(torch.nn.Module):
        def __init__(self, act, shift=0.0, power=1):
            super().__init__()
            self.act = act
            self.shift = torch.full((2,), shift)
            self.powers = [power, 2]

        def forward(self, x):
            return self.act(x[:, :2] + self.shift) ** self.powers[0]

    def bent(by):
        return lambda x: x * by

    nets = [
        Net(torch.relu), Net(torch.tanh), Net(torch.relu, 1.0), Net(torch.relu, 0.0, 3),
        Net(bent(2.0)), Net(bent(3.0)),
    ]  # fmt: skip
    hashes = [xrxai.Model(net, takes="spectrum", targets=["a", "b"]).weights_hash() for net in nets]
    assert len(set(hashes)) == len(nets)
    again = xrxai.Model(Net(bent(2.0)), takes="spectrum", targets=["a", "b"])
    assert again.weights_hash() == hashes[4]
