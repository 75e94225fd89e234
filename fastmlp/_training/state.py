"""How far a fit has got."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._structure import ATTRIBUTES, Structure, joined, of_inference, split

# What becomes a fitted attribute of the estimator, and its name there. Early stopping and warm
# starts go on from the private ones, whose names are scikit-learn's.
PUBLISHED = {
    "coefs": "coefs_",
    "intercepts": "intercepts_",
    "epoch": "n_iter_",
    "samples_seen": "t_",
    "loss": "loss_",
    "loss_curve": "loss_curve_",
    "learning_rate_curve": "learning_rate_curve_",
    "best_loss": "best_loss_",
    "validation_scores": "validation_scores_",
    "best_validation_score": "best_validation_score_",
    "validation_loss_curve": "validation_loss_curve_",
    "stop_reason": "stop_reason_",
    "no_improvement_count": "_no_improvement_count",
    "best_coefs": "_best_coefs",
    "best_intercepts": "_best_intercepts",
    "session": "_session",
}


class State:
    """Weights, counters and curves of a fit.

    Attributes
    ----------
    coefs, intercepts : list of ndarray
        Weights and biases, as they become ``coefs_`` and ``intercepts_``.
    epoch : int
        Epochs (or iterations of L-BFGS) of this fit so far.
    samples_seen : int
        Samples trained on since training from scratch began.
    loss : float
        Loss of the last epoch.
    loss_curve : list of float
        Loss of every epoch since training from scratch began.
    learning_rate_curve : list of float
        Learning rate of every epoch of the loss curve, NaN where it is not known.
    validation_scores : list of float or None
        Score on the validation data after every epoch.
    validation_loss_curve : list of float
        Loss on the validation data after every epoch.
    best_loss, best_validation_score : float or None
        The best of both curves.
    no_improvement_count : int
        Successive epochs without progress.
    stop_reason : str or None
        Why training has ended.
    best_coefs, best_intercepts : list of ndarray
        Copies of the weights that had the best validation score.
    layout : tuple
        Widths and structure of the network, by which both lists are cut; see ``_structure``.
    session : Session
        The net and the optimizer's state, for calls of ``partial_fit``.

    Those that this fit has no use for are not set.
    """

    layout: tuple[tuple[int, ...], Structure]

    def __init__(self, coefs: list[NDArray], intercepts: list[NDArray]) -> None:
        self.fresh = True
        self.published = False
        self.coefs, self.intercepts = coefs, intercepts
        self.epoch = self.samples_seen = 0

    @classmethod
    def of(cls, est: Any) -> "State":
        """Return the state to go on from: where the estimator's last fit ended."""
        state = cls(*joined(vars(est), est.coefs_, est.intercepts_))
        state.fresh = False
        found = est.__dict__
        weights = ("coefs", "intercepts")
        state.__dict__.update(
            {
                own: found[name]
                for own, name in PUBLISHED.items()
                if name in found and own not in weights
            }
        )
        state.epoch = 0
        return state

    def start_curves(self, early_stopping: bool) -> None:
        """Begin the curves of training that are not there to be continued."""
        self._start(
            loss_curve=[],
            learning_rate_curve=[],
            no_improvement_count=0,
            best_loss=None if early_stopping else np.inf,
            validation_scores=None,
            best_validation_score=None,
        )
        unknown = len(self.loss_curve) - len(self.learning_rate_curve)  # old pickles lack it
        self.learning_rate_curve.extend([math.nan] * unknown)

    def start_validation(self, with_loss: bool, early_stopping: bool) -> None:
        """Begin the curves of validation that are not there to be continued."""
        self._start(validation_scores=[], best_validation_score=-np.inf, no_improvement_count=0)
        if with_loss:
            self._start(validation_loss_curve=[])
        if early_stopping and not hasattr(self, "best_coefs"):
            self.keep_best()

    def _start(self, **values: Any) -> None:
        here = self.__dict__
        for name, value in values.items():
            if here.get(name) is None:
                here[name] = value

    def end_epoch(self, loss: float, n_samples: int, learning_rate: float) -> None:
        """Count an epoch."""
        self.epoch += 1
        self.loss = loss
        self.samples_seen += n_samples
        self.loss_curve.append(loss)
        self.learning_rate_curve.append(learning_rate)

    def keep_best(self) -> None:
        """Copy the weights."""
        self.best_coefs = [W.copy() for W in self.coefs]
        self.best_intercepts = [b.copy() for b in self.intercepts]

    def return_best(self, *, as_copies: bool) -> None:
        """Go back to the weights that had the best validation score."""
        self.coefs, self.intercepts = self.best_coefs, self.best_intercepts
        if as_copies:
            self.keep_best()

    def publish(self, est: Any) -> None:
        """Make this the estimator's fitted state."""
        self.describe(est)
        self.published = True

    def describe(self, est: Any) -> None:
        """Set the estimator's fitted attributes."""
        found, attributes = self.__dict__, est.__dict__
        for own, attribute in PUBLISHED.items():
            if own in found:
                attributes[attribute] = found[own]
            elif self.fresh:  # of an earlier fit
                attributes.pop(attribute, None)
        for attribute in ATTRIBUTES:
            attributes.pop(attribute, None)
        widths, structure = self.layout
        if of_inference(structure):
            attributes.update(split(self.coefs, self.intercepts, widths, structure))
