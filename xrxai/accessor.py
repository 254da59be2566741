"""The list of methods: what a cube and an explanation offer under `.xai`."""

from __future__ import annotations

import xarray as xr

from xrxai import io, plot
from xrxai.attribution import gradient, integrated, lime, occlusion, regions
from xrxai.binding import method
from xrxai.labelled import bands, baseline, cube, expand, segments, top


@xr.register_dataarray_accessor("xai")
class CubeAccessor:
    """Explain a cube: ``cube.xai.<method>(model)`` returns a labelled Dataset."""

    def __init__(self, obj: xr.DataArray) -> None:
        self._obj = obj

    # gradients
    saliency = method(gradient.saliency)
    input_x_gradient = method(gradient.input_x_gradient)
    integrated_gradients = method(integrated.integrated_gradients)
    # regions
    xrai = method(regions.xrai)
    # occlusion
    occlusion_spectral = method(occlusion.occlusion_spectral)
    occlusion_spatial = method(occlusion.occlusion_spatial)
    # surrogates
    lime_spectral = method(lime.lime_spectral)
    lime_spatial = method(lime.lime_spatial)
    # what the methods are asked with
    band_groups = method(bands.band_groups)
    coverage = method(bands.coverage)
    segments = method(segments.segments)
    baseline = method(baseline.baseline)

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


@xr.register_dataset_accessor("xai")
class ExplanationAccessor:
    """Examine an explanation: plot, expand, group, write."""

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    on_cube = method(expand.on_cube)
    to_groups = method(expand.to_groups)
    top = method(top.top)
    to_netcdf = method(io.to_netcdf)
    to_zarr = method(io.to_zarr)
    to_geotiff = method(io.to_geotiff)

    @property
    def plot(self) -> PlotAccessor:
        """Figures for a paper: ``.plot()``, ``.plot.spectral()``, ..."""
        return PlotAccessor(self._obj)


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
