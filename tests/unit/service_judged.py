"""A made-up service configuration, judged by what its services require."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from perfharness.judge.judge import judge
from perfharness.model import Direction, Finding, Measurement, Task, Verdict
from perfharness.order.scenario import Scenario, load_scenario
from perfharness.plan import with_own_criteria
from tests.unit.job_files import CIRCUIT
from tests.unit.probe_stream import Packet
from tests.unit.service_files import Fates, store, tasks

GOLD = {"cir": "20Mbps", "eir": "10Mbps", "dscp": "EF", "flr": "5e-3", "ftd": "40ms", "fdv": "2ms"}
CONFIG: dict[str, Any] = {"services": {"gold": GOLD}, "step": "4s", "direction": "a-z"}
HEAD = "format_version: 1\nid: s\ntitle: t\nsteps:\n  - id: step\n"


def scenario_of(tmp_path: Path, measure: str, text: str = "") -> Scenario:
    path = tmp_path / "s.yaml"
    path.write_text(f"{HEAD}    measure: {measure}\n{text}")
    return load_scenario(path)


def judged(found: Measurement, params: dict[str, Any], tmp_path: Path) -> list[Finding]:
    """By what the services themselves require."""
    text = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in params.items())
    scenario = with_own_criteria(scenario_of(tmp_path, found.task.measurement, text), CIRCUIT)
    rows = judge(CIRCUIT, scenario, [found], (), date(2027, 1, 1), {})
    return [row for row in rows if row.task == found.task.id and row.operator]


def configured(tmp_path: Path, fate: Fates, probes: Any = Packet, **params: Any) -> tuple[Measurement, list[Finding]]:
    asked = {**CONFIG, **params}
    (task,) = tasks("service-configuration", **asked)
    found = store(tmp_path / "run", task, fate, probes=probes)
    return found, judged(found, asked, tmp_path)


def verdict(rows: list[Finding], metric: str, load: str, operator: str = "", way: Direction | None = None) -> Verdict:
    (row,) = (
        row
        for row in rows
        if (row.metric, row.scope.load) == (metric, load)
        and operator in ("", row.operator)
        and way in (None, row.scope.direction)
    )
    return row.verdict


def phase_of(task: Task, name: str) -> dict[str, Any]:
    load = next(job for job in task.jobs if job.method == "load.drive")
    return next(phase for phase in load.args["phases"] if phase["name"] == name)
