"""What stands in for what is removed, and how far that lies from real spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrxai.imputation import Gaussian, Rule
from xrxai.tensors.run import batches
from xrxai.tensors.score import rows_of

_MAP_VALUES = 2**20
_PIXELS = 4096


@dataclass(frozen=True, eq=False)
class Fill:
    """What stands in for removed features: a baseline, or what `rule` makes of kept bands.

    baseline (n or 1, *f broadcastable), keep (n or 1, 1[, y, x]) bool: the pixels with data.
    """

    baseline: Tensor
    rule: Rule | None = None
    keep: Tensor | None = None

    def rows(self, i: Tensor) -> Fill:
        """That of the samples i."""
        keep = None if self.keep is None else rows_of(self.keep, i)
        return Fill(rows_of(self.baseline, i), self.rule, keep)

    def maps(self, kept: np.ndarray, like: Tensor) -> list[Tensor] | None:
        """kept (m, band) -> offset (m, band), matrix (m, band, band), alone (m,), if any."""
        if self.rule is None:
            return None
        offset, matrix, alone = self.rule.maps(kept)
        both = [torch.as_tensor(a).to(like) for a in (offset, matrix)]
        return [*both, torch.as_tensor(alone, device=like.device)]

    def stand_in(self, x: Tensor, i: Tensor | slice, maps: list[Tensor] | None) -> Tensor:
        """Values of the samples i where they are removed: (i or 1, m or 1, *f)."""
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
    for j in batches(len(on), patterns_at_once(each[1], x, rows), x.device):
        all_maps = [f.maps(bands_kept(on[j.cpu().numpy()], part), x) for f in each]
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


def bands_kept(on: np.ndarray, part: Tensor) -> np.ndarray:
    """Which bands the patterns keep: (m, band)."""
    if part.shape[0] > 1 or part.shape[1] != part.numel():
        raise AssertionError("bands are filled from bands: part must be one row of them")
    kept: np.ndarray = with_always(on)[:, part.view(-1).cpu().numpy()]
    return kept


def patterns_at_once(fill: Fill, x: Tensor, batch: int) -> int:
    """Patterns whose maps are held together."""
    return batch if fill.rule is None else min(batch, max(1, _MAP_VALUES // x.shape[1] ** 2))
