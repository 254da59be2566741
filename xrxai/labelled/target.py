"""The region whose pixels make the score of a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import CubeError, SegmentError, TargetError
from xrxai.labelled.cube import Cube, mask_over
from xrxai.labelled.segments import rasterised

Region = Any
"""What `region=` accepts: a bool mask (True = counts) or polygons (a GeoDataFrame)."""


def settle(place: Cube, region: Region, valid: xr.DataArray) -> xr.DataArray | None:
    """A bool map over rows and columns, or None for everywhere."""
    if region is None:
        return None
    if place.y is None or place.x is None:
        raise TargetError("region= needs rows and columns, the cube has none; drop region=.")
    if hasattr(region, "geometry"):
        geometries, crs = list(region.geometry), getattr(region, "crs", None)
        try:
            made = rasterised(place, geometries, crs) > 0
        except SegmentError as error:
            raise TargetError(str(error)) from None
    else:
        array = region if isinstance(region, xr.DataArray) else np.asarray(region)
        if array.dtype.kind not in "bui":
            raise TargetError(
                f"The region has dtype {array.dtype}, and it must say True where pixels count; "
                f"type a comparison such as region=ndvi > 0.5, or polygons (a GeoDataFrame)."
            )
        try:
            made = mask_over(place, array)
        except CubeError as error:
            raise TargetError(str(error).replace("mask", "region")) from None
    if not place.lazy and not bool((made & valid).any()):
        raise TargetError(
            "The region holds no valid pixel, so no score can be made of it; "
            "check that it is True where it counts and lies on the cube."
        )
    return made
