"""What the explorer reads, thins, rounds and says, without a browser."""

from __future__ import annotations

import builtins
import functools
import importlib.util
import re
import sys

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xrxai
from tests import plot_cases as cases
from tests.conftest import raises_exactly, skip_or_fail
from xrxai.errors import CubeError, OptionError, ResultError
from xrxai.explorer import looks, pack, window
from xrxai.explorer.scene import At, Scene, group_sums, warning
from xrxai.explorer.window import Window
from xrxai.plot.axis import groups_of, spectral_axis
from xrxai.plot.grid import grid
from xrxai.plot.maps import read_map
from xrxai.plot.picture import from_cube, from_explanation
from xrxai.plot.style import scale
from xrxai.plot.view import view


def needs_panel(test):
    """Slow for its import alone."""
    found = importlib.util.find_spec("panel") is not None

    @pytest.mark.slow
    @functools.wraps(test)
    def run(*args, **kwargs):
        if not found:
            skip_or_fail("panel is not installed")
        test(*args, **kwargs)

    return run


def placed(rows: int, columns: int):
    return grid(xr.DataArray(np.zeros((rows, columns)), dims=("y", "x")), "y", "x")


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12),
    st.integers(1, 9), st.data(),
)  # fmt: skip
def test_windows_are_read_as_slices_say(rows, columns, chunk_y, chunk_x, side, data):
    values = np.random.default_rng(0).normal(size=(2, rows, columns))
    values[:, ::3, ::2] = np.nan
    array = xr.DataArray(da.from_array(values, (1, chunk_y, chunk_x)), dims=("band", "y", "x"))
    ends = sorted(data.draw(st.floats(-3, rows + 3)) for _ in range(2))
    across = sorted(data.draw(st.floats(-3, columns + 3)) for _ in range(2))
    seen = window.seen_in(placed(rows, columns), tuple(across), tuple(ends), side)
    k = seen.step
    rs, cs = slice(*seen.rows, k), slice(*seen.columns, k)
    assert 0 <= seen.rows[0] < seen.rows[1] <= rows
    assert 0 <= seen.columns[0] < seen.columns[1] <= columns
    assert max(seen.shape) <= side
    chunks = window.chunks_of(array)
    assert chunks == {"band": 1, "y": min(chunk_y, rows), "x": min(chunk_x, columns)}
    old, window.PIECE_BYTES = window.PIECE_BYTES, 200  # many pieces
    try:
        found = window.read(array, "y", "x", seen, chunks)
        total = window.read_sum(array, "band", "y", "x", seen, chunks)
        means = window.read_means(array, "y", "x", seen, chunks)
    finally:
        window.PIECE_BYTES = old
    np.testing.assert_array_equal(found, values[:, rs, cs])
    expected = array.compute().sum("band", min_count=1)[rs, cs]
    np.testing.assert_allclose(total, expected)
    inside = array.compute()[:, slice(*seen.rows), slice(*seen.columns)]
    slow = np.full((2, *seen.shape), np.nan)
    for i in range(seen.shape[0]):
        for j in range(seen.shape[1]):
            block = inside.values[:, i * k : (i + 1) * k, j * k : (j + 1) * k].reshape(2, -1)
            for b in range(2):
                if np.isfinite(block[b]).any():
                    slow[b, i, j] = np.nanmean(block[b])
    np.testing.assert_allclose(means, slow, rtol=1e-6)


def test_a_window_shows_every_pixel_that_is_partly_in_the_range():
    g = placed(10, 20)
    assert window.seen_in(g, (2.4, 4.6), (0.6, 0.7)) == Window((1, 2), (2, 6), 1)
    assert window.seen_in(g, (-0.5, 19.5), (9.5, -0.5)) == window.whole(g)
    assert window.whole(g, 7) == Window((0, 10), (0, 20), 3)
    north = cases.cube(shape=(10, 20))
    up = grid(north, "y", "x")
    y, x = north.y.values, north.x.values
    seen = window.seen_in(up, (x[3] - 1, x[5] + 1), (y[8] - 1, y[6] + 1))
    assert seen == Window((6, 9), (3, 6), 1)
    assert seen.extent(up) == (x[3] - 2, x[5] + 2, y[8] - 2, y[6] + 2)
    assert window.pixel_at(up, x[5], y[8]) == (8, 5)
    assert window.pixel_at(up, x[5] + 1.9, y[8] + 1.9) == (8, 5)
    assert window.pixel_at(up, x[19] + 2.1, y[0]) is None
    assert window.pixel_at(up, x[19], y[0] + 2.1) is None


def test_a_read_asks_for_the_chunks_of_its_view_only(tmp_path):
    asked = []

    def block(block_info=None):
        asked.append(tuple(block_info[None]["chunk-location"]))
        return np.ones(block_info[None]["chunk-shape"], "f4")

    lazy = da.map_blocks(
        block,
        chunks=((1, 1), (10, 10), (8, 8, 8), (8, 8)),
        dtype="f4",
        meta=np.empty((0,) * 4, "f4"),
    )
    why = xr.Dataset(
        {"attribution": (("target", "band", "y", "x"), lazy)},
        coords={"wavelength": ("band", np.linspace(500.0, 900.0, 20))},
        attrs={"method": "saliency", "band_dim": "band", "y_dim": "y", "x_dim": "x"},
    )
    scene = Scene(why)
    assert asked == []
    scene.plane(At(1), 12, Window((9, 15), (0, 5), 1))
    assert set(asked) == {(1, 1, 1, 0)}
    asked.clear()
    scene.features(At(0), 20, 9)
    assert set(asked) == {(0, 0, 2, 1), (0, 1, 2, 1)}
    asked.clear()
    scene.limits(At(0), summed=False)
    assert {a[0] for a in asked} == {0}
    assert scene.step_bytes() == 10 * 24 * 16 * 4
    assert scene.sum_bytes() == 20 * 24 * 16 * 4


def test_a_sample_lies_all_over_a_large_array():
    n = 40
    asked = set()

    def block(block_info=None):
        asked.add(tuple(block_info[None]["chunk-location"]))
        return np.ones(block_info[None]["chunk-shape"], "f4")

    sizes = ((2,) * n, (3,) * 12, (3,) * 12)
    lazy = da.map_blocks(block, chunks=sizes, dtype="f4", meta=np.empty((0,) * 3, "f4"))
    array = xr.DataArray(lazy, dims=("band", "y", "x"))
    found = window.sample(array, window.chunks_of(array))
    assert len(asked) == 24
    assert found.size == 24 * 18
    for axis, count in enumerate((n, 12, 12)):
        where = np.array(sorted({a[axis] for a in asked})) / count
        assert np.diff([0, *where, 1]).max() < 0.2


def test_limits_and_colours_are_those_of_the_static_figures():
    cube = cases.cube()
    why = cases.gradient(cube, targets=("K", "pH"))
    scene = Scene(why, cube)
    for t, name in enumerate(("K", "pH")):
        static = read_map(view(why, name)).scaled
        found = scene.limits(At(t), summed=True)
        # Summed in double precision here, and in single there.
        np.testing.assert_allclose((found.low, found.high), (static.low, static.high), rtol=1e-6)
        assert found.cmap == static.cmap
        values = why["attribution"].values[t]
        static = scale(values, robust=True, signed=True)
        np.testing.assert_allclose(scene.limits(At(t), summed=False).high, static.high, rtol=1e-6)
    every = window.whole(scene.placed())
    np.testing.assert_array_equal(scene.picture(At(0), every), from_cube(cube, dataset=why).rgba)
    part = Window((5, 20), (7, 30), 2)
    np.testing.assert_array_equal(
        scene.picture(At(0), part), scene.picture(At(0), every)[5:20:2, 7:30:2]
    )
    stored = Scene(why)
    np.testing.assert_array_equal(
        stored.picture(At(0), every), from_explanation(why, "y", "x").rgba
    )


def in_tiles(one: xr.Dataset, *, edges_y, edges_x) -> xr.Dataset:
    """The explanation of each tile by itself: what `one` says, times the number of the tile."""
    ny, nx = len(edges_y) - 1, len(edges_x) - 1
    number = xr.DataArray(1.0 + np.arange(ny * nx).reshape(ny, nx), dims=("tile_y", "tile_x"))
    made = one.copy()
    for name in ("attribution", "ci_low", "ci_high", "standard_error"):
        made[name] = (one[name] * number).transpose("target", "tile_y", "tile_x", ...)
    ends = {
        "tile_row_start": ("tile_y", edges_y[:-1]), "tile_row_stop": ("tile_y", edges_y[1:]),
        "tile_column_start": ("tile_x", edges_x[:-1]), "tile_column_stop": ("tile_x", edges_x[1:]),
    }  # fmt: skip
    return made.assign_coords(ends)


@pytest.mark.parametrize("kind", ["lime_spectral", "lime_spatial", "regions"])
def test_tiles_and_regions_are_laid_over_their_pixels(kind):
    edges = {"edges_y": [0, 12, 24, 36], "edges_x": [0, 20, 40]}  # the last columns are in none
    if kind == "regions":
        made = cases.lime_spectral()
        share = xr.DataArray([1.0, -2.0, 3.0], dims="region")
        for name in ("attribution", "ci_low", "ci_high", "standard_error"):
            made[name] = (made[name] * share).transpose("target", "region", "group")
        ids = np.zeros((36, 44), dtype=int)
        ids[:10, 5:], ids[12:20, :9], ids[25:, 30:] = 2, 1, 3
        made["region_of_pixel"] = (("y", "x"), ids)
    else:
        made = in_tiles(getattr(cases, kind)(), **edges)
    scene = Scene(made)
    assert scene.lead == {}
    assert scene.has_values_in_space
    spread = made.xai.on_cube()["attribution"].isel(target=0)
    window = Window((3, 36), (1, 44), 2)
    inside = {"y": slice(3, 36, 2), "x": slice(1, 44, 2)}
    if kind == "lime_spatial":
        expected = spread.where(made["valid"]).isel(inside).transpose("y", "x")
        np.testing.assert_array_equal(scene.plane(At(0), None, window), expected)
        tile = made["attribution"].values[0, 2, 1]
        largest = int(np.argmax(np.abs(tile))) + 1
        here = made["segment_of_pixel"].values == largest
        assert here[24:, 20:40].any()  # the pixel is in the last tile
        row, column = (int(i[-1]) for i in np.nonzero(here & (np.arange(44) < 40)))
        bars = looks.bars_of(scene, [], At(0), row, column, scene.features(At(0), row, column))
        assert set(bars.values) <= set(tile)
        assert bars.names[bars.picked] == str(largest)
        assert bars.values[bars.picked] == tile[largest - 1]
        return
    first = [int(np.flatnonzero(made["group_of_band"] == k + 1)[0]) for k in range(5)]
    groups = spread.isel(band=first).transpose("band", "y", "x").isel(inside)
    for k in range(5):
        np.testing.assert_array_equal(scene.plane(At(0), k, window), groups[k])
    np.testing.assert_allclose(scene.plane(At(0), None, window), groups.sum("band", min_count=1))
    np.testing.assert_allclose(
        scene.means(At(0), Window((0, 36), (0, 44), 4))[:, 2, 2],
        spread.isel(band=first, y=slice(8, 12), x=slice(8, 12)).mean(("y", "x")), rtol=1e-6,
    )  # fmt: skip
    at = scene.features(At(0), 13, 7)
    np.testing.assert_array_equal(at, spread.isel(band=first, y=13, x=7))
    assert np.isnan(scene.features(At(0), 22, 43)).all()
    assert scene.strongest(At(0)) == 3


def test_bars_are_sums_over_the_bands_of_groups():
    cube = cases.cube(bad=(760, 775))
    why = cases.gradient(cube)
    scene = Scene(why)
    groups = scene.groups(scene.axis())
    made = looks.bars_of(scene, groups, At(0), 20, 30, scene.features(At(0), 20, 30))
    pixel = why["attribution"].isel(target=0, y=20, x=30)
    nm = cases.WAVELENGTH
    for name, (low, high) in cases.GROUPS.items():
        if name == "NIR":
            high = 1300
        inside = (nm >= low) & (nm < high)
        np.testing.assert_allclose(
            made.values[made.names.index(name)], float(pixel[inside].sum()), rtol=1e-6
        )
    axis = spectral_axis(view(why))
    nothing = group_sums(np.full(150, np.nan), groups_of(view(why), axis, None))
    assert np.isnan(nothing).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=30), st.booleans())
def test_rounding_is_within_half_a_step(values, holes):
    array = np.array(values, dtype=np.float32)
    if holes:
        array[::3] = np.nan
    numbers, step = pack.quantise(array)
    back = pack.unquantise(numbers, step)
    assert numbers.dtype == np.int16
    np.testing.assert_array_equal(np.isnan(back), np.isnan(array))
    largest = np.nanmax(np.abs(array), initial=0.0)
    np.testing.assert_allclose(back, array, rtol=0, atol=largest / 32767 / 2 * 1.001 + 1e-40)


@needs_panel
def test_a_page_is_as_fine_as_its_size_allows_and_says_so(tmp_path):
    cube = cases.cube()
    why = cases.gradient(cube)
    explorer = why.xai.explore(cube)
    fine = explorer.save(tmp_path / "new" / "fine.html", max_mb=3)
    text = fine.read_text()
    assert "All pixels are in this page." in text
    assert re.findall(r"<(?:script|link)[^>]* (?:src|href)=", text.partition("</head>")[0]) == []
    small = explorer.save(tmp_path / "small.html", max_mb=1.85)
    assert small.stat().st_size <= 1.85e6 < fine.stat().st_size
    said = re.search(r"this page is the mean of (\d) \\u00d7 \1 pixels", small.read_text())
    assert said is not None
    assert int(said[1]) > 1
    with pytest.raises(OptionError, match=r"^max_mb=0.1 is too small: .* pixel; type max_mb=3\.$"):
        explorer.save(tmp_path / "tiny.html", max_mb=0.1)
    assert not (tmp_path / "tiny.html").exists()


def test_a_coarse_page_holds_means(tmp_path):
    cube = cases.cube()
    why = cases.gradient(cube, targets=("K", "pH"))
    packed = pack.pack(Scene(why, cube), At(0), 4)
    means = why["attribution"].coarsen(y=4, x=4).mean()
    for t in range(2):
        found = pack.unquantise(packed.values[t], packed.scales[t])[:, ::-1]
        np.testing.assert_allclose(found, means[t], rtol=0, atol=packed.scales[t])
        total = means[t].sum("band", min_count=1)
        found = pack.unquantise(packed.sums[t], packed.sum_scales[t])[0, ::-1]
        np.testing.assert_allclose(found, total, rtol=0, atol=packed.sum_scales[t])
    found = pack.unquantise(packed.cube, packed.cube_scale)[:, ::-1]
    np.testing.assert_allclose(found, cube.coarsen(y=4, x=4).mean(), rtol=0, atol=packed.cube_scale)


@needs_panel
def test_many_bands_in_a_chunk_are_told_once_a_step_reads_much(tmp_path):
    lazy = da.zeros((1, 300, 400, 400), dtype="f4", chunks=(1, 300, 400, 400))
    why = cases.gradient().isel(band=slice(0, 1), drop=True)[[]]
    why["attribution"] = (("target", "band", "y", "x"), lazy)
    why.attrs = {"method": "saliency", "band_dim": "band", "y_dim": "y", "x_dim": "x"}
    why = why.drop_vars([n for n in why.coords if n != "target"], errors="ignore")
    said = warning(Scene(why))
    assert said == (
        "One step of the slider reads 192 MB, because chunks hold many bands (300). Write the "
        "explanation anew in chunks of few: why.drop_encoding().chunk(target=1, band=10, y=256, "
        "x=256).xai.to_zarr('flat.zarr')."
    )
    assert warning(Scene(why.chunk(band=10))) is None
    small = cases.gradient(targets=("K", "pH"))
    small.drop_encoding().chunk(target=1, band=10, y=16, x=16).xai.to_zarr(
        tmp_path / "flat.zarr", progress=False
    )
    flat = xrxai.open_explanation(tmp_path / "flat.zarr")
    assert Scene(flat).chunks == {"target": 1, "band": 10, "y": 16, "x": 16}
    xr.testing.assert_equal(flat.load(), small)
    with pytest.warns(UserWarning, match=r"^One step of the slider reads 192 MB"):
        why.xai.explore()


@needs_panel
def test_what_cannot_be_explored_is_told():
    cube = cases.cube()
    why = cases.gradient(cube, targets=("K", "pH"))
    with raises_exactly(OptionError, "target='N' is not known; choose one of 'K', 'pH'."):
        why.xai.explore(target="N")
    with raises_exactly(
        ResultError,
        "The cube has y: 30 and the explanation y: 36: pass the cube that was explained.",
    ):
        why.xai.explore(cube.isel(y=slice(0, 30)))
    with raises_exactly(
        CubeError,
        "The explorer shows one cube, and this one has time: 2. Type .isel(time=0) to take the "
        "first.",
    ):
        why.xai.explore(xr.concat([cube, cube], dim="time"))
    with raises_exactly(
        OptionError, "max_mb=0 is not a positive number; type for example max_mb=10."
    ):
        why.xai.explore().save("why.html", max_mb=0)
    with pytest.raises(ResultError, match="Expected an explanation"):
        xr.Dataset({"a": 1}).xai.explore()


def test_without_panel_it_says_what_to_type(monkeypatch, tmp_path):
    real = builtins.__import__

    def no_panel(name, *args, **kwargs):
        if name == "panel":
            raise ImportError("No module named 'panel'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "panel", raising=False)
    monkeypatch.setattr(builtins, "__import__", no_panel)
    told = (
        "The explorer needs Panel and Bokeh, which cannot be imported (No module named 'panel'); "
        'type pip install "xrxai[explore]", or draw static figures with .plot().'
    )
    with raises_exactly(OptionError, told):
        cases.gradient().xai.explore()
    with raises_exactly(OptionError, told):
        xrxai.explore_app(tmp_path / "why.nc")


@needs_panel
def test_state_is_parameters_and_a_table_of_spectra_opens():
    why = cases.samples(cases.gradient(targets=("K", "pH")), count=3)
    explorer = why.xai.explore(target="pH")
    explorer.param.update(sample={"sample": 2}, feature=7, summed=False)
    assert explorer.at == At(1, (("sample", 2),))
    assert explorer.shown == 7
    spectra = why.isel(y=10, x=20, drop=True)
    spectra.attrs |= {"y_dim": "", "x_dim": ""}
    table = spectra.xai.explore()
    assert (table.placed, table.shown) == (None, None)
    assert table.__panel__() is not None


@needs_panel
def test_a_notebook_gets_what_changes():
    """Panel sends changes of widgets by itself, and of figures when it is told to."""
    from bokeh.document import Document
    from bokeh.events import Tap
    from panel.io.model import add_to_doc
    from pyviz_comms import Comm

    class Wire(Comm):
        _comm = property(lambda _: True, lambda _, value: None)
        sent: list = []

        def send(self, data=None, metadata=None, buffers=()):
            self.sent.extend(buffers)

    why = cases.gradient(targets=("K", "pH"))
    explorer = why.xai.explore(cases.cube())
    document, wire = Document(), Wire()
    root = explorer._create_view().get_root(document, wire)
    add_to_doc(root, document, True)
    explorer.param.update(summed=False, feature=5)
    band = why["attribution"].values[0, 5, ::-1].astype("f4")
    assert any(bytes(b) == band.tobytes() for b in wire.sent)
    wire.sent.clear()
    figure = next(m for m in root.references() if m.name == "map")
    figure._trigger_event(Tap(figure, x=float(why.x[6]), y=float(why.y[12])))
    assert (explorer.row, explorer.column) == (12, 6)
    spectrum = cases.cube().values[:, 12, 6].astype("f8")
    assert any(bytes(b) == spectrum.tobytes() for b in wire.sent)
