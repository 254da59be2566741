"""Kill a run again and again, and see what is lost: ``python -m benchmarks.resume``.

A process writes a lazy explanation with to_zarr and is killed (SIGKILL) at a random moment; the
next one goes on. After the last kill the run is left to end, and its store is compared, file by
file, with that of a run that nobody killed. Every call of the model is counted in a file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import torch
import xarray as xr

import xrxai

BANDS, THREADS = 6, 2


class Counting(torch.nn.Module):
    """A small network on spectra that takes its time and leaves a byte in a file per call."""

    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(BANDS, 8), torch.nn.Tanh())
        self.head = torch.nn.Linear(8, 2)
        self.log, self.seconds = str(log), seconds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of spectra (n, band)."""
        if x.shape[0]:
            with open(self.log, "ab") as file:
                file.write(b".")
            time.sleep(self.seconds)
        return self.head(self.net(x))


def explanation(log: Path, side: int, seconds: float) -> xr.Dataset:
    """Explain a cube of side x side tiles, the last of them smaller, later."""
    n = 4 * side - 1
    values = np.random.default_rng(0).random((BANDS, n, n), dtype=np.float32)
    values[:, :2, :2] = np.nan
    nm = ("band", np.linspace(450, 950, BANDS), {"units": "nm"})
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})
    model = xrxai.Model(Counting(log, seconds), takes="spectrum", targets=["K", "P"])
    return cube.chunk(y=4, x=4).xai.saliency(model)


def write(log: Path, store: Path, side: int, seconds: float) -> None:
    """Write the explanation: what is killed."""
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        explanation(log, side, seconds).xai.to_zarr(store, progress=False)


def processes() -> Any:
    """Processes that need not import everything at each start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "xrxai.io.tasks", "xrxai.tensors", "zarr"])
    return context


def killed(job: tuple[Any, ...], when: Callable[[], bool], delay: float) -> bool:
    """Start the job, kill it `delay` seconds after `when` is true; False if it ended before."""
    process = processes().Process(target=write, args=job)
    process.start()
    assert process.pid is not None
    while process.is_alive() and not when():
        time.sleep(0.001)
    process.join(delay)
    if not process.is_alive():
        if process.exitcode:
            raise RuntimeError(f"the job ended with {process.exitcode}")
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return True


def calls(log: Path) -> int:
    """Count the calls of the model."""
    return log.stat().st_size if log.exists() else 0


def files(store: Path) -> dict[str, bytes]:
    """Give all files of a store but those that hold the stamp of its creation."""
    found = {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    return {n: b for n, b in found.items() if n not in ("zarr.json", "xrxai_tiles/zarr.json")}


def kill_and_resume(
    folder: Path, kills: int, side: int, seconds: float, seed: int = 0
) -> dict[str, Any]:
    """Kill at random moments, resume, compare: calls of the model, and whether the bits agree."""
    rng = np.random.default_rng(seed)
    once, again = folder / "once.log", folder / "again.log"
    write(once, folder / "once.zarr", side, seconds)
    job = (again, folder / "again.zarr", side, seconds)
    done = 0
    for i in range(kills):
        left = calls(once) - calls(again)
        upto = calls(again) + int(rng.integers(0, max(1, 2 * left // (kills - i))))
        done += killed(job, lambda n=upto: calls(again) >= n, rng.uniform(0, 2 * seconds))
    before = calls(again)
    write(*job)
    return {
        "kills": done,
        "tiles": side**2,
        "calls": calls(once),
        "calls with kills": calls(again),
        "calls of the last run": calls(again) - before,
        "same bits": files(folder / "once.zarr") == files(folder / "again.zarr"),
        "left behind": sorted(p.name for p in folder.iterdir() if p.name.startswith(".")),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--side", type=int, default=16, help="tiles along y and along x")
    parser.add_argument("--seconds", type=float, default=0.02, help="of a call of the model")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        row = kill_and_resume(Path(folder), given.kills, given.side, given.seconds, given.seed)
    print("|" + "|".join(f" {key} " for key in row) + "|")
    print("|" + "---|" * len(row))
    print("|" + "|".join(f" {value} " for value in row.values()) + "|")
    lost = row["calls with kills"] - row["calls"]
    print(f"{lost} calls made twice, at most {THREADS} x {row['kills']} tiles were in flight")
    return 0


if __name__ == "__main__":
    # As a module with a name: a model of `__main__` is hashed by the text of its class.
    from benchmarks import resume

    sys.exit(resume.main())
