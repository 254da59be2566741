"""What models say of pixels, and of pixels whose labels they have not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr

from xrxai.errors import LabelError, ModelError, at_least
from xrxai.model import Model
from xrxai.prediction import predict
from xrxai.training.classes import UNLABELLED, Classes, classes_of, labels_of
from xrxai.training.doubt import Objects, objects_of
from xrxai.training.metrics import numbered
from xrxai.training.places import kept_coords, plane, scene


def cross_predict(
    cube: xr.DataArray,
    labels: xr.DataArray,
    make: Callable[[xr.DataArray, xr.DataArray], Model] | None = None,
    *,
    folds: int = 4,
    objects: Objects = "drawn",
    max_pixels: int = 20_000,
    seed: int = 0,
    progress: bool = True,
) -> xr.DataArray:
    """
    Let models answer for labels that they have not seen.

    A model that was trained on a wrong label has learned it, and does not doubt it. Here the
    labels are dealt into folds, a model is made from all but one, and answers for that one; what
    was drawn at once stays in one fold, with its error.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In memory or lazy.
    labels : DataArray, (y, x)
        Of `rasterise` or `labels_of`.
    make : callable, optional
        ``make(cube, labels)`` returns a trained `xrxai.Model` that gives each pixel a score per
        class; in `labels` the held-out fold is not labelled. Default: extremely randomised trees
        on spectra, which take seconds.
    folds : int, default: 4
        More train on more labels and take longer.
    objects : "drawn", map of ids (y, x) or None, default: "drawn"
        What stays together: connected pixels of one class, polygons by their id (0 = none), or
        each pixel by itself, whose neighbours then give its error away.
    max_pixels : int, default: 20000
        Of the default trees: how many pixels a fold learns from.
    seed : int, default: 0
        Of the folds and the trees.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    DataArray, (class, y, x)
        Probability of each class from a model that has not seen the pixel's label; NaN where
        there is no label or no data.

    Raises
    ------
    LabelError
        Fewer objects than folds.
    """
    classes = classes_of(labels)
    at_least(folds, 2, "folds")
    at_least(max_pixels, 1, "max_pixels")
    scene(cube)
    labels = labels_of(labels, cube, classes)
    ids = objects_of(labels, objects)
    known = (labels.values != UNLABELLED) & (ids > 0)
    present, first = np.unique(np.where(known, ids, 0), return_index=True)
    present, first = present[present > 0], first[present > 0]
    if len(present) < folds:
        raise LabelError(
            f"The labels make {len(present)} objects, too few for folds={folds}; type "
            f"folds={max(len(present), 2)}, or objects=None to deal out pixels."
        )
    rng = np.random.default_rng(seed)
    dealt = _dealt(rng, labels.values.ravel()[first], folds)
    at = np.minimum(np.searchsorted(present, ids), len(present) - 1)
    fold = np.where(known, dealt[at], -1)
    found = np.full((len(classes), *labels.shape), np.nan, np.float32)
    for k in range(folds):
        held = fold == k
        seen = labels.where(~held, UNLABELLED).astype(np.int16)
        if len(np.unique(seen.values[seen.values != UNLABELLED])) < 2:
            raise LabelError(
                f"Without fold {k} the labels have one class, and no model can be made; type fewer "
                f"folds, or label more."
            )
        model = _trees(cube, seen, max_pixels, seed + k) if make is None else make(cube, seen)
        answer = probabilities(cube, model, classes, progress=progress)
        found[:, held] = answer.values[:, held]
    dims = ("class", *labels.dims)
    made = xr.DataArray(
        found, dims=dims, coords=kept_coords(labels, plane(labels)), name="probability"
    )
    made = made.assign_coords({"class": list(classes.names)})
    return made.assign_attrs(long_name="probability from models that have not seen the label")


def probabilities(
    cube: xr.DataArray, model: Model, classes: Classes, *, progress: bool = True
) -> xr.DataArray:
    """
    Turn what a model says of each pixel into probabilities of the classes.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The scene.
    model : Model
        Of maps or spectra; logits, unless it is a classifier of scikit-learn or has an
        `activation`. Targets are found by name; classes that it does not know get 0.
    classes : Classes
        Those of the labels.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    DataArray, (class, y, x)
        Summing to 1, NaN where there is no data.

    Raises
    ------
    ModelError
        The model answers for patches, not for pixels.
    TargetError
        A target of the model is no class.
    """
    model = Model.ensure(model)
    place = scene(cube)
    require_pixels(model)
    number = numbered(model, classes)[:-1]
    if model.activation is None and not model.is_estimator:
        model = replace(model, activation="softmax")
    answer = predict(cube, model, classes=False, progress=progress)["prediction"]
    answer = answer.assign_coords(target=[classes.names[k] for k in number])
    whole = answer.notnull().all("target")
    made = answer.reindex(target=list(classes.names), fill_value=0.0).rename(target="class")
    made = (made / made.sum("class")).where(whole)  # sigmoids do not sum to 1
    made.attrs = {"long_name": "probability of the class", "units": "1"}
    return made.transpose("class", place.y, place.x).rename("probability")


def require_pixels(model: Model) -> None:
    """Refuse a model that has one answer for a whole patch."""
    if model.takes == "patch" and model.gives == "vector":
        raise ModelError(
            f"{model.label} has one answer for a whole patch, and labels are of pixels; give a "
            f"model of spectra, or one with gives='map'."
        )


def _dealt(rng: np.random.Generator, told: np.ndarray, folds: int) -> np.ndarray:
    """Class of each object -> its fold, so that each fold has its share of each class."""
    dealt = np.empty(len(told), np.int64)
    dealt[np.lexsort((rng.random(len(told)), told))] = np.arange(len(told)) % folds
    return dealt


def _trees(cube: xr.DataArray, labels: xr.DataArray, max_pixels: int, seed: int) -> Model:
    """Trees on spectra of some pixels."""
    from sklearn.ensemble import ExtraTreesClassifier

    place = scene(cube)
    told = labels.values
    usable = (told != UNLABELLED) & place.valid().transpose(place.y, place.x).values
    names = classes_of(labels).names
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.flatnonzero(usable))[:max_pixels]
    y, x = np.unravel_index(rows, told.shape)
    points = {str(place.y): xr.DataArray(y, dims="p"), str(place.x): xr.DataArray(x, dims="p")}
    spectra = place.data.isel(points).transpose("p", place.band).values
    trees = ExtraTreesClassifier(100, min_samples_leaf=3, random_state=seed)
    trees.fit(np.nan_to_num(spectra), np.array(names)[told.ravel()[rows]])
    return Model(trees, takes="spectrum")
