"""A network as a table in text."""

import math
from typing import Any, NamedTuple

from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from . import _network, _structure

_TITLES = ("layer", "units", "activation", "besides", "parameters")
_TO_THE_RIGHT = (1, 4)


class LayerSummary(NamedTuple):
    """What there is to say of a layer in a word or two."""

    name: str
    units: int
    activation: str
    besides: str
    parameters: int


def layers_of(est: Any) -> list[LayerSummary]:
    """Return the layers of a fitted estimator, its input first."""
    check_is_fitted(est, "coefs_")
    coefs, _ = _network.parameters(est, est.n_features_in_)
    numbers = _numbers_of_parameters(est)
    found = [LayerSummary("input", est.n_features_in_, "", "", 0)]
    for i, activation in enumerate(_network.activations(est)):
        name = "output" if i == len(coefs) - 1 else "hidden"
        row = (_activation(activation), _besides(est, i), numbers[i])
        found.append(LayerSummary(name, coefs[i].shape[1], *row))
    return found


def summary(est: Any) -> str:
    """Return the table of a fitted estimator."""
    found = layers_of(est)
    rows = [
        (layer.name, f"{layer.units:,}", *layer[2:4], f"{layer.parameters:,}") for layer in found
    ]
    rows[0] = (*rows[0][:4], "")  # the input has none
    n_bytes = sum(a.nbytes for a in _arrays(est))
    n_parameters = sum(layer.parameters for layer in found)
    memory = f"{_size(n_bytes)} of {est.coefs_[0].dtype}"
    total = ("total", "", "", memory, f"{n_parameters:,}")
    return "\n".join([_title(est), "", *_aligned([_TITLES, *rows, total])])


def _title(est: Any) -> str:
    title = f"{type(est).__name__}: {est.n_features_in_:,} features, "
    if is_classifier(est):
        is_multilabel = est._label_binarizer.y_type_.startswith("multilabel")
        return title + f"{len(est.classes_):,} {'labels' if is_multilabel else 'classes'}"
    return title + f"{est.n_outputs_:,} {'output' if est.n_outputs_ == 1 else 'outputs'}"


def _arrays(est: Any) -> list[Any]:
    coefs, intercepts = _structure.joined(vars(est), est.coefs_, est.intercepts_)
    return [*coefs, *intercepts]


def _numbers_of_parameters(est: Any) -> list[int]:
    """Return how many numbers each layer has, running averages included."""
    attributes = vars(est)
    numbers = [W.size + b.size for W, b in zip(est.coefs_, est.intercepts_, strict=True)]
    for name in _structure.ATTRIBUTES:
        for i, a in enumerate(attributes.get(name, ())):
            numbers[i] += 0 if a is None else a.size
    return numbers


def _activation(activation: str | tuple) -> str:
    if isinstance(activation, str):
        return activation
    name, *values = activation
    return f"{name}({', '.join(f'{value:g}' for value in values)})" if values else name


def _besides(est: Any, i: int) -> str:
    """Return what a layer has besides weights, biases and its activation."""
    structure = _structure.fitted(vars(est))
    if i == len(est.coefs_) - 1:
        return ""
    kinds = structure.get("normalization", ())
    parts = [f"{kinds[i]} normalisation"] if kinds and kinds[i] else []
    if structure.get("residual"):
        parts.append("residual" if est.skip_coefs_[i] is None else "residual by projection")
    return ", ".join(parts)


def _size(n_bytes: int) -> str:
    power = min(3, int(math.log(max(n_bytes, 1), 1000)))
    return f"{n_bytes / 1000**power:.3g} {('B', 'KB', 'MB', 'GB')[power]}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return lines of columns, with a rule below the titles and above the total."""
    used = [j for j in range(len(_TITLES)) if any(row[j] for row in rows[1:])]
    widths = [max(len(row[j]) for row in rows) for j in used]
    lines = []
    for row in rows:
        cells = [
            row[j].rjust(width) if j in _TO_THE_RIGHT else row[j].ljust(width)
            for j, width in zip(used, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]
