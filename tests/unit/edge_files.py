"""The files that a step `edge` leaves of a router, made up from recorded outputs, and what is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from perfharness import evidence
from perfharness.judge.edge import edge
from perfharness.judge.judge import judge
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Diagnosis, Finding, Measurement
from perfharness.order.circuit import Circuit, load_circuit
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.plan import make_plan, to_json, with_own_criteria
from tests.unit.routers import outputs

SCENARIO = """\
format_version: 1
id: edge
title: edge
steps:
  - {id: edge, measure: edge, sweep: true}
  - {id: edge-after, measure: edge, stable: true}
"""
CE = """\
ce:
  name: ph-ce-a
  platform: frr
  ssh: {host: ce-a}
  lan: lan
  wan: wan
"""
AT_NS = 1_800_000_000_000_000_000
VBR, HOST, ECS = "172.16.100.1", "10.10.0.10", "192.168.10.10"


def order(folder: Path, ce: str = CE, **changed: str) -> Circuit:
    """The lab's, with a CE that can be read and other words in place of some."""
    text = find_shipped("circuits/lab").read_text(encoding="utf-8").replace("ce: ph-ce-a\n", ce)
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "circuit.yaml").write_text(text, encoding="utf-8")
    return load_circuit(folder / "circuit.yaml")


def port(**changed: Any) -> dict[str, Any]:
    """The router's port towards the circuit, as the agent tells it."""
    counters = {"rx_packets": 1000, "rx_crc_errors": 0, "rx_dropped": 0}
    return {
        "name": "wan",
        "kind": None,
        "vlan": None,
        "up": True,
        "carrier": True,
        "carrier_changes": 2,
        "mtu": 1500,
        "mac": "02:00:00:00:00:01",
        "speed_bps": 10**9,
        "duplex": "full",
        "autoneg": False,
        "driver": "ixgbe",
        "addresses": ["172.16.100.2/30"],
        "counters": counters | changed.pop("counters", {}),
    } | changed


def netlink(*more: dict[str, Any], lookups: Mapping[str, Any] | None = None, **changed: Any) -> str:
    ways = {ECS: {"gateway": VBR, "interface": "wan"}, HOST: {"gateway": "10.10.255.253", "interface": "lan"}}
    told = {"interfaces": [port(**changed), *more], "neighbours": [], "lookups": ways | dict(lookups or {})}
    return json.dumps(told)


class Router:
    """What one reading leaves; all is well until something is changed."""

    def __init__(self, case: str = "frr") -> None:
        self.outputs = outputs(case) | {"netlink": netlink()}
        self.heard = [100]
        self.port: str | None = None
        self.fault = ""
        self.untagged_fault = ""
        self.host: Any = {"route": {"gateway": "10.10.0.1", "interface": "eth0"}, "reason": ""}
        self.ecs: Any = {"route": {"gateway": "192.168.10.1", "interface": "eth0"}, "reason": ""}

    def change(self, output: str, old: str, new: str) -> Router:
        assert old in self.outputs[output]
        self.outputs[output] = self.outputs[output].replace(old, new)
        return self

    def leave(self, folder: evidence.RunFolder, task: Any, at_ns: int, absent: bool = False) -> None:
        for job in task.jobs:
            if absent and job.optional:
                continue
            where = f"raw/{task.id}/{job.endpoint}.{job.id}"
            fault = {"edge.read": self.fault, "router.show": self.fault, "link.tagged": self.untagged_fault}
            error = fault.get(job.method, "")
            if job.method == "path.route":
                data = self.host if job.endpoint == "onprem-a" else self.ecs
            elif job.method == "link.tagged":
                asked = [job.args["vlan"], 0, *job.args["others"]]
                data = {"asked": asked, "answers": [{"vlan": tag, "mac": "02:00:00:00:00:02"} for tag in self.heard]}
            else:
                told = {name: {"command": name, "exit_code": 0, "cut": False} for name in self.outputs}
                data = {"t_ns": at_ns, "outputs": told, "port": self.port}
                for name, text in self.outputs.items() if not error else ():
                    folder.write(f"{where}/{name}.txt", text.encode())
            result = {
                "format_version": 1,
                "status": "failed" if error else "completed",
                "error": {"code": 23, "message": error} if error else None,
                "data": {} if error else data,
            }
            folder.write_json(f"{where}/result.json", result)
        noted = {"status": "completed", "reason": "", "started_ns": at_ns, "ended_ns": at_ns + 1}
        folder.write_json(f"raw/{task.id}/task.json", noted)


class Judged:
    """A run of the two steps, and what it says."""

    def __init__(
        self,
        tmp_path: Path,
        first: Router | None = None,
        then: Router | None = None,
        circuit: Circuit | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """``notes``: with any the router was absent, and these are the run's."""
        circuit = circuit or order(tmp_path)
        (tmp_path / "scenario.yaml").write_text(SCENARIO, encoding="utf-8")
        scenario = with_own_criteria(load_scenario(tmp_path / "scenario.yaml"), circuit)
        plan = make_plan(circuit, scenario)
        folder = evidence.create(tmp_path, "c", "r", {})
        folder.write_json("plan.json", to_json(plan))
        first = first or Router()
        for number, (task, router) in enumerate(zip(plan.tasks, (first, then or first), strict=True)):
            router.leave(folder, task, AT_NS + number * 60_000_000_000, absent=bool(notes))
        folder.write_json("end.json", {"format_version": 1, "notes": list(notes)})
        context = Context(circuit, circuit.endpoint("onprem-a"), circuit.endpoint("ecs-a"))
        kind = REGISTRY["edge"]
        self.measurements: tuple[Measurement, ...] = tuple(
            kind.analyse(task, folder.files(task.id), context) for task in plan.tasks
        )
        found = judge(circuit, scenario, self.measurements, (), date(2026, 1, 1), {})
        self.findings: tuple[Finding, ...] = tuple(found)
        self.causes: dict[str, Diagnosis] = {each.cause: each for each in edge(self.findings, self.measurements)}

    def finding(self, name: str, step: str = "edge") -> Finding:
        """By ``metric.statistic``."""
        return next(
            row for row in self.findings if f"{row.metric}.{row.statistic}" == name and row.task.endswith(f"-{step}")
        )

    def verdict(self, name: str, step: str = "edge") -> str:
        return self.finding(name, step).verdict.value

    def rests_on(self, cause: str) -> set[str]:
        """The findings that this cause names, by ``metric.statistic``."""
        named = set(self.causes[cause].findings)
        return {f"{row.metric}.{row.statistic}" for row in self.findings if row.id in named}
