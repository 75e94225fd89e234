"""One fit: initial weights, epochs, shuffling, learning rates, early stopping, L-BFGS, interrupts.

The estimator's fitted attributes are the state; the functions here read and write them. Arithmetic
happens in ``_core.Net``, which holds its own copy of the weights while it trains. ``coefs_`` and
``intercepts_`` are read when training starts and written in place when it stops, or before a
validation score is taken.
"""

import contextlib
import copy
import math
import numbers
import threading
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import scipy
import scipy.optimize
from numpy.typing import DTypeLike, NDArray
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from . import _core
from ._sklearn import check_optimize_result
from ._targets import Labels, Values
from ._threads import single_threaded_blas

# Work handed to C at once, in floating point operations. Python, and with it Ctrl-C, gets its turn
# in between. Counted rather than timed, so that sums over several calls are taken in the same
# order on every machine and in every run. A mini-batch is never cut, a batch for L-BFGS is.
# At a slow 2 GFLOPS a run lasts 0.1 s; at 100 GFLOPS 2 ms, a thousand times the price of a call.
RUN_FLOPS = 2e8
# Each piece for L-BFGS also moves all parameters in and out, hence larger ones.
LBFGS_FLOPS = 4e9
# Rows that L-BFGS sends through the network together.
LBFGS_ROWS = 512

# ------------------------------------------------------------------------------------ parameters

# Dtype of the weights by the parameter precision; None: it follows from the data.
PRECISIONS = {
    "auto": None,
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "bfloat16": np.dtype(np.float32),  # operands of products are rounded further
}


def asked_dtype(est: Any) -> np.dtype | None:
    """Return the dtype that ``precision`` names for weights and results, None for "auto"."""
    if est.precision not in PRECISIONS:
        names = ", ".join(map(repr, PRECISIONS))
        raise ValueError(f"precision must be one of {names}, got {est.precision!r}.")
    return PRECISIONS[est.precision]


def net_dtype(est: Any, *arrays: Any) -> np.dtype:
    """Return the dtype to compute in: the one asked for, else the widest of the arrays'."""
    dtype = asked_dtype(est)
    return np.result_type(*(a.dtype for a in arrays)) if dtype is None else dtype


def in_bfloat16(est: Any) -> bool:
    """Whether products take their operands rounded to bfloat16."""
    return est.precision == "bfloat16"


def count(units: Sequence[int]) -> int:
    """Return how many weights and biases a network with these layers has."""
    return sum(fan_in * fan_out + fan_out for fan_in, fan_out in pairwise(units))


def views(flat: NDArray, units: Sequence[int]) -> tuple[list[NDArray], list[NDArray]]:
    """Return coefs and intercepts as views of a flat vector [W0 .. WL | b0 .. bL]."""
    coefs, intercepts, start = [], [], 0
    for fan_in, fan_out in pairwise(units):
        coefs.append(flat[start : start + fan_in * fan_out].reshape(fan_in, fan_out))
        start += fan_in * fan_out
    for fan_out in units[1:]:
        intercepts.append(flat[start : start + fan_out])
        start += fan_out
    return coefs, intercepts


def flatten(
    coefs: list[NDArray], intercepts: list[NDArray], dtype: DTypeLike | None = None
) -> NDArray:
    """Return a new flat vector [W0 .. WL | b0 .. bL]."""
    return np.concatenate([a.ravel() for a in [*coefs, *intercepts]], dtype=dtype)


def initialize(est: Any, units: Sequence[int], dtype: DTypeLike, rng: np.random.RandomState):
    """Draw initial weights after Glorot and Bengio (2010), and start the histories.

    The order of the draws is scikit-learn's, layer by layer, weights before biases.
    """
    if count(units) * np.dtype(dtype).itemsize > np.iinfo(np.intp).max:
        raise ValueError(
            f"A network with layers of {list(units)} units has {count(units)} parameters: more "
            "than can be addressed."
        )
    est.coefs_, est.intercepts_ = views(np.empty(count(units), dtype), units)
    for W, b in zip(est.coefs_, est.intercepts_, strict=True):
        bound = np.sqrt((2.0 if est.activation == "logistic" else 6.0) / sum(W.shape))
        W[...] = rng.uniform(-bound, bound, W.shape)
        b[...] = rng.uniform(-bound, bound, b.shape)
    est.n_layers_ = len(units)
    est.n_iter_ = 0
    est.t_ = 0
    for name in [*_HISTORY, "_best_coefs", "_best_intercepts", "_optimizer"]:
        est.__dict__.pop(name, None)


def parameters(est: Any, n_features: int) -> tuple[list[NDArray], list[NDArray]]:
    """Return ``coefs_`` and ``intercepts_``, which the user may have replaced, after a check.

    Raises
    ------
    ValueError
        If an array is missing, is not a float32 or float64 array, or does not fit its neighbours.
    """
    coefs, intercepts = est.coefs_, est.intercepts_
    n_layers = est.n_layers_ - 1
    for name, arrays in (("coefs_", coefs), ("intercepts_", intercepts)):
        if not isinstance(arrays, (list, tuple)) or len(arrays) != n_layers:
            raise ValueError(
                f"{name} must be a list of {n_layers} arrays, one for each layer of weights."
            )
        for i, a in enumerate(arrays):
            is_array = isinstance(a, np.ndarray)
            if not is_array or a.dtype.kind != "f" or a.dtype.itemsize not in (4, 8):
                what = f"dtype {a.dtype}" if is_array else type(a).__name__
                raise ValueError(
                    f"{name}[{i}] must be a NumPy array of dtype float32 or float64, got {what}."
                )
    wrong = None
    units = [n_features]
    for i in range(n_layers):
        fan_out = _fan_out(est, coefs, intercepts, i)
        for name, a, shape in (
            ("coefs_", coefs[i], (units[i], fan_out)),
            ("intercepts_", intercepts[i], (fan_out,)),
        ):
            if a.shape != shape:
                wrong = wrong or f"{name}[{i}] has shape {a.shape}, expected {shape}."
        units.append(fan_out)
    if wrong:
        raise ValueError(wrong)
    return coefs, intercepts


def _fan_out(est: Any, coefs: list[NDArray], intercepts: list[NDArray], i: int) -> int:
    """Return the units of layer i + 1, by a majority of three: one wrong array is outvoted."""
    last = i == len(coefs) - 1
    votes = [
        coefs[i].shape[1] if coefs[i].ndim == 2 else None,
        intercepts[i].shape[0] if intercepts[i].ndim == 1 else None,
        est.n_outputs_ if last else coefs[i + 1].shape[0] if coefs[i + 1].ndim == 2 else None,
    ]
    votes = [vote for vote in votes if vote is not None] or [0]
    return max(votes, key=votes.count)


def make_writable(arrays: Sequence[NDArray], dtype: np.dtype | None = None) -> list[NDArray]:
    """Return a list, the given one if it is one, of arrays that C can write in place.

    Those that are read-only, strided, of foreign byte order or not of this dtype are replaced by
    copies.
    """
    arrays = arrays if isinstance(arrays, list) else list(arrays)
    for i, a in enumerate(arrays):
        wanted = dtype or a.dtype.newbyteorder("=")
        if not (a.flags.carray and a.dtype.isnative and a.dtype == wanted):
            arrays[i] = np.array(a, dtype=wanted, order="C")
    return arrays


# ------------------------------------------------------------------------------------ optimizers


class _Kept(NamedTuple):
    """A net between two calls of ``partial_fit``, and what it was made for."""

    net: _core.Net
    config: dict[str, Any]
    max_rows: int
    max_nnz: int

    def serves(self, config: dict[str, Any], max_rows: int, max_nnz: int) -> bool:
        same_kind = (self.max_nnz > 0) == (max_nnz > 0)  # of X: sparse or dense
        fits = self.max_rows >= max_rows and self.max_nnz >= max_nnz
        return self.config == config and same_kind and fits

    def state(self) -> tuple[tuple[int, ...], NDArray]:
        units, n_slots = self.config["units"], _core.SOLVERS[self.config["solver"]]
        averages = np.empty((n_slots, count(units)), self.config["dtype"])
        for slot, flat in enumerate(averages):
            self.net.store_state(slot, *views(flat, units))
        return units, averages


class Optimizer:
    """What a stochastic solver remembers from one update to the next.

    Attributes
    ----------
    learning_rate_init, learning_rate : float
        Initial and current learning rate.
    t : int
        Updates made so far.

    Between calls of ``partial_fit`` it keeps the net, whose memory is costly to take anew and in
    which the running averages live. A pickle or a copy holds the averages instead. When a ``fit``
    has finished they are rarely wanted, and up to twice as large as the model: then a pickle holds
    None in the place of the optimizer.
    """

    solver: str
    hyper: tuple[str, ...]  # attributes that the net takes under the same names
    _kept: _Kept | None = None
    _finished = False

    def __init__(self, learning_rate_init: float) -> None:
        self.learning_rate_init = learning_rate_init
        self.t = 0
        self._state: tuple[tuple[int, ...], NDArray] | None = None

    @property
    def state(self) -> tuple[tuple[int, ...], NDArray] | None:
        """Widths of the layers and running averages; None if they cannot influence an update.

        The averages have shape (n_slots, n_parameters), each row laid out as in ``views``.
        """
        kept = self._kept
        if not self._remembers():
            return None
        return self._state if kept is None else kept.state()

    def _remembers(self) -> bool:
        """Whether the averages have any influence on the next update."""
        return True

    @contextlib.contextmanager
    def net(self, config: dict[str, Any], max_rows: int, max_nnz: int) -> Iterator[_core.Net]:
        """Lend a net of this configuration that holds the state."""
        config = (
            config | {"solver": self.solver} | {name: getattr(self, name) for name in self.hyper}
        )
        # In one step, so that a second thread that trains this estimator gets another net. Its
        # numbers will be wrong, as they are then in scikit-learn, but nothing worse happens.
        kept = self.__dict__.pop("_kept", None)
        state = self._state
        self._finished = False
        try:
            if kept is None or not kept.serves(config, max_rows, max_nnz):
                state = state if kept is None else kept.state()
                kept = None
                net = _core.Net(max_rows=max_rows, max_nnz=max_nnz, **config)
                if state is not None:
                    self._load(net, config, *state)
                kept = _Kept(net, config, max_rows, max_nnz)
            state = None
            kept.net.step = self.t
            yield kept.net
        finally:
            if kept is not None:
                self.t = kept.net.step
                kept.net.release_data()
            self._state, self._kept = state, kept

    def _load(self, net: _core.Net, config: dict[str, Any], units: Any, averages: Any) -> None:
        if units != config["units"]:
            raise ValueError(
                f"The solver's state is that of a network with layers of {list(units)} units, but "
                f"coefs_ and intercepts_ now have {list(config['units'])}."
            )
        for slot, flat in enumerate(averages.astype(config["dtype"], copy=False)):
            net.load_state(slot, *views(flat, units))

    def finish(self) -> None:
        """Give the net's memory back and keep only the state, for as long as this process lives."""
        self._state, self._kept = self.state, None
        self._finished = True

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_state": self.state, "_kept": None}

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(None), ()) if self._finished else super().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return other

    @property
    def rate(self) -> float:
        """The learning rate that the net expects."""
        return self.learning_rate

    def epoch_ends(self, n_seen: int) -> None:
        """Adapt the learning rate after an epoch; n_seen samples were trained on until now."""

    def stops(self, message: str, verbose: bool) -> bool:
        """Decide what follows from a lack of progress: stop, or go on with a smaller step."""
        if verbose:
            print(message + " Stopping.")
        return True


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and scikit-learn's three schedules."""

    solver = "sgd"
    hyper = ("momentum", "nesterov")

    def __init__(self, est: Any) -> None:
        super().__init__(est.learning_rate_init)
        self.learning_rate = float(est.learning_rate_init)
        self.lr_schedule = est.learning_rate
        self.momentum = est.momentum
        self.nesterov = est.nesterovs_momentum
        self.power_t = est.power_t

    def _remembers(self) -> bool:
        return self.momentum != 0

    def epoch_ends(self, n_seen: int) -> None:
        if self.lr_schedule == "invscaling":
            self.learning_rate = float(self.learning_rate_init) / (n_seen + 1) ** self.power_t

    def stops(self, message: str, verbose: bool) -> bool:
        if self.lr_schedule != "adaptive":
            return super().stops(message, verbose)
        if self.learning_rate <= 1e-6:
            return super().stops(message + " Learning rate too small.", verbose)
        self.learning_rate /= 5.0
        if verbose:
            print(f"{message} Setting learning rate to {self.learning_rate:f}")
        return False


class Adam(Optimizer):
    """Adam after Kingma and Ba (2015), the bias corrections folded into the step size."""

    solver = "adam"
    hyper = ("beta_1", "beta_2", "epsilon")

    def __init__(self, est: Any) -> None:
        super().__init__(est.learning_rate_init)
        self.beta_1 = est.beta_1
        self.beta_2 = est.beta_2
        self.epsilon = est.epsilon

    @property
    def rate(self) -> float:
        return self.learning_rate_init  # the engine corrects it in every update

    @property
    def learning_rate(self) -> float:
        """Step size of the last update, the bias corrections included."""
        if self.t == 0:
            return float(self.learning_rate_init)
        correction = math.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        return self.learning_rate_init * correction


OPTIMIZERS = {optimizer.solver: optimizer for optimizer in (SGD, Adam)}

# ---------------------------------------------------------------------------------------- solvers


def near_one(sample_weight: NDArray) -> NDArray:
    """Return sample weights of any size with the same ratios whose sums are no extreme numbers.

    The factor is a power of two. Ordinary weights are returned as they are.
    """
    exponent = math.frexp(np.abs(sample_weight).max(initial=0.0))[1]
    return sample_weight if abs(exponent) <= 32 else np.ldexp(sample_weight, -exponent)


class Problem(NamedTuple):
    """What is to be fitted."""

    X: Any  # ndarray or CSR matrix, float32 or float64
    targets: Labels | Values
    sample_weight: NDArray | None
    units: tuple[int, ...]
    n_threads: int

    def config(self, est: Any, dtype: DTypeLike, alpha: float) -> dict[str, Any]:
        """Return what a net for this problem is made of."""
        return {
            "units": self.units,
            "dtype": np.dtype(dtype),
            "bfloat16": in_bfloat16(est),
            "activations": activations(est),
            "loss": self.targets.loss,
            "alpha": alpha,
        }

    def max_nnz(self, n_rows: int) -> int:
        """Return a bound for the non-zeros of any n_rows rows, 0 for dense X."""
        if not issparse(self.X):
            return 0
        per_row = np.diff(self.X.indptr)
        largest = np.partition(per_row, len(per_row) - n_rows)[len(per_row) - n_rows :]
        # Rounded up to a power of two, so that the batches of partial_fit can share a net.
        return 1 << int(largest.sum(dtype=np.int64)).bit_length()

    def flops_per_row(self) -> float:
        """Return about what forward pass, delta and gradient cost for one row of X."""
        weights = count(self.units)
        if issparse(self.X):
            weights += (self.X.nnz / self.X.shape[0] - self.units[0]) * self.units[1]
        return 6.0 * weights


def activations(est: Any) -> tuple[str, ...]:
    """Return the activation of each layer of weights."""
    return (est.activation,) * (est.n_layers_ - 2) + (est.out_activation_,)


# Attributes that grow over warm starts, with what they start from without and with early stopping.
_HISTORY = {
    "loss_curve_": (list, list),
    "_no_improvement_count": (int, int),
    "best_loss_": (lambda: np.inf, lambda: None),
    "validation_scores_": (lambda: None, list),
    "best_validation_score_": (lambda: None, lambda: -np.inf),
}


class Stochastic:
    """Fit by sgd or adam. Construction does all that may refuse the data; ``run`` trains."""

    def __init__(
        self, est: Any, problem: Problem, rng: np.random.RandomState, incremental: bool
    ) -> None:
        self.est, self.problem, self.rng, self.incremental = est, problem, rng, incremental
        if not incremental or getattr(est, "_optimizer", None) is None:
            est._optimizer = OPTIMIZERS[est.solver](est)
        if est.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        self.order = np.arange(problem.X.shape[0])
        self.score = None
        if est.early_stopping:
            self._hold_out()
        self.batch_size = self._batch_size()

        asked = asked_dtype(est)
        est.coefs_ = make_writable(est.coefs_, asked)
        est.intercepts_ = make_writable(est.intercepts_, asked)
        # The wider of both dtypes if X has another than the weights, as in NumPy's products, unless
        # one was asked for. Then the weights go in and out of the net by way of a copy.
        self.dtype = net_dtype(est, problem.X, *est.coefs_, *est.intercepts_)
        self.coefs, self.intercepts = est.coefs_, est.intercepts_
        if any(a.dtype != self.dtype for a in [*self.coefs, *self.intercepts]):
            flat = flatten(self.coefs, self.intercepts, self.dtype)
            self.coefs, self.intercepts = views(flat, problem.units)
        self._continue_history()

    def _hold_out(self) -> None:
        """Split off validation rows. They are copied, the rows to train on stay where they are."""
        est, (X, targets, sample_weight, *_) = self.est, self.problem
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
        self.X_val = X[held_out]
        self.score = targets.scorer(
            held_out, None if sample_weight is None else near_one(sample_weight[held_out])
        )

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

    def _continue_history(self) -> None:
        est = self.est
        for name, starts in _HISTORY.items():
            if getattr(est, name, None) is None:
                setattr(est, name, starts[est.early_stopping]())
        if est.early_stopping and not hasattr(est, "_best_coefs"):
            self._keep_best()

    def _keep_best(self) -> None:
        est = self.est
        est._best_coefs = [W.copy() for W in est.coefs_]
        est._best_intercepts = [b.copy() for b in est.intercepts_]

    def run(self) -> None:
        """Train until convergence, ``max_iter`` epochs or Ctrl-C; one epoch if incremental."""
        est, problem, optimizer = self.est, self.problem, self.est._optimizer
        config = problem.config(est, self.dtype, est.alpha)
        with optimizer.net(config, self.batch_size, problem.max_nnz(self.batch_size)) as net:
            net.load_params(self.coefs, self.intercepts)
            try:
                self._epochs(net)
            except KeyboardInterrupt:
                warnings.warn("Training interrupted by user.", stacklevel=2)
            finally:
                self._store(net)
        if est.early_stopping:
            # Not copies: when a warm start finds nothing better than the best of before, the
            # weights that it trained in place remain. So it is in scikit-learn.
            est.coefs_, est.intercepts_ = est._best_coefs, est._best_intercepts

    def _store(self, net: _core.Net) -> None:
        """Bring ``coefs_`` and ``intercepts_`` up to date."""
        est = self.est
        net.store_params(self.coefs, self.intercepts)
        if self.coefs is not est.coefs_:
            for out, value in zip(
                [*est.coefs_, *est.intercepts_], [*self.coefs, *self.intercepts], strict=True
            ):
                out[...] = value

    def _epochs(self, net: _core.Net) -> None:
        est, optimizer = self.est, self.est._optimizer
        X, targets, sample_weight, _, n_threads = self.problem
        y = targets.coded(self.dtype)
        if sample_weight is not None:
            sample_weight = np.ascontiguousarray(sample_weight, dtype=np.float64)
        order, batch_size, n_samples = self.order, self.batch_size, len(self.order)
        # The update streams parameters and state through memory, which takes as long as some 60
        # operations for each.
        flops = batch_size * self.problem.flops_per_row() + 60.0 * count(self.problem.units)
        run = batch_size * max(1, int(RUN_FLOPS / flops))

        est.n_iter_ = 0
        for _ in range(est.max_iter):
            if est.shuffle:
                # In place: each epoch permutes the order of the one before.
                self.rng.shuffle(order)
            loss_sum = 0.0
            for start in range(0, n_samples, run):
                rows = order[start : start + run]
                loss_sum += net.train(
                    X, y, sample_weight, rows, batch_size, optimizer.rate, n_threads
                )
            optimizer.t = net.step
            est.n_iter_ += 1
            est.loss_ = loss_sum / n_samples
            est.t_ += n_samples
            est.loss_curve_.append(est.loss_)
            if est.verbose:
                print(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
            if self.score:
                self._store(net)
                self._rate_validation_score()
            else:
                self._rate_loss()
            optimizer.epoch_ends(est.t_)
            if est._no_improvement_count > est.n_iter_no_change:
                what = "Validation score" if self.score else "Training loss"
                message = (
                    f"{what} did not improve more than tol={est.tol:f} for "
                    f"{est.n_iter_no_change:d} consecutive epochs."
                )
                if optimizer.stops(message, est.verbose):
                    break
                est._no_improvement_count = 0
            if self.incremental:
                break
            if est.n_iter_ == est.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({est.max_iter:d}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def _rate_loss(self) -> None:
        est = self.est
        if est.loss_ > est.best_loss_ - est.tol:
            est._no_improvement_count += 1
        else:
            est._no_improvement_count = 0
        if est.loss_ < est.best_loss_:
            est.best_loss_ = est.loss_

    def _rate_validation_score(self) -> None:
        est = self.est
        outputs = _core.predict(
            self.X_val,
            self.coefs,
            self.intercepts,
            activations(est),
            bfloat16=in_bfloat16(est),
            n_threads=self.problem.n_threads,
        )
        score = self.score(outputs)  # NaN after divergence: no comparison below holds then
        est.validation_scores_.append(score)
        if est.verbose:
            print(f"Validation score: {score:f}")
        if score < est.best_validation_score_ + est.tol:
            est._no_improvement_count += 1
        else:
            est._no_improvement_count = 0
        if score > est.best_validation_score_:
            est.best_validation_score_ = score
            self._keep_best()


class LBFGS:
    """Fit by L-BFGS.

    SciPy's optimizer works in float64, and so the fitted weights are float64 unless ``precision``
    asks for another dtype. But it rounds the points at which it asks for loss and gradient to the
    dtype of its starting point, so these are computed in float32 if X and the initial weights are.
    """

    def __init__(
        self, est: Any, problem: Problem, rng: np.random.RandomState, incremental: bool
    ) -> None:
        self.est, self.problem = est, problem

    def run(self) -> None:
        """Minimise. Ctrl-C is passed on, as by scikit-learn, after the weights have been kept."""
        est, problem = self.est, self.problem
        params = flatten(est.coefs_, est.intercepts_, asked_dtype(est))
        objective = _Objective(est, problem, params)
        options = {"maxfun": est.max_fun, "maxiter": est.max_iter, "gtol": est.tol}
        if _SCIPY < (1, 15):  # later ones print nothing
            options["iprint"] = 1 if est.verbose >= 1 else -1
        try:
            with single_threaded_blas():
                result = scipy.optimize.minimize(
                    objective, params, method="L-BFGS-B", jac=True, options=options
                )
        except BaseException:
            self._store(objective.params)
            raise
        est.n_iter_ = check_optimize_result("lbfgs", result, est.max_iter)
        est.loss_ = float(result.fun)
        self._store(result.x)

    def _store(self, params: NDArray) -> None:
        est, dtype = self.est, asked_dtype(self.est)
        params = params if dtype is None else params.astype(dtype, copy=False)
        est.coefs_, est.intercepts_ = views(params, self.problem.units)


class _Objective:
    """Loss and gradient over all of X: the function that L-BFGS minimises.

    A large X is cut into pieces, so that Ctrl-C is seen between them. Piece c with the sum of
    weights s_c enters with s_c / s; each brings the L2 term with an equal share of alpha.
    """

    def __init__(self, est: Any, problem: Problem, params: NDArray) -> None:
        self.params = params
        X, targets, sample_weight, _, self.n_threads = problem
        n_samples = X.shape[0]
        self.dtype = net_dtype(est, X, params)
        y = targets.coded(self.dtype)
        if sample_weight is not None:
            sample_weight = np.ascontiguousarray(sample_weight, dtype=np.float64)
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
        self.pieces = [
            (
                weight / sum(weights) if len(weights) > 1 else 1.0,
                X if len(weights) == 1 else X[start:stop],
                y[start:stop],
                None if sample_weight is None else sample_weight[start:stop],
            )
            for weight, (start, stop) in zip(weights, pairwise(bounds), strict=True)
        ]

        max_rows = min(LBFGS_ROWS, n_samples)
        self.net = _core.Net(
            max_rows=max_rows,
            max_nnz=problem.max_nnz(max_rows),
            **problem.config(est, self.dtype, est.alpha / len(self.pieces)),
        )

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


_SCIPY = tuple(int(number) for number in scipy.__version__.split(".")[:2])

SOLVERS = {"lbfgs": LBFGS} | dict.fromkeys(OPTIMIZERS, Stochastic)

# ---------------------------------------------------------------------------------- random stream

_local = threading.local()


@contextlib.contextmanager
def random_stream(random_state: Any) -> Iterator[np.random.RandomState]:
    """Turn random_state into a RandomState, as ``sklearn.utils.check_random_state`` does.

    To make one takes longer than a small fit, 0.2 ms; to seed one anew takes 4 us. So each thread
    keeps one, which is taken away while a fit uses it.
    """
    if not isinstance(random_state, numbers.Integral):
        yield check_random_state(random_state)
        return
    rng = _local.__dict__.pop("rng", None) or np.random.RandomState(0)
    rng.seed(random_state)
    try:
        yield rng
    finally:
        _local.rng = rng
