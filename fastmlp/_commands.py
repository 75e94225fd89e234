"""The commands of ``python -m fastmlp`` that read model files."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from . import _safetensors
from ._optional import optional
from .mlp import load_model


def command_line(name: str, arguments: Sequence[str]) -> None:
    """Run the command of this name, and end the process with a message if it fails."""
    command, parser = COMMANDS[name], argparse.ArgumentParser(prog=f"python -m fastmlp {name}")
    command(parser, arguments)


def predict(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Predict the rows of a CSV or Parquet file."""
    parser.description = predict.__doc__
    parser.add_argument("model", help="file that save_model has written")
    parser.add_argument("data", help="CSV file, with or without a line of names, or .parquet file")
    parser.add_argument("-o", "--output", help="CSV file to write; default: standard output")
    parser.add_argument("--proba", action="store_true", help="probabilities of classes as well")
    parser.add_argument("--delimiter", default=",", help="between the fields of a CSV file")
    options = parser.parse_args(arguments)
    try:
        est = load_model(options.model)
        X = read_table(options.data, est, options.delimiter)
        text = _as_csv(*_predictions(est, X, options.proba), options.delimiter)
        if options.output is None:
            sys.stdout.write(text)
        else:
            _safetensors.write(options.output, [text.encode()])
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


def info(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Say what network a model file holds."""
    parser.description = info.__doc__
    parser.add_argument("model", help="file that save_model has written")
    options = parser.parse_args(arguments)
    try:
        _, metadata = _safetensors.unpack(_safetensors.read(options.model))
        est = load_model(options.model)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    size = os.path.getsize(options.model)
    print(f"{options.model}: {size:,} bytes, written by fastmlp {metadata['fastmlp_version']}\n")
    print(est.summary(), "", repr(est), "", sep="\n")
    for name in ("n_iter_", "stop_reason_", "loss_", "best_loss_", "best_validation_score_"):
        if getattr(est, name, None) is not None:
            print(f"{name:<24}{getattr(est, name)}")
    for name in ("classes_", "feature_names_in_"):
        if hasattr(est, name):
            print(f"{name:<24}{', '.join(map(str, getattr(est, name).tolist()))}")


COMMANDS = {"predict": predict, "info": info}


# ----------------------------------------------------------------------------------------- data
def read_table(path: str, est: Any, delimiter: str) -> NDArray:
    """Return the features of a file, by name if the estimator has names."""
    names = getattr(est, "feature_names_in_", None)
    if Path(path).suffix.lower() in (".parquet", ".pq"):
        X = _read_parquet(path, names)
    else:
        X = _read_csv(path, names, delimiter)
    if X.shape[1] != est.n_features_in_:
        raise ValueError(f"{path} has {X.shape[1]} columns, the network {est.n_features_in_}.")
    return X


def _read_csv(path: str, names: NDArray | None, delimiter: str) -> NDArray:
    with open(path, newline="", encoding="utf-8-sig") as file:
        first = next(csv.reader(file, delimiter=delimiter), None)
    if first is None:
        raise ValueError(f"{path} is empty.")
    has_header = any(field.strip() and not _is_number(field) for field in first)
    columns = None
    if names is not None and has_header:
        columns = _positions(path, names, [field.strip() for field in first])
    try:
        return np.loadtxt(
            path,
            delimiter=delimiter,
            skiprows=int(has_header),
            usecols=columns,
            ndmin=2,
            quotechar='"',
            comments=None,
            encoding="utf-8-sig",
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _positions(path: str, names: NDArray, found: list[str]) -> list[int]:
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}.")
    return [found.index(name) for name in names]


def _read_parquet(path: str, names: NDArray | None) -> NDArray:
    parquet = optional("pyarrow.parquet", "parquet", "reading Parquet")
    if names is not None:
        _positions(path, names, parquet.read_schema(path).names)
        names = names.tolist()
    table = parquet.read_table(path, columns=names)
    try:
        columns = [column.to_numpy().astype(np.float64) for column in table.itercolumns()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} has columns that are not numbers: {error}") from error
    return np.stack(columns, axis=1) if columns else np.empty((table.num_rows, 0))


def _predictions(est: Any, X: NDArray, with_proba: bool) -> tuple[list[str], NDArray]:
    """Return names and values of the columns to write."""
    if with_proba and not is_classifier(est):
        raise ValueError("--proba is for classifiers, the model is a regressor.")
    vars(est).pop("feature_names_in_", None)  # the columns are in their order
    predicted = est.predict(X)
    predicted = predicted.toarray() if hasattr(predicted, "toarray") else predicted
    columns = [predicted.reshape(len(X), -1).astype(object)]
    names = _names(est, predicted)
    if with_proba:
        columns.append(est.predict_proba(X).astype(object))
        names += [f"probability_{label}" for label in est.classes_.tolist()]
    return names, np.concatenate(columns, axis=1)


def _names(est: Any, predicted: NDArray) -> list[str]:
    if predicted.ndim == 1:
        return ["prediction"]
    axes = [range(n) for n in predicted.shape[1:]]
    if hasattr(est, "levels_"):
        axes[-1] = est.levels_.tolist()
    elif is_classifier(est):
        axes[-1] = est.classes_.tolist()
    return ["_".join(map(str, ("prediction", *place))) for place in product(*axes)]


def _as_csv(names: list[str], values: NDArray, delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(values.tolist())
    return text.getvalue()
