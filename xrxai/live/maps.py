"""Maps: the true colour, the attribution in space, the segments; linked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.live.board import Tools, page, thinned, tools
from xrxai.live.ground import frame, image, outlines, picture
from xrxai.plot.maps import Map, panel_names, picture_for, picture_of, read_map
from xrxai.plot.picture import TRUE_COLOUR, Picture, Stretch
from xrxai.plot.style import EDGE_COLOUR
from xrxai.plot.view import head, view

if TYPE_CHECKING:
    import holoviews as hv


def rgb(
    explanation_or_cube: xr.Dataset | xr.DataArray,
    cube: xr.DataArray | None = None,
    *,
    wavelengths: Sequence[float] = TRUE_COLOUR,
    stretch: Stretch = "channel",
) -> hv.RGB:
    """Show the scene in true colour.

    Parameters
    ----------
    explanation_or_cube : xarray.Dataset or xarray.DataArray
        An explanation, whose quick look is shown, or a cube (band, y, x).
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained. With it, pixels that were measured but not
        explained are pale instead of grey.
    wavelengths : sequence of 3 floats
        Centres of red, green and blue in nm; see the static figure, ``.plot.rgb``.
    stretch : {"channel", "joint", "none"} or tuple of 2 floats
        Contrast; see the static figure.

    Returns
    -------
    holoviews.RGB

    Raises
    ------
    ResultError
        If the explanation has no quick look and no cube was given, or has several samples.
    BandError
        If the cube has no band near one of the wavelengths.
    OptionError
        If hvPlot is not installed.
    """
    tool = tools()
    return picture(tool, picture_for(explanation_or_cube, cube, wavelengths, stretch))


def spatial(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    target: str | None = None,
    segments: bool | xr.DataArray = True,
    robust: bool = True,
) -> hv.Layout:
    """Show where in the scene the evidence lies, beside its true colour.

    The maps move and zoom together. Under the pointer are the value and, where there are any, the
    segment.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values in space: per pixel (summed over bands), per window or per
        segment.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained; see `rgb`.
    target : str, optional
        The target to show; needed when the explanation has several.
    segments : bool or xarray.DataArray
        True outlines the explanation's own segments and adds a panel of them over the scene. A
        DataArray (y, x) of ids outlines those; 0 is outside. False draws no lines.
    robust : bool
        Colour limits at the 98th percentile of ``|attribution|`` (99th when nothing is
        negative); False takes the largest, which a few pixels may decide.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    ResultError
        If the explanation has no values in space, or several samples or targets.
    OptionError
        If hvPlot is not installed.
    """
    tool = tools()
    seen = view(explanation, target)
    shown = picture_of(seen, cube)
    read = read_map(seen, segments=segments, robust=robust)
    values = read.values.astype(seen.attribution.dtype)  # half to send to the browser, nothing lost
    panels: list[Any] = []
    for name in panel_names(seen, read, shown):
        first = not panels
        if name == "true_colour" and shown is not None:
            panels.append(picture(tool, shown, first=first))
        elif name == "attribution":
            panels.append(_attribution(tool, read, values, first=first))
        else:
            panels.append(_segments(tool, read, values, shown, first=first))
    return page(tool.hv, panels, " — ".join(head(seen)), columns=len(panels))


def _attribution(tool: Tools, read: Map, values: np.ndarray, *, first: bool) -> Any:
    """Make the map of the attribution, its segments outlined."""
    made = image(
        tool,
        values,
        read.step,
        read.placed,
        read.scaled,
        read.title,
        read.label,
        ids=read.ids,
        first=first,
    )
    if read.ids is None:
        return made
    lines = outlines(tool, read.ids, read.placed, read.step, colour="black", width=0.5)
    return made * lines


def _segments(
    tool: Tools, read: Map, values: np.ndarray, shown: Picture | None, *, first: bool
) -> Any:
    """Make the panel of outlines over the grey scene, ids under the pointer."""
    assert read.ids is not None
    under = image(
        tool,
        values,
        read.step,
        read.placed,
        read.scaled,
        "",
        read.label,
        ids=read.ids,
        colorbar=False,
        first=first,
    ).opts(alpha=0.0, backend="bokeh")  # unseen, it still answers the pointer
    lines = outlines(tool, read.ids, read.placed, read.step, colour=EDGE_COLOUR, width=1.0)
    layers = [under, lines] if shown is None else [picture(tool, shown, grey=True), under, lines]
    title = f"Segments (point at one){thinned(read.step)}"
    overlay = tool.hv.Overlay(layers)
    look = frame(read.placed, title, first=first)
    return overlay.opts(tool.hv.opts.Overlay(**look))
