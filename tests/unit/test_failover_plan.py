"""What a failover test will do, by its plan: the cut, the lease, who watches, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from perfharness.errors import BadInput, Refused
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import Scenario, find_shipped, load_scenario
from perfharness.order.vbr import Bfd, Bgp, HealthCheck
from perfharness.plan import make_plan, refuse_harm
from tests.unit.job_files import CIRCUIT


def a_scenario(tmp_path: Path, step: str, lease: str = "20s") -> Scenario:
    path = tmp_path / "scenario.yaml"
    path.write_text(f"format_version: 1\nid: f\ntitle: F\nlease: {lease}\nsteps:\n  - {step}\n", encoding="utf-8")
    return load_scenario(path)


def a_step(cut: str = "{command: [cut]}", restore: str = "{command: [restore]}", more: str = "") -> str:
    return f"{{id: cut, measure: failover, cut: {cut}, restore: {restore}{more}}}"


def test_agents_outlive_the_outage(tmp_path: Path) -> None:
    """The lease is as long as hosts may be out of reach, whatever the scenario says of it."""
    plan = make_plan(CIRCUIT, a_scenario(tmp_path, a_step(more=", down: 100s")))
    assert plan.lease_s > 60 + 100 + 60
    assert [act.undoes for act in plan.tasks[0].acts] == [False, True]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (a_step("{}"), "A hook is a command or asks a person"),
        (a_step("{command: [x], ask: Pull}"), "A hook is a command or asks a person"),
        (a_step(more=", flows: 64"), "64 flows at this interval are more than 10,000 packets/s each way"),
        (a_step(more=", before: 1s"), "before"),
        ("{id: cut, measure: failover, cut: {command: [x]}}", "restore"),
    ],
)
def test_a_hook_that_makes_no_sense_is_refused_with_its_line(tmp_path: Path, step: str, says: str) -> None:
    """What is cut must be given back, by a command or by a person."""
    with pytest.raises(BadInput) as error:
        make_plan(CIRCUIT, a_scenario(tmp_path, step))
    assert says in str(error.value) and "scenario.yaml:6" in str(error.value)


def test_any_step_can_be_done_without_the_circuit(tmp_path: Path) -> None:
    """What the other circuit carries alone: it is cut before the step and given back after it, whatever is measured."""
    without = "without: {cut: {command: [cut]}, restore: {ask: Plug}, settle: 5s}"
    (task,) = make_plan(CIRCUIT, a_scenario(tmp_path, f"{{id: s, measure: latency, duration: 5s, {without}}}")).tasks
    cut, restore = task.acts
    assert (cut.command, cut.after_s, cut.around, cut.undoes) == (("cut",), 5.0, True, False)
    assert (restore.ask, restore.around, restore.undoes) == ("Plug", True, True)
    with pytest.raises(BadInput, match="cut cuts the circuit itself"):
        make_plan(CIRCUIT, a_scenario(tmp_path, a_step(more=f", {without}")))


def test_the_steps_for_a_vpn_stand_ready(tmp_path: Path) -> None:
    """Uncommented, they look at the path and the path MTU while the circuit is cut, and answer EC-056."""
    shipped = find_shipped("failover").read_text(encoding="utf-8")
    head, _, ready = shipped.partition("  # A VPN that backs the circuit up")
    steps = "".join(line.replace("  # ", "  ", 1) for line in ready.splitlines(keepends=True)[1:])
    path = tmp_path / "scenario.yaml"
    path.write_text(head[: head.index("steps:")] + "steps:\n" + steps, encoding="utf-8")
    scenario = load_scenario(path)
    tasks = make_plan(CIRCUIT, scenario).tasks
    assert [(task.measurement, len(task.acts)) for task in tasks] == [("path", 2), ("pmtu", 2)]
    assert {row for step in scenario.steps for spec in step.judge for row in spec.rows} == {"EC-056"}
    assert CIRCUIT.ordered("objectives.vpn_pmtu", CIRCUIT.pairs[0]) is None  # then the scenario's default


@pytest.mark.parametrize(
    ("more", "allowed_ns"),
    [
        ({"health_check": HealthCheck()}, 17_000_000_000),
        ({"health_check": HealthCheck(), "bgp": Bgp(customer_as=65010, bfd=Bfd())}, 4_000_000_000),
    ],
)
def test_what_notices_first_bounds_an_outage(more: dict[str, Any], allowed_ns: int) -> None:
    """2 s × 8 packets of a health check, or BFD's 1 s × 3 where there is one too; and a second to reroute."""
    (vbr,) = CIRCUIT.vbrs
    circuit = CIRCUIT.model_copy(update={"vbrs": (vbr.model_copy(update={"bgp": None, **more}),)})
    ordered = circuit.ordered("objectives.outage", circuit.pairs[0])
    assert ordered is not None and ordered.value == allowed_ns


def test_a_circuit_in_service_is_cut_within_its_window_only(tmp_path: Path) -> None:
    """However little the probes load it (EC-002)."""
    tasks = make_plan(CIRCUIT, a_scenario(tmp_path, a_step())).tasks
    refuse_harm(tasks, CIRCUIT, datetime(2027, 5, 9, tzinfo=UTC))
    in_service = CIRCUIT.model_copy(update={"in_service": True})
    with pytest.raises(Refused, match=r"or cut it: 01-cut\. Name a change ticket"):
        refuse_harm(tasks, in_service, datetime(2027, 5, 9, tzinfo=UTC))


def test_both_routers_of_a_pair_are_watched(tmp_path: Path) -> None:
    """The CE of the companion too, where its file says how it is reached."""
    text = find_shipped("circuits/example-10g-production").read_text()
    other = find_shipped("circuits/example-10g-production-b").read_text()
    ce = "ce: {{name: {0}, ssh: {{host: {0}}}, lan: eth0, wan: eth1}}\n"
    for name, content, router in (("a.yaml", text, "ce-sh-1"), ("b.yaml", other, "ce-sh-2")):
        assert content.count(f"ce: {router}\n") == 1
        content = content.replace(f"ce: {router}\n", ce.format(router))
        content = content.replace("example-10g-production-b.yaml  ", "b.yaml  ").replace(
            "example-10g-production.yaml", "a.yaml"
        )
        (tmp_path / name).write_text(content, encoding="utf-8")
    circuit = load_circuit(tmp_path / "a.yaml")
    (task,) = make_plan(circuit, a_scenario(tmp_path, a_step())).tasks
    watched = [job.endpoint for job in task.jobs if job.method == "edge.watch"]
    assert watched == ["ce-sh-1", "ce-sh-2"]
    counted = [job.endpoint for job in task.jobs if job.id == "counters-wan"]
    assert counted == ["ce-sh-1", "ce-sh-2"]
    assert circuit.host("ce-sh-2").ssh.host == "ce-sh-2"
