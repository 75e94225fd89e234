"""Time per row of one epoch as the data grows, and as the mini-batch grows.

The network is that of ``tab``. X is memory-mapped from a file, so that the larger sizes show what
happens when data is read from disk (or its cache) as it is used.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from .shapes import SHAPES

PEERS = ("fastmlp f32", "fastmlp f32 chunks", "scikit-learn f32")
N_ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
BATCH_SIZES = (1, 4, 16, 64, 256, 1024, 4096)
# A peer that takes long is spared the sizes whose fit would take more than this many steps.
MAX_STEPS = {"scikit-learn f32": 5_000}
BLOCK = 100_000


def run(workers, rounds, max_rows=N_ROWS[-1]):
    """Returns the record's rows; nanoseconds per row."""
    tab = replace(SHAPES["tab"], epochs=1)
    by_rows = [replace(tab, n_rows=n) for n in N_ROWS if n <= max_rows]
    by_batch = [
        replace(tab, n_rows=min(100_000, 2_000 * size), batch_size=size) for size in BATCH_SIZES
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), tab.units[0], max(shape.n_rows for shape in by_rows + by_batch))
        for sweep, shapes in (("rows", by_rows), ("batch", by_batch)):
            for shape in shapes:
                names = [
                    name
                    for name in PEERS
                    if name in workers.workers and shape.steps <= MAX_STEPS.get(name, shape.steps)
                ]
                workers.say(
                    f"growth, {shape.n_rows:,} rows, batch {shape.batch_size},"
                    f" {workers.threads} threads"
                )
                rows += workers.measure(
                    shape,
                    names,
                    rounds,
                    1e-9 * shape.n_rows,
                    prepare=lambda worker: worker.call("fit"),
                    run=lambda worker: worker.call("fit"),
                    folder=folder,
                    sweep=sweep,
                    n_rows=shape.n_rows,
                    batch_size=shape.batch_size,
                )
    return rows


def _write(folder, n_columns, n_rows):
    """X.npy, float32 and normal, and y.npy, by blocks."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal(n_columns)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n_rows, n_columns))
    y = np.empty(n_rows, np.int64)
    for i in range(0, n_rows, BLOCK):
        X[i : i + BLOCK] = rng.standard_normal(X[i : i + BLOCK].shape, dtype=np.float32)
        y[i : i + BLOCK] = X[i : i + BLOCK] @ w + rng.standard_normal(len(y[i : i + BLOCK])) > 0
    np.save(folder / "y.npy", y)
