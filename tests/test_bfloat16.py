"""precision="bfloat16": operands of products rounded to bfloat16, everything else float32.

The reference rounds where the engine must. A value that lies almost midway between two bfloat16
numbers may be rounded either way after different rounding errors of its sum, so comparisons use
problems on which no such value occurs, or integers on which there are no rounding errors of sums.
"""

import os
import pickle
from pathlib import Path

import numpy as np
import problems
import pytest
import reference
import scipy.sparse as sp
from problems import assert_matches, assert_same_bits
from sklearn.base import clone
from sklearn.datasets import load_digits, make_regression
from sklearn.model_selection import train_test_split

from fastmlp import MLPClassifier, MLPRegressor, _core

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Kernel sets for bfloat16 instructions add in an order of their own.
EMULATED = _core.ISAS
FMA_ISAS = [isa for isa in _core.ISAS if isa != "generic"]


@pytest.fixture(params=_core.bfloat16_isas())
def isa(request):
    """Every kernel set for bfloat16 that this machine runs."""
    return request.param


# ---------------------------------------------------------------------------------- the rounding


def bits(*values):
    return np.array(values, np.uint32).view(np.float32)


def awkward_floats():
    """Midway values, their neighbours, the largest numbers, zeros, and random ones."""
    rng = np.random.default_rng(0)
    high = rng.integers(0x0100, 0x7F80, 400, dtype=np.uint32) << 16
    low = rng.choice(np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32), 400)
    sign = rng.integers(2, size=400, dtype=np.uint32) << 31
    special = bits(0, 0x80000000, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x3F808000, 0x3F818000)
    return np.concatenate([(high | low | sign).view(np.float32), special])


def test_reference_rounds_to_nearest_even():
    x = awkward_floats()
    rounded = reference.to_bfloat16(x.astype(np.float64))
    kept = x.view(np.uint32) >> 16  # toward zero; the next number away from zero is one more
    with np.errstate(over="ignore"):
        down = (kept << 16).view(np.float32).astype(np.float64)
        up = ((kept + 1) << 16).view(np.float32).astype(np.float64)
        top = np.isinf(up)
        up[top] = np.copysign(2.0**128, up[top])
    middle = (down + up) / 2
    odd = kept % 2 == 1
    beyond = (np.abs(x) > np.abs(middle)) | ((x == middle) & odd)
    expected = np.where(beyond, np.where(top, np.copysign(np.inf, up), up), down)
    np.testing.assert_array_equal(rounded, expected)
    assert beyond.any()
    assert (~beyond).any()
    assert np.isinf(rounded).any()
    assert np.isnan(reference.to_bfloat16(np.array([np.nan])))[0]


ROUNDED = {"few rows": 3, "many rows": None}


@pytest.mark.parametrize("form", ["dense", "fortran", "float64", "csr"])
@pytest.mark.parametrize("n_outputs", [1, 40])
@pytest.mark.parametrize("rows", ROUNDED)
def test_engine_rounds_x(rows, n_outputs, form, isa):
    """One feature times one: what comes out is what a product reads of X."""
    x = awkward_floats()[: ROUNDED[rows], np.newaxis]
    X = {
        "dense": lambda: x,
        "fortran": lambda: np.asfortranarray(np.repeat(x, 2, axis=1))[:, :1],
        "float64": lambda: x.astype(np.float64),
        "csr": lambda: sp.csr_array(x),
    }[form]()
    W, b = np.ones((1, n_outputs), np.float32), np.zeros(n_outputs, np.float32)
    out = _core.predict(X, [W], [b], ["identity"], bfloat16=True, isa=isa)
    expected = reference.to_bfloat16(x.astype(np.float64))
    np.testing.assert_array_equal(out, np.repeat(expected, n_outputs, axis=1))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 40])
@pytest.mark.parametrize("n", [2, 50])
def test_engine_rounds_weights(n, n_outputs, sparse, isa):
    w = awkward_floats()
    w = w[np.isfinite(reference.to_bfloat16(w.astype(np.float64)))]  # 0 * inf would be NaN
    w = w[: len(w) - len(w) % n_outputs].reshape(-1, n_outputs)
    X = np.eye(n, len(w), dtype=np.float32)
    expected = X @ reference.to_bfloat16(w.astype(np.float64))
    b = np.zeros(n_outputs, np.float32)
    X = sp.csr_array(X) if sparse else X
    out = _core.predict(X, [w], [b], ["identity"], bfloat16=True, isa=isa)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("n", [1, 30])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_engine_keeps_nan_and_infinity(value, n, isa):
    x = np.full((n, 1), value, np.float32)
    x.view(np.uint32)[...] |= 0x7FFF if np.isnan(value) else 0  # a NaN that a carry would destroy
    for q in (1, 40):
        W, b = np.ones((1, q), np.float32), np.zeros(q, np.float32)
        out = _core.predict(x, [W], [b], ["identity"], bfloat16=True, isa=isa)
        np.testing.assert_array_equal(out, np.full((n, q), value))


# ------------------------------------------------------------------------- against the reference


def is_clear(run, p):
    """Whether float32 errors cannot change how the reference rounds a value in this run."""
    nearest = []

    def to_bfloat16(x):
        fraction, exponent = np.frexp(x)
        ulps = np.abs(fraction) * 256
        gap = np.ldexp(np.abs(ulps - np.floor(ulps) - 0.5), exponent - 8)
        inexact = x.astype(np.float32) != x  # the others are known exactly
        error = np.finfo(np.float32).eps * (4 + np.sqrt(p.longest_sum)) * np.abs(x).max(initial=0)
        nearest.append((gap[inexact] / error).min(initial=np.inf) if error else np.inf)
        return original(x)

    original = reference.to_bfloat16
    reference.to_bfloat16 = to_bfloat16
    try:
        run(reference, p)
    finally:
        reference.to_bfloat16 = original
    return min(nearest) > 1


def clear_problem(run, *args, **options):
    for seed in range(400):
        p = problems.make(*args, np.float32, seed=seed, weighted=True, **options)
        p.sample_weight += 0.25
        if is_clear(run, p):
            return p
    raise AssertionError("no problem without toss-ups")


def predict(core, p, **options):
    return problems.predict(core, p, bfloat16=True, **options)


def loss_grad(core, p, **options):
    return problems.loss_grad(core, p, bfloat16=True, **options)


def train(core, p, optimizer="adam", **options):
    return problems.train(
        core, p, optimizer, bfloat16=True, **({"batch_size": -(-p.n // 2)} | options)
    )


def everything(core, p, **options):
    return [
        predict(core, p, **options),
        loss_grad(core, p, **options),
        train(core, p, "adam", **options),
        train(core, p, "sgd", **options),
    ]


def assert_all_same_bits(actual, desired):
    for a, d in zip(actual, desired, strict=True):
        assert_same_bits(a, d)


# With a small slope nearly all small values are toss-ups.
CLEAR = [
    ("leaky_relu", 0.4) if reference.name_of(choice) == "leaky_relu" else choice
    for choice in problems.HIDDEN
]


@pytest.mark.parametrize("density", [None, 0.5], ids=["dense", "csr"])
@pytest.mark.parametrize(("hidden", "loss"), problems.covering(CLEAR, problems.LOSSES), ids=str)
def test_matches_reference(hidden, loss, density, isa):
    p = clear_problem(everything, [5, 4, 3, 3], 8, hidden=hidden, loss=loss, density=density)
    for actual, desired in zip(
        everything(_core, p, isa=isa), everything(reference, p), strict=True
    ):
        assert_matches(actual, desired, p, factor=4)


def test_rounding_shows():
    """What the tests above would say of an engine that does not round."""
    p = clear_problem(everything, [5, 4, 3, 3], 8)
    with pytest.raises(AssertionError):
        assert_matches(problems.predict(_core, p), predict(reference, p), p, factor=4)
    with pytest.raises(AssertionError):
        assert_matches(problems.loss_grad(_core, p), loss_grad(reference, p), p, factor=4)


def exact_problem(units, n, density):
    """Integers as large as they may be without rounding errors in float32's sums."""
    p = problems.make_exact(units, n, np.float32, density=density)
    X = p.X
    for scale in (101, 37, 11, 5, 3, 2, 1):
        p.X = X * np.float32(scale)
        try:
            problems._assert_exact(p, 2**22)
        except AssertionError:
            continue
        return p
    raise AssertionError("too large")


@pytest.mark.parametrize("density", [None, 0.4], ids=["dense", "csr"])
@pytest.mark.parametrize(
    ("units", "n"),
    [
        ([1, 1], 1),
        ([3, 1, 2], 5),
        ([15, 16, 17], 16),
        ([17, 33, 31, 16], 33),
        ([33, 17], 65),
        ([130, 47, 5], 37),
        ([300, 35, 19, 40], 41),
    ],
)
def test_integers_are_exact(units, n, density, isa):
    """Integers above 256 are rounded, sums of them are not: every bit is determined."""
    p = exact_problem(units, n, density)
    assert_same_bits(predict(_core, p, isa=isa), predict(reference, p))
    loss, grad = loss_grad(_core, p, isa=isa)
    exact_loss, exact_grad = loss_grad(reference, p)
    np.testing.assert_array_equal(grad, exact_grad)
    assert loss == pytest.approx(exact_loss, rel=1e-6)
    for n_rows in {1, n}:
        q = p.but(X=p.X[:n_rows], y=p.y[:n_rows], sample_weight=None)
        assert_same_bits(predict(_core, q, isa=isa), predict(reference, q))


def test_those_integers_are_rounded():
    p = exact_problem([130, 47, 5], 37, None)
    assert (predict(reference, p) != problems.predict(reference, p)).any()
    assert (loss_grad(reference, p)[1] != problems.loss_grad(reference, p)[1]).mean() > 0.5


def test_long_training_stays_near(isa):
    """Step after step a copy of the weights is rounded anew from float32 weights."""
    p = problems.make([20, 30, 25, 4], 128, np.float32, hidden="relu", loss="log_loss")
    options = {"batch_size": 32, "epochs": 20, "learning_rate": 0.003}
    ours = train(_core, p, isa=isa, **options)
    ideal = train(reference, p, **options)
    exact = problems.train(reference, p, "adam", **options)
    for a, i, e in zip(ours.params, ideal.params, exact.params, strict=True):
        assert np.abs(a - i).max() < 0.01
        assert np.abs(a - e).max() < 0.05
        assert not (a == reference.to_bfloat16(a.astype(np.float64))).all()
    np.testing.assert_allclose(ours.losses, ideal.losses, rtol=2e-3)


# ----------------------------------------------------------------------------------------- bits

SHAPES = [([20, 100, 2], 400, None), ([300, 120, 33], 150, None), ([900, 70, 10], 300, 0.1)]


@pytest.mark.parametrize(("units", "n", "density"), SHAPES)
def test_threads(units, n, density, isa):
    p = problems.make(units, n, np.float32, hidden="relu", loss="log_loss", density=density)
    single = everything(_core, p, isa=isa, n_threads=1)
    for n_threads in (2, 3):
        assert_all_same_bits(everything(_core, p, isa=isa, n_threads=n_threads), single)


@pytest.mark.skipif(len(FMA_ISAS) < 2, reason="this machine runs only one FMA kernel set")
@pytest.mark.parametrize("hidden", problems.HIDDEN)
@pytest.mark.parametrize(("units", "n", "density"), [*SHAPES, ([33, 65, 17, 9], 77, None)])
def test_fma_isas(units, n, density, hidden):
    p = problems.make(units, n, np.float32, hidden=hidden, loss="log_loss", density=density)
    first = everything(_core, p, isa=FMA_ISAS[0])
    for isa in FMA_ISAS[1:]:
        assert_all_same_bits(everything(_core, p, isa=isa), first)


@pytest.mark.parametrize("units", [[20, 100, 2], [33, 65, 17, 40], [5, 19]])
def test_few_rows_are_predicted_as_many(units, isa):
    p = problems.make(units, 100, np.float32, loss="squared_error")
    whole = predict(_core, p, isa=isa)
    # A narrow last layer is summed in another order; by bfloat16 instructions every layer, so that
    # a hidden value may be rounded the other way.
    tolerance = np.abs(whole).max() * (2e-6 if isa in EMULATED else 5e-3)
    for n in (1, 2, 3, 4, 5, 15, 16, 17):
        part = predict(_core, p.but(X=p.X[:n]), isa=isa)
        np.testing.assert_allclose(part, whole[:n], rtol=0, atol=tolerance)


def test_every_form_of_x_gives_the_same(isa):
    p = problems.make([33, 40, 20, 3], 60, np.float32, hidden="relu", loss="log_loss")
    p.X[np.abs(p.X) < 0.7] = 0
    forms = [p.X, np.asfortranarray(p.X), p.X.astype(np.float64), np.repeat(p.X, 2, axis=1)[:, ::2]]
    first, *others = [everything(_core, p.but(X=X), isa=isa) for X in forms]
    for other in others:
        assert_all_same_bits(other, first)
    sparse = predict(_core, p.but(X=sp.csr_array(p.X)), isa=isa)
    np.testing.assert_allclose(sparse, first[0], rtol=1e-5 if isa in EMULATED else 1e-2)


def test_float64_and_bfloat16_do_not_go_together():
    p = problems.make([3, 2], 4, np.float64)
    for core in (_core, reference):
        with pytest.raises(ValueError, match="bfloat16"):
            predict(core, p)
        with pytest.raises(ValueError, match="bfloat16"):
            loss_grad(core, p)


# ----------------------------------------------------------------------------------- estimators


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, random_state=0)


def test_digits(digits):
    X, X_test, y, y_test = digits
    fits = {
        precision: MLPClassifier(60, max_iter=25, random_state=0, precision=precision).fit(X, y)
        for precision in ("float32", "float64", "bfloat16")
    }
    exact = fits["float64"]
    for precision, clf in fits.items():
        dtype = "float64" if precision == "float64" else "float32"
        assert {a.dtype for a in [*clf.coefs_, *clf.intercepts_]} == {np.dtype(dtype)}
        assert clf.predict_proba(X_test).dtype == dtype
        assert abs(clf.score(X_test, y_test) - exact.score(X_test, y_test)) < 0.01
        np.testing.assert_allclose(clf.loss_curve_, exact.loss_curve_, rtol=0.02)
    rough = np.array(fits["bfloat16"].loss_curve_) / exact.loss_curve_ - 1
    fine = np.array(fits["float32"].loss_curve_) / exact.loss_curve_ - 1
    assert np.abs(rough).max() > 10 * np.abs(fine).max()


@pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("precision", ["auto", "float32", "float64"])
def test_precision_is_the_dtype_of_x_or_the_one_named(precision, x_dtype, digits):
    X, X_test, y, _ = digits
    dtype = np.dtype(x_dtype if precision == "auto" else precision)
    a = MLPClassifier(20, max_iter=3, random_state=0, precision=precision)
    b = MLPClassifier(20, max_iter=3, random_state=0)
    a.fit(X.astype(x_dtype), y)
    b.fit(X.astype(x_dtype).astype(dtype), y)
    for W, V in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_array_equal(W, V, strict=True)
    for rows in (X_test[:2], X_test, sp.csr_array(X_test)):
        np.testing.assert_array_equal(
            a.predict_proba(rows.astype(x_dtype)),
            b.predict_proba(rows.astype(x_dtype).astype(dtype)),
            strict=True,
        )


@pytest.mark.parametrize("precision", ["auto", "float32", "float64", "bfloat16"])
def test_lbfgs(precision):
    X, y = make_regression(200, 8, noise=1.0, random_state=0)
    y = y / y.std()
    reg = MLPRegressor(
        hidden_layer_sizes=20, solver="lbfgs", max_iter=100, random_state=0, precision=precision
    )
    reg.fit(X, y)
    dtype = "float64" if precision in ("auto", "float64") else "float32"
    assert reg.coefs_[0].dtype == reg.intercepts_[0].dtype == reg.predict(X).dtype == dtype
    assert reg.score(X, y) > 0.98


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("sparse", [False, True])
def test_partial_fit_is_fit_epoch_by_epoch(sparse, solver, digits):
    X, X_test, y, _ = digits
    X = sp.csr_array(X) if sparse else X
    options = {"solver": solver, "shuffle": False, "random_state": 0, "precision": "bfloat16"}
    whole = MLPClassifier(20, max_iter=4, **options).fit(X, y)
    parts = MLPClassifier(20, **options)
    for i in range(4):
        parts.partial_fit(X, y, classes=np.arange(10))
        if i % 2:
            parts = pickle.loads(pickle.dumps(parts))
    for W, V in zip(whole.coefs_, parts.coefs_, strict=True):
        assert W.dtype == np.float32
        np.testing.assert_array_equal(W, V, strict=True)
    np.testing.assert_array_equal(whole.predict_proba(X_test), parts.predict_proba(X_test))


def test_pickle_clone_and_threads(digits):
    X, X_test, y, _ = digits
    clf = MLPClassifier(
        200, max_iter=2, early_stopping=True, random_state=0, precision="bfloat16", n_jobs=1
    ).fit(X, y)
    for other in (
        pickle.loads(pickle.dumps(clf)),
        clone(clf).fit(X, y),
        clone(clf).set_params(n_jobs=2).fit(X, y),
    ):
        assert other.precision == "bfloat16"
        assert other.validation_scores_ == clf.validation_scores_
        np.testing.assert_array_equal(
            other.predict_proba(X_test), clf.predict_proba(X_test), strict=True
        )


def test_prediction_follows_precision(digits):
    X, X_test, y, _ = digits
    clf = MLPClassifier(30, max_iter=5, random_state=0, precision="bfloat16").fit(X, y)
    rough = clf.predict_proba(X_test)
    fine = clf.set_params(precision="float32").predict_proba(X_test)
    finest = clf.set_params(precision="float64").predict_proba(X_test)
    assert rough.dtype == fine.dtype == np.float32
    assert finest.dtype == np.float64
    np.testing.assert_allclose(fine, finest, atol=1e-5)
    assert 1e-4 < np.abs(rough - fine).max() < 0.05


def test_warm_start_changes_precision(digits):
    X, _, y, _ = digits
    clf = MLPClassifier(30, max_iter=5, random_state=0, warm_start=True).fit(X, y)
    assert clf.coefs_[0].dtype == np.float64
    for precision, dtype in (("bfloat16", "float32"), ("float64", "float64"), ("auto", "float64")):
        before = clf.loss_
        clf.set_params(precision=precision).fit(X, y)
        assert clf.coefs_[0].dtype == dtype
        assert clf.loss_ < before


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_numbers_too_large_for_float32(digits):
    X, _, y, _ = digits
    big = X.copy()
    big[3, 4] = 1e300
    good = MLPClassifier(5, max_iter=1, precision="bfloat16").fit(X, y)
    for rows in (big, sp.csr_array(big), big[3:4], big.tolist()):
        with pytest.raises(ValueError, match=r"infinity or a value too large for dtype\('float32'"):
            good.predict(rows)
    for rows in (big, sp.csr_array(big), big.tolist()):
        with pytest.raises(ValueError, match=r"infinity or a value too large for dtype\('float32'"):
            clone(good).fit(rows, y)


@pytest.mark.parametrize("precision", ["bf16", "half", None, 32, np.float32])
def test_unknown_precision(precision, digits):
    X, X_test, y, _ = digits
    with pytest.raises(ValueError, match="precision"):
        MLPClassifier(precision=precision).fit(X, y)
    clf = MLPClassifier(5, max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match="precision"):
        clf.set_params(precision=precision).predict(X_test)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FASTMLP_DATA"), reason="FASTMLP_DATA has MNIST")
def test_mnist():
    """Accuracy within 0.2 points of float32's and the loss curve within 3 %, over ten epochs."""
    data = np.load(Path(os.environ["FASTMLP_DATA"]) / "mnist.npz")
    X = data["X"].reshape(len(data["X"]), -1).astype(np.float32) / 255
    y = data["y"]
    fine, rough = (
        MLPClassifier(500, max_iter=10, batch_size=300, random_state=0, precision=precision).fit(
            X[:60000], y[:60000]
        )
        for precision in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(rough.loss_curve_, fine.loss_curve_, rtol=0.03)
    accuracies = [clf.score(X[60000:], y[60000:]) for clf in (fine, rough)]
    assert min(accuracies) > 0.97
    assert abs(accuracies[0] - accuracies[1]) <= 0.002
