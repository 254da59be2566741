"""The door for methods of captum and of the user: labels, grid and scores are ours."""

from __future__ import annotations

import json
import random
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
from xrxai.errors import ModelError, OptionError

attr = pytest.importorskip("captum.attr")

CUBE = worlds.cube(y=4, x=5)
MODEL = worlds.model()


def tensor(cube):
    return torch.as_tensor(np.nan_to_num(cube.values))[None]


def hide(values, cube=CUBE):
    return np.where(np.isnan(cube.values), np.nan, values)


@pytest.mark.parametrize("baseline", [None, 0.3])
def test_integrated_gradients_are_theirs_and_ours(baseline):
    found = CUBE.xai.captum(
        MODEL, attr.IntegratedGradients, options={"n_steps": 7}, baseline=baseline
    )
    ours = CUBE.xai.integrated_gradients(MODEL, n_steps=7, baseline=baseline or 0.0)
    # captum keeps the nodes in single precision.
    np.testing.assert_allclose(found.attribution, ours.attribution, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose(found.completeness_gap, ours.completeness_gap, atol=1e-7)
    xr.testing.assert_allclose(found.prediction, ours.prediction)
    assert found.attrs["method"] == "captum"
    told = json.loads(found.attrs["options"])
    assert told["method"] == "IntegratedGradients"
    assert told["options"] == {"n_steps": 7, "return_convergence_delta": True}
    assert found.attribution.dims == ("target", "band", "y", "x")


@pytest.mark.parametrize(
    ("method", "ours"),
    [
        (attr.Saliency, "saliency"),
        (attr.InputXGradient, "input_x_gradient"),
        (attr.GuidedBackprop, "guided_backprop"),
        (attr.Deconvolution, "deconvnet"),
        (attr.DeepLift, "deep_lift"),
    ],
)
def test_methods_with_hooks_reach_the_network(method, ours):
    """Two doors, one answer: also through pad, scale and the reduction of a map."""
    for kind in ("patch", "map"):
        options = {"pad": 3, "scale": 2.0}
        model = worlds.model(kind, method=ours, **options)
        # captum hooks no ReLU in place, and none twice.
        if ours in worlds.LAYERED:
            model.forward.relu.inplace = False
        cube = worlds.cube(y=4, x=5, lead={"time": 2})
        given = {"options": {"abs": False}} if method is attr.Saliency else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = cube.xai.captum(model, method, **given)
        mine = worlds.explain(ours, cube, model)
        xr.testing.assert_allclose(found.attribution, mine.attribution, rtol=1e-6, atol=1e-10)
        assert ("completeness_gap" in found) == (method is attr.DeepLift)


def test_a_map_is_scored_by_the_frozen_classes():
    model = worlds.model("map")
    cube = worlds.cube(y=4, x=5, lead={"time": 3})
    found = cube.xai.captum(model, attr.FeatureAblation, bands=[range(4), range(4, 10)])
    # Ours switches one group at a time too.
    for t in range(3):
        x = tensor(cube[t])
        whole = model.forward(x)
        won = whole.argmax(1)[0]
        valid = torch.as_tensor(cube[t, 0].notnull().values)
        for g, inside in enumerate((slice(0, 4), slice(4, 10))):
            z = x.clone()
            z[:, inside] = 0
            change = (whole - model.forward(z))[0].detach()
            for k in range(3):
                slow = (change[k] * (won == k) * valid).sum()
                np.testing.assert_allclose(found.attribution[k, t, g], slow, atol=1e-12)
    assert found.attribution.dims == ("target", "time", "group")


def test_bands_in_no_group_keep_their_value():
    """captum switches whatever its mask counts; the rest is given its own value as baseline."""
    found = CUBE.xai.captum(MODEL, attr.ShapleyValues, bands=[range(2, 4), range(7, 9)], baseline=0)
    f, x = worlds.function(MODEL, CUBE.values)

    def score(*on):
        z = x.copy()
        for keep, inside in zip(on, (slice(2, 4), slice(7, 9)), strict=True):
            z[inside] *= keep
        return f(z)

    for g in range(2):
        one, alone = ((0, 1), (1, 0))[g], ((1, 0), (0, 1))[g]
        slow = (score(1, 1) - score(*one) + score(*alone) - score(0, 0)) / 2
        np.testing.assert_allclose(found.attribution[:, g], slow, atol=1e-6)
    np.testing.assert_array_equal(found.group_of_band, [0, 0, 1, 1, 0, 0, 0, 2, 2, 0])
    assert found.xai.on_cube().attribution.sizes["band"] == 10


def test_segments_of_each_sample():
    cube = worlds.cube(y=4, x=5, lead={"time": 2}, invalid=False)
    cube[1, :, :2, :2] = np.nan
    ids = np.repeat([[1, 1, 2, 2, 3], [4, 4, 2, 2, 3]], 2, axis=0)
    found = cube.xai.captum(MODEL, attr.FeatureAblation, segments=ids)
    assert found.attribution.dims == ("target", "time", "segment")
    for t in range(2):
        f, x = worlds.function(MODEL, cube.values[t])
        ids_here = found.segment_of_pixel[t].values
        for s in found.segment.values:
            one = found.attribution[:, t, s - 1]
            if not (ids_here == s).any():
                assert np.isnan(one).all()
                continue
            slow = f(x) - f(np.where(ids_here == s, 0.0, x))
            np.testing.assert_allclose(one, slow, atol=1e-12)


def test_occlusion_is_given_shapes_of_the_input():
    found = CUBE.xai.captum(
        MODEL,
        attr.Occlusion,
        options={"sliding_window_shapes": (10, 2, 2), "strides": (10, 1, 1)},
    )
    ours = CUBE.xai.occlusion_spatial(MODEL, window=2, stride=1).attribution
    np.testing.assert_allclose(
        found.attribution.mean("band"), ours, rtol=1e-6, atol=1e-12, equal_nan=True
    )


class Drawn:
    """A method of a user: noise from every generator there is."""

    def __init__(self, net):
        self.net = net

    def attribute(self, inputs, target, scale=1.0):
        noise = torch.randn_like(inputs) + np.random.normal() + random.random()  # noqa: NPY002
        z = (inputs + scale * noise).detach().requires_grad_()
        (g,) = torch.autograd.grad(self.net(z)[:, target].sum(), z)
        return g


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Drawn, {"scale": 0.1}),
        (lambda net: attr.NoiseTunnel(attr.Saliency(net)), {"nt_samples": 3, "stdevs": 0.1}),
        (attr.GradientShap, {"n_samples": 3}),
        (attr.ShapleyValueSampling, {"n_samples": 2}),
    ],
    ids=["own", "NoiseTunnel", "GradientShap", "ShapleyValueSampling"],
)
@pytest.mark.parametrize("kind", ["patch", "spectrum"])
def test_draws_follow_the_seed_and_nothing_else(method, options, kind):
    cube = worlds.cube(bands=4, y=2, x=3, lead={"time": 2}, invalid=False)
    model = worlds.model(kind, bands=4)
    state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    def run(cube, **more):
        return cube.xai.captum(model, method, options=options, **more).attribution

    one = run(cube, seed=3)
    xr.testing.assert_identical(run(cube, seed=3), one)
    xr.testing.assert_allclose(run(cube, seed=3, batch_size=1), one, rtol=1e-9)
    xr.testing.assert_allclose(run(cube.isel(time=[1]), seed=3), one.isel(time=[1]), rtol=1e-9)
    lazy = run(cube.chunk(time=1), seed=3)
    with dask.config.set(scheduler="threads", num_workers=2):
        xr.testing.assert_allclose(lazy.compute(), one, rtol=1e-9)
    assert not np.allclose(run(cube, seed=4), one)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002
    assert random.getstate() == state[2]


def test_methods_that_do_not_draw_take_samples_together():
    rows = []

    class Counted(attr.Saliency):
        def attribute(self, inputs, *args, **kwargs):
            rows.append(len(inputs))
            return super().attribute(inputs, *args, **kwargs)

    model = worlds.model("spectrum")
    CUBE.xai.captum(model, Counted, target="K", batch_size=8)
    # The first alone, to see that it does not draw.
    assert rows == [1, 4, 4, 4, 4]


def test_a_method_of_the_user():
    class Twice:
        """Gives a delta that says how far it is from half of it."""

        def __init__(self, net, factor=2.0):
            self.net, self.factor = net, factor

        def attribute(self, inputs, target=0, baselines=None):
            with torch.no_grad():
                score = self.net(inputs)[:, target]
            value = self.factor * (inputs - baselines) * score[:, None, None, None]
            return value, value.flatten(1).sum(1)

        def has_convergence_delta(self):
            return True

    found = CUBE.xai.captum(MODEL, lambda net: Twice(net, 3.0), baseline=0.2)
    slow = 3 * (np.nan_to_num(CUBE.values) - np.where(CUBE.isnull(), 0, 0.2))
    slow = slow * found.prediction.values[:, None, None, None]
    np.testing.assert_allclose(found.attribution, hide(slow))
    np.testing.assert_allclose(found.completeness_gap, found.attribution.sum(["band", "y", "x"]))


@pytest.mark.parametrize("baseline", [None, 0.2])
def test_models_without_gradients(baseline):
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    spectra = rng.normal(size=(50, 10))
    estimator = linear.LinearRegression().fit(spectra, spectra @ rng.normal(size=(10, 2)) + 1)
    model = xrxai.Model(estimator, targets=["a", "b"])
    cube = worlds.cube(y=2, x=3)
    found = cube.xai.captum(model, attr.FeatureAblation, baseline=baseline)
    slow = estimator.coef_[:, :, None, None] * (cube.values - (baseline or 0.0))
    np.testing.assert_allclose(found.attribution, slow, atol=1e-9)
    with raises_exactly(
        ModelError,
        "The method IntegratedGradients needs gradients, which LinearRegression "
        "(arrays='numpy') cannot give; use lime_spectral or occlusion_spectral.",
    ):
        cube.xai.captum(model, attr.IntegratedGradients)


def test_a_batch_bounds_what_perturbing_methods_send():
    rows = []

    def counted(x):
        rows.append(len(x))
        return MODEL.forward(x)

    model = xrxai.Model(counted, takes="patch", targets=worlds.TARGETS, dtype="float64")
    CUBE.xai.captum(
        model, attr.FeatureAblation, options={"perturbations_per_eval": 32}, batch_size=4
    )
    assert max(rows) == 4


# ----------------------------------------------------------------------------------- refusals


def told(error, message, method=attr.IntegratedGradients, model=MODEL, **options):
    with raises_exactly(error, message):
        CUBE.xai.captum(model, method, **options)


@pytest.mark.parametrize(
    ("method", "ours"),
    [
        (attr.LayerGradCam, "grad_cam"),
        (attr.LayerIntegratedGradients, "grad_cam"),
        (attr.NeuronGradient, "grad_cam"),
        (attr.GuidedGradCam, "guided_grad_cam"),
        (lambda net: attr.LayerGradCam(net, net.networks[0].first), "grad_cam"),
    ],
)
def test_methods_of_layers_are_elsewhere(method, ours):
    name = getattr(method, "__name__", "")
    told(
        OptionError,
        f"The method {'LayerGradCam' if name == '<lambda>' else name} looks at a layer inside the "
        f"network, and this door takes methods that explain the cube; type "
        f"cube.xai.{ours}(model, layer=...).",
        method,
    )


def test_what_is_no_method():
    told(
        OptionError,
        "method='IntegratedGradients' makes no explainer; type a class such as "
        "captum.attr.IntegratedGradients, or lambda net: MyMethod(net).",
        "IntegratedGradients",
    )
    told(
        OptionError,
        "method=Saliency is bound to a network already; give the class, or a function that makes "
        "it: lambda net: Saliency(net).",
        attr.Saliency(MODEL.forward),
    )
    told(
        OptionError,
        "The method int made int, which has no .attribute(inputs, target=...); give a class that "
        "has.",
        type("int", (), {"__new__": lambda cls, net: 3}),
    )
    told(
        OptionError,
        "The method NoiseTunnel could not be made from a network alone: AttributeError: "
        "'NoneType' object has no attribute 'x'. Give what else it needs: lambda net: "
        "NoiseTunnel(net, ...).",
        type("NoiseTunnel", (), {"__init__": lambda self, net: None.x}),
    )

    class Eager(Drawn):
        def __init__(self, net):
            net(torch.ones(1, 10, 4, 5))

    told(ModelError, "A method must not run the model before .attribute(...) is called.", Eager)


def test_options_are_those_of_the_method():
    told(
        OptionError,
        "options=['n_steps'] is no mapping of names to values; type options={'n_steps': 20}.",
        options=["n_steps"],
    )
    told(
        OptionError,
        "options=3 is no mapping of names to values; type options={'n_steps': 20}.",
        options=3,
    )
    told(
        OptionError,
        "The method IntegratedGradients has no option 'steps'; it takes "
        "'additional_forward_args', 'internal_batch_size', 'method', 'n_steps', "
        "'return_convergence_delta'.",
        options={"steps": 3},
    )
    for key, instead in (
        ("inputs", "the cube"),
        ("target", "target="),
        ("baselines", "baseline="),
        ("feature_mask", "bands= or segments="),
    ):
        told(
            OptionError,
            f"options={{{key!r}: ...}} is set by xrxai; give {instead} instead.",
            options={key: 3},
        )
    told(
        OptionError,
        "The method Saliency takes no baselines, so baseline= would change nothing; leave it out.",
        attr.Saliency,
        baseline=0.0,
    )
    for given in ({"bands": 100.0}, {"segments": "patch"}):
        told(
            OptionError,
            "The method IntegratedGradients takes no feature_mask, so bands= and segments= would "
            "change nothing; leave it out.",
            **given,
        )
    told(
        OptionError,
        "bands= and segments= are two maps of features; give one of them.",
        attr.FeatureAblation,
        bands=100.0,
        segments="patch",
    )
    told(
        ModelError,
        "segments= switches regions, but the model takes='spectrum' sees one pixel at a time; "
        "type bands=.",
        attr.FeatureAblation,
        worlds.model("spectrum"),
        segments="patch",
    )
    told(OptionError, "seed=-1 is too small; type seed=0 or more.", seed=-1)


def test_what_a_method_says_and_answers():
    told(
        OptionError,
        "The method FeaturePermutation swaps values among the samples of a batch, so what it says "
        "would depend on the batch; use captum.attr.FeatureAblation.",
        attr.FeaturePermutation,
    )
    told(
        ModelError,
        "The method LRP failed: TypeError: Module of type <class 'torch.nn.modules.activation."
        "GELU'> has no rule defined and nodefault rule exists for this module type. Please, set a "
        "ruleexplicitly for this module and assure that it is appropriatefor this type of layer. "
        "Check options= and what the method asks of a network.",
        attr.LRP,
        xrxai.Model(
            nn.Sequential(nn.Linear(10, 3), nn.GELU()).double(),
            takes="spectrum",
            targets=worlds.TARGETS,
        ),
    )

    def answering(answer):
        return lambda net: type("Odd", (), {"attribute": lambda self, inputs, target: answer})()

    told(
        ModelError,
        "The method Odd answered shape (1, 2) to an input of shape (1, 10, 4, 5); it must give "
        "one value per input value, or a tuple of that and its delta per sample.",
        answering(torch.ones(1, 2)),
    )
    told(
        ModelError,
        "The method Odd answered str to an input of shape (1, 10, 4, 5); it must give one value "
        "per input value, or a tuple of that and its delta per sample.",
        answering("nothing"),
    )


@pytest.mark.slow
def test_captum_comes_when_it_is_called(tmp_path):
    import subprocess
    import sys

    code = "import sys, xrxai; xrxai.captum; xrxai.tensors.foreign; print('captum' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_a_network_is_left_as_it_was():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.relu, self.head = nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.relu(self.first(x)))

    net = Small().double()
    model = xrxai.Model(net, takes="spectrum", targets=worlds.TARGETS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = CUBE.xai.captum(model, attr.LRP)
    ours = CUBE.xai.lrp(model, epsilon=1e-9)
    xr.testing.assert_allclose(theirs.attribution, ours.attribution, rtol=1e-6)
    # Their delta is the other way round, and is kept as they give it.
    np.testing.assert_allclose(theirs.completeness_gap, -ours.completeness_gap, atol=1e-9)
    assert not any(hasattr(part, "activations") or hasattr(part, "rule") for part in net.modules())
