"""Starved hosts: what they lose of a probe stream is booked to them by the right stage, and is never the circuit's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfharness import evidence
from perfharness.analysis import ledger
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Criterion, Direction, LedgerRow, Measurement, Role, Segment, Verdict
from perfharness.order.circuit import Ce, Ssh, load_circuit
from perfharness.order.scenario import find_shipped
from tests.integration.namespaces import ADDRESSES, Path3, Running

LOSS = Criterion("loss", "ratio", "<=", 1e-3, "1", "test")
CIRCUIT = load_circuit(find_shipped("circuits/lab"))
SMALL_BUFFER = """
import sys
from perfagent import __main__, sockets
sockets.RECEIVE_BUFFER_BYTES = 4096
sys.exit(__main__.main(sys.argv[1:]))
"""
"""An agent whose sockets hold a handful of packets."""


@pytest.fixture(scope="module")
def whole_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path3]:
    with Path3(tmp_path_factory.mktemp("spool"), tag="ledger") as path:
        yield path


CE = Ce(name="ce-1", ssh=Ssh(host="ce-1"), lan="to-a", wan="to-z")
"""The router of the path."""
TBF = ("rate", "300kbit", "burst", "2000", "limit", "3000")
WAIT_NS = 300_000_000
"""Far beyond what a packet takes here. A run waits longer for those that are lost, which gives the CE's counters their
rows after the stream."""
ATTEMPTS = 6
"""Others may take a CPU from one of the hosts, on a shared machine several times in a row."""
ON_THE_WAY = 2
"""So many packets may be between two of a host's counters when these are read."""
DROP = "udp dport != 0 numgen random mod 10 == 0 counter name lost drop"


def context(ce: Ce | str | None = None) -> Context:
    """The lab's circuit with the ends of the namespaces."""
    ends = {
        side: CIRCUIT.endpoint(name).model_copy(update={"interface": "eth0", "address": ADDRESSES[4][side]})
        for side, name in (("a", "onprem-a"), ("z", "ecs-a"))
    }
    return Context(CIRCUIT.model_copy(update={"ce": ce}), ends["a"], ends["z"])


def measure(
    path: Path3,
    tmp_path: Path,
    during: Callable[[Running], None] = lambda _: None,
    program: Any = None,
    ce: Ce | None = None,
    **params: Any,
) -> Measurement:
    """A latency task of two seconds with real jobs at both ends, and at the router between them where it is the ``ce``;
    ``during`` is given the reflector once the stream runs."""
    here = context(ce)
    path.spool = tmp_path
    names = {here.a.name: "a", here.z.name: "z", "ce-1": "r"}
    watched: dict[str, list[list[int]]] = {}
    kind = REGISTRY["latency"]
    (task,) = kind.tasks(kind.parameters.model_validate({"duration": "2s", **params}), "step", here)
    running: dict[tuple[str, str], Running] = {}
    for role in (Role.WATCH, Role.SERVE, Role.DRIVE):
        for job in (job for job in task.jobs if job.role is role):
            end, asked_ns = names[job.endpoint], time.time_ns()
            more = {"program": program} if program and job.method == "stamp.reflect" else {}
            more |= {"wait_ns": WAIT_NS} if role is Role.DRIVE and ce is None else {}
            started = path.start(end, f"{job.endpoint}.{job.id}", job.method, **{**job.args, **more})
            running[job.endpoint, job.id] = started
            if role is not Role.DRIVE:
                started.wait_ready()
            if role is Role.WATCH:
                watched[f"{job.endpoint}.{job.id}"] = [[asked_ns, time.time_ns()]]
    sender, reflector = running[here.a.name, "probe"], running[here.z.name, "reflector"]
    assert sender.process.stdout is not None
    sender.process.stdout.readline()  # the first live figure: it sends
    during(reflector)
    sender.data()
    reflector.stop()
    folder = evidence.create(tmp_path, "c", "r", {})
    for (endpoint, job_id), each in running.items():
        if (asked := watched.get(f"{endpoint}.{job_id}")) is not None:
            asked_ns = time.time_ns()
            each.stop()
            asked.append([asked_ns, time.time_ns()])
        shutil.copytree(each.folder, folder.path / f"raw/step/{endpoint}.{job_id}")
    noted = {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2, "watched": watched}
    folder.write_json("raw/step/task.json", noted)
    return kind.analyse(task, folder.files("step"), here)


def measure_fit(
    path: Path3, tmp_path: Path, ce: Ce | None = None, hook: str = "forward", end: str = "r"
) -> tuple[Measurement, int]:
    """The same where a router or an end drops, and how many it dropped; again where a host says that it was too busy
    for its own part, or a packet was on its way from one counter to the next: that leaves open whose loss it was."""
    for number in range(ATTEMPTS):
        path.reset()
        path.rules(hook, DROP, counters=("lost",), end=end)
        found = measure(path, tmp_path / str(number), ce=ce)
        uncertain = any(row.missing and 0 < row.packets_hi <= ON_THE_WAY for row in found.ledger)
        if all(host.fit for host in found.fitness) and not uncertain:
            break
    return found, path.counted("lost", end=end)


def verdict(found: Measurement, way: Direction) -> tuple[Verdict, str]:
    loss = next(seen for seen in found.observations if (seen.metric, seen.scope.direction) == ("loss", way))
    return decide(loss, LOSS, found.fitness)


def booked(found: Measurement, way: Direction) -> dict[str, LedgerRow]:
    """The stages that may have lost something that is missing."""
    return {row.stage: row for row in found.ledger if row.scope.direction is way and row.missing and row.packets_hi}


def stop_for(seconds: float, times: int = 1) -> Callable[[Running], None]:
    """Takes the CPU from the reflector, beginning a little after the stream."""

    def during(reflector: Running) -> None:
        time.sleep(0.3)
        for _ in range(times):
            os.kill(reflector.process.pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(reflector.process.pid, signal.SIGCONT)
            time.sleep(0.2)

    return during


def test_loss_on_the_way_is_not_the_hosts(path: Path3, tmp_path: Path) -> None:
    """A router that drops: no stage of a host is booked, all is left between them, and it fails."""
    found, dropped = measure_fit(path, tmp_path)
    there, back = (booked(found, way) for way in (Direction.A_Z, Direction.Z_A))
    assert set(there) == set(back) == {ledger.BETWEEN}
    total = there[ledger.BETWEEN].packets_hi + back[ledger.BETWEEN].packets_hi
    assert total == dropped > 0
    assert there[ledger.BETWEEN].packets_lo == there[ledger.BETWEEN].packets_hi
    for way in (Direction.A_Z, Direction.Z_A):
        said, why = verdict(found, way)
        assert said is Verdict.FAIL, why
    assert sum(event["packets"] for event in found.facts["loss_events"]) == total
    assert all(not event["stages"] for event in found.facts["loss_events"])


def test_a_small_receive_buffer_is_the_receivers(path: Path3, tmp_path: Path) -> None:
    """Packets that found the reflector's buffer full are its socket's, to the packet."""
    found = measure(path, tmp_path, stop_for(0.1, times=4), ("-c", SMALL_BUFFER))
    there = booked(found, Direction.A_Z)
    assert set(there) == {ledger.RECEIVER_SOCKET}
    socket = there[ledger.RECEIVER_SOCKET]
    assert socket.packets_lo == socket.packets_hi > 100 and socket.segment is Segment.HOST_Z
    said, why = verdict(found, Direction.A_Z)
    assert said is Verdict.INCONCLUSIVE and "dropped" in why
    assert verdict(found, Direction.Z_A)[0] is Verdict.INCONCLUSIVE
    assert all(set(event["stages"]) == {ledger.RECEIVER_SOCKET} for event in found.facts["loss_events"])


def test_a_full_queue_is_the_senders(path: Path3, tmp_path: Path) -> None:
    """What a qdisc of the sender drops has no transmit stamp: booked to it, and nothing is said of the circuit."""
    path.run("a", "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *TBF)
    try:
        found = measure(path, tmp_path)
    finally:
        path.run("a", "tc", "qdisc", "del", "dev", "eth0", "root")
    there = booked(found, Direction.A_Z)
    assert {ledger.SENDER_QDISC, ledger.BETWEEN} == set(there)
    queue = there[ledger.SENDER_QDISC]
    assert queue.segment is Segment.HOST_A and queue.packets_hi == there[ledger.BETWEEN].packets_hi > 100
    assert there[ledger.BETWEEN].packets_lo == 0
    assert verdict(found, Direction.A_Z)[0] is Verdict.INCONCLUSIVE


def test_the_firewall_of_the_receiver_is_the_receivers(path: Path3, tmp_path: Path) -> None:
    """A host's own netfilter has no counter of its drops, but IP misses them: the circuit is not blamed."""
    found, dropped = measure_fit(path, tmp_path, hook="input", end="z")
    there = booked(found, Direction.A_Z)
    assert set(there) == {ledger.RECEIVER_FIREWALL, ledger.BETWEEN}
    firewall = there[ledger.RECEIVER_FIREWALL]
    assert firewall.packets_hi == dropped and firewall.segment is Segment.HOST_Z
    assert verdict(found, Direction.A_Z)[0] is Verdict.INCONCLUSIVE


def test_answers_of_a_reflector_without_a_cpu_are_the_reflectors(path: Path3, tmp_path: Path) -> None:
    """Stopped for longer than a packet may take, it answers too late: the way back has lost nothing."""
    found = measure(path, tmp_path, stop_for(1.0), duration="3s")
    back = booked(found, Direction.Z_A)
    held = back[ledger.SENDER_HELD]
    assert held.packets_lo == held.packets_hi > 500 and held.segment is Segment.HOST_Z
    assert set(back) == {ledger.SENDER_HELD}
    assert verdict(found, Direction.Z_A)[0] is Verdict.INCONCLUSIVE


def test_what_a_reflector_never_read_is_the_reflectors(path: Path3, tmp_path: Path) -> None:
    """Stopped until the end of the stream, it leaves in its socket what had arrived: the way there has lost nothing."""
    stopped: list[Running] = []

    def during(reflector: Running) -> None:
        time.sleep(0.5)
        os.kill(reflector.process.pid, signal.SIGSTOP)
        stopped.append(reflector)

    def stop(self: Running) -> dict[str, Any]:
        self.process.terminate()
        if self in stopped:
            os.kill(self.process.pid, signal.SIGCONT)
        return self.result()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Running, "stop", stop)
        found = measure(path, tmp_path, during)
    there = booked(found, Direction.A_Z)
    unread = there[ledger.RECEIVER_APPLICATION]
    assert unread.packets_lo == unread.packets_hi > 500 and unread.segment is Segment.HOST_Z
    assert verdict(found, Direction.A_Z)[0] is Verdict.INCONCLUSIVE


# --- the router as the CE ---------------------------------------------------------------------------


def qdisc_drops(path: Path3, interface: str) -> int:
    (told,) = json.loads(path.run("r", "tc", "-s", "-j", "qdisc", "show", "dev", interface, "root"))
    return int(told["drops"])


@pytest.mark.parametrize(("interface", "way"), [("to-z", Direction.A_Z), ("to-a", Direction.Z_A)])
def test_a_full_queue_of_the_ce_is_the_customers(path: Path3, tmp_path: Path, interface: str, way: Direction) -> None:
    """All that was lost is booked to the CE, in its direction, and is what tc says that its queue dropped, but for a
    neighbour request or two: undecided, where it fails by an order that does not name the CE. The other direction
    lost none."""
    for number in range(ATTEMPTS):
        path.run("r", "tc", "qdisc", "add", "dev", interface, "root", "tbf", *TBF)
        try:
            found = measure(path, tmp_path / str(number), ce=CE)
            dropped = qdisc_drops(path, interface)
        finally:
            path.run("r", "tc", "qdisc", "del", "dev", interface, "root")
        if all(host.fit for host in found.fitness):  # a host that was too busy may have been the one
            break
    lost = booked(found, way)
    assert set(lost) == {ledger.CE_QDISC, ledger.BETWEEN}
    queue, left = lost[ledger.CE_QDISC], lost[ledger.BETWEEN]
    assert queue.segment is Segment.CE and queue.shared
    assert (queue.packets_lo, left.packets_lo) == (0, 0)
    assert dropped - 10 <= queue.packets_hi == left.packets_hi <= dropped and dropped > 100
    assert verdict(found, way)[0] is Verdict.INCONCLUSIVE
    files = evidence.RunFolder(tmp_path / str(number) / "c" / "r").files("step")
    assert verdict(REGISTRY["latency"].analyse(found.task, files, context()), way)[0] is Verdict.FAIL
    loss = next(seen for seen in found.observations if (seen.metric, seen.scope.direction) == ("loss", way))
    assert "the hosts and the CE lost 0 to" in loss.reason
    other = Direction.Z_A if way is Direction.A_Z else Direction.A_Z
    assert not booked(found, other) and verdict(found, other)[0] is not Verdict.FAIL


def test_the_firewall_of_the_ce_is_the_customers(path: Path3, tmp_path: Path) -> None:
    """What it does not forward is in no counter of its own, but its IP layer misses it."""
    found, dropped = measure_fit(path, tmp_path, CE)
    there, back = (booked(found, way) for way in (Direction.A_Z, Direction.Z_A))
    assert set(there) == set(back) == {ledger.CE_FIREWALL, ledger.BETWEEN}
    assert there[ledger.CE_FIREWALL].packets_hi == there[ledger.BETWEEN].packets_hi
    total = there[ledger.BETWEEN].packets_hi + back[ledger.BETWEEN].packets_hi
    assert total == dropped > 0
    assert verdict(found, Direction.A_Z)[0] is verdict(found, Direction.Z_A)[0] is Verdict.INCONCLUSIVE


def test_loss_behind_the_ce_is_not_the_ces(path: Path3, tmp_path: Path) -> None:
    """Packets that crossed it and were lost after it: it is booked none, and its WAN interface counted them."""
    found, dropped = measure_fit(path, tmp_path, CE, "prerouting", "z")
    there = booked(found, Direction.A_Z)
    assert ledger.CE_FIREWALL not in there and all(row.segment is not Segment.CE for row in there.values())
    told = found.facts["ce"]["a-z"]
    assert told["interface"] == "to-z of ce-1" and told["packets"] <= told["crossed"] <= told["packets"] + 20
    assert told["missing"] == dropped > 100
