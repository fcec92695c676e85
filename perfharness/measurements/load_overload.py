"""One phase of a load session in which the circuit was offered more than it carries: how much that is, how sure of it
one can be, and what set the limit.

The rate has an upper bound only where the circuit was seen to be overloaded: clearly more must have left the sending
host than reached the other one, what the receiver may have dropped counted as arrived and what the sender may have
dropped as never sent. Otherwise the hosts were the limit, and nobody knows what the circuit would have carried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfharness.analysis import pacing, policing
from perfharness.analysis.counters import Moments
from perfharness.analysis.ledger import (
    RECEIVER_NIC,
    RECEIVER_SOFTNET,
    SENDER_IP,
    SENDER_NIC,
    SENDER_QDISC,
    Missing,
    rest,
)
from perfharness.analysis.overload import (
    OVERLOADED,
    WINDOW_NS,
    Batches,
    Steady,
    edges,
    idle_bps,
    kept_rate,
    most_in,
    shaped_rate,
    steady,
)
from perfharness.analysis.statistics import FEW_RATES
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, Context, segment_of
from perfharness.measurements.load_session import Arrivals, Phase, Session
from perfharness.measurements.probe_ledger import Counters
from perfharness.model import Interval, LedgerRow, Scope, Window
from perfharness.order.units import rate_text

FRAME_BYTES = 42
"""Ethernet, IP and UDP headers as an interface counts them."""
MOST_SEGMENTS, SEGMENTED_BYTES = 64, 65_507
"""Of a datagram that the kernel cuts up on the way out: until then its counters see one packet."""
UNCUT = (SENDER_IP, SENDER_QDISC, SENDER_NIC, RECEIVER_NIC, RECEIVER_SOFTNET)
"""Stages whose counters may count such a datagram once."""
KEPT_UP = 0.98
"""Share of the rate aimed at that a sender who keeps up offers."""
CLEAN = 0.999
"""Share of packets that arrive where nothing is lost."""
FULL = 0.99
"""Share of the port's speed from which on it is full: nobody can offer more, whatever a host was asked for."""
LOWER = 0.8
"""Steps of the search up to this share of what the circuit carries were no overload: what they lost, any load loses."""

CIRCUIT, PORT, MOST, UNKNOWN = "circuit", "port", "most", "unknown"
SENDER, RECEIVER, NIC = "sender-cpu", "receiver-cpu", "nic"


@dataclass(frozen=True, slots=True)
class Limit:
    """What kept the rate from being higher."""

    what: str
    """``circuit``, ``port``, ``sender-cpu``, ``receiver-cpu``, ``nic``, ``most`` or ``unknown``."""
    reasons: tuple[str, ...]
    host: str = ""
    """Whose fault it is, if a host's."""


@dataclass(frozen=True, slots=True)
class Overload:
    """Rates at the ordered layer."""

    phase: Phase
    steady: Steady
    kept: Batches
    """Of the steady part."""
    rate_bps: float
    hosts_bps: float
    """At most this much more would have arrived, had the hosts lost nothing."""
    usual_bps: float
    """... and had the circuit lost nothing that it loses at lower rates too."""
    offered_bps: float
    transmitted_bps: float | None
    """At least, by the counters of the sender's interface, other traffic of the host included; None: not known."""
    proven: bool
    queue_ns: float | None
    limit: Limit
    rows: tuple[LedgerRow, ...]

    @property
    def queued_bytes(self) -> float:
        """What waited in a shaper's queue, which was carried in the sender's gaps; 0 where there is none."""
        waited = self.queue_ns or 0.0
        return waited / 8e9 * self.rate_bps if waited >= policing.SHAPER_QUEUE_NS else 0.0

    @property
    def interval(self) -> Interval:
        """Where the rate lies."""
        came = self.steady.interval
        drifting = (came.n_eff or 0.0) < min(FEW_RATES, self.steady.blocks)
        hi = came.hi + self._unseen_bps(self.queued_bytes) if self.proven else math.inf
        return replace(came, lo=max(0.0, came.lo), hi=hi, n_eff=None if drifting or not self.proven else came.n_eff)

    def of_meter(self, memory_bytes: float, packet_bytes: int) -> tuple[float, float, float]:
        """(rate, least, most) of a meter that keeps its rate and saves up so much."""
        line = shaped_rate if self.queued_bytes else kept_rate
        rate, spread = line(self.kept, packet_bytes)
        return rate, rate - spread, rate + spread + self._unseen_bps(memory_bytes)

    def _unseen_bps(self, memory_bytes: float) -> float:
        """What may be missing in what arrived: lost by hosts, lost whatever the rate, or never offered."""
        return self.hosts_bps + self.usual_bps + idle_bps(self.kept, self.rate_bps, memory_bytes)


def batches(session: Session, phase: Phase) -> Batches:
    """What arrived of one phase, counted at the ordered layer, copies left out."""
    came = session.during(phase.name)
    size = session.counted(phase)
    copies = phase.duplicates / max(1, phase.received + phase.duplicates)
    return Batches(came.t_ns, np.round(came.packets * (size * (1 - copies))).astype(np.int64), came.highest * size)


def overload(
    session: Session, name: str, idle: Arrivals, scope: Scope, files: TaskFiles, context: Context, counted: Counters
) -> Overload | str:
    """The steady part of the phase of this name, or one sentence why there is none. ``idle``: what arrived near it in
    time over an idle path."""
    phase = session.named(name)
    all_of_it = None if phase is None else batches(session, phase)
    came = None if all_of_it is None else steady(all_of_it)
    if phase is None or all_of_it is None or came is None:
        return "The overload did not last: too little arrived, or a bucket was not empty before its end."
    size = session.counted(phase)
    arrivals = session.during(name)
    within = arrivals.part((arrivals.t_ns >= came.start_ns) & (arrivals.t_ns <= came.end_ns))
    per_packet = 8 * size / came.seconds
    lost = max(0, round((came.offered_bps - came.rate_bps) / per_packet))
    rows = _book(session, phase, within, lost, scope, context, counted)
    sender, receiver = (end.name for end in context.ends(session.way))
    by_sender, by_receiver = (_most(rows, segment_of(context, host)) for host in (sender, receiver))
    elsewhere = _most(rows, None) - by_sender - by_receiver
    transmitted = _transmitted(session, within, phase, sender, files)
    left = [came.offered_bps - by_sender * per_packet, *([] if transmitted is None else [transmitted])]
    reached = came.rate_bps + (by_receiver + elsewhere) * per_packet
    usual = usually_lost(session, came.rate_bps)
    proven = min(left) >= OVERLOADED * (reached + usual * came.offered_bps)
    found = Overload(
        phase=phase,
        steady=came,
        kept=all_of_it.between(came.start_ns, came.end_ns),
        rate_bps=came.rate_bps,
        hosts_bps=reached - came.rate_bps + by_sender * per_packet,
        usual_bps=usual * came.offered_bps,
        offered_bps=came.offered_bps,
        transmitted_bps=transmitted,
        proven=proven,
        queue_ns=policing.queue_ns(within.delay_ns, idle.delay_ns),
        limit=Limit(UNKNOWN, ()),
        rows=(*rows, rest(lost, rows, scope)),
    )
    return replace(found, limit=_limit(found, session, context, lost, by_sender, by_receiver))


def usually_lost(session: Session, rate_bps: float) -> float:
    """The share that the circuit lost of the search's steps that were no overload, if it carries this rate; 0 where
    there was no such step. Who loses packets at any rate has not been shown to carry no more."""
    steps = [] if session.search is None else session.search.steps
    lower = [step for step in steps if step.rate_bps <= LOWER * rate_bps]
    sent = sum(step.rate_bps for step in lower)  # the steps of a growing rate all last as long
    return 1 - sum(step.rate_bps * min(1.0, step.share) for step in lower) / sent if sent > 0 else 0.0


def best_second_bps(session: Session) -> float | None:
    """The most that arrived in any second of the session, at the ordered layer; None of one that is shorter."""
    came = session.arrivals
    counted = came.bytes + came.packets * session.overhead_bytes
    return most_in(Batches(came.t_ns, counted, counted))


def _book(
    session: Session, phase: Phase, within: Arrivals, lost: int, scope: Scope, context: Context, counted: Counters
) -> tuple[LedgerRow, ...]:
    """Who may have lost what is missing in the steady part, stage by stage."""
    drops = None if within.drops is None else int(within.drops[-1] - within.drops[0])
    there, here = _moments(within)
    missing = Missing(
        packets=lost,
        window=Window(int(within.t_ns[0]), int(within.t_ns[-1])),
        sockets=[{"drops": drops, "others": False}],
        at_sender=here,
        at_receiver=there,
    )
    segments = min(MOST_SEGMENTS, max(1, SEGMENTED_BYTES // phase.packet_bytes))
    return tuple(
        replace(row, packets_hi=min(lost, row.packets_hi * segments)) if row.stage in UNCUT else row
        for row in counted.book(context, scope, missing)
    )


def _moments(within: Arrivals) -> tuple[Moments, Moments]:
    """When packets were missed, by the receiver's clock and by the sender's."""
    at = edges(within.t_ns, max(1, int(within.t_ns[-1] - within.t_ns[0]) // WINDOW_NS))
    gone = np.maximum(np.diff(within.highest[at]) - np.diff(within.packets[at]), 0)
    some = gone > 0
    left_ns = (within.t_ns - within.delay_ns)[at]
    left_ns = np.maximum.accumulate(left_ns)
    t_ns = within.t_ns[at]
    return (
        Moments(t_ns[:-1][some], t_ns[1:][some], gone[some]),
        Moments(left_ns[:-1][some], left_ns[1:][some], gone[some]),
    )


def _most(rows: Sequence[LedgerRow], segment: Any) -> int:
    """The most packets that this segment (None: anybody but the circuit) may have lost."""
    own = [row for row in rows if row.missing and row.segment != "between-hosts"]
    return sum(row.packets_hi for row in own if segment in (None, row.segment))


def _transmitted(session: Session, within: Arrivals, phase: Phase, sender: str, files: TaskFiles) -> float | None:
    left_ns = within.t_ns - within.delay_ns
    rows = files.rows(sender, COUNTERS, "counters.jsonl")
    per_s = pacing.transmitted_bytes(rows, int(left_ns.min()), int(left_ns.max()))
    return None if per_s is None else per_s / (phase.packet_bytes + FRAME_BYTES) * session.counted(phase) * 8


def _limit(found: Overload, session: Session, context: Context, lost: int, by_sender: int, by_receiver: int) -> Limit:
    sender, receiver = (end.name for end in context.ends(session.way))
    phase, rate = found.phase, rate_text
    aimed, offered = rate(phase.rate_bps), rate(found.offered_bps)
    own = by_sender + by_receiver
    if found.proven and 2 * own <= lost:
        said = f"{offered} were offered and {rate(found.rate_bps)} arrived"
        return Limit(CIRCUIT, (said, f"by their counters the hosts lost {_share(own, lost)} of what is missing"))
    if found.rate_bps >= FULL * context.port_bps(phase.packet_bytes):
        said = f"{rate(found.rate_bps)} arrived, and a port of {rate(context.circuit.port.speed_bps)} takes in no more"
        return Limit(PORT, (said,))
    if 2 * by_receiver > lost > 0 and found.rate_bps < CLEAN * found.offered_bps:
        said = f"it may have dropped {by_receiver:,} of the {lost:,} packets that are missing ({session.way.value})"
        return Limit(RECEIVER, (said,), receiver)
    if 2 * by_sender > lost > 0 and found.rate_bps < CLEAN * found.offered_bps:
        said = f"its interface or queue may have dropped {by_sender:,} of the {lost:,} packets that are missing"
        return Limit(NIC, (f"{said} ({session.way.value})",), sender)
    if found.transmitted_bps is not None and found.transmitted_bps < OVERLOADED * found.rate_bps < found.offered_bps:
        said = f"its interface sent {rate(found.transmitted_bps)} of the {offered} that its program handed over"
        return Limit(NIC, (f"{said} ({session.way.value})",), sender)
    if found.offered_bps < KEPT_UP * phase.rate_bps:
        return _of_sender(phase, f"it offered {offered} where {aimed} were aimed at ({session.way.value})", sender)
    searched = next((session.named(each["name"]) for each in session.args["phases"] if "search" in each), None)
    if session.search is not None and session.search.ended == "sender" and searched is not None:
        asked = rate(searched.rate_bps)
        return _of_sender(
            searched, f"it could not offer {asked} while a limit was searched ({session.way.value})", sender
        )
    if session.search is not None and session.search.ended == "most":
        return Limit(MOST, (f"all of {offered} arrived, and more was not tried",))
    said = f"of {offered} that were offered {rate(found.rate_bps)} arrived"
    lossy = found.usual_bps > (1 - CLEAN) * found.offered_bps
    usual = f"{found.usual_bps / found.offered_bps:.1%} are lost at lower rates too"
    return Limit(UNKNOWN, (said, usual) if lossy else (said,))


def _of_sender(phase: Phase, said: str, sender: str) -> Limit:
    """Its socket, or its CPU, in a phase in which it offered less than it was asked for."""
    if phase.blocked > phase.shed:
        return Limit(NIC, (said, f"its socket took no more {phase.blocked:,} times"), sender)
    late = f"it was up to {phase.late_ns / 1e6:.0f} ms late and left out {phase.shed:,} packets"
    return Limit(SENDER, (said, f"its CPU did not keep up: {late}"), sender)


def _share(part: int, whole: int) -> str:
    return "none" if not part or not whole else f"at most {part / whole:.1%}"
