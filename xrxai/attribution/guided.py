"""Gradients that ReLUs let back by another rule: guided backpropagation and deconvolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import note
from xrxai.road import explain, settle
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

FAILS_SANITY = (
    "fails the sanity check of Adebayo et al. 2018 (arXiv:1810.03292): its maps hardly change when "
    "the weights of the network are replaced by random ones. They show the image more than the "
    "model; compare with integrated_gradients."
)
FAILS_TO_EXPLAIN = (
    "recovers the image rather than what the network sees in it (Nie et al. 2018, "
    "arXiv:1805.07039); compare with integrated_gradients."
)


def guided_backprop(
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
    Gradient that each ReLU lets back only where input and gradient are positive.

    For fine pictures of what excites a network; it fails the sanity check of [2]_, so do not
    judge a model by it. Costs one forward pass per sample and one vector-Jacobian product per
    target.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One whose network is a ``torch.nn.Module``; programs and TorchScript have no layers.
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
        ``attribution`` (target, and the dims of the cube) in units of the score per unit of the
        cube, ``prediction`` and ``model_evaluations``. The attr ``caution`` repeats the warning.

    Raises
    ------
    CubeError, ModelError, TargetError
        The cube, the model and the options do not fit; nothing has been run then. A network that
        rectifies outside of ``torch.nn.ReLU`` and ``torch.nn.ReLU6`` modules (``F.relu(x)``,
        ``x.relu()``, ``x.clamp(min=0)``), or never, is refused when it has run: the rule would
        not reach it, and the result be another gradient. Modules that are used twice or work in
        place are fine.

    Warns
    -----
    UserWarning
        The method fails the sanity check of [2]_.

    References
    ----------
    .. [1] J. T. Springenberg et al. (2014). Striving for simplicity: the all convolutional net.
       https://arxiv.org/abs/1412.6806
    .. [2] J. Adebayo et al. (2018). Sanity checks for saliency maps.
       https://arxiv.org/abs/1810.03292
    """
    case = settle(cube, model, _guided_backprop, target=target, mask=mask, region=region)
    tensors.hooks.networks(case.model, "guided_backprop")
    caution = f"guided_backprop {FAILS_SANITY}"
    note(caution)
    found = explain(
        case,
        evaluations=1,
        options={},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    return found.assign_attrs(caution=caution)


@spec(
    {"attribution": Output(("target", "features"), "guided backpropagation", "score / cube")},
    needs="gradient",
    references=(
        "Springenberg et al. 2014, arXiv:1412.6806",
        "Adebayo et al. 2018, arXiv:1810.03292",
    ),
    tiles="gradient",
)
def _guided_backprop(x: Tensor, score: Score) -> dict[str, Tensor]:
    """x (n, *f) -> attribution (n, target, *f)."""
    prediction, slope = tensors.rules.rectified(score, x, guided=True, method="guided_backprop")
    return {"attribution": slope, "prediction": prediction}


def deconvnet(
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
    Gradient that each ReLU lets back where the gradient is positive, whatever its input was.

    The backward half of a deconvolutional network. It recovers the image rather than what a
    network sees in it [2]_. Costs one forward pass per sample and one vector-Jacobian product per
    target.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        One whose network is a ``torch.nn.Module``; programs and TorchScript have no layers.
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
        ``attribution`` (target, and the dims of the cube) in units of the score per unit of the
        cube, ``prediction`` and ``model_evaluations``. The attr ``caution`` repeats the warning.

    Raises
    ------
    CubeError, ModelError, TargetError
        The cube, the model and the options do not fit; nothing has been run then. A network that
        rectifies outside of ``torch.nn.ReLU`` and ``torch.nn.ReLU6`` modules (``F.relu(x)``,
        ``x.relu()``, ``x.clamp(min=0)``), or never, is refused when it has run: the rule would
        not reach it, and the result be another gradient. Modules that are used twice or work in
        place are fine.

    Warns
    -----
    UserWarning
        The method recovers the image [2]_.

    References
    ----------
    .. [1] M. D. Zeiler, R. Fergus (2013). Visualizing and understanding convolutional networks.
       https://arxiv.org/abs/1311.2901
    .. [2] W. Nie, Y. Zhang, A. B. Patel (2018). A theoretical explanation for perplexing
       behaviors of backpropagation-based visualizations. https://arxiv.org/abs/1805.07039
    """
    case = settle(cube, model, _deconvnet, target=target, mask=mask, region=region)
    tensors.hooks.networks(case.model, "deconvnet")
    caution = f"deconvnet {FAILS_TO_EXPLAIN}"
    note(caution)
    found = explain(
        case,
        evaluations=1,
        options={},
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    return found.assign_attrs(caution=caution)


@spec(
    {"attribution": Output(("target", "features"), "deconvolution", "score / cube")},
    needs="gradient",
    references=(
        "Zeiler & Fergus 2013, arXiv:1311.2901",
        "Nie et al. 2018, arXiv:1805.07039",
    ),
    tiles="gradient",
)
def _deconvnet(x: Tensor, score: Score) -> dict[str, Tensor]:
    """x (n, *f) -> attribution (n, target, *f)."""
    prediction, slope = tensors.rules.rectified(score, x, guided=False, method="deconvnet")
    return {"attribution": slope, "prediction": prediction}
