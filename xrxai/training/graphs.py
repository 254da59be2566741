"""How training went, and what is taken for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.plot.style import EDGE_COLOUR, LINE_COLOUR, SPREAD_COLOUR, canvas, head_line
from xrxai.training.classes import classes_of
from xrxai.training.history import Fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RED = "#D55E00"


def plot_history(history: xr.Dataset | Fitted) -> Figure:
    """
    Draw the losses of each epoch, and the scores on the validation tiles.

    Parameters
    ----------
    history : Fitted or Dataset
        What `fit` returned, or its history.

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named "loss" and "iou" by ``ax.get_label()``.

    Raises
    ------
    ResultError
        When it is neither.
    """
    best = history.best_epoch if isinstance(history, Fitted) else None
    made = history.history if isinstance(history, Fitted) else history
    if not isinstance(made, xr.Dataset) or "train_loss" not in made:
        raise ResultError(
            f"Expected what fit returned; found a {type(made).__name__} without the variable "
            f"'train_loss'. Type training.plot_history(fitted)."
        )
    looked = "validation_loss" in made
    with canvas(7.4 if looked else 3.9, 3.1) as figure:
        words = [f"Training, {made.sizes['epoch']} epochs"]
        if best is not None and looked:
            score = float(made["mean_iou"].sel(epoch=best))
            words.append(f"best is epoch {best}, mean IoU {score:.2f}")
        head_line(figure, words)
        axes = figure.subplots(1, 2 if looked else 1, squeeze=False)[0]
        _losses(axes[0], made)
        if looked:
            _scores(axes[1], made)
        for ax in axes:
            if best is not None and looked:
                ax.axvline(best, color=SPREAD_COLOUR, linewidth=0.8, linestyle=":", zorder=0)
            ax.set_xlabel("epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


def plot_confusion(evaluated: xr.Dataset) -> Figure:
    """
    Draw which class is taken for which, and the scores of each with their intervals.

    Parameters
    ----------
    evaluated : Dataset
        What `evaluate` returned.

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named "confusion" and "iou" by ``ax.get_label()``. Cells are shares of the
        true class; classes without a labelled pixel are grey.

    Raises
    ------
    ResultError
        When it is something else.
    """
    if not isinstance(evaluated, xr.Dataset) or not {"confusion", "iou"} <= set(evaluated):
        raise ResultError(
            f"Expected what evaluate returned; found a {type(evaluated).__name__} without the "
            f"variables 'confusion' and 'iou'. Type training.plot_confusion(training.evaluate("
            f"cube, labels, model))."
        )
    names = [str(name) for name in evaluated["class"].values]
    side, longest = 0.5 * max(3, len(names)), 0.07 * max(map(len, names))
    with canvas(2 * side + 2.4 + longest, side + 1.0 + longest) as figure:
        low, high = (float(evaluated[f"mean_iou_ci_{end}"]) for end in ("low", "high"))
        ends = f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""
        absent = [n for n, v in zip(names, evaluated["class_present"].values, strict=True) if not v]
        words = [f"Mean IoU {float(evaluated['mean_iou']):.2f}{ends}"]
        words.append(f"{int(evaluated['confusion'].sum()):,} pixels")
        words += [f"absent: {', '.join(absent)}"] if absent else []
        head_line(figure, words)
        left, right = figure.subplots(1, 2, sharey=True)
        _matrix(left, evaluated["confusion"].values, names)
        _bars(right, evaluated)
    return figure


def _losses(ax: Axes, made: xr.Dataset) -> None:
    ax.set_label("loss")
    epoch = made["epoch"].values
    ax.plot(epoch, made["train_loss"].values, color=RED, marker=_dot(epoch), label="training")
    if "validation_loss" in made:
        values = made["validation_loss"].values
        ax.plot(epoch, values, "o", color=EDGE_COLOUR, markersize=3.5, label="validation")
    ax.set_ylim(bottom=0.0)
    ax.set_title("Loss")
    ax.legend()


def _scores(ax: Axes, made: xr.Dataset) -> None:
    ax.set_label("iou")
    classes, epoch = classes_of(made), made["epoch"].values
    for k, name in enumerate(classes.names):
        values = made["iou"].values[:, k]
        if np.isfinite(values).any():
            style: Any = {"linewidth": 1.0, "marker": _dot(epoch), "markersize": 3}
            ax.plot(epoch, values, color=classes.colors[k], label=name, **style)
    ax.plot(epoch, made["mean_iou"].values, color=LINE_COLOUR, linewidth=2.2, label="mean")
    ax.set_ylim(0.0, 1.0)
    ax.set_title("Intersection over union, validation")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _dot(epoch: np.ndarray) -> str:
    """A line of one epoch cannot be seen."""
    return "o" if len(epoch) < 2 else ""


def _matrix(ax: Axes, confusion: np.ndarray, names: list[str]) -> None:
    import matplotlib

    ax.set_label("confusion")
    total = confusion.sum(1, keepdims=True)
    share = np.divide(confusion, total, out=np.full(confusion.shape, np.nan), where=total > 0)
    cmap = matplotlib.colormaps["Blues"].with_extremes(bad="#e4e4e4")
    image = ax.imshow(share, cmap=cmap, vmin=0.0, vmax=1.0, interpolation="nearest")
    for i, j in np.ndindex(share.shape):
        if confusion[i, j]:
            shown = f"{100 * share[i, j]:.0f}" if share[i, j] >= 0.005 else "<1"
            dark = share[i, j] > 0.55
            ax.text(j, i, shown, ha="center", va="center", fontsize=8, gid="number",
                    color="white" if dark else "black")  # fmt: skip
    at = np.arange(len(names))
    ax.set_xticks(at, names, rotation=90)
    ax.set_yticks(at, names)
    ax.tick_params(length=0)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.set_title("Share of the true class [%]")
    for spine in ax.spines.values():
        spine.set_visible(False)
    inset = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
    inset.set_label("colour_bar")
    bar = ax.figure.colorbar(image, cax=inset, ticks=[0.0, 0.5, 1.0])
    bar.ax.set_yticklabels(["0", "50", "100"])


def _bars(ax: Axes, made: xr.Dataset) -> None:
    ax.set_label("iou")
    classes, at = classes_of(made), np.arange(made.sizes["class"])
    values = made["iou"].values
    ends = np.stack([values - made["iou_ci_low"].values, made["iou_ci_high"].values - values])
    style: Any = {"edgecolor": LINE_COLOUR, "linewidth": 0.4, "height": 0.62}
    ax.barh(at, np.nan_to_num(values), color=classes.colors, **style)
    some = np.isfinite(ends).all(0)
    if some.any():
        bars: Any = {"fmt": "none", "ecolor": LINE_COLOUR, "elinewidth": 1.0, "capsize": 2.5}
        ax.errorbar(values[some], at[some], xerr=ends[:, some].clip(0), **bars)
    for k, there in enumerate(made["class_present"].values):
        if not there:
            ax.text(0.02, k, "absent", va="center", fontsize=8, style="italic", color="#666666")
    ax.set_xlim(0.0, 1.0)
    ax.tick_params(axis="y", length=0, labelleft=False)
    level = made.attrs.get("level")
    ax.set_xlabel("IoU" + (f", {100 * float(level):g} % interval" if level is not None else ""))
    ax.set_title("Intersection over union")
