"""What a command works with: the cube, the model, the method and what computes."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import xarray as xr

import xrxai
from xrxai.cli import values
from xrxai.errors import DataError, ModelError, OptionError, at_least
from xrxai.loading import built, load_program, named

# Objects of Python cannot be typed; what is left can be, as NAME=VALUE.
MODEL_OPTIONS = tuple(
    field.name
    for field in fields(xrxai.Model)
    if not field.name.startswith("_") and field.name not in ("forward", "prepare", "factory")
)
METHOD_ELSEWHERE = {"target": "--target NAME", "progress": "--quiet"}
_CUBE_ELSEWHERE = {"chunks": "--chunks"}
_SIDE = 512
_WHOLE = 256 * 10**6  # bytes that are read at once without being told to
_SCHEDULERS = ("threads", "processes", "synchronous")
# What files call rows and columns, so that they are cut as they are read.
_ROWS, _COLUMNS = ("y", "lat", "latitude"), ("x", "lon", "longitude")


def method(args: Namespace) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Method that is asked for, and what it is asked with."""
    known = xrxai.methods()
    plain = args.method == "predict" and args.command != "explain"
    if args.method not in known and not plain:
        raise OptionError(f"--method {args.method} is not known; choose one of {', '.join(known)}.")
    function = getattr(xrxai, args.method)
    see = "the documentation of xrxai.predict" if plain else f"xrxai methods {args.method}"
    asked = values.given(args.set, function, flag="--set", elsewhere=METHOD_ELSEWHERE, see=see)
    if args.method == "captum":
        try:
            asked["method"] = named(str(asked["method"]))
        except OptionError as error:
            raise OptionError(str(error).replace("factory=", "--set method=")) from error
    target = values.names(args.target)
    return function, asked if target is None else {**asked, "target": target}


def model(args: Namespace) -> xrxai.Model:
    """Model of a factory or a program."""
    with _here():
        return _model(args)


def _model(args: Namespace) -> xrxai.Model:
    options = {
        name: _option(name, text)
        for name in MODEL_OPTIONS
        if (text := getattr(args, name)) is not None
    }
    there = os.path.exists(os.path.expanduser(args.model))
    factory = not there and re.fullmatch(r"[^/\\:]+:[^/\\:]+", args.model)
    if not there and not factory:
        raise ModelError(
            f"--model {args.model} is neither a file nor a function; type package.module:function, "
            f"or the path of a program of torch.export (.pt2) or TorchScript."
        )
    made = built(args.model) if factory else load_program(args.model)
    if isinstance(made, xrxai.Model):
        if options:
            typed = ", ".join(_flag(name) for name in options)
            raise ModelError(
                f"{args.model} returned an xrxai.Model, which says for itself what {typed} would; "
                f"drop {typed}, or let the factory return the network alone."
            )
        return made
    if not hasattr(made, "predict"):  # estimators say it themselves
        missing = [n for n in ("takes", "targets") if n not in options]
        if missing:
            say = " ".join(
                {"takes": "--takes patch", "targets": "--targets P,K"}[n] for n in missing
            )
            raise ModelError(
                f"{args.model} does not say what the network takes (spectrum or patch) and what "
                f"its outputs are called; type for example {say}."
            )
    return xrxai.Model(made, factory=args.model if factory else None, **options)


def _option(name: str, text: str) -> Any:
    """Read an option of the model; its names and words are no JSON."""
    if name == "targets":
        return values.names(text)
    if name in ("name", "units"):
        return text
    if name in ("patch", "resize") and "," in text:
        text = f"[{text.strip('[]()')}]"
    return values.value(text, _flag(name))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@contextlib.contextmanager
def _here() -> Iterator[None]:
    """Let modules of the current folder be imported, as ``python -m`` does."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # stays: the model's own imports may come later
    yield


def cube(args: Namespace, model: xrxai.Model | None = None) -> xr.DataArray:
    """Open the cube, whole or in pieces."""
    # Workers of a cluster have folders of their own.
    path = os.path.abspath(os.path.expanduser(args.cube))
    opened = cube_options(args)
    if args.chunks == "none":
        return xrxai.open_cube(path, **opened)
    chunks = _chunks(args.chunks)
    if chunks is None:
        size = xrxai.open_cube(path, chunks={}, **opened).nbytes
        if size <= _WHOLE or (model is not None and _at_once(model)):
            return xrxai.open_cube(path, **opened)
        if not args.quiet:
            say = f"the cube has {size / 1e9:.2g} GB and is cut into {_SIDE} x {_SIDE} pixels"
            print(f"xrxai: {say} (--chunks)", file=sys.stderr)
        chunks = {"y": _SIDE, "x": _SIDE}
    found = xrxai.open_cube(path, chunks=as_in_file(path, chunks), **opened)
    unknown = [d for d in chunks if d not in found.dims]
    if unknown:
        raise OptionError(
            f"--chunks names {', '.join(unknown)}, and the cube has the dims "
            f"{', '.join(map(str, found.dims))}; type for example --chunks y=512,x=512."
        )
    return found.chunk({"band": -1, **chunks})


def cube_options(args: Namespace) -> dict[str, Any]:
    """How the cube is to be read."""
    return values.given(
        args.open,
        xrxai.open_cube,
        flag="--open",
        elsewhere=_CUBE_ELSEWHERE,
        see="the documentation of xrxai.open_cube",
    )


def _at_once(model: xrxai.Model) -> bool:
    """Whether the whole cube is one sample."""
    return model.takes == "patch" and model.gives == "vector" and model.patch is None


def _chunks(text: str | None) -> dict[str, int] | None:
    if text is None:
        return None
    found: dict[str, int] = {}
    for part in text.split(","):
        dim, sign, size = part.rpartition("=")
        try:
            sizes = {d: int(size) for d in ([dim.strip()] if sign else ["y", "x"])}
        except ValueError:
            sizes = {}
        if not sizes or any(n < 1 and n != -1 for n in sizes.values()) or set(sizes) & set(found):
            raise OptionError(
                f"--chunks {text} is no size; type --chunks 512, --chunks y=512,x=512, or "
                f"--chunks none to read the whole cube at once."
            )
        found |= sizes
    return found


def as_in_file(path: str, chunks: dict[str, int]) -> dict[str, int]:
    """Chunks by the names that rows and columns may have in a file; others are passed over."""
    if not path.lower().endswith((".nc", ".nc4", ".cdf", ".zarr")):
        return {d: n for d, n in chunks.items() if d in ("band", "y", "x")}
    same = {"y": _ROWS, "x": _COLUMNS}
    return {name: n for d, n in chunks.items() for name in same.get(d, (d,))}


@contextlib.contextmanager
def scheduler(args: Namespace) -> Iterator[None]:
    """Compute on what was asked for."""
    name, workers = args.scheduler, args.workers
    if name is not None and "://" in name:
        if workers is not None:
            raise OptionError(
                f"--workers is for this machine, and the cluster at {name} has its own; drop "
                f"--workers."
            )
        with _client(name):
            yield
        return
    if name not in (None, *_SCHEDULERS):
        raise OptionError(
            f"--scheduler {name} is not known; choose one of {', '.join(_SCHEDULERS)}, or type "
            f"the address of a cluster, such as tcp://10.0.0.1:8786."
        )
    if name is None and workers is None:
        yield
        return
    import dask

    settings: dict[str, Any] = {} if name is None else {"scheduler": name}
    if workers is not None:
        settings["num_workers"] = at_least(workers, 1, "--workers")
    with dask.config.set(settings):
        yield


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise OptionError(
            f"--scheduler {address} needs distributed; type pip install distributed."
        ) from None
    try:
        return Client(address)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"There is no scheduler at {address} ({first}); check the address, and that "
            f"dask scheduler runs there."
        ) from error
