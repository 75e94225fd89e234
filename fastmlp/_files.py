"""Model files: what a pickle of an estimator holds, in a form that holds no code.

A file is in the safetensors format. Arrays and long lists of floats are its tensors, named after
the attribute that they belong to (``coefs_.0``). Everything else is strict JSON in the metadata:

    format, format_version   "fastmlp" and the version of what follows
    fastmlp_version          of the package that wrote the file
    model                    an object of class, layers, parameters, state and perhaps routing

``class`` is the estimator's name. ``layers`` is for other programs: width and activation of each,
how it is normalised, whether it is residual; and, in the last one, the ``levels`` of quantiles: the
outputs are as many for each target, and sorted they are the predictions. ``routing`` is what
``set_fit_request`` and the like have set: by method and parameter, whether scikit-learn's
meta-estimators pass it on, or by which name. ``parameters`` and ``state`` hold numbers, strings,
booleans, null and lists as they are. An object of one key is one of

    {"tensor": name}         an array
    {"floats": name}         a list of floats
    {"strings": [kind, [...]]}    an array of strings: of NumPy's ("U") or of Python's ("O")
    {"float": "inf"}         what JSON has no number for
    {"scalar": [dtype, v]}   a NumPy scalar
    {"tuple": [...]}, {"dict": [[key, value], ...]}
    {"object": [family, name, {...}]}    a member of a family and its parameters
    {"labels": {...}}        the coding of a classifier's labels
"""

import copy
import json
import math
import operator
import os
import reprlib
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from . import __version__, _network, _safetensors, _structure
from ._families import Choice
from ._parameters import FAMILIES
from ._training import Labels, Session, has_average
from .optimizers import Optimizer
from .schedules import Schedule

FORMAT_VERSION = "1"

# A list of more floats than this becomes a tensor.
_FEW = 64

# All of NumPy's strings take as much memory as the longest: this is bounded.
_MAX_TEXT = 100_000_000

# Methods with arguments that meta-estimators may pass on.
_ROUTED = ("fit", "partial_fit", "score")

_LABELS = ("y_type_", "sparse_input_", "classes_")  # what LabelBinarizer.fit finds

# Fitted attributes from which training goes on. Numbers and curves are None where they have no use.
_COUNTS = ("n_iter_", "t_", "_no_improvement_count")
_NUMBERS = ("loss_", "best_loss_", "best_validation_score_")
_CURVES = ("loss_curve_", "learning_rate_curve_", "validation_scores_", "validation_loss_curve_")


# ------------------------------------------------------------------------------------------ save
def save(est: Any, path: str | os.PathLike[str]) -> None:
    """Write the file of a fitted estimator."""
    cls = _stored_class(est)
    check_is_fitted(est, "coefs_")
    est._validate_params()
    state = est.__getstate__()
    for name in ("_fastmlp_version", "_metadata_request", "_skl_callbacks"):
        state.pop(name, None)
    writer = _Writer()
    forms = {name: writer.form(value, name) for name, value in state.items()}
    names = est.get_params(deep=False)
    model = {
        "class": cls.__name__,
        "layers": _layers(est),
        "parameters": {name: forms.pop(name) for name in names},
        "state": forms,
    }
    if "_metadata_request" in vars(est):
        model["routing"] = _routing(est)
    metadata = {
        "format": __package__,
        "format_version": FORMAT_VERSION,
        "fastmlp_version": __version__,
        "model": json.dumps(model, allow_nan=False),
    }
    _safetensors.write(path, _safetensors.pack(writer.tensors, metadata))


def _layers(est: Any) -> list[dict[str, Any]]:
    """Return the network's structure: what a program needs to compute its outputs."""
    coefs, _ = _network.parameters(est, est.n_features_in_)
    layers = [
        {"width": W.shape[1], "activation": activation}
        for W, activation in zip(coefs, _network.activations(est), strict=True)
    ]
    structure = _structure.fitted(vars(est))
    for layer, kind in zip(layers, structure.get("normalization", ()), strict=False):
        layer["normalization"] = kind
    for layer in layers[:-1] if structure.get("residual") else []:
        layer["residual"] = True
    if "levels_" in vars(est):
        layers[-1]["levels"] = [float(level) for level in est.levels_]
    return layers


def _stored_class(est: Any) -> type:
    cls = type(est)
    if cls.__module__.partition(".")[0] != __package__:
        raise ValueError(
            f"save_model stores MLPClassifier and MLPRegressor, not their subclass {cls.__name__}."
        )
    return cls


def parameters(est: Any, without: Sequence[str]) -> tuple[list[NDArray], dict[str, Any]]:
    """Return arrays and JSON of the parameters, except some, as a file would hold them."""
    writer, params = _Writer(), est.get_params(deep=False)
    forms = {name: writer.form(v, name) for name, v in params.items() if name not in without}
    return list(writer.tensors.values()), {"class": _stored_class(est).__name__, **forms}


def _routing(est: Any) -> dict[str, dict[str, bool | str]]:
    """Return what methods request of meta-estimators."""
    requests = est.get_metadata_routing()
    return {
        method: {
            name: asked
            for name, asked in getattr(requests, method).requests.items()
            if asked is not None
        }
        for method in _ROUTED
    }


class _Writer:
    """Turns values into JSON, and arrays into tensors."""

    def __init__(self) -> None:
        self.tensors: dict[str, NDArray] = {}

    def form(self, value: Any, where: str) -> Any:
        """Return the JSON of a value."""
        kind = type(value)
        if value is None or kind in (bool, int):
            return value
        if isinstance(value, str):
            return str(value)  # NumPy's as well
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is list and len(value) > _FEW and all(type(item) is float for item in value):
            return {"floats": self._tensor(np.array(value), where)}
        if kind in (list, tuple):
            forms = [self.form(item, f"{where}.{i}") for i, item in enumerate(value)]
            return forms if kind is list else {"tuple": forms}
        if kind is dict:
            items = value.items()
            return {"dict": [[self.form(k, where), self.form(v, f"{where}.{k}")] for k, v in items]}
        if kind is np.ndarray:
            return self._array(value, where)
        if isinstance(value, np.bool_ | np.integer | np.floating) and _safetensors.has_form(value):
            return {"scalar": [value.dtype.name, self.form(value.item(), where)]}
        if isinstance(value, Choice):
            return self._member(value, where)
        if kind is LabelBinarizer:
            return {
                "labels": {
                    name: self.form(getattr(value, name), f"{where}.{name}") for name in _LABELS
                }
            }
        raise self._no_form(value, where)

    def _array(self, a: NDArray, where: str) -> dict[str, Any]:
        if _safetensors.has_form(a):
            return {"tensor": self._tensor(a, where)}
        if a.dtype.kind in "UO" and a.ndim == 1 and a.nbytes <= _MAX_TEXT:
            items = a.tolist()
            if all(type(item) is str for item in items):
                return {"strings": [a.dtype.kind, items]}
        raise self._no_form(a, where)

    def _member(self, value: Choice, where: str) -> dict[str, Any]:
        for family, members in FAMILIES.items():
            if members.get(getattr(value, "name", None)) is type(value):
                params = value.get_params()
                forms = {name: self.form(params[name], f"{where}.{name}") for name in params}
                return {"object": [family, value.name, forms]}
        raise self._no_form(value, where)

    def _tensor(self, a: NDArray, where: str) -> str:
        while where in self.tensors:  # a dict may have the keys 1 and "1"
            where += "'"
        self.tensors[where] = a
        return where

    @staticmethod
    def _no_form(value: Any, where: str) -> ValueError:
        return ValueError(
            f"save_model cannot store {where}={reprlib.repr(value)}: a model file holds numbers, "
            "strings, arrays, and the objects of fastmlp's families, but neither code nor "
            "generators. Replace it, or pickle the estimator."
        )


# ------------------------------------------------------------------------------------------ load
def load(path: str | os.PathLike[str], classes: Mapping[str, type]) -> Any:
    """Return the estimator that a file holds, an instance of one of these classes."""
    path = os.fspath(path)  # and not the number of an open file
    try:
        content = _safetensors.unpack(_safetensors.read(path))
        with np.errstate(all="ignore"):  # numbers too large for their dtype become infinite
            return _estimator(*content, classes)
    except (
        # whatever a value of another kind than expected leads to
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path!r} cannot be loaded: {error}") from error


def _estimator(
    tensors: dict[str, NDArray], metadata: dict[str, str], classes: Mapping[str, type]
) -> Any:
    if metadata.get("format") != __package__:
        raise ValueError("it is a safetensors file that save_model has not written")
    if metadata["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"its format has version {reprlib.repr(metadata['format_version'])}, fastmlp "
            f"{__version__} reads version {FORMAT_VERSION}. Install a newer fastmlp"
        )
    model = _safetensors.parse(metadata["model"])
    reader = _Reader(tensors)
    params = {name: reader.value(form) for name, form in model["parameters"].items()}
    state = {name: reader.value(form) for name, form in model["state"].items()}
    if tensors:
        raise ValueError(f"nothing refers to its array {min(tensors)!r}")
    cls = classes.get(model["class"])
    if cls is None:
        raise ValueError(f"it holds {reprlib.repr(model['class'])}, not {' or '.join(classes)}")
    for name in params.keys() - cls._parameter_constraints.keys():
        raise ValueError(
            f"{model['class']} has no parameter {name!r} in fastmlp {__version__}; the file was "
            f"written by {reprlib.repr(metadata['fastmlp_version'])}"
        )
    est = cls(**params)
    with config_context(enable_metadata_routing=True):
        for method, requests in model.get("routing", {}).items():
            getattr(est, f"set_{method}_request")(**requests)
    for name in state:
        # Neither methods and properties nor what Python itself looks for.
        fitted = name.endswith("_") or name.startswith("_")
        if not fitted or name.startswith("__") or hasattr(type(est), name) or name in vars(est):
            raise ValueError(f"it sets {name!r}, which is no fitted attribute")
    _check_progress(state)
    _check_session(state)
    est.__setstate__(vars(est) | state | {"_fastmlp_version": __version__})
    _check(est)
    if model["layers"] != json.loads(json.dumps(_layers(est))):
        raise ValueError("its layers are not those of its arrays")
    return est


class _Reader:
    """Turns JSON into values. Each tensor is taken by one of them."""

    def __init__(self, tensors: dict[str, NDArray]) -> None:
        self.tensors = tensors

    def value(self, form: Any) -> Any:
        """Return the value that was stored."""
        if isinstance(form, list):
            return [self.value(item) for item in form]
        if not isinstance(form, dict):
            return form
        ((tag, content),) = form.items()
        return _KINDS[tag](self, content)

    def _tensor(self, name: str) -> NDArray:
        if name not in self.tensors:
            raise ValueError(f"it has no array {name!r}, or refers to it twice")
        return self.tensors.pop(name)

    def _floats(self, name: str) -> list[float]:
        a = self._tensor(name)
        if a.dtype != np.float64 or a.ndim != 1:
            raise ValueError(f"the array {name!r} is no list of floats")
        return a.tolist()

    def _strings(self, content: list[Any]) -> NDArray:
        kind, items = content
        if kind not in ("U", "O") or not all(type(item) is str for item in items):
            raise ValueError("an array of strings holds something else")
        if kind == "U" and 4 * len(items) * max(map(len, items), default=0) > _MAX_TEXT:
            raise ValueError("an array of strings is too large")
        return np.array(items, dtype=object).astype(kind)

    def _float(self, text: str) -> float:
        if text not in ("inf", "-inf", "nan"):
            raise ValueError(f"{reprlib.repr(text)} is no float")
        return float(text)

    def _scalar(self, content: list[Any]) -> np.generic:
        name, form = content
        return _SCALARS[name](self.value(form))

    def _tuple(self, items: list[Any]) -> tuple:
        return tuple(self.value(item) for item in items)

    def _dict(self, pairs: list[Any]) -> dict[Any, Any]:
        return {self.value(key): self.value(value) for key, value in pairs}

    def _object(self, content: list[Any]) -> Choice:
        family, name, forms = content
        return FAMILIES[family][name](**{key: self.value(form) for key, form in forms.items()})

    def _labels(self, forms: dict[str, Any]) -> LabelBinarizer:
        if forms.keys() != set(_LABELS):
            raise ValueError("the coding of its labels is incomplete")
        binarizer = LabelBinarizer()
        vars(binarizer).update({name: self.value(form) for name, form in forms.items()})
        return binarizer


_SCALARS = {dtype.name: dtype.type for dtype in _safetensors.DTYPES.values()}
_KINDS = {
    "tensor": _Reader._tensor,
    "floats": _Reader._floats,
    "strings": _Reader._strings,
    "float": _Reader._float,
    "scalar": _Reader._scalar,
    "tuple": _Reader._tuple,
    "dict": _Reader._dict,
    "object": _Reader._object,
    "labels": _Reader._labels,
}


# ----------------------------------------------------------------------------------------- check
def _check(est: Any) -> None:
    """Refuse what prediction or training would stumble over."""
    est._validate_params()
    n_features = operator.index(est.n_features_in_)
    coefs, intercepts = _network.parameters(est, n_features)
    _structure.check(vars(est), (n_features, *(W.shape[1] for W in coefs)))
    coefs, intercepts = _structure.joined(vars(est), coefs, intercepts)
    for name, arrays in (("_best_coefs", coefs), ("_best_intercepts", intercepts)):
        if [a.shape for a in getattr(est, name, arrays)] != [a.shape for a in arrays]:
            raise ValueError(f"{name} has other shapes than the network")
    labels = getattr(est, "_label_binarizer", None)
    if labels is not None:
        _check_labels(labels, est)
    names = getattr(est, "feature_names_in_", None)
    if names is not None and (names.dtype != object or names.shape != (n_features,)):
        raise ValueError("feature_names_in_ does not name its features")
    nameless = copy.copy(est)  # or an array, which has no names, would be warned of
    vars(nameless).pop("feature_names_in_", None)
    nameless.predict(np.zeros((1, n_features), coefs[0].dtype))


def _check_labels(labels: LabelBinarizer, est: Any) -> None:
    classes, kind = labels.classes_, labels.y_type_
    binary = kind == "binary" and len(classes) <= 2
    if not binary and kind not in ("multiclass", "multilabel-indicator"):
        raise ValueError(f"its labels are {reprlib.repr(kind)}")
    if classes.ndim != 1 or not np.array_equal(classes, est.classes_):
        raise ValueError("its classes are not those of its labels")
    if Labels(None, labels).n_outputs != est.n_outputs_:
        raise ValueError(f"it has {len(classes)} classes and {est.n_outputs_} outputs")


def _check_progress(state: dict[str, Any]) -> None:
    """Refuse counters and curves with which training could not go on."""
    for name in state.keys() & {*_COUNTS, *_NUMBERS, *_CURVES}:
        value = state[name]
        if name in _COUNTS:
            right = _is_count(value)
        elif name in _CURVES and value is not None:
            right = type(value) is list and all(isinstance(item, Real) for item in value)
        else:
            right = value is None or isinstance(value, Real)
        if not right:
            raise ValueError(f"{name} cannot be {reprlib.repr(value)}")


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and 0 <= value < 2**63  # the engine's int64


def _check_session(state: dict[str, Any]) -> None:
    """Refuse a state of the optimizer with which training could not go on."""
    if "_session" not in state:
        return
    stored = state["_session"]
    if not isinstance(stored["rule"], Optimizer) or not isinstance(stored["schedule"], Schedule):
        raise ValueError("its optimizer is none")
    fresh = Session(stored["rule"], stored["schedule"], 0.1).stored()
    seed = stored.get("seed", 0)
    is_seed = type(seed) is int and 0 <= seed < 2**32
    if fresh.keys() != stored.keys() - {"seed"} or not is_seed:
        raise ValueError("the state of its optimizer is incomplete")
    for name, value in fresh.items():
        found = stored[name]
        right = _is_count(found) if isinstance(value, int) else isinstance(found, Real)
        if isinstance(value, Real) and not right:
            raise ValueError(f"{name} of its optimizer cannot be {reprlib.repr(found)}")
    if stored["averages"] is not None:
        known, averages = stored["averages"]
        widths = (state["n_features_in_"], *(W.shape[1] for W in state["coefs_"]))
        size = _network.count(widths, _structure.fitted(state))
        if known != widths or averages.ndim != 2 or averages.shape[1] != size:
            raise ValueError("the state of its optimizer is that of another network")
        has_average(stored["rule"], averages)
