"""Training by mini-batches."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from .. import _core
from .._network import all_finite, asked_dtype, count, flatten, make_writable, net_dtype, views
from .._parameters import named
from ..callbacks import (
    Callback,
    LearningRate,
    LossProgress,
    LossReport,
    Patience,
    ScoreProgress,
)
from ..schedules import Constant
from .problem import Problem, near_one
from .session import Session
from .state import State

# Work handed to C at once, in floating point operations. Python, and with it Ctrl-C, gets its turn
# in between. Counted rather than timed, so that sums over several calls are taken in the same
# order on every machine and in every run. A mini-batch is never cut.
# At a slow 2 GFLOPS a run lasts 0.1 s; at 100 GFLOPS 2 ms, a thousand times the price of a call.
RUN_FLOPS = 2e8


class StochasticFit:
    """A fit by 'sgd' or 'adam'. Construction does all that may refuse the data."""

    def __init__(
        self,
        est: Any,
        problem: Problem,
        state: State,
        rng: np.random.RandomState,
        incremental: bool,
    ) -> None:
        self.est, self.problem, self.state = est, problem, state
        self.rng, self.incremental = rng, incremental
        if est.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if not incremental or not hasattr(state, "session"):
            state.session = Session(
                named(est, "solver"), named(est, "learning_rate"), est.learning_rate_init
            )
        self.order = np.arange(problem.X.shape[0])
        self.score: Callable[[_core.Net], float] | None = None
        if est.early_stopping:
            self.score = self._validation()
        self.batch_size = self._batch_size()

        asked = asked_dtype(est)
        state.coefs = make_writable(state.coefs, asked)
        state.intercepts = make_writable(state.intercepts, asked)
        # The wider of both dtypes if X has another than the weights, as in NumPy's products, unless
        # one was asked for. Then the weights go in and out of the net by way of a copy.
        self.dtype = net_dtype(est, problem.X, *state.coefs, *state.intercepts)
        self.coefs, self.intercepts = state.coefs, state.intercepts
        if any(a.dtype != self.dtype for a in [*self.coefs, *self.intercepts]):
            flat = flatten(self.coefs, self.intercepts, self.dtype)
            self.coefs, self.intercepts = views(flat, problem.widths)
        self.y = problem.targets.coded(self.dtype)
        state.start_curves(est.early_stopping)

    def _validation(self) -> Callable[[_core.Net], float]:
        """Split off validation rows; return the function that scores the network on them.

        They are copied, the rows to train on stay where they are.
        """
        est, problem = self.est, self.problem
        X, targets, sample_weight = problem.X, problem.targets, problem.sample_weight
        self.order, held_out = train_test_split(
            self.order,
            random_state=self.rng,
            test_size=est.validation_fraction,
            stratify=targets.strata(),
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        X_val = X[held_out]
        scorer = targets.scorer(
            held_out, None if sample_weight is None else near_one(sample_weight[held_out])
        )

        def score(net: _core.Net) -> float:
            self._store(net)
            outputs = _core.predict(
                X_val,
                self.coefs,
                self.intercepts,
                problem.activations,
                bfloat16=problem.bfloat16,
                n_threads=problem.n_threads,
            )
            if not all_finite(*self.coefs, *self.intercepts):
                # Which outputs are NaN may depend on the number of threads: zeros in X are left
                # out of products.
                outputs.fill(np.nan)
            return scorer(outputs)

        return score

    def _batch_size(self) -> int:
        batch_size, n_samples = self.est.batch_size, len(self.order)
        if batch_size == "auto":
            return min(200, n_samples)
        if batch_size > n_samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
                stacklevel=2,
            )
        return int(min(batch_size, n_samples))

    def run(self) -> None:
        """Train until convergence, ``max_iter`` epochs or Ctrl-C; one epoch if incremental."""
        est, problem, state, session = self.est, self.problem, self.state, self.state.session
        config = problem.config(self.dtype, est.alpha)
        with session.net(config, self.batch_size, problem.max_nnz(self.batch_size)) as net:
            net.load_params(self.coefs, self.intercepts)
            try:
                self._epochs(net)
            except KeyboardInterrupt:
                warnings.warn("Training interrupted by user.", stacklevel=2)
            finally:
                self._store(net)
                state.publish(est)
            overflow = not net.state_is_finite()
        if est.early_stopping:
            # Not copies: when a warm start finds nothing better than the best of before, the
            # weights that it trained in place remain. So it is in scikit-learn.
            state.coefs, state.intercepts = state.best_coefs, state.best_intercepts
            state.publish(est)
        if overflow and all_finite(*state.coefs, *state.intercepts):
            what = "The state of the solver, without which some weights do not change,"
            problem.warn_of_overflow(what, self.dtype)

    def _epochs(self, net: _core.Net) -> None:
        est, state, optimizer = self.est, self.state, self.state.session.optimizer
        X, n_threads = self.problem.X, self.problem.n_threads
        sample_weight = self.problem.engine_weight()
        order, batch_size, n_samples = self.order, self.batch_size, len(self.order)
        run = self._run_length()
        listeners = [callback.on_epoch_end for callback in self._callbacks(net)]

        for _ in range(est.max_iter):
            if est.shuffle:
                # In place: each epoch permutes the order of the one before.
                self.rng.shuffle(order)
            loss = 0.0
            for start in range(0, n_samples, run):
                rows = order[start : start + run]
                loss += net.train(
                    X, self.y, sample_weight, rows, batch_size, optimizer.rate, n_threads
                )
            state.end_epoch(loss / n_samples, n_samples)
            stop = self.incremental
            for listener in listeners:
                stop = listener(state) or stop
            if stop:
                return
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({est.max_iter:d}) reached and the "
            "optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _run_length(self) -> int:
        """Return how many samples are handed to C at once."""
        # The update streams parameters and state through memory, which takes as long as some 60
        # operations for each.
        flops = self.batch_size * self.problem.flops_per_row() + 60.0 * count(self.problem.widths)
        return self.batch_size * max(1, int(RUN_FLOPS / flops))

    def _callbacks(self, net: _core.Net) -> Iterator[Callback]:
        """What listens, in the order of scikit-learn's side effects."""
        est, score, optimizer = self.est, self.score, self.state.session.optimizer
        if est.verbose:
            yield LossReport()
        if score is None:
            yield LossProgress(est.tol)
        else:
            yield ScoreProgress(est.tol, lambda: score(net), est.verbose)
        if not isinstance(optimizer.schedule, Constant):
            yield LearningRate(optimizer)
        what = "Training loss" if score is None else "Validation score"
        yield Patience(est.n_iter_no_change, est.tol, what, optimizer, est.verbose)

    def _store(self, net: _core.Net) -> None:
        """Bring the published weights up to date."""
        state = self.state
        net.store_params(self.coefs, self.intercepts)
        if self.coefs is not state.coefs:
            for out, value in zip(
                [*state.coefs, *state.intercepts], [*self.coefs, *self.intercepts], strict=True
            ):
                out[...] = value
