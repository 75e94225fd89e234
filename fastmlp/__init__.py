"""fastmlp: scikit-learn's multilayer perceptron, made fast and complete."""

__version__ = "0.1.0"

from . import (
    activations,
    batches,
    callbacks,
    display,
    initializers,
    losses,
    mlflow,
    optimizers,
    schedules,
)
from ._c import to_c
from ._config import show_config
from ._onnx import register_onnx_converters, to_onnx
from ._patch import patch_sklearn, sklearn_is_patched, unpatch_sklearn
from .mlp import MLPClassifier, MLPRegressor, load_model

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "__version__",
    "activations",
    "batches",
    "callbacks",
    "display",
    "initializers",
    "load_model",
    "losses",
    "mlflow",
    "optimizers",
    "patch_sklearn",
    "register_onnx_converters",
    "schedules",
    "show_config",
    "sklearn_is_patched",
    "to_c",
    "to_onnx",
    "unpatch_sklearn",
]
