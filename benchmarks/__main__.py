"""Speed, growth, memory and start of explanations, with peers beside them: ``make bench``.

``python -m benchmarks`` takes about three quarters of an hour on two cores, writes
build/benchmarks.json and the tables of docs/performance.md. ``--only A_lime_spectral start``
measures these again and keeps the rest of the JSON. What takes a cluster, a large disk, a browser
or a GPU has its own door: python -m benchmarks.scene, .travel, .scale, .resume, .planted, .eta,
.explorer, .training, .gpu.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import growth, machine, meteors_env, peaks, report, speed, start
from benchmarks.problems import WORK

PARTS = ("growth", "peaks", "start")
APART = ("memory", "adaptive", "precision", "patches", "layout")  # each writes its own block
PACKAGES = ("torch", "numpy", "xarray", "captum", "saliency", "shap")


def main(arguments: list[str] | None = None) -> int:
    """Measure, save, write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = [*WORK, *PARTS, *APART]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=known, help=", ".join(known))
    parser.add_argument("--long", action="store_true", help="with 50 steps as well as 10")
    parser.add_argument("--peers", nargs="+", choices=["meteors"], default=[], help="install these")
    parser.add_argument("--tiny", action="store_true", help="once, small: does it run at all?")
    parser.add_argument("--json", type=Path, default=report.JSON)
    parser.add_argument("--out", type=Path, default=report.PAGE)
    given = parser.parse_args(arguments)
    usual = [name for name in known if name not in WORK or given.long or not WORK[name].long]
    asked = given.only or usual

    about = machine.about(*PACKAGES)
    found = _kept(given.json, about, given.tiny) if given.only else {}
    found |= {"machine": about, "tiny": given.tiny}
    if given.peers:
        found["meteors"] = meteors_env.make()
    dates = found.setdefault("dates", {})

    def save() -> None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=1))

    for name in asked:
        if name in APART:
            continue
        if name in WORK:
            found.setdefault("speed", {}).update(speed.rows([name], given.tiny))
        elif name == "growth":
            found[name] = growth.rows(given.tiny)
        elif name == "peaks":
            found[name] = peaks.rows(given.tiny)
        else:
            found[name] = start.rows(given.tiny)
        dates[name] = machine.today()
        save()
    if dates:
        report.write(found, given.out)
        print("\n\n".join(report.blocks(found).values()), flush=True)
    for name in [name for name in APART if name in asked]:
        command = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(given.out)]
        subprocess.run([*command, *["--tiny"] * given.tiny], check=True)
    return 0


def _kept(path: Path, about: dict[str, Any], tiny: bool) -> dict[str, Any]:
    """What was measured before on the same machine with the same packages."""
    if not path.exists():
        return {}
    before: dict[str, Any] = json.loads(path.read_text())
    return before if (before["machine"], before["tiny"]) == (about, tiny) else {}


if __name__ == "__main__":
    sys.exit(main())
