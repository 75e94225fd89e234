"""Patches scikit-learn in a process below a patched one, as soon as it is imported there.

``fastmlp._patch`` puts the folder of this file on PYTHONPATH, and Python imports the first
sitecustomize that it finds when it starts. This one costs next to nothing until somebody imports
``sklearn.neural_network``, and hands over to the one that it has come before.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder


class _Finder:
    """Finds sklearn.neural_network as the others do, and patches it when it has been imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "sklearn.neural_network":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_patch(module):
                execute(module)
                _patch()

            spec.loader.exec_module = execute_and_patch
        return spec


def _patch():
    try:
        import fastmlp
    except ImportError:
        return  # another environment, which has inherited PYTHONPATH
    fastmlp.patch_sklearn()


def _hand_over():
    """Run the sitecustomize that this one hides."""
    here = os.path.dirname(os.path.abspath(__file__))
    paths = [path for path in sys.path if os.path.abspath(path) != here]
    spec = PathFinder.find_spec("sitecustomize", paths)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


sys.meta_path.insert(0, _Finder())
_hand_over()
