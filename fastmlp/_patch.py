"""fastmlp's estimators in the place of scikit-learn's, for programs that are not to be changed."""

import logging
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

from . import __version__, _core
from ._sklearn import original
from .mlp import MLPClassifier, MLPRegressor

_ESTIMATORS = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}

# Its sitecustomize.py patches the processes that are started below this one: Python runs the file
# of this name that it finds on PYTHONPATH.
_STARTUP = str(Path(__file__).parent / "_startup")

_log = logging.getLogger(__package__)


def patch_sklearn() -> None:
    """Let ``from sklearn.neural_network import MLPClassifier, MLPRegressor`` import fastmlp's.

    Call it before such imports: a module that has imported scikit-learn's classes keeps them. So do
    estimators that exist; :meth:`MLPClassifier.from_sklearn` converts them. Processes that are
    started from now on, such as joblib's workers, are patched as well, by way of the environment
    variable PYTHONPATH. Pickles are those of fastmlp's estimators. The logger ``fastmlp`` says, at
    level INFO, what is accelerated.

    ``python -m fastmlp script.py`` runs a program with this in force.

    See Also
    --------
    unpatch_sklearn : Take it back.

    Examples
    --------
    >>> import fastmlp
    >>> fastmlp.patch_sklearn()
    >>> from sklearn.neural_network import MLPClassifier
    >>> MLPClassifier is fastmlp.MLPClassifier
    True
    >>> fastmlp.unpatch_sklearn()
    """
    for name, cls in _ESTIMATORS.items():
        setattr(_public(), name, cls)
        _log.info(
            "sklearn.neural_network.%s: accelerated by fastmlp %s, kernel set %s",
            name,
            __version__,
            _core.default_isa(),
        )
    _set_path([_STARTUP, *_other_paths()])


def unpatch_sklearn() -> None:
    """Take :func:`patch_sklearn` back. Estimators and modules that have ours keep them."""
    for name in _ESTIMATORS:
        setattr(_public(), name, original(name))
        _log.info("sklearn.neural_network.%s: scikit-learn's own", name)
    _set_path(_other_paths())


def sklearn_is_patched() -> bool:
    """Whether ``sklearn.neural_network`` has fastmlp's estimators.

    Returns
    -------
    patched : bool
        True after :func:`patch_sklearn`.
    """
    return all(getattr(_public(), name) is cls for name, cls in _ESTIMATORS.items())


def _public() -> ModuleType:
    return import_module("sklearn.neural_network")


def _other_paths() -> list[str]:
    paths = os.environ.get("PYTHONPATH")
    return [path for path in paths.split(os.pathsep) if path != _STARTUP] if paths else []


def _set_path(paths: list[str]) -> None:
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    else:
        os.environ.pop("PYTHONPATH", None)
