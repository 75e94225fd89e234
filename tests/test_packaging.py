"""The package as its users get it, and what a build says when it cannot work."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import fastmlp

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fastmlp"


def run(*command, **options):
    """Run a command; its output belongs to the assertion that it went well."""
    result = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


# --------------------------------------------------------------------- builds that cannot work
def failed_build(folder, **environment):
    """What setup.py says, on one line."""
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext"]
        + [f"--build-{part}={folder / part}" for part in ("temp", "lib")],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    return " ".join(result.stdout.split())


def test_build_without_compiler_says_what_is_missing(tmp_path):
    said = failed_build(tmp_path, CC="no-such-compiler")
    assert "needs a C compiler, but 'no-such-compiler' is not on the PATH" in said
    assert "build-essential" in said


def test_build_with_unsupported_compiler_says_so(tmp_path):
    """A compiler that understands nothing of GNU C: it refuses whatever it is given."""
    compiler = tmp_path / "othercc"
    compiler.write_text("#!/bin/sh\necho 'othercc: unknown option' >&2\nexit 1\n")
    compiler.chmod(0o755)
    said = failed_build(tmp_path, CC=str(compiler))
    assert f"error: the C compiler '{compiler}' cannot build fastmlp" in said
    assert "GCC or Clang" in said


# ------------------------------------------------------------------------- wheel and sdist
@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """(wheel, sdist), the wheel built from the sdist as installers do; a release build."""
    folder = tmp_path_factory.mktemp("dist")
    env = {k: v for k, v in os.environ.items() if not k.startswith("FASTMLP_")}
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, env=env)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_wheel_is_small_and_holds_the_package_only(packages):
    wheel, _ = packages
    assert wheel.stat().st_size < 1_000_000
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"fastmlp-{fastmlp.__version__}.dist-info/"
    inside = {Path(n).relative_to("fastmlp") for n in names if not n.startswith(info)}
    binding = [p for p in inside if p.suffix == ".so"]
    assert [p.name.split(".")[0] for p in binding] == ["_core"]
    python = {p for pattern in ("*.py", "*.pyi", "py.typed") for p in PACKAGE.rglob(pattern)}
    assert inside == {p.relative_to(PACKAGE) for p in python} | set(binding)
    assert f"{info}licenses/LICENSE" in names


@pytest.mark.slow
def test_wheel_is_stripped(packages, tmp_path):
    wheel, _ = packages
    zipfile.ZipFile(wheel).extractall(tmp_path)
    (binding,) = tmp_path.glob("fastmlp/_core.*.so")
    # " t ": local functions. The exported ones are " T ", where nm shows them at all.
    assert not [line for line in run("nm", binding).splitlines() if " t " in line]


@pytest.mark.slow
def test_sdist_holds_sources_and_tests_and_no_build_products(packages):
    _, sdist = packages
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = [p for folder in ("src_c", "fastmlp", "tests") for p in (ROOT / folder).rglob("*.*")]
    sources = {p for p in files if p.suffix in {".c", ".h", ".py", ".pyx", ".pxd", ".pyi"}}
    assert {str(p.relative_to(ROOT)) for p in sources} <= names
    assert {"Makefile", "LICENSE", "README.md", "CHANGELOG.md"} <= names
    assert not [n for n in names if n.endswith((".o", ".so", ".pyc", ".npz"))]


SCRIPT = """
import sys
import numpy as np
import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from sklearn.datasets import load_iris

assert fastmlp.__file__.startswith(sys.prefix), fastmlp.__file__
X, y = load_iris(return_X_y=True)
model = MLPClassifier(max_iter=300, random_state=0).fit(X, y)
assert model.score(X, y) > 0.95
MLPRegressor(max_iter=20, early_stopping=True).fit(X, np.asarray(y, float)).predict(X[:1])
fastmlp.show_config()
"""


@pytest.mark.slow
def test_wheel_works_in_another_environment(packages, tmp_path):
    """Installed without an index; the required packages are those of this environment."""
    wheel, _ = packages
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "--no-index", "--no-deps", wheel)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    here = [p for p in sys.path if p.endswith("site-packages")]
    Path(site, "requirements.pth").write_text("\n".join(here))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FASTMLP_", "PYTHON"))}
    said = run(python, script, cwd=tmp_path, env=env)
    assert fastmlp.__version__ in said
