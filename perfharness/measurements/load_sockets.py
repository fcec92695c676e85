"""The receiving sockets of a UDP load over time: which of their drops came after the warm-up, and when iperf3 lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis.counters import Moments
from perfharness.analysis.iperf3 import Flow
from perfharness.analysis.statistics import Ints

SLACK_S = 0.5
"""iperf3's intervals begin within this of its socket's first row."""
_FIELDS = ("mono_ns", "t_ns", "drops", "queued_bytes")


@dataclass(frozen=True, slots=True)
class Trace:
    """One receiving socket, sampled several times a second; (n,) each, n > 0."""

    flow: Flow
    """What its process reported."""
    final: int
    """Drops at its end."""
    since_s: tuple[float, ...]
    """Since its first row."""
    t_ns: Ints
    drops: Ints
    idle: tuple[bool, ...]
    """Hardly anything waited to be read: what had been dropped until then, iperf3 had seen the gap of."""

    def kept(self, tail: int) -> tuple[int, int]:
        """(least, most) of its drops that are among the losses after the warm-up, of which ``tail`` at most came after
        the last packet that was counted."""
        warm_up_s = min((part.start_s for part in self.flow.kept), default=0.0) if self._warmed else 0.0
        end_s = max(part.start_s + part.seconds for part in self.flow.slices)
        late = self.final - self._at(end_s - SLACK_S)
        if not warm_up_s:
            return max(0, self.final - min(tail, late)), self.final
        settled = [
            int(drops)
            for when, drops, idle in zip(self.since_s, self.drops, self.idle, strict=True)
            if idle and when <= warm_up_s - SLACK_S
        ]
        after = [
            int(drops) for when, drops in zip(self.since_s, self.drops, strict=True) if when >= warm_up_s + SLACK_S
        ]
        least = self.final - after[0] if after else 0
        return max(0, least - min(tail, late)), self.final - (settled[-1] if settled else 0)

    @property
    def _warmed(self) -> bool:
        return any(part.omitted for part in self.flow.slices)

    def _at(self, since_s: float) -> int:
        """Drops until then."""
        before = [int(drops) for when, drops in zip(self.since_s, self.drops, strict=True) if when <= since_s]
        return before[-1] if before else 0

    def losses(self, tail: int) -> tuple[list[tuple[int, int]], list[int]]:
        """(from, to) by the receiving host's clock and how many packets, for each interval of iperf3's in which some
        were missed. They may have been dropped before, as long as packets waited in the socket."""
        first = int(self.t_ns[0])
        spans, packets = [], []
        for part in self.flow.kept:
            if (part.lost or 0) > 0:
                spans.append((self._idle_before(part.start_s), first + _ns(part.start_s + part.seconds + SLACK_S)))
                packets.append(int(part.lost or 0))
        if tail:
            end_s = max(part.start_s + part.seconds for part in self.flow.slices)
            spans.append((self._idle_before(end_s - 1.0), first + _ns(end_s + 2.0)))
            packets.append(tail)
        return spans, packets

    def _idle_before(self, since_s: float) -> int:
        """The last moment before in which nothing waited, or the beginning."""
        moments = [
            int(t_ns)
            for when, t_ns, idle in zip(self.since_s, self.t_ns, self.idle, strict=True)
            if idle and when <= since_s - SLACK_S
        ]
        return moments[-1] if moments else int(self.t_ns[0])


def traces(
    flow: Flow, rows: Sequence[Mapping[str, Any]], sockets: Sequence[Mapping[str, Any]], rate_bps: float
) -> tuple[Trace, ...]:
    """Of one receiving process, from its sockets.jsonl; empty unless every one of its sockets was sampled.

    ``rate_bps``: of the payload that is offered to it; what waits for less than half of SLACK_S is hardly anything.
    """
    found = []
    for socket in sockets:
        own = [row for row in rows if row.get("inode") == socket.get("inode")]
        good = [row for row in own if all(isinstance(row.get(name), int) for name in _FIELDS)]
        if not good or not isinstance(socket.get("drops"), int):
            return ()
        mono, t_ns, drops, queued = np.array([[row[name] for name in _FIELDS] for row in good], np.int64).T
        idle = queued <= rate_bps / 8 * SLACK_S / 2
        since = (mono - mono[0]) / 1e9
        found.append(Trace(flow, int(socket["drops"]), tuple(map(float, since)), t_ns, drops, tuple(map(bool, idle))))
    return tuple(found)


def moments(found: Sequence[Trace], tail: int) -> Moments | None:
    """When the packets that are missing were lost, by the receiving host's clock; None when that is not known.

    An interval in which a process missed packets is one bracket, in order of time.
    """
    if not found:
        return None
    brackets: list[tuple[int, int, int]] = []
    for trace in found:
        spans, packets = trace.losses(tail)
        brackets += [(*span, count) for span, count in zip(spans, packets, strict=True)]
    start, end, lost = np.array(sorted(brackets), np.int64).reshape(-1, 3).T
    return Moments(start, end, lost)


def at_sender(there: Moments, passage_ns: tuple[int, int]) -> Moments:
    """The same by the sending host's clock, given the (shortest, longest) time from one to the other."""
    shortest, longest = passage_ns
    return replace(there, start_ns=there.start_ns - longest, end_ns=there.end_ns - shortest)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
