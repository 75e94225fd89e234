"""``predict_proba`` (``predict`` of a regressor) on many rows and on one; microseconds per call."""

from dataclasses import replace

from .peers import PEERS

SHAPES = ("tab", "mnist", "mnist-z", "wide")
N_ROWS = (20_000, 1)


def run(workers, shapes, rounds):
    """Returns the record's rows."""
    rows = []
    names = [name for name in workers.workers if PEERS[name].predicts]
    for shape in shapes:
        if shape.name not in SHAPES:
            continue
        small = replace(shape, n_rows=min(shape.n_rows, 4 * shape.batch_size), epochs=1)
        for n_rows in N_ROWS:
            workers.say(f"predict {shape.name}, {n_rows} rows, {workers.threads} threads")
            rows += workers.measure(
                small,
                names,
                rounds,
                1e-6,
                prepare=lambda worker, n=n_rows: worker.call("prepare_predict", n_rows=n),
                run=lambda worker: worker.call("predict", min_seconds=0.1),
                n_rows=n_rows,
            )
    return rows
