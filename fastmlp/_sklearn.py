"""What fastmlp needs of scikit-learn beyond its public interface: the only private imports.

Each stands here because its absence would show: parameter constraints and their messages, the
wording of scikit-learn's warnings, the checks that its other estimators share. When scikit-learn
moves one of them, this is the file to change.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from sklearn.base import _fit_context
from sklearn.utils import metaestimators
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import _check_partial_fit_first_call as is_first_partial_fit
from sklearn.utils.optimize import _check_optimize_result as check_optimize_result
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

F = TypeVar("F", bound=Callable[..., Any])

# Both decorators keep a method's type, which type checkers would otherwise lose.


def fit_context(method: F) -> F:
    """Decorate fit and partial_fit: the constructor's parameters are validated before.

    The functions of scikit-learn that are called inside do not validate theirs.
    """
    return _fit_context(prefer_skip_nested_validation=True)(method)


def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]:
    """Decorate a method that is there only if this is true of the estimator."""
    return metaestimators.available_if(check)


def original(name: str) -> Any:
    """Return scikit-learn's own class MLPClassifier or MLPRegressor, whether patched or not."""
    return getattr(import_module("sklearn.neural_network._multilayer_perceptron"), name)


__all__ = [
    "Interval",
    "Options",
    "StrOptions",
    "available_if",
    "check_optimize_result",
    "check_sample_weight",
    "fit_context",
    "is_first_partial_fit",
    "original",
    "validate_parameter_constraints",
]
