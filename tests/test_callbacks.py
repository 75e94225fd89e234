"""Callbacks: scikit-learn's protocol, checkpoints, loggers."""

import base64
import csv
import logging
import os
import pickle
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from samples import few
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_files import same
from versions import SKLEARN, needs_1_9

from fastmlp import MLPClassifier, MLPRegressor, load_model
from fastmlp.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    LiveLossCurve,
    Logger,
    TensorBoardLogger,
)
from fastmlp.display import LossCurveDisplay
from fastmlp.schedules import Cosine

if SKLEARN >= (1, 9):
    from sklearn.callback import ProgressBar as ScikitProgressBar
    from sklearn.callback import ScoringMonitor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 6, "random_state": 0, "batch_size": 16}

X, y, z, _ = few(80)


class Recorder:
    """Writes down what scikit-learn's protocol tells, and stops where it is told to."""

    def __init__(self, stop_at=None):
        self.events, self.shown, self.stop_at = [], [], stop_at

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, X=None, metadata=None):
        self.events.append(("end", context.task_name, context.task_id))
        if context.task_name == "epoch" and fitted_estimator is not None:
            self.shown.append((fitted_estimator, X, metadata))
        return context.task_id == self.stop_at and context.task_name == "epoch"


class Crash(Callback):
    """Ends a fit as a crash would, after an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, state):
        if state.epoch == self.epoch:
            raise OSError("power failure")


def epochs(n):
    return [(what, "epoch", i) for i in range(n) for what in ("begin", "end")]


# ------------------------------------------------------------------------ scikit-learn's protocol
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@needs_1_9
def test_epochs_are_tasks(solver):
    recorder = Recorder()
    est = MLPClassifier(**SMALL, solver=solver).set_callbacks(recorder).fit(X, y)
    assert recorder.events == [
        "setup",
        ("begin", "fit", 0),
        *epochs(6),
        ("end", "fit", 0),
        "teardown",
    ]
    plain = MLPClassifier(**SMALL, solver=solver).fit(X, y)
    assert est.loss_curve_ == plain.loss_curve_
    assert all(map(np.array_equal, est.coefs_, plain.coefs_))
    # What was shown is what a shorter fit finds, and no later epoch has changed it.
    for i, (shown, data, metadata) in enumerate(recorder.shown):
        short = MLPClassifier(**SMALL | {"max_iter": i + 1}, solver=solver).fit(X, y)
        np.testing.assert_array_equal(shown.predict_proba(X), short.predict_proba(X))
        assert shown.loss_curve_ == short.loss_curve_
        assert data is X
        assert metadata is None


@needs_1_9
def test_iterations_of_lbfgs_are_tasks():
    recorder, weight = Recorder(), np.ones(80)
    est = MLPRegressor(**SMALL, solver="lbfgs").set_callbacks(recorder)
    est.fit(X, z, sample_weight=weight)
    # SciPy does not say which iteration is the last one: one more has begun.
    assert recorder.events[2:-2] == epochs(est.n_iter_ + 1)
    assert len(recorder.shown) == est.n_iter_ > 1
    for i, (shown, _, metadata) in enumerate(recorder.shown):
        assert (
            shown.loss_
            == MLPRegressor(**SMALL | {"max_iter": i + 1}, solver="lbfgs")
            .fit(X, z, sample_weight=weight)
            .loss_
        )
        assert metadata == {"sample_weight": weight}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@needs_1_9
def test_a_callback_stops(solver):
    est = MLPRegressor(**SMALL, solver=solver).set_callbacks(Recorder(stop_at=2)).fit(X, z)
    assert est.n_iter_ == 3
    assert est.stop_reason_ == "callback"
    again = est.set_callbacks().fit(X, z)
    assert again.stop_reason_ in ("max_iter", "tol")


@needs_1_9
def test_partial_fit_is_one_task():
    recorder = Recorder()
    est = MLPRegressor(**SMALL).set_callbacks(recorder).partial_fit(X, z).partial_fit(X, z)
    events = ["setup", ("begin", "fit", 0), *epochs(1), ("end", "fit", 0), "teardown"]
    assert recorder.events == events * 2
    assert est.stop_reason_ is None


@needs_1_9
def test_nothing_is_shown_of_an_earlier_fit():
    recorder = Recorder()
    est = MLPClassifier(**SMALL, normalization="batch", early_stopping=True).fit(X, y)
    est.set_params(normalization=None, early_stopping=False).set_callbacks(recorder).fit(X, y)
    assert not hasattr(recorder.shown[0][0], "norm_scales_")
    assert recorder.shown[0][0].validation_scores_ is None
    accuracy_score(y, recorder.shown[0][0].predict(X))


@needs_1_9
def test_callbacks_are_torn_down_after_a_failure():
    recorder = Recorder()
    est = MLPClassifier(**SMALL).fit(X, y)
    before = dict(vars(est))
    est.set_callbacks(recorder)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        est.fit(X[1:], y)
    est.set_callbacks(recorder, Crash(2))
    with pytest.raises(OSError, match="power failure"):
        est.fit(X, y)
    assert recorder.events.count("setup") == recorder.events.count("teardown") == 2
    assert vars(est.set_callbacks()) == before


@needs_1_9
def test_scoring_monitor_in_a_grid_search():
    monitor = ScoringMonitor(scoring="accuracy")
    est = MLPClassifier(**SMALL | {"max_iter": 3}).set_callbacks(monitor)
    pipeline = make_pipeline(StandardScaler(), est)
    GridSearchCV(pipeline, {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2).fit(X, y)
    log = monitor.get_logs().data
    assert sum(row["task_name"] == "epoch" for row in log) == 3 * (2 * 2 + 1)
    assert all(0 <= row["accuracy"] <= 1 for row in log)


@needs_1_9
def test_progress_bar_of_scikit_learn(capsys):
    pytest.importorskip("rich")
    search = GridSearchCV(MLPClassifier(**SMALL), {"alpha": [0.1, 1.0]}, cv=2)
    search.set_callbacks(ScikitProgressBar(max_propagation_depth=None)).fit(X, y)
    shown = capsys.readouterr().out
    assert shown.count("MLPClassifier - fit") >= 5
    assert "_skl_callbacks" not in vars(search.best_estimator_)


@needs_1_9
def test_scoring_monitor_with_sample_weight():
    monitor = ScoringMonitor(scoring="accuracy")
    est = MLPClassifier(**SMALL).set_callbacks(monitor).fit(X, y, sample_weight=(y > 0) * 1.0)
    weighted = est.score(X, y, sample_weight=(y > 0) * 1.0)
    assert monitor.get_logs().data[-1]["accuracy"] == weighted != est.score(X, y)


# --------------------------------------------------------------------------------------- loggers
def test_logger(caplog):
    caplog.set_level(logging.INFO, "fastmlp")
    est = MLPRegressor(**SMALL, early_stopping=True).set_callbacks(Logger()).fit(X, z)
    lines = [r.getMessage() for r in caplog.records if "loss" in r.getMessage()]
    assert len(lines) == est.n_iter_ == 6
    loss, rate, score = est.loss_curve_[2], 0.001, est.validation_scores_[2]
    assert lines[2] == (
        f"epoch 3, loss {loss:.6g}, learning_rate {rate:.6g}, validation_score {score:.6g}"
    )
    caplog.clear()
    est.set_callbacks(Logger(level=logging.DEBUG)).fit(X, z)
    assert not any("loss" in r.getMessage() for r in caplog.records)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_csv_logger(solver, tmp_path):
    path = tmp_path / "fit.csv"
    est = MLPRegressor(**SMALL, solver=solver).set_callbacks(CSVLogger(path))
    for _ in range(2):
        est.fit(X, z, X_val=X[:9], y_val=z[:9])
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["epoch"]) for row in rows] == list(range(1, est.n_iter_ + 1))
        found = [float(row["validation_loss"]) for row in rows]
        assert found == est.validation_loss_curve_
        assert [float(row["validation_score"]) for row in rows] == est.validation_scores_
        if solver == "adam":
            assert [float(row["loss"]) for row in rows] == est.loss_curve_


def test_csv_logger_goes_on_with_partial_fit(tmp_path):
    est = MLPRegressor(**SMALL).set_callbacks(CSVLogger(tmp_path / "fit.csv"))
    for _ in range(3):
        est.partial_fit(X, z)
    assert len((tmp_path / "fit.csv").read_text().splitlines()) == 4


@pytest.fixture
def scalars(tmp_path):
    """Function that returns what TensorBoard reads: steps and values by name."""
    module = "tensorboard.backend.event_processing.event_accumulator"
    reader = pytest.importorskip(module).EventAccumulator

    def read():
        events = reader(str(tmp_path), size_guidance={"tensors": 0}).Reload()
        found = {name: events.Tensors(name) for name in events.Tags()["tensors"]}
        return {
            name: [(event.step, event.tensor_proto.float_val[0]) for event in values]
            for name, values in found.items()
        }

    return read


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_tensorboard_logger(solver, tmp_path, scalars):
    logger = TensorBoardLogger(tmp_path)
    est = MLPRegressor(**SMALL, solver=solver).set_callbacks(logger)
    est.fit(X, z, X_val=X[:9], y_val=z[:9])
    figures = scalars()
    steps = list(range(1, est.n_iter_ + 1))
    assert figures.keys() == {"loss", "validation_loss", "validation_score"} | (
        {"learning_rate"} if solver == "adam" else set()
    )
    assert [step for step, _ in figures["loss"]] == steps
    assert figures["loss"][-1][1] == pytest.approx(est.loss_)
    expected = list(zip(steps, est.validation_loss_curve_, strict=True))
    np.testing.assert_allclose(figures["validation_loss"], expected, rtol=1e-6)


def test_tensorboard_logger_writes_a_file_for_each_training_from_scratch(tmp_path, scalars):
    est = MLPRegressor(**SMALL).set_callbacks(TensorBoardLogger(tmp_path))
    for _ in range(3):
        est.partial_fit(X, z)
    assert [step for step, _ in scalars()["loss"]] == [1, 2, 3]
    assert len(os.listdir(tmp_path)) == 1
    pickle.loads(pickle.dumps(est)).partial_fit(X, z)
    assert len(os.listdir(tmp_path)) == 2
    est.fit(X, z)
    assert len(os.listdir(tmp_path)) == 3


# ------------------------------------------------------------------------------- live loss curve
@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Function that returns the pictures that a call shows: (whether a new one, its bytes)."""
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell
    capture = pytest.importorskip("IPython.utils.capture").capture_output
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    settings = pytest.importorskip("traitlets.config").Config()
    settings.HistoryManager.enabled = False
    shell.clear_instance()
    shell.instance(config=settings)

    def watch(call):
        with capture(display=True) as captured:
            call()
        return [(not shown.update, shown.data["image/png"]) for shown in captured.outputs]

    yield watch
    shell.clear_instance()


@pytest.mark.parametrize("params", [{}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=str)
def test_live_loss_curve(params, notebook, monkeypatch):
    drawn = []
    plot = LossCurveDisplay.plot
    monkeypatch.setattr(
        LossCurveDisplay, "plot", lambda self, ax: drawn.append(self.curves[""]) or plot(self, ax)
    )
    est = MLPRegressor(**SMALL | params).set_callbacks(LiveLossCurve(every=0))
    for _ in range(2):
        drawn.clear()
        shown = notebook(lambda: est.fit(X, z))
        assert [new for new, _ in shown] == [True] + [False] * (est.n_iter_ - 1)
        assert all(base64.b64decode(content).startswith(b"\x89PNG") for _, content in shown)
        assert len(drawn[-1].loss) == est.n_iter_
        assert drawn[-1].loss[-1] == est.loss_
        if est.early_stopping:
            assert drawn[-1].validation_scores == est.validation_scores_
            assert drawn[-1].best_iteration == est.best_iteration_


def test_live_loss_curve_is_drawn_when_it_is_due_and_at_the_end(notebook):
    est = MLPRegressor(**SMALL).set_callbacks(LiveLossCurve(every=1e9))
    shown = notebook(lambda: est.fit(X, z))
    assert [new for new, _ in shown] == [True, False]
    assert shown[0][1] != shown[1][1]
    assert notebook(lambda: est.partial_fit(X, z)) == []
    est.set_callbacks(LiveLossCurve(every=1e9))
    copied = pickle.loads(pickle.dumps(est))
    assert len(notebook(lambda: [e.partial_fit(X, z) for e in (est, est, copied)])) == 2


def test_live_loss_curve_without_a_notebook(capfd):
    pytest.importorskip("IPython")
    curve = LiveLossCurve()
    expected = MLPRegressor(**SMALL).fit(X, z)
    est = MLPRegressor(**SMALL).set_callbacks(curve).fit(X, z)
    assert same(est.coefs_, expected.coefs_)
    assert capfd.readouterr() == ("", "")
    for every in (-1, "1", None, float("nan")):
        with pytest.raises(ValueError, match="every must be a number of seconds"):
            LiveLossCurve(every)


@pytest.mark.parametrize(
    ("make", "package", "extra"),
    [
        (lambda: TensorBoardLogger("runs"), "tensorboard", "tensorboard"),
        (LiveLossCurve, "IPython", "notebook"),
        (LiveLossCurve, "matplotlib", "notebook"),
    ],
)
def test_without_the_package(make, package, extra, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"package {package}: pip install 'fastmlp\[{extra}\]'"):
        make()


# ---------------------------------------------------------------------------------- progress bar
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_progress_bar(solver, capsys):
    pytest.importorskip("tqdm")
    est = MLPRegressor(**SMALL, solver=solver, verbose=2).fit(X, z, X_val=X, y_val=z)
    out, err = capsys.readouterr()
    assert "Iteration" not in out
    assert "score" not in out
    assert f"{est.n_iter_}/6" in err
    assert f"loss={est.loss_:.3g}" in err.rpartition("epoch")[2]
    assert f"validation_score={est.validation_scores_[-1]:.3g}" in err
    est.set_params(solver="adam").partial_fit(X, z)
    assert capsys.readouterr().out.startswith("Iteration 1, loss")


def test_progress_bar_without_tqdm(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.warns(UserWarning, match=r"pip install 'fastmlp\[progress\]'"):
        MLPRegressor(**SMALL, verbose=2).fit(X, z)
    assert capsys.readouterr().out.count("Iteration") == 6


# ----------------------------------------------------------------------------------- checkpoints
CONFIGURATIONS = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.5},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "nesterovs_momentum": False},
    "schedule": {"solver": "adamw", "learning_rate": Cosine(warmup=2)},
    "early stopping": {"early_stopping": True, "scoring": "loss", "n_iter_no_change": 2},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1},
    "mixup": {"mixup": 0.2},
    "averaging": {"weight_averaging": 0.9, "max_grad_norm": 0.1},
    "structure": {"normalization": "batch", "residual": True, "solver": "lion"},
    "float32": {"precision": "float32", "n_jobs": 2},
    "bfloat16": {"precision": "bfloat16", "solver": "amsgrad"},
    "no shuffling": {"shuffle": False, "init": "he_normal", "activation": "gelu"},
}


def assert_equal_fits(a, b):
    """Fitted attributes agree bit by bit."""
    skipped = {"_session", "_skl_callbacks"}
    a, b = ({k: v for k, v in vars(e).items() if k not in skipped} for e in (a, b))
    assert a.keys() == b.keys()
    assert [name for name in a if not same(a[name], b[name])] == []


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("name", CONFIGURATIONS)
@needs_1_9
def test_a_crashed_fit_goes_on_to_the_same_bits(name, every, tmp_path):
    path = tmp_path / "fit"
    data = (sp.csr_array(X), y) if name in ("adam", "dropout", "float32") else (X, y)
    params = SMALL | CONFIGURATIONS[name]
    whole = MLPClassifier(**params).fit(*data)
    checkpoint = Checkpoint(path, every)
    for epoch in (2, 3, 5):
        est = MLPClassifier(**params).set_callbacks(checkpoint, Crash(epoch))
        with pytest.raises(OSError, match="power failure"):
            est.fit(*data)
        assert not hasattr(est, "coefs_")
    last = load_model(path)
    assert last.n_iter_ == 4
    assert last.loss_curve_ == whole.loss_curve_[:4]
    recorder = Recorder()
    est = MLPClassifier(**params).set_callbacks(recorder, checkpoint).fit(*data)
    assert len(recorder.shown) == 2
    assert_equal_fits(est, whole)
    assert not path.exists()
    # The optimizer's state is the same as well.
    for e in (est, whole):
        e.set_callbacks().set_params(early_stopping=False).partial_fit(*data)
    assert all(map(np.array_equal, est.coefs_, whole.coefs_))


def test_a_warm_start_with_validation_data_goes_on(tmp_path):
    params = SMALL | {"warm_start": True, "early_stopping": True}
    validation = {"X_val": X[:20], "y_val": z[:20]}
    starts = [MLPRegressor(**params).fit(X, z, **validation) for _ in range(3)]
    whole, crashed, est = (e.set_params(alpha=0.1, max_iter=5) for e in starts)
    whole.fit(X, z, **validation)
    checkpoint = Checkpoint(tmp_path / "fit")
    with pytest.raises(OSError, match="power failure"):
        crashed.set_callbacks(checkpoint, Crash(3)).fit(X, z, **validation)
    est.set_callbacks(checkpoint).fit(X, z, **validation)
    assert_equal_fits(est, whole)
    assert est.n_iter_ == 5


def test_interrupted_fits_keep_their_file(tmp_path):
    class CtrlC(Callback):
        def on_epoch_end(self, state):
            if state.epoch == 3:
                raise KeyboardInterrupt

    path = tmp_path / "fit"
    checkpoint = Checkpoint(path)
    with pytest.warns(UserWarning, match="interrupted by user"):
        MLPRegressor(**SMALL).set_callbacks(checkpoint, CtrlC()).fit(X, z)
    assert load_model(path).n_iter_ == 2
    MLPRegressor(**SMALL, time_limit=1e-9).set_callbacks(checkpoint).fit(X, z)
    assert load_model(path).n_iter_ == 2
    est = MLPRegressor(**SMALL).set_callbacks(checkpoint).fit(X, z)
    assert_equal_fits(est, MLPRegressor(**SMALL).fit(X, z))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda est, data: est.set_params(alpha=0.3),
        lambda est, data: est.set_params(max_iter=7),
        lambda est, data: est.set_params(random_state=1),
        lambda est, data: data.update(X=np.nextafter(X, 1)),
        lambda est, data: data.update(y=data["y"][::-1]),
        lambda est, data: data.update(y=np.array(["a", "b", "c"])[y]),
        lambda est, data: data.update(sample_weight=np.ones(80)),
        lambda est, data: data.update(X_val=X, y_val=y),
        lambda est, data: data.update(X=sp.csr_array(X)),
    ],
)
def test_checkpoints_of_other_fits_are_refused(change, tmp_path):
    path = tmp_path / "fit"
    checkpoint, data = Checkpoint(path), {"X": X, "y": y}
    with pytest.raises(OSError, match="power failure"):
        MLPClassifier(**SMALL).set_callbacks(checkpoint, Crash(2)).fit(**data)
    before = path.read_bytes()
    est = MLPClassifier(**SMALL).set_callbacks(checkpoint)
    change(est, data)
    with pytest.raises(ValueError, match="is no checkpoint of this fit"):
        est.fit(**data)
    assert path.read_bytes() == before
    assert not hasattr(est, "coefs_")
    est.set_callbacks(Checkpoint(path, resume=False)).fit(**data)
    assert_equal_fits(est, clone(est).set_callbacks().fit(**data))


def test_what_checkpoints_need(tmp_path):
    path = tmp_path / "fit"

    def refused(est, match, call="fit"):
        with pytest.raises(ValueError, match=match):
            getattr(est.set_callbacks(Checkpoint(path)), call)(X, z)
        assert not hasattr(est, "coefs_")

    refused(MLPRegressor(**SMALL, solver="lbfgs"), "got solver='lbfgs'")
    refused(MLPRegressor(**SMALL), "after partial_fit", "partial_fit")
    for state in (None, np.random.RandomState(0)):
        refused(MLPRegressor(**SMALL | {"random_state": state}), "an int as random_state")
    refused(MLPRegressor(**SMALL, learning_rate=lambda epoch: 1.0), "cannot store learning_rate")

    class Special(MLPRegressor):
        pass

    refused(Special(**SMALL), "not their subclass Special")
    MLPRegressor(**SMALL).fit(X, z).save_model(path)
    refused(MLPRegressor(**SMALL), "is no checkpoint of this fit")
    path.write_text("something else")
    refused(MLPRegressor(**SMALL), "cannot be loaded")
    warm = MLPRegressor(**SMALL, warm_start=True).fit(X.astype(np.float32), z)
    with pytest.raises(ValueError, match="the warm start has float32"):
        warm.set_callbacks(Checkpoint(path)).fit(X, z)
    for every in (0, -1, 1.5, True, "1"):
        with pytest.raises(ValueError, match="every must be"):
            Checkpoint(path, every)


def test_callbacks_of_ones_own_stop():
    class Enough(Callback):
        def on_epoch_end(self, state):
            return state.loss_curve[-1] < np.inf and state.epoch == 2

    est = MLPRegressor(**SMALL).set_callbacks(Enough()).fit(X, z)
    assert (est.n_iter_, est.stop_reason_) == (2, "callback")
    with pytest.raises(TypeError, match=r"FitCallback|fastmlp\.callbacks\.Callback"):
        est.set_callbacks(print)


@needs_1_9
def test_without_callbacks_nothing_is_left():
    est = MLPRegressor(**SMALL).set_callbacks(Recorder()).fit(X, z).set_callbacks()
    assert vars(est).keys() == vars(MLPRegressor(**SMALL).fit(X, z)).keys()
    with pytest.warns(ConvergenceWarning):
        est.fit(X, z)


@pytest.mark.skipif(SKLEARN >= (1, 9), reason="scikit-learn 1.9 takes its own")
def test_older_scikit_learn_takes_callbacks_of_ours(caplog):
    est = MLPRegressor(**SMALL).set_callbacks(Logger())
    with caplog.at_level(logging.INFO, logger="fastmlp"):
        clone(est).fit(X, z)
    assert sum("loss" in record.getMessage() for record in caplog.records) == SMALL["max_iter"]
    for wrong in (Recorder(), Logger):
        with pytest.raises(TypeError, match=r"need scikit-learn 1\.9"):
            est.set_callbacks(wrong)
