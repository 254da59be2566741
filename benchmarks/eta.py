"""How well `xrxai.plan` foretells the time of a run: ``python -m benchmarks.eta``.

A scene is planned and then explained, under three schedulers. The table goes into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da

import xrxai
from benchmarks import page, scene

METHODS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 8},
    "lime_spectral": {"bands": 600.0, "n_samples": 20},
}
SCHEDULERS = ("synchronous", "threads", "two workers")
HEAD = """\
## Time foretold

Seconds that `xrxai.plan` foretold for a scene of {tiles} tiles of {tile} x {tile} pixels and
{bands} bands, and those that it took, without writing the result; medians of {repeats}
turns. Made by `python -m benchmarks.eta`.

| method | scheduler | foretold, s | taken, s | taken over foretold |
|---|---|---|---|---|
"""


@contextlib.contextmanager
def under(name: str) -> Iterator[None]:
    """Set a scheduler."""
    if name != "two workers":
        with dask.config.set(scheduler=name, num_workers=2):
            yield
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        yield


def turn(cube: Any, method: str, options: dict[str, Any]) -> tuple[float, float]:
    """Give seconds foretold and taken."""
    foretold = xrxai.plan(cube, scene.model(), method, options=options).eta
    assert foretold is not None
    why = getattr(cube.xai, method)(scene.model(), **options)
    began = time.perf_counter()
    da.compute(*(why[name].data.sum() for name in ("attribution", "prediction")))
    return foretold, time.perf_counter() - began


def rows(side: int, tile: int, repeats: int) -> list[tuple[str, str, float, float]]:
    """Measure every method under every scheduler."""
    warnings.simplefilter("ignore")
    cube = scene.scene(side, side, tile)
    out = []
    for scheduler in SCHEDULERS:
        with under(scheduler):
            for method, options in METHODS.items():
                turns = [turn(cube, method, options) for _ in range(repeats)]
                both = [statistics.median(each) for each in zip(*turns, strict=True)]
                out.append((method, scheduler, both[0], both[1]))
    return out


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and put it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eta", description=__doc__)
    parser.add_argument("--short", action="store_true", help="tiny: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    given = parser.parse_args(arguments)
    side, tile, repeats = (2, 32, 1) if given.short else (5, scene.TILE, 3)
    text = HEAD.format(tiles=side**2, tile=tile, bands=scene.BANDS, repeats=repeats)
    for method, scheduler, foretold, taken in rows(side, tile, repeats):
        ratio = taken / foretold
        text += f"| `{method}` | {scheduler} | {foretold:.1f} | {taken:.1f} | {ratio:.2f} |\n"
    print(text, end="")
    page.write("eta", text, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
