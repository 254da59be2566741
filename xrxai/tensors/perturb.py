"""Scores of perturbed samples: on/off patterns over features, in batches that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from xrxai.tensors.run import batches
from xrxai.tensors.score import Score

_MASK_VALUES = 4_000_000


def evaluate(score: Score, x: Tensor, baseline: Tensor, on: np.ndarray, part: Tensor) -> Tensor:
    """Score every sample under every pattern: see `sweep`. Returns (n, m, target)."""
    shape = (x.shape[0], on.shape[0], score.n_targets)
    out = torch.empty(shape, dtype=x.dtype, device=x.device)
    for i, s in sweep(score, x, baseline, on, part):
        out[i] = s
    return out


def sweep(
    score: Score, x: Tensor, baseline: Tensor, on: np.ndarray, part: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score some samples at a time under every pattern: positions i, scores (i, m, target).

    x (n, *f), baseline (n or 1, *f broadcastable), on (m, g) bool, part (1 or n, *f
    broadcastable) int: the group of a feature, counted from 1, 0 = always kept. What can be
    reduced over the patterns never needs the scores of all samples.
    """
    n, m = x.shape[0], on.shape[0]
    always = np.ones((m, 1), dtype=bool)
    table = torch.as_tensor(np.hstack([always, on]), device=x.device)
    batch = score.batch(x)
    for i in batches(n, batch // m, x.device):
        b = baseline[i] if baseline.shape[0] > 1 else baseline
        where = part[i] if part.shape[0] > 1 else part
        rows = []
        with torch.no_grad():
            for j in batches(m, batch // len(i), x.device):
                # (patterns, samples or 1, *f) -> samples first
                keep = table[j][:, where].transpose(0, 1)
                z = torch.where(keep, x[i].unsqueeze(1), b.unsqueeze(1))
                s = score(z.flatten(0, 1), i.repeat_interleave(len(j)))
                rows.append(s.view(len(i), len(j), -1))
        yield i, torch.cat(rows, dim=1)


def fade(
    score: Score, x: Tensor, baseline: Tensor, mask: Callable[[int], np.ndarray], m: int
) -> Tensor:
    """Score every sample under m soft masks (y, x), 1 = kept, 0 = baseline: (n, m, target)."""
    n = x.shape[0]
    start = baseline.expand_as(x)
    out = torch.empty((n, m, score.n_targets), dtype=x.dtype, device=x.device)
    batch = score.batch(x)
    for i in batches(n, batch // m, x.device):
        for j in batches(m, batch // len(i), x.device):
            share = torch.as_tensor(np.stack([mask(k) for k in j.tolist()])).to(x)
            way = share[None, :, None] * (x[i] - start[i]).unsqueeze(1)
            z = start[i].unsqueeze(1) + way
            with torch.no_grad():
                s = score(z.flatten(0, 1), i.repeat_interleave(len(j)))
            out[i[:, None], j] = s.view(len(i), len(j), -1)
    return out


def present(part: Tensor, n_groups: int) -> Tensor:
    """Which groups a sample has at all: (n or 1, g) bool."""
    flat = part.flatten(1)
    return torch.stack([(flat == g).any(1) for g in range(1, n_groups + 1)], dim=1)


def given(x: Tensor, known: Tensor, donor: np.ndarray) -> Tensor:
    """Values of the donors (n,), where they and the sample itself have data; else its own."""
    giver = torch.tensor(donor, device=x.device)
    return torch.where(known & known[giver], x[giver], x)


def occlude_bands(score: Score, x: Tensor, baseline: Tensor, inside: np.ndarray) -> Tensor:
    """Score every sample without each window of bands: inside (w, band) -> (n, w, target)."""
    rows = torch.as_tensor(inside, device=x.device)
    return _occlude(score, x, baseline, [(row,) for row in rows])


def occlude_boxes(score: Score, x: Tensor, baseline: Tensor, boxes: np.ndarray) -> Tensor:
    """Score every sample without each box (row start, stop, column start, stop): (n, w, target)."""
    return _occlude(
        score, x, baseline, [(slice(None), slice(a, b), slice(c, d)) for a, b, c, d in boxes]
    )


def occlude_blocks(
    score: Score, x: Tensor, baseline: Tensor, inside: np.ndarray, boxes: np.ndarray
) -> Tensor:
    """Score without each window of bands inside each box: (n, w * v, target), boxes fastest."""
    bands = [torch.as_tensor(np.flatnonzero(row), device=x.device) for row in inside]
    blocks: list[tuple[slice | Tensor, ...]] = [
        (band, slice(a, b), slice(c, d)) for band in bands for a, b, c, d in boxes
    ]
    return _occlude(score, x, baseline, blocks)


def _occlude(
    score: Score, x: Tensor, baseline: Tensor, windows: list[tuple[slice | Tensor, ...]]
) -> Tensor:
    n, m = x.shape[0], len(windows)
    b = baseline.expand_as(x)
    out = torch.empty((n, m, score.n_targets), dtype=x.dtype, device=x.device)
    batch = score.batch(x)
    with torch.no_grad():
        for i in batches(n, batch // m, x.device):
            for j in batches(m, batch // len(i), x.device):
                z = x[i].unsqueeze(1).repeat(1, len(j), *[1] * (x.ndim - 1))
                for row, w in enumerate(j.tolist()):
                    z[:, row][(slice(None), *windows[w])] = b[i][(slice(None), *windows[w])]
                s = score(z.flatten(0, 1), i.repeat_interleave(len(j)))
                out[i[:, None], j] = s.view(len(i), len(j), -1)
    return out


def mean_over_windows(effect: Tensor, inside: np.ndarray) -> Tensor:
    """Effects (n, target, w) -> mean over the windows that cover a band; NaN where none does."""
    cover = torch.as_tensor(inside, dtype=effect.dtype, device=effect.device)
    return (effect @ cover) / cover.sum(0)


def mean_over_boxes(effect: Tensor, boxes: np.ndarray, size: tuple[int, ...]) -> Tensor:
    """Effects (n, target, w) -> mean over the boxes that cover a pixel; NaN where none does."""
    total = effect.new_zeros((*effect.shape[:2], *size))
    count = effect.new_zeros(size)
    for w, (a, b, c, d) in enumerate(boxes):
        total[..., a:b, c:d] += effect[..., w, None, None]
        count[a:b, c:d] += 1
    return total / count


def mean_over_blocks(
    effect: Tensor, inside: np.ndarray, boxes: np.ndarray, size: tuple[int, ...]
) -> Tensor:
    """Effects (n, target, w * v) -> mean over the blocks that cover a value; else NaN."""
    cover = torch.as_tensor(inside, dtype=effect.dtype, device=effect.device)
    each = effect.unflatten(2, inside.shape[:1] + boxes.shape[:1]).transpose(2, 3) @ cover
    total = effect.new_zeros((*effect.shape[:2], inside.shape[1], *size))
    count = effect.new_zeros(size)
    for v, (a, b, c, d) in enumerate(boxes):
        total[..., a:b, c:d] += each[:, :, v, :, None, None]
        count[a:b, c:d] += 1
    return total / (cover.sum(0)[:, None, None] * count)


def mean_under_masks(
    scores: Tensor,
    mask: Callable[[int], np.ndarray],
    size: tuple[int, int],
    probability: float,
    centred: bool,
) -> tuple[Tensor, Tensor]:
    """Mean of score times mask over the probability, and its error: each (n, target, y, x).

    scores (n, m, target), float64; `centred` ones sum to zero, which costs a degree of freedom.
    """
    n, m, k = scores.shape
    total = scores.new_zeros((n, k, size[0] * size[1]))
    square = total.clone()
    for j in batches(m, max(1, _MASK_VALUES // (size[0] * size[1])), scores.device):
        share = torch.as_tensor(np.stack([mask(i) for i in j.tolist()])).to(scores).flatten(1)
        if centred:
            share = share - probability
        some = scores[:, j].transpose(1, 2)
        total += some @ share
        square += some**2 @ share**2
    mean = total / m
    variance = (square / m - mean**2).clamp(min=0) / (m - 1)
    freedom = (m - 1) / m if centred else 1.0
    value = mean / (freedom * probability)
    return value.unflatten(2, size), (variance.sqrt() / probability).unflatten(2, size)
