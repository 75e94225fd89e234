"""What is to be fitted."""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse import issparse

from .._network import count
from .rows import Rows, is_mapped
from .targets import Labels, Values


def near_one(sample_weight: NDArray) -> NDArray:
    """Return sample weights of any size with the same ratios whose sums are no extreme numbers.

    The factor is a power of two. Ordinary weights are returned as they are.
    """
    exponent = math.frexp(np.abs(sample_weight).max(initial=0.0))[1]
    return sample_weight if abs(exponent) <= 32 else np.ldexp(sample_weight, -exponent)


def largest(a: NDArray) -> float:
    """Return the largest absolute value, without a copy of the array."""
    return max(a.max(initial=0.0), -a.min(initial=0.0))


# What is handed to C at once: X, y, sample weights, and the order of rows.
Run = tuple[Any, NDArray, NDArray | None, NDArray]


class Problem(NamedTuple):
    """Data, and the network that is to be fitted to them."""

    X: Any  # ndarray or CSR matrix, float32 or float64
    targets: Labels | Values
    sample_weight: NDArray | None  # as given by the user
    widths: tuple[int, ...]
    activations: tuple[Any, ...]  # of each layer of weights
    bfloat16: bool
    n_threads: int
    structure: dict[str, Any]  # of _network.structure

    def config(self, dtype: DTypeLike, alpha: float) -> dict[str, Any]:
        """Return what a net for this problem is made of."""
        return {
            "units": self.widths,
            "dtype": np.dtype(dtype),
            "bfloat16": self.bfloat16,
            "activations": self.activations,
            "loss": self.targets.loss,
            "alpha": alpha,
            **self.structure,
        }

    @property
    def drops(self) -> bool:
        """Whether training is stochastic by dropout."""
        return not self.structure.keys().isdisjoint(("dropout", "input_dropout"))

    def engine_weight(self) -> NDArray | None:
        """Return the samples' weights in the loss, as the engine takes them."""
        weight = self.targets.weighted(self.sample_weight)
        return None if weight is None else np.ascontiguousarray(weight, dtype=np.float64)

    def part(self, rows: NDArray, *, may_stay: bool = False) -> "Problem":
        """Return the problem with copies of these rows as its data, or those of a file may stay."""
        X = Rows(self.X, rows) if may_stay and is_mapped(self.X) else self.X[rows]
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return self._replace(X=X, targets=self.targets.part(rows), sample_weight=weight)

    def how_to_scale(self, dtype: DTypeLike) -> str:
        """Return, for a message, how large the data are and what to do when dtype overflows."""
        data = {"X": self.X.data if issparse(self.X) else self.X}
        if isinstance(self.targets, Values):
            data["y"] = self.targets.y
        sizes = [f"{name} reaches {largest(a):.1e}" for name, a in data.items()]
        remedy = ", or set precision='float64'" if dtype == np.float32 else ""
        return f"{' and '.join(sizes)} in absolute value. Scale the data{remedy}."

    def warn_of_overflow(self, what: str, dtype: DTypeLike) -> None:
        warnings.warn(
            f"{what} overflowed {dtype}: {self.how_to_scale(dtype)}", RuntimeWarning, stacklevel=3
        )

    def max_nnz(self, n_rows: int) -> int:
        """Return a bound for the non-zeros of any n_rows rows, 0 for dense X."""
        if not issparse(self.X):
            return 0
        per_row = np.diff(self.X.indptr)
        largest = np.partition(per_row, len(per_row) - n_rows)[len(per_row) - n_rows :]
        # Rounded up to a power of two, so that the batches of partial_fit can share a net.
        return 1 << int(largest.sum(dtype=np.int64)).bit_length()

    def flops_per_row(self) -> float:
        """Return about what forward pass, delta and gradient cost for one row of X."""
        weights = count(self.widths, self.structure)
        if issparse(self.X):
            weights += (self.X.nnz / self.X.shape[0] - self.widths[0]) * self.widths[1]
        return 6.0 * weights
