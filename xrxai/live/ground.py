"""One map: a raster at its coordinates, north up, as high and wide as it is on the ground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.live.board import FONTS, Tools, hatched, nan_colour, palette, thinned
from xrxai.plot.outlines import pixel_edges
from xrxai.plot.style import NAN_COLOUR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xrxai.plot.grid import Grid
    from xrxai.plot.picture import Picture
    from xrxai.plot.reading import Map

# Pixels of the screen that one panel may fill.
WIDEST, HIGHEST = 340, 420
# A map by itself may be larger than one of several.
LARGER = 1.25


def coords(placed: Grid, shape: tuple[int, ...], step: int) -> dict[str, NDArray[np.float64]]:
    """Return the centres of the rows and columns of a raster of every `step`-th pixel."""
    return {
        "y": placed.row_edges((np.arange(shape[0]) + 0.5) * step),
        "x": placed.column_edges((np.arange(shape[1]) + 0.5) * step),
    }


def frame(placed: Grid, title: str, *, first: bool = True, size: float = 1.0) -> dict[str, Any]:
    """Return the options of a map's frame; only the first map of a row names its y axis."""
    from bokeh.models import BasicTickFormatter

    ratio = min(max(placed.ratio(), 0.2), 5.0)
    width = round(min(WIDEST, HIGHEST / ratio) * size)
    across, down = sorted((placed.left, placed.right)), sorted((placed.bottom, placed.top))
    return {
        "frame_width": width,
        "frame_height": round(width * ratio),
        "data_aspect": placed.aspect,
        "xlim": tuple(across),
        "ylim": tuple(down),
        "invert_yaxis": not placed.north_up,
        "xlabel": placed.xlabel,
        "ylabel": placed.ylabel,
        "xticks": 3,
        "yticks": 4 if ratio > 0.5 else 2,  # upright numbers need the height of seven letters
        "xformatter": BasicTickFormatter(use_scientific=False),
        "yformatter": BasicTickFormatter(use_scientific=False),
        "yrotation": 90,
        "yaxis": "left" if first else "bare",
        "bgcolor": NAN_COLOUR,
        "title": title,
        "hooks": [] if size == 1.0 else [_margins],
        "fontsize": FONTS,
        "backend": "bokeh",
    }


def _margins(plot: Any, element: Any) -> None:
    """Leave the same room above and below, as a hook: beside a longer title a map would be cut."""
    plot.state.update(min_border_top=52, min_border_bottom=48)


def image(
    tool: Tools,
    read: Map,
    dtype: Any,
    *,
    colorbar: bool = True,
    alone: bool = False,
    **look: Any,
) -> Any:
    """Make the map of an attribution; where it has segments they are told under the pointer.

    `alone` leaves out their outlines and what shows through where values are missing. Values are
    sent as they came (`dtype`), which is half of what `plot` computes with.
    """
    values = read.values.astype(dtype)
    data = xr.Dataset(
        {"attribution": (("y", "x"), values)}, coords(read.placed, values.shape, read.step)
    )
    made = tool.hvplot(data).image(
        x="x",
        y="y",
        z="attribution",
        cmap=palette(read.scaled),
        symmetric=False,  # limits are chosen; hvPlot would look for some
        colorbar=colorbar,
        clabel=read.label,
    )
    if read.ids is not None:  # hvPlot takes one variable of a raster; HoloViews tells all of them
        ids = (("y", "x"), read.ids)
        made = made.clone(made.data.assign(segment=ids), vdims=["attribution", "segment"])
    missing = nan_colour(read.scaled)
    framed = frame(read.placed, read.title + thinned(read.step), **look)
    made = made.opts(
        **framed,
        clim=(read.scaled.low, read.scaled.high),
        clipping_colors={"NaN": missing or (0, 0, 0, 0)},
        colorbar_opts={"width": 12} if colorbar else {},
        hover_tooltips=_told(read),
    )
    layers = [made] if missing else [_hatched_ground(tool, read.placed), made]
    if read.ids is not None:
        layers.append(outlines(tool, read, colour="black", width=0.5))
    if alone or len(layers) == 1:
        return made
    return tool.hv.Overlay(layers).opts(tool.hv.opts.Overlay(**framed))


def _hatched_ground(tool: Tools, placed: Grid) -> Any:
    """Hatch what is missing, on maps where a flat grey means something else."""
    whole = [(placed.left, placed.bottom, placed.right, placed.top)]
    ground = tool.hv.Rectangles(whole, ["x", "y", "x_end", "y_end"])
    return ground.opts(color=NAN_COLOUR, line_width=0, hooks=[hatched], backend="bokeh")


def _told(read: Map) -> list[tuple[str, str]]:
    """Return what is said under the pointer: where it is, and what is there."""
    placed = read.placed
    digits = "0" if placed.metres is None else "0.0" if placed.aspect == 1.0 else "0.000000"
    made = [
        (placed.xlabel.partition("  (")[0], f"$x{{{digits}}}"),
        (placed.ylabel, f"$y{{{digits}}}"),
        (read.label, "@image"),
    ]
    return made if read.ids is None else [*made, ("segment", "@segment")]


def picture(tool: Tools, made: Picture, *, grey: bool = False, **look: Any) -> Any:
    """Make the true-colour map: as drawn over the grey of what was not measured."""
    from matplotlib.colors import to_rgb

    rgba = made.grey if grey else made.rgba
    alpha = rgba[..., 3:]
    shown = rgba[..., :3] * alpha + np.array(to_rgb(NAN_COLOUR)) * (1.0 - alpha)
    data = xr.Dataset(
        {"colour": (("channel", "y", "x"), np.moveaxis(shown, -1, 0))},
        {"channel": ["red", "green", "blue"], **coords(made.placed, shown.shape, made.step)},
    )
    drawn = tool.hvplot(data).rgb(x="x", y="y", bands="channel", z="colour", hover=False)
    return drawn.opts(**frame(made.placed, made.title + thinned(made.step), **look))


def outlines(tool: Tools, read: Map, *, colour: str, width: float) -> Any:
    """Outline segments along the true edges of their pixels."""
    assert read.ids is not None
    ends = pixel_edges(read.ids, read.placed, read.step)
    table = (ends[:, 0, 0], ends[:, 0, 1], ends[:, 1, 0], ends[:, 1, 1])
    lines = tool.hv.Segments(table, kdims=["x", "y", "x_end", "y_end"])
    return lines.opts(color=colour, line_width=width, backend="bokeh")
