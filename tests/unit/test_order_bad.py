"""One bad file for each rule; its first lines say exactly what must be said about it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from perfharness.errors import BadInput
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import load_scenario
from perfharness.order.sense import must_make_sense

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
TODAY = date(2027, 1, 1)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_exactly_what_is_wrong_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad file gets the messages that stand in it: line, what is wrong, row, remedy; and no others."""
    monkeypatch.chdir(path.parent)
    expected = [line[3:] for line in path.read_text().splitlines() if line.startswith("#! ")]
    try:
        if path.name.startswith("scenario"):
            load_scenario(path.name)
            problems = []
        else:
            problems = [f"WARN {problem}" for problem in must_make_sense(load_circuit(path.name), TODAY)]
    except BadInput as error:
        problems = [f"FAIL {problem}" for problem in error.problems]
    assert expected, "the file says what is wrong with it"
    assert [str(problem).replace(f" {path.name}:", " ", 1) for problem in problems] == expected
