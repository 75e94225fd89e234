"""How weights and biases start."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ._families import Choice, members

__all__ = ["GlorotUniform", "Initializer"]


class Initializer(Choice):
    """A distribution of initial weights and biases."""

    def draw(self, W: NDArray, b: NDArray, activation: str, rng: np.random.RandomState) -> None:
        """Fill the weights (fan_in, fan_out) and biases (fan_out,) of a layer."""


@dataclass(frozen=True)
class GlorotUniform(Initializer):
    """Uniform in ``[-r, r]`` with ``r = sqrt(6 / (fan_in + fan_out))``.

    With 'logistic' hidden layers ``r = sqrt(2 / (fan_in + fan_out))``. Biases are drawn like
    weights, after those of their layer. Glorot and Bengio (2010) in scikit-learn's form.
    """

    name: ClassVar[str] = "glorot_uniform"

    def draw(self, W: NDArray, b: NDArray, activation: str, rng: np.random.RandomState) -> None:
        bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / sum(W.shape))
        W[...] = rng.uniform(-bound, bound, W.shape)
        b[...] = rng.uniform(-bound, bound, b.shape)


INITIALIZERS = members(globals(), Initializer)
