"""Whether a live probe stream says that a circuit suffers. Pure: times are arguments, in ns of one monotonic clock.

The first second or so of the stream, before any load, is the baseline. From then on the probes of the last half second
are held against it: how many never came back, and by how much the median is later. The median takes no notice of a
few late ones, which every host has, and of a queue that stands it tells after half of the window. A probe that has not
come back counts among the latest there (RFC 7679), so that a delay is seen before it is over.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

LEAST = 20
"""Probes that a statement needs, within the window as within the baseline."""
SLACK_NS = 100_000_000
"""A reply may be later than the limit of delay by this before its probe is lost: so may those who reflect and read."""
SILENT_NS = 5_000_000_000
"""Without any reply for so long there will be none."""


class Limits(NamedTuple):
    """From which on it hurts."""

    loss: float
    """Share of the probes in the window."""
    delay_ns: int
    """Of the median round trip above that of the baseline."""
    baseline_ns: int
    window_ns: int


class Harm(NamedTuple):
    """What hurts, in words, and when the first probe that tells so was sent."""

    says: str
    since_ns: int


class Guard:
    """Told of each probe and each reply, asked now and then."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._probes: deque[list[Any]] = deque()
        """[sent_ns, rtt_ns or None], in the order of sending."""
        self._open: dict[int, list[Any]] = {}
        self._first_sent_ns: int | None = None
        self._first_answered_ns: int | None = None
        self._patience_ns = 0
        self.rtt_ns: int | None = None
        """Median of the baseline; None until there is one."""

    def sent(self, seq: int, now_ns: int) -> None:
        if self._first_sent_ns is None:
            self._first_sent_ns = now_ns
        probe = [now_ns, None]
        self._open[seq] = probe
        self._probes.append(probe)

    def answered(self, seq: int, rtt_ns: int) -> None:
        probe = self._open.pop(seq, None)
        if probe is None:  # long given up
            return
        probe[1] = rtt_ns
        if self._first_answered_ns is None:
            self._first_answered_ns = probe[0]

    def look(self, now_ns: int) -> Harm | None:
        """What hurts, if anything does."""
        return self._settle(now_ns) if self.rtt_ns is None else self._judge(now_ns)

    # --- before the load

    def _settle(self, now_ns: int) -> Harm | None:
        """Make the baseline when it is time. What came before the first reply is left out: nobody reflected yet."""
        limits, start_ns = self._limits, self._first_answered_ns
        if start_ns is None:
            if self._first_sent_ns is None or now_ns - self._first_sent_ns <= SILENT_NS:
                return None
            return Harm(f"none of the probes came back within {SILENT_NS / 1e9:g} s", self._first_sent_ns)
        rtts = sorted(rtt_ns for _, rtt_ns in self._probes if rtt_ns is not None)
        rtt_ns = rtts[len(rtts) // 2]
        patience_ns = rtt_ns + limits.delay_ns + SLACK_NS
        end_ns = start_ns + limits.baseline_ns
        if now_ns < end_ns + patience_ns:
            return None
        settled = [rtt for sent_ns, rtt in self._probes if start_ns <= sent_ns < end_ns]
        if len(settled) < LEAST:
            return Harm(f"the host sent only {len(settled)} probes within {limits.baseline_ns / 1e9:g} s", start_ns)
        if settled.count(None) > limits.loss * len(settled):
            return Harm(self._lost_text(settled), start_ns)
        self.rtt_ns, self._patience_ns = rtt_ns, patience_ns
        return None

    # --- beside the load

    def _judge(self, now_ns: int) -> Harm | None:
        self._forget(now_ns - self._patience_ns - self._limits.window_ns)
        return self._too_late(now_ns) or self._too_many_lost(now_ns)

    def _forget(self, before_ns: int) -> None:
        while self._probes and self._probes[0][0] <= before_ns:
            self._probes.popleft()
        while self._open:  # in the order of sending, too
            seq = next(iter(self._open))
            if self._open[seq][0] > before_ns:
                break
            del self._open[seq]

    def _too_late(self, now_ns: int) -> Harm | None:
        """More than half of the window's probes later than the limit, or due by then and not there."""
        assert self.rtt_ns is not None
        limits, limit_ns = self._limits, self.rtt_ns + self._limits.delay_ns
        window = [probe for probe in self._probes if probe[0] > now_ns - limits.window_ns]
        if len(window) < LEAST:
            says = f"nobody was watching: the host sent only {len(window)} probes within {limits.window_ns / 1e9:g} s"
            return Harm(says, now_ns - limits.window_ns)
        told = [(sent, rtt) for sent, rtt in window if rtt is not None or now_ns - sent > limit_ns + SLACK_NS]
        late = [(sent, rtt) for sent, rtt in told if rtt is None or rtt > limit_ns]
        came = sorted(rtt for _, rtt in late if rtt is not None)
        if len(told) < LEAST or len(late) * 2 <= len(told) or not came:  # if none came, the losses tell
            return None
        more_ms = (came[len(came) // 2] - self.rtt_ns) / 1e6
        says = f"probes took {more_ms:.1f} ms longer than before (limit {limits.delay_ns / 1e6:g} ms)"
        return Harm(says, late[0][0])

    def _too_many_lost(self, now_ns: int) -> Harm | None:
        due_ns = now_ns - self._patience_ns
        due = [probe for probe in self._probes if due_ns - self._limits.window_ns < probe[0] <= due_ns]
        rtts = [rtt_ns for _, rtt_ns in due]
        if len(due) < LEAST or rtts.count(None) <= self._limits.loss * len(due):
            return None
        return Harm(self._lost_text(rtts), due[rtts.index(None)][0])

    def _lost_text(self, rtts: list[Any]) -> str:
        """Of the round trips of some probes, None for those that were lost."""
        share = 100 * rtts.count(None) / len(rtts)
        return f"probes lost {share:.0f} % (limit {self._limits.loss * 100:g} %)"
