"""A fitted network as a list of layers, for programs that compute it without fastmlp."""

import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.utils.validation import check_is_fitted

from . import _network, _structure
from .activations import ACTIVATIONS, OUT_ACTIVATIONS

# Added to variances before their root is taken, FM_NORM_EPSILON in the engine.
EPSILON = 1e-5


class Layer(NamedTuple):
    """What a layer makes of its input A: ``f(norm(A W + b)) + skip(A)``.

    Attributes
    ----------
    W, b : ndarray of shape (fan_in, fan_out) and (fan_out,)
        Weights and biases; batch normalisation is part of them.
    activation : tuple
        Name of f and the values of its parameters.
    norm : tuple of two ndarrays of shape (fan_out,), or None
        Scale and shift of layer normalisation.
    skip : bool or ndarray of shape (fan_in, fan_out)
        Whether A is added, or the projection by which it is multiplied before.
    """

    W: NDArray
    b: NDArray
    activation: tuple
    norm: tuple[NDArray, NDArray] | None = None
    skip: bool | NDArray = False


def layers(est: Any, dtype: DTypeLike, exporter: str) -> list[Layer]:
    """Return the layers of a fitted estimator in this dtype.

    Raises
    ------
    ValueError
        If the estimator computes in bfloat16, or if its arrays do not fit together.
    """
    check_is_fitted(est, "coefs_")
    if _network.in_bfloat16(est):
        raise ValueError(
            f"{exporter} writes no network with precision={est.precision!r}. With "
            "set_params(precision='float32') its float32 weights are used as they are."
        )
    coefs, intercepts = _network.parameters(est, est.n_features_in_)
    attributes = vars(est)
    _structure.check(attributes, (est.n_features_in_, *(W.shape[1] for W in coefs)))
    found = []
    for i, activation in enumerate(_network.activations(est)):
        is_hidden = i < len(coefs) - 1
        part = {
            name: attributes[name][i] if is_hidden and name in attributes else None
            for name in _structure.ATTRIBUTES
        }
        skip = part["skip_coefs_"]
        if skip is None:
            skip = is_hidden and "skip_coefs_" in attributes
        found.append(_layer(coefs[i], intercepts[i], _choice(activation), part, skip))
    return [_cast(layer, dtype) for layer in found]


def _layer(W: NDArray, b: NDArray, activation: tuple, part: dict[str, Any], skip: Any) -> Layer:
    scale, shift, mean = (part[f"norm_{name}_"] for name in ("scales", "shifts", "means"))
    if scale is None:
        return Layer(W, b, activation, None, skip)
    if mean is None:
        return Layer(W, b, activation, (scale, shift), skip)
    factor = scale / np.sqrt(part["norm_variances_"].astype(np.float64) + EPSILON)
    return Layer(W * factor, (b - mean) * factor + shift, activation, None, skip)


def _cast(layer: Layer, dtype: DTypeLike) -> Layer:
    W, b, activation, norm, skip = layer
    return Layer(
        W.astype(dtype),
        b.astype(dtype),
        activation,
        norm and (norm[0].astype(dtype), norm[1].astype(dtype)),
        skip if isinstance(skip, bool) else skip.astype(dtype),
    )


def _choice(activation: str | tuple) -> tuple:
    """Return a name with the values of its parameters."""
    if isinstance(activation, tuple):
        return activation
    member = (ACTIVATIONS | OUT_ACTIVATIONS).get(activation)
    return (activation,) if member is None else member().choice  # softmax is no member


def with_layers(est: Any, network: list[Layer]) -> Any:
    """Return a copy of a fitted estimator that computes these layers."""
    other = copy.copy(est)
    other.coefs_ = [layer.W for layer in network]
    other.intercepts_ = [layer.b for layer in network]
    hidden, attributes = network[:-1], vars(other)
    for name in _structure.ATTRIBUTES:
        attributes.pop(name, None)
    if any(layer.norm is not None for layer in hidden):
        nothing = (None, None)
        scales, shifts = zip(*(layer.norm or nothing for layer in hidden), strict=True)
        other.norm_scales_, other.norm_shifts_ = list(scales), list(shifts)
        other.norm_means_, other.norm_variances_ = ([None] * len(hidden) for _ in range(2))
    if any(layer.skip is not False for layer in hidden):
        skips = [layer.skip for layer in hidden]
        other.skip_coefs_ = [None if isinstance(skip, bool) else skip for skip in skips]
    return other


def is_multilabel(est: Any) -> bool:
    """Whether a sample may have several labels for a classifier."""
    return est._label_binarizer.y_type_.startswith("multilabel")
