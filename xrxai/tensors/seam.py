"""What a halo costs at the seams: a core in small windows, and in a large one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xrxai.errors import ModelError
from xrxai.tensors.probe import Budget, bearable, mix, noise
from xrxai.tensors.run import Runner
from xrxai.tensors.score import Score

_BYTES = 4 * 2**30


def errors(
    runner: Runner, whole: Tensor, rungs: list[int], core: int, reach: int
) -> dict[int, float]:
    """From the smallest window to the largest that can be afforded, which is the measure."""
    budget = Budget(_BYTES)
    cores: dict[int, Tensor] = {}
    side = whole.shape[-1]
    for halo in rungs:
        wide = core + 2 * halo
        if not budget.allows(wide**2):
            break
        cut = slice((side - wide) // 2, (side + wide) // 2)
        try:
            with budget.spend(wide**2):
                answer = _answer(runner, whole[..., cut, cut].contiguous(), reach)
        except ModelError:
            if not cores:
                raise
            break
        cores[halo] = answer[..., halo : halo + core, halo : halo + core].clone()
    best = cores.pop(max(cores))
    size = float(best.abs().sum())
    off = {halo: float((part - best).abs().sum()) for halo, part in cores.items()}
    return {halo: away / size if size else float(away > 0) for halo, away in off.items()}


def _answer(runner: Runner, x: Tensor, reach: int) -> Tensor:
    """The gradient of the summed score, or the map where scores alone are asked for."""
    if reach < 2 or not runner.model.differentiable:
        with torch.no_grad():
            return runner.forward(x)
    score = Score(runner, list(range(len(runner.model.targets))), 1)
    z = x.detach().requires_grad_(True)
    with torch.enable_grad():
        s = score(z, torch.zeros(1, dtype=torch.int64, device=x.device), clean=True)
    if not s.requires_grad:
        return runner.forward(x)
    (g,) = torch.autograd.grad((s * mix(s)).sum(), z, materialize_grads=True)
    return g


def window(runner: Runner, side: int, core: int, n_bands: int, sample: np.ndarray | None) -> Tensor:
    """The middle of the sample without what is missing, or noise: (1, band, side, side)."""
    if sample is None:
        return noise(runner, bearable(runner, n_bands, core, None), (1, side, side))
    if min(sample.shape[-2:]) < side:
        raise ModelError(
            f"A sample of {sample.shape[-2]} by {sample.shape[-1]} pixels is smaller than the "
            f"{side} that a tile and its surroundings take; give a larger cube=, or none."
        )
    y, x = ((n - side) // 2 for n in sample.shape[-2:])
    values = sample[:, y : y + side, x : x + side]
    values = np.where(np.isfinite(values), values, runner.model.fill)
    return torch.as_tensor(values, dtype=runner.dtype, device=runner.device)[None]
