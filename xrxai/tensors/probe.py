"""Strips of noise with one pixel changed: what a model's answer depends on, along one axis."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xrxai.errors import ModelError
from xrxai.tensors.run import Runner, batches

# Beyond these an answer about the context is not worth its price, and attention over all pixels
# would fill the memory before it failed.
_LARGEST_TENSOR = 512 * 2**20
_SECONDS = 30.0
_FAR = 1e-4, 1e-9  # differences that are no rounding, float32 and float64
_LOUD = 2.0**40
_DRAWS = 2  # of the input, because a gradient does not pass a unit that is off


class Strips:
    """Windows of `unit` rows and any width; with `turned`, rows and columns change places.

    What a pixel reaches along an axis does not depend on how long the other one is, so a long
    strip tells what a square would, at a fraction of the cost.
    """

    def __init__(
        self, runner: Runner, unit: int, spread: tuple[Tensor, Tensor], *, turned: bool
    ) -> None:
        self.runner = runner
        self.unit = unit
        self.spread = spread
        self.turned = turned

    def noise(self, width: int, n: int = 1) -> Tensor:
        """Samples (n, band, unit, width) that the model can bear."""
        return noise(self.runner, self.spread, (n, self.unit, width))

    def ask(self, x: Tensor) -> Tensor:
        """The raw answer to x, as many rows at once as the model gets."""
        rows = batches(len(x), self.runner.batch(x), x.device)
        return torch.cat([self._raw(x[i]) for i in rows])

    def _raw(self, x: Tensor) -> Tensor:
        if not self.turned:
            return self.runner.raw(x)
        return self.runner.raw(x.mT.contiguous()).mT

    def reach(self, width: int, positions: Sequence[int]) -> int | None:
        """How far the columns at `positions` reach, or None when up to an edge."""
        where = torch.tensor(positions, device=self.runner.device)
        hit = self._nan(width, where) | self._felt(width, where)
        if bool(hit[:, 0].any()) or bool(hit[:, -1].any()):
            return None
        columns = torch.arange(width, device=hit.device)
        away = (columns - where[:, None]).abs() * hit
        return int(away.max())

    def _nan(self, width: int, where: Tensor) -> Tensor:
        """Columns of the answer that one NaN pixel turns to NaN: (position, column)."""
        x = self.noise(width).repeat(len(where), 1, 1, 1)
        x[torch.arange(len(where)), :, self.unit // 2, where] = torch.nan
        try:
            with torch.no_grad():
                return self.ask(x).isnan().any(1).any(1)
        except ModelError:  # it refuses NaN
            return torch.zeros(len(where), width, dtype=torch.bool, device=where.device)

    def _felt(self, width: int, where: Tensor) -> Tensor:
        """Columns that a column depends on, by gradients, or feels change."""
        if self.runner.model.differentiable:
            # Whatever a network's own way back raises: it has no gradient then.
            with contextlib.suppress(RuntimeError, NotImplementedError):
                found = self._gradient(width, where)
                if found is not None:
                    return found
        return self._changed(width, where)

    def _gradient(self, width: int, where: Tensor) -> Tensor | None:
        x = self.noise(width, _DRAWS)
        hit = torch.zeros(len(where), width, dtype=torch.bool, device=x.device)
        for i in batches(len(where), self.runner.batch(x) // _DRAWS, x.device):
            at = where[i].repeat_interleave(_DRAWS)
            z = x.repeat(len(i), 1, 1, 1).requires_grad_(True)
            with torch.enable_grad():
                out = self._raw(z)
                if not out.requires_grad:
                    return None
                picked = out[torch.arange(len(at)), :, self.unit // 2, at]
            # Large, for what is far away not to become subnormal: slow at first, then zero.
            total = _LOUD * (picked * mix(picked)).sum()
            (g,) = torch.autograd.grad(total, z, materialize_grads=True)
            hit[i] = (g != 0).any(1).any(1).unflatten(0, (len(i), _DRAWS)).any(1)
        return hit

    def _changed(self, width: int, where: Tensor) -> Tensor:
        x = self.noise(width)
        hit = torch.zeros(len(where), width, dtype=torch.bool, device=x.device)
        with torch.no_grad():
            clean = self._raw(x)
            for i, p in enumerate(where.tolist()):
                for step in (-3.0, 3.0, 30.0):
                    z = x.clone()
                    z[0, :, self.unit // 2, p] += step * self.spread[1][:, 0]
                    # One at a time: in a batch of another size, rounding may change.
                    with contextlib.suppress(ModelError):
                        hit[i] |= (self._raw(z) != clean)[0].any(0).any(0)
        return hit

    def footprints(self, width: int, shift: int) -> bool:
        """Whether NaN spreads alike from columns that are `shift` apart."""
        # Where the coarsest cells decide how far it spreads, one pair tells; two, to be sure.
        near = [width // 2, width // 2 + self.unit // 3]
        where = torch.tensor([*near, *(p + shift for p in near)], device=self.runner.device)
        hit = self._nan(width, where)
        return bool((hit[2:] == hit[:2].roll(shift, 1)).all())

    def misfit(self, radius: int, shift: int) -> float:
        """Error of a window that is shifted, 0 where it is rounding, else in units of the spread.

        Compared is what lies `radius` pixels and more inside.
        """
        width = self.across(radius)
        x = self.noise(width + self.unit)
        with torch.no_grad():
            base, other = self.ask(x[..., :width]), self.ask(x[..., shift : shift + width])
        inside = other[..., radius : width - radius - shift]
        return _misfit(base[..., radius + shift : width - radius], inside)

    def alike(self, radius: int, more: int) -> bool:
        """Whether a window that is `more` pixels longer answers alike inside."""
        width = self.across(radius)
        x = self.noise(width + self.unit)[..., : width + max(0, more)]
        inside = slice(radius, width + min(0, more) - radius)
        with torch.no_grad():
            short, long = self.ask(x[..., : width + min(0, more)]), self.ask(x)
        return _misfit(short[..., inside], long[..., inside]) == 0

    def across(self, radius: int) -> int:
        """Width with room for shifts up to a unit between the edges."""
        width = 2 * radius + 2 * self.unit
        return width + -width % self.unit


def noise(runner: Runner, spread: tuple[Tensor, Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Normal noise (n, band, y, x) with the mean and deviation (band, 1) of `spread`."""
    mean, deviation = (part[None, :, :, None] for part in spread)
    n, high, wide = shape
    drawn = torch.randn(
        (n, mean.shape[1], high, wide), generator=torch.Generator().manual_seed(0)
    ).to(mean)
    return mean + deviation * drawn


def bearable(
    runner: Runner, n_bands: int, side: int, moments: tuple[np.ndarray, np.ndarray] | None
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (band, 1) of noise that the model answers with finite numbers."""
    unit = 1 / runner.model.scale
    tries: list[tuple[Any, Any]] = [(0.0, unit), (10 * unit, unit), (0.5 * unit, 0.01 * unit)]
    if moments is not None:
        tries = [moments]
    for pair in tries:
        mean, deviation = (
            torch.as_tensor(np.broadcast_to(part, n_bands).copy(), dtype=runner.dtype).to(
                runner.device
            )[:, None]
            for part in pair
        )
        spread = mean, deviation
        with torch.no_grad():
            if bool(torch.isfinite(runner.raw(noise(runner, spread, (1, side, side)))).all()):
                return spread
    raise ModelError(
        "The model answers NaN or infinite values for noise; type cube= to draw it with the means "
        "and deviations of the cube's bands."
    )


def mix(scores: Tensor) -> Tensor:
    """Weights of the targets (n, target), so that no sum of theirs is constant."""
    drawn = torch.randn(scores.shape[1], generator=torch.Generator().manual_seed(1))
    return drawn.to(scores).expand_as(scores)


def _misfit(a: Tensor, b: Tensor) -> float:
    away = (a - b).abs()
    size = float(a.std(correction=0))
    far = _FAR[a.dtype == torch.float64]
    if float(away.max()) <= far * size + 0.1 * far * float(a.abs().max()):
        return 0.0
    return float(away.mean()) / size if size else math.inf


class Budget:
    """Time and memory of what has been run, to tell what a larger window would take."""

    def __init__(self, total_bytes: int | None = None) -> None:
        self._limits = (_LARGEST_TENSOR, total_bytes or math.inf, _SECONDS)
        self._seen: list[tuple[int, tuple[float, float, float]]] = []

    @contextlib.contextmanager
    def spend(self, area: int) -> Iterator[None]:
        """Note what a window of this area takes."""
        start = time.perf_counter()
        with _Weigher() as scale:
            yield
        self._seen.append((area, (scale.largest, scale.total, time.perf_counter() - start)))

    def allows(self, area: int) -> bool:
        """Whether a window of this area stays within the limits."""
        if not self._seen:
            return True
        (before, least), (last, most) = self._seen[-2:][0], self._seen[-1]
        for small, large, limit in zip(least, most, self._limits, strict=True):
            power = 1.0
            if before < last and 0 < small < large:
                power = min(2.0, max(1.0, math.log(large / small) / math.log(last / before)))
            if large * (area / last) ** power > limit:
                return False
        return True


class _Weigher(TorchDispatchMode):
    """Bytes of what operations make: the largest tensor and the sum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not any(getattr(r, "alias_info", None) for r in func._schema.returns):
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    size = leaf.numel() * leaf.element_size()
                    self.largest = max(self.largest, size)
                    self.total += size
        return out


@contextlib.contextmanager
def plain_convolutions() -> Iterator[None]:
    """Convolutions that add up each pixel's own neighbours: in those of Winograd, NaN spreads."""
    off = torch.backends.cudnn.flags(enabled=False, allow_tf32=False)
    with off, torch.backends.nnpack.flags(enabled=False):
        yield
