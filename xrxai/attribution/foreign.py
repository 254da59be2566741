"""A door for methods of captum, and for the user's own of the same shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import ModelError, OptionError, at_least
from xrxai.labelled import bands as band_groups
from xrxai.labelled import baseline as baselines
from xrxai.labelled import segments as segmentation
from xrxai.road import Case, explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

_TYPED_ELSEWHERE = {
    "inputs": "the cube",
    "target": "target=",
    "baselines": "baseline=",
    "feature_mask": "bands= or segments=",
}
_GAP = Output(("target",), "delta that the method gives")


def captum(
    cube: xr.DataArray,
    model: Model,
    method: Any,
    *,
    target: str | list[str] | None = None,
    options: Mapping[str, Any] | None = None,
    baseline: baselines.Baseline | None = None,
    bands: band_groups.Bands | None = None,
    segments: segmentation.Segments | None = None,
    seed: int = 0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Run a method of captum, or one of the same shape, on the cube.

    The method gets a network that gives the scores of the chosen targets, preprocessing and
    reduction included, and its answer comes back with the names and the grid of the cube. Such
    methods take one target at a time: this is the one that costs as many passes as there are
    targets. Prefer the method of xrxai where there is one.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Any model for methods that perturb, a differentiable one for those that need gradients,
        a ``torch.nn.Module`` for those that set hooks.
    method : class or callable
        Called with a network, it makes an object with ``.attribute(inputs, target=..., ...)``
        that gives one value per input value, or a tuple of these and a delta per sample:
        ``captum.attr.IntegratedGradients``, ``lambda net: NoiseTunnel(Saliency(net))``, or a class
        of your own.
    target : str or list of str, optional
        Default: every target of the model.
    options : mapping, optional
        What ``.attribute`` is given besides, by name: ``{"n_steps": 20}``. Shapes are those of
        the model's input, ``(band, y, x)`` or ``(band,)``.
    baseline : optional
        Given to the method as ``baselines``: see `xrxai.baseline`. Default: zero where the method
        takes one.
    bands : optional
        Band groups that are switched together, given as ``feature_mask``: see
        `xrxai.band_groups`. Bands in no group keep their value.
    segments : optional
        Segments of the image that are switched together, given as ``feature_mask``: see
        `xrxai.segments`. Not together with `bands`.
    seed : int, default: 0
        Of the draws of methods that draw; every sample and target gets the same ones. The
        global generators are given back as found.
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
        ``attribution`` (target, and the dims of the cube; or target and group or segment) in the
        units of the method, noted as those of the score; ``prediction`` and
        ``model_evaluations``; ``completeness_gap`` (target) for methods that give a delta, their
        own, whose sign may differ; ``group_of_band`` or ``segment_of_pixel``.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, SegmentError, BaselineError, OptionError
        The cube, the model and the options do not fit. What the method itself refuses is told
        when it has been asked.

    Notes
    -----
    Methods that draw, and all with ``gives="map"``, are asked sample by sample: slow for many
    spectra. ``internal_batch_size`` follows `batch_size` unless given in `options`.

    References
    ----------
    .. [1] N. Kokhlikyan et al. (2020). Captum: a unified and generic model interpretability
       library for PyTorch. https://arxiv.org/abs/2009.07896

    Examples
    --------
    >>> import numpy as np, torch, xarray as xr, xrxai
    >>> from captum.attr import FeatureAblation
    >>> cube = xr.DataArray(np.ones((4, 2, 2)), dims=("band", "y", "x"))
    >>> model = xrxai.Model(lambda x: x.sum((2, 3)), takes="patch", targets=list("abcd"))
    >>> found = cube.xai.captum(model, FeatureAblation, bands=[range(0, 2), range(2, 4)])
    >>> found.attribution.sel(target="b").values
    array([4., 0.], dtype=float32)
    """
    case = settle(cube, model, _captum, target=target, mask=mask, region=region)
    at_least(seed, 0, "seed")
    made = tensors.foreign.probe(method, case.model)
    named, more = tensors.foreign.parameters(made)
    given = _options(options, type(made).__name__, named, more)
    if "return_convergence_delta" in named:
        given.setdefault("return_convergence_delta", True)
    for what, key in ((baseline, "baselines"), (bands, "feature_mask"), (segments, "feature_mask")):
        if what is not None and key not in named and not more:
            typed = "baseline=" if key == "baselines" else "bands= and segments="
            raise OptionError(
                f"The method {type(made).__name__} takes no {key}, so {typed} would change "
                f"nothing; leave it out."
            )
    inputs: dict[str, xr.DataArray] = {}
    if baseline is not None or "baselines" in named or bands is not None or segments is not None:
        start = 0.0 if baseline is None else baseline
        inputs["baseline"] = baselines.settle(case.place, start, case.valid)
    groups = _groups(case, bands, segments)
    if groups is not None:
        inputs["part"] = groups.part.reset_coords(drop=True)
    outputs = dict(case.spec.outputs)
    if tensors.foreign.gives_delta(made, given):
        outputs["completeness_gap"] = _GAP
    if groups is not None:
        outputs["attribution"] = Output(("target", groups.dim), outputs["attribution"].long_name)
    case = dataclasses.replace(case, spec=dataclasses.replace(case.spec, outputs=outputs))
    return explain(
        case,
        # How often a method asks the model is not known before: the bar counts without an end.
        evaluations=None,
        inputs=inputs,
        static={
            "method": method,
            "options": given,
            "seed": seed,
            "n_groups": None if groups is None else groups.count,
        },
        coords=None if groups is None else groups.coords,
        extra=None if groups is None else {str(groups.part.name): inputs["part"]},
        options={
            "method": tensors.foreign.name_of(method),
            "options": given,
            "baseline": None if baseline is None else baselines.describe(baseline),
            "groups": None if groups is None else groups.told,
        },
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Groups:
    """What is switched together: the map of ids, its dim, and how it is named."""

    part: xr.DataArray
    dim: str
    count: int
    coords: dict[str, Any]
    told: Any


def _groups(case: Case, bands: Any, segments: Any) -> _Groups | None:
    if bands is not None and segments is not None:
        raise OptionError("bands= and segments= are two maps of features; give one of them.")
    if bands is not None:
        groups = band_groups.settle(case.place, bands, "first", "fixed")
        names = [str(n) for n in groups["group"].values]
        coords = {str(k): c.variable for k, c in groups.coords.items() if c.dims == ("group",)}
        return _Groups(groups["group_of_band"], "group", len(names), coords, names)
    if segments is None:
        return None
    if case.model.takes == "spectrum":
        raise ModelError(
            "segments= switches regions, but the model takes='spectrum' sees one pixel at a time; "
            "type bands=."
        )
    ids = segmentation.settle(case.place, segments, case.valid)
    count = int(ids.max())
    told = segments if isinstance(segments, str) else type(segments).__name__
    coords = {"segment": ("segment", np.arange(1, count + 1))}
    return _Groups(ids, "segment", count, coords, told)


def _options(options: Any, method: str, named: set[str], more: bool) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise OptionError(
            f"options={options!r} is no mapping of names to values; type options={{'n_steps': 20}}."
        )
    for key in options:
        if key in _TYPED_ELSEWHERE:
            raise OptionError(
                f"options={{{key!r}: ...}} is set by xrxai; give {_TYPED_ELSEWHERE[key]} instead."
            )
        if key not in named and not more:
            listed = ", ".join(map(repr, sorted(named - set(_TYPED_ELSEWHERE))))
            known = f"it takes {listed}" if listed else "it takes none"
            raise OptionError(f"The method {method} has no option {key!r}; {known}.")
    return dict(options)


@spec(
    {"attribution": Output(("target", "features"), "attribution")},
    needs="forward",
    references=("Kokhlikyan et al. 2020, arXiv:2009.07896",),
    alone=True,  # it may hold layers of the network, and draw from the global generators
)
def _captum(
    x: Tensor,
    score: Score,
    *,
    method: Any,
    options: dict[str, Any],
    seed: int,
    n_groups: int | None,
    baseline: Tensor | None = None,
    part: Tensor | None = None,
) -> dict[str, Tensor]:
    """x (n, *f), part (n or 1, *f) -> attribution (n, target, *f or group), gap (n, target)."""
    prediction = score.clean(x)
    attribution, gap = tensors.foreign.attribute(score, x, method, options, baseline, part, seed)
    if part is not None and n_groups is not None:
        attribution = tensors.foreign.per_group(attribution, part, n_groups)
    found = {"attribution": attribution, "prediction": prediction}
    return {**found, "completeness_gap": gap}
