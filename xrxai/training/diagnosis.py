"""What is wrong with a model, and where: errors, doubt, places it does not know, reasons."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.errors import LabelError
from xrxai.labelled import bands as band_groups
from xrxai.model import Model
from xrxai.training.answers import probabilities
from xrxai.training.applicability import applicability
from xrxai.training.classes import UNLABELLED, Classes, classes_of, dressed, labels_of
from xrxai.training.doubt import Objects, label_errors
from xrxai.training.metrics import numbered
from xrxai.training.places import in_memory, scene, trained_mask
from xrxai.training.reasons import explain_errors
from xrxai.training.scores import confusion_of, dressed_scores, scores
from xrxai.training.shift import explanation_shift


def diagnose(
    cube: xr.DataArray,
    labels: xr.DataArray,
    model: Model,
    *,
    trained: xr.DataArray | np.ndarray | None = None,
    probability: xr.DataArray | None = None,
    objects: Objects = "drawn",
    bands: band_groups.Bands = 50.0,
    n_confusions: int = 3,
    n_objects: int = 6,
    block: int = 32,
    explain: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> xr.DataTree:
    """
    Examine a model on labels: where it errs and why, which labels to doubt, where it is blind.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        One scene, in memory.
    labels : DataArray, (y, x)
        Of `rasterise` or `labels_of`; -1 is judged by the model's own uncertainty only.
    model : Model
        Whose targets are the classes.
    trained : DataArray or array of bool, (y, x), optional
        True where the model was trained. Errors are then counted elsewhere, and the area of
        applicability and the shift of explanations are told. Where all labels were trained on,
        there are no scores (NaN) and no errors, and the maps are what `next_tiles` needs.
    probability : DataArray, (class, y, x), optional
        Of `cross_predict`, from models that have not seen the labels, to doubt labels by.
        Default: what this model says, which believes the labels that it has learned.
    objects : "drawn", map of ids (y, x) or None, default: "drawn"
        What was labelled at once; see `label_errors`.
    bands : optional
        Band groups of the explanations; see `xrxai.band_groups`. Default: 50 nm wide.
    n_confusions : int, default: 3
        How many pairs of classes to explain.
    n_objects : int, default: 6
        Of each pair, how many groups of wrong pixels.
    block : int, default: 32
        Side in pixels of the blocks of `applicability`.
    explain : bool, default: True
        False leaves out what takes most of the time: the reasons and the shift of explanations.
    seed : int, default: 0
        Of what is drawn.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    DataTree
        At the root, over (y, x): ``class_map``; ``uncertainty``, the entropy of the answer from
        0 to 1; ``false_positive`` and ``false_negative`` (class, y, x), what was given to the
        class wrongly and what was missed; ``label`` as given; with `trained` also
        ``dissimilarity`` and ``applicable`` (`applicability`), ``explanation_shift`` and
        ``trained``. In ``/scores``, by class, ``iou``, ``f1``, ``precision``, ``recall``,
        ``confusion``, and ``rank``, where 1 is the worst. In ``/labels`` what `label_errors` says;
        in ``/errors``, unless there is no error of some size, what `explain_errors` says.

    Raises
    ------
    LabelError
        No pixel has a label and data.
    ModelError
        The model answers for patches, not for pixels.
    OptionError
        The cube is lazy, or `trained` is no mask of it.
    TargetError
        A target of the model is no class.
    """
    classes = classes_of(labels)
    model = Model.ensure(model)
    place = scene(cube)
    in_memory(place, "a diagnosis")
    labels = labels_of(labels, cube, classes)
    told = labels.values
    mask = None if trained is None else trained_mask(trained, place)
    p = probabilities(cube, model, classes, progress=progress)
    known = p.notnull().all("class").values
    found = np.where(known, p.fillna(0).argmax("class").values, UNLABELLED).astype(np.int16)
    judged = (told != UNLABELLED) & known
    if mask is not None:
        judged &= ~mask
    if mask is None and not judged.any():
        raise LabelError(
            "No pixel with a label and data is there to judge the model by; label some that it "
            "has not seen."
        )
    root = _maps(cube, classes, told, found, p, judged)
    if mask is not None:
        root["trained"] = (root["label"].dims, mask, {"long_name": "trained on"})
        root = root.merge(applicability(cube, mask, block=block, seed=seed), compat="override")
        if explain and model.gives == "map" and model.arrays == "torch":
            root["explanation_shift"] = explanation_shift(
                cube, model, mask, bands=bands, seed=seed, progress=progress
            )
    nodes = {"/": root, "/scores": _scored(told, found, judged, classes)}
    doubted = label_errors(labels, p if probability is None else probability, objects=objects)
    doubted.attrs["seen"] = int(probability is None)
    nodes["/labels"] = doubted
    if not judged.any():
        root.attrs["errors"] = "all labels were trained on, so none can judge"
    elif explain:
        seen = labels.copy(data=np.where(judged, told, UNLABELLED).astype(np.int16))
        try:
            nodes["/errors"] = explain_errors(
                cube,
                seen,
                model,
                predicted=_positions(root["class_map"], model, classes),
                n_confusions=n_confusions,
                n_objects=n_objects,
                bands=bands,
                progress=progress,
            )
        except LabelError as none:  # no error of some size is good news
            root.attrs["errors"] = str(none)
    return xr.DataTree.from_dict(nodes)


def _maps(
    cube: xr.DataArray,
    classes: Classes,
    told: np.ndarray,
    found: np.ndarray,
    p: xr.DataArray,
    judged: np.ndarray,
) -> xr.Dataset:
    """What is told of each pixel."""
    values = np.clip(p.values, 1e-12, 1)
    entropy = -(values * np.log(values)).sum(0) / np.log(len(classes))
    class_map = dressed(found, cube, classes).rename("class_map")
    class_map.attrs["long_name"] = "class that the model chose, -1 = no data"
    each = np.arange(len(classes))[:, None, None]
    wrong = judged & (told != found)
    over = ("class", *class_map.dims)
    return xr.Dataset(
        {
            "class_map": class_map,
            "label": dressed(told, cube, classes),
            "uncertainty": (
                class_map.dims,
                entropy.astype(np.float32),
                {"long_name": "entropy of the answer over its maximum", "units": "1"},
            ),
            "false_positive": (
                over,
                wrong & (found == each),
                {"long_name": "given to the class wrongly"},
            ),
            "false_negative": (over, wrong & (told == each), {"long_name": "of the class, missed"}),
        },
        coords={"class": list(classes.names)},
    )


def _scored(
    told: np.ndarray, found: np.ndarray, judged: np.ndarray, classes: Classes
) -> xr.Dataset:
    counts = confusion_of(np.where(judged, told, UNLABELLED), found, len(classes))
    made = dressed_scores(scores(counts), classes)
    order = np.argsort(np.nan_to_num(made["iou"].values, nan=2.0), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    made["rank"] = ("class", rank, {"long_name": "1 = the worst class", "units": "1"})
    return made


def _positions(class_map: xr.DataArray, model: Model, classes: Classes) -> xr.DataArray:
    """Numbers of the classes -> positions in the model's targets, as `predict` counts."""
    table = np.full(len(classes) + 1, UNLABELLED)
    number = numbered(model, classes)[:-1]
    table[number] = np.arange(len(number))
    return class_map.copy(data=table[class_map.values])
