"""score(x, of) -> one number per sample and target, counted, batched and differentiable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from xrxai.errors import ModelError
from xrxai.tensors.run import Runner, batches


class Score:
    """The scores of the chosen targets, for samples that descend from known ones.

    A perturbed sample is scored with the pixels of the sample it comes from: `of` (n,) says
    which. `weight` (samples, y, x) is 1 on valid pixels inside the region; `gate`
    (samples, target, y, x) holds the frozen classes once `clean` has seen the samples.
    """

    def __init__(
        self,
        runner: Runner,
        targets: list[int],
        n_samples: int,
        weight: Tensor | None = None,
        tick: Callable[[int], object] | None = None,
    ) -> None:
        self.runner = runner
        self.targets = targets
        self.n_samples = n_samples
        self.weight = weight
        self.rows = 0
        self.pixels: Tensor | None = None
        self._gate: Tensor | None = None
        self._tick = tick

    @property
    def n_targets(self) -> int:
        """Number of targets asked for."""
        return len(self.targets)

    @property
    def evaluations(self) -> Tensor:
        """Evaluations of the model that each sample cost."""
        return torch.full((self.n_samples,), self.rows // max(1, self.n_samples))

    def batch(self, x: Tensor) -> int:
        """Rows shaped like those of x that go through the model at once."""
        return self.runner.batch(x)

    def __call__(self, x: Tensor, of: Tensor, clean: bool = False) -> Tensor:
        """x (n, band[, y, x]), of (n,) -> (n, target); `clean` notes the frozen classes."""
        out = self.runner.forward(x)
        self.rows += x.shape[0]
        if self._tick is not None:
            self._tick(x.shape[0])
        if self.runner.model.gives == "vector":
            return out[:, self.targets]
        return self._reduced(out, of, clean)

    def clean(self, x: Tensor) -> Tensor:
        """Scores (n, target) of the samples themselves."""
        return self.plain(x, clean=True)

    def plain(self, x: Tensor, clean: bool = False) -> Tensor:
        """Scores (n, target) of one variant per sample, batched, without gradients."""
        # Not inference_mode: what a model caches there could never be differentiated again.
        with torch.no_grad():
            rows = batches(x.shape[0], self.batch(x), x.device)
            return torch.cat([self(x[i], i, clean) for i in rows])

    def _reduced(self, out: Tensor, of: Tensor, clean: bool) -> Tensor:
        """Sum a map (n, all targets, y, x) into scores (n, target)."""
        weight = torch.ones_like(out[:, 0]) if self.weight is None else self.weight[of]
        won = torch.nn.functional.one_hot(out.detach().argmax(1), out.shape[1])
        won = won.permute(0, 3, 1, 2)[:, self.targets] * weight[:, None]
        if clean:
            self._note(won, of)
        reduction = self.runner.model.reduction
        chosen = out[:, self.targets]
        if reduction == "area":
            return (chosen * weight[:, None]).sum((2, 3))
        if reduction == "argmax" or clean:
            return (chosen * won).sum((2, 3))
        if self._gate is None:
            raise AssertionError("score.clean(x) notes the frozen classes first")
        return (chosen * self._gate[of].to(chosen.dtype)).sum((2, 3))

    def _note(self, won: Tensor, of: Tensor) -> None:
        if self._gate is None:
            shape = (self.n_samples, *won.shape[1:])
            self._gate = torch.zeros(shape, dtype=torch.bool, device=won.device)
            self.pixels = torch.zeros((self.n_samples, won.shape[1]), dtype=torch.int64)
        self._gate[of] = won > 0
        if self.pixels is not None:
            self.pixels[of.cpu()] = (won > 0).sum((2, 3)).cpu()


def followed(
    score: Score, x: Tensor, of: Tensor, clean: bool = False
) -> tuple[Tensor, Callable[[int], Tensor]]:
    """x (n, *f) -> scores (n, target), and a call that gives the gradient of one target (n, *f).

    Ask the targets in order, and drop each gradient before the next: it is as large as the batch.
    The call for the last one frees the graph.
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        s = score(x, of, clean)
    if not s.requires_grad:
        raise ModelError(
            f"The model {score.runner.model.label} gives no gradient: its answer is cut off from "
            f"its input (argmax, rounding, numpy or torch.no_grad inside). Let gradients through, "
            f"or use lime_spectral, lime_spatial or an occlusion method."
        )

    def slope(k: int) -> Tensor:
        # Summing over the batch costs one product for all samples: they do not mix.
        keep = k + 1 < s.shape[1]
        (g,) = torch.autograd.grad(s[:, k].sum(), x, retain_graph=keep, materialize_grads=True)
        return g

    return s.detach(), slope


def _finite(score: Score, g: Tensor) -> Tensor:
    """Refuse a gradient that is not finite."""
    # A sum is finite when its terms are, and costs no copy of them; it can overflow, too.
    if not bool(torch.isfinite(g.sum())) and not bool(torch.isfinite(g).all()):
        raise ModelError(
            f"The gradient of {score.runner.model.label} is not finite; a square root, norm or "
            f"log of zero inside the model does this: add a small constant there."
        )
    return g


def gradient(score: Score, x: Tensor, of: Tensor, clean: bool = False) -> tuple[Tensor, Tensor]:
    """x (n, *f) -> scores (n, target), gradients (n, target, *f): one forward, K products."""
    s, slope = followed(score, x, of, clean)
    return s, torch.stack([_finite(score, slope(k)) for k in range(s.shape[1])], dim=1)


def gradients(score: Score, x: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (n, target) and gradients (n, target, *f) at the samples themselves."""
    out = torch.empty((x.shape[0], score.n_targets), dtype=x.dtype, device=x.device)
    slopes = torch.empty(
        (x.shape[0], score.n_targets, *x.shape[1:]), dtype=x.dtype, device=x.device
    )
    for i in batches(x.shape[0], score.batch(x), x.device):
        out[i], slope = followed(score, x[i], i, clean=True)
        for k in range(score.n_targets):
            slopes[i, k] = _finite(score, slope(k))
    return out, slopes


def mean_gradient(
    score: Score, start: Tensor, end: Tensor, nodes: np.ndarray, weights: np.ndarray
) -> Tensor:
    """Weighted mean of the gradient at `nodes` of the way: (n, target, *f)."""
    n, m = end.shape[0], len(nodes)
    total = end.new_zeros((n, score.n_targets, *end.shape[1:]))
    at = torch.as_tensor(nodes, dtype=end.dtype, device=end.device)
    share = torch.as_tensor(weights, dtype=end.dtype, device=end.device)
    batch = score.batch(end)
    for i in batches(n, batch // m, end.device):
        for j in batches(m, batch // len(i), end.device):
            _collect(score, total, start, end, i, at[j], share[j])
    return total


def _collect(
    score: Score, total: Tensor, start: Tensor, end: Tensor, i: Tensor, at: Tensor, share: Tensor
) -> None:
    """Add the weighted gradients of samples i at some nodes; leaves nothing else behind."""
    rows = slice(int(i[0]), int(i[-1]) + 1)  # views where an index would copy
    step = at.view(1, -1, *[1] * (end.ndim - 1))
    way = torch.lerp(start[rows].unsqueeze(1), end[rows].unsqueeze(1), step).flatten(0, 1)
    _, slope = followed(score, way, i.repeat_interleave(len(at)))
    weight = share.expand(len(i), 1, -1)
    for k in range(score.n_targets):
        part = total[rows, k].flatten(1)
        part.unsqueeze(1).baddbmm_(weight, slope(k).reshape(len(i), len(at), -1))
        _finite(score, part)
