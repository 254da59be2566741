"""The figure of classes: each pixel in its colour, how much of each, and what is absent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import xarray as xr

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex, to_rgba

import xrxai
from tests import plot_cases as cases
from tests.conftest import raises_exactly
from xrxai import plot
from xrxai.errors import OptionError, ResultError
from xrxai.plot.palette import PALETTE
from xrxai.plot.style import NAN_COLOUR

NAMES = ["bare soil", "crop", "water"]


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def says(names: list[str] = NAMES, crs: str | None = cases.WKT, **options: Any) -> xr.Dataset:
    """A prediction of a field: two classes by the level of one band, and none of the others."""

    def call(x: torch.Tensor) -> torch.Tensor:
        level = x[:, 60] - 0.12
        return torch.stack([-level, level, *[0 * level - 1] * (len(names) - 2)], 1)

    model = xrxai.Model(call, takes="patch", gives="map", targets=names, name="two levels")
    return xrxai.predict(cases.cube(crs=crs), model, **options)


def panel(figure: Any, label: str) -> Any:
    (found,) = [ax for ax in figure.axes if ax.get_label() == label]
    return found


def words(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_gid() == "size"]


def test_every_pixel_has_the_colour_of_its_class_and_nodata_is_grey() -> None:
    said = says()
    figure = said.xai.plot.classes()
    assert [ax.get_label() for ax in figure.axes] == ["true_colour", "classes", "area"]
    (image,) = panel(figure, "classes").images
    drawn = image.to_rgba(image.get_array())
    number = said.class_map.values
    assert set(np.unique(number)) == {-1, 0, 1}
    for k, colour in ((-1, NAN_COLOUR), (0, PALETTE[0]), (1, PALETTE[1])):
        np.testing.assert_allclose(drawn[number == k], [to_rgba(colour)] * (number == k).sum())
    figure.draw_without_rendering()


def test_bars_are_shares_and_sizes_and_an_absent_class_is_named() -> None:
    said = says()
    figure = plot.classes(said)
    ax = panel(figure, "area")
    bars, pixels = ax.patches, said.target_pixels.values
    assert [tick.get_text() for tick in ax.get_yticklabels()] == NAMES
    np.testing.assert_allclose([bar.get_width() for bar in bars], 100 * pixels / pixels.sum())
    assert [to_hex(bar.get_facecolor(), keep_alpha=False).upper() for bar in bars] == [
        colour.upper() for colour in PALETTE[:3]
    ]
    total, square = pixels.sum(), 16.0
    assert words(ax) == [
        *(f"{100 * n / total:.1f} %  {n * square / 1e4:#.3g} ha" for n in pixels[:2]),
        "absent",
    ]
    assert ax.get_title(loc="left") == f"Area of each class  (of {total * square / 1e4:#.3g} ha)"
    assert figure.get_suptitle() == "Prediction of two levels — absent: water"
    (legend,) = [found for part in figure.subfigs for found in part.legends]
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES, "no data"]


def test_pixels_are_counted_where_their_size_is_not_known() -> None:
    said = says(crs=None)
    ax = panel(plot.classes(said), "area")
    assert ax.get_title(loc="left").startswith("Pixels of each class")
    n = said.target_pixels.values
    assert words(ax)[1] == f"{100 * n[1] / n.sum():.1f} %  {n[1]:,} px"


def test_what_was_cut_out_is_counted_and_a_lazy_map_is_drawn() -> None:
    said = says()
    part = said.isel(y=slice(20), x=slice(10, 44)).chunk(y=7)
    ax = panel(plot.classes(part), "area")
    number = part.class_map.values
    shares = [100 * (number == k).sum() / (number >= 0).sum() for k in range(3)]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], shares)
    one = said.sel(target="crop")  # names of the others are in the attributes
    assert [t.get_text() for t in panel(plot.classes(one), "area").get_yticklabels()] == NAMES


def test_colours_are_chosen_by_name_or_in_order() -> None:
    said = says()
    for given in ({"crop": "green"}, [PALETTE[0], "green", PALETTE[2]]):
        ax = panel(plot.classes(said, colors=given), "area")
        assert ax.patches[1].get_facecolor() == to_rgba("green")
        assert ax.patches[2].get_facecolor() == to_rgba(PALETTE[2])
    many = says([f"class {k}" for k in range(12)])
    figure = plot.classes(many)
    seen = [bar.get_facecolor() for bar in panel(figure, "area").patches]
    assert len(set(seen)) == 12
    assert figure.get_suptitle().endswith("absent: class 2, class 3, class 4, class 5 and 6 more")


def test_panels_of_the_user_and_a_scene_without_a_picture() -> None:
    said, (_, ax) = says(), plt.subplots()
    assert said.xai.plot.classes(axes=ax) is ax.figure
    assert ax.get_label() == "classes"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*NAMES, "no data"]
    bare = said.drop_vars("rgb")
    labels = [ax.get_label() for ax in plot.classes(bare).axes]
    assert labels == ["classes", "area"]
    with_cube = plot.classes(bare, cases.cube())
    assert with_cube.axes[0].get_label() == "true_colour"
    with raises_exactly(
        ResultError,
        "There is no picture for the panel 'true_colour': this prediction has no quick look "
        "'rgb'. Pass the cube: plot.classes(predicted, cube).",
    ):
        plot.classes(bare, axes={"true_colour": ax})


def test_what_is_no_class_map_is_refused() -> None:
    said = says(classes=False)
    with raises_exactly(
        ResultError,
        "Expected a prediction with the variable 'class_map'; found a Dataset with prediction, "
        "model_evaluations, valid, rgb, spectrum. Type xrxai.predict(cube, model, classes=True) "
        "and plot what it returns.",
    ):
        plot.classes(said)
    said = says()
    with raises_exactly(
        ResultError,
        "A map shows one sample, and this prediction has several (time: 2). Type .isel(time=0) "
        "to take the first.",
    ):
        plot.classes(said.expand_dims(time=2))
    with raises_exactly(
        ResultError,
        "The classes have the dims ('sample',) and no rows and columns, so there is no map of "
        "them; a bar chart is predicted.class_map.to_series().value_counts().",
    ):
        plot.classes(said.stack(sample=("y", "x")))
    with raises_exactly(
        OptionError, "colors names 'snow', and the classes are 'bare soil', 'crop', 'water'."
    ):
        plot.classes(said, colors={"snow": "white"})
    with raises_exactly(
        OptionError,
        "colors has 2 of them, and there are 3 classes ('bare soil', 'crop', 'water'); type one "
        "for each, or a mapping of some.",
    ):
        plot.classes(said, colors=["red", "blue"])
    with raises_exactly(
        OptionError,
        "colors has 'soil', which is no colour; type a name or a number such as '#0072B2'.",
    ):
        plot.classes(said, colors=["soil", "red", "blue"])
    assert not plt.get_fignums()
