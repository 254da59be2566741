"""Expected gradients: ways to the cube from many baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.errors import at_least
from xrxai.labelled import background as backgrounds
from xrxai.labelled import baseline as baselines
from xrxai.road import explain, settle
from xrxai.spec import COMPLETENESS_GAP, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score


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
