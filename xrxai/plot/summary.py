"""Numbers of the spectral figures: means over pixels or samples, and their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xrxai.plot.bands import Group
from xrxai.plot.view import View, one_lead, pixels

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 200
# 97.5 % points of Student's t where the series below is not good to a part in a thousand.
_T = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}


@dataclass(frozen=True)
class Summary:
    """A value per feature, an interval about it and what that is, and the samples behind it."""

    value: Floats
    low: Floats | None
    high: Floats | None
    interval: str
    samples: Floats | None
    count: str
    over: Literal["", "pixels", "samples"]

    @property
    def error(self) -> Floats | None:
        """Lengths of error bars below and above, (2, feature); never negative."""
        if self.low is None or self.high is None:
            return None
        return np.stack([self.value - self.low, self.high - self.value]).clip(0.0, None)


def per_feature(seen: View) -> Summary:
    """Summarise an attribution per band, group or segment for a spectral strip."""
    one_lead(seen)
    if seen.lead:
        return _over_samples(seen, _samples(seen))
    if seen.per_pixel:
        values, step = pixels(seen)
        low, high = _columns(values, lambda v: np.percentile(v, (25, 75), axis=0), 2)
        mean = _columns(values, lambda v: v.mean(axis=0)[None], 1)[0]
        every = "" if step == 1 else f" (1 in {step * step})"
        return Summary(mean, low, high, f"IQR over pixels{every}", None, "", "pixels")
    return _plain(seen)


def per_group(seen: View, groups: list[Group]) -> Summary:
    """Summarise an attribution per band as its sum over the bands of each group, for bars.

    Over pixels the interval is a bootstrap of the mean (200 draws). Neighbours are alike, so it
    says how much pixels differ, not how sure the mean is: it is called a spread, not a CI.
    """
    one_lead(seen)
    own = seen.kind in ("groups", "segments")
    member = np.stack([g.member for g in groups], axis=1).astype(float) if not own else None
    if seen.lead:
        samples = _samples(seen)
        return _over_samples(seen, samples if member is None else _sum(samples, member))
    if seen.per_pixel:
        values, _ = pixels(seen)
        if member is not None:
            values = _sum(values, member)
        mean = _columns(values, lambda v: v.mean(axis=0)[None], 1)[0]
        low, high = _bootstrap(values)
        return Summary(mean, low, high, "95 % spread over pixels", None, "", "pixels")
    plain = _plain(seen)
    if member is None:
        return plain
    return Summary(_sum(plain.value[None], member)[0], None, None, "", None, "", "")


def _plain(seen: View) -> Summary:
    value = _numbers(seen.attribution.transpose(seen.feature))
    if "ci_low" not in seen.dataset or "ci_high" not in seen.dataset:
        return Summary(value, None, None, "", None, "", "")
    low, high = (_numbers(seen.dataset[n].transpose(seen.feature)) for n in ("ci_low", "ci_high"))
    return Summary(value, low, high, "95 % CI", None, "", "")


def _samples(seen: View) -> Floats:
    """Return one row per sample: the mean over its pixels where there are any."""
    array = seen.attribution
    if seen.per_pixel:
        array = array.mean((seen.y, seen.x), skipna=True)
    return _numbers(array.transpose(seen.lead[0], seen.feature))


def _over_samples(seen: View, samples: Floats) -> Summary:
    n = np.isfinite(samples).sum(axis=0)
    mean = _columns(samples, lambda v: v.mean(axis=0)[None], 1)[0]
    name = seen.lead[0]
    count = f"{samples.shape[0]} {name if name.endswith('s') else name + 's'}"
    if samples.shape[0] < 2:
        return Summary(mean, None, None, "", samples, count, "samples")
    spread = _columns(
        samples,
        lambda v: v.var(axis=0, ddof=1)[None] if len(v) > 1 else np.full((1, v.shape[1]), np.nan),
        1,
    )[0]
    t = np.array([student_t(int(k) - 1) if k > 1 else np.nan for k in n])
    half = t * np.sqrt(spread / np.maximum(n, 1))
    return Summary(mean, mean - half, mean + half, "95 % CI", samples, count, "samples")


def student_t(freedom: int) -> float:
    """Return the 97.5 % point of Student's t (Abramowitz and Stegun 26.7.5), for a 95 % CI."""
    if freedom in _T:
        return _T[freedom]
    z, v = 1.959963984540054, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


def _sum(values: Floats, member: Floats) -> Floats:
    """Sum bands over groups, (n, band) -> (n, group); a group without any value is NaN."""
    finite = np.isfinite(values)
    found = finite.astype(float) @ member > 0
    return np.where(found, np.where(finite, values, 0.0) @ member, np.nan)


def _bootstrap(values: Floats) -> tuple[Floats, Floats]:
    if values.shape[0] == 0:
        nothing = np.full(values.shape[1], np.nan)
        return nothing, nothing
    rng = np.random.default_rng(0)  # the same picture twice
    n = values.shape[0]
    drawn = np.stack(
        [
            _columns(values[rng.integers(0, n, n)], lambda v: v.mean(axis=0)[None], 1)[0]
            for _ in range(RESAMPLES)
        ]
    )
    low, high = _columns(drawn, lambda v: np.percentile(v, (2.5, 97.5), axis=0), 2)
    return low, high


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
