"""A Chromium that looks at an explorer: what its panels hold, and hands that tap and drag."""

from __future__ import annotations

import base64
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import skip_or_fail

SHOTS = Path(__file__).parents[1] / "build" / "browser"
PATIENCE = 20.0  # seconds; a condition that holds is seen at once

_MODEL = "(name) => Bokeh.documents.map((d) => d.get_model_by_name(name)).find((m) => m != null)"
_COLUMN = f"""([name, column]) => Array.from(({_MODEL})(name).data[column])"""
# As text: a list of half a million numbers takes seconds.
_IMAGE = f"""(name) => {{
  const [found] = ({_MODEL})(name).data.image;
  const bytes = new Uint8Array(found.buffer, found.byteOffset, found.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) {{
    text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  }}
  return [found.shape, found.dtype, btoa(text)];
}}"""
_READ = f"""([name, path]) =>
  path.split(".").reduce((at, part) => at[part], ({_MODEL})(name))"""
_PLACE = f"""([name, x, y]) => {{
  const view = Bokeh.index.find_one(({_MODEL})(name));
  const box = view.canvas_view.el.getBoundingClientRect();
  return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)];
}}"""
_IDLE = """() => window.Bokeh && Bokeh.documents.length > 0
  && Bokeh.documents.every((d) => d.is_idle)"""


def chromium() -> str:
    """Path of the browser."""
    found = os.environ.get("XRXAI_CHROMIUM") or shutil.which("chromium")
    if not found or not os.access(found, os.X_OK):
        skip_or_fail("there is no chromium (set XRXAI_CHROMIUM to its path)")
    return found


@contextmanager
def opened() -> Iterator[Any]:
    """A browser without a window."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        skip_or_fail(f"playwright cannot be imported: {error}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """An explorer in a tab; keeps what went wrong and what was asked of other machines."""

    def __init__(self, browser: Any, url: str, *, offline: bool = False) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=offline)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(1000 * PATIENCE)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type in ("error",) else None,
        )
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(url)
        self.tab.wait_for_function(_IDLE, timeout=1000 * PATIENCE)

    def elsewhere(self, *own: str) -> list[str]:
        """Requests that went anywhere but to `own`."""
        return [u for u in self.requests if not u.startswith((*own, "data:", "blob:"))]

    def column(self, source: str, name: str) -> np.ndarray:
        """Column of a data source."""
        return np.array(self.tab.evaluate(_COLUMN, [f"{source}_data", name]))

    def image(self, source: str) -> np.ndarray:
        """Image of a data source as the browser holds it, its first row at the bottom."""
        shape, dtype, text = self.tab.evaluate(_IMAGE, f"{source}_data")
        return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)

    def read(self, model: str, path: str) -> Any:
        """Property of a model, such as `title.text` of a figure."""
        return self.tab.evaluate(_READ, [model, path])

    def place(self, x: float, y: float, figure: str = "map") -> tuple[float, float]:
        """Where a point of a figure is in the tab."""
        at = self.tab.evaluate(_PLACE, [figure, x, y])
        return at[0], at[1]

    def tap(self, x: float, y: float) -> None:
        """Click on a point of the map."""
        self.tab.mouse.click(*self.place(x, y))

    def colour(self, x: float, y: float) -> np.ndarray:
        """Red, green and blue that a point of the map is painted in, 0 to 1."""
        from matplotlib.image import imread

        left, top = self.place(x, y)
        clip = {"x": left, "y": top, "width": 1, "height": 1}
        painted: np.ndarray = imread(io.BytesIO(self.tab.screenshot(clip=clip)))[0, 0, :3]
        return painted

    def wheel(self, x: float, y: float, turns: int) -> None:
        """Turn the wheel over a point of the map; towards the user is out."""
        self.tab.mouse.move(*self.place(x, y))
        for _ in range(abs(turns)):
            self.tab.mouse.wheel(0, -100 if turns > 0 else 100)

    def box(self, position: int) -> None:
        """Click on a checkbox: the sum over bands, then the limits of one band."""
        self.tab.locator("input[type=checkbox]").nth(position).click()

    def until(self, check: Callable[[], Any]) -> Any:
        """Wait until a check passes without an AssertionError; what it returns."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return check()
            except (AssertionError, ValueError):
                if time.monotonic() > end:
                    self.shot("failed")
                    raise
                self.tab.wait_for_timeout(30)

    def shot(self, name: str) -> Path:
        """Keep a picture of the tab."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.tab.screenshot(path=path)
        return path

    def close(self) -> None:
        """Close the tab."""
        self.context.close()
