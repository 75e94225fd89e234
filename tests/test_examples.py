"""The examples run from top to bottom on small settings, draw, and say what they promise."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Function that runs an example in an empty folder; returns its variables and its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delenv("FASTMLP_DATA", raising=False)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with matplotlib.rc_context({"backend": "agg"}):
            variables = runpy.run_path(str(EXAMPLES / f"{name}.py"))
        variables["plt"].close("all")
        pictures = list(tmp_path.glob(f"{name}*.png"))
        assert pictures
        assert min(picture.stat().st_size for picture in pictures) > 10_000
        return variables, capsys.readouterr().out

    return run


def test_first_network(run):
    found, out = run("first_network", "--quick")
    assert found["test"]["accuracy"] > 0.85
    assert found["train"]["loss"] < 0.7
    assert len(found["wrong"]) == round(len(found["y_test"]) * (1 - found["test"]["accuracy"]))
    assert re.search(r"epoch 10 of 10, loss 0\.\d{4},  0\.0 s left\n", out)


def test_shallow_network(run):
    found, out = run("shallow_network")
    gaps = [float(gap) for gap in re.findall(r"differ by (\d\S*)", out)]
    by_hand, linear, zeros, normal = gaps
    assert by_hand < 1e-14
    assert linear < 1e-5
    assert zeros == 0 < 0.01 < normal
    rain = found["net"]  # with ReLU at the output
    assert rain.out_activation_ == "relu"
    assert rain.predict(found["x"]).min() >= 0
    assert rain.score(found["x"], found["rain"]) > 0.9
    assert all(net.score(found["X"], found["y"]) > 0.8 for net in found["nets"].values())


def test_training_loop(run):
    found, out = run("training_loop", "--quick")
    losses = re.findall(r": (\S+), (\S+)$", out, re.MULTILINE)
    assert len(losses) == 3
    assert all(formula == reported for formula, reported in losses)
    assert "y = 2.2100" in out
    for reason in ("target_loss", "target_score", "max_iter"):
        assert reason in out
    assert found["gap"] < 1e-12


def test_regression(run):
    found, _ = run("regression", "--quick")
    assert found["distance"] < 0.45
    assert found["elsewhere"] == found["line"].predict([[1.5]])[0]
    assert min(found["scores"].values()) > 0.8


def test_neurons_give_the_digits_of_the_exercise(run):
    found, out = run("neurons")
    np.testing.assert_allclose(found["answers"]["3-1"], 0.99993704, atol=1e-8, rtol=0)
    np.testing.assert_allclose(found["answers"]["3-5-4-1"], 0.99650838, atol=1e-8, rtol=0)
    assert found["xor"].loss_ < 1e-5
    assert (found["xor"].predict(found["X"]).round() == found["y"]).all()
    assert f"after {len(found['curves']['XOR: 2-9-1'])} epochs" in out


def test_looking(run):
    found, out = run("looking")
    assert "hidden     64  relu" in out
    assert 0 < found["errors"].n_errors < 20
    assert found["fits"]["plain"].best_iteration_ < found["fits"]["dropout"].best_iteration_
    assert found["model"].score(found["X_test"], found["y_test"]) > 0.3
    assert found["importance"].importances_mean.max() > 0.05


def test_programs_without_fastmlp_import_none_of_it(tmp_path):
    program = EXAMPLES / "run_model.py"
    imported = re.findall(r"^(?:import|from) (\w+)", program.read_text(), re.MULTILINE)
    assert imported == ["json", "sys", "numpy"]
    result = subprocess.run([sys.executable, program, tmp_path], capture_output=True, text=True)
    assert result.returncode != 0
