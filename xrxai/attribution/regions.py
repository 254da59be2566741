"""XRAI: regions of the image in the order in which they explain most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import BaselineError, at_least, choice
from xrxai.labelled import bands as band_groups
from xrxai.labelled import baseline as baselines
from xrxai.labelled import pool
from xrxai.road import Case, explain, settle
from xrxai.spec import BASELINE_PREDICTION, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score


def xrai(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    baseline: baselines.Baseline | Sequence[baselines.Baseline] | None = None,
    n_steps: int = 50,
    over_bands: Literal["max", "sum"] = "max",
    segments: Any = "felzenszwalb",
    scales: Sequence[float] | None = None,
    segment_bands: band_groups.Bands | None = None,
    patch: int = 14,
    dilation: int | None = None,
    min_area: int | None = None,
    mode: Literal["full", "fast"] = "full",
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Regions of the image, ranked by their integrated gradients per pixel.

    Integrated gradients from several baselines are averaged and reduced over bands to one map.
    The image is cut into many overlapping regions, from fine to coarse; the one with the highest
    mean over its pixels comes first, then the one with the highest mean over the pixels that
    are still free, and so on. Every target has a ranking of its own. Costs, per baseline,
    `n_steps` + 1 forward passes per sample for all targets together, and one for the cube.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable, and one that takes a patch.
    target : str or list of str, optional
        Default: every target of the model.
    baseline : optional
        Where the ways start: one of what `xrxai.baseline` makes, or a list of them. Default: two,
        the lowest and the highest value of each band over the valid pixels.
    n_steps : int, default: 50
        Points of the quadrature from each baseline. More close the gap; cost grows with them.
    over_bands : {"max", "sum"}, default: "max"
        What a pixel counts: its highest attribution over the good bands, sign kept, as in the
        paper, or their sum, for which the heat too adds up to the change of the score. With
        many bands the maximum sees one of them only.
    segments : optional
        ``"felzenszwalb"`` superpixels at all `scales`, ``"patch"`` squares, a map of ids
        (0 = in no region), a bool mask, polygons (a GeoDataFrame), or a list of such, whose
        regions are pooled; see `xrxai.segments`.
    scales : sequence of float, optional
        For superpixels, in pixels: a contrast as large as the spread of the image is kept as an
        edge of regions smaller than this. Larger make coarser regions. Default: 0.4, 0.8, 1.2, 2,
        4 and 10 for an image of 224 x 224, and in proportion to the number of pixels.
    segment_bands : optional
        What superpixels tell apart: the means of band groups as in `xrxai.band_groups`. Default:
        every good band. They are standardised, and more than three become their first three
        principal components.
    patch : int, default: 14
        Side of the squares in pixels.
    dilation : int, optional
        Pixels by which every region grows, so that it holds its own edge; more make rounder
        regions. Default: for superpixels 5 for an image of 224 x 224 and in proportion to its
        side, none for other segments.
    min_area : int, optional
        A region that adds fewer pixels is left out; what no region took shares its mean, as
        the last one. Superpixels are at least three times as large. More give fewer and larger
        regions. Default: with superpixels 50 for an image of 224 x 224 and in proportion to
        its pixels, else 1.
    mode : {"full", "fast"}, default: "full"
        Rank anew after each region, or once, by the mean over whole regions: faster, and blind
        to what a region still adds.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill`` and are in no region.
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
        ``attribution`` (target, y, x), the heat: the mean over the pixels that the region of a
        pixel added; ``rank`` (target, y, x), when that region came, from 1, and 0 where the
        cube is not valid; ``completeness_gap`` of the integrated gradients before they were
        reduced; ``prediction``, and ``baseline_prediction``, the mean over the baselines
        (target); and ``model_evaluations``. `xrxai.top` cuts the best part out.

    Raises
    ------
    CubeError, ModelError, TargetError, SegmentError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    Over the valid pixels the heat adds up to the reduced integrated gradients, in both modes.

    Apart from the paper, whose authors worked on photos: the default baselines are the extremes of
    each band, not of all bands together; the image keeps its size, and scales, dilation and areas
    follow it; superpixels see standardised bands, not colours, and never invalid pixels.

    References
    ----------
    .. [1] A. Kapishnikov, T. Bolukbasi, F. Viégas, M. Terry (2019). XRAI: better attributions
       through regions. https://arxiv.org/abs/1906.02825
    .. [2] P. F. Felzenszwalb, D. P. Huttenlocher (2004). Efficient graph-based image segmentation.
       https://doi.org/10.1023/B:VISI.0000022288.19776.77
    """
    at_least(n_steps, 1, "n_steps")
    choice(over_bands, ("max", "sum"), "over_bands")
    choice(mode, ("full", "fast"), "mode")
    at_least(patch, 1, "patch")
    case = settle(cube, model, _xrai, target=target, mask=mask, region=region)
    place = case.place
    starts = _baselines(case, baseline)
    entries = pool.entries(segments)
    photo = any(isinstance(s, str) and s == "felzenszwalb" for s in entries)
    radius = round(pool.share_of_photo(place, 25) ** 0.5)
    grow = at_least(radius if dilation is None else dilation, 0, "dilation")
    least = max(1, round(pool.share_of_photo(place, 50))) if photo else 1
    least = at_least(least if min_area is None else min_area, 1, "min_area")
    regions = pool.settle(
        place,
        entries,
        case.valid,
        scales=scales,
        segment_bands=segment_bands,
        patch=patch,
        min_size=3 * least,
    )
    return explain(
        case,
        evaluations=len(starts) * (n_steps + 1) + 1,
        inputs={
            "part": regions.maps,
            **{f"baseline_{i}": start for i, start in enumerate(starts.values())},
        },
        static={
            "n_steps": n_steps,
            "over_bands": over_bands,
            "good_band": place.good_band,
            "mode": mode,
            "min_area": least,
            "grow": [grow if own or dilation is not None else 0 for own in regions.superpixels],
        },
        options={
            "baseline": list(starts),
            "n_steps": n_steps,
            "over_bands": over_bands,
            "segments": [s if isinstance(s, str) else type(s).__name__ for s in entries],
            "scales": regions.scales,
            "segment_bands": regions.features,
            "patch": patch,
            "dilation": dilation,
            "min_area": least,
            "mode": mode,
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _baselines(case: Case, asked: Any) -> dict[str, xr.DataArray]:
    """What to call each baseline in the result, and its values."""
    place, valid = case.place, case.valid
    if asked is None:
        return dict(zip(("min", "max"), baselines.extremes(place, valid), strict=True))
    several = asked if isinstance(asked, list | tuple) else [asked]
    if not several:
        raise BaselineError(
            "baseline=[] is empty; give at least one, or leave it out for the lowest and the "
            "highest value of each band."
        )
    found = {}
    for i, one in enumerate(several, start=1):
        name = str(baselines.describe(one))
        found[name if name not in found else f"{name} ({i})"] = baselines.settle(place, one, valid)
    return found


@spec(
    {
        "attribution": Output(("target", "y", "x"), "XRAI heat"),
        "rank": Output(("target", "y", "x"), "order of the region, 0 = not valid", "1", "int64"),
        "completeness_gap": Output(("target",), "sum of attribution - (score - baseline score)"),
        "baseline_prediction": BASELINE_PREDICTION,
    },
    needs="gradient",
    spatial=True,
    references=(
        "Kapishnikov et al. 2019, arXiv:1906.02825",
        "Felzenszwalb & Huttenlocher 2004, doi:10.1023/B:VISI.0000022288.19776.77",
    ),
)
def _xrai(
    x: Tensor,
    score: Score,
    *,
    part: Tensor,
    n_steps: int,
    over_bands: str,
    good_band: np.ndarray,
    mode: str,
    min_area: int,
    grow: list[int],
    **baseline: Tensor,
) -> dict[str, Tensor]:
    """part (n or 1, map, y, x), baselines (n or 1, *f) -> attribution, rank (n, target, y, x)."""
    prediction = score.clean(x)
    nodes, weights = tensors.integrate.nodes(n_steps, "gauss_legendre")
    total = x.new_zeros((len(x), score.n_targets, *x.shape[1:]))
    at_baseline = prediction * 0
    for given in baseline.values():
        start = given.expand_as(x)
        at_baseline += score.reference(start) / len(baseline)
        slope = tensors.score.mean_gradient(score, start, x, nodes, weights)
        slope *= (x - start)[:, None] / len(baseline)
        total += slope
    gap = total.flatten(2).sum(2) - (prediction - at_baseline)
    # A bad band holds zeros: among them a maximum could not be negative.
    known = total[:, :, np.flatnonzero(good_band)]
    value = known.amax(2) if over_bands == "max" else known.sum(2)
    heat, rank = tensors.greedy.ranked(value, part, mode=mode, min_area=min_area, grow=grow)
    return {
        "attribution": heat,
        "rank": rank,
        "completeness_gap": gap,
        "prediction": prediction,
        "baseline_prediction": at_baseline,
    }
