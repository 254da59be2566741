"""The explorer: widgets, what they change, and the panels that show it."""

# Nothing imports this module, and Panel with it, before someone explores.
from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any

import panel as pn
import param

from xrxai.errors import choice
from xrxai.explorer.canvas import Map
from xrxai.explorer.looks import (
    bands_title,
    bars_of,
    feature_labels,
    first_pixel,
    headline,
    map_title,
    pixel_title,
    slider_title,
)
from xrxai.explorer.scene import STEP_BYTES, At, Scene, warning
from xrxai.explorer.strips import Strips
from xrxai.explorer.window import Window, pixel_at, seen_in, whole

_WIDE = 470


class Explorer(pn.viewable.Viewer):  # type: ignore[misc]
    """
    An explanation to look around in: a map with sliders, and the spectra of a tapped pixel.

    A cell that ends in it shows it; ``.servable()`` adds it to an app of Panel. Its parameters are
    its state: setting ``explorer.target = "K"`` moves what is shown.

    Parameters
    ----------
    scene : Scene
        What is read from.
    target : str, optional
        The target that is shown first.
    """

    target = param.Selector(doc="Name of the target.")
    feature = param.Integer(0, bounds=(0, None), doc="Position of the band or group.")
    summed = param.Boolean(
        False, label="all bands summed", doc="Show the sum over all bands instead of one."
    )
    own_limits = param.Boolean(False, label="limits of this band", doc="Colours by this band.")
    opacity = param.Magnitude(
        0.85, label="overlay opacity", doc="Of the attribution over the picture."
    )
    row = param.Integer(0, doc="Row of the pixel.")
    column = param.Integer(0, doc="Column of the pixel.")
    sample = param.Dict({}, doc="Position along each dim that comes before bands and pixels.")

    def __init__(self, scene: Scene, *, target: str | None = None) -> None:
        self.scene = scene
        self.placed = scene.placed()
        self.axis = scene.axis()
        self.groups = scene.groups(self.axis)
        self.features = feature_labels(scene, self.axis)
        self.param.target.objects = scene.targets
        if target is not None:
            choice(target, scene.targets, "target")
        else:
            target = scene.targets[0]
        start = At(scene.targets.index(target), scene.start.lead)
        cheap = scene.sum_bytes() <= STEP_BYTES
        row, column = first_pixel(scene, start)
        super().__init__(
            target=target, row=row, column=column, sample=dict(start.lead),
            summed=bool(self.features) and cheap,
            feature=scene.strongest(start) if self.features else 0,
        )  # fmt: skip

    @property
    def at(self) -> At:
        """What is looked at."""
        return At(self.scene.targets.index(self.target), tuple(self.sample.items()))

    @property
    def shown(self) -> int | None:
        """Position of the band or group that the map shows, None for their sum."""
        return None if self.summed or not self.features else self.feature

    def __panel__(self) -> Any:
        """Make widgets and panels anew: the same explorer may be shown twice."""
        return _Screen(self).layout

    def save(self, path: str | os.PathLike[str], *, max_mb: float = 10.0) -> Path:
        """
        Write one HTML file that works without a server and without a network.

        It shows the sample that is selected, with all targets and bands. Values are stored in
        65 535 steps; where the file would be too large, each pixel of the page is the mean of
        k x k pixels, and the page says so.

        Parameters
        ----------
        path : str or path
            The file; one that is there is replaced.
        max_mb : float
            Largest size of the file in MB; about 4 of them are Bokeh itself.

        Returns
        -------
        Path
            The file.
        """
        from xrxai.explorer.page import write

        return write(self, path, max_mb=max_mb)


class _Screen:
    """One display of an explorer: its figures and widgets, kept up to date with its parameters."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer, self.scene = explorer, explorer.scene
        self.placed = explorer.placed
        self.window: Window | None = None if self.placed is None else whole(self.placed)
        self.map = (
            None if self.placed is None else Map(self.scene, self.placed, opacity=explorer.opacity)
        )
        self.strips = Strips(self.scene, explorer.axis, explorer.groups)
        self.has_picture = False
        self.words = pn.pane.HTML(styles={"font-size": "15px"})
        self.status = pn.pane.HTML(styles={"font-size": "12px", "color": "#555"})
        self.panes = [pn.pane.Bokeh(self.strips.layout())]
        left: list[Any] = []
        if self.map is not None:
            left = [pn.pane.Bokeh(self.map.figure)]
            self.panes += left
            self._listen()
        told = warning(self.scene)
        note = [pn.pane.HTML(html.escape(told or ""), styles={"color": "#a33"}, width=1000)]
        self.layout = pn.Column(
            self.words,
            *(note if told else ()),
            pn.Row(*self._widgets()),
            pn.Row(pn.Column(*left, self.status), self.panes[0]),
        )
        # Each change redraws what it concerns, once.
        explorer.param.watch(self._on_change, [
            "target", "sample", "feature", "summed", "own_limits", "row", "column",
        ])  # fmt: skip
        self._draw_picture()
        self._draw_values()
        self._draw_pixel()

    def _widgets(self) -> list[Any]:
        explorer, made = self.explorer, []
        if len(self.scene.targets) > 1:
            made.append(
                pn.widgets.Select.from_param(explorer.param.target, width=150, description=None)
            )
        for dim, names in self.scene.lead.items():
            made.append(self._selector(dim, names))
        if explorer.features:
            what = slider_title(self.scene, explorer.axis)
            slider = pn.widgets.DiscreteSlider(
                options=explorer.features, value=explorer.feature, width=360, **_label(what)
            )
            slider.link(explorer, value="feature", bidirectional=True)
            if self.scene.kind == "groups":
                explorer.param.summed.label = "all groups summed"
                explorer.param.own_limits.label = "limits of this group"
            boxes = pn.Column(
                pn.widgets.Checkbox.from_param(explorer.param.summed),
                pn.widgets.Checkbox.from_param(explorer.param.own_limits),
            )
            made += [slider, boxes]
        if self.map is not None and self.map.glyph is not None:
            opacity = pn.widgets.FloatSlider.from_param(
                explorer.param.opacity, step=0.05, width=150
            )
            # In the browser: nothing is sent again.
            opacity.jslink(self.map.glyph, value="global_alpha")
            made.append(opacity)
        return made

    def _selector(self, dim: str, names: list[str]) -> Any:
        explorer = self.explorer
        options = {name: i for i, name in enumerate(names)}
        kind = pn.widgets.Select if len(names) <= 50 else pn.widgets.DiscreteSlider
        made = kind(options=options, value=explorer.sample[dim], width=150, **_label(dim))

        def select(event: Any) -> None:
            explorer.sample = {**explorer.sample, dim: event.new}

        made.param.watch(select, "value")
        return made

    def _listen(self) -> None:
        from bokeh.events import DoubleTap, RangesUpdate, Tap

        assert self.map is not None
        # The second of two quick taps, on two pixels, is a double one.
        self.map.figure.on_event(Tap, self._on_tap)
        self.map.figure.on_event(DoubleTap, self._on_tap)
        self.map.figure.on_event(RangesUpdate, self._on_ranges)

    def _on_tap(self, event: Any) -> None:
        assert self.placed is not None
        if event.x is None or event.y is None:
            return
        found = pixel_at(self.placed, event.x, event.y)
        if found is not None:
            self.explorer.param.update(row=found[0], column=found[1])

    def _on_ranges(self, event: Any) -> None:
        assert self.placed is not None
        window = seen_in(self.placed, (event.x0, event.x1), (event.y0, event.y1))
        if window != self.window:
            self.window = window
            self._draw_picture()
            self._draw_values()
            self._push()

    def _on_change(self, *events: Any) -> None:
        changed = {event.name for event in events}
        if "sample" in changed:
            self._draw_picture()
        if changed & {"target", "sample", "feature", "summed", "own_limits"}:
            self._draw_values()
        if changed & {"target", "sample", "row", "column"}:
            self._draw_pixel()
        self._push()

    def _push(self) -> None:
        """Send changes of figures to a notebook; a server sends them by itself."""
        if pn.state.curdoc is None or pn.state.curdoc.session_context is None:
            pn.io.push_notebook(*self.panes)

    def _draw_picture(self) -> None:
        if self.map is None or self.window is None:
            return
        rgba = self.scene.picture(self.explorer.at, self.window)
        self.has_picture = rgba is not None
        self.map.show_picture(rgba, self.window)

    def _draw_values(self) -> None:
        explorer, scene, feature = self.explorer, self.scene, self.explorer.shown
        self.words.object = f"<b>{html.escape(headline(scene, explorer.at))}</b>"
        axis = explorer.axis if scene.kind == "cube" else None
        self.strips.show_mark(None if axis is None or feature is None else axis.x[feature])
        if self.map is None or self.window is None:
            return
        self.map.figure.title.text = map_title(scene, explorer.axis, feature)
        if scene.has_values_in_space:
            values = scene.plane(explorer.at, feature, self.window)
            if explorer.own_limits and feature is not None:
                limits = scene.own_limits(explorer.at, values)
            else:
                limits = scene.limits(explorer.at, summed=feature is None)
            self.map.show_limits(limits, over_picture=self.has_picture)
            self.map.show_values(values, self.window)
        k = self.window.step
        said = f"1 of {k} × {k} pixels is drawn; zoom in for all." if k > 1 else "All pixels drawn."
        colours = scene.colours_said(explorer.at)
        what = (
            "Tap one for its segment." if scene.kind == "segments" else "Tap one for its spectra."
        )
        self.status.object = f"{said} {what if self._taps else ''} " + (
            f"True colour: {html.escape(colours)}." if colours else ""
        )

    @property
    def _taps(self) -> bool:
        return self.scene.has_values_in_space or self.scene.cube is not None

    def _draw_pixel(self) -> None:
        explorer, scene = self.explorer, self.scene
        row, column, at = explorer.row, explorer.column, explorer.at
        values = scene.features(at, row, column)
        where = pixel_title(self.placed, row, column) if self._taps else ""
        if self.map is not None and self._taps:
            self.map.show_marker(row, column)
        spectrum = scene.spectrum(at, row, column)
        self.strips.show_typical(scene.typical(at))
        mean = "Mean of the scene, 5–95 %" if scene.cube is None else where
        self.strips.show_spectrum(spectrum, mean)
        # Without the cube there is no strip above that says which pixel this is.
        alone = scene.cube is None and scene.per_pixel
        self.strips.show_bands(values, where if alone else bands_title(scene, at))
        self.strips.show_bars(bars_of(scene, explorer.groups, at, row, column, values))


def _label(text: str) -> dict[str, str]:
    """Name a widget: Panel 1.9 calls `label` what was `name` before."""
    return {"label" if "label" in pn.widgets.Widget.param else "name": text}
