"""Scores of perturbed samples: on/off patterns over features, in batches that fit."""

from __future__ import annotations

import torch
from torch import Tensor

from xrxai.tensors.score import Score


def evaluate(score: Score, x: Tensor, baseline: Tensor, on: Tensor, part: Tensor) -> Tensor:
    """Score every sample under every pattern.

    x (n, *f), baseline (n or 1, *f broadcastable), on (m, g) bool, part (1 or n, *f
    broadcastable) int: the group of a feature, counted from 1, 0 = always kept.
    Returns (n, m, target).
    """
    n, m = x.shape[0], on.shape[0]
    always = torch.ones((m, 1), dtype=torch.bool, device=x.device)
    table = torch.cat([always, on.to(x.device)], dim=1)
    out = torch.empty((n, m, score.n_targets), dtype=x.dtype, device=x.device)
    batch = score.batch(x)
    rows = max(1, batch // m)
    with torch.inference_mode():
        for i in torch.arange(n, device=x.device).split(rows):
            b = baseline[i] if baseline.shape[0] > 1 else baseline
            where = part[i] if part.shape[0] > 1 else part
            for j in torch.arange(m, device=x.device).split(max(1, batch // len(i))):
                # (patterns, samples or 1, *f) -> samples first
                keep = table[j][:, where].transpose(0, 1)
                z = torch.where(keep, x[i].unsqueeze(1), b.unsqueeze(1))
                s = score(z.flatten(0, 1), i.repeat_interleave(len(j)))
                out[i[:, None], j] = s.view(len(i), len(j), -1)
    return out


def occlude(score: Score, x: Tensor, baseline: Tensor, windows: list[tuple[slice, ...]]) -> Tensor:
    """Score every sample with each window of features set to the baseline: (n, w, target)."""
    n, m = x.shape[0], len(windows)
    b = baseline.expand_as(x)
    out = torch.empty((n, m, score.n_targets), dtype=x.dtype, device=x.device)
    batch = score.batch(x)
    rows = max(1, batch // m)
    with torch.inference_mode():
        for i in torch.arange(n, device=x.device).split(rows):
            for j in torch.arange(m).split(max(1, batch // len(i))):
                z = x[i].unsqueeze(1).repeat(1, len(j), *[1] * (x.ndim - 1))
                for row, w in enumerate(j.tolist()):
                    z[(slice(None), row, *windows[w])] = b[(i, *windows[w])]
                s = score(z.flatten(0, 1), i.repeat_interleave(len(j)))
                out[i[:, None], j.to(x.device)] = s.view(len(i), len(j), -1)
    return out
