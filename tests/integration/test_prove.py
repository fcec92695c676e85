"""A part of `perfharness lab prove`. Needs root and what the lab needs."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from perfharness.lab import prove
from tests.integration.lab_traffic import gone


def test_verdicts_and_causes_are_held_against_the_truth(tmp_path: Path) -> None:
    """A fault that cuts all off, and one that harms little: each verdict is true, each cause named, and all is told."""
    names = ("vlan-mismatch --vlan 2047", "dscp-rewrite")
    with gone():
        assert prove.prove(prove.cases(names, None), 1, tmp_path, Console(stderr=True))
    (told,) = tmp_path.glob("prove/*/prove.json")
    outcomes = json.loads(told.read_bytes())["outcomes"]
    assert [(outcome["case"], outcome["verdict"]) for outcome in outcomes] == list(
        zip(names, ("FAIL", "PASS"), strict=True)
    )
    assert not any(outcome["misses"] for outcome in outcomes)
    assert "| dscp-rewrite | PASS | PASS | dscp-remarked (proven) |" in told.with_name("prove.md").read_text()
