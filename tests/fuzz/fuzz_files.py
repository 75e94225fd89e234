"""Search for model files that break `load_model`, by Atheris: `make fuzz-files`.

The seeds are files of every kind of estimator. What makes inputs of them knows the format: it
changes the trees of JSON, the arrays or single bytes, and makes the checksum right. A file is
refused by a ValueError, or it is a model that predicts and trains, within a gigabyte of memory:
Atheris reports every other exception, crashes, and inputs that take seconds.

    python tests/fuzz/fuzz_files.py build/fuzz/files -runs=1000000
"""

import contextlib
import copy
import json
import os
import random
import resource
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import numpy as np

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

with atheris.instrument_imports(include=["fastmlp"]):
    from fastmlp import load_model

import test_files  # noqa: E402
from test_files import classifier, put_together, regressor, sealed, taken_apart  # noqa: E402

from fastmlp.callbacks import Callback, Checkpoint  # noqa: E402

MEMORY = 2**30  # beyond what the imports take
ROWS = np.linspace(-1, 1, 40)

# Where a change of a number, a string or a structure is likely to matter.
VALUES = [0, 1, -1, 2, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, True, None, "", "a", [], {}]
VALUES += [{"float": name} for name in ("inf", "-inf", "nan")]
VALUES += [{"tensor": "coefs_.0"}, {"floats": "coefs_.0"}, {"tuple": [1]}, {"dict": [["a", 1]]}]
VALUES += [{"strings": ["U", ["a", "b"]]}, {"strings": ["O", []]}, {"scalar": ["float32", 1.0]}]
VALUES += [{"scalar": ["bool", 1]}, {"object": ["solver", "sgd", {}]}, [[1], [2, [3]]]]


# ----------------------------------------------------------------------------------------- seeds
class Interrupt(Callback):
    """Ends a fit in a way that leaves its checkpoint."""

    def on_epoch_end(self, state):
        raise KeyboardInterrupt


def write_seeds(folder):
    """Write a file of every estimator of the tests, of one that goes on, and of a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in test_files.ESTIMATORS.items():
        make().save_model(folder / name.replace(" ", "_"))
    for solver in ("adam", "sgd", "lion"):
        est = classifier(solver=solver, weight_averaging=0.9, learning_rate="cosine")
        est.partial_fit(test_files.X, test_files.y).save_model(folder / f"partial_{solver}")
    with contextlib.suppress(KeyboardInterrupt):
        model = test_files.MLPRegressor(**test_files.SMALL)
        checkpoint = Checkpoint(folder / "checkpoint")
        model.set_callbacks(checkpoint, Interrupt()).fit(test_files.X, test_files.z)
    regressor(early_stopping=True, warm_start=True).save_model(folder / "warm")


# -------------------------------------------------------------------------------------- mutation
def places(tree):
    """Return every (container, key) of a tree of JSON."""
    found, left = [], [tree]
    while left:
        container = left.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                left.append(container[key])
    return found


def change_tree(tree, generator):
    """Change one place of a tree."""
    found = places(tree)
    container, key = generator.choice(found)
    what = generator.randrange(7)
    if what == 0:
        del container[key]
    elif what == 1:
        container[key] = copy.deepcopy(generator.choice(VALUES))
    elif what == 2:
        other, place = generator.choice(found)
        container[key] = copy.deepcopy(other[place])
    elif what == 3:
        container[key] = changed_leaf(container[key], generator)
    elif what == 4 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif what == 5 and isinstance(container, dict):
        _, name = generator.choice(found)
        container[str(name)] = copy.deepcopy(container[key])
    else:
        other, place = generator.choice(found)
        container[key], other[place] = copy.deepcopy((other[place], container[key]))


def changed_leaf(value, generator):
    """Return a value near another one."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return generator.choice((value + 1, value - 1, -value, value * 2, float(value), str(value)))
    if isinstance(value, str):
        return atheris.Mutate(value.encode(), len(value.encode()) + 8).decode(errors="replace")
    return [value]


def mutate(content, max_size, seed):
    """Return a file that is like another one, its checksum right more often than not."""
    generator = random.Random(seed)
    try:
        header, model, data = taken_apart(content)
    except (ValueError, LookupError, TypeError, RecursionError):
        return sealed(atheris.Mutate(content[:-32], max(1, max_size - 32)))
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        what = generator.randrange(10)
        # A subtree may have become one of itself, or the tree have lost all.
        with contextlib.suppress(IndexError, OverflowError, ValueError):
            if what < 6:
                change_tree(model, generator)
            elif what < 8:
                change_tree(header, generator)
            elif what == 8 and data:
                data = atheris.Mutate(data, len(data))
            else:
                return sealed(atheris.Mutate(content[:-32], max(1, max_size - 32)))
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["model"] = json.dumps(model)
    return put_together(header, data)[:max_size]


# ---------------------------------------------------------------------------------------- target
def use(est):
    """Predict, train and save: a model that was loaded is fit for all of it, or says why not."""
    X = np.resize(ROWS, (6, est.n_features_in_))
    widths = [len(b) for b in est.intercepts_[:-1]]
    est.set_params(hidden_layer_sizes=widths, n_jobs=1, verbose=False)
    repr(est)
    est.predict(X)
    # Not every solver, label and weight of a class can.
    with contextlib.suppress(ValueError, AttributeError, ZeroDivisionError):
        est.partial_fit(X, np.resize(getattr(est, "classes_", ROWS), 6))


def target(path):
    """Return the function that is given the inputs."""

    def load(content):
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                est = load_model(path)
        except ValueError as error:
            if "cannot be loaded" not in str(error):
                raise
            return
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            use(est)

    return load


def bound_memory():
    """Let allocations of gigabytes fail: they come out as MemoryError."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, resource.RLIM_INFINITY))


def main():
    write_seeds(Path(sys.argv[1]))
    bound_memory()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "model"
        atheris.Setup(sys.argv, target(path), custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
