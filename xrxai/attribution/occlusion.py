"""Occlusion: slide a window of absence over bands, over the image, or over both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.attribution.screening import _screened, _screening
from xrxai.errors import OptionError, at_least, choice
from xrxai.labelled import areas, windows
from xrxai.labelled import baseline as baselines
from xrxai.labelled import removal as removals
from xrxai.road import Case, explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.imputation import Gaussian, Rule
    from xrxai.model import Model
    from xrxai.tensors.score import Score

_PAPER = ("Zeiler & Fergus 2013, arXiv:1311.2901",)


def occlusion_spectral(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    window: float = 50.0,
    stride: float | None = None,
    unit: Literal["nm", "band"] = "nm",
    baseline: baselines.Baseline = 0.0,
    removal: removals.Removal = "marginal",
    covariance: xr.Dataset | None = None,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    per: areas.Per | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Loss of every target's score when a window of bands is set to the baseline.

    Neighbouring bands are nearly copies, so a window of one band reads zero where a wide one
    matters. Costs one forward pass per window and sample, for all targets together.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Any model.
    target : str or list of str, optional
        Default: every target of the model.
    window : float, default: 50.0
        Width in `unit`. Wider windows see broad features and blur narrow ones.
    stride : float, optional
        Step between windows in `unit`. Default: half the window; for bands at least 1.
    unit : {"nm", "band"}, default: "nm"
        Nanometres follow the spectrum over gaps and overlaps; bands follow the order of the
        cube, with ``ceil((n - window) / stride) + 1`` windows, the last one cut at the end.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    removal : {"marginal", "conditional"}, default: "marginal"
        Marginal puts the baseline in place of what is removed, also where no spectrum looks
        like that. Conditional puts what the kept bands of the same pixel make likely there:
        the conditional mean of a normal distribution of spectra [2]_; `baseline` then only
        serves the comparison in `off_manifold`. Removing a band that others repeat then
        changes little, by intent.
    covariance : Dataset, optional
        Of `xrxai.spectral_covariance`, and needed for a lazy cube. Default: of all valid pixels
        of the cube. When it is given, `off_manifold` is told for marginal removal, too.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill`` and are NaN in the result.
    region : bool DataArray or array, (y, x), or GeoDataFrame, optional
        For ``gives="map"``: the pixels whose scores are summed.
    per : GeoDataFrame, map of ids (y, x) or "slic", optional
        Explain each region of a scene by itself: polygons, the ids of a map (0 = none) or
        superpixels. The score of a region is the mean over its pixels for a model that takes a
        spectrum, and the sum over them for one that gives a map. Default: each pixel, chip or
        tile is explained by itself.
    device : str, optional
        Overrides ``model.device``.
    batch_size : int, optional
        Overrides ``model.batch_size``; changes memory and speed, not the result.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Dataset
        ``attribution`` (target, band; and y, x for ``takes="spectrum"``): the mean over the
        windows that cover a band of score minus score without the window, NaN where none
        does; ``window_effect`` (target, window), that difference itself; ``band_in_window``
        (window, band); ``prediction`` and ``model_evaluations``. Where a covariance is known,
        ``off_manifold`` (removal): how far the spectra without bands lie from the
        distribution of spectra, in Mahalanobis distance over that of the cube, for either way
        of removing; far above 1 the model was asked about spectra that do not exist.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    References
    ----------
    .. [1] M. D. Zeiler, R. Fergus (2013). Visualizing and understanding convolutional networks.
       https://arxiv.org/abs/1311.2901
    .. [2] K. Aas, M. Jullum, A. Løland (2021). Explaining individual predictions when features
       are dependent. https://arxiv.org/abs/1903.10464. They draw from the conditional
       distribution; its mean, put into the model, is the same for linear models only.
    """
    choice(unit, ("nm", "band"), "unit")
    case = settle(
        cube, model, _occlusion_spectral, target=target, mask=mask, region=region, per=per
    )
    bands = windows.over_bands(case.place, window, stride, unit)
    filled = removals.settle(case.place, case.valid, baseline, removal, covariance)
    return explain(
        case.giving(filled.outputs),
        evaluations=len(bands.inside) + 1,
        inputs=filled.inputs,
        static={"inside": bands.inside, **filled.static},
        coords={**filled.coords, **windows.band_coords(case.place, bands)},
        extra=windows.band_in_window(case.place, bands),
        options={
            "window": window,
            "stride": bands.stride,
            "unit": unit,
            **filled.options,
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "band"), "mean loss of score"),
        "window_effect": Output(("target", "window"), "loss of score without the window"),
    },
    needs="forward",
    references=_PAPER,
    tiles="score",
)
def _occlusion_spectral(
    x: Tensor,
    score: Score,
    *,
    baseline: Tensor,
    inside: np.ndarray,
    keep: Tensor | None = None,
    marginal: Rule | None,
    gaussian: Gaussian | None,
    removal: str,
) -> dict[str, Tensor]:
    """inside (window, band) -> attribution (n, target, band), window_effect (n, target, window)."""
    prediction = score.clean(x)
    fill, each = tensors.perturb.fills(baseline, keep, marginal, gaussian, removal)
    scores = tensors.perturb.occlude_bands(score, x, fill, inside)
    effect = (prediction[:, None] - scores).transpose(1, 2)
    found = {
        "attribution": tensors.perturb.mean_over_windows(effect, inside),
        "window_effect": effect,
        "prediction": prediction,
    }
    if gaussian is not None:
        part = tensors.perturb.each_band(x)
        found["off_manifold"] = tensors.perturb.off_manifold(x, each, gaussian, ~inside, part)
    return found


def occlusion_spatial(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    window: int | tuple[int, int] = 16,
    stride: int | tuple[int, int] | None = None,
    refine: int = 0,
    share: float | None = None,
    baseline: baselines.Baseline = 0.0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Loss of every target's score when a window of pixels is set to the baseline.

    Costs one forward pass per window and sample, for all targets together.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One that takes a patch.
    target : str or list of str, optional
        Default: every target of the model.
    window : int or (int, int), default: 16
        Height and width in pixels. Larger windows remove whole objects and blur small ones.
    stride : int or (int, int), optional
        Step between windows. Default: half the window. There are
        ``ceil((n - window) / stride) + 1`` of them per axis, the last one cut at the edge.
    refine : int, default: 0
        Times to halve the windows that matter, in height and width: a screening. Windows lie
        side by side then, and each pixel gets the effect of the smallest one that was asked
        there. That is another number than with windows of one size: an effect of few pixels
        beside effects of many, and what matters only together with its surroundings is not
        followed. Each level costs up to four passes per window that is halved.
    share : float, optional
        With `refine`: windows are halved that together make up this share of the absolute
        effects of their level, for any target. Larger follows more. Default: 0.8.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill`` and are NaN in the result.
    region : bool DataArray or array, (y, x), or GeoDataFrame, optional
        For ``gives="map"``: the pixels whose scores are summed.
    device : str, optional
        Overrides ``model.device``.
    batch_size : int, optional
        Overrides ``model.batch_size``; changes memory and speed, not the result.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Dataset
        ``attribution`` (target, y, x): the mean over the windows that cover a pixel of score
        minus score without the window, NaN where none does; ``window_effect``
        (target, window), that difference itself, with the half-open ranges of rows and columns
        ``window_row_start`` ... ``window_column_stop``; ``prediction`` and
        ``model_evaluations``. With `refine`, ``attribution`` is the effect of the smallest
        window at a pixel, ``window_effect`` is NaN for windows that were not asked, and
        ``window_level`` (window) says how often a window was halved.

    Raises
    ------
    CubeError, ModelError, TargetError, SegmentError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    References
    ----------
    .. [1] M. D. Zeiler, R. Fergus (2013). Visualizing and understanding convolutional networks.
       https://arxiv.org/abs/1311.2901
    """
    if at_least(refine, 0, "refine") or share is not None:
        return _screened(
            settle(cube, model, _screening, target=target, mask=mask, region=region),
            window,
            stride,
            refine,
            share,
            baseline,
            device=device,
            batch_size=batch_size,
            progress=progress,
        )
    case = settle(cube, model, _occlusion_spatial, target=target, mask=mask, region=region)
    found = windows.over_pixels(case.place, window, stride)
    boxes = found.pattern.boxes
    return explain(
        _without_windows(case),
        evaluations=lambda tile: len(found.pattern.at(tile).boxes) + 1,
        inputs={"baseline": baselines.settle(case.place, baseline, case.valid)},
        static={"boxes": found.pattern},
        coords={} if case.tiled else windows.pixel_coords(boxes),
        extent=max(found.window),
        options={
            "window": list(found.window),
            "stride": list(found.stride),
            "baseline": baselines.describe(baseline),
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "y", "x"), "mean loss of score"),
        "window_effect": Output(("target", "window"), "loss of score without the window"),
    },
    needs="forward",
    spatial=True,
    references=_PAPER,
    tiles="window",
)
def _occlusion_spatial(
    x: Tensor, score: Score, *, baseline: Tensor, boxes: patterns.Boxes
) -> dict[str, Tensor]:
    """Windows of pixels -> attribution (n, target, y, x), window_effect (n, target, window)."""
    prediction = score.clean(x)
    each = boxes.boxes
    scores = tensors.perturb.occlude_boxes(score, x, baseline, each)
    effect = (prediction[:, None] - scores).transpose(1, 2)
    return {
        "attribution": tensors.perturb.mean_over_boxes(effect, each, tuple(x.shape[-2:])),
        "window_effect": effect,
        "prediction": prediction,
    }


def occlusion(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    window: tuple[float, int, int] = (50.0, 16, 16),
    stride: tuple[float, int, int] | None = None,
    unit: Literal["nm", "band"] = "nm",
    baseline: baselines.Baseline = 0.0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Loss of every target's score when a block of bands and pixels is set to the baseline.

    Says where in the image which part of the spectrum matters. Costs one forward pass per
    window of bands and window of pixels, for all targets together.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One that takes a patch.
    target : str or list of str, optional
        Default: every target of the model.
    window : (float, int, int), default: (50.0, 16, 16)
        Width in `unit`, height and width in pixels. Larger blocks remove whole features and
        objects, and blur small ones.
    stride : (float, int, int), optional
        Steps between windows, in the same units. Smaller steps cost more and show more detail.
        Default: half the window.
    unit : {"nm", "band"}, default: "nm"
        Nanometres follow the spectrum over gaps and overlaps; bands follow the order of the
        cube. Windows of bands and of pixels number ``ceil((n - window) / stride) + 1`` per
        axis, the last one cut at the edge.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill`` and are NaN in the result.
    region : bool DataArray or array, (y, x), or GeoDataFrame, optional
        For ``gives="map"``: the pixels whose scores are summed.
    device : str, optional
        Overrides ``model.device``.
    batch_size : int, optional
        Overrides ``model.batch_size``; changes memory and speed, not the result.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Dataset
        ``attribution`` (target, band, y, x): the mean over the blocks that cover a value of
        score minus score without the block, NaN where none does; ``window_effect``
        (target, window), that difference itself, with ``band_in_window`` (window, band),
        ``window_min`` and ``window_max`` (nm) and the half-open ranges of rows and columns
        ``window_row_start`` ... ``window_column_stop``; ``prediction`` and
        ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, SegmentError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    References
    ----------
    .. [1] M. D. Zeiler, R. Fergus (2013). Visualizing and understanding convolutional networks.
       https://arxiv.org/abs/1311.2901
    """
    choice(unit, ("nm", "band"), "unit")
    case = settle(cube, model, _occlusion, target=target, mask=mask, region=region)
    width, *size = _triple(window, "window")
    step, *steps = (None,) if stride is None else _triple(stride, "stride")
    bands = windows.over_bands(case.place, width, step, unit, "[0]")
    pixels = windows.over_pixels(case.place, tuple(size), tuple(steps) or None, "[1:]")
    each = bands.repeated(len(pixels.pattern.boxes))
    boxes = np.tile(pixels.pattern.boxes, (len(bands.inside), 1))
    about = {**windows.band_coords(case.place, each), **windows.pixel_coords(boxes)}
    return explain(
        _without_windows(case),
        evaluations=lambda tile: len(bands.inside) * len(pixels.pattern.at(tile).boxes) + 1,
        inputs={"baseline": baselines.settle(case.place, baseline, case.valid)},
        static={"inside": bands.inside, "boxes": pixels.pattern},
        coords={} if case.tiled else about,
        extra={} if case.tiled else windows.band_in_window(case.place, each),
        extent=max(pixels.window),
        options={
            "window": [width, *pixels.window],
            "stride": [bands.stride, *pixels.stride],
            "unit": unit,
            "baseline": baselines.describe(baseline),
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _without_windows(case: Case) -> Case:
    """Of a tiled scene the effects of single windows are left out: they belong to several tiles."""
    if not case.tiled:
        return case
    kept = {k: v for k, v in case.spec.outputs.items() if "window" not in v.dims}
    return replace(case, spec=replace(case.spec, outputs=kept))


def _triple(value: Any, name: str) -> tuple[Any, Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise OptionError(
            f"{name}={value!r} is no block of bands, rows and columns; type for example "
            f"{name}=(50, 16, 16)."
        )
    return value[0], value[1], value[2]


@spec(
    {
        "attribution": Output(("target", "band", "y", "x"), "mean loss of score"),
        "window_effect": Output(("target", "window"), "loss of score without the window"),
    },
    needs="forward",
    spatial=True,
    references=_PAPER,
    tiles="window",
)
def _occlusion(
    x: Tensor, score: Score, *, baseline: Tensor, inside: np.ndarray, boxes: patterns.Boxes
) -> dict[str, Tensor]:
    """inside (w, band), v boxes -> attribution (n, target, *f), effect (n, target, w * v)."""
    prediction = score.clean(x)
    each = boxes.boxes
    scores = tensors.perturb.occlude_blocks(score, x, baseline, inside, each)
    effect = (prediction[:, None] - scores).transpose(1, 2)
    return {
        "attribution": tensors.perturb.mean_over_blocks(effect, inside, each, tuple(x.shape[-2:])),
        "window_effect": effect,
        "prediction": prediction,
    }
