"""Packages that only some functions need."""

from importlib import import_module
from types import ModuleType


def optional(name: str, extra: str, needed_by: str) -> ModuleType:
    """Return a module, or say how to install it.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = name.partition(".")[0]
        if error.name not in (name, missing):
            raise  # it is there, and misses something itself
        raise ImportError(
            f"{needed_by} needs the package {missing}: pip install 'fastmlp[{extra}]'"
        ) from error
