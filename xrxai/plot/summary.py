"""Numbers of the spectral figures: means over pixels, samples or classes, and their intervals.

The intervals of means are those of `xrxai.aggregation`; an aggregate brings its own, which is shown
as it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xrxai.aggregation import blocks
from xrxai.plot.axis import Group
from xrxai.plot.view import View, class_dim, one_lead, plane, steps

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Of cells this many a side the intervals of seven groups take 0.2 s, of 313 a side 1.7 s. An
# aggregate has the time for 256, and for more draws.
CELLS = 160
DRAWS = 200
BLOCKS = "moving-block bootstrap"


@dataclass(frozen=True)
class Summary:
    """A value per feature, an interval about it and what that is, and the samples behind it.

    Over classes, `value`, `low` and `high` have a row for each of `names`, `known` tells how many
    values each mean is of, and `count` is the dim of the classes.
    """

    value: Floats
    low: Floats | None
    high: Floats | None
    interval: str
    samples: Floats | None
    count: str
    over: Literal["", "pixels", "samples", "classes"]
    names: tuple[str, ...] = ()
    known: tuple[int, ...] = ()

    @property
    def error(self) -> Floats | None:
        """Lengths of error bars below and above, (2, feature); never negative."""
        if self.low is None or self.high is None:
            return None
        return np.stack([self.value - self.low, self.high - self.value]).clip(0.0, None)

    @property
    def strength(self) -> Floats:
        """The largest absolute value per feature, whatever the class; 0 where there is none."""
        found: Floats = np.nan_to_num(np.abs(np.atleast_2d(self.value))).max(axis=0)
        return found


def per_feature(seen: View) -> Summary:
    """Summarise an attribution per band, group or segment for a spectral strip.

    Over pixels the interval is the quartiles of the pixels: it shows how they differ. That of the
    mean, for every band, is what `aggregate` computes.
    """
    if class_dim(seen):
        return _over_classes(seen, None)
    one_lead(seen)
    if seen.lead:
        return over_samples(seen, per_sample(seen, None))
    if seen.per_pixel:
        field, step = plane(seen)
        values = field.reshape(-1, field.shape[-1])
        values = values[np.isfinite(values).any(axis=1)]
        low, high = _columns(values, lambda v: np.percentile(v, (25, 75), axis=0), 2)
        mean = _columns(values, lambda v: v.mean(axis=0)[None], 1)[0]
        return Summary(mean, low, high, f"IQR over pixels{_every(step)}", None, "", "pixels")
    return _plain(seen)


def per_group(seen: View, groups: list[Group]) -> Summary:
    """Summarise an attribution per band as its sum over the bands of each group, for bars.

    Over pixels the interval is that of the mean by blocks of pixels, because neighbours are alike.
    """
    own = seen.kind in ("groups", "segments")
    member = np.stack([g.member for g in groups], axis=1).astype(float) if not own else None
    if class_dim(seen):
        return _over_classes(seen, member)
    one_lead(seen)
    if seen.lead:
        return over_samples(seen, per_sample(seen, member))
    if seen.per_pixel:
        return _over_pixels(seen, member)
    return _plain(seen, member)


def _plain(seen: View, member: Floats | None = None) -> Summary:
    value = _numbers(seen.attribution.transpose(seen.feature))
    total = value if member is None else _sum(value[None], member)[0]
    count = (int(seen.dataset["count"].max()),) if steps(seen) and "count" in seen.dataset else ()
    if "ci_low" not in seen.dataset or "ci_high" not in seen.dataset:
        return Summary(total, None, None, "", None, "", "", known=count)
    low, high = (_numbers(seen.dataset[n].transpose(seen.feature)) for n in ("ci_low", "ci_high"))
    said = _stored(seen)
    if member is not None:
        # Bands are correlated: their intervals do not tell that of a sum.
        several = member.sum(axis=0) > 1
        low, high = (np.where(several, np.nan, _sum(v[None], member)[0]) for v in (low, high))
        if several.any():
            said = "no CI of sums" if several.all() else f"{said}, where a group is one band"
    return Summary(total, low, high, said, None, "", "", known=count)


def _stored(seen: View) -> str:
    """Return what the stored interval is: an aggregate tells, those of methods are of 95 %."""
    done = steps(seen)
    if not done:
        return "95 % CI"
    how = " by blocks of pixels" if done[-1].get("interval") == BLOCKS else ""
    return f"{100 * float(done[-1].get('confidence', 0.95)):g} % CI{how}"


def _over_classes(seen: View, member: Floats | None) -> Summary:
    one_lead(seen)
    dim = class_dim(seen)
    alone = replace(seen, lead=tuple(d for d in seen.lead if d != dim))
    each = [
        _plain(replace(alone, dataset=seen.dataset.isel({dim: i})), member)
        for i in range(seen.dataset.sizes[dim])
    ]
    low = [s.low for s in each if s.low is not None]
    high = [s.high for s in each if s.high is not None]
    return Summary(
        np.stack([s.value for s in each]),
        np.stack(low) if low else None,
        np.stack(high) if high else None,
        each[0].interval,
        None,
        dim,
        "classes",
        tuple(str(name) for name in seen.dataset[dim].to_numpy()),
        tuple(n for s in each for n in s.known),
    )


def _over_pixels(seen: View, member: Floats | None) -> Summary:
    field, step = plane(seen)
    rows, columns, _ = field.shape
    flat = field.reshape(rows * columns, -1)
    flat = flat if member is None else _sum(flat, member)
    stack = np.moveaxis(flat.reshape(rows, columns, -1), -1, 0)
    side = -(-max(rows, columns) // CELLS)
    sums = blocks.cells(stack, np.ones(()), np.zeros(()), classes=1, side=side)
    found = blocks.of_cells(sums, block=None, draws=DRAWS, confidence=0.95, seed=0)[:, 0]
    mean, low, high = found[:, 0], found[:, 2], found[:, 3]
    said = f"95 % CI by blocks of pixels{_every(step)}"
    return Summary(mean, low, high, said, None, "", "pixels")


def _every(step: int) -> str:
    return "" if step == 1 else f" (1 in {step * step})"


def per_sample(seen: View, member: Floats | None) -> Floats:
    """Return one row per sample: the mean over its pixels; `member` (band, group) sums bands."""
    array = seen.attribution
    if seen.per_pixel:
        array = array.mean((seen.y, seen.x), skipna=True)
    values = _numbers(array.transpose(seen.lead[0], seen.feature))
    return values if member is None else _sum(values, member)


def over_samples(seen: View, samples: Floats) -> Summary:
    """Take the mean of rows of samples, with its t-interval."""
    name = seen.lead[0]
    count = f"{samples.shape[0]} {name if name.endswith('s') else name + 's'}"
    found = blocks.of_samples(samples.T, np.ones(()), np.zeros(()), classes=1, confidence=0.95)[
        :, 0
    ]
    if samples.shape[0] < 2:
        return Summary(found[:, 0], None, None, "", samples, count, "samples")
    return Summary(found[:, 0], found[:, 2], found[:, 3], "95 % CI", samples, count, "samples")


def _sum(values: Floats, member: Floats) -> Floats:
    """Sum bands over groups, (n, band) -> (n, group); a group without any value is NaN."""
    finite = np.isfinite(values)
    found = finite.astype(float) @ member > 0
    return np.where(found, np.where(finite, values, 0.0) @ member, np.nan)


def _columns(values: Floats, reduce: Any, rows: int) -> Floats:
    """Reduce (n, k) to (rows, k) over finite values; a column without any is NaN, silently."""
    out = np.full((rows, values.shape[1]), np.nan)
    finite = np.isfinite(values)
    whole = finite.all(axis=0) & (values.shape[0] > 0)
    if whole.any():
        out[:, whole] = reduce(values[:, whole])
    for k in np.flatnonzero(finite.any(axis=0) & ~whole):
        out[:, k] = reduce(values[finite[:, k], k][:, None])[:, 0]
    return out


def _numbers(array: xr.DataArray) -> Floats:
    return np.asarray(array.to_numpy(), dtype=np.float64)
