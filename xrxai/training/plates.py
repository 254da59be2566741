"""The figure of a diagnosis: where a model errs, doubts and is blind, and its worst classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.io import overview
from xrxai.plot.grid import Grid, draw_image, grid, hatch_ground, scale_bar
from xrxai.plot.maps import draw_picture
from xrxai.plot.outlines import draw_edges
from xrxai.plot.picture import from_cube
from xrxai.plot.style import (
    LINE_COLOUR,
    NAN_COLOUR,
    Scale,
    canvas,
    colour_bar,
    head_line,
    scale,
    with_grey_nan,
)
from xrxai.training.classes import UNLABELLED, Classes, classes_of
from xrxai.training.places import plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT = "#ebebeb"


def plot_diagnosis(diagnosis: xr.DataTree, cube: xr.DataArray | None = None) -> Figure:
    """
    Draw what a diagnosis tells of each pixel, and the classes from the worst to the best.

    Parameters
    ----------
    diagnosis : DataTree
        Of `diagnose`.
    cube : DataArray, (band, y, x), optional
        The scene, for a picture of it.

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named by ``ax.get_label()``: "true_colour" (with `cube`), "labels",
        "class_map", "errors" (light where the model is right, the colour of the true class where
        it is wrong, hatched where nothing is judged), "uncertainty", "label_doubt" (suspect labels
        outlined), "dissimilarity" (warm where the model is not applicable) and
        "explanation_shift" where the diagnosis has them, and "iou"; where no label judges,
        neither "errors" nor "iou".

    Raises
    ------
    ResultError
        It is no diagnosis.
    """
    root = _root(diagnosis)
    y, x = plane(root["class_map"])
    root = root.transpose(..., y, x)
    classes = classes_of(root["label"])
    placed = grid(root, y, x)
    step = overview.map_step((root.sizes[y], root.sizes[x]), overview.PIXELS_PER_SIDE)
    doubted = diagnosis["labels"].to_dataset().transpose(y, x, ...)
    panels: dict[str, Callable[[Any], None]] = {}
    if cube is not None:
        picture = from_cube(cube)
        panels["true_colour"] = lambda ax: draw_picture(ax, picture, bar=False)
    judged = _errors(root, classes)
    plain: Any = {"placed": placed, "step": step}
    panels["labels"] = lambda ax: _classed(ax, root["label"].values, classes, "Labels", **plain)
    panels["class_map"] = lambda ax: _classed(ax, root["class_map"].values, classes, "Map", **plain)
    scores = diagnosis["scores"].to_dataset()
    scored = bool((scores["pixels"] > 0).any())
    if scored:
        panels["errors"] = lambda ax: _draw_errors(ax, judged, classes, **plain)
    unsure, doubt = root["uncertainty"], doubted["label_doubt"]
    panels["uncertainty"] = lambda ax: _heat(
        ax, unsure, "Uncertainty", "entropy / maximum [1]", top=1.0, **plain
    )
    panels["label_doubt"] = lambda ax: _heat(
        ax, doubt, "Label doubt", "doubt [1]", top=1.0, around=doubted["suspect"].values, **plain
    )
    if "dissimilarity" in root:
        far = root["dissimilarity"]
        beyond = _beyond(far)
        panels["dissimilarity"] = lambda ax: _heat(
            ax, far, "Unlike the training data", "dissimilarity [1]", scaled=beyond, **plain
        )
    if "explanation_shift" in root:
        moved = root["explanation_shift"]
        panels["explanation_shift"] = lambda ax: _heat(
            ax, moved, "Unusual reasons", "explanation shift [1]", **plain
        )
    count = len(panels) + scored
    columns = 3 if count in (6, 9) else 4  # the bars end the last row
    rows = -(-count // columns)
    ratio = min(max(placed.ratio(), 0.5), 1.6)
    with canvas(0.4 + 3.1 * columns, 1.2 + rows * (0.45 + 2.45 * ratio)) as figure:
        head_line(figure, _head(scores, doubted))
        cells = figure.add_gridspec(rows, columns)
        for k, (name, draw) in enumerate(panels.items()):
            ax = figure.add_subplot(cells[k // columns, k % columns])
            draw(ax)
            ax.set_label(name)
            if k == 0:
                scale_bar(ax, placed)
            if k % columns:
                ax.tick_params(labelleft=False)
                ax.set_ylabel("")
            if k // columns < rows - 1:
                ax.tick_params(labelbottom=False)
                ax.set_xlabel("")
        if scored:
            _bars(figure.add_subplot(cells[-1, len(panels) % columns]), scores, classes)
        _legend(figure, classes)
    return figure


def _root(diagnosis: Any) -> xr.Dataset:
    if not isinstance(diagnosis, xr.DataTree) or "class_map" not in diagnosis:
        raise ResultError(
            f"A {type(diagnosis).__name__} is no diagnosis; type "
            f"training.plot_diagnosis(training.diagnose(cube, labels, model))."
        )
    return diagnosis.to_dataset()


def _head(scores: xr.Dataset, doubted: xr.Dataset) -> list[str]:
    parts = ["Diagnosis", "no label to judge by"]
    if (scores["pixels"] > 0).any():
        parts[1:] = [f"mean IoU {float(scores['mean_iou']):.2f}"]
        parts.append(f"accuracy {float(scores['accuracy']):.2f}")
    if "doubted" in doubted:
        count = int(doubted["doubted"].sum())
        parts.append(f"{count} suspect label{'s' * (count != 1)}")
    return parts


def _errors(root: xr.Dataset, classes: Classes) -> np.ndarray:
    """Class of what is wrong, `len(classes)` where right, -1 where nothing is judged."""
    told, found = root["label"].values, root["class_map"].values
    known = (told != UNLABELLED) & (found != UNLABELLED)
    if "trained" in root:
        known &= ~root["trained"].values
    return np.where(known, np.where(told == found, len(classes), told), -1)


def _classed(
    ax: Axes, values: np.ndarray, classes: Classes, title: str, *, placed: Grid, step: int
) -> None:
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(list(classes.colors)).with_extremes(bad=NAN_COLOUR)
    scaled = Scale(colours, -0.5, len(classes) - 0.5, "neither", "")
    draw_image(ax, placed, np.ma.masked_less(values[::step, ::step], 0), step, scaled)
    ax.set_title(title)


def _draw_errors(
    ax: Axes, values: np.ndarray, classes: Classes, *, placed: Grid, step: int
) -> None:
    from matplotlib.colors import ListedColormap

    colours = ListedColormap([*classes.colors, RIGHT]).with_extremes(bad=(0, 0, 0, 0))
    scaled = Scale(colours, -0.5, len(classes) + 0.5, "neither", "")
    draw_image(ax, placed, np.ma.masked_less(values[::step, ::step], 0), step, scaled)
    ax.set_facecolor("white")
    hatch_ground(ax)
    ax.set_title("Errors, by true class")


def _heat(
    ax: Axes,
    array: xr.DataArray,
    title: str,
    label: str,
    *,
    placed: Grid,
    step: int,
    top: float | None = None,
    scaled: Scale | None = None,
    around: np.ndarray | None = None,
) -> None:
    """Draw values from 0 up, and outline pixels that matter."""
    values = array.values[::step, ::step]
    if scaled is None:
        scaled = scale(values, robust=True, signed=False)
    if top is not None:
        scaled = replace(scaled, low=0.0, high=top, extend="neither")
    image = draw_image(ax, placed, values, step, scaled)
    if around is not None and around.any() and not around.all():
        draw_edges(ax, around.astype(np.int64), placed, step, colour="#56B4E9", width=0.9)
    colour_bar(ax, image, scaled, label)
    ax.set_title(title)


def _beyond(array: xr.DataArray) -> Scale:
    """Cold colours up to the threshold of applicability, warm ones beyond."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    limit = float(array.attrs["threshold"])
    scaled = scale(array.values, robust=True, signed=False)
    top = max(scaled.high, 1.5 * limit)
    cold = round(256 * limit / top)
    shades = np.concatenate(
        [
            matplotlib.colormaps["Blues"](np.linspace(0.05, 0.5, cold)),
            matplotlib.colormaps["YlOrRd"](np.linspace(0.45, 1.0, 256 - cold)),
        ]
    )
    over = float(np.nanmax(array.values)) > top
    return Scale(with_grey_nan(ListedColormap(shades)), 0.0, top, "max" if over else "neither", "")


def _bars(frame: Axes, scores: xr.Dataset, classes: Classes) -> None:
    """Draw the intersection over union of each class, the worst on top."""
    frame.set_label("iou")
    frame.axis("off")
    # Names stand inside the frame, so that they do not push the maps apart.
    names = min(0.06 + 0.026 * max(len(name) for name in classes.names), 0.6)
    ax = frame.inset_axes((names, 0.08, 1.0 - names, 0.92))
    order = np.argsort(scores["rank"].values)
    iou = scores["iou"].values[order]
    at = np.arange(len(order))
    colours = [classes.colors[k] for k in order]
    bars = np.nan_to_num(iou)
    ax.barh(at, bars, height=0.66, color=colours, edgecolor=LINE_COLOUR, linewidth=0.4)
    for k, value in enumerate(iou):
        text, style = (f"{value:.2f}", {}) if np.isfinite(value) else ("absent", _SOFT)
        ax.annotate(
            text,
            (bars[k], k),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            **style,
        )
    ax.set_yticks(at, [classes.names[k] for k in order])
    ax.set_ylim(len(at) - 0.4, -0.6)
    ax.set_xlim(0.0, 1.18)
    ax.set_xticks([0.0, 0.5, 1.0])
    ax.set_xlabel("intersection over union [1]")
    frame.set_title("Classes, worst first")


_SOFT: Any = {"style": "italic", "color": "#666666"}


def _legend(figure: Any, classes: Classes) -> None:
    from matplotlib.patches import Patch

    line: Any = {"edgecolor": LINE_COLOUR, "linewidth": 0.4}
    keys = [
        Patch(facecolor=colour, label=name, **line)
        for name, colour in zip(classes.names, classes.colors, strict=True)
    ]
    keys += [
        Patch(facecolor=RIGHT, label="right", **line),
        Patch(facecolor="white", hatch="////", label="not judged", **line),
        Patch(facecolor=NAN_COLOUR, label="no label or data", **line),
    ]
    wide = 0.35 + 0.065 * max(16, *(len(name) for name in classes.names))
    fit = max(1, int(figure.get_figwidth() / wide))
    figure.legend(
        handles=keys,
        loc="outside lower center",
        ncols=min(len(keys), fit),
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.2,
    )
