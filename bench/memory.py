"""Peak memory of one fit and of one prediction above the data itself; Linux only.

Measured in a fresh process per figure: libraries loaded and warmed up on a few rows, then the data,
then the peak of the resident set while the call runs.
"""

from dataclasses import replace

from .peers import PEERS
from .rounds import changes
from .worker import PeerError, Worker

SHAPES = ("tab", "mnist", "xwide", "sparse")
CHANGES = {"tab": {"n_rows": 1_000_000, "epochs": 1}}


def run(shapes, peers, threads, fits, say=print):
    """Returns the record's rows; megabytes above the data.

    ``fits`` are the rows of the fits measured before, if any: who was left out there is here too.
    """
    rows, fitted = [], {(row["shape"], row["peer"]) for row in fits}
    for shape in shapes:
        if shape.name not in SHAPES:
            continue
        shape = replace(shape, **CHANGES.get(shape.name, {}))
        for name in peers:
            slow = bool(fits) and (shape.name, name) not in fitted
            tasks = [
                ("fit", PEERS[name].applies(shape) and not slow),
                ("predict", PEERS[name].predicts),
            ]
            for task in [task for task, can in tasks if can]:
                with Worker(name, threads) as worker:
                    try:
                        answer = worker.call(
                            "memory", shape=shape.name, changes=changes(shape), task=task
                        )
                    except PeerError as error:
                        say(f"memory {shape.name} {task}: {name} left out: {error}")
                        continue
                row = {"shape": shape.name, "task": task, "threads": threads, "peer": name}
                rows.append(row | answer)
                say(f"memory {shape.name} {task} {name:18s} {answer['megabytes']:8.1f} MB")
    return rows
