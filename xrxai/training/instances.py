"""From a map of classes to objects: outlines, areas and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError, at_least
from xrxai.training.classes import Classes
from xrxai.training.places import classes_in, geopandas_for, numbers
from xrxai.training.polygons import Ground, ground_of, metres_around, row_areas


def instances(
    class_map: xr.DataArray,
    *,
    classes: Classes | None = None,
    connectivity: Literal[4, 8] = 4,
    min_pixels: int = 1,
    keep: str | Sequence[str] | None = None,
) -> Any:
    """
    Make an object of each connected area of one class, with its outline along the pixels.

    Two fields of one class that touch are one object: a map of classes does not know them apart.

    Parameters
    ----------
    class_map : DataArray, (y, x)
        The ``class_map`` of `xrxai.predict`, or labels; -1 is in no object. A lazy one is computed
        in one piece, because an object may lie in any number of chunks.
    classes : Classes, optional
        What the numbers mean, where the map does not say.
    connectivity : {4, 8}, default: 4
        Pixels are connected by edges, or by corners too.
    min_pixels : int, default: 1
        Smaller objects are left out.
    keep : str or sequence of str, optional
        Classes to make objects of. Default: all but the background.

    Returns
    -------
    GeoDataFrame
        A row per object, in the CRS of the map: ``object`` from 1, ``class``, ``color``,
        ``pixels``, ``area_m2`` and ``perimeter_m`` (on the ellipsoid where the CRS is geographic,
        NaN without one), ``x`` and ``y`` of the centroid, ``geometry``. Write it with
        ``.to_file("objects.gpkg")``.

    Raises
    ------
    LabelError
        The map does not say what its numbers mean.
    OptionError
        Another connectivity, or a class that there is not.
    ImportError
        geopandas is missing.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xrxai import training
    >>> values = [[1, 0, 1], [0, 1, 1]]
    >>> found = xr.DataArray(values, dims=("y", "x"))
    >>> classes = training.Classes(["background", "poppy"])
    >>> training.instances(found, classes=classes).pixels.tolist()
    [1, 3]
    >>> training.instances(found, classes=classes, connectivity=8).pixels.tolist()
    [4]
    """
    geopandas = geopandas_for("instances")
    from skimage import measure

    if connectivity not in (4, 8):
        raise OptionError(
            f"connectivity={connectivity!r} is not known; type 4 (pixels touch by edges) or 8 (by "
            f"corners too)."
        )
    at_least(min_pixels, 1, "min_pixels")
    array, dims = numbers(class_map)
    known = classes_in(class_map, classes)
    wanted = _wanted(keep, known)
    shown = np.where(np.isin(array, wanted), array + 1, 0)
    ids: np.ndarray = measure.label(shown, background=0, connectivity=connectivity // 4)  # type: ignore[no-untyped-call]
    pixels = np.bincount(ids.ravel())
    large = pixels >= min_pixels
    large[0] = False
    ids = np.where(large, np.cumsum(large), 0)[ids].astype(np.int32)
    pixels = pixels[large]
    first = np.zeros(len(pixels) + 1, dtype=np.int64)
    first[ids.ravel()] = array.ravel()
    ground = ground_of(class_map.transpose(*dims), needed=False)
    shapes = _outlines(ids, len(pixels), ground)
    east, north = _centroids(ids, pixels, ground)
    table = {
        "object": np.arange(1, len(pixels) + 1),
        "class": np.array(known.names, dtype=object)[first[1:]],
        "color": np.array(known.colors, dtype=object)[first[1:]],
        "pixels": pixels,
        "area_m2": _areas(class_map, ids, len(pixels), ground),
        "perimeter_m": metres_around(shapes, ground.crs),
        "x": east,
        "y": north,
    }
    made = geopandas.GeoDataFrame(table, geometry=shapes, crs=ground.crs)
    made.attrs["classes"] = [known.names[k] for k in wanted]
    return made


def count_instances(objects: Any) -> xr.Dataset:
    """
    Count objects by class, and tell how large they are.

    Parameters
    ----------
    objects : GeoDataFrame
        What `instances` made, or a part of it.

    Returns
    -------
    Dataset
        Along ``class``: ``objects``, ``pixels``, ``area`` and ``median_area`` in square metres
        (NaN without a CRS). Classes without an object have 0 of them.

    Raises
    ------
    ResultError
        It is no such table.
    """
    needed = ("class", "pixels", "area_m2")
    if not all(name in getattr(objects, "columns", ()) for name in needed):
        raise ResultError(
            f"A {type(objects).__name__} without {', '.join(map(repr, needed))} came where objects "
            f"are needed; type objects = training.instances(class_map)."
        )
    found = objects["class"].to_numpy(dtype=object)
    known = list(dict.fromkeys([*objects.attrs.get("classes", []), *found]))
    parts = [objects[found == name] for name in known]
    area = [float(p["area_m2"].sum(min_count=1)) if len(p) else 0.0 for p in parts]
    median = [float(p["area_m2"].median()) if len(p) else np.nan for p in parts]
    return xr.Dataset(
        {
            "objects": ("class", [len(p) for p in parts], {"units": "1"}),
            "pixels": ("class", [int(p["pixels"].sum()) for p in parts], {"units": "1"}),
            "area": ("class", area, {"long_name": "area of all", "units": "m2"}),
            "median_area": ("class", median, {"long_name": "area of one", "units": "m2"}),
        },
        coords={"class": [str(name) for name in known]},
    )


def _wanted(keep: str | Sequence[str] | None, known: Classes) -> list[int]:
    if keep is None:
        return [k for k, name in enumerate(known.names) if name != known.background]
    names = [keep] if isinstance(keep, str) else list(keep)
    wrong = [name for name in names if name not in known.names]
    if wrong or not names:
        raise OptionError(
            f"keep={keep!r} names {repr(wrong[0]) if wrong else 'nothing'}, and the classes are "
            f"{', '.join(map(repr, known.names))}; choose some of them."
        )
    return [known.names.index(name) for name in names]


def _outlines(ids: np.ndarray, count: int, ground: Ground) -> np.ndarray:
    """Outline of each object; parts that touch by a corner make a MultiPolygon."""
    import shapely
    from rasterio.features import shapes

    parts: list[list[Any]] = [[] for _ in range(count)]
    # By edges even where objects hold together by corners: rings that cross are not valid.
    for outline, number in shapes(ids, mask=ids > 0, connectivity=4, transform=ground.transform):
        rings = outline["coordinates"]
        parts[int(number) - 1].append(shapely.Polygon(rings[0], rings[1:]))
    made = np.empty(count, dtype=object)
    made[:] = [p[0] if len(p) == 1 else shapely.MultiPolygon(p) for p in parts]
    return made


def _centroids(
    ids: np.ndarray, pixels: np.ndarray, ground: Ground
) -> tuple[np.ndarray, np.ndarray]:
    """Mean place of the pixels of each object, on the ground."""
    rows, columns = np.nonzero(ids)
    number = ids[rows, columns]
    n = len(pixels) + 1
    column = np.bincount(number, columns + 0.5, n)[1:] / pixels
    row = np.bincount(number, rows + 0.5, n)[1:] / pixels
    a, b, c, d, e, f = (float(v) for v in ground.transform[:6])
    return a * column + b * row + c, d * column + e * row + f


def _areas(found: xr.DataArray, ids: np.ndarray, count: int, ground: Ground) -> np.ndarray:
    """Square metres of each object, from those of its pixels."""
    sizes = row_areas(found, ground)
    if sizes is None:
        return np.full(count, np.nan)
    each = np.broadcast_to(sizes[:, None], ids.shape).ravel()
    made: np.ndarray = np.bincount(ids.ravel(), each, count + 1)[1:]
    return made
