"""A hierarchy of bands: the tree along which unions of bands are split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xrxai.errors import BandError
from xrxai.labelled import bands as band_groups
from xrxai.labelled.cube import Cube

Hierarchy: TypeAlias = Any
"""What `hierarchy=` accepts: "correlation", or nested lists of what `band_groups` takes."""

_PIXELS = 20_000
_RUNS = 4


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes counted from the root, 0; leaves are counted in the order of nodes.

    Attributes
    ----------
    children : list of list of int
        The nodes below each; none below a leaf.
    bands : list of int arrays
        Positions of the bands of each node.
    names : list of str
        What each node is called.
    """

    children: list[list[int]]
    bands: list[np.ndarray]
    names: list[str]


def settle(place: Cube, hierarchy: Hierarchy, valid: xr.DataArray) -> Tree:
    """Turn what the user wrote into a tree over the good bands."""
    if isinstance(hierarchy, str) and hierarchy == "correlation":
        children, leaves = (
            _dendrogram(_distance(place, valid)),
            list(np.flatnonzero(place.good_band)),
        )
        bands = _up(children, [np.array([band]) for band in leaves])
        return Tree(children, bands, _unique([_reach(place, some) for some in bands]))
    if not isinstance(hierarchy, list):
        raise BandError(
            f"hierarchy={hierarchy!r} is no hierarchy; type 'correlation', or nested lists of band "
            f"groups such as [['B', 'G'], ['R', (760, 900)]]."
        )
    children, entries = _nested(hierarchy)
    try:
        groups = band_groups.settle(place, entries, "error", "fixed")
    except BandError as error:
        told = str(error).partition(" Change the groups, or type overlap=")
        raise BandError(told[0] + (" Change the hierarchy." if told[1] else "")) from None
    ids = groups["group_of_band"].values
    parts = [np.flatnonzero(ids == i + 1) for i in range(len(entries))]
    own = iter(groups["group"].values)
    leaf = [str(next(own)) if not below else "" for below in children]
    bands = _up(children, parts)
    names = [name or _reach(place, some) for name, some in zip(leaf, bands, strict=True)]
    return Tree(children, bands, _unique(names))


def _nested(hierarchy: list[Any]) -> tuple[list[list[int]], list[Any]]:
    """Nested lists -> the nodes below each node, and the entries of the leaves."""
    children: list[list[int]] = []
    entries: list[Any] = []

    def add(entry: Any) -> int:
        while isinstance(entry, list) and len(entry) == 1:
            entry = entry[0]
        node = len(children)
        children.append([])
        if not isinstance(entry, list):
            entries.append(entry)
        elif not entry:
            raise BandError("The hierarchy holds an empty list; type at least one group in it.")
        else:
            children[node] = [add(one) for one in entry]
        return node

    add(hierarchy)
    return children, entries


def _distance(place: Cube, valid: xr.DataArray) -> np.ndarray:
    """1 - correlation of the good bands over the valid pixels, (band, band)."""
    if place.lazy:
        raise BandError(
            "hierarchy='correlation' must see the pixels, and the cube is lazy (dask); type "
            "cube.compute(), or give nested lists such as hierarchy=[['B', 'G'], ['R', 'N']]."
        )
    good = place.data.isel({place.band: np.flatnonzero(place.good_band)})
    # In an order of dims that does not depend on the cube's, as sums are rounded in order.
    order = [*sorted(place.lead), *(d for d in (place.y, place.x) if d is not None)]
    keep = valid.transpose(*order).values
    where = np.flatnonzero(keep)
    if where.size < 3:
        raise BandError(
            f"hierarchy='correlation' needs 3 valid pixels or more, the cube has {where.size}; "
            f"give nested lists such as hierarchy=[['B', 'G'], ['R', 'N']]."
        )
    where = where[:: -(-where.size // _PIXELS)]
    table = good.transpose(*order, place.band).values.reshape(keep.size, -1)
    spectra = table[where].astype(np.float64)
    spectra -= spectra.mean(axis=0)
    length = np.sqrt((spectra**2).sum(axis=0))
    spectra /= np.where(length > 0, length, 1.0)
    return 1 - (spectra.T @ spectra).clip(-1, 1)


def _dendrogram(distance: np.ndarray) -> list[list[int]]:
    """Average linkage -> the nodes below each node, root first, leaves in band order."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    n = len(distance)
    if n == 1:
        return [[]]
    np.fill_diagonal(distance, 0.0)
    merges = linkage(squareform(distance, checks=False), method="average")[:, :2].astype(int)
    # Root (the last merge) first, then earlier merges, then leaves.
    last = 2 * n - 2

    def number(node: int) -> int:
        return last - node if node >= n else n - 1 + node

    return [sorted(map(number, merge)) for merge in merges[::-1]] + [[] for _ in range(n)]


def _up(children: Sequence[Sequence[int]], leaves: list[np.ndarray]) -> list[np.ndarray]:
    """Bands of each node, from those of the leaves; children have higher numbers."""
    own = iter(leaves)
    bands = [np.array([], dtype=int) if below else next(own) for below in children]
    for node in reversed(range(len(children))):
        if children[node]:
            bands[node] = np.sort(np.concatenate([bands[child] for child in children[node]]))
    return bands


def _reach(place: Cube, bands: np.ndarray) -> str:
    """Name some bands by their runs along the spectrum."""
    good = np.flatnonzero(place.good_band)
    scale = np.arange(place.good_band.size) if place.wavelength is None else place.wavelength
    rank = np.empty(place.good_band.size, dtype=int)
    rank[good[np.argsort(scale[good], kind="stable")]] = np.arange(good.size)
    order = bands[np.argsort(rank[bands])]
    runs = np.split(order, np.flatnonzero(np.diff(rank[order]) > 1) + 1)
    ends = [(_short(scale[run[0]]), _short(scale[run[-1]])) for run in runs]
    if len(runs) > _RUNS:
        text = f"{bands.size} of {ends[0][0]}-{ends[-1][1]}"
    else:
        text = ", ".join(low if low == high else f"{low}-{high}" for low, high in ends)
    return f"position {text}" if place.wavelength is None else f"{text} nm"


def _short(value: float) -> str:
    return f"{round(float(value), 1):g}"


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return out
