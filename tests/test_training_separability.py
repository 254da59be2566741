"""Distances of classes: against closed forms, with few pixels, and of what they are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import xrxai
from tests.conftest import raises_exactly
from xrxai import training
from xrxai.errors import CubeError, LabelError, OptionError
from xrxai.training.gaussians import bhattacharyya, each_alone

pytestmark = pytest.mark.slow

NAMES = ["background", "wheat", "rye", "oats"]


def closed(one: Any, spread: Any, other: Any, wide: Any) -> float:
    """Jeffries-Matusita distance of two Gaussians, by determinants."""
    both, apart = (spread + wide) / 2, np.asarray(one) - other
    b = apart @ np.linalg.inv(both) @ apart / 8
    b += 0.5 * np.log(np.linalg.det(both) / np.sqrt(np.linalg.det(spread) * np.linalg.det(wide)))
    return float(2 * (1 - np.exp(-b)))


def world(
    means: Any, spreads: Any, n: int, *, seed: int = 0, unlabelled: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    """A row of pixels for each class, drawn from its Gaussian; the rest is not labelled."""
    rng = np.random.default_rng(seed)
    drawn = [rng.multivariate_normal(m, s, n) for m, s in zip(means, spreads, strict=True)]
    drawn += [np.zeros((n, len(means[0])))] * unlabelled
    nm = ("band", 500.0 + 10 * np.arange(len(means[0])), {"units": "nm"})
    cube = xr.DataArray(
        np.moveaxis(np.array(drawn), 2, 0), dims=("band", "y", "x"), coords={"wavelength": nm}
    )
    rows = np.r_[np.arange(len(means)), [-1] * unlabelled].astype(int)
    values = np.repeat(rows[:, None], n, axis=1)
    return cube, training.labels_of(values, cube, training.Classes(NAMES[: max(len(means), 2)]))


def gaussians(p: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Three classes of correlated bands: two that are the same, one that is twice as wide."""
    at = np.arange(p)
    base = np.exp(-abs(at[:, None] - at) / (p / 4)) * 0.04**2 + np.eye(p) * 0.005**2
    shape = 0.3 + 0.04 * np.sin(6 * at / p)
    return [shape, shape, shape + 0.02], [base, base, 2 * base]


def test_distances_are_those_of_the_closed_form() -> None:
    means, spreads = gaussians(4)
    cube, labels = world(means, spreads, 6_000, unlabelled=1)
    found = training.separability(cube, labels, max_pixels=6_000)
    want = np.array([[closed(m, s, n, t) for n, t in zip(means, spreads, strict=True)]
                     for m, s in zip(means, spreads, strict=True)])  # fmt: skip
    np.testing.assert_allclose(found.jeffries_matusita, want, atol=0.02)
    np.testing.assert_allclose(np.diag(found.jeffries_matusita), 0)
    assert want[2, 0] > 0.2
    assert found.pixels.values.tolist() == [6_000] * 3
    np.testing.assert_allclose(2 * (1 - np.exp(-found.bhattacharyya)), found.jeffries_matusita)


def test_without_shrinkage_it_is_the_formula_on_the_pixels() -> None:
    means, spreads = gaussians(5)
    cube, labels = world(means, spreads, 40)
    found = training.separability(cube, labels, shrinkage="none")
    rows = [cube.values[:, k].T for k in range(3)]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        want = closed(
            rows[i].mean(0), np.cov(rows[i].T, ddof=0), rows[j].mean(0), np.cov(rows[j].T, ddof=0)
        )
        assert float(found.jeffries_matusita[i, j]) == pytest.approx(want, rel=1e-8)
        assert float(found.jeffries_matusita[j, i]) == float(found.jeffries_matusita[i, j])


@pytest.mark.parametrize("shrinkage", ["oas", "ledoit_wolf"])
@pytest.mark.parametrize("n", [30, 100])
def test_few_pixels_of_150_bands_are_judged_right(shrinkage: Any, n: int) -> None:
    means, spreads = gaussians(150)
    means[2] = means[2] + 0.1 * np.sin(np.arange(150) / 5)
    cube, labels = world(means, spreads, n)
    found = training.separability(cube, labels, shrinkage=shrinkage)
    assert float(found.jeffries_matusita[0, 1]) < 0.5  # they are one Gaussian
    assert found.verdict.values[0, 1] == "cannot be told apart with these bands"
    assert found.verdict.values[0, 2] == "apart"
    assert float(found.jeffries_matusita[0, 2]) > 1.9


def test_the_noise_of_means_adds_nothing() -> None:
    rng = np.random.default_rng(0)
    unit, n, p = np.eye(8), (20, 40), 8
    apart = np.full(p, 0.5)  # 2 in squares, so the distance is a quarter
    noisy = [(rng.normal(0, n[0] ** -0.5, p), rng.normal(apart, n[1] ** -0.5)) for _ in range(500)]
    found = np.array([bhattacharyya(one, unit, two, unit, n) for one, two in noisy])
    assert abs(found.mean() - 0.25) < 4 * found.std() / np.sqrt(500)
    plain = np.array([bhattacharyya(one, unit, two, unit) for one, two in noisy])
    np.testing.assert_allclose(plain.mean() - found.mean(), p * (1 / 20 + 1 / 40) / 8, rtol=1e-2)
    # In each band alone; the noise of means would add 4 % more, that of variances stays.
    one, two = rng.normal(0, 1, (200, 20_000)), rng.normal(0.5, 1, (200, 20_000))
    alone = each_alone(one, two)
    assert alone.mean() == pytest.approx(0.25 / 2 / 4, rel=0.07)


def test_distances_do_not_depend_on_the_units_of_bands() -> None:
    means, spreads = gaussians(12)
    cube, labels = world(means, spreads, 300)
    scaled = cube * xr.DataArray(np.logspace(-2, 3, 12), dims="band") + 7
    one, two = training.separability(cube, labels), training.separability(scaled, labels)
    np.testing.assert_allclose(one.jeffries_matusita, two.jeffries_matusita, rtol=1e-6)


def test_verdicts() -> None:
    means = [np.array([0.0, 0.0]), np.array([0.5, 0.0]), np.array([3.5, 0.0]), np.array([9.0, 0.0])]
    cube, labels = world(means, [np.eye(2)] * 4, 4000)
    found = training.separability(cube, labels, max_pixels=4000)
    assert found.verdict.values[0].tolist() == [
        "",
        "cannot be told apart with these bands",
        "hard",
        "apart",
    ]
    want = [closed(means[0], np.eye(2), m, np.eye(2)) for m in means]
    np.testing.assert_allclose(found.jeffries_matusita[0], want, atol=0.03)


def test_the_best_band_and_group_by_themselves() -> None:
    means = [np.zeros(6), np.zeros(6), np.zeros(6)]
    means[1][4], means[2][1] = 4.0, 3.0
    cube, labels = world(means, [np.eye(6)] * 3, 500)
    found = training.separability(cube, labels)
    assert found.best.values.tolist() == [
        ["", "540 nm", "510 nm"],
        ["540 nm", "", "540 nm"],
        ["510 nm", "540 nm", ""],
    ]
    one = closed([0.0], np.eye(1), [4.0], np.eye(1))
    assert float(found.best_alone[0, 1]) == pytest.approx(one, abs=0.05)
    groups = {"green": (495, 525), "red": (535, 555)}
    grouped = training.separability(cube, labels, bands=groups)
    assert grouped.best.values[0].tolist() == ["", "red", "green"]
    values = cube.values.reshape(6, -1)
    by_hand = np.stack([values[:3].mean(0), values[4:].mean(0)]).reshape(2, *cube.shape[1:])
    small = xr.DataArray(
        by_hand, dims=("band", "y", "x"), coords={"wavelength": ("band", [510.0, 545.0])}
    )
    want = training.separability(small, labels)
    np.testing.assert_allclose(grouped.jeffries_matusita, want.jeffries_matusita)
    made = xrxai.band_groups(cube, groups)
    xr.testing.assert_identical(grouped, training.separability(cube, labels, bands=made))


def test_missing_pixels_and_bad_bands_are_left_out() -> None:
    means, spreads = gaussians(6)
    cube, labels = world(means, spreads, 200)
    want = training.separability(cube.isel(band=[0, 1, 2, 4, 5], x=slice(50, None)), labels[:, 50:])
    holes = cube.copy()
    holes[2, :, :50] = np.nan
    holes = holes.assign_coords(good_band=("band", [True, True, True, False, True, True]))
    found = training.separability(holes, labels, max_pixels=200)
    np.testing.assert_allclose(found.jeffries_matusita, want.jeffries_matusita)
    assert found.pixels.values.tolist() == [150] * 3
    lazy = holes.chunk({"x": 33, "y": 1, "band": 4}).transpose("x", "band", "y")
    xr.testing.assert_identical(found, training.separability(lazy, labels, max_pixels=200))
    some = training.separability(cube, labels, max_pixels=50, seed=1)
    assert some.pixels.values.tolist() == [50] * 3
    xr.testing.assert_identical(some, training.separability(cube, labels, max_pixels=50, seed=1))
    other = training.separability(cube, labels, max_pixels=50, seed=2)
    assert (some.bhattacharyya != other.bhattacharyya).any()


def test_classes_of_few_pixels_are_said() -> None:
    means, spreads = gaussians(6)
    cube, labels = world(means, spreads, 200)
    labels[1, 4:] = -1
    words = (
        r"^Too few pixels with data to judge 'wheat' \(4\): NaN. Label more than 10 of each, or "
    )
    with pytest.warns(UserWarning, match=words + r"lump them\.$"):
        found = training.separability(cube, labels)
    assert np.isnan(found.jeffries_matusita[1]).all()
    assert found.verdict.values[1, [0, 2]].tolist() == ["too few pixels"] * 2
    assert np.isfinite(found.jeffries_matusita[0, 2])


def test_the_matrix_shows_the_numbers() -> None:
    import matplotlib.pyplot as plt

    means = [np.array([0.0, 0.0]), np.array([0.5, 0.0]), np.array([9.0, 0.0])]
    cube, labels = world(means, [np.eye(2)] * 3, 500)
    found = training.separability(cube, labels)
    figure = training.plot_separability(found)
    (ax,) = (a for a in figure.axes if a.get_label() == "separability")
    shown = [t.get_text() for t in ax.texts if t.get_gid() == "number"]
    values = found.jeffries_matusita.values
    want = ["" if i == j else f"{values[i, j]:.2f}" for i in range(3) for j in range(3)]
    assert shown == want
    bold = [t.get_text() for t in ax.texts if t.get_fontweight() == "bold"]
    assert bold == [f"{values[0, 1]:.2f}"] * 2
    assert [t.get_text() for t in ax.get_yticklabels()] == NAMES[:3]
    figure.canvas.draw()
    plt.close(figure)
    _, mine = plt.subplots()
    assert training.plot_separability(found, axes=mine) is mine.figure
    plt.close("all")


def test_separability_refused() -> None:
    means, spreads = gaussians(6)
    cube, labels = world(means, spreads, 20)
    with raises_exactly(
        OptionError,
        "shrinkage='lasso' is not known; choose one of 'oas', 'ledoit_wolf', 'none'.",
    ):
        training.separability(cube, labels, shrinkage="lasso")  # type: ignore[arg-type]
    with raises_exactly(
        OptionError,
        "shrinkage='none' has 6 pixels of a class for 6 bands, so its covariance is singular; type "
        "shrinkage='oas', or bands= for fewer.",
    ):
        training.separability(cube.isel(x=slice(6)), labels[:, :6], shrinkage="none", min_pixels=2)
    with raises_exactly(
        LabelError,
        "1 class with 10 pixels or more ('background': 20, 'wheat': 0, 'rye': 0), and telling "
        "apart takes two; label more, or type a smaller min_pixels.",
    ):
        training.separability(cube, labels.where(labels == 0, -1).astype(int))
    with raises_exactly(
        CubeError,
        "The cube has the dims ('time', 'band', 'y', 'x'), and one image is needed; type "
        "cube.isel(time=0).",
    ):
        training.separability(cube.expand_dims(time=2), labels)
    with raises_exactly(
        LabelError,
        "The labels have shape (3, 5), and the cube has 3 rows and 20 columns; cut or resample the "
        "labels to its grid by nearest neighbour, such as labels.rio.reproject_match(cube).",
    ):
        training.separability(cube, labels[:, :5])
    with raises_exactly(
        OptionError,
        "A DataArray came where distances of classes are needed; type "
        "training.plot_separability(training.separability(cube, labels)).",
    ):
        training.plot_separability(cube)  # type: ignore[arg-type]
