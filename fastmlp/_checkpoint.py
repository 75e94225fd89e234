"""Fits that are saved while they train, and go on from there.

What a checkpoint holds besides a model file is one attribute, ``_checkpoint``: what the fit was
(``digest``), the state of the random stream (``rng``) and the order of rows (``order``).
"""

import contextlib
import copy
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse

from . import _files
from ._training import Problem, Session, State, StochasticFit
from .callbacks import Callback, Checkpoint

# Parameters without influence on what is computed in an epoch.
_FREE = ("n_jobs", "verbose", "time_limit")

# What belongs to a call of fit, and not to what it finds.
_OF_THE_CALL = ("_callback_fit_ctx", "_skl_callbacks_to_teardown", "_parent_callback_ctx")

# Bytes of data that are hashed at once.
_CHUNK = 2**24


class Keeper(Callback):
    """Saves a fit as a checkpoint asks for, and lets it go on from the file.

    Parameters
    ----------
    fit : StochasticFit
        The fit, before training.
    checkpoint : Checkpoint
        The user's callback.
    """

    def __init__(self, fit: Any, checkpoint: Checkpoint) -> None:
        _check(fit)
        self.fit, self.checkpoint, self.path = fit, checkpoint, checkpoint.path
        self.digest = _digest(fit)

    def resume(self) -> None:
        """Go on from the file, if there is one and it is wanted."""
        if not self.checkpoint.resume or not os.path.exists(self.path):
            return
        cls = type(self.fit.est)
        found = _files.load(self.path, {cls.__name__: cls})
        progress = vars(found).pop("_checkpoint", None)
        if progress is None or progress["digest"] != self.digest:
            raise ValueError(
                f"{self.path!r} is no checkpoint of this fit: parameters, data or initial weights "
                "differ. Remove it, or set resume=False."
            )
        state = State.of(found)
        state.epoch = found.n_iter_
        self.fit.go_on(state, progress["rng"], progress["order"])

    def on_epoch_end(self, state: State) -> None:
        # An epoch that the time limit has cut short is not one of an uninterrupted fit.
        if state.stop_reason is None and state.epoch % self.checkpoint.every == 0:
            self.save(state)

    def save(self, state: State) -> None:
        """Write the file."""
        fit = self.fit
        fit.refresh()
        shown = copy.copy(fit.est)
        for name in _OF_THE_CALL:
            vars(shown).pop(name, None)
        state.describe(shown)
        shown._session = Session.restored(state.session.stored())
        rng = fit.rng.get_state(legacy=False)
        shown._checkpoint = {"digest": self.digest, "rng": rng, "order": fit.order}
        _files.save(shown, self.path)

    def end(self, state: State) -> None:
        """Remove the file of a fit that needs it no more."""
        if state.stop_reason not in ("interrupted", "time_limit"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.path)


def _check(fit: Any) -> None:
    """Refuse fits that could not go on with the same bits."""
    est = fit.est
    if not isinstance(fit, StochasticFit):
        raise ValueError(
            f"Checkpoint needs a solver that trains by mini-batches, got solver={est.solver!r}."
        )
    if fit.incremental:
        raise ValueError("Checkpoint is for fit: after partial_fit, save_model keeps everything.")
    if type(est.random_state) is not int:
        raise ValueError(
            "Checkpoint needs an int as random_state, from which a fit draws the same numbers "
            f"again, got {est.random_state!r}."
        )
    if fit.coefs is not fit.state.coefs:
        raise ValueError(
            f"Checkpoint needs weights of the dtype that is computed in, {fit.dtype}, but the "
            f"warm start has {fit.state.coefs[0].dtype}."
        )


def _digest(fit: Any) -> str:
    """Return what tells a fit from others."""
    tensors, forms = _files.parameters(fit.est, _FREE)
    digest = hashlib.sha256(json.dumps(forms, sort_keys=True).encode())
    for a in [*tensors, *fit.state.coefs, *fit.state.intercepts, *_data(fit.problem)]:
        _hash(digest, a)
    if fit.evaluation is not None:
        for a in _data(fit.evaluation.problem):
            _hash(digest, a)
    classes = getattr(fit.est, "classes_", None)
    digest.update(repr(None if classes is None else classes.tolist()).encode())
    return digest.hexdigest()


def _data(problem: Problem) -> Iterator[np.ndarray]:
    X = problem.X
    yield from (X.data, X.indices, X.indptr) if issparse(X) else (X,)
    yield problem.targets.coded(np.float64)
    weight = problem.engine_weight()
    yield np.empty(0) if weight is None else weight


def _hash(digest: Any, a: np.ndarray) -> None:
    digest.update(f"{a.dtype} {a.shape} ".encode())
    step = max(1, _CHUNK // max(1, a.nbytes // max(1, len(a))))
    for i in range(0, len(a), step):
        digest.update(np.ascontiguousarray(a[i : i + step]))
