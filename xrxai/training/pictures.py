"""What goes into a net, what should come out and what does: tiles, and predictions beside truth."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import BandError, at_least
from xrxai.labelled.cube import Cube, locate
from xrxai.model import Model
from xrxai.plot.picture import TRUE_COLOUR, colour_bands, coloured
from xrxai.plot.style import NAN_COLOUR, SPREAD_COLOUR, canvas, head_line
from xrxai.prediction import predict
from xrxai.training.classes import Classes
from xrxai.training.history import Fitted
from xrxai.training.metrics import numbered
from xrxai.training.tiles import Tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 1.7  # inches of a tile


def plot_tiles(tiles: Tiles, *, count: int = 8, columns: int = 4) -> Figure:
    """
    Draw tiles as a net gets them, augmented ones as they are augmented, each over its labels.

    Parameters
    ----------
    tiles : Tiles
        Of which the first are drawn.
    count : int, default: 8
        How many.
    columns : int, default: 4
        How many beside each other.

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named ``image 0``, ``label 0``, ... by ``ax.get_label()``.
    """
    count, columns = at_least(count, 1, "count"), at_least(columns, 1, "columns")
    count = min(count, len(tiles))
    items = [[np.asarray(part) for part in tiles[i]] for i in range(count)]
    colours, says = _colours(
        np.stack([i[0] for i in items]), np.stack([i[2] for i in items]), locate(tiles.cube)
    )
    columns, rows = min(columns, count), -(-count // columns)
    with canvas(SIDE * columns + 0.3, (2 * SIDE + 0.15) * rows + 0.9) as figure:
        kind = "Tiles" if tiles.augmentation is None else f"Augmented tiles, epoch {tiles.epoch}"
        head_line(figure, [kind, f"{count} of {len(tiles)}", says])
        for k, parts in enumerate(figure.subfigures(rows, columns, squeeze=False).ravel()[:count]):
            above, below = parts.subplots(2, 1)
            _image(above, colours[k], f"image {k}", f"tile {k}")
            _map(below, items[k][1], tiles.classes, f"label {k}", "")
        _legend(figure, tiles.classes, [item[1] for item in items])
    return figure


def plot_predictions(
    cube: xr.DataArray,
    labels: xr.DataArray,
    model: Model | Fitted,
    windows: xr.Dataset,
    *,
    count: int = 4,
    title: str = "",
) -> Figure:
    """
    Draw windows in three columns: what was measured, what it is, and what the model says.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        Of which the windows alone are read.
    labels : DataArray of int, (y, x)
        As for `Tiles`.
    model : Model or Fitted
        Whose targets are classes of the labels. It sees each window by itself, as in training.
    windows : Dataset
        As for `Tiles`.
    count : int, default: 4
        How many of them, from the first.
    title : str, optional
        What the bold line begins with. Default: "Prediction".

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named ``input 0``, ``truth 0``, ``prediction 0``, ... by
        ``ax.get_label()``. Above a prediction stands the share of labelled pixels that it has
        right.
    """
    tiles = Tiles(cube, labels, windows.isel(tile=slice(0, at_least(count, 1, "count"))))
    return _drawn(tiles, model, title or "Prediction")


class Pictures:
    """
    Draw predictions after each epoch, as a callback of `fit`.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        Of which the windows alone are read.
    labels : DataArray of int, (y, x)
        As for `Tiles`.
    windows : Dataset
        As for `Tiles`; of validation, say.
    folder : path, optional
        Where each figure is written as ``epoch_001.png``. Default: nowhere.
    count : int, default: 4
        How many windows.
    every : int, default: 1
        Epochs from one figure to the next.

    Attributes
    ----------
    figure : matplotlib.figure.Figure or None
        The last one.

    Examples
    --------
    >>> pictures = training.Pictures(cube, labels, windows, folder="run")  # doctest: +SKIP
    >>> training.fit(net, train, validation, callback=pictures)  # doctest: +SKIP
    """

    def __init__(
        self,
        cube: xr.DataArray,
        labels: xr.DataArray,
        windows: xr.Dataset,
        *,
        folder: str | os.PathLike[str] | None = None,
        count: int = 4,
        every: int = 1,
    ) -> None:
        self.tiles = Tiles(cube, labels, windows.isel(tile=slice(0, at_least(count, 1, "count"))))
        self.folder = None if folder is None else Path(folder).expanduser()
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.every = at_least(every, 1, "every")
        self.figure: Figure | None = None

    def __call__(self, fitted: Fitted) -> None:
        """Draw what the net says now."""
        import matplotlib.pyplot as plt

        now = fitted.history.sizes["epoch"]
        if now % self.every:
            return
        self.figure = _drawn(self.tiles, fitted, f"Epoch {now}")
        plt.close(self.figure)  # it can be shown still, and thirty open ones would be too many
        if self.folder is not None:
            part = self.folder / f".{uuid.uuid4().hex}.part"
            self.figure.savefig(part, format="png", dpi=110)
            os.replace(part, self.folder / f"epoch_{now:03d}.png")


def _drawn(tiles: Tiles, model: Model | Fitted, title: str) -> Figure:
    """Three columns: input, truth, prediction."""
    model = Model.ensure(model.model if isinstance(model, Fitted) else model)
    items = [[np.asarray(part) for part in tiles[i]] for i in range(len(tiles))]
    colours, says = _colours(
        np.stack([i[0] for i in items]), np.stack([i[2] for i in items]), locate(tiles.cube)
    )
    found = [_answer(tiles, i, model) for i in range(len(tiles))]
    with canvas(3 * SIDE + 0.9, (SIDE + 0.25) * len(tiles) + 0.9) as figure:
        truths = [item[1] for item in items]
        known = np.stack(truths) >= 0
        right = (np.stack(truths) == np.stack(found))[known]
        share = [f"{100 * right.mean():.0f} % of labelled pixels right"] if right.size else []
        head_line(figure, [title, *share, says])
        for k, row in enumerate(figure.subplots(len(tiles), 3, squeeze=False)):
            _image(row[0], colours[k], f"input {k}", "Input" if k == 0 else "")
            _map(row[1], truths[k], tiles.classes, f"truth {k}", "Truth" if k == 0 else "")
            here = (truths[k] == found[k])[truths[k] >= 0]
            said = f"{100 * here.mean():.0f} %" if here.size else "not labelled"
            named = f"Prediction  {said}" if k == 0 else said
            _map(row[2], found[k], tiles.classes, f"prediction {k}", named)
        _legend(figure, tiles.classes, [*truths, *found])
    return figure


def _answer(tiles: Tiles, index: int, model: Model) -> np.ndarray:
    """Class numbers (y, x) that a model gives to a window, -1 without data."""
    place = locate(tiles.cube)
    size = tiles.tile_size
    at = {
        dim: slice(int(corner), int(corner) + size)
        for dim, corner in zip(
            (place.y, place.x),
            (np.ravel(tiles.windows[name].values)[index] for name in ("row", "column")),
            strict=True,
        )
    }
    part = tiles.cube.isel(at).compute()
    if not bool(locate(part).valid().any()):
        return np.full((size, size), -1)
    made = predict(part, model, classes=True, progress=False)["class_map"]
    found: np.ndarray = numbered(model, tiles.classes)[made.transpose(place.y, place.x).values]
    return found


def _colours(images: np.ndarray, valid: np.ndarray, place: Cube) -> tuple[np.ndarray, str]:
    """(n, band, y, x) -> (n, y, x, rgba) with limits that all share; and what is shown."""
    n, bands, rows, columns = images.shape
    try:
        positions, says = colour_bands(
            place.data, place.band, place.wavelength, place.good_band, TRUE_COLOUR
        )
    except BandError:  # no visible light: three bands that are far from each other
        positions = [np.array([round(share * (bands - 1))]) for share in (1.0, 0.5, 0.0)]
        says = "bands " + " · ".join(str(int(p[0])) for p in positions)
    flat = np.stack([images[:, p].astype(np.float64).mean(1) for p in positions])
    flat = np.where(valid, flat, np.nan).reshape(3, n * rows, columns)
    made = coloured(flat, valid.reshape(n * rows, columns), "channel")
    return made.reshape(n, rows, columns, 4), says


def _image(ax: Axes, rgba: np.ndarray, label: str, title: str) -> None:
    ax.set_facecolor(NAN_COLOUR)
    ax.imshow(rgba, interpolation="nearest")
    _bare(ax, label, title)


def _map(ax: Axes, numbers: np.ndarray, classes: Classes, label: str, title: str) -> None:
    from matplotlib.colors import ListedColormap

    cmap = ListedColormap(list(classes.colors)).with_extremes(bad=NAN_COLOUR)
    shown = np.ma.masked_less(numbers, 0)
    ax.imshow(shown, cmap=cmap, vmin=-0.5, vmax=len(classes) - 0.5, interpolation="nearest")
    _bare(ax, label, title)


def _bare(ax: Axes, label: str, title: str) -> None:
    ax.set_label(label)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=8.5)
    for spine in ax.spines.values():
        spine.set(visible=True, color=SPREAD_COLOUR, linewidth=0.5)


def _legend(figure: Figure, classes: Classes, maps: list[np.ndarray]) -> None:
    """Keys of the classes that are in the maps, under all panels."""
    from matplotlib.patches import Patch

    there = np.unique(np.concatenate([np.unique(m) for m in maps]))
    named = [(classes.names[int(k)], classes.colors[int(k)]) for k in there if k >= 0]
    if (there < 0).any():
        named.append(("not labelled", NAN_COLOUR))
    keys = [Patch(facecolor=c, edgecolor="#222222", linewidth=0.4, label=n) for n, c in named]
    wide = 0.35 + 0.065 * max((len(name) for name, _ in named), default=0)
    fit = max(1, int(figure.get_figwidth() / wide))
    style: Any = {"handlelength": 1.1, "handleheight": 1.1, "columnspacing": 1.2}
    figure.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), fit), **style)
