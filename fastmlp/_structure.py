"""What hidden layers have besides weights and biases, and where its arrays are kept.

While a network trains its arrays are two lists. In ``coefs`` the projections of residual layers
follow the weights of all layers; in ``intercepts`` the scales, shifts, running means and running
variances of normalised layers follow the biases. A fitted estimator has an attribute for each kind,
a list with one entry for each hidden layer, None where there is none.

A structure is a dict, of what ``_core.Net`` takes by the same names: ``normalization``, a tuple
with one entry per hidden layer, and ``residual``, neither of them if there is none.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Structure = Mapping[str, Any]


class Part(NamedTuple):
    """An array that a hidden layer has besides weights and biases."""

    attribute: str
    layer: int
    shape: tuple[int, ...]


TRAINED = ("norm_scales_", "norm_shifts_")
RUNNING = ("norm_means_", "norm_variances_")
STARTS = {"norm_scales_": 1, "norm_shifts_": 0, "norm_means_": 0, "norm_variances_": 1}
ATTRIBUTES = ("skip_coefs_", *STARTS)


def projections(widths: Sequence[int], structure: Structure) -> list[Part]:
    """Return the projections, in the order of ``coefs``."""
    if not structure.get("residual"):
        return []
    hidden = enumerate(pairwise(widths[:-1]))
    return [Part("skip_coefs_", i, shape) for i, shape in hidden if shape[0] != shape[1]]


def norms(widths: Sequence[int], structure: Structure, running: bool) -> list[Part]:
    """Return the vectors of normalised layers, in the order of ``intercepts``."""
    if "normalization" not in structure:
        return []
    kinds = list(enumerate(structure["normalization"]))
    parts = [Part(a, i, (widths[i + 1],)) for a in TRAINED for i, kind in kinds if kind]
    if running:
        parts += [Part(a, i, (widths[i + 1],)) for a in RUNNING for i, k in kinds if k == "batch"]
    return parts


class Layout(NamedTuple):
    """Where arrays are in one flat vector: start, stop and shape of each."""

    coefs: list[tuple[int, int, tuple[int, ...]]]
    intercepts: list[tuple[int, int, tuple[int, ...]]]
    size: int


def layout(widths: Sequence[int], structure: Structure, running: bool = False) -> Layout:
    """Return the layout of coefs and intercepts."""
    normalization, residual = structure.get("normalization", ()), structure.get("residual", False)
    return _layout(tuple(widths), normalization, residual, running)


@functools.lru_cache(maxsize=1024)
def _layout(
    widths: tuple[int, ...], normalization: tuple[str | None, ...], residual: bool, running: bool
) -> Layout:
    """Return a layout; kept, because a small fit asks several times and takes 0.2 ms."""
    structure = {"normalization": normalization, "residual": residual}
    parts = projections(widths, structure), norms(widths, structure, running)
    matrices = [*pairwise(widths), *(part.shape for part in parts[0])]
    vectors = [*((n,) for n in widths[1:]), *(part.shape for part in parts[1])]
    places, stop = [], 0
    for shape in [*matrices, *vectors]:
        start, stop = stop, stop + math.prod(shape)
        places.append((start, stop, shape))
    return Layout(places[: len(matrices)], places[len(matrices) :], stop)


def fitted(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the structure of the network with these fitted attributes."""
    structure: dict[str, Any] = {}
    if "norm_scales_" in attributes:
        arrays = zip(attributes["norm_scales_"], attributes["norm_means_"], strict=True)
        structure["normalization"] = tuple(
            None if scale is None else "layer" if mean is None else "batch"
            for scale, mean in arrays
        )
    if "skip_coefs_" in attributes:
        structure["residual"] = True
    return structure


def of_inference(structure: Structure) -> dict[str, Any]:
    """Return what prediction needs of a structure."""
    return {key: structure[key] for key in ("normalization", "residual") if key in structure}


def _is_plain(attributes: Mapping[str, Any]) -> bool:
    """Whether a network with these fitted attributes is dense layers and nothing else."""
    return "norm_scales_" not in attributes and "skip_coefs_" not in attributes


def _found(attributes: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    for attribute in ATTRIBUTES:
        for i, a in enumerate(attributes.get(attribute, ())):
            if a is not None:
                yield attribute, i, a


def joined(
    attributes: Mapping[str, Any], coefs: list[NDArray], intercepts: list[NDArray]
) -> tuple[list[NDArray], list[NDArray]]:
    """Return coefs and intercepts with all that follows them, the given lists if nothing does."""
    if _is_plain(attributes):
        return coefs, intercepts
    extra = list(_found(attributes))
    return (
        [*coefs, *(a for name, _, a in extra if name == "skip_coefs_")],
        [*intercepts, *(a for name, _, a in extra if name != "skip_coefs_")],
    )


def network(attributes: Mapping[str, Any]) -> tuple[list[NDArray], list[NDArray], dict[str, Any]]:
    """Return coefs, intercepts and structure of the network with these fitted attributes."""
    coefs, intercepts = attributes["coefs_"], attributes["intercepts_"]
    if _is_plain(attributes):
        return coefs, intercepts, {}
    return *joined(attributes, coefs, intercepts), fitted(attributes)


def split(
    coefs: list[NDArray], intercepts: list[NDArray], widths: Sequence[int], structure: Structure
) -> dict[str, Any]:
    """Return the fitted attributes that these lists are."""
    n = len(widths) - 1
    attributes: dict[str, Any] = {"coefs_": coefs[:n], "intercepts_": intercepts[:n]}
    if structure.get("residual"):
        attributes["skip_coefs_"] = [None] * (n - 1)
    if "normalization" in structure:
        attributes |= {name: [None] * (n - 1) for name in STARTS}
    parts = [*projections(widths, structure), *norms(widths, structure, running=True)]
    for part, a in zip(parts, [*coefs[n:], *intercepts[n:]], strict=True):
        attributes[part.attribute][part.layer] = a
    return attributes


def beginning(
    coefs: list[NDArray],
    intercepts: list[NDArray],
    widths: Sequence[int],
    structure: Structure,
    n_hidden: int,
    W: NDArray,
    b: NDArray,
) -> tuple[list[NDArray], list[NDArray], dict[str, Any]]:
    """Return the first hidden layers of a network, followed by an output layer W, b."""
    attributes = {
        name: arrays[:n_hidden]
        for name, arrays in split(coefs, intercepts, widths, structure).items()
    }
    layers = [*attributes["coefs_"], W], [*attributes["intercepts_"], b]
    cut = of_inference(structure)
    if "normalization" in cut:
        cut["normalization"] = cut["normalization"][:n_hidden]
    return (*joined(attributes, *layers), cut)


def check(attributes: Mapping[str, Any], widths: Sequence[int]) -> None:
    """Refuse arrays, which the user may have replaced, of other shapes or dtypes."""
    n_hidden = len(widths) - 2
    for name in ATTRIBUTES:
        arrays = attributes.get(name, [None] * n_hidden)
        if not isinstance(arrays, (list, tuple)) or len(arrays) != n_hidden:
            raise ValueError(
                f"{name} must be a list of {n_hidden} entries, one for each hidden layer."
            )
    structure = fitted(attributes)
    parts = [*projections(widths, structure), *norms(widths, structure, running=True)]
    expected = {(part.attribute, part.layer): part.shape for part in parts}
    for name, i, a in _found(attributes):
        if not isinstance(a, np.ndarray) or a.dtype.kind != "f" or a.dtype.itemsize not in (4, 8):
            raise ValueError(f"{name}[{i}] must be a NumPy array of dtype float32 or float64.")
        shape = expected.pop((name, i), None)
        if a.shape != shape:
            raise ValueError(f"{name}[{i}] has shape {a.shape}, expected {shape}.")
    for name, i in expected:
        raise ValueError(f"{name}[{i}] is missing.")
