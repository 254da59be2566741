"""Figures of large scenes read the coarse copies that lie beside them in the store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import matplotlib
import numpy as np
import pytest
import xarray as xr
import zarr.storage

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from tests import plot_cases as cases
from tests import test_store
from tests.test_plot import by_gid, error_bars, panel
from xrxai import plot
from xrxai.io import open_explanation, overview, to_zarr
from xrxai.plot.view import plane, summed, thin, view

NM = np.array([480.0, 550.0, 660.0, 760.0, 880.0])


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large, made small: 40 x 52 pixels."""
    monkeypatch.setattr(overview, "LARGE", 1000)
    for module in ("xrxai.io.overview", "xrxai.plot.view"):
        monkeypatch.setattr(f"{module}.PIXELS_PER_SIDE", 18)
        monkeypatch.setattr(f"{module}.PIXELS_FOR_STATISTICS", 100)


def field(targets: tuple[str, ...] = ("P", "K")) -> xr.Dataset:
    why = cases.gradient(cases.cube(shape=(40, 52), wavelength=NM), targets=targets)
    noise = np.random.default_rng(1).normal(size=why["attribution"].shape).astype(np.float32)
    why["attribution"] = (why["attribution"] + 0.01 * noise).assign_attrs(why["attribution"].attrs)
    return why


def lazy(why: xr.Dataset, y: Any = 7, x: Any = 16) -> xr.Dataset:
    return why.chunk({"y": y, "x": x})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes that were read from chunks of each array."""
    found: dict[str, int] = {}
    real = zarr.storage.LocalStore.get

    async def get(self: Any, key: str, *args: Any, **options: Any) -> Any:
        value = await real(self, key, *args, **options)
        name, chunk, _ = key.partition("/c/")
        if chunk and value is not None:
            found[name] = found.get(name, 0) + len(value)
        return value

    monkeypatch.setattr(zarr.storage.LocalStore, "get", get)
    return found


def same(one: Any, two: Any) -> None:
    """Two overviews show the same numbers."""
    for name in ("true_colour", "attribution"):
        np.testing.assert_allclose(
            *(panel(f, name).images[0].get_array() for f in (one, two)), rtol=1e-5, atol=1e-7
        )
        assert panel(one, name).images[0].get_extent() == panel(two, name).images[0].get_extent()
    lines = [panel(f, "spectrum").lines[0].get_ydata() for f in (one, two)]
    np.testing.assert_allclose(*lines, rtol=1e-5)
    ends = [error_bars(panel(f, "groups"), "x") for f in (one, two)]
    np.testing.assert_allclose(*ends, rtol=1e-4, atol=1e-7)
    assert one.get_suptitle() == two.get_suptitle()


@pytest.mark.usefixtures("small")
def test_the_copies_give_the_figure_of_the_explanation(
    tmp_path: Path, read: dict[str, int]
) -> None:
    why = field()
    opened = open_explanation(to_zarr(lazy(why), tmp_path / "why.zarr", progress=False))
    read.clear()
    figure = opened.xai.plot(target="K")
    assert {n for n in read if not n.startswith(overview.GROUP)} <= {
        "spectrum", "prediction", "baseline_prediction", "completeness_gap",
    }  # fmt: skip
    same(figure, plot.overview(why, target="K"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "way",
    [
        "at once",
        "tiles",
        *(pytest.param(w, marks=pytest.mark.slow) for w in ("bands last", "one tile")),
    ],
)
def test_the_copies_are_the_pixels_that_a_figure_would_take(tmp_path: Path, way: str) -> None:
    why = field()
    made = {
        "at once": why,
        "tiles": lazy(why),
        "bands last": lazy(why.transpose("target", "y", "x", "band", ...)),
        "one tile": lazy(why, -1, -1),
    }[way]
    path = to_zarr(made, tmp_path / "why.zarr", progress=False)
    ours, plain = view(open_explanation(path), "K"), view(why, "K")
    for name in ("rgb", "valid"):
        found = overview.find(ours.dataset[name], "y", "x", "map")
        assert found is not None
        expected, step = thin(plain.dataset[name], "y", "x")
        np.testing.assert_array_equal(found[0].transpose(*expected.dims), expected)
        assert found[1] == step == 3
    assert overview.find(ours.attribution, "y", "x", "pixels", "band") is not None
    np.testing.assert_allclose(plane(ours)[0], plane(plain)[0], rtol=1e-6)
    np.testing.assert_allclose(summed(ours)[0], summed(plain)[0], rtol=1e-5)
    assert not (path / overview.GROUP / "parts").exists()
    xr.testing.assert_identical(open_explanation(path).load(), made.compute())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "scheduler"), [*((c, "threads") for c in test_store.CASES), ("time", "processes")]
)
def test_copies_of_every_layout(
    tmp_path: Path, case: str, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "LARGE", 0)
    monkeypatch.setattr(overview, "PIXELS_PER_SIDE", 4)
    monkeypatch.setattr(overview, "PIXELS_FOR_STATISTICS", 9)
    why = test_store.CASES[case]()
    with dask.config.set(scheduler=scheduler):
        path = to_zarr(why, tmp_path / "why.zarr", progress=False)
    opened, whole = open_explanation(path), why.compute()
    main = whole["attribution"]
    over = next((d for d in ("band", "group") if d in main.dims), "")
    found = 0
    for what, sums in (("map", True), ("pixels", False)):
        copy = overview.find(opened["attribution"], "y", "x", what, over)  # type: ignore[arg-type]
        if copy is None:
            continue
        found += 1
        every = slice(None, None, copy[1])
        expected = main.isel(y=every, x=every)
        if sums and over:
            expected = expected.sum(over, min_count=1)
        np.testing.assert_allclose(copy[0], expected, rtol=1e-5)
    # Tiles that cut the bands hold parts of sums; samples are maps of their own; chips have none.
    assert found == {"chips alone": 0, "bands apart": 1}.get(case, 2)


@pytest.mark.usefixtures("small")
def test_what_was_changed_since_is_not_taken_from_the_copies(tmp_path: Path) -> None:
    why = field(("K",))
    opened = open_explanation(to_zarr(lazy(why), tmp_path / "why.zarr", progress=False))
    changes: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
        "nothing": lambda ds: ds,
        "values": lambda ds: ds.assign(attribution=abs(ds["attribution"])),
        "crop": lambda ds: ds.isel(y=slice(6, None)),
        "turned": lambda ds: ds.isel(y=slice(None, None, -1)),
        "bands": lambda ds: ds.isel(band=[0, 3]),
        "dask": lambda ds: ds.chunk(y=9),
        "in memory": lambda ds: ds.load(),
    }
    for name, change in changes.items():
        ours = view(change(opened.copy()))
        there = overview.find(ours.attribution, "y", "x", "map", "band") is not None
        assert there == (name == "nothing"), name
        found, plain = summed(ours), summed(view(change(why)))
        np.testing.assert_allclose(found[0], plain[0], rtol=1e-5, err_msg=name)
        assert found[1] == plain[1]


@pytest.mark.usefixtures("small")
def test_a_run_that_was_killed_has_whole_copies_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = lazy(field(("K",)))
    path = tmp_path / "why.zarr"

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(overview, "join", killed)
        with pytest.raises(KeyboardInterrupt):
            to_zarr(why, path, progress=False)
    parts = sorted((path / overview.GROUP / "parts").iterdir())
    assert len(parts) == 24
    for part in parts[::5]:
        part.unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:50])
    to_zarr(why, path, progress=False)
    expected = summed(view(field(("K",))))[0]
    np.testing.assert_allclose(summed(view(open_explanation(path)))[0], expected, rtol=1e-5)
    # A tile that is damaged later is put into the copies again.
    shutil.rmtree(path / "attribution" / "c" / "0" / "0" / "1")
    done = path / overview.GROUP / "attribution_map"
    copy = zarr.open_array(done, mode="r+")
    copy[:, 3:5] = 7.0
    with pytest.warns(UserWarning, match="are damaged"):
        to_zarr(why, path, progress=False)
    np.testing.assert_allclose(summed(view(open_explanation(path)))[0], expected, rtol=1e-5)


def test_a_store_without_copies_is_drawn_and_what_it_costs_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = field(("K",))
    path = to_zarr(why, tmp_path / "why.zarr", progress=False)
    assert not (path / overview.GROUP).exists(), "it is small"
    monkeypatch.setattr("xrxai.plot.view.PIXELS_PER_SIDE", 18)
    monkeypatch.setattr("xrxai.plot.view.LARGE", 1000)
    with pytest.warns(UserWarning, match="reads") as said:
        (image,) = (
            plot.spatial(open_explanation(path), axes=plt.figure().add_subplot()).axes[0].images
        )
    assert str(said[-1].message) == (
        "This figure reads 0.0 GB of 'attribution' to show one pixel in 9: chunks are read whole. "
        "An explanation that .xai.to_zarr() wrote has coarse copies beside it; plot "
        "xrxai.open_explanation(path), without chunks= and before it is cropped."
    )
    expected = why["attribution"].isel(target=0, y=slice(None, None, 3), x=slice(None, None, 3))
    np.testing.assert_allclose(image.get_array(), expected.sum("band", min_count=1), rtol=1e-5)


def test_a_picture_of_a_lazy_cube_counts_its_three_bands_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = cases.cube(shape=(40, 52), wavelength=NM).chunk(y=8)
    monkeypatch.setattr("xrxai.plot.view.LARGE", 3 * 40 * 52 * 4)
    plot.rgb(source)
    monkeypatch.setattr("xrxai.plot.view.LARGE", 3 * 40 * 52 * 4 - 1)
    with pytest.warns(UserWarning, match=r"reads 0\.0 GB of the cube\. An"):
        plot.rgb(source)


def test_many_targets_have_coarser_copies() -> None:
    sizes = {"target": 50, "band": 100, "y": 8000, "x": 8000}
    ds = xr.Dataset({"attribution": (tuple(sizes), da.zeros(tuple(sizes.values()), dtype="f4"))})
    made = {c.name: c for c in overview.copies_of(ds)}
    assert set(made) == {"attribution_map", "attribution_pixels"}
    for copy, others in ((made["attribution_map"], 50), (made["attribution_pixels"], 5000)):
        pixels = (8000 / copy.step) ** 2
        assert 0.9 * 2**27 / 4 * 0.7 < pixels * others < 2**27 / 4 * 1.05


@pytest.mark.slow
def test_the_overview_of_ten_thousand_by_ten_thousand_pixels(
    tmp_path: Path, read: dict[str, int]
) -> None:
    n, tile = 10_000, 1000
    rng = np.random.default_rng(0)
    one = (rng.integers(0, 4, (1, 4, tile, tile)) - 1).astype(np.float32)
    blocks = da.tile(da.from_array(one, chunks=-1), (1, 1, n // tile, n // tile))
    shown = da.tile(da.from_array(one[0, :3], chunks=-1), (1, n // tile, n // tile))
    why = xr.Dataset(
        {
            "attribution": (("target", "band", "y", "x"), blocks, {"signed": 1}),
            "rgb": (("channel", "y", "x"), shown),
        },
        coords={
            "target": np.array(["K"], dtype=object),
            "wavelength": ("band", [490.0, 560.0, 665.0, 842.0]),
        },
        attrs={"method": "integrated_gradients", "band_dim": "band", "y_dim": "y", "x_dim": "x"},
    )
    path = to_zarr(why, tmp_path / "why.zarr", progress=False)
    stored = sum(
        os.stat(Path(folder) / name).st_size
        for folder, _, names in os.walk(path)
        for name in names
        if overview.GROUP not in folder
    )
    opened = open_explanation(path)
    read.clear()
    figure = opened.xai.plot()
    assert sum(read.values()) < 0.04 * stored
    assert all(name.startswith(overview.GROUP) for name in read)
    # Noise that repeats packs well: count the numbers, too. 2.4 % are read, the sample twice.
    with xr.open_zarr(path, group=overview.GROUP, consolidated=False, chunks=None) as copies:
        assert copies.nbytes < 0.025 * why.nbytes
    shape = panel(figure, "attribution").images[0].get_array().shape
    assert shape == (2000, 2000)
    expected = np.tile(one[0].sum(0), (2, 2))[::5, ::5][:400, :400]
    np.testing.assert_array_equal(
        panel(figure, "attribution").images[0].get_array()[:400, :400], expected
    )
    assert by_gid(panel(figure, "spectrum"), "group:Blue")
