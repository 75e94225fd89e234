"""A result is one result: the same bits for every number of threads and every FMA kernel set."""

import threading
from itertools import cycle, product

import numpy as np
import problems
import pytest
import scipy.sparse as sp
from problems import assert_same_bits

from fastmlp import MLPClassifier, _core

FMA_ISAS = [isa for isa in _core.ISAS if isa != "generic"]

# Enough work for several threads; tall, wide, narrow; fewer rows than threads.
SHAPES = {
    "tabular": ([20, 100, 2], 400),
    "tall": ([7, 130, 1], 1500),
    "images": ([784, 120, 10], 150),
    "deep": ([30, 64, 64, 64, 5], 300),
    "wide output": ([40, 50, 257], 130),
    "three rows": ([700, 513, 9], 3),
    "no hidden layer": ([500, 33], 301),
}


def everything(p, isa, n_threads, **options):
    """All that the engine computes on a problem."""
    how = {"isa": isa, "n_threads": n_threads}
    rng = np.random.default_rng(0)
    order = rng.permutation(p.n)
    return [
        problems.predict(_core, p, **how),
        problems.loss_grad(_core, p, **how),
        problems.loss_grad(_core, p, max_rows=100, **how),
        *(
            problems.train(_core, p, optimizer, order=order, batch_size=size, epochs=2, **how)
            for optimizer, size in zip(_core.OPTIMIZERS, cycle((-(-p.n // 2), p.n)), strict=False)
        ),
        problems.train(_core, p, "adam", order=order, max_grad_norm=0.01, averaging=0.9, **how),
    ]


def assert_all_same_bits(actual, desired):
    for a, d in zip(actual, desired, strict=True):
        assert_same_bits(a, d)


@pytest.mark.parametrize("shape", SHAPES)
def test_threads(shape, dtype, isa):
    units, n = SHAPES[shape]
    p = problems.make(units, n, dtype, hidden="relu", loss="log_loss", weighted=True)
    p.sample_weight += 0.01
    single = everything(p, isa, 1)
    for n_threads in (2, 3, 4, 7):
        assert_all_same_bits(everything(p, isa, n_threads), single)


@pytest.mark.parametrize("shape", ["images", "wide output", "no hidden layer"])
def test_threads_on_mostly_zero_X(shape, dtype, isa):
    """What a thread leaves out of its products depends on the rows it has; the results do not."""
    units, n = SHAPES[shape]
    p = problems.with_zeros(problems.make(units, n, dtype, hidden="relu", loss="log_loss"))
    single = everything(p, isa, 1)
    for n_threads in (2, 3, 7):
        assert_all_same_bits(everything(p, isa, n_threads), single)


@pytest.mark.parametrize("density", [0.01, 0.3])
def test_threads_on_csr(density, dtype, isa):
    p = problems.make([900, 100, 10], 300, dtype, loss="log_loss", labels=True, density=density)
    single = everything(p, isa, 1)
    for n_threads in (2, 3, 4, 7):
        assert_all_same_bits(everything(p, isa, n_threads), single)


@pytest.mark.parametrize(
    ("hidden", "loss"), problems.covering(problems.HIDDEN, problems.LOSSES), ids=str
)
def test_threads_on_every_row_of_the_tables(hidden, loss, dtype, isa):
    p = problems.make([50, 96, 65, 12], 260, dtype, hidden=hidden, loss=loss, weighted=True)
    p.sample_weight += 0.01
    assert_all_same_bits(everything(p, isa, 3), everything(p, isa, 1))


# Of what makes each thread update a copy of the weights: few weights, work and rows for 8 threads.
REPLICATED = {
    "plain": {},
    "dropout": {"dropout": [0.3, 0.0], "input_dropout": 0.1},
    "average": {"averaging": 0.9},
    "residual": {"residual": True},
    "bfloat16": {"bfloat16": True},
}


def replicated(dtype, variant, n=525, weighted=True):
    p = problems.make([20, 64, 64, 3], n, dtype, hidden="relu", loss="log_loss", weighted=weighted)
    if variant == "residual":
        p = problems.with_structure(p, residual=True)
    return p.but(options=p.options | REPLICATED[variant])


def steps_on(p, optimizer, threads, isa):
    """Parameters after each of some calls: of 512 rows, then of fewer than there are threads."""
    net = p.net(_core, optimizer=optimizer, isa=isa, max_rows=512)
    order, after = np.random.default_rng(1).permutation(p.n), []
    for i, n_threads in enumerate(threads):
        if i == 4:
            net.load_params(p.coefs, [*p.intercepts, *p.running])
        loss = net.train(p.X, p.y, p.sample_weight, order, 512, 0.01, n_threads=n_threads)
        after.append(problems.result(net, p, optimizer, [loss]))
    return after


@pytest.mark.parametrize("variant", REPLICATED)
def test_threads_that_change_from_call_to_call(variant, dtype, isa):
    """Copies of weights and state that some threads have are renewed when they are out of date."""
    if variant == "bfloat16" and dtype == "float64":
        pytest.skip("operands of float32")
    for n, optimizer in [(512 + 3, "adam"), (2 * 512 + 1, "sgd")]:
        p = replicated(dtype, variant, n, weighted=n % 2)
        single = steps_on(p, optimizer, [1] * 8, isa)
        assert_all_same_bits(steps_on(p, optimizer, [8, 2, 1, 3, 2, 4, 5, 7], isa), single)


@pytest.mark.parametrize("optimizer", _core.OPTIMIZERS)
def test_threads_with_copies_of_every_state(optimizer, dtype, isa):
    p = replicated(dtype, "plain")
    assert_all_same_bits(steps_on(p, optimizer, [4, 2], isa), steps_on(p, optimizer, [1, 1], isa))


def test_more_threads_than_anyone_has(dtype):
    p = problems.make([64, 200, 10], 300, dtype, loss="log_loss")
    assert_all_same_bits(everything(p, None, 64), everything(p, None, 1))


@pytest.mark.skipif(len(FMA_ISAS) < 2, reason="this machine runs only one FMA kernel set")
def test_fma_isas(dtype):
    shapes = [
        ([20, 100, 2], 200, None),
        ([33, 65, 17, 9], 77, None),
        ([5, 1, 3, 16], 10, None),
        ([300, 31, 10], 50, 0.1),
        ([150, 80, 3], 60, "zeros"),
    ]
    rows = problems.covering(problems.HIDDEN, problems.LOSSES)
    for (hidden, loss), (units, n, density) in product(rows, shapes):
        dense = density == "zeros"
        p = problems.make(
            units, n, dtype, hidden=hidden, loss=loss, density=None if dense else density
        )
        if dense:
            p = problems.with_zeros(p)
        first = everything(p, FMA_ISAS[0], 2)
        for isa in FMA_ISAS[1:]:
            assert_all_same_bits(everything(p, isa, 2), first)


def until_divergence(p, optimizer, learning_rate, isa, n_threads):
    """Parameters after each mini-batch while all are finite, and how many are made in all."""
    net = p.net(_core, optimizer=optimizer, isa=isa)
    finite = []
    for step in range(60):
        net.train(p.X, p.y, None, np.arange(p.n), p.n, learning_rate, n_threads=n_threads)
        params = problems.result(net, p, optimizer, []).params
        if all(np.isfinite(P).all() for P in params):
            assert len(finite) == step, "a parameter has become finite again"
            finite.append(np.concatenate([P.ravel() for P in params]))
    return finite


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_divergence(optimizer, sparse, dtype):
    """Zeros in X are left out of products, but the first infinity comes in the same mini-batch."""
    p = problems.with_zeros(problems.make([200, 120, 90, 10], 300, dtype, hidden="relu"))
    learning_rate = 0.03
    if optimizer == "sgd":
        p.y *= np.finfo(dtype).max ** 0.2
    else:
        learning_rate = float(np.finfo(dtype).max) ** 0.26
    if sparse:
        p.X = sp.csr_array(p.X)
    first = until_divergence(p, optimizer, learning_rate, FMA_ISAS[0], 1)
    assert 0 < len(first) < 60
    for isa, n_threads in product(FMA_ISAS, (1, 2, 3, 7)):
        for a, d in zip(
            until_divergence(p, optimizer, learning_rate, isa, n_threads), first, strict=True
        ):
            np.testing.assert_array_equal(a, d)


@pytest.mark.parametrize("learning_rate", [30.0, 1e10])
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_divergence_of_a_fit(precision, learning_rate):
    """It ends alike for any number of threads: in an error, or with the best weights of before."""
    p = problems.with_zeros(
        problems.make([200, 120, 10], 600, np.dtype(np.float32), loss="log_loss")
    )
    y = p.y.argmax(axis=1)
    params = {
        "solver": "sgd",
        "learning_rate_init": learning_rate,
        "precision": precision,
        "random_state": 0,
    }
    params |= {"hidden_layer_sizes": (120, 80), "early_stopping": True}
    outcomes = []
    for n_jobs in (1, 2, 3):
        estimator = MLPClassifier(**params, n_jobs=n_jobs)
        try:
            estimator.fit(p.X, y)
            outcomes.append((estimator.n_iter_, estimator.validation_scores_, *estimator.coefs_))
        except ValueError as error:
            outcomes.append((str(error),))
    assert len(outcomes[0]) == (1 if learning_rate > 30 else 5)
    for outcome in outcomes[1:]:
        for a, d in zip(outcome, outcomes[0], strict=True):
            np.testing.assert_array_equal(a, d)


def test_repeated_runs(dtype, isa):
    """Nothing depends on what the memory of a new network held before."""
    p = problems.make([33, 65, 17, 9], 77, dtype, hidden="relu", loss="log_loss")
    first = everything(p, isa, 1)
    for filler in (np.nan, 1e300):
        rubbish = [np.full(1000 * (i + 1), filler) for i in range(100)]
        del rubbish
        assert_all_same_bits(everything(p, isa, 1), first)


def test_concurrent_networks(dtype, isa):
    """Two threads train two networks while two predict: all as if each were alone."""
    p = problems.make([40, 120, 10], 300, dtype, hidden="relu", loss="log_loss")
    q = problems.make([31, 64, 33, 3], 250, dtype, loss="squared_error")
    jobs = [
        lambda: problems.train(_core, p, "adam", batch_size=50, epochs=6, isa=isa),
        lambda: problems.train(_core, q, "sgd", batch_size=32, epochs=6, isa=isa),
        lambda: problems.predict(_core, p, isa=isa),
        lambda: problems.loss_grad(_core, q, isa=isa),
    ]
    alone = [job() for job in jobs]
    start = threading.Barrier(2 * len(jobs))
    failures = []

    def run(job, desired):
        start.wait()
        try:
            for _ in range(5):
                assert_same_bits(job(), desired)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=pair) for pair in 2 * list(zip(jobs, alone, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
