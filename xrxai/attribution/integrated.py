"""Path methods: integrated gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import at_least, choice
from xrxai.explain import explain, settle
from xrxai.labelled import baseline as baselines
from xrxai.spec import BASELINE_PREDICTION, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

Rule = Literal[
    "gauss_legendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
]
_RULES = ("gauss_legendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")


def integrated_gradients(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    baseline: baselines.Baseline = 0.0,
    n_steps: int = 50,
    rule: Rule = "gauss_legendre",
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Gradients collected on the straight way from a baseline to the cube.

    The attributions of a target sum to its score minus the score of the baseline;
    ``completeness_gap`` says by how much the chosen steps miss that. Costs `n_steps` forward
    passes per sample for all targets together, and two for the scores at both ends.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    target : str or list of str, optional
        Default: every target of the model.
    baseline : optional
        Where the way starts: see `xrxai.baseline`. Default: zero, which for reflectance is deep
        shadow and the hard way for many models (raise `n_steps`).
    n_steps : int, default: 50
        Points of the quadrature. More close the gap; cost grows with them.
    rule : str, default: "gauss_legendre"
        Or "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid".
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
    A score with steps, as ``reduction="argmax"``, cannot be integrated through its gradient:
    the gap then stays large whatever `n_steps`; use ``"frozen_argmax"`` or ``"area"``.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly, Q. Yan (2017). Axiomatic attribution for deep networks.
       https://arxiv.org/abs/1703.01365
    """
    at_least(n_steps, 1, "n_steps")
    choice(rule, _RULES, "rule")
    case = settle(cube, model, _integrated_gradients, target=target, mask=mask, region=region)
    return explain(
        case,
        evaluations=n_steps + 2,
        inputs={"baseline": baselines.settle(case.place, baseline, case.valid)},
        static={"n_steps": n_steps, "rule": rule},
        options={"baseline": baselines.describe(baseline), "n_steps": n_steps, "rule": rule},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "features"), "integrated gradients"),
        "completeness_gap": Output(("target",), "sum of attribution - (score - baseline score)"),
        "baseline_prediction": BASELINE_PREDICTION,
    },
    needs="gradient",
    references=("Sundararajan et al. 2017, arXiv:1703.01365",),
)
def _integrated_gradients(
    x: Tensor, score: Score, *, baseline: Tensor, n_steps: int, rule: str
) -> dict[str, Tensor]:
    """x, baseline (n or 1, *f) -> attribution (n, target, *f), gap (n, target)."""
    prediction = score.clean(x)
    start = baseline.expand_as(x)
    at_baseline = score.plain(start)
    nodes, weights = tensors.integrate.nodes(n_steps, rule)
    attribution = tensors.score.mean_gradient(score, start, x, nodes, weights)
    attribution *= (x - start)[:, None]
    gap = attribution.flatten(2).sum(2) - (prediction - at_baseline)
    return {
        "attribution": attribution,
        "completeness_gap": gap,
        "prediction": prediction,
        "baseline_prediction": at_baseline,
    }
