"""Time, the CPUs that were busy meanwhile, and what a series of times amounts to."""

import os
import statistics
import time
from pathlib import Path


class Stopwatch:
    """Time of a block, and who used the CPUs meanwhile.

    ``busy`` is the number of CPUs that this process and its children used (threads that spin while
    they wait count), ``others`` the share of all CPUs that other processes took. The latter is
    known on Linux only, and to 10 ms: that of a short block is wrong by as much, even negative, but
    right in the mean. Elsewhere it is 0.
    """

    def __enter__(self):
        self.before, self.start = _cpu_seconds(), time.perf_counter()
        return self

    def elapsed(self):
        return time.perf_counter() - self.start

    def __exit__(self, *exc):
        self.seconds, after = self.elapsed(), _cpu_seconds()
        self.own, self.all = (b - a for a, b in zip(self.before, after, strict=True))

    def times(self, n_calls=1):
        others = (self.all - self.own) / os.cpu_count()
        return {
            "seconds": self.seconds / n_calls,
            "busy": self.own / self.seconds,
            "others": others / self.seconds,
        }


def _cpu_seconds():
    """CPU seconds of this process and its children, and of all processes (stolen ones included)."""
    own = time.process_time() + sum(os.times()[2:4])
    try:
        fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
        own += sum(map(_ticks_of_child, _children())) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return own, own
    user, nice, system, _idle, _iowait, *rest = map(int, fields)
    return own, (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _children():
    """Processes that live, as joblib's workers do; those that have ended are in os.times()."""
    for path in Path("/proc/self/task").glob("*/children"):
        yield from path.read_text().split()


def _ticks_of_child(pid):
    user, system = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def summary(seconds, unit=1.0):
    """Median and quartiles of a list of times, in a unit given in seconds."""
    if len(seconds) < 2:
        quartiles = [seconds[0]] * 3
    else:
        quartiles = statistics.quantiles(seconds, n=4, method="inclusive")
    q1, median, q3 = (q / unit for q in quartiles)
    return {"median": median, "q1": q1, "q3": q3, "rounds": len(seconds)}
