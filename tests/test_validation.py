"""Validation data, scores, and what training stops at."""

import copy
import inspect
import pickle
import re
import time

import numpy as np
import pytest
import reference
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, callbacks

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger"),
]

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 12, "random_state": 0, "learning_rate_init": 0.02}
SOLVERS = ["adam", "sgd", "lbfgs"]

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (60, 4))
X_val = rng.uniform(-1, 1, (25, 4))
w_val = rng.uniform(0.1, 2, 25)


def of_kind(kind, data):
    positive, last = data[:, 0] + data[:, 1] > 0, data[:, 2] > 0.4
    if kind == "two":
        return positive.astype(int)
    if kind == "three":
        return np.array(["b", "a", "c"])[np.where(last, 2, positive)]
    if kind == "multilabel":
        return np.column_stack([positive, last, ~last]).astype(int)
    z = data[:, 0] - data[:, 1] * data[:, 2]
    return np.exp(z) if kind == "poisson" else z if kind == "one" else np.column_stack([z, z**2])


KINDS = ["two", "three", "multilabel", "one", "many", "poisson"]


def make(kind, **params):
    if kind == "poisson":
        params["loss"] = "poisson"
    cls = MLPRegressor if kind in ("one", "many", "poisson") else MLPClassifier
    return cls(**SMALL | params)


def parameters(estimator):
    return np.concatenate([a.ravel() for a in estimator.coefs_ + estimator.intercepts_])


def true_loss(estimator, kind, data, weight=None):
    """By the specification."""
    target = of_kind(kind, data)
    if kind == "three":
        target = estimator.classes_ == target[:, np.newaxis]
    name = {"three": "log_loss", "two": "binary_log_loss", "multilabel": "binary_log_loss"}.get(
        kind, estimator.loss
    )
    layers = ["relu"] * (len(estimator.coefs_) - 1) + [estimator.out_activation_]
    coefs = [W.astype(np.float64) for W in estimator.coefs_]
    outputs = reference.forward(data, coefs, estimator.intercepts_, layers)[-1].out
    row = reference.LOSSES[name]
    Y = target.reshape(len(data), -1).astype(np.float64)
    per_sample = row.f(Y, outputs, np.finfo(np.float64).eps)
    return np.average(per_sample, weights=weight)


# ------------------------------------------------------------------------------------------ data


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_watching_changes_nothing(kind, solver):
    y, y_val = of_kind(kind, X), of_kind(kind, X_val)
    plain = make(kind, solver=solver).fit(X, y)
    watched = make(kind, solver=solver).fit(X, y, X_val=X_val, y_val=y_val)
    np.testing.assert_array_equal(parameters(watched), parameters(plain))
    assert watched.n_iter_ == plain.n_iter_
    curves = (watched.validation_scores_, watched.validation_loss_curve_)
    assert [len(curve) for curve in curves] == [watched.n_iter_] * 2
    assert watched.validation_scores_[-1] == pytest.approx(watched.score(X_val, y_val), abs=1e-12)
    assert watched.best_validation_score_ == max(watched.validation_scores_)
    assert watched.best_iteration_ == 1 + np.argmax(watched.validation_scores_)
    expected = true_loss(watched, kind, X_val)
    assert watched.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
    for attribute in ("validation_loss_curve_", "best_iteration_"):
        assert not hasattr(plain, attribute)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_validation_data(kind):
    y, y_val = of_kind(kind, X), of_kind(kind, X_val)
    est = make(kind).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=w_val)
    assert est.validation_scores_[-1] == pytest.approx(est.score(X_val, y_val, w_val), abs=1e-12)
    expected = true_loss(est, kind, X_val, w_val)
    assert est.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("form", ["dense", "csr", "list", "float32"])
@pytest.mark.parametrize("kind", ["three", "many"])
def test_validation_data_of_all_forms(kind, form, precision):
    y, y_val = of_kind(kind, X), of_kind(kind, X_val)
    given = {
        "dense": X_val,
        "csr": sp.csr_array(X_val),
        "list": X_val.tolist(),
        "float32": X_val.astype(np.float32),
    }[form]
    est = make(kind, precision=precision).fit(X, y, X_val=given, y_val=y_val.tolist())
    assert est.validation_scores_[-1] == pytest.approx(est.score(given, y_val), rel=1e-6)
    rel = 0.05 if precision == "bfloat16" else 1e-4 if "float32" in (form, precision) else 1e-9
    assert est.validation_loss_curve_[-1] == pytest.approx(true_loss(est, kind, X_val), rel=rel)
    sparse = make(kind, precision=precision).fit(sp.csr_array(X), y, X_val=given, y_val=y_val)
    np.testing.assert_allclose(sparse.validation_scores_, est.validation_scores_, atol=0.1)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_own_data_take_the_place_of_the_split(kind, solver):
    """What is held out by a split, given as one's own, gives the same network."""
    y, y_val = of_kind(kind, X), of_kind(kind, X_val)
    params = {"solver": solver, "early_stopping": True, "n_iter_no_change": 3, "max_iter": 60}
    est = make(kind, **params).fit(X, y, X_val=X_val, y_val=y_val)
    scores = est.validation_scores_
    assert est.score(X_val, y_val) == pytest.approx(max(scores), abs=1e-12)
    assert est.best_validation_score_ == max(scores)
    if est.stop_reason_ == "n_iter_no_change":
        assert len(scores) == est.n_iter_ < 60
        assert max(scores[-3:]) < max(scores) + est.tol
    # No rows are held out: as long as it runs, training is that of all of X.
    plain = make(kind, solver=solver, max_iter=est.n_iter_, n_iter_no_change=99, tol=0.0).fit(X, y)
    if solver != "lbfgs":
        np.testing.assert_array_equal(est.loss_curve_, plain.loss_curve_)
        assert est.best_loss_ is None


@pytest.mark.parametrize("kind", ["two", "one"])
def test_splits_may_be_scored_by_the_loss(kind):
    y = of_kind(kind, X)
    params = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 40}
    usual = make(kind, **params).fit(X, y)
    fit = make(kind, **params, scoring="loss").fit(X, y)
    assert fit.loss_curve_[:5] == usual.loss_curve_[:5]
    assert fit.validation_scores_ == [-loss for loss in fit.validation_loss_curve_]
    assert fit.best_iteration_ == 1 + np.argmin(fit.validation_loss_curve_)


def test_labels_are_encoded_like_y():
    y, y_val = of_kind("three", X), of_kind("three", X_val)
    only_c = y_val == "c"
    est = make("three").fit(X, y, X_val=X_val[only_c], y_val=y_val[only_c])
    assert est.validation_scores_[-1] == est.score(X_val[only_c], y_val[only_c])
    numbers = np.array([0, 2, 5])[np.unique(y, return_inverse=True)[1]]
    same = make("three").fit(X, numbers, X_val=X_val[only_c], y_val=np.full(only_c.sum(), 5.0))
    assert same.validation_loss_curve_ == est.validation_loss_curve_


def test_class_weights_are_part_of_the_loss_only():
    y, y_val = of_kind("two", X), of_kind("two", X_val)
    est = make("two", class_weight={0: 1, 1: 3}).fit(X, y, X_val=X_val, y_val=y_val)
    expected = true_loss(est, "two", X_val, np.where(y_val, 3, 1))
    assert est.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
    assert est.validation_scores_[-1] == est.score(X_val, y_val)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("two", {"y_val": None}, "X_val given without y_val"),
        ("two", {"X_val": None}, "y_val given without X_val"),
        (
            "one",
            {"X_val": None, "y_val": None, "sample_weight_val": w_val},
            "sample_weight_val given without X_val",
        ),
        ("two", {"X_val": X_val[:, :3]}, r"\(X_val, .*X has 3 features, but .* 4 features"),
        ("two", {"X_val": X_val[:9]}, r"\(X_val, .*inconsistent numbers of samples: \[9, 25\]"),
        ("two", {"X_val": np.full((25, 4), np.nan)}, r"\(X_val, .*contains NaN"),
        ("two", {"X_val": X_val.ravel()}, r"\(X_val, .*Expected 2D array"),
        ("two", {"X_val": X_val[:0], "y_val": []}, r"\(X_val, .*0 sample"),
        ("two", {"y_val": np.arange(25) % 3}, r"y_val, .*classes not in .*\[0 1 2\]"),
        ("two", {"y_val": ["x"] * 25}, r"y_val, .*classes not in"),
        ("two", {"y_val": np.linspace(0, 1, 25)}, r"y_val, .*Unknown label type"),
        ("three", {"y_val": np.zeros(25)}, r"y_val, .*classes not in"),
        ("multilabel", {"y_val": np.eye(25, 4, dtype=int)}, r"y_val, .*classes not in"),
        ("multilabel", {"y_val": np.zeros(25, int)}, "y_val, .*y has one class per sample"),
        ("two", {"y_val": np.eye(25, 2, dtype=int)}, "y_val, .*y has several labels per sample"),
        ("one", {"y_val": np.zeros((25, 2))}, "y_val, .*y has 2 outputs, but the network has 1"),
        ("many", {"y_val": np.zeros(25)}, "y_val, .*y has 1 outputs, but the network has 2"),
        ("one", {"y_val": np.full(25, np.inf)}, r"y_val, .*infinity"),
        ("one", {"sample_weight_val": w_val[:3]}, r"sample_weight_val\): .*\(3,\)"),
        ("one", {"sample_weight_val": w_val * np.nan}, r"sample_weight_val\): .*NaN"),
        ("one", {"sample_weight_val": w_val * 0}, r"sample_weight_val\): .*"),
    ],
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_bad_validation_data(kind, change, message, solver):
    y, y_val = of_kind(kind, X), of_kind(kind, X_val)
    good = {"X_val": X_val, "y_val": y_val}
    est = make(kind, solver=solver)
    with pytest.raises(ValueError, match=message):
        est.fit(X, y, **good | change)
    assert not hasattr(est, "coefs_")
    assert not hasattr(est, "n_features_in_")
    est.fit(X, y)
    before = parameters(est).copy()
    method = est.fit if solver == "lbfgs" else est.partial_fit
    with pytest.raises(ValueError, match=message):
        method(X, y, **good | change)
    np.testing.assert_array_equal(parameters(est), before)


def test_names_of_features_are_compared():
    pandas = pytest.importorskip("pandas")
    frame, other = pandas.DataFrame(X, columns=list("abcd")), pandas.DataFrame(X_val)
    other.columns = list("abce")
    y, y_val = of_kind("one", X), of_kind("one", X_val)
    with pytest.raises(ValueError, match=r"Validation data .*feature names"):
        make("one").fit(frame, y, X_val=other, y_val=y_val)
    other.columns = list("abcd")
    for scoring in (None, "neg_mean_absolute_error"):
        est = make("one", scoring=scoring).fit(frame, y, X_val=other, y_val=y_val)
        assert np.isfinite(est.validation_scores_).all()


def test_validation_data_through_a_pipeline():
    y, y_val = of_kind("two", X), of_kind("two", X_val)
    with sklearn.config_context(enable_metadata_routing=True):
        requests = MLPClassifier(**SMALL).set_fit_request(
            X_val=True, y_val=True, sample_weight_val=True
        )
        pipeline = make_pipeline(StandardScaler(), requests, transform_input=["X_val"])
        pipeline.fit(5 + 3 * X, y, X_val=5 + 3 * X_val, y_val=y_val, sample_weight_val=w_val)
    scaler = StandardScaler().fit(X)
    direct = MLPClassifier(**SMALL).fit(
        scaler.transform(X),
        y,
        X_val=scaler.transform(X_val),
        y_val=y_val,
        sample_weight_val=w_val,
    )
    ours = pipeline[-1]
    np.testing.assert_allclose(ours.validation_loss_curve_, direct.validation_loss_curve_)
    assert ours.validation_scores_ == direct.validation_scores_


def test_bits_do_not_depend_on_n_jobs():
    data, target = make_classification(700, 40, random_state=0)
    ends = []
    for n_jobs in (1, 2):
        est = MLPClassifier((70, 30), max_iter=4, random_state=0, n_jobs=n_jobs, scoring="loss")
        est.fit(data[:300], target[:300], X_val=data[300:], y_val=target[300:])
        ends.append((est.validation_loss_curve_, est.loss_curve_))
    assert ends[0] == ends[1]


def test_validation_with_weights_that_are_not_finite():
    y, y_val = of_kind("one", X), of_kind("one", X_val)
    for scoring in (None, "loss", "r2"):
        est = make("one", solver="sgd", learning_rate_init=1e200, scoring=scoring)
        with pytest.raises(ValueError, match="non-finite"):
            est.fit(X, y, X_val=X_val, y_val=y_val)
        est.set_params(learning_rate_init=0.01, scoring=scoring).fit(X, y)
        est.intercepts_[-1][:] = np.nan
        est.set_params(warm_start=True, early_stopping=True, n_iter_no_change=2)
        with pytest.raises(ValueError, match="non-finite"):
            est.fit(X, y, X_val=X_val, y_val=y_val)
        assert np.isnan(est.validation_scores_[-1])
        assert est.best_iteration_ == 0


# --------------------------------------------------------------------------------------- scoring


def fewest_misses(estimator, data, target, sample_weight=None):
    assert estimator.predict(data).shape == target.shape
    return -np.average(estimator.predict(data) != target, weights=sample_weight)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scoring", [fewest_misses, "f1_macro", "neg_log_loss", "accuracy"])
def test_scorers(scoring, solver):
    y, y_val = of_kind("three", X), of_kind("three", X_val)
    est = make("three", scoring=scoring, solver=solver)
    for weight in (None, w_val):
        est.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
        predicted, last = est.predict(X_val), est.validation_scores_[-1]
        expected = {
            "f1_macro": f1_score(y_val, predicted, average="macro", sample_weight=weight),
            "neg_log_loss": -log_loss(y_val, est.predict_proba(X_val), sample_weight=weight),
            "accuracy": accuracy_score(y_val, predicted, sample_weight=weight),
            fewest_misses: -np.average(predicted != y_val, weights=weight),
        }[scoring]
        assert last == pytest.approx(expected, rel=1e-12)
    stopped = make("three", scoring=scoring, solver=solver, early_stopping=True, max_iter=30)
    stopped.fit(X, y, X_val=X_val, y_val=y_val)
    assert stopped.best_validation_score_ == max(stopped.validation_scores_)
    pickle.loads(pickle.dumps(stopped))
    assert clone(stopped).scoring == scoring


@pytest.mark.parametrize("scoring", ["neg_mean_absolute_error", "r2", "loss"])
def test_scorers_of_splits(scoring):
    y = of_kind("one", X)
    params = {"early_stopping": True, "validation_fraction": 0.4, "max_iter": 30, "tol": 0.0}
    est = make("one", scoring=scoring, **params).fit(X, y)
    # Of the rows held out, the best network has the best score that was found.
    rows = held_out(params)
    score = {
        "neg_mean_absolute_error": -mean_absolute_error(y[rows], est.predict(X[rows])),
        "r2": r2_score(y[rows], est.predict(X[rows])),
        "loss": -0.5 * np.mean((y[rows] - est.predict(X[rows])) ** 2),
    }[scoring]
    assert est.best_validation_score_ == pytest.approx(score, rel=1e-12)


def held_out(params):
    """The rows that a fit holds out: the random stream draws the weights first, then these."""
    stream = np.random.RandomState(SMALL["random_state"])
    for shape in ((4, 6), 6, (6, 1), 1):
        stream.uniform(size=shape)
    rows = np.arange(len(X))
    return train_test_split(rows, test_size=params["validation_fraction"], random_state=stream)[1]


def test_scorers_that_fail():
    y, y_val = of_kind("two", X), of_kind("two", X_val)
    own = {"X_val": X_val, "y_val": y_val}
    with pytest.raises(ValueError, match="The 'scoring' parameter of MLPClassifier must be"):
        make("two", scoring="no such").fit(X, y, **own)
    est = make("two", scoring=lambda *args: "good")
    with pytest.raises(ValueError, match="scoring must return a number, got 'good'"):
        est.fit(X, y, **own)
    assert not hasattr(est, "coefs_")
    with pytest.raises(ZeroDivisionError):
        make("two", scoring=lambda *args: 1 / 0).fit(X, y, **own)


def test_a_scorer_sees_the_current_network():
    seen = []

    def scorer(estimator, data, target):
        seen.append((estimator.n_iter_, parameters(estimator).copy(), estimator.loss_))
        assert type(estimator) is MLPRegressor
        return len(seen)

    y, y_val = of_kind("one", X), of_kind("one", X_val)
    est = make("one", scoring=scorer).fit(X, y, X_val=X_val, y_val=y_val)
    assert [n for n, _, _ in seen] == list(range(1, 13))
    assert [loss for _, _, loss in seen] == est.loss_curve_
    np.testing.assert_array_equal(seen[-1][1], parameters(est))
    assert est.validation_scores_ == list(range(1, 13))
    assert est.best_iteration_ == 12


def test_search_over_scoring():
    grid = {"scoring": [None, "loss", "r2"], "early_stopping": [True]}
    search = GridSearchCV(make("one"), grid, cv=2).fit(X, of_kind("one", X))
    assert search.best_estimator_.best_iteration_ >= 1


# -------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["two", "one"])
def test_target_loss(kind, solver):
    y = of_kind(kind, X)
    losses = []
    every = make(kind, solver=solver, max_iter=40, tol=0.0, n_iter_no_change=99)
    if solver == "lbfgs":
        for n in range(1, 9):
            losses.append(clone(every).set_params(max_iter=n).fit(X, y).loss_)
    else:
        losses = every.fit(X, y).loss_curve_
    at = len(losses) // 2
    est = clone(every).set_params(target_loss=losses[at]).fit(X, y)
    assert est.stop_reason_ == "target_loss"
    assert est.n_iter_ == 1 + np.flatnonzero(np.array(losses) <= losses[at])[0]
    assert est.loss_ == losses[est.n_iter_ - 1]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("own", [False, True])
def test_target_score(solver, own, capsys):
    y, y_val = of_kind("two", X), of_kind("two", X_val)
    params = {"solver": solver, "target_score": 0.8, "max_iter": 200, "verbose": own}
    if own:
        est = make("two", **params).fit(X, y, X_val=X_val, y_val=y_val)
        assert f"Iteration {est.n_iter_} has reached target_score. Stopping." in (
            capsys.readouterr().out
        )
    elif solver == "lbfgs":
        return  # makes no split
    else:
        est = make("two", **params, early_stopping=True, n_iter_no_change=99).fit(X, y)
    assert est.stop_reason_ == "target_score"
    assert est.validation_scores_[-1] >= 0.8
    assert all(score < 0.8 for score in est.validation_scores_[:-1])


def test_target_score_needs_validation_data():
    y = of_kind("two", X)
    for solver in SOLVERS:
        with pytest.raises(ValueError, match=r"target_score=0.9 needs validation data"):
            make("two", target_score=0.9, solver=solver).fit(X, y)
    with pytest.raises(ValueError, match=r"target_score=0.9 needs validation data"):
        make("two", target_score=0.9, solver="lbfgs", early_stopping=True).fit(X, y)


class Clock:
    """Advances by a second whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


@pytest.mark.parametrize("solver", SOLVERS)
def test_time_limit(solver, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    y = of_kind("one", X)
    est = make("one", solver=solver, max_iter=1000, time_limit=10, tol=0.0).fit(X, y)
    assert est.stop_reason_ == "time_limit"
    assert 1 <= est.n_iter_ <= 10
    assert np.isfinite(est.loss_)
    monkeypatch.undo()
    quick = make("one", solver=solver, time_limit=1e-9).fit(X, y)
    assert (quick.n_iter_, quick.stop_reason_) == (1, "time_limit")


def test_time_limit_within_an_epoch(monkeypatch):
    """Samples that were seen count, in t_ and in the loss."""
    from fastmlp._training import stochastic

    monkeypatch.setattr(stochastic, "RUN_FLOPS", 0.0)  # a run is one mini-batch
    monkeypatch.setattr(time, "monotonic", Clock().monotonic)
    y = of_kind("one", X)
    params = {"batch_size": 10, "solver": "sgd", "shuffle": False}
    est = make("one", **params, time_limit=3).fit(X, y)
    assert (est.n_iter_, est.t_, est._optimizer.t) == (1, 30, 3)
    monkeypatch.undo()
    part = make("one", **params, max_iter=1).fit(X[:30], y[:30])
    np.testing.assert_array_equal(parameters(est), parameters(part))
    assert est.loss_curve_ == part.loss_curve_


def test_reasons_to_stop():
    y = of_kind("one", X)
    reasons = {
        "n_iter_no_change": {"tol": 1e9},
        "max_iter": {"max_iter": 2},
        "tol": {"solver": "lbfgs", "max_iter": 1000, "tol": 0.1},
        "max_fun": {"solver": "lbfgs", "max_fun": 3},
    }
    for reason, params in reasons.items():
        est = make("one", **params).fit(X, y)
        assert est.stop_reason_ == reason
        assert pickle.loads(pickle.dumps(est)).stop_reason_ == reason
    assert make("one", solver="lbfgs", max_iter=2).fit(X, y).stop_reason_ == "max_iter"
    assert make("one").partial_fit(X, y).stop_reason_ is None


@pytest.mark.parametrize("kind", ["three", "one"])
def test_partial_fit_may_stop_early(kind):
    y, y_val = of_kind(kind, X), of_kind(kind, X_val)
    own = {"X_val": X_val, "y_val": y_val}
    params = {"early_stopping": True, "n_iter_no_change": 3, "tol": 0.01, "max_iter": 500}
    est = make(kind, **params)
    first = {"classes": np.unique(y)} if kind == "three" else {}
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        est.partial_fit(X, y, **first)
    for _ in range(500):
        est.partial_fit(X, y, **own, **first)
        if est.stop_reason_:
            break
    assert est.stop_reason_ == "n_iter_no_change"
    scores = list(est.validation_scores_)
    # Calls are epochs of one fit.
    whole = make(kind, **params).fit(X, y, **own)
    n_no_progress = params["n_iter_no_change"]
    assert len(scores) == whole.n_iter_ > n_no_progress
    assert est.score(X_val, y_val) == pytest.approx(max(scores), abs=1e-12)
    # It has stopped, also when it was copied or stored.
    for stopped in (est, copy.deepcopy(est), pickle.loads(pickle.dumps(est))):
        before = parameters(stopped).copy()
        stopped.partial_fit(X, y, **own)
        np.testing.assert_array_equal(parameters(stopped), before)
        assert stopped.validation_scores_ == scores
    # More patience, and it goes on; so it does after a fit.
    est.set_params(n_iter_no_change=100).partial_fit(X, y, **own)
    assert len(est.validation_scores_) == len(scores) + 1
    assert not np.shares_memory(est._best_coefs[0], est.coefs_[0])
    whole.partial_fit(X, y, **own)
    assert len(whole.validation_scores_) == len(scores) + 1


def test_warm_starts_go_on_with_the_curves():
    y, y_val = of_kind("two", X), of_kind("two", X_val)
    est = make("two", warm_start=True, max_iter=4)
    est.fit(X, y, X_val=X_val, y_val=y_val).fit(X, y, X_val=X_val, y_val=y_val)
    assert len(est.validation_scores_) == len(est.validation_loss_curve_) == 8
    assert est.fit(X, y).validation_scores_ == est.validation_scores_[:8]
    est.set_params(early_stopping=True, validation_fraction=0.5).fit(X, y)
    assert len(est.validation_scores_) == len(est.validation_loss_curve_) == 12
    assert np.isfinite(est.validation_loss_curve_).all()
    est.set_params(early_stopping=False)
    assert not hasattr(est.set_params(warm_start=False).fit(X, y), "validation_loss_curve_")


def test_verbose_output(capsys):
    y, y_val = of_kind("two", X), of_kind("two", X_val)
    make("two", verbose=True, max_iter=1).fit(X, y, X_val=X_val, y_val=y_val)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"Iteration 1, loss = [\d.]+", lines[0])
    assert re.fullmatch(r"Validation score: [\d.]+", lines[1])
    assert re.fullmatch(r"Validation loss: [\d.]+", lines[2])


@pytest.mark.parametrize("name", ["target_loss", "target_score", "time_limit"])
def test_goals_that_make_no_sense(name):
    for value in ("a", np.nan, np.inf, [1.0], *([0, -1.0] if name == "time_limit" else [])):
        with pytest.raises(ValueError, match=f"The '{name}' parameter of MLPRegressor"):
            make("one", **{name: value}).fit(X, of_kind("one", X))


def test_callbacks_are_documented():
    for name in callbacks.__all__:
        cls = getattr(callbacks, name)
        assert issubclass(cls, callbacks.Callback)
        assert inspect.getdoc(cls)
