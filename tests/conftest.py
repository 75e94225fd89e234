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


def pytest_make_parametrize_id(val):
    """Name a choice of a table's row with other values than its defaults."""
    if isinstance(val, tuple) and len(val) == 2 and isinstance(val[1], dict):
        return f"{val[0]}-others"
    return None
