"""Path methods: integrated gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import OptionError, at_least, choice, note, positive
from xrxai.labelled import baseline as baselines
from xrxai.road import Case, explain, settle
from xrxai.spec import BASELINE_PREDICTION, COMPLETENESS_GAP, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

Rule = Literal[
    "gauss_legendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
]
_N_STEPS = 50
_RULES = ("gauss_legendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")


_PAPER = ("Sundararajan et al. 2017, arXiv:1703.01365",)
_OUTPUTS = {
    "attribution": Output(("target", "features"), "integrated gradients"),
    "completeness_gap": COMPLETENESS_GAP,
    "baseline_prediction": BASELINE_PREDICTION,
}


def integrated_gradients(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    baseline: baselines.Baseline = 0.0,
    n_steps: int | None = None,
    rule: Rule | None = None,
    tolerance: float | None = None,
    max_steps: int = 1023,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Gradients collected on the straight way from a baseline to the cube.

    The attributions of a target sum to its score minus the score of the baseline;
    ``completeness_gap`` says by how much the steps miss that. With `tolerance` each sample and
    target takes as many steps as close the gap. A step costs one forward pass per sample, and
    one vector-Jacobian product for each target that still needs it; the scores at both ends
    cost two passes.

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
        shadow and the hard way for many models (type ``tolerance=0.01``).
    n_steps : int, optional
        Points of the quadrature, the same for all. More close the gap; cost grows with them.
        Default: 50, if there is no `tolerance`.
    rule : str, optional
        Of these points: "gauss_legendre" (the default), "riemann_left", "riemann_right",
        "riemann_middle", "riemann_trapezoid".
    tolerance : float, optional
        Instead of `n_steps`: add steps until the gap is at most this share of the score minus
        the baseline score, for every sample and target, or at most a few roundings of the
        scores. 0.01 is a good one; less costs more steps.
    max_steps : int, default: 1023
        With `tolerance`: where to stop trying. Steps come as 3, 7, 15, ..., 2**n - 1.
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
        ``model_evaluations``; with `tolerance` also ``n_steps_used`` and ``converged``
        (target); 0 and False for a sample without data.

    Raises
    ------
    CubeError, ModelError, TargetError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Warns
    -----
    UserWarning
        Some samples and targets miss the `tolerance`; not for lazy cubes, where
        ``converged`` says it.

    Notes
    -----
    A score with steps, as ``reduction="argmax"``, cannot be integrated through its gradient:
    the gap then stays large whatever `n_steps`; use ``"frozen_argmax"`` or ``"area"``.

    The gap is that of the sum: where it is closed to 1 %, single values can be off by some
    percent. With `tolerance` the points are those of the trapezoidal rule after the sin²
    transformation [2]_: each level keeps all points of the one before, memory does not grow
    with the steps, and no gradient is taken at the baseline itself.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly, Q. Yan (2017). Axiomatic attribution for deep networks.
       https://arxiv.org/abs/1703.01365
    .. [2] A. Sidi (2006). Extension of a class of periodizing variable transformations for
       numerical integration. https://doi.org/10.1090/S0025-5718-05-01773-4
    """
    if tolerance is not None:
        return _adapted(
            settle(cube, model, _adaptive, target=target, mask=mask, region=region),
            baseline,
            (n_steps, rule),
            tolerance,
            max_steps,
            device=device,
            batch_size=batch_size,
            progress=progress,
        )
    n_steps = _N_STEPS if n_steps is None else at_least(n_steps, 1, "n_steps")
    rule = "gauss_legendre" if rule is None else rule
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
    _OUTPUTS,
    needs="gradient",
    references=_PAPER,
    tiles="gradient",
)
def _integrated_gradients(
    x: Tensor, score: Score, *, baseline: Tensor, n_steps: int, rule: str
) -> dict[str, Tensor]:
    """x, baseline (n or 1, *f) -> attribution (n, target, *f), gap (n, target)."""
    prediction = score.clean(x)
    start = baseline.expand_as(x)
    at_baseline = score.reference(start)
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


def _adapted(
    case: Case,
    baseline: baselines.Baseline,
    fixed: tuple[int | None, str | None],
    tolerance: float,
    max_steps: int,
    *,
    device: str | None,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    """Integrated gradients with as many steps as each sample and target needs."""
    for value, name in zip(fixed, ("n_steps", "rule"), strict=True):
        if value is not None:
            raise OptionError(
                f"{name}={value!r} and tolerance={tolerance!r} came together, and tolerance= "
                f"chooses the steps by itself; leave out one of them."
            )
    positive(tolerance, "tolerance", 0.01)
    at_least(max_steps, 3, "max_steps")
    found = explain(
        case,
        evaluations=None,
        inputs={"baseline": baselines.settle(case.place, baseline, case.valid)},
        static={"tolerance": tolerance, "max_steps": max_steps},
        options={
            "baseline": baselines.describe(baseline),
            "tolerance": tolerance,
            "max_steps": max_steps,
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    if not case.place.lazy:
        _warn(found, case, tolerance)
    return found


def _warn(found: xr.Dataset, case: Case, tolerance: float) -> None:
    asked = found.n_steps_used > 0
    missed = asked & ~found.converged
    if not bool(missed.any()):
        return
    most = int(found.n_steps_used.max())
    if case.model.gives == "map" and case.model.reduction == "argmax":
        how = (
            "No number of steps closes it: reduction='argmax' jumps where a pixel changes its "
            "class, and no gradient sees that. Type Model(..., reduction='frozen_argmax') or "
            "reduction='area'."
        )
    else:
        how = (
            "completeness_gap says how far they are off. Raise max_steps= or tolerance=, or "
            "start nearer to the cube, for example with baseline='mean'."
        )
    note(
        f"{int(missed.sum())} of {int(asked.sum())} attributions (samples and targets) miss "
        f"tolerance={tolerance:g} after {most} steps. {how}"
    )


@spec(
    {
        **_OUTPUTS,
        "n_steps_used": Output(("target",), "steps on the way", "1", "int64"),
        "converged": Output(("target",), "the gap is within the tolerance", "1", "bool"),
    },
    needs="gradient",
    method="integrated_gradients",
    references=(*_PAPER, "Sidi 2006, doi:10.1090/S0025-5718-05-01773-4"),
    tiles="gradient",
)
def _adaptive(
    x: Tensor, score: Score, *, baseline: Tensor, tolerance: float, max_steps: int
) -> dict[str, Tensor]:
    """x, baseline (n or 1, *f) -> attribution (n, target, *f); gap, steps (n, target)."""
    prediction = score.clean(x)
    start = baseline.expand_as(x)
    at_baseline = score.reference(start)
    attribution, steps, converged = tensors.paths.adaptive(
        score, start, x, (at_baseline, prediction), tolerance, max_steps
    )
    return {
        "attribution": attribution,
        "completeness_gap": attribution.flatten(2).sum(2) - (prediction - at_baseline),
        "prediction": prediction,
        "baseline_prediction": at_baseline,
        "n_steps_used": steps,
        "converged": converged,
    }
