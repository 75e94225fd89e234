"""fastmlp's estimators in the place of scikit-learn's, in this process and in those below it."""

import logging
import os
import pickle
import subprocess
import sys

import pytest
import sklearn.neural_network as module
from sklearn.neural_network._multilayer_perceptron import MLPClassifier as TheirClassifier
from sklearn.neural_network._multilayer_perceptron import MLPRegressor as TheirRegressor

import fastmlp

SCRIPT = """
import sys
from sklearn.neural_network import MLPClassifier
from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score

def train(seed):
    from sklearn.neural_network import MLPRegressor
    return MLPRegressor.__module__

if __name__ == "__main__":
    print(__name__, sys.argv[1:], MLPClassifier.__module__)
    print(*Parallel(2)(delayed(train)(seed) for seed in range(2)))
    X, y = load_iris(return_X_y=True)
    scores = cross_val_score(MLPClassifier(max_iter=5, random_state=0), X, y, cv=2, n_jobs=2)
    print(len(scores))
"""


@pytest.fixture
def patched():
    before = os.environ.get("PYTHONPATH")
    fastmlp.patch_sklearn()
    yield
    fastmlp.unpatch_sklearn()
    assert os.environ.get("PYTHONPATH") == before


def command(*arguments, folder=None, **environment):
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | environment,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def test_import_gives_ours(patched):
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    assert (MLPClassifier, MLPRegressor) == (fastmlp.MLPClassifier, fastmlp.MLPRegressor)
    assert fastmlp.sklearn_is_patched()
    est = MLPClassifier(max_iter=3, random_state=0).fit([[0.0], [1.0], [2.0]], [0, 1, 1])
    assert type(pickle.loads(pickle.dumps(est))) is fastmlp.MLPClassifier
    assert type(est.to_sklearn()) is TheirClassifier


def test_unpatch_takes_it_back(patched):
    fastmlp.patch_sklearn()  # twice does no harm
    fastmlp.unpatch_sklearn()
    assert not fastmlp.sklearn_is_patched()
    assert (module.MLPClassifier, module.MLPRegressor) == (TheirClassifier, TheirRegressor)
    fastmlp.unpatch_sklearn()
    assert not fastmlp.sklearn_is_patched()


def test_originals_stay_usable(patched):
    """A module that has imported them before, and what it pickles."""
    est = TheirRegressor(max_iter=2, random_state=0).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    assert type(pickle.loads(pickle.dumps(est))) is TheirRegressor
    assert type(fastmlp.MLPRegressor.from_sklearn(est)) is fastmlp.MLPRegressor


def test_logger_says_what_is_accelerated(caplog):
    with caplog.at_level(logging.INFO, logger="fastmlp"):
        fastmlp.patch_sklearn()
        module.MLPRegressor(max_iter=2).fit([[0.0], [1.0]], [0.0, 1.0])
        fastmlp.unpatch_sklearn()
    said = [record.getMessage() for record in caplog.records]
    assert any(s.startswith("sklearn.neural_network.MLPClassifier: accelerated") for s in said)
    assert any(s.startswith("MLPRegressor: accelerated") for s in said)
    assert said[-1] == "sklearn.neural_network.MLPRegressor: scikit-learn's own"


def test_processes_below_a_patched_one_are_patched(patched):
    code = "import sklearn.neural_network as m; print(m.MLPClassifier.__module__)"
    assert command("-c", code)[:2] == (0, "fastmlp.mlp\n")
    fastmlp.unpatch_sklearn()
    _, said, _ = command("-c", code)
    assert said.startswith("sklearn.")


def test_other_paths_stay_as_they_are(monkeypatch):
    for paths in ("a", os.pathsep.join(["", "a", "", "b"])):
        monkeypatch.setenv("PYTHONPATH", paths)
        fastmlp.patch_sklearn()
        assert os.environ["PYTHONPATH"].endswith(os.pathsep + paths)
        fastmlp.unpatch_sklearn()
        assert os.environ["PYTHONPATH"] == paths


def test_another_sitecustomize_still_runs(patched, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('mine')")
    paths = os.pathsep.join([os.environ["PYTHONPATH"], str(tmp_path)])
    code = "import sklearn.neural_network as m, sitecustomize as s; print(s.__file__, m.__name__)"
    _, said, _ = command("-c", code, PYTHONPATH=paths)
    assert said.split() == ["mine", str(tmp_path / "sitecustomize.py"), "sklearn.neural_network"]


def test_command_runs_a_program_unchanged(tmp_path):
    (tmp_path / "program.py").write_text(SCRIPT)
    code, said, errors = command("-m", "fastmlp", "program.py", "-m", "x", folder=tmp_path)
    assert code == 0, errors
    lines = said.splitlines()
    assert lines == ["__main__ ['-m', 'x'] fastmlp.mlp", "fastmlp.mlp fastmlp.mlp", "2"]


def test_command_runs_a_module_unchanged(tmp_path):
    (tmp_path / "program.py").write_text(SCRIPT.partition("    print(*Parallel")[0])
    code, said, errors = command("-m", "fastmlp", "-m", "program", "-m", "x", folder=tmp_path)
    assert (code, said) == (0, "__main__ ['-m', 'x'] fastmlp.mlp\n"), errors


def test_command_passes_on_how_a_program_ends(tmp_path):
    (tmp_path / "ends.py").write_text("import sys; sys.exit(3)")
    assert command("-m", "fastmlp", "ends.py", folder=tmp_path)[0] == 3
    code, _, errors = command("-m", "fastmlp", "missing.py", folder=tmp_path)
    assert code == 2
    assert "there is no file 'missing.py'" in errors
    assert command("-m", "fastmlp", "--version")[1] == f"fastmlp {fastmlp.__version__}\n"
