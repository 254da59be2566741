"""Band groups: from names, indices of spectral indices, nanometres or labels to a partition."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from xrxai.errors import BandError, choice, note
from xrxai.labelled.cube import Cube, locate
from xrxai.labelled.entries import empty, in_band, letters, span, unknown, wanted

Overlap: TypeAlias = Literal["first", "error", "split"]
Ungrouped: TypeAlias = Literal["fixed", "group"]
Bands: TypeAlias = Any
"""What `bands=` accepts: see `band_groups`."""

NOT_INCLUDED = "not_included"


def band_groups(
    cube: xr.DataArray,
    bands: Bands = 50.0,
    *,
    overlap: Overlap = "first",
    ungrouped: Ungrouped = "fixed",
    tolerance: float = 10.0,
) -> xr.Dataset:
    """
    Put the bands of a cube into named groups.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The cube; only its band coordinates are read. Bad bands join no group.
    bands : optional
        * a number: equal-width groups of that many **nm** (the default, 50 nm);
        * a list: one group per entry. An entry is a name (a spectral index of
          spyndex such as ``"BI"``, whose constants are ignored, or one of its
          bands such as ``"R"``, or a band label of the cube), a nested list of
          names (one merged group), a pair ``(low, high)`` or a ``slice`` in nm (both
          ends included), a single number (the band nearest to that many nm), or a
          ``range`` of band positions;
        * a mapping ``{name: entry}``, where an entry may also be a list of numbers
          (the bands nearest to these nm), ``{"index": [...]}`` (positions) or
          ``{"label": [...]}`` (values of the band coordinate);
        * an array of one group id (0 = in no group) or group name ("" = none) per band;
        * a Dataset made by this function.
    overlap : {"first", "error", "split"}, default: "first"
        Whose is a band that two groups ask for: the group listed first, nobody's
        (an error), or a group of its own named ``"G & B"``.
    ungrouped : {"fixed", "group"}, default: "fixed"
        Bands that nobody asked for keep their value, or form one more group,
        ``"not_included"``.
    tolerance : float, default: 10.0
        Largest distance in nm between a wavelength that is asked for and the nearest band.

    Returns
    -------
    Dataset
        ``group_of_band`` (band), the position of the group counted from 1 and 0 for no
        group, and on ``group`` the coords ``group_size``, ``group_wavelength_min`` and
        ``group_wavelength_max`` (nm), ``group_missing`` (what was asked for and the sensor
        does not have) and ``group_shared`` (bands that another group took).

    Raises
    ------
    BandError
        A name is unknown, a group has no band on this sensor, or two groups overlap
        under ``overlap="error"``.

    Warns
    -----
    UserWarning
        A group is only partly covered by the sensor, or two groups overlap.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xrxai
    >>> cube = xr.DataArray(
    ...     np.ones((4, 2, 2)),
    ...     dims=("band", "y", "x"),
    ...     coords={"wavelength": ("band", [490.0, 560.0, 660.0, 830.0], {"units": "nm"})},
    ... )
    >>> xrxai.band_groups(cube, ["N", "R"]).group_of_band.values
    array([0, 0, 2, 1])
    """
    return settle(locate(cube), bands, overlap, ungrouped, tolerance)


def coverage(cube: xr.DataArray, names: Iterable[str] | None = None) -> pd.DataFrame:
    """
    Tell which spectral indices the sensor of a cube can serve.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The cube; only its wavelengths are read.
    names : iterable of str, optional
        Spectral indices or bands of spyndex. Default: every index.

    Returns
    -------
    pandas.DataFrame
        A row per name. ``status`` is "complete", "partial" (some bands are missing),
        "none" or "unsupported" (it needs radar or kernel values, not bands); ``found``,
        ``missing``, ``constants`` and ``unsupported`` list the parts; ``n_bands`` counts
        the bands of the cube in their union.

    Raises
    ------
    BandError
        A name is unknown, or the cube has no wavelengths.

    References
    ----------
    .. [1] D. Montero et al. (2023). A standardized catalogue of spectral indices. Scientific
       Data 10, 197. https://doi.org/10.1038/s41597-023-02096-0
    """
    import spyndex

    place = locate(cube)
    place.require_wavelength()
    rows = []
    names = [names] if isinstance(names, str) else names
    for name in spyndex.indices if names is None else names:
        pieces, domain = letters(name)
        if pieces is None:
            raise BandError(unknown(name, place))
        parts = {v: in_band(place, v) for v in pieces if v in spyndex.bands}
        constants = [v for v in pieces if v in spyndex.constants]
        other = [v for v in pieces if v not in parts and v not in constants]
        found = [v for v, b in parts.items() if b.size]
        if other:
            status = "unsupported"
        elif not found:
            status = "none"
        else:
            status = "complete" if len(found) == len(parts) else "partial"
        rows.append(
            {
                "name": name,
                "status": status,
                "n_bands": len(set(itertools.chain.from_iterable(parts.values()))),
                "found": found,
                "missing": [v for v in parts if v not in found],
                "constants": constants,
                "unsupported": other,
                "domain": domain,
            }
        )
    return pd.DataFrame(rows).set_index("name")


def settle(
    place: Cube, bands: Bands, overlap: str, ungrouped: str, tolerance: float = 10.0
) -> xr.Dataset:
    """Turn what the user wrote into the Dataset of `band_groups`."""
    choice(overlap, ("first", "error", "split"), "overlap")
    choice(ungrouped, ("fixed", "group"), "ungrouped")
    if isinstance(bands, xr.Dataset):
        return _given_groups(place, bands)
    asked = wanted(place, bands, tolerance)
    members: dict[str, np.ndarray] = {}
    missing: dict[str, list[str]] = {}
    for name, parts in asked.items():
        missing[name] = [part.name for part in parts if not part.bands.size]
        union = np.unique(np.concatenate([part.bands for part in parts]).astype(int))
        members[name] = union[place.good_band[union]]
        if not members[name].size:
            raise BandError(empty(name, union, place))
        if missing[name]:
            note(
                f"Group {name!r} is only partly on this sensor: it has no band for "
                f"{', '.join(missing[name])}. Its answer speaks of the rest alone.",
            )
    members, shared = _part(members, overlap, place)
    ids = np.zeros(place.good_band.size, dtype=int)
    for position, union in enumerate(members.values(), start=1):
        ids[union] = position
    names = list(members)
    rest = (ids == 0) & place.good_band
    if ungrouped == "group" and rest.any():
        names.append(NOT_INCLUDED)
        ids[rest] = len(names)
    return _dataset(place, ids, names, missing, shared)


def _part(
    members: dict[str, np.ndarray], overlap: str, place: Cube
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Make the groups disjoint; `shared` tells what each lost and to whom."""
    shared: dict[str, list[str]] = {name: [] for name in members}
    notes = []
    for one, two in itertools.combinations(members, 2):
        both = np.intersect1d(members[one], members[two])
        if not both.size:
            continue
        where = f"{both.size} band{'s' if both.size > 1 else ''} ({span(place, both)})"
        if overlap == "error":
            raise BandError(
                f"Groups {one!r} and {two!r} share {where}; a band can be in one group only. "
                f"Change the groups, or type overlap='first' or overlap='split'."
            )
        if overlap == "first":
            notes.append(
                f"Groups {one!r} and {two!r} share {where}; they go to {one!r}, listed first. "
                f"Type overlap='split' to make them a group of their own."
            )
        shared[two].append(f"{both.size} to {one}")
    owners = [
        tuple(name for name, union in members.items() if band in union)
        for band in range(place.good_band.size)
    ]
    parted: dict[str, list[int]] = {name: [] for name in members} if overlap == "first" else {}
    for band, names in enumerate(owners):
        if names:
            key = names[0] if overlap == "first" else " & ".join(names)
            parted.setdefault(key, []).append(band)
    # Groups keep the order in which they were asked for; shared pieces follow.
    order = [n for n in members if n in parted] + [n for n in parted if n not in members]
    for name in order:
        if not parted[name]:
            raise BandError(
                f"Group {name!r} is empty: all its bands belong to groups listed before it. "
                f"List it first, or type overlap='split'."
            )
    for text in notes:
        note(text)
    return (
        {name: np.array(parted[name], dtype=int) for name in order},
        {name: ", ".join(lost) for name, lost in shared.items()},
    )


def _dataset(
    place: Cube,
    ids: np.ndarray,
    names: list[str],
    missing: Mapping[str, list[str]] | None = None,
    shared: Mapping[str, str] | None = None,
) -> xr.Dataset:
    wavelength = place.wavelength
    low = np.full(len(names), np.nan)
    high = low.copy()
    if wavelength is not None:
        for i in range(len(names)):
            inside = wavelength[ids == i + 1]
            low[i], high[i] = inside.min(), inside.max()
    nm = {"units": "nm"}
    coords: dict[str, Any] = {
        "group": ("group", np.array(names, dtype=object), {"long_name": "band group"}),
        "group_size": ("group", np.bincount(ids, minlength=len(names) + 1)[1:]),
        "group_wavelength_min": ("group", low, nm),
        "group_wavelength_max": ("group", high, nm),
        "group_missing": (
            "group",
            np.array([", ".join((missing or {}).get(n, [])) for n in names], dtype=object),
            {"long_name": "asked for, not on the sensor"},
        ),
        "group_shared": (
            "group",
            np.array([(shared or {}).get(n, "") for n in names], dtype=object),
            {"long_name": "bands that another group took"},
        ),
    }
    coords |= {
        str(k): c.variable
        for k, c in place.data.coords.items()
        if c.dims == (place.band,) and k not in coords
    }
    about = {"long_name": "group of the band, counted from 1; 0 = in no group"}
    return xr.Dataset({"group_of_band": (place.band, ids, about)}, coords=coords)


def _given_groups(place: Cube, groups: xr.Dataset) -> xr.Dataset:
    n_bands = place.good_band.size
    if "group_of_band" not in groups or groups["group_of_band"].size != n_bands:
        found = (
            f"{groups['group_of_band'].size} bands" if "group_of_band" in groups else "no groups"
        )
        raise BandError(
            f"The bands are a Dataset with {found}, the cube has {n_bands} bands; "
            f"make it with xrxai.band_groups(cube, ...) from this cube."
        )
    theirs = locate(groups["group_of_band"], band_dim=str(groups["group_of_band"].dims[0]))
    ours, other = place.wavelength, theirs.wavelength
    if ours is not None and other is not None and not np.allclose(ours, other, atol=0.01):
        raise BandError(
            f"The bands are a Dataset made for {span(theirs, np.arange(n_bands))}, the cube has "
            f"{span(place, np.arange(n_bands))} and other bands; make it with "
            f"xrxai.band_groups(cube, ...) from this cube."
        )
    ids = np.where(place.good_band, groups["group_of_band"].values, 0)
    names = [str(name) for name in groups["group"].values]
    for position, name in enumerate(names, start=1):
        if not (ids == position).any():
            raise BandError(empty(name, np.flatnonzero(ids == position), place))
    made = _dataset(place, ids, names)
    for key in ("group_missing", "group_shared"):
        if key in groups.coords:
            made = made.assign_coords({key: groups[key].variable})
    return made
