"""Figures of every kind: one scale, honest bars, room for words; bands, overlay, top, targets."""

from __future__ import annotations

from itertools import combinations
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
from tests.test_plot import _tidy, by_gid, guarded, labels, panel  # noqa: F401
from xrxai import plot
from xrxai.errors import BandError, OptionError, ResultError
from xrxai.plot.grid import grid
from xrxai.plot.style import NAN_COLOUR

NM = np.linspace(462.0, 938.0, 60)


def field(**given: Any) -> xr.DataArray:
    return cases.cube(**({"shape": (18, 22), "wavelength": NM} | given))


def several(*targets: str, make: Any = cases.gradient, **given: Any) -> xr.Dataset:
    made: xr.Dataset = make(field(), targets=targets, **given)
    return made


FIGURES = {
    "overview": lambda why, cube: plot.overview(why, cube),
    "rgb": lambda why, cube: plot.rgb(why, cube).figure,
    "spatial": lambda why, cube: plot.spatial(why, cube),
    "grey": lambda why, cube: plot.spatial(why, cube, kind="grey"),
    "heat": lambda why, cube: plot.spatial(why, cube, kind="heat"),
    "spectral": lambda why, cube: plot.spectral(why, cube),
    "bars": lambda why, cube: plot.bars(why).figure,
    "bands": lambda why, cube: plot.bands(why, cube, wavelengths=(480, 760, 900)),
    "overlay": lambda why, cube: plot.overlay(why, cube).figure,
    "top": lambda why, cube: plot.top(why, cube).figure,
    "targets": lambda why, cube: plot.targets(why, cube),
}


def bar_of(ax: Any) -> Any:
    """The colour bar beside a map."""
    (inset,) = [a for a in ax.child_axes if a.get_label() == "colour_bar"]
    return inset._colorbar


def maps_of(figure: Any) -> list[Any]:
    """The images that are coloured by value."""
    return [i for ax in figure.axes for i in ax.images if i.get_array().ndim == 2]


# ---------------------------------------------------------------------------------- every figure


QUICK = ("grey", "overlay", "top")  # the others share what these do, or are in test_plot


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in FIGURES]
)
def test_an_all_zero_explanation_is_drawn_and_said(name: str) -> None:
    cube = field()
    why = cases.gradient(cube)
    why["attribution"] = why["attribution"] * 0
    figure = FIGURES[name](why, cube)
    figure.draw_without_rendering()
    limits = (0, 1) if name in ("grey", "heat") else (-1, 1)
    assert {i.get_clim() for i in maps_of(figure)} <= {limits}
    if name not in ("rgb", "bars"):
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        assert any("all zero" in t for t in titles), titles


@pytest.mark.parametrize("name", ["spatial", "heat", "grey", "bands", "overlay", "targets"])
def test_a_bar_has_its_unit_and_points_only_where_values_are_clipped(name: str) -> None:
    cube = field()
    why = cases.gradient(cube)
    why["attribution"].attrs["units"] = "mg/kg"
    for robust in (True, False):
        draw = {
            "spatial": lambda r: plot.spatial(why, robust=r),
            "heat": lambda r: plot.spatial(why, robust=r, kind="heat"),
            "grey": lambda r: plot.spatial(why, robust=r, kind="grey"),
            "bands": lambda r: plot.bands(why, wavelengths=[760, 900], robust=r),
            "overlay": lambda r: plot.overlay(why, robust=r).figure,
            "targets": lambda r: plot.targets(why, robust=r),
        }[name]
        figure = draw(robust)
        (bar,) = [bar_of(ax) for ax in figure.axes if ax.child_axes]
        values = np.concatenate([i.get_array().compressed() for i in maps_of(figure)])
        low, high = maps_of(figure)[0].get_clim()
        ends = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
        beyond = (int(values.min() < low), int(values.max() > high * (1 + 1e-9)))
        assert bar.extend == ends[beyond]
        assert bar.extend == "neither" or robust
        assert (bar.norm.vmin, bar.norm.vmax) == (low, high)
        assert low == (0 if name in ("heat", "grey") else -high)
        assert "mg/kg" in bar.ax.get_ylabel()


def crowded() -> dict[str, Any]:
    cube = field()
    absent = several("Water", "Bare soil", "K2O", "pH", "Magnesium", "Meadow")
    absent["target_absent"] = ("target", [False, True] * 3)
    strips = several("P", "K", "Mg", make=cases.lime_spectral)
    lime = cases.lime_per_pixel(cube)
    ways = {
        "bands": lambda: plot.bands(
            cases.gradient(cube), cube, wavelengths=[480, 555, 679, 700, 760]
        ),
        "bands, groups": lambda: plot.bands(lime, cube, wavelengths=[480, 555, 679]),
        "targets": lambda: plot.targets(absent, cube),
        "targets, strips": lambda: plot.targets(strips, cube),
        "targets, segments": lambda: plot.targets(cases.lime_spatial(cube)),
        "segments": lambda: plot.overview(cases.lime_spatial(cube)),
        "groups": lambda: plot.overview(strips, target="K"),
        "pixels": lambda: plot.overview(lime, cube),
        "degrees": lambda: plot.spatial(cases.gradient(field(crs=cases.WGS84))),
        "long": lambda: plot.spatial(cases.lime_spatial(field(shape=(10, 60)))),
    }
    ways["targets, two lines"] = lambda: plot.targets(several("P", "K", "Mg"))
    for word, shape in (("wide", (12, 50)), ("tall", (36, 20)), ("steep", (60, 12))):
        scene = field(shape=shape)
        ways |= {
            f"{word} {n}": lambda n=n, scene=scene: FIGURES[n](cases.gradient(scene), scene)
            for n in ("rgb", "spatial", "overlay", "top", "bands", "targets", "overview")
        }
    plain = {n: lambda n=n: FIGURES[n](cases.gradient(cube), cube) for n in FIGURES}
    return plain | ways


def drawn_ticks(axis: Any) -> list[Any]:
    low, high = sorted(axis.get_view_interval())
    ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    return [label for t in ticks for label in (t.label1, t.label2) if label.get_visible()]


@pytest.mark.slow
@pytest.mark.parametrize("name", crowded())
def test_no_words_are_cut_off_or_lie_on_others(name: str) -> None:
    figure = crowded()[name]()
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 > -0.02
    assert box.y0 > -0.02
    assert box.x1 < width + 0.02
    assert box.y1 < height + 0.02
    words = [figure._suptitle] if figure._suptitle is not None else []
    for ax in figure.axes:
        words += [ax._left_title, ax.xaxis.label, ax.yaxis.label, *by_gid(ax, "group_name")]
        words += [a.yaxis.label for a in ax.child_axes]
        words += drawn_ticks(ax.xaxis) + drawn_ticks(ax.yaxis)
        words += [t for a in ax.child_axes for t in drawn_ticks(a.yaxis)]
    boxes = [(t.get_text(), t.get_window_extent()) for t in words if t.get_text()]
    assert len(boxes) > 5
    for (one, a), (two, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (one, two)


@pytest.mark.parametrize("name", ["bands", "targets"])
def test_small_multiples_share_scale_size_and_one_bar(name: str) -> None:
    cube = field()
    why = several("P", "K", "Mg")
    if name == "bands":
        figure = plot.bands(why, cube, target="K", wavelengths=[480, 760, 900])
        expected = ["478 nm", "761 nm", "898 nm"]
    else:
        figure, expected = plot.targets(why, cube), ["P", "K", "Mg"]
    assert labels(figure) == ["true_colour", *expected]
    figure.draw_without_rendering()
    images = maps_of(figure)
    assert len({i.get_clim() for i in images}) == 1
    assert len({i.cmap.name for i in images}) == 1
    values = np.concatenate([np.abs(i.get_array().compressed()) for i in images])
    assert images[0].get_clim()[1] == pytest.approx(np.percentile(values, 98))
    assert [len(ax.child_axes) for ax in figure.axes] == [0, 0, 0, 1]
    assert [ax.get_ylabel() for ax in figure.axes] == ["northing [m]", "", "", ""]
    shown = [any(t.get_visible() for t in ax.get_yticklabels()) for ax in figure.axes]
    assert shown == [True, False, False, False]
    assert [len(by_gid(ax, "scale_bar")) for ax in figure.axes] == [1, 0, 0, 0]
    sizes = np.array([ax.get_window_extent().size for ax in figure.axes])
    np.testing.assert_allclose(sizes, sizes[:1] * np.ones((4, 1)), rtol=1e-3)


def test_many_multiples_go_into_rows_with_labels_at_their_ends() -> None:
    names = list("ABCDEFG")
    figure = plot.targets(several(*names))
    assert labels(figure) == names
    rows = [ax.get_subplotspec().rowspan.start for ax in figure.axes]
    assert rows == [0, 0, 0, 0, 1, 1, 1]
    assert [n for n in names if panel(figure, n).get_ylabel()] == ["A", "E"]
    assert [n for n in names if panel(figure, n).get_xlabel()] == ["E"]
    assert [n for n in names if panel(figure, n).child_axes] == ["D"]
    figure.draw_without_rendering()
    low = [n for n in names if any(t.get_visible() for t in panel(figure, n).get_xticklabels())]
    assert low == ["D", "E", "F", "G"]


# ----------------------------------------------------------------------------------------- kinds


def test_kinds_of_maps() -> None:
    why = cases.gradient(field())
    why["attribution"].attrs["units"] = "mg/kg"
    plain = why["attribution"].isel(target=0).sum("band", min_count=1).values
    size = np.nanpercentile(np.abs(plain), 99)

    def drawn(dataset: xr.Dataset, **given: Any) -> tuple[Any, Any]:
        _, ax = plt.subplots()
        plot.spatial(dataset, axes=ax, **given)
        return ax.images[0], bar_of(ax)

    (image,) = panel(plot.overview(why, kind="heat"), "attribution").images
    assert image.cmap.name == "inferno"
    image, bar = drawn(why, kind="heat")
    assert (image.cmap.name, bar.ax.get_ylabel()) == ("inferno", "|attribution| [mg/kg]")
    np.testing.assert_allclose(image.get_array().filled(np.nan), np.abs(plain), rtol=1e-5)
    assert image.get_clim() == pytest.approx((0, size))
    image, bar = drawn(why, kind="grey")
    assert bar.ax.get_ylabel() == f"|attribution| / P99  (P99 = {size:.2g} mg/kg)"
    assert (image.cmap.name, image.get_clim()) == ("gray", (0, 1))
    np.testing.assert_allclose(image.get_array().filled(np.nan), np.abs(plain) / size, rtol=1e-5)
    assert to_rgba(image.to_rgba(1.5)) == (1, 1, 1, 1)
    _, bar = drawn(why, kind="grey", robust=False)
    most = np.nanmax(np.abs(plain))
    assert bar.ax.get_ylabel() == f"|attribution| / max  (max = {most:.2g} mg/kg)"
    image, bar = drawn(why, kind="diverging")
    assert (image.cmap.name, bar.ax.get_ylabel()) == ("RdBu_r", "attribution [mg/kg]")
    positive = cases.occlusion_spatial(field(), positive=True)
    assert drawn(positive)[1].ax.get_ylabel() == "attribution [1]"
    image, bar = drawn(positive, kind="grey")
    assert bar.ax.get_ylabel().startswith("attribution / P99")
    image, _ = drawn(positive, kind="diverging")
    assert image.get_clim()[0] == -image.get_clim()[1]
    for draw in (plot.overview, plot.spatial):
        with raises_exactly(
            OptionError,
            "kind='hot' is not known; choose one of 'diverging', 'grey', 'heat'.",
        ):
            draw(why, kind="hot")  # type: ignore[operator]
    with pytest.raises(OptionError, match="kind='hot'"):
        plot.overview(cases.lime_spectral(), kind="hot")  # type: ignore[arg-type]


def test_what_is_missing_is_hatched_where_grey_is_a_value() -> None:
    why = cases.gradient(field())
    outside = ~why["valid"].values
    grey = panel(plot.spatial(why, kind="grey"), "attribution")
    assert grey.patch.get_hatch() == "////"
    (image,) = grey.images
    assert (image.to_rgba(image.get_array())[outside, 3] == 0).all()
    assert to_rgba(grey.get_facecolor()) == to_rgba(NAN_COLOUR)
    assert panel(plot.spatial(why), "attribution").patch.get_hatch() is None


# ----------------------------------------------------------------------------------------- bands


def test_bands_are_those_nearest_and_say_so() -> None:
    why = several("P", "K")
    figure = plot.bands(why, target="K", wavelengths=[761.0, 480])
    at = [int(np.argmin(np.abs(NM - w))) for w in (761, 480)]
    assert labels(figure) == [f"{NM[k]:.0f} nm" for k in at]
    for ax, k in zip(figure.axes, at, strict=True):
        assert ax.get_title(loc="left") == ax.get_label()
        expected = why["attribution"].isel(target=1, band=k).values
        np.testing.assert_array_equal(ax.images[0].get_array().filled(np.nan), expected)
    assert figure.get_suptitle().startswith("Integrated Gradients — target “K”")
    turned = plot.bands(
        why.isel(band=slice(None, None, -1)), target="K", wavelengths=np.array([761, 480])
    )
    for one, two in zip(maps_of(figure), maps_of(turned), strict=True):
        np.testing.assert_array_equal(one.get_array(), two.get_array())
    assert plot.bands(why, target="K", wavelengths=[480]).axes[0].get_title(loc="left")


def test_titles_of_close_bands_have_as_many_digits_as_they_need() -> None:
    why = cases.gradient(cases.cube(shape=(6, 8), wavelength=600 + 0.4 * np.arange(9)))
    assert labels(plot.bands(why, wavelengths=[600, 600.4])) == ["600.0 nm", "600.4 nm"]


def test_bands_of_groups_are_their_groups() -> None:
    why = cases.lime_per_pixel(field())
    figure = plot.bands(why, wavelengths=[660, 480])
    assert labels(figure) == ["Red", "Blue"]
    expected = why["attribution"].isel(target=0).sel(group="Red").values
    np.testing.assert_array_equal(maps_of(figure)[0].get_array().filled(np.nan), expected)
    with raises_exactly(
        BandError,
        "The band at 615 nm, nearest to 612 nm, is in no group of this explanation.",
    ):
        plot.bands(why, wavelengths=[612])
    with raises_exactly(
        OptionError, "wavelengths 650 and 670 fall into one group, Red; leave one out."
    ):
        plot.bands(why, wavelengths=[480, 650, 670])


def test_wavelengths_that_cannot_be() -> None:
    why = cases.gradient(field(bad=(640, 700)))
    covers = "this sensor covers 462-938 nm, and its nearest good band is at"
    with raises_exactly(BandError, f"wavelengths: no band lies near 1000 nm; {covers} 938 nm."):
        plot.bands(why, wavelengths=[500, 1000])
    with raises_exactly(
        BandError,
        f"wavelengths: only bands that are not good lie near 670 nm; {covers} 639 nm.",
    ):
        plot.bands(why, wavelengths=[670])
    with raises_exactly(
        OptionError, "wavelengths 760 and 761 fall into one band, 761 nm; leave one out."
    ):
        plot.bands(why, wavelengths=[760, 761])
    for wrong in ([], ["red"], [np.nan], None):
        with raises_exactly(
            OptionError,
            f"wavelengths={wrong!r} are no wavelengths in nm; type for example "
            "wavelengths=[560, 660, 760].",
        ):
            plot.bands(why, wavelengths=wrong)  # type: ignore[arg-type]
    with raises_exactly(
        BandError, "No band of this explanation is good (good_band): it has no map to draw."
    ):
        plot.bands(why.assign_coords(good_band=why["good_band"] & False), wavelengths=[470])
    with pytest.raises(BandError, match="wavelengths= are in nm, and this explanation has no"):
        plot.bands(why.drop_vars("wavelength"), wavelengths=[760])
    sparse = cases.gradient(cases.cube(shape=(6, 8), wavelength=cases.SENTINEL2))
    assert labels(plot.bands(sparse, wavelengths=[842])) == ["833 nm"]
    with pytest.raises(BandError, match="no band lies near 1200 nm"):
        plot.bands(sparse, wavelengths=[1200])
    assert plt.get_fignums() == [1]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            cases.lime_spectral,
            "lime_spectral has no values per pixel and band (attribution is per group). Plot "
            ".spectral() instead.",
        ),
        (
            cases.occlusion_spatial,
            "occlusion_spatial has no values per pixel and band (attribution is per pixel, not "
            "per band). Plot .spatial() instead.",
        ),
        (
            cases.lime_spatial,
            "lime_spatial has no values per pixel and band (attribution is per segment). Plot "
            ".spatial() instead.",
        ),
    ],
)
def test_what_has_no_maps_of_bands(make: Any, said: str) -> None:
    with raises_exactly(ResultError, said):
        plot.bands(make(field()), wavelengths=[760])


# --------------------------------------------------------------------------------------- overlay


def test_opacity_rises_with_strength() -> None:
    why = cases.gradient(field())
    ax = plot.overlay(why)
    base, image = ax.images
    values = image.get_array()
    limit = image.get_clim()[1]
    expected = 0.9 * np.minimum(np.abs(values.filled(0)) / limit, 1) ** 0.7
    np.testing.assert_allclose(image.get_alpha(), expected)
    assert (expected[values.mask] == 0).all()
    plain = why["attribution"].isel(target=0).sum("band", min_count=1).values
    np.testing.assert_allclose(values.filled(np.nan), plain, rtol=1e-6)
    grey = base.get_array()
    np.testing.assert_array_equal(grey[..., 0], grey[..., 1])
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def test_the_bar_of_an_overlay_shows_the_colours_that_are_on_the_page() -> None:
    """Over a scene of one grey a pixel has the colour at which its value stands in the bar."""
    cube = field(shape=(6, 8), crs=None)
    cube = cube.copy(data=np.full(cube.shape, 0.3, np.float32)).assign_coords(valid=cube.valid | 1)
    why = cases.gradient(cube)
    figure = plt.figure(figsize=(4, 4), dpi=100)
    ax = plot.overlay(why, cube, ax=figure.add_axes((0.1, 0.1, 0.6, 0.6)))
    figure.canvas.draw()
    page = np.asarray(figure.canvas.buffer_rgba())[::-1]  # type: ignore[attr-defined]
    placed, image = grid(why, "y", "x"), ax.images[1]
    bar = bar_of(ax)
    for row, column in np.ndindex(6, 8):
        place = (placed.column_edges(column + np.array(0.5)), placed.row_edges(row + np.array(0.5)))
        across, up = ax.transData.transform(place).astype(int)
        told = bar.cmap(bar.norm(image.get_array()[row, column]))
        np.testing.assert_allclose(page[up, across, :3] / 255, told[:3], atol=0.02)


def test_what_was_not_explained_is_faint_and_hatched() -> None:
    cube = field()
    why = cases.gradient(cube)
    ax = plot.overlay(why, cube)
    base, image = ax.images
    measured, valid = np.isfinite(cube.values[0]), cube.valid.values
    alpha = base.get_array()[..., 3]
    np.testing.assert_allclose(alpha[valid], 1)
    np.testing.assert_allclose(alpha[measured & ~valid], 0.35)
    np.testing.assert_allclose(alpha[~measured], 0)
    assert (image.get_alpha()[~valid] == 0).all()
    assert ax.patch.get_hatch() == "////"


@pytest.mark.parametrize("make", [cases.lime_spatial, cases.occlusion_spatial, cases.gradient])
def test_overlays_of_every_kind(make: Any) -> None:
    cube = field()
    ax = plot.overlay(make(cube), cube)
    expected = maps_of(plot.spatial(make(cube)))[0]
    np.testing.assert_array_equal(ax.images[1].get_array(), expected.get_array())
    assert ax.images[1].get_clim() == expected.get_clim()
    assert len(by_gid(ax, "segment_edges")) == (make is cases.lime_spatial)
    with raises_exactly(
        ResultError,
        "This explanation has no quick look 'rgb' (no bands near 660, 550 and 480 nm) to draw on; "
        "pass the cube: plot.overlay(explanation, cube).",
    ):
        plot.overlay(make(cube).drop_vars("rgb"))


@pytest.mark.parametrize("draw", [plot.overlay, plot.top])
def test_another_cube_is_refused(draw: Any) -> None:
    cube = field()
    why = cases.gradient(cube)
    for dataset in (why, why.drop_vars("valid")):
        with raises_exactly(
            ResultError,
            "The cube has 18 × 20 pixels and the explanation 18 × 22: pass the cube that was "
            "explained.",
        ):
            draw(dataset, cube[..., 2:])


# ------------------------------------------------------------------------------------------- top


@pytest.mark.parametrize("background", ["fade", "black"])
def test_colour_stays_where_the_accessor_says_it_matters(background: Any) -> None:
    cube = field()
    why = cases.gradient(cube)
    kept = xrxai.top(why, 0.2, absolute=True).isel(target=0).values
    ax = plot.top(why, cube, q=0.8, background=background)
    (image,), plain = ax.images, plot.rgb(why, cube).images[0].get_array()
    shown = image.get_array()
    np.testing.assert_array_equal(shown[kept], plain[kept])
    grey = plain[~kept][:, :3].mean(axis=-1, keepdims=True)
    rest = 0.35 * grey + 0.6 if background == "fade" else 0 * grey
    np.testing.assert_allclose(shown[~kept][:, :3], rest * np.ones(3))
    np.testing.assert_array_equal(shown[..., 3], plain[..., 3])  # nodata stays nodata
    assert ax.get_title(loc="left") == "Top 20 % of |attribution|"


def test_top_of_values_of_one_sign_and_of_xrai_is_by_value() -> None:
    why = cases.occlusion_spatial(field())
    xrai = why.assign_attrs(method="xrai")
    for dataset, absolute in ((why, True), (xrai, False)):
        ax = plot.top(dataset, background="black", q=0.7)
        kept = xrxai.top(dataset, 0.3, absolute=absolute).isel(target=0).values
        black = (ax.images[0].get_array()[..., :3] == 0).all(axis=-1)
        assert not black[kept].all()
        assert black[~kept].all()
    assert ax.get_title(loc="left") == "Top 30 % of attribution"
    positive = plot.top(cases.occlusion_spatial(field(), positive=True))
    assert positive.get_title(loc="left") == "Top 30 % of attribution"


def test_ties_of_segments_are_told() -> None:
    why = cases.lime_spatial(field(), across=2)
    why["attribution"] = why["attribution"] - 0.6
    kept = xrxai.top(why, 0.3, absolute=True).isel(target=0).values
    share = 100 * kept.sum() / int((why["segment_of_pixel"] > 0).sum())
    assert share > 32
    title = plot.top(why).get_title(loc="left")
    assert title == f"Top 30 % of |attribution| ({share:.0f} % with ties)"


@pytest.mark.parametrize("q", [1, 1.0, -0.1, True, "0.7", float("nan")])
def test_quantiles_that_cannot_be(q: Any) -> None:
    with raises_exactly(
        OptionError, f"q={q!r} is not a number from 0 to below 1; type for example q=0.7."
    ):
        plot.top(cases.gradient(field()), q=q)


def test_quantiles_are_any_numbers() -> None:
    titles = [
        plot.top(cases.gradient(field()), q=q).get_title(loc="left")
        for q in (0, np.float32(0.75), np.float64(0.995))
    ]
    assert titles == [f"Top {n} % of |attribution|" for n in ("100", "25", "0.5")]


def test_a_background_that_is_not_known() -> None:
    with raises_exactly(
        OptionError, "background='white' is not known; choose one of 'fade', 'black'."
    ):
        plot.top(cases.gradient(field()), background="white")  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------- targets


def test_targets_keep_their_order_and_absent_ones_are_told() -> None:
    why = several("P", "K", "Mg")
    why["target_absent"] = ("target", [False, True, False])
    figure = plot.targets(why)
    assert labels(figure) == ["P", "K", "Mg"]
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["P", "K (absent)", "Mg"]
    plain = why["attribution"].sum("band", min_count=1).values
    for image, expected in zip(maps_of(figure), plain, strict=True):
        np.testing.assert_allclose(image.get_array().filled(np.nan), expected, rtol=1e-6)
    assert figure.get_suptitle().startswith("Integrated Gradients — attribution, sum over bands")
    assert labels(plot.targets(why.sel(target=["Mg", "P"]))) == ["Mg", "P"]
    assert labels(plot.targets(why.sel(target="K"))) == ["K"]


def test_strips_of_targets_share_their_limits() -> None:
    why = several("P", "K", "Mg", make=cases.lime_spectral)
    why["target_absent"] = ("target", [False, True, False])
    why["attribution"] = why["attribution"].where(why["target"] != "P", 0.0)
    for name in ("ci_low", "ci_high"):
        why[name] = why[name].where(why["target"] != "P", 0.0)
    figure = plot.targets(why, field())
    assert labels(figure) == ["reflectance", "P", "K", "Mg"]
    limits = [panel(figure, n).get_ylim() for n in ("P", "K", "Mg")]
    assert len(set(limits)) == 1
    alone = panel(plot.spectral(why, target="Mg"), "spectrum").get_ylim()
    assert limits[0] == pytest.approx(alone)  # all zero does not count
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["", "P, all zero", "K (absent)", "Mg"]
    assert [len(by_gid(ax, "group_name")) > 0 for ax in figure.axes] == [True] + 3 * [False]
    assert [bool(ax.get_xlabel()) for ax in figure.axes] == 3 * [False] + [True]
    assert {panel(figure, n).get_ylabel() for n in ("P", "K", "Mg")} == {"attribution [mg/kg]"}
    for name in ("K", "Mg"):
        steps = [s for g in cases.GROUPS for s in by_gid(panel(figure, name), f"step:{g}")]
        drawn = [float(s.get_ydata()[0]) for s in steps]
        assert drawn == pytest.approx(why["attribution"].sel(target=name).values.tolist())


def test_strips_of_targets_over_samples() -> None:
    why = cases.samples(several("P", "K"), count=4)
    figure = plot.targets(why)
    assert labels(figure) == ["P", "K"]
    assert "mean of 4 samples, 95 % CI" in figure.get_suptitle()
    told = [ax.get_legend().get_visible() for ax in figure.axes]
    assert told == [True, False]


def test_groups_are_of_strips() -> None:
    with raises_exactly(
        ResultError,
        "groups= is for results along the spectrum; this explanation is drawn as maps, one for "
        "each target.",
    ):
        plot.targets(several("P", "K"), groups={"Red": (630, 690)})
    per_band = several("P", "K").mean(("y", "x"))
    per_band.attrs = several("P").attrs
    figure = plot.targets(per_band, groups={"Red": (630, 690)})
    assert len(by_gid(panel(figure, "K"), "group:Red")) == 1


def test_targets_without_labels_and_no_target_at_all() -> None:
    why = several("P", "K")
    assert labels(plot.targets(why.drop_vars("target"))) == ["0", "1"]
    assert labels(plot.targets(why.isel(target=0, drop=True))) == ["attribution"]
    with raises_exactly(ResultError, "This explanation has no target; nothing can be drawn."):
        plot.targets(why.isel(target=[]))
    with pytest.raises(ResultError, match="Expected an explanation"):
        plot.targets(xr.Dataset({"a": 1}))


# ----------------------------------------------------------------------------------- axes, lazily


def test_new_figures_on_axes_of_the_user() -> None:
    cube = field()
    why = several("P", "K")
    one = why.sel(target="K")
    figure, (left, right) = plt.subplots(1, 2)
    assert plot.overlay(one, ax=left) is left
    assert plot.top(one, ax=right) is right
    assert labels(figure) == ["overlay", "top"]
    figure, axes = plt.subplots(1, 2)
    assert plot.bands(one, wavelengths=[480, 760], axes=axes) is figure
    assert labels(figure) == ["478 nm", "761 nm"]
    figure, axes = plt.subplots(1, 3)
    assert plot.targets(why, cube, axes=list(axes)) is figure
    assert labels(figure) == ["true_colour", "P", "K"]
    figure, single = plt.subplots()
    assert plot.targets(why, axes={"K": single}) is figure
    assert single.images[0].get_clim() == maps_of(plot.targets(why))[0].get_clim()
    assert plot.bands(one, wavelengths=[480], axes=single) is figure
    lime = several("P", "K", make=cases.lime_spectral)
    figure, axes = plt.subplots(2, 1)
    assert plot.targets(lime, axes=axes) is figure
    assert axes[0].get_ylim() == axes[1].get_ylim()
    with raises_exactly(
        OptionError, "axes=list of 1; pass one Axes for each of 2 panels: 'P', 'K'."
    ):
        plot.targets(lime, axes=[single])
    with raises_exactly(OptionError, "axes names 'Mg'; the panels are 'P', 'K'."):
        plot.targets(lime, axes={"Mg": single})


@pytest.mark.parametrize(
    "name",
    ["top", "bands", *(pytest.param(n, marks=pytest.mark.slow) for n in ("overlay", "targets"))],
)
def test_new_figures_read_only_what_they_show(name: str) -> None:
    why = several("P", "K", "Mg")
    lazy = guarded(why, forbidden=() if name == "targets" else (0, 2))
    given = {"bands": {"wavelengths": [760]}}.get(name, {})
    given |= {} if name == "targets" else {"target": "K"}
    drawn = []
    for dataset in (why, lazy):
        made = getattr(dataset.xai.plot, name)(**given)
        drawn.append([i.get_array() for i in maps_of(getattr(made, "figure", made))])
    for one, two in zip(*drawn, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)
    assert lazy["attribution"].chunks is not None


def test_only_the_bands_that_are_drawn_are_computed() -> None:
    why = cases.gradient(field())

    def load(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        assert block_info[0]["chunk-location"][1] == 37, "another band was computed"
        return block

    data = why["attribution"].chunk(band=1).data
    data = data.map_blocks(load, dtype=data.dtype, meta=np.empty((0,) * 4, data.dtype))
    lazy = why.assign(attribution=why["attribution"].copy(data=data))
    assert labels(plot.bands(lazy, wavelengths=[NM[37]])) == ["761 nm"]


@pytest.mark.parametrize("name", ["overlay", "top", "bands", "targets"])
def test_new_maps_of_large_scenes_are_thinned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrxai.plot.view.PIXELS_PER_SIDE", 8)
    cube = field()
    made = FIGURES[name](cases.gradient(cube), cube)
    for ax in made.axes:
        for image in ax.images:
            assert image.get_array().shape[:2] == (6, 8)  # every third of 18 × 22
            assert image.get_extent() == pytest.approx([500_000, 500_096, 5_549_928, 5_550_000])


def test_every_figure_is_bound_and_can_be_a_pdf(tmp_path: Any) -> None:
    cube = field()
    why = cases.gradient(cube)
    offered = {n for n in dir(why.xai.plot) if not n.startswith("_")}
    assert offered == set(plot.__all__)
    for name in ("overlay", "bands"):
        FIGURES[name](why, cube).savefig(tmp_path / f"{name}.pdf")
        assert (tmp_path / f"{name}.pdf").stat().st_size > 10_000


def test_several_samples_of_maps_are_refused() -> None:
    why = cases.samples(cases.gradient(field()), count=3)
    said = "A map shows one sample, and this explanation has several"
    for draw in (plot.overlay, plot.top):
        with pytest.raises(ResultError, match=said):
            draw(why)
    with pytest.raises(ResultError, match=said):
        plot.bands(why, wavelengths=[760])
    with pytest.raises(ResultError, match=said):
        plot.targets(cases.samples(cases.occlusion_spatial(field()), count=3))
    assert not plt.get_fignums()
