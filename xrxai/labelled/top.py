"""The part of an image that an explanation points at."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError, positive
from xrxai.labelled.expand import check, on_cube


def top(explanation: xr.Dataset, share: float = 0.3, *, absolute: bool = False) -> xr.DataArray:
    """
    Cut out the pixels with the highest attributions.

    Parameters
    ----------
    explanation : Dataset
        Of any method that answers per pixel or per segment. Attributions of a pixel's bands
        or band groups are added up.
    share : float, default: 0.3
        Part of the valid pixels, above 0 and at most 1. Larger cuts out more.
    absolute : bool, default: False
        Take the pixels that matter most whatever their sign, not those that raise the score.

    Returns
    -------
    DataArray of bool, (target, y, x)
        And the leading dims of the cube; each image and target for itself. At least that share:
        pixels of one value, as in a region, come together. False where nothing is known.

    Raises
    ------
    ResultError
        The Dataset is no explanation, or does not answer per pixel.
    OptionError
        The share is not above 0 and at most 1.
    """
    check(explanation)
    if positive(share, "share", 0.3) > 1:
        raise OptionError(f"share={share!r} is more than everything; type for example share=0.3.")
    plane = [explanation.attrs["y_dim"], explanation.attrs["x_dim"]]
    values = explanation["attribution"]
    answered = tuple(map(str, values.dims))
    over = [d for d in (explanation.attrs["band_dim"], "group") if d in values.dims]
    if over:  # before groups are spread over their bands: each counts once
        values = values.sum(over, min_count=1)
    values = on_cube(explanation.assign(attribution=values))["attribution"]
    if not set(plane) <= set(values.dims):
        raise ResultError(
            f"This explanation answers over {answered}, not per pixel, so no "
            f"part of the image can be cut out; use integrated_gradients, xrai, occlusion_spatial "
            f"or lime_spatial."
        )
    if values.chunks is not None:
        values = values.chunk(dict.fromkeys(plane, -1))
    order = values.dims
    chosen: xr.DataArray = xr.apply_ufunc(
        highest,
        abs(values) if absolute else values,
        input_core_dims=[plane],
        output_core_dims=[plane],
        kwargs={"share": share},
        dask="parallelized",
        output_dtypes=[bool],
    )
    about = {"long_name": f"highest {100 * share:g} % of attribution"}
    return chosen.transpose(*order).rename("top").assign_attrs(about)


def highest(values: np.ndarray, share: float) -> np.ndarray:
    """True where values (..., y, x) are among the highest share of those that are known."""
    flat = values.reshape(*values.shape[:-2], -1)
    known = np.isfinite(flat)
    falling = -np.sort(-np.where(known, flat, -np.inf), axis=-1)
    # 0.3 * 10 is a little more than 3 in floating point.
    last = np.ceil(share * known.sum(-1) - 1e-9).astype(int).clip(1) - 1
    least = np.take_along_axis(falling, last[..., None], -1)
    found: np.ndarray = (known & (flat >= least)).reshape(values.shape)
    return found
