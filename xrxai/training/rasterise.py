"""From polygons to a map of labels, which tells background from what nobody has looked at."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from xrxai.errors import LabelError, choice, note
from xrxai.labelled.cube import locate, mask_over
from xrxai.training.classes import UNLABELLED, Classes, dressed
from xrxai.training.polygons import Ground, areal, column_of, ground_of, placed, some

Overlap = Literal["smaller", "last", "ignore", "error"]

FILL = -2  # of what is not drawn, while labels are burned


def rasterise(
    polygons: Any,
    cube: xr.DataArray,
    classes: Classes,
    *,
    column: str = "class",
    annotated: Any = None,
    all_touched: bool = False,
    overlap: Overlap = "smaller",
) -> xr.DataArray:
    """
    Burn polygons into a map of labels on the grid of a cube.

    Parameters
    ----------
    polygons : GeoDataFrame
        One row per polygon, in any CRS: it is reprojected to that of the cube. Points and lines
        are refused, they have no texture and no edges to learn.
    cube : DataArray, (band, y, x)
        Gives the grid; no pixel is read.
    classes : Classes
        What the names in `column` mean. What counts as None, such as clouds, becomes -1 wherever
        it is drawn.
    column : str, default: "class"
        Column of the names, or numbers, of classes.
    annotated : GeoDataFrame or bool array (y, x), optional
        What was looked at, such as the tiles of a plan. Inside, what is not drawn is the
        background of `classes`; outside, all is -1. Default: what is not drawn is -1.
    all_touched : bool, default: False
        Label every pixel that a polygon touches, not only those with their centre inside.
    overlap : {"smaller", "last", "ignore", "error"}, default: "smaller"
        Whose is a pixel that polygons of two classes claim: of the smaller polygon, of the row
        further down, of none (-1), or nobody's: an error.

    Returns
    -------
    DataArray of int16, (y, x)
        Labels as of `labels_of`.

    Raises
    ------
    LabelError
        Polygons, classes and cube do not fit: no CRS, points, unknown or missing classes, no
        pixel on the cube, or an overlap under ``overlap="error"``.

    See Also
    --------
    check_labels : Every fault of the polygons at once, as a table.
    """
    choice(overlap, get_args(Overlap), "overlap")
    ground = ground_of(cube)
    polygons = placed(polygons, ground)
    areal(polygons)
    names = column_of(polygons, column)
    nameless = np.asarray(pd.isna(names), dtype=bool) & ~np.isin(
        np.arange(len(names)), [i for i, name in enumerate(names) if name in classes.lump]
    )
    if nameless.any():
        raise LabelError(
            f"{some(polygons.index[nameless])} no class in {column!r}; fill it in, or type "
            f"polygons = polygons[polygons[{column!r}].notna()]."
        )
    if not len(names) and annotated is None:
        raise LabelError(
            "There is no polygon to put on the cube; give at least one, or annotated= if all that "
            "was looked at is background."
        )
    codes = classes.numbers(names) if len(names) else np.zeros(0, np.int16)
    shapes = np.asarray(polygons.geometry, dtype=object)
    made = _burned(shapes, codes, ground, all_touched, overlap)
    lost = _lost(shapes, ground, all_touched) if (made != FILL).any() else []
    if len(lost):
        note(
            f"{some(polygons.index[lost])} no pixel whose centre is inside, and "
            f"{'is' if len(lost) == 1 else 'are'} not on the map; type all_touched=True to label "
            f"what {'it touches' if len(lost) == 1 else 'they touch'}."
        )
    if annotated is None and len(names) and (made == FILL).all():
        raise LabelError(
            f"No polygon covers the centre of a pixel: the polygons span "
            f"{_span(polygons.total_bounds)} and the cube {_span(_bounds(ground))}; check the CRS "
            f"of both, or type all_touched=True for polygons smaller than a pixel."
        )
    if annotated is not None:
        if classes.background is None:
            raise LabelError(
                f"annotated= makes background of what is not drawn, and the classes have none; "
                f"type Classes([...], background={classes.names[0]!r}) with the name of it."
            )
        looked = _looked(annotated, cube, ground)
        made[looked & (made == FILL)] = classes.number(classes.background)
        made[~looked] = UNLABELLED
    return dressed(np.where(made == FILL, UNLABELLED, made), cube, classes)


def _burned(
    shapes: np.ndarray, codes: np.ndarray, ground: Ground, touched: bool, overlap: Overlap
) -> np.ndarray:
    """Class numbers of the pixels, FILL where nothing is drawn."""
    from rasterio.features import rasterize

    def burn(which: np.ndarray, fill: int = FILL) -> np.ndarray:
        made: np.ndarray = rasterize(
            [(shapes[i], int(codes[i])) for i in which],
            out_shape=ground.shape,
            transform=ground.transform,
            fill=fill,
            all_touched=touched,
            dtype=np.int16,
        )
        return made

    empty = np.full(ground.shape, FILL, np.int16)
    drawn = np.flatnonzero(codes != UNLABELLED)
    if overlap == "smaller":
        import shapely

        # The last one burned wins; among equals the row further down.
        drawn = drawn[np.argsort(-shapely.area(shapes[drawn]), kind="stable")]
    made = burn(drawn) if drawn.size else empty
    if overlap in ("ignore", "error"):
        each = [burn(np.flatnonzero(codes == k)) != FILL for k in np.unique(codes[drawn])]
        double = np.sum(each, axis=0) > 1 if each else empty == UNLABELLED
        if overlap == "error" and double.any():
            row, column = np.argwhere(double)[0]
            raise LabelError(
                f"Polygons of several classes claim {int(double.sum())} pixels, the first in row "
                f"{row}, column {column}; type training.check_labels(...) for a list of them, or "
                f"overlap='smaller', 'last' or 'ignore'."
            )
        made[double] = UNLABELLED
    hidden = np.flatnonzero(codes == UNLABELLED)  # a cloud hides the field under it
    if hidden.size:
        made[burn(hidden) != FILL] = UNLABELLED
    return made


def _lost(shapes: np.ndarray, ground: Ground, touched: bool) -> list[int]:
    """Polygons on the cube that cover no pixel."""
    import shapely
    from rasterio.features import rasterize

    options: Any = {"out_shape": ground.shape, "all_touched": touched, "dtype": np.int32}
    drawn = ground.pixels(shapes)
    rows, columns = ground.shape
    inside = np.flatnonzero(shapely.intersects(drawn, shapely.box(0, 0, columns, rows)))
    # Others may hide a polygon: what is not seen is burned again, alone.
    burn = [(drawn[i], int(i) + 1) for i in inside]
    hidden = np.setdiff1d(inside, rasterize(burn, **options) - 1) if burn else inside
    return [int(i) for i in hidden if not rasterize([(drawn[i], 1)], **options).any()]


def _looked(annotated: Any, cube: xr.DataArray, ground: Ground) -> np.ndarray:
    """Where somebody has looked."""
    from rasterio.features import rasterize

    if hasattr(annotated, "geometry"):
        shapes = placed(annotated, ground, "annotated")
        areal(shapes)
        if not len(shapes):
            return np.zeros(ground.shape, dtype=bool)
        burn = [(shape, 1) for shape in shapes.geometry]
        found = rasterize(
            burn, out_shape=ground.shape, transform=ground.transform, fill=0, dtype=np.uint8
        )
        return np.asarray(found, dtype=bool)
    mask = mask_over(locate(cube), annotated)
    if set(mask.dims) != {ground.y, ground.x}:
        raise LabelError(
            f"annotated has the dims {tuple(map(str, mask.dims))}, and it says where somebody has "
            f"looked; type a bool map over {(ground.y, ground.x)}."
        )
    return np.asarray(mask.transpose(ground.y, ground.x).values)


def _bounds(ground: Ground) -> tuple[float, float, float, float]:
    rows, columns = ground.shape
    corners = [ground.transform * at for at in ((0, 0), (columns, 0), (columns, rows), (0, rows))]
    x, y = zip(*corners, strict=True)
    return min(x), min(y), max(x), max(y)


def _span(bounds: Any) -> str:
    left, low, right, high = (float(v) for v in bounds)
    return f"x {left:.6g} to {right:.6g}, y {low:.6g} to {high:.6g}"
