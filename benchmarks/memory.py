"""Peak memory of an explanation over that of one batch: ``python -m benchmarks.memory``.

The floor is a process that runs one batch, forward and backward, one target after the other, and
keeps nothing. Another process of the same size explains the cube instead. Peaks are those that the
operating system counts (resident memory). They differ by some tens of MiB from run to run, as the
allocator finds room, so what takes seconds is run several times, and the median told. The table
goes into docs/performance.md.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import xrxai
from benchmarks import page

TARGETS = ["P", "K", "Mg", "pH"]
CASES: Mapping[str, Mapping[str, Any]] = {
    "integrated_gradients": {"n_steps": 200},
    "hyper_noise_tunnel": {"n_samples": 50},  # left out where there is no such method
}
REPEATS = {"one batch": 5, "hyper_noise_tunnel": 5}
BATCHES = (1, 8)  # a cube of this size is a batch of 1 by default
HEAD = """\
## Memory

Peak resident memory of a process that explains a cube of {bands} x {side} x {side} (float32,
{mib:.0f} MiB) for {targets} targets, over that of one that runs a single batch forward and backward
through the same network and keeps nothing. The explanation keeps its result, {targets} times the
cube, that of noise with its standard error twice as much. Made by `python -m benchmarks.memory`.

| batch | | options | peak, MiB | over one batch |
|---|---|---|---|---|
"""


def network(bands: int) -> nn.Module:
    """Patches of 16 pixels become 64 numbers each, and those a value per target."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(bands, 64, 16, stride=16),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, len(TARGETS)),
    )


def cube(bands: int, side: int) -> xr.DataArray:
    """Give a cube of random reflectance."""
    values = np.random.default_rng(0).random((bands, side, side), dtype=np.float32)
    nm = ("band", np.linspace(450, 950, bands), {"units": "nm"})
    return xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})


def one_batch(data: xr.DataArray, net: nn.Module, batch: int) -> None:
    """Run one batch, forward and backward, for one target after the other."""
    x = torch.as_tensor(data.values)[None].repeat(batch, 1, 1, 1).requires_grad_(True)
    scores = net(x).sum(0)
    for k in range(len(TARGETS)):
        torch.autograd.grad(scores[k], x, retain_graph=k + 1 < len(TARGETS))


def peak(case: str, bands: int, side: int, batch: int, short: bool) -> float:
    """Peak resident memory in MiB of this process after the case."""
    warnings.simplefilter("ignore")
    data, net = cube(bands, side), network(bands).eval().requires_grad_(False)
    if case == "one batch":
        one_batch(data, net, batch)
    else:
        options = dict.fromkeys(CASES[case], 3) if short else CASES[case]
        model = xrxai.Model(net, takes="patch", targets=TARGETS)
        getattr(data.xai, case)(model, batch_size=batch, progress=False, **options)
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def rows(bands: int, side: int, short: bool) -> list[dict[str, Any]]:
    """Measure every case in a process of its own."""
    cases = ["one batch", *(name for name in CASES if name in xrxai.methods())]
    out = []
    for batch in BATCHES:
        size = ["--bands", str(bands), "--side", str(side), "--batch", str(batch)]
        floor = None
        for case in cases:
            command = [sys.executable, "-m", "benchmarks.memory", "--case", case, *size]
            if short:
                command.append("--short")
            repeats = 1 if short else REPEATS.get(case, 1)
            mib = statistics.median(_asked(command) for _ in range(repeats))
            floor = floor or mib
            out.append({"batch": batch, "case": case, "peak_mib": mib, "ratio": mib / floor})
    return out


def _asked(command: list[str]) -> float:
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def text(table: list[dict[str, Any]], bands: int, side: int) -> str:
    """Markdown of the table, under its heading."""
    mib = 4 * bands * side**2 / 2**20
    lines = [HEAD.format(bands=bands, side=side, mib=mib, targets=len(TARGETS)).rstrip()]
    for row in table:
        options = ", ".join(f"{k}={v}" for k, v in CASES.get(row["case"], {}).items())
        name = f"`{row['case']}`" if options else row["case"]
        options = f"`{options}`" if options else ""
        lines.append(
            f"| {row['batch']} | {name} | {options} | {row['peak_mib']:.0f} | {row['ratio']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and put it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--bands", type=int, default=150)
    parser.add_argument("--side", type=int, default=224, help="rows and columns")
    parser.add_argument(
        "--short", "--tiny", action="store_true", help="few steps: does it run at all?"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--case", help="measure one case in this process, print MiB")
    parser.add_argument("--batch", type=int, default=1, help="of that case")
    given = parser.parse_args(arguments)
    if given.case:
        print(peak(given.case, given.bands, given.side, given.batch, given.short))
        return 0
    made = text(rows(given.bands, given.side, given.short), given.bands, given.side)
    print(made, end="")
    page.write("memory", made, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
