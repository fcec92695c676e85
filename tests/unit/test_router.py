"""A router's own reflector as an end of a pair: the order, the plan, what its replies tell, and what is judged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from perfharness import dryrun, evidence, preflight
from perfharness.errors import BadInput
from perfharness.evaluate import _analysed
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.judge import judge
from perfharness.judge.verdict import decide
from perfharness.measurements import measurable
from perfharness.measurements.latency_router import STAGE
from perfharness.model import Criterion, Direction, Finding, Measurement, Observation, Segment, Status, Task, Verdict
from perfharness.order.circuit import Circuit, Endpoint, Router, load_circuit
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.order.sense import must_make_sense
from perfharness.plan import hosts, make_plan
from perfharness.report import html
from tests.unit.job_files import counters
from tests.unit.probe_stream import KERNEL, START_UNIX_NS, USER, Packet, files
from tests.unit.run_builder import passing

LAB = find_shipped("circuits/lab")
ROUTER = "  vbr-a:\n    site: cloud\n    reflector: {}\n    address: 172.16.100.1\n"
TRIP = Direction.ROUND_TRIP
TODAY = date(2027, 1, 1)


def with_router(folder: Path, only: bool = False, entry: str = ROUTER) -> Path:
    """The lab's circuit with a VBR that reflects; ``only``: and without a cloud host."""
    text = LAB.read_text()
    start, end = text.index("  ecs-a:"), text.index("contacts:")
    host = "" if only else text[start:end].rstrip() + "\n"
    path = folder / "circuit.yaml"
    path.write_text(text[:start] + host + entry + "\n" + text[end:])
    return path


@pytest.fixture
def both(tmp_path: Path) -> Circuit:
    return load_circuit(with_router(tmp_path))


@pytest.fixture
def alone(tmp_path: Path) -> Circuit:
    return load_circuit(with_router(tmp_path, only=True))


# --- the order and the plan ---------------------------------------------------------------------


def test_a_router_is_an_endpoint_without_a_login(both: Circuit) -> None:
    """Site, address and the reflector are all that is said; it makes sense and is paired with the first host."""
    router = both.end("vbr-a")
    assert isinstance(router, Router) and router.reflector.port == 862
    assert must_make_sense(both, TODAY) == []
    assert both.pairs == (("onprem-a", "ecs-a"), ("onprem-a", "vbr-a"))
    assert [host.name for host in both.hosts] == ["onprem-a", "ecs-a"]


def test_only_latency_is_planned_to_a_router(both: Circuit) -> None:
    """One task with jobs on the host alone; its stream takes replies without a session id. No host is added."""
    plan = make_plan(both, load_scenario("acceptance"))
    tasks = [task for task in plan.tasks if task.scope.pair == "onprem-a:vbr-a"]
    assert {task.measurement for task in tasks} == {"latency"}
    assert {job.endpoint for task in tasks for job in task.jobs} == {"onprem-a"}
    for task in tasks:
        send = next(job for job in task.jobs if job.method == "stamp.send")
        assert (send.args["peer"], send.args["port"], send.args["zero_ssid"]) == ("172.16.100.1", 862, True)
        assert set(task.yields["loss"]) == {TRIP}
        assert not {"delay.oneway", "variation.ipdv", "reordering"} & set(task.yields)
    assert hosts(plan.tasks) == ["onprem-a", "ecs-a"]


def test_an_on_prem_router_is_probed_from_the_cloud(tmp_path: Path) -> None:
    """The host sends, whichever side it is on."""
    entry = "  ce-a:\n    site: onprem\n    reflector: {port: 4862}\n    address: 172.16.100.2\n"
    plan = make_plan(load_circuit(with_router(tmp_path, entry=entry)), load_scenario("smoke"))
    (task,) = [task for task in plan.tasks if task.scope.pair == "ce-a:ecs-a"]
    assert {job.endpoint for job in task.jobs} == {"ecs-a"}
    assert [(use.source, use.target, use.port) for use in task.ports] == [("ecs-a", "ce-a", 4862)]


def test_plan_and_firewall_name_the_router(both: Circuit, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its UDP port is asked of the firewall team; there is no SSH to it and nothing listens there for us."""
    path = tmp_path / "circuit.yaml"
    dryrun.show_plan(path, "smoke", ("latency",), False, Console())
    said = capsys.readouterr().out
    assert "vbr-a: 172.16.100.1, router's reflector, UDP 862, no agent" in said
    assert "vbr-a: ssh" not in said
    dryrun.show_plan(path, "smoke", ("latency",), True, Console())
    said = capsys.readouterr().out
    assert "allow udp from 10.10.0.10 to 172.16.100.1 port 862    # STAMP probes to a router's own reflector" in said
    assert said.strip().endswith("SSH from the coordinator to onprem-a, ecs-a")


def test_nobody_connects_to_a_router(both: Circuit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`check` and `clean` reach the hosts only."""
    reached: list[list[str]] = []

    def reach(ends: Sequence[Endpoint], *_: object) -> nullcontext[None]:
        reached.append([end.name for end in ends])
        return nullcontext()

    monkeypatch.setattr(preflight, "Fleet", reach)
    monkeypatch.setattr(preflight, "must_be_usable", lambda *_: {})
    monkeypatch.setattr(preflight, "clean_hosts", lambda ends: reach(ends) and ())
    preflight.check(tmp_path / "circuit.yaml", Console())
    preflight.clean(tmp_path / "circuit.yaml", Console())
    assert reached == [["onprem-a", "ecs-a"]] * 2


def test_a_scenario_with_nothing_for_a_router_is_refused(alone: Circuit, tmp_path: Path) -> None:
    """Where no pair has two hosts, a plan without `latency` would measure nothing."""
    path = tmp_path / "s.yaml"
    path.write_text("format_version: 1\nid: s\ntitle: t\nsteps:\n  - {id: x, measure: pmtu}\n")
    with pytest.raises(BadInput, match="Nothing of s can be measured to a router that takes no agent"):
        make_plan(alone, load_scenario(path))


# --- what the replies tell ------------------------------------------------------------------------


def latency_task(circuit: Circuit) -> Task:
    context, kinds = measurable(circuit, ("onprem-a", "vbr-a"))
    (task,) = kinds["latency"].tasks(kinds["latency"].parameters.model_validate({"duration": "2s"}), "latency", context)
    return task


def analysed(
    tmp_path: Path, circuit: Circuit, packets: Sequence[Packet], numbers: dict[str, Any] | None = None
) -> Measurement:
    """Write what the host's jobs would have left, and analyse it."""
    task = latency_task(circuit)
    folder = evidence.create(tmp_path, "c", "r", {})
    rec, _, result = files(list(packets))
    users = sum(packet.sources[0] == USER for packet in packets)
    data = {
        **result,
        "sent": len(packets),
        "missed": 0,
        "send_errors": 0,
        "rxq_dropped": 0,
        "foreign": 0,
        "refused": {"short": 3},
        "extensions": {"zero SSID": len(packets)},
        "start_unix_ns": START_UNIX_NS,
        "stamps": {end: {"kernel": len(packets) - users, "user": users} for end in ("t1", "t4")},
        "reflector": {"own_numbers": False, "first": None, "last": None, "error_word": 1, **(numbers or {})},
    }
    sender = next(job for job in task.jobs if job.id == "probe")
    told = {
        "format_version": 1,
        "status": "completed",
        "args": dict(sender.args),
        "data": data,
        "ended_ns": START_UNIX_NS + 2_000_000_000,
    }
    folder.write_json("raw/latency/onprem-a.probe/result.json", told)
    folder.write("raw/latency/onprem-a.probe/sender.rec", rec)
    folder.write("raw/latency/onprem-a.counters/counters.jsonl", counters())
    folder.write_json("raw/latency/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return _analysed(task, folder, circuit)


def stream(lost: int = 0, **more: Any) -> list[Packet]:
    packets = [Packet(seq, **more) for seq in range(2000)]
    for packet in packets[100 : 100 + lost]:
        packet.backward_ns = None
    return packets


def find(found: Measurement, metric: str, statistic: str) -> Observation:
    return next(seen for seen in found.observations if (seen.metric, seen.statistic) == (metric, statistic))


def verdict(found: Measurement, metric: str, statistic: str, limit: float) -> Verdict:
    unit = "1" if metric in ("loss", "availability") else "ns"
    return decide(
        find(found, metric, statistic), Criterion(metric, statistic, "<=", limit, unit, "test"), found.fitness
    )[0]


def test_a_clean_stream_passes(tmp_path: Path, both: Circuit) -> None:
    """RTT less the router's turnaround, variation and round-trip loss are proven; the host alone is judged fit."""
    found = analysed(tmp_path, both, stream())
    assert found.status is Status.COMPLETED, found.reason
    assert [(row.host, row.fit) for row in found.fitness] == [("onprem-a", True)]
    assert find(found, "delay.rtt", "p50").value == pytest.approx(22_000_000 + 16_000)
    assert verdict(found, "delay.rtt", "p99", 25_000_000) is Verdict.PASS
    assert verdict(found, "variation.pdv", "p99", 1_000_000) is Verdict.PASS
    assert verdict(found, "loss", "ratio", 0.01) is Verdict.PASS
    assert find(found, "availability", "ratio").value == 1.0


@pytest.mark.parametrize("lost", [60, 1500])
def test_loss_is_never_the_circuits_nor_of_a_direction(tmp_path: Path, both: Circuit, lost: int) -> None:
    """The router may have dropped it all: no FAIL of loss or delay, no PASS either; and the ledger says whose it may
    be."""
    found = analysed(tmp_path, both, stream(lost))
    assert {seen.scope.direction for seen in found.observations if seen.metric == "loss"} == {TRIP}
    assert verdict(found, "loss", "ratio", 0.01) is Verdict.INCONCLUSIVE
    assert verdict(found, "delay.rtt", "p99", 25_000_000) is Verdict.INCONCLUSIVE
    assert find(found, "loss", "ratio").value == lost / 2000
    assert {row.scope.direction for row in found.ledger} == {TRIP}
    (row,) = [row for row in found.ledger if row.stage == STAGE]
    assert (row.packets_lo, row.packets_hi, row.segment) == (0, lost, Segment.CLOUD_EDGE)
    assert row.counter == "unknown: vbr-a takes no agent"
    assert all(row.fit for row in found.fitness)


def test_a_slow_router_fails_no_circuit_but_a_long_way_does(tmp_path: Path, both: Circuit) -> None:
    """One reply in ten is late: undecided. When even the least round trip is above the objective, that is the way."""
    packets = stream()
    for packet in packets[::10]:
        packet.backward_ns = 40_000_000
    found = analysed(tmp_path / "slow", both, packets)
    assert verdict(found, "delay.rtt", "p99", 30_000_000) is Verdict.INCONCLUSIVE
    assert verdict(found, "variation.pdv", "p99", 5_000_000) is Verdict.INCONCLUSIVE
    found = analysed(tmp_path / "far", both, stream())
    assert verdict(found, "delay.rtt", "p99", 20_000_000) is Verdict.FAIL


@pytest.mark.parametrize("turnaround_ns", [-50_000_000, 60_000_000])
def test_stamps_that_cannot_be_are_not_subtracted(tmp_path: Path, both: Circuit, turnaround_ns: int) -> None:
    """A turnaround of less than no time, or of more than the round trip: the whole way counts, no packet is left
    out, and it may all be the router's: that fails nothing."""
    packets = [Packet(seq, turnaround_ns=turnaround_ns, backward_ns=12_000_000 - turnaround_ns) for seq in range(2000)]
    found = analysed(tmp_path, both, packets)
    seen = find(found, "delay.rtt", "p99")
    assert (seen.value, seen.n) == (22_000_000, 2000)
    assert found.facts["prober"]["stamps"] == {"kernel/absent": 2000}
    assert verdict(found, "delay.rtt", "p99", 25_000_000) is Verdict.PASS
    assert verdict(found, "delay.rtt", "p99", 20_000_000) is Verdict.INCONCLUSIVE


def test_one_way_delay_is_absent_with_a_sentence(tmp_path: Path, both: Circuit) -> None:
    """No clock vouches for it: no value, and why."""
    found = analysed(tmp_path, both, stream())
    seen = [seen for seen in found.observations if seen.metric == "delay.oneway"]
    assert seen and all(one.value is None and "clock of a router" in one.reason for one in seen)


def test_a_reflector_that_counts_tells_a_split_as_a_fact(tmp_path: Path, both: Circuit) -> None:
    """Ten lost of which its own numbers say that it answered all: told in words, no direction's figure."""
    numbers = {"own_numbers": True, "first": (0, 500), "last": (1999, 2499)}
    said = find(analysed(tmp_path, both, stream(10), numbers), "loss", "ratio").reason
    assert "0 of 1,999 were not answered" in said and "10 of 1,999 answers did not arrive" in said
    assert "which direction they went nobody knows" in said


def test_a_silent_router_is_a_failed_measurement(tmp_path: Path, both: Circuit) -> None:
    """No reply at all says nothing of the circuit: the sentence asks for the reflector and the filters."""
    found = analysed(tmp_path, both, stream(0, forward_ns=None))
    assert found.status is Status.FAILED
    assert "vbr-a answered none of 2,000 probes on UDP 862; packets came that are no replies: 3 short" in found.reason


def test_a_host_without_kernel_stamps_is_unfit(tmp_path: Path, both: Circuit) -> None:
    """The host's own two stamps are asked for as ever; the router's cannot be."""
    found = analysed(tmp_path, both, stream(sources=(USER, KERNEL, KERNEL, USER)))
    assert ["kernel time stamps" in reason for row in found.fitness for reason in row.reasons] == [True]


# --- what is judged ---------------------------------------------------------------------------------


def judged(circuit: Circuit, taken: Sequence[Measurement]) -> tuple[Finding, ...]:
    return judge(circuit, load_scenario("smoke"), taken, (), TODAY, {})


def not_run(circuit: Circuit) -> list[Measurement]:
    tasks = make_plan(circuit, load_scenario("smoke")).tasks
    return [Measurement(task, Status.SKIPPED, reason="test") for task in tasks]


def test_what_other_pairs_answer_is_not_applicable_to_a_router(both: Circuit) -> None:
    """Path MTU or throughput to the router: one sentence for each criterion; the hosts' pair is judged as ever."""
    found = [finding for finding in judged(both, not_run(both)) if finding.scope.pair == "onprem-a:vbr-a"]
    by_metric = {finding.metric: finding for finding in found}
    for metric in ("pmtu", "throughput.udp", "reordering"):
        assert by_metric[metric].verdict is Verdict.NOT_APPLICABLE
        assert "vbr-a is a router that answers probes by itself" in by_metric[metric].reason
    assert by_metric["delay.rtt"].verdict is Verdict.NOT_RUN
    assert {finding.scope.direction for finding in found if finding.metric == "loss" and finding.task} == {TRIP}


def test_what_no_pair_answers_is_not_run(alone: Circuit) -> None:
    """A circuit measured to a router only has not shown its throughput: that is no pass."""
    found = {finding.metric: finding for finding in judged(alone, not_run(alone)) if finding.mandatory}
    for metric in ("pmtu", "throughput.udp"):
        assert (found[metric].verdict, found[metric].mandatory) == (Verdict.NOT_RUN, True)
        assert "vbr-a is a router" in found[metric].reason


def test_the_report_says_what_the_router_is_and_what_was_not_measured(tmp_path: Path, both: Circuit) -> None:
    """It is named with its port and that no agent was there; loss stands for the round trip, one-way delay is told
    absent."""
    packets = stream(60)
    for packet in packets[::7]:
        packet.forward_ns = 10_100_000
    found = analysed(tmp_path, both, packets)
    taken = [*(each for each in not_run(both) if each.task.scope.pair == "onprem-a:ecs-a"), found]
    findings = judged(both, taken)
    made = replace(passing(), findings=findings, measurements=tuple(taken), diagnosis=diagnose(findings, taken))
    page = unescape(html.render(made, both, load_scenario("smoke")))
    assert "router's reflector, UDP 862, no agent" in page
    assert "unknown: vbr-a takes no agent" in page
    assert "Nobody vouches for the clock of a router's reflector" in page
    (loss,) = [one for one in findings if one.metric == "loss" and one.scope.pair == "onprem-a:vbr-a" and one.value]
    assert (loss.verdict, loss.scope.direction) == (Verdict.INCONCLUSIVE, TRIP)
