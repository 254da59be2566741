"""Small cubes and models whose answers are known, shared by the tests."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import torch
import xarray as xr
from captum.attr import IntegratedGradients
from sklearn.ensemble import RandomForestRegressor

import xrxai

TARGETS = ["K", "pH", "Mg"]


def cube(bands=10, y=6, x=7, *, seed=0, lead=None, invalid=True, dtype="float64"):
    """A cube (lead, band, y, x) with wavelengths, coords, and a few pixels without data."""
    rng = np.random.default_rng(seed)
    lead = lead or {}
    shape = (*lead.values(), bands, y, x)
    values = rng.uniform(0.1, 0.9, shape).astype(dtype)
    if invalid:
        values[..., 0, :2] = np.nan
        values[..., y - 1, x - 1] = np.nan
    return xr.DataArray(
        values,
        dims=(*lead, "band", "y", "x"),
        coords={
            "band": [f"b{i:02d}" for i in range(bands)],
            "wavelength": ("band", np.linspace(450.0, 900.0, bands), {"units": "nm"}),
            "y": 5.0 * np.arange(y)[::-1],
            "x": 100.0 + 5.0 * np.arange(x),
            "elevation": (("y", "x"), rng.normal(size=(y, x))),
        },
        attrs={"units": "1", "long_name": "reflectance"},
        name="reflectance",
    )


class PatchNet(torch.nn.Module):
    """A smooth small network on patches: (n, band, y, x) -> (n, 3)."""

    def __init__(self, bands=10, targets=3, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = torch.nn.Conv2d(bands, 8, 3, padding=1)
            self.second = torch.nn.Conv2d(8, 8, 3, padding=1)
            self.head = torch.nn.Linear(8, targets)

    def forward(self, x):
        z = torch.tanh(self.second(torch.tanh(self.first(x))))
        return self.head(z.mean((2, 3))) + self.head((z**3).mean((2, 3)))


class MapNet(PatchNet):
    """The same, with an answer per pixel: (n, band, y, x) -> (n, 3, y, x)."""

    def forward(self, x):
        z = torch.tanh(self.second(torch.tanh(self.first(x))))
        out = self.head(z.movedim(1, -1)).movedim(-1, 1)
        # Centred, so that every class wins somewhere.
        return out - out.mean((2, 3), keepdim=True)


class SpectrumNet(torch.nn.Module):
    """A smooth small network on spectra: (n, band) -> (n, 3)."""

    def __init__(self, bands=10, targets=3, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = torch.nn.Linear(bands, 16)
            self.head = torch.nn.Linear(16, targets)

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))


class LayeredNet(torch.nn.Module):
    """What methods that reach into layers need: activations that are modules, positions kept."""

    def __init__(self, kind, bands=10, targets=3, seed=0):
        super().__init__()
        self.kind = kind
        convolution = torch.nn.Conv1d if kind == "spectrum" else torch.nn.Conv2d
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = convolution(1 if kind == "spectrum" else bands, 8, 3, padding=1)
            self.second = convolution(8, 8, 3, padding=1)
            self.head = torch.nn.Linear(8, targets)
        self.relu = torch.nn.ReLU(inplace=True)
        self.tanh = torch.nn.Tanh()

    def forward(self, x):
        x = x[:, None] if self.kind == "spectrum" else x
        z = self.tanh(self.second(self.relu(self.first(x))))
        if self.kind != "map":
            return self.head(z.flatten(2).mean(2))
        out = self.head(z.movedim(1, -1)).movedim(-1, 1)
        return out - out.mean((2, 3), keepdim=True)


def forest(bands=10, kind=RandomForestRegressor):
    """A small forest of spectra, with three targets."""
    rng = np.random.default_rng(3)
    x = rng.uniform(0.1, 0.9, (150, bands))
    y = np.sin(5 * x @ rng.normal(size=(bands, 3))) + x[:, :3]
    return kind(6, max_depth=5, random_state=0).fit(x, y)


def watched(seen, kind="patch", *, method=None):
    """The same as `model`, and notes rows of every call, and whether it is differentiated."""

    class Watched(RandomForestRegressor):
        def predict(self, X):
            seen.append((len(X), False))
            return super().predict(X)

    if method in TREES:
        return xrxai.Model(forest(kind=Watched), targets=TARGETS)
    network = model(kind, method=method).forward

    def call(x):
        seen.append((len(x), x.requires_grad))
        return network(x)

    return xrxai.Model(
        call,
        takes="spectrum" if kind == "spectrum" else "patch",
        gives="map" if kind == "map" else "vector",
        targets=TARGETS,
        dtype="float64",
    )


def model(kind="patch", bands=10, *, method=None, **options):
    """A Model in float64: "patch", "map" or "spectrum"; with layers where they are needed."""
    nets = {"patch": PatchNet, "map": MapNet, "spectrum": SpectrumNet}
    if method in TREES:
        return xrxai.Model(forest(bands), targets=TARGETS, **options)
    if method in LAYERED:
        nets = dict.fromkeys(nets, lambda bands: LayeredNet(kind, bands))
    return xrxai.Model(
        nets[kind](bands).double(),
        takes="spectrum" if kind == "spectrum" else "patch",
        gives="map" if kind == "map" else "vector",
        targets=TARGETS,
        **options,
    )


# The least that every method needs on these cubes.
QUICK = {
    "integrated_gradients": {"n_steps": 8},
    "smoothgrad": {"of": "integrated_gradients", "n_samples": 3, "n_steps": 2},
    "hyper_noise_tunnel": {"n_samples": 4},
    "gradient_shap": {
        "background": np.random.default_rng(7).uniform(0.1, 0.9, (4, 10)),
        "n_samples": 6,
    },
    "blur_ig": {"n_steps": 8},
    "guided_ig": {"n_steps": 3},
    "xrai": {"n_steps": 8, "segments": "patch", "patch": 2},
    "occlusion_spectral": {"window": 150.0},
    "occlusion_spatial": {"window": 3},
    "occlusion": {"window": (200.0, 3, 4)},
    "ablation_spectral": {"bands": 150.0},
    "ablation_spatial": {"segments": "patch", "patch": 3},
    "permutation_spectral": {"bands": 150.0, "n_repeats": 3},
    "kernel_shap_spectral": {"n_samples": 40},
    "kernel_shap_spatial": {"segments": "patch", "patch": 3, "n_samples": 24},
    "owen_spectral": {
        "hierarchy": [[(440, 560), (590, 610)], [(640, 720), [(740, 810), (840, 910)]]],
        "max_evaluations": 12,
    },
    "tree_shap_spectral": {"background": np.random.default_rng(7).uniform(0.1, 0.9, (4, 10))},
    "rise": {"cells": 3, "n_samples": 30},
    "lime_spectral": {"bands": 100.0, "n_samples": 40},
    "lime_spatial": {"segments": "patch", "patch": 3, "n_samples": 40},
    "grad_cam": {"layer": "second"},
    "guided_grad_cam": {"layer": "second"},
    "captum": {"method": IntegratedGradients, "options": {"n_steps": 4}},
}
LAYERED = {"grad_cam", "guided_grad_cam", "guided_backprop", "deconvnet", "deep_lift", "lrp"}
SEGMENTED = {"ablation_spatial", "kernel_shap_spatial", "lime_spatial"}
SPATIAL_FORWARD = {"occlusion", "occlusion_spatial", "rise", *SEGMENTED}
SPATIAL = {"xrai", *SPATIAL_FORWARD}
FORWARD_ONLY = {
    "occlusion_spectral",
    "ablation_spectral",
    "permutation_spectral",
    "kernel_shap_spectral",
    "owen_spectral",
    "tree_shap_spectral",
    "lime_spectral",
    *SPATIAL_FORWARD,
}
# Samples exchange values: pixels of one cube for spectra, several cubes (not lazy) for patches.
EXCHANGING = {"permutation_spectral"}
# They read the trees of an estimator, which takes spectra.
TREES = {"tree_shap_spectral"}
# Every target has a way of its own, or is asked for by itself, and pays for it.
PER_TARGET = {"captum", "guided_ig"}


def explain(name, cube, model, **options):
    """Run one method of the accessor with its quick options."""
    with warnings.catch_warnings():
        # Said at every call, and tested where it belongs.
        warnings.filterwarnings("ignore", "(guided_|deconvnet).*compare with")
        return getattr(cube.xai, name)(model, **{**QUICK.get(name, {}), **options})


def counting_batches(rows):
    """A cube, a model of six targets, and how many batches of so many rows each product found."""
    held = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            held.append(batches() - before)
            return g

    def batches():
        tensors = [o for o in gc.get_objects() if type(o) is torch.Tensor]
        return sum(t.ndim == 4 and t.shape[0] == rows for t in tensors)

    gc.collect()  # other tests may have left some behind
    before = batches()
    made = xrxai.Model(
        lambda x: Watched.apply(x).mean((2, 3)), takes="patch", targets=list("abcdef")
    )
    return cube(bands=6, invalid=False), made, held


def function(model, sample):
    """The model as a function of one numpy sample, for the slow twins."""

    def f(x):
        with torch.no_grad():
            return model.forward(torch.as_tensor(x)[None])[0].numpy()

    return f, np.nan_to_num(sample)
