"""Contradictions between parameters, or between them and the data: refused before training.

Each message names the parameter and the value that cannot be. Those that concern one parameter or
argument alone are in the tests of their family.
"""

import numpy as np
import pytest

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (30, 4))
X_val = rng.uniform(-1, 1, (9, 4))
del rng
y, z, many = (X[:, 0] > 0).astype(int), X[:, 0], X[:, :2]
OWN = {"X_val": X_val, "y_val": (X_val[:, 0] > 0).astype(int)}
LISTS = ([np.zeros((4, 5)), np.zeros((5, 1))], [np.zeros(5), np.zeros(1)])

# Parameters, arguments of fit and the message, of the regressor (y is z) ...
REGRESSOR = [
    ({"solver": "lbfgs", "mixup": 0.2}, {}, "mixup=0.2 needs .* solver='lbfgs'"),
    ({"solver": "lbfgs", "dropout": 0.5}, {}, "solver='lbfgs' .*dropout=0.5"),
    ({"solver": "lbfgs", "input_dropout": 0.5}, {}, "solver='lbfgs' .*input_dropout=0.5"),
    ({"solver": "lbfgs", "normalization": "batch"}, {}, "normalization='batch' .*solver='lbfgs'"),
    ({"normalization": "batch", "batch_size": 1}, {}, "normalization='batch' .*batch_size=1"),
    ({"normalization": "batch", "batch_size": 29}, {}, "normalization='batch' .*batch_size=29"),
    ({"normalization": ["batch"] * 2}, {}, r"normalization=\['batch', 'batch'\] .* 1 hidden"),
    ({"target_score": 0.9}, {}, "target_score=0.9 needs validation data"),
    (
        {"target_score": 0.9, "solver": "lbfgs", "early_stopping": True},
        {},
        "target_score=0.9 needs validation data",
    ),
    ({"dropout": 1}, {}, r"'dropout' .*\[0.0, 1.0\)"),
    ({"dropout": [0.5, 0.5]}, {}, r"dropout=\[0.5, 0.5\] .*1 hidden layers"),
    ({"dropout": [1.0]}, {}, r"dropout=\[1.0\] must hold numbers in \[0, 1\), got 1.0"),
    ({"activation": ["relu", "tanh"]}, {}, r"activation.*\['relu', 'tanh'\]"),
    ({"init": LISTS, "hidden_layer_sizes": (6,)}, {}, r"coefs\[0\] of init has shape \(4, 5\)"),
    ({"init": LISTS, "hidden_layer_sizes": (5, 5)}, {}, "coefs of init must be a list of 3 arrays"),
    ({"init": LISTS}, {"y": many}, r"coefs\[1\] of init has shape \(5, 1\), expected \(5, 2\)"),
    ({}, OWN | {"X_val": X_val[:, :3]}, "X_val.*3 features.* expecting 4"),
    ({}, OWN | {"y_val": X_val[:, :2]}, "y_val.*y has 2 outputs, but the network has 1"),
    ({}, {"X_val": X_val}, "X_val given without y_val"),
    ({"loss": "poisson"}, {}, "loss='poisson' needs y >= 0, but y holds -"),
    ({"loss": "gamma"}, {"y": np.maximum(z, 0)}, "loss='gamma' needs y > 0, but y holds 0"),
    (
        {"loss": "gamma", "out_activation": "identity"},
        {"y": np.abs(z)},
        "loss='gamma' needs positive outputs, .*out_activation='identity'",
    ),
    (
        {"loss": "poisson"},
        {"y": np.abs(z), "X_val": X_val, "y_val": X_val[:, 0]},
        "y_val.*loss='poisson' needs y >= 0",
    ),
]
# ... and of the classifier.
CLASSIFIER = [
    ({}, OWN | {"y_val": np.full(9, 2)}, r"y_val.*classes not in .*\[0 1\].*\[2\]"),
    ({}, OWN | {"y_val": np.eye(9, 2, dtype=int)}, "y_val.*several labels per sample"),
    ({"class_weight": {0: 1, 2: 1}}, {}, r"classes, \[1\], are not in class_weight"),
    ({"class_weight": {0: 1, 1: "a", 2: 1}}, {}, "class_weight must hold finite numbers from 0"),
    ({"class_weight": [{0: 1}]}, {}, r"class_weight must be a dict .*\[\{0: 1\}\]"),
]
CASES = [(MLPRegressor, z, *row) for row in REGRESSOR] + [
    (MLPClassifier, y, *row) for row in CLASSIFIER
]
IDS = [f"{cls.__name__}-{params or list(arguments)}" for cls, _, params, arguments, _ in CASES]


@pytest.mark.parametrize(("cls", "target", "params", "arguments", "message"), CASES, ids=IDS)
def test_refused_before_training(cls, target, params, arguments, message):
    est = cls(**{"hidden_layer_sizes": (5,), "max_iter": 2} | params)
    with pytest.raises(ValueError, match=message):
        est.fit(**{"X": X, "y": target} | arguments)
    assert not [name for name in vars(est) if name.endswith("_") or name.startswith("_")]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"class_weight": "balanced"}, "class_weight='balanced' is not supported by partial_fit"),
        ({"early_stopping": True}, "partial_fit does not support early_stopping=True"),
        ({"target_score": 0.9}, "target_score=0.9 needs validation data"),
        ({"init": LISTS, "hidden_layer_sizes": (6,)}, r"coefs\[0\] of init has shape \(4, 5\)"),
    ],
    ids=str,
)
def test_refused_by_partial_fit(params, message):
    est = MLPClassifier(**{"hidden_layer_sizes": (5,)} | params)
    with pytest.raises(ValueError, match=message):
        est.partial_fit(X, y, classes=[0, 1])
    assert not [name for name in vars(est) if name.endswith("_") or name.startswith("_")]
