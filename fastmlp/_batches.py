"""Passes over data that come in batches."""

import contextlib
import time
import warnings
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

from .callbacks import BatchBar, progress_bar

# Why training ends before the batches do. Without early stopping, batches without progress do not.
_ENDINGS = ("interrupted", "target_loss", "target_score", "callback")


class Passes:
    """Passes over a user's batches, which are checked: X, y, and sample weights or None.

    Parameters
    ----------
    est : object
        The estimator that is trained on them.
    batches : iterable or callable
        As the user has given them.
    epochs : int
        Number of passes.

    Attributes
    ----------
    n_batches : int
        Number of batches that have been taken.
    bar : BatchBar or None
        Shows it, if that is wanted.
    """

    def __init__(self, est: Any, batches: Any, epochs: int) -> None:
        if not isinstance(epochs, Integral) or isinstance(epochs, bool) or epochs < 1:
            raise ValueError(f"epochs must be an int from 1, got {epochs!r}.")
        if not callable(batches) and not isinstance(batches, Iterable):
            raise TypeError(
                "batches must be an iterable of (X, y) or (X, y, sample_weight), or a callable "
                f"that returns one, got {type(batches).__name__}."
            )
        if isinstance(batches, Iterator) and epochs > 1:
            raise ValueError(
                f"batches is an iterator, which ends after one pass, but epochs={epochs}. Pass a "
                "callable that returns a fresh one for each epoch."
            )
        self.est, self.batches, self.epochs = est, batches, int(epochs)
        self.n_batches = self.n_skipped = 0
        self.begun = time.monotonic()
        self.bar: BatchBar | None = None

    def skip(self, n_batches: int) -> None:
        """Leave out the first batches, on which the network has been trained."""
        self.n_skipped = n_batches

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        self._show()
        try:
            for epoch in range(self.epochs):
                before = self.n_batches
                for batch in self._batches():
                    self.n_batches += 1
                    if self.n_batches > self.n_skipped:
                        yield self._checked(batch)
                if self.n_batches == before:
                    once = ". It can be iterated over once only: pass a callable that returns a"
                    again = f"{once} fresh iterator" if epoch else ""
                    raise ValueError(f"batches has no batch in epoch {epoch + 1}{again}.")
        except KeyboardInterrupt:  # in the user's code
            if not hasattr(self.est, "coefs_"):
                raise
            self.est.stop_reason_ = "interrupted"
            warnings.warn("Training interrupted by user.", stacklevel=2)
        finally:
            if self.bar is not None:
                self.bar.close()

    def _batches(self) -> Iterable[Any]:
        return self.batches() if callable(self.batches) else self.batches

    def _show(self) -> None:
        if self.est.verbose == 2:
            total = self.epochs * len(self.batches) if hasattr(self.batches, "__len__") else None
            self.bar = progress_bar(BatchBar, total)
            if self.bar is not None:
                self.bar.bar.update(self.n_skipped)

    def _checked(self, batch: Any) -> tuple[Any, Any, Any]:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            has = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise ValueError(
                f"Batch {self.n_batches} must be (X, y) or (X, y, sample_weight), got a "
                f"{type(batch).__name__}{has}."
            )
        return batch[0], batch[1], batch[2] if len(batch) == 3 else None

    @contextlib.contextmanager
    def named_errors(self) -> Iterator[None]:
        """Say in errors which batch is wrong."""
        try:
            yield
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"Batch {self.n_batches}: {error}") from error

    def has_ended(self) -> bool:
        """Whether there is a reason to take no further batch."""
        est = self.est
        reason, limit = est.stop_reason_, est.time_limit
        if limit is not None and time.monotonic() - self.begun >= limit:
            est.stop_reason_ = "time_limit"
            return True
        return reason in _ENDINGS or (reason is not None and est.early_stopping)
