"""Data in files that are mapped into memory: read where they are, with the bits of arrays."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import scipy.sparse as sp
from problems import assert_same_bits
from sklearn import config_context

from fastmlp import MLPClassifier, MLPRegressor, load_model
from fastmlp._training import chunks
from fastmlp._training.rows import Rows
from fastmlp.callbacks import Callback, Checkpoint

RNG = np.random.default_rng(0)
X = RNG.standard_normal((900, 6))
W = X @ RNG.standard_normal((6, 3))
LABELS = W.argmax(axis=1)
OPTIONS = {"hidden_layer_sizes": (5,), "max_iter": 3, "batch_size": 50, "random_state": 0}


def mapped(folder, name, a):
    path = folder / f"{name}.npy"
    np.save(path, a)
    return np.load(path, mmap_mode="r")


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 20 rows of float64 and windows of 150."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 20 * 48)
    monkeypatch.setattr(chunks, "WINDOW_BYTES", 150 * 48)


def weights(est):
    return np.concatenate([a.ravel() for a in (*est.coefs_, *est.intercepts_)])


CASES = {
    "plain": {},
    "early stopping": {"early_stopping": True},
    "scorer": {"early_stopping": True, "scoring": "neg_log_loss"},
    "chunks": {"shuffle": "chunks"},
    "chunks, early stopping": {"shuffle": "chunks", "early_stopping": True},
    "chunks, mixup": {"shuffle": "chunks", "mixup": 0.3},
    "chunks, sgd": {"shuffle": "chunks", "solver": "sgd", "n_jobs": 2},
    "lbfgs": {"solver": "lbfgs"},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.parametrize("precision", ["auto", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_has_the_bits_of_arrays(tmp_path, small_chunks, dtype, precision, options):
    if precision == "bfloat16" and options.get("solver") == "lbfgs":
        pytest.skip("too coarse for line searches")
    est = MLPClassifier(precision=precision, **OPTIONS | options)
    labels, weight = LABELS == 1, np.linspace(0.5, 1.5, len(X))
    arrays = X.astype(dtype), labels.astype(np.int64), weight
    files = [mapped(tmp_path, f"a{i}", a) for i, a in enumerate(arrays)]
    expected = weights(est.fit(*arrays))
    assert_same_bits(weights(est.fit(*files)), expected)
    scores = getattr(est, "validation_scores_", None)
    assert_same_bits(est.predict_proba(files[0]), est.predict_proba(arrays[0]))
    assert scores == getattr(est.fit(*arrays), "validation_scores_", None)


@pytest.mark.parametrize("shuffle", [True, "chunks"])
@pytest.mark.parametrize("y", [W[:, 0], W], ids=["one output", "three outputs"])
def test_regressor_and_partial_fit(tmp_path, small_chunks, shuffle, y):
    X_map, y_map = mapped(tmp_path, "X", X), mapped(tmp_path, "y", y)
    pair = [MLPRegressor(shuffle=shuffle, precision="float32", **OPTIONS) for _ in range(2)]
    for _ in range(2):
        pair[0].partial_fit(X, y)
        pair[1].partial_fit(X_map, y_map)
    assert_same_bits(weights(pair[1]), weights(pair[0]))
    assert pair[0].coefs_[0].dtype == np.float32


def test_csr_of_mapped_arrays(tmp_path, small_chunks):
    S = sp.random(400, 30, density=0.2, format="csr", random_state=0)
    parts = [mapped(tmp_path, name, getattr(S, name)) for name in ("data", "indices", "indptr")]
    M = sp.csr_array(tuple(parts), S.shape)
    for shuffle in (True, "chunks"):
        est = MLPClassifier(shuffle=shuffle, **OPTIONS)
        expected = weights(est.fit(S, LABELS[:400]))
        assert_same_bits(weights(est.fit(M, LABELS[:400])), expected)


@pytest.mark.parametrize("labels", [np.int8, np.uint8, np.uint64, np.float64, bool, str, "U300"])
def test_labels_by_the_piece(monkeypatch, labels):
    """Classes and codes do not depend on how many labels are looked at together."""
    y = (LABELS > 0 if labels is bool else LABELS).astype(labels)
    est = MLPClassifier(**OPTIONS)
    expected = weights(est.fit(X, y))
    classes = est.classes_
    monkeypatch.setattr("fastmlp._training.targets.PIECE", 70)
    assert_same_bits(weights(est.fit(X, y)), expected)
    assert est.classes_.dtype == classes.dtype
    np.testing.assert_array_equal(est.classes_, np.unique(y))


def test_numbers_too_large_for_float32_are_refused_by_name(tmp_path):
    big = X.copy()
    big[700, 3] = 1e300
    with pytest.raises(ValueError, match=r"too large for dtype\('float32'\)"):
        MLPRegressor(precision="float32").fit(mapped(tmp_path, "big", big), W[:, 0])
    big[700, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        MLPRegressor(precision="float32").fit(mapped(tmp_path, "nan", big), W[:, 0])
    for shuffle in (True, "chunks"):
        with pytest.raises(ValueError, match="y holds numbers too large for float32"):
            MLPRegressor(precision="float32", shuffle=shuffle).fit(X, 1e300 * W[:, 0])


def test_assumed_finite_is_not_read_before():
    bad = X.copy()
    bad[3, 3] = np.nan
    with config_context(assume_finite=True), pytest.raises(ValueError, match="non-finite param"):
        MLPRegressor(**OPTIONS).fit(bad, W[:, 0])


# ------------------------------------------------------------------------------- chunks


class Fake:
    """A problem that remembers which rows were copied."""

    def __init__(self, n_rows):
        self.X = np.zeros((n_rows, 6))
        self.windows = []

    def part(self, rows):
        self.windows.append(rows)
        return rows


@pytest.mark.parametrize("n_rows", [1, 19, 150, 151, 900, 1007])
@pytest.mark.parametrize("batch_size", [1, 50, 400])
def test_chunks_are_whole_and_rows_seen_once(small_chunks, n_rows, batch_size):
    fake, batch_size = Fake(n_rows), min(batch_size, n_rows)
    rng = np.random.RandomState(0)
    runs = chunks.ChunkShuffle(fake, None, batch_size, rng, lambda rows, order: [rows[order]])
    epochs = [list(runs), list(runs)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(n_rows))
        assert all(len(window) % batch_size == 0 for window in epoch[:-1])
    for window in fake.windows:  # as they are copied: in long pieces that ascend
        pieces = 1 + np.count_nonzero(np.diff(window) != 1)
        assert pieces <= -(-len(window) // 20) + 2
        assert (np.diff(window) > 0).all()
    if n_rows > 150:
        assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


def test_chunks_leave_out_what_is_held_out(small_chunks):
    fake, rows = Fake(900), np.arange(0, 900, 3)
    rng = np.random.RandomState(0)
    runs = chunks.ChunkShuffle(fake, rows, 50, rng, lambda window, order: [window[order]])
    np.testing.assert_array_equal(np.sort(np.concatenate(list(runs))), rows)


def test_chunks_learn_from_sorted_classes(small_chunks):
    """The worst case: a file sorted by class, with windows of a sixth of it."""
    order = np.argsort(LABELS)
    est = MLPClassifier((10,), shuffle="chunks", batch_size=50, max_iter=60, random_state=0)
    assert est.fit(X[order], LABELS[order]).score(X, LABELS) > 0.95


def test_chunks_resume_from_a_checkpoint(tmp_path, small_chunks):
    class Stop(Callback):
        def on_epoch_end(self, state):
            if state.epoch == 2:
                raise KeyboardInterrupt

    path = tmp_path / "fit.safetensors"
    options = OPTIONS | {"shuffle": "chunks", "max_iter": 5, "early_stopping": True}
    expected = weights(MLPClassifier(**options).fit(X, LABELS))
    X_map = mapped(tmp_path, "X", X)
    est = MLPClassifier(**options).set_callbacks(Checkpoint(path), Stop())
    with pytest.warns(UserWarning, match="interrupted"):
        est.fit(X_map, LABELS)
    assert load_model(path).shuffle == "chunks"
    est.set_callbacks(Checkpoint(path)).fit(X_map, LABELS)
    assert_same_bits(weights(est), expected)


def test_shuffle_takes_no_other_name():
    with pytest.raises(ValueError, match=r"'shuffle' parameter .* must be .*'chunks'"):
        MLPClassifier(shuffle="rows").fit(X, LABELS)


def test_rows_of_a_file_come_in_the_order_asked_for(monkeypatch):
    monkeypatch.setattr("fastmlp._training.rows.PIECE_BYTES", 7 * 48)
    seen, rows = [], np.random.default_rng(0).permutation(900)[:100]

    def total(some):
        seen.append(some)
        return some.sum(axis=1)

    np.testing.assert_array_equal(Rows(X, rows).map(total), X[rows].sum(axis=1))
    np.testing.assert_array_equal(np.concatenate(seen), X[np.sort(rows)])


# ------------------------------------------------------------------------------- memory

# The kernel refuses more private memory than the fit may take, the C engine's included.
PROGRAM = """
    import resource, sys, warnings
    import numpy as np
    from fastmlp import MLPClassifier, MLPRegressor
    from fastmlp._training import chunks, rows

    warnings.simplefilter("ignore")
    chunks.CHUNK_BYTES, chunks.WINDOW_BYTES, rows.PIECE_BYTES = 2**17, 2**21, 2**21
    shape, budget = (80_000, 100), 8_000_000
    X, X8, y = (
        np.lib.format.open_memmap(f"{sys.argv[1]}/{dtype}.npy", "w+", dtype, size)
        for dtype, size in (("f4", shape), ("f8", shape), ("i8", shape[:1]))
    )
    y[1::2] = 1

    def run(X, est):
        est.fit(X[:2000], y[:2000]).predict(X[:2000])
        with open("/proc/self/status") as file:
            taken = next(int(line.split()[1]) for line in file if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (1024 * taken + budget, -1))
        est.fit(X, y).predict(X)
        resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))
        est.__dict__.clear()

    half = {"early_stopping": True, "validation_fraction": 0.5}
    common = {"hidden_layer_sizes": 4, "max_iter": 1, "n_jobs": 1}
    for options in (
        {}, {"shuffle": "chunks"}, half, {"precision": "float32"},
        {"precision": "float32", "shuffle": "chunks", **half},
        {"solver": "lbfgs", "precision": "float32"}, {"precision": "float64"},
    ):
        for data in (X, X8):
            run(data, MLPClassifier(**common, **options))
            run(data, MLPRegressor(**common, **options))
    print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of private memory are Linux's")
def test_a_fit_takes_a_fraction_of_its_file(tmp_path):
    code = textwrap.dedent(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr
