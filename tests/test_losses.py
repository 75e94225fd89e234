"""Losses and output activations: closed forms, stability, targets, quantiles, smoothed labels.

That values and gradients of every row are right is in test_kernels.py and test_gradients.py.
"""

import pickle

import numpy as np
import problems
import pytest
import reference
import scipy.sparse as sp
from problems import assert_matches
from scipy.optimize import minimize
from scipy.special import huber
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    TweedieRegressor,
)
from sklearn.metrics import d2_pinball_score, mean_pinball_loss
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import LabelBinarizer

from fastmlp import MLPClassifier, MLPRegressor, _core, activations, load_model, losses
from fastmlp._training import Values

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (120, 4))
MEAN = np.exp(0.3 * X[:, 0] - 0.5 * X[:, 1] + 0.2)
REAL = X[:, 0] - 2 * X[:, 2] + rng.standard_t(3, 120) * (1 + 0.5 * X[:, 1])
COUNTS = rng.poisson(MEAN).astype(float)
POSITIVE = rng.gamma(2.0, MEAN / 2)
CLAIMS = COUNTS * rng.gamma(2.0, MEAN / 2)
CLASSES = (3 * rng.uniform(size=120) + X[:, 0] > 1).astype(int) + (X[:, 1] > 0.2)
LABELS = np.c_[X[:, 0] > 0, X[:, 1] > 0.3, X[:, 2] > X[:, 3]].astype(int)
del rng

LINEAR = {
    "hidden_layer_sizes": (),
    "solver": "lbfgs",
    "max_iter": 5000,
    "max_fun": 50000,
    "tol": 1e-9,
    "alpha": 0.0,
    "random_state": 0,
}
SMALL = {"hidden_layer_sizes": (7,), "max_iter": 5, "random_state": 0}

SUITABLE = {
    "real": REAL,
    "nonnegative": COUNTS,
    "positive": POSITIVE,
}


def targets_for(loss):
    return SUITABLE[_core.LOSSES[loss].targets]


def weights(est):
    return np.concatenate([a.ravel() for a in [*est.coefs_, *est.intercepts_]])


# ---------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize(
    ("loss", "model", "y"),
    [
        ("poisson", PoissonRegressor(alpha=0, tol=1e-9, max_iter=1000), COUNTS),
        ("gamma", GammaRegressor(alpha=0, tol=1e-9, max_iter=1000), POSITIVE),
        ("tweedie", TweedieRegressor(alpha=0, power=1.5, tol=1e-9, max_iter=1000), CLAIMS),
        (
            losses.Tweedie(power=1.2),
            TweedieRegressor(alpha=0, power=1.2, tol=1e-9, max_iter=1000),
            CLAIMS,
        ),
    ],
    ids=["poisson", "gamma", "tweedie", "tweedie-1.2"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_generalized_linear_models(loss, model, y, weighted):
    """Without hidden layers these losses are scikit-learn's linear models with a log link."""
    w = np.linspace(0.5, 2, len(y)) if weighted else None
    est = MLPRegressor(loss=loss, **LINEAR).fit(X, y, w)
    expected = model.fit(X, y, w)
    np.testing.assert_allclose(est.coefs_[0].ravel(), expected.coef_, atol=1e-4)
    np.testing.assert_allclose(est.predict(X), expected.predict(X), rtol=2e-4)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.8])
def test_linear_quantiles(level):
    """L-BFGS stops near the vertex that linear programming finds."""
    exact = QuantileRegressor(quantile=level, alpha=0).fit(X, REAL)
    est = MLPRegressor(loss=losses.Quantile(level), **LINEAR).fit(X, REAL)
    best = mean_pinball_loss(REAL, exact.predict(X), alpha=level)
    reached = mean_pinball_loss(REAL, est.predict(X), alpha=level)
    assert best <= reached < 1.01 * best
    assert est.loss_ == pytest.approx(reached, rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "of_error"),
    [
        ("log_cosh", lambda e: np.log(np.cosh(e))),
        (losses.Huber(0.7), lambda e: huber(0.7, e)),
        ("squared_error", lambda e: e**2 / 2),
    ],
    ids=["log_cosh", "huber", "squared_error"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_linear_models_of_smooth_losses(weighted, loss, of_error):
    """The minimum that SciPy finds without gradients, of SciPy's own Huber loss for one."""
    w = np.linspace(0.5, 2, 120) if weighted else None
    ones = np.c_[X, np.ones(120)]
    exact = minimize(
        lambda beta: np.average(of_error(REAL - ones @ beta), weights=w), np.zeros(5), tol=1e-10
    )
    est = MLPRegressor(loss=loss, **LINEAR).fit(X, REAL, w)
    assert est.loss_ == pytest.approx(exact.fun, rel=1e-8)
    np.testing.assert_allclose(est.coefs_[0].ravel(), exact.x[:4], atol=1e-3)


def test_absolute_error_is_twice_the_loss_of_the_median():
    kwargs = {**SMALL, "solver": "sgd", "alpha": 0.0}
    median = MLPRegressor(loss=losses.Quantile(0.5), **kwargs, learning_rate_init=0.02)
    absolute = MLPRegressor(loss="absolute_error", **kwargs, learning_rate_init=0.01)
    median.fit(X, REAL)
    absolute.fit(X, REAL)
    np.testing.assert_allclose(weights(median), weights(absolute), rtol=1e-9)
    np.testing.assert_allclose(2 * np.array(median.loss_curve_), absolute.loss_curve_)


def test_limits_of_huber():
    def fitted(loss):
        return MLPRegressor(loss=loss, **SMALL, alpha=0.0).fit(X, REAL)

    np.testing.assert_array_equal(
        weights(fitted(losses.Huber(delta=1e6))), weights(fitted("squared_error"))
    )
    narrow, absolute = fitted(losses.Huber(delta=1e-9)), fitted("absolute_error")
    np.testing.assert_allclose(narrow.loss_, 1e-9 * absolute.loss_, rtol=1e-2)


@pytest.mark.parametrize(("power", "loss"), [(1 + 1e-9, "poisson"), (2 - 1e-9, "gamma")])
def test_limits_of_tweedie(power, loss):
    """Without cancellation: the terms of the deviance grow beyond all bounds there."""
    limit = MLPRegressor(loss=loss, **SMALL).fit(X, POSITIVE)
    near = MLPRegressor(loss=losses.Tweedie(power), **SMALL).fit(X, POSITIVE)
    np.testing.assert_allclose(near.loss_curve_, limit.loss_curve_, rtol=1e-7)
    np.testing.assert_allclose(weights(near), weights(limit), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("y", [CLASSES, CLASSES > 0, LABELS], ids=["multi", "binary", "labels"])
def test_focal_without_focus_is_the_log_loss(y):
    log_loss = MLPClassifier(**SMALL).fit(X, y)
    focal = MLPClassifier(**SMALL, loss=losses.Focal(gamma=0)).fit(X, y)
    np.testing.assert_allclose(focal.loss_curve_, log_loss.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(weights(focal), weights(log_loss), rtol=1e-7, atol=1e-9)


def test_focal_loss_by_its_formula():
    """Equation 4 of the paper, on the probabilities that a fit ends with."""
    for y in (CLASSES, CLASSES > 0, LABELS):
        est = MLPClassifier(**LINEAR | {"max_iter": 7}, loss=losses.Focal(gamma=1.5)).fit(X, y)
        P = est.predict_proba(X)
        if y is LABELS:
            p = np.where(y, P, 1 - P)
        else:
            p = P[np.arange(len(y)), np.asarray(y, int)]
        loss = -((1 - p) ** 1.5 * np.log(p)).reshape(len(y), -1).sum(axis=1).mean()
        assert est.loss_ == pytest.approx(loss, rel=1e-9)


# ------------------------------------------------------------------------------------- stability


def extreme(loss, out, z, y, dtype, isa):
    """Loss and dloss/dz of one output that is f(z), by the engine."""
    net = _core.Net([1, 1], dtype=dtype, activations=[out], loss=loss, max_rows=1, isa=isa)
    params, grad = np.array([0, z], dtype), np.empty(2, dtype)
    one, y = np.ones((1, 1), dtype), np.array([[y]], dtype)
    value = net.loss_grad(params, grad, one, y, None)
    return value, float(grad[1])


@pytest.mark.parametrize("z", [-1000.0, -90.0, -30.0, 30.0, 90.0, 1000.0])
def test_real_losses_far_out(z, dtype, isa):
    for loss in ("log_cosh", "huber", "absolute_error", "quantile"):
        value, slope = extreme(loss, "identity", z, 0.0, dtype, isa)
        exact = {"log_cosh": np.log(2), "huber": 0.5, "absolute_error": 0}.get(loss, abs(z) / 2)
        np.testing.assert_allclose(value, abs(z) - exact, rtol=1e-6)
        np.testing.assert_allclose(slope, np.sign(z) * (0.5 if loss == "quantile" else 1))


@pytest.mark.parametrize("y", [0.5, 3.0])
@pytest.mark.parametrize("loss", ["poisson", "gamma", "tweedie"])
def test_positive_losses_of_outputs_that_underflow(loss, y, dtype, isa):
    """Their gradients do not vanish where outputs and their derivatives do."""
    for out in ("exp", "softplus", "logistic"):
        for z in (-20.0, -1000.0):
            value, slope = extreme(loss, out, z, y, dtype, isa)
            assert value > 8
            assert not np.isnan(slope)
            assert slope <= -y * 0.999
            if loss == "poisson":
                assert np.isfinite(value)
                np.testing.assert_allclose(slope, -y, rtol=1e-6)


def test_softplus_far_out(dtype, isa):
    for loss in ("squared_error", "log_cosh"):
        value, slope = extreme(loss, "softplus", 1000.0, 1000.0, dtype, isa)
        assert value == slope == 0
        value, slope = extreme(loss, "softplus", -1000.0, 0.0, dtype, isa)
        assert value == slope == 0


def test_gamma_of_large_outputs(dtype, isa):
    value, slope = extreme("gamma", "exp", 80.0, 1.0, dtype, isa)
    np.testing.assert_allclose([value, slope], [79.0, 1.0], rtol=1e-6)
    value, slope = extreme("gamma", "softplus", 1e30, 1.0, dtype, isa)
    np.testing.assert_allclose([value, slope], [np.log(1e30) - 1, 1e-30], rtol=1e-6, atol=1e-29)


@pytest.mark.parametrize("loss", ["focal", "binary_focal"])
def test_focal_of_certain_mistakes(loss, dtype, isa):
    """Wrong and certain of it: delta is that of the log loss."""
    single = loss == "binary_focal"
    q = 1 if single else 2
    out = "logistic" if single else "softmax"
    net = _core.Net([1, q], dtype=dtype, activations=[out], loss=loss, max_rows=1, isa=isa)
    for z in (20.0, 200.0, 1000.0):
        params = np.array([0.0] * q + ([-z] if single else [z, 0]), dtype)
        grad = np.empty_like(params)
        y = np.ones((1, 1), dtype) if single else np.array([[0, 1]], dtype)
        value = net.loss_grad(params, grad, np.ones((1, 1), dtype), y, None)
        assert np.isfinite(value)
        assert value > 15
        expected = [-1] if single else [1, -1]
        np.testing.assert_allclose(grad[q:], expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", "log_cosh"])
def test_losses_that_overflow_float32(loss, isa):
    """The sum over the outputs is taken again in double."""
    p = problems.make([3, 2], 5, np.float32, loss=loss)
    p.y[...] = 3e38
    p.intercepts[0][:] = -3e38
    p.coefs[0][:] = 0
    p.sample_weight = None
    p = p.but(alpha=0.0)
    expected = problems.loss_grad(reference, p)
    assert expected[0] > 2.5e38
    assert_matches(problems.loss_grad(_core, p, isa=isa), expected, p)


def test_positive_losses_that_overflow_float32(isa):
    p = problems.make([3, 2], 5, np.float32, loss="gamma", out="exp").but(alpha=0.0)
    p.y[...] = 1e38
    p.coefs[0][:] = 0
    p.intercepts[0][:] = -10
    value, _ = problems.loss_grad(_core, p, isa=isa)
    expected, _ = problems.loss_grad(reference, p)
    assert np.isfinite(expected)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


# ------------------------------------------------------------------------------------- quantiles

LEVELS = (0.1, 0.5, 0.75)


def test_quantiles_of_several_levels(tmp_path):
    params = SMALL | {"solver": "lbfgs", "max_iter": 300}
    est = MLPRegressor(loss=losses.Quantile(LEVELS), **params).fit(X, REAL)
    predicted = est.predict(X)
    assert predicted.shape == (120, 3)
    assert est.n_outputs_ == 3
    np.testing.assert_array_equal(est.levels_, LEVELS)
    assert (np.diff(predicted, axis=1) >= 0).all()
    scores = [d2_pinball_score(REAL, predicted[:, i], alpha=q) for i, q in enumerate(LEVELS)]
    assert est.score(X, REAL) == pytest.approx(np.mean(scores))
    below = (REAL[:, np.newaxis] < predicted).mean(axis=0)
    assert (np.abs(below - LEVELS) < 0.2).all()
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.predict(X), predicted)
    path = tmp_path / "quantiles"
    est.save_model(path)
    np.testing.assert_array_equal(load_model(path).predict(X), predicted)
    result = est.evaluate(X, REAL)
    assert result.keys() == {"loss", "d2_pinball"}
    assert result["d2_pinball"] == pytest.approx(est.score(X, REAL))


def test_quantiles_are_those_of_single_fits():
    """Without hidden layers nothing is shared: each level is fitted as if alone."""
    together = MLPRegressor(loss=losses.Quantile([0.2, 0.8]), **LINEAR).fit(X, REAL)
    for i, level in enumerate((0.2, 0.8)):
        exact = QuantileRegressor(quantile=level, alpha=0).fit(X, REAL)
        best = mean_pinball_loss(REAL, exact.predict(X), alpha=level)
        reached = mean_pinball_loss(REAL, together.predict(X)[:, i], alpha=level)
        assert reached < 1.02 * best


def test_quantiles_never_cross():
    """Not even of a network that has hardly been trained."""
    est = MLPRegressor(loss=losses.Quantile([0.45, 0.5, 0.55]), **SMALL | {"max_iter": 1})
    est.fit(X, REAL)
    raw = est._outputs(X)
    assert (np.diff(raw, axis=1) < 0).any()
    assert (np.diff(est.predict(X), axis=1) >= 0).all()
    np.testing.assert_array_equal(np.sort(raw, axis=1), est.predict(X))


def test_quantiles_of_several_targets():
    Y = np.c_[REAL, 100 + REAL]
    params = SMALL | {"max_iter": 400, "solver": "lbfgs"}
    est = MLPRegressor(loss=losses.Quantile([0.25, 0.75]), **params).fit(X, Y)
    predicted = est.predict(X)
    assert predicted.shape == (120, 2, 2)
    assert abs(predicted[:, 0].mean()) < 10
    assert abs(predicted[:, 1].mean() - 100) < 10
    assert est.score(X, Y) == pytest.approx(
        np.mean(
            [d2_pinball_score(Y, predicted[:, :, i], alpha=q) for i, q in enumerate((0.25, 0.75))]
        )
    )
    one = MLPRegressor(loss=losses.Quantile(0.25), **params).fit(X, Y)
    assert one.predict(X).shape == (120, 2)
    assert not hasattr(one, "levels_")


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_one_level_is_one_output(solver):
    params = SMALL | {"solver": solver}
    single = MLPRegressor(loss=losses.Quantile(0.3), **params).fit(X, REAL)
    listed = MLPRegressor(loss=losses.Quantile([0.3]), **params).fit(X, REAL)
    assert losses.Quantile([0.3]) == losses.Quantile(0.3)
    assert single.predict(X).shape == (120,)
    np.testing.assert_array_equal(single.predict(X), listed.predict(X))
    assert "levels_" not in vars(single)


def test_early_stopping_on_quantiles():
    est = MLPRegressor(
        loss=losses.Quantile(LEVELS), **SMALL | {"max_iter": 20}, early_stopping=True
    ).fit(X, REAL, np.linspace(1, 2, 120))
    assert len(est.validation_scores_) == est.n_iter_
    own = MLPRegressor(loss=losses.Quantile(LEVELS), **SMALL)
    own.fit(X, REAL, X_val=X, y_val=REAL)
    assert own.validation_scores_[-1] == pytest.approx(own.score(X, REAL))
    scored = MLPRegressor(loss=losses.Quantile(LEVELS), **SMALL, scoring="loss")
    scored.fit(X, REAL, X_val=X, y_val=REAL)
    expected = [
        mean_pinball_loss(REAL, scored._outputs(X)[:, i], alpha=q) for i, q in enumerate(LEVELS)
    ]
    assert scored.validation_scores_[-1] == pytest.approx(-np.mean(expected))


def test_score_of_diverged_quantiles():
    est = MLPRegressor(loss=losses.Quantile(LEVELS), **SMALL).fit(X, REAL)
    est.intercepts_[-1][:] = np.inf
    assert np.isnan(est.score(X, REAL))


def test_levels_in_a_grid():
    search = GridSearchCV(
        MLPRegressor(loss="quantile", **SMALL), {"loss__levels": [0.2, (0.1, 0.9)]}, cv=2
    ).fit(X, REAL)
    assert search.best_params_["loss__levels"] in (0.2, (0.1, 0.9))


@pytest.mark.parametrize(
    "levels", [(), (0.5, 0.5), (0.9, 0.1), (0.1, 1.0), ("a",), [[0.1, 0.2]], 0, 1]
)
def test_wrong_levels(levels):
    with pytest.raises(ValueError, match="'levels' parameter of Quantile"):
        losses.Quantile(levels)


def test_levels_as_the_engine_takes_them(dtype, isa):
    """They are given to the outputs in turn."""
    levels = (0.2, 0.5, 0.9)
    p = problems.make([5, 8, 6], 30, dtype, loss=("quantile", levels), weighted=True)
    assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, p), p)
    one = problems.make([5, 8, 6], 30, dtype, loss=("quantile", 0.2), weighted=True)
    same = p.but(loss=("quantile", (0.2,) * 6))
    problems.assert_same_bits(
        problems.loss_grad(_core, same, isa=isa), problems.loss_grad(_core, one, isa=isa)
    )


@pytest.mark.parametrize("core", [_core, reference], ids=["engine", "reference"])
def test_wrong_levels_for_the_engine(core):
    for loss in (("quantile", (0.1, 1.0)), ("huber", (1.0, 2.0)), ("quantile", (0.1, 0.2, 0.3))):
        if core is reference and loss[0] == "huber":
            continue
        with pytest.raises(ValueError, match=r"quantile|huber"):
            core.Net([2, 2], dtype=np.float64, activations=["identity"], loss=loss)


# ----------------------------------------------------------------------------- output activations

REAL_LOSSES = [name for name, row in _core.LOSSES.items() if row.targets == "real"]
POSITIVE_LOSSES = [n for n, r in _core.LOSSES.items() if r.targets in ("nonnegative", "positive")]
POSITIVE_OUT = [name for name, row in _core.ACTIVATIONS.items() if row.output and row.positive]


def test_which_outputs_are_positive():
    assert set(POSITIVE_OUT) == {"exp", "softplus", "logistic"}
    assert set(activations.OUT_ACTIVATIONS) == {
        *POSITIVE_OUT,
        "identity",
        "relu",
        "tanh",
    }


@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("out", activations.OUT_ACTIVATIONS)
def test_every_loss_with_every_output_activation(loss, out):
    y = targets_for(loss)
    est = MLPRegressor(loss=loss, out_activation=out, **SMALL)
    if loss in POSITIVE_LOSSES and out not in POSITIVE_OUT:
        with pytest.raises(ValueError, match=f"loss='{loss}'.*out_activation='{out}'"):
            est.fit(X, y)
        assert not hasattr(est, "coefs_")
        return
    est.fit(X, y)
    assert est.out_activation_ == out
    assert type(est.out_activation_) is str
    assert est.loss_curve_[-1] < est.loss_curve_[0] or out in ("relu", "tanh", "logistic")
    predicted = est.predict(X)
    assert np.isfinite(predicted).all()
    if out in (*POSITIVE_OUT, "relu"):
        assert (predicted >= 0).all()
    twice = MLPRegressor(loss=loss, out_activation=out, **SMALL, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(twice.predict(X), predicted)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_losses_everywhere(loss, precision):
    """CSR like dense, partial_fit like fit, L-BFGS and warm starts, several targets."""
    y = np.c_[targets_for(loss), targets_for(loss)]
    params = SMALL | {"loss": loss, "precision": precision, "shuffle": False}
    dense = MLPRegressor(**params).fit(X, y)
    sparse = MLPRegressor(**params).fit(sp.csr_array(X), y)
    np.testing.assert_allclose(sparse.predict(X), dense.predict(X), rtol=2e-2, atol=1e-2)
    by_hand = MLPRegressor(**params)
    for _ in range(5):
        by_hand.partial_fit(X, y)
    np.testing.assert_array_equal(by_hand.predict(X), dense.predict(X))
    for solver in ("lbfgs", "sgd"):
        est = MLPRegressor(**params | {"solver": solver, "warm_start": True}).fit(X, y)
        before = est.loss_
        est.fit(X, y)
        assert est.loss_ < before
        assert est.predict(X).shape == (120, 2)


@pytest.mark.parametrize(
    ("loss", "y", "words"),
    [
        ("poisson", -1.0, "loss='poisson' needs y >= 0, but y holds -1.0"),
        ("tweedie", -0.5, "loss='tweedie' needs y >= 0, but y holds -0.5"),
        ("gamma", -2.0, "loss='gamma' needs y > 0, but y holds -2.0"),
        ("gamma", 0.0, "loss='gamma' needs y > 0, but y holds 0.0"),
        (losses.Tweedie(1.9), -0.5, "loss='tweedie' needs y >= 0"),
    ],
    ids=str,
)
def test_impossible_targets(loss, y, words):
    wrong = POSITIVE.copy()
    wrong[7] = y
    for method in ("fit", "partial_fit"):
        est = MLPRegressor(loss=loss, **SMALL)
        with pytest.raises(ValueError, match=words):
            getattr(est, method)(X, wrong)
        assert not hasattr(est, "coefs_")
    with pytest.raises(ValueError, match=words):
        MLPRegressor(loss=loss, **SMALL).fit(X, POSITIVE, X_val=X, y_val=wrong)
    zero = np.zeros_like(POSITIVE)
    if name_of(loss) != "gamma":
        assert np.isfinite(MLPRegressor(loss=loss, **SMALL).fit(X, zero).loss_)


def name_of(loss):
    return loss if isinstance(loss, str) else loss.name


def test_out_activations_that_are_none():
    for wrong in ("softmax", "gelu", "x", None, 1):
        with pytest.raises(ValueError, match="out_activation"):
            MLPRegressor(out_activation=wrong, **SMALL).fit(X, REAL)

    class Hidden(activations.Activation):
        name = "hidden"

    with pytest.raises(ValueError, match="out_activation='hidden' is for hidden layers only"):
        MLPRegressor(out_activation=Hidden(), **SMALL).fit(X, REAL)


def test_a_warm_start_cannot_change_the_outputs():
    est = MLPRegressor(warm_start=True, **SMALL).fit(X, POSITIVE)
    before = weights(est)
    for change in ({"loss": "gamma"}, {"out_activation": "relu"}):
        changed = pickle.loads(pickle.dumps(est)).set_params(**change)
        with pytest.raises(ValueError, match="network that is to be trained on has 'identity'"):
            changed.fit(X, POSITIVE)
    np.testing.assert_array_equal(weights(est), before)
    est.set_params(loss="huber").fit(X, POSITIVE)


def test_outputs_that_are_never_negative():
    y = np.maximum(0, X[:, 0] + X[:, 1])
    params = {"hidden_layer_sizes": (20,), "solver": "lbfgs", "max_iter": 500, "random_state": 1}
    est = MLPRegressor(out_activation="relu", **params).fit(X, y)
    assert (est.predict(X) >= 0).all()
    assert est.score(X, y) > 0.95


# ------------------------------------------------------------------------------- label smoothing


def smoothed(y, e):
    onehot = LabelBinarizer().fit_transform(y).astype(float)
    k = onehot.shape[1] if onehot.shape[1] > 1 and not np.array_equal(onehot, y) else 2
    return onehot * (1 - e) + e / k


@pytest.mark.parametrize("loss", ["log_loss", "focal"])
@pytest.mark.parametrize("y", [CLASSES, CLASSES > 0, LABELS], ids=["multi", "binary", "labels"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_label_smoothing_by_its_formula(solver, y, loss):
    e = 0.1
    est = MLPClassifier(**SMALL | {"solver": solver}, loss=loss, label_smoothing=e, alpha=0.0)
    est.fit(X, y)
    if solver == "adam":
        est.set_params(warm_start=True, learning_rate_init=1e-30, max_iter=1).fit(X, y)
    Y = smoothed(y, e)
    row = reference.LOSSES[loss if est.out_activation_ == "softmax" else f"binary_{loss}"]
    values = {"gamma": 2.0} if loss == "focal" else {}
    expected = row.f(Y, est._outputs(X), np.finfo(float).eps, **values).mean()
    assert est.loss_ == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("y", [CLASSES, CLASSES > 0, LABELS], ids=["multi", "binary", "labels"])
def test_smoothed_labels_everywhere(y):
    params = SMALL | {"label_smoothing": 0.2, "shuffle": False}
    dense = MLPClassifier(**params).fit(X, y)
    plain = MLPClassifier(**params | {"label_smoothing": 0.0}).fit(X, y)
    assert (weights(dense) != weights(plain)).any()
    sparse = MLPClassifier(**params).fit(sp.csr_array(X), y)
    np.testing.assert_allclose(sparse.predict_proba(X), dense.predict_proba(X), rtol=1e-8)
    by_hand = MLPClassifier(**params)
    classes = None if y is LABELS else np.unique(y)
    for _ in range(5):
        by_hand.partial_fit(X, y, classes=np.arange(3) if classes is None else classes)
    np.testing.assert_array_equal(by_hand.predict_proba(X), dense.predict_proba(X))
    for precision in ("float32", "bfloat16"):
        other = MLPClassifier(**params, precision=precision).fit(X, y)
        np.testing.assert_allclose(other.predict_proba(X), dense.predict_proba(X), atol=0.05)


def test_files_hold_losses_and_output_activations(tmp_path):
    focal = MLPClassifier(**SMALL, loss=losses.Focal(1.0), label_smoothing=0.1).fit(X, CLASSES)
    gamma = MLPRegressor(**SMALL, loss="gamma", out_activation=activations.Exp()).fit(X, POSITIVE)
    for est in (focal, gamma):
        est.save_model(tmp_path / "model")
        loaded = load_model(tmp_path / "model")
        assert loaded.get_params() == est.get_params()
        np.testing.assert_array_equal(loaded.predict(X), est.predict(X))


def test_early_stopping_scores_the_labels_themselves():
    est = MLPClassifier(**SMALL, label_smoothing=0.3).fit(X, CLASSES, X_val=X, y_val=CLASSES)
    assert est.validation_scores_[-1] == est.score(X, CLASSES)


def test_smoothing_bounds_confidence():
    """The optimum of separable classes has the probabilities of the smoothed targets."""
    y = (X[:, 0] > 0).astype(int)
    X1 = np.where(X[:, :1] > 0, 1.0, -1.0)
    est = MLPClassifier(**LINEAR, label_smoothing=0.2).fit(X1, y)
    np.testing.assert_allclose(est.predict_proba(X1)[np.arange(120), y], 0.9, rtol=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, "a", None])
def test_wrong_label_smoothing(value):
    with pytest.raises(ValueError, match="label_smoothing"):
        MLPClassifier(**SMALL, label_smoothing=value).fit(X, CLASSES)


def test_losses_of_the_other_estimator_are_refused():
    for wrong in ("poisson", losses.Huber()):
        with pytest.raises(ValueError, match="The 'loss' parameter of MLPClassifier"):
            MLPClassifier(**SMALL, loss=wrong).fit(X, CLASSES)
    for wrong in ("log_loss", "focal", losses.Focal()):
        with pytest.raises(ValueError, match="The 'loss' parameter of MLPRegressor"):
            MLPRegressor(**SMALL, loss=wrong).fit(X, REAL)


def test_a_linear_network_with_the_log_loss_is_logistic_regression():
    est = MLPClassifier(**LINEAR | {"alpha": 1.0}).fit(X, CLASSES > 0)
    expected = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(X, CLASSES > 0)
    np.testing.assert_allclose(est.coefs_[0].ravel(), expected.coef_.ravel(), atol=1e-4)


def test_targets_of_several_levels():
    values = Values(np.array([[1.0, 2.0]]), losses.Quantile((0.1, 0.9)))
    np.testing.assert_array_equal(values.coded(np.float32), [[1, 1, 2, 2]])
    assert values.n_outputs == 4
