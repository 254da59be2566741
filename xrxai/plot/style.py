"""What the figures share: words, colours, colour limits, and a figure that closes on error."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

NAN_COLOUR = "#c8c8c8"
LINE_COLOUR = "#222222"
SPREAD_COLOUR = "#999999"
EDGE_COLOUR = "#0072B2"

MapKind = Literal["diverging", "grey", "heat"]

# Never applied globally: only inside `canvas`.
STYLE: Any = {
    "font.size": 8.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "hatch.linewidth": 0.6,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}

METHOD_NAMES = {
    "lime_spectral": "LIME, band groups",
    "lime_spatial": "LIME, segments",
    "occlusion_spectral": "Occlusion, bands",
    "occlusion_spatial": "Occlusion, space",
    "integrated_gradients": "Integrated Gradients",
    "expected_gradients": "Expected Gradients",
    "gradient_shap": "Expected Gradients",
    "blur_ig": "Blur Integrated Gradients",
    "guided_ig": "Guided Integrated Gradients",
    "input_x_gradient": "Input × gradient",
    "smoothgrad": "SmoothGrad",
    "noise_tunnel": "SmoothGrad",
    "kernel_shap": "Kernel SHAP",
    "deeplift": "DeepLIFT",
    "gradcam": "Grad-CAM",
    "grad_cam": "Grad-CAM",
    "lrp": "Layer-wise relevance propagation",
    "xrai": "XRAI",
    "rise": "RISE",
}


@dataclass(frozen=True)
class Scale:
    """How values become colours: a colour map, two limits, which ends are clipped, a remark.

    Where `magnitude` is True |value| is drawn, and where `divisor` is a name, divided by `per`.
    """

    cmap: Colormap
    low: float
    high: float
    extend: Literal["neither", "both", "min", "max"]
    note: str
    magnitude: bool = False
    per: float = 1.0
    divisor: str = ""

    def shown(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return what the colour bar tells of values."""
        return (np.abs(values) if self.magnitude else values) / self.per

    def label(self, array: xr.DataArray, fallback: str = "attribution") -> str:
        """Return the label of the colour bar for the values of an array."""
        words = unit_label(array, fallback)
        name = words.removesuffix(f" [{unit(array)}]")
        name = f"|{name}|" if self.magnitude else name
        if not self.divisor:
            return f"{name} [{unit(array)}]"
        size = f"{self.per:.2g}" if unit(array) == "1" else f"{self.per:.2g} {unit(array)}"
        return f"{name} / {self.divisor}  ({self.divisor} = {size})"


def method_name(dataset: xr.Dataset) -> str:
    """Return the method of an explanation in the words of a figure title."""
    method = str(dataset.attrs.get("method", "attribution"))
    return METHOD_NAMES.get(method, method.replace("_", " ").capitalize())


def unit_label(array: xr.DataArray, fallback: str, longest: int = 28) -> str:
    """Return ``"long_name [units]"``; a dimensionless quantity reads ``[1]``."""
    name = str(array.attrs.get("long_name", "") or fallback)
    if len(name) > longest:
        name = fallback
    return f"{name} [{unit(array)}]"


def unit(array: xr.DataArray) -> str:
    """Return the units of an array, ``"1"`` when it has none."""
    return str(array.attrs.get("units", "") or "1")


def divergent() -> Colormap:
    """Return the signed colour map that the user set in xarray, grey where there is no value."""
    import matplotlib

    chosen = xr.get_options()["cmap_divergent"]
    cmap = matplotlib.colormaps[chosen] if isinstance(chosen, str) else chosen
    return with_grey_nan(cmap)


def with_grey_nan(cmap: Colormap) -> Colormap:
    """Return a copy of a colour map that draws missing values grey."""
    return cmap.with_extremes(bad=NAN_COLOUR)


def sign_colours() -> tuple[Any, Any]:
    """Return the colours of positive and negative values: those of the signed map."""
    cmap = divergent()
    return cmap(0.9), cmap(0.1)


def scale(
    values: NDArray[Any], *, robust: bool, signed: bool, kind: MapKind | None = None
) -> Scale:
    """Choose colours for values: symmetric about zero, or from zero when nothing is negative.

    Limits are the 98th percentile of |value| (99th where colours start at zero), or the largest
    |value| with ``robust=False``: a few pixels would otherwise set the range of the whole map.
    """
    import matplotlib

    check_kind(kind)
    two = kind == "diverging" or (kind is None and signed)
    finite = values[np.isfinite(values)]
    top = float(np.abs(finite).max()) if finite.size else 0.0
    cmap = with_grey_nan(matplotlib.colormaps["inferno"])
    if kind == "grey":  # missing values show the hatched ground
        cmap = matplotlib.colormaps["gray"].with_extremes(bad=(0, 0, 0, 0))
    magnitude = signed and not two
    if top == 0.0:
        note = "all zero" if finite.size else "no valid pixels"
        if two or kind is None:
            return Scale(divergent(), -1.0, 1.0, "neither", note)
        return Scale(cmap, 0.0, 1.0, "neither", note, magnitude)
    share = 98 if two else 99
    limit = float(np.percentile(np.abs(finite), share)) if robust else top
    if limit == 0.0:  # nearly all zero: the few that are not are what there is to see
        limit = top
    highest = top if magnitude else float(finite.max())
    over, under = highest > limit, two and float(finite.min()) < -limit
    extend: Literal["neither", "both", "min", "max"] = (
        "both" if over and under else "max" if over else "min" if under else "neither"
    )
    if two:
        return Scale(divergent(), -limit, limit, extend, "")
    if kind != "grey":
        return Scale(cmap, 0.0, limit, extend, "", magnitude)
    said = "max" if limit == top else f"P{share}"
    return Scale(cmap, 0.0, 1.0, extend, "", magnitude, limit, said)


def check_kind(kind: MapKind | None) -> None:
    """Refuse a word that is no kind of map."""
    if kind is not None:
        choice(kind, get_args(MapKind), "kind")


def colour_bar(ax: Axes, image: Any, scaled: Scale, label: str) -> None:
    """Draw a colour bar in the margin of a map, so that the map keeps its size."""
    inset = ax.inset_axes((1.02, 0.0, 0.035, 1.0))
    inset.set_label("colour_bar")
    bar = ax.figure.colorbar(image, cax=inset, extend=scaled.extend)
    bar.set_label(label, fontsize=8)
    inset.tick_params(labelsize=8)


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Give a new figure in the house style, and close it again when drawing fails."""
    import matplotlib.pyplot as plt

    from xrxai.plot.page import Page

    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height), layout="constrained", FigureClass=Page)
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.06, h_pad=0.06)
        try:
            yield figure
        except BaseException:
            plt.close(figure)
            raise


@contextmanager
def house_style() -> Iterator[None]:
    """Draw on axes of the user in the house style, and leave rcParams as found.

    A title stands where the user's own stand, so that ``ax.set_title`` replaces it.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE | {"axes.titlelocation": plt.rcParams["axes.titlelocation"]}):
        yield


def head_line(figure: Any, parts: list[str]) -> int:
    """Write the bold line over a figure, flush left; returns on how many lines it found room."""
    room = figure.get_figure().get_figwidth() * 72 / 6.8  # characters of 11 points, bold
    lines = [parts[0]]
    for part in parts[1:]:
        joined = f"{lines[-1]} — {part}"
        if len(joined) <= room:
            lines[-1] = joined
        else:
            lines.append(part)
    lines = [piece for line in lines for piece in textwrap.wrap(line, max(int(room), 12))]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=11, fontweight="bold")
    return len(lines)


def named_axes(
    axes: Axes | Mapping[str, Axes], main: str, known: tuple[str, ...]
) -> dict[str, Axes]:
    """Read `axes=`: one panel is the main one, a mapping names them."""
    if not isinstance(axes, Mapping):
        if not hasattr(axes, "plot"):
            raise OptionError(
                f"axes is a {type(axes).__name__}; pass one Axes, or a mapping such as "
                f"axes={{{main!r}: ax}}."
            )
        return {main: axes}
    wrong = [name for name in axes if name not in known]
    if wrong or not axes:
        listed = ", ".join(repr(name) for name in known)
        raise OptionError(
            f"axes names {', '.join(map(repr, wrong)) or 'nothing'}; the panels are {listed}."
        )
    return {name: axes[name] for name in known if name in axes}


def listed_axes(
    axes: Axes | Sequence[Axes] | Mapping[str, Axes], names: list[str]
) -> dict[str, Axes]:
    """Read `axes=` of small multiples: one for each panel in their order, or some by name."""
    if isinstance(axes, Mapping):
        return named_axes(axes, names[0], tuple(names))
    given: list[Any] = [axes]
    if not hasattr(axes, "plot"):
        given = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(given) != len(names) or not all(hasattr(ax, "plot") for ax in given):
        listed = ", ".join(repr(name) for name in names)
        raise OptionError(
            f"axes={type(axes).__name__} of {len(given)}; pass one Axes for each of {len(names)} "
            f"panels: {listed}."
        )
    return dict(zip(names, given, strict=True))


def whole_figure(panels: Mapping[str, Axes]) -> Figure:
    """Return the figure that axes belong to."""
    figure: Figure = next(iter(panels.values())).figure.figure
    return figure  # the whole one, also of axes in a subfigure
