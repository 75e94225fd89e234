"""Learning rate schedules, for the estimators' parameter ``learning_rate``.

A string means the object with its defaults, except that ``power_t`` is the exponent of
``"invscaling"``.

scikit-learn's three, ``"constant"``, ``"invscaling"`` and ``"adaptive"``, keep their meaning: they
move the learning rate itself, and 'adam' ignores them. All others, and a warm-up, are factors by
which `learning_rate_init` is multiplied, one for each epoch, with every solver but 'lbfgs', which
has no learning rate and refuses them. A function of the epoch's number, the first being 0, may take
the place of an object.

A schedule begins with the optimizer's state: `fit` starts it, with `warm_start` too, and each call
of `partial_fit` is its next epoch. Those that have a length are as long as `max_iter`, and stay at
their last value beyond it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import ClassVar, Literal

from ._families import Choice, members, number

__all__ = [
    "Adaptive",
    "Constant",
    "Cosine",
    "Custom",
    "Exponential",
    "InvScaling",
    "OneCycle",
    "Plateau",
    "Schedule",
    "ScheduleName",
    "Step",
]


def _warmup() -> int:
    return number(0, low=0, closed="left", integer=True)


class Schedule(Choice):
    """How a learning rate develops from epoch to epoch."""

    stops: ClassVar[str] = ""  # added to the message with which training stops on a plateau
    patience: ClassVar[float] = math.inf  # epochs without progress before the factor is reduced
    warmup: int = 0
    moves_rate: ClassVar[bool] = False  # by what follows, not by a factor

    # Of the rate itself.

    def after_epoch(self, rate: float, initial: float, samples_seen: int) -> float:
        """Return the rate of the next epoch."""
        return rate

    def on_plateau(self, rate: float) -> float | None:
        """Return the rate to go on with when progress has ended, None to stop training."""
        return None

    # Of the factor by which it is multiplied.

    def factor(self, epoch: int, n_epochs: int, n_reductions: int = 0) -> float:
        """Return what the learning rate is multiplied by in an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0 on.
        n_epochs : int
            Length of the schedule.
        n_reductions : int, default=0
            How often `patience` epochs have passed without progress.

        Returns
        -------
        factor : float
            The warm-up's in its epochs: the factor with which the schedule begins after them, in
            equal steps from 0.
        """
        left = max(1, n_epochs - self.warmup)
        if epoch >= self.warmup:
            return self.course(epoch - self.warmup, left, n_reductions)
        return (epoch + 1) / (self.warmup + 1) * self.course(0, left, n_reductions)

    def course(self, epoch: int, n_epochs: int, n_reductions: int) -> float:
        """Return the factor in an epoch after the warm-up, counted from its end."""
        return 1.0


@dataclass(frozen=True)
class Constant(Schedule):
    """'constant': it stays at `learning_rate_init`.

    Parameters
    ----------
    warmup : int, default=0
        Epochs in which the learning rate rises from 0 in equal steps (P. Goyal et al., "Accurate,
        large minibatch SGD", arXiv:1706.02677, 2017).
    """

    name: ClassVar[str] = "constant"
    warmup: int = _warmup()


@dataclass(frozen=True)
class InvScaling(Schedule):
    """'invscaling': after each epoch it is ``learning_rate_init / (t_ + 1) ** power_t``.

    ``t_`` counts samples, not epochs, so that the rate falls quickly. An object has its own
    exponent. Not used by 'adam'.

    Parameters
    ----------
    power : float, default=0.5
        Exponent, at least 0.
    """

    name: ClassVar[str] = "invscaling"
    moves_rate: ClassVar[bool] = True
    power: float = number(0.5, low=0, closed="left")

    def after_epoch(self, rate: float, initial: float, samples_seen: int) -> float:
        return float(initial) / (samples_seen + 1) ** self.power


@dataclass(frozen=True)
class Adaptive(Schedule):
    """'adaptive': it is divided by 5 whenever `n_iter_no_change` successive epochs have brought no
    progress by `tol`; training stops when that happens below 1e-6. Not used by 'adam'.
    """

    name: ClassVar[str] = "adaptive"
    moves_rate: ClassVar[bool] = True
    stops: ClassVar[str] = " Learning rate too small."

    def on_plateau(self, rate: float) -> float | None:
        return None if rate <= 1e-6 else rate / 5.0


@dataclass(frozen=True)
class Cosine(Schedule):
    """'cosine': it falls along half a cosine wave, over `max_iter` epochs.

    In epoch e of n the factor is ``final + (1 - final) * (1 + cos(pi * e / n)) / 2``
    (I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017,
    without restarts). A fit that stops early does not get to its end: see `n_iter_no_change`.

    Parameters
    ----------
    final : float, default=0.0
        Factor at the end, in [0, 1].

    warmup : int, default=0
        Epochs before, in which the learning rate rises from 0 in equal steps.
    """

    name: ClassVar[str] = "cosine"
    final: float = number(0.0, low=0, high=1, closed="both")
    warmup: int = _warmup()

    def course(self, epoch: int, n_epochs: int, n_reductions: int) -> float:
        return _half_wave(1.0, self.final, min(1.0, epoch / n_epochs))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """'one_cycle': it rises to `learning_rate_init` and falls far below where it began.

    Over `max_iter` epochs: from the factor `start` to 1 in the share `rise` of them, then from 1 to
    `final`, both along half a cosine wave (L. N. Smith, N. Topin, "Super-convergence: very fast
    training of neural networks using large learning rates", 2019, in the form that PyTorch has made
    common). Momentum does not change.

    Parameters
    ----------
    rise : float, default=0.3
        Share of the epochs in which it rises, in (0, 1).

    start : float, default=0.04
        Factor in the first epoch, in [0, 1].

    final : float, default=4e-06
        Factor at the end, in [0, 1].

    warmup : int, default=0
        Epochs before, in which the learning rate rises from 0 in equal steps.
    """

    name: ClassVar[str] = "one_cycle"
    rise: float = number(0.3, low=0, high=1)
    start: float = number(0.04, low=0, high=1, closed="both")
    final: float = number(4e-6, low=0, high=1, closed="both")
    warmup: int = _warmup()

    def course(self, epoch: int, n_epochs: int, n_reductions: int) -> float:
        passed = min(1.0, epoch / n_epochs)
        if passed < self.rise:
            return _half_wave(self.start, 1.0, passed / self.rise)
        return _half_wave(1.0, self.final, (passed - self.rise) / (1 - self.rise))


@dataclass(frozen=True)
class Exponential(Schedule):
    """'exponential': every epoch it is multiplied by 0.95; in epoch e the factor is ``decay**e``.

    Parameters
    ----------
    decay : float, default=0.95
        Ratio of the learning rates of successive epochs, in (0, 1].

    warmup : int, default=0
        Epochs before, in which the learning rate rises from 0 in equal steps.
    """

    name: ClassVar[str] = "exponential"
    decay: float = number(0.95, low=0, high=1, closed="right")
    warmup: int = _warmup()

    def course(self, epoch: int, n_epochs: int, n_reductions: int) -> float:
        return self.decay**epoch


@dataclass(frozen=True)
class Step(Schedule):
    """'step': every 30 epochs it is multiplied by 0.1; in epoch e the factor is
    ``decay ** (e // every)``.

    Parameters
    ----------
    decay : float, default=0.1
        Ratio of the learning rates after and before a step, in (0, 1].

    every : int, default=30
        Epochs between two steps, at least 1.

    warmup : int, default=0
        Epochs before, in which the learning rate rises from 0 in equal steps.
    """

    name: ClassVar[str] = "step"
    decay: float = number(0.1, low=0, high=1, closed="right")
    every: int = number(30, low=1, closed="left", integer=True)
    warmup: int = _warmup()

    def course(self, epoch: int, n_epochs: int, n_reductions: int) -> float:
        return self.decay ** (epoch // self.every)


@dataclass(frozen=True)
class Plateau(Schedule):
    """'plateau': it is multiplied by 0.1 after more than 5 successive epochs without progress by
    `tol`.

    After k such times the factor is ``max(decay**k, lowest)``, and the count begins anew. Unlike
    'adaptive' it has a patience of its own, to be chosen below `n_iter_no_change`, at which
    training stops.

    Parameters
    ----------
    decay : float, default=0.1
        Ratio of the learning rates after and before, in (0, 1].

    patience : int, default=5
        Successive epochs without progress that are tolerated, at least 0.

    lowest : float, default=0.0
        Smallest factor, in [0, 1].

    warmup : int, default=0
        Epochs before, in which the learning rate rises from 0 in equal steps.
    """

    name: ClassVar[str] = "plateau"
    decay: float = number(0.1, low=0, high=1, closed="right")
    patience: int = number(5, low=0, closed="left", integer=True)
    lowest: float = number(0.0, low=0, high=1, closed="both")
    warmup: int = _warmup()

    def course(self, epoch: int, n_epochs: int, n_reductions: int) -> float:
        return max(self.decay**n_reductions, self.lowest)


@dataclass(frozen=True)
class Custom(Schedule):
    """A schedule that is a function; the function itself may be given in its place.

    Parameters
    ----------
    function : callable
        Takes the number of an epoch, the first after the warm-up being 0, and returns the factor,
        at least 0. For estimators that are to be pickled it must be defined in a module.

    warmup : int, default=0
        Epochs before, in which the learning rate rises from 0 in equal steps.
    """

    function: Callable[[int], float] = field(
        metadata={"kind": lambda function: function, "constraint": callable}
    )
    warmup: int = _warmup()

    def course(self, epoch: int, n_epochs: int, n_reductions: int) -> float:
        factor = self.function(epoch)
        if not (isinstance(factor, Real) and 0 <= factor < math.inf):
            raise ValueError(
                f"learning_rate must return finite factors of at least 0, got {factor!r} for epoch "
                f"{epoch}."
            )
        return float(factor)


def _half_wave(begin: float, end: float, passed: float) -> float:
    """From begin to end, of which a share has passed."""
    return end + (begin - end) * (1 + math.cos(math.pi * passed)) / 2


ScheduleName = Literal[
    "constant",
    "invscaling",
    "adaptive",
    "cosine",
    "one_cycle",
    "exponential",
    "step",
    "plateau",
]
SCHEDULES = members(globals(), Schedule)
CONSTANT = Constant()
