"""A page that stands alone: plain Bokeh, its numbers and its JavaScript inside one file."""

from __future__ import annotations

import html
import math
import os
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.errors import OptionError, positive
from xrxai.explorer.canvas import Map
from xrxai.explorer.colours import signs
from xrxai.explorer.looks import bands_title, bars_of, headline, slider_title
from xrxai.explorer.pack import Packed, pack
from xrxai.explorer.scene import At
from xrxai.explorer.strips import Strips
from xrxai.explorer.window import Window, whole

if TYPE_CHECKING:
    from xrxai.explorer.app import Explorer

# The picture alone is drawn coarser than the numbers.
_PICTURE_SIDE = 360
# Of what two bytes per value become in a file, compressed and as text; it decides the first try.
_TEXT_PER_BYTE = 0.9
_BOKEH_BYTES = 1.7e6


def write(explorer: Explorer, path: str | os.PathLike[str], *, max_mb: float) -> Path:
    """Write the page as fine as its size allows."""
    budget = positive(max_mb, "max_mb", 10) * 1e6
    target = Path(path)
    scene, placed = explorer.scene, explorer.placed
    step = 1
    if placed is not None:
        arrays = len(scene.targets) * (max(1, len(explorer.features)) if scene.feature else 1)
        arrays = arrays if scene.has_values_in_space else 0
        if scene.cube is not None and explorer.axis is not None:
            arrays += explorer.axis.x.size
        expected = 2 * arrays * placed.rows * placed.columns * _TEXT_PER_BYTE
        step = max(1, math.floor(math.sqrt(expected / max(budget - _BOKEH_BYTES, 1))))
        step = min(step, placed.rows, placed.columns)
    while True:
        packed = pack(scene, explorer.at, step)
        text = _page(explorer, packed)
        size = len(text.encode())
        if size <= budget:
            break
        numbers = packed.text_bytes()
        rest = size - numbers
        if placed is None or rest >= budget or step >= min(placed.rows, placed.columns):
            raise OptionError(
                f"max_mb={max_mb:g} is too small: a page of this has {rest / 1e6:.1f} MB without "
                f"a single pixel; type max_mb={math.ceil(rest / 1e6) + 1}."
            )
        coarser = math.ceil(step * math.sqrt(numbers / (budget - rest)))
        step = min(max(step + 1, coarser), placed.rows, placed.columns)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def _page(explorer: Explorer, packed: Packed) -> str:
    from bokeh.document import Document
    from bokeh.embed import file_html
    from bokeh.events import DoubleTap, Tap
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS, Div
    from bokeh.resources import INLINE

    scene, placed = explorer.scene, explorer.placed
    strips = Strips(scene, explorer.axis, explorer.groups)
    strips.show_typical(scene.typical(explorer.at))
    if strips.has_spectrum and scene.cube is None:
        strips.top.title.text = "Mean of the scene, 5–95 %"
    drawn = None if placed is None else Map(scene, placed, opacity=explorer.opacity)
    if drawn is not None:
        _fill(explorer, drawn, packed)
    nothing = np.zeros(_features(explorer))
    strips.show_bands(nothing, bands_title(scene, explorer.at, packed.window.step))
    bars = bars_of(scene, explorer.groups, explorer.at, explorer.row, explorer.column, nothing)
    if scene.per_pixel:  # a page has no intervals of every pixel
        bars = replace(bars, title=bars.title.removesuffix(" (95 % CI)"))
    strips.show_bars(bars)
    widgets = _widgets(explorer)
    words = Div(text="", styles={"font-size": "15px", "font-weight": "bold"})
    pixel = ColumnDataSource(_start(explorer, packed))
    js = CustomJS(
        args={
            "store": _store(explorer, packed, strips), "headline": words, "pixel": pixel,
            "values": None if drawn is None else drawn.values,
            "mapper": None if drawn is None else drawn.mapper,
            "marker": None if drawn is None else drawn.marker,
            "map_figure": None if drawn is None else drawn.figure,
            "spectrum": strips.spectrum if strips.has_spectrum else None,
            "typical": strips.typical if strips.has_spectrum else None,
            "spectrum_figure": strips.top if strips.has_spectrum else None,
            "bands": strips.bands if strips.has_bands else None,
            "bands_figure": strips.middle if strips.has_bands else None,
            "bars": strips.bars, "bars_figure": strips.bottom, "marks": strips.marks,
            **{name: widgets.get(name) for name in (
                "target_select", "feature_slider", "sum_box", "own_box",
            )},
        },
        code=files("xrxai.explorer").joinpath("page.js").read_text(encoding="utf-8"),
    )  # fmt: skip
    changes = {"target_select": "value", "feature_slider": "value"}
    for name, widget in widgets.items():
        if name == "opacity_slider":
            assert drawn is not None
            widget.js_link("value", drawn.glyph, "global_alpha")
        else:
            widget.js_on_change(changes.get(name, "active"), js)
    left: list[Any] = []
    if drawn is not None:
        drawn.figure.js_on_event(Tap, js)
        drawn.figure.js_on_event(DoubleTap, js)
        left = [drawn.figure]
    note = Div(text=html.escape(_footnote(explorer, packed)), width=1050, styles={"color": "#555"})
    document = Document()
    document.title = headline(scene, explorer.at)
    document.add_root(column(words, row(*widgets.values()), row(*left, strips.layout()), note))
    document.js_on_event("document_ready", js)
    text = str(file_html(document, INLINE, title=f"xrxai: {document.title}"))
    # What other packages have registered with Bokeh would be fetched, and is not used.
    head, _, body = text.partition("</head>")
    return re.sub(r"<script[^>]* src=[^>]*>\s*</script>|<link[^>]* href=[^>]*>", "", head) + (
        f"</head>{body}"
    )


def _fill(explorer: Explorer, drawn: Map, packed: Packed) -> None:
    """Draw the picture, and an empty map that the page writes into."""
    scene, placed = explorer.scene, explorer.placed
    assert placed is not None
    fine = whole(placed, _PICTURE_SIDE)
    rgba = scene.picture(explorer.at, fine)
    drawn.show_picture(rgba, fine)
    if scene.has_values_in_space:
        limits = scene.limits(explorer.at, summed=explorer.shown is None)
        drawn.show_limits(limits, over_picture=rgba is not None)
        drawn.show_values(np.full(packed.window.shape, np.nan), packed.window)
    drawn.figure.title.text = _map_words(explorer)[0]


def _map_words(explorer: Explorer) -> tuple[str, str]:
    """What is over the map of one band, and over the sum."""
    scene = explorer.scene
    if not scene.has_values_in_space:
        return "True colour", ""
    what = "Attribution per segment" if scene.kind == "segments" else "Attribution"
    return what, f"Attribution, sum over {'groups' if scene.kind == 'groups' else 'bands'}"


def _features(explorer: Explorer) -> int:
    scene = explorer.scene
    dim = scene.first.feature
    return int(scene.first.attribution.sizes[dim]) if dim else 1


def _start(explorer: Explorer, packed: Packed) -> dict[str, list[int]]:
    """The pixel that is shown first, on the grid of the page."""
    placed = explorer.placed
    if placed is None:
        return {"row": [0], "column": [0]}
    rows, columns = packed.window.shape
    row, col = explorer.row // packed.window.step, explorer.column // packed.window.step
    if placed.top > placed.bottom:
        row = rows - 1 - row
    if placed.left > placed.right:
        col = columns - 1 - col
    return {"row": [row], "column": [col]}


def _widgets(explorer: Explorer) -> dict[str, Any]:
    from bokeh.models import Checkbox, CustomJSTickFormatter, Select, Slider

    scene, made = explorer.scene, {}
    if len(scene.targets) > 1:
        made["target_select"] = Select(
            title="Target", value=explorer.target, options=scene.targets, width=150
        )
    if explorer.features:
        order = list(explorer.features.values())
        made["feature_slider"] = Slider(
            start=0, end=max(1, len(order) - 1), step=1, value=order.index(explorer.feature),
            width=330, title=slider_title(scene, explorer.axis), format=CustomJSTickFormatter(
                args={"labels": list(explorer.features)}, code="return labels[Math.round(tick)]"
            ),
        )  # fmt: skip
        many = "groups" if scene.kind == "groups" else "bands"
        made["sum_box"] = Checkbox(label=f"all {many} summed", active=explorer.summed)
        made["own_box"] = Checkbox(label=f"limits of this {many[:-1]}", active=explorer.own_limits)
    if scene.has_values_in_space:
        made["opacity_slider"] = Slider(
            start=0, end=1, step=0.05, value=explorer.opacity, title="overlay opacity", width=150
        )
    return made


def _store(explorer: Explorer, packed: Packed, strips: Strips) -> dict[str, Any]:
    """What page.js reads."""
    scene, placed, axis = explorer.scene, explorer.placed, explorer.axis
    per_pixel = scene.per_pixel
    ny, nx = packed.window.shape
    left, right, bottom, top = (
        (0.0, 1.0, 0.0, 1.0) if placed is None else packed.window.extent(placed)
    )
    everywhere = [At(t, explorer.at.lead) for t in range(len(scene.targets))]
    plain = None
    if not per_pixel and scene.kind in ("bands", "groups"):
        plain = [scene.features(a, 0, 0).tolist() for a in everywhere]
    fixed = None
    if not per_pixel and scene.kind != "map":
        fixed = []
        for a in everywhere:
            found = bars_of(
                scene, explorer.groups, a, explorer.row, explorer.column, scene.features(a, 0, 0)
            )
            fixed.append(
                {"names": found.names, "values": found.values.tolist(),
                 "low": found.low.tolist(), "high": found.high.tolist()}
            )  # fmt: skip
    limits: dict[str, list[list[float]]] = {"limits": [], "sum_limits": []}
    signed = True
    if scene.has_values_in_space:
        for a in everywhere:
            for name, summed in (("limits", False), ("sum_limits", True)):
                if summed and not scene.feature:
                    continue
                made = scene.limits(a, summed=summed)
                limits[name].append([made.low, made.high])
                signed = made.low < 0
    by_group = scene.kind == "groups"
    return {
        "kind": scene.kind, "targets": scene.targets, "per_pixel": per_pixel,
        "taps": per_pixel or packed.cube is not None or packed.ids is not None,
        "ids": None if packed.ids is None else packed.ids.reshape(-1),
        "nx": nx, "ny": ny, "step": packed.window.step,
        "rows": 1 if placed is None else placed.rows,
        "columns": 1 if placed is None else placed.columns,
        "left": left, "bottom": bottom, "width": right - left, "height": top - bottom,
        "flip_y": placed is not None and placed.top > placed.bottom,
        "flip_x": placed is not None and placed.left > placed.right,
        "n_features": len(explorer.features),
        "slider_labels": list(explorer.features), "slider_order": list(explorer.features.values()),
        "values": [v.reshape(-1) for v in packed.values], "scales": packed.scales,
        "sums": [v.reshape(-1) for v in packed.sums], "sum_scales": packed.sum_scales,
        "cube": None if packed.cube is None else packed.cube.reshape(-1),
        "cube_scale": packed.cube_scale,
        "plain": plain, "fixed_bars": fixed, "signed": signed, "colours": list(signs()),
        "bar_names": scene.targets if scene.kind == "map" else [g.name for g in explorer.groups],
        "members": [
            [i] if by_group else np.flatnonzero(g.member).tolist()
            for i, g in enumerate(explorer.groups)
        ],
        "headroom": strips.headroom,
        "axis": None if axis is None else {
            "line": _line(axis), "x": axis.x.tolist() if scene.kind == "cube" else None,
        },
        "quads": strips.quads(np.arange(float(_features(explorer))))["value"].astype(int).tolist()
        if strips.has_bands else [],
        **limits,
        "texts": {
            "headlines": [html.escape(headline(scene, a)) for a in everywhere],
            "bands": [bands_title(scene, a, packed.window.step) for a in everywhere],
            "one": _map_words(explorer)[0], "sum": _map_words(explorer)[1],
        },
    }  # fmt: skip


def _line(axis: Any) -> list[int]:
    """Position of the band of every point of a line, -1 in a gap."""
    _, positions = axis.line(np.arange(float(axis.x.size)))
    return [-1 if math.isnan(p) else int(p) for p in positions]


def _footnote(explorer: Explorer, packed: Packed) -> str:
    """What the page does not hold."""
    k, scene = packed.window.step, explorer.scene
    said = []
    if explorer.placed is not None and (packed.values or packed.cube is not None):
        said.append(
            f"Every value of this page is the mean of {k} × {k} pixels; colour limits are of all "
            "pixels."
            if k > 1
            else "All pixels are in this page."
        )
    if explorer.placed is not None:
        fine: Window = whole(explorer.placed, _PICTURE_SIDE)
        if fine.step > 1:
            said.append(f"The picture shows 1 of {fine.step} × {fine.step} pixels.")
    if packed.values or packed.cube is not None:
        said.append("Values are rounded to 1/32767 of the largest.")
    if scene.kind == "segments" and scene.spread.dims:
        said.append(f"Bars are of the tile of row {explorer.row}, column {explorer.column}.")
    for dim, position in explorer.at.lead:
        said.append(f"{dim}: {scene.lead[dim][position]} of {len(scene.lead[dim])}.")
    colours = scene.colours_said(explorer.at)
    if colours:
        said.append(f"True colour: {colours}.")
    return " ".join(said)
