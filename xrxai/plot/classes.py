"""Class maps: the scene, which class each pixel has, and how much of the scene each class takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.io import overview
from xrxai.labelled.ground import pixel_area
from xrxai.plot.grid import Grid, draw_image, grid, scale_bar
from xrxai.plot.maps import draw_picture
from xrxai.plot.palette import PALETTE, colours_of
from xrxai.plot.picture import Picture, from_cube, from_explanation
from xrxai.plot.style import (
    NAN_COLOUR,
    Scale,
    canvas,
    head_line,
    house_style,
    named_axes,
    whole_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

PANELS = ("true_colour", "classes", "area")
UNITS = ((1e6, "km²"), (1e4, "ha"), (1.0, "m²"))


@dataclass(frozen=True)
class Classes:
    """A class map ready to draw: positions in `names`, -1 where there is no data."""

    values: NDArray[np.int64]
    step: int
    placed: Grid
    names: list[str]
    colours: list[str]
    pixels: NDArray[np.int64]
    square_metres: float | None  # of a pixel
    missing: bool
    model: str


def classes(
    predicted: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    colors: Mapping[str, str] | Sequence[str] | None = None,
    axes: Axes | Mapping[str, Axes] | None = None,
) -> Figure:
    """Draw which class each pixel has, beside the true colour, and the area of each class.

    A class without a pixel is listed with 0 and called absent.

    Parameters
    ----------
    predicted : xarray.Dataset
        What ``xrxai.predict(cube, model)`` returned, of a model whose targets are classes.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was shown to the model; see `rgb`.
    colors : mapping of str to str, or sequence of str, optional
        A colour of matplotlib for some classes by name, or for all in the order of the targets.
        Default: the eight of Okabe and Ito, which all eyes tell apart; nine of Tol for nine
        classes, steps of cividis for more.
    axes : matplotlib.axes.Axes or mapping of str to Axes, optional
        Where to draw: the class map alone, or panels by name out of "true_colour", "classes"
        and "area".

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named by ``ax.get_label()``.

    Raises
    ------
    ResultError
        If there is no class map, or several samples.
    OptionError
        If `colors` do not fit the classes.
    """
    dataset = _one(predicted)
    made = _read(dataset, colors)
    picture = _picture(dataset, cube)
    if axes is not None:
        panels = named_axes(axes, "classes", PANELS)
        with house_style():
            _draw(panels, made, picture, None)
        return whole_figure(panels)
    names = [n for n in PANELS[:2] if n == "classes" or picture is not None]
    ratio = min(max(made.placed.ratio(), 0.35), 2.0)
    width, bars = 0.9 + 3.3 * len(names), 3.6
    count = len(made.names)
    height, thin = 1.35 + 3.2 * ratio, 0.85 + (0.36 if count <= 10 else 0.25) * count
    height = max(height, thin + 0.35)
    with canvas(width + bars, height) as figure:
        head_line(figure, _head(made))
        left, right = figure.subfigures(1, 2, width_ratios=(width, bars), squeeze=False)[0]
        row = left.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
        for ax in row:
            ax.set_anchor("N")
        # Bars as thick as text needs, whatever the height of the map beside them.
        cells = right.add_gridspec(2, 1, height_ratios=(thin, max(height - 0.35 - thin, 1e-3)))
        panels = dict(zip(names, row, strict=True)) | {"area": right.add_subplot(cells[0])}
        _draw(panels, made, picture, left)
    return figure


def _one(predicted: xr.Dataset) -> xr.Dataset:
    """Refuse what has no class map, and more than one sample."""
    if not isinstance(predicted, xr.Dataset) or "class_map" not in predicted:
        found = (
            f"a Dataset with {', '.join(map(str, predicted.data_vars)) or 'no variables'}"
            if isinstance(predicted, xr.Dataset)
            else f"a {type(predicted).__name__}"
        )
        raise ResultError(
            f"Expected a prediction with the variable 'class_map'; found {found}. Type "
            "xrxai.predict(cube, model, classes=True) and plot what it returns."
        )
    pixels = {str(predicted.attrs.get(f"{axis}_dim", axis)) for axis in "yx"}
    dims = predicted["class_map"].dims
    if not pixels <= set(dims):
        raise ResultError(
            f"The classes have the dims {tuple(map(str, dims))} and no rows and columns, so there "
            "is no map of them; a bar chart is predicted.class_map.to_series().value_counts()."
        )
    lead = [str(d) for d in dims if d not in pixels]
    several = {d: predicted.sizes[d] for d in lead if predicted.sizes[d] > 1}
    if several:
        sizes = ", ".join(f"{d}: {n}" for d, n in several.items())
        first = ", ".join(f"{d}=0" for d in several)
        raise ResultError(
            f"A map shows one sample, and this prediction has several ({sizes}). "
            f"Type .isel({first}) to take the first."
        )
    return predicted.squeeze(lead)


def _read(dataset: xr.Dataset, colors: Any) -> Classes:
    """Count pixels and thin the map for a panel; a lazy one is computed once for both."""
    y, x = (str(dataset.attrs.get(f"{axis}_dim", axis)) for axis in "yx")
    number = dataset["class_map"].transpose(y, x)
    names = _names(dataset)
    step = overview.map_step((number.sizes[y], number.sizes[x]), overview.PIXELS_PER_SIDE)
    # Of the map itself, not `target_pixels`: it may have been cut since.
    counted = [(number == k).sum() for k in range(-1, len(names))]
    both = xr.Dataset(
        {
            "map": number[::step, ::step].variable,
            "pixels": xr.concat(counted, "class").variable,
        }
    ).compute()
    pixels = both["pixels"].values
    return Classes(
        both["map"].values.astype(np.int64),
        step,
        grid(dataset, y, x),
        names,
        colours_of(names, colors),
        pixels[1:],
        pixel_area(dataset, y, x),
        bool(pixels[0]),
        _model(str(dataset.attrs.get("model", ""))),
    )


def _names(dataset: xr.Dataset) -> list[str]:
    if "target" in dataset.coords and dataset["target"].ndim:
        known = [str(name) for name in dataset["target"].to_numpy()]
        said = str(dataset["class_map"].attrs.get("flag_meanings", "")).split()
        if len(known) == len(said) or not said:
            return known
        return [name.replace("_", " ") for name in said]  # some targets were selected
    return [n.replace("_", " ") for n in str(dataset["class_map"].attrs["flag_meanings"]).split()]


def _model(said: str) -> str:
    """Name of the model in what its repr says."""
    parts = said.split("'")
    return parts[1] if len(parts) > 2 else ""


def _picture(dataset: xr.Dataset, cube: xr.DataArray | None) -> Picture | None:
    if cube is not None:
        return from_cube(cube, dataset=dataset)
    y, x = (str(dataset.attrs.get(f"{axis}_dim", axis)) for axis in "yx")
    return from_explanation(dataset, y, x)


def _head(made: Classes) -> list[str]:
    absent = [n for n, count in zip(made.names, made.pixels, strict=True) if not count]
    parts = ["Prediction" + f" of {made.model}" * bool(made.model)]
    more = f" and {len(absent) - 4} more" * (len(absent) > 4)
    return [*parts, f"absent: {', '.join(absent[:4])}{more}"] if absent else parts


def _draw(
    panels: Mapping[str, Axes], made: Classes, picture: Picture | None, page: Any | None
) -> None:
    """Draw the panels there are; the legend goes under the maps of a page, or to its map."""
    first = True
    for name, ax in panels.items():
        if name == "area":
            _draw_area(ax, made)
            continue
        if name == "classes":
            _draw_map(ax, made, bar=first)
            _legend(ax, made, page)
        elif picture is None:
            raise ResultError(
                "There is no picture for the panel 'true_colour': this prediction has no quick "
                "look 'rgb'. Pass the cube: plot.classes(predicted, cube)."
            )
        else:
            draw_picture(ax, picture, bar=first)
        if not first:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
        first = False


def _draw_map(ax: Axes, made: Classes, *, bar: bool) -> None:
    from matplotlib.colors import ListedColormap

    ax.set_label("classes")
    shown = np.ma.masked_less(made.values, 0)
    cmap = ListedColormap(made.colours).with_extremes(bad=NAN_COLOUR)
    scaled = Scale(cmap, -0.5, len(made.names) - 0.5, "neither", "")
    draw_image(ax, made.placed, shown, made.step, scaled)
    ax.set_title("Classes")
    if bar:
        scale_bar(ax, made.placed)


def _legend(ax: Axes, made: Classes, page: Any | None) -> None:
    from matplotlib.patches import Patch

    if page is not None and len(made.names) > len(PALETTE):
        return  # the bars say it, in the same order
    keys = [
        Patch(facecolor=colour, edgecolor="#222222", linewidth=0.4, label=name)
        for name, colour in zip(made.names, made.colours, strict=True)
    ]
    if made.missing:
        keys.append(
            Patch(facecolor=NAN_COLOUR, edgecolor="#222222", linewidth=0.4, label="no data")
        )
    style: Any = {"handles": keys, "handlelength": 1.1, "handleheight": 1.1, "columnspacing": 1.2}
    if page is None:
        ax.legend(loc="best", frameon=True, **style)
        return
    # Inches of a key: a patch, and letters of 7.5 points.
    wide = 0.35 + 0.065 * max(len(name) for name in (*made.names, "no data"))
    fit = max(1, int(page.bbox.width / page.dpi / wide))
    page.legend(loc="outside lower center", ncols=min(len(keys), fit), **style)


def _draw_area(ax: Axes, made: Classes) -> None:
    """Draw the share of each class in the valid pixels, and say its size."""
    ax.set_label("area")
    total = int(made.pixels.sum())
    share = 100.0 * made.pixels / max(total, 1)
    unit = _unit(total, made.square_metres)
    at = np.arange(len(made.names))
    ax.barh(at, share, height=0.62, color=made.colours, edgecolor="#222222", linewidth=0.4)
    for k, (value, count) in enumerate(zip(share, made.pixels, strict=True)):
        text = f"{_percent(value)} %  {_size(int(count), unit)}" if count else "absent"
        style: Any = {} if count else {"style": "italic", "color": "#666666"}
        ax.annotate(
            text,
            (value, k),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            gid="size",
            **style,
        )
    ax.set_yticks(at, made.names)
    ax.set_ylim(len(at) - 0.5, -0.5)
    # Room for what stands behind the longest bar.
    ax.set_xlim(0.0, max(float(share.max(initial=0.0)), 1.0) * 1.75)
    ax.xaxis.set_major_locator(_ticks(float(share.max(initial=0.0))))
    ax.set_xlabel("share of the valid pixels [%]")
    what = "Pixels" if made.square_metres is None else "Area"
    ax.set_title(f"{what} of each class  (of {_size(total, unit)})")


def _ticks(top: float) -> Any:
    from matplotlib.ticker import FixedLocator

    step = next(s for s in (1, 2, 5, 10, 20, 25) if top / s <= 5 or s == 25)
    return FixedLocator(list(np.arange(0, max(top, 1.0) + 1e-9, step)))


def _percent(value: float) -> str:
    return f"{value:.1f}" if value >= 0.1 else f"{value:.1g}" if value >= 1e-3 else "< 0.001"


def _unit(total: int, square_metres: float | None) -> tuple[float, str]:
    """How many of a unit a pixel is, and its name: one for all bars, that fits their sum."""
    if square_metres is None:
        return 1.0, "px"
    area = total * square_metres
    scale, name = next(((s, u) for s, u in UNITS if area >= s), UNITS[-1])
    return square_metres / scale, name


def _size(pixels: int, unit: tuple[float, str]) -> str:
    """Pixels in a unit: whole, or with three digits that count."""
    size, name = pixels * unit[0], unit[1]
    if name == "px" or size >= 1000:
        return f"{size:,.0f} {name}"
    return f"{size:#.3g}".rstrip(".") + f" {name}"
