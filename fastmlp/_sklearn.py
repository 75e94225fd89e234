"""What fastmlp needs of scikit-learn beyond its public interface: the only private imports.

Each stands here because its absence would show: parameter constraints and their messages, the
wording of scikit-learn's warnings, the checks that its other estimators share. When scikit-learn
moves one of them, this is the file to change.
"""

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, cast

from sklearn import config_context, get_config
from sklearn.callback import with_callbacks
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

    As scikit-learn's own decorator does, whose contexts take a fifteenth of a small fit: one lets
    the functions of scikit-learn that are called inside not validate their arguments, here
    ``without_validation`` says which; one ends callbacks, here only if there are any.
    """
    managed = with_callbacks(method)

    @functools.wraps(method)
    def checked(est: Any, *args: Any, **kwargs: Any) -> Any:
        goes_on = method.__name__ == "partial_fit" and "coefs_" in vars(est)
        if not goes_on and not get_config()["skip_parameter_validation"]:
            est._validate_params()
        call = managed if "_skl_callbacks" in vars(est) else method
        return call(est, *args, **kwargs)

    return cast(F, checked)


# A context in which functions of scikit-learn do not validate their arguments: up to 0.1 ms each.
without_validation = functools.partial(config_context, skip_parameter_validation=True)


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
    "without_validation",
]
