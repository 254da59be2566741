"""Peak memory of explanations of a cube of 150 x 224 x 224 by model A, for small and large n.

What an explanation needs must not grow with its samples, steps or draws. The peers explain one
target each, xrxai all four together.
"""

from __future__ import annotations

from typing import Any

from benchmarks import speed
from benchmarks.page import table

# workload -> n, who, and the bar for xrxai in MiB
CASES: dict[str, tuple[tuple[int, int], tuple[str, ...], int]] = {
    "A_lime_spectral": ((25, 100), ("captum", "meteors"), 1126),
    "A_lime_spatial": ((25, 100), ("captum", "meteors"), 1126),
    "A_integrated_gradients": ((5, 20), ("captum", "captum-default", "meteors"), 1638),
    "A_hyper_noise_tunnel": ((5, 20), ("meteors",), 1638),
}


def rows(tiny: bool) -> dict[str, Any]:
    """Measure each in a process of its own, once."""
    out: dict[str, Any] = {}
    for case, (sizes, peers, _) in CASES.items():
        out[case] = {}
        for who in ("xrxai", *peers):
            found = {}
            for n in (8, 9) if tiny else sizes:
                options = ["--bare", "--n", str(n), *["--tiny"] * tiny]
                row = speed.one(case, who, *options)
                kept = ("peak_mib", "loaded_mib", "error")
                found[str(n)] = {key: row[key] for key in kept if key in row}
            out[case][who] = found
            told = ", ".join(row.get("error") or f"{row['peak_mib']:.0f}" for row in found.values())
            print(f"peak of {case:20s} {speed.NAMES[who]:20s} {told} MiB", flush=True)
    return out


def text(found: dict[str, Any]) -> str:
    """Markdown of the table."""
    lines = []
    for case, by in found.items():
        for who, at in by.items():
            ours = who == "xrxai"
            cells = [r["error"] if "error" in r else f"{r['peak_mib']:.0f}" for r in at.values()]
            loaded = [f"{r['loaded_mib']:.0f}" for r in at.values() if "loaded_mib" in r]
            name = f"`{case.partition('_')[2]}`, n = {' and '.join(at)}" if ours else ""
            bar = f"{CASES[case][2]}" if ours else ""
            lines.append([name, speed.NAMES[who], *cells, (loaded or [""])[0], bar])
    head = ["", "by", "peak, MiB", "peak at the larger n", "before", "bar"]
    return table(head, lines)
