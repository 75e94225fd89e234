"""Rows of data that may be larger than memory."""

import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

# Rows of a file that are copied at once.
PIECE_BYTES = 2**23


def is_mapped(X: Any) -> bool:
    """Whether an array is part of a file that is mapped into memory."""
    while isinstance(X, np.ndarray) and not isinstance(X, np.memmap):
        X = X.base
    return isinstance(X, (np.memmap, mmap.mmap))


def bytes_of_row(X: Any) -> int:
    """Return about how many bytes a row of a dense array or a CSR matrix has, at least 1."""
    if issparse(X):
        n_bytes = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
        return max(1, n_bytes // max(1, X.shape[0]))
    return max(1, X.shape[1] * X.itemsize)


class Rows:
    """Some rows of a mapped array, copied whenever they are used, a few at a time.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        The array.
    rows : ndarray of int64
        Numbers of its rows.
    """

    def __init__(self, X: NDArray, rows: NDArray) -> None:
        self.X, self.rows = X, rows
        self.shape, self.dtype = (len(rows), X.shape[1]), X.dtype
        self.nbytes = len(rows) * X.shape[1] * X.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: slice | NDArray) -> NDArray:
        return self.X[self.rows[some]]

    def map(self, function: Callable[[NDArray], NDArray]) -> NDArray:
        """Return what a function makes of all rows. It is called in the order of the file."""
        order, step = np.argsort(self.rows), max(1, PIECE_BYTES // bytes_of_row(self.X))
        first = function(self[order[:step]])
        found = np.empty((len(order), *first.shape[1:]), first.dtype)
        found[order[:step]] = first
        for i in range(step, len(order), step):
            found[order[i : i + step]] = function(self[order[i : i + step]])
        return found
