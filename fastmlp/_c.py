"""Export to C: one source file and its header, for programs without Python."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from . import __version__, _safetensors
from ._base import BaseMLP, Matrix
from ._layers import EPSILON, Layer, is_multilabel, layers, with_layers


def to_c(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    precision: Literal["float32", "int8"] = "float32",
    names: bool = False,
    X: Matrix | None = None,
    y: Matrix | None = None,
) -> dict[str, float]:
    """Write a fitted estimator as C99 source, ``path.c`` and ``path.h``.

    The code needs nothing but the standard library with its mathematics (``-lm``); it computes in
    float32, allocates nothing, has no state and may be called from several threads. The header says
    what its functions take and return. Batch normalisation becomes part of the weights.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or Pipeline
        Fitted estimator, or a :class:`~sklearn.pipeline.Pipeline` that ends with one. Steps before
        it must be :class:`~sklearn.preprocessing.StandardScaler`; they become part of the code.

    path : str or path-like
        Where to write, with or without the ending ".c". The name of the file begins the names of
        all functions, what C does not allow there replaced by ``_``. Existing files are replaced.

    precision : {'float32', 'int8'}, default='float32'
        How weights are stored. 'int8' rounds them to multiples of a scale that each unit has for
        itself, its largest weight / 127: a quarter of the size. Biases, inputs and arithmetic are
        float32 in any case.

    names : bool, default=False
        Whether the code includes class labels and feature names, as arrays of strings.

    X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
        Samples on which to tell what is lost; test data, as for a score.

    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Their targets.

    Returns
    -------
    report : dict of str to float
        ``"n_bytes"``, the size of all constants; with X ``"largest_difference"`` of a prediction,
        probabilities for a classifier, from the estimator's own, and for classifiers
        ``"agreement"``, the share of samples with the same labels; with y as well ``"score"`` and
        the estimator's own ``"score_before"``. The header states them, too. They are of the
        rounded weights: the code itself differs by rounding of its float32 sums.

    Raises
    ------
    ValueError
        If a step of the pipeline is no StandardScaler, if weights are not finite as float32, or for
        ``precision="bfloat16"`` of the estimator.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastmlp import MLPRegressor, to_c
    >>> reg = MLPRegressor(solver="lbfgs", random_state=0).fit([[0.0], [1.0], [2.0]], [1, 3, 5])
    >>> to_c(reg, os.path.join(tempfile.mkdtemp(), "line"))
    {'n_bytes': 1204}
    """
    if precision not in ("float32", "int8"):
        raise ValueError(f"precision must be 'float32' or 'int8', got {precision!r}.")
    if y is not None and X is None:
        raise ValueError("y given without X.")
    scalers, est = _parts(estimator)
    network = layers(est, np.float32, "to_c")
    matrices = [_matrices(layer, precision) for layer in network]
    scales = [_mean_and_factor(scaler, est.n_features_in_) for scaler in scalers]
    target = Path(path)
    if target.suffix == ".c":
        target = target.with_suffix("")
    code = _Code(_identifier(target.name), target.name, est, network, matrices, scales)
    report = {"n_bytes": code.n_bytes}
    if X is not None:
        rounded = [
            layer._replace(W=W.values(), skip=P.values() if P else layer.skip)
            for layer, (W, P) in zip(network, matrices, strict=True)
        ]
        report |= _compare(scalers, est, with_layers(est, rounded), X, y)
    features = getattr(scalers[0] if scalers else est, "feature_names_in_", None)
    if names:
        code.add_names(features)
    _write(target, ".c", code.source())
    _write(target, ".h", code.header(report, precision))
    return report


def _write(target: Path, ending: str, lines: Iterable[str]) -> None:
    text = "\n".join(lines) + "\n"
    _safetensors.write(target.with_name(target.name + ending), [text.encode()])


def _parts(estimator: Any) -> tuple[list[StandardScaler], BaseMLP]:
    """Return the scalers of a pipeline and the network behind them."""
    steps = estimator.steps if isinstance(estimator, Pipeline) else [("", estimator)]
    scalers = [step for _, step in steps[:-1] if step is not None and step != "passthrough"]
    for step in scalers:
        if type(step) is not StandardScaler:
            raise ValueError(f"to_c writes no {type(step).__name__}, only StandardScaler.")
        check_is_fitted(step)
    est = steps[-1][1]
    if not isinstance(est, BaseMLP):
        raise ValueError(
            "to_c writes an MLPClassifier or MLPRegressor of fastmlp, or a pipeline that ends with "
            f"one, got {type(est).__name__}."
        )
    check_is_fitted(est, "coefs_")
    return scalers, est


def _identifier(name: str) -> str:
    name = re.sub(r"[^0-9A-Za-z_]", "_", name)
    return name if re.match("[A-Za-z]", name) else f"mlp_{name}"


def _mean_and_factor(scaler: StandardScaler, n_features: int) -> tuple[NDArray, NDArray]:
    zeros, ones = np.zeros(n_features), np.ones(n_features)
    mean = scaler.mean_ if scaler.with_mean else zeros
    return mean.astype(np.float32), (1 / (scaler.scale_ if scaler.with_std else ones)).astype("f4")


# -------------------------------------------------------------------------------------- weights
class Stored(NamedTuple):
    """Weights as C stores them: whole numbers, and a scale for each unit; or floats without."""

    numbers: NDArray
    scales: NDArray | None

    def values(self) -> NDArray:
        """Return the weights that the code computes with."""
        return self.numbers if self.scales is None else self.numbers * self.scales


def _matrices(layer: Layer, precision: str) -> tuple[Stored, Stored | None]:
    """Return weights and projection of a layer."""
    skip = None if isinstance(layer.skip, bool) else _matrix(layer.skip, precision)
    return _matrix(layer.W, precision), skip


def _matrix(W: NDArray, precision: str) -> Stored:
    if precision == "float32":
        return Stored(W, None)
    _check_finite(W)
    scales = np.abs(W).max(axis=0) / np.float32(127)
    scales[scales == 0] = 1
    return Stored(np.rint(W / scales).astype(np.int8), scales)


def _compare(scalers: list[StandardScaler], est: Any, rounded: Any, X: Any, y: Any) -> dict:
    """Return what the rounded network loses on these data."""
    for scaler in scalers:
        X = scaler.transform(X)
    method = "predict_proba" if is_classifier(est) else "predict"
    before, after = getattr(est, method)(X), getattr(rounded, method)(X)
    report = {"largest_difference": float(np.abs(after - before).max())}
    if is_classifier(est):
        labels = [one.predict(X) for one in (est, rounded)]
        a, b = (one.toarray() if issparse(one) else one for one in labels)
        report["agreement"] = float((a == b).reshape(len(before), -1).all(axis=1).mean())
    if y is not None:
        report |= {"score": float(rounded.score(X, y)), "score_before": float(est.score(X, y))}
    return report


# ----------------------------------------------------------------------------------------- text
def _check_finite(a: NDArray) -> None:
    if not np.isfinite(a).all():
        raise ValueError("to_c writes finite numbers only, but there are others in the network.")


def _literals(a: NDArray) -> list[str]:
    """Return numbers as C writes them: the shortest that read back as the same float."""
    _check_finite(a)
    texts = a.ravel().astype(str).tolist()
    return texts if a.dtype.kind == "i" else [text + "f" for text in texts]


def _string(text: str) -> str:
    """Return a string literal; what is not plain ASCII as octal bytes."""
    return f'"{"".join(map(_character, text.encode()))}"'


def _character(byte: int) -> str:
    is_plain = 32 <= byte < 127 and byte not in b'"\\?'
    return chr(byte) if is_plain else f"\\{byte:03o}"


# Function of x, and of the values of its parameters in the order of the family's object.
_ACTIVATIONS = {
    "logistic": "1.0f / (1.0f + expf(-x))",
    "tanh": "tanhf(x)",
    "relu": "x > 0.0f ? x : 0.0f",
    "leaky_relu": "x > 0.0f ? x : {0} * x",
    "elu": "x > 0.0f ? x : {0} * expm1f(x)",
    "selu": "1.05070099f * (x > 0.0f ? x : 1.67326324f * expm1f(x))",
    "celu": "x > 0.0f ? x : {0} * expm1f(x / {0})",
    "gelu": "0.5f * x * erfcf(-0.707106781f * x)",
    "silu": "x / (1.0f + expf(-x))",
    "mish": "x * tanhf(fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))))",
    "softplus": "fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)))",
    "softsign": "x / (1.0f + fabsf(x))",
    "relu6": "fminf(fmaxf(x, 0.0f), 6.0f)",
    "hardswish": "x * fminf(fmaxf(x + 3.0f, 0.0f), 6.0f) / 6.0f",
    "hardsigmoid": "fminf(fmaxf(x + 3.0f, 0.0f), 6.0f) / 6.0f",
    "exp": "expf(x)",
}

_ADD_PRODUCT = """\
/* z += a W, W of shape (n_in, n_out) */
static void add_product(const float *restrict a, const float *restrict w, float *restrict z,
                        int n_in, int n_out)
{
    for (int i = 0; i < n_in; i++, w += n_out) {
        const float x = a[i];
        if (x != 0.0f)
            for (int j = 0; j < n_out; j++)
                z[j] += x * w[j];
    }
}
"""

_ADD_PRODUCT_8 = """\
/* z += a W, W of shape (n_in, n_out) with a scale for each column */
static void add_product(const float *restrict a, const int8_t *restrict w,
                        const float *restrict scale, float *restrict z, int n_in, int n_out)
{
    for (int i = 0; i < n_in; i++, w += n_out) {
        const float x = a[i];
        if (x != 0.0f)
            for (int j = 0; j < n_out; j++)
                z[j] += x * (scale[j] * (float)w[j]);
    }
}
"""

_NORMALIZE = f"""\
/* Mean 0 and variance 1 over the units, then a scale and a shift for each. */
static void normalize(float *restrict z, const float *restrict scale, const float *restrict shift,
                      int n)
{{
    float mean = 0.0f, variance = 0.0f;
    for (int j = 0; j < n; j++)
        mean += z[j] / (float)n;
    for (int j = 0; j < n; j++)
        variance += (z[j] - mean) * (z[j] - mean) / (float)n;
    const float inverse = 1.0f / sqrtf(variance + {EPSILON}f);
    for (int j = 0; j < n; j++)
        z[j] = (z[j] - mean) * inverse * scale[j] + shift[j];
}}
"""

_SOFTMAX = """\
static void softmax(float *z, int n)
{
    float top = z[0], sum = 0.0f;
    for (int j = 1; j < n; j++)
        top = fmaxf(top, z[j]);
    for (int j = 0; j < n; j++)
        sum += z[j] = expf(z[j] - top);
    for (int j = 0; j < n; j++)
        z[j] /= sum;
}
"""

_SORT = """\
static void sort(float *z, int n)
{
    for (int i = 1; i < n; i++) {
        const float x = z[i];
        int j = i;
        for (; j > 0 && z[j - 1] > x; j--)
            z[j] = z[j - 1];
        z[j] = x;
    }
}
"""


def _function(signature: str, *body: str) -> list[str]:
    return [signature, "{", *(f"    {line}" for line in body), "}"]


class _Code:
    """The text of both files.

    Attributes
    ----------
    prefix : str
        What names begin with.
    n_bytes : int
        Size of all constants.
    """

    def __init__(
        self,
        prefix: str,
        file: str,
        est: Any,
        network: list[Layer],
        matrices: list[tuple[Stored, Stored | None]],
        scales: list[tuple[NDArray, NDArray]],
    ) -> None:
        self.prefix, self.file, self.est, self.network = prefix, file, est, network
        self.n_bytes = 0
        self._constants: list[str] = []
        self._functions: dict[str, str] = {}
        self._names: dict[str, list[str]] = {}
        self._body: list[str] = []
        self._widths: dict[str, int] = {}
        current = "x"
        for i, (mean, factor) in enumerate(scales, 1):
            current = self._scaler(i, mean, factor, current)
        for i, (layer, stored) in enumerate(zip(network, matrices, strict=True), 1):
            current = self._layer(i, layer, stored, current, last=i == len(network))
        if hasattr(est, "levels_"):
            self._functions["sort"] = _SORT
            n = len(est.levels_)
            self._body += [
                f"    for (int j = 0; j < {est.n_outputs_}; j += {n})",
                f"        sort(y + j, {n});",
            ]

    # Numbers ------------------------------------------------------------------------------

    def _constant(self, name: str, a: NDArray) -> str:
        kind = "int8_t" if a.dtype.kind == "i" else "float"
        literals = _literals(a)
        rows = [", ".join(literals[i : i + 8]) for i in range(0, len(literals), 8)]
        self._constants += [f"static const {kind} {name}[{a.size}] = {{"]
        self._constants += [f"    {row}," for row in rows] + ["};", ""]
        self.n_bytes += a.nbytes
        return name

    def add_names(self, features: NDArray | None) -> None:
        """Include class labels and feature names."""
        if is_classifier(self.est):
            self._names["classes"] = [str(label) for label in self.est.classes_.tolist()]
        if features is not None:
            self._names["features"] = [str(name) for name in features]

    # Layers -------------------------------------------------------------------------------

    def _buffer(self, width: int, current: str) -> str:
        """Return the buffer that does not hold the current values."""
        name = "v" if current == "u" else "u"
        self._widths[name] = max(width, self._widths.get(name, 0))
        return name

    def _loop(self, n: int, statement: str) -> None:
        self._body += [f"    for (int j = 0; j < {n}; j++)", f"        {statement}"]

    def _scaler(self, i: int, mean: NDArray, factor: NDArray, current: str) -> str:
        z = self._buffer(mean.size, current)
        names = self._constant(f"mean_{i}", mean), self._constant(f"factor_{i}", factor)
        self._loop(mean.size, f"{z}[j] = ({current}[j] - {names[0]}[j]) * {names[1]}[j];")
        return z

    def _layer(
        self, i: int, layer: Layer, stored: tuple[Stored, Stored | None], a: str, last: bool
    ) -> str:
        n_in, n = layer.W.shape
        z = "y" if last else self._buffer(n, a)
        self._body += ["", f"    /* {n_in} -> {n} {layer.activation[0]} */"]
        biases = self._constant(f"biases_{i}", layer.b)
        self._body += [f"    memcpy({z}, {biases}, sizeof {biases});"]
        self._product(f"weights_{i}", stored[0], a, z)
        if layer.norm is not None:
            names = [
                self._constant(f"norm_{name}_{i}", vector)
                for name, vector in zip(("scale", "shift"), layer.norm, strict=True)
            ]
            self._functions["normalize"] = _NORMALIZE
            self._body += [f"    normalize({z}, {', '.join(names)}, {n});"]
        self._activation(layer.activation, z, n)
        if stored[1] is not None:
            self._product(f"projection_{i}", stored[1], a, z)
        elif layer.skip is True:
            self._loop(n, f"{z}[j] += {a}[j];")
        return z

    def _product(self, name: str, stored: Stored, a: str, z: str) -> None:
        n_in, n = stored.numbers.shape
        matrix = self._constant(name, stored.numbers)
        if stored.scales is not None:
            matrix += f", {self._constant(f'scale_of_{name}', stored.scales)}"
        self._functions["add_product"] = _ADD_PRODUCT if stored.scales is None else _ADD_PRODUCT_8
        self._body += [f"    add_product({a}, {matrix}, {z}, {n_in}, {n});"]

    def _activation(self, activation: tuple, z: str, n: int) -> None:
        name, *values = activation
        if name == "softmax":
            self._functions[name] = _SOFTMAX
            self._body += [f"    softmax({z}, {n});"]
        elif name != "identity":
            literals = _literals(np.array(values, np.float32))
            expression = _ACTIVATIONS[name].format(*literals)
            # Two layers may have one activation with different values.
            body = f"return {expression};"
            same = [key for key, text in self._functions.items() if body in text]
            function = same[0] if same else f"{name}_{len(self._functions)}"
            self._functions[function] = f"static float {function}(float x)\n{{\n    {body}\n}}\n"
            self._loop(n, f"{z}[j] = {function}({z}[j]);")

    # Files --------------------------------------------------------------------------------

    def source(self) -> list[str]:
        """Return the lines of the source file."""
        lines = [f"/* Written by fastmlp {__version__}; see {self.file}.h. */"]
        lines += [f'#include "{self.file}.h"', ""]
        lines += [f"#include <{name}.h>" for name in ("math", "stdint", "string")] + [""]
        lines += self._constants
        for name, texts in self._names.items():
            lines += [f"const char *const {self.prefix}_{name}[{len(texts)}] = {{"]
            lines += [f"    {_string(text)}," for text in texts] + ["};", ""]
        lines += "\n".join(self._functions.values()).splitlines()
        lines += ["", "static void outputs(const float *x, float *y)", "{"]
        lines += [f"    float {name}[{width}];" for name, width in sorted(self._widths.items())]
        return [*lines, *self._body, "}", "", *self._predict()]

    def _predict(self) -> list[str]:
        """Return the functions that others call."""
        prefix, n = self.prefix, self.est.n_outputs_
        if not is_classifier(self.est):
            return _function(f"void {prefix}_predict(const float *x, float *y)", "outputs(x, y);")
        body = ["outputs(x, proba);"]
        if n == 1:
            body += ["proba[1] = proba[0];", "proba[0] = 1.0f - proba[1];"]
        proba = _function(f"void {prefix}_predict_proba(const float *x, float *proba)", *body)
        start = [f"float proba[{max(n, 2)}];", f"{prefix}_predict_proba(x, proba);"]
        arguments = "const float *x, int *labels" if is_multilabel(self.est) else "const float *x"
        kind = "void" if is_multilabel(self.est) else "int"
        signature = f"{kind} {prefix}_predict({arguments})"
        return [*proba, "", *_function(signature, *start, *self._decode(n))]

    def _decode(self, n: int) -> list[str]:
        """Return what makes labels of probabilities."""
        if is_multilabel(self.est):
            return [f"for (int j = 0; j < {n}; j++)", "    labels[j] = proba[j] > 0.5f;"]
        if n == 1:
            return ["return proba[1] > 0.5f;" if len(self.est.classes_) > 1 else "return 0;"]
        return [
            "int best = 0;",
            f"for (int j = 1; j < {n}; j++)",
            "    if (proba[j] > proba[best])",
            "        best = j;",
            "return best;",
        ]

    def header(self, report: dict[str, float], precision: str) -> list[str]:
        """Return the lines of the header."""
        upper, guard = self.prefix.upper(), f"{self.prefix.upper()}_H"
        lines = ["/*", *self._about(report, precision), " */"]
        lines += [f"#ifndef {guard}", f"#define {guard}", ""]
        lines += [f"#define {upper}_N_FEATURES {self.est.n_features_in_}"]
        lines += [f"#define {upper}_N_OUTPUTS {self._n_outputs()}", ""]
        lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
        for name, texts in self._names.items():
            lines += [f"extern const char *const {self.prefix}_{name}[{len(texts)}];"]
        lines += [""] * bool(self._names)
        lines += self._declarations()
        return [*lines, "", "#ifdef __cplusplus", "}", "#endif", "", "#endif"]

    def _n_outputs(self) -> int:
        n = self.est.n_outputs_
        return max(n, 2) if is_classifier(self.est) else n

    def _about(self, report: dict[str, float], precision: str) -> list[str]:
        est = self.est
        chain = " -> ".join(
            [str(est.n_features_in_)]
            + [f"{layer.W.shape[1]} {layer.activation[0]}" for layer in self.network]
        )
        stack = 4 * (sum(self._widths.values()) + self._n_outputs())
        lines = [
            f" * {type(est).__name__}, {chain}; written by fastmlp {__version__}.",
            f" * Weights are {precision}; {self.n_bytes} bytes of constants, {stack} of stack.",
        ]
        if "largest_difference" in report:
            lines += [" * On the samples given for comparison:"]
            lines += [
                f" *   {name.replace('_', ' ')}: {value:.6g}"
                for name, value in report.items()
                if name != "n_bytes"
            ]
        return lines

    def _declarations(self) -> list[str]:
        prefix, upper = self.prefix, self.prefix.upper()
        x = f"x[{upper}_N_FEATURES]"
        if not is_classifier(self.est):
            return [
                f"/* The predictions y[{upper}_N_OUTPUTS] for a sample {x}. */",
                f"void {prefix}_predict(const float *x, float *y);",
            ]
        lines = [
            f"/* The probability proba[{upper}_N_OUTPUTS] of each class for a sample {x}. */",
            f"void {prefix}_predict_proba(const float *x, float *proba);",
            "",
        ]
        if is_multilabel(self.est):
            return [
                *lines,
                f"/* labels[{upper}_N_OUTPUTS]: 1 for those that a sample {x} has, else 0. */",
                f"void {prefix}_predict(const float *x, int *labels);",
            ]
        return [
            *lines,
            f"/* The position of the most probable class for a sample {x}. */",
            f"int {prefix}_predict(const float *x);",
        ]
