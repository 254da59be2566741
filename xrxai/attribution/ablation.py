"""Ablation: leave out one part at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.labelled import areas, parts
from xrxai.labelled import bands as band_groups
from xrxai.labelled import baseline as baselines
from xrxai.labelled import segments as segmentation
from xrxai.road import Case, explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

_PAPER = ("Zeiler & Fergus 2013, arXiv:1311.2901",)


def ablation_spectral(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    bands: band_groups.Bands = 50.0,
    baseline: baselines.Baseline = 0.0,
    overlap: band_groups.Overlap = "first",
    ungrouped: band_groups.Ungrouped = "fixed",
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    per: areas.Per | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Loss of every target's score when one band group is set to the baseline.

    The plainest question: what is lost without this group, all others in place? Groups that
    stand in for each other all read near zero; `kernel_shap_spectral` shares between them.
    Costs one forward pass per group and sample, for all targets together.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Any model. One that takes spectra is explained pixel by pixel.
    target : str or list of str, optional
        Default: every target of the model.
    bands : optional
        Band groups: names, nm ranges, positions, or a width in nm; see `xrxai.band_groups`.
        Default: 50 nm wide. Neighbouring bands are nearly copies: narrow groups read zero.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    overlap : {"first", "error", "split"}, default: "first"
        Whose is a band that two groups ask for; see `xrxai.band_groups`.
    ungrouped : {"fixed", "group"}, default: "fixed"
        Bands in no group keep their value, or form the group ``"not_included"``.
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
        ``attribution`` (target, group; and y, x for ``takes="spectrum"``): score minus score
        without the group; ``prediction``, ``model_evaluations`` and ``group_of_band`` (band).

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    References
    ----------
    .. [1] M. D. Zeiler, R. Fergus (2013). Visualizing and understanding convolutional networks.
       https://arxiv.org/abs/1311.2901
    """
    case = settle(cube, model, _ablation_spectral, target=target, mask=mask, region=region, per=per)
    groups = parts.of_bands(case.place, bands, overlap, ungrouped)
    return _ablated(
        case,
        groups,
        baseline,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def ablation_spatial(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    segments: segmentation.Segments = "slic",
    n_segments: int = 50,
    compactness: float = 1.0,
    patch: int = 14,
    baseline: baselines.Baseline = 0.0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Loss of every target's score when one segment of the image is set to the baseline.

    As `ablation_spectral`, with segments of pixels in place of band groups.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One that takes a patch.
    target : str or list of str, optional
        Default: every target of the model.
    segments : optional
        ``"slic"`` superpixels, ``"patch"`` squares, a map of ids (0 = excluded), a bool mask
        or polygons; see `xrxai.segments`.
    n_segments : int, default: 50
        About how many superpixels. More show finer detail, and cost a forward pass each.
    compactness : float, default: 1.0
        Weight of space against spectrum in superpixels; larger makes rounder ones.
    patch : int, default: 14
        Side of the squares in pixels.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill`` and are in no segment.
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
        As `ablation_spectral` gives, over ``segment`` in place of ``group``, with
        ``segment_of_pixel`` (y, x). A segment that a sample does not have is NaN.

    Raises
    ------
    CubeError, ModelError, TargetError, SegmentError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    References
    ----------
    .. [1] M. D. Zeiler, R. Fergus (2013). Visualizing and understanding convolutional networks.
       https://arxiv.org/abs/1311.2901
    """
    case = settle(cube, model, _ablation_spatial, target=target, mask=mask, region=region)
    regions = parts.of_pixels(
        case.place,
        segments,
        case.valid,
        n_segments=n_segments,
        compactness=compactness,
        patch=patch,
    )
    return _ablated(
        case,
        regions,
        baseline,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _ablated(
    case: Case,
    switched: parts.Parts,
    baseline: baselines.Baseline,
    *,
    device: str | None,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    return explain(
        case,
        evaluations=switched.count + 1,
        inputs={
            "part": switched.where,
            "baseline": baselines.settle(case.place, baseline, case.valid),
        },
        static={"on": patterns.single(switched.count)},
        coords=switched.coords,
        extra=switched.extra,
        options={**switched.options, "baseline": baselines.describe(baseline)},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _ablation(
    x: Tensor, score: Score, *, part: Tensor, baseline: Tensor, on: np.ndarray
) -> dict[str, Tensor]:
    """part (n or 1, *f), on (g, g) -> attribution (n, target, g)."""
    prediction = score.clean(x)
    scores = tensors.perturb.evaluate(score, x, baseline, on, part)
    there = tensors.perturb.present(part, len(on)).expand(x.shape[0], -1)[:, None]
    loss = (prediction[:, None] - scores).transpose(1, 2)
    return {"attribution": loss.masked_fill(~there, np.nan), "prediction": prediction}


@spec(
    {"attribution": Output(("target", "group"), "loss of score without the group")},
    needs="forward",
    references=_PAPER,
    tiles="score",
)
def _ablation_spectral(x: Tensor, score: Score, **given: Any) -> dict[str, Tensor]:
    """See `_ablation`: the parts are band groups."""
    return _ablation(x, score, **given)


@spec(
    {"attribution": Output(("target", "segment"), "loss of score without the segment")},
    needs="forward",
    spatial=True,
    references=_PAPER,
)
def _ablation_spatial(x: Tensor, score: Score, **given: Any) -> dict[str, Tensor]:
    """See `_ablation`: the parts are segments."""
    return _ablation(x, score, **given)
