"""xrxai: explain what a model sees in hyper- and multispectral imagery, with xarray."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from xrxai import datasets
from xrxai.accessor import methods
from xrxai.aggregation.aggregate import aggregate
from xrxai.aggregation.agreement import agreement
from xrxai.aggregation.combine import combine
from xrxai.attribution.ablation import ablation_spatial, ablation_spectral
from xrxai.attribution.blur import blur_ig
from xrxai.attribution.detour import guided_ig
from xrxai.attribution.expected import gradient_shap
from xrxai.attribution.foreign import captum
from xrxai.attribution.gradient import input_x_gradient, saliency
from xrxai.attribution.guided import deconvnet, guided_backprop
from xrxai.attribution.integrated import integrated_gradients
from xrxai.attribution.layers import grad_cam, guided_grad_cam
from xrxai.attribution.lime import lime_spatial, lime_spectral
from xrxai.attribution.noise import smoothgrad
from xrxai.attribution.occlusion import occlusion, occlusion_spatial, occlusion_spectral
from xrxai.attribution.owen import owen_spectral
from xrxai.attribution.permutation import permutation_spectral
from xrxai.attribution.regions import xrai
from xrxai.attribution.relevance import deep_lift, lrp
from xrxai.attribution.rise import rise
from xrxai.attribution.shap import kernel_shap_spatial, kernel_shap_spectral
from xrxai.attribution.trees import tree_shap_spectral
from xrxai.attribution.tunnel import hyper_noise_tunnel
from xrxai.chain import explain
from xrxai.cost import plan
from xrxai.errors import XrxaiError
from xrxai.explorer import explore_app
from xrxai.io import open_cube, open_explanation
from xrxai.labelled.bands import band_groups, coverage
from xrxai.labelled.baseline import baseline
from xrxai.labelled.cube import to_cube
from xrxai.labelled.expand import on_cube, to_groups
from xrxai.labelled.removal import spectral_covariance
from xrxai.labelled.segments import segments
from xrxai.labelled.top import top
from xrxai.loading import load_program
from xrxai.model import Model
from xrxai.prediction import predict
from xrxai.shipping import ship

try:
    __version__ = version("xrxai")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Model",
    "XrxaiError",
    "ablation_spatial",
    "ablation_spectral",
    "aggregate",
    "agreement",
    "band_groups",
    "baseline",
    "blur_ig",
    "captum",
    "combine",
    "coverage",
    "datasets",
    "deconvnet",
    "deep_lift",
    "explain",
    "explore_app",
    "grad_cam",
    "gradient_shap",
    "guided_backprop",
    "guided_grad_cam",
    "guided_ig",
    "hyper_noise_tunnel",
    "input_x_gradient",
    "integrated_gradients",
    "kernel_shap_spatial",
    "kernel_shap_spectral",
    "lime_spatial",
    "lime_spectral",
    "load_program",
    "lrp",
    "methods",
    "occlusion",
    "occlusion_spatial",
    "occlusion_spectral",
    "on_cube",
    "open_cube",
    "open_explanation",
    "owen_spectral",
    "permutation_spectral",
    "plan",
    "predict",
    "rise",
    "saliency",
    "segments",
    "ship",
    "smoothgrad",
    "spectral_covariance",
    "to_cube",
    "to_groups",
    "top",
    "tree_shap_spectral",
    "xrai",
]
