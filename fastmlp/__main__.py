"""The command line: ``python -m fastmlp --help``."""

import argparse
import os
import runpy
import sys
from collections.abc import Sequence

from . import __version__
from ._commands import COMMANDS, command_line
from ._patch import patch_sklearn

_DESCRIPTION = """\
Run a Python program in which scikit-learn's MLPClassifier and MLPRegressor are fastmlp's,
without a change of its code:

  python -m fastmlp script.py [arguments]
  python -m fastmlp -m module [arguments]

or use a model file:

  python -m fastmlp predict model.safetensors data.csv
  python -m fastmlp info model.safetensors
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        command_line(given[0], given[1:])
        return
    parser = argparse.ArgumentParser(
        prog="python -m fastmlp",
        usage="python -m fastmlp (script.py | -m module) [arguments]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastmlp {__version__}")
    parser.add_argument("-m", dest="module", action="store_true", help="run a module, not a file")
    parser.add_argument("program", help="file or module to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program is given")
    options = parser.parse_args(given)
    if not options.module and not os.path.exists(options.program):
        parser.error(f"there is no file {options.program!r}")
    patch_sklearn()
    run(options.program, options.arguments, is_module=options.module)


def run(program: str, arguments: Sequence[str], is_module: bool) -> None:
    """Run a program as Python itself would have."""
    sys.argv[:] = [program, *arguments]
    if is_module:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
        return
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.abspath(program))
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
