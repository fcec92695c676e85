"""A network card's own clock, and the way from its time to Unix time (linux/ptp_clock.h, linux/net_tstamp.h).

A card counts from an epoch of its own (often TAI, often none) at a rate of its own. So its clock is read between two
readings of the system's, of several such the tightest; a line through the last two leads the card's stamps to Unix
time until the next one, which tells how far the line had strayed by then.

Only a card that stamps all packets already is used: to switch that on changes it for every program of the host.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from perfagent.ethtool import Card
from perfagent.netlink import Addresses

_READINGS = 5
"""At a time; on PCI Express each takes about 2 µs."""
_EXTENDED, _EXTENDED_BYTES = 0xC4C03D09, 1216
_PLAIN, _PLAIN_BYTES = 0x43403D05, 832
_HEAD_BYTES = 16
_TIME = struct.Struct("=qI4x")
_NS = 1_000_000_000

_FIRST_LINE_S = 0.5
_LEAST_APART_NS = 400_000_000
"""Of two readings that make a line: their own errors tilt a shorter one too much."""
_MOST_STRAY_NS = 10_000
"""A line that strays further within a second follows a clock that somebody is setting."""
_TRIED = 100
"""Packets after which it is decided whether the card is of use."""
_LEAST_SHARE = 0.99
"""Of them it must have stamped on both ways; some cards stamp only one departing packet at a time."""


class Reading(NamedTuple):
    """Both clocks at one instant."""

    card_ns: int
    unix_ns: int
    error_ns: int
    """Half the time that the reading took."""


class CardClock:
    """Leads a card's stamps to Unix time."""

    def __init__(self, read: Callable[[], Reading], pause: Callable[[float], None] = time.sleep) -> None:
        """Takes half a second, for the first line. Raises OSError if the clock cannot be read."""
        self._read = read
        first = read()
        pause(_FIRST_LINE_S)
        self._last = read()
        self._drift = _drift(first, self._last)
        self.error_ns = 5 * max(first.error_ns, self._last.error_ns)
        """How far the line may stray until the next reading."""
        self.worst_ns = self.error_ns
        """How far it did, or may have, since the beginning."""

    def tick(self) -> None:
        """Once a second: the next line, and how far the one before had strayed."""
        try:
            now = self._read()
        except OSError:  # the card has gone: what its stamps mean is not known any more
            self.error_ns = _MOST_STRAY_NS + 1
            return
        if 0 < now.card_ns - self._last.card_ns < _LEAST_APART_NS:
            return
        was_used = self.error_ns <= _MOST_STRAY_NS
        self.error_ns = abs(self._led(now.card_ns) - now.unix_ns) + now.error_ns
        if was_used:
            self.worst_ns = max(self.worst_ns, self.error_ns)
        self._drift = _drift(self._last, now)
        self._last = now

    def unix_ns(self, card_ns: int) -> int:
        """Unix time of a card's stamp; 0 when that is not known well enough just now, or there is no stamp."""
        return self._led(card_ns) if card_ns and self.error_ns <= _MOST_STRAY_NS else 0

    def _led(self, card_ns: int) -> int:
        since_ns = card_ns - self._last.card_ns
        return self._last.unix_ns + since_ns + int(since_ns * self._drift)


def _drift(first: Reading, last: Reading) -> float:
    """How much faster the system's clock runs; 1e-6 = 1 ppm."""
    took_ns = last.card_ns - first.card_ns
    return (last.unix_ns - first.unix_ns - took_ns) / took_ns if took_ns > 0 else 0.0


class CardTime:
    """The card's stamps of what one socket sends and receives: whether there are any, and their Unix time."""

    def __init__(self, clock: CardClock | None, reason: str = "") -> None:
        """``reason``: why there is no clock."""
        self._clock = clock
        self._tried = False
        self.reason = reason
        self.on = clock is not None

    def tick(self, pairs: int, packets: int) -> None:
        """Once a second. ``pairs``: of so many ``packets`` the card stamped both coming and going."""
        if not self.on or self._clock is None:
            return
        self._clock.tick()
        if not self._tried and packets >= _TRIED:
            self._tried = True
            if pairs < _LEAST_SHARE * packets:
                self.on = False
                self.reason = f"the card stamped only {pairs} of the first {packets} packets both coming and going"

    def unix_ns(self, card_ns: int) -> int:
        """Of a card's stamp; 0 when there is none, or its time is not known well enough."""
        return self._clock.unix_ns(card_ns) if self.on and self._clock is not None else 0

    @property
    def error_ns(self) -> int:
        """How far ``unix_ns`` may be off."""
        return 0 if self._clock is None else self._clock.error_ns

    def figures(self, pairs: int) -> dict[str, Any]:
        """For ``result.json``; ``error_ns`` is None where no stamp of the card was used."""
        error_ns = self._clock.worst_ns if self._clock is not None and pairs else None
        return {"used": self.on, "pairs": pairs, "error_ns": error_ns, "reason": self.reason}


def shares(packets: int, by_kernel: int, by_card: int) -> dict[str, int]:
    """Who took the stamps of so many packets: the kernel stamps also what the card does."""
    told = {"kernel": by_kernel - by_card, "user": packets - by_kernel}
    return {"hardware": by_card, **told} if by_card else told


def of_address(address: str) -> CardTime:
    """Of the interface that holds this address."""
    try:
        interface = Addresses.holder(address)
        if interface is None:
            return CardTime(None, f"no single interface holds {address}")
        card = Card(interface)
        try:
            told = card.stamping()
        finally:
            card.close()
        if told["ability"] != "on":
            return CardTime(None, f"stamps of the card are {told['ability']}: {told['reason']}")
        return CardTime(CardClock(device(told["clock"])))
    except OSError as error:
        return CardTime(None, f"the clock of the card of {address} cannot be read: {error}")


# --- the device -------------------------------------------------------------------------------


def device(number: int) -> Callable[[], Reading]:
    """Reads /dev/ptpN. Raises OSError, as do the readings."""
    descriptor = os.open(f"/dev/ptp{number}", os.O_RDONLY | os.O_CLOEXEC)  # for the life of the process

    def extended() -> Reading:
        return tightest(threes(_ask(descriptor, _EXTENDED, _EXTENDED_BYTES), 3 * _READINGS, step=3))

    def plain() -> Reading:
        return tightest(threes(_ask(descriptor, _PLAIN, _PLAIN_BYTES), 2 * _READINGS + 1, step=2))

    try:
        extended()
    except OSError:  # a driver that reads no system time next to its register
        return plain
    return extended


def _ask(descriptor: int, request: int, size: int) -> bytes:
    buffer = bytearray(struct.pack("=I", _READINGS).ljust(size, b"\0"))
    fcntl.ioctl(descriptor, request, buffer)
    return bytes(buffer)


def threes(raw: bytes, count: int, step: int) -> list[tuple[int, int, int]]:
    """(system before, card, system after) in ns, of the ``count`` times behind the head. ``step`` 3: each has its own,
    of struct ptp_sys_offset_extended; 2: one's after is the next one's before, of struct ptp_sys_offset."""
    end = _HEAD_BYTES + count * _TIME.size
    times = [seconds * _NS + ns for seconds, ns in _TIME.iter_unpack(raw[_HEAD_BYTES:end])]
    return list(zip(times[0::step], times[1::step], times[2::step]))


def tightest(readings: Iterable[tuple[int, int, int]]) -> Reading:
    """The one that took the shortest; one between whose halves the clock was set looks long, whichever way."""
    before, card, after = min(readings, key=lambda each: abs(each[2] - each[0]))
    return Reading(card, (before + after) // 2, (abs(after - before) + 1) // 2)
