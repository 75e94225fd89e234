"""Fixtures over the tables of the engine: a new row there is tested at once."""

import numpy as np
import pytest

from fastmlp import _core


@pytest.fixture(params=_core.ISAS)
def isa(request):
    """Every kernel set that this machine runs."""
    return request.param


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    """Every dtype of a network, as NumPy's dtype object."""
    return np.dtype(request.param)
