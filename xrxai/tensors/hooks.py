"""Inside the network: find its layers, change what they do for a while, give them back as found."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xrxai.errors import ModelError, OptionError
from xrxai.tensors.run import Runner

if TYPE_CHECKING:
    from xrxai.model import Model

_SHOWN = 30


def networks(model: Model, method: str) -> list[torch.nn.Module]:
    """Networks whose layers a method can reach, or why it cannot."""
    if model.is_program:
        raise ModelError(
            f"The method {method} reaches into layers, and a program of torch.export has none "
            f"left; give Model(...) the torch.nn.Module that was exported."
        )
    found: list[torch.nn.Module] = model.networks()
    if not found:
        raise ModelError(
            f"The method {method} reaches into layers, and {model.label} holds no torch.nn.Module "
            f"that could be found; give Model(...) the network itself."
        )
    for network in found:
        for part in network.modules():
            if isinstance(part, torch.jit.ScriptModule):
                raise ModelError(
                    f"The method {method} reaches into layers, and TorchScript lets nobody in; "
                    f"give Model(...) the torch.nn.Module that was scripted or traced."
                )
            if hasattr(part, "_orig_mod"):
                raise ModelError(
                    f"The method {method} reaches into layers, which torch.compile has fused; "
                    f"give Model(...) the network before torch.compile."
                )
    return found


def running(runner: Runner) -> list[torch.nn.Module]:
    """Networks that answer in this run: on another device they are copies."""
    if isinstance(runner.module, torch.nn.Module):
        return [runner.module]
    found: list[torch.nn.Module] = runner.model.networks()
    return found


def find(among: list[torch.nn.Module], name: str | None) -> torch.nn.Module:
    """The layer called `name`, as `named_modules` calls it."""
    named: dict[str, dict[int, torch.nn.Module]] = {}
    for network in among:
        for key, part in network.named_modules():
            if key:
                named.setdefault(key, {})[id(part)] = part
    listed = ", ".join(map(repr, list(named)[:_SHOWN])) + ", ..." * (len(named) > _SHOWN)
    if not named:
        raise OptionError(
            "The network has no layers inside; layer= needs one that is built of modules."
        )
    if name is None:
        raise OptionError(f"layer= is missing: which layer is looked at? Choose one of {listed}.")
    if name not in named:
        near = [key for key in named if str(name) and key.endswith(f".{name}")][:3]
        near += [k for k in difflib.get_close_matches(str(name), named) if k not in near]
        meant = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise OptionError(f"The model has no layer {name!r}. {meant}Its layers are {listed}.")
    if len(named[name]) > 1:
        raise OptionError(
            f"{len(named[name])} networks that the model uses have a layer {name!r}; wrap them in "
            f"one torch.nn.Module, so that every layer has a name of its own."
        )
    (part,) = named[name].values()
    return part


def called(among: list[torch.nn.Module], part: object) -> str:
    """What to call a part of a network in a message."""
    if part is None:
        return "what is around its layers"
    kind = type(part).__name__
    names = [key for network in among for key, p in network.named_modules() if p is part and key]
    return f"{kind} {names[0]!r}" if names else kind


@contextlib.contextmanager
def replaced(
    parts: Iterable[torch.nn.Module],
    new: Callable[[torch.nn.Module, Callable[..., Tensor]], Callable[..., Tensor]],
) -> Iterator[None]:
    """Give each part another forward, `new(part, its own)`, undone also after an error.

    A forward, not a hook: hooks see tensors that in-place layers have already overwritten, and
    share one slot between the calls of a layer that is used twice.
    """
    before = []
    try:
        for part in {id(p): p for p in parts}.values():
            before.append((part, vars(part).get("forward")))
            vars(part)["forward"] = new(part, part.forward)
        yield
    finally:
        for part, own in before:
            if own is None:
                vars(part).pop("forward", None)
            else:
                vars(part)["forward"] = own


@contextlib.contextmanager
def cut(part: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Start the graph at the output of a part: the list holds what each call of it gave."""
    leaves: list[Tensor] = []

    def hook(_: torch.nn.Module, __: object, output: object) -> object:
        several = isinstance(output, tuple | list) and output
        first = output[0] if several else output  # type: ignore[index]
        if not isinstance(first, Tensor) or not first.is_floating_point():
            return output
        leaf = first.detach().clone().requires_grad_(True)
        leaves.append(leaf)
        # A copy goes on: a layer in place behind this one must not overwrite the leaf.
        onward = leaf.clone()
        return type(output)([onward, *output[1:]]) if several else onward  # type: ignore

    # Without a gradient yet, transformer layers would take a fused way past their own parts.
    fused = torch.backends.mha.get_fastpath_enabled()
    handle = part.register_forward_hook(hook)
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        yield leaves
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        handle.remove()


@contextlib.contextmanager
def as_found(among: list[torch.nn.Module]) -> Iterator[None]:
    """Undo every attribute and hook that somebody else's code leaves on the networks."""
    parts = [part for network in among for part in network.modules()]
    before = [
        (
            part,
            dict(vars(part)),
            {k: v.copy() for k, v in vars(part).items() if isinstance(v, dict)},
        )
        for part in parts
    ]
    try:
        yield
    finally:
        for part, own, tables in before:
            vars(part).clear()
            vars(part).update(own)
            for key, table in tables.items():
                # The very dict, because handles of hooks point to it.
                own[key].clear()
                own[key].update(table)
