"""Normalised and residual layers, against the reference and by what is promised of them."""

import pickle
from itertools import product

import numpy as np
import problems
import pytest
import reference
import scipy.sparse as sp
from test_gradients import assert_gradient

from fastmlp import MLPClassifier, MLPRegressor, _core, _structure, load_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger"),
]

KINDS = [(np.float64, False), (np.float32, False), (np.float32, True)]
KIND_NAMES = ["float64", "float32", "bfloat16"]
NORMS = {
    "none": (),
    "batch": ("batch", "batch", "batch"),
    "layer": ("layer", "layer", "layer"),
    "mixed": ("batch", None, "layer"),
}
SHARES = {"dropout": (0.3, 0.2, 0.1), "input_dropout": 0.2, "seed": 5}
FEATURES = pytest.mark.parametrize("density", [None, 0.4], ids=["dense", "csr"])
PRECISIONS = pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
STRUCTURES = pytest.mark.parametrize(
    ("norm", "residual"),
    [(n, r) for n, r in product(NORMS, [False, True]) if n != "none" or r],
    ids=lambda value: value if isinstance(value, str) else "residual" if value else "direct",
)


def make(kind, norm, residual, *, n=37, units=(11, 33, 33, 6, 2), drops=False, **options):
    dtype, bfloat16 = kind
    p = problems.make(list(units), n, dtype, weighted=True, **options)
    p = p.but(options={"bfloat16": bfloat16} | (SHARES if drops else {}))
    return problems.with_structure(p, NORMS[norm], residual)


def factor(kind):
    return {"float64": 10, "float32": 100, "bfloat16": 3000}[KIND_NAMES[KINDS.index(kind)]]


# ------------------------------------------------------------------------------------- engine


@FEATURES
@PRECISIONS
@STRUCTURES
@pytest.mark.parametrize("hidden", ["relu", "tanh"])
def test_training_against_the_reference(hidden, norm, residual, kind, density, isa):
    for drops in (False, True):
        p = make(kind, norm, residual, drops=drops, hidden=hidden, density=density)
        expected = problems.loss_grad(reference, p)
        actual = problems.loss_grad(_core, p, isa=isa)
        problems.assert_matches(actual, expected, p, factor=factor(kind))
        arguments = {"batch_size": 15, "epochs": 2}
        expected = problems.train(reference, p, "sgd", **arguments)
        actual = problems.train(_core, p, "sgd", isa=isa, **arguments)
        problems.assert_matches(actual, expected, p, factor=factor(kind))


@FEATURES
@PRECISIONS
@STRUCTURES
def test_prediction_against_the_reference(norm, residual, kind, density, isa):
    p = make(kind, norm, residual, n=400, density=density)
    for n in (1, 3, 17, 400):
        q = p.but(X=p.X[:n])
        options = {"bfloat16": kind[1]}
        expected = problems.predict(reference, q, **options)
        for n_threads in (1, 2):
            actual = problems.predict(_core, q, isa=isa, n_threads=n_threads, **options)
            problems.assert_matches(actual, expected, q, factor=factor(kind))


@pytest.mark.parametrize("hidden", problems.HIDDEN, ids=str)
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_every_activation(norm, hidden, isa):
    p = make(KINDS[0], norm, True, hidden=hidden, drops=True)
    expected = problems.loss_grad(reference, p)
    problems.assert_matches(problems.loss_grad(_core, p, isa=isa), expected, p, factor=10)


@PRECISIONS
@STRUCTURES
def test_quantiles_of_several_levels(norm, residual, kind, isa):
    """Each output has a level of its own, however many stages are before it."""
    p = make(kind, norm, residual, loss=("quantile", (0.2, 0.9)))
    expected = problems.loss_grad(reference, p)
    actual = problems.loss_grad(_core, p, isa=isa)
    problems.assert_matches(actual, expected, p, factor=factor(kind))


@FEATURES
@STRUCTURES
def test_gradient(norm, residual, density, isa):
    """With dropout, too: its masks are those of the first update every time."""
    p = problems.make([4, 5, 5, 3, 2], 9, np.float64, density=density, weighted=True)
    p = p.but(options={} if density else SHARES)
    assert_gradient(_core, problems.with_structure(p, NORMS[norm], residual), isa=isa)


@PRECISIONS
@STRUCTURES
def test_clipping_and_averaging(norm, residual, kind, isa):
    """The norm is that of all arrays, running averages excepted; so is the average."""
    p = make(kind, norm, residual, drops=True)
    how = {"batch_size": 15, "epochs": 2}
    free = problems.train(reference, p, "sgd", **how)
    how |= {"max_grad_norm": 0.3, "averaging": 0.8}
    expected = problems.train(reference, p, "sgd", **how)
    problems.assert_matches(
        problems.train(_core, p, "sgd", isa=isa, **how), expected, p, factor=factor(kind)
    )
    moved = [abs(a - b).max() for a, b in zip(expected.params, free.params, strict=True)]
    assert np.median(moved) > 1e-3


@FEATURES
@PRECISIONS
@STRUCTURES
def test_bits_do_not_depend_on_threads(norm, residual, kind, density):
    units = (90, 130, 130, 70, 3)
    p = make(kind, norm, residual, n=400, units=units, density=density, drops=True)
    runs = [problems.train(_core, p, "adam", batch_size=180, n_threads=n, epochs=2) for n in (1, 3)]
    for run in runs[1:]:
        problems.assert_same_bits(run, runs[0])


@PRECISIONS
@STRUCTURES
def test_bits_do_not_depend_on_the_isa(norm, residual, kind):
    p = make(kind, norm, residual, drops=True)
    fused = [isa for isa in _core.ISAS if isa != "generic"]
    runs = [problems.train(_core, p, "adam", batch_size=15, isa=isa) for isa in fused]
    for run in runs[1:]:
        problems.assert_same_bits(run, runs[0])


@FEATURES
@STRUCTURES
def test_large_mini_batches(norm, residual, density, isa):
    """Statistics are those of the whole mini-batch, above MAX_BLOCK rows as well."""
    p = make(KINDS[0], norm, residual, n=1500, units=(9, 40, 40, 6, 2), density=density)
    arguments = {"batch_size": 1300, "learning_rate": 0.1}
    expected = problems.train(reference, p, "sgd", **arguments)
    for n_threads in (1, 3):
        actual = problems.train(_core, p, "sgd", isa=isa, n_threads=n_threads, **arguments)
        problems.assert_matches(actual, expected, p, factor=10)


def test_gradient_of_many_rows_with_layer_normalisation():
    """In blocks, whose gradients are added."""
    p = make(KINDS[0], "layer", True, n=1500)
    expected = problems.loss_grad(reference, p)
    problems.assert_matches(problems.loss_grad(_core, p, max_rows=300), expected, p, factor=10)


@pytest.mark.parametrize("batch_size", [1, 12])
def test_one_row_has_no_variance(batch_size):
    p = make(KINDS[0], "batch", False)
    before = problems.result(p.net(_core, optimizer="sgd"), p, "sgd", [])
    net = p.net(_core, optimizer="sgd")
    with pytest.raises(ValueError, match="argument"):
        net.train(p.X, p.y, None, np.arange(p.n), batch_size, 0.1)
    problems.assert_same_bits(problems.result(net, p, "sgd", []), before)


def test_gradient_of_more_rows_than_announced():
    p = make(KINDS[0], "batch", False)
    with pytest.raises(ValueError, match="argument"):
        problems.loss_grad(_core, p, max_rows=20)


@pytest.mark.parametrize(
    "options",
    [
        {"normalization": ("batch",)},
        {"normalization": ("batch", "rows", None)},
        {"normalization": ("batch", 3, None)},
    ],
    ids=str,
)
def test_net_refuses_other_structures(options):
    with pytest.raises(ValueError, match="normalization"):
        make(KINDS[0], "none", False).net(_core, **options)


# ---------------------------------------------------------------------------------- estimators

rng = np.random.RandomState(0)
X = rng.normal(size=(150, 12))
y = np.int64(X[:, 0] + X[:, 1] ** 2 > 0.5) + (X[:, 2] > 0)
del rng
SMALL = {"hidden_layer_sizes": (20, 20, 9), "max_iter": 4, "random_state": 3, "batch_size": 32}
ASKED = {
    "batch": {"normalization": "batch"},
    "layer": {"normalization": "layer"},
    "residual": {"residual": True},
    "all": {"normalization": ["batch", None, "layer"], "residual": True, "dropout": 0.2},
}
OPTIONS = pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
NORM_ATTRIBUTES = ("norm_scales_", "norm_shifts_", "norm_means_", "norm_variances_")


def weights(est):
    extra = [a for name in (*NORM_ATTRIBUTES, "skip_coefs_") for a in getattr(est, name, [])]
    return [*est.coefs_, *est.intercepts_, *(a for a in extra if a is not None)]


def assert_same_weights(a, b, **tolerance):
    for P, Q in zip(weights(a), weights(b), strict=True):
        np.testing.assert_allclose(P, Q, **tolerance or {"rtol": 0})


@OPTIONS
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_fit_as_the_reference_does(precision, form, asked, monkeypatch):
    params = SMALL | asked | {"precision": precision, "solver": "sgd"}
    est = MLPClassifier(**params).fit(form(X), y)
    with monkeypatch.context() as patch:
        patch.setattr(_core, "Net", reference.Net)
        twin = MLPClassifier(**params).fit(form(X), y)
    tolerance = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.05}[precision]
    assert_same_weights(est, twin, atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(est.loss_curve_, twin.loss_curve_, rtol=10 * tolerance)
    with monkeypatch.context() as patch:
        patch.setattr(_core, "predict", reference.predict)
        expected = est.predict_proba(form(X))
    np.testing.assert_allclose(est.predict_proba(form(X)), expected, atol=tolerance)


def test_fitted_attributes():
    est = MLPRegressor(**SMALL, normalization=["batch", None, "layer"], residual=True).fit(X, y)
    shapes = {name: [np.shape(a) for a in getattr(est, name)] for name in NORM_ATTRIBUTES}
    assert shapes["norm_scales_"] == shapes["norm_shifts_"] == [(20,), (), (9,)]
    assert shapes["norm_means_"] == shapes["norm_variances_"] == [(20,), (), ()]
    assert [np.shape(P) for P in est.skip_coefs_] == [(12, 20), (), (20, 9)]
    assert est.skip_coefs_[1] is est.norm_scales_[1] is est.norm_means_[2] is None
    assert len(est.coefs_) == len(est.intercepts_) == 4
    est.set_params(normalization=None, residual=False).fit(X, y)
    assert not any(hasattr(est, name) for name in (*NORM_ATTRIBUTES, "skip_coefs_"))


def test_start():
    """Scales are 1, shifts 0; a projection is drawn after its layer; nothing else changes."""
    params = SMALL | {"max_iter": 1, "learning_rate_init": 1e-300, "batch_size": 150}
    params |= {"alpha": 0.0}
    est = MLPRegressor(**params, normalization="batch", residual=True).fit(X, y)
    for scale, shift in zip(est.norm_scales_, est.norm_shifts_, strict=True):
        np.testing.assert_array_equal(scale, 1)
        np.testing.assert_allclose(shift, 0, atol=1e-200)
    random = np.random.RandomState(3)
    drawn = []
    for W, b, P in zip(est.coefs_, est.intercepts_, [*est.skip_coefs_, None], strict=True):
        for a in (W, b) if P is None else (W, b, P):
            bound = np.sqrt(6 / sum(W.shape))
            drawn.append((a, random.uniform(-bound, bound, a.shape)))
    for a, expected in drawn:
        np.testing.assert_array_equal(a, expected)
    Z = X @ est.coefs_[0] + est.intercepts_[0]
    np.testing.assert_allclose(est.norm_means_[0], 0.1 * Z.mean(axis=0))
    np.testing.assert_allclose(est.norm_variances_[0], 0.9 + 0.1 * Z.var(axis=0, ddof=1))


def test_plain_networks_look_as_before():
    est = MLPClassifier(**SMALL).fit(X, y)
    other = MLPClassifier(**SMALL, normalization=None, residual=False).fit(X, y)
    assert repr(est) == repr(other)
    assert vars(est).keys() == vars(other).keys()
    assert not any(
        "norm" in name or "skip" in name for name in est.__getstate__() if name[-1] == "_"
    )


@OPTIONS
def test_partial_fit_pickle_and_warm_start(asked, tmp_path):
    params = SMALL | asked | {"shuffle": False}
    whole, cut = MLPClassifier(**params), MLPClassifier(**params)
    for i in range(3):
        whole.partial_fit(X, y, classes=[0, 1, 2])
        cut.partial_fit(X, y, classes=[0, 1, 2])
        if i == 1:
            cut.save_model(tmp_path / "model")
            cut = load_model(tmp_path / "model")
        else:
            cut = pickle.loads(pickle.dumps(cut))
    assert_same_weights(whole, cut)
    fitted = MLPClassifier(**params | {"max_iter": 3}, n_iter_no_change=9).fit(X, y)
    assert_same_weights(whole, fitted)
    loss = fitted.loss_
    fitted.set_params(warm_start=True, max_iter=20).fit(X, y)
    assert fitted.loss_ < loss


@OPTIONS
def test_threads_and_dtypes(asked):
    for precision in ("float32", "float64"):
        params = SMALL | asked | {"precision": precision}
        one, two = (MLPClassifier(**params, n_jobs=n).fit(X, y) for n in (1, 2))
        assert_same_weights(one, two)
        assert {a.dtype for a in weights(one)} == {np.dtype(precision)}
        np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    est = MLPClassifier(**SMALL | asked).fit(X.astype(np.float32), y)
    est.partial_fit(X, y)  # float64 into float32 weights
    assert {a.dtype for a in weights(est)} == {np.dtype(np.float32)}


@OPTIONS
def test_early_stopping_returns_the_best_network(asked):
    """Running averages belong to it."""
    params = SMALL | asked | {"early_stopping": True, "max_iter": 12, "learning_rate_init": 0.05}
    est = MLPClassifier(**params, n_iter_no_change=3).fit(X[:100], y[:100], X_val=X, y_val=y)
    assert est.best_validation_score_ == est.score(X, y)


@pytest.mark.parametrize("asked", [ASKED["layer"], ASKED["residual"]], ids=["layer", "residual"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_lbfgs(precision, asked):
    params = SMALL | asked | {"solver": "lbfgs", "max_iter": 30, "precision": precision}
    est = MLPClassifier(**params).fit(X, y)
    assert est.score(X, y) > 0.9
    assert est.loss_ < 0.3


@OPTIONS
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_outputs(form, asked):
    est = MLPRegressor(**SMALL, **asked).fit(form(X), y)
    structure = reference.Structure(
        tuple(asked.get("normalization") for _ in range(3))
        if isinstance(asked.get("normalization"), str)
        else tuple(asked.get("normalization", ())),
        asked.get("residual", False),
    )
    arrays = _structure.joined(vars(est), est.coefs_, est.intercepts_)
    passes = reference.forward(X, *arrays, ["relu"] * 3 + ["identity"], structure=structure)
    np.testing.assert_allclose(est.raw_predict(form(X)), passes[-1].out.ravel(), rtol=1e-10)
    for i in range(3):
        np.testing.assert_allclose(
            est.hidden_activations(form(X), i), passes[i].out, rtol=1e-10, atol=1e-12
        )
    result = est.evaluate(form(X), y)
    assert result["r2"] == est.score(form(X), y)
    np.testing.assert_allclose(result["loss"], 0.5 * np.mean((est.predict(form(X)) - y) ** 2))


def test_given_weights_leave_the_rest_to_be_drawn():
    given = MLPRegressor(**SMALL | {"hidden_layer_sizes": (20, 9)}).fit(X, y)
    params = SMALL | {"hidden_layer_sizes": (20, 9), "learning_rate_init": 1e-300, "alpha": 0.0}
    est = MLPRegressor(
        **params, init=(given.coefs_, given.intercepts_), normalization="layer", residual=True
    ).fit(X, y)
    for a, b in zip(est.coefs_ + est.intercepts_, given.coefs_ + given.intercepts_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(np.abs(P).max() > 0.1 for P in est.skip_coefs_)


def test_arrays_may_be_replaced_but_must_fit():
    est = MLPRegressor(**SMALL, **ASKED["all"]).fit(X, y)
    expected = est.predict(X)
    est.norm_scales_[0] = est.norm_scales_[0].tolist()
    with pytest.raises(ValueError, match=r"norm_scales_\[0\] must be a NumPy array"):
        est.predict(X)
    est.norm_scales_[0] = np.ones(7)
    with pytest.raises(ValueError, match=r"norm_scales_\[0\] has shape \(7,\), expected \(20,\)"):
        est.predict(X)
    est.norm_scales_[0] = np.zeros(20)
    assert (est.predict(X) != expected).any()
    est.norm_shifts_[0] = None
    with pytest.raises(ValueError, match=r"norm_shifts_\[0\] is missing"):
        est.predict(X)
    est.norm_shifts_ = est.norm_shifts_[:1]
    with pytest.raises(ValueError, match="norm_shifts_ must be a list of 3 entries"):
        est.predict(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"normalization": "rows"}, "'normalization'"),
        ({"normalization": True}, "'normalization'"),
        ({"normalization": ["batch"]}, r"normalization=\['batch'\] has 1 entries, .* 3 hidden"),
        ({"normalization": ["batch", 1, None]}, r"normalization=\['batch', 1, None\].*got 1"),
        ({"normalization": ["batch", "x", None]}, "got 'x'"),
        ({"residual": 1.5}, "'residual'"),
        ({"normalization": "batch", "batch_size": 1}, "normalization='batch'.*batch_size=1 "),
        ({"normalization": "batch", "batch_size": 149}, "batch_size=149 cuts 150 samples"),
        ({"normalization": "batch", "solver": "lbfgs"}, "normalization='batch'.*solver='lbfgs'"),
    ],
    ids=str,
)
def test_refused_parameters(params, message):
    est = MLPClassifier(**SMALL | params)
    with pytest.raises(ValueError, match=message):
        est.fit(X, y)
    assert not hasattr(est, "coefs_")


@pytest.mark.parametrize(
    "other", [{"normalization": "batch"}, {"normalization": None}, {"residual": True}], ids=str
)
def test_training_goes_on_with_the_same_structure_only(other):
    est = MLPClassifier(**SMALL, normalization="layer").fit(X, y)
    before = [a.copy() for a in weights(est)]
    for call in ("partial_fit", "fit"):
        est.set_params(**other, warm_start=True)
        with pytest.raises(ValueError, match="network that is to be trained on"):
            getattr(est, call)(X, y)
    for a, b in zip(weights(est), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_deep_residual_networks_train():
    """Twenty layers of tanh, which without the skips learn nothing."""
    params = {"hidden_layer_sizes": (16,) * 20, "activation": "tanh", "random_state": 0}
    params |= {"max_iter": 40, "batch_size": 30}
    plain = MLPClassifier(**params).fit(X, y)
    deep = MLPClassifier(**params, residual=True).fit(X, y)
    assert deep.score(X, y) > max(0.9, plain.score(X, y))
