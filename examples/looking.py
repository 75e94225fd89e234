"""Looking at a network
====================

What `fastmlp.display` draws of a network, and what scikit-learn draws of any estimator: each
display is made by `from_estimator`. ::

    python examples/looking.py
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import (
    DecisionBoundaryDisplay,
    PartialDependenceDisplay,
    permutation_importance,
)
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.display import (
    ErrorGalleryDisplay,
    LossCurveDisplay,
    NetworkDisplay,
    WeightsDisplay,
)

warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are enough to look at

# %%
# How fits went: the loss on training data, and on validation data with a dot at the best epoch,
# which is early without dropout.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
fits = {}
for name, dropout in (("plain", 0.0), ("dropout", 0.4)):
    net = MLPClassifier((64, 64), dropout=dropout, scoring="loss", max_iter=100, random_state=0)
    net.set_params(learning_rate_init=0.003, n_iter_no_change=100)
    fits[name] = net.fit(X_train, y_train, X_val=X_test, y_val=y_test)
    print(f"{name}: accuracy {net.score(X_test, y_test):.3f}, best epoch {net.best_iteration_}")
LossCurveDisplay.from_estimator(fits, log=True).figure_.savefig("looking_1.png", dpi=100)

# %%
# What the network is: layers, activations, parameters. `summary()` is the same as text.

net = fits["dropout"]
print(net.summary())
NetworkDisplay.from_estimator(net).figure_.savefig("looking_2.png", dpi=100)

# %%
# What the hidden units of the first layer look for, red where a pixel excites them.

WeightsDisplay.from_estimator(net, image_shape=(8, 8)).figure_.savefig("looking_3.png", dpi=100)

# %%
# What the network gets wrong, the most confident errors first.

errors = ErrorGalleryDisplay.from_estimator(net, X_test, y_test)
errors.figure_.savefig("looking_4.png", dpi=100)

# %%
# Where a network of two features decides for which class: scikit-learn's display.

X, y = load_iris(return_X_y=True, as_frame=True)
X = X[["petal length (cm)", "petal width (cm)"]]
model = make_pipeline(StandardScaler(), MLPClassifier((20,), "tanh", max_iter=300, random_state=0))
model.fit(X, y)
figure, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
colors = ["C0", "C1", "C2"]
DecisionBoundaryDisplay.from_estimator(
    model, X, response_method="predict", multiclass_colors=colors, alpha=0.3, ax=ax
)
ax.scatter(X.iloc[:, 0], X.iloc[:, 1], c=[colors[label] for label in y], edgecolor="white")
figure.savefig("looking_5.png", dpi=100)

# %%
# Which features a regression needs: the loss of R² when one of them is shuffled.

X, y = load_diabetes(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
net = MLPRegressor(
    hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", alpha=30, random_state=0
)
scaled = make_pipeline(StandardScaler(), net)
model = TransformedTargetRegressor(scaled, transformer=StandardScaler()).fit(X_train, y_train)
print(f"R² {model.score(X_test, y_test):.2f}")
importance = permutation_importance(model, X_test, y_test, n_repeats=20, random_state=0)
order = importance.importances_mean.argsort()
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.boxplot(importance.importances[order].T, orientation="horizontal")
ax.set_yticks(range(1, len(order) + 1), X.columns[order])
ax.set_xlabel("loss of R²")
figure.savefig("looking_6.png", dpi=100)

# %%
# How its answer depends on the three most important ones: each sample's, and their mean.

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained", sharey=True)
features = X.columns[order[:-4:-1]]
PartialDependenceDisplay.from_estimator(
    model, X_test, features, kind="both", subsample=30, random_state=0, ax=axes
)
figure.savefig("looking_7.png", dpi=100)
