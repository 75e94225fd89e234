"""The order of samples in which a file is read piece by piece."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from .problem import Problem, Run
from .random import shuffler
from .rows import bytes_of_row

# Consecutive rows that are read together, and those that are shuffled together. A disk is read at
# nearly its full pace in pieces of this size, and a window of 32 of them stays below what a fit
# may take; two are held while one follows the other.
CHUNK_BYTES = 2**20
WINDOW_BYTES = 2**25


class ChunkShuffle:
    """The runs of an epoch, shuffled in two steps whenever they are iterated over.

    Consecutive rows form chunks, which follow each other at random; as many of them as form a
    window are copied, and their rows shuffled. So a file is read in long pieces, a window of which
    is in memory, and mini-batches are drawn from a sample of the chunks instead of all rows.

    L. Xu, S. Qiu, B. Yuan, J. Jiang, C. Renggli, S. Gan, K. Kara, G. Li, J. Liu, W. Wu, J. Ye,
    C. Zhang, "In-Database Machine Learning with CorgiPile: Stochastic Gradient Descent without Full
    Data Shuffle", SIGMOD 2022, where this is shown to converge as a full shuffle does, but for a
    term that falls with the number of chunks in a window and is zero for data in random order.

    Parameters
    ----------
    problem : Problem
        What is to be fitted.
    rows : ndarray of int64 or None
        Numbers of the rows to train on, ascending; None: all.
    batch_size : int
        Rows in a mini-batch, none of which is cut by a window.
    rng : RandomState
        The random stream.
    runs : callable
        Returns the runs over the problem that a window is, in an order of its rows.
    """

    def __init__(
        self,
        problem: Problem,
        rows: NDArray | None,
        batch_size: int,
        rng: np.random.RandomState,
        runs: Callable[[Problem, NDArray], Iterable[Run]],
    ) -> None:
        self.problem, self.rows, self.rng, self.runs = problem, rows, rng, runs
        self.n_rows = problem.X.shape[0] if rows is None else len(rows)
        size = bytes_of_row(problem.X)
        self.chunk = max(1, CHUNK_BYTES // size)
        self.window = batch_size * max(1, WINDOW_BYTES // size // batch_size)

    def __iter__(self) -> Iterator[Run]:
        for spans in self._spans():
            rows = np.concatenate([np.arange(*span) for span in sorted(spans)])
            order = np.arange(len(rows))
            shuffler(self.rng, order)()
            window = self.problem.part(rows if self.rows is None else self.rows[rows])
            yield from self.runs(window, order)

    def _spans(self) -> Iterator[list[tuple[int, int]]]:
        """Draw the positions of each window, as first and last + 1 of each chunk or part of one."""
        spans, room = [], self.window
        for i in self.rng.permutation(-(-self.n_rows // self.chunk)):
            start, stop = i * self.chunk, min((i + 1) * self.chunk, self.n_rows)
            while start < stop:
                end = min(stop, start + room)
                spans.append((start, end))
                room -= end - start
                start = end
                if room == 0:
                    yield spans
                    spans, room = [], self.window
        if spans:
            yield spans
