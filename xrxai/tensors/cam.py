"""Class activation maps: a layer's channels, weighted by their mean gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xrxai.errors import ModelError, OptionError
from xrxai.tensors import hooks
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score, slopes


def grad_cam(
    score: Score, x: Tensor, *, layer: str, tokens: tuple[int, ...] | None, positive: bool
) -> tuple[Tensor, Tensor]:
    """Scores (n, target) and maps (n, target, *positions) of x (n, band, *positions or none)."""
    grid = tuple(x.shape[2:]) or tuple(x.shape[1:])
    prediction = x.new_empty((x.shape[0], score.n_targets))
    maps = x.new_empty((*prediction.shape, *grid))
    part = hooks.find(hooks.running(score.runner), layer)
    for i in batches(x.shape[0], score.batch(x), x.device):
        with hooks.cut(part) as leaves, torch.enable_grad():
            s = score(x[i], i, clean=True)
        leaf = _only(leaves, layer, len(i))
        if not s.requires_grad:
            raise ModelError(
                f"The score of {score.runner.model.label} does not follow from the layer "
                f"{layer!r}, or no gradient comes through; choose a layer between the cube and "
                f"the answer."
            )
        slope = slopes(score, s, leaf)
        # Under autocast the layer works in a lower precision than the map.
        a = _placed(leaf.detach().to(x.dtype), 0, len(grid), tokens, layer)
        g = _placed(slope.to(x.dtype), 1, len(grid), tokens, layer)
        small = torch.einsum("nkc,nc...->nk...", g.flatten(3).mean(3), a)
        maps[i] = score.runner.on_grid(small.clamp(min=0) if positive else small, grid)
        prediction[i] = s.detach()
    return prediction, maps


def _only(leaves: list[Tensor], layer: str, n: int) -> Tensor:
    if len(leaves) != 1:
        raise ModelError(
            f"The layer {layer!r} gave {len(leaves)} tensors in one pass, and one is needed; "
            f"choose a layer that the network calls once."
        )
    if leaves[0].shape[0] != n:
        raise ModelError(
            f"The layer {layer!r} answered shape {tuple(leaves[0].shape)} to {n} samples, which "
            f"it no longer keeps apart; choose a layer that gives (n, ...)."
        )
    return leaves[0]


def _placed(
    z: Tensor, lead: int, n_dims: int, tokens: tuple[int, ...] | None, layer: str
) -> Tensor:
    """What a layer gave, (n, channel, *positions), after `lead` more axes behind the samples.

    Sequences (n, token, channel) are laid out on `tokens`; what leads them (a class token) is
    dropped. With `tokens` given, (n, *tokens, channel) keeps its channels last.
    """
    own = tuple(z.shape[1 + lead :])
    if tokens is not None and len(own) == n_dims + 1 and own[:-1] == tokens:
        return z.movedim(-1, 1 + lead)
    if tokens is None and len(own) == n_dims + 1:
        return z
    if len(own) == 2 and (tokens is not None or n_dims == 2):
        size = _inferred(own[0], layer) if tokens is None else tokens
        count = math.prod(size)
        if count <= own[0]:
            kept = z[(slice(None),) * (1 + lead) + (slice(own[0] - count, None),)]
            laid: Tensor = kept.unflatten(1 + lead, size).movedim(-1, 1 + lead)
            return laid
    shape = ", ".join(["n", *map(str, own)])
    if tokens is not None:
        typed = tokens if n_dims > 1 else tokens[0]
        raise OptionError(
            f"tokens={typed} does not fit the layer {layer!r}, which gives ({shape}); it is the "
            f"layout of the tokens without class tokens."
        )
    raise ModelError(
        f"The layer {layer!r} gives ({shape}), which has no positions left to map; choose an "
        f"earlier one, such as the last convolution."
    )


def _inferred(count: int, layer: str) -> tuple[int, int]:
    for extra in (0, 1):
        side = math.isqrt(count - extra)
        if side and side * side == count - extra:
            return side, side
    raise OptionError(
        f"The layer {layer!r} gives {count} tokens, no square with or without a class token; "
        f"type tokens=(rows, columns)."
    )
