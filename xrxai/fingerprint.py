"""Fingerprints: what makes a model answer as it does, in a few letters."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from collections.abc import Iterator
from typing import Any

import cloudpickle
import google_crc32c

# Of tensors that lay in memory when a model was last named: version, checksum, digest.
_before: dict[Any, tuple[int, int, bytes]] = {}
_MOST = 10_000


class Digests:
    """Digests of tensors; each is read once, in whatever order and however often it is asked.

    With `remember`, a digest of an earlier call is good for a tensor in the same memory whose
    version and checksum (CRC-32C) are the same, which takes less than hashing. The version alone
    tells nothing of what was written through ``.data`` or numpy.
    """

    def __init__(self, remember: bool = False) -> None:
        self._remember = remember
        # With its tensor, whose memory is not given to another one meanwhile.
        self._known: dict[Any, tuple[bytes, Any]] = {}

    def __call__(self, tensor: Any) -> bytes:
        """Digest of dtype, shape and values."""
        import torch

        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if key not in self._known:
            # In place: a copy would cost half as much again.
            flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            self._known[key] = self._digest(key, tensor, flat), tensor
        return self._known[key][0]

    def _digest(self, key: Any, tensor: Any, flat: Any) -> bytes:
        mark = None
        if self._remember and tensor.device.type == "cpu" and not tensor.is_inference():
            mark = _checksum(flat)
        if mark is not None:
            version, checksum, digest = _before.get(key, (None, None, b""))
            if (version, checksum) == (tensor._version, mark):
                return digest
        found = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(flat)
        if mark is not None:
            if len(_before) >= _MOST:
                _before.clear()
            _before[key] = tensor._version, mark, found.digest()
        return found.digest()


def _checksum(flat: Any) -> int | None:
    """CRC-32C of bytes, None where there is none that is fast."""
    if google_crc32c.implementation != "c":
        return None
    try:
        return int(google_crc32c.value(flat))
    except TypeError:  # it takes what numpy lends it only as long as numpy need not be told back
        return None


def fingerprint(forward: Any, networks: list[Any], digests: Digests) -> str:
    """Fingerprint of weights and architecture; the digests of tensors may be known."""
    digest = hashlib.blake2b(digest_size=16)
    if not any(network is forward for network in networks):
        digest.update(pickled(forward))
    for network in networks:
        for piece in _pieces(network, digests):
            digest.update(piece)
    return digest.hexdigest()


def state_of(network: Any) -> dict[str, Any]:
    """Parameters and buffers of a network or program, also those that its files leave out."""
    state = network.state_dict
    found = dict(state() if callable(state) else state)
    if hasattr(network, "named_buffers"):
        buffers = network.named_buffers
        found |= dict(buffers() if callable(buffers) else buffers)
    return found | dict(getattr(network, "constants", None) or {})


def _pieces(network: Any, digests: Digests) -> Iterator[bytes]:
    """What makes a network answer as it does, whatever its mode and gradients."""
    import torch

    for key, value in state_of(network).items():
        yield str(key).encode()
        yield digests(value) if isinstance(value, torch.Tensor) else pickled(value)
    if hasattr(network, "graph_module"):  # torch.export
        yield str(network.graph_module.code).encode()
        return
    for key, part in network.named_modules():
        yield f"{key} {type(part).__module__}.{type(part).__qualname__}".encode()
        for name, value in sorted(vars(part).items()):
            if name != "training" and not name.startswith("_"):
                yield from _told(name, value, digests)
        if isinstance(part, torch.jit.ScriptModule):
            with contextlib.suppress(RuntimeError, AttributeError):  # a part without forward
                yield str(part.code).encode()
            continue
        yield from _code(type(part).forward)


def _told(name: str, value: Any, digests: Digests) -> Iterator[bytes]:
    """What an attribute of a part says: numbers, words, tensors and functions."""
    import torch

    if isinstance(value, torch.Tensor):
        yield name.encode() + digests(value)
    elif isinstance(value, tuple | list):
        for i, each in enumerate(value):
            yield from _told(f"{name}[{i}]", each, digests)
    elif isinstance(value, bool | int | float | str):
        yield f"{name}={value!r}".encode()
    elif callable(value) and hasattr(value, "__qualname__"):
        yield f"{name}={value.__module__}.{value.__qualname__}".encode()
        yield from _code(value)


def _code(function: Any) -> Iterator[bytes]:
    code = getattr(function, "__code__", None)
    if code is None:
        return
    values = [c for c in code.co_consts if isinstance(c, int | float | str | tuple)]
    yield code.co_code + repr((code.co_names, values)).encode()
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # not filled yet
            if isinstance(cell.cell_contents, bool | int | float | str):
                yield repr(cell.cell_contents).encode()


class _Plain(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickler that only names networks: `_pieces` counts them."""

    def persistent_id(self, thing: Any) -> str | None:
        torch = sys.modules.get("torch")
        apart = torch is not None and isinstance(thing, torch.nn.Module)
        return type(thing).__qualname__ if apart else None


def pickled(thing: Any) -> bytes:
    """Bytes of a callable or an estimator, without the networks in it."""
    stream = io.BytesIO()
    try:
        _Plain(stream).dump(thing)
    except Exception:  # locks, handles: any error type, depending on what it holds
        return repr(thing).encode()
    return stream.getvalue()
