"""Tree SHAP: exact Shapley values of single bands, read off the trees."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import BandError, ModelError, OptionError
from xrxai.labelled import background as backgrounds
from xrxai.labelled import baseline as baselines
from xrxai.road import Case, explain, settle
from xrxai.spec import COMPLETENESS_GAP, Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.model import Model
    from xrxai.tensors.score import Score

_ANY = "use kernel_shap_spectral, which takes any model"
# Single precision of shap's sums leaves 1e-7; what is read wrongly is far beyond.
_GAP = 1e-5


def tree_shap_spectral(
    cube: xr.DataArray,
    model: Model,
    *,
    target: str | list[str] | None = None,
    background: backgrounds.Background | None = None,
    mask: xr.DataArray | np.ndarray | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """
    Fair share of every single band in the score of a tree ensemble: exact Shapley values.

    Nothing is drawn and no coalition is asked: the values are computed from the splits of the
    trees, by the package shap. Costs one evaluation of the model per pixel, for `prediction`,
    and a walk through all trees, once for every row of the background.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        In any order, with leading dims such as ``time`` or ``sample`` if there are.
    model : Model
        Around a DecisionTree, ExtraTree, RandomForest, ExtraTrees, GradientBoosting or
        HistGradientBoosting regressor or classifier of scikit-learn, or one of its methods:
        ``Model(boosted.decision_function, arrays="numpy", takes="spectrum", targets=[...])``.
    target : str or list of str, optional
        Default: every target of the model.
    background : DataArray or array, (row, band), optional
        What is usual, such as spectra the model was trained on, in units of the cube and without
        gaps; the dim of rows has any name. Absent bands take the values of a row, and the mean
        over all rows is explained (interventional values). Default: absent bands send a spectrum
        down both sides of a split, as often as the training data went there (path-dependent).
    mask : bool DataArray or array, (y, x), optional
        True = keep. Other pixels are NaN in the result.
    batch_size : int, optional
        Overrides ``model.batch_size``; changes memory and speed, not the result.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Dataset
        ``attribution`` (target, y, x, and band) in units of the score: of the probability for
        the classes of trees and forests, of the log-odds for ``decision_function``;
        ``prediction`` and ``baseline_prediction`` (target, y, x), the mean score of the
        background or, without, of the training data as the trees have counted them;
        ``completeness_gap``, zero up to rounding; ``model_evaluations``.

    Raises
    ------
    CubeError, ModelError, TargetError, BandError, BaselineError, OptionError
        The cube, the model and the options do not fit; nothing has been run then. ModelError
        also when what the trees add up to is not what the model answers, as in a subclass.

    Notes
    -----
    Needs ``pip install "xrxai[trees]"``. Both kinds are exact Shapley values, of different games
    [1]_. Interventional values are those of `kernel_shap_spectral` with every band a group,
    averaged over the rows as baselines; shap sums them in single precision, to about 1e-7 of the
    score. Path-dependent values follow how the bands hang together in the training data, but
    only as far as the splits show it; a band that no tree splits on gets nothing in both.

    There are no band groups here: the Shapley value of a group is not the sum of those of its
    bands. `kernel_shap_spectral` asks groups. Boosted probabilities are refused: they are no
    sum over trees, and rescaled log-odds, which shap offers, are not their Shapley values.

    References
    ----------
    .. [1] S. M. Lundberg et al. (2020). From local explanations to global understanding with
       explainable AI for trees. https://doi.org/10.1038/s42256-019-0138-9
    """
    case = settle(cube, model, _tree_shap_spectral, target=target, mask=mask)
    trees, method = _trees(case.model)
    _refuse_scale(case.model, trees, method)
    n_bands = case.place.good_band.size
    if trees.n_features_in_ != n_bands:
        raise ModelError(
            f"The model expects {trees.n_features_in_} bands, the cube has {n_bands} along "
            f"{case.place.band!r}; select the bands the model was trained on."
        )
    rows = None
    if background is not None:
        rows = backgrounds.settle(case.place, background, "spectrum", case.model.fill)
    explainer = _explainer(trees, rows)
    if rows is None:
        _refuse_bad_bands(case, explainer)
    return explain(
        case,
        evaluations=1,
        static={"background": rows},
        options={
            "background": None if background is None else baselines.describe(background),
            "values": "path-dependent" if background is None else "interventional",
        },
        batch_size=batch_size,
        progress=progress,
    )


def _trees(model: Model) -> tuple[Any, str]:
    """The estimator, and the name of its method that answers."""
    trees, method = model.forward, getattr(model.forward, "__name__", "")
    if model.is_estimator:
        method = "predict_proba" if hasattr(trees, "predict_proba") else "predict"
    elif hasattr(trees, "__self__"):
        trees = trees.__self__
    known: tuple[type, ...] = ()
    if "sklearn" in sys.modules:  # else it is none of its estimators
        from sklearn import ensemble, tree

        names = ("RandomForest", "ExtraTrees", "GradientBoosting", "HistGradientBoosting")
        known = (tree.DecisionTreeRegressor, tree.DecisionTreeClassifier)
        for kind in ("Regressor", "Classifier"):
            known += tuple(getattr(ensemble, name + kind) for name in names)
    if not isinstance(trees, known) or method not in _ANSWERS:
        raise ModelError(
            f"The method tree_shap_spectral reads the trees of scikit-learn's DecisionTree, "
            f"RandomForest, ExtraTrees, GradientBoosting and HistGradientBoosting, and the model "
            f"{model.label} is none of these; give it such an estimator, or {_ANY}."
        )
    return trees, method


_ANSWERS = ("predict", "predict_proba", "decision_function")


def _refuse_scale(model: Model, trees: Any, method: str) -> None:
    """Refuse what is no sum over trees, or not of the bands of the cube."""
    kind = type(trees).__name__
    if model.prepare is not None:
        raise ModelError(
            f"prepare= comes between the bands of the cube and the trees, which split on what it "
            f"makes of them; do the same to cube and background and drop it, or {_ANY}."
        )
    if model.activation is not None:
        raise ModelError(
            f"activation={model.activation!r} makes another score of what the trees add up to; "
            f"drop it, or {_ANY}."
        )
    classes = getattr(trees, "classes_", None)
    if classes is not None and method == "predict":
        raise ModelError(
            f"{kind}.predict answers labels, which cannot be explained; type "
            f"Model(classifier) for its probabilities."
        )
    boosted = "init_" in vars(trees) or "_baseline_prediction" in vars(trees)
    if classes is not None and boosted and method == "predict_proba":
        raise ModelError(
            f"The trees of {kind} add up to log-odds, not to probabilities; type "
            f"Model(classifier.decision_function, arrays='numpy', takes='spectrum', "
            f"targets=[...]) to explain these, or {_ANY}."
        )
    if "_baseline_prediction" in vars(trees) and trees.loss in ("poisson", "gamma"):
        raise ModelError(
            f"The trees of {kind}(loss={trees.loss!r}) add up to the logarithm of what it "
            f"predicts; {_ANY}."
        )
    if getattr(trees, "is_categorical_", None) is not None:
        raise ModelError(
            f"This {kind} has categorical features, whose splits shap cannot read; train it "
            f"without, or {_ANY}."
        )


def _refuse_bad_bands(case: Case, explainer: Any) -> None:
    """A band that holds the fill would get a share that nobody sees."""
    tree = explainer.model
    split = np.unique(tree.features[(tree.children_left >= 0) & (tree.features >= 0)])
    lost = [int(b) for b in split if not case.place.good_band[b]]
    if lost:
        raise BandError(
            f"The trees split on {len(lost)} bad band{'s' * (len(lost) > 1)} of the cube (the "
            f"first at position {lost[0]}), whose share would be lost; type background= to have "
            f"these the same in cube and background, or train without them."
        )


def _shap() -> Any:
    if "shap" not in sys.modules:
        with warnings.catch_warnings():
            # shap 0.51 prepares its colour maps in the way that matplotlib 3.11 discourages, and
            # asks for a progress bar that a notebook without ipywidgets does not have.
            warnings.filterwarnings(
                "ignore", "The set_(bad|over|under) function will be", PendingDeprecationWarning
            )
            warnings.filterwarnings("ignore", "IProgress not found")
            return _imported()
    return _imported()


def _imported() -> Any:
    try:
        import shap
    except ImportError as error:
        raise OptionError(
            f"tree_shap_spectral needs shap, which cannot be imported ({error}); type pip install "
            f'"xrxai[trees]", or {_ANY}.'
        ) from None
    return shap


def _explainer(trees: Any, rows: np.ndarray | None) -> Any:
    """shap's reading of the trees; rows (m, band) as the trees get them."""
    shap = _shap()
    try:
        if rows is None:
            return shap.TreeExplainer(
                trees, feature_perturbation="tree_path_dependent", model_output="raw"
            )
        if "_baseline_prediction" not in vars(trees):
            # The others round what they get to float32; shap does so to the cube alone.
            rows = rows.astype(np.float32).astype(np.float64)
        # Of a plain array shap would keep 100 rows.
        masker = shap.maskers.Independent(rows, max_samples=len(rows))
        return shap.TreeExplainer(
            trees, masker, feature_perturbation="interventional", model_output="raw"
        )
    except Exception as error:  # of shap's own, numpy's, or an assertion
        raise ModelError(
            f"shap cannot read this {type(trees).__name__}: {error}; {_ANY}."
        ) from error


@spec(
    {
        "attribution": Output(("target", "features"), "Shapley value"),
        "completeness_gap": COMPLETENESS_GAP,
        "baseline_prediction": Output(("target",), "mean score with every band absent"),
    },
    needs="forward",
    references=("Lundberg et al. 2020, doi:10.1038/s42256-019-0138-9",),
)
def _tree_shap_spectral(
    x: Tensor, score: Score, *, background: np.ndarray | None
) -> dict[str, Tensor]:
    """x (n, band), background (m, band) -> attribution (n, target, band)."""
    model = score.runner.model
    rows = None if background is None else (x.new_tensor(background) * model.scale).cpu().numpy()
    explainer = _explainer(_trees(model)[0], rows)
    expected = x.new_tensor(np.atleast_1d(explainer.expected_value)).double()[score.targets]
    attribution = x.new_empty((x.shape[0], score.n_targets, x.shape[1])).double()
    prediction = x.new_empty((x.shape[0], score.n_targets)).double()
    for i in tensors.run.batches(x.shape[0], score.batch(x), x.device):
        prediction[i] = score(x[i], i, clean=True).double()
        seen = (x[i] * model.scale).cpu().numpy()
        values = np.asarray(explainer.shap_values(seen, check_additivity=False))
        values = np.moveaxis(values.reshape(*seen.shape, -1)[..., score.targets], -1, 1)
        attribution[i] = attribution.new_tensor(values)
    gap = attribution.sum(2) - (prediction - expected)
    size = attribution.abs().sum(2) + prediction.abs() + expected.abs()
    if bool((gap.abs() > _GAP * size).any()):
        raise ModelError(
            f"What shap reads in the trees of {model.label} is not what it answers (off by up to "
            f"{float(gap.abs().max()):.3g}): it makes more of its trees than their sum; {_ANY}."
        )
    return {
        "attribution": attribution,
        "completeness_gap": gap,
        "prediction": prediction,
        "baseline_prediction": expected.expand_as(prediction),
    }
