"""fit_batches: passes over batches, equal to a loop of partial_fit."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from problems import assert_same_bits
from sklearn.base import clone

from fastmlp import MLPClassifier, MLPRegressor, load_model
from fastmlp.callbacks import Callback, Checkpoint
from fastmlp.schedules import Cosine

RNG = np.random.default_rng(0)
X = RNG.standard_normal((600, 5))
Z = X @ RNG.standard_normal((5, 2))
LABELS = Z.argmax(axis=1)
WEIGHT = RNG.random(600)
CUTS = [(0, 150), (150, 300), (300, 340), (340, 600)]
OPTIONS = {"hidden_layer_sizes": (6,), "batch_size": 40, "random_state": 0}
CLASSES = [0, 1]


def weights(est):
    return np.concatenate([a.ravel() for a in (*est.coefs_, *est.intercepts_)])


def cut(X, y, weight=None):
    arrays = (X, y) if weight is None else (X, y, weight)
    return [tuple(a[i:j] for a in arrays) for i, j in CUTS]


def loop(est, batches, epochs, **options):
    for _ in range(epochs):
        for batch in batches:
            est.partial_fit(*batch, **options)
    return est


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"precision": "bfloat16"},
        {"solver": "sgd", "learning_rate": Cosine(), "shuffle": "chunks"},
        {"normalization": "batch", "dropout": 0.2, "mixup": 0.3, "n_jobs": 2},
        {"weight_averaging": 0.9, "shuffle": False},
    ],
    ids=str,
)
def test_a_loop_of_partial_fit(params, dtype, weighted):
    weight = WEIGHT if weighted else None
    for cls, y, classes in ((MLPClassifier, LABELS, {"classes": CLASSES}), (MLPRegressor, Z, {})):
        batches = cut(X.astype(dtype), y, weight)
        expected = loop(cls(**OPTIONS | params), batches, 3, **classes)
        for given in (batches, lambda b=batches: iter(b)):
            est = cls(**OPTIONS | params).fit_batches(given, epochs=3, **classes)
            assert_same_bits(weights(est), weights(expected))
            assert est.loss_curve_ == expected.loss_curve_
            assert est.t_ == expected.t_ == 1800
        assert_same_bits(est.predict(X), expected.predict(X))


def test_sparse_multilabel_and_going_on():
    S = sp.csr_array(np.where(np.abs(X) > 0.7, X, 0))
    batches = cut(S, Z > 0)
    expected = loop(MLPClassifier(**OPTIONS), batches, 2, classes=CLASSES)
    est = MLPClassifier(**OPTIONS)
    for batch in batches:  # a generator each, and both passes by hand
        est.fit_batches((pair for pair in [batch]), classes=CLASSES)
    est.fit_batches(iter(batches))
    assert_same_bits(weights(est), weights(expected))


def test_early_stopping_ends_the_passes():
    params = OPTIONS | {"early_stopping": True, "n_iter_no_change": 2, "tol": 10}
    validation = {"X_val": X[:50], "y_val": LABELS[:50]}
    est = MLPClassifier(**params).fit_batches(
        cut(X, LABELS), classes=CLASSES, epochs=50, **validation
    )
    assert est.stop_reason_ == "n_iter_no_change"
    assert len(est.validation_scores_) < 10
    with pytest.raises(ValueError, match=r"Batch 1: .*early_stopping"):
        MLPClassifier(**params).fit_batches(cut(X, LABELS), classes=CLASSES)


@pytest.mark.parametrize(
    ("params", "reason"),
    [({"target_loss": 1e9}, "target_loss"), ({"time_limit": 1e-9}, "time_limit")],
)
def test_goals_end_the_passes(params, reason):
    est = MLPRegressor(**OPTIONS | params).fit_batches(cut(X, Z), epochs=10)
    assert est.stop_reason_ == reason
    assert len(est.loss_curve_) == 1


class Stop(Callback):
    """Ends training after some batches, or interrupts it."""

    def __init__(self, after, interrupts=False):
        self.after, self.interrupts = after, interrupts

    def on_epoch_end(self, state):
        if len(state.loss_curve) == self.after:
            if self.interrupts:
                raise KeyboardInterrupt
            return True


def test_callbacks_see_each_batch():
    est = MLPRegressor(**OPTIONS).set_callbacks(Stop(6))
    assert len(est.fit_batches(cut(X, Z), epochs=9).loss_curve_) == 6
    assert est.stop_reason_ == "callback"


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("params", [{}, {"solver": "sgd", "dropout": 0.2}], ids=str)
def test_resumed_to_the_same_bits(tmp_path, every, params):
    path = tmp_path / "batches.safetensors"
    batches, params = cut(X, LABELS), OPTIONS | params
    expected = loop(MLPClassifier(**params), batches, 3, classes=CLASSES)
    est = MLPClassifier(**params).set_callbacks(Checkpoint(path, every), Stop(6, interrupts=True))
    with pytest.warns(UserWarning, match="interrupted"):
        est.fit_batches(batches, classes=CLASSES, epochs=3)
    assert est.stop_reason_ == "interrupted"
    assert est.predict(X).shape == (600,)
    assert len(load_model(path).loss_curve_) == (5 if every == 1 else 3)
    again = MLPClassifier(**params).set_callbacks(Checkpoint(path, every))
    with pytest.raises(ValueError, match="no checkpoint of this fit"):
        clone(again).set_params(alpha=1).fit_batches(batches, classes=CLASSES, epochs=3)
    again.fit_batches(batches, classes=CLASSES, epochs=3)
    assert_same_bits(weights(again), weights(expected))
    assert again.loss_curve_ == expected.loss_curve_
    assert not os.path.exists(path)


def test_interrupted_while_it_reads():
    def batches():
        yield X, Z
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        est = MLPRegressor(**OPTIONS).fit_batches(batches)
    assert est.stop_reason_ == "interrupted"
    assert_same_bits(weights(est), weights(MLPRegressor(**OPTIONS).partial_fit(X, Z)))


WRONG = {
    "no batch": ([], {}, ValueError, "batches has no batch in epoch 1"),
    "wrong length": ([(X,)], {}, ValueError, r"Batch 1 must be \(X, y\).*tuple of 1"),
    "no tuple": ([X], {}, ValueError, "Batch 1 must be .* ndarray"),
    "not iterable": (3, {}, TypeError, "batches must be an iterable .* int"),
    "one pass only": (iter([(X, Z)]), {"epochs": 2}, ValueError, "an iterator, .*epochs=2"),
    "no epochs": ([(X, Z)], {"epochs": 0}, ValueError, "epochs must be an int from 1, got 0"),
    "other width": ([(X, Z), (X[:, 1:], Z)], {}, ValueError, "Batch 2: X has 4 features"),
    "other outputs": ([(X, Z), (X, Z[:, 0])], {}, ValueError, "Batch 2: y has 1 outputs"),
    "NaN": ([(X, Z), (X * np.nan, Z)], {}, ValueError, "Batch 2: Input X contains NaN"),
    "classes": ([(X, Z)], {"classes": [0]}, ValueError, "classes is for classifiers"),
}


@pytest.mark.parametrize(("batches", "options", "error", "match"), WRONG.values(), ids=WRONG)
def test_wrong_batches(batches, options, error, match):
    with pytest.raises(error, match=match):
        MLPRegressor(**OPTIONS).fit_batches(batches, **options)


def test_what_else_is_refused():
    used = iter([(X, Z)])
    with pytest.raises(ValueError, match=r"no batch in epoch 2\. It can .* fresh iterator"):
        MLPRegressor(**OPTIONS).fit_batches(lambda: used, epochs=2)
    with pytest.raises(ValueError, match="classes must be passed on the first call to fit_batches"):
        MLPClassifier(**OPTIONS).fit_batches(cut(X, LABELS))
    with pytest.raises(ValueError, match=r"Batch 1: .*classes"):
        MLPClassifier(**OPTIONS).fit_batches(cut(X, LABELS), classes=[1, 2])
    for cls in (MLPClassifier, MLPRegressor):
        with pytest.raises(ValueError, match=r"fit_batches needs a stochastic solver, .*'lbfgs'"):
            cls(solver="lbfgs").fit_batches(cut(X, LABELS))
    with pytest.raises(ValueError, match="'alpha' parameter"):
        MLPRegressor(alpha=-1).fit_batches(cut(X, Z))
    with pytest.raises(ValueError, match="Checkpoint needs an int as random_state"):
        MLPRegressor().set_callbacks(Checkpoint("x")).fit_batches(cut(X, Z))


def test_a_wrong_batch_loses_nothing():
    est = MLPRegressor(**OPTIONS)
    with pytest.raises(ValueError, match="Batch 3"):
        est.fit_batches([*cut(X, Z)[:2], (X, Z[1:])])
    assert_same_bits(weights(est), weights(loop(MLPRegressor(**OPTIONS), cut(X, Z)[:2], 1)))


def test_progress(capsys):
    tqdm = pytest.importorskip("tqdm")
    est = MLPRegressor(**OPTIONS, verbose=2).fit_batches(cut(X, Z), epochs=2)
    shown = capsys.readouterr()
    assert "8/8" in shown.err
    assert "loss=" in shown.err
    assert "Iteration" not in shown.out
    est.fit_batches(iter(cut(X, Z)))
    assert "4batch" in capsys.readouterr().err
    assert not tqdm.tqdm._instances


# -------------------------------------------------------------------------------- Arrow


def test_arrow(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import dataset, parquet

    from fastmlp.batches import ArrowBatches

    names = [f"x{i}" for i in range(5)]
    table = pa.table(
        {**dict(zip(names, X.T, strict=True)), "w": WEIGHT}
        | {"y": np.array(["no", "yes"])[LABELS], "z": Z[:, 0], "z2": Z[:, 1]}
    )
    path = tmp_path / "data.parquet"
    parquet.write_table(table, path, row_group_size=150)
    pieces = [slice(i, i + 150) for i in range(0, 600, 150)]

    batches = ArrowBatches(path, "y", columns=names, sample_weight="w")
    est = MLPClassifier(**OPTIONS).fit_batches(batches, classes=["no", "yes"], epochs=2)
    expected = loop(
        MLPClassifier(**OPTIONS), [(X[p], LABELS[p], WEIGHT[p]) for p in pieces], 2, classes=CLASSES
    )
    assert_same_bits(weights(est), weights(expected))
    assert list(est.classes_) == ["no", "yes"]

    expected = loop(MLPRegressor(**OPTIONS), [(X[p], Z[p]) for p in pieces], 2)
    numbers = table.drop_columns(["w", "y"])
    sources = [numbers.to_batches(max_chunksize=150), [path], dataset.dataset(path)]
    for source in sources:
        batches = ArrowBatches(source, ["z", "z2"], columns=names)
        est = MLPRegressor(**OPTIONS).fit_batches(batches, epochs=2)
        assert_same_bits(weights(est), weights(expected))
    (pair,) = ArrowBatches(pa.table({"a": pa.array([1, 2], pa.int16()), "b": [0.5, 1]}), "b")
    assert pair[0].dtype == np.float32

    for wrong, options, match in (
        (table, {}, "Column 'y' holds string, not numbers"),
        (table, {"columns": ["x9"]}, "no column 'x9', only x0,"),
        (pa.table({"a": [1.0, None], "z": [1, 2]}), {}, "Column 'a' has 1 missing"),
    ):
        with pytest.raises(ValueError, match=match):
            next(iter(ArrowBatches(wrong, "z", **options)))


def test_arrow_says_what_to_install():
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from fastmlp.batches import ArrowBatches; ArrowBatches('x.parquet', 'y')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'fastmlp[parquet]'" in done.stderr
