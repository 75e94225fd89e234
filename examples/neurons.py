"""Networks from NumPy alone: one neuron, a 3-5-4-1 network and XOR
================================================================

The classic first exercise, thirty lines of NumPy there, one call of `fit` here, the same digits.
The answer in the table is its first column. A neuron without bias starts from the weights 2u - 1
of NumPy's legacy generator seeded with 1 and answers 0.99993704 to the new row 1, 0, 0 after 10,000
steps of plain gradient descent, a 3-5-4-1 network without biases 0.99650838. XOR takes a hidden
layer: 2-9-1 learns one sample at a time, until the mean error of an epoch is below 1e-5, after
13,190 epochs. ::

    python examples/neurons.py
"""

import warnings
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPRegressor

warnings.simplefilter("ignore", ConvergenceWarning)  # all 10,000 steps are wanted

# %%
# What all three have in common: sigmoids, half the squared error, plain gradient descent.

common = {"activation": "logistic", "out_activation": "logistic", "loss": "squared_error"}
common |= {"solver": "sgd", "momentum": 0, "alpha": 0, "tol": 0, "n_iter_no_change": np.inf}

# %%
# A neuron, then a network, on all four rows at once. The exercise sums over the rows, fastmlp
# takes the mean: a rate of 1 there is one of 4 here.

X, y = np.array([[0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]]), [0, 1, 1, 0]
answers, curves = {}, {}
for widths in ((3, 1), (3, 5, 4, 1)):
    np.random.seed(1)  # noqa: NPY002
    coefs = [2 * np.random.random(shape) - 1 for shape in pairwise(widths)]  # noqa: NPY002
    net = MLPRegressor(
        hidden_layer_sizes=widths[1:-1],
        fit_intercept=False,
        init=(coefs, None),
        batch_size=4,
        learning_rate_init=4,
        max_iter=10_000,
        **common,
    ).fit(X, y)
    name = "-".join(map(str, widths))
    answers[name], curves[name] = net.predict([[1, 0, 0]])[0], net.loss_curve_
    print(f"{name} answers {answers[name]:.8f} to 1, 0, 0")

# %%
# XOR, one sample per update.

X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), [0, 1, 1, 0]
xor = MLPRegressor(
    hidden_layer_sizes=9,
    batch_size=1,
    learning_rate_init=5,
    target_loss=1e-5,
    max_iter=100_000,
    random_state=0,
    **common,
).fit(X, y)
curves["XOR: 2-9-1"] = xor.loss_curve_
print(f"XOR: mean error {xor.loss_:.3e} after {xor.n_iter_} epochs; {xor.predict(X).round(3)}")

# %%
# The error curves, and what the XOR network answers between its four samples.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for name, curve in curves.items():
    left.loglog(np.arange(1, len(curve) + 1), curve, label=name)
left.set(xlabel="epoch", ylabel="mean error")
left.legend()
side = np.linspace(-0.5, 1.5, 200)
points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
surface = xor.predict(points).reshape(200, 200)
filled = right.contourf(side, side, surface, levels=np.linspace(0, 1, 11), cmap="RdBu_r")
right.scatter(*X.T, c=y, cmap="RdBu_r", edgecolors="white", s=90)
right.set(title="what the XOR network answers", xlabel="first input", ylabel="second input")
figure.colorbar(filled, ax=right)
figure.savefig("neurons.png", dpi=80)
