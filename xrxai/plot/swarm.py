"""Beeswarms: one dot per sample, at its attribution, in the colour of the sample's own spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import BandError, OptionError, ResultError
from xrxai.plot.axis import Axis, Group, colour_at, groups_of, spectral_axis
from xrxai.plot.style import canvas, head_line, house_style, unit, unit_label
from xrxai.plot.summary import over_samples, per_sample
from xrxai.plot.view import View, class_dim, head, one_lead, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GREY = "#666666"
# Dots that are drawn; more lie on each other and make a file of megabytes.
MOST_DOTS = 2000
# Of a row, to each side: the rows stay apart.
MOST_ASIDE = 0.4
# Dots that one is kept apart from: more in one place would fill a row that is pressed anyway.
CLOSEST = 200


@dataclass(frozen=True)
class Swarm:
    """A row per band or group: its name, a value and a feature's value per sample, the mean."""

    names: list[str]
    colours: list[str]
    values: Floats  # (sample, row)
    feature: Floats | None  # (sample, row)
    mean: Floats
    title: str
    label: str
    feature_label: str


def beeswarm(
    many: xr.Dataset,
    *,
    target: str | None = None,
    groups: Mapping[str, tuple[float, float]] | None = None,
    wavelengths: Sequence[float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how the samples of an explanation spread: one dot per sample and band group.

    A dot lies at the attribution of its sample, and beside others where they are dense. Its colour
    is what the model saw there: the sample's mean in these bands, from low to high among the
    samples of the row, where the explanation holds a spectrum of each (those that
    `xrxai.combine` joins do); else dots are grey. The bar is the mean.

    Parameters
    ----------
    many : xarray.Dataset
        An explanation of several samples, per band (summed over the bands of a group) or per band
        group; pixels are averaged first. Of more than 2000 samples every k-th is drawn.
    target : str, optional
        The target to draw; needed when the explanation has several.
    groups : mapping of str to (float, float), optional
        Intervals in nm; by default those that `spectral` shades.
    wavelengths : sequence of float, optional
        Rows are the bands nearest to these, in nm, in place of groups.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        The panel, labelled "beeswarm".

    Raises
    ------
    ResultError
        If there are no samples, no values along the spectrum, or several targets.
    BandError
        If there are no wavelengths to group bands by, or no band near one of `wavelengths`.

    Examples
    --------
    >>> many = xrxai.combine(whys)  # doctest: +SKIP
    >>> many.xai.plot.beeswarm(target="K")  # doctest: +SKIP
    """
    seen = view(many, target)
    made = read_swarm(seen, groups, wavelengths)
    if ax is not None:
        with house_style():
            draw_swarm(ax, made)
        return ax
    with canvas(5.6, 1.3 + 0.5 * max(len(made.names), 3)) as figure:
        head_line(figure, head(seen))
        panel = figure.add_subplot()
        draw_swarm(panel, made)
    return panel


def read_swarm(
    seen: View,
    groups: Mapping[str, tuple[float, float]] | None,
    wavelengths: Sequence[float] | None,
) -> Swarm:
    """Compute the dots of one target."""
    if seen.kind in ("segments", "map"):
        raise ResultError(
            f"{seen.dataset.attrs.get('method', 'This explanation')} has no values along the "
            f"spectrum (attribution is per {seen.feature or 'pixel'}), and a beeswarm needs bands "
            "or band groups. Plot .spatial() instead."
        )
    if not seen.lead or class_dim(seen):
        raise ResultError(
            "A beeswarm shows many samples, and this explanation has "
            f"{'means of classes' if seen.lead else 'one'}. Join several first: "
            "xrxai.combine([one, two, ...]), or plot .bars() instead."
        )
    one_lead(seen)
    axis = spectral_axis(seen)
    rows = _rows(seen, axis, groups, wavelengths)
    member = np.stack([g.member for g in rows], axis=1).astype(float)
    summary = over_samples(seen, per_sample(seen, None if seen.kind == "groups" else member))
    assert summary.samples is not None
    feature, says = _feature(seen, member)
    step = -(-len(summary.samples) // MOST_DOTS)
    every = f", 1 in {step} drawn" if step > 1 else ""
    what = "Band groups" if wavelengths is None else "Bands"
    return Swarm(
        [g.name for g in rows],
        [g.colour for g in rows],
        summary.samples[::step],
        None if feature is None else feature[::step],
        summary.value,
        f"{what}, one dot per {seen.lead[0]} (n = {len(summary.samples)}{every})",
        unit_label(seen.attribution, "attribution"),
        says,
    )


def _rows(
    seen: View,
    axis: Axis,
    groups: Mapping[str, tuple[float, float]] | None,
    wavelengths: Sequence[float] | None,
) -> list[Group]:
    if wavelengths is None:
        found = groups_of(seen, axis, groups)
        if not found:
            raise ResultError(
                "There are no band groups to draw dots for: "
                + (
                    "no group of the palette is on this sensor"
                    if axis.nm
                    else "the explanation has no wavelengths"
                )
                + "; type groups={'name': (low_nm, high_nm)} on a cube with wavelengths."
            )
        if seen.kind == "groups":  # a row per value, in the order in which they are stored
            return found
        return sorted(found, key=lambda g: g.widest)
    if groups is not None:
        raise OptionError("groups= and wavelengths= both say what the rows are; drop one of them.")
    if seen.kind == "groups":
        raise OptionError(
            "wavelengths= asks for bands, and this explanation has one value per band group; drop "
            "it, and the rows are its groups."
        )
    try:
        asked = [float(nm) for nm in wavelengths]
    except (TypeError, ValueError):
        asked = []
    if not asked:
        raise OptionError(
            f"wavelengths={wavelengths!r} are no wavelengths; type some in nm, such as "
            "wavelengths=[680, 750]."
        )
    return [_nearest(axis, nm) for nm in asked]


def _nearest(axis: Axis, nm: float) -> Group:
    away = np.where(axis.good, np.abs(axis.x - nm), np.inf)
    k = int(np.argmin(away))
    if not axis.nm or not away[k] <= max(25.0, float(axis.high[k] - axis.low[k])):
        covers = f"covers {axis.x.min():.0f}-{axis.x.max():.0f} nm" if axis.nm else "has no nm"
        raise BandError(f"No good band lies near {nm:g} nm; this sensor {covers}.")
    edges = ((float(axis.low[k]), float(axis.high[k])),)
    return Group(
        f"{axis.x[k]:.0f} nm", colour_at(float(axis.x[k])), edges, np.arange(axis.x.size) == k
    )


def _feature(seen: View, member: Floats) -> tuple[Floats | None, str]:
    """Return the mean of each sample's spectrum over the bands of each row, where it is known."""
    wanted = {seen.lead[0], "statistic", seen.band}
    if "spectrum" not in seen.dataset or set(seen.dataset["spectrum"].dims) != wanted:
        return None, ""
    spectrum = seen.dataset["spectrum"].sel(statistic="mean").transpose(seen.lead[0], seen.band)
    values = np.asarray(spectrum.to_numpy(), dtype=np.float64)
    finite = np.isfinite(values)
    count = finite.astype(float) @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(count > 0, np.where(finite, values, 0.0) @ member / count, np.nan)
    name = str(spectrum.attrs.get("long_name", "") or "cube")
    return found, f"{name} [{unit(spectrum)}], by row"


def scattered(values: Floats, low: float, high: float, tall: float) -> Floats:
    """Return how far from the middle of its row each dot lies, so that it hides no other.

    From left to right, each dot takes the free place that is nearest to the middle; `tall` is the
    height of a dot, its width the 60th part of the range. Rows that grow too high are pressed flat.
    """
    wide = max(high - low, 1e-300) / 60
    order = np.argsort(values, kind="stable")
    out = np.zeros(values.size)
    for i, k in enumerate(order):
        near = order[max(0, i - CLOSEST) : i]
        gap = (values[k] - values[near]) / wide
        near, gap = near[gap < 1], gap[gap < 1]
        clear = tall * np.sqrt(1 - gap**2)
        places = np.concatenate([[0.0], out[near] + clear, out[near] - clear])
        free = (np.abs(places[:, None] - out[near]) >= clear - 1e-9).all(axis=1)
        out[k] = places[free][np.argmin(np.abs(places[free]))]
    top = float(np.abs(out).max(initial=0.0))
    return out if top <= MOST_ASIDE else out * (MOST_ASIDE / top)


def draw_swarm(ax: Axes, made: Swarm) -> None:
    """Draw the rows from top to bottom, and the colour bar of the feature's value."""
    import matplotlib

    ax.set_label("beeswarm")
    count = len(made.names)
    finite = made.values[np.isfinite(made.values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (-1.0, 1.0)
    size = 16.0 if len(made.values) <= 200 else 7.0
    # The share of a row that a dot takes, of rows that are half an inch high.
    tall = size**0.5 / 36
    cmap = matplotlib.colormaps["viridis"]
    for row in range(count):
        values = made.values[:, row]
        ok = np.isfinite(values)
        shade = (
            np.full(values.size, np.nan) if made.feature is None else _place(made.feature[:, row])
        )
        known = ok & np.isfinite(shade)
        y = np.full(values.size, float(row))
        y[ok] += scattered(values[ok], low, high, tall)
        options: dict[str, Any] = {"s": size, "linewidths": 0.3, "edgecolors": "white", "zorder": 3}
        ax.scatter(values[ok & ~known], y[ok & ~known], color=GREY, gid="samples", **options)
        ax.scatter(
            values[known], y[known], c=shade[known], cmap=cmap, vmin=0, vmax=1, gid="samples",
            **options,
        )  # fmt: skip
        if np.isfinite(made.mean[row]):
            ax.vlines(made.mean[row], row - 0.38, row + 0.38, color="black", linewidth=1.6,
                      zorder=4, gid="mean")  # fmt: skip
    ax.axvline(0.0, color="black", linewidth=0.8, zorder=1)
    for row in range(count):
        ax.axhline(row, color="#dddddd", linewidth=0.6, zorder=0.5)
    ax.set_yticks(np.arange(count), made.names)
    for tick, colour in zip(ax.yaxis.get_major_ticks(), made.colours, strict=True):
        tick.label1.set_color(colour)
    ax.set_ylim(count - 0.45, -0.55)
    ax.margins(x=0.05)
    ax.tick_params(labelsize=8)
    ax.set_xlabel(made.label)
    ax.set_title(made.title)
    if made.feature is not None:
        _bar(ax, made.feature_label)


def _place(feature: Floats) -> Floats:
    """Return where a value lies between P5 and P95 of its row, 0 ... 1."""
    finite = feature[np.isfinite(feature)]
    if finite.size == 0:
        return feature
    low, high = np.percentile(finite, (5, 95))
    if not high > low:
        return np.where(np.isfinite(feature), 0.5, np.nan)
    return np.asarray(((feature - low) / (high - low)).clip(0.0, 1.0))


def _bar(ax: Axes, label: str) -> None:
    from matplotlib.cm import ScalarMappable

    inset = ax.inset_axes((1.03, 0.0, 0.03, 1.0))
    inset.set_label("colour_bar")
    bar = ax.figure.colorbar(ScalarMappable(cmap="viridis"), cax=inset, ticks=[0.0, 1.0])
    bar.ax.set_yticklabels(["low", "high"], fontsize=8)
    bar.set_label(label, fontsize=8, labelpad=-8)
