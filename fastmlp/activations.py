"""Activation functions of hidden layers, for the estimators' parameter ``activation``.

A string means the object with its defaults: ``activation="relu"`` is ``activation=ReLU()``.
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


ActivationName = Literal[
    "identity",
    "logistic",
    "tanh",
    "relu",
]

__all__ = [
    "Activation",
    "ActivationName",
    "Identity",
    "Logistic",
    "ReLU",
    "Tanh",
]

# end

ACTIVATIONS = _families.members(globals(), Activation)
