"""Models that answer with a difference of scores: of two classes, or of the winner and all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from xrxai.errors import OptionError
from xrxai.model import Model


def called(a: str, b: str) -> str:
    """Name a pair (label, chosen)."""
    return f"{a} -> {b}"


def margins_of(model: Model, pairs: list[tuple[str, str]], targets: dict[str, int]) -> Model:
    """The same model, answering with a margin for each pair."""
    if model.activation is not None and not model.is_estimator:
        raise OptionError(
            f"The model answers after activation={model.activation!r}, where margins saturate; "
            f"type activation=None, so that it answers with logits."
        )
    of, instead = ([targets[pair[i]] for pair in pairs] for i in (0, 1))
    names = tuple(called(a, b) for a, b in pairs)
    if model.is_estimator:
        ask = model.forward.predict_proba

        def log_odds(spectra: np.ndarray) -> np.ndarray:
            logs = np.log(np.clip(ask(spectra), 1e-6, None))
            made: np.ndarray = logs[:, instead] - logs[:, of]
            return made

        return replace(model, forward=log_odds, targets=names, factory=None, name=model.label)
    return _answering(model, lambda scores: scores[:, instead] - scores[:, of], names)


def winner_of(model: Model) -> Model:
    """The same model of maps, answering with its largest score minus their mean.

    Logits mean the same with a constant added, and so does this.
    """

    def above_mean(scores: Tensor) -> Tensor:
        return scores.amax(1, keepdim=True) - scores.mean(1, keepdim=True)

    return _answering(replace(model, activation=None), above_mean, ("winner",))


def _answering(model: Model, change: Callable[[Any], Any], names: tuple[str, ...]) -> Model:
    """The model with another last step."""
    inner = model.forward.module() if model.is_program else model.forward
    reduction = "area" if model.gives == "map" else model.reduction
    wrapped: Any
    if isinstance(inner, nn.Module):
        wrapped = _Then(inner, change).train(inner.training)
    else:

        def wrapped(x: Any) -> Any:
            return change(inner(x))

        # Where `Model.networks` looks for what it has to keep as found.
        vars(wrapped).update({f"network_{i}": net for i, net in enumerate(model.networks())})
    return replace(
        model, forward=wrapped, targets=names, reduction=reduction, factory=None, name=model.label
    )


class _Then(nn.Module):
    """A network, and something done to its scores."""

    def __init__(self, net: nn.Module, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x: Tensor) -> Any:
        """x -> changed scores."""
        return self.change(self.net(x))
