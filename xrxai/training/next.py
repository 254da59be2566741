"""Where to label next, from what a diagnosis found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, at_least, positive
from xrxai.training.classes import UNLABELLED, classes_of
from xrxai.training.picking import Offer, at_random, greedy
from xrxai.training.places import classes_in, numbers
from xrxai.training.plan import centres
from xrxai.training.terms import Cost, costs_of
from xrxai.training.windows import TILE, counted, described, grid

TERMS = ("rarity", "uncertainty", "doubt", "shift", "unlike")
# What each term needs of a diagnosis.
NEEDS = {"shift": "explanation_shift", "unlike": "dissimilarity"}
# Every model is unsure at the edges of fields, where pixels are mixed; these go in a median.
EDGE = 5


def next_tiles(
    diagnosis: xr.DataTree,
    *,
    tile: int,
    budget: float,
    weights: Mapping[str, float] | None = None,
    cost: Cost | None = None,
    min_distance: int = 0,
    stride: int | None = None,
    n_random: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """
    Rank tiles by what labelling them would teach.

    Five things count: classes of which there are few labels (as the model maps them), pixels of
    which it is unsure (edges of fields aside), labels that are in doubt and should be looked at
    again, pixels for which it has unusual reasons, and those unlike all that it was trained on.
    As in `plan_tiles`, each tile adds less of what the tiles before have already.

    Parameters
    ----------
    diagnosis : DataTree
        Of `diagnose`.
    tile : int
        Side of a tile in pixels.
    budget : float
        What may be spent, in units of `cost`; number of tiles by default.
    weights : mapping, optional
        How much "rarity", "uncertainty", "doubt", "shift" and "unlike" count; 0 leaves one out.
        Default: 1 each, of those that the diagnosis has; doubt only by models that have not seen
        the labels (``diagnose(..., probability=training.cross_predict(...))``).
    cost : float, mapping, array over the tiles, or callable, optional
        Of each tile of the `grid` that holds data; see `plan_tiles`. Default: 1.
    min_distance : int, default: 0
        Pixels between tiles, at least; tiles never overlap.
    stride : int, optional
        From one candidate to the next, in pixels. Default: `tile`.
    n_random : int, default: 200
        How many random choices to compare with.
    seed : int, default: 0
        Of these and of ties.

    Returns
    -------
    Dataset
        Along ``tile``, the best first: ``row``, ``column``, the coordinates of the centre,
        ``reason``, ``cost``, ``cumulative_cost``, and ``gain`` (tile, term). Along ``term``:
        ``amount`` of the chosen tiles, in tiles full of it, beside ``random_amount``,
        ``random_low`` and ``random_high`` (2.5 and 97.5 %) of random choices.

    Raises
    ------
    OptionError
        The options do not fit the diagnosis, or there is nothing left to label.
    """
    root = _root(diagnosis)
    settled = _weights(weights, root, bool(diagnosis["labels"].attrs.get("seen", 1)))
    at_least(n_random, 1, "n_random")
    at_least(min_distance, 0, "min_distance")
    class_map = root["class_map"]
    array, dims = numbers(class_map)
    known = classes_in(class_map, None)
    told = root["label"].transpose(*dims).values
    open_ = (told == UNLABELLED) & (array >= 0)
    windows = grid(class_map, tile, stride=stride)
    windows = windows.isel({TILE: np.flatnonzero(counted(array >= 0, windows))})
    pixels = counted(array == np.arange(len(known))[:, None, None], windows).T
    costs, _ = costs_of(cost, array, windows, pixels, known)
    positive(budget, "budget", 10)
    amounts, of = _amounts(diagnosis, root, array, told, open_, windows, settled, dims)
    useful = np.flatnonzero(amounts.sum(1) > 0)
    if not len(useful):
        raise OptionError(
            f"No tile of {tile} pixels adds to {', '.join(map(repr, settled))}: there are no such "
            f"unlabelled pixels, and no label in doubt. Type other weights, or diagnose a scene "
            f"with unlabelled pixels."
        )
    windows, amounts, costs = windows.isel({TILE: useful}), amounts[useful], costs[useful]
    if budget < costs.min():
        raise OptionError(
            f"budget={budget:g} buys no tile: the cheapest costs {costs.min():g}; type "
            f"budget={costs.min():g} or more."
        )
    offer = Offer(
        windows["row"].values,
        windows["column"].values,
        costs,
        float(budget),
        tile,
        min_distance,
        np.zeros(len(costs), bool),
        0.0,
    )
    kinds = np.array([TERMS.index(name) for name, _ in of])
    each = np.array([settled[name] * share for name, share in of])
    # In units of what an average tile has, or 1 per cent of a tile where that is less.
    usual = np.maximum(amounts.mean(0), 0.01 * tile**2)
    order, gains = greedy(offer, amounts / usual, each, 1.0, seed)
    made = described(offer.rows[order], offer.columns[order], tile)
    names = [name for name in TERMS if name in settled]
    made = made.assign_coords(centres(class_map, dims, made) | {"term": names})
    by_term = np.stack([gains[:, kinds == TERMS.index(n)].sum(1) for n in names], 1)
    words = [_reason(g, of, known.names) for g in gains]
    spent = costs[order]
    made["reason"] = (TILE, np.array(words, dtype=object), {"long_name": "why this tile"})
    made["cost"] = (TILE, spent, {"long_name": "cost of annotation"})
    made["cumulative_cost"] = (TILE, np.cumsum(spent), {"long_name": "cost up to this tile"})
    made["gain"] = ((TILE, "term"), by_term, {"long_name": "what the tile adds", "units": "1"})
    mass = np.stack([amounts[:, kinds == TERMS.index(n)].sum(1) for n in names], 1) / tile**2
    random = at_random(offer, mass, n_random, seed)
    low, high = np.percentile(random, [2.5, 97.5], axis=0)
    for name, values, about in (
        ("amount", mass[order].sum(0), "tiles full of it that were chosen"),
        ("random_amount", random.mean(0), "of a random choice, mean"),
        ("random_low", low, "of a random choice, 2.5 %"),
        ("random_high", high, "of a random choice, 97.5 %"),
    ):
        made[name] = ("term", values, {"long_name": about, "units": "1"})
    made.attrs |= {"budget": float(budget), "candidates": len(useful), "n_random": n_random}
    return made


def _root(diagnosis: Any) -> xr.Dataset:
    if not isinstance(diagnosis, xr.DataTree) or "class_map" not in diagnosis:
        raise OptionError(
            f"A {type(diagnosis).__name__} is no diagnosis; type "
            f"training.next_tiles(training.diagnose(cube, labels, model), ...)."
        )
    return diagnosis.to_dataset()


def _weights(weights: Mapping[str, float] | None, root: xr.Dataset, seen: bool) -> dict[str, float]:
    """Weight of each term that counts."""
    has = [n for n in TERMS if n not in NEEDS or NEEDS[n] in root]
    if weights is None:
        return {n: 1.0 for n in has if n != "doubt" or not seen}
    for name, weight in weights.items():
        if name not in TERMS:
            raise OptionError(
                f"weights has {name!r}, which is not known; choose out of "
                f"{', '.join(map(repr, TERMS))}."
            )
        positive(weight, f"weights[{name!r}]", 1.0, zero=True)
        if weight and name not in has:
            how = " with a network" if name == "shift" else ""
            raise OptionError(
                f"weights has {name!r}, and the diagnosis has no {NEEDS[name]}; type "
                f"training.diagnose(..., trained=...){how}."
            )
    kept = {n: float(weights[n]) for n in TERMS if weights.get(n, 0)}
    if not kept:
        raise OptionError("weights leaves nothing to rank by; type weights={'uncertainty': 1}.")
    return kept


def _amounts(
    diagnosis: xr.DataTree,
    root: xr.Dataset,
    array: np.ndarray,
    told: np.ndarray,
    open_: np.ndarray,
    windows: xr.Dataset,
    settled: dict[str, float],
    dims: tuple[str, str],
) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Amounts (tile, column), and the term of each column with its share of the term's weight."""
    classes = classes_of(root["label"])
    columns: list[np.ndarray] = []
    of: list[tuple[str, float]] = []
    if "rarity" in settled:
        labelled = np.bincount(told[told >= 0], minlength=len(classes)) + 1.0
        rare = np.sqrt(labelled.sum() / labelled)
        for k in range(len(classes)):
            columns.append(counted((array == k) & open_, windows).astype(np.float64))
            of.append(("rarity", float(rare[k] / rare.sum())))
    from scipy.ndimage import median_filter

    doubted = diagnosis["labels"].to_dataset().transpose(*dims, ...)
    maps = {
        "uncertainty": (root, "uncertainty", open_),
        "doubt": (doubted, "label_doubt", doubted["suspect"].values),
        "shift": (root, "explanation_shift", open_),
        "unlike": (root, "dissimilarity", open_),
    }
    for name, (source, variable, where) in maps.items():
        if name not in settled:
            continue
        field = np.nan_to_num(source[variable].transpose(*dims).values)
        if name == "uncertainty":
            field = median_filter(field, size=EDGE)
        if name in NEEDS:  # what is usual teaches nothing; a few wild pixels are not all
            usual = source[variable].attrs["threshold"] if name == "unlike" else 1.0
            field = np.clip(field / usual - 1, 0, 3)
        columns.append(counted(np.where(where, field, 0.0), windows).astype(np.float64))
        of.append((name, 1.0))
    return np.stack(columns, 1), of


def _reason(gain: np.ndarray, of: list[tuple[str, float]], names: Any) -> str:
    """The term that adds most, in words."""
    terms: dict[str, float] = {}
    for value, (name, _) in zip(gain, of, strict=True):
        terms[name] = terms.get(name, 0.0) + float(value)
    best = max(terms, key=lambda n: terms[n])
    if best != "rarity":
        return {
            "uncertainty": "the model is unsure",
            "doubt": "labels in doubt: look again",
            "shift": "the model has unusual reasons",
            "unlike": "unlike what was trained on",
        }[best]
    first = int(np.argmax([v if n == "rarity" else -1 for v, (n, _) in zip(gain, of, strict=True)]))
    return f"few labels of {names[first]}"
