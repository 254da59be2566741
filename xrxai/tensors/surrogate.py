"""Linear surrogates of on/off patterns: all samples and targets at once, with their errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import special  # not stats, whose import takes a quarter of a second
from torch import Tensor

from xrxai.designs import Drawn
from xrxai.tensors.run import batches

# Sweeps at most, and the change at which they end: intervals and held-out residuals need fewer
# digits than the coefficients themselves.
_EXACT, _ROUGH = (10_000, 1e-10), (300, 1e-5)
_FOLDS = 5
_FIT_VALUES = 4_000_000


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
    drawn: Drawn,
    weight: np.ndarray,
    surrogate: str,
    alpha: float,
    resamples: np.ndarray | None,
) -> Fit:
    """Fit scores y (n, m, target) on patterns (m, g), in float64, some samples at a time."""

    def exact(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float64, device=y.device)

    design, share = exact(drawn.on), exact(weight)
    rows = 2 if drawn.paired else 1
    repeats = None if resamples is None else exact(np.repeat(resamples, rows, axis=1))
    wide = max(drawn.on.shape[0], 0 if repeats is None else len(repeats) * drawn.on.shape[1])
    parts = []
    for i in batches(len(y), _FIT_VALUES // (y.shape[2] * wide), y.device):
        some = y[i].double()
        if repeats is None:
            parts.append(ridge(design, share, some, alpha, rows, drawn.left))
        else:
            parts.append(lasso(design, share, some, alpha, repeats, rows, drawn.left))
    return Fit(*(torch.cat(column) for column in zip(*parts, strict=True)))


def ridge(
    on: Tensor,
    weight: Tensor,
    y: Tensor,
    alpha: float,
    rows: int = 1,
    left: float = 1.0,
    level: float = 0.95,
) -> Fit:
    """Weighted ridge: on (m, g), weight (m,), y (n, m, target), all float64.

    Minimises ``sum w (y - b0 - on b)^2 / sum w + alpha |b|^2``. The true answer is not linear in
    the pattern, so residuals are no homogeneous noise: errors are the sandwich estimate HC3
    (MacKinnon & White 1985) of single rows. Pairs of rows are clusters, and their estimate is CR2
    (Bell & McCaffrey 2002), times the share of pairs that are left to be drawn (Cochran 1977,
    section 2.6): HC3 of pairs covered 98-99 % where 95 % were asked. The held-out residuals are
    those of each row or pair in the fit without it, exact.
    """
    m, g = on.shape
    design = torch.cat([torch.ones_like(on[:, :1]), on], dim=1)
    share = weight / weight.sum()
    root = share.sqrt()[:, None]
    normal = (design * share[:, None]).T @ design
    normal[range(1, g + 1), range(1, g + 1)] += alpha
    project = torch.linalg.pinv(normal, hermitian=True) @ (design * root).T
    beta = torch.einsum("pm,nmk->nkp", project, y * root)
    residual = (y - torch.einsum("mp,nkp->nmk", design, beta)) * root
    *apart, known = _apart((design * root).unflatten(0, (-1, rows)), project, rows)
    spread, left_out = (
        torch.einsum("cij,ncjk->ncik", a, residual.unflatten(1, (-1, rows))).flatten(1, 2)
        for a in apart
    )
    moved = torch.einsum("pci,pcj->pcij", *[project[1:].unflatten(1, (-1, rows))] * 2)
    both = torch.einsum("ncik,ncjk->nkcij", *[spread.unflatten(1, (-1, rows))] * 2)
    variance = torch.einsum("pm,nkm->nkp", moved.flatten(1), both.flatten(2)).clamp(min=0)
    coefficient, error = beta[..., 1:], (variance * left).sqrt()
    freedom = m // rows - g - 1
    if freedom < 1 and left > 0:
        error = torch.full_like(error, torch.nan)
    reach = error * float(special.stdtrit(max(freedom, 1), 0.5 + level / 2))
    mean = torch.einsum("m,nmk->nk", share, y)
    total = (y - mean[:, None]) * root
    still = ~_varies(y, total.square().sum(1).sqrt())
    return Fit(
        coefficient,
        error,
        coefficient - reach,
        coefficient + reach,
        _r2(residual, total, still),
        _r2(left_out, _without(total, root, rows), still | ~known),
    )


def _apart(design: Tensor, project: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """What makes of residuals those that count for the spread, and held-out ones: (c, rows, rows).

    Powers of I - H, the rest that a cluster has in its own fit: -1/2 is CR2, and -1, which is the
    held-out residual, HC3. design (c, rows, 1 + g), both times the roots of the weights. And
    whether there is a fit without any of the clusters.
    """
    hat = torch.einsum("cip,pcj->cij", design, project.unflatten(1, (-1, rows)))
    rest = torch.eye(rows, dtype=hat.dtype, device=hat.device) - (hat + hat.mT) / 2
    value, turn = torch.linalg.eigh(rest)
    known = value.min() > 1e-9
    value = value.clamp(min=1e-12)[:, None]
    held = (turn / value) @ turn.mT
    return held if rows == 1 else (turn / value.sqrt()) @ turn.mT, held, known


def _without(total: Tensor, root: Tensor, rows: int) -> Tensor:
    """Distances from the mean without the row or pair itself: all times the roots of the weights.

    total (n, m, target), root (m, 1).
    """
    own = (total * root).unflatten(1, (-1, rows)).sum(2)
    rest = 1 - root.square().view(-1, rows).sum(1)
    away: Tensor = (own / rest[:, None]).repeat_interleave(rows, 1) * root
    return total + away


def lasso(
    on: Tensor,
    weight: Tensor,
    y: Tensor,
    alpha: float,
    resamples: Tensor,
    rows: int = 1,
    left: float = 1.0,
    level: float = 0.95,
) -> Fit:
    """Weighted lasso on standardised answers; intervals by bootstrap of the patterns.

    Minimises ``sum w (y - b0 - on b)^2 / (2 sum w s^2) + alpha |b|_1 / s``, s the weighted
    spread of y, so that alpha means the same for answers of 0..1 and of 1e5. `resamples`
    (r, m) holds bootstrap multiplicities, the same for all `rows` of a cluster. Intervals shrink
    with the share of clusters that are left to be drawn. Held-out: five folds of clusters.
    """
    share = weight / weight.sum()
    mean = torch.einsum("m,nmk->nk", share, y)
    total = y - mean[:, None]
    spread = torch.einsum("m,nmk->nk", share, total**2).sqrt()
    still = ~_varies(y, spread)
    safe = torch.where(still, torch.ones_like(spread), spread)
    z = total / safe[:, None]
    beta, offset = _descend(on, share[None], z, alpha)
    drawn, _ = _descend(on, resamples * share, z, alpha, _ROUGH)
    tail = (1 - level) / 2
    low, high = torch.quantile(drawn, torch.tensor([tail, 1 - tail], dtype=z.dtype), dim=0)
    folds = torch.arange(on.shape[0]) // rows % _FOLDS
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
    scale, few = safe[..., None], left**0.5
    root = share.sqrt()[:, None]
    return Fit(
        beta[0] * scale,
        drawn.std(dim=0) * scale * few,
        (beta[0] + few * (low - beta[0])) * scale,
        (beta[0] + few * (high - beta[0])) * scale,
        _r2(residual * root, z * root, still),
        _r2(heldout * root, base * root, still),
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


def _varies(y: Tensor, spread: Tensor) -> Tensor:
    """Whether the answer moves by more than rounding."""
    return spread > 1e-7 * y.abs().amax(dim=1).clamp(min=1e-300)


def _r2(residual: Tensor, total: Tensor, still: Tensor) -> Tensor:
    """Share of explained variance (n, target), both times the roots of the weights.

    NaN where nothing varies.
    """
    left, everything = residual.square().sum(1), total.square().sum(1)
    return torch.where(still, torch.nan, 1 - left / torch.where(still, 1.0, everything))
