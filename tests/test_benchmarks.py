"""Benchmarks are code: each runs once, tiny. Their figures are never asserted."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import torch

import xrxai

pytestmark = pytest.mark.slow


def test_benchmarks_run_and_write_the_page(tmp_path, capsys):
    pytest.importorskip("captum")
    from benchmarks import __main__ as benchmarks
    from benchmarks import report

    where = ["--json", str(tmp_path / "b.json"), "--out", str(tmp_path / "performance.md")]
    assert benchmarks.main(["--tiny", "--only", "C_lime_spectral", "growth", *where]) == 0
    assert benchmarks.main(["--tiny", "--only", "A_saliency", "start", "patches", *where]) == 0
    found = json.loads((tmp_path / "b.json").read_text())
    assert set(found["speed"]) == {"C_lime_spectral", "A_saliency"}  # what was there is kept
    assert set(found["dates"]) == {"C_lime_spectral", "A_saliency", "growth", "start"}
    assert not found["start"]["import"]["torch"]
    text = (tmp_path / "performance.md").read_text()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == ["Speed", "Growth", "Import and first call", "Patch embeddings"]
    assert "| captum, best batch | 4 |" in text  # one target after the other
    assert "1 of 4 targets" in text  # and the rest is scaled
    assert (tmp_path / report.FIGURE).stat().st_size < 60_000
    assert "`import xrxai` (torch is not loaded)" in capsys.readouterr().out
    again = tmp_path / "again.md"
    assert report.main(["--json", str(tmp_path / "b.json"), "--out", str(again)]) == 0
    assert again.read_text() == text.partition("\n<!-- patches: begin -->")[0]


@pytest.mark.parametrize("who", ["captum", "saliency", "shap"])
def test_peers_answer_every_workload_they_are_asked_for(who, capsys):
    pytest.importorskip(who)
    from benchmarks import case, problems

    asked = [name for name, work in problems.WORK.items() if who in work.peers]
    assert asked
    for name in asked:
        assert case.main([name, "--who", who, "--tiny"]) == 0
        row = json.loads(capsys.readouterr().out)
        gradient = problems.WORK[name].gradient
        assert (row["backward"] > 0, row["forward"] > 0) == (gradient, not gradient)
        assert row["floor_cpu"] > 0


# What a tiny workload takes: samples, both ends; windows and the clean cube; steps and both ends.
@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        ("A_lime_spectral", 2**4 + 2, 0),
        ("A_lime_spatial", 62, 0),
        ("A_kernel_shap_spectral", 16, 0),
        ("A_occlusion_spatial", 5, 0),
        ("A_occlusion_spectral", 4, 0),
        ("A_occlusion", 9, 0),
        ("A_saliency", 0, 1),
        ("A_integrated_gradients", 2, 3),
        ("A_smoothgrad", 1, 3),
        ("A_hyper_noise_tunnel", 1, 3),
        ("B_lime_spatial", 62, 0),
        ("B_lime_spectral", 2**4 + 2, 0),
        ("B_occlusion_spatial", 26, 0),
        ("B_kernel_shap_spectral", 16, 0),
        ("B_integrated_gradients", 2, 3),
        ("B_smoothgrad", 1, 3),
        ("B_hyper_noise_tunnel", 1, 3),
        ("C_lime_spectral", 12 * (2**4 + 2), 0),
    ],
)
@pytest.mark.filterwarnings("ignore:60 samples for 50 segments")
def test_evaluations_are_counted_at_the_last_layer(name, forward, backward):
    from benchmarks import case

    row = case.measure(name, "xrxai", tiny=True, n=0, bare=True)
    assert (row["forward"], row["backward"]) == (forward, backward)


def test_who_cannot_answer_is_told_in_the_table(monkeypatch):
    from benchmarks import meteors_env, speed

    monkeypatch.setattr(meteors_env, "python", lambda: None)
    row = speed.one("A_saliency", "meteors")
    told = "failed: not installed: python -m benchmarks --peers meteors"
    assert told in speed.text({"A_saliency": {"meteors": row}})
    assert speed.one("A_saliency", "nobody", "--tiny")["error"].startswith("ModuleNotFoundError")


def test_meteors_answers_where_its_environment_was_made():
    from benchmarks import meteors_env, speed

    if meteors_env.python() is None:
        pytest.skip("python -m benchmarks --peers meteors has not been typed here")
    for name, forward, backward in (("A_lime_spectral", 240, 0), ("A_hyper_noise_tunnel", 0, 12)):
        row = speed.one(name, "meteors", "--tiny")
        assert (row["forward"], row["backward"]) == (forward, backward)


def test_an_environment_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    from benchmarks import meteors_env

    home = tmp_path / "env"

    def run(command, **_):
        failed = "pip" in command
        return subprocess.CompletedProcess(command, int(failed), "", "one\nno such version\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert meteors_env.make(home) == "no such version"
    assert meteors_env.python(home) is None


def test_calls_beyond_the_seconds_are_scaled():
    from benchmarks import case
    from benchmarks.peers import Plan

    made = []

    def call():
        made.append(1)
        sum(range(200_000))

    once = case.spent(Plan([call] * 4), 0.0)
    assert (len(made), once["calls_measured"], once["repeats"]) == (1, 1, 1)
    made.clear()
    often = case.spent(Plan([call] * 4), 60.0)
    assert (len(made), often["calls_measured"], often["repeats"]) == (20, 4, case.REPEATS)


def test_peaks_are_told_for_two_sizes(capsys, monkeypatch):
    from benchmarks import peaks

    kept = {"A_lime_spectral": ((25, 100), ("captum",), 1126)}
    monkeypatch.setattr(peaks, "CASES", kept)
    text = peaks.text(peaks.rows(tiny=True))
    assert re.search(r"^\| `lime_spectral`, n = 8 and 9 \| xrxai( \| \d+){4} \|$", text, re.M)
    assert re.search(r"^\|  \| captum, best batch( \| \d+){3} \|  \|$", text, re.M)


def test_where_nobody_tells_what_others_use_it_is_unknown(monkeypatch):
    from benchmarks import machine, speed

    assert machine.about("torch", "no such package")["packages"].keys() == {"torch"}
    shares = [machine.taken(lambda: sum(range(1_000_000))).foreign for _ in range(2)]
    assert all(0 <= share <= 1 for share in shares if share == share)

    def nothing(*_):
        raise FileNotFoundError

    monkeypatch.setattr(machine.Path, "read_text", nothing)
    spent = machine.taken(lambda: sum(range(1_000_000)))
    assert spent.foreign != spent.foreign
    assert spent.cpu > 0
    assert speed._percent(spent.foreign) == "unknown"
    assert machine.peak() > 50  # MiB, from getrusage


def test_the_slope_is_that_of_the_logarithms():
    from benchmarks import growth

    assert growth.slope([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2.0)


def test_the_best_batch_is_found():
    import time

    from benchmarks import floor

    class Slow(torch.nn.Module):
        """Costs the least per sample in fours."""

        def forward(self, x):
            cost = 4 + abs(len(x) - 4) * 4
            until = time.process_time() + 1e-3 * cost
            while time.process_time() < until:
                pass
            return x

    found = floor.floor(Slow(), torch.zeros(1, 2), 0, 0.05)
    assert found.batch == 4
    assert found.cpu == pytest.approx(1e-3, rel=0.5)


def test_the_gpu_workload_runs_without_one(tmp_path, capsys):
    pytest.importorskip("captum")
    from benchmarks import gpu

    where = ["--json", str(tmp_path / "gpu.json"), "--out", str(tmp_path / "page.md")]
    assert gpu.main(["--device", "cpu", "--tiny", *where]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [(row["model"], row["method"]) for row in found["rows"]] == [
        (model, method) for model in "ABC" for method in ("lime_spectral", "integrated_gradients")
    ]
    assert found["granule"]["evaluations"] == 24 * (2**4 + 2)
    assert found["tiled"]["halo"] == 32
    assert "an unknown share" in (tmp_path / "page.md").read_text()
    if not torch.cuda.is_available():
        capsys.readouterr()
        assert gpu.main([]) == 1
        assert "type --device cpu --tiny" in capsys.readouterr().out


def test_asv_finds_benchmarks_that_run():
    from benchmarks.regression import explanations

    for kind in (explanations.Spectra, explanations.Patch):
        for method in kind.params:
            case = kind()
            case.setup(method)
            case.time_explain(method)
    lazily = explanations.Lazily()
    lazily.setup()
    lazily.time_graph()
    compile(explanations.timeraw_import(), "import", "exec")


def test_a_block_goes_between_its_marks_and_nowhere_else(tmp_path):
    from benchmarks import page

    path = tmp_path / "page.md"
    page.write("one", "first\n", path)
    page.write("two", "second\n", path)
    page.write("one", "third", path)
    begin, end = "<!-- one: begin -->\n\n", "\n\n<!-- one: end -->\n"
    rest = "\n<!-- two: begin -->\n\nsecond\n\n<!-- two: end -->\n"
    assert path.read_text() == f"# Performance\n\n{begin}third{end}{rest}"
    page.write("one", "x", tmp_path / "other.md", title="Clusters")
    assert (tmp_path / "other.md").read_text().startswith("# Clusters\n\n<!-- one")


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
    page.write_text(
        "# Performance\n\n<!-- memory: begin -->\nold\n<!-- memory: end -->\n\nThe rest.\n"
    )
    tiny = ["--bands", "4", "--side", "32", "--short", "--out", str(page)]
    assert memory.main(tiny) == 0
    text = page.read_text()
    assert capsys.readouterr().out in text
    assert "old" not in text
    assert text.endswith("\n\nThe rest.\n")
    ratios = re.findall(r"`integrated_gradients` \| `n_steps=200` \| \d+ \| (\d\.\d\d) \|", text)
    assert len(ratios) == 1


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
    page.write_text(
        "# Performance\n\n<!-- travel: begin -->\nstale\n<!-- travel: end -->\n\nThe rest.\n"
    )
    assert travel.main(["--short", "--out", str(page)]) == 0
    text = page.read_text()
    assert capsys.readouterr().out in text
    assert "stale" not in text
    assert text.endswith("\n\nThe rest.\n")
    assert len(re.findall(r"^\| by reference( \| [\d.]+){7} \|$", text, re.MULTILINE)) == 1


def test_many_tiles_are_scheduled_and_put_between_their_marks(tmp_path, capsys):
    from benchmarks import scale

    page = tmp_path / "scale.md"
    page.write_text(
        "# Clusters\n\n<!-- scale: begin -->\nstale\n<!-- scale: end -->\n\nThe rest.\n"
    )
    assert scale.main(["--short", "--out", str(page)]) == 0
    text = page.read_text()
    assert capsys.readouterr().out in text
    assert "stale" not in text
    assert text.endswith("\n\nThe rest.\n")
    assert len(re.findall(r"^\| 16 \| 16 \| \d{3}( \| [\d.]+){7} \|$", text, re.MULTILINE)) == 1


def test_times_are_foretold_and_taken(tmp_path, capsys):
    from benchmarks import eta

    page = tmp_path / "performance.md"
    assert eta.main(["--short", "--out", str(page)]) == 0
    lines = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    assert len(lines) == len(eta.METHODS) * len(eta.SCHEDULERS)
    asked = [[f"`{name}`", by] for by in eta.SCHEDULERS for name in eta.METHODS]
    assert [[cell.strip() for cell in line.split("|")[1:3]] for line in lines] == asked
    assert all(float(line.split("|")[5]) > 0 for line in lines)


def test_steps_are_counted(tmp_path):
    from benchmarks import adaptive

    page = tmp_path / "performance.md"
    assert adaptive.main(["--short", "--out", str(page)]) == 0
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")][1:]
    assert [line.split("|")[1].strip() for line in lines] == [
        "vision transformer",
        "U-Net",
        *["along the spectrum"] * 2,
    ]
    assert all(float(line.split("|")[4]) >= 5 for line in lines)


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
    row = r"\| balanced \| (ridge|kriging) \| \d+ \| \d\.\d\d \(\d+\.\d\d\) \| \d+% \|"
    assert re.findall(row, text).count("kriging") == len(re.findall(row, text)) / 2 == 2 * 8


@pytest.mark.browser
def test_the_explorer_is_timed_in_a_browser(tmp_path, monkeypatch):
    from benchmarks import explorer
    from tests.browser import chromium

    monkeypatch.setenv("XRXAI_CHROMIUM", chromium())
    page = tmp_path / "performance.md"
    where = ["--folder", str(tmp_path / "scene"), "--out", str(page)]
    assert explorer.main(["--short", *where]) == 0
    text = page.read_text()
    for words in explorer.STEPS.values():
        assert len(re.findall(rf"^\| {re.escape(words)} \| \d+ ms \|", text, re.MULTILINE)) == 1
    assert len(re.findall(r"peak \| \d+ MB \|", text)) == 1


def test_patches_are_measured_both_ways(tmp_path, capsys):
    from benchmarks import patches

    threads = torch.get_num_threads()
    try:
        assert patches.main(["--tiny", "--out", str(tmp_path / "page.md")]) == 0
    finally:
        torch.set_num_threads(threads)
    page = (tmp_path / "page.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| 3, 4, 8 x 8 |")]
    assert len(row.strip("|").split("|")) == len(patches.HEAD)
    assert row in capsys.readouterr().out


def test_layouts_are_measured_both_ways(tmp_path, capsys):
    from benchmarks import layout

    threads = torch.get_num_threads()
    try:
        assert layout.main(["--tiny", "--out", str(tmp_path / "page.md")]) == 0
    finally:
        torch.set_num_threads(threads)
    page = (tmp_path / "page.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| three layers of 3 x 3 |")]
    assert len(row.strip("|").split("|")) == len(layout.HEAD)
    assert row in capsys.readouterr().out


@pytest.mark.slow
def test_what_training_brings_is_measured(tmp_path, capsys, monkeypatch):
    from benchmarks import training

    for name, value in {"SIDE": 128, "BUDGET": 3, "MORE": 2, "DRAWS": 1, "STEPS": 4}.items():
        monkeypatch.setattr(training, name, value)
    page, kept = tmp_path / "page.md", tmp_path / "kept.json"
    options = ["--seeds", "1", "--out", str(page), "--keep", str(kept)]
    # A net of four steps errs everywhere, and reasons are of one that has learned.
    assert training.main([*options, "--only", "split", "plan", "transfer", "doubt"]) == 0
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 5  # head, rule, and two lines of the plan
    told = json.loads(kept.read_text())
    assert set(told) == {"split", "plan", "transfer", "doubt"}
    assert told["transfer"][0]["share"] == pytest.approx(1 / 16)
    assert 0 < told["plan"][0]["plan"] < 1
    # What was kept is not asked for again.
    assert training.main([*options, "--only", "doubt"]) == 0
    assert "split 0" in capsys.readouterr().out
