"""Others' traffic on a circuit, while we load it: all that crosses the CE's WAN interface less what our hosts send.

Nobody needs to know what our load is just then, so that it holds for TCP as for UDP. The counters of all come with the
time of their arrival here, which is right to a tenth of a second: by how much our own rate swings makes that an
uncertainty of the difference, and others' traffic has fallen only when that is certain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import NamedTuple

from perfharness.model import Direction, Guard

WINDOW_NS = 500_000_000
LEAST_BASELINE_NS = 500_000_000
APART_NS = 100_000_000
"""By which the rows of two hosts may be apart that came at the same time."""
LATEST_NS = 1_000_000_000
"""Rows older than this tell nothing any more."""
UNLIKE = 0.01
"""Share of our own traffic that the two count differently (a tag, an offload)."""
LEAST = 0.01
"""Share of the ordered rate below which others are not told from our own load."""
SHORT = 1.01
"""Times the ordered rate: what crosses the interface is counted, what fits was only ordered."""
WAYS = (Direction.A_Z, Direction.Z_A)
_COUNTED = {Direction.A_Z: "tx", Direction.Z_A: "rx"}
"""At the WAN interface of the CE as at the on-prem host's own."""


class Row(NamedTuple):
    """Bits so far, by direction, and when they were told."""

    at_ns: int
    bits: Mapping[Direction, int]


class Background:
    """Told of each row of the CE and of our on-prem hosts; asked before the load, and now and then beside it."""

    def __init__(self, guard: Guard, hosts: Collection[str]) -> None:
        self._guard = guard
        self._wan: deque[Row] = deque()
        self._own: dict[str, deque[Row]] = {host: deque() for host in hosts}
        self._began_ns: int | None = None
        self.before_bps: dict[Direction, float] = {}
        """Others' rates before the load, at the ordered layer."""

    def add(self, host: str, at_ns: int, counters: Mapping[str, int]) -> None:
        """``counters``: ``rx_bytes``, ``tx_bytes``, ``rx_packets``, ``tx_packets`` of one of our hosts' interface; of
        any other host those of the WAN."""
        extra = self._guard.frame_bytes
        bits = {
            way: 8 * (counters[f"{side}_bytes"] + extra * counters[f"{side}_packets"]) for way, side in _COUNTED.items()
        }
        rows = self._own.get(host, self._wan)
        rows.append(Row(at_ns, bits))
        while self._began_ns is not None and rows[0].at_ns < at_ns - 4 * WINDOW_NS:
            rows.popleft()

    def begin(self, now_ns: int, ways: tuple[Direction, ...]) -> str:
        """The load begins now in these directions: why it must not, or empty. Without rows nothing is watched."""
        self._began_ns = now_ns
        span = self._common(now_ns)
        if span is None or span[1] - span[0] < LEAST_BASELINE_NS:
            return ""
        for way in WAYS:
            all_bps, own_bps = self._rates(way, *span)
            self.before_bps[way] = max(0.0, all_bps - own_bps)
        offered_bps, ordered_bps = self._guard.offered_bps, self._guard.ordered_bps
        for way in ways:
            others_bps = self.before_bps[way]
            if offered_bps and self._told(others_bps) and others_bps + offered_bps > ordered_bps:
                both = f"others already send {_mbps(others_bps)} {way.value}, with a load of {_mbps(offered_bps)}"
                return f"{both} that is more than the {_mbps(ordered_bps)} ordered"
        return ""

    def judge(self, now_ns: int) -> str:
        """What harm is certain, in words; empty if none is."""
        span = self._common(now_ns)
        if not self.before_bps or self._began_ns is None or span is None or span[1] - WINDOW_NS < self._began_ns:
            return ""
        end_ns = span[1]
        return next((says for way in WAYS if (says := self._harm(way, end_ns - WINDOW_NS, end_ns))), "")

    def stale(self, now_ns: int) -> bool:
        """Nothing was told for long: nobody watches."""
        return not self.before_bps or self._common(now_ns) is None

    def _harm(self, way: Direction, start_ns: int, end_ns: int) -> str:
        before_bps, guard = self.before_bps[way], self._guard
        all_bps, own_bps = self._rates(way, start_ns, end_ns)
        others_bps = all_bps - own_bps
        unsure_bps = UNLIKE * own_bps + APART_NS / WINDOW_NS * self._swing(way, start_ns - APART_NS)
        if self._told(before_bps) and others_bps + unsure_bps < (1 - guard.background) * before_bps:
            fell = f"others' traffic {way.value} fell from {_mbps(before_bps)} to {_mbps(max(0.0, others_bps))}"
            return f"{fell} (limit {guard.background * 100:g} %)"
        if guard.offered_bps and self._told(others_bps - unsure_bps) and all_bps > SHORT * guard.ordered_bps:
            both = f"others' {_mbps(others_bps)} {way.value} and our load are {_mbps(all_bps)}"
            return f"{both}, more than the {_mbps(guard.ordered_bps)} ordered"
        return ""

    def _told(self, others_bps: float) -> bool:
        return others_bps >= LEAST * self._guard.ordered_bps

    def _rates(self, way: Direction, start_ns: int, end_ns: int) -> tuple[float, float]:
        """(all that crosses the interface, what of it is our own), bit/s."""
        own_bps = sum(_rate(rows, way, start_ns, end_ns) for rows in self._own.values())
        return _rate(self._wan, way, start_ns, end_ns), own_bps

    def _swing(self, way: Direction, since_ns: int) -> float:
        """By how much our own rates differed from row to row, bit/s; of several hosts at worst all at once."""
        swing = 0.0
        for told in self._own.values():
            rows = [row for row in told if row.at_ns >= since_ns - APART_NS]
            rates = [
                (b.bits[way] - a.bits[way]) * 1e9 / (b.at_ns - a.at_ns) for a, b in pairwise(rows) if b.at_ns > a.at_ns
            ]
            swing += max(rates) - min(rates) if rates else 0.0
        return swing

    def _common(self, now_ns: int) -> tuple[int, int] | None:
        """From when to when all were told; None where one has nothing fresh to say."""
        told = (self._wan, *self._own.values())
        if any(len(rows) < 2 for rows in told):
            return None
        start_ns = max(rows[0].at_ns for rows in told)
        end_ns = min(rows[-1].at_ns for rows in told)
        return None if now_ns - end_ns > LATEST_NS or end_ns - start_ns < WINDOW_NS else (start_ns, end_ns)


def _rate(rows: deque[Row], way: Direction, start_ns: int, end_ns: int) -> float:
    return (_bits_at(rows, way, end_ns) - _bits_at(rows, way, start_ns)) * 1e9 / (end_ns - start_ns)


def _bits_at(rows: deque[Row], way: Direction, at_ns: int) -> float:
    """In between two rows on the line through them."""
    after = next((i for i, row in enumerate(rows) if row.at_ns >= at_ns), len(rows) - 1)
    b, a = rows[after], rows[max(0, after - 1)]
    if b.at_ns == a.at_ns:
        return float(b.bits[way])
    return a.bits[way] + (b.bits[way] - a.bits[way]) * (at_ns - a.at_ns) / (b.at_ns - a.at_ns)


def _mbps(rate_bps: float) -> str:
    return f"{rate_bps / 1e6:.1f} Mbit/s"
