"""What a model says of a cube, on the cube's own grid: no attribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai.errors import OptionError
from xrxai.labelled import ground, result
from xrxai.model import Model
from xrxai.road import Case, explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.tensors.score import Score


def predict(
    cube: xr.DataArray,
    model: Model,
    *,
    classes: Literal["auto"] | bool = "auto",
    mask: xr.DataArray | np.ndarray | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Let a model answer, and keep names, places and units.

    The answers are those that the methods explain, for all targets: preprocessing, `activation`
    and nodata are those of the model. Costs one forward pass per sample. A scene in chunks is
    seen through tiles with a halo of one receptive field, or chips, as by the methods, and the
    result is lazy.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Any model.
    classes : {"auto", True, False}, default: "auto"
        Give each pixel to the target with the largest answer. "auto" does where targets exclude
        each other: maps of several targets, classifiers of scikit-learn, ``"softmax"``, but
        never ``activation="sigmoid"``. Targets that are quantities have no classes.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill`` and are NaN in the result.
    device : str, optional
        Overrides ``model.device``.
    batch_size : int, optional
        Overrides ``model.batch_size``; changes memory and speed, not the result.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Dataset
        ``prediction`` (target; and y, x where each pixel has an answer: ``gives="map"`` and
        ``takes="spectrum"``), NaN where there is no data, and ``model_evaluations``. With
        classes also ``class_map`` (y, x), the position in `target` from 0, -1 where there is
        no data, with the attributes ``flag_values`` and ``flag_meanings`` of CF;
        ``target_pixels``, ``target_absent`` and, where the CRS is projected, ``area`` in square
        metres (target). These three have ``tile_y, tile_x``, too, of a map in tiles: sums
        over them are those of the scene.

    Raises
    ------
    CubeError, ModelError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    Of a lazy cube and a model that takes spectra, the counts are sums over the whole scene:
    ``to_zarr`` lets the model answer once more for them. Type
    ``predicted.drop_vars(["target_pixels", "target_absent", "area"], errors="ignore")`` first
    where that is too long.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xrxai
    >>> nm = ("band", [490.0, 560.0, 665.0], {"units": "nm"})
    >>> values = np.random.default_rng(0).random((3, 4, 5))
    >>> cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})
    >>> names = ["water", "forest"]
    >>> model = xrxai.Model(lambda x: x[:, :2], takes="patch", gives="map", targets=names)
    >>> predicted = xrxai.predict(cube, model)
    >>> predicted.prediction.dims, predicted.class_map.dims
    (('target', 'y', 'x'), ('y', 'x'))
    >>> int(predicted.target_pixels.sum())
    20
    """
    model = Model.ensure(model)
    per_pixel = model.gives == "map" or model.takes == "spectrum"
    wanted = _settled(classes, model, per_pixel)
    case = settle(cube, model, _predict, mask=mask)
    pixels = ("y", "x") if model.gives == "map" else ()
    outputs = {"prediction": Output(("target", *pixels), "answer of the model")}
    if wanted:
        about = "class of the pixel, -1 = not valid"
        outputs["class_map"] = Output(pixels, about, "1", "int16", missing=-1)
    if model.gives == "map" and model.autocast is not None:
        outputs["autocast_error"] = Output(("target",), "largest change of an answer by autocast")
    made = explain(
        case.giving(outputs),
        evaluations=1,
        static={"classes": wanted},
        options={"classes": wanted},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    if not wanted:
        return made.drop_vars(["target_pixels", "target_absent"], errors="ignore")
    return _with_areas(made, case)


def _settled(classes: Any, model: Model, per_pixel: bool) -> bool:
    """Whether there are classes, or why there cannot be."""
    several = len(model.targets) > 1
    if isinstance(classes, str) and classes == "auto":
        exclusive = (
            model.gives == "map"
            or model.activation == "softmax"
            or (model.is_estimator and hasattr(model.forward, "classes_"))
        )
        return per_pixel and several and exclusive and model.activation != "sigmoid"
    if not isinstance(classes, bool | np.bool_):
        raise OptionError(f"classes={classes!r} is not known; type classes=True, False or 'auto'.")
    if classes and not per_pixel:
        raise OptionError(
            f"classes=True maps pixels, but {model.label} answers once for a whole patch; leave "
            f"it out, and type predicted.prediction.idxmax('target') for the class of each."
        )
    if classes and not several:
        raise OptionError(
            f"classes=True chooses between targets, but the model has only "
            f"{model.targets[0]!r}; leave it out, and compare predicted.prediction with a "
            f"threshold."
        )
    return bool(classes)


@spec({}, needs="forward", references=(), tiles="score")
def _predict(x: Tensor, score: Score, *, classes: bool) -> dict[str, Tensor]:
    """x (n, *f) -> prediction (n, target[, y, x]), class_map (n[, y, x])."""
    answers = score.answers(x)
    best = answers.argmax(1)
    found = {"prediction": answers, **({"class_map": best} if classes else {})}
    if answers.ndim == 2 or score.weight is None:
        return found
    inside = score.weight > 0  # of a tile the core
    found["target_pixels"] = pixels = best.new_zeros(answers.shape[:2])
    for k in range(score.n_targets):
        pixels[:, k] = ((best == k) & inside).sum((1, 2))
    if score.runner.model.autocast is not None:
        change = (answers - score.answers(x, exact=True)).abs() * inside[:, None]
        found["autocast_error"] = change.amax((2, 3))
    return found


def _with_areas(made: xr.Dataset, case: Case) -> xr.Dataset:
    """Add what the classes are called, how many pixels they have and how large these are."""
    place = case.scene
    names = [str(name) for name in made["target"].values]
    made["class_map"].attrs |= {
        "flag_values": np.arange(len(names), dtype=np.int16),
        # Words are separated by blanks: there can be none within.
        "flag_meanings": " ".join("_".join(name.split()) for name in names),
    }
    if place.y is None or place.x is None:
        return made
    if "target_pixels" not in made:
        number = xr.DataArray(np.arange(len(names)), dims="target", coords={"target": made.target})
        pixels = (made["class_map"] == number).sum([place.y, place.x])
        made = made.assign(result.counted(pixels.transpose("target", ...)))
    size = ground.pixel_area(place.data, place.y, place.x)
    if size is not None:
        about = {"long_name": "area of the target's pixels", "units": "m2"}
        made["area"] = (made["target_pixels"] * size).assign_attrs(about)
    return made
