"""What fastmlp needs of scikit-learn beyond its public interface: the only private imports.

Each stands here because its absence would show: parameter constraints and their messages, the
wording of scikit-learn's warnings, the checks that its other estimators share. When scikit-learn
moves one of them, this is the file to change.
"""

from importlib import import_module
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import _check_partial_fit_first_call as is_first_partial_fit
from sklearn.utils.optimize import _check_optimize_result as check_optimize_result
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

# Decorates fit and partial_fit: validates the constructor's parameters, and tells the functions of
# scikit-learn that are called inside not to validate theirs.
fit_context = _fit_context(prefer_skip_nested_validation=True)


def original(name: str) -> Any:
    """Return scikit-learn's own class MLPClassifier or MLPRegressor, whether patched or not."""
    return getattr(import_module("sklearn.neural_network._multilayer_perceptron"), name)


__all__ = [
    "Interval",
    "Options",
    "StrOptions",
    "check_optimize_result",
    "check_sample_weight",
    "fit_context",
    "is_first_partial_fit",
    "original",
    "validate_parameter_constraints",
]
