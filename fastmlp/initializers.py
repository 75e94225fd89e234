"""Initial weights, for the estimators' parameter ``init``.

A string means the object with its defaults: ``init="he_normal"`` is ``init=HeNormal()``. Layers are
drawn from input to output, weights before biases. fan_in and fan_out are the numbers of rows and
columns of a layer's weights. Biases are zeros, except those of 'auto'.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ._families import Choice, members, number

__all__ = [
    "Auto",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "InitializerName",
    "LecunNormal",
    "Normal",
    "Orthogonal",
    "Uniform",
    "Zeros",
]


class Initializer(Choice):
    """A distribution of initial weights and biases."""

    def draw(self, W: NDArray, b: NDArray, activation: str, rng: np.random.RandomState) -> None:
        """Fill the weights (fan_in, fan_out) and biases (fan_out,) of a layer.

        The biases are zeros, or an empty array if there are none. The activation is the layer's; of
        the output layer, that of the last hidden one.
        """
        W[...] = self.weights(*W.shape, rng)

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray | float:
        """Return the weights of a layer."""
        raise NotImplementedError


@dataclass(frozen=True)
class Auto(Initializer):
    """'auto': scikit-learn's form of 'glorot_uniform', which draws biases like weights.

    Uniform in ``[-r, r]`` with ``r = sqrt(6 / (fan_in + fan_out))``, with 'logistic' hidden layers
    ``r = sqrt(2 / (fan_in + fan_out))``.
    """

    name: ClassVar[str] = "auto"

    def draw(self, W: NDArray, b: NDArray, activation: str, rng: np.random.RandomState) -> None:
        bound = math.sqrt((2.0 if activation == "logistic" else 6.0) / sum(W.shape))
        W[...] = rng.uniform(-bound, bound, W.shape)
        b[...] = rng.uniform(-bound, bound, b.shape)


@dataclass(frozen=True)
class GlorotUniform(Initializer):
    """'glorot_uniform': uniform in ``[-r, r]`` with ``r = sqrt(6 / (fan_in + fan_out))``.

    For 'tanh' and 'logistic'. X. Glorot, Y. Bengio, "Understanding the difficulty of training deep
    feedforward neural networks", AISTATS 2010.
    """

    name: ClassVar[str] = "glorot_uniform"

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        bound = np.sqrt(6.0 / (fan_in + fan_out))
        return rng.uniform(-bound, bound, (fan_in, fan_out))


@dataclass(frozen=True)
class GlorotNormal(Initializer):
    """'glorot_normal': normal of standard deviation ``sqrt(2 / (fan_in + fan_out))``.

    The variance of 'glorot_uniform'; the same source.
    """

    name: ClassVar[str] = "glorot_normal"

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        return rng.normal(0.0, np.sqrt(2.0 / (fan_in + fan_out)), (fan_in, fan_out))


@dataclass(frozen=True)
class HeUniform(Initializer):
    """'he_uniform': uniform in ``[-r, r]`` with ``r = sqrt(6 / fan_in)``.

    The variance of 'he_normal'; the same source.
    """

    name: ClassVar[str] = "he_uniform"

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        bound = np.sqrt(6.0 / fan_in)
        return rng.uniform(-bound, bound, (fan_in, fan_out))


@dataclass(frozen=True)
class HeNormal(Initializer):
    """'he_normal': normal of standard deviation ``sqrt(2 / fan_in)``.

    For 'relu' and its relatives, in deep networks. K. He, X. Zhang, S. Ren, J. Sun, "Delving deep
    into rectifiers: surpassing human-level performance on ImageNet classification", ICCV 2015,
    arXiv:1502.01852.
    """

    name: ClassVar[str] = "he_normal"

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        return rng.normal(0.0, np.sqrt(2.0 / fan_in), (fan_in, fan_out))


@dataclass(frozen=True)
class LecunNormal(Initializer):
    """'lecun_normal': normal of standard deviation ``sqrt(1 / fan_in)``.

    For 'selu'. Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller, "Efficient BackProp", 1998; G.
    Klambauer et al., "Self-normalizing neural networks", NIPS 2017, arXiv:1706.02515.
    """

    name: ClassVar[str] = "lecun_normal"

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        return rng.normal(0.0, np.sqrt(1.0 / fan_in), (fan_in, fan_out))


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """'orthogonal': orthonormal rows or columns, whichever are fewer, times `gain`.

    Uniform over all such matrices: of the QR decomposition of normal numbers, with the signs of
    R's diagonal made positive. A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks", ICLR 2014, arXiv:1312.6120; F.
    Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the
    AMS 54 (2007).

    Parameters
    ----------
    gain : float, default=1.0
        Length of the vectors, in (0, inf); ``sqrt(2)`` suits 'relu'.
    """

    name: ClassVar[str] = "orthogonal"
    gain: float = number(1.0, low=0, closed="neither")

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        tall = rng.normal(size=(max(fan_in, fan_out), min(fan_in, fan_out)))
        Q, R = np.linalg.qr(tall)
        Q *= self.gain * np.where(np.diag(R) < 0, -1.0, 1.0)
        return Q if fan_in >= fan_out else Q.T


@dataclass(frozen=True)
class Zeros(Initializer):
    """'zeros': weights of 0, to show that hidden units that start alike stay alike."""

    name: ClassVar[str] = "zeros"

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> float:
        return 0.0


@dataclass(frozen=True)
class Normal(Initializer):
    """'normal': normal of standard deviation `scale`, whatever the widths.

    Parameters
    ----------
    scale : float, default=0.01
        Standard deviation, in (0, inf).
    """

    name: ClassVar[str] = "normal"
    scale: float = number(0.01, low=0, closed="neither")

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        return rng.normal(0.0, self.scale, (fan_in, fan_out))


@dataclass(frozen=True)
class Uniform(Initializer):
    """'uniform': uniform in ``[-scale, scale]``, whatever the widths.

    Parameters
    ----------
    scale : float, default=0.05
        Bound, in (0, inf).
    """

    name: ClassVar[str] = "uniform"
    scale: float = number(0.05, low=0, closed="neither")

    def weights(self, fan_in: int, fan_out: int, rng: np.random.RandomState) -> NDArray:
        return rng.uniform(-self.scale, self.scale, (fan_in, fan_out))


InitializerName = Literal[
    "auto",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_normal",
    "orthogonal",
    "zeros",
    "normal",
    "uniform",
]
INITIALIZERS = members(globals(), Initializer)
