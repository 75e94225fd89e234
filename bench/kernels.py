"""The kernels alone: a run of ``Net.train`` steps as a share of the FMA peak.

The peak is that of as many threads, measured in the same rounds by peak.c, compiled on the fly for
the kernel set's vector width. A step too small to be shared runs on one thread whatever is asked
for, which "busy" tells. Only the matrix products count as work (``Shape.flops``): activations,
loss, optimizer and the gathering of rows are time without work, so 100 % is out of reach. The data
is synthetic: zeros in real data would be work that is counted but not done.

A step of ``sparse`` moves memory rather than computing. Its peak is what the bandwidth of a copy
loop of as many threads allows, by ``Shape.intensity``: the roofline at its place.
"""

import platform
import subprocess
import tempfile
from functools import partial
from itertools import pairwise, product

import numpy as np

from .clock import Stopwatch
from .latency import compile_here
from .rounds import interleave
from .shapes import load

SHAPES = ("iris", "tab", "calif", "deep", "mnist", "wide", "xwide", "sparse")
# Compiler flags for the peak of each kernel set. The fallback has no fused multiply-add and is
# measured against the narrowest one of the machine.
PEAK_FLAGS = {"avx512": ("-mavx512f",), "avx2": ("-mavx2", "-mfma"), "neon": ()}
FALLBACK = "avx2" if platform.machine().lower() in ("x86_64", "amd64") else "neon"
TYPES = {"f32": np.float32, "f64": np.float64}
SECONDS = 0.3  # of one timed run, about
RATE = 0.0  # learning rate; weights that move let hidden units die, whose zeros are left out too


def run(shapes, threads, rounds, n_isas=None, say=print):
    """Returns the record's rows; times in microseconds per step, rates in GFLOPS."""
    try:
        from fastmlp import _core
    except ImportError as error:
        say(f"kernels left out: {error}")
        return []

    rows = []
    shapes = [shape for shape in shapes if shape.name in SHAPES]
    with tempfile.TemporaryDirectory() as folder:
        for isa in _core.ISAS[:n_isas]:
            try:
                program = compile_peak(isa, folder)
            except (OSError, subprocess.CalledProcessError) as error:
                say(f"kernels {isa} left out: no FMA peak to compare with ({error})")
                continue
            for shape, dtype, n in product(shapes, ("f32", "f64"), threads):
                runs = {
                    "steps": steps(_core, shape, dtype, isa, n),
                    "peak": partial(peak, program, "copy" if is_sparse(shape) else dtype, n),
                }
                results = interleave(runs, rounds, 1e-6)
                row = {"shape": shape.name, "isa": isa, "dtype": dtype, "threads": n}
                row |= results["steps"]
                row["gflops"] = 1e-3 * shape.flops() / row["median"]
                row["peak"] = 1e-3 * 1e9 / results["peak"]["median"]
                if is_sparse(shape):
                    row["copied"] = row["peak"]  # GB/s
                    row["peak"] *= shape.intensity(np.dtype(TYPES[dtype]).itemsize)
                rows.append(row)
                say(
                    f"kernels {shape.name:6s} {isa:8s} {dtype} {n} threads"
                    f" {row['median']:12.1f} us {row['gflops'] / row['peak']:6.1%} of peak"
                )
    return rows


def is_sparse(shape):
    return shape.density < 1


def compile_peak(isa, folder):
    """Compile peak.c for the vectors of a kernel set; returns the program."""
    return compile_here("peak", folder, *PEAK_FLAGS.get(isa, PEAK_FLAGS[FALLBACK]))


def peak(program, what, number):
    """Seconds of 10^9 floating-point operations of threads, or of as many bytes read or copied."""
    with Stopwatch() as watch:
        out = subprocess.run([program, what, str(number)], capture_output=True, check=True)
    return watch.times() | {"seconds": 1 / float(out.stdout)}


def steps(core, shape, dtype, isa, n_threads):
    """A function that times steps of full mini-batches, warmed up."""
    T = TYPES[dtype]
    data = load(shape, T, synthetic=True)
    sizes = (*shape.units[:-1], shape.n_outputs)
    output, loss = {
        "classes": ("softmax", "log_loss"),
        "binary": ("logistic", "binary_log_loss"),
        "values": ("identity", "squared_error"),
    }[shape.target]
    net = core.Net(
        sizes,
        dtype=T,
        activations=["relu"] * len(shape.hidden) + [output],
        loss=loss,
        optimizer="adam",
        max_rows=shape.batch_size,
        max_nnz=data.X.nnz if is_sparse(shape) else 0,
        isa=isa,
    )
    rng = np.random.default_rng(0)
    weights = [
        rng.standard_normal(size).astype(T) / T(np.sqrt(size[0])) for size in pairwise(sizes)
    ]
    net.load_params(weights, [np.zeros(n, T) for n in sizes[1:]])
    classes = shape.target == "classes"
    y = data.y.astype(np.int32) if classes else data.y.astype(T).reshape(-1, 1)
    whole = len(y) // shape.batch_size * shape.batch_size
    order = rng.permutation(len(y))[:whole].astype(np.int64)

    def epochs(seconds):
        n_epochs = 0
        with Stopwatch() as watch:
            while not n_epochs or watch.elapsed() < seconds:
                net.train(data.X, y, None, order, shape.batch_size, RATE, n_threads)
                n_epochs += 1
        return watch.times(n_epochs * whole // shape.batch_size)

    epochs(0)
    return partial(epochs, SECONDS)
