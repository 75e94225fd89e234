"""Dropout and networks without biases, against the reference and by what is promised of them."""

import pickle

import numpy as np
import problems
import pytest
import reference
import scipy.sparse as sp
from test_gradients import assert_gradient

from fastmlp import MLPClassifier, MLPRegressor, _core

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger"),
]

KINDS = [(np.float64, False), (np.float32, False), (np.float32, True)]
KIND_NAMES = ["float64", "float32", "bfloat16"]
SHARES = {"dropout": (0.5, 0.2), "input_dropout": 0.3, "seed": 77}
WITHOUT_BIASES = {"fit_intercept": False}
OPTIONS = {"dropout": SHARES, "no biases": WITHOUT_BIASES, "both": SHARES | WITHOUT_BIASES}


def make(kind=KINDS[0], *, n=37, units=(11, 33, 6, 2), **options):
    dtype, bfloat16 = kind
    p = problems.make(list(units), n, dtype, weighted=True, **options)
    return p.but(options={"bfloat16": bfloat16})


def factor(kind):
    return 500 if kind[1] else 10


# ------------------------------------------------------------------------------------- engine


def test_philox_gives_the_published_numbers():
    """The known answers of the authors' library, Random123."""
    zeros, ones, pi = 0, 2**32 - 1, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    answers = [
        ([zeros] * 4, [zeros] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ones] * 4, [ones] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (pi, [0xA4093822, 0x299F31D0], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ]
    for counter, key, expected in answers:
        assert [int(word) for word in reference.philox(counter, key)] == expected


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_that_is_dropped(p):
    kept = reference.keeps(p, 1001, 300, seed=5, number=1, update=9)
    assert abs(kept.mean() - (1 - p)) < 4 * np.sqrt(p * (1 - p) / kept.size)
    for other in [(6, 1, 9), (5, 2, 9), (5, 1, 10), (5, 1, 9 + 2**32)]:
        agree = (kept == reference.keeps(p, 1001, 300, *other)).mean()
        assert abs(agree - (p**2 + (1 - p) ** 2)) < 0.01


@pytest.mark.parametrize("density", [None, 0.3], ids=["dense", "csr"])
@pytest.mark.parametrize("hidden", ["relu", "tanh", "identity"])
@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_training_against_the_reference(options, kind, hidden, density, isa):
    p = make(kind, hidden=hidden, density=density)
    p = p.but(options=p.options | options)
    arguments = {"batch_size": 15, "epochs": 2}
    expected = problems.train(reference, p, "adam", **arguments)
    one = problems.train(_core, p, "adam", isa=isa, n_threads=1, **arguments)
    problems.assert_matches(one, expected, p, factor=factor(kind))


@pytest.mark.parametrize("hidden", problems.HIDDEN, ids=str)
def test_every_activation(hidden, isa):
    p = make(hidden=hidden).but(options=SHARES)
    expected = problems.loss_grad(reference, p)
    problems.assert_matches(problems.loss_grad(_core, p, isa=isa), expected, p)


@pytest.mark.parametrize("density", [None, 0.3], ids=["dense", "csr"])
@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
def test_bits_do_not_depend_on_threads(kind, density):
    """With mini-batches above the rows that go through the network at once, too."""
    p = make(kind, n=1500, units=(90, 130, 70, 3), hidden="tanh", density=density)
    p = p.but(options=p.options | SHARES)
    runs = [
        problems.train(_core, p, "adam", batch_size=1300, n_threads=n, epochs=2) for n in (1, 2, 3)
    ]
    for run in runs[1:]:
        problems.assert_same_bits(run, runs[0])


def test_masks_of_large_batches(isa):
    p = make(n=1500, units=(9, 20, 3)).but(options={"dropout": (0.4,), "input_dropout": 0.2})
    expected = problems.train(reference, p, "sgd", batch_size=1300)
    actual = problems.train(_core, p, "sgd", batch_size=1300, isa=isa)
    problems.assert_matches(actual, expected, p)


@pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
def test_bits_do_not_depend_on_the_isa(kind):
    p = make(kind, hidden="tanh")
    p = p.but(options=p.options | SHARES)
    fused = [isa for isa in _core.ISAS if isa != "generic"]
    runs = [problems.train(_core, p, "adam", batch_size=15, isa=isa) for isa in fused]
    for run in runs[1:]:
        problems.assert_same_bits(run, runs[0])


@pytest.mark.parametrize("density", [None, 0.4], ids=["dense", "csr"])
@pytest.mark.parametrize("hidden", ["relu", "tanh"])
@pytest.mark.parametrize("options", [SHARES, SHARES | WITHOUT_BIASES], ids=["dropout", "both"])
def test_gradient(options, hidden, density, isa):
    p = problems.make([4, 5, 3, 2], 9, np.float64, hidden=hidden, density=density, weighted=True)
    if "fit_intercept" in options:  # the quotient sees biases, the gradient does not
        _, grad = problems.loss_grad(_core, p.but(options=options), isa=isa)
        _, full = problems.loss_grad(_core, p.but(options=SHARES), isa=isa)
        n_biases = sum(b.size for b in p.intercepts)
        assert (grad[-n_biases:] == 0).all()
        np.testing.assert_array_equal(grad[:-n_biases], full[:-n_biases])
    else:
        assert_gradient(_core, p.but(options=options), isa=isa)


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": (0.5,)},
        {"dropout": (0.5, 1.0)},
        {"dropout": (-0.1, 0.5)},
        {"dropout": (0.5, np.nan)},
        {"input_dropout": 1.0},
        {"input_dropout": np.nan},
    ],
    ids=str,
)
def test_net_refuses_other_shares(options):
    with pytest.raises(ValueError, match="dropout"):
        make().net(_core, **options)


# ---------------------------------------------------------------------------------- estimators

rng = np.random.RandomState(0)
X = rng.normal(size=(150, 12))
y = np.int64(X[:, 0] + X[:, 1] ** 2 > 0.5) + (X[:, 2] > 0)
del rng
SMALL = {"hidden_layer_sizes": (20, 9), "max_iter": 5, "random_state": 3, "batch_size": 32}


def weights(est):
    return [*est.coefs_, *est.intercepts_]


def assert_same_weights(a, b):
    for P, Q in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(P, Q)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_fit_drops_as_the_reference_does(solver, precision, form, monkeypatch):
    params = SMALL | {"solver": solver, "dropout": [0.5, 0.1], "input_dropout": 0.2}
    est = MLPClassifier(**params, precision=precision).fit(form(X), y)
    with monkeypatch.context() as patch:
        patch.setattr(_core, "Net", reference.Net)
        twin = MLPClassifier(**params, precision=precision).fit(form(X), y)
    tolerance = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.05}[precision]
    for P, Q in zip(weights(est), weights(twin), strict=True):
        np.testing.assert_allclose(P, Q, atol=tolerance)
    np.testing.assert_allclose(est.loss_curve_, twin.loss_curve_, rtol=10 * tolerance)


def test_random_stream_is_that_of_before_without_dropout():
    states = []
    for dropout in (0.0, [0.0, 0.0], 0.5):
        random = np.random.RandomState(0)
        params = SMALL | {"random_state": random, "shuffle": False}
        MLPClassifier(**params, dropout=dropout).fit(X, y)
        states.append(random.random_sample())
    assert states[0] == states[1] != states[2]


def test_same_random_state_same_fit():
    params = SMALL | {"dropout": 0.4}
    fits = [MLPRegressor(**params, n_jobs=n).fit(X, y) for n in (1, 2)]
    assert_same_weights(*fits)
    other = MLPRegressor(**params | {"random_state": 4}).fit(X, y)
    assert (other.coefs_[0] != fits[0].coefs_[0]).any()


def test_predictions_use_all_units():
    est = MLPRegressor(**SMALL, dropout=0.5, input_dropout=0.3).fit(X, y)
    plain = MLPRegressor(**SMALL).fit(X, y)
    plain.coefs_, plain.intercepts_ = est.coefs_, est.intercepts_
    np.testing.assert_array_equal(est.predict(X), plain.predict(X))
    np.testing.assert_array_equal(est.predict(X[:1]), plain.predict(X[:1]))


def test_validation_is_without_dropout():
    est = MLPRegressor(**SMALL, dropout=0.5, input_dropout=0.3).fit(X, y, X_val=X, y_val=y)
    residual = y - est.predict(X)
    np.testing.assert_allclose(est.validation_loss_curve_[-1], 0.5 * np.mean(residual**2))
    assert est.validation_scores_[-1] == est.score(X, y)


def test_partial_fit_goes_on_with_its_masks():
    """One call after another, with a pickle in between, is one run of updates."""
    params = SMALL | {"dropout": 0.3, "shuffle": False}
    whole = MLPClassifier(**params)
    cut = MLPClassifier(**params)
    for _ in range(3):
        whole.partial_fit(X, y, classes=[0, 1, 2])
        cut = pickle.loads(pickle.dumps(cut.partial_fit(X, y, classes=[0, 1, 2])))
    assert_same_weights(whole, cut)
    fitted = MLPClassifier(**params | {"max_iter": 3}, n_iter_no_change=9).fit(X, y)
    assert_same_weights(whole, fitted)


def test_pickle_has_a_seed_only_with_dropout():
    plain = MLPClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2])
    drops = MLPClassifier(**SMALL, dropout=0.1).partial_fit(X, y, classes=[0, 1, 2])
    assert "seed" not in plain.__getstate__()["_session"]
    assert 0 <= drops.__getstate__()["_session"]["seed"] < 2**32


def test_dropout_may_be_changed_between_calls():
    est = MLPClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2])
    for dropout in (0.5, [0.1, 0.2], 0.0):
        est.set_params(dropout=dropout).partial_fit(X, y)
    est.set_params(warm_start=True, dropout=0.2).fit(X, y)
    assert np.isfinite(est.loss_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dropout": 1.0}, "'dropout'.*1.0"),
        ({"dropout": -0.5}, "'dropout'.*-0.5"),
        ({"dropout": [0.5, 1.0]}, r"dropout=\[0.5, 1.0\].*got 1.0"),
        ({"dropout": [0.5, "a"]}, r"dropout=\[0.5, 'a'\].*got 'a'"),
        ({"dropout": [0.5]}, r"dropout=\[0.5\] has 1 numbers, but there are 2 hidden"),
        ({"dropout": "much"}, "'dropout'"),
        ({"input_dropout": 1.0}, "'input_dropout'.*1.0"),
        ({"input_dropout": [0.5]}, "'input_dropout'"),
        ({"dropout": 0.5, "solver": "lbfgs"}, "solver='lbfgs'.*dropout=0.5"),
        ({"input_dropout": 0.5, "solver": "lbfgs"}, "solver='lbfgs'.*input_dropout=0.5"),
        ({"fit_intercept": "no"}, "'fit_intercept'"),
    ],
    ids=str,
)
def test_refused_parameters(params, message):
    est = MLPClassifier(**SMALL | params)
    with pytest.raises(ValueError, match=message):
        est.fit(X, y)
    assert not hasattr(est, "coefs_")


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("hidden", [(), (20, 9)], ids=str)
def test_without_biases(hidden, solver, precision, monkeypatch):
    params = SMALL | {"hidden_layer_sizes": hidden, "solver": solver, "precision": precision}
    est = MLPRegressor(**params, fit_intercept=False).fit(X, y)
    assert len(est.intercepts_) == len(hidden) + 1
    assert all((b == 0).all() for b in est.intercepts_)
    assert (est.predict(np.zeros((1, 12))) == 0).all()
    with monkeypatch.context() as patch:
        patch.setattr(_core, "Net", reference.Net)
        twin = MLPRegressor(**params, fit_intercept=False).fit(X, y)
    tolerance = {"float64": 1e-7, "float32": 1e-2, "bfloat16": 0.2}[precision]
    np.testing.assert_allclose(est.loss_, twin.loss_, rtol=tolerance)


def test_biases_are_not_drawn():
    est = MLPRegressor(**SMALL | {"max_iter": 1}, learning_rate_init=1e-300, fit_intercept=False)
    est.fit(X, y)
    random = np.random.RandomState(3)
    for W in est.coefs_:
        bound = np.sqrt(6 / sum(W.shape))
        np.testing.assert_array_equal(W, random.uniform(-bound, bound, W.shape))
