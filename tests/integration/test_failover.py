"""Failover in a run of its own: a hook cuts off one flow one way, and what the router dropped is the truth.

Needs root and what the lab needs, and nftables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfharness.lab import control, topology
from tests.integration import runs
from tests.integration.runs import Result, perfharness, run_words, scenario
from tests.integration.test_edges import CE

INTERVAL_NS = 1_000_000
NFT = ["ip", "netns", "exec", topology.CE, "nft"]
CUT = [*NFT, "add rule inet test forward udp sport 61001 udp dport 862 ip saddr 10.10.0.10 counter name hit drop"]
RESTORE = [*NFT, "flush chain inet test forward"]


@pytest.fixture(scope="module", autouse=True)
def _lab() -> Iterator[None]:
    control.up(runs.SPEC)
    yield
    control.down()


def test_a_flow_that_is_cut_one_way_is_off_for_what_was_dropped_of_it(tmp_path: Path) -> None:
    """To the probe, for that flow alone and in that direction alone; the router is watched meanwhile, and all is put
    back."""
    hooks = f"cut: {json.dumps({'command': CUT})}, restore: {json.dumps({'command': RESTORE})}"
    phases = "flows: 2, interval: 1ms, before: 2s, down: 1500ms, after: 1s"
    judge = "judge: [{metric: outage, statistic: duration, at_most: 500ms, rows: [EC-052]}]"
    step = f"{{id: cut, measure: failover, {hooks}, {phases}, {judge}}}"
    circuit = runs.circuit(tmp_path, ("ce: ph-ce-a\n", CE.lstrip()))
    with runs.filtered(topology.CE):
        code, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, step), circuit))
        dropped_ns = runs.hits(topology.CE) * INTERVAL_NS
    result = Result(tmp_path)
    (task,) = result.path.glob("raw/01-*/task.json")
    noted = json.loads(task.read_bytes())
    assert [act["done"] for act in noted["acts"]] == [True, True], said
    assert noted["jobs"]["ce-a.edge"] == "completed"

    there, back = (result.finding("outage", "duration", way) for way in ("a-z", "z-a"))
    assert (code, there["verdict"], back["verdict"], back["value"]) == (1, "FAIL", "NOT_RUN", None), said
    sent = json.loads((task.parent / "onprem-a.probe-a-z/result.json").read_bytes())["data"]
    unsent_ns = sent["missed"] * INTERVAL_NS  # on a busy machine: they may fall into the outage
    assert there["interval"]["lo"] - unsent_ns <= dropped_ns <= there["value"] + 2 * INTERVAL_NS
    assert there["interval"]["hi"] == "unbounded", "it ended only when the flow was let through again"
    assert "1 of 2 flows were cut off" in there["reason"]
    assert "failover-slow" in result.causes and "61001" in (result.path / "report.html").read_text(encoding="utf-8")
