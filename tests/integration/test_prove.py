"""A part of `perfharness lab prove`: the verb as a program of its own. Needs root and what the lab needs."""

from __future__ import annotations

import json
from pathlib import Path

from perfharness.errors import Exit
from tests.integration.lab_traffic import gone
from tests.integration.runs import perfharness


def test_verdicts_and_causes_are_held_against_the_truth(tmp_path: Path) -> None:
    """A fault that cuts all off, one that harms little, and none: each verdict is true, each cause named, and told."""
    cases = ("vlan-mismatch --vlan 2047", "dscp-rewrite", "healthy")
    with gone():
        code, said = perfharness(tmp_path, "lab", "prove", *cases, "--times", "1", "--results", str(tmp_path))
    assert code == Exit.PASS, said
    (told,) = tmp_path.glob("prove/*/prove.json")
    outcomes = json.loads(told.read_bytes())["outcomes"]
    assert [outcome["case"] for outcome in outcomes] == list(cases)
    assert not any(outcome["misses"] for outcome in outcomes)
    assert "| healthy | PASS | PASS |  |  |" in told.with_name("prove.md").read_text()
