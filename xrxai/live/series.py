"""Many maps of one explanation: a band at a time behind a slider, targets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import BandError, ResultError
from xrxai.live.board import page, tools
from xrxai.live.ground import image
from xrxai.plot.bands import Axis, spectral_axis
from xrxai.plot.grid import grid
from xrxai.plot.maps import read_map
from xrxai.plot.style import Scale, method_name, scale, unit_label
from xrxai.plot.view import View, is_signed, one_sample, thin, view

if TYPE_CHECKING:
    import holoviews as hv
    from numpy.typing import NDArray

# Where colour limits of all bands are looked for: so many blocks of pixels along each side.
BLOCKS, BLOCK_PIXELS = 3, 32
MOST_COLUMNS = 3


def bands(
    explanation: xr.Dataset,
    *,
    target: str | None = None,
    wavelengths: Sequence[float] | None = None,
    robust: bool = True,
) -> hv.DynamicMap:
    """Show the attribution of one band at a time, behind a slider of wavelengths.

    A band is read when the slider comes to it, and no other. The colours mean the same in all of
    them: limits are those of the listed bands, or of a sample of pixels in all bands (nine blocks
    of 32 x 32, which is all pixels of a small image). The slider starts at the strongest band.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values per pixel and band.
    target : str, optional
        The target to show; needed when the explanation has several.
    wavelengths : sequence of floats, optional
        Wavelengths in nm whose nearest bands the slider has; by default every band that is used.
        Colour limits are then those of these bands.
    robust : bool
        Colour limits at the 98th percentile of ``|attribution|`` (99th when nothing is
        negative); False takes the largest, for which all bands are read once.

    Returns
    -------
    holoviews.DynamicMap

    Raises
    ------
    ResultError
        If the explanation has no values per pixel and band, or several samples or targets.
    BandError
        If wavelengths are asked for and there are none.
    OptionError
        If hvPlot is not installed.
    """
    tool = tools()
    seen = view(explanation, target)
    one_sample(seen, "A map")
    if seen.kind != "cube":
        raise ResultError(
            f"{method_name(seen.dataset)} has no value per pixel and band (attribution is per "
            f"{seen.feature or 'pixel'}). Plot .spatial() or .spectral() instead."
        )
    axis = spectral_axis(seen)
    chosen = _chosen(axis, wavelengths)
    strength, scaled = _limits(seen, chosen, robust=robust, listed=wavelengths is not None)
    placed, label = grid(seen.dataset, seen.y, seen.x), unit_label(seen.attribution, "attribution")
    words = " — ".join(
        [method_name(seen.dataset), *([f"target “{seen.target}”"] * bool(seen.target))]
    )

    # Where detectors overlap, wavelengths repeat: a position of the slider is then a band's number.
    unique = axis.nm and np.unique(axis.x[chosen]).size == chosen.size
    stops = [float(axis.x[k]) for k in chosen] if unique else [int(k) for k in chosen]
    band_of = dict(zip(stops, chosen.tolist(), strict=True))

    def show(stop: float) -> Any:
        position = band_of[stop]
        one, step = thin(seen.attribution.isel({seen.band: position}), seen.y, seen.x)
        values = one.transpose(seen.y, seen.x).to_numpy()
        at = f"{axis.x[position]:.4g} nm" if axis.nm else f"band {position}"
        note = f", {scaled.note}" if scaled.note else ""
        return image(tool, values, step, placed, scaled, f"{words}\n{at}{note}", label, size=1.25)

    first = stops[int(np.argmax(np.nan_to_num(strength)))]
    slider = tool.hv.Dimension(
        "wavelength" if unique else "band",
        unit="nm" if unique else None,
        values=stops,
        default=first,
        value_format=lambda stop: f"{stop:.1f}" if unique else str(stop),
    )
    # Each frame is a map of the scene: one is held, not HoloViews' usual five hundred.
    return tool.hv.DynamicMap(show, kdims=[slider], cache_size=1)


def targets(
    explanation: xr.Dataset,
    *,
    targets: Sequence[str] | None = None,
    robust: bool = True,
) -> hv.Layout:
    """Show the map of every target side by side, in the same colours; they move together.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values in space, as for `spatial`.
    targets : sequence of str, optional
        The targets to show, in this order; by default all.
    robust : bool
        Colour limits at the 98th percentile of ``|attribution|`` over all these maps (99th when
        nothing is negative); False takes the largest.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    ResultError
        If the explanation has no values in space, or several samples.
    TargetError
        If it has no such target.
    OptionError
        If hvPlot is not installed.
    """
    tool = tools()
    names: Sequence[str | None] = _names(explanation) if targets is None else targets
    views = [view(explanation, name) for name in names]
    maps = [read_map(seen, robust=robust) for seen in views]
    values = np.stack([m.values for m in maps])
    scaled = scale(values, robust=robust, signed=any(m.scaled.low < 0 for m in maps))
    columns = 2 if len(maps) == 4 else min(len(maps), MOST_COLUMNS)
    panels = [
        image(
            tool,
            m.values.astype(seen.attribution.dtype),
            m.step,
            m.placed,
            scaled,
            seen.target or m.title,
            m.label,
            ids=m.ids,
            first=k % columns == 0,
            colorbar=k % columns == columns - 1,
        )
        for k, (m, seen) in enumerate(zip(maps, views, strict=True))
    ]
    title = f"{method_name(explanation)} — {maps[0].title[0].lower()}{maps[0].title[1:]}"
    return page(tool.hv, panels, title, columns=columns)


def _names(explanation: xr.Dataset) -> list[str | None]:
    """Return all targets; an explanation that is of no target has one map, too."""
    if isinstance(explanation, xr.Dataset) and "target" in explanation.dims:
        if "target" not in explanation.coords:
            return [str(k) for k in range(explanation.sizes["target"])]
        return [str(label) for label in explanation["target"].to_numpy()]
    return [None]


def _chosen(axis: Axis, wavelengths: Sequence[float] | None) -> NDArray[np.intp]:
    """Return the bands of the slider by wavelength: all that are used, or the nearest."""
    good = axis.order[axis.good[axis.order]]
    if wavelengths is None:
        return good
    if not axis.nm:
        raise BandError(
            "wavelengths= are in nm, and this explanation has no wavelengths; add them to the cube "
            "with xrxai.to_cube(cube, wavelength=[...]) and explain again."
        )
    nearest = {int(np.argmin(np.abs(axis.x[good] - float(w)))) for w in wavelengths}
    return good[sorted(nearest)]


def _limits(
    seen: View, chosen: NDArray[np.intp], *, robust: bool, listed: bool
) -> tuple[NDArray[np.float64], Scale]:
    """Choose colours for all bands at once; also returns how strong each band is."""
    array = seen.attribution.isel({seen.band: chosen}).transpose(seen.band, seen.y, seen.x)
    if robust and not listed:
        array = array.isel({seen.y: _blocks(seen, seen.y), seen.x: _blocks(seen, seen.x)})
    else:
        array, _ = thin(array, seen.y, seen.x)
    values = np.asarray(array.to_numpy(), dtype=np.float64)
    strength = np.nansum(np.abs(values), axis=(1, 2))
    return strength, scale(values, robust=robust, signed=is_signed(seen, values))


def _blocks(seen: View, dim: str) -> NDArray[np.intp]:
    """Return three blocks of rows or columns, first to last: they touch few chunks."""
    size = seen.attribution.sizes[dim]
    if size <= BLOCKS * BLOCK_PIXELS:
        return np.arange(size)
    starts = np.linspace(0, size - BLOCK_PIXELS, BLOCKS).astype(np.intp)
    return (starts[:, None] + np.arange(BLOCK_PIXELS)).ravel()
