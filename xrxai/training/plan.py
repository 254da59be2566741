"""Where to draw first: a plan of tiles for the annotators, from a guess of what is where."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import LabelError, OptionError, at_least, positive
from xrxai.training.classes import Classes
from xrxai.training.picking import Offer, at_random, greedy
from xrxai.training.places import classes_in, geopandas_for, grid_mapping, numbers, plane
from xrxai.training.terms import Cost, confused, costs_of, difficulty_of, fields, hardness
from xrxai.training.windows import TILE, counted, described, grid, tile_size

EASY = 0.2
"""Below this mean difficulty a tile of background alone is an easy negative."""


def plan_tiles(
    guess: xr.DataArray,
    *,
    tile: int,
    budget: float,
    classes: Classes | None = None,
    confusion: xr.DataArray | np.ndarray | None = None,
    difficulty: xr.DataArray | np.ndarray | None = None,
    cost: Cost | None = None,
    easy_share: float = 0.1,
    min_distance: int = 0,
    stride: int | None = None,
    n_random: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """
    Choose the tiles to annotate: rare classes first, what is difficult, little that is easy.

    One tile after the other is taken, each time the one that adds most per cost to
    ``sum_k w_k log(1 + n_k / 2)``, where n_k counts the fields of a class (connected areas of a
    hundredth of a tile or more), and w_k is one over the root of its share of the scene. A class
    of which there is much already adds little. Fields, not pixels: pixels of a field are alike.
    Simple random plans of the same budget stand beside it.

    Parameters
    ----------
    guess : DataArray, (y, x)
        What may be where: the ``class_map`` of `xrxai.predict`, an old map, labels. It need not
        be right. -1 is not known.
    tile : int
        Side of a tile in pixels.
    budget : float
        What may be spent, in units of `cost`; number of tiles by default.
    classes : Classes, optional
        What the numbers of the guess mean, where it does not say.
    confusion : array, (true, predicted), optional
        Counts of pixels, such as those of ``training.evaluate``. What is mapped as one class
        counts as the others by how often it is these, and what is confused with rare classes is
        difficult.
    difficulty : array, (y, x), optional
        From 0 to 1: how unsure a model is, or where it errs. Difficult background is sought as if
        it were a class: the hard negatives. Without background all difficult pixels are.
    cost : float, mapping, array over the tiles, or callable, optional
        Of each tile: ``{"tile": 60, "boundary": 0.5}`` is 60 and 0.5 per pixel on a boundary of
        classes; a callable gets the shares of the classes, (tile, class). Default: 1.
    easy_share : float, default: 0.1
        At most so much of the budget goes to tiles of background alone that are not difficult.
    min_distance : int, default: 0
        Pixels between tiles, at least; tiles never overlap.
    stride : int, optional
        From one candidate to the next, in pixels. Default: `tile`.
    n_random : int, default: 200
        How many random plans to compare with.
    seed : int, default: 0
        Of the random plans and of ties.

    Returns
    -------
    Dataset
        Along ``tile``, in the order to annotate: ``row``, ``column``, the coordinates of the
        centre, ``reason``, ``cost``, ``cumulative_cost``, ``difficulty`` and ``pixels``
        (tile, class), as the guess has them. Along ``class``: ``expected_pixels`` of the plan,
        ``random_pixels``, ``random_low`` and ``random_high`` (2.5 and 97.5 %) of random plans,
        ``missed`` and ``random_missed``, the share of random plans without a pixel of it.

    Raises
    ------
    LabelError
        The guess knows no pixel, or not what its numbers mean.
    OptionError
        A budget that buys no tile, or options that do not fit the guess.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xrxai import training
    >>> values = np.zeros((40, 40), int)
    >>> values[22:28, 31:36] = 1
    >>> guess = xr.DataArray(values, dims=("y", "x"))
    >>> classes = training.Classes(["background", "poppy"])
    >>> plan = training.plan_tiles(guess, tile=10, budget=2, classes=classes, easy_share=0)
    >>> plan.row.values.tolist(), plan.column.values.tolist(), plan.reason.values.tolist()
    ([20], [30], ['poppy: 30 px'])
    """
    array, dims = numbers(guess)
    known = classes_in(guess, classes)
    highest = int(array.max())
    if highest >= len(known):
        raise LabelError(
            f"The guess holds class {highest}, and there are {len(known)} classes, 0 to "
            f"{len(known) - 1}; type classes=training.Classes([...]) with all of them."
        )
    if highest < 0:
        raise LabelError(
            "The guess knows no pixel (all are -1); type a map of classes, however rough, such as "
            "training.labels_of(ndvi > 0.4, cube, classes)."
        )
    at_least(n_random, 1, "n_random")
    at_least(min_distance, 0, "min_distance")
    if not 0 <= easy_share <= 1:
        raise OptionError(f"easy_share={easy_share!r} is no share; type a number from 0 to 1.")
    each = array == np.arange(len(known))[:, None, None]
    windows = grid(guess, tile, stride=stride)
    windows = windows.isel(tile=np.flatnonzero(counted(array >= 0, windows)))
    pixels = counted(each, windows).T
    total = each.sum((1, 2))
    weights = np.where(total > 0, np.sqrt(total.sum() / np.maximum(total, 1)), 0.0)
    hard = difficulty_of(difficulty, guess, dims)
    truth = np.eye(len(known))
    if confusion is not None:
        truth, mixed = confused(confusion, weights, known)
        hard = np.maximum(hard, np.where(array >= 0, mixed[array], 0.0))
    mass, mean = hardness(hard, array, known, windows)
    costs, boundary = costs_of(cost, array, windows, pixels, known)
    positive(budget, "budget", 10)
    if budget < costs.min():
        raise OptionError(
            f"budget={budget:g} buys no tile: the cheapest costs {costs.min():g}; type "
            f"budget={costs.min():g} or more."
        )
    easy = np.zeros(len(pixels), dtype=bool)
    if known.background is not None:
        others = np.delete(pixels, known.names.index(known.background), axis=1)
        easy = (others.sum(1) == 0) & (mean < EASY)
    offer = Offer(
        windows["row"].values,
        windows["column"].values,
        costs,
        float(budget),
        tile,
        min_distance,
        easy,
        easy_share * budget,
    )
    # Two fields of a class teach as much as the first: what varies, varies between fields.
    amounts = np.column_stack([fields(array, len(known), windows) @ truth / 2, mass / tile**2])
    if known.background is not None:  # it is in every tile's corner
        weights[known.names.index(known.background)] /= 2
    seen = weights[weights > 0]
    order, gains = greedy(offer, amounts, np.append(weights, seen.mean()), 1.0, seed)
    made = described(offer.rows[order], offer.columns[order], tile)
    made = made.assign_coords(centres(guess, dims, made) | {"class": list(known.names)})
    reasons = [_reason(t, g, pixels, mean, easy, known) for t, g in zip(order, gains, strict=True)]
    spent, about = costs[order], {"long_name": "cost of annotation"}
    made["reason"] = (TILE, np.array(reasons, dtype=object), {"long_name": "why this tile"})
    made["cost"] = (TILE, spent, about)
    made["cumulative_cost"] = (TILE, np.cumsum(spent), {"long_name": "cost up to this tile"})
    made["difficulty"] = (TILE, mean[order], {"long_name": "mean difficulty", "units": "1"})
    made["boundary"] = (TILE, boundary[order], {"long_name": "pixels on a boundary"})
    table = {"long_name": "pixels by the guess", "units": "1"}
    made["pixels"] = ((TILE, "class"), pixels[order], table)
    made = made.assign(_compared(offer, pixels, order, n_random, seed))
    made.attrs |= {"budget": float(budget), "candidates": len(pixels), "n_random": n_random}
    return made


def tiles_to_polygons(plan: xr.Dataset, cube: xr.DataArray) -> Any:
    """
    Give the tiles of a plan as squares that annotators can open in a GIS.

    Parameters
    ----------
    plan : Dataset
        What `plan_tiles` or `grid` made.
    cube : DataArray
        The cube or map that it was made for; gives CRS and coordinates.

    Returns
    -------
    GeoDataFrame
        A row per tile in the order of the plan: ``order`` from 1, ``row``, ``column``, and what
        the plan says of each, such as ``reason`` and ``cost``. Write it with
        ``.to_file("tiles.gpkg")``; it serves `rasterise` as ``annotated=``, too.

    Raises
    ------
    OptionError
        It is no plan.
    ImportError
        geopandas is missing.
    """
    size = tile_size(plan)
    geopandas = geopandas_for("tiles_to_polygons")
    import shapely

    y, x = plane(cube)
    transform, crs = grid_mapping(cube, y, x)
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]])
    at = np.stack([plan["column"].values, plan["row"].values], axis=-1)[:, None] + corners
    a, b, c, d, e, f = (float(v) for v in transform[:6])
    east, north = a * at[..., 0] + b * at[..., 1] + c, d * at[..., 0] + e * at[..., 1] + f
    squares = shapely.polygons(np.stack([east, north], axis=-1))
    flat = [n for n in plan.data_vars if plan[n].dims == (TILE,)]
    table = {str(n): plan[n].values for n in flat}
    order = np.arange(1, plan.sizes[TILE] + 1)
    return geopandas.GeoDataFrame({"order": order, **table}, geometry=squares, crs=crs)


def centres(
    guess: xr.DataArray, dims: tuple[str, str], windows: xr.Dataset
) -> dict[str, tuple[str, np.ndarray, dict[str, Any]]]:
    """Coordinates of the centres; of pixels, where the map has none."""
    size, made = tile_size(windows), {}
    for dim, name in zip(dims, ("row", "column"), strict=True):
        values, first = np.arange(guess.sizes[dim], dtype=np.float64), windows[name].values
        attrs: dict[str, Any] = {"units": "px"}
        if dim in guess.coords and guess[dim].dtype.kind in "fiu":
            values, attrs = guess[dim].values.astype(np.float64), dict(guess[dim].attrs)
        middle = (values[first] + values[first + size - 1]) / 2
        made[dim] = (TILE, middle, attrs)
    return made


def _reason(
    tile: int,
    gain: np.ndarray,
    pixels: np.ndarray,
    mean: np.ndarray,
    easy: np.ndarray,
    known: Classes,
) -> str:
    if easy[tile]:
        return "easy negatives"
    k = int(np.argmax(gain))
    if k == len(known):
        word = "difficult" if known.background is None else "hard negatives"
        return f"{word}: mean difficulty {mean[tile]:.2f}"
    if not pixels[tile, k]:
        return f"{known.names[k]}: confused with what is mapped here"
    return f"{known.names[k]}: {pixels[tile, k]} px"


def _compared(
    offer: Offer, pixels: np.ndarray, order: np.ndarray, draws: int, seed: int
) -> dict[str, Any]:
    """Pixels of each class that the plan expects, beside random plans."""
    random = at_random(offer, pixels, draws, seed)
    mine, there = pixels[order].sum(0), pixels.sum(0) > 0
    low, high = np.percentile(random, [2.5, 97.5], axis=0)

    def of(values: np.ndarray, about: str) -> tuple[str, np.ndarray, dict[str, str]]:
        return "class", values, {"long_name": about, "units": "1"}

    return {
        "expected_pixels": of(mine, "pixels of the plan, by the guess"),
        "random_pixels": of(random.mean(0), "pixels of a random plan, mean"),
        "random_low": of(low, "pixels of a random plan, 2.5 %"),
        "random_high": of(high, "pixels of a random plan, 97.5 %"),
        "missed": of((mine == 0) & there, "the plan has no pixel of it"),
        "random_missed": of((random == 0).mean(0), "share of random plans without it"),
    }
