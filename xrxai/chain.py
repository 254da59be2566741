"""Several methods on one cube: what they have in common is said, and asked of the model, once."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import OptionError
from xrxai.labelled.baseline import Baseline
from xrxai.model import Model
from xrxai.road import trial


def explain(
    cube: xr.DataArray,
    model: Model,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]],
    *,
    target: str | list[str] | None = None,
    baseline: Baseline | None = None,
    seed: int | None = None,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """
    Explain a cube with several methods, which share evaluations of the model.

    Scores of the cube itself, its frozen classes and scores of baselines are asked of the model
    once: the first method that needs them pays. Numbers are those of separate calls, bit for bit.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        As for the methods. A lazy one gives a lazy tree, whose methods share nothing.
    model : Model
        One that every method can explain.
    methods : sequence of str, or mapping of str to mapping
        Names of attribution methods, see `xrxai.methods`; or names with the options of each, such
        as ``{"lime_spectral": {"bands": 100.0}, "saliency": {}}``, which go before those below.
    target : str or list of str, optional
        Default: every target of the model.
    baseline : optional
        Of the methods that have one: see `xrxai.baseline`. Default: that of each method.
    seed : int, optional
        Of the methods that draw. Default: that of each method.
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
    DataTree
        A node per method, in the order asked, each the Dataset that the method gives;
        ``tree["lime_spectral"].to_dataset()`` takes one out. ``model_evaluations`` counts what
        a method spent, not what another had spent before.

    Raises
    ------
    OptionError
        There is no such method, it is named twice, or it has no such option.
    CubeError, ModelError, TargetError, and what else the methods raise
        As the methods themselves do: all of them before the model runs.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xrxai
    >>> nm = ("band", [490.0, 560.0, 665.0], {"units": "nm"})
    >>> cube = xr.DataArray(np.ones((3, 4, 4)), dims=("band", "y", "x"), coords={"wavelength": nm})
    >>> model = xrxai.Model(lambda x: x[:, :2] ** 2, takes="spectrum", targets=["K", "pH"])
    >>> tree = xrxai.explain(cube, model, ["occlusion_spectral", "ablation_spectral"], target="K")
    >>> list(tree)
    ['occlusion_spectral', 'ablation_spectral']
    """
    model = Model.ensure(model)
    common = {
        "target": target,
        "baseline": baseline,
        "seed": seed,
        "mask": mask,
        "region": region,
        "device": device,
        "batch_size": batch_size,
    }
    calls = {}
    for name, own in _named(methods).items():
        bound: Any = getattr(cube.xai, name, None)
        if not getattr(bound, "__module__", "").startswith("xrxai.attribution"):
            raise OptionError(
                f"The method {name!r} is no attribution method; see xrxai.methods() for their "
                f"names."
            )
        known = inspect.signature(bound).parameters
        given = {k: v for k, v in common.items() if v is not None and k in known}
        calls[name] = (bound, {**given, "progress": progress, **own})
        _try(name, *calls[name], model)
    with tensors.known.shared():
        found = {name: bound(model, **given) for name, (bound, given) in calls.items()}
    return xr.DataTree.from_dict(found)


def _named(methods: Any) -> dict[str, Mapping[str, Any]]:
    """Methods and the options of each."""
    if isinstance(methods, Mapping):
        return {name: dict(own) for name, own in methods.items()}
    if isinstance(methods, str):
        raise OptionError(f"methods={methods!r} is one string; type methods=[{methods!r}].")
    names = list(methods)
    if len(set(names)) < len(names):
        raise OptionError(
            f"methods={names!r} names a method twice; a tree has one node for each name."
        )
    return {name: {} for name in names}


def _try(name: str, bound: Any, given: Mapping[str, Any], model: Model) -> None:
    """Refuse what the method would refuse, before any method runs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when it runs
            trial(lambda: bound(model, **given))
    except TypeError as error:
        raise OptionError(
            f"methods={{{name!r}: ...}} does not fit {name}: {error}; see help(xrxai.{name})."
        ) from None
