"""Activations, losses, optimizers, schedules and initializers: by name, as objects, in the tables.

What is said of a member of a family in several places must be the same in all of them: a row of the
engine's tables, a class, a name that the estimators take, a line of documentation.
"""

import copy
import dataclasses
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import reference
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import (
    MLPClassifier,
    MLPRegressor,
    _core,
    activations,
    initializers,
    losses,
    optimizers,
    schedules,
)
from fastmlp._families import Choice, number
from fastmlp._parameters import FAMILIES, FLAT, PARAMETERS, members, parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROOT = Path(__file__).parent.parent
MEMBERS = {
    f"{parameter}-{name}": (parameter, cls)
    for parameter, members in FAMILIES.items()
    for name, cls in members.items()
}
MODULES = {
    "activation": activations,
    "out_activation": activations,
    "loss": losses,
    "solver": optimizers,
    "learning_rate": schedules,
    "init": initializers,
}
SMALL = {"hidden_layer_sizes": (5, 4), "max_iter": 4, "random_state": 0}

rng = np.random.RandomState(0)
X = rng.uniform(-1, 1, (40, 3))
z = np.exp(X[:, 0] - X[:, 1])
y = (np.arange(40) % 3).astype(int)
del rng


def each_member(*names):
    chosen = {k: v for k, v in MEMBERS.items() if not names or v[0] in names}
    return pytest.mark.parametrize(("parameter", "cls"), chosen.values(), ids=chosen)


def estimator(parameter, value, **params):
    """An estimator that takes this value, and targets for it."""
    name = value if isinstance(value, str) else value.name
    if parameter == "loss" and name in losses.CLASSIFIER_LOSSES:
        return MLPClassifier(**params | {parameter: value}), y
    return MLPRegressor(**params | {parameter: value}), z


def weights(estimator):
    return np.concatenate([a.ravel() for a in estimator.coefs_ + estimator.intercepts_])


def solver_for(parameter):
    """Parameters with which it matters what the given one is."""
    return {"solver": "sgd"} if parameter == "learning_rate" else {}


# ---------------------------------------------------------------------------------------- tables


def test_classes_are_the_rows_of_the_engine():
    hidden = [row for row in _core.ACTIVATIONS.values() if row.hidden]
    out = [r for r in _core.ACTIVATIONS.values() if r.output and r.name != "softmax"]
    kinds = {"real", "nonnegative", "positive"}
    of_numbers = [row for row in _core.LOSSES.values() if row.targets in kinds]
    of_classes = [row for row in _core.LOSSES.values() if row.targets == "class"]
    assert {f"binary_{row.name}" for row in of_classes} == {
        name for name, row in _core.LOSSES.items() if row.targets == "binary"
    }
    for family, rows in (
        (activations.ACTIVATIONS, hidden),
        (activations.OUT_ACTIVATIONS, out),
        (losses.LOSSES, of_numbers),
        (losses.CLASSIFIER_LOSSES, of_classes),
        (optimizers.OPTIMIZERS, list(_core.OPTIMIZERS.values())),
    ):
        rows = {row.name: row for row in rows}
        assert family.keys() - {"lbfgs"} == rows.keys()
        for name, row in rows.items():
            cls = family[name]
            assert cls.__name__ == row.class_name
            assert row.doc in " ".join(cls.__doc__.split())
            fields = dataclasses.fields(cls)
            assert [(f.name, f.default) for f in fields] == [p[:2] for p in row.parameters]
            for field, parameter in zip(fields, row.parameters, strict=True):
                if field.metadata["kind"] is not bool:
                    assert field.metadata["inside"] == (parameter.low, parameter.high)
            values = tuple(parameter.default for parameter in row.parameters)
            assert cls().choice == (name, *values)


def test_users_are_told_of_every_member():
    readme = (ROOT / "README.md").read_text()
    for name, cls in activations.ACTIVATIONS.items():
        assert f"- '{name}': " in MLPClassifier.__doc__
        assert f"- '{name}': " in MLPRegressor.__doc__
        in_scikit_learn = name in ("identity", "logistic", "tanh", "relu")
        assert in_scikit_learn or f"`{name}`" in readme, f"README.md does not list {cls}"


def test_generated_text_is_up_to_date():
    """`make build` writes it."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    texts = generate.generated()
    assert len(texts) == 4
    for path, text in texts.items():
        assert path.read_text() == text, f"{path} is not what tools/generate.py makes of the tables"


def test_modules_export_their_families():
    for module in set(MODULES.values()):
        own = [FAMILIES[parameter] for parameter in MODULES if MODULES[parameter] is module]
        classes = {cls for family in own for cls in family.values()}
        (base,) = {cls.__mro__[1] for cls in classes}
        types = {name for name in module.__all__ if name.endswith("Name")}
        # A schedule that is the user's function has no name.
        others = {base.__name__, *(["Custom"] if module is schedules else [])}
        assert set(module.__all__) == {cls.__name__ for cls in classes} | others | types
        named = {name for of_type in types for name in getattr(module, of_type).__args__}
        assert named == {cls.name for cls in classes}
    assert set(activations.OutActivationName.__args__) == set(activations.OUT_ACTIVATIONS)
    assert set(losses.ClassifierLossName.__args__) == set(losses.CLASSIFIER_LOSSES)


def test_every_parameter_is_one_of_the_constructors():
    for est in (MLPClassifier(), MLPRegressor()):
        own = parameters(type(est).__name__)
        assert est.get_params().keys() == own.keys() == est._parameter_constraints.keys()
    flat = [name for of_member in FLAT.values() for name in of_member.values()]
    assert len(flat) == len(set(flat))
    members = {name: cls for family in FAMILIES.values() for name, cls in family.items()}
    for member, names in FLAT.items():
        own = {f.name: f.default for f in dataclasses.fields(members[member])}
        assert own == {k: PARAMETERS[name].default for k, name in names.items()}


# --------------------------------------------------------------------------------------- objects


@each_member()
def test_a_name_means_the_object_with_its_defaults(parameter, cls):
    params = SMALL | solver_for(parameter)
    by_name, target = estimator(parameter, cls.name, **params)
    by_object, _ = estimator(parameter, cls(), **params)
    by_name.fit(X, target)
    by_object.fit(X, target)
    np.testing.assert_array_equal(weights(by_object), weights(by_name))
    np.testing.assert_array_equal(by_object.predict(X), by_name.predict(X))
    assert by_object.out_activation_ == by_name.out_activation_
    if cls in members("MLPClassifier", parameter).values() and parameter != "out_activation":
        a, b = (MLPClassifier(**params | {parameter: v}).fit(X, y) for v in (cls.name, cls()))
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))


# An object's parameters, and the flat ones that mean the same.
FLAT_FORMS = [
    (
        {"solver": optimizers.SGD(momentum=0.3, nesterov=False)},
        {"solver": "sgd", "momentum": 0.3, "nesterovs_momentum": False},
    ),
    (
        {"solver": optimizers.Adam(beta_1=0.5, beta_2=0.7, epsilon=0.1)},
        {"solver": "adam", "beta_1": 0.5, "beta_2": 0.7, "epsilon": 0.1},
    ),
    ({"solver": optimizers.LBFGS(max_fun=3)}, {"solver": "lbfgs", "max_fun": 3}),
    (
        {"solver": "sgd", "learning_rate": schedules.InvScaling(power=0.1)},
        {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1},
    ),
]


@pytest.mark.parametrize(("with_object", "flat"), FLAT_FORMS, ids=str)
def test_flat_parameters_configure_the_names_only(with_object, flat):
    expected = weights(MLPRegressor(**SMALL | flat).fit(X, z))
    np.testing.assert_array_equal(weights(MLPRegressor(**SMALL | with_object).fit(X, z)), expected)
    defaults = SMALL | {k: v for k, v in flat.items() if k in FAMILIES}
    assert (weights(MLPRegressor(**defaults).fit(X, z)) != expected).any()
    # An object carries its own.
    other = {k: PARAMETERS[k].default for k in flat.keys() - FAMILIES.keys()}
    both = MLPRegressor(**SMALL | other | with_object).fit(X, z)
    np.testing.assert_array_equal(weights(both), expected)


@each_member()
def test_members_are_values(parameter, cls):
    member = cls()
    assert member == cls()
    assert hash(member) == hash(cls())
    assert eval(repr(member), vars(MODULES[parameter])) == member
    assert pickle.loads(pickle.dumps(member)) == copy.deepcopy(member) == clone(member) == member
    assert all(member != other() for name, other in FAMILIES[parameter].items() if name != cls.name)
    assert member.get_params() == {f.name: f.default for f in dataclasses.fields(cls)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        member.no_such_attribute = 1
    assert getattr(fastmlp, MODULES[parameter].__name__.split(".")[1]) is MODULES[parameter]


@each_member()
def test_parameters_of_members(parameter, cls):
    for field in dataclasses.fields(cls):
        kind = field.metadata["kind"]
        wrong = ["a", None, [1.0]]
        if kind is not bool:
            low, high = field.metadata["inside"]
            wrong += [np.nan, np.nextafter(low, -np.inf), np.nextafter(high, np.inf)]
            wrong += [bound for bound in (low, high) if bound not in field.metadata["constraint"]]
        for value in wrong:
            if value in (np.inf, -np.inf) and not np.isfinite(value):
                continue
            with pytest.raises(ValueError, match=rf"'{field.name}' parameter of {cls.__name__}"):
                cls(**{field.name: value})
        # NumPy's scalars become Python's, which every file format knows.
        value = kind(field.default)
        scalar = {float: np.float64, int: np.int64, bool: np.bool_}[kind](value)
        made = getattr(cls(**{field.name: scalar}), field.name)
        assert type(made) is kind
        assert made == value


def test_bounds_may_be_closed():
    assert optimizers.SGD(momentum=1).momentum == 1.0
    assert optimizers.SGD(momentum=0).choice == ("sgd", 0.0, True)
    with pytest.raises(ValueError, match="beta_1"):
        optimizers.Adam(beta_1=1)
    with pytest.raises(ValueError, match="epsilon"):
        optimizers.Adam(epsilon=0)
    with pytest.raises(ValueError, match="max_fun"):
        optimizers.LBFGS(max_fun=2.5)


@each_member()
def test_a_member_of_another_family_is_refused(parameter, cls):
    for other in FAMILIES.keys() - {parameter}:
        if {parameter, other} == {"activation", "out_activation"}:
            continue
        for _ in range(2):  # what was refused once is not remembered as good
            with pytest.raises(ValueError, match=f"The '{other}' parameter of MLPRegressor"):
                MLPRegressor(**{other: cls()}).fit(X, z)


def test_a_member_of_nobody_is_refused_by_the_engine():
    @dataclasses.dataclass(frozen=True)
    class Cubic(activations.Activation):
        name = "cubic"
        scale: float = number(1.0)

    with pytest.raises(ValueError, match="cubic"):
        MLPRegressor(activation=Cubic()).fit(X, z)


def test_partial_fit_needs_a_stochastic_solver():
    assert not hasattr(MLPClassifier(solver=optimizers.LBFGS()), "partial_fit")
    assert hasattr(MLPClassifier(solver=optimizers.SGD()), "partial_fit")
    for solver in (optimizers.SGD(), optimizers.Adam()):
        a, b = (MLPClassifier(**SMALL, solver=s) for s in (solver, solver.name))
        for e in (a, b):
            e.partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
        np.testing.assert_array_equal(weights(a), weights(b))


def test_initial_weights_are_scikit_learns():
    W, b = np.empty((3, 5)), np.empty(5)
    initializers.Auto().draw(W, b, "relu", np.random.RandomState(0))
    stream, bound = np.random.RandomState(0), np.sqrt(6 / 8)
    np.testing.assert_array_equal(W, stream.uniform(-bound, bound, (3, 5)))
    np.testing.assert_array_equal(b, stream.uniform(-bound, bound, 5))
    initializers.Auto().draw(W, b, "logistic", np.random.RandomState(0))
    assert np.abs(W).max() <= np.sqrt(2 / 8)


# ------------------------------------------------------------- parameters of parameters


def test_parameters_of_objects_are_parameters_of_the_estimator():
    est = MLPRegressor(solver=optimizers.SGD(momentum=0.5))
    assert est.get_params()["solver__momentum"] == 0.5
    assert "solver__momentum" not in est.get_params(deep=False)
    before = est.solver
    assert est.set_params(solver__momentum=0.25, alpha=3.0) is est
    assert est.solver == optimizers.SGD(momentum=0.25)
    assert est.alpha == 3.0
    assert before == optimizers.SGD(momentum=0.5)  # others may hold it
    est.set_params(solver__momentum=0.1, solver=optimizers.SGD(nesterov=False))
    assert est.solver == optimizers.SGD(momentum=0.1, nesterov=False)
    copied = clone(est)
    assert copied.solver == est.solver
    assert copied.get_params() == est.get_params()


def test_parameters_of_a_name_make_it_an_object():
    est = MLPRegressor(solver="adam", beta_1=0.5).set_params(solver__beta_2=0.25)
    assert est.solver == optimizers.Adam(beta_1=0.5, beta_2=0.25)
    assert "solver__beta_2" not in MLPRegressor().get_params()


def test_wrong_parameters_of_objects():
    est = MLPRegressor(solver=optimizers.SGD())
    with pytest.raises(ValueError, match=r"Invalid parameter 'beta_1' for SGD\(.*\['momentum',"):
        est.set_params(solver__beta_1=0.5)
    with pytest.raises(ValueError, match="The 'momentum' parameter of SGD"):
        est.set_params(solver__momentum=2)
    for wrong in ("no_such__thing", "loss__delta"):  # which the classifier has not
        with pytest.raises(ValueError, match="Invalid parameter"):
            MLPClassifier().set_params(**{wrong: 1})
    assert est.solver == optimizers.SGD()


def test_searches_over_parameters_of_objects():
    grid = {"solver__momentum": [0.0, 0.9], "learning_rate": ["constant", schedules.Adaptive()]}
    est = MLPRegressor(**SMALL, solver=optimizers.SGD())
    search = GridSearchCV(est, grid, cv=2).fit(X, z)
    flat = GridSearchCV(
        MLPRegressor(**SMALL, solver="sgd"),
        {"momentum": [0.0, 0.9], "learning_rate": ["constant", "adaptive"]},
        cv=2,
    ).fit(X, z)
    found, expected = (
        dict(zip(map(key, s.cv_results_["params"]), s.cv_results_["mean_test_score"], strict=True))
        for s, key in (
            (search, lambda p: (p["solver__momentum"], p["learning_rate"] == "constant")),
            (flat, lambda p: (p["momentum"], p["learning_rate"] == "constant")),
        )
    )
    assert found == expected
    assert search.best_estimator_.solver.momentum in (0.0, 0.9)
    pipeline = make_pipeline(StandardScaler(), est)
    pipeline.set_params(mlpregressor__solver__momentum=0.5).fit(X, z)
    assert pipeline[-1].solver == optimizers.SGD(momentum=0.5)
    assert est.get_params()["solver__momentum"] == 0.5


@each_member()
def test_objects_are_shown_and_stored(parameter, cls):
    est, target = estimator(parameter, cls(), **SMALL | solver_for(parameter))
    est.fit(X, target)
    assert f"{parameter}={cls()!r}" in " ".join(repr(est).split())
    assert cls.__name__ in est._repr_html_()
    back = pickle.loads(pickle.dumps(est))
    assert getattr(back, parameter) == cls()
    np.testing.assert_array_equal(back.predict(X), est.predict(X))


def test_the_activation_may_be_replaced_after_fit():
    """As in scikit-learn, prediction uses the one that is there."""
    est = MLPRegressor(**SMALL).fit(X, z)
    by_name = est.set_params(activation="tanh").predict(X)
    by_object = est.set_params(activation=activations.Tanh()).predict(X)
    np.testing.assert_array_equal(by_object, by_name)
    assert (by_object != est.set_params(activation="relu").predict(X)).any()


def test_choices_have_names():
    for _, cls in MEMBERS.values():
        assert issubclass(cls, Choice)
        assert cls.name.islower()


# ----------------------------------------------------------------- an activation for each layer

LIST = ["gelu", activations.LeakyReLU(slope=0.2)]


def outputs(est, choices):
    """What the specification computes with the weights of a regressor."""
    return reference.predict(X, est.coefs_, est.intercepts_, choices)[:, 0]


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
def test_a_list_names_the_activation_of_each_hidden_layer(solver, kind):
    est = MLPRegressor(**SMALL, activation=kind(LIST), solver=solver).fit(X, z)
    choices = ["gelu", ("leaky_relu", 0.2), "identity"]
    np.testing.assert_allclose(est.predict(X), outputs(est, choices), rtol=1e-12)
    other = MLPRegressor(**SMALL, activation=kind(LIST[::-1]), solver=solver).fit(X, z)
    assert (weights(other) != weights(est)).any()


def test_a_list_is_trained_as_the_specification_says():
    """The weights after the mini-batches of an epoch, from those before them."""
    est = MLPRegressor(**SMALL | {"max_iter": 1}, activation=LIST, solver="sgd", shuffle=False)
    est.set_params(learning_rate_init=1e-300).fit(X, z)  # the initial weights
    net = reference.Net(
        [3, 5, 4, 1],
        dtype=np.float64,
        activations=["gelu", ("leaky_relu", 0.2), "identity"],
        loss="squared_error",
        optimizer=("sgd", 0.0, False),
        alpha=est.alpha,
        max_rows=40,
    )
    net.load_params(est.coefs_, est.intercepts_)
    net.train(X, z[:, np.newaxis], None, np.arange(40), 20, 0.1)
    est.set_params(learning_rate_init=0.1, momentum=0.0, batch_size=20, warm_start=True).fit(X, z)
    coefs, intercepts = (
        [np.empty_like(a) for a in arrays] for arrays in (est.coefs_, est.intercepts_)
    )
    net.store_params(coefs, intercepts)
    for actual, expected in zip(est.coefs_ + est.intercepts_, coefs + intercepts, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", ["relu", "logistic", "gelu"])
def test_a_list_of_one_name_is_that_name(name):
    """With its initial weights, and on to partial_fit."""
    by_name, by_list = (
        MLPClassifier(**SMALL, activation=value).fit(X, y).partial_fit(X, y)
        for value in (name, [name, name])
    )
    np.testing.assert_array_equal(weights(by_list), weights(by_name))
    np.testing.assert_array_equal(by_list.predict_proba(X), by_name.predict_proba(X))


def test_initial_weights_follow_the_layers_of_a_list():
    """The bound is smaller for 'logistic'; the output layer goes by the last hidden one."""
    still = {"max_iter": 1, "learning_rate_init": 1e-300, "solver": "sgd", "random_state": 0}
    bounds = []
    for value in (["logistic", "gelu"], ["gelu", "logistic"]):
        est = MLPRegressor(hidden_layer_sizes=(300, 300), activation=value, **still).fit(X, z)
        bounds.append([np.abs(W).max() * np.sqrt(sum(W.shape)) for W in est.coefs_])
    np.testing.assert_allclose(np.square(bounds), [[2, 6, 6], [6, 2, 2]], rtol=0.1)


def test_no_hidden_layer_has_no_activation():
    params = SMALL | {"hidden_layer_sizes": ()}
    a, b = (MLPRegressor(**params, activation=v).fit(X, z) for v in ([], "relu"))
    np.testing.assert_array_equal(weights(a), weights(b))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "has 0 entries, but hidden_layer_sizes asks for 2 hidden"),
        (["relu"], "has 1 entries"),
        (("relu",) * 3, "has 3 entries"),
        (["relu", "nope"], "must hold names among .*'gelu'.* got 'nope'"),
        (["relu", "softmax"], "got 'softmax'"),
        (["relu", None], "got None"),
        ([["relu"], "relu"], "got \\['relu'\\]"),
        ([optimizers.SGD(), "relu"], "got SGD"),
    ],
    ids=str,
)
def test_lists_that_do_not_fit(value, message):
    est = MLPRegressor(**SMALL, activation=value)
    for fit in (est.fit, est.partial_fit):
        with pytest.raises(ValueError, match=f"activation=.*{message}"):
            fit(X, z)
        assert not hasattr(est, "coefs_")
    est.set_params(activation="relu").fit(X, z).set_params(activation=value)
    for again in (lambda: est.predict(X), lambda: est.partial_fit(X, z)):
        with pytest.raises(ValueError, match=message):
            again()


def test_lists_are_parameters_like_others(tmp_path):
    est = MLPRegressor(**SMALL, activation=LIST)
    assert clone(est).activation == LIST
    assert "activation=['gelu', LeakyReLU(slope=0.2)]" in repr(est)
    assert est.get_params()["activation"] is LIST
    est.fit(X, z)
    back = pickle.loads(pickle.dumps(est))
    assert back.activation == LIST
    np.testing.assert_array_equal(back.predict(X), est.predict(X))
    est.save_model(tmp_path / "model")
    loaded = fastmlp.load_model(tmp_path / "model")
    assert loaded.activation == LIST
    np.testing.assert_array_equal(loaded.predict(X), est.predict(X))
    grid = {"activation": ["relu", LIST, ("tanh", "selu")]}
    search = GridSearchCV(MLPRegressor(**SMALL), grid, cv=2).fit(X, z)
    assert search.best_params_["activation"] in grid["activation"]
    with pytest.raises(ValueError, match="Invalid parameter 'slope' for activation"):
        est.set_params(activation__slope=1.0)


@pytest.mark.parametrize("sizes", ["5-4", np.str_("5-4")])
def test_widths_may_be_a_string(sizes):
    params = SMALL | {"hidden_layer_sizes": sizes}
    by_string, by_tuple = (MLPRegressor(**p).fit(X, z) for p in (params, SMALL))
    np.testing.assert_array_equal(weights(by_string), weights(by_tuple))
    np.testing.assert_array_equal(by_string.partial_fit(X, z).predict(X).shape, z.shape)
    assert clone(by_string).hidden_layer_sizes == sizes
    one = MLPRegressor(**SMALL | {"hidden_layer_sizes": "7"}).fit(X, z)
    assert [W.shape for W in one.coefs_] == [(3, 7), (7, 1)]


@pytest.mark.parametrize(
    "sizes", ["", "a", "5-", "-5", "5--4", "5 - 4", "5,4", "5.0", "0-4", "\u0665"]
)
def test_strings_that_are_no_widths(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be"):
        MLPRegressor(**SMALL | {"hidden_layer_sizes": sizes}).fit(X, z)
