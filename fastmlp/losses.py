"""Losses of the regressor, for its parameter ``loss``.

A string means the object with its defaults: ``loss="poisson"`` is ``loss=Poisson()``.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from . import _families


class Loss(_families.Choice):
    """What training minimises: a function of target and output."""


# Written by tools/generate.py from the engine's table: begin


@dataclass(frozen=True)
class SquaredError(Loss):
    """'squared_error': half the squared error."""

    name: ClassVar[str] = "squared_error"


@dataclass(frozen=True)
class Poisson(Loss):
    """'poisson': half the Poisson deviance, for counts and rates; predictions are positive."""

    name: ClassVar[str] = "poisson"


LossName = Literal[
    "squared_error",
    "poisson",
]

__all__ = [
    "Loss",
    "LossName",
    "Poisson",
    "SquaredError",
]

# end

LOSSES = _families.members(globals(), Loss)
