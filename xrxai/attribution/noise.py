"""Gradient methods under noise: SmoothGrad and its relatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import patterns, rounds, tensors
from xrxai.attribution.gradient import _input_x_gradient, _saliency
from xrxai.attribution.integrated import _integrated_gradients
from xrxai.errors import OptionError, at_least, choice
from xrxai.labelled import baseline as baselines
from xrxai.labelled import noise as levels
from xrxai.road import Case, explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.running import Repeat
    from xrxai.tensors.score import Score

Of = Literal["saliency", "input_x_gradient", "integrated_gradients"]
Statistic = Literal["mean", "square", "variance"]


@dataclass(frozen=True)
class _Method:
    """A gradient method that can be repeated: target by target, and which options it takes."""

    kernel: Callable[..., Mapping[str, Any]]
    each: Callable[..., Iterator[Tensor]]
    static: Mapping[str, Any]
    times_x: bool = False
    steps: bool = False
    baseline: bool = False

    def cost(self, n_steps: int) -> int:
        """Evaluations of the model for one sample."""
        return n_steps + 2 if self.steps else 1


def _each_gradient(x: Tensor, score: Score) -> Iterator[Tensor]:
    """x (n, *f) -> gradient (n, *f), target by target; as it is, or to be multiplied by x."""
    return tensors.score.each_gradient(score, x)


def _each_integrated_gradients(
    x: Tensor, score: Score, *, baseline: Tensor, n_steps: int, rule: str
) -> Iterator[Tensor]:
    """x, baseline (n or 1, *f) -> attribution (n, *f), target by target, made in one."""
    found = _integrated_gradients(x, score, baseline=baseline, n_steps=n_steps, rule=rule)
    yield from found["attribution"].unbind(1)


_METHODS = {
    "saliency": _Method(_saliency, _each_gradient, {}),
    "input_x_gradient": _Method(_input_x_gradient, _each_gradient, {}, times_x=True),
    "integrated_gradients": _Method(
        _integrated_gradients,
        _each_integrated_gradients,
        {"rule": "gauss_legendre"},
        steps=True,
        baseline=True,
    ),
}
# With as many draws as are needed: how many come first, and how sure is enough.
FIRST, TOLERANCE = 16, 0.1
_STATISTICS = {"mean": "mean", "square": "mean square", "variance": "variance"}


def smoothgrad(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    of: Of = "saliency",
    statistic: Statistic = "mean",
    noise: float = 0.15,
    snr: levels.Snr | None = None,
    n_samples: rounds.Samples = 25,
    tolerance: float | None = None,
    max_samples: int | None = None,
    baseline: baselines.Baseline = 0.0,
    n_steps: int = 20,
    seed: int = 0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    A gradient method averaged over noisy copies of the cube.

    Costs `n_samples` times what the method `of` costs, and one forward pass for the score.
    All samples share the draws: for models that take a spectrum, a draw is one spectrum of
    noise, which all pixels get at their own level; for models that take a patch, noise belongs
    to the place in the cube.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    target : str or list of str, optional
        Default: every target of the model.
    of : {"saliency", "input_x_gradient", "integrated_gradients"}, default: "saliency"
        The method that is repeated.
    statistic : {"mean", "square", "variance"}, default: "mean"
        Mean of the draws (SmoothGrad), mean of their squares (SmoothGrad squared), which loses
        the sign and is large where gradients are large *or* unsteady, or their variance
        (VarGrad), which tells where they are unsteady.
    noise : float, default: 0.15
        Standard deviation, as a share of the distance between the 2nd and the 98th percentile
        of each band over the valid pixels of a sample. More smooths more, and asks the model
        about spectra that are further from real ones.
    snr : float or array (band,), optional
        In place of `noise`: signal-to-noise ratio of the sensor, one for all or for every band;
        the standard deviation is the value divided by it. Higher smooths less.
    n_samples : int or "auto", default: 25
        Draws. More narrow `standard_error`, by one over their square root. ``"auto"``: rounds of
        draws until each sample has the precision of `tolerance`.
    tolerance : float, optional
        With ``n_samples="auto"``: a sample is done when, for every target, the root mean square
        of its standard errors is at most this share of that of its values. Default: 0.1.
    max_samples : int, optional
        With ``n_samples="auto"``: where to stop trying. Default: 4000.
    baseline : optional
        Of integrated gradients, without noise: see `xrxai.baseline`. Default: zero.
    n_steps : int, default: 20
        Of integrated gradients, in every draw.
    seed : int, default: 0
        Of the noise; the same seed gives the same result whatever the batches and chunks.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill``, get no noise and are NaN in
        the result.
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
        ``attribution`` (target, and the dims of the cube) in the units of the method, or their
        square; ``standard_error`` of it, which more draws would narrow, not for variances;
        ``prediction``, of the cube without noise, and ``model_evaluations``; with
        ``n_samples="auto"`` also ``n_samples_used`` and ``converged``.

    Raises
    ------
    CubeError, ModelError, TargetError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Warns
    -----
    UserWarning
        With ``n_samples="auto"`` some samples miss the `tolerance`; not for lazy cubes, where
        ``converged`` says it.

    Notes
    -----
    The packages differ. PAIR's saliency returns squares unless told ``magnitude=False``, and
    scales noise by the range of the whole image; captum adds noise of standard deviation 1, in
    units of the input, and subtracts the squared mean from the mean square, which can be
    negative. For segmentation the frozen classes are those of the cube without noise.

    References
    ----------
    .. [1] D. Smilkov et al. (2017). SmoothGrad: removing noise by adding noise.
       https://arxiv.org/abs/1706.03825. Scales noise by the range of the image.
    .. [2] S. Hooker et al. (2019). A benchmark for interpretability methods in deep neural
       networks. https://arxiv.org/abs/1806.10758
    .. [3] J. Adebayo et al. (2018). Sanity checks for saliency maps.
       https://arxiv.org/abs/1810.03292
    """
    asked = _check(of, statistic, (n_samples, tolerance, max_samples), n_steps, seed)
    case = settle(cube, model, _smoothgrad, target=target, mask=mask, region=region)
    level, relative = levels.settle(case.place, case.valid, noise, snr)
    return _explain(
        case,
        of,
        statistic,
        baseline,
        n_steps,
        asked,
        inputs={"level": level, "keep": case.valid},
        static={"relative": relative, "noise": patterns.Noise(seed)},
        options={"noise": noise if snr is None else None, "snr": levels.describe(snr)},
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {"attribution": Output(("target", "features"), "gradient under noise")},
    needs="gradient",
    references=(
        "Smilkov et al. 2017, arXiv:1706.03825",
        "Hooker et al. 2019, arXiv:1806.10758",
        "Adebayo et al. 2018, arXiv:1810.03292",
    ),
    tiles="gradient",
)
def _smoothgrad(
    x: Tensor,
    score: Score,
    *,
    level: Tensor,
    keep: Tensor,
    relative: bool,
    noise: patterns.Noise,
    repeat: Repeat,
    baseline: Tensor | None = None,
) -> dict[str, Tensor]:
    """level (n or 1, band[, 1, 1]), keep (n or 1, 1[, y, x]) -> attribution (n, target, *f)."""
    prediction = score.clean(x)

    def draw(j: list[int]) -> Tensor:
        made = x.new_empty((len(j), *x.shape[1:]))
        for one, k in zip(made, j, strict=True):
            one[:] = x.new_tensor(noise.draw(k, tuple(x.shape[1:])))
        return made

    def apply(i: slice | Tensor, drawn: Tensor) -> Tensor:
        sigma = tensors.score.rows_of(level, i) * tensors.score.rows_of(keep, i)
        if relative:
            sigma = x[i].abs().mul_(sigma)
        return x[i].unsqueeze(1).addcmul(sigma.unsqueeze(1), drawn)

    found = tensors.running.repeat(
        x, score, repeat, draw=draw, apply=apply, keep=keep, baseline=baseline
    )
    return {**found, "prediction": prediction}


def _explain(
    case: Case,
    of: str,
    statistic: str,
    baseline: baselines.Baseline,
    n_steps: int,
    asked: rounds.Rounds,
    *,
    inputs: dict[str, xr.DataArray],
    static: dict[str, Any],
    options: dict[str, Any],
    extra: Mapping[str, xr.DataArray] | None = None,
    seed: int,
    device: str | None,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    method = _METHODS[of]
    given = {**method.static, **({"n_steps": n_steps} if method.steps else {})}
    options = {"of": of, "statistic": statistic, **asked.options, **options}
    if method.baseline:
        inputs["baseline"] = baselines.settle(case.place, baseline, case.valid)
        options["baseline"] = baselines.describe(baseline)
    if method.steps:
        options["n_steps"] = n_steps
    repeat = tensors.running.Repeat(
        method.each, given, statistic, method.times_x, method.baseline, asked
    )
    most = asked.sizes[-1]
    found = explain(
        case.giving({**_outputs(method, statistic), **asked.outputs}),
        evaluations=1 + most * method.cost(n_steps) if asked.tolerance is None else None,
        inputs=inputs,
        static={**static, "repeat": repeat},
        options=options,
        extra=extra,
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    if asked.tolerance is not None and not case.place.lazy:
        rounds.warn(found, asked.tolerance, "")
    return found


def _outputs(method: _Method, statistic: str) -> dict[str, Output]:
    alone = method.kernel.spec.outputs["attribution"]  # type: ignore[attr-defined]
    signed, name = statistic == "mean", f"{_STATISTICS[statistic]} of {alone.long_name}"
    units = alone.units
    if not signed:
        units = "(score / cube)²" if units == "score / cube" else "score²"
    each = {"attribution": Output(alone.dims, name, units, signed=signed)}
    if statistic != "variance":
        each["standard_error"] = Output(alone.dims, f"standard error of the {name}", units)
    return each


def _check(
    of: str,
    statistic: str,
    samples: tuple[rounds.Samples, float | None, int | None],
    n_steps: int,
    seed: int,
) -> rounds.Rounds:
    choice(of, _METHODS, "of")
    choice(statistic, _STATISTICS, "statistic")
    asked = rounds.settle(*samples, least=2, first=FIRST, usual=TOLERANCE)
    if asked.tolerance is not None and statistic == "variance":
        raise OptionError(
            "n_samples='auto' stops when standard errors are small, and statistic='variance' has "
            "none; type a number, such as n_samples=50."
        )
    at_least(n_steps, 1, "n_steps")
    at_least(seed, 0, "seed")
    return asked
