"""Gradient methods under noise: SmoothGrad and its relatives, and tunnels of masked bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.attribution.gradient import _input_x_gradient, _saliency
from xrxai.attribution.integrated import _integrated_gradients
from xrxai.errors import OptionError, at_least, choice, positive
from xrxai.explain import Case, explain, settle
from xrxai.labelled import bands as band_groups
from xrxai.labelled import baseline as baselines
from xrxai.labelled import noise as levels
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

Of = Literal["saliency", "input_x_gradient", "integrated_gradients"]
Statistic = Literal["mean", "square", "variance"]


@dataclass(frozen=True)
class _Method:
    """A gradient method that can be repeated: its kernel, and which options it takes."""

    kernel: Callable[..., Mapping[str, Any]]
    static: Mapping[str, Any]
    steps: bool = False
    baseline: bool = False

    def cost(self, n_steps: int) -> int:
        """Evaluations of the model for one sample."""
        return n_steps + 2 if self.steps else 1


@dataclass(frozen=True)
class _Repeat:
    """Which method is repeated, with which options, and what is told of the draws."""

    of: str
    statistic: str
    static: Mapping[str, Any]


_METHODS = {
    "saliency": _Method(_saliency, {"absolute": False}),
    "input_x_gradient": _Method(_input_x_gradient, {}),
    "integrated_gradients": _Method(
        _integrated_gradients, {"rule": "gauss_legendre"}, steps=True, baseline=True
    ),
}
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
    n_samples: int = 25,
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
    The noise of a draw is the same for all samples: for models that take a spectrum, all
    pixels get the same noisy spectrum added, scaled to the level of each.

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
    n_samples : int, default: 25
        Draws. More narrow `standard_error`, by one over their square root.
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
        ``prediction``, of the cube without noise, and ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

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
    _check(of, statistic, n_samples, n_steps, seed)
    case = settle(cube, model, _smoothgrad, target=target, mask=mask, region=region)
    level, relative = levels.settle(case.place, case.valid, noise, snr)
    return _explain(
        case,
        of,
        statistic,
        baseline,
        n_steps,
        n_samples,
        inputs={"level": level, "keep": case.valid},
        static={"relative": relative, "n_samples": n_samples, "seed": seed},
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
)
def _smoothgrad(
    x: Tensor,
    score: Score,
    *,
    level: Tensor,
    keep: Tensor,
    relative: bool,
    n_samples: int,
    seed: int,
    repeat: _Repeat,
    baseline: Tensor | None = None,
) -> dict[str, Tensor]:
    """level (n or 1, band[, 1, 1]), keep (n or 1, 1[, y, x]) -> attribution (n, target, *f)."""
    prediction = score.clean(x)

    def draw(j: list[int]) -> Tensor:
        each = (np.random.default_rng([seed, k]).standard_normal(tuple(x.shape[1:])) for k in j)
        return x.new_tensor(np.stack(list(each)))

    def apply(i: Tensor, noise: Tensor) -> Tensor:
        sigma = tensors.perturb.rows_of(level, i) * tensors.perturb.rows_of(keep, i)
        if relative:
            sigma = sigma * x[i].abs()
        return x[i].unsqueeze(1) + sigma.unsqueeze(1) * noise

    found = _repeated(x, score, draw, apply, n_samples, repeat, baseline)
    return {**found, "prediction": prediction}


def hyper_noise_tunnel(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    of: Of = "input_x_gradient",
    statistic: Statistic = "mean",
    bands: band_groups.Bands = None,
    probability: float = 0.5,
    n_masked: int | None = None,
    n_samples: int = 50,
    normalise: Literal["none", "kept"] = "none",
    antithetic: bool = False,
    baseline: baselines.Baseline = 0.0,
    n_steps: int = 20,
    overlap: band_groups.Overlap = "first",
    ungrouped: band_groups.Ungrouped = "fixed",
    seed: int = 0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    A gradient method averaged over copies of the cube in which random bands are masked.

    What it finds does not lean on any one band being there. The same masks serve all samples,
    pixels and targets. Costs `n_samples` times what the method `of` costs, and one forward
    pass for the score.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    target : str or list of str, optional
        Default: every target of the model.
    of : {"input_x_gradient", "saliency", "integrated_gradients"}, default: "input_x_gradient"
        The method that is repeated.
    statistic : {"mean", "square", "variance"}, default: "mean"
        Of the draws: their mean, the mean of their squares, or their variance; see
        `smoothgrad`.
    bands : optional
        What is masked together: see `xrxai.band_groups`. Default: every band by itself, which
        neighbours give away where they are nearly copies.
    probability : float, default: 0.5
        With which a group is masked, at least 0 and below 1. Near 0 the result is that of the
        method alone; larger asks the model about emptier spectra.
    n_masked : int, optional
        In place of `probability`: exactly that many groups are masked in every draw.
    n_samples : int, default: 50
        Draws. More narrow `standard_error`, by one over their square root.
    normalise : {"none", "kept"}, default: "none"
        "none" takes all draws, so that for a linear model, a zero baseline and input times
        gradient the mean is ``1 - probability`` times the true share. "kept" takes for each
        band the draws that kept it, which gives the share itself; NaN where none did.
    antithetic : bool, default: False
        Draw in pairs, the second of which masks what the first keeps: every band is kept in
        exactly half of the draws, which narrows the error where bands add up. Needs masks of
        half of the groups and an even `n_samples`.
    baseline : optional
        What stands in masked bands, and where integrated gradients start: see
        `xrxai.baseline`. Default: zero.
    n_steps : int, default: 20
        Of integrated gradients, in every draw.
    overlap : {"first", "error", "split"}, default: "first"
        Whose is a band that two groups ask for; see `xrxai.band_groups`.
    ungrouped : {"fixed", "group"}, default: "fixed"
        Bands in no group keep their value, or form the group ``"not_included"``.
    seed : int, default: 0
        Of the masks; the same seed gives the same result whatever the batches and chunks.
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
        ``attribution`` (target, and the dims of the cube) in the units of the method, or their
        square; ``standard_error`` of it, which more draws would narrow, not for variances;
        ``prediction``, of the cube without masks, ``model_evaluations``, ``draws_kept`` (band)
        and, where `bands` are given, ``group_of_band`` (band).

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    There is no paper: meteors [1]_ describes the method, with 5 draws of single bands, all of
    which it keeps in memory. Groups, `normalise` and `antithetic` are additions.

    References
    ----------
    .. [1] meteors, HyperNoiseTunnel. https://github.com/xai4space/meteors
    .. [2] V. Petsiuk, A. Das, K. Saenko (2018). RISE: randomized input sampling for explanation
       of black-box models. https://arxiv.org/abs/1806.07421. Masks pixels, without gradients.
    """
    _check(of, statistic, n_samples, n_steps, seed)
    choice(normalise, ("none", "kept"), "normalise")
    case = settle(cube, model, _hyper_noise_tunnel, target=target, mask=mask, region=region)
    part, names, coords = _parts(case, bands, overlap, ungrouped)
    _check_masks(int(part.max()), probability, n_masked, n_samples, antithetic)
    on = patterns.masks(
        n_samples,
        int(part.max()),
        probability=probability,
        n_masked=n_masked,
        antithetic=antithetic,
        seed=seed,
    )
    every = np.hstack([np.ones((n_samples, 1), dtype=bool), on])
    about = {"long_name": "draws that kept the band", "units": "1"}
    kept = xr.DataArray(every[:, part.values].sum(axis=0), dims=part.dims, attrs=about)
    return _explain(
        case,
        of,
        statistic,
        baseline,
        n_steps,
        n_samples,
        inputs={"part": part, "baseline": baselines.settle(case.place, baseline, case.valid)},
        static={"on": on, "normalise": normalise, "antithetic": antithetic},
        options={
            "bands": names,
            "overlap": overlap,
            "ungrouped": ungrouped,
            "probability": probability if n_masked is None else None,
            "n_masked": n_masked,
            "normalise": normalise,
            "antithetic": antithetic,
            "baseline": baselines.describe(baseline),
        },
        coords=coords,
        extra={"draws_kept": kept, **({} if names is None else {"group_of_band": part})},
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {"attribution": Output(("target", "features"), "gradient under masks")},
    needs="gradient",
    references=("Petsiuk et al. 2018, arXiv:1806.07421",),
)
def _hyper_noise_tunnel(
    x: Tensor,
    score: Score,
    *,
    part: Tensor,
    baseline: Tensor,
    on: np.ndarray,
    normalise: str,
    antithetic: bool,
    repeat: _Repeat,
) -> dict[str, Tensor]:
    """part (1, band[, 1, 1]), on (m, g) -> attribution (n, target, *f)."""
    prediction = score.clean(x)
    table = x.new_tensor(tensors.perturb.with_always(on)).bool()[:, part[0]]

    def draw(j: list[int]) -> Tensor:
        return table[j]

    def apply(i: Tensor, kept: Tensor) -> Tensor:
        gone = tensors.perturb.rows_of(baseline, i)
        return x[i].unsqueeze(1).where(kept, gone.unsqueeze(1))

    found = _repeated(
        x,
        score,
        draw,
        apply,
        len(on),
        repeat,
        baseline,
        weight=table.to(x.dtype) if normalise == "kept" else None,
        # The two of a pair are no independent draws; among the draws that kept a band they are.
        pairs=antithetic and normalise == "none" and repeat.statistic != "variance",
    )
    return {**found, "prediction": prediction}


def _repeated(
    x: Tensor,
    score: Score,
    draw: Callable[[list[int]], Tensor],
    apply: Callable[[Tensor, Tensor], Tensor],
    n_samples: int,
    repeat: _Repeat,
    baseline: Tensor | None,
    weight: Tensor | None = None,
    pairs: bool = False,
) -> dict[str, Tensor]:
    """draw(j) -> what draws j share; apply(i, that) -> the samples i under it (i, j, *f)."""
    method, n = _METHODS[repeat.of], x.shape[0]
    seen = tensors.running.Running(x.new_zeros((n, score.n_targets, *x.shape[1:])))
    batch = score.batch(x)
    at_once = max(1, batch // n)
    for j in tensors.run.batches(n_samples, at_once + at_once % 2 if pairs else at_once, x.device):
        shared = draw(j.tolist())
        for i in tensors.run.batches(n, batch // len(j), x.device):
            rows = i.repeat_interleave(len(j))
            given = dict(repeat.static)
            if method.baseline and baseline is not None:
                given["baseline"] = tensors.perturb.rows_of(baseline, rows)
            found = method.kernel(apply(i, shared).flatten(0, 1), score.descend(rows), **given)
            values = found["attribution"].unflatten(0, (len(i), len(j)))
            if repeat.statistic == "square":
                values = values**2
            if pairs:
                values = values.unflatten(1, (len(j) // 2, 2)).mean(2)
            for k in range(values.shape[1]):
                seen.push(i, values[:, k], None if weight is None else weight[j[k]])
    value = seen.variance if repeat.statistic == "variance" else seen.mean
    out = {"attribution": value.masked_fill(~seen.seen, np.nan)}
    if repeat.statistic != "variance":
        out["standard_error"] = seen.standard_error
    return out


def _explain(
    case: Case,
    of: str,
    statistic: str,
    baseline: baselines.Baseline,
    n_steps: int,
    n_samples: int,
    *,
    inputs: dict[str, xr.DataArray],
    static: dict[str, Any],
    options: dict[str, Any],
    coords: Mapping[str, Any] | None = None,
    extra: Mapping[str, xr.DataArray] | None = None,
    seed: int,
    device: str | None,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    method = _METHODS[of]
    given = {**method.static, **({"n_steps": n_steps} if method.steps else {})}
    options = {"of": of, "statistic": statistic, "n_samples": n_samples, **options}
    if method.baseline:
        inputs["baseline"] = baselines.settle(case.place, baseline, case.valid)
        options["baseline"] = baselines.describe(baseline)
    if method.steps:
        options["n_steps"] = n_steps
    return explain(
        case.giving(_outputs(method, statistic)),
        evaluations=1 + n_samples * method.cost(n_steps),
        inputs=inputs,
        static={**static, "repeat": _Repeat(of, statistic, given)},
        options=options,
        coords=coords,
        extra=extra,
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


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


def _parts(
    case: Case, bands: Any, overlap: Any, ungrouped: Any
) -> tuple[xr.DataArray, list[str] | None, dict[str, Any]]:
    """Group of each band, names of the groups and their coords; single good bands for None."""
    if bands is None:
        good = case.place.good_band
        return xr.DataArray(np.where(good, good.cumsum(), 0), dims=case.place.band), None, {}
    groups = band_groups.settle(case.place, bands, overlap, ungrouped)
    coords = {str(k): c.variable for k, c in groups.coords.items() if c.dims == ("group",)}
    part = groups["group_of_band"].reset_coords(drop=True)
    return part, [str(n) for n in groups["group"].values], coords


def _check(of: str, statistic: str, n_samples: int, n_steps: int, seed: int) -> None:
    choice(of, _METHODS, "of")
    choice(statistic, _STATISTICS, "statistic")
    at_least(n_samples, 2, "n_samples")
    at_least(n_steps, 1, "n_steps")
    at_least(seed, 0, "seed")


def _check_masks(
    n_groups: int, probability: float, n_masked: int | None, n_samples: int, antithetic: bool
) -> None:
    if positive(probability, "probability", 0.5, zero=True) >= 1:
        raise OptionError(
            f"probability={probability!r} masks every band in every draw; type for example "
            f"probability=0.5."
        )
    if n_masked is not None and at_least(n_masked, 1, "n_masked") >= n_groups:
        fix = "probability=0.5" if n_groups < 2 else f"n_masked={n_groups // 2}"
        raise OptionError(
            f"n_masked={n_masked} masks everything there is to mask, {n_groups} group(s) of "
            f"bands; type for example {fix}."
        )
    if not antithetic:
        return
    if n_samples % 2:
        raise OptionError(
            f"antithetic=True draws in pairs, and n_samples={n_samples} is odd; type "
            f"n_samples={n_samples + 1}."
        )
    if (probability != 0.5) if n_masked is None else (2 * n_masked != n_groups):
        asked = f"probability={probability}" if n_masked is None else f"n_masked={n_masked}"
        raise OptionError(
            f"antithetic=True masks in one draw what the other keeps, so half of the "
            f"{n_groups} groups must be masked, not {asked}; type probability=0.5 without "
            f"n_masked=, or antithetic=False."
        )
