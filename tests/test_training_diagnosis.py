"""Why a model errs and where it is blind: on linear models, whose reasons are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests.conftest import no_compute, raises_exactly
from tests.mosaics import BANDS, CLASSES, WEIGHTS, linear, scene, wrong_blocks
from xrxai import training
from xrxai.datasets.synthetic import crops
from xrxai.errors import CubeError, LabelError, ModelError, OptionError, TargetError
from xrxai.training import applicability, diagnose, explain_errors, explanation_shift

QUIET: Any = {"progress": False}
GROUPS: Any = {"bands": BANDS, "progress": False}


def spectra(cube: xr.DataArray) -> np.ndarray:
    """(y, x, band), float64."""
    return cube.transpose("y", "x", "band").values.astype(np.float64)


def half(cube: xr.DataArray) -> xr.DataArray:
    """True on the lower rows, where `scene` has one block of errors less."""
    return xr.DataArray(np.arange(12) >= 6, dims="y").expand_dims(x=18).transpose("y", "x")


# --------------------------------------------------------------------------------- reasons


def shares_by_hand(
    cube: xr.DataArray, told: np.ndarray, baseline: np.ndarray | None = None
) -> np.ndarray:
    """Mean over wrong pixels of sum over the group of (w_rye - w_wheat)(x - mean of right ones)."""
    x = spectra(cube)
    found = (x @ WEIGHTS.T).argmax(-1)
    wrong = (told == 1) & (found == 2)
    start = x[(told == 1) & (found == 1)].mean(0) if baseline is None else baseline
    by_band = ((WEIGHTS[2] - WEIGHTS[1]) * (x[wrong] - start)).mean(0)
    return np.array([by_band[0], by_band[1], by_band[2:].sum()])


def test_shares_of_a_linear_model_are_its_weights_times_the_difference() -> None:
    cube, labels = scene()
    why = explain_errors(cube, labels, linear(), **GROUPS)
    assert why["target"].values.tolist() == ["wheat -> rye"]
    assert why["group"].values.tolist() == ["low", "mid", "high"]
    np.testing.assert_allclose(
        why["attribution"].values[0], shares_by_hand(cube, labels.values), atol=1e-5
    )
    assert why["error_pixels"].values.tolist() == [21]
    assert why["error_objects"].values.tolist() == [2]
    x = spectra(cube)
    margin = x[wrong_blocks()] @ (WEIGHTS[2] - WEIGHTS[1])
    assert float(why["prediction"][0]) == pytest.approx(margin.mean(), abs=1e-5)
    assert why["reason"].values[0].startswith("wheat -> rye: high (")
    assert (why["ci_low"] <= why["attribution"]).all()
    assert (why["ci_high"] > why["ci_low"]).all()
    # The places sum to the same rise; a linear model of pixels looks at no neighbour.
    rise = why["prediction"] - why["baseline_prediction"]
    np.testing.assert_allclose(why["place_attribution"].sum("place"), rise, atol=1e-5)
    np.testing.assert_allclose(why["place_attribution"].values[0, 1:], 0, atol=1e-5)
    np.testing.assert_allclose(why["attribution"].sum("group"), rise, atol=1e-5)


@pytest.mark.slow
def test_a_model_that_looks_beside_is_told_so() -> None:
    cube, labels = scene()
    kernel = torch.ones(1, 1, 1, 5) / 5  # the mean of five columns
    pointwise = linear()

    def blurred(x: torch.Tensor) -> torch.Tensor:
        n, b, h, w = x.shape
        wide = torch.nn.functional.pad(x.reshape(n * b, 1, h, w), (2, 2, 0, 0), mode="replicate")
        seen = torch.nn.functional.conv2d(wide, kernel.to(x.dtype)).reshape(n, b, h, w)
        return pointwise.forward(seen)

    model = xrxai.Model(blurred, takes="patch", gives="map", targets=CLASSES.names)
    ones = explain_errors(cube, labels, model, min_pixels=1, beside=1, **GROUPS)
    shares = ones.sel(target="wheat -> rye")["place_attribution"]
    rise = ones["prediction"] - ones["baseline_prediction"]
    assert float(shares.sel(place="beside")) != 0
    assert float(abs(shares.sel(place="beyond"))) > 1e-4  # two columns away, beside=1
    far = explain_errors(cube, labels, model, min_pixels=1, beside=2, **GROUPS)
    np.testing.assert_allclose(
        far.sel(target="wheat -> rye")["place_attribution"].sel(place="beyond"), 0, atol=1e-6
    )
    np.testing.assert_allclose(ones["place_attribution"].sum("place"), rise, atol=1e-5)


@pytest.mark.slow
def test_each_option_of_explain_errors() -> None:
    cube, labels = scene()
    told = labels.values
    both = explain_errors(cube, labels, linear(), **GROUPS)
    one = explain_errors(cube, labels, linear(), n_objects=1, **GROUPS)
    assert one["error_objects"].values.tolist() == [1]
    only = np.where(wrong_blocks() & (np.arange(12)[:, None] >= 4), -1, told)
    np.testing.assert_allclose(one["attribution"].values[0], shares_by_hand(cube, only), atol=1e-5)
    assert np.isnan(one["ci_low"].values).all()  # one object has no spread
    large = explain_errors(cube, labels, linear(), min_pixels=10, **GROUPS)
    np.testing.assert_allclose(large["attribution"], one["attribution"], atol=1e-7)
    zero = explain_errors(cube, labels, linear(), baseline=0.0, **GROUPS)
    np.testing.assert_allclose(
        zero["attribution"].values[0], shares_by_hand(cube, told, np.zeros(4)), atol=1e-5
    )
    again = explain_errors(
        cube,
        labels,
        linear(),
        predicted=xrxai.predict(cube, linear(), progress=False)["class_map"].transpose("x", "y"),
        batch_size=1,
        **GROUPS,
    )
    np.testing.assert_allclose(again["attribution"], both["attribution"], atol=1e-6)
    pair = [("wheat", "rye"), ("wheat", "rye")]
    named = explain_errors(cube, labels, linear(), confusions=pair, **GROUPS)
    np.testing.assert_allclose(named["attribution"], both["attribution"], atol=1e-7)


@pytest.mark.slow
def test_the_most_frequent_confusions_come_first() -> None:
    cube, labels = scene()
    told = labels.values.copy()
    told[0:3, 0:3] = 2  # soil that somebody called rye: 9 pixels
    other = training.labels_of(told, cube, CLASSES)
    why = explain_errors(cube, other, linear(), **GROUPS)
    assert why["target"].values.tolist() == ["wheat -> rye", "rye -> soil"]
    assert why["error_pixels"].values.tolist() == [21, 9]
    first = explain_errors(cube, other, linear(), n_confusions=1, **GROUPS)
    assert first["target"].values.tolist() == ["wheat -> rye"]
    np.testing.assert_allclose(first["attribution"][0], why["attribution"][0], atol=1e-7)


def test_a_label_that_is_never_right_is_compared_with_all_labels() -> None:
    cube, labels = scene()
    told = np.where(labels.values == 1, np.where(wrong_blocks(), 1, -1), labels.values)
    why = explain_errors(cube, training.labels_of(told, cube, CLASSES), linear(), **GROUPS)
    start = spectra(cube)[told >= 0].mean(0)
    np.testing.assert_allclose(
        why["attribution"].values[0], shares_by_hand(cube, told, start), atol=1e-5
    )
    assert abs(why["attribution"]).max() > 0.5


@pytest.mark.slow
def test_targets_in_another_order_and_of_numbers() -> None:
    cube, labels = scene()
    want = explain_errors(cube, labels, linear(), **GROUPS)
    turned = linear(WEIGHTS[[2, 0, 1]], ["rye", "soil", "wheat"])
    numbered = linear(WEIGHTS[[2, 0, 1]], ["2", "0", "1"])
    for model in (turned, numbered):
        found = explain_errors(cube, labels, model, **GROUPS)
        np.testing.assert_allclose(found["attribution"], want["attribution"], atol=1e-6)
        assert found["target"].values.tolist() == ["wheat -> rye"]


@pytest.mark.slow
def test_errors_of_an_estimator() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    cube, labels = scene()
    right = ~wrong_blocks()
    x, told = spectra(cube), np.array(CLASSES.names)[labels.values]
    fitted = LinearDiscriminantAnalysis().fit(x[right], told[right])
    model = xrxai.Model(fitted, takes="spectrum")
    assert model.targets == ("rye", "soil", "wheat")
    why = explain_errors(cube, labels, model, confusions=[("wheat", "rye")], **GROUPS)
    # Its log-probabilities differ by a linear function, where none is clipped.
    assert why["attribution"].idxmax("group").item() == "high"
    assert "place_attribution" not in why
    rise = why["prediction"] - why["baseline_prediction"]
    np.testing.assert_allclose(why["attribution"].sum("group"), rise, atol=1e-4)


@pytest.mark.slow
def test_pixels_without_data_are_no_errors() -> None:
    cube, labels = scene()
    holed = cube.copy()
    holed[:, 0:3, 7] = np.nan
    told = np.where(np.isnan(holed[0]), -1, labels.values)
    why = explain_errors(holed, labels, linear(), **GROUPS)
    assert why["error_pixels"].values.tolist() == [18]
    x = np.nan_to_num(spectra(holed))
    filled = cube.copy(data=np.moveaxis(x, -1, 0).astype(np.float32))
    np.testing.assert_allclose(
        why["attribution"].values[0], shares_by_hand(filled, told), atol=1e-5
    )


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(lambda a: a.transpose(*reversed(a.dims)), marks=pytest.mark.slow),
        pytest.param(lambda a: a.rename(y="lat", x="lon"), marks=pytest.mark.slow),
        lambda a: a.rename(y="lat", x="lon").transpose("lon", ..., "lat"),
    ],
)
def test_the_order_and_names_of_dims_do_not_matter(
    turn: Callable[[xr.DataArray], xr.DataArray],
) -> None:
    cube, labels = scene()
    mask = half(cube).drop_vars(["y", "x"], errors="ignore")
    want = diagnose(cube, labels, linear(), trained=mask, block=3, **GROUPS)
    got = diagnose(turn(cube), turn(labels), linear(), trained=turn(mask), block=3, **GROUPS)
    assert want.groups == got.groups
    for node in want.groups:
        one, other = want[node].to_dataset(), got[node].to_dataset()
        assert set(one.data_vars) == set(other.data_vars)
        for name, values in one.data_vars.items():
            twin = other[name].rename({d: n for d, n in (("lat", "y"), ("lon", "x"))
                                       if d in other[name].dims})  # fmt: skip
            assert twin.dims == values.dims, name
            if values.dtype.kind in "fiub":
                np.testing.assert_allclose(twin, values, atol=1e-5, err_msg=str(name))
            else:
                assert (twin.values == values.values).all(), name


def test_explain_errors_refuses() -> None:
    cube, labels = scene()
    ask = lambda *a, **o: explain_errors(*a, **GROUPS | o)  # noqa: E731
    right = training.labels_of(np.where(wrong_blocks(), -1, labels.values), cube, CLASSES)
    with raises_exactly(
        LabelError,
        "The model is right wherever there is a label, so there is no error to explain; give "
        "labels that it has not seen.",
    ):
        ask(cube, right, linear())
    with raises_exactly(
        LabelError,
        "No 13 connected pixels are wrong in the same way; type min_pixels=1 to explain single "
        "ones.",
    ):
        ask(cube, labels, linear(), min_pixels=13)
    with raises_exactly(
        LabelError,
        "'soil' is taken for 'rye' in 0 pixels, and no 9 of them are connected; type "
        "min_pixels=1, or leave the pair out.",
    ):
        ask(cube, labels, linear(), confusions=[("soil", "rye")])
    for pair in (("soil", "oats"), ("rye", "rye"), ("rye",), ()):
        with raises_exactly(
            OptionError,
            f"confusions has {pair!r}, and a pair of two classes of the model (label, chosen) is "
            f"needed; choose out of 'soil', 'wheat', 'rye'.",
        ):
            ask(cube, labels, linear(), confusions=[pair] if pair else [])
    with raises_exactly(
        OptionError,
        "The model answers after activation='softmax', where margins saturate; type "
        "activation=None, so that it answers with logits.",
    ):
        ask(cube, labels, linear(activation="softmax"))
    with raises_exactly(
        TargetError,
        "The model has the target 'oats', which is no class of the labels; these are 'soil', "
        "'wheat', 'rye'. Type xrxai.Model(..., targets=classes.names), or make labels with the "
        "classes of the model.",
    ):
        ask(cube, labels, linear(targets=["soil", "wheat", "oats"]))
    with raises_exactly(
        OptionError,
        "The cube is lazy (dask), and explain_errors looks at it many times; type cube.compute(), "
        "or cut out a part: cube.isel(y=slice(0, 1024), x=slice(0, 1024)).",
    ):
        ask(cube.chunk(), labels, linear())
    with raises_exactly(
        CubeError,
        "The cube has the dims ('time', 'band', 'y', 'x'), and labels are of one scene; type "
        "cube.isel(time=0) to take the first.",
    ):
        ask(cube.expand_dims(time=2), labels, linear())
    with raises_exactly(
        CubeError,
        "The cube has the dims ('sample', 'band'), and labels lie on rows and columns; give a "
        "cube (band, y, x).",
    ):
        ask(cube.stack(sample=["y", "x"]).reset_index("sample").T, labels, linear())
    whole = xrxai.Model(
        lambda x: x.mean((2, 3))[:, :3], takes="patch", targets=CLASSES.names, name="Whole"
    )
    for call in (lambda: ask(cube, labels, whole), lambda: diagnose(cube, labels, whole, **QUIET)):
        with raises_exactly(
            ModelError,
            "Whole has one answer for a whole patch, and labels are of pixels; give a model of "
            "spectra, or one with gives='map'.",
        ):
            call()
    for name in ("n_confusions", "n_objects", "min_pixels", "beside"):
        with raises_exactly(OptionError, f"{name}=0 is too small; type {name}=1 or more."):
            ask(cube, labels, linear(), **{name: 0})


def test_a_class_that_the_model_does_not_know_has_no_score_to_compare() -> None:
    cube, labels = scene()
    two = linear(WEIGHTS[:2], ["soil", "wheat"])
    right = np.where(wrong_blocks(), -1, labels.values)
    with raises_exactly(
        LabelError,
        "All errors are in classes that the model does not know, which have no score to compare; "
        "train one that knows them.",
    ):
        explain_errors(cube, training.labels_of(right, cube, CLASSES), two, **GROUPS)
    told = diagnose(cube, labels, two, **GROUPS)
    assert float(told["scores/recall"].sel({"class": "rye"})) == 0
    assert not told["false_positive"].sel({"class": "rye"}).any()


# -------------------------------------------------------------------------------- diagnose


def test_maps_and_scores_of_a_diagnosis() -> None:
    cube, labels = scene()
    told = diagnose(cube, labels, linear(), **GROUPS)
    assert told.groups == ("/", "/scores", "/labels", "/errors")
    logits = spectra(cube) @ WEIGHTS.T
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_array_equal(told["class_map"], p.argmax(-1))
    np.testing.assert_allclose(told["uncertainty"], -(p * np.log(p)).sum(-1) / np.log(3), atol=1e-5)
    for name, kind in (("rye", "false_positive"), ("wheat", "false_negative")):
        marked = told[kind].sel({"class": name}).values
        np.testing.assert_array_equal(marked, wrong_blocks())
        assert told[kind].values.sum() == 21
    matrix = told["scores/confusion"].values
    assert matrix.tolist() == [[72, 0, 0], [0, 51, 21], [0, 0, 72]]
    np.testing.assert_allclose(told["scores/iou"], [1, 51 / 72, 72 / 93])
    assert told["scores/rank"].values.tolist() == [3, 1, 2]
    assert told["labels"].attrs["seen"] == 1
    assert told["errors/target"].values.tolist() == ["wheat -> rye"]


@pytest.mark.slow
def test_a_diagnosis_counts_where_the_model_was_not_trained() -> None:
    cube, labels = scene()
    told = diagnose(cube, labels, linear(), trained=half(cube), block=3, **GROUPS)
    assert told["scores/confusion"].values.tolist() == [[36, 0, 0], [0, 24, 12], [0, 0, 36]]
    np.testing.assert_array_equal(told["trained"], half(cube))
    assert not (told["false_positive"] & told["trained"]).any()
    assert told["errors/error_pixels"].values.tolist() == [12]
    wanted = explanation_shift(cube, linear(), half(cube), **GROUPS)
    np.testing.assert_allclose(told["explanation_shift"], wanted)
    wanted_area = applicability(cube, half(cube), block=3)
    np.testing.assert_allclose(told["dissimilarity"], wanted_area["dissimilarity"])
    assert told["dissimilarity"].attrs["threshold"] > 0


def test_a_diagnosis_without_errors_or_without_reasons() -> None:
    cube, labels = scene()
    right = training.labels_of(np.where(wrong_blocks(), -1, labels.values), cube, CLASSES)
    told = diagnose(cube, right, linear(), **GROUPS)
    assert told.groups == ("/", "/scores", "/labels")
    assert told.attrs["errors"].startswith("The model is right wherever there is a label")
    assert float(told["scores/mean_iou"]) == 1
    quick = diagnose(cube, labels, linear(), trained=half(cube), block=3, explain=False, **QUIET)
    assert quick.groups == ("/", "/scores", "/labels")
    assert "explanation_shift" not in quick
    assert "dissimilarity" in quick
    soft = diagnose(cube, labels, linear(activation="softmax"), explain=False, **QUIET)
    np.testing.assert_allclose(
        soft["uncertainty"], diagnose(cube, labels, linear(), explain=False, **QUIET)["uncertainty"]
    )


@pytest.mark.slow
def test_a_diagnosis_of_an_estimator_and_of_a_map_without_gradient() -> None:
    from sklearn.ensemble import ExtraTreesClassifier

    cube, labels = scene()
    right = ~wrong_blocks()
    x, told = spectra(cube), np.array(CLASSES.names)[labels.values]
    trees = ExtraTreesClassifier(11, random_state=0).fit(x[right], told[right])
    made = diagnose(cube, labels, trees, trained=half(cube), block=3, **GROUPS)
    assert "explanation_shift" not in made
    chosen = np.array(CLASSES.names)[made["class_map"].values]
    np.testing.assert_array_equal(chosen, trees.predict(x.reshape(-1, 4)).reshape(12, 18))
    plain = xrxai.Model(
        lambda x: np.einsum("kb,nbyx->nkyx", WEIGHTS, x),
        takes="patch",
        gives="map",
        targets=CLASSES.names,
        arrays="numpy",
    )
    numpy_map = diagnose(cube, labels, plain, trained=half(cube), block=3, **GROUPS)
    assert "explanation_shift" not in numpy_map
    same = diagnose(cube, labels, linear(), trained=half(cube), block=3, **GROUPS)
    np.testing.assert_allclose(
        numpy_map["errors/attribution"], same["errors/attribution"], atol=1e-5
    )


@pytest.mark.slow
def test_targets_in_another_order_give_the_same_diagnosis() -> None:
    cube, labels = scene()
    turned = linear(WEIGHTS[[2, 0, 1]], ["rye", "soil", "wheat"])
    want, got = (diagnose(cube, labels, m, **GROUPS) for m in (linear(), turned))
    for name in ("class_map", "uncertainty", "false_positive", "scores/iou", "errors/attribution"):
        np.testing.assert_allclose(got[name], want[name], atol=1e-6, err_msg=name)


def test_no_data_and_absent_classes_in_a_diagnosis() -> None:
    cube, labels = scene()
    cube[:, 0:4, 7] = np.nan
    none = training.labels_of(np.where(labels.values == 2, -1, labels.values), cube, CLASSES)
    told = diagnose(cube, none, linear(), trained=half(cube), block=3, **GROUPS)
    gone = np.isnan(cube.values[0])
    assert (told["class_map"].values[gone] == -1).all()
    for name in ("uncertainty", "dissimilarity", "explanation_shift", "labels/label_doubt"):
        assert np.isnan(told[name].values[gone]).all(), name
    assert not told["applicable"].values[gone].any()
    assert not told["false_negative"].values[:, gone].any()
    assert np.isfinite(told["explanation_shift"].values[~gone]).all()
    assert np.isnan(told["scores/iou"].sel({"class": "rye"}))
    assert int(told["scores/rank"].sel({"class": "rye"})) == 3


@pytest.mark.slow
def test_a_diagnosis_keeps_the_model_and_the_grid() -> None:
    cube, labels = scene()
    net = torch.nn.Conv2d(4, 3, 1)
    net.train()
    with torch.no_grad():
        net.weight.copy_(torch.tensor(WEIGHTS, dtype=torch.float32)[:, :, None, None])
        net.bias.zero_()
    model = xrxai.Model(net, takes="patch", gives="map", targets=CLASSES.names)
    told = diagnose(cube, labels, model, trained=half(cube), block=3, **GROUPS)
    assert net.training
    assert net.weight.requires_grad
    assert net.weight.grad is None
    xr.testing.assert_equal(told["y"], cube["y"].reset_coords(drop=True))
    want = diagnose(cube, labels, linear(), trained=half(cube), block=3, **GROUPS)
    np.testing.assert_allclose(
        told["errors/attribution"], want["errors/attribution"], rtol=1e-4, atol=1e-5
    )


def test_labels_that_were_all_trained_on_judge_nothing_but_tiles_can_be_ranked() -> None:
    cube, labels = scene()
    few = labels.copy(data=np.where(np.arange(18) < 9, labels, -1).astype("int16"))
    trained = few >= 0
    made = diagnose(cube, few, linear(), trained=trained, block=4, **QUIET)
    assert "errors" not in made.children
    assert made.attrs["errors"] == "all labels were trained on, so none can judge"
    assert np.isnan(made["scores"].mean_iou)
    assert not made["false_positive"].any()
    plan = training.next_tiles(made, tile=4, budget=2)
    assert set(plan["term"].values) == {"rarity", "uncertainty", "shift", "unlike"}
    assert (plan["column"] + 4 > 9).all()
    figure = training.plot_diagnosis(made, cube)
    assert "mean IoU" not in figure.get_suptitle()


def test_diagnose_refuses() -> None:
    cube, labels = scene()
    with raises_exactly(
        OptionError,
        "The cube is lazy (dask), and a diagnosis looks at it many times; type cube.compute(), or "
        "cut out a part: cube.isel(y=slice(0, 1024), x=slice(0, 1024)).",
    ):
        diagnose(cube.chunk(), labels, linear(), **QUIET)
    nothing = training.labels_of(np.full((12, 18), -1), cube, CLASSES)
    with raises_exactly(
        LabelError,
        "No pixel with a label and data is there to judge the model by; label some that it has "
        "not seen.",
    ):
        diagnose(cube, nothing, linear(), **QUIET)
    everywhere = xr.ones_like(labels, bool)
    with raises_exactly(  # the parts of a split: 0 would mean "not trained"
        OptionError,
        "trained is int8, and a bool map is needed, True where pixels were trained on; type "
        "trained=(split == 0) & (labels >= 0).",
    ):
        diagnose(cube, labels, linear(), trained=everywhere.astype("int8"), **QUIET)
    with raises_exactly(
        OptionError,
        "trained has shape (12, 17), and the cube has 12 rows and 18 columns; give a mask of the "
        "scene that the model was trained on.",
    ):
        diagnose(cube, labels, linear(), trained=everywhere.isel(x=slice(17)), **QUIET)
    with raises_exactly(
        LabelError,
        "The labels have shape (12, 17), and the cube has 12 rows and 18 columns; cut or resample "
        "the labels to its grid by nearest neighbour, such as labels.rio.reproject_match(cube).",
    ):
        diagnose(cube, labels.isel(x=slice(17)), linear(), **QUIET)


# --------------------------------------------------------------------------- applicability


def area_by_hand(
    cube: xr.DataArray, mask: np.ndarray, weights: np.ndarray, block: int, folds: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Meyer & Pebesma 2021, section 2.1, by loops; the folds are drawn as ours are."""
    x = spectra(cube)
    rows = [(i, j) for i in range(12) for j in range(18) if mask[i, j]]
    train = np.array([x[p] for p in rows])
    mean, sd = train.mean(0), train.std(0)
    scaled = (x - mean) / sd * weights
    points = [scaled[p] for p in rows]
    pairs = [np.sqrt(((a - b) ** 2).sum()) for i, a in enumerate(points) for b in points[i + 1 :]]
    unit = float(np.mean(pairs))
    index = np.array([[min(np.sqrt(((p - q) ** 2).sum()) for q in points) for p in line]
                      for line in scaled]) / unit  # fmt: skip
    blocks = [(i // block) * (18 // block + 1) + j // block for i, j in rows]
    names = sorted(set(blocks))
    dealt = np.random.default_rng(0).permutation(len(names)) % min(folds, len(names))
    fold = [dealt[names.index(b)] for b in blocks]
    own = [
        min(np.sqrt(((p - q) ** 2).sum()) for q, g in zip(points, fold, strict=True) if g != f)
        / unit
        for p, f in zip(points, fold, strict=True)
    ]
    low, high = np.quantile(own, [0.25, 0.75])
    whisker = max(v for v in own if v <= high + 1.5 * (high - low))
    return index, index <= whisker, whisker


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 3.0, 0.0]])
def test_area_of_applicability_is_that_of_the_paper(weights: Any) -> None:
    cube, _ = scene()
    mask = half(cube)
    made = applicability(cube, mask, weights=weights, block=3, folds=4)
    w = np.ones(4) if weights is None else np.array(weights)
    index, inside, threshold = area_by_hand(cube, mask.values, w, 3, 4)
    np.testing.assert_allclose(made["dissimilarity"], index, atol=1e-5)
    assert made["dissimilarity"].attrs["threshold"] == pytest.approx(threshold)
    off = abs(index - threshold) > 1e-5
    np.testing.assert_array_equal(made["applicable"].values[off], inside[off])
    assert (made["dissimilarity"].values[mask.values] < 1e-6).all()
    assert 0 < inside.mean() < 1


def test_each_option_of_applicability() -> None:
    cube, _ = scene()
    mask = half(cube)
    base = applicability(cube, mask, block=3)
    bright = applicability(cube, mask, block=3, weights=[0.0, 0.0, 1.0, 0.0])
    blind = applicability(cube, mask, block=3, weights=[1.0, 1.0, 0.0, 1.0])
    strange = wrong_blocks() & ~mask.values  # what is new there is the third band
    usual = ~wrong_blocks() & ~mask.values
    contrast = [
        float(a["dissimilarity"].values[strange].mean() / a["dissimilarity"].values[usual].mean())
        for a in (blind, base, bright)
    ]
    assert contrast[0] < contrast[1] < contrast[2]
    wide = applicability(cube, mask, block=6)["dissimilarity"].attrs["threshold"]
    assert wide > base["dissimilarity"].attrs["threshold"]
    few = applicability(cube, mask, block=3, max_pixels=20)
    assert (few["dissimilarity"] >= 0).all()
    assert float(few["dissimilarity"].mean()) > float(base["dissimilarity"].mean())
    xr.testing.assert_identical(few, applicability(cube, mask, block=3, max_pixels=20))
    other = applicability(cube, mask, block=3, max_pixels=20, seed=1)
    assert not other["dissimilarity"].equals(few["dissimilarity"])
    two = applicability(cube, mask, block=3, folds=2)["dissimilarity"].attrs["threshold"]
    assert two != base["dissimilarity"].attrs["threshold"]


def test_applicability_to_another_scene() -> None:
    cube, _ = scene()
    same, far = scene(seed=1)[0], scene(seed=1)[0] + 0.5
    far = cube.copy(data=far.values)
    mask = half(cube).values  # a plain array will do
    near = applicability(same, mask, training_cube=cube, block=3)
    away = applicability(far, mask, training_cube=cube, block=3)
    assert not away["applicable"].any()
    assert near["applicable"].values[~wrong_blocks()].mean() > 0.7


def test_applicability_is_lazy_where_the_cube_is() -> None:
    cube, _ = scene()
    cube[0, 3, 3] = np.nan
    want = applicability(cube, half(cube), block=3)
    assert np.isnan(want["dissimilarity"].values[3, 3])
    assert not want["applicable"].values[3, 3]
    lazy = cube.chunk(band=2, y=5, x=7)
    made = applicability(lazy, half(cube), block=3, training_cube=cube)
    with no_compute():
        made = applicability(lazy, half(cube), block=3, training_cube=cube)
    assert made["dissimilarity"].chunks is not None
    xr.testing.assert_identical(made.compute(), want)
    xr.testing.assert_identical(applicability(lazy, half(cube), block=3).compute(), want)


def test_bad_and_constant_bands_do_not_count() -> None:
    cube, _ = scene()
    want = applicability(cube, half(cube), block=3, weights=[1.0, 1.0, 1.0, 0.0])
    flat = cube.copy()
    flat[3, 6:] = 0.1
    flat[3, :6] = 5.0
    marked = cube.copy()
    marked[3] = np.nan
    marked = marked.assign_coords(good_band=("band", [True, True, True, False]))
    for changed in (flat, marked):
        found = applicability(changed, half(cube), block=3)
        np.testing.assert_allclose(found["dissimilarity"], want["dissimilarity"], atol=1e-5)


def test_applicability_refuses() -> None:
    cube, _ = scene()
    mask = half(cube)
    with raises_exactly(
        CubeError,
        "The cube has 4 bands and the training cube 3; give both the bands that the model sees.",
    ):
        applicability(cube, mask, training_cube=cube.isel(band=slice(3)))
    with raises_exactly(
        CubeError,
        "Band 2 lies at 650 nm in the cube and at 660 nm in the training cube; give both the "
        "bands that the model sees, in the same order.",
    ):
        moved = cube.assign_coords(wavelength=("band", [450.0, 550.0, 660.0, 750.0]))
        applicability(cube, mask, training_cube=moved)
    for weights in ([1.0, 1.0], [1.0, 1.0, 1.0, -1.0], [0.0] * 4, [np.nan, 1.0, 1.0, 1.0]):
        with raises_exactly(
            OptionError,
            f"weights has shape ({len(weights)},), and 4 finite numbers from 0, one per band, are "
            f"needed; type weights=abs(why.attribution).mean(('target', 'y', 'x')).",
        ):
            applicability(cube, mask, weights=np.array(weights))
    with raises_exactly(
        OptionError,
        "trained holds 3 valid pixels, too few to tell what is usual; check that it is True where "
        "pixels were trained on.",
    ):
        applicability(cube, np.arange(216).reshape(12, 18) < 3)
    with raises_exactly(
        OptionError,
        "All training pixels lie in one block, so none can be held out; type a smaller block.",
    ):
        applicability(cube, mask, block=32)
    with raises_exactly(
        OptionError,
        "All training pixels have the same spectrum, so nothing can be said about others; check "
        "trained= and weights=.",
    ):
        applicability(xr.full_like(cube, 0.1), mask, block=3)
    for name, least in (("block", 1), ("folds", 2), ("max_pixels", 10)):
        with raises_exactly(
            OptionError, f"{name}={least - 1} is too small; type {name}={least} or more."
        ):
            applicability(cube, mask, **{name: least - 1})


# ----------------------------------------------------------------------- explanation shift


def test_shift_of_a_linear_model_is_the_distance_of_its_shares() -> None:
    from sklearn.covariance import LedoitWolf

    cube, _ = scene(rows=24, columns=36)  # enough pixels of each class
    two = np.stack([WEIGHTS[0], (WEIGHTS[1] + WEIGHTS[2]) / 2])  # no tie, no third
    mask = xr.DataArray(np.arange(24) >= 12, dims="y").expand_dims(x=36).transpose("y", "x")
    made = explanation_shift(
        cube, linear(two, ["soil", "crop"]), mask, bands=BANDS, n_steps=256, **QUIET
    )
    x = spectra(cube)
    start = x[mask.values].mean(0)
    chosen = (x @ two.T).argmax(-1)
    # The winner minus the mean of two scores is half of |difference|: the gradient along the way
    # is that of the side of the border on which the way is.
    d = (two[1] - two[0]) / 2
    at, to = start @ d, x @ d
    crossed = np.sign(at) != np.sign(to)
    share = np.where(crossed, -at / np.where(to == at, 1, to - at), 0.0)  # before the border
    factor = np.where(crossed, np.sign(at) * share + np.sign(to) * (1 - share), np.sign(to))
    by_band = (x - start) * d * factor[..., None]
    shares = np.stack([by_band[..., 0], by_band[..., 1], by_band[..., 2:].sum(-1)], -1)
    want = np.zeros(chosen.shape)
    for k in (0, 1):
        fit = LedoitWolf().fit(shares[mask.values & (chosen == k)])
        want[chosen == k] = np.sqrt(fit.mahalanobis(shares[chosen == k]) / 3)
    np.testing.assert_allclose(made, want, rtol=0.05, atol=0.02)
    assert 0.7 < float(made.values[mask.values].mean()) < 1.1


@pytest.mark.slow
def test_each_option_of_explanation_shift() -> None:
    cube, _ = scene()
    mask = half(cube)
    base = explanation_shift(cube, linear(), mask, **GROUPS)
    strange = wrong_blocks() & ~mask.values
    usual = ~wrong_blocks() & ~mask.values
    trained_right = mask & ~wrong_blocks()
    clean = explanation_shift(cube, linear(), trained_right, **GROUPS)
    assert clean.values[strange].min() > 2 * np.median(clean.values[usual])
    one = explanation_shift(cube, linear(), mask, bands=BANDS, batch_size=1, **QUIET)
    np.testing.assert_allclose(one, base, rtol=1e-4)
    lazy = explanation_shift(cube.chunk(y=6), linear(halo=0), mask, **GROUPS)
    np.testing.assert_allclose(lazy, base, rtol=1e-4)
    shifted = explanation_shift(cube, linear(), mask, bands=BANDS, n_steps=2, **QUIET)
    assert not np.allclose(shifted, base)
    grouped = explanation_shift(cube, linear(), mask, bands={"all": (400.0, 800.0)}, **QUIET)
    assert not np.allclose(grouped, base)
    few = explanation_shift(cube, linear(), mask, bands=BANDS, max_pixels=12, **QUIET)
    again = explanation_shift(cube, linear(), mask, bands=BANDS, max_pixels=12, **QUIET)
    other = explanation_shift(cube, linear(), mask, bands=BANDS, max_pixels=12, seed=1, **QUIET)
    np.testing.assert_array_equal(few, again)
    assert not np.allclose(few, other)


def test_explanation_shift_refuses() -> None:
    cube, _ = scene()
    spectral = xrxai.Model(lambda x: x[:, :3], takes="spectrum", targets=CLASSES.names, name="S")
    with raises_exactly(
        ModelError,
        "Shares of the winning score need gradients of a map, and S gives none; leave "
        "explanation_shift out for it.",
    ):
        explanation_shift(cube, spectral, half(cube), **QUIET)
    with raises_exactly(
        OptionError,
        "trained holds 0 pixels with data, too few to tell what is usual; check that it is True "
        "where pixels were trained on.",
    ):
        explanation_shift(cube, linear(), np.zeros((12, 18), bool), **GROUPS)
    for name, least in (("n_steps", 1), ("max_pixels", 10)):
        with raises_exactly(
            OptionError, f"{name}={least - 1} is too small; type {name}={least} or more."
        ):
            explanation_shift(cube, linear(), half(cube), **QUIET, **{name: least - 1})


# ----------------------------------------------------------------------- planted confusion


PLANTED = ("SWIR 1", "red edge", "NIR", "green", "SWIR 2", "red", "blue")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_planted_confusion_is_named(seed: int) -> None:
    # Stressed wheat, which the model has not seen, is like rye in one group of bands.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    group = PLANTED[seed % len(PLANTED)]
    options: Any = {"size": (96, 96), "field": 8.0, "confused_by": group}
    seen, met = crops(seed, **options), crops(seed + 100, stressed=0.5, **options)
    table = seen.cube.transpose("y", "x", "band").values.reshape(-1, 12)
    fitted = LinearDiscriminantAnalysis().fit(table, seen.truth.labels.values.ravel())
    labels = training.labels_of(met.truth.labels, met.cube, training.Classes(met.truth.targets))
    why = explain_errors(
        met.cube,
        labels,
        xrxai.Model(fitted, takes="spectrum"),
        confusions=[("Wheat", "Rye")],
        bands=met.truth.groups,
        progress=False,
    )
    assert why["attribution"].idxmax("group").item() == group
    assert why["reason"].item().startswith(f"Wheat -> Rye: {group} (")
