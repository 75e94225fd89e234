"""What this installation is made of, for bug reports."""

import platform
import sys

import numpy
import scipy
import sklearn

from . import __version__, _core


def show_config() -> None:
    """Print version, kernel sets, threads and compiler, and what fastmlp stands on.

    The kernel set in use is the first of those available, unless the environment variable
    FASTMLP_ISA names another.
    """
    available = ", ".join(_core.ISAS)
    rows = {
        "fastmlp": __version__,
        "kernel sets": f"{available} (compiled in: {', '.join(_core.ALL_ISAS)})",
        "for bfloat16": ", ".join(_core.bfloat16_isas()),
        "threads": _core.get_num_threads(),
        "compiler": _core.BUILD_INFO,
        "python": f"{platform.python_version()} on {sys.platform} {platform.machine()}",
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }
    for name, value in rows.items():
        print(f"{name + ':':<14}{value}")
