"""What a probe stream and the states of two clocks say of each direction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfharness.judge.verdict import decide
from perfharness.model import Criterion, Direction, Verdict
from tests.unit.job_files import CONTEXT, find, store, task_of
from tests.unit.probe_stream import Packet

WAYS = (Direction.A_Z, Direction.Z_A)
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
