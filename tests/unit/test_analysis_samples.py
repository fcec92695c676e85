"""Joining the sender's records with the reflector's log, and the delays and losses that follow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perfagent import records
from perfagent.records import HARDWARE
from perfagent.schedule import offsets_ns, turns
from perfharness.analysis import clock, delay, loss
from perfharness.analysis.samples import Samples, join, schedule
from perfharness.analysis.turns import Turn
from perfharness.errors import EvidenceBroken
from perfharness.model import Direction
from tests.unit.probe_stream import INTERVAL_NS, KERNEL, START_MONO_NS, USER, Packet, files


def stream(*packets: Packet, log: bool = True, **options: bool) -> Samples:
    sender, reflector, result = files(list(packets))
    return join(sender, reflector if log else None, result, **options)


def test_rtt_leaves_the_turnaround_out_and_keeps_the_nanosecond():
    """(T4-T1)-(T3-T2) is exact to the ns, whatever the other host's clock and however long it took to answer."""
    packets = [Packet(0, 10_000_001, 12_000_002), Packet(1, 1, 2, turnaround_ns=900_000_000, offset_ns=-(10**15))]
    assert delay.rtt_ns(stream(*packets)).tolist() == [22_000_003.0, 3.0]


def test_a_turnaround_that_cannot_be_is_no_delay():
    """The reflector's clock was set between T2 and T3, either way: counted, and no least delay for PDV."""
    samples = stream(
        Packet(0),
        Packet(1, turnaround_ns=-1_000_000_000, backward_ns=1_012_000_000),
        Packet(2, turnaround_ns=1_000_000_000, backward_ns=-988_000_000),
    )
    assert np.isnan(delay.rtt_ns(samples)).tolist() == [False, True, True]
    assert delay.rtt_sources(samples) == {"kernel/kernel": 1, "clock step": 2}


def test_a_lost_packet_is_infinitely_late_and_an_unsent_one_is_not_there():
    """Lost in either direction or later than the waiting time = inf; not sent = not offered = no sample."""
    samples = stream(
        Packet(0), Packet(1, forward_ns=None), Packet(2, backward_ns=None), Packet(3, sent=False), Packet(4, late=True)
    )
    assert samples.seq.tolist() == [0, 1, 2, 4]
    assert delay.rtt_ns(samples).tolist() == [22_000_000.0, np.inf, np.inf, np.inf]


def test_loss_is_told_apart_by_direction():
    """Forward = sent and not seen; backward = answered and no reply; the host that did not answer is neither."""
    found = loss.by_direction(
        stream(
            *(Packet(seq, forward_ns=None) for seq in range(0, 3)),
            *(Packet(seq, backward_ns=None) for seq in range(3, 5)),
            Packet(5, answered=False),
            *(Packet(seq) for seq in range(6, 20)),
        )
    )
    assert found.forward is not None and found.backward is not None
    assert (found.forward.count, found.forward.offered) == (3, 20)
    assert (found.backward.count, found.backward.offered) == (2, 16)
    assert (found.round_trip.count, found.unanswered, found.unknown) == (6, 1, 0)
    assert found.forward.seq[found.forward.lost].tolist() == [0, 1, 2]


def test_without_the_log_there_is_no_direction():
    """Nobody can tell there from back without the reflector's log: None, not zero."""
    found = loss.by_direction(stream(Packet(0), Packet(1, forward_ns=None), log=False))
    assert (found.forward, found.backward) == (None, None)
    assert (found.round_trip.count, found.unknown) == (1, 1)


@pytest.mark.parametrize("torn", [True, False], ids=["torn file", "killed reflector"])
def test_a_log_that_ends_early_says_nothing_of_what_came_later(torn: bool):
    """Losses after the last record of an incomplete log are of unknown direction; earlier ones are known."""
    sender, reflector, result = files([Packet(seq, None if seq in (1, 8) else 1_000) for seq in range(10)])
    whole = len(records.HEADER) + 5 * records.RECORD_BYTES
    samples = join(sender, reflector[: whole + 17 * torn], result, reflector_complete=torn)
    found = loss.by_direction(samples)
    assert found.forward is not None
    assert (found.forward.count, found.unknown) == (1, 1)


def test_kernel_stamps_of_the_log_come_before_those_of_the_reply():
    """T2 and T3 are the log's; a log with one stamp of another kind leaves it to the reply."""
    samples = stream(Packet(0), Packet(1, sources=(KERNEL, KERNEL, USER, KERNEL)))
    assert (samples.s2.tolist(), samples.s3.tolist()) == ([KERNEL, records.REMOTE], [KERNEL, records.REMOTE])
    # The reply's own stamps are 7 and 9 µs off, as the test's reflector wrote them.
    assert delay.rtt_ns(samples).tolist() == [22_000_000.0, 22_016_000.0]
    assert delay.rtt_sources(samples) == {"kernel/kernel": 1, "kernel/remote": 1}
    assert samples.kernel_share == 0.5


def test_stamps_of_two_sources_are_never_subtracted():
    """A user T1 with a kernel T4 gives no round trip: not measured, and counted."""
    samples = stream(Packet(0), Packet(1, sources=(USER, KERNEL, KERNEL, KERNEL)))
    rtt = delay.rtt_ns(samples)
    assert rtt[0] == 22_000_000.0 and np.isnan(rtt[1])
    assert delay.rtt_sources(samples) == {"kernel/kernel": 1, "unlike sources": 1}


def test_a_reflector_that_does_not_stamp_has_a_round_trip_all_the_same():
    """Its turnaround is part of it then, and the sources say so."""
    stamped = stream(Packet(0), log=False)
    nothing = {name: getattr(stamped, name) * 0 for name in ("t2", "t3", "s2", "s3")}
    samples = replace(stamped, **nothing)
    assert delay.rtt_ns(samples).tolist() == [22_050_000.0]
    assert delay.rtt_sources(samples) == {"kernel/absent": 1}


def test_stamps_that_cannot_be_are_dropped_one_packet_at_a_time():
    """Of a reflector that nobody vouches for: a turnaround below zero, or above the round trip, is not subtracted."""
    samples = delay.believed(
        stream(
            Packet(0),
            Packet(1, turnaround_ns=-1_000_000_000, backward_ns=1_012_000_000),
            Packet(2, turnaround_ns=1_000_000_000, backward_ns=-988_000_000),
            log=False,
        )
    )
    assert delay.rtt_ns(samples).tolist() == [22_016_000.0, 22_000_000.0, 22_000_000.0]


CARD = (HARDWARE, HARDWARE, HARDWARE, HARDWARE)


def test_stamps_of_the_card_are_as_good_as_the_kernels():
    """Four of the card's make a round trip, prove that the packet left, and tell the timer error."""
    samples = stream(Packet(0, sources=CARD), Packet(1, sources=CARD, backward_ns=None))
    assert delay.rtt_ns(samples).tolist() == [22_000_000.0, np.inf]
    assert delay.rtt_sources(samples) == {"hardware/hardware": 1}
    assert samples.kernel_share == 1.0
    assert samples.untransmitted(Direction.Z_A) == 0
    assert delay.timer_error_ns(samples) == pytest.approx([20_000, 20_000])


@pytest.mark.parametrize(
    ("usual", "rare"),
    [(CARD, (KERNEL,) * 4), ((KERNEL,) * 4, CARD), (CARD, (HARDWARE, KERNEL, KERNEL, HARDWARE))],
)
def test_the_rarer_kind_is_no_variation_of_the_path(usual: tuple[int, ...], rare: tuple[int, ...]):
    """Beside others a round trip by other stamps at either end is not measured, and counted as that."""
    packets = [Packet(seq, sources=usual) for seq in range(9)] + [Packet(9, sources=rare)]
    samples = stream(*packets)
    assert np.flatnonzero(np.isnan(delay.rtt_ns(samples))).tolist() == [9]
    assert delay.rtt_sources(samples)["unlike sources"] == 1
    assert samples.kernel_share == 1.0


def test_a_card_at_one_end_alone_is_no_mixture():
    """The same kinds for all packets: round trips by the card's T1 and T4 and the kernel's T2 and T3."""
    samples = stream(*(Packet(seq, sources=(HARDWARE, KERNEL, KERNEL, HARDWARE)) for seq in range(5)))
    assert delay.rtt_sources(samples) == {"hardware/kernel": 5}
    assert samples.kernel_share == 1.0


def test_user_stamps_at_both_ends_are_alike():
    """Four user stamps make a round trip, and no kernel share."""
    samples = stream(Packet(0, sources=(USER, USER, USER, USER)))
    assert delay.rtt_ns(samples).tolist() == [22_000_000.0]
    assert samples.kernel_share == 0.0


def test_no_reply_at_all_has_no_kernel_share():
    """A share of nothing is None."""
    samples = stream(Packet(0, forward_ns=None))
    assert samples.kernel_share is None
    assert delay.rtt_sources(samples) == {}


def test_only_lost_packets_without_a_transmit_stamp_can_be_the_queue_s():
    """A kernel T1 proves that the packet left the sender's queue."""
    lost = [Packet(0, forward_ns=None), Packet(1, forward_ns=None, sources=(USER, KERNEL, KERNEL, KERNEL))]
    back = [Packet(2, backward_ns=None), Packet(3, backward_ns=None, sources=(KERNEL, KERNEL, USER, KERNEL))]
    samples = stream(*lost, *back, Packet(4))
    assert (samples.untransmitted(Direction.A_Z), samples.untransmitted(Direction.Z_A)) == (1, 1)


def test_the_timer_error_is_the_stamp_against_the_schedule():
    """The kernel's T1, led back to CLOCK_MONOTONIC, less the deadline; unknown without a kernel stamp."""
    sources = (USER, KERNEL, KERNEL, KERNEL)
    samples = stream(Packet(0, late_by_ns=31_000), Packet(1, late_by_ns=-2_000), Packet(2, sources=sources))
    assert delay.timer_error_ns(samples) == pytest.approx([31_000, -2_000, np.nan], nan_ok=True)


def test_blocks_are_seconds_of_the_schedule():
    """The block index counts seconds since the first packet and never decreases."""
    samples = stream(*(Packet(seq) for seq in range(2500)))
    assert np.bincount(samples.block).tolist() == [1000, 1000, 500]


def test_a_step_of_the_clock_takes_away_what_was_under_way():
    """Round trips that may have seen the clock being set are not measured; all others stand."""
    sender, reflector, result = files([Packet(seq) for seq in range(8000)])
    result["clock"] = [
        [mono, unix + (70_000_000 if mono > START_MONO_NS + 4.5e9 else 0)] for mono, unix in result["clock"]
    ]
    samples = join(sender, reflector, result)
    (step,) = clock.steps(samples.clock)
    assert step.size_ns == 70_000_000
    missing = np.flatnonzero(np.isnan(delay.rtt_ns(samples)))
    assert (missing[0] * INTERVAL_NS, missing[-1] * INTERVAL_NS) == pytest.approx((2e9, 5e9), abs=2 * INTERVAL_NS)
    assert delay.rtt_sources(samples)["clock step"] == len(missing)


def test_directional_variation_needs_no_common_clock():
    """IPDV of each way is exact although the clocks differ by a million seconds."""
    there = [1_000_000, 1_500_000, 900_000]
    samples = stream(*(Packet(seq, forward, offset_ns=10**15) for seq, forward in enumerate(there)))
    assert delay.ipdv(delay.one_way_raw_ns(samples, Direction.A_Z))[1:].tolist() == [500_000.0, -600_000.0]
    assert delay.ipdv(delay.one_way_raw_ns(samples, Direction.Z_A))[1:].tolist() == [0.0, 0.0]


def test_arrivals_show_reordering_on_the_way_there():
    """The reflector's log is in the order of arrival: an overtaken packet is reordered."""
    samples = stream(Packet(0), Packet(1, forward_ns=13_000_000), Packet(2), Packet(3))
    assert samples.arrivals.tolist() == [0, 2, 3, 1]
    assert loss.reordered(samples.arrivals).tolist() == [False, False, False, True]


def test_the_way_back_is_not_blamed_for_the_order_of_the_way_there():
    """Overtaken there, replies keep the order in which they left; only what is overtaken again is reordered."""
    there = [Packet(0), Packet(1, forward_ns=13_500_000), Packet(2), Packet(3), Packet(4)]
    assert not loss.reordered(loss.returns(stream(*there))).any()
    there[2].backward_ns = 14_200_000  # behind 3 and 4
    assert loss.reordered(loss.returns(stream(*there))).sum() == 1


def test_without_the_log_nobody_knows_the_order_on_the_way_back():
    """No reply can be numbered, so none is counted as in order."""
    assert len(loss.returns(stream(Packet(0), Packet(1), log=False))) == 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "not a file of sample records"),
        (lambda data: b"GARBAGE" + data[7:], "not a file of sample records"),
        (lambda data: data[:6] + b"\x09\x00" + data[8:], "version 9"),
        (lambda data: data[:32] + b"\xff" * 4 + data[36:], "beyond its own length"),
    ],
)
def test_damaged_records_are_refused_with_a_sentence(damage, words):
    """Bad magic, version or numbering never becomes a figure."""
    sender, reflector, result = files([Packet(0)])
    with pytest.raises(EvidenceBroken, match=words):
        join(damage(sender), reflector, result)


def test_only_whole_records_of_a_truncated_file_are_used():
    """A sender's file that ends within a record gives the packets before it."""
    sender, reflector, result = files([Packet(seq) for seq in range(3)])
    assert join(sender[:-1], reflector, result).seq.tolist() == [0, 1]


def test_nothing_sent_is_nothing_lost_and_nothing_measured():
    """An empty stream gives empty columns, no figure and no error."""
    samples = stream(Packet(0, sent=False))
    assert len(delay.rtt_ns(samples)) == len(delay.timer_error_ns(samples)) == len(samples.block) == 0
    assert delay.rtt_sources(samples) == {}
    assert loss.by_direction(samples).round_trip.offered == 0


def test_a_lost_result_still_leaves_delays_and_blocks():
    """Without the sender's result there is no schedule: no timer error, blocks by the stamps."""
    sender, reflector, _ = files([Packet(seq) for seq in range(1500)])
    samples = join(sender, reflector, {})
    assert np.isnan(delay.timer_error_ns(samples)).all()
    assert samples.block[-1] == 1
    assert np.all(delay.rtt_ns(samples) == 22_000_000)


@pytest.mark.parametrize("every", [(1,), (1, 1, 1), (20, 1), (20, 33, 4), (3, 2)])
def test_due_times_are_drawn_again_in_pieces(every: tuple[int, ...]) -> None:
    """Whatever turns the kinds of a stream use, and wherever a piece ends, as the sender drew them."""
    drawn = {"pattern": "periodic", "interval_ns": 125_000, "count": 3_000, "seed": 7, "every": list(every)}
    pieces = schedule({"start_mono_ns": 10**9, "schedule": drawn}, (1_000, 1, 0, 1_999))
    assert pieces is not None
    assert np.concatenate(list(pieces)).tolist() == [10**9 + at for at in offsets_ns(**drawn)]  # type: ignore[arg-type]  # drawn from JSON types


@pytest.mark.parametrize("every", [(1,), (1, 1, 1), (20, 1), (20, 33, 4), (3, 2)])
def test_each_kind_is_numbered_without_gaps(every: tuple[int, ...]) -> None:
    """Every packet is of one kind, and those of a kind are numbered 0, 1, 2, … as many as are counted."""
    seq = np.arange(1_234)
    kinds = [Turn(which, turns(every)) for which in range(len(every))]
    assert (sum(kind.mine(seq).astype(int) for kind in kinds) == 1).all()
    for kind in kinds:
        assert kind.number(seq[kind.mine(seq)]).tolist() == list(range(kind.count(len(seq))))
