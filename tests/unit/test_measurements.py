"""What a measurement makes of the files of its jobs: recorded iperf3 output, made-up probes and counters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness import evidence
from perfharness.analysis.pacing import excess_packets
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Criterion, Direction, Layer, Measurement, Observation, Role, Status, Task, Verdict
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped
from tests.unit.probe_stream import START_UNIX_NS, Packet, files

GOLDEN = Path(__file__).parent.parent / "golden" / "iperf3"
CIRCUIT = load_circuit(find_shipped("circuits/lab"))
CONTEXT = Context(CIRCUIT, CIRCUIT.endpoint("onprem-a"), CIRCUIT.endpoint("ecs-a"))
LOSS = Criterion("loss", "ratio", "<=", 1e-3, "1", "test")


def task_of(measure: str, **params: Any) -> Task:
    kind = REGISTRY[measure]
    (task,) = kind.tasks(kind.parameters.model_validate(params), "step", CONTEXT)
    return task


def counters(seconds: int = 12, step_bytes: int = 0, **rise: int) -> bytes:
    """counters.jsonl ten times a second from 2 s before the stream; ``rise`` comes in the middle."""
    lines = [json.dumps({"format_version": 1})]
    for i in range(seconds * 10):
        half = i > seconds * 5
        row = {
            "t_ns": START_UNIX_NS - 2_000_000_000 + i * 100_000_000,
            "nic": {"tx_bytes": i * step_bytes, "tx_dropped": 0, "rx_dropped": 0, "rx_missed_errors": 0},
            "qdisc": {"drops": 0},
            "softnet": {"dropped": 0},
            "snmp": {"Udp": {"RcvbufErrors": rise.get("rcvbuf", 0) * half, "MemErrors": 0}},
            "cpu": {"total": {"user": i, "idle": i, "steal": rise.get("steal", 0) * i}},
        }
        lines.append(json.dumps(row))
    return ("\n".join(lines) + "\n").encode()


def store(
    tmp_path: Path,
    task: Task,
    packets: Sequence[Packet],
    outputs: dict[str, str] | None = None,
    drops: int = 0,
    sent: int | None = None,
    counts: bytes | None = None,
) -> Measurement:
    """Write what the jobs of a task would have left, and analyse it."""
    folder = evidence.create(tmp_path, "c", "r", {})
    rec, log, result = files(list(packets))
    count = len(packets)
    probe = {
        **result,
        "sent": count,
        "missed": 0,
        "send_errors": 0,
        "rxq_dropped": drops,
        "start_unix_ns": START_UNIX_NS,
    }
    for job in task.jobs:
        data: dict[str, Any] = {}
        more: dict[str, bytes] = {}
        if job.method == "host.counters":
            more["counters.jsonl"] = counts or counters()
        elif job.method == "stamp.send":
            data, more["sender.rec"] = {**probe, "sent": sent or count, "missed": count - (sent or count)}, rec
        elif job.method == "stamp.reflect":
            data, more["reflector.rec"] = {"rxq_dropped": drops}, log
        else:
            role = "client" if job.role is Role.DRIVE else "server"
            more["iperf3.json"] = (GOLDEN / (outputs or {})[role]).read_bytes()
            socket = {"kind": "udp", "drops": drops, "unread": 0}
            data = {"started_ns": START_UNIX_NS, "argv": ["iperf3"], "version": "3.12", "sockets": [socket]}
        where = f"raw/{task.id}/{job.endpoint}.{job.id}"
        done = {"format_version": 1, "status": "completed", "args": dict(job.args), "data": data}
        folder.write_json(
            f"{where}/result.json", {**done, "started_ns": START_UNIX_NS, "ended_ns": START_UNIX_NS + 4 * 10**9}
        )
        for name, content in more.items():
            folder.write(f"{where}/{name}", content)
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    return REGISTRY[task.measurement].analyse(task, folder.files(task.id), CONTEXT)


def find(measurement: Measurement, metric: str, statistic: str, way: Direction) -> Observation:
    return next(
        seen
        for seen in measurement.observations
        if (seen.metric, seen.statistic, seen.scope.direction) == (metric, statistic, way)
    )


def udp_task() -> Task:
    """As the recording: 20 Mbit/s of payload, 1400 B, 3 s."""
    rate = 20_000_000 * (1400 + 46) / 1400 + (64 + 46) * 8 * 500
    return task_of("throughput", protocol="udp", direction="a-z", duration="3s", omit="0s", rate=f"{rate:.0f}bps")


LOSSY = {"client": "3.12-udp-loss-client.json", "server": "3.12-udp-loss-server.json"}
PROBES = [Packet(seq) for seq in range(3000)]


def test_loss_between_the_hosts_is_the_circuits(tmp_path: Path) -> None:
    """117 of 5356 packets, hosts clean: the circuit fails, and the figure is the recording's."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY)
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert (loss.value, loss.n) == (pytest.approx(117 / 5356), 5356)
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.FAIL


def test_loss_that_the_receiver_explains_is_the_hosts(tmp_path: Path) -> None:
    """The same packets, dropped by the receiving socket: nothing is left for the circuit."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, drops=117)
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert loss.value == 0
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.PASS
    assert any(row.packets_lo == 117 and row.segment == "host-z" for row in found.ledger)


def test_drops_of_the_warm_up_do_not_excuse_what_was_lost_after_it(tmp_path: Path) -> None:
    """Drops of a socket may lie in the warm-up, whose losses are not judged: then the rest may be the circuit's."""
    task = udp_task()
    jobs = tuple(replace(job, args={**job.args, "omit_s": 1}) if "omit_s" in job.args else job for job in task.jobs)
    found = store(tmp_path, replace(task, jobs=jobs), PROBES, LOSSY, drops=77)
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_loss_that_a_shared_counter_may_explain_is_undecided(tmp_path: Path) -> None:
    """A counter of the whole host may or may not be ours: neither PASS nor FAIL."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, counts=counters(rcvbuf=117))
    assert decide(find(found, "loss", "ratio", Direction.A_Z), LOSS, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_what_was_sent_in_bursts_above_the_rate_may_be_dropped_by_right(tmp_path: Path) -> None:
    """A sender that offers in bursts may have caused the loss: undecided."""
    burst = counters(step_bytes=2_000_000)
    found = store(tmp_path, udp_task(), PROBES, LOSSY, counts=burst)
    row = next(row for row in found.ledger if row.stage == "sender pacing")
    assert (row.packets_lo, row.packets_hi) == (0, 117)
    assert decide(find(found, "loss", "ratio", Direction.A_Z), LOSS, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_the_rate_is_the_receivers_at_the_ordered_layer_with_the_probes(tmp_path: Path) -> None:
    """19.98 Mbit/s of payload without loss are the frames of the load and those of the probes at L2."""
    clean = {"client": "3.12-udp-client.json", "server": "3.12-udp-server.json"}
    rate = find(store(tmp_path, udp_task(), PROBES, clean), "throughput.udp", "mean", Direction.A_Z)
    assert rate.layer is Layer.L2
    assert rate.value == pytest.approx(20e6 * 1446 / 1400 + 110 * 8 * 500, rel=2e-3)


def test_a_sender_that_offers_too_little_is_unfit(tmp_path: Path) -> None:
    """A load below what was intended decides nothing about the circuit, and the sender is named."""
    task = task_of("throughput", protocol="udp", direction="a-z", duration="3s", omit="0s", rate="40Mbps")
    found = store(tmp_path, task, PROBES, {"client": "3.12-udp-client.json", "server": "3.12-udp-server.json"})
    unfit = {row.host: row.reasons for row in found.fitness if not row.fit}
    assert list(unfit) == ["onprem-a"] and "offered only" in unfit["onprem-a"][0]


def test_what_a_sender_withheld_does_not_hide_what_was_lost(tmp_path: Path) -> None:
    """Of two thirds of the load some was lost: that fails. The third that was withheld might all have arrived, or been
    lost: it lies inside both intervals."""
    task = task_of("throughput", protocol="udp", direction="a-z", duration="3s", omit="0s", rate="30Mbps")
    found = store(tmp_path, task, PROBES, LOSSY)
    assert all(row.fit for row in found.fitness)
    rate, loss = (
        find(found, metric, statistic, Direction.A_Z)
        for metric, statistic in (("throughput.udp", "mean"), ("loss", "ratio"))
    )
    assert rate.interval is not None and rate.interval.hi > 1.4 * rate.value
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.FAIL
    generous = Criterion("loss", "ratio", "<=", 0.1, "1", "test")
    assert decide(loss, generous, found.fitness)[0] is Verdict.INCONCLUSIVE


def test_an_error_of_iperf3_is_no_measurement(tmp_path: Path) -> None:
    """iperf3's own words are the reason, whatever it exited with."""
    broken = {"client": "3.12-refused-client.json", "server": "3.12-udp-server.json"}
    found = store(tmp_path, udp_task(), PROBES, broken)
    assert found.status is Status.FAILED
    assert "unable to connect" in found.reason


def test_latency_tells_loss_there_from_loss_back(tmp_path: Path) -> None:
    """Each lost packet is booked to its direction, and delay counts it as infinitely late."""
    packets = [Packet(seq) for seq in range(2000)]
    packets[5].forward_ns = None
    packets[7].backward_ns = packets[8].backward_ns = None
    found = store(tmp_path, task_of("latency", duration="2s"), packets)
    there, back = (find(found, "loss", "ratio", way) for way in (Direction.A_Z, Direction.Z_A))
    assert (there.value, there.n) == (pytest.approx(1 / 2000), 2000)
    assert (back.value, back.n) == (pytest.approx(2 / 1999), 1999)
    assert find(found, "delay.rtt", "p50", Direction.ROUND_TRIP).value == 22_000_000
    assert "2 of 1,999 packets were lost in 1 periods of up to 2" in back.reason


def test_a_sender_that_missed_its_schedule_is_unfit(tmp_path: Path) -> None:
    """What was not offered cannot be judged."""
    found = store(tmp_path, task_of("latency", duration="2s"), [Packet(seq) for seq in range(2000)], sent=1900)
    assert [row.host for row in found.fitness if not row.fit] == ["onprem-a"]


def test_stamps_that_are_not_the_kernels_are_not_believed(tmp_path: Path) -> None:
    """Round trips by user clocks leave the figures undecided."""
    packets = [Packet(seq, sources=(1, 1, 1, 1)) for seq in range(2000)]
    found = store(tmp_path, task_of("latency", duration="2s"), packets)
    assert any("kernel time stamps" in reason for row in found.fitness for reason in row.reasons)


def test_excess_is_what_left_above_the_rate() -> None:
    """Quiet periods do not make up for bursts; too few rows tell nothing."""
    rows = [{"t_ns": i * 100_000_000, "nic": {"tx_bytes": sent}} for i, sent in enumerate((0, 1000, 1000, 4000))]
    assert excess_packets(rows, rate_bps=80_000, packet_bytes=100) == 20
    assert excess_packets(rows[:1], rate_bps=80_000, packet_bytes=100) is None
