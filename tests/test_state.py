"""What happens around a fit: random stream, warm starts, the solver's state, Ctrl-C, threads,
processes, memory."""

import contextlib
import copy
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.neural_network as original

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, _core
from fastmlp._training import Session, lbfgs, random, random_stream, stochastic
from fastmlp.optimizers import SGD, Adam
from fastmlp.schedules import Constant

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 4, "random_state": 0}
SOLVERS = ["adam", "sgd", "lbfgs"]

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (60, 5))
y = np.arange(60) % 3
z = X[:, 0] - X[:, 1] * X[:, 2]
del rng


def weights(estimator):
    return np.concatenate([a.ravel() for a in estimator.coefs_ + estimator.intercepts_])


def both(procedure):
    """Do it with both packages and compare the numbers it yields."""
    ours, theirs = list(procedure(fastmlp)), list(procedure(original))
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10, err_msg=f"result {i}")


# --------------------------------------------------------------------------------- random stream


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_generator_is_left_where_scikit_learn_leaves_it(solver, early_stopping, weighted):
    def procedure(module):
        generator = np.random.RandomState(7)
        params = {"solver": solver, "early_stopping": early_stopping, "random_state": generator}
        w = np.linspace(1, 2, 60) if weighted else None
        for _ in range(2):
            module.MLPClassifier(**SMALL | params).fit(X, y > 0, w)
            yield generator.get_state()[1]
            yield generator.get_state()[2]

    both(procedure)


def test_global_generator():
    def procedure(module):
        np.random.seed(5)  # noqa: NPY002
        yield weights(module.MLPRegressor(**SMALL | {"random_state": None}).fit(X, z))
        yield np.random.get_state()[1]  # noqa: NPY002

    both(procedure)


def test_an_int_starts_the_stream_anew():
    estimator = MLPRegressor(**SMALL, warm_start=True)
    first = weights(estimator.fit(X, z)).copy()
    MLPRegressor(**SMALL | {"random_state": 5}).fit(X, z)
    np.testing.assert_array_equal(weights(MLPRegressor(**SMALL).fit(X, z)), first)
    # The generator behind it is kept: a fit inside a fit must not share it.
    with random_stream(3) as outer:
        MLPRegressor(**SMALL).fit(X, z)
        drawn = outer.uniform(size=4)
    np.testing.assert_array_equal(drawn, np.random.RandomState(3).uniform(size=4))


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64, np.random.SFC64])
def test_shuffles_as_numpy_does(bits):
    for n in (0, 1, 2, 3, 5, 64, 65, 150, 1025, 70_000):
        ours, numpys = (np.random.RandomState(bits(n)) for _ in range(2))
        order, expected = np.arange(n), np.arange(n)
        shuffle = random.shuffler(ours, order)
        for _ in range(3):
            shuffle()
            numpys.shuffle(expected)
            np.testing.assert_array_equal(order, expected)
        assert ours.randint(2**31) == numpys.randint(2**31)
    for wrong in (np.arange(6.0), np.arange(6, dtype=np.int32), np.arange(6)[::2], [1, 2], None):
        with pytest.raises((TypeError, ValueError, BufferError)):
            random.shuffler(ours, wrong)
    with pytest.raises(ValueError, match="not initialised"):
        _core.Shuffler.__new__(_core.Shuffler)()


def test_shuffles_without_a_known_bit_generator():
    class Stream:
        def shuffle(self, order):
            order[:] = order[::-1].copy()

    order = np.arange(5)
    random.shuffler(Stream(), order)()
    assert order.tolist() == [4, 3, 2, 1, 0]


def test_shuffling_composes_permutations():
    """Epoch by epoch, seen in the weights of batches of one."""
    both(
        lambda m: [
            weights(m.MLPRegressor(**SMALL | {"max_iter": i, "batch_size": 1}).fit(X[:9], z[:9]))
            for i in (1, 2, 3, 4)
        ]
    )


# ----------------------------------------------------------------------- warm starts, partial_fit

CHANGES = [
    {"alpha": 0.5},
    {"activation": "tanh"},
    {"activation": "logistic", "alpha": 0.0},
    {"batch_size": 7},
    {"shuffle": False},
    # read when the solver's state is made, so that partial_fit does not notice
    {"learning_rate_init": 0.5},
    {"momentum": 0.1, "nesterovs_momentum": False},
    {"beta_1": 0.5, "beta_2": 0.5, "epsilon": 0.1},
    {"learning_rate": "invscaling"},
    {"solver": "sgd"},
    {"solver": "adam"},
    {"tol": 1.0, "n_iter_no_change": 1},
]


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_parameters_changed_on_the_way(solver, change):
    def procedure(module):
        params = SMALL | {"solver": solver, "batch_size": 20, "warm_start": True}
        estimator = module.MLPClassifier(**params)
        estimator.partial_fit(X, y, classes=[0, 1, 2])
        estimator.set_params(**change)
        for n in (60, 25, 1, 60):
            yield (
                weights(estimator.partial_fit(X[:n], np.r_[y[:n], y][:n], classes=[0, 1, 2]))
                if n > 2
                else 0.0
            )
        yield weights(estimator.fit(X, y))
        yield estimator.loss_curve_
        yield estimator.t_

    both(procedure)


def test_the_solver_can_be_steered():
    """_optimizer is private, but its learning rates are what people change between calls."""

    def procedure(module):
        for solver, name in (("sgd", "learning_rate"), ("adam", "learning_rate_init")):
            estimator = module.MLPRegressor(**SMALL | {"solver": solver})
            for rate in (0.1, 0.001, 0.05):
                estimator.partial_fit(X, z)
                setattr(estimator._optimizer, name, rate)
                yield weights(estimator.partial_fit(X, z))
                yield estimator._optimizer.learning_rate

    both(procedure)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_without_its_optimizer_an_estimator_starts_a_new_one(solver):
    def procedure(module):
        estimator = module.MLPRegressor(**SMALL | {"solver": solver}).fit(X, z)
        del estimator._optimizer
        assert not hasattr(estimator, "_optimizer")
        yield weights(estimator.partial_fit(X, z))
        yield estimator._optimizer.learning_rate

    both(procedure)


def test_learning_rate_before_the_first_update():
    for rule in (Adam(), SGD()):
        optimizer = Session(rule, Constant(), 1).optimizer
        assert optimizer.learning_rate == optimizer.rate == 1.0


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_on_batches_of_many_sizes_and_kinds(solver):
    def procedure(module):
        estimator = module.MLPRegressor(**SMALL | {"solver": solver})
        for i, n in enumerate([3, 60, 1, 59, 30]):
            part = X[:n] if i % 2 else sp.csr_matrix(X[:n])
            yield weights(estimator.partial_fit(part, z[:n]))
        estimator.batch_size = 4
        yield weights(estimator.partial_fit(X, z))
        yield weights(estimator.partial_fit(sp.csr_matrix(X), z))

    both(procedure)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_early_stopping_keeps_the_best_of_all_warm_starts(name, solver):
    def procedure(module):
        estimator = getattr(module, name)(
            **SMALL | {"max_iter": 40, "solver": solver, "learning_rate_init": 0.05},
            early_stopping=True,
            warm_start=True,
            n_iter_no_change=3,
            validation_fraction=0.3,
        )
        for rate in (0.05, 0.3, 1e-4, 0.5, 0.05):
            estimator.set_params(learning_rate_init=rate).fit(X, y)
            yield weights(estimator)
            yield estimator.best_validation_score_
            yield estimator.validation_scores_
            yield estimator._no_improvement_count

    both(procedure)


def test_scores_that_are_all_nan_bring_the_initial_weights_back():
    def procedure(module):
        estimator = module.MLPRegressor(
            **SMALL,
            solver="sgd",
            learning_rate_init=1e30,
            early_stopping=True,
            activation="identity",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield weights(estimator.fit(X, z))
        yield estimator.validation_scores_

    both(procedure)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_histories_that_scikit_learn_cannot_continue(name):
    """There other solvers and another early_stopping end in an AttributeError or TypeError."""
    estimator = getattr(fastmlp, name)(
        **SMALL | {"random_state": 1}, warm_start=True, solver="lbfgs"
    )
    assert not hasattr(estimator.fit(X, y), "loss_curve_")
    estimator.set_params(solver="adam").fit(X, y)
    assert len(estimator.loss_curve_) == 4
    assert estimator.best_loss_ == min(estimator.loss_curve_)
    estimator.set_params(early_stopping=True).fit(X, y)
    assert len(estimator.validation_scores_) == 4
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    estimator.set_params(early_stopping=False).partial_fit(X, y)
    assert len(estimator.loss_curve_) == 9
    assert np.isfinite(estimator.best_loss_)
    estimator.set_params(solver="lbfgs").fit(X, y)
    estimator.set_params(warm_start=False).fit(X, y)
    assert not hasattr(estimator, "loss_curve_")
    assert not hasattr(estimator, "_optimizer")


def test_a_fit_from_scratch_forgets_everything():
    for first in ({"early_stopping": True}, {"solver": "sgd"}, {"solver": "lbfgs"}):
        estimator = MLPClassifier(**SMALL | first).fit(X, y)
        estimator.set_params(**MLPClassifier(**SMALL).get_params()).fit(X[:, :3], y > 0)
        fresh = MLPClassifier(**SMALL).fit(X[:, :3], y > 0)
        np.testing.assert_array_equal(weights(estimator), weights(fresh))
        assert estimator.loss_curve_ == fresh.loss_curve_
        assert estimator.validation_scores_ is None
        assert vars(estimator).keys() == vars(fresh).keys()


# ------------------------------------------------------------------------ work handed to C at once


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_short_runs_change_nothing(monkeypatch, form):
    params = SMALL | {"batch_size": 7}
    expected = MLPClassifier(**params).fit(form(X), y)
    monkeypatch.setattr(stochastic, "RUN_FLOPS", 1)
    estimator = MLPClassifier(**params).fit(form(X), y)
    np.testing.assert_array_equal(weights(estimator), weights(expected))
    np.testing.assert_allclose(estimator.loss_curve_, expected.loss_curve_, rtol=1e-14)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize(
    "w",
    [
        None,
        np.linspace(0.5, 2, 60),
        np.r_[np.zeros(25), np.ones(35)],
        np.r_[np.ones(25), np.zeros(35)],
        np.r_[np.ones(10), np.zeros(25), np.ones(25)],
    ],
    ids=["none", "all", "first-zero", "last-zero", "middle-zero"],
)
def test_pieces_for_lbfgs_add_up(monkeypatch, form, w):
    params = SMALL | {"solver": "lbfgs", "alpha": 1.0}
    expected = original.MLPRegressor(**params).fit(form(X), z, w)
    monkeypatch.setattr(lbfgs, "LBFGS_FLOPS", 1)
    for n_rows in (7, 10, 30, 60, 100):
        monkeypatch.setattr(lbfgs, "LBFGS_ROWS", n_rows)
        estimator = MLPRegressor(**params).fit(form(X), z, w)
        np.testing.assert_allclose(weights(estimator), weights(expected), rtol=1e-6, atol=1e-9)
        assert estimator.loss_ == pytest.approx(expected.loss_, rel=1e-9)


# ----------------------------------------------------------------------------------------- Ctrl-C


class Interrupter:
    """Stands for sys.stdout, and presses Ctrl-C when a certain line is printed."""

    def __init__(self, at):
        self.left = at

    def write(self, text):
        if text.strip():
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    def flush(self):
        pass


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_interrupted_at_the_same_place(solver, early_stopping, at):
    def procedure(module):
        estimator = module.MLPClassifier(
            **SMALL | {"solver": solver, "max_iter": 50},
            verbose=True,
            early_stopping=early_stopping,
        )
        with (
            contextlib.redirect_stdout(Interrupter(at)),
            pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"),
        ):
            estimator.fit(X, y)
        yield weights(estimator)
        yield estimator.predict_proba(X)
        yield estimator.loss_curve_
        yield [estimator.n_iter_, estimator.t_, estimator._no_improvement_count]
        yield estimator.validation_scores_ or []
        estimator.set_params(early_stopping=False, verbose=False, warm_start=True)
        if not early_stopping:
            yield weights(estimator.partial_fit(X, y))
            yield weights(estimator.fit(X, y))

    both(procedure)


@pytest.fixture
def ctrl_c_after(monkeypatch):
    """Sends SIGINT while C is at work for the n-th time, and tells what C was given."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    calls, engine = [], _core.Net

    def install(n):
        class Net(engine):
            def call(self, method, *args):
                calls.append(args)
                result = method(self, *args)
                if len(calls) == n:
                    # Now, as Python sees a signal when the main thread is back from C.
                    os.kill(os.getpid(), signal.SIGINT)
                return result

            def train(self, *args):
                return self.call(engine.train, *args)

            def loss_grad(self, *args):
                return self.call(engine.loss_grad, *args)

        monkeypatch.setattr(_core, "Net", Net)
        return calls

    yield install
    signal.signal(signal.SIGINT, handler)


ENDLESS = {"max_iter": 10**9, "tol": 0.0, "n_iter_no_change": np.inf, "random_state": 0}


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_ctrl_c_between_epochs(solver, early_stopping, ctrl_c_after, monkeypatch):
    ctrl_c_after(20)
    estimator = MLPClassifier(solver=solver, early_stopping=early_stopping, **ENDLESS)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        estimator.fit(X, y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 19
    assert estimator.score(X, y) > 0.3
    monkeypatch.undo()
    estimator.set_params(early_stopping=False).partial_fit(X, y)
    pickle.loads(pickle.dumps(estimator)).predict(X)


def test_ctrl_c_within_an_epoch(ctrl_c_after):
    """A long epoch is handed to C in runs, and the batches so far have counted."""
    runs = ctrl_c_after(3)
    data = np.broadcast_to(X[0], (10**6, 5))
    target = np.zeros(len(data))
    estimator = MLPRegressor(hidden_layer_sizes=(500, 100), batch_size=20, **ENDLESS)
    with pytest.warns(UserWarning, match="interrupted by user"):
        estimator.fit(data, target)
    assert estimator.n_iter_ == 0
    assert estimator.loss_curve_ == []
    assert len(runs) == 3
    for _, _, _, order, batch_size, *_ in runs:
        assert len(order) % batch_size == 0
        assert 5e7 < len(order) * 6 * 500 * 100 < 5e8  # operations, fewer than make 0.2 s
    assert estimator._optimizer.t * 20 == 3 * len(order)
    assert np.isfinite(estimator.predict(X)).all()


def test_ctrl_c_during_lbfgs(ctrl_c_after):
    """Is passed on, as by scikit-learn, and leaves usable weights. Loss and gradient of many
    samples are taken in pieces."""
    pieces = ctrl_c_after(3)
    data = np.repeat(X, 200, axis=0)
    estimator = MLPRegressor(hidden_layer_sizes=(1000, 300), solver="lbfgs", **ENDLESS)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(data, data[:, 0])
    assert len(pieces) == 3
    for _, _, part, *_ in pieces:
        assert 1e9 < len(part) * 6 * 1000 * 300 < 8e9
    assert np.isfinite(estimator.predict(X)).all()
    assert estimator.coefs_[0].shape == (5, 1000)


@pytest.fixture
def ctrl_c_in_c(monkeypatch):
    """Sends SIGINT when the engine has begun to work: another thread waits for the GIL."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    interval, main, begun = sys.getswitchinterval(), threading.get_ident(), threading.Lock()

    over = []

    def press():
        with begun:
            sys.setswitchinterval(interval)  # or it may keep the GIL: with a signal pending and
            if not over:  # tracing on, CPython 3.11 does not get beyond a function's first line
                signal.pthread_kill(main, signal.SIGINT)

    begun.acquire()
    thread = threading.Thread(target=press)
    thread.start()
    sys.setswitchinterval(1000)  # nobody gets the GIL until it is released, as the engine does

    def then(function):
        def call(*args, **kwargs):
            if begun.locked():
                begun.release()
            return function(*args, **kwargs)

        return call

    yield then
    sys.setswitchinterval(interval)
    over.append(True)
    then(bool)()  # lets go of a thread that was never called
    thread.join()
    signal.signal(signal.SIGINT, handler)


# Takes seconds, and milliseconds until somebody is asked.
LONG = np.broadcast_to(X[0], (10**6, 5))


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("sparse", [False, True])
def test_ctrl_c_within_a_mini_batch(solver, sparse, ctrl_c_in_c, monkeypatch):
    """It is abandoned before it changes anything."""
    data = sp.csr_array(LONG) if sparse else LONG
    options = {"hidden_layer_sizes": (500, 100), "solver": solver, "batch_size": len(LONG)}
    estimator = MLPRegressor(**options, **ENDLESS)
    states = []

    class Net(_core.Net):
        def load_params(self, coefs, intercepts):
            super().load_params(coefs, intercepts)
            states.append([np.array(a) for a in [*coefs, *intercepts]])

        def train(self, *args):
            return ctrl_c_in_c(super().train)(*args)

    monkeypatch.setattr(_core, "Net", Net)
    with pytest.warns(UserWarning, match="interrupted by user"):
        estimator.fit(data, np.zeros(len(LONG)))
    assert estimator._optimizer.t == estimator.n_iter_ == 0
    assert estimator.loss_curve_ == []
    after = [*estimator.coefs_, *estimator.intercepts_]
    assert all(map(np.array_equal, after, states[0]))
    assert np.isfinite(estimator.predict(X)).all()


def test_ctrl_c_within_a_gradient(ctrl_c_in_c):
    net = _core.Net(
        [5, 500, 100, 1],
        dtype=np.float64,
        activations=["relu", "relu", "identity"],
        loss="squared_error",
    )
    params = np.full(5 * 500 + 500 + 500 * 100 + 100 + 100 + 1, 0.01)
    data, target = LONG.astype(float), np.zeros((len(LONG), 1))
    gradient = np.full_like(params, np.nan)
    with pytest.raises(KeyboardInterrupt):
        ctrl_c_in_c(net.loss_grad)(params, gradient, data, target, None)
    assert np.isnan(gradient).all()
    net.loss_grad(params, gradient, data[:9], target[:9], None)  # not busy


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_within_a_prediction(n_jobs, sparse, ctrl_c_in_c, monkeypatch):
    estimator = MLPRegressor(hidden_layer_sizes=(500, 100), max_iter=1, n_jobs=n_jobs).fit(X, z)
    data = sp.csr_array(LONG) if sparse else np.ascontiguousarray(LONG)
    outputs = np.full((len(LONG), 1), np.nan)
    monkeypatch.setattr(_core, "predict", ctrl_c_in_c(_core.predict))
    with monkeypatch.context() as patch:
        patch.setattr(np, "empty", lambda shape, dtype: outputs)
        with pytest.raises(KeyboardInterrupt):
            estimator.predict(data)
    assert np.isnan(outputs).any()
    assert np.isfinite(estimator.predict(X)).all()


def test_ctrl_c_during_validation_changes_nothing(monkeypatch):
    estimator = MLPRegressor(**SMALL).fit(X, z)
    before, kept = estimator.predict(X), vars(estimator).copy()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(MLPRegressor, "_encode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X[:, :2], z)
    assert vars(estimator) == kept
    np.testing.assert_array_equal(estimator.predict(X), before)


# ---------------------------------------------------------------------------------------- threads


@pytest.fixture(scope="module")
def larger():
    """Data and parameters with which several threads are worth their while."""
    rng = np.random.RandomState(0)
    data = rng.standard_normal((900, 64))
    params = {"hidden_layer_sizes": (160, 130), "batch_size": 300, "max_iter": 3, "random_state": 0}
    return data, (data[:, 0] > 0) + (data[:, 1] > 0) * 1, params


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_n_jobs(larger, solver, dtype):
    data, labels, params = larger
    data = data.astype(dtype)
    expected = None
    for n_jobs in (1, 2, 3, 7, -1, None):
        estimator = MLPClassifier(**params, solver=solver, n_jobs=n_jobs).fit(data, labels)
        found = weights(estimator), estimator.predict_proba(data), estimator.loss_
        expected = expected or found
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_estimators_fitted_in_several_threads(larger):
    data, labels, params = larger

    def fit(seed):
        return weights(MLPClassifier(**params | {"random_state": seed % 3}).fit(data, labels))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(fit, range(12)))
    for seed, result in enumerate(results):
        np.testing.assert_array_equal(result, fit(seed))


def test_one_estimator_predicts_in_several_threads(larger):
    data, labels, params = larger
    estimator = MLPClassifier(**params).fit(data, labels)
    expected = estimator.predict_proba(data)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: estimator.predict_proba(data), range(64)):
            np.testing.assert_array_equal(result, expected)


def test_one_estimator_trained_in_several_threads_does_not_crash(larger):
    """Nothing is promised of its weights."""
    data, labels, params = larger
    estimator = MLPClassifier(**params).fit(data, labels)
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: estimator.partial_fit(data, labels).predict(data), range(24)):
            pass
    assert estimator.predict_proba(data).shape == (900, 3)


# -------------------------------------------------------------------------------------- processes


def fit_elsewhere(args):
    data, labels, params = args
    return weights(MLPClassifier(**params).fit(data, labels))


METHODS = [
    m for m in ("fork", "forkserver", "spawn") if m in multiprocessing.get_all_start_methods()
]


@pytest.mark.parametrize("method", METHODS)
def test_fit_in_a_process_after_a_fit_in_the_parent(larger, method):
    expected = fit_elsewhere(larger)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for result in pool.map(fit_elsewhere, [larger] * 4):
            np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(fit_elsewhere(larger), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_estimator_taken_through_a_fork(larger):
    """An estimator that keeps a net between calls of partial_fit goes on in parent and child."""
    data, labels, params = larger
    estimator = MLPClassifier(**params).partial_fit(data, labels, classes=[0, 1, 2])
    expected = weights(copy.deepcopy(estimator).partial_fit(data, labels))
    child = os.fork()
    if child == 0:
        same = np.array_equal(weights(estimator.partial_fit(data, labels)), expected)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(weights(estimator.partial_fit(data, labels)), expected)


# ----------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("solver", SOLVERS)
def test_data_are_not_kept(solver):
    for method in ("fit", "partial_fit"):
        data, target, w = X.copy(), z.copy(), np.ones(60)
        estimator = MLPRegressor(**SMALL, solver=solver)
        getattr(estimator, method)(data, target, w)
        estimator.predict(data)
        kept = [weakref.ref(data), weakref.ref(target), weakref.ref(w)]
        del data, target, w
        gc.collect()
        assert all(ref() is None for ref in kept)


def test_a_net_is_kept_between_calls_of_partial_fit_only():
    estimator = MLPRegressor(**SMALL).fit(X, z)
    assert estimator._session._open is None
    estimator.partial_fit(X, z)
    net = estimator._session._open.net
    assert estimator.partial_fit(X, z)._session._open.net is net
    assert copy.deepcopy(estimator)._session._open is None
    assert estimator._session._open.net is net
