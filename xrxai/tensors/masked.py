"""Rows of perturbed samples, written into one buffer that every batch of a run uses again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrxai.tensors.fill import Fill, bands_kept, patterns_at_once, with_always

Window = tuple[slice | Tensor, slice, slice] | tuple[slice | Tensor]
"""What is removed: bands, or bands, rows and columns."""


class Switched:
    """Groups of features on or off.

    x (n, *f), on (m, g) bool, part (1 or n, *f broadcastable) int: the group of a feature,
    counted from 1, 0 = always kept. A fill with a rule needs groups of bands, the same in
    every sample.
    """

    patterns_first = True  # maps of a pattern are made once, for all samples

    def __init__(self, x: Tensor, fill: Fill, on: np.ndarray, part: Tensor) -> None:
        self.x, self.fill, self.on, self.part = x, fill, on, part
        self.n_patterns = len(on)
        # All bits or none: exact for every value, and ten times faster than torch.where.
        self._bits = torch.int64 if x.element_size() == 8 else torch.int32
        self._table = -torch.as_tensor(with_always(on), device=x.device).to(self._bits)
        self._black = fill.rule is None and not bool(fill.baseline.any())
        self._of: slice | None = None
        self._mask: Tensor | None = None
        self._maps: list[Tensor] | None = None
        self._between: tuple[slice, Tensor, Tensor] | None = None

    def begin(self) -> None:
        """Nothing is known of the buffer."""

    def at_once(self, batch: int) -> int:
        """Patterns that a batch has at most."""
        return patterns_at_once(self.fill, self.x, batch)

    def write(self, into: Tensor, i: slice, j: slice) -> None:
        """Rows (i, j, *f): the samples i under each of the patterns j."""
        if j != self._of:
            self._of = j
            if self.part.shape[0] == 1:
                self._mask = self._table[j][:, self.part[0]].unsqueeze(0)
            if self.fill.rule is not None:
                self._maps = self.fill.maps(bands_kept(self.on[j], self.part), self.x)
        mask = self._mask
        if mask is None:  # (j, i, *f) -> samples first
            mask = self._table[j][:, self.part[i]].transpose(0, 1)
        bits = into.view(self._bits)
        if self._black:
            torch.bitwise_and(self.x[i].unsqueeze(1).view(self._bits), mask, out=bits)
            return
        apart, away = self._apart(i)
        torch.bitwise_and(apart, mask, out=bits).bitwise_xor_(away)

    def _apart(self, i: slice) -> tuple[Tensor, Tensor]:
        """Bits in which samples differ from what stands in for them, and those of the latter."""
        if self._between is not None and self._between[0] == i and self._maps is None:
            return self._between[1:]
        away = self.fill.stand_in(self.x, i, self._maps).view(self._bits)
        self._between = i, self.x[i].unsqueeze(1).view(self._bits) ^ away, away
        return self._between[1:]

    def restore(self, into: Tensor, i: slice, j: slice) -> None:
        """Nothing: all of the next batch is written anew."""


class Cut:
    """One window after the other removed: only the window is written, and put back."""

    patterns_first = False  # the buffer holds a sample until all its windows are done

    def __init__(self, x: Tensor, baseline: Tensor, windows: list[Window], shared: bool) -> None:
        self.x, self.baseline, self.windows = x, baseline.expand_as(x), windows
        self.n_patterns = len(windows)
        # Writing through numpy leaves no trace on a tensor.
        self._trusted = not shared and not x.is_inference()
        self._holds: slice | None = None
        self._version = 0

    def begin(self) -> None:
        """Nothing is known of the buffer."""
        self._holds = None

    def at_once(self, batch: int) -> int:
        """Patterns that a batch has at most."""
        return batch

    def write(self, into: Tensor, i: slice, j: slice) -> None:
        """Rows (i, j, *f): the samples i without each of the windows j."""
        if self._holds != i:
            into.copy_(self.x[i].unsqueeze(1))
        self._put(into, self.baseline, i, j)
        self._holds = i if self._trusted else None
        self._version = into._version if self._trusted else 0

    def restore(self, into: Tensor, i: slice, j: slice) -> None:
        """Put the samples back where the windows were, unless the model has written there."""
        if self._holds is not None and into._version == self._version:
            self._put(into, self.x, i, j)
        else:
            self._holds = None

    def _put(self, into: Tensor, values: Tensor, i: slice, j: slice) -> None:
        some = values[i]
        for row, window in enumerate(self.windows[j]):
            at = (slice(None), *window)
            into[:, row][at] = some[at]


def as_slice(inside: np.ndarray, like: Tensor) -> slice | Tensor:
    """Bands (band,) bool as a slice where they follow each other, else as positions."""
    found = np.flatnonzero(inside)
    if found.size and found[-1] - found[0] + 1 == found.size:
        return slice(int(found[0]), int(found[-1]) + 1)
    return torch.as_tensor(found, device=like.device)


def spans(n: int, m: int, batch: int, made: Switched | Cut) -> list[tuple[slice, slice]]:
    """Batches of samples and patterns, in the order that costs least."""
    if not n or not m:
        return []
    wide = min(m, max(1, made.at_once(batch)))
    high = min(n, max(1, batch // wide))
    rows = [slice(a, min(a + high, n)) for a in range(0, n, high)]
    columns = [slice(a, min(a + wide, m)) for a in range(0, m, wide)]
    if made.patterns_first:
        return [(i, j) for j in columns for i in rows]
    return [(i, j) for i in rows for j in columns]
