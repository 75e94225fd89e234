"""What a user may hand in: parameters, X, y, sample weights, weights of the network; good and bad.

Whatever scikit-learn refuses is refused with an exception of the same kind, and nearly always in
the same words; whatever it takes gives the same numbers. Nothing crashes, and a call that fails
changes nothing.
"""

import copy
import inspect
import re
import warnings
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
import sklearn.neural_network as original
from sklearn.exceptions import NotFittedError
from versions import needs_1_9

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, _core
from fastmlp._parameters import FAMILIES, members, parameters
from fastmlp._training import lbfgs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = ["MLPClassifier", "MLPRegressor"]
SMALL = {"hidden_layer_sizes": (4, 3), "max_iter": 3, "random_state": 0}

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (30, 4))
y = np.arange(30) % 3
y2 = (y > 0).astype(int)
z = X[:, 0] - X[:, 1] * X[:, 2]
del rng


def make(module, name, **params):
    return getattr(module, name)(**SMALL | params)


def changed(a, i, value):
    a = np.array(a, dtype=np.result_type(a, type(value)))
    a[i] = value
    return a


def outcome(action):
    """What an action returns, or the exception it raises; and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = action()
        except Exception as error:
            result = error
    caught = [(w.category, str(w.message)) for w in caught if w.category is not RuntimeWarning]
    return result, caught


def check_same(action, words=True):
    """Do it with both packages. ``words`` says whether error messages must be equal, too."""
    (ours, our_warnings), (theirs, their_warnings) = (
        outcome(lambda module=module: action(module)) for module in (fastmlp, original)
    )
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), f"scikit-learn refuses it: {theirs!r}"
        # Where scikit-learn stumbles in NumPy, one of NumPy's special classes may come out.
        kinds = {KeyError, ValueError, TypeError, AttributeError, ZeroDivisionError, MemoryError}
        assert kinds & set(type(ours).__mro__) == kinds & set(type(theirs).__mro__)
        # A set of options is printed in any order.
        assert not words or sorted(re.findall(r"\w+|\W", str(ours))) == sorted(
            re.findall(r"\w+|\W", str(theirs))
        )
        assert str(ours)
    else:
        if isinstance(ours, Exception):
            raise ours
        if np.asarray(theirs).dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)
        else:
            np.testing.assert_array_equal(ours, theirs)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
    assert our_warnings == their_warnings


# ------------------------------------------------------------------------------------- interface


@pytest.mark.parametrize("name", BOTH)
def test_constructor_is_scikit_learns_and_more(name):
    ours = list(inspect.signature(getattr(fastmlp, name)).parameters.values())
    theirs = list(inspect.signature(getattr(original, name)).parameters.values())
    assert [(p.name, p.kind, p.default) for p in ours[: len(theirs)]] == [
        (p.name, p.kind, p.default) for p in theirs
    ]
    further = [(p.name, p.kind, p.default) for p in ours[len(theirs) :]]
    assert ("n_jobs", inspect.Parameter.KEYWORD_ONLY, None) in further
    assert further == [
        (n, inspect.Parameter.KEYWORD_ONLY, parameters(name)[n].default) for n, _, _ in further
    ]
    assert all(p.annotation is not p.empty for p in ours)
    assert getattr(fastmlp, name)().get_params().keys() == {p.name for p in ours}


@pytest.mark.parametrize("name", BOTH)
def test_methods_take_what_scikit_learns_take(name):
    ours, theirs = getattr(fastmlp, name), getattr(original, name)
    methods = ["fit", "partial_fit", "predict", "score"]
    methods += ["predict_proba", "predict_log_proba"] * (name == "MLPClassifier")
    for method in methods:
        a = inspect.signature(getattr(ours, method))
        b = inspect.signature(getattr(theirs, method))
        ours_have = [(p.name, p.kind, p.default) for p in a.parameters.values()]
        theirs_have = [(p.name, p.kind, p.default) for p in b.parameters.values()]
        further = ["X_val", "y_val", "sample_weight_val"] * (method in ("fit", "partial_fit"))
        assert ours_have == theirs_have + [
            (name, inspect.Parameter.KEYWORD_ONLY, None) for name in further
        ]


def documented(cls, title):
    """{name: text} of a section of a numpydoc docstring."""
    text = inspect.cleandoc(cls.__doc__)
    section = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.M | re.S)[1]
    entries = re.split(r"^(?=\w+ : )", section, flags=re.M)
    return {e.split(" : ")[0]: e.split(" : ", 1)[1].strip() for e in entries if e.strip()}


def test_docstrings_name_everything_and_do_not_drift_apart():
    for cls in (MLPClassifier, MLPRegressor):
        assert list(documented(cls, "Parameters")) == list(inspect.signature(cls).parameters)
        for name, default in (
            (p.name, p.default) for p in inspect.signature(cls).parameters.values()
        ):
            told = re.search(r"default=(.*?)$", documented(cls, "Parameters")[name], re.M)[1]
            assert eval(told) == default
        fitted = cls(**SMALL, early_stopping=True).fit(X, y)
        public = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
        assert public <= set(documented(cls, "Attributes"))
    ours, others = documented(MLPClassifier, "Parameters"), documented(MLPRegressor, "Parameters")
    differ = {name for name in ours.keys() & others.keys() if ours[name] != others[name]}
    assert differ == {"early_stopping", "scoring", "loss"}  # strata, accuracy or R^2
    assert set(others) - set(ours) == {"out_activation"}


# ------------------------------------------------------------------------------------ parameters

WRONG_PARAMETERS = {
    "hidden_layer_sizes": [0, -1, 2.5, None, 1e3, np.array(3), {3}],
    "activation": ["x", None, 1, "softmax"],
    "solver": ["x", None, "LBFGS"],
    "alpha": [-1, None, "a", np.nan],
    "batch_size": [0, -1, "x", 2.5, None],
    "learning_rate": ["x", None, 0.1],
    "learning_rate_init": [0, -1, "a", np.nan],
    "power_t": [-1, "a"],
    "max_iter": [0, -1, 2.5, "a"],
    "shuffle": ["a", None, 1],
    "random_state": ["a", -1, 2.5, 2**33, np.random.default_rng(0)],
    "tol": [-1, "a"],
    "verbose": [-1, "a", None],
    "warm_start": ["a", 1, None],
    "momentum": [-0.1, 1.1, "a"],
    "nesterovs_momentum": ["a", 1],
    "early_stopping": ["a", 1, None],
    "validation_fraction": [-0.1, 1, 1.5, "a"],
    "beta_1": [-0.1, 1, "a"],
    "beta_2": [-0.1, 1, "a"],
    "epsilon": [0, -1, "a"],
    "n_iter_no_change": [0, -1, 2.5, "a"],
    "max_fun": [0, -1, 2.5, "a"],
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("parameter", WRONG_PARAMETERS)
def test_wrong_parameters(name, parameter):
    for value in WRONG_PARAMETERS[parameter]:
        for _ in range(2):  # what was refused once is not remembered as good
            # Lists are not hashable, NumPy's scalars are no Python numbers: all take another path.
            check_same(
                lambda m, v=value: make(m, name, **{parameter: v}).fit(X, y2).predict(X),
                # Ours names more members, and the objects; strings such as "64-32", "chunks".
                words=parameter not in {*FAMILIES, "hidden_layer_sizes", "shuffle"},
            )


@pytest.mark.parametrize("parameter", FAMILIES)
def test_a_wrong_member_of_a_family_is_told_the_right_ones(parameter):
    function = () if parameter == "learning_rate" else (int,)  # a schedule may be a function
    for value in ("x", None, 1, MLPClassifier(), *function):
        with pytest.raises(ValueError, match=f"The '{parameter}' parameter") as caught:
            make(fastmlp, "MLPRegressor", **{parameter: value}).fit(X, z)
        for member in members("MLPRegressor", parameter):
            assert repr(member) in str(caught.value)


@pytest.mark.parametrize("name", BOTH)
def test_wrong_parameters_of_our_own(name):
    for value in ["a", 2.5, [1]]:
        with pytest.raises(ValueError, match="n_jobs"):
            make(fastmlp, name, n_jobs=value).fit(X, y2)
    with pytest.raises(ValueError, match="n_jobs == 0"):
        make(fastmlp, name, n_jobs=0).fit(X, y2)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": (5, 0)},
        {"hidden_layer_sizes": [-3]},
        {"hidden_layer_sizes": (2.5,)},
        {"hidden_layer_sizes": (3, "4")},
        {"hidden_layer_sizes": [[3]]},
        {"hidden_layer_sizes": True},
        {"hidden_layer_sizes": (True, 2)},
        {"early_stopping": True, "validation_fraction": 0.0},
        {"early_stopping": True, "validation_fraction": 0.99},
        {"early_stopping": True, "validation_fraction": 0.01},
    ],
    ids=str,
)
def test_parameters_that_only_fit_can_refuse(name, params):
    check_same(lambda m: make(m, name, **params).fit(X, y2).predict(X), words=False)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": np.int64(4)},
        {"hidden_layer_sizes": np.array([4, 2], dtype=np.uint8)},
        {"hidden_layer_sizes": range(1, 4)},
        {"alpha": np.float32(0.1), "tol": np.float64(0.5), "max_iter": np.int8(4)},
        {"batch_size": np.int16(7), "n_iter_no_change": np.int64(1), "shuffle": np.False_},
        {"random_state": np.int32(3)},
        {"random_state": np.uint32(2**32 - 1)},
        {"verbose": 0, "momentum": 1, "beta_1": 0, "beta_2": 0, "learning_rate_init": 1},
        {"tol": np.inf},
    ],
    ids=str,
)
def test_unusual_but_good_parameters(name, params):
    for solver in ("adam", "sgd"):
        check_same(lambda m, s=solver: make(m, name, solver=s, **params).fit(X, y2).predict(X))


def test_validation_of_parameters_can_be_switched_off():
    with sklearn.config_context(skip_parameter_validation=True):
        MLPRegressor(**SMALL, tol=-1).fit(X, z)
    with pytest.raises(ValueError, match="tol"):
        MLPRegressor(**SMALL, tol=-1).fit(X, z)


@pytest.mark.parametrize("sizes", [(2**40, 2**40), (2**62,), (2**33, 2**33, 2**33)])
def test_more_parameters_than_can_be_addressed(sizes):
    for estimator, target in ((MLPClassifier(sizes), y), (MLPRegressor("poisson", sizes), y)):
        with pytest.raises((ValueError, MemoryError)):
            estimator.fit(X, target)
        assert not hasattr(estimator, "coefs_")


# ---------------------------------------------------------------------------------- X, y, weights


def _wrong_data():
    nan, inf = changed(X, (3, 2), np.nan), changed(X, (0, 0), np.inf)
    several = np.column_stack([y2, 1 - y2, y > 1])
    return {
        "X-nan": (nan, y),
        "X-inf": (inf, y),
        "X-nan-float32": (nan.astype(np.float32), y),
        "X-nan-fortran": (np.asfortranarray(nan), y),
        "X-huge": (X * np.finfo(float).max, y),
        "X-1d": (X[:, 0], y),
        "X-3d": (X[:, :, None], y),
        "X-empty": (X[:0], y[:0]),
        "X-no-features": (X[:, :0], y),
        "X-none": (None, y),
        "X-string": ("abc", y),
        "X-number": (5, y),
        "X-strings": (np.array([["a", "b"]] * 30), y),
        "X-complex": (X + 1j, y),
        "X-ragged": ([[1, 2], [3]] * 15, y),
        "X-matrix": (np.asmatrix(X), y),
        "X-one-row": (X[:1], y[:1]),
        "X-sparse-nan": (sp.csr_matrix(nan), y),
        "X-sparse-inf": (sp.csc_matrix(inf), y),
        "X-sparse-empty": (sp.csr_matrix((0, 4)), y[:0]),
        "y-none": (X, None),
        "y-short": (X, y[:-1]),
        "y-number": (X, 3),
        "y-dict": (X, {"a": 1}),
        "y-set": (X, {1, 2}),
        "y-3d": (X, y[:, None, None]),
        "y-column": (X, y[:, None]),
        "y-continuous": (X, z),
        "y-nan": (X, changed(z, 3, np.nan)),
        "y-inf": (X, changed(z, 3, np.inf)),
        "y-complex": (X, z + 1j),
        "y-ragged": (X, [[1, 2], [3]] * 15),
        "y-outputs": (X, np.column_stack([y, y, y])),
        "y-continuous-outputs": (X, np.column_stack([z, z])),
        "y-mixed": (X, np.array(["a", 1] * 15, dtype=object)),
        "y-sparse-column": (X, sp.csr_matrix(y[:, None])),
        "y-sequences": (X, [[1, 2], [2]] * 15),
        "y-huge": (X, changed(z, 0, 1e300)),
        "y-bool-list": (X, [bool(v) for v in y2]),
        "y-labels-2d": (X, several),
    }


WRONG_DATA = _wrong_data()


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("what", WRONG_DATA)
def test_data(name, solver, what):
    data, target = WRONG_DATA[what]
    check_same(lambda m: make(m, name, solver=solver).fit(data, target).predict(X[:3]))


@pytest.mark.parametrize("kind", ["U", "S", "M8[s]"])
def test_regression_on_no_numbers(kind):
    check_same(lambda m: m.MLPRegressor(**SMALL).fit(X, y.astype(kind)), words=False)


def test_regression_on_sparse_y():
    check_same(lambda m: m.MLPRegressor(**SMALL).fit(X, sp.csr_matrix(X)), words=False)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("what", [k for k in WRONG_DATA if k.startswith("X")])
def test_data_to_predict(name, what):
    data, _ = WRONG_DATA[what]
    check_same(lambda m: make(m, name).fit(X, y).predict(data))
    if name == "MLPClassifier":
        check_same(lambda m: make(m, name).fit(X, y).predict_proba(data))


@pytest.mark.parametrize("name", BOTH)
def test_width_of_data_to_predict(name):
    for data in (X[:, :3], np.c_[X, X], sp.csr_matrix(X[:, :3]), X[:, :3].tolist()):
        check_same(lambda m, d=data: make(m, name).fit(X, y).predict(d))
        check_same(lambda m, d=data: make(m, name).fit(X, y2).partial_fit(d, y2).predict(X))


WEIGHTS = {
    "negative": -np.ones(30),
    "some-negative": np.r_[-np.ones(10), np.ones(20)],
    "sum-zero": np.r_[-np.ones(15), np.ones(15)],
    "zero": np.zeros(30),
    "batch-zero": np.r_[np.zeros(15), np.ones(15)],
    "nan": np.full(30, np.nan),
    "inf": np.full(30, np.inf),
    "tiny": np.full(30, 1e-300),
    "short": np.ones(29),
    "2d": np.ones((30, 1)),
    "string": "abc",
    "strings": np.full(30, "1"),
    "complex": np.ones(30) * 1j,
    "objects": np.ones(30, dtype=object),
    "bool": y > 0,
    "number": 3,
    "number-zero": 0,
    "list": [1, 2, 3] * 10,
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "weights",
    [pytest.param(w, marks=needs_1_9) if w in ("zero", "number-zero") else w for w in WEIGHTS],
)
def test_sample_weights(name, weights):
    w = WEIGHTS[weights]
    for params in (
        {"batch_size": 5, "shuffle": False},
        {"solver": "sgd", "early_stopping": True, "validation_fraction": 0.2},
        {"solver": "lbfgs"},
    ):
        check_same(lambda m, p=params: make(m, name, **p).fit(X, y2, sample_weight=w).predict(X))


@pytest.mark.parametrize("weight", [1e308, 1e36, 1e-41, 1e-308, 1e-320])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": True, "validation_fraction": 0.2},
        {"solver": "sgd", "precision": "bfloat16"},
        {"solver": "lbfgs"},
    ],
    ids=["adam", "sgd", "lbfgs"],
)
def test_equal_weights_are_no_weights(name, params, dtype, weight, monkeypatch):
    """However large or small, in the fit, its losses and its scores."""
    monkeypatch.setattr(lbfgs, "LBFGS_ROWS", 8)
    monkeypatch.setattr(lbfgs, "LBFGS_FLOPS", 1.0)  # a piece for every 8 rows
    results = []
    for w in (None, np.full(30, weight)):
        estimator = make(fastmlp, name, alpha=0.0, batch_size=7, **params)
        target = z if name == "MLPRegressor" else y2
        data = sp.csr_array(X.astype(dtype)) if weight == 1e36 else X.astype(dtype)
        estimator.fit(data, target, sample_weight=w)
        results.append([estimator.loss_, estimator.predict(X).astype(float)])
        if params.get("early_stopping"):
            results[-1] += [estimator.loss_curve_, estimator.validation_scores_]
            continue
        if name == "MLPRegressor" or params["solver"] != "lbfgs":
            estimator.partial_fit(data, target, sample_weight=w)
            results[-1] += [estimator.predict(X).astype(float)]
    for actual, desired in zip(*results, strict=True):
        np.testing.assert_allclose(actual, desired, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ratio", [1e-300, 1e-30, 0.0])
def test_pieces_for_lbfgs_of_hardly_any_weight(ratio, monkeypatch):
    monkeypatch.setattr(lbfgs, "LBFGS_ROWS", 8)
    weights = np.ones(30)
    weights[:8] = weights[24:] = ratio
    results = []
    for flops in (1.0, 1e9):  # a piece for every 8 rows, or one for all
        monkeypatch.setattr(lbfgs, "LBFGS_FLOPS", flops)
        estimator = make(fastmlp, "MLPRegressor", solver="lbfgs")
        estimator.fit(X.astype(np.float32), z, sample_weight=weights)
        results.append(estimator.predict(X))
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4)


def _calls():
    several = np.column_stack([y2, 1 - y2, y > 1]).astype(int)
    three = [0, 1, 2]
    return {
        "no-classes": [(X, y)],
        "good": [(X, y, None, three), (X, y2)],
        "unseen": [(X, y2, None, [0, 1]), (X, y)],
        "changed": [(X, y2, None, [0, 1]), (X, y2, None, [0, 2])],
        "width": [(X, y, None, three), (X[:, :2], y)],
        "string": [(X, y, None, "abc")],
        "continuous": [(X, y, None, [0.5, 1.5])],
        "other-kind": [(X, y, None, ["a", "b"])],
        "single": [(X, y2 * 0, None, [0]), (X, y2 * 0)],
        "unsorted": [(X, y, None, [2, 0, 1])],
        "repeated": [(X, y, None, [2, 0, 1, 1])],
        "empty": [(X, y, None, [])],
        "2d": [(X, y, None, [[0, 1], [1, 0]])],
        "set": [(X, y, None, set(three))],
        "floats": [(X, y * 1.0, None, three)],
        "int8": [(X, y.astype(np.int8), None, [0, 1, 2, 300])],
        "strings": [(X, np.array(["a", "b", "c"])[y], None, ["a", "b", "c", "long"])],
        "indicator": [(X, several, None, three), (X, several), (X, y)],
        "indicator-other-classes": [(X, several, None, ["a", "b", "c"])],
        "indicator-more-classes": [(X, several, None, [0, 1, 2, 3])],
        "then-indicator": [(X, y, None, three), (X, several)],
    }


CALLS = _calls()


@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize("warm_start", [False, True])
def test_classes_of_partial_fit(calls, warm_start):
    def act(module):
        estimator = module.MLPClassifier(**SMALL, warm_start=warm_start)
        for arguments in CALLS[calls]:
            estimator.partial_fit(*arguments)
        return estimator.predict_proba(X)

    check_same(act)


@pytest.mark.parametrize("then", [np.column_stack([z, z]), np.column_stack([z, z, z])])
def test_number_of_outputs_is_kept(then):
    """scikit-learn spreads a single output over several, or fails in NumPy."""
    for first, second in ((z, then), (then, z), (then, then[:, :1])):
        estimator = MLPRegressor(**SMALL, warm_start=True).fit(X, first)
        before = estimator.predict(X)
        for method in (estimator.fit, estimator.partial_fit):
            with pytest.raises(ValueError, match=r"y has \d outputs?, but the network .* has \d"):
                method(X, second)
        np.testing.assert_array_equal(estimator.predict(X), before)


def test_other_hidden_layers_need_a_new_fit():
    estimator = MLPRegressor(**SMALL, warm_start=True).fit(X, z)
    with pytest.raises(ValueError, match=r"asks for 1 hidden layers, .* has 2"):
        estimator.set_params(hidden_layer_sizes=5).fit(X, z)
    estimator.set_params(warm_start=False).fit(X, z)
    assert len(estimator.coefs_) == 2


def test_not_fitted():
    for estimator in (MLPClassifier(), MLPRegressor()):
        for method in ("predict", "predict_proba", "predict_log_proba"):
            if hasattr(estimator, method):
                with pytest.raises(NotFittedError, match="not fitted yet"):
                    getattr(estimator, method)(X)
    estimator = MLPRegressor(**SMALL).fit(X, z)
    del estimator.coefs_
    with pytest.raises(NotFittedError):
        estimator.predict(X)


def test_no_partial_fit_of_a_classifier_by_lbfgs():
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit(X, y, classes=[0, 1, 2])


def test_finiteness_may_be_assumed():
    """Then NaN gets through, as in scikit-learn."""
    data = changed(X, (3, 2), np.nan)
    for name in BOTH:
        with sklearn.config_context(assume_finite=True):
            check_same(lambda m, n=name: make(m, n).fit(X, y2).predict(data))
            check_same(lambda m, n=name: make(m, n).fit(data, y2).predict(X))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_arguments_are_not_changed(form):
    data, weights = form(X), np.linspace(0, 1, 30)
    several = np.column_stack([y2, 1 - y2])
    for target, cls in ((y, MLPClassifier), (several, MLPClassifier), (z, MLPRegressor)):
        for solver in ("adam", "lbfgs"):
            given = [data, target, weights]
            kept = copy.deepcopy(given)
            for a in (target, weights, *([data] if isinstance(data, np.ndarray) else [])):
                a.flags.writeable = False
            estimator = cls(**SMALL, solver=solver, early_stopping=True).fit(*given)
            estimator.predict(data)
            for a in (target, weights, *([data] if isinstance(data, np.ndarray) else [])):
                a.flags.writeable = True
            for a, b in zip(given, kept, strict=True):
                if sp.issparse(a):
                    a, b = a.toarray(), b.toarray()
                np.testing.assert_array_equal(a, b)


def test_memory_mapped_data(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = MLPRegressor(**SMALL).fit(X, z)
    estimator = MLPRegressor(**SMALL).fit(mapped, z)
    np.testing.assert_array_equal(estimator.predict(mapped), expected.predict(X))


def test_misaligned_data():
    record = np.zeros(30, dtype=np.dtype([("a", "i1"), ("x", "f8", 4)]))
    record["x"] = X
    assert not record["x"].flags.aligned
    expected = MLPRegressor(**SMALL).fit(X, z)
    estimator = MLPRegressor(**SMALL).fit(record["x"], z)
    np.testing.assert_array_equal(estimator.predict(record["x"]), expected.predict(X))


# ---------------------------------------------------------------------------------- CSR matrices


@pytest.mark.skipif("reference" in _core.ISAS, reason="the reference makes batches dense")
def test_sparse_data_stay_sparse():
    """As a dense array this X had 3 TB."""
    n_samples, n_features = 2_000_000, 200_000
    columns = np.arange(n_samples) % n_features
    data = sp.csr_matrix(
        (np.ones(n_samples), columns, np.arange(n_samples + 1)), (n_samples, n_features)
    )
    target = (columns % 2).astype(float)
    for container in (data, data[:20_000].tocsc()):
        estimator = MLPRegressor(
            hidden_layer_sizes=2, max_iter=1, batch_size=100_000, random_state=0
        )
        estimator.fit(container, target[: container.shape[0]])
        assert estimator.predict(container).shape == (container.shape[0],)


def broken(what):
    data = sp.csr_matrix(X)
    if what == "column too large":
        data.indices[7] = 4
    elif what == "column far too large":
        data.indices[7] = 2**31 - 1
    elif what == "column negative":
        data.indices[7] = -1
    elif what == "indptr falls":
        data.indptr[5] = data.indptr[7]
    elif what == "indptr too large":
        data.indptr[-1] += 10
    elif what == "indptr negative":
        data.indptr[0] = -4
    elif what == "indices short":
        data.indices = data.indices[:-9]
    return data


@pytest.mark.skipif("reference" in _core.ISAS, reason="a matter of the engine")
@pytest.mark.parametrize(
    "what",
    [
        "column too large",
        "column far too large",
        "column negative",
        "indptr falls",
        "indptr too large",
        "indptr negative",
        "indices short",
    ],
)
def test_broken_csr(what):
    fitted = MLPRegressor(**SMALL).fit(X, z)
    for action in (
        lambda data: MLPRegressor(**SMALL).fit(data, z),
        lambda data: MLPRegressor(**SMALL, batch_size=5, early_stopping=True).fit(data, z),
        lambda data: MLPRegressor(**SMALL, solver="lbfgs").fit(data, z),
        lambda data: fitted.predict(data),
        lambda data: fitted.partial_fit(data, z),
    ):
        with pytest.raises((ValueError, IndexError)):
            action(broken(what))


def every_other(a):
    wide = np.full(2 * len(a), 99, a.dtype)
    wide[::2] = a
    return wide[::2]


def misaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype)
    raw[:] = a
    return raw


LAYOUTS = {"every other": every_other, "backwards": lambda a: a[::-1].copy()[::-1]}
LAYOUTS |= {"misaligned": misaligned}
INTEGERS = [">i4", ">i8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
CONVERSIONS = {t: lambda a, t=t: a.astype(t) for t in INTEGERS}


@pytest.mark.parametrize(
    ("part", "what"),
    [*product(["data", "indices", "indptr"], LAYOUTS), *product(["indices", "indptr"], INTEGERS)],
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_csr_of_unusual_arrays(part, what, solver):
    """scipy keeps arrays of any stride and, when they are replaced, of any integer type."""
    unusual = sp.csr_matrix(X)
    setattr(unusual, part, (LAYOUTS | CONVERSIONS)[what](getattr(unusual, part)))
    params = SMALL | {"solver": solver, "early_stopping": solver == "adam", "batch_size": 7}
    estimator, expected = MLPRegressor(**params), MLPRegressor(**params)
    for data, target in ((unusual, estimator), (sp.csr_matrix(X), expected)):
        target.fit(data, z).set_params(early_stopping=False).partial_fit(data, z)
    for a, b in zip(estimator.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(estimator.predict(unusual), expected.predict(sp.csr_matrix(X)))


@pytest.mark.parametrize("part", ["indices", "indptr"])
@pytest.mark.parametrize("dtype", [bool, np.float64, object])
def test_csr_of_no_integers(part, dtype):
    unusual = sp.csr_matrix(X)
    setattr(unusual, part, getattr(unusual, part).astype(dtype))
    with pytest.raises((TypeError, ValueError)):
        MLPRegressor(**SMALL).fit(unusual, z)
    with pytest.raises((TypeError, ValueError)):
        MLPRegressor(**SMALL).fit(X, z).predict(unusual)


# ---------------------------------------------------------------------------- coefs_, intercepts_


def fitted(name=None, dtype=np.float64, **params):
    return make(fastmlp, name or "MLPRegressor", **params).fit(
        X.astype(dtype), z if name is None else y
    )


WRONG_WEIGHTS = {
    # edit of (coefs_, intercepts_), expected message
    "rows": (lambda c, b: c.__setitem__(0, np.zeros((5, 4))), r"coefs_\[0\].*\(5, 4\).*\(4, 4\)"),
    "columns": (
        lambda c, b: c.__setitem__(0, np.zeros((4, 9))),
        r"coefs_\[0\].*\(4, 9\).*\(4, 4\)",
    ),
    "middle": (lambda c, b: c.__setitem__(1, np.zeros((7, 9))), r"coefs_\[1\].*\(7, 9\).*\(4, 3\)"),
    "transposed": (lambda c, b: c.__setitem__(1, c[1].T), r"coefs_\[1\].*\(3, 4\).*\(4, 3\)"),
    "outputs": (
        lambda c, b: c.__setitem__(2, np.zeros((3, 2))),
        r"coefs_\[2\].*\(3, 2\).*\(3, 1\)",
    ),
    "flat": (lambda c, b: c.__setitem__(1, c[1].ravel()), r"coefs_\[1\].*\(12,\).*\(4, 3\)"),
    "3d": (lambda c, b: c.__setitem__(1, c[1][None]), r"coefs_\[1\].*\(1, 4, 3\).*\(4, 3\)"),
    "0d": (lambda c, b: c.__setitem__(1, np.array(0.0)), r"coefs_\[1\].*\(\).*\(4, 3\)"),
    "bias": (lambda c, b: b.__setitem__(0, np.zeros(9)), r"intercepts_\[0\].*\(9,\).*\(4,\)"),
    "last-bias": (lambda c, b: b.__setitem__(2, np.zeros(3)), r"intercepts_\[2\].*\(3,\).*\(1,\)"),
    "bias-2d": (
        lambda c, b: b.__setitem__(1, np.zeros((1, 3))),
        r"intercepts_\[1\].*\(1, 3\).*\(3,\)",
    ),
    "empty": (lambda c, b: c.__setitem__(1, np.zeros((0, 0))), r"coefs_\[1\].*\(0, 0\).*\(4, 3\)"),
    "int": (lambda c, b: c.__setitem__(1, c[1].astype(int)), r"coefs_\[1\].*float64.*int64"),
    "object": (lambda c, b: c.__setitem__(1, c[1].astype(object)), r"coefs_\[1\].*object"),
    "complex": (lambda c, b: b.__setitem__(1, b[1] + 0j), r"intercepts_\[1\].*complex128"),
    "float16": (lambda c, b: b.__setitem__(1, b[1].astype("f2")), r"intercepts_\[1\].*float16"),
    "string": (lambda c, b: c.__setitem__(0, "abc"), r"coefs_\[0\].*str"),
    "none": (lambda c, b: c.__setitem__(0, None), r"coefs_\[0\].*NoneType"),
    "list": (lambda c, b: c.__setitem__(0, c[0].tolist()), r"coefs_\[0\].*list"),
    "sparse": (lambda c, b: c.__setitem__(0, sp.csr_matrix(c[0])), r"coefs_\[0\].*csr_matrix"),
    "fewer": (lambda c, b: c.pop(), r"coefs_ must be a list of 3 arrays"),
    "more": (lambda c, b: b.append(b[0]), r"intercepts_ must be a list of 3 arrays"),
    "nothing": (lambda c, b: c.clear(), r"coefs_ must be a list of 3 arrays"),
}


@pytest.mark.parametrize("what", WRONG_WEIGHTS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_wrong_weights(what, solver):
    edit, message = WRONG_WEIGHTS[what]
    estimator = fitted(solver=solver, warm_start=True)
    edit(estimator.coefs_, estimator.intercepts_)
    for data in (X, X.astype(np.float32), sp.csr_matrix(X), X[:1], X.tolist()):
        with pytest.raises(ValueError, match=message):
            estimator.predict(data)
    for method in (estimator.partial_fit, estimator.fit):
        with pytest.raises(ValueError, match=message):
            method(X, z)
    with pytest.raises(ValueError, match=message):
        estimator.score(X, z)


@pytest.mark.parametrize("value", [None, 5, "abc", np.zeros((3, 4, 4)), {}])
def test_weights_that_are_no_lists(value):
    for name in ("coefs_", "intercepts_"):
        estimator = fitted()
        setattr(estimator, name, value)
        for action in (lambda e=estimator: e.predict(X), lambda e=estimator: e.partial_fit(X, z)):
            with pytest.raises(ValueError, match=f"{name} must be a list of 3 arrays"):
                action()


def test_non_finite_weights_predict_nan():
    for value in (np.nan, np.inf):
        for name in BOTH:

            def act(module, name=name, value=value):
                estimator = make(module, name).fit(X, y)
                estimator.coefs_[1][:] = value
                return estimator.predict(X[:1]) if name == "MLPClassifier" else estimator.predict(X)

            check_same(act)


EDITS = {
    "in-place": lambda e: e.coefs_[0].__imul__(0.5),
    "one-number": lambda e: e.coefs_[1].__setitem__((0, 0), 2.0),
    "bias": lambda e: e.intercepts_[2].__iadd__(1.0),
    "element": lambda e: e.coefs_.__setitem__(1, e.coefs_[1] + 0.25),
    "lists": lambda e: vars(e).update(
        coefs_=[W * 0.5 for W in e.coefs_], intercepts_=[b + 0.1 for b in e.intercepts_]
    ),
    "fortran": lambda e: vars(e).update(coefs_=[np.asfortranarray(W) for W in e.coefs_]),
    "strided": lambda e: vars(e).update(coefs_=[np.repeat(W, 2, 1)[:, ::2] for W in e.coefs_]),
    "backwards": lambda e: vars(e).update(intercepts_=[b[::-1] for b in e.intercepts_]),
    "float32": lambda e: vars(e).update(coefs_=[W.astype(np.float32) for W in e.coefs_]),
    "some-float32": lambda e: e.coefs_.__setitem__(1, e.coefs_[1].astype(np.float32)),
    "copies": lambda e: vars(e).update(coefs_=copy.deepcopy(e.coefs_)),
    "other-widths": lambda e: vars(e).update(
        coefs_=[np.full((4, 6), 0.1), np.eye(6, 2), np.ones((2, 1))],
        intercepts_=[np.linspace(0, 1, 6), np.zeros(2), np.zeros(1)],
    ),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("edit", EDITS)
def test_edited_weights_are_honoured(edit, dtype):
    """In predictions, in further calls of partial_fit, and in warm starts."""
    data = X.astype(dtype)
    results = []
    for module in (fastmlp, original):
        estimator = make(module, "MLPRegressor", warm_start=True, max_iter=2).fit(data, z)
        if edit != "other-widths":
            estimator.partial_fit(data, z)
        EDITS[edit](estimator)
        outputs = [estimator.predict(data)]
        if edit == "other-widths":
            del estimator._optimizer  # its state has the old widths
        estimator.partial_fit(data, z)
        outputs.append(estimator.predict(data))
        if edit != "other-widths":
            EDITS[edit](estimator)
        outputs.append(estimator.partial_fit(data, z).predict(data))
        outputs.append(estimator.fit(data, z).predict(data))
        results.append(outputs)
    single = dtype == np.float32 or "float32" in edit
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3 if single else 1e-9, atol=1e-5 * single)
        assert a.dtype == b.dtype


def test_state_of_the_solver_must_fit_the_weights():
    estimator = fitted().partial_fit(X, z)
    EDITS["other-widths"](estimator)
    with pytest.raises(ValueError, match=r"layers of \[4, 4, 3, 1\] units.*\[4, 6, 2, 1\]"):
        estimator.partial_fit(X, z)


@pytest.mark.parametrize("make_list", [list, tuple])
def test_read_only_weights_can_be_trained_on(make_list):
    estimator = fitted()
    expected = fitted().partial_fit(X, z)
    for a in (*estimator.coefs_, *estimator.intercepts_):
        a.flags.writeable = False
    estimator.coefs_ = make_list(estimator.coefs_)
    np.testing.assert_array_equal(estimator.partial_fit(X, z).predict(X), expected.predict(X))
    assert all(W.flags.writeable for W in estimator.coefs_)


def test_weights_are_trained_in_place():
    """As in scikit-learn: who holds an array of coefs_ sees it move."""
    estimator = fitted(warm_start=True)
    held = [*estimator.coefs_, *estimator.intercepts_]
    for method in (estimator.partial_fit, estimator.fit):
        before = [a.copy() for a in held]
        method(X, z)
        now = [*estimator.coefs_, *estimator.intercepts_]
        assert all(a is b for a, b in zip(held, now, strict=True))
        assert all((a != b).any() for a, b in zip(held, before, strict=True))
    estimator.set_params(warm_start=False).fit(X, z)
    now = [*estimator.coefs_, *estimator.intercepts_]
    assert not any(np.shares_memory(a, b) for a, b in zip(held, now, strict=True))


# --------------------------------------------------------------------------------- mixed dtypes

DTYPES = ["float64", "float32", "float16", "int8", "int32", "int64", "uint64", "bool", ">f8", ">f4"]
DTYPES += ["longdouble", "object"]


@pytest.mark.parametrize("trained", [np.float64, np.float32])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOTH)
def test_dtype_of_predictions(name, dtype, trained):
    """With the same weights: scikit-learn's dtype and numbers."""
    theirs = make(original, name).fit(X.astype(trained), y)
    ours = make(fastmlp, name).fit(X.astype(trained), y)
    ours.coefs_, ours.intercepts_ = theirs.coefs_, theirs.intercepts_
    data = (X * 5).astype(dtype)
    method = "predict" if name == "MLPRegressor" else "predict_proba"
    for form in (np.asarray, *([sp.csr_matrix] if dtype in DTYPES[:2] + DTYPES[3:6] else [])):
        a, b = getattr(ours, method)(form(data)), getattr(theirs, method)(form(data))
        np.testing.assert_allclose(a, b, rtol=1e-5 if b.dtype == np.float32 else 1e-12)
        assert a.dtype == (b.dtype if dtype != "longdouble" else np.float64)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("first", ["float64", "float32", "int64"])
@pytest.mark.parametrize("second", ["float64", "float32", "int64"])
@pytest.mark.parametrize("name", BOTH)
def test_dtype_of_weights_after_both(name, first, second, solver):
    """fit with one dtype, warm start or partial_fit with another."""
    results = []
    for module in (fastmlp, original):
        estimator = make(module, name, solver=solver, warm_start=True)
        estimator.fit((X * 3).astype(first), y)
        estimator.fit((X * 3).astype(second), y)
        if solver != "lbfgs":
            estimator.partial_fit((X * 3).astype(second), y)
            estimator.partial_fit((X * 3).astype(first), y)
        results.append(estimator)
    ours, theirs = results
    single = "float32" in (first, second)
    for a, b in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(
            a, b, rtol=1e-3 if single else 1e-6, atol=1e-4 if single else 1e-9
        )


# ------------------------------------------------------------------------- failures change nothing


def snapshot(estimator):
    """A deep copy of everything but the engine's objects."""
    return copy.deepcopy({k: v for k, v in vars(estimator).items() if k != "_session"})


def assert_unchanged(estimator, before):
    now = snapshot(estimator)
    assert now.keys() == before.keys()
    for name, value in before.items():
        if name == "_label_binarizer":
            np.testing.assert_array_equal(now[name].classes_, value.classes_)
        else:
            np.testing.assert_equal(now[name], value, err_msg=name)


def with_params(estimator, params):
    """Fit with other parameters, which are taken back afterwards."""
    kept = estimator.get_params()
    try:
        estimator.set_params(**params).fit(X, y)
    finally:
        estimator.set_params(**kept)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("warm_start", [False, True])
def test_failed_fit_changes_nothing(name, solver, warm_start):
    nan = changed(X, (3, 2), np.nan)
    failures = {
        "X": lambda e: e.fit(nan, y),
        "other width, bad y": lambda e: e.fit(X[:, :2], changed(z, 0, np.nan)),
        "length": lambda e: e.fit(X, y[:-1]),
        "weights": lambda e: e.fit(X, y, np.ones(3)),
        "classes": lambda e: e.fit(X, changed(z, 0, np.nan)),
        "parameter": lambda e: with_params(e, {"alpha": -1}),
        "batch": lambda e: e.fit(X, y, np.r_[np.zeros(29), 1.0] * 0),
    }
    if solver != "lbfgs":
        split = {"early_stopping": True, "validation_fraction": 0.01}
        failures["split"] = lambda e: with_params(e, split)
    fitted = make(fastmlp, name, solver=solver, warm_start=warm_start).fit(X, y)
    fresh = make(fastmlp, name, solver=solver, warm_start=warm_start)
    for what, fail in failures.items():
        for estimator in (fitted, fresh):
            before = snapshot(estimator)
            with pytest.raises(ValueError, match=r"\w"):
                fail(estimator)
            assert_unchanged(estimator, before)
            assert hasattr(estimator, "coefs_") == (estimator is fitted), what
    expected = make(fastmlp, name, solver=solver, warm_start=warm_start).fit(X, y).predict(X)
    np.testing.assert_array_equal(fitted.predict(X), expected)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("where", ["lowest", "around zero", "highest", "far apart"])
def test_integer_labels(dtype, where):
    rng = np.random.default_rng(0)
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    labels = {
        "lowest": [low, low + 1, min(low + 3, high)],
        "around zero": [max(low, -2), 0, 1],
        "highest": [max(high - 7, low), high - 1, high],
        "far apart": [low, high],
    }[where]
    y = np.array(labels, dtype=dtype)[rng.integers(len(labels), size=40)]
    X = rng.standard_normal((len(y), 3))
    ours = MLPClassifier(max_iter=2, random_state=0).fit(X, y)
    theirs = original.MLPClassifier(max_iter=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.classes_.dtype == theirs.classes_.dtype
    np.testing.assert_allclose(ours.loss_, theirs.loss_)


def test_failed_first_partial_fit_leaves_no_classes():
    estimator = MLPClassifier(**SMALL)
    with pytest.raises(ValueError, match="NaN"):
        estimator.partial_fit(changed(X, (0, 0), np.nan), y, classes=[0, 1, 2])
    assert not hasattr(estimator, "classes_")
    estimator.partial_fit(X, y + 5, classes=[5, 6, 7])


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_training_that_fails_halfway(solver):
    """A fit from scratch is undone; of a partial_fit the batches before the bad one count."""
    weights = np.r_[np.ones(20), np.zeros(10)]
    params = SMALL | {"solver": solver, "batch_size": 10, "shuffle": False}
    estimator = MLPRegressor(**params)
    with pytest.raises(ZeroDivisionError, match="sum to zero"):
        estimator.fit(X, z, weights)
    assert not hasattr(estimator, "coefs_")
    estimator.fit(X, z)
    before = estimator.predict(X)
    with pytest.raises(ZeroDivisionError):
        estimator.fit(X, z, weights)
    np.testing.assert_array_equal(estimator.predict(X), before)

    results = []
    for module in (fastmlp, original):
        estimator = module.MLPRegressor(**params).partial_fit(X, z)
        with pytest.raises(ZeroDivisionError):
            estimator.partial_fit(X, z, weights)
        estimator.partial_fit(X, z)
        results.append(estimator.predict(X))
    np.testing.assert_allclose(*results, rtol=1e-9)


def overflow(action, *args):
    """Do it; return the warning that numbers were too large, empty if there was none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action(*args)
    caught = [str(w.message) for w in caught if w.category is RuntimeWarning]
    assert len(caught) <= 1
    for message in caught:
        assert re.search(r"overflowed float(32|64).* X reaches .* Scale the data", message)
    return "".join(caught)


@pytest.mark.parametrize("size", [1e15, 1e19, 1e25])
def test_large_targets_in_float32(size):
    """Losses are scikit-learn's, which sums them in float64. If adam stands still, it says so."""
    data, target = X.astype(np.float32), size * z / np.abs(z).max()
    ours, theirs = make(fastmlp, "MLPRegressor"), make(original, "MLPRegressor")
    warning = overflow(ours.fit, data, target)
    theirs.fit(data, target)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    if size < 1e25:
        assert not warning
        return
    assert "y reaches 1.0e+25" in warning
    assert "precision='float64'" in warning
    assert not overflow(ours.set_params(precision="float64").fit, data, target)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", BOTH)
def test_no_silent_stand_still(name, form, precision):
    dtype = np.float64 if precision == "float32" else np.float32
    ordinary = [form(X.astype(dtype)), z if name == "MLPRegressor" else y]
    large = list(ordinary)
    large[name == "MLPRegressor"] = 1e25 * large[name == "MLPRegressor"]
    stopping = {"early_stopping": True, "validation_fraction": 0.2}
    assert overflow(make(fastmlp, name, precision=precision, **stopping).fit, *large)
    estimator = make(fastmlp, name, precision=precision)
    assert overflow(estimator.fit, *large)
    assert not overflow(estimator.fit, *ordinary)
    assert not overflow(estimator.partial_fit, *ordinary)
    assert overflow(estimator.partial_fit, *large)
    assert overflow(estimator.partial_fit, *ordinary)  # what has overflowed stays so


def test_no_silent_stand_still_in_float64():
    warning = overflow(make(fastmlp, "MLPRegressor").fit, X, 1e160 * z)
    assert "overflowed float64" in warning
    assert "precision" not in warning


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_divergence_in_float32_says_how_large_the_data_are(solver):
    estimator = make(fastmlp, "MLPRegressor", solver=solver, max_iter=30)
    with pytest.raises(ValueError, match=r"non-finite.*In float32, .*y reaches 3.*e\+38.*float64"):
        estimator.fit(X.astype(np.float32), 3e38 * z / np.abs(z).max())
    assert not hasattr(estimator, "coefs_")


def test_lbfgs_says_that_float32_overflowed():
    estimator = make(fastmlp, "MLPRegressor", solver="lbfgs")
    assert overflow(estimator.fit, X.astype(np.float32), 3e38 * np.sign(z))
    assert not overflow(estimator.fit, X.astype(np.float32), z)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_targets_that_float32_does_not_hold(precision, solver):
    target = changed(z, 3, 1e39)
    estimator = make(fastmlp, "MLPRegressor", solver=solver, precision=precision)
    data = X.astype(np.float32)
    with pytest.raises(ValueError, match=r"y holds numbers too large for float32.* 1\.0e\+39.*64"):
        estimator.fit(data, target)
    assert not hasattr(estimator, "coefs_")
    estimator.fit(data, z)
    if precision == "auto" and solver == "lbfgs":
        return  # has made the weights float64
    before = snapshot(estimator)
    with pytest.raises(ValueError, match="y holds numbers too large for float32"):
        estimator.partial_fit(data, target)
    assert_unchanged(estimator, before)


@pytest.mark.parametrize(("dtype", "epsilon"), [(np.float32, 1e-40), (np.float64, 1e-310)])
def test_epsilon_below_the_normal_numbers(dtype, epsilon):
    data = X.astype(dtype)
    data[:, 1] = 0
    results = [
        make(m, "MLPRegressor", epsilon=epsilon, alpha=0.0).fit(data, z).predict(data)
        for m in (fastmlp, original)
    ]
    np.testing.assert_allclose(*results, rtol=1e-4)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_divergence(solver):
    good = MLPRegressor(**SMALL).fit(X, z)
    before = good.predict(X)
    params = {"solver": solver, "learning_rate_init": 1e200, "max_iter": 50, "alpha": 1e100}
    good.set_params(**params)
    for estimator in (good, MLPRegressor(**SMALL | params)):
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            estimator.fit(X, z)
    np.testing.assert_array_equal(good.predict(X), before)
    assert not hasattr(estimator, "coefs_")


# ---------------------------------------------------------------------------------- environment


def test_show_config(capsys):
    fastmlp.show_config()
    printed = capsys.readouterr().out
    for value in (
        fastmlp.__version__,
        _core.ISAS[0],
        str(_core.get_num_threads()),
        sklearn.__version__,
    ):
        assert value in printed
    assert _core.BUILD_INFO in printed
