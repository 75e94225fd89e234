"""A few samples with targets of every kind, for tests in which it does not matter which."""

import numpy as np


def few(n, largest=1.0):
    """Return X of five features, and as its targets classes, values, and two labels."""
    X = np.random.RandomState(0).uniform(-largest, largest, (n, 5))
    values = X[:, 0] - X[:, 1] * X[:, 2]
    return X, np.arange(n) % 3, values, np.stack([values > 0, X[:, 3] > 0], axis=1).astype(int)
