"""Tree SHAP: against all subsets of bands, against Kernel SHAP; what it refuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor

import xrxai
from tests import oracles_coalitions as oracles
from tests import worlds
from tests.conftest import no_compute, raises_exactly, skip_or_fail
from xrxai.errors import BandError, BaselineError, ModelError, OptionError

N = 6
RNG = np.random.default_rng(5)
SPECTRA = RNG.uniform(0.1, 0.9, (200, N))
VALUE = np.sin(6 * SPECTRA[:, 0]) * SPECTRA[:, 1] + SPECTRA[:, 2] ** 2 + 2.0
CLASS = np.digitize(VALUE, np.quantile(VALUE, [0.3, 0.7]))
BACKGROUND = RNG.uniform(0.1, 0.9, (5, N))
TWO = np.minimum(CLASS, 1)
NAMES = ["sand", "silt", "clay"]


@pytest.fixture(autouse=True, scope="module")
def shap():
    from xrxai.attribution import trees

    try:
        return trees._shap()
    except OptionError as error:
        skip_or_fail(str(error))


def small(**options):
    return worlds.cube(bands=N, y=2, x=2, invalid=False, seed=2, **options)


def regressor(kind, **options):
    options = {"random_state": 0, **options}
    return xrxai.Model(kind(**options).fit(SPECTRA, VALUE), targets=["K"])


def classifier(kind, classes=CLASS, **options):
    return kind(random_state=0, **options).fit(SPECTRA, np.array(NAMES)[classes])


def log_odds(made):
    targets = list(made.classes_) if len(made.classes_) == 3 else [made.classes_[1]]
    return xrxai.Model(made.decision_function, arrays="numpy", takes="spectrum", targets=targets)


MODELS = {
    "tree": lambda: regressor(DecisionTreeRegressor),
    "random tree": lambda: regressor(ExtraTreeRegressor),
    "forest": lambda: regressor(RandomForestRegressor, n_estimators=8),
    "extra trees": lambda: regressor(ExtraTreesRegressor, n_estimators=8),
    "boosting": lambda: regressor(GradientBoostingRegressor, n_estimators=20),
    "median": lambda: regressor(GradientBoostingRegressor, n_estimators=20, loss="quantile"),
    "histogram": lambda: regressor(HistGradientBoostingRegressor, max_iter=20),
    "two targets": lambda: xrxai.Model(
        RandomForestRegressor(5, random_state=0).fit(SPECTRA, np.c_[VALUE, SPECTRA[:, 4]]),
        targets=["K", "pH"],
    ),
    "tree classes": lambda: xrxai.Model(classifier(DecisionTreeClassifier)),
    "forest classes": lambda: xrxai.Model(classifier(RandomForestClassifier, n_estimators=8)),
    "extra classes": lambda: xrxai.Model(classifier(ExtraTreesClassifier, n_estimators=8)),
    "boosting odds": lambda: log_odds(classifier(GradientBoostingClassifier, TWO, n_estimators=20)),
    "histogram odds": lambda: log_odds(classifier(HistGradientBoostingClassifier, max_iter=8)),
    "histogram odds of two": lambda: log_odds(
        classifier(HistGradientBoostingClassifier, TWO, max_iter=8)
    ),
}


def answers(model):
    call = model.forward
    if hasattr(call, "predict"):
        call = getattr(call, "predict_proba", call.predict)
    return lambda rows: np.asarray(call(rows)).reshape(len(rows), -1)


def interventional(model, spectrum, background, scale=1.0):
    """By all subsets: absent bands come from a row of the background, mean over the rows."""
    f = answers(model)

    def value(players):
        rows = background.copy()
        rows[:, list(players)] = spectrum[list(players)]
        return f(rows * scale).mean(0)

    return oracles.shapley_by_subsets(value, len(spectrum))


@pytest.mark.parametrize("name", MODELS)
def test_interventional_values_are_those_of_all_subsets(name):
    model, cube = MODELS[name](), small()
    found = cube.xai.tree_shap_spectral(model, background=BACKGROUND)
    assert found.attribution.dims == ("target", "band", "y", "x")
    slow = interventional(model, cube.values[:, 1, 0], BACKGROUND)
    size = abs(found.prediction).max().item()
    np.testing.assert_allclose(found.attribution[:, :, 1, 0], slow, atol=1e-6 * size)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=2e-7 * size)
    spectra = cube.values.reshape(N, -1).T
    f = answers(model)
    predicted = found.prediction.stack(row=("y", "x")).transpose("row", "target")
    np.testing.assert_allclose(predicted, f(spectra), rtol=1e-12)
    mean = f(BACKGROUND).mean(0)
    np.testing.assert_allclose(found.baseline_prediction[:, 0, 0], mean, rtol=1e-9, atol=1e-12)
    assert (found.model_evaluations == 1).all()


@pytest.mark.parametrize("name", MODELS)
def test_path_dependent_values_are_complete(name):
    model = MODELS[name]()
    found = small().xai.tree_shap_spectral(model)
    size = abs(found.prediction).max().item()
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-9 * size)
    total = found.attribution.sum("band") + found.baseline_prediction
    np.testing.assert_allclose(total, found.prediction, atol=1e-9 * size)
    assert abs(found.attribution).max() > 1e-3
    assert "path-dependent" in found.attrs["options"]


def _conditional(tree, spectrum, known, node=0):
    """Mean over both sides of splits of absent bands, as often as training went there."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left < 0:
        return tree.value[node].ravel()
    if tree.feature[node] in known:
        low = np.float32(spectrum[tree.feature[node]]) <= tree.threshold[node]
        return _conditional(tree, spectrum, known, left if low else right)
    n = tree.weighted_n_node_samples
    both = [n[child] * _conditional(tree, spectrum, known, child) for child in (left, right)]
    return sum(both) / n[node]


@pytest.mark.parametrize("name", ["tree", "forest", "two targets", "forest classes"])
def test_path_dependent_values_are_those_of_all_subsets(name):
    model, cube = MODELS[name](), small()
    found = cube.xai.tree_shap_spectral(model)
    trees = [each.tree_ for each in getattr(model.forward, "estimators_", [model.forward])]
    spectrum = cube.values[:, 0, 1]

    def value(players):
        return np.mean([_conditional(t, spectrum, set(players)) for t in trees], axis=0)

    slow = oracles.shapley_by_subsets(value, N)
    np.testing.assert_allclose(found.attribution[:, :, 0, 1], slow, atol=1e-12)


@pytest.mark.parametrize("name", ["forest", "histogram", "forest classes", "histogram odds"])
def test_one_row_is_the_baseline_of_kernel_shap(name):
    model, cube = MODELS[name](), small()
    row = xr.DataArray(BACKGROUND[0], dims="band")
    found = cube.xai.tree_shap_spectral(model, background=row.expand_dims("row"))
    single = list(cube.wavelength.values)
    asked = cube.xai.kernel_shap_spectral(model, bands=single, baseline=row)
    assert asked.model_evaluations.max() == 2**N
    np.testing.assert_allclose(
        found.attribution.values,
        asked.attribution.transpose("target", "group", "y", "x"),
        atol=1e-6,
    )
    np.testing.assert_allclose(found.baseline_prediction, asked.baseline_prediction)


def test_classes_share_one_probability():
    found = small().xai.tree_shap_spectral(MODELS["forest classes"](), background=BACKGROUND)
    assert list(found.target.values) == sorted(NAMES)
    np.testing.assert_allclose(found.prediction.sum("target"), 1)
    np.testing.assert_allclose(found.attribution.sum("target"), 0, atol=1e-7)


def test_every_row_of_a_large_background_counts():
    """shap keeps 100 of them when it is given an array."""
    model, cube = MODELS["forest"](), small().isel(y=[0], x=[0])
    rows = np.random.default_rng(0).uniform(0.1, 0.9, (130, N))
    found = cube.xai.tree_shap_spectral(model, background=rows)
    slow = interventional(model, cube.values[:, 0, 0], rows)
    np.testing.assert_allclose(found.attribution[:, :, 0, 0], slow, atol=2e-6)
    np.testing.assert_allclose(found.baseline_prediction.item(), answers(model)(rows).mean())


@pytest.mark.parametrize("background", [None, BACKGROUND])
def test_scale_is_the_models_own(background):
    plain = MODELS["forest"]()
    scaled = xrxai.Model(plain.forward, targets=["K"], scale=1e-4)
    cube = small()
    one = cube.xai.tree_shap_spectral(plain, background=background)
    rows = None if background is None else background * 1e4
    two = (cube * 1e4).xai.tree_shap_spectral(scaled, background=rows)
    np.testing.assert_allclose(two.attribution, one.attribution, atol=1e-12)
    np.testing.assert_allclose(two.prediction, one.prediction)
    assert two.attribution.attrs["units"] == "1"


@pytest.mark.parametrize("rows", ["cube", "background"])
@pytest.mark.parametrize("name", ["forest", "histogram"])
def test_a_value_on_a_threshold_goes_where_the_trees_send_it(name, rows):
    """Forests round to float32 and others do not; cube and background alike."""
    x = np.repeat(np.linspace(0.1, 0.9, 20)[:, None], 2, axis=1)
    y = x[:, 0] > 0.5
    kinds = {"forest": DecisionTreeRegressor, "histogram": HistGradientBoostingRegressor}
    options = {} if name == "forest" else {"min_samples_leaf": 1, "max_iter": 1}
    made = kinds[name](random_state=0, **options).fit(x, y.astype(float))
    nodes = made.tree_ if name == "forest" else made._predictors[0][0].nodes
    threshold = nodes.threshold[0] if name == "forest" else nodes["num_threshold"][0]
    near = threshold + np.array([-1e-9, -1e-16, 0, 1e-16, 1e-9, 1e-6])
    near = np.c_[near, near]
    cube = xr.DataArray(near, dims=("y", "band")).expand_dims("x")
    model = xrxai.Model(made, targets=["K"])
    if rows == "cube":
        found = cube.xai.tree_shap_spectral(model, background=np.full((1, 2), 0.2))
        np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-7)
    else:
        found = cube.xai.tree_shap_spectral(model, background=near)
        mean = made.predict(near).mean()
        np.testing.assert_allclose(found.baseline_prediction, mean)
        np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-7)


@pytest.mark.parametrize("background", [None, BACKGROUND])
def test_lazy_is_eager_and_batches_do_not_matter(background):
    cube = worlds.cube(bands=N, lead={"time": 2})
    model = MODELS["two targets"]()
    eager = cube.xai.tree_shap_spectral(model, background=background)
    assert eager.attribution.dims == ("target", "time", "band", "y", "x")
    with no_compute():
        lazy = cube.chunk(time=1, y=3, x=4, band=2).xai.tree_shap_spectral(
            model, background=background
        )
    done = lazy.compute(scheduler="threads")
    small_steps = cube.xai.tree_shap_spectral(model, background=background, batch_size=5)
    for key in eager.data_vars:
        if key != "spectrum":  # summed in another order
            np.testing.assert_allclose(done[key], eager[key], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(small_steps[key], eager[key], rtol=1e-12, atol=1e-14)
    gone = ~eager.valid
    assert gone.any()
    assert eager.attribution.isnull().where(gone, True).all()
    assert (eager.model_evaluations == eager.valid).all()
    one = cube.xai.tree_shap_spectral(model, background=background, target="pH")
    xr.testing.assert_allclose(one.attribution, eager.attribution.sel(target=["pH"]))


def test_bad_bands_are_the_same_in_cube_and_background():
    cube = small().assign_coords(good_band=("band", np.arange(N) != 1))
    model = MODELS["forest"]()
    found = cube.xai.tree_shap_spectral(model, background=BACKGROUND)
    assert found.attribution.isel(band=1).isnull().all()
    rows = BACKGROUND.copy()
    rows[:, 1] = 0.0
    spectrum = np.where(cube.good_band, cube.values[:, 0, 0], 0.0)
    slow = interventional(model, spectrum, rows)
    good = cube.good_band.values
    np.testing.assert_allclose(found.attribution[:, good, 0, 0], slow[:, good], atol=2e-6)
    total = found.attribution.sum("band") + found.baseline_prediction
    np.testing.assert_allclose(total, found.prediction, atol=2e-6)
    with raises_exactly(
        BandError,
        "The trees split on 1 bad band of the cube (the first at position 1), whose share would "
        "be lost; type background= to have these the same in cube and background, or train "
        "without them.",
    ):
        cube.xai.tree_shap_spectral(model)
    unseen = SPECTRA.copy()
    unseen[:, 1] = 0.0
    trained = DecisionTreeRegressor(random_state=0).fit(unseen, VALUE)
    found = cube.xai.tree_shap_spectral(xrxai.Model(trained, targets=["K"]))
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-12)


ANY = "use kernel_shap_spectral, which takes any model."
READS = (
    "The method tree_shap_spectral reads the trees of scikit-learn's DecisionTree, RandomForest, "
    "ExtraTrees, GradientBoosting and HistGradientBoosting, and the model {} is none of these; "
    "give it such an estimator, or " + ANY
)


def boosted(kind=HistGradientBoostingClassifier, classes=CLASS):
    return classifier(kind, classes, **({} if "Hist" in kind.__name__ else {"n_estimators": 2}))


def other(**options):
    return xrxai.Model(MODELS["tree"]().forward, targets=["K"], **options)


REFUSED = {
    "network": (lambda: worlds.model("spectrum", N), READS.format("SpectrumNet")),
    "callable": (
        lambda: xrxai.Model(lambda x: x[:, :1], takes="spectrum", targets=["K"]),
        READS.format("<lambda>"),
    ),
    "pipeline": (
        lambda: xrxai.Model(
            make_pipeline(StandardScaler(), DecisionTreeRegressor()).fit(SPECTRA, VALUE),
            targets=["K"],
        ),
        READS.format("Pipeline"),
    ),
    "neighbours": (
        lambda: xrxai.Model(KNeighborsClassifier().fit(SPECTRA, CLASS)),
        READS.format("KNeighborsClassifier"),
    ),
    "logarithms": (
        lambda: xrxai.Model(
            classifier(DecisionTreeClassifier).predict_log_proba,
            arrays="numpy",
            takes="spectrum",
            targets=NAMES,
        ),
        READS.format("predict_log_proba"),
    ),
    "labels": (
        lambda: xrxai.Model(
            classifier(DecisionTreeClassifier).predict,
            arrays="numpy",
            takes="spectrum",
            targets=["K"],
        ),
        "DecisionTreeClassifier.predict answers labels, which cannot be explained; type "
        "Model(classifier) for its probabilities.",
    ),
    "prepare": (
        lambda: other(prepare=lambda x: x.log()),
        "prepare= comes between the bands of the cube and the trees, which split on what it "
        "makes of them; do the same to cube and background and drop it, or " + ANY,
    ),
    "activation": (
        lambda: other(activation="sigmoid"),
        "activation='sigmoid' makes another score of what the trees add up to; drop it, or " + ANY,
    ),
    "histogram probabilities": (
        lambda: xrxai.Model(boosted()),
        "The trees of HistGradientBoostingClassifier add up to log-odds, not to probabilities; "
        "type Model(classifier.decision_function, arrays='numpy', takes='spectrum', "
        "targets=[...]) to explain these, or " + ANY,
    ),
    "probabilities": (
        lambda: xrxai.Model(boosted(GradientBoostingClassifier, TWO)),
        "The trees of GradientBoostingClassifier add up to log-odds, not to probabilities; "
        "type Model(classifier.decision_function, arrays='numpy', takes='spectrum', "
        "targets=[...]) to explain these, or " + ANY,
    ),
    "boosting of three": (
        lambda: log_odds(boosted(GradientBoostingClassifier)),
        "shap cannot read this GradientBoostingClassifier: GradientBoostingClassifier is only "
        "supported for binary classification right now!; " + ANY,
    ),
    "logarithm": (
        lambda: regressor(HistGradientBoostingRegressor, loss="poisson", max_iter=2),
        "The trees of HistGradientBoostingRegressor(loss='poisson') add up to the logarithm of "
        "what it predicts; " + ANY,
    ),
    "categories": (
        lambda: xrxai.Model(
            HistGradientBoostingRegressor(categorical_features=[0]).fit(
                np.round(10 * SPECTRA), VALUE
            ),
            targets=["K"],
        ),
        "This HistGradientBoostingRegressor has categorical features, whose splits shap cannot "
        "read; train it without, or " + ANY,
    ),
    "bands of a method": (
        lambda: xrxai.Model(
            DecisionTreeRegressor().fit(SPECTRA[:, :4], VALUE).predict,
            arrays="numpy",
            takes="spectrum",
            targets=["K"],
        ),
        "The model expects 4 bands, the cube has 6 along 'band'; select the bands the model was "
        "trained on.",
    ),
}


@pytest.mark.parametrize("background", [None, BACKGROUND])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, background):
    make, message = REFUSED[name]
    model = make()
    with raises_exactly(ModelError, message):
        small().xai.tree_shap_spectral(model, background=background)


def test_a_model_that_starts_from_another_is_refused():
    made = GradientBoostingRegressor(n_estimators=2, init=DecisionTreeRegressor(max_depth=2))
    model = xrxai.Model(made.fit(SPECTRA, VALUE), targets=["K"])
    with pytest.raises(ModelError, match="shap cannot read this GradientBoostingRegressor: Unsup"):
        small().xai.tree_shap_spectral(model)


def test_what_shap_misreads_is_told():
    class Doubled(DecisionTreeRegressor):
        def predict(self, X):
            return 2 * super().predict(X)

    exponential = classifier(GradientBoostingClassifier, TWO, loss="exponential", n_estimators=4)
    for model in (regressor(Doubled), log_odds(exponential)):
        with pytest.raises(ModelError, match=r"is not what it answers .*takes any model"):
            small().xai.tree_shap_spectral(model)


def test_a_background_that_does_not_fit():
    with pytest.raises(BaselineError, match="give rows of spectra"):
        small().xai.tree_shap_spectral(MODELS["tree"](), background=BACKGROUND[:, :4])


def test_without_shap(monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with raises_exactly(
        OptionError,
        "tree_shap_spectral needs shap, which cannot be imported (import of shap halted; None in "
        'sys.modules); type pip install "xrxai[trees]", or ' + ANY,
    ):
        small().xai.tree_shap_spectral(MODELS["tree"]())


def test_the_model_is_given_back_as_found():
    model = MODELS["forest"]()
    before = model.weights_hash()
    small().xai.tree_shap_spectral(model, background=BACKGROUND)
    assert model.weights_hash() == before


@pytest.mark.slow
def test_a_user_with_warnings_as_errors_can_call_it():
    code = (
        "import numpy as np, xarray as xr, xrxai\n"
        "from sklearn.tree import DecisionTreeRegressor\n"
        "tree = DecisionTreeRegressor().fit(np.eye(3), [1., 2., 3.])\n"
        "cube = xr.DataArray(np.ones((3, 1, 1)), dims=('band', 'y', 'x'))\n"
        "model = xrxai.Model(tree, targets=['K'])\n"
        "print(cube.xai.tree_shap_spectral(model, background=np.eye(3)).sizes['band'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.stdout == "3\n", ran.stderr
