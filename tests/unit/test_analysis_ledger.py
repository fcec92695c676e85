"""Who lost it: bookings from counters, and the interval of what is left for the path."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from perfharness.analysis import ledger
from perfharness.analysis.counters import Row, record
from perfharness.model import Direction, LedgerRow, Scope, Segment, Window

START, END = 1_000_000_000_000, 1_010_000_000_000
WINDOW = Window(START, END)
SCOPE = Scope("ec-1", "a:z", Direction.A_Z)
IP = {
    **{"InReceives": 1_000, "InDelivers": 990, "InHdrErrors": 1, "InAddrErrors": 2, "InDiscards": 3},
    **{"InUnknownProtos": 4, "ReasmReqds": 0, "ReasmOKs": 0, "ReasmFails": 0, "OutDiscards": 0, "OutNoRoutes": 0},
}
UDP = {"InCsumErrors": 0, "NoPorts": 6, "SndbufErrors": 0}
QUIET: dict[str, Any] = {
    "nic": {
        **{"tx_dropped": 3, "tx_errors": 0, "rx_dropped": 5, "rx_missed_errors": 0, "rx_fifo_errors": 0},
        "rx_errors": 0,
    },
    "qdisc": {"drops": 7},
    "softnet": {"dropped": 11, "time_squeeze": 2},
    "snmp": {
        "Ip": {**IP, "ForwDatagrams": 0},
        "Ip6": {**IP, "OutForwDatagrams": 0},
        "Udp": {**UDP, "RcvbufErrors": 100, "MemErrors": 0},
        "Udp6": {**UDP, "RcvbufErrors": 0},
    },
}


def rows(**rise: dict[str, int]) -> list[dict[str, Any]]:
    """Counters over the window that stand still but for what is given, e.g. ``Udp={"RcvbufErrors": 2}``."""
    after = copy.deepcopy(QUIET)
    for group, counters in rise.items():
        target = after["snmp"][group] if group in after["snmp"] else after[group]
        for name, more in counters.items():
            target[name] += more
    return [{"t_ns": START - 2_000_000_000, **copy.deepcopy(QUIET)}, {"t_ns": END + 2_000_000_000, **after}]


ENDS: dict[str, Any] = {"scope": SCOPE, "sender_segment": Segment.HOST_A, "receiver_segment": Segment.HOST_Z}


def book(
    lost: int = 0, sender: Sequence[Row] | None = None, receiver: Sequence[Row] | None = None, **given: Any
) -> dict[str, LedgerRow]:
    """The stages by name; ``given``: of ``ledger.Missing``, or where it is booked."""
    ends = {name: given.pop(name, value) for name, value in ENDS.items()}
    missing = ledger.Missing(**{"packets": lost, "window": WINDOW, "sockets": [{"drops": 0}], **given})
    hosts = [record(rows() if each is None else each) for each in (sender, receiver)]
    return {row.stage: row for row in ledger.book(missing, *hosts, **ends)}


def range_of(found: dict[str, LedgerRow]) -> tuple[int, int]:
    return ledger.host_loss(tuple(found.values()))


def test_quiet_hosts_lost_nothing():
    """Counters that stand still book 0 to 0, whatever they stood at before."""
    assert range_of(book(lost=50)) == (0, 0)


def test_the_socket_s_own_drops_are_exact_and_booked_once():
    """34,858 drops of our socket are also in the namespace's count: booked once, exactly, at the receiver."""
    found = book(34_858, receiver=rows(Udp={"RcvbufErrors": 34_858}), sockets=[{"drops": 34_858}])
    assert range_of(found) == (34_858, 34_858)
    socket = found[ledger.RECEIVER_SOCKET]
    assert (socket.segment, socket.shared) == (Segment.HOST_Z, False)
    assert found[ledger.RECEIVER_BUFFERS].packets_hi == 0


def test_what_the_namespace_counts_beyond_our_socket_only_bounds():
    """1,000 buffer errors of which our socket had 400: at least 400, at most 1,000."""
    found = book(1_200, receiver=rows(Udp={"RcvbufErrors": 1_000}), sockets=[{"drops": 150}, {"drops": 250}])
    assert range_of(found) == (400, 1_000)


def test_without_the_socket_s_count_the_namespace_s_bounds():
    """A socket that could not be read: its stage is not booked and the shared count is 0 to all of it."""
    found = book(1_200, receiver=rows(Udp={"RcvbufErrors": 1_000, "MemErrors": 5}), sockets=[{"drops": None}])
    assert range_of(found) == (0, 1_005)
    assert ledger.RECEIVER_SOCKET not in found


def test_what_came_corrupted_is_not_the_host_s_loss():
    """48 drops of our socket, all with a wrong checksum: the host lost none. The 7 that were too many, it did."""
    corrupted = book(48, receiver=rows(Udp={"InCsumErrors": 48}), sockets=[{"drops": 48}])
    assert range_of(corrupted) == (0, 0) and "corrupted" in corrupted[ledger.RECEIVER_SOCKET].counter
    both = rows(Udp={"InCsumErrors": 48, "RcvbufErrors": 7})
    assert range_of(book(55, receiver=both, sockets=[{"drops": 55}])) == (7, 7)


def test_corruption_that_may_be_another_program_s_leaves_a_range():
    """Of 50 drops of our socket 20 may have come corrupted, and full buffers are counted 90 times: 30 to 90."""
    receiver = rows(Udp={"InCsumErrors": 20, "RcvbufErrors": 90})
    assert range_of(book(200, receiver=receiver, sockets=[{"drops": 50}])) == (30, 90)


@pytest.mark.parametrize(("absent", "expected"), [("InCsumErrors", (0, 40)), ("MemErrors", (40, 50))])
def test_a_kernel_without_one_of_the_counters_leaves_a_range(absent: str, expected: tuple[int, int]):
    """Which of 50 drops were corruption, or which were for want of memory, is then unknown."""
    receiver = rows(Udp={"RcvbufErrors": 40, "InCsumErrors": 10})
    for row in receiver:
        del row["snmp"]["Udp"][absent]
    assert range_of(book(60, receiver=receiver, sockets=[{"drops": 50}])) == expected


def test_what_a_filter_kept_from_our_socket_is_no_loss():
    """Its drops are counted by the socket alone: no buffer was full, and nothing came corrupted."""
    assert range_of(book(9, sockets=[{"drops": 9}])) == (0, 0)


def test_the_family_chooses_the_counter():
    """An IPv6 stream is not booked on IPv4's buffer errors."""
    receiver = rows(Udp={"RcvbufErrors": 9})
    assert range_of(book(9, receiver=receiver, scope=Scope("ec-1", family="ipv6"))) == (0, 0)


def test_shared_counters_are_ranges_from_zero():
    """Each stage in its row, with segment and counter; the least is 0, since others use them too."""
    found = book(
        100,
        sender=rows(qdisc={"drops": 10}, nic={"tx_dropped": 1, "tx_errors": 2}),
        receiver=rows(nic={"rx_dropped": 20, "rx_missed_errors": 4, "rx_fifo_errors": 3}, softnet={"dropped": 8}),
    )
    most = {stage: (row.packets_lo, row.packets_hi, row.segment, row.shared) for stage, row in found.items()}
    assert {stage: told for stage, told in most.items() if told[1]} == {
        ledger.SENDER_QDISC: (0, 10, Segment.HOST_A, True),
        ledger.SENDER_NIC: (0, 3, Segment.HOST_A, True),
        # The backlog's 8 drops are in the interface's 20 as well.
        ledger.RECEIVER_NIC: (0, 12 + 4 + 3, Segment.HOST_Z, True),
        ledger.RECEIVER_SOFTNET: (0, 8, Segment.HOST_Z, True),
    }


def test_an_ingress_filter_of_the_receiver_is_the_receiver_s():
    """What tc drops as it comes in is in no interface counter, but the host's all the same."""
    before, after = rows()
    receiver = [{**before, "ingress": {"drops": 1}}, {**after, "ingress": {"drops": 9}}]
    assert book(10, receiver=receiver)[ledger.RECEIVER_NIC].packets_hi == 8


def test_transmit_stamps_bound_the_queue():
    """The queue dropped 10 packets, but all but 2 of the lost ones have a transmit stamp: at most 2 were ours."""
    found = book(100, sender=rows(qdisc={"drops": 10}), untransmitted=2)
    row = found[ledger.SENDER_QDISC]
    assert row.packets_hi == 2 and "transmit stamp" in row.counter and "10" in row.counter


@pytest.mark.parametrize(
    "receiver",
    [
        [],
        rows()[:1],
        [{"t_ns": START + 10, **QUIET}, {"t_ns": END - 10, **QUIET}],
        [{"t_ns": row["t_ns"]} for row in rows()],
        [{"nic": "?"}, {}],
    ],
    ids=["no rows", "one row", "not the whole window", "no fields", "no times"],
)
def test_an_absent_counter_is_unknown_not_zero(receiver: list[dict[str, Any]]):
    """A stage that cannot tell may have lost all that is missing, and says that it is unknown."""
    found = book(50, receiver=receiver, sockets=[])
    for stage in (ledger.RECEIVER_NIC, ledger.RECEIVER_SOFTNET, ledger.RECEIVER_BUFFERS):
        assert found[stage].packets_hi == 50 and found[stage].counter.startswith("unknown")
    assert found[ledger.SENDER_QDISC].packets_hi == 0


def test_a_counter_that_fell_is_unknown():
    """A reset in the window hides what was before it."""
    receiver = rows()
    receiver[1] = {**receiver[1], "softnet": {"dropped": 0}}
    assert book(50, receiver=receiver)[ledger.RECEIVER_SOFTNET].packets_hi == 50


@pytest.mark.parametrize("last", [12, 3, 1_000], ids=["a little more", "less", "much more"])
def test_a_counter_that_fell_on_the_way_is_unknown_whatever_it_ends_at(last: int):
    """Reset, or run over at 32 bits, between the first and the last row: the difference of the two says nothing."""
    before, after = rows()
    middle = {**before, "t_ns": START, "softnet": {"dropped": 0}}
    receiver = [before, middle, {**after, "softnet": {"dropped": last}}]
    found = book(50, receiver=receiver)[ledger.RECEIVER_SOFTNET]
    assert found.packets_hi == 50 and found.counter.startswith("unknown")


def test_a_clock_that_is_set_meanwhile_does_not_shorten_a_recording():
    """Its length is that of the monotonic clock: a short one stays unknown, a whole one known."""
    for length, most in ((14_000_000_000, 6), (3_000_000_000, 50)):
        before, after = rows(nic={"rx_missed_errors": 6})
        receiver = [{**before, "mono_ns": 0}, {**after, "t_ns": START - 3_600_000_000_000, "mono_ns": length}]
        assert book(50, receiver=receiver)[ledger.RECEIVER_NIC].packets_hi == most


def test_an_ingress_filter_that_comes_in_mid_run_counts():
    """It begins at 0, and what it dropped counts though it has gone again at the end."""
    before, after = rows()
    receiver = [before, {**before, "t_ns": START, "ingress": {"drops": 9}}, after]
    assert book(10, receiver=receiver)[ledger.RECEIVER_NIC].packets_hi == 9


def test_rows_that_lack_a_counter_in_between_are_no_reset():
    """A row without the card's counters, which could not be read just then, changes nothing."""
    before, after = rows(nic={"rx_missed_errors": 6})
    hole = {"t_ns": START, "softnet": {"dropped": 11}}
    assert book(50, receiver=[before, hole, after])[ledger.RECEIVER_NIC].packets_hi == 6


def test_rows_by_another_clock_still_count():
    """A receiver whose clock is an hour off: its recording is as long as the window, so it bounds."""
    receiver = [{**row, "t_ns": row["t_ns"] + 3_600_000_000_000} for row in rows(nic={"rx_missed_errors": 6})]
    assert book(50, receiver=receiver)[ledger.RECEIVER_NIC].packets_hi == 6


def test_loss_that_a_host_explains_leaves_the_path_undecided():
    """All losses may be the host's: from 0 up to what chance allows for all of them; more packets decide nothing."""
    interval = ledger.loss_interval(100, 30_000, (0, 100))
    assert interval.lo == 0.0
    assert interval.hi > 100 / 30_000
    assert interval.n_eff is None and "0 to 100 packets" in interval.method


def test_loss_that_a_host_proves_is_not_the_path_s():
    """All losses booked exactly at the receiver's socket: the path lost none of 30,000."""
    interval = ledger.loss_interval(34_858, 400_000, (34_858, 34_858), n_eff=10.0)
    assert interval.lo == 0.0
    assert interval.hi == pytest.approx(1 - 0.05 ** (1 / 400_000))


def test_loss_with_quiet_hosts_is_the_path_s():
    """Both ends of the interval come from the lost packets, on the effective number of packets."""
    wide, narrow = (ledger.loss_interval(100, 30_000, (0, 0), n_eff) for n_eff in (3_000.0, None))
    assert 0 < wide.lo < narrow.lo < 100 / 30_000 < narrow.hi < wide.hi
    assert (wide.n_eff, narrow.n_eff) == (3_000.0, 30_000.0)


@pytest.mark.parametrize(("lost", "sent"), [(-1, 10), (11, 10), (0, 0)])
def test_counts_that_cannot_be_are_no_interval(lost: int, sent: int):
    """Negative loss, more lost than sent, or nothing sent: an error, never a clamped figure."""
    with pytest.raises(ValueError, match="cannot be lost"):
        ledger.loss_interval(lost, sent, (0, 0))
