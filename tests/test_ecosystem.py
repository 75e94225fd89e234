"""The estimators among others: meta-estimators, pickles, data frames, metadata routing, display."""

import copy
import gc
import io
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.neural_network as original
from samples import few
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.exceptions import ConvergenceWarning, InconsistentVersionWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from versions import SKLEARN, needs_1_9

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 4, "random_state": 0}
BOTH = ["MLPClassifier", "MLPRegressor"]
SOLVERS = ["adam", "sgd", "lbfgs"]
POLARS = pytest.param("polars", marks=needs_1_9)

X, y, z, _ = few(80)
w = np.linspace(0, 1, 80)


def both(procedure):
    """Do it with both packages and compare the numbers it yields."""
    ours, theirs = list(procedure(fastmlp)), list(procedure(original))
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9, err_msg=f"result {i}")


# -------------------------------------------------------------------------------- meta-estimators


def test_pipeline():
    def procedure(module):
        for name in BOTH:
            pipeline = make_pipeline(StandardScaler(), getattr(module, name)(**SMALL))
            fit_params = {f"{name.lower()}__sample_weight": w}
            yield pipeline.fit(X, y, **fit_params).predict(X)
            yield pipeline.score(X, y, sample_weight=w)

    both(procedure)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search(n_jobs):
    grid = {
        "alpha": [1e-4, 10.0],
        "hidden_layer_sizes": [(3,), (4, 2)],
        "solver": ["adam", "lbfgs"],
    }

    def procedure(module):
        search = GridSearchCV(module.MLPClassifier(**SMALL), grid, cv=2, n_jobs=n_jobs).fit(X, y)
        yield search.cv_results_["mean_test_score"]
        yield search.predict_proba(X)
        yield search.best_index_

    both(procedure)


def test_randomized_search_in_a_pipeline():
    space = {"mlpregressor__alpha": [0.1, 1.0, 10.0], "mlpregressor__activation": ["relu", "tanh"]}

    def procedure(module):
        pipeline = make_pipeline(StandardScaler(), module.MLPRegressor(**SMALL))
        search = RandomizedSearchCV(pipeline, space, n_iter=3, cv=2, random_state=0).fit(X, z)
        yield search.cv_results_["mean_test_score"]
        yield search.best_estimator_.predict(X)

    both(procedure)


def test_cross_validation():
    def procedure(module):
        classifier, regressor = module.MLPClassifier(**SMALL), module.MLPRegressor(**SMALL)
        yield cross_val_score(classifier, X, y, cv=3, n_jobs=2)
        yield cross_val_score(regressor, X, z, cv=3, scoring="neg_mean_squared_error")
        yield cross_val_predict(classifier, X, y, cv=3, method="predict_proba")
        yield learning_curve(classifier, X, y, cv=2, train_sizes=[0.5, 1.0])[2]
        yield learning_curve(
            classifier, X, y, cv=2, train_sizes=[0.3, 1.0], exploit_incremental_learning=True
        )[2]

    both(procedure)


def test_fits_side_by_side_in_threads():
    """What is fitted in joblib's threads has the bits of what is fitted one by one."""
    classifier = fastmlp.MLPClassifier(**SMALL)
    search = GridSearchCV(classifier, {"alpha": [1e-4, 10.0]}, cv=2, n_jobs=2)
    bagging = BaggingClassifier(classifier, 4, n_jobs=2, random_state=0)

    def results():
        yield search.fit(X, y).cv_results_["mean_test_score"]
        yield search.predict_proba(X)
        yield cross_val_score(classifier, X, y, cv=3, n_jobs=2)
        yield np.stack([one.predict_proba(X) for one in bagging.fit(X, y).estimators_])

    with joblib.parallel_config("sequential"):
        expected = list(results())
    with joblib.parallel_config("threading"):
        for found, wanted in zip(results(), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


class WithLogits(original.MLPClassifier):
    """scikit-learn's has no decision_function, which calibration prefers to probabilities."""

    def decision_function(self, data):
        for W, b in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            data = np.maximum(data @ W + b, 0)
        return data @ self.coefs_[-1] + self.intercepts_[-1]


META = {
    "voting": lambda m: VotingClassifier(
        [("a", m.MLPClassifier(**SMALL)), ("b", LogisticRegression())], voting="soft", n_jobs=2
    ),
    "calibrated": lambda m: CalibratedClassifierCV(
        (WithLogits if m is original else m.MLPClassifier)(**SMALL), cv=2
    ),
    "bagging": lambda m: BaggingClassifier(
        m.MLPClassifier(**SMALL), n_estimators=3, random_state=0, n_jobs=2
    ),
    "one-vs-rest": lambda m: OneVsRestClassifier(m.MLPClassifier(**SMALL), n_jobs=2),
}


@pytest.mark.parametrize("name", META)
def test_meta_classifiers(name):
    def procedure(module):
        meta = META[name](module).fit(X, y)
        yield meta.predict_proba(X)
        yield clone(meta).fit(X, y).predict(X)
        yield pickle.loads(pickle.dumps(meta)).predict_proba(X)

    both(procedure)


def test_meta_regressors_and_many_outputs():
    def procedure(module):
        regressor, classifier = module.MLPRegressor(**SMALL), module.MLPClassifier(**SMALL)
        yield StackingRegressor([("a", regressor), ("b", Ridge())], cv=2).fit(X, z).predict(X)
        yield AdaBoostRegressor(regressor, n_estimators=3, random_state=0).fit(X, z).predict(X)
        target = TransformedTargetRegressor(regressor, func=np.sinh, inverse_func=np.arcsinh)
        yield target.fit(X, z).predict(X)
        several = np.column_stack([y > 0, y > 1])
        yield MultiOutputClassifier(classifier, n_jobs=2).fit(X, several).predict(X)
        yield ClassifierChain(classifier, cv=2, random_state=0).fit(X, several).predict_proba(X)
        result = permutation_importance(regressor.fit(X, z), X, z, n_repeats=2, random_state=0)
        yield result.importances_mean

    both(procedure)


@pytest.mark.parametrize("name", BOTH)
def test_clone_params_and_tags(name):
    estimator = getattr(fastmlp, name)(**SMALL, n_jobs=2, solver="sgd").fit(X, y)
    copied = clone(estimator)
    assert copied.get_params() == estimator.get_params()
    assert not any(attribute.endswith("_") for attribute in vars(copied))
    assert copied.set_params(alpha=3.0, n_jobs=None).get_params()["alpha"] == 3.0
    with pytest.raises(ValueError, match="Invalid parameter 'no_such_parameter'"):
        copied.set_params(no_such_parameter=1)
    theirs = getattr(original, name)()
    assert get_tags(estimator) == get_tags(theirs)
    assert is_classifier(estimator) == is_classifier(theirs)
    assert is_regressor(estimator) == is_regressor(theirs)
    assert isinstance(estimator, BaseEstimator)


def test_subclasses():
    class Tuned(MLPClassifier):
        def __init__(self, hidden_layer_sizes=(3,), alpha=0.5, extra=None):
            super().__init__(hidden_layer_sizes, alpha=alpha, max_iter=3, random_state=0)
            self.extra = extra

        def predict(self, X):
            return super().predict(X)

    estimator = Tuned(extra=7)
    assert estimator.get_params() == {"hidden_layer_sizes": (3,), "alpha": 0.5, "extra": 7}
    expected = MLPClassifier((3,), alpha=0.5, max_iter=3, random_state=0).fit(X, y)
    np.testing.assert_array_equal(clone(estimator).fit(X, y).predict(X), expected.predict(X))
    with pytest.raises(ValueError, match="The 'alpha' parameter of Tuned"):
        Tuned(alpha=-1).fit(X, y)


# ---------------------------------------------------------------------------------------- pickles


def bytes_of(estimator):
    return len(pickle.dumps(estimator, protocol=pickle.HIGHEST_PROTOCOL))


PICKLED = {
    "plain": {},
    "stopping": {"early_stopping": True},
    "long": {"max_iter": 30, "n_iter_no_change": 100},
    "deep": {"hidden_layer_sizes": (3, 3, 3, 3, 3, 3)},
    "wide": {"hidden_layer_sizes": (300, 50)},
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("what", PICKLED)
def test_pickles_are_smaller_than_scikit_learns(name, solver, what):
    """Single precision as well as double, after fit and after partial_fit."""
    for dtype in (np.float64, np.float32):
        data = X.astype(dtype)
        a, b = (
            getattr(module, name)(**SMALL | {"solver": solver} | PICKLED[what]).fit(data, y)
            for module in (fastmlp, original)
        )
        assert bytes_of(a) < bytes_of(b)
        if solver != "lbfgs" and what != "stopping":
            assert bytes_of(a.partial_fit(data, y)) < bytes_of(b.partial_fit(data, y))


def through_joblib(estimator, tmp_path, **options):
    joblib.dump(estimator, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib", **options)


ROUND_TRIPS = {
    **{
        f"pickle-{protocol}": lambda e, tmp_path, p=protocol: pickle.loads(pickle.dumps(e, p))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "joblib": through_joblib,
    "joblib-mapped": lambda e, tmp_path: through_joblib(e, tmp_path, mmap_mode="r"),
    "deepcopy": lambda e, tmp_path: copy.deepcopy(e),
}


@pytest.mark.parametrize("trip", ROUND_TRIPS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", BOTH)
def test_round_trips(name, solver, trip, tmp_path):
    """What comes back predicts the same, and training goes on with the same bits."""
    estimator = getattr(fastmlp, name)(**SMALL, solver=solver, warm_start=True).fit(X, y)
    if solver != "lbfgs":
        estimator.partial_fit(X, y)
    back = ROUND_TRIPS[trip](estimator, tmp_path)
    assert type(back) is type(estimator)
    assert vars(back).keys() == vars(estimator).keys()
    np.testing.assert_array_equal(back.predict(X), estimator.predict(X))
    for _ in range(2):
        for e in (back, estimator):
            e.partial_fit(X, y) if solver != "lbfgs" else e.fit(X, y)
        np.testing.assert_array_equal(back.coefs_[0], estimator.coefs_[0])
    assert getattr(back, "loss_curve_", None) == getattr(estimator, "loss_curve_", None)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", BOTH)
def test_pickle_of_a_fit_holds_the_weights_once(name, solver, early_stopping, dtype, tmp_path):
    params = SMALL | {"solver": solver, "hidden_layer_sizes": (200, 100)}
    estimator = getattr(fastmlp, name)(**params, early_stopping=early_stopping)
    estimator.fit(X.astype(dtype), y)
    weights = sum(a.nbytes for a in [*estimator.coefs_, *estimator.intercepts_])
    assert bytes_of(estimator) < 1.2 * weights
    through_joblib(estimator, tmp_path)
    assert (tmp_path / "model.joblib").stat().st_size < 1.2 * weights


def test_pickles_without_state_of_the_optimizer():
    """After fit it is left out, and after partial_fit where it cannot matter."""
    params = SMALL | {"hidden_layer_sizes": (200, 100)}
    weights = bytes_of(MLPRegressor(**params, solver="lbfgs").fit(X, z))
    for solver, momentum, n_slots in (("adam", 0.9, 2), ("sgd", 0.9, 1), ("sgd", 0.0, 0)):
        estimator = MLPRegressor(**params, solver=solver, momentum=momentum)
        for slots, train in ((n_slots, "partial_fit"), (0, "fit"), (n_slots, "partial_fit")):
            getattr(estimator, train)(X, z)
            assert abs(bytes_of(estimator) - (1 + slots) * weights) < 0.1 * weights
            for copied in (copy.copy(estimator), copy.deepcopy(estimator)):
                assert bytes_of(copied) == bytes_of(estimator)
        other = pickle.loads(pickle.dumps(estimator))  # after partial_fit goes on with the state
        for e in (other, estimator):
            e.partial_fit(X, z)
        np.testing.assert_array_equal(other.coefs_[0], estimator.coefs_[0])
        # A warm start with another solver leaves it in memory, where partial_fit finds it.
        estimator.set_params(warm_start=True, solver="lbfgs", max_iter=1).fit(X, z)
        assert abs(bytes_of(estimator) - weights) < 0.1 * weights


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("name", BOTH)
def test_partial_fit_after_fit(name, solver):
    """Goes on with the optimizer of the fit, as in scikit-learn; after a pickle with a new one."""
    params = SMALL | {"solver": solver, "learning_rate": "invscaling", "learning_rate_init": 0.01}
    estimator = getattr(fastmlp, name)(**params).fit(X, y)
    expected = getattr(original, name)(**params).fit(X, y).partial_fit(X, y)
    loaded = pickle.loads(pickle.dumps(estimator))
    warm = copy.deepcopy(estimator).set_params(warm_start=True, max_iter=1, shuffle=False)
    warm.fit(X, y)  # starts a new optimizer
    for other in (copy.copy(copy.deepcopy(estimator)), estimator):
        other.partial_fit(X, y)
        np.testing.assert_allclose(other.coefs_[0], expected.coefs_[0], rtol=1e-7, atol=1e-10)
    loaded.set_params(shuffle=False).partial_fit(X, y)
    np.testing.assert_array_equal(loaded.coefs_[0], warm.coefs_[0])
    assert not np.allclose(loaded.coefs_[0], expected.coefs_[0], rtol=1e-6)
    assert pickle.loads(pickle.dumps(loaded))._optimizer.t == loaded._optimizer.t == 1


def test_copies_do_not_share():
    estimator = MLPClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2])
    deep = copy.deepcopy(estimator)
    before = deep.predict_proba(X)
    estimator.partial_fit(X, y)
    np.testing.assert_array_equal(deep.predict_proba(X), before)
    shallow = copy.copy(estimator)  # shares weights and state, as in scikit-learn
    assert shallow.coefs_ is estimator.coefs_
    shallow.partial_fit(X, y)
    estimator.partial_fit(X, y)
    np.testing.assert_array_equal(shallow.predict_proba(X), estimator.predict_proba(X))


OPTIMIZER = {("fastmlp.optimizers", "Adam"), ("fastmlp.schedules", "Constant")}


def test_pickles_hold_arrays_builtins_and_public_classes_only():
    """Such as scikit-learn's LabelBinarizer: nothing of the engine, and nothing private."""
    for estimator, optimizer in (
        (MLPClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2]), OPTIMIZER),
        (MLPRegressor(**SMALL, early_stopping=True).fit(X, z), set()),
    ):
        names = set()

        class Reader(pickle.Unpickler):
            def find_class(self, module, name, names=names):
                names.add((module, name))
                return super().find_class(module, name)

        Reader(io.BytesIO(pickle.dumps(estimator))).load()
        ours = {name for name in names if name[0].startswith("fastmlp")}
        assert ours == {("fastmlp.mlp", type(estimator).__name__)} | optimizer


def test_pickle_of_another_version():
    estimator = MLPRegressor(**SMALL).fit(X, z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(estimator))
    for version in ("0.0.1", "99.0", None):
        state = estimator.__getstate__()
        assert state.pop("_fastmlp_version") == fastmlp.__version__
        if version:
            state["_fastmlp_version"] = version
        back = MLPRegressor.__new__(MLPRegressor)
        with pytest.warns(InconsistentVersionWarning, match="fastmlp.MLPRegressor") as caught:
            back.__setstate__(state)
        assert caught[0].message.original_sklearn_version == (version or "unknown")
        assert fastmlp.__version__ in str(caught[0].message)
        assert "_fastmlp_version" not in vars(back)
        np.testing.assert_array_equal(back.predict(X), estimator.predict(X))


def test_unpickling_imports_the_package(tmp_path):
    with open(tmp_path / "model.pickle", "wb") as file:
        pickle.dump(MLPClassifier(**SMALL).fit(X, y), file)
    code = (
        f"import pickle; print(pickle.load(open({str(tmp_path / 'model.pickle')!r}, 'rb')).n_iter_)"
    )
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "4"


# ------------------------------------------------------------------------------------ data frames


def frames(library):
    module = pytest.importorskip(library)
    names = [f"feature {i}" for i in range(5)]
    return module, module.DataFrame(dict(zip(names, X.T, strict=True))), names


@pytest.mark.parametrize("library", ["pandas", POLARS])
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_frames(library, name, early_stopping):
    module, frame, names = frames(library)
    expected = getattr(fastmlp, name)(**SMALL, early_stopping=early_stopping).fit(X, y, w)
    estimator = getattr(fastmlp, name)(**SMALL, early_stopping=early_stopping)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(frame, module.Series(y), module.Series(w))
        np.testing.assert_array_equal(estimator.predict(frame), expected.predict(X))
        estimator.score(frame, module.Series(y))
    assert estimator.feature_names_in_.tolist() == names
    assert estimator.n_features_in_ == 5

    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        np.testing.assert_array_equal(estimator.predict(X), expected.predict(X))
    for wrong in (frame[names[::-1]], frame[names[:4]]):
        with pytest.raises(ValueError, match="feature names should match"):
            estimator.predict(wrong)
    with pytest.warns(UserWarning, match="but .* was fitted without feature names"):
        expected.predict(frame)

    estimator.fit(X, y)  # forgets the names
    assert not hasattr(estimator, "feature_names_in_")
    estimator.fit(frame, y)
    if not early_stopping:
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            estimator.partial_fit(X, y)
        with pytest.raises(ValueError, match="feature names should match"):
            estimator.partial_fit(frame[names[::-1]], y)


def test_frames_of_other_types():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.rint(X * 4)).astype({0: "int8", 1: "Int64", 2: "float32", 3: "bool"})
    frame.columns = list("abcde")
    labels = pd.Series(np.array(["x", "y", "z"])[y])

    def procedure(module):
        for target in (labels, labels.astype("category"), labels.astype("string"), list(labels)):
            estimator = module.MLPClassifier(**SMALL).fit(frame, target)
            yield estimator.predict_proba(frame)
            yield estimator.classes_ == ["x", "y", "z"]
        for target in (pd.Series(z), pd.Series(y).astype("Int64"), pd.DataFrame({"z": z, "y": y})):
            yield module.MLPRegressor(**SMALL).fit(frame, target).predict(frame)

    both(procedure)


@pytest.mark.parametrize("output", ["pandas", POLARS, "default"])
def test_set_output(output):
    _, frame, _ = frames("polars" if output == "polars" else "pandas")
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).set_output(transform=output)
    expected = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(X, y).predict_proba(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = pipeline.fit(frame, y).predict_proba(frame)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert hasattr(pipeline[-1], "feature_names_in_") == (output != "default")


# ------------------------------------------------------------------------------- metadata routing


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("name", BOTH)
def test_metadata_routing(name):
    def procedure(module):
        cls = getattr(module, name)
        requests = cls().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        requests.set_partial_fit_request(sample_weight=True)
        estimator = clone(requests).set_params(**SMALL)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, estimator)
        yield pipeline.fit(X, y, sample_weight=w).predict(X)
        yield pipeline.score(X, y, sample_weight=w)
        if SKLEARN >= (1, 9):  # older ones do not see that the pipeline's score asks for weights
            result = cross_validate(pipeline, X, y, params={"sample_weight": w}, cv=2)
            yield result["test_score"]
        search = GridSearchCV(estimator, {"alpha": [0.1, 1.0]}, cv=2).fit(X, y, sample_weight=w)
        yield search.cv_results_["mean_test_score"]

    both(procedure)


@pytest.mark.usefixtures("routing")
def test_requests():
    estimator = MLPClassifier()
    with pytest.raises(
        ValueError, match=r"\[sample_weight\] are passed but are not explicitly set"
    ):
        make_pipeline(estimator).fit(X, y, sample_weight=w)
    estimator.set_partial_fit_request(sample_weight=True, classes=True)
    routed = estimator.get_metadata_routing()
    validation = dict.fromkeys(["X_val", "y_val", "sample_weight_val"])
    assert routed.partial_fit.requests == {"sample_weight": True, "classes": True} | validation
    estimator = MLPRegressor().set_partial_fit_request(sample_weight=True)
    routed = estimator.get_metadata_routing()
    assert routed.partial_fit.requests == {"sample_weight": True} | validation


# ---------------------------------------------------------------------------------------- display


@pytest.mark.parametrize("name", BOTH)
def test_display(name):
    estimator = getattr(fastmlp, name)(alpha=0.5, hidden_layer_sizes=(3, 4))
    assert repr(estimator) == f"{name}(alpha=0.5, hidden_layer_sizes=(3, 4))"
    for shown in (estimator, clone(estimator).set_params(max_iter=3).fit(X, y)):
        html = shown._repr_html_()
        assert name in html
        assert "hidden_layer_sizes" in html
        assert "n_jobs" in html
    nested = getattr(fastmlp, name)(solver=fastmlp.optimizers.SGD(momentum=0.5))
    assert "SGD(momentum=" in nested._repr_html_()


# ----------------------------------------------------------------------------------------- MLflow


def test_mlflow_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "mlflow.sklearn", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r"pip install 'fastmlp\[mlflow\]'"):
        fastmlp.mlflow.autolog()


# --------------------------------------------------------------------------------- in the large


def test_many_estimators_do_not_leak():
    """Each fit releases what it took: 200 nets of this size are more than 1 GB."""
    resource = pytest.importorskip("resource")
    estimator = MLPRegressor(hidden_layer_sizes=(400,), max_iter=1, random_state=0)
    data, target = np.zeros((4, 500)), np.zeros(4)
    for _ in range(20):
        estimator.fit(data, target).partial_fit(data, target)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        estimator.fit(data, target).partial_fit(data, target).predict(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024 * (1024 if sys.platform == "darwin" else 1)  # bytes on macOS
