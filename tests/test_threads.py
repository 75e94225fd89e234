"""Threads: how many there are, who says so, what fork does to them, and that they rest.

That results do not depend on their number is checked here for whole fits; test_bits.py does it
for everything that the engine computes, tests/c/test_threads.c takes the pool itself apart.
"""

import contextlib
import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import sysconfig
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import threadpoolctl
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, _core
from fastmlp._threads import effective_n_threads, single_threaded_blas
from fastmlp._training import lbfgs
from fastmlp.activations import ELU
from fastmlp.optimizers import SGD

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
TESTS = Path(__file__).parent
LONGEST_REST = 0.3  # seconds; as long a busy machine may keep training to one thread, and more


def make_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 160)).astype(np.float32)
    return X, rng.integers(5, size=len(X))


def fit(n_jobs=None, **options):
    """An estimator after a fit whose mini-batches are enough work for five threads."""
    est = MLPClassifier(300, max_iter=2, random_state=0, n_jobs=n_jobs).set_params(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return est.fit(*make_data())


def results(est):
    return [*est.coefs_, *est.intercepts_, np.array(est.loss_), est.predict_proba(make_data()[0])]


def same_bits(actual, desired):
    return all(a.tobytes() == d.tobytes() for a, d in zip(actual, desired, strict=True))


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("structure", [{}, {"normalization": "layer", "residual": True}])
def test_few_rows_of_large_layers_have_the_same_bits_on_any_number_of_threads(precision, structure):
    # Three layers large enough to be shared: among two, three and four threads; one that is not.
    X, _ = make_data()
    est = fit(1, hidden_layer_sizes=(850, 300, 460, 40), precision=precision, **structure)
    for n_rows in (1, 2, 3, 4, 7):
        expected = est.set_params(n_jobs=1).predict_proba(X[:n_rows])
        for n_jobs in (2, 3, 4, 9):
            est.set_params(n_jobs=n_jobs)
            for _ in range(20):  # helpers come or do not
                assert same_bits([est.predict_proba(X[:n_rows])], [expected])


def run_python(code, *, cpus=None, **environ):
    """Run code in a new process, with the names of this module; return what it gives to show()."""
    prelude = f"""
import json, os, sys, time
if {cpus!r} is not None:
    os.sched_setaffinity(0, {cpus!r})
from test_threads import *
from test_threads import _core
def show(value):
    print(json.dumps(value))
def count_threads():
    return len(os.listdir("/proc/self/task"))
"""
    path = os.pathsep.join([str(Path(fastmlp.__file__).parents[1]), str(TESTS)])
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    env |= {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", **environ}
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", prelude + code]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


# ---------------------------------------------------------------------------------------- results


@pytest.fixture(scope="module")
def single():
    """Results of fits on one thread."""
    return {solver: results(fit(1, solver=solver)) for solver in ("adam", "sgd", "lbfgs")}


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("n_jobs", [2, 3, 5, -1, None])
def test_fits_do_not_depend_on_threads(n_jobs, solver, single):
    assert same_bits(results(fit(n_jobs, solver=solver)), single[solver])


def test_fits_side_by_side(single):
    """One of them has the pool, the others run alone."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(results(fit(3)))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert all(same_bits(r, single["adam"]) for r in found)


LIVES = [
    (MLPClassifier, {}),
    (MLPClassifier, {"precision": "bfloat16", "dropout": 0.2}),
    (MLPClassifier, {"early_stopping": True, "warm_start": True, "dtype": "f8"}),
    (MLPClassifier, {"solver": "lbfgs", "warm_start": True, "sparse": True}),
    (MLPRegressor, {"solver": SGD(momentum=0.5), "sparse": True}),
    (MLPRegressor, {"activation": ELU(alpha=0.5), "weight_averaging": 0.9, "dtype": "f8"}),
]


def life(cls, options):
    """What comes of one estimator that is fitted, goes on and predicts."""
    options = {"dtype": "f4", "sparse": False, "random_state": 0} | options
    X, y = make_data()
    X = X.astype(options.pop("dtype"))
    X = sp.csr_array(np.maximum(X, 0)) if options.pop("sparse") else X
    est = cls(hidden_layer_sizes=(40, 20), max_iter=3, n_jobs=2).set_params(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(X, y)
        (est.fit if est.warm_start else est.partial_fit)(X, y)
    return [*est.coefs_, *est.intercepts_, est.predict(X), est.predict(X[:3])]


def test_everything_at_once(single):
    """Estimators of their own, and one that all ask: on Pythons without a GIL really at once."""
    shared, X = fit(1), make_data()[0]
    alone = [life(cls, options) for cls, options in LIVES]
    start = threading.Barrier(2 * len(LIVES))

    def run(cls, options):
        start.wait()
        asked = [shared.predict_proba(part) for part in (X, X[:1], X) for _ in range(5)]
        return life(cls, options), asked

    with ThreadPoolExecutor(start.parties) as pool:
        found = list(pool.map(run, *zip(*(2 * LIVES), strict=True)))
    for (lived, asked), expected in zip(found, 2 * alone, strict=True):
        assert same_bits(lived, expected)
        assert same_bits(asked[:5] + asked[10:], 10 * single["adam"][-1:])
        assert same_bits(asked[5:10], 5 * asked[5:6])


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="Python has a GIL")
def test_import_leaves_the_gil_off():
    assert run_python("show(sys._is_gil_enabled())") is False


# ----------------------------------------------------------------------------------------- n_jobs


def test_n_jobs():
    n_cpus = joblib.cpu_count()
    assert effective_n_threads(None) == 0
    assert effective_n_threads(1) == 1
    assert effective_n_threads(7) == 7
    assert effective_n_threads(np.int32(3)) == 3
    assert effective_n_threads(-1) == n_cpus
    assert effective_n_threads(-2) == max(1, n_cpus - 1)
    assert effective_n_threads(-n_cpus) == 1
    assert effective_n_threads(-(10**30)) == 1
    assert type(effective_n_threads(np.int64(-1))) is int


@pytest.mark.parametrize("n_jobs", [1.0, "2", [1], np.float64(2)])
def test_n_jobs_of_another_type(n_jobs):
    with pytest.raises(TypeError, match="n_jobs must be an int or None"):
        effective_n_threads(n_jobs)
    with pytest.raises(ValueError, match="'n_jobs' parameter of MLPClassifier must be"):
        fit(n_jobs)


def test_no_jobs():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        effective_n_threads(0)
    with pytest.raises(ValueError, match="n_jobs == 0"):
        fit(0)
    with pytest.raises(ValueError, match="n_jobs == 0"):
        fit(1).set_params(n_jobs=0).predict(make_data()[0])


def test_more_jobs_than_an_int_holds(single):
    assert same_bits(results(fit(10**30)), single["adam"])


@linux
def test_as_many_threads_as_asked_for():
    found = run_python("""
before = count_threads()
def more_after(work):
    time.sleep(LONGEST_REST)
    work()
    return count_threads() - before
small = MLPClassifier(3, max_iter=2, n_jobs=4)
X, y = make_data()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    found = [more_after(lambda: small.fit(X[:50, :3], y[:50]))]
found += [more_after(lambda: fit(n_jobs)) for n_jobs in (1, 2, 4, 3)]
show(found)
""")
    assert found == [0, 0, 1, 3, 3]


@linux
def test_scratch_is_for_threads_that_there_can_be():
    """Room for 256 threads is 0.7 GB here, for one per block of rows 3.2 GB."""
    assert run_python("""
import resource
model = fastmlp.MLPRegressor(hidden_layer_sizes=2000, max_iter=1)
X = np.linspace(-1, 1, 200_000, dtype=np.float32).reshape(-1, 1)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model.fit(X[:100], X[:100, 0])
expected = model.set_params(n_jobs=1).predict(X)
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * 2**30,) * 2)
show(same_bits([model.set_params(n_jobs=100_000).predict(X)], [expected]))
""")


def where_am_i():
    return effective_n_threads(None), _core.get_num_threads(), results(fit())


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading", "sequential"])
def test_one_thread_in_each_of_joblibs_workers(backend, single, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    n_workers = max(2, joblib.cpu_count())
    workers = joblib.Parallel(n_jobs=n_workers, backend=backend)
    for n_threads, engine_default, found in workers(
        joblib.delayed(where_am_i)() for _ in range(n_workers)
    ):
        assert same_bits(found, single["adam"])
        if backend == "loky":  # which tells its processes how many threads each may use
            assert (n_threads, engine_default) == (0, 1)
        else:
            assert n_threads == (0 if backend == "sequential" else 1)


# ------------------------------------------------------------------------------ the default number


@pytest.mark.parametrize(
    ("value", "n"),
    [("1", 1), (" 1 ,4", 1), ("1,", 1), ("64", 64), ("12, 3", 12), ("999999999", 999999999)]
    + [(v, 0) for v in ("", "0", "-1", "x", "1x", "1 x", ",1", "9" * 20, "9" * 5000, None)],
)
def test_omp_num_threads(value, n, monkeypatch):
    if value is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert _core._omp_num_threads() == n


def test_omp_num_threads_counts_at_import():
    found = run_python(
        """
found = [_core.get_num_threads()]
os.environ["OMP_NUM_THREADS"] = "2"
_core.set_num_threads(5)
found.append(_core.get_num_threads())
_core.set_num_threads(0)
found.append(_core.get_num_threads())
show(found)
""",
        OMP_NUM_THREADS="1",
    )
    assert found == [1, 5, 1]


@linux
def test_affinity():
    cpu = min(os.sched_getaffinity(0))
    code = "show([_core.get_num_threads(), effective_n_threads(-1), effective_n_threads(3)])"
    assert run_python(code, cpus=[cpu]) == [1, 1, 3]


@linux
def test_default_is_kept_until_reset():
    cpus = sorted(os.sched_getaffinity(0))
    found = run_python(f"""
found = [_core.get_num_threads()]
os.sched_setaffinity(0, [{cpus[0]}])
found.append(_core.get_num_threads())
_core.set_num_threads(0)
found.append(_core.get_num_threads())
_core.set_num_threads(5)
found.append(_core.get_num_threads())
show(found)
""")
    assert found == [found[0], found[0], 1, 5]
    assert found[0] <= len(cpus)


# ----------------------------------------------------------------------------------- threadpoolctl


def entry():
    (found,) = [d for d in threadpoolctl.threadpool_info() if d["user_api"] == "fastmlp"]
    return found


@pytest.fixture
def two_threads():
    _core.set_num_threads(2)
    yield
    _core.set_num_threads(0)


def test_threadpoolctl_knows_the_engine(two_threads):
    found = entry()
    assert found["internal_api"] == "fastmlp"
    assert found["num_threads"] == 2
    assert found["version"] == fastmlp.__version__
    assert Path(found["filepath"]).samefile(_core.__file__)


@pytest.mark.parametrize(
    ("options", "n"),
    [
        ({"limits": 1}, 1),
        ({"limits": 3}, 3),
        ({"limits": 1, "user_api": "fastmlp"}, 1),
        ({"limits": {"fastmlp": 1}}, 1),
        ({"limits": 1, "user_api": "blas"}, 2),
        ({"limits": 1, "user_api": "openmp"}, 2),
        ({"limits": None}, 2),
    ],
)
def test_threadpool_limits(options, n, two_threads):
    with threadpoolctl.threadpool_limits(**options):
        assert _core.get_num_threads() == entry()["num_threads"] == n
    assert _core.get_num_threads() == 2


@linux
def test_limit_is_for_those_who_did_not_ask():
    found = run_python("""
before = count_threads()
with threadpoolctl.threadpool_limits(1):
    fit(None)
    found = [count_threads() - before]
    fit(3)
    found.append(count_threads() - before)
show(found)
""")
    assert found == [0, 2]


def blas_threads():
    """Numbers of threads of the BLAS libraries there are: NumPy's and SciPy's."""
    return {d["num_threads"] for d in threadpoolctl.threadpool_info() if d["user_api"] == "blas"}


@pytest.mark.parametrize("fails", [False, True])
def test_lbfgs_keeps_blas_to_one_thread(fails, monkeypatch):
    seen = []

    def loss_grad(self, *args):
        seen.append(blas_threads())
        if fails:
            raise KeyboardInterrupt
        return 0.0

    objective = lbfgs.Objective
    monkeypatch.setattr(objective, "__call__", lambda self, params: (loss_grad(self), 0 * params))
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        with pytest.raises(KeyboardInterrupt) if fails else contextlib.nullcontext():
            fit(solver="lbfgs")
        assert blas_threads() == before
    assert seen[0] <= {1}


def test_of_many_limits_of_blas_the_first_is_lifted_last():
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        first, second = single_threaded_blas(), single_threaded_blas()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)  # threads end in any order
        assert blas_threads() <= {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


# --------------------------------------------------------------------------------- fork and friends


def send_results(connection):
    connection.send([results(fit(3)), results(fit(2))])
    connection.close()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_fit_in_a_child_after_a_fit_in_the_parent(method, single):
    context = multiprocessing.get_context(method)
    fit(3)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=send_results, args=(sender,))
    child.start()
    sender.close()
    assert same_bits(results(fit(3)), single["adam"])  # the parent goes on meanwhile
    assert receiver.poll(120)
    assert all(same_bits(found, single["adam"]) for found in receiver.recv())
    child.join(60)
    assert child.exitcode == 0


FORK_WHILE_BUSY = """
import signal, threading
warnings.simplefilter("ignore", DeprecationWarning) # that others run is the point
expected = results(fit(3))
stop = threading.Event()
def keep_busy():
    while not stop.is_set():
        fit(3)
threads = [threading.Thread(target=keep_busy) for _ in range(2)]
for thread in threads:
    thread.start()
codes = []
for i in range(12):
    time.sleep(0.003 * i)
    pid = os.fork()
    if pid == 0:
        signal.alarm(120) # rather dead than hanging
        ok = same_bits(results(fit(3)), expected)
        os._exit(0 if ok else 1)
    codes.append(os.waitpid(pid, 0)[1])
stop.set()
for thread in threads:
    thread.join()
show(codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_while_another_thread_fits():
    assert run_python(FORK_WHILE_BUSY) == [0] * 12


@linux
def test_no_thread_is_left_when_the_process_forks():
    """Python 3.12 and later warn of a fork beside threads, which is an error in this process."""
    found = run_python("""
before = count_threads()
fit(3)
found = [count_threads() - before]
pid = os.fork()
if pid == 0:
    os._exit(count_threads() - 1)
found.append(os.waitpid(pid, 0)[1])
deadline = time.monotonic() + 60
while count_threads() > before and time.monotonic() < deadline:
    time.sleep(0.001) # a thread that was joined may be listed for a moment
found.append(count_threads() - before)
fit(3)
found.append(count_threads() - before)
show(found)
""")
    assert found == [2, 0, 0, 2]


# ------------------------------------------------------------------------------------------ manners


def test_idle_pool_takes_no_cpu_time():
    found = run_python("""
fit(3)
time.sleep(0.1)
before = time.process_time()
time.sleep(1)
show(time.process_time() - before)
""")
    assert found < 0.05


@linux
def test_workers_block_signals():
    found = run_python("""
def blocked():
    masks = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status") as file:
            (line,) = [line for line in file if line.startswith("SigBlk:")]
        masks[task] = int(line.split()[1], 16)
    return masks
before = blocked()
fit(3)
show([mask for task, mask in blocked().items() if task not in before])
""")
    assert len(found) == 2
    for mask in found:
        for signal in (1, 2, 10, 12, 14, 15, 17):  # HUP INT USR1 USR2 ALRM TERM CHLD
            assert mask >> (signal - 1) & 1
        for signal in (4, 5, 7, 8, 11):  # ILL TRAP BUS FPE SEGV, which faulthandler reports
            assert not mask >> (signal - 1) & 1


@linux
@pytest.mark.skipif(joblib.cpu_count() < 2, reason="one CPU")
def test_workers_run_where_their_leader_may():
    """The first leader has a CPU of its own, the next ones do not."""
    all_cpus, pinned, *found = run_python("""
before = os.listdir("/proc/self/task")
def cpus_of_workers():
    tasks = set(os.listdir("/proc/self/task")) - set(before)
    return [sorted(os.sched_getaffinity(int(task))) for task in tasks]
all_cpus = sorted(os.sched_getaffinity(0))
def lead_from_one_cpu():
    before.append(str(threading.get_native_id()))
    os.sched_setaffinity(0, all_cpus[-1:])
    fit(3)
    found.append(cpus_of_workers())
found = []
thread = threading.Thread(target=lead_from_one_cpu)
thread.start()
thread.join()
time.sleep(LONGEST_REST)
fit(2)
found.append(cpus_of_workers())
os.sched_setaffinity(0, all_cpus[:1])
time.sleep(LONGEST_REST)
fit(3)
found.append(cpus_of_workers())
show([all_cpus, *found])
""")
    assert pinned == [all_cpus[-1:]] * 2
    assert found == [[all_cpus] * 2, [all_cpus[:1]] * 2]


def test_pool_in_c(tmp_path):
    """tests/c/test_threads.c as it is; `make sanitize` runs it under sanitizers."""
    cc = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    source = TESTS / "c" / "test_threads.c"
    flags = ["-O2", "-std=gnu11", "-pthread", "-Wall", "-Wextra", "-Werror"]
    flags.append(f"-I{TESTS.parent / 'src_c'}")
    subprocess.run([*cc, *flags, source, "-o", tmp_path / "test_threads"], check=True)
    result = subprocess.run(
        [tmp_path / "test_threads"], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr


# ----------------------------------------------------------------------------------------- stack

SMALL_STACK = """
import itertools
import scipy.sparse as sp
X, y = make_data()
X *= np.random.default_rng(1).random(X.shape) < 0.2  # zeros, which make lists
def work():
    for dtype, sparse, precision in itertools.product("fd", (False, True), ("auto", "bfloat16")):
        A = sp.csr_array(X.astype(dtype)) if sparse else X.astype(dtype)
        for solver in ("adam", "lbfgs"):
            est = MLPClassifier((150, 120), solver=solver, max_iter=2, precision=precision)
            est.fit(A, y)
            sizes = [len(est.predict_proba(A[:n])) for n in (1, 4, 16, 17, 400)]
    show(sizes)
warnings.simplefilter("ignore")
threading.stack_size(64 * 1024)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("isa", _core.ISAS)
def test_a_stack_of_64_kilobytes(isa):
    """Lists and blocks live in memory that is asked for; tests/c measures the engine's stack."""
    assert run_python(SMALL_STACK, FASTMLP_ISA=isa) == [1, 4, 16, 17, 400]
