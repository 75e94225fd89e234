"""The pictures of the documentation, computed and drawn when it is built.

Activations, losses and schedules are what the estimators compute, times are those of the records in
bench/results, and the schemes follow the sizes of a network.
"""

import functools
import warnings
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from bench import plots, record
from bench.shapes import SHAPES
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._parameters import ACTIVATIONS, LOSSES, SCHEDULES

BLUE, LIGHT, ORANGE, GREEN, GREY = "#0b6fa4", "#66b2d6", "#e8a33d", "#4b8f5c", "#6b7280"


def figure(width, height, *shape, **kwargs):
    """A figure and its axes, without frames that say nothing."""
    fig = Figure(figsize=(width, height), layout="constrained")
    axes = fig.subplots(*shape, **kwargs)
    for ax in np.atleast_1d(axes).flat:
        ax.spines[["top", "right"]].set_visible(False)
    return fig, axes


# ------------------------------------------------------------------------- what can be chosen
@functools.cache
def linear_network(**params):
    """A network of one input whose weights are 1 and whose biases are 0."""
    net = MLPRegressor(max_iter=1, **params).fit([[0.5], [1.0]], [1.0, 1.0])
    net.coefs_ = [np.ones_like(W) for W in net.coefs_]
    net.intercepts_ = [np.zeros_like(b) for b in net.intercepts_]
    return net


def activations():
    """Every activation of hidden layers, and its slope."""
    n_columns = 4
    fig, grid = figure(10, 8.4, -(-len(ACTIVATIONS) // n_columns), n_columns, sharex=True)
    x = np.linspace(-4, 7, 551)
    for ax in grid.flat[len(ACTIVATIONS) :]:
        ax.axis("off")
    for ax, name in zip(grid.flat, ACTIVATIONS, strict=False):
        net = linear_network(hidden_layer_sizes=(1,), activation=name)
        f = net.hidden_activations(x[:, None])[:, 0]
        ax.axhline(0, color="#d1d5db", linewidth=0.8)
        ax.axvline(0, color="#d1d5db", linewidth=0.8)
        ax.plot(x, np.gradient(f, x), color=ORANGE, linewidth=1.3)
        ax.plot(x, f, color=BLUE, linewidth=2)
        ax.set_title(name, fontsize=10)
        ax.set_ylim(max(f.min(), -4) - 0.5, min(f.max(), 4) + 0.3)
    return fig


def losses():
    """Every loss of the regressor, as a function of the prediction."""
    fig, (left, right) = figure(10, 4, 1, 2)
    for name in LOSSES:
        net = linear_network(hidden_layer_sizes=(), loss=name)
        is_positive = net.out_activation_ == "exp"
        a = np.linspace(0.1, 5, 120) if is_positive else np.linspace(-3, 3, 121)
        z, y = (np.log(a), 1.0) if is_positive else (a, 0.0)
        values = [net.evaluate([[v]], [y])["loss"] for v in z]
        (right if is_positive else left).plot(a, values, label=name)
    left.set(title="true value 0", xlabel="prediction", ylabel="loss", ylim=(0, 3))
    right.set(title="true value 1, positive outputs", xlabel="prediction", ylim=(0, 2))
    for ax in (left, right):
        ax.legend(frameon=False)
    return fig


def schedules():
    """Learning rates of 100 epochs, relative to `learning_rate_init`."""
    fig, axes = figure(10, 3.6)
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    for name, schedule in SCHEDULES.items():
        if name in ("adaptive", "plateau"):  # they move when progress ends
            continue
        net = MLPClassifier(
            (5,), solver="sgd", learning_rate=schedule(), max_iter=100, n_iter_no_change=np.inf
        )
        rates = np.array(net.fit(X, y).learning_rate_curve_) / net.learning_rate_init
        axes.plot(np.arange(1, 101), rates, label=name, linewidth=2)
    axes.set(xlabel="epoch", ylabel="share of learning_rate_init", yscale="log", ylim=(1e-3, 2))
    axes.legend(frameon=False, ncols=2)
    return fig


def scaling():
    """Training loss with features as they are and standardised."""
    fig, axes = figure(7, 3.4)
    X, y = load_wine(return_X_y=True)
    for label, data, color in (
        ("as measured", X, ORANGE),
        ("standardised", StandardScaler().fit_transform(X), BLUE),
    ):
        net = MLPClassifier((50,), random_state=0, max_iter=200, n_iter_no_change=np.inf)
        axes.semilogy(net.fit(data, y).loss_curve_, label=label, color=color, linewidth=2)
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.legend(frameon=False)
    return fig


# ------------------------------------------------------------------------------------- schemes
def panels():
    """Where the elements of W are in memory: row by row, and in panels."""
    fan_in, fan_out, width = 6, 10, 4
    n_panels = -(-fan_out // width)
    row_major = np.arange(fan_in * fan_out).reshape(fan_in, fan_out)
    columns = np.arange(n_panels * width)
    in_panels = (columns // width * fan_in + np.arange(fan_in)[:, None]) * width + columns % width
    fig, axes = figure(10, 3.4, 1, 2, width_ratios=(fan_out, len(columns)))
    for ax, address, title in zip(
        axes, (row_major, in_panels), ("row by row", f"panels of {width} columns"), strict=True
    ):
        ax.imshow(address, cmap="Blues", vmin=-25, vmax=110, aspect="auto")
        for (i, j), value in np.ndenumerate(address):
            ax.text(j, i, value, ha="center", va="center")
            if j >= fan_out:  # padding
                cell = {"fc": "white", "ec": "#d1d5db", "hatch": "///"}
                ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **cell, zorder=3))
        ax.set(title=title, xlabel="output", ylabel="input", xticks=range(fan_out))
    for j in range(width, len(columns), width):
        axes[1].axvline(j - 0.5, color="white", linewidth=4)
    return fig


def step():
    """One training step of `deep` on two threads: each bar as long as it has multiply-adds."""
    shape = SHAPES["deep"]
    sizes = list(pairwise((*shape.units[:-1], shape.n_outputs)))
    products = [fan_in * fan_out * shape.batch_size / 2e6 for fan_in, fan_out in sizes]
    back = list(enumerate(products))[:0:-1]
    parts = [(f"$Z_{i}$", n, BLUE) for i, n in enumerate(products, 1)]
    parts += [(rf"$\delta_{i}$", n, LIGHT) for i, n in back]
    parts += [("barrier", 0.05, GREY)]
    parts += [(f"$dW_{i}$", n, GREEN) for i, n in enumerate(products, 1)]
    parts += [("barrier", 0.05, GREY)]
    fig, axes = figure(11, 2.6)
    at = 0.0
    for label, length, color in parts:
        for thread in (0, 1):
            box = (at, thread - 0.36), length, 0.72
            is_barrier = label == "barrier"
            axes.add_patch(Rectangle(*box, fc=color, ec="white"))
            if not is_barrier and length > 0.08:
                x = at + length / 2
                axes.text(x, thread, label, ha="center", va="center", color="white", fontsize=11)
        at += length
    axes.set(xlim=(0, at), ylim=(1.5, -0.5), yticks=(0, 1), yticklabels=("thread 1", "thread 2"))
    axes.set_xlabel(f"million multiply-adds; network {shape.label}, {shape.batch_label}")
    axes.spines["left"].set_visible(False)
    return fig


# --------------------------------------------------------------------------------------- speed
def newest(*sections):
    """The newest record that has all of these sections."""
    return next(r for r in record.newest_first() if all(r[section] for section in sections))


def speed():
    """Whole fits of four networks by three libraries."""
    shapes = ("tab", "calif", "mnist", "wide")
    peers = ("fastmlp f32", "torch f32", "scikit-learn f32")
    rows = newest("fit", "predict", "kernels")["fit"]
    threads = max(row["threads"] for row in rows)
    fig, grid = figure(9, 2.6, 1, len(shapes), sharey=True)
    for ax, name in zip(grid, shapes, strict=True):
        times = {
            row["peer"]: row["median"]
            for row in rows
            if row["shape"] == name and row["threads"] == threads
        }
        bars = ax.barh(peers, [times[p] / times[peers[0]] for p in peers], 0.6)
        for bar, peer in zip(bars, peers, strict=True):
            bar.set_color(plots.COLORS[peer])
        ax.bar_label(bars, [f"{times[p]:,.0f}" for p in peers], padding=3, color=GREY)
        ax.set(title=f"{name}\n{SHAPES[name].label}", xticks=[])
        ax.title.set_fontsize(10)
        ax.margins(x=0.35)
        ax.spines[["bottom", "left"]].set_visible(False)
        ax.tick_params(length=0)
    grid[0].invert_yaxis()
    fig.supxlabel(f"microseconds per mini-batch step, {threads} threads", fontsize=10, color=GREY)
    return fig


def roofline():
    """The newest record's."""
    return plots.draw_roofline(newest("roofline", "kernels"))


PICTURES = (activations, losses, panels, roofline, scaling, schedules, speed, step)


def draw_all(folder):
    """Draw the pictures that are older than this file or the records."""
    sources = [Path(__file__), *record.RESULTS.glob("*.json")]
    newest_source = max(path.stat().st_mtime for path in sources)
    style = {"svg.hashsalt": "fastmlp", "font.size": 10, "svg.fonttype": "path"}
    for draw in PICTURES:
        path = folder / f"{draw.__name__}.svg"
        if path.is_file() and path.stat().st_mtime > newest_source:
            continue
        with warnings.catch_warnings(), matplotlib.rc_context(style):
            warnings.simplefilter("ignore", ConvergenceWarning)
            draw().savefig(path, metadata={"Date": None})
