"""Segments on a map: exact pixel edges, and numbers where there is room for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.plot.grid import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Share of the panel that a segment needs for a two-digit number at 6.5 points.
SMALLEST_LABELLED = 0.006


def pixel_edges(ids: NDArray[Any], placed: Grid, step: int = 1) -> NDArray[np.float64]:
    """Return the lines between pixels of different segments, (line, end, xy), in axis units.

    Runs of edges on one grid line are joined into one line: a thousand times fewer lines.
    """
    lines: list[NDArray[np.float64]] = []
    for along, differs in (("column", ids[:, 1:] != ids[:, :-1]), ("row", ids[1:] != ids[:-1])):
        table = differs.T if along == "column" else differs  # (grid line, pixel along it)
        padded = np.zeros((table.shape[0], table.shape[1] + 2), dtype=np.int8)
        padded[:, 1:-1] = table
        change = np.diff(padded, axis=1)
        at, start = np.nonzero(change == 1)
        end = np.nonzero(change == -1)[1]
        if along == "column":
            fixed = placed.column_edges((at + 1) * step)
            ends = (placed.row_edges(start * step), placed.row_edges(end * step))
            runs = [np.stack([fixed, e], axis=-1) for e in ends]
        else:
            fixed = placed.row_edges((at + 1) * step)
            ends = (placed.column_edges(start * step), placed.column_edges(end * step))
            runs = [np.stack([e, fixed], axis=-1) for e in ends]
        lines.append(np.stack(runs, axis=1))
    return np.concatenate(lines)


def draw_edges(
    ax: Axes, ids: NDArray[Any], placed: Grid, step: int, *, colour: str, width: float
) -> None:
    """Outline segments along the true edges of their pixels."""
    from matplotlib.collections import LineCollection

    lines = LineCollection(
        list(pixel_edges(ids, placed, step)), colors=colour, linewidths=width, capstyle="round"
    )
    lines.set_gid("segment_edges")
    ax.add_collection(lines, autolim=False)


def draw_ids(ax: Axes, ids: NDArray[Any], placed: Grid, step: int, bold: set[int]) -> None:
    """Write the number of each segment that has room for it, inside the segment."""
    from matplotlib import patheffects

    rows, columns = np.nonzero(ids)
    if rows.size == 0:
        return
    labels, start, counts = _sorted_runs(ids[rows, columns])
    order = np.argsort(ids[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    for label, first, count in zip(labels, start, counts, strict=True):
        if count < SMALLEST_LABELLED * ids.size:
            continue
        r, c = rows[first : first + count], columns[first : first + count]
        # The mean position of a crescent lies outside it: take its own pixel nearest to that.
        nearest = int(np.argmin((r - r.mean()) ** 2 + (c - c.mean()) ** 2))
        ax.text(
            float(placed.column_edges((c[nearest] + 0.5) * step)),
            float(placed.row_edges((r[nearest] + 0.5) * step)),
            str(int(label)),
            ha="center",
            va="center",
            fontsize=6.5,
            gid="segment_id",
            fontweight="bold" if int(label) in bold else "normal",
            clip_on=True,
            path_effects=[patheffects.withStroke(linewidth=1.8, foreground="white")],
        )


def _sorted_runs(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    unique, counts = np.unique(labels, return_counts=True)
    return unique, np.concatenate([[0], np.cumsum(counts)[:-1]]), counts
