"""The same fit as scikit-learn's: every configuration is fitted by both and compared.

A Case names a task, parameters, a form of X and a procedure (fit, warm starts, calls of
partial_fit). What must agree: every number of the loss curve, weights, predictions and their
dtypes, counters, scores, what is printed, warnings. float64 differs by rounding only; float32 by
more, as the order of its sums is another one.
"""

import contextlib
import io
import itertools
import warnings
from dataclasses import dataclass, field
from numbers import Real

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.neural_network as original
from sklearn.datasets import make_multilabel_classification
from versions import SKLEARN

import fastmlp

N_SAMPLES, N_FEATURES = 70, 6


# ------------------------------------------------------------------------------------------ data


def _tasks():
    rng = np.random.RandomState(0)
    X = rng.uniform(-2, 2, (N_SAMPLES, N_FEATURES))
    X[rng.uniform(size=X.shape) < 0.4] = 0  # so that a sparse X has something to leave out
    z = X[:, 0] - X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(N_SAMPLES)
    codes = np.digitize(z, np.quantile(z, [0.3, 0.6]))
    several = make_multilabel_classification(N_SAMPLES, n_classes=4, random_state=0)[1]
    multi = np.column_stack([z, -z + X[:, 3], X[:, 4] ** 2])
    return X, {
        "binary": ("MLPClassifier", {}, (codes > 0).astype(int)),
        "multiclass": ("MLPClassifier", {}, codes),
        "multilabel": ("MLPClassifier", {}, several),
        "regression": ("MLPRegressor", {}, z),
        "multioutput": ("MLPRegressor", {}, multi),
        "poisson": ("MLPRegressor", {"loss": "poisson"}, rng.poisson(np.exp(z / 2)).astype(float)),
        # labels of other kinds, and values of other dtypes
        "strings": ("MLPClassifier", {}, np.array(["low", "middle", "very high"])[codes]),
        "objects": ("MLPClassifier", {}, np.array(["no", "yes", "?"], dtype=object)[codes]),
        "two-strings": ("MLPClassifier", {}, np.array(["no", "yes"])[codes % 2]),
        "booleans": ("MLPClassifier", {}, codes > 1),
        "negative": ("MLPClassifier", {}, codes * 5 - 7),
        "bytes-wide": ("MLPClassifier", {}, codes.astype(np.int8)),
        "unsigned": ("MLPClassifier", {}, codes.astype(np.uint16)),
        "floats": ("MLPClassifier", {}, codes.astype(np.float32)),
        "two-floats": ("MLPClassifier", {}, (codes % 2).astype(float)),
        "one-class": ("MLPClassifier", {}, np.full(N_SAMPLES, 3)),
        "list": ("MLPClassifier", {}, codes.tolist()),
        "indicator-bool": ("MLPClassifier", {}, several.astype(bool)),
        "indicator-sparse": ("MLPClassifier", {}, sp.csr_matrix(several)),
        "integers": ("MLPRegressor", {}, codes),
        "y-float32": ("MLPRegressor", {}, z.astype(np.float32)),
        "y-float16": ("MLPRegressor", {}, z.astype(np.float16)),
        "y-bool": ("MLPRegressor", {}, codes > 1),
        "y-objects": ("MLPRegressor", {}, z.astype(object)),
        "multioutput-integers": ("MLPRegressor", {}, several),
        "multioutput-poisson": ("MLPRegressor", {"loss": "poisson"}, several.astype(float)),
    }


X_ALL, TASKS = _tasks()
SIX = list(TASKS)[:6]

FORMS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda X: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "integers": lambda X: np.rint(X * 3).astype(np.int64),
    "float16": lambda X: X.astype(np.float16),
    "swapped-bytes": lambda X: X.astype(X.dtype.newbyteorder()),
    "list": lambda X: X.tolist(),
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "coo": sp.coo_matrix,
    "csr-array": sp.csr_array,
    "csr-float32": lambda X: sp.csr_matrix(X.astype(np.float32)),
    "csr-integers": lambda X: sp.csr_matrix(np.rint(X * 3).astype(np.int32)),
    "csr-int64-index": lambda X: with_index(sp.csr_matrix(X), np.int64),
    "csr-unsorted": lambda X: unsorted(sp.csr_matrix(X)),
    "csr-duplicates": lambda X: duplicated(sp.csr_matrix(X)),
    "csr-empty": lambda X: sp.csr_matrix(X.shape),
}


def with_index(X, dtype):
    X.indices, X.indptr = X.indices.astype(dtype), X.indptr.astype(dtype)
    return X


def unsorted(X):
    for i in range(X.shape[0]):
        row = slice(X.indptr[i], X.indptr[i + 1])
        X.indices[row], X.data[row] = X.indices[row][::-1].copy(), X.data[row][::-1].copy()
    X.has_sorted_indices = False
    return X


def duplicated(X):
    """Every entry in two halves that lie apart."""
    halves = sp.csr_matrix(X.shape)
    halves.indptr = X.indptr * 2
    rows = [slice(*ends) for ends in itertools.pairwise(X.indptr)]
    halves.indices = np.concatenate([np.tile(X.indices[row], 2) for row in rows])
    halves.data = np.concatenate([np.tile(X.data[row] / 2, 2) for row in rows])
    return halves


def _weights():
    rng = np.random.RandomState(1)
    weights = rng.uniform(0.1, 3, N_SAMPLES)
    some = weights.copy()
    some[::3] = 0
    return {
        None: None,
        "random": weights,
        "zeros": some,
        "float32": weights.astype(np.float32),
        "integers": rng.randint(1, 4, N_SAMPLES),
        "list": weights.tolist(),
        "number": 2.5,
    }


WEIGHTS = _weights()


# ----------------------------------------------------------------------------------------- cases


@dataclass
class Case:
    name: str
    task: str
    params: dict = field(default_factory=dict)
    form: str = "float64"
    weights: str | None = None
    procedure: str = "fit"


SOLVER = {
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.02},
    "lbfgs": {"solver": "lbfgs", "max_iter": 12},
}
STOCHASTIC = ["adam", "sgd"]
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]
MIXED = ["binary", "multiclass", "multioutput"]


def cases():
    for task, solver, activation, form in itertools.product(
        SIX, SOLVER, ACTIVATIONS, ["float64", "float32"]
    ):
        params = SOLVER[solver] | {"activation": activation}
        if solver == "lbfgs" and form == "float32":
            params["max_iter"] = 6  # soon it ends where rounding hides all progress
        yield Case(f"{solver}-{activation}", task, params, form)

    for task, schedule, momentum, nesterov in itertools.product(
        MIXED, ["constant", "invscaling", "adaptive"], [0, 0.5, 0.9, 1.0], [True, False]
    ):
        if momentum or nesterov:
            params = {"learning_rate": schedule, "momentum": momentum} | SOLVER["sgd"]
            # a tolerance that is missed now and then, so that 'adaptive' has something to do
            params |= {"nesterovs_momentum": nesterov, "tol": 0.02, "n_iter_no_change": 2}
            yield Case(f"{schedule}-{momentum}-{nesterov}", task, params)

    for task, solver, shuffle, batch_size in itertools.product(
        ["binary", "multioutput"], STOCHASTIC, [True, False], [1, 7, 32, 70, 500]
    ):
        params = SOLVER[solver] | {"shuffle": shuffle, "batch_size": batch_size, "max_iter": 5}
        yield Case(f"{solver}-batch{batch_size}-{shuffle}", task, params)

    for task, solver, weights in itertools.product(SIX, STOCHASTIC, [None, "random"]):
        params = SOLVER[solver] | {"early_stopping": True, "max_iter": 25, "n_iter_no_change": 3}
        params |= {"tol": 1e-3, "batch_size": 20}
        yield Case(f"{solver}-stopping", task, params, weights=weights)
        yield Case(f"{solver}-stopping", task, params, "csr", weights=weights)
    for fraction, solver in itertools.product([0.05, 0.3, 0.5], STOCHASTIC):
        params = SOLVER[solver] | {"early_stopping": True, "validation_fraction": fraction}
        yield Case(f"{solver}-stopping-{fraction}", "multiclass", params)
    adaptive = {"early_stopping": True, "learning_rate": "adaptive", "tol": 0.05, "verbose": True}
    for task in SIX:
        params = SOLVER["sgd"] | adaptive | {"n_iter_no_change": 1, "max_iter": 60}
        yield Case("adaptive-stopping", task, params)

    for task, solver in itertools.product(SIX, SOLVER):
        params = SOLVER[solver] | {"warm_start": True}
        yield Case(f"{solver}-warm", task, params, procedure="warm")
        if solver != "lbfgs":
            params |= {"early_stopping": True, "n_iter_no_change": 2, "tol": 0.01, "max_iter": 30}
            yield Case(f"{solver}-warm-stopping", task, params, procedure="warm")

    for task, solver, weights in itertools.product(SIX, STOCHASTIC, [None, "zeros"]):
        params = SOLVER[solver] | {"batch_size": 16}
        yield Case(f"{solver}-partial", task, params, weights=weights, procedure="partial")
        yield Case(f"{solver}-then", task, params, weights=weights, procedure="fit, partial")
    for schedule in ["invscaling", "adaptive"]:
        params = SOLVER["sgd"] | {"learning_rate": schedule, "tol": 0.1, "n_iter_no_change": 1}
        yield Case(f"{schedule}-partial", "multiclass", params, procedure="partial")
    yield Case("lbfgs-partial", "regression", SOLVER["lbfgs"], procedure="partial")
    for form in ["csr", "float32", "csr-float32"]:
        yield Case("partial", "multiclass", SOLVER["adam"], form, procedure="partial")

    for task, solver, form in itertools.product(SIX, SOLVER, ["csr", "csc"]):
        yield Case(f"{solver}-sparse", task, SOLVER[solver] | {"batch_size": 16}, form)
    for form, solver in itertools.product(list(FORMS)[2:], SOLVER):
        yield Case(f"{solver}-form", "multiclass", SOLVER[solver], form)

    for task, solver in itertools.product(SIX, SOLVER):
        for weights in ["random", "zeros"]:
            params = SOLVER[solver] | {"batch_size": 35}
            yield Case(f"{solver}-weights", task, params, weights=weights)
    for weights in ["float32", "integers", "list", "number"]:
        yield Case("weights", "multiclass", SOLVER["adam"], weights=weights)
        yield Case("weights", "regression", SOLVER["lbfgs"], "csr", weights=weights)

    for task, solver in itertools.product(list(TASKS)[6:], ["adam", "lbfgs"]):
        yield Case(f"{solver}-target", task, SOLVER[solver])
        stopping = {"early_stopping": True, "max_iter": 8}
        yield Case(f"{solver}-target-stopping", task, SOLVER[solver] | stopping)

    for name, params in {
        "alpha-0": {"alpha": 0},
        "alpha-1": {"alpha": 1.0},
        "alpha-100": {"alpha": 100.0},
        "linear": {"hidden_layer_sizes": ()},
        "int": {"hidden_layer_sizes": 5},
        "one": {"hidden_layer_sizes": (1,)},
        "array": {"hidden_layer_sizes": np.array([4, 3])},
        "deep": {"hidden_layer_sizes": [3, 1, 17, 4, 5]},
        "deep-logistic": {"hidden_layer_sizes": (6, 5), "activation": "logistic"},
        "loose": {"tol": 0.5, "n_iter_no_change": 2, "max_iter": 50},
        "never": {"tol": 1e9, "n_iter_no_change": np.inf},
        "verbose": {"verbose": True, "tol": 0.1, "n_iter_no_change": 1, "max_iter": 50},
    }.items():
        for task, solver in itertools.product(["multiclass", "regression"], SOLVER):
            if not (solver == "lbfgs" and name in ("loose", "never", "verbose")):
                yield Case(f"{solver}-{name}", task, SOLVER[solver] | params)
    for name, params in {
        "power-0": {"learning_rate": "invscaling", "power_t": 0},
        "power-1": {"learning_rate": "invscaling", "power_t": 1.0},
        "fast": {"learning_rate_init": 0.5, "momentum": 0},
        "adam-schedule": {"solver": "adam", "learning_rate": "invscaling"},
        "beta-0": {"solver": "adam", "beta_1": 0.0, "beta_2": 0.0, "epsilon": 0.1},
        "beta-high": {"solver": "adam", "beta_1": 0.99, "beta_2": 0.5, "epsilon": 1e-3},
        "max_fun": {"solver": "lbfgs", "max_fun": 3},
        "lbfgs-loose": {"solver": "lbfgs", "tol": 0.05, "max_iter": 100},
    }.items():
        yield Case(name, "multiclass", SOLVER["sgd"] | params)


CASES = {}
for _case in cases():
    _id = f"{_case.task}-{_case.name}-{_case.form}-{_case.weights}-{_case.procedure}"
    assert _id not in CASES, _id
    CASES[_id] = _case


# ---------------------------------------------------------------------------------- both, side by


@dataclass
class Outcome:
    estimator: object
    printed: str
    warnings: list
    outputs: list


def rows(a, at):
    return [a[i] for i in at] if isinstance(a, list) else a if np.isscalar(a) else a[at]


def run(module, case):
    """Carry the procedure out with the estimators of a module."""
    class_name, task_params, y = TASKS[case.task]
    params = {"hidden_layer_sizes": (7, 5), "max_iter": 10, "tol": 0.0, "random_state": 3}
    estimator = getattr(module, class_name)(**params | task_params | case.params)
    X, weights = FORMS[case.form](X_ALL), WEIGHTS[case.weights]
    classify = class_name == "MLPClassifier"
    labels = range(4) if case.task == "multilabel" else np.unique(y)
    printed = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        for step in case.procedure.split(", "):
            if step in ("fit", "warm"):
                estimator.fit(X, y, sample_weight=weights)
            if step == "warm":
                estimator.fit(X, y, sample_weight=weights)
                estimator.set_params(max_iter=estimator.max_iter + 3, alpha=0.01)
                estimator.fit(X, y, sample_weight=weights)
            if step == "partial":
                # at first few rows, then more, then all; classes may be told again or not
                for n, tell in [(11, True), (11, False), (40, True), (N_SAMPLES, False)]:
                    at = np.arange(N_SAMPLES)[-n:]
                    if isinstance(X, sp.csc_matrix):
                        part = X.tocsr()[at]
                    else:
                        part = rows(X, at)
                    weight = None if weights is None else rows(weights, at)
                    more = {"classes": labels} if classify and tell else {}
                    estimator.partial_fit(part, rows(y, at), sample_weight=weight, **more)
        outputs = [estimator.predict(X)]
        if classify:
            outputs += [estimator.predict_proba(X), estimator.predict_log_proba(X)]
        outputs.append(estimator.score(X, y))
    # NumPy speaks of overflows that happen in C here.
    caught = [(w.category, str(w.message)) for w in caught if w.category is not RuntimeWarning]
    return Outcome(estimator, printed.getvalue(), caught, outputs)


EXACT = ["n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"]
CLOSE = ["loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_agrees(case):
    ours = run(fastmlp, case)
    try:
        theirs = run(original, case)
    except TypeError:
        if SKLEARN >= (1, 9):
            raise
        pytest.skip("scikit-learn before 1.9 cannot stop early on labels that are no numbers")
    a, b = ours.estimator, theirs.estimator
    single = "float32" in case.form
    loss_rtol, rtol, atol = (2e-3, 2e-2, 2e-3) if single else (1e-6, 1e-5, 1e-8)

    for name in EXACT:
        assert getattr(a, name) == getattr(b, name), name
    for name in CLOSE:
        x, y = getattr(a, name, "missing"), getattr(b, name, "missing")
        same_kind = isinstance(x, type(y)) or isinstance(y, type(x))
        # Which float a loss is depends on the version of SciPy.
        assert same_kind or (isinstance(x, Real) and isinstance(y, Real)), name
        if x is None or isinstance(x, str):
            assert x == y, name
        else:
            np.testing.assert_allclose(x, y, rtol=loss_rtol, err_msg=name)
    assert getattr(a, "_no_improvement_count", None) == getattr(b, "_no_improvement_count", None)
    if hasattr(b, "_optimizer"):
        np.testing.assert_allclose(
            a._optimizer.learning_rate, b._optimizer.learning_rate, rtol=1e-12
        )
    if hasattr(b, "classes_"):
        np.testing.assert_array_equal(a.classes_, b.classes_, strict=True)

    for name in ("coefs_", "intercepts_"):
        assert isinstance(getattr(a, name), list)
        for x, y in zip(getattr(a, name), getattr(b, name), strict=True):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=name)
            assert x.dtype == y.dtype
            assert type(x) is np.ndarray
            assert x.flags.c_contiguous
            assert x.flags.writeable
    for x, y in zip(ours.outputs, theirs.outputs, strict=True):
        if sp.issparse(y):
            assert type(x) is type(y)
            x, y = x.toarray(), y.toarray()
        if np.asarray(y).dtype.kind == "f":
            np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(x, y)
        assert np.asarray(x).dtype == np.asarray(y).dtype
        assert np.shape(x) == np.shape(y)

    assert ours.warnings == theirs.warnings
    if single:
        assert ours.printed.count("\n") == theirs.printed.count("\n")
    else:
        assert ours.printed == theirs.printed


def test_enough_is_compared():
    assert len(CASES) >= 400
