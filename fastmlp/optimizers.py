"""Optimizers, for the estimators' parameter ``solver``.

An object carries its own parameters. The strings take those that scikit-learn's estimators have for
them: ``solver="sgd"`` is ``SGD(momentum, nesterovs_momentum)``, ``solver="adam"`` is ``Adam(beta_1,
beta_2, epsilon)``, ``solver="lbfgs"`` is ``LBFGS(max_fun)``. All other strings are the objects with
their defaults. Where PyTorch has the same optimizer, steps and defaults are PyTorch's, but for the
learning rate, which is the estimators' `learning_rate_init`.

In the formulas w are the weights, g their gradient, r the learning rate and t the number of the
update, from 1 on; all operations are elementwise. Decoupled weight decay shrinks the weights, not
the biases, and is independent of the L2 term `alpha`, which enters the gradient.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from . import _families


class Optimizer(_families.Choice):
    """How training gets from one set of weights to the next."""


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """'lbfgs': SciPy's quasi-Newton method with limited memory, on all of X at once.

    Parameters
    ----------
    max_fun : int, default=15000
        Largest number of evaluations of the loss, at least 1.
    """

    name: ClassVar[str] = "lbfgs"
    max_fun: int = _families.number(15000, low=1, closed="left", integer=True)


# Written by tools/generate.py from the engine's table: begin


@dataclass(frozen=True)
class SGD(Optimizer):
    """'sgd': gradient descent on mini-batches with momentum.

    ``v = momentum * v - r * g``, then ``w += v``, or ``w += momentum * v - r * g`` in Nesterov's
    form. B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; I.
    Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML
    2013.

    Parameters
    ----------
    momentum : float, default=0.9
        Momentum coefficient, the share of the previous step added to the next, in [0, 1].

    nesterov : bool, default=True
        Whether momentum takes Nesterov's form.
    """

    name: ClassVar[str] = "sgd"
    momentum: float = _families.number(0.9, low=0, high=1, closed="both")
    nesterov: bool = _families.switch(True)


@dataclass(frozen=True)
class Adam(Optimizer):
    """'adam': steps scaled for each weight by running averages of its gradient and of its square.

    ``m = beta_1 * m + (1 - beta_1) * g``, ``v = beta_2 * v + (1 - beta_2) * g**2``,
    ``w -= r * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)``: the form at the
    end of section 2 of D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR
    2015, which scikit-learn uses. PyTorch's differs in epsilon, which is added to
    ``sqrt(v / (1 - beta_2**t))``.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the average of gradients, in [0, 1).

    beta_2 : float, default=0.999
        Decay of the average of squared gradients, in [0, 1).

    epsilon : float, default=1e-08
        Added to the denominator of the step, in (0, inf).
    """

    name: ClassVar[str] = "adam"
    beta_1: float = _families.number(0.9, low=0, high=1, closed="left")
    beta_2: float = _families.number(0.999, low=0, high=1, closed="left")
    epsilon: float = _families.number(1e-08, low=0, closed="neither")


@dataclass(frozen=True)
class AdamW(Optimizer):
    """'adamw': adam with decoupled weight decay.

    With adam's averages m and v: ``w *= 1 - r * weight_decay``, then
    ``w -= r * m / (1 - beta_1**t) / (sqrt(v / (1 - beta_2**t)) + epsilon)``. The weight decay takes
    the place of `alpha`, which is to be set to 0. I. Loshchilov, F. Hutter, "Decoupled weight decay
    regularization", ICLR 2019.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the average of gradients, in [0, 1).

    beta_2 : float, default=0.999
        Decay of the average of squared gradients, in [0, 1).

    epsilon : float, default=1e-08
        Added to the denominator of the step, in (0, inf).

    weight_decay : float, default=0.01
        Decoupled weight decay: an update takes off this times the learning rate of each weight, in
        [0, inf).
    """

    name: ClassVar[str] = "adamw"
    beta_1: float = _families.number(0.9, low=0, high=1, closed="left")
    beta_2: float = _families.number(0.999, low=0, high=1, closed="left")
    epsilon: float = _families.number(1e-08, low=0, closed="neither")
    weight_decay: float = _families.number(0.01, low=0, closed="left")


@dataclass(frozen=True)
class NAdam(Optimizer):
    """'nadam': adam with Nesterov's momentum.

    With adam's averages m and v, ``mu_t = beta_1 * (1 - 0.96**(t * momentum_decay) / 2)`` and
    ``p_t = mu_1 * ... * mu_t``: ``u = (1 - mu_t) / (1 - p_t) * g + mu_(t+1) / (1 - p_(t+1)) * m``,
    ``w -= r * u / (sqrt(v / (1 - beta_2**t)) + epsilon)``. T. Dozat, "Incorporating Nesterov
    momentum into Adam", ICLR 2016 workshop.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the average of gradients, in [0, 1).

    beta_2 : float, default=0.999
        Decay of the average of squared gradients, in [0, 1).

    epsilon : float, default=1e-08
        Added to the denominator of the step, in (0, inf).

    momentum_decay : float, default=0.004
        How quickly the momentum coefficient rises from half of beta_1 to beta_1, in [0, inf).

    weight_decay : float, default=0.0
        Decoupled weight decay: an update takes off this times the learning rate of each weight, in
        [0, inf).
    """

    name: ClassVar[str] = "nadam"
    beta_1: float = _families.number(0.9, low=0, high=1, closed="left")
    beta_2: float = _families.number(0.999, low=0, high=1, closed="left")
    epsilon: float = _families.number(1e-08, low=0, closed="neither")
    momentum_decay: float = _families.number(0.004, low=0, closed="left")
    weight_decay: float = _families.number(0.0, low=0, closed="left")


@dataclass(frozen=True)
class RAdam(Optimizer):
    """'radam': adam with its first steps rectified for the variance of their denominator.

    With adam's averages m and v, ``n = 2 / (1 - beta_2) - 1`` and
    ``n_t = n - 2 * t * beta_2**t / (1 - beta_2**t)``: ``w -= r * m / (1 - beta_1**t)`` as long as
    ``n_t <= 5``; then
    ``w -= c * r * m * sqrt(1 - beta_2**t) / (1 - beta_1**t) / (sqrt(v) + epsilon)`` with
    ``c**2 = (n_t - 4) * (n_t - 2) * n / ((n - 4) * (n - 2) * n_t)``. L. Liu et al., "On the
    variance of the adaptive learning rate and beyond", ICLR 2020.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the average of gradients, in [0, 1).

    beta_2 : float, default=0.999
        Decay of the average of squared gradients, in [0, 1).

    epsilon : float, default=1e-08
        Added to the denominator of the step, in (0, inf).

    weight_decay : float, default=0.0
        Decoupled weight decay: an update takes off this times the learning rate of each weight, in
        [0, inf).
    """

    name: ClassVar[str] = "radam"
    beta_1: float = _families.number(0.9, low=0, high=1, closed="left")
    beta_2: float = _families.number(0.999, low=0, high=1, closed="left")
    epsilon: float = _families.number(1e-08, low=0, closed="neither")
    weight_decay: float = _families.number(0.0, low=0, closed="left")


@dataclass(frozen=True)
class AMSGrad(Optimizer):
    """'amsgrad': adam with the largest average of squared gradients so far.

    With adam's averages m and v, ``u = max(u, v)``,
    ``w -= r * m / (1 - beta_1**t) / (sqrt(u / (1 - beta_2**t)) + epsilon)``. S. J. Reddi, S. Kale,
    S. Kumar, "On the convergence of Adam and beyond", ICLR 2018.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the average of gradients, in [0, 1).

    beta_2 : float, default=0.999
        Decay of the average of squared gradients, in [0, 1).

    epsilon : float, default=1e-08
        Added to the denominator of the step, in (0, inf).

    weight_decay : float, default=0.0
        Decoupled weight decay: an update takes off this times the learning rate of each weight, in
        [0, inf).
    """

    name: ClassVar[str] = "amsgrad"
    beta_1: float = _families.number(0.9, low=0, high=1, closed="left")
    beta_2: float = _families.number(0.999, low=0, high=1, closed="left")
    epsilon: float = _families.number(1e-08, low=0, closed="neither")
    weight_decay: float = _families.number(0.0, low=0, closed="left")


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """'rmsprop': steps scaled for each weight by a running average of its squared gradient.

    ``v = rho * v + (1 - rho) * g**2``, ``u = momentum * u + g / (sqrt(v) + epsilon)``,
    ``w -= r * u``. T. Tieleman, G. Hinton, "Lecture 6.5: RMSprop", Coursera, 2012. PyTorch's name
    for `rho` is alpha.

    Parameters
    ----------
    rho : float, default=0.99
        Decay of the average of squared gradients, in [0, 1).

    momentum : float, default=0.0
        Momentum coefficient, the share of the previous step added to the next, in [0, 1).

    epsilon : float, default=1e-08
        Added to the denominator of the step, in (0, inf).
    """

    name: ClassVar[str] = "rmsprop"
    rho: float = _families.number(0.99, low=0, high=1, closed="left")
    momentum: float = _families.number(0.0, low=0, high=1, closed="left")
    epsilon: float = _families.number(1e-08, low=0, closed="neither")


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """'adagrad': steps scaled for each weight by the sum of its squared gradients so far.

    ``s += g**2``, ``w -= r * g / (sqrt(s) + epsilon)``. Steps only ever become smaller; a learning
    rate of 0.01 or more is usual. J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for
    online learning and stochastic optimization", JMLR 12 (2011).

    Parameters
    ----------
    epsilon : float, default=1e-10
        Added to the denominator of the step, in (0, inf).
    """

    name: ClassVar[str] = "adagrad"
    epsilon: float = _families.number(1e-10, low=0, closed="neither")


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """'adadelta': steps scaled by running averages of the squares of both steps and gradients.

    ``v = rho * v + (1 - rho) * g**2``, ``d = sqrt(u + epsilon) / sqrt(v + epsilon) * g``,
    ``u = rho * u + (1 - rho) * d**2``, ``w -= r * d``. Meant for a learning rate of 1.0. M. D.
    Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.

    Parameters
    ----------
    rho : float, default=0.9
        Decay of both averages of squares, in [0, 1).

    epsilon : float, default=1e-06
        Added to the averages of squares before their roots are taken, in (0, inf).
    """

    name: ClassVar[str] = "adadelta"
    rho: float = _families.number(0.9, low=0, high=1, closed="left")
    epsilon: float = _families.number(1e-06, low=0, closed="neither")


@dataclass(frozen=True)
class Lion(Optimizer):
    """'lion': steps of one size for all weights, along the sign of an average of gradients.

    ``w *= 1 - r * weight_decay``, ``w -= r * sign(beta_1 * m + (1 - beta_1) * g)``, then
    ``m = beta_2 * m + (1 - beta_2) * g``. A learning rate of a third to a tenth of adam's is usual.
    X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Share of the average in the direction of a step, in [0, 1).

    beta_2 : float, default=0.99
        Decay of the average of gradients, in [0, 1).

    weight_decay : float, default=0.0
        Decoupled weight decay: an update takes off this times the learning rate of each weight, in
        [0, inf).
    """

    name: ClassVar[str] = "lion"
    beta_1: float = _families.number(0.9, low=0, high=1, closed="left")
    beta_2: float = _families.number(0.99, low=0, high=1, closed="left")
    weight_decay: float = _families.number(0.0, low=0, closed="left")


OptimizerName = Literal[
    "lbfgs",
    "sgd",
    "adam",
    "adamw",
    "nadam",
    "radam",
    "amsgrad",
    "rmsprop",
    "adagrad",
    "adadelta",
    "lion",
]

__all__ = [
    "LBFGS",
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "NAdam",
    "Optimizer",
    "OptimizerName",
    "RAdam",
    "RMSprop",
]

# end

OPTIMIZERS = _families.members(globals(), Optimizer)


def is_stochastic(solver: str | Optimizer) -> bool:
    """Whether a solver, named or an object, trains by mini-batches."""
    cls = OPTIMIZERS.get(solver) if isinstance(solver, str) else type(solver)
    return cls is not None and issubclass(cls, Optimizer) and not issubclass(cls, LBFGS)
