"""A model of spectra as one of patches: a map that it makes pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

if TYPE_CHECKING:
    from xrxai.model import Model

Prepare = Callable[[Any], Any] | None


def by_pixel(model: Model) -> Model:
    """Let a sample be the pixels of a region, and its score the sum over them."""
    inner = model.forward
    wrapped: Any
    if model.arrays == "numpy":
        call = getattr(inner, "predict_proba", None) or getattr(inner, "predict", None) or inner
        wrapped = _Table(call, model.scale, model.prepare)
    else:
        wrapped = _Network(inner, model.scale, model.prepare)
    return replace(
        model,
        forward=wrapped,
        factory=None,
        takes="patch",
        gives="map",
        reduction="area",
        scale=1.0,
        prepare=None,
        name=model.label,
    )


class _Network(nn.Module):
    """(n, band, y, x) -> (n, target, y, x)."""

    def __init__(self, inner: Any, scale: float, prepare: Prepare) -> None:
        super().__init__()
        # A program of torch.export is called through its module.
        self.inner = inner.module() if hasattr(inner, "graph_module") else inner
        self.scale = scale
        self.prepare = prepare

    def forward(self, x: Tensor) -> Tensor:
        """Answer all pixels at once."""
        n, _, h, w = x.shape
        flat = x.movedim(1, -1).flatten(0, 2) * self.scale
        out = self.inner(flat if self.prepare is None else self.prepare(flat))
        made: Tensor = out.reshape(n, h, w, -1).movedim(-1, 1)
        return made


class _Table:
    """The same for what works on numpy arrays."""

    def __init__(self, call: Any, scale: float, prepare: Prepare) -> None:
        self.call = call
        self.scale = scale
        self.prepare = prepare

    def __call__(self, x: np.ndarray) -> np.ndarray:
        n, band, h, w = x.shape
        flat = np.moveaxis(x, 1, -1).reshape(-1, band) * self.scale
        out = np.asarray(self.call(flat if self.prepare is None else self.prepare(flat)))
        made: np.ndarray = np.moveaxis(out.reshape(n, h, w, -1), -1, 1)
        return made
