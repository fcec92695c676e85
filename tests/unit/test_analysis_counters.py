"""Counters over time: what rose in the moments of a loss, and what cannot be told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perfharness.analysis import ledger
from perfharness.analysis.counters import Moments, record
from perfharness.model import Direction, Scope, Segment, Window
from tests.unit.test_analysis_ledger import IP, QUIET

SECOND = 1_000_000_000
START = 1_000 * SECOND
WINDOW = Window(START, START + 10 * SECOND)
SOFTNET = ("softnet", "dropped")


def rows(values: list[int | None]) -> list[dict[str, Any]]:
    """A row a second from START on, with what softnet dropped; None: the row lacks it."""
    return [
        {
            "t_ns": START + i * SECOND,
            "mono_ns": i * SECOND,
            **({} if value is None else {"softnet": {"dropped": value}}),
        }
        for i, value in enumerate(values)
    ]


def at(*brackets: tuple[float, float, int]) -> Moments:
    """(from, to, packets) in seconds after START."""
    start, end, packets = zip(*brackets, strict=True)
    return Moments(
        np.array([START + round(s * SECOND) for s in start]),
        np.array([START + round(s * SECOND) for s in end]),
        np.array(packets),
    )


RISING: list[int | None] = [0, 0, 0, 5, 5, 5, 5, 7, 7, 7, 7]
"""5 between the seconds 2 and 3, 2 between 6 and 7."""


@pytest.mark.parametrize(
    ("when", "rose", "lost"),
    [
        (at((2.2, 2.8, 9)), [5], [9]),
        (at((4.2, 4.8, 9)), [0], [9]),
        (at((2.2, 2.8, 1), (6.5, 6.6, 1), (8.1, 8.2, 3)), [5, 2, 0], [1, 1, 3]),
        (at((1.5, 2.5, 1), (2.6, 3.5, 2)), [5], [3]),
        (at((-1.0, 0.5, 1)), [0], [1]),
    ],
    ids=["the same second", "another second", "three runs", "two that touch", "begins before the recording"],
)
def test_only_what_rose_when_packets_were_lost_counts(when: Moments, rose: list[int], lost: list[int]) -> None:
    """A run of time for losses that belong together, with what the counter rose by in it."""
    rises = record(rows(RISING)).rises(WINDOW, sum(lost), when)
    assert (rises.runs[SOFTNET].tolist(), rises.lost.tolist(), rises.timed) == (rose, lost, True)
    assert rises.whole[SOFTNET] == 7


@pytest.mark.parametrize("when", [None, at((20.0, 21.0, 3)), at((-9.0, -8.0, 3))], ids=["unknown", "after", "before"])
def test_without_a_time_all_of_the_recording_counts(when: Moments | None) -> None:
    """As when the moments do not lie within it: then they are told by another clock than we thought."""
    rises = record(rows(RISING)).rises(WINDOW, 3, when)
    assert (rises.runs[SOFTNET].tolist(), rises.lost.tolist(), rises.timed) == ([7], [3], False)


def test_a_clock_set_back_tells_no_times() -> None:
    """Rows that are not in order of time cannot be held against moments."""
    told = rows(RISING)
    told[5]["t_ns"] -= 3 * SECOND
    assert record(told).rises(WINDOW, 3, at((4.2, 4.8, 3))).runs[SOFTNET].tolist() == [7]


def test_a_rise_across_rows_that_lack_the_counter_may_have_come_in_any_of_them() -> None:
    """It counts for each of the runs that it may belong to."""
    told: list[int | None] = [0, 0, None, None, None, 4, 4, 4, 4, 4, 4]
    rises = record(rows(told)).rises(WINDOW, 3, at((1.2, 1.8, 1), (3.4, 3.6, 1), (6.2, 6.8, 1)))
    assert rises.runs[SOFTNET].tolist() == [4, 4, 0]


@pytest.mark.parametrize(
    "values",
    [[0, 9, 9, 0, 1, 1, 1, 1, 1, 1, 20], [2**32 - 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1], [None, *RISING[1:]]],
    ids=["reset", "ran over", "not in the first row"],
)
def test_what_a_counter_missed_is_unknown(values: list[int | None]) -> None:
    """It does not tell, also not as zero."""
    rises = record(rows(values)).rises(WINDOW, 3, at((4.2, 4.8, 3)))
    assert SOFTNET not in rises.runs and SOFTNET in rises.broken
    assert rises.total((SOFTNET,)) is None and rises.total((), (SOFTNET,)) is None


def ip(received: list[int], delivered: list[int]) -> list[dict[str, Any]]:
    return [
        {"t_ns": START + i * SECOND, "mono_ns": i * SECOND, "snmp": {"Ip": {**IP, "InReceives": r, "InDelivers": d}}}
        for i, (r, d) in enumerate(zip(received, delivered, strict=True))
    ]


def test_what_ip_took_in_and_did_not_deliver_was_filtered() -> None:
    """A packet between two counters that are not read at one instant is none of it."""
    count = list(range(0, 1100, 100))
    delivered = [n - 7 * (i > 4) + (i in (2, 3, 8)) for i, n in enumerate(count)]
    rises = record(ip(count, delivered)).rises(WINDOW, 9, at((1.2, 1.8, 1), (4.2, 4.8, 8)))
    assert rises.runs["ip", "unaccounted"].tolist() == [0, 7]
    assert rises.whole["ip", "unaccounted"] == 7


def test_packets_under_way_in_one_row_were_not_filtered() -> None:
    """Counted as received and not yet as delivered when a row was read, and delivered in the next."""
    count = list(range(0, 1100, 100))
    delivered = [n - 3 * (i in (2, 6)) for i, n in enumerate(count)]
    assert record(ip(count, delivered)).rises(WINDOW, 9, None).whole["ip", "unaccounted"] == 0


# --- as the stages use it -------------------------------------------------------------------------


def stages(receiver: list[dict[str, Any]], lost: int, **given: Any) -> dict[str, tuple[int, int]]:
    quiet = record([{"t_ns": START + i * SECOND, "mono_ns": i * SECOND, **QUIET} for i in range(11)])
    missing = ledger.Missing(**{"packets": lost, "window": WINDOW, "sockets": [{"drops": 0}], **given})
    scope = Scope("c", "a:z", Direction.A_Z)
    found = ledger.book(
        missing, quiet, record(receiver), scope=scope, sender_segment=Segment.HOST_A, receiver_segment=Segment.HOST_Z
    )
    return {row.stage: (row.packets_lo, row.packets_hi) for row in found if row.packets_hi}


def quiet(**changed: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Rows of a quiet host but for counters of one group, value by value."""
    told = []
    for i in range(11):
        row = {"t_ns": START + i * SECOND, "mono_ns": i * SECOND, **QUIET}
        for group, counters in changed.items():
            now = {name: values[i] for name, values in counters.items()}
            if group in QUIET["snmp"]:
                row["snmp"] = {**row["snmp"], group: {**QUIET["snmp"][group], **now}}
            else:
                row[group] = {**QUIET.get(group, {}), **now}
        told.append(row)
    return told


STEP = [0, 0, 0, 50, 50, 50, 50, 50, 50, 50, 50]
"""50 between the seconds 2 and 3."""


def test_a_counter_explains_no_more_than_was_lost_when_it_rose() -> None:
    """It rose by 50 when one packet was lost; 20 were lost later: 1 of 21."""
    when = at((2.2, 2.8, 1), (7.2, 7.8, 20))
    receiver = quiet(nic={"rx_missed_errors": STEP})
    assert stages(receiver, 21, at_receiver=when) == {ledger.RECEIVER_NIC: (0, 1)}
    assert stages(receiver, 21) == {ledger.RECEIVER_NIC: (0, 21)}
    assert stages(receiver, 20, at_receiver=at((7.2, 7.8, 20))) == {}


@pytest.mark.parametrize(
    ("group", "counter", "stage"),
    [
        ("nic", "rx_fifo_errors", ledger.RECEIVER_NIC),
        ("nic", "rx_errors", ledger.RECEIVER_DAMAGED),
        ("nic", "rx_crc_errors", ledger.RECEIVER_DAMAGED),
        ("driver", "rx_out_of_buffer", ledger.RECEIVER_NIC),
        ("softnet", "dropped", ledger.RECEIVER_SOFTNET),
        ("Ip", "InDiscards", ledger.RECEIVER_IP),
        ("Ip", "ReasmFails", ledger.RECEIVER_IP),
        ("Udp", "NoPorts", ledger.RECEIVER_PORT),
        ("Udp", "InCsumErrors", ledger.DAMAGED),
        ("Udp", "RcvbufErrors", ledger.RECEIVER_BUFFERS),
    ],
)
def test_each_counter_has_its_stage(group: str, counter: str, stage: str) -> None:
    """Shared counters: from 0 to what they rose by."""
    assert stages(quiet(**{group: {counter: STEP}}), 60)[stage] == (0, 50)


def test_a_damaged_datagram_is_not_the_hosts() -> None:
    """Its checksum spans the whole way: it was damaged between the hosts as far as anybody knows."""
    missing = ledger.Missing(packets=60, window=WINDOW, sockets=[{"drops": 0}])
    receiver, sender = (record(each) for each in (quiet(Udp={"InCsumErrors": STEP}), quiet()))
    ends: dict[str, Any] = {"sender_segment": Segment.HOST_A, "receiver_segment": Segment.HOST_Z}
    scope = Scope("c")
    found = ledger.book(missing, sender, receiver, scope=scope, **ends)
    assert ledger.host_loss(found) == (0, 0)
    rest = ledger.rest(60, found, scope)
    assert (rest.packets_lo, rest.packets_hi, rest.segment) == (60, 60, Segment.BETWEEN)


def test_what_was_never_sent_is_not_among_the_missing() -> None:
    """Packets that the sender missed excuse no loss."""
    row = ledger.unsent(30, Scope("c"), Segment.HOST_A, "missed", ())
    assert ledger.host_loss([row]) == (0, 0)


def test_strangers_make_a_socket_s_drops_a_range() -> None:
    """Where others sent to it too, its drops may all be theirs."""
    drops = quiet(Udp={"RcvbufErrors": STEP})
    assert stages(drops, 60, sockets=[{"drops": 50}])[ledger.RECEIVER_SOCKET] == (50, 50)
    assert stages(drops, 60, sockets=[{"drops": 50, "others": True}])[ledger.RECEIVER_SOCKET] == (0, 50)


def test_the_namespace_s_count_says_when_a_socket_dropped() -> None:
    """All 50 of the socket's in one event, none in the other."""
    drops = quiet(Udp={"RcvbufErrors": STEP})
    part: dict[str, Any] = {"sockets": [{"drops": 50}], "part": True}
    assert stages(drops, 55, at_receiver=at((2.2, 2.8, 55)), **part) == {ledger.RECEIVER_SOCKET: (50, 50)}
    assert stages(drops, 5, at_receiver=at((7.2, 7.8, 5)), **part) == {}
    assert stages(drops, 5, at_receiver=at((70.2, 70.8, 5)), **part) == {ledger.RECEIVER_SOCKET: (0, 5)}, "no such time"
