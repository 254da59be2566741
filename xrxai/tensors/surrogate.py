"""Linear surrogates of on/off patterns: all samples and targets at once, with their errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from xrxai.tensors.run import batches
from xrxai.tensors.score import in_a_row

# Sweeps at most, and the change at which they end: intervals and held-out residuals need fewer
# digits than the coefficients themselves.
_EXACT, _ROUGH = (10_000, 1e-10), (300, 1e-5)
_FOLDS = 5
_FIT_VALUES = 4_000_000
_RIDGE_VALUES = 2**17  # which stay in the cache of a core, with what is made of them


class Fit(NamedTuple):
    """coefficient, standard_error, low, high: (n, target, group); r2, heldout: (n, target)."""

    coefficient: Tensor
    standard_error: Tensor
    low: Tensor
    high: Tensor
    r2: Tensor
    heldout: Tensor


def fit(
    y: Tensor,
    on: np.ndarray,
    weight: np.ndarray,
    surrogate: str,
    alpha: float,
    resamples: np.ndarray | None,
) -> Fit:
    """Fit scores y (n, m, target) on patterns (m, g), in float64, some samples at a time."""

    def exact(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float64, device=y.device)

    design, share = exact(on), exact(weight)
    if resamples is None:
        return ridge(design, share, y, alpha)
    repeats = exact(resamples)
    columns = y.shape[2] * max(on.shape[0], len(repeats) * on.shape[1])
    parts = [
        lasso(design, share, y[i].double(), alpha, repeats)
        for i in batches(len(y), _FIT_VALUES // columns, y.device)
    ]
    return Fit(*(torch.cat(column) for column in zip(*parts, strict=True)))


def ridge(on: Tensor, weight: Tensor, y: Tensor, alpha: float, level: float = 0.95) -> Fit:
    """Weighted ridge: on (m, g), weight (m,), both float64, y (n, m, target).

    Minimises ``sum w (y - b0 - on b)^2 / sum w + alpha |b|^2``. Errors are the sandwich
    estimate HC3 (MacKinnon & White 1985): the true answer is not linear in the pattern, so
    residuals are no homogeneous noise. The held-out residuals are leave-one-out, exact.
    """
    (m, g), (n, _, k) = on.shape, y.shape
    design = torch.cat([torch.ones_like(on[:, :1]), on], dim=1)
    share = weight / weight.sum()
    normal = (design * share[:, None]).T @ design
    normal[range(1, g + 1), range(1, g + 1)] += alpha
    project = torch.linalg.pinv(normal, hermitian=True) @ (design * share[:, None]).T
    leverage = (project.T * design).sum(1).clamp(max=1 - 1e-12)
    away, spare = (1 - leverage)[:, None], share / (1 - share).square()
    square = project[1:] ** 2
    freedom = m - g - 1
    reach = float(stats.t.ppf(0.5 + level / 2, freedom)) if freedom > 0 else torch.nan
    slope, variance = on.new_empty((2, n, k, g))
    r2, heldout = on.new_empty((2, n, k))
    for i in batches(n, _RIDGE_VALUES // (m * k), y.device):
        rows = in_a_row(i)
        # Patterns down, samples and targets across: every step is one product of matrices.
        flat = y[rows].transpose(0, 1).to(torch.float64, copy=True).reshape(m, -1)
        beta = project @ flat
        residual = flat - design @ beta
        left_out = (residual / away).square_()
        slope[rows] = beta[1:].view(g, -1, k).permute(1, 2, 0)
        variance[rows] = (square @ left_out).view(g, -1, k).permute(1, 2, 0)
        largest = flat.abs().amax(dim=0)
        total = flat.sub_(share @ flat).square_()
        everything = share @ total
        still = ~_varies(largest, everything.sqrt())
        for into, wrong, all_of_it in (
            (r2, residual.square_(), everything),
            (heldout, left_out, spare @ total),
        ):
            part = 1 - (share @ wrong) / torch.where(still, 1.0, all_of_it)
            into[rows] = torch.where(still, torch.nan, part).view(-1, k)
    error = variance.sqrt_()
    if freedom < 1:
        error.fill_(torch.nan)
    return Fit(slope, error, slope - error * reach, slope + error * reach, r2, heldout)


def lasso(
    on: Tensor,
    weight: Tensor,
    y: Tensor,
    alpha: float,
    resamples: Tensor,
    level: float = 0.95,
) -> Fit:
    """Weighted lasso on standardised answers; intervals by bootstrap of the patterns.

    Minimises ``sum w (y - b0 - on b)^2 / (2 sum w s^2) + alpha |b|_1 / s``, s the weighted
    spread of y, so that alpha means the same for answers of 0..1 and of 1e5. `resamples`
    (r, m) holds bootstrap multiplicities. Held-out: five folds.
    """
    share = weight / weight.sum()
    mean = torch.einsum("m,nmk->nk", share, y)
    total = y - mean[:, None]
    spread = torch.einsum("m,nmk->nk", share, total**2).sqrt()
    still = ~_varies(y.abs().amax(dim=1), spread)
    safe = torch.where(still, torch.ones_like(spread), spread)
    z = total / safe[:, None]
    beta, offset = _descend(on, share[None], z, alpha)
    drawn, _ = _descend(on, resamples * share, z, alpha, _ROUGH)
    tail = (1 - level) / 2
    low, high = torch.quantile(drawn, torch.tensor([tail, 1 - tail], dtype=z.dtype), dim=0)
    folds = torch.arange(on.shape[0]) % _FOLDS
    kept = (folds[None] != torch.arange(_FOLDS)[:, None]).to(z.dtype)
    part, part_offset = _descend(on, kept * share, z, alpha, _ROUGH)
    guess = torch.einsum("mg,fnkg->fnmk", on, part) + part_offset[:, :, None]
    heldout = torch.empty_like(z)
    base = torch.empty_like(z)
    for f in range(_FOLDS):
        inside = folds == f
        heldout[:, inside] = (z - guess[f])[:, inside]
        others = (kept[f] * share) / (kept[f] * share).sum()
        base[:, inside] = (z - torch.einsum("m,nmk->nk", others, z)[:, None])[:, inside]
    residual = z - torch.einsum("mg,nkg->nmk", on, beta[0]) - offset[0][:, None]
    scale = safe[..., None]
    return Fit(
        beta[0] * scale,
        drawn.std(dim=0) * scale,
        low * scale,
        high * scale,
        _r2(residual, z, share, still),
        _r2(heldout, base, share, still),
    )


def _descend(
    on: Tensor, weights: Tensor, z: Tensor, alpha: float, until: tuple[int, float] = _EXACT
) -> tuple[Tensor, Tensor]:
    """Coordinate descent for each row of weights (r, m): slopes (r, n, k, g), offsets (r, n, k)."""
    share = weights / weights.sum(1, keepdim=True)
    on_mean = share @ on
    z_mean = torch.einsum("rm,nmk->rnk", share, z)
    gram = torch.einsum("rm,mg,mh->rgh", share, on, on) - on_mean[:, :, None] * on_mean[:, None]
    cross = torch.einsum("rm,mg,nmk->rnkg", share, on, z) - torch.einsum(
        "rg,rnk->rnkg", on_mean, z_mean
    )
    beta = torch.zeros_like(cross)
    diagonal = gram.diagonal(dim1=1, dim2=2)
    for _ in range(until[0]):
        change = 0.0
        for j in range(on.shape[1]):
            d = diagonal[:, j, None, None]
            rest = cross[..., j] - torch.einsum("rnkh,rh->rnk", beta, gram[:, j]) + d * beta[..., j]
            shrunk = torch.sign(rest) * (rest.abs() - alpha).clamp(min=0)
            new = torch.where(d > 1e-12, shrunk / d.clamp(min=1e-12), torch.zeros_like(shrunk))
            change = max(change, float((new - beta[..., j]).abs().max()))
            beta[..., j] = new
        if change < until[1]:
            break
    return beta, z_mean - torch.einsum("rnkg,rg->rnk", beta, on_mean)


def _varies(largest: Tensor, spread: Tensor) -> Tensor:
    """Whether the answer moves by more than rounding."""
    return spread > 1e-7 * largest.clamp(min=1e-300)


def _r2(residual: Tensor, total: Tensor, share: Tensor, still: Tensor) -> Tensor:
    """Weighted share of explained variance (n, target); NaN where nothing varies."""
    left = torch.einsum("m,nmk->nk", share, residual**2)
    everything = torch.einsum("m,nmk->nk", share, total**2)
    return torch.where(still, torch.nan, 1 - left / torch.where(still, 1.0, everything))
