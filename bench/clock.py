"""Time, the disturbance by other processes, and what a series of times amounts to."""

import os
import statistics
import time


class Stopwatch:
    """Time of a block, and the share of all CPUs that other processes took meanwhile.

    The share is known on Linux only, to 10 ms; elsewhere it is 0.
    """

    def __enter__(self):
        self.busy, self.start = _busy_elsewhere(), time.perf_counter()
        return self

    def elapsed(self):
        return time.perf_counter() - self.start

    def __exit__(self, *exc):
        self.seconds, self.busy = self.elapsed(), _busy_elsewhere() - self.busy

    def times(self, n_calls=1):
        others = self.busy / self.seconds / os.cpu_count()
        return {"seconds": self.seconds / n_calls, "others": round(max(others, 0.0), 3)}


def _busy_elsewhere():
    """CPU seconds since boot that were not this process's (stolen ones included)."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _iowait, *rest = map(int, file.readline().split()[1:9])
    except OSError:
        return 0.0
    busy = user + nice + system + sum(rest)
    return busy / os.sysconf("SC_CLK_TCK") - sum(os.times()[:2])


def summary(seconds, unit=1.0):
    """Median and quartiles of a list of times, in a unit given in seconds."""
    if len(seconds) < 2:
        quartiles = [seconds[0]] * 3
    else:
        quartiles = statistics.quantiles(seconds, n=4, method="inclusive")
    q1, median, q3 = (q / unit for q in quartiles)
    return {"median": median, "q1": q1, "q3": q3, "rounds": len(seconds)}
