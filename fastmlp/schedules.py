"""Learning rate schedules of 'sgd', for the estimators' parameter ``learning_rate``.

A string means the object with its defaults, except that ``power_t`` is the exponent of
``"invscaling"``. Not used by 'adam' and 'lbfgs'.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ._families import Choice, members, number

__all__ = ["Adaptive", "Constant", "InvScaling", "Schedule", "ScheduleName"]


class Schedule(Choice):
    """How a learning rate develops from epoch to epoch."""

    stops: ClassVar[str] = ""  # added to the message with which training stops on a plateau

    def after_epoch(self, rate: float, initial: float, samples_seen: int) -> float:
        """Return the rate of the next epoch."""
        return rate

    def on_plateau(self, rate: float) -> float | None:
        """Return the rate to go on with when progress has ended, None to stop training."""
        return None


@dataclass(frozen=True)
class Constant(Schedule):
    """'constant': it stays at `learning_rate_init`."""

    name: ClassVar[str] = "constant"


@dataclass(frozen=True)
class InvScaling(Schedule):
    """'invscaling': after each epoch it is ``learning_rate_init / (t_ + 1) ** power_t``.

    ``t_`` counts samples, not epochs, so that the rate falls quickly. An object has its own
    exponent.

    Parameters
    ----------
    power : float, default=0.5
        Exponent, at least 0.
    """

    name: ClassVar[str] = "invscaling"
    power: float = number(0.5, low=0, closed="left")

    def after_epoch(self, rate: float, initial: float, samples_seen: int) -> float:
        return float(initial) / (samples_seen + 1) ** self.power


@dataclass(frozen=True)
class Adaptive(Schedule):
    """'adaptive': it is divided by 5 whenever `n_iter_no_change` successive epochs have brought no
    progress by `tol`; training stops when that happens below 1e-6.
    """

    name: ClassVar[str] = "adaptive"
    stops: ClassVar[str] = " Learning rate too small."

    def on_plateau(self, rate: float) -> float | None:
        return None if rate <= 1e-6 else rate / 5.0


ScheduleName = Literal["constant", "invscaling", "adaptive"]
SCHEDULES = members(globals(), Schedule)
