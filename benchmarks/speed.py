"""Processor seconds of explanations over those of their floor, and of the peers over ours.

The floor of an explanation is (model evaluations) x (the bare model's own processor time per sample
at its best batch, forward, or forward and backward for each target). Evaluations are counted, not
estimated. ``python -m benchmarks.case`` measures one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks import meteors_env
from benchmarks.ask import ask
from benchmarks.page import table
from benchmarks.problems import WORK

NAMES = {
    "xrxai": "xrxai",
    "xrxai-stem-off": "xrxai, stem off",
    "xrxai-bands-first": "xrxai, bands first",
    "captum": "captum, best batch",
    "captum-default": "captum, as it is",
    "saliency": "saliency (PAIR)",
    "shap": "shap",
    "meteors": "meteors",
}
ASKED = {
    "A": "A: vision transformer ViT-S/16 on a cube of 150 x 224 x 224, four targets",
    "B": "B: U-Net on MobileNetV2, 13 x 256 x 256, the area of four classes",
    "C": "C: one-dimensional network of 45 thousand parameters, 3000 spectra of 150 bands, "
    "five targets",
}


def askers(case: str) -> list[str]:
    """Give who is asked for a workload."""
    from benchmarks.peers.by_xrxai import HAS_STEM

    work = WORK[case]
    stem = HAS_STEM and not work.gradient
    mobile = work.model == "B"  # its images are laid out bands last
    return [
        *("xrxai", *["xrxai-stem-off"] * stem, *["xrxai-bands-first"] * mobile),
        *work.peers,
    ]


def rows(cases: Iterable[str], tiny: bool) -> dict[str, Any]:
    """Measure workloads, each by each in a process of its own."""
    out: dict[str, Any] = {}
    for case in cases:
        out[case] = {}
        for asker in askers(case):
            found = one(case, asker, *["--tiny"] * tiny)
            out[case][asker] = found
            told = found.get("error") or f"{found['cpu']:.2f} s, floor {found['floor_cpu']:.2f} s"
            print(f"{case:28s} {NAMES[asker]:20s} {told}", flush=True)
    return out


def one(case: str, who: str, *options: str) -> dict[str, Any]:
    """Ask one process, for meteors in its own environment."""
    python = None
    if who == "meteors":
        python = meteors_env.python()
        if python is None:
            return {"error": "not installed: python -m benchmarks --peers meteors"}
    return ask(
        "benchmarks.case", case, "--who", who, *options, python=python, threads=WORK[case].threads
    )


def text(found: dict[str, Any]) -> str:
    """Markdown: a table for each model."""
    out = ""
    for model, title in ASKED.items():
        lines = []
        for case, by in found.items():
            if WORK[case].model == model:
                lines += _lines(case, by)
        if lines:
            head = ["", "by", "evaluations", "CPU s", "over the floor", "wall over the floor"]
            head += ["over xrxai", "peak, MiB", "others", "runs"]
            out += f"\n**{title}**\n\n" + table(head, lines)
    return out


def _lines(case: str, by: dict[str, Any]) -> list[list[str]]:
    lines = []
    for who, row in by.items():
        n = f", n = {row['n']}" if row.get("n") else ""
        n += f", {WORK[case].threads} threads" if WORK[case].threads > 1 else ""
        first = f"`{WORK[case].method}`{n}" if not lines else ""
        if "error" in row:
            lines.append([first, NAMES[who], f"failed: {row['error']}", *[""] * 7])
            continue
        ours = by.get("xrxai", {}).get("cpu")
        over = f"{row['cpu'] / ours:.2f}" if ours and who != "xrxai" else ""
        lines.append(
            [
                first,
                NAMES[who],
                f"{row['forward'] + row['backward']:.0f}",
                f"{row['cpu']:.2f}",
                f"{row['cpu'] / row['floor_cpu']:.2f}",
                f"{row['wall'] / row['floor_wall']:.2f}",
                over,
                f"{row['peak_mib']:.0f}",
                _percent(row["foreign"]),
                _runs(row),
            ]
        )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == share else "unknown"


def _runs(row: dict[str, Any]) -> str:
    """How often, and how much of it was measured: the rest is scaled."""
    parts = [f"{row['repeats']} x"]
    if row["calls_measured"] < row["calls"]:
        parts.append(f"{row['calls_measured']} of {row['calls']} targets")
    if row["explained"] < row["samples"]:
        parts.append(f"{row['explained']} of {row['samples']} spectra")
    return ", ".join(parts)
