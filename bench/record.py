"""A record: one JSON file with everything that was measured and on what."""

import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from .peers import versions

RESULTS = Path(__file__).with_name("results")
SECTIONS = ("fit", "predict", "many", "kernels", "growth", "memory", "roofline")
# fields of a row that are results; the others say what was measured
MEASURED = {"median", "q1", "q3", "rounds", "busy", "others", "latency", "cpus", "loss"}
MEASURED |= {"gflops", "peak", "gbps", "megabytes"}
SMALLEST_CHANGE = 0.05


def machine():
    info = {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
    try:
        from fastmlp import _core
    except ImportError:
        return info
    return info | {"isas": list(_core.ISAS), "build": _core.BUILD_INFO}


def _cpu_name():
    """As the system calls it; on x86 with the numbers, which a virtual machine does not hide."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        facts = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
        numbers = ", family {cpu family} model {model}" if "cpu family" in facts else ""
        return (facts["model name"] + numbers.format_map(facts)).strip()
    except (OSError, KeyError):
        pass
    try:
        return _output("sysctl", "-n", "machdep.cpu.brand_string")
    except (OSError, subprocess.CalledProcessError):
        return platform.processor() or platform.machine()


def _output(*command):
    out = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return out.stdout.strip()


def commit():
    """The commit that is measured, with + if files differ from it; "unknown" outside git."""
    try:
        changed = _output("git", "status", "--porcelain", "--untracked-files=no")
        return _output("git", "rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def new(quick):
    """A record without results, its head filled in."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": quick,
        "machine": machine(),
        "python": platform.python_version(),
        "versions": versions(),
    } | {section: [] for section in SECTIONS}


def stem(record):
    """The name of a record's files: date, machine and commit."""
    words = re.findall(r"[a-z0-9]+", record["machine"]["cpu"].lower())
    parts = [record["date"][:10], *words, record["commit"].rstrip("+")]
    return ("quick-" if record["quick"] else "") + "-".join(parts)


def was_shared(row):
    """Whether the threads of a kernel's row worked: a step may be too small to be shared."""
    return row["threads"] == 1 or row.get("busy", row["threads"]) > 1.2


def add(record, section, rows):
    """Add rows to a section; those that measured the same before are replaced."""
    new = {identity(section, row) for row in rows}
    record[section] = [row for row in record[section] if identity(section, row) not in new] + rows


def circumstances(record):
    """What has to be the same for rows to stand in one record."""
    machine = {key: value for key, value in record["machine"].items() if key != "load"}
    return [machine] + [record[key] for key in ("commit", "quick", "python", "versions")]


def save(record, path):
    """Write a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {key: value for key, value in record.items() if key not in SECTIONS}
    text = json.dumps(head, indent=1)[:-2]
    for section in SECTIONS:  # one line per row: readable, and diffs stay small
        rows = ",\n  ".join(json.dumps(_rounded(row)) for row in record[section])
        text += f',\n "{section}": [\n  {rows}\n ]'
    path.write_text(text + "\n}\n")


def _rounded(row):
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}


def load(path):
    return {section: [] for section in SECTIONS} | json.loads(Path(path).read_text())


def newest_first(folder=RESULTS):
    """All records of a folder but those of quick runs."""
    records = [load(path) for path in Path(folder).glob("*.json")]
    return sorted((r for r in records if not r["quick"]), key=lambda r: r["date"], reverse=True)


# ------------------------------------------------------------------- compare
def identity(section, row):
    """What a row measures, as a tuple of section and (field, value) pairs."""
    return (section, *sorted((k, v) for k, v in row.items() if k not in MEASURED))


def compare(old, new):
    """What changed from one record to the other.

    Yields (section, row of new, new / old, verdict) for each row that both have, the verdict being
    "slower", "faster" or "". A change counts when the two ranges between the quartiles do not
    meet and the medians are at least 5 % apart.
    """
    before = {identity(s, row): row for s in SECTIONS for row in old[s]}
    for section in SECTIONS:
        for row in new[section]:
            past = before.get(identity(section, row))
            if past is None:
                continue
            figure = "megabytes" if section == "memory" else "median"
            ratio = row[figure] / past[figure]
            (low, high), (past_low, past_high) = _range(row, figure), _range(past, figure)
            verdict = "slower" if low > past_high else "faster" if high < past_low else ""
            yield section, row, ratio, verdict if abs(ratio - 1) >= SMALLEST_CHANGE else ""


def _range(row, figure):
    return row.get("q1", row[figure]), row.get("q3", row[figure])
