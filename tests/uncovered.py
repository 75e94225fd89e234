"""Print the lines and branches of the engine and its binding that gcov saw nobody run.

    python tests/uncovered.py FOLDER

adds up all counts below FOLDER, where several programs may have run the same code. Of the binding
and of kernels only lines: most branches of generated code are about exceptions that cannot happen,
and those of optimised loops are the compiler's.
"""

import functools
import json
import subprocess
import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path


def counts(folder):
    """Return {file: {line: [times run, [times taken, for each branch]]}}."""
    files = defaultdict(dict)
    for data in sorted(Path(folder).rglob("*.gcda")):
        text = subprocess.run(
            ["gcov", "--json-format", "--stdout", "--branch-probabilities", data],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for file in json.loads(text)["files"]:
            name = shortened(file["file"])
            if name is None:
                continue
            for line in file["lines"]:
                if is_code(name, line["line_number"]):
                    add(files[name], line)
    return files


@functools.cache
def source(name):
    return (Path(__file__).parent.parent / name).read_text().splitlines()


def is_code(name, number):
    """Whether a file has this line: Cython's own code goes on counting after the binding's."""
    return number <= len(source(name)) and source(name)[number - 1].strip() != ""


# What is left when all tests have run, and why.
REASONS = {
    "fastmlp/_core.pyx": "allocations that fail; docstrings and ends of calls that Cython counts",
    "src_c/engine/check.c": "Ctrl-C while millions of labels or non-zeros are checked",
    "src_c/engine/dispatch.c": "instructions that this CPU has not",
    "src_c/engine/plan.c": "sizes whose sum overflows although their products do not",
    "src_c/engine/predict.c": "the same; Ctrl-C while millions of non-zeros are checked",
    "src_c/engine/selftest.c": "run by tests/test_packed.py, on C versions of rare instructions",
    "src_c/engine/train.c": "Ctrl-C while millions of weights are summed",
    "src_c/host/cpus.c": "system calls that fail; control groups of other systems",
    "src_c/host/interrupt.h": "the same as in train.c",
    "src_c/host/posix.c": "system calls that fail",
    "src_c/host/threads.c": "children after fork, which write no counts; races that are rare",
}


def is_assertion(name, number):
    return "FM_ASSERT(" in source(name)[number - 1]


def shortened(name):
    """Return the path in the repository; None for what is not the engine's or the binding's."""
    parts = Path(name).parts
    for folder in ("src_c", "fastmlp"):
        if folder in parts and not name.endswith("_core.c"):
            return "/".join(parts[parts.index(folder) :])
    return None


def add(lines, line):
    branches = [b["count"] for b in line["branches"]]
    total = lines.setdefault(line["line_number"], [0, [0] * len(branches)])
    total[0] += line["count"]
    if len(total[1]) != len(branches):  # a header's line in another function
        total[1] = total[1] if len(total[1]) > len(branches) else branches
    else:
        total[1] = [a + b for a, b in zip(total[1], branches, strict=True)]


def ranges(numbers):
    """Shorten [1, 2, 3, 7] to "1-3, 7"."""
    runs = []
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [n for _, n in run]
        runs.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ", ".join(runs)


def share(n, total):
    return f"{n:5} of {total:5} ({n / max(1, total):6.1%})"


def has_branches(name):
    """Whether the compiler's branches are those of the source: built without optimisation."""
    return name.startswith(("src_c/engine/", "src_c/host/", "src_c/tables/tables"))


def main():
    lines_run = lines_all = taken = branches_all = 0
    for name, lines in sorted(counts(sys.argv[1]).items()):
        lines = {n: lines[n] for n in sorted(lines) if not is_assertion(name, n)}
        not_run = [n for n, (count, _) in lines.items() if not count]
        lines_run += len(lines) - len(not_run)
        lines_all += len(lines)
        print(f"{name:28}{share(len(lines) - len(not_run), len(lines))} lines", end="")
        half = []
        if has_branches(name):
            branches = [b for _, of_line in lines.values() for b in of_line]
            half = [n for n, (count, of_line) in lines.items() if count and 0 in of_line]
            taken += len(branches) - branches.count(0)
            branches_all += len(branches)
            print(f"{share(len(branches) - branches.count(0), len(branches))} branches", end="")
        print()
        if not_run:
            print(f"    not run: {ranges(not_run)}")
        if half:
            print(f"    one way only: {ranges(half)}")
        if (not_run or half) and name in REASONS:
            print(f"    ({REASONS[name]})")
    print(f"{'C':28}{share(lines_run, lines_all)} lines{share(taken, branches_all)} branches")


if __name__ == "__main__":
    main()
