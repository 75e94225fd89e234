"""Nothing outside the arrays is touched, and inputs are never written, not even for a moment.

Arrays lie between pages that may not be accessed, so that reading or writing one byte beyond
their end (or before their start) ends the process; those that the engine only reads lie on pages
that may not be written. A failure of these tests is a crash.
"""

import ctypes
import mmap
import resource
import sys

import numpy as np
import problems
import pytest
import reference
import scipy.sparse as sp
from problems import assert_matches, assert_same_bits

from fastmlp import _core

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PROT_NONE = 0
PAGE = mmap.PAGESIZE
CANARY = 0xA5


def protect(memory, start, size, protection):
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if LIBC.mprotect(address + start, size, protection) != 0:
        raise OSError(ctypes.get_errno(), "mprotect failed")


class Guarded:
    """A copy of an array that ends (or begins) exactly at a page that may not be accessed."""

    def __init__(self, values, at_end, *, writable=False):
        values = np.ascontiguousarray(values)
        n_pages = max(1, -(-values.nbytes // PAGE))
        memory = mmap.mmap(-1, (n_pages + 2) * PAGE)
        memory[:] = bytes([CANARY]) * len(memory)
        start = PAGE + (n_pages * PAGE - values.nbytes if at_end else 0)
        inside = np.frombuffer(memory, np.uint8)[PAGE:-PAGE]
        self.array = np.frombuffer(memory, values.dtype, values.size, start).reshape(values.shape)
        self.array[...] = values
        self._unused = inside[: start - PAGE] if at_end else inside[values.nbytes :]
        protect(memory, 0, PAGE, PROT_NONE)
        protect(memory, (n_pages + 1) * PAGE, PAGE, PROT_NONE)
        if not writable:
            protect(memory, PAGE, n_pages * PAGE, mmap.PROT_READ)
            self.array.flags.writeable = False

    def assert_intact(self):
        """The rest of the array's own pages is as it was."""
        assert (self._unused == CANARY).all()


SHAPES = [
    ([1, 1], 1),
    ([1, 1, 1], 2),
    ([3, 5, 2], 4),
    ([7, 8, 9], 13),
    ([16, 16, 16], 16),
    ([17, 33, 10], 31),
    ([65, 7, 1], 17),
    ([2, 129, 3], 5),
    ([97, 31, 100], 14),
    ([300, 17, 3, 7], 33),
]


def guard(p, at_end):
    """The problem with all its arrays guarded and not writable."""

    def g(a):
        return Guarded(a, at_end).array

    if sp.issparse(p.X):
        X = sp.csr_array((g(p.X.data), g(p.X.indices), g(p.X.indptr)), p.X.shape, copy=False)
        assert not X.data.flags.writeable
        assert not X.indices.flags.writeable
        assert not X.indptr.flags.writeable
    else:
        X = g(p.X)
    return p.but(
        X=X,
        y=g(p.y),
        sample_weight=g(p.sample_weight),
        coefs=[g(W) for W in p.coefs],
        intercepts=[g(b) for b in p.intercepts],
    )


def run_all(p, isa, at_end):
    """Every entry of the engine on a guarded problem, with guarded outputs; return the results."""
    order = Guarded(np.random.default_rng(0).permutation(p.n), at_end).array
    predictions = problems.predict(_core, p, isa=isa, check_finite=True)

    params = Guarded(p.params, at_end).array
    grad = Guarded(np.zeros_like(p.params), at_end, writable=True)
    net = p.net(_core, isa=isa, max_rows=13)
    loss = net.loss_grad(params, grad.array, p.X, p.y, p.sample_weight)
    grad.assert_intact()
    results = [predictions, (loss, grad.array.copy())]

    for optimizer in problems.OPTIMIZERS:
        net = p.net(_core, optimizer=optimizer, isa=isa, max_rows=7)
        losses = [net.train(p.X, p.y, p.sample_weight, order, 7, 0.01)]
        outputs = [
            Guarded(np.zeros_like(P), at_end, writable=True) for P in [*p.coefs, *p.intercepts]
        ]
        arrays = [output.array for output in outputs]
        stores = [net.store_params]
        stores += [
            lambda *args, slot=i, net=net: net.store_state(slot, *args)
            for i in range(problems.n_slots(optimizer))
        ]
        for store in stores:
            store(arrays[: len(p.coefs)], arrays[len(p.coefs) :])
            for output in outputs:
                output.assert_intact()
        for i in range(problems.n_slots(optimizer)):
            net.load_state(i, p.coefs, p.intercepts)
        results.append((losses[0], arrays[0].ravel().copy()))
    return results


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@pytest.mark.parametrize("kind", ["dense", "labels", "csr", "csr64"])
def test_guard_pages(kind, at_end, dtype, isa):
    for units, n in SHAPES:
        if kind == "labels" and units[-1] == 1:
            continue
        p = problems.make(
            units,
            n,
            dtype,
            hidden="relu",
            loss="log_loss" if kind == "labels" else "squared_error",
            labels=kind == "labels",
            weighted=True,
            density=0.3 if kind.startswith("csr") else None,
        )
        p.sample_weight += 0.1
        if kind == "csr64":
            p.X.indices, p.X.indptr = p.X.indices.astype(np.int64), p.X.indptr.astype(np.int64)
        if kind.startswith("csr") and p.X.nnz == 0:
            continue
        for actual, desired in zip(
            run_all(guard(p, at_end), isa, at_end), run_all(p, isa, at_end), strict=True
        ):
            assert_same_bits(actual, desired)


@pytest.mark.parametrize("X_dtype", [np.float32, np.float64], ids=["X32", "X64"])
def test_guard_pages_around_other_layouts_of_X(X_dtype, dtype, isa):
    for units, n in SHAPES:
        p = problems.make(units, n, dtype)
        X = p.X.astype(X_dtype)
        expected = problems.predict(_core, p.but(X=X), isa=isa)
        for at_end in (True, False):
            fortran = Guarded(X.T, at_end).array.T
            # Every second element of a guarded array, the last one being its end.
            every_second = Guarded(X.repeat(2, axis=0).repeat(2, axis=1), at_end).array
            last = every_second[1::2, 1::2]
            backwards = Guarded(X[::-1, ::-1], at_end).array[::-1, ::-1]
            for variant in (fortran, last, every_second[::2, ::2], backwards):
                q = p.but(X=variant)
                np.testing.assert_array_equal(problems.predict(_core, q, isa=isa), expected)
                problems.train(_core, q, "sgd", batch_size=5, isa=isa)
                problems.loss_grad(_core, q, isa=isa)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 16, 31])
def test_guard_pages_around_predict(n, dtype, isa):
    """One row, few rows and many take different ways."""
    for units in ([1, 1], [3, 2], [17, 9, 3], [33, 64, 10], [8, 100, 1]):
        p = problems.make(units, n, dtype, loss="log_loss")
        p.sample_weight = np.ones(n)
        for at_end in (True, False):
            actual = problems.predict(_core, guard(p, at_end), isa=isa, check_finite=True)
            assert_matches(actual, problems.predict(reference, p), p)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_inputs_are_unchanged(sparse, dtype, isa):
    """The same without help of the operating system: every byte as before."""
    p = problems.make(
        [20, 33, 4], 60, dtype, hidden="relu", weighted=True, density=0.3 if sparse else None
    )
    inputs = [p.y, p.sample_weight, *p.coefs, *p.intercepts]
    inputs += [p.X.data, p.X.indices, p.X.indptr] if sparse else [p.X]
    order = np.random.default_rng(0).permutation(p.n)
    inputs.append(order)
    before = [a.tobytes() for a in inputs]
    problems.predict(_core, p, isa=isa)
    problems.loss_grad(_core, p, isa=isa)
    for optimizer in problems.OPTIMIZERS:
        problems.train(_core, p, optimizer, order=order, batch_size=16, isa=isa)
    assert [a.tobytes() for a in inputs] == before


def test_networks_give_their_memory_back(dtype):
    def peak():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    p = problems.make([500, 500, 10], 20, dtype)
    problems.train(_core, p, "adam")
    before = peak()
    for _ in range(150):  # some 4 MB each
        problems.train(_core, p, "adam", n_threads=1)
        problems.predict(_core, p, n_threads=1)
    assert peak() - before < 150e6
