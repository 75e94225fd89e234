"""Learning rate schedules, clipping of gradients and averages of weights, by the estimators."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, _core, load_model, optimizers, schedules
from fastmlp.schedules import (
    Constant,
    Cosine,
    Custom,
    Exponential,
    InvScaling,
    OneCycle,
    Plateau,
    Step,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.normal(size=(90, 4))
z = X[:, 0] - X[:, 1] ** 2
y = (z > 0).astype(int) + (X[:, 2] > 1)
del rng
SMALL = {
    "hidden_layer_sizes": (6,),
    "batch_size": 30,
    "max_iter": 8,
    "n_iter_no_change": 1000,
    "random_state": 0,
}
STOCHASTIC = list(_core.OPTIMIZERS)


def weights(est):
    return np.concatenate([a.ravel() for a in est.coefs_ + est.intercepts_])


def parameters(est):
    lists = [est.coefs_, est.intercepts_]
    for name in ("norm_scales_", "norm_shifts_", "skip_coefs_"):
        lists.append(getattr(est, name, None) or [])
    return np.concatenate([a.ravel() for part in lists for a in part if a is not None])


def rates(schedule, n_epochs=8, **params):
    est = MLPRegressor(**SMALL | {"learning_rate_init": 0.01} | params | {"max_iter": n_epochs})
    return np.array(est.set_params(learning_rate=schedule).fit(X, z).learning_rate_curve_)


def halved(epoch):
    return 0.5**epoch


# ------------------------------------------------------------------------------------- schedules

E = np.arange(8)
COURSES = {
    "constant": (Constant(), np.ones(8)),
    "cosine": (Cosine(), (1 + np.cos(np.pi * E / 8)) / 2),
    "cosine-final": (Cosine(final=0.2), 0.2 + 0.8 * (1 + np.cos(np.pi * E / 8)) / 2),
    "one_cycle": (
        OneCycle(rise=0.25, start=0.1, final=0.01),
        np.r_[
            0.1,
            0.55,
            0.01 + 0.99 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2,
        ],
    ),
    "exponential": (Exponential(decay=0.7), 0.7**E),
    "step": (Step(decay=0.5, every=3), [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
    "function": (halved, 0.5**E),
    "warmup": (Constant(warmup=3), [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
    "warmup-cosine": (
        Cosine(warmup=4),
        np.r_[np.arange(1, 5) / 5, (1 + np.cos(np.pi * np.arange(4) / 4)) / 2],
    ),
    "warmup-function": (Custom(halved, warmup=1), np.r_[0.5, 0.5 ** np.arange(7)]),
}


@pytest.mark.parametrize("case", COURSES)
@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop", "lion"])
def test_rate_of_every_epoch(solver, case):
    schedule, factors = COURSES[case]
    found = rates(schedule, solver=solver, learning_rate_init=1e-3)
    np.testing.assert_allclose(found, 1e-3 * np.asarray(factors), rtol=1e-12)


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_the_rates_are_those_of_the_steps(solver):
    """As if the rate had been set by hand before every epoch."""
    ordered = SMALL | {"shuffle": False, "solver": solver}
    est = MLPRegressor(**ordered, learning_rate=halved).fit(X, z)
    by_hand = MLPRegressor(**ordered).partial_fit(X, z)
    for epoch in range(1, SMALL["max_iter"]):
        name = "learning_rate_init" if solver == "adam" else "learning_rate"
        setattr(by_hand._optimizer, name, 0.001 * 0.5**epoch)
        by_hand.partial_fit(X, z)
    np.testing.assert_array_equal(weights(est), weights(by_hand))
    constant = MLPRegressor(**ordered).fit(X, z)
    assert (weights(est) != weights(constant)).any()


def test_names_of_schedules():
    for name in ("cosine", "one_cycle", "exponential", "step", "plateau"):
        np.testing.assert_array_equal(rates(name), rates(schedules.SCHEDULES[name]()))


def test_plateau():
    # By so large a tolerance no epoch but the first makes progress.
    found = rates(Plateau(decay=0.5, patience=1, lowest=0.2), tol=1e9, solver="sgd")
    np.testing.assert_allclose(found / 0.01, [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2])
    found = rates(Plateau(decay=0.5, patience=2, warmup=2), tol=1e9, solver="adam")
    np.testing.assert_allclose(found / 0.01, [1 / 3, 2 / 3, 1, 1, 0.5, 0.5, 0.5, 0.25])
    assert (rates(Plateau(patience=0), tol=0, learning_rate_init=1e-4) == 1e-4).all()


def test_plateau_looks_at_the_validation_score():
    params = SMALL | {"early_stopping": True, "tol": 1e9, "validation_fraction": 0.2}
    est = MLPRegressor(**params, learning_rate=Plateau(decay=0.5, patience=1)).fit(X, z)
    assert est.learning_rate_curve_[0] == 0.001
    assert est.learning_rate_curve_[-1] < 0.001
    assert len(est.learning_rate_curve_) == len(est.validation_scores_)


def test_scikit_learns_schedules_keep_their_meaning():
    for solver in ("sgd", "rmsprop"):
        found = rates(InvScaling(power=0.25), solver=solver)
        np.testing.assert_allclose(found, 0.01 / np.r_[1, 90 * E[1:] + 1] ** 0.25)
        found = rates("adaptive", solver=solver, tol=1e9, n_iter_no_change=1)
        assert set(np.round(found / 0.01, 12)) == {1, 0.2, 0.04, 0.008}
    for schedule in ("invscaling", "adaptive", InvScaling()):
        assert (rates(schedule, solver="adam", learning_rate_init=0.01) == 0.01).all()


def test_partial_fit_and_fit_share_the_schedule():
    """A call of partial_fit is an epoch; fit begins anew, with warm_start too."""
    expected = 0.001 * (1 + np.cos(np.pi * np.arange(12).clip(max=8) / 8)) / 2
    est = MLPClassifier(**SMALL, learning_rate="cosine")
    for i in range(12):
        if i == 5:
            est = pickle.loads(pickle.dumps(est))
        est.partial_fit(X, y, classes=[0, 1, 2])
    np.testing.assert_allclose(est.learning_rate_curve_, expected, atol=1e-18)
    est.fit(X, y)
    np.testing.assert_allclose(est.learning_rate_curve_, expected[:8])
    est.partial_fit(X, y)
    np.testing.assert_allclose(est.learning_rate_curve_, expected[:9], atol=1e-18)
    est.set_params(warm_start=True, max_iter=2).fit(X, y)
    np.testing.assert_allclose(est.learning_rate_curve_[9:], [0.001, 0.0005])


def test_curve_of_an_estimator_that_had_none():
    est = MLPRegressor(**SMALL, warm_start=True).fit(X, z)
    del est.learning_rate_curve_
    est.fit(X, z)
    assert len(est.learning_rate_curve_) == len(est.loss_curve_) == 16
    assert np.isnan(est.learning_rate_curve_[:8]).all()
    assert est.learning_rate_curve_[8:] == [0.001] * 8
    assert not hasattr(MLPRegressor(solver="lbfgs").fit(X, z), "learning_rate_curve_")


def test_functions_are_parameters():
    est = MLPRegressor(**SMALL, learning_rate=halved)
    assert clone(est).learning_rate is halved
    before = est.fit(X, z).predict(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict(X), before)
    with pytest.raises(ValueError, match="save_model cannot store learning_rate"):
        est.save_model("never written")
    est.set_params(learning_rate__warmup=2)
    assert est.learning_rate == Custom(halved, warmup=2)
    with pytest.raises(ValueError, match="'function' parameter of Custom"):
        Custom("cosine")


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, None, "0.5"])
@pytest.mark.parametrize("bad_epoch", [0, 3])
def test_wrong_factors(bad_epoch, value):
    est = MLPRegressor(**SMALL, learning_rate=lambda epoch: value if epoch == bad_epoch else 1.0)
    with pytest.raises(ValueError, match=rf"learning_rate .* got .* for epoch {bad_epoch}"):
        est.fit(X, z)
    assert not hasattr(est, "coefs_")


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": "cosine"},
        {"learning_rate": Constant(warmup=2)},
        {"learning_rate": halved},
        {"max_grad_norm": 1.0},
        {"weight_averaging": 0.9},
    ],
    ids=str,
)
def test_lbfgs_takes_no_steps(wrong):
    name, _ = next(iter(wrong.items()))
    for solver in ("lbfgs", optimizers.LBFGS()):
        est = MLPRegressor(solver=solver, **wrong)
        with pytest.raises(ValueError, match=rf"{name}=.* needs a solver .*solver="):
            est.fit(X, z)
        assert not hasattr(est, "coefs_")
    MLPRegressor(solver="lbfgs", learning_rate="adaptive").fit(X, z)


# -------------------------------------------------------------------------------------- clipping


def test_clipped_steps_have_the_norm():
    """Plain gradient descent moves by the rate times the gradient."""
    params = SMALL | {
        "solver": optimizers.SGD(momentum=0),
        "learning_rate_init": 0.01,
        "alpha": 0.1,
        "batch_size": 90,
        "shuffle": False,
    }
    start = weights(MLPRegressor(**params | {"learning_rate_init": 1e-300}).partial_fit(X, 100 * z))

    def step(max_grad_norm):
        est = MLPRegressor(**params, max_grad_norm=max_grad_norm).partial_fit(X, 100 * z)
        return weights(est) - start

    free = step(None)
    norm = np.linalg.norm(free) / 0.01
    assert norm > 10
    np.testing.assert_allclose(np.linalg.norm(step(2.0)), 0.02, rtol=1e-9)
    np.testing.assert_allclose(step(2.0), free * 2 / norm, rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(step(1.01 * norm), free)


@pytest.mark.parametrize("structure", [{}, {"normalization": "layer"}, {"residual": True}], ids=str)
def test_clipped_parameters_of_every_kind(structure):
    """Scales, shifts and projections are part of the norm, whatever the number of threads."""
    params = SMALL | structure | {"hidden_layer_sizes": (6, 5), "learning_rate_init": 0.01}
    params |= {"solver": optimizers.SGD(momentum=0), "batch_size": 90, "max_grad_norm": 0.5}
    fits = [MLPRegressor(**params, n_jobs=n).partial_fit(X, 100 * z) for n in (1, 2)]
    start = MLPRegressor(**params | {"learning_rate_init": 1e-300}).partial_fit(X, 100 * z)

    np.testing.assert_array_equal(parameters(fits[0]), parameters(fits[1]))
    moved = np.linalg.norm(parameters(fits[0]) - parameters(start))
    np.testing.assert_allclose(moved, 0.005, rtol=1e-7)


def test_clipping_keeps_training_on_course():
    params = SMALL | {"solver": "sgd", "learning_rate_init": 0.05, "max_iter": 20}
    with pytest.raises(ValueError, match="non-finite"):
        MLPRegressor(**params).fit(X, 1e6 * z)
    est = MLPRegressor(**params, max_grad_norm=1.0).fit(X, 1e6 * z)
    assert np.isfinite(est.loss_)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, "much"])
@pytest.mark.parametrize("name", ["max_grad_norm", "weight_averaging"])
def test_wrong_numbers(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        MLPRegressor(**{name: value}).fit(X, z)


# ------------------------------------------------------------------------------------- averaging

AVERAGED = SMALL | {"weight_averaging": 0.9, "learning_rate_init": 0.02}
STRUCTURES = [
    {},
    {"normalization": "layer"},
    {"residual": True, "hidden_layer_sizes": (6, 5)},
    {"fit_intercept": False},
    {"dropout": 0.3},
    {"mixup": 0.2},
]


def after_each_update(n, **params):
    """The parameters after each of n calls of partial_fit, one update each."""
    est = MLPRegressor(**SMALL | {"batch_size": 90} | params)
    return np.array([parameters(est.partial_fit(X, z)).astype(float) for _ in range(n)])


def averages_of(course, decay):
    means = []
    for t in range(1, len(course) + 1):
        shares = decay ** np.arange(t)[::-1]
        means.append(shares @ course[:t] / shares.sum())
    return means


@pytest.mark.parametrize("solver", ["sgd", "adam", "amsgrad", optimizers.SGD(momentum=0)], ids=str)
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_the_average_is_that_of_the_updates(precision, solver):
    params = {"solver": solver, "precision": precision, "learning_rate_init": 0.05}
    averages = after_each_update(5, weight_averaging=0.7, **params)
    expected = averages_of(after_each_update(5, **params), 0.7)
    tol = 1e-12 if precision == "float64" else 1e-5
    np.testing.assert_allclose(averages, expected, rtol=tol, atol=tol)


@pytest.mark.parametrize("structure", STRUCTURES, ids=str)
def test_averages_of_parameters_of_every_kind(structure):
    params = structure | {"learning_rate_init": 0.05}
    averages = after_each_update(4, weight_averaging=0.7, **params)
    expected = averages_of(after_each_update(4, **params), 0.7)
    np.testing.assert_allclose(averages, expected, rtol=1e-12, atol=1e-12)


def by_file(path):
    def there_and_back(est):
        est.save_model(path)
        return load_model(path)

    return there_and_back


@pytest.mark.parametrize("structure", STRUCTURES[:5], ids=str)
@pytest.mark.parametrize("solver", ["adam", optimizers.SGD(momentum=0)], ids=str)
def test_training_goes_on_from_the_weights_behind_the_average(solver, structure, tmp_path):
    """Epochs of partial_fit, copied in every way between them, are the epochs of fit."""
    params = AVERAGED | {"shuffle": False, "solver": solver} | structure
    fitted = MLPRegressor(**params).fit(X, z)
    copies = [
        lambda est: est,
        copy.copy,
        copy.deepcopy,
        lambda est: pickle.loads(pickle.dumps(est)),
        by_file(tmp_path / "model"),
    ]
    est = MLPRegressor(**params)
    for i in range(SMALL["max_iter"]):
        est = copies[i % len(copies)](est.partial_fit(X, z))
    np.testing.assert_array_equal(parameters(est), parameters(fitted))
    np.testing.assert_array_equal(est.loss_curve_, fitted.loss_curve_)
    plain = MLPRegressor(**params | {"weight_averaging": None}).fit(X, z)
    np.testing.assert_array_equal(plain.loss_curve_, fitted.loss_curve_)
    assert (parameters(plain) != parameters(fitted)).any()


def test_float32_weights_with_float64_data_go_on():
    """The net is float64, the published average is rounded."""
    params = AVERAGED | {"shuffle": False}
    fits = [MLPRegressor(**params).partial_fit(X.astype(np.float32), z) for _ in range(2)]
    for _ in range(3):
        fits[0].partial_fit(X, z)
        fits[1] = pickle.loads(pickle.dumps(fits[1])).partial_fit(X, z)
    assert fits[0].coefs_[0].dtype == np.float32
    np.testing.assert_array_equal(weights(fits[0]), weights(fits[1]))
    plain = MLPRegressor(**params | {"weight_averaging": None}).partial_fit(X.astype(np.float32), z)
    for _ in range(3):
        plain.partial_fit(X, z)
    np.testing.assert_allclose(fits[0].loss_curve_, plain.loss_curve_, rtol=1e-4)


def test_weights_that_were_replaced_are_gone_on_from():
    params = AVERAGED | {"solver": optimizers.SGD(momentum=0), "batch_size": 90}
    est = MLPRegressor(**params).partial_fit(X, z)
    replaced = [np.full_like(W, 0.1) for W in est.coefs_]
    est.coefs_ = [W.copy() for W in replaced]
    behind = copy.deepcopy(est).set_params(weight_averaging=None).partial_fit(X, z)
    start = np.concatenate([a.ravel() for a in replaced + est.intercepts_])
    est.partial_fit(X, z)
    # The second of the updates has the share 1 / 1.9, the average begins where the weights do.
    np.testing.assert_allclose(weights(est) - start, (weights(behind) - start) / 1.9, rtol=1e-9)


def test_averaging_may_begin_and_end_between_calls():
    params = AVERAGED | {"solver": optimizers.SGD(momentum=0), "batch_size": 90}
    est = MLPRegressor(**params | {"weight_averaging": None}).partial_fit(X, z)
    plain, before = copy.deepcopy(est).partial_fit(X, z), weights(est)
    est.set_params(weight_averaging=0.9).partial_fit(X, z)
    np.testing.assert_allclose(weights(est) - before, (weights(plain) - before) / 1.9, rtol=1e-9)
    other = copy.deepcopy(est).set_params(weight_averaging=None)
    fresh = MLPRegressor(
        **params | {"weight_averaging": None, "init": (est.coefs_, est.intercepts_)}
    )
    np.testing.assert_array_equal(
        weights(other.partial_fit(X, z)), weights(fresh.partial_fit(X, z))
    )


def test_a_warm_start_begins_at_the_average():
    est = MLPRegressor(**AVERAGED | {"warm_start": True, "shuffle": False}).fit(X, z)
    again = MLPRegressor(**AVERAGED | {"shuffle": False, "init": (est.coefs_, est.intercepts_)})
    np.testing.assert_array_equal(weights(copy.deepcopy(est).fit(X, z)), weights(again.fit(X, z)))
    loaded = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(weights(est.fit(X, z)), weights(loaded.fit(X, z)))


@pytest.mark.parametrize("structure", STRUCTURES[:3], ids=str)
def test_averaged_weights_are_scored_and_returned(structure):
    params = AVERAGED | structure | {"max_iter": 30}
    own = {"X_val": X[:20], "y_val": z[:20]}
    watched = MLPRegressor(**params).fit(X, z, **own)
    np.testing.assert_allclose(watched.validation_scores_[-1], watched.score(X[:20], z[:20]))
    stopped = MLPRegressor(**params, early_stopping=True).fit(X, z, **own)
    assert stopped.best_validation_score_ == max(stopped.validation_scores_)
    np.testing.assert_allclose(stopped.best_validation_score_, stopped.score(X[:20], z[:20]))
    split = MLPRegressor(**params, early_stopping=True).fit(X, z)
    assert split.best_validation_score_ == max(split.validation_scores_)
    shown = MLPRegressor(**params, scoring="r2").fit(X, z, **own)
    np.testing.assert_allclose(shown.validation_scores_, watched.validation_scores_)


@pytest.mark.parametrize("extra", [{}, {"max_grad_norm": 0.5}], ids=str)
def test_forms_of_data_and_threads_have_the_same_average(extra):
    fits = [
        weights(MLPClassifier(**AVERAGED, **extra, n_jobs=n).fit(data, y))
        for data in (X, sparse.csr_matrix(X))
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(fits[0], fits[1])
    np.testing.assert_array_equal(fits[2], fits[3])
    np.testing.assert_allclose(fits[0], fits[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kinds", ["batch", ["layer", "batch"]], ids=str)
def test_no_average_with_running_means(kinds):
    params = SMALL | {"hidden_layer_sizes": (6, 5), "normalization": kinds}
    message = r"weight_averaging=0.9 is not available with normalization=.*batch"
    with pytest.raises(ValueError, match=message):
        MLPRegressor(**params, weight_averaging=0.9).fit(X, z)
    est = MLPRegressor(**params).partial_fit(X, z)
    kept = parameters(est)
    with pytest.raises(ValueError, match=message):
        est.set_params(weight_averaging=0.9).partial_fit(X, z)
    np.testing.assert_array_equal(parameters(est), kept)
    est.set_params(weight_averaging=None).partial_fit(X, z)


@pytest.mark.parametrize("rows", [[0], [0, 1, 2], [0, 0, 1, 2, 3]], ids=str)
def test_a_state_with_other_rows_is_refused(rows, tmp_path, monkeypatch):
    est = pickle.loads(pickle.dumps(MLPRegressor(**AVERAGED).partial_fit(X, z)))
    est.save_model(tmp_path / "model")
    assert len(load_model(tmp_path / "model")._session.optimizer.averages[1]) == 4
    optimizer = est._session.optimizer
    widths, averages = optimizer.averages
    optimizer.averages = widths, averages[rows]
    with monkeypatch.context() as patch:
        patch.setattr("fastmlp._training.session.has_average", lambda rule, averages: True)
        est.save_model(tmp_path / "model")
    with pytest.raises(ValueError, match="'adam' has 2 numbers for each weight"):
        load_model(tmp_path / "model")


def test_fixed_biases_are_their_own_average():
    intercepts = [np.full(6, 0.3), np.full(1, -2.0)]
    start = MLPRegressor(**SMALL).partial_fit(X, z).coefs_, intercepts
    est = MLPRegressor(**AVERAGED, init=start, fit_intercept=False).fit(X, z)
    for b, fixed in zip(est.partial_fit(X, z).intercepts_, intercepts, strict=True):
        np.testing.assert_array_equal(b, fixed)


def test_in_a_pipeline_and_on_a_grid():
    est = MLPRegressor(**SMALL, learning_rate=Cosine(), weight_averaging=0.9, max_grad_norm=1)
    pipeline = make_pipeline(StandardScaler(), est)
    pipeline.set_params(mlpregressor__learning_rate__final=0.5).fit(X, z)
    assert pipeline[-1].learning_rate == Cosine(final=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        clone(pipeline).fit(X, z)
