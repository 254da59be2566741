"""The spectral axis: bands in order of wavelength, the gaps between them, named groups of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.errors import BandError, OptionError
from xrxai.plot.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Paul Tol's "bright" colours: told apart in every colour vision, legible pale and as text.
PALETTE = {
    "Blue": (450.0, 520.0, "#4477AA"),
    "Green": (520.0, 600.0, "#228833"),
    "Red": (630.0, 690.0, "#EE6677"),
    "Red edge": (690.0, 785.0, "#AA3377"),
    "NIR": (785.0, 1300.0, "#777777"),
    "SWIR 1": (1550.0, 1750.0, "#999933"),
    "SWIR 2": (2080.0, 2350.0, "#AA8800"),
}
OTHER_COLOUR = "#555555"
# A sensor this dense is one whose lines must not run across a gap; Sentinel-2 is not.
DENSE_NM = 25.0
GAP_STEPS = 5.0


@dataclass(frozen=True)
class Axis:
    """Bands by position: `x` is nm (or the band's number), `low` and `high` the edges of each.

    `order` sorts the bands by x. Sorted band i does not follow on i-1 where `gap` is True: a
    line breaks there. Where `apart` is True their edges do not meet: a group is in two pieces.
    """

    order: NDArray[np.intp]
    x: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    gap: NDArray[np.bool_]
    apart: NDArray[np.bool_]
    good: NDArray[np.bool_]
    nm: bool

    @property
    def label(self) -> str:
        """The label of the x axis."""
        return "wavelength [nm]" if self.nm else "band"

    @property
    def limits(self) -> tuple[float, float]:
        """From the first band to the last."""
        return float(self.low.min()), float(self.high.max())

    def runs(self, member: NDArray[np.bool_]) -> list[tuple[float, float]]:
        """Return the intervals that member bands cover without a gap or another band between."""
        found: list[tuple[float, float]] = []
        before = False
        for i, band in enumerate(self.order):
            if member[band]:
                if before and not self.apart[i]:
                    found[-1] = (found[-1][0], max(found[-1][1], float(self.high[band])))
                else:
                    found.append((float(self.low[band]), float(self.high[band])))
            before = bool(member[band])
        return found

    def line(self, values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x and values (..., band) sorted, with a NaN in every gap to break the line."""
        at = np.flatnonzero(self.gap)
        x = np.insert(self.x[self.order], at, np.nan)
        sorted_values = np.asarray(values, dtype=np.float64)[..., self.order]
        return x, np.insert(sorted_values, at, np.nan, axis=-1)


@dataclass(frozen=True)
class Group:
    """A named set of bands: its colour, the intervals it covers, its members."""

    name: str
    colour: str
    intervals: tuple[tuple[float, float], ...]
    member: NDArray[np.bool_]

    @property
    def widest(self) -> tuple[float, float]:
        """The widest interval, which carries the name and the error bar."""
        return max(self.intervals, key=lambda i: i[1] - i[0])


def spectral_axis(seen: View) -> Axis:
    """Read the spectral axis from an explanation's coords; never computes the attribution."""
    dataset, band = seen.dataset, seen.band
    count = dataset.sizes[band]
    x, fwhm = np.arange(count, dtype=np.float64), None
    has_nm = "wavelength" in dataset.coords and dataset["wavelength"].dims == (band,)
    if has_nm:
        x = dataset["wavelength"].to_numpy().astype(np.float64)
        has_nm = bool(np.isfinite(x).all())
    if not has_nm:
        x = np.arange(count, dtype=np.float64)
    elif "fwhm" in dataset.coords and dataset["fwhm"].dims == (band,):
        fwhm = dataset["fwhm"].to_numpy().astype(np.float64)
    good = np.ones(count, dtype=bool)
    if "good_band" in dataset.coords and dataset["good_band"].dims == (band,):
        good = dataset["good_band"].to_numpy().astype(bool)
    order = np.argsort(x, kind="stable")
    steps = np.diff(x[order])
    rising = steps[steps > 0]
    usual = float(np.median(rising)) if rising.size else 1.0
    dense = usual < DENSE_NM or not has_nm
    gap, apart = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    if has_nm and dense:
        gap[1:] = steps > GAP_STEPS * usual
    reach = usual / 2 if dense else DENSE_NM
    low, high = _edges(x[order], reach, gap, None if fwhm is None else fwhm[order])
    apart[1:] = gap[1:] if dense else low[1:] - high[:-1] > DENSE_NM / 2
    back = np.argsort(order)
    return Axis(order, x, low[back], high[back], gap, apart, good, has_nm)


def _edges(
    x: NDArray[np.float64],
    reach: float,
    gap: NDArray[np.bool_],
    fwhm: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where each sorted band begins and ends: halfway to the next, half a FWHM at most.

    Next to a gap and at both ends it is `reach` away; so it is, at most, on a sparse sensor whose
    bands' widths are not known.
    """
    widths = np.full(x.size, np.inf if fwhm is None else np.nan)
    if fwhm is not None:
        widths = np.where(np.isfinite(fwhm) & (fwhm > 0), fwhm / 2, reach)
    elif reach >= DENSE_NM:
        widths = np.full(x.size, reach)
    half = np.full(x.size + 1, reach)
    half[1:-1] = np.where(gap[1:], reach, np.diff(x) / 2)
    left, right = np.minimum(half[:-1], widths), np.minimum(half[1:], widths)
    return x - left, x + right


def groups_of(
    seen: View, axis: Axis, groups: Mapping[str, tuple[float, float]] | None
) -> list[Group]:
    """Return the groups of a figure: the explanation's own, else the asked for or the palette."""
    if seen.kind == "groups":
        if groups is not None:
            raise OptionError(
                "groups= is for results per band; this explanation was made for groups of its "
                "own. Leave groups out, or explain again with other bands."
            )
        return _own(seen, axis)
    if not axis.nm:
        if groups:
            raise BandError(
                "groups= are intervals in nm, and this explanation has no wavelengths; add them "
                "to the cube with xrxai.to_cube(cube, wavelength=[...]) and explain again."
            )
        return []
    if groups is None:
        made = [_within(axis, n, lo, hi, colour) for n, (lo, hi, colour) in PALETTE.items()]
        return [g for g in made if g.member.any()]
    return [_asked(axis, str(name), interval) for name, interval in groups.items()]


def _asked(axis: Axis, name: str, interval: tuple[float, float]) -> Group:
    try:
        low, high = (float(v) for v in interval)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not low < high:
        raise OptionError(
            f"groups[{name!r}] = {interval!r} is not an interval; type two rising wavelengths "
            f"in nm, such as groups={{{name!r}: (630, 690)}}."
        )
    made = _within(axis, name, low, high, colour_at((low + high) / 2))
    if not made.member.any():
        raise BandError(
            f"groups[{name!r}] = ({low:g}, {high:g}) holds no good band; this sensor covers "
            f"{axis.x.min():.0f}-{axis.x.max():.0f} nm."
        )
    return made


def _within(axis: Axis, name: str, low: float, high: float, colour: str) -> Group:
    # Half open: a band on a shared edge is counted once.
    member = (axis.x >= low) & (axis.x < high) & axis.good
    return Group(name, colour, ((low, high),), member)


def _own(seen: View, axis: Axis) -> list[Group]:
    number = seen.dataset["group_of_band"].to_numpy()
    if number.ndim != 1:
        raise OptionError("group_of_band must have the dim of bands only.")
    made = []
    for position, name in enumerate(seen.dataset["group"].to_numpy(), start=1):
        member = number == position
        runs = axis.runs(member)
        if not runs:  # cropped away since; the value still holds
            runs = [(np.nan, np.nan)]
        group = Group(str(name), OTHER_COLOUR, tuple(runs), member)
        if axis.nm:  # the mean of two pieces may lie in a third colour
            group = replace(group, colour=colour_at(sum(group.widest) / 2))
        made.append(group)
    return made


def colour_at(wavelength: float) -> str:
    """Return the palette's colour at a wavelength, dark grey between its groups."""
    return next((c for low, high, c in PALETTE.values() if low <= wavelength < high), OTHER_COLOUR)


def shade(ax: Axes, groups: list[Group], axis: Axis, *, alpha: float) -> None:
    """Colour the intervals of groups behind a strip, and hatch the bands that are not used."""
    for group in groups:
        for low, high in group.intervals:
            if np.isfinite(low):
                ax.axvspan(
                    low,
                    high,
                    color=group.colour,
                    alpha=alpha,
                    linewidth=0,
                    zorder=0,
                    gid=f"group:{group.name}",
                )
    for low, high in axis.runs(~axis.good):
        ax.axvspan(
            low,
            high,
            facecolor="#e4e4e4",
            edgecolor="#9a9a9a",
            hatch="////",
            linewidth=0,
            zorder=0.5,
            gid="bad_bands",
        )


def name_groups(ax: Axes, groups: list[Group], axis: Axis) -> float:
    """Write group names over a strip, upright where they are too long; returns their height."""
    left, right = axis.limits
    points = 0.85 * ax.get_window_extent().width / ax.figure.dpi * 72
    height, taken = 0.0, -np.inf
    pieces = [(low, high, g) for g in groups for low, high in g.intervals]
    for low, high, group in sorted(pieces, key=lambda piece: piece[:2]):
        low, high = max(low, left), min(high, right)
        if not low < high:
            continue
        room, length = (high - low) / (right - left) * points, 4.3 * len(group.name)
        flat = length <= room + 4
        place = ((low + high) / 2 - left) / (right - left) * points
        half = length / 2 if flat else 4.5
        if place - half < taken:
            continue  # no room left: the bars name it
        taken = place + half
        ax.annotate(
            group.name,
            ((low + high) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2.5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=group.colour,
            rotation=0 if flat else 90,
            gid="group_name",
        )
        height = max(height, 9.0 if flat else length + 3.0)
    return height
