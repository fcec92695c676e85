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
from tests.integration import runs
from tests.integration.runs import HOME, Result, perfharness, run_words, scenario

SCENARIOS = HOME / "scenarios"
ORDER = SCENARIOS / "circuits" / "lab-prove-bgp.yaml"
CUTTING = "failover"
"""The one measurement that has BGP acted on, by a command of the user's."""
SHORT = {
    "host": "",
    "ceiling": "protocol: udp, against: loopback",
    "edge": "stable: true",
    "path": "ping_count: 5, classes: [EF]",
    "pmtu": "",
    "latency": "duration: 1s",
    "flows": "flows: 4, duration: 1s",
    "rfc6349": "direction: a-z, duration: 3s, omit: 0s, baseline: 1s, bottleneck: 2s, single: 0s",
    "throughput": "protocol: udp, direction: both, duration: 3s, omit: 0s",
    "capacity": "direction: a-z, search: 1s, hold: 2s, confirm: 1s",
    "policing": "direction: a-z, hold: 1s, long: 1s",
    "service-configuration": "direction: both, step: 2s, rest: 200ms, steps: [100], policing: false, "
    "services: {rest: {cir: 20% of order}}",
    "service-performance": "direction: both, duration: 3s, services: {rest: {cir: 20% of order}}",
}
"""Each measurement, as short as it can be."""
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
                "since": told["bgpTimerUpEstablishedEpoch"],
                "dropped": told["connectionsDropped"],
                "up_ms": told["bgpTimerUpMsec"],
                **counts,
            }
    return found


def configurations() -> list[str]:
    return [runs.command(str(frr.vtysh(router)), "-c", "show running-config") for router in ("ce-a", "vbr-a")]


def test_sessions_stand_through_every_measurement(tmp_path: Path) -> None:
    """All kinds of steps that the shipped scenarios have, on a CE whose BGP and BFD are read: no session falls, no
    message tells of a fall, each is up for longer than before, and not a line of configuration has changed."""
    shipped = {step.measure for path in SCENARIOS.glob("*.yaml") for step in load_scenario(path).steps}
    assert shipped - {CUTTING} == set(SHORT), "a new measurement has to be played here"
    order = tmp_path / "circuit.yaml"
    text = ORDER.read_text(encoding="utf-8")
    order.write_text(text.replace("      cloud_as: 45104\n", SLOW_BFD), encoding="utf-8")
    played = [f"{{id: s{at}, measure: {name}, {more}}}" for at, (name, more) in enumerate(SHORT.items())]
    control.up(LabSpec.from_circuit(load_circuit(order), bgp=True))
    try:
        before, was = sessions(), configurations()
        code, said = perfharness(tmp_path, *run_words(tmp_path, scenario(tmp_path, *played), str(order)))
        after = sessions()
        assert configurations() == was
    finally:
        control.down()
    assert code in (0, 1, 3), said
    tasks = [json.loads(path.read_bytes())["status"] for path in Result(tmp_path).path.glob("raw/*/task.json")]
    assert len(tasks) >= len(SHORT) and set(tasks) == {"completed"}, said
    established = Result(tmp_path).finding("bgp", "established", "none")
    assert (established["verdict"], established["value"]) == ("PASS", True), said
    assert {row["state"] for row in before.values()} == {"Established"} and len(before) == 4
    for name, row in after.items():
        up_ms = before[name].pop("up_ms")
        assert row.pop("up_ms") > up_ms and row == before[name], name
