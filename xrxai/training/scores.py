"""From pixels (true, predicted) to scores of classes."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.training.classes import Classes, table_of

ABOUT = {
    "confusion": ("labelled pixels", "1"),
    "iou": ("intersection over union", "1"),
    "f1": ("F1, harmonic mean of precision and recall", "1"),
    "precision": ("share of what was given to the class that belongs to it", "1"),
    "recall": ("share of the class that was found", "1"),
    "pixels": ("labelled pixels of the class", "1"),
    "class_present": ("whether the class is among the labels", "1"),
    "mean_iou": ("mean of the intersection over union, of classes that are present", "1"),
    "accuracy": ("share of labelled pixels that are right", "1"),
}


def confusion_of(truth: np.ndarray, found: np.ndarray, count: int) -> np.ndarray:
    """Class numbers -> pixels (true, predicted), where both are known."""
    known = (truth >= 0) & (found >= 0)
    pairs = truth[known].astype(np.int64) * count + found[known]
    made: np.ndarray = np.bincount(pairs, minlength=count**2).reshape(count, count)
    return made


def scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Pixels (true, predicted) -> scores of classes, NaN for those that nobody labelled."""
    both = np.diag(confusion).astype(np.float64)
    true, given = confusion.sum(1), confusion.sum(0)
    present = true > 0

    def share(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        known = present & (below > 0)
        made: np.ndarray = np.divide(above, below, out=np.full(len(both), np.nan), where=known)
        return made

    iou = share(both, true + given - both)
    total = int(true.sum())
    return {
        "confusion": confusion,
        "iou": iou,
        "f1": share(2 * both, true + given),
        "precision": share(both, given),
        "recall": share(both, true),
        "pixels": true,
        "class_present": present,
        "mean_iou": np.array(iou[present].mean() if total else np.nan),
        "accuracy": np.array(both.sum() / total if total else np.nan),
    }


def dressed_scores(made: dict[str, np.ndarray], classes: Classes) -> xr.Dataset:
    """Scores by name -> a Dataset with names of classes, and words on what is absent."""
    dims = {0: (), 1: ("class",), 2: ("true", "predicted")}
    result = xr.Dataset({name: (dims[a.ndim], a) for name, a in made.items()})
    names = list(classes.names)
    result = result.assign_coords({"class": names, "true": names, "predicted": names})
    for name, array in result.data_vars.items():
        base = str(name).removesuffix("_ci_low").removesuffix("_ci_high")
        end = {"_ci_low": ", lower end", "_ci_high": ", upper end"}.get(str(name)[len(base) :], "")
        about, units = ABOUT.get(base, ("side of the blocks that were drawn", "pixels"))
        array.attrs = {"long_name": about + end, "units": units}
    absent = [n for n, there in zip(names, made["class_present"], strict=True) if not there]
    said = f"no labelled pixel, so no score and no part in mean_iou: {', '.join(absent)}"
    result.attrs = {"absent": said if absent else "none", "classes": table_of(classes)}
    return result
