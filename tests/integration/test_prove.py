"""A part of `perfharness lab prove`. Needs root and what the lab needs."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from perfharness.lab import prove
from tests.integration.lab_traffic import gone


def test_verdicts_and_causes_are_held_against_the_truth(tmp_path: Path) -> None:
    """A circuit that takes another tag fails and is told so, the healthy one after it does not; both are written."""
    names = ("vlan-mismatch --vlan 2047", "healthy")
    with gone():
        assert prove.prove(prove.cases(names, None), 1, tmp_path, Console(stderr=True))
    (told,) = tmp_path.glob("prove/*/prove.json")
    mismatch, healthy = json.loads(told.read_bytes())["outcomes"]
    assert (mismatch["case"], mismatch["verdict"]) == (names[0], "FAIL")
    assert ["vlan-mismatch", "proven"] in mismatch["causes"]
    assert healthy["verdict"] in ("PASS", "INCONCLUSIVE"), "this machine may have been too busy to tell"
    text = told.with_name("prove.md").read_text()
    assert "| vlan-mismatch --vlan 2047 | FAIL | FAIL | vlan-mismatch (proven)" in text
