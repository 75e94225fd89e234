"""kernels/block_set.h, the kernels for AMX and AVX512_BF16, on C versions of their instructions.

A C program does the work, see tests/c/packed.c; here it is built, with sanitizers if the compiler
has them, and run. On a machine that has the instructions test_bfloat16.py runs the real kernels.
"""

import os
import shlex
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests" / "c"
# All but dispatch.c, whose place packed.c takes, and one kernel set, to compare with.
ENGINE = [
    *(p for p in (ROOT / "src_c").glob("*/*.c") if p.parent.name != "isa" and p.stem != "dispatch"),
    ROOT / "src_c" / "isa" / "generic_f32.c",
]
SOURCES = [
    *((source, []) for source in ENGINE),
    (TESTS / "packed.c", []),
    *((TESTS / "packed_set.c", [f"-DFM_AMX={amx}"]) for amx in (0, 1)),
]


CC = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
FLAGS = ["-std=gnu11", "-O1", "-g", "-ffp-contract=off", "-fno-math-errno", "-pthread"]
FLAGS += ["-Wall", "-Wextra", "-Wno-psabi", f"-I{ROOT / 'src_c'}", f"-I{TESTS}"]


def test_packed_kernels_compile_on_the_emulation():
    flags = [*FLAGS, "-Werror", "-fsyntax-only", "-DFM_AMX=1"]
    subprocess.run([*CC, *flags, TESTS / "packed_set.c"], check=True)


@pytest.mark.slow
def test_packed_kernels_match_the_emulation(tmp_path):
    flags = list(FLAGS)
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }")
    command = [*CC, *sanitizers, str(probe), "-o", str(tmp_path / "probe")]
    if subprocess.run(command, capture_output=True).returncode == 0:
        flags += sanitizers

    def compile_one(numbered):
        number, (source, macros) = numbered
        target = tmp_path / f"{number}.o"
        subprocess.run([*CC, *flags, *macros, "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, enumerate(SOURCES)))
    program = tmp_path / "packed"
    subprocess.run([*CC, *flags, *objects, "-lm", "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
