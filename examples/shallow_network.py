"""The shallow network from its equations
======================================

A step by hand, activations, initial weights: two layers, trained by gradient descent on all m
samples at once. Forward::

    A1 = f(X W1 + b1)     A2 = sigmoid(A1 W2 + b2)

and back, where ' transposes and f' is the derivative::

    D2 = A2 - y     D1 = D2 W2' * f'     W2 -= rate / m A1' D2     W1 -= rate / m X' D1

By hand and by the library a step differs by 2e-16. Five layers of identities give the probabilities
of logistic regression to 3e-6. Hidden units that start as zeros stay equal to the last bit. ::

    python examples/shallow_network.py
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.linear_model import LogisticRegression

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import LeakyReLU
from fastmlp.initializers import Normal

X, y = make_moons((210, 190), noise=0.2, random_state=0)
rng = np.random.default_rng(0)
descent = {"solver": "sgd", "momentum": 0, "batch_size": 400, "learning_rate_init": 1, "alpha": 0}
descent |= {"tol": 0, "random_state": 0, "n_iter_no_change": np.inf, "max_iter": 3000}
warnings.simplefilter("ignore", ConvergenceWarning)  # all 3000 steps are wanted
figure, grid = plt.subplots(2, 4, figsize=(16, 8), layout="constrained")
*regions, curves, weights, rainfall = grid.flat

# %%
# One step by the equations, and by the library from the same weights.

W1, b1, W2, b2 = rng.normal(size=(2, 8)), np.zeros(8), rng.normal(size=(8, 1)), np.zeros(1)
A1 = np.tanh(X @ W1 + b1)
D2 = 1 / (1 + np.exp(-(A1 @ W2 + b2))) - y[:, None]
D1 = D2 @ W2.T * (1 - A1**2)
by_hand = [W1 - X.T @ D1 / 400, W2 - A1.T @ D2 / 400]
net = MLPClassifier(8, "tanh", init=([W1, W2], [b1, b2]), **descent | {"max_iter": 1}).fit(X, y)
gap = max(np.abs(a - b).max() for a, b in zip(by_hand, net.coefs_, strict=True))
print(f"a step by hand and by the library: weights differ by {gap:.0e}")

# %%
# Four functions in the hidden layer, and different ones in different layers.

nets = {f: MLPClassifier(8, f, **descent) for f in ("logistic", "tanh", "relu")}
nets["leaky relu"] = MLPClassifier(8, LeakyReLU(slope=0.2), **descent)
nets["tanh, then relu"] = MLPClassifier((8, 8), ["tanh", "relu"], **descent)
picture = {"response_method": "predict_proba", "cmap": "RdBu_r", "alpha": 0.6}
for (name, net), axes in zip(nets.items(), regions, strict=True):
    DecisionBoundaryDisplay.from_estimator(net.fit(X, y), X, ax=axes, **picture)
    axes.scatter(*X.T, c=y, s=6, cmap="RdBu_r")
    axes.set(title=f"{name}: accuracy {net.score(X, y):.3f}", xticks=[], yticks=[])
    curves.loglog(np.arange(1, net.n_iter_ + 1), net.loss_curve_, label=name)
curves.set(title="cross-entropy", xlabel="step")
curves.legend()

# %%
# Identities: five layers, and yet a linear model.

deep = MLPClassifier((8,) * 4, "identity", solver="lbfgs", alpha=0, tol=1e-10, random_state=0)
linear = LogisticRegression(C=np.inf, tol=1e-10)
gap = np.abs(deep.fit(X, y).predict_proba(X) - linear.fit(X, y).predict_proba(X)).max()
print(f"five linear layers and logistic regression: probabilities differ by {gap:.0e}")

# %%
# Initial weights: from zeros all hidden units stay equal, from 0.01 x normal they do not.

for name, init in (("zeros", "zeros"), ("0.01 x normal", Normal(scale=0.01))):
    net = MLPClassifier(8, "logistic", init=init, **descent).fit(X, y)
    weights.scatter(*net.coefs_[0], label=f"from {name}")
    spread = np.ptp(net.coefs_[0], axis=1).max()
    print(f"hidden units that start as {name}: weights differ by {spread:.3g}")
weights.set(title="weights into the 8 hidden units", xlabel="of x1", ylabel="of x2")
weights.legend()

# %%
# A target that is never negative: ReLU at the output.

x = np.linspace(-2, 2, 200)[:, None]
rain = np.maximum(0, np.sin(3 * x[:, 0]) + rng.normal(0, 0.1, 200))
rainfall.plot(x, rain, ".", color="grey")
for out in ("identity", "relu"):
    # From other random states a ReLU output may start at 0 for all samples, and stay there.
    net = MLPRegressor(hidden_layer_sizes=50, out_activation=out, random_state=0)
    net.set_params(solver="lbfgs", max_iter=1000).fit(x, rain)
    rainfall.plot(x, net.predict(x), label=f"{out}, least {net.predict(x).min():.3f}")
rainfall.set(title="a target that is never negative")
rainfall.legend(title="output activation")
figure.savefig("shallow_network.png", dpi=80)
