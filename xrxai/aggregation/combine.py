"""Explanations of several cubes side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError
from xrxai.labelled.expand import check

# Options that speak of one cube or of luck, and not of the question that is asked.
OWN = ("seed", "mask", "segments", "per", "background")


def combine(
    explanations: Sequence[xr.Dataset],
    dim: str = "sample",
    *,
    names: Sequence[Any] | np.ndarray | None = None,
    coords: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
) -> xr.Dataset:
    """
    Put the explanations of several cubes side by side, for a global view.

    Parameters
    ----------
    explanations : sequence of Dataset
        Of one method and model with the same targets, bands or groups and options. Cubes may
        differ in size. Lazy ones stay lazy.
    dim : str, default: "sample"
        Name of the new dim.
    names : sequence, optional
        What to call each of them: the coordinate of `dim`. Dates make ``by="time.season"`` of
        `xrxai.aggregate` work.
    coords : mapping of str to sequence, optional
        Further coordinates along `dim`, such as ``{"crop": ["wheat", "maize"]}``.

    Returns
    -------
    Dataset
        With `dim` after ``target``. Variables over rows and columns, or over segments, mean the
        same only where all cubes share them: otherwise they are left out. Attrs that differ, such
        as seeds, are listed in the attr ``combined`` (JSON).

    Raises
    ------
    ResultError
        The list is empty, mixes methods, models, targets, bands or options, or nothing can be
        shared.
    OptionError
        There are not as many names as explanations.

    Examples
    --------
    >>> whys = [cube.xai.saliency(model) for cube in cubes]  # doctest: +SKIP
    >>> xrxai.combine(whys, names=["field 1", "field 2"])  # doctest: +SKIP
    """
    explanations = list(explanations)
    if not explanations:
        raise ResultError("There is nothing to combine; give at least one explanation.")
    for one in explanations:
        check(one)
    first = explanations[0]
    if dim in first.dims:
        raise ResultError(
            f"The explanations have the dim {dim!r} already, {first.sizes[dim]} long; type "
            f"dim= with a new name, or join them with xarray.concat(explanations, {dim!r})."
        )
    _same_question(explanations)
    local = {first.attrs.get("y_dim", ""), first.attrs.get("x_dim", ""), "segment", "window"} - {""}
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
    along = {
        key: _along(key, values, dim, len(kept))
        for key, values in {**({} if names is None else {dim: names}), **(coords or {})}.items()
    }
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
    made = made.assign({v: first[v] for v in fixed}).assign_coords(along)
    lost = sorted({k for e in kept for k in e.attrs} - set(made.attrs))
    if lost:
        own = {str(k): [e.attrs.get(k) for e in kept] for k in lost}
        made.attrs["combined"] = json.dumps(own, default=str)
    # The options that all share are those of the whole.
    if "options" in lost:
        made.attrs["options"] = json.dumps(_shared([_options(e) for e in kept]))
    return made.transpose("target", dim, ...)


def _same_question(explanations: list[xr.Dataset]) -> None:
    """Name the first thing in which explanations differ and must not."""
    first = explanations[0]
    methods = list(dict.fromkeys(str(e.attrs.get("method")) for e in explanations))
    if len(methods) > 1:
        raise ResultError(
            f"Explanations by {' and '.join(methods)} answer different questions; "
            f"combine those of one method."
        )
    for number, other in enumerate(explanations[1:], start=2):
        for key in ("model_hash", "model_options"):
            one, two = (e.attrs.get(key) for e in (first, other))
            if one != two:
                raise ResultError(
                    f"The explanations are of different models: {key} is {str(one)[:60]} in the "
                    f"first and {str(two)[:60]} in number {number}. Explain all cubes with one "
                    f"model."
                )
        one, two = _options(first), _options(other)
        for key in dict.fromkeys([*one, *two]):
            if key not in OWN and not _alike(one.get(key), two.get(key)):
                raise ResultError(
                    f"The explanations differ in targets, bands or groups: {key}="
                    f"{one.get(key)!r} in the first and {two.get(key)!r} in number {number}. "
                    f"Explain all cubes with the same {key}=."
                )


def _alike(one: Any, two: Any) -> bool:
    """Equal words and numbers; arrays that the user gave ("given ...") belong to each cube."""
    given = all(isinstance(v, str) and v.startswith("given ") for v in (one, two))
    return given or bool(one == two)


def _options(explanation: xr.Dataset) -> dict[str, Any]:
    found = json.loads(str(explanation.attrs.get("options", "{}")))
    return found if isinstance(found, dict) else {}


def _shared(options: list[dict[str, Any]]) -> dict[str, Any]:
    return {k: v for k, v in options[0].items() if all(o.get(k) == v for o in options)}


def _along(key: str, values: Any, dim: str, count: int) -> tuple[str, np.ndarray]:
    found = np.asarray(values)
    if found.shape != (count,):
        word = "names=" if key == dim else f"coords[{key!r}]"
        raise OptionError(
            f"{word} has shape {found.shape} and there are {count} explanations; give one value "
            f"for each."
        )
    return dim, found.astype(object) if found.dtype.kind == "U" else found


def _equal(one: xr.Dataset, two: xr.Dataset, dim: str) -> bool:
    a, b = one.indexes.get(dim), two.indexes.get(dim)
    return a is None or b is None or bool(a.equals(b))
