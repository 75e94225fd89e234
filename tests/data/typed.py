"""A user's script, for type checkers in strict mode and for Python; see test_typing.py."""

import os
import tempfile
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, load_model
from fastmlp.activations import GELU
from fastmlp.losses import Huber
from fastmlp.optimizers import SGD
from fastmlp.schedules import Cosine

X = np.zeros((4, 2))
classifier = MLPClassifier(
    hidden_layer_sizes=np.array([5]), activation=["tanh"], solver=SGD(momentum=0.5), max_iter=2
).fit(X, [0, 1, 1, 0], sample_weight=[1.0, 1.0, 2.0, 2.0])
regressor = MLPRegressor(
    loss=Huber(delta=2.0),
    hidden_layer_sizes=(5, 4),
    activation=[GELU(), "relu"],
    learning_rate=Cosine(),
    max_iter=2,
    n_jobs=2,
).fit(X, np.arange(4.0), X_val=X, y_val=np.arange(4.0))
assert_type(classifier, MLPClassifier)
assert_type(regressor, MLPRegressor)
assert_type(classifier.partial_fit(X, [0, 1, 1, 0]), MLPClassifier)
assert_type(regressor.partial_fit(X, [0.0, 1.0, 1.0, 0.0]), MLPRegressor)
assert_type(classifier.set_params(alpha=0.1), MLPClassifier)
print(classifier.get_params()["alpha"])

labels: NDArray[Any] = classifier.predict(X)
probabilities: NDArray[Any] = classifier.predict_proba(X)
logarithms: NDArray[Any] = classifier.predict_log_proba(X)
logits: NDArray[Any] = classifier.decision_function(X)
hidden: NDArray[Any] = classifier.hidden_activations(X)
predictions: NDArray[Any] = regressor.predict(X)
raw: NDArray[Any] = regressor.raw_predict(X)
accuracy: float = classifier.score(X, [0, 1, 1, 0])
r2: float = regressor.score(X, np.arange(4.0))
report: dict[str, float] = classifier.evaluate(X, [0, 1, 1, 0])

coefs: list[NDArray[Any]] = classifier.coefs_
curve: list[float] = regressor.loss_curve_
scores: list[float] | None = regressor.validation_scores_
reason: str | None = regressor.stop_reason_
best: int = regressor.best_iteration_
print(coefs[0].shape, curve[-1], classifier.classes_.tolist(), scores, reason, best + 1)

assert_type(
    MLPClassifier.from_sklearn(classifier.set_params(solver="sgd").to_sklearn()), MLPClassifier
)
fastmlp.patch_sklearn()
patched: bool = fastmlp.sklearn_is_patched()
fastmlp.unpatch_sklearn()
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model")
    classifier.save_model(path)
    loaded = load_model(path)
    if isinstance(loaded, MLPClassifier):
        print(loaded.classes_)
    size: float = fastmlp.to_c(classifier, os.path.join(folder, "net"), X=X)["n_bytes"]
table: str = regressor.summary()
