"""The explorer in a real browser: what is tapped and dragged is what the numbers show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xrxai
from tests import browser as chromium
from tests import plot_cases as cases

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BAD = (760.0, 775.0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("panel")
    with chromium.opened() as found:
        yield found


@pytest.fixture(scope="module")
def cube() -> xr.DataArray:
    return cases.cube(bad=BAD)


@pytest.fixture(scope="module")
def why(cube) -> xr.Dataset:
    return cases.gradient(cube, targets=("K", "pH"))


@pytest.fixture(scope="module")
def store(why, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("explorer") / "why.zarr"
    why.chunk(target=1, band=50, y=20, x=20).xai.to_zarr(path, progress=False)
    return path


def served(browser: Any, path: Path, **options: Any) -> Iterator[chromium.Page]:
    app = xrxai.explore_app(path, port=0, show=False, block=False, **options)
    page = chromium.Page(browser, app.url)
    try:
        yield page
        assert page.errors == []
        assert page.elsewhere(app.url, app.url.replace("http", "ws")) == []
    finally:
        page.close()
        app.stop()


@pytest.fixture
def page(browser, store, cube) -> Iterator[chromium.Page]:
    yield from served(browser, store, cube=cube)


def shown(page: chromium.Page) -> np.ndarray:
    """The map as the raster lies: north up, so its first row is drawn last."""
    return page.image("values")[::-1]


def spectrum(page: chromium.Page) -> np.ndarray:
    y = page.column("spectrum", "y").astype(float)
    return y[np.isfinite(y)]


def test_a_tap_shows_the_spectra_of_that_pixel(page, why, cube):
    before = spectrum(page)
    for row, column in ((12, 6), (20, 30)):
        page.tap(float(cube.x[column]), float(cube.y[row]))
        good = cube["good_band"].values

        def of_the_pixel(row=row, column=column, good=good):
            found = spectrum(page)
            np.testing.assert_allclose(found, cube.values[good, row, column], rtol=1e-6)
            values = why["attribution"].values[0, :, row, column]
            bands = page.column("bands", "value").astype(float)
            np.testing.assert_allclose(bands, values, rtol=1e-6)
            np.testing.assert_allclose(
                page.column("bands", "top") + page.column("bands", "bottom"),
                np.nan_to_num(values), rtol=1e-6,
            )  # fmt: skip
            red_edge = (cases.WAVELENGTH >= 690) & (cases.WAVELENGTH < 785)
            sums = dict(zip(page.column("bars", "name"), page.column("bars", "value"), strict=True))
            np.testing.assert_allclose(sums["Red edge"], np.nansum(values[red_edge]), rtol=1e-5)

        page.until(of_the_pixel)
        assert page.column("marker", "x").tolist() == [float(cube.x[column])]
        assert f"row {row}, column {column}" in page.read("spectrum", "title.text")
    assert not np.allclose(spectrum(page), before)
    page.shot("app")


def test_a_tap_beside_the_scene_changes_nothing(page, cube):
    before = spectrum(page)
    page.wheel(float(cube.x[22]), float(cube.y[18]), -4)
    page.until(lambda: _is(page.read("map", "x_range.end") > float(cube.x[-1]) + 30))
    page.tap(float(cube.x[-1]) + 20, float(cube.y[3]))
    page.tap(float(cube.x[5]), float(cube.y[20]))  # one that counts: the first was heard before
    page.until(lambda: _is("row 20, column 5" in page.read("spectrum", "title.text")))
    assert not np.allclose(spectrum(page), before)


def _is(true: Any) -> None:
    assert true


def test_target_band_and_limits_change_the_map(page, why):
    def shows(values):
        np.testing.assert_allclose(shown(page), values, rtol=1e-5, atol=1e-7)

    every = why["attribution"].sum("band", min_count=1).values
    page.until(lambda: shows(every[0]))
    assert page.read("map", "title.text") == "Attribution, sum over bands"
    fixed = page.tab.evaluate(LIMITS)
    high = np.nanpercentile(np.abs(every[0]), 98)
    np.testing.assert_allclose(fixed, [-high, high], rtol=1e-5)
    page.box(0)
    sizes = np.nanmean(np.abs(why["attribution"].values[0][why["good_band"].values]), axis=(1, 2))
    start = int(np.flatnonzero(why["good_band"].values)[sizes.argmax()])
    page.until(lambda: shows(why["attribution"].values[0, start]))
    handle = page.tab.locator(".noUi-handle").first
    handle.focus()
    for steps in (1, 2):
        handle.press("ArrowLeft")
        page.until(lambda n=steps: shows(why["attribution"].values[0, start - n]))
    assert f"(band {start - 2})" in page.read("map", "title.text")
    before = page.tab.evaluate(LIMITS)
    page.tab.locator("select").select_option("pH")
    page.until(lambda: shows(why["attribution"].values[1, start - 2]))
    page.until(lambda: limits(page, 2 * before[1], 1e-3))  # pH is twice K
    page.box(1)
    own = np.nanpercentile(np.abs(why["attribution"].values[1, start - 2]), 98)
    page.until(
        lambda: np.testing.assert_allclose(page.tab.evaluate(LIMITS), [-own, own], rtol=1e-5)
    )
    page.shot("app_band")


LIMITS = """() => {
  const map = Bokeh.documents.map((d) => d.get_model_by_name("map")).find((m) => m != null);
  const mapper = map.renderers.map((r) => r.glyph.color_mapper).find((m) => m && m.palette);
  return [mapper.low, mapper.high];
}"""


def limits(page: chromium.Page, high: float, rtol: float) -> None:
    np.testing.assert_allclose(page.tab.evaluate(LIMITS), [-high, high], rtol=rtol)


@pytest.fixture(scope="module")
def saved(why, cube, tmp_path_factory) -> Path:
    return why.xai.explore(cube).save(tmp_path_factory.mktemp("page") / "why.html")


def test_a_saved_page_works_offline(browser, saved, why, cube):
    page = chromium.Page(browser, f"file://{saved}", offline=True)
    size = np.nanmax(np.abs(why["attribution"].values), axis=(1, 2, 3))

    def shows(values, off):
        np.testing.assert_allclose(shown(page), values, rtol=0, atol=off)

    every = why["attribution"].sum("band", min_count=1).values
    page.until(lambda: shows(every[0], np.nanmax(np.abs(every[0])) / 65000))
    high = np.nanpercentile(np.abs(every[0]), 98)
    np.testing.assert_allclose(page.tab.evaluate(LIMITS), [-high, high], rtol=1e-5)
    good = cube["good_band"].values
    for row, column in ((12, 6), (20, 30)):
        page.tap(float(cube.x[column]), float(cube.y[row]))

        def of_the_pixel(row=row, column=column):
            expected = cube.values[good, row, column]
            np.testing.assert_allclose(spectrum(page), expected, rtol=0, atol=1e-5)
            values = why["attribution"].values[0, :, row, column]
            bands = page.column("bands", "value").astype(float)
            np.testing.assert_allclose(bands, values, rtol=0, atol=size[0] / 65000)
            red_edge = (cases.WAVELENGTH >= 690) & (cases.WAVELENGTH < 785)
            sums = dict(zip(page.column("bars", "name"), page.column("bars", "value"), strict=True))
            np.testing.assert_allclose(sums["Red edge"], np.nansum(values[red_edge]), rtol=1e-3)

        page.until(of_the_pixel)
        assert f"row {row}, column {column}" in page.read("spectrum", "title.text")
    page.shot("page")
    page.box(0)
    start = int(page.read("map", "title.text").split("band ")[1].rstrip(")"))
    page.until(lambda: shows(why["attribution"].values[0, start], size[0] / 65000))
    handle = page.tab.locator(".noUi-handle").first
    handle.focus()
    handle.press("ArrowLeft")
    page.until(lambda: shows(why["attribution"].values[0, start - 1], size[0] / 65000))
    page.tab.locator("select").select_option("pH")
    page.until(lambda: shows(why["attribution"].values[1, start - 1], size[1] / 65000))
    bands = page.column("bands", "value").astype(float)
    expected = why["attribution"].values[1, :, 20, 30]
    np.testing.assert_allclose(bands, expected, rtol=0, atol=size[1] / 65000)
    page.box(1)
    own = np.nanpercentile(np.abs(why["attribution"].values[1, start - 1]), 98)
    page.until(
        lambda: np.testing.assert_allclose(page.tab.evaluate(LIMITS), [-own, own], rtol=1e-3)
    )
    assert "Attribution" in page.read("map", "title.text")
    page.shot("page_band")
    assert page.elsewhere(f"file://{saved}") == []
    assert page.errors == []
    page.close()


def test_the_opacity_is_set_in_the_browser(browser, saved):
    page = chromium.Page(browser, f"file://{saved}", offline=True)
    page.tab.wait_for_timeout(200)
    before = page.tab.screenshot()
    handle = page.tab.locator(".noUi-handle").nth(1)
    handle.focus()
    handle.press("Home")
    page.until(lambda: _is(page.tab.screenshot() != before))
    found = page.tab.evaluate(
        LIMITS.replace("return [mapper.low, mapper.high]",
                       "return map.renderers.map((r) => r.glyph.global_alpha)")
    )  # fmt: skip
    assert 0 in found
    page.close()
