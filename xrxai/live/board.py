"""What the interactive figures share: hvPlot when it is needed, and the colours of `plot`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xrxai.errors import OptionError

if TYPE_CHECKING:
    from xrxai.plot.style import Scale

FONTS = {"title": "10pt", "labels": "9pt", "ticks": "8pt", "legend": "8pt"}


@dataclass(frozen=True)
class Tools:
    """What figures are made with: the module holoviews, and hvPlot's class."""

    hv: Any
    hvplot: Any


def tools() -> Tools:
    """Load hvPlot and HoloViews' Bokeh extension, or say how to install them.

    hvPlot's class is taken, not ``import hvplot.xarray``: that import loads the extension anew, and
    with it BokehJS from the network, also where the user has loaded it inline.
    """
    try:
        import holoviews as hv
        import panel as pn
        from hvplot import hvPlot
    except ImportError as error:
        raise OptionError(
            f"Interactive figures need hvplot, which cannot be imported ({error}); type "
            'pip install "xrxai[explore]", or draw a static figure with .plot.'
        ) from None
    if not getattr(hv.extension, "_loaded", False) or hv.Store.current_backend != "bokeh":
        # In a notebook this brings BokehJS into the page, from where the user told Panel to.
        hv.extension("bokeh", logo=False, inline=pn.config.inline)
    return Tools(hv, hvPlot)


def palette(scaled: Scale) -> list[str]:
    """Return the colours of a scale from low to high, as the static figure has them."""
    from matplotlib.colors import to_hex

    return [to_hex(scaled.cmap(i)) for i in range(scaled.cmap.N)]


def nan_colour(scaled: Scale) -> str:
    """Return the colour of missing values, '' where the ground shows through."""
    from matplotlib.colors import to_hex

    colour: Any = scaled.cmap.get_bad()
    return to_hex(colour) if colour[3] else ""


def signs() -> tuple[str, str]:
    """Return the colours of positive and negative values."""
    from matplotlib.colors import to_hex

    from xrxai.plot.style import sign_colours

    positive, negative = sign_colours()
    return to_hex(positive), to_hex(negative)


def thinned(step: int) -> str:
    """Say in a title that a map was too large to be shown pixel by pixel."""
    return f" (1 pixel in {step * step})" if step > 1 else ""


def over(plot: Any, element: Any) -> None:
    """Draw error bars over the bars, as a hook; HoloViews leaves them under what is filled."""
    plot.handles["glyph"].level = "overlay"


def hatched(plot: Any, element: Any) -> None:
    """Hatch what an element fills, as a hook; HoloViews knows no hatches."""
    plot.handles["glyph"].update(hatch_pattern="right_diagonal_line", hatch_color="#9a9a9a")


def lines(parts: list[str], width: int) -> str:
    """Join parts of a title, on as many lines as a panel `width` pixels wide needs."""
    room = width / 8.0  # characters of 10 points, bold
    made = [parts[0]]
    for part in parts[1:]:
        joined = f"{made[-1]} — {part}"
        if len(joined) <= room:
            made[-1] = joined
        else:
            made.append(part)
    return "\n".join(made)


def page(hv: Any, panels: list[Any], title: str, *, columns: int) -> Any:
    """Put panels side by side or above each other, with the axes that they share linked."""
    made = hv.Layout(panels).cols(columns)
    return made.opts(
        hv.opts.Layout(title=title, shared_axes=True, fontsize={"title": "11pt"}, backend="bokeh")
    )
