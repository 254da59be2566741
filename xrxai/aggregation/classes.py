"""What a mean is taken by: a coordinate, a map of classes, polygons, a season."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError
from xrxai.labelled.cube import Cube
from xrxai.labelled.segments import rasterised


@dataclass(frozen=True, eq=False)
class Classes:
    """Names along a new dim, and the position in it of every place; -1 = in none."""

    dim: str
    names: np.ndarray
    codes: xr.DataArray


def settle(explanation: xr.Dataset, by: Any, column: str | None, over: tuple[str, ...]) -> Classes:
    """Turn what the user wrote into classes of the places that are averaged over."""
    if column is not None and not hasattr(by, "geometry"):
        raise OptionError(
            f"column={column!r} names a column of polygons, and by= holds none; type "
            f"by=polygons, or drop column=."
        )
    if by is None:
        return Classes("", np.array([""]), xr.DataArray(0))
    if hasattr(by, "geometry"):
        found = _polygons(explanation, by, column, over)
    elif isinstance(by, str):
        found = _named(explanation, by)
    elif isinstance(by, xr.DataArray):
        found = by.reset_coords(drop=True).rename(str(by.name or "class"))
    else:
        raise OptionError(
            f"by={by!r} is no class of anything; type the name of a coordinate, 'time.season', a "
            f"DataArray of classes or polygons with column=."
        )
    strange = [str(d) for d in found.dims if d not in over]
    if strange:
        raise OptionError(
            f"by= has the dims {tuple(map(str, found.dims))}, and the mean is over {over}: "
            f"{strange[0]!r} would be lost; type dim= with it too, or classes without it."
        )
    for d in found.dims:
        size = explanation.sizes[d]
        one, two = found.indexes.get(d), explanation.indexes.get(d)
        if found.sizes[d] != size or (one is not None and two is not None and not one.equals(two)):
            raise OptionError(
                f"by= does not lie on the explanation along {d!r} ({found.sizes[d]} and {size} "
                f"places); type by.reindex_like(explanation, method='nearest')."
            )
    return _coded(found)


def _named(explanation: xr.Dataset, by: str) -> xr.DataArray:
    try:
        found = explanation[by]
    except KeyError:
        listed = ", ".join(repr(str(c)) for c in explanation.coords)
        raise OptionError(
            f"by={by!r} is no coordinate of this explanation; choose one of {listed}, or type "
            f"'time.season' where there are dates."
        ) from None
    except (AttributeError, TypeError):
        raise OptionError(
            f"by={by!r} asks for a part of a date, and {by.partition('.')[0]!r} holds none; type "
            f"combine(..., names=dates) with datetime64 values."
        ) from None
    return found.reset_coords(drop=True).rename(by.partition(".")[2] or by)


def _polygons(
    explanation: xr.Dataset, by: Any, column: str | None, over: tuple[str, ...]
) -> xr.DataArray:
    y, x = explanation.attrs.get("y_dim", ""), explanation.attrs.get("x_dim", "")
    if not {y, x} <= set(over):
        raise OptionError(
            f"by= holds polygons, which lie on rows and columns, and the mean is over {over}; "
            f"type dim=({y!r}, {x!r}) with an explanation per pixel."
        )
    if column is not None and column not in by:
        listed = ", ".join(repr(str(c)) for c in by.columns if c != by.geometry.name)
        raise OptionError(f"column={column!r} is not in the polygons; choose one of {listed}.")
    plane = explanation["attribution"].isel(
        {d: 0 for d in explanation["attribution"].dims if d not in (y, x)}
    )
    place = Cube(plane, "", y, x, (), None, None, np.ones(0, dtype=bool))
    ids = rasterised(place, list(by.geometry), by.crs)
    labels = np.asarray(by.index if column is None else by[column]).astype(object)
    named = np.append(np.array([None], dtype=object), labels)[ids.values]
    return xr.DataArray(named, dims=(y, x), name=column or "region")


def _coded(found: xr.DataArray) -> Classes:
    if hasattr(found.data, "dask"):
        raise OptionError(
            "by= is lazy (dask), and the names of the classes must be known; type by=by.compute()."
        )
    import pandas as pd

    codes, names = pd.factorize(found.values.ravel(), sort=True)
    if not len(names):
        raise ResultError("by= puts nothing into any class: all of it is missing.")
    array = np.asarray(names)
    array = array.astype(object) if array.dtype.kind == "U" else array
    return Classes(str(found.name), array, found.copy(data=codes.reshape(found.shape)))
