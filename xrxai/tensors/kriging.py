"""Kriging of scores between on/off patterns: the line of all patterns, told from a few of them.

A score is a line in the pattern, and what sets of two, three and more groups do together: a part
that all sets of a size share, as in the bend of a sum, and one of their own. That is universal
kriging (Cressie 1993) with a line as its drift, on the corners of a cube (Kondor & Lafferty 2002).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy import linalg, special
from torch import Tensor

from xrxai.patterns import proximity
from xrxai.tensors.run import batches
from xrxai.tensors.score import in_a_row

# Sets of k groups have a variance of about REACH**k / k! together, and so many times COMMON is what
# they share. With less reach intervals cover too little, and the error hangs on it little; without
# COMMON bends of a sum are told worse than by ridge (tests/test_kriging.py, benchmarks.precision).
REACH, COMMON = 3.0, 0.1
_MOST = 0.5  # of a set to a set with a group less, where there are few groups
_NUGGET = 1e-8  # patterns can come twice
_VALUES = 2**22


class Weights(NamedTuple):
    """What makes the line of all patterns from scores of some.

    Attributes
    ----------
    line : Tensor (g, m)
        Scores to coefficients.
    rest : Tensor (m, m)
        Scores to what no line explains, with unit variance each.
    error : Tensor (g,)
        Standard error of a coefficient for each unit of that.
    freedom : int
        How many of the scores a line leaves free.
    """

    line: Tensor
    rest: Tensor
    error: Tensor
    freedom: int


def fit(
    y: Tensor, on: np.ndarray, width: float | None, level: float = 0.95
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coefficients, errors and ends of intervals (n, target, g) of scores y (n, m, target).

    The interval is that of the posterior, Student's as its scale is estimated from the residuals.
    """
    (m, g), (n, _, k) = on.shape, y.shape
    told = _weights(np.packbits(on).tobytes(), m, g, width)
    line, rest, each = (t.to(y.device) for t in told[:3])
    reach = float(special.stdtrit(max(told.freedom, 1), 0.5 + level / 2))
    slope, error = y.new_empty((2, n, k, g), dtype=torch.float64)
    for i in batches(n, _VALUES // (m * k), y.device):
        at = in_a_row(i)
        flat = y[at].transpose(0, 1).to(torch.float64).reshape(m, -1)
        flat = flat - flat.mean(0)  # of no account but for rounding
        slope[at] = (line @ flat).view(g, -1, k).permute(1, 2, 0)
        spread = (rest @ flat).square().sum(0).div_(max(told.freedom, 1)).sqrt_()
        error[at] = spread.view(-1, k)[..., None] * each
    if told.freedom < 1:
        error.fill_(torch.nan)
    return slope, error, slope - error * reach, slope + error * reach


@lru_cache(maxsize=2)
def _weights(bits: bytes, m: int, g: int, width: float | None) -> Weights:
    """Weights for patterns (m, g), which come as bits."""
    on = np.unpackbits(np.frombuffer(bits, np.uint8), count=m * g).reshape(m, g).astype(bool)
    like = _likeness(g)
    inside, outside, alone = _towards(g, width)
    size, shared = on.sum(1), _shared(g)
    apart = size[:, None] + size - 2 * (on.astype(float) @ on.T)
    kernel = like[apart.round().astype(int)] + shared[size] @ shared[size].T
    kernel[range(m), range(m)] += _NUGGET
    towards = np.where(on, inside[size][:, None], outside[size][:, None])  # (m, g)
    drift = np.column_stack([np.ones(m), on])
    low = linalg.cholesky(kernel, lower=True)
    white, seen = (linalg.solve_triangular(low, v, lower=True) for v in (drift, towards))
    # Residuals are free of the drift: an orthonormal basis of it, as far as patterns tell it.
    basis, spread, turn = linalg.svd(white, full_matrices=False)
    known = spread > 1e-9 * spread[0]
    basis, invert = basis[:, known], (turn[known].T / spread[known]) @ basis[:, known].T
    one = np.eye(g + 1)[:, 1:]
    missing = one - white.T @ seen  # (1 + g, g)
    unwhite = linalg.solve_triangular(low, np.eye(m), lower=True)
    line = (seen.T + missing.T @ invert) @ unwhite
    variance = alone - (seen**2).sum(0) + ((invert.T @ missing) ** 2).sum(0)
    if not known.all():
        variance[:] = np.nan
    rest = unwhite - basis @ (basis.T @ unwhite)
    freedom = m - int(known.sum())
    error = torch.as_tensor(np.sqrt(variance.clip(min=0)))
    return Weights(torch.as_tensor(line), torch.as_tensor(rest), error, freedom)


def _likeness(g: int) -> np.ndarray:
    """Covariance of two patterns by how many groups differ, (g + 1,), 1 for none.

    A product over groups of ``1 + r s t``, s and t = +-1, without its constant and its line.
    """
    r = _decay(g)
    apart = np.arange(g + 1)
    found = (1 + r) ** (g - apart) * (1 - r) ** apart - 1 - r * (g - 2 * apart)
    made: np.ndarray = found / _whole(g)
    return made


def _shared(g: int) -> np.ndarray:
    """What all sets of a size say to patterns by their size, (g + 1, sizes from 2).

    Sums of products of k of the signs +-1: what z**k has in ``(1 + z)**n (1 - z)**(g - n)``.
    """
    root = np.sqrt(_decay(g))
    found = np.zeros((g + 1, g + 1))
    found[0, 0] = 1.0
    for grown in range(g):  # a group more: on above, off in all rows that were there
        last = found[grown].copy()
        found[: grown + 1, 1:] -= root * found[: grown + 1, :-1]
        found[grown + 1] = last
        found[grown + 1, 1:] += root * last[:-1]
    made: np.ndarray = found[:, 2:] * float(np.sqrt(COMMON / _whole(g)))
    return made


def _decay(g: int) -> float:
    return min(REACH / g, _MOST)


def _whole(g: int) -> float:
    r = _decay(g)
    return max(float((1 + r) ** g - 1 - r * g), 1e-12)


@lru_cache(maxsize=8)
def _towards(g: int, width: float | None) -> tuple[np.ndarray, np.ndarray, float]:
    """Covariance of a pattern with the coefficients that all patterns give, by its size (g + 1,).

    Of a group that it has, and of one that it has not; and the variance of such a coefficient.
    All patterns of a size weigh alike, so sums over 2**g of them are sums over sizes.
    """
    size = np.arange(g + 1)
    steps = np.tril(np.ones((g + 1, g)), -1).astype(bool)  # one pattern of each size
    log_weight = np.log(proximity(steps, width).clip(min=1e-300))
    log_weight -= special.logsumexp(_log_choose(g, size) + log_weight)
    share = np.exp(_log_choose(g, size) + log_weight)
    # Weighted least squares: all groups have one mean, one variance and one covariance.
    mean = share @ size / g
    variance = mean - mean**2
    covariance = share @ (size * (size - 1)) / max(g * (g - 1), 1) - mean**2
    own = variance - covariance if g > 1 else variance
    common = covariance / (variance + (g - 1) * covariance) if g > 1 else 0.0

    def slope(with_it: np.ndarray, all_of_it: np.ndarray, by_size: np.ndarray) -> np.ndarray:
        """Coefficient of what sums over patterns, over those with a group, and by size give."""
        centred = by_size - g * mean * all_of_it
        out: np.ndarray = (with_it - mean * all_of_it - common * centred) / own
        return out

    like = _likeness(g)
    total, weighted, kept, added = np.zeros((4, g + 1))
    for k in range(g + 1):
        a, b = np.arange(k + 1)[:, None], np.arange(g - k + 1)
        log_ways = _log_choose(k, a) + _log_choose(g - k, b) + log_weight[a + b]
        each = np.exp(log_ways) * like[k - a + b]
        total[k], weighted[k] = each.sum(), (each * (a + b)).sum()
        kept[k] = (each * a).sum() / max(k, 1)
        added[k] = (each * b).sum() / max(g - k, 1)
    part = size / g
    shared = _shared(g)
    slopes = slope(share * part @ shared, share @ shared, share * size @ shared)
    inside, outside = (slope(each, total, weighted) + shared @ slopes for each in (kept, added))
    both = part * inside + (1 - part) * outside
    alone = slope(share @ (part * inside), share @ both, share @ (size * both))
    return inside, outside, float(alone)


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    found: np.ndarray = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return found
