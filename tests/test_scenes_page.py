"""The page on scenes says what the code does."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

import xrxai
from xrxai import attribution
from xrxai.spec import Spec

PAGE = Path(__file__).parents[1] / "docs" / "scenes.md"


def test_the_table_of_tiles_is_that_of_the_records():
    said: dict[str, set[str]] = {}
    table = PAGE.read_text().partition("<!-- tiles: begin -->")[2].partition("<!-- tiles: end")[0]
    for word, names in re.findall(r"^\| `(\w+)` \| [^`]+ \| (`.*) \|$", table, re.MULTILINE):
        said[word] = set(re.findall(r"`(\w+)`", names))
    found: dict[str, set[str]] = {}
    for module in pkgutil.iter_modules(attribution.__path__):
        names = vars(importlib.import_module(f"xrxai.attribution.{module.name}"))
        for kernel in names.values():
            record = getattr(kernel, "spec", None)
            if isinstance(record, Spec):
                found.setdefault(record.tiles, set()).add(record.method)
    assert said == found
    assert set.union(*found.values()) == set(xrxai.methods())


@pytest.mark.filterwarnings("default")
def test_the_page_runs(tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
        for line, dims in re.findall(r"^(.+)\.dims  # (\(.*\))$", block, re.MULTILINE):
            assert repr(eval(line, names).dims) == dims
    plt.close("all")
    assert (names["why"].attrs["halo"], names["why"].attrs["halo_exact"]) == (4, 1)
    assert names["segmenter"].receptive_field().radius == 2
    assert names["cost"].evaluations > 0
    one = names["cube"].xai.occlusion_spectral(
        names["segmenter"], target="water", window=1, unit="band", progress=False
    )
    assert float(abs(names["whole"] - one.attribution).max()) < 1e-3 * float(one.attribution.max())
