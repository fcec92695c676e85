"""What a probe stream says of round trips and of loss each way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from perfagent import records
from perfharness import evidence
from perfharness.analysis.ledger import RECEIVER_SOCKET as SOCKET
from perfharness.evaluate import _analysed
from perfharness.judge.verdict import decide
from perfharness.measurements import REGISTRY
from perfharness.model import Criterion, Direction, Status, Verdict
from tests.unit.job_files import CIRCUIT, CONTEXT, LOSS, LOSSY, PROBES, find, store, task_of, udp_task
from tests.unit.probe_stream import START_UNIX_NS, Packet


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
    assert "2 of 1,999 packets were lost in 1 period of up to 2" in back.reason


@pytest.mark.parametrize(
    ("missing", "forged", "verdict"),
    [(300, 300, Verdict.FAIL), (3000, 3000, Verdict.INCONCLUSIVE), (0, 300, Verdict.PASS)],
)
def test_a_host_that_refuses_all_packets_as_forged_proves_nothing(
    tmp_path: Path, missing: int, forged: int, verdict: Verdict
) -> None:
    """One right digest shows that both ends hold the same key: what was altered is then the circuit's loss, and what
    somebody else sent is none."""
    packets = [Packet(seq, backward_ns=None if seq * missing % 3000 < missing else 12_000_000) for seq in range(3000)]
    found = store(
        tmp_path, task_of("latency", authenticated="true", duration="3s"), packets, said={"refused": {"forged": forged}}
    )
    loss = find(found, "loss", "ratio", Direction.Z_A)
    assert f"{forged:,} that came were refused as forged." in loss.reason
    assert found.facts["authenticated"] == {"replies": 3000 - missing, "forged": forged}
    assert decide(loss, LOSS, found.fitness)[0] is verdict


def test_latency_says_when_the_path_was_unavailable_and_what_recurs(tmp_path: Path) -> None:
    """Eleven seconds of loss there are unavailable time of that direction only; 40 s without any prove little, since it
    comes ten seconds at a time; a reroute and a period are told."""
    packets = [Packet(seq, forward_ns=10_000_000 + 500_000 * (seq >= 2_500)) for seq in range(4_000)]
    for packet in packets[1_000:2_100]:
        packet.forward_ns = None
    for packet in packets[50::100]:
        packet.backward_ns = None
    found = store(tmp_path, task_of("latency", duration="40s", interval="10ms"), packets, interval_ns=10_000_000)
    there, back = (find(found, "availability", "ratio", way) for way in (Direction.A_Z, Direction.Z_A))
    assert (there.value, there.n) == (pytest.approx(29 / 40), 40)
    assert back.value == 1.0 and back.interval is not None and 0.3 < back.interval.lo < 0.4
    assert "11 of 40 seconds were unavailable, 11 severely errored" in there.reason
    (step,), (periodic,) = found.facts["delay_steps"], found.facts["periodic_loss"]
    assert (step["at_ns"], step["size_ns"]) == (START_UNIX_NS + 25 * 10**9, 500_000)
    assert step["parts_ns"] == {"a-z": pytest.approx(500_000), "z-a": pytest.approx(0)}
    assert periodic == "z-a" and found.facts["periodic_loss"]["z-a"]["length"] == pytest.approx(1.0, rel=1e-3)
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


@pytest.mark.parametrize(
    ("at", "stages", "undated", "between"),
    [
        ((1000, 8000), [{}, {}], [{SOCKET: 12}, {SOCKET: 20}], [[0, 12], [0, 20]]),
        ((4100, 8000), [{SOCKET: [12, 12]}, {}], [None, {SOCKET: 8}], [[0, 0], [12, 20]]),
        ((1000, 4100), [{}, {SOCKET: [20, 20]}], [None, None], [[12, 12], [0, 0]]),
    ],
    ids=["another time", "a part of it", "all of it"],
)
def test_a_loss_event_agrees_with_the_ledger(
    tmp_path: Path, at: tuple[int, int], stages: list[object], undated: list[object], between: list[object]
) -> None:
    """The socket dropped 20 of the 32 that were lost in two events; the namespace's count of them rose at 4.1 s. What
    it puts into neither event may be of either, which is then not told as the path's alone."""
    packets = [Packet(seq, offset_ns=0) for seq in range(9000)]
    for first, count in zip(at, (12, 20), strict=True):
        for packet in packets[first : first + count]:
            packet.forward_ns = None
    found = store(tmp_path, task_of("latency", duration="9s"), packets, drops=20)
    (booked,) = (row for row in found.ledger if row.stage == SOCKET and row.packets_hi)
    assert (booked.packets_lo, booked.packets_hi) == (20, 20)
    events = found.facts["loss_events"]
    assert [event["stages"] for event in events] == stages
    assert [event.get("undated") for event in events] == undated
    assert [event["between"] for event in events] == between


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


@pytest.mark.parametrize(("again", "bounded"), [(range(0, 3000, 300), True), (range(600, 610), False), (None, False)])
def test_duplicates_in_one_burst_say_less(tmp_path: Path, again: Sequence[int] | None, bounded: bool) -> None:
    """Ten replies of 3,000 came twice: under 1 % is sure if that was here and there; in one burst, or unnoted, not."""
    task = task_of("latency", duration="3s", interval="1ms")
    store(tmp_path, task, PROBES, interval_ns=1_000_000)
    raw = tmp_path / "c/r/raw" / task.id / "onprem-a.probe"
    about = json.loads((raw / "result.json").read_bytes())
    about["data"]["duplicates"] = 10
    (raw / "result.json").write_text(json.dumps(about))
    if again is not None:
        rows = (raw / "sender.rec").read_bytes()
        head, size = records.HEADER_BYTES, records.RECORD_BYTES
        copies = b"".join(rows[head + seq * size : head + (seq + 1) * size] for seq in again)
        (raw / "duplicates.rec").write_bytes(records.HEADER + copies)
    found = REGISTRY["latency"].analyse(task, evidence.open_run(tmp_path / "c/r")[0].files(task.id), CONTEXT)
    seen = find(found, "duplication", "ratio", Direction.ROUND_TRIP)
    assert seen.value == pytest.approx(10 / 3000) and seen.interval is not None
    assert (seen.interval.hi < 0.01) is bounded, seen


def test_a_measurement_gives_the_statistics_that_it_declares(tmp_path: Path) -> None:
    """What the plan accepts in a criterion is what the analysis gives, metric by metric."""
    runs = ((task_of("latency", duration="3s"), None), (udp_task(), LOSSY))
    for task, outputs in runs:
        found = store(tmp_path / task.id, task, PROBES, outputs)
        given = {(seen.metric, seen.statistic) for seen in found.observations}
        declared = REGISTRY[task.measurement].statistics
        assert given == {(metric, statistic) for metric in task.yields for statistic in declared[metric]}


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
        assert found.facts["prober"]["stamps"] == {"hardware/kernel": 2000}
        bounds.append(found.facts["oneway"]["error_ns"])
    assert bounds[1] - bounds[0] == pytest.approx(5_000)
