"""Export to C: compiled with all warnings as errors, and compared."""

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sysconfig

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from samples import few
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, activations, losses, to_c
from fastmlp._layers import layers, with_layers
from fastmlp.activations import ACTIVATIONS

COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"]

X, y, z, labels = few(60, 2)

SMALL = {"hidden_layer_sizes": (7, 5), "max_iter": 4, "random_state": 0}
STRUCTURES = [
    {"normalization": "batch"},
    {"normalization": "layer"},
    {"residual": True},
    {"residual": True, "normalization": ["layer", "batch"], "activation": ["gelu", "celu"]},
    {"residual": True, "hidden_layer_sizes": (5, 5), "activation": "tanh"},
    {"hidden_layer_sizes": ()},
    {"hidden_layer_sizes": (4,), "fit_intercept": False},
    {"hidden_layer_sizes": (4, 3, 2), "precision": "float32"},
]
OBJECTS = [
    [activations.LeakyReLU(0.3), activations.LeakyReLU(0.1)],
    activations.ELU(1.7),
    activations.CELU(0.4),
]
QUANTILES = losses.Quantile((0.1, 0.5, 0.9))


def scaled(est):
    return make_pipeline(StandardScaler(), est)


def cases():
    """Fitted estimators by the name of their C code."""
    pairs = {}
    for activation in [*ACTIVATIONS, *OBJECTS]:
        est = MLPRegressor(**SMALL, activation=activation)
        pairs[f"activation_{len(pairs)}"] = est, z
    for out_activation in ["identity", "relu", "softplus", "exp", "logistic", "tanh"]:
        est = MLPRegressor(**SMALL, out_activation=out_activation)
        pairs[f"out_{out_activation}"] = est, z
    for i, params in enumerate(STRUCTURES):
        pairs[f"structure_{i}"] = MLPClassifier(**SMALL | params), y
    twice = StandardScaler(with_mean=False), MLPRegressor(**SMALL)
    pairs |= {
        "two_classes": (MLPClassifier(**SMALL), y > 0),
        "one_class": (MLPClassifier(**SMALL), np.full(60, 7)),
        "labels": (MLPClassifier(**SMALL), labels),
        "sparse_labels": (MLPClassifier(**SMALL), sp.csr_matrix(labels)),
        "strings": (MLPClassifier(**SMALL), np.array(["a", 'b"\\', "??=\u00e9\n1"])[y]),
        "two_targets": (MLPRegressor(**SMALL), np.stack([z, -z], axis=1)),
        "quantiles": (MLPRegressor(**SMALL, loss=QUANTILES), np.stack([z, -z], axis=1)),
        "scaled": (scaled(MLPClassifier(**SMALL, residual=True)), y),
        "scaled_linear": (scaled(MLPRegressor(**SMALL | {"hidden_layer_sizes": ()})), z),
        "scaled_mean": (make_pipeline(StandardScaler(with_std=False), MLPRegressor(**SMALL)), z),
        "scaled_twice": (make_pipeline(StandardScaler(), "passthrough", *twice), z),
    }
    return {name: est.fit(5 * X + 3, target) for name, (est, target) in pairs.items()}


class Code:
    """Exported networks, each with float32 and with int8 weights, in one shared library."""

    def __init__(self, folder):
        self.folder = folder
        self.estimators = cases()
        self.reports = {}
        for name, est in self.estimators.items():
            for precision in ("float32", "int8"):
                self.reports[name, precision] = to_c(
                    est,
                    folder / f"{name}_{precision}",
                    precision=precision,
                    names=True,
                    X=5 * X + 3,
                )
        files = sorted(str(p) for p in folder.glob("*.c"))
        library = folder / "networks.so"
        subprocess.run(
            [*COMPILER, *FLAGS, "-fPIC", "-shared", *files, "-o", library, "-lm"], check=True
        )
        self.library = ctypes.CDLL(str(library))

    def call(self, function, x, output):
        pointers = [ctypes.c_void_p(x.ctypes.data)]
        if output is not None:
            pointers.append(ctypes.c_void_p(output.ctypes.data))
        return getattr(self.library, function)(*pointers)

    def outputs(self, name, X, width):
        found = np.empty((len(X), width), np.float32)
        for x, row in zip(X, found, strict=True):
            self.call(name, x, row)
        return found


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    return Code(tmp_path_factory.mktemp("c"))


def last(est):
    return est[-1] if hasattr(est, "steps") else est


NAMES = [f"activation_{i}" for i in range(len(ACTIVATIONS) + len(OBJECTS))]
NAMES += [f"out_{name}" for name in ["identity", "relu", "softplus", "exp", "logistic", "tanh"]]
NAMES += [f"structure_{i}" for i in range(len(STRUCTURES))]
NAMES += ["two_classes", "one_class", "labels", "sparse_labels", "strings", "two_targets"]
NAMES += ["quantiles", "scaled", "scaled_linear", "scaled_mean", "scaled_twice"]


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_predictions(name, precision, code):
    est, function = code.estimators[name], f"{name}_{precision}"
    assert set(NAMES) == code.estimators.keys()
    X_ = (5 * X + 3).astype(np.float32)
    report = code.reports[name, precision]
    # float32 sums, and as much as the report says that rounding the weights costs
    tolerance = 2e-5 + (report["largest_difference"] if precision == "int8" else 0)
    assert precision == "int8" or report["largest_difference"] < 2e-5
    if isinstance(last(est), MLPRegressor):
        expected = est.predict(X_).reshape(60, -1)
        found = code.outputs(f"{function}_predict", X_, expected.shape[1])
        scale = 1 + np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
        return
    expected = est.predict_proba(X_)
    found = code.outputs(f"{function}_predict_proba", X_, expected.shape[1])
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    if "labels" in name:
        bits = np.empty((60, 2), np.intc)
        for x, row in zip(X_, bits, strict=True):
            code.call(f"{function}_predict", x, row)
        np.testing.assert_array_equal(bits, found > 0.5)
        return
    positions = [code.call(f"{function}_predict", x, None) for x in X_]
    best = found.argmax(axis=1) if len(last(est).classes_) > 1 else np.zeros(60, int)
    np.testing.assert_array_equal(positions, best)
    agree = np.mean(last(est).classes_[positions] == est.predict(X_))
    assert agree == pytest.approx(report["agreement"])


def test_rounding_to_int8_is_as_small_as_it_says(code):
    """Each weight moves by at most half of its unit's scale, largest weight / 127."""
    text = (code.folder / "structure_7_int8.c").read_text()
    W = code.estimators["structure_7"].coefs_[0]
    numbers = re.search(r"weights_1\[\d+\] = \{(.*?)\}", text, re.S)[1].replace("\n", "")
    scales = re.search(r"scale_of_weights_1\[\d+\] = \{(.*?)\}", text, re.S)[1]
    q = np.array([int(n) for n in numbers.split(",")[:-1]]).reshape(W.shape)
    s = np.array([float(n.strip().rstrip("f")) for n in scales.split(",")[:-1]])
    assert np.abs(q).max() == 127
    assert (np.abs(q * s - W) <= 0.5001 * np.abs(W).max(axis=0) / 127).all()
    assert (
        code.reports["structure_7", "int8"]["n_bytes"]
        < 0.7 * (code.reports["structure_7", "float32"]["n_bytes"])
    )


def test_names(code):
    def strings(name, n):
        return [s.decode() for s in (ctypes.c_char_p * n).in_dll(code.library, name)]

    assert strings("strings_int8_classes", 3) == ["??=\u00e9\n1", "a", 'b"\\']
    assert "strings_int8_features" not in (code.folder / "strings_int8.h").read_text()


def test_feature_names_and_report(tmp_path):
    frame = pd.DataFrame(X, columns=["a", "b b", "c", "d", "e"])
    est = scaled(MLPClassifier(**SMALL)).fit(frame, y)
    report = to_c(est, tmp_path / "my-net.c", precision="int8", names=True, X=frame, y=y)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my-net.c", "my-net.h"]
    source, header = ((tmp_path / f"my-net.{end}").read_text() for end in "ch")
    assert '"b b",' in source
    assert "my_net_features[5]" in header
    assert f"score: {report['score']:.6g}\n" in header
    assert report["score_before"] == est.score(frame, y)
    assert 0 <= report["agreement"] <= 1
    assert header.isascii()
    to_c(est, tmp_path / "my-net")  # replaces them
    assert "b b" not in (tmp_path / "my-net.c").read_text()


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_header_is_for_cpp_too(code):
    header = code.folder / "labels_int8.h"
    subprocess.run(["c++", *FLAGS[2:], "-fsyntax-only", "-x", "c++", header], check=True)


@pytest.mark.parametrize("params", STRUCTURES, ids=str)
def test_layers_are_the_network(params):
    est = MLPClassifier(**SMALL | params).fit(X, y)
    again = with_layers(est, layers(est, np.float64, "test"))
    np.testing.assert_allclose(again.predict_proba(X), est.predict_proba(X), rtol=1e-5)


def test_refusals(tmp_path):
    est = MLPRegressor(**SMALL).fit(X, z)
    path = tmp_path / "net"
    with pytest.raises(NotFittedError):
        to_c(MLPClassifier(), path)
    with pytest.raises(ValueError, match="precision must be 'float32' or 'int8', got 'int4'"):
        to_c(est, path, precision="int4")
    with pytest.raises(ValueError, match="y given without X"):
        to_c(est, path, y=z)
    with pytest.raises(ValueError, match="writes no MinMaxScaler, only StandardScaler"):
        to_c(make_pipeline(MinMaxScaler(), MLPRegressor(**SMALL)).fit(X, z), path)
    with pytest.raises(ValueError, match=r"of fastmlp.*got StandardScaler"):
        to_c(StandardScaler().fit(X), path)
    for a in (est.coefs_[0], est.intercepts_[1]):
        a.flat[0] = np.inf
        with pytest.raises(ValueError, match="finite numbers only"):
            to_c(est, path)
        a.flat[0] = 0
    with pytest.raises(ValueError, match="precision='bfloat16'"):
        to_c(est.set_params(precision="bfloat16"), path)
    assert not list(tmp_path.iterdir())
