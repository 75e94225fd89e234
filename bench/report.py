"""A record as text: the README's tables and what the commands print."""

import os
import re
import statistics
from dataclasses import replace
from pathlib import Path

from .latency import SHARED
from .record import MEASURED, SECTIONS, compare, was_shared
from .shapes import SHAPES

README = Path(__file__).parent.parent / "README.md"
# Around the tables of a record; the first names the kind of CPU, each of which has its own.
BEGIN, END = "<!-- bench:begin {} -->", "<!-- bench:end -->"
DISTURBED = 0.05
APART = "CPUs apart"
ALONE = "one thread"

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
    """The block between the README's markers: times with as many threads as were measured."""
    timed = record["fit"] + record["predict"]
    threads = max((row["threads"] for row in timed), default=1)
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    spreads = [(row["q3"] - row["q1"]) / row["median"] for row in record["fit"]]
    lines = [
        f"{machine['cpu']}, {_threads(threads)} for everybody; {versions}; commit"
        f" {record['commit']}, {record['date'][:10]}. Medians of interleaved rounds, the quartiles"
        f" typically {statistics.median(spreads or [0]):.1%} apart. In brackets: how many times as"
        " long as fastmlp at the same precision. **Bold: the peer is faster.**",
    ]
    if any("cpus" in row for row in timed):
        lines[0] += (
            f" {APART}: how far, in nanoseconds that a cache line takes from one to another and"
            f" back, medians of rounds; below {SHARED} where they share a cache; changing: from one"
            " round to another."
        )
    lines[0] += "".join(f" Beware: {warning}." for warning in warnings(record))
    best = [row for row in record["kernels"] if row["isa"] == record["kernels"][0]["isa"]]
    return "\n".join(lines + _timed(record, threads) + _kernels(best))


def every_figure(record):
    """All figures of a record, for the documentation."""
    lines = []
    for threads in sorted({row["threads"] for row in record["fit"] + record["predict"]}):
        lines += ["", f"### {_threads(threads)}", *_timed(record, threads)]
    if record["kernels"]:
        lines += ["", "### Kernels", *_kernels(record["kernels"])]
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
    for section, title, columns, label in (
        (
            "fit",
            "Whole `fit`, microseconds per mini-batch step (ReLU, Adam)",
            FIT_COLUMNS,
            _fit_label,
        ),
        ("predict", "`predict_proba`, microseconds per call", PREDICT_COLUMNS, _predict_label),
    ):
        rows = [row for row in record[section] if row["threads"] == threads]
        if rows:
            lines += ["", f"{title}, {_threads(threads)}:", "", *_times(rows, columns, label)]
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
            f"{replace(SHAPES[row['shape']], batch_size=row['batch_size']).intensity(4):.2f}",
        ]
        for row in rows
    ]
    return _table(["speed", "operations per byte"], lines)


def _times(rows, columns, label):
    """One line per label, one column per peer that has a figure."""
    lines, apart = {}, {}
    for row in rows:
        lines.setdefault(label(row), {})[row["peer"]] = row["median"]
        if "cpus" in row:
            apart.setdefault(label(row), []).append(row)
    columns = [c for c in columns if any(c[0] in times for times in lines.values())]
    cells = [
        [name]
        + [_cell(times.get(peer), times.get(base)) for peer, base in columns]
        + [_apart(apart.get(name)) for _ in range(bool(apart))]
        for name, times in lines.items()
    ]
    return _table([name for name, _ in columns] + [APART] * bool(apart), cells)


def _apart(rows):
    if not rows:
        return "-"
    low, high = (number(f(row["latency"] for row in rows)) for f in (min, max))
    changed = ", changing" * any(row["cpus"] == "both" for row in rows)
    return (low if low == high else f"{low} to {high}") + changed


def _kernels(rows):
    """One line per kernel set, dtype and number of threads, one column per shape."""
    if not rows:
        return []
    lines = {}
    for row in rows:
        line = lines.setdefault(f"{row['isa']} {row['dtype']}, {_threads(row['threads'])}", {})
        line[row["shape"]] = _share(row)
    shapes = [name for name in SHAPES if any(name in line for line in lines.values())]
    title = "The kernels alone, share of the FMA peak of as many threads in a training step"
    if "sparse" in shapes:
        title += "; of sparse, of the bandwidth of a copy loop"
    if not all(map(was_shared, rows)):
        title += f" ({ALONE}: steps were not shared)"
    table = [[k] + [line.get(n, "-") for n in shapes] for k, line in lines.items()]
    return ["", title + ":", "", *_table(shapes, table)]


def _share(row):
    return f"{100 * row['gflops'] / row['peak']:.0f} %" if was_shared(row) else ALONE


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
    rows = [row for section in SECTIONS for row in record[section] if "others" in row]
    disturbed = [row for row in rows if row["others"] > DISTURBED]
    if disturbed:
        yield (
            f"{len(disturbed)} of {len(rows)} rows were measured while other processes took more"
            f" than {DISTURBED:.0%} of the CPUs"
        )
    if record["commit"].endswith("+"):
        yield "files differ from the commit"
    if "-DFM_ASSERTIONS" in record["machine"].get("build", ""):
        yield "the engine was built with assertions, which take time"


def kind(record):
    """The kind of CPU, of each of which the README has one record."""
    return f"{record['machine']['cpu']}, {record['machine']['isas'][0]}"


def refresh_readme(record, picture=None, path=README):
    """Replace the block of this kind of CPU, or add one after the last; False if there is none."""
    text = path.read_text() if path.is_file() else ""
    begin, (before, end, after) = BEGIN.format(kind(record)), text.rpartition(END)
    if not end:
        return False
    block = f"{begin}\n{markdown(record)}\n"
    if picture:
        block += f"\n![Roofline]({Path(os.path.relpath(picture, path.parent)).as_posix()})\n"
    if begin in text:
        pattern = re.escape(begin) + ".*?" + re.escape(END)
        text = re.sub(pattern, lambda match: block + END, text, flags=re.DOTALL)
    else:
        text = f"{before}{end}\n\n### {kind(record)}\n\n{block}{END}{after}"
    path.write_text(text)
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
