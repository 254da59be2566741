"""The watch over a network: what it does to its input that no rule has reached."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xrxai.errors import ModelError
from xrxai.tensors import hooks
from xrxai.tensors.run import Runner

# Names of aten, without the underscore of those that work in place.
_SUMS_AND_SHAPES = """
add sub rsub neg cat stack sum mean cumsum detach alias clone copy _to_copy lift_fresh
view _unsafe_view reshape _reshape_alias permute transpose t expand squeeze unsqueeze slice
select narrow split split_with_sizes unbind chunk flatten unflatten movedim diagonal as_strided
unfold repeat flip roll rot90 index index_select gather take_along_dim masked_fill tril triu
constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d
upsample_linear1d upsample_bilinear2d upsample_nearest1d upsample_nearest2d upsample_bicubic2d
_upsample_bilinear2d_aa _upsample_bicubic2d_aa _upsample_nearest_exact2d
pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im
fill zero index_put slice_scatter select_scatter
zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full
"""
_PRODUCTS = """
mul mm bmm mv dot matmul linear convolution _convolution cudnn_convolution mkldnn_convolution
_conv_depthwise2d convolution_overrideable addmm addbmm baddbmm addmv
"""
# Where the gradient of the winner, or a slope through zero, is the rule of LRP itself.
_HOMOGENEOUS = """
relu leaky_relu _prelu_kernel amax max
max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d
"""
_ALWAYS = frozenset(_SUMS_AND_SHAPES.split())
_BY_ONE_FACTOR = frozenset(_PRODUCTS.split())
_WINNERS = frozenset(_HOMOGENEOUS.split())


class Watch(TorchDispatchMode):
    """Notes the operations on what depends on the input that no rule has taken care of.

    Parameters are frozen during a run, so what depends on the input is what requires a gradient.
    """

    def __init__(self, fits: Callable[[str, Any, list[bool]], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fits = fits
        self.inside = 0
        self.found: dict[tuple[str, int], object] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.inside:
            live = [_live(a) for a in args]
            if any(live) or any(_live(a) for a in kwargs.values()):
                name = func._schema.name.removeprefix("aten::").rstrip("_")
                if not self.fits(name, Call(func, args, kwargs), live):
                    owner = _owner()
                    self.found[(name.lstrip("_"), id(owner))] = owner
        return func(*args, **kwargs)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What runs here has its rule."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def told(self, among: list[nn.Module]) -> str:
        """What was found, and in which layers."""
        places = [f"{name} in {hooks.called(among, o)}" for (name, _), o in self.found.items()]
        return ", ".join(dict.fromkeys(places[:6])) + ", ..." * (len(places) > 6)


class Call(NamedTuple):
    """One operation and what it was given."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def value(self, name: str) -> Any:
        """The argument of that name, None where it was left out."""
        for i, argument in enumerate(self.func._schema.arguments):
            if argument.name == name:
                return self.args[i] if i < len(self.args) else self.kwargs.get(name)
        return None


def _live(argument: Any) -> bool:
    return any(isinstance(a, Tensor) and a.requires_grad for a in tree_leaves(argument))


def _owner() -> object:
    """The module whose code runs: the nearest on the stack."""
    frame = sys._getframe(2)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            return owner
        frame = frame.f_back  # type: ignore[assignment]
    return None


def rectifies(name: str, call: Call, live: list[bool]) -> bool:
    """Whether an operation is a ReLU by another name, and so needs the rule of one."""
    if name in ("clamp", "clamp_min"):
        return _zero(call.value("min"))
    if name == "hardtanh":
        return _zero(call.value("min_val"))
    if name in ("gt", "ge", "lt", "le"):
        return _zero(call.args[1])
    return name in ("relu", "threshold") or (name == "maximum" and sum(live) == 1)


def _zero(value: Any) -> bool:
    return isinstance(value, int | float) and value == 0


def linear(name: str, call: Call, live: list[bool]) -> bool:
    """Whether an operation is linear in what depends on the input."""
    if name in _ALWAYS:
        return True
    if name in _BY_ONE_FACTOR:
        factors = live[1:] if name.startswith("add") or name == "baddbmm" else live
        return sum(factors) <= 1
    if name == "div":
        return not live[1] and call.kwargs.get("rounding_mode") is None
    if "batch_norm" in name:
        return not call.value("training") and not any(live[1:])
    return False


def homogeneous(name: str, call: Call, live: list[bool]) -> bool:
    """Linear, or so along the ray through zero: its gradient hands on all relevance there is."""
    return name in _WINNERS or linear(name, call, live)


@contextlib.contextmanager
def watched(runner: Runner, watch: Watch, whole: bool) -> Iterator[None]:
    """Watch the network, or the whole way from the cube to its answer, preprocessing included."""
    key = "forward" if whole else "module"
    own, had = getattr(runner, key), key in vars(runner)

    def call(z: Tensor) -> Tensor:
        with watch:
            answer: Tensor = own(z)
        return answer

    vars(runner)[key] = call
    try:
        yield
    finally:
        if had:
            vars(runner)[key] = own
        else:
            del vars(runner)[key]


def refuse(method: str, watch: Watch, among: list[nn.Module]) -> None:
    """Say which operations have no rule."""
    if not watch.found:
        return
    raise ModelError(
        f"The method {method} has rules for what is linear and for modules such as torch.nn.ReLU, "
        f"and none for {watch.told(among)}. Make activations modules of their own, do to the cube "
        f"itself what prepare= does beyond shift and scale, or use integrated_gradients, which "
        f"needs no rules."
    )
