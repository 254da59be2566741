"""The map of the explorer in plain Bokeh: of the app, and of pages that stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.explorer.colours import packed, palette, upright
from xrxai.explorer.dress import dress
from xrxai.explorer.scene import Scene
from xrxai.explorer.window import Window
from xrxai.plot.grid import Grid
from xrxai.plot.style import NAN_COLOUR, Scale, unit_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_SIDE, _LOWEST = 470, 220


class Map:
    """The scene: its picture, the attribution over it, the pixel that was tapped."""

    def __init__(self, scene: Scene, placed: Grid, *, opacity: float) -> None:
        from bokeh.models import ColorBar, ColumnDataSource, LinearColorMapper, Range1d
        from bokeh.plotting import figure

        self.placed = placed
        across = sorted((placed.left, placed.right))
        down = sorted((placed.bottom, placed.top))
        width, height, across, down = _framed(placed, across, down)
        self.figure = figure(
            frame_width=width, frame_height=height,
            x_range=Range1d(*across), y_range=Range1d(*(down if placed.north_up else down[::-1])),
            x_axis_label=placed.xlabel, y_axis_label=placed.ylabel,
            background_fill_color=NAN_COLOUR, toolbar_location="above", tools="",
            name="map",
        )  # fmt: skip
        _tools(self.figure)
        dress(self.figure)
        self.figure.xaxis.formatter = self.figure.yaxis.formatter = _plain()
        self.figure.xaxis.ticker.desired_num_ticks = 4
        self.figure.yaxis.ticker.desired_num_ticks = 5
        self.figure.yaxis.major_label_orientation = "vertical"
        self.picture = ColumnDataSource(_no_image(), name="picture_data")
        self.values = ColumnDataSource(_no_image(), name="values_data")
        self.marker = ColumnDataSource({"x": [], "y": []}, name="marker_data")
        where = {"x": "x", "y": "y", "dw": "dw", "dh": "dh", "image": "image"}
        self.figure.image_rgba(source=self.picture, **where)
        self.mapper = LinearColorMapper(palette=["#ffffff"], low=-1, high=1, nan_color=NAN_COLOUR)
        self.has_values = scene.has_values_in_space
        self.glyph: Any = None
        if self.has_values:
            drawn = self.figure.image(source=self.values, color_mapper=self.mapper, **where)
            self.glyph = drawn.glyph
            self.glyph.global_alpha = opacity
            bar = ColorBar(
                color_mapper=self.mapper, width=14, padding=6,
                title=unit_label(scene.first.attribution, "attribution"),
                major_label_text_font_size="8pt", title_text_font_size="8pt",
                title_text_font_style="normal",
            )  # fmt: skip
            self.figure.add_layout(bar, "right")
        for colour, size in (("white", 13), ("black", 10)):
            self.figure.scatter(
                "x", "y", source=self.marker, size=size, fill_color=None, line_color=colour,
                line_width=2,
            )  # fmt: skip

    def show_picture(self, rgba: Floats | None, window: Window) -> None:
        """Draw the true colours of a window."""
        self.picture.data = _no_image() if rgba is None else self._image(packed(rgba), window)

    def show_values(self, values: Floats, window: Window) -> None:
        """Draw the attribution of a window."""
        self.values.data = self._image(values.astype(np.float32), window)

    def show_limits(self, scaled: Scale, *, over_picture: bool) -> None:
        """Set what values the colours stand for."""
        self.mapper.update(
            palette=palette(scaled, over_picture=over_picture), low=scaled.low, high=scaled.high
        )

    def show_marker(self, row: int, column: int) -> None:
        """Put the ring around a pixel."""
        x = self.placed.column_edges(np.array([column, column + 1])).mean()
        y = self.placed.row_edges(np.array([row, row + 1])).mean()
        self.marker.data = {"x": [float(x)], "y": [float(y)]}

    def _image(self, image: NDArray[Any], window: Window) -> dict[str, Any]:
        left, right, bottom, top = window.extent(self.placed)
        return {
            "image": [upright(image, self.placed)],
            "x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom],
        }  # fmt: skip


def _framed(
    placed: Grid, across: list[float], down: list[float]
) -> tuple[int, int, list[float], list[float]]:
    """Return size of the frame in screen pixels, and the ranges that fill it without distortion."""
    ratio = placed.ratio()
    width, height = (_SIDE, _SIDE * ratio) if ratio <= 1 else (_SIDE / ratio, _SIDE)
    if height < _LOWEST:
        down, height = _widened(down, _LOWEST / height), _LOWEST
    if width < _LOWEST:
        across, width = _widened(across, _LOWEST / width), _LOWEST
    return round(width), round(height), across, down


def _widened(ends: list[float], by: float) -> list[float]:
    middle, half = sum(ends) / 2, (ends[1] - ends[0]) / 2 * by
    return [middle - half, middle + half]


def _tools(fig: Any) -> None:
    from bokeh.models import BoxZoomTool, PanTool, ResetTool, SaveTool, WheelZoomTool

    pan, wheel = PanTool(), WheelZoomTool(zoom_on_axis=False)
    fig.add_tools(pan, BoxZoomTool(match_aspect=True), wheel, ResetTool(), SaveTool())
    fig.toolbar.active_drag, fig.toolbar.active_scroll = pan, wheel


def _plain() -> Any:
    from bokeh.models import BasicTickFormatter

    return BasicTickFormatter(use_scientific=False)


def _no_image() -> dict[str, list[Any]]:
    return {"image": [], "x": [], "y": [], "dw": [], "dh": []}
