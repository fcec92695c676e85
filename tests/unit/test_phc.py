"""perfagent.phc: a card's clock, and whether and how its stamps are used. The card and its answers are made up."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Any

import pytest

from perfagent import ethtool, netlink, phc
from tests.unit.stamp_peers import NOW_NS

TAI_NS = 37_000_000_000
SECOND_NS = 1_000_000_000


class Card:
    """A card whose clock runs ``ppm`` fast from an epoch of its own; time passes only between readings."""

    def __init__(self, ppm: float = 0.0, offset_ns: int = TAI_NS, error_ns: int = 400) -> None:
        self.now_ns = NOW_NS
        self.card_ns = NOW_NS + offset_ns
        self.ppm = ppm
        self.error_ns = error_ns
        self.gone = False

    def pass_by(self, ns: int) -> None:
        self.now_ns += ns
        self.card_ns += ns + round(ns * self.ppm / 1e6)

    def read(self) -> phc.Reading:
        if self.gone:
            raise OSError(errno.ENODEV, "No such device")
        return phc.Reading(self.card_ns, self.now_ns, self.error_ns)

    def clock(self) -> phc.CardClock:
        return phc.CardClock(self.read, lambda seconds: self.pass_by(round(seconds * 1e9)))


# --- what the card says of itself ---------------------------------------------------------------

# struct ethtool_ts_info: cmd, so_timestamping, phc_index, tx_types, 3 reserved, rx_filters, 3 reserved.
ALL_FLAGS, SOFTWARE_FLAGS = 0x5F, 0x1A
ALL_RX = 1 << 0 | 1 << 1
PTP_RX = 1 << 0 | 1 << 12


def ts_info(flags: int = ALL_FLAGS, clock: int = 3, tx: int = 0b11, rx: int = ALL_RX) -> bytes:
    return struct.pack("=IIiI12xI12x", 0x41, flags, clock, tx, rx)


def config(flags: int = 0, tx_type: int = 1, rx_filter: int = 1) -> bytes:
    return struct.pack("=3i", flags, tx_type, rx_filter)


@pytest.mark.parametrize(
    ("info", "now", "ability", "words"),
    [
        (ts_info(), config(), "on", ""),
        (ts_info(rx=PTP_RX), config(), "on", ""),
        (ts_info(), config(tx_type=0, rx_filter=0), "off", "hwstamp_ctl -i eth7 -t 1 -r 1"),
        (ts_info(), config(rx_filter=12), "off", "whole host"),
        (ts_info(rx=PTP_RX), config(rx_filter=12), "none", "but those of PTP"),
        (ts_info(flags=SOFTWARE_FLAGS, clock=-1, tx=0, rx=0), None, "none", "no clock"),
        (ts_info(flags=SOFTWARE_FLAGS), config(), "none", "no clock"),
        (ts_info(), None, "none", "does not tell"),
        (ts_info(), config(flags=1), "none", "bond"),
        (None, None, "none", "no clock"),
    ],
)
def test_a_card_is_used_only_where_it_stamps_all_packets_already(
    info: bytes | None, now: bytes | None, ability: str, words: str
) -> None:
    """None, off with what would switch it on, or on; and why not."""
    told = ethtool.stamping(info, now, "eth7")
    assert told["ability"] == ability
    assert words in told["reason"] if words else told["reason"] == ""


def test_the_card_is_asked_and_never_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """ETHTOOL_GET_TS_INFO and SIOCGHWTSTAMP fill in what we hand over; SIOCSHWTSTAMP (0x89B0) is not called."""
    asked = []

    def answer(_socket: Any, request: int, ifreq: bytes) -> None:
        name, pointer = struct.unpack("16sP16x", ifreq)
        asked.append((request, name.rstrip(b"\0")))
        data = ts_info(clock=4711) if request == 0x8946 else config()
        ctypes.memmove(pointer, data, len(data))

    monkeypatch.setattr(ethtool.fcntl, "ioctl", answer)
    card = ethtool.Card("eth7")
    told = card.stamping()
    card.close()
    assert sorted(asked) == [(0x8946, b"eth7"), (0x89B1, b"eth7")]
    assert (told["ability"], told["clock"]) == ("on", 4711)
    assert "/dev/ptp4711" in told["reason"]


def test_loopback_has_no_card() -> None:
    """The real kernel, asked of its loopback: the fall-back that every virtual interface takes."""
    assert netlink.Addresses.holder("127.0.0.1") == "lo"
    assert netlink.Addresses.holder("192.0.2.77") is None
    used = phc.of_address("127.0.0.1")
    assert not used.on
    assert "no clock" in used.reason
    assert used.figures(0) == {"used": False, "pairs": 0, "error_ns": None, "reason": used.reason}


def test_a_clock_that_may_not_be_opened_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that is on without a device of its number gives no stamps, and the system's own words."""
    told = {"ability": "on", "clock": 4711, "reason": ""}
    monkeypatch.setattr(ethtool.Card, "stamping", lambda self: told)
    used = phc.of_address("127.0.0.1")
    assert not used.on
    assert "/dev/ptp4711" in used.reason


# --- its clock ----------------------------------------------------------------------------------


def times(*values_ns: int) -> bytes:
    return b"".join(struct.pack("=qII", *divmod(value, SECOND_NS), 0) for value in values_ns)


def test_the_tightest_reading_counts() -> None:
    """Of struct ptp_sys_offset_extended: the middle of the narrowest, half its width as its error."""
    raw = bytes(16) + times(1000, 90_000, 3000, 5000, 94_100, 5201, 7000, 96_000, 9000) + bytes(100)
    assert phc.tightest(phc.threes(raw, 9, step=3)) == phc.Reading(94_100, 5100, 101)


def test_readings_that_share_their_ends() -> None:
    """Of struct ptp_sys_offset, for drivers that know no other: system, card, system, card, system."""
    raw = bytes(16) + times(1000, 90_000, 3000, 92_600, 4000)
    assert phc.threes(raw, 5, step=2) == [(1000, 90_000, 3000), (3000, 92_600, 4000)]
    assert phc.tightest(phc.threes(raw, 5, step=2)) == phc.Reading(92_600, 3500, 500)


def test_a_clock_set_during_a_reading_is_not_the_tightest() -> None:
    """A step back between two halves makes a reading long, not short."""
    assert phc.tightest([(10_000, 1, 2000), (3000, 5, 4000)]) == phc.Reading(5, 3500, 500)


def test_the_driver_that_cannot_the_one_does_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """PTP_SYS_OFFSET_EXTENDED where it is known, PTP_SYS_OFFSET where it is not; numbers as in linux/ptp_clock.h."""
    calls = []

    def answer(_descriptor: int, request: int, buffer: bytearray) -> None:
        calls.append((request, len(buffer), buffer[0]))
        if request == 0xC4C03D09:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        buffer[16 : 16 + 11 * 16] = times(*range(1000, 12_000, 1000))

    monkeypatch.setattr(phc.os, "open", lambda path, flags: 99)
    monkeypatch.setattr(phc.fcntl, "ioctl", answer)
    read = phc.device(0)
    assert read() == phc.Reading(2000, 2000, 1000)
    assert calls == [(0xC4C03D09, 1216, 5), (0x43403D05, 832, 5)]


@pytest.mark.parametrize("ppm", [0.0, 40.0, -90.0])
@pytest.mark.parametrize("offset_ns", [TAI_NS, -NOW_NS + 5, 0])
def test_stamps_are_led_to_unix_time(ppm: float, offset_ns: int) -> None:
    """Whatever the card's epoch and rate, a stamp a second after a reading is right to 2 ns, and the bound known."""
    card = Card(ppm, offset_ns)
    clock = card.clock()
    for _ in range(5):
        card.pass_by(SECOND_NS)
        assert abs(clock.unix_ns(card.card_ns) - card.now_ns) <= 2
        clock.tick()
    assert clock.error_ns <= card.error_ns + 2
    assert clock.worst_ns == 5 * card.error_ns


def test_the_bound_is_how_far_the_line_strayed() -> None:
    """A clock whose rate wanders by 3 ppm within a second strays by 3 µs, which the next reading tells."""
    card = Card()
    clock = card.clock()
    card.ppm = 3.0
    card.pass_by(SECOND_NS)
    clock.tick()
    assert clock.error_ns == pytest.approx(3000 + card.error_ns, abs=2)
    assert clock.worst_ns == clock.error_ns
    assert clock.unix_ns(card.card_ns) == card.now_ns


@pytest.mark.parametrize("step_ns", [30_000, -30_000, -TAI_NS, 10**18])
def test_a_clock_that_is_being_set_is_not_believed(step_ns: int) -> None:
    """After a step there are no stamps until a line holds again; the bound remembers."""
    card = Card()
    clock = card.clock()
    card.pass_by(SECOND_NS)
    card.card_ns += step_ns
    clock.tick()
    assert clock.unix_ns(card.card_ns) == 0
    assert clock.worst_ns >= abs(step_ns) - 2
    for _ in range(3):
        card.pass_by(SECOND_NS)
        clock.tick()
    assert clock.unix_ns(card.card_ns) == pytest.approx(card.now_ns, abs=2)


def test_readings_close_together_make_no_line() -> None:
    """Half a microsecond of error over ten milliseconds would tilt a line by 50 ppm."""
    card = Card()
    clock = card.clock()
    card.pass_by(10_000_000)
    card.card_ns += 500
    clock.tick()
    card.card_ns -= 500
    card.pass_by(SECOND_NS)
    assert clock.unix_ns(card.card_ns) == card.now_ns


def test_a_card_that_goes_away_gives_no_more_stamps() -> None:
    """A device that cannot be read any more ends the use of its stamps, not the test."""
    card = Card()
    clock = card.clock()
    card.gone = True
    clock.tick()
    assert clock.unix_ns(card.card_ns) == 0


@pytest.mark.parametrize(("pairs", "on"), [(100, True), (99, True), (98, False)])
def test_a_card_that_stamps_too_few_is_left_alone(pairs: int, on: bool) -> None:
    """Decided once, of the first hundred packets: after that a stream stays what it is."""
    used = phc.CardTime(Card().clock())
    used.tick(0, 99)
    assert used.on
    used.tick(pairs, 100)
    assert used.on is on
    assert bool(used.reason) is not on
    used.tick(100, 1000)
    assert used.on is on
