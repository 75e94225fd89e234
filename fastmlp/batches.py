"""Data in pieces, for ``fit_batches``.

Anything that yields ``(X, y)`` or ``(X, y, sample_weight)`` will do: a list, a generator, a data
loader. :class:`ArrowBatches` makes such pairs of Parquet files and Arrow data::

    MLPClassifier().fit_batches(ArrowBatches("train.parquet", "label"), classes=[0, 1], epochs=5)
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._optional import optional

__all__ = ["ArrowBatches"]


class ArrowBatches:
    """Batches of Parquet files or Arrow data, as often as they are iterated over.

    Parameters
    ----------
    source : str, path-like, list of them, or Arrow data
        Parquet files, of which each row group is a batch; or a pyarrow Dataset, Table or
        RecordBatchReader, or an iterable of RecordBatch. A reader can be read once only.

    target : str or list of str
        Name of the column that is y, or of several.

    columns : list of str, default=None
        Names of the columns that are X. None: all but those of y and the weights. They must hold
        numbers; X is float32 if all of them fit into that without loss, else float64.

    sample_weight : str, default=None
        Name of the column of sample weights.

    Raises
    ------
    ImportError
        If pyarrow is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.batches import ArrowBatches
    >>> x = np.linspace(0, 1, 500)
    >>> table = pa.table({"x": x, "y": 3 * x})
    >>> reg = MLPRegressor(learning_rate_init=0.02, random_state=0)
    >>> batches = ArrowBatches(table.to_batches(max_chunksize=100), "y")
    >>> reg.fit_batches(batches, epochs=30).predict([[0.5]]).round(1)
    array([1.5])
    """

    def __init__(
        self,
        source: Any,
        target: str | Sequence[str],
        *,
        columns: Sequence[str] | None = None,
        sample_weight: str | None = None,
    ) -> None:
        optional("pyarrow", "parquet", "ArrowBatches")
        self.source, self.target = source, target
        self.columns, self.sample_weight = columns, sample_weight

    def __iter__(self) -> Iterator[tuple]:
        return map(self._cut, self._tables())

    def _tables(self) -> Iterable[Any]:
        """Return what has the columns of a batch: tables or record batches."""
        source = self.source
        if isinstance(source, (str, os.PathLike)):
            source = [source]
        if isinstance(source, (list, tuple)) and isinstance(source[0], (str, os.PathLike)):
            return self._row_groups(source)
        return source.to_batches() if hasattr(source, "to_batches") else source

    def _row_groups(self, paths: Sequence[str | os.PathLike]) -> Iterator[Any]:
        parquet = optional("pyarrow.parquet", "parquet", "ArrowBatches")
        for path in paths:
            with parquet.ParquetFile(path) as file:
                for i in range(file.num_row_groups):
                    yield file.read_row_group(i, columns=self._needed())

    def _needed(self) -> list[str] | None:
        return None if self.columns is None else [*self.columns, *self._others()]

    def _others(self) -> list[str]:
        """Names of the columns that are not X."""
        targets = [self.target] if isinstance(self.target, str) else [*self.target]
        return targets if self.sample_weight is None else [*targets, self.sample_weight]

    def _cut(self, table: Any) -> tuple:
        """Return X, y and perhaps weights."""
        others, names = self._others(), table.schema.names
        columns = [name for name in names if name not in others]
        columns = columns if self.columns is None else self.columns
        for name in [*columns, *others]:
            if name not in names:
                raise ValueError(f"There is no column {name!r}, only {', '.join(names)}.")
        X = [_numbers(table, name) for name in columns]
        dtype = np.result_type(np.float32, *[a.dtype for a in X])
        X = np.stack(X, axis=1, dtype=dtype) if X else np.empty((table.num_rows, 0))
        if isinstance(self.target, str):
            y = _values(table, self.target)
        else:
            y = np.stack([_values(table, name) for name in self.target], axis=1)
        return (X, y) if self.sample_weight is None else (X, y, _numbers(table, others[-1]))


def _values(table: Any, name: str) -> NDArray:
    """Return a column. Strings have a dtype of their own."""
    column = table.column(name)
    if column.null_count:
        raise ValueError(f"Column {name!r} has {column.null_count} missing values.")
    array = np.asarray(column)
    return np.array(array.tolist()) if array.dtype == object else array


def _numbers(table: Any, name: str) -> NDArray:
    array = _values(table, name)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"Column {name!r} holds {table.column(name).type}, not numbers.")
    return array
