"""The linear stem: a linear first layer answers a masked input by the masked sum of its answers.

``L(z) = L(b) + sum_g on_g [L(b + (x - b) 1_g) - L(b)]``, so that it need not run for every
pattern. What lies before the layer may be anything that treats features one by one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from xrxai.tensors import patches
from xrxai.tensors.run import Runner

_KINDS = (nn.Conv1d, nn.Conv2d, nn.Linear)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

# What asks for the shape of a tensor, not for its values.
_SHAPES = {
    *("size", "dim", "numel", "nelement", "stride", "storage_offset", "element_size", "__len__"),
    *("is_contiguous", "is_floating_point", "is_complex", "ndimension", "get_device", "type"),
}

log = logging.getLogger("xrxai")


class Layer(NamedTuple):
    """The first layer of a network, and what it is called there."""

    name: str
    module: nn.Module

    def __call__(self, u: Tensor) -> Tensor:
        """Answer as its class does."""
        return patches.answer(self.module, u)

    def __str__(self) -> str:
        """Such as "conv2d patch_embed.proj"."""
        return f"{type(self.module).__name__.lower()} {self.name}".strip()

    @property
    def taps(self) -> int:
        """Products per value of its answer."""
        weight: Any = self.module.weight
        return int(weight[0].numel())


class Nothing(NamedTuple):
    """Why a run has no stem; results tell it unless it was to be expected."""

    reason: str
    expected: bool = False

    def __str__(self) -> str:
        """Such as "none: the input is used twice"."""
        return f"none: {self.reason}"


def refusal(runner: Runner) -> str | None:
    """Why this run has no stem to look for, if so."""
    model = runner.model
    if model.stem == "off":
        return "stem='off'"
    if model.autocast is not None:
        return "autocast rounds"
    if runner.device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        return "TF32 rounds"
    parts = runner.module.modules() if isinstance(runner.module, nn.Module) else ()
    if not isinstance(runner.module, nn.Module) or model.is_program:
        return "the model is no torch.nn.Module"
    if any(isinstance(p, torch.jit.ScriptModule) or hasattr(p, "_orig_mod") for p in parts):
        return "TorchScript and torch.compile let nobody in"
    return None


def say(runner: Runner, what: Layer | Nothing) -> None:
    """Settle for this run what has been found."""
    if runner.stem != what:
        log.debug("%s: linear stem: %s", runner.model.label, what)
    runner.stem = what


def found(runner: Runner, run: Callable[[], None]) -> tuple[Layer | Nothing, Tensor | None]:
    """Find the first linear layer while `run` calls the model once, and what it answers."""
    watch = _Watch()
    candidates = [
        Layer(name, part)
        for name, part in runner.module.named_modules()
        if type(part) in _KINDS
        and patches.ours(part)
        and not any(getattr(part, hooks, None) for hooks in _HOOKS)
    ]
    try:
        with contextlib.ExitStack() as stack:
            for each in candidates:
                stack.enter_context(standing_in(each, watch.around(each)))
            runner.seen = watch.begin
            with watch:
                run()
    finally:
        runner.seen = None
    if watch.layer is None:
        return Nothing("no linear layer was called"), None
    return watch.layer if watch.reason is None else Nothing(watch.reason), watch.said


class _Watch(TorchFunctionMode):
    """Follow the input of a model: after the first linear layer nobody may look at it again."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: Layer | None = None
        self.reason: str | None = None
        self.said: Tensor | None = None
        self._inside = False
        self._made_of_it: dict[int, Tensor] = {}

    def begin(self, z: Tensor) -> None:
        """Take this as the input."""
        self._note(z)

    def around(self, layer: Layer) -> Callable[[Tensor], Tensor]:
        """Forward of a layer that tells when it is called."""

        def forward(u: Tensor) -> Tensor:
            if self.layer is not None:
                if self.layer.module is layer.module:
                    self.reason = "it is called twice"
                return layer(u)
            self.layer, self._inside = layer, True
            try:
                out = layer(u)
                self.said = out.clone()  # what follows may write into it
                return out
            finally:
                self._inside = False

        return forward

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note whether it looks at the input."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if self._inside or not any(self._known(leaf) for leaf in tree_leaves((args, kwargs))):
            return out
        made = [leaf for leaf in tree_leaves(out) if leaf is not None]
        values = any(isinstance(leaf, Tensor) for leaf in made)
        if not values and (name in _SHAPES or name == "__get__"):
            return out
        writes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if self.layer is not None:
            self.reason = self.reason or "the input is used twice"
        elif not values and not writes:
            self.reason = "the network asks for values of its input"
        # What is written in place, as x += 1 and buffer[:] = x are.
        written = args[:1] if writes or name.startswith("__i") else ()
        for leaf in (*made, *written, *tree_leaves(kwargs.get("out"))):
            self._note(leaf)
        return out

    def _known(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and _memory(leaf) in self._made_of_it

    def _note(self, leaf: Any) -> None:
        if isinstance(leaf, Tensor):  # held, so that nothing else takes its place in memory
            self._made_of_it.setdefault(_memory(leaf), leaf)


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr() or -id(tensor)
    except (NotImplementedError, RuntimeError):  # a layout without storage, as of MKL-DNN
        return -id(tensor)


class _Stop(BaseException):
    """Ends a call of the model at its first layer, past whatever a network catches."""


@contextlib.contextmanager
def standing_in(layer: Layer, answer: Tensor | Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let a layer answer something else for a while."""
    before = vars(layer.module).get("forward")
    try:
        layer.module.forward = (lambda _: answer) if isinstance(answer, Tensor) else answer
        yield
    finally:
        if before is None:
            vars(layer.module).pop("forward", None)
        else:
            layer.module.forward = before


def reaching(runner: Runner, layer: Layer, z: Tensor) -> Tensor:
    """What of the input z (rows, *f) reaches the layer, which ends the call there."""
    seen: list[Tensor] = []

    def stop(u: Tensor) -> Tensor:
        seen.append(u)
        raise _Stop

    with standing_in(layer, stop), runner.as_it_is(), contextlib.suppress(_Stop):
        runner.raw(z)
    return seen[0]
