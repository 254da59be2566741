"""How quick the explorer is on a large scene: ``python -m benchmarks.explorer``.

A cube and an explanation of three targets are written as Zarr below build/ (about 3 GB, kept for
the next time), served by a process of its own, and looked at by Chromium. Times are taken in the
browser, from the key or the button to the frame after the new one is painted. The table goes into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks import machine, page

TARGETS = ("K", "P", "Mg")
ROOT = Path(__file__).parents[1]
BARS = {"slider": 400.0, "tap": 500.0, "memory": 700.0}
HEAD = """\
## The explorer

A scene of {side} x {side} pixels and {bands} bands with three targets, float32 in Zarr with chunks
of (band 10, y 256, x 256): {size:.1f} GB, of which one band of one target is drawn, at every
{step} pixel. From the key or the button to the repaint in a headless Chromium on the same machine
({cores} cores{beside}); files in the page cache. Made by `python -m benchmarks.explorer`.

| step | median | from - to | n | wanted |
|---|---|---|---|---|
"""
_FIND = "Bokeh.documents.map((d) => d.get_model_by_name(name)).find((m) => m != null)"
# Resolves with the milliseconds from an event to the second frame after all sources changed.
_WATCH = f"""([event, names]) => {{
  let began = null
  window.addEventListener(event, (e) => {{ began ??= e.timeStamp }}, {{capture: true, once: true}})
  const find = (name) => {_FIND}
  window.painted = Promise.all(names.map((name) => new Promise((done) => {{
    const source = find(name)
    const heard = () => {{ source.properties.data.change.disconnect(heard); done() }}
    source.properties.data.change.connect(heard)
  }}))).then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(
    () => done(performance.now() - began)))))
}}"""
_PLACE = f"""([x, y]) => {{
  const name = "map"
  const view = Bokeh.index.find_one({_FIND})
  const box = view.canvas_view.el.getBoundingClientRect()
  return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)]
}}"""
_IDLE = "() => window.Bokeh && Bokeh.documents.length && Bokeh.documents.every((d) => d.is_idle)"


@dataclass(frozen=True)
class Size:
    """Of the scene, and of the measurement."""

    side: int
    bands: int
    n: int


def write(folder: Path, size: Size) -> tuple[Path, Path]:
    """Write cube and explanation slab by slab, unless they are there."""
    paths = folder / "cube.zarr", folder / "why.zarr"
    done = folder / "done"
    said = f"{size.side} {size.bands}"
    if done.exists() and done.read_text() == said:
        return paths
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    nm = np.linspace(400.0, 2450.0, size.bands)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : size.side, 0 : size.side] / size.side
    field = (np.sin(9 * x + 2 * y) + 0.9 * np.cos(7 * y - 4 * x)).astype(np.float32)
    # Noise in steps of 1/256: as compressible as what a sensor of 12 bits gives.
    noise = rng.integers(-64, 64, (10, size.side, size.side)).astype(np.float32) / 256
    coords = {
        "wavelength": ("band", nm, {"units": "nm"}),
    }  # fmt: skip
    _slabs(paths[0], "reflectance", ("band", "y", "x"), coords, size,
           lambda _, b: 0.3 + 0.1 * (field + noise) * (1 + nm[b, None, None] / 2500))  # fmt: skip
    bump = np.exp(-(((nm - 1700) / 90) ** 2)) - 0.6 * np.exp(-(((nm - 1350) / 50) ** 2))
    _slabs(paths[1], "attribution", ("target", "band", "y", "x"), coords, size,
           lambda t, b: (1 + t) * (bump[b, None, None] * field + 0.1 * noise))  # fmt: skip
    done.write_text(said)
    return paths


def _slabs(
    path: Path, name: str, dims: tuple[str, ...], coords: Any, size: Size,
    make: Callable[[int, slice], Any],
) -> None:  # fmt: skip
    import zarr

    shape = {"target": len(TARGETS), "band": size.bands, "y": size.side, "x": size.side}
    chunks = {"target": 1, "band": 10, "y": 256, "x": 256}
    import dask.array as da

    empty = da.zeros([shape[d] for d in dims], dtype="f4", chunks=[chunks[d] for d in dims])
    made = xr.Dataset({name: (dims, empty, {"units": "1"})}, coords=coords)
    if "target" in dims:
        made = made.assign_coords(target=np.array(TARGETS, dtype=object))
        made.attrs = {"method": "integrated_gradients", "band_dim": "band", "y_dim": "y",
                      "x_dim": "x", "options": "{}"}  # fmt: skip
    made.to_zarr(path, compute=False, consolidated=False)
    array = zarr.open_group(path, mode="r+")[name]
    for target in range(len(TARGETS) if "target" in dims else 1):
        for start in range(0, size.bands, 10):
            bands = slice(start, min(start + 10, size.bands))
            values = np.asarray(make(target, bands))[: bands.stop - start].astype("f4")
            array[(target, bands) if "target" in dims else bands] = values


@contextmanager
def served(cube: Path, why: Path) -> Iterator[tuple[str, int]]:
    """Serve the explorer in a process of its own: its address and its number."""
    command = [sys.executable, "-m", "xrxai", "explore", str(why), "--cube", str(cube)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--port", "0", "--no-browser"], env=env, text=True, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the explorer ended with {process.wait()}")
        yield url, process.pid
    finally:
        process.terminate()
        process.communicate()


def peak(pid: int) -> float:
    """Peak resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("this system does not tell the memory of another process")


class Tab:
    """A tab with an explorer in it."""

    def __init__(self, browser: Any, url: str) -> None:
        self.tab = browser.new_page(viewport={"width": 1280, "height": 900})
        self.tab.set_default_timeout(120_000)
        self.tab.goto(url)
        self.tab.wait_for_function(_IDLE)

    def timed(self, event: str, act: Callable[[], Any], *names: str) -> float:
        """Milliseconds from an event to the repaint of all data sources."""
        self.tab.evaluate(_WATCH, [event, list(names)])
        act()
        late = "new Promise((_, no) => setTimeout(() => no(new Error('nothing came')), 60000))"
        found: float = self.tab.evaluate(f"() => Promise.race([window.painted, {late}])")
        self.tab.wait_for_timeout(150)  # hands rest between two moves
        return found

    def tap(self, x: float, y: float) -> None:
        """Click on a point of the map."""
        self.tab.mouse.click(*self.tab.evaluate(_PLACE, [x, y]))


def measure(folder: Path, size: Size) -> tuple[dict[str, list[float]], float, float]:
    """Milliseconds of every step; MB at the peak before and after the sum over bands."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("XRXAI_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("there is no chromium; set XRXAI_CHROMIUM to its path")
    cube, why = write(folder, size)
    out: dict[str, list[float]] = {}
    rng = np.random.default_rng(1)
    with served(cube, why) as (url, pid), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = Tab(browser, url)
        first = tab.tab.evaluate("() => performance.now()")
        box = tab.tab.locator("input[type=checkbox]").first
        if box.is_checked():  # a small scene begins with the sum
            box.click()
            tab.tab.wait_for_timeout(500)
        handle = tab.tab.locator(".noUi-handle").first
        handle.focus()
        keys = ["ArrowLeft"] * 2 + ["ArrowRight" if i % 3 else "ArrowLeft" for i in range(size.n)]
        moves = [tab.timed("keydown", lambda k=k: handle.press(k), "values_data") for k in keys]
        out["slider"] = moves[2:]  # the first ones warm the page
        places = rng.integers(5, size.side - 5, (size.n + 2, 2)).astype(float)
        taps = [
            tab.timed(
                "pointerup", lambda p=p: tab.tap(*p.tolist()),
                "spectrum_data", "bands_data", "bars_data",
            )
            for p in places
        ]  # fmt: skip
        out["tap"] = taps[2:]
        select = tab.tab.locator("select").first
        names = [TARGETS[(i + 1) % len(TARGETS)] for i in range(size.n)]
        out["target"] = [
            tab.timed("input", lambda n=n: select.select_option(n), "values_data") for n in names
        ]
        middle = tab.tab.evaluate(_PLACE, [size.side / 2, size.side / 2])
        tab.tab.mouse.move(*middle)
        out["zoom"] = [
            tab.timed("wheel", lambda i=i: tab.tab.mouse.wheel(0, -300 if i % 2 else 300),
                      "values_data")
            for i in range(1, size.n + 1)
        ]  # fmt: skip
        before = peak(pid)
        out["sum"] = [tab.timed("click", box.click, "values_data")]
        out["first"] = [first]
        after = peak(pid)
        browser.close()
    return out, before, after


STEPS = {
    "slider": "another band, by the slider",
    "tap": "spectrum, attribution and bars of a tapped pixel",
    "target": "another target",
    "zoom": "zoom, read anew",
    "first": "page opened to first view, in a new process",
    "sum": "all bands summed, once for each target",
}


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and put it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer", description=__doc__)
    parser.add_argument("--short", action="store_true", help="tiny: does it run at all?")
    parser.add_argument("--beside", default="", help="what else ran, for the page")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "explorer")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "performance.md")
    given = parser.parse_args(arguments)
    size = Size(300, 20, 2) if given.short else Size(1000, 200, 12)
    found, before, after = measure(given.folder, size)
    bytes_ = 4 * size.bands * size.side**2 * (1 + len(TARGETS))
    step = -(-size.side // 700)
    text = HEAD.format(
        side=size.side, bands=size.bands, size=bytes_ / 1e9, cores=machine.about()["cores"],
        step={1: "single", 2: "second"}.get(step, f"{step}th"),
        beside=f", {given.beside}" if given.beside else "",
    )  # fmt: skip
    for name, words in STEPS.items():
        values = found[name]
        bar = f"< {BARS[name]:.0f} ms" if name in BARS else ""
        text += (
            f"| {words} | {statistics.median(values):.0f} ms | {min(values):.0f} - "
            f"{max(values):.0f} ms | {len(values)} | {bar} |\n"
        )
    text += f"| memory of the server, peak | {before:.0f} MB | | | < {BARS['memory']:.0f} MB |\n"
    text += f"| the same after summing all bands | {after:.0f} MB | | | |\n"
    print(text, end="")
    page.write("explorer", text, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
