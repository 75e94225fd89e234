"""The binding's contract: attributes, values out of the ordinary, and what is refused."""

import os
import subprocess
import sys
import threading

import numpy as np
import problems
import pytest
import reference
import scipy.sparse as sp
from problems import assert_same_bits

from fastmlp import _core

# --------------------------------------------------------------------------------------- attributes


def test_module():
    assert set(_core.ISAS) <= set(_core.ALL_ISAS)
    assert len(_core.ISAS) >= 1
    assert isinstance(_core.BUILD_INFO, str)
    assert _core.get_num_threads() >= 1


def test_attributes(dtype, isa):
    p = problems.make([3, 5, 2], 4, dtype)
    net = p.net(_core, optimizer="adam", isa=isa)
    assert net.isa == isa
    assert net.dtype == dtype
    assert net.step == 0
    net.step = 7
    assert net.step == 7


def test_best_isa_is_the_default():
    if "FASTMLP_ISA" in os.environ:
        pytest.skip("FASTMLP_ISA is set")
    assert problems.make([3, 2], 4, np.float64).net(_core).isa == _core.ISAS[0]


def test_step_is_the_t_of_adam(dtype, isa):
    p = problems.make_exact([9, 17, 5], 16, dtype)
    nets = [p.net(_core, optimizer="adam", isa=isa), p.net(reference, optimizer="adam")]
    for net in nets:
        net.step = 12345
        net.train(p.X, p.y, p.sample_weight, np.arange(p.n), p.n, 0.01)
    problems.assert_matches(*(problems.result(net, p, "adam", []) for net in nets), p)


def test_hyperparameters_may_be_any_numbers(isa):
    """NumPy scalars and integers, as grids of a parameter search hold them."""
    p = problems.make([3, 5, 2], 8, np.float64)
    plain = problems.train(_core, p.but(alpha=1.0), ("adam", 0.5), isa=isa, batch_size=4)
    odd = problems.train(
        _core,
        p.but(alpha=np.float32(1), units=tuple(np.array(p.units, np.int32))),
        ("adam", {"beta_1": np.float32(0.5)}),
        isa=isa,
        batch_size=np.int64(4),
        max_rows=np.int32(8),
    )
    assert_same_bits(odd, plain)


# ----------------------------------------------------------------------- values out of the ordinary

SPECIAL = [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-40, 1e-310, 0.0]


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("hidden", problems.HIDDEN)
@pytest.mark.parametrize("out", ["identity", "softmax", "logistic"])
def test_special_values_in_X_stay_in_their_row(out, hidden, sparse, dtype, isa):
    p = problems.make([6, 17, 3], 40, dtype, hidden=hidden, out=out)
    X = p.X.copy()
    odd_rows = np.arange(3, 3 + 4 * len(SPECIAL), 4)
    for row, value in zip(odd_rows, SPECIAL, strict=True):
        with np.errstate(under="ignore", over="ignore"):
            X[row, row % 6] = value
    q = p.but(X=sp.csr_array(X) if sparse else X)
    actual, expected = problems.predict(_core, q, isa=isa), problems.predict(reference, q)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_allclose(
        actual, expected, rtol=1e-4 if dtype == np.float32 else 1e-9, atol=1e-6
    )
    usual = np.setdiff1d(np.arange(p.n), odd_rows)
    if not sparse:
        np.testing.assert_array_equal(actual[usual], problems.predict(_core, p, isa=isa)[usual])


@pytest.mark.parametrize(
    ("hidden", "optimizer"), problems.covering(problems.HIDDEN, problems.OPTIMIZERS), ids=str
)
def test_nan_spreads_as_it_should(optimizer, hidden, dtype, isa):
    """One NaN in the third mini-batch: the losses and parameters show it, nothing hides it."""
    for where in ("X", "y"):
        p = problems.make([6, 17, 3], 40, dtype, hidden=hidden)
        getattr(p, where)[25, 1] = np.nan
        options = {"batch_size": 10}
        before = problems.train(_core, p, optimizer, order=np.arange(20), isa=isa, **options)
        assert all(np.isfinite(P).all() for P in before.params)
        actual = problems.train(_core, p, optimizer, isa=isa, **options)
        expected = problems.train(reference, p, optimizer, **options)
        for (name, a), (_, d) in zip(
            problems.each_array(actual), problems.each_array(expected), strict=True
        ):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(d), err_msg=name)
        assert np.isnan(actual.losses).all()
        loss, grad = problems.loss_grad(_core, p, isa=isa)
        assert np.isnan(loss)
        np.testing.assert_array_equal(np.isnan(grad), np.isnan(problems.loss_grad(reference, p)[1]))


@pytest.mark.parametrize("optimizer", problems.OPTIMIZERS)
@pytest.mark.parametrize("loss", problems.LOSSES)
@pytest.mark.parametrize("value", [1e30, -1e30, 3e38, np.inf, 1e-40])
def test_extreme_values_do_not_crash(value, loss, optimizer, dtype, isa):
    p = problems.make([6, 17, 3], 40, dtype, hidden="relu", loss=loss)
    p.X[::3] = np.array(value).astype(dtype)
    result = problems.train(_core, p, optimizer, batch_size=7, epochs=3, isa=isa)
    assert result.step == 18
    assert problems.predict(_core, p, isa=isa).shape == (40, 3)
    for array in (p.coefs[0], p.intercepts[1]):
        array.flat[0] = value
    problems.train(_core, p, optimizer, batch_size=7, epochs=3, isa=isa)
    problems.predict(_core, p, isa=isa)


def test_subnormal_numbers_count_as_almost_nothing(dtype, isa):
    """Whether they are flushed to zero or not, the result is that of zeros."""
    p = problems.make([6, 17, 3], 40, dtype)
    small = np.finfo(dtype).smallest_subnormal * 3
    p.X[:, 1::2] = small
    p.coefs[1][::2] = -small
    zeros = p.but(X=np.where(np.arange(6) % 2, 0, p.X).astype(dtype))
    zeros.coefs = [p.coefs[0], p.coefs[1].copy()]
    zeros.coefs[1][::2] = 0
    for run in (problems.predict, problems.loss_grad):
        problems.assert_matches(run(_core, p, isa=isa), run(reference, zeros), p)


def subnormals_work():
    """Whether this thread's floating-point unit computes with subnormal numbers."""
    for scalar, factor in ((np.float32(1e-40), 2**-2), (np.float64(1e-310), 2**-3)):
        x = np.full(9, scalar)
        if not ((x * x.dtype.type(factor) > 0).all() and (x * x.dtype.type(1 / factor) > 0).all()):
            return False
    return 5e-324 * float(len("ab")) > 0


def test_floating_point_state_is_restored(dtype, isa):
    """Flush-to-zero, if the engine uses it, ends with the call, however the call ends."""
    assert subnormals_work()
    p = problems.make([64, 150, 10], 400, dtype, loss="log_loss")
    seen = []

    def calls():
        for n_threads in (1, 2):
            how = {"n_threads": n_threads, "isa": isa}
            problems.predict(_core, p, **how)
            seen.append(subnormals_work())
            problems.loss_grad(_core, p, **how)
            seen.append(subnormals_work())
            problems.train(_core, p, "adam", batch_size=200, **how)
            seen.append(subnormals_work())
            with pytest.raises(ZeroDivisionError):
                problems.train(_core, p.but(sample_weight=np.zeros(p.n)), "sgd", **how)
            seen.append(subnormals_work())
            with pytest.raises(ZeroDivisionError):
                problems.loss_grad(_core, p.but(sample_weight=np.zeros(p.n)), **how)
            seen.append(subnormals_work())
            bad = p.but(X=np.full_like(p.X, np.nan))
            assert problems.predict(_core, bad, check_finite=True, **how) is None
            seen.append(subnormals_work())

    calls()
    thread = threading.Thread(target=calls)
    thread.start()
    thread.join()
    # A thread inherits the state of the one that starts it.
    heir = threading.Thread(target=lambda: seen.append(subnormals_work()))
    heir.start()
    heir.join()
    assert len(seen) == 25
    assert all(seen)


@pytest.mark.parametrize(
    "structure", [{}, {"normalization": ("batch", None), "residual": True}], ids=["plain", "all"]
)
def test_state_as_one_vector(structure, dtype, isa):
    p = problems.with_structure(problems.make([4, 7, 5, 2], 12, dtype), **structure)
    net, other = (p.net(_core, optimizer="adam", isa=isa) for _ in range(2))
    assert net.n_slots == 2
    net.train(p.X, p.y, p.sample_weight, np.arange(p.n), 6, 0.01)
    arrays = [np.empty_like(a) for a in [*p.coefs, *p.intercepts]]
    vector, back = np.empty_like(p.params), np.empty_like(p.params)
    for slot in range(2):
        net.store_state(slot, arrays[: len(p.coefs)], arrays[len(p.coefs) :])
        net.store_state(slot, vector)
        np.testing.assert_array_equal(vector, np.concatenate([a.ravel() for a in arrays]))
        other.load_state(slot, vector)
        other.store_state(slot, back)
        np.testing.assert_array_equal(back, vector)
        assert np.any(vector)
    for wrong in (vector[1:], vector[::-1], vector.astype(int), arrays):
        with pytest.raises((*BAD, BufferError)):
            other.load_state(0, wrong)
    other.store_state(1, back)
    np.testing.assert_array_equal(back, vector)


# ------------------------------------------------------------------------------------ check_finite


@pytest.mark.parametrize("X_dtype", [np.float32, np.float64], ids=["X32", "X64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_finite_finds_one_anywhere(value, X_dtype, dtype, isa):
    for n, k in ((1, 1), (1, 37), (5, 3), (31, 17), (300, 9)):
        p = problems.make([k, 4, 2], n, dtype)
        X = p.X.astype(X_dtype)
        assert problems.predict(_core, p.but(X=X), check_finite=True, isa=isa) is not None
        for i, j in {(0, 0), (n - 1, k - 1), (n // 2, k // 2), (n - 1, 0), (n // 3, k - 1)}:
            bad = X.copy()
            bad[i, j] = value
            for variant in (bad, np.asfortranarray(bad), sp.csr_array(bad)):
                q = p.but(X=variant)
                assert problems.predict(_core, q, check_finite=True, isa=isa) is None
                assert problems.predict(_core, q, check_finite=False, isa=isa) is not None


def test_check_finite_with_threads(dtype, isa):
    p = problems.make([50, 64, 10], 4000, dtype)
    for row in (0, 1999, 3999):
        X = p.X.copy()
        X[row, 7] = np.inf
        for n_threads in (1, 2, 3):
            how = {"check_finite": True, "isa": isa, "n_threads": n_threads}
            assert problems.predict(_core, p.but(X=X), **how) is None
            assert problems.predict(_core, p, **how) is not None


def test_check_finite_lets_large_numbers_pass(dtype, isa):
    """Their sum is infinite, they are not."""
    p = problems.make([33, 2], 20, dtype)
    p.X[:] = np.finfo(dtype).max
    assert problems.predict(_core, p, check_finite=True, isa=isa) is not None


def test_check_finite_gives_the_same_bits(dtype, isa):
    p = problems.make([33, 20, 2], 70, dtype)
    np.testing.assert_array_equal(
        problems.predict(_core, p, check_finite=True, isa=isa),
        problems.predict(_core, p, check_finite=False, isa=isa),
    )


@pytest.mark.parametrize("shape", [(1,), (37,), (1, 1), (5, 3), (31, 17), (3, 300)])
def test_all_finite_in_any_layout(shape, dtype, isa):
    a = np.full(tuple(2 * n for n in shape), np.finfo(dtype).max, dtype)
    halves = tuple(slice(None, n) for n in shape)
    reverse = tuple(slice(None, None, -1) for _ in shape)
    strided = tuple(slice(None, None, 2) for _ in shape)
    for part in (halves, strided):
        for view in (a[part], a[part].T, a[part][reverse], np.asfortranarray(a[part])):
            assert _core.all_finite(view, view, isa=isa)
            for at in {(0,) * len(shape), tuple(n // 2 for n in view.shape)}:
                for value in (np.nan, np.inf, -np.inf):
                    kept, view[at] = view[at], value
                    assert not _core.all_finite(view, isa=isa)
                    assert not _core.all_finite(a[:0], np.zeros(2), view, isa=isa)
                    view[at] = kept
    assert _core.all_finite(a[:0], isa=isa)


def test_all_finite_of_other_arrays():
    unaligned = np.zeros(33, np.uint8)[1:].view(np.float64)
    for a in (np.ones(3, np.float16), np.ones(3, ">f8"), np.ones((2, 2), np.longdouble), unaligned):
        assert _core.all_finite(a)
        a.flat[-1] = np.nan
        assert not _core.all_finite(a)
    assert _core.all_finite(np.arange(3), np.ones(2, bool))
    assert _core.all_finite()
    with pytest.raises(ValueError, match="'nonsense'"):
        _core.all_finite(np.ones(3), isa="nonsense")
    for shape in ((), (1, 1, 1)):
        with pytest.raises(ValueError, match="dimensions"):
            _core.all_finite(np.ones(shape))


# ------------------------------------------------------------------------------- weights of zero


def test_weights_that_sum_to_zero(dtype, isa):
    """The mini-batches before have been applied, the one with the zeros has not."""
    p = problems.make([6, 17, 3], 40, dtype, loss="log_loss", labels=True)
    p.sample_weight = np.ones(p.n)
    p.sample_weight[20:30] = 0
    for optimizer in problems.OPTIMIZERS:
        before = problems.train(
            _core, p, optimizer, order=np.arange(20), batch_size=10, isa=isa, max_rows=40
        )
        net = p.net(_core, optimizer=optimizer, isa=isa)
        with pytest.raises(ZeroDivisionError, match="sum to zero"):
            net.train(p.X, p.y, p.sample_weight, np.arange(40), 10, 0.01)
        assert net.step == 2
        assert_same_bits(problems.result(net, p, optimizer, before.losses), before)
    with pytest.raises(ZeroDivisionError, match="sum to zero"):
        problems.loss_grad(_core, p.but(sample_weight=np.zeros(p.n)), isa=isa)


def test_negative_weights(dtype, isa):
    """Nobody forbids them here; +1 and -1 sum to zero."""
    p = problems.make([6, 5, 3], 10, dtype)
    p.sample_weight = np.where(np.arange(10) % 2, 1.0, -1.0)
    with pytest.raises(ZeroDivisionError):
        problems.train(_core, p, "sgd", isa=isa)
    p.sample_weight = np.where(np.arange(10) % 2, 2.0, -1.0)
    actual = problems.train(_core, p, "sgd", isa=isa)
    problems.assert_matches(actual, problems.train(reference, p, "sgd"), p, factor=4)


# ------------------------------------------------------------------------------- extreme weights


def scaled(p, exponent):
    """The same problem, for only ratios of weights count. Exact unless subnormal numbers arise."""
    return p.but(sample_weight=np.ldexp(p.sample_weight, exponent), alpha=p.alpha * 2.0**exponent)


def everything(p, isa, **options):
    """Two mini-batches, the first one of several blocks of rows, on two threads; loss, gradient."""
    how = {"isa": isa, "n_threads": 2, **options}
    yield problems.loss_grad(_core, p, **how)
    for optimizer in _core.OPTIMIZERS:
        yield problems.train(_core, p, optimizer, batch_size=p.n - 100, epochs=2, **how)


@pytest.mark.parametrize("density", [None, 0.3], ids=["dense", "csr"])
@pytest.mark.parametrize("precision", ["f32", "f64", "bf16"])
def test_only_ratios_of_weights_count(precision, density, isa):
    dtype = np.dtype(np.float64 if precision == "f64" else np.float32)
    p = problems.make([30, 70, 3], _core.MAX_BLOCK + 300, dtype, weighted=True, density=density)
    how = {"isa": isa, "bfloat16": precision == "bf16"}
    ordinary = list(everything(p, **how))
    for exponent in (-960, -130, -40, 3, 40, 130, 1020):
        for actual, desired in zip(everything(scaled(p, exponent), **how), ordinary, strict=True):
            assert_same_bits(actual, desired)


@pytest.mark.parametrize("weight", [1e308, 1e36, 1e-41, 1e-308, 1e-320])
def test_extreme_weights(weight, dtype, isa):
    """Their sum overflows, or is lost when subnormal numbers are flushed to zero."""
    p = problems.make([6, 17, 3], 300, dtype, alpha=1.0)
    q = p.but(sample_weight=np.full(p.n, weight), alpha=weight)
    for actual, desired in zip(everything(q, isa), everything(p, isa), strict=True):
        problems.assert_matches(actual, desired, p)


def test_each_mini_batch_has_a_scale_of_its_own(dtype, isa):
    p = problems.make([6, 17, 3], 300, dtype, alpha=0.0)
    ordinary = problems.train(_core, p, "adam", batch_size=100, isa=isa)
    p.sample_weight = np.repeat([1e300, 1e-300, 1.0], 100)
    actual = problems.train(_core, p, "adam", batch_size=100, isa=isa)
    problems.assert_matches(actual, ordinary, p)


def test_epsilon_below_the_normal_numbers(dtype, isa):
    """Where there is no gradient, 0 / epsilon is 0, although subnormal numbers are flushed."""
    p = problems.make([6, 17, 3], 40, dtype, alpha=0.0)
    p.X[:, ::2] = 0
    tiny, normal = (
        problems.train(_core, p, ("adam", {"epsilon": float(epsilon)}), isa=isa)
        for epsilon in (np.finfo(dtype).smallest_subnormal, np.finfo(dtype).tiny)
    )
    assert_same_bits(tiny, normal)
    problems.assert_matches(tiny, problems.train(reference, p, ("adam", {"epsilon": 1e-300})), p)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 40])
@pytest.mark.parametrize(("loss", "size"), [("squared_error", 1e25), ("poisson", 1e38)])
def test_losses_that_overflow_float32(loss, size, n_outputs, bfloat16, isa):
    """Some rows of a vector: their loss is summed in double. The others keep their bits."""
    p = problems.make([6, 17, n_outputs], 43, np.dtype(np.float32), loss=loss)
    p.y[::3] = size * np.linspace(0.5, 1, n_outputs)
    how = {"isa": isa, "bfloat16": bfloat16}
    for run in (problems.loss_grad, lambda *args, **how: problems.train(*args, "sgd", **how)):
        actual, desired = run(_core, p, **how), run(reference, p)
        losses = [
            result[0] if isinstance(result, tuple) else result.losses
            for result in (actual, desired)
        ]
        np.testing.assert_allclose(*losses, rtol=1e-5)
    p = p.but(alpha=0.0)
    alone = problems.loss_grad(_core, p.but(X=p.X[4:5], y=p.y[4:5]), **how)
    weighted = problems.loss_grad(_core, p.but(sample_weight=(np.arange(43) == 4) * 1.0), **how)
    assert weighted[0] == alone[0]


def test_squares_of_weights_that_overflow_float32(isa):
    p = problems.make([130, 40, 3], 20, np.dtype(np.float32))
    for i in range(2):
        q = p.but(coefs=[W.copy() for W in p.coefs], X=np.zeros_like(p.X))
        q.coefs[i][1::2] = np.float32(1e30)
        actual, desired = problems.loss_grad(_core, q, isa=isa), problems.loss_grad(reference, q)
        np.testing.assert_allclose(actual[0], desired[0], rtol=1e-5)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("optimizer", problems.OPTIMIZERS)
@pytest.mark.parametrize("units", [[6, 17, 3], [150, 40, 33]])
def test_state_is_finite(units, optimizer, bfloat16, dtype, isa):
    if bfloat16 and dtype == np.float64:
        return
    p = problems.make(units, 40, dtype)
    net = p.net(_core, optimizer=optimizer, isa=isa, bfloat16=bfloat16)
    assert net.state_is_finite()
    net.train(p.X, p.y, None, np.arange(p.n), p.n, 0.01)
    assert net.state_is_finite()
    for slot in range(problems.n_slots(optimizer)):
        for i in range(4):
            for value in (np.inf, np.nan):
                state = [np.zeros_like(P) for P in [*p.coefs, *p.intercepts]]
                state[i].flat[-1] = value
                net.load_state(slot, state[:2], state[2:])
                assert not net.state_is_finite()
                state[i].flat[-1] = np.finfo(dtype).max
                net.load_state(slot, state[:2], state[2:])
                assert net.state_is_finite()


def test_no_rows_have_no_loss(dtype, isa):
    p = problems.make([6, 5, 3], 10, dtype)
    with pytest.raises((ZeroDivisionError, ValueError)):
        problems.loss_grad(_core, p.but(X=p.X[:0], y=p.y[:0]), isa=isa, max_rows=10)


def test_learning_rate_is_plain_arithmetic(dtype, isa):
    """It is not judged here: NaN makes NaN, as any other arithmetic would."""
    p = problems.make([6, 5, 3], 10, dtype)
    for optimizer in problems.OPTIMIZERS:
        result = problems.train(_core, p, optimizer, learning_rate=np.nan, isa=isa)
        assert all(np.isnan(P).all() for P in result.params)
        assert np.isfinite(result.losses).all()  # the loss before the update


# ----------------------------------------------------------------------------------------- refusals

BAD = (ValueError, TypeError)


def test_refused_networks():
    good = {
        "units": [3, 5, 2],
        "dtype": np.float64,
        "activations": ["relu", "softmax"],
        "loss": "log_loss",
    }
    _core.Net(**good)
    for change in (
        {"units": []},
        {"units": [3]},
        {"units": [3, 0, 2]},
        {"units": [3, -5, 2]},
        {"units": [3, "5", 2]},
        {"units": [3, None, 2]},
        {"units": 7},
        {"units": [3, 5, 5, 2]},
        {"activations": ["relu"]},
        {"activations": ["relu", "relu", "softmax"]},
        {"activations": ["softmax", "softmax"]},
        {"activations": ["exp", "softmax"]},
        {"activations": ["relu", "nope"]},
        {"activations": ["nope", "softmax"]},
        {"activations": ["relu", None]},
        {"activations": [3, "softmax"]},
        {"activations": [("relu", 0.1), "softmax"]},
        {"activations": [("relu", {"slope": 0.1}), "softmax"]},
        {"activations": [(), "softmax"]},
        {"activations": [(["relu"],), "softmax"]},
        {"optimizer": ("adam", 0.9, 0.9, 0.1, 0.1)},
        {"optimizer": ("adam", {"momentum": 0.9})},
        {"optimizer": ("adam", {0: 0.9})},
        {"optimizer": ("adam", "much")},
        {"optimizer": ("adam", None)},
        {"optimizer": ("sgd", {"nesterov": 0.5})},
        {"loss": "nope"},
        {"loss": None},
        {"optimizer": "nope"},
        {"optimizer": "lbfgs"},
        {"dtype": np.int32},
        {"dtype": np.float16},
        {"dtype": object},
        {"dtype": ">f8" if sys.byteorder == "little" else "<f8"},
        {"max_rows": 0},
        {"max_rows": -1},
        {"max_nnz": -1},
        {"alpha": "much"},
        {"isa": "nope"},
        {"isa": 3},
    ):
        with pytest.raises(BAD):
            _core.Net(**good | change)


@pytest.mark.parametrize("name", ["nope", "AVX2 "])
def test_unknown_isa_is_named(name):
    with pytest.raises(ValueError, match=r"(?i)isa"):
        problems.make([3, 2], 4, np.float64).net(_core, isa=name)
    with pytest.raises(ValueError, match=r"(?i)isa"):
        problems.predict(_core, problems.make([3, 2], 4, np.float64), isa=name)


def test_isa_that_the_cpu_lacks():
    p = problems.make([3, 2], 4, np.float64)
    for isa in set(_core.ALL_ISAS) - set(_core.ISAS):
        with pytest.raises(ValueError, match=r"(?i)cpu|machine|processor"):
            p.net(_core, isa=isa)
        with pytest.raises(ValueError, match=r"(?i)cpu|machine|processor"):
            problems.predict(_core, p, isa=isa)


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


USE = """
import numpy as np
from fastmlp import _core
net = _core.Net([2, 1], dtype=np.float64, activations=["identity"], loss="squared_error")
W, b = [np.ones((2, 1))], [np.ones(1)]
assert _core.predict(np.ones((3, 2)), W, b, ["identity"]).sum() == 9
print(net.isa)
"""


def test_isa_from_the_environment():
    for isa in _core.ISAS:
        done = run_python(USE, FASTMLP_ISA=isa)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [isa]


def test_show_config_names_the_isa_in_use():
    for isa in _core.ISAS:
        done = run_python("import fastmlp; fastmlp.show_config()", FASTMLP_ISA=isa)
        assert done.returncode == 0, done.stderr
        rows = dict(line.split(":", 1) for line in done.stdout.splitlines())
        assert rows["kernel set"].split()[0] == rows["for bfloat16"].split()[0] == isa


def test_no_isa_in_the_environment():
    done = run_python(USE, FASTMLP_ISA="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [_core.ISAS[0]]


REFUSED = """
import os
try:
    import fastmlp
except ValueError as error:
    print(error)
os.environ["FASTMLP_ISA"] = "generic"
import fastmlp
assert fastmlp._core.default_isa() == fastmlp._core.default_isa(bfloat16=True) == "generic"
os.environ["FASTMLP_ISA"] = "nope"
assert fastmlp._core.default_isa() == "generic"
"""


@pytest.mark.parametrize("isa", ["nope", *(isa for isa in _core.ALL_ISAS if isa not in _core.ISAS)])
def test_bad_isa_in_the_environment_is_refused_at_import(isa):
    done = run_python(REFUSED, FASTMLP_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert f"{isa!r} (argument isa or environment variable FASTMLP_ISA)" in done.stdout


WRITE_THE_ENVIRONMENT = """
import os, threading, time
import numpy as np
from fastmlp import _core
X, W, b = np.ones((1, 3)), [np.ones((3, 2))], [np.ones(2)]
end = time.monotonic() + 10
def predict():
    while time.monotonic() < end:
        _core.predict(X, W, b, ["identity"])
def write():
    while time.monotonic() < end:
        for i in range(20000):
            os.environ[f"FASTMLP_TEST_{i}"] = "x"
        for i in range(20000):
            del os.environ[f"FASTMLP_TEST_{i}"]
threads = [threading.Thread(target=f) for f in (predict, predict, write)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_predictions_while_the_environment_changes():
    done = run_python(WRITE_THE_ENVIRONMENT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"units": [2**40, 2**40, 1]},
        {"units": [2**31, 2**33, 1]},
        {"units": [2**62, 2]},
        {"units": [2**63, 2]},
        {"units": [2**63 - 1, 1]},
        {"units": [2, 2**63 - 1]},
        {"units": [2**200, 2]},
        {"units": [2**47, 1]},
        {"units": [1, 2**47, 1]},
        {"max_rows": 2**63},
        {"max_nnz": 2**62},
        {"max_nnz": 2**63 - 1},
        {"max_nnz": 2**64},
    ],
    ids=str,
)
def test_sizes_that_no_memory_holds(options, dtype, isa):
    arguments = {"units": [3, 5, 2], **options}
    n_layers = len(arguments["units"]) - 1
    with pytest.raises((MemoryError, ValueError, OverflowError)):
        _core.Net(
            arguments.pop("units"),
            dtype=dtype,
            activations=["identity"] * n_layers,
            loss="squared_error",
            optimizer="adam",
            isa=isa,
            **arguments,
        )


def test_predict_on_more_rows_than_memory_holds(dtype, isa):
    p = problems.make([3, 5, 2], 1, dtype)
    for n in (2**46, 2**58):
        with pytest.raises((MemoryError, ValueError, OverflowError)):
            problems.predict(_core, p.but(X=np.broadcast_to(p.X, (n, 3))), isa=isa)


# ------------------------------------------------------------------------------------------ choices

PARAMETERS = [
    (table, name, parameter)
    for table in ("ACTIVATIONS", "LOSSES", "OPTIMIZERS")
    for name, row in getattr(reference, table).items()
    for parameter in row.parameters
]


def net_of(core, table, choice):
    """A network with this choice of a row."""
    options = {"activations": ["identity"] * 2, "loss": "squared_error"}
    if table == "ACTIVATIONS":
        options["activations"][1 - reference.ACTIVATIONS[choice[0]].hidden] = choice
    else:
        options["loss" if table == "LOSSES" else "optimizer"] = choice
    return core.Net([3, 5, 2], dtype=np.float64, **options)


@pytest.mark.parametrize("core", [_core, reference], ids=["engine", "reference"])
@pytest.mark.parametrize(("table", "name", "parameter"), PARAMETERS)
def test_bounds_of_a_parameter(table, name, parameter, core):
    p = getattr(reference, table)[name].parameters[parameter]
    closed = {"left": "[)", "right": "(]", "both": "[]", "neither": "()"}[p.closed]
    for value, inside in (
        (p.default, True),
        (p.low, closed[0] == "["),
        (p.high, closed[1] == "]"),
        (np.nextafter(p.low, -np.inf), False),
        (np.nextafter(p.high, np.inf) if np.isfinite(p.high) else np.nan, False),
        (np.nan, False),
    ):
        choice = (name, {parameter: value})
        if inside:
            net_of(core, table, choice)
        else:
            with pytest.raises(ValueError, match=rf"{parameter} of .*'{name}'"):
                net_of(core, table, choice)


def test_forms_of_a_choice(isa):
    p = problems.make([3, 5, 2], 8, np.float64)
    for name, row in reference.OPTIMIZERS.items():
        defaults = {key: parameter.default for key, parameter in row.parameters.items()}
        results = [
            problems.train(_core, p, choice, isa=isa, batch_size=3)
            for choice in (name, (name,), (name, {}), (name, *defaults.values()), (name, defaults))
        ]
        for result in results:
            assert_same_bits(result, results[0])
        others = problems.others(row)
        first, *rest = (
            problems.train(_core, p, choice, isa=isa, batch_size=3)
            for choice in ((name, others), (name, *others.values()))
        )
        for result in rest:
            assert_same_bits(result, first)
        assert not others or (first.params[0] != results[0].params[0]).any()


def replaced(sequence, i, value):
    return [*sequence[:i], value, *sequence[i + 1 :]]


def bad_parameters(W, b):
    """(coefs, intercepts) that a network of their units must not accept."""
    other = np.float32 if W[0].dtype == np.float64 else np.float64
    swapped = W[0].dtype.newbyteorder()
    yield W[:-1], b
    yield W, b[:-1]
    yield [*W, W[-1]], b
    yield [], []
    yield replaced(W, 0, W[0].T.copy()), b
    yield replaced(W, 0, W[0][:-1].copy()), b
    yield replaced(W, 1, W[1].ravel()), b
    yield replaced(W, 1, W[1][..., np.newaxis]), b
    yield replaced(W, 0, np.asfortranarray(W[0])), b
    yield replaced(W, 0, W[0].repeat(2, axis=1)[:, ::2]), b
    yield replaced(W, 0, W[0].astype(other)), b
    yield replaced(W, 0, W[0].astype(swapped)), b
    yield replaced(W, 0, W[0].astype(complex)), b
    yield replaced(W, 0, W[0].astype(object)), b
    yield replaced(W, 0, W[0].tolist()), b
    yield replaced(W, 0, None), b
    yield W, replaced(b, 0, b[0][:-1].copy())
    yield W, replaced(b, 0, b[0][np.newaxis])
    yield W, replaced(b, 0, b[0].repeat(2)[::2])
    yield W, replaced(b, 1, b[1].astype(other))
    yield W, replaced(b, 1, None)
    yield None, b


def test_refused_parameters(dtype, isa):
    p = problems.make([4, 5, 2], 6, dtype)
    net = p.net(_core, optimizer="adam", isa=isa)
    for coefs, intercepts in bad_parameters(p.coefs, p.intercepts):
        with pytest.raises((*BAD, AttributeError)):
            net.load_params(coefs, intercepts)
        with pytest.raises((*BAD, AttributeError)):
            net.store_params(coefs, intercepts)
        with pytest.raises((*BAD, AttributeError)):
            net.load_state(0, coefs, intercepts)
        with pytest.raises((*BAD, AttributeError)):
            net.store_state(1, coefs, intercepts)
    fresh = problems.result(p.net(_core, optimizer="adam", isa=isa), p, "adam", [])
    assert_same_bits(problems.result(net, p, "adam", []), fresh)


def test_refused_parameters_of_predict(dtype, isa):
    p = problems.make([4, 5, 2], 6, dtype)
    for coefs, intercepts in bad_parameters(p.coefs, p.intercepts):
        with pytest.raises((*BAD, AttributeError)):
            _core.predict(p.X, coefs, intercepts, p.activations, isa=isa)
    for activations in (["relu"], ["relu"] * 3, ["softmax", "identity"], ["nope", "relu"], None):
        with pytest.raises(BAD):
            _core.predict(p.X, p.coefs, p.intercepts, activations, isa=isa)


def test_store_does_not_write_read_only_arrays(dtype, isa):
    p = problems.make([4, 5, 2], 6, dtype)
    net = p.net(_core, isa=isa)
    p.coefs[0].flags.writeable = False
    with pytest.raises(ValueError, match=r"read-only|writ"):
        net.store_params(p.coefs, p.intercepts)


def test_refused_slots(isa):
    p = problems.make([4, 5, 2], 6, np.float64)
    for optimizer, slots in (("sgd", (-1, 1, 2)), ("adam", (-2, -1, 2, 100)), (None, (-1, 0))):
        net = p.net(_core, optimizer=optimizer, isa=isa)
        for slot in slots:
            with pytest.raises((ValueError, IndexError)):
                net.load_state(slot, p.coefs, p.intercepts)
            with pytest.raises((ValueError, IndexError)):
                net.store_state(slot, p.coefs, p.intercepts)


def bad_X(X):
    yield X[:, :-1]
    yield X[:, :-1].copy()
    yield np.column_stack([X, X])
    yield X[0]
    yield X[np.newaxis]
    yield X.astype(np.int64)
    yield X.astype(np.float16)
    yield X.astype(np.complex128)
    yield X.astype(object)
    yield X.astype(str)
    yield X.astype(X.dtype.newbyteorder())
    yield np.zeros(X.shape, "V0")
    yield np.zeros(X.shape, "M8[s]")
    yield X.tolist()
    yield None
    yield sp.csc_array(X)
    yield sp.coo_array(X)
    yield sp.csr_array(X[:, :-1])
    yield sp.csr_array(X.astype(np.int64))


def malformed_csr(X):
    """CSR matrices whose index arrays point outside; scipy checks none of this by itself."""
    base = sp.csr_array(X)

    def changed(**parts):
        bad = base.copy()
        for name, value in parts.items():
            setattr(bad, name, value)
        return bad

    for i, value in ((0, X.shape[1]), (-1, X.shape[1]), (0, -1), (3, 2**31 - 1), (3, -(2**31))):
        indices = base.indices.copy()
        indices[i] = value
        yield changed(indices=indices)
        yield changed(indices=indices.astype(np.int64), indptr=base.indptr.astype(np.int64))
    for i, value in ((0, -1), (-1, base.nnz + 1), (2, base.nnz + 100), (2, 0), (3, -5)):
        indptr = base.indptr.copy()
        indptr[i] = value
        yield changed(indptr=indptr)
    yield changed(indptr=base.indptr[:-1])
    yield changed(indptr=base.indptr[:0])
    yield changed(indices=base.indices[:-1])
    yield changed(data=base.data[:-1])
    yield changed(indices=base.indices.astype(np.float64))
    yield changed(indptr=base.indptr.astype(np.float64))
    yield changed(indptr=base.indptr.astype(bool))
    yield changed(
        indptr=base.indptr.astype(np.int64) + 2**32
    )  # would be good if cut to the 32 bits of indices
    yield changed(indptr=base.indptr.astype(np.uint64) - np.uint64(1))
    yield changed(indices=base.indices[:, np.newaxis])
    yield changed(data=np.array(1.0, base.dtype))


def bad_targets(p):
    """Targets that a network with several outputs and log_loss must not accept."""
    other = np.float32 if p.dtype == np.float64 else np.float64
    dense = np.eye(p.units[-1], dtype=p.dtype)[p.y]
    labels = p.y
    yield None
    yield dense.tolist()
    yield dense[:-1]
    yield dense[:, :-1].copy()
    yield dense[:, 0].copy()
    yield dense.astype(other)
    yield dense.astype(np.int64)
    yield dense.astype(dense.dtype.newbyteorder())
    yield np.asfortranarray(dense)
    yield dense[..., np.newaxis]
    yield labels[:-1]
    yield labels.astype(np.int64)
    yield labels.astype(np.uint32)
    yield labels.astype(p.dtype)
    yield labels[:, np.newaxis]
    for i, value in ((0, -1), (-1, p.units[-1]), (3, 2**31 - 1), (2, -(2**31))):
        bad = labels.copy()
        bad[i] = value
        yield bad


def bad_weights(w):
    yield w[:-1]
    yield np.append(w, 1)
    yield w[:, np.newaxis]
    yield w.astype(np.float32)
    yield w.astype(np.int64)
    yield w.astype(w.dtype.newbyteorder())
    yield w.tolist()
    yield 1.0


def bad_orders(n):
    yield np.array([0, 1, n])
    yield np.array([-1, 0])
    yield np.array([0, 2**63 - 1])
    yield np.array([0, -(2**63)])
    yield np.arange(n, dtype=np.int32)
    yield np.arange(n, dtype=np.uint64)
    yield np.arange(n, dtype=np.float64)
    yield np.arange(n).astype(np.dtype(np.int64).newbyteorder())
    yield np.arange(n)[:, np.newaxis]
    yield np.arange(n)[::2]
    yield np.array(3)
    yield None


@pytest.fixture
def trainee(dtype, isa):
    p = problems.make([6, 5, 3], 12, dtype, loss="log_loss", labels=True)
    p.sample_weight = np.ones(p.n)
    return p, p.net(_core, optimizer="adam", isa=isa)


def assert_untouched(p, net, isa):
    fresh = problems.result(p.net(_core, optimizer="adam", isa=isa), p, "adam", [])
    assert_same_bits(problems.result(net, p, "adam", []), fresh)
    result = net.train(p.X, p.y, p.sample_weight, np.arange(p.n), 4, 0.01)
    assert np.isfinite(result)


def test_refused_training_data(trainee, isa):
    p, net = trainee
    order = np.arange(p.n)
    grad = np.empty_like(p.params)
    errors = (*BAD, AttributeError)
    for_csr = p.net(_core, optimizer="adam", isa=isa, max_nnz=200)
    for X in (*bad_X(p.X), *malformed_csr(p.X)):
        for either in (net, for_csr):
            with pytest.raises(errors):
                either.train(X, p.y, p.sample_weight, order, 4, 0.01)
            with pytest.raises(errors):
                either.loss_grad(p.params, grad, X, p.y, p.sample_weight)
        with pytest.raises(errors):
            problems.predict(_core, p.but(X=X), isa=isa)
    for either, X in ((net, sp.csr_array(p.X)), (for_csr, p.X)):
        with pytest.raises(BAD):
            either.train(X, p.y, p.sample_weight, order, 4, 0.01)
        with pytest.raises(BAD):
            either.loss_grad(p.params, grad, X, p.y, p.sample_weight)
    for y in bad_targets(p):
        with pytest.raises(errors):
            net.train(p.X, y, p.sample_weight, order, 4, 0.01)
        with pytest.raises(errors):
            net.loss_grad(p.params, grad, p.X, y, p.sample_weight)
    for w in bad_weights(p.sample_weight):
        with pytest.raises(errors):
            net.train(p.X, p.y, w, order, 4, 0.01)
        with pytest.raises(errors):
            net.loss_grad(p.params, grad, p.X, p.y, w)
    for bad in bad_orders(p.n):
        with pytest.raises((*errors, IndexError)):
            net.train(p.X, p.y, p.sample_weight, bad, 4, 0.01)
    for batch_size in (0, -1, -(2**63), 2**64, "4", None):
        with pytest.raises((*BAD, OverflowError)):
            net.train(p.X, p.y, p.sample_weight, order, batch_size, 0.01)
    for learning_rate in ("0.1", None, 1j):
        with pytest.raises(BAD):
            net.train(p.X, p.y, p.sample_weight, order, 4, learning_rate)
    assert_untouched(p, net, isa)


def test_csr_whose_arrays_are_replaced(dtype, isa):
    """A network keeps its data open between calls, but no array that X no longer has."""
    p = problems.make([6, 5, 3], 12, dtype, density=0.4)

    def run(*parts):
        net = p.net(_core, optimizer="adam", isa=isa)
        X = p.X.copy()
        losses = []
        for part in parts:
            for name, value in part.items():
                setattr(X, name, value)
            losses.append(net.train(X, p.y, None, np.arange(p.n), 4, 0.01))
        return problems.result(net, p, "adam", losses)

    doubled = {"data": np.repeat(2 * p.X.data, 2)[::2]}
    moved = {"indices": p.X.indices[::-1]}
    expected = run({"data": 2 * p.X.data}, {"indices": moved["indices"].copy()}, {})
    assert_same_bits(run(doubled, moved, {}), expected)
    assert expected.losses[1] != run(doubled, {}, {}).losses[1]


def test_class_indices_need_log_loss_on_several_outputs(dtype, isa):
    labels = np.zeros(12, np.int32)
    for loss, n_outputs in (("squared_error", 3), ("binary_log_loss", 3), ("log_loss", 1)):
        p = problems.make([6, 5, n_outputs], 12, dtype, loss=loss)
        with pytest.raises(BAD):
            problems.train(_core, p.but(y=labels), "sgd", isa=isa)
        with pytest.raises(BAD):
            problems.loss_grad(_core, p.but(y=labels), isa=isa)


def test_refused_flat_vectors(trainee, isa):
    p, _ = trainee
    net = p.net(_core, isa=isa)
    other = np.float32 if p.dtype == np.float64 else np.float64
    good = p.params
    for bad in (
        good[:-1],
        np.append(good, good[:1]),
        good.astype(other),
        good.repeat(2)[::2],
        good[np.newaxis],
        good.tolist(),
        None,
    ):
        with pytest.raises((*BAD, AttributeError)):
            net.loss_grad(bad, good.copy(), p.X, p.y, None)
        with pytest.raises((*BAD, AttributeError)):
            net.loss_grad(good, bad, p.X, p.y, None)
    frozen = good.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=r"read-only|writ"):
        net.loss_grad(good, frozen, p.X, p.y, None)
    net.loss_grad(frozen, good, p.X, p.y, None)


def test_mini_batches_beyond_what_the_net_was_made_for(dtype, isa):
    p = problems.make([6, 5, 3], 50, dtype)
    with pytest.raises(BAD):
        problems.train(_core, p, "sgd", batch_size=20, max_rows=19, isa=isa)
    q = problems.make([30, 5, 3], 50, dtype, density=0.5)
    batches = np.add.reduceat(np.diff(q.X.indptr), [0, 20, 40])
    for max_nnz in (0, int(batches.max()) - 1):
        with pytest.raises(BAD):
            problems.train(_core, q, "sgd", batch_size=20, max_nnz=max_nnz, isa=isa)
    problems.train(_core, q, "sgd", batch_size=20, max_nnz=int(batches.max()), isa=isa)
    fullest = int(np.diff(q.X.indptr).max())
    with pytest.raises(BAD):
        problems.loss_grad(_core, q, max_nnz=fullest - 1, isa=isa)


def test_a_net_without_optimizer_does_not_train(isa):
    p = problems.make([6, 5, 3], 12, np.float64)
    with pytest.raises((ValueError, RuntimeError)):
        p.net(_core, isa=isa).train(p.X, p.y, None, np.arange(p.n), 4, 0.01)


ABUSE = """
import threading
import numpy as np
from fastmlp import _core

def make(units=(6, 40, 3), optimizer="adam"):
    return _core.Net(units, dtype=np.float64, activations=["relu", "identity"],
                     loss="squared_error", optimizer=optimizer, max_rows=50)

def params(value=0.1):
    return ([np.full((6, 40), value), np.full((40, 3), value)],
            [np.full(40, value), np.full(3, value)])

X, y = np.ones((50, 6)), np.ones((50, 3))
order = np.arange(50)
flat = np.full(6 * 40 + 40 * 3 + 43, 0.1)
"""

NEVER_INITIALISED = """
for use in (
    lambda net: net.isa,
    lambda net: net.dtype,
    lambda net: net.step,
    lambda net: net.load_params(*params()),
    lambda net: net.store_params(*params()),
    lambda net: net.load_state(0, *params()),
    lambda net: net.store_state(0, *params()),
    lambda net: net.train(X, y, None, order, 10, 0.01),
    lambda net: net.loss_grad(flat, flat.copy(), X, y, None),
):
    try:
        use(_core.Net.__new__(_core.Net))
    except Exception:
        pass
"""

FAILED_INITIALISATION = """
class Late(_core.Net):
    def __init__(self, **bad):
        try:
            super().__init__((6, 40, 3), **(dict(dtype=np.float64, loss="squared_error",
                             activations=["relu", "identity"], optimizer="adam") | bad))
        except Exception:
            pass

for bad in (dict(loss="nope"), dict(dtype=int), dict(activations=["relu"]),
            dict(activations=["relu", "nope"]), dict(max_rows=0), dict(isa="nope")):
    for use in (
        lambda net: net.isa,
        lambda net: net.load_params(*params()),
        lambda net: net.train(X, y, None, order, 10, 0.01),
        lambda net: net.loss_grad(flat, flat.copy(), X, y, None),
    ):
        try:
            use(Late(**bad))
        except Exception:
            pass
"""

INITIALISED_TWICE = """
net = make()
try:
    net.__init__((2, 3, 1), dtype=np.float32, activations=["relu", "identity"],
                 loss="squared_error", optimizer="adam", max_rows=2)
except Exception:
    pass
try:
    net.train(X, y, None, order, 10, 0.01)
except ValueError:
    pass
"""

# Each call either waits or is refused.
MANY_THREADS_TRAIN_ONE_NET = """
net, done = make(), []

def train():
    for _ in range(200):
        try:
            net.train(X, y, None, order, 10, 0.001)
            done.append(5)
        except RuntimeError:
            pass

threads = [threading.Thread(target=train) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
assert net.step == sum(done) > 0, (net.step, sum(done))
"""

# Parameters are loaded as one: never half of one call and half of another.
MANY_THREADS_LOAD_ONE_NET = """
import sys
sys.setswitchinterval(1e-5)
units, kinds = (1500, 400, 3), ["relu", "identity"]
net = _core.Net(units, dtype=np.float64, activations=kinds, loss="squared_error")
shapes = [(1500, 400), (400, 3)], [(400,), (3,)]
X, y = np.ones((2, 1500)), np.ones((2, 3))
n_params = 1500 * 400 + 400 * 3 + 403
wrong = []

def arrays(value):
    return [[np.full(shape, value) for shape in part] for part in shapes]

def use(value):
    for _ in range(30):
        try:
            net.load_params(*arrays(value))
            net.loss_grad(np.full(n_params, value), np.empty(n_params), X, y, None)
            out = arrays(-1.0)
            net.store_params(*out)
        except RuntimeError:
            continue
        seen = {v for part in out for a in part for v in (a.min(), a.max())}
        if len(seen) != 1:
            wrong.append(seen)

threads = [threading.Thread(target=use, args=(float(i),)) for i in range(3)]
for t in threads: t.start()
for t in threads: t.join()
assert not wrong, wrong
"""


@pytest.mark.parametrize(
    "code",
    [
        NEVER_INITIALISED,
        FAILED_INITIALISATION,
        INITIALISED_TWICE,
        MANY_THREADS_TRAIN_ONE_NET,
        MANY_THREADS_LOAD_ONE_NET,
    ],
    ids=["never initialised", "failed", "twice", "train", "load"],
)
def test_abuse_does_not_crash(code):
    done = run_python(ABUSE + code + "print('alive')")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["alive"]
