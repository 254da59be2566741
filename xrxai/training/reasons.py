"""Why a model errs: which band groups, and which places, speak for the wrong class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.aggregation.aggregate import aggregate
from xrxai.attribution.shap import kernel_shap_spatial, kernel_shap_spectral
from xrxai.errors import LabelError, OptionError, at_least
from xrxai.labelled import bands as band_groups
from xrxai.labelled import statistics
from xrxai.model import Model
from xrxai.prediction import predict
from xrxai.training.answers import require_pixels
from xrxai.training.classes import UNLABELLED, Classes, classes_of, labels_of
from xrxai.training.margins import called, margins_of
from xrxai.training.metrics import numbered
from xrxai.training.places import in_memory, scene
from xrxai.training.scores import confusion_of

if TYPE_CHECKING:
    from xrxai.labelled.baseline import Baseline


PLACES = ("inside", "beside", "beyond")


def explain_errors(
    cube: xr.DataArray,
    labels: xr.DataArray,
    model: Model,
    *,
    predicted: xr.DataArray | None = None,
    confusions: Sequence[tuple[str, str]] | None = None,
    n_confusions: int = 3,
    n_objects: int = 8,
    min_pixels: int = 9,
    bands: band_groups.Bands = 50.0,
    baseline: Baseline = "right",
    n_samples: int | None = None,
    beside: int = 8,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Tell which band groups make a model take one class for another, and from where.

    Explained is the margin, the score of the class that the model chose minus that of the label,
    over the pixels where it chose wrongly. What is absent takes the mean spectrum of the pixels of
    the same label that the model got right. So a group's share answers: how much of the wrong
    margin comes from how these pixels differ, in this group, from those that went well? Of a
    label that the model never got right, the mean of all labelled pixels stands in.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        One scene, in memory.
    labels : DataArray, (y, x)
        Of `rasterise` or `labels_of`; unlabelled pixels are no errors.
    model : Model
        Whose targets are the classes: logits (``activation=None``) for each pixel, or a
        classifier of scikit-learn, whose log-probabilities are compared.
    predicted : DataArray, (y, x), optional
        ``class_map`` of `xrxai.predict`, to save asking again.
    confusions : sequence of (str, str), optional
        Pairs (label, chosen class). Default: the `n_confusions` with the most pixels.
    n_confusions : int, default: 3
        How many pairs to explain.
    n_objects : int, default: 8
        Of each pair, the largest connected groups of wrong pixels. More narrow the interval and
        cost as much each.
    min_pixels : int, default: 9
        Smaller groups are edges of fields, where spectra are mixed; left out.
    bands : optional
        Band groups; see `xrxai.band_groups`. Default: 50 nm wide. Up to 12 groups are exact.
    baseline : optional
        ``"right"``, as told above, or what `xrxai.baseline` knows.
    n_samples : int, optional
        Coalitions for more than 12 groups; see `xrxai.kernel_shap_spectral`.
    beside : int, default: 8
        How many pixels around the wrong ones count as beside them.
    device : str, optional
        Overrides ``model.device``.
    batch_size : int, optional
        Overrides ``model.batch_size``; changes memory and speed, not the result.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Dataset
        An explanation, so that ``why.xai.plot()`` draws it, whose targets are the pairs
        ("Wheat -> Rye"): ``attribution`` (target, group), the Shapley share of the margin in
        logits, mean over wrong pixels, with ``standard_error``, ``ci_low`` and ``ci_high`` (95 %)
        over the objects; ``error_pixels``, ``error_objects`` (target); ``reason`` (target), the
        group that says most; for models of maps also ``place_attribution`` (target, place), the
        share in the margin of the spectra of the wrong pixels themselves ("inside"), of those
        "beside" them and of all "beyond", with all bands absent, also those in no group.

    Raises
    ------
    LabelError
        There is no error to explain, or none as large as `min_pixels`.
    ModelError
        The model answers for patches, not for pixels.
    OptionError
        A pair that there is not, probabilities instead of logits, or a lazy cube.
    TargetError
        A target of the model is no class.

    References
    ----------
    .. [1] S. M. Lundberg, S.-I. Lee (2017). A unified approach to interpreting model
       predictions. https://arxiv.org/abs/1705.07874
    """
    classes = classes_of(labels)
    model = Model.ensure(model)
    at_least(n_confusions, 1, "n_confusions")
    at_least(n_objects, 1, "n_objects")
    at_least(min_pixels, 1, "min_pixels")
    at_least(beside, 1, "beside")
    place = scene(cube)
    in_memory(place, "explain_errors")
    require_pixels(model)
    number = numbered(model, classes)
    y, x = str(place.y), str(place.x)
    if predicted is None:
        predicted = predict(cube, model, classes=True, progress=progress)["class_map"]
    told = labels_of(labels, cube, classes).values
    chosen = number[predicted.transpose(y, x).values.astype(np.int64)]
    pairs = _pairs(told, chosen, classes, number, confusions, n_confusions)
    targets = {classes.names[k]: i for i, k in enumerate(number[:-1])}
    margins = margins_of(model, pairs, targets)
    parts = []
    for a, b in pairs:
        wrong = (told == classes.names.index(a)) & (chosen == classes.names.index(b))
        ids = _largest(wrong, n_objects, min_pixels)
        if not ids.any():
            if confusions is None:
                continue
            raise LabelError(
                f"{a!r} is taken for {b!r} in {int(wrong.sum())} pixels, and no {min_pixels} of "
                f"them are connected; type min_pixels=1, or leave the pair out."
            )
        spectrum = _contrast(cube, told, chosen, classes.names.index(a), baseline)
        name = called(a, b)
        asked: dict[str, Any] = {"device": device, "batch_size": batch_size, "progress": progress}
        made = _share(cube, margins, name, ids, spectrum, bands, n_samples, asked)
        made["error_pixels"] = ("target", [int(wrong.sum())])
        made["error_objects"] = ("target", [int(ids.max())])
        if model.gives == "map":
            made = made.merge(_where(cube, margins, name, ids > 0, spectrum, beside, asked))
        parts.append(made)
    if not parts:
        raise LabelError(
            f"No {min_pixels} connected pixels are wrong in the same way; type min_pixels=1 to "
            f"explain single ones."
        )
    joined = xr.concat(parts, "target", data_vars="minimal", coords="minimal", compat="override")
    return _told(joined)


def _pairs(
    told: np.ndarray,
    chosen: np.ndarray,
    classes: Classes,
    number: np.ndarray,
    confusions: Sequence[tuple[str, str]] | None,
    n: int,
) -> list[tuple[str, str]]:
    """The pairs (label, chosen) to explain."""
    if confusions is not None:
        names = [name for k, name in enumerate(classes.names) if k in number]
        pairs: list[Sequence[str]] = list(confusions) or [()]
        for pair in pairs:
            if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(names):
                raise OptionError(
                    f"confusions has {pair!r}, and a pair of two classes of the model (label, "
                    f"chosen) is needed; choose out of {', '.join(map(repr, names))}."
                )
        return list(dict.fromkeys((str(a), str(b)) for a, b in pairs))
    both = (told != UNLABELLED) & (chosen != UNLABELLED) & (told != chosen)
    if not both.any():
        raise LabelError(
            "The model is right wherever there is a label, so there is no error to explain; give "
            "labels that it has not seen."
        )
    counts = confusion_of(told, chosen, len(classes))
    np.fill_diagonal(counts, 0)
    counts[np.setdiff1d(np.arange(len(classes)), number)] = 0  # the model cannot choose these
    if not counts.any():
        raise LabelError(
            "All errors are in classes that the model does not know, which have no score to "
            "compare; train one that knows them."
        )
    order = np.argsort(-counts, axis=None, kind="stable")[:n]
    found = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, counts.shape), strict=True)]
    return [(classes.names[i], classes.names[j]) for i, j in found if counts[i, j]]


def _largest(wrong: np.ndarray, n: int, min_pixels: int) -> np.ndarray:
    """Ids from 1 of the largest connected groups of pixels."""
    from skimage.measure import label

    ids = label(wrong, connectivity=1)  # type: ignore[no-untyped-call]
    sizes = np.bincount(ids.ravel())
    sizes[0] = 0
    best = [i for i in np.argsort(-sizes, kind="stable")[:n].tolist() if sizes[i] >= min_pixels]
    table = np.zeros(len(sizes), np.int64)
    table[best] = np.arange(1, len(best) + 1)
    made: np.ndarray = table[ids]
    return made


def _contrast(
    cube: xr.DataArray, told: np.ndarray, chosen: np.ndarray, of: int, baseline: Baseline
) -> Baseline:
    """The mean spectrum of what has the label and was found right."""
    if not (isinstance(baseline, str) and baseline == "right"):
        return baseline
    place = scene(cube)
    right = (told == of) & (chosen == of)
    if not right.any():  # nothing of the label is to compare with but the errors themselves
        right = told != UNLABELLED
    keep = xr.DataArray(right, dims=(place.y, place.x))
    mean = place.data.where(keep & place.valid().reset_coords(drop=True))
    spectrum: xr.DataArray = mean.mean(statistics.pixels(place)).compute()
    return spectrum.reset_coords(drop=True).rename("mean of right pixels")


def _share(
    cube: xr.DataArray,
    margins: Model,
    name: str,
    ids: np.ndarray,
    baseline: Baseline,
    bands: band_groups.Bands,
    n_samples: int | None,
    asked: dict[str, Any],
) -> xr.Dataset:
    """Shapley shares of the groups, mean over wrong pixels, with an interval over objects."""
    place = scene(cube)
    objects = xr.DataArray(ids, dims=(place.y, place.x))
    why = kernel_shap_spectral(
        cube,
        margins,
        target=[name],
        bands=bands,
        baseline=baseline,
        n_samples=n_samples,
        per=objects,
        **asked,
    )
    size = why["region_size"]
    if margins.gives == "map":  # sums over the pixels of a region
        for key in ("attribution", "prediction", "baseline_prediction"):
            why[key] = (why[key] / size).assign_attrs(why[key].attrs)
    weights = size.reset_coords(drop=True).astype(np.float64)
    mean = aggregate(why, "region", weights=weights, interval="t", quantiles=())
    for key in ("prediction", "baseline_prediction"):
        mean[key] = why[key].weighted(weights).mean("region").assign_attrs(why[key].attrs)
    return mean


def _where(
    cube: xr.DataArray,
    margins: Model,
    name: str,
    wrong: np.ndarray,
    baseline: Baseline,
    beside: int,
    asked: dict[str, Any],
) -> xr.Dataset:
    """Shapley shares of the wrong pixels themselves, of those beside them and of all others."""
    from scipy.ndimage import distance_transform_edt

    place = scene(cube)
    far = distance_transform_edt(~wrong)
    number = np.select([wrong, far <= beside], [1, 2], 3)
    dims = (place.y, place.x)
    why = kernel_shap_spatial(
        cube,
        margins,
        target=[name],
        segments=xr.DataArray(number, dims=dims),
        baseline=baseline,
        region=xr.DataArray(wrong, dims=dims),
        **asked,
    )
    shares = why["attribution"] / int(wrong.sum())
    there = dict(zip(why["segment"].values.tolist(), shares.values[0].tolist(), strict=True))
    made = np.array([[there.get(k, 0.0) for k in (1, 2, 3)]])
    about = {"long_name": "share of the mean margin, by where it comes from", "units": "1"}
    return xr.Dataset(
        {"place_attribution": (("target", "place"), made, about)},
        coords={"target": [name], "place": list(PLACES)},
    )


def _told(made: xr.Dataset) -> xr.Dataset:
    """Add in words what says most."""
    values = made["attribution"]
    groups = made["group"].values.tolist()
    said = []
    for target in made["target"].values.tolist():
        one = values.sel(target=target).values
        k = int(np.nanargmax(one))
        gain = one[one > 0].sum()
        of = f"{100 * one[k] / gain:.0f} % of what speaks for it" if gain > 0 else "nothing does"
        said.append(f"{target}: {groups[k]} ({of})")
    made["reason"] = ("target", said, {"long_name": "band group that speaks most for the error"})
    made["error_pixels"].attrs = {"long_name": "pixels of this error", "units": "1"}
    made["error_objects"].attrs = {"long_name": "connected groups explained", "units": "1"}
    return made
