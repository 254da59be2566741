"""Spectra: reflectance above, attribution below, on one axis of wavelengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError
from xrxai.labelled.cube import locate
from xrxai.plot.axis import Axis, groups_of, spectral_axis
from xrxai.plot.strips import Strips, draw_strips
from xrxai.plot.style import (
    canvas,
    head_line,
    house_style,
    named_axes,
    unit_label,
    whole_figure,
)
from xrxai.plot.summary import per_feature
from xrxai.plot.view import PIXELS_FOR_STATISTICS, View, head, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def spectral(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    target: str | None = None,
    groups: Mapping[str, tuple[float, float]] | None = None,
    axes: Axes | Mapping[str, Axes] | None = None,
) -> Figure:
    """Draw at which wavelengths the evidence lies, under the spectrum of the scene.

    Two strips share the axis of wavelengths: the cube's mean with its 5-95 % range, and the
    attribution. Per band it is a line (with the interquartile range over pixels), per group a
    step over the wavelengths of its bands with its confidence interval; the steps of a group in
    several pieces are joined by a dashed line. Along a `sample` dim every sample is a grey line
    under their mean and its 95 % t-interval. An aggregate shows the interval that it holds, and
    each of its classes as a line with a name and a legend.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values per band or band group.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained: its spectrum is drawn where the explanation
        carries none.
    target : str, optional
        The target to draw; needed when the explanation has several.
    groups : mapping of str to (float, float), optional
        Intervals in nm to shade and name. By default blue, green, red, red edge, NIR and two
        SWIR windows as far as the sensor has them; ``{}`` shades none. An explanation per group
        shows its own.
    axes : matplotlib.axes.Axes or mapping of str to Axes, optional
        Where to draw: the attribution alone, or strips by name out of "reflectance" and
        "spectrum".

    Returns
    -------
    matplotlib.figure.Figure
        Its strips are named by ``ax.get_label()``.

    Raises
    ------
    ResultError
        If the explanation has no values along the spectrum, or several targets.
    """
    read = read_strips(view(explanation, target), cube, groups)
    if axes is not None:
        panels = named_axes(axes, "spectrum", ("reflectance", "spectrum"))
        with house_style():
            draw_strips(panels, read)
        return whole_figure(panels)
    with canvas(6.4, 4.0 if strip_names(read) == ["spectrum"] else 4.6) as figure:
        head_line(figure, head(read.seen))
        draw_strips(add_strips(figure, read), read)
    return figure


def read_strips(
    seen: View, cube: xr.DataArray | None, groups: Mapping[str, tuple[float, float]] | None
) -> Strips:
    """Compute what the strips show, of one target."""
    if seen.kind in ("segments", "map"):
        raise ResultError(
            f"{seen.dataset.attrs.get('method', 'This explanation')} has no values along the "
            f"spectrum (attribution is per {seen.feature or 'pixel'}). Plot .spatial() instead."
        )
    axis = spectral_axis(seen)
    found = groups_of(seen, axis, groups)
    summary = per_feature(seen)
    context, label = None, ""
    if not seen.lead or summary.over == "classes":
        if "spectrum" in seen.dataset and set(seen.dataset["spectrum"].dims) == {
            "statistic",
            seen.band,
        }:
            spectrum = seen.dataset["spectrum"]
            chosen = spectrum.transpose("statistic", seen.band).sel(
                statistic=["mean", "p05", "p95"]
            )
            context = np.asarray(chosen.to_numpy(), dtype=np.float64)
            label = unit_label(spectrum, "cube", 16)
        elif cube is not None:
            context, label = _from_cube(cube, axis), unit_label(cube, "cube", 16)
    return Strips(seen, axis, found, summary, context, label)


def _from_cube(cube: xr.DataArray, axis: Axis) -> NDArray[np.float64]:
    found = locate(cube)
    if cube.sizes[found.band] != axis.x.size:
        raise OptionError(
            f"The cube has {cube.sizes[found.band]} bands and the explanation {axis.x.size}: "
            "pass the cube that was explained."
        )
    others = [str(d) for d in cube.dims if d != found.band]
    count = int(np.prod([cube.sizes[d] for d in others]))
    step = max(1, int(np.ceil((count / PIXELS_FOR_STATISTICS) ** (1 / max(len(others), 1)))))
    some = {d: slice(None, None, step) for d in others}
    values = cube.isel(some).transpose(*others, found.band).to_numpy().astype(np.float64)
    keep = found.valid().isel(some).transpose(*others).to_numpy()
    spectra = values[keep]
    out = np.full((3, axis.x.size), np.nan)
    if spectra.shape[0]:
        use = axis.good
        out[0, use] = spectra[:, use].mean(axis=0)
        out[1:, use] = np.percentile(spectra[:, use], (5, 95), axis=0)
    return out


def strip_names(read: Strips) -> list[str]:
    """Return the strips that apply, from top to bottom."""
    return ["spectrum"] if read.context is None else ["reflectance", "spectrum"]


def add_strips(figure: Any, read: Strips, place: Any = None) -> dict[str, Axes]:
    """Make the axes of the strips in a figure, or in one cell of its grid."""
    names = strip_names(read)
    ratios = [1.0, 2.1][-len(names) :]
    cells = (
        figure.add_gridspec(len(names), 1, height_ratios=ratios)
        if place is None
        else place.subgridspec(len(names), 1, height_ratios=ratios)
    )
    made: dict[str, Axes] = {}
    for row, name in enumerate(names):
        made[name] = figure.add_subplot(cells[row], sharex=next(iter(made.values()), None))
    return made
