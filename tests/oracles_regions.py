"""Slow twin of XRAI, written from the paper (Kapishnikov et al. 2019, algorithm 1), in float64."""

from __future__ import annotations

import numpy as np


def grown(mask, radius):
    """A mask and every pixel within `radius` of it."""
    out = mask.copy()
    for y, x in np.argwhere(mask):
        for v, u in np.ndindex(mask.shape):
            out[v, u] |= (v - y) ** 2 + (u - x) ** 2 <= radius**2
    return out


def unpacked(maps, valid, radius=0):
    """One mask for each region of each map, within the valid pixels."""
    return [grown(ids == i, radius) & valid for ids in maps for i in range(1, ids.max() + 1)]


def xrai(value, masks, valid, mode, min_area):
    """Heat and rank of values (y, x): every gain is summed up anew at every step."""
    heat = np.full(value.shape, np.nan)
    rank = np.zeros(value.shape, dtype=int)
    covered = np.zeros(value.shape, dtype=bool)
    pool = list(masks)
    if mode == "fast":
        pool.sort(key=lambda mask: -value[mask].mean() if mask.any() else np.inf)
    step = 0
    while pool:
        gains = [value[m & ~covered].mean() if (m & ~covered).any() else -np.inf for m in pool]
        sizes = [(m & ~covered).sum() for m in pool]
        for i, size in enumerate(sizes):
            if size < min_area:
                gains[i] = -np.inf
        best = 0 if mode == "fast" else int(np.argmax(gains))
        mask = pool.pop(best)
        if sizes[best] < min_area:
            if mode == "full":
                break
            continue
        step += 1
        heat[mask & ~covered] = value[mask & ~covered].mean()
        rank[mask & ~covered] = step
        covered |= mask
    rest = valid & ~covered
    if rest.any():
        heat[rest] = value[rest].mean()
        rank[rest] = step + 1
    return heat, rank
