"""The .npz layout of the HYPERVIEW challenge and the wavelength lists of the package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import xarray as xr

from xrxai.errors import BandError, CubeError


def wavelength_list(name: str) -> np.ndarray:
    """Read a list of band centres that ships with the package.

    Parameters
    ----------
    name : {"hyperview", "sentinel2"}
        Of 150 and 13 bands.

    Returns
    -------
    array (band,)
        Nanometres, in band order.
    """
    text = files("xrxai").joinpath("datasets", f"{name}_wavelengths_nm.txt").read_text("utf-8")
    return np.array([float(v) for v in text.replace("\n", ",").split(",") if v.strip()])


def read_npz(
    path: str | os.PathLike[str],
    *,
    wavelength: Sequence[float] | np.ndarray | None = None,
    units: str | None = None,
) -> xr.DataArray:
    """Read a HYPERVIEW cube, (band, y, x) float32, with the coordinate valid (y, x).

    In the file, mask is True where a pixel is to be left out; here valid is True where it is kept.
    """
    from xrxai.labelled.cube import to_cube

    path = Path(path)
    with np.load(path, allow_pickle=False) as content:
        if "data" not in content or content["data"].ndim != 3:
            found = {k: content[k].shape for k in content.files}
            raise CubeError(
                f"{path.name!r} holds {found}, and a HYPERVIEW cube holds 'data' (band, y, x) and "
                "'mask'; type xrxai.to_cube(array, wavelength=...) with the array you mean."
            )
        data = content["data"].astype(np.float32)
        excluded = content["mask"].astype(bool) if "mask" in content else None
    if wavelength is None:
        wavelength = wavelength_list("hyperview")
        if len(wavelength) != data.shape[0]:
            raise BandError(
                f"{path.name!r} has {data.shape[0]} bands and no wavelengths (only HYPERVIEW's 150 "
                "bands are known); type wavelength=[...] with one number in nanometres per band."
            )
        units = "nm"
    rows, cols = data.shape[1:]
    axis = {"units": "1", "long_name": "pixel centre"}
    da = xr.DataArray(
        data,
        dims=("band", "y", "x"),
        coords={
            "y": ("y", np.arange(rows) + 0.5, axis | {"axis": "Y"}),
            "x": ("x", np.arange(cols) + 0.5, axis | {"axis": "X"}),
        },
        name="reflectance",
        attrs={
            "units": "1",
            "long_name": "counts",
            "comment": "counts as distributed; the scale is arbitrary",
        },
    )
    keep = None
    if excluded is not None:
        keep = ~(excluded.any(axis=0) if excluded.ndim == 3 else excluded)
    return to_cube(da, wavelength=wavelength, units=units, mask=keep)
