"""Open cubes; write and read explanations."""

from __future__ import annotations

from xrxai.io.geotiff import to_geotiff
from xrxai.io.read import open_cube
from xrxai.io.store import to_zarr
from xrxai.io.write import open_explanation, to_netcdf

__all__ = ["open_cube", "open_explanation", "to_geotiff", "to_netcdf", "to_zarr"]
