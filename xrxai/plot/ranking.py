"""Bars: how much each band group, or each of the strongest segments, contributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from xrxai.errors import ResultError, choice
from xrxai.plot.axis import groups_of, spectral_axis
from xrxai.plot.classed import draw_class_bars
from xrxai.plot.style import (
    LINE_COLOUR,
    canvas,
    head_line,
    house_style,
    sign_colours,
    unit_label,
)
from xrxai.plot.summary import Summary, per_group
from xrxai.plot.view import View, head, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MOST_BARS = 20
MOST_DOTS = 50


@dataclass(frozen=True)
class Bars:
    """Bars from top to bottom: `shown` are positions in the summary."""

    names: list[str]
    colours: list[str]
    summary: Summary
    shown: NDArray[np.intp]
    title: str
    note: str
    label: str
    ylabel: str


def bars(
    explanation: xr.Dataset,
    *,
    target: str | None = None,
    groups: Mapping[str, tuple[float, float]] | None = None,
    sort: Literal["wavelength", "value"] = "wavelength",
    ax: Axes | None = None,
) -> Axes:
    """Draw the contribution of each band group as a bar with its 95 % interval.

    The colour of a bar is its sign, the colour of a name is the group's. The interval is the
    surrogate's confidence interval, over samples a t-interval, and for values per pixel that of
    the mean by blocks of pixels, because neighbours are alike; the title says which. An aggregate
    shows the interval that it holds, and its classes as bars side by side. The sum of
    several of its bands has no interval: it does not follow from those of the bands.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values per band (summed over the bands of a group), per band group,
        or per segment (the 20 strongest are drawn).
    target : str, optional
        The target to draw; needed when the explanation has several.
    groups : mapping of str to (float, float), optional
        Intervals in nm; by default those that `spectral` shades.
    sort : {"wavelength", "value"}
        From top to bottom by wavelength (segments: by number) or from high to low.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        The panel, labelled "groups".

    Raises
    ------
    ResultError
        If the explanation has values per pixel only, or several targets.
    BandError
        If there are no wavelengths to group bands by.
    """
    seen = view(explanation, target)
    made = read_bars(seen, groups, sort)
    if ax is not None:
        with house_style():
            draw_bars(ax, made)
        return ax
    with canvas(4.8, 1.25 + 0.3 * max(len(made.shown), 3)) as figure:
        head_line(figure, head(seen))
        panel = figure.add_subplot()
        draw_bars(panel, made)
    return panel


def read_bars(
    seen: View,
    groups: Mapping[str, tuple[float, float]] | None,
    sort: Literal["wavelength", "value"] = "wavelength",
) -> Bars:
    """Compute the bars of one target."""
    choice(sort, ("wavelength", "value"), "sort")
    if seen.kind == "map":
        raise ResultError(
            f"{seen.dataset.attrs.get('method', 'This explanation')} has a value per pixel, and "
            "bars need band groups or segments. Plot .spatial() instead."
        )
    label, ylabel = unit_label(seen.attribution, "attribution"), ""
    if seen.kind == "segments":
        summary = per_group(seen, [])
        names = [str(i) for i in seen.dataset["segment"].to_numpy()]
        shown = np.sort(np.argsort(-summary.strength, kind="stable")[:MOST_BARS])
        few = "" if len(names) <= MOST_BARS else f", {MOST_BARS} strongest of {len(names)}"
        title = f"Segments{few}"
        colours, ylabel = ["black"] * len(names), "segment"
    else:
        axis = spectral_axis(seen)
        found = groups_of(seen, axis, groups)
        if not found:
            raise ResultError(
                "There are no band groups to draw as bars: "
                + (
                    "no group of the palette is on this sensor"
                    if axis.nm
                    else "the explanation has no wavelengths"
                )
                + "; type groups={'name': (low_nm, high_nm)} on a cube with wavelengths."
            )
        summary = per_group(seen, found)
        names, colours = [g.name for g in found], [g.colour for g in found]
        centre = [
            float(np.nanmean(g.widest)) if np.isfinite(g.widest[0]) else np.inf for g in found
        ]
        shown = np.argsort(centre, kind="stable")
        title = "Band groups" if seen.kind == "groups" else "Band groups, sum over bands"
    if sort == "value":
        value = summary.value if summary.over != "classes" else summary.value.sum(axis=0)
        high_first = np.argsort(-np.nan_to_num(value[shown], nan=-np.inf), kind="stable")
        shown = shown[high_first]
    says = [s for s in (summary.interval, _dots(summary)) if s]
    note = f"({'; '.join(says)})" if says else ""
    return Bars(names, colours, summary, shown, title, note, label, ylabel)


def _dots(summary: Summary) -> str:
    if summary.samples is None:
        return ""
    return f"dots = {summary.count}" if len(summary.samples) <= MOST_DOTS else summary.count


def draw_bars(ax: Axes, made: Bars) -> None:
    """Draw the bars, their intervals and, for few samples, a dot each."""
    ax.set_label("groups")
    at = np.arange(len(made.shown))
    if made.summary.over == "classes":
        draw_class_bars(ax, made.summary, made.shown)
    else:
        _draw_signed(ax, made, at)
    _dress(ax, made, at)


def _draw_signed(ax: Axes, made: Bars, at: NDArray[np.intp]) -> None:
    positive, negative = sign_colours()
    value = made.summary.value[made.shown]
    ax.barh(
        at,
        np.nan_to_num(value),
        height=0.62,
        alpha=0.85,
        color=[positive if v >= 0 else negative for v in np.nan_to_num(value)],
        zorder=2,
    )
    if made.summary.error is not None:
        error = made.summary.error[:, made.shown]
        ok = np.isfinite(error).all(axis=0) & np.isfinite(value)
        ax.errorbar(
            value[ok],
            at[ok],
            xerr=error[:, ok],
            fmt="none",
            color=LINE_COLOUR,
            linewidth=1.1,
            capsize=3.5,
            zorder=4,
        )
    samples = made.summary.samples
    if samples is not None and len(samples) <= MOST_DOTS:
        # A fixed up and down keeps dots apart, and the picture the same twice.
        jitter = 0.2 * np.sin(2.4 * np.arange(len(samples)))
        for row, k in enumerate(made.shown):
            ax.plot(
                samples[:, k],
                row + jitter,
                "o",
                color="black",
                alpha=0.45,
                markersize=3,
                markeredgewidth=0,
                zorder=3,
                gid="samples",
            )


def _dress(ax: Axes, made: Bars, at: NDArray[np.intp]) -> None:
    ax.axvline(0.0, color="black", linewidth=0.8, zorder=2.5)
    ax.set_yticks(at, [made.names[k] for k in made.shown])
    # Not get_yticklabels: inner axes that share y have none.
    for tick, k in zip(ax.yaxis.get_major_ticks(), made.shown, strict=True):
        tick.label1.set_color(made.colours[k])
    ax.set_ylim(len(at) - 0.5, -0.5)
    if not made.summary.strength[made.shown].any() and made.summary.samples is None:
        ax.set_xlim(-1.0, 1.0)
    ax.margins(x=0.08)
    ax.tick_params(labelsize=8)
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel(made.label)
    ax.set_ylabel(made.ylabel)
    room = 0.85 * ax.get_window_extent().width / ax.figure.dpi * 72 / 5.0
    apart = "\n" if len(made.title) + 1 + len(made.note) > room else " "
    ax.set_title(f"{made.title}{apart}{made.note}".rstrip())
