"""How far methods agree about what matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError, at_least
from xrxai.labelled.expand import check, on_cube

MEASURES = {
    "rank_correlation": "Spearman correlation of |attribution|",
    "sign_agreement": "share of equal signs among the top of either",
    "overlap": "Jaccard index of the tops",
}


def agreement(
    explanations: Sequence[xr.Dataset] | Mapping[str, xr.Dataset], *, k: int = 10
) -> xr.Dataset:
    """
    Compare what several methods say of the same cube and targets.

    Parameters
    ----------
    explanations : sequence of Dataset, or mapping of names to Dataset
        Two or more, of the same targets. Those at different resolution are brought to a common
        one: groups and segments are spread with `on_cube`, and dims that not all have are
        averaged over; the attr ``resolution`` says what is compared.
    k : int, default: 10
        How many bands, groups or pixels with the largest absolute attribution are the top. Ties
        go by position.

    Returns
    -------
    Dataset, (target, ..., method, other)
        ``rank_correlation`` (Spearman, of absolute attributions), ``sign_agreement`` (share of
        equal signs among what is in the top of either) and ``overlap`` (Jaccard index of the two
        tops). NaN where fewer than two values are known to both. Take one pair with
        ``.sel({"method": "saliency", "other": "rise"})``: ``method=`` means something else there.

    Raises
    ------
    ResultError
        A Dataset is no explanation, targets differ, or nothing is common.
    OptionError
        There are fewer than two, or `k` is no number of features.

    Examples
    --------
    >>> one, two = cube.xai.saliency(model), cube.xai.lime_spectral(model)  # doctest: +SKIP
    >>> xrxai.agreement({"gradient": one, "lime": two}, k=5)  # doctest: +SKIP
    """
    at_least(k, 1, "k")
    names, given = _named(explanations)
    first = given[0]
    for name, one in zip(names, given, strict=True):
        if not np.array_equal(one["target"].values, first["target"].values):
            raise ResultError(
                f"{name} explains the targets {one['target'].values.tolist()} and {names[0]} "
                f"{first['target'].values.tolist()}; type target= alike in both."
            )
    arrays, features, averaged = _common(names, given)
    lead = [d for d in arrays[0].dims if d not in features]
    flat = []
    for a in arrays:
        a = a.transpose(*lead, *features).stack(__feature=features, create_index=False)
        flat.append(a.chunk(__feature=-1) if a.chunks is not None else a)
    both = xr.concat(flat, dim="method", coords="minimal", compat="override")
    if both.chunks is not None:
        both = both.chunk(method=-1)
    found = xr.apply_ufunc(
        _matrices,
        both,
        input_core_dims=[["method", "__feature"]],
        output_core_dims=[["method", "other", "__measure"]],
        exclude_dims={"method"},
        kwargs={"k": k},
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={
            "output_sizes": {"method": len(names), "other": len(names), "__measure": 3}
        },
    )
    labels = np.array(names, dtype=object)
    made = xr.Dataset(
        {
            key: found.isel(__measure=i).assign_attrs(long_name=text, units="1")
            for i, (key, text) in enumerate(MEASURES.items())
        }
    ).assign_coords(method=labels, other=labels)
    made.attrs = {
        "k": k,
        "resolution": ", ".join(features),
        "averaged_over": ", ".join(averaged),
    }
    return made


def _named(explanations: Any) -> tuple[list[str], list[xr.Dataset]]:
    mapped = isinstance(explanations, Mapping) and not isinstance(explanations, xr.Dataset)
    given = list(
        explanations.values()
        if mapped
        else [explanations]
        if isinstance(explanations, xr.Dataset)
        else explanations
    )
    if len(given) < 2:
        raise OptionError(
            f"An agreement is between two or more explanations, and {len(given)} came; type "
            f"agreement([one, two])."
        )
    for one in given:
        check(one)
    if mapped:
        return [str(n) for n in explanations], given
    names: list[str] = []
    for one in given:
        word = str(one.attrs.get("method", "explanation"))
        before = sum(n == word or n.startswith(f"{word} ") for n in names)
        names.append(f"{word} {before + 1}" if before else word)
    return names, given


def _common(
    names: list[str], given: list[xr.Dataset]
) -> tuple[list[xr.DataArray], list[str], list[str]]:
    """Attributions over the same dims, which of these are features, which were averaged over."""
    own = [e["attribution"] for e in given]
    alike = all(
        set(a.dims) == set(own[0].dims) and _places(e, a) == _places(given[0], own[0])
        for e, a in zip(given, own, strict=True)
    )
    arrays = own if alike else [on_cube(e)["attribution"] for e in given]
    arrays = [a.reset_coords(drop=True) for a in arrays]
    shared = [str(d) for d in arrays[0].dims if all(d in a.dims for a in arrays)]
    known = {"group", "segment", "tile_y", "tile_x", "region"}
    for e in given:
        known |= {e.attrs["band_dim"], e.attrs.get("y_dim", ""), e.attrs.get("x_dim", "")}
    features = [d for d in shared if d in known]
    if not features:
        listed = " and ".join(
            f"{n} over {tuple(map(str, a.dims))}" for n, a in zip(names, arrays, strict=True)
        )
        raise ResultError(
            f"There is nothing that all of these explain: {listed}; compare spectral methods with "
            f"spectral ones, and spatial with spatial."
        )
    averaged = sorted({str(d) for a in arrays for d in a.dims if d not in shared})
    arrays = [a.mean([d for d in a.dims if d not in shared]) for a in arrays]
    for name, a in zip(names, arrays, strict=True):
        for d in shared:
            one, two = a.indexes.get(d), arrays[0].indexes.get(d)
            unlike = one is not None and two is not None and not one.equals(two)
            if a.sizes[d] != arrays[0].sizes[d] or unlike:
                raise ResultError(
                    f"{name} and {names[0]} differ along {d!r} ({a.sizes[d]} and "
                    f"{arrays[0].sizes[d]} places); explain the same cube with both."
                )
    return arrays, features, averaged


def _places(explanation: xr.Dataset, values: xr.DataArray) -> list[Any]:
    """What tells whether groups, or segments, of two explanations are the same."""
    found: list[Any] = [values.sizes.get("group"), values.sizes.get("segment")]
    if "group" in values.dims:
        found += [explanation["group_of_band"].values.tolist()]
    if "segment" in values.dims:
        # Segments are compared on the pixels: their maps may be lazy.
        found += [id(explanation)]
    return found


def _matrices(values: np.ndarray, k: int) -> np.ndarray:
    """(..., method, feature) -> (..., method, other, measure)."""
    n = values.shape[-2]
    flat = values.reshape(-1, n, values.shape[-1])
    out = np.full((len(flat), n, n, 3), np.nan)
    for row, sample in zip(out, flat, strict=True):
        for i in range(n):
            for j in range(i, n):
                row[i, j] = row[j, i] = _pair(sample[i], sample[j], k)
    return out.reshape(*values.shape[:-2], n, n, 3)


def _pair(one: np.ndarray, two: np.ndarray, k: int) -> tuple[float, float, float]:
    from scipy.stats import rankdata

    known = np.isfinite(one) & np.isfinite(two)
    one, two = one[known].astype(np.float64), two[known].astype(np.float64)
    if one.size < 2:
        return np.nan, np.nan, np.nan
    a, b = (rankdata(abs(v)) - (one.size + 1) / 2 for v in (one, two))
    below = np.sqrt((a**2).sum() * (b**2).sum())
    tops = [set(np.argsort(-abs(v), kind="stable")[:k].tolist()) for v in (one, two)]
    either = np.array(sorted(tops[0] | tops[1]))
    signs = float((np.sign(one[either]) == np.sign(two[either])).mean())
    rank = float((a * b).sum() / below) if below > 0 else np.nan
    return rank, signs, len(tops[0] & tops[1]) / either.size
