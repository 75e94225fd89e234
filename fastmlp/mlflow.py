"""Fits in MLflow's runs."""

from typing import Any

from sklearn import utils

from ._optional import optional
from .mlp import MLPClassifier, MLPRegressor

__all__ = ["autolog"]


def autolog(**options: Any) -> None:
    """Let MLflow log fits of fastmlp's estimators as it logs those of scikit-learn's.

    ``mlflow.sklearn.autolog()`` logs the estimators that :func:`sklearn.utils.all_estimators` lists
    when it is called, and no others. This function calls it with a list that has fastmlp's as well:
    parameters, metrics and the model of each fit go into a run. After
    :func:`fastmlp.patch_sklearn`, MLflow's own function finds them without help.

    Parameters
    ----------
    **options : dict
        Passed to ``mlflow.sklearn.autolog``; ``disable=True`` ends it.

    Raises
    ------
    ImportError
        If MLflow is not installed.

    Examples
    --------
    >>> import fastmlp
    >>> fastmlp.mlflow.autolog()  # doctest: +SKIP
    >>> fastmlp.MLPClassifier().fit(X, y)  # doctest: +SKIP
    """
    flavour = optional("mlflow.sklearn", "mlflow", "fastmlp.mlflow.autolog")
    theirs = utils.all_estimators
    ours = [(cls.__name__, cls) for cls in (MLPClassifier, MLPRegressor)]
    utils.all_estimators = lambda *args, **kwargs: [*theirs(*args, **kwargs), *ours]
    try:
        flavour.autolog(**options)
    finally:
        utils.all_estimators = theirs
