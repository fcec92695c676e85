"""The flow sweep: what its step asks for, what its files say, what a diagnosis and a report make of it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from perfagent.schedule import flow_order
from perfharness import evidence
from perfharness.errors import BadInput
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.judge import judge
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Direction, Finding, Measurement, Task, Verdict
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import Scenario, find_shipped, load_scenario
from perfharness.plan import flows as ports_of
from perfharness.plan import make_plan
from perfharness.report import html
from tests.unit import run_builder
from tests.unit.job_files import counters
from tests.unit.probe_stream import START_UNIX_NS, Packet, files

CIRCUIT = load_circuit(find_shipped("circuits/lab"))
CONTEXT = Context(CIRCUIT, CIRCUIT.endpoint("onprem-a"), CIRCUIT.endpoint("ecs-a"))
FLOWS, ROUNDS = 64, 400
A_Z, Z_A = Direction.A_Z, Direction.Z_A
BAD = range(5, 64, 4)
"""Flows of one member of four."""


def scenario(folder: Path, more: str = "") -> Scenario:
    file = folder / "sweep.yaml"
    file.write_text(
        "format_version: 1\nid: sweep\ntitle: Sweep\nsteps:\n"
        f"  - id: flows\n    measure: flows\n    duration: 4s\n{more}"
        "    judge:\n"
        "      - {metric: flows, statistic: hit_share, at_most: 0, rows: [EC-046]}\n"
        "      - {metric: flows, statistic: slow_share, at_most: 0, rows: [EC-046], mandatory: false}\n"
    )
    return load_scenario(file)


def packets(seed: int, lossy: Collection[int] = (), slow: Collection[int] = ()) -> list[Packet]:
    """Every 25th packet of the lossy flows is lost on the way there; the slow ones come back 1 ms later."""
    found = []
    for seq, flow in enumerate(flow_order(FLOWS, ROUNDS, seed)):
        packet = Packet(seq, backward_ns=12_000_000 + 1_000_000 * (flow in slow))
        if flow in lossy and (seq // FLOWS + flow) % 25 == 0:
            packet.forward_ns = None
        found.append(packet)
    return found


def swept(folder: Path, drops: int = 0, log: bool = True, **fate: Any) -> tuple[Task, Measurement]:
    """Write what the jobs would have left, and analyse it."""
    (task,) = make_plan(CIRCUIT, scenario(folder)).tasks
    run = evidence.create(folder, "c", "r", {})
    for job in task.jobs:
        where = f"raw/{task.id}/{job.endpoint}.{job.id}"
        data: dict[str, Any] = {}
        if job.method == "flows.send":
            sender, reflector, result = files(packets(job.args["seed"], **fate), job.args["interval_ns"])
            sent = {"sent": FLOWS * ROUNDS, "missed": 0, "send_errors": 0, "rxq_dropped": 0}
            own = {"start_unix_ns": START_UNIX_NS, "source_ports": list(range(61_000, 61_000 + FLOWS))}
            data = {**result, **sent, **own}
            run.write(f"{where}/sender.rec", sender)
            if log:
                run.write(f"raw/{task.id}/{CONTEXT.z.name}.reflector/reflector.rec", reflector)
        elif job.method == "stamp.reflect":
            data = {"rxq_dropped": drops}
        else:
            run.write(f"{where}/counters.jsonl", counters(rcvbuf=drops))
        done = {"format_version": 1, "status": "completed", "args": dict(job.args), "data": data}
        run.write_json(f"{where}/result.json", {**done, "started_ns": 1, "ended_ns": START_UNIX_NS + 4 * 10**9})
    run.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return task, REGISTRY["flows"].analyse(task, run.files(task.id), CONTEXT)


def found(folder: Path, measurement: Measurement) -> dict[tuple[str, Direction | None], Finding]:
    rows = judge(CIRCUIT, scenario(folder), [measurement], (), date(2027, 1, 1), {})
    return {(row.statistic, row.scope.direction): row for row in rows if row.metric == "flows"}


def test_a_signed_sweep_has_room_for_the_digest(tmp_path: Path) -> None:
    """Both ends share a secret, and packets are as large as it takes; a size that is too small is refused."""
    signed = "    authenticated: true\n"
    (task,) = make_plan(CIRCUIT, scenario(tmp_path, signed)).tasks
    jobs = [job for job in task.jobs if job.method in ("flows.send", "stamp.reflect")]
    assert [(job.secret, job.args["signed"]) for job in jobs] == [("stamp", "authenticated")] * 2
    assert (jobs[1].args["packet_bytes"], task.scope.frame_bytes) == (112, 154)
    with pytest.raises(BadInput, match="at least 112 B of payload, not 64 B"):
        make_plan(CIRCUIT, scenario(tmp_path, f"{signed}    packet: 64B\n"))


def test_a_bad_member_fails_its_direction_and_is_named(tmp_path: Path) -> None:
    """A quarter of the flows lose 4 % there: there it is a FAIL with these 5-tuples, back it is a PASS."""
    _, seen = swept(tmp_path, lossy=BAD)
    rows = found(tmp_path, seen)
    there = rows["hit_share", A_Z]
    assert (there.verdict, there.value) == (Verdict.FAIL, len(BAD) / FLOWS)
    assert "one member of a group of 3 to" in there.reason
    assert rows["hit_share", Z_A].verdict is rows["slow_share", A_Z].verdict is Verdict.PASS

    (cause,) = diagnose(list(rows.values()), [seen])
    assert (cause.cause, cause.certainty, cause.checklist) == ("lag-member-bad", "proven", ("EC-046",))
    ports = ", ".join(str(61_000 + flow) for flow in BAD)
    assert cause.because[1] == f"UDP from 10.10.0.10 ports {ports} to 192.168.10.10 port 862."


def test_what_the_receiver_dropped_is_no_bad_member(tmp_path: Path) -> None:
    """A receive queue that serves some of the flows and overflows looks the same: then it stays open."""
    _, seen = swept(tmp_path, lossy=BAD, drops=len(BAD) * ROUNDS // 25)
    there = found(tmp_path, seen)["hit_share", A_Z]
    assert there.verdict is Verdict.INCONCLUSIVE
    assert "as many may have been lost outside the circuit" in there.reason


def test_a_slow_member_warns_in_its_direction(tmp_path: Path) -> None:
    """A millisecond more on the way back, by two clocks three seconds apart, is a warning with its flows."""
    _, seen = swept(tmp_path, slow=BAD)
    rows = found(tmp_path, seen)
    assert rows["slow_share", Z_A].verdict is Verdict.WARN
    assert rows["slow_share", A_Z].verdict is Verdict.PASS
    assert "1,000 µs later" in rows["slow_share", Z_A].reason
    (cause,) = diagnose(list(rows.values()), [seen])
    assert cause.certainty == "likely"
    assert cause.because[1].startswith("UDP from 192.168.10.10 port 862 to 10.10.0.10 ports 61005, 61009,")


def test_without_the_reflectors_log_nothing_is_judged(tmp_path: Path) -> None:
    """When nobody knows which way a packet was lost, there is no pass and no fail."""
    _, seen = swept(tmp_path, log=False)
    rows = found(tmp_path, seen)
    assert {row.verdict for (statistic, _), row in rows.items() if statistic != "worst_loss"} == {Verdict.NOT_RUN}


def test_the_report_shows_the_flows_that_stand_out(tmp_path: Path) -> None:
    """Pictures of both directions, and a row for each flow that a carrier must look up."""
    _, seen = swept(tmp_path, lossy=BAD)
    run = run_builder.passing()
    page = html.render(
        replace(run, measurements=(*run.measurements, seen)), run_builder.circuit(), run_builder.scenario()
    )
    assert "Packets lost by each flow" in page
    assert all(f"10.10.0.10:{61_000 + flow}" in page for flow in BAD)
    assert "10.10.0.10:61000<" not in page
    assert "No sweep over many flows was made" in html.render(run, run_builder.circuit(), run_builder.scenario())


def test_the_plan_asks_for_one_port_and_says_the_load(tmp_path: Path) -> None:
    """A firewall is asked for the reflector's port alone; the step costs what it says and no more."""
    (task,) = make_plan(CIRCUIT, scenario(tmp_path)).tasks
    assert {key: ports for key, (ports, _) in ports_of([task]).items()} == {("onprem-a", "ecs-a", "udp"): [862]}
    assert task.load_bps == 6_400 * (64 + 28 + 14 + 4) * 8  # at L2, with the VLAN tag
    (send,) = (job for job in task.jobs if job.method == "flows.send")
    assert (send.args["flows"], send.args["rounds"], send.args["first_port"]) == (64, 400, 61_000)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("    flows: 512\n", "packets/s each way. Write `interval: 52ms` or more, or `flows: 100` or fewer."),
        ("    flows: 4\n", "8"),
        ("    packet: 8972B\n", "do not fit the ordered MTU"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    """Too many packets, too few flows, packets too large: one sentence, and where to mend it."""
    with pytest.raises(BadInput, match=re.escape(said)) as refused:
        make_plan(CIRCUIT, scenario(tmp_path, line))
    assert all(problem.line for problem in refused.value.problems)
