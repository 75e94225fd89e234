"""Export to ONNX, against ONNX Runtime."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from samples import few
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, activations, losses, to_onnx
from fastmlp import register_onnx_converters as register
from fastmlp.activations import ACTIVATIONS

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

X, y, z, labels = few(60, 2)

SMALL = {"hidden_layer_sizes": (7, 5), "max_iter": 4, "random_state": 0}


def run(model, X):
    """What ONNX Runtime computes of all inputs: {name: array}."""
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    inputs = X if isinstance(X, dict) else {session.get_inputs()[0].name: X}
    for output, result in zip(session.get_outputs(), session.run(None, inputs), strict=True):
        if hasattr(result, "shape"):
            declared = output.shape[1:]
            assert list(result.shape[1:]) == declared, output.name
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def check(est, X, dtype=np.float32, model=None):
    """Compare a model with predict and predict_proba."""
    X = X.astype(dtype)
    results = run(to_onnx(est, X) if model is None else model, X)
    expected = est.predict(X)
    if "variable" in results:
        got = results["variable"]
        assert got.dtype == dtype
        expected = expected.reshape(got.shape)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
        return results
    expected = expected.toarray() if sp.issparse(expected) else expected
    assert results["probabilities"].dtype == dtype
    np.testing.assert_allclose(results["probabilities"], est.predict_proba(X), rtol=0, atol=1e-5)
    assert results["label"].shape == expected.shape
    np.testing.assert_array_equal(results["label"], expected)
    return results


OBJECTS = [
    activations.LeakyReLU(0.3),
    activations.ELU(1.7),
    activations.CELU(0.4),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", [*ACTIVATIONS, *OBJECTS], ids=str)
def test_activations(activation, dtype):
    est = MLPRegressor(**SMALL, activation=activation).fit(X.astype(dtype), z)
    check(est, 4 * X, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "out_activation", ["identity", "relu", "softplus", "exp", "logistic", "tanh"]
)
def test_out_activations(out_activation, dtype):
    est = MLPRegressor(**SMALL, out_activation=out_activation).fit(X.astype(dtype), z)
    check(est, X, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params",
    [
        {"normalization": "batch"},
        {"normalization": "layer"},
        {"residual": True},
        {"residual": True, "normalization": ["layer", "batch"], "activation": ["gelu", "celu"]},
        {"residual": True, "hidden_layer_sizes": (5, 5)},
        {"hidden_layer_sizes": ()},
        {"fit_intercept": False},
    ],
    ids=str,
)
def test_structures(params, dtype):
    est = MLPClassifier(**SMALL | params).fit(X.astype(dtype), y)
    check(est, X, dtype)


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (y, np.int64),
        (y + 5, np.int64),
        (y > 0, np.int64),
        (2 * (y > 0) - 1.0, np.int64),
        (np.array(["a", "bb", "c"])[y], object),
        (np.array(["yes", "no"])[y % 2], object),
        (np.array(["yes", "no"], dtype=object)[y % 2], object),
        (np.full(60, 7), np.int64),
        (labels, np.int64),
        (sp.csr_matrix(labels), np.int64),
    ],
    ids=lambda value: "" if isinstance(value, type) else type(value).__name__,
)
def test_labels(targets, kind):
    est = MLPClassifier(**SMALL).fit(X, targets)
    assert check(est, X)["label"].dtype == kind


@pytest.mark.parametrize(
    ("params", "targets", "shape"),
    [
        ({}, z, (60, 1)),
        ({}, np.stack([z, -z], axis=1), (60, 2)),
        ({"loss": "poisson"}, y, (60, 1)),
        ({"loss": losses.Quantile((0.1, 0.5, 0.9))}, z, (60, 3)),
        ({"loss": losses.Quantile((0.1, 0.5, 0.9))}, np.stack([z, -z], axis=1), (60, 2, 3)),
    ],
)
def test_shapes_of_regressors(params, targets, shape):
    est = MLPRegressor(**SMALL | params).fit(X, targets)
    for dtype in (np.float32, np.float64):
        assert check(est, X, dtype)["variable"].shape == shape


def test_one_row_and_none():
    model = to_onnx(MLPClassifier(**SMALL).fit(X, y))
    for n in (1, 0):
        results = run(model, X[:n].astype(np.float32))
        assert results["label"].shape == (n,)
        assert results["probabilities"].shape == (n, 3)


def test_model_names_its_maker_and_features():
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = to_onnx(MLPClassifier(**SMALL).fit(frame, y), frame)
    assert model.producer_name == "fastmlp"
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["feature_names"]) == list("abcde")
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE


def test_refusals(monkeypatch):
    est = MLPClassifier(**SMALL).fit(X, y)
    with pytest.raises(NotFittedError):
        to_onnx(MLPClassifier())
    with pytest.raises(ValueError, match=r"shape \(60, 4\), expected \(n_samples, 5\)"):
        to_onnx(est, X[:, 1:])
    with pytest.raises(ValueError, match="precision='bfloat16'"):
        to_onnx(est.set_params(precision="bfloat16"))
    changed = MLPClassifier(**SMALL).fit(X, y)
    changed.classes_ = np.array([0.5, 1, 2])
    with pytest.raises(ValueError, match=r"integers or strings.*0\.5"):
        to_onnx(changed)
    with pytest.raises(ValueError, match="needs X_sample"):
        to_onnx(make_pipeline(StandardScaler(), est))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"needs the package onnx: pip install 'fastmlp\[onnx\]'"):
        to_onnx(est)


# ------------------------------------------------------------------------------------- skl2onnx
@pytest.fixture
def skl2onnx():
    module = pytest.importorskip("skl2onnx")
    register()
    return module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("Estimator", "targets"),
    [
        (MLPClassifier, y),
        (MLPClassifier, y > 0),
        (MLPClassifier, np.array(["a", "b", "c"])[y]),
        (MLPClassifier, labels),
        (MLPRegressor, z),
        (MLPRegressor, np.stack([z, -z], axis=1)),
    ],
)
def test_pipeline(skl2onnx, Estimator, targets, dtype):
    X_ = X.astype(dtype)
    model = make_pipeline(
        StandardScaler(), Estimator(**SMALL, activation="gelu", normalization="layer")
    )
    model.fit(X_, targets)
    check(model, X_, dtype)
    options = {"zipmap": False} if Estimator is MLPClassifier else None
    check(model, X_, dtype, skl2onnx.to_onnx(model, X_[:1], options=options))


def test_skl2onnx_takes_estimators(skl2onnx):
    est = MLPClassifier(**SMALL).fit(X, np.array(["a", "b", "c"])[y])
    X_ = X.astype(np.float32)
    results = run(skl2onnx.to_onnx(est, X_[:1]), X_)  # with its dict for each row
    proba = pd.DataFrame(list(results["output_probability"]))[["a", "b", "c"]]
    np.testing.assert_allclose(proba, est.predict_proba(X_), atol=1e-5)
    results = run(skl2onnx.to_onnx(est, (100 * X[:1]).astype(np.int64)), (100 * X).astype(np.int64))
    assert results["output_label"].tolist() == est.predict((100 * X).astype(np.int64)).tolist()
    with pytest.raises(ValueError, match="target_opset=15, fastmlp needs 18"):
        skl2onnx.to_onnx(est, X_[:1], target_opset=15)


def test_columns_and_searches(skl2onnx):
    frame = pd.DataFrame(X[:, :2].astype(np.float32), columns=["a", "b"])
    frame["c"] = np.array(["u", "v"])[y % 2]
    columns = ColumnTransformer(
        [("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(), ["c"])]
    )
    search = GridSearchCV(MLPClassifier(**SMALL), {"alpha": [0.1, 1.0]}, cv=2)
    model = make_pipeline(columns, search).fit(frame, y)
    inputs = {name: frame[[name]].to_numpy() for name in frame}
    results = run(to_onnx(model, frame), inputs)
    np.testing.assert_allclose(results["probabilities"], model.predict_proba(frame), atol=1e-5)
