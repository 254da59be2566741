"""Where to label next: by hand, on maps of a few tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xrxai
from tests.conftest import raises_exactly
from tests.mosaics import BANDS, CLASSES, linear, scene
from xrxai import training
from xrxai.errors import OptionError
from xrxai.training import next_tiles
from xrxai.training.classes import dressed

SIDE = 4


def told(
    *,
    found: Any = 0,
    label: Any = -1,
    unsure: Any = 0.0,
    doubt: Any = np.nan,
    suspect: Any = False,
    shift: Any = None,
    unlike: Any = None,
    seen: int = 0,
) -> xr.DataTree:
    """A diagnosis of 1 x n tiles of 4 x 4 pixels, from one value per tile."""
    given: list[Any] = [found, label, unsure, doubt, suspect, 1.0 if shift is None else shift]
    n = max(len(v) for v in given if isinstance(v, list))

    def drawn(value: Any) -> np.ndarray:
        return np.kron(
            np.broadcast_to(value, (1, n)), np.ones((SIDE, SIDE), np.asarray(value).dtype)
        )

    cube = xrxai.to_cube(np.zeros((1, SIDE, SIDE * n)), wavelength=[500.0])
    dims = ("y", "x")
    root = xr.Dataset(
        {
            "class_map": dressed(drawn(found), cube, CLASSES),
            "label": dressed(drawn(label), cube, CLASSES),
            "uncertainty": (dims, drawn(unsure).astype(float)),
        }
    )
    if shift is not None:
        root["explanation_shift"] = (dims, drawn(shift).astype(float))
    if unlike is not None:
        root["dissimilarity"] = (dims, drawn(unlike).astype(float), {"threshold": 0.5})
    labels = xr.Dataset(
        {"label_doubt": (dims, drawn(doubt).astype(float)), "suspect": (dims, drawn(suspect) > 0)}
    )
    labels.attrs["seen"] = seen
    return xr.DataTree.from_dict({"/": root, "/labels": labels})


def columns(plan: xr.Dataset) -> list[int]:
    """Which tiles, in their order."""
    return [int(c) // SIDE for c in plan["column"].values]


def test_gain_of_uncertainty_by_hand() -> None:
    diagnosis = told(found=[0, 0, 0], unsure=[0.2, 0.9, 0.4])
    plan = next_tiles(diagnosis, tile=SIDE, budget=3, weights={"uncertainty": 2.0})
    assert columns(plan) == [1, 2, 0]
    # log(1 + amount / (mean + what there is)), and amounts in tiles full of it.
    unit = np.mean([0.2, 0.9, 0.4])
    a = np.array([0.9, 0.4, 0.2]) / unit
    have = np.concatenate([[0], np.cumsum(a)[:-1]])
    np.testing.assert_allclose(plan["gain"].values[:, 0], 2 * np.log1p(a / (1 + have)), rtol=1e-6)
    assert plan["term"].values.tolist() == ["uncertainty"]
    assert float(plan["amount"][0]) == pytest.approx(1.5)
    assert set(plan["reason"].values) == {"the model is unsure"}
    np.testing.assert_array_equal(plan["cumulative_cost"], [1, 2, 3])
    one = next_tiles(diagnosis, tile=SIDE, budget=1, weights={"uncertainty": 1})
    assert float(one["random_amount"][0]) == pytest.approx(0.5, abs=0.06)  # the mean of all tiles
    assert float(one["random_low"][0]) == pytest.approx(0.2)
    assert float(one["random_high"][0]) == pytest.approx(0.9)
    assert one["x"].values.tolist() == [5.5]


def test_few_labels_of_a_class_come_first() -> None:
    # 16 labelled pixels of soil, 32 of wheat, none of rye: weights √(sum / (labelled + 1)).
    diagnosis = told(found=[0, 1, 1, 0, 1, 2], label=[0, 1, 1, -1, -1, -1])
    plan = next_tiles(diagnosis, tile=SIDE, budget=3, weights={"rarity": 1})
    assert columns(plan) == [5, 3, 4]  # the labelled tiles teach nothing
    assert plan["reason"].values.tolist() == [
        f"few labels of {n}" for n in ("rye", "soil", "wheat")
    ]
    labelled = np.array([1.0, 17.0, 33.0])  # rye, soil, wheat
    rare = np.sqrt(labelled.sum() / labelled)
    unit = 16 / 3  # an open tile of each class among three that are left
    want = rare / rare.sum() * np.log1p(16 / unit)
    np.testing.assert_allclose(plan["gain"].values[:, 0], want, rtol=1e-6)


def test_doubt_counts_where_there_are_suspect_labels() -> None:
    diagnosis = told(
        found=[0, 0, 0],
        label=[0, 1, -1],
        doubt=[0.9, 0.8, np.nan],
        suspect=[False, True, False],
        unsure=[0.5, 0.5, 0.0],
    )
    plan = next_tiles(diagnosis, tile=SIDE, budget=3, weights={"doubt": 1, "uncertainty": 1})
    assert columns(plan) == [1]  # 0 is labelled and believed, 2 is not labelled and sure
    assert plan["reason"].values.tolist() == ["labels in doubt: look again"]
    assert plan["amount"].sel(term="doubt") == pytest.approx(0.8)


def test_doubt_of_a_model_that_has_seen_the_labels_does_not_count() -> None:
    diagnosis = told(label=[0, -1], doubt=[0.9, np.nan], suspect=[True, False], seen=1)
    assert "doubt" not in next_tiles(diagnosis, tile=SIDE, budget=1)["term"]
    asked = next_tiles(diagnosis, tile=SIDE, budget=1, weights={"doubt": 1})
    assert asked["reason"].values.tolist() == ["labels in doubt: look again"]
    outside = told(label=[0, -1], doubt=[0.9, np.nan], suspect=[True, False], seen=0)
    assert "doubt" in next_tiles(outside, tile=SIDE, budget=1)["term"]


def test_what_is_unlike_counts_beyond_the_threshold() -> None:
    diagnosis = told(found=[0, 0, 0, 0], unlike=[0.4, 1.0, 9.0, np.nan])
    plan = next_tiles(diagnosis, tile=SIDE, budget=4, weights={"unlike": 1})
    assert columns(plan) == [2, 1]
    np.testing.assert_allclose(plan["amount"], [1.0 + 3.0])  # over the threshold, at most 3
    assert plan["reason"].values[0] == "unlike what was trained on"


def test_edges_of_fields_are_no_reason() -> None:
    diagnosis = told(found=[0, 0, 0])
    unsure = np.zeros((4, 12))
    unsure[:, 3:5], unsure[:, 8:] = 1.0, 0.5  # a strip two pixels wide, and a field
    diagnosis.dataset = diagnosis.to_dataset().assign(uncertainty=(("y", "x"), unsure))
    plan = next_tiles(diagnosis, tile=SIDE, budget=3, weights={"uncertainty": 1})
    assert columns(plan) == [2]


def test_unusual_reasons_count_above_what_is_usual() -> None:
    diagnosis = told(found=[0, 0, 0, 0], shift=[0.5, 1.5, 9.0, np.nan])
    plan = next_tiles(diagnosis, tile=SIDE, budget=4, weights={"shift": 1})
    assert columns(plan) == [2, 1]
    np.testing.assert_allclose(plan["amount"], [0.5 + 3.0])  # no pixel counts more than 3
    assert plan["reason"].values[0] == "the model has unusual reasons"
    both = next_tiles(diagnosis, tile=SIDE, budget=4)
    assert both["term"].values.tolist() == ["rarity", "uncertainty", "doubt", "shift"]
    without = next_tiles(told(found=[0, 0]), tile=SIDE, budget=2)
    assert without["term"].values.tolist() == ["rarity", "uncertainty", "doubt"]
    assert columns(next_tiles(diagnosis, tile=SIDE, budget=1, weights={"shift": 0, "rarity": 1}))


def test_costs_distance_stride_and_seed() -> None:
    diagnosis = told(found=[0] * 4, unsure=[0.9, 0.8, 0.1, 0.7])
    ask: Any = {"tile": SIDE, "weights": {"uncertainty": 1}}
    assert columns(next_tiles(diagnosis, budget=2, **ask)) == [0, 1]
    assert columns(next_tiles(diagnosis, budget=2, min_distance=4, **ask)) == [0, 3]
    dear = xr.DataArray([5.0, 1.0, 1.0, 1.0], dims="tile")
    costly = next_tiles(diagnosis, budget=3, cost=dear, **ask)
    assert columns(costly) == [1, 3, 2]
    assert costly["cumulative_cost"].values.tolist() == [1, 2, 3]
    fine = next_tiles(diagnosis, budget=1, stride=2, **ask)
    assert fine.attrs["candidates"] == 7
    equal = told(found=[0] * 8, unsure=[0.5] * 8)
    orders = {tuple(columns(next_tiles(equal, budget=8, seed=s, **ask))) for s in range(4)}
    assert len(orders) > 1
    one, same = (next_tiles(equal, budget=3, seed=3, **ask) for _ in range(2))
    xr.testing.assert_identical(one, same)
    few = next_tiles(diagnosis, budget=1, n_random=1, **ask)
    assert few["random_low"] == few["random_high"]


def test_costs_are_of_all_candidates() -> None:
    # The tile that teaches nothing has a cost, too, and is left out with it.
    diagnosis = told(found=[0, 0, 0], label=[0, -1, -1], unsure=[0.9, 0.9, 0.8])
    prices = xr.DataArray([1.0, 7.0, 2.0], dims="tile")
    plan = next_tiles(diagnosis, tile=SIDE, budget=9, cost=prices, weights={"uncertainty": 1})
    assert dict(zip(columns(plan), plan["cost"].values.tolist(), strict=True)) == {1: 7.0, 2: 2.0}


def test_pixels_without_data_teach_nothing() -> None:
    diagnosis = told(found=[-1, 0], unsure=[np.nan, 0.5], shift=[np.nan, 2.0])
    assert columns(next_tiles(diagnosis, tile=SIDE, budget=2)) == [1]


@pytest.mark.slow
def test_tiles_of_a_diagnosis_in_any_order_of_dims_and_from_a_file(tmp_path: Path) -> None:
    cube, labels = scene()
    labels[:, ::2] = -1
    mask = xr.zeros_like(labels, bool)
    mask[6:] = True
    made = training.diagnose(
        cube, labels, linear(), trained=mask, block=3, bands=BANDS, progress=False
    )
    want = next_tiles(made, tile=3, budget=4)
    turned = made.map_over_datasets(lambda ds: ds.transpose(..., "x", "y", missing_dims="ignore"))
    xr.testing.assert_allclose(next_tiles(turned, tile=3, budget=4), want)
    assert want.sizes["tile"] == 4
    made.to_netcdf(tmp_path / "made.nc")
    with xr.open_datatree(tmp_path / "made.nc") as kept:
        xr.testing.assert_allclose(next_tiles(kept, tile=3, budget=4), want)


def test_next_tiles_refuses() -> None:
    diagnosis = told(found=[0, 0], unsure=[0.5, 0.5])
    with raises_exactly(
        OptionError,
        "A Dataset is no diagnosis; type training.next_tiles(training.diagnose(cube, labels, "
        "model), ...).",
    ):
        next_tiles(xr.Dataset(), tile=4, budget=1)  # type: ignore[arg-type]
    with raises_exactly(
        OptionError,
        "weights has 'novelty', which is not known; choose out of 'rarity', 'uncertainty', "
        "'doubt', 'shift', 'unlike'.",
    ):
        next_tiles(diagnosis, tile=4, budget=1, weights={"novelty": 1})
    with raises_exactly(
        OptionError,
        "weights has 'shift', and the diagnosis has no explanation_shift; type "
        "training.diagnose(..., trained=...) with a network.",
    ):
        next_tiles(diagnosis, tile=4, budget=1, weights={"shift": 1})
    with raises_exactly(
        OptionError, "weights leaves nothing to rank by; type weights={'uncertainty': 1}."
    ):
        next_tiles(diagnosis, tile=4, budget=1, weights={"rarity": 0})
    with raises_exactly(
        OptionError,
        "weights['rarity']=-1 is not a number of 0 or more; type for example weights['rarity']=1.",
    ):
        next_tiles(diagnosis, tile=4, budget=1, weights={"rarity": -1})
    with raises_exactly(
        OptionError,
        "No tile of 4 pixels adds to 'rarity', 'uncertainty', 'doubt': there are no such "
        "unlabelled pixels, and no label in doubt. Type other weights, or diagnose a scene with "
        "unlabelled pixels.",
    ):
        next_tiles(told(found=[0, 1], label=[0, 1]), tile=4, budget=1)
    with raises_exactly(
        OptionError,
        "No tile of 4 pixels adds to 'doubt': there are no such unlabelled pixels, and no label in "
        "doubt. Type other weights, or diagnose a scene with unlabelled pixels.",
    ):
        next_tiles(diagnosis, tile=4, budget=1, weights={"doubt": 1})
    with raises_exactly(
        OptionError, "budget=0.5 buys no tile: the cheapest costs 1; type budget=1 or more."
    ):
        next_tiles(diagnosis, tile=4, budget=0.5)
    with raises_exactly(
        OptionError, "budget=0 is not a positive number; type for example budget=10."
    ):
        next_tiles(diagnosis, tile=4, budget=0)
    for name, least in (("n_random", 1), ("min_distance", 0)):
        with raises_exactly(
            OptionError, f"{name}={least - 1} is too small; type {name}={least} or more."
        ):
            next_tiles(diagnosis, tile=4, budget=1, **{name: least - 1})
