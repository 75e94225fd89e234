"""Interleaved rounds over the peers' processes, and the statistics of what they took."""

import random
import statistics
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial

from . import latency
from .clock import summary
from .peers import PEERS
from .shapes import SHAPES
from .worker import PeerError, Worker

# A run that took PATIENCE seconds in FEWEST rounds is spared the others.
PATIENCE, FEWEST = 15.0, 3
EACH_TIME = ("seconds", "busy", "others", "apart")


def interleave(runs, rounds, unit=1.0, say=print):
    """{name: callable} -> {name: summary of their seconds in the given unit, and their answer}.

    A callable returns what Stopwatch.times does, of which the means of "busy" and "others" are
    kept, and anything else. Every round runs each once, in an order drawn anew, so that a slow
    minute of the machine hits all of them alike. One that raises PeerError is left out with all its
    rounds, and said so. Slow ones get fewer rounds; the summary says how many.
    Before each run it is measured how far apart the CPUs are (latency.py): "latency" is the median
    in nanoseconds, "cpus" says near, far or both.
    """
    answers, rng = {name: [] for name in runs}, random.Random(0)
    for _ in range(rounds):
        order = [
            name
            for name, given in answers.items()
            if len(given) < FEWEST or sum(a["seconds"] for a in given) < PATIENCE
        ]
        rng.shuffle(order)
        for name in order:
            apart = {"apart": latency.measure()}
            try:
                answers[name].append(runs[name]() | apart)
            except PeerError as error:
                say(f"  {name} left out: {error}")
                del answers[name]
    return {
        name: summary([a["seconds"] for a in given], unit)
        | {"busy": round(statistics.fmean(a["busy"] for a in given), 2)}
        | {"others": round(max(statistics.fmean(a["others"] for a in given), 0.0), 3)}
        | _apart([a["apart"] for a in given if a["apart"] is not None])
        | {key: value for key, value in given[-1].items() if key not in EACH_TIME}
        for name, given in answers.items()
    }


def _apart(nanoseconds):
    if not nanoseconds:
        return {}
    return {"latency": statistics.median(nanoseconds), "cpus": latency.state(nanoseconds)}


class Workers(ExitStack):
    """One process per peer, all with the same number of threads. A context manager."""

    def __init__(self, peers, threads, say=print):
        super().__init__()
        self.threads, self.say = threads, say
        self.workers = {name: self.enter_context(Worker(name, threads)) for name in peers}

    def measure(self, shape, names, rounds, unit, prepare, run, folder=None, **where):
        """Benchmark one shape. prepare(worker) is the warm-up, run(worker) what is timed.

        Returns one record row per peer, headed by the shape's name, ``where`` and the threads.
        ``folder`` is for the data, see the workers' ``load``. A peer that fails is left out of this
        shape, and said so.
        """
        runs, source = {}, None
        for name in names:
            worker = self.workers[name]
            try:
                source = worker.call(
                    "load", shape=shape.name, changes=changes(shape), folder=folder
                )
                prepare(worker)
            except PeerError as error:
                self.say(f"  {name} left out: {error}")
            else:
                runs[name] = partial(run, worker)
        head = {"shape": shape.name, "data": source, **where, "threads": self.threads}
        results = interleave(runs, rounds, unit, self.say)
        rows = [head | {"peer": name} | result for name, result in results.items()]
        for row in rows:
            self.say(f"  {row['peer']:18s} {row['median']:12.1f}")
        return rows


def changes(shape):
    """The fields in which a shape differs from the one of its name in SHAPES."""
    original = asdict(SHAPES[shape.name])
    return {key: value for key, value in asdict(shape).items() if value != original[key]}


def available(names=None, say=print):
    """The peers that can run here, out of those asked for; says which are left out."""
    found = []
    for name in names or PEERS:
        reason = PEERS[name].missing()
        if reason:
            say(f"{name} left out: {reason}")
        else:
            found.append(name)
    return found
