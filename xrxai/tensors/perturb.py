"""Scores of perturbed samples: on/off patterns over features, in batches that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrxai.imputation import Gaussian, Rule
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, rows_of

_MAP_VALUES = 2**20
_PIXELS = 4096
_MASK_VALUES = 4_000_000


@dataclass(frozen=True, eq=False)
class Fill:
    """What stands in for removed features: a baseline, or what `rule` makes of kept bands.

    baseline (n or 1, *f broadcastable), keep (n or 1, 1[, y, x]) bool: the pixels with data.
    """

    baseline: Tensor
    rule: Rule | None = None
    keep: Tensor | None = None

    def maps(self, kept: np.ndarray, like: Tensor) -> list[Tensor] | None:
        """kept (m, band) -> offset (m, band), matrix (m, band, band), alone (m,), if any."""
        if self.rule is None:
            return None
        offset, matrix, alone = self.rule.maps(kept)
        both = [torch.as_tensor(a).to(like) for a in (offset, matrix)]
        return [*both, torch.as_tensor(alone, device=like.device)]

    def stand_in(self, x: Tensor, i: Tensor, maps: list[Tensor] | None) -> Tensor:
        """Values of the samples i where they are removed: (len(i) or 1, m or 1, *f)."""
        b = rows_of(self.baseline, i).unsqueeze(1)
        if maps is None:
            return b
        offset, matrix, alone = maps
        flat = [1] * (x.ndim - 2)
        made = torch.einsum("mcb,nb...->nmc...", matrix, x[i]) + offset.view(*offset.shape, *flat)
        made = torch.where(alone.view(-1, *[1] * (x.ndim - 1)), b, made)
        if self.keep is None:
            return made
        return torch.where(rows_of(self.keep, i).unsqueeze(1), made, x[i].unsqueeze(1))


def fills(
    baseline: Tensor,
    keep: Tensor | None,
    marginal: Rule | None,
    gaussian: Gaussian | None,
    removal: str,
) -> tuple[Fill, list[Fill]]:
    """Read what `labelled.removal` settled: the one that is used, and those to compare."""
    each = [Fill(baseline, marginal, keep), Fill(baseline, gaussian, keep)]
    return each[removal == "conditional"], each


def evaluate(
    score: Score,
    x: Tensor,
    baseline: Tensor | Fill,
    on: np.ndarray,
    part: Tensor,
    among: Tensor | None = None,
) -> Tensor:
    """Score every sample, or those `among` them, under every pattern.

    x (n, *f), baseline (n or 1, *f broadcastable) or a `Fill`, on (m, g) bool, part (1 or n,
    *f broadcastable) int: the group of a feature, counted from 1, 0 = always kept. A fill with
    a rule needs groups of bands, the same in every sample. Returns (n, m, target).
    """
    rows = torch.arange(x.shape[0], device=x.device) if among is None else among
    n, m = len(rows), on.shape[0]
    fill = baseline if isinstance(baseline, Fill) else Fill(baseline)
    table = torch.as_tensor(with_always(on), device=x.device)
    out = torch.empty((n, m, score.n_targets), dtype=score.dtype, device=x.device)
    batch = score.batch(x)
    with torch.no_grad():
        for j in batches(m, _patterns_at_once(fill, x, batch), x.device):
            # Patterns outside, samples inside: the maps of a pattern are made once.
            maps = fill.maps(_bands(on[j.cpu().numpy()], part), x) if fill.rule else None
            for k in batches(n, batch // len(j), x.device):
                i = rows[k]
                # (patterns, samples or 1, *f) -> samples first
                keep = table[j][:, rows_of(part, i)].transpose(0, 1)
                z = torch.where(keep, x[i].unsqueeze(1), fill.stand_in(x, i, maps))
                s = score(z.flatten(0, 1), i.repeat_interleave(len(j)))
                out[k[:, None], j] = s.view(len(i), len(j), -1)
    return out


def sweep(
    score: Score, x: Tensor, baseline: Tensor | Fill, on: np.ndarray, part: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score some samples at a time under every pattern: positions i, scores (i, m, target).

    What can be reduced over the patterns never needs the scores of all samples.
    """
    for i in batches(x.shape[0], score.batch(x) // on.shape[0], x.device):
        yield i, evaluate(score, x, baseline, on, part, among=i)


def with_always(on: np.ndarray) -> np.ndarray:
    """Patterns (m, g) -> (m, 1 + g), the first column for what is in no group."""
    both: np.ndarray = np.hstack([np.ones((len(on), 1), dtype=bool), on])
    return both


def off_manifold(
    x: Tensor, each: list[Fill], gaussian: Gaussian, on: np.ndarray, part: Tensor
) -> Tensor:
    """Mean distance from the Gaussian under each fill, over that of the samples: (n, fill).

    Distances are Mahalanobis', averaged over patterns and over a few thousand pixels at most.
    """
    step = 1
    if x.ndim == 4:
        step = max(1, round((x.shape[2] * x.shape[3] / _PIXELS) ** 0.5))
    x = _thin(x, step)
    each = [Fill(_thin(f.baseline, step), f.rule, _thin(f.keep, step)) for f in each]
    white = torch.as_tensor(gaussian.whitening(), dtype=x.dtype, device=x.device)
    centre = torch.as_tensor(gaussian.mean, dtype=x.dtype, device=x.device)
    centre = centre.view(-1, *[1] * (x.ndim - 2))
    table = torch.as_tensor(with_always(on), device=x.device)
    where = part.view(-1).view(-1, *[1] * (x.ndim - 2))

    def distance(z: Tensor, i: Tensor) -> Tensor:
        d = torch.einsum("cb,nmb...->nmc...", white, z - centre).square().sum(2).sqrt()
        if x.ndim == 2:
            return d
        keep = torch.ones_like(d[:, :1]) if each[0].keep is None else rows_of(each[0].keep, i).to(d)
        return (d * keep).sum((2, 3)) / keep.sum((2, 3))

    total = x.new_zeros((x.shape[0], len(each)))
    rows = max(1, _MAP_VALUES // x[0].numel())
    for j in batches(len(on), _patterns_at_once(each[1], x, rows), x.device):
        all_maps = [f.maps(_bands(on[j.cpu().numpy()], part), x) for f in each]
        for i in batches(x.shape[0], rows // len(j), x.device):
            keep = table[j][:, where].unsqueeze(0)
            for k, (fill, maps) in enumerate(zip(each, all_maps, strict=True)):
                z = torch.where(keep, x[i].unsqueeze(1), fill.stand_in(x, i, maps))
                total[i, k] += distance(z, i).sum(1)
    own = torch.cat([distance(x[i].unsqueeze(1), i) for i in batches(len(x), rows, x.device)])
    return total / len(on) / own


def _thin(array: Any, step: int) -> Any:
    """Every so manieth row and column of what has any."""
    if array is None or array.ndim < 4 or array.shape[-1] == array.shape[-2] == 1:
        return array
    return array[..., ::step, ::step]


def _bands(on: np.ndarray, part: Tensor) -> np.ndarray:
    """Which bands the patterns keep: (m, band)."""
    if part.shape[0] > 1 or part.shape[1] != part.numel():
        raise AssertionError("bands are filled from bands: part must be one row of them")
    kept: np.ndarray = with_always(on)[:, part.view(-1).cpu().numpy()]
    return kept


def _patterns_at_once(fill: Fill, x: Tensor, batch: int) -> int:
    return batch if fill.rule is None else min(batch, max(1, _MAP_VALUES // x.shape[1] ** 2))


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
    rows = torch.as_tensor(inside, device=x.device)
    return _occlude(score, x, baseline, [(row,) for row in rows])


def each_band(x: Tensor) -> Tensor:
    """Every band as a group of its own, as a part for `evaluate`."""
    return torch.arange(1, x.shape[1] + 1, device=x.device).view(1, -1, *[1] * (x.ndim - 2))


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
    out = torch.empty((n, m, score.n_targets), dtype=score.dtype, device=x.device)
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


def fade(
    score: Score, x: Tensor, baseline: Tensor, mask: Callable[[int], np.ndarray], m: int
) -> Tensor:
    """Score every sample under m soft masks (y, x), 1 = kept, 0 = baseline: (n, m, target)."""
    n = x.shape[0]
    start = baseline.expand_as(x)
    out = torch.empty((n, m, score.n_targets), dtype=score.dtype, device=x.device)
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


def given(x: Tensor, known: Tensor, donor: np.ndarray) -> Tensor:
    """Values of the donors (n,), where they and the sample itself have data; else its own."""
    giver = torch.tensor(donor, device=x.device)
    return torch.where(known & known[giver], x[giver], x)


def occlude_blocks(
    score: Score, x: Tensor, baseline: Tensor, inside: np.ndarray, boxes: np.ndarray
) -> Tensor:
    """Score without each window of bands inside each box: (n, w * v, target), boxes fastest."""
    bands = [torch.as_tensor(np.flatnonzero(row), device=x.device) for row in inside]
    blocks: list[tuple[slice | Tensor, ...]] = [
        (band, slice(a, b), slice(c, d)) for band in bands for a, b, c, d in boxes
    ]
    return _occlude(score, x, baseline, blocks)


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
