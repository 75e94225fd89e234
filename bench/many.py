"""Many small fits, as a grid search makes them: one by one, in joblib's threads, in its processes.

Every fit has one thread, BLAS included. Milliseconds per fit.
"""

from .shapes import SHAPES

PEERS = ("fastmlp f32", "scikit-learn f32")
SHAPE = "tab"
BACKENDS = ("sequential", "threading", "loky")
N_FITS = 8


def run(workers, rounds, n_fits=N_FITS):
    """Returns the record's rows."""
    rows, shape = [], SHAPES[SHAPE]
    names = [name for name in PEERS if name in workers.workers]
    for backend in BACKENDS if workers.threads > 1 else BACKENDS[:1]:
        workers.say(f"{n_fits} fits of {SHAPE}, {backend}, {workers.threads} threads")
        rows += workers.measure(
            shape,
            names,
            rounds,
            1e-3,
            prepare=lambda worker, b=backend: worker.call("prepare_many", backend=b),
            run=lambda worker: worker.call("many", n_fits=n_fits),
            backend=backend,
            n_fits=n_fits,
        )
    return rows
