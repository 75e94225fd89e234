"""The README's examples run as they are printed, without a warning."""

import re
import warnings
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs_and_prints_what_it_says(code, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(code, {})
    promised = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    printed = capsys.readouterr().out.split()
    assert len(printed) == len(promised) > 0
    for value, text in zip(printed, promised, strict=True):
        assert round(float(value), 3) == float(text)
