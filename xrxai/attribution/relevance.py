"""Backpropagation of differences and of relevance: DeepLIFT and LRP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import ModelError, positive
from xrxai.labelled import baseline as baselines
from xrxai.road import Case, explain, settle
from xrxai.spec import BASELINE_PREDICTION, COMPLETENESS_GAP, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score


def deep_lift(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    baseline: baselines.Baseline = 0.0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Difference from a baseline, handed back through the layers by the rescale rule.

    The attributions of a target sum to its score minus the score of the baseline, as those of
    `integrated_gradients` do, at the price of two forward passes per sample and one
    vector-Jacobian product per target; ``completeness_gap`` is a matter of rounding.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One whose network is a ``torch.nn.Module``; programs and TorchScript have no layers.
    target : str or list of str, optional
        Default: every target of the model.
    baseline : optional
        What the cube is compared with: see `xrxai.baseline`. Default: zero.
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
    CubeError, ModelError, TargetError, BaselineError
        The cube, the model and the options do not fit; nothing has been run then. What has no
        rule is refused when the network has run, by name: ``F.relu(x)`` and other functions that
        are not linear, layer norm, attention and other products of two activations. Activation
        modules (ReLU, Tanh, GELU, Sigmoid ...) have one, and max-pooling modules; they may be
        used twice or work in place.

    Notes
    -----
    The rule for max-pooling, on which the paper is silent, gives a rise of the maximum to its
    winner in the cube and a fall to its winner in the baseline, so that nothing is lost; captum
    does the same. Where input and baseline of an activation are the same, its slope stands in.
    Scores after a softmax or sigmoid are refused: section 3.6 of [1]_ explains what goes into it.

    References
    ----------
    .. [1] A. Shrikumar, P. Greenside, A. Kundaje (2017). Learning important features through
       propagating activation differences. https://arxiv.org/abs/1704.02685
    """
    case = settle(cube, model, _deep_lift, target=target, mask=mask, region=region)
    _check(case, "deep_lift")
    return explain(
        case,
        evaluations=2,
        inputs={"baseline": baselines.settle(case.place, baseline, case.valid)},
        options={"baseline": baselines.describe(baseline)},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "features"), "DeepLIFT"),
        "completeness_gap": COMPLETENESS_GAP,
        "baseline_prediction": BASELINE_PREDICTION,
    },
    needs="gradient",
    references=("Shrikumar et al. 2017, arXiv:1704.02685",),
    tiles="gradient",
)
def _deep_lift(x: Tensor, score: Score, *, baseline: Tensor) -> dict[str, Tensor]:
    """x, baseline (n or 1, *f) -> attribution (n, target, *f), gap (n, target)."""
    start = baseline.expand_as(x)
    prediction, at_baseline, multiplier = tensors.rules.rescaled(score, x, start)
    attribution = (x - start)[:, None] * multiplier
    return {
        "attribution": attribution,
        "completeness_gap": attribution.flatten(2).sum(2) - (prediction - at_baseline),
        "prediction": prediction,
        "baseline_prediction": at_baseline,
    }


def lrp(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    epsilon: float = 1e-6,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Relevance of every value for every target's score, handed back layer by layer.

    Layer-wise relevance propagation by the epsilon rule: a layer shares what it is given among
    its inputs as they made its output. Costs one forward pass per sample and one vector-Jacobian
    product per target.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One whose network is a ``torch.nn.Module``; programs and TorchScript have no layers.
    target : str or list of str, optional
        Default: every target of the model.
    epsilon : float, default: 1e-6
        Added to the output of layers with weights, in its own sign and units, before it divides.
        Larger drops the relevance of weak outputs: smoother maps, a larger gap.
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
        ``attribution`` (target, and the dims of the cube) in units of the score;
        ``completeness_gap`` (target), their sum minus the score: what biases, shifts in
        ``prepare`` and `epsilon` have kept; ``prediction`` and ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, OptionError
        The cube, the model and the options do not fit; nothing has been run then. What has no
        rule is refused when the network has run, by name: layer norm, attention, sigmoid gates,
        functions other than ReLU, leaky ReLU and maxima. Activation modules with f(0) = 0 have
        one; they may be used twice or work in place.

    Notes
    -----
    Activations pass relevance on as it comes, maxima give it to their winner. For a network of
    ReLU, maxima and linear layers the rule with `epsilon` near 0 *is* `input_x_gradient` [2]_;
    it differs with smooth activations, and as `epsilon` grows. Preprocessing counts as a layer: a
    `prepare` that subtracts a mean keeps relevance as a bias does.

    References
    ----------
    .. [1] S. Bach et al. (2015). On pixel-wise explanations for non-linear classifier decisions
       by layer-wise relevance propagation. https://doi.org/10.1371/journal.pone.0130140
    .. [2] M. Ancona et al. (2018). Towards better understanding of gradient-based attribution
       methods for deep neural networks. https://arxiv.org/abs/1711.06104
    """
    case = settle(cube, model, _lrp, target=target, mask=mask, region=region)
    epsilon = positive(epsilon, "epsilon", 1e-6)
    _check(case, "lrp")
    return explain(
        case,
        evaluations=1,
        static={"epsilon": epsilon},
        options={"epsilon": epsilon},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "features"), "relevance"),
        "completeness_gap": Output(("target",), "sum of attribution - score"),
    },
    needs="gradient",
    references=("Bach et al. 2015, doi:10.1371/journal.pone.0130140",),
    tiles="gradient",
)
def _lrp(x: Tensor, score: Score, *, epsilon: float) -> dict[str, Tensor]:
    """x (n, *f) -> attribution (n, target, *f), gap (n, target)."""
    prediction, attribution = tensors.rules.relevance(score, x, epsilon)
    return {
        "attribution": attribution,
        "completeness_gap": attribution.flatten(2).sum(2) - prediction,
        "prediction": prediction,
    }


def _check(case: Case, method: str) -> None:
    tensors.hooks.networks(case.model, method)
    if case.model.activation is not None:
        raise ModelError(
            f"The method {method} has no rule for activation={case.model.activation!r}, and "
            f"explains what goes into it; type Model(..., activation=None)."
        )
