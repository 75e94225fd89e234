"""What fastmlp needs of scikit-learn beyond its public interface: the only private imports.

Each stands here because its absence would show: parameter constraints and their messages, the
wording of scikit-learn's warnings, the checks that its other estimators share. When scikit-learn
moves one of them, this is the file to change. So it is for what versions before 1.9 lack.
"""

import functools
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from sklearn import config_context, get_config
from sklearn.utils import metaestimators
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import _check_partial_fit_first_call as is_first_partial_fit
from sklearn.utils.optimize import _check_optimize_result as check_optimize_result
from sklearn.utils.validation import _check_sample_weight

F = TypeVar("F", bound=Callable[..., Any])

# Type checkers see those of ours, whatever is installed: scikit-learn's have no annotations.
if find_spec("sklearn.callback") and not TYPE_CHECKING:
    from sklearn.callback import CallbackContext, CallbackSupportMixin, with_callbacks
else:

    class CallbackContext:
        """A task that no callback of scikit-learn is told of."""

        def subcontext(self, **task: Any) -> Self:
            return self

        def call_on_fit_task_begin(self, **shown: Any) -> None:
            pass

        def call_on_fit_task_end(self, **shown: Any) -> bool:
            return False

    class CallbackSupportMixin:
        """Takes the callbacks of fastmlp, which need no context."""

        def set_callbacks(self, *callbacks: Any) -> Self:
            """Set callbacks for the estimator; none to remove those that are set.

            Parameters
            ----------
            *callbacks : Callback
                Callbacks of :mod:`fastmlp.callbacks`. scikit-learn 1.9 takes its own as well.

            Returns
            -------
            self : object
                The estimator.
            """
            for callback in callbacks:
                if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
                    raise TypeError(
                        f"callbacks must be instances of fastmlp.callbacks.Callback, got "
                        f"{callback!r}: scikit-learn's own need scikit-learn 1.9."
                    )
            if callbacks:
                self._skl_callbacks = list(callbacks)
            else:
                self.__dict__.pop("_skl_callbacks", None)
            return self

        def _init_callback_context(self, **task: Any) -> CallbackContext:
            return CallbackContext()

        def __sklearn_clone__(self) -> Self:
            other = super().__sklearn_clone__()  # type: ignore[misc]
            if "_skl_callbacks" in self.__dict__:
                other._skl_callbacks = self._skl_callbacks
            return other

    def with_callbacks(method: F) -> F:
        """Tell the callbacks of fastmlp when a call of a method begins and ends."""

        @functools.wraps(method)
        def told(est: Any, *args: Any, **kwargs: Any) -> Any:
            callbacks = est._skl_callbacks
            for callback in callbacks:
                callback.setup(est, None)
            try:
                return method(est, *args, **kwargs)
            finally:
                for callback in callbacks:
                    callback.teardown(est, None)

        return cast(F, told)


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


def check_sample_weight(sample_weight: Any, X: Any, **options: Any) -> Any:
    """Return sample weights as an array, and refuse those that are all 0."""
    checked = _check_sample_weight(sample_weight, X, **options)
    if not checked.any():  # which scikit-learn does since 1.9
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return checked


def original(name: str) -> Any:
    """Return scikit-learn's own class MLPClassifier or MLPRegressor, whether patched or not."""
    return getattr(import_module("sklearn.neural_network._multilayer_perceptron"), name)


__all__ = [
    "CallbackContext",
    "CallbackSupportMixin",
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
