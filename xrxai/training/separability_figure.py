"""A matrix of which classes can be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError
from xrxai.plot.style import canvas, head_line, house_style, named_axes, whole_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_separability(found: xr.Dataset, *, axes: Axes | None = None) -> Figure:
    """
    Draw which classes can be told apart, as a matrix with the numbers in the cells.

    Parameters
    ----------
    found : Dataset
        What `separability` returned.
    axes : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure
        Its panel is named "separability".

    Raises
    ------
    OptionError
        It is no such Dataset.
    """
    if not isinstance(found, xr.Dataset) or "jeffries_matusita" not in found:
        raise OptionError(
            f"A {type(found).__name__} came where distances of classes are needed; type "
            f"training.plot_separability(training.separability(cube, labels))."
        )
    if axes is not None:
        panels = named_axes(axes, "separability", ("separability",))
        with house_style():
            _draw(panels["separability"], found)
        return whole_figure(panels)
    names = [str(name) for name in found["class"].values]
    side, longest = 0.55 * max(3, len(names)), 0.07 * max(map(len, names))
    with canvas(side + 1.7 + longest, side + 0.9 + longest) as figure:
        head_line(figure, ["Can these bands tell them apart?"])
        _draw(figure.subplots(), found)
    return figure


def _draw(ax: Any, found: xr.Dataset) -> None:
    import matplotlib

    names = [str(name) for name in found["class"].values]
    values = found["jeffries_matusita"].transpose("class", "other").values.copy()
    np.fill_diagonal(values, np.nan)
    cmap = matplotlib.colormaps["cividis"].with_extremes(bad="#e4e4e4")
    ax.set_label("separability")
    image = ax.imshow(values, cmap=cmap, vmin=0.0, vmax=2.0, interpolation="nearest")
    for i, j in np.ndindex(values.shape):
        known = np.isfinite(values[i, j])
        text = f"{values[i, j]:.2f}" if known else "" if i == j else "–"
        colour = "white" if known and values[i, j] < 1 else "black"
        weight = "bold" if known and values[i, j] < 1 else "normal"
        style: Any = {"ha": "center", "va": "center", "fontsize": 8, "fontweight": weight}
        ax.text(j, i, text, color=colour, gid="number", **style)
    at = np.arange(len(names))
    ax.set_xticks(at, names, rotation=90, fontsize=8)
    ax.set_yticks(at, names, fontsize=8)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title("bold: cannot be told apart", fontsize=8.5)
    inset = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
    inset.set_label("colour_bar")
    bar = ax.figure.colorbar(image, cax=inset, ticks=[0, 1, 1.9])
    bar.set_label("Jeffries-Matusita distance [1]", fontsize=8)
    inset.tick_params(labelsize=7.5)
