"""Rules that stand in for the gradient of a layer: guided, deconvolution, rescale, epsilon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xrxai.errors import ModelError
from xrxai.tensors import hooks
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, gradients, slopes
from xrxai.tensors.watch import Watch, homogeneous, linear, rectifies, refuse, watched

Pull = Callable[[Tensor], Tensor]

_RECTIFIERS = (nn.ReLU, nn.ReLU6)
# Activations that act on each value for itself, and of these the ones with f(0) = 0.
_THROUGH_ZERO = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Tanh, nn.Hardswish, nn.Softsign),
)
_ACTIVATIONS = (*_THROUGH_ZERO, nn.Sigmoid, nn.Softplus, nn.Hardsigmoid, nn.LogSigmoid)
_POOLS: dict[type[nn.Module], Callable[..., Any]] = {
    nn.MaxPool1d: F.max_pool1d,
    nn.MaxPool2d: F.max_pool2d,
    nn.AdaptiveMaxPool1d: F.adaptive_max_pool1d,
    nn.AdaptiveMaxPool2d: F.adaptive_max_pool2d,
}
_WEIGHTED = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
)


class _Pulled(torch.autograd.Function):
    """compute(x), with `pull(g)` where the gradient with respect to x would be."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, compute: Callable[[Tensor], Tensor], pull: Pull, inplace: bool
    ) -> Tensor:
        ctx.pull = pull
        if inplace:
            ctx.mark_dirty(x)
        return compute(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.pull(g), None, None, None


def _pulled(
    x: Tensor, compute: Callable[[Tensor], Tensor], pull: Pull, inplace: bool = False
) -> Tensor:
    out: Tensor = _Pulled.apply(x, compute, pull, inplace)  # type: ignore[no-untyped-call]
    return out


def _is(part: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """One of `kinds`, with the forward of its kind: a subclass may do something else."""
    return any(isinstance(part, k) and type(part).forward is k.forward for k in kinds)


def _in_place(part: nn.Module) -> bool:
    return bool(getattr(part, "inplace", False))


def rectified(score: Score, x: Tensor, *, guided: bool, method: str) -> tuple[Tensor, Tensor]:
    """Scores (n, target) and what ReLUs let back: g+ where guided and the input is positive, or g+.

    x (n, *f) -> scores (n, target), (n, target, *f).
    """
    among = hooks.running(score.runner)
    parts = [p for network in among for p in network.modules() if _is(p, _RECTIFIERS)]
    watch = Watch(lambda *call: not rectifies(*call))
    ran = 0

    def new(part: nn.Module, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(z: Tensor) -> Tensor:
            nonlocal ran
            ran += 1

            with watch.aside():
                value = z.detach()
                # ReLU6 stops above 6 as well.
                passed = (value > 0) & (value < getattr(part, "max_val", torch.inf))

                def pull(g: Tensor) -> Tensor:
                    return (g * passed if guided else g).clamp(min=0)

                return _pulled(z, own, pull, _in_place(part))

        return forward

    with hooks.replaced(parts, new), watched(score.runner, watch, whole=False):
        found = gradients(score, x)
    if watch.found:
        raise ModelError(
            f"The method {method} changes the gradient of torch.nn.ReLU modules, but the network "
            f"rectifies outside of them: {watch.told(among)}. Their gradient would stay as it is, "
            f"and nobody would see it. Make each a torch.nn.ReLU() of its own module, clip the "
            f"input in prepare=, or use integrated_gradients."
        )
    if not ran:
        raise ModelError(
            f"The method {method} changes the gradient of torch.nn.ReLU modules, and the network "
            f"ran none: the result would be the plain gradient. Use saliency."
        )
    return found


def relevance(score: Score, x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Scores (n, target) and relevance per value of x by the epsilon rule: (n, target, *f).

    Relevance is carried as value times g: a layer with weights shrinks g by z / (z + eps sign z),
    an activation a = f(z) multiplies it by a / z, everything else linear is the plain gradient.
    """
    watch = Watch(homogeneous)
    among = hooks.running(score.runner)

    def new(part: nn.Module, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def weighted(*arguments: Any) -> Tensor:
            z = own(*arguments)
            value = z.detach()
            signed = torch.where(value < 0, value - epsilon, value + epsilon)
            with watch.aside():
                return _pulled(z, torch.clone, lambda g: g * (value / signed))

        def activation(z: Tensor) -> Tensor:
            with watch.aside():
                value = z.detach().clone()
                out = _pulled(z, own, lambda g: g * ratio, _in_place(part))
                ratio = out.detach() / torch.where(value == 0, 1.0, value)
                return out

        return weighted if _is(part, _WEIGHTED) else activation

    parts = [
        p for net in among for p in net.modules() if _is(p, _WEIGHTED) or _is(p, _THROUGH_ZERO)
    ]
    with hooks.replaced(parts, new), watched(score.runner, watch, whole=True):
        prediction, slope = gradients(score, x)
    refuse("lrp", watch, among)
    return prediction, x[:, None] * slope


def rescaled(score: Score, x: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores at x and at `start` (n, target), and the multipliers between them (n, target, *f).

    The rescale rule: an activation hands back g dy / dx, differences being those between its
    calls for x and for `start`; max-pooling hands the difference to the pixel that made it.
    """
    shape = (x.shape[0], score.n_targets)
    prediction = torch.empty(shape, dtype=score.dtype, device=x.device)
    below = torch.empty_like(prediction)
    multiplier = x.new_empty((*shape, *x.shape[1:]))
    among = hooks.running(score.runner)
    watch = Watch(linear)
    memory = _Memory(watch)
    parts = [
        p
        for net in among
        for p in net.modules()
        if _is(p, _ACTIVATIONS) or (_is(p, tuple(_POOLS)) and not p.return_indices)
    ]
    with hooks.replaced(parts, memory.new):
        for i in batches(x.shape[0], score.batch(x, gradient=True), x.device):
            at = x[i].detach().requires_grad_(True)
            memory.clear()
            with torch.enable_grad(), watched(score.runner, watch, whole=True):
                s = score(at, i, clean=True)
            refuse("deep_lift", watch, among)
            memory.reference = True
            with torch.no_grad():
                below[i] = score.begins(start[i], i)
            memory.check()
            prediction[i] = s.detach()
            multiplier[i] = slopes(score, s, at) if s.requires_grad else 0.0
    return prediction, below, multiplier


class _Memory:
    """What each call of an activation got and gave, at x and at the reference."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.clear()

    def clear(self) -> None:
        self.reference = False
        self.here: list[tuple[nn.Module, Tensor, Tensor]] = []
        self.there: list[tuple[nn.Module, Tensor, Tensor]] = []

    def check(self) -> None:
        one = [(id(part), z.shape) for part, z, _ in self.here]
        two = [(id(part), z.shape) for part, z, _ in self.there]
        if one != two:
            raise ModelError(
                "The method deep_lift compares the calls of each layer at the cube and at the "
                "baseline, but the network took another way at the baseline; use "
                "integrated_gradients."
            )

    def new(self, part: nn.Module, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
        pool = next((f for kind, f in _POOLS.items() if _is(part, (kind,))), None)

        def forward(z: Tensor) -> Tensor:
            with self.watch.aside():
                calls = self.there if self.reference else self.here
                at = len(calls)
                # Copies: layers in place overwrite what goes in and what comes out.
                before = z.detach().clone()

                def pull(g: Tensor) -> Tensor:
                    (_, x, y), (_, x0, y0) = self.here[at], self.there[at]
                    if pool is None:
                        return g * _ratio(own, x, y, x0, y0)
                    return _pooled(g, part, pool, x, y, x0, y0)

                out = _pulled(z, own, pull, _in_place(part))
                calls.append((part, before, out.detach().clone()))
                return out

        return forward


def _ratio(own: Callable[..., Tensor], x: Tensor, y: Tensor, x0: Tensor, y0: Tensor) -> Tensor:
    """dy / dx, and the slope at x where both are nearly the same."""
    difference = x - x0
    near = difference.abs() < _nothing(x)
    if bool(near.any()):
        with torch.enable_grad():
            z = x.clone().requires_grad_(True)
            out = own(z.clone())
            (slope,) = torch.autograd.grad(out.sum(), z)
    else:
        slope = difference
    return torch.where(near, slope, (y - y0) / torch.where(near, 1.0, difference))


def _pooled(
    g: Tensor,
    part: nn.Module,
    pool: Callable[..., Any],
    x: Tensor,
    y: Tensor,
    x0: Tensor,
    y0: Tensor,
) -> Tensor:
    """The winner at x answers for a rise of the maximum, the winner at the reference for a fall."""
    if "Adaptive" in type(part).__name__:
        options: dict[str, Any] = {"output_size": part.output_size}
    else:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        options = {name: getattr(part, name) for name in names}
    spatial = 1 if "1d" in type(part).__name__ else 2
    _, won = pool(x, return_indices=True, **options)
    _, won0 = pool(x0, return_indices=True, **options)
    at = torch.where(y >= y0, won, won0).flatten(-spatial)
    rise = (y - y0).flatten(-spatial)
    difference = (x - x0).flatten(-spatial)
    moved = difference.gather(-1, at)
    near = moved.abs() < _nothing(x)
    share = torch.where(near, 1.0, rise / torch.where(near, 1.0, moved))
    out = torch.zeros_like(difference).scatter_add(-1, at, g.flatten(-spatial) * share)
    return out.view_as(x)


def _nothing(x: Tensor) -> float:
    """A difference that rounding can make."""
    return 1e-10 if x.dtype == torch.float64 else 1e-6
