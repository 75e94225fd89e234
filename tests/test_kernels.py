"""Kernel sets against the reference: all sizes, all rows of the tables, all forms of X."""

import re
from itertools import product

import numpy as np
import problems
import pytest
import reference
import scipy.sparse as sp
from problems import assert_matches, assert_same_bits
from reference import name_of

from fastmlp import _core

# ----------------------------------------------------------------------------------------- tables


TABLES = ("ACTIVATIONS", "LOSSES", "OPTIMIZERS")


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_twins_in_the_reference(table):
    rows, twins = getattr(_core, table), getattr(reference, table)
    assert set(rows) == set(twins)
    for name, row in rows.items():
        twin = twins[name]
        for field in {*row._fields} & {*twin._fields} - {"parameters"}:
            assert getattr(row, field) == getattr(twin, field), (name, field)
        assert [p.name for p in row.parameters] == [*twin.parameters]
        for parameter, expected in zip(row.parameters, twin.parameters.values(), strict=True):
            assert parameter[1:5] == expected, (name, parameter.name)
            assert type(parameter.default) is type(expected.default)


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_words_for_users(table):
    rows = getattr(_core, table)
    assert all(name == row.name for name, row in rows.items())
    assert len({row.class_name for row in rows.values()}) == len(rows)
    for row in rows.values():
        assert row.class_name.isidentifier()
        assert row.class_name[0].isupper()
        for thing in (row, *row.parameters):
            assert re.fullmatch(r"\w.{5,90}[^.\s]", thing.doc), thing


# An epsilon so large keeps adam from dividing one rounding error by another.
CALM_ADAM = ("adam", {"epsilon": 1e-2})

# ------------------------------------------------------------------------------------------ sizes

# Below, at and above the usual tile sizes, primes, one unit, one row, no hidden layer, several.
SHAPES = [
    ([1, 1], 1),
    ([1, 1, 1], 1),
    ([2, 3, 1], 2),
    ([3, 1, 2], 3),
    ([5, 7, 3], 5),
    ([7, 8, 9], 6),
    ([8, 16, 8], 16),
    ([9, 15, 7], 17),
    ([13, 17, 2], 13),
    ([16, 32, 16], 32),
    ([17, 33, 10], 31),
    ([31, 47, 17], 33),
    ([33, 63, 1], 15),
    ([47, 64, 3], 65),
    ([64, 65, 100], 7),
    ([65, 97, 31], 64),
    ([97, 128, 10], 63),
    ([128, 129, 2], 129),
    ([129, 10], 97),
    ([257, 31], 14),
    ([300, 5, 3, 2, 7], 11),
    ([3, 65, 5, 33, 4], 47),
    ([784, 13, 10], 9),
    ([1025, 3], 5),
    ([1025, 17, 1], 33),
    ([20, 100, 2], 200),
    ([4, 100, 3], 150),
    ([12, 300], 24),
]
SIZES = [1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 97, 128, 129, 257, 300]


def shape_id(case):
    units, n = case
    return f"{n}x" + "-".join(map(str, units))


def check_exactly(units, n, dtype, isa, density=None, zeros=False):
    p = problems.make_exact(units, n, dtype, density=density)
    if zeros:
        p = problems.with_zeros(p)
    assert_same_bits(problems.predict(_core, p, isa=isa), problems.predict(reference, p))

    loss, grad = problems.loss_grad(_core, p, isa=isa)
    expected_loss, expected_grad = problems.loss_grad(reference, p)
    np.testing.assert_array_equal(grad, expected_grad, strict=True)
    # The mean over the outputs is no power of two.
    assert loss == pytest.approx(expected_loss, rel=8 * float(np.finfo(dtype).eps))

    optimizer = ("sgd", {"momentum": 0.5})
    actual = problems.train(_core, p, optimizer, learning_rate=0.25, isa=isa)
    expected = problems.train(reference, p, optimizer, learning_rate=0.25)
    assert actual.losses == pytest.approx(expected.losses, rel=8 * float(np.finfo(dtype).eps))
    actual.losses = expected.losses
    assert_same_bits(actual, expected)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_integers_are_exact(shape, dtype, isa):
    check_exactly(*shape, dtype, isa)


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("shape", [*SHAPES[::3], ([2000, 3, 2], 7)], ids=shape_id)
def test_integers_are_exact_on_sparse_X(shape, density, dtype, isa):
    check_exactly(*shape, dtype, isa, density=density)


@pytest.mark.parametrize(
    "shape",
    [
        ([33, 65, 3], 1),
        ([34, 66, 3], 5),
        ([64, 100, 10], 97),
        ([130, 129], 40),
        ([300, 97, 2], 260),
        ([784, 72, 10], 100),
        ([1030, 65, 1], 31),
        ([40, 70, 3], _core.MAX_BLOCK + 37),
    ],
    ids=shape_id,
)
def test_integers_are_exact_on_mostly_zero_X(shape, dtype, isa):
    check_exactly(*shape, dtype, isa, zeros=True)


@pytest.mark.slow
@pytest.mark.parametrize("fan_in", [*SIZES[::2], 784, 1025])
def test_integers_are_exact_everywhere(fan_in, dtype, isa):
    for fan_out, n in product(SIZES, [1, 2, 7, 14, 33, 64]):
        check_exactly([fan_in, fan_out], n, dtype, isa)
        check_exactly([fan_in, fan_out], n, dtype, isa, zeros=True)
    for width, fan_out in product(SIZES[1::2], [1, 3, 8, 9, 17]):
        check_exactly([fan_in, width, fan_out], 1 + (7 * width + fan_out) % 37, dtype, isa)


@pytest.mark.parametrize("density", [None, 0.2])
@pytest.mark.parametrize("n", [_core.MAX_BLOCK - 1, _core.MAX_BLOCK + 1, 2 * _core.MAX_BLOCK + 37])
def test_mini_batches_larger_than_a_block(n, density, dtype, isa):
    """The engine cuts them into blocks, and sums gradients over these before it updates."""
    for units in ([5, 9, 3], [3, 40, 20], [17, 1]):
        check_exactly(units, n, dtype, isa, density=density)
    p = problems.make([8, 20, 18, 4], n, dtype, loss="log_loss", weighted=True, density=density)
    actual = problems.train(_core, p, CALM_ADAM, isa=isa, epochs=3)
    assert_matches(actual, problems.train(reference, p, CALM_ADAM, epochs=3), p)


@pytest.mark.parametrize("units", [[7, 13, 3], [20, 100, 2], [5, 11], [9, 33, 17, 10]], ids=str)
def test_predict_any_number_of_rows(units, dtype, isa):
    p = problems.make(units, 1000, dtype, loss="log_loss", weighted=False)
    whole = problems.predict(reference, p)
    for n in [1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 17, 31, 33, 63, 65, 111, 112, 113, 127, 129]:
        for X, expected in ((p.X[:n], whole[:n]), (p.X[-n:], whole[-n:])):
            assert_matches(problems.predict(_core, p.but(X=X), isa=isa), expected, p)
    for n in [200, 223, 224, 225, 255, 257, 500, 511, 513, 999, 1000]:
        assert_matches(problems.predict(_core, p.but(X=p.X[:n]), isa=isa), whole[:n], p)


@pytest.mark.slow
def test_predict_every_number_of_rows(dtype, isa):
    p = problems.make([13, 33, 10], 1000, dtype, loss="log_loss")
    whole = problems.predict(reference, p)
    for n in range(1, 1001):
        assert_matches(problems.predict(_core, p.but(X=p.X[:n]), isa=isa), whole[:n], p)


def test_predict_no_rows(dtype, isa):
    p = problems.make([3, 5, 2], 4, dtype)
    for X in (p.X[:0], sp.csr_array(p.X[:0])):
        out = problems.predict(_core, p.but(X=X), isa=isa)
        assert out.shape == (0, 2)
        assert out.dtype == dtype


# ----------------------------------------------------------------------- activations, elementwise


def ulps(actual, exact, dtype):
    """Distance of actual to the float64 values, in units of dtype's last place of the latter."""
    exact = np.asarray(exact, np.float64)
    magnitude = np.clip(np.abs(exact), np.finfo(dtype).tiny, np.finfo(dtype).max / 2)
    unit = np.spacing(magnitude.astype(dtype))
    return np.abs(actual.astype(np.float64) - exact) / unit


def apply(choice, z, dtype, isa):
    """The activation as the network computes it on the column z: one layer with W = 1, b = 0."""
    one, zero, row = np.ones((1, 1), dtype), np.zeros(1, dtype), _core.ACTIVATIONS[name_of(choice)]
    results = []
    if row.hidden:
        layers = [one, one], [zero, zero], [choice, "identity"]
        results.append(_core.predict(z[:, np.newaxis], *layers, isa=isa)[:, 0])
    if row.output:
        results.append(_core.predict(z[:, np.newaxis], [one], [zero], [choice], isa=isa)[:, 0])
    np.testing.assert_array_equal(results[0], results[-1])
    return results[0]


def exact_values(choice, z):
    row, values = reference.choose(reference.ACTIVATIONS, choice)
    return row.f(z.astype(np.longdouble), **values)


# softmax has a test of its own.
ELEMENTWISE = [c for c in problems.choices(reference.ACTIVATIONS) if c != "softmax"]


@pytest.mark.parametrize("choice", ELEMENTWISE)
def test_activation_accuracy(choice, dtype, isa):
    tiny, largest = np.finfo(dtype).tiny, np.finfo(dtype).max
    magnitudes = np.concatenate(
        [
            np.geomspace(tiny, 1e-3, 500),
            np.linspace(1e-3, 1, 2000),
            np.linspace(1, 20, 3000),
            np.linspace(20, 120, 1000),
            np.linspace(120, 800, 500),
            [1e10, 1e30, largest],
        ]
    ).astype(dtype)
    z = np.concatenate([magnitudes, -magnitudes, [0.0, -0.0]]).astype(dtype)
    a = apply(choice, z, dtype, isa)
    with np.errstate(over="ignore"):
        exact = exact_values(choice, z)
        rounded = exact.astype(dtype)
    # Overflow is inf, and results below the smallest normal number may be flushed to zero.
    np.testing.assert_array_equal(np.isinf(a), np.isinf(rounded))
    normal = np.isfinite(rounded) & (np.abs(exact) >= tiny)
    bound = np.full(z.shape, 4.0)
    if choice == "gelu" and dtype == np.float64:  # the reference rounds the argument of erfc
        bound += 2 * np.minimum(np.abs(z), 40) ** 2
    assert (ulps(a[normal], exact[normal], dtype) <= bound[normal]).all()
    flushed = np.abs(exact) < tiny
    assert (np.abs(a[flushed]) <= 2 * tiny).all()
    # No value outside the function's range, no step down: both would surprise a user.
    if choice in ("logistic", "tanh"):
        assert a.max() <= 1
        assert a.min() >= (-1 if choice == "tanh" else 0)
    if choice == "tanh":
        np.testing.assert_array_equal(a[: len(magnitudes)], -a[len(magnitudes) : -2])


@pytest.mark.parametrize("choice", ELEMENTWISE)
def test_activation_of_special_values(choice, dtype, isa):
    tiny = np.finfo(dtype).smallest_subnormal
    z = np.array([0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny], dtype)
    expected = exact_values(choice, z)
    np.testing.assert_allclose(apply(choice, z, dtype, isa), expected, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("alpha", [5e-324, 1e-320, 1e-45, 1e-38, 1e18, 1e30, 1e300])
def test_celu_in_the_limit(alpha, dtype, isa):
    """Where alpha or 1 / alpha is 0 or infinite in float32, or z / alpha is flushed to zero."""
    p = problems.make([5, 9, 3], 20, dtype, hidden=("celu", {"alpha": alpha}))
    limit = p.but(activations=["relu" if alpha < 1 else "identity", "identity"])
    assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(_core, limit), p)
    for q in (p, limit):
        q.X[:3] = 0
        q.intercepts[0][:] = 0
    assert_matches(problems.predict(_core, p, isa=isa), problems.predict(_core, limit), p)
    assert np.isfinite(problems.loss_grad(_core, p, isa=isa)[1]).all()


@pytest.mark.parametrize("n_outputs", [1, 2, 3, 7, 8, 9, 10, 16, 17, 33, 100])
def test_softmax(n_outputs, dtype, isa):
    rng = np.random.default_rng(n_outputs)
    X = rng.normal(size=(57, n_outputs)) * np.geomspace(1e-3, 1e3, 57)[:, np.newaxis]
    X[3] = 0
    X[4] = 1e30  # equal and huge
    X[5] = -1e30
    X[6, 0] = 1e30  # one of them huge
    X = X.astype(dtype)
    args = [np.eye(n_outputs, dtype=dtype)], [np.zeros(n_outputs, dtype)], ["softmax"]
    P = _core.predict(X, *args, isa=isa)
    expected = reference.predict(X, *args)
    eps = np.finfo(dtype).eps
    # The distance from the maximum is rounded, and exp makes a relative error of an absolute one.
    gap = X.max(axis=1, keepdims=True) - X.astype(np.float64)
    allowed = expected * eps * (16 + n_outputs**0.5 + gap) + 2 * np.finfo(dtype).tiny
    assert (np.abs(P - expected) <= allowed).all()
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=(4 + n_outputs) * eps)


# ------------------------------------------------------------------- losses, outputs, optimizers

PAIRS = list(product(problems.LOSSES, problems.OUTPUT))


@pytest.mark.parametrize(("loss", "out"), PAIRS)
def test_every_loss_with_every_output(loss, out, dtype, isa):
    for units, n, hidden in (
        ([5, 9, 4], 21, ["tanh"]),
        ([6, 17], 16, []),
        ([3, 7, 8, 1], 10, ["logistic", "relu"]),
    ):
        p = problems.make(units, n, dtype, hidden=hidden, loss=loss, out=out, weighted=n == 21)
        assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, p), p)
        for optimizer in ("sgd", CALM_ADAM):
            actual = problems.train(_core, p, optimizer, isa=isa)
            assert_matches(actual, problems.train(reference, p, optimizer), p)


@pytest.mark.parametrize("n_outputs", [1, 2, 3, 7, 8, 9, 10, 16, 17, 31, 33, 100])
@pytest.mark.parametrize("loss", problems.LOSSES)
def test_every_width_of_output(loss, n_outputs, dtype, isa):
    for units, n in (([5, 9, n_outputs], 37), ([33, n_outputs], 8), ([2, 3, n_outputs], 1)):
        p = problems.make(units, n, dtype, loss=loss, weighted=n == 37)
        expected = problems.loss_grad(reference, p)
        assert_matches(problems.predict(_core, p, isa=isa), problems.predict(reference, p), p)
        assert_matches(problems.loss_grad(_core, p, isa=isa), expected, p)
        actual = problems.train(_core, p, "sgd", isa=isa)
        expected = problems.train(reference, p, "sgd")
        # The terms of this one's only db nearly cancel.
        cancels = n_outputs == 1 and reference.name_of(loss) == "binary_focal"
        assert_matches(actual, expected, p, factor=20 if cancels else 1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_outputs", [2, 3, 8, 10, 17, 100])
def test_class_indices_are_one_hot_rows(n_outputs, weighted, dtype, isa):
    p = problems.make(
        [6, 13, n_outputs], 29, dtype, loss="log_loss", labels=True, weighted=weighted
    )
    dense = p.but(y=np.eye(n_outputs, dtype=dtype)[p.y])
    assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, dense), p)
    actual, expected = (problems.train(_core, q, "adam", batch_size=8, isa=isa) for q in (p, dense))
    assert_matches(actual, expected, p)


@pytest.mark.parametrize("hidden", problems.HIDDEN)
def test_every_hidden_activation(hidden, dtype, isa):
    for units, n in (([5, 9, 17, 3], 33), ([20, 100, 2], 200), ([8, 1, 1, 2], 3)):
        p = problems.make(units, n, dtype, hidden=hidden, loss="log_loss", weighted=n == 33)
        assert_matches(problems.predict(_core, p, isa=isa), problems.predict(reference, p), p)
        assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, p), p)
        actual = problems.train(_core, p, "sgd", isa=isa, batch_size=29, max_rows=29)
        assert_matches(actual, problems.train(reference, p, "sgd", batch_size=29), p)


SLOPES = [name for name, row in _core.ACTIVATIONS.items() if not row.from_output]


@pytest.mark.parametrize("density", [None, 0.3], ids=["dense", "csr"])
@pytest.mark.parametrize("hidden", SLOPES)
def test_derivatives_that_are_kept(hidden, density, dtype, isa):
    """More rows than a block has, narrow and wide outputs, one thread and two."""
    for units in ([7, 19, 33], [40, 70, 2]):
        p = problems.make(units, _core.MAX_BLOCK + 77, dtype, hidden=hidden, density=density)
        loss, grad = problems.loss_grad(_core, p, isa=isa, n_threads=1)
        assert_matches((loss, grad), problems.loss_grad(reference, p), p)
        trained = problems.train(_core, p, "sgd", isa=isa, n_threads=1)
        assert_matches(trained, problems.train(reference, p, "sgd"), p)
        assert_same_bits(problems.loss_grad(_core, p, isa=isa, n_threads=2), (loss, grad))
        assert_same_bits(problems.train(_core, p, "sgd", isa=isa, n_threads=2), trained)


def test_layers_may_have_different_activations(dtype, isa):
    hidden = ["relu", "tanh", "identity", "logistic"]
    p = problems.make([6, 11, 7, 13, 9, 4], 30, dtype, hidden=hidden, loss="binary_log_loss")
    assert_matches(problems.predict(_core, p, isa=isa), problems.predict(reference, p), p)
    assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, p), p)


@pytest.mark.parametrize("alpha", [0.0, 1e-4, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_alpha_and_weights(alpha, weighted, dtype, isa):
    p = problems.make([7, 19, 3], 41, dtype, alpha=alpha, weighted=weighted)
    assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, p), p)
    for optimizer in ("sgd", CALM_ADAM):
        actual = problems.train(_core, p, optimizer, isa=isa)
        assert_matches(actual, problems.train(reference, p, optimizer), p)


def single_changes(table):
    """Choices of every row, each with one parameter that is not the default, or at a bound."""
    for name, row in table.items():
        for parameter, p in row.parameters.items():
            values = [problems.others(row)[parameter], p.low, p.high]
            yield from (
                (name, {parameter: v})
                for v in values
                if p.allows(v) and np.isfinite(v) and v != p.default
            )


@pytest.mark.parametrize(
    "optimizer", [*problems.OPTIMIZERS, *single_changes(reference.OPTIMIZERS)], ids=str
)
def test_optimizers_from_a_given_state(optimizer, dtype, isa):
    """One update, on gradients without rounding error: what is left is its arithmetic."""
    p = problems.make_exact([9, 17, 5], 16, dtype)
    rng = np.random.default_rng(0)
    results = []
    state = [
        [np.abs(rng.normal(size=P.shape)).astype(dtype) for P in [*p.coefs, *p.intercepts]]
        for _ in range(problems.n_slots(optimizer))
    ]
    for core, isa_options in ((_core, {"isa": isa}), (reference, {})):
        net = p.net(core, optimizer=optimizer, **isa_options)
        for slot, arrays in enumerate(state):
            net.load_state(slot, arrays[:2], arrays[2:])
        net.step = 41
        losses = [net.train(p.X, p.y, p.sample_weight, np.arange(p.n), p.n, 0.0123)]
        results.append(problems.result(net, p, optimizer, losses))
    assert results[0].step == 42
    rtol = 1e-13 if dtype == np.float64 else 3e-6
    for (name, a), (_, d) in zip(*map(problems.each_array, results), strict=True):
        np.testing.assert_allclose(a, d, rtol=rtol, atol=rtol * np.abs(d).max(), err_msg=name)


def test_state_is_zero_at_first(dtype, isa):
    p = problems.make([3, 5, 2], 4, dtype)
    for optimizer in problems.OPTIMIZERS:
        fresh = problems.result(p.net(_core, optimizer=optimizer, isa=isa), p, optimizer, [])
        assert fresh.step == 0
        assert all((P == 0).all() for P in fresh.state)
        for stored, given in zip(fresh.params, [*p.coefs, *p.intercepts], strict=True):
            np.testing.assert_array_equal(stored, given)


@pytest.mark.parametrize("shape", SHAPES[::4], ids=shape_id)
def test_load_and_store_round_trip(shape, dtype, isa):
    p = problems.make(*shape, dtype)
    rng = np.random.default_rng(1)
    net = p.net(_core, optimizer="adam", isa=isa)
    state = [
        [rng.normal(size=P.shape).astype(dtype) for P in [*p.coefs, *p.intercepts]] for _ in "mv"
    ]
    for slot, arrays in enumerate(state):
        net.load_state(slot, arrays[: len(p.coefs)], arrays[len(p.coefs) :])
    stored = problems.result(net, p, "adam", [])
    for a, d in zip(stored.params, [*p.coefs, *p.intercepts], strict=True):
        np.testing.assert_array_equal(a, d)
    for a, d in zip(stored.state, [*state[0], *state[1]], strict=True):
        np.testing.assert_array_equal(a, d)


# ------------------------------------------------------------------ saturated and clipped outputs


@pytest.mark.parametrize("loss", ["log_loss", "binary_log_loss"])
@pytest.mark.parametrize("n_outputs", [1, 2, 5])
def test_log_losses_clip_at_the_epsilon_of_dtype(loss, n_outputs, dtype, isa):
    """Outputs of exactly 0 and 1 give a finite loss and gradient."""
    p = problems.make([4, n_outputs], 12, dtype, loss=loss)
    p.coefs[0] = (p.coefs[0] * 1e3).astype(dtype)
    p.sample_weight = np.linspace(0.5, 1.5, p.n)
    P = problems.predict(_core, p, isa=isa)
    assert n_outputs == 1 or (P == 0).any()
    actual, expected = problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, p)
    assert np.isfinite(actual[0])
    # 1 - a has few digits where a is close to 1.
    assert_matches(actual, expected, p, factor=100)


@pytest.mark.parametrize("loss", ["log_loss", "binary_log_loss"])
@pytest.mark.parametrize("out", ["identity", "relu", "exp", "tanh"])
def test_log_losses_clip_outputs_beyond_0_and_1(loss, out, dtype, isa):
    p = problems.make([4, 3], 40, dtype, loss=loss, out=out)
    # tanh stays away from 1: there 1 - a, and with it the loss, has no digits left.
    p.coefs[0] = (p.coefs[0] * (8 if out == "tanh" else 30)).astype(dtype)
    A = problems.predict(reference, p)
    assert (A > 1).any() or out == "tanh"
    assert (A <= 0).any() or out == "exp"
    assert_matches(
        problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, p), p, factor=10
    )


@pytest.mark.parametrize("y", [0.0, 3.0])
def test_poisson_far_out(y, dtype, isa):
    p = problems.make([2, 1], 5, dtype, loss="poisson")
    p.y[:] = y
    p.coefs[0][:] = 5
    assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, p), p)


# ------------------------------------------------------------------------------------ layouts of X


def layouts(X, tmp_path):
    """The same values in every way that NumPy can hold them."""
    n, k = X.shape
    yield "C", np.ascontiguousarray(X)
    yield "Fortran", np.asfortranarray(X)
    wide = np.full((2 * n, 3 * k), np.nan, X.dtype)
    wide[::2, 1::3] = X
    yield "strided", wide[::2, 1::3]
    yield "strided columns", np.asfortranarray(wide)[::2, 1::3]
    yield "negative strides", np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    yield "rows reversed", np.ascontiguousarray(X[::-1])[::-1]
    yield "transposed", np.ascontiguousarray(X.T).T
    read_only = X.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    np.save(tmp_path / "X.npy", X)
    yield "memory-mapped", np.load(tmp_path / "X.npy", mmap_mode="r")
    padded = np.full((n, k + 3), np.nan, X.dtype)
    padded[:, :k] = X
    yield "padded rows", padded[:, :k]
    record = np.zeros(n, [("tag", "u1"), ("x", X.dtype, (k,))])
    record["x"] = X
    yield "unaligned", record["x"]


@pytest.mark.parametrize("X_dtype", [np.float32, np.float64], ids=["X32", "X64"])
@pytest.mark.parametrize("units", [[5, 9, 3], [33, 17, 2], [1, 4, 1]], ids=str)
def test_layouts_of_X(units, X_dtype, dtype, isa, tmp_path):
    """X is rounded to the network's dtype; how it lies in memory changes not a bit."""
    p = problems.make(units, 23, dtype, weighted=True)
    X = np.random.default_rng(3).normal(size=p.X.shape).astype(X_dtype)
    plain = p.but(X=X.astype(dtype))
    order = np.random.default_rng(4).permutation(p.n)
    runs = [
        lambda p: problems.predict(_core, p, isa=isa),
        lambda p: problems.loss_grad(_core, p, isa=isa),
        lambda p: problems.train(_core, p, "adam", order=order, batch_size=5, isa=isa),
    ]
    expected = [run(plain) for run in runs]
    for name, variant in layouts(X, tmp_path):
        for run, desired in zip(runs, expected, strict=True):
            try:
                assert_same_bits(run(p.but(X=variant)), desired)
            except AssertionError as error:
                raise AssertionError(f"layout: {name}") from error


def test_broadcast_X(dtype, isa):
    """Strides of zero."""
    p = problems.make([5, 9, 3], 23, dtype)
    for X in (
        np.broadcast_to(p.X[0], p.X.shape),
        np.broadcast_to(p.X[:, :1], p.X.shape),
        np.broadcast_to(p.X[:1, :1], p.X.shape),
    ):
        assert_same_bits(
            problems.loss_grad(_core, p.but(X=X), isa=isa),
            problems.loss_grad(_core, p.but(X=X.copy()), isa=isa),
        )


# ------------------------------------------------------------------------------------- CSR layouts


def csr_layouts(X):
    """The same matrix as CSR in every legal form; X is in canonical form."""
    yield "int32", X
    wide = X.copy()
    wide.indices, wide.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    yield "int64", wide
    reverse = X.copy()
    for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        reverse.indices[start:stop] = X.indices[start:stop][::-1]
        reverse.data[start:stop] = X.data[start:stop][::-1]
    reverse.has_sorted_indices = False
    yield "unsorted", reverse
    # Every entry as two halves.
    double = sp.csr_array((X.data.repeat(2) / 2, X.indices.repeat(2), 2 * X.indptr), X.shape)
    yield "duplicates", double
    zeros = sp.csr_array((X.data.repeat(2), X.indices.repeat(2), 2 * X.indptr), X.shape)
    zeros.data[1::2] = 0
    yield "explicit zeros", zeros
    yield "matrix", sp.csr_matrix(X)
    frozen = X.copy()
    for part in (frozen.data, frozen.indices, frozen.indptr):
        part.flags.writeable = False
    yield "read-only", frozen
    spare = X.copy()
    spare.data = np.append(spare.data, [7, 7]).astype(X.dtype)
    spare.indices = np.append(spare.indices, [0, 0]).astype(X.indices.dtype)
    yield "spare room", spare


@pytest.mark.parametrize("X_dtype", [np.float32, np.float64], ids=["X32", "X64"])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3])
def test_csr_layouts(density, X_dtype, dtype, isa):
    p = problems.make_exact([40, 17, 3], 23, dtype, density=density)
    keep = np.ones(p.n)
    keep[::3] = 0  # empty rows
    X = sp.csr_array(sp.diags_array(keep) @ p.X).astype(X_dtype)
    X.eliminate_zeros()
    X.sort_indices()
    order = np.random.default_rng(4).permutation(p.n)
    for name, variant in csr_layouts(X):
        np.testing.assert_array_equal(variant.toarray(), X.toarray())
        q, dense = p.but(X=variant), p.but(X=X.toarray().astype(dtype))
        try:
            assert_same_bits(
                problems.predict(_core, q, isa=isa), problems.predict(reference, dense)
            )
            assert_same_bits(
                problems.loss_grad(_core, q, isa=isa)[1], problems.loss_grad(reference, dense)[1]
            )
            assert_matches(
                problems.train(
                    _core,
                    q,
                    "sgd",
                    order=order,
                    batch_size=5,
                    isa=isa,
                    max_nnz=2 * p.X.nnz + 10,
                ),
                problems.train(reference, dense, "sgd", order=order, batch_size=5),
                p,
            )
        except AssertionError as error:
            raise AssertionError(f"layout: {name}") from error


def test_order_on_csr(dtype, isa):
    """Repeated rows count their non-zeros again; whole batches may be empty."""
    p = problems.make([30, 7, 2], 12, dtype, density=0.2)
    p.X[[2, 5]] *= 0
    p.X.eliminate_zeros()
    fullest = int(np.diff(p.X.indptr).max())
    for order in ([3] * 12, [2, 5, 2, 5, 5, 2, 0, 1], [5], [0, 0, 7, 7, 11]):
        order = np.array(order)
        options = {"order": order, "batch_size": 4, "max_nnz": 4 * fullest}
        actual = problems.train(_core, p, "sgd", isa=isa, **options)
        assert_matches(actual, problems.train(reference, p, "sgd", **options), p)


@pytest.mark.parametrize("loss", problems.LOSSES)
def test_sparse_and_dense_agree(loss, dtype, isa):
    p = problems.make([50, 33, 5], 40, dtype, loss=loss, density=0.1, weighted=True)
    dense = p.but(X=p.X.toarray())
    assert_matches(problems.loss_grad(_core, p, isa=isa), problems.loss_grad(reference, dense), p)
    actual = problems.train(_core, p, CALM_ADAM, batch_size=7, isa=isa)
    expected = problems.train(reference, dense, CALM_ADAM, batch_size=7)
    assert_matches(actual, expected, p, factor=4)


# ------------------------------------------------------------------------------------ mini-batches


def some_problem(dtype, sparse, n=50):
    return problems.make(
        [11, 19, 3],
        n,
        dtype,
        hidden="relu",
        loss="log_loss",
        labels=True,
        weighted=True,
        density=0.3 if sparse else None,
    ).but(sample_weight=np.linspace(0.2, 2, n))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_order_selects_rows(sparse, dtype, isa):
    """Repeats, gaps, any order: as if the rows had been copied out first."""
    p = some_problem(dtype, sparse)
    rng = np.random.default_rng(0)
    for order in (
        rng.integers(p.n, size=70),
        rng.permutation(p.n),
        np.array([49]),
        np.arange(9, 20),
    ):
        copied = p.but(X=p.X[order], y=p.y[order], sample_weight=p.sample_weight[order])
        max_nnz = 10**4 if sparse else 0
        options = {"batch_size": 16, "isa": isa, "max_rows": 70, "max_nnz": max_nnz}
        assert_same_bits(
            problems.train(_core, p, "adam", order=order, **options),
            problems.train(_core, copied, "adam", **options),
        )


def test_order_may_be_a_slice_and_read_only(dtype, isa):
    p = some_problem(dtype, False)
    order = np.random.default_rng(0).permutation(p.n)
    read_only = order.copy()
    read_only.flags.writeable = False
    expected = problems.train(_core, p, "sgd", order=order, batch_size=16, isa=isa)
    part = np.concatenate([[7, 7, 7], order, [7]])[3:-1]
    for view in (part, read_only):
        actual = problems.train(_core, p, "sgd", order=view, batch_size=16, isa=isa)
        assert_same_bits(actual, expected)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("optimizer", problems.OPTIMIZERS)
def test_one_call_is_many_steps(sparse, optimizer, dtype, isa):
    """A run of mini-batches, the last one partial, equals one call for each of them."""
    p = some_problem(dtype, sparse)
    order = np.random.default_rng(0).permutation(p.n)
    whole = problems.train(_core, p, optimizer, order=order, batch_size=16, isa=isa)
    assert whole.step == 4
    net = p.net(_core, optimizer=optimizer, isa=isa)
    losses = [
        net.train(p.X, p.y, p.sample_weight, order[i : i + 16], 16, 0.01) for i in range(0, p.n, 16)
    ]
    pieces = problems.result(net, p, optimizer, [sum(losses)])
    assert pieces.losses == pytest.approx(whole.losses, rel=1e-14)
    pieces.losses = whole.losses
    assert_same_bits(pieces, whole)


WIDE = [([300, 200, 150, 12], 40), ([150, 260, 1], 33), ([20, 129, 257, 40], 30), ([700, 9], 25)]


@pytest.mark.parametrize("shape", WIDE, ids=shape_id)
@pytest.mark.parametrize("density", [None, 0.1])
def test_several_steps_of_wide_layers(density, shape, dtype, isa):
    """Each step sees all of what the one before has changed, in every copy that is kept of it."""
    p = problems.make(*shape, dtype, loss="squared_error", density=density, alpha=1.0)
    options = {"batch_size": 9, "epochs": 2, "learning_rate": 0.003}
    for optimizer in ("sgd", CALM_ADAM):
        actual = problems.train(_core, p, optimizer, isa=isa, **options)
        expected = problems.train(reference, p, optimizer, **options)
        assert_matches(actual, expected, p, factor=4)


@pytest.mark.parametrize("shape", [*WIDE, ([33, 17, 3], 50)], ids=shape_id)
@pytest.mark.parametrize("density", [None, 0.1])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["bias", "no-bias"])
def test_clipping_and_averaging(fit_intercept, density, shape, dtype, isa):
    p = problems.make(*shape, dtype, density=density, alpha=1.0, weighted=True)
    options = {"batch_size": -(-p.n // 2), "epochs": 2, "fit_intercept": fit_intercept}
    free = problems.train(reference, p, ("sgd", 0.0), **options)
    for max_grad_norm in (0.1, 1e6):
        how = options | {"max_grad_norm": max_grad_norm, "averaging": 0.8}
        actual = problems.train(_core, p, ("sgd", 0.0), isa=isa, **how)
        expected = problems.train(reference, p, ("sgd", 0.0), **how)
        if not fit_intercept:  # what nobody has loaded
            del actual.state[-len(p.intercepts) :], expected.state[-len(p.intercepts) :]
        assert_matches(actual, expected, p, factor=4)
        clips = any((a != f).any() for a, f in zip(expected.params, free.params, strict=True))
        assert clips == (max_grad_norm == 0.1)


def test_clipping_of_large_batches_and_large_gradients(dtype, isa):
    """The norm is that of the whole mini-batch, in double; what overflows that is not clipped."""
    p = problems.make([5, 20, 2], 2100, dtype)
    how = {"max_grad_norm": 0.05, "max_rows": 2100}
    actual = problems.train(_core, p, "sgd", isa=isa, **how)
    assert_matches(actual, problems.train(reference, p, "sgd", **how), p, factor=4)
    largest = np.finfo(dtype).max
    big = p.but(y=p.y * dtype.type(largest**0.4), options={"max_rows": 2100})
    clipped = problems.train(_core, big, ("sgd", 0.0), max_grad_norm=1.0, isa=isa)
    step = [a - b for a, b in zip(clipped.params, [*p.coefs, *p.intercepts], strict=True)]
    norm = np.sqrt(sum((s.astype(float) ** 2).sum() for s in step))
    np.testing.assert_allclose(norm, 0.01, rtol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"max_grad_norm": -1.0}, {"max_grad_norm": np.nan}, {"averaging": 1.0}]
)
def test_wrong_clipping_and_averaging(wrong):
    p = problems.make([3, 5, 2], 4, np.float64)
    for core in (_core, reference):
        with pytest.raises(ValueError, match=r"range|max_grad_norm|averaging"):
            p.net(core, optimizer="sgd", **wrong)


@pytest.mark.parametrize("batch_size", [1, 7, 49, 50, 51, 1000])
def test_batch_sizes(batch_size, dtype, isa):
    p = some_problem(dtype, False)
    options = {"batch_size": batch_size, "max_rows": batch_size}
    actual = problems.train(_core, p, "sgd", isa=isa, **options)
    assert actual.step == -(-p.n // batch_size)
    assert_matches(actual, problems.train(reference, p, "sgd", **options), p, factor=4)


def test_no_rows_to_train_on(dtype, isa):
    p = some_problem(dtype, False)
    none = problems.train(_core, p, "adam", order=np.array([], np.int64), batch_size=16, isa=isa)
    assert none.losses == 0
    assert none.step == 0
    for stored, given in zip(none.params, [*p.coefs, *p.intercepts], strict=True):
        np.testing.assert_array_equal(stored, given)


def test_learning_rate_may_change_between_calls(dtype, isa):
    p = some_problem(dtype, False)
    nets = [p.net(_core, optimizer="sgd", isa=isa), p.net(reference, optimizer="sgd")]
    for learning_rate in (0.1, 0.02, 0.0):
        losses = [
            net.train(p.X, p.y, p.sample_weight, np.arange(p.n), 16, learning_rate) for net in nets
        ]
    results = [problems.result(net, p, "sgd", loss) for net, loss in zip(nets, losses, strict=True)]
    assert_matches(*results, p, factor=4)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("max_rows", [1, 7, 16, 49, 50, 64, 1000])
def test_loss_grad_in_blocks(max_rows, sparse, dtype, isa):
    p = some_problem(dtype, sparse)
    actual = problems.loss_grad(_core, p, isa=isa, max_rows=max_rows)
    assert_matches(actual, problems.loss_grad(reference, p), p)


def test_loss_grad_loads_the_parameters(dtype, isa):
    p = some_problem(dtype, False)
    net = p.net(_core, isa=isa)
    params = (p.params * 0.5).astype(dtype)
    grad = np.empty_like(params)
    net.loss_grad(params, grad, p.X, p.y, p.sample_weight)
    coefs, intercepts = (
        [np.empty_like(W) for W in p.coefs],
        [np.empty_like(b) for b in p.intercepts],
    )
    net.store_params(coefs, intercepts)
    stored = np.concatenate([P.ravel() for P in [*coefs, *intercepts]])
    np.testing.assert_array_equal(stored, params)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_a_net_serves_changing_numbers_of_rows(sparse, dtype, isa):
    """A call leaves nothing behind that the next one could see."""
    p = some_problem(dtype, sparse)
    small = p.but(X=p.X[:7], y=p.y[:7], sample_weight=None)
    net = p.net(_core, isa=isa)
    grad = np.empty_like(p.params)
    for q in (p, small, p, p, small, small):
        loss = net.loss_grad(q.params, grad, q.X, q.y, q.sample_weight)
        assert_same_bits((loss, grad), problems.loss_grad(_core, q, isa=isa))
    trained = p.net(_core, optimizer="sgd", isa=isa)
    for q in (p, small, p, p, small, small):
        trained.load_params(p.coefs, p.intercepts)
        zeros = [np.zeros_like(W) for W in p.coefs], [np.zeros_like(b) for b in p.intercepts]
        trained.load_state(0, *zeros)
        trained.step = 0
        losses = [trained.train(q.X, q.y, q.sample_weight, np.arange(q.n), q.n, 0.01)]
        assert_same_bits(
            problems.result(trained, q, "sgd", losses), problems.train(_core, q, "sgd", isa=isa)
        )


def test_a_net_sees_that_the_data_is_another(dtype, isa):
    """The same arrays with other contents, other arrays at the same place."""
    p = some_problem(dtype, False)
    net = p.net(_core, isa=isa)
    grad = np.empty_like(p.params)
    for i in range(5):
        q = p.but(X=p.X * dtype.type(i), sample_weight=p.sample_weight + i)
        for _ in range(2):
            q.X += dtype.type(0.1)
            q.y[:] = (q.y + 1) % 3
            loss = net.loss_grad(q.params, grad, q.X, q.y, q.sample_weight)
            assert_same_bits((loss, grad), problems.loss_grad(_core, q, isa=isa))
