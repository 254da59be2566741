"""A function of an xarray object becomes an accessor method, signature and all."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def method(function: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Bind `function(obj, ...)` as `accessor.function(...)`, with its doc and signature."""

    @functools.wraps(function)
    def bound(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(self._obj, *args, **kwargs)

    signature = inspect.signature(function)
    first, *rest = signature.parameters.values()
    self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    bound.__signature__ = signature.replace(parameters=[self, *rest])  # type: ignore[attr-defined]
    bound.__doc__ = _without(function.__doc__, first.name)
    return cast("Callable[Concatenate[Any, P], R]", bound)


def _without(doc: str | None, name: str) -> str | None:
    """Docstring of a function without the entry of its first parameter."""
    if doc is None:
        return None
    lines = inspect.cleandoc(doc).splitlines()
    at = next((i for i, line in enumerate(lines) if line.startswith(f"{name} : ")), None)
    if at is None:
        return "\n".join(lines)
    end = at + 1
    while end < len(lines) and (lines[end].startswith(" ") or not lines[end]):
        end += 1
    kept = lines[:at] + lines[end:]
    if kept[at - 1].startswith("-") and (at == len(kept) or not kept[at].strip()):
        kept = kept[: at - 2] + kept[at:]
    return "\n".join(kept)
