"""What is explained: a network, a cube, its groups of bands and its segments, and nothing of xrxai.

The peers that live in an environment of their own read this too, so it needs torch and numpy only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from benchmarks.models import Area, network

TARGETS = {
    "A": ("P", "K", "Mg", "pH"),
    "B": ("clear", "thick", "thin", "shadow"),
    "C": ("oak", "pine", "crop", "soil", "water"),
}


@dataclass(frozen=True)
class Work:
    """One explanation that everybody is asked for."""

    model: Literal["A", "B", "C"]
    method: str
    peers: tuple[str, ...]
    n: int = 0  # samples, steps or draws
    groups: int = 10
    window: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    long: bool = False
    threads: int = 1  # of torch

    @property
    def gradient(self) -> bool:
        """Whether it needs gradients."""
        return self.method in GRADIENTS


GRADIENTS = ("saliency", "integrated_gradients", "smoothgrad", "hyper_noise_tunnel")
CORES = os.cpu_count() or 1
BOTH = ("captum", "meteors")
WORK = {
    "A_lime_spectral": Work("A", "lime_spectral", BOTH, 100),
    "A_lime_spatial": Work("A", "lime_spatial", BOTH, 100),
    "A_kernel_shap_spectral": Work("A", "kernel_shap_spectral", ("captum", "shap"), 100),
    "A_occlusion_spatial": Work(
        "A", "occlusion_spatial", BOTH, window=(50, 50), stride=(30, 30)
    ),
    "A_occlusion_spectral": Work("A", "occlusion_spectral", BOTH, window=(8,), stride=(6,)),
    "A_occlusion": Work("A", "occlusion", BOTH, window=(50, 50, 50), stride=(30, 30, 30)),
    "A_saliency": Work("A", "saliency", ("captum", "saliency", "meteors")),
    "A_integrated_gradients": Work(
        "A", "integrated_gradients", ("captum", "saliency", "meteors"), 10
    ),
    "A_integrated_gradients_50": Work(
        "A", "integrated_gradients", ("captum", "captum-default", "meteors"), 50, long=True
    ),
    "A_smoothgrad": Work("A", "smoothgrad", ("captum", "saliency"), 10),
    "A_hyper_noise_tunnel": Work("A", "hyper_noise_tunnel", ("meteors",), 50),
    "B_lime_spatial": Work("B", "lime_spatial", BOTH, 100),
    "B_lime_spectral": Work("B", "lime_spectral", BOTH, 100, groups=13),
    "B_occlusion_spatial": Work(
        "B", "occlusion_spatial", BOTH, window=(50, 50), stride=(30, 30)
    ),
    "B_kernel_shap_spectral": Work(
        "B", "kernel_shap_spectral", ("captum", "shap"), 100, groups=13
    ),
    "B_integrated_gradients": Work("B", "integrated_gradients", BOTH, 10),
    "B_smoothgrad": Work("B", "smoothgrad", ("captum", "saliency"), 10),
    "B_hyper_noise_tunnel": Work("B", "hyper_noise_tunnel", ("meteors",), 50),
    "C_lime_spectral": Work("C", "lime_spectral", ("captum", "captum-default"), 100),
    # As torch comes: a thread for each core, which wait for one another in small networks.
    "C_lime_spectral_threads": Work(
        "C", "lime_spectral", ("captum", "captum-default"), 100, threads=CORES
    ),
}  # fmt: skip


def small(work: Work) -> Work:
    """Give the same, for the networks that are tiny."""
    shrunk = {50: 20, 30: 12, 8: 4, 6: 4}
    size = {d: shrunk.get(d, d) for d in (*work.window, *work.stride)}
    window, stride = (tuple(size[d] for d in t) for t in (work.window, work.stride))
    if work.method == "occlusion":
        window, stride = (8, *window[1:]), (4, *stride[1:])
    n = min(work.n, 3 if work.gradient else 60)
    return replace(work, n=n, groups=min(work.groups, 4), window=window, stride=stride)


@dataclass(frozen=True)
class Problem:
    """A network and what it is asked about."""

    net: nn.Module
    scores: nn.Module  # (n, target) for every network, maps summed
    cube: np.ndarray  # (band, y, x), float32
    wavelength: np.ndarray
    band_group: np.ndarray  # (band,), from 0
    segment: np.ndarray  # (y, x), from 0
    targets: tuple[str, ...]
    takes: Literal["patch", "spectrum"]

    @property
    def sample(self) -> torch.Tensor:
        """One input of the network: (1, band, y, x), or (1, band) of the first pixel."""
        x = torch.as_tensor(self.cube)[None]
        return x if self.takes == "patch" else x[:, :, 0, 0].contiguous()

    @property
    def count(self) -> int:
        """How many inputs are explained."""
        return 1 if self.takes == "patch" else self.cube[0].size


def problem(model: str, groups: int = 10, tiny: bool = False) -> Problem:
    """Build it from a seed."""
    shape = {"A": (150, 224, 224), "B": (13, 256, 256), "C": (150, 50, 60)}
    few = {"A": (12, 32, 32), "B": (13, 64, 64), "C": (16, 3, 4)}
    bands, rows, columns = (few if tiny else shape)[model]
    net = network(model, tiny)
    net.get_submodule("head").counted = True  # type: ignore[assignment]
    y, x = np.arange(rows)[:, None], np.arange(columns)
    return Problem(
        net=net,
        scores=Area(net).eval() if model == "B" else net,
        cube=np.random.default_rng(0).random((bands, rows, columns), dtype=np.float32),
        wavelength=np.linspace(450.0, 950.0, bands),
        band_group=np.arange(bands) * groups // bands,
        segment=(y * 10 // rows) * 5 + x * 5 // columns,
        targets=TARGETS[model],
        takes="spectrum" if model == "C" else "patch",
    )
