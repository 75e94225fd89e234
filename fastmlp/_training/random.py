"""The random stream of a fit."""

import contextlib
import numbers
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from .. import _core

_local = threading.local()


@contextlib.contextmanager
def random_stream(random_state: Any) -> Iterator[np.random.RandomState]:
    """Turn random_state into a RandomState, as ``sklearn.utils.check_random_state`` does.

    To make one takes longer than a small fit, 0.2 ms; to seed one anew takes 4 us. So each thread
    keeps one, which is taken away while a fit uses it.
    """
    if not isinstance(random_state, numbers.Integral):
        yield check_random_state(random_state)
        return
    rng = _local.__dict__.pop("rng", None) or np.random.RandomState(0)
    rng.seed(random_state)
    try:
        yield rng
    finally:
        _local.rng = rng


def shuffler(rng: np.random.RandomState, order: NDArray) -> Callable[[], None]:
    """Return what shuffles an array of row numbers as ``rng.shuffle`` does."""
    bits = getattr(rng, "_bit_generator", None)
    return partial(rng.shuffle, order) if bits is None else _core.Shuffler(bits, order)
