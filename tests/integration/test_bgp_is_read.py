"""Whatever is measured, BGP is only read: sessions and configurations of the lab's routers are as they were.

All that agents do, in one short run; ``tests/bench/bench_bgp.py`` plays every scenario whole. Needs root and what
the lab needs, FRR among it.
"""

from __future__ import annotations

import json
from pathlib import Path

from perfharness.lab import control
from perfharness.lab.spec import LabSpec
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import load_scenario
from perfharness.plan import make_plan
from tests.integration.bgp_sessions import see, slow_bfd, touched
from tests.integration.runs import HOME, Result, perfharness, run_words, scenario

SCENARIOS = HOME / "scenarios"
ORDER = SCENARIOS / "circuits" / "lab-prove-bgp.yaml"
FAST = SCENARIOS / "circuits" / "lab-production.yaml"
"""For which every scenario can be planned."""
STEPS = (
    "{id: host, measure: host}",
    "{id: edge, measure: edge}",
    "{id: path, measure: path, ping_count: 5, classes: [EF]}",
    "{id: pmtu, measure: pmtu}",
    "{id: flows, measure: flows, flows: 8, duration: 1s}",
    "{id: udp, measure: throughput, protocol: udp, direction: both, duration: 3s, omit: 0s}",
    "{id: capacity, measure: capacity, direction: a-z, search: 1s, hold: 2s, confirm: 1s}",
    "{id: edge-after, measure: edge, stable: true}",
)


def methods(scenario_file: Path, order: Path) -> set[str]:
    """All that agents are asked to do in it, where it does not act on the circuit by the user's command."""
    tasks = make_plan(load_circuit(order), load_scenario(scenario_file)).tasks
    return {job.method for task in tasks if not task.acts for job in task.jobs}


def test_sessions_stand_through_every_measurement(tmp_path: Path) -> None:
    """All that agents do in the shipped scenarios, beside a CE whose BGP and BFD are read: no session falls, no message
    tells of a fall, each is up for longer than before, and not a line of configuration has changed."""
    order = slow_bfd(ORDER, tmp_path)
    short = scenario(tmp_path, *STEPS)
    shipped = set.union(*(methods(path, FAST) for path in SCENARIOS.glob("*.yaml")))
    assert shipped <= methods(Path(short), order), "what agents are asked for elsewhere has to be played here"
    spec = LabSpec.from_circuit(load_circuit(order), bgp=True)
    control.up(spec)
    try:
        before = see(spec)
        code, said = perfharness(tmp_path, *run_words(tmp_path, short, str(order)))
        after = see(spec)
    finally:
        control.down()
    assert code in (0, 1, 3), said
    tasks = [json.loads(path.read_bytes())["status"] for path in Result(tmp_path).path.glob("raw/*/task.json")]
    assert len(tasks) >= len(STEPS) and set(tasks) == {"completed"}, said
    rows = Result(tmp_path).json()["findings"]
    told = {row["statistic"]: (row["verdict"], row["value"]) for row in rows if row["metric"] == "bgp"}
    assert (told["established"], told["flaps"]) == (("PASS", True), ("PASS", 0)), said
    assert touched(before, after) == [] and len(before.sessions) == 6
