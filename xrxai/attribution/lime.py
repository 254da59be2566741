"""LIME: a linear surrogate of the model over band groups or segments that are on or off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import designs, patterns, rounds, tensors
from xrxai.errors import OptionError, at_least, choice, note, positive
from xrxai.labelled import areas, parts
from xrxai.labelled import bands as band_groups
from xrxai.labelled import baseline as baselines
from xrxai.labelled import removal as removals
from xrxai.labelled import segments as segmentation
from xrxai.road import Case, explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.imputation import Gaussian, Rule
    from xrxai.model import Model
    from xrxai.tensors.score import Score

Surrogate = Literal["ridge", "lasso", "kriging"]

_N_RESAMPLES = 200
_DEFAULT_ALPHA = {"ridge": 1e-6, "lasso": 0.01, "kriging": 0.0}
_PAPERS = (
    "Ribeiro et al. 2016, arXiv:1602.04938",
    "MacKinnon & White 1985, doi:10.1016/0304-4076(85)90158-7",
    "Plackett & Burman 1946, doi:10.1093/biomet/33.4.305",
    "Cressie 1993, doi:10.1002/9781119115151",
)


def lime_spectral(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    bands: band_groups.Bands = 50.0,
    n_samples: rounds.Samples = 200,
    design: designs.Design = "balanced",
    tolerance: float | None = None,
    max_samples: int | None = None,
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

    Band groups are switched to the baseline by on/off patterns; a weighted linear fit of the
    scores on the patterns gives one coefficient per group: the change of the score when the
    group is there. The same patterns serve all samples and targets. Costs `n_samples` + 2
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
    n_samples : int or "auto", default: 200
        On/off patterns. More narrow the confidence interval, by one over their square root;
        ``2**n`` or more for n groups ask every pattern once, and the coefficients are exact.
        "auto" draws in rounds until each sample has the precision of `tolerance`.
    design : {"balanced", "paired", "random"}, default: "balanced"
        How patterns are drawn. "random": by independent fair coins [1]_. "paired": each with its
        complement, none twice, so that effects of two groups together blur those of one
        less. "balanced": besides, any two groups are on together in a quarter of the patterns,
        or as nearly as `n_samples` lets them: two-level designs of Plackett and Burman [4]_
        with fold-over, whose rows, columns and signs are drawn. For the error of random it
        needs about half of the patterns; pairs make `n_samples` even.
    tolerance : float, optional
        With ``n_samples="auto"``: a sample is done when, for every target, the median of its
        standard errors is at most this share of its largest coefficient. Default: 0.05; half
        of it costs four times the patterns.
    max_samples : int, optional
        With ``n_samples="auto"``: where to stop trying. Default: 4000.
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
    surrogate : {"ridge", "lasso", "kriging"}, default: "ridge"
        Ridge has exact solutions and errors; lasso sets weak groups to exactly zero, with
        bootstrap intervals that do not account for its selection. Kriging gives what ridge
        tends to with more patterns, from fewer: it interpolates between the patterns what two,
        three and more groups do together, and fits the line to all ``2**n`` patterns then [6]_.
        The smoother the model, the more it saves: see Notes.
    alpha : float, optional
        Penalty, on answers scaled to unit spread, so that it means the same for scores of 0..1
        and of 1e5. Larger shrinks coefficients to zero. Default: 1e-6 for ridge (numerically
        none), 0.01 for lasso. Kriging has none.
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
        ``model_evaluations`` and ``group_of_band`` (band); with ``n_samples="auto"`` also
        ``n_samples_used`` and ``converged``. Where a covariance is known,
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
        There are fewer samples than three times the groups, or with ``n_samples="auto"`` some
        explanations miss the `tolerance`; not for lazy cubes, where ``converged`` says it.

    Notes
    -----
    The interval is that of a sandwich estimator: HC3 [2]_ of random patterns, CR2 [5]_ of pairs,
    as the two of a pair are not independent, smaller by the share of all pairs that was asked.
    It covers the coefficient that all patterns would give, also when the model is not linear in
    them. It says nothing about how well a line describes the model: that is
    `fidelity_heldout`, of patterns, or pairs, that the fit has not seen. An interval at which
    ``n_samples="auto"`` stopped is a little too narrow, as all that stop when they look good.

    Kriging takes the score for a line in the pattern and a random field on the corners of a
    cube, whose covariance is a product over the groups [7]_: before any answer is known, all
    sets of k groups together have a variance of about ``3**k / k!``, and a tenth more in what
    sets of one size share. Its interval is that of the posterior, with the scale estimated from
    the answers: wide for models that are smoother than that field. Its fidelities are ridge's.

    References
    ----------
    .. [1] M. T. Ribeiro, S. Singh, C. Guestrin (2016). "Why should I trust you?"
       https://arxiv.org/abs/1602.04938
    .. [2] J. G. MacKinnon, H. White (1985). Some heteroskedasticity-consistent covariance
       matrix estimators. https://doi.org/10.1016/0304-4076(85)90158-7
    .. [3] K. Aas, M. Jullum, A. Løland (2021). Explaining individual predictions when features
       are dependent. https://arxiv.org/abs/1903.10464. They draw from the conditional
       distribution; its mean, put into the model, is the same for linear models only.
    .. [4] R. L. Plackett, J. P. Burman (1946). The design of optimum multifactorial experiments.
       https://doi.org/10.1093/biomet/33.4.305
    .. [5] R. M. Bell, D. F. McCaffrey (2002). Bias reduction in standard errors for linear
       regression with multi-stage samples. Survey Methodology 28(2), 169-181.
    .. [6] N. A. C. Cressie (1993). Statistics for spatial data, section 3.4, universal kriging.
       https://doi.org/10.1002/9781119115151
    .. [7] R. I. Kondor, J. Lafferty (2002). Diffusion kernels on graphs and other discrete
       input spaces. Proc. 19th International Conference on Machine Learning, 315-322.
    """
    case = settle(cube, model, _lime_spectral, target=target, mask=mask, region=region, per=per)
    groups = parts.of_bands(case.place, bands, overlap, ungrouped)
    asked = rounds.settle(
        n_samples, tolerance, max_samples, least=3, first=designs.first(groups.count)
    )
    fit = _fit(groups, asked, design, surrogate, alpha, kernel_width, seed)
    return _explain(
        case,
        fit,
        groups,
        removals.settle(case.place, case.valid, baseline, removal, covariance),
        asked,
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
    n_samples: rounds.Samples = 500,
    design: designs.Design = "balanced",
    tolerance: float | None = None,
    max_samples: int | None = None,
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
    n_samples : int or "auto", default: 500
        On/off patterns. More narrow the confidence interval, by one over their square root;
        ``2**n`` or more for n segments ask every pattern once, and the coefficients are exact.
        "auto" draws in rounds until each sample has the precision of `tolerance`.
    design : {"balanced", "paired", "random"}, default: "balanced"
        How patterns are drawn. "random": by independent fair coins [1]_. "paired": each with its
        complement, none twice, so that effects of two segments together blur those of one
        less. "balanced": besides, any two segments are on together in a quarter of the patterns,
        or as nearly as `n_samples` lets them: two-level designs of Plackett and Burman [4]_
        with fold-over, whose rows, columns and signs are drawn. For the error of random it
        needs about half of the patterns; pairs make `n_samples` even.
    tolerance : float, optional
        With ``n_samples="auto"``: a sample is done when, for every target, the median of its
        standard errors is at most this share of its largest coefficient. Default: 0.05; half
        of it costs four times the patterns.
    max_samples : int, optional
        With ``n_samples="auto"``: where to stop trying. Default: 4000.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    surrogate : {"ridge", "lasso", "kriging"}, default: "ridge"
        Ridge has exact solutions and errors; lasso sets weak segments to exactly zero, with
        bootstrap intervals that do not account for its selection. Kriging gives what ridge
        tends to with more patterns, from fewer; see `lime_spectral`.
    alpha : float, optional
        Penalty, on answers scaled to unit spread. Larger shrinks coefficients to zero.
        Default: 1e-6 for ridge (numerically none), 0.01 for lasso. Kriging has none.
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
        There are fewer samples than three times the segments, or with ``n_samples="auto"`` some
        explanations miss the `tolerance`; not for lazy cubes, where ``converged`` says it.

    References
    ----------
    .. [1] M. T. Ribeiro, S. Singh, C. Guestrin (2016). "Why should I trust you?"
       https://arxiv.org/abs/1602.04938
    .. [2] J. G. MacKinnon, H. White (1985). Some heteroskedasticity-consistent covariance
       matrix estimators. https://doi.org/10.1016/0304-4076(85)90158-7
    .. [3] R. M. Bell, D. F. McCaffrey (2002). Bias reduction in standard errors for linear
       regression with multi-stage samples. Survey Methodology 28(2), 169-181.
    .. [4] R. L. Plackett, J. P. Burman (1946). The design of optimum multifactorial experiments.
       https://doi.org/10.1093/biomet/33.4.305
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
    asked = rounds.settle(
        n_samples, tolerance, max_samples, least=3, first=designs.first(regions.count)
    )
    fit = _fit(regions, asked, design, surrogate, alpha, kernel_width, seed)
    return _explain(
        case,
        fit,
        regions,
        removals.settle_plain(case.place, case.valid, baseline),
        asked,
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _fit(
    switched: parts.Parts,
    asked: rounds.Rounds,
    design: str,
    surrogate: str,
    alpha: float | None,
    kernel_width: float | None,
    seed: int,
) -> dict[str, Any]:
    """On/off patterns of each round, and the penalty; refuses what no line can be fitted to."""
    at_least(seed, 0, "seed")
    choice(surrogate, _DEFAULT_ALPHA, "surrogate")
    default = _DEFAULT_ALPHA[surrogate]
    if surrogate == "kriging" and alpha is not None:
        raise OptionError(
            f"alpha={alpha!r} is a penalty, and kriging has none; leave it out, or type "
            "surrogate='ridge'."
        )
    alpha = default if alpha is None else positive(alpha, "alpha", default, zero=True)
    if kernel_width is not None:
        positive(kernel_width, "kernel_width", 0.25)
    count, most = switched.count, asked.sizes[-1]
    sizes = sorted({designs.settle(design, n, count) for n in asked.sizes})
    drawn = designs.draw(design, sizes, count, seed)
    name = "n_samples" if asked.tolerance is None else "max_samples"
    if surrogate == "kriging" and sizes[0] < count + 2 and drawn[0].left > 0:
        raise OptionError(
            f"{name}={most} for {count} {switched.dim}s leaves nothing to tell what they do "
            f"together; type {name}={count + 2 + count % 2} or more, or surrogate='ridge'."
        )
    if most < 3 * count and drawn[-1].left > 0:
        note(
            f"{most} samples for {count} {switched.dim}s: the surrogate will fit noise. "
            f"Type {name}={3 * count} or more, and trust fidelity_heldout, not fidelity.",
        )
    resamples = None
    if surrogate == "lasso":
        free = [len(d.on) // (1 + d.paired) for d in drawn]
        resamples = [patterns.resamples(n, _N_RESAMPLES, seed) for n in free]
    return {
        "drawn": drawn,
        "design": design,
        "kernel_width": kernel_width,
        "surrogate": surrogate,
        "alpha": alpha,
        "resamples": resamples,
        "tolerance": asked.tolerance,
    }


def _explain(
    case: Case,
    fit: dict[str, Any],
    switched: parts.Parts,
    filled: removals.Settled,
    asked: rounds.Rounds,
    *,
    seed: int,
    device: str | None,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    drawn = fit["drawn"]
    told = asked.options
    if asked.tolerance is None:
        told = {"n_samples": len(drawn[-1].on)}
    found = explain(
        case.giving({**filled.outputs, **asked.outputs}),
        evaluations=patterns.count(drawn[-1].on) + 2 if asked.tolerance is None else None,
        inputs={"part": switched.where, **filled.inputs},
        static={**{k: v for k, v in fit.items() if k != "design"}, **filled.static},
        coords={**switched.coords, **filled.coords},
        extra=switched.extra,
        options={
            **switched.options,
            **told,
            "design": fit["design"],
            "exact": drawn[-1].left == 0,
            **filled.options,
            "surrogate": fit["surrogate"],
            "alpha": fit["alpha"],
            "kernel_width": fit["kernel_width"],
        },
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    if asked.tolerance is not None and not case.place.lazy:
        rounds.warn(found, asked.tolerance)
    return found


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
    drawn: list[designs.Drawn],
    kernel_width: float | None,
    surrogate: str,
    alpha: float,
    resamples: list[np.ndarray] | None,
    tolerance: float | None,
    keep: Tensor | None = None,
    marginal: Rule | None = None,
    gaussian: Gaussian | None = None,
    removal: str = "marginal",
) -> dict[str, Tensor]:
    """part (n or 1, *f), patterns of each round -> attribution (n, target, g) and its errors."""
    prediction = score.clean(x)
    fill, each_fill = tensors.perturb.fills(baseline, keep, marginal, gaussian, removal)
    count = drawn[-1].on.shape[1]
    there = tensors.perturb.present(part, count).expand(x.shape[0], -1)[:, None]

    def make(i: Tensor, y: Tensor, _: Tensor, r: int) -> tuple[Tensor, ...]:
        repeats = None if resamples is None else resamples[r]
        *each, r2, heldout = tensors.surrogate.fit(
            y, drawn[r], kernel_width, surrogate, alpha, repeats
        )
        return *(v.masked_fill(~there[i], np.nan) for v in each), r2, heldout

    found = tensors.until.ask(score, x, fill, part, [d.on for d in drawn], make, tolerance)
    off = {}
    if gaussian is not None:
        last = drawn[-1].on
        off["off_manifold"] = tensors.perturb.off_manifold(x, each_fill, gaussian, last, part)
    named = ("attribution", "standard_error", "ci_low", "ci_high", "fidelity", "fidelity_heldout")
    return {
        **off,
        **dict(zip(named, found.made, strict=True)),
        **found.told(tolerance),
        "prediction": prediction,
        "baseline_prediction": found.nothing,
    }


@spec(_outputs("group"), needs="forward", references=_PAPERS, tiles="score")
def _lime_spectral(x: Tensor, score: Score, **given: Any) -> dict[str, Tensor]:
    """See `_lime`: the parts are band groups."""
    return _lime(x, score, **given)


@spec(_outputs("segment"), needs="forward", spatial=True, references=_PAPERS)
def _lime_spatial(x: Tensor, score: Score, **given: Any) -> dict[str, Tensor]:
    """See `_lime`: the parts are segments."""
    return _lime(x, score, **given)
