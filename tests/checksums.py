"""Checksums of fits and predictions over many configurations, to show that a change keeps all bits.

    python tests/checksums.py --out FILE       fit everything, write the checksums
    python tests/checksums.py --compare A B    name what differs between two such files

Only the public estimators are used, so that builds of any two commits can be compared. An entry is
`isa/precision/X/case/what`; `what` is weights, losses, predictions, or "continued": the weights
after a partial_fit on top, in which any change of the optimizer's state shows. Cases of L-BFGS go
through SciPy and BLAS: compare them on one machine only.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import scipy.sparse as sp

warnings.simplefilter("ignore")

PRECISIONS = {
    "float32": (np.float32, "auto"),
    "float64": (np.float64, "auto"),
    "bfloat16": (np.float32, "bfloat16"),
    "narrowed": (np.float64, "float32"),
}
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]
TARGETS = ["value", "values", "count", "binary", "classes", "many classes", "labels"]
SOLVERS = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01},
}
# Hidden layers, features, samples, batch size, kind of y: wide and narrow outputs, no hidden layer,
# fewer rows than threads, mini-batches above a thousand rows, a short last batch.
SHAPES = {
    "tabular": ((100,), 20, 400, 200, "classes"),
    "tall": ((130,), 7, 1500, 1500, "value"),
    "taller": ((40, 20), 9, 2500, 1100, "many classes"),
    "images": ((120,), 784, 150, 150, "many classes"),
    "deep": ((64, 64, 64), 30, 300, 77, "labels"),
    "odd": ((1, 3, 16), 5, 10, 3, "binary"),
    "three rows": ((513,), 700, 3, 3, "values"),
    "linear": ((), 500, 301, 100, "classes"),
    "wide": ((257, 33), 40, 130, 130, "values"),
}
OPTIONS = {
    "plain momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "no momentum": {"solver": "sgd", "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.5,
        "tol": 0.1,
        "n_iter_no_change": 1,
        "max_iter": 20,
    },
    "betas": {"beta_1": 0.0, "beta_2": 0.5, "epsilon": 0.1},
    "no penalty": {"alpha": 0.0},
    "large penalty": {"alpha": 10.0},
    "batches of 1": {"batch_size": 1},
    "batches of 16": {"batch_size": 16},
    "batches of 17": {"batch_size": 17},
    "in order": {"shuffle": False},
    "stops": {"tol": 1.0, "n_iter_no_change": 2, "max_iter": 30},
    "early stopping": {"early_stopping": True, "max_iter": 6},
    "early stopping, sgd": {"early_stopping": True, "max_iter": 6, "solver": "sgd"},
    "warm start": {"warm_start": True},
    "warm start, early stopping": {"warm_start": True, "early_stopping": True},
}


# ------------------------------------------------------------------------------------------- data


def make_X(form, n_samples, n_features, dtype):
    """A random X: dense, dense with many zeros, CSR, or dense with unusual strides."""
    rng = np.random.RandomState(n_samples + n_features)
    X = rng.uniform(-1.5, 1.5, (n_samples, n_features))
    if form in ("zeros", "csr"):
        X *= rng.uniform(size=X.shape) < rng.choice([0.02, 0.2, 1.0], size=n_features)
    X = X.astype(dtype)
    if form == "csr":
        return sp.csr_matrix(X)
    return np.asfortranarray(X)[:, ::-1] if form == "strided" else X


def make_y(kind, n_samples):
    rng = np.random.RandomState(n_samples)
    return {
        "value": rng.normal(size=n_samples),
        "values": rng.normal(size=(n_samples, 3)),
        "count": rng.poisson(1.5, size=n_samples) + 0.0,
        "binary": np.arange(n_samples) % 2,
        "classes": rng.permutation(np.arange(n_samples) % 3),
        "many classes": rng.permutation(np.arange(n_samples) % 19),
        "labels": rng.randint(2, size=(n_samples, 5)),
    }[kind]


def make_weights(n_samples):
    rng = np.random.RandomState(n_samples)
    return rng.uniform(0.1, 2, n_samples) * (np.arange(n_samples) % 4 > 0) + 1e-3


# ------------------------------------------------------------------------------------------ cases


def cases(form):
    """Yield (name, kind of y, samples, features, weighted, parameters)."""
    small = {"hidden_layer_sizes": (33, 17), "batch_size": 20, "max_iter": 2}
    for y, activation, solver in itertools.product(TARGETS, ACTIVATIONS, SOLVERS):
        params = small | SOLVERS[solver] | {"activation": activation}
        yield f"{y} {activation} {solver}", y, 77, 20, False, params
    for name, (hidden, n_features, n_samples, batch_size, y) in SHAPES.items():
        shape = {"hidden_layer_sizes": hidden, "batch_size": batch_size, "max_iter": 2}
        for solver, weighted in (("adam", False), ("sgd", True)):
            for n_jobs in (1, 3):
                params = shape | SOLVERS[solver] | {"n_jobs": n_jobs}
                case = f"{name} {solver} n_jobs={n_jobs}"
                yield case, y, n_samples, n_features, weighted, params
    for (name, options), y in itertools.product(OPTIONS.items(), ("value", "classes")):
        yield f"{y} {name}", y, 77, 20, name.startswith("early"), small | options
    for y, weighted in (("value", False), ("count", True), ("classes", True), ("labels", False)):
        params = small | {"solver": "lbfgs", "max_iter": 5, "activation": "tanh"}
        yield f"{y} lbfgs", y, 600, 20, weighted, params


def run(y_kind, X, y, sample_weight, params):
    """Yield (what, arrays) of one fit and what follows it."""
    import fastmlp

    regression = y_kind in ("value", "values", "count")
    cls = fastmlp.MLPRegressor if regression else fastmlp.MLPClassifier
    loss = {"loss": "poisson"} if y_kind == "count" else {}
    est = cls(random_state=0, **({"n_jobs": 1} | loss | params))
    for _ in range(2 if est.warm_start else 1):
        est.fit(X, y, sample_weight)

    yield "weights", [*est.coefs_, *est.intercepts_]
    histories = ("loss_curve_", "validation_scores_")
    yield "losses", [[est.loss_], *(getattr(est, name, None) or [] for name in histories)]
    predict = est.predict if regression else est.predict_proba
    rows = np.arange(500) % X.shape[0]
    yield "predictions", [predict(X[rows[:n]]) for n in (1, 3, 17, 500)]
    if est.solver != "lbfgs":
        est.set_params(early_stopping=False)
        for n in (X.shape[0], X.shape[0] // 2 + 1):
            est.partial_fit(X[:n], y[:n], None if sample_weight is None else sample_weight[:n])
        yield "continued", [*est.coefs_, *est.intercepts_]


def checksum(arrays):
    digest = hashlib.sha256()
    for a in map(np.ascontiguousarray, arrays):
        digest.update(f"{a.dtype} {a.shape}".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()[:16]


def checksums_of_one_isa(isa):
    """Run every case on the kernel set that FASTMLP_ISA names."""
    result = {}
    for precision, form in itertools.product(PRECISIONS, ("dense", "zeros", "csr", "strided")):
        dtype, asked = PRECISIONS[precision]
        if form == "strided" and precision == "bfloat16":
            continue
        for name, y_kind, n_samples, n_features, weighted, params in cases(form):
            X = make_X(form, n_samples, n_features, dtype)
            w = make_weights(n_samples) if weighted else None
            results = run(y_kind, X, make_y(y_kind, n_samples), w, params | {"precision": asked})
            for what, arrays in results:
                result[f"{isa}/{precision}/{form}/{name}/{what}"] = checksum(arrays)
    return result


def checksums():
    """Run every case on every kernel set of this machine, each in a process of its own."""
    from fastmlp import _core

    result = {}
    for isa in _core.ISAS:
        output = subprocess.run(
            [sys.executable, __file__, "--isa", isa],
            env=os.environ | {"FASTMLP_ISA": isa},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        result |= json.loads(output)
    return result


def compare(a, b):
    """Print what differs; return whether nothing does."""
    changed = [key for key in a if key in b and a[key] != b[key]]
    missing = [key for key in a if key not in b] + [key for key in b if key not in a]
    for title, keys in (("differ", changed), ("in one file only", missing)):
        print(f"{len(keys)} of {len(a)} entries {title}")
        for key in keys[:40]:
            print(f"    {key}")
    return not changed and not missing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="FILE", help="write here; default: standard output")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="compare two files")
    parser.add_argument("--isa", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.compare:
        both = []
        for name in args.compare:
            with open(name) as file:
                both.append(json.load(file))
        sys.exit(not compare(*both))
    result = checksums_of_one_isa(args.isa) if args.isa else checksums()
    with open(args.out, "w") if args.out else sys.stdout as file:
        json.dump(result, file, indent=0, sort_keys=True)


if __name__ == "__main__":
    main()
