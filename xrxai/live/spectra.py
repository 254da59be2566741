"""Spectra: reflectance above, attribution below, on one axis of wavelengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from xrxai.live.board import page, tools
from xrxai.live.strips import attribution_strip, cube_strip
from xrxai.plot.spectra import read_strips
from xrxai.plot.view import head, view

if TYPE_CHECKING:
    import holoviews as hv


def spectral(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    target: str | None = None,
    groups: Mapping[str, tuple[float, float]] | None = None,
) -> hv.Layout:
    """Show at which wavelengths the evidence lies, under the spectrum of the scene.

    Two strips share the axis of wavelengths: the cube's mean with its 5-95 % range, and the
    attribution, red above zero and blue below. They show the numbers of the static figure,
    ``.plot.spectral``, which are told under the pointer.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values per band or band group.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained: its spectrum is shown where the explanation
        carries none.
    target : str, optional
        The target to show; needed when the explanation has several.
    groups : mapping of str to (float, float), optional
        Intervals in nm to shade and name; by default those of the static figure, ``{}`` shades
        none. An explanation per group shows its own.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    ResultError
        If the explanation has no values along the spectrum, or several targets.
    OptionError
        If hvPlot is not installed.
    """
    tool = tools()
    read = read_strips(view(explanation, target), cube, groups)
    strips = [] if read.context is None else [cube_strip(tool, read)]
    strips.append(attribution_strip(tool, read, named=not strips))
    return page(tool.hv, strips, " — ".join(head(read.seen)), columns=1)
