"""The list of methods: what a cube and an explanation offer under `.xai`."""

from __future__ import annotations

import xarray as xr

from xrxai import chain, cost, explorer, io, live, plot, prediction
from xrxai.aggregation import aggregate
from xrxai.attribution import (
    ablation,
    blur,
    detour,
    expected,
    foreign,
    gradient,
    guided,
    integrated,
    layers,
    lime,
    noise,
    occlusion,
    owen,
    permutation,
    regions,
    relevance,
    rise,
    shap,
    trees,
    tunnel,
)
from xrxai.binding import method
from xrxai.labelled import bands, baseline, cube, expand, removal, segments, top


@xr.register_dataarray_accessor("xai")
class CubeAccessor:
    """Explain a cube: ``cube.xai.<method>(model)`` returns a labelled Dataset."""

    def __init__(self, obj: xr.DataArray) -> None:
        self._obj = obj

    # what the model says
    predict = method(prediction.predict)
    # gradients
    saliency = method(gradient.saliency)
    input_x_gradient = method(gradient.input_x_gradient)
    integrated_gradients = method(integrated.integrated_gradients)
    # gradients along other ways
    gradient_shap = method(expected.gradient_shap)
    blur_ig = method(blur.blur_ig)
    guided_ig = method(detour.guided_ig)
    # gradients under noise
    smoothgrad = method(noise.smoothgrad)
    hyper_noise_tunnel = method(tunnel.hyper_noise_tunnel)
    # layers
    grad_cam = method(layers.grad_cam)
    guided_grad_cam = method(layers.guided_grad_cam)
    guided_backprop = method(guided.guided_backprop)
    deconvnet = method(guided.deconvnet)
    deep_lift = method(relevance.deep_lift)
    lrp = method(relevance.lrp)
    # regions
    xrai = method(regions.xrai)
    # occlusion
    occlusion_spectral = method(occlusion.occlusion_spectral)
    occlusion_spatial = method(occlusion.occlusion_spatial)
    occlusion = method(occlusion.occlusion)
    # one part at a time
    ablation_spectral = method(ablation.ablation_spectral)
    ablation_spatial = method(ablation.ablation_spatial)
    permutation_spectral = method(permutation.permutation_spectral)
    # coalitions
    kernel_shap_spectral = method(shap.kernel_shap_spectral)
    kernel_shap_spatial = method(shap.kernel_shap_spatial)
    owen_spectral = method(owen.owen_spectral)
    tree_shap_spectral = method(trees.tree_shap_spectral)
    rise = method(rise.rise)
    # surrogates
    lime_spectral = method(lime.lime_spectral)
    lime_spatial = method(lime.lime_spatial)
    # methods of others
    captum = method(foreign.captum)
    # several of them
    explain = method(chain.explain)
    # what a run will cost
    plan = method(cost.plan)
    # what the methods are asked with
    band_groups = method(bands.band_groups)
    coverage = method(bands.coverage)
    segments = method(segments.segments)
    baseline = method(baseline.baseline)
    spectral_covariance = method(removal.spectral_covariance)

    def __repr__(self) -> str:
        """One line: bands, range, size, CRS, bad bands."""
        return cube.summary(self._obj)


class PlotAccessor:
    """Draw an explanation: call it for the overview, or one of its members."""

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    __call__ = method(plot.overview)
    overview = method(plot.overview)
    rgb = method(plot.rgb)
    spatial = method(plot.spatial)
    spectral = method(plot.spectral)
    bars = method(plot.bars)
    classes = method(plot.classes)
    bands = method(plot.bands)
    overlay = method(plot.overlay)
    top = method(plot.top)
    targets = method(plot.targets)
    # many explanations
    beeswarm = method(plot.beeswarm)
    agreement = method(plot.agreement)


class HvPlotAccessor:
    """Show an explanation in a notebook or a browser, with hvPlot; its members return HoloViews."""

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    rgb = method(live.rgb)
    spatial = method(live.spatial)
    spectral = method(live.spectral)
    bars = method(live.bars)
    bands = method(live.bands)
    targets = method(live.targets)


@xr.register_dataset_accessor("xai")
class ExplanationAccessor:
    """Examine an explanation: plot, expand, group, average, write."""

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    on_cube = method(expand.on_cube)
    to_groups = method(expand.to_groups)
    top = method(top.top)
    aggregate = method(aggregate.aggregate)
    explore = method(explorer.explore)
    to_netcdf = method(io.to_netcdf)
    to_zarr = method(io.to_zarr)
    to_geotiff = method(io.to_geotiff)

    @property
    def plot(self) -> PlotAccessor:
        """Figures for a paper: ``.plot()``, ``.plot.spectral()``, ..."""
        return PlotAccessor(self._obj)

    @property
    def hvplot(self) -> HvPlotAccessor:
        """The same to zoom and leaf through: ``.hvplot.spatial()``, ``.hvplot.bands()``, ..."""
        return HvPlotAccessor(self._obj)


def methods() -> list[str]:
    """
    Names of the attribution methods, as the accessor binds them.

    Returns
    -------
    list of str
    """
    return [
        name
        for name, bound in vars(CubeAccessor).items()
        if getattr(bound, "__module__", "").startswith("xrxai.attribution")
    ]
