"""The floor: what the bare network takes per sample, at its best batch, in this process."""

from __future__ import annotations

import copy
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import machine


@dataclass
class Floor:
    """Seconds per sample at the batch that takes the fewest processor seconds."""

    cpu: float
    wall: float
    batch: int


def run(net: nn.Module, x: Tensor, backward: int) -> None:
    """Run it forward, and backward once for each of so many targets."""
    if not backward:
        with torch.inference_mode():
            net(x)
        return
    x = x.detach().requires_grad_(True)
    sums = net(x).sum(0)
    for k in range(backward):
        torch.autograd.grad(sums[k], x, retain_graph=k + 1 < backward)


def floor(net: nn.Module, sample: Tensor, backward: int, seconds: float = 1.0) -> Floor:
    """Search the best batch, and time it anew: what won the search was lucky, too.

    Parameters are frozen, which makes the way back cheaper.
    """
    bare = copy.deepcopy(net).requires_grad_(False)
    run(bare, sample, backward)
    best = Floor(float("inf"), float("inf"), 0)
    batch, worse = 1, 0
    while worse < 2 and batch * sample.nbytes <= 2**28:
        found = _timed(bare, sample, backward, batch, seconds)
        best, worse = (found, 0) if found.cpu < best.cpu else (best, worse + 1)
        batch *= 2
    return _timed(bare, sample, backward, best.batch, 4 * seconds)


def _timed(bare: nn.Module, sample: Tensor, backward: int, batch: int, seconds: float) -> Floor:
    """Medians of as many runs as the processor seconds allow."""
    x = sample.repeat(batch, *[1] * (sample.ndim - 1))
    spent = [machine.taken(lambda: run(bare, x, backward))]
    while sum(s.cpu for s in spent) < seconds and len(spent) < 200:
        spent.append(machine.taken(lambda: run(bare, x, backward)))
    cpu, wall = (statistics.median(getattr(s, k) for s in spent) / batch for k in ("cpu", "wall"))
    return Floor(cpu, wall, batch)
