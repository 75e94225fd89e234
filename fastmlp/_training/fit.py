"""What all fits share."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._network import net_dtype
from ..callbacks import (
    BestScore,
    Callback,
    LossReport,
    ProgressBar,
    ScoreProgress,
    TargetLoss,
    TargetScore,
    TimeLimit,
    Validation,
    progress_bar,
)
from .evaluation import Evaluation
from .problem import Problem
from .state import State
from .tasks import Tasks


class Fit:
    """An estimator's parameters, a problem and a state.

    Construction does all that may refuse them.

    Parameters
    ----------
    est : object
        The estimator.
    problem : Problem
        What is to be fitted.
    state : State
        Where to begin.
    rng : RandomState
        The random stream.
    incremental : bool
        Whether this is ``partial_fit``.
    validation : Problem or None
        The user's own validation data.
    """

    evaluation: Evaluation | None = None
    tasks: Tasks | None = None
    bar: ProgressBar | None = None  # of several fits, if there is one
    further: Sequence[Callback] = ()
    deadline = np.inf
    prints_loss = True  # with verbose

    def __init__(
        self,
        est: Any,
        problem: Problem,
        state: State,
        rng: np.random.RandomState,
        incremental: bool,
        validation: Problem | None = None,
    ) -> None:
        self.est, self.problem, self.state = est, problem, state
        self.rng, self.incremental = rng, incremental
        self.dtype = net_dtype(est, problem.X, *state.coefs, *state.intercepts)
        self._begin(validation)
        if est.target_score is not None and self.evaluation is None:
            raise ValueError(
                f"target_score={est.target_score} needs validation data: X_val and y_val, or "
                "early_stopping=True."
            )

    def _begin(self, validation: Problem | None) -> None:
        """Prepare what the kind of training needs, and watch the user's own validation data."""
        raise NotImplementedError

    def _watch(self, data: Problem, dtype: np.dtype, own: bool) -> None:
        """Evaluate the network on these data, which are the user's own or split off."""
        scoring = self.est.scoring
        begun = hasattr(self.state, "validation_loss_curve")
        with_loss = own or begun or scoring is not None
        self.evaluation = Evaluation(
            self.est, data, self.state, dtype, scoring=scoring, with_loss=with_loss
        )
        self.state.start_validation(with_loss, self.est.early_stopping)

    def show(self, tasks: Tasks, further: Sequence[Callback]) -> None:
        """Show what follows to the user's callbacks."""
        self.tasks, self.further = tasks, further
        tasks.watch(self.state, self.refresh)

    def refresh(self) -> None:
        """Bring the state's weights up to date."""

    def _start_clock(self) -> None:
        if self.est.time_limit is not None:
            self.deadline = time.monotonic() + self.est.time_limit

    def _evaluate(self) -> tuple[float, float]:
        """Return score and loss on the validation data."""
        raise NotImplementedError

    def _bar(self) -> ProgressBar | None:
        """Return the progress bar, if it is wanted."""
        if self.est.verbose != 2 or self.incremental:
            return self.bar
        return progress_bar(ProgressBar, self.est.max_iter)

    def _reports(self) -> Iterator[Callback]:
        """What prints, and what looks at the validation data."""
        est, bar = self.est, self._bar()
        prints = bool(est.verbose) and bar is None
        if prints and self.prints_loss:
            yield LossReport()
        if self.evaluation is not None:
            yield Validation(self._evaluate, prints)
            if est.early_stopping:
                yield ScoreProgress(est.tol)
            yield BestScore(keep_weights=est.early_stopping)
        if bar is not None:
            yield bar

    def _goals(self) -> Iterator[Callback]:
        """What may end training; scikit-learn's callbacks are told when all is known."""
        est = self.est
        if est.target_loss is not None:
            yield TargetLoss(est.target_loss, est.verbose)
        if est.target_score is not None:
            yield TargetScore(est.target_score, est.verbose)
        if est.time_limit is not None:
            yield TimeLimit(self.deadline, est.verbose)
        yield from self.further
        if self.tasks is not None:
            yield self.tasks
