"""Small learning problems, runs of the engine or of the reference on them, and tolerances.

A test draws a Problem, gives it to the engine and to the reference through one and the same
function, and compares what comes out.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import reference
import scipy.sparse as sp

# ------------------------------------------------------------------------------------- choices


def choices(table, **fields):
    """Return choices of all rows of a table of the reference, or of those with these fields.

    A row that has parameters comes twice: with its defaults, and with other values.
    """
    chosen = []
    for name, row in table.items():
        if all(getattr(row, field) == value for field, value in fields.items()):
            chosen += [name, (name, others(row))] if row.parameters else [name]
    return chosen


def others(row):
    """Values of a row's parameters that are not the defaults."""
    return {name: _other(parameter) for name, parameter in row.parameters.items()}


def _other(parameter):
    if isinstance(parameter.default, bool):
        return not parameter.default
    if np.isfinite([parameter.low, parameter.high]).all():
        return parameter.low + 0.37 * (parameter.high - parameter.low)
    return 2.5 * parameter.default or 0.5


HIDDEN = choices(reference.ACTIVATIONS, hidden=True)
OUTPUT = choices(reference.ACTIVATIONS, output=True)
LOSSES = choices(reference.LOSSES)
OPTIMIZERS = choices(reference.OPTIMIZERS)

# Pairs of a loss and the activation for which delta is a - y.
CANONICAL = [(name, row.canonical) for name, row in reference.LOSSES.items() if row.canonical]


def covering(*choices):
    """Return tuples of choices in which each occurs: as many as the longest list has.

    The product of all tables would be thousands of tests.
    """
    n = max(map(len, choices))
    return [tuple(of_one[i % len(of_one)] for of_one in choices) for i in range(n)]


def row_of(table, choice):
    return table[reference.name_of(choice)]


def n_slots(optimizer):
    return row_of(reference.OPTIMIZERS, optimizer).n_slots


def centre(out):
    """A bias that brings an output into the middle of what every loss accepts, [0, 1].

    None if all values of the activation lie there.
    """
    row, values = reference.choose(reference.ACTIVATIONS, out)
    z = np.linspace(-4, 4, 801)[:, np.newaxis]
    a = row.f(z, **values)
    return None if ((a >= 0) & (a <= 1)).all() else z[np.abs(a - 0.5).argmin(), 0]


def targets(kind, rng, n, q, labels=False):
    """Random targets of the kind that a loss takes."""
    if kind == "real":
        return rng.normal(size=(n, q))
    if kind == "nonnegative":
        return rng.poisson(1.5, size=(n, q))
    if kind == "positive":
        return rng.gamma(2.0, size=(n, q))
    if kind == "binary":
        return rng.integers(2, size=(n, q))
    classes = rng.integers(q, size=n)
    return classes.astype(np.int32) if labels else np.eye(q)[classes]


# ------------------------------------------------------------------------------------ problems


@dataclass
class Problem:
    units: list
    activations: list  # choices, as the loss
    loss: object
    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None
    coefs: list
    intercepts: list
    alpha: float = 0.1
    options: dict = field(default_factory=dict)  # further arguments of Net
    running: list = field(default_factory=list)  # running averages, which follow the intercepts

    @property
    def dtype(self):
        return self.coefs[0].dtype

    @property
    def n(self):
        return self.X.shape[0]

    @property
    def params(self):
        """One flat vector, as L-BFGS has it."""
        return np.concatenate([P.ravel() for P in [*self.coefs, *self.intercepts]])

    @property
    def longest_sum(self):
        """The number of terms of the longest sum in a step."""
        return max(*self.units, self.n)

    @property
    def max_nnz(self):
        """What a network for X must be told: 0 says that X is dense."""
        return max(1, self.X.nnz) if sp.issparse(self.X) else 0

    def but(self, **changes):
        return replace(self, **changes)

    def net(self, core, **options):
        """A network of the given backend that holds the parameters."""
        options = {
            "alpha": self.alpha,
            "max_rows": self.n,
            "max_nnz": self.max_nnz,
            **self.options,
            **options,
        }
        net = core.Net(
            self.units, dtype=self.dtype, activations=self.activations, loss=self.loss, **options
        )
        net.load_params(self.coefs, [*self.intercepts, *self.running])
        return net


def make(
    units,
    n,
    dtype,
    *,
    hidden="tanh",
    loss="squared_error",
    out=None,
    weighted=False,
    labels=False,
    density=None,
    alpha=0.1,
    seed=0,
):
    """A random problem on which every (loss, output activation) pair is well defined.

    hidden is one choice or a list of one per hidden layer; out defaults to the loss's usual one.
    labels makes y class indices instead of one-hot rows; density makes X sparse (CSR) with that
    share of non-zeros.
    """
    rng = np.random.default_rng([seed, n, *units])
    hidden = list(hidden) if isinstance(hidden, list) else [hidden] * (len(units) - 2)
    row = row_of(reference.LOSSES, loss)
    out = out or row.out_activation
    X = rng.normal(size=(n, units[0]))
    if density is not None:
        X = sp.csr_array(X * (rng.random(X.shape) < density))
    q = units[-1]
    y = targets(row.targets, rng, n, q, labels)
    sample_weight = None
    if weighted:
        sample_weight = rng.random(n) * rng.integers(2, size=n)  # about half of them zero
        sample_weight[0] = 1
    # Glorot's scale keeps activations of order one. The last layer is drawn smaller if need be.
    coefs = [rng.normal(size=s) * np.sqrt(2 / sum(s)) for s in pairwise(units)]
    intercepts = [rng.normal(size=m) * 0.2 for m in units[1:]]
    bias = centre(out)
    if bias is not None:
        coefs[-1] *= 0.1 / max(1, np.sqrt(units[-2] / 10))
        intercepts[-1] = bias + 0.1 * rng.random(q)
    return Problem(
        list(units),
        [*hidden, out],
        loss,
        X.astype(dtype),
        y if y.ndim == 1 else y.astype(dtype),
        sample_weight,
        [W.astype(dtype) for W in coefs],
        [b.astype(dtype) for b in intercepts],
        alpha,
    )


def with_structure(p, normalization=(), residual=False, seed=0):
    """The problem with normalised or residual layers, whose parameters are drawn at random."""
    rng = np.random.default_rng([seed, *p.units])
    structure = reference.Structure(tuple(normalization), residual)
    n = len(p.units) - 1

    def uniform(low, high, shapes):
        return [rng.uniform(low, high, shape).astype(p.dtype) for shape in shapes]

    n_norms = len(structure.norms(p.units, "batch", "layer"))
    n_batch = len(structure.norms(p.units, "batch"))
    trained, everything = (structure.vectors(p.units, running=r)[n:] for r in (False, True))
    averages = everything[len(trained) :]
    projections = [
        (rng.normal(size=shape) * np.sqrt(2 / sum(shape))).astype(p.dtype)
        for shape in structure.projections(p.units)
    ]
    return p.but(
        coefs=[*p.coefs, *projections],
        intercepts=[
            *p.intercepts,
            *uniform(0.5, 1.5, trained[:n_norms]),
            *uniform(-0.5, 0.5, trained[n_norms:]),
        ],
        running=[*uniform(-1, 1, averages[:n_batch]), *uniform(0.5, 2, averages[n_batch:])],
        options=p.options | {"normalization": tuple(normalization), "residual": residual},
    )


def make_exact(units, n, dtype, *, density=None, seed=0):
    """A problem of small integers on which a step has no rounding error, in whatever order.

    relu, squared error, and sample weights that sum to a power of two: every intermediate result
    is a small multiple of a power of two. Engine and reference must agree to the last bit, so not
    one term of a sum may be lost, doubled or misplaced.
    """
    rng = np.random.default_rng([seed, n, *units])

    def integers(shape, low=-1, high=1):
        return rng.integers(low, high, size=shape, endpoint=True).astype(np.float64)

    X = integers((n, units[0]))
    if density is not None:
        X = sp.csr_array(X * (rng.random(X.shape) < density))
    w = integers(n, 0, 2)
    w[-1] = 0
    w[-1] = 2 ** int(np.floor(np.log2(w.sum() + 1)) + 1) - w.sum()
    p = Problem(
        list(units),
        ["relu"] * (len(units) - 2) + ["identity"],
        "squared_error",
        X,
        integers((n, units[-1])),
        w,
        [integers(shape) for shape in pairwise(units)],
        [integers(m) for m in units[1:]],
        alpha=0.5,
    )
    _assert_exact(p, 2 ** (np.finfo(dtype).nmant - 2))
    p.X, p.y = p.X.astype(dtype), p.y.astype(dtype)
    p.coefs = [W.astype(dtype) for W in p.coefs]
    p.intercepts = [b.astype(dtype) for b in p.intercepts]
    return p


def with_zeros(p, seed=0):
    """The problem with a dense X of empty, sparse and full columns, and some empty rows.

    Columns of a kind lie in runs, rows at random: what the engine leaves out of its products
    differs from tile to tile, from nothing to all.
    """
    rng = np.random.default_rng([seed, *p.X.shape])
    density = []
    while len(density) < p.X.shape[1]:
        density += [rng.choice([0, 0.02, 0.1, 0.3, 1])] * rng.integers(1, 40)
    p.X = p.X * (rng.random(p.X.shape) < density[: p.X.shape[1]])
    p.X[rng.random(p.n) < 0.1] = 0
    return p


def _assert_exact(p, limit):
    """No partial sum of integers in a step on p can reach limit."""
    X = reference.dense_rows(p.X, np.arange(p.n), np.float64)
    passes = reference.forward(X, p.coefs, p.intercepts, p.activations)
    A = [X, *(layer.out for layer in passes)]
    delta = (A[-1] - p.y) * p.sample_weight[:, np.newaxis]
    for i in reversed(range(len(p.coefs))):
        assert (np.abs(A[i]) @ np.abs(p.coefs[i])).max() < limit
        assert (np.abs(A[i]).T @ np.abs(delta)).max() < limit
        assert np.abs(delta).sum(axis=0).max() < limit
        assert (np.abs(delta) @ np.abs(p.coefs[i]).T).max() < limit
        delta = (delta @ p.coefs[i].T) * (A[i] > 0)


# --------------------------------------------------------------------------------------- runs


def predict(core, p, **options):
    structure = {k: v for k, v in p.options.items() if k in ("normalization", "residual")}
    intercepts = [*p.intercepts, *p.running]
    return core.predict(p.X, p.coefs, intercepts, p.activations, **structure | options)


def loss_grad(core, p, *, n_threads=0, **options):
    """Loss and flat gradient at the problem's parameters."""
    net = p.net(core, **options)
    grad = np.full_like(p.params, np.nan)
    loss = net.loss_grad(p.params, grad, p.X, p.y, p.sample_weight, n_threads=n_threads)
    return loss, grad


def train(
    core,
    p,
    optimizer,
    *,
    order=None,
    batch_size=None,
    learning_rate=0.01,
    epochs=1,
    n_threads=0,
    **options,
):
    """Train and return losses (one per epoch), params, state (both lists of arrays) and step."""
    order = np.arange(p.n) if order is None else order
    net = p.net(core, optimizer=optimizer, **options)
    losses = [
        net.train(
            p.X, p.y, p.sample_weight, order, batch_size or p.n, learning_rate, n_threads=n_threads
        )
        for _ in range(epochs)
    ]
    return result(net, p, optimizer, losses)


def result(net, p, optimizer, losses):
    def stored(store, *slot):
        coefs = [np.full_like(W, np.nan) for W in p.coefs]
        vectors = p.intercepts if slot else [*p.intercepts, *p.running]
        intercepts = [np.full_like(b, np.nan) for b in vectors]
        store(*slot, coefs, intercepts)
        return [*coefs, *intercepts]

    n_states = n_slots(optimizer) + (net.average_slot is not None)
    return SimpleNamespace(
        losses=np.array(losses),
        params=stored(net.store_params),
        state=[P for i in range(n_states) for P in stored(net.store_state, i)],
        step=net.step,
    )


def each_array(run):
    """Yield (name, array) of everything in a result of train or loss_grad, or of predict."""
    if isinstance(run, SimpleNamespace):
        yield "losses", run.losses
        for i, P in enumerate(run.params):
            yield f"params[{i}]", P
        for i, P in enumerate(run.state):
            yield f"state[{i}]", P
        yield "step", np.array(run.step)
    elif isinstance(run, tuple):
        yield "loss", np.array(run[0])
        yield "grad", run[1]
    else:
        yield "prediction", run


# --------------------------------------------------------------------------------- comparisons


def assert_same_bits(actual, desired):
    """Two results agree bit for bit; NaN agrees with NaN."""
    for (name, a), (_, d) in zip(each_array(actual), each_array(desired), strict=True):
        np.testing.assert_array_equal(a, d, strict=True, err_msg=name)


def assert_matches(actual, desired, p, *, factor=1):
    """A result on problem p agrees with the reference's.

    float64: 1e-10 relative, with the slack of an array's largest element that cancellation in a
    sum needs. float32: rounding errors of a sum of k terms add up like sqrt(k) epsilons.
    """
    if p.dtype == np.float64:
        rtol, atol = 1e-10, 1e-12
    else:
        rtol = atol = np.finfo(np.float32).eps * (8 + 2 * np.sqrt(p.longest_sum))
    for (name, a), (_, d) in zip(each_array(actual), each_array(desired), strict=True):
        assert a.dtype == d.dtype, name
        scale = np.abs(d).max(initial=0)
        np.testing.assert_allclose(
            a, d, rtol=factor * rtol, atol=factor * atol * scale, err_msg=name
        )
