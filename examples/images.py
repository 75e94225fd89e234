"""Images of handwritten digits for the examples."""

import os
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def load_images(small=False):
    """Return X, one image per row, and y: MNIST's 70,000 or, if small, the 1,797 of scikit-learn.

    MNIST is read from ``mnist.npz`` (arrays X, y) in the folder that the environment variable
    FASTMLP_DATA names. Without it the small images take its place.
    """
    path = Path(os.environ.get("FASTMLP_DATA", ""), "mnist.npz")
    if small or not path.is_file():
        if not small:
            print("FASTMLP_DATA names no folder that holds mnist.npz: scikit-learn's small digits.")
        X, y = load_digits(return_X_y=True)
        return X.astype(np.float32) / 16, y
    with np.load(path) as file:
        return file["X"].reshape(70_000, -1) / np.float32(255), file["y"]
