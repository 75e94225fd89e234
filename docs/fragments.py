"""Parts of pages that are made from what the package and the benchmarks use themselves.

No list is kept twice: parameters come from their table, figures from the records in bench/results,
pictures from computations.
"""

import inspect
import re
import sys
from pathlib import Path

import pictures
from sklearn import neural_network

from bench import plots, record, report
from fastmlp import _parameters

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tools"))
from generate import filled_in  # noqa: E402


# ---------------------------------------------------------------------------------- parameters
def is_new(name, row):
    """Whether scikit-learn's estimators do not have a parameter."""
    return any(
        name not in inspect.signature(getattr(neural_network, estimator)).parameters
        for estimator in row.estimators
    )


def text_of(name, row):
    """The text of a parameter for its estimators, once if it is the same for all of them."""
    texts = {estimator: filled_in(row.text, estimator, name) for estimator in row.estimators}
    for estimator, text in texts.items():
        texts[estimator] = re.sub(r"\s*\[\d+\]_", "", text)  # the estimators' pages list them
    if len(set(texts.values())) == 1:
        return texts[row.estimators[0]]
    return "\n\n".join(f"{estimator}: {text}" for estimator, text in texts.items())


def parameters():
    """A table of all parameters, in the order of the signature, and a section for each."""
    table = [".. list-table::", "   :header-rows: 1", ""]
    lines = [("parameter", "default", "estimators", "origin")]
    sections = []
    for key, row in _parameters.PARAMETERS.items():
        name = row.name or key
        who = "both" if len(row.estimators) == 2 else row.estimators[0]
        origin = "new" if is_new(name, row) else "from scikit-learn"
        default = f"``{row.default!r}``"
        lines.append((f":ref:`{name} <parameter-{key}>`", default, who, origin))
        title = name if who == "both" else f"{name} ({who})"
        facts = f"*{row.type}*, default {default}, {origin}"
        sections += [f".. _parameter-{key}:", title + "\n" + "-" * len(title), facts]
        sections += [text_of(name, row)]
    for line in lines:
        table += [f"   {mark} - {cell}" for mark, cell in zip("*   ", line, strict=True)]
    return "\n".join(table) + "\n\n" + "\n\n".join(sections) + "\n"


# ---------------------------------------------------------------------------------- benchmarks
def benchmarks(folder):
    """A section for each record, the newest first: its pictures and all of its figures."""
    lines = []
    for result in record.newest_first():
        title = f"{result['machine']['cpu']}, {result['date'][:10]}, {result['commit']}"
        machine = {"Python": result["python"], **result["versions"]}
        lines += [f"## {title}", ""]
        lines += [f"{result['machine']['system']}, {result['machine']['cpus']} CPUs. "]
        lines += [", ".join(f"{name} {version}" for name, version in machine.items()) + "."]
        lines += [f"Beware: {warning}." for warning in report.warnings(result)]
        for picture in plots.draw(result, folder / record.stem(result)):
            kind = picture.stem.rpartition("-")[2]
            lines += ["", f"![{kind}](/{folder.name}/{picture.name})"]
        lines += [report.every_figure(result), ""]
    return "\n".join(lines)


# --------------------------------------------------------------------------------------- files
def write(path, text):
    """Write a file unless it says so already, so that no page is built again for nothing."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def write_all(folder):
    """Write all fragments and pictures."""
    folder.mkdir(exist_ok=True)
    write(folder / "parameters.rst", parameters())
    write(folder / "benchmarks.md", benchmarks(folder))
    pictures.draw_all(folder)
