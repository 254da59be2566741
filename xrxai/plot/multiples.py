"""Small multiples: one map each for several wavelengths or targets, in one colour scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xrxai.errors import BandError, OptionError, ResultError
from xrxai.plot.axis import Axis, spectral_axis
from xrxai.plot.grid import grid
from xrxai.plot.maps import draw_map, draw_picture
from xrxai.plot.picture import Picture
from xrxai.plot.reading import Field, Map, coloured, picture_of
from xrxai.plot.style import canvas, head_line, house_style, listed_axes, scale, whole_figure
from xrxai.plot.view import View, head, is_signed, one_sample, thin, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Further than this from a band's centre, and outside the band, it is another wavelength.
REACH = 15.0
IN_A_ROW = 5


@dataclass(frozen=True)
class Multiples:
    """Maps by the name of their panel; before them the scene where there is a picture."""

    maps: dict[str, Map]
    picture: Picture | None

    @property
    def names(self) -> list[str]:
        """The panels, from left to right."""
        return [*(["true_colour"] if self.picture is not None else []), *self.maps]


def bands(
    explanation: xr.Dataset,
    cube: xr.DataArray | None = None,
    *,
    wavelengths: Sequence[float],
    target: str | None = None,
    robust: bool = True,
    axes: Axes | Sequence[Axes] | Mapping[str, Axes] | None = None,
) -> Figure:
    """Draw where the evidence lies at some wavelengths: a map each, in one colour scale.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values per pixel and band, or per pixel and band group.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained: its true colour becomes the first panel.
    wavelengths : sequence of float
        In nm. The band with the nearest centre is drawn, and its wavelength is the title; of
        results per band group, the group that this band is in. It has to be within 15 nm, or
        inside the band. Bands that are not good are not drawn.
    target : str, optional
        The target to draw; needed when the explanation has several.
    robust : bool
        Colour limits at the 98th percentile of ``|attribution|`` of all the maps (99th when
        nothing is negative); False takes the largest.
    axes : matplotlib.axes.Axes or sequence of these or mapping of str to Axes, optional
        Where to draw: one for each panel, in their order, or by name.

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are named by ``ax.get_label()`` as their titles, such as "759 nm"; the scene is
        "true_colour".

    Raises
    ------
    BandError
        If there are no wavelengths, or none near one that was asked for.
    OptionError
        If two wavelengths fall into one band or group.
    ResultError
        If the explanation is not per pixel and band, or has several samples or targets.
    """
    seen = view(explanation, target)
    found = places(seen, wavelengths)
    fields = _read(seen, list(found.values()))
    picture = None if cube is None else picture_of(seen, cube)
    made = shared(dict(zip(found, fields, strict=True)), seen, picture, robust=robust)
    return draw_page(made, head(seen), axes)


def need_features(seen: View) -> None:
    """Refuse results that are not per pixel and band, or per pixel and group."""
    if not (seen.per_pixel and seen.feature):
        what = f"per {seen.feature}" if seen.feature else "per pixel, not per band"
        other = ".spatial()" if seen.kind in ("map", "segments") else ".spectral()"
        raise ResultError(
            f"{seen.dataset.attrs.get('method', 'This explanation')} has no values per pixel and "
            f"band (attribution is {what}). Plot {other} instead."
        )


def places(seen: View, wavelengths: Sequence[float]) -> dict[str, int]:
    """Return the title and the position along the feature dim of each wavelength."""
    need_features(seen)
    try:
        asked = [float(w) for w in np.ravel(np.asarray(wavelengths, dtype=np.float64))]
    except (TypeError, ValueError):
        asked = []
    if not (asked and np.isfinite(asked).all()):
        raise OptionError(
            f"wavelengths={wavelengths!r} are no wavelengths in nm; type for example "
            "wavelengths=[560, 660, 760]."
        )
    axis = spectral_axis(seen)
    if not axis.nm:
        raise BandError(
            "wavelengths= are in nm, and this explanation has no wavelengths; add them to the "
            "cube with xrxai.to_cube(cube, wavelength=[...]) and explain again."
        )
    positions = [_nearest(axis, wanted) for wanted in asked]
    if seen.kind != "groups":
        digits = next((d for d in range(4) if _distinct(axis.x[positions], d)), 4)
        titles = [f"{axis.x[k]:.{digits}f} nm" for k in positions]
    else:
        number = np.asarray(seen.dataset["group_of_band"].to_numpy())[positions]
        for wanted, k, n in zip(asked, positions, number, strict=True):
            if n == 0:
                raise BandError(
                    f"The band at {axis.x[k]:.0f} nm, nearest to {wanted:g} nm, is in no group of "
                    "this explanation."
                )
        positions = [int(n) - 1 for n in number]
        names = seen.dataset["group"].to_numpy()
        titles = [str(names[k]) for k in positions]
    for i, k in enumerate(positions):
        if k in positions[:i]:
            raise OptionError(
                f"wavelengths {asked[positions.index(k)]:g} and {asked[i]:g} fall into one "
                f"{'group' if seen.kind == 'groups' else 'band'}, {titles[i]}; leave one out."
            )
    return dict(zip(titles, positions, strict=True))


def _nearest(axis: Axis, wanted: float) -> int:
    if not axis.good.any():
        raise BandError("No band of this explanation is good (good_band): it has no map to draw.")
    distance = np.abs(axis.x - wanted)
    usable = np.where(axis.good, distance, np.inf)
    k = int(np.argmin(usable))
    if usable[k] <= REACH or axis.low[k] <= wanted <= axis.high[k]:
        return k
    nearest = int(np.argmin(distance))
    bad = distance[nearest] <= REACH and not axis.good[nearest]
    why = "only bands that are not good lie" if bad else "no band lies"
    raise BandError(
        f"wavelengths: {why} near {wanted:g} nm; this sensor covers {axis.x.min():.0f}-"
        f"{axis.x.max():.0f} nm, and its nearest good band is at {axis.x[k]:.0f} nm."
    )


def _distinct(x: NDArray[np.float64], digits: int) -> bool:
    return len(set(np.round(x, digits))) == len(set(x))


def _read(seen: View, positions: list[int]) -> list[Field]:
    """Compute the maps at some places along the feature dim, and no others."""
    one_sample(seen, "A map")
    y, x = seen.y, seen.x
    some, step = thin(seen.attribution.isel({seen.feature: positions}), y, x)
    values = np.asarray(some.transpose(seen.feature, y, x).to_numpy(), dtype=np.float64)
    placed, signed = grid(seen.dataset, y, x), is_signed(seen, values)
    return [Field(v, step, placed, "Attribution", signed) for v in values]


def shared(
    fields: Mapping[str, Field], seen: View, picture: Picture | None, *, robust: bool
) -> Multiples:
    """Give fields one colour scale, and their name as title."""
    values = np.concatenate([f.values.ravel() for f in fields.values()])
    signed = any(f.signed for f in fields.values())
    scaled = scale(values, robust=robust, signed=signed)
    maps = {}
    for name, field in fields.items():
        known = field.values[np.isfinite(field.values)]
        note = "" if known.any() else ", all zero" if known.size else ", no valid pixels"
        maps[name] = coloured(field, seen, scaled, f"{name}{note}")
    return Multiples(maps, picture)


def draw_page(
    made: Multiples,
    words: list[str],
    axes: Axes | Sequence[Axes] | Mapping[str, Axes] | None,
) -> Figure:
    """Draw the multiples in rows of up to five, or on the axes of the user."""
    names = made.names
    if axes is not None:
        panels = listed_axes(axes, names)
        with house_style():
            _draw(panels, made, len(panels))
        return whole_figure(panels)
    rows = math.ceil(len(names) / IN_A_ROW)
    columns = math.ceil(len(names) / rows)
    ratio = min(max(next(iter(made.maps.values())).placed.ratio(), 0.35), 2.0)
    # Room for the words, so that the width alone decides how large a map is.
    height = rows * (0.45 + 2.4 * ratio) + 0.5
    with canvas(1.2 + 2.5 * columns, height) as figure:
        figure.set_figheight(height + 0.19 * head_line(figure, words))
        table = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax in table.ravel()[len(names) :]:
            ax.remove()
        panels = dict(zip(names, table.ravel(), strict=False))
        _draw(panels, made, columns)
    return figure


def _draw(panels: Mapping[str, Axes], made: Multiples, columns: int) -> None:
    """Draw the panels; labels on the first of a row and of the page, one colour bar."""
    first_row = [name for name in list(panels)[:columns] if name in made.maps]
    key = first_row[-1] if first_row else ""
    for k, (name, ax) in enumerate(panels.items()):
        if name == "true_colour" and made.picture is not None:
            draw_picture(ax, made.picture, bar=k == 0)
            ax.set_title("True colour")  # the wavelengths of its channels need more room
        else:
            draw_map(ax, made.maps[name], bar=k == 0, key=name == key)
            ax.set_label(name)
        lowest = k + columns >= len(panels)
        ax.tick_params(labelleft=k % columns == 0, labelbottom=lowest)
        if k % columns:
            ax.set_ylabel("")
        if not (lowest and k % columns == 0):
            ax.set_xlabel("")
