"""Fitted estimators to scikit-learn and back."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn.neural_network as original
from samples import few
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, activations, losses, optimizers, schedules

X, y, z, labels = few(80)

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 4, "random_state": 0}
# What scikit-learn's estimators keep for training only, besides the fit's result.
PRIVATE = {"_optimizer", "_random_state", "_coef_indptr", "_intercept_indptr"}
PRIVATE |= {"_best_coefs", "_best_intercepts"}  # theirs of any fit, ours if they are wanted

CASES = {
    "classes": ("MLPClassifier", X, y, {}),
    "two classes": ("MLPClassifier", X, y > 0, {}),
    "strings": ("MLPClassifier", X, np.array(["a", "b", "c"])[y], {}),
    "labels": ("MLPClassifier", X, labels, {}),
    "sparse labels": ("MLPClassifier", sp.csr_matrix(X), sp.csr_matrix(labels), {}),
    "names": ("MLPClassifier", pd.DataFrame(X, columns=list("abcde")), y, {}),
    "float32": ("MLPClassifier", X.astype(np.float32), y, {"activation": "tanh"}),
    "stopping early": ("MLPClassifier", X, y, {"early_stopping": True}),
    "lbfgs": ("MLPClassifier", X, y, {"solver": "lbfgs", "activation": "logistic"}),
    "no hidden layer": ("MLPClassifier", X, y, {"hidden_layer_sizes": ()}),
    "numbers": ("MLPRegressor", X, z, {"solver": "sgd", "learning_rate": "invscaling"}),
    "several numbers": ("MLPRegressor", X, np.stack([z, -z], axis=1), {"activation": "identity"}),
    "counts": ("MLPRegressor", X, y, {"loss": "poisson"}),
}


def fitted(module, case):
    name, X, y, params = CASES[case]
    return getattr(module, name)(**SMALL | params).fit(X, y), X, y


def assert_same_predictions(a, b, X):
    for method in ("predict", "predict_proba"):
        if hasattr(a, method):
            ours, theirs = getattr(a, method)(X), getattr(b, method)(X)
            assert sp.issparse(ours) == sp.issparse(theirs)
            ours, theirs = (m.toarray() if sp.issparse(m) else m for m in (ours, theirs))
            assert ours.dtype == theirs.dtype
            if ours.dtype.kind == "f":
                rtol = 1e-5 if ours.dtype == np.float32 else 1e-12
                np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
            else:
                np.testing.assert_array_equal(ours, theirs)


def public(est):
    return {name for name in vars(est) if name.endswith("_")}


@pytest.mark.parametrize("case", CASES)
def test_to_sklearn(case):
    est, X, _ = fitted(fastmlp, case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = est.to_sklearn()
    theirs, _, _ = fitted(original, case)
    assert type(converted) is type(theirs)
    assert converted.get_params() == theirs.get_params()
    assert public(converted) == public(theirs)
    assert vars(theirs).keys() - vars(converted).keys() <= PRIVATE
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(converted, name) == getattr(theirs, name)
    assert_same_predictions(est, converted, X)
    assert_same_predictions(est, pickle.loads(pickle.dumps(converted)), X)
    assert repr(converted) == repr(theirs)


@pytest.mark.parametrize("case", CASES)
def test_from_sklearn(case):
    theirs, X, _ = fitted(original, case)
    est = getattr(fastmlp, type(theirs).__name__).from_sklearn(theirs)
    assert_same_predictions(est, theirs, X)
    assert est.get_params().items() >= theirs.get_params().items()
    assert public(est) == public(theirs)
    back = est.to_sklearn()
    assert vars(back).keys() >= vars(theirs).keys() - PRIVATE
    assert_same_predictions(back, theirs, X)
    assert_same_predictions(est, pickle.loads(pickle.dumps(est)), X)


@pytest.mark.parametrize("case", ["classes", "stopping early", "lbfgs", "numbers", "counts"])
def test_training_goes_on_alike(case):
    """A warm start of what was converted gives what it gives where it comes from."""
    theirs, X, y = fitted(original, case)
    est = getattr(fastmlp, type(theirs).__name__).from_sklearn(theirs)
    back = fitted(fastmlp, case)[0].to_sklearn()
    rtol = 1e-4 if case == "lbfgs" else 1e-6
    for one in (theirs, est, back):
        one.set_params(warm_start=True).fit(X, y)
    for one in (est, back):
        np.testing.assert_allclose(one.loss_, theirs.loss_, rtol=rtol)
        for a, b in zip(one.coefs_, theirs.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
        if case != "lbfgs":
            assert len(one.loss_curve_) == len(theirs.loss_curve_) == 8


def test_partial_fit_goes_on():
    first = MLPClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2])
    theirs = first.to_sklearn().partial_fit(X, y)
    ours = MLPClassifier.from_sklearn(first.to_sklearn()).partial_fit(X, y)
    assert ours.t_ == theirs.t_ == 160
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)


def test_copies_are_independent():
    est = MLPRegressor(**SMALL).fit(X, z)
    before = est.predict(X)
    converted = est.to_sklearn()
    converted.partial_fit(X, z)
    again = MLPRegressor.from_sklearn(converted)
    again.coefs_[0][:] = 0
    again.loss_curve_.clear()
    np.testing.assert_array_equal(est.predict(X), before)
    assert len(est.loss_curve_) == 4
    assert len(converted.loss_curve_) == 5
    assert converted.coefs_[0].any()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"solver": optimizers.SGD(0.5, False)}, {"solver": "sgd", "momentum": 0.5}),
        ({"solver": optimizers.Adam(beta_1=0.8)}, {"solver": "adam", "beta_1": 0.8}),
        ({"solver": optimizers.LBFGS(7)}, {"solver": "lbfgs", "max_fun": 7}),
        (
            {"learning_rate": schedules.InvScaling(0.3), "solver": "sgd"},
            {"learning_rate": "invscaling", "power_t": 0.3},
        ),
        ({"learning_rate": schedules.Constant()}, {"learning_rate": "constant"}),
        ({"loss": losses.Poisson()}, {"loss": "poisson"}),
        ({"activation": [activations.Tanh(), "tanh"]}, {"activation": "tanh"}),
        ({"hidden_layer_sizes": "6-4"}, {"hidden_layer_sizes": (6, 4)}),
        ({"n_jobs": 2}, {}),
    ],
)
def test_what_scikit_learn_calls_otherwise(ours, theirs):
    est = MLPRegressor(**SMALL | ours).fit(X, z + 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = est.to_sklearn()
    assert converted.get_params().items() >= theirs.items()
    assert_same_predictions(est, converted, X)
    clone(converted).fit(X, z + 3)  # it takes these parameters


@pytest.mark.parametrize(
    "params",
    [
        {"dropout": 0.2},
        {"solver": "lion"},
        {"learning_rate": "cosine"},
        {"learning_rate": schedules.Constant(warmup=2)},
        {"precision": "float32"},
        {"loss": losses.Huber(2.0)},
        {"init": "he_normal", "weight_averaging": 0.9},
        {"init": ([np.ones((5, 6)), np.ones((6, 4)), np.ones((4, 1))], None)},
        {"out_activation": "tanh"},
    ],
)
def test_what_only_training_depends_on_is_left_out_with_a_warning(params):
    est = MLPRegressor(**SMALL | params).fit(X, z)
    with pytest.warns(UserWarning, match="train in another way") as warned:
        converted = est.to_sklearn()
    (warning,) = warned
    assert warning.filename == __file__
    for name, value in params.items():
        assert f"{name}={value!r}" in str(warning.message)
    np.testing.assert_allclose(converted.predict(X), est.predict(X), rtol=1e-4, atol=1e-5)
    clone(converted).fit(X, z)


@pytest.mark.parametrize(
    ("params", "has"),
    [
        ({"activation": "gelu"}, "identity, logistic, tanh, relu"),
        ({"activation": ["relu", "tanh"]}, "for all hidden layers"),
        ({"normalization": "layer"}, "no normalised layers"),
        ({"normalization": "batch"}, "no normalised layers"),
        ({"residual": True}, "no residual layers"),
        ({"out_activation": "softplus"}, "softmax"),
        ({"precision": "bfloat16"}, "float32 and float64"),
        ({"loss": losses.Quantile((0.1, 0.9))}, "one quantile for each target"),
    ],
)
def test_other_networks_are_refused(params, has):
    est = MLPRegressor(**SMALL | params).fit(X, z)
    ((name, value),) = params.items()
    with pytest.raises(ValueError, match="cannot be converted") as raised:
        est.to_sklearn()
    assert f"{name}={value!r}" in str(raised.value)
    assert has in str(raised.value)


def test_others_are_refused():
    with pytest.raises(NotFittedError):
        MLPClassifier().to_sklearn()
    with pytest.raises(NotFittedError):
        MLPClassifier.from_sklearn(original.MLPClassifier())
    est = MLPRegressor(**SMALL).fit(X, z)
    for wrong in (est, est.to_sklearn(), None):
        with pytest.raises(TypeError, match=r"takes a sklearn\.neural_network\.MLPClassifier"):
            MLPClassifier.from_sklearn(wrong)
