"""The look of figures in Bokeh: that of the static ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.plot.axis import Axis, Group

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STRIP_WIDTH = 520


def room(values: Floats, *, zero: bool) -> tuple[float, float]:
    """Return the range of an axis around values, with zero in it where it matters."""
    finite = values[np.isfinite(values)]
    if zero:
        finite = np.append(finite, 0.0)
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def dress(strip: Any) -> None:
    """Give a figure the look of the static ones."""
    strip.title.text_font_size = "10pt"
    strip.outline_line_color = "#dddddd"
    strip.grid.grid_line_color = None
    for axis in strip.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "9pt"
        axis.major_label_text_font_size = "8pt"
        axis.minor_tick_line_color = None
    strip.toolbar.logo = None


def name_groups(strip: Any, groups: list[Group], axis: Axis | None) -> float:
    """Write the names of groups over a strip, upright where they are too long for it.

    Returns what has to be free above the values for them, as a share of their range.
    """
    from bokeh.models import Label

    if axis is None:
        return 0.0
    left, right = axis.limits
    taken, tall = -np.inf, 0.0
    pieces = [(low, high, g) for g in groups for low, high in g.intervals]
    for low, high, group in sorted(pieces, key=lambda piece: piece[:2]):
        low, high = max(low, left), min(high, right)
        if not low < high:
            continue
        pixels, length = (high - low) / (right - left) * STRIP_WIDTH, 6.2 * len(group.name)
        flat = length <= pixels + 4
        place = ((low + high) / 2 - left) / (right - left) * STRIP_WIDTH
        half = length / 2 if flat else 7
        if place - half < taken:
            continue
        taken = place + half
        tall = max(tall, 15.0 if flat else length)
        strip.add_layout(
            Label(
                x=(low + high) / 2, y=strip.frame_height - 3, y_units="screen", text=group.name,
                text_color=group.colour, text_font_size="8pt", angle=0 if flat else np.pi / 2,
                text_align="center" if flat else "right",
                text_baseline="top" if flat else "middle",
            )
        )  # fmt: skip
    share = min(tall / float(strip.frame_height), 0.5)
    return share / (1 - share)
