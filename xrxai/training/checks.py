"""What is wrong with polygons before anybody trains on them: every fault, as a table."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xrxai.errors import LabelError, at_least, positive
from xrxai.labelled.cube import locate
from xrxai.training.classes import UNLABELLED, Classes
from xrxai.training.places import geopandas_for
from xrxai.training.polygons import (
    AREAL,
    Ground,
    column_of,
    ground_of,
    placed,
    square_metres,
)

Finding = tuple[int, str, str, str, Any]
"""Position of the polygon, check, severity, message, geometry."""


def check_labels(
    polygons: Any,
    cube: xr.DataArray,
    classes: Classes,
    *,
    column: str = "class",
    date_column: str | None = None,
    image_date: Any = None,
    max_days: float = 30,
    min_pixels: int = 9,
    min_width: float = 2.0,
) -> Any:
    """
    List what is wrong with polygons: dates, names, overlaps, slivers, geometries, places.

    Parameters
    ----------
    polygons : GeoDataFrame
        One row per polygon, in any CRS.
    cube : DataArray, (band, y, x)
        The image that they label; read to find missing pixels.
    classes : Classes
        What the names in `column` mean.
    column : str, default: "class"
        Column of the names of classes.
    date_column : str, optional
        Column of the day that each polygon is true of. Default: dates are not checked.
    image_date : datetime or str, optional
        Day of the image. Default: the scalar coordinate ``time`` of the cube.
    max_days : float, default: 30
        So many days between label and image are no fault.
    min_pixels : int, default: 9
        Smaller polygons are slivers.
    min_width : float, default: 2.0
        Polygons that are nowhere so many pixels wide are slivers: all their pixels are mixed.

    Returns
    -------
    GeoDataFrame
        A row per fault, in the CRS of the cube: ``polygon`` (its index), ``check`` ("geometry",
        "class", "date", "overlap", "sliver", "outside", "nodata"), ``severity`` ("error" or
        "warning"), ``message``, ``area_m2`` and ``geometry`` of what is at fault. Without rows
        where all is well.

    Raises
    ------
    LabelError
        No GeoDataFrame, no CRS, no such column, or no date of the image.
    ImportError
        geopandas is missing.
    """
    geopandas = geopandas_for("check_labels")
    at_least(min_pixels, 0, "min_pixels")
    positive(min_width, "min_width", 2.0, zero=True)
    positive(max_days, "max_days", 30, zero=True)
    ground = ground_of(cube)
    polygons = placed(polygons, ground)
    shapes = np.asarray(polygons.geometry, dtype=object)
    names = column_of(polygons, column)
    found = list(_geometries(shapes))
    broken = {at for at, _, severity, _, _ in found if severity == "error"}
    good = np.array([i not in broken for i in range(len(shapes))], dtype=bool)
    found += _names(names, shapes, classes, column)
    if date_column is not None:
        days = column_of(polygons, date_column)
        found += _dates(days, _day(image_date, cube), max_days, shapes, date_column)
    valid = locate(cube).valid()
    valid = valid.all([d for d in valid.dims if d not in (ground.y, ground.x)])
    known = np.asarray(valid.transpose(ground.y, ground.x).values)
    where = np.flatnonzero(good)
    found += _sizes(where, shapes, ground, min_pixels, min_width)
    found += _places(where, shapes, ground, known)
    found += _overlaps(where, shapes, _codes(names, classes), polygons.index, ground)
    found.sort(key=lambda one: one[0])
    table = {
        "polygon": [polygons.index[one[0]] for one in found],
        "check": [one[1] for one in found],
        "severity": [one[2] for one in found],
        "message": [one[3] for one in found],
        "area_m2": square_metres(np.array([one[4] for one in found], dtype=object), ground.crs),
    }
    made = geopandas.GeoDataFrame(table, geometry=[one[4] for one in found], crs=ground.crs)
    return made


def _geometries(shapes: np.ndarray) -> Iterator[Finding]:
    import shapely

    for i, shape in enumerate(shapes):
        if shape is None or shape.is_empty:
            text = "has no geometry; draw it again, or drop the row"
            yield i, "geometry", "error", text, shapely.Polygon()
        elif shape.geom_type not in AREAL:
            text = f"is a {shape.geom_type.lower()}, and labels are areas; draw its outline"
            yield i, "geometry", "error", text, shape
        elif not shape.is_valid:
            text = f"{shapely.is_valid_reason(shape)}; type polygons.geometry.make_valid()"
            yield i, "geometry", "error", text, shape


def _names(names: np.ndarray, shapes: np.ndarray, classes: Classes, column: str) -> list[Finding]:
    known = [str(n) for n in (*classes.names, *classes.lump)]
    made: list[Finding] = []
    for i, name in enumerate(names):
        if name in classes.names or name in classes.lump:
            continue
        if pd.isna(name):
            text = f"has no class in {column!r}; fill it in, or drop the row"
        else:
            near = difflib.get_close_matches(str(name), known, n=1)
            like = {known.lower(): known for known in known}.get(str(name).strip().lower())
            meant = like or (near[0] if near else None)
            text = f"{name!r} is no class and not in lump; " + (
                f"did you mean {meant!r}?"
                if meant
                else f"type Classes(..., lump={{{name!r}: ...}})"
            )
        made.append((i, "class", "error", text, shapes[i]))
    return made


def _day(given: Any, cube: xr.DataArray) -> pd.Timestamp:
    if given is None and "time" in cube.coords and cube["time"].ndim == 0:
        given = cube["time"].values
    if given is None:
        raise LabelError(
            "date_column= asks whether labels are of the day of the image, and the cube has no "
            "scalar coordinate 'time'; type image_date='2021-06-20' with its day."
        )
    return _naive(pd.Timestamp(given))


def _naive(day: pd.Timestamp) -> pd.Timestamp:
    return day if day.tzinfo is None else day.tz_convert(None)


def _dates(
    days: np.ndarray, image: pd.Timestamp, most: float, shapes: np.ndarray, column: str
) -> list[Finding]:
    made: list[Finding] = []
    for i, value in enumerate(days):
        day = pd.to_datetime(value, errors="coerce")
        if pd.isna(day):
            said = "no date" if pd.isna(value) else f"{value!r}, which is no date,"
            text = f"has {said} in {column!r}; fill it in, such as '{image:%Y-%m-%d}'"
            made.append((i, "date", "warning", text, shapes[i]))
            continue
        apart = abs((_naive(day) - image) / pd.Timedelta(days=1))
        if apart > most:
            text = (
                f"is of {day:%Y-%m-%d} and the image of {image:%Y-%m-%d}: {apart:.0f} days apart, "
                f"more than max_days={most:g}"
            )
            made.append((i, "date", "error", text, shapes[i]))
    return made


def _sizes(
    where: np.ndarray, shapes: np.ndarray, ground: Ground, least: int, width: float
) -> list[Finding]:
    """Polygons of few pixels, or nowhere wide."""
    import shapely

    made: list[Finding] = []
    if not where.size:
        return made
    drawn = ground.pixels(shapes[where])
    # Twice the radius of the largest circle inside: the width of a strip, the side of a square.
    wide = 2 * shapely.length(shapely.maximum_inscribed_circle(drawn, tolerance=0.05))
    for i, area, thick in zip(where.tolist(), shapely.area(drawn), wide, strict=True):
        if area < least:
            text = f"has {area:.1f} pixels, fewer than min_pixels={least}"
        elif thick < width - 0.05:
            text = f"is {thick:.1f} pixels wide at most, less than min_width={width:g}"
        else:
            continue
        made.append((i, "sliver", "warning", text, shapes[i]))
    return made


def _places(
    where: np.ndarray, shapes: np.ndarray, ground: Ground, known: np.ndarray
) -> list[Finding]:
    """Polygons beside the cube, and on missing pixels."""
    import shapely
    from rasterio.features import geometry_mask
    from rasterio.transform import Affine

    made: list[Finding] = []
    rows, columns = ground.shape
    frame = shapely.box(0, 0, columns, rows)
    drawn = ground.pixels(shapes[where]) if where.size else shapes[where]
    for i, shape in zip(where.tolist(), drawn, strict=True):
        out = 1 - shape.intersection(frame).area / shape.area
        if out > 1e-6:
            text = f"lies {'' if out > 0.999999 else f'to {100 * out:.1f} % '}outside the cube"
            made.append((i, "outside", "error" if out > 0.5 else "warning", text, shapes[i]))
        left, low, right, high = shape.bounds
        top, bottom = max(int(low), 0), min(int(np.ceil(high)), rows)
        first, last = max(int(left), 0), min(int(np.ceil(right)), columns)
        if top >= bottom or first >= last or known[top:bottom, first:last].all():
            continue
        inside = geometry_mask(
            [shape], (bottom - top, last - first), Affine.translation(first, top), invert=True
        )
        gone = inside & ~known[top:bottom, first:last]
        if gone.any():
            share = gone.sum() / inside.sum()
            text = f"{gone.sum()} of its {inside.sum()} pixels ({100 * share:.1f} %) have no data"
            made.append((i, "nodata", "error" if share > 0.5 else "warning", text, shapes[i]))
    return made


def _codes(names: np.ndarray, classes: Classes) -> np.ndarray:
    """Class numbers, an own one below -1 for each unknown name."""
    strange: dict[str, int] = {}
    made = []
    for name in names:
        if name in classes.names or name in classes.lump:
            made.append(classes.number(name))
        else:
            made.append(-2 - strange.setdefault(str(name), len(strange)))
    return np.array(made, dtype=np.int64)


def _overlaps(
    where: np.ndarray, shapes: np.ndarray, codes: np.ndarray, index: Any, ground: Ground
) -> list[Finding]:
    """Pairs of polygons of two classes that share more than a hundredth of a pixel."""
    import shapely

    made: list[Finding] = []
    if where.size < 2:
        return made
    pixel = abs(ground.transform.determinant)
    one, two = shapely.STRtree(shapes[where]).query(shapes[where], predicate="intersects")
    pairs = np.stack([where[one], where[two]])[:, one < two]
    for i, j in pairs.T.tolist():
        if codes[i] == codes[j] or UNLABELLED in (codes[i], codes[j]):
            continue
        both = shapes[i].intersection(shapes[j])
        if both.area <= pixel / 100:
            continue
        small = min(shapes[i].area, shapes[j].area)
        text = (
            f"shares {both.area / pixel:.1f} pixels with polygon {index[j]} of another class, "
            f"{100 * both.area / small:.0f} % of the smaller"
        )
        made.append((i, "overlap", "error", text, both))
    return made
