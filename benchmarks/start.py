"""What stands before the first explanation: the import, and what the first call takes longer.

``python -m benchmarks.start`` explains in this process, twice, and prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

from benchmarks import machine
from benchmarks.ask import ask
from benchmarks.page import table

IMPORT = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import xrxai
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
import sys
print(cpu, wall, "torch" in sys.modules)
"""
CASE = "A_lime_spectral"


def imported(repeats: int) -> dict[str, Any]:
    """Import in fresh processes, after one that leaves the files in the system's cache."""
    found = []
    for _ in range(repeats + 1):
        command = [sys.executable, "-c", IMPORT]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        cpu, wall, torch = done.stdout.split()
        found.append((float(cpu), float(wall), torch == "True"))
    kept = found[1:]
    return {
        "cpu": statistics.median(f[0] for f in kept),
        "wall": statistics.median(f[1] for f in kept),
        "torch": any(f[2] for f in kept),
        "repeats": len(kept),
    }


def calls(tiny: bool) -> dict[str, Any]:
    """Explain in this process again and again: torch and the model are there, nothing has run."""
    import torch  # noqa: F401

    from benchmarks.peers import prepare
    from benchmarks.problems import WORK, problem, small

    work = small(WORK[CASE]) if tiny else replace(WORK[CASE], n=100)
    call = prepare("xrxai", work, problem(work.model, work.groups, tiny)).calls[0]
    first, second = machine.taken(call), machine.taken(call)
    return {"first": first.cpu, "second": second.cpu, "foreign": second.foreign}


def rows(tiny: bool) -> dict[str, Any]:
    """Measure both."""
    once = [ask("benchmarks.start", *["--tiny"] * tiny) for _ in range(1 if tiny else 2)]
    failed = [row["error"] for row in once if "error" in row]
    if failed:
        raise RuntimeError(failed[0])
    found = {"import": imported(1 if tiny else 7), "calls": once}
    print(f"import xrxai {found['import']['cpu']:.2f} s", flush=True)
    return found


def text(found: dict[str, Any]) -> str:
    """Markdown of the table."""
    brought, once = found["import"], found["calls"]
    ratio = statistics.median(row["first"] / row["second"] for row in once)
    first, second = (statistics.median(row[key] for row in once) for key in ("first", "second"))
    loads = "loads torch" if brought["torch"] else "torch is not loaded"
    lines = [
        [
            f"`import xrxai` ({loads})",
            f"{brought['cpu']:.2f} s CPU, {brought['wall']:.2f} s wall",
            "0.6 s",
            f"{brought['repeats']} processes",
        ],
        [
            "first explanation over the second",
            f"{ratio:.2f} ({first:.1f} s over {second:.1f} s CPU)",
            "1.10",
            f"{len(once)} processes",
        ],
    ]
    return table(["", "median", "bar", "of"], lines)


def main(arguments: list[str] | None = None) -> int:
    """Print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    print(json.dumps(calls(given.tiny)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
