"""What it costs to bring a model to workers: ``python -m benchmarks.travel``.

A network is explained on a LocalCluster of two processes: with the model as a plain argument of the
graph, by reference to a file that all processes map, and shipped to workers that have a folder of
their own. Each way runs in a process of its own. The table goes into docs/performance.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import cloudpickle
import numpy as np
import psutil
import torch
import xarray as xr
from distributed import Client, LocalCluster
from distributed.comm.tcp import TCP
from torch import nn

import xrxai
from benchmarks import page
from xrxai import road

BANDS, TASKS, WORKERS = 100, 16, 2
WAYS = {
    "argument": "a plain argument",
    "reference": "by reference",
    "shipped": "by reference, shipped to other folders",
}
HEAD = """\
## Models on a cluster

A network of {mib:.0f} MiB, explained (`saliency`) in {tasks} tasks on a LocalCluster of {workers}
processes with one thread each; the scheduler is in the client's process. Graph: the pickled graph.
Sent: what the client's process wrote to its sockets. Client, worker: peak resident memory over that
before. Private: what a worker keeps for itself; pages of a mapped file are shared by all processes.
Copies: weights that a worker holds at the end. Files are new, so hashing and writing them is in the
time. Made by `python -m benchmarks.travel`.

| model | graph, kB | sent, MB | client, MiB | worker, MiB | private, MiB | copies | seconds |
|---|---|---|---|---|---|---|---|
"""


class Argument:
    """A model that goes into the graph as it is."""

    def __init__(self, model: xrxai.Model) -> None:
        self.model = model
        self.weights_hash = model.weights_hash()

    def __dask_tokenize__(self) -> str:
        return self.weights_hash


def network(width: int) -> nn.Module:
    """Nearly all of its weights are in one layer."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(BANDS, width), nn.GELU(), nn.Linear(width, width), nn.Tanh())


def peak() -> int:
    """Peak resident bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def worker_state() -> dict[str, Any]:
    """Memory of a worker, and how often it holds the weights."""
    gc.collect()
    full = psutil.Process().memory_full_info()
    tensors = [t for t in gc.get_objects() if type(t) is nn.Parameter]
    largest = {t.data_ptr(): t.nbytes for t in tensors}
    return {"rss": full.rss, "uss": full.uss, "peak": peak(), "weights": sum(largest.values())}


def measure(way: str, width: int) -> dict[str, float]:
    """Explain a cube of 16 blocks on a cluster; bytes, memory and seconds."""
    warnings.simplefilter("ignore")
    net = network(width).eval()
    size = sum(p.nbytes for p in net.parameters())
    targets = [str(i) for i in range(width)]
    model = xrxai.Model(net, takes="spectrum", targets=targets)
    values = np.random.default_rng(0).random((BANDS, 1, TASKS), dtype=np.float32)
    nm = ("band", np.linspace(450, 950, BANDS), {"units": "nm"})
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm}).chunk(x=1)
    small = xrxai.Model(nn.Linear(BANDS, 2), takes="spectrum", targets=["a", "b"])
    sent = []
    own = TCP.write

    async def write(self: TCP, *args: Any, **options: Any) -> Any:
        sent.append(await own(self, *args, **options))
        return sent[-1]

    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        os.environ["XRXAI_MODEL_DIR"] = here
        env = {"XRXAI_MODEL_DIR": there if way == "shipped" else here}
        with (
            LocalCluster(
                n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0", env=env
            ) as cluster,
            Client(cluster) as client,
            mock.patch.object(TCP, "write", write),
        ):
            xrxai.ship(small)
            cube.xai.saliency(small).compute()  # all workers have imported torch
            before, rss = client.run(worker_state), psutil.Process().memory_info().rss
            sent.clear()
            start = time.perf_counter()
            if way == "shipped":
                xrxai.ship(model)
            reference = Argument if way == "argument" else road.travel.reference
            with mock.patch.object(road.travel, "reference", reference):
                why = cube.xai.saliency(model, target=["0", "1"])
            why.compute()
            seconds = time.perf_counter() - start
            moved, top = sum(sent), peak() - rss
            after = client.run(worker_state)
        graph = len(cloudpickle.dumps(why.attribution.data.dask))
    return {
        "model": size,
        "graph": graph,
        "sent": moved,
        "client": top,
        "worker": max(after[w]["peak"] - before[w]["rss"] for w in after),
        "private": max(after[w]["uss"] - before[w]["uss"] for w in after),
        "copies": max(after[w]["weights"] for w in after) / size,
        "seconds": seconds,
    }


def rows(width: int) -> dict[str, dict[str, float]]:
    """Measure every way in a process of its own."""
    out = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.travel", "--case", way, "--width", str(width)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        out[way] = json.loads(done.stdout.splitlines()[-1])
    return out


def text(table: dict[str, dict[str, float]]) -> str:
    """Markdown of the table, under its heading."""
    mib = table["reference"]["model"] / 2**20
    lines = [HEAD.format(mib=mib, tasks=TASKS, workers=WORKERS).rstrip()]
    for way, row in table.items():
        memory = " | ".join(f"{row[k] / 2**20:.0f}" for k in ("client", "worker", "private"))
        lines.append(
            f"| {WAYS[way]} | {row['graph'] / 1e3:.0f} | {row['sent'] / 1e6:.1f} | {memory} | "
            f"{row['copies']:.2f} | {row['seconds']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and put it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.travel", description=__doc__)
    parser.add_argument("--width", type=int, default=9530, help="its square is the size")
    parser.add_argument("--short", action="store_true", help="a small network: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--case", choices=WAYS, help="measure one way in this process, print JSON")
    given = parser.parse_args(arguments)
    width = 300 if given.short else given.width
    if given.case:
        print(json.dumps(measure(given.case, width)))
        return 0
    made = text(rows(width))
    print(made, end="")
    page.write("travel", made, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
