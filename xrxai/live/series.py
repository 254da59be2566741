"""The attribution of one band after the other, behind a slider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import BandError
from xrxai.live.board import lines, tools
from xrxai.live.ground import LARGER, WIDEST, image
from xrxai.plot.axis import spectral_axis
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


@dataclass(frozen=True)
class Stops:
    """What a slider is called, its unit, and for each of its stops the position and the title."""

    name: str
    unit: str | None
    position: dict[Any, int]
    words: dict[Any, str]


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
        If wavelengths are asked for, and there are none or none near one; if no band is good.
    OptionError
        If two wavelengths fall into one band or group, or hvPlot is not installed.
    ResultError
        If the explanation is not per pixel and band, or has several samples or targets.
    """
    tool = tools()
    seen = view(explanation, target)
    need_features(seen)
    one_sample(seen, "A map")
    stops = _stops(seen, wavelengths)
    whole = wavelengths is not None or not robust
    positions = list(stops.position.values())
    strength, scaled = _limits(seen, positions, robust=robust, whole=whole)
    placed, dtype = grid(seen.dataset, seen.y, seen.x), seen.attribution.dtype
    of_target = [f"target “{seen.target}”"] if seen.target else []
    words = lines([method_name(seen.dataset), *of_target], round(WIDEST * LARGER))
    note = f", {scaled.note}" if scaled.note else ""

    def show(stop: Any) -> Any:
        one = seen.attribution.isel({seen.feature: stops.position[stop]})
        one, step = thin(one, seen.y, seen.x)
        values = np.asarray(one.transpose(seen.y, seen.x).to_numpy(), dtype=np.float64)
        field = Field(values, step, placed, "", scaled.low < 0)
        read = coloured(field, seen, scaled, f"{words}\n{stops.words[stop]}{note}")
        return image(tool, read, dtype, size=LARGER)

    every = list(stops.position)
    slider = tool.hv.Dimension(
        stops.name,
        unit=stops.unit,
        values=every,
        default=every[int(np.argmax(strength))],
        value_format=(lambda stop: f"{stop:.1f}") if stops.unit else str,
    )
    # Each frame is a map of the scene: one is held, not HoloViews' usual five hundred.
    return tool.hv.DynamicMap(show, kdims=[slider], cache_size=1)


def _stops(seen: View, wavelengths: Sequence[float] | None) -> Stops:
    """Find the stops of the slider, in order of wavelength."""
    axis = spectral_axis(seen)
    asked = None if wavelengths is None else set(places(seen, wavelengths).values())
    if seen.kind == "groups":
        groups = enumerate(map(str, seen.dataset["group"].to_numpy()))
        position = {name: k for k, name in groups if asked is None or k in asked}
        return Stops("group", None, position, {name: name for name in position})
    bands = [int(k) for k in axis.order if axis.good[k] and (asked is None or k in asked)]
    if not bands:
        raise BandError("No band of this explanation is good (good_band): it has no map to show.")
    nm = [float(axis.x[k]) for k in bands]
    said = [f"{at:.1f} nm" for at in nm]
    if axis.nm and len(set(nm)) == len(nm):
        return Stops(
            "wavelength", "nm", dict(zip(nm, bands, strict=True)), dict(zip(nm, said, strict=True))
        )
    # Where detectors overlap wavelengths repeat: a stop is the number of a band.
    words = {
        k: f"band {k}, {at}" if axis.nm else f"band {k}" for k, at in zip(bands, said, strict=True)
    }
    return Stops("band", None, {k: k for k in bands}, words)


def _limits(
    seen: View, positions: list[int], *, robust: bool, whole: bool
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
