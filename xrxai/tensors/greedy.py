"""Regions in the order in which they explain most per pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def ranked(
    value: Tensor, maps: Tensor, *, mode: str, min_area: int, grow: list[int]
) -> tuple[Tensor, Tensor]:
    """Rank pooled regions for every sample and target.

    value (n, target, y, x); maps (n or 1, map, y, x) ids, 0 = in no region, the first map is 1 on
    valid pixels; grow: radius in pixels for each map but the first. Returns the heat, NaN where
    not valid, and the rank from 1, 0 where not valid, both like value.
    """
    values = value.detach().cpu().double().numpy()
    ids = maps.cpu().numpy()
    heat = np.full(values.shape, np.nan)
    rank = np.zeros(values.shape, dtype=np.int64)
    some = regions(ids[0], grow) if len(ids) == 1 else []
    for i, targets in enumerate(values):
        one = ids[min(i, len(ids) - 1)]
        mine = some if len(ids) == 1 else regions(one, grow)
        inside = np.flatnonzero(one[0])
        for k, target in enumerate(targets):
            heat[i, k], rank[i, k] = order(target, inside, mine, mode, min_area)
    return (
        torch.as_tensor(heat, dtype=value.dtype, device=value.device),
        torch.as_tensor(rank, device=value.device),
    )


def regions(maps: np.ndarray, grow: list[int]) -> list[np.ndarray]:
    """Flat positions of the valid pixels of each region of each map (map, y, x), grown."""
    from scipy import ndimage

    valid, *rest = maps
    width = valid.shape[1]
    found = []
    for ids, radius in zip(rest, grow, strict=True):
        reach = np.arange(-radius, radius + 1)
        disk = reach[:, None] ** 2 + reach**2 <= radius**2
        for i, box in enumerate(ndimage.find_objects(ids), start=1):
            if box is None:
                continue
            rows, columns = (slice(max(0, s.start - radius), s.stop + radius) for s in box)
            mask = ids[rows, columns] == i
            if radius:
                mask = ndimage.binary_dilation(mask, disk)
            y, x = np.nonzero(mask & (valid[rows, columns] > 0))
            found.append((y + rows.start) * width + x + columns.start)
    return found


def order(
    value: np.ndarray, inside: np.ndarray, regions: list[np.ndarray], mode: str, min_area: int
) -> tuple[np.ndarray, np.ndarray]:
    """Heat and rank (y, x) of values (y, x): what no region took shares its mean, as the last."""
    flat = value.ravel()
    heat = np.full(flat.shape, np.nan)
    rank = np.zeros(flat.shape, dtype=np.int64)
    step = 0

    def take(new: np.ndarray) -> None:
        nonlocal step
        step += 1
        heat[new] = flat[new].mean()
        rank[new] = step

    if mode == "fast":
        density = np.array([flat[r].mean() if r.size else -np.inf for r in regions])
        for best in np.argsort(-density, kind="stable"):
            new = regions[best][rank[regions[best]] == 0]
            if new.size >= min_area:
                take(new)
    elif regions:
        _full(flat, regions, rank, min_area, take)
    left = inside[rank[inside] == 0]
    if left.size:
        take(left)
    return heat.reshape(value.shape), rank.reshape(value.shape)


def _full(
    flat: np.ndarray,
    regions: list[np.ndarray],
    rank: np.ndarray,
    min_area: int,
    take: Callable[[np.ndarray], None],
) -> None:
    """Take the region of the highest mean over its free pixels, again and again.

    Sums and counts of the free pixels of every region are carried along: a pixel that is taken
    is subtracted once from each region that holds it.
    """
    from scipy.sparse import csc_array

    sizes = [r.size for r in regions]
    holder = np.repeat(np.arange(len(regions)), sizes)
    pixel = np.concatenate(regions)
    member = csc_array((np.ones(pixel.size), (holder, pixel)), shape=(len(regions), flat.size))
    count = np.array(sizes, dtype=float)
    total = member @ flat
    while True:
        open_ = count >= min_area
        if not open_.any():
            return
        density = np.where(open_, total / np.maximum(count, 1), -np.inf)
        best = regions[int(np.argmax(density))]
        new = best[rank[best] == 0]
        take(new)
        held = member[:, new]
        count -= held.sum(axis=1)
        total -= held @ flat[new]
