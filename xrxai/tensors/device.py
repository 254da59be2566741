"""Where a model runs: the device, one call at a time on it, and the cores that threads share."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xrxai.errors import OptionError

if TYPE_CHECKING:
    from xrxai.model import Model

# Larger temporaries cost more in page faults than a larger batch saves (benchmarks); a GPU wants
# to be filled, as long as activations of many times the input fit beside it.
_ROOM = 4 * 2**20
# The layers of a network on spectra hold ten or more times its input: at 400 spectra of 150 bands
# their memory is used again, at 800 the system gives it anew for every call, which takes as long as
# the network itself (docs/architecture.md).
_ROOM_SPECTRA = 256 * 2**10
# On the way back the weights of large kernels are put into another order for every call: together
# four samples take a quarter less than one by one.
ROWS_BACK, ROOM_BACK = 4, 128 * 2**20
# A processor gains nothing from more.
_ROWS = 8
_ROOM_CUDA = 256 * 2**20
_SHARE_CUDA = 64

# The largest block from which glibc learns; it keeps twice as much.
_LEARNT_FROM = 31 * 2**20

_turns: dict[str, threading.RLock] = {}
_turns_lock = threading.Lock()
_thread = threading.local()
_cores_lock = threading.Lock()


def weights_of(model: Model) -> list[Tensor]:
    """Parameters of what answers."""
    if model.is_program:
        return list(model.forward.parameters())
    return [p for network in model.networks() for p in network.parameters()]


def chosen(model: Model, asked: str | None) -> torch.device:
    """The device that was asked for; "auto" is the one of the parameters, or else a GPU."""
    name = asked or model.device
    if name != "auto":
        return _named(name)
    weights = weights_of(model)
    here = weights[0].device if weights else torch.device("cpu")
    # What was scripted, traced or exported may hold devices of its own, and what a callable does
    # with its networks nobody knows: these stay where they are.
    movable = isinstance(model.forward, torch.nn.Module) and not any(
        isinstance(part, torch.jit.ScriptModule) for part in model.forward.modules()
    )
    at_home = any(p.device.type != "cpu" for p in weights)
    if at_home or not movable or not torch.cuda.is_available():
        return here
    return torch.device("cuda", torch.cuda.current_device())


def _named(name: str) -> torch.device:
    known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        known.append("mps:0")
    with contextlib.suppress(RuntimeError):
        device = torch.device(name)
        if device.type == "cpu":
            return torch.device("cpu")
        if f"{device.type}:{device.index or 0}" in known:
            if device.type == "cuda" and device.index is None:
                return torch.device("cuda", torch.cuda.current_device())
            return device
    listed = ", ".join(map(repr, ["auto", *known]))
    raise OptionError(f"device={name!r} is not on this machine; choose one of {listed}.")


@functools.cache
def keep_pages() -> None:
    """Let the allocator use the memory of large temporaries again, once in a process.

    glibc gives it back to the system after every use, which clears the pages for the next, until
    it has seen a block of that size freed (mallopt(3), M_MMAP_THRESHOLD): a network on spectra
    took twice as long. No page of this one is touched.
    """
    torch.empty(_LEARNT_FROM, dtype=torch.uint8)


def turn(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """One call at a time on an accelerator, where two would only share its memory."""
    if device.type == "cpu":
        return contextlib.nullcontext()
    with _turns_lock:
        return _turns.setdefault(str(device), threading.RLock())


def room(device: torch.device, spectra: bool = False) -> int:
    """Bytes of input that one call of the model gets, of a network on spectra for example."""
    if device.type != "cuda":
        return _ROOM_SPECTRA if spectra else _ROOM
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds in reserve is free for us.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_ROOM_CUDA, free // _SHARE_CUDA)


def rows(device: torch.device) -> int:
    """The most samples of an image that one call of the model gains from."""
    return 4096 if device.type == "cuda" else _ROWS


def placed(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An array on the device; floats in `dtype`."""
    wanted = dtype if array.dtype.kind == "f" else None
    # What repeats along an axis is kept once there: a baseline is often one spectrum.
    once = array[tuple(slice(None if step else 1) for step in array.strides)]
    tensor = torch.as_tensor(np.require(once, None, ["C", "W"]), dtype=wanted)
    if device.type != "cuda":
        return tensor.to(device).expand(array.shape)
    # From pinned memory the copy is faster and waits for nobody; what follows on the same stream
    # waits for it, and the allocator keeps the pinned pages until it is done.
    return tensor.pin_memory().to(device, non_blocking=True).expand(array.shape)


def share_cores(workers: int) -> None:
    """Leave each of `workers` threads that run models its part of the cores, once per thread.

    Threads of torch beside threads of dask would wait for each other. Without effect in the main
    thread of the user's own process, and never more than torch would take.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and multiprocessing.parent_process() is None:
        return
    if getattr(_thread, "workers", None) == workers:
        return
    with _cores_lock:
        if not hasattr(_thread, "found"):
            _thread.found = torch.get_num_threads()
        _thread.workers = workers
        part = min(_thread.found, max(1, _cores() // max(1, workers)))
        if part == torch.get_num_threads():
            return
        torch.set_num_threads(part)
        # torch takes the last number for threads to come: one that ends at once gives it back.
        again = threading.Thread(target=torch.set_num_threads, args=(_thread.found,))
        again.start()
        again.join()


def _cores() -> int:
    """Cores that this process may use."""
    count = getattr(os, "process_cpu_count", None)  # from Python 3.13
    if count is not None:
        return count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
