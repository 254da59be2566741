"""The machine: what it is in words, how much of it others used, and what this process took."""

from __future__ import annotations

import datetime
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def about(*packages: str) -> dict[str, Any]:
    """Say what the machine is, without its name."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": found,
    }


def today() -> str:
    """Give the date."""
    return datetime.date.today().isoformat()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def peak() -> float:
    """Peak resident memory of this process in MiB."""
    try:
        # Not getrusage: a process is born with the peak of the one that started it.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except OSError:
        pass
    import resource

    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def busy() -> float:
    """Processor seconds that all cores have worked since the start; NaN where nobody tells."""
    try:
        ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return float("nan")
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK")


@dataclass
class Spent:
    """What something took."""

    cpu: float = 0.0
    wall: float = 0.0
    foreign: float = float("nan")  # share of all cores that others used meanwhile


@contextmanager
def watched() -> Iterator[Spent]:
    """Measure what is done inside."""
    spent = Spent()
    others, cpu, wall = busy(), time.process_time(), time.perf_counter()
    yield spent
    spent.cpu, spent.wall = time.process_time() - cpu, time.perf_counter() - wall
    theirs = busy() - others - spent.cpu
    if theirs == theirs:  # in steps of 10 ms, so what is short may seem to have had more than all
        share = theirs / (spent.wall * (os.cpu_count() or 1))
        spent.foreign = min(1.0, max(0.0, share))


def taken(call: Callable[[], object]) -> Spent:
    """Measure a call."""
    with watched() as spent:
        call()
    return spent
