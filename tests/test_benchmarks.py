"""Benchmarks are code: each runs once, tiny. Their figures are never asserted."""

from __future__ import annotations

import json

import pytest


def test_benchmarks_run(tmp_path, capsys):
    pytest.importorskip("captum")
    from benchmarks import __main__ as benchmarks

    assert benchmarks.main(["--tiny", "--out", str(tmp_path / "table.json")]) == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert {row["method"] for row in table} == {
        "lime_spectral",
        "integrated_gradients",
        "occlusion_spectral",
    }
    assert all(row["evaluations"] > 0 for row in table)
    assert "captum/floor" in capsys.readouterr().out
