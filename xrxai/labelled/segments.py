"""Segments: regions of an image that are switched on and off together."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import CubeError, SegmentError, at_least, positive
from xrxai.labelled.cube import Cube, locate, mask_over

Segments = Any
"""What `segments=` accepts: see `segments`."""


def segments(
    cube: xr.DataArray,
    method: Segments = "slic",
    *,
    n_segments: int = 50,
    compactness: float = 1.0,
    patch: int = 14,
    mask: xr.DataArray | np.ndarray | None = None,
) -> xr.DataArray:
    """
    Cut the valid pixels of a cube into segments.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The cube; leading dims (time, sample) are segmented one by one.
    method : {"slic", "patch"} or DataArray or array or GeoDataFrame, default: "slic"
        * ``"slic"``: superpixels on all good bands, each scaled to its 2-98 % range;
        * ``"patch"``: squares of `patch` pixels, cut at the edges;
        * a map (y, x) of ids, or a bool mask (two segments: 1 outside, 2 inside); 0 and NaN of
          an id map are excluded;
        * polygons with ``.geometry`` (a GeoDataFrame) in the CRS of the cube: one segment each,
          the first one wins where they overlap; pixels in none are excluded.
    n_segments : int, default: 50
        About how many superpixels. More show finer detail and need more samples.
    compactness : float, default: 1.0
        Weight of space against spectrum; larger makes rounder superpixels.
    patch : int, default: 14
        Side of the squares in pixels.
    mask : bool DataArray or array, (y, x), optional
        True = keep. Invalid pixels are in no segment.

    Returns
    -------
    DataArray of int, ([lead], y, x)
        Ids from 1 without gaps, 0 = in no segment.

    Raises
    ------
    SegmentError
        No pixel is left, or the map or the polygons do not fit the cube.
    CubeError
        The cube has no rows and columns.

    References
    ----------
    .. [1] R. Achanta et al. (2012). SLIC superpixels compared to state-of-the-art superpixel
       methods. IEEE TPAMI 34(11). https://doi.org/10.1109/TPAMI.2012.120
    """
    place = locate(cube)
    return settle(
        place,
        method,
        place.valid(mask),
        n_segments=n_segments,
        compactness=compactness,
        patch=patch,
    )


def settle(
    place: Cube,
    method: Segments,
    valid: xr.DataArray,
    *,
    n_segments: int = 50,
    compactness: float = 1.0,
    patch: int = 14,
) -> xr.DataArray:
    """Turn what the user wrote into a map of ids over the valid pixels."""
    if place.y is None or place.x is None:
        raise CubeError(
            "The cube has no rows and columns to cut into segments; "
            "explain its bands instead: lime_spectral(...)."
        )
    at_least(n_segments, 1, "n_segments")
    at_least(patch, 1, "patch")
    positive(compactness, "compactness", 1.0)
    plane = (place.y, place.x)
    # A lazy cube is not looked at: kernels leave out segments without a valid pixel.
    keep = xr.DataArray(True) if place.lazy else valid
    if isinstance(method, str):
        if method not in ("slic", "patch"):
            raise SegmentError(
                f"segments={method!r} is not known; type 'slic', 'patch', a map of ids or polygons."
            )
        if method == "patch":
            ids = _squares(place, patch).where(keep, 0)
        else:
            ids = _superpixels(place, valid, n_segments, compactness)
    elif hasattr(method, "geometry"):
        scene = place if place.chips is None else place.chips.scene
        ids = rasterised(scene, list(method.geometry), getattr(method, "crs", None))
        ids = (ids if place.chips is None else place.chips.cut(ids, 0)).where(keep, 0)
    else:
        ids = _given(place, method).where(keep, 0)
    ids = _counted(ids.fillna(0).astype(int).transpose(..., *plane))
    if not bool((ids > 0).any()):
        raise SegmentError(
            "No pixel is in a segment: the segments lie outside the valid pixels; "
            "check the ids (0 = excluded), the CRS of polygons and mask= (True = keep)."
        )
    ids.attrs = {"long_name": "segment, 0 = excluded"}
    return ids.rename("segment_of_pixel")


def rasterised(place: Cube, geometries: list[Any], crs: Any) -> xr.DataArray:
    """Polygons to a map of 1-based ids on the grid of the cube; the first polygon wins."""
    import rioxarray  # noqa: F401  registers .rio, which reads CRS and transform
    from rasterio.features import rasterize

    assert place.y is not None  # callers have checked
    assert place.x is not None
    da = place.data
    grid = da.rio.set_spatial_dims(x_dim=place.x, y_dim=place.y)
    if crs is not None and grid.rio.crs is not None and crs != grid.rio.crs:
        raise SegmentError(
            f"The polygons are in {_crs_name(crs)}, the cube in {_crs_name(grid.rio.crs)}; "
            f"type polygons.to_crs(cube.rio.crs)."
        )
    if not geometries:
        raise SegmentError("There is no polygon to put on the cube; give at least one.")
    told = "GeoTransform" in getattr(da.coords.get("spatial_ref"), "attrs", {})
    if not told and not {place.y, place.x} <= set(da.coords):
        raise SegmentError(
            f"The cube has no coordinates along {place.y!r} and {place.x!r}, so polygons have no "
            f"place on it; type cube.assign_coords({place.y}=..., {place.x}=...) with the centres "
            f"of its pixels."
        )
    shape = (da.sizes[place.y], da.sizes[place.x])
    # rasterize burns in order and the last wins: hand them over backwards.
    burn = [(geometry, i) for i, geometry in enumerate(geometries, start=1)][::-1]
    ids = rasterize(burn, out_shape=shape, transform=grid.rio.transform(recalc=True), fill=0)
    return xr.DataArray(ids.astype(int), dims=(place.y, place.x))


def _crs_name(crs: Any) -> str:
    code = crs.to_epsg() if hasattr(crs, "to_epsg") else None
    return f"EPSG:{code}" if code else str(crs)[:40]


def _squares(place: Cube, patch: int) -> xr.DataArray:
    y, x = place.data.sizes[place.y], place.data.sizes[place.x]
    across = -(-x // patch)
    ids = (np.arange(y) // patch)[:, None] * across + (np.arange(x) // patch)[None] + 1
    return xr.DataArray(ids, dims=(place.y, place.x))


def _superpixels(
    place: Cube, valid: xr.DataArray, n_segments: int, compactness: float
) -> xr.DataArray:
    from skimage.segmentation import slic

    if place.lazy:
        raise SegmentError(
            "Superpixels must see the pixels, and the cube is lazy (dask); type "
            "segments=xrxai.segments(cube.compute()), segments='patch' or give a map."
        )
    bands = place.data.isel({place.band: np.flatnonzero(place.good_band)})
    values = bands.transpose(*place.lead, place.y, place.x, place.band).values
    keep = valid.transpose(*place.lead, place.y, place.x).values
    shape = keep.shape
    values = values.reshape(-1, *shape[-2:], values.shape[-1]).astype(float)
    keep = keep.reshape(-1, *shape[-2:])
    ids = np.zeros(keep.shape, dtype=int)
    for i, inside in enumerate(keep):
        if not inside.any():
            continue
        # slic rescales globally and refuses NaN: scale each band on valid pixels, fill the rest.
        low, high = np.percentile(values[i][inside], [2, 98], axis=0)
        scaled = (values[i] - low) / np.where(high > low, high - low, 1.0)
        scaled = np.where(inside[..., None], np.clip(scaled, 0, 1), 0.0)
        ids[i] = slic(
            scaled / np.sqrt(scaled.shape[-1]),
            n_segments=n_segments,
            compactness=compactness,
            mask=inside,
            channel_axis=-1,
            convert2lab=False,
            start_label=1,
            enforce_connectivity=True,
        )
    return xr.DataArray(ids.reshape(shape), dims=(*place.lead, place.y, place.x))


def _given(place: Cube, given: Any) -> xr.DataArray:
    if place.chips is not None:
        return place.chips.cut(_given(place.chips.scene, given), 0)
    array = given if isinstance(given, xr.DataArray) else np.asarray(given)
    if array.dtype.kind == "b":
        # A mask asks "inside or outside?": both are segments.
        array = array.astype(int) + 1
    if array.dtype.kind not in "iuf":
        raise SegmentError(
            f"segments={given!r} is no map; type 'slic', 'patch', a map of ids or polygons."
        )
    if array.dtype.kind == "f":
        whole = np.nan_to_num(np.asarray(array))
        if (whole != np.round(whole)).any():
            raise SegmentError(
                "The segment map holds fractions, so it was resampled or is no map of ids; "
                "type one resampled by nearest neighbour, such as "
                "ids.reindex_like(cube, method='nearest')."
            )
    try:
        # A map fits like a mask does; the mask's check says what is wrong.
        fits = mask_over(place, array.astype(bool))
    except CubeError as error:
        message = str(error).replace("The mask", "The segment map").replace("a mask", "a map")
        raise SegmentError(message) from None
    return xr.DataArray(np.asarray(array), dims=fits.dims)


def _counted(ids: xr.DataArray) -> xr.DataArray:
    """Ids 1..n without gaps, in order of the given ids, for each leading sample."""
    flat = ids.values.reshape(-1, *ids.shape[-2:])
    out = np.zeros_like(flat)
    for i, one in enumerate(flat):
        known, place = np.unique(one, return_inverse=True)
        rank = np.cumsum(known > 0)
        out[i] = np.where(one > 0, rank[place].reshape(one.shape), 0)
    return ids.copy(data=out.reshape(ids.shape))
