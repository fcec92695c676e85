"""Whatever is measured, BGP is only read: sessions and configurations of the lab's routers are as they were.

Needs root and what the lab needs, FRR among it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perfharness.lab import control, frr
from perfharness.lab.spec import LabSpec
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import load_scenario
from perfharness.plan import make_plan
from tests.integration import runs
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
SLOW_BFD = "      cloud_as: 45104\n      bfd: {tx: 1s, rx: 1s, multiplier: 10}\n"
"""A machine that is busy with a load must not make a session fail that nobody touched."""
MESSAGES = ("opensSent", "opensRecv", "notificationsSent", "notificationsRecv", "routeRefreshSent", "routeRefreshRecv")


def sessions() -> dict[str, dict[str, Any]]:
    """Of both ends of the circuit: what no reader changes, and for how long each session has been up."""
    found = {}
    for router in ("ce-a", "vbr-a"):
        for peer, told in frr.ask(router, "show bgp neighbors json").items():
            counts = {name: told["messageStats"][name] for name in MESSAGES}
            found[f"{router} {peer}"] = {
                "state": told["bgpState"],
                "dropped": told["connectionsDropped"],
                "up_ms": told["bgpTimerUpMsec"],
                **counts,
            }
    return found


def configurations() -> list[str]:
    return [runs.command(str(frr.vtysh(router)), "-c", "show running-config") for router in ("ce-a", "vbr-a")]


def methods(scenario_file: Path, order: Path) -> set[str]:
    """All that agents are asked to do in it, where it does not act on the circuit by the user's command."""
    tasks = make_plan(load_circuit(order), load_scenario(scenario_file)).tasks
    return {job.method for task in tasks if not task.acts for job in task.jobs}


def test_sessions_stand_through_every_measurement(tmp_path: Path) -> None:
    """All that agents do in the shipped scenarios, beside a CE whose BGP and BFD are read: no session falls, no message
    tells of a fall, each is up for longer than before, and not a line of configuration has changed."""
    order = tmp_path / "circuit.yaml"
    text = ORDER.read_text(encoding="utf-8")
    order.write_text(text.replace("      cloud_as: 45104\n", SLOW_BFD), encoding="utf-8")
    short = scenario(tmp_path, *STEPS)
    shipped = set.union(*(methods(path, FAST) for path in SCENARIOS.glob("*.yaml")))
    assert shipped <= methods(Path(short), order), "what agents are asked for elsewhere has to be played here"
    control.up(LabSpec.from_circuit(load_circuit(order), bgp=True))
    try:
        before, was = sessions(), configurations()
        code, said = perfharness(tmp_path, *run_words(tmp_path, short, str(order)))
        after = sessions()
        assert configurations() == was
    finally:
        control.down()
    assert code in (0, 1, 3), said
    tasks = [json.loads(path.read_bytes())["status"] for path in Result(tmp_path).path.glob("raw/*/task.json")]
    assert len(tasks) >= len(STEPS) and set(tasks) == {"completed"}, said
    rows = Result(tmp_path).json()["findings"]
    told = {row["statistic"]: (row["verdict"], row["value"]) for row in rows if row["metric"] == "bgp"}
    assert (told["established"], told["flaps"]) == (("PASS", True), ("PASS", 0)), said
    assert {row["state"] for row in before.values()} == {"Established"} and len(before) == 4
    for name, row in after.items():
        up_ms = before[name].pop("up_ms")
        assert row.pop("up_ms") > up_ms and row == before[name], name
