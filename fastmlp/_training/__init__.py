"""One fit.

    problem     what is to be fitted: X, y, sample weights, the network
    targets     what y means to the network
    random      the random stream
    evaluation  score and loss on data that are not trained on
    rows        rows of data that may be larger than memory
    chunks      the order of samples in which a file is read piece by piece
    session     the engine's network and the optimizer's state
    state       how far training has got; becomes the fitted attributes
    fit         what both kinds of training share
    stochastic  training by mini-batches
    lbfgs       training by L-BFGS
    tasks       a fit as scikit-learn's callbacks see it

A fit (``StochasticFit`` or ``LBFGSFit``) is made of an estimator's parameters, a problem and a
state, and refuses there what it must. Then it is run. What it finds is in the state, which is
published to the estimator when training ends.
"""

from .evaluation import Evaluation
from .lbfgs import LBFGSFit
from .problem import Problem
from .random import random_stream
from .session import Session, has_average
from .state import State
from .stochastic import StochasticFit
from .targets import (
    Labels,
    Values,
    class_weights,
    d2_of_quantiles,
    decode,
    encode_labels,
    ordered_quantiles,
)
from .tasks import Tasks

__all__ = [
    "Evaluation",
    "LBFGSFit",
    "Labels",
    "Problem",
    "Session",
    "State",
    "StochasticFit",
    "Tasks",
    "Values",
    "class_weights",
    "d2_of_quantiles",
    "decode",
    "encode_labels",
    "has_average",
    "ordered_quantiles",
    "random_stream",
]
