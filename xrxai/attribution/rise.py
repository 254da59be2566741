"""RISE: the mean score while a pixel is kept, under smooth random masks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import patterns, tensors
from xrxai.errors import OptionError, SegmentError, at_least, pair, positive
from xrxai.labelled import baseline as baselines
from xrxai.road import explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score


def rise(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    n_samples: int = 1000,
    cells: int | tuple[int, int] = 7,
    probability: float = 0.5,
    centre: bool = False,
    baseline: baselines.Baseline = 0.0,
    seed: int = 0,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Mean score of every target while a pixel is kept, under smooth random masks.

    Asks for no segments and sees any model as a black box. Costs `n_samples` forward passes per
    sample, for all targets together; the same masks serve all samples.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One that takes a patch.
    target : str or list of str, optional
        Default: every target of the model.
    n_samples : int, default: 1000
        Masks; the paper takes 4000 to 8000. More narrow the standard error, by one over their
        square root.
    cells : int or (int, int), default: 7
        Rows and columns of the grid of coins that is stretched over the image. More show finer
        detail and need more samples.
    probability : float, default: 0.5
        Of a cell to be kept, between 0 and 1. Larger leaves more of the image, and removes less.
    centre : bool, default: False
        Subtract the mean score under the masks: what keeping a pixel changes, rather than the
        score while it is kept. Signed, zero where nothing changes, and much less noisy for
        scores far from zero.
    baseline : optional
        What stands for absence: see `xrxai.baseline`. Default: zero.
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
        ``attribution`` (target, y, x) and its ``standard_error``, in units of the score;
        ``masked_prediction`` (target), the mean score under the masks; ``prediction`` and
        ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, SegmentError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    ``sum_i score_i mask_i(pixel) / (n_samples probability)``, equation 6 of [1]_, with masks as in
    its section 3.2; nothing is scaled to 0..1 afterwards. A pixel that is half kept is half way
    between cube and baseline. With `centre` the score is that minus its mean and the divisor
    ``(n_samples - 1) probability``, which is unbiased as well.

    References
    ----------
    .. [1] V. Petsiuk, A. Das, K. Saenko (2018). RISE: randomized input sampling for explanation
       of black-box models. https://arxiv.org/abs/1806.07421
    """
    at_least(n_samples, 2, "n_samples")
    at_least(seed, 0, "seed")
    positive(probability, "probability", 0.5)
    if probability >= 1:
        raise OptionError(
            f"probability={probability!r} keeps every pixel; type a number between 0 and 1 such "
            f"as probability=0.5."
        )
    if centre not in (True, False):
        raise OptionError(f"centre={centre!r} is not known; choose one of True, False.")
    grid = pair(cells, "cells", 7)
    case = settle(cube, model, _rise, target=target, mask=mask, region=region)
    high, wide = (case.place.data.sizes[d] for d in (case.place.y, case.place.x))
    if grid[0] > high or grid[1] > wide:
        raise SegmentError(
            f"cells={grid} are finer than the cube of {high} x {wide} pixels; type "
            f"cells=({min(grid[0], high)}, {min(grid[1], wide)}) or less."
        )
    return explain(
        case,
        evaluations=n_samples + 1,
        inputs={"baseline": baselines.settle(case.place, baseline, case.valid)},
        static={
            "n_samples": n_samples,
            "cells": grid,
            "probability": float(probability),
            "centre": bool(centre),
            "seed": seed,
        },
        options={
            "n_samples": n_samples,
            "cells": list(grid),
            "probability": float(probability),
            "centre": bool(centre),
            "baseline": baselines.describe(baseline),
        },
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "y", "x"), "mean score while the pixel is kept"),
        "standard_error": Output(("target", "y", "x"), "standard error of the mean score"),
        "masked_prediction": Output(("target",), "mean score under the masks"),
    },
    needs="forward",
    spatial=True,
    references=("Petsiuk et al. 2018, arXiv:1806.07421",),
)
def _rise(
    x: Tensor,
    score: Score,
    *,
    baseline: Tensor,
    n_samples: int,
    cells: tuple[int, int],
    probability: float,
    centre: bool,
    seed: int,
) -> dict[str, Tensor]:
    """x (n, band, y, x) -> attribution (n, target, y, x) and its error."""
    prediction = score.clean(x)
    size = (x.shape[-2], x.shape[-1])
    mask = partial(patterns.soft_mask, cells=cells, size=size, probability=probability, seed=seed)
    scores = tensors.perturb.fade(score, x, baseline, mask, n_samples).double()
    mean = scores.mean(1)
    # Masks are drawn a second time rather than held: a mask is cheap, an image of them is not.
    value, error = tensors.perturb.mean_under_masks(
        scores - mean[:, None] if centre else scores, mask, size, probability, centre
    )
    return {
        "attribution": value,
        "standard_error": error,
        "masked_prediction": mean,
        "prediction": prediction,
    }
