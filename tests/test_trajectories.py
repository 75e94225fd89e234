"""Whole trainings: the reference against scikit-learn, then the engine against the reference."""

import warnings
from itertools import pairwise

import numpy as np
import problems
import pytest
import reference
from problems import assert_same_bits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils import check_random_state, shuffle

from fastmlp import _core

# --------------------------------------------------------------- the reference against scikit-learn

N = 107
EPOCHS = 15
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 6))
WEIGHTS = RNG.random(N) * (np.arange(N) % 5 > 0)
# estimator, y, loss, sample weights
CASES = {
    "multiclass": (MLPClassifier, RNG.integers(3, size=N), "log_loss", WEIGHTS),
    "binary": (MLPClassifier, RNG.integers(2, size=N), "binary_log_loss", None),
    "multilabel": (MLPClassifier, RNG.integers(2, size=(N, 4)), "binary_log_loss", None),
    "regression": (MLPRegressor, RNG.normal(size=(N, 2)), "squared_error", WEIGHTS),
    "counts": (MLPRegressor, RNG.poisson(2, size=N) * 1.0, "poisson", None),
}
SOLVERS = {
    "adam": {"solver": "adam"},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.05},
    "momentum": {
        "solver": "sgd",
        "learning_rate_init": 0.05,
        "nesterovs_momentum": False,
        "momentum": 0.5,
    },
}


@pytest.mark.parametrize("hidden", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", CASES)
def test_reference_follows_scikit_learn(case, solver, hidden):
    estimator, y, loss, sample_weight = CASES[case]
    model = estimator(
        hidden_layer_sizes=(9, 5),
        activation=hidden,
        alpha=0.1,
        batch_size=25,
        max_iter=EPOCHS,
        n_iter_no_change=EPOCHS,
        random_state=3,
        **SOLVERS[solver],
    )
    if estimator is MLPRegressor:
        model.set_params(loss=loss)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, sample_weight=sample_weight)

    # What scikit-learn draws from its random stream: weights, then a permutation per epoch.
    random_state = check_random_state(3)
    units = [X.shape[1], 9, 5, model.n_outputs_]
    coefs, intercepts = [], []
    for fan_in, fan_out in pairwise(units):
        bound = np.sqrt((2 if hidden == "logistic" else 6) / (fan_in + fan_out))
        coefs.append(random_state.uniform(-bound, bound, (fan_in, fan_out)))
        intercepts.append(random_state.uniform(-bound, bound, fan_out))
    activations = [hidden, hidden, model.out_activation_]
    net = reference.Net(
        units,
        dtype=np.float64,
        activations=activations,
        loss=loss,
        optimizer=(
            ("sgd", model.momentum, model.nesterovs_momentum) if model.solver == "sgd" else "adam"
        ),
        alpha=model.alpha,
    )
    net.load_params(coefs, intercepts)
    targets = y.astype(np.int32) if loss == "log_loss" else y.reshape(N, -1).astype(np.float64)
    rows = np.arange(N)
    curve = []
    for _ in range(EPOCHS):
        rows = shuffle(rows, random_state=random_state)
        curve.append(net.train(X, targets, sample_weight, rows, 25, model.learning_rate_init) / N)
    net.store_params(coefs, intercepts)

    np.testing.assert_allclose(curve, model.loss_curve_, rtol=1e-10)
    for P, expected in zip([*coefs, *intercepts], [*model.coefs_, *model.intercepts_], strict=True):
        np.testing.assert_allclose(P, expected, rtol=1e-10, atol=1e-12)
    prediction = reference.predict(X, coefs, intercepts, activations)
    if case == "multiclass":
        np.testing.assert_allclose(prediction, model.predict_proba(X), rtol=1e-10)
    elif case == "regression":
        np.testing.assert_allclose(prediction, model.predict(X), rtol=1e-10, atol=1e-12)


# ----------------------------------------------------------------- the engine against the reference

RUNS = [*_core.OPTIMIZERS, ("sgd", {"momentum": 0.5, "nesterov": False}), ("sgd", 0.0)]
LEARNING_RATES = {"adadelta": 2.0, "lion": 0.002}


def trajectory(core, p, optimizer, *, epochs=20, batch_size=32, **options):
    """Train for some epochs, each with a permutation of its own."""
    net = p.net(core, optimizer=optimizer, **options)
    rng = np.random.default_rng(7)
    rate = LEARNING_RATES.get(reference.name_of(optimizer), 0.02)
    losses = [
        net.train(p.X, p.y, p.sample_weight, rng.permutation(p.n), batch_size, rate) / p.n
        for _ in range(epochs)
    ]
    return problems.result(net, p, optimizer, losses)


def assert_follows(p, optimizer, isa, **options):
    actual = trajectory(_core, p, optimizer, isa=isa, **options)
    expected = trajectory(reference, p, optimizer, **options)
    assert actual.step == expected.step
    # Rounding errors grow along the way, the more so in adam, which divides by small gradients.
    rtol, atol = (1e-8, 1e-8) if p.dtype == np.float64 else (1e-3, 5e-3)
    np.testing.assert_allclose(actual.losses, expected.losses, rtol=rtol)
    for a, d in zip(actual.params, expected.params, strict=True):
        np.testing.assert_allclose(a, d, rtol=0, atol=atol * np.abs(d).max())
    return expected


@pytest.mark.parametrize(("optimizer", "hidden"), problems.covering(RUNS, problems.HIDDEN), ids=str)
def test_trajectory(optimizer, hidden, dtype, isa):
    p = problems.make([10, 33, 17, 4], 150, dtype, hidden=hidden, loss="log_loss", labels=True)
    expected = assert_follows(p, optimizer, isa)
    assert expected.losses[-1] < 0.95 * expected.losses[0]  # it has learned something


@pytest.mark.parametrize(
    ("optimizer", "loss"), problems.covering(list(_core.OPTIMIZERS), problems.LOSSES), ids=str
)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_trajectory_of_every_loss(sparse, optimizer, loss, dtype, isa):
    p = problems.make([9, 20, 3], 120, dtype, loss=loss, density=0.4 if sparse else None)
    weighted = p.but(sample_weight=np.random.default_rng(1).random(p.n), alpha=0.01)
    assert_follows(weighted, optimizer, isa)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", _core.OPTIMIZERS)
@pytest.mark.parametrize(
    ("units", "n", "batch_size"),
    [([4, 100, 3], 150, 150), ([20, 100, 2], 1000, 200), ([64, 200, 10], 1000, 200)],
    ids=str,
)
def test_trajectory_of_common_shapes(units, n, batch_size, optimizer, dtype, isa):
    # In float32 the sign of some relu's input will in the end be another than the reference's; from
    # there on the two ways part, with rmsprop and most seeds within 10 epochs.
    hidden = "relu" if dtype == np.float64 else "tanh"
    p = problems.make(units, n, dtype, hidden=hidden, loss="log_loss", labels=True, alpha=1e-4)
    epochs = 30 if dtype == np.float64 else 10
    assert_follows(p, optimizer, isa, epochs=epochs, batch_size=batch_size)


@pytest.mark.parametrize("optimizer", problems.OPTIMIZERS)
def test_training_can_be_taken_up_again(optimizer, dtype, isa):
    """Params, state and step are all there is: a second network goes on where the first stopped."""
    p = problems.make([10, 33, 4], 90, dtype, loss="log_loss", labels=True)
    rows = [np.random.default_rng(i).permutation(p.n) for i in range(6)]

    def train(net, epochs):
        return [net.train(p.X, p.y, None, rows[i], 16, 0.01) for i in epochs]

    net = p.net(_core, optimizer=optimizer, isa=isa)
    train(net, range(3))
    kept = problems.result(net, p, optimizer, [])
    uninterrupted = problems.result(net, p, optimizer, train(net, range(3, 6)))

    second = p.net(_core, optimizer=optimizer, isa=isa)
    second.load_params(kept.params[:2], kept.params[2:])
    for slot in range(problems.n_slots(optimizer)):
        arrays = kept.state[4 * slot : 4 * slot + 4]
        second.load_state(slot, arrays[:2], arrays[2:])
    second.step = kept.step
    assert_same_bits(
        problems.result(second, p, optimizer, train(second, range(3, 6))), uninterrupted
    )
