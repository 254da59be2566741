"""Effects of windows and masks -> means over those that cover a place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from xrxai.tensors.run import batches

_MASK_VALUES = 4_000_000


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
