"""How many threads: ``n_jobs``, joblib's workers, and threadpoolctl.

Two rules. ``n_jobs=None`` leaves the number to the engine, whose default is the number of CPUs
that the process may use (affinity mask, control group quota, ``OMP_NUM_THREADS``) and which
``threadpoolctl.threadpool_limits`` changes. Any other ``n_jobs`` is what the user asked for and is
limited by nothing. Results do not depend on it either way.
"""

import contextlib
import functools
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from numbers import Integral

import joblib
import threadpoolctl
from joblib.parallel import get_active_backend


class FastmlpController(threadpoolctl.LibController):
    """Makes the engine known to threadpoolctl as ``user_api="fastmlp"``.

    ``threadpool_limits`` without a ``user_api`` reaches every one there is, this one included.
    As with BLAS, the limit is the whole process's.
    """

    user_api = "fastmlp"
    internal_api = "fastmlp"
    # Many packages have a _core; the symbols tell which is ours.
    filename_prefixes = ("_core",)
    check_symbols = ("fm_get_num_threads", "fm_set_num_threads")

    def get_num_threads(self) -> int:
        return self.dynlib.fm_get_num_threads()

    def set_num_threads(self, num_threads: int) -> None:
        self.dynlib.fm_set_num_threads(num_threads)

    def get_version(self) -> str | None:
        # Asked of every library with the right prefix, before its symbols are looked at.
        return getattr(sys.modules.get(__package__), "__version__", None)


threadpoolctl.register(FastmlpController)


def effective_n_threads(n_jobs: int | None) -> int:
    """Translate ``n_jobs`` into the engine's ``n_threads``.

    Parameters
    ----------
    n_jobs : int or None
        None leaves the number to the engine, except within a joblib worker: there it is one,
        unless the worker is a process whose ``OMP_NUM_THREADS`` says how many it may use, as
        joblib's own processes have it. -1 means all CPUs that the process may use, -2 all but
        one, and so on; a positive number means itself.

    Returns
    -------
    n_threads : int
        At least 1, or 0 for the engine's default.
    """
    if type(n_jobs) is int and 0 < n_jobs < 2**31:
        return n_jobs  # the pool has its own limit far below; other types take a while to check
    if n_jobs is None:
        return 1 if _is_one_of_many() else 0
    if not isinstance(n_jobs, Integral):
        raise TypeError(f"n_jobs must be an int or None, got {n_jobs!r} instead.")
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 has no meaning: it must be None, positive or negative.")
    if n_jobs < 0:
        # joblib's count, so that -1 means here what it means everywhere in scikit-learn.
        return max(1, joblib.cpu_count() + 1 + int(n_jobs))
    return min(int(n_jobs), 2**31 - 1)  # a C int


def _is_one_of_many() -> bool:
    """Whether others run beside this thread that would each start a team of their own."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and multiprocessing.parent_process() is None:
        return False  # joblib would say the same, and take longer than a small prediction
    backend, _ = get_active_backend()
    if not backend.nesting_level:
        return False
    # Worker processes run their tasks in the main thread, and joblib tells those that it starts
    # itself by OMP_NUM_THREADS which share of the machine is theirs. The engine heeds it.
    return not (in_main_thread and "OMP_NUM_THREADS" in os.environ)


_limiting = threading.Lock()
_blas_limits = []  # one entry per block below that is being run; the first holds the limit


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep BLAS to one thread, for SciPy's solvers that call the engine between small products.

    Their vectors of some thousand numbers gain nothing from threads, but OpenBLAS's go on spinning
    after each call, on the CPUs that the engine needs next: with them L-BFGS on the digits gained
    nothing from a second thread, without a third of its time. The limit is the whole process's, so
    of several such blocks at once the first to come sets it and the last to go lifts it.
    """
    with _limiting:
        if not _blas_limits:
            _blas_limits.append(_threadpools().limit(limits=1, user_api="blas"))
        else:
            _blas_limits.append(None)
    try:
        yield
    finally:
        with _limiting:
            if len(_blas_limits) > 1:
                _blas_limits.pop()
            else:
                _blas_limits.pop().restore_original_limits()


@functools.cache
def _threadpools() -> threadpoolctl.ThreadpoolController:
    """Find the thread pools of this process, once: it takes as long as a small fit."""
    return threadpoolctl.ThreadpoolController()
