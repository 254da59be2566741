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
from _api import public_names
from numpydoc.validate import validate

import xrxai

ROOT = Path(__file__).parents[1]


def public() -> dict[str, Any]:
    """Map the import path of every public function, class and method to the object."""
    found: dict[str, Any] = {}

    def add(thing: Any) -> None:
        if inspect.ismodule(thing):
            for name in thing.__all__:
                add(getattr(thing, name))
        elif inspect.isclass(thing) and thing.__module__.startswith("xrxai"):
            path = f"{thing.__module__}.{thing.__qualname__}"
            found[path] = thing
            if not issubclass(thing, Exception):
                for name in public_names(thing):
                    add_member(path, thing, name)
        elif inspect.isfunction(thing):
            found[f"{thing.__module__}.{thing.__qualname__}"] = thing

    def add_member(path: str, owner: type, name: str) -> None:
        member = inspect.getattr_static(owner, name)
        # A bound function carries the docstring of the function, which is judged there.
        if inspect.isfunction(member) and member.__qualname__ == f"{owner.__qualname__}.{name}":
            found[f"{path}.{name}"] = member

    for name in xrxai.__all__:
        if not name.startswith("_"):
            add(getattr(xrxai, name))
    add(xr.DataArray.xai)
    add(xr.Dataset.xai)
    return found


def main() -> int:
    """Print every fault; return how the process should end."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]
    checks = set(settings["checks"])
    faults = 0
    things = public()
    for path, thing in things.items():
        allowed = checks
        if inspect.isclass(thing) and issubclass(thing, Exception):
            allowed = {"GL08", "SS02", "SS03"}  # nobody calls them with arguments
        for code, message in validate(path)["errors"]:
            if code in allowed:
                faults += 1
                print(f"{path}: {code} {message}")
    print(f"docstrings: {len(things)} public objects, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
