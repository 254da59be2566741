"""xrxai: one call for all targets and samples."""

from __future__ import annotations

import inspect
from typing import Any

import xarray as xr

import xrxai
from benchmarks.peers import Plan
from benchmarks.problems import Problem, Work

OTHERWISE: dict[str, dict[str, Any]] = {
    "stem-off": {"stem": "off"},
    "bands-first": {"channels_last": False},
}
HAS_STEM = "stem" in inspect.signature(xrxai.Model).parameters


def cube_of(asked: Problem) -> xr.DataArray:
    """Label the values."""
    nm = ("band", asked.wavelength, {"units": "nm"})
    return xr.DataArray(asked.cube, dims=("band", "y", "x"), coords={"wavelength": nm})


def model_of(asked: Problem, **options: Any) -> xrxai.Model:
    """Name the network's targets; a map is summed over all pixels."""
    if asked.scores is not asked.net:
        options.update(gives="map", reduction="area")
    return xrxai.Model(asked.net, takes=asked.takes, targets=asked.targets, **options)


def options_of(work: Work, asked: Problem) -> dict[str, Any]:
    """Options of the method."""
    options: dict[str, Any] = {"progress": False}
    if work.method.startswith(("lime", "kernel_shap")):
        options["n_samples"] = work.n
        if work.method.endswith("spatial"):
            options["segments"] = asked.segment + 1
        else:
            options["bands"] = asked.band_group + 1
    elif work.method == "integrated_gradients":
        options["n_steps"] = work.n
    elif work.method in ("smoothgrad", "hyper_noise_tunnel"):
        options["n_samples"] = work.n
    elif work.window:
        one = len(work.window) == 1
        options["window"] = work.window[0] if one else work.window
        options["stride"] = work.stride[0] if one else work.stride
        if work.method != "occlusion_spatial":
            options["unit"] = "band"
    return options


def prepare(work: Work, asked: Problem, how: str) -> Plan:
    """Explain as it is, or with what `how` stands for."""
    cube = cube_of(asked)
    model = model_of(asked, **OTHERWISE.get(how, {}))
    options = options_of(work, asked)
    return Plan([lambda: getattr(cube.xai, work.method)(model, **options)], asked.count)
