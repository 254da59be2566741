"""xrxai: explain what a model sees in hyper- and multispectral imagery, with xarray."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from xrxai import datasets
from xrxai.accessor import methods
from xrxai.attribution.foreign import captum
from xrxai.attribution.gradient import input_x_gradient, saliency
from xrxai.attribution.guided import deconvnet, guided_backprop
from xrxai.attribution.integrated import integrated_gradients
from xrxai.attribution.layers import grad_cam, guided_grad_cam
from xrxai.attribution.lime import lime_spatial, lime_spectral
from xrxai.attribution.occlusion import occlusion_spatial, occlusion_spectral
from xrxai.attribution.relevance import deep_lift, lrp
from xrxai.errors import XrxaiError
from xrxai.io import open_cube, open_explanation
from xrxai.labelled.bands import band_groups, coverage
from xrxai.labelled.baseline import baseline
from xrxai.labelled.cube import to_cube
from xrxai.labelled.expand import combine, on_cube, to_groups
from xrxai.labelled.segments import segments
from xrxai.model import Model

try:
    __version__ = version("xrxai")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Model",
    "XrxaiError",
    "band_groups",
    "baseline",
    "captum",
    "combine",
    "coverage",
    "datasets",
    "deconvnet",
    "deep_lift",
    "grad_cam",
    "guided_backprop",
    "guided_grad_cam",
    "input_x_gradient",
    "integrated_gradients",
    "lime_spatial",
    "lime_spectral",
    "lrp",
    "methods",
    "occlusion_spatial",
    "occlusion_spectral",
    "on_cube",
    "open_cube",
    "open_explanation",
    "saliency",
    "segments",
    "to_cube",
    "to_groups",
]
