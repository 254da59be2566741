"""One workload, by one of those who can do it, in this process: prints JSON.

``python -m benchmarks.case A_lime_spectral --who captum``. The explanation comes first, so that the
peak of memory is its own; then the floor is measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from benchmarks import machine
from benchmarks.floor import floor
from benchmarks.peers import Plan, prepare
from benchmarks.problems import WORK, Problem, problem, small

SECONDS = 12.0  # a plan is repeated until it took so many, one of ours for twice as long
REPEATS = 5


class Counted:
    """Samples that passed the last layer of the network, and for how many a gradient was kept."""

    def __init__(self) -> None:
        self.forward = self.backward = 0

    def see(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Count what a layer gave."""
        if getattr(module, "counted", False):
            kept = "backward" if output.requires_grad else "forward"
            setattr(self, kept, getattr(self, kept) + len(output))


@contextmanager
def counting() -> Iterator[Counted]:
    """Count without a hook on the network, which would be seen by who explains it."""
    counted = Counted()
    handle = nn.modules.module.register_module_forward_hook(counted.see)
    try:
        yield counted
    finally:
        handle.remove()


def measure(name: str, who: str, tiny: bool, n: int, bare: bool) -> dict[str, Any]:
    """Explain, count, and compare with the floor."""
    work = small(WORK[name]) if tiny else WORK[name]
    work = replace(work, n=n or work.n)
    asked = problem(work.model, work.groups, tiny)
    if not tiny:
        # Small first, for everybody: what is imported at the first call is measured by `start`.
        prepare(who, small(work), problem(work.model, small(work).groups, tiny=True)).calls[0]()
    plan = prepare(who, work, asked)
    loaded = machine.peak()
    seconds = 0.0 if bare or tiny else SECONDS * (2 if who.startswith("xrxai") else 1)
    found = {**spent(plan, seconds), "n": work.n, "case": name, "who": who}
    factor = asked.count / plan.samples
    for key in ("cpu", "wall", "forward", "backward"):
        found[key] *= factor
    found |= {
        "targets": len(asked.targets),
        "samples": asked.count,
        "explained": plan.samples,
        "loaded_mib": loaded,
    }
    if not bare:
        found |= floors(asked, found, len(asked.targets) if who.startswith("xrxai") else 1, tiny)
    return found


def spent(plan: Plan, seconds: float) -> dict[str, Any]:
    """Run each call once, as far as the seconds reach, and all again while there are some left."""
    times: list[list[machine.Spent]] = [[] for _ in plan.calls]
    used = 0.0
    with counting() as counted, machine.watched() as whole:
        for call, its in zip(plan.calls, times, strict=True):
            if its is times[0] or used < seconds:
                its.append(machine.taken(call))
                used += its[-1].cpu
        peak = machine.peak()
    asked = [its for its in times if its]
    share = len(plan.calls) / len(asked)
    while used * (1 + 1 / len(asked[0])) < seconds and len(asked[0]) < REPEATS:
        for call, its in zip(plan.calls, asked, strict=False):
            its.append(machine.taken(call))
            used += its[-1].cpu
    return {
        "cpu": share * sum(statistics.median(s.cpu for s in its) for its in asked),
        "wall": share * sum(statistics.median(s.wall for s in its) for its in asked),
        "repeats": len(asked[0]),
        "calls": len(plan.calls),
        "calls_measured": len(asked),
        "forward": share * counted.forward,
        "backward": share * counted.backward,
        "foreign": statistics.median([whole.foreign, *(s.foreign for its in asked for s in its)]),
        "peak_mib": peak,
    }


def floors(asked: Problem, found: dict[str, Any], backward: int, tiny: bool) -> dict[str, Any]:
    """What as many evaluations take by the bare network."""
    seconds = 0.02 if tiny else 1.0
    out: dict[str, Any] = {"floor_cpu": 0.0, "floor_wall": 0.0}
    for kind, targets in (("forward", 0), ("backward", backward)):
        if found[kind]:
            each = floor(asked.scores, asked.sample, targets, seconds)
            out[f"floor_{kind}"] = asdict(each)
            out["floor_cpu"] += found[kind] * each.cpu
            out["floor_wall"] += found[kind] * each.wall
    return out


def main(arguments: list[str] | None = None) -> int:
    """Print what was measured as one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.case", description=__doc__)
    parser.add_argument("case", choices=WORK)
    parser.add_argument("--who", default="xrxai")
    parser.add_argument("--n", type=int, default=0, help="samples, steps or draws")
    parser.add_argument("--bare", action="store_true", help="once, for its memory; no floor")
    parser.add_argument("--tiny", action="store_true", help="once, small: does it run at all?")
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    print(json.dumps(measure(given.case, given.who, given.tiny, given.n, given.bare)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
