"""What a map shows: an explanation's values in space, and the colours they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError, ResultError
from xrxai.plot.grid import Grid, grid
from xrxai.plot.picture import Picture, from_cube, from_explanation
from xrxai.plot.style import MapKind, Scale, scale
from xrxai.plot.view import View, is_signed, one_sample, summed, thin

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Field:
    """Values (y, x) of every `step`-th pixel, and what they are.

    `ids` are segments to outline, if any, and `top` those of the ten strongest.
    """

    values: NDArray[np.float64]
    step: int
    placed: Grid
    what: str
    signed: bool
    ids: NDArray[Any] | None = None
    top: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Map:
    """A field in its colours, ready to draw."""

    values: NDArray[np.float64]
    step: int
    placed: Grid
    scaled: Scale
    title: str
    label: str
    ids: NDArray[Any] | None
    top: frozenset[int]


def picture_of(seen: View, cube: xr.DataArray | None) -> Picture | None:
    """Return the picture that goes with an explanation, None when there is nothing to see."""
    one_sample(seen, "A map")
    if cube is not None:
        return from_cube(cube, dataset=seen.dataset)
    return from_explanation(seen.dataset, seen.y, seen.x)


def read_map(
    seen: View,
    *,
    segments: bool | xr.DataArray = True,
    robust: bool = True,
    kind: MapKind | None = None,
) -> Map:
    """Compute the map of an explanation: of one target, at most 2000 pixels per side."""
    field = read_field(seen, segments=segments)
    scaled = scale(field.values, robust=robust, signed=field.signed, kind=kind)
    title = f"{field.what}, {scaled.note}" if scaled.note else field.what
    return coloured(field, seen, scaled, title)


def coloured(field: Field, seen: View, scaled: Scale, title: str) -> Map:
    """Give a field the colours of a scale, its own or one that it shares with others."""
    shown = np.asarray(scaled.shown(field.values), dtype=np.float64)
    label = scaled.label(seen.attribution)
    return Map(shown, field.step, field.placed, scaled, title, label, field.ids, field.top)


def read_field(seen: View, *, segments: bool | xr.DataArray = True) -> Field:
    """Compute the values in space of one target, summed over bands or groups."""
    one_sample(seen, "A map")
    y, x = seen.y, seen.x
    ids: NDArray[Any] | None = None
    top: frozenset[int] = frozenset()
    if seen.kind == "segments":
        raster, step = thin(seen.dataset["segment_of_pixel"].transpose(y, x), y, x)
        ids = np.asarray(raster.to_numpy()).astype(np.int64)
        labels = seen.dataset["segment"].to_numpy().astype(np.int64)
        values_of = np.asarray(seen.attribution.to_numpy(), dtype=np.float64)
        table = np.full(max(int(labels.max(initial=0)), int(ids.max(initial=0))) + 1, np.nan)
        table[labels] = values_of
        values, what, weigh = table[ids], "Attribution per segment", values_of
        strongest = np.argsort(-np.nan_to_num(np.abs(values_of)), kind="stable")[:10]
        top = frozenset(int(i) for i in labels[strongest])
        inside = seen.dataset.get("valid")
        if inside is not None:
            keep = thin(inside.transpose(y, x), y, x)[0].to_numpy().astype(bool)
            values = np.where(keep, values, np.nan)
    elif seen.per_pixel:
        array, step = summed(seen)
        what = "Attribution"
        if seen.feature:
            what = f"Attribution, sum over {'groups' if seen.kind == 'groups' else 'bands'}"
        values = np.asarray(array.transpose(y, x).to_numpy(), dtype=np.float64)
        weigh = values
    else:
        raise ResultError(
            f"{seen.dataset.attrs.get('method', 'This explanation')} has no values in space "
            f"(attribution is per {seen.feature}). Plot .spectral() or .bars() instead."
        )
    if isinstance(segments, xr.DataArray):
        ids = _given_segments(segments, seen)
    elif not segments:
        ids = None
    return Field(values, step, grid(seen.dataset, y, x), what, is_signed(seen, weigh), ids, top)


def _given_segments(segments: xr.DataArray, seen: View) -> NDArray[Any]:
    sizes = {d: seen.dataset.sizes[d] for d in (seen.y, seen.x)}
    if dict(segments.sizes) != sizes:
        raise OptionError(
            f"segments has {dict(segments.sizes)} and the explanation {sizes}; pass ids (y, x) "
            "on the same grid."
        )
    return thin(segments.transpose(seen.y, seen.x), seen.y, seen.x)[0].to_numpy()
