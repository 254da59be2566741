"""The explorer in a real browser: what is tapped and dragged is what the numbers show."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xrxai
from tests import browser as chromium
from tests import plot_cases as cases
from tests.conftest import skip_or_fail

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BAD = (760.0, 775.0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if importlib.util.find_spec("panel") is None:
        skip_or_fail("panel is not installed")
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


@contextmanager
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


@pytest.fixture(scope="module")
def page(browser, store, cube) -> Iterator[chromium.Page]:
    with served(browser, store, cube=cube) as found:
        yield found


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
    here = spectrum(page)
    assert not np.allclose(here, before)
    page.shot("app")
    # A tap beside the scene, and one that counts: the first was heard before.
    page.wheel(float(cube.x[22]), float(cube.y[18]), -4)
    page.until(lambda: _is(page.read("map", "x_range.end") > float(cube.x[-1]) + 30))
    page.tap(float(cube.x[-1]) + 20, float(cube.y[3]))
    page.tab.wait_for_timeout(100)
    np.testing.assert_array_equal(spectrum(page), here)
    page.tap(float(cube.x[5]), float(cube.y[20]))
    page.until(lambda: _is("row 20, column 5" in page.read("spectrum", "title.text")))


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
    # The opacity is set in the browser.
    x, y = float(cube.x[9]), float(cube.y[8])

    def red() -> float:
        r, g, b = page.colour(x, y)
        return r - (g + b) / 2

    page.until(lambda: _is(red() > 0.3))
    handle = page.tab.locator(".noUi-handle").nth(1)
    handle.focus()
    handle.press("Home")
    page.until(lambda: _is(red() < 0.15))
    assert page.elsewhere(f"file://{saved}") == []
    assert page.errors == []
    page.close()


def test_a_coarse_page_shows_means_and_says_so(browser, why, cube, tmp_path):
    path = why.xai.explore(cube).save(tmp_path / "small.html", max_mb=2.0)
    page = chromium.Page(browser, f"file://{path}", offline=True)
    k = int(page.tab.locator("text=/mean of . × . pixels/").inner_text().split(" × ")[0][-1])
    assert k > 1
    row, column = 12 // k, 8 // k
    page.tap(float(cube.x[8]), float(cube.y[12]))
    inside = {"y": slice(row * k, (row + 1) * k), "x": slice(column * k, (column + 1) * k)}
    mean = cube.isel(inside).mean(("y", "x")).values[cube["good_band"].values]
    page.until(lambda: np.testing.assert_allclose(spectrum(page), mean, rtol=0, atol=1e-5))
    said = page.read("spectrum", "title.text")
    assert said == (
        f"Mean of pixels: row {row * k}–{row * k + k - 1}, column {column * k}–{column * k + k - 1}"
    )
    bands = page.column("bands", "value").astype(float)
    mean = why["attribution"][0].isel(inside).mean(("y", "x"))
    np.testing.assert_allclose(bands, mean, rtol=0, atol=float(np.abs(why.attribution).max()) / 6e4)
    page.shot("page_coarse")
    assert (page.errors, page.elsewhere(f"file://{path}")) == ([], [])
    page.close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> xr.Dataset:
    """Larger than a view, without a map of the ground: rows run down."""
    values = np.random.default_rng(0).normal(size=(1, 4, 1300, 1500)).astype("f4")
    made = xr.Dataset(
        {"attribution": (("target", "band", "row", "col"), values)},
        coords={"target": ["K"], "wavelength": ("band", [500.0, 600.0, 700.0, 800.0])},
        attrs={"method": "saliency", "band_dim": "band", "y_dim": "row", "x_dim": "col"},
    )
    made["attribution"].attrs["units"] = "1"
    path = tmp_path_factory.mktemp("wide") / "wide.zarr"
    made.chunk(band=2, row=256, col=256).xai.to_zarr(path, progress=False)
    return made.assign_attrs(path=str(path))


def test_zoom_reads_the_window_at_full_resolution(browser, wide):
    every = wide["attribution"].values[0].sum(axis=0)

    def shows(values):
        np.testing.assert_allclose(page.image("values"), values, rtol=1e-4, atol=1e-5)

    with served(browser, Path(wide.attrs["path"])) as page:
        page.until(lambda: shows(every[::3, ::3]))
        assert page.tab.get_by_text("1 of 3 × 3 pixels is drawn").is_visible()
        page.wheel(700.0, 400.0, 30)
        size = {}

        def zoomed():
            ends = [page.read("map", f"{a}_range.{e}") for a in "yx" for e in ("start", "end")]
            rows, columns = sorted(ends[:2]), sorted(ends[2:])
            _is(columns[1] - columns[0] < 300)
            # A pixel is from a half before its number to a half behind it.
            top, left = int(np.floor(rows[0] + 0.5)), int(np.floor(columns[0] + 0.5))
            bottom, right = int(np.ceil(rows[1] + 0.5)), int(np.ceil(columns[1] + 0.5))
            shows(every[top:bottom, left:right])
            size["n"] = (bottom - top) * (right - left)

        page.until(zoomed)
        assert 0 < size["n"] < 300 * 300
        assert page.column("values", "x").item() >= 0
        page.tap(700.0, 400.0)
        page.until(
            lambda: np.testing.assert_allclose(
                page.column("bands", "value"), wide["attribution"].values[0, :, 400, 700], rtol=1e-6
            )
        )
        page.tab.locator(".bk-tool-icon-reset").first.click()
        page.until(lambda: shows(every[::3, ::3]))
        page.shot("zoom")


@pytest.mark.parametrize(
    "kind",
    ["lime_spectral", "lime_per_pixel", "lime_spatial", "occlusion_spatial", "samples"],
)  # fmt: skip
def test_every_kind_of_result_opens_in_both(browser, tmp_path, kind):
    if kind == "samples":
        made = cases.samples(cases.gradient(targets=("K", "pH")), count=3)
    else:
        made = getattr(cases, kind)()
    made.xai.to_netcdf(tmp_path / "why.nc")
    where = {"sample": 1} if kind == "samples" else {}
    truth = made["attribution"].isel(target=0, **where)
    with served(browser, tmp_path / "why.nc") as page:
        if where:
            page.tab.locator("select").nth(1).select_option("1")
        if truth.ndim >= 2 or kind == "lime_spatial":
            page.until(lambda: _same_map(page, made, truth))
        _tapped(page, made, truth)
        page.shot(f"app_{kind}")
    explorer = made.xai.explore()
    explorer.sample = where
    path = explorer.save(tmp_path / "why.html")
    page = chromium.Page(browser, f"file://{path}", offline=True)
    if truth.ndim >= 2 or kind == "lime_spatial":
        page.until(lambda: _same_map(page, made, truth, exact=False))
    _tapped(page, made, truth, exact=False)
    page.shot(f"page_{kind}")
    assert (page.errors, page.elsewhere(f"file://{path}")) == ([], [])
    page.close()


def _same_map(page, made, truth, *, exact=True):
    feature = next((d for d in ("band", "group") if d in truth.dims), None)
    values = truth if feature is None else truth.sum(feature, min_count=1)
    if "segment" in truth.dims:
        ids = made["segment_of_pixel"].values
        values = np.append(np.nan, truth.values)[ids]
        values = np.where(made["valid"].values, values, np.nan)
    values = np.asarray(values)
    off = 1e-6 if exact else np.nanmax(np.abs(values)) / 60000
    np.testing.assert_allclose(shown(page), values, rtol=1e-5, atol=off)


def _tapped(page, made, truth, *, exact=True):
    row, column = 20, 30
    if page.tab.evaluate(HAS_MAP):
        page.tap(float(made.x[column]), float(made.y[row]))
    here = truth.isel(y=row, x=column) if "y" in truth.dims else truth
    off = 1e-9 if exact else float(np.nanmax(np.abs(truth))) / 60000

    def compared():
        shown = page.column("bars", "value").astype(float)
        if "band" in truth.dims:
            value = page.column("bands", "value").astype(float)
            np.testing.assert_allclose(value, here, rtol=1e-5, atol=off)
        elif "group" in truth.dims:
            np.testing.assert_allclose(shown, here, rtol=1e-5, atol=off)
        elif "segment" in truth.dims:
            assert len(shown) == min(20, truth.size)
            assert set(np.round(shown, 6)) <= set(np.round(truth.values, 6))
            names, lines = page.column("bars", "name"), page.column("bars", "line")
            picked = names[lines == "black"].tolist()
            assert picked == [str(int(made["segment_of_pixel"][row, column]))]
        else:
            np.testing.assert_allclose(shown, [float(here)], rtol=1e-5, atol=off)

    page.until(compared)


HAS_MAP = """() => Bokeh.documents.some((d) => d.get_model_by_name("map") != null)"""
