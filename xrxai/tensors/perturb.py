"""Scores of perturbed samples: on/off patterns over features, in batches that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from xrxai import patterns
from xrxai.errors import ModelError
from xrxai.tensors import stem, sums, worth
from xrxai.tensors.fill import Fill, fills, off_manifold, with_always
from xrxai.tensors.masked import Cut, Switched, Window, as_slice, spans
from xrxai.tensors.means import (
    mean_over_blocks,
    mean_over_boxes,
    mean_over_windows,
    mean_under_masks,
)
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, rows_of

__all__ = [
    "Fill",
    "each_band",
    "evaluate",
    "fade",
    "fills",
    "given",
    "mean_over_blocks",
    "mean_over_boxes",
    "mean_over_windows",
    "mean_under_masks",
    "occlude_bands",
    "occlude_blocks",
    "occlude_boxes",
    "off_manifold",
    "present",
    "sweep",
    "with_always",
]

_HELD = 2**20  # scores


def evaluate(
    score: Score,
    x: Tensor,
    baseline: Tensor | Fill,
    on: np.ndarray,
    part: Tensor,
    among: Tensor | None = None,
) -> Tensor:
    """Score every sample, or those `among` them, under every pattern: (n, m, target).

    x (n, *f), baseline (n or 1, *f broadcastable) or a `Fill`; on and part as in `Switched`.
    Patterns that are equal are evaluated once.
    """
    if among is not None and len(among) < len(x):
        fill = baseline.rows(among) if isinstance(baseline, Fill) else rows_of(baseline, among)
        return evaluate(score.descend(among), x[among], fill, on, rows_of(part, among))
    some, back = patterns.distinct(on)
    out = _Scored(score, x, _switched(x, baseline, some, part), slice(0, len(x))).run()
    return out if len(some) == len(on) else out[:, torch.as_tensor(back, device=x.device)]


def sweep(
    score: Score, x: Tensor, baseline: Tensor | Fill, on: np.ndarray, part: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score some samples at a time under every pattern: positions i, scores (i, m, target).

    What can be reduced over the patterns never needs the scores of all samples.
    """
    some, back = patterns.distinct(on)
    made, again = _switched(x, baseline, some, part), torch.as_tensor(back, device=x.device)
    # As many as fill whole batches of the model.
    full = max(1, score.batch(x) // len(some))
    held = max(1, _HELD // (len(on) * score.n_targets) // full) * full
    for i in batches(len(x), held, x.device):
        out = _Scored(score, x, made, slice(int(i[0]), int(i[-1]) + 1)).run()
        yield i, out if len(some) == len(on) else out[:, again]


def _switched(x: Tensor, baseline: Tensor | Fill, on: np.ndarray, part: Tensor) -> Switched:
    fill = baseline if isinstance(baseline, Fill) else Fill(baseline)
    return Switched(x, fill, on, part)


def present(part: Tensor, n_groups: int) -> Tensor:
    """Which groups a sample has at all: (n or 1, g) bool."""
    flat = part.flatten(1)
    return torch.stack([(flat == g).any(1) for g in range(1, n_groups + 1)], dim=1)


def occlude_bands(score: Score, x: Tensor, baseline: Tensor | Fill, inside: np.ndarray) -> Tensor:
    """Score every sample without each window of bands: inside (w, band) -> (n, w, target)."""
    if isinstance(baseline, Fill):
        if baseline.rule is not None:
            return evaluate(score, x, baseline, ~inside, each_band(x))
        baseline = baseline.baseline
    return _occlude(score, x, baseline, [(as_slice(row, x),) for row in inside])


def each_band(x: Tensor) -> Tensor:
    """Every band as a group of its own, as a part for `evaluate`."""
    return torch.arange(1, x.shape[1] + 1, device=x.device).view(1, -1, *[1] * (x.ndim - 2))


def occlude_boxes(score: Score, x: Tensor, baseline: Tensor, boxes: np.ndarray) -> Tensor:
    """Score every sample without each box (row start, stop, column start, stop): (n, w, target)."""
    every = slice(None)
    return _occlude(
        score, x, baseline, [(every, slice(a, b), slice(c, d)) for a, b, c, d in boxes.tolist()]
    )


def occlude_blocks(
    score: Score, x: Tensor, baseline: Tensor, inside: np.ndarray, boxes: np.ndarray
) -> Tensor:
    """Score without each window of bands inside each box: (n, w * v, target), boxes fastest."""
    blocks: list[Window] = [
        (bands, slice(a, b), slice(c, d))
        for bands in [as_slice(row, x) for row in inside]
        for a, b, c, d in boxes.tolist()
    ]
    return _occlude(score, x, baseline, blocks)


def _occlude(score: Score, x: Tensor, baseline: Tensor, windows: list[Window]) -> Tensor:
    shared = score.runner.model.arrays == "numpy"
    return _Scored(score, x, Cut(x, baseline, windows, shared), slice(0, len(x))).run()


class _Scored:
    """Scores `out` (i, m, target) of some samples under all patterns."""

    def __init__(self, score: Score, x: Tensor, made: Switched | Cut, samples: slice) -> None:
        self.score, self.x, self.made, self.start = score, x, made, samples.start
        n, m = samples.stop - samples.start, made.n_patterns
        self.out = torch.empty((n, m, score.n_targets), dtype=score.dtype, device=x.device)
        self.batch, self.wide = score.batch(x), True
        self.said: Tensor | None = None  # by the first layer, to the first row
        # Which sample each row of a batch is made of, counted from its first.
        self.shape, self.of = (0, 0), torch.empty(0)
        # One buffer: the pages of large temporaries cost up to 40 % of a network's time.
        self.room = x.new_empty((min(n * m, self.batch), *x.shape[1:]))

    def run(self) -> Tensor:
        """All of them, by the linear stem where that saves work."""
        n, m = self.out.shape[:2]
        runner = self.score.runner
        todo = [(slice(0, n), slice(0, m))]
        with torch.no_grad():
            if runner.stem is None:
                reason = stem.refusal(runner) or worth.refusal(self.x, self.made)
                if reason:
                    stem.say(runner, stem.Nothing(reason, expected=True))
                elif n:
                    what, self.said = stem.found(runner, self._first)
                    stem.say(runner, what)
                    todo = [(slice(0, 1), slice(1, m)), (slice(1, n), slice(0, m))]
            if isinstance(runner.stem, stem.Layer):
                todo = self._by_stem(todo)
            for rows, columns in todo:
                self._full(rows, columns)
        return self.out

    def _first(self) -> None:
        one = slice(0, 1)
        self.made.begin()
        self.made.write(self.room[:1].unsqueeze(0), _moved(one, self.start), one)
        self._score(self.room[:1], one, one)

    def _full(self, rows: slice, columns: slice) -> None:
        self.made.begin()
        n, m = rows.stop - rows.start, columns.stop - columns.start
        for r, c in spans(n, m, self.batch, self.made):
            rs, j = _moved(r, rows.start), _moved(c, columns.start)
            i = _moved(rs, self.start)
            z = self.room[: (r.stop - r.start) * (c.stop - c.start)]
            block = z.view(r.stop - r.start, c.stop - c.start, *self.x.shape[1:])
            self.made.write(block, i, j)
            self._score(z, rs, j)
            self.made.restore(block, i, j)

    def _score(self, z: Tensor, rows: slice, j: slice) -> None:
        count, times = rows.stop - rows.start, j.stop - j.start
        if self.shape != (count, times):
            self.shape = (count, times)
            self.of = torch.arange(count, device=z.device).repeat_interleave(times)
        of = self.of + (self.start + rows.start)
        self.out[rows, j] = self.score(z, of).view(-1, times, self.out.shape[2])

    def _by_stem(self, todo: list[tuple[slice, slice]]) -> list[tuple[slice, slice]]:
        """Do what can be done, and say what is left."""
        runner, layer, made = self.score.runner, self.score.runner.stem, self.made
        in_place = runner.model.resize is None
        size = worth.samples_at_once(made, self.batch)
        for k, (rows, columns) in enumerate(todo):
            for part in worth.chunks(rows.stop - rows.start, size):
                here = _moved(part, rows.start)
                said = None if here.start else self.said
                place = sums.Place(runner, layer, _moved(here, self.start), self.room, said)
                try:
                    self._summed(worth.table(place, made, in_place), here, columns, layer)
                except sums.NotLinearError as error:
                    stem.say(runner, stem.Nothing(str(error), str(error) == sums.LITTLE))
                    return [(slice(here.start, rows.stop), columns), *todo[k + 1 :]]
        return []

    def _summed(self, table: sums.Table, rows: slice, columns: slice, layer: stem.Layer) -> None:
        # Whatever else looks at the input shows itself.
        nothing = self.room.fill_(torch.nan)
        n, m = rows.stop - rows.start, columns.stop - columns.start
        # Where the layer sees the input as it is, one row of it does for all: what counts is how
        # large the layer's answers are.
        batch = max(self.batch, min(m, table.batch)) if self.wide else self.batch
        if batch > len(nothing):
            nothing = nothing[:1].expand(batch, *nothing.shape[1:])
        wide = max(1, min(m, batch))
        high = max(1, batch // wide)
        for r in worth.chunks(n, high):
            for c in worth.chunks(m, wide):
                j = _moved(c, columns.start)
                runner = self.score.runner
                answer = runner.laid_out(table.answer(r, j))
                with stem.standing_in(layer, answer), runner.as_it_is():
                    try:
                        self._score(nothing[: len(answer)], _moved(r, rows.start), j)
                    except ModelError as error:
                        missing = error.__cause__ is None  # not-a-number, and no error within
                        if batch > self.batch and not missing:  # it may write into its input
                            self.wide = False
                            self._summed(table, rows, columns, layer)
                            return
                        raise sums.NotLinearError(
                            "the input is used twice" if missing else "it fails without its input"
                        ) from error


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def fade(
    score: Score, x: Tensor, baseline: Tensor, mask: Callable[[int], np.ndarray], m: int
) -> Tensor:
    """Score every sample under m soft masks (y, x), 1 = kept, 0 = baseline: (n, m, target)."""
    n = x.shape[0]
    start = baseline.expand_as(x)
    out = torch.empty((n, m, score.n_targets), dtype=score.dtype, device=x.device)
    batch = score.batch(x)
    room = x.new_empty((min(n * m, batch), *x.shape[1:]))
    with torch.no_grad():
        for i in batches(n, batch // m, x.device):
            rows = slice(int(i[0]), int(i[-1]) + 1)
            way = (x[rows] - start[rows]).unsqueeze(1)
            for j in batches(m, batch // len(i), x.device):
                share = torch.as_tensor(np.stack([mask(k) for k in j.tolist()])).to(x)
                z = room[: len(i) * len(j)]
                block = z.view(len(i), len(j), *x.shape[1:])
                torch.mul(share[None, :, None], way, out=block).add_(start[rows].unsqueeze(1))
                s = score(z, i.repeat_interleave(len(j)))
                out[rows, int(j[0]) : int(j[-1]) + 1] = s.view(len(i), len(j), -1)
    return out


def given(x: Tensor, known: Tensor, donor: np.ndarray) -> Tensor:
    """Values of the donors (n,), where they and the sample itself have data; else its own."""
    giver = torch.tensor(donor, device=x.device)
    return torch.where(known & known[giver], x[giver], x)
