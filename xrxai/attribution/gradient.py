"""Plain gradients: saliency and input times gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.road import explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score


def saliency(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    absolute: bool = False,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Gradient of every target's score with respect to every value of the cube.

    Costs one forward pass per sample and one vector-Jacobian product per target.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    target : str or list of str, optional
        Default: every target of the model.
    absolute : bool, default: False
        Give the absolute gradient, as many papers draw it; the sign is lost.
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
        ``attribution`` (target, and the dims of the cube) in units of the score per unit of
        the cube, ``prediction`` and ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError
        The cube, the model and the options do not fit; nothing has been run then.

    References
    ----------
    .. [1] K. Simonyan, A. Vedaldi, A. Zisserman (2013). Deep inside convolutional networks.
       https://arxiv.org/abs/1312.6034
    """
    case = settle(cube, model, _saliency, target=target, mask=mask, region=region)
    return explain(
        case,
        evaluations=1,
        static={"absolute": absolute},
        options={"absolute": absolute},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {"attribution": Output(("target", "features"), "gradient", "score / cube")},
    needs="gradient",
    references=("Simonyan et al. 2013, arXiv:1312.6034",),
    tiles="gradient",
)
def _saliency(x: Tensor, score: Score, *, absolute: bool) -> dict[str, Tensor]:
    """x (n, *f) -> attribution (n, target, *f)."""
    prediction, gradient = tensors.score.gradients(score, x)
    return {"attribution": gradient.abs_() if absolute else gradient, "prediction": prediction}


def input_x_gradient(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Cube times gradient: the first-order share of every value in the score.

    The same as integrated gradients with one step at the cube and a zero baseline; exact for
    linear models. Costs what `saliency` costs.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Differentiable: a network or a callable on tensors.
    target : str or list of str, optional
        Default: every target of the model.
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
        ``prediction`` and ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError
        The cube, the model and the options do not fit; nothing has been run then.

    References
    ----------
    .. [1] A. Shrikumar et al. (2016). Not just a black box: learning important features through
       propagating activation differences. https://arxiv.org/abs/1605.01713
    """
    case = settle(cube, model, _input_x_gradient, target=target, mask=mask, region=region)
    return explain(
        case,
        evaluations=1,
        options={},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {"attribution": Output(("target", "features"), "input x gradient")},
    needs="gradient",
    references=("Shrikumar et al. 2016, arXiv:1605.01713",),
    tiles="gradient",
)
def _input_x_gradient(x: Tensor, score: Score) -> dict[str, Tensor]:
    """x (n, *f) -> attribution (n, target, *f)."""
    prediction, gradient = tensors.score.gradients(score, x)
    return {"attribution": gradient.mul_(x[:, None]), "prediction": prediction}
