"""Networks and estimators drawn at random from everything there is.

Other tests take one technique at a time; here they meet: any activations, normalisation, residual
connections, dropout, loss with any output activation, optimizer, clipping, averaging, X dense or
sparse, and mini-batches that may be larger than a block of the engine. Networks are compared with
the reference; estimators fit or say in a ValueError why they do not, and what they predict does
not depend on threads, pickles or files.
"""

import pickle

import numpy as np
import problems
import pytest
import reference
import scipy.sparse as sp
from sklearn.base import clone

from fastmlp import MLPClassifier, MLPRegressor, _core, load_model
from fastmlp.activations import ACTIVATIONS, OUT_ACTIVATIONS
from fastmlp.initializers import INITIALIZERS
from fastmlp.losses import LOSSES, Quantile
from fastmlp.optimizers import OPTIMIZERS
from fastmlp.schedules import SCHEDULES

POSITIVE = [name for name, row in reference.ACTIVATIONS.items() if row.output and row.positive]
# Activations that keep the output in the domain of a loss, by its targets.
OUTPUTS = {
    "real": problems.OUTPUT,
    "nonnegative": POSITIVE,
    "positive": POSITIVE,
    "class": ["softmax", "logistic"],
    "binary": ["logistic"],
}
# Biases ahead of a batch normalisation have a gradient of rounding errors only, of which lion
# takes the sign.
STEADY = [o for o in problems.OPTIMIZERS if reference.name_of(o) != "lion"]

SEEDS = [*range(60), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(60, 1000))]


def draw(seed):
    """A problem, an optimizer and the arguments of training."""
    rng = np.random.default_rng(seed)

    def one_of(choices):
        return choices[rng.integers(len(choices))]

    n_hidden = int(rng.integers(5))
    units = [int(n) for n in rng.choice([1, 2, 3, 5, 8, 9, 16, 17, 33, 40], n_hidden + 2)]
    n = int(one_of([4, 17, 40, 90, 1100]))
    loss = one_of(problems.LOSSES)
    out = one_of(OUTPUTS[problems.row_of(reference.LOSSES, loss).targets])
    if reference.name_of(loss) == "quantile":
        loss = ("quantile", tuple(rng.uniform(0.1, 0.9, units[-1])))
    p = problems.make(
        units,
        n,
        np.float64,
        hidden=[one_of(problems.HIDDEN) for _ in range(n_hidden)],
        loss=loss,
        out=out,
        weighted=n > 4 and bool(rng.integers(2)),
        density=one_of([None, None, 0.1, 0.5]),
        alpha=one_of([0.0, 0.1]),
        seed=seed,
    )
    kinds = [None, None, "batch", "layer"]
    normalization = [one_of(kinds) for _ in range(n_hidden)] if rng.integers(2) else []
    p = problems.with_structure(p, normalization, bool(rng.integers(2)), seed)
    dropout = [one_of([0.0, 0.0, 0.3]) for _ in range(n_hidden)] if rng.integers(2) else []
    options = {
        "dropout": tuple(dropout),
        "input_dropout": one_of([0.0, 0.0, 0.2]),
        "seed": seed,
        "fit_intercept": bool(rng.integers(4)),
        "max_grad_norm": one_of([0.0, 0.0, 0.1]),
        "averaging": one_of([0.0, 0.0, 0.9]),
    }
    p = p.but(options=p.options | options)
    if not options["fit_intercept"]:
        for b in p.intercepts[: len(units) - 1]:
            b[:] = 0
    batch_size = int(one_of([n, (n + 1) // 2, n // 3 + 1]))
    optimizer = one_of(STEADY if "batch" in normalization else problems.OPTIMIZERS)
    return p, optimizer, {"batch_size": batch_size, "learning_rate": 1e-3}


def assert_close(actual, desired):
    """A gradient that is 0 is one of rounding errors, whose state no relative bound can hold."""
    arrays = zip(problems.each_array(actual), problems.each_array(desired), strict=True)
    for (name, a), (_, d) in arrays:
        atol = 1e-8 * np.abs(d).max(initial=0) + 1e-13
        np.testing.assert_allclose(a, d, rtol=1e-6, atol=atol, err_msg=name)


@pytest.mark.parametrize("seed", SEEDS)
def test_combination(seed, isa):
    p, optimizer, arguments = draw(seed)
    expected = problems.train(reference, p, optimizer, epochs=2, **arguments)
    runs = [
        problems.train(_core, p, optimizer, epochs=2, isa=isa, n_threads=n, **arguments)
        for n in (1, 3)
    ]
    problems.assert_same_bits(*runs)
    assert_close(runs[0], expected)
    assert_close(problems.predict(_core, p, isa=isa), problems.predict(reference, p))


# ------------------------------------------------------------------------------------ estimators


def draw_estimator(rng):
    """An estimator with a third of its parameters away from their defaults."""

    def one_of(choices):
        return list(choices)[rng.integers(len(choices))]

    sizes = tuple(int(n) for n in rng.choice([1, 3, 8, 17, 33], rng.integers(4)))

    def each(choices):
        return one_of(choices) if rng.integers(2) else [one_of(choices) for _ in sizes]

    values = {
        "activation": each(ACTIVATIONS),
        "solver": one_of([*OPTIMIZERS, "lbfgs"]),
        "learning_rate": one_of(["invscaling", "adaptive", *SCHEDULES]),
        "alpha": one_of([0, 1.0]),
        "batch_size": one_of([1, 7, 1000]),
        "shuffle": False,
        "early_stopping": True,
        "precision": one_of(["float32", "float64", "bfloat16"]),
        "dropout": each([0.0, 0.5]),
        "input_dropout": 0.2,
        "normalization": each([None, "batch", "layer"]),
        "residual": True,
        "fit_intercept": False,
        "max_grad_norm": one_of([0.1, 10]),
        "weight_averaging": 0.9,
        "mixup": 0.3,
        "init": one_of(INITIALIZERS),
        "target_loss": 0.5,
        "scoring": "loss",
        "warm_start": True,
    }
    if rng.integers(2):
        estimator = MLPClassifier
        values |= {"class_weight": "balanced", "label_smoothing": 0.1, "loss": "focal"}
    else:
        estimator = MLPRegressor
        loss = one_of([*LOSSES, Quantile((0.1, 0.9))])
        values |= {"loss": loss, "out_activation": one_of(OUT_ACTIVATIONS)}
    chosen = {name: value for name, value in values.items() if rng.random() < 0.3}
    chosen |= {"hidden_layer_sizes": sizes, "max_iter": int(rng.integers(1, 5))}
    return estimator(random_state=0, **chosen)


def draw_data(rng, estimator):
    """X, y and further arguments of fit."""
    n, n_features = (int(rng.choice(choices)) for choices in ([5, 30, 120], [1, 4, 40]))
    X = rng.normal(size=(n, n_features)).astype(rng.choice([np.float32, np.float64]))
    if rng.integers(3) == 0:
        X = sp.csr_array(X * (rng.random(X.shape) < 0.4))
    shape = n if rng.integers(2) else (n, 2)
    y = rng.gamma(2.0, size=shape)
    if isinstance(estimator, MLPClassifier):
        y = (
            (y > np.median(y)).astype(int)
            if shape != n
            else np.array(["a", "b", "c"])[:n].take(rng.integers(3, size=n))
        )
    arguments = {}
    if rng.integers(4) == 0:
        arguments["sample_weight"] = rng.random(n)
    if rng.integers(4) == 0:
        arguments |= {"X_val": X[:5], "y_val": y[:5]}
    return X, y, arguments


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got .batch_size"
)
@pytest.mark.parametrize("seed", SEEDS)
def test_estimator(seed, tmp_path):
    rng = np.random.default_rng(seed)
    est = draw_estimator(rng)
    X, y, arguments = draw_data(rng, est)
    try:
        est.fit(X, y, **arguments)
    except ValueError:
        assert not hasattr(est, "coefs_")
        return
    predicted = est.predict(X)
    if isinstance(est, MLPRegressor):
        assert np.isfinite(predicted).all()
    else:
        assert np.isfinite(est.predict_proba(X)).all()
    assert np.isfinite(est.evaluate(X, y)["loss"])
    est.save_model(tmp_path / "model")
    same = [load_model(tmp_path / "model"), pickle.loads(pickle.dumps(est))]
    for other in same:
        np.testing.assert_array_equal(other.predict(X), predicted)
    other = clone(est).set_params(n_jobs=2).fit(X, y, **arguments)
    for a, b in zip(other.coefs_ + other.intercepts_, est.coefs_ + est.intercepts_, strict=True):
        np.testing.assert_array_equal(a, b)
