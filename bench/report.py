"""A record as text: the README's tables and what the commands print."""

import re
import statistics
from pathlib import Path

from .latency import SHARED
from .record import MEASURED, compare
from .shapes import SHAPES

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
TIMED = ("fit", "predict", "kernels")
DISTURBED = 0.05
APART = "CPUs apart"

# Columns of the tables: the peer and whose time its ratio compares with.
FIT_COLUMNS = (
    ("fastmlp f32", None),
    ("scikit-learn f32", "fastmlp f32"),
    ("torch f32", "fastmlp f32"),
    ("torch compile", "fastmlp f32"),
    ("jax f32", "fastmlp f32"),
    ("fastmlp f64", None),
    ("scikit-learn f64", "fastmlp f64"),
    ("fastmlp bf16", None),
    ("torch bf16", "fastmlp bf16"),
)
PREDICT_COLUMNS = (
    ("fastmlp f32", None),
    ("scikit-learn f32", "fastmlp f32"),
    ("onnxruntime", "fastmlp f32"),
    ("fastmlp f64", None),
    ("scikit-learn f64", "fastmlp f64"),
    ("fastmlp bf16", None),
)


def markdown(record):
    """The block between the README's markers."""
    timed = [row for section in TIMED for row in record[section]]
    threads = max((row["threads"] for row in timed), default=1)
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    spreads = [(row["q3"] - row["q1"]) / row["median"] for row in record["fit"]]
    lines = [
        f"{machine['cpu']}, {threads} threads for everybody; {versions}; commit"
        f" {record['commit']}, {record['date'][:10]}. Medians of interleaved rounds, the quartiles"
        f" typically {statistics.median(spreads or [0]):.1%} apart. In brackets: how many times as"
        " long as fastmlp at the same precision. **Bold: the peer is faster.**",
    ]
    if any("cpus" in row for row in timed):
        lines[0] += (
            f" {APART}: how far, in nanoseconds that a cache line takes from one to another and"
            f" back; where they share a cache, below {SHARED}."
        )
    best = [row for row in record["kernels"] if row["isa"] == record["kernels"][0]["isa"]]
    return "\n".join(lines + _timed(record | {"kernels": best}, threads))


def every_figure(record):
    """All figures of a record, for the documentation."""
    lines = []
    for threads in sorted({row["threads"] for section in TIMED for row in record[section]}):
        lines += ["", f"### {_threads(threads)}", *_timed(record, threads)]
    for section, title, label, figure in (
        ("many", "Fits side by side by joblib, milliseconds each", _many_label, "median"),
        ("growth", "Nanoseconds per row of an epoch", _growth_label, "median"),
        ("memory", "Peak memory above the data, megabytes", _memory_label, "megabytes"),
    ):
        if record[section]:
            lines += ["", f"### {title}", "", *_by_peer(record[section], label, figure)]
    if record["roofline"]:
        lines += ["", "### Roofline, one thread", "", *_roofline(record["roofline"])]
    return "\n".join(lines)


def _threads(n):
    return f"{n} thread{'s' * (n > 1)}"


def _timed(record, threads):
    lines = []
    if record["fit"]:
        lines += ["", "Whole `fit`, microseconds per mini-batch step (ReLU, Adam):", ""]
        lines += _times(record["fit"], threads, FIT_COLUMNS, _fit_label)
    if record["predict"]:
        lines += ["", "`predict_proba`, microseconds per call:", ""]
        lines += _times(record["predict"], threads, PREDICT_COLUMNS, _predict_label)
    if record["kernels"]:
        lines += ["", "The kernels alone, share of the measured FMA peak in a training step:", ""]
        lines += _shares(record["kernels"], threads)
    return lines


def _fit_label(row):
    shape = SHAPES[row["shape"]]
    return f"{shape.name}: {shape.label}, {shape.batch_label}"


def _predict_label(row):
    shape, n_rows = SHAPES[row["shape"]], row["n_rows"]
    return f"{shape.name}: {shape.label}, {n_rows:,} row{'s' if n_rows > 1 else ''}"


def _growth_label(row):
    sizes = f"{row['n_rows']:,} rows, batch {row['batch_size']:,}"
    return f"{row['shape']}, {sizes}, {_threads(row['threads'])}"


def _many_label(row):
    return f"{row['n_fits']} of {row['shape']}, {row['backend']}, {_threads(row['threads'])}"


def _memory_label(row):
    return f"{row['shape']}, {row['task']}, {_threads(row['threads'])}"


def _by_peer(rows, label, figure):
    """One line per label, one column per peer."""
    lines = {}
    for row in rows:
        lines.setdefault(label(row), {})[row["peer"]] = number(row[figure])
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    return _table(peers, [[k] + [line.get(p, "-") for p in peers] for k, line in lines.items()])


def _roofline(rows):
    """Reading, then steps."""
    lines = [
        [f"reading {row['level']}", f"{row['gbps']:.0f} GB/s", ""]
        if "level" in row
        else [
            f"{row['shape']}, batch {row['batch_size']:,}",
            f"{row['gflops']:.1f} GFLOPS of {row['peak']:.0f}",
            f"{row['intensity']:.2f}",
        ]
        for row in rows
    ]
    return _table(["speed", "operations per byte"], lines)


def _times(rows, threads, columns, label):
    """One line per label, one column per peer that has a figure."""
    lines, apart = {}, {}
    for row in rows:
        if row["threads"] == threads:
            lines.setdefault(label(row), {})[row["peer"]] = row["median"]
            if "cpus" in row:
                apart.setdefault(label(row), []).append(row["latency"])
    columns = [c for c in columns if any(c[0] in times for times in lines.values())]
    cells = [
        [name]
        + [_cell(times.get(peer), times.get(base)) for peer, base in columns]
        + [_range_of(apart.get(name)) for _ in range(bool(apart))]
        for name, times in lines.items()
    ]
    return _table([name for name, _ in columns] + [APART] * bool(apart), cells)


def _range_of(nanoseconds):
    low, high = (number(f(nanoseconds)) for f in (min, max)) if nanoseconds else ("-", "-")
    return low if low == high else f"{low} to {high}"


def _shares(rows, threads):
    """One line per kernel set and dtype, one column per shape."""
    lines = {}
    for row in rows:
        if row["threads"] == threads:
            line = lines.setdefault(f"{row['isa']} {row['dtype']}", {})
            line[row["shape"]] = f"{100 * row['gflops'] / row['peak']:.0f} %"
    shapes = list(dict.fromkeys(name for line in lines.values() for name in line))
    return _table(shapes, [[k] + [line.get(n, "-") for n in shapes] for k, line in lines.items()])


def _table(heads, lines):
    """A markdown table; the first column names the line."""
    rows = [["", *heads], *lines]
    text = ["| " + " | ".join(row) + " |" for row in rows]
    text.insert(1, "|---|" + "---:|" * len(heads))
    return text


def _cell(time, base):
    if time is None:
        return "-"
    if base is None:
        return number(time)
    ratio = time / base
    cell = f"{number(time)} ({ratio:{'.0f' if ratio >= 9.95 else '.2f' if ratio < 1 else '.1f'}}x)"
    return f"**{cell}**" if time < base else cell


def number(value):
    """Three digits: 0.512, 8.21, 31.4, 253, 12,400."""
    if value < 100:
        return f"{value:.3g}"
    return f"{round(value, 2 - len(str(int(value))) + 1):,.0f}"


def warnings(record):
    """What a reader of the record has to know before believing it."""
    rows = [row for section in TIMED for row in record[section]]
    disturbed = [row for row in rows if row["others"] > DISTURBED]
    if disturbed:
        yield (
            f"{len(disturbed)} of {len(rows)} rows were measured while other processes took more"
            f" than {DISTURBED:.0%} of the CPUs"
        )
    if record["commit"].endswith("+"):
        yield "files differ from the commit"


def refresh_readme(record, path=README):
    """Replace what stands between the markers. Returns whether they were there."""
    text = path.read_text() if path.is_file() else ""
    if BEGIN not in text or END not in text:
        return False
    block = f"{BEGIN}\n{markdown(record)}\n{END}"
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    path.write_text(re.sub(pattern, lambda match: block, text, flags=re.DOTALL))
    return True


def _essence(field):
    """What has to be the same for two records to be compared."""
    if isinstance(field, dict):
        return f"{field['cpu']}, {field['cpus']} CPUs"
    return "a quick run" if field else "a full run"


def print_comparison(old, new, say=print):
    """Print every row that changed, and return how many of fastmlp's own got slower."""
    for field in ("quick", "machine"):
        if _essence(old[field]) != _essence(new[field]):
            say(f"Beware: {_essence(old[field])} against {_essence(new[field])}")
    n_rows, n_slower = 0, 0
    for section, row, ratio, verdict in compare(old, new):
        n_rows += 1
        ours = row.get("peer", "fastmlp").startswith("fastmlp")
        n_slower += ours and verdict == "slower"
        if verdict:
            what = " ".join(str(v) for k, v in row.items() if k not in MEASURED)
            say(f"{verdict}  {ratio:5.2f}x  {section} {what}")
    say(f"{n_rows} rows in both records; {n_slower} of fastmlp's got slower")
    return n_slower
