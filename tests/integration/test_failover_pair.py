"""Failover of a production pair in a run of its own: a failure in one direction that no carrier shows.

Needs root and what the lab needs, FRR among it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from perfharness.lab import control
from perfharness.lab.options import Asked
from tests.integration.runs import HOME, Result, perfharness, run_words, scenario

PRODUCTION = HOME / "scenarios" / "circuits" / "lab-production.yaml"
MS = 1_000_000
BFD_NS = 600 * MS
"""As ordered there."""
ROUTERS_PACKETS = 20
"""That the CE sends to the VBR until both have noticed: BFD five times a second, BGP and ARP."""


UNROUTED_PACKETS = 100
"""That the CE may drop besides: it has no route any more, and the LAN's router hears of that 50 ms later."""


def hook(*words: str) -> str:
    return json.dumps({"command": [sys.executable, "-m", "perfharness", "lab", *words]})


def test_a_silent_failure_one_way_is_told_to_the_packet(tmp_path: Path) -> None:
    """BFD finds it, the standby takes over, and the circuit comes back: the outage is what the VBR dropped and what the
    routers took to agree, the CE tells when it noticed, and the order's objective is kept."""
    phases = "event: silent, flows: 1, before: 2s, down: 2s, after: 4s"
    hooks = f"cut: {hook('fault', 'one-way-cut')}, restore: {hook('clear')}"
    judge = "judge: [{metric: outage, statistic: duration, at_most: objectives.outage, rows: [EC-052]}]"
    words = run_words(tmp_path, scenario(tmp_path, f"{{id: cut, measure: failover, {hooks}, {phases}, {judge}}}"))
    words[words.index("--circuit") + 1] = str(PRODUCTION)
    control.up(Asked(PRODUCTION, standby=True).spec())
    try:
        code, said = perfharness(tmp_path, *words)
        dropped = control.truth()["directions"]["a-z"]["dropped"]["one-way-cut"]
    finally:
        control.down()
    result = Result(tmp_path)
    there, back = (result.finding("outage", "duration", way) for way in ("a-z", "z-a"))
    lost_ns = there["interval"]["lo"], there["interval"]["hi"]
    assert lost_ns[0] <= (dropped + UNROUTED_PACKETS) * MS and (dropped - ROUTERS_PACKETS) * MS <= lost_ns[1], said
    assert code == 0 and BFD_NS / 2 < there["value"] < there["threshold"] and back["value"] < there["value"], said
    page = " ".join((result.path / "report.html").read_text(encoding="utf-8").split())
    assert "How soon routers noticed" in page and "BFD notices within 600.0 ms" in page
