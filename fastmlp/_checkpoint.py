"""Fits that are saved while they train, and go on from there.

What a checkpoint holds besides a model file is one attribute, ``_checkpoint``: what the fit was
(``digest``), the state of the random stream (``rng``) and the order of rows (``order``), or the
number of batches that have been trained on (``n_batches``).
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

# Bytes of data that are hashed at once, and targets that are coded at once.
_CHUNK, _ROWS = 2**24, 2**20


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
        loaded = _load(self.checkpoint, self.fit.est, self.digest)
        if loaded is None:
            return
        found, progress = loaded
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
        rng = fit.rng.get_state(legacy=False)
        progress = {"digest": self.digest, "rng": rng, "order": fit.order}
        shown = _shown(fit.est)
        state.describe(shown)
        _save(self.path, shown, progress)

    def end(self, state: State) -> None:
        """Remove the file of a fit that needs it no more."""
        _end(self.path, state.stop_reason)


class BatchKeeper:
    """Saves training on batches as a checkpoint asks for, and lets it go on from the file.

    Parameters
    ----------
    est : object
        The estimator, before training.
    checkpoint : Checkpoint
        The user's callback.
    classes : array-like or None
        All classes, as the user has given them.
    """

    def __init__(self, est: Any, checkpoint: Checkpoint, classes: Any) -> None:
        _check_random_state(est)
        self.est, self.checkpoint, self.path = est, checkpoint, checkpoint.path
        digest = _digest_of_parameters(est)
        for a in [*vars(est).get("coefs_", ()), *vars(est).get("intercepts_", ())]:
            _hash(digest, a)
        digest.update(repr(None if classes is None else np.asarray(classes).tolist()).encode())
        self.digest = digest.hexdigest()

    def resume(self) -> int:
        """Go on from the file, if there is one and it is wanted; return the batches it has seen."""
        loaded = _load(self.checkpoint, self.est, self.digest)
        if loaded is None:
            return 0
        found, progress = loaded
        names = found.get_params(deep=False)
        self.est.__dict__.update({k: v for k, v in vars(found).items() if k not in names})
        return progress["n_batches"]

    def save(self, n_batches: int) -> None:
        """Write the file, if it is time to."""
        if n_batches % self.checkpoint.every == 0:
            progress = {"digest": self.digest, "n_batches": n_batches}
            _save(self.path, _shown(self.est), progress)

    def end(self, stop_reason: str | None) -> None:
        """Remove the file of training that needs it no more."""
        _end(self.path, stop_reason)


def _load(checkpoint: Checkpoint, est: Any, digest: str) -> tuple[Any, dict[str, Any]] | None:
    """Return the estimator in the file and its progress; None if there is no file to go on from."""
    path, cls = checkpoint.path, type(est)
    if not checkpoint.resume or not os.path.exists(path):
        return None
    found = _files.load(path, {cls.__name__: cls})
    progress = vars(found).pop("_checkpoint", None)
    if progress is None or progress["digest"] != digest:
        raise ValueError(
            f"{path!r} is no checkpoint of this fit: parameters, data or initial weights "
            "differ. Remove it, or set resume=False."
        )
    return found, progress


def _shown(est: Any) -> Any:
    """Return a shallow copy of an estimator without what belongs to a call."""
    shown = copy.copy(est)
    for name in _OF_THE_CALL:
        vars(shown).pop(name, None)
    return shown


def _save(path: str, shown: Any, progress: dict[str, Any]) -> None:
    """Write the file of a copy of an estimator."""
    shown._session = Session.restored(shown._session.stored())
    shown._checkpoint = progress
    _files.save(shown, path)


def _end(path: str, stop_reason: str | None) -> None:
    """Remove the file of training that needs it no more."""
    if stop_reason not in ("interrupted", "time_limit"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def _check(fit: Any) -> None:
    """Refuse fits that could not go on with the same bits."""
    est = fit.est
    if not isinstance(fit, StochasticFit):
        raise ValueError(
            f"Checkpoint needs a solver that trains by mini-batches, got solver={est.solver!r}."
        )
    if fit.incremental:
        raise ValueError(
            "Checkpoint is for fit and fit_batches: after partial_fit, save_model keeps everything."
        )
    _check_random_state(est)
    if fit.coefs is not fit.state.coefs:
        raise ValueError(
            f"Checkpoint needs weights of the dtype that is computed in, {fit.dtype}, but the "
            f"warm start has {fit.state.coefs[0].dtype}."
        )


def _check_random_state(est: Any) -> None:
    if type(est.random_state) is not int:
        raise ValueError(
            "Checkpoint needs an int as random_state, from which a fit draws the same numbers "
            f"again, got {est.random_state!r}."
        )


def _digest_of_parameters(est: Any) -> Any:
    tensors, forms = _files.parameters(est, _FREE)
    digest = hashlib.sha256(json.dumps(forms, sort_keys=True).encode())
    for a in tensors:
        _hash(digest, a)
    return digest


def _digest(fit: Any) -> str:
    """Return what tells a fit from others."""
    digest = _digest_of_parameters(fit.est)
    for a in [*fit.state.coefs, *fit.state.intercepts, *_data(fit.problem)]:
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
    for i in range(0, X.shape[0], _ROWS):
        yield problem.targets.part(slice(i, i + _ROWS)).coded(np.float64)
    weight = problem.engine_weight()
    yield np.empty(0) if weight is None else weight


def _hash(digest: Any, a: np.ndarray) -> None:
    digest.update(f"{a.dtype} {a.shape} ".encode())
    step = max(1, _CHUNK // max(1, a.nbytes // max(1, len(a))))
    for i in range(0, len(a), step):
        digest.update(np.ascontiguousarray(a[i : i + step]))
