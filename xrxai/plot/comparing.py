"""The targets of an explanation side by side: maps in one colour scale, strips with one y axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import xarray as xr

from xrxai.errors import ResultError
from xrxai.plot.axis import name_groups
from xrxai.plot.multiples import Multiples, draw_page, shared
from xrxai.plot.reading import picture_of, read_field
from xrxai.plot.spectra import read_strips
from xrxai.plot.strips import Strips, draw_strip, remark, said
from xrxai.plot.style import canvas, head_line, house_style, listed_axes, method_name, whole_figure
from xrxai.plot.view import View, every_target, is_absent, quality

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def targets(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    groups: Mapping[str, tuple[float, float]] | None = None,
    robust: bool = True,
    axes: Axes | Sequence[Axes] | Mapping[str, Axes] | None = None,
) -> Figure:
    """Draw every target of an explanation: what differs between them, on one scale.

    Values in space give a map per target (summed over bands or groups); values along the
    spectrum give a strip per target as in `spectral`. A class that is not in the prediction is
    called absent. For some of the targets only, type
    ``explanation.sel(target=[...]).xai.plot.targets()``.

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
    axes : matplotlib.axes.Axes or sequence of these or mapping of str to Axes, optional
        Where to draw: one for each panel, in their order, or by name.

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named by ``ax.get_label()`` as the targets, after "true_colour" or
        "reflectance" when a cube is given.

    Raises
    ------
    ResultError
        If the Dataset is not an explanation, or has several samples of maps.
    """
    each = every_target(explanation)
    first = next(iter(each.values()))
    if has_strips(first):
        return _strips(each, cube, groups, axes)
    made, words = map_targets(explanation, cube, groups, robust=robust)
    return draw_page(made, words, axes)


def has_strips(seen: View) -> bool:
    """Say whether targets are compared along the spectrum rather than in space."""
    return seen.kind in ("cube", "bands", "groups") and bool(seen.lead or not seen.per_pixel)


def map_targets(
    explanation: xr.Dataset,
    cube: xr.DataArray | None,
    groups: Mapping[str, tuple[float, float]] | None,
    *,
    robust: bool,
) -> tuple[Multiples, list[str]]:
    """Compute the maps of all targets in one colour scale, and the line above them."""
    each = every_target(explanation)
    first = next(iter(each.values()))
    if groups is not None:
        raise ResultError(
            "groups= is for results along the spectrum; this explanation is drawn as maps, one "
            "for each target."
        )
    fields = {name: read_field(seen) for name, seen in each.items()}
    picture = None if cube is None else picture_of(first, cube)
    made = shared(fields, first, picture, robust=robust)
    maps = {
        name: replace(drawn, title=_title(drawn.title, each[name]))
        for name, drawn in made.maps.items()
    }
    what = next(iter(fields.values())).what
    return replace(made, maps=maps), _words(first, explanation, what)


def strip_targets(
    each: Mapping[str, View],
    cube: xr.DataArray | None,
    groups: Mapping[str, tuple[float, float]] | None,
) -> dict[str, Strips]:
    """Compute the strips of all targets; the scene is the same for all: it is read once."""
    return {
        name: read_strips(seen, None if k else cube, groups)
        for k, (name, seen) in enumerate(each.items())
    }


def strip_name(name: str, read: Strips) -> str:
    """Return the title of a target's strip."""
    return _title(f"{name}{remark(read)}", read.seen)


def _title(words: str, seen: View) -> str:
    return f"{words} (absent)" if is_absent(seen) else words


def _words(first: View, explanation: xr.Dataset, what: str) -> list[str]:
    fit = quality(replace(first, dataset=explanation))
    return [method_name(explanation), _small(what), *([fit] if fit else [])]


def _small(words: str) -> str:
    return words[:1].lower() + words[1:]


def _strips(
    each: Mapping[str, View],
    cube: xr.DataArray | None,
    groups: Mapping[str, tuple[float, float]] | None,
    axes: Axes | Sequence[Axes] | Mapping[str, Axes] | None,
) -> Figure:
    read = strip_targets(each, cube, groups)
    top = next(iter(read.values()))
    scene = cube is not None and top.context is not None
    names = [*(["reflectance"] if scene else []), *read]
    if axes is not None:
        panels = listed_axes(axes, names)
        with house_style():
            _draw_strips(panels, read)
        return whole_figure(panels)
    with canvas(6.4, 1.2 + 0.9 * scene + 1.35 * len(read)) as figure:
        head_line(figure, [method_name(top.seen.dataset), _small(said(top))])
        ratios = [*([0.7] if scene else []), *[1.0] * len(read)]
        column = figure.subplots(len(names), 1, sharex=True, height_ratios=ratios, squeeze=False)
        height = _draw_strips(dict(zip(names, column[:, 0], strict=True)), read)
        # Upright names of groups would take the room of the strips.
        figure.set_figheight(figure.get_figheight() + height / 72)
    return figure


def _draw_strips(panels: Mapping[str, Axes], read: Mapping[str, Strips]) -> float:
    """Draw the strips from top to bottom, the targets with the y limits that hold them all.

    Returns the height of the names of groups, in points.
    """
    limits, legend, names = [], False, 0.0
    for k, (name, ax) in enumerate(panels.items()):
        strips = read.get(name, next(iter(read.values())))
        draw_strip(ax, "spectrum" if name in read else "reflectance", strips)
        height = name_groups(ax, strips.groups, strips.axis) if k == 0 else 0.0
        names = max(names, height)
        if name in read:
            ax.set_label(name)
            ax.set_title(strip_name(name, strips), pad=4 + height)
            if remark(strips) == "":
                limits.append(ax.get_ylim())
            told = ax.get_legend()
            if told is not None:  # one tells for all
                told.set_visible(not legend)
                legend = True
        ax.tick_params(labelbottom=k == len(panels) - 1)
    for name, ax in panels.items():
        if name in read and limits:
            ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    last = list(panels.values())[-1]
    last.set_xlabel(next(iter(read.values())).axis.label)
    last.figure.align_ylabels(list(panels.values()))
    return names
