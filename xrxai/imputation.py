"""How removed bands are filled from the kept ones of the same pixel: affine maps per pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np


class Maps(NamedTuple):
    """For each of m patterns, removed = offset + matrix @ spectrum.

    offset (m, band), matrix (m, band, band); `alone` (m,) bool marks patterns that keep
    nothing to fill from, where the baseline stands. Rows of kept bands mean nothing.
    """

    offset: np.ndarray
    matrix: np.ndarray
    alone: np.ndarray


@dataclass(frozen=True, eq=False)
class Interpolated:
    """Linear in wavelength between the nearest kept bands; the nearest one beyond the ends."""

    wavelength: np.ndarray
    good_band: np.ndarray

    def maps(self, kept: np.ndarray) -> Maps:
        """kept (m, band) bool -> the maps of these patterns."""
        m, n = kept.shape
        matrix = np.zeros((m, n, n))
        alone = np.zeros(m, dtype=bool)
        for row, on in enumerate(kept & self.good_band):
            from_, to = np.flatnonzero(on), np.flatnonzero(~on & self.good_band)
            if not from_.size:
                alone[row] = True
                continue
            from_ = from_[np.argsort(self.wavelength[from_], kind="stable")]
            at, known = self.wavelength[to], self.wavelength[from_]
            after = np.searchsorted(known, at)
            low, high = np.clip(after - 1, 0, None), np.clip(after, None, len(known) - 1)
            gap = known[high] - known[low]
            share = np.divide(at - known[low], gap, out=np.zeros(len(to)), where=gap > 0)
            np.add.at(matrix[row], (to, from_[low]), 1 - share)
            np.add.at(matrix[row], (to, from_[high]), share)
        return Maps(np.zeros((m, n)), matrix, alone)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The mean of removed bands given the kept ones, of one normal distribution of spectra.

    mean (band,), covariance (band, band); what stands in bad bands is not read.
    """

    mean: np.ndarray
    covariance: np.ndarray
    good_band: np.ndarray

    def maps(self, kept: np.ndarray) -> Maps:
        """kept (m, band) bool -> the maps of these patterns."""
        m, n = kept.shape
        offset = np.tile(self.mean, (m, 1))
        matrix = np.zeros((m, n, n))
        for row, on in enumerate(kept & self.good_band):
            from_, to = np.flatnonzero(on), np.flatnonzero(~on & self.good_band)
            if not from_.size or not to.size:
                continue
            within = self.covariance[np.ix_(from_, from_)]
            between = self.covariance[np.ix_(from_, to)]
            slope = np.linalg.solve(within, between).T
            matrix[row][np.ix_(to, from_)] = slope
            offset[row, to] -= slope @ self.mean[from_]
        return Maps(offset, matrix, np.zeros(m, dtype=bool))

    def whitening(self) -> np.ndarray:
        """W (band, band) with |W (z - mean)| the Mahalanobis distance over the good bands."""
        good = np.flatnonzero(self.good_band)
        lower = np.linalg.cholesky(self.covariance[np.ix_(good, good)])
        out = np.zeros_like(self.covariance)
        out[np.ix_(good, good)] = np.linalg.inv(lower)
        return out


Rule: TypeAlias = Interpolated | Gaussian
