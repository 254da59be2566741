"""xrxai: explain what a model sees in hyper- and multispectral imagery, with xarray."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from xrxai import datasets
from xrxai.accessor import methods
from xrxai.attribution.gradient import input_x_gradient, saliency
from xrxai.attribution.integrated import integrated_gradients
from xrxai.attribution.lime import lime_spatial, lime_spectral
from xrxai.attribution.occlusion import occlusion_spatial, occlusion_spectral
from xrxai.attribution.regions import xrai
from xrxai.errors import XrxaiError
from xrxai.io import open_cube, open_explanation
from xrxai.labelled.bands import band_groups, coverage
from xrxai.labelled.baseline import baseline
from xrxai.labelled.cube import to_cube
from xrxai.labelled.expand import combine, on_cube, to_groups
from xrxai.labelled.segments import segments
from xrxai.labelled.top import top
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
    "combine",
    "coverage",
    "datasets",
    "input_x_gradient",
    "integrated_gradients",
    "lime_spatial",
    "lime_spectral",
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
    "top",
    "xrai",
]
