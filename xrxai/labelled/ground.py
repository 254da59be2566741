"""How large a pixel is on the ground."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr


def pixel_area(source: xr.DataArray | xr.Dataset, y: str | None, x: str | None) -> float | None:
    """Square metres of a pixel, or None: no CRS, not a projected one, or no even grid."""
    if y is None or x is None:
        return None
    import rioxarray  # noqa: F401  registers .rio, which reads CRS and transform

    placed: Any = source.rio.set_spatial_dims(x_dim=x, y_dim=y)
    crs = placed.rio.crs
    if crs is None or not crs.is_projected:
        return None
    metres: float = crs.linear_units_factor[1]
    down, across = _step(source, y), _step(source, x)
    if down is not None and across is not None:
        return abs(down * across) * metres**2
    if {y, x} & set(source.coords):
        return None
    terms = str(source.coords[placed.rio.grid_mapping].attrs.get("GeoTransform", "")).split()
    if len(terms) != 6:
        return None
    a, b, d, e = (float(terms[i]) for i in (1, 2, 4, 5))
    return abs(a * e - b * d) * metres**2


def _step(source: xr.DataArray | xr.Dataset, dim: str) -> float | None:
    """Distance of pixel centres where it is the same everywhere."""
    if dim not in source.coords or source.sizes[dim] < 2:
        return None
    values = source[dim].to_numpy()
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        return None
    steps = np.diff(values.astype(np.float64))
    mean = float(steps.mean())
    # float32 coordinates of a UTM northing are good to half a metre only.
    return mean if mean and np.allclose(steps, mean, rtol=0.02) else None
