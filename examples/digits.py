"""fastmlp and scikit-learn side by side
=====================================

Both train on handwritten digits; this is ``make demo``.

Prints one table (test accuracy, seconds and predictions of both) and saves a picture of the loss
curves and of the digits that fastmlp got wrong. The digits are scikit-learn's own; MNIST comes in
when the environment variable FASTMLP_DATA names a folder that holds ``mnist.npz`` with the arrays X
(70000, 28, 28) and y (70000,), the first 60,000 being the training set.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

import fastmlp

BLUE, ORANGE, RED, GREY = "#0b6fa4", "#e8a33d", "#c0392b", "#6b7280"


class Task(NamedTuple):
    """Data of one comparison and the estimators' parameters."""

    name: str
    image_shape: tuple[int, int]
    X_train: np.ndarray
    X_test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray
    params: dict

    @property
    def network(self):
        hidden = self.params["hidden_layer_sizes"]
        sizes = (self.X_train.shape[1], *hidden, len(np.unique(self.y_train)))
        return "-".join(map(str, sizes))


class Outcome(NamedTuple):
    """What one estimator made of a task."""

    seconds: float
    accuracy: float
    loss_curve: list
    predicted: np.ndarray


def digits():
    X, y = load_digits(return_X_y=True)
    split = train_test_split(X.astype(np.float32) / 16, y, test_size=500, random_state=0)
    return Task("digits", (8, 8), *split, {"hidden_layer_sizes": (100,), "max_iter": 100})


def mnist(path, epochs):
    with np.load(path) as file:
        X, y = file["X"], file["y"]
    X = X.reshape(len(X), -1) / np.float32(255)
    params = {"hidden_layer_sizes": (500,), "batch_size": 300, "max_iter": epochs}
    return Task("MNIST", (28, 28), X[:60_000], X[60_000:], y[:60_000], y[60_000:], params)


def train(module, task):
    """Fit the module's MLPClassifier; both modules get the same random numbers."""
    model = module.MLPClassifier(**task.params, random_state=0)
    start = time.perf_counter()
    with warnings.catch_warnings():  # the number of epochs is meant to be used up
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(task.X_train, task.y_train)
    seconds = time.perf_counter() - start
    predicted = model.predict(task.X_test)
    return Outcome(seconds, np.mean(predicted == task.y_test), model.loss_curve_, predicted)


HEADER = (
    "                         test accuracy          seconds of fit             same\n"
    "data     network       fastmlp   sklearn   fastmlp   sklearn   ratio   predictions"
)


def table_row(task, ours, theirs):
    return (
        f"{task.name:8s} {task.network:12s}"
        f"{ours.accuracy:9.2%}{theirs.accuracy:10.2%}"
        f"{ours.seconds:10.2f}{theirs.seconds:10.2f}{theirs.seconds / ours.seconds:7.1f}x"
        f"{np.mean(ours.predicted == theirs.predicted):13.2%}"
    )


def draw(results, path):
    """One row per task: loss curves on the left, misclassified digits on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2 * len(results)), layout="constrained")
    for row, (task, ours, theirs) in zip(
        np.atleast_1d(figure.subfigures(len(results), 1, hspace=0.06)), results, strict=True
    ):
        left, right = row.subfigures(1, 2, width_ratios=(5, 7), wspace=0.03)
        draw_loss(left.subplots(), task, ours, theirs)
        draw_errors(right, task, ours.predicted)
    figure.savefig(path, dpi=150)


def draw_loss(axes, task, ours, theirs):
    for name, outcome, style in (
        ("scikit-learn", theirs, {"color": ORANGE, "linewidth": 5, "alpha": 0.75}),
        ("fastmlp", ours, {"color": BLUE, "linewidth": 1.8}),
    ):
        epochs = np.arange(1, len(outcome.loss_curve) + 1)
        label = f"{name}, {outcome.seconds:.2f} s"
        axes.plot(epochs, outcome.loss_curve, label=label, solid_capstyle="round", **style)
    axes.set(yscale="log", xlabel="epoch", ylabel="training loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_title(f"{task.name}, {task.network}", loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.legend(frameon=False)


def draw_errors(figure, task, predicted, n_rows=4, n_columns=8):
    wrong = np.flatnonzero(predicted != task.y_test)
    shown = min(len(wrong), n_rows * n_columns)
    title = f"{len(wrong)} of {len(predicted):,} test digits misclassified (true → predicted)"
    if shown < len(wrong):
        title += f"; the first {shown}"
    figure.suptitle(title, fontsize="large", fontweight="bold")
    grid = figure.subplots(n_rows, n_columns)
    for axes in grid.flat:
        axes.axis("off")
    for axes, i in zip(grid.flat, wrong, strict=False):
        axes.imshow(task.X_test[i].reshape(task.image_shape), cmap="gray_r")
        for x, text, color, side in (
            (0.38, task.y_test[i], GREY, "right"),
            (0.5, "→", GREY, "center"),
            (0.62, predicted[i], RED, "left"),
        ):
            axes.text(x, 1.05, text, color=color, ha=side, transform=axes.transAxes)


def main():
    parser = argparse.ArgumentParser(description="Train fastmlp and scikit-learn on digits.")
    parser.add_argument("--output", type=Path, default=Path("demo.png"), help="the picture")
    parser.add_argument("--epochs", type=int, default=10, help="epochs on MNIST")
    args = parser.parse_args()
    try:
        import matplotlib  # noqa: F401  before minutes of training, not after
    except ImportError:
        sys.exit('The picture needs matplotlib: pip install "fastmlp[plot]"')

    tasks = [digits()]
    path = Path(os.environ.get("FASTMLP_DATA", ""), "mnist.npz")
    if "FASTMLP_DATA" in os.environ and path.is_file():
        tasks.append(mnist(path, args.epochs))
    else:
        print("Without MNIST: FASTMLP_DATA names no folder that holds mnist.npz.\n")

    print(HEADER)
    results = []
    for task in tasks:
        ours, theirs = train(fastmlp, task), train(neural_network, task)
        print(table_row(task, ours, theirs), flush=True)
        results.append((task, ours, theirs))
    draw(results, args.output)
    print(f"\nPicture: {args.output.resolve()}")


if __name__ == "__main__":
    main()
