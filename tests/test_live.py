"""Interactive figures show the numbers, colours and limits of the static ones, and read no more."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as dask_array
import matplotlib
import numpy as np
import pytest
import xarray as xr

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex, to_rgb

import xrxai
from tests import plot_cases as cases
from tests.conftest import Watched, raises_exactly, skip_or_fail
from xrxai import live, plot
from xrxai.errors import BandError, OptionError, ResultError
from xrxai.plot.outlines import pixel_edges
from xrxai.plot.style import NAN_COLOUR, sign_colours

MEMBERS = ("rgb", "spatial", "spectral", "bars", "bands", "targets")


@pytest.fixture(scope="module")
def hv() -> Any:
    """HoloViews, which takes seconds to import."""
    try:
        import holoviews
        import hvplot  # noqa: F401
    except ImportError as error:
        skip_or_fail(f"hvplot is not installed ({error})")
    return holoviews


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    yield
    plt.close("all")


def slow(*values: Any) -> Any:
    """A case that the quick tests leave out: drawing takes tenths of seconds."""
    return pytest.param(*values, marks=pytest.mark.slow)


def figures(hv: Any, shown: Any) -> list[Any]:
    """The Bokeh figures of what is shown, from left to right and top to bottom."""
    from bokeh.models import GridPlot
    from bokeh.plotting import figure

    root = hv.render(shown)
    if isinstance(root, figure):
        return [root]
    (grid,) = root.select({"type": GridPlot})
    return [child for child, _, _ in grid.children]


def drawn(figure: Any, glyph: str) -> list[Any]:
    """The renderers of one kind of glyph."""
    from bokeh.models import GlyphRenderer

    every = (r for r in figure.renderers if isinstance(r, GlyphRenderer))
    return [r for r in every if type(r.glyph).__name__ == glyph]


def one_image(figure: Any) -> tuple[np.ndarray, Any]:
    """The values of a map from north to south, and what gives them colours."""
    (found,) = drawn(figure, "Image")
    return np.flipud(found.data_source.data["image"][0]), found.glyph.color_mapper


def static_image(figure: Any) -> Any:
    (ax,) = [ax for ax in figure.axes if ax.get_label() == "attribution"]
    return ax.images[0]


def title(shown: Any) -> str:
    return str(shown.opts.get().kwargs["title"])


# ------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize(
    ("make", "robust"),
    [
        (cases.gradient, True),
        slow(cases.gradient, False),
        slow(lambda: cases.occlusion_spatial(positive=True), True),
        slow(cases.lime_spatial, True),
    ],
)
def test_a_map_has_the_values_colours_and_limits_of_the_static_one(
    hv: Any, make: Any, robust: bool
) -> None:
    why = make()
    expected = static_image(plot.spatial(why, robust=robust))
    values, mapper = one_image(figures(hv, live.spatial(why, robust=robust))[1])
    np.testing.assert_allclose(values, expected.get_array().filled(np.nan), rtol=1e-6)
    assert (mapper.low, mapper.high) == pytest.approx((expected.norm.vmin, expected.norm.vmax))
    assert mapper.nan_color == NAN_COLOUR
    assert len(mapper.palette) == expected.cmap.N
    assert mapper.palette[0] == to_hex(expected.cmap(0.0))
    assert mapper.palette[-1] == to_hex(expected.cmap(1.0))


@pytest.mark.slow
def test_the_users_colour_map_is_taken(hv: Any) -> None:
    with xr.set_options(cmap_divergent="PuOr_r"):
        _, mapper = one_image(figures(hv, live.spatial(cases.gradient()))[1])
        assert mapper.palette[0] == to_hex(matplotlib.colormaps["PuOr_r"](0.0))
        bars = figures(hv, live.bars(cases.lime_spectral()))[0]
        assert set(drawn(bars, "HBar")[0].data_source.data["colour"]) == {
            to_hex(c) for c in sign_colours()
        }


def test_the_picture_is_the_static_one_over_grey(hv: Any) -> None:
    why, cube = cases.gradient(), cases.cube()
    (image,) = plot.rgb(why, cube).images
    rgba = np.asarray(image.get_array())
    assert rgba[..., 3].min() == 0.0  # nothing was measured in one corner
    expected = rgba[..., :3] * rgba[..., 3:] + np.array(to_rgb(NAN_COLOUR)) * (1 - rgba[..., 3:])
    shown = live.rgb(why, cube)
    assert isinstance(shown, hv.RGB)
    for channel, values in enumerate("RGB"):
        got = shown.dimension_values(values, flat=False)
        np.testing.assert_allclose(np.flipud(got), expected[..., channel], atol=1e-12)
    (figure,) = figures(hv, live.rgb(cube))
    assert figure.title.text == "True colour  R 660 · G 550 · B 480 nm"


# ---------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize("crs", [cases.WKT, slow(cases.WGS84), slow(None)])
def test_maps_are_linked_north_up_and_as_wide_as_on_the_ground(hv: Any, crs: str | None) -> None:
    why = cases.lime_spatial(cases.cube(crs=crs))
    shown = live.spatial(why)
    assert title(shown) == "LIME, segments — target “K” — surrogate R² 0.55, held-out 0.43"
    maps = figures(hv, shown)
    assert [f.title.text for f in maps] == [
        "True colour  R 660 · G 550 · B 480 nm",
        "Attribution per segment",
        "Segments (point at one)",
    ]
    first = maps[0]
    assert all(f.x_range is first.x_range and f.y_range is first.y_range for f in maps)
    assert len({(f.frame_width, f.frame_height) for f in maps}) == 1
    assert first.match_aspect
    static = plot.spatial(why).axes[0]
    assert first.aspect_scale == pytest.approx(static.get_aspect())
    assert (first.x_range.start, first.x_range.end) == pytest.approx(static.get_xlim())
    assert (first.y_range.start, first.y_range.end) == pytest.approx(static.get_ylim())
    assert first.frame_height / first.frame_width == pytest.approx(
        static.get_box_aspect()
        or abs(np.diff(static.get_ylim()) / np.diff(static.get_xlim()))[0] * static.get_aspect(),
        rel=0.01,
    )
    assert first.xaxis[0].axis_label == static.get_xlabel()
    assert first.yaxis[0].axis_label == static.get_ylabel()
    assert maps[1].yaxis[0].major_label_text_font_size == "0pt"
    assert all(f.background_fill_color == NAN_COLOUR for f in maps)
    assert maps[1].right[0].title == "attribution [1]"
    assert maps[2].right == []


@pytest.mark.parametrize("flip", ["y", slow("x")])
def test_a_pixel_lies_at_its_own_coordinates(hv: Any, flip: str) -> None:
    why = cases.occlusion_spatial()
    for dataset in (why, why.isel({flip: slice(None, None, -1)})):
        image = live.spatial(dataset)[1]
        assert image[500_042, 5_549_930] == pytest.approx(
            why["attribution"].sel(x=500_042, y=5_549_930, method="nearest").item()
        )


@pytest.mark.slow
def test_the_pointer_is_told_the_segment_and_its_value(hv: Any) -> None:
    from bokeh.models import HoverTool

    why = cases.lime_spatial()
    ids = why["segment_of_pixel"].values
    maps = figures(hv, live.spatial(why))
    for figure in maps[1:]:
        (image,) = drawn(figure, "Image")
        np.testing.assert_array_equal(np.flipud(image.data_source.data["segment"][0]), ids)
        (edges,) = drawn(figure, "Segment")
        expected = pixel_edges(ids, _placed(why))
        assert len(edges.data_source.data["x"]) == len(expected)
        (hover,) = figure.select({"type": HoverTool})
        assert [word for word, _ in hover.tooltips] == [
            "easting [m]",
            "northing [m]",
            "attribution [1]",
            "segment",
        ]
    assert drawn(maps[2], "Image")[0].glyph.global_alpha == 0.0
    without = figures(hv, live.spatial(why, segments=False))
    assert len(without) == 2
    assert drawn(without[1], "Segment") == []


def _placed(why: xr.Dataset) -> Any:
    from xrxai.plot.grid import grid

    return grid(why, "y", "x")


def test_a_large_map_is_thinned_and_says_so(hv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrxai.plot.view.PIXELS_PER_SIDE", 20)
    why = cases.occlusion_spatial()
    picture, figure = figures(hv, live.spatial(why))
    values, _ = one_image(figure)
    np.testing.assert_allclose(values, why["attribution"].values[0, ::3, ::3])
    assert figure.title.text == "Attribution (1 pixel in 9)"
    assert picture.title.text.endswith("nm (1 pixel in 9)")
    data = drawn(figure, "Image")[0].data_source.data
    # The corner of the first pixel is that of the scene; each pixel stands for nine.
    assert (data["x"][0], data["y"][0] + data["dh"][0]) == pytest.approx((500_000, 5_550_000))
    assert data["dw"][0] / values.shape[1] == pytest.approx(12.0)


# ------------------------------------------------------------------------------------- spectra


def test_two_strips_share_wavelengths_and_nothing_else(hv: Any) -> None:
    why = cases.gradient(cases.cube(bad=(800.0, 830.0)))
    shown = live.spectral(why)
    upper, lower = figures(hv, shown)
    assert upper.x_range is lower.x_range
    assert upper.y_range is not lower.y_range
    assert not upper.extra_y_ranges  # never two y axes
    assert not lower.extra_y_ranges
    assert (upper.yaxis[0].axis_label, lower.yaxis[0].axis_label) == (
        "reflectance [1]",
        "attribution [1]",
    )
    assert lower.xaxis[0].axis_label == "wavelength [nm]"
    assert lower.title.text == "Mean attribution per band (grey: IQR over pixels)"
    (line,) = drawn(lower, "Line")
    data = line.data_source.data
    nm = why["wavelength"].values
    expected = why["attribution"].isel(target=0).mean(("y", "x")).values
    np.testing.assert_allclose(data["wavelength"], nm)
    np.testing.assert_allclose(data["attribution"], expected, rtol=1e-5)
    gap = (nm >= 800) & (nm <= 830)
    assert np.isnan(data["attribution"][gap]).all()
    used = why["attribution"].values[0].reshape(nm.size, -1)[~gap]
    np.testing.assert_allclose(data["from"][~gap], np.nanpercentile(used, 25, axis=1), rtol=1e-5)
    (mean,) = drawn(upper, "Line")
    np.testing.assert_allclose(
        mean.data_source.data["cube"], why["spectrum"].sel(statistic="mean").values
    )


@pytest.mark.slow
def test_areas_are_red_above_zero_and_blue_below_and_interrupted_by_gaps(hv: Any) -> None:
    why = cases.gradient(cases.cube(bad=(800.0, 830.0)))
    _, lower = figures(hv, live.spectral(why))
    _, above, below = drawn(lower, "Patch") or drawn(lower, "Patches")
    positive, negative = (to_hex(c) for c in sign_colours())
    for area, colour, sign in ((above, positive, 1), (below, negative, -1)):
        assert to_hex(area.glyph.fill_color) == colour
        y, x = (np.asarray(area.data_source.data[k]) for k in ("y", "x"))
        assert np.nanmin(sign * y) == 0.0
        assert np.nanmax(sign * y) > 0.02
        assert np.isnan(y).any()
        assert not ((x >= 800) & (x <= 830)).any()


def test_a_change_of_sign_is_put_where_the_line_crosses_zero() -> None:
    from xrxai.live.strips import _with_zeros

    x, y = _with_zeros(
        np.array([0.0, 4.0, 5.0, np.nan, 7.0]), np.array([-1.0, 3.0, 0.0, np.nan, 1])
    )
    np.testing.assert_array_equal(x, [0.0, 1.0, 4.0, 5.0, np.nan, 7.0])
    np.testing.assert_array_equal(y, [-1.0, 0.0, 3.0, 0.0, np.nan, 1.0])


@pytest.mark.slow
def test_groups_are_shaded_and_named_once(hv: Any) -> None:
    from bokeh.models import Label

    upper, lower = figures(hv, live.spectral(cases.gradient()))
    names = {label.text: label for label in upper.select({"type": Label})}
    assert set(names) == {"Blue", "Green", "Red", "Red edge", "NIR"}
    assert names["Green"].text_color == "#228833"
    assert names["Green"].x == pytest.approx(560)
    assert list(lower.select({"type": Label})) == []
    for figure, alpha in ((upper, 0.16), (lower, 0.10)):
        spans = drawn(figure, "VSpan") or drawn(figure, "VStrip")
        assert [s.glyph.fill_alpha for s in spans] == [alpha] * 5
    upper, _ = figures(hv, live.spectral(cases.gradient(), groups={"Mine": (500, 900)}))
    assert [label.text for label in upper.select({"type": Label})] == ["Mine"]
    upper, lower = figures(hv, live.spectral(cases.gradient(), groups={}))
    assert list(upper.select({"type": Label})) == []


def test_steps_have_the_values_and_intervals_of_their_groups(hv: Any) -> None:
    from bokeh.models import Whisker

    why = cases.lime_spectral()
    _, lower = figures(hv, live.spectral(why))
    assert lower.title.text == "Attribution per band group ± 95 % CI"
    assert lower.yaxis[0].axis_label == "attribution [mg/kg]"
    (boxes,) = drawn(lower, "Quad")
    data = boxes.data_source.data
    value = why["attribution"].values[0]
    np.testing.assert_allclose(data["value"], value)
    np.testing.assert_allclose(data["from"], why["ci_low"].values[0])
    np.testing.assert_allclose(data["to"], why["ci_high"].values[0])
    positive, negative = (to_hex(c) for c in sign_colours())
    assert list(data["colour"]) == [positive if v > 0 else negative for v in value]
    (whisker,) = lower.select({"type": Whisker})
    np.testing.assert_allclose(whisker.source.data["lower"], why["ci_low"].values[0])


@pytest.mark.slow
def test_samples_are_lines_under_their_mean(hv: Any) -> None:
    many = cases.samples(cases.gradient())
    (strip,) = figures(hv, live.spectral(many))
    assert strip.title.text == "Mean of 12 samples, 95 % CI"
    (lines,) = drawn(strip, "MultiLine")
    each = many["attribution"].isel(target=0).mean(("y", "x")).values
    np.testing.assert_allclose(np.stack(lines.data_source.data["ys"]), each, rtol=1e-5)
    (steps,) = figures(hv, live.spectral(cases.samples(cases.lime_spectral())))
    assert len(drawn(steps, "Quad")) == 1


# ---------------------------------------------------------------------------------------- bars


@pytest.mark.parametrize("sort", [slow("wavelength"), "value"])
def test_bars_have_values_intervals_signs_and_units(hv: Any, sort: Any) -> None:
    from bokeh.models import Whisker

    why = cases.lime_spectral()
    (figure,) = figures(hv, live.bars(why, sort=sort))
    static = plot.bars(why, sort=sort)
    names = [t.get_text() for t in static.get_yticklabels()]
    assert list(figure.y_range.factors)[::-1] == names  # Bokeh counts from below
    (bars,) = drawn(figure, "HBar")
    data = bars.data_source.data
    np.testing.assert_allclose(data["attribution"], [p.get_width() for p in static.patches])
    assert list(data["colour"]) == [to_hex(p.get_facecolor()[:3]) for p in static.patches]
    assert figure.xaxis[0].axis_label == "attribution [mg/kg]"
    by_name = why.isel(target=0).sel(group=names)
    (whisker,) = figure.select({"type": Whisker})
    assert whisker.dimension == "width"
    assert whisker.level == "overlay"
    np.testing.assert_allclose(whisker.source.data["lower"], by_name["ci_low"].values)
    np.testing.assert_allclose(whisker.source.data["upper"], by_name["ci_high"].values)
    assert figure.title.text.endswith("\nBand groups (95 % CI)")


@pytest.mark.slow
def test_bars_of_samples_have_dots_and_those_of_segments_are_the_strongest(hv: Any) -> None:
    many = cases.samples(cases.lime_spectral())
    (figure,) = figures(hv, live.bars(many))
    (dots,) = drawn(figure, "Scatter")
    np.testing.assert_allclose(
        dots.data_source.data["attribution"], many["attribution"].values[0].ravel()
    )
    (figure,) = figures(hv, live.bars(cases.lime_spatial()))
    assert len(figure.y_range.factors) == 20
    assert "20 strongest of" in figure.title.text
    assert figure.yaxis[0].axis_label == "segment"


# ------------------------------------------------------------------------- bands and targets


def test_a_slider_of_wavelengths_shows_one_band_after_the_other_in_the_same_colours(
    hv: Any,
) -> None:
    why = cases.gradient(cases.cube(bad=(800.0, 830.0)))
    nm, good = why["wavelength"].values, why["good_band"].values
    shown = live.bands(why)
    assert isinstance(shown, hv.DynamicMap)
    (slider,) = shown.kdims
    assert (slider.name, slider.unit) == ("wavelength", "nm")
    np.testing.assert_allclose(slider.values, nm[good])
    assert shown.cache_size == 1
    every = why["attribution"].isel(target=0)
    limit = np.nanpercentile(np.abs(every), 98)
    strongest = nm[int(np.nansum(np.abs(every.values), axis=(1, 2)).argmax())]
    assert slider.default == strongest
    (figure,) = figures(hv, shown)
    assert figure.title.text == f"Integrated Gradients — target “Potassium”\n{strongest:.1f} nm"
    page = hv.renderer("bokeh").get_plot(shown)
    for stop in (slider.values[0], slider.values[90]):
        page.update((stop,))
        figure = page.state
        assert figure.title.text.endswith(f"\n{stop:.1f} nm")
        values, mapper = one_image(figure)
        expected = every.isel(band=int(np.flatnonzero(nm == stop)[0])).values
        np.testing.assert_array_equal(values, expected)
        assert (mapper.low, mapper.high) == pytest.approx((-limit, limit))
        assert figure.right[0].title == "attribution [1]"


@pytest.mark.slow
def test_listed_wavelengths_have_the_limits_of_the_static_figure(hv: Any) -> None:
    why = cases.gradient()
    shown = live.bands(why, wavelengths=[760, 480, 900])
    nm = why["wavelength"].values
    np.testing.assert_allclose(
        shown.kdims[0].values, [nm[np.abs(nm - w).argmin()] for w in (480, 760, 900)]
    )
    static = plot.bands(why, wavelengths=[760, 480, 900])
    (expected,) = [ax for ax in static.axes if ax.get_label() == "759 nm"]
    _, mapper = one_image(figures(hv, shown)[0])
    assert (mapper.low, mapper.high) == pytest.approx(expected.images[0].get_clim())
    robust = live.bands(why, robust=False)
    _, mapper = one_image(figures(hv, robust)[0])
    assert mapper.high == pytest.approx(float(np.abs(why["attribution"]).max()))


@pytest.mark.slow
def test_a_slider_has_groups_or_band_numbers_where_there_are_no_single_wavelengths(
    hv: Any,
) -> None:
    groups = live.bands(cases.lime_per_pixel())
    assert list(groups.kdims[0].values) == list(cases.GROUPS)
    assert groups.kdims[0].default == "Red edge"
    without = live.bands(cases.gradient().drop_vars("wavelength"))
    assert (without.kdims[0].name, list(without.kdims[0].values)) == ("band", list(range(150)))
    twice = cases.gradient()
    nm = twice["wavelength"].values.copy()
    nm[70] = nm[71]  # two detectors overlap
    twice = twice.assign_coords(wavelength=("band", nm, {"units": "nm"}))
    overlapping = live.bands(twice)
    assert overlapping.kdims[0].name == "band"
    (figure,) = figures(hv, overlapping[70])
    assert figure.title.text.endswith(f"\nband 70, {nm[70]:.1f} nm")
    np.testing.assert_array_equal(one_image(figure)[0], twice["attribution"].values[0, 70])


def test_targets_are_maps_in_one_scale_that_move_together(hv: Any) -> None:
    why = cases.gradient(targets=("P", "K", "Mg"))
    shown = live.targets(why, cases.cube())
    maps = figures(hv, shown)
    assert [f.title.text for f in maps[1:]] == ["P", "K", "Mg"]
    assert len({id(f.x_range) for f in maps}) == len({id(f.y_range) for f in maps}) == 1
    static = plot.targets(why)
    for k, figure in enumerate(maps[1:]):
        values, mapper = one_image(figure)
        expected = static.axes[k].images[0]
        np.testing.assert_allclose(values, expected.get_array().filled(np.nan), rtol=1e-6)
        assert (mapper.low, mapper.high) == pytest.approx(expected.get_clim())
    assert [len(f.right) for f in maps] == [0, 1, 0, 1]  # at the end of both rows
    assert len({f.frame_width for f in maps}) == 1


@pytest.mark.slow
def test_targets_along_the_spectrum_are_strips_with_the_same_limits(hv: Any) -> None:
    why = cases.lime_spectral(targets=("P", "K"))
    upper, first, second = figures(hv, live.targets(why, cases.cube()))
    assert [upper.title.text, first.title.text, second.title.text] == [
        "Cube: mean, 5-95 %",
        "P",
        "K",
    ]
    assert upper.x_range is first.x_range is second.x_range
    assert (first.y_range.start, first.y_range.end) == (second.y_range.start, second.y_range.end)
    assert first.y_range.end > float(why["ci_high"].max())


# ------------------------------------------------------------------------------- lazy and large


TWELVE = 12  # bands


def two_targets() -> xr.Dataset:
    return cases.gradient(cases.cube(wavelength=cases.SENTINEL2), targets=("P", "K"))


def watched(why: xr.Dataset, size: int = 11) -> tuple[xr.Dataset, Watched]:
    """`why` on dask in chunks of one band and few pixels, and what is read of it."""
    array = why["attribution"]
    source = Watched(array.values)
    lazy = why.copy()
    data = dask_array.from_array(
        source, chunks=(1, 1, size, size), name=False, meta=np.empty((0,) * 4, array.dtype)
    )
    lazy["attribution"] = (array.dims, data, array.attrs)
    return lazy, source


def test_a_slider_reads_one_band_at_each_step(hv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrxai.live.series.BLOCK_PIXELS", 4)
    why = two_targets().isel(y=slice(8, 28), x=slice(8, 28))
    lazy, source = watched(why, 4)
    shown = live.bands(lazy, target="K")
    assert source.count() == TWELVE * 12 * 12  # nine blocks of 4 x 4 in every band
    stop = shown.kdims[0].values[6]
    source.reads.clear()
    map_of_one = shown[stop]
    assert source.count() == 20 * 20
    np.testing.assert_array_equal(
        one_image(figures(hv, map_of_one)[0])[0], why["attribution"].values[1, 6]
    )
    assert source.count() == 20 * 20
    source.reads.clear()
    live.bands(lazy, target="K", wavelengths=[490, 740])
    assert source.count() == 2 * 20 * 20
    # As many pixels, wherever they are: the same colours.
    _, eager = one_image(figures(hv, live.bands(why, target="K"))[0])
    _, later = one_image(figures(hv, shown)[0])
    assert (later.low, later.high) == (eager.low, eager.high)


@pytest.mark.parametrize(
    ("member", "bands_read"),
    [("rgb", 0), slow("spatial", 12), ("spectral", 12), slow("bars", 12), slow("targets", 24)],
)
def test_a_call_reads_what_it_shows_once(hv: Any, member: str, bands_read: int) -> None:
    lazy, source = watched(two_targets())
    options = {} if member in ("rgb", "targets") else {"target": "K"}
    getattr(lazy.xai.hvplot, member)(**options)
    assert source.count() == bands_read * 36 * 44
    assert lazy["attribution"].chunks is not None


def test_a_store_is_shown_from_disk(hv: Any, tmp_path: Any) -> None:
    why = cases.gradient(cases.cube(shape=(12, 14), wavelength=cases.SENTINEL2))
    why.xai.to_zarr(tmp_path / "why.zarr")
    stored = xrxai.open_explanation(tmp_path / "why.zarr")
    stop = cases.SENTINEL2[6]
    np.testing.assert_array_equal(
        one_image(figures(hv, stored.xai.hvplot.bands()[stop])[0])[0],
        why["attribution"].values[0, 6],
    )


# ------------------------------------------------------------------ what cannot be, and hvplot


def test_what_has_no_such_figure_is_refused_as_by_the_static_ones(hv: Any) -> None:
    with raises_exactly(
        ResultError,
        "occlusion_spatial has no values per pixel and band (attribution is per pixel, not per "
        "band). Plot .spatial() instead.",
    ):
        live.bands(cases.occlusion_spatial())
    for member, why in (("spatial", cases.lime_spectral()), ("spectral", cases.lime_spatial())):
        with pytest.raises(ResultError) as static:
            getattr(plot, member)(why)
        with raises_exactly(ResultError, str(static.value)):
            getattr(live, member)(why)
    with pytest.raises(BandError, match="no band lies near 2200 nm"):
        live.bands(cases.gradient(), wavelengths=[2200])
    with pytest.raises(BandError, match="No band of this explanation is good"):
        live.bands(cases.gradient(cases.cube(bad=(0.0, 9999.0))))
    with raises_exactly(
        OptionError, "sort='size' is not known; choose one of 'wavelength', 'value'."
    ):
        live.bars(cases.lime_spectral(), sort="size")


@pytest.mark.parametrize("member", MEMBERS)
def test_without_hvplot_it_is_said_what_to_install(
    member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hvplot", None)
    with raises_exactly(
        OptionError,
        "Interactive figures need hvplot, which cannot be imported (import of hvplot halted; None "
        'in sys.modules); type pip install "xrxai[explore]", or draw a static figure with .plot.',
    ):
        getattr(cases.gradient().xai.hvplot, member)()


def test_parameters_are_those_of_the_static_figures() -> None:
    for member in MEMBERS:
        ours = inspect.signature(getattr(live, member)).parameters
        theirs = inspect.signature(getattr(plot, member)).parameters
        assert set(ours) <= set(theirs), member
        missing = {"ax", "axes"} | ({"cube"} if member == "bands" else set())
        assert set(theirs) - set(ours) <= missing, member
        for name, parameter in ours.items():
            if (member, name) != ("bands", "wavelengths"):
                assert parameter.default == theirs[name].default, (member, name)


@pytest.mark.slow
@pytest.mark.parametrize("make", [cases.gradient, cases.lime_spectral, cases.lime_per_pixel])
def test_nothing_valid_is_shown_and_said(hv: Any, make: Any) -> None:
    why = make()
    for name in ("attribution", "ci_low", "ci_high", "rgb", "spectrum"):
        if name in why:
            why[name] = why[name] * np.nan
    lower = figures(hv, live.spectral(why))[-1]
    assert lower.title.text.endswith("no valid pixels") or "no valid pixels (" in lower.title.text
    figures(hv, live.bars(why))
    if "y" in why["attribution"].dims:
        figure = figures(hv, live.spatial(why))[-1]
        assert figure.title.text.endswith("no valid pixels")
        figures(hv, live.bands(why))


def test_results_work_with_plain_hvplot(hv: Any) -> None:
    import hvplot.xarray  # noqa: F401

    why = cases.gradient(targets=("P", "K"))
    by_nm = why["attribution"].swap_dims(band="wavelength")
    shown = by_nm.sel(target="K").hvplot.image(x="x", y="y", groupby="wavelength")
    (slider,) = shown.kdims
    assert slider.name == "wavelength"
    stop = slider.values[50]
    values, _ = one_image(figures(hv, shown[stop])[0])
    np.testing.assert_array_equal(values, why["attribution"].values[1, 50])
    both = by_nm.hvplot.image(x="x", y="y", groupby=["target", "wavelength"])
    assert [d.name for d in both.kdims] == ["target", "wavelength"]
    lines = by_nm.mean(("y", "x")).hvplot.line(x="wavelength", by="target")
    assert list(lines.keys()) == ["P", "K"]
    bars = cases.lime_spectral()["attribution"].sel(target="K").hvplot.barh(x="group")
    assert list(bars.dimension_values("group")) == list(cases.GROUPS)
    figures(hv, lines)
    figures(hv, bars)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # a page is run as its reader runs it
def test_the_page_runs(hv: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    cube = cases.cube(shape=(12, 14), wavelength=np.linspace(450, 950, 26))
    net = torch.nn.Sequential(torch.nn.Linear(26, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    model = xrxai.Model(net, takes="spectrum", targets=["P", "K"])
    names = {"cube": cube, "model": model, "xrxai": xrxai}
    cube.xai.saliency(model).xai.to_zarr("why.zarr")
    page = (Path(__file__).parents[1] / "docs" / "interactive.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        exec(block, names)
    assert (tmp_path / "why.html").stat().st_size > 10_000
    assert [type(f).__name__ for f in figures(hv, names["beside"])] == ["figure", "figure"]
    first, second = figures(hv, names["beside"])
    assert first.x_range is second.x_range
    assert first.frame_width == second.frame_width
