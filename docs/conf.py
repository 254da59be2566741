"""Sphinx configuration; also writes api.rst and the gallery, and brings in the notebooks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import sphinx_autosummary_accessors

import xrxai

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from _gallery import write_gallery  # noqa: E402  (it lies beside this file)
from _pages import bring_notebooks, write_api  # noqa: E402

project = "xrxai"
author = "the xrxai developers"
copyright = "2026, the xrxai developers"
release = version = xrxai.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_autosummary_accessors",
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
exclude_patterns = ["_templates", "**.ipynb_checkpoints"]

# Drawn anew from a scene of a few thousand pixels, in 10 to 20 seconds. Before the API, for which
# the accessors are laid open.
write_gallery(HERE / "gallery.md", HERE / "gallery")

# There is no second list of methods: the page is written from what the package offers.
write_api(HERE / "api.rst")
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's parameter lists say types in words: dims and units
numpydoc_show_class_members = False  # api.rst lists the members that are public

# `make notebooks` runs them and leaves the executed copies in build/; without it the docs show the
# cells alone. The documentation build does not run them.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
bring_notebooks(HERE.parent / "notebooks", HERE.parent / "build" / "notebooks", HERE / "notebooks")

# Links into other projects need the network, and a build must not fail for want of it.
intersphinx_mapping = {}
if os.environ.get("XRXAI_DOCS_LINKS"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
        "dask": ("https://docs.dask.org/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = "xrxai"
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
# Pages without pages below them need the room that a list of these would take.
html_sidebars = {page.stem: [] for page in HERE.glob("*.md")}
html_static_path = ["_static"]
html_css_files = ["wide.css"]
