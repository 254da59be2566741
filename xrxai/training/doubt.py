"""Which labels are probably wrong: confident learning, of pixels or of what was drawn at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import LabelError, OptionError, at_least, positive
from xrxai.training.classes import UNLABELLED, Classes, classes_of
from xrxai.training.places import kept_coords, plane

Objects = Any
"""What `objects=` accepts: "drawn", a map of ids (y, x), or None for pixels."""


def label_errors(
    labels: xr.DataArray,
    probability: xr.DataArray,
    *,
    objects: Objects = "drawn",
    min_pixels: int = 4,
    least: float = 0.6,
) -> xr.Dataset:
    """
    Find labels that are probably wrong, by confident learning.

    What counts is how sure the model is of a class where labels name it, on average: of rare and
    of confusable classes it is less sure, and should not be blamed for it. A label is suspect when
    the model believes in it less than 40 % as much as in others of its class, and more in another
    class.

    Parameters
    ----------
    labels : DataArray, (y, x)
        Of `rasterise` or `labels_of`.
    probability : DataArray, (class, y, x)
        From models that have not seen these labels: see `cross_predict`.
    objects : "drawn", map of ids (y, x) or None, default: "drawn"
        What was labelled at once and is right or wrong as a whole, as polygons are: its
        probabilities are averaged. "drawn" are connected pixels of one class, so that neighbours
        of one class count as one, and the wrong one among them hides; ids of polygons find it.
        None: each pixel by itself.
    min_pixels : int, default: 4
        Smaller objects are not judged: their spectra are mixtures with the neighbours'.
    least : float, default: 0.6
        Doubt from which a label is suspect. Larger finds fewer, and is wrong less often.

    Returns
    -------
    Dataset
        ``label_doubt`` (y, x), one minus the probability of the label relative to the mean of its
        class, from 0 to 1; ``suspect`` (y, x) bool; ``likely`` (y, x), the number of the likeliest
        class; ``threshold`` (class), the mean probability of a class where labels name it;
        ``confident_joint`` (given_class, likely_class), how many objects (or pixels) with a label
        pass the threshold of which class. With objects also, over ``object``:
        ``object_id``, ``given``, ``instead``, ``doubt``, ``doubted`` and ``pixels``, the most
        doubtful first. Without data and labels: NaN, False and -1.

    Raises
    ------
    LabelError
        The probabilities are not those of the classes, or of another grid.

    Notes
    -----
    Confident learning [1]_ calls a label wrong when another class passes its own threshold. For
    whole fields of one label that finds no error between classes which the model can hardly
    tell apart; comparing the label with its own class finds these, too.

    References
    ----------
    .. [1] C. G. Northcutt, L. Jiang, I. L. Chuang (2021). Confident learning: estimating
       uncertainty in dataset labels. JAIR 70. https://doi.org/10.1613/jair.1.12125
    """
    classes = classes_of(labels)
    labels = labels.transpose(*plane(labels))
    at_least(min_pixels, 1, "min_pixels")
    if positive(least, "least", 0.6) >= 1:
        raise OptionError(f"least={least!r} is not below 1; type least=0.6.")
    p, given = _paired(labels, probability, classes)
    known = (given != UNLABELLED) & np.isfinite(p).all(0)
    if not known.any():
        raise LabelError(
            "No pixel has both a label and probabilities; check that both lie on the same part of "
            "the cube."
        )
    if objects is None:
        unit = np.where(known, np.arange(1, given.size + 1).reshape(given.shape), 0)
        rows = np.flatnonzero(known.ravel())
        mean, told = p.reshape(len(classes), -1)[:, rows].T, given.ravel()[rows]
        pixels, names = np.ones(len(rows), np.int64), rows + 1
        usable = np.ones(len(rows), bool)
    else:
        unit = np.where(known, objects_of(labels, objects), 0)
        names, where = np.unique(unit, return_inverse=True)
        where = where.reshape(-1)
        pixels = np.bincount(where, minlength=len(names))
        mean = np.stack([np.bincount(where, np.nan_to_num(band).ravel()) for band in p], 1)
        mean /= pixels[:, None]
        votes = np.stack(
            [np.bincount(where, given.ravel() == k, len(names)) for k in range(len(classes))], 1
        )
        told = votes.argmax(1)  # ids may be of polygons that lumping has joined with others
        outside = names == 0
        mean, told, pixels, names = (a[~outside] for a in (mean, told, pixels, names))
        usable = pixels >= min_pixels
    threshold, joint = _confident(mean, told, usable, len(classes))
    likely = mean.argmax(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = mean[np.arange(len(told)), told] / threshold[told]
    doubt = np.where(usable, np.clip(1 - np.nan_to_num(relative, nan=1.0), 0, 1), np.nan)
    suspect = usable & (doubt > least) & (likely != told)
    at = np.searchsorted(names, unit)
    at = np.where(unit > 0, np.minimum(at, len(names) - 1), 0)

    def drawn(values: np.ndarray, missing: Any) -> xr.DataArray:
        flat = np.where(unit > 0, values[at], missing)
        return xr.DataArray(flat, dims=labels.dims, coords=kept_coords(labels, plane(labels)))

    made = xr.Dataset(
        {
            "label_doubt": drawn(doubt.astype(np.float32), np.float32("nan")).assign_attrs(
                long_name="how much less likely than others of its class", units="1"
            ),
            "suspect": drawn(suspect, False).assign_attrs(long_name="label probably wrong"),
            "likely": drawn(likely.astype(np.int16), np.int16(UNLABELLED)).assign_attrs(
                {k: v for k, v in labels.attrs.items() if k.startswith(("flag", "classes"))}
                | {"long_name": "likeliest class"}
            ),
            "confident_joint": (("given_class", "likely_class"), joint),
            "threshold": (
                "class",
                threshold,
                {"long_name": "mean probability where labelled", "units": "1"},
            ),
        },
        coords={k: list(classes.names) for k in ("class", "given_class", "likely_class")},
    )
    if objects is not None:
        order = np.argsort(np.where(usable, -doubt, np.inf), kind="stable")
        text = np.array(classes.names)
        made = made.assign(
            object_id=("object", names[order]),
            given=("object", text[told[order]]),
            instead=("object", text[likely[order]]),
            doubt=("object", doubt[order].astype(np.float32)),
            doubted=("object", suspect[order]),
            pixels=("object", pixels[order]),
        )
    return made


def _confident(
    p: np.ndarray, told: np.ndarray, usable: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """p (unit, class), label of each -> threshold (class), joint (class, class)."""
    threshold = np.full(n, np.nan)
    for k in range(n):
        of = usable & (told == k)
        if of.any():
            threshold[k] = p[of, k].mean()
    sure = (p > 0) & (p >= np.where(np.isnan(threshold), np.inf, threshold))
    likely = np.where(sure.any(1), np.where(sure, p, -1).argmax(1), told)
    joint = np.zeros((n, n), np.int64)
    counted = usable & sure.any(1)
    np.add.at(joint, (told[counted], likely[counted]), 1)
    return threshold, joint


def _paired(
    labels: xr.DataArray, probability: xr.DataArray, classes: Classes
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (class, y, x) in the order of the classes, and labels (y, x)."""
    if "class" not in getattr(probability, "dims", ()) or set(probability.dims) != {
        "class",
        *labels.dims,
    }:
        found = getattr(probability, "dims", type(probability).__name__)
        raise LabelError(
            f"The probabilities have dims {found}, and ('class', "
            f"{', '.join(map(repr, labels.dims))}) are needed; type "
            f"probability=training.cross_predict(cube, labels)."
        )
    missing = [n for n in classes.names if n not in probability["class"].values.tolist()]
    if missing or any(probability.sizes[d] != labels.sizes[d] for d in labels.dims):
        what = f"no class {missing[0]!r}" if missing else f"the sizes {dict(probability.sizes)}"
        raise LabelError(
            f"The probabilities have {what}, and the labels have {len(classes)} classes and the "
            f"sizes {dict(labels.sizes)}; make both from the same cube and classes."
        )
    ordered = probability.sel({"class": list(classes.names)}).transpose("class", *labels.dims)
    return np.asarray(ordered.values, np.float64), labels.values


def objects_of(labels: xr.DataArray, objects: Objects) -> np.ndarray:
    """Ids (y, x) from 1, 0 = none."""
    known = labels.values != UNLABELLED
    if objects is None:
        every: np.ndarray = np.arange(1, labels.size + 1).reshape(labels.shape) * known
        return every
    if isinstance(objects, str):
        if objects != "drawn":
            raise OptionError(
                f"objects={objects!r} is not known; type 'drawn', None or a map of ids (y, x)."
            )
        from skimage.measure import label

        touching = label(labels.values, background=UNLABELLED, connectivity=1)  # type: ignore[no-untyped-call]
        return np.asarray(touching)
    if isinstance(objects, xr.DataArray) and set(objects.dims) == set(labels.dims):
        objects = objects.transpose(*labels.dims)
    array = np.asarray(objects)
    if array.shape != labels.shape or array.dtype.kind not in "iu":
        raise OptionError(
            f"objects has shape {array.shape} and dtype {array.dtype}, and a map of whole numbers "
            f"of shape {labels.shape} is needed, 0 for none; type objects='drawn' for connected "
            f"pixels of one class."
        )
    return np.where(known, array, 0)
