"""Figures of a diagnosis: what they draw, and what they refuse."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from tests.conftest import raises_exactly
from tests.mosaics import BANDS, CLASSES, linear, scene, wrong_blocks
from xrxai import training
from xrxai.errors import ResultError
from xrxai.training import plot_diagnosis, plot_reasons

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world() -> tuple[xr.DataArray, xr.DataTree]:
    cube, labels = scene()
    cube = cube.assign_coords(wavelength=("band", [490.0, 560.0, 665.0, 750.0]))
    mask = np.zeros((12, 18), bool)
    mask[9:] = True
    bands = BANDS | {"low": (400.0, 520.0), "mid": (520.0, 600.0)}
    asked: Any = {"trained": mask, "block": 3, "bands": bands, "progress": False}
    return cube, training.diagnose(cube, labels, linear(), **asked)


def panels(figure: Any) -> dict[str, Any]:
    found = {ax.get_label(): ax for ax in figure.axes}
    plt.close(figure)
    return found


def test_a_diagnosis_is_drawn_pixel_by_pixel(world: Any) -> None:
    cube, told = world
    drawn = panels(plot_diagnosis(told, cube))
    assert list(drawn) == [
        "true_colour", "labels", "class_map", "errors", "uncertainty", "label_doubt",
        "dissimilarity", "explanation_shift", "iou",
    ]  # fmt: skip
    for name in ("class_map", "uncertainty", "dissimilarity", "explanation_shift"):
        shown = drawn[name].images[0].get_array()
        np.testing.assert_allclose(np.asarray(shown), told[name], rtol=1e-6)
    errors = drawn["errors"].images[0].get_array()
    assert errors.mask[9:].all()  # the model was trained there
    assert not errors.mask[:9].any()
    np.testing.assert_array_equal(errors[:9] == 1, wrong_blocks()[:9])  # wheat
    assert ((errors[:9] == 3) | wrong_blocks()[:9]).all()
    assert drawn["uncertainty"].images[0].get_clim() == (0.0, 1.0)
    bars = drawn["iou"].child_axes[0]
    assert [t.get_text() for t in bars.get_yticklabels()] == ["wheat", "rye", "soil"]
    iou = told["scores/iou"].sel({"class": ["wheat", "rye", "soil"]})
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], iou)
    limit = told["dissimilarity"].attrs["threshold"]
    image = drawn["dissimilarity"].images[0]
    for value, cold in ((0.9 * limit, True), (1.1 * limit, False)):
        red, _, blue, _ = image.cmap(image.norm(value))
        assert (blue > red) == cold


def test_panels_that_a_diagnosis_lacks_are_left_out(world: Any) -> None:
    _, told = world
    less = told.copy()
    less.dataset = told.to_dataset().drop_vars(
        ["trained", "dissimilarity", "applicable", "explanation_shift"]
    )
    drawn = panels(plot_diagnosis(less))
    assert list(drawn) == [
        "labels", "class_map", "errors", "uncertainty", "label_doubt", "iou"
    ]  # fmt: skip
    assert not drawn["errors"].images[0].get_array().mask.any()


def test_a_class_that_is_absent_is_said_so(world: Any) -> None:
    cube, _ = world
    labels = training.labels_of(
        np.where(np.arange(18) < 9, 0, -1)[None].repeat(12, 0), cube, CLASSES
    )
    told = training.diagnose(cube, labels, linear(), explain=False, progress=False)
    bars = panels(plot_diagnosis(told))["iou"].child_axes[0]
    assert [t.get_text() for t in bars.texts][1:] == ["absent", "absent"]


def test_reasons_are_bars_with_their_intervals(world: Any) -> None:
    _, told = world
    why = told["errors"].to_dataset()
    drawn = panels(plot_reasons(told))
    assert list(drawn) == ["wheat -> rye", "wheat -> rye, places"]
    np.testing.assert_allclose(
        [bar.get_width() for bar in drawn["wheat -> rye"].patches], why["attribution"][0]
    )
    assert [t.get_text() for t in drawn["wheat -> rye"].get_yticklabels()] == list(BANDS)
    ends = np.stack([line[:, 0] for line in drawn["wheat -> rye"].collections[0].get_segments()])
    np.testing.assert_allclose(ends[:, 0], why["ci_low"][0], atol=1e-6)
    np.testing.assert_allclose(ends[:, 1], why["ci_high"][0], atol=1e-6)
    np.testing.assert_allclose(
        [bar.get_width() for bar in drawn["wheat -> rye, places"].patches],
        why["place_attribution"][0],
    )
    assert list(panels(plot_reasons(why.drop_vars("place_attribution")))) == ["wheat -> rye"]


def test_figures_refuse(world: Any) -> None:
    _, told = world
    with raises_exactly(
        ResultError,
        "A Dataset is no diagnosis; type training.plot_diagnosis(training.diagnose(cube, labels, "
        "model)).",
    ):
        plot_diagnosis(told.to_dataset())  # type: ignore[arg-type]
    with raises_exactly(
        ResultError,
        "A Dataset tells no reasons for errors; type "
        "training.plot_reasons(training.explain_errors(cube, labels, model)).",
    ):
        plot_reasons(told.to_dataset())
    quick = told.copy()
    del quick["errors"]
    with raises_exactly(
        ResultError, "This diagnosis explains no error. It was made with explain=False."
    ):
        plot_reasons(quick)
    quick.attrs["errors"] = "All is well."
    with raises_exactly(ResultError, "This diagnosis explains no error. All is well."):
        plot_reasons(quick)
