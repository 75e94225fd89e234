"""Fitted estimators from and to scikit-learn's classes of the same names."""

import copy
import warnings
from typing import Any

from sklearn.utils.validation import check_is_fitted

from . import _network, _structure
from ._families import Choice
from ._parameters import FAMILIES, FLAT, parameters
from ._sklearn import original, validate_parameter_constraints

# What scikit-learn's estimators remember of a fit, but for the optimizer and its random stream.
_FITTED = (
    "classes_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "t_",
    "coefs_",
    "intercepts_",
    "n_iter_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "n_features_in_",
    "feature_names_in_",
    "_label_binarizer",
    "_no_improvement_count",
    "_best_coefs",
    "_best_intercepts",
)

_HIDDEN = ("identity", "logistic", "tanh", "relu")
_OUTPUT = (*_HIDDEN, "exp", "softmax")


# ------------------------------------------------------------------------------ to scikit-learn
def to_sklearn(est: Any, name: str) -> Any:
    """Return scikit-learn's estimator of this name with the same network."""
    check_is_fitted(est, "coefs_")
    _network.parameters(est, est.n_features_in_)
    _refuse_other_networks(est, name)
    params, lost = _parameters(est, name)
    if lost:
        warnings.warn(
            f"scikit-learn's {name} has no {', '.join(lost)}. It predicts the same, but would "
            "train in another way.",
            stacklevel=3,
        )
    other = original(name)(**params)
    _copy_fitted(est, other)
    return other


def _refuse_other_networks(est: Any, name: str) -> None:
    """Refuse what scikit-learn would compute in another way."""
    *hidden, output = _network.activations(est)
    names = {one if isinstance(one, str) else one[0] for one in hidden}
    structure = _structure.fitted(vars(est))
    wrong = None
    if len(names) > 1 or not names <= set(_HIDDEN):
        wrong = f"activation={est.activation!r}: one of {', '.join(_HIDDEN)} for all hidden layers"
    elif output not in _OUTPUT:
        wrong = f"out_activation={output!r}: one of {', '.join(_OUTPUT)}"
    elif "normalization" in structure:
        wrong = f"normalization={est.normalization!r}: no normalised layers"
    elif "residual" in structure:
        wrong = f"residual={est.residual!r}: no residual layers"
    elif "levels_" in vars(est):
        wrong = f"loss={est.loss!r}: one quantile for each target"
    elif _network.in_bfloat16(est):
        wrong = f"precision={est.precision!r}: float32 and float64"
    if wrong:
        asked, _, has = wrong.partition(": ")
        raise ValueError(f"{asked} cannot be converted, scikit-learn's {name} has {has}.")


def _parameters(est: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return scikit-learn's parameters, and what of ours has no place among them."""
    theirs = original(name)
    params = theirs().get_params(deep=False)
    constraints = theirs._parameter_constraints
    lost = []
    given = est.get_params(deep=False)
    given |= _flat(given)
    if isinstance(given["hidden_layer_sizes"], str):
        given["hidden_layer_sizes"] = tuple(_network.hidden_widths(given["hidden_layer_sizes"]))
    for key, value in given.items():
        if key in params and _is_valid(constraints[key], key, value):
            params[key] = copy.deepcopy(value)
        elif key != "n_jobs" and not _is_default(value, parameters(name)[key].default):
            lost.append(f"{key}={getattr(est, key)!r}")
    return params, lost


def _flat(params: dict[str, Any]) -> dict[str, Any]:
    """Return names, and parameters of the estimator, in place of the objects that they are as."""
    flat = {}
    for key in FAMILIES.keys() & params.keys():
        value = params[key]
        if isinstance(value, (list, tuple)) and value and key == "activation":
            value = value[0]  # all are the same, or would have been refused
        if isinstance(value, str):
            flat[key] = value
        elif isinstance(value, Choice):
            own = value.get_params()
            names = FLAT.get(value.name, {})
            if own.keys() == names.keys():
                flat |= {key: value.name} | {names[one]: own[one] for one in own}
    return flat


def _is_valid(constraints: list[Any], key: str, value: Any) -> bool:
    try:
        validate_parameter_constraints({key: constraints}, {key: value}, caller_name="")
    except ValueError:
        return False
    return True


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, Choice):
        return value.name == default and value == type(value)()
    return type(value) is type(default) and bool(value == default)


# ---------------------------------------------------------------------------- from scikit-learn
def from_sklearn(cls: type, name: str, other: Any) -> Any:
    """Return an estimator of a class with the network of scikit-learn's estimator of this name."""
    if type(other) is not original(name):
        raise TypeError(
            f"{name}.from_sklearn takes a sklearn.neural_network.{name}, got a "
            f"{type(other).__module__.partition('.')[0]} {type(other).__name__}."
        )
    check_is_fitted(other, "coefs_")
    est = cls(**copy.deepcopy(other.get_params(deep=False)))
    _copy_fitted(other, est)
    return est


def _copy_fitted(source: Any, target: Any) -> None:
    """Copy the attributes of a fit, so that neither estimator changes with the other."""
    fitted = vars(source)
    for name in _FITTED:
        if name in fitted:
            setattr(target, name, copy.deepcopy(fitted[name]))
