"""The receiving sockets of a load over time: drops of the warm-up apart from later ones, and when iperf3 lost."""

from __future__ import annotations

from typing import Any

from perfharness.analysis.iperf3 import Flow, Slice
from perfharness.measurements.load_sockets import Trace, at_sender, moments, traces

START_NS = 1_795_399_200_000_000_000
SECOND = 1_000_000_000


def flow(lost: list[int], omit: int = 0) -> Flow:
    """An interval a second."""
    slices = [Slice(float(i), 1.0, 125_000, i < omit, None, 100 + n, n) for i, n in enumerate(lost)]
    return Flow(reverse=False, sending=False, slices=tuple(slices))


def sampled(told: Flow, drops_at: dict[float, int], busy: tuple[float, float] = (-1.0, -1.0)) -> tuple[Trace, ...]:
    """Ten rows a second; ``drops_at``: the count from that second on; ``busy``: when packets waited to be read."""
    rows: list[dict[str, Any]] = []
    for i in range(len(told.slices) * 10):
        since = i / 10
        count = max((drops for when, drops in drops_at.items() if when <= since), default=0)
        queued = 10_000_000 if busy[0] <= since < busy[1] else 0
        time = {"t_ns": START_NS + i * SECOND // 10, "mono_ns": i * SECOND // 10}
        rows.append({**time, "inode": 7, "drops": count, "queued_bytes": queued})
    return traces(told, rows, [{"inode": 7, "drops": max(drops_at.values(), default=0)}], 1_000_000)


def test_drops_of_the_warm_up_are_told_from_later_ones() -> None:
    """40 in the warm-up and 25 after it: exactly 25 are among the losses that are judged."""
    (trace,) = sampled(flow([40, 0, 0, 25, 0], omit=2), {0.8: 40, 3.3: 65})
    assert trace.kept(0) == (25, 25)


def test_drops_as_the_warm_up_ends_may_belong_to_either() -> None:
    """Within half a second of its end nobody can say in which interval iperf3 saw the gap."""
    (trace,) = sampled(flow([0, 0, 40, 0, 0], omit=2), {1.8: 40})
    assert trace.kept(0) == (0, 40)


def test_drops_of_the_warm_up_are_seen_late_while_packets_wait() -> None:
    """iperf3 sees a gap when it reads what came after it: with a long queue that may be after the warm-up."""
    (trace,) = sampled(flow([0, 0, 40, 0, 0], omit=2), {0.8: 40}, busy=(0.5, 3.0))
    assert trace.kept(0) == (0, 40)


def test_drops_at_the_end_may_be_of_the_tail() -> None:
    """As many as arrived in no count of iperf3's, if they were dropped then."""
    (trace,) = sampled(flow([0, 0, 0, 25, 0]), {3.3: 25, 4.8: 55})
    assert trace.kept(30) == (25, 55)
    (trace,) = sampled(flow([0, 0, 0, 25, 0]), {3.3: 25})
    assert trace.kept(30) == (25, 25)


def test_a_loss_lies_between_the_last_empty_queue_and_its_interval() -> None:
    """By the receiver's clock; the sender's is as far off as its packets seem to take."""
    when = moments(sampled(flow([0, 0, 0, 25, 0]), {3.3: 25}, busy=(1.0, 4.0)), 0)
    assert when is not None
    assert (when.start_ns - START_NS).tolist() == [900_000_000]
    assert (when.end_ns - START_NS).tolist() == [4_500_000_000]
    assert when.packets.tolist() == [25]
    here = at_sender(when, (-5 * SECOND, -4 * SECOND))
    assert (here.start_ns - START_NS).tolist() == [4_900_000_000]
    assert (here.end_ns - START_NS).tolist() == [9_500_000_000]


def test_a_socket_without_rows_has_no_times() -> None:
    """Where one socket was not sampled nothing is narrowed."""
    told = flow([0, 3])
    assert traces(told, [], [{"inode": 7, "drops": 3}], 1e6) == ()
    assert moments((), 0) is None
