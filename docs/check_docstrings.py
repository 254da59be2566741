"""Check the docstring of everything public against the rules in pyproject.toml.

Public is what `import xrxai` offers and what the accessors offer; numpydoc's own hook goes by files
and would ask the same of every helper.
"""

from __future__ import annotations

import inspect
import sys
import tomllib
from pathlib import Path
from typing import Any

import xarray as xr
from _pages import public_names
from numpydoc.validate import validate

import xrxai
import xrxai.training

ROOT = Path(__file__).parents[1]
SUMMARY_ONLY = {"GL08", "SS01", "SS02", "SS03"}  # a sentence is enough


def public(checks: set[str]) -> dict[str, set[str]]:
    """Map the import path of every public function, class and method to the checks it must pass."""
    found: dict[str, set[str]] = {}

    def path(thing: Any) -> str:
        return f"{thing.__module__}.{thing.__qualname__}"

    def members(owner: type, asked: set[str]) -> None:
        for name in public_names(owner):
            member = inspect.getattr_static(owner, name)
            # A bound function carries the docstring of the function, which is judged there.
            if inspect.isfunction(member) and path(member) == f"{path(owner)}.{name}":
                found[path(member)] = asked

    def add(thing: Any) -> None:
        if inspect.ismodule(thing):
            for name in thing.__all__:
                add(getattr(thing, name))
        elif inspect.isclass(thing) and thing.__module__.startswith("xrxai"):
            # Nobody raises our errors with arguments of their own.
            found[path(thing)] = SUMMARY_ONLY if issubclass(thing, Exception) else checks
            members(thing, SUMMARY_ONLY)
        elif inspect.isfunction(thing):
            found[path(thing)] = checks

    for name in xrxai.__all__:
        if not name.startswith("_"):
            add(getattr(xrxai, name))
    add(xrxai.training)  # imported by name
    for kind in (xr.DataArray.xai, xr.Dataset.xai):
        found[path(kind)] = SUMMARY_ONLY  # xarray makes it, the user gives it nothing
        members(kind, checks)
    return found


def main() -> int:
    """Print every fault; return how the process should end."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]
    faults = 0
    things = public(set(settings["checks"]))
    for path, asked in things.items():
        for code, message in validate(path)["errors"]:
            if code in asked:
                faults += 1
                print(f"{path}: {code} {message}")
    print(f"docstrings: {len(things)} public objects, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
