"""score(x, of) -> one number per sample and target, counted, batched and differentiable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from xrxai.errors import ModelError
from xrxai.tensors.known import recall
from xrxai.tensors.run import Runner, batches


class Score:
    """The scores of the chosen targets, for samples that descend from known ones.

    A perturbed sample is scored with the pixels of the sample it comes from: `of` (n,) says
    which. `weight` (samples, y, x) is 1 on valid pixels inside the region; `gate`
    (samples, target, y, x) holds the frozen classes once `clean` has seen the samples.

    In a tile with a halo, scores are those of the whole window, so that gradients are those of
    the scene; `core` (y, x) bool is what the tile stands for: `inside` holds the scores of the
    core alone, of the samples ("prediction") and of where their ways start
    ("baseline_prediction"), which add up over tiles.
    """

    def __init__(
        self,
        runner: Runner,
        targets: list[int],
        n_samples: int,
        weight: Tensor | None = None,
        tick: Callable[[int], object] | None = None,
        core: Tensor | None = None,
    ) -> None:
        self.core = core
        self.inside: dict[str, Tensor] = {}
        self._last: Tensor | None = None
        self.runner = runner
        self.targets = targets
        self.n_samples = n_samples
        self.weight = weight
        self.pixels: Tensor | None = None
        self._gate: Tensor | None = None
        self._tick = tick
        self._parent: tuple[Score, Tensor] | None = None
        self._spent = torch.zeros(n_samples, dtype=torch.int64, device=runner.device)
        self._one = torch.ones(1, dtype=torch.int64, device=runner.device)

    @property
    def n_targets(self) -> int:
        """Number of targets asked for."""
        return len(self.targets)

    @property
    def evaluations(self) -> Tensor:
        """Evaluations of the model that each sample cost: (samples,)."""
        return self._spent

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the scores: sums over a map need more than the map itself."""
        wide = self.runner.model.gives == "map" and self.runner.device.type != "mps"
        return torch.float64 if wide else self.runner.dtype

    def batch(self, x: Tensor, gradient: bool = False) -> int:
        """Rows shaped like those of x that go through the model at once."""
        return self.runner.batch(x, gradient)

    def __call__(self, x: Tensor, of: Tensor, clean: bool = False) -> Tensor:
        """x (n, band[, y, x]), of (n,) -> (n, target); `clean` notes the frozen classes."""
        if self._parent is not None:
            parent, made_of = self._parent
            return parent(x, made_of[of])
        out = self._asked(x, of)
        if self.runner.model.gives == "vector":
            return out[:, self.targets]
        return self._reduced(out, of, clean)

    def _asked(self, x: Tensor, of: Tensor) -> Tensor:
        """Answers of the model, all targets of them, counted."""
        out = self.runner.forward(x)
        self._spent.index_add_(0, of, self._one.expand(len(of)))
        if self._tick is not None:
            self._tick(x.shape[0])
        return out

    def descend(self, of: Tensor) -> Score:
        """Let a kernel take samples for its own that were made of the samples `of` (n,).

        They keep the frozen classes of those they were made of, and are counted with them.
        """
        made = Score(self.runner, self.targets, len(of))
        made._parent = (self, of)
        return made

    def clean(self, x: Tensor) -> Tensor:
        """Scores (n, target) of the samples themselves."""

        def asked() -> tuple[Tensor, Tensor | None, Tensor | None, dict[str, Tensor]]:
            return self.plain(x, clean=True), self._gate, self.pixels, dict(self.inside)

        s, self._gate, self.pixels, inside = recall(self, "clean", x, (self.weight,), asked)
        self.inside |= inside
        return s

    def plain(self, x: Tensor, clean: bool = False) -> Tensor:
        """Scores (n, target) of one variant per sample, batched, without gradients."""
        # Not inference_mode: what a model caches there could never be differentiated again.
        with torch.no_grad():
            rows = batches(x.shape[0], self.batch(x), x.device)
            return torch.cat([self(x[i], i, clean) for i in rows])

    def answers(self, x: Tensor, exact: bool = False) -> Tensor:
        """What the model says of the samples, (n, target[, y, x]): a map stays one."""
        self.runner.exact = exact
        try:
            with torch.no_grad():
                rows = batches(x.shape[0], self.batch(x), x.device)
                parts = [self._asked(x[in_a_row(i)], i)[:, self.targets] for i in rows]
        finally:
            self.runner.exact = False
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def exact(self, x: Tensor) -> Tensor:
        """Scores (n, target) of the samples without autocast."""
        self.runner.exact = True
        try:
            return self.plain(x)
        finally:
            self.runner.exact = False

    def reference(self, x: Tensor) -> Tensor:
        """Scores (n, target) of where the ways of the samples start."""
        with torch.no_grad():
            rows = batches(x.shape[0], self.batch(x), x.device)
            return torch.cat([self.start(x[i], i) for i in rows])

    def start(self, x: Tensor, of: Tensor) -> Tensor:
        """The same of a batch of them."""
        besides = tuple(None if t is None else t[of] for t in (self.weight, self._gate))

        def asked() -> tuple[Tensor, Tensor | None]:
            with torch.no_grad():
                return self.begins(x, of), self._last

        s, self._last = recall(self, "start", x, besides, asked)
        if self.core is not None and self._last is not None:
            self._into("baseline_prediction", of, self._last)
        return s

    def begins(self, x: Tensor, of: Tensor, share: Tensor | None = None) -> Tensor:
        """Scores (n, target) of starts of the samples `of`, noted; of several each has a share."""
        s = self(x, of)
        if self.core is not None and self._last is not None:
            whose = of if share is None else of[:: len(share)]
            last = self._last.detach()
            if share is not None:
                each = last.unflatten(0, (-1, len(share)))
                last = torch.einsum("j,njk->nk", share.to(last), each)
            self._into("baseline_prediction", whose, last, add=share is not None)
        return s

    def _into(self, name: str, of: Tensor, values: Tensor, add: bool = False) -> None:
        if name not in self.inside:
            self.inside[name] = values.new_zeros((self.n_samples, values.shape[1]))
        self.inside[name][of] = values + self.inside[name][of] if add else values

    def _reduced(self, out: Tensor, of: Tensor, clean: bool) -> Tensor:
        """Sum a map (n, all targets, y, x) into scores (n, target)."""
        reduction = self.runner.model.reduction
        counted = out[:, self.targets] if len(self.targets) < out.shape[1] else out
        if clean or reduction == "argmax":
            won = self._won(out, of)
            if clean:
                self._note(won, of)
        if reduction == "area":
            counted = counted if self.weight is None else counted * self.weight[of][:, None]
        elif reduction == "argmax" or clean:
            counted = counted * won
        elif self._gate is None:
            raise AssertionError("score.clean(x) notes the frozen classes first")
        else:
            counted = counted * self._gate[of]
        if self.core is not None:
            self._last = _sum(counted.detach() * self.core)
            if clean:
                self._into("prediction", of, self._last)
        return _sum(counted)

    def _won(self, out: Tensor, of: Tensor) -> Tensor:
        """Weight of each pixel for the target that wins it, else 0: (n, target, y, x)."""
        best = out.detach().argmax(1, keepdim=True)
        won = best == torch.tensor(self.targets, device=out.device).view(1, -1, 1, 1)
        weight = torch.ones_like(out[:, 0]) if self.weight is None else self.weight[of]
        return won * weight[:, None]

    def _note(self, won: Tensor, of: Tensor) -> None:
        if self._gate is None:
            shape = (self.n_samples, *won.shape[1:])
            self._gate = torch.zeros(shape, dtype=torch.bool, device=won.device)
            self.pixels = torch.zeros((self.n_samples, won.shape[1]), dtype=torch.int64)
        self._gate[of] = won > 0
        if self.pixels is not None:
            here = won > 0 if self.core is None else (won > 0) & self.core
            self.pixels[of.cpu()] = here.sum((2, 3)).cpu()


def _sum(counted: Tensor) -> Tensor:
    """(n, target, y, x) -> (n, target): effects of a few pixels must not drown in the rest."""
    wide = counted.dtype if counted.device.type == "mps" else torch.float64
    return counted.sum((2, 3), dtype=wide)


def in_a_row(i: Tensor) -> slice:
    """Positions i, each one more than the last, as a slice: a view, where an index would copy."""
    return slice(int(i[0]), int(i[-1]) + 1)


def rows_of(array: Tensor, i: Tensor | slice) -> Tensor:
    """Rows of the samples i, or the one row of all."""
    return array[i] if array.shape[0] > 1 else array


def gradient(
    score: Score,
    x: Tensor,
    of: Tensor,
    clean: bool = False,
    targets: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """x (n, *f) -> scores (n, target), gradients (n, target, *f): one forward, K products.

    `targets` are the positions of those to differentiate, by default all.
    """
    x, s = _followed(score, x, of, clean)
    return s.detach(), slopes(score, s, x, targets)


def own_gradient(score: Score, x: Tensor, of: Tensor, target: Tensor) -> Tensor:
    """x (n, *f), target (n,) -> gradient of each row's own target (n, *f): one product."""
    x, s = _followed(score, x, of, clean=False)
    own = s.gather(1, target[:, None]).sum()
    (g,) = torch.autograd.grad(own, x, materialize_grads=True)
    return _finite(score, g)


def _followed(score: Score, x: Tensor, of: Tensor, clean: bool) -> tuple[Tensor, Tensor]:
    """The input and its scores, tied by a graph."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        s = score(x, of, clean)
    if not s.requires_grad:
        raise ModelError(
            f"The model {score.runner.model.label} gives no gradient: its answer is cut off from "
            f"its input (argmax, rounding, numpy or torch.no_grad inside). Let gradients through, "
            f"or use lime_spectral, lime_spatial or an occlusion method."
        )
    return x, s


def slopes(score: Score, s: Tensor, at: Tensor, targets: Sequence[int] | None = None) -> Tensor:
    """Scores s (n, target) that depend on `at` (n, *f) -> gradients (n, target, *f)."""
    each = _one_by_one(score, s, at, targets)
    return torch.stack([_finite(score, g) for g in each], dim=1)


def _one_by_one(
    score: Score, s: Tensor, at: Tensor, targets: Sequence[int] | None = None
) -> Iterator[Tensor]:
    """Gradient of one target after the other: each is as large as the batch, so drop it first."""
    chosen = range(s.shape[1]) if targets is None else targets
    for done, k in enumerate(chosen, start=1):
        # Summing over the batch costs one product for all samples: they do not mix.
        keep = done < len(chosen)
        own = s[:, k].sum()
        yield torch.autograd.grad(own, at, retain_graph=keep, materialize_grads=True)[0]


def _finite(score: Score, g: Tensor) -> Tensor:
    """Refuse a gradient that is not finite."""
    # A sum is finite when its terms are, and costs no copy of them; it can overflow, too.
    if not bool(torch.isfinite(g.sum())) and not bool(torch.isfinite(g).all()):
        raise ModelError(
            f"The gradient of {score.runner.model.label} is not finite; a square root, norm or "
            f"log of zero inside the model does this: add a small constant there."
        )
    return g


def gradients(score: Score, x: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (n, target) and gradients (n, target, *f) at the samples themselves."""
    out = torch.empty((x.shape[0], score.n_targets), dtype=score.dtype, device=x.device)
    slopes = x.new_empty((x.shape[0], score.n_targets, *x.shape[1:]))
    for i in batches(x.shape[0], score.batch(x, gradient=True), x.device):
        rows = in_a_row(i)
        at, s = _followed(score, x[rows], i, clean=True)
        out[rows] = s.detach()
        each = _one_by_one(score, s, at)
        for k in range(score.n_targets):
            slopes[rows, k] = _finite(score, next(each))
    return out, slopes


def each_gradient(score: Score, x: Tensor) -> Iterator[Tensor]:
    """Gradient (n, *f) at the samples of one target after the other.

    The next one is made when it is asked for: who drops what came holds one at a time. It may be
    one number seen many times, or a buffer of the model: not to be changed.
    """
    parts = []
    for i in batches(x.shape[0], score.batch(x, gradient=True), x.device):
        at, s = _followed(score, x[in_a_row(i)], i, clean=False)
        parts.append(_one_by_one(score, s, at))
    for _ in range(score.n_targets):
        if len(parts) == 1:
            yield _finite(score, next(parts[0]))
        else:
            yield torch.cat([_finite(score, next(each)) for each in parts])


def mean_gradient(
    score: Score, start: Tensor, end: Tensor, nodes: np.ndarray, weights: np.ndarray
) -> Tensor:
    """Weighted mean of the gradient at `nodes` of the way: (n, target, *f)."""
    total = end.new_zeros((end.shape[0], score.n_targets, *end.shape[1:]))
    for i in batches(end.shape[0], score.batch(end, gradient=True) // len(nodes), end.device):
        into = total[int(i[0]) : int(i[-1]) + 1]
        gradient_along(score, start, end, i, nodes, weights, into=into)
    return total


def gradient_along(
    score: Score,
    start: Tensor,
    end: Tensor,
    samples: Tensor,
    nodes: np.ndarray,
    weights: np.ndarray,
    targets: Sequence[int] | None = None,
    into: Tensor | None = None,
) -> Tensor:
    """Weighted sum of the gradients of some samples (i,) on their way: (i, target, *f).

    `samples` ascend. The sum is added to `into` where that is given. One batch is held, whatever
    the nodes and targets.
    """
    at = torch.as_tensor(nodes, dtype=end.dtype, device=end.device)
    share = torch.as_tensor(weights, dtype=end.dtype, device=end.device)
    n = len(samples)
    run = in_a_row(samples)
    rows = run if run.stop - run.start == n else samples
    here, there = start[rows], end[rows]
    n_targets = score.n_targets if targets is None else len(targets)
    total = end.new_zeros((n, n_targets, *end.shape[1:])) if into is None else into
    room = end.new_empty(0)
    for j in batches(len(nodes), score.batch(end, gradient=True) // n, end.device):
        step = at[j].view(1, -1, *[1] * (end.ndim - 1))
        shape = (n, len(j), *end.shape[1:])
        if room.shape != shape:  # else the pages of the last points do again
            room = end.new_empty(shape)
        way = torch.lerp(here.unsqueeze(1), there.unsqueeze(1), step, out=room).flatten(0, 1)
        way, s = _followed(score, way, samples.repeat_interleave(len(j)), clean=False)
        weight = share[j].expand(n, 1, -1)
        each = _one_by_one(score, s, way, targets)
        for k in range(n_targets):  # enumerate would hold a gradient while the next is made
            part = total[:, k].flatten(1)
            part.unsqueeze(1).baddbmm_(weight, next(each).reshape(n, len(j), -1))
            _finite(score, part)
    return total
