"""From the resolution at which an explanation is true to that of the cube, and back."""

from __future__ import annotations

from collections.abc import Sequence

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
    Spread group and segment values over the bands and pixels that they speak of.

    Parameters
    ----------
    explanation : Dataset
        Of any method.

    Returns
    -------
    Dataset
        Every variable over ``group`` is over the band dim, every variable over ``segment`` over
        rows and columns, with the value of its group or segment (not divided by its size) and
        NaN where none is. Others are unchanged.

    Raises
    ------
    ResultError
        The Dataset is no explanation.
    """
    check(explanation)
    out = explanation
    for dim, name in (("group", "group_of_band"), ("segment", "segment_of_pixel")):
        if dim not in explanation.dims:
            continue
        place = explanation[name].reset_coords(drop=True)
        names = [v for v in explanation.data_vars if dim in explanation[v].dims]
        spread = {
            v: _take(explanation[v].drop_vars(_coords_on(explanation[v], dim)), dim, place)
            for v in names
        }
        out = out.drop_vars([*names, *_coords_on(out, dim)]).assign(spread)
    return out


def _coords_on(obj: xr.Dataset | xr.DataArray, dim: str) -> list[str]:
    return [str(k) for k, c in obj.coords.items() if dim in c.dims]


def _take(values: xr.DataArray, dim: str, place: xr.DataArray) -> xr.DataArray:
    """Value of the group `place` counts from 1, NaN for 0; samples keep their own places."""
    shared = [d for d in place.dims if d in values.dims]
    if not shared:
        found = values.isel({dim: (place - 1).clip(0)})
    else:
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
    return found.where(place > 0).assign_attrs(values.attrs)


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


def combine(explanations: Sequence[xr.Dataset], dim: str = "sample") -> xr.Dataset:
    """
    Put the explanations of several cubes side by side, for a global view.

    Parameters
    ----------
    explanations : sequence of Dataset
        Of the same method and the same targets, bands or groups. Cubes may differ in size.
    dim : str, default: "sample"
        Name of the new dim.

    Returns
    -------
    Dataset
        With `dim` after ``target``. Variables over rows and columns, or over segments, mean the
        same only where all cubes share them: otherwise they are left out.

    Raises
    ------
    ResultError
        The list is empty, mixes methods, targets or bands, or nothing can be shared.
    """
    if not explanations:
        raise ResultError("There is nothing to combine; give at least one explanation.")
    for one in explanations:
        check(one)
    first = explanations[0]
    methods = list(dict.fromkeys(str(e.attrs["method"]) for e in explanations))
    if len(methods) > 1:
        raise ResultError(
            f"Explanations by {' and '.join(methods)} answer different questions; "
            f"combine those of one method."
        )
    local = {first.attrs["y_dim"], first.attrs["x_dim"], "segment", "window"} - {""}
    same = all(
        e.sizes == first.sizes and all(_equal(e, first, d) for d in local & set(first.dims))
        for e in explanations
    )
    drop = set() if same and "segment" not in first.dims else local
    kept = [e.drop_dims([d for d in drop if d in e.dims]) for e in explanations]
    if "attribution" not in kept[0]:
        raise ResultError(
            f"Attributions over {tuple(map(str, first['attribution'].dims))} of different images "
            f"share no places; combine spectral methods, or take means over pixels first."
        )
    try:
        made = xr.concat(
            kept,
            dim=dim,
            join="exact",
            data_vars="all",
            coords="minimal",
            compat="override",
            combine_attrs="drop_conflicts",
        )
    except (ValueError, KeyError) as error:
        raise ResultError(
            f"The explanations differ in targets, bands or groups: {error}. "
            f"Explain all cubes with the same model and the same bands=."
        ) from None
    fixed = [v for v in ("group_of_band",) if v in made]
    made = made.assign({v: first[v] for v in fixed})
    return made.transpose("target", dim, ...)


def _equal(one: xr.Dataset, two: xr.Dataset, dim: str) -> bool:
    a, b = one.indexes.get(dim), two.indexes.get(dim)
    return a is None or b is None or bool(a.equals(b))
