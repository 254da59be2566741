"""How well a map tells the classes apart: counts, scores, and how sure these are."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.aggregation.blocks import of_cells
from xrxai.errors import LabelError, OptionError, TargetError, at_least
from xrxai.labelled.cube import locate
from xrxai.model import Model
from xrxai.prediction import predict
from xrxai.training.classes import UNLABELLED, Classes, classes_of, labels_of
from xrxai.training.scores import confusion_of, dressed_scores, scores

# A side: blocks are counted in cells, so that scenes need no more memory than this.
CELLS = 256


def evaluate(
    cube: xr.DataArray,
    labels: xr.DataArray,
    model: Any,
    *,
    where: xr.DataArray | np.ndarray | None = None,
    block: int | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = True,
) -> xr.Dataset:
    """
    Compare what a model says with labels, class by class, with intervals that know the neighbours.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In chunks it is seen through tiles with a halo, and of tiles without a label none runs.
    labels : DataArray of int, (y, x)
        What `labels_of` or `rasterise` made; -1 is not counted.
    model : Model or estimator
        Whose targets are classes of the labels, in any order; or numbers of them, as of an
        estimator that was fitted on class numbers.
    where : bool DataArray or array, (y, x), optional
        True = count, such as ``split == 2``. Default: all that is labelled.
    block : int, optional
        Side in pixels of the blocks that are drawn. Default: for each score three times the
        distance at which its errors are no longer alike, as in `aggregate`.
    n_boot : int, default: 1000
        Draws of blocks.
    seed : int, default: 0
        Of the draws.
    level : float, default: 0.95
        Of the intervals.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Dataset
        ``confusion`` (true, predicted), in pixels; ``iou``, ``f1``, ``precision``, ``recall``,
        ``pixels``, ``class_present`` (class); ``mean_iou`` over classes that are present, and
        ``accuracy``; ``_ci_low`` and ``_ci_high`` of ``iou``, ``f1`` and ``mean_iou``, and
        ``block_length`` in pixels (class). Scores of classes that are not among the labels are
        NaN, and the attribute ``absent`` names them; pixels that are given to them by mistake
        count against the class that they are of.

    Raises
    ------
    LabelError
        Labels on another grid, or none to count.
    TargetError
        The model has targets that are no class of the labels.
    OptionError
        Options outside their values.

    Notes
    -----
    Intersection over union is a mean: over the pixels that are of the class, or given to it, of
    whether they are both; F1 is the same with those that are both counted twice. So their
    intervals are those of means over pixels that know their neighbours: blocks are drawn, and the
    width is corrected for what reaches beyond a block and for its own uncertainty (`aggregate`).
    The mean over classes is that of the pixels' influence on it. Intervals end at 0 and 1.
    A class that lies in a single block has no interval.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xrxai
    >>> from xrxai import training
    >>> classes = training.Classes(["soil", "crop"])
    >>> cube = xr.DataArray(np.linspace(0, 1, 64).reshape(1, 8, 8), dims=("band", "y", "x"))
    >>> labels = training.labels_of((cube[0] > 0.6).astype(int), cube, classes)
    >>> model = xrxai.Model(
    ...     lambda x: x.new_tensor([1, -1])[:, None, None] * (0.5 - x),
    ...     takes="patch", gives="map", targets=classes.names,
    ... )
    >>> training.evaluate(cube, labels, model).confusion.values.tolist()
    [[32, 6], [0, 26]]
    """
    model = Model.ensure(model)
    classes = classes_of(labels)
    n_boot, seed = at_least(n_boot, 1, "n_boot"), at_least(seed, 0, "seed")
    if not 0 < level < 1:
        raise OptionError(f"level={level!r} is not between 0 and 1; type level=0.95.")
    truth = labels_of(labels, cube, classes).to_numpy().astype(np.int64)
    if block is not None and at_least(block, 1, "block") > min(truth.shape):
        raise OptionError(
            f"block={block} pixels, and the scene has {truth.shape[0]} rows and {truth.shape[1]} "
            f"columns; type a block of a fifth of its side or less."
        )
    if where is not None:
        truth = np.where(_where(where, cube, truth.shape), truth, UNLABELLED)
    if not (truth >= 0).any():
        raise LabelError(
            "No pixel is labelled"
            + (" where where= is True" if where is not None else "")
            + ", so there is nothing to compare with; pass labels of these pixels."
        )
    found = numbered(model, classes)[_class_map(cube, model, truth >= 0, progress)]
    unseen = int(((truth >= 0) & (found < 0)).sum())
    truth[found < 0] = UNLABELLED
    if not (truth >= 0).any():
        raise LabelError(
            f"All {unseen} labelled pixels have no data in the cube, so there is nothing to "
            f"compare; pass labels of pixels that were measured."
        )
    made = scores(confusion_of(truth, found, len(classes)))
    made |= _intervals(truth, found, made, block=block, draws=n_boot, level=level, seed=seed)
    result = dressed_scores(made, classes)
    result.attrs |= {"level": level, "n_boot": n_boot, "seed": seed, "model": repr(model)}
    if unseen:
        result.attrs["labelled_without_data"] = unseen
    return result


def _where(where: Any, cube: xr.DataArray, shape: tuple[int, ...]) -> np.ndarray:
    """Bool (y, x), or why it cannot say which pixels count."""
    place = locate(cube)
    if isinstance(where, xr.DataArray) and {place.y, place.x} <= set(where.dims):
        where = where.transpose(..., place.y, place.x)
    array = np.asarray(where)
    if array.shape != shape or array.dtype != bool:
        raise OptionError(
            f"where= has shape {array.shape} and dtype {array.dtype}, and it must be bool with "
            f"{shape[0]} rows and {shape[1]} columns; type a comparison such as "
            f"where=split == 2."
        )
    return array


def numbered(model: Model, classes: Classes) -> np.ndarray:
    """The class number of each target, and -1 behind the last for pixels without data."""
    numbers = []
    for name in model.targets:
        if name in classes.names:
            numbers.append(classes.names.index(name))
        elif name.isdecimal() and int(name) < len(classes):
            numbers.append(int(name))
        else:
            listed = ", ".join(map(repr, classes.names[:12])) + ", ..." * (len(classes) > 12)
            raise TargetError(
                f"The model has the target {name!r}, which is no class of the labels; these are "
                f"{listed}. Type xrxai.Model(..., targets=classes.names), or make labels with "
                f"the classes of the model."
            )
    return np.array([*numbers, UNLABELLED])


def _class_map(cube: xr.DataArray, model: Model, wanted: np.ndarray, progress: bool) -> np.ndarray:
    """Position of each pixel's target, -1 without data; of a lazy scene where there are labels."""
    place = locate(cube)
    predicted = predict(cube, model, classes=True, progress=progress)
    made = predicted["class_map"].transpose(..., place.y, place.x)
    if made.shape != wanted.shape:
        raise OptionError(
            f"The cube has the dims {tuple(map(str, cube.dims))}, and labels are of one scene; "
            f"type cube.isel({place.lead[0] if place.lead else 'time'}=0) to take the first."
        )
    if made.chunks is None:
        return np.asarray(made.to_numpy())
    from dask.base import compute

    parts, at = [], []
    edges = [np.cumsum((0, *sizes)) for sizes in made.chunks]
    for i, j in np.ndindex(*(len(sizes) for sizes in made.chunks)):
        window = slice(*edges[0][i : i + 2]), slice(*edges[1][j : j + 2])
        if wanted[window].any():
            at.append(window)
            parts.append(made.data.blocks[i, j])
    found = np.full(wanted.shape, UNLABELLED, np.int16)
    for window, values in zip(at, compute(*parts), strict=True):
        found[window] = values
    return found


def _intervals(
    truth: np.ndarray,
    found: np.ndarray,
    made: dict[str, np.ndarray],
    *,
    block: int | None,
    draws: int,
    level: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Ends of the intervals, by means over cells of pixels (see `evaluate`, Notes)."""
    cell = -(-max(truth.shape) // CELLS)
    if block is not None:
        cell = max(1, min(cell, block // 4))
    sized = None if block is None else max(1, round(block / cell))
    how: Any = {"block": sized, "draws": draws, "confidence": level, "seed": seed}
    known = _summed(truth >= 0, cell)
    influence, count = np.zeros_like(known), len(made["iou"])
    ends = {name: np.full((2, count), np.nan) for name in ("iou", "f1")}
    length = np.full(count, np.nan)
    present = np.flatnonzero(made["class_present"])
    for k in present:
        both = _summed((truth == k) & (found == k), cell)
        either = _summed((truth >= 0) & ((truth == k) | (found == k)), cell)
        for name, above, below in (("iou", both, either), ("f1", 2 * both, both + either)):
            mean = of_cells(_sums(above, below), **how)
            ends[name][:, k] = mean[2:4]
            if name == "iou":
                length[k] = mean[6] * cell
        influence += (both - made["iou"][k] * either) / (either.sum() * len(present))
    # Values whose weighted mean is the mean over classes, and whose residuals are its influence.
    values = made["mean_iou"] * known + influence * known.sum()
    both_ends = of_cells(_sums(values, known), **how)[2:4]
    result = {
        f"{n}_ci_{e}": v.clip(0, 1)
        for n in ends
        for e, v in zip(("low", "high"), ends[n], strict=True)
    }
    result |= {
        f"mean_iou_ci_{e}": np.clip(v, 0, 1)
        for e, v in zip(("low", "high"), both_ends, strict=True)
    }
    return result | {"block_length": length}


def _summed(pixels: np.ndarray, side: int) -> np.ndarray:
    """Sums of (y, x) over squares of `side` pixels."""
    made = pixels.astype(np.float64)
    for axis in (0, 1):
        made = np.add.reduceat(made, np.arange(0, made.shape[axis], side), axis=axis)
    return made


def _sums(weighted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What `of_cells` takes: of values, of weights, of positive ones, and how many."""
    return np.stack([weighted, weight, np.zeros_like(weight), weight])
