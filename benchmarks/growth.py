"""How time grows with pixels, samples or steps, groups and targets: the slope between logarithms.

A slope of 1 is in proportion; above it, something is done again that need not be. A fixed cost at
the small end makes a slope smaller, never larger.
"""

from __future__ import annotations

import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import xrxai
from benchmarks import machine
from benchmarks.page import table

BANDS = 160
USUAL = {"pixels": 1024, "samples": 100, "groups": 20, "targets": 4}
SERIES = {
    ("lime_spectral", "pixels"): (1024, 2048, 4096, 8192, 16384),
    ("lime_spectral", "samples"): (100, 200, 400, 800, 1600),
    ("lime_spectral", "groups"): (10, 20, 40, 80, 160),
    ("lime_spectral", "targets"): (4, 8, 16, 32, 64),
    ("integrated_gradients", "pixels"): (1024, 2048, 4096, 8192, 16384),
    ("integrated_gradients", "samples"): (100, 200, 400, 800, 1600),
    ("integrated_gradients", "targets"): (4, 8, 16, 32, 64),
}
BAR = 1.05


def network(targets: int) -> nn.Module:
    """Give a network that takes next to nothing, so that the rest is seen."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(BANDS, 64), nn.Tanh(), nn.Linear(64, targets)).eval()


def seconds(method: str, size: dict[str, int], repeats: int) -> float:
    """Processor seconds of one explanation."""
    rows = size["pixels"] // 16
    values = np.random.default_rng(0).random((BANDS, rows, 16), dtype=np.float32)
    nm = ("band", np.linspace(450, 950, BANDS), {"units": "nm"})
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})
    targets = [str(k) for k in range(size["targets"])]
    model = xrxai.Model(network(len(targets)), takes="spectrum", targets=targets)
    options: dict[str, Any] = {"n_steps": size["samples"]}
    if method.startswith("lime"):
        groups = np.arange(BANDS) * size["groups"] // BANDS + 1
        options = {"n_samples": size["samples"], "bands": groups}
    explain = getattr(cube.xai, method)

    def call() -> object:
        return explain(model, progress=False, **options)

    call()
    return statistics.median(machine.taken(call).cpu for _ in range(repeats))


def slope(sizes: list[int], times: list[float]) -> float:
    """Slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def rows(tiny: bool) -> list[dict[str, Any]]:
    """Measure every series."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    out = []
    for (method, what), sizes in SERIES.items():
        sizes = sizes[:2] if tiny else sizes
        usual = {**USUAL, "pixels": 32, "samples": 30} if tiny else USUAL
        if tiny and what in ("pixels", "samples"):
            sizes = (32, 64)
        times = [seconds(method, {**usual, what: n}, 1 if tiny else 3) for n in sizes]
        found = slope(list(sizes), times)
        out.append({"method": method, "what": what, "sizes": sizes, "cpu": times, "slope": found})
        print(f"{method:22s} {what:8s} slope {found:.2f}", flush=True)
    return out


def figure(found: list[dict[str, Any]], path: Path) -> None:
    """Draw time over size, in logarithms."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(6.4, 2.9), layout="constrained")
    axes = page.subplots(1, 2, sharey=True)
    for ax, method in zip(axes, ("lime_spectral", "integrated_gradients"), strict=True):
        for row in found:
            if row["method"] == method:
                relative = np.divide(row["sizes"], row["sizes"][0])
                label = f"{row['what']} ({row['slope']:.2f})"
                ax.loglog(relative, row["cpu"], "o-", markersize=3, linewidth=1, label=label)
        ax.set_title(method, fontsize=9)
        ax.set_xlabel("times as many", fontsize=8)
        ax.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        ax.minorticks_off()
        ax.tick_params(labelsize=8)
        ax.legend(fontsize=7, frameon=False)
    axes[0].set_ylabel("CPU seconds", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.savefig(path, dpi=100)


def text(found: list[dict[str, Any]]) -> str:
    """Markdown of the table."""
    lines = []
    for row in found:
        sizes, times = row["sizes"], row["cpu"]
        what = "steps" if row["method"].startswith("int") and row["what"] == "samples" else ""
        lines.append(
            [
                f"`{row['method']}`",
                what or row["what"],
                f"{sizes[0]} to {sizes[-1]}",
                f"{times[0]:.2f} to {times[-1]:.2f}",
                f"{row['slope']:.2f}",
                f"{slope(sizes[-2:], times[-2:]):.2f}",
            ]
        )
    head = ["", "grows", "from, to", "CPU s", f"slope (bar {BAR})", "at the large end"]
    return table(head, lines)
