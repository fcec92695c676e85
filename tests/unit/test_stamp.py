"""perfagent.stamp.packet and times: the STAMP base packet, against scapy's implementation and against itself."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.stamp import ErrorEstimate as ScapyErrorEstimate
from scapy.contrib.stamp import (
    STAMPSessionReflectorTestUnauthenticated,
    STAMPSessionSenderTestUnauthenticated,
)

from perfagent.stamp.packet import OPEN, Malformed
from perfagent.stamp.times import UNSYNCHRONISED, ErrorEstimate, decode_time, encode_time

NOW_NS = 1_795_375_600_123_456_789
"""A day in 2026."""
NTP_ERA_1_NS = (2**32 - 2_208_988_800) * 10**9
"""2036-02-07 06:28:16 UTC: NTP seconds start again at 0."""

NTP_END_NS = NTP_ERA_1_NS + 2**31 * 10**9
"""2104: as far as the era can be told."""

u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
times_ns = st.integers(0, NTP_END_NS - 1).filter(lambda ns: ns not in (0, NTP_ERA_1_NS))
error_words = st.builds(ErrorEstimate, st.booleans(), st.booleans(), st.integers(0, 63), u8).map(lambda e: e.word)


def _unix_ns(ntp_seconds: Decimal) -> int:
    return round((ntp_seconds - 2_208_988_800) * 10**9)


def test_scapy_reads_our_request() -> None:
    """Every field of our request stands where scapy looks for it."""
    packet = bytearray(44)
    word = ErrorEstimate(True, False, 17, 201).word
    OPEN.write_request(packet, 0xDEADBEEF, NOW_NS, word, 0x1234)
    read = STAMPSessionSenderTestUnauthenticated(bytes(packet))
    assert (read.seq, read.ssid, read.mbz) == (0xDEADBEEF, 0x1234, 0)
    assert (read.err_estimate.S, read.err_estimate.Z) == (1, 0)
    assert (read.err_estimate.scale, read.err_estimate.multiplier) == (17, 201)
    assert _unix_ns(read.ts) == NOW_NS


def test_scapy_reads_our_reply() -> None:
    """Every field of our reply stands where scapy looks for it, the sender's own ones included."""
    packet = bytearray(44)
    OPEN.write_request(packet, 7, NOW_NS, ErrorEstimate(False, False, 3, 4).word, 99)
    OPEN.turn_into_reply(packet, 8, NOW_NS + 1000, NOW_NS + 5000, 61, ErrorEstimate(True, False, 5, 6).word)
    read = STAMPSessionReflectorTestUnauthenticated(bytes(packet))
    assert (read.seq, read.ssid, read.seq_sender, read.ttl_sender) == (8, 99, 7, 61)
    assert (_unix_ns(read.ts_sender), _unix_ns(read.ts_rx), _unix_ns(read.ts)) == (
        NOW_NS,
        NOW_NS + 1000,
        NOW_NS + 5000,
    )
    assert (read.err_estimate.scale, read.err_estimate_sender.scale) == (5, 3)
    assert (read.mbz1, read.mbz2) == (0, 0)


def test_we_read_what_scapy_builds() -> None:
    """A request and a reply built by scapy mean the same to us."""
    estimate = ScapyErrorEstimate(S=1, Z=0, scale=9, multiplier=8)
    request = STAMPSessionSenderTestUnauthenticated(seq=5, ts=3_900_000_000, err_estimate=estimate, ssid=6)
    ours = OPEN.read_request(bytes(request))
    assert (ours.seq, ours.ssid) == (5, 6)
    assert ours.timestamp_ns == (3_900_000_000 - 2_208_988_800) * 10**9
    assert ErrorEstimate.of_word(ours.error_word) == ErrorEstimate(True, False, 9, 8)
    reply = STAMPSessionReflectorTestUnauthenticated(seq=1, seq_sender=5, ssid=6, ttl_sender=250)
    assert OPEN.read_reply(bytes(reply))._replace(transmit_ns=0, receive_ns=0)[:7:5] == (1, 5)
    assert OPEN.read_reply(bytes(reply)).sender_ttl == 250


@given(seq=u32, time_ns=times_ns, word=error_words, ssid=u16)
def test_request_round_trip(seq: int, time_ns: int, word: int, ssid: int) -> None:
    """A request is read as it was written, exact to the nanosecond in both time formats."""
    packet = bytearray(50)
    OPEN.write_request(packet, seq, time_ns, word, ssid)
    assert OPEN.read_request(packet) == (seq, time_ns, word, ssid)


@given(st.tuples(u32, u32, u16, u8), st.tuples(times_ns, times_ns, times_ns), error_words, error_words, st.binary())
def test_reply_round_trip(
    numbers: tuple[int, int, int, int],
    times: tuple[int, int, int],
    word: int,
    sender_word: int,
    behind: bytes,
) -> None:
    """A reply carries all of its request, has its size, and leaves what follows the base packet alone."""
    sender_seq, seq, ssid, ttl = numbers
    t1_ns, t2_ns, t3_ns = times
    packet = bytearray(44) + behind
    OPEN.write_request(packet, sender_seq, t1_ns, sender_word, ssid)
    OPEN.turn_into_reply(packet, seq, t2_ns, t3_ns, ttl, word)
    assert OPEN.read_reply(packet) == (seq, t3_ns, word, ssid, t2_ns, sender_seq, t1_ns, sender_word, ttl)
    assert packet[44:] == behind


@given(st.binary(max_size=120))
def test_garbage_is_refused_in_one_way(data: bytes) -> None:
    """Whatever arrives is read or raises Malformed, and only for being too short."""
    for read in (OPEN.read_request, OPEN.read_reply):
        if len(data) < OPEN.base_bytes:
            with pytest.raises(Malformed):
                read(data)
        else:
            read(data)


def test_a_time_of_zero_was_not_set() -> None:
    """A field left at zero is read as 0, not as a date in 2036."""
    assert decode_time(0) == 0


def test_ntp_goes_on_after_2036() -> None:
    """Seconds that wrapped around are of the next era."""
    later_ns = NTP_ERA_1_NS + 12_345_678_901
    assert decode_time(encode_time(later_ns)) == later_ns


@given(st.integers(1, 10**18), st.booleans())
def test_error_estimate_is_an_upper_bound(error_ns: int, ptp: bool) -> None:
    """The estimate written is never below the error, and less than 1 % (or 1 ns) above it."""
    estimate = ErrorEstimate.of_error(error_ns, synchronised=True, ptp=ptp)
    said_ns = ErrorEstimate.of_word(estimate.word).error_ns
    assert said_ns is not None
    assert error_ns <= said_ns <= error_ns * 1.01 + 1
    assert estimate.multiplier > 0


def test_an_invalid_estimate_has_no_error() -> None:
    """A multiplier of zero says nothing, in particular not "no error"."""
    assert ErrorEstimate(True, False, 10, 0).error_ns is None


def test_the_estimate_is_that_of_the_clock() -> None:
    """A root distance is the error, a source without a bound a synchronised second; else nothing is claimed."""
    bounded = ErrorEstimate.of_clock({"synchronised": True, "root_distance_ns": 1_500_000})
    assert bounded.synchronised
    assert bounded.error_ns is not None and 1_500_000 <= bounded.error_ns <= 1_515_000
    unbounded = ErrorEstimate.of_clock({"synchronised": True, "root_distance_ns": None}, ptp=True)
    assert (unbounded.synchronised, unbounded.ptp, unbounded.error_ns) == (True, True, 10**9)
    for nothing in ({"synchronised": None, "root_distance_ns": None}, {"synchronised": False, "root_distance_ns": 5}):
        assert ErrorEstimate.of_clock(nothing).word == UNSYNCHRONISED
