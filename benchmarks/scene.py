"""A scene in tiles: peak memory by its size, and time over a plain loop of the same tiles.

``python -m benchmarks.scene`` explains scenes that are made as they are read, of 4 and 20 GB, and
writes each explanation, of the same size, to a Zarr store; each in a process of its own. Then it
times the tiles of a smaller scene under dask beside a loop that runs the same kernel on the same
windows. The tables go into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import torch
import xarray as xr
from torch import nn

import xrxai
from benchmarks import page
from xrxai import blocks
from xrxai.road import Planned, planning

BANDS, TILE = 13, 256
GIGABYTES = (4.0, 20.0)
MEMORY = """\
## Scenes larger than memory

`saliency` of one target on a scene of {bands} bands (float32) that is made as it is read, in tiles
of {tile} x {tile} pixels, written to a Zarr store of the same size with two threads. Peak is the
resident memory of the whole process, of which {floor:.0f} MiB are Python, torch and dask before
the scene is opened. Made by `python -m benchmarks.scene`.

| scene, GB | tiles | peak, MiB | seconds |
|---|---|---|---|
"""
OVERHEAD = """\
## Tiles under dask

Seconds of {count} tiles of {tile} x {tile} pixels (`{method}` in {steps} steps, {bands} bands) over
those of a plain loop that runs the same kernel on the same windows in one thread; medians of
{repeats} turns taken side by side. A graph of {graph} tiles is built in {build:.2f} s.

| scheduler | over the loop |
|---|---|
"""


def network(bands: int) -> nn.Module:
    """Give a small convolutional network: radius 4."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(bands, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 3, 5, padding=2)
    ).eval()


def model(bands: int = BANDS) -> xrxai.Model:
    """Give it names."""
    targets = ["cloud", "shadow", "clear"]
    return xrxai.Model(
        network(bands), takes="patch", gives="map", targets=targets, reduction="area"
    )


def made(block_info: Any = None, bands: int = BANDS) -> np.ndarray:
    """Give a block of reflectance: the same whenever it is asked for."""
    place = block_info[None]["chunk-location"]
    shape = block_info[None]["chunk-shape"]
    return np.random.default_rng(place).random(shape, dtype=np.float32)


def scene(rows: int, columns: int, tile: int = TILE, bands: int = BANDS) -> xr.DataArray:
    """Give a scene of so many tiles, which nothing holds."""
    chunks = ((bands,), (tile,) * rows, (tile,) * columns)
    values = da.map_blocks(made, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), "f4"))
    nm = ("band", np.linspace(443, 2190, bands), {"units": "nm"})
    y, x = -10.0 * np.arange(rows * tile), 10.0 * np.arange(columns * tile)
    coords = {"wavelength": nm, "y": y, "x": x}
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords)


def resident() -> float:
    """Peak MiB of this process."""
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def written(gigabytes: float, tile: int, folder: Path) -> dict[str, Any]:
    """Explain and write one scene in this process."""
    side = round((gigabytes * 1e9 / (4 * BANDS * tile**2)) ** 0.5)
    floor = resident()
    cube = scene(max(2, side), max(2, side), tile)
    began = time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=2):
        why = cube.xai.saliency(model(), target="cloud")
        why.xai.to_zarr(folder / "why.zarr", progress=False)
    return {
        "gb": cube.nbytes / 1e9,
        "tiles": int(np.prod(cube.data.numblocks)),
        "floor": floor,
        "peak": resident(),
        "seconds": time.perf_counter() - began,
    }


def memory(sizes: tuple[float, ...], tile: int) -> list[dict[str, Any]]:
    """Explain scenes of these sizes, each in a process of its own."""
    out = []
    for gigabytes in sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.scene", "--one", str(gigabytes)]
            command += ["--tile", str(tile), "--folder", folder]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            )
            out.append(json.loads(done.stdout))
            shutil.rmtree(folder)
            Path(folder).mkdir()
    return out


def loop(cube: xr.DataArray, method: str, options: dict[str, Any]) -> int:
    """Run the kernel of a method on the windows of its tiles, one after the other."""
    try:
        with planning():
            getattr(cube.xai, method)(model(), **options)
    except Planned as planned:
        job = planned.job
    assert job.grid is not None
    inputs = {"baseline": np.zeros((1, 1, 1, 1), np.float32)} if "n_steps" in options else {}
    torch.set_num_threads(1)
    values = cube.values
    for tile in job.grid:
        x = np.ascontiguousarray(values[(slice(None), *tile.window)][None])
        blocks.compute(job, x, np.isfinite(x).all(1), inputs, tile=tile)
    return int(np.prod(job.grid.shape))


def lazily(cube: xr.DataArray, method: str, options: dict[str, Any]) -> None:
    """Run the same under the scheduler that is set, and keep nothing."""
    why = getattr(cube.xai, method)(model(), **options)
    da.compute(*(why[n].data.sum() for n in ("attribution", "prediction")))


def overhead(side: int, tile: int, method: str, options: dict[str, Any], repeats: int) -> Any:
    """Give seconds of the loop, and of each scheduler over it, side by side."""
    from distributed import Client, LocalCluster

    values = scene(side, side, tile).compute()
    cube = values.chunk(y=tile, x=tile)
    ratios: dict[str, list[float]] = {"synchronous": [], "threads, one": [], "one worker": []}
    warnings.simplefilter("ignore")
    with (
        LocalCluster(1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def timed(call: Any) -> float:
            began = time.perf_counter()
            call()
            return time.perf_counter() - began

        def under(**config: Any) -> float:
            with dask.config.set(**config):
                return timed(lambda: lazily(cube, method, options))

        under(scheduler=client.get)
        for _ in range(repeats):
            base = timed(lambda: loop(cube, method, options))
            ratios["synchronous"].append(under(scheduler="synchronous") / base)
            one = under(scheduler="threads", num_workers=1)
            ratios["threads, one"].append(one / base)
            ratios["one worker"].append(under(scheduler=client.get) / base)
    return {name: statistics.median(each) for name, each in ratios.items()}


def built(side: int) -> float:
    """Seconds to build a graph of side x side tiles."""
    cube, net = scene(side, side), model()
    net.receptive_field(n_bands=BANDS)
    began = time.perf_counter()
    cube.xai.saliency(net)
    return time.perf_counter() - began


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, and put them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scene", description=__doc__)
    parser.add_argument("--short", action="store_true", help="tiny: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--one", type=float, help="write one scene of so many GB, print JSON")
    parser.add_argument("--tile", type=int, default=TILE)
    parser.add_argument("--folder", type=Path, help="where that store goes")
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(written(given.one, given.tile, given.folder)))
        return 0
    tile = 32 if given.short else given.tile
    sizes = (0.0005,) if given.short else GIGABYTES
    rows = memory(sizes, tile)
    text = MEMORY.format(bands=BANDS, tile=tile, floor=rows[0]["floor"])
    for row in rows:
        text += f"| {row['gb']:.1f} | {row['tiles']} | {row['peak']:.0f} | {row['seconds']:.0f} |\n"
    side, repeats, graph = (2, 1, 3) if given.short else (3, 3, 100)
    method, options = "integrated_gradients", {"n_steps": 2 if given.short else 8}
    ratios = overhead(side, tile, method, options, repeats)
    text += "\n" + OVERHEAD.format(
        count=side**2, tile=tile, method=method, bands=BANDS, repeats=repeats, graph=graph**2,
        build=built(graph), steps=options["n_steps"],
    )  # fmt: skip
    text += "".join(f"| {name} | {ratio:.3f} |\n" for name, ratio in ratios.items())
    print(text, end="")
    page.write("scene", text, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
