"""Values that are typed: NAME=VALUE, lists of names, files of arrays, and what options mean."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import OptionError

_WORDS = {"True": True, "False": False, "None": None}
_POLYGONS = (".geojson", ".gpkg", ".shp")


def value(text: str, name: str) -> Any:
    """Read what is typed: JSON, a word, or ``@file``."""
    if text.startswith("@"):
        return _file(Path(text[1:]).expanduser(), name)
    if text in _WORDS:
        return _WORDS[text]
    try:
        return _intervals(json.loads(text))
    except ValueError as error:
        if text[:1] in ("[", "{", '"'):
            raise OptionError(
                f"{name}={text} begins like JSON and is not ({error}); put it into single quotes "
                f'for the shell: \'{name}=["B", "G"]\'.'
            ) from None
    return text


def _intervals(read: Any) -> Any:
    """Make nested pairs of numbers tuples, which JSON has not: intervals (low, high)."""
    if isinstance(read, dict):
        return {k: _inner(v) for k, v in read.items()}
    return [_inner(v) for v in read] if isinstance(read, list) else read


def _inner(read: Any) -> Any:
    pair = isinstance(read, list) and len(read) == 2
    if pair and all(type(v) in (int, float) for v in read):
        return tuple(read)
    return _intervals(read)


def _file(path: Path, name: str) -> Any:
    """Read an array, a Dataset, polygons or JSON from a file."""
    if not path.exists():
        raise OptionError(f"{name}=@{path}: there is no such file; type the path of one.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            return _intervals(json.loads(path.read_text()))
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if suffix in (".nc", ".zarr"):
            opened = xr.open_dataset if suffix == ".nc" else xr.open_zarr
            with opened(path, chunks=None) as ds:
                found = ds.load()
            return found[next(iter(found.data_vars))] if len(found.data_vars) == 1 else found
    except (OSError, ValueError) as error:
        raise OptionError(f"{name}=@{path} cannot be read ({error}); write it again.") from error
    if suffix in _POLYGONS:
        try:
            import geopandas
        except ImportError:
            raise OptionError(
                f"{name}=@{path} holds polygons, and geopandas is not installed; type "
                f"pip install 'xrxai[polygons]'."
            ) from None
        return geopandas.read_file(path)
    raise OptionError(
        f"{name}=@{path} is a kind of file that is not known; give .npy, .nc, .zarr or .json, or "
        f"polygons as {', '.join(_POLYGONS)}."
    )


def names(text: str | None) -> list[str] | None:
    """Split ``P,K``; a JSON list is for names that hold a comma."""
    if text is None:
        return None
    read = value(text, "names") if text.startswith("[") else text.split(",")
    return [str(name).strip() for name in read if str(name).strip()]


def given(
    pairs: Iterable[str] | None,
    function: Callable[..., Any],
    *,
    flag: str,
    elsewhere: Mapping[str, str],
    see: str,
) -> dict[str, Any]:
    """Read pairs NAME=VALUE and check them against what a function can be asked with.

    `elsewhere` maps options that are not given this way to what to type, or "" for those that are
    of Python only; `see` tells where to read more.
    """
    asked: dict[str, Any] = {}
    known = [n for n in options_of(function) if n not in elsewhere]
    for pair in pairs or ():
        name, sign, text = pair.partition("=")
        name = name.strip()
        if not sign or not name.isidentifier():
            raise OptionError(f"{flag} {pair} is no NAME=VALUE; type {flag} {known[0]}=VALUE.")
        if elsewhere.get(name):
            raise OptionError(f"{flag} {pair}: {name} has its own option; type {elsewhere[name]}.")
        if name not in known:
            raise OptionError(
                f"{flag} {pair}: {function.__name__} has no option {name!r}; choose one of "
                f"{', '.join(known)}; see {see}."
            )
        if name in asked:
            raise OptionError(f"{flag} {name}=... came twice; type it once.")
        asked[name] = value(text, name)
    for name, parameter in options_of(function).items():
        if parameter.default is parameter.empty and name not in (*asked, *elsewhere):
            raise OptionError(
                f"{function.__name__} needs {name}; type {flag} {name}=VALUE, or "
                f"{flag} {name}=@file.npy for an array; see {see}."
            )
    return asked


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Options of a function of a cube: what comes after the cube and the model."""
    first = ("cube", "model", "path", "explanation", "explanation_or_cube", "predicted", "many")
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if name not in first}


def documented(thing: Any) -> dict[str, str]:
    """What a docstring says of each parameter, without its type."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    found: dict[str, list[str]] = {}
    here: list[str] = []
    inside = False
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", after.strip()):
            inside = line.strip() == "Parameters"
        elif inside and (head := re.match(r"(\w[\w, ]*) : ", line)):
            here = []
            found |= dict.fromkeys(head[1].split(", "), here)
        elif inside and line.startswith(" "):
            here.append(line.strip())
    return {name: " ".join(said) for name, said in found.items()}


def summary(thing: Any) -> str:
    """First paragraph of a docstring."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
