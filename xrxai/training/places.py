"""Where the rows and columns of maps are, on the ground and off it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import CubeError, LabelError, OptionError
from xrxai.labelled.axes import settle_dims
from xrxai.labelled.convert import kind
from xrxai.labelled.cube import Cube, locate
from xrxai.training.classes import Classes, classes_of


def plane(found: xr.DataArray) -> tuple[str, str]:
    """Names of the rows and columns of a cube or of a map without bands."""
    if not isinstance(found, xr.DataArray):
        raise CubeError(
            f"A {kind(found)} came where a cube or a map is needed; type one variable of it, such "
            f"as predicted.class_map."
        )
    # A map has no spectral dim: the names of its dims are judged beside a made-up one.
    _, y, x = settle_dims(found.expand_dims("no_band"), "no_band", None, None)
    if y is not None and x is not None:
        return y, x
    if found.ndim == 2:
        return str(found.dims[0]), str(found.dims[1])
    raise CubeError(
        f"The dims {tuple(map(str, found.dims))} have no rows and columns; type "
        f"cube.rename(...) so that two of them are called 'y' and 'x'."
    )


def scene(cube: xr.DataArray) -> Cube:
    """Find rows, columns and bands of a cube that is one scene, with no dim beside them."""
    place = locate(cube)
    if place.y is None or place.x is None:
        raise CubeError(
            f"The cube has the dims {tuple(map(str, cube.dims))}, and labels lie on rows and "
            f"columns; give a cube (band, y, x)."
        )
    if place.lead:
        raise CubeError(
            f"The cube has the dims {tuple(map(str, cube.dims))}, and labels are of one scene; "
            f"type cube.isel({place.lead[0]}=0) to take the first."
        )
    return place


def in_memory(place: Cube, what: str) -> None:
    """Refuse a lazy cube for what looks at the scene many times."""
    if place.lazy:
        raise OptionError(
            f"The cube is lazy (dask), and {what} looks at it many times; type cube.compute(), or "
            f"cut out a part: cube.isel({place.y}=slice(0, 1024), {place.x}=slice(0, 1024))."
        )


def trained_mask(trained: Any, place: Cube) -> np.ndarray:
    """Bool (y, x) of the pixels that a model was trained on, or why it is none."""
    y, x = str(place.y), str(place.x)
    shape = (place.data.sizes[y], place.data.sizes[x])
    if getattr(trained, "dtype", None) != np.dtype(bool):
        found = getattr(trained, "dtype", type(trained).__name__)
        raise OptionError(
            f"trained is {found}, and a bool map is needed, True where pixels were trained on; "
            f"type trained=(split == 0) & (labels >= 0)."
        )
    if isinstance(trained, xr.DataArray) and set(trained.dims) == {y, x}:
        trained = trained.transpose(y, x)
    if trained.shape != shape:
        raise OptionError(
            f"trained has shape {trained.shape}, and the cube has {shape[0]} rows and {shape[1]} "
            f"columns; give a mask of the scene that the model was trained on."
        )
    made: np.ndarray = np.asarray(trained)
    return made


def numbers(labels: xr.DataArray) -> tuple[np.ndarray, tuple[str, str]]:
    """Class numbers (y, x) of a map of labels or classes, -1 = none, and its dims."""
    y, x = plane(labels)
    if labels.ndim != 2:
        rest = [str(d) for d in labels.dims if d not in (y, x)]
        raise LabelError(
            f"A map of labels has rows and columns, and this one also {rest}; type "
            f"labels.isel({rest[0]}=0)."
        )
    values = np.asarray(labels.transpose(y, x).values)
    if values.dtype.kind == "f":
        whole = np.where(np.isnan(values), -1, values)
        if (whole != np.round(whole)).any():
            raise LabelError(
                "The map of labels holds fractions, so it was resampled between classes; type one "
                "resampled by nearest neighbour."
            )
        values = whole
    if values.dtype.kind not in "iuf":
        raise LabelError(
            f"The map of labels has dtype {values.dtype}, and class numbers are needed; type "
            f"labels = training.labels_of(values, cube, classes)."
        )
    return np.maximum(values.astype(np.int64), -1), (y, x)


def classes_in(found: xr.DataArray, classes: Classes | None = None) -> Classes:
    """Classes of labels, or of what `xrxai.predict` mapped."""
    if classes is not None:
        return classes
    said = str(found.attrs.get("flag_meanings", "")).split()
    if "classes" in found.attrs or len(said) < 2:
        return classes_of(found)
    return Classes([name.replace("_", " ") for name in said])


def grid_mapping(found: xr.DataArray, y: str, x: str) -> tuple[Any, Any]:
    """Transform from (column, row) to the ground, and CRS; pixels and None where there is none."""
    import rioxarray  # noqa: F401  registers .rio, which reads CRS and transform
    from rasterio.transform import Affine

    placed: Any = found.rio.set_spatial_dims(x_dim=x, y_dim=y)
    told = "GeoTransform" in getattr(found.coords.get("spatial_ref"), "attrs", {})
    if not told and not {y, x} <= set(found.coords):
        return Affine.identity(), placed.rio.crs
    return placed.rio.transform(recalc=True), placed.rio.crs


def kept_coords(found: xr.DataArray, dims: tuple[str, str]) -> dict[Any, Any]:
    """Coordinates that a map of these rows and columns can keep."""
    return {n: c for n, c in found.coords.items() if set(c.dims) <= set(dims)}


def geopandas_for(what: str) -> Any:
    """Import geopandas, or say how to get it."""
    try:
        import geopandas
    except ImportError as error:
        raise ImportError(
            f"{what} needs geopandas, which cannot be imported ({error}); type pip install "
            f'"xrxai[training]".'
        ) from error
    return geopandas
