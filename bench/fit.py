"""Whole ``fit`` calls of every peer on every shape; microseconds per step."""

from .peers import PEERS

# A peer whose fit would take longer, at its best pace on the shapes before, is left out. PyTorch's
# bfloat16 on a CPU without instructions for it takes 0.3 ns per operation, minutes for xwide.
LIMIT = 60.0  # seconds
LARGE = 1e8  # operations of a step


def run(workers, shapes, rounds):
    """Returns the record's rows."""
    rows, pace = [], {}  # seconds per operation, of steps that are not mostly overhead
    for shape in shapes:
        workers.say(f"fit {shape.name}, {workers.threads} threads")
        names = [name for name in workers.workers if PEERS[name].applies(shape)]
        for name in names[:]:
            seconds = pace.get(name, 0) * shape.flops() * shape.steps
            if seconds > LIMIT:
                workers.say(f"  {name} left out: a fit would take {seconds:.0f} s")
                names.remove(name)
        new = workers.measure(
            shape,
            names,
            rounds,
            1e-6 * shape.steps,
            prepare=lambda worker: worker.call("fit"),
            run=lambda worker: worker.call("fit"),
        )
        for row in new:
            seconds = 1e-6 * row["median"] / shape.flops()
            if shape.flops() > LARGE:
                pace[row["peer"]] = min(seconds, pace.get(row["peer"], seconds))
        rows += new
    return rows
