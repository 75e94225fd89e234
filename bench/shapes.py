"""The networks and data that every benchmark speaks of.

A shape is a network, a mini-batch size and a data set. Real data is used where there is some:
iris and digits come with scikit-learn; MNIST and California housing are read from the folder
``FASTMLP_DATA`` (``mnist.npz`` with X, y; ``california_housing.csv``). What is missing is replaced
by synthetic data of the same size, and ``Data.source`` says so.
"""

import csv
import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Shape:
    """A network ``units[0]-...-units[-1]`` trained in mini-batches of ``batch_size`` rows."""

    name: str
    units: tuple[int, ...]
    batch_size: int
    n_rows: int
    epochs: int  # of one timed fit; for L-BFGS iterations
    target: str = "classes"  # "classes", "binary" (one logistic output), "values"
    solver: str = "adam"
    density: float = 1.0  # below 1: X is a CSR matrix

    @property
    def hidden(self):
        return self.units[1:-1]

    @property
    def n_outputs(self):
        """Columns of the last layer: two classes need one logistic output only."""
        return 1 if self.target == "binary" else self.units[-1]

    @property
    def steps(self):
        """Updates of one timed fit; L-BFGS counts its iterations."""
        if self.solver == "lbfgs":
            return self.epochs
        return -(-self.n_rows // self.batch_size) * self.epochs

    @property
    def label(self):
        return "-".join(_runs(self.units))

    @property
    def batch_label(self):
        return "L-BFGS" if self.solver == "lbfgs" else f"batch {self.batch_size}"

    def flops(self):
        """Floating-point operations of the matrix products of one full mini-batch step.

        Every layer multiplies three times (forward, weight gradient, delta), the first one twice
        because nothing needs the gradient of X. Of a CSR matrix only the non-zeros count.
        """
        sizes = (*self.units[:-1], self.n_outputs)
        products = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
        products[0] *= self.density
        return 2 * self.batch_size * (3 * sum(products) - products[0])

    def intensity(self, item_size):
        """Floating-point operations per byte that a step reads or writes, in whatever cache.

        Of a network under Adam. Moves of a weight: W forward, W^T backward (not of the first
        layer); W, m and v read and written by the update, W^T written. Of an input: gathered, then
        read forward and by the gradient. Of an output of a layer: written, read by the next
        product, by the derivative and by the gradient; its delta written, read backward and by the
        gradient. Of a sparse first layer only the update's six moves of a weight count: products
        touch few of them.
        """
        first, *others = [a * b for a, b in pairwise((*self.units[:-1], self.n_outputs))]
        values = 4 * self.units[0] + 7 * (sum(self.hidden) + self.n_outputs)
        moves = 7 * first + 9 * sum(others) + self.batch_size * values
        if self.density < 1:
            moves = 6 * first
        return self.flops() / (item_size * moves)

    def quick(self):
        """A smaller fit of the same network: about a quarter of the steps."""
        if self.epochs >= 4:
            return replace(self, epochs=self.epochs // 4)
        n_rows = max(self.n_rows // 4 // self.batch_size, 2) * self.batch_size
        return replace(self, n_rows=min(n_rows, self.n_rows), epochs=1)


def _runs(units):
    """(256, 512, 512, 512, 10) -> "256", "512x3", "10"."""
    out = []
    for u in units:
        if out and out[-1][0] == u:
            out[-1][1] += 1
        else:
            out.append([u, 1])
    return [str(u) if n == 1 else f"{u}x{n}" for u, n in out]


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("iris", (4, 100, 3), 150, 150, 400),
        Shape("tab", (20, 100, 2), 200, 10_000, 20, "binary"),
        Shape("calif", (8, 64, 64, 1), 200, 20_640, 8, "values"),
        Shape("deep", (30, 64, 64, 64, 64, 5), 200, 10_000, 10),
        Shape("mnist", (784, 500, 10), 300, 30_000, 1),
        Shape("mnist-z", (784, 500, 10), 300, 30_000, 1),
        Shape("wide", (256, 512, 512, 512, 10), 256, 25_600, 1),
        Shape("xwide", (1024, 2048, 2048, 10), 1024, 8_192, 1),
        Shape("sparse", (20_000, 100, 2), 200, 10_000, 2, "binary", density=0.002),
        Shape("online", (20, 100, 2), 1, 2_000, 1, "binary"),
        Shape("lbfgs", (64, 100, 10), 1_797, 1_797, 60, solver="lbfgs"),
    )
}


@dataclass(frozen=True)
class Data:
    X: Any  # (n_rows, units[0]), dense array or CSR matrix
    y: np.ndarray  # (n_rows,) int64 classes or floats
    source: str  # "iris", "MNIST", ..., or "synthetic"


def load(shape, dtype=np.float32, *, synthetic=False):
    """The data of a shape, X in the given dtype and scaled to what networks like.

    Synthetic data, which can be asked for, has no zeros in dense X.
    """
    real = None if synthetic else _REAL.get(shape.name)
    X, y, source = (real and real(shape)) or _synthetic(shape)
    X, y = X[: shape.n_rows], y[: shape.n_rows]
    y = y.astype(dtype if shape.target == "values" else np.int64)
    return Data(X.astype(dtype), y, source)


def _synthetic(shape):
    """Targets that a linear function of X explains but for some noise."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    if shape.density < 1:
        size = (shape.n_rows, shape.units[0])
        X = sparse.random(*size, density=shape.density, format="csr", random_state=rng)
    else:
        X = rng.standard_normal((shape.n_rows, shape.units[0]), dtype=np.float32)
    scores = X @ rng.standard_normal((shape.units[0], shape.n_outputs))
    scores += scores.std() * 0.5 * rng.standard_normal(scores.shape)
    if shape.target == "values":
        return X, scores[:, 0], "synthetic"
    y = scores[:, 0] > 0 if shape.target == "binary" else scores.argmax(axis=1)
    return X, y, "synthetic"


def data_file(name):
    """Path of a file in FASTMLP_DATA, or None."""
    folder = os.environ.get("FASTMLP_DATA")
    path = Path(folder, name) if folder else None
    return path if path and path.is_file() else None


def _iris(shape):
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y, "iris"


def _digits(shape):
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y, "digits"


def _mnist(shape):
    path = data_file("mnist.npz")
    if path is None:
        return None
    with np.load(path) as file:
        X, y = file["X"][:60_000], file["y"][:60_000]
    return X.reshape(len(X), -1) / np.float32(255), y, "MNIST"


def _mnist_z(shape):
    """MNIST standardised, as tables often are: its dark pixels are no zeros any more."""
    data = _mnist(shape)
    if data is None:
        return None
    X, y, _ = data
    scale = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(scale > 0, scale, 1), y, "MNIST, standardised"


def _california(shape):
    path = data_file("california_housing.csv")
    if path is None:
        return None
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    table = np.array([[float(cell) if cell else np.nan for cell in row[:9]] for row in rows])
    X, y = table[:, :8], table[:, 8] / 1e5
    X = np.where(np.isnan(X), np.nanmedian(X, axis=0), X)
    return (X - X.mean(axis=0)) / X.std(axis=0), y, "California housing"


_REAL = {
    "iris": _iris,
    "calif": _california,
    "mnist": _mnist,
    "mnist-z": _mnist_z,
    "lbfgs": _digits,
}
