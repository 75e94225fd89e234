"""What this installation is made of, for bug reports."""

import platform
import sys

import numpy
import scipy
import sklearn

from . import __version__, _core


def show_config() -> None:
    """Print version, kernel sets, threads and compiler, and what fastmlp stands on.

    The kernel set in use is the best that this machine runs, unless the environment variable
    FASTMLP_ISA named another when fastmlp was imported.
    """
    available, compiled = ", ".join(_core.ISAS), ", ".join(_core.ALL_ISAS)
    for_bfloat16 = ", ".join(_core.bfloat16_isas())
    rows = {
        "fastmlp": __version__,
        "kernel set": f"{_core.default_isa()} (available: {available}; compiled in: {compiled})",
        "for bfloat16": f"{_core.default_isa(bfloat16=True)} (available: {for_bfloat16})",
        "threads": _core.get_num_threads(),
        "compiler": _core.BUILD_INFO,
        "python": f"{platform.python_version()} on {sys.platform} {platform.machine()}",
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }
    for name, value in rows.items():
        print(f"{name + ':':<14}{value}")
