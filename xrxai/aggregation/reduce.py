"""The kernels on labelled arrays: over samples, over pixels in cells, quantiles; now or later."""

from __future__ import annotations

import functools

import numpy as np
import xarray as xr

from xrxai.aggregation import blocks
from xrxai.aggregation.classes import Classes

LOOKED_AT = 512  # pixels a side that quantiles look at
STATISTICS = ("attribution", "standard_error", "ci_low", "ci_high", "sign_share", "count")


def over_samples(
    values: xr.DataArray,
    weights: xr.DataArray,
    classes: Classes,
    over: tuple[str, ...],
    confidence: float,
) -> dict[str, xr.DataArray]:
    """Take means of independent values, with their t-intervals."""
    flat = _flat(_spread(values, weights, classes.codes, over), over)
    found = xr.apply_ufunc(
        blocks.of_samples,
        *flat,
        input_core_dims=[["__place"]] * 3,
        output_core_dims=[["__class", "__statistic"]],
        kwargs={"classes": len(classes.names), "confidence": confidence},
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"__class": len(classes.names), "__statistic": 6}},
    )
    return {n: found.isel(__statistic=i) for i, n in enumerate(STATISTICS)}


def _spread(
    values: xr.DataArray, weights: xr.DataArray, codes: xr.DataArray, over: tuple[str, ...]
) -> list[xr.DataArray]:
    """Without coordinates, each over all the dims of the mean, one long where it is constant."""
    bare = [a.drop_vars(list(a.coords)) for a in (values, weights, codes)]
    bare = [a.expand_dims([d for d in over if d not in a.dims]) for a in bare]
    return [a.transpose(..., *over) for a in bare]


def _flat(arrays: list[xr.DataArray], over: tuple[str, ...]) -> list[xr.DataArray]:
    """Each with one dim in place of those of the mean."""
    sizes = {d: arrays[0].sizes[d] for d in over}
    made = []
    for a in arrays:
        short = [d for d in over if a.sizes[d] != sizes[d]]
        whole = a.squeeze(short).expand_dims({d: sizes[d] for d in short}).transpose(..., *over)
        made.append(_one_dim(whole, over))
    return made


def _one_dim(array: xr.DataArray, over: tuple[str, ...]) -> xr.DataArray:
    found = array.stack(__place=over, create_index=False)
    return found.chunk(__place=-1) if found.chunks is not None else found


def over_pixels(
    values: xr.DataArray,
    weights: xr.DataArray,
    classes: Classes,
    over: tuple[str, ...],
    cell: int,
    block: int | None,
    drawing: tuple[int, float, int],
) -> dict[str, xr.DataArray]:
    """Take means of pixels by way of the sums of their cells, with intervals from blocks."""
    parts = _spread(values, weights, classes.codes, over)
    sums = functools.partial(blocks.cells, classes=len(classes.names), side=cell)
    a = parts[0]
    lead = [d for d in a.dims if d not in over]
    # Dims that only some have come first, as numpy broadcasts.
    parts = [
        p.expand_dims([d for d in lead if d not in p.dims]).transpose(*lead, *over) if i == 1 else p
        for i, p in enumerate(parts)
    ]
    if any(p.chunks is not None for p in (a, *parts)):
        import dask.array as da

        a = a.chunk() if a.chunks is None else a
        whole = {d: cell * max(1, round(max(a.chunksizes[d]) / cell)) for d in over}
        a = a.chunk(whole)
        others = [
            p.chunk({d: a.chunksizes[d] if p.sizes[d] > 1 else 1 for d in p.dims}).data
            for p in parts[1:]
        ]
        n = len(lead)
        edges = [tuple(-(-c // cell) for c in a.chunksizes[d]) for d in over]
        data = da.map_blocks(
            sums,
            a.data,
            *others,
            dtype=np.float64,
            new_axis=[n, n + 1],
            chunks=(*a.data.chunks[:n], (len(classes.names),), (len(blocks.SUMS),), *edges),
            meta=np.empty((0,) * (n + 4)),
        )
    else:
        data = sums(*(p.values for p in parts))
    small = xr.DataArray(data, dims=(*lead, "__class", "__sum", "__y", "__x"))
    if small.chunks is not None:
        small = small.chunk(__sum=-1, __y=-1, __x=-1)
    draws, confidence, seed = drawing
    found = xr.apply_ufunc(
        blocks.of_cells,
        small,
        input_core_dims=[["__sum", "__y", "__x"]],
        output_core_dims=[["__statistic"]],
        kwargs={"block": block, "draws": draws, "confidence": confidence, "seed": seed},
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"__statistic": 7}},
    )
    names = (*STATISTICS, "block_length")
    made = {n: found.isel(__statistic=i) for i, n in enumerate(names)}
    made["block_length"] = made["block_length"] * cell
    return made


def quantiles(
    values: xr.DataArray, classes: Classes, over: tuple[str, ...], asked: list[float]
) -> xr.DataArray:
    """Take quantiles of what is known in each class; of large scenes in steps."""
    step = {d: slice(None, None, -(-values.sizes[d] // LOOKED_AT)) for d in over}
    seen = [a.isel({d: s for d, s in step.items() if d in a.dims}) for a in (values, classes.codes)]
    a, _, codes = _spread(seen[0], xr.DataArray(1.0), seen[1], over)
    some = _flat([a, codes], over)

    def of(a: np.ndarray, codes: np.ndarray) -> np.ndarray:
        out = np.full((*a.shape[:-1], len(classes.names), len(asked)), np.nan)
        for k in range(len(classes.names)):
            inside = np.where(codes == k, a, np.nan)
            some = np.isfinite(inside).any(-1)
            if some.any():
                out[some, k] = np.moveaxis(np.nanquantile(inside[some], asked, axis=-1), 0, -1)
        return out

    found: xr.DataArray = xr.apply_ufunc(
        of,
        *some,
        input_core_dims=[["__place"]] * 2,
        output_core_dims=[["__class", "quantile"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={
            "output_sizes": {"__class": len(classes.names), "quantile": len(asked)}
        },
    )
    return found.assign_coords(quantile=asked)
