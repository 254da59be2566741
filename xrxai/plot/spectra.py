"""Spectra: reflectance above, attribution below, on one axis of wavelengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError
from xrxai.labelled.cube import locate
from xrxai.plot.bands import Axis, Group, groups_of, name_groups, shade, spectral_axis
from xrxai.plot.maps import named_axes, whole_figure
from xrxai.plot.style import (
    EDGE_COLOUR,
    LINE_COLOUR,
    SPREAD_COLOUR,
    canvas,
    head_line,
    house_style,
    sign_colours,
    unit_label,
)
from xrxai.plot.summary import Summary, per_feature
from xrxai.plot.view import PIXELS_FOR_STATISTICS, View, head, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
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


def spectral(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    target: str | None = None,
    groups: Mapping[str, tuple[float, float]] | None = None,
    axes: Axes | Mapping[str, Axes] | None = None,
) -> Figure:
    """Draw at which wavelengths the evidence lies, under the spectrum of the scene.

    Two strips share the axis of wavelengths: the cube's mean with its 5-95 % range, and the
    attribution. Per band it is a line (with the interquartile range over pixels), per group a
    step over the wavelengths of its bands with its confidence interval; the steps of a group in
    several pieces are joined by a dashed line. Along a `sample` dim every sample is a grey line
    under their mean and its 95 % t-interval.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values per band or band group.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained: its spectrum is drawn where the explanation
        carries none.
    target : str, optional
        The target to draw; needed when the explanation has several.
    groups : mapping of str to (float, float), optional
        Intervals in nm to shade and name. By default blue, green, red, red edge, NIR and two
        SWIR windows as far as the sensor has them; ``{}`` shades none. An explanation per group
        shows its own.
    axes : matplotlib.axes.Axes or mapping of str to Axes, optional
        Where to draw: the attribution alone, or strips by name out of "reflectance" and
        "spectrum".

    Returns
    -------
    matplotlib.figure.Figure
        Its strips are named by ``ax.get_label()``.

    Raises
    ------
    ResultError
        If the explanation has no values along the spectrum, or several targets.
    """
    read = read_strips(view(explanation, target), cube, groups)
    if axes is not None:
        panels = named_axes(axes, "spectrum", ("reflectance", "spectrum"))
        with house_style():
            draw_strips(panels, read)
        return whole_figure(panels)
    with canvas(6.4, 4.0 if strip_names(read) == ["spectrum"] else 4.6) as figure:
        head_line(figure, head(read.seen))
        draw_strips(add_strips(figure, read), read)
    return figure


def read_strips(
    seen: View, cube: xr.DataArray | None, groups: Mapping[str, tuple[float, float]] | None
) -> Strips:
    """Compute what the strips show, of one target."""
    if seen.kind in ("segments", "map"):
        raise ResultError(
            f"{seen.dataset.attrs.get('method', 'This explanation')} has no values along the "
            f"spectrum (attribution is per {seen.feature or 'pixel'}). Plot .spatial() instead."
        )
    axis = spectral_axis(seen)
    found = groups_of(seen, axis, groups)
    summary = per_feature(seen)
    context, label = None, ""
    if not seen.lead:
        if "spectrum" in seen.dataset and set(seen.dataset["spectrum"].dims) == {
            "statistic", seen.band,
        }:
            spectrum = seen.dataset["spectrum"]
            chosen = spectrum.transpose("statistic", seen.band).sel(
                statistic=["mean", "p05", "p95"]
            )
            context = np.asarray(chosen.to_numpy(), dtype=np.float64)
            label = unit_label(spectrum, "cube", 16)
        elif cube is not None:
            context, label = _from_cube(cube, axis), unit_label(cube, "cube", 16)
    return Strips(seen, axis, found, summary, context, label)


def _from_cube(cube: xr.DataArray, axis: Axis) -> NDArray[np.float64]:
    found = locate(cube)
    if cube.sizes[found.band] != axis.x.size:
        raise OptionError(
            f"The cube has {cube.sizes[found.band]} bands and the explanation {axis.x.size}: "
            "pass the cube that was explained."
        )
    others = [str(d) for d in cube.dims if d != found.band]
    count = int(np.prod([cube.sizes[d] for d in others]))
    step = max(1, int(np.ceil((count / PIXELS_FOR_STATISTICS) ** (1 / max(len(others), 1)))))
    some = {d: slice(None, None, step) for d in others}
    values = cube.isel(some).transpose(*others, found.band).to_numpy().astype(np.float64)
    keep = found.valid().isel(some).transpose(*others).to_numpy()
    spectra = values[keep]
    out = np.full((3, axis.x.size), np.nan)
    if spectra.shape[0]:
        use = axis.good
        out[0, use] = spectra[:, use].mean(axis=0)
        out[1:, use] = np.percentile(spectra[:, use], (5, 95), axis=0)
    return out


def strip_names(read: Strips) -> list[str]:
    """Return the strips that apply, from top to bottom."""
    return ["spectrum"] if read.context is None else ["reflectance", "spectrum"]


def add_strips(figure: Any, read: Strips, place: Any = None) -> dict[str, Axes]:
    """Make the axes of the strips in a figure, or in one cell of its grid."""
    names = strip_names(read)
    ratios = [1.0, 2.1][-len(names):]
    cells = (
        figure.add_gridspec(len(names), 1, height_ratios=ratios) if place is None
        else place.subgridspec(len(names), 1, height_ratios=ratios)
    )
    made: dict[str, Axes] = {}
    for row, name in enumerate(names):
        made[name] = figure.add_subplot(cells[row], sharex=next(iter(made.values()), None))
    return made


def draw_strips(panels: Mapping[str, Axes], read: Strips) -> None:
    """Draw the strips that have a panel; the uppermost carries title and group names."""
    upper = True
    for name, ax in panels.items():
        ax.set_xlim(*read.axis.limits)
        ax.tick_params(labelsize=8)
        if name == "reflectance":
            _draw_context(ax, read)
        else:
            _draw_attribution(ax, read)
        if upper:
            height = name_groups(ax, read.groups, read.axis)
            ax.set_title(_title(read), pad=4 + height)
        upper = False
    last = list(panels.values())[-1]
    for ax in panels.values():
        if ax is not last:
            ax.tick_params(labelbottom=False)
    last.set_xlabel(read.axis.label)


def _title(read: Strips) -> str:
    seen, summary = read.seen, read.summary
    if not np.isfinite(summary.value).any():
        note = ", no valid pixels"
    elif not np.nan_to_num(summary.value).any() and summary.samples is None:
        note = ", all zero"
    else:
        note = ""
    if summary.over == "samples":
        interval = f", {summary.interval}" if summary.interval else ""
        return f"Mean of {summary.count}{interval}{note}"
    what = "band group" if seen.kind == "groups" else "band"
    mean = "Mean attribution" if summary.over == "pixels" else "Attribution"
    interval = f" ± {summary.interval}" if summary.interval == "95 % CI" else ""
    return f"{mean} per {what}{interval}{note}"


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
    if read.seen.kind == "groups":
        _draw_steps(ax, read)
    elif read.summary.samples is not None:
        _draw_samples(ax, read)
    else:
        _draw_areas(ax, read)
    ax.axhline(0.0, color="black", linewidth=0.8, zorder=2.5)
    values = [v for v in (read.summary.value, read.summary.samples) if v is not None]
    if not any(np.nan_to_num(v).any() for v in values):
        ax.set_ylim(-1.0, 1.0)
    ax.set_ylabel(unit_label(read.seen.attribution, "attribution"))


def _draw_areas(ax: Axes, read: Strips) -> None:
    summary, positive, negative = read.summary, *sign_colours()
    x, value = read.axis.line(summary.value)
    if summary.low is not None and summary.high is not None:
        _, low = read.axis.line(summary.low)
        _, high = read.axis.line(summary.high)
        ax.fill_between(
            x, low, high, color=SPREAD_COLOUR, alpha=0.42, linewidth=0, label=summary.interval,
            zorder=1,
        )
    with np.errstate(invalid="ignore"):
        for colour, where in ((positive, value >= 0), (negative, value <= 0)):
            ax.fill_between(
                x, 0.0, value, where=where, interpolate=True, color=colour, alpha=0.8,
                linewidth=0, zorder=2,
            )
    label = "mean" if summary.over == "pixels" else "attribution"
    ax.plot(x, value, color="black", linewidth=1.1, label=label, zorder=3, **_marks(read.axis))
    if summary.low is not None:
        _legend(ax)


def _draw_samples(ax: Axes, read: Strips) -> None:
    summary = read.summary
    assert summary.samples is not None
    x, lines = read.axis.line(summary.samples)
    _, value = read.axis.line(summary.value)
    ax.plot(x, lines.T, color="#777777", linewidth=0.6, alpha=0.7, zorder=1.5)
    if summary.low is not None and summary.high is not None:
        _, low = read.axis.line(summary.low)
        _, high = read.axis.line(summary.high)
        ax.fill_between(
            x, low, high, color=EDGE_COLOUR, alpha=0.28, linewidth=0, label=summary.interval,
            zorder=1.8,
        )
    ax.plot(x, value, color=EDGE_COLOUR, linewidth=2.0, label="mean", zorder=3, **_marks(read.axis))
    ax.plot([], [], color="#777777", linewidth=0.6, label=f"each of {summary.count}")
    _legend(ax)


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
                [low, high], 0.0, [value, value], color=colour, alpha=0.38, linewidth=0, zorder=2
            )
            ax.plot(
                [low, high], [value, value], color=colour, linewidth=2.2, solid_capstyle="butt",
                zorder=3, gid=f"step:{group.name}",
            )
            if summary.samples is not None:
                ax.hlines(
                    summary.samples[:, k], low, high, color="#555555", linewidth=0.5, alpha=0.6,
                    zorder=2.8,
                )
        for (_, end), (start, _) in zip(group.intervals, group.intervals[1:], strict=False):
            ax.plot(
                [end, start], [value, value], color=colour, linewidth=0.8, linestyle=(0, (3, 2)),
                zorder=2.9, gid=f"join:{group.name}",
            )
        if error is None or not np.isfinite(error[:, k]).all():
            continue
        low, high = group.widest
        if summary.over == "pixels":
            ax.fill_between(
                [low, high], value - error[0, k], value + error[1, k], color=SPREAD_COLOUR,
                alpha=0.42, linewidth=0, zorder=1, label=summary.interval if k == 0 else None,
            )
        else:
            ax.errorbar(
                (low + high) / 2, value, yerr=error[:, k : k + 1], color=LINE_COLOUR,
                linewidth=1.1, capsize=3.5, zorder=4,
            )
    if summary.over == "pixels" and error is not None:
        _legend(ax)


def _marks(axis: Axis) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3.0} if axis.x.size <= FEW_BANDS else {}


def _legend(ax: Axes) -> None:
    ax.legend(loc="upper left", fontsize=7.5, handlelength=1.8, borderaxespad=0.3)
