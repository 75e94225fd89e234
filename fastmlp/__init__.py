"""fastmlp: scikit-learn's multilayer perceptron, made fast and complete."""

__version__ = "0.1.0"

from ._config import show_config
from .mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "__version__", "show_config"]
