"""Plans of tiles to annotate: what is taken, what it costs, what random plans would have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import xarray as xr

from tests.conftest import raises_exactly
from xrxai import training
from xrxai.errors import LabelError, OptionError

CLASSES = training.Classes(["background", "wheat", "rye", "poppy"])


def guess(
    share: tuple[float, ...] = (0.55, 0.35, 0.08, 0.02), n: int = 96, seed: int = 0
) -> xr.DataArray:
    """Fields of eight pixels; the last class is rare."""
    fields = np.random.default_rng(seed).choice(len(share), (n // 8, n // 8), p=share)
    return xr.DataArray(np.kron(fields, np.ones((8, 8), int)), dims=("y", "x"))


def plan(made: xr.DataArray | None = None, **options: Any) -> xr.Dataset:
    options = {"tile": 12, "budget": 8, "classes": CLASSES, "n_random": 20, **options}
    return training.plan_tiles(guess() if made is None else made, **options)


def composition(found: xr.DataArray, row: int, column: int, size: int) -> np.ndarray:
    cut = found.values[row : row + size, column : column + size]
    return np.bincount(cut[cut >= 0], minlength=len(CLASSES))


def areas(found: xr.DataArray, row: int, column: int, size: int) -> np.ndarray:
    """Connected areas of each class that are a hundredth of a tile or more."""
    cut = found.values[row : row + size, column : column + size]
    made = np.zeros(len(CLASSES))
    for k in range(len(CLASSES)):
        parts, n = scipy.ndimage.label(cut == k)
        made[k] = sum((parts == i + 1).sum() >= size**2 // 100 for i in range(n))
    return made


def test_a_plan_is_that_of_a_slow_greedy_twin() -> None:
    found = guess(seed=0)
    made = plan(found, easy_share=1.0)
    total = np.bincount(found.values.ravel(), minlength=4)
    weights = np.sqrt(total.sum() / total)
    weights[0] /= 2
    have, taken = np.zeros(4), []
    corners = [(r, c) for r in range(0, 96, 12) for c in range(0, 96, 12)]
    for _ in range(8):
        value = {
            at: sum(
                w * (np.log(1 + (h + m) / 2) - np.log(1 + h / 2))
                for w, h, m in zip(weights, have, areas(found, *at, 12), strict=True)
            )
            for at in corners
            if at not in taken
        }
        best = max(value.values())
        at = (int(made.row[len(taken)]), int(made.column[len(taken)]))
        assert value[at] == pytest.approx(best, rel=1e-6)
        np.testing.assert_array_equal(made.pixels[len(taken)], composition(found, *at, 12))
        taken.append(at)
        have += areas(found, *at, 12)
    each = [composition(found, *at, 12) for at in taken]
    np.testing.assert_array_equal(made.expected_pixels, np.sum(each, 0))


@pytest.mark.parametrize("seed", range(4))
def test_rare_classes_get_three_times_what_random_plans_get(seed: int) -> None:
    made = plan(guess((0.6, 0.36, 0.03, 0.01), n=160, seed=seed), tile=16, budget=12)
    gain = made.expected_pixels / made.random_pixels
    assert float(gain.sel({"class": "poppy"})) >= 3
    assert not made.missed.any()
    assert (made.random_low <= made.random_pixels).all()
    assert (made.random_pixels <= made.random_high).all()


def test_random_plans_are_simple_random_samples() -> None:
    found = guess()
    made = plan(found, n_random=2000, budget=10)
    tiles = np.stack(
        [composition(found, r, c, 12) for r in range(0, 96, 12) for c in range(0, 96, 12)]
    )
    n, size = len(tiles), 10
    error = np.sqrt(tiles.var(0, ddof=1) * size * (1 - size / n) / 2000)
    assert (abs(made.random_pixels - size * tiles.mean(0)) < 4 * error).all()
    without = (tiles[:, 3] == 0).sum()
    none = np.prod([(without - i) / (n - i) for i in range(size)])
    assert float(made.random_missed[3]) == pytest.approx(none, abs=0.04)


def test_an_absent_class_is_not_missed() -> None:
    made = plan(guess((0.6, 0.3, 0.1)))
    assert not bool(made.missed[3])
    assert float(made.random_missed[3]) == 1


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_easy_negatives_are_capped(share: float) -> None:
    values = np.zeros((96, 96), int)
    values[:12, :36] = np.repeat([1, 2, 3], 12)  # three tiles with crops, 61 without
    made = plan(xr.DataArray(values, dims=("y", "x")), easy_share=share)
    easy = (made.reason.values == "easy negatives").sum()
    assert easy == min(int(8 * share), 5)
    assert made.sizes["tile"] == 3 + easy


def test_difficult_background_is_sought() -> None:
    values = np.zeros((96, 96), int)
    values[:12, :36] = np.repeat([1, 2, 3], 12)
    hard = xr.DataArray(np.zeros((96, 96)), dims=("y", "x"))
    hard[60:72, 24:36] = 0.9
    made = plan(xr.DataArray(values, dims=("y", "x")), easy_share=0, difficulty=hard.T.transpose())
    at = set(zip(made.row.values.tolist(), made.column.values.tolist(), strict=True))
    assert at == {(0, 0), (0, 12), (0, 24), (60, 24)}
    where = (made.row == 60).values.argmax()
    assert made.reason.values[where] == "hard negatives: mean difficulty 0.90"
    assert float(made.difficulty[where]) == pytest.approx(0.9)


def test_what_is_confused_with_a_rare_class_is_sought() -> None:
    values = np.zeros((48, 48), int)
    values[:, 24:] = 1
    values[:12, :12], values[36:, 36:] = 2, 3
    found = xr.DataArray(values, dims=("y", "x"))
    confusion = np.diag([900.0, 900, 90, 90])
    alone = plan(found, budget=6, easy_share=1.0, confusion=confusion)
    confusion[3, 1] = 1800  # what is mapped as wheat is mostly poppy
    made = plan(found, budget=6, easy_share=1.0, confusion=confusion)
    wheat = [p.pixels.sel({"class": "wheat"}).values for p in (alone, made)]
    assert (wheat[1] > 0).sum() > (wheat[0] > 0).sum()
    assert "poppy: confused with what is mapped here" in made.reason.values


def test_costs_and_the_budget() -> None:
    found = guess()
    plain = plan(found, budget=5)
    np.testing.assert_array_equal(plain.cumulative_cost, [1, 2, 3, 4, 5])
    values = found.values
    edge = np.zeros(values.shape, bool)
    edge[:, 1:] |= values[:, 1:] != values[:, :-1]
    edge[1:] |= values[1:] != values[:-1]
    made = plan(found, budget=300, cost={"tile": 30, "boundary": 0.5})
    want = [
        30 + 0.5 * edge[r : r + 12, c : c + 12].sum()
        for r, c in zip(made.row.values, made.column.values, strict=True)
    ]
    np.testing.assert_allclose(made.cost, want)
    np.testing.assert_allclose(made.cumulative_cost, np.cumsum(want))
    assert float(made.cumulative_cost[-1]) <= 300
    called = plan(found, budget=10, cost=lambda share: 1 + share.sel({"class": "poppy"}))
    poppies = called.pixels.sel({"class": "poppy"}) / 144
    np.testing.assert_allclose(called.cost, 1 + poppies)
    same = xr.DataArray(np.full((96, 96), 3), dims=("y", "x"))
    cheap = np.where(np.arange(64) % 5 == 2, 1.0, 2.0)  # 13 of them
    assert (plan(same, budget=13, cost=cheap).cost == 1).all()
    given = np.where(np.arange(64) == 5, 1.0, 50.0)
    only = plan(found, budget=10, cost=given, easy_share=1.0)
    assert (only.row.values.tolist(), only.column.values.tolist()) == ([0], [60])


@pytest.mark.parametrize(("stride", "apart"), [(None, 0), (3, 0), (3, 7)])
def test_tiles_do_not_overlap_and_keep_their_distance(stride: int | None, apart: int) -> None:
    made = plan(stride=stride, min_distance=apart, budget=12)
    at = np.stack([made.row, made.column], axis=-1)
    far = abs(at[:, None] - at[None]).max(-1)
    assert far[~np.eye(len(at), dtype=bool)].min() >= 12 + apart


def test_what_is_not_known_is_not_planned() -> None:
    found = guess()
    found[:, :60] = -1
    made = plan(found)
    assert (made.column >= 60).all()
    assert made.attrs["candidates"] == 8 * 3


def test_plans_follow_the_seed_alone() -> None:
    found = guess()
    one = plan(found, seed=5)
    xr.testing.assert_identical(one, plan(found.chunk({"y": 20}), seed=5))
    named = found.assign_attrs(flag_meanings="background wheat rye poppy")
    xr.testing.assert_identical(one, plan(named, classes=None, seed=5))
    assert (plan(found, seed=6).random_pixels != one.random_pixels).any()


def test_tiles_as_polygons_lie_where_the_pixels_lie() -> None:
    pytest.importorskip("geopandas")
    import rioxarray  # noqa: F401  registers .rio

    found = guess().assign_coords(y=500.0 - 10 * np.arange(96), x=100.0 + 10 * np.arange(96))
    found = found.rio.write_crs(32633)
    made = plan(found)
    assert float(made.y[0]) == 500 - 10 * (int(made.row[0]) + 5.5)
    squares = training.tiles_to_polygons(made, found)
    assert squares.crs.to_epsg() == 32633
    assert squares["order"].tolist() == list(range(1, 9))
    assert squares.reason.tolist() == made.reason.values.tolist()
    r, c = made.row.values, made.column.values
    want = np.stack([95 + 10 * c, 505 - 10 * (r + 12), 95 + 10 * (c + 12), 505 - 10 * r], axis=-1)
    np.testing.assert_allclose(squares.bounds.values, want)
    np.testing.assert_allclose(squares.area, 120.0**2)
    plain = training.tiles_to_polygons(training.grid(guess(), 24), guess())
    np.testing.assert_array_equal(plain.bounds.values[1], [24, 0, 48, 24])


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"budget": 0.5},
        "budget=0.5 buys no tile: the cheapest costs 1; type budget=1 or more.",
    ),
    (
        {"budget": -1},
        "budget=-1 is not a positive number; type for example budget=10.",
    ),
    (
        {"easy_share": 10},
        "easy_share=10 is no share; type a number from 0 to 1.",
    ),
    (
        {"difficulty": np.zeros((3, 4))},
        "difficulty has shape (3, 4), and the guess has 96 rows and 96 columns; type one value "
        "per pixel of the guess.",
    ),
    (
        {"difficulty": np.full((96, 96), 70.0)},
        "difficulty goes from 0 to 70, and it must lie between 0 (easy) and 1; type "
        "difficulty=(d - d.min()) / (d.max() - d.min()).",
    ),
    (
        {"confusion": np.eye(3)},
        "confusion has shape (3, 3), and counts of pixels (true, predicted) for 4 classes are "
        "needed, from 0; type confusion=training.evaluate(...).confusion.",
    ),
    (
        {"cost": {"hour": 1.0}},
        "cost has 'hour', and it may have 'tile' and 'boundary'; type cost={'tile': 60, "
        "'boundary': 0.5}.",
    ),
    (
        {"cost": [1.0, 2.0]},
        "cost has shape (2,), and there are 64 tiles that hold a known pixel; type one number for "
        "each of them, or a callable that returns it.",
    ),
    (
        {"cost": {"boundary": 1.0}, "made": guess((1.0,))},
        "cost is 0 for a tile, and it must be above 0; type for example cost={'tile': 60, "
        "'boundary': 0.5}.",
    ),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_plans_refused(options: dict[str, Any], message: str) -> None:
    with raises_exactly(OptionError, message):
        plan(**options)


def test_guesses_refused() -> None:
    with raises_exactly(
        LabelError,
        "The guess knows no pixel (all are -1); type a map of classes, however rough, such as "
        "training.labels_of(ndvi > 0.4, cube, classes).",
    ):
        plan(guess() * 0 - 1)
    with raises_exactly(
        LabelError,
        "The guess holds class 5, and there are 4 classes, 0 to 3; type "
        "classes=training.Classes([...]) with all of them.",
    ):
        plan(guess() * 0 + 5)
    with raises_exactly(
        LabelError,
        "This DataArray does not say what its numbers mean; type "
        "labels = training.labels_of(numbers, cube, training.Classes([...])).",
    ):
        plan(classes=None)
    with raises_exactly(
        LabelError,
        "The map of labels holds fractions, so it was resampled between classes; type one "
        "resampled by nearest neighbour.",
    ):
        plan(guess() / 2)
    with raises_exactly(
        LabelError,
        "A map of labels has rows and columns, and this one also ['time']; type "
        "labels.isel(time=0).",
    ):
        plan(guess().expand_dims(time=2))
    with raises_exactly(
        OptionError,
        "windows is a Dataset without 'row' and 'column'; type windows = training.grid(cube, 64).",
    ):
        training.tiles_to_polygons(xr.Dataset(), guess())
