"""Gradient methods while random bands are masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import patterns, rounds, tensors
from xrxai.attribution.noise import Of, Statistic, _check, _explain
from xrxai.errors import OptionError, at_least, choice, positive
from xrxai.labelled import bands as band_groups
from xrxai.labelled import baseline as baselines
from xrxai.road import Case, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.running import Repeat
    from xrxai.tensors.score import Score


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
    n_samples: rounds.Samples = 50,
    tolerance: float | None = None,
    max_samples: int | None = None,
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
    n_samples : int or "auto", default: 50
        Draws. More narrow `standard_error`, by one over their square root. ``"auto"``: rounds of
        draws until each sample has the precision of `tolerance`.
    tolerance : float, optional
        With ``n_samples="auto"``: a sample is done when, for every target, the root mean square
        of its standard errors is at most this share of that of its values. Default: 0.1.
    max_samples : int, optional
        With ``n_samples="auto"``: where to stop trying. Default: 4000.
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
        ``prediction``, of the cube without masks, ``model_evaluations``, ``draws_kept`` (band);
        where `bands` are given, ``draws_kept`` (group) and ``group_of_band`` (band). With
        ``n_samples="auto"`` there are ``n_samples_used`` and ``converged``, and no
        ``draws_kept``, as samples differ in their draws.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Warns
    -----
    UserWarning
        With ``n_samples="auto"`` some samples miss the `tolerance`; not for lazy cubes, where
        ``converged`` says it.

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
    asked = _check(of, statistic, (n_samples, tolerance, max_samples), n_steps, seed)
    most = asked.sizes[-1]
    choice(normalise, ("none", "kept"), "normalise")
    case = settle(cube, model, _hyper_noise_tunnel, target=target, mask=mask, region=region)
    part, names, coords = _parts(case, bands, overlap, ungrouped)
    _check_masks(int(part.max()), probability, n_masked, asked, antithetic)
    on = patterns.masks(
        most,
        int(part.max()),
        probability=probability,
        n_masked=n_masked,
        antithetic=antithetic,
        seed=seed,
    )
    about = {"long_name": "draws in which it was kept", "units": "1"}
    kept = xr.DataArray(on.sum(axis=0), dims="group", coords=coords, attrs=about)
    extra = {"draws_kept": kept, "group_of_band": part}
    if names is None:
        every = np.where(case.place.good_band, on.sum(axis=0)[part.values - 1], 0)
        extra = {"draws_kept": xr.DataArray(every, dims=part.dims, attrs=about)}
    if asked.tolerance is not None:
        del extra["draws_kept"]
    return _explain(
        case,
        of,
        statistic,
        baseline,
        n_steps,
        asked,
        inputs={
            "part": part,
            "keep": case.valid,
            "baseline": baselines.settle(case.place, baseline, case.valid),
        },
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
        extra=extra,
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {"attribution": Output(("target", "features"), "gradient under masks")},
    needs="gradient",
    references=("Petsiuk et al. 2018, arXiv:1806.07421",),
    tiles="gradient",
)
def _hyper_noise_tunnel(
    x: Tensor,
    score: Score,
    *,
    part: Tensor,
    keep: Tensor,
    baseline: Tensor,
    on: np.ndarray,
    normalise: str,
    antithetic: bool,
    repeat: Repeat,
) -> dict[str, Tensor]:
    """part (1, band, ...), keep (n or 1, 1, ...), on (m, g) -> attribution (n, target, *f)."""
    prediction = score.clean(x)
    table = x.new_tensor(tensors.perturb.with_always(on)).bool()[:, part[0]]

    def draw(j: list[int]) -> Tensor:
        return table[j]

    def apply(i: slice | Tensor, kept: Tensor) -> Tensor:
        gone = tensors.score.rows_of(baseline, i)
        return x[i].unsqueeze(1).where(kept, gone.unsqueeze(1))

    found = tensors.running.repeat(
        x,
        score,
        repeat,
        draw=draw,
        apply=apply,
        keep=keep,
        baseline=baseline,
        weight=table.to(x.dtype) if normalise == "kept" else None,
        # The two of a pair are no independent draws; among the draws that kept a band they are.
        pairs=antithetic and normalise == "none" and repeat.statistic != "variance",
    )
    return {**found, "prediction": prediction}


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


def _check_masks(
    n_groups: int,
    probability: float,
    n_masked: int | None,
    asked: rounds.Rounds,
    antithetic: bool,
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
    name, most = "n_samples" if asked.tolerance is None else "max_samples", asked.sizes[-1]
    if most % 2:
        raise OptionError(
            f"antithetic=True draws in pairs, and {name}={most} is odd; type {name}={most + 1}."
        )
    if (probability != 0.5) if n_masked is None else (2 * n_masked != n_groups):
        half = f"probability={probability}" if n_masked is None else f"n_masked={n_masked}"
        raise OptionError(
            f"antithetic=True masks in one draw what the other keeps, so half of the "
            f"{n_groups} groups must be masked, not {half}; type probability=0.5 without "
            f"n_masked=, or antithetic=False."
        )
