"""What the families of named values have in common.

A user names an activation, a loss, an optimizer, ... by a string or by an object of the family's
module. The object holds parameters of its own, the string means the object with its defaults.
Objects are values: frozen, compared by their parameters, checked when they are made.
"""

import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np

from ._sklearn import Interval, validate_parameter_constraints

Closed = Literal["left", "right", "both", "neither"]


def number(
    default: float,
    low: float = -np.inf,
    high: float = np.inf,
    closed: Closed = "neither",
    *,
    integer: bool = False,
) -> Any:
    """Return a dataclass field for a number between low and high."""
    kind = int if integer else float
    # scikit-learn's intervals are unbounded on the side of None, and closed on none of that side.
    bounds = [None if np.isinf(bound) else kind(bound) for bound in (low, high)]
    constraint = Interval(Integral if integer else Real, *bounds, closed=closed)
    return dataclasses.field(
        default=default, metadata={"kind": kind, "inside": (low, high), "constraint": constraint}
    )


def numbers(
    default: float, low: float = -np.inf, high: float = np.inf, closed: Closed = "neither"
) -> Any:
    """Return a dataclass field for a number between low and high, or several increasing ones."""
    field = number(default, low, high, closed)
    return dataclasses.field(default=default, metadata={**field.metadata, "several": True})


def switch(default: bool) -> Any:
    """Return a dataclass field for a boolean."""
    return dataclasses.field(default=default, metadata={"kind": bool, "constraint": "boolean"})


class Choice:
    """A member of a family: a name and the values of its parameters.

    Attributes
    ----------
    name : str
        The string that stands for the member with its defaults.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("several") and isinstance(value, list | tuple | np.ndarray):
                value = self._several(field, value)
            else:
                value = self._one(field, value)
            object.__setattr__(self, field.name, value)

    def _one(self, field: dataclasses.Field, value: Any) -> Any:
        validate_parameter_constraints(
            {field.name: [field.metadata["constraint"]]},
            {field.name: value},
            caller_name=type(self).__name__,
        )
        return field.metadata["kind"](value)

    def _several(self, field: dataclasses.Field, values: Any) -> Any:
        """Return the numbers as a tuple, or the only one there is."""
        checked = tuple(self._one(field, value) for value in values)
        if not checked or any(low >= high for low, high in pairwise(checked)):
            raise ValueError(
                f"The {field.name!r} parameter of {type(self).__name__} must increase, and be at "
                f"least one number. Got {values!r} instead."
            )
        return checked if len(checked) > 1 else checked[0]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters and their values.

        Parameters
        ----------
        deep : bool, default=True
            Ignored: the values have no parameters of their own.

        Returns
        -------
        params : dict
            Values by name.
        """
        return self.__dict__.copy()  # a frozen dataclass has no other attributes

    def with_params(self, **params: Any) -> Self:
        """Return the member with other values of these parameters."""
        unknown = params.keys() - self.get_params().keys()
        if unknown:
            raise ValueError(
                f"Invalid parameter {min(unknown)!r} for {self}. Valid parameters are: "
                f"{list(self.get_params())}."
            )
        return dataclasses.replace(self, **params)

    def __sklearn_clone__(self) -> Self:
        return self  # nothing can change it

    @property
    def choice(self) -> tuple:
        """The engine's form: the name, then the values in the order of its table."""
        return (self.name, *self.get_params().values())


def name_of(value: str | Choice) -> str:
    """Return the name of a member that is given by its name or as an object."""
    return value if isinstance(value, str) else value.name


def choice_of(value: str | Choice) -> str | tuple:
    """Return the engine's form of a member that is given by its name or as an object."""
    return value if isinstance(value, str) else value.choice


C = TypeVar("C", bound=Choice)


def members(namespace: Mapping[str, Any], base: type[C]) -> dict[str, type[C]]:
    """Return the members of a family that a module defines and that have a name, by name."""
    return {
        value.name: value
        for value in namespace.values()
        if isinstance(value, type) and issubclass(value, base) and "name" in vars(value)
    }
