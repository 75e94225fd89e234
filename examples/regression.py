"""Regression the PyTorch way: a line under noise.

    python examples/regression.py

A 1-2-5-1 network of sigmoids finds the line y = 2.3 x + 4.7 under noise, one sample per update, is
saved and predicts in another process. Its root mean square distance from the true line is 0.136.
"""

import subprocess
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPRegressor

warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are wanted

# --- One hundred points around a line.

x = np.linspace(0, 3, 100)
true = 2.3 * x + 4.7
y = true + np.random.default_rng(1).normal(0, 1, 100)
line = MLPRegressor(
    hidden_layer_sizes=(2, 5),
    activation="logistic",
    solver="adam",
    learning_rate_init=0.02,
    batch_size=1,
    max_iter=200,
    n_iter_no_change=np.inf,
    alpha=0,
    random_state=1,
).fit(x[:, None], y)
predicted = line.predict(x[:, None])
distance = np.sqrt(np.mean((predicted - true) ** 2))
print(f"root mean square distance from the true line: {distance:.3f}")

# --- Saved, and loaded in another process.

line.save_model("line.safetensors")
program = "import fastmlp; print(fastmlp.load_model('line.safetensors').predict([[1.5]])[0])"
printed = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
)
elsewhere = float(printed.stdout)
print(f"f(1.5) = {elsewhere:.6f} there, {line.predict([[1.5]])[0]:.6f} here")

# --- Samples, true line and prediction.

figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
axes.plot(x, y, ".", color="grey", label="samples")
axes.plot(x, true, "--", color="black", label="2.3 x + 4.7")
axes.plot(x, predicted, color="tab:red", label=f"1-2-5-1 network, distance {distance:.3f}")
axes.legend()
figure.savefig("regression.png", dpi=80)
