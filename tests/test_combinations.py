"""Networks drawn at random from everything there is, against the reference.

Other tests take one technique at a time; here they meet: any activations, normalisation, residual
connections, dropout, loss with any output activation, optimizer, clipping, averaging, X dense or
sparse, and mini-batches that may be larger than a block of the engine.
"""

import numpy as np
import problems
import pytest
import reference

from fastmlp import _core

POSITIVE = [name for name, row in reference.ACTIVATIONS.items() if row.output and row.positive]
# Activations that keep the output in the domain of a loss, by its targets.
OUTPUTS = {
    "real": problems.OUTPUT,
    "nonnegative": POSITIVE,
    "positive": POSITIVE,
    "class": ["softmax", "logistic"],
    "binary": ["logistic"],
}
# Biases ahead of a batch normalisation have a gradient of rounding errors only, of which lion
# takes the sign.
STEADY = [o for o in problems.OPTIMIZERS if reference.name_of(o) != "lion"]

SEEDS = [*range(60), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(60, 1000))]


def draw(seed):
    """A problem, an optimizer and the arguments of training."""
    rng = np.random.default_rng(seed)

    def one_of(choices):
        return choices[rng.integers(len(choices))]

    n_hidden = int(rng.integers(5))
    units = [int(n) for n in rng.choice([1, 2, 3, 5, 8, 9, 16, 17, 33, 40], n_hidden + 2)]
    n = int(one_of([4, 17, 40, 90, 1100]))
    loss = one_of(problems.LOSSES)
    out = one_of(OUTPUTS[problems.row_of(reference.LOSSES, loss).targets])
    if reference.name_of(loss) == "quantile":
        loss = ("quantile", tuple(rng.uniform(0.1, 0.9, units[-1])))
    p = problems.make(
        units,
        n,
        np.float64,
        hidden=[one_of(problems.HIDDEN) for _ in range(n_hidden)],
        loss=loss,
        out=out,
        weighted=n > 4 and bool(rng.integers(2)),
        density=one_of([None, None, 0.1, 0.5]),
        alpha=one_of([0.0, 0.1]),
        seed=seed,
    )
    kinds = [None, None, "batch", "layer"]
    normalization = [one_of(kinds) for _ in range(n_hidden)] if rng.integers(2) else []
    p = problems.with_structure(p, normalization, bool(rng.integers(2)), seed)
    dropout = [one_of([0.0, 0.0, 0.3]) for _ in range(n_hidden)] if rng.integers(2) else []
    options = {
        "dropout": tuple(dropout),
        "input_dropout": one_of([0.0, 0.0, 0.2]),
        "seed": seed,
        "fit_intercept": bool(rng.integers(4)),
        "max_grad_norm": one_of([0.0, 0.0, 0.1]),
        "averaging": one_of([0.0, 0.0, 0.9]),
    }
    p = p.but(options=p.options | options)
    if not options["fit_intercept"]:
        for b in p.intercepts[: len(units) - 1]:
            b[:] = 0
    batch_size = int(one_of([n, (n + 1) // 2, n // 3 + 1]))
    optimizer = one_of(STEADY if "batch" in normalization else problems.OPTIMIZERS)
    return p, optimizer, {"batch_size": batch_size, "learning_rate": 1e-3}


def assert_close(actual, desired):
    """A gradient that is 0 is one of rounding errors, whose state no relative bound can hold."""
    arrays = zip(problems.each_array(actual), problems.each_array(desired), strict=True)
    for (name, a), (_, d) in arrays:
        atol = 1e-8 * np.abs(d).max(initial=0) + 1e-13
        np.testing.assert_allclose(a, d, rtol=1e-6, atol=atol, err_msg=name)


@pytest.mark.parametrize("seed", SEEDS)
def test_combination(seed, isa):
    p, optimizer, arguments = draw(seed)
    expected = problems.train(reference, p, optimizer, epochs=2, **arguments)
    runs = [
        problems.train(_core, p, optimizer, epochs=2, isa=isa, n_threads=n, **arguments)
        for n in (1, 3)
    ]
    problems.assert_same_bits(*runs)
    assert_close(runs[0], expected)
    assert_close(problems.predict(_core, p, isa=isa), problems.predict(reference, p))
