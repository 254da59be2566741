"""Linear surrogates of on/off patterns: all samples and targets at once, with their errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import special  # not stats, whose import takes a quarter of a second
from torch import Tensor

from xrxai.designs import Drawn
from xrxai.patterns import proximity
from xrxai.tensors import kriging
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
    drawn: Drawn,
    width: float | None,
    surrogate: str,
    alpha: float,
    resamples: np.ndarray | None,
) -> Fit:
    """Fit scores y (n, m, target) on patterns (m, g), in float64, some samples at a time.

    `width` is that of the weights of patterns, see `proximity`.
    """

    def exact(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float64, device=y.device)

    design, share = exact(drawn.on), exact(proximity(drawn.on, width))
    rows = 2 if drawn.paired else 1
    if resamples is None:
        line = ridge(design, share, y, alpha, rows, drawn.left)
        if surrogate == "kriging" and drawn.left > 0:
            return Fit(*kriging.fit(y, drawn.on, width), line.r2, line.heldout)
        return line
    repeats = exact(np.repeat(resamples, rows, axis=1))
    wide = max(drawn.on.shape[0], len(repeats) * drawn.on.shape[1])
    parts = [
        lasso(design, share, y[i].double(), alpha, repeats, rows, drawn.left)
        for i in batches(len(y), _FIT_VALUES // (y.shape[2] * wide), y.device)
    ]
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
    """Weighted ridge: on (m, g), weight (m,), both float64, y (n, m, target).

    Minimises ``sum w (y - b0 - on b)^2 / sum w + alpha |b|^2``. The true answer is not linear in
    the pattern, so residuals are no homogeneous noise: errors are the sandwich estimate HC3
    (MacKinnon & White 1985) of single rows. Pairs of rows are clusters, and their estimate is CR2
    (Bell & McCaffrey 2002), times the share of pairs that are left to be drawn (Cochran 1977,
    section 2.6): HC3 of pairs covered 98-99 % where 95 % were asked. The held-out residuals are
    those of each row or pair in the fit without it, exact.
    """
    (m, g), (n, _, k) = on.shape, y.shape
    share = weight / weight.sum()
    root = share.sqrt()[:, None]
    # Here and below all is times the roots of the weights.
    design = torch.cat([torch.ones_like(on[:, :1]), on], dim=1) * root
    normal = design.T @ design
    normal[range(1, g + 1), range(1, g + 1)] += alpha
    project = torch.linalg.pinv(normal, hermitian=True) @ design.T
    spreading, holding, known = _apart(design.unflatten(0, (-1, rows)), project, rows)
    freedom = m // rows - g - 1
    reach = float(special.stdtrit(max(freedom, 1), 0.5 + level / 2))
    slope, variance = on.new_empty((2, n, k, g))
    r2, heldout = on.new_empty((2, n, k))
    for i in batches(n, _RIDGE_VALUES // (m * k), y.device):
        at = in_a_row(i)
        # Patterns down, samples and targets across: every step is one product of matrices.
        flat = y[at].transpose(0, 1).to(torch.float64, copy=True).reshape(m, -1)
        largest = flat.abs().amax(dim=0)
        beta = project @ flat.mul_(root)
        residual = torch.addmm(flat, design, beta, alpha=-1)
        left_out = _by_cluster(holding, residual)
        spread = left_out if rows == 1 else _by_cluster(spreading, residual)
        slope[at] = beta[1:].view(g, -1, k).permute(1, 2, 0)
        variance[at] = _sandwich(project[1:], spread, rows).view(g, -1, k).permute(1, 2, 0)
        total = torch.addmm(flat, root, root.T @ flat, alpha=-1)
        everything = _squared(total)
        still = ~_varies(largest, everything.sqrt())
        others = _squared(_without(total, root, rows))
        r2[at] = _share(_squared(residual), everything, still).view(-1, k)
        heldout[at] = _share(_squared(left_out), others, still | ~known).view(-1, k)
    error = variance.mul_(left).sqrt_()
    if freedom < 1 and left > 0:
        error.fill_(torch.nan)
    return Fit(slope, error, slope - error * reach, slope + error * reach, r2, heldout)


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


def _by_cluster(matrix: Tensor, residual: Tensor) -> Tensor:
    """matrix (c, rows, rows) times each cluster's rows of the residual (m, value)."""
    rows = matrix.shape[-1]
    if rows == 1:
        return residual * matrix[:, 0]
    return torch.bmm(matrix, residual.unflatten(0, (-1, rows))).flatten(0, 1)


def _sandwich(project: Tensor, spread: Tensor, rows: int) -> Tensor:
    """Sum over clusters of the square of what each adds: project (g, m), spread (m, value)."""
    found = project.square() @ spread.square()
    if rows == 2:
        one, two = project[:, ::2], project[:, 1::2]
        found.addmm_(one * two, spread[::2] * spread[1::2], alpha=2).clamp_(min=0)
    return found


def _without(total: Tensor, root: Tensor, rows: int) -> Tensor:
    """Distances (m, value) from the mean without the row or pair itself; root (m, 1)."""
    own = (total * root).unflatten(0, (-1, rows)).sum(1)
    rest = 1 - root.square().view(-1, rows).sum(1, keepdim=True)
    made: Tensor = total + (own / rest).repeat_interleave(rows, 0) * root
    return made


def _squared(array: Tensor, dim: int = 0) -> Tensor:
    """Sum of squares over the patterns."""
    found: Tensor = torch.linalg.vecdot(array, array, dim=dim)
    return found


def _share(wrong: Tensor, everything: Tensor, still: Tensor) -> Tensor:
    """Share of explained variance; NaN where nothing varies."""
    return torch.where(still, torch.nan, 1 - wrong / torch.where(still, 1.0, everything))


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
    still = ~_varies(y.abs().amax(dim=1), spread)
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
        _share(_squared(residual * root, 1), _squared(z * root, 1), still),
        _share(_squared(heldout * root, 1), _squared(base * root, 1), still),
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
