"""Figures say what the numbers say: limits, signs, intervals, places, words."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dask.array as dask_array
import matplotlib
import numpy as np
import pytest
import xarray as xr

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgba

from tests import plot_cases as cases
from tests.conftest import raises_exactly
from xrxai import plot
from xrxai.errors import BandError, CubeError, OptionError, ResultError, TargetError
from xrxai.plot.grid import grid, round_length
from xrxai.plot.outlines import pixel_edges
from xrxai.plot.style import NAN_COLOUR, sign_colours


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """Check after each test that rcParams are as they were; close its figures."""
    before = dict(matplotlib.rcParams)
    assert not plt.get_fignums()
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def panel(figure: Any, label: str) -> Any:
    (found,) = [ax for ax in figure.axes if ax.get_label() == label]
    return found


def labels(figure: Any) -> list[str]:
    return [ax.get_label() for ax in figure.axes]


def by_gid(ax: Any, gid: str) -> list[Any]:
    return [artist for artist in ax.get_children() if artist.get_gid() == gid]


def span(artist: Any) -> tuple[float, float]:
    box = artist.get_path().transformed(artist.get_patch_transform()).get_extents()
    return float(box.x0), float(box.x1)


# ------------------------------------------------------------------------------- which panels


MAPS = ["true_colour", "attribution"]
STRIPS = ["reflectance", "spectrum"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (cases.gradient, [*MAPS, *STRIPS, "groups"]),
        (cases.lime_per_pixel, [*MAPS, *STRIPS, "groups"]),
        (cases.lime_spectral, ["true_colour", *STRIPS, "groups"]),
        (cases.lime_spatial, [*MAPS, "segments"]),
        (cases.occlusion_spectral, ["true_colour", *STRIPS]),
        (cases.occlusion_spatial, MAPS),
        (lambda: cases.samples(cases.gradient()), ["spectrum", "groups"]),
        (lambda: cases.samples(cases.lime_spectral()), ["spectrum", "groups"]),
    ],
)
def test_overview_has_the_panels_of_its_kind(make: Any, expected: list[str]) -> None:
    figure = plot.overview(make())
    assert labels(figure) == expected
    figure.draw_without_rendering()


@pytest.mark.parametrize("crs", [cases.WKT, cases.WGS84, None])
@pytest.mark.parametrize("make", [cases.gradient, cases.lime_spatial, cases.occlusion_spatial])
def test_every_map_has_units_and_a_frame_of_reference(make: Any, crs: str | None) -> None:
    figure = plot.spatial(make(cases.cube(crs=crs)))
    words = {
        cases.WKT: ("easting [m]  (EPSG:32633)", "northing [m]"),
        cases.WGS84: ("longitude [°E]  (EPSG:4326)", "latitude [°N]"),
        None: ("column", "row"),
    }[crs]
    first, second = panel(figure, "true_colour"), panel(figure, "attribution")
    assert (first.get_xlabel(), first.get_ylabel()) == words
    assert second.get_ylabel() == ""
    assert len(by_gid(first, "scale_bar")) == (crs is not None)
    assert by_gid(second, "scale_bar") == []
    (bar,) = second.child_axes
    assert bar.get_ylabel() == "attribution [1]"


def test_without_a_picture_the_map_takes_over_the_labels() -> None:
    why = cases.gradient().drop_vars("rgb")
    figure = plot.overview(why)
    assert labels(figure) == ["attribution", *STRIPS, "groups"]
    assert panel(figure, "attribution").get_ylabel() == "northing [m]"
    assert len(by_gid(panel(figure, "attribution"), "scale_bar")) == 1


def test_without_wavelengths_there_are_band_numbers_and_no_groups() -> None:
    why = cases.gradient().drop_vars("wavelength")
    figure = plot.overview(why)
    assert labels(figure) == [*MAPS, *STRIPS]
    assert panel(figure, "spectrum").get_xlabel() == "band"
    with raises_exactly(
        ResultError,
        "There are no band groups to draw as bars: the explanation has no wavelengths; type "
        "groups={'name': (low_nm, high_nm)} on a cube with wavelengths.",
    ):
        plot.bars(why)
    with pytest.raises(BandError, match="has no wavelengths; add them to the cube"):
        plot.bars(why, groups={"Red": (630, 690)})


def test_figsize_and_titles() -> None:
    figure = plot.overview(cases.lime_spectral(), figsize=(10, 4))
    assert tuple(figure.get_size_inches()) == (10, 4)
    assert figure.get_suptitle() == (
        "LIME, band groups — target “K” — surrogate R² 0.48, held-out 0.41"
    )
    assert panel(figure, "groups").get_xlabel() == "attribution [mg/kg]"
    assert panel(figure, "spectrum").get_ylabel() == "attribution [mg/kg]"
    assert panel(figure, "reflectance").get_ylabel() == "reflectance [1]"
    assert plot.overview(cases.gradient()).get_suptitle() == (
        "Integrated Gradients — target “Potassium” — completeness gap 0.013 [1] (0.65 %)"
    )


def test_an_absent_target_and_a_median_are_said() -> None:
    why = cases.lime_per_pixel()
    why["target_absent"] = ("target", [True])
    assert (
        plot.spectral(why)
        .get_suptitle()
        .replace("\n", " — ")
        .startswith(
            "LIME, band groups — target “K” (absent from the prediction) — median surrogate R² 0."
        )
    )


# --------------------------------------------------------------------------------------- maps


def test_the_map_is_the_sum_over_bands_with_symmetric_limits() -> None:
    why = cases.gradient()
    ax = panel(plot.spatial(why), "attribution")
    (image,) = ax.images
    expected = why["attribution"].isel(target=0).sum("band", min_count=1).values
    np.testing.assert_allclose(image.get_array().filled(np.nan), expected, rtol=1e-6)
    low, high = image.get_clim()
    assert low == -high
    assert high == pytest.approx(np.nanpercentile(np.abs(expected), 98))
    assert image.cmap.name == "RdBu_r"
    # Red raises the output, blue lowers it.
    assert image.cmap(0.9)[0] > image.cmap(0.9)[2]


def test_limits_of_everything() -> None:
    why = cases.gradient()
    (image,) = panel(plot.spatial(why, robust=False), "attribution").images
    values = image.get_array().compressed()
    assert image.get_clim() == pytest.approx((-np.abs(values).max(), np.abs(values).max()))
    assert image.colorbar.extend == "neither"
    (robust,) = panel(plot.spatial(why), "attribution").images
    assert robust.colorbar.extend == "max"  # only the positive end is clipped in this field


def test_missing_pixels_are_grey_in_the_map() -> None:
    why = cases.gradient()
    ax = panel(plot.spatial(why), "attribution")
    (image,) = ax.images
    rgba = image.to_rgba(image.get_array())
    outside = ~why["valid"].values
    np.testing.assert_allclose(rgba[outside], np.tile(to_rgba(NAN_COLOUR), (outside.sum(), 1)))
    assert to_rgba(ax.get_facecolor()) == to_rgba(NAN_COLOUR)


def test_the_users_colour_map_is_taken() -> None:
    with xr.set_options(cmap_divergent="PuOr_r"):
        figure = plot.overview(cases.gradient())
        (image,) = panel(figure, "attribution").images
        assert image.cmap.name == "PuOr_r"
        bar = panel(figure, "groups").patches[3]
        assert bar.get_facecolor()[:3] == pytest.approx(matplotlib.colormaps["PuOr_r"](0.9)[:3])


def test_nothing_negative_starts_at_zero_and_an_absolute_option_is_believed() -> None:
    (image,) = panel(plot.spatial(cases.occlusion_spatial(positive=True)), "attribution").images
    assert image.cmap.name == "inferno"
    low, high = image.get_clim()
    assert low == 0
    assert high == pytest.approx(np.percentile(image.get_array().compressed(), 99))
    assert image.colorbar.extend == "max"


def test_an_all_zero_map_keeps_its_middle_colour_and_says_so() -> None:
    why = cases.gradient()
    why["attribution"] = why["attribution"] * 0
    figure = plot.overview(why)
    ax = panel(figure, "attribution")
    assert ax.get_title(loc="left") == "Attribution, sum over bands, all zero"
    assert ax.images[0].get_clim() == (-1, 1)
    assert panel(figure, "spectrum").get_ylim() == (-1, 1)


def test_a_scene_without_valid_pixels_is_drawn_and_said() -> None:
    why = cases.gradient()
    for name in ("attribution", "rgb", "spectrum"):
        why[name] = why[name] * np.nan
    why["valid"] = why["valid"] & False
    figure = plot.overview(why)
    figure.draw_without_rendering()
    assert panel(figure, "attribution").get_title(loc="left").endswith("no valid pixels")
    assert panel(figure, "reflectance").get_title(loc="left").endswith("no valid pixels")


@pytest.mark.parametrize("flip", ["y", "x", "yx"])
def test_a_pixel_lies_at_its_own_coordinates_whichever_way_the_axes_run(flip: str) -> None:
    why = cases.occlusion_spatial()
    turned = why.isel({d: slice(None, None, -1) for d in flip})
    for dataset in (why, turned):
        ax = panel(plot.spatial(dataset), "attribution")
        (image,) = ax.images
        left, right, bottom, top = image.get_extent()
        values = image.get_array()
        column = int((500_042.0 - left) / (right - left) * values.shape[1])
        row = int((5_549_930.0 - top) / (bottom - top) * values.shape[0])
        expected = why["attribution"].sel(x=500_042, y=5_549_930, method="nearest").item()
        assert values[row, column] == pytest.approx(expected)
        assert ax.get_xlim() == (500_000, 500_176)
        assert ax.get_ylim() == (5_549_856, 5_550_000)


def test_no_rows_are_drawn_twice_when_a_large_scene_is_thinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xrxai.plot.view.PIXELS_PER_SIDE", 20)
    ax = panel(plot.spatial(cases.occlusion_spatial()), "attribution")
    (image,) = ax.images
    assert image.get_array().shape == (12, 15)  # every third of 36 × 44
    assert image.get_extent() == pytest.approx([500_000, 500_180, 5_549_856, 5_550_000])
    assert ax.get_xlim() == (500_000, 500_176)


def test_crs_is_read_without_rioxarray_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for crs in (cases.WKT, cases.WGS84):
        source = cases.cube(crs=crs)
        with_it = grid(source, "y", "x")
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "rioxarray", None)
            assert grid(source, "y", "x") == with_it


def test_rotated_and_uneven_grids_are_drawn_by_column_and_row() -> None:
    source = cases.cube()
    rotated = source.copy()
    rotated["spatial_ref"] = source["spatial_ref"].assign_attrs(
        GeoTransform="500000.0 3.9 0.5 5550000.0 0.5 -3.9"
    )
    assert grid(rotated, "y", "x").xlabel == "column"
    x = source["x"].values.copy()
    x[10:] += 40
    assert grid(source.assign_coords(x=x), "y", "x").xlabel == "column"
    one = grid(source.isel(x=[3]), "y", "x")
    assert (one.left, one.right) == (500_012, 500_016)


@pytest.mark.parametrize(
    ("wanted", "got"), [(44.5, 50), (15, 20), (12, 10), (800, 1000), (0.3, 0.2)]
)
def test_scale_bars_are_round(wanted: float, got: float) -> None:
    assert round_length(wanted) == pytest.approx(got)


# ----------------------------------------------------------------------------------- segments


def test_segment_edges_are_the_edges_of_pixels() -> None:
    ids = np.array([[1, 1, 2], [1, 2, 2]])
    placed = grid(xr.DataArray(ids, dims=("y", "x")), "y", "x")
    lines = {tuple(map(tuple, line)) for line in pixel_edges(ids, placed).tolist()}
    assert lines == {
        ((1.5, -0.5), (1.5, 0.5)),
        ((0.5, 0.5), (0.5, 1.5)),
        ((0.5, 0.5), (1.5, 0.5)),
    }


def test_edges_on_the_map_separate_the_segments_and_nothing_else() -> None:
    why = cases.lime_spatial()
    ids = why["segment_of_pixel"].values
    placed = grid(why, "y", "x")
    length = 0.0
    for (x0, y0), (x1, y1) in pixel_edges(ids, placed):
        assert x0 == x1 or y0 == y1
        length += abs(x1 - x0) + abs(y1 - y0)
    borders = (ids[1:] != ids[:-1]).sum() + (ids[:, 1:] != ids[:, :-1]).sum()
    assert length == pytest.approx(4.0 * borders)
    figure = plot.spatial(why)
    for name in ("attribution", "segments"):
        (drawn,) = by_gid(panel(figure, name), "segment_edges")
        assert len(drawn.get_segments()) == len(pixel_edges(ids, placed))


def test_each_pixel_has_the_value_of_its_segment_and_excluded_ones_have_none() -> None:
    why = cases.lime_spatial()
    (image,) = panel(plot.spatial(why), "attribution").images
    ids = why["segment_of_pixel"].values
    values = why["attribution"].isel(target=0).values
    shown = image.get_array()
    np.testing.assert_array_equal(shown.mask, ids == 0)
    np.testing.assert_allclose(shown[ids > 0], values[ids[ids > 0] - 1])


def test_numbers_lie_in_their_segment_and_the_ten_strongest_are_bold() -> None:
    why = cases.lime_spatial()
    ax = panel(plot.spatial(why), "segments")
    texts = by_gid(ax, "segment_id")
    ids, placed = why["segment_of_pixel"].values, grid(why, "y", "x")
    strongest = set((np.argsort(-np.abs(why["attribution"].values[0]))[:10] + 1).tolist())
    assert texts
    for text in texts:
        x, y = text.get_position()
        row = int((y - placed.top) / (placed.bottom - placed.top) * placed.rows)
        column = int((x - placed.left) / (placed.right - placed.left) * placed.columns)
        assert ids[row, column] == int(text.get_text())
        assert (text.get_fontweight() == "bold") == (int(text.get_text()) in strongest)


def test_segments_can_be_left_out_or_given() -> None:
    assert labels(plot.spatial(cases.lime_spatial(), segments=False)) == MAPS
    why = cases.gradient()
    ids = xr.DataArray(cases.segment_ids(cases.cube()), dims=("y", "x"))
    ax = panel(plot.spatial(why, segments=ids), "attribution")
    assert len(by_gid(ax, "segment_edges")) == 1
    with raises_exactly(
        OptionError,
        "segments has {'y': 35, 'x': 44} and the explanation {'y': 36, 'x': 44}; pass ids (y, x) "
        "on the same grid.",
    ):
        plot.spatial(why, segments=ids[1:])


# ------------------------------------------------------------------------------------ picture


def test_measured_pixels_outside_the_mask_are_pale_and_missing_ones_transparent() -> None:
    source = cases.cube()
    ax = plot.rgb(cases.gradient(source), source)
    rgba = ax.images[0].get_array()
    measured = np.isfinite(source.isel(band=0).values)
    inside = source["valid"].values
    np.testing.assert_array_equal(rgba[..., 3], measured)
    pale = rgba[measured & ~inside][:, :3]
    np.testing.assert_allclose(pale, pale[:, :1] * np.ones(3))
    assert pale.min() >= 0.40
    assert pale.max() <= 0.95 + 1e-9
    without = plot.rgb(cases.gradient(source)).images[0].get_array()
    np.testing.assert_array_equal(without[..., 3], inside)
    np.testing.assert_allclose(without[inside], rgba[inside], atol=1e-5)
    assert ax.get_title(loc="left") == "True colour  R 660 · G 550 · B 480 nm"


def test_stretches() -> None:
    source = cases.cube(crs=None)
    inside = source["valid"].values
    plain = np.stack(
        [source.values[np.abs(cases.WAVELENGTH - nm) <= 15].mean(0) for nm in (660, 550, 480)],
        axis=-1,
    )

    def shown(stretch: Any) -> np.ndarray:
        colours: np.ndarray = plot.rgb(source, stretch=stretch).images[0].get_array()[inside, :3]
        return colours

    np.testing.assert_allclose(shown("none"), plain[inside].clip(0, 1), rtol=1e-5)
    np.testing.assert_allclose(
        shown((0.05, 0.15)), ((plain[inside] - 0.05) / 0.1).clip(0, 1), atol=1e-5
    )
    low, high = np.percentile(plain[inside], (2, 98), axis=0)
    expected = ((plain[inside] - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(shown("channel"), expected, atol=1e-4)
    low, high = np.percentile(plain[inside], (2, 98))
    expected = ((plain[inside] - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(shown("joint"), expected, atol=1e-4)
    with raises_exactly(
        OptionError, "stretch='log' is not known; choose one of 'channel', 'joint', 'none'."
    ):
        plot.rgb(source, stretch="log")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="not two rising values"):
        plot.rgb(source, stretch=(0.3, 0.1))


def test_bands_of_a_picture_are_found_by_wavelength_or_name() -> None:
    source = cases.cube(crs=None)
    ax = plot.rgb(source, wavelengths=(850, 660, 550))
    assert ax.get_title(loc="left") == "Colour composite  R 850 · G 660 · B 550 nm"
    sparse = source.isel(band=[0, 29, 40, 80])  # 462, 555, 590, 718 nm
    assert plot.rgb(sparse, wavelengths=(700, 560, 470)).get_title(loc="left") == (
        "Colour composite  R 718 · G 555 · B 462 nm"
    )
    with pytest.raises(BandError, match="No band lies within 40 nm of 660 nm; this sensor covers"):
        plot.rgb(sparse)
    named = source.isel(band=[0, 29, 61]).drop_vars(["wavelength", "good_band"])
    named = named.assign_coords(band=["B02", "B03", "B04"])
    assert plot.rgb(named).get_title(loc="left") == "True colour  R B04 · G B03 · B B02"


def test_errors_of_pictures() -> None:
    source = cases.cube()
    why = cases.gradient(source)
    with raises_exactly(
        ResultError,
        "This explanation has no quick look 'rgb' (no bands near 660, 550 and 480 nm); pass the "
        "cube: plot.rgb(explanation, cube, wavelengths=(...)).",
    ):
        plot.rgb(why.drop_vars("rgb"))
    with raises_exactly(
        ResultError,
        "An explanation keeps only its true-colour quick look; for other wavelengths pass the "
        "cube: plot.rgb(explanation, cube, wavelengths=(...)).",
    ):
        plot.rgb(why, wavelengths=(850, 660, 550))
    with raises_exactly(
        ResultError,
        "The cube has 30 × 44 pixels and the explanation 36 × 44: pass the cube that was "
        "explained.",
    ):
        plot.rgb(why, source[:, :30])
    with raises_exactly(
        CubeError,
        "A picture shows one sample, and the cube has time: 2. Type .isel(time=0) to take the "
        "first.",
    ):
        plot.rgb(source.expand_dims(time=2))
    assert not plt.get_fignums()


# ------------------------------------------------------------------------------------ spectra


def test_strips_share_an_axis_and_break_at_bad_bands() -> None:
    nm = np.concatenate([np.arange(420.0, 1000, 8), np.arange(1000.0, 2450, 12)])
    source = cases.cube(shape=(12, 14), wavelength=nm, bad=(1340, 1440))
    figure = plot.spectral(cases.gradient(source))
    upper, lower = panel(figure, "reflectance"), panel(figure, "spectrum")
    assert upper.get_shared_x_axes().joined(upper, lower)
    assert lower.get_xlabel() == "wavelength [nm]"
    bad = nm[(nm >= 1340) & (nm <= 1440)]
    for ax in (upper, lower):
        (hatched,) = by_gid(ax, "bad_bands")
        assert hatched.get_hatch() == "////"
        assert span(hatched) == pytest.approx((bad[0] - 6, bad[-1] + 6))
        (line,) = [line for line in ax.lines if len(line.get_xdata()) >= nm.size]
        x, y = line.get_data()
        np.testing.assert_array_equal(np.isnan(y), (x >= 1340) & (x <= 1440))


def test_lines_do_not_run_across_bands_that_were_cut_out() -> None:
    source = cases.cube(shape=(12, 14))
    cut = cases.gradient(source).isel(band=np.r_[0:60, 80:150])
    lower = panel(plot.spectral(cut), "spectrum")
    (line,) = [line for line in lower.lines if len(line.get_xdata()) > 100]
    assert np.isnan(line.get_ydata()[60])
    assert np.isnan(line.get_ydata()).sum() == 1
    # Few bands far apart are joined, and marked one by one.
    sentinel = cases.cube(shape=(12, 14), wavelength=cases.SENTINEL2)
    lower = panel(plot.spectral(cases.gradient(sentinel)), "spectrum")
    (line,) = [line for line in lower.lines if len(line.get_xdata()) == 12]
    assert line.get_marker() == "o"
    assert np.isfinite(line.get_ydata()).all()


def test_bands_in_any_order_make_the_same_lines() -> None:
    why = cases.gradient(cases.cube(shape=(12, 14)))
    drawn = []
    for dataset in (why, why.isel(band=slice(None, None, -1))):
        figure = plot.overview(dataset)
        drawn.append([line.get_xydata() for line in panel(figure, "spectrum").lines])
        drawn[-1] += [np.array([p.get_width() for p in panel(figure, "groups").patches])]
    for first, second in zip(*drawn, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-7)


def test_mean_and_quartiles_are_those_of_the_pixels() -> None:
    why = cases.gradient()
    lower = panel(plot.spectral(why), "spectrum")
    values = why["attribution"].isel(target=0)
    (line,) = [line for line in lower.lines if line.get_label() == "mean"]
    np.testing.assert_allclose(line.get_ydata(), values.mean(("y", "x")), rtol=1e-4, atol=1e-9)
    (band,) = [c for c in lower.collections if c.get_label() == "IQR over pixels"]
    vertices = band.get_paths()[0].vertices
    at = np.argmin(np.abs(cases.WAVELENGTH - 760))
    here = vertices[np.isclose(vertices[:, 0], cases.WAVELENGTH[at]), 1]
    expected = np.nanpercentile(values.isel(band=at), (25, 75))
    assert (here.min(), here.max()) == pytest.approx(tuple(expected), rel=1e-4)


def test_groups_are_shaded_at_their_wavelengths_and_named_once() -> None:
    figure = plot.spectral(cases.gradient(), groups={"Red": (630, 690), "Edge": (690, 785)})
    for ax in (panel(figure, "reflectance"), panel(figure, "spectrum")):
        (red,) = by_gid(ax, "group:Red")
        assert span(red) == pytest.approx((630, 690))
    upper, lower = panel(figure, "reflectance"), panel(figure, "spectrum")
    assert [t.get_text() for t in by_gid(upper, "group_name")] == ["Red", "Edge"]
    assert by_gid(lower, "group_name") == []
    bare = plot.spectral(cases.gradient(), groups={})
    assert by_gid(panel(bare, "reflectance"), "group_name") == []


def test_palette_holds_what_the_sensor_has() -> None:
    names = [t.get_text() for t in plot.bars(cases.gradient()).get_yticklabels()]
    assert names == ["Blue", "Green", "Red", "Red edge", "NIR"]
    sentinel = cases.cube(shape=(12, 14), wavelength=cases.SENTINEL2)
    names = [t.get_text() for t in plot.bars(cases.gradient(sentinel)).get_yticklabels()]
    assert names[-2:] == ["SWIR 1", "SWIR 2"]


def test_steps_cover_the_bands_of_their_group_and_pieces_are_joined() -> None:
    groups = {"Blue+Red": ((450.0, 520.0), (630.0, 690.0)), "Green": ((520.0, 600.0),)}
    why = cases.lime_spectral(groups=groups)
    ax = panel(plot.spectral(why), "spectrum")
    steps = [tuple(line.get_xdata()) for line in by_gid(ax, "step:Blue+Red")]
    half = (cases.WAVELENGTH[1] - cases.WAVELENGTH[0]) / 2
    member = why["group_of_band"].values == 1
    nm = cases.WAVELENGTH[member]
    split = int(np.argmax(np.diff(nm))) + 1
    expected = [(nm[0] - half, nm[split - 1] + half), (nm[split] - half, nm[-1] + half)]
    np.testing.assert_allclose(steps, expected)
    for line in by_gid(ax, "step:Blue+Red"):
        np.testing.assert_array_equal(line.get_ydata(), -0.8)
    (join,) = by_gid(ax, "join:Blue+Red")
    assert tuple(join.get_xdata()) == pytest.approx((expected[0][1], expected[1][0]))
    assert by_gid(ax, "join:Green") == []
    names = [t.get_text() for t in by_gid(panel(ax.figure, "reflectance"), "group_name")]
    assert names == ["Blue+Red", "Green", "Blue+Red"]


def test_steps_of_a_sparse_sensor_do_not_claim_what_was_not_measured() -> None:
    sentinel = cases.cube(shape=(12, 14), wavelength=cases.SENTINEL2)
    groups = {"SWIR": ((1500.0, 2300.0),), "R": ((630.0, 690.0),)}
    why = cases.lime_spectral(sentinel, groups=groups)
    ax = panel(plot.spectral(why), "spectrum")
    steps = [tuple(line.get_xdata()) for line in by_gid(ax, "step:SWIR")]
    np.testing.assert_allclose(steps, [(1588.7, 1638.7), (2177.4, 2227.4)])
    known = why.assign_coords(fwhm=("band", np.full(12, 30.0)))
    ax = panel(plot.spectral(known), "spectrum")
    assert tuple(by_gid(ax, "step:R")[0].get_xdata()) == pytest.approx((649.6, 679.6))


def error_bars(ax: Any, axis: str) -> np.ndarray:
    """The ends of all error bars of an Axes, (bar, 2)."""
    found = [
        segment
        for container in ax.containers
        if isinstance(container, matplotlib.container.ErrorbarContainer)
        for collection in container[2]
        for segment in collection.get_segments()
    ]
    return np.array([s[:, 0 if axis == "x" else 1] for s in found])


def test_intervals_of_lime_are_those_of_the_data() -> None:
    why = cases.lime_spectral(targets=("P", "K"))
    chosen = why.sel(target="K")
    expected = np.stack([chosen["ci_low"], chosen["ci_high"]], axis=1)
    ax = panel(plot.spectral(why, target="K"), "spectrum")
    np.testing.assert_allclose(error_bars(ax, "y"), expected)
    np.testing.assert_allclose(error_bars(plot.bars(why, target="K"), "x"), expected)


def test_a_table_of_spectra_and_a_result_per_band() -> None:
    why = cases.occlusion_spectral()
    figure = plot.spectral(why)
    lower = panel(figure, "spectrum")
    (line,) = [line for line in lower.lines if line.get_label() == "attribution"]
    np.testing.assert_allclose(line.get_ydata(), why["attribution"].values[0])
    assert lower.get_legend() is None
    positive, negative = (to_rgba(c)[:3] for c in sign_colours())
    fills = {tuple(c.get_facecolor()[0][:3]) for c in lower.collections}
    assert fills == {positive, negative}


def test_the_cube_lends_its_spectrum() -> None:
    source = cases.cube()
    why = cases.gradient(source)
    own = panel(plot.spectral(why), "reflectance").lines[0].get_ydata()
    figure = plot.spectral(why.drop_vars("spectrum"), source)
    lent = panel(figure, "reflectance").lines[0].get_ydata()
    np.testing.assert_allclose(lent, own, rtol=1e-4)
    assert panel(figure, "reflectance").get_ylabel() == "reflectance [1]"
    assert labels(plot.spectral(why.drop_vars("spectrum"))) == ["spectrum"]


# --------------------------------------------------------------------------------------- bars


def test_bars_have_the_colour_of_their_sign_and_the_order_of_wavelength() -> None:
    why = cases.lime_spectral()
    ax = plot.bars(why)
    positive, negative = (to_rgba(c)[:3] for c in sign_colours())
    for patch, value in zip(ax.patches, why["attribution"].values[0], strict=True):
        assert patch.get_width() == pytest.approx(value)
        assert patch.get_facecolor()[:3] == (positive if value > 0 else negative)
    assert ax.yaxis_inverted()
    assert ax.get_yticklabels()[0].get_color() == "#4477AA"
    assert ax.get_title(loc="left") == "Band groups (95 % CI)"
    by_value = plot.bars(why, sort="value")
    assert [t.get_text() for t in by_value.get_yticklabels()] == [
        "Red edge",
        "Green",
        "Blue",
        "NIR",
        "Red",
    ]
    with raises_exactly(
        OptionError, "sort='size' is not known; choose one of 'wavelength', 'value'."
    ):
        plot.bars(why, sort="size")  # type: ignore[arg-type]


def test_bars_of_bands_sum_over_the_group_and_average_over_pixels() -> None:
    why = cases.gradient()
    ax = plot.bars(why)
    nm = cases.WAVELENGTH
    values = why["attribution"].isel(target=0)
    for patch, (low, high) in zip(
        ax.patches, [(450, 520), (520, 600), (630, 690), (690, 785), (785, 1300)], strict=True
    ):
        expected = values.isel(band=(nm >= low) & (nm < high)).sum("band", min_count=1).mean()
        assert patch.get_width() == pytest.approx(float(expected), rel=1e-4, abs=1e-9)
    lows, highs = error_bars(ax, "x").T
    total = values.isel(band=(nm >= 690) & (nm < 785)).sum("band", min_count=1)
    sums = why.isel(band=[0]).assign(attribution=total.expand_dims(["target", "band"]))
    expected = sums.xai.aggregate(("y", "x"), n_draws=200)
    ends = [float(expected[end].squeeze()) for end in ("ci_low", "ci_high")]
    assert [lows[3], highs[3]] == pytest.approx(ends, rel=1e-4)
    assert "95 % CI by blocks of pixels" in ax.get_title(loc="left")


def test_bars_of_many_segments_show_the_strongest() -> None:
    why = cases.lime_spatial()
    ax = plot.bars(why)
    shown = {int(t.get_text()) for t in ax.get_yticklabels()}
    strength = np.abs(why["attribution"].values[0])
    assert shown == set((np.argsort(-strength)[:20] + 1).tolist())
    assert ax.get_title(loc="left").startswith(f"Segments, 20 strongest of {strength.size}")
    assert ax.get_ylabel() == "segment"


# ------------------------------------------------------------------------------------ samples


def test_samples_are_lines_under_their_mean_and_t_interval() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    why = cases.samples(cases.gradient(), count=12)
    figure = plot.overview(why)
    ax = panel(figure, "spectrum")
    rows = why["attribution"].isel(target=0).mean(("y", "x")).values
    thin = [line for line in ax.lines if line.get_linewidth() == 0.6 and len(line.get_xdata())]
    np.testing.assert_allclose([line.get_ydata() for line in thin], rows, rtol=1e-4, atol=1e-7)
    assert ax.get_title(loc="left") == "Mean of 12 samples, 95 % CI"
    sums = rows[:, (cases.WAVELENGTH >= 690) & (cases.WAVELENGTH < 785)].sum(1)
    expected = scipy_stats.t.interval(0.95, 11, sums.mean(), scipy_stats.sem(sums))
    bars = panel(figure, "groups")
    assert tuple(error_bars(bars, "x")[3]) == pytest.approx(expected, rel=1e-4)
    dots = by_gid(bars, "samples")
    assert len(dots) == 5
    np.testing.assert_allclose(dots[3].get_xdata(), sums, rtol=1e-4)
    assert "dots = 12 samples" in bars.get_title(loc="left")


def test_many_samples_have_no_dots_and_one_has_no_interval() -> None:
    many = plot.bars(cases.samples(cases.lime_spectral(), count=51))
    assert by_gid(many, "samples") == []
    assert "51 samples" in many.get_title(loc="left")
    why = cases.samples(cases.lime_spectral(), count=1)
    assert labels(plot.spectral(why)) == ["spectrum"]  # one sample is no sample dim


# ------------------------------------------------------------------------------------- errors


ONE_PANEL = [plot.overview, plot.spectral, plot.bars]


@pytest.mark.parametrize("draw", ONE_PANEL)
def test_one_target_is_taken_and_several_are_asked_for(draw: Any) -> None:
    why = cases.lime_spectral(targets=("P", "K"))
    with raises_exactly(
        ResultError,
        "This explanation has 2 targets: 'P', 'K'. A figure shows one; type target='P'.",
    ):
        draw(why)
    with raises_exactly(
        TargetError, "target='Mg' is not in this explanation; choose one of 'P', 'K'."
    ):
        draw(why, target="Mg")
    assert not plt.get_fignums()
    draw(why, target="K")
    draw(why.sel(target="K"))
    draw(why.sel(target=["K"]))
    assert len(plt.get_fignums()) == 3


def test_what_is_no_explanation() -> None:
    with raises_exactly(
        ResultError,
        "Expected an explanation, a Dataset with the variable 'attribution'; found a Dataset with "
        "a. Plot what a method such as xrxai.lime_spectral(cube, model) returned.",
    ):
        plot.overview(xr.Dataset({"a": 1}))
    with pytest.raises(ResultError, match="found a DataArray"):
        plot.spectral(cases.cube())  # type: ignore[arg-type]


def test_what_a_kind_cannot_show() -> None:
    with raises_exactly(
        ResultError,
        "lime_spectral has no values in space (attribution is per group). Plot .spectral() or "
        ".bars() instead.",
    ):
        plot.spatial(cases.lime_spectral())
    with raises_exactly(
        ResultError,
        "lime_spatial has no values along the spectrum (attribution is per segment). Plot "
        ".spatial() instead.",
    ):
        plot.spectral(cases.lime_spatial())
    with raises_exactly(
        ResultError,
        "occlusion_spatial has a value per pixel, and bars need band groups or segments. Plot "
        ".spatial() instead.",
    ):
        plot.bars(cases.occlusion_spatial())
    with raises_exactly(
        OptionError,
        "groups= is for results per band; this explanation was made for groups of its own. Leave "
        "groups out, or explain again with other bands.",
    ):
        plot.bars(cases.lime_spectral(), groups={"Red": (630, 690)})
    assert not plt.get_fignums()


def test_maps_of_several_samples() -> None:
    why = cases.samples(cases.gradient(), count=3)
    with raises_exactly(
        ResultError,
        "A map shows one sample, and this explanation has several (sample: 3). Type "
        ".isel(sample=0) to take the first.",
    ):
        plot.spatial(why)
    assert labels(plot.spatial(why.isel(sample=0))) == ["attribution"]
    assert labels(plot.spatial(why.isel(sample=[0]))) == ["attribution"]
    twice = why.expand_dims(time=2)
    with pytest.raises(ResultError, match="needs one leading dim, and this explanation has 2"):
        plot.spectral(twice)


def test_groups_that_hold_nothing() -> None:
    with raises_exactly(
        BandError,
        "groups['SWIR'] = (1500, 1800) holds no good band; this sensor covers 462-938 nm.",
    ):
        plot.bars(cases.gradient(), groups={"SWIR": (1500, 1800)})
    with pytest.raises(OptionError, match="is not an interval; type two rising wavelengths"):
        plot.spectral(cases.gradient(), groups={"Red": (690, 630)})


def test_a_figure_that_fails_half_way_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr("xrxai.plot.grid.dress", fail)
    for draw in (plot.overview, plot.spatial, plot.rgb):
        with pytest.raises(RuntimeError, match="half way"):
            draw(cases.gradient())
    assert not plt.get_fignums()


# ------------------------------------------------------------------------------- axes, display


def test_axes_of_the_user_are_drawn_on() -> None:
    figure, (one, two) = plt.subplots(1, 2)
    assert plot.rgb(cases.gradient(), ax=one) is one
    assert plot.bars(cases.gradient(), ax=two) is two
    figure, (one, two) = plt.subplots(2, 1)
    assert plot.spatial(cases.lime_spatial(), axes={"segments": two, "attribution": one}) is figure
    assert labels(figure) == ["attribution", "segments"]
    figure, one = plt.subplots()
    assert plot.spectral(cases.gradient(), axes=one) is figure
    assert labels(figure) == ["spectrum"]
    assert len(plt.get_fignums()) == 3
    with raises_exactly(
        OptionError, "axes names 'map'; the panels are 'true_colour', 'attribution', 'segments'."
    ):
        plot.spatial(cases.gradient(), axes={"map": one})
    with raises_exactly(
        OptionError,
        "axes is a list; pass one Axes, or a mapping such as axes={'spectrum': ax}.",
    ):
        plot.spectral(cases.gradient(), axes=[one])  # type: ignore[arg-type]
    with pytest.raises(ResultError, match="no picture for the panel 'true_colour'"):
        plot.spatial(cases.gradient().drop_vars("rgb"), axes={"true_colour": one})


def test_a_title_on_axes_of_the_user_can_be_replaced() -> None:
    one = plt.figure().add_subplot()
    plot.bars(cases.lime_spectral(), ax=one)
    assert one.get_title()
    one.set_title("mine")
    assert [one.get_title(loc=where) for where in ("left", "center", "right")] == ["", "mine", ""]


def test_bars_side_by_side_share_their_names() -> None:
    left, right = plt.figure().subplots(1, 2, sharey=True)
    for one in (left, right):
        plot.bars(cases.lime_spectral(), ax=one)
    assert left.get_yticklabels()[0].get_text() == "Blue"
    assert not right.get_yticklabels()


def test_axes_in_a_subfigure_give_the_whole_figure() -> None:
    figure = plt.figure()
    part = figure.subfigures(1, 2)[0]
    assert plot.spectral(cases.gradient(), axes=part.add_subplot()) is figure


NOTEBOOK = """
import nbformat.v4 as v4
from nbclient import NotebookClient

first = "%matplotlib inline\\nfrom tests.plot_cases import gradient; from xrxai import plot"
ways = ["plot.spectral(gradient())", "figure = plot.spectral(gradient())", "figure",
        "plot.rgb(gradient());", "plot.spectral(gradient()); plot.spectral(gradient())"]
cells = [v4.new_code_cell(source) for source in [first, *ways]]
ran = NotebookClient(v4.new_notebook(cells=cells)).execute()
print([sum("image/png" in shown.get("data", {}) for shown in cell.outputs) for cell in ran.cells])
"""


@pytest.mark.slow
def test_a_notebook_shows_a_figure_once() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[0, 1, 1, 1, 1, 2]", ran.stderr


def test_a_figure_stays_open_outside_notebooks() -> None:
    figure: Any = plot.spectral(cases.gradient())
    with pytest.raises(NotImplementedError):  # IPython's word for: show it the usual way
        figure._ipython_display_()
    assert plt.fignum_exists(figure.number)
    again = pickle.loads(pickle.dumps(figure))
    assert labels(again) == STRIPS


def test_every_figure_can_be_saved_as_a_pdf(tmp_path: Any) -> None:
    plot.overview(cases.gradient()).savefig(tmp_path / "why.pdf")
    assert (tmp_path / "why.pdf").stat().st_size > 10_000


# --------------------------------------------------------------------------------------- lazy


def guarded(why: xr.Dataset, forbidden: tuple[int, ...]) -> xr.Dataset:
    """`why` on dask, with targets that must not be computed."""

    def load(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        where = block_info[0]["chunk-location"][0]
        assert where not in forbidden, f"target {where} was computed"
        return block

    lazy = why.copy()
    data = dask_array.from_array(why["attribution"].values, chunks=(1, -1, 18, 22))
    data = data.map_blocks(load, dtype=data.dtype, meta=np.empty((0,) * 4, data.dtype))
    lazy["attribution"] = (why["attribution"].dims, data, why["attribution"].attrs)
    return lazy


def test_only_the_target_that_is_drawn_is_computed() -> None:
    why = cases.gradient(targets=("P", "K", "Mg"))
    lazy = guarded(why, forbidden=(0, 2))
    figure = plot.overview(lazy, target="K")
    eager = plot.overview(why, target="K")
    for name in ("attribution",):
        np.testing.assert_allclose(
            panel(figure, name).images[0].get_array(),
            panel(eager, name).images[0].get_array(),
            rtol=1e-5,
        )
    widths = [[p.get_width() for p in panel(f, "groups").patches] for f in (figure, eager)]
    np.testing.assert_allclose(*widths, rtol=1e-5)
    assert lazy["attribution"].chunks is not None


def test_a_picture_reads_no_attribution() -> None:
    lazy = guarded(cases.gradient(targets=("P", "K")), forbidden=(0, 1))
    assert plot.rgb(lazy).get_label() == "true_colour"


def test_statistics_of_a_large_scene_are_over_a_part_of_it_and_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xrxai.plot.view.PIXELS_FOR_STATISTICS", 200)
    legend = panel(plot.spectral(cases.gradient()), "spectrum").get_legend()
    assert "IQR over pixels (1 in 9)" in [t.get_text() for t in legend.get_texts()]


def test_importing_the_package_does_not_import_matplotlib() -> None:
    code = "import sys, xrxai, xrxai.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bad_bands_are_in_no_group_and_not_in_the_spectrum() -> None:
    source = cases.cube(shape=(12, 14), bad=(629, 691))
    why = cases.gradient(source)
    why["spectrum"] = why["spectrum"].fillna(0.5)
    figure = plot.overview(why)
    names = [t.get_text() for t in panel(figure, "groups").get_yticklabels()]
    assert names == ["Blue", "Green", "Red edge", "NIR"]
    (line,) = panel(figure, "reflectance").lines
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), ~source["good_band"].values)
    with pytest.raises(BandError, match="holds no good band"):
        plot.bars(why, groups={"Red": (630, 690)})
