"""Score and loss on data that are not trained on."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.metrics import get_scorer

from .. import _core
from .._network import flatten, up_to_output
from .._sklearn import without_validation
from .._structure import Structure, of_inference
from .problem import Problem, near_one
from .rows import Rows
from .state import State

# Rows that go through the network together where its loss is computed.
LOSS_ROWS = 512


def mean_loss(problem: Problem, dtype: DTypeLike) -> Callable[[NDArray], float]:
    """Return the function that takes outputs before their activation to their mean loss.

    It has no L2 term. To the engine, these outputs are what a network of one layer is given, whose
    weights are the identity: so the loss is computed as in training, and as stable.
    """
    width, n_threads = problem.widths[-1], problem.n_threads
    config = problem._replace(structure={}).config(dtype, 0.0) | {
        "units": (width, width),
        "activations": problem.activations[-1:],
        "bfloat16": False,
    }
    net = _core.Net(max_rows=min(LOSS_ROWS, problem.X.shape[0]), **config)
    y, weight = problem.targets.coded(dtype), problem.engine_weight()
    identity = flatten([np.eye(width)], [np.zeros(width)], dtype)
    unused = np.empty_like(identity)

    def loss(raw: NDArray) -> float:
        return net.loss_grad(identity, unused, raw, y, weight, n_threads)

    return loss


class Evaluation:
    """Score, and perhaps loss, of the network that is being trained.

    Parameters
    ----------
    est : object
        The estimator.
    problem : Problem
        Data to look at, and the network.
    state : State
        What a scorer is shown as fitted attributes.
    dtype : dtype
        Of the weights.
    scoring : str, callable or None
        What the score is, as the estimator's parameter.
    with_loss : bool
        Whether to compute the loss as well; it is needed if it is the score.
    """

    def __init__(
        self,
        est: Any,
        problem: Problem,
        state: State,
        dtype: np.dtype,
        *,
        scoring: Any,
        with_loss: bool,
    ) -> None:
        if problem.sample_weight is not None:
            problem = problem._replace(sample_weight=near_one(problem.sample_weight))
        self.problem, self.state = problem, state
        self.loss = mean_loss(problem, dtype) if with_loss else None
        self.score = self._scorer(est, scoring)

    def __call__(self, coefs: list[NDArray], intercepts: list[NDArray]) -> tuple[float, float]:
        """Return score and loss (NaN if it is not wanted) with these weights."""
        loss = np.nan
        activations = self.problem.activations
        structure = of_inference(self.problem.structure)
        if self.loss is None:
            outputs = self._outputs(coefs, intercepts, activations, structure)
        else:
            raw = up_to_output(coefs, intercepts, activations, structure)
            outputs = self._outputs(*raw)
            loss = self.loss(outputs)
            outputs = self._activated(outputs)
        if not _core.all_finite(*coefs, *intercepts):
            # Which outputs are NaN may depend on the number of threads: zeros in X are left
            # out of products.
            outputs.fill(np.nan)
            loss = np.nan
        return self.score(outputs, loss), loss

    def _outputs(
        self,
        coefs: list[NDArray],
        intercepts: list[NDArray],
        layers: tuple,
        structure: Structure,
    ) -> NDArray:
        p = self.problem

        def outputs(X: Any) -> NDArray:
            return _core.predict(
                X,
                coefs,
                intercepts,
                layers,
                **structure,
                bfloat16=p.bfloat16,
                n_threads=p.n_threads,
            )

        return p.X.map(outputs) if isinstance(p.X, Rows) else outputs(p.X)

    def _activated(self, raw: NDArray) -> NDArray:
        identity = np.eye(raw.shape[1], dtype=raw.dtype)
        return _core.predict(
            raw, [identity], [np.zeros_like(identity[0])], self.problem.activations[-1:]
        )

    def _scorer(self, est: Any, scoring: Any) -> Callable[[NDArray, float], float]:
        if scoring is None:
            scorer = self.problem.targets.scorer(self.problem.sample_weight)
            return lambda outputs, loss: scorer(outputs)
        if isinstance(scoring, str) and scoring == "loss":
            return lambda outputs, loss: -loss
        return self._users_scorer(est, scoring)

    def _users_scorer(self, est: Any, scoring: Any) -> Callable[[NDArray, float], float]:
        """Return a function that shows the current network to a scorer, as a fitted estimator."""
        scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
        shown, state, X = copy.copy(est), self.state, self.problem.X
        if isinstance(X, Rows):
            X = X[:]
        for attribute in ("feature_names_in_", "_session"):
            shown.__dict__.pop(attribute, None)  # X has no names any more
        y = self.problem.targets.decoded()
        weight = self.problem.sample_weight
        options = {} if weight is None else {"sample_weight": weight}

        def score(outputs: NDArray, loss: float) -> float:
            if not np.isfinite(outputs).all():
                return np.nan
            state.describe(shown)
            with without_validation():
                value = scorer(shown, X, y, **options)
            try:
                return float(value)
            except (TypeError, ValueError):
                raise ValueError(
                    f"scoring must return a number, got {value!r} from {scoring}."
                ) from None

        return score
