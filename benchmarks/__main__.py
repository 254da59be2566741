"""CPU seconds of an explanation over those of its floor, and of captum beside it.

The floor is (model evaluations) x (the model's own CPU time per sample at its best batch), forward
or forward and backward. CPU seconds hardly move when neighbours are busy; wall seconds do.
``python -m benchmarks [--tiny]`` prints a table and writes build/benchmarks.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import xrxai

TARGETS = ["P", "K", "Mg", "pH"]


def patch_case(tiny: bool) -> tuple[xr.DataArray, nn.Module]:
    """Give a cube of 150 bands and a small convolutional network on patches."""
    bands, side = (12, 16) if tiny else (150, 64)
    net = nn.Sequential(
        nn.Conv2d(bands, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, len(TARGETS)),
    )
    return _cube(bands, side, side), net


def spectrum_case(tiny: bool) -> tuple[xr.DataArray, nn.Module]:
    """Give a scene of spectra and a one-dimensional network on them."""
    bands, side = (12, 3) if tiny else (150, 20)
    net = nn.Sequential(
        nn.Linear(bands, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 4)
    )
    return _cube(bands, side, side), net


def _cube(bands: int, y: int, x: int) -> xr.DataArray:
    values = np.random.default_rng(0).random((bands, y, x)).astype(np.float32)
    nm = ("band", np.linspace(450, 950, bands), {"units": "nm"})
    return xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})


def cpu(call: Callable[[], Any], repeats: int) -> float:
    """Return the median CPU seconds of a call, after one that warms up."""
    call()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return statistics.median(spent)


def floor(net: nn.Module, sample: torch.Tensor, gradient: bool, repeats: int) -> float:
    """Return CPU seconds per sample of the bare model at its best batch."""

    def run(x: torch.Tensor) -> None:
        if not gradient:
            with torch.inference_mode():
                net(x)
            return
        s = net(x.requires_grad_(True)).sum(0)
        for k in range(len(TARGETS)):
            torch.autograd.grad(s[k], x, retain_graph=k + 1 < len(TARGETS))

    best = float("inf")
    for batch in (1, 8, 64, 512):
        x = sample.repeat(batch, *[1] * (sample.ndim - 1))
        loops = max(1, 64 // batch)
        one = cpu(lambda x=x, n=loops: [run(x.detach()) for _ in range(n)], repeats)
        best = min(best, one / (loops * batch))
    return best


def captum_lime(net: nn.Module, x: torch.Tensor, part: torch.Tensor, n: int) -> None:
    """Explain every target by captum's LIME, which takes them one by one."""
    from captum.attr import Lime

    for k in range(len(TARGETS)):
        Lime(net).attribute(
            x, target=k, feature_mask=part, n_samples=n, perturbations_per_eval=min(n, 16)
        )


def captum_ig(net: nn.Module, x: torch.Tensor, n: int) -> None:
    """Explain every target by captum's integrated gradients."""
    from captum.attr import IntegratedGradients

    for k in range(len(TARGETS)):
        IntegratedGradients(net).attribute(x, target=k, n_steps=n, internal_batch_size=16)


def rows(tiny: bool) -> list[dict[str, Any]]:
    """Measure every case."""
    repeats, draws, steps = (1, 40, 4) if tiny else (5, 200, 50)
    out = []
    for takes, case in (("patch", patch_case), ("spectrum", spectrum_case)):
        torch.manual_seed(0)
        cube, net = case(tiny)
        net.eval()
        model = xrxai.Model(net, takes=takes, targets=TARGETS)
        x = torch.as_tensor(cube.values)[None]
        if takes == "spectrum":
            x = x[0].flatten(1).T.contiguous()
        part = xrxai.band_groups(cube, 50.0).group_of_band.values - 1
        mask = torch.as_tensor(part).view(1, -1, *[1] * (x.ndim - 2))
        peers: dict[str, Callable[[], None] | None] = {
            "lime_spectral": (lambda m=mask, x=x, net=net: captum_lime(net, x[:1], m, draws)),
            "integrated_gradients": (lambda x=x, net=net: captum_ig(net, x, steps)),
            "occlusion_spectral": None,
        }
        options = {
            "lime_spectral": {"n_samples": draws, "bands": 50.0},
            "integrated_gradients": {"n_steps": steps},
            "occlusion_spectral": {},
        }
        for name, peer in peers.items():
            run = getattr(cube.xai, name)

            def call(run: Any = run, model: Any = model, given: Any = options[name]) -> Any:
                return run(model, progress=False, **given)

            evaluations = int(call().model_evaluations.sum())
            bare = floor(net, x[:1], name == "integrated_gradients", repeats) * evaluations
            ours = cpu(call, repeats)
            # captum's LIME explains one spectrum a call: its cost is scaled to all pixels.
            scale = len(x) if name == "lime_spectral" else 1
            theirs = None if peer is None else cpu(peer, repeats) * scale
            out.append(
                {
                    "method": name,
                    "takes": takes,
                    "samples": len(x),
                    "evaluations": evaluations,
                    "floor_cpu_s": bare,
                    "xrxai_over_floor": ours / bare,
                    "captum_over_floor": None if theirs is None else theirs / bare,
                }
            )
    return out


def main(arguments: list[str] | None = None) -> int:
    """Print and save the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="once, small: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks.json"))
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    table = rows(given.tiny)
    print(
        f"{'method':22s} {'takes':9s} {'evaluations':>11s} "
        f"{'xrxai/floor':>12s} {'captum/floor':>13s}"
    )
    for row in table:
        peer = row["captum_over_floor"]
        print(
            f"{row['method']:22s} {row['takes']:9s} {row['evaluations']:11d} "
            f"{row['xrxai_over_floor']:12.2f} {'-' if peer is None else format(peer, '13.2f'):>13s}"
        )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
