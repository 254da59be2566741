"""Occlusion: slide a window of absence over bands or over the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.errors import BandError, OptionError, SegmentError, at_least, choice, positive
from xrxai.explain import Case, explain, settle
from xrxai.labelled import baseline as baselines
from xrxai.labelled import removal as removals
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
    case = settle(cube, model, _occlusion_spectral, target=target, mask=mask, region=region)
    place = case.place
    if unit == "nm":
        positive(window, "window", 50)
    else:
        at_least(window, 1, "window")
    if stride is None:
        stride = window / 2 if unit == "nm" else max(1, int(window) // 2)
    inside, low, high = _band_windows(case, window, stride, unit)
    filled = removals.settle(place, case.valid, baseline, removal, covariance)
    band = place.band
    covers = xr.DataArray(
        inside, dims=("window", band), attrs={"long_name": "the window covers the band"}
    )
    about = {"units": "nm"} if place.wavelength is not None else {"units": "1"}
    return explain(
        case.giving(filled.outputs),
        evaluations=len(inside) + 1,
        inputs=filled.inputs,
        static={"inside": inside, **filled.static},
        coords={
            **filled.coords,
            "window": ("window", np.arange(1, len(inside) + 1)),
            "window_min": ("window", low, about),
            "window_max": ("window", high, about),
        },
        extra={"band_in_window": covers},
        options={
            "window": window,
            "stride": stride,
            "unit": unit,
            **filled.options,
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _band_windows(
    case: Case, window: float, stride: float, unit: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Membership (window, band) of the windows that hold a good band, and their two ends."""
    place = case.place
    n_bands = place.good_band.size
    if unit == "band":
        at_least(stride, 1, "stride")
        if window > n_bands:
            raise BandError(
                f"window={window} bands is wider than the cube, which has {n_bands}; "
                f"type window={n_bands} or less."
            )
        ends = patterns.windows(n_bands, int(window), int(stride))
        inside = np.zeros((len(ends), n_bands), dtype=bool)
        for row, (start, stop) in zip(inside, ends, strict=True):
            row[start:stop] = True
    else:
        positive(stride, "stride", 25)
        wavelength = place.require_wavelength()
        first, last = np.nanmin(wavelength), np.nanmax(wavelength)
        count = max(0, int(np.ceil((last - first - window) / stride))) + 1
        start = first + stride * np.arange(count)[:, None]
        # Half open, so that windows side by side share no band; the last one is closed.
        stop = np.where(np.arange(count)[:, None] == count - 1, np.inf, start + window)
        inside = (wavelength >= start) & (wavelength < stop)
    inside &= place.good_band
    inside = inside[inside.any(axis=1)]
    if not len(inside):
        raise BandError("No window holds a good band; widen window= or lower stride=.")
    scale = np.arange(n_bands) if place.wavelength is None else place.wavelength
    low = np.array([scale[row].min() for row in inside], dtype=float)
    high = np.array([scale[row].max() for row in inside], dtype=float)
    return inside, low, high


@spec(
    {
        "attribution": Output(("target", "band"), "mean loss of score"),
        "window_effect": Output(("target", "window"), "loss of score without the window"),
    },
    needs="forward",
    references=_PAPER,
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
        ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, SegmentError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    References
    ----------
    .. [1] M. D. Zeiler, R. Fergus (2013). Visualizing and understanding convolutional networks.
       https://arxiv.org/abs/1311.2901
    """
    case = settle(cube, model, _occlusion_spatial, target=target, mask=mask, region=region)
    place = case.place
    size = (place.data.sizes[place.y], place.data.sizes[place.x])
    high, wide = _pair(window, "window")
    down, right = (
        _pair(stride, "stride")
        if stride is not None
        else (
            max(1, high // 2),
            max(1, wide // 2),
        )
    )
    if high > size[0] or wide > size[1]:
        raise SegmentError(
            f"window=({high}, {wide}) is larger than the cube of {size[0]} x {size[1]} pixels; "
            f"type window=({min(high, size[0])}, {min(wide, size[1])}) or less."
        )
    rows = patterns.windows(size[0], high, down)
    columns = patterns.windows(size[1], wide, right)
    boxes = np.array([[*r, *c] for r in rows for c in columns])
    names = ("row_start", "row_stop", "column_start", "column_stop")
    return explain(
        case,
        evaluations=len(boxes) + 1,
        inputs={"baseline": baselines.settle(place, baseline, case.valid)},
        static={"boxes": boxes},
        coords={
            "window": ("window", np.arange(1, len(boxes) + 1)),
            **{f"window_{name}": ("window", boxes[:, i]) for i, name in enumerate(names)},
        },
        options={
            "window": [high, wide],
            "stride": [down, right],
            "baseline": baselines.describe(baseline),
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise OptionError(f"{name}={value!r} is no size; type {name}=16 or {name}=(16, 16).")
    return at_least(pair[0], 1, name), at_least(pair[1], 1, name)


@spec(
    {
        "attribution": Output(("target", "y", "x"), "mean loss of score"),
        "window_effect": Output(("target", "window"), "loss of score without the window"),
    },
    needs="forward",
    spatial=True,
    references=_PAPER,
)
def _occlusion_spatial(
    x: Tensor, score: Score, *, baseline: Tensor, boxes: np.ndarray
) -> dict[str, Tensor]:
    """boxes (window, 4) -> attribution (n, target, y, x), window_effect (n, target, window)."""
    prediction = score.clean(x)
    scores = tensors.perturb.occlude_boxes(score, x, baseline, boxes)
    effect = (prediction[:, None] - scores).transpose(1, 2)
    return {
        "attribution": tensors.perturb.mean_over_boxes(effect, boxes, tuple(x.shape[-2:])),
        "window_effect": effect,
        "prediction": prediction,
    }
