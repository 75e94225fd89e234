"""Training on pairs of samples, mixed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from .problem import Problem


class Mixup:
    """The runs of an epoch, with samples mixed anew whenever they are iterated over.

    Each sample of the order is mixed with another one, drawn without replacement: X, targets and
    sample weights become ``s * own + (1 - s) * other``. The share s is from Beta(alpha, alpha), one
    for each mini-batch as in the authors' experiments: to draw one for each sample takes as long as
    to mix it. Drawn are the others of an epoch, then its shares, so that results do not depend on
    how an epoch is cut into runs.

    H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: beyond empirical risk minimization",
    ICLR 2018, arXiv:1710.09412.

    Parameters
    ----------
    alpha : float
        Parameter of the Beta distribution.
    problem : Problem
        What is to be fitted.
    y : ndarray
        Its targets as the engine takes them.
    dtype : dtype
        Of the network.
    order : ndarray
        The rows to train on, in their order.
    batch_size, step : int
        Rows in a mini-batch, and in a run of them.
    rng : RandomState
        The random stream.
    """

    def __init__(
        self,
        alpha: float,
        problem: Problem,
        y: NDArray,
        dtype: np.dtype,
        order: NDArray,
        batch_size: int,
        step: int,
        rng: np.random.RandomState,
    ) -> None:
        self.alpha, self.order, self.rng = alpha, order, rng
        self.batch_size, self.step = batch_size, step
        self.X, self.y, self.weight = problem.X, y, problem.engine_weight()
        self.n_outputs, self.dtype = problem.widths[-1], dtype

    def __iter__(self) -> Iterator[tuple[Any, NDArray, NDArray | None, NDArray]]:
        order, rng = self.order, self.rng
        others = rng.permutation(order)
        n_batches = -(-len(order) // self.batch_size)
        shares = np.repeat(rng.beta(self.alpha, self.alpha, n_batches), self.batch_size)
        for start in range(0, len(order), self.step):
            run = slice(start, start + self.step)
            rows, other = order[run], others[run]
            share = shares[run][: len(rows)]
            weight = None if self.weight is None else mixed(self.weight, rows, other, share)
            y = self._targets(rows, other, share)
            yield mixed(self.X, rows, other, share), y, weight, np.arange(len(rows))

    def _targets(self, rows: NDArray, other: NDArray, share: NDArray) -> NDArray:
        """Return the mixed targets; of classes, their probabilities."""
        if self.y.ndim == 2:
            return mixed(self.y, rows, other, share)
        y = np.zeros((len(rows), self.n_outputs), self.dtype)
        at = np.arange(len(rows))
        y[at, self.y[rows]] = share
        y[at, self.y[other]] += 1 - share
        return y


def mixed(a: Any, rows: NDArray, other: NDArray, share: NDArray) -> Any:
    """Return share * a[rows] + (1 - share) * a[other] in the dtype of a, row by row."""
    share = share.astype(a.dtype)
    if issparse(a):
        own, others = a[rows], a[other]
        own.data *= np.repeat(share, np.diff(own.indptr))
        others.data *= np.repeat(1 - share, np.diff(others.indptr))
        return own + others
    own, others = a.take(rows, axis=0), a.take(other, axis=0)
    own -= others
    own *= share.reshape(-1, *[1] * (a.ndim - 1))
    own += others
    return own
