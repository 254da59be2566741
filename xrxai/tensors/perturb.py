"""Scores of perturbed samples: on/off patterns over features, in batches that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from xrxai import patterns
from xrxai.tensors.fill import Fill, fills, off_manifold, with_always
from xrxai.tensors.masked import Cut, Switched, Window, as_slice, spans
from xrxai.tensors.means import (
    mean_over_blocks,
    mean_over_boxes,
    mean_over_windows,
    mean_under_masks,
)
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score

__all__ = [
    "Fill",
    "each_band",
    "evaluate",
    "fade",
    "fills",
    "given",
    "mean_over_blocks",
    "mean_over_boxes",
    "mean_over_windows",
    "mean_under_masks",
    "occlude_bands",
    "occlude_blocks",
    "occlude_boxes",
    "off_manifold",
    "present",
    "sweep",
    "with_always",
]

_HELD = 2**20  # scores


def evaluate(
    score: Score, x: Tensor, baseline: Tensor | Fill, on: np.ndarray, part: Tensor
) -> Tensor:
    """Score every sample under every pattern: (n, m, target).

    x (n, *f), baseline (n or 1, *f broadcastable) or a `Fill`; on and part as in `Switched`.
    Patterns that are equal are evaluated once.
    """
    some, back = patterns.distinct(on)
    out = _scored(score, x, _switched(x, baseline, some, part), slice(0, len(x)))
    return out if len(some) == len(on) else out[:, torch.as_tensor(back, device=x.device)]


def sweep(
    score: Score, x: Tensor, baseline: Tensor | Fill, on: np.ndarray, part: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score some samples at a time under every pattern: positions i, scores (i, m, target).

    What can be reduced over the patterns never needs the scores of all samples.
    """
    some, back = patterns.distinct(on)
    made, again = _switched(x, baseline, some, part), torch.as_tensor(back, device=x.device)
    # As many as fill whole batches of the model.
    full = max(1, score.batch(x) // len(some))
    held = max(1, _HELD // (len(on) * score.n_targets) // full) * full
    for i in batches(len(x), held, x.device):
        out = _scored(score, x, made, slice(int(i[0]), int(i[-1]) + 1))
        yield i, out if len(some) == len(on) else out[:, again]


def _switched(x: Tensor, baseline: Tensor | Fill, on: np.ndarray, part: Tensor) -> Switched:
    fill = baseline if isinstance(baseline, Fill) else Fill(baseline)
    return Switched(x, fill, on, part)


def present(part: Tensor, n_groups: int) -> Tensor:
    """Which groups a sample has at all: (n or 1, g) bool."""
    flat = part.flatten(1)
    return torch.stack([(flat == g).any(1) for g in range(1, n_groups + 1)], dim=1)


def occlude_bands(score: Score, x: Tensor, baseline: Tensor | Fill, inside: np.ndarray) -> Tensor:
    """Score every sample without each window of bands: inside (w, band) -> (n, w, target)."""
    if isinstance(baseline, Fill):
        if baseline.rule is not None:
            return evaluate(score, x, baseline, ~inside, each_band(x))
        baseline = baseline.baseline
    return _occlude(score, x, baseline, [(as_slice(row, x),) for row in inside])


def each_band(x: Tensor) -> Tensor:
    """Every band as a group of its own, as a part for `evaluate`."""
    return torch.arange(1, x.shape[1] + 1, device=x.device).view(1, -1, *[1] * (x.ndim - 2))


def occlude_boxes(score: Score, x: Tensor, baseline: Tensor, boxes: np.ndarray) -> Tensor:
    """Score every sample without each box (row start, stop, column start, stop): (n, w, target)."""
    every = slice(None)
    return _occlude(
        score, x, baseline, [(every, slice(a, b), slice(c, d)) for a, b, c, d in boxes.tolist()]
    )


def occlude_blocks(
    score: Score, x: Tensor, baseline: Tensor, inside: np.ndarray, boxes: np.ndarray
) -> Tensor:
    """Score without each window of bands inside each box: (n, w * v, target), boxes fastest."""
    blocks: list[Window] = [
        (bands, slice(a, b), slice(c, d))
        for bands in [as_slice(row, x) for row in inside]
        for a, b, c, d in boxes.tolist()
    ]
    return _occlude(score, x, baseline, blocks)


def _occlude(score: Score, x: Tensor, baseline: Tensor, windows: list[Window]) -> Tensor:
    shared = score.runner.model.arrays == "numpy"
    return _scored(score, x, Cut(x, baseline, windows, shared), slice(0, len(x)))


def _scored(score: Score, x: Tensor, made: Switched | Cut, samples: slice) -> Tensor:
    """Scores (i, m, target) of some samples under all patterns."""
    n, m = samples.stop - samples.start, made.n_patterns
    out = torch.empty((n, m, score.n_targets), dtype=score.dtype, device=x.device)
    batch = score.batch(x)
    # One buffer: the pages of large temporaries cost up to 40 % of a network's time.
    room = x.new_empty((min(n * m, batch), *x.shape[1:]))
    with torch.no_grad():
        for rows, j in spans(n, m, batch, made):
            i = slice(samples.start + rows.start, samples.start + rows.stop)
            shape = (i.stop - i.start, j.stop - j.start)
            z = room[: shape[0] * shape[1]]
            block = z.view(*shape, *x.shape[1:])
            made.write(block, i, j)
            s = score(z, _descent(i, shape[1], x.device))
            out[rows, j] = s.view(*shape, -1)
            made.restore(block, i, j)
    return out


def _descent(i: slice, times: int, device: torch.device) -> Tensor:
    """Which sample each row of a batch is made of."""
    return torch.arange(i.start, i.stop, device=device).repeat_interleave(times)


def fade(
    score: Score, x: Tensor, baseline: Tensor, mask: Callable[[int], np.ndarray], m: int
) -> Tensor:
    """Score every sample under m soft masks (y, x), 1 = kept, 0 = baseline: (n, m, target)."""
    n = x.shape[0]
    start = baseline.expand_as(x)
    out = torch.empty((n, m, score.n_targets), dtype=score.dtype, device=x.device)
    batch = score.batch(x)
    room = x.new_empty((min(n * m, batch), *x.shape[1:]))
    with torch.no_grad():
        for i in batches(n, batch // m, x.device):
            rows = slice(int(i[0]), int(i[-1]) + 1)
            way = (x[rows] - start[rows]).unsqueeze(1)
            for j in batches(m, batch // len(i), x.device):
                share = torch.as_tensor(np.stack([mask(k) for k in j.tolist()])).to(x)
                z = room[: len(i) * len(j)]
                block = z.view(len(i), len(j), *x.shape[1:])
                torch.mul(share[None, :, None], way, out=block).add_(start[rows].unsqueeze(1))
                s = score(z, i.repeat_interleave(len(j)))
                out[rows, int(j[0]) : int(j[-1]) + 1] = s.view(len(i), len(j), -1)
    return out


def given(x: Tensor, known: Tensor, donor: np.ndarray) -> Tensor:
    """Values of the donors (n,), where they and the sample itself have data; else its own."""
    giver = torch.tensor(donor, device=x.device)
    return torch.where(known & known[giver], x[giver], x)
