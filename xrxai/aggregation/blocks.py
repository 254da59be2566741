"""Means with honest intervals: of independent samples, and of pixels that know their neighbours.

Numpy only. A pixel of value a and weight w leaves the residual r = w (a - mean). With S the sums of
r over all square blocks of m x m cells, also those that reach over the edge, the variance of the
mean that the moving-block bootstrap gives is

    V(m) = sum S^2 / (m^2 (sum w)^2),

with no draw: it is the sum of all products of residuals, weighted by the overlap of their blocks.
Three corrections make 95 % mean 95 %, all measured (tests/test_aggregate.py):

- blocks miss what is correlated beyond them: 2 V(2m) - V(m) cancels the first order of that [2]_;
- residuals are taken from the mean of the same pixels: divided by 1 - sum C^2 / (m^2 (sum w)^2),
  with C the block sums of w. For m = 1 this is n / (n - 1);
- the variance itself is estimated: Student's t instead of the normal, whose degrees of freedom are
  those of the quadratic form under white noise. For m = 1 they are n - 1, so the t-interval of
  samples is the case of one pixel per block.

The draws give the shape of the interval, the formulas its width.

.. [1] H. R. Künsch (1989). The jackknife and the bootstrap for general stationary observations.
   Annals of Statistics 17(3). https://doi.org/10.1214/aos/1176347265
.. [2] S. N. Lahiri (2003). Resampling Methods for Dependent Data. Springer.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

# A block is this many ranges of the autocorrelation; and at most this part of the side of a square
# with as many valid cells. Measured: 2 ranges cover too little, a third of the side too much.
RANGES, PART_OF_SIDE = 3, 5
# The range is the first distance at which the correlation is below this.
UNCORRELATED = 0.1
SUMS = ("weighted", "weight", "positive", "count")


def cells(
    values: np.ndarray, weights: np.ndarray, codes: np.ndarray, *, classes: int, side: int
) -> Floats:
    """(..., y, x) -> (..., class, SUMS, cell_y, cell_x): sums over squares of `side` pixels."""
    known = np.isfinite(values) & np.isfinite(weights)
    a = np.where(known, values, 0.0).astype(np.float64)
    w = np.where(known, weights, 0.0).astype(np.float64)
    made = []
    for k in range(classes):
        inside = codes == k
        parts = (a * w, w, w * (a > 0), known.astype(np.float64))
        made.append(np.stack([_tiled(p * inside, side) for p in parts], axis=-3))
    return np.stack(made, axis=-4)


def _tiled(a: Floats, side: int) -> Floats:
    for axis in (-2, -1):
        a = np.add.reduceat(a, np.arange(0, a.shape[axis], side), axis=axis)
    return a


def of_samples(
    values: np.ndarray, weights: np.ndarray, codes: np.ndarray, *, classes: int, confidence: float
) -> Floats:
    """(..., n) -> (..., class, 6): mean, error, low, high, share above zero, count."""
    from scipy.stats import t as student

    out = np.full((*values.shape[:-1], classes, 6), np.nan)
    weights = np.broadcast_to(weights, values.shape)
    for k in range(classes):
        known = np.isfinite(values) & np.isfinite(weights) & (codes == k)
        a = np.where(known, values, 0.0).astype(np.float64)
        w = np.where(known, weights, 0.0).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            total, square = w.sum(-1), (w**2).sum(-1)
            mean = (w * a).sum(-1) / total
            r = np.where(known, w * (a - mean[..., None]), 0.0)
            error = np.sqrt((r**2).sum(-1) / (total**2 - square))
            freedom = _freedom_of_weights(w)
            half = student.ppf(0.5 + confidence / 2, freedom) * error
            share = (w * (a > 0)).sum(-1) / total
        some = (w > 0).sum(-1) > 1  # one sample has a mean and no error
        error, half = np.where(some, error, np.nan), np.where(some, half, np.nan)
        stack = (mean, error, mean - half, mean + half, share, known.sum(-1))
        out[..., k, :] = np.stack(stack, axis=-1)
    return out


def _freedom_of_weights(w: Floats) -> Floats:
    """Degrees of freedom of sum w^2 (a - mean)^2 under white noise, (..., n) -> (...).

    tr(A)^2 / tr(A^2) for the matrix A of that form; n - 1 where the weights are equal.
    """
    p = w / w.sum(-1, keepdims=True)
    s2, s3, s4, s5 = ((p**k).sum(-1) for k in (2, 3, 4, 5))
    first = s2 - 2 * s3 + s2**2
    second = s4 + 2 * s3**2 + 4 * s2 * s4 + s2**4 - 4 * s5 - 4 * s2**2 * s3
    most = np.maximum((w > 0).sum(-1) - 1, 1)
    made: Floats = np.clip(first**2 / second, 1.0, most)  # its bounds, which rounding can miss
    return made


def of_cells(
    sums: Floats, *, block: int | None, draws: int, confidence: float, seed: int
) -> Floats:
    """(..., SUMS, y, x) -> (..., 7): as `of_samples`, and the side of the blocks in cells."""
    flat = sums.reshape(-1, *sums.shape[-3:])
    # The same places for all bands and targets: their means stay comparable.
    made = [_one(s, block, draws, confidence, seed) for s in flat]
    return np.array(made, dtype=np.float64).reshape(*sums.shape[:-3], 7)


def _one(sums: Floats, block: int | None, draws: int, confidence: float, seed: int) -> list[float]:
    from scipy.stats import norm
    from scipy.stats import t as student

    weighted, weight, positive, count = sums
    total = weight.sum()
    if not total > 0:
        return [np.nan] * 5 + [float(count.sum()), np.nan]
    mean = float(weighted.sum() / total)
    share, n = float(positive.sum() / total), float(count.sum())
    r = weighted - mean * weight
    m = length(r, weight) if block is None else block
    error, freedom = error_of_mean(r, weight, m)
    if not (freedom > 0.5 and np.isfinite(error)):
        return [mean, np.nan, np.nan, np.nan, share, n, float(m)]
    drawn = resampled(r, weight, m, draws, seed)
    spread = drawn.std()
    tail = (1 - confidence) / 2
    wide = float(student.ppf(1 - tail, freedom)) * error
    scale = wide / (norm.ppf(1 - tail) * spread) if spread > 0 else 0.0
    low, high = np.quantile(drawn - drawn.mean(), [tail, 1 - tail]) * scale
    return [mean, error, mean + float(low), mean + float(high), share, n, float(m)]


def error_of_mean(r: Floats, weight: Floats, m: int) -> tuple[float, float]:
    """Standard error of the mean and its degrees of freedom, for blocks of m cells."""
    total = weight.sum()
    one, lost_one = _variance(r, m), _variance(weight, m)
    plain = _ratio(one, total**2 - lost_one)
    if m == 1:
        return float(np.sqrt(plain)), _freedom(weight, 1) - 1
    two, lost_two = _variance(r, 2 * m), _variance(weight, 2 * m)
    wider = _ratio(2 * two - one, total**2 - (2 * lost_two - lost_one))
    # What is correlated with its neighbours the wrong way round gains nothing from them.
    return float(np.sqrt(np.fmax(plain, wider))), _freedom(weight, m) - 1


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else np.nan


def _variance(a: Floats, m: int) -> float:
    """Sum of squares of the block sums, for each of the m x m blocks that hold a cell."""
    return float((block_sums(a, m) ** 2).sum()) / m**2


def block_sums(a: Floats, m: int) -> Floats:
    """Sums over all blocks of m x m cells that meet the field, (y + m - 1, x + m - 1)."""
    s = np.pad(a, ((m, m - 1), (m, m - 1))).cumsum(0).cumsum(1)
    found: Floats = s[m:, m:] - s[:-m, m:] - s[m:, :-m] + s[:-m, :-m]
    return found


def _freedom(weight: Floats, m: int) -> float:
    """Degrees of freedom of the variance: (sum v)^2 / sum k^2 v v', v = weight^2."""
    v = weight**2
    if m == 1:
        return float(v.sum() ** 2 / (v**2).sum())
    shape = [2 * n for n in v.shape]
    pairs = np.fft.irfft2(np.abs(np.fft.rfft2(v, shape)) ** 2, shape)

    def overlap(m: int) -> Floats:
        y, x = ((1.0 - np.minimum(np.arange(n), n - np.arange(n)) / m).clip(0) for n in shape)
        found: Floats = y[:, None] * x
        return found

    kernel = 2 * overlap(2 * m) - overlap(m)
    return float(v.sum() ** 2 / (kernel**2 * pairs).sum())


def length(r: Floats, weight: Floats) -> int:
    """Side of a block in cells, from the autocorrelation range of the residuals."""
    most = max(1, int(np.sqrt(np.count_nonzero(weight)) / PART_OF_SIDE))
    return min(most, RANGES * reach(r, weight))


def reach(r: Floats, weight: Floats) -> int:
    """First distance in cells at which the residuals are no longer correlated."""
    shape = tuple(2 * n for n in r.shape)
    found, pairs = (np.fft.irfft2(np.abs(np.fft.rfft2(a, shape)) ** 2, shape) for a in (r, weight))
    ring = _rings(shape)
    c = np.bincount(ring, found.ravel()) / np.bincount(ring, pairs.ravel()).clip(1e-9)
    c = c[1 : max(2, max(r.shape) // 2)]
    below = c < UNCORRELATED * (r**2).sum() / (weight**2).sum()
    return int(np.argmax(below)) + 1 if below.any() else len(c)


@functools.lru_cache(maxsize=4)
def _rings(shape: tuple[int, ...]) -> np.ndarray:
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    rings: np.ndarray = np.rint(np.hypot(y[:, None], x)).astype(int).ravel()
    return rings


def resampled(r: Floats, weight: Floats, m: int, draws: int, seed: int) -> Floats:
    """Deviations of the mean in `draws` draws of blocks: ratios of sums."""
    s, w = block_sums(r, m).ravel(), block_sums(weight, m).ravel()
    filled = np.flatnonzero(w > 0)
    s, w = s[filled], w[filled]
    # As much weight as the field has, in whole blocks.
    count = max(2, round(float(weight.sum() / w.mean())))
    rng = np.random.default_rng(seed)
    step = max(1, 1_000_000 // count)  # positions held at a time
    made = []
    for start in range(0, draws, step):
        at = rng.integers(0, len(s), (min(step, draws - start), count))
        made.append(s[at].sum(1) / w[at].sum(1))
    return np.concatenate(made)
