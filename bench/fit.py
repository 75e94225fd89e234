"""Whole ``fit`` calls of every peer on every shape; microseconds per step."""

from .peers import PEERS


def run(workers, shapes, rounds):
    """Returns the record's rows."""
    rows = []
    for shape in shapes:
        names = [name for name in workers.workers if PEERS[name].applies(shape)]
        workers.say(f"fit {shape.name}, {workers.threads} threads")
        rows += workers.measure(
            shape,
            names,
            rounds,
            1e-6 * shape.steps,
            prepare=lambda worker: worker.call("fit"),
            run=lambda worker: worker.call("fit"),
        )
    return rows
