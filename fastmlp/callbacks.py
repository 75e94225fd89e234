"""Parts of training that are told when an epoch has ended.

:class:`Logger`, :class:`CSVLogger`, :class:`TensorBoardLogger`, :class:`LiveLossCurve` and
:class:`Checkpoint` are for users, who attach them, or a :class:`Callback` of their own, by
``set_callbacks``, beside those of :mod:`sklearn.callback`::

    MLPClassifier(random_state=0).set_callbacks(Checkpoint("fit.safetensors"), Logger()).fit(X, y)

Clones share them, as they share scikit-learn's; several fits at once therefore need files of
different names.

The others the estimators attach themselves, as their parameters ask for them, and in this order,
which is that of scikit-learn's side effects: report, validation, progress, best weights, learning
rate, patience; then the goals at which training ends, and what users have attached.
"""

import csv
import io
import logging
import os
import time
import warnings
import weakref
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from ._optional import optional

__all__ = [
    "BatchBar",
    "BestScore",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "LearningRate",
    "LiveLossCurve",
    "Logger",
    "LossProgress",
    "LossReport",
    "Patience",
    "ProgressBar",
    "ScoreProgress",
    "TargetLoss",
    "TargetScore",
    "TensorBoardLogger",
    "TimeLimit",
    "Validation",
]


class Callback:
    """Listens to training: to epochs of mini-batches, or iterations of 'lbfgs'.

    The state that it is given has the numbers that become the estimator's fitted attributes:
    `epoch`, `loss`, `samples_seen`, `loss_curve`, `learning_rate_curve`, `best_loss`,
    `validation_scores`, `validation_loss_curve`, `best_validation_score`, `no_improvement_count`,
    `stop_reason`, `coefs` and `intercepts`. Those that a fit has no use for are missing or None.
    Weights are up to date in fits with validation data, and of 'lbfgs'; else they are those before
    training, and a callback of scikit-learn's protocol can ask for a `fitted_estimator`.
    """

    def on_epoch_end(self, state: Any) -> bool | None:
        """Look at the state after an epoch, or change it; return whether to stop training."""

    # scikit-learn's protocol, by which `set_callbacks` knows a callback.

    def setup(self, estimator: Any, context: Any) -> None:
        """Nothing to do before a fit."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nothing to do after a fit."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nothing to do before an epoch."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Nothing to do after an epoch."""


def _figures(state: Any) -> dict[str, float]:
    """Return the figures of the last epoch by name."""
    epoch = len(getattr(state, "loss_curve", ())) or state.epoch
    figures = {"epoch": epoch, "loss": state.loss}
    for name, curve in (
        ("learning_rate", "learning_rate_curve"),
        ("validation_score", "validation_scores"),
        ("validation_loss", "validation_loss_curve"),
    ):
        values = getattr(state, curve, None)
        if values:
            figures[name] = values[-1]
    return figures


class Logger(Callback):
    """Logs the figures of every epoch: loss, learning rate, validation score and loss.

    Parameters
    ----------
    name : str, default="fastmlp"
        Name of a logger of :mod:`logging`.
    level : int, default=logging.INFO
        Level of the messages.
    """

    def __init__(self, name: str = "fastmlp", level: int = logging.INFO) -> None:
        self.name, self.level = name, level

    def on_epoch_end(self, state: Any) -> None:
        logger = logging.getLogger(self.name)
        if logger.isEnabledFor(self.level):
            figures = (f"{name} {value:.6g}" for name, value in _figures(state).items())
            logger.log(self.level, ", ".join(figures))


class CSVLogger(Callback):
    """Writes the figures of every epoch as a row of a CSV file.

    Columns are `epoch`, `loss` and as there are such `learning_rate`, `validation_score` and
    `validation_loss`. Epochs count from 1 since training from scratch began, which begins the file
    anew; a warm start, `partial_fit`, and a fit that a :class:`Checkpoint` continues append to it.

    Parameters
    ----------
    path : str or path-like
        Name of the file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)

    def on_epoch_end(self, state: Any) -> None:
        row = _figures(state)
        is_first = row["epoch"] == 1
        with open(self.path, "w" if is_first else "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_first:
                writer.writerow(row)
            writer.writerow(row.values())


class TensorBoardLogger(Callback):
    """Writes the figures of every epoch as scalars for TensorBoard.

    Their names are the columns of :class:`CSVLogger`, their steps epochs. They can be read after
    each epoch. It needs the package `tensorboard`, but neither TensorFlow nor PyTorch.

    Parameters
    ----------
    folder : str or path-like
        Name of the run's folder. TensorBoard shows folders below its `--logdir` side by side: give
        each fit one of its own.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.callbacks import TensorBoardLogger
    >>> logger = TensorBoardLogger("runs/first")  # doctest: +SKIP
    >>> MLPClassifier().set_callbacks(logger).fit(X, y)  # doctest: +SKIP
    """

    _writer: Any = None

    def __init__(self, folder: str | os.PathLike) -> None:
        self._library()
        self.folder = os.fspath(folder)

    @staticmethod
    def _library() -> Any:
        return optional("tensorboard.summary", "tensorboard", "TensorBoardLogger")

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}  # a copy writes a file of its own

    def on_epoch_end(self, state: Any) -> None:
        figures = _figures(state)
        epoch = figures.pop("epoch")
        if self._writer is None or epoch == 1:
            self._open()
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def _open(self) -> None:
        """Begin a file, which is closed when another one begins, or the logger is gone."""
        if self._writer is not None:
            self._close()
        self._writer = self._library().Writer(self.folder)
        self._close = weakref.finalize(self, self._writer.close)


class LiveLossCurve(Callback):
    """Shows in a notebook how the loss falls, while the network trains.

    The picture is that of :class:`fastmlp.display.LossCurveDisplay`: training loss, and loss or
    score on validation data. A fit from scratch begins a new one, and the last shows all epochs.
    It needs the packages `ipython` and `matplotlib`; where no notebook shows pictures, in a worker
    process for instance, nothing is drawn.

    Parameters
    ----------
    every : float, default=1.0
        Seconds between two pictures at least. Each takes about a tenth of a second.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.callbacks import LiveLossCurve
    >>> MLPClassifier().set_callbacks(LiveLossCurve()).fit(X, y)  # doctest: +SKIP
    """

    _state: Any = None  # of epochs that are not drawn yet
    _n_epochs = 0  # of this call of fit or partial_fit
    _due = 0.0
    _shown: Any = None

    def __init__(self, every: float = 1.0) -> None:
        if not isinstance(every, Real) or not every >= 0:
            raise ValueError(f"every must be a number of seconds of at least 0, got {every!r}.")
        optional("matplotlib.figure", "notebook", "LiveLossCurve")
        optional("IPython.display", "notebook", "LiveLossCurve")
        self.every = every
        self._losses: list[float] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"every": self.every, "_losses": []}

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin to count epochs."""
        self._n_epochs = 0

    def on_epoch_end(self, state: Any) -> None:
        self._n_epochs += 1
        self._state = state
        if _figures(state)["epoch"] == 1:
            self._shown, self._losses = None, []
        self._losses.append(state.loss)
        if self._shown is None or time.monotonic() >= self._due:
            self._draw()

    def teardown(self, estimator: Any, context: Any) -> None:
        """Draw the last picture; calls of one epoch each have it when it is due."""
        if self._n_epochs > 1 and self._state is not None:
            self._draw()
        self._state = None

    def _draw(self) -> None:
        from .display import Curves, LossCurveDisplay  # which imports estimators, and they this

        state, self._state = self._state, None
        ipython = optional("IPython", "notebook", "LiveLossCurve")
        if ipython.get_ipython() is None:
            return
        matplotlib = optional("matplotlib.figure", "notebook", "LiveLossCurve")
        figure = matplotlib.Figure(layout="constrained")
        loss = getattr(state, "loss_curve", self._losses)
        LossCurveDisplay({"": Curves.of(loss, state)}).plot(figure.subplots())
        content = io.BytesIO()
        figure.savefig(content, format="png")
        display = ipython.display
        picture = display.Image(content.getvalue())
        if self._shown is None:
            self._shown = display.display(picture, display_id=True)
        else:
            self._shown.update(picture)
        self._due = time.monotonic() + self.every


class Checkpoint(Callback):
    """Saves a fit to a file, from which the same fit goes on if it has been cut short.

    A second `fit` of an equal estimator on equal data, after a crash or Ctrl-C, ends with the same
    bits as one that was never interrupted. The file is a model file, which
    :func:`fastmlp.load_model` reads as the estimator of that epoch; it is replaced when the next
    one is complete, and removed when the fit has ended, except by `time_limit` or Ctrl-C.

    In `fit_batches` each batch counts as an epoch, and batches that have been trained on are read
    and left out; that they are equal is not checked.

    It needs a solver that trains by mini-batches, an integer as `random_state`, and parameters that
    `save_model` can store; `partial_fit` has none.

    Parameters
    ----------
    path : str or path-like
        Name of the file. If there is one of another fit, of other parameters (`n_jobs`, `verbose`
        and `time_limit` excepted), data or initial weights, `fit` raises a ``ValueError``.
    every : int, default=1
        Number of epochs between two checkpoints.
    resume : bool, default=True
        Whether to go on from the file if there is one. Otherwise it is replaced.
    """

    def __init__(self, path: str | os.PathLike, every: int = 1, *, resume: bool = True) -> None:
        if not isinstance(every, Integral) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every must be an int of at least 1, got {every!r}.")
        self.path, self.every, self.resume = os.fspath(path), int(every), resume


class LossReport(Callback):
    """Prints the loss."""

    def on_epoch_end(self, state: Any) -> None:
        print(f"Iteration {state.epoch}, loss = {state.loss:.8f}")


class ProgressBar(Callback):
    """Shows a bar of tqdm: epochs, time left, loss and validation score.

    Parameters
    ----------
    n_epochs : int
        How many there are at most; None: not known.
    """

    unit = "epoch"

    def __init__(self, n_epochs: int | None) -> None:
        tqdm = optional("tqdm.auto", "progress", "The progress bar of verbose=2")
        self.bar = tqdm.tqdm(total=n_epochs, unit=self.unit)

    def on_epoch_end(self, state: Any) -> None:
        figures = _figures(state)
        shown = {name: figures[name] for name in ("loss", "validation_score") if name in figures}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(self.advance(state))

    def advance(self, state: Any) -> int:
        """Return how many epochs further it is."""
        return state.epoch - self.bar.n


class BatchBar(ProgressBar):
    """Shows a bar of tqdm over batches, each of which is an epoch of its own."""

    unit = "batch"

    def advance(self, state: Any) -> int:
        return 1

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()


def progress_bar(kind: type[ProgressBar], n_epochs: int | None) -> Any:
    """Return a progress bar, None with a warning if there is no library for it."""
    try:
        return kind(n_epochs)
    except ImportError as error:
        warnings.warn(f"{error}. There is text instead.", stacklevel=2)
        return None


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
