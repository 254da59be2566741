"""Benchmarks are code: each runs once, tiny. Their figures are never asserted."""

from __future__ import annotations

import json
import re

import pytest

import xrxai

pytestmark = pytest.mark.slow


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


def test_planted_truth_is_asked_of_every_method(tmp_path, capsys):
    from benchmarks import planted

    path = tmp_path / "planted.md"
    assert planted.main(["--seeds", "1", "--out", str(path)]) == 0
    text = path.read_text()
    assert "python -m benchmarks.planted --seeds 1" in text
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == set(xrxai.methods())
    assert rows["integrated_gradients"] == "1 / 1 | 1 / 1"
    assert rows["lime_spectral"] == "1 / 1 | -"
    assert rows["xrai"] == "- | 1 / 1"
    assert capsys.readouterr().out in text


def test_a_refusal_is_told_in_a_footnote():
    from benchmarks import planted

    def question(name, seed):
        raise xrxai.XrxaiError("not for this model")

    notes = {}
    assert planted.share(question, "saliency", 2, notes) == "refused [^1]"
    assert planted.share(question, "xrai", 2, notes) == "refused [^1]"
    assert notes == {"not for this model": "[^1]"}


def test_memory_is_measured_and_put_between_its_marks(tmp_path, capsys, monkeypatch):
    from benchmarks import memory

    monkeypatch.setattr(memory, "BATCHES", (2,))
    page = tmp_path / "performance.md"
    page.write_text(f"# Performance\n\n{memory.BEGIN}\nold\n{memory.END}\n\nThe rest.\n")
    tiny = ["--bands", "4", "--side", "32", "--short", "--out", str(page)]
    assert memory.main(tiny) == 0
    text = page.read_text()
    assert capsys.readouterr().out in text
    assert "old" not in text
    assert text.endswith("\n\nThe rest.\n")
    ratios = re.findall(r"`integrated_gradients` \| `n_steps=200` \| \d+ \| (\d\.\d\d) \|", text)
    assert len(ratios) == 1
    memory.write("new\n", page)
    assert page.read_text().count(memory.BEGIN) == 1
    memory.write("first\n", tmp_path / "none.md")
    assert (tmp_path / "none.md").read_text().startswith("# Performance\n\n" + memory.BEGIN)


def test_kills_are_counted_and_compared(capsys):
    from benchmarks import resume

    assert resume.main(["--kills", "1", "--side", "2", "--seconds", "0.01"]) == 0
    printed = capsys.readouterr().out
    assert "| True |" in printed  # the same bits
    assert "calls made twice" in printed


def test_travel_is_measured_and_put_between_its_marks(tmp_path, capsys, monkeypatch):
    from benchmarks import travel

    monkeypatch.setattr(travel, "WAYS", {"reference": "by reference"})
    page = tmp_path / "performance.md"
    page.write_text(f"# Performance\n\n{travel.BEGIN}\nstale\n{travel.END}\n\nThe rest.\n")
    assert travel.main(["--short", "--out", str(page)]) == 0
    text = page.read_text()
    assert capsys.readouterr().out in text
    assert "stale" not in text
    assert text.endswith("\n\nThe rest.\n")
    assert len(re.findall(r"^\| by reference( \| [\d.]+){7} \|$", text, re.MULTILINE)) == 1


def test_many_tiles_are_scheduled_and_put_between_their_marks(tmp_path, capsys):
    from benchmarks import scale

    page = tmp_path / "scale.md"
    page.write_text(f"# Clusters\n\n{scale.BEGIN}\nstale\n{scale.END}\n\nThe rest.\n")
    assert scale.main(["--short", "--out", str(page)]) == 0
    text = page.read_text()
    assert capsys.readouterr().out in text
    assert "stale" not in text
    assert text.endswith("\n\nThe rest.\n")
    assert len(re.findall(r"^\| 16 \| 16 \| \d{3}( \| [\d.]+){7} \|$", text, re.MULTILINE)) == 1


def test_designs_are_compared_and_put_between_their_marks(tmp_path, capsys):
    from benchmarks import precision

    page = tmp_path / "performance.md"
    page.write_text(
        "# Performance\n\n<!-- precision: begin -->\nstale\n<!-- precision: end -->\n\nThe rest.\n"
    )
    assert precision.main(["--short", "--out", str(page)]) == 0
    text = page.read_text()
    assert capsys.readouterr().out in text
    assert "stale" not in text
    assert text.endswith("\n\nThe rest.\n")
    ratios = re.findall(r"\| balanced \| \d+ \| (\d\.\d\d) \(\d+\.\d\d\) \|", text)
    assert len(ratios) == 2 * 8
