"""How far apart the CPUs are: nanoseconds that a cache line takes to another one and back.

Threads that share the work of a step hand cache lines to each other. That takes several times
longer where CPUs share no cache, and a virtual machine's may be moved about at any time, so each
round is told in which state it was. latency.c measures, compiled when it is first needed.
"""

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SHARED = 150  # ns; CPUs that share a cache take 40 to 90, others 200 to 400


def compile_here(name, folder, *flags):
    """Compile NAME.c, which stands beside this module, into a folder; returns the program."""
    program = Path(folder, name)
    command = [*os.environ.get("CC", "cc").split(), "-O2", *flags, "-pthread"]
    source = Path(__file__).with_name(name + ".c")
    subprocess.run([*command, source, "-o", program], check=True)
    return program


@cache
def _program():
    folder = tempfile.TemporaryDirectory()
    try:
        return compile_here("latency", folder.name), folder
    except (OSError, subprocess.CalledProcessError):
        return None, folder


def measure():
    """Nanoseconds there and back between two CPUs; None with one CPU or no compiler."""
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    program, _folder = _program() if n_cpus > 1 else (None, None)
    if program is None:
        return None
    return float(subprocess.run([program], capture_output=True, check=True).stdout)


def state(nanoseconds):
    """Of the rounds of a row: "near", "far" or "both"."""
    states = {"near" if ns < SHARED else "far" for ns in nanoseconds}
    return "both" if len(states) > 1 else states.pop()
