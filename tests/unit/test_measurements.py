"""What a measurement makes of the files of its jobs: recorded iperf3 output, made-up probes and counters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfagent import records
from perfharness import evidence
from perfharness.analysis.pacing import excess_packets
from perfharness.evaluate import _analysed
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY, Context
from perfharness.model import Criterion, Direction, Layer, Measurement, Observation, Role, Status, Task, Verdict
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped
from tests.unit.probe_stream import INTERVAL_NS, START_MONO_NS, START_UNIX_NS, Packet, files

GOLDEN = Path(__file__).parent.parent / "golden" / "iperf3"
CIRCUIT = load_circuit(find_shipped("circuits/lab"))
CONTEXT = Context(CIRCUIT, CIRCUIT.endpoint("onprem-a"), CIRCUIT.endpoint("ecs-a"))
WAYS = (Direction.A_Z, Direction.Z_A)
LOSS = Criterion("loss", "ratio", "<=", 1e-3, "1", "test")

IP = dict.fromkeys(("InReceives", "InDelivers", "InHdrErrors", "InAddrErrors", "InDiscards", "ReasmFails"), 0) | {
    "OutDiscards": 0,
    "OutNoRoutes": 0,
}
UDP = {"InCsumErrors": 0, "NoPorts": 0, "SndbufErrors": 0}


def clock_rows(root_distance_ns: int | None) -> bytes:
    """clock.jsonl around the stream of a host that follows a server over the tested interface."""
    state = {
        "source": "chrony",
        "synchronised": True,
        "root_distance_ns": root_distance_ns,
        "reference": "192.168.0.3",
        "address": "192.168.0.3",
        "route": {"interface": "eth0"},
        "reason": "",
    }
    rows: list[dict[str, Any]] = [{"format_version": 1}]
    for second in range(-5, 15):
        kernel = {"freq_ppb": second, "status": 1, "esterror_us": 1, "maxerror_us": 1}
        row = {"mono_ns": START_MONO_NS + second * 10**9, "t_ns": START_UNIX_NS, "raw_ns": 0, "kernel": kernel}
        rows.append(row if second % 10 else {**row, "state": state})
    rows[1]["state"] = rows[-1]["state"] = state
    return "\n".join(map(json.dumps, rows)).encode()


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
            "nic": {
                "tx_bytes": i * step_bytes,
                "tx_dropped": 0,
                "rx_dropped": 0,
                "rx_missed_errors": 0,
                "rx_errors": 0,
            },
            "qdisc": {"drops": 0},
            "softnet": {"dropped": 0},
            "snmp": {
                "Udp": {
                    **UDP,
                    "RcvbufErrors": rise.get("rcvbuf", 0) * half,
                    "MemErrors": 0,
                    "InCsumErrors": rise.get("corrupted", 0) * half,
                },
                "Ip": IP,
            },
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
    cut_log: int = 0,
    waited_s: float = 0.0,
    interval_ns: int = INTERVAL_NS,
    root_distances_ns: tuple[int | None, int | None] | None = None,
    card_error_ns: int | None = None,
) -> Measurement:
    """Write what the jobs of a task would have left, and analyse it."""
    folder = evidence.create(tmp_path, "c", "r", {})
    rec, log, result = files(list(packets), interval_ns)
    log = log[: len(log) - cut_log]
    count = len(packets)
    probe = {
        **result,
        "sent": count,
        "missed": 0,
        "send_errors": 0,
        "rxq_dropped": drops,
        "start_unix_ns": START_UNIX_NS,
        "card": {"error_ns": card_error_ns},
    }
    for job in task.jobs:
        data: dict[str, Any] = {}
        more: dict[str, bytes] = {}
        if job.method == "host.counters":
            more["counters.jsonl"] = counters(rcvbuf=drops) if counts is None else counts
        elif job.method == "stamp.send":
            data, more["sender.rec"] = {**probe, "sent": sent or count, "missed": count - (sent or count)}, rec
        elif job.method == "stamp.reflect":
            data, more["reflector.rec"] = {"rxq_dropped": drops, "clock": result["clock"]}, log
        elif job.method == "host.clock":
            if root_distances_ns is None:
                continue
            more["clock.jsonl"] = clock_rows(root_distances_ns[job.endpoint == CONTEXT.z.name])
        else:
            role = "client" if job.role is Role.DRIVE else "server"
            more["iperf3.json"] = (GOLDEN / (outputs or {})[role]).read_bytes()
            socket = {"kind": "udp", "drops": drops, "unread": 0}
            data = {"started_ns": START_UNIX_NS, "argv": ["iperf3"], "version": "3.12", "sockets": [socket]}
            data["run_delay_ns"] = round(waited_s * 1e9)
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
    """The same packets, dropped by the receiving socket: nothing is left for the circuit, and a receiver that loses
    most of what is missing proves nothing."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, drops=117)
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert loss.value == 0
    verdict, why = decide(loss, LOSS, found.fitness)
    assert verdict is Verdict.INCONCLUSIVE
    assert "dropped 117 of the 117 packets that are missing" in why
    assert any(row.packets_lo == 117 and row.segment == "host-z" for row in found.ledger)


def test_what_came_corrupted_is_the_circuits(tmp_path: Path) -> None:
    """The receiving socket dropped all that is missing, each for its checksum: the circuit fails."""
    found = store(tmp_path, udp_task(), PROBES, LOSSY, drops=117, counts=counters(corrupted=117))
    loss = find(found, "loss", "ratio", Direction.A_Z)
    assert (loss.value, loss.n) == (pytest.approx(117 / 5356), 5356)
    assert decide(loss, LOSS, found.fitness)[0] is Verdict.FAIL


@pytest.mark.parametrize(("waited_s", "verdict"), [(0.0, Verdict.WARN), (0.5, Verdict.INCONCLUSIVE)])
def test_tcp_that_had_no_cpu_says_nothing_of_the_circuit(tmp_path: Path, waited_s: float, verdict: Verdict) -> None:
    """Below the recommendation it is a warning, unless iperf3 waited for a CPU: it may have carried more."""
    task = task_of("throughput", protocol="tcp", direction="a-z", duration="3s", omit="0s")
    outputs = {"client": "3.12-tcp-client.json", "server": "3.12-tcp-server.json"}
    found = store(tmp_path, task, PROBES, outputs, waited_s=waited_s)
    rate = find(found, "throughput.tcp", "mean", Direction.A_Z)
    assert isinstance(rate.value, float)
    limit = Criterion("throughput.tcp", "mean", ">=", 2 * rate.value, "bit/s", "x", mandatory=False, layer=rate.layer)
    assert decide(rate, limit, found.fitness)[0] is verdict


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


def test_latency_says_when_the_path_was_unavailable_and_what_recurs(tmp_path: Path) -> None:
    """Eleven seconds of loss there are unavailable time of that direction only; a reroute and a period are told."""
    packets = [Packet(seq, forward_ns=10_000_000 + 500_000 * (seq >= 2_500)) for seq in range(4_000)]
    for packet in packets[1_000:2_100]:
        packet.forward_ns = None
    for packet in packets[50::100]:
        packet.backward_ns = None
    found = store(tmp_path, task_of("latency", duration="40s", interval="10ms"), packets, interval_ns=10_000_000)
    there, back = (find(found, "availability", "ratio", way) for way in (Direction.A_Z, Direction.Z_A))
    assert (there.value, there.n) == (pytest.approx(29 / 40), 40)
    assert back.value == 1.0 and back.interval is not None and 0.8 < back.interval.lo < 1
    assert "11 of 40 seconds were unavailable, 11 severely errored" in there.reason
    (step,), (periodic,) = found.facts["delay_steps"], found.facts["periodic_loss"]
    assert "rose by 0.500 ms 25 s after" in step
    assert "Losses z-a recur every" in periodic
    assert found.facts["ipdv_ns"]["a-z p50"] == 0.0


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
    gap = [rows[0], {"t_ns": 100_000_000, "nic": {"tx_bytes": 1000}}, {"t_ns": 200_000_000, "nic": {"tx_bytes": 2000}}]
    gap.append({"t_ns": 1_000_000_000, "nic": {"tx_bytes": 10_000}})
    assert excess_packets(gap, rate_bps=80_000, packet_bytes=100) == 80, "what left in a gap may have left at once"
    wrapped = [*rows, {"t_ns": 400_000_000, "nic": {"tx_bytes": 7}}]
    assert excess_packets(wrapped, rate_bps=80_000, packet_bytes=100) is None, "a counter that fell tells nothing"
    stepped = [{**row, "t_ns": 0 if i == 2 else row["t_ns"], "mono_ns": row["t_ns"]} for i, row in enumerate(rows)]
    assert excess_packets(stepped, rate_bps=80_000, packet_bytes=100) == 20, "a clock that was set does not matter"


LATE = Criterion("delay.rtt", "p99", "<=", 50_000_000, "ns", "test")


@pytest.mark.parametrize(("drops", "verdict"), [(0, Verdict.FAIL), (60, Verdict.INCONCLUSIVE)])
def test_probes_that_a_host_dropped_make_no_path_late(tmp_path: Path, drops: int, verdict: Verdict) -> None:
    """3 % of the replies are missing and count as infinitely late: the path fails only if no host dropped them."""
    packets = [Packet(seq, backward_ns=None if seq % 33 == 0 else 12_000_000) for seq in range(2000)]
    found = store(tmp_path, task_of("latency", duration="2s"), packets, drops=drops)
    for metric in ("delay.rtt", "variation.pdv"):
        seen = find(found, metric, "p99", Direction.ROUND_TRIP)
        assert decide(seen, replace(LATE, metric=metric), found.fitness)[0] is verdict
        assert seen.interval is not None and seen.interval.hi == float("inf"), "nor does it pass"


def test_what_a_torn_log_cannot_tell_is_not_taken_for_good(tmp_path: Path) -> None:
    """The reflector's log lacks its last 300 packets, of which some were lost: there is no verdict on any figure."""
    packets = [Packet(seq, forward_ns=None if seq > 1800 and seq % 2 else 10_000_000) for seq in range(2000)]
    found = store(tmp_path, task_of("latency", duration="2s"), packets, cut_log=300 * 40 + 7)
    assert any("its log ends early" in reason for row in found.fitness for reason in row.reasons)
    for seen in (find(found, "loss", "ratio", Direction.A_Z), find(found, "delay.rtt", "p99", Direction.ROUND_TRIP)):
        criterion = LOSS if seen.metric == "loss" else LATE
        assert decide(seen, criterion, found.fitness)[0] is Verdict.INCONCLUSIVE


def altered(tmp_path: Path, name: str, change: Callable[[list[Any]], object]) -> str:
    """The path of a recording with its intervals changed."""
    report = json.loads((GOLDEN / name).read_bytes())
    change(report["intervals"])
    (tmp_path / name).write_text(json.dumps(report))
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda intervals: intervals.pop(1), "missing from its report or out of order"),
        (lambda intervals: intervals.pop(0), "missing from its report or out of order"),
        (lambda intervals: intervals.reverse(), "missing from its report or out of order"),
        (lambda intervals: intervals.__delitem__(slice(1, None)), "ended after 1.0 of 3 s"),
    ],
)
def test_a_report_with_holes_is_no_measurement(
    tmp_path: Path, change: Callable[[list[Any]], object], words: str
) -> None:
    """Intervals that are missing, out of order, or a test cut short: neither loss nor rate is made of them."""
    server = altered(tmp_path, "3.12-udp-loss-server.json", change)
    found = store(tmp_path, udp_task(), PROBES, {**LOSSY, "server": server})
    assert (found.status, words in found.reason) == (Status.FAILED, True), found.reason


def test_an_outage_at_the_end_is_one_event(tmp_path: Path) -> None:
    """Nothing arrives in the last third: that is one burst and not 1,800 independent losses, so nothing is proven."""

    def silent(intervals: list[Any]) -> None:
        for interval, lost in zip(intervals, (0, 0, 0), strict=True):
            interval["sum"]["lost_packets"] = lost
        intervals[-1]["sum"] |= {"packets": 0, "bytes": 0}

    server = altered(tmp_path, "3.12-udp-loss-server.json", silent)
    loss = find(store(tmp_path, udp_task(), PROBES, {**LOSSY, "server": server}), "loss", "ratio", Direction.A_Z)
    assert isinstance(loss.value, float) and loss.value > 0.2
    assert loss.interval is not None and loss.interval.n_eff is not None and loss.interval.n_eff < 30


def test_a_rate_without_a_loss_count_still_leaves_out_what_hosts_may_have_lost(tmp_path: Path) -> None:
    """iperf3 gives no loss and the receiver's counters are missing: it may have lost what did not arrive."""

    def uncounted(intervals: list[Any]) -> None:
        for interval in intervals:
            interval["sum"] |= {"lost_packets": None, "bytes": interval["sum"]["bytes"] // 2}

    outputs = {**LOSSY, "server": altered(tmp_path, "3.12-udp-loss-server.json", uncounted)}
    required = Criterion("throughput.udp", "mean", ">=", 19e6, "bit/s", "test", layer=Layer.L2)
    for name, counts, verdict in (("quiet", counters(), Verdict.FAIL), ("none", b"", Verdict.INCONCLUSIVE)):
        found = store(tmp_path / name, udp_task(), PROBES, outputs, counts=counts)
        assert find(found, "loss", "ratio", Direction.A_Z).value is None
        rate = find(found, "throughput.udp", "mean", Direction.A_Z)
        assert decide(rate, required, found.fitness)[0] is verdict


@pytest.mark.parametrize(
    ("size", "local_mtu", "verdict"),
    [(1400, 1500, Verdict.FAIL), (1400, 1400, Verdict.INCONCLUSIVE), (1500, 1500, Verdict.PASS)],
)
def test_a_host_s_own_mtu_fails_no_path(tmp_path: Path, size: int, local_mtu: int, verdict: Verdict) -> None:
    """Where the sender's interface is the limit, the path may carry more."""
    kind = REGISTRY["pmtu"]
    task = kind.tasks(kind.parameters(), "pmtu", CONTEXT)[0]
    folder = evidence.create(tmp_path, "c", "r", {})
    data = {"pmtu": size, "tries": 9, "local_mtu": local_mtu, "ptb": [], "blackhole": False}
    folder.write_json(
        f"raw/{task.id}/onprem-a.search/result.json", {"format_version": 1, "status": "completed", "data": data}
    )
    folder.write_json(f"raw/{task.id}/task.json", {"status": "completed", "reason": "", "started_ns": 1, "ended_ns": 2})
    (seen,) = kind.analyse(task, folder.files(task.id), CONTEXT).observations
    assert decide(seen, Criterion("pmtu", "largest", ">=", 1500, "B", "test"), ())[0] is verdict


@pytest.mark.parametrize(
    ("name", "content"),
    [("result.json", b'{"format_version": 1, "status": "completed", "data": {}}'), ("sender.rec", b"no records")],
)
def test_files_that_cannot_be_read_cost_only_their_task(tmp_path: Path, name: str, content: bytes) -> None:
    """A file of a crashed agent: its task failed with the reason, and nothing is raised."""
    task = task_of("latency", duration="2s")
    store(tmp_path, task, PROBES)
    (tmp_path / "c/r/raw" / task.id / "onprem-a.probe" / name).write_bytes(content)
    found = _analysed(task, evidence.open_run(tmp_path / "c/r")[0], CIRCUIT)
    assert found.status is Status.FAILED and found.reason


ASKED = Criterion("delay.oneway", "p99", "<=", 11_000_000, "ns", "test")


@pytest.mark.parametrize(
    ("root_distances_ns", "limit_ns", "verdict"),
    [
        ((200_000, 200_000), 11_000_000, Verdict.PASS),
        ((200_000, 200_000), 10_300_000, Verdict.INCONCLUSIVE),
        ((200_000, 200_000), 9_000_000, Verdict.FAIL),
        ((200_000, None), 11_000_000, Verdict.INCONCLUSIVE),
        ((200_000, None), 23_000_000, Verdict.PASS),
        (None, 11_000_000, Verdict.INCONCLUSIVE),
    ],
)
def test_one_way_delay_is_decided_only_beyond_the_clocks_bound(
    tmp_path: Path, root_distances_ns: tuple[int | None, int | None] | None, limit_ns: int, verdict: Verdict
) -> None:
    """10 ms there, 12 ms back: decided within ± 0.7 ms of the clocks, else only where no delay can be negative."""
    packets = [Packet(seq, offset_ns=100_000) for seq in range(4000)]
    found = store(tmp_path, task_of("latency", duration="4s"), packets, root_distances_ns=root_distances_ns)
    seen = find(found, "delay.oneway", "p99", Direction.A_Z)
    assert seen.interval is not None
    assert seen.interval.lo <= 10_000_000 <= seen.interval.hi
    said, why = decide(seen, replace(ASKED, threshold=limit_ns), found.fitness)
    assert said is verdict, why
    assert bool(found.facts["oneway"]["unsynchronised"]) is (root_distances_ns != (200_000, 200_000))


@pytest.mark.parametrize(("rare", "fit"), [(100, True), (300, False)])
def test_a_stream_of_two_kinds_of_stamps_is_not_believed(tmp_path: Path, rare: int, fit: bool) -> None:
    """Round trips of the rarer kind are left out: a twentieth may be, a seventh not."""
    packets = [Packet(seq, sources=(records.HARDWARE,) * 4 if seq < rare else Packet(0).sources) for seq in range(2000)]
    found = store(tmp_path, task_of("latency", duration="2s"), packets)
    assert any("of other kinds" in reason for row in found.fitness for reason in row.reasons) is not fit


def test_a_card_at_one_end_keeps_one_way_delay_and_widens_its_bound(tmp_path: Path) -> None:
    """T1 and T4 of the card, T2 and T3 of the kernel; what the card's stamps may be off counts as the clocks'."""
    card = (records.HARDWARE, records.KERNEL, records.KERNEL, records.HARDWARE)
    packets = [Packet(seq, sources=card, offset_ns=0) for seq in range(2000)]
    bounds = []
    for error_ns in (None, 5_000):
        folder = tmp_path / str(error_ns)
        task = task_of("latency", duration="2s")
        found = store(folder, task, packets, root_distances_ns=(1_000, 1_000), card_error_ns=error_ns)
        assert find(found, "delay.oneway", "p99", Direction.A_Z).n == 2000
        assert found.facts["stamps"] == {"hardware/kernel": 2000}
        bounds.append(found.facts["oneway"]["error_ns"])
    assert bounds[1] - bounds[0] == pytest.approx(5_000)


def test_a_clock_behind_the_circuit_is_flagged(tmp_path: Path) -> None:
    """The server is in the cloud: the on-prem clock follows it through the circuit, the cloud's does not."""
    packets = [Packet(seq, offset_ns=0) for seq in range(2000)]
    found = store(tmp_path, task_of("latency", duration="2s"), packets, root_distances_ns=(1_000, 1_000))
    clocks = found.facts["oneway"]["clocks"]
    assert [clocks[host]["through_circuit"] for host in CONTEXT.hosts] == ["yes", "no"]
    assert "behind the tested circuit" in find(found, "delay.oneway", "p50", Direction.Z_A).reason


def test_clocks_that_cannot_be_what_they_claim_give_no_one_way_delay(tmp_path: Path) -> None:
    """30 ms apart although both claim microseconds: no figure, the reason, and round trips as ever."""
    packets = [Packet(seq, offset_ns=-30_000_000) for seq in range(2000)]
    found = store(tmp_path, task_of("latency", duration="2s"), packets, root_distances_ns=(1_000, 1_000))
    seen = find(found, "delay.oneway", "p99", Direction.A_Z)
    assert seen.value is None
    assert decide(seen, ASKED, found.fitness)[0] is Verdict.NOT_RUN
    assert "farther apart" in found.facts["oneway"]["unsynchronised"][0]
    assert find(found, "delay.rtt", "p99", Direction.ROUND_TRIP).value == 22_000_000


def test_ipdv_needs_no_common_clock(tmp_path: Path) -> None:
    """Signed, of each direction, with the clocks far apart: every second packet 1 ms later forward, none back."""
    packets = [Packet(seq, forward_ns=10_000_000 + seq % 2 * 1_000_000, offset_ns=10**15) for seq in range(2000)]
    found = store(tmp_path, task_of("latency", duration="2s"), packets)
    there, back = ([find(found, "variation.ipdv", q, way).value for q in ("p1", "p99")] for way in WAYS)
    assert there == [-1_000_000, 1_000_000]
    assert back == [0, 0]
