"""Coarse windows first, and small ones where the coarse ones matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, rows_of


def effects(
    score: Score,
    x: Tensor,
    baseline: Tensor,
    prediction: Tensor,
    levels: Sequence[tuple[np.ndarray, np.ndarray]],
    share: float,
) -> Tensor:
    """Effects of the windows of all levels (n, target, w), NaN where a sample was not asked.

    levels: boxes (w, 4) as `occlude_boxes` takes them, and of which box of the level before each
    is a part (w,). The parts of a box are asked where it is one of those that make up `share`
    of a target's absolute effects on its level.
    """
    chosen = torch.ones((len(x), 1), dtype=torch.bool, device=x.device)
    found = []
    for boxes, parent in levels:
        asked = chosen[:, torch.as_tensor(parent, device=x.device)]
        effect = prediction.new_full((len(x), score.n_targets, len(boxes)), torch.nan)
        rows, which = asked.nonzero(as_tuple=True)
        with torch.no_grad():
            for j in batches(len(rows), score.batch(x), x.device):
                i, w = rows[j], which[j]
                z = x[i]
                for one, own, (a, b, c, d) in zip(
                    z, rows_of(baseline, i).expand_as(z), boxes[w.cpu().numpy()], strict=True
                ):
                    one[:, a:b, c:d] = own[:, a:b, c:d]
                effect[i, :, w] = prediction[i] - score(z, i)
        found.append(effect)
        chosen = matter(effect, share)
    return torch.cat(found, dim=2)


def matter(effect: Tensor, share: float) -> Tensor:
    """Which windows make up a share of the absolute effects of any target: (n, w) bool."""
    size = effect.abs().nan_to_num()
    ordered, place = size.sort(dim=2, descending=True, stable=True)
    before = ordered.cumsum(2) - ordered
    needed = (before < share * size.sum(2, keepdim=True)) & (ordered > 0)
    return torch.zeros_like(needed).scatter(2, place, needed).any(1)


def finest(effect: Tensor, boxes: np.ndarray, size: tuple[int, ...]) -> Tensor:
    """Effect of the last box that was asked at each pixel, the smallest: (n, target, y, x)."""
    out = effect.new_full((*effect.shape[:2], *size), torch.nan)
    for w, (a, b, c, d) in enumerate(boxes):
        own = effect[..., w, None, None]
        out[..., a:b, c:d] = torch.where(own.isnan(), out[..., a:b, c:d], own)
    return out
