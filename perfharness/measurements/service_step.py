"""One phase of a service's load: what was offered, what arrived, and when the rest was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis import pacing
from perfharness.analysis.counters import Moments
from perfharness.analysis.ledger import BURSTS, RECEIVER_SOCKET, Missing, host_loss, rest
from perfharness.analysis.statistics import Floats, Ints
from perfharness.measurements.base import Context, segment_of
from perfharness.measurements.load_session import Phase, Session
from perfharness.measurements.probe_ledger import Counters
from perfharness.model import LedgerRow, Scope, Window

ROW_SLACK_NS, SENT_SLACK_NS = 1_000_000, 20_000_000
"""How far a loss may lie outside the rows of arrivals around it, and those of departures."""
TAIL_NS = 500_000_000
"""For packets after the last one that arrived."""
PACE_S = 4e-3
"""By so much of its rate the sender may be ahead of an even pace at any time: what is due together goes together."""
RATES = 50
LEAST_RATE_S = 0.1
"""A rate is the mean of so many intervals, none shorter than this."""


@dataclass(frozen=True, slots=True)
class Step:
    """A phase of a session in which something was offered."""

    session: Session
    number: int
    """Of the phase."""
    scope: Scope
    """Its direction, class and load."""
    service: str
    """The name that the scenario gave it."""

    @property
    def phase(self) -> Phase:
        return self.session.phases[self.number]

    @property
    def asked(self) -> dict[str, Any]:
        return dict(self.session.args["phases"][self.number])

    @property
    def bursts(self) -> Mapping[str, float] | None:
        """``packets``, ``times`` and ``refill_bps`` of its bursts, where it is made of them."""
        return self.asked.get("bursts")

    @property
    def is_burst(self) -> bool:
        """Of bursts, or so short that it is one."""
        return self.bursts is not None or self.seconds < 1

    @property
    def seconds(self) -> float:
        """How long it sent; between bursts it did not."""
        if self.bursts is not None:
            planned = self.bursts["packets"] * self.bursts["times"] * self.packet_bits / self.intended_bps
            return max(planned, (self.phase.burst_ns or 0) / 1e9)
        return max(float(self.asked["seconds"]), (self.phase.ended_ns - self.phase.started_ns) / 1e9)

    @property
    def packet_bits(self) -> int:
        """Of one packet at the ordered layer."""
        return self.session.counted(self.phase) * 8

    @property
    def intended_bps(self) -> float:
        return float(self.asked["rate_bps"])

    @property
    def offered_bps(self) -> float:
        return self.phase.sent * self.packet_bits / self.seconds

    @property
    def offered(self) -> float:
        """Share of what was to be offered. Of bursts: of the tokens that they were to take, less what came back while
        their sender was late."""
        if self.bursts is None:
            return self.offered_bps / self.intended_bps
        packets, times, refill_bps = (self.bursts[key] for key in ("packets", "times", "refill_bps"))
        planned_s = times * (packets - 1) * self.packet_bits / self.intended_bps
        taken = self.phase.sent * self.packet_bits - refill_bps * max(planned_s, (self.phase.burst_ns or 0) / 1e9)
        return max(0.0, taken / (times * packets * self.packet_bits - refill_bps * planned_s))

    @property
    def first(self) -> int:
        """Its first sequence number."""
        return sum(phase.sent for phase in self.session.phases[: self.number])

    def missing(self) -> tuple[Ints, Ints, Ints]:
        """How many of its packets up to each row of arrivals never came, its beginning and its end included: (n,)
        times by the receiver's clock, sequence numbers reached, packets missing so far. What came late is not missing.
        """
        own = self.session.during(self.phase.name)
        before = self.session.arrivals.part(self.session.arrivals.phase < self.number)
        base = int(before.packets[-1]) if len(before.packets) else 0
        end = self.first + self.phase.sent
        reached = np.clip(own.highest, self.first, end)
        gone = np.append(reached - self.first - (own.packets - base), self.phase.lost)
        gone = np.clip(np.minimum.accumulate(gone[::-1])[::-1], 0, self.phase.lost)
        if not len(own.t_ns):
            whole = ((0, 0), (self.first, end), (0, self.phase.lost))
            times, reached, gone = (_between(ends, own.t_ns) for ends in whole)
            return times, reached, gone
        ends_ns = int(own.t_ns[0]), int(own.t_ns[-1]) + TAIL_NS
        return _between(ends_ns, own.t_ns), _between((self.first, end), reached), np.insert(gone, 0, 0)

    def loss_blocks(self, block_s: float) -> tuple[Ints, Ints]:
        """(lost, packets) in each block of so many seconds of sending."""
        _, reached, gone = self.missing()
        blocks = max(1, round(self.seconds / block_s))
        edges: Ints = self.first + np.arange(blocks + 1) * self.phase.sent // blocks
        lost: Ints = np.diff(np.rint(np.interp(edges, reached, gone))).astype(np.int64)
        packets: Ints = np.diff(edges)
        return lost, packets

    def rates_bps(self, skip: float) -> Floats:
        """(n,) at the ordered layer, interval by interval as it arrived, without the first share ``skip`` of it."""
        own, phase = self.session.during(self.phase.name), self.phase
        if phase.first_ns is None or phase.last_ns is None or len(own.t_ns) < 2:
            return np.zeros(0)
        begin, end = phase.first_ns + skip * (phase.last_ns - phase.first_ns), float(phase.last_ns)
        count = max(1, min(RATES, int((end - begin) / 1e9 / LEAST_RATE_S)))
        edges = np.linspace(begin, end, count + 1)
        came = np.diff(np.interp(edges, own.t_ns, own.packets.astype(np.float64)))
        return np.asarray(came * self.packet_bits / ((end - begin) / 1e9 / count), np.float64)

    def drops(self) -> tuple[int, int] | None:
        """(least, most) packets for which the receiving socket had no room; None where it cannot tell."""
        rows = self.session.arrivals
        if rows.drops is None or self.session.drops is None:
            return None
        own, after = rows.phase == self.number, rows.phase > self.number
        before = rows.drops[rows.phase < self.number]
        until = int(rows.drops[after][0]) if after.any() else self.session.drops
        since = int(before[-1]) if len(before) else 0
        within = rows.drops[own]
        least = int(within[-1] - within[0]) if len(within) else 0
        return least, max(least, until - since)


def _between(ends: tuple[int, int], values: Ints) -> Ints:
    found: Ints = np.empty(len(values) + 2, np.int64)
    found[0], found[1:-1], found[-1] = ends[0], values, ends[1]
    return found


def book(step: Step, context: Context, counted: Counters) -> tuple[LedgerRow, ...]:
    """The stages of this phase: where its packets were lost, as far as the hosts can tell."""
    phase, session = step.phase, step.session
    dropped = step.drops()
    times, reached, gone = step.missing()
    rose = np.flatnonzero(np.diff(gone) > 0)
    lost = np.diff(gone)[rose]
    known = phase.first_ns is not None
    sent = session.departures
    left = np.interp(reached, sent.packets, sent.t_ns).astype(np.int64)
    at_receiver = Moments(times[rose] - ROW_SLACK_NS, times[rose + 1] + ROW_SLACK_NS, lost)
    at_sender = Moments(left[rose] - SENT_SLACK_NS, left[rose + 1] + SENT_SLACK_NS, lost)
    missing = Missing(
        packets=phase.lost,
        window=Window(phase.started_ns, max(phase.started_ns, phase.ended_ns)),
        sockets=[{"drops": None if dropped is None else dropped[1]}],
        at_sender=at_sender,
        at_receiver=at_receiver if known else None,
        unread=session.unread if step.number == len(session.phases) - 1 else 0,
    )
    rows = counted.book(context, step.scope, missing, (_bursts(step, context),))
    if dropped is not None:
        rows = tuple(
            replace(row, packets_lo=min(row.packets_lo, dropped[0])) if row.stage == RECEIVER_SOCKET else row
            for row in rows
        )
    return tuple(row for row in (*rows, rest(phase.lost, rows, step.scope)) if row.packets_hi)


def _bursts(step: Step, context: Context) -> LedgerRow:
    """What the sender offered above the rate: a policer may drop that by right."""
    sent, per_second = step.session.departures, step.intended_bps / step.packet_bits
    mine = sent.phase == step.number
    above = pacing.overflow_packets(sent.t_ns[mine], sent.packets[mine], per_second, 1 + per_second * PACE_S)
    sender = context.ends(step.session.way)[0].name
    said = f"packets that left more than {PACE_S * 1e3:g} ms ahead of the pace"
    most = min(above, step.phase.lost)
    return LedgerRow(step.scope, BURSTS, segment_of(context, sender), 0, most, said, False, step.session.evidence[:1])


def by_receiver(rows: Sequence[LedgerRow], step: Step, context: Context) -> int:
    """Packets that the receiving host certainly dropped."""
    receiver = segment_of(context, context.ends(step.session.way)[1].name)
    return host_loss([row for row in rows if row.segment is receiver])[0]
