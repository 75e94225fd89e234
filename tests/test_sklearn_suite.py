"""scikit-learn's own tests: those of its MLP, the import swapped, and those of all estimators."""

from pathlib import Path

import pytest
import sklearn.neural_network.tests
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPClassifier, MLPRegressor

_source = Path(sklearn.neural_network.tests.__path__[0]) / "test_mlp.py"
_import = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
_text = _source.read_text()
assert _import in _text
_tests: dict = {}
exec(
    compile(
        _text.replace(_import, "from fastmlp import MLPClassifier, MLPRegressor\n"), _source, "exec"
    ),
    _tests,
)
del _tests["test_gradient"]  # calls a private method; tests/test_gradients.py tests gradients
globals().update({name: test for name, test in _tests.items() if name.startswith("test_")})


@pytest.fixture
def global_random_seed():
    return 42


def test_suite_is_complete_and_about_fastmlp():
    assert _tests["MLPClassifier"] is MLPClassifier
    assert _tests["MLPRegressor"] is MLPRegressor
    assert sum(name.startswith("test_") for name in _tests) >= 40


@parametrize_with_checks(
    [
        Estimator(solver=solver, max_iter=100)
        for Estimator in (MLPClassifier, MLPRegressor)
        for solver in ("adam", "sgd", "lbfgs")
    ]
)
def test_estimator_checks(estimator, check):
    check(estimator)
