"""Builds fastmlp._core: the C engine in src_c/ and its Cython binding.

What can be declared stands in pyproject.toml. Left for code: the engine knows nothing of Python,
so its objects are compiled apart from the binding, with its own flags, in parallel, and kept in a
folder per compiler and flags. Development, sanitizer and release builds, and those for several
Python versions, thus never recompile or mix each other's objects. No flag depends on the CPU:
src_c/isa/*.c choose their instruction sets by pragma. On Windows the compiler is clang-cl, with the
headers and the linker of Visual Studio's build tools, or else MinGW-w64's GCC.

Environment:
    FASTMLP_DEV=1                        assertions; warnings are errors; symbols are kept
    FASTMLP_SANITIZE=address,undefined   what to give to -fsanitize=
    FASTMLP_COVERAGE=1                   for gcov, all but the kernels: `make coverage`
    FASTMLP_ABI3=1                       one binding for CPython 3.11 and later; see DESIGN.md, abi3
    CC, CFLAGS, LDFLAGS                  as everywhere
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError


def switch(name):
    """An environment variable that is on unless it is 0, empty or missing."""
    return os.environ.get(name, "0") not in ("", "0")


WINDOWS = sys.platform == "win32"
DEV = switch("FASTMLP_DEV")
SANITIZE = os.environ.get("FASTMLP_SANITIZE", "")
COVERAGE = switch("FASTMLP_COVERAGE")
# The free-threaded interpreters have no stable ABI.
ABI3 = switch("FASTMLP_ABI3") and not sysconfig.get_config_var("Py_GIL_DISABLED")

# The ISA files first: they take longest, and a parallel build ends soonest when they start first.
ENGINE_SOURCES = sorted(
    map(str, Path("src_c").rglob("*.c")), key=lambda name: Path(name).parent.name != "isa"
)
ENGINE_HEADERS = sorted(str(p) for end in ("h", "def") for p in Path("src_c").rglob(f"*.{end}"))

# -O2: kernels say themselves what is unrolled; -O3 makes them half as large again and no faster.
# -ffp-contract=off: a fused multiply-add happens only where the source says so, or results would
# differ from compiler to compiler. Flags that change what arithmetic means are out of the question.
ENGINE_FLAGS = ["-std=gnu11", "-O2", "-ffp-contract=off", "-fno-math-errno"]
# For the binding too. What fastmlp.h marks as FM_API is visible, and nothing else.
SHARED_FLAGS = [] if WINDOWS else ["-pthread", "-fvisibility=hidden"]
LINK_FLAGS = ["-static-libgcc"] if WINDOWS else ["-pthread"]
if DEV:
    ENGINE_FLAGS += ["-Wall", "-Wextra", "-Werror", "-Wvla", "-DFM_ASSERTIONS"]
    if not SANITIZE:  # whose frames are larger; see FM_STACK_BYTES
        ENGINE_FLAGS += ["-Wframe-larger-than=10240"]
if SANITIZE:
    # NaN in all padding: what is computed from it by mistake shows.
    ENGINE_FLAGS += ["-DFM_PADDING=NAN"]
    # -O1: instrumented kernels take minutes to compile at -O3 and find nothing more.
    SHARED_FLAGS += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g", "-O1"]
    LINK_FLAGS += [f"-fsanitize={SANITIZE}"]
elif not DEV:
    LINK_FLAGS += ["-Wl,-x" if sys.platform == "darwin" else "-Wl,--strip-all"]

# Lines are counted as they are written: not for the kernels, whose loops need -O3.
COVERAGE_FLAGS = ["--coverage", "-fprofile-update=atomic", "-O0"] if COVERAGE else []
LINK_FLAGS += COVERAGE_FLAGS[:1]

MACROS = [("Py_LIMITED_API", "0x030B0000")] if ABI3 else []
if WINDOWS:
    MACROS += [("MS_WIN64", "")]  # Python's headers define it for Microsoft's compiler only

PROBE = """
#include <Python.h>
#if !defined(__GNUC__) && !defined(__clang__)
#error "neither GCC nor Clang"
#endif
typedef float fm_probe __attribute__((vector_size(16)));
static inline fm_probe fm_probe_add(fm_probe a, fm_probe b) { return a + b; }
"""


class BuildExt(build_ext):
    """build_ext that compiles the engine first and says what is missing when it cannot."""

    def initialize_options(self):
        super().initialize_options()
        self.cython_c_in_temp = True  # the generated C file stays out of the source tree
        self.cython_line_directives = COVERAGE

    def finalize_options(self):
        super().finalize_options()
        if WINDOWS and self.compiler is None:
            self.compiler = "msvc" if shutil.which("clang-cl") else "mingw32"

    def build_extensions(self):
        if not hasattr(self, "cython_directives"):
            raise PlatformError("fastmlp is built with Cython, which is not installed here")
        cc = self._find_compiler()
        self._check_compiler(cc)
        self._rebuild_if_flags_changed()
        self.announce(
            f"fastmlp: '{cc}' compiles the engine once for each instruction set, one to two "
            "minutes of CPU time, shared by all cores",
            logging.INFO,
        )
        objects = self._build_engine()
        for ext in self.extensions:
            ext.extra_objects = objects
            ext.extra_compile_args = self._spelled(ext.extra_compile_args)
            ext.extra_link_args = self._link_flags(cc)
        super().build_extensions()

    def _find_compiler(self):
        """Return the C compiler's name, and have distutils use it."""
        if self.compiler.compiler_type == "msvc":
            cc = "clang-cl"
            if shutil.which(cc):
                self.compiler.initialize()  # looks for Visual Studio, else raises PlatformError
                self.compiler.cc = shutil.which(cc)
        else:
            cc = self.compiler.compiler_so[0]
        if shutil.which(cc) is None:
            raise CompileError(
                f"fastmlp is compiled here and needs a C compiler, but '{cc}' is not on the PATH. "
                "Install GCC or Clang (Debian and Ubuntu: apt install build-essential, Fedora: dnf "
                "install gcc, Alpine: apk add build-base, macOS: xcode-select --install, Windows: "
                "LLVM's clang-cl and Visual Studio's build tools, or MinGW-w64), or name yours in "
                "CC."
            )
        return cc

    def _spelled(self, flags):
        """Options as the compiler wants them on this system."""
        if self.compiler.compiler_type == "msvc":
            return [f"/clang:{f}" for f in flags]
        if WINDOWS and "clang" not in self.compiler.compiler_so[0]:
            # GCC's bug 54412: what it spills of AVX registers lies on a stack aligned to 16 bytes.
            return [*flags, "-Wa,-muse-unaligned-vector-move"]
        return flags

    def _link_flags(self, cc):
        if self.compiler.compiler_type != "msvc":
            return LINK_FLAGS
        # Where __builtin_cpu_supports is; the other compilers link it of themselves.
        command = [cc, "/clang:--rtlib=compiler-rt", "/clang:-print-libgcc-file-name"]
        return [subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()]

    def _check_compiler(self, cc):
        include = Path(sysconfig.get_path("include"))
        if not (include / "Python.h").exists():
            raise CompileError(
                f"fastmlp needs Python's header files, and {include} has no Python.h. "
                "Install them (Debian: python3-dev, Fedora: python3-devel)."
            )
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text(PROBE)
            flags = self._spelled([f for f in ENGINE_FLAGS if f != "-Werror"] + SHARED_FLAGS)
            try:
                self.compiler.compile(
                    [str(probe)],
                    output_dir=folder,
                    include_dirs=[str(include)],
                    extra_postargs=flags,
                )
            except CompileError as error:
                raise CompileError(
                    f"the C compiler '{cc}' cannot build fastmlp, which needs GCC or Clang with "
                    f"C11 and vector extensions. Its own words are above. ({error})"
                ) from error

    def _command(self):
        of = self.compiler
        return of.cc if of.compiler_type == "msvc" else of.compiler_so

    def _rebuild_if_flags_changed(self):
        """Distutils looks at the age of files only."""
        flags = repr((self._command(), SHARED_FLAGS, LINK_FLAGS, ENGINE_FLAGS, ABI3))
        record = Path(self.build_temp, "flags.txt")
        if not record.exists() or record.read_text() != flags:
            self.force = True
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(flags)

    def _build_engine(self):
        """Compile what is older than its source or any header; return all object files."""
        flags = ENGINE_FLAGS + SHARED_FLAGS
        command = repr((self._command(), flags, COVERAGE_FLAGS))
        folder = Path("build", f"engine-{hashlib.sha256(command.encode()).hexdigest()[:12]}")
        macros = [("FM_BUILD_FLAGS", f'"{" ".join(flags)}"')]
        headers_age = max(os.path.getmtime(h) for h in ENGINE_HEADERS)

        def compile_one(source):
            target = (folder / source).with_suffix(self.compiler.obj_extension)
            newest = max(headers_age, os.path.getmtime(source))
            if not target.exists() or target.stat().st_mtime <= newest:
                target.parent.mkdir(parents=True, exist_ok=True)
                self.compiler.compile(
                    [source],
                    output_dir=str(folder),
                    macros=macros,
                    include_dirs=["src_c"],
                    extra_postargs=self._spelled(
                        flags + ([] if Path(source).parent.name == "isa" else COVERAGE_FLAGS)
                    ),
                )
            return str(target)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(compile_one, ENGINE_SOURCES))


setup(
    ext_modules=[
        Extension(
            "fastmlp._core",
            ["fastmlp/_core.pyx"],
            include_dirs=["src_c"],
            depends=ENGINE_SOURCES + ENGINE_HEADERS,
            define_macros=MACROS,
            extra_compile_args=SHARED_FLAGS + COVERAGE_FLAGS,
            extra_link_args=LINK_FLAGS,
            py_limited_api=ABI3,
        )
    ],
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
