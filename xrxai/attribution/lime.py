"""LIME: a linear surrogate of the model over band groups or segments that are on or off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.errors import at_least, choice, note, positive
from xrxai.explain import Case, explain, settle
from xrxai.labelled import areas, parts
from xrxai.labelled import bands as band_groups
from xrxai.labelled import baseline as baselines
from xrxai.labelled import removal as removals
from xrxai.labelled import segments as segmentation
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.imputation import Gaussian, Rule
    from xrxai.model import Model
    from xrxai.tensors.score import Score

Surrogate = Literal["ridge", "lasso"]

_N_RESAMPLES = 200
_DEFAULT_ALPHA = {"ridge": 1e-6, "lasso": 0.01}
_PAPERS = (
    "Ribeiro et al. 2016, arXiv:1602.04938",
    "MacKinnon & White 1985, doi:10.1016/0304-4076(85)90158-7",
)


def lime_spectral(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    bands: band_groups.Bands = 50.0,
    n_samples: int = 200,
    baseline: baselines.Baseline = 0.0,
    removal: removals.Removal = "marginal",
    covariance: xr.Dataset | None = None,
    surrogate: Surrogate = "ridge",
    alpha: float | None = None,
    kernel_width: float | None = 0.25,
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
    Effect of every band group on every target's score, by a linear surrogate.

    Band groups are switched to the baseline by independent fair coins; a weighted linear fit
    of the scores on the coins gives one coefficient per group: the change of the score when
    the group is there. The same coins serve all samples and targets. Costs `n_samples` + 2
    forward passes per sample for all targets together.

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
        Default: 50 nm wide. Fewer groups need fewer samples.
    n_samples : int, default: 200
        On/off patterns. More narrow the confidence interval, by one over their square root.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    removal : {"marginal", "conditional"}, default: "marginal"
        Marginal puts the baseline in place of what is removed, also where no spectrum looks
        like that. Conditional puts what the kept bands of the same pixel make likely there:
        the conditional mean of a normal distribution of spectra [3]_; `baseline` then only
        serves the comparison in `off_manifold`. Removing a band that others repeat then
        changes little, by intent.
    covariance : Dataset, optional
        Of `xrxai.spectral_covariance`, and needed for a lazy cube. Default: of all valid pixels
        of the cube. When it is given, `off_manifold` is told for marginal removal, too.
    surrogate : {"ridge", "lasso"}, default: "ridge"
        Ridge has exact solutions and errors; lasso sets weak groups to exactly zero, with
        bootstrap intervals that do not account for its selection.
    alpha : float, optional
        Penalty, on answers scaled to unit spread, so that it means the same for scores of 0..1
        and of 1e5. Larger shrinks coefficients to zero. Default: 1e-6 for ridge (numerically
        none), 0.01 for lasso.
    kernel_width : float, optional
        Patterns count with ``exp(-d**2 / (2 width**2))``, d = 1 - sqrt(share of groups kept).
        Default 0.25; smaller looks closer to the cube; None weighs all alike.
    overlap : {"first", "error", "split"}, default: "first"
        Whose is a band that two groups ask for; see `xrxai.band_groups`.
    ungrouped : {"fixed", "group"}, default: "fixed"
        Bands in no group keep their value, or form the group ``"not_included"``.
    seed : int, default: 0
        Of the patterns; the same seed gives the same result whatever the batches and chunks.
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
        ``standard_error``, ``ci_low`` and ``ci_high`` (95 %), in units of the score;
        ``fidelity`` and ``fidelity_heldout`` (target), the weighted R² of the surrogate in
        and out of sample; ``prediction``, ``baseline_prediction`` (every group removed),
        ``model_evaluations`` and ``group_of_band`` (band). Where a covariance is known,
        ``off_manifold`` (removal): how far the spectra without bands lie from the
        distribution of spectra, in Mahalanobis distance over that of the cube, for either way
        of removing; far above 1 the model was asked about spectra that do not exist.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Warns
    -----
    UserWarning
        There are fewer samples than three times the groups.

    Notes
    -----
    The interval is that of the sandwich estimator HC3 [2]_: it covers the coefficient that
    infinitely many patterns would give, also when the model is not linear in them. It says
    nothing about how well a line describes the model: that is `fidelity_heldout`.

    References
    ----------
    .. [1] M. T. Ribeiro, S. Singh, C. Guestrin (2016). "Why should I trust you?"
       https://arxiv.org/abs/1602.04938
    .. [2] J. G. MacKinnon, H. White (1985). Some heteroskedasticity-consistent covariance
       matrix estimators. https://doi.org/10.1016/0304-4076(85)90158-7
    .. [3] K. Aas, M. Jullum, A. Løland (2021). Explaining individual predictions when features
       are dependent. https://arxiv.org/abs/1903.10464. They draw from the conditional
       distribution; its mean, put into the model, is the same for linear models only.
    """
    case = settle(cube, model, _lime_spectral, target=target, mask=mask, region=region, per=per)
    groups = parts.of_bands(case.place, bands, overlap, ungrouped)
    fit = _design(groups.count, "group", n_samples, surrogate, alpha, kernel_width, seed)
    return _explain(
        case,
        fit,
        groups,
        removals.settle(case.place, case.valid, baseline, removal, covariance),
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def lime_spatial(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    segments: segmentation.Segments = "slic",
    n_segments: int = 50,
    compactness: float = 1.0,
    patch: int = 14,
    n_samples: int = 500,
    baseline: baselines.Baseline = 0.0,
    surrogate: Surrogate = "ridge",
    alpha: float | None = None,
    kernel_width: float | None = 0.25,
    seed: int = 0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Effect of every segment of the image on every target's score, by a linear surrogate.

    As `lime_spectral`, with segments of pixels in place of band groups.

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
        About how many superpixels.
    compactness : float, default: 1.0
        Weight of space against spectrum in superpixels.
    patch : int, default: 14
        Side of the squares in pixels.
    n_samples : int, default: 500
        On/off patterns. More narrow the confidence interval, by one over their square root.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    surrogate : {"ridge", "lasso"}, default: "ridge"
        Ridge has exact solutions and errors; lasso sets weak segments to exactly zero, with
        bootstrap intervals that do not account for its selection.
    alpha : float, optional
        Penalty, on answers scaled to unit spread. Larger shrinks coefficients to zero.
        Default: 1e-6 for ridge (numerically none), 0.01 for lasso.
    kernel_width : float, optional
        Patterns count with ``exp(-d**2 / (2 width**2))``, d = 1 - sqrt(share of segments kept).
        Default 0.25; smaller looks closer to the cube; None weighs all alike.
    seed : int, default: 0
        Of the patterns; the same seed gives the same result whatever the batches and chunks.
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
        As `lime_spectral` gives, over ``segment`` in place of ``group``, with
        ``segment_of_pixel`` (y, x). A segment that a sample does not have is NaN.

    Raises
    ------
    CubeError, ModelError, TargetError, SegmentError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Warns
    -----
    UserWarning
        There are fewer samples than three times the segments.

    References
    ----------
    .. [1] M. T. Ribeiro, S. Singh, C. Guestrin (2016). "Why should I trust you?"
       https://arxiv.org/abs/1602.04938
    .. [2] J. G. MacKinnon, H. White (1985). Some heteroskedasticity-consistent covariance
       matrix estimators. https://doi.org/10.1016/0304-4076(85)90158-7
    """
    case = settle(cube, model, _lime_spatial, target=target, mask=mask, region=region)
    regions = parts.of_pixels(
        case.place,
        segments,
        case.valid,
        n_segments=n_segments,
        compactness=compactness,
        patch=patch,
    )
    fit = _design(regions.count, "segment", n_samples, surrogate, alpha, kernel_width, seed)
    return _explain(
        case,
        fit,
        regions,
        removals.settle_plain(case.place, case.valid, baseline),
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _design(
    count: int,
    what: str,
    n_samples: int,
    surrogate: str,
    alpha: float | None,
    kernel_width: float | None,
    seed: int,
) -> dict[str, Any]:
    """On/off matrix, weights and penalty; refuses what no line can be fitted to."""
    at_least(n_samples, 3, "n_samples")
    at_least(seed, 0, "seed")
    choice(surrogate, _DEFAULT_ALPHA, "surrogate")
    default = _DEFAULT_ALPHA[surrogate]
    alpha = default if alpha is None else positive(alpha, "alpha", default, zero=True)
    if kernel_width is not None:
        positive(kernel_width, "kernel_width", 0.25)
    if n_samples < 3 * count:
        note(
            f"{n_samples} samples for {count} {what}s: the surrogate will fit noise. "
            f"Type n_samples={3 * count} or more, and trust fidelity_heldout, not fidelity.",
        )
    on = patterns.random(n_samples, count, seed)
    return {
        "on": on,
        "weight": patterns.proximity(on, kernel_width),
        "surrogate": surrogate,
        "alpha": alpha,
        "resamples": patterns.resamples(n_samples, _N_RESAMPLES, seed)
        if surrogate == "lasso"
        else None,
        "kernel_width": kernel_width,
    }


def _explain(
    case: Case,
    fit: dict[str, Any],
    switched: parts.Parts,
    filled: removals.Settled,
    *,
    seed: int,
    device: str | None,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    width = fit.pop("kernel_width")
    n_samples = len(fit["on"])
    return explain(
        case.giving(filled.outputs),
        evaluations=len(patterns.distinct(_with_none(fit["on"]))[0]) + 1,
        inputs={"part": switched.where, **filled.inputs},
        static={**fit, **filled.static},
        coords={**switched.coords, **filled.coords},
        extra=switched.extra,
        options={
            **switched.options,
            "n_samples": n_samples,
            **filled.options,
            "surrogate": fit["surrogate"],
            "alpha": fit["alpha"],
            "kernel_width": width,
        },
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _with_none(on: np.ndarray) -> np.ndarray:
    """The patterns, and one that keeps nothing."""
    return np.vstack([on, on[:1] & False])


def _outputs(dim: str) -> dict[str, Output]:
    each = ("target", dim)
    return {
        "attribution": Output(each, "LIME coefficient"),
        "standard_error": Output(each, "standard error of the coefficient"),
        "ci_low": Output(each, "lower end of the 95 % confidence interval"),
        "ci_high": Output(each, "upper end of the 95 % confidence interval"),
        "fidelity": Output(("target",), "weighted R² of the surrogate", "1"),
        "fidelity_heldout": Output(("target",), "weighted R² out of sample", "1"),
        "baseline_prediction": Output(("target",), f"score with every {dim} removed"),
    }


def _lime(
    x: Tensor,
    score: Score,
    *,
    part: Tensor,
    baseline: Tensor,
    on: np.ndarray,
    weight: np.ndarray,
    surrogate: str,
    alpha: float,
    resamples: np.ndarray | None,
    keep: Tensor | None = None,
    marginal: Rule | None = None,
    gaussian: Gaussian | None = None,
    removal: str = "marginal",
) -> dict[str, Tensor]:
    """part (n or 1, *f), on (m, g), weight (m,) -> attribution (n, target, g) and its errors."""
    prediction = score.clean(x)
    fill, each_fill = tensors.perturb.fills(baseline, keep, marginal, gaussian, removal)
    scores = tensors.perturb.evaluate(score, x, fill, _with_none(on), part)
    fit = tensors.surrogate.fit(scores[:, :-1], on, weight, surrogate, alpha, resamples)
    there = tensors.perturb.present(part, on.shape[1]).expand(x.shape[0], -1)[:, None]
    each = (fit.coefficient, fit.standard_error, fit.low, fit.high)
    named = ("attribution", "standard_error", "ci_low", "ci_high")
    off = {}
    if gaussian is not None:
        off["off_manifold"] = tensors.perturb.off_manifold(x, each_fill, gaussian, on, part)
    return {
        **off,
        **{k: v.masked_fill(~there, np.nan) for k, v in zip(named, each, strict=True)},
        "fidelity": fit.r2,
        "fidelity_heldout": fit.heldout,
        "prediction": prediction,
        "baseline_prediction": scores[:, -1],
    }


@spec(_outputs("group"), needs="forward", references=_PAPERS, tiles="score")
def _lime_spectral(x: Tensor, score: Score, **given: Any) -> dict[str, Tensor]:
    """See `_lime`: the parts are band groups."""
    return _lime(x, score, **given)


@spec(_outputs("segment"), needs="forward", spatial=True, references=_PAPERS)
def _lime_spatial(x: Tensor, score: Score, **given: Any) -> dict[str, Tensor]:
    """See `_lime`: the parts are segments."""
    return _lime(x, score, **given)
