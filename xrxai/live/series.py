"""The attribution of one band after the other, behind a slider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.live.board import lines, tools
from xrxai.live.ground import WIDEST, image
from xrxai.plot.bands import spectral_axis
from xrxai.plot.grid import grid
from xrxai.plot.multiples import need_features, places
from xrxai.plot.reading import Field, coloured
from xrxai.plot.style import Scale, method_name, scale
from xrxai.plot.view import View, is_signed, one_sample, thin, view

if TYPE_CHECKING:
    import holoviews as hv
    from numpy.typing import NDArray

# Where colour limits of all bands are looked for: so many blocks of pixels along each side.
BLOCKS, BLOCK_PIXELS = 3, 32
# A single map may be larger than one of several.
LARGER = 1.25


def bands(
    explanation: xr.Dataset,
    *,
    wavelengths: Sequence[float] | None = None,
    target: str | None = None,
    robust: bool = True,
) -> hv.DynamicMap:
    """Show the attribution of one band at a time, behind a slider of wavelengths.

    A band is read when the slider comes to it, and no other. The colours mean the same in all of
    them. The slider starts at the strongest band. ``.hvplot.rgb(cube) + .hvplot.bands()`` puts the
    scene beside it, linked.

    Parameters
    ----------
    explanation : xarray.Dataset
        An explanation with values per pixel and band, or per pixel and band group.
    wavelengths : sequence of float, optional
        In nm: the slider has the bands with the nearest centres, and colour limits are those of
        the static figure, ``.plot.bands``. By default it has all good bands, and limits are those
        of nine blocks of 32 x 32 pixels in all of them (of all pixels up to 96 x 96).
    target : str, optional
        The target to show; needed when the explanation has several.
    robust : bool
        Colour limits at the 98th percentile of ``|attribution|`` (99th when nothing is
        negative); False takes the largest, for which all these bands are read once.

    Returns
    -------
    holoviews.DynamicMap

    Raises
    ------
    BandError
        If wavelengths are asked for, and there are none or none near one.
    OptionError
        If two wavelengths fall into one band or group, or hvPlot is not installed.
    ResultError
        If the explanation is not per pixel and band, or has several samples or targets.
    """
    tool = tools()
    seen = view(explanation, target)
    need_features(seen)
    one_sample(seen, "A map")
    name, unit, stops = _stops(seen, wavelengths)
    listed = np.array(list(stops.values()))
    whole = wavelengths is not None or not robust
    strength, scaled = _limits(seen, listed, robust=robust, whole=whole)
    placed, dtype = grid(seen.dataset, seen.y, seen.x), seen.attribution.dtype
    target_words = [f"target “{seen.target}”"] if seen.target else []
    words = lines([method_name(seen.dataset), *target_words], round(WIDEST * LARGER))

    def show(stop: Any) -> Any:
        one, step = thin(seen.attribution.isel({seen.feature: stops[stop]}), seen.y, seen.x)
        values = np.asarray(one.transpose(seen.y, seen.x).to_numpy(), dtype=np.float64)
        at = f"{stop:.1f} nm" if unit else str(stop) if name == "group" else f"band {stop}"
        note = f", {scaled.note}" if scaled.note else ""
        field = Field(values, step, placed, "", scaled.low < 0)
        read = coloured(field, seen, scaled, f"{words}\n{at}{note}")
        return image(tool, read, dtype, size=LARGER)

    slider = tool.hv.Dimension(
        name,
        unit=unit,
        values=list(stops),
        default=list(stops)[int(np.argmax(strength))],
        value_format=(lambda stop: f"{stop:.1f}") if unit else str,
    )
    # Each frame is a map of the scene: one is held, not HoloViews' usual five hundred.
    return tool.hv.DynamicMap(show, kdims=[slider], cache_size=1)


def _stops(
    seen: View, wavelengths: Sequence[float] | None
) -> tuple[str, str | None, dict[Any, int]]:
    """Return what the slider is called, its unit, and the position behind each of its stops."""
    axis = spectral_axis(seen)
    if seen.kind == "groups":
        groups = [str(g) for g in seen.dataset["group"].to_numpy()]
        positions = list(range(len(groups)))
        if wavelengths is not None:
            positions = list(places(seen, wavelengths).values())
        return "group", None, {groups[k]: k for k in positions}
    positions = [int(k) for k in axis.order if axis.good[k]]
    if wavelengths is not None:
        asked = set(places(seen, wavelengths).values())
        positions = [k for k in positions if k in asked]
    nm = [float(axis.x[k]) for k in positions]
    if axis.nm and len(set(nm)) == len(nm):
        return "wavelength", "nm", dict(zip(nm, positions, strict=True))
    # Where detectors overlap wavelengths repeat, and a stop is the number of a band.
    return "band", None, {k: k for k in sorted(positions)}


def _limits(
    seen: View, positions: NDArray[np.intp], *, robust: bool, whole: bool
) -> tuple[NDArray[np.float64], Scale]:
    """Choose colours for all stops at once; also returns how strong the attribution is at each."""
    array = seen.attribution.isel({seen.feature: positions})
    if whole:
        array, _ = thin(array, seen.y, seen.x)
    else:
        array = array.isel({d: _blocks(array.sizes[d]) for d in (seen.y, seen.x)})
    values = np.asarray(array.transpose(seen.feature, ...).to_numpy(), dtype=np.float64)
    strength = np.nansum(np.abs(values), axis=(1, 2))
    return strength, scale(values, robust=robust, signed=is_signed(seen, values))


def _blocks(size: int) -> NDArray[np.intp]:
    """Return three blocks of rows or columns, first to last: they touch few chunks."""
    if size <= BLOCKS * BLOCK_PIXELS:
        return np.arange(size)
    starts = np.linspace(0, size - BLOCK_PIXELS, BLOCKS).astype(np.intp)
    return (starts[:, None] + np.arange(BLOCK_PIXELS)).ravel()
