"""Writes what the package's Python files say about the tables, as static text.

    python tools/generate.py

From the engine's tables: the classes in ``activations.py``, ``losses.py`` and ``optimizers.py``.
From ``_parameters.py``: signatures of the estimators and the sections Parameters and
Attributes of their docstrings, in ``mlp.py``. `make build` runs it, a test compares.
"""

import os
import re
import sys
import textwrap
from pathlib import Path

import fastmlp
from fastmlp import _core, _parameters

PACKAGE = Path(fastmlp.__file__).parent
WIDTH = 100


# -------------------------------------------------------------------------------------- families
def bounds(parameter):
    """The arguments of ``number`` for a parameter of a table's row."""
    low, high = parameter.low, parameter.high
    given = [f"low={low:g}"] * (low != -float("inf")) + [f"high={high:g}"] * (high != float("inf"))
    return ", ".join([repr(parameter.default), *given, f'closed="{parameter.closed}"'])


def interval(parameter):
    left = "[" if parameter.closed in ("left", "both") else "("
    right = "]" if parameter.closed in ("right", "both") else ")"
    return f"{left}{parameter.low:g}, {parameter.high:g}{right}"


def family_class(row, base):
    """Source of the class of a row."""
    lines = ["@dataclass(frozen=True)", f"class {row.class_name}({base}):"]
    doc = wrapped(f'"""\'{row.name}\': {row.doc}.', 4)
    if getattr(row, "notes", ""):
        doc += ["", *wrapped(row.notes, 4)]
    if row.parameters:
        doc += ["", "    Parameters", "    ----------"]
    for i, p in enumerate(row.parameters):
        is_switch = isinstance(p.default, bool)
        doc += [""] * (i > 0)
        kind = "bool" if is_switch else "float or sequence of float" if p.per_output else "float"
        doc += [f"    {p.name} : {kind}, default={p.default!r}"]
        text = p.doc[0].upper() + p.doc[1:]
        doc += wrapped(text + "." if is_switch else f"{text}, in {interval(p)}.", 8)
    if len(doc) == 1 and len(doc[0]) + 3 <= WIDTH:
        doc[0] += '"""'
    else:
        doc += ['    """']
    lines += [*doc, "", f'    name: ClassVar[str] = "{row.name}"']
    for p in row.parameters:
        kind, value = "float", f"_families.number({bounds(p)})"
        if isinstance(p.default, bool):
            kind, value = "bool", f"_families.switch({p.default})"
        if p.per_output:
            kind, value = "float | tuple[float, ...]", f"_families.numbers({bounds(p)})"
        lines.append(f"    {p.name}: {kind} = {value}")
    return "\n".join(lines)


def literal(name, members):
    return f"{name} = Literal[\n" + "".join(f'    "{n}",\n' for n in members) + "]"


def family(base, rows, others=(), **names):
    """Source of a family: classes, types of their names, and what the module exports."""
    if not names:
        names = {f"{base}Name": [*(name for name, _ in others), *(row.name for row in rows)]}
    classes = [*(cls for _, cls in others), *(row.class_name for row in rows)]
    exported = sorted([base, *names, *classes], key=lambda n: (not n.isupper(), n))
    types = "\n\n".join(literal(name, members) for name, members in names.items())
    return (
        "\n\n\n".join([*(family_class(row, base) for row in rows), types])
        + "\n\n__all__ = [\n"
        + "".join(f'    "{n}",\n' for n in exported)
        + "]"
    )


def families():
    """{file: {marker of what is written there: text}} for the engine's tables."""
    activations = [row for row in _core.ACTIVATIONS.values() if row.name != "softmax"]
    losses = [row for row in _core.LOSSES.values() if row.targets != "binary"]
    optimizers = list(_core.OPTIMIZERS.values())
    return {
        "activations.py": family(
            "Activation",
            activations,
            ActivationName=[row.name for row in activations if row.hidden],
            OutActivationName=[row.name for row in activations if row.output],
        ),
        "losses.py": family(
            "Loss",
            losses,
            LossName=[row.name for row in losses if row.targets != "class"],
            ClassifierLossName=[row.name for row in losses if row.targets == "class"],
        ),
        "optimizers.py": family("Optimizer", optimizers, [("lbfgs", "LBFGS")]),
    }


# ------------------------------------------------------------------------------------ docstrings
def wrapped(text, indent, hanging=0):
    """Lines of a paragraph. Code in it is not broken."""
    text = re.sub(r"``.*?``", lambda m: m[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in lines]


def paragraphs(text, indent):
    """Lines of a text: paragraphs, and lists whose items begin with "- "."""
    lines = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines += [""] * bool(lines)
        for item in re.split(r"\n(?=- )", paragraph):
            lines += wrapped(" ".join(item.split()), indent, 2 if item.startswith("- ") else 0)
    return lines


FILLED_IN = {
    "MLPClassifier": {
        "score": "accuracy",
        "split": "The split keeps the proportions of two classes; with more classes, or several "
        "labels per sample, it is purely random. ",
        "output": "'softmax', or 'logistic' for two classes or several labels per sample",
    },
    "MLPRegressor": {
        "score": "R^2 score",
        "split": "",
        "output": "`out_activation`, or the usual one of the loss",
    },
}


def described(cls):
    """The first paragraph of a member's docstring."""
    return " ".join(cls.__doc__.split("\n\n")[0].split())


def filled_in(text, estimator, name):
    members = _parameters.members(estimator, name).values()
    words = {"members": "\n".join(f"- {described(cls)}" for cls in members)}
    words |= FILLED_IN[estimator]
    words["Score"] = words["score"][0].upper() + words["score"][1:]
    text = textwrap.dedent(text).strip()
    for word, replacement in words.items():
        text = text.replace(f"{{{word}}}", replacement)
    return text


def section(estimator, table):
    """Lines of a numpydoc section with an entry for each row of the table."""
    lines = []
    for name, row in table.items():
        default = f", default={row.default!r}" if hasattr(row, "default") else ""
        lines += [f"    {name} : {row.type}{default}"]
        lines += [*paragraphs(filled_in(row.text, estimator, name), 8), ""]
    return "\n".join(lines) + "\n"


# What an attribute's type is in annotations, by the beginning of what it is called in docstrings.
ANNOTATIONS = {
    "ndarray": "NDArray[Any]",
    "list of ndarray": "list[NDArray[Any]]",
    "list of (ndarray": "list[NDArray[Any] | None]",
    "list of float": "list[float]",
}


def annotations(estimator):
    """Lines that declare the fitted attributes."""
    lines = []
    for name, row in _parameters.attributes(estimator).items():
        kind, optional, _ = row.type.partition(" or None")
        known = [start for start in ANNOTATIONS if kind.startswith(start)]
        kind = ANNOTATIONS[max(known, key=len)] if known else kind
        is_optional = optional and not row.type.endswith(")")
        if not hasattr(getattr(fastmlp, estimator), name):  # no property
            lines.append(f"    {name}: {kind}" + " | None" * bool(is_optional))
    return lines


def source(value):
    return repr(value).replace("'", '"')


def constructor(estimator):
    lines, body = ["    def __init__(", "        self,"], []
    for name, row in _parameters.parameters(estimator).items():
        lines.append(f"        {name}: {row.annotation} = {source(row.default)},")
        body.append(f"        self.{name} = {name}")
        if name == _parameters.LAST_POSITIONAL:
            lines.append("        *,")
    return "\n".join([*annotations(estimator), "", *lines, "    ) -> None:", *body])


# ----------------------------------------------------------------------------------------- files
def between(text, begin, end, new):
    """The text with what is between two lines replaced, the first time they occur."""
    found = re.search(rf"({re.escape(begin)}).*?(?={re.escape(end)})", text, re.S)
    if found is None:
        raise SystemExit(f"tools/generate.py: no {begin.strip()!r}")
    return text[: found.start()] + found[1] + new + text[found.end() :]


MARKER = "# Written by tools/generate.py from {}: begin\n"


def estimators():
    """The text of ``mlp.py``."""
    before, *classes = re.split(r"^(?=class )", (PACKAGE / "mlp.py").read_text(), flags=re.M)
    heading = "    {0}\n    " + "-" * 10 + "\n"
    for i, text in enumerate(classes):
        name = re.match(r"class (\w+)", text)[1]
        for title, end, table in (
            ("Parameters", heading.format("Attributes"), _parameters.parameters(name)),
            ("Attributes", "    See Also\n", _parameters.attributes(name)),
        ):
            text = between(text, heading.format(title), end, section(name, table))
        begin = "    " + MARKER.format("_parameters.py")
        classes[i] = between(text, begin, "\n\n    # end\n", constructor(name))
    return "".join([before, *classes])


def generated():
    """{path: the text that it should have}."""
    begin = MARKER.format("the engine's table")
    texts = {PACKAGE / "mlp.py": estimators()}
    for name, new in families().items():
        path = PACKAGE / name
        texts[path] = between(path.read_text(), begin, "\n# end\n", f"\n\n{new}\n")
    return texts


def main():
    stale = {path: text for path, text in generated().items() if path.read_text() != text}
    for path, text in stale.items():
        print(f"tools/generate.py: {path}")
        path.write_text(text)
    if stale and "--again" not in sys.argv:
        # The lists in the docstrings come from the classes, which may just have changed.
        os.execv(sys.executable, [sys.executable, __file__, "--again"])


if __name__ == "__main__":
    main()
