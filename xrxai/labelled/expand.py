"""From the resolution at which an explanation is true to that of the cube, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.labelled import bands as band_groups
from xrxai.labelled.cube import locate


def check(explanation: xr.Dataset) -> None:
    """Refuse a Dataset that no method of xrxai has made."""
    if "attribution" not in explanation or "band_dim" not in explanation.attrs:
        raise ResultError(
            f"This Dataset with variables {list(map(str, explanation.data_vars))[:5]} is no "
            f"explanation; make one with cube.xai.saliency(model) or another method."
        )


def on_cube(explanation: xr.Dataset) -> xr.Dataset:
    """
    Spread values of groups, segments, tiles and regions over the bands and pixels they speak of.

    Parameters
    ----------
    explanation : Dataset
        Of any method.

    Returns
    -------
    Dataset
        Every variable over ``group`` is over the band dim, every variable over ``segment``,
        ``tile_y, tile_x`` or ``region`` over rows and columns, with the value of its group,
        segment, tile or region (not divided by its size) and NaN where none is. Others are
        unchanged.

    Raises
    ------
    ResultError
        The Dataset is no explanation.
    """
    check(explanation)
    out = explanation
    for dim in ("group", "segment", "region", "tile_y"):
        if dim not in out.dims:
            continue
        places = _places(out, dim)
        names = [v for v in out.data_vars if dim in out[v].dims]
        spread = {
            v: _take(out[v].drop_vars([c for d in places for c in _coords_on(out[v], d)]), places)
            for v in names
        }
        done = places if dim == "tile_y" else [dim]
        gone = {c for d in done for c in _coords_on(out, d)}
        out = out.drop_vars([*names, *gone]).assign(spread)
    return out


def _places(out: xr.Dataset, dim: str) -> dict[str, xr.DataArray]:
    """What is counted from 1, 0 = none: the group of a band, the segment of a pixel, ..."""
    if dim == "group":
        return {dim: out["group_of_band"].reset_coords(drop=True)}
    if dim == "region":
        return {dim: out["region_of_pixel"].reset_coords(drop=True)}
    found = {}
    if dim == "segment":
        found[dim] = out["segment_of_pixel"].reset_coords(drop=True)
    if "tile_y" in out.dims:
        # Segments are counted in each tile by itself.
        for tile, own, word in (
            ("tile_y", out.attrs["y_dim"], "row"),
            ("tile_x", out.attrs["x_dim"], "column"),
        ):
            number = np.zeros(out.sizes[own], dtype=int)
            ends = (out[f"tile_{word}_{end}"].values for end in ("start", "stop"))
            for i, (start, stop) in enumerate(zip(*ends, strict=True), start=1):
                number[start:stop] = i
            found[tile] = xr.DataArray(number, dims=own)
    return found


def _coords_on(obj: xr.Dataset | xr.DataArray, dim: str) -> list[str]:
    return [str(k) for k, c in obj.coords.items() if dim in c.dims]


def _take(values: xr.DataArray, places: dict[str, xr.DataArray]) -> xr.DataArray:
    """Values at the places that are counted from 1, NaN at 0; samples keep their own places."""
    places = {dim: place for dim, place in places.items() if dim in values.dims}
    if len(places) == 1:
        ((dim, place),) = places.items()
        shared = [d for d in place.dims if d in values.dims]
        if shared:
            return _take_own(values, dim, place, shared)
    at = {dim: (place - 1).clip(0) for dim, place in places.items()}
    found = values.isel(at)
    for place in places.values():
        found = found.where(place > 0)
    order = [d for d in values.dims if d in found.dims]
    return found.transpose(*order, ...).assign_attrs(values.attrs)


def _take_own(
    values: xr.DataArray, dim: str, place: xr.DataArray, shared: list[Any]
) -> xr.DataArray:
    found = xr.apply_ufunc(
        lambda v, p: np.take_along_axis(v, p.reshape(*p.shape[:-2], -1), -1).reshape(
            *v.shape[:-1], *p.shape[-2:]
        ),
        values,
        xr.broadcast((place - 1).clip(0), values.isel({dim: 0}, drop=True))[0],
        input_core_dims=[[dim], [d for d in place.dims if d not in shared]],
        output_core_dims=[[d for d in place.dims if d not in shared]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[values.dtype],
    )
    spread: xr.DataArray = found.where(place > 0).assign_attrs(values.attrs)
    return spread


def to_groups(
    explanation: xr.Dataset,
    bands: band_groups.Bands = 50.0,
    *,
    overlap: band_groups.Overlap = "first",
    ungrouped: band_groups.Ungrouped = "fixed",
) -> xr.DataArray:
    """
    Sum the attributions of the bands of each group.

    Parameters
    ----------
    explanation : Dataset
        Of a method that answers per band.
    bands : optional
        Band groups: see `xrxai.band_groups`. Default: 50 nm wide.
    overlap, ungrouped : str
        See `xrxai.band_groups`.

    Returns
    -------
    DataArray
        ``attribution`` with ``group`` in place of the band dim.

    Raises
    ------
    ResultError
        The Dataset is no explanation, or does not answer per band.
    BandError
        The groups do not fit the bands.
    """
    check(explanation)
    band = explanation.attrs["band_dim"]
    values = explanation["attribution"]
    if band not in values.dims:
        raise ResultError(
            f"This explanation answers over {tuple(map(str, values.dims))}, not per band, so its "
            f"bands cannot be summed; use integrated_gradients, input_x_gradient, saliency or "
            f"occlusion_spectral."
        )
    groups = band_groups.settle(
        locate(values.isel(target=0), band_dim=band), bands, overlap, ungrouped
    )
    member = groups["group_of_band"] == xr.DataArray(
        np.arange(1, groups.sizes["group"] + 1), dims="group"
    )
    total = values.fillna(0).dot(member.astype(values.dtype).reset_coords(drop=True), dim=band)
    there = (values.notnull() & member.reset_coords(drop=True)).any(band)
    coords = {k: c for k, c in groups.coords.items() if c.dims == ("group",)}
    return total.where(there).assign_coords(coords).assign_attrs(values.attrs).rename("attribution")
