"""What the scheduler takes for many tiles, without the model: ``python -m benchmarks.scale``.

Client and scheduler of dask.distributed are the real ones and run what to_zarr would run; the
workers are simulated: they say at once that a task is done. What is left is what client and
scheduler take per tile, which bounds a cluster of any size. Each number of tiles runs in a process
of its own. The table goes into docs/scale.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import dask
from distributed import Client, LocalCluster, Worker

from benchmarks import page, scene
from xrxai.io import record, tasks
from xrxai.io.layout import lay_out
from xrxai.io.write import prepared

TILES = (1_000, 10_000, 100_000)
PART = tasks.BATCH
WORKERS = 8
ANSWER = pickle.dumps(bytes)
HEAD = """\
### What a tile costs the scheduler

`saliency` of a convolutional network (halo {halo}) on scenes of so many tiles, with graphs as
`to_zarr` makes them, {batch} tiles at a time; of larger scenes one such batch is run, and more
would be the same again. Client and scheduler are real and share one process, and there they share
one core with {workers} simulated workers, which say at once that a task is done: no pixel is read,
no model runs, nothing is written or moved. Times are processor times of that process. Build: the
lazy explanation. Graph: the client's time to make and optimise the graphs. Time: from the first
graph to the last tile, which contains that of the graphs. kB: the pickled graph. MiB: peak of
resident memory over that before the scene is opened. Made by `python -m benchmarks.scale`.

| scene | run | tasks | build, s | graph, ms/tile | time, s | ms/tile | ms/task | kB/tile | MiB |
|---|---|---|---|---|---|---|---|---|---|
"""


class Simulated(Worker):
    """A worker that says at once that a task is done, and does none."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        silent = dict.fromkeys(self.stream_handlers, lambda **_: None)
        self.stream_handlers = {**silent, "compute-task": self.answer}

    def answer(self, *, key: Any, run_id: int, stimulus_id: str, **_: Any) -> None:
        """Say that the task is done."""
        now = time.time()
        self.batched_send(
            {
                "op": "task-finished",
                "status": "OK",
                "key": key,
                "run_id": run_id,
                "nbytes": 1000,
                "type": ANSWER,
                "typename": "bytes",
                "metadata": {},
                "thread": None,
                "startstops": [{"action": "compute", "start": now, "stop": now + 1e-3}],
                "stimulus_id": stimulus_id,
            }
        )


def measure(tiles: int, side: int, part: int) -> dict[str, float]:
    """Run a part of a square of that many tiles, in this process."""
    warnings.simplefilter("ignore")
    n = math.isqrt(tiles)
    net = scene.model()
    net.receptive_field(n_bands=scene.BANDS)
    counted: dict[str, float] = {"tasks": 0, "graph": 0.0, "sent": 0.0}
    own = tasks.graph_of

    def graph_of(*given: Any) -> Any:
        began = time.process_time()
        graph, keys = own(*given)
        counted["graph"] += time.process_time() - began
        counted["tasks"] += len(graph)
        if not counted["sent"]:  # the first batch stands for all
            counted["sent"] = len(pickle.dumps(graph)) / len(keys)
        return graph, keys

    quiet = {
        "distributed.scheduler.work-stealing": False,
        "distributed.scheduler.active-memory-manager.start": False,
    }
    options = {"n_workers": WORKERS, "threads_per_worker": 1, "memory_limit": 0}
    with (
        dask.config.set(quiet, scheduler="distributed"),
        LocalCluster(
            processes=False, worker_class=Simulated, dashboard_address=":0", **options
        ) as cluster,
        Client(cluster),
    ):
        floor = scene.resident()
        began = time.process_time()
        why = scene.scene(n, n, side).xai.saliency(net, target="cloud")
        build = time.process_time() - began
        layout, cut = lay_out(prepared(why))
        about = record.Record(Path("none.zarr"), "stamp", {}, layout, False)
        done = []
        began = time.process_time()
        with mock.patch.object(tasks, "graph_of", graph_of):
            first = itertools.islice(layout.positions(), part or None)
            tasks.write_tiles(about, cut, first, lambda: done.append(1))
        seconds = time.process_time() - began
        peak = scene.resident() - floor
    if len(done) != min(part or n * n, n * n):
        raise RuntimeError(f"{len(done)} of {part or n * n} tiles came back")
    return {
        "scene": n * n,
        "tiles": len(done),
        "tasks": counted["tasks"],
        "build": build,
        "graph": counted["graph"],
        "run": seconds,
        "sent": counted["sent"],
        "peak": peak,
        "halo": int(why.attrs["halo"]),
        "batch": tasks.BATCH,
    }


def rows(sizes: tuple[int, ...], side: int, part: int) -> list[dict[str, Any]]:
    """Measure every size in a process of its own."""
    out = []
    for tiles in sizes:
        command = [sys.executable, "-m", "benchmarks.scale", "--one", str(tiles)]
        command += ["--side", str(side), "--part", str(part)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        out.append(json.loads(done.stdout.splitlines()[-1]))
    return out


def text(table: list[dict[str, Any]]) -> str:
    """Markdown of the table, under its heading."""
    head = HEAD.format(halo=table[0]["halo"], batch=table[0]["batch"], workers=WORKERS)
    lines = [head.rstrip()]
    for row in table:
        tiles, count = row["tiles"], row["tasks"]
        graph, each, task = (
            1e3 * seconds / n
            for seconds, n in ((row["graph"], tiles), (row["run"], tiles), (row["run"], count))
        )
        lines.append(
            f"| {row['scene']} | {tiles} | {count} | {row['build']:.1f} | {graph:.1f} | "
            f"{row['run']:.0f} | {each:.1f} | {task:.2f} | {row['sent'] / 1e3:.1f} | "
            f"{row['peak']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and put it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--tiles", type=int, help="this many instead of 10^3, 10^4 and 10^5")
    parser.add_argument("--part", type=int, default=PART, help="run the first of them; 0 = all")
    parser.add_argument("--side", type=int, default=16, help="pixels of a tile")
    parser.add_argument("--short", action="store_true", help="16 tiles: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("docs/scale.md"))
    parser.add_argument("--one", type=int, help="measure so many tiles in this process, print JSON")
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.one, given.side, given.part)))
        return 0
    sizes = (16,) if given.short else TILES if given.tiles is None else (given.tiles,)
    made = text(rows(sizes, given.side, given.part))
    print(made, end="")
    page.write("scale", made, given.out, title="Clusters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
