"""Evaluations that integrated gradients need for a gap of 1 %: ``python -m benchmarks.adaptive``.

Of a vision transformer and a U-Net with random weights, which are smooth, and of a network along
the spectrum that is trained here and is not. Beside them: what fifty fixed steps miss. The table
goes into docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import xrxai
from benchmarks import models, page

CENTRES = np.array([500.0, 580.0, 660.0, 740.0, 860.0])
TOLERANCE, FIXED = 0.01, 50
HEAD = """\
## Steps of integrated gradients

Evaluations (forward and backward, with those of the cube and of its baseline) with
`tolerance={tolerance}`, and how often {fixed} fixed steps, {evaluations} evaluations, leave a
larger gap. Transformer and U-Net have random weights and are explained for all {targets} targets,
the latter by its soft areas; the network along the spectrum is trained here (accuracy
{accuracy:.1%}), and a pixel is explained for its own class. Missed: gap above the tolerance, which
`converged` says. Made by `python -m benchmarks.adaptive`.

| network | baseline | samples | mean evaluations | median | missed | missed by {fixed} steps |
|---|---|---|---|---|---|---|
"""


def smooth(bands: int, side: int) -> xr.DataArray:
    """Give a cube that varies slowly, as scenes do."""
    coarse = np.random.default_rng(0).random((bands // 8 + 2, side // 16 + 2, side // 16 + 2))
    fine = nn.functional.interpolate(
        torch.as_tensor(coarse, dtype=torch.float32)[None, None],
        size=(bands, side, side),
        mode="trilinear",
    )
    nm = ("band", np.linspace(450, 950, bands), {"units": "nm"})
    values = 0.05 + 0.5 * fine[0, 0].numpy()
    return xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})


def spectra(n: int, bands: int = 150) -> tuple[xr.DataArray, np.ndarray]:
    """Give noisy spectra, each with an absorption at the wavelength of its class."""
    rng = np.random.default_rng(0)
    nm, labels = np.linspace(460, 940, bands), rng.integers(0, len(CENTRES), n)
    slope = 0.15 * rng.random((n, 1)) * (nm - 450) / 500
    depth = 0.05 + 0.25 * rng.random((n, 1))
    depth = depth * np.exp(-(((nm - CENTRES[labels][:, None]) / 28) ** 2))
    values = (0.2 + 0.1 * rng.random((n, 1)) + slope) * (1 - depth)
    values = (values + 0.004 * rng.normal(size=values.shape)).astype(np.float32)
    coords = {"wavelength": ("band", nm, {"units": "nm"})}
    return xr.DataArray(values, dims=("sample", "band"), coords=coords), labels


def trained(cube: xr.DataArray, labels: np.ndarray, rounds: int) -> tuple[nn.Module, float]:
    """Train a network of 50 000 parameters along the spectrum; give its accuracy, too."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, -1)),
        *(nn.Conv1d(1, 16, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Flatten(), nn.Linear(64 * (cube.sizes["band"] // 8), 32), nn.ReLU()),
        nn.Linear(32, len(CENTRES)),
    )
    step = torch.optim.Adam(net.parameters(), 4e-3)
    x, y = torch.as_tensor(10 * (cube.values - 0.3)), torch.as_tensor(labels)
    for _ in range(rounds):
        for i in torch.randperm(len(x)).split(32):
            step.zero_grad()
            nn.functional.cross_entropy(net(x[i]), y[i]).backward()
            step.step()
    net.eval()
    with torch.no_grad():
        return net, float((net(x).argmax(1) == y).float().mean())


def asked(cube: xr.DataArray, model: xrxai.Model, baseline: Any, target: Any = None) -> Any:
    """Evaluations of each sample; what was missed, and what fixed steps miss, of all targets."""
    options = {"baseline": baseline, "target": target, "progress": False}
    found = cube.xai.integrated_gradients(model, tolerance=TOLERANCE, **options)
    fixed = cube.xai.integrated_gradients(model, n_steps=FIXED, **options)
    change = abs(fixed.prediction - fixed.baseline_prediction)
    missed = abs(fixed.completeness_gap) > TOLERANCE * change
    count = np.atleast_1d(found.model_evaluations.values)
    return count, (~found.converged).values.ravel(), missed.values.ravel()


def rows(tiny: bool) -> tuple[list[tuple[Any, ...]], float]:
    """Measure every network."""
    warnings.simplefilter("ignore")
    out = []
    sizes = {"A": (12, 32), "B": (13, 32)} if tiny else {"A": (150, 224), "B": (13, 256)}
    named = {"A": ("vision transformer", "mean"), "B": ("U-Net", "zero")}
    for name, (bands, side) in sizes.items():
        more = {"gives": "map", "reduction": "area", "activation": "softmax"} if name == "B" else {}
        model = xrxai.Model(models.network(name, tiny), takes="patch", targets=list("abcd"), **more)
        found = asked(smooth(bands, side), model, {"zero": 0.0}.get(named[name][1], "mean"))
        out.append((*named[name], *found))
    cube, labels = spectra(200 if tiny else 3000, 32 if tiny else 150)
    net, accuracy = trained(cube, labels, 1 if tiny else 8)
    model = xrxai.Model(
        net, takes="spectrum", targets=[f"{c:g} nm" for c in CENTRES], prepare=_centred
    )
    some = cube[: 20 if tiny else 150]
    own = some.xai.saliency(model).prediction.argmax("target").values
    for said, baseline in (("zero", 0.0), ("mean", some.mean("sample"))):
        parts = [asked(some[own == k], model, baseline, model.targets[k]) for k in np.unique(own)]
        found = [np.concatenate(each) for each in zip(*parts, strict=True)]
        out.append(("along the spectrum", said, *found))
    return out, accuracy


def _centred(x: torch.Tensor) -> torch.Tensor:
    return 10 * (x - 0.3)


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and put it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive", description=__doc__)
    parser.add_argument("--short", "--tiny", action="store_true", help="tiny: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    given = parser.parse_args(arguments)
    table, accuracy = rows(given.short)
    text = HEAD.format(
        tolerance=TOLERANCE, fixed=FIXED, evaluations=FIXED + 2, targets=4, accuracy=accuracy
    )
    for name, baseline, count, missed, fixed in table:
        text += (
            f"| {name} | {baseline} | {len(count)} | {count.mean():.1f} | {np.median(count):.0f} | "
            f"{missed.mean():.0%} | {fixed.mean():.0%} |\n"
        )
    print(text, end="")
    page.write("adaptive", text, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
