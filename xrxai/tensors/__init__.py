"""The world of tensors: torch lives here, and is loaded when a kernel first runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xrxai.tensors import (
        cam,
        device,
        field,
        foreign,
        greedy,
        hooks,
        integrate,
        known,
        memory,
        paths,
        perturb,
        pixels,
        probe,
        replica,
        rules,
        run,
        running,
        score,
        screen,
        seam,
        shapley,
        surrogate,
        until,
    )

__all__ = [
    "cam",
    "device",
    "field",
    "foreign",
    "greedy",
    "hooks",
    "integrate",
    "known",
    "memory",
    "paths",
    "perturb",
    "pixels",
    "probe",
    "replica",
    "rules",
    "run",
    "running",
    "score",
    "screen",
    "seam",
    "shapley",
    "surrogate",
    "until",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"xrxai.tensors.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
