"""Layers of an encoder that stay as they are, statistics of their normalisation included."""

from __future__ import annotations

import torch
from torch import nn

from xrxai.errors import OptionError, at_least


def frozen_layers(encoder: nn.Module, frozen: int | str, bands: int, depth: int) -> tuple[str, ...]:
    """Names of the layers that the features of the first stages of an encoder depend on.

    The features of stage n are those that are halved n times. What they depend on is what a
    gradient would reach, so that no table of encoders is needed.
    """
    layers = {name: list(m.parameters(recurse=False)) for name, m in encoder.named_modules()}
    layers = {name: own for name, own in layers.items() if own}
    if frozen == "encoder":
        return tuple(layers)
    if isinstance(frozen, str):
        raise OptionError(
            f"frozen={frozen!r} is not known; type frozen='encoder', or how many of its {depth} "
            f"stages, frozen=2."
        )
    stages = at_least(frozen, 0, "frozen")
    if stages > depth:
        raise OptionError(
            f"frozen={stages} is more than the {depth} stages of the encoder; type "
            f"frozen='encoder' for all."
        )
    if stages == 0:
        return ()
    was = encoder.training
    side = 2 ** (depth + 1)
    try:
        with torch.enable_grad():
            features = encoder.eval()(torch.zeros(1, bands, side, side))[stages]
    finally:
        encoder.train(was)
    if not features.requires_grad:  # some transformers have no features at half the size
        return ()
    parameters = [p for own in layers.values() for p in own]
    reached = torch.autograd.grad(features.sum(), parameters, allow_unused=True)
    hit = {id(p) for p, g in zip(parameters, reached, strict=True) if g is not None}
    return tuple(name for name, own in layers.items() if any(id(p) in hit for p in own))
