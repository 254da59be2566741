"""Run a model on tensors: device, dtype, preprocessing, answers on the cube's own grid."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xrxai.errors import ModelError
from xrxai.tensors import device as devices
from xrxai.tensors import layout, memory, patches, replica
from xrxai.tensors.device import share_cores

if TYPE_CHECKING:
    from xrxai.model import Model

__all__ = ["Runner", "batches", "dtype_of", "execute", "session", "share_cores"]


class Runner:
    """A Model settled for one call: `forward(x)` takes cube values, gives checked answers."""

    def __init__(
        self, model: Model, module: Any, device: torch.device, dtype: torch.dtype, batch: int | None
    ) -> None:
        self.model = model
        self.module = module
        self.device = device
        self.dtype = dtype
        self._batch = batch
        self.exact = False  # without autocast
        # Once per run, so that the batches of a run are of one size.
        spectra = model.takes == "spectrum" and isinstance(module, torch.nn.Module)
        self._room = devices.room(device, spectra)
        self.limit = memory.limit(model, device)
        self.bands_last = layout.bands_last(model, module, device, dtype)
        self._as_it_is = False
        # The linear stem, or why there is none, once that is known (`tensors.stem`).
        self.stem: Any = None
        # Who wants to see what goes in.
        self.seen: Callable[[Tensor], None] | None = None
        # The largest call so far: rows, and values of one.
        self.most = (0, 1)

    def batch(self, x: Tensor, gradient: bool = False) -> int:
        """Samples shaped like those of x that one call of the model gets, forward or and back."""
        values = x[0].numel()
        size = self._batch
        if size is None:
            memory_of_one = values * x.element_size()
            size = min(4096, self._room // memory_of_one)
            if gradient:
                size = max(size, min(devices.ROWS_BACK, devices.ROOM_BACK // memory_of_one))
        if self.limit is not None:
            size = min(size, self.limit // values)
        return max(1, size)

    def rows_of(self, answer: Tensor) -> int:
        """Samples per call where what is large is not their input, but this answer of a layer."""
        if self._batch is not None or self.limit is not None:
            return 0
        return min(devices.rows(self.device), self._room // answer[0].nbytes)

    @contextlib.contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Leave the layout of the input: the network does not get to see its values."""
        self._as_it_is = True
        try:
            yield
        finally:
            self._as_it_is = False

    def laid_out(self, answer: Tensor) -> Tensor:
        """What the first layer would answer to an input in this run's layout."""
        if not self.bands_last or answer.ndim != 4:
            return answer
        return answer.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, band[, y, x]) -> (n, target[, y, x]), on the grid of x."""
        out = self.raw(x)
        plain = out.detach()
        # A sum is finite when its terms are, and costs no copy of them; it can overflow, too.
        if not math.isfinite(float(plain.sum())) and not bool(torch.isfinite(plain).all()):
            found = "NaN" if bool(torch.isnan(plain).any()) else "infinite values"
            raise ModelError(
                f"The model answered {found} for a finite input; mend the model, or choose a "
                f"baseline that it can bear (log(0) and 0/0, for example, are not finite)."
            )
        if self.model.activation == "softmax":
            return torch.softmax(out, dim=1)
        return torch.sigmoid(out) if self.model.activation == "sigmoid" else out

    def raw(self, x: Tensor) -> Tensor:
        """Before the activation, and finite or not: (n, target[, y, x])."""
        n, grid = x.shape[0], tuple(x.shape[2:])
        self.most = max(self.most, (n, x[0].numel()))
        if self.seen is not None:
            self.seen(x)
        z = self._ready(x)
        try:
            out = self._called(z)
        except XrxaiAnswer as error:
            raise ModelError(str(error)) from None
        except Exception as error:
            if memory.ran_out(error):
                raise
            raise ModelError(
                f"The model failed on an input of shape {tuple(z.shape)}: {_told(error)} "
                f"Check takes={self.model.takes!r}, the number of bands ({x.shape[1]}), pad= "
                f"and resize=."
                + f" It ran on {self.device}; device='cpu' may tell more."
                * (self.device.type != "cpu")
            ) from error
        return self._shaped(out, n, grid, z)

    def _ready(self, x: Tensor) -> Tensor:
        """What the module gets: padded, scaled, resized, prepared."""
        model = self.model
        z = x
        if model.pad is not None:
            h, w = x.shape[-2:]
            high, wide = self._padded(h, w)
            z = F.pad(z, (0, wide - w, 0, high - h), value=model.fill)
        if model.scale != 1.0:
            z = z * model.scale
        if model.resize is not None:
            z = F.interpolate(z, size=tuple(model.resize), mode="bilinear", align_corners=False)
        if model.prepare is None:
            return z
        try:
            ready = model.prepare(z)
        except Exception as error:
            if memory.ran_out(error):
                raise
            raise ModelError(
                f"prepare= failed on an input of shape {tuple(z.shape)}: {_told(error)} "
                f"Mend it, or leave it out."
            ) from error
        if not isinstance(ready, Tensor):
            raise ModelError(
                f"prepare= answered {_kind(ready)}, not a tensor; make it return one tensor of "
                f"shape (n, band{', y, x' * (x.ndim == 4)})."
            )
        return ready

    def _called(self, z: Tensor) -> Tensor:
        if self.model.arrays == "numpy":
            call = self.module
            if self.model.is_estimator:
                call = getattr(self.module, "predict_proba", None) or self.module.predict
            out = torch.as_tensor(np.array(call(z.detach().cpu().numpy())))
            return out.to(device=self.device, dtype=self.dtype)
        if self.bands_last and not self._as_it_is:
            z = z.contiguous(memory_format=torch.channels_last)
        with self._precision():
            out = self.module(z)
        if not isinstance(out, Tensor):
            key = "[0]" if not isinstance(out, dict) else f"[{next(iter(out), 'out')!r}]"
            how = (
                "type Model(..., arrays='numpy')"
                if isinstance(out, np.ndarray)
                else f"wrap it in a torch.nn.Module whose forward returns net(x){key}"
            )
            raise XrxaiAnswer(f"The model answered {_kind(out)}, not one tensor; {how}.")
        return out

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.model.autocast is None or self.exact:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.model.autocast))

    def _shaped(self, out: Tensor, n: int, grid: tuple[int, ...], z: Tensor) -> Tensor:
        k = len(self.model.targets)
        if self.model.gives == "vector":
            if k == 1 and out.shape == (n,):
                out = out[:, None]
            if tuple(out.shape) != (n, k):
                self._refuse(out, n, f"({n}, {k})")
            return out.to(self.dtype)
        if out.ndim != 4 or out.shape[0] != n or out.shape[1] != k:
            self._refuse(out, n, f"({n}, {k}, y, x)")
        out = out.to(self.dtype)
        h, w = grid
        if self.model.resize is not None or tuple(out.shape[2:]) != tuple(z.shape[2:]):
            return self.on_grid(out, grid)
        return out[..., :h, :w]

    def on_grid(self, out: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Spread (n, k, *any) over the model's input, bilinearly: (n, k, *grid) without pads."""
        if len(grid) == 1:
            return F.interpolate(out, size=grid, mode="linear", align_corners=False)
        h, w = grid
        size = self._padded(h, w)
        out = F.interpolate(out, size=size, mode="bilinear", align_corners=False)
        return out[..., :h, :w]

    def _padded(self, h: int, w: int) -> tuple[int, int]:
        pad = self.model.pad
        if pad == "square":
            return max(h, w), max(h, w)
        return (h, w) if pad is None else (h + -h % pad, w + -w % pad)

    def _refuse(self, out: Tensor, n: int, wanted: str) -> NoReturn:
        names, gives = self.model.targets, self.model.gives
        listed = ", ".join(names[:6]) + ", ..." * (len(names) > 6)
        other = {2: "vector", 4: "map"}.get(out.ndim, gives)
        hint = "Name every output in targets=." if other == gives else f"Type gives={other!r}."
        raise ModelError(
            f"The model answered shape {tuple(out.shape)} to {_count(n, 'sample')}; with "
            f"gives={gives!r} and {_count(len(names), 'target')} ({listed}) it must be {wanted}. "
            f"{hint}"
        )


def batches(n: int, size: int, device: torch.device) -> Iterator[Tensor]:
    """Positions 0..n-1, at most `size` at a time."""
    for start in range(0, n, max(1, size)):
        yield torch.arange(start, min(start + max(1, size), n), device=device)


class XrxaiAnswer(Exception):
    """An answer of the model that cannot be used; told apart from its own errors."""


@contextlib.contextmanager
def session(
    model: Model, device: str | None, batch_size: int | None, key: Hashable | None = None
) -> Iterator[Runner]:
    """Lend the model in evaluation mode with frozen parameters; give it back as found.

    With a key, a plain network is not lent: this thread has a replica of it, kept under the key.
    """
    dtype, there = dtype_of(model), devices.chosen(model, device)
    batch = batch_size or model.batch_size
    weights = devices.weights_of(model)
    here = weights[0].device if weights else torch.device("cpu")
    if key is not None and isinstance(model.forward, torch.nn.Module):
        own = replica.own(model.forward, key, here, there)
        if own is not None:
            with devices.turn(there), _quick(model, [own]):
                yield Runner(model, own, there, dtype, batch)
            return
    with replica.SHARED, devices.turn(there):
        module = model.forward
        if model.is_program:
            module = replica.program(model.forward, key)
        networks = [module] if model.is_program else model.networks()
        if isinstance(module, torch.nn.Module) and there != here:
            source = module
            module = replica.moved(model.forward, source, key, there)
            networks = [module]
        with replica.lent(networks), _quick(model, networks):
            yield Runner(model, module, there, dtype, batch)


def _quick(model: Model, networks: list[torch.nn.Module]) -> contextlib.AbstractContextManager[Any]:
    """Large patches as products, unless precision is what autocast makes of it."""
    return contextlib.nullcontext() if model.autocast else patches.products(networks)


def dtype_of(model: Model) -> torch.dtype:
    """Precision in which the model works."""
    if model.dtype is not None:
        return torch.float64 if model.dtype == "float64" else torch.float32
    if model.arrays == "numpy":
        return torch.float64
    if not any(p.dtype == torch.float64 for p in devices.weights_of(model)):
        return torch.float32
    if model.autocast is not None:
        raise ModelError(
            f"autocast={model.autocast!r} runs torch below float32, and {model.label} has "
            f"parameters in float64, which it does not touch; drop autocast=, or give the network "
            f"in float32: net.float()."
        )
    return torch.float64


def _kind(thing: object) -> str:
    name = type(thing).__name__
    return f"an {name}" if name[0].lower() in "aeiou" or name == "ndarray" else f"a {name}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _told(error: Exception) -> str:
    """One line of what went wrong inside the user's code; TorchScript says it last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {(lines or ['no message'])[0]}"
    if "TorchScript interpreter" in text:
        text = lines[-1]
    return text if text.endswith((".", "!", "?")) else text + "."


def execute(
    kernel: Callable[..., Any],
    model: Model,
    x: np.ndarray,
    *,
    targets: list[int],
    weight: np.ndarray | None,
    core: np.ndarray | None,
    inputs: dict[str, np.ndarray],
    static: dict[str, Any],
    device: str | None,
    batch_size: int | None,
    tick: Callable[[int], object] | None,
    replica: Hashable | None = None,
    told: dict[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """Run a kernel on samples x (n, band[, y, x]); arrays in, arrays out.

    `core` (y, x) bool is what a tile with a halo stands for; see `Score`.
    With `replica`, the name of a run, threads run beside each other on replicas of a network.
    When memory runs out all of it is run anew in smaller batches. `told` takes in words how it
    was run.
    """
    devices.keep_pages()
    alone = getattr(getattr(kernel, "spec", None), "alone", False)
    key = None if alone else replica
    tried: list[int] = []
    while True:
        runner, ticked = None, 0

        def count(n: int) -> None:
            nonlocal ticked
            ticked += n
            if tick is not None:
                tick(n)

        try:
            with session(model, device, batch_size, key) as runner:
                found = _run(kernel, runner, x, targets, weight, core, inputs, static, count)
                if told is not None and not getattr(runner.stem, "expected", runner.stem is None):
                    told["stem"] = str(runner.stem)
                return found
        except Exception as error:
            if not memory.ran_out(error):
                raise
            why = _told(error)
        # Here and not above: a caught error holds the tensors of the frames that it passed.
        if tick is not None:
            tick(-ticked)
        most, known = (0, 1), None
        if runner is not None:
            most, known = runner.most, runner.limit
        memory.shrink(model, devices.chosen(model, device), most, known, why, tried)


def _run(
    kernel: Callable[..., Any],
    runner: Runner,
    x: np.ndarray,
    targets: list[int],
    weight: np.ndarray | None,
    core: np.ndarray | None,
    inputs: dict[str, np.ndarray],
    static: dict[str, Any],
    tick: Callable[[int], object],
) -> dict[str, np.ndarray]:
    from xrxai.tensors.score import Score

    def tensor(array: np.ndarray) -> Tensor:
        return devices.placed(array, runner.dtype, runner.device)

    w = None if weight is None else tensor(weight.astype(x.dtype))
    c = None if core is None else tensor(core)
    score = Score(runner, targets, x.shape[0], w, tick, c)
    z = tensor(x)
    found = dict(kernel(z, score, **{k: tensor(v) for k, v in inputs.items()}, **static))
    if runner.model.autocast is not None and "autocast_error" not in found:
        found["autocast_error"] = (found["prediction"] - score.exact(z)).abs()
    found |= {name: value for name, value in score.inside.items() if name in found}
    found["model_evaluations"] = score.evaluations
    if score.pixels is not None:
        found["target_pixels"] = score.pixels
    return {name: value.detach().cpu().numpy() for name, value in found.items()}
