"""The pictures of a record."""

from dataclasses import replace

import numpy as np

from .record import was_shared
from .shapes import SHAPES

COLORS = {
    "fastmlp f32": "#0b6fa4",
    "fastmlp f64": "#66b2d6",
    "fastmlp bf16": "#08405f",
    "fastmlp f32 avx2": "#5b8db8",
    "fastmlp f32 chunks": "#12a5a5",
    "scikit-learn f32": "#e8a33d",
    "scikit-learn f64": "#b9770e",
    "torch f32": "#c0392b",
    "torch compile": "#e57368",
    "torch bf16": "#7b241c",
    "jax f32": "#4b8f5c",
    "onnxruntime": "#7d5ba6",
}
GREY = "#6b7280"


def draw(record, stem):
    """Save <stem>-fit.png, -predict.png, ... for each section that has rows; returns the paths.

    The roofline is an SVG, which the README shows.
    """
    from matplotlib import rc_context

    paths = []
    for section, draw_section, ending in (
        ("fit", draw_fit, "png"),
        ("predict", draw_predict, "png"),
        ("kernels", draw_kernels, "png"),
        ("growth", draw_growth, "png"),
        ("roofline", draw_roofline, "svg"),
    ):
        if record[section]:
            paths.append(stem.with_name(f"{stem.name}-{section}.{ending}"))
            figure = draw_section(record)
            machine = record["machine"]
            figure.text(
                0.995, 0.005,
                f"{machine['cpu']}, commit {record['commit']}, {record['date'][:10]}",
                ha="right", va="bottom", fontsize="x-small", color=GREY,
            )  # fmt: skip
            with rc_context({"svg.hashsalt": "fastmlp", "svg.fonttype": "none"}):
                figure.savefig(
                    paths[-1], dpi=120, metadata={"Date": None} if ending == "svg" else {}
                )
    return paths


def _figure(width, height):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))  # room for the machine's line
    return figure


def _plain(axes, title):
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)


def _ratio_bars(axes, groups, title):
    """Bars of time relative to fastmlp f32. groups: {label: {peer: median}}.

    The axis is logarithmic and bars start at 1: upwards the peer takes longer, downwards it wins.
    """
    peers = [p for p in COLORS if p != "fastmlp f32" and any(p in g for g in groups.values())]
    width = 0.84 / max(len(peers), 1)
    for i, peer in enumerate(peers):
        at = [x for x, g in enumerate(groups.values()) if peer in g and "fastmlp f32" in g]
        chosen = [list(groups.values())[x] for x in at]
        ratios = np.array([g[peer] / g["fastmlp f32"] for g in chosen])
        x = np.array(at) + (i - (len(peers) - 1) / 2) * width
        bars = axes.bar(x, ratios - 1, width * 0.92, bottom=1, color=COLORS[peer], label=peer)
        labels = [f"{r:.0f}" if r >= 9.95 else f"{r:.1f}" for r in ratios]
        for bar, ratio, label in zip(bars, ratios, labels, strict=True):
            axes.annotate(
                label,
                (bar.get_x() + bar.get_width() / 2, ratio),
                xytext=(0, 2 if ratio >= 1 else -2),
                textcoords="offset points",
                ha="center",
                va="bottom" if ratio >= 1 else "top",
                fontsize=6.5,
                color=GREY,
            )
    _plain(axes, title)
    axes.set_yscale("log")
    axes.axhline(1, color=COLORS["fastmlp f32"], linewidth=1.5)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.set_xticks(range(len(groups)), groups.keys())
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_ylabel("time relative to fastmlp f32")
    axes.legend(frameon=False, ncols=len(peers), fontsize="small", loc="upper right")
    axes.margins(y=0.12)
    axes.set_ylim(top=1.6 * axes.get_ylim()[1])  # for the legend


def _by_threads(rows, label):
    """{threads: {label: {peer: median}}}"""
    out = {}
    for row in rows:
        group = out.setdefault(row["threads"], {}).setdefault(label(row), {})
        group[row["peer"]] = row["median"]
    return out


def _bar_panels(rows, label, title):
    by_threads = _by_threads(rows, label)
    n_groups = max(map(len, by_threads.values()))
    figure = _figure(max(13, 1.4 * n_groups), 4.2 * len(by_threads) + 0.3)
    panels = figure.subplots(len(by_threads), 1, squeeze=False)[:, 0]
    for axes, (threads, groups) in zip(panels, sorted(by_threads.items()), strict=True):
        _ratio_bars(axes, groups, f"{title}, {threads} thread{'s' if threads > 1 else ''}")
    return figure


def draw_fit(record):
    def label(row):
        shape = SHAPES[row["shape"]]
        return f"{shape.name}\n{shape.label}\n{shape.batch_label}"

    return _bar_panels(record["fit"], label, "Whole fit")


def draw_predict(record):
    def label(row):
        shape, n_rows = SHAPES[row["shape"]], row["n_rows"]
        return f"{shape.name}\n{shape.label}\n{n_rows:,} row{'s' * (n_rows > 1)}"

    return _bar_panels(record["predict"], label, "predict_proba")


def draw_kernels(record):
    """Share of the FMA peak by shape: one panel per dtype, one bar per kernel set and threads."""
    rows = [row for row in record["kernels"] if was_shared(row)]
    shapes = [name for name in SHAPES if any(row["shape"] == name for row in rows)]
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    series = list(dict.fromkeys((row["isa"], row["threads"]) for row in rows))
    shades = ["#0b6fa4", "#66b2d6", "#4b8f5c", "#a3cfae", "#e8a33d", "#f3d19b", "#c0392b"]
    figure = _figure(13, 3.6 * len(dtypes) + 0.3)
    width = 0.84 / len(series)
    panels = figure.subplots(len(dtypes), 1, squeeze=False)[:, 0]
    for axes, dtype in zip(panels, dtypes, strict=True):
        for i, (isa, threads) in enumerate(series):
            share = {
                row["shape"]: 100 * row["gflops"] / row["peak"]
                for row in rows
                if (row["isa"], row["threads"], row["dtype"]) == (isa, threads, dtype)
            }
            x = np.arange(len(shapes)) + (i - (len(series) - 1) / 2) * width
            heights = [share.get(name, 0) for name in shapes]
            bars = axes.bar(x, heights, width * 0.92, color=shades[i % len(shades)])
            bars.set_label(f"{isa}, {threads} thread{'s' if threads > 1 else ''}")
            labels = [f"{h:.0f}" if h else "" for h in heights]
            axes.bar_label(bars, labels, fontsize=7, color=GREY)
        _plain(axes, f"Whole training step, {dtype}, share of the FMA peak")
        axes.set_xticks(range(len(shapes)), [f"{n}\n{SHAPES[n].label}" for n in shapes])
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.legend(frameon=False, ncols=len(series), fontsize="small", loc="upper left")
    return figure


def draw_growth(record):
    """Time per row against the number of rows, and against the size of the mini-batch."""
    rows = record["growth"]
    figure = _figure(13, 4.6)
    for axes, (sweep, field, name) in zip(
        figure.subplots(1, 2),
        (
            ("rows", "n_rows", "rows of data, memory-mapped; mini-batches of 200"),
            ("batch", "batch_size", "rows in a mini-batch"),
        ),
        strict=True,
    ):
        lines = {}
        for row in rows:
            if row["sweep"] == sweep:
                line = lines.setdefault((row["peer"], row["threads"]), [])
                line.append((row[field], row["median"], row["q1"], row["q3"]))
        for (peer, threads), points in sorted(lines.items()):
            x, median, q1, q3 = np.array(sorted(points)).T
            axes.plot(
                x, median, "o-" if threads > 1 else "o--", color=COLORS.get(peer, GREY),
                markersize=4, label=f"{peer}, {threads} thread{'s' if threads > 1 else ''}",
            )  # fmt: skip
            axes.fill_between(x, q1, q3, color=COLORS.get(peer, GREY), alpha=0.2, linewidth=0)
        _plain(axes, f"One epoch of {SHAPES['tab'].label}")
        axes.set(xscale="log", yscale="log", xlabel=name, ylabel="nanoseconds per row")
        axes.legend(frameon=False, fontsize="small", loc="best")
    return figure


def draw_roofline(record):
    """Speed of training steps against their work per byte, under what limits it; one thread.

    A point for each shape of the kernels, in float32 by the best kernel set, and a line of one
    network in mini-batches of several sizes.
    """
    rows = record["roofline"]
    reads = [row for row in rows if "level" in row]
    steps = [row for row in rows if "level" not in row]
    peak = np.median([row["peak"] for row in steps])
    x = np.geomspace(0.15, 300, 200)
    figure = _figure(9, 5)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    for row, style in zip(reads, ("-", "--", ":"), strict=False):
        roof = np.minimum(peak, row["gbps"] * x)
        label = f"reading {row['level']}: {row['gbps']:.0f} GB/s"
        axes.loglog(x, roof, style, color=GREY, linewidth=1.5, label=label)
    axes.text(x[-1], peak * 1.06, f"FMA peak: {peak:.0f} GFLOPS", ha="right", color=GREY)

    sizes = [replace(SHAPES[row["shape"]], batch_size=row["batch_size"]) for row in steps]
    line = [(shape.intensity(4), row["gflops"]) for shape, row in zip(sizes, steps, strict=True)]
    name, n = sizes[0].name, [shape.batch_size for shape in sizes]
    label = f"{name}, mini-batches of {n[0]} to {n[-1]} rows"
    axes.plot(*zip(*line, strict=True), "o-", color="#66b2d6", markersize=4, label=label)

    one = [row for row in record["kernels"] if (row["threads"], row["dtype"]) == (1, "f32")]
    points = [
        (SHAPES[row["shape"]].intensity(4), row["gflops"], row["shape"])
        for row in one
        if row["isa"] == steps[0]["isa"]
    ]
    for i, (at, speed, name) in enumerate(sorted(points)):
        axes.plot(at, speed, "o", color="#0b6fa4", markersize=7)
        place = {"ha": "left" if i % 2 else "right", "color": "#0b6fa4"}
        place |= {"xytext": (4 if i % 2 else -2, -13), "textcoords": "offset points"}
        axes.annotate(name, (at, speed), **place)
    axes.set(xlabel="operations per byte read or written", ylabel="GFLOPS")
    axes.set(xlim=(x[0], x[-1]), ylim=(2, 2 * peak))
    axes.set_title("Training steps in float32, one thread", loc="left", fontweight="bold")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, loc="lower right")
    return figure
