"""Optimizers, for the estimators' parameter ``solver``.

An object carries its own parameters. The strings take those that scikit-learn's estimators have for
them: ``solver="sgd"`` is ``SGD(momentum, nesterovs_momentum)``, ``solver="adam"`` is ``Adam(beta_1,
beta_2, epsilon)``, ``solver="lbfgs"`` is ``LBFGS(max_fun)``.
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


OptimizerName = Literal[
    "lbfgs",
    "sgd",
    "adam",
]

__all__ = [
    "LBFGS",
    "SGD",
    "Adam",
    "Optimizer",
    "OptimizerName",
]

# end

OPTIMIZERS = _families.members(globals(), Optimizer)


def is_stochastic(solver: str | Optimizer) -> bool:
    """Whether a solver, named or an object, trains by mini-batches."""
    cls = OPTIMIZERS.get(solver) if isinstance(solver, str) else type(solver)
    return cls is not None and issubclass(cls, Optimizer) and not issubclass(cls, LBFGS)
