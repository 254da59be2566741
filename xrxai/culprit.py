"""What in a model cannot be pickled, by the name under which it is held."""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Iterator
from typing import Any

import cloudpickle

_INNER = {"_modules", "_parameters", "_buffers"}


def culprit(thing: Any) -> str | None:
    """Name the innermost thing that cannot be pickled; None when all of it can."""
    return None if _pickles(thing) else _search(thing, "", set())


def _search(thing: Any, path: str, seen: set[int]) -> str:
    seen.add(id(thing))
    for step, part in _parts(thing):
        if id(part) not in seen and not _pickles(part):
            return _search(part, path if step in _INNER else f"{path}.{step}".lstrip("."), seen)
    kind = type(thing)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full(kind)
    return f"{path} (a {name})" if path else f"a {name}"


def _full(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of what a thing holds."""
    if isinstance(thing, dict):
        yield from ((str(key), value) for key, value in thing.items())
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from ((str(i), value) for i, value in enumerate(thing))
    elif isinstance(thing, functools.partial):
        yield from _parts({"func": thing.func, "args": thing.args, **thing.keywords})
    elif inspect.ismethod(thing):
        yield "__self__", thing.__self__
    elif inspect.isfunction(thing):
        used = inspect.getclosurevars(thing)
        yield from {**used.nonlocals, **used.globals}.items()
    yield from getattr(thing, "__dict__", {}).items()


class _Rest(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickler of all but tensors and programs: they have their own way."""

    def persistent_id(self, thing: Any) -> str | None:
        import torch

        return "apart" if isinstance(thing, torch.Tensor) or is_program(thing) else None


def _pickles(thing: Any) -> bool:
    try:
        _Rest(io.BytesIO()).dump(thing)
    except Exception:  # any type, depending on what is held
        return False
    return True


def is_program(thing: Any) -> bool:
    """Whether TorchScript or torch.export made it, which save it themselves."""
    import torch

    script = isinstance(thing, torch.jit.ScriptModule | torch.jit.ScriptFunction)
    return script or type(thing).__name__ == "ExportedProgram"
