"""Parts of training that are told when an epoch has ended.

The estimators attach those here as their parameters ask for them, and in this order, which is that
of scikit-learn's side effects: report, progress, learning rate, patience.
"""

from collections.abc import Callable
from typing import Any

__all__ = [
    "Callback",
    "LearningRate",
    "LossProgress",
    "LossReport",
    "Patience",
    "ScoreProgress",
]


class Callback:
    """Listens to training by 'sgd' or 'adam'.

    The state that it is given has the numbers that become the estimator's fitted attributes:
    `epoch`, `loss`, `samples_seen`, `loss_curve`, `best_loss`, `validation_scores`,
    `best_validation_score`, `no_improvement_count`, `coefs` and `intercepts`.
    """

    def on_epoch_end(self, state: Any) -> bool | None:
        """Look at the state after an epoch, or change it; return whether to stop training."""


class LossReport(Callback):
    """Prints the loss."""

    def on_epoch_end(self, state: Any) -> None:
        print(f"Iteration {state.epoch}, loss = {state.loss:.8f}")


class LossProgress(Callback):
    """Counts epochs in which the loss has not fallen by tol below the best so far.

    Parameters
    ----------
    tol : float
        Least improvement that counts.
    """

    def __init__(self, tol: float) -> None:
        self.tol = tol

    def on_epoch_end(self, state: Any) -> None:
        loss = state.loss
        if loss > state.best_loss - self.tol:
            state.no_improvement_count += 1
        else:
            state.no_improvement_count = 0
        if loss < state.best_loss:
            state.best_loss = loss


class ScoreProgress(Callback):
    """Counts epochs in which the validation score has not risen by tol; keeps the best weights.

    Parameters
    ----------
    tol : float
        Least improvement that counts.
    score : callable
        Returns the score of the current weights, NaN after divergence.
    verbose : bool
        Whether to print the score.
    """

    def __init__(self, tol: float, score: Callable[[], float], verbose: bool) -> None:
        self.tol, self.score, self.verbose = tol, score, verbose

    def on_epoch_end(self, state: Any) -> None:
        score = self.score()
        state.validation_scores.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        # No comparison with NaN holds.
        if score < state.best_validation_score + self.tol:
            state.no_improvement_count += 1
        else:
            state.no_improvement_count = 0
        if score > state.best_validation_score:
            state.best_validation_score = score
            state.keep_best()


class LearningRate(Callback):
    """Lets the schedule set the learning rate of the next epoch.

    Parameters
    ----------
    optimizer : OptimizerState
        Holds rate and schedule.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def on_epoch_end(self, state: Any) -> None:
        optimizer = self.optimizer
        optimizer.learning_rate = optimizer.schedule.after_epoch(
            optimizer.learning_rate, optimizer.learning_rate_init, state.samples_seen
        )


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
    optimizer : OptimizerState
        Its schedule decides which of both.
    verbose : bool
        Whether to print what is done.
    """

    def __init__(
        self, n_epochs: float, tol: float, what: str, optimizer: Any, verbose: bool
    ) -> None:
        self.n_epochs, self.tol, self.what = n_epochs, tol, what
        self.optimizer, self.verbose = optimizer, verbose

    def on_epoch_end(self, state: Any) -> bool:
        if state.no_improvement_count <= self.n_epochs:
            return False
        optimizer = self.optimizer
        lower = optimizer.schedule.on_plateau(optimizer.learning_rate)
        if lower is None:
            follows = f"{optimizer.schedule.stops} Stopping."
        else:
            follows = f" Setting learning rate to {lower:f}"
            optimizer.learning_rate = lower
        if self.verbose:
            print(
                f"{self.what} did not improve more than tol={self.tol:f} for "
                f"{self.n_epochs:d} consecutive epochs.{follows}"
            )
        if lower is None:
            return True
        state.no_improvement_count = 0
        return False
