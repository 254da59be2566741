"""The strips of the explorer in plain Bokeh: of the app, and of pages that stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.explorer.colours import signs
from xrxai.explorer.dress import STRIP_WIDTH, dress, name_groups, room
from xrxai.explorer.looks import Bars, band_label
from xrxai.explorer.scene import Scene
from xrxai.plot.axis import Axis, Group
from xrxai.plot.style import LINE_COLOUR, SPREAD_COLOUR, unit_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_LEFT = 78  # room for labels, the same for all strips: their frames are in line
_AT_COLOUR = "#E69F00"


class Strips:
    """What a pixel has along the spectrum: the cube, the attribution, and sums over groups."""

    def __init__(self, scene: Scene, axis: Axis | None, groups: list[Group]) -> None:
        from bokeh.models import Span

        self.axis, self.groups = axis, groups
        self.figures: list[Any] = []
        self.marks: list[Any] = []
        self.headroom = 0.0
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
                dimension="height", line_color=_AT_COLOUR, line_width=1.5, visible=False,
                location=float(axis.limits[0]) if axis is not None else 0.0,
            )  # fmt: skip
            strip.add_layout(mark)
            self.marks.append(mark)
        if self.figures:
            self.headroom = name_groups(self.figures[0], groups, axis)
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
        strip.min_border_left = _LEFT
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
        self.bottom.min_border_left = _LEFT
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
        high += self.headroom * (high - low)
        self.top.y_range.update(start=low, end=high)

    def show_bands(self, values: Floats, title: str) -> None:
        """Draw the attribution of a pixel, per band, or per group over the bands it covers."""
        if self.axis is None or not self.has_bands:
            return
        self.middle.title.text = title
        self.bands.data = self.quads(values)
        low, high = room(values, zero=True)
        if not self.has_spectrum:
            high += self.headroom * (high - low)
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
