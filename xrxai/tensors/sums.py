"""Answers of the linear stem to patterns, as sums of its answers to what they switch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xrxai.tensors.fill import with_always
from xrxai.tensors.masked import Switched, spans
from xrxai.tensors.run import Runner
from xrxai.tensors.stem import Layer, reaching

_TABLE_BYTES = 2**28
LITTLE = "it would save too little"


class NotLinearError(Exception):
    """The answers of the first layer are not the sums of its parts, or cost too much."""


class Place(NamedTuple):
    """What part of a batch a table is for, and memory for rows of the model's input."""

    runner: Runner
    layer: Layer
    samples: slice
    room: Tensor
    first: Tensor | None = None  # what the layer said to the first pattern, if that is known


def fit(true: Tensor, made: Tensor, spread: Tensor) -> None:
    """Refuse sums that are not the layer's own answers."""
    relative, own = (1e-5, 16) if true.dtype == torch.float32 else (1e-10, 64)
    largest = [each.flatten(1).abs().amax(1) for each in (true - made, spread, true)]
    room = relative * largest[1] + own * torch.finfo(true.dtype).eps * largest[2]
    if not bool((largest[0] <= room).all()):
        raise NotLinearError("what lies before it mixes features")


def mixed(on: np.ndarray) -> int:
    """The pattern that tells most: about half of it on."""
    return int(np.abs(on.mean(1) - 0.5).argmin())


class Table:
    """What the layer would say to patterns of some samples, without running it."""

    batch = 0  # rows that suit its answers, 0 where those of the input decide

    def answer(self, i: slice, j: slice) -> Tensor:
        """Samples i, counted from the first, under the patterns j: (i * j, *any)."""
        raise NotImplementedError


class Rows(Table):
    """Whatever lies before the layer: it runs once per group, up to the layer."""

    def __init__(self, place: Place, made: Switched) -> None:
        x, on = made.x, made.on
        groups, check = on.shape[1], mixed(on)
        parts = np.vstack(
            [np.zeros_like(on[:1]), np.eye(groups, dtype=bool), on[check : check + 1]]
        )
        front = Switched(x, made.fill, parts, made.part)
        i, size = place.samples, len(place.room)
        n, m = i.stop - i.start, len(parts)
        each: Tensor | None = None
        for rows, j in spans(n, m, size, front):
            here = slice(i.start + rows.start, i.start + rows.stop)
            shape = (here.stop - here.start, j.stop - j.start)
            z = place.room[: shape[0] * shape[1]]
            front.write(z.view(*shape, *x.shape[1:]), here, j)
            answer = place.layer(reaching(place.runner, place.layer, z))
            if answer.shape[0] != len(z):
                raise NotLinearError("its rows are not those of the input")
            if each is None:
                if n * m * answer[0].numel() * answer.element_size() > _TABLE_BYTES:
                    raise NotLinearError("its answers are too large")
                each = answer.new_empty((n, m, *answer.shape[1:]))
            each[rows, j] = answer.view(*shape, *answer.shape[1:])
        assert each is not None
        self._shape = each.shape[2:]
        flat = each.flatten(2)
        base = flat[:, :1]
        # The base is one more group, which is always on: a single product makes an answer.
        self._parts = torch.cat([base, flat[:, 1:-1] - base], dim=1)
        self._on = torch.as_tensor(with_always(on), device=x.device).to(each.dtype)
        made_up = self.answer(slice(0, n), slice(check, check + 1))
        fit(flat[:, -1], made_up.flatten(1), self._parts[:, 1:].sum(1))

    def answer(self, i: slice, j: slice) -> Tensor:
        """See `Table`."""
        return torch.matmul(self._on[j], self._parts[i]).view(-1, *self._shape)
