"""What older versions of other packages lack."""

import pytest
import sklearn

SKLEARN = tuple(map(int, sklearn.__version__.split(".")[:2]))

needs_1_9 = pytest.mark.skipif(SKLEARN < (1, 9), reason="needs scikit-learn 1.9")
