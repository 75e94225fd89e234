"""One peer in a process of its own, so that no two thread pools share one.

``Worker`` starts ``python -m bench.worker`` with the thread count in its environment and, on
Linux, in its affinity mask. Requests and answers are lines of JSON. Between requests a worker is
stopped: the idle threads of a library spin on after its work (OpenBLAS's for 100 ms, those of ONNX
Runtime for 50), and would be in the way of whoever is timed next.
"""

import copy
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import threadpoolctl

from .clock import Stopwatch
from .peers import PEERS
from .shapes import SHAPES, Data, load

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SPINNING = 0.2  # seconds; waited for where processes cannot be stopped


class PeerError(RuntimeError):
    """The peer failed; the message is the last line of its traceback."""


class Worker:
    """A peer's process. ``call(task, **arguments)`` runs a method of ``_Tasks`` in it."""

    def __init__(self, peer, threads):
        env = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | dict(PEERS[peer].env)
        self.peer = peer
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", peer, str(threads)],
            env=env,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def call(self, task, /, **arguments):
        self._signal("SIGCONT")
        try:
            self.process.stdin.write(json.dumps([task, arguments]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"the process of {self.peer} ended ({self.process.wait()})")
        self._signal("SIGSTOP")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["result"]

    def _signal(self, name):
        if hasattr(signal, name):
            self.process.send_signal(getattr(signal, name))
        elif name == "SIGSTOP":
            time.sleep(SPINNING)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._signal("SIGCONT")
        self.process.stdin.close()
        self.process.wait()


class _Tasks:
    """What a worker can be asked for; its state between requests."""

    def __init__(self, peer, threads):
        self.peer, self.threads = PEERS[peer], threads

    def load(self, shape, changes, folder=None):
        """Make the peer for a shape with some fields changed; returns what the data is.

        With a folder, the data is its X.npy, memory-mapped, and its y.npy.
        """
        self.shape = replace(SHAPES[shape], **changes)
        if folder:
            X = np.load(Path(folder, "X.npy"), mmap_mode="r")[: self.shape.n_rows]
            self.data = Data(X, np.load(Path(folder, "y.npy"))[: self.shape.n_rows], "synthetic")
        else:
            self.data = load(self.shape, self.peer.dtype)
        self.model = self.peer.make(self.shape, self.data, self.threads, **self.peer.options)
        return self.data.source

    def fit(self):
        """Seconds and loss of one whole fit."""
        with Stopwatch() as watch:
            loss = self.model.fit()
        return watch.times() | {"loss": loss}

    def prepare_predict(self, n_rows):
        """Fit once and take the rows to predict from the data, again and again if it is short."""
        self.predict_ = self.model.predictor()
        self.X = self.data.X[np.arange(n_rows) % len(self.data.X)]
        self.predict_(self.X)

    def predict(self, min_seconds):
        """Seconds of one call, the mean of as many as fill min_seconds."""
        predict, X, n_calls = self.predict_, self.X, 0
        with Stopwatch() as watch:
            while not n_calls or watch.elapsed() < min_seconds:
                predict(X)
                n_calls += 1
        return watch.times(n_calls)

    def prepare_many(self, backend):
        """Start joblib's workers; each makes one fit."""
        # Or processes would inherit this one's THREAD_VARIABLES, and each fit have a team.
        limit = {"inner_max_num_threads": 1} if backend == "loky" else {}
        with joblib.parallel_config(backend, **limit):
            self.parallel = joblib.Parallel(n_jobs=self.threads, batch_size=1)
        self.parallel.__enter__()
        self.many(2 * self.threads)

    def many(self, n_fits):
        """Seconds of one of so many fits side by side, each in one thread."""
        with threadpoolctl.threadpool_limits(1), Stopwatch() as watch:
            self.parallel(joblib.delayed(_fit)(self.model) for _ in range(n_fits))
        return watch.times(n_fits)

    def memory(self, shape, changes, task):
        """Megabytes that a fit or a prediction of all rows takes above the data, at its peak."""
        n_rows = {"n_rows": 2 * SHAPES[shape].batch_size}
        self.load(shape, changes | n_rows)
        if task == "predict":
            predict = self.model.predictor()
            predict(self.data.X)
        else:
            self.model.fit()
        self.load(shape, changes)  # only now the data; the libraries are warm
        with _PeakMemory() as peak:
            predict(self.data.X) if task == "predict" else self.model.fit()
        return {"megabytes": peak.megabytes}


def _fit(model):
    return copy.copy(model).fit()


class _PeakMemory:
    """How far the resident set rose in a block above what it was before; Linux only."""

    def __enter__(self):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # or freed memory would hide what is taken next
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        self.before = self._status("VmRSS")
        return self

    def __exit__(self, *exc):
        self.megabytes = (self._status("VmHWM") - self.before) / 1024

    @staticmethod
    def _status(field):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main(peer, threads):
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a peer prints is no answer
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    tasks = _Tasks(peer, threads)
    for line in sys.stdin:
        task, arguments = json.loads(line)
        try:
            answer = {"result": getattr(tasks, task)(**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc().strip().splitlines()[-1]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
