"""A real hyperspectral cube explained, end to end: ``python -m xrxai.demo``.

A small network learns two quantities that are known functions of a few bands. Neighbouring bands
are nearly copies, so the training jitters the gain of every band independently: only the true
bands can then carry the answer. Every method has to find them.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm.auto import tqdm

import xrxai
from xrxai.datasets import synthetic
from xrxai.errors import DataError

GROUPS = {
    "blue": (460, 509.9),
    "green": (510, 579.9),
    "orange": (580, 629.9),
    "red": (630, 684.9),
    "edge foot": (685, 714.9),
    "edge": (715, 734.9),
    "edge shoulder": (735, 769.9),
    "NIR": (770, 849.9),
    "NIR 2": (850, 940),
}
# target -> (numerator, denominator) in nm: the planted truth.
PLANTED = {
    "red/blue ratio": ((640, 680), (465, 505)),
    "red-edge slope": ((740, 765), (690, 712)),
}
TRUTH = {"red/blue ratio": {"red", "blue"}, "red-edge slope": {"edge shoulder", "edge foot"}}
JITTER = 0.25
PATCH = 16


class Net(nn.Module):
    """Patches (n, band, y, x) -> (n, 2): two convolutions and a mean over pixels with data."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean[:, None, None])
        self.spectral = nn.Conv2d(len(mean), 32, 1)
        self.spatial = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Answer in standardised units of the targets."""
        there = (x.abs().sum(1, keepdim=True) > 0).to(x.dtype)
        z = torch.tanh(self.spectral(x / self.mean - 1))
        z = torch.tanh(z + self.spatial(z * there)) * there
        out: Tensor = self.head(z.sum((2, 3)) / there.sum((2, 3)).clamp(min=1))
        return out


def load() -> xr.DataArray:
    """Return the HYPERVIEW cube, or a synthetic scene when it cannot be had."""
    try:
        return xrxai.datasets.hyperview(0)
    except DataError as error:
        print(f"No HYPERVIEW cube ({error}) Using a synthetic soil scene.", flush=True)
        return synthetic.soil(seed=0, size=(72, 89), border=6).cube


def quantities(spectra: Tensor, wavelength: np.ndarray) -> Tensor:
    """Compute the planted targets of mean spectra (n, band): (n, 2)."""

    def mean(low: float, high: float) -> Tensor:
        return spectra[:, torch.as_tensor((wavelength >= low) & (wavelength <= high))].mean(1)

    ratio, slope = PLANTED.values()
    top, bottom = mean(*slope[0]), mean(*slope[1])
    return torch.stack([torch.log(mean(*ratio[0]) / mean(*ratio[1])), torch.log(top / bottom)], 1)


def train(
    cube: xr.DataArray, mean: Tensor, *, steps: int = 300, seed: int = 0
) -> tuple[Net, float]:
    """Train on random patches of the cube; returns the network and its R² on fresh patches."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    valid = cube.valid.values if "valid" in cube.coords else np.ones(cube.shape[1:], dtype=bool)
    values = torch.as_tensor(np.where(valid, cube.values, 0.0), dtype=torch.float32)
    keep = torch.as_tensor(valid, dtype=torch.float32)
    # Corners of the patches that hold data only.
    full = nn.functional.avg_pool2d(keep[None, None], PATCH, 1)[0, 0] == 1
    corners = torch.nonzero(full)

    def batch(n: int) -> tuple[Tensor, Tensor]:
        pick = corners[torch.randint(len(corners), (n,), generator=generator)]
        x = torch.stack([values[:, r : r + PATCH, c : c + PATCH] for r, c in pick.tolist()])
        gain = torch.exp(JITTER * torch.randn((n, x.shape[1]), generator=generator))
        x = x * gain[:, :, None, None]
        return x, quantities(x.mean((2, 3)), cube.wavelength.values)

    x, y = batch(512)
    centre, spread = y.mean(0), y.std(0)
    net = Net(mean)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for _ in tqdm(range(steps), desc="training", unit="step"):
        x, y = batch(48)
        loss = ((net(x) - (y - centre) / spread) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        x, y = batch(512)
        left = ((net(x) - (y - centre) / spread) ** 2).mean() / (y / spread).var()
    return net, 1 - float(left)


def verdict(lime: xr.Dataset, ig: xr.DataArray) -> bool:
    """Print the strongest groups of each method; True when they are the planted ones."""
    found_all = True
    for target, planted in TRUTH.items():
        one = lime.sel(target=target)
        r2 = one.fidelity_heldout.item()
        print(f"\n{target}: planted {', '.join(sorted(planted))}; held-out R² of LIME {r2:.3f}")
        print(f"  {'group':14s} {'LIME':>8s} {'95 % CI':>18s} {'IG':>8s}")
        other = ig.sel(target=target)
        order = abs(one.attribution).sortby(abs(one.attribution), ascending=False).group.values
        for name in order:
            row, told = one.sel(group=name), "  <- planted" if name in planted else ""
            interval = f"[{row.ci_low.item():+.3f}, {row.ci_high.item():+.3f}]"
            print(
                f"  {name:14s} {row.attribution.item():+8.3f} {interval:>18s} "
                f"{other.sel(group=name).item():+8.3f}{told}"
            )
        ranked = abs(other).sortby(abs(other), ascending=False).group.values
        for method, names in (("LIME", order), ("integrated gradients", ranked)):
            if set(names[:2]) != planted:
                found_all = False
                print(f"  MISSED: {method} ranks {names[0]} and {names[1]} first.")
    return found_all


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 when every method finds the planted groups of both targets."""
    import matplotlib

    parser = argparse.ArgumentParser(prog="python -m xrxai.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="where to write")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    matplotlib.use("Agg")
    # Threads save a network as small as this a few seconds, and cost minutes on a busy machine.
    torch.set_num_threads(1)
    start = time.perf_counter()
    cube = load()
    print(cube.xai)
    kept = cube.where(cube.valid) if "valid" in cube.coords else cube
    mean = torch.as_tensor(kept.mean(["y", "x"]).values, dtype=torch.float32)
    net, r2 = train(cube, mean, seed=given.seed)
    print(f"trained in {time.perf_counter() - start:.0f} s; R² on fresh patches {r2:.3f}")

    model = xrxai.Model(net, takes="patch", targets=list(PLANTED), n_bands=cube.sizes["band"])
    # Absence is the dark end of the field: a spectrum that exists, unlike zero.
    dark = kept.quantile(0.05, ["y", "x"]).drop_vars("quantile").rename("5th percentile")
    lime = cube.xai.lime_spectral(model, bands=GROUPS, baseline=dark, n_samples=300)
    segments = cube.xai.lime_spatial(model, baseline=dark, n_segments=40, n_samples=300)
    ig = cube.xai.integrated_gradients(model, baseline=dark)
    found = verdict(lime, ig.xai.to_groups(GROUPS).sum(["y", "x"]))

    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    ig.xai.to_zarr(out / "integrated_gradients.zarr", overwrite=True)
    lime.xai.to_netcdf(out / "lime_spectral.nc", overwrite=True)
    segments.xai.to_netcdf(out / "lime_spatial.nc", overwrite=True)
    for target in PLANTED:
        name = target.replace("/", "-").replace(" ", "-")
        for explanation in (lime, segments, ig):
            figure = explanation.xai.plot(cube, target=target)
            figure.savefig(out / f"{explanation.attrs['method']}_{name}.png", dpi=120)
    print(f"\nwrote {out}/: results as Zarr and netCDF, a figure of each explanation and target")
    spent = time.perf_counter() - start
    print(f"{'found' if found else 'MISSED'} the planted bands of both targets; {spent:.0f} s")
    return 0 if found else 1


if __name__ == "__main__":
    warnings.simplefilter("default")
    sys.exit(main())
