"""What a scene of fields holds: the cube, the truth, and the labels that somebody has drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xrxai.datasets.synthetic.scene import Truth


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A scene of fields, the truth about it, and the labels that somebody has drawn.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        Reflectance, EPSG:32632, pixels of 10 m.
    truth : Truth
        `labels` (y, x) by name, `values` and `region` (target, y, x), band `groups`; `group`
        names the one that tells Rye from Wheat.
    fields : DataArray of int, (y, x)
        Number of the field from 1.
    given : DataArray of str, (y, x)
        What the annotators wrote: the truth, but for the fields in `wrong`.
    wrong : DataArray of bool, (y, x)
        Where that is wrong.
    stressed : DataArray of bool, (y, x)
        Wheat that looks like Rye in the one group.
    """

    cube: xr.DataArray
    truth: Truth
    fields: xr.DataArray
    given: xr.DataArray
    wrong: xr.DataArray
    stressed: xr.DataArray

    def polygons(self, date: str = "2024-05-15") -> Any:
        """
        Draw the fields as annotators would: one polygon per field with its class.

        Background is not drawn, as in the guides for annotators.

        Parameters
        ----------
        date : str
            When somebody was there; the column ``date``.

        Returns
        -------
        GeoDataFrame
            Columns ``field``, ``class``, ``date`` and ``geometry``, in the CRS of the cube.
        """
        import geopandas as gpd
        import rioxarray  # noqa: F401
        from rasterio.features import shapes
        from shapely import union_all
        from shapely.geometry import shape

        grid = self.cube.rio.transform()
        parts: dict[int, list[Any]] = {}
        for outline, number in shapes(self.fields.values.astype(np.int32), transform=grid):
            parts.setdefault(int(number), []).append(shape(outline))
        numbers, first = np.unique(self.fields.values, return_index=True)
        names = dict(zip(numbers.tolist(), self.given.values.ravel()[first].tolist(), strict=True))
        drawn = [
            (n, names[n], union_all(parts[n])) for n in sorted(parts) if names[n] != "Background"
        ]
        return gpd.GeoDataFrame(
            {"field": [d[0] for d in drawn], "class": [d[1] for d in drawn], "date": date},
            geometry=[d[2] for d in drawn],
            crs=self.cube.rio.crs,
        )
