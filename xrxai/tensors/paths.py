"""Integrals of the gradient along ways from absence to the sample, streamed over their steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrxai.tensors import integrate
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, gradient, gradient_along, own_gradient

# How many roundings of a score count as none: a gap below them cannot be closed.
_ROUNDINGS = 64


def adaptive(
    score: Score,
    start: Tensor,
    end: Tensor,
    scores: tuple[Tensor, Tensor],
    tolerance: float,
    max_steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Integrate each sample and target until its sum is the change of its score.

    `scores` (n, target) at start and end -> attribution (n, target, *f), steps (n, target) int,
    converged (n, target) bool.
    """
    change = scores[1] - scores[0]
    least = _ROUNDINGS * torch.finfo(end.dtype).eps * (scores[0].abs() + scores[1].abs())
    enough = tolerance * change.abs() + least
    total = end.new_zeros((end.shape[0], score.n_targets, *end.shape[1:]))
    intervals = torch.full_like(change, integrate.FIRST, dtype=torch.int64)
    converged = torch.zeros_like(change, dtype=torch.bool)
    n = integrate.FIRST
    while n - 1 <= max_steps and not bool(converged.all()):
        nodes, weights = integrate.nested(n)
        left = (~converged).any(1).nonzero()[:, 0]
        for some in batches(len(left), score.batch(end, gradient=True) // len(nodes), end.device):
            i = left[some]
            k = (~converged[i]).any(0).nonzero()[:, 0]
            slope = gradient_along(score, start, end, i, nodes, weights, k.tolist())
            at = i[:, None], k
            # A target that is done keeps the sum at which it was done, whatever its neighbours.
            slope[converged[at]] = 0
            total[at] += slope
            intervals[at] = torch.where(converged[at], intervals[at], n)
            way = (end[i] - start[i]).flatten(1)
            found = torch.einsum("nf,nkf->nk", way, total[at].flatten(2)) / intervals[at]
            converged[at] |= (found - change[at]).abs() <= enough[at]
        n *= 2
    total *= (end - start)[:, None] / intervals.view(*intervals.shape, *[1] * (end.ndim - 1))
    return total, intervals - 1, converged


def expected(
    score: Score,
    x: Tensor,
    background: Tensor,
    known: Tensor,
    draws: tuple[np.ndarray, np.ndarray],
) -> tuple[Tensor, Tensor]:
    """Mean over draws of (x - b) * gradient on the way from b: value, error (n, target, *f).

    background (m, *f broadcastable), known (n or 1, *f broadcastable) bool, draws: row of the
    background (d,) and place on the way (d,).
    """
    rows = torch.as_tensor(draws[0], device=x.device)
    places = torch.as_tensor(draws[1], dtype=x.dtype, device=x.device)
    n, m = x.shape[0], len(rows)
    mean = x.new_zeros((n, score.n_targets, *x.shape[1:]))
    squares = torch.zeros_like(mean)
    batch = score.batch(x, gradient=True)
    for i in batches(n, batch // m, x.device):
        seen = 0
        for j in batches(m, batch // len(i), x.device):
            b = backed(x[i], background[rows[j]], known[i] if len(known) > 1 else known)
            way = x[i].unsqueeze(1) - b
            step = places[j].view(1, -1, *[1] * (x.ndim - 1))
            point = (b + step * way).flatten(0, 1)
            _, slope = gradient(score, point, i.repeat_interleave(len(j)))
            value = way.unsqueeze(2) * slope.view(len(i), len(j), *slope.shape[1:])
            # Means of parts are merged (Chan et al. 1979): sums of squares cancel in float32.
            part = value.mean(1)
            shift = part - mean[i]
            squares[i] += (value - part.unsqueeze(1)).square_().sum(1)
            squares[i] += shift.square() * (seen * len(j) / (seen + len(j)))
            mean[i] += shift * (len(j) / (seen + len(j)))
            seen += len(j)
    return mean, (squares / (m * (m - 1))).sqrt_()


def backed(x: Tensor, background: Tensor, known: Tensor) -> Tensor:
    """Rows of the background (j, *f) as starts for every sample (n, *f): (n, j, *f).

    What is not known in a sample is no part of its way.
    """
    return torch.where(known.unsqueeze(1), background.unsqueeze(0), x.unsqueeze(1))


def background_score(
    score: Score, x: Tensor, background: Tensor, known: Tensor, rows: np.ndarray
) -> Tensor:
    """Mean score (n, target) over the drawn rows of the background."""
    drawn, often = np.unique(rows, return_counts=True)
    at = torch.as_tensor(drawn, device=x.device)
    share = torch.as_tensor(often / len(rows), dtype=score.dtype, device=x.device)
    total = share.new_zeros((x.shape[0], score.n_targets))
    batch = score.batch(x)
    with torch.no_grad():
        for i in batches(x.shape[0], batch // len(at), x.device):
            for j in batches(len(at), batch // len(i), x.device):
                b = backed(x[i], background[at[j]], known[i] if len(known) > 1 else known)
                s = score.begins(b.flatten(0, 1), i.repeat_interleave(len(j)), share[j])
                total[i] += torch.einsum("j,njk->nk", share[j], s.view(len(i), len(j), -1))
    return total


def guided(
    score: Score, start: Tensor, end: Tensor, n_steps: int, fraction: float, distance: float
) -> Tensor:
    """Guided integrated gradients, a way for each sample and target: (n, target, *f)."""
    n, k = end.shape[0], score.n_targets
    out = torch.empty((n * k, *end.shape[1:]), dtype=end.dtype, device=end.device)
    for row in batches(n * k, score.batch(end, gradient=True), end.device):
        of, target = row // k, row % k
        here, way = start[of], end[of] - start[of]
        # The point is told by how far each feature is on its way, from 0 to 1.
        done = torch.zeros_like(way)
        total = torch.zeros_like(way)
        for step in range(n_steps):
            slope = own_gradient(score, here + done * way, of, target)
            moved = _guide(done, way, slope, (step + 1) / n_steps, fraction, distance)
            total += (moved - done) * way * slope
            done = moved
        out[row] = total
    return out.view(n, k, *end.shape[1:])


def _guide(
    done: Tensor, way: Tensor, slope: Tensor, until: float, fraction: float, distance: float
) -> Tensor:
    """Move the features of least gradient until `until` of the length of the way is gone.

    done, way, slope (rows, *f) -> done (rows, *f). Eq. 5 to 7 and algorithm 1 of Kapishnikov
    et al. 2021, for all rows at once.
    """
    shape, done = done.shape, done.flatten(1)
    length = way.flatten(1).abs()
    length = length / length.sum(1, keepdim=True).clamp(min=torch.finfo(length.dtype).tiny)
    low, high = max(until - distance, 0.0), min(until + distance, 1.0)
    done = torch.where(length > 0, done.clamp(min=low), done)
    # A feature that has nowhere to go has no rank: nodata must not change who moves.
    free = (length > 0) & (done < high)
    rank = slope.flatten(1).abs()
    take = ((length > 0).sum(1) - 1).clamp(min=0).double().mul(fraction).long()
    missing = until - (length * done).sum(1, keepdim=True)
    close = 8 * torch.finfo(length.dtype).eps
    while bool((moving := free.any(1, keepdim=True) & (missing > close)).any()):
        chosen = free & (rank <= _ranked(rank.masked_fill_(~free, torch.inf), take)) & moving
        room = length * (high - done) * chosen
        reach = room.sum(1, keepdim=True)
        share = (missing / reach.clamp(min=torch.finfo(length.dtype).tiny)).clamp(max=1.0)
        last = moving & (missing <= reach)
        done = torch.where(chosen, torch.where(last, done + share * (high - done), high), done)
        free &= ~chosen & ~last
        missing = torch.where(last, 0.0, missing - reach)
    return done.view(shape)


def _ranked(rank: Tensor, at: Tensor) -> Tensor:
    """The value of each row (rows, n) that `at` (rows,) others come before: (rows, 1)."""
    out = rank.new_empty((len(rank), 1))
    for k in at.unique().tolist():  # mostly one; a sort takes ten times as long
        rows = at == k
        out[rows] = rank[rows].kthvalue(k + 1, dim=1, keepdim=True).values
    return out


def blurring(
    score: Score, x: Tensor, known: Tensor, sigma: np.ndarray, position: np.ndarray | None
) -> tuple[Tensor, Tensor]:
    """Integrate along ever wider blurs of x: attribution (n, target, *f), the last blur (n, *f).

    sigma (m + 1,) from 0; `position` (band,) with known (1, band, ...) blurs over bands, None
    with known (n or 1, 1, y, x) over rows and columns.
    """
    n, m = x.shape[0], len(sigma) - 1
    total = x.new_zeros((n, score.n_targets, *x.shape[1:]))
    end = torch.empty_like(x)
    batch = score.batch(x, gradient=True)
    for i in batches(n, batch // m, x.device):
        part = known[i] if len(known) > 1 else known
        end[i] = blurred(x[i], part, sigma[-1:], position)[:, 0]
        for j in batches(m, batch // len(i), x.device):
            level = blurred(x[i], part, sigma[j[0] : j[-1] + 2], position)
            # Each step has its own length, measured where it is taken.
            way = level[:, :-1] - level[:, 1:]
            middle = (level[:, :-1] + level[:, 1:]) / 2
            _, slope = gradient(score, middle.flatten(0, 1), i.repeat_interleave(len(j)))
            slope = slope.view(len(i), len(j), *slope.shape[1:])
            total[i] += torch.einsum("nj...,njk...->nk...", way, slope)
    return total, end


def blurred(x: Tensor, known: Tensor, sigma: np.ndarray, position: np.ndarray | None) -> Tensor:
    """Normalised convolution of x (n, *f) with Gaussians: (n, sigma, *f); unknown stays."""
    if position is not None:
        kernel = _gaussian(sigma, position, x)
        share = kernel * known.flatten()
        smooth = torch.einsum("sbc,nc...->nsb...", share / share.sum(2, keepdim=True), x)
    else:
        down, right = (_gaussian(sigma, np.arange(size), x) for size in x.shape[-2:])
        shown = known.to(x.dtype)
        top, share = (
            torch.einsum("sij,n...jk,slk->ns...il", down, part, right)
            for part in (x * shown, shown)
        )
        smooth = top / share.clamp(min=torch.finfo(x.dtype).tiny)
    return torch.where(known.unsqueeze(1), smooth, x.unsqueeze(1))


def _gaussian(sigma: np.ndarray, position: np.ndarray, like: Tensor) -> Tensor:
    """Weights (sigma, place, place) of a Gaussian that is not cut off; 0 is no blur."""
    distance = position[:, None] - position
    width = np.where(sigma > 0, sigma, 1.0)[:, None, None]
    weights = np.exp(-((distance / width) ** 2) / 2)
    weights[sigma == 0] = np.eye(len(position))
    return torch.as_tensor(weights, dtype=like.dtype, device=like.device)
