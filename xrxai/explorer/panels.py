"""The panels of the explorer in plain Bokeh: of the app, and of pages that stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.explorer.colours import packed, palette, signs, upright
from xrxai.explorer.looks import Bars, band_label
from xrxai.explorer.scene import Scene
from xrxai.explorer.window import Window
from xrxai.plot.bands import Axis, Group
from xrxai.plot.grid import Grid
from xrxai.plot.style import LINE_COLOUR, NAN_COLOUR, SPREAD_COLOUR, Scale, unit_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAP_SIDE, MAP_LOWEST = 470, 220
STRIP_WIDTH = 520
LEFT = 78  # room for labels, the same for all strips: their frames are in line
AT_COLOUR = "#E69F00"


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


class Strips:
    """What a pixel has along the spectrum: the cube, the attribution, and sums over groups."""

    def __init__(self, scene: Scene, axis: Axis | None, groups: list[Group]) -> None:
        from bokeh.models import Span

        self.axis, self.groups = axis, groups
        self.figures: list[Any] = []
        self.marks: list[Any] = []
        self.label = unit_label(scene.first.attribution, "attribution")
        typical = scene.typical(scene.start)
        self.has_spectrum = axis is not None and (scene.cube is not None or typical is not None)
        self.has_bands = axis is not None and scene.kind in ("cube", "bands", "groups")
        if axis is not None and self.has_spectrum:
            self._spectrum(scene, axis)
        if axis is not None and self.has_bands:
            self._bands(axis)
        for strip in self.figures:
            mark = Span(
                dimension="height", line_color=AT_COLOUR, line_width=1.5, visible=False,
                location=float(axis.limits[0]) if axis is not None else 0.0,
            )  # fmt: skip
            strip.add_layout(mark)
            self.marks.append(mark)
        if self.figures:
            name_groups(self.figures[0], groups, axis)
        self._bars()

    def _spectrum(self, scene: Scene, axis: Axis) -> None:
        from bokeh.models import ColumnDataSource

        label = unit_label(scene.cube, "cube") if scene.cube is not None else ""
        if not label:
            label = unit_label(scene.first.dataset["spectrum"], "cube")
        self.top = self._strip(axis, label, 150)
        self.top.name = "spectrum"
        x, _ = axis.line(np.zeros(axis.x.size))
        empty = np.full(x.size, np.nan)
        self.typical = ColumnDataSource(
            {"x": x, "mean": empty, "low": empty, "high": empty}, name="typical_data"
        )
        self.spectrum = ColumnDataSource({"x": x, "y": empty}, name="spectrum_data")
        grey = {"source": self.typical, "line_color": SPREAD_COLOUR}
        self.top.line("x", "mean", line_dash="4 3", **grey)
        for edge in ("low", "high"):
            self.top.line("x", edge, line_dash="1 3", **grey)
        self.top.line("x", "y", source=self.spectrum, line_color=LINE_COLOUR, line_width=1.8)
        if axis.x.size <= 30:
            self.top.scatter("x", "y", source=self.spectrum, color=LINE_COLOUR, size=5)

    def _bands(self, axis: Axis) -> None:
        from bokeh.models import ColumnDataSource, HoverTool, Span

        self.middle = self._strip(axis, self.label, 200)
        self.middle.name = "bands"
        nothing: list[float] = []
        self.bands = ColumnDataSource(
            {k: nothing for k in ("left", "right", "top", "bottom", "value", "colour", "name")},
            name="bands_data",
        )
        drawn = self.middle.quad(
            left="left", right="right", top="top", bottom="bottom", source=self.bands,
            fill_color="colour", line_color="colour", line_width=1,
        )  # fmt: skip
        self.middle.add_layout(
            Span(location=0, dimension="width", line_color="black", line_width=0.8)
        )
        told = [("", "@name"), ("", "@value{0.0000e+0}")]
        self.middle.add_tools(HoverTool(tooltips=told, renderers=[drawn], description="values"))

    def _strip(self, axis: Axis, label: str, height: int) -> Any:
        from bokeh.models import BoxAnnotation, Range1d
        from bokeh.plotting import figure

        shared = self.figures[0].x_range if self.figures else Range1d(*axis.limits)
        strip = figure(
            frame_width=STRIP_WIDTH, frame_height=height, x_range=shared, y_range=Range1d(0, 1),
            x_axis_label=axis.label, y_axis_label=label, tools="", toolbar_location=None,
        )  # fmt: skip
        strip.add_tools("xpan", "xwheel_zoom", "reset")
        dress(strip)
        strip.min_border_left = LEFT
        for group in self.groups:
            for low, high in group.intervals:
                if np.isfinite(low):
                    strip.add_layout(
                        BoxAnnotation(
                            left=low, right=high, fill_color=group.colour, fill_alpha=0.1,
                            line_color=None, level="image",
                        )
                    )  # fmt: skip
        for low, high in axis.runs(~axis.good):
            strip.add_layout(
                BoxAnnotation(
                    left=low, right=high, fill_color="#e4e4e4", fill_alpha=1.0, line_color=None,
                    hatch_pattern="right_diagonal_line", hatch_color="#9a9a9a", hatch_weight=0.6,
                    level="image",
                )
            )  # fmt: skip
        self.figures.append(strip)
        return strip

    def layout(self) -> Any:
        """Return the strips on top of each other."""
        from bokeh.layouts import column

        return column(*self.figures, self.bottom)

    def _bars(self) -> None:
        from bokeh.models import ColumnDataSource, FactorRange, Range1d, Span, Whisker
        from bokeh.plotting import figure

        nothing: list[float] = []
        columns = ("name", "value", "shown", "low", "high", "colour", "line")
        self.bars = ColumnDataSource({k: nothing for k in columns}, name="bars_data")
        self.bottom = figure(
            frame_width=STRIP_WIDTH, frame_height=150, y_range=FactorRange(factors=[]),
            x_range=Range1d(-1, 1), x_axis_label=self.label, tools="", toolbar_location=None,
            name="bars",
        )  # fmt: skip
        dress(self.bottom)
        self.bottom.min_border_left = LEFT
        self.bottom.hbar(
            y="name", right="shown", height=0.62, source=self.bars, fill_color="colour",
            line_color="line", line_width=2,
        )  # fmt: skip
        self.bottom.add_layout(
            Whisker(
                base="name", lower="low", upper="high", source=self.bars, dimension="width",
                line_color=LINE_COLOUR,
            )
        )  # fmt: skip
        for whisker in self.bottom.select(Whisker):
            for head in (whisker.lower_head, whisker.upper_head):
                head.size = 6
        self.bottom.add_layout(
            Span(location=0, dimension="height", line_color="black", line_width=0.8)
        )
        self.bottom.ygrid.grid_line_color = None

    def show_typical(self, typical: Floats | None) -> None:
        """Draw the mean of the scene, and where nine in ten of its spectra lie."""
        if self.axis is None or not self.has_spectrum or typical is None:
            return
        x, (mean, low, high) = self.axis.line(typical)
        self.typical.data = {"x": x, "mean": mean, "low": low, "high": high}
        self._fit_spectrum()

    def show_spectrum(self, values: Floats | None, title: str) -> None:
        """Draw the spectrum of a pixel."""
        if self.axis is None or not self.has_spectrum:
            return
        self.top.title.text = title
        if values is not None:
            x, y = self.axis.line(values)
            self.spectrum.data = {"x": x, "y": y}
        self._fit_spectrum()

    def _fit_spectrum(self) -> None:
        shown = np.concatenate(
            [self.spectrum.data["y"], self.typical.data["low"], self.typical.data["high"]]
        )
        low, high = room(shown, zero=False)
        high += 0.12 * (high - low)  # for the names of groups
        self.top.y_range.update(start=low, end=high)

    def show_bands(self, values: Floats, title: str) -> None:
        """Draw the attribution of a pixel, per band, or per group over the bands it covers."""
        if self.axis is None or not self.has_bands:
            return
        self.middle.title.text = title
        self.bands.data = self.quads(values)
        low, high = room(values, zero=True)
        if not self.has_spectrum:
            high += 0.12 * (high - low)  # for the names of groups
        self.middle.y_range.update(start=low, end=high)

    def quads(self, values: Floats) -> dict[str, Any]:
        """Return an area over every band, or over every piece of a group."""
        axis = self.axis
        assert axis is not None
        if values.size == axis.x.size and (not self.groups or values.size != len(self.groups)):
            order = axis.order
            left, right, shown = axis.low[order], axis.high[order], values[order]
            names = [band_label(axis, int(i)) for i in order]
        else:
            pieces = [
                (low, high, v, group.name)
                for group, v in zip(self.groups, values, strict=True)
                for low, high in group.intervals
                if np.isfinite(low)
            ]
            left, right, shown = (np.array([p[k] for p in pieces]) for k in range(3))
            names = [p[3] for p in pieces]
        flat = np.nan_to_num(shown)
        positive, negative = signs()
        return {
            "left": left, "right": right, "top": flat.clip(0, None), "bottom": flat.clip(None, 0),
            "value": shown, "colour": [positive if v >= 0 else negative for v in flat],
            "name": names,
        }  # fmt: skip

    def show_bars(self, bars: Bars) -> None:
        """Draw the bars."""
        positive, negative = signs()
        flat = np.nan_to_num(bars.values)
        colours = [positive if v >= 0 else negative for v in flat]
        self.bottom.visible = bool(bars.names)
        self.bottom.title.text = bars.title
        if self.bottom.y_range.factors != bars.names[::-1]:
            self.bottom.y_range.factors = bars.names[::-1]
            self.bottom.frame_height = max(60, 19 * len(bars.names))
        self.bars.data = {
            "name": bars.names, "value": bars.values, "shown": flat,
            "low": bars.low, "high": bars.high, "colour": colours,
            "line": ["black" if i == bars.picked else c for i, c in enumerate(colours)],
        }  # fmt: skip
        low, high = room(np.concatenate([bars.values, bars.low, bars.high]), zero=True)
        self.bottom.x_range.update(start=low, end=high)

    def show_mark(self, x: float | None) -> None:
        """Mark the wavelength that the map shows, or none."""
        for mark in self.marks:
            mark.visible = x is not None
            if x is not None:
                mark.location = float(x)


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


def name_groups(strip: Any, groups: list[Group], axis: Axis | None) -> None:
    """Write the names of groups over a strip, upright where they are too long for it."""
    from bokeh.models import Label

    if axis is None:
        return
    left, right = axis.limits
    taken = -np.inf
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
        strip.add_layout(
            Label(
                x=(low + high) / 2, y=strip.frame_height - 3, y_units="screen", text=group.name,
                text_color=group.colour, text_font_size="8pt", angle=0 if flat else np.pi / 2,
                text_align="center" if flat else "right",
                text_baseline="top" if flat else "middle",
            )
        )  # fmt: skip


def _framed(
    placed: Grid, across: list[float], down: list[float]
) -> tuple[int, int, list[float], list[float]]:
    """Return size of the frame in screen pixels, and the ranges that fill it without distortion."""
    ratio = placed.ratio()
    width, height = (MAP_SIDE, MAP_SIDE * ratio) if ratio <= 1 else (MAP_SIDE / ratio, MAP_SIDE)
    if height < MAP_LOWEST:
        down, height = _widened(down, MAP_LOWEST / height), MAP_LOWEST
    if width < MAP_LOWEST:
        across, width = _widened(across, MAP_LOWEST / width), MAP_LOWEST
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
