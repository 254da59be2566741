"""Maps: the true colour, the attribution in space, the segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError
from xrxai.plot.grid import Grid, draw_image, dress, grid, scale_bar
from xrxai.plot.outlines import draw_edges, draw_ids
from xrxai.plot.picture import TRUE_COLOUR, Picture, Stretch, from_cube, from_explanation
from xrxai.plot.style import (
    EDGE_COLOUR,
    Scale,
    canvas,
    colour_bar,
    head_line,
    house_style,
    named_axes,
    scale,
    unit_label,
    whole_figure,
)
from xrxai.plot.view import View, head, is_signed, one_sample, summed, thin, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Map:
    """An attribution map ready to draw; `ids` are the segments that outline it, if any."""

    values: NDArray[np.float64]
    step: int
    placed: Grid
    scaled: Scale
    title: str
    label: str
    ids: NDArray[Any] | None
    top: frozenset[int]


def rgb(
    explanation_or_cube: xr.Dataset | xr.DataArray,
    cube: xr.DataArray | None = None,
    *,
    wavelengths: Sequence[float] = TRUE_COLOUR,
    stretch: Stretch = "channel",
    ax: Axes | None = None,
) -> Axes:
    """Draw the scene in true colour.

    Parameters
    ----------
    explanation_or_cube : xarray.Dataset or xarray.DataArray
        An explanation, whose quick look is drawn, or a cube (band, y, x).
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained. With it, pixels that were measured but not
        explained are shown pale instead of grey.
    wavelengths : sequence of 3 floats
        Centres of red, green and blue in nm. Each channel is the mean of the bands within
        15 nm, else the nearest band within 40 nm; a cube without wavelengths is asked for
        bands named red, green and blue, or B04, B03 and B02.
    stretch : {"channel", "joint", "none"} or tuple of 2 floats
        Contrast: 2-98 % of the valid pixels of each channel, of all three together (keeps
        their ratio, looks yellow on vegetation), the values as they are between 0 and 1, or
        two values in units of the cube that become black and full colour.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        The panel, labelled "true_colour".

    Raises
    ------
    ResultError
        If the explanation has no quick look and no cube was given, or has several samples.
    BandError
        If the cube has no band near one of the wavelengths.
    """
    made = _picture_for(explanation_or_cube, cube, wavelengths, stretch)
    if ax is not None:
        with house_style():
            draw_picture(ax, made)
        return ax
    with canvas(4.8, 0.8 + 4.0 * made.placed.ratio()) as figure:
        panel = figure.add_subplot()
        draw_picture(panel, made)
    return panel


def spatial(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    target: str | None = None,
    segments: bool | xr.DataArray = True,
    robust: bool = True,
    axes: Axes | Mapping[str, Axes] | None = None,
) -> Figure:
    """Draw where in the scene the evidence lies, beside its true colour.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values in space: per pixel (summed over bands), per window or per
        segment.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained; see `rgb`.
    target : str, optional
        The target to draw; needed when the explanation has several.
    segments : bool or xarray.DataArray
        True outlines the explanation's own segments and adds a panel with their numbers (the
        ten largest in bold). A DataArray (y, x) of ids outlines those; 0 is outside. False
        draws no lines.
    robust : bool
        Colour limits at the 98th percentile of ``|attribution|`` (99th when nothing is
        negative); False takes the largest, which a few pixels may decide.
    axes : matplotlib.axes.Axes or mapping of str to Axes, optional
        Where to draw: the map alone, or panels by name out of "true_colour", "attribution"
        and "segments".

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named by ``ax.get_label()``.

    Raises
    ------
    ResultError
        If the explanation has no values in space, or several samples or targets.
    """
    seen = view(explanation, target)
    picture = picture_of(seen, cube)
    drawn = read_map(seen, segments=segments, robust=robust)
    names = panel_names(seen, drawn, picture)
    if axes is not None:
        panels = named_axes(axes, "attribution", ("true_colour", "attribution", "segments"))
        with house_style():
            draw_maps(panels, drawn, picture)
        return whole_figure(panels)
    with canvas(*page_size(len(names), drawn)) as figure:
        head_line(figure, head(seen))
        row = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
        draw_maps(dict(zip(names, row, strict=True)), drawn, picture)
    return figure


def _picture_for(
    source: xr.Dataset | xr.DataArray,
    cube: xr.DataArray | None,
    wavelengths: Sequence[float],
    stretch: Stretch,
) -> Picture:
    if isinstance(source, xr.DataArray):
        if cube is not None:
            raise OptionError("Two cubes were given; pass one, or an explanation and its cube.")
        return from_cube(source, wavelengths=wavelengths, stretch=stretch)
    # Any target will do: they share the scene.
    many = isinstance(source, xr.Dataset) and "target" in source.dims
    seen = view(source.isel(target=slice(0, 1)) if many else source)
    one_sample(seen, "A picture")
    if cube is not None:
        return from_cube(cube, wavelengths=wavelengths, stretch=stretch, dataset=seen.dataset)
    made = from_explanation(seen.dataset, seen.y, seen.x, stretch=stretch)
    if made is None:
        raise ResultError(
            "This explanation has no quick look 'rgb' (no bands near 660, 550 and 480 nm); pass "
            "the cube: plot.rgb(explanation, cube, wavelengths=(...))."
        )
    if tuple(map(float, wavelengths)) != TRUE_COLOUR:
        raise ResultError(
            "An explanation keeps only its true-colour quick look; for other wavelengths pass "
            "the cube: plot.rgb(explanation, cube, wavelengths=(...))."
        )
    return made


def picture_of(seen: View, cube: xr.DataArray | None) -> Picture | None:
    """Return the picture that goes with an explanation, None when there is nothing to see."""
    one_sample(seen, "A map")
    if cube is not None:
        return from_cube(cube, dataset=seen.dataset)
    return from_explanation(seen.dataset, seen.y, seen.x)


def read_map(seen: View, *, segments: bool | xr.DataArray = True, robust: bool = True) -> Map:
    """Compute the map of an explanation: of one target, at most 2000 pixels per side."""
    one_sample(seen, "A map")
    y, x = seen.y, seen.x
    ids: NDArray[Any] | None = None
    top: frozenset[int] = frozenset()
    if seen.kind == "segments":
        raster, step = thin(seen.dataset["segment_of_pixel"].transpose(y, x), y, x)
        ids = np.asarray(raster.to_numpy()).astype(np.int64)
        labels = seen.dataset["segment"].to_numpy().astype(np.int64)
        values_of = np.asarray(seen.attribution.to_numpy(), dtype=np.float64)
        table = np.full(max(int(labels.max(initial=0)), int(ids.max(initial=0))) + 1, np.nan)
        table[labels] = values_of
        values, what, weigh = table[ids], "Attribution per segment", values_of
        strongest = np.argsort(-np.nan_to_num(np.abs(values_of)), kind="stable")[:10]
        top = frozenset(int(i) for i in labels[strongest])
        inside = seen.dataset.get("valid")
        if inside is not None:
            keep = thin(inside.transpose(y, x), y, x)[0].to_numpy().astype(bool)
            values = np.where(keep, values, np.nan)
    elif seen.per_pixel:
        array, step = summed(seen)
        what = "Attribution"
        if seen.feature:
            what = f"Attribution, sum over {'groups' if seen.kind == 'groups' else 'bands'}"
        values = np.asarray(array.transpose(y, x).to_numpy(), dtype=np.float64)
        weigh = values
    else:
        raise ResultError(
            f"{seen.dataset.attrs.get('method', 'This explanation')} has no values in space "
            f"(attribution is per {seen.feature}). Plot .spectral() or .bars() instead."
        )
    scaled = scale(values, robust=robust, signed=is_signed(seen, weigh))
    if isinstance(segments, xr.DataArray):
        ids = _given_segments(segments, seen)
    elif not segments:
        ids = None
    title = f"{what}, {scaled.note}" if scaled.note else what
    label = unit_label(seen.attribution, "attribution")
    return Map(values, step, grid(seen.dataset, y, x), scaled, title, label, ids, top)


def _given_segments(segments: xr.DataArray, seen: View) -> NDArray[Any]:
    sizes = {d: seen.dataset.sizes[d] for d in (seen.y, seen.x)}
    if dict(segments.sizes) != sizes:
        raise OptionError(
            f"segments has {dict(segments.sizes)} and the explanation {sizes}; pass ids (y, x) "
            "on the same grid."
        )
    return thin(segments.transpose(seen.y, seen.x), seen.y, seen.x)[0].to_numpy()


def page_size(panels: int, drawn: Map) -> tuple[float, float]:
    """Return the width and height in inches that a row of maps fills."""
    return 1.2 + 3.5 * panels, 1.2 + 3.2 * min(drawn.placed.ratio(), 2.0)


def panel_names(seen: View, drawn: Map, picture: Picture | None) -> list[str]:
    """Return the names of the panels that apply, from left to right."""
    names = ["attribution"] if picture is None else ["true_colour", "attribution"]
    return [*names, "segments"] if drawn.ids is not None and seen.kind == "segments" else names


def draw_maps(panels: Mapping[str, Axes], drawn: Map, picture: Picture | None) -> None:
    """Draw the maps that have a panel; the first carries the y labels and the scale bar."""
    first = True
    for name, ax in panels.items():
        if name == "true_colour":
            if picture is None:
                raise ResultError(
                    "There is no picture for the panel 'true_colour': this explanation has no "
                    "quick look 'rgb'. Pass the cube: plot.spatial(explanation, cube)."
                )
            draw_picture(ax, picture, bar=first)
        elif name == "attribution":
            draw_map(ax, drawn, bar=first)
        else:
            draw_segments(ax, drawn, picture, bar=first)
        if not first:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
        first = False


def draw_picture(ax: Axes, picture: Picture, *, bar: bool = True) -> None:
    """Draw the true-colour panel."""
    ax.set_label("true_colour")
    draw_image(ax, picture.placed, picture.rgba, picture.step, None)
    ax.set_title(picture.title)
    if bar:
        scale_bar(ax, picture.placed)


def draw_map(ax: Axes, drawn: Map, *, bar: bool = True) -> None:
    """Draw the attribution panel with its colour bar."""
    ax.set_label("attribution")
    image = draw_image(ax, drawn.placed, drawn.values, drawn.step, drawn.scaled)
    ax.set_title(drawn.title)
    colour_bar(ax, image, drawn.scaled, drawn.label)
    if drawn.ids is not None:
        draw_edges(ax, drawn.ids, drawn.placed, drawn.step, colour="black", width=0.5)
    if bar:
        scale_bar(ax, drawn.placed)


def draw_segments(ax: Axes, drawn: Map, picture: Picture | None, *, bar: bool = False) -> None:
    """Draw the outlines of segments over the grey scene, and their numbers."""
    ax.set_label("segments")
    if drawn.ids is None:
        raise ResultError(
            "There are no segments for the panel 'segments'; pass segments=ids, a DataArray (y, x)."
        )
    if picture is None:
        dress(ax, drawn.placed)
    else:
        draw_image(ax, drawn.placed, picture.grey, picture.step, None)
    draw_edges(ax, drawn.ids, drawn.placed, drawn.step, colour=EDGE_COLOUR, width=0.9)
    draw_ids(ax, drawn.ids, drawn.placed, drawn.step, set(drawn.top))
    ax.set_title("Segments (bold = 10 strongest)" if drawn.top else "Segments")
    if bar:
        scale_bar(ax, drawn.placed)
