"""The overview: every panel that applies to an explanation, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from xrxai.plot.maps import draw_maps, draw_picture, page_size, panel_names
from xrxai.plot.picture import Picture
from xrxai.plot.ranking import Bars, draw_bars, read_bars
from xrxai.plot.reading import Map, picture_of, read_map
from xrxai.plot.spectra import add_strips, read_strips
from xrxai.plot.strips import Strips, draw_strips
from xrxai.plot.style import MapKind, canvas, check_kind, head_line
from xrxai.plot.view import View, head, view

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overview(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    target: str | None = None,
    groups: Mapping[str, tuple[float, float]] | None = None,
    robust: bool = True,
    kind: MapKind | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw an explanation of one target on one page: where, at which wavelengths, how sure.

    Values per pixel and band give true colour and the sum over bands, the spectral strips of
    `spectral` and the bars of `bars`. Results per band group, per segment, per band or per
    window give the panels of these that apply; several samples give their mean.

    Parameters
    ----------
    explanation : xarray.Dataset
        What a method such as ``xrxai.lime_spectral(cube, model)`` returned.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained. With it, pixels that were measured but not
        explained are shown pale instead of grey.
    target : str, optional
        The target to draw; needed when the explanation has several.
    groups : mapping of str to (float, float), optional
        Intervals in nm to shade and sum over; by default those of `spectral`.
    robust : bool
        Colour limits at the 98th percentile of ``|attribution|``; False takes the largest.
    kind : {"diverging", "grey", "heat"}, optional
        Colours of the map, see `spatial`; by default two when there are two signs.
    figsize : tuple of 2 floats, optional
        Width and height in inches; by default they fit the panels.

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named by ``ax.get_label()``: "true_colour", "attribution", "segments",
        "reflectance", "spectrum", "groups".

    Raises
    ------
    ResultError
        If the Dataset is not an explanation, or has several targets, or several samples of maps.

    Examples
    --------
    >>> figure = overview(why, cube, target="K")  # doctest: +SKIP
    >>> figure.savefig("why_potassium.pdf")  # doctest: +SKIP
    """
    check_kind(kind)
    seen = view(explanation, target)
    # Everything is read before a figure exists.
    if seen.lead and seen.kind in ("cube", "bands", "groups"):
        strips = read_strips(seen, cube, groups)
        return _spectral_page(seen, None, strips, _bars_or_none(strips, groups), figsize)
    in_space = seen.per_pixel or seen.kind == "segments"
    drawn = read_map(seen, robust=robust, kind=kind) if in_space else None
    picture = picture_of(seen, cube) if seen.y and seen.x else None
    if drawn is not None and seen.kind in ("segments", "map"):
        return _map_page(seen, drawn, picture, figsize)
    strips = read_strips(seen, cube, groups)
    # Occluded windows overlap: their bands do not add up to groups.
    table = (
        None
        if seen.dataset.attrs.get("method") == "occlusion_spectral"
        else (_bars_or_none(strips, groups))
    )
    if drawn is None:
        return _spectral_page(seen, picture, strips, table, figsize)
    return _full_page(seen, drawn, picture, strips, table, figsize)


def _bars_or_none(strips: Strips, groups: Mapping[str, tuple[float, float]] | None) -> Bars | None:
    return read_bars(strips.seen, groups) if strips.groups else None


def _full_page(
    seen: View,
    drawn: Map,
    picture: Picture | None,
    strips: Strips,
    table: Bars | None,
    figsize: tuple[float, float] | None,
) -> Figure:
    names = [n for n in panel_names(seen, drawn, picture) if n != "segments"]
    upper = 3.55 * min(max(drawn.placed.ratio(), 0.35), 1.4) + 0.75
    lower = 3.35
    width, height = figsize or (9.6, upper + lower + 0.3)
    with canvas(width, height) as figure:
        head_line(figure, head(seen))
        top, bottom = figure.subfigures(2, 1, height_ratios=(upper, lower), squeeze=False)[:, 0]
        row = top.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
        draw_maps(dict(zip(names, row, strict=True)), drawn, picture)
        widths = (1.6, 1.0) if table else (1.0,)
        cells = bottom.add_gridspec(1, len(widths), width_ratios=widths)
        draw_strips(add_strips(bottom, strips, cells[0]), strips)
        if table:
            draw_bars(bottom.add_subplot(cells[1]), table)
    return figure


def _map_page(
    seen: View, drawn: Map, picture: Picture | None, figsize: tuple[float, float] | None
) -> Figure:
    names = panel_names(seen, drawn, picture)
    default = page_size(len(names), drawn)
    with canvas(*(figsize or default)) as figure:
        head_line(figure, head(seen))
        row = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
        draw_maps(dict(zip(names, row, strict=True)), drawn, picture)
    return figure


def _spectral_page(
    seen: View,
    picture: Picture | None,
    strips: Strips,
    table: Bars | None,
    figsize: tuple[float, float] | None,
) -> Figure:
    widths = [1.0] * (picture is not None) + [1.75] + [1.0] * (table is not None)
    default = (1.2 + 2.85 * sum(widths), 4.2 if strips.context is not None else 3.7)
    with canvas(*(figsize or default)) as figure:
        head_line(figure, head(seen))
        # A picture keeps its shape: in a figure of its own it does not squeeze the strips.
        parts = list(figure.subfigures(1, len(widths), width_ratios=widths, squeeze=False)[0])
        if picture is not None:
            panel = parts.pop(0).add_subplot()
            draw_picture(panel, picture)
            panel.set_anchor("N")
        part = parts.pop(0)
        draw_strips(add_strips(part, strips), strips)
        if table is not None:
            draw_bars(parts.pop(0).add_subplot(), table)
    return figure
