"""Losses, for the estimators' parameter ``loss``.

A string means the object with its defaults: ``loss="poisson"`` is ``loss=Poisson()``. The
classifier takes `LogLoss` and `Focal`, the regressor all others.

For a target y and a prediction a, with the error e = y - a:

=================  =================================================================  ==========
`SquaredError`     e^2 / 2                                                            mean
`AbsoluteError`    abs(e)                                                             mean
`Huber`            e^2 / 2 where abs(e) <= delta, else delta (abs(e) - delta / 2)     mean [1]_
`Quantile`         max(q e, (q - 1) e) for each level q                               mean [2]_
`LogCosh`          ln(cosh(e))                                                        mean [3]_
`Poisson`          y ln(y / a) - y + a                                                sum [4]_
`Gamma`            y / a - 1 - ln(y / a)                                              sum [4]_
`Tweedie`          y (y^s - a^s) / s - (y^t - a^t) / t, s = 1 - power, t = 2 - power  sum [5]_
`LogLoss`          -ln(p), p = a of the true class                                    sum [6]_
`Focal`            -(1 - p)^gamma ln(p)                                               sum [7]_
=================  =================================================================  ==========

Over several outputs the reported loss is their mean or sum, as the last column says; what is
minimised is in either case the sum. That is scikit-learn's convention. Two classes have one output,
whose p is a or 1 - a, and several labels per sample one each. Where probabilities enter a logarithm
they are clipped to [eps, 1 - eps], and positive predictions to normal numbers.

`Poisson`, `Gamma` and `Tweedie` need predictions that are positive, so an output activation 'exp',
'softplus' or 'logistic'.

References
----------
.. [1] P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics
   35 (1964), 73-101.
.. [2] R. Koenker, G. Bassett, "Regression quantiles", Econometrica 46 (1978), 33-50.
.. [3] P. J. Green, "Bayesian reconstructions from emission tomography data using a modified EM
   algorithm", IEEE Transactions on Medical Imaging 9 (1990), 84-93.
.. [4] P. McCullagh, J. A. Nelder, "Generalized Linear Models", 2nd edition, 1989, section 2.3.
.. [5] B. Jorgensen, "Exponential dispersion models", Journal of the Royal Statistical Society B 49
   (1987), 127-162.
.. [6] C. M. Bishop, "Pattern Recognition and Machine Learning", 2006, sections 4.3.6 and 5.3.
.. [7] T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollar, "Focal loss for dense object detection",
   ICCV 2017.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from . import _families


class Loss(_families.Choice):
    """What training minimises: a function of target and output."""


# Written by tools/generate.py from the engine's table: begin


@dataclass(frozen=True)
class SquaredError(Loss):
    """'squared_error': half the squared error; predictions are means."""

    name: ClassVar[str] = "squared_error"


@dataclass(frozen=True)
class AbsoluteError(Loss):
    """'absolute_error': the absolute error, robust against outliers; predictions are medians."""

    name: ClassVar[str] = "absolute_error"


@dataclass(frozen=True)
class Huber(Loss):
    """'huber': half the squared error up to delta, from there on linear (Huber, 1964).

    Parameters
    ----------
    delta : float, default=1.0
        Largest error that is squared, in (0, inf).
    """

    name: ClassVar[str] = "huber"
    delta: float = _families.number(1.0, low=0, closed="neither")


@dataclass(frozen=True)
class Quantile(Loss):
    """'quantile': max(q e, (q - 1) e) of errors e; predictions are q-quantiles (Koenker and
    Bassett, 1978).

    Parameters
    ----------
    levels : float or sequence of float, default=0.5
        Level q, or several increasing ones, in (0, 1).
    """

    name: ClassVar[str] = "quantile"
    levels: float | tuple[float, ...] = _families.numbers(0.5, low=0, high=1, closed="neither")


@dataclass(frozen=True)
class LogCosh(Loss):
    """'log_cosh': ln(cosh(y - prediction)), a smooth 'huber' (Green, 1990)."""

    name: ClassVar[str] = "log_cosh"


@dataclass(frozen=True)
class Poisson(Loss):
    """'poisson': half the Poisson deviance, for counts and rates; predictions are positive."""

    name: ClassVar[str] = "poisson"


@dataclass(frozen=True)
class Gamma(Loss):
    """'gamma': half the gamma deviance, for positive targets; predictions are positive."""

    name: ClassVar[str] = "gamma"


@dataclass(frozen=True)
class Tweedie(Loss):
    """'tweedie': half the Tweedie deviance, for zeros and positive numbers; predictions are
    positive.

    Parameters
    ----------
    power : float, default=1.5
        The variance is the mean to this power; near 1 is 'poisson', near 2 'gamma', in (1, 2).
    """

    name: ClassVar[str] = "tweedie"
    power: float = _families.number(1.5, low=1, high=2, closed="neither")


@dataclass(frozen=True)
class LogLoss(Loss):
    """'log_loss': cross-entropy of class probabilities."""

    name: ClassVar[str] = "log_loss"


@dataclass(frozen=True)
class Focal(Loss):
    """'focal': cross-entropy times (1 - p)^gamma, p of the true class (Lin et al., 2017).

    Parameters
    ----------
    gamma : float, default=2.0
        How much hard samples prevail; 0 is 'log_loss', in [0, inf).
    """

    name: ClassVar[str] = "focal"
    gamma: float = _families.number(2.0, low=0, closed="left")


LossName = Literal[
    "squared_error",
    "absolute_error",
    "huber",
    "quantile",
    "log_cosh",
    "poisson",
    "gamma",
    "tweedie",
]

ClassifierLossName = Literal[
    "log_loss",
    "focal",
]

__all__ = [
    "AbsoluteError",
    "ClassifierLossName",
    "Focal",
    "Gamma",
    "Huber",
    "LogCosh",
    "LogLoss",
    "Loss",
    "LossName",
    "Poisson",
    "Quantile",
    "SquaredError",
    "Tweedie",
]

# end

_members = _families.members(globals(), Loss)
LOSSES = {name: cls for name, cls in _members.items() if name in LossName.__args__}
CLASSIFIER_LOSSES = {
    name: cls for name, cls in _members.items() if name in ClassifierLossName.__args__
}
