"""Explanations with networks that take next to nothing: what xrxai does itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import xrxai

BANDS, TARGETS = 64, ["P", "K", "Mg", "pH"]


def cube(side: int) -> xr.DataArray:
    """Give a cube of random reflectance."""
    values = np.random.default_rng(0).random((BANDS, side, side), dtype=np.float32)
    nm = ("band", np.linspace(450, 950, BANDS), {"units": "nm"})
    return xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})


class Explanations:
    """Each method on spectra and on a patch, after a call that loads what is imported late."""

    params = (
        "lime_spectral",
        "kernel_shap_spectral",
        "occlusion_spectral",
        "integrated_gradients",
        "saliency",
    )
    param_names = ("method",)
    takes: Any = "spectrum"
    options = {  # noqa: RUF012  (read only)
        "lime_spectral": {"n_samples": 100},
        "kernel_shap_spectral": {"bands": 100.0},
        "integrated_gradients": {"n_steps": 20},
    }

    def setup(self, method: str) -> None:
        """Build what is explained."""
        torch.manual_seed(0)
        torch.set_num_threads(1)
        hidden: list[nn.Module] = [nn.Linear(BANDS, 32), nn.Tanh(), nn.Linear(32, len(TARGETS))]
        self.cube = cube(16)
        if self.takes == "patch":
            pooled = [nn.AvgPool2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            hidden, self.cube = [*pooled, *hidden], cube(128)
        self.model = xrxai.Model(nn.Sequential(*hidden), takes=self.takes, targets=TARGETS)
        self.explain(method)

    def explain(self, method: str) -> xr.Dataset:
        """Explain all targets."""
        options = self.options.get(method, {})
        found: xr.Dataset = getattr(self.cube.xai, method)(self.model, progress=False, **options)
        return found


class Spectra(Explanations):
    """256 spectra."""

    def time_explain(self, method: str) -> None:
        """Time of all spectra."""
        self.explain(method)


class Patch(Explanations):
    """A patch of 128 pixels."""

    takes = "patch"

    def time_explain(self, method: str) -> None:
        """Time of one patch."""
        self.explain(method)

    def peakmem_explain(self, method: str) -> None:
        """Memory of the process."""
        self.explain(method)


class Lazily:
    """A cube in tiles: the graph, without running it."""

    def setup(self) -> None:
        """Build what is explained."""
        net = nn.Conv2d(BANDS, 2, 3, padding=1)
        self.model = xrxai.Model(net, takes="patch", gives="map", targets=["a", "b"], halo=2)
        self.cube = cube(256).chunk(y=16, x=16)
        self.time_graph()  # what is imported late, and the fingerprint of the weights

    def time_graph(self) -> None:
        """Time of a graph of 256 tiles."""
        self.cube.xai.saliency(self.model)


def timeraw_import() -> str:
    """Give code that asv runs in a fresh process."""
    return "import xrxai"
