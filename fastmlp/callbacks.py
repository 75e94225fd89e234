"""Parts of training that are told when an epoch has ended.

The estimators attach those here as their parameters ask for them, and in this order, which is that
of scikit-learn's side effects: report, validation, progress, best weights, learning rate, patience;
then the goals at which training ends.
"""

import time
from collections.abc import Callable
from typing import Any

__all__ = [
    "BestScore",
    "Callback",
    "LearningRate",
    "LossProgress",
    "LossReport",
    "Patience",
    "ScoreProgress",
    "TargetLoss",
    "TargetScore",
    "TimeLimit",
    "Validation",
]


class Callback:
    """Listens to training: to epochs of mini-batches, or iterations of 'lbfgs'.

    The state that it is given has the numbers that become the estimator's fitted attributes:
    `epoch`, `loss`, `samples_seen`, `loss_curve`, `best_loss`, `validation_scores`,
    `validation_loss_curve`, `best_validation_score`, `no_improvement_count`, `stop_reason`,
    `coefs` and `intercepts`.
    """

    def on_epoch_end(self, state: Any) -> bool | None:
        """Look at the state after an epoch, or change it; return whether to stop training."""


class LossReport(Callback):
    """Prints the loss."""

    def on_epoch_end(self, state: Any) -> None:
        print(f"Iteration {state.epoch}, loss = {state.loss:.8f}")


class _Progress(Callback):
    """Counts epochs without progress.

    Parameters
    ----------
    tol : float
        Least improvement that counts.
    """

    def __init__(self, tol: float) -> None:
        self.tol = tol

    def count(self, state: Any, idle: bool) -> None:
        """Count an epoch."""
        state.no_improvement_count = state.no_improvement_count + 1 if idle else 0


class LossProgress(_Progress):
    """Counts epochs in which the loss has not fallen by tol below the best so far."""

    def on_epoch_end(self, state: Any) -> None:
        loss, best = state.loss, state.best_loss
        self.count(state, loss > best - self.tol)
        if loss < best:
            state.best_loss = loss


class Validation(Callback):
    """Looks at the validation data.

    Parameters
    ----------
    evaluate : callable
        Returns score and loss of the current weights: NaN after divergence, and the loss also if
        it is not wanted.
    verbose : bool
        Whether to print them.
    """

    def __init__(self, evaluate: Callable[[], tuple[float, float]], verbose: bool) -> None:
        self.evaluate, self.verbose = evaluate, verbose

    def on_epoch_end(self, state: Any) -> None:
        score, loss = self.evaluate()
        state.validation_scores.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        if hasattr(state, "validation_loss_curve"):
            state.validation_loss_curve.append(loss)
            if self.verbose:
                print(f"Validation loss: {loss:f}")


class ScoreProgress(_Progress):
    """Counts epochs in which the validation score has not risen by tol above the best so far."""

    def on_epoch_end(self, state: Any) -> None:
        # No comparison with NaN holds.
        best = state.best_validation_score
        self.count(state, state.validation_scores[-1] < best + self.tol)


class BestScore(Callback):
    """Remembers the best validation score, and perhaps the weights that it belongs to.

    Parameters
    ----------
    keep_weights : bool
        Whether to copy them.
    """

    def __init__(self, keep_weights: bool) -> None:
        self.keep_weights = keep_weights

    def on_epoch_end(self, state: Any) -> None:
        score = state.validation_scores[-1]
        if score > state.best_validation_score:
            state.best_validation_score = score
            if self.keep_weights:
                state.keep_best()


class LearningRate(Callback):
    """Lets the schedule set the learning rate of the next epoch.

    Parameters
    ----------
    optimizer : OptimizerState
        Holds rate and schedule.
    n_epochs : int
        Length of the schedule.
    """

    def __init__(self, optimizer: Any, n_epochs: int) -> None:
        self.optimizer, self.n_epochs = optimizer, n_epochs

    def on_epoch_end(self, state: Any) -> None:
        progress = state.no_improvement_count == 0
        self.optimizer.end_epoch(progress, state.samples_seen, self.n_epochs)


class Patience(Callback):
    """Ends training, or lowers the learning rate, when progress has ended.

    Parameters
    ----------
    n_epochs : int or inf
        Epochs without progress that are tolerated.
    tol : float
        The improvement that would have been progress.
    what : str
        What has not improved.
    optimizer : OptimizerState or None
        Its schedule decides which of both; None: training ends.
    verbose : bool
        Whether to print what is done.
    """

    def __init__(
        self, n_epochs: float, tol: float, what: str, optimizer: Any | None, verbose: bool
    ) -> None:
        self.n_epochs, self.tol, self.what = n_epochs, tol, what
        self.optimizer, self.verbose = optimizer, verbose

    def on_epoch_end(self, state: Any) -> bool:
        if state.no_improvement_count <= self.n_epochs:
            return False
        optimizer = self.optimizer
        lower, ends = None, ""
        if optimizer is not None:
            ends = optimizer.schedule.stops
            lower = optimizer.schedule.on_plateau(optimizer.learning_rate)
        if lower is None:
            follows = f"{ends} Stopping."
        else:
            follows = f" Setting learning rate to {lower:f}"
            optimizer.learning_rate = lower
        if self.verbose:
            print(
                f"{self.what} did not improve more than tol={self.tol:f} for "
                f"{self.n_epochs:d} consecutive epochs.{follows}"
            )
        if lower is None:
            state.stop_reason = "n_iter_no_change"
            return True
        state.no_improvement_count = 0
        return False


class _Goal(Callback):
    """Ends training when something is reached."""

    reason: str

    def __init__(self, goal: float, verbose: bool) -> None:
        self.goal, self.verbose = goal, verbose

    def is_reached(self, state: Any) -> bool:
        """Return whether to end."""
        raise NotImplementedError

    def on_epoch_end(self, state: Any) -> bool:
        if not self.is_reached(state):
            return False
        state.stop_reason = state.stop_reason or self.reason
        if self.verbose:
            print(f"Iteration {state.epoch} has reached {self.reason}. Stopping.")
        return True


class TargetLoss(_Goal):
    """Ends training when the loss is small enough.

    Parameters
    ----------
    goal : float
        The loss to reach.
    verbose : bool
        Whether to say so.
    """

    reason = "target_loss"

    def is_reached(self, state: Any) -> bool:
        return state.loss <= self.goal


class TargetScore(_Goal):
    """Ends training when the validation score is good enough.

    Parameters
    ----------
    goal : float
        The score to reach.
    verbose : bool
        Whether to say so.
    """

    reason = "target_score"

    def is_reached(self, state: Any) -> bool:
        return state.validation_scores[-1] >= self.goal


class TimeLimit(_Goal):
    """Ends training when its time is up.

    Parameters
    ----------
    goal : float
        When that is, by ``time.monotonic()``.
    verbose : bool
        Whether to say so.
    """

    reason = "time_limit"

    def is_reached(self, state: Any) -> bool:
        return time.monotonic() >= self.goal
