"""Write the page of the figures that ``make bench`` measured: ``python -m benchmarks.report``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import textwrap
from pathlib import Path
from typing import Any

from benchmarks import growth, page, peaks, speed, start

JSON, PAGE = Path("build/benchmarks.json"), Path("docs/performance.md")
FIGURE = "_static/growth.png"  # beside the page
READ = """\
Measured on {dates}, on {cores} cores ({processor}, {system}) with Python {python}, {packages}; one
thread for each explanation where no more are told. Made by `make bench`, which writes
build/benchmarks.json;
`python -m benchmarks.report` makes this page of it again.

**How to read it.** Seconds are processor seconds of the process, which move less than wall seconds
when neighbours are busy; caches and memory are still shared with them. *Others* is the share of all
cores that other programs used meanwhile. Single ratios are good to about 30 % on a busy machine, to
10 % on a quiet one. The *floor* is what the bare network takes for as many evaluations as were
counted, at its best batch, in the same process, forward or forward and backward for each target:
1.00 is the network as it is, and less takes another way through its first layer: sums of its
answers (the linear stem), or patches as products of matrices. An evaluation is one sample through
the network. Peers answer one target at a time; their figures are for all targets, one run each, and
where only some targets or spectra were run the rest is scaled (*runs*).
"""
SPEED = """\
## Speed

*Over the floor* is processor time over that of the counted evaluations; *over xrxai* is how many
times longer the same question takes. "Best batch": the one that suits captum best, images one by
one as it does by itself, spectra 100 at a time, 4 steps of integrated gradients or noisy copies;
meteors gets 10 samples at a time. "As it is": where its default is another, one spectrum or all
steps at once.
{meteors}"""
GROWTH = """\
## Growth

Spectra with a network that takes next to nothing, so that what xrxai does itself is seen. Usually
{pixels} pixels, {samples} samples or steps, {groups} groups, {targets} targets; one of these grows.

![Time over size]({figure})

"""
PEAKS = """\
## Peak memory

Resident memory of a process that explains a cube of 150 x 224 x 224 (29 MiB) by model A, at a small
and a large number of samples, steps or draws. xrxai explains four targets together; peers one, with
the batch that suits them best, but where it says "as it is". *Before*: with the model, the cube and
all imports there. Four attributions of this cube are 115 MiB.

"""
START = """\
## Import and first call

Fresh processes. The first call comes with torch loaded and model A built (`lime_spectral`, 100
samples); nothing has run before it.

"""


def blocks(found: dict[str, Any]) -> dict[str, str]:
    """Markdown of the parts that were measured, by name."""
    told = found["machine"]
    dates = sorted(set(found["dates"].values()))
    reading = READ.format(
        dates=dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        packages=", ".join(f"{name} {number}" for name, number in told["packages"].items()),
        **{key: told[key] for key in ("cores", "processor", "system", "python")},
    )
    paragraphs = [*reading.strip().split("\n\n"), *_busy(found)]
    filled = (textwrap.fill(p, 100, break_on_hyphens=False) for p in paragraphs)
    out = {"reading": "\n\n".join(filled)}
    if "speed" in found:
        why = found.get("meteors")
        said = f"\nmeteors could not be installed here: {why}\n" if why else ""
        out["speed"] = SPEED.format(meteors=said) + speed.text(found["speed"])
    if "growth" in found:
        out["growth"] = GROWTH.format(figure=FIGURE, **growth.USUAL) + growth.text(found["growth"])
    if "peaks" in found:
        out["peaks"] = PEAKS + peaks.text(found["peaks"])
    if "start" in found:
        out["start"] = START + start.text(found["start"])
    return out


def _busy(found: dict[str, Any]) -> list[str]:
    """Say how much others used, and how much the same network's time moved meanwhile."""
    every = [
        row for by in found.get("speed", {}).values() for row in by.values() if "error" not in row
    ]
    if not every:
        return []
    shares = [row["foreign"] for row in every if row["foreign"] == row["foreign"]]
    said = f"Others used {100 * statistics.median(shares):.0f} % (median). " if shares else ""
    for model in "AB":
        cost = [
            1e3 * row["floor_forward"]["cpu"]
            for row in every
            if row["case"].startswith(model) and "floor_forward" in row
        ]
        if len(cost) > 1:
            said += (
                f"The same forward pass of {model} at its best batch took {min(cost):.0f} to "
                f"{max(cost):.0f} ms a sample in {len(cost)} processes. "
            )
    return [said.strip()] if said else []


def write(found: dict[str, Any], path: Path) -> None:
    """Put the parts into the page, and the figure beside it."""
    if "growth" in found:
        growth.figure(found["growth"], path.parent / FIGURE)
    for name, block in blocks(found).items():
        page.write(name, block, path)


def main(arguments: list[str] | None = None) -> int:
    """Write the page of the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--json", type=Path, default=JSON)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    write(json.loads(given.json.read_text()), given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
