"""The network that the parameters ask for: widths, activations, precision, and its arrays.

Widths are those of all layers, the input's first and the output's last. Weights and biases are
lists of arrays, one for each layer but the input, or one flat vector ``[W0 .. WL | b0 .. bL]``.
"""

import operator
import re
import sys
from collections.abc import Callable, Sequence
from numbers import Real
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._families import choice_of, name_of
from ._structure import STARTS, Structure, beginning, layout, norms, projections
from .activations import ACTIVATIONS, Activation
from .initializers import GlorotUniform, Initializer

# The structure of a network of layers alone.
PLAIN: Structure = MappingProxyType({})

# Dtype of the weights by the parameter precision; None: it follows from the data.
PRECISIONS = {
    "auto": None,
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "bfloat16": np.dtype(np.float32),  # operands of products are rounded further
}


def asked_dtype(est: Any) -> np.dtype | None:
    """Return the dtype that ``precision`` names for weights and results, None for "auto"."""
    if est.precision not in PRECISIONS:
        names = ", ".join(map(repr, PRECISIONS))
        raise ValueError(f"precision must be one of {names}, got {est.precision!r}.")
    return PRECISIONS[est.precision]


def net_dtype(est: Any, *arrays: Any) -> np.dtype:
    """Return the dtype to compute in: the one asked for, else the widest of the arrays'."""
    dtype = asked_dtype(est)
    if dtype is not None:
        return dtype
    dtypes = {a.dtype for a in arrays}
    return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)


def in_bfloat16(est: Any) -> bool:
    """Whether products take their operands rounded to bfloat16."""
    return est.precision == "bfloat16"


def activations(est: Any) -> tuple[str | tuple, ...]:
    """Return the activation of each layer of weights."""
    value, n_hidden = est.activation, est.n_layers_ - 2
    if type(value) is str:
        return (value,) * n_hidden + (est.out_activation_,)
    return (*map(choice_of, _hidden_activations(value, n_hidden)), est.out_activation_)


def initial_activations(est: Any) -> list[str]:
    """Return the activation by which each layer of weights is initialised.

    It is the layer's own; the output layer goes by the last hidden one, as in scikit-learn.
    """
    value = est.activation
    names = list(map(name_of, _hidden_activations(value, est.n_layers_ - 2)))
    if names:
        return [*names, names[-1]]
    return ["identity"] if isinstance(value, (list, tuple)) else [name_of(value)]


def _hidden_activations(value: Any, n_hidden: int) -> Sequence[str | Activation]:
    """Return the activation of each hidden layer, by name or as an object."""
    if not isinstance(value, (list, tuple)):
        return (value,) * n_hidden
    if len(value) != n_hidden:
        raise ValueError(
            f"activation={value!r} has {len(value)} entries, but hidden_layer_sizes asks for "
            f"{n_hidden} hidden layers."
        )
    for one in value:
        if not isinstance(one, Activation) and not (isinstance(one, str) and one in ACTIVATIONS):
            raise ValueError(
                f"activation={value!r} must hold names among {list(ACTIVATIONS)} or objects of "
                f"fastmlp.activations, got {one!r}."
            )
    return value


def structure(est: Any, n_hidden: int) -> dict[str, Any]:
    """Return what a net has besides layers of weights, biases and activations."""
    asked: dict[str, Any] = {}
    kinds = _normalization(est.normalization, n_hidden)
    if any(kinds):
        asked["normalization"] = kinds
    if est.residual and n_hidden:
        asked["residual"] = True
    shares = _dropout(est.dropout, n_hidden)
    if any(shares):
        asked["dropout"] = shares
    if est.input_dropout:
        asked["input_dropout"] = float(est.input_dropout)
    if not est.fit_intercept:
        asked["fit_intercept"] = False
    return asked


def _normalization(value: Any, n_hidden: int) -> tuple[str | None, ...]:
    """Return the normalisation of each hidden layer."""
    if value is None or isinstance(value, str):
        return (value,) * n_hidden
    kinds = list(value)
    if len(kinds) != n_hidden:
        raise ValueError(
            f"normalization={value!r} has {len(kinds)} entries, but there are {n_hidden} hidden "
            "layers."
        )
    for kind in kinds:
        if kind is not None and not (isinstance(kind, str) and kind in ("batch", "layer")):
            raise ValueError(
                f"normalization={value!r} must hold 'batch', 'layer' or None, got {kind!r}."
            )
    return tuple(kinds)


def _dropout(value: Any, n_hidden: int) -> tuple[float, ...]:
    """Return the share that each hidden layer drops."""
    if isinstance(value, Real):
        return (float(value),) * n_hidden
    shares = list(value)
    if len(shares) != n_hidden:
        raise ValueError(
            f"dropout={value!r} has {len(shares)} numbers, but there are {n_hidden} hidden layers."
        )
    for share in shares:
        if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= share < 1:
            raise ValueError(f"dropout={value!r} must hold numbers in [0, 1), got {share!r}.")
    return tuple(map(float, shares))


def hidden_widths(hidden_layer_sizes: Any) -> list[int]:
    """Return the width of each hidden layer."""
    sizes = hidden_layer_sizes
    if isinstance(sizes, str):
        if not re.fullmatch("[0-9]+(-[0-9]+)*", sizes):
            raise ValueError(
                f"hidden_layer_sizes must be widths joined by '-', such as '64-32', got {sizes!r}."
            )
        sizes = [int(size) for size in sizes.split("-")]
    sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    try:
        too_small = any(size <= 0 for size in sizes)
        widths = [operator.index(size) for size in sizes]
        if any(isinstance(size, bool) for size in sizes):
            raise TypeError  # as in scikit-learn, whose generator takes none for a size
    except TypeError:
        raise TypeError(f"hidden_layer_sizes must hold integers, got {sizes}.") from None
    if too_small:
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return widths


def count(widths: Sequence[int], structure: Structure = PLAIN, running: bool = False) -> int:
    """Return how many numbers `views` cuts."""
    return layout(widths, structure, running).size


def views(
    flat: NDArray, widths: Sequence[int], structure: Structure = PLAIN, running: bool = False
) -> tuple[list[NDArray], list[NDArray]]:
    """Return coefs and intercepts, with or without running averages, as views of a flat vector."""
    coefs, intercepts, _ = layout(widths, structure, running)
    return (
        [flat[start:stop].reshape(shape) for start, stop, shape in coefs],
        [flat[start:stop] for start, stop, _ in intercepts],
    )


def flatten(
    coefs: list[NDArray], intercepts: list[NDArray], dtype: DTypeLike | None = None
) -> NDArray:
    """Return a new flat vector."""
    return np.concatenate([a.ravel() for a in [*coefs, *intercepts]], dtype=dtype)


def initial(
    widths: Sequence[int],
    dtype: DTypeLike,
    init: Initializer | Sequence[Any],
    activations: Sequence[str],
    rng: np.random.RandomState,
    structure: Structure = PLAIN,
) -> tuple[list[NDArray], list[NDArray]]:
    """Draw coefs and intercepts, layer by layer, or copy those that are given.

    No intercepts unless they are fitted. The projection of a layer is drawn after it.
    """
    n_parameters = count(widths, structure, running=True)
    if n_parameters * np.dtype(dtype).itemsize > sys.maxsize:
        raise ValueError(
            f"A network with layers of {list(widths)} units has {n_parameters} parameters: more "
            "than can be addressed."
        )
    coefs, intercepts = views(np.zeros(n_parameters, dtype), widths, structure, running=True)
    n = len(widths) - 1
    for part, a in zip(norms(widths, structure, running=True), intercepts[n:], strict=True):
        a.fill(STARTS[part.attribute])
    skips = {
        part.layer: P for part, P in zip(projections(widths, structure), coefs[n:], strict=True)
    }
    draws = isinstance(init, Initializer)
    if not draws:
        _copy_given(init, coefs[:n], intercepts[:n])
    fit_intercept = structure.get("fit_intercept", True)
    for i, (W, b, activation) in enumerate(
        zip(coefs[:n], intercepts[:n], activations, strict=True)
    ):
        if draws:
            init.draw(W, b if fit_intercept else b[:0], activation, rng)
        if i in skips:
            (init if draws else GlorotUniform()).draw(skips[i], b[:0], activation, rng)
    return coefs, intercepts


def _copy_given(init: Any, coefs: list[NDArray], intercepts: list[NDArray]) -> None:
    """Fill these arrays with the pair of lists that ``init`` is."""
    if len(init) != 2:
        raise ValueError(f"init must be a pair (coefs, intercepts), got {len(init)} items.")
    for name, given, arrays in zip(("coefs", "intercepts"), init, (coefs, intercepts), strict=True):
        if name == "intercepts" and given is None:
            continue
        if not isinstance(given, (list, tuple)) or len(given) != len(arrays):
            raise ValueError(
                f"{name} of init must be a list of {len(arrays)} arrays, one for each layer of "
                f"weights, got {len(given) if isinstance(given, (list, tuple)) else given!r}."
            )
        for i, (values, a) in enumerate(zip(given, arrays, strict=True)):
            where = f"{name}[{i}] of init"
            values = np.asarray(values)
            if values.dtype.kind not in "biuf":
                raise ValueError(f"{where} must hold numbers, got dtype {values.dtype}.")
            if values.shape != a.shape:
                raise ValueError(f"{where} has shape {values.shape}, expected {a.shape}.")
            with np.errstate(over="ignore"):
                a[...] = values
            if not np.isfinite(a).all():
                raise ValueError(f"{where} must be finite, as {a.dtype}.")


def parameters(est: Any, n_features: int) -> tuple[list[NDArray], list[NDArray]]:
    """Return ``coefs_`` and ``intercepts_``, which the user may have replaced, after a check.

    Raises
    ------
    ValueError
        If an array is missing, is not a float32 or float64 array, or does not fit its neighbours.
    """
    coefs, intercepts = est.coefs_, est.intercepts_
    n_layers = est.n_layers_ - 1
    for name, arrays in (("coefs_", coefs), ("intercepts_", intercepts)):
        if not isinstance(arrays, (list, tuple)) or len(arrays) != n_layers:
            raise ValueError(
                f"{name} must be a list of {n_layers} arrays, one for each layer of weights."
            )
        for i, a in enumerate(arrays):
            is_array = isinstance(a, np.ndarray)
            if not is_array or a.dtype.kind != "f" or a.dtype.itemsize not in (4, 8):
                what = f"dtype {a.dtype}" if is_array else type(a).__name__
                raise ValueError(
                    f"{name}[{i}] must be a NumPy array of dtype float32 or float64, got {what}."
                )
    wrong = None
    fan_in = n_features
    for i in range(n_layers):
        fan_out = _fan_out(est, coefs, intercepts, i)
        for name, a, shape in (
            ("coefs_", coefs[i], (fan_in, fan_out)),
            ("intercepts_", intercepts[i], (fan_out,)),
        ):
            if a.shape != shape:
                wrong = wrong or f"{name}[{i}] has shape {a.shape}, expected {shape}."
        fan_in = fan_out
    if wrong:
        raise ValueError(wrong)
    return coefs, intercepts


def _fan_out(est: Any, coefs: list[NDArray], intercepts: list[NDArray], i: int) -> int:
    """Return the width of layer i + 1, by a majority of three: one wrong array is outvoted."""
    last = i == len(coefs) - 1
    votes = [
        coefs[i].shape[1] if coefs[i].ndim == 2 else None,
        intercepts[i].shape[0] if intercepts[i].ndim == 1 else None,
        est.n_outputs_ if last else coefs[i + 1].shape[0] if coefs[i + 1].ndim == 2 else None,
    ]
    votes = [vote for vote in votes if vote is not None] or [0]
    return max(votes, key=votes.count)


# What `_core.predict` computes: coefs, intercepts, activations, structure.
Network = tuple[list[NDArray], list[NDArray], tuple[Any, ...], Structure]


def up_to_output(
    coefs: list[NDArray], intercepts: list[NDArray], layers: tuple[Any, ...], structure: Structure
) -> Network:
    """Return the network without the activation of its output layer."""
    return coefs, intercepts, (*layers[:-1], "identity"), structure


def up_to_hidden(i: int) -> Callable[..., Network]:
    """Return the function that cuts a network behind hidden layer i.

    An output layer of identity weights follows it, because not every activation of hidden layers
    may stand at the output.
    """

    def cut(
        coefs: list[NDArray],
        intercepts: list[NDArray],
        layers: tuple[Any, ...],
        structure: Structure,
    ) -> Network:
        identity = np.eye(coefs[i].shape[1], dtype=coefs[i].dtype)
        n = len(layers)
        widths = (coefs[0].shape[0], *(W.shape[1] for W in coefs[:n]))
        coefs, intercepts, structure = beginning(
            coefs, intercepts, widths, structure, i + 1, identity, np.zeros_like(identity[0])
        )
        return coefs, intercepts, (*layers[: i + 1], "identity"), structure

    return cut


def make_writable(arrays: Sequence[NDArray], dtype: np.dtype | None = None) -> list[NDArray]:
    """Return a list, the given one if it is one, of arrays that C can write in place.

    Those that are read-only, strided, of foreign byte order or not of this dtype are replaced by
    copies.
    """
    arrays = arrays if isinstance(arrays, list) else list(arrays)
    for i, a in enumerate(arrays):
        if not (a.flags.carray and a.dtype.isnative and a.dtype == (dtype or a.dtype)):
            arrays[i] = np.array(a, dtype=dtype or a.dtype.newbyteorder("="), order="C")
    return arrays
