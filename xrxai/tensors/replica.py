"""A network for each thread: copies that share the weights, so that threads do not meet."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Evaluation mode, frozen parameters and replaced forwards are state of a shared network: whoever
# runs one, or copies it, holds this.
SHARED = threading.RLock()

_PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, type, types.ModuleType),
    *(types.BuiltinFunctionType, torch.dtype, torch.device, Tensor, np.ndarray, np.generic),
)
_MUTABLE = (nn.Module, dict, list, set, types.MethodType)


class _Entry(NamedTuple):
    source: weakref.ref[Any]
    marks: tuple[Any, ...]
    made: Any


class _Kept:
    """A few things made of others, each under a key, freed when others come or its source goes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(self, source: Any, key: Hashable, make: Callable[[], Any]) -> Any:
        marks = _marks(source)
        entry = self.entries.pop(key, None)
        if entry is None or entry.source() is not source or entry.marks != marks:
            entries = self.entries
            gone = weakref.ref(source, lambda _: entries.pop(key, None))
            entry = _Entry(gone, marks, make())
        self.entries[key] = entry
        while len(self.entries) > self.room:
            self.entries.popitem(last=False)
        return entry.made


class _Own(threading.local):
    """What each thread keeps for itself."""

    def __init__(self) -> None:
        self.kept = _Kept(4)


_own = _Own()
# Of an accelerator all threads share one copy, since only one of them runs there at a time.
_on_device = _Kept(2)
_programs = _Kept(4)


def own(
    module: nn.Module, key: Hashable, here: torch.device, there: torch.device
) -> nn.Module | None:
    """Replica of a network for this thread, made once per key; None where none can be made."""
    if there.type == "cpu" and here == there:
        found: nn.Module | None = _own.kept.get(module, key, lambda: replica(module))
        return found

    def make() -> nn.Module | None:
        made = replica(module)
        return made if made is None or here == there else made.to(there)

    with SHARED:
        copied: nn.Module | None = _on_device.get(module, (key, str(there)), make)
    if copied is None or there.type != "cpu":
        return copied
    # Brought to the memory of the CPU once, and from there each thread has its own.
    found = _own.kept.get(copied, key, lambda: replica(copied))
    return found


def program(source: Any, key: Hashable | None) -> nn.Module:
    """The module of a program of torch.export, made once per key."""
    made: nn.Module = source.module() if key is None else _programs.get(source, key, source.module)
    return made


def moved(source: Any, module: nn.Module, key: Hashable | None, there: torch.device) -> nn.Module:
    """A copy on another device of what `source` runs as, made once per key."""

    def make() -> nn.Module:
        made = replica(module)  # without copying the weights where they are
        return (copy.deepcopy(module) if made is None else made).to(there)

    made: nn.Module = (
        make() if key is None else _on_device.get(source, (key, str(there), "lent"), make)
    )
    return made


def replica(module: nn.Module) -> nn.Module | None:
    """A frozen copy in evaluation mode that shares parameters and buffers, or None.

    Ties between parameters are kept. There is none of programs, of what torch.compile has made,
    and of networks whose own functions reach for something that a copy would leave behind.
    """
    parts = list(module.modules())
    if any(isinstance(p, torch.jit.ScriptModule) or hasattr(p, "_orig_mod") for p in parts):
        return None
    with SHARED:  # nobody replaces a forward meanwhile
        if any(_reaches_out(value, set()) for part in parts for value in vars(part).values()):
            return None
        try:
            memo: dict[int, Any] = {id(b): b.detach() for b in module.buffers()}
            for parameter in module.parameters():
                memo[id(parameter)] = _frozen(parameter)
            made = copy.deepcopy(module, memo)
        except Exception:  # locks, handles, tensors of a graph: any error type
            return None
    if not {id(part) for part in parts}.isdisjoint(id(part) for part in made.modules()):
        return None
    for part in made.modules():
        part.training = False
    return made


@contextlib.contextmanager
def lent(networks: list[nn.Module]) -> Iterator[None]:
    """Evaluation mode and frozen parameters, undone also after an error."""
    # The attribute, not .eval(): programs of torch.export refuse the method.
    modes = [(part, part.training) for network in networks for part in network.modules()]
    learns = [(p, p.requires_grad) for network in networks for p in network.parameters()]
    try:
        for part, _ in modes:
            part.training = False
        for parameter, _ in learns:
            parameter.requires_grad_(False)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, flag in learns:
            parameter.requires_grad_(flag)


def _frozen(parameter: nn.Parameter) -> nn.Parameter:
    made = nn.Parameter(parameter.detach(), requires_grad=False)
    vars(made).update(vars(parameter))
    return made


def _reaches_out(value: Any, seen: set[int]) -> bool:
    """Whether copying this leaves a function that still works on what the original holds."""
    if id(value) in seen or isinstance(value, nn.Module | Tensor):
        return False
    seen.add(id(value))
    if isinstance(value, dict):
        return any(_reaches_out(v, seen) for v in value.values())
    if isinstance(value, list | tuple | set):
        return any(_reaches_out(v, seen) for v in value)
    if isinstance(value, functools.partial):
        return _reaches_out([value.func, *value.args, *value.keywords.values()], seen)
    if isinstance(value, types.MethodType):  # a copy is bound to the copy
        return _reaches_out(value.__func__, seen)
    if not isinstance(value, types.FunctionType) or str(value.__module__).startswith("torch."):
        return False
    try:
        used = inspect.getclosurevars(value)
    except ValueError:  # a variable without a value yet
        return True
    closed = [*used.nonlocals.values(), *(value.__defaults__ or ())]
    closed += (value.__kwdefaults__ or {}).values()
    for thing in closed:
        if isinstance(thing, types.FunctionType | functools.partial):
            if _reaches_out(thing, seen):
                return True
        elif not isinstance(thing, _PLAIN):
            return True
    # Only what is likely to be the network's own: libraries have tables and caches, too.
    return any(isinstance(thing, _MUTABLE) for thing in used.globals.values())


def _marks(source: Any) -> tuple[Any, ...]:
    """What changes when the tensors of a network change, or others take their place."""
    return tuple(
        (t.data_ptr(), t.dtype, None if t.is_inference() else t._version) for t in _tensors(source)
    )


def _tensors(source: Any) -> Iterator[Tensor]:
    if isinstance(source, nn.Module):
        yield from source.parameters()
        yield from source.buffers()
