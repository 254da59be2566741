"""Patch embeddings as convolutions and as products: ``python -m benchmarks.patches``.

Processor milliseconds a sample on one core, forward and back to the input, side by side. The table
goes into docs/performance.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.page import table, write
from xrxai.tensors.device import keep_pages
from xrxai.tensors.patches import product

# Bands, channels, side of a patch, side of the image.
LAYERS = ((3, 384, 16, 224), (13, 384, 16, 224), (150, 384, 16, 224), (285, 768, 16, 224))
TINY = ((3, 4, 8, 16),)
TITLE = """\
## Patch embeddings

Processor milliseconds a sample of the layer alone, one at a time on one core, as the library's
convolution and as a product of matrices; back is the gradient with respect to the input. Medians of
{repeats}, side by side. Made by `python -m benchmarks.patches`.

"""
HEAD = ["bands, channels, patch", "convolution", "product", "ratio"]
HEAD += ["convolution, back", "product, back", "ratio"]


def taken(call: Callable[[], object], other: Callable[[], object], repeats: int) -> list[float]:
    """Median milliseconds of two calls that take turns."""
    spent: tuple[list[float], list[float]] = ([], [])
    for each in (call, other):
        each()
    for _ in range(repeats):
        for each, into in zip((call, other), spent, strict=True):
            into.append(1e3 * machine.taken(each).cpu)
    return [statistics.median(s) for s in spent]


def row(layer: tuple[int, int, int, int], repeats: int) -> list[str]:
    """Measure one layer."""
    bands, channels, patch, side = layer
    convolution = nn.Conv2d(bands, channels, patch, patch).requires_grad_(False)
    weight, bias = convolution.weight, convolution.bias
    x = torch.rand(1, bands, side, side)
    tied = x.clone().requires_grad_(True)
    answers = [convolution(tied), product(tied, weight, bias)]
    slope = torch.rand_like(answers[0])

    def back(answer: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(answer, tied, slope, retain_graph=True)

    with torch.no_grad():
        there = taken(lambda: convolution(x), lambda: product(x, weight, bias), repeats)
    again = taken(back(answers[0]), back(answers[1]), repeats)
    cells = [f"{bands}, {channels}, {patch} x {patch}"]
    for one, two in (there, again):
        cells += [f"{one:.1f}", f"{two:.1f}", f"{one / two:.1f}" if two else ""]
    return cells


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.patches", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="once, small: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_pages()
    repeats = 1 if given.tiny else 9
    rows = [row(layer, repeats) for layer in (TINY if given.tiny else LAYERS)]
    block = TITLE.format(repeats=repeats) + table(HEAD, rows)
    print(block)
    write("patches", block, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
