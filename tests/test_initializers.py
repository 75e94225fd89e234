"""Initial weights: distributions by name, objects, arrays of one's own."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPClassifier, MLPRegressor, initializers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (30, 4))
z = X[:, 0] - X[:, 1] * X[:, 2]
y = (z > 0).astype(int)
OWN = ([rng.normal(size=(4, 5)), rng.normal(size=(5, 1))], [rng.normal(size=5), rng.normal(size=1)])
del rng

STILL = {"hidden_layer_sizes": (5,), "max_iter": 1, "random_state": 0, "alpha": 0.0}
STILL |= {"solver": "sgd", "learning_rate_init": 5e-324, "momentum": 0.0}  # weights stay


def start(init, **params):
    return MLPRegressor(**STILL | params, init=init).fit(X, z)


def parameters(estimator):
    return np.concatenate([a.ravel() for a in estimator.coefs_ + estimator.intercepts_])


# Standard deviation of weights of shape (fan_in, fan_out).
DEVIATIONS = {
    "glorot_uniform": lambda m, n: np.sqrt(2 / (m + n)),
    "glorot_normal": lambda m, n: np.sqrt(2 / (m + n)),
    "he_uniform": lambda m, n: np.sqrt(2 / m),
    "he_normal": lambda m, n: np.sqrt(2 / m),
    "lecun_normal": lambda m, n: np.sqrt(1 / m),
    "orthogonal": lambda m, n: np.sqrt(1 / max(m, n)),
    "zeros": lambda m, n: 0.0,
    "normal": lambda m, n: 0.01,
    "uniform": lambda m, n: 0.05 / np.sqrt(3),
}


def drawn(member, shape, seed=0):
    W, b = np.full(shape, np.nan), np.zeros(shape[1])
    member.draw(W, b, "relu", np.random.RandomState(seed))
    assert not b.any()
    return W


def test_every_initializer_is_tested():
    assert DEVIATIONS.keys() | {"auto"} == initializers.INITIALIZERS.keys()


@pytest.mark.parametrize("shape", [(150, 200), (300, 40), (1, 1000)])
@pytest.mark.parametrize("name", DEVIATIONS)
def test_distributions(name, shape):
    W = drawn(initializers.INITIALIZERS[name](), shape)
    deviation, n = DEVIATIONS[name](*shape), W.size
    assert abs(W.mean()) <= 5 * deviation / np.sqrt(n)
    assert W.std() == pytest.approx(deviation, rel=5 / np.sqrt(n))
    size = np.abs(W).max(initial=0)
    if name.endswith("uniform"):
        assert size <= np.sqrt(3) * deviation
        assert size > 0.99 * np.sqrt(3) * deviation
    elif name.endswith("normal"):
        assert np.mean(np.abs(W) < deviation) == pytest.approx(0.683, abs=2.5 / np.sqrt(n))


def test_scales():
    shape = (30, 40)
    for cls in (initializers.Normal, initializers.Uniform):
        np.testing.assert_allclose(
            drawn(cls(scale=6.0), shape), 600 * drawn(cls(scale=0.01), shape), rtol=1e-12
        )
    np.testing.assert_allclose(
        drawn(initializers.Orthogonal(gain=3.0), shape), 3 * drawn(initializers.Orthogonal(), shape)
    )


@pytest.mark.parametrize("shape", [(7, 7), (9, 4), (4, 9), (1, 6), (6, 1)])
def test_orthogonal(shape):
    W = drawn(initializers.Orthogonal(gain=2.0), shape)
    gram = W.T @ W if shape[0] >= shape[1] else W @ W.T
    np.testing.assert_allclose(gram, 4 * np.eye(min(shape)), atol=1e-12)


def test_orthogonal_matrices_are_uniform():
    """Without the signs, the first element of NumPy's Q has one sign only."""
    first = [drawn(initializers.Orthogonal(), (3, 3), seed)[0, 0] for seed in range(300)]
    assert abs(np.mean(np.array(first) > 0) - 0.5) < 0.1
    assert np.mean(np.square(first)) == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", initializers.INITIALIZERS)
def test_fits_start_from_them(name, dtype):
    member = initializers.INITIALIZERS[name]()
    est = MLPRegressor(**STILL, init=name).fit(X.astype(dtype), z)
    stream = np.random.RandomState(0)
    for W, b in zip(est.coefs_, est.intercepts_, strict=True):
        expected_W, expected_b = np.zeros_like(W), np.zeros_like(b)
        member.draw(expected_W, expected_b, "relu", stream)
        np.testing.assert_array_equal(W, expected_W, strict=True)
        np.testing.assert_array_equal(b, expected_b, strict=True)
    trained = MLPClassifier((5,), max_iter=3, random_state=0, init=name)
    for solver in ("adam", "lbfgs"):
        trained.set_params(solver=solver).fit(X.astype(dtype), y)
        assert np.isfinite(parameters(trained)).all()
    other = copy.deepcopy(trained).set_params(random_state=1).fit(X.astype(dtype), y)
    assert (parameters(other) != parameters(trained)).any() == (name != "zeros")


def test_hidden_units_that_start_alike_stay_alike():
    params = {"hidden_layer_sizes": (5,), "activation": "tanh", "max_iter": 50, "random_state": 0}
    params |= {"learning_rate_init": 0.1}
    est = MLPClassifier(**params, init=([np.full((4, 5), 0.1), np.full((5, 1), 0.1)], None))
    W = est.fit(X, y).coefs_[0]
    assert np.ptp(W[:, 0]) > 0.1  # it has learned
    np.testing.assert_allclose(W, np.repeat(W[:, :1], 5, axis=1), rtol=1e-9)
    zeros = MLPClassifier(**params, init="zeros").fit(X, y)
    assert not zeros.coefs_[0].any()  # nor does anything reach the first layer
    W = MLPClassifier(**params, init=initializers.Normal(scale=0.01)).fit(X, y).coefs_[0]
    assert np.ptp(W, axis=1).min() > 0.1


def test_uniform_is_the_legacy_generators():
    """2 u - 1 for one matrix after the other."""
    est = MLPRegressor(
        **STILL | {"hidden_layer_sizes": (5, 3), "random_state": 1}, init=initializers.Uniform(1.0)
    ).fit(X, z)
    stream = np.random.RandomState(1)
    for W in est.coefs_:
        np.testing.assert_array_equal(W, 2 * stream.random_sample(W.shape) - 1)


@pytest.mark.parametrize("container", [tuple, list])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_of_ones_own(dtype, container):
    est = MLPRegressor(**STILL, init=container(OWN)).fit(X.astype(dtype), z)
    for found, given in zip(est.coefs_ + est.intercepts_, OWN[0] + OWN[1], strict=True):
        np.testing.assert_array_equal(found, given.astype(dtype), strict=True)
        assert not np.shares_memory(found, given)
    before = copy.deepcopy(OWN)
    trained = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, init=OWN, random_state=0).fit(X, z)
    assert (trained.coefs_[0] != OWN[0][0]).all()
    np.testing.assert_array_equal(OWN[0][0], before[0][0])
    lists = ([W.tolist() for W in OWN[0]], [b.tolist() for b in OWN[1]])
    np.testing.assert_array_equal(parameters(start(lists)), parameters(start(OWN)))
    no_biases = start((OWN[0], None))
    assert not any(b.any() for b in no_biases.intercepts_)
    np.testing.assert_array_equal(no_biases.coefs_[1], OWN[0][1])


def test_they_are_drawn_from_nothing():
    """The stream goes on as if there were no weights to draw."""
    params = {"hidden_layer_sizes": (5,), "max_iter": 2, "batch_size": 7}
    given, zeros = (
        MLPRegressor(**params, random_state=0, init=init).fit(X, z)
        for init in (([np.zeros((4, 5)), np.zeros((5, 1))], [np.zeros(5), np.zeros(1)]), "zeros")
    )
    np.testing.assert_array_equal(parameters(given), parameters(zeros))


def test_only_training_from_scratch_starts_there():
    est = MLPRegressor(
        hidden_layer_sizes=(5,), max_iter=2, init=OWN, random_state=0, warm_start=True
    )
    first = parameters(est.fit(X, z)).copy()
    assert (parameters(est.set_params(init="zeros").fit(X, z)) != first).all()
    assert est.coefs_[0].any()
    one = MLPRegressor(hidden_layer_sizes=(5,), init=OWN, random_state=0).partial_fit(X, z)
    two = MLPRegressor(hidden_layer_sizes=(5,), init=OWN, random_state=0, max_iter=1).fit(X, z)
    np.testing.assert_array_equal(parameters(one), parameters(two))


def test_parameters_clone_pickle_search():
    est = MLPRegressor(
        hidden_layer_sizes=(5,), max_iter=2, random_state=0, init=initializers.Normal()
    )
    assert est.get_params()["init__scale"] == 0.01
    search = GridSearchCV(est, {"init__scale": [0.1, 1.0]}, cv=2).fit(X, z)
    assert search.best_estimator_.init == initializers.Normal(search.best_params_["init__scale"])
    own = clone(MLPRegressor(hidden_layer_sizes=(5,), init=OWN, random_state=0))
    np.testing.assert_array_equal(own.init[0][0], OWN[0][0])
    back = pickle.loads(pickle.dumps(own.fit(X, z)))
    np.testing.assert_array_equal(back.init[0][0], OWN[0][0])
    assert "init" not in repr(MLPRegressor(alpha=0.5))


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("ones", "The 'init' parameter of MLPRegressor"),
        (0.1, "The 'init' parameter of MLPRegressor"),
        (np.zeros((4, 5)), "The 'init' parameter of MLPRegressor"),
        (OWN[0], r"coefs of init must be a list of 2 arrays"),
        (([], [], []), r"pair \(coefs, intercepts\), got 3 items"),
        ((OWN[0][:1], OWN[1]), "coefs of init must be a list of 2 arrays.*got 1"),
        ((OWN[0], OWN[1] * 2), "intercepts of init must be a list of 2 arrays.*got 4"),
        ((None, OWN[1]), "coefs of init must be a list of 2 arrays.*got None"),
        ((OWN[0][::-1], OWN[1]), r"coefs\[0\] of init has shape \(5, 1\), expected \(4, 5\)"),
        ((OWN[0], [OWN[1][0], np.zeros(2)]), r"intercepts\[1\] of init has shape \(2,\)"),
        (([OWN[0][0] * np.nan, OWN[0][1]], OWN[1]), r"coefs\[0\] of init must be finite"),
        (([OWN[0][0], [["a"]] * 5], OWN[1]), r"coefs\[1\] of init must hold numbers"),
    ],
)
def test_wrong_arrays(init, message):
    est = MLPRegressor(hidden_layer_sizes=(5,), init=init)
    with pytest.raises(ValueError, match=message):
        est.fit(X, z)
    assert not hasattr(est, "coefs_")


def test_arrays_that_float32_does_not_hold():
    large = ([OWN[0][0] * 1e300, OWN[0][1]], OWN[1])
    with pytest.raises(ValueError, match=r"coefs\[0\] of init must be finite, as float32"):
        MLPRegressor(hidden_layer_sizes=(5,), init=large, precision="float32").fit(X, z)


def test_wrong_scales():
    for make in (
        lambda: initializers.Normal(scale=0),
        lambda: initializers.Uniform(scale=np.inf),
        lambda: initializers.Orthogonal(gain=-1.0),
    ):
        with pytest.raises(ValueError, match="parameter of"):
            make()
