"""What is measured: fastmlp and the libraries that its users could pick instead.

Every peer trains the same network with the same mathematics: ReLU, Adam at a learning rate of
1e-3, no weight penalty, the same number of epochs, mini-batches of the same size in a fresh random
order per epoch, Glorot initialisation. A peer is made for one shape and its data; then

    fit() -> loss         one whole fit from new weights; the mean loss of the last epoch
    predictor() -> f      f(X) -> probabilities (or values), by a network that was fitted before

PyTorch and JAX are written as their users would who care for speed: fused Adam, tensors gathered by
index, no data loader; in JAX the whole epoch is one compiled ``lax.scan``. Their compilation
happens in the warm-up fit, which is not timed.
"""

import importlib.metadata
import importlib.util
import inspect
import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

LEARNING_RATE = 1e-3


# ---------------------------------------------------------------- estimators
def make_estimator(module, shape, **params):
    """The MLPClassifier or MLPRegressor of a module that trains a shape as described above."""
    name = "MLPRegressor" if shape.target == "values" else "MLPClassifier"
    return getattr(module, name)(
        hidden_layer_sizes=shape.hidden,
        solver=shape.solver,
        alpha=0.0,
        batch_size=shape.batch_size,
        learning_rate_init=LEARNING_RATE,
        max_iter=shape.epochs,
        n_iter_no_change=shape.epochs + 1,
        tol=0.0,
        random_state=0,
        **params,
    )


def fit_quietly(estimator, X, y):
    """Fit without the warning that the given number of epochs was used up: it was asked for."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)


class Estimator:
    """fastmlp or scikit-learn, through the estimator."""

    def __init__(self, shape, data, threads, *, module, **params):
        self.module = importlib.import_module(module)
        self.shape, self.data, self.params = shape, data, params

    def fit(self):
        self.model = make_estimator(self.module, self.shape, **self.params)
        return fit_quietly(self.model, self.data.X, self.data.y).loss_

    def predictor(self):
        self.fit()
        return self.model.predict if self.shape.target == "values" else self.model.predict_proba


# --------------------------------------------------- tensor libraries: common
def initial_params(shape):
    """[W0, .., WL, b0, .., bL], drawn as scikit-learn draws them for ReLU."""
    rng = np.random.default_rng(0)
    sizes = (*shape.units[:-1], shape.n_outputs)
    bounds = [(np.sqrt(6 / (m + n)), m, n) for m, n in pairwise(sizes)]
    weights = [rng.uniform(-bound, bound, (m, n)) for bound, m, n in bounds]
    biases = [rng.uniform(-bound, bound, n) for bound, m, n in bounds]
    return [p.astype(np.float32) for p in weights + biases]


class Torch:
    """PyTorch with fused Adam; eager, compiled or under bfloat16 autocast."""

    def __init__(self, shape, data, threads, *, compiled=False, bfloat16=False):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.shape, self.data = torch, shape, data
        self.loss = torch.compile(self._loss, dynamic=False) if compiled else self._loss
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)

    def forward(self, params, x):
        torch, F = self.torch, self.torch.nn.functional
        n_layers = len(params) // 2
        weights, biases = params[:n_layers], params[n_layers:]
        for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
            if isinstance(x, tuple):  # rows of a CSR matrix
                columns, offsets, values = x
                x = b + F.embedding_bag(columns, W, offsets, per_sample_weights=values, mode="sum")
            else:
                x = torch.addmm(b, x, W)
            if i < n_layers - 1:
                x = torch.relu(x)
        return x

    def _loss(self, params, x, y):
        F, z = self.torch.nn.functional, self.forward(params, x)
        if self.shape.target == "classes":
            return F.cross_entropy(z, y)
        if self.shape.target == "binary":
            return F.binary_cross_entropy_with_logits(z[:, 0], y)
        return 0.5 * F.mse_loss(z[:, 0], y)

    def rows(self, X, index):
        """Rows of X: by index for a tensor, as embedding_bag wants them for a CSR matrix."""
        torch = self.torch
        if isinstance(X, torch.Tensor):
            return X[index]
        rows = X[index.numpy()]
        parts = rows.indices.astype(np.int64), rows.indptr[:-1].astype(np.int64), rows.data
        return tuple(map(torch.from_numpy, parts))

    def fit(self):
        torch, shape = self.torch, self.shape
        X, y = self.data.X, torch.from_numpy(self.data.y)
        X = torch.from_numpy(X) if shape.density == 1 else X
        y = y.float() if shape.target == "binary" else y
        params = [torch.from_numpy(p).requires_grad_() for p in initial_params(shape)]
        adam = torch.optim.Adam(params, lr=LEARNING_RATE, fused=True)
        for _ in range(shape.epochs):
            total = torch.zeros(())
            for index in torch.randperm(len(y)).split(shape.batch_size):
                with self.autocast:
                    loss = self.loss(params, self.rows(X, index), y[index])
                adam.zero_grad()
                loss.backward()
                adam.step()
                total += len(index) * loss.detach()
        return float(total) / len(y)


class Jax:
    """JAX; one epoch is one compiled function."""

    def __init__(self, shape, data, threads):
        import jax

        self.jax, self.shape = jax, shape
        self.y = data.y.astype(np.float32) if shape.target == "binary" else data.y
        self.X = data.X if shape.density == 1 else _padded_rows(data.X)
        self.epoch = jax.jit(self._epoch, donate_argnums=0)

    def forward(self, params, x):
        jnp = self.jax.numpy
        n_layers = len(params) // 2
        for i, (W, b) in enumerate(zip(params[:n_layers], params[n_layers:], strict=True)):
            if isinstance(x, tuple):
                columns, values = x
                x = jnp.einsum("mk,mkn->mn", values, W[columns]) + b
            else:
                x = x @ W + b
            if i < n_layers - 1:
                x = self.jax.nn.relu(x)
        return x

    def _loss(self, params, x, y):
        jax, z = self.jax, self.forward(params, x)
        if self.shape.target == "classes":
            return -jax.numpy.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1).mean()
        z = z[:, 0]
        if self.shape.target == "binary":
            return (jax.nn.softplus(z) - y * z).mean()
        return 0.5 * ((z - y) ** 2).mean()

    def _epoch(self, state, X, y, order):
        jax, jnp, batch_size = self.jax, self.jax.numpy, self.shape.batch_size

        def step(state, index):
            params, m, v, t = state
            x = jax.tree.map(lambda part: part[index], X)
            loss, grads = jax.value_and_grad(self._loss)(params, x, y[index])
            t = t + 1
            m = [0.9 * mi + 0.1 * g for mi, g in zip(m, grads, strict=True)]
            v = [0.999 * vi + 0.001 * g * g for vi, g in zip(v, grads, strict=True)]
            rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            changes = [rate * mi / (jnp.sqrt(vi) + 1e-8) for mi, vi in zip(m, v, strict=True)]
            params = [p - change for p, change in zip(params, changes, strict=True)]
            return (params, m, v, t), loss * len(index)

        whole = len(order) // batch_size * batch_size
        state, losses = jax.lax.scan(step, state, order[:whole].reshape(-1, batch_size))
        total = losses.sum()
        if whole < len(order):
            state, loss = step(state, order[whole:])
            total += loss
        return state, total / len(order)

    def fit(self):
        jax, jnp = self.jax, self.jax.numpy
        rng = np.random.default_rng(1)
        X, y = jax.tree.map(jnp.asarray, self.X), jnp.asarray(self.y)
        params = [jnp.asarray(p) for p in initial_params(self.shape)]
        state = (params, *([jnp.zeros_like(p) for p in params] for _ in "mv"), jnp.float32(0))
        for _ in range(self.shape.epochs):
            state, loss = self.epoch(state, X, y, rng.permutation(len(y)))
        jax.block_until_ready(state)
        return float(loss)


def _padded_rows(X):
    """A CSR matrix as (columns, values), both (n_rows, non-zeros of the fullest row)."""
    counts = np.diff(X.indptr)
    inside = np.arange(counts.max()) < counts[:, None]
    columns, values = np.zeros(inside.shape, np.int32), np.zeros(inside.shape, np.float32)
    columns[inside], values[inside] = X.indices, X.data
    return columns, values


class OnnxRuntime:
    """Prediction only: a network of Gemm, Relu and Softmax nodes with scikit-learn's weights."""

    def __init__(self, shape, data, threads):
        import onnxruntime
        import sklearn.neural_network

        model = make_estimator(sklearn.neural_network, shape)
        fit_quietly(model, data.X, data.y)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        graph = _onnx_graph(shape, model).SerializeToString()
        self.session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])

    def predictor(self):
        run = self.session.run
        return lambda X: run(None, {"X": X})[0]


def _onnx_graph(shape, model):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, last = [], [], "X"
    n_layers = len(model.coefs_)
    for i, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        constants += [
            numpy_helper.from_array(W.astype(np.float32), f"W{i}"),
            numpy_helper.from_array(b.astype(np.float32), f"b{i}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"W{i}", f"b{i}"], [f"Z{i}"]))
        last = f"Z{i}"
        if i < n_layers - 1:
            nodes.append(helper.make_node("Relu", [last], [f"A{i}"]))
            last = f"A{i}"
    if shape.target == "classes":
        nodes.append(helper.make_node("Softmax", [last], ["out"], axis=1))
    elif shape.target == "binary":  # two columns, as predict_proba gives them
        constants.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
        nodes.append(helper.make_node("Sigmoid", [last], ["p1"]))
        nodes.append(helper.make_node("Sub", ["one", "p1"], ["p0"]))
        nodes.append(helper.make_node("Concat", ["p0", "p1"], ["out"], axis=1))
    else:
        nodes.append(helper.make_node("Identity", [last], ["out"]))
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, shape.units[0]])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, None])
    graph = helper.make_graph(nodes, "mlp", [x], [out], constants)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    return model


# --------------------------------------------------------------------- table
@dataclass(frozen=True)
class Peer:
    name: str  # as in records, tables and pictures
    make: type
    packages: tuple[str, ...]
    dtype: str  # of X
    options: dict
    fits: bool = True  # whether it trains
    predicts: bool = False
    env: tuple = ()  # environment variables of its process
    in_quick: bool = True

    def missing(self):
        """Why this peer cannot run here; None if it can."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed"
        if "precision" in self.options:
            from fastmlp import MLPClassifier

            if "precision" not in inspect.signature(MLPClassifier).parameters:
                return "this fastmlp has no precision="
        isa = dict(self.env).get("FASTMLP_ISA")
        if isa:
            from fastmlp import _core

            if isa not in _core.ISAS or isa == _core.ISAS[0]:
                return f"{isa} is {'the best' if isa in _core.ISAS else 'not'} on this machine"
        return None

    def applies(self, shape):
        """Whether this peer can train a shape at all."""
        return self.fits and (shape.solver == "adam" or self.make is Estimator)


def _fastmlp(name, dtype, everywhere=True, env=(), in_quick=True, **params):
    options, packages = {"module": "fastmlp", **params}, ("fastmlp", "fastmlp._core")
    return Peer(name, Estimator, packages, dtype, options, everywhere, everywhere, env, in_quick)


def _sklearn(name, dtype):
    options = {"module": "sklearn.neural_network"}
    return Peer(name, Estimator, ("sklearn",), dtype, options, True, True)


PEERS = {
    peer.name: peer
    for peer in (
        _fastmlp("fastmlp f32", "float32"),
        _fastmlp("fastmlp f64", "float64"),
        _fastmlp("fastmlp bf16", "float32", precision="bfloat16"),
        _fastmlp("fastmlp f32 avx2", "float32", env=(("FASTMLP_ISA", "avx2"),), in_quick=False),
        _fastmlp("fastmlp f32 chunks", "float32", False, in_quick=False, shuffle="chunks"),
        _sklearn("scikit-learn f32", "float32"),
        _sklearn("scikit-learn f64", "float64"),
        Peer("torch f32", Torch, ("torch",), "float32", {}),
        Peer("torch compile", Torch, ("torch",), "float32", {"compiled": True}, in_quick=False),
        Peer("torch bf16", Torch, ("torch",), "float32", {"bfloat16": True}, in_quick=False),
        Peer("jax f32", Jax, ("jax", "jaxlib"), "float32", {}),
        Peer("onnxruntime", OnnxRuntime, ("onnxruntime", "onnx"), "float32", {}, False, True),
    )
}

# Distributions whose versions a record holds; of fastmlp, which need not be installed, it holds the
# commit.
DISTRIBUTIONS = ("numpy", "scipy", "scikit-learn", "torch", "jax", "onnxruntime")


def versions():
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
