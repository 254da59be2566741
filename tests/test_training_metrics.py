"""Losses and scores: against their formulas, by hand, and against those of other libraries."""

from __future__ import annotations

import math
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests.conftest import Watched, raises_exactly
from xrxai import training
from xrxai.errors import LabelError, ModelError, OptionError, TargetError
from xrxai.training import Classes, evaluate, loss_of
from xrxai.training.scores import confusion_of, scores

CLASSES = Classes(["soil", "wheat", "rye"])


def batch(seed: int = 0, n: int = 2, classes: int = 3, side: int = 5) -> tuple[Any, Any]:
    """Logits and labels in which each class occurs, a quarter of them not labelled."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn((n, classes, side, side), generator=g, dtype=torch.float64) * 3
    label = torch.randint(-1, classes, (n, side, side), generator=g)
    return logits, label


def by_hand(logits: Any, label: Any, gamma: float, alpha: list[float]) -> float:
    """Mean of -α_t (1 - p_t)^γ log p_t, pixel by pixel in float64 (Lin et al. 2017, eq. 5)."""
    total, count = 0.0, 0
    for n, y, x in np.ndindex(*label.shape):
        t = int(label[n, y, x])
        if t < 0:
            continue
        exps = [math.exp(v) for v in logits[n, :, y, x].tolist()]
        p = exps[t] / sum(exps)
        total += -alpha[t] * (1 - p) ** gamma * math.log(p)
        count += 1
    return total / count


# --------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, [0.2, 1.0, 3.0]])
def test_focal_is_its_formula(gamma: float, alpha: Any) -> None:
    logits, label = batch()
    found = loss_of("focal", gamma=gamma, class_weights=alpha)(logits, label)
    assert float(found) == pytest.approx(
        by_hand(logits, label, gamma, alpha or [1.0] * 3), rel=2e-6
    )


def test_focal_by_hand() -> None:
    # p_t = 0.8 and 0.5: 0.2² · -ln 0.8 = 0.0089257, 0.5² · ln 2 = 0.1732868; the third is ignored.
    p = torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.9, 0.1]])
    logits = p.log().T[None, :, None, :]
    label = torch.tensor([[[0, 1, -1]]])
    assert float(loss_of("focal")(logits, label)) == pytest.approx(
        (0.0089257 + 0.1732868) / 2, 1e-5
    )
    weighted = loss_of("focal", class_weights={"b": 4.0}, classes=["a", "b"])(logits, label)
    assert float(weighted) == pytest.approx((0.0089257 + 4 * 0.1732868) / 2, 1e-5)


def test_focal_of_segmentation_models_is_another() -> None:
    from segmentation_models_pytorch.losses import FocalLoss

    logits, label = batch()
    theirs = FocalLoss("multiclass", gamma=2.0, ignore_index=-1)(logits, label)
    assert abs(float(theirs) - by_hand(logits, label, 2.0, [1.0] * 3)) > 0.1


def test_cross_entropy_is_that_of_torch() -> None:
    logits, label = batch()
    theirs = torch.nn.functional.cross_entropy(logits.float(), label, ignore_index=-1)
    assert float(loss_of("cross_entropy")(logits, label)) == pytest.approx(float(theirs), rel=1e-6)


def test_dice_is_that_of_segmentation_models_where_all_classes_are_there() -> None:
    from segmentation_models_pytorch.losses import DiceLoss

    logits, label = batch()
    ours, weights = loss_of("dice"), [1.0, 2.0, 0.5]
    theirs = DiceLoss("multiclass", ignore_index=-1)(logits.float(), label)
    assert float(ours(logits, label)) == pytest.approx(float(theirs), rel=1e-5)
    theirs = DiceLoss("multiclass", ignore_index=-1, class_weights=weights)(logits.float(), label)
    found = loss_of("dice", class_weights=weights)(logits, label)
    assert float(found) == pytest.approx(float(theirs), rel=1e-5)


def test_dice_is_the_mean_over_classes_in_the_batch() -> None:
    logits = torch.tensor([[0.6, 0.7], [0.4, 0.3], [1e-9, 1e-9]]).log()[None, :, None, :]
    label = torch.tensor([[[0, 1]]])
    each = [1 - 2 * 0.6 / (1.3 + 1), 1 - 2 * 0.3 / (0.7 + 1)]
    assert float(loss_of("dice")(logits, label)) == pytest.approx(sum(each) / 2, rel=1e-5)


def test_two_losses_are_their_sum() -> None:
    logits, label = batch()
    parts = [loss_of(name)(logits, label) for name in ("focal", "dice")]  # type: ignore[arg-type]
    assert float(loss_of("focal+dice")(logits, label)) == pytest.approx(float(sum(parts)), rel=1e-6)


@pytest.mark.parametrize("name", ["focal", "dice", "cross_entropy", "focal+dice"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_gradients_are_finite_where_the_net_is_sure_and_zero_where_nobody_looked(
    name: Any, gamma: float
) -> None:
    logits = torch.tensor([[80.0, -80.0, 0.3, 5.0], [-80.0, 80.0, 0.1, 5.0]])[None, :, None]
    logits.requires_grad_(True)
    label = torch.tensor([[[0, 0, 1, -1]]])
    (gradient,) = torch.autograd.grad(loss_of(name, gamma=gamma)(logits, label), logits)
    assert gradient.isfinite().all()
    assert (gradient[..., 3] == 0).all()
    assert gradient[..., 2].abs().sum() > 0


def test_balanced_weights_give_each_class_the_same_say() -> None:
    made = loss_of("focal", class_weights="balanced", counts=[90, 10, 0]).weights
    assert made == pytest.approx((100 / (2 * 90), 100 / (2 * 10), 1.0))
    assert 90 * made[0] == pytest.approx(10 * made[1])  # type: ignore[index]


def test_another_number_can_mean_not_labelled() -> None:
    logits, label = batch()
    other = torch.where(label == -1, 255, label)
    for name in ("focal", "dice"):
        ours = loss_of(name, ignore=255)(logits, other)  # type: ignore[arg-type]
        assert float(ours) == float(loss_of(name)(logits, label))  # type: ignore[arg-type]


WRONG_LOSSES = {
    "unknown": (
        {"name": "lovasz"},
        "loss='lovasz' is not known; choose one of 'focal', 'dice', 'cross_entropy', 'focal+dice'.",
    ),
    "gamma": (
        {"gamma": -1.0},
        "gamma=-1.0 is not a number of 0 or more; type for example gamma=2.",
    ),
    "no counts": (
        {"class_weights": "balanced"},
        "class_weights='balanced' needs to know how many pixels each class has; type "
        "loss_of(..., counts=[...]). fit counts them itself.",
    ),
    "word": (
        {"class_weights": "equal"},
        "class_weights='equal' is not known; choose one of 'balanced'.",
    ),
    "name": (
        {"class_weights": {"oats": 2.0}, "classes": CLASSES},
        "class_weights names 'oats', which is no class; choose out of 'soil', 'wheat', 'rye'.",
    ),
    "no names": (
        {"class_weights": {"rye": 2.0}},
        "class_weights names classes, and which there are is not known; type "
        "loss_of(..., classes=classes).",
    ),
    "too few": (
        {"class_weights": [1.0, 2.0], "classes": CLASSES},
        "class_weights has 2 of them, and there are 3 classes; type one for each, or a mapping of "
        "some.",
    ),
    "all zero": (
        {"class_weights": [0.0, 0.0, 0.0], "classes": CLASSES},
        "class_weights are all 0, so that nothing counts; make one larger.",
    ),
}


@pytest.mark.parametrize("case", WRONG_LOSSES)
def test_losses_that_cannot_be(case: str) -> None:
    options, message = WRONG_LOSSES[case]
    with raises_exactly(OptionError, message):
        loss_of(**options)


def test_probabilities_are_refused() -> None:
    logits, label = batch()
    message = (
        "The net gives probabilities: its answers are not below 0 and sum to 1 over the classes. "
        "The loss takes logits and applies softmax itself, and twice flattens the gradient; remove "
        "the softmax at the end of the net (in segmentation_models_pytorch: activation=None)."
    )
    for name in ("focal", "dice", "cross_entropy"):
        with raises_exactly(ModelError, message):
            loss_of(name)(logits.softmax(1), label)  # type: ignore[arg-type]
        with raises_exactly(ModelError, message):
            loss_of(name)(logits.softmax(1).bfloat16(), label)  # type: ignore[arg-type]
        loss_of(name)(logits.log_softmax(1), label)  # type: ignore[arg-type]  # logits, too


def test_labels_that_do_not_fit_the_answers() -> None:
    logits, label = batch()
    loss = loss_of("focal")
    with raises_exactly(
        LabelError,
        "No pixel of this batch is labelled, so it teaches nothing; leave out tiles without "
        "labels, or make batch_size= larger.",
    ):
        loss(logits, torch.full_like(label, -1))
    with raises_exactly(
        LabelError,
        "The labels hold 3, 7 (2 pixels), and the net tells apart 3 classes with the numbers 0 to "
        "2; type training.labels_of(labels, cube, classes, missing=3) if that means not labelled, "
        "or make the net for more classes.",
    ):
        wrong = label.clone()
        wrong[0, 0, :2] = torch.tensor([7, 3])
        loss(logits, wrong)
    one_hot = torch.nn.functional.one_hot(label.clamp_min(0), 3).movedim(-1, 1)
    with raises_exactly(
        LabelError,
        "The answers have shape (2, 3, 5, 5) and the labels (2, 3, 5, 5); labels are (n, y, x) for "
        "answers (n, class, y, x): one class number per pixel, not one-hot.",
    ):
        loss(logits, one_hot)
    with raises_exactly(
        LabelError,
        "The labels have dtype float32, and class numbers are whole; resample labels by nearest "
        "neighbour, and type label.long().",
    ):
        loss(logits, label.float())


# --------------------------------------------------------------------------------- scores


def test_scores_by_hand() -> None:
    made = scores(np.array([[5, 1, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0], [3, 0, 1, 0]]))
    np.testing.assert_allclose(made["iou"], [5 / 11, 2 / 5, np.nan, 0.0])
    np.testing.assert_allclose(made["f1"], [10 / 16, 4 / 7, np.nan, 0.0])
    np.testing.assert_allclose(made["precision"], [5 / 10, 2 / 3, np.nan, np.nan])
    np.testing.assert_allclose(made["recall"], [5 / 6, 2 / 4, np.nan, 0.0])
    assert made["class_present"].tolist() == [True, True, False, True]
    assert float(made["mean_iou"]) == pytest.approx((5 / 11 + 2 / 5 + 0) / 3)
    assert float(made["accuracy"]) == 7 / 14


def guesses(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Scores, labels of which a fifth is unknown, and guesses of which most are right."""
    truth, found = rng.integers(-1, 4, (30, 40)), rng.integers(0, 4, (30, 40))
    found = np.where(rng.random((30, 40)) < 0.6, truth.clip(0), found)
    made = scores(confusion_of(truth, found, 4))
    return made, torch.from_numpy(truth)[None], torch.from_numpy(found)[None]


def test_scores_are_those_of_segmentation_models(rng: np.random.Generator) -> None:
    import segmentation_models_pytorch as smp

    made, t, f = guesses(rng)
    stats = smp.metrics.get_stats(f, t, mode="multiclass", ignore_index=-1, num_classes=4)
    for name, theirs in (
        ("iou", smp.metrics.iou_score),
        ("f1", smp.metrics.f1_score),
        ("precision", smp.metrics.precision),
        ("recall", smp.metrics.recall),
    ):
        np.testing.assert_allclose(made[name], theirs(*stats).numpy()[0], rtol=1e-6)


@pytest.mark.slow  # to import it takes seconds
def test_scores_are_those_of_torchmetrics(rng: np.random.Generator) -> None:
    from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

    made, t, f = guesses(rng)
    options: Any = {"num_classes": 4, "average": None, "ignore_index": -1}
    jaccard, f1 = MulticlassJaccardIndex(**options)(f, t), MulticlassF1Score(**options)(f, t)
    np.testing.assert_allclose(made["iou"], jaccard.numpy(), rtol=1e-6)
    np.testing.assert_allclose(made["f1"], f1.numpy(), rtol=1e-6)


# ------------------------------------------------------------------------------- evaluate


def world(side: int = 32, wrong: float = 0.2, seed: int = 0) -> tuple[Any, Any, np.ndarray]:
    """A cube whose band is what a model says, labels, and where it is wrong: fields of 4 pixels."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 3, (side // 8, side // 8)), np.ones((8, 8), int))
    off = np.kron(rng.random((side // 4, side // 4)) < wrong, np.ones((4, 4), int))
    found = (truth + off * rng.integers(1, 3, (side, side))) % 3
    coords = {"y": np.arange(side), "x": np.arange(side)}
    cube = xr.DataArray(found[None].astype(np.float32), coords, ("band", "y", "x"))
    return cube, training.labels_of(truth, cube, CLASSES), found


def says(names: Any = CLASSES.names) -> xrxai.Model:
    """A model that gives each pixel to the class whose number the band holds."""
    numbers = torch.tensor([CLASSES.names.index(n) for n in names])[:, None, None]
    return xrxai.Model(lambda x: -((x - numbers) ** 2), takes="patch", gives="map", targets=names)


def test_evaluate_counts_what_is_there() -> None:
    cube, labels, found = world()
    labels[:4] = -1
    cube[:, 30, :5] = np.nan
    where = np.arange(32)[:, None] + np.zeros(32) < 28
    made = evaluate(cube, labels, says(), where=where, n_boot=50)
    expected = np.zeros((3, 3), int)
    for y in range(4, 28):
        for x in range(32):
            expected[int(labels[y, x]), found[y, x]] += 1
    np.testing.assert_array_equal(made.confusion, expected)
    assert made.confusion.dims == ("true", "predicted")
    assert "labelled_without_data" not in made.attrs
    whole = evaluate(cube, labels, says(), n_boot=50)
    assert whole.attrs["labelled_without_data"] == 5
    assert int(whole.confusion.sum()) == 28 * 32 - 5
    for name, array in made.data_vars.items():
        assert array.attrs["units"], name
        assert array.attrs["long_name"], name


def test_targets_may_stand_in_any_order_and_be_numbers(rng: np.random.Generator) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    cube, labels, _ = world()
    straight = evaluate(cube, labels, says(), n_boot=50)
    turned = evaluate(cube, labels, says(("rye", "soil", "wheat")), n_boot=50)
    xr.testing.assert_equal(straight, turned)
    numbers = np.array([[0.0], [1.0], [2.0]])
    estimator = KNeighborsClassifier(1).fit(numbers, [0, 1, 2])
    xr.testing.assert_equal(straight, evaluate(cube, labels, estimator, n_boot=50))
    named = KNeighborsClassifier(1).fit(numbers, ["soil", "wheat", "rye"])
    xr.testing.assert_equal(straight, evaluate(cube, labels, named, n_boot=50))


def test_absent_classes_are_named_and_take_no_part() -> None:
    cube, labels, _ = world()
    labels = labels.where(labels != 2, 0)
    made = evaluate(cube, labels, says(), n_boot=50)
    assert made.class_present.values.tolist() == [True, True, False]
    assert all(np.isnan(made[name][2]) for name in ("iou", "iou_ci_low", "f1", "recall"))
    assert float(made.mean_iou) == pytest.approx(float(made.iou[:2].mean()))
    said = "no labelled pixel, so no score and no part in mean_iou: rye"
    assert made.attrs["absent"] == said


def test_lazy_is_eager_and_tiles_without_labels_are_not_read() -> None:
    cube, labels, _ = world(side=64)
    labels[:, 16:] = -1
    store = Watched(cube.values)
    lazy = cube.copy(data=da.from_array(store, chunks=(1, 16, 16)))
    model = xrxai.Model(says().forward, takes="patch", gives="map", targets=CLASSES.names, halo=0)
    made = evaluate(lazy, labels, model, n_boot=50, progress=False)
    xr.testing.assert_equal(made, evaluate(cube, labels, model, n_boot=50))
    assert 64 * 16 <= store.count() <= 2 * 64 * 16  # values, and what a look at the cube costs


@pytest.mark.slow
def test_intervals_hold_the_score_narrow_with_pixels_and_come_from_the_seed() -> None:
    cube, labels, _ = world(side=64)
    made = evaluate(cube, labels, says(), n_boot=200)
    for name in ("iou", "f1", "mean_iou"):
        assert (made[f"{name}_ci_low"] < made[name]).all()
        assert (made[f"{name}_ci_high"] > made[name]).all()
    xr.testing.assert_identical(made, evaluate(cube, labels, says(), n_boot=200))
    other = evaluate(cube, labels, says(), n_boot=200, seed=1)
    assert float(other.mean_iou_ci_low) != float(made.mean_iou_ci_low)
    wide = evaluate(cube, labels, says(), n_boot=200, level=0.99)
    assert float(wide.mean_iou_ci_low) < float(made.mean_iou_ci_low)
    small = evaluate(cube, labels, says(), where=np.indices((64, 64)).max(0) < 32, n_boot=200)
    assert width(small) > width(made)
    # Errors come in fields of 4 x 4 pixels: taking pixels for samples is too sure.
    assert width(evaluate(cube, labels, says(), block=1, n_boot=200)) < 0.6 * width(made)
    assert set(evaluate(cube, labels, says(), block=8).block_length.values) == {8.0}


def width(made: xr.Dataset) -> float:
    return float(made.mean_iou_ci_high - made.mean_iou_ci_low)


def plain(truth: np.ndarray, found: np.ndarray, block: int, draws: int) -> np.ndarray:
    """Standard deviations of iou (class) and mean_iou: blocks of a grid, drawn and put back."""
    parts = [
        confusion_of(truth[y : y + block, x : x + block], found[y : y + block, x : x + block], 3)
        for y in range(0, len(truth), block)
        for x in range(0, len(truth), block)
    ]
    rng = np.random.default_rng(0)
    made = []
    for _ in range(draws):
        drawn = scores(np.sum([parts[i] for i in rng.integers(0, len(parts), len(parts))], axis=0))
        made.append([*drawn["iou"], float(drawn["mean_iou"])])
    return np.std(made, axis=0)


def test_intervals_are_as_wide_as_those_of_drawn_confusion_counts() -> None:
    cube, labels, found = world(side=96)
    made = evaluate(cube, labels, says(), block=4, n_boot=400)
    ours = [*(made.iou_ci_high - made.iou_ci_low).values, width(made)]
    twin = plain(labels.values.astype(int), found, 4, 400) * 2 * 1.96
    # Beside it, blocks are moved and the width is corrected for what they miss.
    assert (np.array(ours) / twin > 0.8).all()
    assert (np.array(ours) / twin < 1.5).all()


@pytest.mark.slow
def test_intervals_cover() -> None:
    """95 % intervals hold the score of the process in 91 to 99 % of scenes."""
    scenes = 200
    made = [evaluate(*world(64, seed=s)[:2], says(), n_boot=200) for s in range(scenes)]
    many = [
        scores(confusion_of(world(512, seed=s)[1].values, world(512, seed=s)[2], 3))
        for s in range(20)
    ]
    true = {name: np.mean([m[name] for m in many], axis=0) for name in ("iou", "f1", "mean_iou")}
    for name, value in true.items():
        inside = [(m[f"{name}_ci_low"] <= value) & (value <= m[f"{name}_ci_high"]) for m in made]
        share = float(np.mean([i.values.mean() for i in inside]))
        print(name, share)
        assert 0.91 <= share <= 0.99, name


WRONG_CALLS: dict[str, tuple[Any, type[Exception], str]] = {
    "level": (
        lambda c, lab: evaluate(c, lab, says(), level=95),
        OptionError,
        "level=95 is not between 0 and 1; type level=0.95.",
    ),
    "block": (
        lambda c, lab: evaluate(c, lab, says(), block=64),
        OptionError,
        "block=64 pixels, and the scene has 32 rows and 32 columns; type a block of a fifth of its "
        "side or less.",
    ),
    "where": (
        lambda c, lab: evaluate(c, lab, says(), where=np.ones((4, 4), bool)),
        OptionError,
        "where= has shape (4, 4) and dtype bool, and it must be bool with 32 rows and 32 columns; "
        "type a comparison such as where=split == 2.",
    ),
    "nothing": (
        lambda c, lab: evaluate(c, lab.copy(data=np.full((32, 32), -1, np.int16)), says()),
        LabelError,
        "No pixel is labelled, so there is nothing to compare with; pass labels of these pixels.",
    ),
    "no data": (
        lambda c, lab: evaluate(c.where(c.x > 15), lab.where(lab.x < 16, -1), says()),
        LabelError,
        "All 512 labelled pixels have no data in the cube, so there is nothing to compare; pass "
        "labels of pixels that were measured.",
    ),
    "targets": (
        lambda c, lab: evaluate(
            c, lab, xrxai.Model(lambda x: x, takes="patch", gives="map", targets=["soil", "oats"])
        ),
        TargetError,
        "The model has the target 'oats', which is no class of the labels; these are 'soil', "
        "'wheat', 'rye'. Type xrxai.Model(..., targets=classes.names), or make labels with the "
        "classes of the model.",
    ),
    "bare labels": (
        lambda c, lab: evaluate(c, lab.values, says()),
        LabelError,
        "This ndarray does not say what its numbers mean; type labels = training.labels_of("
        "numbers, cube, training.Classes([...])).",
    ),
    "shape": (
        lambda c, lab: evaluate(c, lab[:16], says()),
        LabelError,
        "The labels have shape (16, 32), and the cube has 32 rows and 32 columns; cut or resample "
        "the labels to its grid by nearest neighbour, such as labels.rio.reproject_match(cube).",
    ),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_calls_of_evaluate_that_cannot_be(case: str) -> None:
    call, error, message = WRONG_CALLS[case]
    with raises_exactly(error, message):
        call(*world()[:2])
