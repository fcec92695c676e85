"""A probe stream between the two ends of a pair: its jobs, its samples, and what the hosts lost of it.

Shared by ``latency`` (the stream alone) and ``throughput`` (the stream beside a load).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perfharness.analysis import ledger
from perfharness.analysis.capacity import counted_bytes, headers_bytes
from perfharness.analysis.delay import UNLIKE, rtt_ns
from perfharness.analysis.distribution import Distribution
from perfharness.analysis.samples import Samples
from perfharness.analysis.statistics import Floats
from perfharness.analysis.summary import MOST_HELD, Summary, piece, settled, summarise
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import SETUP_S, Context
from perfharness.measurements.pieces import Pieces, open_pieces
from perfharness.model import (
    Direction,
    Job,
    Layer,
    LedgerRow,
    Observation,
    Role,
    Scope,
    Series,
    Task,
    Window,
)

PRIVILEGE = "CAP_SYS_NICE for real-time priority of the prober (measures without it, less exactly)"
SENDER, REFLECTOR = "probe", "reflector"
WAIT_NS = 2_000_000_000
"""A packet without an answer for this long is lost (RFC 7680 leaves the choice; shown in the report)."""
LEAST_KEPT = 0.99
"""Share of the schedule that a sender must have kept for its figures to be believed."""
LEAST_KERNEL = 0.99
"""Share of round trips that must rest on kernel (or hardware) stamps at both ends."""
LEAST_ALIKE = 0.9
"""Share of round trips that must have stamps of the kinds that most have: the others are left out."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What to send: interval between packets, how many, and their UDP payload in bytes."""

    interval_ns: int
    count: int
    packet_bytes: int
    dscp: int = 0
    pattern: str = "periodic"

    @property
    def duration_s(self) -> float:
        return self.interval_ns * self.count / 1e9

    def rate_bps(self, layer: Layer, tagged: bool) -> int:
        """Bit/s that it puts on the circuit in each direction, at this layer (IPv4)."""
        counted = counted_bytes(self.packet_bytes + headers_bytes(), layer, tagged=tagged)
        return round(counted * 8 * 1e9 / self.interval_ns)


def jobs(context: Context, task: str, stream: Stream, deadline_s: float) -> tuple[Job, Job]:
    """Reflector at the cloud end, sender at the on-prem end."""
    # The same plan gives the same stream; another task gives another one.
    identity = zlib.crc32(f"{context.circuit.id} {context.pair} {task}".encode())
    ends = {"port": context.probe_port(), "ssid": identity % 65_535 + 1}
    reflector = Job(
        id=REFLECTOR,
        endpoint=context.z.name,
        method="stamp.reflect",
        args={"address": str(context.z.address), "peer": str(context.a.address), **ends},
        role=Role.SERVE,
        deadline_s=deadline_s + SETUP_S,
    )
    sender = Job(
        id=SENDER,
        endpoint=context.a.name,
        method="stamp.send",
        args={
            "peer": str(context.z.address),
            "source": str(context.a.address),
            **ends,
            "interval_ns": stream.interval_ns,
            "count": stream.count,
            "packet_bytes": stream.packet_bytes,
            "dscp": stream.dscp,
            "wait_ns": WAIT_NS,
            "pattern": stream.pattern,
            "seed": identity,
        },
        role=Role.DRIVE,
        deadline_s=deadline_s,
    )
    return reflector, sender


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of a probe stream."""

    pieces: Pieces
    summary: Summary
    sent: Mapping[str, Any]
    """``data`` of the sender's result."""
    reflected: Mapping[str, Any]
    """``data`` of the reflector's result."""
    window: Window
    interval_ns: int
    packet_bytes: int
    evidence: tuple[str, ...]

    @property
    def stream(self) -> Stream:
        """What was asked for, for its rate."""
        return Stream(self.interval_ns, self.summary.sent, self.packet_bytes)


def read(task: Task, files: TaskFiles, context: Context) -> Probe | str:
    """The stream's samples, or one sentence why there are none. Raises EvidenceBroken."""
    sent, reflected = files.result(context.a.name, SENDER), files.result(context.z.name, REFLECTOR)
    if sent is None or sent["status"] != "completed":
        return f"{context.a.name} left no result of its probe stream."
    if reflected is None:
        return f"{context.z.name} left no result of its reflector."
    sender = files.recording(context.a.name, SENDER, "sender")
    if sender is None:
        return f"{context.a.name} left no samples."
    log = files.recording(context.z.name, REFLECTOR, "reflector")
    pieces = open_pieces(sender, log, sent["data"], reflected["status"] == "completed")
    interval_ns, hold = int(sent["args"]["interval_ns"]), pieces.packets <= MOST_HELD
    summary = summarise(pieces.each(lambda samples: piece(samples, hold, WAIT_NS)), pieces.packets, interval_ns)
    if not summary.sent:
        return f"{context.a.name} sent no probe at all."
    start_ns = int(sent["data"]["start_unix_ns"])
    return Probe(
        pieces=pieces,
        summary=summary,
        sent=sent["data"],
        reflected=reflected["data"],
        # A clock that is set back meanwhile shortens nothing.
        window=Window(start_ns, max(int(sent["ended_ns"]), start_ns + summary.span_ns)),
        interval_ns=interval_ns,
        packet_bytes=int(sent["args"]["packet_bytes"]),
        evidence=(
            files.sample_path(context.a.name, SENDER, "sender"),
            files.sample_path(context.z.name, REFLECTOR, "reflector"),
        ),
    )


def with_intervals(found: Probe, host: int, rtt: Iterable[float], pdv: Iterable[float] = ()) -> Probe:
    """The stream of which :func:`quantiles` can ask these; ``host`` as there."""

    def delays() -> Iterator[tuple[Samples, Floats]]:
        return found.pieces.each(lambda samples: (samples, rtt_ns(samples)))

    return replace(found, summary=settled(found.summary, delays, rtt, pdv, host))


def host_lost(found: Probe, rows: Mapping[Direction, Sequence[LedgerRow]]) -> int:
    """The most round trips that the hosts themselves may have lost, both ways together."""
    return sum(ledger.host_loss(each)[1] for each in rows.values()) + found.summary.unanswered


def quantiles(
    metric: str,
    values: Distribution,
    which: Mapping[str, float],
    scope: Scope,
    context: Context,
    found: Probe,
    host: int,
) -> tuple[Observation, ...]:
    """An observation for each quantile of per-packet values in ns; lost packets are infinitely late.

    As many of them as ``host`` the hosts may have lost: the lower bound is that without them, so that no host's loss
    makes a path late.
    """
    n, excused = values.n, min(host, values.lost)
    path = values.without_lost(excused)
    about = f"The hosts may have lost {excused:,} of the packets that count as late." if excused else ""
    observations = []
    for name, q in which.items():
        value, interval = values.quantile(q) if n else (None, None)
        if interval is not None and excused:
            lo = path.quantile(q)[1].lo if path.n else -math.inf
            interval = replace(interval, lo=min(lo, interval.lo))
        observations.append(
            Observation(
                metric=metric,
                statistic=name,
                scope=scope,
                unit="ns",
                value=value,
                n=n,
                interval=interval,
                evidence=found.evidence,
                reason=about if n else "No packet has stamps that can be compared.",
                hosts=context.hosts,
            )
        )
    return tuple(observations)


def unfit_sender(found: Probe, least_kept: float = LEAST_KEPT) -> list[str]:
    """Why the sender's figures cannot be believed; empty when they can."""
    reasons = []
    sent = found.sent["sent"]
    due = sent + found.sent["missed"] + found.sent["send_errors"]
    if sent < least_kept * due:
        reasons.append(f"it offered {sent:,} of the {due:,} packets of its schedule")
    kernel = found.summary.kernel_share
    if kernel is not None and kernel < LEAST_KERNEL:
        reasons.append(f"only {kernel:.1%} of its round trips rest on kernel time stamps")
    unlike, replied = found.summary.stamps.get(UNLIKE, 0), found.summary.replied
    if unlike > (1 - LEAST_ALIKE) * replied:
        reasons.append(f"{unlike:,} of its {replied:,} round trips have time stamps of other kinds than most")
    return reasons


def unfit_reflector(found: Probe) -> list[str]:
    """Why the reflector's figures cannot be believed; empty when they can."""
    losses = found.summary
    reasons = []
    if losses.unanswered > (1 - LEAST_KEPT) * losses.sent:
        reasons.append(f"it did not answer {losses.unanswered:,} packets that reached it")
    if losses.unknown:
        reasons.append(f"its log ends early: of {losses.unknown:,} lost packets it cannot tell whether they reached it")
    return reasons


def series(found: Probe) -> tuple[Series, ...]:
    """RTT over time, lost packets over time, and the share of packets later than a delay."""
    summary, start, both = found.summary, found.window.start_ns, Direction.ROUND_TRIP
    return (
        Series("RTT", *summary.drawn, "ns", "delay", both, start),
        Series("lost", *summary.drawn_losses, "packets", "loss", both, start),
        Series("RTT", *summary.rtt.ccdf(), "1", "ccdf", both, start, x_unit="ns"),
    )
