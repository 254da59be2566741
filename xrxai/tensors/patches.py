"""Convolutions over patches that do not overlap, as products of matrices.

A patch embedding has a large kernel and a stride as long: one product of patches and weights. On a
processor the libraries treat it as any convolution, put its weights into another order at every
call, and take two to six times as long, forward and back (docs/architecture.md).
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Smaller kernels are what the libraries are made for.
_TAPS = 64
_AT_ONCE = 2**20  # values on the way back: they stay in the cache
_COPIED = 2**21  # values of a sample on the way there
_transformed = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)


def fits(layer: nn.Module) -> bool:
    """Whether a layer is a convolution with a large kernel and a stride as long."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == layer.stride
        and math.prod(layer.kernel_size) >= _TAPS
        and layer.padding in ((0, 0), "valid")
        and layer.dilation == (1, 1)
        and layer.groups == 1
    )


@contextlib.contextmanager
def products(networks: list[nn.Module]) -> Iterator[None]:
    """Let such layers answer by a product for a while; a forward of their own stays."""
    found = [
        part
        for network in networks
        if not isinstance(network, torch.jit.ScriptModule) and not hasattr(network, "_orig_mod")
        for part in network.modules()
        if fits(part) and "forward" not in vars(part)
    ]
    try:
        for part in found:
            vars(part)["forward"] = functools.partial(answer, part)
        yield
    finally:
        for part in found:
            vars(part).pop("forward", None)


def ours(part: nn.Module) -> bool:
    """Whether the forward of a layer is its own, or put there by `products`."""
    forward = vars(part).get("forward")
    return forward is None or getattr(forward, "func", None) is answer


def answer(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer says to x, by a product where it fits."""
    if fits(layer) and x.ndim == 4 and x.shape[1] == layer.weight.shape[1]:  # type: ignore[index]
        found = convolved(layer, x, layer.weight, layer.bias)  # type: ignore[arg-type]
        if found is not None:
            return found
    said: Tensor = type(layer).forward(layer, x)
    return said


def convolved(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """Convolve x (n, band, y, x) with some of the weights of a layer, None where it must."""
    small = any(size < side for size, side in zip(x.shape[2:], weight.shape[2:], strict=True))
    if small or not fits(layer) or x.dtype != weight.dtype or x.device.type != "cpu":
        return None
    if weight.requires_grad or _transformed():
        return None
    return product(x, weight, bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution of x (n, band, y, x) whose stride is its kernel (channel, band, h, w)."""
    answer: Tensor = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return answer


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = x.shape
        channels, _, h, w = weight.shape
        n, down, right = len(x), x.shape[2] // h, x.shape[3] // w
        whole = x[:, :, : down * h, : right * w]
        patches = whole.unflatten(3, (right, w)).unflatten(2, (down, h)).permute(0, 2, 4, 1, 3, 5)
        # Some bands at a time, the same for every batch: no copy of all patches.
        some = max(1, _COPIED // (down * h * right * w))
        count = n * down * right
        out = x.new_zeros((count, channels)) if bias is None else bias.repeat(count, 1)
        for b in range(0, x.shape[1], some):
            rows = patches[:, :, :, b : b + some].reshape(count, -1)
            out.addmm_(rows, weight[:, b : b + some].flatten(1).T)
        out = out.view(n, down * right, channels).transpose(1, 2).contiguous()
        return out.view(n, channels, down, right)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        (slope,) = slopes
        n, bands, height, width = ctx.shape
        h, w = weight.shape[2:]
        down, right = slope.shape[2:]
        if torch.is_grad_enabled():  # a gradient of the gradient is asked for
            back = F.conv_transpose2d(slope, weight, stride=(h, w))
            return F.pad(back, (0, width - right * w, 0, height - down * h)), None, None
        rows = slope.permute(0, 2, 3, 1).reshape(-1, slope.shape[1])
        whole = (height, width) == (down * h, right * w)
        out = (slope.new_empty if whole else slope.new_zeros)(ctx.shape)
        into = out[:, :, : down * h, : right * w]
        into = into.unflatten(3, (right, w)).unflatten(2, (down, h))
        some = max(1, _AT_ONCE // (len(rows) * h * w))
        for b in range(0, bands, some):
            part = rows @ weight[:, b : b + some].flatten(1)
            part = part.view(n, down, right, -1, h, w)
            into[:, b : b + some] = part.permute(0, 3, 1, 4, 2, 5)
        return out, None, None
