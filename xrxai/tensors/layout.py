"""Channels last in memory: for which networks it is chosen when nobody says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from xrxai.model import Model

# With 7 x 7 and more, as in ConvNeXt, nothing is gained (python -m benchmarks.layout).
_LARGEST = 5


def bands_last(model: Model, module: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a run lays out its images with bands last.

    By what the network is made of and not by a clock: a run that goes on, or is done again, must
    have the same bits.
    """
    if model.channels_last != "auto":
        return model.channels_last
    known = isinstance(module, nn.Module) and not model.is_program and model.autocast is None
    if not known or model.takes != "patch" or (device.type, dtype) != ("cpu", torch.float32):
        return False
    return gains(module)


def gains(network: nn.Module) -> bool:
    """Whether its convolutions over pixels are mostly depthwise and small, as in MobileNet.

    Those take the same bytes for fewer products, and gain most. Dense ones gain with many pixels
    and lose with few; 1 x 1 ones lose.
    """
    parts = list(network.modules())
    if any(
        isinstance(part, torch.jit.ScriptModule) or hasattr(part, "_orig_mod") for part in parts
    ):
        return False
    wide = [p for p in parts if isinstance(p, nn.Conv2d) and math.prod(p.kernel_size) > 1]
    depthwise = [p for p in wide if p.groups == p.in_channels > 1]
    small = all(max(part.kernel_size) <= _LARGEST for part in depthwise)
    return small and bool(depthwise) and 2 * len(depthwise) >= len(wide)
