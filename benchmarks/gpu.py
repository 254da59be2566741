"""Explanations on a GPU over what the card could do: ``python -m benchmarks.gpu``.

Throughput of LIME and integrated gradients on the networks A, B and C over that of the bare network
at its best batch, with captum at its defaults beside it; a scene of the size of an EMIT granule,
pixel by pixel; a scene in tiles, with the share of the time in which the card was busy. Wall time,
the device waited for. ``--device cpu --tiny`` tries it without a card.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

import xrxai
from benchmarks import machine, page
from benchmarks.case import counting
from benchmarks.floor import run
from benchmarks.models import Spectral
from benchmarks.peers import by_captum, by_xrxai
from benchmarks.problems import TARGETS, Problem, Work, problem, small

EMIT, SCENE = (285, 1242, 1280), (13, 4096, 4096)
TILE, HALO, STEPS = 1024, 256, 16
HEAD = """\
## On a GPU

{device}, torch {torch}. Evaluations of the network per second, a step of integrated gradients with
its way back for each target that is asked; the bare network at its best batch, found by trying.
captum explains one target at its defaults, and of C one spectrum. Made by
`python -m benchmarks.gpu`.

"""
SCENES = """
`lime_spectral` of {spectra} spectra of {bands} bands (10 groups, {n} samples, five classes):
{emit:.1f} s, {ratio:.2f} times what the bare network takes for as many evaluations.
`integrated_gradients` of one class on {shape} in tiles of {tile} (halo {halo}, {steps} steps), to a
Zarr store: {tiled:.1f} s, the card busy {busy} of the time.
"""


def waited(call: Callable[[], object], device: str) -> float:
    """Seconds until the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


def rate(net: nn.Module, sample: Tensor, backward: int, device: str, largest: int) -> float:
    """Evaluations per second of the bare network at its best batch."""
    bare = copy.deepcopy(net).requires_grad_(False).to(device)
    sample, best, batch, worse = sample.to(device), 0.0, 1, 0
    while worse < 2 and batch <= largest:
        try:
            x = sample.repeat(batch, *[1] * (sample.ndim - 1))
            spent = [waited(lambda x=x: run(bare, x, backward), device) for _ in range(6)]
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        found = batch / statistics.median(spent[1:])
        best, worse = max(best, found), 0 if found > best else worse + 1
        batch *= 2
    return best


def throughput(work: Work, device: str, tiny: bool) -> dict[str, Any]:
    """Evaluations per second of xrxai, of captum, and of the bare network."""
    asked = problem(work.model, work.groups, tiny)
    largest = 4 if tiny else 2**16
    out: dict[str, Any] = {"model": work.model, "method": work.method, "n": work.n}
    for who, targets in (("xrxai", len(asked.targets)), ("captum", 1)):
        backward = targets if work.gradient else 0
        bare = rate(asked.scores, asked.sample, backward, device, largest)
        call = _ours(work, asked, device) if who == "xrxai" else _captum(work, asked, device)
        with counting() as counted:
            first = waited(call, device)
        evaluations = counted.forward + counted.backward
        again = min(waited(call, device) for _ in range(1 if tiny or first > 60 else 2))
        out |= {who: evaluations / again, f"{who}_bare": bare}
    return out


def _ours(work: Work, asked: Problem, device: str) -> Callable[[], object]:
    model = by_xrxai.model_of(asked, device=device)
    cube, options = by_xrxai.cube_of(asked), by_xrxai.options_of(work, asked)
    return lambda: getattr(cube.xai, work.method)(model, **options)


def _captum(work: Work, asked: Problem, device: str) -> Callable[[], object]:
    """One target, one sample."""
    options, kind = by_captum.options_of(work, asked)
    on = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in options.items()}
    x, scores = asked.sample.to(device), copy.deepcopy(asked.scores).to(device)
    explainer = getattr(by_captum.attr, kind)(scores)
    return lambda: explainer.attribute(x.clone(), target=0, **on)


def granule(device: str, tiny: bool) -> dict[str, Any]:
    """LIME of every spectrum of a scene."""
    shape, n = ((16, 4, 6), 40) if tiny else (EMIT, 100)
    torch.manual_seed(0)
    net = Spectral(shape[0], 5).eval()
    net.head.counted = True  # type: ignore[assignment]
    cube = _cube(shape)
    model = xrxai.Model(net, takes="spectrum", targets=TARGETS["C"], device=device)
    groups = np.arange(shape[0]) * (4 if tiny else 10) // shape[0] + 1
    bare = rate(net, torch.rand(1, shape[0]), 0, device, 4 if tiny else 2**20)
    with counting() as counted:
        seconds = waited(
            lambda: cube.xai.lime_spectral(model, bands=groups, n_samples=n, progress=False), device
        )
    floor = counted.forward / bare
    pixels = shape[1] * shape[2]
    out = {"spectra": pixels, "bands": shape[0], "n": n, "emit": seconds, "ratio": seconds / floor}
    return out | {"evaluations": counted.forward}


def tiled(device: str, tiny: bool) -> dict[str, Any]:
    """Explain a scene in tiles by network B, and see how busy the card is meanwhile."""
    shape, tile, halo, steps = ((13, 64, 64), 32, 32, 2) if tiny else (SCENE, TILE, HALO, STEPS)
    cube = _cube(shape).chunk(y=tile, x=tile)
    net = problem("B", tiny=tiny).net
    model = xrxai.Model(
        net, takes="patch", gives="map", targets=TARGETS["B"], reduction="area",
        halo=halo, device=device,
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        Busy(device) as busy,
        dask.config.set(scheduler="threads", num_workers=2),
    ):
        why = cube.xai.integrated_gradients(model, target=TARGETS["B"][0], n_steps=steps)
        seconds = waited(lambda: why.xai.to_zarr(Path(folder) / "w.zarr", progress=False), device)
    size = " x ".join(map(str, shape))
    out = {"shape": size, "tile": tile, "halo": int(why.attrs["halo"]), "steps": steps}
    return out | {"tiled": seconds, "busy": busy.share()}


class Busy:
    """Ask nvidia-smi twice a second how busy the card is."""

    def __init__(self, device: str) -> None:
        self.seen: list[float] = []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.asks = device.startswith("cuda")

    def __enter__(self) -> Busy:
        """Begin."""
        if self.asks:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.done.set()
        if self.asks:
            self.thread.join()

    def _ask(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self.done.wait(0.5):
            try:
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                self.seen.append(float(told.split()[0]) / 100)
            except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
                return

    def share(self) -> float:
        """Mean share; NaN where nobody tells."""
        return statistics.mean(self.seen) if self.seen else float("nan")


def _cube(shape: tuple[int, int, int]) -> xr.DataArray:
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    nm = ("band", np.linspace(400, 2450, shape[0]), {"units": "nm"})
    at = {"y": -10.0 * np.arange(shape[1]), "x": 10.0 * np.arange(shape[2])}
    return xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm, **at})


def measure(device: str, tiny: bool) -> dict[str, Any]:
    """Measure everything."""
    rows = []
    for model in ("A", "B", "C"):
        groups = 13 if model == "B" else 10
        for method, n in (("lime_spectral", 1000), ("integrated_gradients", 50)):
            work = Work(model, method, (), n, groups)  # type: ignore[arg-type]
            work = small(work) if tiny else work
            rows.append(throughput(work, device, tiny))
            print(rows[-1], flush=True)
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "torch": torch.__version__,
        "date": machine.today(),
        "rows": rows,
        "granule": granule(device, tiny),
        "tiled": tiled(device, tiny),
    }


def text(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = []
    for row in found["rows"]:
        ours, bare, theirs = row["xrxai"], row["xrxai_bare"], row["captum"]
        name = f"{row['model']}, `{row['method']}`, n = {row['n']}"
        cells = [f"{ours:.0f}", f"{bare:.0f}", f"{ours / bare:.2f}"]
        lines.append([name, *cells, f"{theirs:.0f}", f"{theirs / row['captum_bare']:.2f}"])
    head = ["", "xrxai, per s", "bare", "of the bare", "captum, per s", "of its bare"]
    scenes = {**found["tiled"], **found["granule"]}
    busy = scenes["busy"]
    scenes["busy"] = f"{100 * busy:.0f} %" if busy == busy else "an unknown share"
    return HEAD.format(**found) + page.table(head, lines) + SCENES.format(**scenes)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, save them, and put them into a page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="once, small: does it run at all?")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks-gpu.json"))
    parser.add_argument("--out", type=Path, help="a page, such as docs/performance.md")
    given = parser.parse_args(arguments)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no GPU that torch can use; type --device cpu --tiny to try this without.")
        return 1
    warnings.simplefilter("ignore")
    found = measure(given.device, given.tiny)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1))
    print(text(found))
    if given.out:
        page.write("gpu", text(found), given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
