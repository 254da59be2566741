"""Kernel SHAP: Shapley values of band groups or segments, by weighted least squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import patterns, rounds, tensors
from xrxai.errors import at_least, note
from xrxai.labelled import areas, parts
from xrxai.labelled import bands as band_groups
from xrxai.labelled import baseline as baselines
from xrxai.labelled import segments as segmentation
from xrxai.road import Case, explain, settle
from xrxai.spec import BASELINE_PREDICTION, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

_EXACT_UP_TO = 12
_PAPERS = (
    "Lundberg & Lee 2017, arXiv:1705.07874",
    "Covert & Lee 2021, arXiv:2012.01536",
)


def kernel_shap_spectral(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    bands: band_groups.Bands = 50.0,
    n_samples: rounds.Samples | None = None,
    tolerance: float | None = None,
    max_samples: int | None = None,
    baseline: baselines.Baseline = 0.0,
    overlap: band_groups.Overlap = "first",
    ungrouped: band_groups.Ungrouped = "fixed",
    seed: int = 0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    per: areas.Per | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Fair share of every band group in every target's score: Shapley values.

    The mean gain of a group over all orders in which groups can come in. Shares sum to the
    score minus the score of the baseline, and groups that stand in for each other share their
    gain. Costs a forward pass per coalition and sample, for all targets together; the same
    coalitions serve all samples.

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
        Default: 50 nm wide. Up to 12 groups are exact by default.
    n_samples : int or "auto", optional
        Coalitions to draw, an even number as they come in complementary pairs, besides "none"
        and "all"; with ``2**n`` or more for n groups every one is evaluated and the values are
        exact. More narrow the standard error, by one over their square root. "auto" draws in
        rounds until each sample has the precision of `tolerance`. Default: exact up to 12
        groups, else ``2048 + 2 n``.
    tolerance : float, optional
        With ``n_samples="auto"``: a sample is done when, for every target, the median of its
        standard errors is at most this share of its largest value. Default: 0.05; half of it
        costs four times the coalitions.
    max_samples : int, optional
        With ``n_samples="auto"``: where to stop trying. Default: 4000.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    overlap : {"first", "error", "split"}, default: "first"
        Whose is a band that two groups ask for; see `xrxai.band_groups`.
    ungrouped : {"fixed", "group"}, default: "fixed"
        Bands in no group keep their value, or form the group ``"not_included"``.
    seed : int, default: 0
        Of the coalitions; the same seed gives the same result whatever the batches and chunks.
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
        ``attribution`` (target, group; and y, x for ``takes="spectrum"``) with
        ``standard_error``, ``ci_low`` and ``ci_high`` (95 %; both ends are the value itself
        where every coalition was evaluated), in units of the score; ``completeness_gap``
        (target), zero up to rounding; ``prediction``, ``baseline_prediction`` (every group
        removed), ``model_evaluations`` and ``group_of_band`` (band); with ``n_samples="auto"``
        also ``n_samples_used`` and ``converged``.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Warns
    -----
    UserWarning
        There are fewer samples than four times the groups, or with ``n_samples="auto"`` some
        explanations miss the `tolerance`; not for lazy cubes, where ``converged`` says it.

    Notes
    -----
    As [1]_, but that the values sum to the gain because one unknown is eliminated, not because
    "none" and "all" weigh very much; that coalitions come with their complements [2]_; and that
    they are drawn with the probability of the Shapley kernel and then weigh alike. Absent
    groups take the values of `baseline`, one for all: for the interventional values over a
    background data set, average over baselines. Drawn values are consistent; their bias is
    a small part of the standard error. The interval is that of the sandwich estimator HC3 over
    the pairs; it covers the exact Shapley value.

    References
    ----------
    .. [1] S. M. Lundberg, S.-I. Lee (2017). A unified approach to interpreting model
       predictions. https://arxiv.org/abs/1705.07874
    .. [2] I. Covert, S.-I. Lee (2021). Improving KernelSHAP: practical Shapley value estimation
       via linear regression. https://arxiv.org/abs/2012.01536
    .. [3] L. S. Shapley (1953). A value for n-person games.
       https://doi.org/10.1515/9781400881970-018
    """
    case = settle(
        cube, model, _kernel_shap_spectral, target=target, mask=mask, region=region, per=per
    )
    groups = parts.of_bands(case.place, bands, overlap, ungrouped)
    return _explained(
        case,
        groups,
        baseline,
        (n_samples, tolerance, max_samples),
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def kernel_shap_spatial(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    segments: segmentation.Segments = "slic",
    n_segments: int = 50,
    compactness: float = 1.0,
    patch: int = 14,
    n_samples: rounds.Samples | None = None,
    tolerance: float | None = None,
    max_samples: int | None = None,
    baseline: baselines.Baseline = 0.0,
    seed: int = 0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Fair share of every segment of the image in every target's score: Shapley values.

    As `kernel_shap_spectral`, with segments of pixels in place of band groups.

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
        About how many superpixels. Up to 12 segments are exact by default.
    compactness : float, default: 1.0
        Weight of space against spectrum in superpixels; larger makes rounder ones.
    patch : int, default: 14
        Side of the squares in pixels.
    n_samples : int or "auto", optional
        Coalitions to draw, an even number as they come in complementary pairs, besides "none"
        and "all"; with ``2**n`` or more for n segments every one is evaluated and the values are
        exact. More narrow the standard error, by one over their square root. "auto" draws in
        rounds until each sample has the precision of `tolerance`. Default: exact up to 12
        segments, else ``2048 + 2 n``.
    tolerance : float, optional
        With ``n_samples="auto"``: a sample is done when, for every target, the median of its
        standard errors is at most this share of its largest value. Default: 0.05; half of it
        costs four times the coalitions.
    max_samples : int, optional
        With ``n_samples="auto"``: where to stop trying. Default: 4000.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    seed : int, default: 0
        Of the coalitions; the same seed gives the same result whatever the batches and chunks.
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
        As `kernel_shap_spectral` gives, over ``segment`` in place of ``group``, with
        ``segment_of_pixel`` (y, x). A segment that a sample does not have is NaN.

    Raises
    ------
    CubeError, ModelError, TargetError, SegmentError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Warns
    -----
    UserWarning
        There are fewer samples than four times the segments, or with ``n_samples="auto"`` some
        explanations miss the `tolerance`; not for lazy cubes, where ``converged`` says it.

    References
    ----------
    .. [1] S. M. Lundberg, S.-I. Lee (2017). A unified approach to interpreting model
       predictions. https://arxiv.org/abs/1705.07874
    .. [2] I. Covert, S.-I. Lee (2021). Improving KernelSHAP: practical Shapley value estimation
       via linear regression. https://arxiv.org/abs/2012.01536
    .. [3] L. S. Shapley (1953). A value for n-person games.
       https://doi.org/10.1515/9781400881970-018
    """
    case = settle(cube, model, _kernel_shap_spatial, target=target, mask=mask, region=region)
    regions = parts.of_pixels(
        case.place,
        segments,
        case.valid,
        n_segments=n_segments,
        compactness=compactness,
        patch=patch,
    )
    return _explained(
        case,
        regions,
        baseline,
        (n_samples, tolerance, max_samples),
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _explained(
    case: Case,
    switched: parts.Parts,
    baseline: baselines.Baseline,
    samples: tuple[rounds.Samples | None, float | None, int | None],
    *,
    seed: int,
    device: str | None,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    coalitions, asked = _coalitions(switched.count, switched.dim, samples, seed)
    n_pairs = len(coalitions["half"][-1])
    told = {"n_samples": 2 * n_pairs} if asked.tolerance is None else asked.options
    found = explain(
        case.giving(asked.outputs),
        evaluations=patterns.count(_both(coalitions["half"][-1])) + 2
        if asked.tolerance is None
        else None,
        inputs={
            "part": switched.where,
            "baseline": baselines.settle(case.place, baseline, case.valid),
        },
        static=coalitions,
        coords=switched.coords,
        extra=switched.extra,
        options={
            **switched.options,
            **told,
            "exact": coalitions["exact"],
            "baseline": baselines.describe(baseline),
        },
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    if asked.tolerance is not None and not case.place.lazy:
        rounds.warn(found, asked.tolerance)
    return found


def _coalitions(
    count: int,
    what: str,
    samples: tuple[rounds.Samples | None, float | None, int | None],
    seed: int,
) -> tuple[dict[str, Any], rounds.Rounds]:
    """One coalition of each pair, of each round, their weights, and whether these are all."""
    at_least(seed, 0, "seed")
    n_samples, tolerance, max_samples = samples
    if n_samples is None:
        n_samples = 2**count if count <= _EXACT_UP_TO else 2048 + 2 * count
    asked = rounds.settle(n_samples, tolerance, max_samples, least=2, first=4 * (count + 8))
    most = asked.sizes[-1]
    few = 1 if asked.tolerance is None else 2  # rounds: rather all than a draw of nearly all
    if few * asked.sizes[0] >= 2**count:
        half, weight = patterns.coalition_pairs(count)
        static = {"half": [half], "weight": weight, "exact": True}
        return {**static, "tolerance": asked.tolerance}, asked
    if most < 4 * count:
        name = "n_samples" if asked.tolerance is None else "max_samples"
        note(
            f"{most} samples for {count} {what}s: the shares will be noise. "
            f"Type {name}={4 * count} or more, and mind standard_error."
        )
    drawn = [np.zeros((0, count), dtype=bool)]
    for k, n in enumerate(sorted({min(n, 2**count) for n in asked.sizes})):
        more = patterns.drawn_pairs(-(-n // 2) - len(drawn[-1]), count, [seed, k] if k else seed)
        drawn.append(np.vstack([drawn[-1], more]))
    static = {"half": drawn[1:], "weight": np.ones(len(drawn[-1])), "exact": False}
    return {**static, "tolerance": asked.tolerance}, asked


def _both(half: np.ndarray) -> np.ndarray:
    """Coalitions, each with its complement below it."""
    return np.stack([half, ~half], axis=1).reshape(-1, half.shape[1])


def _outputs(dim: str) -> dict[str, Output]:
    each = ("target", dim)
    return {
        "attribution": Output(each, "Shapley value"),
        "standard_error": Output(each, "standard error of the Shapley value"),
        "ci_low": Output(each, "lower end of the 95 % confidence interval"),
        "ci_high": Output(each, "upper end of the 95 % confidence interval"),
        "completeness_gap": Output(("target",), "sum of attribution - (score - baseline score)"),
        "baseline_prediction": BASELINE_PREDICTION,
    }


def _kernel_shap(
    x: Tensor,
    score: Score,
    *,
    part: Tensor,
    baseline: Tensor,
    half: list[np.ndarray],
    weight: np.ndarray,
    exact: bool,
    tolerance: float | None,
) -> dict[str, Tensor]:
    """part (n or 1, *f), half (pair, g) of each round -> attribution (n, target, g), its errors."""
    prediction = score.clean(x)
    there = tensors.perturb.present(part, half[-1].shape[1]).expand(x.shape[0], -1)
    on = [_both(h) for h in half]
    fits = [tensors.shapley.Fitted(h, weight[: len(h)], exact) for h in half]

    def make(i: Tensor, y: Tensor, nothing: Tensor, r: int) -> tuple[Tensor, ...]:
        return fits[r](y, prediction[i].double() - nothing.double(), there[i])

    found = tensors.until.ask(score, x, baseline, part, on, make, tolerance)
    named = ("attribution", "standard_error", "ci_low", "ci_high")
    return {
        **dict(zip(named, found.made, strict=True)),
        **found.told(tolerance),
        "completeness_gap": found.made[0].nansum(2) - (prediction.double() - found.nothing),
        "prediction": prediction,
        "baseline_prediction": found.nothing,
    }


@spec(_outputs("group"), needs="forward", references=_PAPERS, tiles="score")
def _kernel_shap_spectral(x: Tensor, score: Score, **given: Any) -> dict[str, Tensor]:
    """See `_kernel_shap`: the parts are band groups."""
    return _kernel_shap(x, score, **given)


@spec(_outputs("segment"), needs="forward", spatial=True, references=_PAPERS)
def _kernel_shap_spatial(x: Tensor, score: Score, **given: Any) -> dict[str, Tensor]:
    """See `_kernel_shap`: the parts are segments."""
    return _kernel_shap(x, score, **given)
