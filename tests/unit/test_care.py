"""What holds while a circuit in service is loaded: guards, the window, and what comes after harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perfagent.wire import Code
from perfharness import evidence
from perfharness.care import SUFFERED, Care, Harm
from perfharness.collect import collect
from perfharness.errors import BadInput
from perfharness.measurements import guarding
from perfharness.model import Plan, Role, Status, Task
from perfharness.order.circuit import Circuit
from perfharness.order.scenario import load_scenario
from perfharness.plan import from_json, make_plan, to_json
from tests.unit.test_collect import FakeSession, Watcher
from tests.unit.test_plan import NOW, lab, live, load_like

HARM = "the load was ended 0.4 s after it began to do harm: probes lost 31 % (limit 5 %)"


def loads(circuit: Circuit) -> list[Task]:
    return [task for task in make_plan(circuit, load_scenario("smoke")).tasks if any(job.load for job in task.jobs)]


def in_window(left_s: float, **more: object) -> Circuit:
    end = NOW + timedelta(seconds=left_s)
    return live(window_start=(NOW - timedelta(hours=1)).isoformat(), window_end=end.isoformat(), **more)


# --- what is planned ----------------------------------------------------------------------------


def test_each_load_in_service_has_a_guard() -> None:
    """Probes of its own, on a port that the load leaves free, begun before it, longer than it; none out of service."""
    for task in loads(live()):
        guard = next(job for job in task.jobs if job.id == guarding.GUARD)
        assert guard.role is Role.WATCH and guard.deadline_s > max(job.deadline_s for job in task.jobs if job.load)
        assert guard.args["guard"]["window_ns"] >= 20 * guard.args["interval_ns"]
        used = [use.port for use in task.ports]
        assert used.count(guard.args["port"]) == 1
        assert task.jobs[-1] is guard
    assert all(task.guard is None for task in loads(lab()))


def test_the_guards_probes_are_part_of_the_ordered_rate() -> None:
    """A load at the ordered rate and all probes beside it are what was ordered and no more."""
    udp = next(task for task in loads(live()) if task.scope.load == "udp")
    assert udp.load_bps == lab().committed_bps(("onprem-a", "ecs-a"))


def test_the_limits_are_those_of_the_order() -> None:
    """``change: guard:`` says them; what it leaves out has a default."""
    guard = loads(live(guard={"loss": "2%", "delay": "50ms"}))[0].guard
    assert guard is not None
    assert (guard.loss, guard.delay_ns, guard.background) == (0.02, 50_000_000, 0.3)


def test_a_guard_needs_a_port() -> None:
    """Without one for it the load is not planned, and the place to mend is named."""
    data = lab().source.data
    few = {**data["endpoints"], "ecs-a": {**data["endpoints"]["ecs-a"], "ports": "862, 5201-5202"}}
    circuit = load_like(few).model_copy(update={"in_service": True})
    circuit._source = lab().source
    with pytest.raises(BadInput, match="allows no port for the probes that guard"):
        make_plan(circuit, load_scenario("smoke"))


def test_what_is_not_watched_is_said() -> None:
    """Without the counters of the CE nobody sees others' traffic."""
    assert Care(live()).notes(loads(live())) == list(guarding.unwatched(loads(live()), live()))
    assert "Others' traffic is not watched" in Care(live()).notes(loads(live()))[0]
    assert Care(lab()).notes(loads(lab())) == []


def test_a_plan_without_guards_is_still_read() -> None:
    """Run folders of before say nothing of loads and guards."""
    plan = to_json(make_plan(lab(), load_scenario("smoke")))
    for task in plan["tasks"]:
        del task["guard"]
        for job in task["jobs"]:
            del job["load"]
    assert all(task.guard is None for task in from_json(plan, "plan.json").tasks)


# --- the window ---------------------------------------------------------------------------------


def test_nothing_is_begun_that_the_window_has_no_room_for() -> None:
    """Over, or too short for the task; light tasks need none."""
    heavy = loads(live())[0]
    for left_s, said in ((-5, "is over"), (heavy.duration_s, "the change window ends in"), (60, "")):
        care = Care(in_window(left_s), now=lambda: NOW)
        assert said in care.refuses(heavy) and bool(said) == bool(care.refuses(heavy))
    light = replace(heavy, load_bps=1)
    assert Care(in_window(-5), now=lambda: NOW).refuses(light) == ""
    assert Care(lab(), now=lambda: NOW).window_s(heavy) is None


def test_jobs_are_started_with_what_is_left_of_the_window() -> None:
    """A second less, for requests on their way and for ending."""
    assert Care(in_window(60), now=lambda: NOW).window_s(loads(live())[0]) == 59.0


# --- harm ---------------------------------------------------------------------------------------


class Tripping(FakeSession):
    """Its guard trips while the driver is waited for."""

    def __init__(self, care: Care, *words: Any) -> None:
        super().__init__(*words)
        self.care = care

    def wait_done(self, job: str, deadline_s: float) -> dict[str, Any]:
        if job.startswith("01.client") and f"stop {job}" not in self.log:
            self.care.heard("z", {"event": "tripped", "job": "01.guard", "data": {"reason": HARM}})
        return super().wait_done(job, deadline_s)


def two_loads() -> Plan:
    one = loads(live())[0]
    tasks = [replace(one, id="01"), replace(one, id="02"), replace(one, id="03", jobs=one.jobs[:1], guard=None)]
    watch_only = replace(tasks[2].jobs[0], role=Role.DRIVE)
    return Plan("c", "s", (*tasks[:2], replace(tasks[2], jobs=(watch_only,))), 5.0)


def run(tmp_path: Path, ends: Mapping[str, str]) -> tuple[Any, evidence.RunFolder, list[str]]:
    care, log, plan = Care(in_window(3600), now=lambda: NOW), [], two_loads()
    fleet: Any = {host: Tripping(care, log, host, ends) for host in ("onprem-a", "ecs-a")}
    folder = evidence.create(tmp_path, "c", "r", {})
    return collect(plan, plan.tasks, fleet, folder, Watcher(), care=care), folder, log


def test_harm_ends_the_load_everywhere_and_no_other_is_begun(tmp_path: Path) -> None:
    """The load's jobs are ended before anything else, the task says why; later loads are skipped, the rest is done."""
    client = next(job.id for job in two_loads().tasks[0].jobs if job.id.startswith("client"))
    ending, folder, log = run(tmp_path, {f"01.{client}": "lost"})
    outcomes = {name: folder.files(name).outcome() or {} for name in ("01", "02", "03")}
    assert {name: each["status"] for name, each in outcomes.items()} == {
        "01": "aborted",
        "02": "skipped",
        "03": "completed",
    }
    assert (outcomes["01"]["reason"], outcomes["02"]["reason"]) == (HARM, SUFFERED)
    stops = [line for line in log if line.startswith("stop 01")]
    assert {line.split(".")[1].split("-")[0] for line in stops[:2]} <= {"client", "server"}
    assert any(HARM in note for note in ending.notes)
    assert "start 02.counters" not in log


def test_what_an_agent_ended_for_its_guard_is_harm_too() -> None:
    """When the event was lost with a connection, the state of the job tells it."""
    heavy = loads(live())[0]
    care = Care(in_window(3600), now=lambda: NOW)
    care.begin(heavy)
    care.before(next(job for job in heavy.jobs if job.load))
    care.ended_by_guard()
    assert care.refuses(heavy) == SUFFERED
    assert int(Code.GUARD) == 29


def test_harm_before_the_load_is_not_the_loads() -> None:
    """A guard that trips before the load was begun keeps it from that, and is no reason against the next."""
    heavy = loads(live())[0]
    care = Care(in_window(3600), now=lambda: NOW)
    care.begin(heavy)
    care.heard("onprem-a", {"event": "tripped", "job": f"{heavy.id}.guard", "data": {"reason": HARM}})
    with pytest.raises(Harm):
        care.before(next(job for job in heavy.jobs if job.load))
    assert care.refuses(heavy) == ""


def test_events_of_other_tasks_are_no_harm() -> None:
    """What comes late of a task that is over is not held against the next; what is not ours goes on to who watches."""
    seen: list[str] = []
    care = Care(in_window(3600), lambda host, event: seen.append(event["event"]), now=lambda: NOW)
    care.begin(loads(live())[0])
    care.heard("onprem-a", {"event": "tripped", "job": "00-other.guard", "data": {"reason": HARM}})
    care.heard("onprem-a", {"event": "live", "job": "x.y", "data": {}})
    care.check()
    assert seen == ["live"]
    assert Status.SKIPPED.value == "skipped"


def test_the_counters_of_the_ce_and_of_the_on_prem_host_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others that fill the circuit before the load keep it from beginning; the cloud end's counters have no say."""
    ce = {"name": "ce-a", "ssh": {"host": "ce-a"}, "lan": "core", "wan": "wan"}
    circuit = Circuit.model_validate({**lab().source.data, "in_service": True, "ce": ce})
    heavy = next(task for task in loads(circuit) if task.scope.load == "udp")
    care, now_ns = Care(circuit), 0
    monkeypatch.setattr("perfharness.care.time.monotonic_ns", lambda: now_ns)
    care.begin(heavy)
    for step in range(20):
        now_ns = step * 100_000_000
        for host, job, all_bytes in (("ce-a", "counters-wan", step * 5_000_000), ("onprem-a", "counters", 0)):
            data = {"tx_bytes": all_bytes, "rx_bytes": all_bytes, "tx_packets": 0, "rx_packets": 0}
            care.heard(host, {"event": "counted", "job": f"{heavy.id}.{job}", "data": data})
        care.heard("ecs-a", {"event": "counted", "job": f"{heavy.id}.counters", "data": {}})
    with pytest.raises(Harm, match=r"others already send 400\.0 Mbit/s"):
        care.before(next(job for job in heavy.jobs if job.load))


def test_what_every_on_prem_host_of_several_pairs_sends_is_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the second pair's host sends is not others'; without its word nothing is known of them."""
    ce = {"name": "ce-a", "ssh": {"host": "ce-a"}, "lan": "core", "wan": "wan"}
    circuit = Circuit.model_validate({**lab().source.data, "in_service": True, "ce": ce})
    heavy = next(task for task in loads(circuit) if task.scope.load == "udp")
    heavy = replace(heavy, scope=replace(heavy.scope, pair="onprem-a+onprem-b:ecs-a+ecs-b"))
    care, now_ns = Care(circuit), 0
    monkeypatch.setattr("perfharness.care.time.monotonic_ns", lambda: now_ns)
    care.begin(heavy)
    for step in range(20):
        now_ns = step * 100_000_000
        for host, job, rate in (("ce-a", "counters-wan", 1), ("onprem-a", "counters", 0), ("onprem-b", "counters", 1)):
            of_bytes = step * 5_000_000 * rate
            data = {"tx_bytes": of_bytes, "rx_bytes": of_bytes, "tx_packets": 0, "rx_packets": 0}
            care.heard(host, {"event": "counted", "job": f"{heavy.id}.{job}", "data": data})
    care.before(next(job for job in heavy.jobs if job.load))
    care.check()
    assert care.blind() == ""
