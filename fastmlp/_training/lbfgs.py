"""Training by L-BFGS."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import scipy
import scipy.optimize
from numpy.typing import NDArray

from .. import _core
from .._network import asked_dtype, flatten, views
from .._parameters import named
from .._sklearn import check_optimize_result
from .._threads import single_threaded_blas
from ..callbacks import Callback, Patience
from ..schedules import CONSTANT
from .fit import Fit
from .problem import Problem, near_one
from .state import State

# Work handed to C at once, in floating point operations: more than for mini-batches, because each
# piece also moves all parameters in and out.
LBFGS_FLOPS = 4e9
# Rows that go through the network together.
LBFGS_ROWS = 512

_SCIPY = tuple(int(number) for number in scipy.__version__.split(".")[:2])


class LBFGSFit(Fit):
    """A fit by L-BFGS.

    SciPy's optimizer works in float64, and so the fitted weights are float64 unless ``precision``
    asks for another dtype. But it rounds the points at which it asks for loss and gradient to the
    dtype of its starting point, so these are computed in float32 if X and the initial weights are.
    """

    prints_loss = False

    def _begin(self, validation: Problem | None) -> None:
        self._check_parameters()
        if validation is not None:
            self._watch(validation, asked_dtype(self.est) or np.dtype(np.float64), own=True)

    def _check_parameters(self) -> None:
        """Refuse what needs mini-batches."""
        est, problem = self.est, self.problem
        if est.mixup:
            raise ValueError(
                f"mixup={est.mixup} needs a stochastic solver, got solver={est.solver!r}."
            )
        if problem.drops:
            raise ValueError(
                f"solver='lbfgs' needs a loss that is not random, but dropout={est.dropout!r} and "
                f"input_dropout={est.input_dropout!r}. Set both to 0, or another solver."
            )
        if "batch" in problem.structure.get("normalization", ()):
            raise ValueError(
                f"normalization={est.normalization!r} is not available with solver='lbfgs', which "
                "has no mini-batches. Choose 'layer', or another solver."
            )
        schedule = named(est, "learning_rate")
        for name, applies in (
            ("learning_rate", not schedule.moves_rate and schedule != CONSTANT),
            ("max_grad_norm", est.max_grad_norm is not None),
            ("weight_averaging", est.weight_averaging is not None),
        ):
            if applies:
                raise ValueError(
                    f"{name}={getattr(est, name)!r} needs a solver that trains by mini-batches, "
                    f"got solver={est.solver!r}."
                )

    def run(self) -> None:
        """Minimise. Ctrl-C is passed on, as by scikit-learn, after the weights have been kept."""
        est, state = self.est, self.state
        self._start_clock()
        params = flatten(state.coefs, state.intercepts, asked_dtype(est))
        objective = Objective(est, self.problem, params, self.dtype)
        options = {"maxfun": named(est, "solver").max_fun, "maxiter": est.max_iter, "gtol": est.tol}
        if _SCIPY < (1, 15):  # later ones print nothing
            options["iprint"] = 1 if est.verbose >= 1 else -1
        listeners = [callback.on_epoch_end for callback in self._callbacks()]
        state.stop_reason = None
        if self.tasks is not None:
            self.tasks.begin()
        try:
            with single_threaded_blas():
                result = scipy.optimize.minimize(
                    objective,
                    params,
                    method="L-BFGS-B",
                    jac=True,
                    options=options,
                    callback=self._after_iteration(listeners) if listeners else None,
                )
        except BaseException:
            state.stop_reason = "interrupted"
            self._publish(objective.params)
            raise
        self._end(result)

    def _end(self, result: scipy.optimize.OptimizeResult) -> None:
        est, state = self.est, self.state
        if state.stop_reason:
            state.epoch = result.nit
        else:
            state.epoch = check_optimize_result("lbfgs", result, est.max_iter)
            limit = "max_iter" if result.nit >= est.max_iter else "max_fun"
            state.stop_reason = {0: "tol", 1: limit}.get(result.status, "abnormal")
        state.loss = float(result.fun)
        self._take(result.x)
        if self.evaluation is not None and est.early_stopping:
            state.return_best(as_copies=False)
        state.publish(est)
        if not math.isfinite(state.loss):
            self.problem.warn_of_overflow("The loss or its gradient", self.dtype)

    def _callbacks(self) -> Iterator[Callback]:
        est = self.est
        yield from self._reports()
        if self.evaluation is not None and est.early_stopping:
            what = "Validation score"
            yield Patience(est.n_iter_no_change, est.tol, what, None, est.verbose)
        yield from self._goals()

    def _after_iteration(self, listeners: list[Callable[[State], bool | None]]) -> Callable:
        state = self.state

        def tell(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            state.epoch += 1
            state.loss = float(intermediate_result.fun)
            self._take(intermediate_result.x.copy())  # SciPy goes on in this array
            stop = False
            for listener in listeners:
                stop = listener(state) or stop
            if stop:
                state.stop_reason = state.stop_reason or "callback"
                raise StopIteration
            if self.tasks is not None:
                self.tasks.begin()

        return tell

    def _evaluate(self) -> tuple[float, float]:
        return self.evaluation(self.state.coefs, self.state.intercepts)

    def _take(self, params: NDArray) -> None:
        dtype = asked_dtype(self.est)
        params = params if dtype is None else params.astype(dtype, copy=False)
        self.state.coefs, self.state.intercepts = views(params, *self.state.layout)

    def _publish(self, params: NDArray) -> None:
        self._take(params)
        self.state.publish(self.est)


class Objective:
    """Loss and gradient over all of X: the function that L-BFGS minimises.

    A large X is cut into pieces of bounded work. Piece c with the sum of weights s_c enters with
    s_c / s; each brings the L2 term with an equal share of alpha.
    """

    def __init__(self, est: Any, problem: Problem, params: NDArray, dtype: np.dtype) -> None:
        self.params, self.dtype = params, dtype
        self.n_threads = problem.n_threads
        self.pieces = self._pieces(problem)
        max_rows = min(LBFGS_ROWS, problem.X.shape[0])
        self.net = _core.Net(
            max_rows=max_rows,
            max_nnz=problem.max_nnz(max_rows),
            **problem.config(self.dtype, est.alpha / len(self.pieces)),
        )

    def _pieces(self, problem: Problem) -> list[tuple[float, Any, NDArray, NDArray | None]]:
        """Return share, X, y and sample weights of each piece."""
        X, n_samples = problem.X, problem.X.shape[0]
        y, sample_weight = problem.targets.coded(self.dtype), problem.engine_weight()
        step = max(LBFGS_ROWS, int(LBFGS_FLOPS / problem.flops_per_row()))
        shares = None if sample_weight is None else near_one(sample_weight)
        # A piece of hardly any weight would have to be scaled up for its mean, and down again.
        negligible = 0.0 if shares is None else 2.0**-64 * np.abs(shares).sum()
        bounds, weights = [0], []
        for stop in [*range(step, n_samples, step), n_samples]:
            rows = slice(bounds[-1], stop)
            weight = stop - rows.start if shares is None else shares[rows].sum()
            is_weighty = abs(weight) > negligible
            if not is_weighty and stop < n_samples:
                continue  # without weight there is no mean: drawn into the next piece
            if not is_weighty and weights:
                bounds.pop()  # or, at the end, into the one before
                weight = weights.pop()
            bounds.append(stop)
            weights.append(float(weight))
        return [
            (
                weight / sum(weights) if len(weights) > 1 else 1.0,
                X if len(weights) == 1 else X[start:stop],
                y[start:stop],
                None if sample_weight is None else sample_weight[start:stop],
            )
            for weight, (start, stop) in zip(weights, pairwise(bounds), strict=True)
        ]

    def __call__(self, params: NDArray) -> tuple[float, NDArray]:
        self.params = params
        params = np.ascontiguousarray(params, dtype=self.dtype)
        loss, total = 0.0, None
        for share, X, y, w in self.pieces:
            gradient = np.empty_like(params)
            loss += share * self.net.loss_grad(params, gradient, X, y, w, self.n_threads)
            if share != 1.0:
                gradient *= share
            total = gradient if total is None else np.add(total, gradient, out=total)
        return loss, total
