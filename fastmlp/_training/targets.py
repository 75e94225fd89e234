"""What y means to the network: its coding for the engine, its split into strata, its score.

``Labels`` (classification) and ``Values`` (regression) wrap a validated y. Both offer

    n_outputs          units of the output layer
    loss               row of the engine's loss table
    check(dtype)       refuse what dtype cannot hold
    coded(dtype)       y as the engine takes it: int32 class positions, or a matrix of dtype
    strata(named)      what a validation split keeps the proportions of, or None
    weighted(w)        sample weights in the loss, w in that of scores
    scorer(w)          function of the network's outputs: their score
    part(rows)         targets of these rows
    decoded()          y as the user gave it
"""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse import issparse
from sklearn.metrics import d2_pinball_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import unique_labels

from .. import _core
from .._families import choice_of, name_of
from .._sklearn import check_sample_weight
from ..activations import Activation
from ..losses import Loss

Scorer = Callable[[NDArray], float]

# Samples whose labels are looked at together.
PIECE = 2**17


# ---------------------------------------------------------------------------------------- labels


class Labels:
    """Targets of a classifier.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Positions in ``classes_``, or booleans if every sample may have several labels.
    binarizer : LabelBinarizer
        Knows the kind of labels and the classes.

    Attributes
    ----------
    class_weight : ndarray of shape (n_classes,) or (n_labels, 2), or None
        Weights of classes in the loss, as made by ``class_weights``.
    label_smoothing : float
        Share of a target that is spread over all classes.
    """

    class_weight: NDArray | None = None
    label_smoothing: float = 0.0

    def __init__(self, codes: NDArray, binarizer: LabelBinarizer) -> None:
        self.codes = codes
        self.classes = binarizer.classes_
        self.n_classes = len(self.classes)
        self.kind = binarizer.y_type_
        # Two classes, or one, share a single output: the probability of the last.
        self.n_outputs = 1 if self.kind == "binary" else self.n_classes
        self.out_activation = "softmax" if self.kind == "multiclass" else "logistic"
        self.loss = "log_loss" if self.kind == "multiclass" else "binary_log_loss"

    def take_loss(self, loss: str | Loss, label_smoothing: float) -> None:
        """Choose what training minimises. Single outputs have rows of their own in the table."""
        prefix = "" if self.kind == "multiclass" else "binary_"
        choice = choice_of(loss)
        name, values = (choice, ()) if isinstance(choice, str) else (choice[0], choice[1:])
        self.loss = (prefix + name, *values) if values else prefix + name
        self.label_smoothing = float(label_smoothing)

    def check(self, dtype: DTypeLike) -> None:
        """Positions are small numbers."""

    def coded(self, dtype: DTypeLike) -> NDArray:
        shared = self.label_smoothing
        if self.kind == "multiclass" and shared == 0:
            return np.ascontiguousarray(self.codes, dtype=np.int32)
        if self.kind == "multiclass":
            coded = np.full((len(self.codes), self.n_classes), shared / self.n_classes, dtype)
            coded[np.arange(len(coded)), self.codes] += 1 - shared
            return coded
        coded = np.ascontiguousarray(self.codes, dtype=dtype).reshape(-1, self.n_outputs)
        return coded if shared == 0 else coded * coded.dtype.type(1 - shared) + shared / 2

    def weighted(self, sample_weight: NDArray | None) -> NDArray | None:
        """Return the samples' weights in the loss: their own times those of their classes."""
        if self.class_weight is None:
            return sample_weight
        if self.codes.ndim == 1:
            by_class = self.class_weight[self.codes]
        else:
            absence, presence = self.class_weight.T
            by_class = np.where(self.codes, presence, absence).prod(axis=1)
        return by_class if sample_weight is None else by_class * sample_weight

    def strata(self, *, named: bool = False) -> NDArray | None:
        # Only two classes are stratified. So it is in scikit-learn, whose rule asks for a single
        # output and whose error message names the strata True and False as strings.
        if self.kind != "binary":
            return None
        return np.where(self.codes, "True", "False") if named else self.codes

    def part(self, rows: NDArray | slice) -> "Labels":
        part = copy.copy(self)
        part.codes = self.codes[rows]
        return part

    def decoded(self) -> NDArray:
        return self.classes[self.codes] if self.codes.ndim == 1 else self.codes.astype(np.int64)

    def scorer(self, sample_weight: NDArray | None) -> Scorer:
        """Accuracy; of all labels of a sample together if it has several."""
        codes = self.codes
        if sample_weight is not None:
            check_sample_weight(sample_weight, codes)

        def accuracy(outputs: NDArray) -> float:
            hits = codes == decode(outputs, self.kind, self.n_classes)
            if hits.ndim == 2:
                hits = hits.all(axis=1)
            return float(np.average(hits, weights=sample_weight))

        return accuracy


def class_weights(class_weight: Any, labels: Labels, classes: NDArray) -> NDArray:
    """Return the weight of each class, or of the absence and the presence of each label.

    Parameters
    ----------
    class_weight : dict, list of dict or 'balanced'
        As the parameter of the classifier.
    labels : Labels
        Training data.
    classes : ndarray of shape (n_classes,)
        Classes, those that do not occur in the data included.

    Returns
    -------
    weights : ndarray of shape (n_classes,) or (n_labels, 2)
    """
    if not _are_numbers(class_weight):
        raise ValueError(f"class_weight must hold finite numbers from 0, got {class_weight}.")
    if labels.codes.ndim == 1:
        if isinstance(class_weight, list):
            raise ValueError(
                "class_weight must be a dict or 'balanced' where a sample has one class, got a "
                f"list: {class_weight}."
            )
        y = classes[labels.codes]
        weights = compute_class_weight(class_weight, classes=classes, y=y)
    else:
        weights = _weights_of_labels(class_weight, labels.codes.astype(int))
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"class_weight must hold finite numbers from 0, got {class_weight}.")
    return weights


def _are_numbers(class_weight: Any) -> bool:
    dicts = class_weight if isinstance(class_weight, list) else [class_weight]
    return all(isinstance(v, Real) for one in dicts if type(one) is dict for v in one.values())


def _weights_of_labels(class_weight: Any, codes: NDArray) -> NDArray:
    n_labels = codes.shape[1]
    if class_weight == "balanced":
        class_weight = [class_weight] * n_labels
    elif not isinstance(class_weight, list) or not all(type(w) is dict for w in class_weight):
        raise ValueError(
            "class_weight must be 'balanced' or a list of dicts where a sample may have several "
            f"labels, got {class_weight}."
        )
    elif len(class_weight) != n_labels:
        raise ValueError(
            f"class_weight must have one dict for each label: y has {n_labels} labels, "
            f"class_weight {len(class_weight)} dicts."
        )
    weights = np.ones((n_labels, 2))
    for own, given, y in zip(weights, class_weight, codes.T, strict=True):
        classes = np.unique(y) if given == "balanced" else np.arange(2)
        own[classes] = compute_class_weight(given, classes=classes, y=y)
    return weights


def decode(outputs: NDArray, kind: str, n_classes: int) -> NDArray:
    """Turn the network's outputs into codes as those of ``Labels``."""
    if kind == "multiclass":
        return outputs.argmax(axis=1)
    above = outputs > 0.5
    if kind == "binary":
        above = above.ravel()
        return above.astype(np.intp) if n_classes > 1 else np.zeros(len(above), np.intp)
    return above


def encode_labels(
    y: NDArray,
    binarizer: LabelBinarizer | None = None,
    known: NDArray | None = None,
    warm_start: bool = False,
) -> tuple[Labels, LabelBinarizer]:
    """Code y with its classes.

    Parameters
    ----------
    y : ndarray or sparse matrix of shape (n_samples,) or (n_samples, n_labels)
        Validated labels.
    binarizer : LabelBinarizer or None
        Coding of an earlier call; None to make one for y.
    known : ndarray or None
        Classes of the earlier call.
    warm_start : bool
        Whether y must hold every known class, and not only no others.

    Returns
    -------
    labels : Labels
    binarizer : LabelBinarizer
    """
    plain = _plain_codes(y)
    if plain is None or (binarizer is not None and binarizer.y_type_.startswith("multilabel")):
        classes, codes = None, None
    else:
        classes, codes = plain

    if binarizer is None:
        binarizer = LabelBinarizer()
        if classes is None:
            binarizer.fit(y)
        else:  # what binarizer.fit(y) finds, at a tenth of its price
            binarizer.y_type_ = "binary" if len(classes) <= 2 else "multiclass"
            binarizer.sparse_input_ = False
            binarizer.classes_ = classes
    else:
        found = unique_labels(y) if classes is None else classes
        if not np.array_equal(found, known):  # takes a tenth of the time of the further tests
            _check_classes(found, known, warm_start)
        if codes is not None:
            known_codes = np.searchsorted(binarizer.classes_, found)
            codes = known_codes.astype(_code_dtype(len(binarizer.classes_)))[codes]

    if codes is None:
        codes = binarizer.transform(y).astype(bool)
        if binarizer.y_type_ == "multiclass":
            codes = codes.argmax(axis=1)
        elif binarizer.y_type_ == "binary":
            codes = codes.ravel().astype(np.intp)
    return Labels(codes, binarizer), binarizer


def _check_classes(found: NDArray, known: NDArray, warm_start: bool) -> None:
    """Refuse classes that are not those of an earlier call (warm start), or not among them."""
    if warm_start:
        if set(found.tolist()) != set(known.tolist()):
            raise ValueError(
                "warm_start can only be used where `y` has the same "
                "classes as in the previous call to fit. Previously "
                f"got {known}, `y` has {found}"
            )
    elif len(np.setdiff1d(found, known, assume_unique=True)):
        raise ValueError(
            f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. 'y' has {found}."
        )


def _pieces(y: NDArray) -> Iterator[slice]:
    """Cut y into pieces, so that what is computed of each takes little memory."""
    return (slice(i, i + PIECE) for i in range(0, len(y), PIECE))


def _code_dtype(n_classes: int) -> np.dtype:
    """Return the narrowest dtype for positions in the classes, one byte per sample for most."""
    return np.min_scalar_type(n_classes)


def _counted(y: NDArray) -> tuple[NDArray, NDArray] | None:
    """Return what np.unique does, without sorting; None unless y holds integers that are near."""
    if y.dtype.kind not in "iu" or not np.can_cast(y.dtype, np.int64) or len(y) == 0:
        return None
    low, high = int(np.minimum.reduce(y)), int(np.maximum.reduce(y))
    width = high - low + 1
    if width > len(y):
        return None
    codes = np.empty(len(y), _code_dtype(width))
    np.subtract(y, low, out=codes, dtype=np.int64, casting="unsafe")
    counts = sum(np.bincount(codes[piece], minlength=width) for piece in _pieces(y))
    present = np.flatnonzero(counts)
    if len(present) < width:
        position = np.cumsum(counts > 0) - 1
        for piece in _pieces(y):
            codes[piece] = position[codes[piece]]
    return (present + low).astype(y.dtype, copy=False), codes


def _sorted(y: NDArray) -> tuple[NDArray, NDArray]:
    """Return what np.unique does, with few copies of y."""
    classes = np.unique(np.concatenate([np.unique(y[piece]) for piece in _pieces(y)]))
    codes = np.empty(len(y), _code_dtype(len(classes)))
    for piece in _pieces(y):
        codes[piece] = np.searchsorted(classes, y[piece])
    return classes, codes


def _plain_codes(y: NDArray) -> tuple[NDArray, NDArray] | None:
    """Return classes and codes of a one-dimensional array of numbers or strings.

    None for all that takes scikit-learn's own, general and slower way.
    """
    if type(y) is not np.ndarray or y.ndim != 1 or y.dtype.kind not in "biufU":
        return None
    classes, codes = _counted(y) or _sorted(y)
    if y.dtype.kind == "f":
        # Whole numbers only, and none that int64 cannot hold.
        if not (np.abs(classes) < 2.0**63).all() or (classes != np.trunc(classes)).any():
            return None
    elif y.dtype.kind == "U":
        classes = np.array(classes.tolist())  # no longer than the longest
    return classes, codes


# ---------------------------------------------------------------------------------------- values


class Values:
    """Targets of a regressor.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Numbers.
    loss : str or Loss
        Loss function.
    out_activation : str or Activation
        Activation of the outputs; "auto" is the usual one of the loss.

    Attributes
    ----------
    levels : tuple of float
        Levels of quantiles if there are several, which each number of y has an output for; else
        empty.
    """

    def __init__(
        self, y: NDArray, loss: str | Loss, out_activation: str | Activation = "auto"
    ) -> None:
        if issparse(y):
            raise ValueError("A regressor needs y as a dense array, got a sparse matrix.")
        if y.dtype.kind not in "biuf":
            raise TypeError(f"y must hold numbers to regress on, got an array of dtype {y.dtype}.")
        row = _core.LOSSES[name_of(loss)]
        _check_domain(y, row)
        self.y = y.reshape(len(y), -1)
        self.loss = choice_of(loss)
        levels = getattr(loss, "levels", ())  # a name means one level
        self.levels = levels if isinstance(levels, tuple) else ()
        self.n_outputs = self.y.shape[1] * max(1, len(self.levels))
        self.out_activation = _out_activation(row, name_of(out_activation))

    def check(self, dtype: DTypeLike) -> None:
        if self.y.dtype.itemsize <= np.dtype(dtype).itemsize or not self.y.size:
            return
        most = max(self.y.max(), -self.y.min())
        with np.errstate(over="ignore"):
            overflows = np.isfinite(most) and np.isinf(np.asarray(most, dtype))
        if overflows:
            raise ValueError(
                f"y holds numbers too large for {np.dtype(dtype)}, the largest is {most:.1e}. "
                "Scale y, or set precision='float64'."
            )

    def coded(self, dtype: DTypeLike) -> NDArray:
        self.check(dtype)
        coded = np.ascontiguousarray(self.y, dtype=dtype)
        return np.repeat(coded, len(self.levels), axis=1) if self.levels else coded

    def weighted(self, sample_weight: NDArray | None) -> NDArray | None:
        return sample_weight

    def strata(self, *, named: bool = False) -> None:
        return None

    def part(self, rows: NDArray | slice) -> "Values":
        part = copy.copy(self)
        part.y = self.y[rows]
        return part

    def decoded(self) -> NDArray:
        return self.y.ravel() if self.y.shape[1] == 1 else self.y

    def scorer(self, sample_weight: NDArray | None) -> Scorer:
        """Coefficient of determination, averaged over the outputs; NaN if an output is not finite.

        The same operations in the same order as ``sklearn.metrics.r2_score``, whose checks of y
        would be repeated in every epoch.
        """
        y = self.y
        weight = 1.0
        if self.levels:
            return lambda outputs: d2_of_quantiles(
                y, ordered_quantiles(outputs, self.levels), self.levels, sample_weight
            )
        if sample_weight is not None:
            check_sample_weight(sample_weight, y)
            weight = sample_weight[:, None]
        floats = [a.dtype for a in (y, sample_weight) if a is not None and a.dtype.kind == "f"]

        @functools.cache
        def target(dtype: np.dtype) -> tuple[NDArray, NDArray]:
            """Return y and its variation, the same in every epoch."""
            truth = y.astype(dtype, copy=False)
            mean = np.average(truth, axis=0, weights=sample_weight)
            return truth, np.sum(weight * (truth - mean) ** 2, axis=0)

        def r2(outputs: NDArray) -> float:
            if not np.isfinite(outputs).all():
                return float("nan")
            truth, variation = target(np.result_type(outputs.dtype, *floats))
            unexplained = np.sum(weight * (truth - outputs) ** 2, axis=0)
            # A constant target is met exactly (1) or not (0).
            scores = (unexplained == 0).astype(truth.dtype)
            usual = (unexplained != 0) & (variation != 0)
            scores[usual] = 1 - unexplained[usual] / variation[usual]
            return float(np.average(scores))

        return r2


def _check_domain(y: NDArray, row: Any) -> None:
    """Refuse targets that are none for a loss."""
    least = {"nonnegative": "y >= 0", "positive": "y > 0"}.get(row.targets)
    if least is None or not len(y):
        return
    smallest = y.min()
    if smallest < 0 or (smallest == 0 and row.targets == "positive"):
        raise ValueError(f"loss={row.name!r} needs {least}, but y holds {smallest}.")


def _out_activation(row: Any, name: str) -> str:
    """Return the activation of the outputs, which must suit the loss."""
    if name == "auto":
        return row.out_activation
    activations = {name: a for name, a in _core.ACTIVATIONS.items() if a.output}
    activations.pop("softmax")
    if name not in activations:
        raise ValueError(
            f"out_activation={name!r} is for hidden layers only. Outputs take 'auto', "
            f"{', '.join(map(repr, activations))}."
        )
    if row.targets in ("nonnegative", "positive") and not activations[name].positive:
        suitable = [repr(name) for name, a in activations.items() if a.positive]
        raise ValueError(
            f"loss={row.name!r} needs positive outputs, which out_activation={name!r} does not "
            f"give. Take 'auto' or one of {', '.join(suitable)}."
        )
    return name


def ordered_quantiles(outputs: NDArray, levels: Sequence[float]) -> NDArray:
    """Return outputs as quantiles, of shape (n_samples, n_targets, n_levels), that do not cross.

    They are sorted. That brings a curve of quantiles no further from the true one, and nearer if
    it has crossed: Chernozhukov, Fernandez-Val, Galichon (2010), "Quantile and probability curves
    without crossing", Econometrica 78.
    """
    return np.sort(outputs.reshape(len(outputs), -1, len(levels)), axis=2)


def d2_of_quantiles(
    y: NDArray, quantiles: NDArray, levels: Sequence[float], sample_weight: NDArray | None
) -> float:
    """Return D^2 of the pinball loss, averaged over targets and levels.

    That is the share of the loss of constant quantiles that the prediction explains: Koenker,
    Machado (1999), "Goodness of fit and related inference processes for quantile regression",
    JASA 94. NaN if a quantile is not finite.
    """
    if not np.isfinite(quantiles).all():
        return float("nan")
    scores = [
        d2_pinball_score(y, quantiles[:, :, i], alpha=level, sample_weight=sample_weight)
        for i, level in enumerate(levels)
    ]
    return float(np.mean(scores))
