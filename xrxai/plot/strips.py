"""The drawing of the two strips: the spectrum of the scene, and the attribution along it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.errors import ResultError
from xrxai.plot.axis import Axis, Group, name_groups, shade
from xrxai.plot.classed import draw_class_lines, draw_class_steps
from xrxai.plot.style import EDGE_COLOUR, LINE_COLOUR, SPREAD_COLOUR, sign_colours, unit_label
from xrxai.plot.summary import Summary
from xrxai.plot.view import View, steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Up to this many bands each is marked: between two of them a line is only a guide.
FEW_BANDS = 40


@dataclass(frozen=True)
class Strips:
    """What the two strips show; `context` is mean, P5 and P95 of the cube, (3, band)."""

    seen: View
    axis: Axis
    groups: list[Group]
    summary: Summary
    context: NDArray[np.float64] | None
    context_label: str


def draw_strips(panels: Mapping[str, Axes], read: Strips) -> None:
    """Draw the strips that have a panel; the uppermost carries title and group names."""
    upper = True
    for name, ax in panels.items():
        draw_strip(ax, name, read)
        if upper:
            height = name_groups(ax, read.groups, read.axis)
            ax.set_title(f"{said(read)}{remark(read)}", pad=4 + height)
        upper = False
    last = list(panels.values())[-1]
    for ax in panels.values():
        if ax is not last:
            ax.tick_params(labelbottom=False)
    last.set_xlabel(read.axis.label)
    last.figure.align_ylabels(list(panels.values()))


def draw_strip(ax: Axes, name: str, read: Strips) -> None:
    """Draw one strip, "reflectance" or "spectrum", without its title."""
    ax.set_xlim(*read.axis.limits)
    ax.tick_params(labelsize=8)
    if name == "reflectance":
        _draw_context(ax, read)
    else:
        _draw_attribution(ax, read)


def said(read: Strips) -> str:
    """Return what the attribution strip shows, in words."""
    seen, summary = read.seen, read.summary
    if summary.over == "samples":
        interval = f", {summary.interval}" if summary.interval else ""
        return f"Mean of {summary.count}{interval}"
    what = "band group" if seen.kind == "groups" else "band"
    done = steps(seen)
    over = " and ".join(map(str, done[-1].get("over", []))) if done else ""
    if summary.over == "classes":
        return f"Mean of each {summary.count}, {summary.interval}"
    if over:
        values = f" (n = {summary.known[0]})" if summary.known else ""
        return f"Mean over {over}{values}, {summary.interval}"
    mean = "Mean attribution" if summary.over == "pixels" else "Attribution"
    interval = f" ± {summary.interval}" if summary.interval == "95 % CI" else ""
    return f"{mean} per {what}{interval}"


def remark(read: Strips) -> str:
    """Return what a title adds when there is nothing to see, '' when there is."""
    if not np.isfinite(read.summary.value).any():
        return ", no valid pixels"
    drawn = (read.summary.value, read.summary.samples)
    return "" if any(np.nan_to_num(v).any() for v in drawn if v is not None) else ", all zero"


def _draw_context(ax: Axes, read: Strips) -> None:
    ax.set_label("reflectance")
    if read.context is None:
        raise ResultError(
            "There is no spectrum for the panel 'reflectance': this explanation carries none for "
            "one sample. Pass the cube: plot.spectral(explanation, cube)."
        )
    shade(ax, read.groups, read.axis, alpha=0.16)
    x, (mean, low, high) = read.axis.line(np.where(read.axis.good, read.context, np.nan))
    ax.fill_between(x, low, high, color=SPREAD_COLOUR, alpha=0.32, linewidth=0, label="5-95 %")
    ax.plot(x, mean, color=LINE_COLOUR, linewidth=1.4, **_marks(read.axis))
    floor = np.nanmin(low) if np.isfinite(low).any() else 0.0
    ax.set_ylim(bottom=min(0.0, float(floor)))
    ax.set_ylabel(read.context_label)
    ax.locator_params(axis="y", nbins=3)


def _draw_attribution(ax: Axes, read: Strips) -> None:
    ax.set_label("spectrum")
    shade(ax, read.groups, read.axis, alpha=0.10)
    if read.summary.over == "classes":
        if read.seen.kind == "groups":
            draw_class_steps(ax, read.groups, read.summary)
        else:
            draw_class_lines(ax, read.axis, read.summary)
    elif read.seen.kind == "groups":
        _draw_steps(ax, read)
    elif read.summary.samples is not None or steps(read.seen):
        _draw_mean(ax, read)
    else:
        _draw_areas(ax, read)
    ax.axhline(0.0, color="black", linewidth=0.8, zorder=2.5)
    if remark(read):
        ax.set_ylim(-1.0, 1.0)
    ax.set_ylabel(unit_label(read.seen.attribution, "attribution"))
    if read.summary.over == "classes":
        _legend(ax, read)


def _draw_areas(ax: Axes, read: Strips) -> None:
    summary, positive, negative = read.summary, *sign_colours()
    x, value = read.axis.line(summary.value)
    if summary.low is not None and summary.high is not None:
        _, low = read.axis.line(summary.low)
        _, high = read.axis.line(summary.high)
        ax.fill_between(
            x,
            low,
            high,
            color=SPREAD_COLOUR,
            alpha=0.42,
            linewidth=0,
            label=summary.interval,
            zorder=1,
        )
    with np.errstate(invalid="ignore"):
        for colour, where in ((positive, value >= 0), (negative, value <= 0)):
            ax.fill_between(
                x,
                0.0,
                value,
                where=where,
                interpolate=True,
                color=colour,
                alpha=0.8,
                linewidth=0,
                zorder=2,
            )
    label = "mean" if summary.over == "pixels" else "attribution"
    ax.plot(x, value, color="black", linewidth=1.1, label=label, zorder=3, **_marks(read.axis))
    if summary.low is not None:
        _legend(ax, read)


def _draw_mean(ax: Axes, read: Strips) -> None:
    """Draw a mean over its interval, which coloured areas would hide, and the samples behind it."""
    summary = read.summary
    x, value = read.axis.line(summary.value)
    if summary.samples is not None:
        _, lines = read.axis.line(summary.samples)
        ax.plot(x, lines.T, color="#777777", linewidth=0.6, alpha=0.7, zorder=1.5)
    if summary.low is not None and summary.high is not None:
        _, low = read.axis.line(summary.low)
        _, high = read.axis.line(summary.high)
        ax.fill_between(
            x,
            low,
            high,
            color=EDGE_COLOUR,
            alpha=0.28,
            linewidth=0,
            label=summary.interval,
            zorder=1.8,
        )
    ax.plot(x, value, color=EDGE_COLOUR, linewidth=2.0, label="mean", zorder=3, **_marks(read.axis))
    if summary.samples is not None:
        ax.plot([], [], color="#777777", linewidth=0.6, label=f"each of {summary.count}")
    _legend(ax, read)


def _draw_steps(ax: Axes, read: Strips) -> None:
    summary, positive, negative = read.summary, *sign_colours()
    error = summary.error
    for k, group in enumerate(read.groups):
        value = float(summary.value[k])
        if not (np.isfinite(value) and np.isfinite(group.widest[0])):
            continue
        colour = positive if value >= 0 else negative
        for low, high in group.intervals:
            ax.fill_between(
                [low, high], 0.0, [value, value], color=colour, alpha=0.6, linewidth=0, zorder=2
            )
            ax.plot(
                [low, high],
                [value, value],
                color=colour,
                linewidth=2.2,
                solid_capstyle="butt",
                zorder=3,
                gid=f"step:{group.name}",
            )
            if summary.samples is not None:
                ax.hlines(
                    summary.samples[:, k],
                    low,
                    high,
                    color="#555555",
                    linewidth=0.5,
                    alpha=0.6,
                    zorder=2.8,
                )
        for (_, end), (start, _) in zip(group.intervals, group.intervals[1:], strict=False):
            ax.plot(
                [end, start],
                [value, value],
                color=colour,
                linewidth=0.8,
                linestyle=(0, (3, 2)),
                zorder=2.9,
                gid=f"join:{group.name}",
            )
        if error is None or not np.isfinite(error[:, k]).all():
            continue
        low, high = group.widest
        if summary.over == "pixels":
            ax.fill_between(
                [low, high],
                value - error[0, k],
                value + error[1, k],
                color=SPREAD_COLOUR,
                alpha=0.42,
                linewidth=0,
                zorder=1,
                label=summary.interval if k == 0 else None,
            )
        else:
            ax.errorbar(
                (low + high) / 2,
                value,
                yerr=error[:, k : k + 1],
                color=LINE_COLOUR,
                linewidth=1.1,
                capsize=3.5,
                zorder=4,
            )
    if summary.over == "pixels" and error is not None:
        _legend(ax, read)


def _marks(axis: Axis) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3.0} if axis.x.size <= FEW_BANDS else {}


def _legend(ax: Axes, read: Strips) -> None:
    """Put the legend into the corner where the data leave most room."""
    summary = read.summary
    shown = [
        v for v in (summary.value, summary.low, summary.high, summary.samples) if v is not None
    ]
    table = np.concatenate([np.atleast_2d(v) for v in shown])
    at = read.axis.x
    if read.seen.kind == "groups":
        at = np.array([sum(g.widest) / 2 for g in read.groups])
    bottom, top = ax.get_ylim()
    left, right = read.axis.limits
    room: dict[str, float] = {}
    for side, inside in (
        ("left", at < left + 0.4 * (right - left)),
        ("right", at > right - 0.4 * (right - left)),
    ):
        values = np.append(table[:, inside].ravel(), 0.0)
        values = values[np.isfinite(values)]
        room[f"upper {side}"] = top - float(values.max())
        room[f"lower {side}"] = float(values.min()) - bottom
    corner: Any = max(room, key=lambda name: room[name])
    ax.legend(
        loc=corner,
        fontsize=7.5,
        handlelength=1.8,
        borderaxespad=0.3,
    )
