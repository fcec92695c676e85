"""Failover in a run of its own: a hook cuts one member of the circuit one way, and what the wire dropped is the truth.

Needs root and what the lab needs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfharness.lab import control
from perfharness.lab.linespec import LineSpec, LinkSpec
from perfharness.model import Direction
from tests.integration import runs
from tests.integration.runs import Result, perfharness, run_words, scenario
from tests.integration.test_edges import CE

INTERVAL_NS = 1_000_000
LINE = LineSpec(delay_ns=2_000_000, members=(LinkSpec(), LinkSpec(), LinkSpec()), watch_port=862)
TUNE = """
import sys
from perfharness.lab import control
from perfharness.lab.linespec import LineSpec, LinkSpec
from perfharness.model import Direction
members = (LinkSpec(cut=sys.argv[1] == "cut"), LinkSpec(), LinkSpec())
control.tune({Direction.A_Z: LineSpec(delay_ns=2_000_000, members=members, watch_port=862)})
print(sys.argv[1])
"""


@pytest.fixture(scope="module", autouse=True)
def _lab() -> Iterator[None]:
    control.up(runs.SPEC, "wire", dict.fromkeys((Direction.A_Z, Direction.Z_A), LINE))
    yield
    control.down()


def hook(what: str) -> str:
    return json.dumps({"command": [sys.executable, "-c", TUNE, what]})


def test_a_member_that_is_cut_one_way_costs_its_flows_what_the_wire_dropped(tmp_path: Path) -> None:
    """To the probe, for the flows of that member alone and in that direction alone; the run says when, and fails."""
    phases = "flows: 2, interval: 1ms, before: 2s, down: 1500ms, after: 2s"
    judge = "judge: [{metric: outage, statistic: duration, at_most: 500ms, rows: [EC-052]}]"
    step = f"{{id: cut, measure: failover, cut: {hook('cut')}, restore: {hook('restore')}, {phases}, {judge}}}"
    circuit = runs.circuit(tmp_path, ("ce: ph-ce-a\n", CE.lstrip()))
    code, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, step), circuit))
    result = Result(tmp_path)
    (task,) = result.path.glob("raw/01-*/task.json")
    noted = json.loads(task.read_bytes())
    cut, restore = noted["acts"]
    assert noted["jobs"]["ce-a.edge"] == "completed", said
    assert (cut["output"], restore["output"]) == ("cut\n", "restore\n"), said

    truth = control.truth()["directions"]
    there, back = (result.finding("outage", "duration", way) for way in ("a-z", "z-a"))
    ((port, lost),) = cut_off(truth["a-z"]).items()
    dropped = len(lost)
    assert (code, there["verdict"], back["verdict"]) == (1, "FAIL", "PASS"), said
    assert there["interval"]["lo"] <= dropped * INTERVAL_NS <= there["interval"]["hi"]
    assert back["value"] == 0
    assert "1 of 2 flows were cut off" in there["reason"] and str(port) in (result.path / "report.html").read_text()


def cut_off(line: dict[str, Any]) -> dict[int, range]:
    """By source port the probes of each flow that fell into the cut; the replies to the other stream go there too."""
    found = {}
    probes = (track for track in line["flows"] if track["flow"]["destination_port"] == 862)
    for track in probes:
        for first, count in track["log"]["packets"].get("dropped", ()):
            found[track["flow"]["source_port"]] = range(first, first + count)
    return found
