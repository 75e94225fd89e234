"""The training loop: losses, learning rates, stopping, optimizers
===============================================================

A loss says how wrong a network is, an optimizer takes a step, and something says that it is enough.
The finished network is run by `run_model.py`, which knows NumPy only: the probabilities agree to
1e-16. y = 2.21 x is found in 70 steps. ::

    python examples/training_loop.py            # --quick: fewer epochs
"""

import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore", ConvergenceWarning)  # some are meant to stop early
epochs = 3 if "--quick" in sys.argv else 60
X, y = load_digits(return_X_y=True)
X /= 16
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")

# %%
# Three losses, by their formulas and by `evaluate`.

short = {"alpha": 0, "max_iter": 20, "random_state": 0}
net = MLPRegressor(**short).fit(X, y)
formula = np.mean((net.predict(X) - y) ** 2) / 2
print(f"half mean squared error: {formula:.6f}, {net.evaluate(X, y)['loss']:.6f}")
for name, labels in (("binary", (y > 4).astype(int)), ("multi-class", y)):
    net = MLPClassifier(**short).fit(X, labels)
    formula = -np.log(net.predict_proba(X)[np.arange(len(y)), labels]).mean()
    print(f"{name} cross-entropy: {formula:.6f}, {net.evaluate(X, labels)['loss']:.6f}")

# %%
# One variable: a network of one weight w whose loss is w^2, at four learning rates.

one_weight = {"hidden_layer_sizes": (), "fit_intercept": False, "alpha": 0, "solver": "sgd"}
one_weight |= {"momentum": 0, "tol": 0, "n_iter_no_change": np.inf, "random_state": 0}
w = np.linspace(-1.1, 1.1)
left.plot(w, w**2, color="black", linewidth=0.5)
for rate in (1.0, 0.8, 0.4, 0.1):
    net = MLPRegressor(learning_rate_init=rate, init=([np.ones((1, 1))], None), **one_weight)
    path = [1.0]
    for _ in range(15):
        path.append(net.partial_fit([[2**0.5]], [0]).coefs_[0].item())
    left.plot(path, np.square(path) + 0.1 * rate, ".-", label=f"{rate}")
    middle.plot(path, ".-", label=f"{rate}")
left.set(title="descent on w^2 (shifted)", xlabel="w", ylabel="loss")
left.legend(title="learning rate", loc="upper center")
middle.set(title="its path", xlabel="step", ylabel="w")

# %%
# A black box, y = 2.21 x, found from four samples; the loss is small enough: reason one.

x = np.array([1, 1.1, 1.2, 2])
net = MLPRegressor(learning_rate_init=0.1, target_loss=1e-12, max_iter=1000, **one_weight)
net.fit(x[:, None], 2.21 * x)
print(f"y = {net.coefs_[0].item():.5f} x after {net.n_iter_} steps, by {net.stop_reason_}")

# %%
# Reasons two and three: accuracy reached, iterations done. The file, and the other program.

for reason in ({"target_score": 0.99}, {"max_iter": 5}):
    net = MLPClassifier(hidden_layer_sizes=(50,), random_state=0, **reason)
    net.fit(X, y, X_val=X, y_val=y)
    print(f"{net.n_iter_} epochs, accuracy {net.score(X, y):.4f}, stopped by {net.stop_reason_}")
net.save_model("digits.safetensors")
command = [sys.executable, Path(sys.argv[0]).with_name("run_model.py"), "digits.safetensors"]
printed = subprocess.run([*command, *map(str, X[0])], capture_output=True, text=True, check=True)
there = np.array(printed.stdout.split(), dtype=float)
gap = np.abs(there - net.predict_proba(X[:1])).max()
print(f"the other program says {there.argmax()}; its probabilities differ by {gap:.0e}")

# %%
# Optimizers side by side.

rates = {"adagrad": 0.02, "adadelta": 1, "rmsprop": 0.001, "adam": 0.001}
for solver, mixup in [(solver, 0) for solver in rates] + [("adam", 0.2)]:
    net = MLPClassifier(solver=solver, learning_rate_init=rates[solver], mixup=mixup)
    net.set_params(random_state=0, max_iter=epochs, n_iter_no_change=np.inf).fit(X, y)
    right.semilogy(net.loss_curve_, label=f"{solver}{' with mixup' if mixup else ''}")
right.set(title="training loss on the digits (mixup: on mixed ones)", xlabel="epoch")
right.legend()
figure.savefig("training_loop.png", dpi=80)
