"""The strips of the spectral figures: layers of lines, areas and steps over shaded groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xrxai.live.board import FONTS, Tools, hatched, signs
from xrxai.plot.strips import FEW_BANDS, Strips, remark, said
from xrxai.plot.style import EDGE_COLOUR, LINE_COLOUR, SPREAD_COLOUR, unit_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Pixels of the screen: the width of both strips, the heights of the upper and the lower one.
WIDTH, UPPER, LOWER = 620, 120, 252
MARGIN = 90  # for numbers such as 8.000e-7, and the name of the axis
# What the names of groups take of a strip's height.
NAMES = 20


def cube_strip(tool: Tools, read: Strips) -> Any:
    """Make the upper strip: the mean of the cube in its 5-95 % range."""
    assert read.context is not None
    shown = np.where(read.axis.good, read.context, np.nan)
    x, (mean, low, high) = read.axis.line(shown)
    layers = [
        *_shades(tool, read, alpha=0.16),
        _ranges(tool, read, x, low, high, SPREAD_COLOUR, 0.32),
        *_line(tool, read, x, {"cube": mean, "p05": low, "p95": high}, LINE_COLOUR, 1.4),
    ]
    floor, top = _span(low, high, mean)
    limits = (min(0.0, floor), top + 0.05 * (top - floor))
    made = _strip(tool, read, layers, limits, UPPER, "Cube: mean, 5-95 %", read.context_label, True)
    return made.opts(xaxis="bare")


def attribution_strip(
    tool: Tools,
    read: Strips,
    *,
    named: bool,
    title: str | None = None,
    limits: tuple[float, float] | None = None,
    height: int = LOWER,
) -> Any:
    """Make a lower strip: the attribution per band, per group, or of many samples."""
    summary = read.summary
    layers = _shades(tool, read, alpha=0.10)
    if read.seen.kind == "groups":
        layers += _steps(tool, read)
    elif summary.samples is not None:
        layers += _samples(tool, read)
    else:
        layers += _areas(tool, read)
    layers.append(tool.hv.HLine(0.0).opts(color="black", line_width=0.8, backend="bokeh"))
    if title is None:
        title = f"{said(read)}{remark(read)}"
        if summary.low is not None and summary.interval != "95 % CI":
            title += f" (grey: {summary.interval})"
    limits = limits or limits_of(read)
    return _strip(tool, read, layers, limits, height, title, _label(read), named)


def limits_of(read: Strips) -> tuple[float, float]:
    """Return limits of y that hold an attribution, its interval and zero."""
    if remark(read):
        return -1.0, 1.0
    summary = read.summary
    shown = (summary.value, summary.low, summary.high, summary.samples)
    low, high = _span(*(v for v in shown if v is not None))
    low, high = min(low, 0.0), max(high, 0.0)
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def _strip(
    tool: Tools,
    read: Strips,
    layers: list[Any],
    limits: tuple[float, float],
    height: int,
    title: str,
    label: str,
    named: bool,
) -> Any:
    """Overlay the layers of a strip; a named one carries the names of groups along its top."""
    low, high = limits
    if named and read.groups:
        high += (high - low) * NAMES / (height - NAMES)
    look = {
        "frame_width": WIDTH,
        "frame_height": height,
        "xlim": read.axis.limits,
        "ylim": (low, high),
        "xlabel": read.axis.label,
        "ylabel": label,
        "yticks": 6 if height == LOWER else 3,
        "title": title,
        "fontsize": FONTS,
        "show_legend": False,
        "hooks": [_margin, *([_name_groups(read)] if named else [])],
    }
    return tool.hv.Overlay(layers).opts(tool.hv.opts.Overlay(**look, backend="bokeh"))


def _margin(plot: Any, element: Any) -> None:
    """Leave the same room for the numbers of every strip, as a hook: else frames shrink."""
    plot.state.min_border_left = MARGIN


def _name_groups(read: Strips) -> Any:
    """Make a hook that writes the names of groups; they stay at the top whatever the zoom."""

    def write(plot: Any, element: Any) -> None:
        from bokeh.models.annotations import Label

        figure = plot.state
        if figure.select({"name": "group_name"}):
            return
        left, right = read.axis.limits
        for group in read.groups:
            for low, high in group.intervals:
                low, high = max(low, left), min(high, right)
                if not low < high or (high - low) / (right - left) * WIDTH < 6 * len(group.name):
                    continue  # no room: the bars name it
                figure.add_layout(
                    Label(
                        x=(low + high) / 2,
                        y=figure.frame_height - 3,
                        y_units="screen",
                        text=group.name,
                        text_color=group.colour,
                        text_font_size="8pt",
                        text_align="center",
                        text_baseline="top",
                        name="group_name",
                    )
                )

    return write


def _shades(tool: Tools, read: Strips, *, alpha: float) -> list[Any]:
    """Colour the intervals of groups, and the bands that are not used."""
    x = "wavelength" if read.axis.nm else "band"
    made = []
    for group in read.groups:
        spans = [(low, high) for low, high in group.intervals if np.isfinite(low)]
        if spans:
            element = tool.hv.VSpans(spans, [x, "to"], label=group.name)
            made.append(element.opts(color=group.colour, alpha=alpha, line_width=0))
    unused = read.axis.runs(~read.axis.good)
    if unused:
        element = tool.hv.VSpans(unused, [x, "to"], label="not used")
        made.append(element.opts(color="#e4e4e4", line_width=0, hooks=[hatched]))
    return made


def _line(
    tool: Tools, read: Strips, x: Floats, values: dict[str, Floats], colour: str, width: float
) -> list[Any]:
    """Draw the first of the values as a line that breaks at gaps, and tell all of them."""
    name = "wavelength" if read.axis.nm else "band"
    table = pd.DataFrame({name: x, **values})
    first, *others = values
    places = "@wavelength{0.0} nm" if read.axis.nm else "@band"
    label = read.context_label if first == "cube" else _label(read)
    told = [(name, places), (label, f"@{first}"), *((other, f"@{other}") for other in others)]
    options = {"x": name, "y": first, "color": colour}
    speaks = {"hover_cols": others, "hover": "vline", "hover_tooltips": told}
    made = [tool.hvplot(table).line(**options, **speaks, line_width=width)]
    if read.axis.x.size <= FEW_BANDS:  # between two of them a line is only a guide
        known = table.dropna(subset=[name, first])
        made.append(tool.hvplot(known).scatter(**options, size=18, hover=False))
    return made


def _ranges(
    tool: Tools, read: Strips, x: Floats, low: Floats, high: Floats, colour: str, alpha: float
) -> Any:
    """Fill between two curves, which HoloViews interrupts at gaps as it does lines."""
    name = "wavelength" if read.axis.nm else "band"
    table = pd.DataFrame({name: x, "from": low, "to": high})
    drawn = tool.hvplot(table).area(x=name, y="from", y2="to", color=colour, hover=False)
    return drawn.opts(alpha=alpha, line_width=0, backend="bokeh")


def _areas(tool: Tools, read: Strips) -> list[Any]:
    """Fill the attribution per band: red above zero, blue below, its spread in grey."""
    summary, (positive, negative) = read.summary, signs()
    x, value = read.axis.line(summary.value)
    made: list[Any] = []
    told = {"attribution": value}
    if summary.low is not None and summary.high is not None:
        (_, low), (_, high) = read.axis.line(summary.low), read.axis.line(summary.high)
        made.append(_ranges(tool, read, x, low, high, SPREAD_COLOUR, 0.42))
        told |= {"from": low, "to": high}
    at, through = _with_zeros(x, value)
    zero = np.where(np.isfinite(through), 0.0, np.nan)
    made.append(_ranges(tool, read, at, zero, np.maximum(through, 0.0), positive, 0.8))
    made.append(_ranges(tool, read, at, np.minimum(through, 0.0), zero, negative, 0.8))
    return made + _line(tool, read, x, told, "black", 1.1)


def _samples(tool: Tools, read: Strips) -> list[Any]:
    """Draw every sample as a thin line under their mean and its interval."""
    summary = read.summary
    assert summary.samples is not None
    x, lines = read.axis.line(summary.samples)
    _, value = read.axis.line(summary.value)
    name = "wavelength" if read.axis.nm else "band"
    each = tool.hv.Path([np.column_stack([x, line]) for line in lines], [name, "attribution"])
    made = [each.opts(color="#777777", line_width=0.6, alpha=0.7, backend="bokeh")]
    told = {"attribution": value}
    if summary.low is not None and summary.high is not None:
        (_, low), (_, high) = read.axis.line(summary.low), read.axis.line(summary.high)
        made.append(_ranges(tool, read, x, low, high, EDGE_COLOUR, 0.28))
        told |= {"from": low, "to": high}
    return made + _line(tool, read, x, told, EDGE_COLOUR, 2.0)


def _steps(tool: Tools, read: Strips) -> list[Any]:
    """Draw a step per group over its bands, with its interval; a dashed line joins its pieces."""
    summary, (positive, negative) = read.summary, signs()
    name = "wavelength" if read.axis.nm else "band"
    ends = [name, "attribution", "right", "top"]
    error = summary.error
    boxes, tops, joins, spreads, bars = [], [], [], [], []
    for k, group in enumerate(read.groups):
        value = float(summary.value[k])
        if not (np.isfinite(value) and np.isfinite(group.widest[0])):
            continue
        colour = positive if value >= 0 else negative
        below, above = (np.nan, np.nan) if error is None else (error[0, k], error[1, k])
        for low, high in group.intervals:
            shown = (group.name, value, value - below, value + above)
            boxes.append((low, min(value, 0.0), high, max(value, 0.0), colour, *shown))
            tops.append((low, value, high, value, colour))
        for (_, end), (start, _) in zip(group.intervals, group.intervals[1:], strict=False):
            joins.append((end, value, start, value, colour))
        if np.isfinite(below) and np.isfinite(above):
            low, high = group.widest
            if summary.over == "pixels":
                spreads.append((low, value - below, high, value + above))
            else:
                bars.append(((low + high) / 2, value, below, above))
    hv = tool.hv
    made = []
    if spreads:
        spread = hv.Rectangles(spreads, ends)
        made.append(spread.opts(color=SPREAD_COLOUR, alpha=0.42, line_width=0, backend="bokeh"))
    told_as = ["colour", "group", "value", "from", "to"]
    filled = hv.Rectangles(boxes, ends, told_as)
    told = [("group", "@group"), (_label(read), "@value"), ("from", "@from"), ("to", "@to")]
    look = {"tools": ["hover"], "hover_tooltips": told if error is not None else told[:2]}
    made.append(filled.opts(color="colour", alpha=0.6, line_width=0, **look))
    made.append(hv.Segments(tops, ends, "colour").opts(color="colour", line_width=2.2))
    if joins:
        dashes = {"line_dash": "dashed", "line_width": 0.8}
        made.append(hv.Segments(joins, ends, "colour").opts(color="colour", **dashes))
    if bars:
        table = pd.DataFrame(bars, columns=[name, "attribution", "below", "above"])
        drawn = tool.hvplot(table).errorbars(
            x=name, y="attribution", yerr1="below", yerr2="above", color=LINE_COLOUR
        )
        made.append(drawn)
    return made


def _label(read: Strips) -> str:
    return unit_label(read.seen.attribution, "attribution")


def _with_zeros(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Add the points at which a line changes sign, so that its two colours meet there."""
    with np.errstate(invalid="ignore"):
        cross = np.flatnonzero(y[:-1] * y[1:] < 0)
    share = y[cross] / (y[cross] - y[cross + 1])
    at = x[cross] + share * (x[cross + 1] - x[cross])
    return np.insert(x, cross + 1, at), np.insert(y, cross + 1, 0.0)


def _span(*values: Floats) -> tuple[float, float]:
    """Return the least and the largest of all values, 0 and 1 where there are none."""
    every = np.concatenate([np.ravel(v) for v in values])
    every = every[np.isfinite(every)]
    return (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
