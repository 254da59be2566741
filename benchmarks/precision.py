"""Error of LIME for the evaluations that it costs, by design: ``python -m benchmarks.precision``.

Three networks are trained for a few seconds each, on synthetic data, and explained with many
seeds. The error of a coefficient is told over that of independent coins.
The table goes into docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import xrxai
from benchmarks.page import write
from xrxai.datasets import synthetic

SIDE, SEEDS = 40, 50
HEAD = """\
## Precision of a design

Error of a LIME coefficient, the root of the mean square over {seeds} seeds, over that of
independent coins with as many patterns as the first row of each block has: median (largest) over
groups and targets. It is the distance from what all patterns give, for superpixels from what
{many} balanced ones give. *Covered*: intervals (95 %) that hold that. The networks are a 1-D
convolutional one on spectra, a vision transformer and a U-Net of maps, trained on synthetic data;
held-out R² says how far they are from a line in the patterns. Made by
`python -m benchmarks.precision`.

| network | of | design | surrogate | patterns | error | covered | held-out R² |
|---|---|---|---|---|---|---|---|
"""
MANY = 4000
Case = tuple[str, str, xr.DataArray, xrxai.Model, str, dict[str, Any]]


class Spectral(nn.Sequential):
    """Convolutions along 60 bands: (n, 60) -> (n, 3)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 60)),
            nn.Conv1d(1, 12, 7, padding=3),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(12, 24, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Flatten(),
            nn.Linear(360, 3),
        )


class Transformer(nn.Module):
    """Patches of 8 x 8 as words, two layers: (n, 13, 40, 40) -> (n, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Conv2d(13, 48, 8, stride=8)
        self.place = nn.Parameter(0.02 * torch.randn(1, (SIDE // 8) ** 2, 48))
        layer = nn.TransformerEncoderLayer(48, 4, 96, 0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(48, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give what the class says."""
        words = self.words(5 * (x - 0.2)).flatten(2).transpose(1, 2)
        out: torch.Tensor = self.head(self.layers(words + self.place).mean(1))
        return out


class Segmenter(nn.Module):
    """A U-Net of two floors: (n, 13, y, x) -> (n, 4, y, x)."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(13, 16, 3, padding=1)
        self.coarse = nn.Conv2d(16, 24, 3, padding=1)
        self.head = nn.Conv2d(40, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give what the class says."""
        fine = torch.relu(self.fine(5 * (x - 0.2)))
        coarse = torch.relu(self.coarse(nn.functional.max_pool2d(fine, 2)))
        up = nn.functional.interpolate(coarse, scale_factor=2)
        out: torch.Tensor = self.head(torch.cat([fine, up], 1))
        return out


def trained(
    net: nn.Module, x: np.ndarray, y: np.ndarray, rounds: int, loss: Callable[..., torch.Tensor]
) -> nn.Module:
    """Fit a network to samples, in batches of 32."""
    step = torch.optim.Adam(net.parameters(), 4e-3)
    samples, labels = torch.as_tensor(x), torch.as_tensor(y)
    for _ in range(rounds):
        for i in torch.randperm(len(samples)).split(32):
            step.zero_grad()
            loss(net(samples[i]), labels[i]).backward()
            step.step()
    return net.eval()


def spectra(rounds: int) -> tuple[xr.DataArray, xrxai.Model]:
    """Give a spectrum of soil, and a network that tells three constituents."""
    wavelength = np.linspace(462.0, 938.0, 60)
    scene = synthetic.soil(0, size=(40, 40), wavelength=wavelength)
    x = scene.cube.values.reshape(60, -1).T.copy()
    y = scene.truth.values.values.reshape(len(scene.truth.targets), -1).T
    y = ((y - y.mean(0)) / y.std(0)).astype("float32")
    net = trained(Spectral(), 10 * (x - 0.3), y, rounds, nn.functional.mse_loss)
    targets = list(scene.truth.targets)
    model = xrxai.Model(net, takes="spectrum", targets=targets, prepare=lambda x: 10 * (x - 0.3))
    return scene.cube[:, 20:21, 20:21], model


def chips(rounds: int) -> tuple[xr.DataArray, xrxai.Model, xrxai.Model]:
    """Give a chip of a cloudy scene, a network of cloud shares and one of maps."""
    x, y, whole = [], [], slice(None)
    for seed in range(8):
        scene = synthetic.clouds(seed, size=(3 * SIDE, 3 * SIDE))
        names, labels = np.unique(scene.truth.labels, return_inverse=True)
        labels = labels.reshape(3 * SIDE, 3 * SIDE)
        for row, column in np.ndindex(3, 3):
            at = tuple(slice(SIDE * i, SIDE * (i + 1)) for i in (row, column))
            x.append(scene.cube[(whole, *at)])
            y.append(labels[at])
    cubes, maps = np.stack(x), np.stack(y)
    share = np.stack([(maps == k).mean((1, 2)) for k in range(4)], 1).astype("float32")
    mse, entropy = nn.functional.mse_loss, nn.functional.cross_entropy
    vit = trained(Transformer(), cubes, share, 2 * rounds, mse)
    unet = trained(Segmenter(), cubes, maps, rounds, entropy)
    targets = list(names)
    return (
        x[4],
        xrxai.Model(vit, takes="patch", targets=targets),
        xrxai.Model(unet, takes="patch", gives="map", targets=targets, activation="softmax"),
    )


def cases(short: bool) -> Iterator[Case]:
    """Networks with what they are asked."""
    torch.manual_seed(0)
    line, cnn = spectra(1 if short else 12)
    chip, vit, unet = chips(1 if short else 20)
    for cube, name, model in (
        (line, "CNN", cnn),
        (chip, "transformer", vit),
        (chip, "U-Net", unet),
    ):
        for n in (8, 12):
            ids = 1 + np.arange(cube.sizes["band"]) * n // cube.sizes["band"]
            yield name, f"{n} band groups", cube, model, "lime_spectral", {"bands": ids}
    for name, model in (("transformer", vit), ("U-Net", unet)):
        ids = xrxai.segments(chip, "slic", n_segments=50)
        options = {"segments": ids}
        yield name, f"{int(ids.max())} superpixels", chip, model, "lime_spatial", options


def draws(case: Case, design: str, surrogate: str, n_samples: int, seeds: int) -> list[xr.Dataset]:
    """Explanations, a seed each."""
    _, _, cube, model, method, options = case
    options = {**options, "n_samples": n_samples, "design": design, "surrogate": surrogate}
    explain = getattr(cube.xai, method)
    return [explain(model, seed=seed, progress=False, **options) for seed in range(seeds)]


def told(found: list[xr.Dataset], truth: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Root mean square errors (target, group), the share covered and the median held-out R²."""
    values, low, high = (
        np.stack([f[key].values for f in found]) for key in ("attribution", "ci_low", "ci_high")
    )
    there = np.isfinite(truth) & (values.std(0) > 0)  # a class can be absent
    covered = ((low <= truth) & (truth <= high))[:, there].mean()
    fit = np.nanmedian([f.fidelity_heldout.values for f in found])
    error = np.sqrt(((values - truth) ** 2).mean(0))
    return np.where(there, error, np.nan), [f"{covered:.0%}", f"{fit:.2f}"]


def rows(short: bool) -> list[list[str]]:
    """Measure every case."""
    seeds = 4 if short else SEEDS
    out = []
    for case in cases(short):
        bands = case[4] == "lime_spectral"
        few, many = (100, [48, 50]) if bands else (300, [144, 180])
        most = 2 ** int(case[5]["bands"].max()) if bands else (200 if short else MANY)
        exact = draws(case, "balanced", "ridge", most, 1)[0].attribution.values
        scale, said = told(draws(case, "random", "ridge", few, seeds), exact)
        out.append([case[0], case[1], "random", "ridge", str(few), "1.00", *said])
        ways = [("paired", "ridge", many[0])]
        ways += [("balanced", by, n) for by in ("ridge", "kriging") for n in many]
        for design, surrogate, n in ways:
            error, said = told(draws(case, design, surrogate, n, seeds), exact)
            ratio = error / scale
            shown = f"{np.nanmedian(ratio):.2f} ({np.nanmax(ratio):.2f})"
            out.append(["", "", design, surrogate, str(n), shown, *said])
    return out


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and put it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument(
        "--short", "--tiny", action="store_true", help="few seeds: does it run at all?"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    table = rows(given.short)
    head = HEAD.format(seeds=4 if given.short else SEEDS, many=MANY).rstrip()
    made = "\n".join([head, *(f"| {' | '.join(row)} |" for row in table)]) + "\n"
    print(made, end="")
    write("precision", made, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
