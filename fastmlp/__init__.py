"""fastmlp: scikit-learn's multilayer perceptron, made fast and complete."""

__version__ = "0.1.0"
