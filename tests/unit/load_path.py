"""A made-up path for a load: a meter, a way there and back, reports each 50 ms. Times in ns, packets one by one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from perfagent.load.packet import Report
from perfagent.load.search import Search

PACKET_BITS = 11_568
REPORT_NS = 50_000_000


@dataclass
class Meter:
    """A policer with a bucket, or with ``queue_ns`` a shaper; ``None``: no limit."""

    rate_bps: float | None
    bucket_bits: float = 0.0
    queue_ns: int = 0
    loses: float = 0.0
    """Share of what would pass that is lost at any rate, by chance."""

    def __post_init__(self) -> None:
        self._tokens, self._at_ns, self._free_ns = self.bucket_bits, 0, 0.0
        self._random = Random(0)

    def turn(self, now_ns: int) -> int | None:
        turn_ns = self._metered(now_ns)
        return None if self._random.random() < self.loses else turn_ns

    def _metered(self, now_ns: int) -> int | None:
        if self.rate_bps is None:
            return now_ns
        if self.queue_ns:
            start_ns = max(float(now_ns), self._free_ns)
            if start_ns - now_ns > self.queue_ns:
                return None
            self._free_ns = start_ns + PACKET_BITS / self.rate_bps * 1e9
            return round(self._free_ns)
        earned = (now_ns - self._at_ns) * self.rate_bps / 1e9
        self._tokens, self._at_ns = min(self.bucket_bits, self._tokens + earned), now_ns
        if self._tokens < PACKET_BITS:
            return None
        self._tokens -= PACKET_BITS
        return now_ns


def play(
    search: Search,
    meter: Meter,
    *,
    rtt_ns: int = 10_000_000,
    clock_ns: int = 0,
    most_bps: float = 1e12,
    limit_s: float = 4,
    stalls_s: tuple[float, ...] = (),
) -> float:
    """Send as the search says until it ends; how long that took, in s. ``clock_ns``: the receiver's clock is ahead by
    so much. ``most_bps``: what the sender can do; for 30 ms after each of ``stalls_s`` it does nothing."""
    now_ns = number = packets = highest = 0
    arrivals: list[tuple[int, int, int]] = []
    reports: list[tuple[int, Report]] = []
    next_report_ns = REPORT_NS
    last = (0, 0)
    while not search.ended and now_ns < limit_s * 1e9:
        if stalls_s and now_ns >= stalls_s[0] * 1e9:
            stalls_s, now_ns = stalls_s[1:], now_ns + 30_000_000
        turn_ns = meter.turn(now_ns)
        if turn_ns is not None:
            arrivals.append((turn_ns + rtt_ns // 2, number, now_ns))
        number += 1
        now_ns += round(PACKET_BITS / min(search.rate_bps, most_bps) * 1e9)
        while next_report_ns <= now_ns:
            came = [each for each in arrivals if each[0] <= next_report_ns]
            arrivals = arrivals[len(came) :]
            if came:
                packets, highest, last = packets + len(came), came[-1][1] + 1, (came[-1][0], came[-1][2])
            told = Report(packets, 0, highest, last[0] + clock_ns, last[0] + clock_ns - last[1], last[1], 0)
            reports.append((next_report_ns + rtt_ns // 2, told))
            next_report_ns += REPORT_NS
        while reports and reports[0][0] <= now_ns:
            search.heard(reports.pop(0)[1], number)
    if not search.ended:
        search.out_of_time()
    return now_ns / 1e9
