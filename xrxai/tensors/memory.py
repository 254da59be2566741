"""Out of memory: how it is recognised, and the batches that were found to fit."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from typing import TYPE_CHECKING

import torch

from xrxai.errors import ModelError
from xrxai.tensors.device import weights_of

if TYPE_CHECKING:
    from xrxai.model import Model

_SIGNS = (
    "out of memory",  # CUDA and MPS, also through TorchScript
    "can't allocate memory",  # DefaultCPUAllocator
    "not enough memory",  # the same on Windows
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
)

_log = logging.getLogger("xrxai")
_limits: weakref.WeakKeyDictionary[Model, dict[str, int]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory was short."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def limit(model: Model, device: torch.device) -> int | None:
    """Values of input that one call may get, as far as is known in this process."""
    with _lock:
        return _limits.get(model, {}).get(str(device))


def shrink(
    model: Model,
    device: torch.device,
    most: tuple[int, int],
    known: int | None,
    told: str,
    tried: list[int],
) -> None:
    """Halve what a call of the model gets, after a run failed that had known this limit.

    `most` is its largest call, rows and values of one; `tried` are the batches of this block that
    failed. One sample at a time cannot be halved.
    """
    rows, values = most
    tried.append(rows)
    gc.collect()  # closures of rules and graphs hold tensors in cycles
    if device.type == "cuda":
        torch.cuda.empty_cache()
    half = (rows if known is None else min(rows, max(1, known // values))) // 2
    if not half:
        raise ModelError(_spent(model, device, told, tried))
    with _lock:
        # Other threads fail at the same batch: together they halve it once.
        limits = _limits.setdefault(model, {})
        limits[str(device)] = min(half * values, limits.get(str(device), half * values))
    _log.debug("%s: out of memory on %s, batch %d -> %d", model.label, device, rows, half)


def _spent(model: Model, device: torch.device, told: str, tried: list[int]) -> str:
    batches = ", ".join(map(str, dict.fromkeys(tried)))
    how = (
        f": batches of {batches} were tried, and the last cannot be halved"
        if max(tried)
        else " before it was called"
    )
    other = "cpu" if device.type != "cpu" else "cuda"
    ways = [f"Give it less at once: smaller chunks or a smaller patch. Or type device={other!r}"]
    double = model.dtype == "float64" or any(p.dtype == torch.float64 for p in weights_of(model))
    lower = model.autocast is None and model.differentiable and not double
    ways.append("or Model(..., autocast='bfloat16')." if lower else "where there is more memory.")
    return f"The model {model.label} ran out of memory on {device}{how}. {told} {' '.join(ways)}"
