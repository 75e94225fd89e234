"""What the loss is taken of: weights of classes, mixed samples."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from sklearn.datasets import make_classification
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger"),
]

SMALL = {"hidden_layer_sizes": (5,), "max_iter": 4, "random_state": 0, "batch_size": 16}

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (60, 4))
w = rng.uniform(0.1, 2, 60)
LABELS = {
    "two": (np.arange(60) % 5 > 3).astype(int),
    "three": np.minimum(np.arange(60) % 7, 2),
    "strings": np.array(["a", "b", "c"])[np.minimum(np.arange(60) % 7, 2)],
    "multilabel": rng.randint(2, size=(60, 3)) * [1, 1, 0],
}
del rng
WEIGHTS = {
    "two": ["balanced", {0: 1, 1: 4}, {1: 2.5}, {}],
    "three": ["balanced", {0: 0.5, 2: 3}],
    "strings": ["balanced", {"a": 0.5, "c": 3}],
    "multilabel": ["balanced", [{0: 1, 1: 2}, {1: 3}, {0: 0.5}]],
}
CASES = [(name, weight) for name, of_these in WEIGHTS.items() for weight in of_these]


def parameters(estimator):
    return np.concatenate([a.ravel() for a in estimator.coefs_ + estimator.intercepts_])


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("sample_weight", [None, w], ids=["plain", "weighted"])
@pytest.mark.parametrize(("labels", "class_weight"), CASES, ids=str)
def test_class_weights_are_sample_weights(labels, class_weight, sample_weight, solver):
    y = LABELS[labels]
    expected = compute_sample_weight(class_weight, y)
    weighted = MLPClassifier(**SMALL, solver=solver, class_weight=class_weight)
    weighted.fit(X, y, sample_weight=sample_weight)
    product = expected if sample_weight is None else expected * sample_weight
    plain = MLPClassifier(**SMALL, solver=solver).fit(X, y, sample_weight=product)
    np.testing.assert_allclose(parameters(weighted), parameters(plain), rtol=1e-12)
    assert weighted.score(X, y) == plain.score(X, y)
    assert not hasattr(plain, "class_weight_")
    n_labels = y.shape[1] if y.ndim == 2 else None
    expected_shape = (n_labels, 2) if n_labels else (len(weighted.classes_),)
    assert weighted.class_weight_.shape == expected_shape
    assert not hasattr(weighted.set_params(class_weight=None).fit(X, y), "class_weight_")


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("sparse", [False, True])
def test_class_weights_in_all_arithmetic(precision, sparse):
    y, data = LABELS["three"], sp.csr_array(X) if sparse else X
    params = SMALL | {"precision": precision}
    a = MLPClassifier(**params, class_weight="balanced").fit(data, y)
    b = MLPClassifier(**params).fit(data, y, sample_weight=compute_sample_weight("balanced", y))
    np.testing.assert_array_equal(parameters(a), parameters(b))


def test_class_weights_of_batches_that_lack_classes():
    y = LABELS["three"]
    weighted = MLPClassifier(**SMALL, class_weight={1: 2.0, 2: 5.0})
    plain = MLPClassifier(**SMALL)
    for rows in (slice(0, 2), slice(2, 7), y == 2):
        weighted.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        w_rows = np.array([1.0, 2.0, 5.0])[y[rows]]
        plain.partial_fit(X[rows], y[rows], w_rows, classes=[0, 1, 2])
    np.testing.assert_array_equal(parameters(weighted), parameters(plain))
    np.testing.assert_array_equal(weighted.class_weight_, [1, 2, 5])


def test_class_weights_do_not_touch_scores():
    y = LABELS["two"]
    params = SMALL | {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 2}
    est = MLPClassifier(**params, class_weight={0: 0.0, 1: 1.0}).fit(X, y)
    n_val = 18
    hits = np.array(est.validation_scores_) * n_val
    np.testing.assert_allclose(hits, hits.round(), atol=1e-9)


def test_balanced_weights_find_the_rare_class():
    data, y = make_classification(600, weights=[0.95], class_sep=0.3, random_state=0)
    params = SMALL | {"max_iter": 10, "learning_rate_init": 0.01}
    plain, weighted = (
        MLPClassifier(**params, class_weight=c).fit(data, y) for c in (None, "balanced")
    )
    rare = y == 1
    assert weighted.score(data[rare], y[rare]) > plain.score(data[rare], y[rare]) + 0.5


@pytest.mark.parametrize(
    ("labels", "class_weight", "message"),
    [
        ("two", {0: 1, 7: 2}, r"classes, \[1\], are not in class_weight"),
        ("two", [{0: 1}, {1: 1}], "class_weight must be a dict or 'balanced'.*got a list"),
        ("two", {0: -1.0}, "class_weight must hold finite numbers from 0.*-1.0"),
        ("three", {0: np.nan}, "class_weight must hold finite numbers.*nan"),
        ("three", "x", "The 'class_weight' parameter of MLPClassifier must be"),
        ("multilabel", {0: 1, 1: 2}, "list of dicts where a sample may have several labels"),
        ("multilabel", [{0: 1}], "y has 3 labels, class_weight 1 dicts"),
        ("multilabel", [1.0, 2.0, 3.0], "list of dicts where a sample may have several labels"),
    ],
    ids=str,
)
def test_class_weights_that_make_no_sense(labels, class_weight, message):
    est = MLPClassifier(**SMALL, class_weight=class_weight)
    with pytest.raises(ValueError, match=message):
        est.fit(X, LABELS[labels])
    assert not hasattr(est, "coefs_")
    assert not hasattr(est, "class_weight_")


def test_partial_fit_cannot_balance():
    est = MLPClassifier(**SMALL, class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight='balanced' is not supported by partial_fit"):
        est.partial_fit(X, LABELS["two"], classes=[0, 1])
    assert not hasattr(est, "classes_")


# ----------------------------------------------------------------------------------------- mixup

VALUES = {"one": X[:, :1] - X[:, 1:2], "many": X[:, :2] ** 2}


def mixup_by_specification(X, Y, w, loss, out, start, alpha, params, indices=False):
    """Weights after training by sgd on samples that are mixed in NumPy."""
    stream = np.random.RandomState(params["random_state"])
    order = np.arange(len(X))
    net = reference.Net(
        [X.shape[1], 5, Y.shape[1]],
        dtype=np.float64,
        activations=["relu", out],
        loss=loss,
        optimizer="sgd",
        alpha=1e-4,
        max_rows=len(X),
    )
    net.load_params(*start)
    for _ in range(params["max_iter"]):
        stream.shuffle(order)
        others = stream.permutation(order)
        size = params["batch_size"]
        shares = np.repeat(stream.beta(alpha, alpha, -(-len(X) // size)), size)[: len(X)]
        mixed = [a if a is None else reference.mixed(a, order, others, shares) for a in (X, Y, w)]
        net.train(*mixed, np.arange(len(X)), params["batch_size"], params["learning_rate_init"])
    coefs, intercepts = [np.empty_like(W) for W in start[0]], [np.empty_like(b) for b in start[1]]
    net.store_params(coefs, intercepts)
    return np.concatenate([a.ravel() for a in coefs + intercepts])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("sample_weight", [None, w], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", ["two", "three", "multilabel", "one", "many"])
def test_mixup(kind, sample_weight, precision, sparse):
    params = SMALL | {"solver": "sgd", "learning_rate_init": 0.1, "precision": precision}
    data = X * (np.abs(X) > 0.5)
    if kind in VALUES:
        cls, y, Y, loss, out = MLPRegressor, VALUES[kind], VALUES[kind], "squared_error", "identity"
        y = y.ravel() if kind == "one" else y
    else:
        cls, y, loss, out = MLPClassifier, LABELS[kind], "binary_log_loss", "logistic"
        Y = y.reshape(60, -1).astype(float)
        if kind == "three":
            Y, loss, out = np.eye(3)[y], "log_loss", "softmax"
    stream = np.random.RandomState(7)
    start = (
        [stream.normal(size=s) for s in ((4, 5), (5, Y.shape[1]))],
        [stream.normal(size=n) for n in (5, Y.shape[1])],
    )
    est = cls(**params, mixup=0.4, init=start)
    est.fit(sp.csr_array(data) if sparse else data, y, sample_weight)
    expected = mixup_by_specification(data, Y, sample_weight, loss, out, start, 0.4, params)
    tolerance = 1e-9 if precision == "float64" else 1e-3
    np.testing.assert_allclose(parameters(est), expected, rtol=tolerance, atol=tolerance)
    plain = cls(**params, init=start).fit(data, y, sample_weight)
    assert np.abs(parameters(plain) - expected).max() > 1e-3


@pytest.mark.parametrize("sparse", [False, True])
def test_mixup_does_not_depend_on_threads_or_runs(sparse, monkeypatch):
    data, y = make_classification(400, 30, random_state=0)
    data = sp.csr_array(data * (np.abs(data) > 0.7)) if sparse else data
    params = {"hidden_layer_sizes": (40,), "max_iter": 3, "random_state": 0, "mixup": 0.2}
    one = MLPClassifier(**params, n_jobs=1, early_stopping=True).fit(data, y)
    two = MLPClassifier(**params, n_jobs=2, early_stopping=True).fit(data, y)
    np.testing.assert_array_equal(parameters(one), parameters(two))
    monkeypatch.setattr("fastmlp._training.stochastic.RUN_FLOPS", 0.0)
    short = MLPClassifier(**params, early_stopping=True).fit(data, y)
    np.testing.assert_array_equal(parameters(short), parameters(one))


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_mixup_of_partial_fit(solver):
    y = LABELS["three"]
    params = SMALL | {"solver": solver, "mixup": 0.3, "precision": "bfloat16"}
    est = MLPClassifier(**params)
    for rows in (slice(0, 1), slice(1, 30), slice(None)):
        est.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        assert np.isfinite(est.loss_)
    again = MLPClassifier(**params | {"warm_start": True}).fit(X, y).fit(X, y)
    assert again.t_ == 2 * 4 * 60


def test_mixup_that_makes_no_sense():
    y = LABELS["two"]
    for value in (-0.1, np.nan, "a", None):
        with pytest.raises(ValueError, match="The 'mixup' parameter of MLPClassifier"):
            MLPClassifier(mixup=value).fit(X, y)
    with pytest.raises(ValueError, match=r"mixup=0.2 needs a stochastic solver.*'lbfgs'"):
        MLPClassifier(mixup=0.2, solver="lbfgs").fit(X, y)
