"""Where a training step leaves the limit of memory for that of the arithmetic.

The roofline model (Williams, Waterman, Patterson 2009, CACM 52): the work per byte that is moved
bounds the speed, by bandwidth where it is little, by the arithmetic where it is much. A step moves
every weight a fixed number of times, so its work per byte (``Shape.intensity``) grows with the
mini-batch. The network is that of ``wide``, whose weights and optimizer state stay in the last
cache.
"""

import subprocess
import tempfile
from dataclasses import replace
from functools import partial

from .kernels import compile_peak, peak, steps
from .rounds import interleave
from .shapes import SHAPES

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# Bytes that are read again and again: they stay in L2, in the last cache, and in neither.
READ = {"L2": 256 * 1024, "last cache": 8 * 1024**2, "memory": 512 * 1024**2}


def run(rounds, say=print):
    """Returns the record's rows, all of one thread: GFLOPS of steps, GB/s of reading."""
    try:
        from fastmlp import _core
    except ImportError as error:
        say(f"roofline left out: {error}")
        return []
    isa, rows = _core.ISAS[0], []
    with tempfile.TemporaryDirectory() as folder:
        try:
            program = compile_peak(isa, folder)
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"roofline left out: nothing to compare with ({error})")
            return []
        for level, size in READ.items():
            reading = {"read": partial(peak, program, "read", size)}
            row = {"level": level, "bytes": size, "threads": 1}
            row |= interleave(reading, rounds, 1e-6)["read"]
            row["gbps"] = 1e-3 * 1e9 / row["median"]
            rows.append(row)
            say(f"roofline read {level:12s} {row['gbps']:8.1f} GB/s")
        for batch_size in BATCH_SIZES:
            shape = replace(SHAPES["wide"], batch_size=batch_size, n_rows=4096)
            runs = {
                "steps": steps(_core, shape, "f32", isa, 1),
                "peak": partial(peak, program, "f32", 1),
            }
            results = interleave(runs, rounds, 1e-6)
            row = {"shape": shape.name, "isa": isa, "batch_size": batch_size, "threads": 1}
            row |= results["steps"]
            row["gflops"] = 1e-3 * shape.flops() / row["median"]
            row["peak"] = 1e-3 * 1e9 / results["peak"]["median"]
            rows.append(row)
            say(f"roofline {shape.name}, batch {batch_size:5d} {row['gflops']:8.1f} GFLOPS")
    return rows
