"""Matrices of how far methods agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.plot.style import METHOD_NAMES, canvas, head_line, house_style, named_axes, whole_figure
from xrxai.plot.view import take_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Title, colours and their limits. Purple and orange, blue: legible in every colour vision, and not
# the red and blue of signs. Limits are those of the measure, so that two figures can be compared.
MEASURES: dict[str, tuple[str, str, float, float]] = {
    "rank_correlation": ("Rank correlation\nof |attribution|", "PuOr_r", -1.0, 1.0),
    "sign_agreement": ("Equal signs\namong the tops", "Blues", 0.0, 1.0),
    "overlap": ("Overlap of the tops\n(Jaccard index)", "Blues", 0.0, 1.0),
}


def agreement(
    table: xr.Dataset,
    *,
    target: str | None = None,
    axes: Mapping[str, Axes] | Axes | None = None,
) -> Figure:
    """Draw how far methods agree, as a matrix of each measure with the numbers in the cells.

    Parameters
    ----------
    table : xarray.Dataset
        What ``xrxai.agreement({"name": explanation, ...})`` returned.
    target : str, optional
        The target to draw; needed when the table has several.
    axes : matplotlib.axes.Axes or mapping of str to Axes, optional
        Where to draw: the rank correlation alone, or matrices by name out of "rank_correlation",
        "sign_agreement" and "overlap".

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named by ``ax.get_label()``.

    Raises
    ------
    ResultError
        If it is no such table, or has several targets or samples.
    TargetError
        If it has no such target.

    Examples
    --------
    >>> table = xrxai.agreement({"IG": one, "LIME": two}, k=5)  # doctest: +SKIP
    >>> table.xai.plot.agreement(target="K")  # doctest: +SKIP
    """
    drawn, name = _matrices(table, target)
    if axes is not None:
        panels = named_axes(axes, "rank_correlation", tuple(MEASURES))
        with house_style():
            _draw(panels, drawn)
        return whole_figure(panels)
    side, longest = 0.55 * max(3, len(drawn.method)), max(map(len, _names(drawn)))
    with canvas(3 * (side + 0.6) + 0.07 * longest, 0.95 + side + 0.07 * longest) as figure:
        k = table.attrs.get("k", "")
        words = [f"Agreement of {len(drawn.method)} methods"]
        words += [f"target “{name}”"] if name else []
        words += [f"top {k} of {table.attrs.get('resolution', '')}".strip()] if k else []
        head_line(figure, words)
        row = figure.subplots(1, 3, sharey=True)
        _draw(dict(zip(MEASURES, row, strict=True)), drawn)
    return figure


def _matrices(table: xr.Dataset, target: str | None) -> tuple[xr.Dataset, str]:
    if not isinstance(table, xr.Dataset) or not set(MEASURES) <= set(table.data_vars):
        found = (
            f"a Dataset with {', '.join(map(str, table.data_vars)) or 'no variables'}"
            if isinstance(table, xr.Dataset)
            else f"a {type(table).__name__}"
        )
        raise ResultError(
            f"Expected the table of xrxai.agreement; found {found}. Type "
            "xrxai.agreement([one, two]).xai.plot.agreement()."
        )
    chosen, name = take_target(table, target)
    chosen = chosen.squeeze(
        [d for d in chosen.dims if d not in ("method", "other") and chosen.sizes[d] == 1]
    )
    rest = [str(d) for d in chosen.dims if d not in ("method", "other")]
    if rest:
        sizes = ", ".join(f"{d}: {chosen.sizes[d]}" for d in rest)
        raise ResultError(
            f"A matrix shows one sample, and this table has several ({sizes}). Type "
            f".isel({rest[0]}=0) to take the first, or .mean({rest[0]!r}, keep_attrs=True)."
        )
    return chosen, name


def _names(drawn: xr.Dataset) -> list[str]:
    return [METHOD_NAMES.get(str(m), str(m)) for m in drawn["method"].to_numpy()]


def _draw(panels: Mapping[str, Axes], drawn: xr.Dataset) -> None:
    import matplotlib

    names = _names(drawn)
    first = True
    for measure, ax in panels.items():
        title, colours, low, high = MEASURES[measure]
        values = np.asarray(drawn[measure].transpose("method", "other").to_numpy(), np.float64)
        ax.set_label(measure)
        cmap = matplotlib.colormaps[colours].with_extremes(bad="#e4e4e4")
        image = ax.imshow(values, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        _write(ax, values, image)
        at = np.arange(len(names))
        ax.set_xticks(at, names, rotation=90, fontsize=8)  # slanted ones push panels apart
        ax.set_yticks(at, names, fontsize=8)
        ax.tick_params(length=0, labelleft=first)
        ax.set_title(title)
        for spine in ax.spines.values():
            spine.set_visible(False)
        inset = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
        inset.set_label("colour_bar")
        ax.figure.colorbar(image, cax=inset, ticks=np.linspace(low, high, 3))
        inset.tick_params(labelsize=7.5)
        first = False


def _write(ax: Axes, values: NDArray[np.float64], image: Any) -> None:
    """Write each number in black or white, whichever is read; a method with itself is grey."""
    for i, j in np.ndindex(values.shape):
        if i == j:
            ax.add_patch(_cell(i))
        text = f"{values[i, j]:.2f}" if np.isfinite(values[i, j]) else "–"
        red, green, blue, _ = image.cmap(image.norm(values[i, j]))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        ax.text(
            j, i, text, ha="center", va="center", fontsize=8, gid="number",
            color="#777777" if i == j else "white" if dark else "black",
        )  # fmt: skip


def _cell(i: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((i - 0.5, i - 0.5), 1, 1, facecolor="#f0f0f0", edgecolor="none")
