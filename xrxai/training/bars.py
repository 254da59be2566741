"""The figure of reasons: which band groups and places speak for the wrong class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.plot.style import LINE_COLOUR, canvas, head_line, sign_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_reasons(errors: xr.DataTree | xr.Dataset) -> Figure:
    """
    Draw which band groups, and which places, speak for each error.

    Parameters
    ----------
    errors : Dataset or DataTree
        Of `explain_errors`, or of `diagnose` that found some.

    Returns
    -------
    matplotlib.figure.Figure
        A row per confusion: the share of each band group in the margin of the wrong class, with
        its interval over connected wrong pixels, and beside it the share of places, for
        models of maps. Panels are named by the confusion, and by it and ", places".

    Raises
    ------
    ResultError
        It is neither, or the diagnosis explains no error.
    """
    why = _reasons(errors)
    targets = [str(t) for t in why["target"].values]
    groups = [str(g) for g in why["group"].values]
    placed = "place_attribution" in why
    tall = 0.75 + 0.19 * max(len(groups), 4)
    with canvas(8.4 if placed else 5.6, 0.75 + tall * len(targets)) as figure:
        head_line(figure, ["What speaks for the wrong class"])
        axes = figure.subplots(
            len(targets),
            1 + placed,
            squeeze=False,
            width_ratios=[2.2, 1.0][: 1 + placed],
        )
        for k, (target, row) in enumerate(zip(targets, axes, strict=True)):
            one = why.sel(target=target)
            pixels, objects = int(one["error_pixels"]), int(one["error_objects"])
            ends = [one[name].values for name in ("ci_low", "ci_high")]
            _shares(row[0], one["attribution"].values, groups, ends)
            row[0].set_label(target)
            row[0].set_title(
                f"{target.replace('->', '→')}  ({pixels} px, "
                f"{objects} object{'s' * (objects != 1)} explained)"
            )
            if placed:
                _shares(row[1], one["place_attribution"].values, list(one["place"].values), None)
                row[1].set_label(f"{target}, places")
                row[1].set_title("by place")
            if k == len(targets) - 1:
                for ax in row:
                    ax.set_xlabel("share of the margin [logits]")
    return figure


def _reasons(errors: Any) -> xr.Dataset:
    if isinstance(errors, xr.DataTree) and "class_map" in errors:
        if "errors" in errors.children:
            return errors["errors"].to_dataset()
        said = errors.attrs.get("errors", "It was made with explain=False.")
        raise ResultError(f"This diagnosis explains no error. {said}")
    if isinstance(errors, xr.DataTree):
        errors = errors.to_dataset()
    if isinstance(errors, xr.Dataset) and {"attribution", "error_pixels"} <= set(errors):
        return errors
    raise ResultError(
        f"A {type(errors).__name__} tells no reasons for errors; type "
        f"training.plot_reasons(training.explain_errors(cube, labels, model))."
    )


def _shares(ax: Axes, values: np.ndarray, names: list[str], ends: list[np.ndarray] | None) -> None:
    """Draw bars of signed shares, coloured by what they speak for."""
    positive, negative = sign_colours()
    at = np.arange(len(names))
    ax.barh(at, values, height=0.66, color=[positive if v > 0 else negative for v in values])
    if ends is not None and np.isfinite(ends[0]).any():
        spread = np.abs(np.stack(ends) - values)
        ax.errorbar(
            values, at, xerr=spread, fmt="none", ecolor=LINE_COLOUR, elinewidth=0.9, capsize=2
        )
    ax.axvline(0.0, color=LINE_COLOUR, linewidth=0.7)
    ax.set_yticks(at, names)
    ax.set_ylim(len(at) - 0.4, -0.6)
