"""The flow sweep over a link group of four: the bad member is named with exactly its flows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from perfagent import records, sockets
from perfagent.jobs import Job
from perfagent.methods.flows import bind_flows
from perfagent.sender import Sender
from perfagent.stamp.packet import OPEN
from perfagent.stamp.sending import Stream
from perfagent.stamp.times import UNSYNCHRONISED
from perfagent.wire import Fault
from perfharness import evidence
from perfharness.judge.diagnosis import diagnose
from perfharness.judge.judge import judge
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Direction, Finding, Measurement, Role, Verdict
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.plan import make_plan
from tests.integration.link_group import LinkGroup
from tests.integration.namespaces import Running

CIRCUIT, SCENARIO = load_circuit(find_shipped("circuits/lab")), load_scenario("acceptance")
CONTEXT = Context(CIRCUIT, *(CIRCUIT.endpoint(name) for name in CIRCUIT.pairs[0]))
PORT = CONTEXT.probe_port()
ENDS = {CONTEXT.a.name: "a", CONTEXT.z.name: "z"}


@pytest.fixture
def group(tmp_path: Path) -> Iterator[LinkGroup]:
    with LinkGroup(tmp_path / "spool") as group:
        yield group


def sweep(group: LinkGroup, results: Path) -> Measurement:
    """The acceptance test's step, its jobs run as ``collect`` would: watchers, servers, drivers."""
    task = next(task for task in make_plan(CIRCUIT, SCENARIO).tasks if task.measurement == "flows")
    folder = evidence.create(results, CIRCUIT.id, "run", {})
    jobs: list[tuple[str, Running]] = []
    for role in (Role.WATCH, Role.SERVE, Role.DRIVE):
        for job in (job for job in task.jobs if job.role is role):
            running = group.start(ENDS[job.endpoint], f"{job.endpoint}.{job.id}", job.method, **job.args)
            jobs.append((f"{job.endpoint}.{job.id}", running))
            if role is Role.SERVE:
                running.wait_ready()
            if role is Role.DRIVE:
                running.data()
    for name, running in reversed(jobs):
        if running.process.poll() is None:
            running.stop()
        shutil.copytree(running.folder, folder.path / "raw" / task.id / name)
    done = {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2}
    folder.write_json(f"raw/{task.id}/task.json", done)
    return REGISTRY["flows"].analyse(task, folder.files(task.id), CONTEXT)


def finding(measurement: Measurement, statistic: str, way: Direction) -> Finding:
    (found,) = (
        found
        for found in judge(CIRCUIT, SCENARIO, [measurement], (), date(2027, 1, 1), {})
        if (found.task, found.statistic, found.scope.direction) == (measurement.task.id, statistic, way)
    )
    return found


def named(measurement: Measurement, way: Direction) -> set[int]:
    """Source ports of the flows that are hit."""
    return {flow["source_port"] for flow in measurement.facts["flows"] if flow[way]["hit"]}


def test_flows_take_the_free_ports_in_order() -> None:
    """A port that another program uses is left out; when there are too few, one sentence says so."""
    with sockets.bind_udp("127.0.0.1", 64_002):
        socks = bind_flows("127.0.0.1", 64_000, 4)
        assert [sock.getsockname()[1] for sock in socks] == [64_000, 64_001, 64_003, 64_004]
        for sock in socks:
            sock.close()
    with pytest.raises(Fault, match="8 flows need one each"):
        bind_flows("127.0.0.1", 65_530, 8)


def test_a_reply_counts_only_for_its_own_flow(job: Job) -> None:
    """A reply that comes to the port of another flow, or from another address, is foreign."""
    socks = bind_flows("127.0.0.1", 64_100, 2)
    with sockets.bind_udp("127.0.0.1") as peer, sockets.bind_udp("127.0.0.2") as stranger:
        stream = Stream(peer.getsockname(), 7, (64,), 2, 1_000_000, 100_000_000, UNSYNCHRONISED)
        sweep = Sender(job, socks, stream, flow_of=[0, 1].__getitem__)
        for seq in (0, 1):
            sweep._send(seq)
        sent = [peer.recv(64) for _ in (0, 1)]
        for seq, to in ((0, 1), (1, 1), (1, 1)):
            packet = bytearray(sent[seq])
            OPEN.turn_into_reply(packet, 0, 1, 2, 64, UNSYNCHRONISED)
            peer.sendto(packet, socks[to].getsockname())
            stranger.sendto(packet, socks[to].getsockname())
        sweep.run([], 0)
        sweep.close()
    for sock in socks:
        sock.close()
    assert (sweep.sent, sweep.session.received, sweep.session.duplicates) == (2, 1, 1)
    assert sweep.session.refused == {"other flow": 2, "other peer": 2}
    first, second = records.read((job.folder / "sender.rec").read_bytes())
    assert (first.flags, second.flags) == (records.SENT, records.SENT | records.REPLIED)


@pytest.mark.parametrize("way", [Direction.A_Z, Direction.Z_A])
def test_a_member_that_loses_two_percent_is_named_with_its_flows(
    group: LinkGroup, tmp_path: Path, way: Direction
) -> None:
    """In eight seconds of traffic, for its own direction only, as many packets as the router dropped. The other
    direction is sound and passes: nothing is found there, and the test was able to find it."""
    group.damage(2, PORT, forward=way is Direction.A_Z, per_mille=20)
    seen = sweep(group, tmp_path)
    dropped, ports = group.truth(forward=way is Direction.A_Z)

    assert named(seen, way) == ports
    assert sum(flow[way]["lost"] for flow in seen.facts["flows"]) == dropped > 0
    assert finding(seen, "hit_share", way).verdict is Verdict.FAIL
    other = Direction.Z_A if way is Direction.A_Z else Direction.A_Z
    assert finding(seen, "hit_share", other).verdict is Verdict.PASS
    assert not named(seen, other)

    (cause,) = diagnose([finding(seen, "hit_share", way)], [seen])
    assert (cause.cause, cause.certainty, cause.owner) == ("lag-member-bad", "proven", "carrier")
    assert all(str(port) in cause.because[1] for port in ports)
