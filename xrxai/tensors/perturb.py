"""Scores of perturbed samples: on/off patterns over features, in batches that fit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrxai.tensors.run import batches
from xrxai.tensors.score import Score


def evaluate(score: Score, x: Tensor, baseline: Tensor, on: np.ndarray, part: Tensor) -> Tensor:
    """Score every sample under every pattern.

    x (n, *f), baseline (n or 1, *f broadcastable), on (m, g) bool, part (1 or n, *f
    broadcastable) int: the group of a feature, counted from 1, 0 = always kept.
    Returns (n, m, target).
    """
    n, m = x.shape[0], on.shape[0]
    always = np.ones((m, 1), dtype=bool)
    table = torch.as_tensor(np.hstack([always, on]), device=x.device)
    out = torch.empty((n, m, score.n_targets), dtype=x.dtype, device=x.device)
    batch = score.batch(x)
    with torch.no_grad():
        for i in batches(n, batch // m, x.device):
            b = baseline[i] if baseline.shape[0] > 1 else baseline
            where = part[i] if part.shape[0] > 1 else part
            for j in batches(m, batch // len(i), x.device):
                # (patterns, samples or 1, *f) -> samples first
                keep = table[j][:, where].transpose(0, 1)
                z = torch.where(keep, x[i].unsqueeze(1), b.unsqueeze(1))
                s = score(z.flatten(0, 1), i.repeat_interleave(len(j)))
                out[i[:, None], j] = s.view(len(i), len(j), -1)
    return out


def present(part: Tensor, n_groups: int) -> Tensor:
    """Which groups a sample has at all: (n or 1, g) bool."""
    flat = part.flatten(1)
    return torch.stack([(flat == g).any(1) for g in range(1, n_groups + 1)], dim=1)


def occlude_bands(score: Score, x: Tensor, baseline: Tensor, inside: np.ndarray) -> Tensor:
    """Score every sample without each window of bands: inside (w, band) -> (n, w, target)."""
    rows = torch.as_tensor(inside, device=x.device)
    return _occlude(score, x, baseline, [(row,) for row in rows])


def occlude_boxes(score: Score, x: Tensor, baseline: Tensor, boxes: np.ndarray) -> Tensor:
    """Score every sample without each box (row start, stop, column start, stop): (n, w, target)."""
    return _occlude(
        score, x, baseline, [(slice(None), slice(a, b), slice(c, d)) for a, b, c, d in boxes]
    )


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
