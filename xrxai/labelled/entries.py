"""What a user may write for a band group, resolved into positions of bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xrxai.errors import BandError
from xrxai.labelled.cube import Cube


class Part(NamedTuple):
    """One requested piece of a group: its name and the bands (positions) that it has."""

    name: str
    bands: np.ndarray


def wanted(place: Cube, bands: Any, tolerance: float) -> dict[str, list[Part]]:
    """Turn every way to ask for groups into name -> parts."""
    if isinstance(bands, Real) and not isinstance(bands, bool):
        return _equal_width(place, float(bands))
    if isinstance(bands, str):
        bands = [bands]
    if isinstance(bands, xr.DataArray | np.ndarray):
        return _labelled(place, np.asarray(bands))
    if isinstance(bands, Mapping):
        entries = {str(name): entry for name, entry in bands.items()}
    elif isinstance(bands, Sequence) and not isinstance(bands, range):
        entries = {}
        for entry in bands:
            name = _name(entry)
            if name in entries:
                raise BandError(f"Group {name!r} is listed twice; list it once.")
            entries[name] = entry
    else:
        raise BandError(
            f"bands={bands!r} is not a way to group bands; type a list of names such as "
            f"['R', 'G', 'B'], a mapping such as {{'red': (620, 690)}} in nm, or a width in nm."
        )
    if not entries:
        raise BandError(
            "The list of bands is empty; type at least one group, for example bands=['R']."
        )
    return {name: _parts(place, name, entry, tolerance) for name, entry in entries.items()}


def _equal_width(place: Cube, width: float) -> dict[str, list[Part]]:
    wavelength = place.require_wavelength()
    if not width > 0:
        raise BandError(f"bands={width:g} is no width; type a positive width in nm such as 50.")
    low = np.floor(np.nanmin(wavelength[place.good_band]) / width) * width
    cell = np.floor((wavelength - low) / width)
    cells = {}
    for k in np.unique(cell[place.good_band]):
        start = low + k * width
        name = f"{start:g}-{start + width:g} nm"
        cells[name] = [Part(name, np.flatnonzero((cell == k) & place.good_band))]
    return cells


def _labelled(place: Cube, labels: np.ndarray) -> dict[str, list[Part]]:
    if labels.shape != place.good_band.shape:
        raise BandError(
            f"The array of bands has shape {labels.shape}, the cube has {place.good_band.size} "
            f"bands; give one group id (0 = none) or name ('' = none) per band."
        )
    if labels.dtype.kind in "iub":
        keep = [v for v in np.unique(labels) if v != 0]
    else:
        keep = [v for v in dict.fromkeys(labels.tolist()) if v]
    if not keep:
        raise BandError(
            "The array of bands puts no band into a group; give at least one id other than 0."
        )
    return {str(v): [Part(str(v), np.flatnonzero(labels == v))] for v in keep}


def _name(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, Real):
        return f"{float(entry):g} nm"
    if isinstance(entry, range):
        return f"bands {entry.start}-{entry.stop - 1}"
    if isinstance(entry, slice):
        return _name(_ends(entry))
    if _is_interval(entry):
        return f"{entry[0]:g}-{entry[1]:g} nm"
    if isinstance(entry, list | tuple) and entry:
        return "+".join(_name(e) for e in entry)
    raise BandError(
        f"The list of bands holds {entry!r}, which names no bands; type a name such as 'R', a pair "
        f"(low, high) in nm, or a mapping {{name: entry}}."
    )


def _is_interval(entry: Any) -> bool:
    return isinstance(entry, tuple) and len(entry) == 2 and all(isinstance(v, Real) for v in entry)


def _ends(entry: slice) -> tuple[float, float]:
    ends = (entry.start, entry.stop)
    if not _is_interval(ends) or entry.step is not None:
        raise BandError(f"{entry} is no interval in nm; type slice(low, high) with both ends.")
    return ends


def _parts(place: Cube, name: str, entry: Any, tolerance: float) -> list[Part]:
    """Resolve the entry of one group into named parts."""
    if isinstance(entry, str):
        return _by_name(place, entry)
    if isinstance(entry, Real):
        return [_nearest(place, float(entry), tolerance)]
    if isinstance(entry, slice):
        return [_interval(place, *_ends(entry))]
    if _is_interval(entry):
        return [_interval(place, *entry)]
    if isinstance(entry, range):
        return [_positions(place, name, list(entry))]
    if isinstance(entry, Mapping) and set(entry) == {"index"}:
        return [_positions(place, name, np.atleast_1d(entry["index"]).tolist())]
    if isinstance(entry, Mapping) and set(entry) == {"label"}:
        labels = np.atleast_1d(np.asarray(entry["label"])).tolist()
        if not labels:
            raise BandError(f"Group {name!r} lists no label; type at least one.")
        return [_label(place, v) for v in labels]
    if isinstance(entry, list | tuple | np.ndarray) and len(entry):
        return [part for piece in entry for part in _parts(place, name, piece, tolerance)]
    raise BandError(
        f"Group {name!r} is {entry!r}, which names no bands; type names, (low, high) in nm, "
        f"a list of nm, {{'index': [...]}} or {{'label': [...]}}."
    )


def letters(name: str) -> tuple[list[str] | None, str]:
    """Parts of a spyndex index or band (None: unknown) and its domain."""
    import spyndex

    if name in spyndex.indices:
        index = spyndex.indices[name]
        return list(index.bands), str(index.application_domain)
    if name in spyndex.bands:
        return [name], "band"
    return None, ""


def _by_name(place: Cube, name: str) -> list[Part]:
    import spyndex

    pieces, _ = letters(name)
    if pieces is None:
        if place.band in place.data.coords and name in place.data[place.band].values:
            return [_label(place, name)]
        raise BandError(unknown(name, place))
    other = [v for v in pieces if v not in spyndex.bands and v not in spyndex.constants]
    if other:
        raise BandError(
            f"{name!r} needs {', '.join(other)}, which are no spectral bands; "
            f"name an optical index or band, for example 'NDVI' or 'R'."
        )
    return [Part(v, in_band(place, v)) for v in pieces if v in spyndex.bands]


def in_band(place: Cube, letter: str) -> np.ndarray:
    """Positions of the bands inside a band of spyndex, both ends included."""
    import spyndex

    band = spyndex.bands[letter]
    wavelength = place.require_wavelength()
    return np.flatnonzero((wavelength >= band.min_wavelength) & (wavelength <= band.max_wavelength))


def _interval(place: Cube, low: float, high: float) -> Part:
    wavelength = place.require_wavelength()
    if not low <= high:
        raise BandError(f"({low}, {high}) is no interval in nm; type (low, high), low first.")
    inside = (wavelength >= low) & (wavelength <= high)
    return Part(f"{low:g}-{high:g} nm", np.flatnonzero(inside))


def _nearest(place: Cube, nm: float, tolerance: float) -> Part:
    wavelength = place.require_wavelength()
    distance = np.abs(wavelength - nm)
    best = int(np.nanargmin(distance))
    if distance[best] > tolerance:
        raise BandError(
            f"No band lies within {tolerance:g} nm of {nm:g} nm: the nearest is at "
            f"{wavelength[best]:g} nm. Name a wavelength of the sensor, or raise tolerance= "
            f"in xrxai.band_groups(...)."
        )
    return Part(f"{nm:g} nm", np.array([best]))


def _positions(place: Cube, name: str, positions: list[Any]) -> Part:
    n_bands = place.good_band.size
    if not positions:
        raise BandError(f"Group {name!r} lists no band position; type at least one.")
    for p in positions:
        if not isinstance(p, int) or isinstance(p, bool):
            raise BandError(
                f"Group {name!r} asks for band position {p!r}, which is no whole number; type "
                f"positions from 0 to {n_bands - 1}."
            )
        if not -n_bands <= p < n_bands:
            raise BandError(
                f"Group {name!r} asks for band position {p}, and the cube has {n_bands} bands; "
                f"type positions from 0 to {n_bands - 1}."
            )
    return Part(name, np.array(positions, dtype=int) % n_bands)


def _label(place: Cube, label: Any) -> Part:
    values = place.data[place.band].values if place.band in place.data.coords else np.array([])
    found = np.flatnonzero(values == label)
    if not found.size:
        if not values.size:
            raise BandError(
                f"No band is labelled {label!r}, as the cube has no coordinate {place.band!r}; "
                f"type positions, {{'index': [...]}}, or wavelengths in nm."
            )
        known = list(map(repr, values.tolist()))
        known[5:-1] = ["..."] * (len(known) > 6)
        raise BandError(f"No band is labelled {label!r}; choose from {', '.join(known)}.")
    return Part(str(label), found)


def unknown(name: str, place: Cube) -> str:
    """Say that a name is none, and which names are like it."""
    import difflib

    import spyndex

    labels = place.data[place.band].values.tolist() if place.band in place.data.coords else []
    known = [*spyndex.bands, *spyndex.indices, *(v for v in labels if isinstance(v, str))]

    def likeness(other: str) -> tuple[bool, float]:
        one, two = str(name).lower(), other.lower()
        # Swapped letters first: difflib puts them behind wrong ones.
        return sorted(one) == sorted(two), difflib.SequenceMatcher(None, one, two).ratio()

    best = sorted(known, key=likeness, reverse=True)[:3]
    close = [repr(other) for other in best if likeness(other)[1] >= 0.6]
    hint = (
        f"the nearest are {', '.join(close)}" if close else "type for example 'NDVI' or (620, 690)"
    )
    return f"{name!r} is no spectral index, no band of spyndex and no band label; {hint}."


def empty(name: str, union: np.ndarray, place: Cube) -> str:
    """Say why a group has no band: all bad, or none there."""
    if union.size:
        return (
            f"Group {name!r} is empty: its {union.size} bands ({span(place, union)}) are all bad "
            f"(good_band is False); choose other bands."
        )
    reach = (
        ""
        if place.wavelength is None
        else f" of {np.nanmin(place.wavelength):g}-{np.nanmax(place.wavelength):g} nm"
    )
    return (
        f"Group {name!r} is empty: this sensor{reach} has no band there; "
        f"drop the group or name one that xrxai.coverage(cube) lists."
    )


def span(place: Cube, bands: np.ndarray) -> str:
    """Write the reach of some bands in nm, or in positions."""
    scale = np.arange(place.good_band.size) if place.wavelength is None else place.wavelength
    low, high = scale[bands].min(), scale[bands].max()
    reach = f"{low:g}" if low == high else f"{low:g}-{high:g}"
    return f"position {reach}" if place.wavelength is None else f"{reach} nm"
