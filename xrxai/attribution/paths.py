"""Other ways from absence to the cube: from a background, through blurs, or guided."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.errors import BandError, ModelError, OptionError, at_least, choice, positive
from xrxai.labelled import background as backgrounds
from xrxai.labelled import baseline as baselines
from xrxai.road import Case, explain, settle
from xrxai.spec import BASELINE_PREDICTION, COMPLETENESS_GAP, Output, Tiles, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

Axes = Literal["spatial", "spectral"]
Spacing = Literal["log", "linear", "sqrt"]
# Narrower Gaussians weigh the next pixel or band by less than 4e-4: they blur nothing.
_LEAST_SIGMA = 0.25


def gradient_shap(
    cube: xr.DataArray,
    model: Model,
    *,
    background: backgrounds.Background,
    target: str | list[str] | None = None,
    n_samples: int = 50,
    stratified: bool = True,
    seed: int = 0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Expected gradients: integrated gradients, averaged over many baselines.

    Each draw takes one row of the background and one point on the straight way from it to the
    cube. The attributions of a target sum, on average, to its score minus the mean score of
    the background. Costs one forward pass per draw and sample, for all targets together, one
    for every row of the background that is drawn, and one for the cube.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    background : DataArray or array, (row, band) or (row, band, y, x)
        What is usual, such as spectra the model was trained on, in units of the cube and
        without gaps; the dim of rows has any name. Rows of spectra stand in every pixel;
        rows of cubes are for models that take a patch.
    target : str or list of str, optional
        Default: every target of the model.
    n_samples : int, default: 50
        Draws, the same ones for every sample. More narrow `standard_error`, by one over their
        square root.
    stratified : bool, default: True
        Draw every row of the background equally often, and one point in each of `n_samples`
        parts of the way. This narrows the true error, while `standard_error`, which takes the
        draws as independent, stays as it is and is then an upper estimate.
    seed : int, default: 0
        Of the draws; the same seed gives the same result whatever the batches and chunks.
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
        ``attribution`` (target, and the dims of the cube) in units of the score, with its
        ``standard_error``; ``prediction`` and ``baseline_prediction`` (target), the mean
        score of the rows as often as they are drawn; ``completeness_gap`` against it;
        ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    Other packages add noise to the cube under the same name; here nothing is added.

    References
    ----------
    .. [1] G. Erion et al. (2021). Improving performance of deep learning models with axiomatic
       attribution priors and expected gradients. https://arxiv.org/abs/1906.10670
    """
    at_least(n_samples, 2, "n_samples")
    at_least(seed, 0, "seed")
    case = settle(cube, model, _gradient_shap, target=target, mask=mask, region=region)
    rows = backgrounds.settle(case.place, background, case.model.takes, case.model.fill)
    draws = patterns.draws(n_samples, len(rows), seed, stratified)
    whole = case.tiled and rows.shape[-1] == cube.sizes[case.scene.x]
    return explain(
        case,
        evaluations=n_samples + np.unique(draws[0]).size + 1,
        inputs={"known": case.valid},
        static={"background": patterns.Pixels(rows) if whole else rows, "draws": draws},
        options={
            "background": baselines.describe(background),
            "n_samples": n_samples,
            "stratified": stratified,
        },
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "features"), "expected gradients"),
        "standard_error": Output(("target", "features"), "standard error of the mean over draws"),
        "completeness_gap": COMPLETENESS_GAP,
        "baseline_prediction": Output(("target",), "mean score of the drawn background"),
    },
    needs="gradient",
    references=("Erion et al. 2021, arXiv:1906.10670",),
    tiles="gradient",
)
def _gradient_shap(
    x: Tensor,
    score: Score,
    *,
    known: Tensor,
    background: np.ndarray,
    draws: tuple[np.ndarray, np.ndarray],
) -> dict[str, Tensor]:
    """x (n, *f), known (n or 1, 1, ...), background (m, *f) -> value, error (n, target, *f)."""
    prediction = score.clean(x)
    rows = x.new_tensor(background)
    usual = tensors.paths.background_score(score, x, rows, known, draws[0])
    value, error = tensors.paths.expected(score, x, rows, known, draws)
    return {
        "attribution": value,
        "standard_error": error,
        "completeness_gap": value.flatten(2).sum(2) - (prediction - usual),
        "prediction": prediction,
        "baseline_prediction": usual,
    }


def blur_ig(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    axes: Axes | None = None,
    max_sigma: float | None = None,
    n_steps: int = 50,
    spacing: Spacing = "log",
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Gradients collected while the cube comes into focus: integrated gradients without a baseline.

    The way runs through Gaussian blurs of the cube, from the widest to none. The attributions
    of a target sum to its score minus the score of the widest blur, and tell what detail adds;
    ``completeness_gap`` says by how much the steps miss that. Costs `n_steps` forward passes
    per sample for all targets together, and two for the scores at both ends.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    target : str or list of str, optional
        Default: every target of the model.
    axes : {"spatial", "spectral"}, optional
        Blur over rows and columns, or along the spectrum of each pixel by wavelength. Default:
        "spatial" for a model that takes a patch, else "spectral".
    max_sigma : float, optional
        Width of the widest blur, in pixels or nanometres; one in metres over the size of a pixel
        is one in pixels. Wider leaves less of the cube at the start. Default: the longer side of
        the image, the span of the wavelengths.
    n_steps : int, default: 50
        Blurs on the way. More close the gap; cost grows with them.
    spacing : {"log", "linear", "sqrt"}, default: "log"
        Widths between 0 and `max_sigma`: growing by a constant factor from a quarter of a
        pixel or of the step between bands; by a constant difference; or as the square root
        of the step. Most detail goes with the first pixel of blur, so "log" needs fewest steps.
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
        ``attribution`` (target, and the dims of the cube) in units of the score,
        ``completeness_gap``, ``prediction`` and ``baseline_prediction`` (target), the score of
        the widest blur, and ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    Where this departs from the paper: a Gaussian is never cut off, and what it finds beyond the
    border, at pixels without data and in bad bands counts for nothing (normalised convolution);
    each step is the true difference of two blurs, and its gradient is taken halfway between
    them, so that a linear score is explained exactly. The spectral way is not in the paper.

    References
    ----------
    .. [1] S. Xu, S. Venugopalan, M. Sundararajan (2020). Attribution in scale and space.
       https://arxiv.org/abs/2004.03383
    """
    at_least(n_steps, 1, "n_steps")
    choice(spacing, ("log", "linear", "sqrt"), "spacing")
    if axes is not None:
        choice(axes, ("spatial", "spectral"), "axes")
    # A blur over bands stays within its pixel; one over pixels reaches over the whole image.
    tiles: Tiles = "gradient" if axes == "spectral" else "alone"
    case = settle(cube, model, _blur_ig, target=target, mask=mask, region=region, tiles=tiles)
    if axes is None:
        axes = "spatial" if case.model.takes == "patch" else "spectral"
    position, step, widest = _scale(case, axes)
    if max_sigma is not None:
        widest = positive(max_sigma, "max_sigma", widest)
    good = xr.DataArray(case.place.good_band, dims=case.place.band)
    return explain(
        case,
        evaluations=n_steps + 2,
        inputs={"known": case.valid if axes == "spatial" else good},
        static={
            "sigma": _widths(widest, n_steps, spacing, _LEAST_SIGMA * step),
            "position": position,
        },
        options={"axes": axes, "max_sigma": widest, "n_steps": n_steps, "spacing": spacing},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _scale(case: Case, axes: Axes) -> tuple[np.ndarray | None, float, float]:
    """Wavelengths of a spectral blur, the step of the grid, and how wide a blur can be."""
    place = case.place
    if axes == "spatial":
        if case.model.takes == "spectrum":
            raise ModelError(
                "axes='spatial' blurs over rows and columns, but the model takes='spectrum' sees "
                "one pixel at a time; type axes='spectral'."
            )
        return None, 1.0, float(max(place.data.sizes[place.y], place.data.sizes[place.x]))
    wavelength = place.require_wavelength()
    good = np.unique(wavelength[place.good_band])
    if good.size < 2:
        raise BandError(
            "axes='spectral' blurs over the bands, and the cube has only one good wavelength; "
            "type axes='spatial', or use integrated_gradients."
        )
    return wavelength, float(np.median(np.diff(good))), float(np.ptp(good))


def _widths(widest: float, n_steps: int, spacing: Spacing, least: float) -> np.ndarray:
    """Widths (n_steps + 1,) of the blurs, from 0 to the widest."""
    share = np.arange(n_steps + 1) / n_steps
    if spacing == "linear":
        return widest * share
    if spacing == "sqrt":
        return widest * np.sqrt(share)
    if n_steps == 1:
        return np.array([0.0, widest])
    return np.concatenate([[0.0], np.geomspace(min(least, widest), widest, n_steps)])


@spec(
    {
        "attribution": Output(("target", "features"), "blur integrated gradients"),
        "completeness_gap": COMPLETENESS_GAP,
        "baseline_prediction": Output(("target",), "score at the widest blur"),
    },
    needs="gradient",
    references=("Xu et al. 2020, arXiv:2004.03383",),
)
def _blur_ig(
    x: Tensor, score: Score, *, known: Tensor, sigma: np.ndarray, position: np.ndarray | None
) -> dict[str, Tensor]:
    """x (n, *f), known (n or 1, 1 or band, ...) -> attribution (n, target, *f)."""
    prediction = score.clean(x)
    attribution, end = tensors.paths.blurring(score, x, known, sigma, position)
    at_blur = score.reference(end)
    return {
        "attribution": attribution,
        "completeness_gap": attribution.flatten(2).sum(2) - (prediction - at_blur),
        "prediction": prediction,
        "baseline_prediction": at_blur,
    }


def guided_ig(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    baseline: baselines.Baseline = 0.0,
    n_steps: int = 200,
    fraction: float = 0.25,
    max_distance: float = 0.02,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Integrated gradients along a way that avoids steep places.

    Each step moves the values whose gradient is smallest, so that noise of the model on the
    straight way is not credited to values that do not matter. The way differs from target to
    target: costs `n_steps` forward passes per sample *and target*, and two for the scores at
    both ends. The attributions of a target sum to its score minus the score of the baseline;
    ``completeness_gap`` says by how much the steps miss that.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    target : str or list of str, optional
        Default: every target of the model. Fewer cost less.
    baseline : optional
        Where the way starts: see `xrxai.baseline`. Default: zero.
    n_steps : int, default: 200
        Steps of equal length. More close the gap; cost grows with them.
    fraction : float, default: 0.25
        Share of the values that a step moves before it looks at the next ones, in (0, 1].
        Smaller follows the gradients more closely; 1 is the straight way.
    max_distance : float, default: 0.02
        How far a value may run ahead of or stay behind the straight way, as a share of it.
        0 is the straight way, 1 sets no bound.
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
        ``attribution`` (target, and the dims of the cube) in units of the score,
        ``completeness_gap``, ``prediction`` and ``baseline_prediction`` (target), and
        ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    The gradient of a step is that at its start, as in the paper, so the gap shrinks only with
    one over `n_steps`. Departure from the paper: values that are the same in cube and baseline
    (nodata are) do not count in `fraction`.

    References
    ----------
    .. [1] A. Kapishnikov et al. (2021). Guided integrated gradients: an adaptive path method
       for removing noise. https://arxiv.org/abs/2106.09788
    """
    at_least(n_steps, 1, "n_steps")
    _share(fraction, "fraction", 0.25, zero=False)
    _share(max_distance, "max_distance", 0.02, zero=True)
    case = settle(cube, model, _guided_ig, target=target, mask=mask, region=region)
    return explain(
        case,
        evaluations=n_steps * len(case.targets) + 2,
        inputs={"baseline": baselines.settle(case.place, baseline, case.valid)},
        static={"n_steps": n_steps, "fraction": fraction, "max_distance": max_distance},
        options={
            "baseline": baselines.describe(baseline),
            "n_steps": n_steps,
            "fraction": fraction,
            "max_distance": max_distance,
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _share(value: object, name: str, example: float, *, zero: bool) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not (0 <= float(value) <= 1) or (value == 0 and not zero):  # type: ignore[arg-type]
        wanted = "from 0 to 1" if zero else "above 0, up to 1"
        raise OptionError(f"{name}={value!r} is no share {wanted}; type {name}={example:g}.")


@spec(
    {
        "attribution": Output(("target", "features"), "guided integrated gradients"),
        "completeness_gap": COMPLETENESS_GAP,
        "baseline_prediction": BASELINE_PREDICTION,
    },
    needs="gradient",
    references=("Kapishnikov et al. 2021, arXiv:2106.09788",),
)
def _guided_ig(
    x: Tensor,
    score: Score,
    *,
    baseline: Tensor,
    n_steps: int,
    fraction: float,
    max_distance: float,
) -> dict[str, Tensor]:
    """x, baseline (n or 1, *f) -> attribution (n, target, *f), gap (n, target)."""
    prediction = score.clean(x)
    start = baseline.expand_as(x)
    at_baseline = score.reference(start)
    attribution = tensors.paths.guided(score, start, x, n_steps, fraction, max_distance)
    return {
        "attribution": attribution,
        "completeness_gap": attribution.flatten(2).sum(2) - (prediction - at_baseline),
        "prediction": prediction,
        "baseline_prediction": at_baseline,
    }
