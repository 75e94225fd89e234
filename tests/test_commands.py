"""The command line on model files, and the table of a network."""

import csv
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from fastmlp import MLPClassifier, MLPRegressor, activations, losses
from fastmlp.__main__ import main

rng = np.random.RandomState(0)
X = pd.DataFrame(rng.uniform(-1, 1, (20, 4)), columns=["a", "b", "c, d", "e"])
y = np.arange(20) % 3
z = X["a"].to_numpy()
LABELS = np.stack([y > 0, y > 1], axis=1)
del rng

SMALL = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
MIXED = X[["e", "c, d"]].assign(comment="a, text", y=y).join(X[["b", "a"]])


@pytest.fixture
def saved(tmp_path):
    def save(est):
        est.save_model(tmp_path / "model")
        return str(tmp_path / "model")

    return save


def write(folder, data, ending, **options):
    path = str(folder / f"data.{ending}")
    if ending == "parquet":
        data.to_parquet(path)
    else:
        data.to_csv(path, index=False, **options)
    return path


def predicted(capsys, *arguments):
    main(["predict", *arguments])
    said = capsys.readouterr()
    assert said.err == ""
    header, *rows = csv.reader(said.out.splitlines())
    return header, np.array(rows)


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"python -m fastmlp {arguments[0]}: ")
    return said.err


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_taken_by_name(ending, saved, tmp_path, capsys):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    est = MLPClassifier(**SMALL).fit(X, np.array(["u", "v", "w"])[y])
    path = write(tmp_path, MIXED, ending)
    header, rows = predicted(capsys, saved(est), path, "--proba")
    assert header == ["prediction", "probability_u", "probability_v", "probability_w"]
    assert rows[:, 0].tolist() == est.predict(X).tolist()
    np.testing.assert_array_equal(rows[:, 1:].astype(float), est.predict_proba(X))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_taken_in_order_without_names(ending, saved, tmp_path, capsys):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    est = MLPRegressor(**SMALL).fit(X.to_numpy(), z)
    header, rows = predicted(capsys, saved(est), write(tmp_path, X, ending))
    assert header == ["prediction"]
    np.testing.assert_array_equal(rows[:, 0].astype(float), est.predict(X.to_numpy()))


def test_file_without_names_and_with_other_delimiters(saved, tmp_path, capsys):
    est = MLPRegressor(**SMALL).fit(X, z)
    path = write(tmp_path, X, "csv", header=False, sep=";")
    _, rows = predicted(capsys, saved(est), path, "--delimiter", ";")
    np.testing.assert_array_equal(rows[:, 0].astype(float), est.predict(X))


@pytest.mark.parametrize(
    ("est", "target", "names"),
    [
        (MLPRegressor(**SMALL), np.stack([z, -z], axis=1), ["prediction_0", "prediction_1"]),
        (
            MLPRegressor(**SMALL, loss=losses.Quantile((0.1, 0.9))),
            z,
            ["prediction_0.1", "prediction_0.9"],
        ),
        (
            MLPRegressor(**SMALL, loss=losses.Quantile((0.1, 0.9))),
            np.stack([z, -z], axis=1),
            ["prediction_0_0.1", "prediction_0_0.9", "prediction_1_0.1", "prediction_1_0.9"],
        ),
        (
            MLPClassifier(**SMALL),
            np.stack([y > 0, y > 1], axis=1),
            ["prediction_0", "prediction_1"],
        ),
    ],
    ids=["targets", "levels", "targets and levels", "labels"],
)
def test_several_outputs_have_names(est, target, names, saved, tmp_path, capsys):
    est.fit(X, target)
    header, rows = predicted(capsys, saved(est), write(tmp_path, X, "csv"))
    assert header == names
    np.testing.assert_array_equal(rows.astype(float), est.predict(X).reshape(20, -1))


def test_output_file(saved, tmp_path, capsys):
    est = MLPRegressor(**SMALL).fit(X, z)
    out = tmp_path / "out.csv"
    main(["predict", saved(est), write(tmp_path, X, "csv"), "-o", str(out)])
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(
        pd.read_csv(out, float_precision="round_trip")["prediction"], est.predict(X)
    )


def test_what_cannot_be_predicted(saved, tmp_path, capsys, monkeypatch):
    model = saved(MLPRegressor(**SMALL).fit(X, z))
    path = write(tmp_path, X, "csv")
    assert "No such file" in fails(capsys, "predict", "none", path)
    assert "No such file" in fails(capsys, "predict", model, "none")
    assert "cannot be loaded" in fails(capsys, "predict", path, path)
    assert "--proba is for classifiers" in fails(capsys, "predict", model, path, "--proba")
    path = write(tmp_path, X.drop(columns=["b", "c, d"]), "csv")
    assert "has no column 'b', 'c, d'" in fails(capsys, "predict", model, path)
    path = write(tmp_path, X.assign(b="text"), "csv")
    assert "could not convert string 'text'" in fails(capsys, "predict", model, path)
    path = write(tmp_path, X.assign(b=np.nan), "csv", header=False)
    assert "could not convert string ''" in fails(capsys, "predict", model, path)
    path = write(tmp_path, X.assign(b=np.nan), "csv", na_rep="nan")
    assert "contains NaN" in fails(capsys, "predict", model, path)
    path = write(tmp_path, X.drop(columns="a"), "csv", header=False)
    assert "has 3 columns, the network 4" in fails(capsys, "predict", model, path)
    (tmp_path / "empty.csv").write_text("")
    assert "is empty" in fails(capsys, "predict", model, str(tmp_path / "empty.csv"))
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = fails(capsys, "predict", model, str(tmp_path / "x.parquet"))
    assert "needs the package pyarrow: pip install 'fastmlp[parquet]'" in said


def test_parquet_with_text(saved, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    model = saved(MLPRegressor(**SMALL).fit(X, z))
    path = write(tmp_path, X.assign(b="text"), "parquet")
    assert "columns that are not numbers" in fails(capsys, "predict", model, path)
    path = write(tmp_path, X.drop(columns="b"), "parquet")
    assert "has no column 'b'" in fails(capsys, "predict", model, path)


def test_info(saved, capsys):
    est = MLPClassifier(**SMALL).fit(X, np.array(["u", "v", "w"])[y])
    main(["info", saved(est)])
    said = capsys.readouterr().out
    for text in (est.summary(), repr(est), "max_iter", "u, v, w", "a, b, c, d, e"):
        assert text in said
    assert f"loss_                   {est.loss_}\n" in said
    assert "No such file" in fails(capsys, "info", "none")


# -------------------------------------------------------------------------------------- summary
def test_summary():
    est = MLPClassifier(
        (6, 6, 5),
        [activations.ELU(2.0), "relu", "gelu"],
        normalization=["batch", "layer", None],
        residual=True,
        max_iter=1,
    ).fit(X, y)
    assert est.summary().splitlines() == [
        "MLPClassifier: 4 features, 3 classes",
        "",
        "layer   units  activation  besides                                      parameters",
        "----------------------------------------------------------------------------------",
        "input       4",
        "hidden      6  elu(2)      batch normalisation, residual by projection          78",
        "hidden      6  relu        layer normalisation, residual                        54",
        "hidden      5  gelu        residual by projection                               65",
        "output      3  softmax                                                          18",
        "----------------------------------------------------------------------------------",
        "total                      1.72 KB of float64                                  215",
    ]


def test_summary_of_others():
    linear = MLPRegressor(hidden_layer_sizes=(), max_iter=1).fit(
        X.astype(np.float32), np.stack([z, z], axis=1)
    )
    title, *_, last = linear.summary().splitlines()
    assert title == "MLPRegressor: 4 features, 2 outputs"
    assert last.split() == ["total", "40", "B", "of", "float32", "10"]
    labels = MLPClassifier(**SMALL).fit(X, LABELS)
    assert labels.summary().startswith("MLPClassifier: 4 features, 2 labels\n")
    with pytest.raises(NotFittedError):
        MLPClassifier().summary()
