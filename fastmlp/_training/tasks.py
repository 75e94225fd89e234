"""A fit as scikit-learn's callbacks see it: a task of one subtask for each epoch."""

import copy
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from .._sklearn import CallbackContext
from ..callbacks import Callback
from .state import State


class Tasks(Callback):
    """Tells callbacks of scikit-learn's protocol when tasks begin and end.

    They are shown X, y and sample weights as the user has given them. What they ask for as
    ``fitted_estimator`` is a copy, made for the asking, that later epochs leave alone: figures such
    as ``loss_`` and ``validation_scores_`` are its attributes. (As metadata, which are what scorers
    are called with, scikit-learn's own callbacks would stumble over them.)

    Parameters
    ----------
    est : object
        The estimator.
    context : CallbackContext
        Of the fit.
    train : tuple
        X, y and sample weights.
    """

    state: State
    refresh: Callable[[], None]
    epoch: CallbackContext | None = None

    def __init__(self, est: Any, context: CallbackContext, train: tuple[Any, Any, Any]) -> None:
        self.est, self.fit = est, context
        self.show(train)
        self.fit.call_on_fit_task_begin(**self.shown)

    def show(self, train: tuple[Any, Any, Any]) -> None:
        """Show these data from now on."""
        X, y, sample_weight = train
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.shown = {"estimator": self.est, "X": X, "y": y, "metadata": metadata}

    def watch(self, state: State, refresh: Callable[[], None]) -> None:
        """Show this state, in which the function brings the weights up to date."""
        self.state, self.refresh = state, refresh
        state.describe(self.est)  # nothing of an earlier fit

    def fitted(self) -> dict[str, Any]:
        """Return the fitted attributes, copied."""
        self.refresh()
        found = SimpleNamespace()
        self.state.describe(found)
        vars(found).pop("_session", None)
        return copy.deepcopy(vars(found))

    def begin(self) -> None:
        """Begin an epoch."""
        self.epoch = self.fit.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.shown, reconstruction_attributes=self.fitted)

    def each(self, epochs: range) -> Iterator[int]:
        """Begin each of these epochs."""
        for epoch in epochs:
            self.begin()
            yield epoch

    def on_epoch_end(self, state: State) -> bool:
        epoch, self.epoch = self.epoch, None
        return epoch.call_on_fit_task_end(**self.shown, reconstruction_attributes=self.fitted)

    def end(self) -> None:
        """End the fit, and an epoch that has begun."""
        if self.epoch is not None:
            self.epoch.call_on_fit_task_end(estimator=self.est)
        self.fit.call_on_fit_task_end(**self.shown, reconstruction_attributes={})
