"""The code in README, documentation and docstrings runs as it is printed; links lead somewhere.

The blocks of a page are one program, in order. A comment behind a ``print`` says what it prints,
numbers to as many digits as are shown. No warning is given but that a fit was short. A block that
imports a library which is not installed, PyTorch's twin of an estimator for instance, is left out.
"""

import ast
import doctest
import importlib.util
import io
import pkgutil
import re
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from sklearn.exceptions import ConvergenceWarning

import fastmlp

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PEERS = {"keras", "torch"}  # whose warnings are their own
TEXTS = [*PAGES, *(ROOT / name for name in ("DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md"))]


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(path):
    """(line, code) of every block of Python on a page."""
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield text[: match.start(1)].count("\n") + 1, match[1]


def imported(code):
    """Packages that a block imports."""
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in getattr(node, "names", ())]
        modules = {ast.Import: names, ast.ImportFrom: [getattr(node, "module", "")]}
        yield from (module.partition(".")[0] for module in modules.get(type(node), []))


def is_runnable(code):
    """Whether all is installed that a block imports."""
    return all(importlib.util.find_spec(package) for package in imported(code))


def is_as_promised(printed, promised):
    """Whether two texts are equal, up to digits of numbers that are not shown."""
    number = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
    if re.sub(number, "#", printed) != re.sub(number, "#", promised):
        return False
    pairs = zip(re.findall(number, printed), re.findall(number, promised), strict=True)
    return all(f"{float(x):.{len(s.partition('.')[2])}f}" == s for x, s in pairs)


WITH_CODE = [path for path in PAGES if any(blocks(path))]


@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_code_runs_and_prints_what_it_says(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for line, code in blocks(path):
        if not is_runnable(code):
            continue
        printed = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(printed):
            warnings.simplefilter("ignore" if PEERS.intersection(imported(code)) else "error")
            warnings.simplefilter("ignore", ConvergenceWarning)
            exec(compile("\n" * (line - 1) + code, path, "exec"), names)
        expected = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
        lines = printed.getvalue().splitlines()
        if expected:
            assert len(lines) == len(expected)
            for got, promised in zip(lines, expected, strict=True):
                assert is_as_promised(got, promised), f"{path}:{line}: {got}, not {promised}"


def test_a_page_is_held_to_what_it_says(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "text\n```python\nimport nothing_of_this_name\n```\n\n```python\nprint(2)  # 2\n```\n"
    )
    (first, code), (second, other) = blocks(page)
    assert (first, second) == (3, 7)
    assert list(imported(code)) == ["nothing_of_this_name"]
    assert not is_runnable(code)
    assert is_runnable(other)
    assert is_as_promised("[0.12345, True] 1e-05", "[0.123, True] 0")
    assert not is_as_promised("0.1245", "0.123")
    assert not is_as_promised("True", "False")


MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(fastmlp.__path__, "fastmlp.")
    if not name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder().find(module):
        if is_runnable("".join(example.source for example in test.examples)):
            assert doctest.DocTestRunner().run(test).failed == 0


# What exists only when the documentation is built.
MADE = {"docs/gallery/index.rst"}


def anchors(text):
    """Anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if ":" in link or target.startswith("/"):
            continue
        there = (path.parent / target).resolve() if target else path
        if "_generated" in there.parts:
            assert f"def {there.stem}(" in (ROOT / "docs" / "pictures.py").read_text()
        elif name_of(there) not in MADE:
            assert there.exists(), link
            assert not anchor or anchor in anchors(there.read_text()), link


def test_named_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+)(?= *[a-z-]*:)", (ROOT / "Makefile").read_text(), re.M))
    for path in TEXTS:
        named = re.findall(r"(?:^|`)make ([a-z][a-z-]*)", path.read_text(), re.MULTILINE)
        assert set(named) <= targets, path
