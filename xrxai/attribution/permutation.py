"""Permutation: give one part at a time the values of another sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.errors import CubeError, at_least
from xrxai.labelled import bands as band_groups
from xrxai.labelled import parts
from xrxai.road import Case, explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score


def permutation_spectral(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    bands: band_groups.Bands = 50.0,
    n_repeats: int = 10,
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
    Loss of every target's score when one band group comes from another sample.

    Absence without a baseline: the values of the group are permuted over the pixels of the cube
    for a model that takes spectra, over the leading dims for one that takes patches, so that
    each group keeps its distribution and loses its tie to the others. Costs `n_repeats` forward
    passes per group and sample, for all targets together.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, not lazy. Along leading dims such as ``time`` or ``sample`` patches are
        exchanged; for models that take spectra each image along them is a cube of its own.
    model : Model
        Any model.
    target : str or list of str, optional
        Default: every target of the model.
    bands : optional
        Band groups: names, nm ranges, positions, or a width in nm; see `xrxai.band_groups`.
        Default: 50 nm wide. Neighbouring bands are nearly copies: narrow groups read zero.
    n_repeats : int, default: 10
        Permutations. More narrow the standard error, by one over their square root.
    overlap : {"first", "error", "split"}, default: "first"
        Whose is a band that two groups ask for; see `xrxai.band_groups`.
    ungrouped : {"fixed", "group"}, default: "fixed"
        Bands in no group keep their value, or form the group ``"not_included"``.
    seed : int, default: 0
        Of the permutations; the same seed gives the same result whatever the batches.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are filled with ``model.fill`` and are NaN in the result; they
        give and take no values.
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
        ``attribution`` (target, group; with the samples' own dims): the mean over permutations
        of score minus score with the group of another sample, and its ``standard_error``;
        ``rms_change``, the root of the mean square of that difference, which stays above zero
        also where losses and gains cancel; ``prediction``, ``model_evaluations`` and
        ``group_of_band`` (band).

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    Breiman [1]_ permutes to see how much the *error* grows, over a data set [2]_; here it is the
    score of each sample that changes, as no truth is known. For the importance over a scene,
    average ``rms_change`` over its pixels. In a permutation a sample may receive its own values:
    for a linear score the attribution tends to the group's weights times the distance from the
    mean.

    References
    ----------
    .. [1] L. Breiman (2001). Random forests. Machine Learning 45.
       https://doi.org/10.1023/A:1010933404324
    .. [2] A. Fisher, C. Rudin, F. Dominici (2019). All models are wrong, but many are useful.
       https://arxiv.org/abs/1801.01489
    """
    at_least(n_repeats, 1, "n_repeats")
    at_least(seed, 0, "seed")
    case = settle(cube, model, _permutation_spectral, target=target, mask=mask, region=region)
    groups = parts.of_bands(case.place, bands, overlap, ungrouped)
    return explain(
        case,
        evaluations=groups.count * n_repeats + 1,
        inputs={"part": groups.where, "known": case.valid},
        static={"on": patterns.single(groups.count), "donor": _donors(case, n_repeats, seed)},
        coords=groups.coords,
        extra=groups.extra,
        options={**groups.options, "n_repeats": n_repeats},
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _donors(case: Case, n_repeats: int, seed: int) -> np.ndarray:
    """For each permutation the position of the sample that gives, among those with data."""
    place, valid = case.place, case.valid
    name = case.kernel.__name__.lstrip("_")
    if place.lazy:
        raise CubeError(
            f"The method {name} exchanges values between samples, and a block of a lazy (dask) "
            f"cube knows only its own; type cube.compute(), or use ablation_spectral."
        )
    plane = [d for d in (place.y, place.x) if d is not None]
    pixels = case.model.takes == "spectrum"
    alive = valid if pixels else valid.any(plane)
    over = plane if pixels and plane else sorted(place.lead)
    # Numbered by name of dim, so that the order of dims does not matter.
    order = [*(d for d in sorted(place.lead) if d not in over), *over]
    sizes = [alive.sizes[d] for d in order]
    number = xr.DataArray(np.arange(alive.size).reshape(sizes), dims=order)
    asked = number.transpose(*alive.dims).values.ravel()[alive.values.ravel()]
    pool = asked // int(np.prod([alive.sizes[d] for d in over]))
    if (np.unique(pool, return_counts=True)[1] < 2).any():
        what = "pixel" if pixels else "patch"
        several = "give several" if pixels else "type xarray.concat([cube, ...], 'sample')"
        raise CubeError(
            f"The method {name} exchanges values between samples, and there is a single {what} "
            f"with data; {several}, or use ablation_spectral."
        )
    rank = asked.argsort()
    donor = np.empty((n_repeats, asked.size), dtype=np.int64)
    donor[:, rank] = rank[patterns.exchanges(pool[rank], n_repeats, seed)]
    return donor


@spec(
    {
        "attribution": Output(("target", "group"), "mean loss of score"),
        "standard_error": Output(("target", "group"), "standard error of the mean loss"),
        "rms_change": Output(("target", "group"), "root mean square change of score"),
    },
    needs="forward",
    references=(
        "Breiman 2001, doi:10.1023/A:1010933404324",
        "Fisher et al. 2019, arXiv:1801.01489",
    ),
)
def _permutation_spectral(
    x: Tensor, score: Score, *, part: Tensor, known: Tensor, on: np.ndarray, donor: np.ndarray
) -> dict[str, Tensor]:
    """known (n, 1[, y, x]) bool, donor (r, n) -> attribution (n, target, g) and its error."""
    prediction = score.clean(x)
    mean = x.new_zeros((x.shape[0], score.n_targets, len(on))).double()
    spread, square = mean.clone(), mean.clone()
    for r, row in enumerate(donor, start=1):
        other = tensors.perturb.given(x, known, row)
        scores = tensors.perturb.evaluate(score, x, other, on, part)
        loss = (prediction[:, None] - scores).transpose(1, 2).double()
        # Welford's update: stable where the loss is large and varies little.
        step = loss - mean
        mean += step / r
        spread += step * (loss - mean)
        square += loss**2
    n = len(donor)
    error = (spread / (n * (n - 1))).sqrt() if n > 1 else spread * np.nan
    return {
        "attribution": mean,
        "standard_error": error,
        "rms_change": (square / n).sqrt(),
        "prediction": prediction,
    }
