"""Export to ONNX: a network as a graph, on its own or within what skl2onnx makes of a pipeline."""

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from . import __version__
from ._base import BaseMLP, Matrix
from ._layers import EPSILON, Layer, is_multilabel, layers
from ._optional import optional
from .mlp import MLPClassifier, MLPRegressor

# 17 has LayerNormalization, 18 Mish.
_OPSET, _IR_VERSION = 18, 8


def to_onnx(estimator: Any, X_sample: Matrix | None = None) -> Any:
    """Return a fitted estimator, or a pipeline that ends with one, as an ONNX model.

    The input of a network is "X" of shape (n, n_features). A classifier has the outputs "label",
    of shape (n,) or (n, n_labels), int64 or strings, and "probabilities" of shape
    (n, n_classes); a regressor "variable" of shape (n, n_outputs), of several levels of quantiles
    (n, n_levels) or (n, n_targets, n_levels). They are what `predict` and `predict_proba`
    return, to rounding. Batch normalisation becomes part of the weights.

    Anything but an estimator of fastmlp goes through skl2onnx, with its names of inputs and
    outputs.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, or an estimator that skl2onnx converts
        Fitted estimator.

    X_sample : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
        Samples that tell the types of inputs: the model computes in float64 if they are float64,
        else in float32, as it does for None. Not optional for anything but an estimator of fastmlp.

    Returns
    -------
    model : onnx.ModelProto
        The model, of opset 18. ``model.SerializeToString()`` are the bytes of a file.

    Raises
    ------
    ImportError
        If onnx, or for pipelines skl2onnx, is not installed.
    ValueError
        If labels are neither integers nor strings, or for ``precision="bfloat16"``.

    See Also
    --------
    register_onnx_converters : For calls of skl2onnx itself.

    Examples
    --------
    >>> from fastmlp import MLPRegressor, to_onnx
    >>> reg = MLPRegressor(solver="lbfgs", random_state=0).fit([[0.0], [1.0], [2.0]], [1, 3, 5])
    >>> model = to_onnx(reg)  # doctest: +SKIP
    """
    if not isinstance(estimator, BaseMLP):
        if X_sample is None:
            raise ValueError("to_onnx needs X_sample for anything but an estimator of fastmlp.")
        register_onnx_converters()
        skl2onnx = optional("skl2onnx", "onnx", "to_onnx")
        options = {"zipmap": False} if is_classifier(estimator) else None
        return skl2onnx.to_onnx(estimator, _head(X_sample), target_opset=_OPSET, options=options)
    check_is_fitted(estimator, "coefs_")
    onnx = optional("onnx", "onnx", "to_onnx")
    dtype = np.dtype(np.float32)
    if X_sample is not None:
        shape = np.shape(X_sample)
        if len(shape) != 2 or shape[1] != estimator.n_features_in_:
            raise ValueError(
                f"X_sample has shape {shape}, expected (n_samples, {estimator.n_features_in_})."
            )
        if _dtype_of(X_sample) == np.float64:
            dtype = np.dtype(np.float64)
    return _model(onnx, estimator, dtype)


def _head(X: Any) -> Any:
    """Return the first row: skl2onnx looks at types only."""
    return X.iloc[:1] if hasattr(X, "iloc") else X[:1]


def _dtype_of(X: Any) -> np.dtype:
    return X.dtype if hasattr(X, "dtype") else np.asarray(_head(X)).dtype


def _model(onnx: Any, est: Any, dtype: np.dtype) -> Any:
    helper = onnx.helper
    graph = _Graph(onnx, dtype, _counted())
    names = _outputs(est)
    _write(graph, est, "X", list(names))
    element = helper.np_dtype_to_tensor_dtype
    features = helper.make_tensor_value_info("X", element(dtype), [None, est.n_features_in_])
    results = [
        helper.make_tensor_value_info(name, element(kind or dtype), [None, *shape])
        for name, (kind, shape) in names.items()
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, type(est).__name__, [features], results, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name=__package__,
        producer_version=__version__,
    )
    if hasattr(est, "feature_names_in_"):
        names_of_features = json.dumps(est.feature_names_in_.tolist())
        helper.set_model_props(model, {"feature_names": names_of_features})
    onnx.checker.check_model(model, full_check=True)
    return model


def _counted() -> Callable[[str], str]:
    numbers = itertools.count()
    return lambda name: f"{name}_{next(numbers)}"


# ---------------------------------------------------------------------------------------- graph
class _Graph:
    """Nodes and constants, in the order in which they are computed.

    Attributes
    ----------
    nodes : list of NodeProto
    constants : list of TensorProto
    dtype : numpy.dtype
        What the network computes in.
    """

    def __init__(self, onnx: Any, dtype: np.dtype, unique: Callable[[str], str]) -> None:
        self.onnx, self.dtype, self.unique = onnx, dtype, unique
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any, dtype: DTypeLike | None = None) -> str:
        """Return the name of a new constant, in the dtype of the network if none is given."""
        name = self.unique("constant")
        a = np.asarray(values, dtype or self.dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(a, name))
        return name

    def node(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Return the name of what a new node computes first."""
        name = output or self.unique(op.lower())
        outputs = [name, self.unique("unused")] if op == "TopK" else [name]
        self.nodes.append(self.onnx.helper.make_node(op, inputs, outputs, name, **attributes))
        return name

    def cast(self, x: str, dtype: DTypeLike, output: str | None = None) -> str:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", x, output=output, to=kind)

    def reshape(self, x: str, *shape: int, output: str | None = None) -> str:
        return self.node("Reshape", x, self.constant(shape, np.int64), output=output)


def _gelu(g: _Graph, x: str) -> str:
    z = g.node("Mul", x, g.constant(math.sqrt(0.5)))
    if g.dtype == np.float32:
        erf = g.node("Erf", z)
    else:  # ONNX Runtime has none in float64
        erf = g.cast(g.node("Erf", g.cast(z, np.float32)), g.dtype)
    half = g.node("Mul", x, g.constant(0.5))
    return g.node("Mul", half, g.node("Add", erf, g.constant(1)))


def _celu(g: _Graph, x: str, alpha: float) -> str:
    # By Elu, because Celu is of float32 only.
    scale = g.constant(alpha)
    return g.node("Mul", scale, g.node("Elu", g.node("Div", x, scale)))


_ACTIVATIONS: dict[str, Callable[..., str]] = {
    "identity": lambda g, x: x,
    "logistic": lambda g, x: g.node("Sigmoid", x),
    "tanh": lambda g, x: g.node("Tanh", x),
    "relu": lambda g, x: g.node("Relu", x),
    "leaky_relu": lambda g, x, slope: g.node("LeakyRelu", x, alpha=slope),
    "elu": lambda g, x, alpha: g.node("Elu", x, alpha=alpha),
    "selu": lambda g, x: g.node("Selu", x),
    "celu": _celu,
    "gelu": _gelu,
    "silu": lambda g, x: g.node("Mul", x, g.node("Sigmoid", x)),
    "mish": lambda g, x: g.node("Mish", x),
    "softplus": lambda g, x: g.node("Softplus", x),
    "softsign": lambda g, x: g.node("Softsign", x),
    "relu6": lambda g, x: g.node("Clip", x, g.constant(0), g.constant(6)),
    "hardswish": lambda g, x: g.node("HardSwish", x),
    "hardsigmoid": lambda g, x: g.node("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "exp": lambda g, x: g.node("Exp", x),
    "softmax": lambda g, x: g.node("Softmax", x, axis=-1),
}


def _layer(g: _Graph, A: str, layer: Layer) -> str:
    z = g.node("Gemm", A, g.constant(layer.W), g.constant(layer.b))
    if layer.norm is not None:
        scale, shift = map(g.constant, layer.norm)
        z = g.node("LayerNormalization", z, scale, shift, axis=-1, epsilon=EPSILON)
    name, *values = layer.activation
    a = _ACTIVATIONS[name](g, z, *values)
    if layer.skip is False:
        return a
    return g.node(
        "Add", a, A if layer.skip is True else g.node("MatMul", A, g.constant(layer.skip))
    )


# -------------------------------------------------------------------------------------- outputs
def _outputs(est: Any) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return name, dtype (None: that of the network) and shape of a row of each output."""
    n = est.n_outputs_
    if not is_classifier(est):
        levels = len(getattr(est, "levels_", ()))
        shape = (n,) if n == levels or not levels else (n // levels, levels)
        return {"variable": (None, shape)}
    if is_multilabel(est):
        return {"label": (np.dtype(np.int64), (n,)), "probabilities": (None, (n,))}
    kind = _labels(est.classes_).dtype
    return {"label": (kind, ()), "probabilities": (None, (max(n, 2),))}


def _labels(classes: NDArray) -> NDArray:
    """Return class labels as ONNX has them: int64 or strings."""
    if classes.dtype.kind in "biu":
        return classes.astype(np.int64)
    if classes.dtype.kind == "f" and (classes == np.round(classes)).all():
        return classes.astype(np.int64)
    if classes.dtype.kind in "UO" and all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object)
    raise ValueError(
        f"Labels in ONNX are integers or strings, classes_ has {classes.tolist()[:3]} of dtype "
        f"{classes.dtype}."
    )


def _write(g: _Graph, est: Any, X: str, outputs: list[str]) -> None:
    """Write the network, and what `predict` and `predict_proba` make of it."""
    A = X
    for layer in layers(est, g.dtype, "to_onnx"):
        A = _layer(g, A, layer)
    if is_classifier(est):
        _write_labels(g, est, A, *outputs)
    elif hasattr(est, "levels_"):
        levels = len(est.levels_)
        quantiles = g.reshape(A, -1, est.n_outputs_ // levels, levels)
        k = g.constant([levels], np.int64)
        quantiles = g.node("TopK", quantiles, k, axis=-1, largest=0)
        ((_, shape),) = _outputs(est).values()
        g.reshape(quantiles, -1, *shape, output=outputs[0])
    else:
        g.node("Identity", A, output=outputs[0])


def _write_labels(g: _Graph, est: Any, A: str, label: str, probabilities: str) -> None:
    n = est.n_outputs_
    if n > 1:
        g.node("Identity", A, output=probabilities)
    else:
        g.node("Concat", g.node("Sub", g.constant(1), A), A, output=probabilities, axis=1)
    if not is_multilabel(est) and n > 1:
        codes = g.node("ArgMax", A, axis=1, keepdims=0)
    else:
        above = g.node("Greater", A, g.constant(0.5))
        if is_multilabel(est):
            g.cast(above, np.int64, output=label)
            return
        codes = g.reshape(g.cast(above, np.int64), -1)
    classes = _labels(est.classes_)
    if len(classes) == 1:
        classes = np.repeat(classes, 2)
    g.node("Gather", g.constant(classes, classes.dtype), codes, output=label)


# ------------------------------------------------------------------------------------- skl2onnx
def register_onnx_converters() -> None:
    """Tell skl2onnx of the estimators, so that its own functions convert them in pipelines.

    :func:`to_onnx` does so by itself.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    """
    skl2onnx = optional("skl2onnx", "onnx", "register_onnx_converters")
    classifier_options = {
        "zipmap": [True, False, "columns"],
        "output_class_labels": [False, True],
        "nocl": [False],
    }
    for cls, options in (
        (MLPClassifier, classifier_options),
        (MLPRegressor, None),
    ):
        skl2onnx.update_registered_converter(
            cls, f"Fastmlp{cls.__name__}", _shapes, _convert, overwrite=True, options=options
        )


def _skl2onnx_dtype(operator: Any) -> np.dtype:
    types = optional("skl2onnx.common.data_types", "onnx", "to_onnx")
    is_double = isinstance(operator.inputs[0].type, types.DoubleTensorType)
    return np.dtype(np.float64 if is_double else np.float32)


def _shapes(operator: Any) -> None:
    """Tell skl2onnx the types of the outputs."""
    types = optional("skl2onnx.common.data_types", "onnx", "to_onnx")
    n_rows = operator.inputs[0].get_first_dimension()
    described = _outputs(operator.raw_operator).values()
    for output, (kind, shape) in zip(operator.outputs, described, strict=True):
        kind = kind or _skl2onnx_dtype(operator)
        tensor = {
            np.dtype(np.int64): types.Int64TensorType,
            np.dtype(np.float32): types.FloatTensorType,
            np.dtype(np.float64): types.DoubleTensorType,
            np.dtype(object): types.StringTensorType,
        }[kind]
        output.type = tensor([n_rows, *shape])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the network into what skl2onnx makes of the whole."""
    onnx = optional("onnx", "onnx", "to_onnx")
    if container.target_opset < _OPSET:
        raise ValueError(f"target_opset={container.target_opset}, fastmlp needs {_OPSET}.")
    graph = _Graph(onnx, _skl2onnx_dtype(operator), scope.get_unique_variable_name)
    X = graph.cast(operator.inputs[0].full_name, graph.dtype)
    _write(graph, operator.raw_operator, X, [output.full_name for output in operator.outputs])
    for tensor in graph.constants:
        # It copies no strings of a tensor that is given whole.
        rest = [None, None, tensor]
        if tensor.string_data:
            rest = [tensor.data_type, list(tensor.dims), list(tensor.string_data)]
        container.add_initializer(tensor.name, *rest)
    for node in graph.nodes:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        container.add_node(
            node.op_type,
            list(node.input),
            list(node.output),
            op_version=_OPSET,
            name=scope.get_unique_operator_name(node.name),
            **attributes,
        )
