"""Model files: round trips, what cannot be stored, and files that nobody should load."""

import contextlib
import hashlib
import json
import os
import pickle
import random
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from samples import few
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, _safetensors, load_model
from fastmlp.activations import LeakyReLU
from fastmlp.initializers import Normal
from fastmlp.losses import Focal, Poisson, Quantile
from fastmlp.optimizers import SGD
from fastmlp.schedules import InvScaling

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 4, "random_state": 0}

X, y, z, _ = few(80)
several = np.column_stack([y > 0, X[:, 0] > 0, X[:, 1] > 0]).astype(int)


def classifier(y=y, X=X, **params):
    return MLPClassifier(**SMALL | params).fit(X, y)


def regressor(y=z, X=X, **params):
    return MLPRegressor(**SMALL | params).fit(X, y)


def same(a, b):
    """Whether two values are equal in kind and content, arrays bit by bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        equal = a.shape == b.shape and a.dtype == b.dtype
        return equal and (a.tolist() == b.tolist() or a.tobytes() == b.tobytes())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (float, np.floating)) and np.isnan(a):
        return np.isnan(b)
    return same(vars(a), vars(b)) if hasattr(a, "__dict__") else a == b


def round_trip(est, folder):
    est.save_model(folder / "model.safetensors")
    return load_model(folder / "model.safetensors")


def predictions(est, X=X):
    names = ["predict", "predict_proba"] if isinstance(est, MLPClassifier) else ["predict"]
    found = [getattr(est, name)(X) for name in names]
    return [a.toarray() if sp.issparse(a) else a for a in found]


STRUCTURE = {"normalization": "batch", "residual": True, "dropout": [0.1, 0.2], "batch_size": 20}

ESTIMATORS = {
    "classes": lambda: classifier(),
    "two classes": lambda: classifier(y > 0),
    "one class": lambda: classifier(y * 0),
    "multilabel": lambda: classifier(several),
    "sparse multilabel": lambda: classifier(sp.csr_array(several)),
    "float labels": lambda: classifier(y + 0.0),
    "strings": lambda: classifier(np.array(["a", "bb", "ü€😀"])[y]),
    "objects": lambda: classifier(np.array(["a", "bb", ""], dtype=object)[y]),
    "uint8 labels": lambda: classifier(y.astype(np.uint8)),
    "float32": lambda: classifier(X=X.astype(np.float32)),
    "bfloat16": lambda: classifier(precision="bfloat16"),
    "lbfgs": lambda: classifier(solver="lbfgs"),
    "early stopping": lambda: classifier(early_stopping=True, n_iter_no_change=np.inf),
    "class_weight": lambda: classifier(class_weight={0: 1, np.int64(1): 0.5, 2: np.float32(2)}),
    "long curve": lambda: classifier(max_iter=70, tol=0),
    "no hidden layer": lambda: classifier(hidden_layer_sizes=()),
    "regressor": lambda: regressor(),
    "outputs": lambda: regressor(np.column_stack([z, -z])),
    "regressor float32": lambda: regressor(X=X.astype(np.float32)),
    "regressor bfloat16": lambda: regressor(precision="bfloat16"),
    "objects of families": lambda: regressor(
        np.abs(z), loss=Poisson(), solver=SGD(momentum=0.3), learning_rate=InvScaling(power=0.1)
    ),
    "activations": lambda: regressor(activation=["tanh", LeakyReLU(slope=0.2)]),
    "given weights": lambda: regressor(
        hidden_layer_sizes=2, init=([np.ones((5, 2)), np.eye(2)[:, :1]], None), fit_intercept=False
    ),
    "distribution": lambda: classifier(init=Normal(scale=0.1), mixup=0.2),
    "focal": lambda: classifier(loss=Focal(gamma=1.5), label_smoothing=0.1),
    "quantiles": lambda: regressor(loss=Quantile(levels=(0.1, 0.5))),
    "output activation": lambda: regressor(np.abs(z), out_activation="softplus"),
    "structure": lambda: classifier(**STRUCTURE),
    "layer normalisation": lambda: regressor(normalization=["layer", None], residual=True),
    "validation data": lambda: MLPClassifier(
        **SMALL, early_stopping=True, scoring="neg_log_loss", target_score=0.0
    ).fit(X, y, X_val=X, y_val=y),
    "parameters of NumPy": lambda: regressor(
        hidden_layer_sizes=np.array([3, 2]), alpha=np.float32(0.1), activation=np.str_("tanh")
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_round_trip(name, tmp_path):
    est = ESTIMATORS[name]()
    loaded = round_trip(est, tmp_path)
    assert type(loaded) is type(est)
    # Python's strings are equal to NumPy's and stand for them
    params = {k: str(v) if isinstance(v, str) else v for k, v in est.get_params().items()}
    assert same(loaded.get_params(), params)
    assert same(predictions(loaded), predictions(est))
    kept = pickle.loads(pickle.dumps(est)).set_params(**params)
    assert same(vars(loaded), vars(kept))
    assert same(clone(loaded).get_params(), params)
    assert same(predictions(pickle.loads(pickle.dumps(loaded))), predictions(est))


@pytest.mark.parametrize("after", ["fit", "partial_fit", "warm_start"])
@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("params", [{}, STRUCTURE, {"solver": "sgd"}], ids=["adam", "all", "sgd"])
def test_training_goes_on_as_after_a_pickle(make, after, params, tmp_path):
    est = make(warm_start=True, **params)
    if after == "partial_fit":
        est.partial_fit(X[:40], (y if make is classifier else z)[:40])
    copies = [pickle.loads(pickle.dumps(est)), round_trip(est, tmp_path)]
    for copy in copies:
        train = copy.fit if after == "warm_start" else copy.partial_fit
        rows = slice(0, 60)  # whole mini-batches
        train(X[rows], (y if make is classifier else z)[rows])
    assert same(copies[0].coefs_, copies[1].coefs_)
    assert same(copies[0].loss_curve_, copies[1].loss_curve_)
    assert not same(copies[1].coefs_, est.coefs_)


def test_warm_start_after_early_stopping_goes_on_from_the_best_weights(tmp_path):
    est = classifier(early_stopping=True, warm_start=True)
    loaded = round_trip(est, tmp_path)
    assert same(loaded.fit(X, y).coefs_, est.fit(X, y).coefs_)


def test_names_of_features(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[*"abcd", "länge"])
    est = classifier(X=frame)
    loaded = round_trip(est, tmp_path)
    assert same(loaded.feature_names_in_, est.feature_names_in_)
    assert same(predictions(loaded, frame), predictions(est, frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"a": "z"}))


def test_strided_and_foreign_arrays(tmp_path):
    est = regressor()
    expected = est.predict(X)
    est.coefs_ = [np.asfortranarray(est.coefs_[0]), *est.coefs_[1:]]
    est.intercepts_ = [b.astype(b.dtype.newbyteorder()) for b in est.intercepts_]
    assert same(round_trip(est, tmp_path).predict(X), expected)


def test_file_is_what_the_safetensors_library_reads(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    est = classifier(np.array(["no", "yes", "perhaps"])[y])
    est.save_model(tmp_path / "model")
    tensors = library.load_file(tmp_path / "model")
    for i, (W, b) in enumerate(zip(est.coefs_, est.intercepts_, strict=True)):
        np.testing.assert_array_equal(tensors[f"coefs_.{i}"], W)
        np.testing.assert_array_equal(tensors[f"intercepts_.{i}"], b)
    with library.safe_open(tmp_path / "model", "np") as file:
        model = json.loads(file.metadata()["model"])
    assert model["class"] == "MLPClassifier"
    assert [layer["width"] for layer in model["layers"]] == [6, 4, 3]
    assert [layer["activation"] for layer in model["layers"]] == ["relu", "relu", "softmax"]
    assert model["parameters"]["alpha"] == 0.0001


def test_metadata_routing_is_kept(tmp_path):
    est = classifier()
    with config_context(enable_metadata_routing=True):
        est.set_fit_request(sample_weight="mass", X_val=True, y_val=False).set_score_request(
            sample_weight=True
        )
    loaded = round_trip(est, tmp_path)
    for method in ("fit", "partial_fit", "score", "predict"):
        requests = [getattr(e.get_metadata_routing(), method).requests for e in (est, loaded)]
        assert requests[0] == requests[1]
    assert "_metadata_request" not in vars(round_trip(classifier(), tmp_path))
    with config_context(enable_metadata_routing=True):
        weights = {"mass": np.arange(len(X)) % 2}
        a, b = (make_pipeline(clone(e)).fit(X, y, **weights)[-1] for e in (est, loaded))
    assert same(a.coefs_, b.coefs_)
    assert not same(a.coefs_, est.coefs_)


@pytest.mark.parametrize(
    "routing",
    [{"fit": {"nonsense": True}}, {"fit": {"X_val": 0.5}}, {"params": {}}, {"fit": [1]}, 1],
)
def test_wrong_routing(routing, content, refuses):
    refuses(changed(content, lambda header, model: model.update(routing=routing)))


def test_a_header_must_not_be_larger_than_can_be_read(tmp_path, monkeypatch):
    est = classifier()
    monkeypatch.setattr(_safetensors, "MAX_HEADER", 1000)
    with pytest.raises(ValueError, match="which may hold 1000"):
        est.save_model(tmp_path / "model")
    assert not any(tmp_path.iterdir())


def test_truth_values_are_0_or_1():
    content = bytearray(b"".join(_safetensors.pack({"a": np.array([True, False])}, {})))
    content[-33] = 2
    content[-32:] = hashlib.sha256(content[:-32]).digest()
    with pytest.raises(ValueError, match="truth value"):
        _safetensors.unpack(bytes(content))


def test_another_program_finds_all_that_predictions_take(tmp_path):
    """Layers and arrays are enough to predict, here quantiles by normalised, residual layers."""
    library = pytest.importorskip("safetensors.numpy")
    est = MLPRegressor(
        hidden_layer_sizes=(9, 9),
        normalization=["layer", None],
        residual=True,
        loss=Quantile([0.45, 0.5, 0.55]),
        random_state=0,
        max_iter=3,
    ).fit(X, np.c_[y, -y])
    est.save_model(tmp_path / "model")
    arrays = library.load_file(tmp_path / "model")
    with library.safe_open(tmp_path / "model", "np") as file:
        layers = json.loads(file.metadata()["model"])["layers"]
    A = X
    for i, layer in enumerate(layers):
        Z = A @ arrays[f"coefs_.{i}"] + arrays[f"intercepts_.{i}"]
        assert Z.shape == (len(X), layer["width"])
        if layer.get("normalization") == "layer":
            Z = (Z - Z.mean(axis=1, keepdims=True)) / np.sqrt(Z.var(axis=1, keepdims=True) + 1e-5)
            Z = Z * arrays[f"norm_scales_.{i}"] + arrays[f"norm_shifts_.{i}"]
        Z = {"relu": lambda Z: np.maximum(Z, 0), "identity": np.asarray}[layer["activation"]](Z)
        if layer.get("residual"):
            Z = Z + (A @ arrays[f"skip_coefs_.{i}"] if f"skip_coefs_.{i}" in arrays else A)
        A = Z
    quantiles = A.reshape(len(X), -1, len(layers[-1]["levels"]))
    assert (np.diff(quantiles) < 0).any()
    np.testing.assert_allclose(np.sort(quantiles), est.predict(X), rtol=1e-9, atol=1e-12)


# --------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"random_state": np.random.RandomState(0)}, "random_state=RandomState"),
        ({"alpha": np.longdouble(1)}, "alpha="),
        ({"hidden_layer_sizes": range(3, 5)}, "hidden_layer_sizes=range"),
    ],
)
def test_parameters_without_a_form(change, named, tmp_path):
    est = classifier().set_params(**change)
    with pytest.raises(ValueError, match=f"save_model cannot store {named}"):
        est.save_model(tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [print, {1, 2}, object(), [np.array([1, "a"], object)], 1j])
def test_attributes_without_a_form(value, tmp_path):
    est = classifier()
    est.further_ = value
    with pytest.raises(ValueError, match="save_model cannot store further_"):
        est.save_model(tmp_path / "model")


def test_attributes_of_later_versions_are_stored_without_a_list_of_names(tmp_path):
    est = classifier()
    est.scales_ = [np.ones(6), None]
    est.curve_ = {"loss": [1.0, np.nan, np.float32(0.1)], 1: np.ones(2), "1": np.zeros(2)}
    assert same(vars(round_trip(est, tmp_path)), vars(pickle.loads(pickle.dumps(est))))


def test_subclasses_unfitted_and_invalid_estimators(tmp_path):
    class Special(MLPClassifier):
        pass

    with pytest.raises(ValueError, match="not their subclass Special"):
        Special(**SMALL).fit(X, y).save_model(tmp_path / "model")
    with pytest.raises(NotFittedError):
        MLPClassifier().save_model(tmp_path / "model")
    with pytest.raises(ValueError, match="'alpha' parameter"):
        classifier().set_params(alpha=-1).save_model(tmp_path / "model")
    est = classifier()
    est.coefs_[0] = est.coefs_[0][:-1]
    with pytest.raises(ValueError, match=r"coefs_\[0\] has shape"):
        est.save_model(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    classifier().save_model(path)
    os.chmod(path, 0o640)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(_safetensors.os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            regressor().save_model(path)
    assert os.listdir(tmp_path) == ["model"]
    assert path.read_bytes() == before
    regressor().save_model(path)
    assert isinstance(load_model(path), MLPRegressor)
    assert path.stat().st_mode & 0o777 == 0o640


def test_paths(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "model")
    classifier().save_model(str(link))
    assert link.is_symlink()
    assert isinstance(load_model(str(link)), MLPClassifier)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")
    with pytest.raises(ValueError, match="not a regular file"):
        load_model(os.devnull)
    with pytest.raises(TypeError, match="not int"):
        load_model(0)
    for path, kind in ((tmp_path / "none" / "m", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(kind) as raised:
            classifier().save_model(path)
        assert str(raised.value).endswith(f": {str(path)!r}")


# ------------------------------------------------------------------------------------- bad files
@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A small file."""
    path = tmp_path_factory.mktemp("small") / "model"
    classifier(hidden_layer_sizes=(2,), X=X[:, :2], y=np.array(["a", "b", "c"])[y]).save_model(path)
    return path.read_bytes()


@pytest.fixture
def refuses(tmp_path):
    """Function that asserts that a file of some bytes is refused with a message."""

    def check(content, match=None):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(ValueError, match=match):
            load_model(tmp_path / "bad")

    return check


def sealed(body):
    """What ends in the checksum of what is before, so that the parser sees it."""
    return body + hashlib.sha256(body).digest()


def taken_apart(content):
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    return header, json.loads(header["__metadata__"]["model"]), content[8 + n : -32]


def put_together(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return sealed(len(text).to_bytes(8, "little") + text + data)


def changed(content, change):
    """The file after a change of (header, model), both as Python objects."""
    header, model, data = taken_apart(content)
    change(header, model)
    header["__metadata__"]["model"] = json.dumps(model)
    return put_together(header, data)


def test_every_truncation_is_refused(content, tmp_path):
    path = tmp_path / "bad"
    path.write_bytes(content + b"\0")
    for n in [len(content) + 1, *reversed(range(len(content)))]:
        os.truncate(path, n)
        with pytest.raises(ValueError, match="truncated, damaged"):
            load_model(path)


def test_every_flipped_byte_is_refused(content, tmp_path):
    generator = random.Random(0)
    path = tmp_path / "bad"
    path.write_bytes(content)
    with open(path, "r+b", buffering=0) as file:
        for i in range(len(content)):
            file.seek(i)
            file.write(bytes([content[i] ^ 1 << generator.randrange(8)]))
            with pytest.raises(ValueError, match="truncated, damaged"):
                load_model(path)
            file.seek(i)
            file.write(content[i : i + 1])
    load_model(path)


def usable(path):
    """Load a file that may be anything: a model that predicts and trains, or a ValueError."""
    try:
        est = load_model(path)
    except ValueError:
        return False
    est.set_params(max_iter=1, n_jobs=1, verbose=False)
    with np.errstate(all="ignore"):
        est.predict(np.ones((3, 2)))
    return True


@pytest.mark.parametrize("seed", range(3))
def test_damage_behind_a_right_checksum(content, seed, tmp_path):
    """Flipped bits, exchanged and lost bytes where a forger has made the checksum right."""
    generator = random.Random(seed)
    path, body = tmp_path / "bad", content[:-32]
    end = 8 + int.from_bytes(content[:8], "little")
    loaded = 0
    for _ in range(700):
        bad = bytearray(body)
        for _ in range(generator.choice((1, 1, 1, 5))):
            i = generator.randrange(end)
            what = generator.randrange(4)
            if what == 0:
                bad[i] ^= 1 << generator.randrange(8)
            elif what == 1:
                bad[i] = generator.choice(b'0129-.,:"[]{}eE\\ \x00\xffnft')
            elif what == 2:
                del bad[i]
                bad[8:8] = b" "  # the length stays right
            else:
                j = generator.randrange(8, end - 20)
                bad[i : i + 10] = bad[j : j + len(bad[i : i + 10])]
        path.write_bytes(sealed(bytes(bad)))
        loaded += usable(path)
    assert 0 < loaded < 600  # of each kind some


def test_random_headers(refuses):
    generator = random.Random(0)
    for n in range(600):
        text = generator.randbytes(n % 90)
        refuses(sealed(text))
        refuses(put_together(text, b""))
        refuses(put_together(b'{"__metadata__":{"format":"fastmlp"},' + text + b"}", text))


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b"{}",
        nested(100_000),
        b'{"__metadata__":' + b"[" * 100_000,
        b'{"__metadata__":{"format":1}}',
        b'{"__metadata__":{},"__metadata__":{}}',
        b'{"__metadata__":{},"a":NaN}',
        b'{"__metadata__":{},"a":' + b"9" * 10_000 + b"}",
        b'{"__metadata__":{}}\xff',
        '{"__metadata__":{}}'.encode("utf-16"),
        b'{"__metadata__":{"format":"fastmlp"}}',
        b'{"__metadata__":{"format":"fastmlp","format_version":"1"}}',
        b'{"__metadata__":{"format":"fastmlp","format_version":"1","model":"{}"}}',
        b'{"__metadata__":{"format":"fastmlp","format_version":"1","model":"[]"}}',
    ],
    ids=range(17),
)
def test_headers_without_a_model(text, refuses):
    refuses(put_together(text, b""))


@pytest.mark.parametrize("n", [0, 10**6, 25_000_001, 2**31, 2**63, 2**64 - 1])
def test_impossible_lengths_of_the_header(content, n, refuses):
    refuses(sealed(n.to_bytes(8, "little") + content[8:-32]), "header cannot have")


def entry(dtype="F64", shape=(2, 2), offsets=(0, 32)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "entries",
    [
        {"a": entry(offsets=(0, 10**15), shape=(125 * 10**12,))},
        {"a": entry(offsets=(0, 32)), "b": entry(offsets=(0, 32))},
        {f"a{i}": entry(offsets=(0, 32)) for i in range(1000)},
        {"a": entry(offsets=(8, 40))},
        {"a": entry(offsets=(32, 0))},
        {"a": entry(offsets=(0, 24), shape=(3,))},
        {"a": entry(shape=(4, 2))},
        {"a": entry(shape=(-2, -2))},
        {"a": entry(shape=(2.0, 2))},
        {"a": entry(shape=(True, 4))},
        {"a": entry(shape=(2**64, 2**64, 0), offsets=(0, 0)), "b": entry()},
        {"a": entry(shape=(2**62, 4, 0), offsets=(0, 0)), "b": entry()},
        {"a": entry(shape=(1,) * 33 + (4,))},
        {"a": entry(dtype="F99")},
        {"a": entry(dtype=["F64"])},
        {"a": entry(dtype="BOOL", shape=(32,))},
        {"a": 1},
        {"a": []},
        {"a": {}},
        {"a": {"dtype": "F64", "shape": "22", "data_offsets": "08"}},
    ],
    ids=range(20),
)
def test_impossible_arrays(content, entries, refuses):
    header, _, _ = taken_apart(content)
    refuses(put_together({"__metadata__": header["__metadata__"]} | entries, b"\2" * 32))


def set_in(*keys, to):
    """Change of an entry of the model."""

    def change(header, model):
        place = model
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return change


def set_metadata(key, to):
    return lambda header, model: header["__metadata__"].update({key: to})


def unchanged(header, model):
    pass


def lose(key):
    return lambda header, model: model["state"].pop(key)


def transpose_first(header, model):
    header["coefs_.0"]["shape"] = [1, 4]


def narrow_the_last(header, model):
    header["coefs_.1"]["shape"] = [3, 2]


LABELS = ("state", "_label_binarizer", "labels")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (set_metadata("format", "other"), "has not written"),
        (
            set_metadata("format_version", "2"),
            "version '2', fastmlp .* reads version 1. Install a newer",
        ),
        (set_in("class", to="MLP"), "holds 'MLP', not MLPClassifier or MLPRegressor"),
        (set_in("class", to=["MLPClassifier"]), None),
        (set_in("parameters", "later", to=1), "no parameter 'later'"),
        (set_in("parameters", "alpha", to=-1), "'alpha' parameter"),
        (set_in("parameters", "alpha", to={"float": "1e9"}), "no float"),
        (set_in("parameters", "alpha", to={"scalar": ["V999999999", 1]}), None),
        (set_in("parameters", "alpha", to={"scalar": ["float64", "x"]}), None),
        (set_in("parameters", "solver", to={"object": ["solver", "sgd", {"momentum": 7}]}), "mom"),
        (set_in("parameters", "solver", to={"object": ["solver", "sgd", {"x": 7}]}), "'x'"),
        (set_in("parameters", "solver", to={"object": ["os", "system", {}]}), None),
        (set_in("parameters", "solver", to={"call": ["os.system"]}), None),
        (set_in("parameters", "solver", to={}), None),
        (set_in("state", "predict", to=1), "no fitted attribute"),
        (set_in("state", "__class__", to=1), "no fitted attribute"),
        (set_in("state", "__dict__", to=1), "no fitted attribute"),
        (set_in("state", "_outputs", to=1), "no fitted attribute"),
        (set_in("state", "_optimizer", to=1), "no fitted attribute"),
        (set_in("state", "alpha", to=2), "no fitted attribute"),
        (set_in("state", "", to=2), "no fitted attribute"),
        (set_in("state", "n_features_in_", to=3), "coefs_"),
        (set_in("state", "n_features_in_", to=10**15), "coefs_"),
        (set_in("state", "n_features_in_", to="2"), None),
        (set_in("state", "n_layers_", to=2), "coefs_"),
        (set_in("state", "n_layers_", to=None), None),
        (set_in("state", "n_outputs_", to=4), None),
        (set_in("state", "out_activation_", to="none"), None),
        (set_in("state", "coefs_", to=[]), None),
        (set_in("state", "coefs_", to=[{"tensor": "coefs_.0"}] * 2), "twice"),
        (set_in("state", "coefs_", 0, to=None), None),
        (set_in("state", "further_", to={"strings": ["U", ["a", 1]]}), "strings"),
        (set_in("state", "further_", to={"strings": ["S", ["a"]]}), "strings"),
        (set_in("state", "coefs_", 0, to={"floats": "coefs_.0"}), "list of floats"),
        (set_in("state", "further_", to={"dict": [[[], 1]]}), None),
        (set_in("state", "feature_names_in_", to={"strings": ["O", ["a"]]}), "feature_names_in_"),
        (set_in("state", "_best_coefs", to=[]), "_best_coefs"),
        (set_in("state", "t_", to=None), "t_ cannot be None"),
        (set_in("state", "n_iter_", to=-1), "n_iter_ cannot be -1"),
        (set_in("state", "_no_improvement_count", to=[]), "_no_improvement_count cannot be"),
        (set_in("state", "best_loss_", to="low"), "best_loss_ cannot be 'low'"),
        (set_in("state", "loss_curve_", to=0.5), "loss_curve_ cannot be 0.5"),
        (set_in("state", "loss_curve_", 0, to=None), "loss_curve_ cannot be"),
        (set_in("state", "_session", to={}), None),
        (set_in("state", "_session", to=1), None),
        (set_in(*LABELS, "y_type_", to="binary"), None),
        (set_in(*LABELS, "y_type_", to="other"), "labels"),
        (set_in(*LABELS, "classes_", to={"strings": ["U", ["a", "b"]]}), "classes"),
        (set_in(*LABELS, "classes_", to=[1, 2, 3]), None),
        (set_in(*LABELS, "further", to=1), "incomplete"),
        (set_in("layers", 0, "width", to=3), "layers"),
        (set_in("layers", to=[]), "layers"),
        (lose("coefs_"), None),
        (lose("intercepts_"), None),
        (lose("classes_"), None),
        (lose("_label_binarizer"), None),
        (lose("n_features_in_"), None),
        (transpose_first, r"coefs_\[0\] has shape"),
        (narrow_the_last, r"coefs_\[1\] has shape"),
    ],
)
def test_forged_models(content, change, match, refuses, tmp_path):
    path = tmp_path / "good"
    path.write_bytes(changed(content, unchanged))
    load_model(path)
    refuses(changed(content, change), match)


@pytest.mark.filterwarnings("error")
def test_numbers_too_large_for_their_dtype(content, refuses):
    form = {"scalar": ["float32", 1e300]}
    refuses(changed(content, set_in("parameters", "alpha", to=form)), "alpha.*inf")
    refuses(changed(content, set_in("parameters", "tol", to={"scalar": ["int8", 1000]})))


def test_forged_state_of_the_optimizer(tmp_path, refuses):
    est = classifier(X=X[:, :2], hidden_layer_sizes=2).partial_fit(X[:, :2], y)
    est.save_model(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    session = ("state", "_session", "dict")
    _, model, _ = taken_apart(content)
    keys = [key for key, _ in model["state"]["_session"]["dict"]]
    names = ("rule", "averages", "t", "learning_rate_init")
    rule, averages, t, rate = map(keys.index, names)
    for change in (
        set_in(*session, 0, to=["further", 1]),
        set_in(*session, rule, 1, to={"object": ["learning_rate", "constant", {}]}),
        set_in(*session, averages, 1, "tuple", 0, "tuple", 0, to=3),
        set_in(*session, t, 1, to="1"),
        set_in(*session, t, 1, to=2**63),
        set_in(*session, rate, 1, to="0.1"),
    ):
        refuses(changed(content, change))


def test_no_file_takes_much_memory(content, tmp_path):
    """Bombs: short texts that would become large values."""
    long = "a" * 100_000
    header = {"__metadata__": {}} | {f"a{i}": entry() for i in range(20_000)}
    bombs = [
        put_together(nested(1_000_000), b""),
        put_together(header, b"\0" * 32),
        changed(content, set_in("state", "x_", to={"strings": ["U", [long, *["b"] * 20_000]]})),
        # these are loaded: what a fit would do with them is its concern
        changed(content, set_in("parameters", "hidden_layer_sizes", to=[10**15] * 1000)),
        changed(content, set_in("parameters", "n_jobs", to=10**9)),
    ]
    loaded = []
    for bomb in bombs:
        (tmp_path / "bomb").write_bytes(bomb)
        tracemalloc.start()
        try:
            with contextlib.suppress(ValueError):
                loaded.append(load_model(tmp_path / "bomb"))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 30 * len(bomb) + 1_000_000
    assert len(loaded) == 2


watched = []  # a hook of this kind stays for as long as the process lives
watching = False


def watch(event, arguments):
    if watching and event in {"exec", "compile", "import", "pickle.find_class", "os.system"}:
        watched.append((event, arguments))


def test_nothing_is_executed(content, tmp_path):
    global watching
    path = tmp_path / "model"
    path.write_bytes(content)
    load_model(path)  # what is imported when first needed
    sys.addaudithook(watch)
    watching = True
    try:
        load_model(path)
    finally:
        watching = False
    assert watched == []


def test_public_name():
    assert "load_model" in fastmlp.__all__
