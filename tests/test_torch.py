"""The optimizers against PyTorch, step by step over one epoch in float64.

The figures of ``data/torch_optimizers.json`` are PyTorch's; where it is installed they are computed
anew as well. ``python tests/test_torch.py`` writes the file.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from fastmlp import _core

RECORD = Path(__file__).parent / "data" / "torch_optimizers.json"
UNITS, ROWS, BATCH = [4, 5, 2], 48, 4

# Class of torch.optim, learning rate, parameters; the row and the same parameters here. Lion, which
# PyTorch does not have, is compared with tests/reference.py only.
CASES = {
    "adamw": ("AdamW", 1e-3, {}, ("adamw", {})),
    "adamw-others": (
        "AdamW",
        0.02,
        {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3},
        ("adamw", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-4, "weight_decay": 0.3}),
    ),
    "nadam": ("NAdam", 2e-3, {}, ("nadam", {})),
    "nadam-others": (
        "NAdam",
        0.02,
        {
            "betas": (0.8, 0.95),
            "momentum_decay": 0.5,
            "weight_decay": 0.3,
            "decoupled_weight_decay": True,
        },
        ("nadam", {"beta_1": 0.8, "beta_2": 0.95, "momentum_decay": 0.5, "weight_decay": 0.3}),
    ),
    "radam": ("RAdam", 1e-3, {}, ("radam", {})),
    "radam-others": (
        "RAdam",
        0.02,
        {"betas": (0.8, 0.95), "weight_decay": 0.3, "decoupled_weight_decay": True},
        ("radam", {"beta_1": 0.8, "beta_2": 0.95, "weight_decay": 0.3}),
    ),
    "amsgrad": ("AdamW", 1e-3, {"amsgrad": True, "weight_decay": 0}, ("amsgrad", {})),
    "amsgrad-others": (
        "AdamW",
        0.02,
        {"amsgrad": True, "betas": (0.8, 0.3), "weight_decay": 0.3},
        ("amsgrad", {"beta_1": 0.8, "beta_2": 0.3, "weight_decay": 0.3}),
    ),
    "rmsprop": ("RMSprop", 1e-2, {}, ("rmsprop", {})),
    "rmsprop-others": (
        "RMSprop",
        0.02,
        {"alpha": 0.8, "momentum": 0.7, "eps": 1e-3},
        ("rmsprop", {"rho": 0.8, "momentum": 0.7, "epsilon": 1e-3}),
    ),
    "adagrad": ("Adagrad", 1e-2, {}, ("adagrad", {})),
    "adagrad-others": ("Adagrad", 0.1, {"eps": 1e-2}, ("adagrad", {"epsilon": 1e-2})),
    "adadelta": ("Adadelta", 1.0, {}, ("adadelta", {})),
    "adadelta-others": (
        "Adadelta",
        2.0,
        {"rho": 0.6, "eps": 1e-3},
        ("adadelta", {"rho": 0.6, "epsilon": 1e-3}),
    ),
}


def problem():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(ROWS, UNITS[0])), rng.normal(size=(ROWS, UNITS[-1]))
    coefs = [rng.normal(size=(4, 5)) / 2, rng.normal(size=(5, 2)) / 2]
    return X, y, coefs, [rng.normal(size=5) / 2, rng.normal(size=2) / 2]


def ours(core, choice, learning_rate, **options):
    """Loss before every step, and the parameters after the last."""
    X, y, coefs, intercepts = problem()
    net = core.Net(
        UNITS,
        dtype=np.float64,
        activations=["tanh", "identity"],
        loss="squared_error",
        optimizer=choice,
        **options,
    )
    net.load_params(coefs, intercepts)
    losses = [
        net.train(X, y, None, np.arange(at, at + BATCH), BATCH, learning_rate) / BATCH
        for at in range(0, ROWS, BATCH)
    ]
    net.store_params(coefs, intercepts)
    return {"losses": losses, "params": np.concatenate([a.ravel() for a in coefs + intercepts])}


def torchs(torch, name, learning_rate, params):
    """The same by PyTorch. Weight decay is for the weights."""
    torch.set_default_dtype(torch.float64)  # of nadam's product of momentum coefficients
    X, y, coefs, intercepts = (
        [torch.tensor(a, requires_grad=True) for a in part] if isinstance(part, list) else part
        for part in problem()
    )
    X, y = torch.tensor(X), torch.tensor(y)
    optimizer = getattr(torch.optim, name)(
        [{"params": coefs}, {"params": intercepts} | {"weight_decay": 0.0}],
        lr=learning_rate,
        **params,
    )
    losses = []
    for at in range(0, ROWS, BATCH):
        rows = slice(at, at + BATCH)
        A = torch.tanh(X[rows] @ coefs[0] + intercepts[0]) @ coefs[1] + intercepts[1]
        # Half the squared error: reported is the mean over outputs, minimised the sum.
        squares = 0.5 * (A - y[rows]) ** 2
        optimizer.zero_grad()
        squares.sum(axis=1).mean().backward()
        optimizer.step()
        losses.append(squares.mean().item())
    params = torch.cat([a.detach().ravel() for a in coefs + intercepts])
    return {"losses": losses, "params": params.tolist()}


def assert_equal(found, expected):
    for key in ("losses", "params"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_recorded_steps_of_pytorch(case, isa):
    _, learning_rate, _, choice = CASES[case]
    expected = json.loads(RECORD.read_text())["cases"][case]
    assert len(expected["losses"]) == ROWS / BATCH
    assert_equal(ours(_core, choice, learning_rate, isa=isa), expected)


@pytest.mark.parametrize("case", CASES)
def test_steps_of_the_installed_pytorch(case):
    torch = pytest.importorskip("torch")
    name, learning_rate, params, choice = CASES[case]
    expected = torchs(torch, name, learning_rate, params)
    assert_equal(expected, json.loads(RECORD.read_text())["cases"][case])
    assert_equal(ours(_core, choice, learning_rate), expected)


def test_every_optimizer_of_pytorch_is_compared():
    compared = {choice[0] for _, _, _, choice in CASES.values()}
    # Those that follow scikit-learn, and the one that PyTorch does not have.
    assert _core.OPTIMIZERS.keys() - compared == {"sgd", "adam", "lion"}


if __name__ == "__main__":
    import torch

    lines = [f'"{case}": {json.dumps(torchs(torch, *CASES[case][:3]))}' for case in CASES]
    text = ",\n".join(lines)
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(f'{{"torch": "{torch.__version__}",\n"cases": {{\n{text}\n}}}}\n')
