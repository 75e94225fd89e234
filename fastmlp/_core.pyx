# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The engine as Python sees it: arrays in, one call without the GIL, status to exception.

No arithmetic happens here. See ``src_c/fastmlp.h`` for what the functions compute. The environment
is read here, under the GIL, and only while the module is imported: in C, without the GIL, a thread
may read it while another moves it by writing to ``os.environ``.

Threads may call everything here at once, with the GIL or without: what a module holds does not change
after its import, a call's arrays and buffers are its own, and a `Net` serves one call at a time.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBUF_STRIDES,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

import os
import re
from collections import namedtuple

import numpy as np

# Looked up once: a small prediction takes 3 us.
cdef object _ndarray = np.ndarray, _new_array = np.empty
cdef object _float32 = np.dtype(np.float32), _float64 = np.dtype(np.float64)


# ------------------------------------------------------------------- tables
def _record(name, *fields):
    return namedtuple(name, fields, module=__name__)


_HEAD = ("name", "class_name", "doc", "parameters")
Parameter = _record("Parameter", "name", "default", "low", "high", "closed", "doc", "per_output")
ActivationRow = _record("ActivationRow", *_HEAD, "hidden", "output", "positive", "from_output")
LossRow = _record("LossRow", *_HEAD, "targets", "out_activation", "canonical", "mean")
OptimizerRow = _record("OptimizerRow", *_HEAD, "n_slots", "needs_norm", "notes")

ctypedef const fm_table_row *(*row_function)(int)


cdef str _closed(int bounds):
    """The name of FM_CLOSED_* among scikit-learn's intervals."""
    return ("neither", "left", "right", "both")[bounds]


cdef tuple _head(const fm_table_row *row):
    """What a row of any table has."""
    cdef const fm_parameter *p
    parameters = []
    for i in range(row.n_parameters):
        p = &row.parameters[i]
        default = bool(p.initial) if p.is_switch else p.initial
        parameters.append(
            Parameter(p.name.decode(), default, p.low, p.high, _closed(p.closed), p.doc.decode(),
                      bool(p.per_output))
        )
    return row.name.decode(), row.class_name.decode(), row.doc.decode(), tuple(parameters)


cdef str _activation_name(int i):
    cdef const fm_table_row *row = fm_activation_row(i)
    return None if row == NULL else row.name.decode()


def _activations():
    cdef const fm_table_row *row
    cdef int i = 0
    while fm_activation_row(i) != NULL:
        row = fm_activation_row(i)
        yield ActivationRow(
            *_head(row),
            hidden=bool(row.where & FM_FOR_HIDDEN),
            output=bool(row.where & FM_FOR_OUTPUT),
            positive=bool(row.where & FM_POSITIVE),
            from_output=row.derivative == FM_FROM_OUTPUT,
        )
        i += 1


def _losses():
    cdef const fm_table_row *row
    cdef int i = 0
    targets = {
        FM_TARGETS_REAL: "real",
        FM_TARGETS_NONNEGATIVE: "nonnegative",
        FM_TARGETS_POSITIVE: "positive",
        FM_TARGETS_CLASS: "class",
        FM_TARGETS_BINARY: "binary",
    }
    while fm_loss_row(i) != NULL:
        row = fm_loss_row(i)
        yield LossRow(
            *_head(row),
            targets=targets[row.targets],
            out_activation=_activation_name(row.output),
            canonical=_activation_name(row.canonical),
            mean=bool(row.mean_over_outputs),
        )
        i += 1


def _optimizers():
    cdef const fm_table_row *row
    cdef int i = 0
    while fm_optimizer_row(i) != NULL:
        row = fm_optimizer_row(i)
        yield OptimizerRow(
            *_head(row),
            n_slots=row.n_slots,
            needs_norm=bool(row.needs_norm),
            notes=row.notes.decode(),
        )
        i += 1


def _isas():
    cdef int i = 0, available
    isas = {}
    while fm_isa_name(i, &available) != NULL:
        isas[fm_isa_name(i, NULL).decode()] = bool(available)
        i += 1
    return isas


# Rows by name, in the engine's order.
ACTIVATIONS = {row.name: row for row in _activations()}
LOSSES = {row.name: row for row in _losses()}
OPTIMIZERS = {row.name: row for row in _optimizers()}
_available = _isas()
ALL_ISAS = tuple(_available)
ISAS = tuple(name for name in ALL_ISAS if _available[name])
BUILD_INFO = fm_build_info().decode()
MAX_BLOCK = FM_MAX_BLOCK


def bfloat16_isas():
    """Names of the kernel sets for bfloat16 that this machine runs, best first.

    Those for bfloat16 instructions are tried out before they are named.
    """
    cdef int i = 0, available
    names = []
    while fm_bfloat16_isa_name(i, &available) != NULL:
        if available:
            names.append(fm_bfloat16_isa_name(i, NULL).decode())
        i += 1
    return tuple(names)


def get_num_threads():
    """Number of threads that ``n_threads=0`` stands for."""
    return fm_get_num_threads()


def set_num_threads(int n):
    """Set what ``n_threads=0`` stands for; below 1: the CPUs this process may use."""
    fm_set_num_threads(n)


def _omp_num_threads():
    """First number of OMP_NUM_THREADS, 0 if it is none; joblib's processes have their share there."""
    found = re.match(r"\s*(\d{1,9})\s*(,|$)", os.environ.get("OMP_NUM_THREADS", ""), re.ASCII)
    return int(found[1]) if found else 0


fm_limit_num_threads(_omp_num_threads())


cdef extern from "Python.h":
    int PyErr_CheckSignals()  # leaves the exception to be found: see _raise


cdef int _interrupted(void *asked) noexcept nogil:
    """Run the handlers of signals that came; return whether one raised, as that of Ctrl-C does.

    `asked` holds the time of the last look, in ns: there are at most 50 in a second, because each
    has to wait for the GIL.
    """
    cdef int64_t *last = <int64_t *>asked
    cdef int64_t now = fm_now_ns()
    if now - last[0] < 20000000:
        return 0
    last[0] = now
    with gil:
        return PyErr_CheckSignals()


cdef int _raise(fm_status status, isa=None, bint bfloat16=False) except -1:
    if status == FM_INTERRUPTED:
        return -1  # with what the signal's handler raised
    text = fm_status_text(status).decode()
    if status == FM_NO_MEMORY or status == FM_TOO_LARGE:
        raise MemoryError(text)
    if status == FM_ZERO_WEIGHT:
        raise ZeroDivisionError(text)
    if status == FM_UNKNOWN_ISA or status == FM_NO_ISA:
        asked = isa if isa is not None else os.fsdecode(_default_isa)
        raise ValueError(
            f"{text}: {asked!r} (argument isa or environment variable FASTMLP_ISA); "
            f"this machine runs {', '.join(bfloat16_isas() if bfloat16 else ISAS)}"
        )
    raise ValueError(text)


cdef bytes _default_isa = os.fsencode(os.environ.get("FASTMLP_ISA", "")) or None


cdef const char *_isa_chars(bytes isa) noexcept:
    """What the engine takes as `isa`; valid as long as the argument is."""
    if isa is None:
        isa = _default_isa
    return NULL if isa is None else <const char *>isa


def default_isa(bint bfloat16=False):
    """Name of the kernel set in use where none is asked for: FASTMLP_ISA's, else the best."""
    cdef const char *name
    status = fm_find_isa(&name, _isa_chars(None), FM_BFLOAT16 if bfloat16 else FM_FLOAT32)
    if status != FM_OK:
        _raise(status)
    return name.decode()


if _default_isa is not None:
    default_isa()  # refuses an unknown one now


# ------------------------------------------------------------------ buffers
cdef class _Buffers:
    """Buffers that stay valid until this object goes."""

    cdef Py_buffer *views
    cdef int n, room

    def __cinit__(self, int room):
        self.views = <Py_buffer *>calloc(room, sizeof(Py_buffer))
        if self.views == NULL:
            raise MemoryError
        self.room = room

    def __dealloc__(self):
        for i in range(self.n):
            PyBuffer_Release(&self.views[i])
        free(self.views)

    cdef Py_buffer *get(self, obj, int flags) except NULL:
        assert self.n < self.room
        PyObject_GetBuffer(obj, &self.views[self.n], flags | PyBUF_FORMAT)
        self.n += 1
        return &self.views[self.n - 1]


cdef inline int _kind(Py_buffer *view) noexcept:
    """The type character of a native scalar format, 0 for anything else."""
    cdef const char *f = view.format
    if f == NULL:
        return c'B'
    if f[0] == c'@' or f[0] == c'=':
        f += 1
    if f[0] == 0 or f[1] != 0:
        return 0
    return f[0]


cdef inline bint _is_float(Py_buffer *view, fm_dtype dtype) noexcept:
    return _kind(view) == (c'f' if dtype == FM_FLOAT32 else c'd')


cdef inline int _int_bytes(Py_buffer *view) noexcept:
    """Width of a native signed integer type, 0 for anything else."""
    cdef int kind = _kind(view)
    if kind == c'i' or kind == c'l' or kind == c'q':
        return <int>view.itemsize
    return 0


cdef inline bint _is_aligned(Py_buffer *view) noexcept:
    if view.itemsize == 0:
        return False
    if <uintptr_t>view.buf % <size_t>view.itemsize:
        return False
    for i in range(view.ndim):
        if view.strides != NULL and view.strides[i] % view.itemsize:
            return False
    return True


cdef bint _is_csr(X) except -1:
    return not isinstance(X, _ndarray) and hasattr(X, "indptr")


cdef tuple _csr_parts(X):
    """What a CSR container is made of, which may be replaced; None for a dense array."""
    return (X.data, X.indices, X.indptr, X.shape) if _is_csr(X) else None


cdef bint _same_csr(X, tuple parts) except -1:
    """Whether X still has these parts."""
    if parts is None:
        return True
    for part, other in zip(_csr_parts(X), parts):
        if part is not other:
            return False
    return True


def _csr_structure(obj):
    """indices and indptr of a CSR container, copied unless they are as the engine takes them."""
    arrays = np.asarray(obj.indices), np.asarray(obj.indptr)
    for a in arrays:
        if a.dtype.kind not in "iu":
            raise ValueError(f"indices and indptr of a CSR matrix must be integers, got {a.dtype}")
    # Unsigned numbers above the range of int64 become negative, and are refused for that.
    narrow = all(np.can_cast(a.dtype, np.int32) for a in arrays)
    return [np.require(a, np.int32 if narrow else np.int64, "CA") for a in arrays]


cdef int _read_matrix(fm_matrix *X, obj, _Buffers buffers) except -1:
    """Dense array of any strides, or CSR container, to the engine's description."""
    cdef Py_buffer *view
    cdef Py_buffer *indices
    cdef Py_buffer *indptr
    if _is_csr(obj):
        X.n_rows, X.n_cols = obj.shape
        arrays = [np.require(obj.data, requirements="CA"), *_csr_structure(obj)]
        for a in arrays:
            if a.ndim != 1:
                raise ValueError("data, indices and indptr of a CSR matrix must have one dimension")
        view = buffers.get(arrays[0], PyBUF_C_CONTIGUOUS)
        indices = buffers.get(arrays[1], PyBUF_C_CONTIGUOUS)
        indptr = buffers.get(arrays[2], PyBUF_C_CONTIGUOUS)
        X.index_bytes = <int>indices.itemsize
        if indptr.shape[0] != X.n_rows + 1:
            raise ValueError(
                f"indptr of a CSR matrix of {X.n_rows} rows has length {indptr.shape[0]}"
            )
        X.nnz = min(view.shape[0], indices.shape[0])
        X.indices = indices.buf
        X.indptr = indptr.buf
    else:
        view = buffers.get(obj, PyBUF_STRIDES)
        if view.ndim != 2:
            raise ValueError(f"X must have two dimensions, got {view.ndim}")
        if not _is_aligned(view):
            view = buffers.get(np.array(obj, order="C"), PyBUF_STRIDES)
        X.n_rows = view.shape[0]
        X.n_cols = view.shape[1]
        X.row_stride = view.strides[0]
        X.col_stride = view.strides[1]
        X.indices = NULL
        X.indptr = NULL
        X.nnz = 0
        X.index_bytes = 0
    if _is_float(view, FM_FLOAT32):
        X.dtype = FM_FLOAT32
    elif _is_float(view, FM_FLOAT64):
        X.dtype = FM_FLOAT64
    else:
        raise ValueError("X must be float32 or float64 in native byte order")
    X.data = view.buf
    return 0


cdef void *_array(values, str kind, int i, int64_t rows, int64_t cols, fm_dtype dtype,
                  bint writable, _Buffers buffers) except NULL:
    """A matrix (rows, cols), or with rows < 0 a vector (cols,), after a check of shape and dtype."""
    cdef Py_buffer *view
    cdef bint right
    try:
        view = buffers.get(values, PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0))
    except (BufferError, TypeError, ValueError) as error:
        raise ValueError(
            f"{kind}[{i}] must be a C-contiguous {'writable ' if writable else ''}array: {error}"
        ) from None
    if rows < 0:
        right = view.ndim == 1 and view.shape[0] == cols
    else:
        right = view.ndim == 2 and view.shape[0] == rows and view.shape[1] == cols
    if not right or not _is_float(view, dtype) or not _is_aligned(view):
        wanted = f"({cols},)" if rows < 0 else f"({rows}, {cols})"
        raise ValueError(
            f"{kind}[{i}] must have shape {wanted} and "
            f"dtype {'float32' if dtype == FM_FLOAT32 else 'float64'}, got shape "
            f"{np.shape(values)} and dtype {np.asarray(values).dtype}"
        )
    return view.buf


cdef int _read_params(_Network network, coefs, intercepts, fm_dtype dtype, bint writable,
                      bint running, _Buffers buffers) except -1:
    """Pointers to the arrays of each layer. running: whether averages of batches are among them."""
    cdef fm_parameters *p = network.parameters
    cdef const fm_layer *layers = network.c.layers
    cdef int64_t fan_in = network.c.n_inputs
    cdef int i, n = network.c.n_layers, n_vectors = n + 2 * network.n_norms
    if running:
        n_vectors += 2 * network.n_batch_norms
    if len(coefs) != n + network.n_projections or len(intercepts) != n_vectors:
        raise ValueError(
            f"expected coefs and intercepts of {n} layers, {n + network.n_projections} and "
            f"{n_vectors} arrays, got {len(coefs)} and {len(intercepts)}"
        )
    for i in range(n):
        p[i].W = _array(coefs[i], "coefs", i, fan_in, layers[i].width, dtype, writable, buffers)
        p[i].b = _array(intercepts[i], "intercepts", i, -1, layers[i].width, dtype, writable,
                        buffers)
        fan_in = layers[i].width
    if network.n_projections or network.n_norms:
        _read_extras(network, coefs, intercepts, dtype, writable, running, buffers)
    return 0


cdef int _read_extras(_Network network, coefs, intercepts, fm_dtype dtype, bint writable,
                      bint running, _Buffers buffers) except -1:
    """Projections, which follow the layers' coefs; scales, shifts and averages, the intercepts."""
    cdef fm_parameters *p = network.parameters
    cdef const fm_layer *layers = network.c.layers
    cdef int64_t fan_in = network.c.n_inputs, width
    cdef int i, n = network.c.n_layers, P = n, scale = n, shift = n + network.n_norms
    cdef int mean = n + 2 * network.n_norms, variance = mean + network.n_batch_norms
    for i in range(n):
        width = layers[i].width
        p[i].P = p[i].scale = p[i].shift = p[i].mean = p[i].variance = NULL
        if layers[i].residual and fan_in != width:
            p[i].P = _array(coefs[P], "coefs", P, fan_in, width, dtype, writable, buffers)
            P += 1
        if layers[i].normalization != FM_NO_NORM:
            p[i].scale = _array(intercepts[scale], "intercepts", scale, -1, width, dtype,
                                writable, buffers)
            p[i].shift = _array(intercepts[shift], "intercepts", shift, -1, width, dtype,
                                writable, buffers)
            scale += 1
            shift += 1
        if layers[i].normalization == FM_BATCH_NORM and running:
            p[i].mean = _array(intercepts[mean], "intercepts", mean, -1, width, dtype, writable,
                               buffers)
            p[i].variance = _array(intercepts[variance], "intercepts", variance, -1, width, dtype,
                                   writable, buffers)
            mean += 1
            variance += 1
        fan_in = width
    return 0


cdef dict _numbers(rows):
    return {name: i for i, name in enumerate(rows)}


cdef dict _ACTIVATION_NUMBERS = _numbers(ACTIVATIONS)
cdef dict _LOSS_NUMBERS = _numbers(LOSSES)
cdef dict _OPTIMIZER_NUMBERS = _numbers(OPTIMIZERS)


cdef int _choose(fm_choice *chosen, str what, dict numbers, row_function row_at,
                 choice) except -1:
    """Fill in a choice: a name, ``(name, *values)`` or ``(name, {parameter: value})``."""
    cdef const fm_table_row *row
    name = choice[0] if type(choice) is tuple and choice else choice
    number = numbers.get(name) if isinstance(name, str) else None
    if number is None:
        raise ValueError(f"unknown {what} {name!r}; there are {', '.join(numbers)}")
    row = row_at(number)
    chosen[0] = fm_default_choice(row)
    if name is not choice:
        _set_parameters(chosen, row, f"{what} {name!r}", choice[1:])
    return 0


cdef int _set_parameters(fm_choice *chosen, const fm_table_row *row, str what,
                         tuple values) except -1:
    cdef const fm_parameter *p
    cdef double number
    names = [row.parameters[i].name.decode() for i in range(row.n_parameters)]
    if len(values) == 1 and isinstance(values[0], dict):
        by_name = values[0]
    elif len(values) <= len(names):
        by_name = dict(zip(names, values, strict=False))
    else:
        raise ValueError(f"{what} has {len(names)} parameters, got {len(values)} values")
    for name, value in by_name.items():
        if name not in names:
            raise ValueError(
                f"{what} has no parameter {name!r}; it has {', '.join(names) or 'none'}"
            )
        p = &row.parameters[names.index(name)]
        number = value
        if not fm_is_in_bounds(p, number):
            raise ValueError(f"{name} of {what} must be {_bounds(p)}, got {value!r}")
        chosen.parameters[names.index(name)] = number
    return 0


cdef object _choose_loss(fm_choice *chosen, choice, int64_t n_outputs):
    """Fill in a choice; return the values of its first parameter for each output, or None.

    ``(name, (value, ...))`` gives these to the outputs in turn.
    """
    cdef const fm_parameter *p
    if not (type(choice) is tuple and len(choice) == 2 and type(choice[1]) is tuple):
        _choose(chosen, "loss", _LOSS_NUMBERS, fm_loss_row, choice)
        return None
    name, values = choice
    _choose(chosen, "loss", _LOSS_NUMBERS, fm_loss_row, name)
    p = &fm_loss_row(chosen.row).parameters[0]
    if not p.per_output:
        raise ValueError(f"outputs cannot have different parameters of loss {name!r}")
    for value in values:
        if not fm_is_in_bounds(p, value):
            raise ValueError(
                f"{p.name.decode()} of loss {name!r} must be {_bounds(p)}, got {value!r}"
            )
    if not values or n_outputs % len(values):
        raise ValueError(f"{n_outputs} outputs cannot share {len(values)} values of {name!r}")
    return np.resize(np.array(values, dtype=np.float64), n_outputs)


cdef str _bounds(const fm_parameter *p):
    if p.is_switch:
        return "True or False"
    left = "[" if p.closed & FM_CLOSED_LEFT else "("
    right = "]" if p.closed & FM_CLOSED_RIGHT else ")"
    return f"in {left}{p.low:g}, {p.high:g}{right}"


cdef dict _NORMALIZATIONS = {None: FM_NO_NORM, "batch": FM_BATCH_NORM, "layer": FM_LAYER_NORM}


cdef double _share(str name, double p) except -1:
    if not 0 <= p < 1:
        raise ValueError(f"{name} must be in [0, 1), got {p!r}")
    return p


cdef class _Network:
    """The engine's description of a network, and room for pointers to its parameters."""

    cdef fm_network c
    cdef fm_layer *layers
    cdef fm_parameters *parameters
    cdef int n_projections, n_norms, n_batch_norms

    def __cinit__(self, int n, int64_t n_inputs, fm_dtype dtype):
        self.layers = <fm_layer *>calloc(n, sizeof(fm_layer))
        self.parameters = <fm_parameters *>calloc(n, sizeof(fm_parameters))
        if not self.layers or not self.parameters:
            raise MemoryError
        self.c = fm_network(dtype, n_inputs, n, self.layers, 0)

    def __dealloc__(self):
        free(self.layers)
        free(self.parameters)

    cdef int set_layer(self, int i, int64_t width, activation) except -1:
        self.layers[i].width = width
        return _choose(&self.layers[i].activation, "activation", _ACTIVATION_NUMBERS,
                       fm_activation_row, activation)

    cdef int set_structure(self, normalization, bint residual) except -1:
        """Normalisation of each hidden layer; whether hidden layers are residual."""
        cdef int i, n_hidden = self.c.n_layers - 1
        cdef int64_t fan_in = self.c.n_inputs
        if len(normalization) not in (0, n_hidden):
            raise ValueError(f"normalization needs {n_hidden} names, got {len(normalization)}")
        for i, kind in enumerate(normalization):
            if kind not in _NORMALIZATIONS:
                raise ValueError(
                    f"unknown normalization {kind!r}; there are {', '.join(map(repr, _NORMALIZATIONS))}"
                )
            self.layers[i].normalization = _NORMALIZATIONS[kind]
            self.n_norms += kind is not None
            self.n_batch_norms += kind == "batch"
        for i in range(n_hidden):
            self.layers[i].residual = residual
            self.n_projections += residual and fan_in != self.layers[i].width
            fan_in = self.layers[i].width
        return 0

    cdef int set_dropout(self, dropout, double input_dropout) except -1:
        """Of each hidden layer, and of X."""
        cdef int i, n_hidden = self.c.n_layers - 1
        if len(dropout) not in (0, n_hidden):
            raise ValueError(f"dropout needs {n_hidden} numbers, got {len(dropout)}")
        for i, p in enumerate(dropout):
            self.layers[i].dropout = _share("dropout", p)
        self.c.input_dropout = _share("input_dropout", input_dropout)
        return 0

    cdef int64_t n_outputs(self):
        return self.layers[self.c.n_layers - 1].width


cdef fm_dtype _dtype_number(dtype) except *:
    if dtype is not _float32 and dtype is not _float64:
        dtype = np.dtype(dtype)
    if dtype == _float32:
        return FM_FLOAT32
    if dtype == _float64:
        return FM_FLOAT64
    raise ValueError(f"dtype must be float32 or float64, got {dtype}")


cdef fm_dtype _arithmetic(fm_dtype kind, bint bfloat16) except *:
    if bfloat16 and kind != FM_FLOAT32:
        raise ValueError("bfloat16 products need parameters of dtype float32")
    return FM_BFLOAT16 if bfloat16 else kind


# ------------------------------------------------------------- order of rows
cdef struct _BitGenerator:  # bitgen_t of numpy/random/bitgen.h, which is part of NumPy's interface
    void *state
    uint64_t (*next_uint64)(void *) noexcept nogil
    uint32_t (*next_uint32)(void *) noexcept nogil
    double (*next_double)(void *) noexcept nogil
    uint64_t (*next_raw)(void *) noexcept nogil


cdef void _shuffle(int64_t *order, int64_t n, _BitGenerator *bits) noexcept nogil:
    """Swap each element, from the last one on, with one that is drawn of those up to it.

    Numbers too large are drawn again, without a branch: a third of them are, at random.
    """
    cdef int64_t drawn[64]
    cdef int64_t i, j, k, end, mask = 2**32 - 1
    i = n - 1
    while i > 0:
        while mask >> 1 >= i:
            mask >>= 1
        end = max(mask >> 1, i - 64)
        k = i
        while k > end:
            j = bits.next_uint32(bits.state) & mask
            drawn[i - k] = j
            k -= j <= k
        for k in range(i - end):
            j = drawn[k]
            order[i - k], order[j] = order[j], order[i - k]
        i = end


cdef class Shuffler:
    """Shuffles row numbers in place when called, as ``RandomState(bit_generator).shuffle`` does.

    That takes twice as long: it moves elements of any size, and draws with a branch for each.

    Parameters
    ----------
    bit_generator : numpy.random.BitGenerator
    order : ndarray of int64 (n,)
        At most 2**32 numbers.
    """

    cdef object bit_generator, acquire, release
    cdef _BitGenerator *bits
    cdef _Buffers buffers
    cdef int64_t *order
    cdef int64_t n

    def __init__(self, bit_generator, order):
        cdef _Buffers buffers = _Buffers(1)
        cdef Py_buffer *view = buffers.get(order, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        if view.ndim != 1 or _int_bytes(view) != 8 or not _is_aligned(view) \
                or view.shape[0] > 2**32:
            raise ValueError("order must be at most 2**32 numbers of int64, of one dimension")
        self.bits = <_BitGenerator *>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
        self.acquire, self.release = bit_generator.lock.acquire, bit_generator.lock.release
        self.bit_generator, self.buffers = bit_generator, buffers
        self.order, self.n = <int64_t *>view.buf, view.shape[0]

    def __call__(self):
        if self.bits == NULL:
            raise ValueError("was not initialised")
        self.acquire()
        try:
            with nogil:
                _shuffle(self.order, self.n, self.bits)
        finally:
            self.release()


# ------------------------------------------------------------------ network
cdef class Net:
    """A network that trains, in the engine's own layouts.

    Parameters
    ----------
    units : sequence of int
        Width of every layer, input and output included; n_layers + 1 numbers.
    dtype : float32 or float64
        Type of all parameters and arithmetic.
    bfloat16 : bool
        Whether products take their operands rounded to bfloat16; `dtype` is float32 then.
    activations : sequence of choices
        Rows of ``ACTIVATIONS``, one per weight layer, the output's last. A choice is a name, or
        ``(name, *values)`` or ``(name, {parameter: value})`` with values of the row's parameters;
        those left out have their defaults.
    loss : choice
        A row of ``LOSSES``; ``("quantile", (0.1, 0.5, 0.9))`` gives these to the outputs in turn.
    optimizer : choice or None
        A row of ``OPTIMIZERS``; None for a network that only serves `loss_grad`.
    alpha : float
        Strength of the L2 term.
    max_grad_norm : float
        Norm to which the gradient of a mini-batch, all weights and biases together, is scaled down
        if it is larger; 0 for any.
    averaging : float
        Decay of a running average of the parameters, in [0, 1); 0 for none. It is the state slot
        after the optimizer's.
    max_rows : int
        Rows of the largest mini-batch.
    max_nnz : int
        0 for dense X. For CSR X at least 1 and no less than the non-zeros of any
        mini-batch (or of any ``MAX_BLOCK`` rows of a larger one).
    normalization : sequence of {None, "batch", "layer"}
        Of each hidden layer; empty for none.
    residual : bool
        Whether hidden layers add what they are given, or where the width changes its projection.
    dropout : sequence of float
        Share of each hidden layer's outputs that `train` and `loss_grad` set to 0; empty for none.
    input_dropout : float
        The same of X.
    seed : int
        Of dropout, below 2**32. `loss_grad` drops what the first update does.
    fit_intercept : bool
        Whether biases have gradients; else they stay as they are loaded.
    isa : str or None
        A name of ``ISAS`` (with `bfloat16` of ``bfloat16_isas()``); None takes `default_isa`.
        Kernel sets for bfloat16 instructions leave networks with dropout to the next best.

    Raises
    ------
    ValueError
        If a name is unknown, a parameter out of bounds, a size below one, or the machine lacks
        `isa`.
    MemoryError
        If memory is short or the product of sizes overflows.
    """

    cdef fm_net *net
    cdef fm_dtype kind
    cdef _Network network
    cdef bint busy
    cdef int64_t _step, asked
    cdef int _n_slots
    cdef bint _averages
    # The data of the last call, kept open: an epoch's runs all use the same.
    cdef object data_X, data_y, data_weight
    cdef tuple data_csr
    cdef _Buffers data_buffers
    cdef fm_matrix X
    cdef fm_targets y
    cdef const double *weight

    def __init__(self, units, *, dtype, activations, loss, bint bfloat16=False, optimizer=None,
                 double alpha=0.0, double max_grad_norm=0.0, double averaging=0.0,
                 int64_t max_rows=200, int64_t max_nnz=0, normalization=(), bint residual=False,
                 dropout=(),
                 double input_dropout=0.0, uint32_t seed=0, bint fit_intercept=True, isa=None):
        cdef fm_config config
        cdef int i
        cdef _Buffers buffers
        cdef bytes isa_name = None if isa is None else str(isa).encode()
        if self.net != NULL:
            raise RuntimeError("a Net is initialised once")
        self.kind = _dtype_number(dtype)
        n = len(units) - 1
        if n < 1 or len(activations) != n:
            raise ValueError("units needs at least two numbers and activations one choice less")
        self.network = _Network(n, units[0], _arithmetic(self.kind, bfloat16))
        for i in range(n):
            self.network.set_layer(i, units[i + 1], activations[i])
        self.network.set_structure(normalization, residual)
        self.network.set_dropout(dropout, input_dropout)
        for i in range(self.network.c.n_layers):
            self.network.layers[i].no_bias = not fit_intercept
        config.network = self.network.c
        config.seed = seed
        buffers = _Buffers(1)
        per_output = _choose_loss(&config.loss, loss, self.network.n_outputs())
        config.loss_parameters = NULL
        if per_output is not None:
            config.loss_parameters = \
                <const double *>buffers.get(per_output, PyBUF_C_CONTIGUOUS).buf
        config.optimizer.row = -1
        if optimizer is not None:
            _choose(&config.optimizer, "optimizer", _OPTIMIZER_NUMBERS, fm_optimizer_row,
                    optimizer)
        config.alpha = alpha
        config.max_grad_norm = max_grad_norm
        config.averaging = averaging
        if optimizer is not None:
            self._averages = averaging > 0
            self._n_slots = fm_optimizer_row(config.optimizer.row).n_slots + self._averages
        config.max_rows = max_rows
        config.max_nnz = max_nnz
        config.interrupt.interrupted = _interrupted
        config.interrupt.arg = &self.asked
        config.isa = _isa_chars(isa_name)
        status = fm_net_create(&self.net, &config)
        if status != FM_OK:
            _raise(status, isa, bfloat16)

    def __dealloc__(self):
        fm_net_free(self.net)

    def __reduce__(self):
        raise TypeError("a Net cannot be pickled; store its parameters and state")

    @property
    def isa(self):
        """Name of the kernel set in use."""
        if self.net == NULL:
            raise RuntimeError("the Net was not initialised")
        return fm_net_isa(self.net).decode()

    @property
    def dtype(self):
        """Type of the parameters."""
        return np.dtype(np.float32 if self.kind == FM_FLOAT32 else np.float64)

    @property
    def n_slots(self):
        """Number of state slots, that of the average included."""
        return self._n_slots

    @property
    def average_slot(self):
        """The state slot that is the average of the parameters, None if there is no average."""
        return self._n_slots - 1 if self._averages else None

    @property
    def step(self):
        """Number of updates made (adam's t)."""
        return self._step

    @step.setter
    def step(self, int64_t step):
        if step < 0:
            raise ValueError(f"step must not be negative, got {step}")
        self._step = step

    cdef int enter(self) except -1:
        """Refuse a second thread. Test and set are one step, with the GIL or without."""
        with cython.critical_section(self):
            if self.net == NULL:
                raise RuntimeError("the Net was not initialised")
            if self.busy:
                raise RuntimeError("this Net is in use by another thread")
            self.busy = True
        return 0

    cdef int leave(self) except -1:
        """Let the next in, who sees all that was done here."""
        with cython.critical_section(self):
            self.busy = False
        return 0

    cdef int copy(self, int slot, coefs, intercepts, bint out) except -1:
        cdef fm_parameters *parameters = self.network.parameters
        cdef _Buffers buffers
        cdef fm_status status
        self.enter()
        try:
            if intercepts is None:
                buffers = _Buffers(1)
                writable = PyBUF_WRITABLE if out else 0
                self.cut_flat(buffers.get(coefs, PyBUF_C_CONTIGUOUS | writable), parameters)
            else:
                buffers = _Buffers(len(coefs) + len(intercepts))
                _read_params(self.network, coefs, intercepts, self.kind, out, slot < 0, buffers)
            with nogil:
                if out:
                    status = fm_net_store(self.net, slot, parameters)
                else:
                    status = fm_net_load(self.net, slot, parameters)
        finally:
            self.leave()
        if status != FM_OK:
            _raise(status)
        return 0

    def load_params(self, coefs, intercepts):
        """Copy parameters in: arrays (fan_in, fan_out) and (fan_out,) per layer.

        After those of all layers follow in coefs the projections; in intercepts the scales, the
        shifts, the running means and the running variances, of the layers that have any.
        """
        self.copy(-1, coefs, intercepts, False)

    def store_params(self, coefs, intercepts):
        """Copy parameters out into arrays as `load_params` takes them."""
        self.copy(-1, coefs, intercepts, True)

    def load_state(self, int slot, coefs, intercepts=None):
        """Copy one slot of the optimizer's state in (adam: 0 is m, 1 is v; sgd: 0 is velocity).

        The arrays are those of `load_params`, running means and variances excepted; or one vector
        of them all, as `loss_grad` takes it.
        """
        if slot < 0:
            raise ValueError(f"there is no state slot {slot}")
        self.copy(slot, coefs, intercepts, False)

    def store_state(self, int slot, coefs, intercepts=None):
        """Copy one slot of the optimizer's state out."""
        if slot < 0:
            raise ValueError(f"there is no state slot {slot}")
        self.copy(slot, coefs, intercepts, True)

    def state_is_finite(self):
        """Whether the solver's state holds neither NaN nor infinity."""
        cdef bint finite
        self.enter()
        with nogil:
            finite = fm_net_state_finite(self.net)
        self.leave()
        return finite

    cdef int open_data(self, X, y, sample_weight) except -1:
        """Describe the data to the engine, unless it is that of the last call."""
        cdef Py_buffer *view
        cdef _Buffers buffers
        cdef int64_t n_outputs = self.network.n_outputs()
        if self.data_buffers is not None and X is self.data_X and y is self.data_y \
                and sample_weight is self.data_weight and _same_csr(X, self.data_csr):
            return 0
        self.data_buffers = None
        buffers = _Buffers(6)
        _read_matrix(&self.X, X, buffers)
        if self.X.n_cols != self.network.c.n_inputs:
            raise ValueError(
                f"X has {self.X.n_cols} columns, the network takes {self.network.c.n_inputs}"
            )
        view = buffers.get(y, PyBUF_C_CONTIGUOUS)
        self.y.labels = NULL
        self.y.values = NULL
        if view.ndim < 1 or view.shape[0] != self.X.n_rows:
            raise ValueError(f"X has {self.X.n_rows} rows, y has shape {np.shape(y)}")
        if not _is_aligned(view):
            raise ValueError("y is not aligned in memory")
        if view.ndim == 1 and _int_bytes(view) == 4:
            self.y.labels = <const int32_t *>view.buf
        elif view.ndim == 2 and view.shape[1] == n_outputs and _is_float(view, self.kind):
            self.y.values = view.buf
        else:
            raise ValueError(
                f"y must be int32 of shape ({self.X.n_rows},) or {self.dtype} of shape "
                f"({self.X.n_rows}, {n_outputs}), got {np.asarray(y).dtype} of {np.shape(y)}"
            )
        self.weight = NULL
        if sample_weight is not None:
            view = buffers.get(sample_weight, PyBUF_C_CONTIGUOUS)
            if view.ndim != 1 or view.shape[0] != self.X.n_rows or _kind(view) != c'd' \
                    or not _is_aligned(view):
                raise ValueError(f"sample_weight must be float64 of shape ({self.X.n_rows},)")
            self.weight = <const double *>view.buf
        self.data_X = X
        self.data_csr = _csr_parts(X)
        self.data_y = y
        self.data_weight = sample_weight
        self.data_buffers = buffers
        return 0

    def release_data(self):
        """Let go of the X, y and sample_weight of the last call, which are kept open for the next."""
        self.enter()
        self.data_X = self.data_y = self.data_weight = self.data_csr = self.data_buffers = None
        self.leave()

    cdef int cut_flat(self, Py_buffer *flat, fm_parameters *parameters) except -1:
        """Pointers into a vector of the arrays of `load_state`, coefs before intercepts."""
        cdef const fm_network *n = &self.network.c
        cdef int64_t at = 0, fan_in = n.n_inputs
        cdef int i
        for i in range(n.n_layers):
            parameters[i].mean = parameters[i].variance = NULL
            parameters[i].W = <char *>flat.buf + at * flat.itemsize
            at += fan_in * n.layers[i].width
            fan_in = n.layers[i].width
        fan_in = n.n_inputs
        for i in range(n.n_layers):
            if n.layers[i].residual and fan_in != n.layers[i].width:
                parameters[i].P = <char *>flat.buf + at * flat.itemsize
                at += fan_in * n.layers[i].width
            fan_in = n.layers[i].width
        for i in range(n.n_layers):
            parameters[i].b = <char *>flat.buf + at * flat.itemsize
            at += n.layers[i].width
        for i in range(n.n_layers):
            if n.layers[i].normalization != FM_NO_NORM:
                parameters[i].scale = <char *>flat.buf + at * flat.itemsize
                at += n.layers[i].width
        for i in range(n.n_layers):
            if n.layers[i].normalization != FM_NO_NORM:
                parameters[i].shift = <char *>flat.buf + at * flat.itemsize
                at += n.layers[i].width
        if flat.ndim != 1 or flat.shape[0] != at or not _is_float(flat, self.kind) \
                or not _is_aligned(flat):
            raise ValueError(f"vectors of parameters must be {self.dtype} of shape ({at},)")
        return 0

    def train(self, X, y, sample_weight, order, int64_t batch_size, double learning_rate,
              int n_threads=0):
        """Train on rows `order` of X in consecutive mini-batches.

        Parameters
        ----------
        X : ndarray (n_samples, n_features) of float32 or float64, or CSR container
        y : ndarray
            int32 (n_samples,) class indices, or (n_samples, n_outputs) of the net's dtype.
        sample_weight : ndarray of float64 (n_samples,) or None
        order : ndarray of int64 (n,)
            Row numbers of X; the last mini-batch may be short.
        batch_size : int
        learning_rate : float
        n_threads : int
            0 for the default of the process.

        Returns
        -------
        float
            Sum over mini-batches of (mean loss + L2 term) * rows.

        Raises
        ------
        ZeroDivisionError
            If the weights of a mini-batch sum to zero; earlier mini-batches have been
            applied.
        KeyboardInterrupt
            On Ctrl-C, or what else the handler of a signal raises; earlier mini-batches have been
            applied.
        ValueError
            If a row number, class index or CSR structure is out of range.
        """
        cdef double loss = 0
        cdef fm_status status
        cdef _Buffers buffers = _Buffers(1)
        cdef Py_buffer *rows = buffers.get(order, PyBUF_C_CONTIGUOUS)
        if rows.ndim != 1 or _int_bytes(rows) != 8 or not _is_aligned(rows):
            raise ValueError("order must be int64 of one dimension")
        self.enter()
        try:
            self.open_data(X, y, sample_weight)
            with nogil:
                status = fm_net_train(self.net, &loss, &self._step, &self.X, &self.y, self.weight,
                                      <const int64_t *>rows.buf, rows.shape[0], batch_size,
                                      learning_rate, n_threads)
        finally:
            self.leave()
        if status != FM_OK:
            _raise(status)
        return loss

    def loss_grad(self, params, grad, X, y, sample_weight, int n_threads=0):
        """Loss and gradient over all rows of X, for L-BFGS.

        Parameters
        ----------
        params : ndarray (n_params,)
            ``[W0 .. WL | b0 .. bL]``, loaded first; with what else `load_state` takes, in its order.
            Running means and variances are not touched.
        grad : ndarray (n_params,)
            Receives the gradient.
        X, y, sample_weight, n_threads
            As for `train`.

        Returns
        -------
        float
            Mean loss + L2 term.
        """
        cdef double loss = 0
        cdef fm_status status
        cdef fm_parameters *gradient = NULL
        cdef _Buffers buffers = _Buffers(2)
        cdef Py_buffer *p = buffers.get(params, PyBUF_C_CONTIGUOUS)
        cdef Py_buffer *d = buffers.get(grad, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        self.enter()
        try:
            gradient = <fm_parameters *>calloc(self.network.c.n_layers, sizeof(fm_parameters))
            if gradient == NULL:
                raise MemoryError
            self.cut_flat(p, self.network.parameters)
            self.cut_flat(d, gradient)
            self.open_data(X, y, sample_weight)
            with nogil:
                status = fm_net_load(self.net, -1, self.network.parameters)
                if status == FM_OK:
                    status = fm_net_loss_grad(self.net, &loss, gradient, &self.X, &self.y,
                                              self.weight, n_threads)
        finally:
            free(gradient)
            self.leave()
        if status != FM_OK:
            _raise(status)
        return loss


def all_finite(*arrays, isa=None):
    """Whether all numbers are finite.

    Parameters
    ----------
    *arrays : ndarray
        Of any dtype, with one or two dimensions.
    isa : str or None
    """
    cdef bytes isa_name = None if isa is None else str(isa).encode()
    cdef const char *isa_chars = _isa_chars(isa_name)
    cdef _Buffers buffers = _Buffers(<int>len(arrays))
    cdef Py_buffer *view
    cdef fm_matrix X
    cdef fm_status status
    X.indices = NULL
    for a in arrays:
        view = buffers.get(a, PyBUF_STRIDES)
        if not (_is_float(view, FM_FLOAT32) or _is_float(view, FM_FLOAT64)) \
                or not _is_aligned(view):
            if a.dtype.kind == "f" and not np.isfinite(a).all():
                return False
            continue
        if not 1 <= view.ndim <= 2:
            raise ValueError(f"arrays must have one or two dimensions, got {view.ndim}")
        X.dtype = FM_FLOAT32 if view.itemsize == 4 else FM_FLOAT64
        X.data = view.buf
        X.n_cols, X.col_stride = view.shape[view.ndim - 1], view.strides[view.ndim - 1]
        X.n_rows, X.row_stride = 1, X.n_cols * X.col_stride
        if view.ndim == 2:
            X.n_rows, X.row_stride = view.shape[0], view.strides[0]
        with nogil:
            status = fm_check_finite(&X, isa_chars)
        if status == FM_NOT_FINITE:
            return False
        if status != FM_OK:
            _raise(status, isa)
    return True


def predict(X, coefs, intercepts, activations, *, normalization=(), bint residual=False,
            bint bfloat16=False, int n_threads=0, bint check_finite=False, isa=None):
    """Forward pass on parameters that stay where they are.

    Parameters
    ----------
    X : ndarray (n_samples, n_features) of float32 or float64, or CSR container
    coefs, intercepts : lists of ndarray
        As for `Net.load_params`, C-contiguous, all of one dtype.
    activations : sequence of choices
    normalization : sequence of {None, "batch", "layer"}
    residual : bool
        As for `Net`.
    bfloat16 : bool
        Whether products take their operands rounded to bfloat16; float32 parameters only.
    n_threads : int
        0 for the default of the process.
    check_finite : bool
        Whether to look for NaN and infinity in X, as numbers of the parameters' dtype.
    isa : str or None

    Returns
    -------
    ndarray (n_samples, n_outputs) of the parameters' dtype, or None
        None if X holds NaN or infinity and `check_finite` is set.
    """
    cdef int i, n = len(activations)
    cdef int64_t width = 0
    cdef _Network network
    cdef _Buffers buffers = _Buffers(len(coefs) + len(intercepts) + 5)
    cdef fm_matrix matrix
    cdef fm_status status
    cdef int64_t asked = 0
    cdef fm_interrupt interrupt = fm_interrupt(_interrupted, &asked)
    cdef Py_buffer *out_view
    cdef void *out_data
    cdef bytes isa_name = None if isa is None else str(isa).encode()
    cdef const char *isa_chars = _isa_chars(isa_name)
    if n < 1 or len(coefs) < n or (len(coefs) > n and not residual):
        raise ValueError("expected one activation per layer of coefs, and at least one layer")
    dtype = coefs[0].dtype
    cdef fm_dtype kind = _dtype_number(dtype)
    cdef fm_dtype arithmetic = _arithmetic(kind, bfloat16)
    for i in range(n):
        shape = coefs[i].shape
        if len(shape) != 2 or (i > 0 and shape[0] != width):
            raise ValueError(
                f"coefs[{i}] has shape {shape}, expected two dimensions"
                + (f" and {width} rows" if i > 0 else "")
            )
        if i == 0:
            network = _Network(n, shape[0], arithmetic)
        width = shape[1]
        network.set_layer(i, width, activations[i])
    if normalization or residual:
        network.set_structure(normalization, residual)
    _read_params(network, coefs, intercepts, kind, False, True, buffers)
    _read_matrix(&matrix, X, buffers)
    if matrix.n_cols != network.c.n_inputs:
        raise ValueError(
            f"X has {matrix.n_cols} columns, the network takes {network.c.n_inputs}"
        )
    out = _new_array((matrix.n_rows, width), dtype)
    out_view = buffers.get(out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    out_data = out_view.buf
    with nogil:
        status = fm_predict(out_data, &matrix, &network.c, network.parameters, isa_chars,
                            check_finite, &interrupt, n_threads)
    if status == FM_NOT_FINITE:
        return None
    if status != FM_OK:
        _raise(status, isa, bfloat16)
    return out
