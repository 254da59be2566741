"""Guided integrated gradients: a way around steep places."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import OptionError, at_least
from xrxai.labelled import baseline as baselines
from xrxai.road import explain, settle
from xrxai.spec import BASELINE_PREDICTION, COMPLETENESS_GAP, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score


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
