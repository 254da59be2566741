"""Blur integrated gradients: the cube, or its spectrum, comes into focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import BandError, ModelError, at_least, choice, positive
from xrxai.road import Case, explain, settle
from xrxai.spec import COMPLETENESS_GAP, Output, Tiles, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

Axes = Literal["spatial", "spectral"]
Spacing = Literal["log", "linear", "sqrt"]
# Narrower Gaussians weigh the next pixel or band by less than 4e-4: they blur nothing.
_LEAST_SIGMA = 0.25


def blur_ig(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    axes: Axes | None = None,
    max_sigma: float | None = None,
    n_steps: int = 50,
    spacing: Spacing = "log",
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Gradients collected while the cube comes into focus: integrated gradients without a baseline.

    The way runs through Gaussian blurs of the cube, from the widest to none. The attributions
    of a target sum to its score minus the score of the widest blur, and tell what detail adds;
    ``completeness_gap`` says by how much the steps miss that. Costs `n_steps` forward passes
    per sample for all targets together, and two for the scores at both ends.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    target : str or list of str, optional
        Default: every target of the model.
    axes : {"spatial", "spectral"}, optional
        Blur over rows and columns, or along the spectrum of each pixel by wavelength. Default:
        "spatial" for a model that takes a patch, else "spectral".
    max_sigma : float, optional
        Width of the widest blur, in pixels or nanometres; one in metres over the size of a pixel
        is one in pixels. Wider leaves less of the cube at the start. Default: the longer side of
        the image, the span of the wavelengths.
    n_steps : int, default: 50
        Blurs on the way. More close the gap; cost grows with them.
    spacing : {"log", "linear", "sqrt"}, default: "log"
        Widths between 0 and `max_sigma`: growing by a constant factor from a quarter of a
        pixel or of the step between bands; by a constant difference; or as the square root
        of the step. Most detail goes with the first pixel of blur, so "log" needs fewest steps.
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
        ``completeness_gap``, ``prediction`` and ``baseline_prediction`` (target), the score of
        the widest blur, and ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, OptionError
        The cube, the model and the options do not fit; nothing has been run then.

    Notes
    -----
    Where this departs from the paper: a Gaussian is never cut off, and what it finds beyond the
    border, at pixels without data and in bad bands counts for nothing (normalised convolution);
    each step is the true difference of two blurs, and its gradient is taken halfway between
    them, so that a linear score is explained exactly. The spectral way is not in the paper.

    References
    ----------
    .. [1] S. Xu, S. Venugopalan, M. Sundararajan (2020). Attribution in scale and space.
       https://arxiv.org/abs/2004.03383
    """
    at_least(n_steps, 1, "n_steps")
    choice(spacing, ("log", "linear", "sqrt"), "spacing")
    if axes is not None:
        choice(axes, ("spatial", "spectral"), "axes")
    # A blur over bands stays within its pixel; one over pixels reaches over the whole image.
    tiles: Tiles = "gradient" if axes == "spectral" else "alone"
    case = settle(cube, model, _blur_ig, target=target, mask=mask, region=region, tiles=tiles)
    if axes is None:
        axes = "spatial" if case.model.takes == "patch" else "spectral"
    position, step, widest = _scale(case, axes)
    if max_sigma is not None:
        widest = positive(max_sigma, "max_sigma", widest)
    good = xr.DataArray(case.place.good_band, dims=case.place.band)
    return explain(
        case,
        evaluations=n_steps + 2,
        inputs={"known": case.valid if axes == "spatial" else good},
        static={
            "sigma": _widths(widest, n_steps, spacing, _LEAST_SIGMA * step),
            "position": position,
        },
        options={"axes": axes, "max_sigma": widest, "n_steps": n_steps, "spacing": spacing},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def _scale(case: Case, axes: Axes) -> tuple[np.ndarray | None, float, float]:
    """Wavelengths of a spectral blur, the step of the grid, and how wide a blur can be."""
    place = case.place
    if axes == "spatial":
        if case.model.takes == "spectrum":
            raise ModelError(
                "axes='spatial' blurs over rows and columns, but the model takes='spectrum' sees "
                "one pixel at a time; type axes='spectral'."
            )
        return None, 1.0, float(max(place.data.sizes[place.y], place.data.sizes[place.x]))
    wavelength = place.require_wavelength()
    good = np.unique(wavelength[place.good_band])
    if good.size < 2:
        raise BandError(
            "axes='spectral' blurs over the bands, and the cube has only one good wavelength; "
            "type axes='spatial', or use integrated_gradients."
        )
    return wavelength, float(np.median(np.diff(good))), float(np.ptp(good))


def _widths(widest: float, n_steps: int, spacing: Spacing, least: float) -> np.ndarray:
    """Widths (n_steps + 1,) of the blurs, from 0 to the widest."""
    share = np.arange(n_steps + 1) / n_steps
    if spacing == "linear":
        return widest * share
    if spacing == "sqrt":
        return widest * np.sqrt(share)
    if n_steps == 1:
        return np.array([0.0, widest])
    return np.concatenate([[0.0], np.geomspace(min(least, widest), widest, n_steps)])


@spec(
    {
        "attribution": Output(("target", "features"), "blur integrated gradients"),
        "completeness_gap": COMPLETENESS_GAP,
        "baseline_prediction": Output(("target",), "score at the widest blur"),
    },
    needs="gradient",
    references=("Xu et al. 2020, arXiv:2004.03383",),
)
def _blur_ig(
    x: Tensor, score: Score, *, known: Tensor, sigma: np.ndarray, position: np.ndarray | None
) -> dict[str, Tensor]:
    """x (n, *f), known (n or 1, 1 or band, ...) -> attribution (n, target, *f)."""
    prediction = score.clean(x)
    attribution, end = tensors.paths.blurring(score, x, known, sigma, position)
    at_blur = score.reference(end)
    return {
        "attribution": attribution,
        "completeness_gap": attribution.flatten(2).sum(2) - (prediction - at_blur),
        "prediction": prediction,
        "baseline_prediction": at_blur,
    }
