"""Training by mini-batches."""

import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from .. import _core
from .._network import asked_dtype, count, flatten, make_writable, views
from .._parameters import named
from .._sklearn import without_validation
from ..callbacks import Callback, LearningRate, LossProgress, Patience
from ..schedules import CONSTANT
from .chunks import ChunkShuffle
from .fit import Fit
from .mixup import Mixup
from .problem import Problem, Run
from .random import shuffler
from .session import Session, load_weights, store_weights
from .state import State

# Work handed to C at once, in floating point operations. Python, and with it Ctrl-C, gets its turn
# in between. Counted rather than timed, so that sums over several calls are taken in the same
# order on every machine and in every run. A mini-batch is never cut.
# At a slow 2 GFLOPS a run lasts 0.1 s; at 100 GFLOPS 2 ms, a thousand times the price of a call.
RUN_FLOPS = 2e8


class StochasticFit(Fit):
    """A fit by mini-batches."""

    def _begin(self, validation: Problem | None) -> None:
        est, problem, state = self.est, self.problem, self.state
        is_own = validation is not None
        if est.early_stopping and self.incremental and not is_own:
            raise ValueError("partial_fit does not support early_stopping=True")
        self._check_averaging()
        self._continue_session()
        if problem.drops and state.session.optimizer.seed is None:
            state.session.optimizer.seed = int(self.rng.randint(2**32, dtype=np.uint32))
        self.in_chunks = est.shuffle == "chunks"
        self.n_samples = problem.X.shape[0]
        self.order: NDArray | None = None  # in chunks: all rows, unless some are held out
        if est.early_stopping and not is_own:
            validation = self._split()
        elif not self.in_chunks:
            self.order = np.arange(self.n_samples)
        self.batch_size = self._batch_size()
        self._check_batches()

        self._take_weights()
        problem.targets.check(self.dtype)
        if validation is not None:
            self._watch(validation, self.dtype, is_own)
        state.start_curves(est.early_stopping)

    def _take_weights(self) -> None:
        """Prepare the state's weights for the net."""
        state, asked = self.state, asked_dtype(self.est)
        state.coefs = make_writable(state.coefs, asked)
        state.intercepts = make_writable(state.intercepts, asked)
        # The wider of both dtypes if X has another than the weights, as in NumPy's products, unless
        # one was asked for. Then the weights go in and out of the net by way of a copy.
        self.coefs, self.intercepts = state.coefs, state.intercepts
        if any(a.dtype != self.dtype for a in [*self.coefs, *self.intercepts]):
            flat = flatten(self.coefs, self.intercepts, self.dtype)
            self.coefs, self.intercepts = views(flat, *state.layout, running=True)

    def go_on(self, state: State, rng: dict[str, Any], order: NDArray) -> None:
        """Go on from a later state of the same fit."""
        self.state.__dict__.update(state.__dict__ | {"fresh": self.state.fresh})
        self._take_weights()
        self.rng.set_state(rng)
        if order is not None:
            self.order[...] = order

    def _check_averaging(self) -> None:
        """Refuse averages of weights among running means that were taken with other weights."""
        est, structure = self.est, self.problem.structure
        if est.weight_averaging is not None and "batch" in structure.get("normalization", ()):
            raise ValueError(
                f"weight_averaging={est.weight_averaging!r} is not available with "
                f"normalization={est.normalization!r}, whose running means and variances are not "
                "those of averaged weights. Choose 'layer', or weight_averaging=None."
            )

    def _continue_session(self) -> None:
        """Go on with the optimizer of the last call of ``partial_fit``, or take a new one."""
        est, state = self.est, self.state
        if not self.incremental or not hasattr(state, "session"):
            state.session = Session(
                named(est, "solver"), named(est, "learning_rate"), est.learning_rate_init
            )
            after_partial_fit = False
        else:
            after_partial_fit = not state.session.finished
        state.session.optimizer.take_factor(est.max_iter)
        if self.incremental and est.early_stopping and not after_partial_fit:
            state.no_improvement_count = 0  # what ended a fit does not end what comes after it

    def _split(self) -> Problem:
        """Split off validation rows. Those to train on stay where they are, as all of a file do."""
        problem = self.problem
        with without_validation():
            try:
                self.order, held_out = self._drawn(problem.targets.strata())
            except ValueError:  # again, for a message with names that would have taken memory
                self.order, held_out = self._drawn(problem.targets.strata(named=True))
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        self.n_samples = len(self.order)
        if self.in_chunks:
            self.order.sort()
        return problem.part(held_out, may_stay=True)

    def _drawn(self, strata: NDArray | None) -> list[NDArray]:
        """Draw the rows to train on and those to hold out."""
        return train_test_split(
            np.arange(self.n_samples),
            random_state=self.rng,
            test_size=self.est.validation_fraction,
            stratify=strata,
        )

    def _batch_size(self) -> int:
        batch_size, n_samples = self.est.batch_size, self.n_samples
        if batch_size == "auto":
            return min(200, n_samples)
        if batch_size > n_samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
                stacklevel=2,
            )
        return int(min(batch_size, n_samples))

    def _check_batches(self) -> None:
        """Refuse mini-batches of one sample, which have no variance, if they are normalised."""
        n_samples, batch_size = self.n_samples, self.batch_size
        is_normalized = "batch" in self.problem.structure.get("normalization", ())
        if is_normalized and (batch_size == 1 or n_samples % batch_size == 1):
            raise ValueError(
                "normalization='batch' needs two samples or more in every mini-batch, but "
                f"batch_size={self.est.batch_size!r} cuts {n_samples} samples so that one has a "
                "single sample."
            )

    def run(self) -> None:
        """Train until convergence, ``max_iter`` epochs or Ctrl-C; one epoch if incremental."""
        est, problem, state, session = self.est, self.problem, self.state, self.state.session
        if self._has_stopped():
            return
        self._start_clock()
        config = problem.config(self.dtype, est.alpha)
        if est.max_grad_norm is not None:
            config["max_grad_norm"] = est.max_grad_norm
        if est.weight_averaging is not None:
            config["averaging"] = est.weight_averaging
        with session.net(config, self.batch_size, self._max_nnz()) as net:
            published = [*state.coefs, *state.intercepts]
            load_weights(net, (self.coefs, self.intercepts), published)
            self.net = net
            state.stop_reason = None
            try:
                self._epochs()
            except KeyboardInterrupt:
                state.stop_reason = "interrupted"
                warnings.warn("Training interrupted by user.", stacklevel=2)
            finally:
                self.refresh()
                state.publish(est)
            overflow = not net.state_is_finite()
        if est.early_stopping and (state.stop_reason or not self.incremental):
            # Not copies: when a warm start finds nothing better than the best of before, the
            # weights that it trained in place remain. So it is in scikit-learn.
            state.return_best(as_copies=self.incremental)
            state.publish(est)
        if overflow and _core.all_finite(*state.coefs, *state.intercepts):
            what = "The state of the solver, without which some weights do not change,"
            problem.warn_of_overflow(what, self.dtype)

    def _has_stopped(self) -> bool:
        """Whether an earlier call of ``partial_fit`` has found that there is no more progress."""
        est = self.est
        ended = self.state.no_improvement_count > est.n_iter_no_change
        return self.incremental and est.early_stopping and ended

    def _epochs(self) -> None:
        est, state, optimizer = self.est, self.state, self.state.session.optimizer
        order = self.order
        shuffle = shuffler(self.rng, order) if est.shuffle and not self.in_chunks else None
        train, batch_size, n_threads = self.net.train, self.batch_size, self.problem.n_threads
        runs, clock, deadline = self._runs(), time.monotonic, self.deadline
        listeners = [callback.on_epoch_end for callback in self._callbacks()]
        epochs = range(state.epoch, est.max_iter)

        for _ in epochs if self.tasks is None else self.tasks.each(epochs):
            if shuffle is not None:
                # In place: each epoch permutes the order of the one before.
                shuffle()
            loss, n_samples, rate = 0.0, 0, optimizer.rate
            for X, y, weight, rows in runs:
                loss += train(X, y, weight, rows, batch_size, rate, n_threads)
                n_samples += len(rows)
                if clock() >= deadline:
                    break
            state.end_epoch(loss / n_samples, n_samples, rate)
            stop = False
            for listener in listeners:
                stop = listener(state) or stop
            if stop:
                state.stop_reason = state.stop_reason or "callback"
            if stop or self.incremental:
                return
        state.stop_reason = "max_iter"
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({est.max_iter:d}) reached and the "
            "optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _runs(self) -> Iterable[Run]:
        """Return what is handed to C in an epoch: X, y, sample weights, and the order of rows."""
        if self.in_chunks:
            sizes = (self.batch_size, self.rng)
            return ChunkShuffle(self.problem, self.order, *sizes, self._runs_of)
        return self._runs_of(self.problem, self.order)

    def _runs_of(self, problem: Problem, order: NDArray) -> Iterable[Run]:
        """Return the runs over a problem in this order."""
        y, step = problem.targets.coded(self.dtype), self._run_length()
        if self.est.mixup:
            sizes = (self.batch_size, step)
            return Mixup(self.est.mixup, problem, y, self.dtype, order, *sizes, self.rng)
        X, weight = problem.X, problem.engine_weight()
        return [(X, y, weight, order[i : i + step]) for i in range(0, len(order), step)]

    def _max_nnz(self) -> int:
        """Return a bound for the non-zeros of a mini-batch, 0 for dense X."""
        bound = self.problem.max_nnz(self.batch_size)
        return 2 * bound if self.est.mixup else bound

    def _run_length(self) -> int:
        """Return how many samples are handed to C at once."""
        # The update streams parameters and state through memory, which takes as long as some 60
        # operations for each.
        flops = self.batch_size * self.problem.flops_per_row() + 60.0 * count(*self.state.layout)
        return self.batch_size * max(1, int(RUN_FLOPS / flops))

    def _callbacks(self) -> Iterator[Callback]:
        """What listens, in the order of scikit-learn's side effects."""
        est, optimizer = self.est, self.state.session.optimizer
        yield from self._reports()
        what = "Validation score"
        if not est.early_stopping:
            yield LossProgress(est.tol)
            what = "Training loss"
        if optimizer.schedule != CONSTANT:
            yield LearningRate(optimizer, est.max_iter)
        yield Patience(est.n_iter_no_change, est.tol, what, optimizer, est.verbose)
        yield from self._goals()

    def _evaluate(self) -> tuple[float, float]:
        self.refresh()
        return self.evaluation(self.coefs, self.intercepts)

    def refresh(self) -> None:
        state = self.state
        store_weights(self.net, (self.coefs, self.intercepts))
        if self.coefs is not state.coefs:
            for out, value in zip(
                [*state.coefs, *state.intercepts], [*self.coefs, *self.intercepts], strict=True
            ):
                out[...] = value
