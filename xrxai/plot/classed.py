"""Several classes of an aggregate on one axis: lines, steps and bars in colours of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.errors import OptionError
from xrxai.plot.axis import Axis, Group
from xrxai.plot.palette import OKABE_ITO
from xrxai.plot.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Without yellow, which is not seen on white. Red and blue in a bar mean signs elsewhere; here they
# would be misread.
_ORDER = ("blue", "orange", "green", "purple", "sky", "vermilion", "black")
COLOURS = tuple(OKABE_ITO[name] for name in _ORDER)
STYLES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
# More lines than this have names in the legend only.
MOST_NAMED = 5


def class_styles(summary: Summary) -> list[dict[str, Any]]:
    """Return colour and line style of each class.

    Raises
    ------
    OptionError
        If there are more classes than can be told apart.
    """
    most, dim = len(COLOURS) * len(STYLES), summary.count
    if len(summary.names) > most:
        raise OptionError(
            f"There are {len(summary.names)} classes along {dim!r}, and {most} can be told apart; "
            f"choose some: .sel({{{dim!r}: [{summary.names[0]!r}, {summary.names[1]!r}]}})."
        )
    return [
        {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[i // len(COLOURS)]}
        for i in range(len(summary.names))
    ]


def class_labels(summary: Summary) -> list[str]:
    """Return what the legend says: the class, and how many values its mean is of."""
    if len(summary.known) != len(summary.names):
        return list(summary.names)
    return [f"{name} (n = {n})" for name, n in zip(summary.names, summary.known, strict=True)]


def draw_class_lines(ax: Axes, axis: Axis, summary: Summary) -> None:
    """Draw a line per class over its interval, with its name where it is farthest from others."""
    styles, labels = class_styles(summary), class_labels(summary)
    few: dict[str, Any] = {"marker": "o", "markersize": 3.0} if axis.x.size <= 40 else {}
    for i, (name, style) in enumerate(zip(summary.names, styles, strict=True)):
        x, value = axis.line(summary.value[i])
        if summary.low is not None and summary.high is not None:
            _, low = axis.line(summary.low[i])
            _, high = axis.line(summary.high[i])
            ax.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0, zorder=1.8)
        ax.plot(
            x, value, linewidth=1.6, label=labels[i], zorder=3, gid=f"class:{name}", **style, **few
        )
    if 1 < len(summary.names) <= MOST_NAMED:
        _name_lines(ax, axis, summary, styles)


def _name_lines(ax: Axes, axis: Axis, summary: Summary, styles: list[dict[str, Any]]) -> None:
    from matplotlib import patheffects

    left, right = axis.limits
    inner = (axis.x > left + 0.08 * (right - left)) & (axis.x < right - 0.08 * (right - left))
    for i, (name, style) in enumerate(zip(summary.names, styles, strict=True)):
        own, rest = summary.value[i], np.delete(summary.value, i, axis=0)
        far = np.where(np.isfinite(rest), np.abs(rest - own), np.inf).min(axis=0)
        far = np.where(inner & np.isfinite(own) & np.isfinite(far), far, -1.0)
        k = int(np.argmax(far))
        if far[k] <= 0:
            continue  # it is not apart from the others anywhere
        nearest = rest[int(np.nanargmin(np.abs(rest[:, k] - own[k]))), k]
        above = own[k] >= nearest
        ax.annotate(
            name,
            (float(axis.x[k]), float(own[k])),
            xytext=(0, 4 if above else -4),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=7.5,
            fontweight="bold",
            color=style["color"],
            zorder=4,
            gid="class_name",
            path_effects=[patheffects.withStroke(linewidth=2, foreground="white")],
        )
    ax.margins(y=0.12)


def draw_class_steps(ax: Axes, groups: list[Group], summary: Summary) -> None:
    """Draw a step per class over the wavelengths of each group, error bars side by side."""
    styles, labels = class_styles(summary), class_labels(summary)
    error = summary.error
    count = len(summary.names)
    for i, (name, style) in enumerate(zip(summary.names, styles, strict=True)):
        labelled = False
        for k, group in enumerate(groups):
            value = float(summary.value[i, k])
            if not (np.isfinite(value) and np.isfinite(group.widest[0])):
                continue
            for low, high in group.intervals:
                ax.plot(
                    [low, high],
                    [value, value],
                    linewidth=2.0,
                    zorder=3,
                    gid=f"class:{name}",
                    label=None if labelled else labels[i],
                    **style,
                )
                labelled = True
            if error is None or not np.isfinite(error[:, i, k]).all():
                continue
            low, high = group.widest
            ax.errorbar(
                low + (high - low) * (i + 1) / (count + 1),
                value,
                yerr=error[:, i, k : k + 1],
                color=style["color"],
                linewidth=1.1,
                capsize=2.5,
                zorder=4,
            )


def draw_class_bars(ax: Axes, summary: Summary, shown: NDArray[np.intp]) -> None:
    """Draw the classes of each row side by side, in order from the top, with their intervals."""
    styles, labels = class_styles(summary), class_labels(summary)
    count = len(summary.names)
    height = 0.74 / count
    for i, style in enumerate(styles):
        at = np.arange(len(shown)) + height * (i - (count - 1) / 2)
        value = summary.value[i, shown]
        ax.barh(
            at, np.nan_to_num(value), height=0.9 * height, alpha=0.85, label=labels[i],
            color=style["color"], zorder=2, hatch=("", "///", "...")[i // len(COLOURS)],
        )  # fmt: skip
        if summary.error is None:
            continue
        error = summary.error[:, i, shown]
        ok = np.isfinite(error).all(axis=0) & np.isfinite(value)
        ax.errorbar(
            value[ok], at[ok], xerr=error[:, ok], fmt="none", color="#222222", linewidth=1.0,
            capsize=min(3.5, 12 * height), zorder=4,
        )  # fmt: skip
    ax.legend(loc="best", fontsize=7.5, handlelength=1.2, title=summary.count, title_fontsize=7.5)
