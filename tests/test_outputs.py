"""What a fitted network tells besides its predictions."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score, log_loss, mean_absolute_error, roc_auc_score
from versions import needs_1_9

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (6, 5), "max_iter": 20, "random_state": 0, "activation": "tanh"}
SMALL["learning_rate_init"] = 0.05

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (50, 4))
w = rng.uniform(0.1, 2, 50)
del rng
positive, last, z = X[:, 0] + X[:, 1] > 0, X[:, 2] > 0.4, X[:, 0] - X[:, 1] * X[:, 2]
TARGETS = {
    "two": positive.astype(int),
    "three": np.array(["b", "a", "c"])[np.where(last, 2, positive)],
    "multilabel": np.column_stack([positive, last, ~last]).astype(int),
    "one": z,
    "many": np.column_stack([z, z**2]),
    "poisson": np.exp(z),
}
CLASSIFIED = ["two", "three", "multilabel"]
FORMS = {
    "float64": X,
    "float32": X.astype(np.float32),
    "csr": sp.csr_array(X),
    "fortran": np.asfortranarray(X),
    "list": X.tolist(),
}
PRECISIONS = ["auto", "float32", "float64", "bfloat16"]


def fitted(kind, **params):
    if kind == "poisson":
        params["loss"] = "poisson"
    cls = MLPClassifier if kind in CLASSIFIED else MLPRegressor
    return cls(**SMALL | params).fit(X, TARGETS[kind])


def forward(est):
    """The network by the specification: [Z of each layer], [A of each layer]."""
    layers = [est.activation] * (len(est.coefs_) - 1) + [est.out_activation_]
    operand = reference.to_bfloat16 if est.precision == "bfloat16" else reference.exact
    passes = reference.forward(X, est.coefs_, est.intercepts_, layers, operand)
    return [layer.Z for layer in passes], [layer.out for layer in passes]


def tolerance(est, data):
    single = "float32" in (est.precision, str(getattr(data, "dtype", "")))
    return 1e-2 if est.precision == "bfloat16" else 1e-5 if single else 1e-12


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", TARGETS)
def test_parts_of_the_network(kind, form, precision):
    est, data = fitted(kind, precision=precision), FORMS[form]
    Z, A = forward(est)
    close = {"rtol": tolerance(est, data), "atol": tolerance(est, data)}
    raw = est.raw_predict(data)
    np.testing.assert_allclose(raw.reshape(50, -1), Z[-1], **close)
    assert raw.ndim == (1 if kind in ("two", "one", "poisson") else 2)
    outputs = est.predict_proba(data) if kind in CLASSIFIED else est.predict(data)
    assert raw.dtype == outputs.dtype
    for layer, expected in ((0, A[0]), (1, A[1]), (-1, A[1]), (-2, A[0])):
        hidden = est.hidden_activations(data, layer)
        np.testing.assert_allclose(hidden, expected, **close)
        assert hidden.dtype == outputs.dtype
    np.testing.assert_array_equal(est.hidden_activations(data), est.hidden_activations(data, 1))


@pytest.mark.parametrize("kind", CLASSIFIED)
def test_decision_function_is_scikit_learns(kind):
    est = fitted(kind)
    scores, predicted = est.decision_function(X), est.predict(X)
    np.testing.assert_array_equal(scores, est.raw_predict(X))
    if kind == "two":
        np.testing.assert_array_equal((scores > 0).astype(int), predicted)
        np.testing.assert_allclose(1 / (1 + np.exp(-scores)), est.predict_proba(X)[:, 1])
        assert roc_auc_score(TARGETS[kind], scores) > 0.8
    elif kind == "three":
        np.testing.assert_array_equal(est.classes_[scores.argmax(axis=1)], predicted)
        powers = np.exp(scores)
        np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), est.predict_proba(X))
    else:
        np.testing.assert_array_equal((scores > 0).astype(int), predicted)
    assert not hasattr(MLPRegressor(), "decision_function")


def test_one_class_and_no_hidden_layer():
    est = MLPClassifier((), max_iter=2).fit(X, np.zeros(50))
    assert est.decision_function(X).shape == (50,)
    np.testing.assert_allclose(est.raw_predict(X), (X @ est.coefs_[0] + est.intercepts_[0]).ravel())
    with pytest.raises(ValueError, match="layer=-1, but the network has 0 hidden layers"):
        est.hidden_activations(X)
    est.set_params(hidden_layer_sizes=3).fit(X, np.zeros(50))
    with pytest.raises(ValueError, match=r"layer=1, but the network has 1 hidden layer\."):
        est.hidden_activations(X, 1)


def test_edited_weights_count():
    est = fitted("one")
    est.coefs_ = [W.astype(np.float32) for W in est.coefs_]
    est.intercepts_[0] = est.intercepts_[0][:-1]
    for method in (est.raw_predict, est.hidden_activations):
        with pytest.raises(ValueError, match=r"intercepts_\[0\] has shape \(5,\)"):
            method(X)
    with pytest.raises(ValueError, match=r"intercepts_\[0\] has shape \(5,\)"):
        est.evaluate(X, z)


def test_bad_arguments():
    est = fitted("one")
    for layer in (2, -3):
        with pytest.raises(ValueError, match=f"layer={layer}, but the network has 2 hidden"):
            est.hidden_activations(X, layer)
    with pytest.raises(TypeError):
        est.hidden_activations(X, 0.5)
    for data in (X[:, :3], np.full_like(X, np.nan)):
        for method in (est.raw_predict, est.hidden_activations, lambda a: est.evaluate(a, z)):
            with pytest.raises(ValueError, match=r"features|NaN"):
                method(data)
    for method in ("raw_predict", "hidden_activations", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(MLPClassifier(), method)(X)
    with pytest.raises(NotFittedError):
        MLPClassifier().evaluate(X, z)
    with pytest.raises(ValueError, match="classes not in"):
        fitted("two").evaluate(X, np.full(50, 7))
    with pytest.raises(ValueError, match="y has 2 outputs, but the network has 1"):
        est.evaluate(X, TARGETS["many"])
    with pytest.raises(ValueError, match="sample_weight"):
        est.evaluate(X, z, sample_weight=w[:3])


@pytest.mark.parametrize("weight", [None, w], ids=["plain", "weighted"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", TARGETS)
def test_evaluate(kind, form, precision, weight):
    est, data, y = fitted(kind, precision=precision), FORMS[form], TARGETS[kind]
    result = est.evaluate(data, y, weight)
    metric = "accuracy" if kind in CLASSIFIED else "r2"
    assert list(result) == ["loss", metric]
    assert result[metric] == pytest.approx(est.score(data, y, weight), rel=1e-5)
    row = reference.LOSSES[
        {"three": "log_loss", "two": "binary_log_loss", "multilabel": "binary_log_loss"}.get(
            kind, getattr(est, "loss", None)
        )
    ]
    Y = est.classes_ == y[:, np.newaxis] if kind == "three" else y.reshape(50, -1)
    outputs = est.predict_proba(data) if kind in CLASSIFIED else est.predict(data)
    outputs = outputs[:, 1:] if kind == "two" else outputs.reshape(50, -1)
    per_sample = row.f(Y.astype(float), outputs.astype(float), 1e-15)
    expected = np.average(per_sample, weights=weight)
    assert result["loss"] == pytest.approx(expected, rel=max(1e-9, tolerance(est, data)))


def test_evaluate_is_what_validation_was():
    for kind in TARGETS:
        est, y = fitted(kind), TARGETS[kind]
        watched = fitted(kind)
        watched.fit(X, y, X_val=X, y_val=y)
        result = est.evaluate(X, y)
        assert result["loss"] == pytest.approx(watched.validation_loss_curve_[-1], rel=1e-12)
        assert list(result.values())[1] == pytest.approx(watched.validation_scores_[-1])


def test_scores_of_evaluate():
    est = fitted("three").set_params(scoring="f1_macro")
    y = TARGETS["three"]
    expected = f1_score(y, est.predict(X), average="macro", sample_weight=w)
    assert est.evaluate(X, y, w)["f1_macro"] == pytest.approx(expected)
    assert list(est.set_params(scoring="loss").evaluate(X, y)) == ["loss", "accuracy"]
    est = fitted("one").set_params(
        scoring=lambda e, data, target: -mean_absolute_error(target, e.predict(data))
    )
    assert est.evaluate(X, z)["score"] == -mean_absolute_error(z, est.predict(X))


def test_class_weights_are_part_of_the_loss():
    y, weights = TARGETS["two"], {0: 1.0, 1: 3.0}
    est = MLPClassifier(**SMALL, class_weight=weights).fit(X, y)
    expected = log_loss(y, est.predict_proba(X), sample_weight=np.where(y, 3, 1))
    assert est.evaluate(X, y) == pytest.approx({"loss": expected, "accuracy": est.score(X, y)})


def test_weights_that_are_not_finite():
    est = fitted("one")
    est.intercepts_[-1][:] = np.nan
    assert np.isnan(est.raw_predict(X)).all()
    assert np.isnan(list(est.evaluate(X, z).values())).all()


@pytest.mark.parametrize(
    "method", ["sigmoid", "isotonic", pytest.param("temperature", marks=needs_1_9)]
)
@pytest.mark.parametrize("kind", ["two", "three"])
def test_calibration_works_on_logits(kind, method):
    y = TARGETS[kind]
    calibrated = CalibratedClassifierCV(MLPClassifier(**SMALL), method=method, cv=3).fit(X, y)
    proba = calibrated.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert log_loss(y, proba) < log_loss(y, np.full_like(proba, 1 / proba.shape[1]))
