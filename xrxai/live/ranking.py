"""Bars: how much each band group, or each of the strongest segments, contributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xrxai.live.board import FONTS, lines, over, signs, tools
from xrxai.plot.ranking import MOST_DOTS, Bars, read_bars
from xrxai.plot.style import LINE_COLOUR
from xrxai.plot.view import head, view

if TYPE_CHECKING:
    import holoviews as hv

WIDTH, BAR = 460, 30


def bars(
    explanation: xr.Dataset,
    *,
    target: str | None = None,
    groups: Mapping[str, tuple[float, float]] | None = None,
    sort: Literal["wavelength", "value"] = "wavelength",
) -> hv.Overlay:
    """Show the contribution of each band group as a bar with its 95 % interval.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values per band (summed over the bands of a group), per band group,
        or per segment (the 20 strongest are shown).
    target : str, optional
        The target to show; needed when the explanation has several.
    groups : mapping of str to (float, float), optional
        Intervals in nm; by default those that `spectral` shades.
    sort : {"wavelength", "value"}
        From top to bottom by wavelength (segments: by number) or from high to low.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    ResultError
        If the explanation has values per pixel only, or several targets.
    BandError
        If there are no wavelengths to group bands by.
    OptionError
        If hvPlot is not installed.
    """
    tool = tools()
    seen = view(explanation, target)
    made = read_bars(seen, groups, sort)
    table = _table(made)
    first = made.ylabel or "group"
    told = [c for c in ("from", "to") if c in table]
    layers: list[Any] = [
        tool.hvplot(table)
        .barh(x=first, y="attribution", c="colour", hover_cols=told, bar_width=0.62)
        .opts(
            alpha=0.85,
            line_width=0,
            hover_tooltips=[(first, f"@{first}"), (made.label, "@attribution"), *_told(told)],
            backend="bokeh",
        )
    ]
    dots = made.summary.samples
    if dots is not None and len(dots) <= MOST_DOTS:
        drawn = tool.hvplot(_dots(made, first)).scatter(x=first, y="attribution", hover=False)
        layers.append(drawn.opts(color="black", alpha=0.45, size=4, jitter=0.4, backend="bokeh"))
    if told:
        known = table.dropna(subset=["attribution", *told])
        known = known.assign(
            below=known["attribution"] - known["from"], above=known["to"] - known["attribution"]
        )
        drawn = tool.hvplot(known).errorbars(
            x=first, y="attribution", yerr1="below", yerr2="above", color=LINE_COLOUR
        )
        layers.append(drawn.opts(hooks=[over], backend="bokeh"))
    layers.append(tool.hv.HLine(0.0).opts(color="black", line_width=0.8, backend="bokeh"))
    below_head = f"{made.title} {made.note}".rstrip()
    look = {
        "frame_width": WIDTH,
        "frame_height": BAR * max(len(made.shown), 3),
        "invert_axes": True,
        "invert_yaxis": True,
        "xlabel": made.ylabel,
        "ylabel": made.label,
        "title": f"{lines(head(seen), WIDTH)}\n{below_head}",
        "toolbar": "below",
        "fontsize": FONTS,
        "show_legend": False,
    }
    return tool.hv.Overlay(layers).opts(tool.hv.opts.Overlay(**look, backend="bokeh"))


def _told(columns: list[str]) -> list[tuple[str, str]]:
    return [(name, f"@{name}") for name in columns]


def _table(made: Bars) -> pd.DataFrame:
    """Return a row per bar, from top to bottom."""
    positive, negative = signs()
    value = made.summary.value[made.shown]
    drawn = np.nan_to_num(value)
    table = pd.DataFrame(
        {
            made.ylabel or "group": [made.names[k] for k in made.shown],
            "attribution": drawn,
            "colour": np.where(drawn >= 0, positive, negative),
        }
    )
    if made.summary.low is not None and made.summary.high is not None:
        table["from"], table["to"] = made.summary.low[made.shown], made.summary.high[made.shown]
    return table


def _dots(made: Bars, first: str) -> pd.DataFrame:
    """Return a row per sample and bar."""
    assert made.summary.samples is not None
    values = made.summary.samples[:, made.shown]
    names = [made.names[k] for k in made.shown]
    return pd.DataFrame({first: np.tile(names, len(values)), "attribution": values.ravel()})
