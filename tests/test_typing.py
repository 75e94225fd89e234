"""Type checkers in strict mode on a user's script, which sees fastmlp as installed."""

import re
import runpy
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import fastmlp
from fastmlp import _parameters

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tests" / "data" / "typed.py"

# What else a checker has to complain about, or it has not looked.
MISTAKES = [
    'fastmlp.MLPClassifier(activation="nonsense")',
    "numbers: list[int] = classifier.coefs_",
    "regressor.loss_curve_.shape",
    "fastmlp.optimizers.SGD(moment=0.5)",
]
COMMANDS = {
    "mypy": ["mypy", "--strict", "--python-executable"],
    "basedpyright": ["basedpyright", "--pythonpath"],
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter in whose site-packages fastmlp is: checkers do not read editable installs."""
    home = tmp_path_factory.mktemp("typing") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "fastmlp").symlink_to(Path(fastmlp.__file__).parent)
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return str(home / "bin" / "python")


@pytest.mark.parametrize("checker", COMMANDS)
def test_script_is_well_typed(checker, python, tmp_path):
    pytest.importorskip(checker)
    lines = SCRIPT.read_text().splitlines()
    for name in ("MLPClassifier", "MLPRegressor"):
        variable = name.removeprefix("MLP").lower()
        lines += [f"print({variable}.{attribute})" for attribute in _parameters.attributes(name)]
    (tmp_path / "script.py").write_text("\n".join([*lines, *MISTAKES]))
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [sys.executable, "-m", *COMMANDS[checker], python, "script.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = set(map(int, re.findall(r"script\.py:(\d+)[^\n]* error", result.stdout)))
    assert found == {len(lines) + 1 + i for i in range(len(MISTAKES))}, result.stdout


def test_script_runs():
    runpy.run_path(str(SCRIPT))
