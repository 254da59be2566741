"""Which labels to doubt: by hand, and on scenes where the wrong ones are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import xrxai
from tests.conftest import raises_exactly
from tests.mosaics import CLASSES, WEIGHTS, linear, scene
from xrxai import training
from xrxai.datasets.synthetic import crops
from xrxai.errors import LabelError, OptionError
from xrxai.training import cross_predict, label_errors, probabilities

QUIET: Any = {"progress": False}


def blank(rows: int, columns: int) -> xr.DataArray:
    """A cube that only lends its grid."""
    return xrxai.to_cube(np.zeros((1, rows, columns)), wavelength=[500.0])


def maps(told: list[list[int]], p: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Labels (y, x), and probabilities (y, x, class) as (class, y, x)."""
    labels = training.labels_of(np.array(told), blank(*np.shape(told)), CLASSES)
    array = xr.DataArray(np.moveaxis(np.array(p), -1, 0), dims=("class", "y", "x"))
    return labels, array.assign_coords({"class": list(CLASSES.names)})


def confident_by_hand(p: np.ndarray, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Northcutt et al. 2021, eqs. 1 and 2, by loops: thresholds, and the confident joint."""
    n = p.shape[1]
    threshold = np.array(
        [np.mean([row[k] for row, t in zip(p, told, strict=True) if t == k]) for k in range(n)]
    )
    joint = np.zeros((n, n), int)
    for row, t in zip(p, told, strict=True):
        passed = [k for k in range(n) if row[k] >= threshold[k]]
        if passed:
            joint[t, max(passed, key=lambda k: row[k])] += 1
    return threshold, joint


# ---------------------------------------------------------------------------- label_errors


def test_confident_joint_of_pixels_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], (8, 9))
    told = rng.integers(0, 3, (8, 9))
    labels, probability = maps(told.tolist(), p)
    made = label_errors(labels, probability, objects=None)
    threshold, joint = confident_by_hand(p.reshape(-1, 3), told.ravel())
    np.testing.assert_allclose(made["threshold"], threshold)
    np.testing.assert_array_equal(made["confident_joint"], joint)
    own = np.take_along_axis(p, told[..., None], -1)[..., 0]
    doubt = np.clip(1 - own / threshold[told], 0, 1)
    np.testing.assert_allclose(made["label_doubt"], doubt, atol=1e-6)
    np.testing.assert_array_equal(made["likely"], p.argmax(-1))
    np.testing.assert_array_equal(made["suspect"], (doubt > 0.6) & (p.argmax(-1) != told))
    assert "object" not in made.dims


def test_objects_are_judged_by_their_mean() -> None:
    # Three fields: soil of 4 pixels (0.9), soil of 4 (0.1), wheat of 4 (0.8).
    told = [[0, 0, -1, 0, 0, -1, 1, 1]] * 2
    soil = np.array([[0.8, 1.0, 0.5, 0.2, 0.0, 0.5, 0.2, 0.2]] * 2)
    p = np.stack([soil, 1 - soil, 0 * soil], -1)
    made = label_errors(*maps(told, p))
    # Mean of soil where labels name it: (0.9 + 0.1) / 2 = 0.5; of wheat 0.8.
    np.testing.assert_allclose(made["threshold"], [0.5, 0.8, np.nan])
    assert made["confident_joint"].values.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    doubt = np.array([0, 0, np.nan, 0.8, 0.8, np.nan, 0, 0])
    np.testing.assert_allclose(made["label_doubt"], [doubt] * 2, atol=1e-6)
    assert made["suspect"].values.tolist() == [[0, 0, 0, 1, 1, 0, 0, 0]] * 2
    assert made["likely"].values.tolist() == [[0, 0, -1, 1, 1, -1, 1, 1]] * 2
    assert made["given"].values.tolist() == ["soil", "soil", "wheat"]
    assert made["instead"].values.tolist() == ["wheat", "soil", "wheat"]
    assert made["doubted"].values.tolist() == [True, False, False]
    assert made["pixels"].values.tolist() == [4, 4, 4]
    assert made["doubt"].values[0] == pytest.approx(0.8)
    assert made["object_id"].values[0] == 2
    strict = label_errors(*maps(told, p), least=0.85)
    assert not strict["suspect"].any()
    np.testing.assert_array_equal(strict["label_doubt"], made["label_doubt"])


def test_small_objects_are_not_judged_and_judge_nobody() -> None:
    told = [[0, 0, -1, 0, -1, 1, 1, -1]] * 2
    soil = np.array([[0.9, 0.9, 0.5, 0.0, 0.5, 0.2, 0.2, 0.5]] * 2)
    p = np.stack([soil, 1 - soil, 0 * soil], -1)
    made = label_errors(*maps(told, p))
    np.testing.assert_allclose(made["threshold"], [0.9, 0.8, np.nan])
    assert np.isnan(made["label_doubt"].values[:, 3]).all()
    assert not made["suspect"].any()
    assert np.isnan(made["doubt"].values[-1])  # the last, and listed
    asked = label_errors(*maps(told, p), min_pixels=2)
    assert asked["suspect"].values[:, 3].all()
    np.testing.assert_allclose(asked["threshold"], [0.45, 0.8, np.nan])


def test_objects_by_id_are_of_the_class_that_most_of_their_pixels_have() -> None:
    told = [[0, 0, 0, 1, 1, 1, 1, 1]]
    soil = np.array([[0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1]])
    labels, p = maps(told, np.stack([soil, 1 - soil, 0 * soil], -1))
    ids = np.array([[7, 7, 7, 7, 0, 9, 9, 9]])
    made = label_errors(labels, p, objects=ids, min_pixels=1)
    assert sorted(made["object_id"].values.tolist()) == [7, 9]
    assert made.sortby("object_id")["given"].values.tolist() == ["soil", "wheat"]
    assert made["likely"].values.tolist() == [[0, 0, 0, 0, -1, 1, 1, 1]]
    assert np.isnan(made["label_doubt"].values[0, 4])  # labelled, and of no object
    by_name = xr.DataArray(ids.T, dims=("x", "y"))
    xr.testing.assert_identical(label_errors(labels, p, objects=by_name, min_pixels=1), made)


def test_label_errors_do_not_depend_on_the_order_of_dims_and_classes() -> None:
    rng = np.random.default_rng(1)
    told = np.repeat(rng.integers(0, 3, (4, 5)), 2, axis=1)
    labels, p = maps(told.tolist(), rng.dirichlet([1, 1, 1], (4, 10)))
    want = label_errors(labels, p, min_pixels=1)
    turned = p.isel({"class": [2, 0, 1]}).transpose("x", "class", "y")
    xr.testing.assert_identical(label_errors(labels.T, turned, min_pixels=1), want)


def test_labels_without_data_are_not_doubted() -> None:
    told = [[0, 0, 1, 1]] * 2
    soil = np.array([[0.9, np.nan, 0.1, 0.1]] * 2)
    p = np.stack([soil, 1 - soil, 0 * soil], -1)
    made = label_errors(*maps(told, p), min_pixels=1)
    assert np.isnan(made["label_doubt"].values[:, 1]).all()
    assert (made["likely"].values[:, 1] == -1).all()
    assert not made["suspect"].any()
    assert made["threshold"].values[0] == pytest.approx(0.9)


def test_a_class_that_the_model_does_not_know_is_nobodys_likely_class() -> None:
    told = [[0, 0, 1, 1, 2, 2]] * 2
    p = np.broadcast_to([0.0, 0.0, 0.0], (2, 6, 3)).copy()
    p[..., 0] = [[0.2, 0.2, 0.4, 0.4, 0.1, 0.1]] * 2
    p[..., 1] = 1 - p[..., 0]
    made = label_errors(*maps(told, p), min_pixels=1)
    assert made["confident_joint"].sel(likely_class="rye").sum() == 0
    assert made["threshold"].values[2] == 0


def test_label_errors_refuses() -> None:
    labels, p = maps([[0, 1]], [[[0.5, 0.5, 0], [0.5, 0.5, 0]]])
    for least in (1.0, 1.5):
        with raises_exactly(OptionError, f"least={least} is not below 1; type least=0.6."):
            label_errors(labels, p, least=least)
    with raises_exactly(OptionError, "min_pixels=0 is too small; type min_pixels=1 or more."):
        label_errors(labels, p, min_pixels=0)
    with raises_exactly(
        OptionError, "objects='fields' is not known; type 'drawn', None or a map of ids (y, x)."
    ):
        label_errors(labels, p, objects="fields")
    with raises_exactly(
        OptionError,
        "objects has shape (1, 2) and dtype float64, and a map of whole numbers of shape (1, 2) "
        "is needed, 0 for none; type objects='drawn' for connected pixels of one class.",
    ):
        label_errors(labels, p, objects=np.ones((1, 2)))
    with raises_exactly(
        LabelError,
        "The probabilities have dims ('target', 'y', 'x'), and ('class', 'y', 'x') are needed; "
        "type probability=training.cross_predict(cube, labels).",
    ):
        label_errors(labels, p.rename({"class": "target"}))
    with raises_exactly(
        LabelError,
        "The probabilities have no class 'rye', and the labels have 3 classes and the sizes "
        "{'y': 1, 'x': 2}; make both from the same cube and classes.",
    ):
        label_errors(labels, p.isel({"class": slice(2)}))
    with raises_exactly(
        LabelError,
        "The probabilities have the sizes {'class': 3, 'y': 1, 'x': 1}, and the labels have 3 "
        "classes and the sizes {'y': 1, 'x': 2}; make both from the same cube and classes.",
    ):
        label_errors(labels, p.isel(x=slice(1)))
    with raises_exactly(
        LabelError,
        "No pixel has both a label and probabilities; check that both lie on the same part of the "
        "cube.",
    ):
        label_errors(labels, p * np.nan)


# --------------------------------------------------------------------------- probabilities


def test_probabilities_are_the_softmax_of_logits() -> None:
    cube, _ = scene()
    cube[:, 0, 0] = np.nan
    p = probabilities(cube, linear(), CLASSES, **QUIET)
    logits = cube.values.astype(np.float64).transpose(1, 2, 0) @ WEIGHTS.T
    want = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(p.transpose("y", "x", "class"), want, atol=1e-6)
    assert p.dims == ("class", "y", "x")
    assert np.isnan(p.values[:, 0, 0]).all()
    turned = linear(WEIGHTS[[2, 0]], ["rye", "soil"])
    two = probabilities(cube, turned, CLASSES, **QUIET)
    assert two["class"].values.tolist() == list(CLASSES.names)
    np.testing.assert_array_equal(two.sel({"class": "wheat"}).values[1], 0)
    other = np.exp(logits[..., 0]) / np.exp(logits[..., [0, 2]]).sum(-1)
    np.testing.assert_allclose(two.sel({"class": "soil"}), other, atol=1e-6)
    sigmoid = probabilities(cube, linear(activation="sigmoid"), CLASSES, **QUIET)
    np.testing.assert_allclose(sigmoid.sum("class").values[1], 1, atol=1e-6)
    lazy = probabilities(cube.chunk(y=6), linear(halo=0), CLASSES, **QUIET)
    np.testing.assert_allclose(lazy.compute(), p, atol=1e-6)


# --------------------------------------------------------------------------- cross_predict


def by_label(cube: xr.DataArray, labels: xr.DataArray) -> xrxai.Model:
    """A model that knows nothing of the cube but which labels it was given."""
    values = labels.transpose("y", "x").values
    seen = np.stack([values == k for k in range(3)])[None].astype(np.float32) * 20

    return xrxai.Model(
        lambda x: x[:, :3] * 0 + x.new_tensor(seen),
        takes="patch",
        gives="map",
        targets=CLASSES.names,
        halo=0,
    )


def fields() -> tuple[xr.DataArray, xr.DataArray]:
    """Twelve fields of three classes, 4 x 4 pixels each."""
    rng = np.random.default_rng(0)
    kinds = np.arange(12).reshape(3, 4) % 3
    told = np.kron(kinds, np.ones((4, 4), int))
    pure = np.eye(3, 4) * 0.4 + 0.2
    values = np.moveaxis(pure[told] + rng.uniform(-0.05, 0.05, (12, 16, 4)), -1, 0)
    cube = xrxai.to_cube(values.astype(np.float32), wavelength=[450.0, 550.0, 650.0, 750.0])
    return cube, training.labels_of(told, cube, CLASSES)


def test_no_model_answers_for_a_label_that_it_has_seen() -> None:
    cube, labels = fields()
    labels[0:2] = -1
    asked: list[xr.DataArray] = []

    def make(cube: xr.DataArray, seen: xr.DataArray) -> xrxai.Model:
        asked.append(seen)
        return by_label(cube, seen)

    p = cross_predict(cube, labels, make, folds=3, **QUIET)
    known = labels.values >= 0
    np.testing.assert_allclose(p.values[:, known], 1 / 3)  # it would be 1 where it had seen one
    assert np.isnan(p.values[:, ~known]).all()
    held = np.stack([(seen.values == -1) & known for seen in asked])
    np.testing.assert_array_equal(held.sum(0), known)  # each once
    for seen in asked:
        assert training.classes_of(seen).names == CLASSES.names
        assert seen.dtype == np.int16
    whole = [len(np.unique(h[i : i + 4, j : j + 4][known[i : i + 4, j : j + 4]])) for h in held
             for i in (0, 4, 8) for j in (0, 4, 8, 12)]  # fmt: skip
    assert set(whole) == {1}  # what was drawn at once stays in one fold
    # Each fold holds out some of each class.
    for h in held:
        assert set(labels.values[h]) == {0, 1, 2}


@pytest.mark.slow
def test_cross_predict_knows_dims_and_objects() -> None:
    cube, labels = fields()
    p = cross_predict(cube, labels, folds=2, max_pixels=100, **QUIET)
    np.testing.assert_allclose(p.sum("class"), 1, atol=1e-5)
    np.testing.assert_array_equal(p.argmax("class"), labels)
    turned = cube.transpose("x", "band", "y").rename(y="lat", x="lon")
    again = cross_predict(
        turned, labels.T.rename(y="lat", x="lon"), folds=2, max_pixels=100, **QUIET
    )
    assert again.dims == ("class", "lat", "lon")
    np.testing.assert_allclose(again, p, atol=1e-6)
    ids = np.kron(np.arange(12).reshape(3, 4), np.ones((4, 4), int))  # 0 = none
    by_id = cross_predict(cube, labels, by_label, folds=2, objects=ids, **QUIET)
    assert np.isnan(by_id.values[:, :4, :4]).all()
    assert np.isfinite(by_id.values[:, 4:]).all()


@pytest.mark.slow
def test_each_option_of_cross_predict() -> None:
    cube, labels = fields()
    p = cross_predict(cube, labels, folds=2, **QUIET)
    lazy = cross_predict(cube.chunk(y=5), labels, folds=2, **QUIET)
    np.testing.assert_allclose(lazy, p, atol=1e-6)
    other = cross_predict(cube, labels, folds=2, seed=1, **QUIET)
    assert not np.allclose(other, p)
    few = cross_predict(cube, labels, folds=2, max_pixels=30, **QUIET)
    assert float(few.max("class").mean()) < float(p.max("class").mean())
    # Alone, a pixel is held out without its neighbours, which give its wrong label away.
    labels[0:4, 0:4] = 1
    lone = cross_predict(cube, labels, folds=2, objects=None, **QUIET)
    drawn = cross_predict(cube, labels, folds=2, **QUIET)
    wrong = lone.values[1, 0:4, 0:4].mean(), drawn.values[1, 0:4, 0:4].mean()
    assert wrong[0] > wrong[1] + 0.1


def test_cross_predict_refuses() -> None:
    cube, labels = fields()
    with raises_exactly(
        LabelError,
        "The labels make 12 objects, too few for folds=13; type folds=12, or objects=None to deal "
        "out pixels.",
    ):
        cross_predict(cube, labels, folds=13, **QUIET)
    one = training.labels_of(np.where(labels.values == 0, 0, -1), cube, CLASSES)
    with raises_exactly(
        LabelError,
        "Without fold 0 the labels have one class, and no model can be made; type fewer folds, or "
        "label more.",
    ):
        cross_predict(cube, one, folds=2, **QUIET)
    for name, least in (("folds", 2), ("max_pixels", 1)):
        with raises_exactly(
            OptionError, f"{name}={least - 1} is too small; type {name}={least} or more."
        ):
            cross_predict(cube, labels, **QUIET, **{name: least - 1})


# ------------------------------------------------------------------------- planted errors


@pytest.mark.slow
def test_planted_label_errors_are_found() -> None:
    found, planted, both = 0, 0, 0
    for seed in range(20, 26):  # not those that the default was chosen by
        made = crops(seed, size=(96, 96), field=8.0, label_errors=0.05)
        labels = training.labels_of(made.given, made.cube, training.Classes(made.truth.targets))
        p = cross_predict(made.cube, labels, objects=made.fields, **QUIET)
        suspect = label_errors(labels, p, objects=made.fields)["suspect"].values
        found += int(suspect.sum())
        planted += int(made.wrong.sum())
        both += int((suspect & made.wrong.values).sum())
    assert both / found >= 0.8
    assert both / planted >= 0.8
