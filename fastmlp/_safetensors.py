"""The safetensors format: named arrays and strings in one file, and nothing that could be executed.

    u64 n | n bytes of JSON | data

The JSON maps ``__metadata__`` to strings by name, and the name of each array to its dtype, shape
and place in the data. Numbers are little-endian, arrays in C order and without gaps. The last array
of a file written here is the SHA-256 of all bytes before it: what is damaged is refused before
anything is parsed. What passes is not trusted either; no file takes more memory than a small
multiple of its size, and none takes longer than it takes to read.

Format: https://github.com/huggingface/safetensors
"""

import contextlib
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = {
    "BOOL": np.dtype("?"),
    **{f"{kind.upper()}{8 * n}": np.dtype(f"<{kind}{n}") for kind in "iu" for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": np.dtype(f"<f{n}") for n in (2, 4, 8)},
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

_DIGEST = "sha256"
_DIGEST_BYTES = 32

# Parsed JSON takes up to 25 times its size. Names of a million features fit.
MAX_HEADER = 25_000_000


# ----------------------------------------------------------------------------------------- files
def read(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file; devices and pipes, which may never end, are refused."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is not a regular file")
    with open(path, "rb") as file:
        return file.read(os.fstat(file.fileno()).st_size)


def write(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Write a file, which appears under its name when all of it is on the disk, or not at all."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is not None:  # which nobody has asked for
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk, where folders can be asked to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---------------------------------------------------------------------------------------- format
def has_form(a: NDArray | np.generic) -> bool:
    """Whether an array can be stored."""
    return a.dtype.newbyteorder("<") in _NAMES


def pack(tensors: dict[str, NDArray], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """Return the parts of a file."""
    digest = hashlib.sha256()
    # Large elements first: everything is aligned.
    names = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    header = _header([(name, tensors[name]) for name in names], metadata)
    for part in (header, *(_bytes(tensors[name]) for name in names)):
        digest.update(part)
        yield part
    yield digest.digest()


def _header(tensors: list[tuple[str, NDArray]], metadata: dict[str, str]) -> bytes:
    """Return the JSON with its length before it, filled up with spaces to a multiple of eight."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, a in [*tensors, (_DIGEST, np.empty(_DIGEST_BYTES, np.uint8))]:
        begin, end = end, end + a.nbytes
        header[name] = {
            "dtype": _NAMES[a.dtype.newbyteorder("<")],
            "shape": a.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"Names, labels and parameters take {len(text)} bytes of JSON in a model file, which "
            f"may hold {MAX_HEADER}."
        )
    return len(text).to_bytes(8, "little") + text


def _bytes(a: NDArray) -> memoryview:
    return memoryview(np.ascontiguousarray(a, a.dtype.newbyteorder("<")).reshape(-1).view(np.uint8))


def unpack(content: bytes) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Return the arrays, each with memory of its own, and the metadata of a file.

    Raises
    ------
    ValueError
        If these are not the bytes that were written.
    """
    body = memoryview(content)[:-_DIGEST_BYTES]
    if hashlib.sha256(body).digest() != content[-_DIGEST_BYTES:]:
        raise ValueError("it is truncated, damaged, or not written by save_model")
    n = int.from_bytes(body[:8], "little")
    if not 0 < n <= min(len(body) - 8, MAX_HEADER):
        raise ValueError(f"its header cannot have {n} bytes")
    header = parse(str(body[8 : 8 + n], "utf-8"))
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(type(text) is str for text in metadata.values()):
        raise ValueError("its metadata are not strings")
    data = memoryview(content)[8 + n :]
    places = {name: _place(entry) for name, entry in header.items()}
    _check_places([place[2:] for place in places.values()], len(data))
    tensors = {name: _array(data, *place) for name, place in places.items() if name != _DIGEST}
    return tensors, metadata


def _place(entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Return dtype, shape, begin and end of an array."""
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not all(type(size) is int and 0 <= size <= sys.maxsize for size in (*shape, begin, end)):
        raise ValueError("sizes in its header are not whole numbers")
    if len(shape) > 32 or math.prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} has {end - begin} bytes")
    return dtype, shape, begin, end


def _check_places(places: list[tuple[int, int]], n_bytes: int) -> None:
    """Refuse arrays that overlap, which would take more memory than the file, and gaps."""
    reached = 0
    for begin, end in sorted(places):
        if begin != reached:
            raise ValueError("its arrays have gaps or overlap")
        reached = end
    if reached != n_bytes:
        raise ValueError("its arrays are not as long as its data")


def _array(
    data: memoryview, dtype: np.dtype, shape: tuple[int, ...], begin: int, end: int
) -> NDArray:
    if dtype == np.bool_ and bytes(data[begin:end]).strip(b"\0\1"):
        raise ValueError("a truth value is neither 0 nor 1")
    stored = np.frombuffer(data[begin:end], dtype).reshape(shape)
    return stored.astype(dtype.newbyteorder("="))


def parse(text: str) -> dict[str, Any]:
    """Return the object that a JSON text holds, if it is strict JSON and names nothing twice."""
    value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise ValueError("its header is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name in its header occurs twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} in its header is no JSON")
