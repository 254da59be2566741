"""Maps: the true colour, the attribution in space, the segments; linked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from xrxai.live.board import Tools, page, thinned, tools
from xrxai.live.ground import LARGER, frame, image, outlines, picture
from xrxai.plot.maps import panel_names, picture_for
from xrxai.plot.picture import TRUE_COLOUR, Picture, Stretch
from xrxai.plot.reading import Map, picture_of, read_map
from xrxai.plot.style import EDGE_COLOUR, MapKind
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
    made = picture_for(explanation_or_cube, cube, wavelengths, stretch)
    return picture(tool, made, size=LARGER)


def spatial(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    target: str | None = None,
    segments: bool | xr.DataArray = True,
    robust: bool = True,
    kind: MapKind | None = None,
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
    kind : {"diverging", "grey", "heat"}, optional
        Colours of the map; see the static figure, ``.plot.spatial``.

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
    read = read_map(seen, segments=segments, robust=robust, kind=kind)
    dtype = seen.attribution.dtype
    panels: list[Any] = []
    for name in panel_names(seen, read, shown):
        first = not panels
        if name == "true_colour" and shown is not None:
            panels.append(picture(tool, shown, first=first))
        elif name == "attribution":
            panels.append(image(tool, read, dtype, first=first))
        else:
            panels.append(_segments(tool, read, dtype, shown, first=first))
    return page(tool.hv, panels, " — ".join(head(seen)), columns=len(panels))


def _segments(tool: Tools, read: Map, dtype: Any, shown: Picture | None, *, first: bool) -> Any:
    """Make the panel of outlines over the grey scene, ids under the pointer."""
    under = image(tool, read, dtype, colorbar=False, alone=True, first=first)
    unseen = under.opts(tool.hv.opts.Image(alpha=0.0))  # it still answers the pointer
    layers = [unseen, outlines(tool, read, colour=EDGE_COLOUR, width=1.0)]
    if shown is not None:
        layers = [picture(tool, shown, grey=True), *layers]
    look = frame(read.placed, f"Segments (point at one){thinned(read.step)}", first=first)
    return tool.hv.Overlay(layers).opts(tool.hv.opts.Overlay(**look))
