"""The specification: fastmlp's network in plain NumPy, float64 throughout.

A reader who wants to know *what* the engine computes finds it here; *how* it computes it fast is
the business of ``src_c``. The module offers the same names as ``fastmlp._core``, so a test may put
either behind the estimators. Nothing here is tuned.

The network has weight layers ``l = 0 .. L``. With ``A_0 = X`` each computes ::

    Z_l = A_l W_l + b_l,    A_{l+1} = f_l(Z_l),

and the loss of a mini-batch of n rows with sample weights w (ones if there are none) is ::

    s = sum_i w_i,    J = (1/s) sum_i w_i l(y_i, a_i) + alpha/(2 s) sum_l |W_l|^2,

where ``a_i`` are the rows of the last ``A``. Biases are not penalised.

A network of dtype float32 differs from one of float64 in two ways only: what goes in and out is
rounded to float32, and the log losses clip with float32's epsilon. In between this module still
works in float64, so it is the ideal that a float32 engine approximates.

With bfloat16, the operands of all matrix products are rounded to the nearest bfloat16 number: X,
the weights, the activations of hidden layers and the deltas (db is the sum of these deltas; X is
rounded to float32 first). Nothing else is: weights, biases, state, outputs, losses stay float32.

A hidden layer may do more, in this order: Z is normalised, by columns over the mini-batch [IS] or
by rows [BKH], f is taken, outputs are dropped, and what the layer was given, or its product with a
projection P where the width changes, is added [HZRS]. Predictions normalise columns by running
averages of the mini-batches' means and variances.

Dropout (inverted) sets a number of X, or of what a hidden layer puts out, to 0 with probability p
and divides the others by 1 - p. Which ones, the counter-based generator Philox says: see `keeps`.

Formulas cite

    [SHKSS] Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout: a simple way to
           prevent neural networks from overfitting. JMLR 15, 2014.
    [IS]   Ioffe, Szegedy: Batch normalization: accelerating deep network training by reducing
           internal covariate shift. ICML 2015, arXiv:1502.03167.
    [BKH]  Ba, Kiros, Hinton: Layer normalization. 2016, arXiv:1607.06450.
    [HZRS] He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016.
    [SMDS] Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC11, 2011.
    [GBC]  Goodfellow, Bengio, Courville: Deep Learning. MIT Press, 2016.
    [B]    Bishop: Pattern Recognition and Machine Learning. Springer, 2006.
    [KB]   Kingma, Ba: Adam: a method for stochastic optimization. ICLR 2015, arXiv:1412.6980.
    [SMDH] Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum in
           deep learning. ICML 2013.
    [LH]   Loshchilov, Hutter: Decoupled weight decay regularization. ICLR 2019.
    [Do]   Dozat: Incorporating Nesterov momentum into Adam. ICLR 2016 workshop.
    [Liu]  Liu et al.: On the variance of the adaptive learning rate and beyond. ICLR 2020.
    [RKK]  Reddi, Kale, Kumar: On the convergence of Adam and beyond. ICLR 2018.
    [TH]   Tieleman, Hinton: Lecture 6.5: RMSprop. Coursera, 2012.
    [DHS]  Duchi, Hazan, Singer: Adaptive subgradient methods. JMLR 12 (2011).
    [Z]    Zeiler: ADADELTA: an adaptive learning rate method. arXiv:1212.5701, 2012.
    [C]    Chen et al.: Symbolic discovery of optimization algorithms. NeurIPS 2023.
    [PMB]  Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks. ICML
           2013.
    [MN]   McCullagh, Nelder: Generalized Linear Models, 2nd ed. Chapman & Hall, 1989.
    [J]    Jorgensen: Exponential dispersion models. JRSS B 49, 1987.
    [H]    Huber: Robust estimation of a location parameter. Ann. Math. Statist. 35, 1964.
    [KB78] Koenker, Bassett: Regression quantiles. Econometrica 46, 1978.
    [LGGHD] Lin, Goyal, Girshick, He, Dollar: Focal loss for dense object detection. ICCV 2017.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from operator import index
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

# ----------------------------------------------------------------------------------------- tables
#
# A row of a table may have parameters. A choice is a name, which stands for the defaults, or a
# tuple (name, *values) or (name, {parameter: value}); every function of the row takes the values
# as keywords.


class Parameter(NamedTuple):
    default: float
    low: float
    high: float
    closed: str  # which bounds it may take: "left", "right", "both" or "neither"

    def allows(self, value):
        if isinstance(self.default, bool):
            return value in (False, True)
        above = value > self.low or (value == self.low and self.closed in ("left", "both"))
        below = value < self.high or (value == self.high and self.closed in ("right", "both"))
        return above and below


def SWITCH(default):
    return Parameter(default, 0, 1, "both")


def name_of(choice):
    return choice[0] if isinstance(choice, tuple) and choice else choice


def choose(table, choice):
    """Return the row of a choice and the values of all its parameters."""
    name, values = name_of(choice), choice[1:] if isinstance(choice, tuple) else ()
    _require(isinstance(name, str) and name in table, f"unknown row: {name!r}")
    parameters = table[name].parameters
    _require(len(values) <= len(parameters), f"{name!r} has too many values")
    if len(values) != 1 or not isinstance(values[0], dict):
        values = [dict(zip(parameters, values, strict=False))]
    for parameter, value in values[0].items():
        _require(parameter in parameters, f"{name!r} has no parameter {parameter!r}")
        for one in value if isinstance(value, tuple) else (value,):  # of each output its own
            allowed = parameters[parameter].allows(one)
            _require(allowed, f"{parameter} of {name!r} is out of bounds")
    return table[name], {key: p.default for key, p in parameters.items()} | values[0]


# ------------------------------------------------------------------------------------ activations
#
# Each has f(Z), and the way back, which takes dJ/dA to dJ/dZ, from A = f(Z), or from Z where A does
# not determine it. For all but softmax the way back is elementwise, dJ/dA * f'(Z).


def _logistic(Z):
    # Two forms of one function [B, 4.59]; each is used where its exp cannot overflow.
    e = np.exp(-np.abs(Z))
    return np.where(Z >= 0, 1 / (1 + e), e / (1 + e))


def _softmax(Z):
    # [B, 4.62]. Adding a constant to a row changes nothing, so the row's maximum is taken away
    # to keep exp from overflowing.
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def _softmax_back(Z, A, dA):
    # da_k/dz_j = a_k (1[k = j] - a_j) [B, 4.106], contracted with dA.
    return A * (dA - (dA * A).sum(axis=1, keepdims=True))


def _elu(Z, alpha):
    return np.where(Z > 0, Z, alpha * np.expm1(np.minimum(Z, 0)))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _below(Z):
    """-|Z|, not below -1e4, where a function that decays like exp(Z) is 0."""
    return -np.minimum(np.abs(Z), 1e4)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _normal_cdf(X):
    return 0.5 * _erfc(-X / np.sqrt(2))


def _gelu(Z):
    # Z Phi(Z), and Phi(Z) = 1 - Phi(-Z).
    return np.maximum(Z, 0) + _below(Z) * _normal_cdf(_below(Z))


def _gelu_back(Z, A, dA):
    tail = _normal_cdf(_below(Z))
    density = np.exp(-0.5 * Z**2) / np.sqrt(2 * np.pi)
    return dA * (np.where(Z > 0, 1 - tail, tail) + Z * density)


def _silu(Z):
    # Z logistic(Z), and logistic(Z) = 1 - logistic(-Z).
    return np.maximum(Z, 0) + _below(Z) * _logistic(_below(Z))


def _silu_back(Z, A, dA):
    return dA * _logistic(Z) * (1 + Z * _logistic(-Z))


def _softplus(Z):
    return np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z)))


def _mish(Z):
    return np.where(Z > 0, Z, _below(Z)) * np.tanh(_softplus(Z))


def _mish_back(Z, A, dA):
    t = np.tanh(_softplus(Z))
    return dA * (t + Z * _logistic(Z) * (1 - t**2))


def _softsign(Z):
    Z = np.clip(Z, -1e300, 1e300)
    return Z / (1 + np.abs(Z))


def _hardsigmoid(Z):
    return np.clip(Z + 3, 0, 6) / 6


class Activation(NamedTuple):
    f: Callable  # Z, parameters -> A
    back: Callable  # Z, A, dJ/dA, parameters -> dJ/dZ
    hidden: bool = True  # may stand in a hidden layer
    output: bool = True  # may stand at the output
    positive: bool = False  # all outputs are
    parameters: Mapping = MappingProxyType({})


ACTIVATIONS = {
    "identity": Activation(lambda Z: Z, lambda Z, A, dA: dA),
    "logistic": Activation(  # [B, 4.88]
        _logistic, lambda Z, A, dA: dA * A * (1 - A), positive=True
    ),
    "tanh": Activation(np.tanh, lambda Z, A, dA: dA * (1 - A**2)),  # [B, 5.60]
    # [GBC, 6.37]; the derivative at the kink is taken to be 0. A NaN stays one, both ways.
    "relu": Activation(lambda Z: np.maximum(Z, 0), lambda Z, A, dA: np.where(A == 0, 0, dA)),
    # The papers of these are cited in fastmlp/activations.py. Derivatives at kinks are those from
    # below or, of relu6 and its relatives, 0.
    "leaky_relu": Activation(
        lambda Z, slope: np.where(Z > 0, Z, slope * Z),
        lambda Z, A, dA, slope: dA * np.where(A > 0, 1, slope),
        output=False,
        parameters={"slope": Parameter(0.01, 0, np.inf, "left")},
    ),
    "elu": Activation(
        _elu,
        lambda Z, A, dA, alpha: dA * np.where(A > 0, 1, A + alpha),
        output=False,
        parameters={"alpha": Parameter(1.0, 0, np.inf, "left")},
    ),
    "selu": Activation(
        lambda Z: SELU_SCALE * _elu(Z, SELU_ALPHA),
        lambda Z, A, dA: dA * np.where(A > 0, SELU_SCALE, A + SELU_SCALE * SELU_ALPHA),
        output=False,
    ),
    "celu": Activation(
        lambda Z, alpha: np.where(Z > 0, Z, alpha * _elu(Z / alpha, 1)),
        lambda Z, A, dA, alpha: dA * np.where(A > 0, 1, A / alpha + 1),
        output=False,
        parameters={"alpha": Parameter(1.0, 0, np.inf, "neither")},
    ),
    "gelu": Activation(_gelu, _gelu_back, output=False),
    "silu": Activation(_silu, _silu_back, output=False),
    "mish": Activation(_mish, _mish_back, output=False),
    "softplus": Activation(_softplus, lambda Z, A, dA: dA * -np.expm1(-A), positive=True),
    "softsign": Activation(_softsign, lambda Z, A, dA: dA * (1 - np.abs(A)) ** 2, output=False),
    "relu6": Activation(
        lambda Z: np.clip(Z, 0, 6),
        lambda Z, A, dA: np.where((A > 0) & (A < 6), dA, 0),
        output=False,
    ),
    "hardswish": Activation(
        lambda Z: np.maximum(Z, -3) * _hardsigmoid(Z),
        lambda Z, A, dA: dA * np.where(Z <= -3, 0, np.where(Z < 3, Z / 3 + 0.5, 1)),
        output=False,
    ),
    "hardsigmoid": Activation(
        _hardsigmoid, lambda Z, A, dA: np.where((A > 0) & (A < 1), dA / 6, 0), output=False
    ),
    "softmax": Activation(_softmax, _softmax_back, hidden=False),
    "exp": Activation(np.exp, lambda Z, A, dA: dA * A, hidden=False, positive=True),
}

# ----------------------------------------------------------------------------------------- losses
#
# Each is a pair: the loss of every row, l(Y, A) of shape (n,), and its gradient dl/dA. eps is the
# machine epsilon of the network's dtype: probabilities are clipped to [eps, 1 - eps] before a
# logarithm or a division is taken. The clip is not differentiated.


def _xlogy(x, y):
    """x log y, and 0 wherever x = 0: the limit of x log x for x -> 0."""
    return np.where(x == 0, 0.0, x * np.log(np.where(x == 0, 1.0, y)))


def _clip(A, eps):
    return np.clip(A, eps, 1 - eps)


def _squared_error(Y, A, eps):
    # Half the squared error, averaged over the outputs ...
    return 0.5 * ((Y - A) ** 2).mean(axis=1)


def _squared_error_grad(Y, A, eps):
    # ... but the gradient is that of the sum over the outputs. So it is in scikit-learn: the
    # reported loss of a network with q outputs is 1/q of the one that is minimised.
    return A - Y


def _absolute_error(Y, A, eps):
    return np.abs(Y - A).mean(axis=1)


def _absolute_error_grad(Y, A, eps):
    return np.sign(A - Y)  # at the kink 0, one of the subgradients


def _huber(Y, A, eps, delta):
    # [H, section 4]
    e = np.abs(Y - A)
    return np.where(e > delta, delta * (e - 0.5 * delta), 0.5 * e**2).mean(axis=1)


def _huber_grad(Y, A, eps, delta):
    return np.clip(A - Y, -delta, delta)


def _quantile(Y, A, eps, levels):
    # The pinball loss [KB78]. One level for all outputs, or several which they have in turn.
    e, q = Y - A, np.resize(levels, A.shape[1])
    return np.maximum(q * e, (q - 1) * e).mean(axis=1)


def _quantile_grad(Y, A, eps, levels):
    q = np.resize(levels, A.shape[1])
    return np.select([A > Y, A < Y], [1 - q, -q], A - Y)


def _log_cosh(Y, A, eps):
    # cosh would overflow.
    e = np.abs(Y - A)
    return (np.logaddexp(e, -e) - np.log(2)).mean(axis=1)


def _log_cosh_grad(Y, A, eps):
    return np.tanh(A - Y)


# Positive outputs enter a logarithm or a quotient as positive normal numbers of the network's
# dtype. Again the clip is not differentiated.


def _positive(A, eps):
    info = np.finfo(np.float32 if eps > 1e-10 else np.float64)
    return np.clip(A, float(info.tiny), float(info.max))


def _poisson(Y, A, eps):
    # Half the deviance of the Poisson distribution with mean A [MN, section 2.3].
    return (_xlogy(Y, Y / _positive(A, eps)) - Y + A).sum(axis=1)


def _poisson_grad(Y, A, eps):
    return A - Y


def _gamma(Y, A, eps):
    # Half the deviance of the gamma distribution [MN, section 2.3].
    A = _positive(A, eps)
    return (Y / A - 1 - np.log(Y / A)).sum(axis=1)


def _gamma_grad(Y, A, eps):
    return 1 - Y / _positive(A, eps)


def _tweedie(Y, A, eps, power):
    # Half the deviance of the distribution whose variance is mean^power [J, table 1], which is
    # Poisson's for power -> 1 and gamma's for power -> 2.
    s, t, A = 1 - power, 2 - power, _positive(A, eps)
    of_y = np.where(Y == 0, 0, Y * (np.where(Y == 0, 1, Y) ** s - A**s) / s)
    return (of_y - (Y**t - A**t) / t).sum(axis=1)


def _tweedie_grad(Y, A, eps, power):
    P = _positive(A, eps)
    return P ** (2 - power) - Y * P ** (1 - power)


def _log_loss(Y, A, eps):
    # Cross-entropy of class probabilities [B, 4.108].
    return -_xlogy(Y, _clip(A, eps)).sum(axis=1)


def _log_loss_grad(Y, A, eps):
    return -Y / _clip(A, eps)


def _binary_log_loss(Y, A, eps):
    # Cross-entropy of independent yes-or-no targets [B, 4.90].
    P = _clip(A, eps)
    return -(_xlogy(Y, P) + _xlogy(1 - Y, 1 - P)).sum(axis=1)


def _binary_log_loss_grad(Y, A, eps):
    P = _clip(A, eps)
    return (1 - Y) / (1 - P) - Y / P


def _focal(Y, A, eps, gamma):
    # [LGGHD, equation 4] of the class or, of soft targets, of each class by its share.
    P = _clip(A, eps)
    return -(Y * (1 - P) ** gamma * np.log(P)).sum(axis=1)


def _focal_grad(Y, A, eps, gamma):
    P = _clip(A, eps)
    return Y * (1 - P) ** gamma * (gamma * P * np.log(P) / (1 - P) - 1)


def _binary_focal(Y, A, eps, gamma):
    P = _clip(A, eps)
    of_yes, of_no = (1 - P) ** gamma * np.log(P), P**gamma * np.log(1 - P)
    return -(Y * of_yes + (1 - Y) * of_no).sum(axis=1)


def _binary_focal_grad(Y, A, eps, gamma):
    P = _clip(A, eps)
    of_yes = (1 - P) ** gamma * (gamma * P * np.log(P) - (1 - P))
    of_no = P**gamma * (P - gamma * (1 - P) * np.log(1 - P))
    return Y * of_yes + (1 - Y) * of_no


class Loss(NamedTuple):
    f: Callable  # Y, A, eps, parameters -> (n,)
    grad: Callable  # Y, A, eps, parameters -> dl/dA, or as `by` says
    # What Y holds: "real", "nonnegative" or "positive" numbers, "class" or "binary" memberships.
    targets: str
    out_activation: str  # the usual one
    canonical: str | None  # the one for which dl/dZ = A - Y
    mean: bool = False  # f is the mean over the outputs, and grad that of the sum
    # What grad is the derivative by: "output" (A), "log" (ln A) or "logit" (ln A / (1 - A)). The
    # latter are those by Z for exp and logistic, where dl/dA may overflow and f' underflow.
    by: str = "output"
    parameters: Mapping = MappingProxyType({})


LOSSES = {
    "squared_error": Loss(
        _squared_error, _squared_error_grad, "real", "identity", "identity", mean=True
    ),
    "absolute_error": Loss(
        _absolute_error, _absolute_error_grad, "real", "identity", None, mean=True
    ),
    "huber": Loss(
        _huber,
        _huber_grad,
        "real",
        "identity",
        None,
        mean=True,
        parameters={"delta": Parameter(1.0, 0, np.inf, "neither")},
    ),
    "quantile": Loss(
        _quantile,
        _quantile_grad,
        "real",
        "identity",
        None,
        mean=True,
        parameters={"levels": Parameter(0.5, 0, 1, "neither")},
    ),
    "log_cosh": Loss(_log_cosh, _log_cosh_grad, "real", "identity", None, mean=True),
    "poisson": Loss(_poisson, _poisson_grad, "nonnegative", "exp", "exp", by="log"),
    "gamma": Loss(_gamma, _gamma_grad, "positive", "exp", None, by="log"),
    "tweedie": Loss(
        _tweedie,
        _tweedie_grad,
        "nonnegative",
        "exp",
        None,
        by="log",
        parameters={"power": Parameter(1.5, 1, 2, "neither")},
    ),
    "log_loss": Loss(_log_loss, _log_loss_grad, "class", "softmax", "softmax"),
    "focal": Loss(
        _focal,
        _focal_grad,
        "class",
        "softmax",
        None,
        by="log",
        parameters={"gamma": Parameter(2.0, 0, np.inf, "left")},
    ),
    "binary_log_loss": Loss(
        _binary_log_loss, _binary_log_loss_grad, "binary", "logistic", "logistic"
    ),
    "binary_focal": Loss(
        _binary_focal,
        _binary_focal_grad,
        "binary",
        "logistic",
        None,
        by="logit",
        parameters={"gamma": Parameter(2.0, 0, np.inf, "left")},
    ),
}

# ------------------------------------------------------------------------------------- optimizers
#
# Each takes an array P of weights or biases, its gradient G, its state (a list of arrays like P),
# the number t of this update (1, 2, ...) and the learning rate; it returns the new P and changes
# the state in place. Weight decay is not for biases: their weight_decay is 0. Where PyTorch has a
# rule, it is written as in PyTorch's documentation.


def _sgd(P, G, state, t, learning_rate, momentum, nesterov):
    # Momentum, and Nesterov's in the form that keeps the parameters at the point where the
    # gradient is taken [SMDH, section 2].
    (v,) = state
    v[...] = momentum * v - learning_rate * G
    return P + (momentum * v - learning_rate * G if nesterov else v)


def _adam(P, G, state, t, learning_rate, beta_1, beta_2, epsilon):
    # [KB, algorithm 1, in the form of the remark that ends its section 2: both bias corrections
    # go into the step size, and epsilon is the paper's epsilon-hat].
    m, v = state
    m[...] = beta_1 * m + (1 - beta_1) * G
    v[...] = beta_2 * v + (1 - beta_2) * G**2
    step_size = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    return P - step_size * m / (np.sqrt(v) + epsilon)


def _moments(G, m, v, beta_1, beta_2):
    m[...] = beta_1 * m + (1 - beta_1) * G
    v[...] = beta_2 * v + (1 - beta_2) * G**2


def _adamw(P, G, state, t, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    # [LH, algorithm 2].
    m, v = state
    _moments(G, m, v, beta_1, beta_2)
    P = P * (1 - learning_rate * weight_decay)
    denominator = np.sqrt(v / (1 - beta_2**t)) + epsilon
    return P - learning_rate * m / (1 - beta_1**t) / denominator


def _nadam(P, G, state, t, learning_rate, beta_1, beta_2, epsilon, momentum_decay, weight_decay):
    # [Do, algorithm 2, with the schedule of its section 3 for the momentum coefficient].
    m, v = state
    _moments(G, m, v, beta_1, beta_2)
    mu = beta_1 * (1 - 0.5 * 0.96 ** (np.arange(1, t + 2) * momentum_decay))
    ahead = mu[t] * m / (1 - mu.prod()) + (1 - mu[t - 1]) * G / (1 - mu[:t].prod())
    denominator = np.sqrt(v / (1 - beta_2**t)) + epsilon
    return P * (1 - learning_rate * weight_decay) - learning_rate * ahead / denominator


def _radam(P, G, state, t, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    # [Liu, algorithm 2].
    m, v = state
    _moments(G, m, v, beta_1, beta_2)
    step = learning_rate * m / (1 - beta_1**t)
    most = 2 / (1 - beta_2) - 1
    n = most - 2 * t * beta_2**t / (1 - beta_2**t)
    if n > 5:
        rectification = (n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n)
        step = step * np.sqrt(rectification) * np.sqrt(1 - beta_2**t) / (np.sqrt(v) + epsilon)
    return P * (1 - learning_rate * weight_decay) - step


def _amsgrad(P, G, state, t, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    # [RKK, algorithm 2], with adam's bias corrections.
    m, v, largest = state
    _moments(G, m, v, beta_1, beta_2)
    largest[...] = np.maximum(largest, v)
    denominator = np.sqrt(largest / (1 - beta_2**t)) + epsilon
    P = P * (1 - learning_rate * weight_decay)
    return P - learning_rate * m / (1 - beta_1**t) / denominator


def _rmsprop(P, G, state, t, learning_rate, rho, momentum, epsilon):
    # [TH].
    v, velocity = state
    v[...] = rho * v + (1 - rho) * G**2
    velocity[...] = momentum * velocity + G / (np.sqrt(v) + epsilon)
    return P - learning_rate * velocity


def _adagrad(P, G, state, t, learning_rate, epsilon):
    # [DHS, section 1.1].
    (total,) = state
    total += G**2
    return P - learning_rate * G / (np.sqrt(total) + epsilon)


def _adadelta(P, G, state, t, learning_rate, rho, epsilon):
    # [Z, algorithm 1].
    v, steps = state
    v[...] = rho * v + (1 - rho) * G**2
    step = np.sqrt(steps + epsilon) / np.sqrt(v + epsilon) * G
    steps[...] = rho * steps + (1 - rho) * step**2
    return P - learning_rate * step


def _lion(P, G, state, t, learning_rate, beta_1, beta_2, weight_decay):
    # [C, algorithm 2]. The sign of what is not finite is NaN.
    (m,) = state
    direction = beta_1 * m + (1 - beta_1) * G
    m[...] = beta_2 * m + (1 - beta_2) * G
    sign = np.where(np.isfinite(direction), np.sign(direction), np.nan)
    return P * (1 - learning_rate * weight_decay) - learning_rate * sign


class Optimizer(NamedTuple):
    update: Callable  # P, G, state, t, learning_rate, parameters -> P
    n_slots: int  # arrays of state
    parameters: Mapping = MappingProxyType({})


ADAM = {
    "beta_1": Parameter(0.9, 0, 1, "left"),
    "beta_2": Parameter(0.999, 0, 1, "left"),
    "epsilon": Parameter(1e-8, 0, np.inf, "neither"),
}


def WEIGHT_DECAY(default):
    return {"weight_decay": Parameter(default, 0, np.inf, "left")}


OPTIMIZERS = {
    "sgd": Optimizer(_sgd, 1, {"momentum": Parameter(0.9, 0, 1, "both"), "nesterov": SWITCH(True)}),
    "adam": Optimizer(_adam, 2, ADAM),
    "adamw": Optimizer(_adamw, 2, ADAM | WEIGHT_DECAY(0.01)),
    "nadam": Optimizer(
        _nadam, 2, ADAM | {"momentum_decay": Parameter(4e-3, 0, np.inf, "left")} | WEIGHT_DECAY(0.0)
    ),
    "radam": Optimizer(_radam, 2, ADAM | WEIGHT_DECAY(0.0)),
    "amsgrad": Optimizer(_amsgrad, 3, ADAM | WEIGHT_DECAY(0.0)),
    "rmsprop": Optimizer(
        _rmsprop,
        2,
        {
            "rho": Parameter(0.99, 0, 1, "left"),
            "momentum": Parameter(0.0, 0, 1, "left"),
            "epsilon": Parameter(1e-8, 0, np.inf, "neither"),
        },
    ),
    "adagrad": Optimizer(_adagrad, 1, {"epsilon": Parameter(1e-10, 0, np.inf, "neither")}),
    "adadelta": Optimizer(
        _adadelta,
        2,
        {"rho": Parameter(0.9, 0, 1, "left"), "epsilon": Parameter(1e-6, 0, np.inf, "neither")},
    ),
    "lion": Optimizer(
        _lion,
        1,
        {"beta_1": Parameter(0.9, 0, 1, "left"), "beta_2": Parameter(0.99, 0, 1, "left")}
        | WEIGHT_DECAY(0.0),
    ),
}


def clipped(gradient, max_norm):
    """Return the arrays of a gradient, scaled down if their norm exceeds max_norm > 0 [PMB].

    A norm that overflows is left alone, and None stays.
    """
    norm = np.sqrt(sum((G**2).sum() for G in gradient if G is not None))
    if not (max_norm > 0 and max_norm < norm < np.inf):
        return gradient
    return [None if G is None else G * (max_norm / norm) for G in gradient]


def move_average(average, P, decay, t):
    """Take the parameters after update t into their average, in place [KB, section 7.2].

    It becomes the mean of P after updates 1, 2, ..., t with weights decay^(t-1), ..., decay, 1.
    """
    average += (1 - decay) / (1 - decay**t) * (P - average)


# ------------------------------------------------------------------------- forward and backwards


def exact(x):
    """Leave the operand of a product as it is."""
    return x


def to_bfloat16(x):
    """Round to eight significant bits, to nearest, ties to even; from 2^128 on it is infinity.

    Below 2^-126 bfloat16 has fewer bits, which is of no consequence here.
    """
    fraction, exponent = np.frexp(x)  # 1/2 <= |fraction| < 1; NaN and infinity pass through
    rounded = np.ldexp(np.rint(fraction * 256), exponent - 8)
    return np.where(np.abs(rounded) >= 2.0**128, np.copysign(np.inf, x), rounded)


def philox(counter, key):
    """Return 4 x 32 random bits for a counter of 4 and a key of 2 words [SMDS]: Philox 4x32-10."""
    c = [np.asarray(word, np.uint64) for word in counter]
    k = [np.uint64(word) for word in key]
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(q >> half) ^ c[1] ^ k[0], q & low, (p >> half) ^ c[3] ^ k[1], p & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return c


def keeps(p, n, width, seed, number, update):
    """Return which of n rows of a value are kept: (n, width), True with probability 1 - p.

    The value has a number, 0 for X and l + 1 for what layer l puts out; update counts from 0. One
    counter, (column, row // 4, update), serves four rows; of each 32 bits the upper 23 decide.
    """
    row, column = np.ogrid[: -(-n // 4), :width]
    words = [np.broadcast_to(x, (-(-n // 4), width)) for x in (column, row)]
    bits = philox([*words, update % 2**32, update // 2**32], (seed, number))
    bits = np.stack(bits, axis=1).reshape(-1, width)[:n]
    return 1 + (bits >> np.uint64(9)) / 2.0**23 >= np.float32(1 + p)


class Dropout(NamedTuple):
    """Dropout [SHKSS] of X and of each hidden layer."""

    shares: tuple[float, ...]
    seed: int

    def factors(self, n, widths, update):
        """Return for each value 0 and 1 / (1 - p) in its shape, None where nothing is dropped."""
        return [
            keeps(p, n, width, self.seed, i, update) / (1 - p) if p else None
            for i, (p, width) in enumerate(zip(self.shares, widths, strict=True))
        ]


# Normalisation: x is z less its mean and divided by its standard deviation, y = scale * x + shift.
# Each has the way there, z -> x and 1 / deviation, and back, which takes dJ/dx to dJ/dz.


EPSILON, MOMENTUM = 1e-5, 0.1  # PyTorch's


def _normalize(Z, axis):
    mean, variance = Z.mean(axis, keepdims=True), Z.var(axis, keepdims=True)
    inverse = 1 / np.sqrt(variance + EPSILON)
    return (Z - mean) * inverse, inverse


def _normalize_back(x, inverse, dx, axis):
    # The mean and the deviation depend on every z, too [IS, section 3].
    means = dx.mean(axis, keepdims=True), (dx * x).mean(axis, keepdims=True)
    return inverse * (dx - means[0] - x * means[1])


AXES = {"batch": 0, "layer": 1}


class Structure(NamedTuple):
    """What a network has besides layers of weights, biases and activations."""

    normalization: tuple = ()  # None, "batch" or "layer" for each hidden layer
    residual: bool = False

    def kind(self, i):
        """Return the normalisation of layer i."""
        return self.normalization[i] if i < len(self.normalization) else None

    def norms(self, units, *kinds):
        """Return the widths of the layers with these kinds of normalisation."""
        return [n for i, n in enumerate(units[1:]) if self.kind(i) in kinds]

    def projections(self, units):
        """Return the shapes of the projections of residual layers that change the width."""
        hidden = list(pairwise(units[:-1])) if self.residual else []
        return [shape for shape in hidden if shape[0] != shape[1]]

    def matrices(self, units):
        return [*pairwise(units), *self.projections(units)]

    def vectors(self, units, running):
        norms = self.norms(units, "batch", "layer")
        averages = self.norms(units, "batch") if running else []
        return [(n,) for n in [*units[1:], *norms, *norms, *averages, *averages]]


class Layer(NamedTuple):
    """Parameters of a layer: those of Net.load_params, by name."""

    W: np.ndarray
    b: np.ndarray
    f: tuple  # row of ACTIVATIONS and values
    kind: str | None
    scale: np.ndarray | None
    shift: np.ndarray | None
    mean: np.ndarray | None
    variance: np.ndarray | None
    residual: bool
    P: np.ndarray | None
    at: dict  # position of each of them: in coefs (W, P) or in intercepts


def layers_of(coefs, intercepts, activations, structure):
    """Sort the arrays of `Net.load_params` by layer; without running averages, these are None."""
    n = len(activations)
    kinds = [structure.kind(i) for i in range(n)]
    n_norms, n_batch = sum(k is not None for k in kinds), kinds.count("batch")
    layers, norm, batch, projection = [], 0, 0, 0
    for i in range(n):
        at = {"W": i, "b": i}
        if kinds[i]:
            at |= {"scale": n + norm, "shift": n + n_norms + norm}
            norm += 1
        if kinds[i] == "batch":
            first = n + 2 * n_norms
            at |= {"mean": first + batch, "variance": first + n_batch + batch}
            batch += 1
        residual = structure.residual and i + 1 < n
        if residual and coefs[i].shape[0] != coefs[i].shape[1]:
            at["P"] = n + projection
            projection += 1
        arrays = {
            name: (coefs if name in "WP" else intercepts)[k]
            for name, k in at.items()
            if name in "WP" or k < len(intercepts)
        }
        names = ("scale", "shift", "mean", "variance", "P")
        arrays |= {name: None for name in names if name not in arrays}
        f = choose(ACTIVATIONS, activations[i])
        layers.append(Layer(f=f, kind=kinds[i], residual=residual, at=at, **arrays))
    return layers


class Pass(NamedTuple):
    """What a layer computes from its input, in this order."""

    given: np.ndarray  # an operand
    Z: np.ndarray
    x: np.ndarray | None  # normalised Z
    inverse: np.ndarray | None
    Y: np.ndarray  # what f is taken of
    F: np.ndarray  # what f' is taken at, if it is computed from f
    out: np.ndarray  # an operand, unless it is the network's


def layer_forward(layer, A, operand, factor, is_last, training):
    Z = A @ operand(layer.W) + layer.b
    x = inverse = None
    Y = Z
    if layer.kind and (training or layer.kind == "layer"):
        x, inverse = _normalize(Z, AXES[layer.kind])
    elif layer.kind:
        x = (Z - layer.mean) / np.sqrt(layer.variance + EPSILON)
    if layer.kind:
        Y = layer.scale * x + layer.shift
    row, values = layer.f
    F = out = row.f(Y, **values)
    if factor is not None:
        out = out * factor
    if layer.residual:
        out = out + (A if layer.P is None else A @ operand(layer.P))
    if not is_last:
        out = operand(out)
        if factor is None and not layer.residual:
            F = out
    return Pass(A, Z, x, inverse, Y, F, out)


def forward(
    X,
    coefs,
    intercepts,
    activations,
    operand=exact,
    factors=None,
    structure=Structure(),  # noqa: B008
    training=False,
):
    """Return the Pass of every layer. The last one's out are the network's outputs."""
    factors = factors or [None] * len(activations)
    A = operand(X)
    if factors[0] is not None:
        A = operand(A * factors[0])
    passes = []
    layers = layers_of(coefs, intercepts, activations, structure)
    for layer, factor in zip(layers, [*factors[1:], None], strict=True):
        is_last = layer is layers[-1]
        passes.append(layer_forward(layer, A, operand, factor, is_last, training))
        A = passes[-1].out
    return passes


def backprop(
    X,
    Y,
    w,
    coefs,
    intercepts,
    activations,
    loss,
    alpha,
    eps,
    operand=exact,
    factors=None,
    structure=Structure(),  # noqa: B008
):
    """Return J, its gradients by coefs and by intercepts [GBC, algorithms 6.3 and 6.4], the passes.

    X (n, p), Y (n, q) and the sample weights w (n,) are float64.
    """
    passes = forward(X, coefs, intercepts, activations, operand, factors, structure, True)
    layers = layers_of(coefs, intercepts, activations, structure)
    A = passes[-1].out
    row, values = choose(LOSSES, loss)
    s = w.sum()
    J = (w * row.f(Y, A, eps, **values)).sum() / s
    J += 0.5 * alpha * sum((W**2).sum() for W in coefs) / s

    def back(i, dA):
        activation, constants = layers[i].f
        return activation.back(passes[i].Y, passes[i].F, dA, **constants)

    # delta = d(sum_i w_i l_i)/dZ of the layer at hand. For canonical pairs of loss and output
    # activation dl/da * f'(z) is a - y [B, section 4.3.6]; written so it stays right where
    # f' underflows.
    out, grad = name_of(activations[-1]), row.grad(Y, A, eps, **values)
    if out == row.canonical:
        delta = A - Y
    elif (row.by, out) in (("log", "exp"), ("logit", "logistic")):
        delta = grad
    else:
        P = _clip(A, eps)
        slope = {"output": 1.0, "log": 1 / A, "logit": 1 / (P * (1 - P))}[row.by]
        delta = back(len(layers) - 1, grad * slope)
    delta = operand(delta * w[:, np.newaxis])

    dcoefs, dintercepts = [None] * len(coefs), [None] * len(intercepts)
    dA = None  # of what the layer at hand puts out
    for i in reversed(range(len(layers))):
        layer, p = layers[i], passes[i]
        skip = None
        if dA is not None:
            if layer.residual:
                skip = dA = dA if layer.P is None else operand(dA)
            delta = back(
                i, dA if factors is None or factors[i + 1] is None else dA * factors[i + 1]
            )
            if layer.kind:
                dintercepts[layer.at["scale"]] = (delta * p.x).sum(axis=0) / s
                dintercepts[layer.at["shift"]] = delta.sum(axis=0) / s
                delta = _normalize_back(p.x, p.inverse, delta * layer.scale, AXES[layer.kind])
            delta = operand(delta)
        dcoefs[i] = (p.given.T @ delta + alpha * coefs[i]) / s
        # A mini-batch's mean takes the bias away again; its gradient is 0.
        dintercepts[i] = None if layer.kind == "batch" else delta.sum(axis=0) / s
        dA = delta @ operand(layer.W).T
        if skip is not None and layer.P is not None:
            dcoefs[layer.at["P"]] = (p.given.T @ skip + alpha * layer.P) / s
            dA += skip @ operand(layer.P).T
        elif skip is not None:
            dA += skip
    return J, dcoefs, dintercepts, passes


def mixed(a, rows, others, shares):
    """Mixup [Zhang et al. 2018]: convex combinations of rows of a with others of its rows."""
    shares = shares.reshape(-1, *[1] * (a.ndim - 1))
    return shares * a[rows] + (1 - shares) * a[others]


# ------------------------------------------------------------- the interface of fastmlp._core

ISAS = ALL_ISAS = ("reference",)
MAX_BLOCK = 1024  # no meaning here
BUILD_INFO = f"NumPy {np.__version__} reference"


def bfloat16_isas():
    return ISAS


def default_isa(bfloat16=False):
    return ISAS[0]


_n_threads = 1


def get_num_threads():
    return _n_threads


def set_num_threads(n):
    global _n_threads
    _n_threads = max(1, n)


class Net:
    """A network in training; see the module's docstring for what it computes."""

    def __init__(
        self,
        units,
        *,
        dtype,
        activations,
        loss,
        bfloat16=False,
        optimizer=None,
        alpha=0.0,
        max_grad_norm=0.0,
        averaging=0.0,
        max_rows=200,
        max_nnz=0,
        normalization=(),
        residual=False,
        dropout=(),
        input_dropout=0.0,
        seed=0,
        fit_intercept=True,
        isa=None,
    ):
        units, activations = [index(n) for n in units], list(activations)
        _require(len(units) >= 2 and min(units) >= 1, f"units are not sizes of layers: {units}")
        _check_activations(activations, len(units) - 1)
        _, values = choose(LOSSES, loss)
        for value in values.values():  # one, or several which the outputs have in turn
            n = len(value) if isinstance(value, tuple) else 1
            _require(n > 0 and units[-1] % n == 0, f"{units[-1]} outputs cannot share {loss}")
        _require(max_rows >= 1 and max_nnz >= 0, "max_rows or max_nnz is out of range")
        self.isa, self.dtype = _check_isa(isa), _check_dtype(np.dtype(dtype))
        self._operand = _check_bfloat16(bfloat16, self.dtype)
        self.step = 0
        self._units, self._activations, self._loss = units, activations, loss
        self._optimizer = None if optimizer is None else choose(OPTIMIZERS, optimizer)
        self._alpha = float(alpha)
        self._max_rows, self._max_nnz = max_rows, max_nnz
        shares = (input_dropout, *(dropout or [0.0] * (len(units) - 2)))
        _require(all(0 <= p < 1 for p in shares), "a share of dropout is not in [0, 1)")
        _require(len(shares) == len(units) - 1, "dropout is not one number per hidden layer")
        self._dropout, self._fit_intercept = Dropout(shares, seed), fit_intercept
        self._structure = Structure(tuple(normalization), residual)
        _require(len(normalization) in (0, len(units) - 2), "normalization is not one per layer")
        _require(all(k in (None, *AXES) for k in normalization), "unknown normalization")
        self._W_shapes = self._structure.matrices(units)
        self._b_shapes = self._structure.vectors(units, running=False)
        _require(max_grad_norm >= 0 and 0 <= averaging < 1, "max_grad_norm or averaging")
        self._max_grad_norm, self._averaging = max_grad_norm, averaging
        n_slots = 0 if optimizer is None else self._optimizer[0].n_slots
        self.average_slot = n_slots if averaging and optimizer is not None else None
        self.n_slots = n_slots + (self.average_slot is not None)
        # Slot -1 are the parameters themselves: coefs, then intercepts, running averages excepted.
        self._slots = {
            slot: [np.zeros(shape) for shape in self._W_shapes + self._b_shapes]
            for slot in range(-1, self.n_slots)
        }
        averages = self._structure.vectors(units, running=True)[len(self._b_shapes) :]
        self._running = [np.zeros(shape) for shape in averages]

    def load_params(self, coefs, intercepts):
        self._load(-1, coefs, intercepts)

    def store_params(self, coefs, intercepts):
        self._store(-1, coefs, intercepts)

    def load_state(self, slot, coefs, intercepts=None):
        _require(slot in self._slots and slot >= 0, f"no state slot {slot}")
        self._load(slot, *self._lists(coefs, intercepts))

    def store_state(self, slot, coefs, intercepts=None):
        _require(slot in self._slots and slot >= 0, f"no state slot {slot}")
        self._store(slot, *self._lists(coefs, intercepts))

    def state_is_finite(self):
        state = [P for slot in self._slots if slot >= 0 for P in self._slots[slot]]
        with np.errstate(over="ignore"):
            return all(np.isfinite(P.astype(self.dtype)).all() for P in state)

    def train(self, X, y, sample_weight, order, batch_size, learning_rate, n_threads=0):
        """Update over the rows order[0], order[1], ... of X in consecutive mini-batches.

        Returns the sum over mini-batches of J (before its update) times its rows. A mini-batch
        whose sample weights sum to zero raises; the ones before it have been applied.
        """
        _require(self._optimizer is not None, "the network has no optimizer")
        n = self._check_X(X)
        Y = self._check_y(y, n)
        w = _check_sample_weight(sample_weight, n)
        order = np.asarray(order)
        _check_arrays("order", [order], [(order.size,)], np.int64)
        _require(((order >= 0) & (order < n)).all(), "order holds a row that X does not have")
        _require(batch_size >= 1, "batch_size must be at least 1")
        _require(min(batch_size, len(order)) <= self._max_rows, "batch_size exceeds max_rows")
        row, values = self._optimizer
        loss_sum = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            _require(count_nnz(X, rows).sum() <= self._max_nnz, "a mini-batch exceeds max_nnz")
            Xb = dense_rows(X, rows, self.dtype)
            J, gradient = self._backprop(Xb, Y[rows], w[rows], self.step, running=True)
            loss_sum += J * len(rows)
            self.step += 1
            params = self._slots[-1]
            with np.errstate(all="ignore"):
                gradient = clipped(gradient, self._max_grad_norm)
                for i, G in enumerate(gradient):
                    if G is None:
                        continue
                    state = [self._slots[slot][i] for slot in range(row.n_slots)]
                    own = values
                    if params[i].ndim == 1 and "weight_decay" in values:  # of a bias or norm
                        own = values | {"weight_decay": 0.0}
                    params[i] = row.update(params[i], G, state, self.step, learning_rate, **own)
                if self._averaging:
                    average = self._slots[row.n_slots]
                    for P, G, mean in zip(params, gradient, average, strict=True):
                        if G is not None:
                            move_average(mean, P, self._averaging, self.step)
        return float(loss_sum)

    def loss_grad(self, params, grad, X, y, sample_weight, n_threads=0):
        """Load the flat params, write J's gradient over all rows of X into the flat grad, return J.

        Both are laid out [W0 .. WL, b0 .. bL], every W row by row.
        """
        n = self._check_X(X)
        _require((count_nnz(X, np.arange(n)) <= self._max_nnz).all(), "a row exceeds max_nnz")
        Y = self._check_y(y, n)
        w = _check_sample_weight(sample_weight, n)
        self._cut(grad)
        self._slots[-1] = [piece.astype(np.float64) for piece in self._cut(params)]
        J, gradient = self._backprop(dense_rows(X, np.arange(n), self.dtype), Y, w, 0)
        with np.errstate(all="ignore"):
            for out, G in zip(self._cut(grad), gradient, strict=True):
                out[...] = 0 if G is None else G
        return float(J)

    def release_data(self):
        """Nothing to do: no data are kept from one call to the next."""

    def _backprop(self, X, Y, w, update, running=False):
        if w.sum() == 0:
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        params, n = self._slots[-1], len(self._W_shapes)
        _require(len(X) > 1 or not self._running, "one row has no variance")
        with np.errstate(all="ignore"):
            J, dcoefs, dintercepts, passes = backprop(
                X,
                Y,
                w,
                params[:n],
                params[n:],
                self._activations,
                self._loss,
                self._alpha,
                np.finfo(self.dtype).eps,
                self._operand,
                self._dropout.factors(len(X), self._units[:-1], update),
                self._structure,
            )
            if running:
                self._average(passes)
        if not self._fit_intercept:
            dintercepts[: len(self._activations)] = [None] * len(self._activations)
        return J, dcoefs + dintercepts

    def _average(self, passes):
        """Take the mini-batch's means and variances into the running averages [IS, PyTorch's]."""
        batch = [p.Z for i, p in enumerate(passes) if self._structure.kind(i) == "batch"]
        new = [Z.mean(axis=0) for Z in batch] + [Z.var(axis=0, ddof=1) for Z in batch]
        for average, value in zip(self._running, new, strict=True):
            average += MOMENTUM * (value - average)

    def _load(self, slot, coefs, intercepts):
        n = len(self._b_shapes)
        _check_arrays("coefs", coefs, self._W_shapes, self.dtype)
        _check_arrays("intercepts", intercepts, self._vector_shapes(slot), self.dtype)
        self._slots[slot] = [a.astype(np.float64) for a in [*coefs, *intercepts[:n]]]
        if slot < 0:
            self._running = [a.astype(np.float64) for a in intercepts[n:]]

    def _store(self, slot, coefs, intercepts):
        _check_arrays("coefs", coefs, self._W_shapes, self.dtype)
        _check_arrays("intercepts", intercepts, self._vector_shapes(slot), self.dtype)
        values = self._slots[slot] + (self._running if slot < 0 else [])
        with np.errstate(all="ignore"):
            for out, value in zip([*coefs, *intercepts], values, strict=True):
                out[...] = value

    def _cut(self, flat):
        """Return views of a vector [W0 .. WL, b0 .. bL], the arrays of a slot."""
        slot = self._slots[-1]
        sizes = [P.size for P in slot]
        _check_arrays("vectors of parameters", [flat], [(sum(sizes),)], self.dtype)
        pieces = np.split(flat, np.cumsum(sizes)[:-1])
        return [piece.reshape(P.shape) for piece, P in zip(pieces, slot, strict=True)]

    def _lists(self, coefs, intercepts):
        """Return both lists, which may be given as one vector."""
        if intercepts is not None:
            return coefs, intercepts
        arrays = self._cut(coefs)
        return arrays[: len(self._W_shapes)], arrays[len(self._W_shapes) :]

    def _vector_shapes(self, slot):
        return self._structure.vectors(self._units, running=slot < 0)

    def _check_X(self, X):
        n = _check_X(X, self._units[0])
        _require(hasattr(X, "indptr") == (self._max_nnz > 0), "max_nnz says whether X is CSR")
        return n

    def _check_y(self, y, n):
        """Return y as a float64 matrix; class indices become one-hot rows."""
        n_outputs = self._units[-1]
        if y.ndim == 1:
            by_class = LOSSES[name_of(self._loss)].targets == "class"
            _require(by_class and n_outputs > 1, "the loss takes no class indices")
            _require(y.dtype == np.int32, "class indices must be int32")
            _require(y.shape == (n,), f"y has shape {y.shape}, X has {n} rows")
            _require(((y >= 0) & (y < n_outputs)).all(), "a class index is out of range")
            return np.eye(n_outputs)[y]
        _check_arrays("y", [y], [(n, n_outputs)], self.dtype)
        return y.astype(np.float64)


def predict(
    X,
    coefs,
    intercepts,
    activations,
    *,
    normalization=(),
    residual=False,
    bfloat16=False,
    n_threads=0,
    check_finite=False,
    isa=None,
):
    """Return the last layer's activations for every row of X, in the dtype of coefs.

    With check_finite, None if X in this dtype holds a NaN or an infinity.
    """
    activations = list(activations)
    _check_isa(isa)
    n = len(activations)
    _require(n >= 1 and len(coefs) >= n, "there are fewer coefs than activations")
    _require(all(W.ndim == 2 for W in coefs), "coefs must be matrices")
    _check_activations(activations, n)
    dtype = _check_dtype(coefs[0].dtype)
    operand = _check_bfloat16(bfloat16, dtype)
    units = [coefs[0].shape[0], *(W.shape[1] for W in coefs[:n])]
    structure = Structure(tuple(normalization), residual)
    _check_arrays("coefs", coefs, structure.matrices(units), dtype)
    _check_arrays("intercepts", intercepts, structure.vectors(units, running=True), dtype)
    n = _check_X(X, units[0])
    X = dense_rows(X, np.arange(n), dtype)
    if check_finite and not np.isfinite(X).all():
        return None
    with np.errstate(all="ignore"):
        coefs = [W.astype(np.float64) for W in coefs]
        intercepts = [b.astype(np.float64) for b in intercepts]
        passes = forward(X, coefs, intercepts, activations, operand, structure=structure)
        return passes[-1].out.astype(dtype)


def dense_rows(X, rows, dtype):
    """Return rows of X, an array or a CSR matrix, rounded to dtype, as a dense float64 array."""
    with np.errstate(over="ignore"):
        if not hasattr(X, "indptr"):
            return X[rows].astype(dtype).astype(np.float64, order="C")
        out = np.zeros((len(rows), X.shape[1]))
        for out_row, i in zip(out, rows, strict=True):
            entries = slice(X.indptr[i], X.indptr[i + 1])
            np.add.at(out_row, X.indices[entries], X.data[entries].astype(dtype))  # sums duplicates
        return out


def count_nnz(X, rows):
    """Return the number of stored entries of the given rows of a CSR matrix; dense: zeros."""
    if not hasattr(X, "indptr"):
        return np.zeros(len(rows), np.int64)
    return X.indptr[rows + 1] - X.indptr[rows]


def _require(condition, message):
    if not condition:
        raise ValueError(message)


def _check_isa(isa):
    _require(isa is None or isa in ISAS, f"unknown isa: {isa!r}")
    return isa or ISAS[0]


def _check_dtype(dtype):
    _require(dtype in (np.float32, np.float64), f"dtype must be float32 or float64, not {dtype}")
    return dtype


def _check_bfloat16(bfloat16, dtype):
    """Return what is done to the operands of products."""
    _require(not bfloat16 or dtype == np.float32, "bfloat16 goes with float32")
    return to_bfloat16 if bfloat16 else exact


def _check_activations(activations, n_layers):
    _require(len(activations) == n_layers, f"{n_layers} layers need as many activations")
    rows = [choose(ACTIVATIONS, choice)[0] for choice in activations]
    _require(all(row.hidden for row in rows[:-1]), "an activation is not for hidden layers")
    _require(rows[-1].output, "the last activation is not for outputs")


def _check_arrays(name, arrays, shapes, dtype):
    _require(len(arrays) == len(shapes), f"{name}: {len(arrays)} arrays, not {len(shapes)}")
    for a, shape in zip(arrays, shapes, strict=True):
        _require(a.shape == shape, f"{name}: shape {a.shape}, not {shape}")
        _require(a.dtype == dtype, f"{name}: dtype {a.dtype}, not {dtype}")
        _require(a.flags.c_contiguous, f"{name} must be C-contiguous")


def _check_X(X, n_features):
    """Return the number of rows of X, after a look at its shape and dtype."""
    _require(X.ndim == 2 and X.shape[1] == n_features, f"X: shape {X.shape}, not (n, {n_features})")
    if hasattr(X, "indptr"):
        _require(X.format == "csr", "a sparse X must be CSR")
        _check_dtype(X.data.dtype)
        ends = X.indptr
        _require(len(ends) == X.shape[0] + 1 and ends[0] == 0, "X.indptr is malformed")
        _require((ends[1:] >= ends[:-1]).all() and ends[-1] <= len(X.data), "X.indptr is malformed")
        for name in ("indptr", "indices"):
            _require(getattr(X, name).dtype in (np.int32, np.int64), f"X.{name}: wrong dtype")
        _require(len(X.indices) >= ends[-1], "X.indices is too short")
        columns = X.indices[: ends[-1]]
        _require(((columns >= 0) & (columns < n_features)).all(), "X.indices is out of range")
    else:
        _check_dtype(X.dtype)
    return X.shape[0]


def _check_sample_weight(sample_weight, n):
    """Return the weights of n rows; ones stand for none."""
    if sample_weight is None:
        return np.ones(n)
    _check_arrays("sample_weight", [sample_weight], [(n,)], np.float64)
    return sample_weight
