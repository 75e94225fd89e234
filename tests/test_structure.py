"""The structure of the code, kept by reading it: dependencies point one way.

    mlp -> _base -> _training -> _core -> fastmlp.h
    engine -> host, kernels/kernels.h
    isa -> kernels -> gemm, tables -> simd

The network never sees SIMD, kernels never see a network, the engine never sees Python; what the
object files define and ask for must say the same. A new file needs a place in the tables below.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import pytest

import fastmlp
from fastmlp import _core

ROOT = Path(__file__).parent.parent
ENGINE = ROOT / "src_c"
PACKAGE = ROOT / "fastmlp"

# What a file of the engine may include of the engine; the first pattern that fits counts. The
# rows of the tables are read on both sides of the seam kernels.h, their code on the SIMD side.
ROWS = {"fastmlp.h", "tables/*.def", "tables/tables.h"}
SEAM = "kernels/kernels.h"
MAY_INCLUDE = {
    "fastmlp.h": set(),
    "host/threads.h": set(),
    "host/system.h": set(),
    "host/posix.c": {"host/system.h"},
    "host/windows.c": {"host/system.h"},
    "host/threads.c": {"host/threads.h", "host/system.h"},
    "host/cpus.c": {"fastmlp.h", "host/threads.h", "host/system.h"},
    "host/fpu.h": set(),
    "host/interrupt.h": {"fastmlp.h", "host/fpu.h"},
    "engine/dispatch.c": {SEAM, "simd/x86_bf16.h"},
    "engine/plan.h": {SEAM, "host/interrupt.h", "host/threads.h", "tables/tables.h"},
    "engine/plan.c": {"engine/plan.h"},
    "engine/net.h": {"engine/plan.h"},
    "engine/check.h": {"engine/net.h"},
    "engine/*.c": {"engine/net.h", "engine/check.h", "host/fpu.h", "host/system.h"},
    "tables/*.def": set(),
    "tables/tables.[ch]": ROWS,
    "tables/*.h": {"tables/tables.h", "simd/vmath.h"},
    "isa/*.c": {"simd/*.h", "kernels/*_set.h"},
    "kernels/assert.h": set(),
    SEAM: {"fastmlp.h", "kernels/assert.h", "tables/tables.h"},
    "kernels/*_set.h": {"kernels/*.h", "simd/end.h"},
    "kernels/*.h": {"kernels/*.h", "gemm/gemm.h", "tables/*"},
    "gemm/gemm.h": {"gemm/*.h"},
    "gemm/nonzeros.h": {SEAM, "gemm/tile.h"},
    "gemm/tile.h": {"kernels/assert.h"},
    "simd/*.h": {"simd/*.h"},
}
# simd/x86_bf16.h says what the compiler knows, and holds no code.
SIMD_SIDE = [
    "simd/[!x]*",
    "isa/*",
    "gemm/*",
    "kernels/[!ak]*",
    "kernels/activate.h",
    "tables/[!t]*.h",
]

# What a module of the package may import of the package, and which other packages at all: those
# that fastmlp requires. Everything else is the user's and imported where it is used, if at all.
FAMILIES = {"activations", "initializers", "losses", "optimizers", "schedules"}
MAY_IMPORT = {
    "__init__": {"mlp", "_c", "_config", "_onnx", "_patch", *FAMILIES}
    | {"batches", "callbacks", "display", "mlflow"},
    "__main__": {"_commands", "_patch"},
    "_commands": {"_optional", "_safetensors", "mlp"},
    "_summary": {"_network", "_structure"},
    "_patch": {"mlp", "_core", "_sklearn"},
    "_c": {"_base", "_layers", "_safetensors"},
    "_layers": {"_network", "_structure", "activations"},
    "_onnx": {"_base", "_layers", "_optional", "mlp"},
    "_optional": set(),
    "_startup.sitecustomize": set(),
    "_config": {"_core"},
    "mlp": {"_base", "_files", "_parameters", "_training", "_sklearn", *FAMILIES},
    "_base": {"_parameters", "_network", "_training", "_families", "_threads", "_core", "_sklearn"}
    | {"_checkpoint", "_files", "_convert", "_structure", "_summary", "callbacks", "optimizers"}
    | {"_batches"},
    "_checkpoint": {"_files", "_training", "callbacks"},
    "_convert": {"_network", "_structure", "_families", "_parameters", "_sklearn"},
    "_files": {"_safetensors", "_parameters", "_network", "_structure", "_training", "_families"}
    | {"optimizers", "schedules"},
    "_batches": {"callbacks"},
    "batches": {"_optional"},
    "_safetensors": set(),
    "_parameters": {"_network", "_families", "_sklearn", *FAMILIES},
    "_network": {"_families", "_structure", "activations", "initializers"},
    "_structure": set(),
    **{name: {"_families"} for name in FAMILIES},
    "_families": {"_sklearn"},
    "callbacks": {"_optional", "display"},  # the latter when a curve is first drawn
    "display": {"_base", "_optional", "_summary", "_training"},
    "mlflow": {"_optional", "mlp"},
    "_training.mixup": {"_training.problem"},
    "_training.chunks": {"_training.problem", "_training.random", "_training.rows"},
    "_training.rows": set(),
    "_training.fit": {"_training.*", "_network", "callbacks"},
    "_training.evaluation": {"_training.*", "_network", "_structure", "_core", "_sklearn"},
    "_training": {"_training.*"},
    "_training.stochastic": {"_training.*", "_network", "_parameters", "_core", "_sklearn"}
    | {"callbacks", "schedules"},
    "_training.lbfgs": {"_training.*", "_network", "_parameters", "_threads", "_core", "_sklearn"}
    | {"callbacks", "schedules"},
    "_training.session": {"_network", "optimizers", "schedules", "_core"},
    "_training.state": {"_structure"},
    "_training.tasks": {"_training.state", "_sklearn", "callbacks"},
    "_training.problem": {"_training.rows", "_training.targets", "_network"},
    "_training.targets": {"_families", "activations", "losses", "_core", "_sklearn"},
    "_training.random": {"_core"},
    "_threads": set(),
    "_sklearn": set(),
}
REQUIRED = {"numpy", "scipy", "sklearn", "joblib", "threadpoolctl"}

ENGINE_FILES = sorted(
    str(p.relative_to(ENGINE)) for ending in ("[ch]", "def") for p in ENGINE.rglob(f"*.{ending}")
)
SOURCES = [name for name in ENGINE_FILES if name.endswith(".c")]
ISA_SOURCES = [name for name in SOURCES if name.startswith("isa/")]
MODULES = {
    ".".join(p.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): p
    for p in sorted(PACKAGE.rglob("*.py"))
}


def fits(name, patterns):
    return any(fnmatch(name, pattern) for pattern in patterns)


# --------------------------------------------------------------------------- text of the engine
def includes(name):
    """Two sets: what a file of src_c includes of src_c, and what of elsewhere."""
    inside, outside = set(), set()
    text = (ENGINE / name).read_text()
    for quote, target in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', text, re.M):
        if quote == '"':
            inside.add(target)
        else:
            outside.add(target)
    return inside, outside


@pytest.mark.parametrize("name", ENGINE_FILES)
def test_includes_point_one_way(name):
    allowed = next((MAY_INCLUDE[p] for p in MAY_INCLUDE if fnmatch(name, p)), None)
    assert allowed is not None, f"src_c/{name} has no place in MAY_INCLUDE"
    inside, _ = includes(name)
    assert not {other for other in inside if not fits(other, allowed)}
    assert inside <= set(ENGINE_FILES)  # named from src_c, whoever includes it


@pytest.mark.parametrize("name", ENGINE_FILES)
def test_engine_knows_neither_python_nor_other_libraries(name):
    text = (ENGINE / name).read_text()
    _, outside = includes(name)
    assert not {t for t in outside if re.search(r"python|numpy|blas|mkl|omp\.h", t, re.I)}
    assert not re.search(r"\bPy[A-Z_]\w*\(|\bNPY_|#\s*pragma omp", text)


@pytest.mark.parametrize(
    "name",
    # fpu.h sets a control register, which is no arithmetic
    [n for n in ENGINE_FILES if n == "simd/vmath.h" or not fits(n, ["simd/*", "host/fpu.h"])],
)
def test_intrinsics_stay_in_simd(name):
    text = (ENGINE / name).read_text()
    _, outside = includes(name)
    assert not {t for t in outside if re.search(r"intrin\.h|arm_\w+\.h", t)}
    assert not re.search(r"\b_mm\d*_|\b__m\d+|\bfloat(32|64)x\d|\bv\w+q_f(32|64)\b", text)


# ----------------------------------------------------------------------- what the compiler sees
@pytest.fixture(scope="module")
def compiler():
    """The command of the compiler that builds extensions here."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


@pytest.mark.parametrize("name", [n for n in SOURCES if n not in ISA_SOURCES])
def test_network_sees_no_simd(name, compiler):
    command = [*compiler, "-std=gnu11", f"-I{ENGINE}", "-MM", str(ENGINE / name)]
    rule = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seen = {Path(p).resolve() for p in rule.replace("\\\n", " ").split(":", 1)[1].split()}
    seen = {str(p.relative_to(ENGINE.resolve())) for p in seen}
    assert name in seen
    assert not {other for other in seen if fits(other, SIMD_SIDE)}


@pytest.fixture(scope="module")
def symbols(compiler, tmp_path_factory):
    """{source file: (names it defines for others, names it asks for)}, by nm."""
    folder = tmp_path_factory.mktemp("objects")

    def of(name):
        target = folder / name.replace("/", "_").replace(".c", ".o")
        options = ["-std=gnu11", "-O0", "-fPIC", "-pthread", f"-I{ENGINE}"]
        options += ['-DFM_BUILD_FLAGS=""']
        subprocess.run([*compiler, *options, "-c", str(ENGINE / name), "-o", target], check=True)
        return nm("-g", "--defined-only", target), nm("-u", target)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(SOURCES, pool.map(of, SOURCES), strict=True))


def nm(*arguments):
    """The names nm prints, without the underscore that macOS puts before each."""
    text = subprocess.run(["nm", *arguments], check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in text.splitlines() if line.strip()}
    return {n.removeprefix("_") for n in names} if sys.platform == "darwin" else names


@pytest.mark.parametrize("name", SOURCES)
def test_symbols_carry_the_prefix(name, symbols):
    defined, _ = symbols[name]
    assert not {s for s in defined if not s.startswith("fm_")}


@pytest.mark.parametrize("name", ISA_SOURCES)
def test_kernels_are_one_table_and_see_no_network(name, symbols):
    defined, wanted = symbols[name]
    assert defined in (set(), {f"fm_kernels_{Path(name).stem}"})
    assert not {s for s in wanted if s.startswith("fm_")}


def test_network_reaches_kernels_only_through_dispatch(symbols):
    users = {n for n, (_, wanted) in symbols.items() for s in wanted if s.startswith("fm_kernels_")}
    assert users == {"engine/dispatch.c"}


def test_only_the_pool_has_threads(symbols):
    def users(*starts):
        return {
            n for n, (_, wanted) in symbols.items() if any(s.startswith(starts) for s in wanted)
        }

    assert users("pthread_") <= {"host/posix.c", "engine/dispatch.c"}
    assert users("fm_thread_", "fm_monitor_") == {"host/threads.c"}


@pytest.mark.parametrize("name", SOURCES)
def test_engine_never_reads_the_environment(name, symbols):
    """Python threads write it meanwhile, and C libraries move it then."""
    _, wanted = symbols[name]
    assert not wanted & {"getenv", "secure_getenv", "environ", "__environ"}


def test_extension_exports_the_header_and_nothing_else():
    header = (ENGINE / "fastmlp.h").read_text()
    api = set(re.findall(r"^FM_API [^;(]*?\b(fm_\w+)\(", header, re.M))
    assert {"fm_net_create", "fm_predict", "fm_set_num_threads"} <= api
    options = ["-gU"] if sys.platform == "darwin" else ["-D", "--defined-only"]
    exported = nm(*options, _core.__file__)
    assert exported - {"_init", "_fini"} == api | {"PyInit__core"}


# ------------------------------------------------------------------------------ Python package
def imports(path):
    """[(absolute module, name or None, whether at module level)] of a Python file."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, None, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.relative_to(PACKAGE.parent).parent.parts
                package = package[: len(package) - node.level + 1]
                module = ".".join([*package, module]).rstrip(".")
            found += [(module, alias.name, id(node) in top) for alias in node.names]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_one_way(module):
    assert module in MAY_IMPORT, f"{MODULES[module]} has no place in MAY_IMPORT"
    used = set()
    for target, name, _ in imports(MODULES[module]):
        if target == "fastmlp":
            used.add(name)
        elif target.startswith("fastmlp."):
            used.add(target.removeprefix("fastmlp."))
    used &= {*MODULES, "_core"}
    assert not {other for other in used if not fits(other, MAY_IMPORT[module])}


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_is_required(module):
    top_level = {t.split(".")[0] for t, _, top in imports(MODULES[module]) if top}
    assert top_level <= REQUIRED | {"fastmlp"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", [m for m in MODULES if m != "_sklearn"])
def test_private_scikit_learn_stays_in_one_module(module):
    for target, name, _ in imports(MODULES[module]):
        if target.split(".")[0] == "sklearn":
            path = f"{target}.{name}" if name else target
            assert not any(part.startswith("_") for part in path.split(".")), path


def test_reference_stands_alone():
    """The specification shares nothing with what it specifies."""
    used = {target.split(".")[0] for target, _, _ in imports(ROOT / "tests" / "reference.py")}
    assert used - set(sys.stdlib_module_names) == {"numpy"}


# ------------------------------------------------------------------------------------- version
def test_version_is_said_once():
    project = (ROOT / "pyproject.toml").read_text()
    assert 'version = { attr = "fastmlp.__version__" }' in project
    assert not re.search(r'^version = "', project, re.M)
    version = re.escape(fastmlp.__version__)
    places = [
        *PACKAGE.rglob("*.py"),
        *PACKAGE.rglob("*.p[xy][dxi]"),
        *ENGINE.rglob("*.[ch]"),
        ROOT / "setup.py",
    ]
    assert [p.name for p in places if re.search(version, p.read_text())] == ["__init__.py"]


def test_changelog_is_open_and_knows_the_version():
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased"
    assert headings[1:2] in ([], [fastmlp.__version__])
