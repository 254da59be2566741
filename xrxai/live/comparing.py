"""The targets of an explanation beside each other: maps in one colour scale, strips on one axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr

from xrxai.live.board import Tools, page, tools
from xrxai.live.ground import image, picture
from xrxai.live.strips import LOWER, attribution_strip, cube_strip, limits_of
from xrxai.plot.comparing import has_strips, map_targets, strip_name, strip_targets
from xrxai.plot.strips import remark, said
from xrxai.plot.style import method_name
from xrxai.plot.view import View, every_target

if TYPE_CHECKING:
    import holoviews as hv

MOST_COLUMNS = 3


def targets(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    groups: Mapping[str, tuple[float, float]] | None = None,
    robust: bool = True,
) -> hv.Layout:
    """Show every target of an explanation: what differs between them, on one scale.

    Values in space give a map per target (summed over bands or groups); values along the
    spectrum give a strip per target as in `spectral`. They move and zoom together. For some of
    the targets only, type ``explanation.sel(target=[...]).xai.hvplot.targets()``.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation of one target or more.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained: its true colour becomes the first panel of
        maps, its spectrum the uppermost strip.
    groups : mapping of str to (float, float), optional
        Intervals in nm that strips shade; by default those of `spectral`.
    robust : bool
        Colour limits at the 98th percentile of ``|attribution|`` of all targets (99th when
        nothing is negative); False takes the largest.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    ResultError
        If the Dataset is not an explanation, or has several samples of maps.
    OptionError
        If hvPlot is not installed.
    """
    tool = tools()
    each = every_target(explanation)
    if has_strips(next(iter(each.values()))):
        return _strips(tool, each, cube, groups)
    made, words = map_targets(explanation, cube, groups, robust=robust)
    count = len(made.names)
    columns = 2 if count == 4 else min(count, MOST_COLUMNS)
    panels: list[Any] = []
    if made.picture is not None:
        panels.append(picture(tool, made.picture))
    for drawn in made.maps.values():
        column = len(panels) % columns
        panels.append(
            image(
                tool,
                drawn,
                explanation["attribution"].dtype,
                first=column == 0,
                colorbar=column == columns - 1,  # in the last column no map is pushed aside
            )
        )
    return page(tool.hv, panels, " — ".join(words), columns=columns)


def _strips(
    tool: Tools,
    each: Mapping[str, View],
    cube: xr.DataArray | None,
    groups: Mapping[str, tuple[float, float]] | None,
) -> Any:
    """Put a strip of every target below the other, with the y limits that hold them all."""
    read = strip_targets(each, cube, groups)
    top = next(iter(read.values()))
    panels = [cube_strip(tool, top)] if cube is not None and top.context is not None else []
    told = [strips for strips in read.values() if not remark(strips)] or [top]
    low, high = zip(*(limits_of(strips) for strips in told), strict=True)
    for k, (name, strips) in enumerate(read.items()):
        last = k == len(read) - 1
        made = attribution_strip(
            tool,
            strips,
            named=not panels,
            title=strip_name(name, strips),
            limits=(min(low), max(high)),
            height=LOWER // 2,
        )
        panels.append(made if last else made.opts(xaxis="bare"))
    said_once = said(top)
    words = [method_name(top.seen.dataset), said_once[:1].lower() + said_once[1:]]
    return page(tool.hv, panels, " — ".join(words), columns=1)
