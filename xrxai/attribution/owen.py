"""Owen values: Shapley values along a hierarchy of bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.errors import OptionError, at_least
from xrxai.labelled import areas, parts
from xrxai.labelled import baseline as baselines
from xrxai.labelled import hierarchy as trees
from xrxai.road import explain, settle
from xrxai.spec import BASELINE_PREDICTION, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score


def owen_spectral(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    hierarchy: trees.Hierarchy = "correlation",
    max_evaluations: int = 500,
    baseline: baselines.Baseline = 0.0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    per: areas.Per | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Fair share of every band in every target's score, along a hierarchy of bands: Owen values.

    Shapley values in which the bands of a union come in one after the other, so that bands that
    are alike share what their union earns. Unions are split from the whole spectrum downwards
    as long as `max_evaluations` lasts; what stays whole is one group of the result. The shares
    of a union do not depend on how finely it is split. The same coalitions serve all samples
    and targets.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Any model. One that takes spectra is explained pixel by pixel.
    target : str or list of str, optional
        Default: every target of the model.
    hierarchy : "correlation" or list, default: "correlation"
        ``"correlation"``: a dendrogram of the good bands by 1 - correlation over the valid
        pixels of the whole cube (average linkage; at most 20 000 pixels, evenly spaced). Or
        nested lists: a list is a union, any other entry is a group that stays whole: a name, a
        pair (low, high) in nm or whatever an entry of `xrxai.band_groups` can be. Bands in none
        keep their value.
    max_evaluations : int, default: 500
        Evaluations of the model per sample. More split the spectrum further; each level below
        a binary union costs twice as much as the one above.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill`` and are NaN in the result.
    region : bool DataArray or array, (y, x), or GeoDataFrame, optional
        For ``gives="map"``: the pixels whose scores are summed.
    per : GeoDataFrame, map of ids (y, x) or "slic", optional
        Explain each region of a scene by itself: polygons, the ids of a map (0 = none) or
        superpixels. The score of a region is the mean over its pixels for a model that takes a
        spectrum, and the sum over them for one that gives a map. Default: each pixel, chip or
        tile is explained by itself.
    device : str, optional
        Overrides ``model.device``.
    batch_size : int, optional
        Overrides ``model.batch_size``; changes memory and speed, not the result.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Dataset
        ``attribution`` (target, group; and y, x for ``takes="spectrum"``), a group being a band
        or a union that was left whole; ``union_attribution`` (target, union), the shares of the
        unions that were split, the whole spectrum first; the coords ``group_union`` and
        ``union_parent`` give the position of the union above, from 1, 0 = none;
        ``completeness_gap``, zero up to rounding; ``prediction``, ``baseline_prediction``
        (every group removed), ``model_evaluations`` and ``group_of_band`` (band).

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    A union is joined to every subset of the unions beside it, on its own level and on all above
    [2]_; the evaluations are exact, there is no sampling. With a flat list the values are those
    of Shapley, with two levels those of [1]_. Other programs split where the answers of a
    sample differ most; here the order (nearest to the root first, then the largest) does not
    look at answers, so that samples can be compared.

    References
    ----------
    .. [1] G. Owen (1977). Values of games with a priori unions.
       https://doi.org/10.1007/978-3-642-45494-3_7
    .. [2] E. Winter (1989). A value for cooperative games with levels structure of cooperation.
       https://doi.org/10.1007/BF01268161
    """
    at_least(max_evaluations, 2, "max_evaluations")
    case = settle(cube, model, _owen_spectral, target=target, mask=mask, region=region, per=per)
    tree = trees.settle(case.place, hierarchy, case.valid)
    first = len(tree.children[0])
    if first and max_evaluations < 2**first:
        raise OptionError(
            f"max_evaluations={max_evaluations} does not reach below the whole spectrum: its "
            f"{first} unions need {2**first}; type max_evaluations={2**first} or more."
        )
    plan = patterns.levels(tree.children, max_evaluations)
    # In the order in which band groups appear in the cube.
    order = sorted(range(len(plan.groups)), key=lambda i: tree.bands[plan.groups[i]][0])
    names = np.full(case.place.good_band.size, "", dtype=object)
    for node in plan.groups:
        names[tree.bands[node]] = tree.names[node]
    groups = parts.of_bands(case.place, names.astype(str), "error", "fixed")
    unions = plan.unions or [0]
    above = {child: node for node, below in enumerate(tree.children) for child in below}
    position = {node: i for i, node in enumerate(plan.unions, start=1)}
    rows = [*order, *range(len(plan.groups), len(plan.weight))]
    return explain(
        case,
        evaluations=len(plan.on),
        inputs={
            "part": groups.where,
            "baseline": baselines.settle(case.place, baseline, case.valid),
        },
        static={
            "on": plan.on[:, order],
            "weight": plan.weight[rows if plan.unions else [*rows, 0]],
        },
        coords={
            **groups.coords,
            "group_union": (
                "group",
                [position.get(above.get(plan.groups[i], -1), 0) for i in order],
                {"long_name": "position of the union above, from 1; 0 = none"},
            ),
            "union": ("union", np.array([tree.names[node] for node in unions], dtype=object)),
            "union_size": ("union", [tree.bands[node].size for node in unions]),
            "union_parent": (
                "union",
                [position.get(above.get(node, -1), 0) for node in unions],
                {"long_name": "position of the union above, from 1; 0 = none"},
            ),
        },
        extra=groups.extra,
        options={
            "hierarchy": hierarchy,
            "bands": groups.options["bands"],
            "max_evaluations": max_evaluations,
            "baseline": baselines.describe(baseline),
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "group"), "Owen value"),
        "union_attribution": Output(("target", "union"), "Owen value of the union"),
        "completeness_gap": Output(("target",), "sum of attribution - (score - baseline score)"),
        "baseline_prediction": BASELINE_PREDICTION,
    },
    needs="forward",
    references=(
        "Owen 1977, doi:10.1007/978-3-642-45494-3_7",
        "Winter 1989, doi:10.1007/BF01268161",
    ),
    tiles="score",
)
def _owen_spectral(
    x: Tensor,
    score: Score,
    *,
    part: Tensor,
    baseline: Tensor,
    on: np.ndarray,
    weight: np.ndarray,
) -> dict[str, Tensor]:
    """on (m, g) from "none" to "all", weight (g + u, m) -> attribution (n, target, g)."""
    prediction = score.clean(x)
    scores = tensors.perturb.sweep(score, x, baseline, on[:-1], part)
    value, nothing = tensors.shapley.weighted(scores, prediction, weight)
    attribution, of_unions = value[..., : on.shape[1]], value[..., on.shape[1] :]
    return {
        "attribution": attribution,
        "union_attribution": of_unions,
        "completeness_gap": attribution.sum(2) - (prediction.double() - nothing),
        "prediction": prediction,
        "baseline_prediction": nothing,
    }
