"""The pages that are made: the API, from what the package offers, and the notebooks."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any, get_type_hints

import xarray as xr

import xrxai
import xrxai.training

# module prefix -> heading, in the order of a reader's journey; the longest prefix wins
CHAPTERS = {
    "xrxai.io": "Open and write",
    "xrxai.labelled": "Cubes, groups, segments, baselines",
    "xrxai.model": "Models",
    "xrxai.prediction": "Models",
    "xrxai.attribution": "Methods",
    "xrxai.chain": "Methods",
    "xrxai.aggregation": "Global explanations",
    "xrxai.evaluation": "Evaluation",
    "xrxai.plot": "Figures",
    "xrxai.explorer": "Explorer",
    "xrxai.datasets": "Sample data",
    "xrxai.training": "Training with limited data",
    "xrxai.errors": "Errors",
    "xrxai": "More",
}

HEAD = """\
API
===

Options after the model are keyword-only. Each method exists twice, as a function of the cube,
``xrxai.lime_spectral(cube, model, ...)``, and bound to it, ``cube.xai.lime_spectral(model, ...)``;
signature and documentation are the same.
"""


def public_names(thing: Any) -> list[str]:
    """Names that a class offers, in the order in which it lists them, parents last."""
    names: dict[str, None] = {}
    for base in inspect.getmro(thing):
        if base is not object:
            names.update(dict.fromkeys(n for n in vars(base) if not n.startswith("_")))
    return list(names)


def chapter(name: str) -> str:
    """Find the heading under which the public object `name` stands."""
    thing = getattr(xrxai, name)
    module = thing.__name__ if inspect.ismodule(thing) else getattr(thing, "__module__", "xrxai")
    fits = [p for p in CHAPTERS if module == p or module.startswith(f"{p}.")]
    return CHAPTERS[max(fits, key=len, default="xrxai")]


def table(names: list[str], template: str = "") -> str:
    """One autosummary table that makes a page for each name."""
    option = f"   :template: autosummary/{template}.rst\n" if template else ""
    return f".. autosummary::\n   :toctree: generated/\n{option}\n   " + "\n   ".join(names) + "\n"


def section(title: str, *parts: str) -> str:
    """Put paragraphs under a heading."""
    return "\n".join([title, "-" * len(title), "", *parts])


def functions() -> list[str]:
    """Chapters of what `import xrxai` offers."""
    offered: dict[str, list[str]] = {heading: [] for heading in CHAPTERS.values()}
    for name in (*xrxai.__all__, "training"):  # which is imported by name
        if name.startswith("_"):
            continue
        thing = getattr(xrxai, name)
        if inspect.ismodule(thing):
            inner = [n for n in thing.__all__ if callable(getattr(thing, n))]
            offered[chapter(name)] += [f"{name}.{n}" for n in inner]
        else:
            offered[chapter(name)].append(name)
    return [
        section(heading, ".. currentmodule:: xrxai\n", table(names))
        for heading, names in offered.items()
        if names
    ]


def open_inner(accessor_class: type) -> None:
    """Let `.xai.plot` be seen through the class, as Sphinx looks; a property hides what it is."""
    for name, member in list(vars(accessor_class).items()):
        if isinstance(member, property) and member.fget is not None:
            returned = get_type_hints(member.fget).get("return")
            if inspect.isclass(returned) and returned.__module__ == accessor_class.__module__:
                setattr(accessor_class, name, returned)


def accessor(kind: type, what: str) -> list[str]:
    """Chapter of the accessor `.xai` of an xarray class, and of the accessors on it."""
    owner = kind.__name__
    methods, attributes, inner = [], [], []
    accessor_class = kind.xai  # xarray hands out the class when asked through a class
    open_inner(accessor_class)
    for name in public_names(accessor_class):
        member = inspect.getattr_static(accessor_class, name)
        if isinstance(member, property):
            attributes.append(f"{owner}.xai.{name}")
        elif inspect.isfunction(member):
            methods.append(f"{owner}.xai.{name}")
        else:
            inner.append(name)
    parts = [f"{what}\n", ".. currentmodule:: xarray\n"]
    if methods:
        parts.append(table(methods, "accessor_method"))
    if attributes:
        parts.append(table(attributes, "accessor_attribute"))
    for name in inner:
        bound = getattr(accessor_class, name)
        of = bound if inspect.isclass(bound) else type(bound)
        path = f"{owner}.xai.{name}"
        if any("__call__" in vars(base) for base in inspect.getmro(of)):
            parts.append(table([path], "accessor_callable"))
        listed = [f"{path}.{n}" for n in public_names(of)]
        if listed:
            parts.append(table(listed, "accessor_method"))
    return [section(f"{owner}.xai", *parts)]


def write_api(path: Path) -> None:
    """Write the page, unless it says the same already (a rebuild then has nothing to do)."""
    chapters = [
        HEAD,
        *accessor(xr.DataArray, "On a cube: explain it."),
        *accessor(xr.Dataset, "On an explanation: examine it, draw it, write it."),
        *functions(),
    ]
    text = "\n".join(chapters)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def bring_notebooks(sources: Path, executed: Path, target: Path) -> None:
    """Copy every notebook, executed if it has been, and list them."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    names = sorted(path.name for path in sources.glob("*.ipynb"))
    for name in names:
        ran = executed / name
        shutil.copy(ran if ran.exists() else sources / name, target)
    listed = "\n".join(name.removesuffix(".ipynb") for name in names)
    body = f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```" if names else "None yet."
    (target / "index.md").write_text(f"# Notebooks\n\n{body}\n")
