"""Gradients against finite differences of the loss, for every row of every table.

The reference and the engine could share a wrong formula; a difference quotient cannot.
"""

from itertools import product

import numpy as np
import problems
import pytest
import reference

from fastmlp import _core

# By dtype: step h of the central difference, whose error is of order h^2 and of the loss's rounding
# error over h; relative tolerance; absolute tolerance as a share of the largest derivative.
TOLERANCES = {"float64": (1e-5, 2e-6, 2e-8), "float32": (2e-3, 1e-3, 3e-4)}


def objective(core, p, params, **options):
    """What the gradient is the gradient of; see reference.Loss.mean."""
    loss = net_loss(core, p, params, **options)
    if not problems.row_of(reference.LOSSES, p.loss).mean:
        return loss
    W = np.concatenate([W.ravel() for W in split(p, params)], dtype=np.float64)
    s = p.n if p.sample_weight is None else p.sample_weight.sum()
    penalty = 0.5 * p.alpha * (W @ W) / s
    return p.units[-1] * (loss - penalty) + penalty


def net_loss(core, p, params, **options):
    return p.net(core, **options).loss_grad(
        params, np.empty_like(params), p.X, p.y, p.sample_weight
    )


def split(p, params):
    """The coefs in the flat vector of parameters."""
    ends = np.cumsum([W.size for W in p.coefs])
    return np.split(params[: ends[-1]], ends[:-1])


def assert_gradient(core, p, **options):
    h, rtol, atol = TOLERANCES[p.dtype.name]
    _, grad = problems.loss_grad(core, p, **options)
    quotients = np.empty(grad.shape)
    for i in range(grad.size):
        above, below = p.params.copy(), p.params.copy()
        above[i] += h
        below[i] -= h
        rise = objective(core, p, above, **options) - objective(core, p, below, **options)
        quotients[i] = rise / (float(above[i]) - float(below[i]))
    scale = max(1, np.abs(grad).max())
    np.testing.assert_allclose(grad, quotients, rtol=rtol, atol=atol * scale)


PAIRS = list(product(problems.LOSSES, problems.OUTPUT))


@pytest.mark.parametrize(("hidden", "pair"), problems.covering(problems.HIDDEN, PAIRS), ids=str)
def test_gradient(hidden, pair, dtype, isa):
    loss, out = pair
    p = problems.make([3, 5, 3], 7, dtype, hidden=hidden, loss=loss, out=out, alpha=0.7)
    assert_gradient(_core, p, isa=isa)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("density", [None, 0.4])
@pytest.mark.parametrize("units", [[4, 2], [4, 1], [2, 3, 4, 1], [4, 3, 2, 5, 3]], ids=str)
@pytest.mark.parametrize("loss", problems.LOSSES)
def test_gradient_of_other_shapes(loss, units, density, weighted, isa):
    p = problems.make(units, 9, np.float64, loss=loss, density=density, weighted=weighted)
    assert_gradient(_core, p, isa=isa)


def test_gradient_of_class_indices(isa):
    p = problems.make([4, 6, 5], 11, np.float64, loss="log_loss", labels=True, weighted=True)
    assert_gradient(_core, p, isa=isa)


@pytest.mark.parametrize("out", ["softmax", "logistic"])
@pytest.mark.parametrize("loss", ["log_loss", "binary_log_loss"])
def test_gradient_of_soft_targets(loss, out, isa):
    """Targets between 0 and 1."""
    p = problems.make([4, 6, 5], 11, np.float64, loss=loss, out=out)
    p.y = np.random.default_rng(0).dirichlet(np.ones(5), size=p.n)
    assert_gradient(_core, p, isa=isa)


@pytest.mark.parametrize(("loss", "out"), problems.CANONICAL)
def test_short_form_equals_the_chain_rule(loss, out):
    """a - y is dl/da * f'(z) for the pairs of loss and output that claim it."""
    p = problems.make([4, 5], 9, np.float64, loss=loss, out=out)
    (layer,) = reference.forward(p.X, p.coefs, p.intercepts, p.activations)
    Z, A = layer.Z, layer.out
    row = reference.LOSSES[loss]
    dA = row.grad(p.y, A, np.finfo(np.float64).eps) / (A if row.by == "log" else 1)
    np.testing.assert_allclose(
        reference.ACTIVATIONS[out].back(Z, A, dA), A - p.y, rtol=1e-12, atol=1e-14
    )
