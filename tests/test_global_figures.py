"""Figures of aggregates, of many samples, and of how far methods agree."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import xarray as xr

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgba

import xrxai
from tests import plot_cases as cases
from tests.conftest import raises_exactly
from tests.test_plot import by_gid, error_bars, labels, panel
from xrxai import plot
from xrxai.errors import BandError, OptionError, ResultError
from xrxai.plot.classed import COLOURS, class_styles
from xrxai.plot.summary import Summary
from xrxai.plot.swarm import scattered


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def field() -> xr.Dataset:
    """An explanation per pixel, of few bands."""
    nm = np.linspace(480, 880, 11)
    return cases.gradient(cases.cube(shape=(12, 16), wavelength=nm))


def crops() -> xr.DataArray:
    names = np.full((12, 16), "rye", dtype=object)
    names[:, 5:10], names[:, 10:] = "oat", "maize"
    return xr.DataArray(names, dims=("y", "x"), name="crop")


def combined(count: int = 6) -> xr.Dataset:
    """LIME of several cubes, each with the spectrum of its own cube."""
    rng = np.random.default_rng(2)
    made = []
    for i in range(count):
        one = cases.lime_spectral().drop_vars(["rgb", "valid"])
        attrs = one["attribution"].attrs
        one["attribution"] = (one["attribution"] * rng.normal(1, 0.3)).assign_attrs(attrs)
        one["spectrum"] = one["spectrum"] * (1 + i)
        made.append(one)
    return xrxai.combine(made)


# ----------------------------------------------------------------------------------- aggregates


def test_an_aggregate_shows_the_interval_that_it_holds_and_says_which() -> None:
    mean = field().xai.aggregate(("y", "x"), confidence=0.9)
    mean["ci_low"] = mean["attribution"] - 3.0  # no other computation gives these
    mean["ci_high"] = mean["attribution"] + 5.0
    figure = mean.xai.plot.spectral()
    assert labels(figure) == ["reflectance", "spectrum"]
    ax = panel(figure, "spectrum")
    (band,) = [c for c in ax.collections if c.get_label() == "90 % CI by blocks of pixels"]
    values = mean["attribution"].values[0]
    ends = band.get_datalim(ax.transData)
    assert (ends.y0, ends.y1) == pytest.approx((values.min() - 3, values.max() + 5))
    n = int(mean["count"].max())
    assert panel(figure, "reflectance").get_title(loc="left") == (
        f"Mean over y and x (n = {n}), 90 % CI by blocks of pixels"
    )


def test_bars_of_an_aggregate() -> None:
    mean = cases.samples(cases.lime_spectral()).xai.aggregate("sample", confidence=0.8)
    ax = mean.xai.plot.bars()
    expected = np.stack([mean["ci_low"].values[0], mean["ci_high"].values[0]], axis=1)
    np.testing.assert_allclose(error_bars(ax, "x"), expected)
    assert ax.get_title(loc="left") == "Band groups (80 % CI)"
    sums = field().xai.aggregate(("y", "x")).xai.plot.bars(groups={"Two": (590, 650)})
    assert error_bars(sums, "x").size == 0
    assert sums.get_title(loc="left").replace("\n", " ") == (
        "Band groups, sum over bands (no CI of sums)"
    )


def test_a_group_of_one_band_has_the_interval_of_its_band() -> None:
    mean = field().xai.aggregate(("y", "x"))
    nm = mean["wavelength"].values
    ax = plot.bars(mean, groups={"One": (470, 500), "Two": (590, 650)})
    assert ((nm >= 590) & (nm < 650)).sum() == 2
    ends = [float(mean[end][0, 0]) for end in ("ci_low", "ci_high")]
    np.testing.assert_allclose(error_bars(ax, "x"), [ends])
    assert "blocks of pixels, where a group is one band)" in ax.get_title(loc="left")


def test_classes_are_lines_with_their_intervals_names_and_a_legend() -> None:
    mean = field().xai.aggregate(("y", "x"), by=crops())
    figure = mean.xai.plot.spectral()
    ax = panel(figure, "spectrum")
    for i, name in enumerate(("maize", "oat", "rye")):
        (line,) = by_gid(ax, f"class:{name}")
        np.testing.assert_allclose(line.get_ydata(), mean["attribution"].sel(crop=name).values[0])
        assert line.get_color() == COLOURS[i]
        band = [
            c for c in ax.collections if to_rgba(COLOURS[i], 0.2) in map(tuple, c.get_facecolor())
        ]
        high = mean["ci_high"].sel(crop=name).values.max()
        assert band[0].get_datalim(ax.transData).y1 == pytest.approx(high)
    assert {t.get_text() for t in by_gid(ax, "class_name")} == {"maize", "oat", "rye"}
    known = mean["count"].max("band").values[0]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        f"{name} (n = {int(n)})" for name, n in zip(mean["crop"].values, known, strict=True)
    ]
    title = panel(figure, "reflectance").get_title(loc="left")
    assert title == "Mean of each crop, 95 % CI by blocks of pixels"


def test_classes_of_groups_are_steps_and_bars_side_by_side() -> None:
    many = cases.samples(cases.lime_spectral(), count=8)
    many = many.assign_coords(season=("sample", ["winter", "summer"] * 4))
    mean = many.xai.aggregate("sample", by="season")
    figure = mean.xai.plot()
    assert labels(figure) == ["spectrum", "groups"]
    strip, bars = panel(figure, "spectrum"), panel(figure, "groups")
    for i, name in enumerate(("summer", "winter")):
        chosen = mean.sel(season=name).isel(target=0)
        drawn = [line.get_ydata()[0] for line in by_gid(strip, f"class:{name}")]
        np.testing.assert_allclose(drawn, chosen["attribution"])
        widths = [p.get_width() for p in bars.containers[2 * i].patches]
        np.testing.assert_allclose(widths, chosen["attribution"])
    ends = np.stack([mean[e].values[0].ravel() for e in ("ci_low", "ci_high")], axis=1)
    np.testing.assert_allclose(error_bars(bars, "x"), ends)
    by_value = [t.get_text() for t in plot.bars(mean, sort="value").get_yticklabels()]
    total = mean["attribution"].sum("season").isel(target=0)
    assert by_value == total["group"].values[np.argsort(-total.values)].tolist()


def test_one_class_is_an_aggregate_like_any_other() -> None:
    mean = field().xai.aggregate(("y", "x"), by=crops()).isel(crop=[1])
    assert (
        panel(mean.xai.plot.spectral(), "spectrum").get_legend().get_texts()[1].get_text() == "mean"
    )


def test_more_classes_than_can_be_told_apart() -> None:
    names = tuple(f"c{i}" for i in range(22))
    many = Summary(np.zeros((22, 2)), None, None, "", None, "crop", "classes", names)
    with raises_exactly(
        OptionError,
        "There are 22 classes along 'crop', and 21 can be told apart; choose some: "
        ".sel({'crop': ['c0', 'c1']}).",
    ):
        class_styles(many)
    styles = class_styles(
        Summary(np.zeros((21, 2)), None, None, "", None, "", "classes", names[:21])
    )
    assert len({(s["color"], str(s["linestyle"])) for s in styles}) == 21


def test_classes_and_samples_together_are_refused() -> None:
    many = xr.concat([field(), field()], dim="sample").transpose("target", "sample", ...)
    mean = many.xai.aggregate(("y", "x"), by=crops())
    with pytest.raises(ResultError, match="needs one leading dim, and this explanation has 2"):
        mean.xai.plot.spectral()


# ------------------------------------------------------------------------------------ beeswarms


def offsets(ax: Any, row: int) -> np.ndarray:
    dots = np.concatenate([c.get_offsets() for c in by_gid(ax, "samples")])
    return dots[np.abs(dots[:, 1] - row) < 0.5]


def test_a_dot_per_sample_and_group_in_the_colour_of_its_spectrum() -> None:
    many = combined()
    ax = many.xai.plot.beeswarm(target="K")
    values = many["attribution"].isel(target=0)
    for row in range(5):
        np.testing.assert_allclose(np.sort(offsets(ax, row)[:, 0]), np.sort(values[:, row]))
    means = [line.get_segments()[0][0][0] for line in by_gid(ax, "mean")]
    np.testing.assert_allclose(means, values.mean("sample"))
    # The spectra of the samples rise with their number, and so do the colours.
    dots = next(c for c in by_gid(ax, "samples") if len(c.get_offsets()))
    assert (np.diff(dots.get_array()) >= 0).all()
    assert dots.get_array()[[0, -1]].tolist() == [0.0, 1.0]
    assert [t.get_text() for t in ax.get_yticklabels()] == many["group"].values.tolist()
    assert ax.get_title(loc="left") == "Band groups, one dot per sample (n = 6)"
    (bar,) = ax.child_axes
    assert bar.get_ylabel() == "reflectance [1], by row"


def test_bands_are_summed_or_chosen_and_dots_without_spectra_are_grey() -> None:
    many = cases.samples(field(), count=7)
    rows = many["attribution"].isel(target=0).mean(("y", "x"))
    nm = many["wavelength"].values
    ax = plot.beeswarm(many, groups={"Edge": (690, 785)})
    inside = rows.values[:, (nm >= 690) & (nm < 785)].sum(1)
    np.testing.assert_allclose(np.sort(offsets(ax, 0)[:, 0]), np.sort(inside), rtol=1e-5)
    assert ax.child_axes == []
    bands = plot.beeswarm(many, wavelengths=[755, 500])
    assert [t.get_text() for t in bands.get_yticklabels()] == ["760 nm", "480 nm"]
    np.testing.assert_allclose(
        np.sort(offsets(bands, 0)[:, 0]), np.sort(rows.values[:, 7]), rtol=1e-5
    )


def test_dots_do_not_hide_each_other() -> None:
    x = np.random.default_rng(0).normal(size=60)
    y = scattered(x, x.min(), x.max(), 0.02)
    wide = (x.max() - x.min()) / 60
    away = np.hypot((x[:, None] - x) / wide, (y[:, None] - y) / 0.02)
    assert away[~np.eye(60, dtype=bool)].min() >= 1 - 1e-6
    assert y[np.argmin(x)] == 0
    same = scattered(np.zeros(150), 0, 0, 0.1)
    assert np.abs(same).max() == pytest.approx(0.4)
    assert np.unique(same).size == 150


def test_what_a_beeswarm_cannot_show() -> None:
    with raises_exactly(
        ResultError,
        "A beeswarm shows many samples, and this explanation has one. Join several first: "
        "xrxai.combine([one, two, ...]), or plot .bars() instead.",
    ):
        plot.beeswarm(cases.lime_spectral())
    with pytest.raises(ResultError, match="this explanation has means of classes"):
        plot.beeswarm(field().xai.aggregate(("y", "x"), by=crops()))
    with pytest.raises(ResultError, match="lime_spatial has no values along the spectrum"):
        plot.beeswarm(cases.lime_spatial())
    with raises_exactly(
        BandError, "No good band lies near 1600 nm; this sensor covers 480-880 nm."
    ):
        plot.beeswarm(cases.samples(field()), wavelengths=[1600])
    with pytest.raises(OptionError, match="both say what the rows are"):
        plot.beeswarm(cases.samples(field()), wavelengths=[700], groups={"R": (630, 690)})
    with pytest.raises(OptionError, match="has one value per band group; drop it"):
        plot.beeswarm(combined(2), wavelengths=[700])
    assert not plt.get_fignums()


@pytest.mark.parametrize("wrong", [[], 700, "red", ["red"], None])
def test_what_are_no_wavelengths(wrong: Any) -> None:
    many = cases.samples(field())
    if wrong is None:
        assert len(plot.beeswarm(many, wavelengths=wrong).get_yticks()) == 5
        return
    with raises_exactly(
        OptionError,
        f"wavelengths={wrong!r} are no wavelengths; type some in nm, such as "
        "wavelengths=[680, 750].",
    ):
        plot.beeswarm(many, wavelengths=wrong)


@pytest.mark.slow
def test_lazy_ones_give_the_same_and_samples_without_values_have_no_dots() -> None:
    many = combined()
    many["attribution"][:, 2] = np.nan
    for draw in (plot.beeswarm, plot.bars):
        axes = [draw(ds, target="K") for ds in (many, many.chunk(sample=2))]
        dots = [np.concatenate([c.get_offsets() for c in by_gid(a, "samples")
                                if hasattr(c, "get_offsets")] or [[]]) for a in axes]  # fmt: skip
        np.testing.assert_allclose(*dots)
        assert draw is plot.bars or len(dots[0]) == 5 * 5
    classes = field().xai.aggregate(("y", "x"), by=crops())
    lines = [
        panel(ds.xai.plot.spectral(), "spectrum").lines[0].get_ydata()
        for ds in (classes, field().chunk(y=5).xai.aggregate(("y", "x"), by=crops()))
    ]
    np.testing.assert_allclose(*lines, rtol=1e-6)


# ------------------------------------------------------------------------------------ agreement


def table() -> xr.Dataset:
    one, two = field(), field()
    noise = np.random.default_rng(4).normal(size=two["attribution"].shape)
    two["attribution"] = two["attribution"] + 0.03 * noise
    return xrxai.agreement({"integrated_gradients": one, "mine": two}, k=50)


def test_matrices_hold_the_numbers_of_the_table_on_the_scale_of_the_measure() -> None:
    found = table()
    figure = found.xai.plot.agreement()
    assert labels(figure) == ["rank_correlation", "sign_agreement", "overlap"]
    for name, limits in zip(labels(figure), [(-1, 1), (0, 1), (0, 1)], strict=True):
        ax = panel(figure, name)
        assert ax.images[0].get_clim() == limits
        written = [t.get_text() for t in by_gid(ax, "number")]
        assert written == [f"{v:.2f}" for v in found[name].values[0].ravel()]
    first = panel(figure, "rank_correlation")
    assert [t.get_text() for t in first.get_yticklabels()] == ["Integrated Gradients", "mine"]
    assert figure.get_suptitle().replace("\n", " — ") == (
        "Agreement of 2 methods — target “Potassium” — top 50 of band, y, x"
    )


def test_what_is_not_known_has_a_dash_and_one_panel_may_be_given() -> None:
    found = table()
    found["overlap"] = found["overlap"] * np.nan
    one = plt.figure().add_subplot()
    assert plot.agreement(found, axes={"overlap": one}) is one.figure
    assert {t.get_text() for t in by_gid(one, "number")} == {"–"}


def test_what_is_no_table_of_one_sample() -> None:
    with pytest.raises(
        ResultError, match=r"Expected the table of xrxai\.agreement; found a Dataset"
    ):
        plot.agreement(field())
    found = table()
    several = xr.concat([found, found], dim="sample").transpose("target", "sample", ...)
    with raises_exactly(
        ResultError,
        "A matrix shows one sample, and this table has several (sample: 2). Type "
        ".isel(sample=0) to take the first, or .mean('sample', keep_attrs=True).",
    ):
        plot.agreement(several)
    plot.agreement(several.mean("sample", keep_attrs=True))


# -------------------------------------------------------------------------------------- gallery


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "docs"))
    return importlib.import_module("_gallery")


def test_the_gallery_shows_every_figure(gallery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gallery.missing() == []
    monkeypatch.setattr(gallery.PlotAccessor, "mosaic", lambda self: None, raising=False)
    assert gallery.missing() == ["mosaic"]
    with pytest.raises(RuntimeError, match=r"does not show \.xai\.plot\.mosaic; add an Entry"):
        gallery.write_gallery(Path("gallery.md"), Path("gallery"))


@pytest.mark.slow
def test_the_gallery_is_drawn(gallery: Any, tmp_path: Path) -> None:
    gallery.write_gallery(tmp_path / "gallery.md", tmp_path / "gallery")
    page = (tmp_path / "gallery.md").read_text()
    for entry in gallery.FIGURES:
        assert entry.code in page
        assert entry.read in page
    shown = re.findall(r"\]\((gallery/.*\.png)\)", page)
    assert len(shown) == len(gallery.FIGURES)
    assert all((tmp_path / name).stat().st_size > 5000 for name in shown)
