"""Explanations from a layer inside the network: Grad-CAM, and its guided refinement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.attribution.guided import FAILS_SANITY
from xrxai.errors import OptionError, at_least, note
from xrxai.road import Case, explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

Tokens = int | tuple[int, int] | None

_GRAD_CAM = "Selvaraju et al. 2017, arXiv:1610.02391"


def grad_cam(
    cube: xr.DataArray,
    model: Model,
    *,
    layer: str | None = None,
    target: str | list[str] | None = None,
    tokens: Tokens = None,
    positive: bool = True,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Where a layer sees each target: its channels, weighted by their mean gradient.

    A map of the size of the layer, spread bilinearly over the cube. Costs one forward pass per
    sample and, from the layer to the answer, one vector-Jacobian product per target.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One whose network is a ``torch.nn.Module``; programs and TorchScript have no layers.
    layer : str
        Name of the layer as ``net.named_modules()`` gives it, ``"backbone.layer4"``; a name that
        does not exist is answered with those that do. Later layers know more of the target and
        less of the place.
    target : str or list of str, optional
        Default: every target of the model.
    tokens : (int, int) or int, optional
        Rows and columns of a layer that gives tokens, ``(n, tokens, channels)``; class tokens
        lead and are dropped. Default: a square with or without one class token. Also for layers
        of ``(n, rows, columns, channels)``. For ``takes="spectrum"`` their number.
    positive : bool, default: True
        Keep what speaks for the target, as the paper does; False keeps the sign.
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
        ``attribution`` (target, y, x), the same for all bands; for ``takes="spectrum"`` (target,
        band, and the dims of the cube), along the positions that a 1-D convolution keeps; in
        units of the score; ``prediction`` and ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, OptionError
        The cube, the model and the options do not fit. What a layer gives is known when it has
        run: one without positions is refused then.

    Notes
    -----
    The map goes from the layer's grid to the cube's in one bilinear step, through `pad` and
    `resize` of the model, where the paper stops at the grid of the network's input. It is no
    finer than the layer, however smooth it looks. For ``gives="map"`` choose a layer before the
    last: there the gradient is the reduction itself.

    References
    ----------
    .. [1] R. R. Selvaraju et al. (2017). Grad-CAM: visual explanations from deep networks via
       gradient-based localization. https://arxiv.org/abs/1610.02391
    """
    case, static = _settle(cube, model, _grad_cam, layer, tokens, target, mask, region)
    positive = bool(positive)
    found = explain(
        case,
        evaluations=1,
        static={**static, "positive": positive},
        options={**static, "positive": positive},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    found["attribution"].attrs["signed"] = int(not positive)
    return found


@spec(
    {"attribution": Output(("target", "positions"), "Grad-CAM")},
    needs="gradient",
    references=(_GRAD_CAM,),
)
def _grad_cam(
    x: Tensor, score: Score, *, layer: str, tokens: tuple[int, ...] | None, positive: bool
) -> dict[str, Tensor]:
    """x (n, band, *positions) -> attribution (n, target, *positions)."""
    prediction, maps = tensors.cam.grad_cam(score, x, layer=layer, tokens=tokens, positive=positive)
    return {"attribution": maps, "prediction": prediction}


def guided_grad_cam(
    cube: xr.DataArray,
    model: Model,
    *,
    layer: str | None = None,
    target: str | list[str] | None = None,
    tokens: Tokens = None,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Guided backpropagation times Grad-CAM: fine detail where a layer sees the target.

    Costs two forward passes per sample and two vector-Jacobian products per target.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One whose network is a ``torch.nn.Module``; programs and TorchScript have no layers.
    layer : str
        Name of the layer as ``net.named_modules()`` gives it, ``"backbone.layer4"``; a name that
        does not exist is answered with those that do. Later layers know more of the target and
        less of the place.
    target : str or list of str, optional
        Default: every target of the model.
    tokens : (int, int) or int, optional
        Rows and columns of a layer that gives tokens, ``(n, tokens, channels)``; class tokens
        lead and are dropped. Default: a square with or without one class token. Also for layers
        of ``(n, rows, columns, channels)``. For ``takes="spectrum"`` their number.
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
        ``attribution`` (target, and the dims of the cube) in units of its own, ``prediction``
        and ``model_evaluations``. The attr ``caution`` says what `guided_backprop` says.

    Raises
    ------
    CubeError, ModelError, TargetError, OptionError
        The cube, the model and the options do not fit; see `grad_cam` and `guided_backprop` for
        what is known only when the network has run.

    Warns
    -----
    UserWarning
        The method fails the sanity check of [2]_.

    References
    ----------
    .. [1] R. R. Selvaraju et al. (2017). Grad-CAM: visual explanations from deep networks via
       gradient-based localization. https://arxiv.org/abs/1610.02391
    .. [2] J. Adebayo et al. (2018). Sanity checks for saliency maps.
       https://arxiv.org/abs/1810.03292
    """
    case, static = _settle(cube, model, _guided_grad_cam, layer, tokens, target, mask, region)
    note(f"guided_grad_cam {FAILS_SANITY}")
    found = explain(
        case,
        evaluations=2,
        static=static,
        options=static,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    return found.assign_attrs(caution=f"guided_grad_cam {FAILS_SANITY}")


@spec(
    {"attribution": Output(("target", "features"), "guided Grad-CAM", "1")},
    needs="gradient",
    references=(_GRAD_CAM, "Adebayo et al. 2018, arXiv:1810.03292"),
)
def _guided_grad_cam(
    x: Tensor, score: Score, *, layer: str, tokens: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """x (n, *f) -> attribution (n, target, *f)."""
    _, maps = tensors.cam.grad_cam(score, x, layer=layer, tokens=tokens, positive=True)
    prediction, slope = tensors.rules.rectified(score, x, guided=True, method="guided_grad_cam")
    # A map (n, target, y, x) is the same for all bands; one over bands has their axis already.
    maps = maps if maps.ndim == slope.ndim else maps[:, :, None]
    return {"attribution": maps * slope, "prediction": prediction}


def _settle(
    cube: xr.DataArray,
    model: Model,
    kernel: Any,
    layer: str | None,
    tokens: Tokens,
    target: Any,
    mask: Any,
    region: Any,
) -> tuple[Case, dict[str, Any]]:
    case = settle(cube, model, kernel, target=target, mask=mask, region=region)
    name = kernel.__name__.lstrip("_")
    tensors.hooks.find(tensors.hooks.networks(case.model, name), layer)
    size = None if tokens is None else _tokens(tokens, case.model.takes == "patch")
    return case, {"layer": layer, "tokens": size}


def _tokens(tokens: Any, patch: bool) -> tuple[int, ...]:
    if not patch:
        if isinstance(tokens, tuple | list):
            raise OptionError(
                f"tokens={tokens!r} are rows and columns, and a spectrum has neither; type their "
                f"number, tokens=16."
            )
        return (at_least(tokens, 1, "tokens"),)
    if not isinstance(tokens, tuple | list) or len(tokens) != 2:
        raise OptionError(
            f"tokens={tokens!r} is no number of rows and of columns; type tokens=(14, 14)."
        )
    return tuple(at_least(side, 1, "tokens") for side in tokens)
