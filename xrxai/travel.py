"""Models on their way to other processes: the graph holds a reference, the weights go once."""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
import warnings
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cloudpickle

from xrxai import loading, pieces
from xrxai.culprit import culprit, is_program
from xrxai.errors import ModelError, XrxaiError
from xrxai.fingerprint import Digests, fingerprint, state_of
from xrxai.model import Model

_INLINE = 4096  # bytes of a skeleton that go into every task rather than into a file
_KEPT = 4  # models of other processes that this one keeps loaded
_LOCK = threading.RLock()
_OWN: weakref.WeakValueDictionary[str, Model] = weakref.WeakValueDictionary()
_LOADED: OrderedDict[str, Model] = OrderedDict()


@dataclass(frozen=True)
class Parcel:
    """What is pickled in place of a model."""

    key: str  # digest of all that it holds
    label: str
    weights_hash: str
    token: str
    skeleton: bytes  # the model without its tensors; b"" where it is a file
    files: tuple[str, ...]  # skeleton, tensors, programs
    state: str  # digest of parameters and buffers, asked of what is built on the other side


def reference(model: Model) -> Reference:
    """Give a stand-in for the model, which stays small when it is pickled."""
    return Reference(model)


class Reference:
    """A model wherever it is needed: `.model` is the live one, in this process or another."""

    def __init__(self, model: Model | None, parcel: Parcel | None = None) -> None:
        self._model = model
        self._parcel = parcel
        self._here = model is not None

    @property
    def model(self) -> Model:
        """The live model, loaded once per process."""
        if self._model is None:
            assert self._parcel is not None
            self._model = _unpacked(self._parcel)
        return self._model

    @cached_property
    def _prints(self) -> tuple[str, str]:
        if self._parcel is not None:
            return self._parcel.weights_hash, self._parcel.state
        digests = Digests(remember=True)
        model = self.model
        weights = fingerprint(model.forward, _networks(model), digests)
        return weights, _state(model, digests)

    @property
    def weights_hash(self) -> str:
        """Fingerprint of the weights when the reference was first asked."""
        return self._prints[0]

    @cached_property
    def token(self) -> str:
        """Digest of what decides the answers: weights and options."""
        if self._parcel is not None:
            return self._parcel.token
        return pieces.digest(repr(self.model.token(self.weights_hash)).encode())

    def __dask_tokenize__(self) -> str:
        return self.token

    def parcel(self) -> Parcel:
        """What is pickled; its files are written the first time, and where they have gone."""
        with _LOCK:
            parcel = self._parcel
            gone = self._here and parcel is not None and not pieces.there(parcel.files)
            if parcel is None or gone:
                parcel = self._parcel = _packed(self.model, *self._prints, self.token)
            return parcel

    def __reduce__(self) -> tuple[Any, ...]:
        return Reference, (None, self.parcel())


def write(path: Path, data: bytes) -> None:
    """Write a file whose bytes are at hand."""
    path.write_bytes(data)


def _packed(model: Model, weights: str, state: str, token: str) -> Parcel:
    """Take the model apart; files that are there already are not written again."""
    skeleton, tensors, programs = _apart(model)
    digests = Digests()
    if _state(model, digests) != state:
        raise ModelError(
            f"The weights of {model.label} have changed since the explanation was made, so what "
            f"would be computed is not what was asked for; make it again."
        )
    files = []
    for name, data in programs.items():
        pieces.put(name, partial(write, data=data))
        files.append(name)
    if tensors:
        files.append(_name_of(tensors, digests))
        pieces.put(files[-1], partial(_save, tensors))
    key = pieces.digest(repr((skeleton, *files)).encode())
    if len(skeleton) > _INLINE or tensors:
        files.append(pieces.digest(skeleton) + ".skeleton")
        pieces.put(files[-1], partial(write, data=skeleton))
        skeleton = b""
    _OWN[key] = model
    return Parcel(key, model.label, weights, token, skeleton, tuple(files), state)


class _Apart(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickler that lays tensors and programs aside."""

    def __init__(self, stream: Any, model: Model) -> None:
        super().__init__(stream)
        self.model = model
        self.tensors: list[Any] = []
        self.programs: dict[str, bytes] = {}
        self.known: dict[int, Any] = {}

    def persistent_id(self, thing: Any) -> Any:
        import torch

        if self.model.factory is not None and thing is self.model.forward:
            return "factory", self.model.factory
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            if thing.layout is not torch.strided or thing.is_meta:
                return None
            if id(thing) not in self.known:
                self.known[id(thing)] = len(self.tensors)
                self.tensors.append(thing)
            parameter = type(thing) is torch.nn.Parameter
            return "tensor", self.known[id(thing)], parameter, thing.requires_grad, vars(thing)
        if is_program(thing):
            if id(thing) not in self.known:
                self.known[id(thing)] = _program(thing, self.programs)
            return "program", self.known[id(thing)]
        return None


def _apart(model: Model) -> tuple[bytes, list[Any], dict[str, bytes]]:
    """Pickle of the model without its tensors and programs; these."""
    stream = io.BytesIO()
    pickler = _Apart(stream, model)
    try:
        pickler.dump(model)
    except Exception as error:  # any type, depending on what is held
        held = None if model.factory else culprit(model.forward)
        held = held or culprit(model.prepare) or "what it holds"
        raise ModelError(
            f"The model {model.label} cannot be sent to other processes: {held} cannot be "
            f"pickled ({type(error).__name__}: {error}). Leave it out, compute with threads "
            f"(scheduler='threads'), or make the model in one of three ways: "
            f"xrxai.Model(torch.export.export(net, (x,)), ...), "
            f"xrxai.Model(torch.jit.script(net), ...), or "
            f"xrxai.Model(factory='package.module:function', ...) with a function that builds it."
        ) from error
    return stream.getvalue(), pickler.tensors, pickler.programs


def _program(program: Any, into: dict[str, bytes]) -> str:
    import torch

    stream = io.BytesIO()
    script = type(program).__name__ != "ExportedProgram"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says about itself
        (torch.jit.save if script else torch.export.save)(program, stream)
    data = stream.getvalue()
    name = pieces.digest(data) + (".ts" if script else ".pt2")
    into[name] = data
    return name


def _save(tensors: list[Any], path: Path) -> None:
    import torch

    torch.save({str(i): tensor.detach() for i, tensor in enumerate(tensors)}, path)


def _name_of(tensors: list[Any], digests: Digests) -> str:
    """Name of the file, which also says what it must hold."""
    return pieces.digest(b"".join(digests(tensor) for tensor in tensors)) + ".tensors"


def _networks(model: Model) -> list[Any]:
    return [model.forward] if model.is_program else model.networks()


def _state(model: Model, digests: Digests) -> str:
    """Digest of parameters and buffers of all networks."""
    import torch

    found = hashlib.blake2b(digest_size=16)
    for network in _networks(model):
        for key, value in state_of(network).items():
            if isinstance(value, torch.Tensor):
                found.update(str(key).encode() + digests(value))
    return found.hexdigest()


def _unpacked(parcel: Parcel) -> Model:
    """Give the model of a parcel: the one it was made from, or one built from its files, once."""
    with _LOCK:
        known = _OWN.get(parcel.key) or _LOADED.get(parcel.key)
        if known is None:
            known = _built(parcel)
            _LOADED[parcel.key] = known
            while len(_LOADED) > _KEPT:
                _LOADED.popitem(last=False)
        elif parcel.key in _LOADED:
            _LOADED.move_to_end(parcel.key)
        return known


class _Together(pickle.Unpickler):
    """Unpickler that puts tensors and programs back."""

    def __init__(self, stream: Any, tensors: list[Any]) -> None:
        super().__init__(stream)
        self.tensors = tensors
        self.made: dict[Any, Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        kind, what = pid[:2]
        if (kind, what) not in self.made:
            if kind == "factory":
                self.made[kind, what] = loading.built(what)
            elif kind == "program":
                self.made[kind, what] = _opened(what)
            else:
                self.made[kind, what] = _tensor(self.tensors[what], *pid[2:])
        return self.made[kind, what]


def _built(parcel: Parcel) -> Model:
    import torch

    digests = Digests()
    paths = {name: pieces.find(name) for name in parcel.files}
    tensors: list[Any] = []
    for name, path in paths.items():
        if path.suffix == ".tensors":
            try:
                loaded = torch.load(path, weights_only=True, mmap=True, map_location=_place)
                tensors = [loaded[str(i)] for i in range(len(loaded))]
                good = _name_of(tensors, digests) == name
            except Exception as error:
                raise pieces.damaged(path) from error
            if not good:
                raise pieces.damaged(path)
    skeleton = parcel.skeleton
    for name in parcel.files:
        if name.endswith(".skeleton"):
            skeleton = pieces.read(name)
    try:
        model: Model = _Together(io.BytesIO(skeleton), tensors).load()
    except XrxaiError:
        raise
    except Exception as error:
        raise ModelError(
            f"The model {parcel.label} cannot be rebuilt in this process "
            f"({type(error).__name__}: {error}); the workers need the modules and versions of "
            f"the process that made the explanation."
        ) from error
    if _state(model, digests) != parcel.state:
        raise ModelError(
            f"The model {parcel.label} has other weights in this process than where the "
            f"explanation was made; what builds it there"
            f"{f' ({model.factory})' if model.factory else ' (a module that is imported)'} must "
            f"give the same weights everywhere: load them from a file that all workers see."
        )
    return model


def _tensor(values: Any, parameter: bool, learns: bool, attributes: dict[str, Any]) -> Any:
    import torch

    out = torch.nn.Parameter(values, learns) if parameter else values.requires_grad_(learns)
    vars(out).update(attributes)
    return out


def _opened(name: str) -> Any:
    import torch

    stream = io.BytesIO(pieces.read(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says about itself
        if name.endswith(".pt2"):
            return torch.export.load(stream)
        return torch.jit.load(stream, map_location=None if torch.cuda.is_available() else "cpu")


def _place(storage: Any, location: str) -> Any:
    """Where tensors go: a GPU when they come from one and there is one, numbered as it is here."""
    import torch

    if location.startswith("cuda") and torch.cuda.is_available():
        number = int(location.partition(":")[2] or 0)
        return storage.cuda(number if number < torch.cuda.device_count() else 0)
    return storage
