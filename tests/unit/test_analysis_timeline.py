"""When probes were lost: moments by each host's clock, events, and answers that came too late."""

from __future__ import annotations

import numpy as np

from perfharness.analysis import timeline
from perfharness.analysis.samples import Samples, join
from perfharness.model import Direction
from tests.unit.probe_stream import KERNEL, START_UNIX_NS, USER, Packet, files

WAIT_NS = 2_000_000_000
SECOND = 1_000_000_000


def samples(packets: list[Packet]) -> Samples:
    sender, reflector, result = files(packets)
    return join(sender, reflector, result)


def test_moments_are_by_each_host_s_own_clock() -> None:
    """The reflector's clock is 3 s ahead, the way there takes 10 ms: found from the packets that arrived."""
    lost = timeline.departures(
        samples([Packet(seq, forward_ns=None if seq == 500 else 10_000_000) for seq in range(1_000)]),
        Direction.A_Z,
        WAIT_NS,
    )
    assert lost is not None and lost.passage_ns == (3_010_000_000, 3_010_000_000)
    here, there = lost.moments()
    assert there is not None
    assert here is not None and 0.4e9 < here.start_ns[0] + timeline.SLACK_NS - START_UNIX_NS < 0.6e9
    assert (there.start_ns - here.start_ns).tolist() == [3_010_000_000]
    assert there.end_ns[0] - there.start_ns[0] == 2 * timeline.SLACK_NS


def test_nothing_that_arrived_leaves_the_receiver_s_moments_unknown() -> None:
    """Without any packet that came through nobody knows the clocks."""
    everything = timeline.departures(
        samples([Packet(0), *(Packet(s, None) for s in range(1, 9))]), Direction.A_Z, WAIT_NS
    )
    assert everything is not None and everything.moments()[1] is not None
    none = timeline.Departures(np.array([1]), None, np.array([False]), np.array([False]))
    assert none.moments()[1] is None


def test_losses_within_a_second_are_one_event() -> None:
    """The largest are kept, in order of time."""
    left = np.concatenate([np.arange(3) * SECOND // 2, 10 * SECOND + np.arange(2) * 10])
    nothing = np.zeros(5, np.bool_)
    assert timeline.events(timeline.Departures(left, None, nothing, nothing)) == [slice(0, 3), slice(3, 5)]
    many = np.arange(100) * 5 * SECOND
    assert len(timeline.merged(many, many)) == timeline.MOST_EVENTS


def test_answers_kept_for_longer_than_the_wait_are_the_reflector_s() -> None:
    """Late by what the reflector kept them, or beyond all waiting: held. Late on the way, or lost: not."""
    packets = [
        Packet(0, turnaround_ns=1_990_000_000, late=True),
        Packet(1, turnaround_ns=2_500_000_000, backward_ns=None),
        Packet(2, backward_ns=2_100_000_000, late=True),
        Packet(3, backward_ns=None),
        Packet(4),
    ]
    lost = timeline.departures(samples(packets), Direction.Z_A, WAIT_NS)
    assert lost is not None
    assert sorted(lost.held.tolist()) == [False, False, True, True]


def test_only_a_kernel_s_stamp_proves_that_a_packet_left() -> None:
    """A user's stamp was taken before the queue."""
    packets = [
        Packet(0),
        Packet(1, forward_ns=None, sources=(USER, KERNEL, KERNEL, KERNEL)),
        Packet(2, forward_ns=None),
    ]
    lost = timeline.departures(samples(packets), Direction.A_Z, WAIT_NS)
    assert lost is not None and lost.untransmitted.tolist() == [True, False]
