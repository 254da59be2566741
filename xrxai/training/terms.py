"""What tiles cost, and what in them is difficult: the terms on which a plan is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError
from xrxai.training.classes import Classes
from xrxai.training.windows import TILE, counted, tile_size

Cost = float | Mapping[str, float] | xr.DataArray | np.ndarray | Callable[[xr.DataArray], Any]


def difficulty_of(given: Any, guess: xr.DataArray, dims: tuple[str, str]) -> np.ndarray:
    """Difficulty of each pixel from 0 to 1, or why it is none."""
    shape = tuple(guess.sizes[d] for d in dims)
    if given is None:
        return np.zeros(shape)
    if isinstance(given, xr.DataArray) and set(dims) == set(given.dims):
        given = given.transpose(*dims)
    values = np.asarray(given, dtype=np.float64)
    if values.shape != shape:
        raise OptionError(
            f"difficulty has shape {values.shape}, and the guess has {shape[0]} rows and "
            f"{shape[1]} columns; type one value per pixel of the guess."
        )
    low, high = np.nanmin(values, initial=0.0), np.nanmax(values, initial=0.0)
    if low < 0 or high > 1:
        raise OptionError(
            f"difficulty goes from {low:g} to {high:g}, and it must lie between 0 (easy) and 1; "
            f"type difficulty=(d - d.min()) / (d.max() - d.min())."
        )
    return np.nan_to_num(values)


def confused(given: Any, weights: np.ndarray, known: Classes) -> tuple[np.ndarray, np.ndarray]:
    """(true, predicted) -> share of the true classes in each mapped one, and how confused it is."""
    counts = np.asarray(given, dtype=np.float64)
    n = len(known)
    if counts.shape != (n, n) or not (counts >= 0).all():
        raise OptionError(
            f"confusion has shape {counts.shape}, and counts of pixels (true, predicted) for {n} "
            f"classes are needed, from 0; type confusion=training.evaluate(...).confusion."
        )
    mapped = counts.sum(0)
    truth = np.where(mapped > 0, counts / np.maximum(mapped, 1e-9), np.eye(n)).T
    found = counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)
    off = ~np.eye(n, dtype=bool)
    # Both errors: what is mapped as it and is another, what is it and is mapped as another.
    mixed = (truth + found) / 2 * off
    rare = weights / max(weights.max(), 1e-9)
    return truth, (mixed * np.maximum(rare[None], rare[:, None])).sum(1).clip(0, 1)


def hardness(
    hard: np.ndarray, array: np.ndarray, known: Classes, windows: xr.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the difficulty of the negatives of each tile, and its mean over all known pixels."""
    seen = array >= 0
    steps = 1000  # sums of whole numbers are exact
    whole = np.rint(np.where(seen, hard, 0.0) * steps).astype(np.int64)
    negative = seen if known.background is None else array == known.names.index(known.background)
    sums = counted(np.stack([whole, whole * negative]), windows) / steps
    return sums[1], sums[0] / np.maximum(counted(seen, windows), 1)


def costs_of(
    cost: Any, array: np.ndarray, windows: xr.Dataset, pixels: np.ndarray, known: Classes
) -> tuple[np.ndarray, np.ndarray]:
    """Cost of each tile, and how many pixels lie on a boundary of classes in it."""
    edge = np.zeros(array.shape, dtype=bool)
    edge[:, 1:] |= array[:, 1:] != array[:, :-1]
    edge[1:] |= array[1:] != array[:-1]
    boundary, n = counted(edge, windows), len(pixels)
    if isinstance(cost, Mapping):
        strange = [k for k in cost if k not in ("tile", "boundary")]
        if strange:
            raise OptionError(
                f"cost has {strange[0]!r}, and it may have 'tile' and 'boundary'; type "
                f"cost={{'tile': 60, 'boundary': 0.5}}."
            )
        values = float(cost.get("tile", 0.0)) + float(cost.get("boundary", 0.0)) * boundary
    elif callable(cost):
        share = pixels / np.maximum(pixels.sum(1, keepdims=True), 1)
        table = xr.DataArray(share, dims=(TILE, "class"), coords={"class": list(known.names)})
        values = np.asarray(cost(table), dtype=np.float64)
    else:
        values = np.asarray(1.0 if cost is None else cost, dtype=np.float64)
    if values.shape not in ((), (n,)):
        raise OptionError(
            f"cost has shape {values.shape}, and there are {n} tiles that hold a known pixel; "
            f"type one number for each of them, or a callable that returns it."
        )
    values = np.broadcast_to(values, (n,)).astype(np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        wrong = values[~(np.isfinite(values) & (values > 0))][0]
        raise OptionError(
            f"cost is {wrong:g} for a tile, and it must be above 0; type for example "
            f"cost={{'tile': 60, 'boundary': 0.5}}."
        )
    return values, boundary


def fields(array: np.ndarray, count: int, windows: xr.Dataset) -> np.ndarray:
    """Connected areas of each class in each tile, (tile, class); a hundredth of a tile counts."""
    from skimage.measure import label

    size = tile_size(windows)
    least = max(size**2 // 100, 1)
    made = np.zeros((windows.sizes[TILE], count))
    rows, columns = windows["row"].values, windows["column"].values
    for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
        part = array[row : row + size, column : column + size]
        ids = label(part, background=-1, connectivity=1)  # type: ignore[no-untyped-call]
        sizes = np.bincount(ids.ravel())
        first = np.zeros(len(sizes), np.int64)
        first[ids.ravel()] = part.ravel()  # all pixels of an area are of one class
        large = np.flatnonzero(sizes >= least)
        np.add.at(made[i], first[large[large > 0]], 1)
    return made
