"""Polygons on the grid of a cube: their CRS, their places among its pixels, their areas."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import LabelError
from xrxai.labelled.ground import pixel_area
from xrxai.training.places import grid_mapping, plane

AREAL = ("Polygon", "MultiPolygon")


@dataclass(frozen=True, eq=False)
class Ground:
    """The grid that polygons are put on."""

    y: str
    x: str
    shape: tuple[int, int]
    transform: Any
    crs: Any

    def pixels(self, geometries: Any) -> Any:
        """Coordinates on the ground -> (column, row), in which a pixel is 1 wide."""
        import shapely

        a, b, c, d, e, f = (float(v) for v in (~self.transform)[:6])
        turn, shift = np.array([[a, d], [b, e]]), np.array([c, f])
        return shapely.transform(geometries, lambda at: at @ turn + shift)


def ground_of(cube: xr.DataArray, *, needed: bool = True) -> Ground:
    """Grid of a cube; without coordinates that of its pixels, or why that is not enough."""
    y, x = plane(cube)
    told = "GeoTransform" in getattr(cube.coords.get("spatial_ref"), "attrs", {})
    if needed and not told and not {y, x} <= set(cube.coords):
        raise LabelError(
            f"The cube has no coordinates along {y!r} and {x!r}, so polygons have no place on it; "
            f"type cube.assign_coords({y}=..., {x}=...) with the centres of its pixels."
        )
    transform, crs = grid_mapping(cube, y, x)
    return Ground(y, x, (cube.sizes[y], cube.sizes[x]), transform, crs)


def placed(polygons: Any, ground: Ground, what: str = "polygons") -> Any:
    """Polygons in the CRS of the cube, or what is wrong with them."""
    if not (hasattr(polygons, "geometry") and hasattr(polygons, "to_crs")):
        raise LabelError(
            f"{what} is a {type(polygons).__name__}, and a GeoDataFrame is needed; type "
            f"geopandas.read_file('labels.gpkg')."
        )
    theirs, ours = polygons.crs, ground.crs
    if theirs is None and ours is not None:
        raise LabelError(
            f"{what} has no CRS, and the cube is in {crs_name(ours)}; type "
            f"{what}.set_crs({crs_name(ours)!r}) if their coordinates are in it."
        )
    if theirs is not None and ours is None:
        raise LabelError(
            f"{what} is in {crs_name(theirs)}, and the cube has no CRS; type "
            f"cube = cube.rio.write_crs({crs_name(theirs)!r}) if its coordinates are in it."
        )
    return polygons if theirs is None or theirs == ours else polygons.to_crs(ours)


def areal(polygons: Any) -> None:
    """Refuse points, lines and rows without geometry."""
    kinds = np.asarray(polygons.geometry.geom_type, dtype=object)
    empty = np.asarray(polygons.geometry.isna() | polygons.geometry.is_empty)
    if empty.any():
        raise LabelError(
            f"{some(polygons.index[empty])} no geometry; type "
            f"polygons = polygons[~(polygons.geometry.isna() | polygons.geometry.is_empty)]."
        )
    wrong = ~np.isin(kinds.astype(str), AREAL)
    if wrong.any():
        kind = str(kinds[wrong][0]).lower()
        raise LabelError(
            f"{some(polygons.index[wrong])} a {kind} for a geometry, and labels are areas: a net "
            f"learns texture and edges, which a {kind} does not have. Draw the outlines, or type "
            f"polygons.assign(geometry=polygons.buffer(10)) if all within 10 units is that class."
        )


def column_of(polygons: Any, column: str) -> np.ndarray:
    """Values of a column, or which columns there are."""
    if column not in polygons:
        listed = ", ".join(repr(str(c)) for c in polygons.columns if c != polygons.geometry.name)
        raise LabelError(
            f"column={column!r} is not in the polygons; choose one of {listed or 'none (add one)'}."
        )
    return np.asarray(polygons[column], dtype=object)


def some(index: Any) -> str:
    """Name the rows of a table: the first few, and how many."""
    listed = ", ".join(str(i) for i in index[:5]) + ", ..." * (len(index) > 5)
    return f"Polygon {listed} has" if len(index) == 1 else f"{len(index)} polygons ({listed}) have"


def crs_name(crs: Any) -> str:
    """Short name of a CRS."""
    code = crs.to_epsg() if hasattr(crs, "to_epsg") else None
    return f"EPSG:{code}" if code else str(crs)[:40]


def square_metres(geometries: Any, crs: Any) -> np.ndarray:
    """Area of each geometry; NaN without a CRS. On the ellipsoid where the CRS is geographic."""
    import shapely

    if crs is None:
        return np.full(len(geometries), np.nan)
    if crs.is_projected:
        made: np.ndarray = shapely.area(geometries) * crs.linear_units_factor[1] ** 2
        return made
    geod = _geod(crs)
    return np.array([abs(geod.geometry_area_perimeter(g)[0]) for g in geometries], np.float64)


def metres_around(geometries: Any, crs: Any) -> np.ndarray:
    """Perimeter of each geometry; NaN without a CRS."""
    import shapely

    if crs is None:
        return np.full(len(geometries), np.nan)
    if crs.is_projected:
        made: np.ndarray = shapely.length(geometries) * crs.linear_units_factor[1]
        return made
    geod = _geod(crs)
    return np.array([geod.geometry_area_perimeter(g)[1] for g in geometries], np.float64)


def row_areas(found: xr.DataArray, ground: Ground) -> np.ndarray | None:
    """Square metres of a pixel in each row, or None: no CRS, or no even grid."""
    size = pixel_area(found, ground.y, ground.x)
    if size is not None:
        return np.full(ground.shape[0], size)
    a, b, c, d, e, f = (float(v) for v in ground.transform[:6])
    if ground.crs is None or not ground.crs.is_geographic or b or d:
        return None
    geod, edges = _geod(ground.crs), f + e * np.arange(ground.shape[0] + 1)
    east = [c, c, c + a, c + a]
    strips = itertools.pairwise(edges)
    made = [geod.polygon_area_perimeter(east, [n, s, s, n])[0] for n, s in strips]
    return np.abs(made)


def _geod(crs: Any) -> Any:
    import pyproj

    return pyproj.CRS.from_user_input(crs).get_geod()
