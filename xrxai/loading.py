"""Models from names and files, without unpickling what a stranger wrote."""

from __future__ import annotations

import importlib
import io
import json
import operator
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xrxai.errors import ModelError, OptionError

_OBJECTS = ("custom_obj_", "opaque_obj_")  # what torch.export pickles
_NONE = (
    "{file} is no program of torch, or is cut short; save the network with "
    "torch.export.save(torch.export.export(net.eval(), (x,)), 'net.pt2')."
)
_TWICE = "{file} holds two entries of one name, which torch never writes, and is not loaded."
_EXPORT = "torch.export.save(torch.export.export(net.eval(), (x,)), 'net.pt2')"


def named(factory: str) -> Callable[[], Any]:
    """Find the function that "pkg.mod:function" names."""
    module, _, path = factory.partition(":") if isinstance(factory, str) else ("", "", "")
    if not all(part.isidentifier() for part in [*module.split("."), *path.split(".")]):
        raise OptionError(
            f"factory={factory!r} does not name a function; type factory='package.module:function'."
        )
    if module == "__main__":
        raise OptionError(
            f"factory={factory!r} is a function of this script, which other processes cannot "
            f"import; write it into a file nets.py and type factory='nets:{path}'."
        )
    try:
        found: Any = operator.attrgetter(path)(importlib.import_module(module))
    except ImportError as error:
        raise OptionError(
            f"factory={factory!r}: the module {module} cannot be imported ({error}); check its "
            f"name, and that it is installed or on PYTHONPATH, also for the workers."
        ) from error
    except AttributeError:
        raise OptionError(
            f"factory={factory!r}: the module {module} has no {path}; check the name after the "
            f"colon."
        ) from None
    if not callable(found):
        raise OptionError(
            f"factory={factory!r} is {_kind(found)}, not a function; write one that returns it: "
            f"def make(): return {path}."
        )
    made: Callable[[], Any] = found
    return made


def built(factory: str) -> Any:
    """Call the function that the string names."""
    make = named(factory)
    try:
        return make()
    except Exception as error:
        raise ModelError(
            f"factory={factory!r} failed: {type(error).__name__}: {error}. It is called without "
            f"arguments and must return the model."
        ) from error


def _kind(thing: object) -> str:
    name = type(thing).__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def load_program(path: str | os.PathLike[str]) -> Any:
    """
    Load a network that was saved as a program, by torch.export or TorchScript.

    Files that `torch.save` wrote are refused, because loading a pickled network runs whatever code
    is in it; so are pickled objects and compiled libraries inside an exported program. A program
    is code all the same: load those whose maker you trust.

    Parameters
    ----------
    path : str or path
        A file of `torch.export.save` (``.pt2``) or `torch.jit.save` (``.pt``, ``.ts``); what
        counts is what is in it, not its name.

    Returns
    -------
    ExportedProgram or ScriptModule
        What `xrxai.Model` takes as its first argument.

    Raises
    ------
    ModelError
        The file is not there, or is not such a program.

    Examples
    --------
    >>> import torch, xrxai
    >>> torch.jit.save(torch.jit.script(torch.nn.Linear(4, 2)), "net.ts")  # doctest: +SKIP
    >>> net = xrxai.load_program("net.ts")  # doctest: +SKIP
    >>> model = xrxai.Model(net, takes="spectrum", targets=["K", "pH"])  # doctest: +SKIP
    """
    import torch

    file = Path(path).expanduser()
    if not file.is_file():
        raise ModelError(
            f"There is no file {file}; give a program that torch.export.save or torch.jit.save "
            f"wrote."
        )
    names = _members(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says about itself
            if any(name.startswith("code/") for name in names) and "constants.pkl" in names:
                place = None if torch.cuda.is_available() else "cpu"
                return torch.jit.load(str(file), map_location=place)
            if "archive_format" in names or "serialized_exported_program.json" in names:
                if len({name.lower() for name in names}) < len(names):
                    raise ModelError(_TWICE.format(file=file))
                _vet(file, names)
                # A stream, because torch minds what a file is called.
                return torch.export.load(io.BytesIO(file.read_bytes()))
    except ModelError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or ["no message"])[0]
        raise ModelError(
            f"The program {file} cannot be loaded: {type(error).__name__}: {first}. Save it with "
            f"this version of torch ({torch.__version__}): {_EXPORT}."
        ) from error
    raise ModelError(_pickle_of(file))


def _members(file: Path) -> dict[str, zipfile.ZipInfo]:
    """Entries of the archive, without the folder that all of them are in."""
    with file.open("rb") as stream:
        head = stream.read(64)
    if not zipfile.is_zipfile(file):
        if head[:1] == b"\x80":
            raise ModelError(_pickle_of(file))
        if head[8:9] == b"{":
            raise ModelError(
                f"{file} holds weights only (safetensors), and a program is needed; type "
                f"net.load_state_dict(safetensors.torch.load_file({str(file)!r})), then explain "
                f"that net, or {_EXPORT}."
            )
        raise ModelError(_NONE.format(file=file))
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if min((entry.header_offset for entry in entries), default=1):
        # An archive inside it was found: its own table of contents is missing.
        raise ModelError(_NONE.format(file=file))
    if len({entry.filename for entry in entries}) < len(entries):
        raise ModelError(_TWICE.format(file=file))
    names = [entry.filename for entry in entries]
    top = {name.partition("/")[0] for name in names}
    cut = len(top.pop()) + 1 if len(top) == 1 else 0
    return {entry.filename[cut:]: entry for entry in entries}


def _vet(file: Path, names: dict[str, zipfile.ZipInfo]) -> None:
    """Refuse an exported program whose loading would unpickle objects or open a library."""
    import torch

    def refuse(name: str, what: str) -> ModelError:
        return ModelError(
            f"The program {file} holds {what} ({name}), which would run unseen, and is not "
            f"loaded; export the plain network: {_EXPORT}."
        )

    with zipfile.ZipFile(file) as archive:
        for name, entry in names.items():
            # Wherever it lies and however it is spelt: torch finds entries without minding case.
            parts = name.lower().split("/")
            if "aotinductor" in parts:
                raise refuse(name, "a compiled library")
            if any(part.startswith(_OBJECTS) for part in parts):
                raise refuse(name, "a pickled object")
            if parts[-1].endswith("_config.json"):
                for meta in json.loads(archive.read(entry))["config"].values():
                    if meta.get("use_pickle") or meta["path_name"].startswith(_OBJECTS):
                        raise refuse(name, "a pickled object")
            if parts[-1] in ("serialized_state_dict.json", "serialized_constants.json"):
                raise refuse(name, "weights in an old format")
            if parts[-1].endswith(".pt") and entry.file_size:
                try:
                    torch.load(io.BytesIO(archive.read(entry)), weights_only=True)
                except Exception as error:
                    raise refuse(name, "a pickled object") from error


def _pickle_of(file: Path) -> str:
    return (
        f"{file} is a pickle (torch.save), which runs code when it is loaded; only programs of "
        f"torch.export and TorchScript are. Of weights, make the network and type "
        f"net.load_state_dict(torch.load({str(file)!r}, weights_only=True)), then explain that "
        f"net, or save it with {_EXPORT}."
    )
