"""Regions of a scene as samples: a window around each polygon, superpixel or id of a map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import CubeError, SegmentError
from xrxai.labelled import segments as segmentation

if TYPE_CHECKING:
    from xrxai.labelled.cube import Cube

REGION = "region"
Per = Any
"""What `per=` accepts: polygons (a GeoDataFrame), a map of ids (y, x) or "slic"."""


@dataclass(frozen=True, eq=False)
class Areas:
    """Windows of one size, each around a region and within the scene."""

    scene: Cube
    ids: xr.DataArray
    rows: np.ndarray
    columns: np.ndarray
    size: tuple[int, int]
    names: np.ndarray

    def cut(self, array: xr.DataArray, fill: Any) -> xr.DataArray:
        """(..., y, x) -> (region, ..., y, x); what has no rows or columns stays."""
        y, x = self._dims()
        if y not in array.dims and x not in array.dims:
            return array
        gone = [n for n, c in array.coords.items() if {y, x} & set(c.dims)]
        bare = array.drop_vars(gone)
        parts = []
        for a, b in zip(self.rows.tolist(), self.columns.tolist(), strict=True):
            place = {y: slice(a, a + self.size[0]), x: slice(b, b + self.size[1])}
            parts.append(bare.isel({d: s for d, s in place.items() if d in bare.dims}))
        return xr.concat(parts, dim=REGION, coords="minimal", compat="override")

    def inside(self) -> xr.DataArray:
        """Pixels of each region in its window: (region, y, x) bool."""
        number = xr.DataArray(np.arange(1, len(self.rows) + 1), dims=REGION)
        return self.cut(self.ids, 0) == number

    def place(self) -> Cube:
        """Give the scene as a cube of windows."""
        data = self.scene.data
        if REGION in data.dims:
            raise CubeError(
                f"The cube has the dim {REGION!r}, by which regions are counted; type "
                f"cube.rename({REGION}=...) to give it another name."
            )
        cut = self.cut(data, np.nan)
        return replace(self.scene, data=cut, lead=(REGION, *self.scene.lead), chips=self)

    def valid(self, valid: xr.DataArray) -> xr.DataArray:
        """Cut a map of valid pixels."""
        return self.cut(valid.reset_coords(drop=True), False)

    def join(self, array: xr.DataArray) -> xr.DataArray | None:
        """Windows overlap, so what is told per pixel of them has no place in the scene."""
        return None if set(self._dims()) & set(array.dims) else array

    def coords(self) -> dict[str, xr.Variable]:
        """Names of the regions, and how many pixels they have."""
        n = np.bincount(self.ids.values.ravel(), minlength=len(self.names) + 1)[1:]
        about = {"long_name": "pixels of the region", "units": "1"}
        return {
            REGION: xr.Variable(REGION, self.names),
            "region_size": xr.Variable(REGION, n, about),
        }

    def extra(self) -> dict[str, xr.DataArray]:
        """Where the regions are."""
        return {"region_of_pixel": self.ids.assign_attrs(long_name="region, 0 = none")}

    def _dims(self) -> tuple[str, str]:
        assert self.scene.y is not None  # segments have refused a cube without
        assert self.scene.x is not None
        return self.scene.y, self.scene.x


def settle(scene: Cube, per: Per, valid: xr.DataArray, halo: int, stride: int) -> Areas:
    """Turn what the user wrote into windows with a halo, on multiples of a stride."""
    if isinstance(per, str) and per != "slic":
        raise SegmentError(
            f"per={per!r} is not known; type polygons (a GeoDataFrame), a map of ids (y, x) or "
            f"'slic'."
        )
    if scene.y is None or scene.x is None:
        raise CubeError(
            f"per= asks of regions, but the cube has dims {tuple(scene.data.dims)} and no rows and "
            f"columns; drop per=, or average the explanation of each spectrum over a group."
        )
    if isinstance(per, str) and scene.lazy:
        raise SegmentError(
            f"per={per!r} must see the pixels, and the cube is lazy (dask); type "
            f"per=xrxai.segments(cube.compute()), or give polygons or a map of ids."
        )
    # A region without data is told as such; it does not vanish.
    everywhere = xr.DataArray(True)
    ids = segmentation.settle(scene, per, valid if isinstance(per, str) else everywhere)
    if ids.ndim != 2:
        raise SegmentError(
            f"The regions of per= differ along {', '.join(map(str, ids.dims[:-2]))}, and one map "
            f"(y, x) for all is needed; give a map of ids, or explain one of them at a time."
        )
    from skimage.measure import regionprops

    boxes = np.array([p.bbox for p in regionprops(ids.values)])  # type: ignore[no-untyped-call]
    start, size = [], []
    for axis, n in enumerate(ids.shape):
        low = np.maximum(boxes[:, axis] - halo, 0) // stride * stride
        high = np.minimum(boxes[:, axis + 2] + halo, n)
        # One size for all, so that the window furthest in ends where the scene does.
        side = n - (n - int((high - low).max())) // stride * stride
        start.append(np.minimum(low, n - side))
        size.append(side)
    names = _names(scene, per, ids.values)
    ids = ids.transpose(scene.y, scene.x).reset_coords(drop=True)
    return Areas(scene, ids.rename(None), start[0], start[1], (size[0], size[1]), names)


def _names(scene: Cube, per: Per, ids: np.ndarray) -> np.ndarray:
    """What the user calls the regions: the index of polygons, or the ids of the map."""
    if isinstance(per, str):
        return np.arange(1, ids.max() + 1)
    if hasattr(per, "geometry"):
        burnt = segmentation.rasterised(scene, list(per.geometry), getattr(per, "crs", None))
        # A polygon without a pixel is none; those left are counted in the same order.
        left = np.unique(burnt.values[ids > 0])
        return np.asarray(per.geometry.index.to_numpy()[left - 1])
    given = per if isinstance(per, xr.DataArray) else np.asarray(per)
    if isinstance(given, xr.DataArray):
        given = given.transpose(scene.y, scene.x).values
    given = given.astype(int) + (given.dtype.kind == "b")
    return np.unique(given[ids > 0])
