"""Explanations of many samples or pixels -> what holds of a class, a region, a season."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from xrxai.aggregation import reduce
from xrxai.aggregation.classes import Classes, settle
from xrxai.errors import OptionError, ResultError, at_least, choice, positive
from xrxai.labelled.expand import check

CELLS = 256  # a side: what is held of a scene
METRES = ("m", "metre", "metres", "meter", "meters")


def aggregate(
    explanation: xr.Dataset,
    dim: str | Sequence[str],
    *,
    by: str | xr.DataArray | Any = None,
    column: str | None = None,
    weights: Literal["fidelity"] | xr.DataArray | None = None,
    quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    interval: Literal["auto", "t", "bootstrap"] = "auto",
    block: float | None = None,
    block_unit: Literal["pixels", "metres"] = "pixels",
    n_draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """
    Average attributions over samples, tiles or pixels, with intervals of the mean.

    Parameters
    ----------
    explanation : Dataset
        Of any method; several cubes first go through `xrxai.combine`. A lazy one stays lazy.
    dim : str or sequence of str
        What to average over: ``"sample"``, ``("tile_y", "tile_x")``, ``("y", "x")``. Pixels of
        many samples: average pixels first, then samples.
    by : str, DataArray or GeoDataFrame, optional
        A mean for each class: a coordinate along `dim`, a part of a date such as
        ``"time.season"``, a map of classes over `dim` (NaN = in none), or polygons.
    column : str, optional
        Column of the polygons that holds their class. Default: each polygon by itself.
    weights : "fidelity" or DataArray, optional
        Not negative; zero leaves out. ``"fidelity"``: what the surrogate of each sample explains.
    quantiles : sequence of float, default: (0.05, 0.25, 0.5, 0.75, 0.95)
        Of the values, unweighted; scenes beyond 512 pixels a side are looked at in steps.
    interval : {"auto", "t", "bootstrap"}, default: "auto"
        ``"t"``: what is averaged is independent. ``"bootstrap"``: moving blocks over two
        dims, because neighbours are alike. ``"auto"``: blocks for rows and columns, else t.
    block : float, optional
        Side of the blocks. Longer ones are wider where pixels are correlated further, and less
        certain. Default: three times the range of the autocorrelation, at most a fifth of the
        side of a square with as many pixels. The result tells it (``block_length``).
    block_unit : {"pixels", "metres"}, default: "pixels"
        Unit of `block`.
    n_draws : int, default: 1000
        Draws of the bootstrap. More make the ends of the interval less noisy.
    confidence : float, default: 0.95
        Of the interval.
    seed : int, default: 0
        Of the bootstrap.

    Returns
    -------
    Dataset
        An explanation with ``attribution`` (the mean), ``standard_error``, ``ci_low``,
        ``ci_high``, ``attribution_quantile``, ``sign_share`` (weight of values above 0),
        ``count`` (values that are known) and, of blocks, ``block_length`` in pixels. The attr
        ``aggregated`` (JSON) says what was done.

    Raises
    ------
    ResultError
        The Dataset is no explanation, or has no such dims.
    OptionError
        An option does not fit.

    Notes
    -----
    The variance of the mean is that of the moving-block bootstrap [1]_, with the bias of its
    blocks taken off [2]_ and Student's t for its own uncertainty; draws of blocks, as ratios of
    sums over valid pixels, give the shape of the interval (percentiles). For blocks of one pixel
    it is the t-interval. In scenes beyond 256 pixels a side, blocks are counted in cells of
    several pixels, so that no more than the sums of cells are held.

    References
    ----------
    .. [1] H. R. Künsch (1989). The jackknife and the bootstrap for general stationary
       observations. Annals of Statistics 17(3). https://doi.org/10.1214/aos/1176347265
    .. [2] S. N. Lahiri (2003). Resampling Methods for Dependent Data. Springer.

    Examples
    --------
    >>> why.xai.aggregate(("y", "x"), by=classes)  # doctest: +SKIP
    >>> many = xrxai.combine(whys, dim="time", names=dates)  # doctest: +SKIP
    >>> many.xai.aggregate("time", by="time.season", weights="fidelity")  # doctest: +SKIP
    """
    check(explanation)
    values = explanation["attribution"]
    over = _over(explanation, dim)
    choice(interval, ("auto", "t", "bootstrap"), "interval")
    choice(block_unit, ("pixels", "metres"), "block_unit")
    at_least(n_draws, 100, "n_draws")
    at_least(seed, 0, "seed")
    asked = [_share(q, "quantiles") for q in quantiles]
    _share(confidence, "confidence")
    plane = {explanation.attrs.get("y_dim"), explanation.attrs.get("x_dim")}
    spatial = interval == "bootstrap" or (interval == "auto" and set(over) == plane)
    if spatial and len(over) != 2:
        raise OptionError(
            f"interval='bootstrap' draws blocks over two dims, and the mean is over {over}; type "
            f"interval='t'."
        )
    if block is not None:
        positive(block, "block", 16)
        if not spatial:
            raise OptionError(
                f"block={block!r} belongs to interval='bootstrap', and the interval over {over} is "
                f"'t'; drop block=, or type interval='bootstrap' over rows and columns."
            )
    classes = settle(explanation, by, column, over)
    w = _weights(explanation, weights)
    if spatial:
        cell, m = _cells(explanation, over, block, block_unit)
        made = reduce.over_pixels(values, w, classes, over, cell, m, (n_draws, confidence, seed))
    else:
        made = reduce.over_samples(values, w, classes, over, confidence)
    if asked:
        made["attribution_quantile"] = reduce.quantiles(values, classes, over, asked)
    return _built(
        explanation,
        made,
        classes,
        over,
        {
            "over": list(over),
            "by": classes.dim,
            "weights": weights
            if isinstance(weights, str)
            else "given"
            if weights is not None
            else "",
            "interval": "moving-block bootstrap" if spatial else "t",
            "confidence": confidence,
            **(
                {
                    "block": "from the autocorrelation range" if block is None else block,
                    "block_unit": block_unit,
                    "cell": cell,
                    "n_draws": n_draws,
                    "seed": seed,
                }
                if spatial
                else {}
            ),
        },
    )


def _over(explanation: xr.Dataset, dim: str | Sequence[str]) -> tuple[str, ...]:
    values = explanation["attribution"]
    over = (dim,) if isinstance(dim, str) else tuple(map(str, dim))
    dims = tuple(map(str, values.dims))
    missing = [d for d in over if d not in dims]
    if missing or not over:
        found = repr(missing[0]) if missing else "nothing"
        raise ResultError(
            f"A mean over {found} was asked for, and the attributions have the dims {dims}; "
            f"type dim= with one or more of them."
        )
    features = {"target", "group", "segment", explanation.attrs["band_dim"]}
    wrong = [d for d in over if d in features]
    if wrong:
        raise ResultError(
            f"A mean over {wrong[0]!r} would mix what is explained; average over samples, tiles or "
            f"pixels, and sum bands with .xai.to_groups()."
        )
    plane = [explanation.attrs.get("y_dim", ""), explanation.attrs.get("x_dim", "")]
    inside = [d for d in plane if d in over]
    if inside and set(over) != set(plane):
        rest = tuple(d for d in over if d not in plane)
        after = f", then .xai.aggregate({rest!r})" if rest else ""
        raise ResultError(
            f"Rows and columns are averaged together and by themselves, and the mean is over "
            f"{over}; type .xai.aggregate({tuple(plane)!r}){after}."
        )
    return tuple(d for d in dims if d in over)


def _share(value: float, name: str) -> float:
    number = positive(value, name, 0.95)
    if number >= 1:
        raise OptionError(f"{name}={value!r} is no share; type a number between 0 and 1.")
    return number


def _weights(explanation: xr.Dataset, weights: Any) -> xr.DataArray:
    if weights is None:
        return xr.DataArray(1.0)
    if isinstance(weights, str):
        choice(weights, ("fidelity",), "weights")
        if "fidelity" not in explanation:
            raise ResultError(
                f"weights='fidelity' and {explanation.attrs.get('method')} tells no fidelity; use "
                f"lime_spectral or lime_spatial, or give weights as a DataArray."
            )
        # Worse than the mean is not better than nothing.
        weights = explanation["fidelity"].clip(0)
    elif not isinstance(weights, xr.DataArray):
        raise OptionError(
            f"weights= is a {type(weights).__name__}; type 'fidelity' or a DataArray over dims of "
            f"the attributions."
        )
    values = explanation["attribution"]
    strange = [str(d) for d in weights.dims if d not in values.dims]
    if strange:
        raise OptionError(
            f"weights= has the dim {strange[0]!r}, which the attributions have not; type weights "
            f"over {tuple(map(str, values.dims))} or some of them."
        )
    if not hasattr(weights.data, "dask") and bool((weights < 0).any()):
        raise OptionError("weights= holds numbers below 0; type weights=weights.clip(0).")
    found: xr.DataArray = weights.reset_coords(drop=True)
    return found


def _cells(
    explanation: xr.Dataset, over: tuple[str, ...], block: float | None, unit: str
) -> tuple[int, int | None]:
    """Side of the cells in pixels, and of the blocks in cells where it is given."""
    cell = -(-max(explanation.sizes[d] for d in over) // CELLS)
    if block is None:
        return cell, None
    pixels = block / _pixel_size(explanation, over) if unit == "metres" else block
    if pixels > min(explanation.sizes[d] for d in over):
        raise OptionError(
            f"block={block!r} {unit} are {pixels:.0f} pixels, and the scene has "
            f"{[explanation.sizes[d] for d in over]}; type a block of a fifth of its side or less."
        )
    cell = max(1, min(cell, int(pixels // 4)))
    return cell, max(1, round(pixels / cell))


def _pixel_size(explanation: xr.Dataset, over: tuple[str, ...]) -> float:
    steps = []
    for d in over:
        # .get() would make up the positions of a dim without a coordinate.
        coord = dict(explanation.coords).get(d)
        units = "" if coord is None else str(coord.attrs.get("units", "m")).lower()
        told = getattr(explanation.coords.get("spatial_ref"), "attrs", {})
        degrees = told.get("grid_mapping_name") == "latitude_longitude" or units not in METRES
        if coord is None or coord.size < 2 or degrees:
            raise OptionError(
                f"block_unit='metres' needs coordinates in metres along {d!r}; type "
                f"block_unit='pixels'."
            )
        steps.append(float(abs(coord[-1] - coord[0])) / (coord.size - 1))
    return float(np.sqrt(np.prod(steps)))


ABOUT = {
    "attribution": "mean attribution",
    "standard_error": "standard error of the mean",
    "ci_low": "lower end of the interval of the mean",
    "ci_high": "upper end of the interval of the mean",
    "attribution_quantile": "quantiles of the attribution",
    "sign_share": "share of values above 0",
    "count": "values that are known",
    "block_length": "side of the blocks in pixels",
}
UNITLESS = ("sign_share", "count", "block_length")


def _built(
    explanation: xr.Dataset,
    made: dict[str, xr.DataArray],
    classes: Classes,
    over: tuple[str, ...],
    told: dict[str, Any],
) -> xr.Dataset:
    values = explanation["attribution"]
    rest = [d for d in values.dims if d not in over and d != "target"]
    out = {}
    for name, array in made.items():
        array = array.rename(__class=classes.dim) if classes.dim else array.isel(__class=0)
        first = [d for d in ("target", classes.dim) if d in array.dims]
        units = "1" if name in UNITLESS else values.attrs.get("units", "1")
        about = {"long_name": ABOUT[name], "units": units}
        if name == "attribution":
            about |= {k: v for k, v in values.attrs.items() if k == "signed"}
        out[name] = array.transpose(*first, *rest, ...).assign_attrs(about)
    for name in ("group_of_band", "spectrum", "segment_of_pixel"):
        if name in explanation and not set(explanation[name].dims) & set(over):
            out[name] = explanation[name].reset_coords(drop=True)
    done = xr.Dataset(out, attrs=dict(explanation.attrs))
    coords = {
        k: c.variable
        for k, c in explanation.coords.items()
        if set(c.dims) <= set(done.dims) and k != classes.dim
    }
    if classes.dim:
        coords[classes.dim] = xr.Variable(classes.dim, classes.names)
    before = done.attrs.get("aggregated")
    steps = [*(json.loads(before) if before else []), told]
    done.attrs["aggregated"] = json.dumps(steps)
    return done.assign_coords(coords)
