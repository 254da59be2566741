"""Who is asked: each module makes, of a workload, calls that can be timed.

A peer's module has ``prepare(work, problem, default) -> Plan``; with `default` it is asked with the
batch that it takes when nobody says anything, else with the best that was found for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.problems import Problem, Work


@dataclass(frozen=True)
class Plan:
    """Calls that together explain every target of a part of the samples."""

    calls: list[Callable[[], object]]
    samples: int = 1  # explained by them; the rest of the samples would cost the same each


def prepare(who: str, work: Work, asked: Problem) -> Plan:
    """Ask `who`: "xrxai", "xrxai-stem-off", or a peer, perhaps with "-default"."""
    name, _, how = who.partition("-")
    module = importlib.import_module(f"benchmarks.peers.by_{name}")
    plan: Plan = module.prepare(work, asked, how)
    return plan
