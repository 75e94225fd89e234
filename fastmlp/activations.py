"""Activation functions of hidden layers, for the estimators' parameter ``activation``.

A string means the object with its defaults: ``activation="relu"`` is ``activation=ReLU()``. f is
applied to each unit's weighted sum of inputs x. At a kink the derivative is the one from below;
that of 'relu6' and 'hardsigmoid' is 0 at both of theirs.

Definitions and defaults are PyTorch's; 'gelu' is exact, and 'softplus' has no threshold.

References
----------
.. [1] Rumelhart, Hinton, Williams (1986). Learning representations by back-propagating errors.
   Nature 323: 'logistic', and the derivatives.
.. [2] Nair, Hinton (2010). Rectified linear units improve restricted Boltzmann machines. ICML:
   'relu'.
.. [3] Maas, Hannun, Ng (2013). Rectifier nonlinearities improve neural network acoustic models.
   ICML: 'leaky_relu'.
.. [4] Clevert, Unterthiner, Hochreiter (2016). Fast and accurate deep network learning by
   exponential linear units (ELUs). ICLR: 'elu'.
.. [5] Klambauer, Unterthiner, Mayr, Hochreiter (2017). Self-normalizing neural networks. NeurIPS:
   'selu'.
.. [6] Barron (2017). Continuously differentiable exponential linear units. arXiv:1704.07483:
   'celu'.
.. [7] Hendrycks, Gimpel (2016). Gaussian error linear units (GELUs). arXiv:1606.08415: 'gelu'.
.. [8] Elfwing, Uchibe, Doya (2018). Sigmoid-weighted linear units for neural network function
   approximation in reinforcement learning. Neural Networks 107: 'silu'.
.. [9] Misra (2020). Mish: a self regularized non-monotonic activation function. BMVC: 'mish'.
.. [10] Dugas, Bengio, Belisle, Nadeau, Garcia (2001). Incorporating second-order functional
   knowledge for better option pricing. NeurIPS: 'softplus'.
.. [11] Bergstra, Desjardins, Lamblin, Bengio (2009). Quadratic polynomials learn better image
   features. Technical report 1337, Universite de Montreal: 'softsign'.
.. [12] Krizhevsky (2010). Convolutional deep belief networks on CIFAR-10. University of Toronto:
   'relu6'.
.. [13] Howard et al. (2019). Searching for MobileNetV3. ICCV: 'hardswish'.
.. [14] Courbariaux, Bengio, David (2015). BinaryConnect: training deep neural networks with binary
   weights during propagations. NeurIPS: 'hardsigmoid', there with the slope 1/2.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from . import _families


class Activation(_families.Choice):
    """A function applied to every unit of a layer."""


# Written by tools/generate.py from the engine's table: begin


@dataclass(frozen=True)
class Identity(Activation):
    """'identity': f(x) = x; in all layers it makes the model linear."""

    name: ClassVar[str] = "identity"


@dataclass(frozen=True)
class Logistic(Activation):
    """'logistic': the sigmoid f(x) = 1 / (1 + exp(-x))."""

    name: ClassVar[str] = "logistic"


@dataclass(frozen=True)
class Tanh(Activation):
    """'tanh': the hyperbolic tangent f(x) = tanh(x)."""

    name: ClassVar[str] = "tanh"


@dataclass(frozen=True)
class ReLU(Activation):
    """'relu': the rectified linear unit f(x) = max(0, x)."""

    name: ClassVar[str] = "relu"


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """'leaky_relu': f(x) = x for x > 0, else slope x: no unit dies (Maas et al., 2013).

    Parameters
    ----------
    slope : float, default=0.01
        Slope for negative x, in [0, inf).
    """

    name: ClassVar[str] = "leaky_relu"
    slope: float = _families.number(0.01, low=0, closed="left")


@dataclass(frozen=True)
class ELU(Activation):
    """'elu': f(x) = x for x > 0, else alpha (exp(x) - 1) (Clevert et al., 2016).

    Parameters
    ----------
    alpha : float, default=1.0
        Minus the limit at minus infinity, in [0, inf).
    """

    name: ClassVar[str] = "elu"
    alpha: float = _families.number(1.0, low=0, closed="left")


@dataclass(frozen=True)
class SELU(Activation):
    """'selu': 1.0507 times 'elu' with alpha = 1.6733: keeps mean 0, variance 1 (Klambauer et al.,
    2017).
    """

    name: ClassVar[str] = "selu"


@dataclass(frozen=True)
class CELU(Activation):
    """'celu': f(x) = x for x > 0, else alpha (exp(x / alpha) - 1): smooth (Barron, 2017).

    Parameters
    ----------
    alpha : float, default=1.0
        Minus the limit at minus infinity, in (0, inf).
    """

    name: ClassVar[str] = "celu"
    alpha: float = _families.number(1.0, low=0, closed="neither")


@dataclass(frozen=True)
class GELU(Activation):
    """'gelu': f(x) = x Phi(x), Phi the normal distribution function (Hendrycks, Gimpel, 2016)."""

    name: ClassVar[str] = "gelu"


@dataclass(frozen=True)
class SiLU(Activation):
    """'silu': f(x) = x / (1 + exp(-x)), also called swish (Elfwing et al., 2018)."""

    name: ClassVar[str] = "silu"


@dataclass(frozen=True)
class Mish(Activation):
    """'mish': f(x) = x tanh(ln(1 + exp(x))) (Misra, 2020)."""

    name: ClassVar[str] = "mish"


@dataclass(frozen=True)
class Softplus(Activation):
    """'softplus': f(x) = ln(1 + exp(x)), a smooth 'relu' (Dugas et al., 2001)."""

    name: ClassVar[str] = "softplus"


@dataclass(frozen=True)
class Softsign(Activation):
    """'softsign': f(x) = x / (1 + abs(x)) (Bergstra et al., 2009)."""

    name: ClassVar[str] = "softsign"


@dataclass(frozen=True)
class ReLU6(Activation):
    """'relu6': f(x) = min(max(0, x), 6) (Krizhevsky, 2010)."""

    name: ClassVar[str] = "relu6"


@dataclass(frozen=True)
class Hardswish(Activation):
    """'hardswish': f(x) = x min(max(0, x + 3), 6) / 6, a cheap 'silu' (Howard et al., 2019)."""

    name: ClassVar[str] = "hardswish"


@dataclass(frozen=True)
class Hardsigmoid(Activation):
    """'hardsigmoid': f(x) = min(max(0, x + 3), 6) / 6, a cheap 'logistic' (Courbariaux et al.,
    2015).
    """

    name: ClassVar[str] = "hardsigmoid"


@dataclass(frozen=True)
class Exp(Activation):
    """'exp': the exponential f(x) = exp(x), for positive outputs."""

    name: ClassVar[str] = "exp"


ActivationName = Literal[
    "identity",
    "logistic",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "softsign",
    "relu6",
    "hardswish",
    "hardsigmoid",
]

OutActivationName = Literal[
    "identity",
    "logistic",
    "tanh",
    "relu",
    "softplus",
    "exp",
]

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "ActivationName",
    "Exp",
    "Hardsigmoid",
    "Hardswish",
    "Identity",
    "LeakyReLU",
    "Logistic",
    "Mish",
    "OutActivationName",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Softplus",
    "Softsign",
    "Tanh",
]

# end

_members = _families.members(globals(), Activation)
ACTIVATIONS = {name: cls for name, cls in _members.items() if name in ActivationName.__args__}
OUT_ACTIVATIONS = {
    name: cls for name, cls in _members.items() if name in OutActivationName.__args__
}
