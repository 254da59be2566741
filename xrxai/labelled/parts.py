"""What is switched on and off: band groups or segments, and what a result says about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xrxai.labelled import bands as band_groups
from xrxai.labelled import segments as segmentation
from xrxai.labelled.cube import Cube


@dataclass(frozen=True, eq=False)
class Parts:
    """Ids counted from 1 (0 = never switched), their dim, their coords and the options.

    Attributes
    ----------
    where : DataArray of int
        ``group_of_band`` (band) or ``segment_of_pixel`` ([lead], y, x).
    dim : str
        "group" or "segment".
    count : int
        Number of parts.
    coords, options : dict
        For `explain`.
    """

    where: xr.DataArray
    dim: str
    count: int
    coords: dict[str, Any]
    options: dict[str, Any]

    @property
    def extra(self) -> dict[str, xr.DataArray]:
        """The map of ids, as a variable of the result."""
        return {str(self.where.name): self.where}


def of_bands(place: Cube, bands: band_groups.Bands, overlap: str, ungrouped: str) -> Parts:
    """Band groups as parts."""
    groups = band_groups.settle(place, bands, overlap, ungrouped)
    names = [str(n) for n in groups["group"].values]
    return Parts(
        groups["group_of_band"].reset_coords(drop=True),
        "group",
        len(names),
        {str(k): c.variable for k, c in groups.coords.items() if c.dims == ("group",)},
        {"bands": names, "overlap": overlap, "ungrouped": ungrouped},
    )


def of_pixels(
    place: Cube,
    segments: segmentation.Segments,
    valid: xr.DataArray,
    *,
    n_segments: int,
    compactness: float,
    patch: int,
) -> Parts:
    """Segments as parts."""
    ids = segmentation.settle(
        place, segments, valid, n_segments=n_segments, compactness=compactness, patch=patch
    )
    count = int(ids.max())
    lead = [d for d in ids.dims if d in place.lead]
    sizes = np.apply_along_axis(
        np.bincount, -1, ids.values.reshape(*ids.shape[: len(lead)], -1), minlength=count + 1
    )[..., 1:]
    return Parts(
        ids.reset_coords(drop=True),
        "segment",
        count,
        {
            "segment": ("segment", np.arange(1, count + 1)),
            "segment_size": ((*lead, "segment"), sizes, {"long_name": "pixels", "units": "1"}),
        },
        {
            "segments": segments if isinstance(segments, str) else type(segments).__name__,
            "n_segments": n_segments,
            "compactness": compactness,
            "patch": patch,
        },
    )
