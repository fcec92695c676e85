"""A probe stream between the two ends of a pair: its jobs, its samples, and what the hosts lost of it.

Shared by ``latency`` (the stream alone) and ``throughput`` (the stream beside a load).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from perfagent import records
from perfagent.stamp.packet import Form
from perfagent.stamp.reflecting import FORGED
from perfharness.analysis.capacity import counted_bytes, headers_bytes
from perfharness.analysis.delay import UNLIKE
from perfharness.analysis.distribution import NOTHING, Distribution, Excused
from perfharness.analysis.summary import Summary, one_in, piece, summarise
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import SETUP_S, Context, Ends
from perfharness.measurements.pieces import Pieces, open_pieces
from perfharness.model import (
    Direction,
    Job,
    Layer,
    Observation,
    Role,
    Scope,
    Series,
    Task,
    Window,
)
from perfharness.order.circuit import End, Endpoint
from perfharness.order.units import Size
from perfharness.order.wrong import wrong

PRIVILEGE = "CAP_SYS_NICE for real-time priority of the prober (measures without it, less exactly)"
SENDER, REFLECTOR = "probe", "reflector"
AUTHENTICATED = "authenticated"
"""What the agent calls a stream whose base packets are signed."""
SECRET = "stamp"
"""Name of the key that both ends of it are given."""
SIGNED_BYTES = Form(b"k").base_bytes
"""The least payload of an authenticated packet (RFC 8762, section 4.2.2)."""
SMALL_BYTES = 64
WAIT_NS = 2_000_000_000
"""A packet without an answer for this long is lost (RFC 7680 leaves the choice; shown in the report)."""
TIMER_QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
LEAST_KEPT = 0.99
"""Share of the schedule that a sender must have kept for its figures to be believed."""
LEAST_KERNEL = 0.99
"""Share of round trips that must rest on kernel (or hardware) stamps at both ends."""
TIMED = ("delay", "variation", "flows")
"""How the metrics begin that rest on time stamps; what arrived is known without any."""
LEAST_ALIKE = 0.9
"""Share of round trips that must have stamps of the kinds that most have: the others are left out."""


def _room_for_digest(payload_bytes: int, info: ValidationInfo) -> int:
    if info.data.get("authenticated") and payload_bytes < SIGNED_BYTES:
        said = f"An authenticated packet has at least {SIGNED_BYTES} B of payload, not {payload_bytes} B."
        raise wrong(said, f"Write `packet: {SIGNED_BYTES}B` or more, or leave it out.")
    return payload_bytes


PacketBytes = Annotated[Size, AfterValidator(_room_for_digest)]
"""The UDP payload of a step's probes; the step's ``authenticated`` stands before it."""


def small_packet(said: Mapping[str, Any]) -> int:
    """The payload in bytes where a step does not say it."""
    return SIGNED_BYTES if said["authenticated"] else SMALL_BYTES


@dataclass(frozen=True, slots=True)
class Stream:
    """What to send: interval between packets, how many, and what they have in turn: UDP payloads in bytes, DSCPs."""

    interval_ns: int
    count: int
    packet_bytes: tuple[int, ...]
    dscp: tuple[int, ...] = (0,)
    pattern: str = "periodic"
    authenticated: bool = False
    """Each packet and reply carries a digest (RFC 8762, section 4.4) with a key that only both ends are given."""
    every: tuple[int, ...] = (1,)
    """Which of its turns each DSCP uses (``perfagent.schedule.slots``); as many as there are DSCPs."""

    @property
    def mean_interval_ns(self) -> float:
        """Between packets, unused turns included."""
        return self.interval_ns * len(self.every) / sum(1 / each for each in self.every)

    @property
    def duration_s(self) -> float:
        return self.mean_interval_ns * self.count / 1e9

    @property
    def frame_bytes(self) -> int | None:
        """Of each packet's Ethernet frame without FCS; None for a mix."""
        return frame_bytes(self.packet_bytes)

    @property
    def samples_bytes(self) -> int:
        """What either end may write of it."""
        return records.HEADER_BYTES + self.count * records.RECORD_BYTES

    def rate_bps(self, layer: Layer, tagged: bool) -> int:
        """Bit/s that it puts on the circuit in each direction, at this layer (IPv4)."""
        counted = [counted_bytes(size + headers_bytes(), layer, tagged=tagged) for size in self.packet_bytes]
        return round(sum(counted) / len(counted) * 8 * 1e9 / self.mean_interval_ns)


def frame_bytes(packet_bytes: Sequence[int]) -> int | None:
    """Of each Ethernet frame without FCS with these payloads; None for a mix."""
    return packet_bytes[0] + headers_bytes() + 14 if len(set(packet_bytes)) == 1 else None


def jobs(context: Context, task: str, stream: Stream, deadline_s: float) -> tuple[Job, Job]:
    """Reflector at the cloud end, sender at the on-prem end."""
    sender = sender_job(context, task, stream, deadline_s, context.a, context.z, context.probe_port())
    ends = {name: sender.args[name] for name in ("port", "ssid", "signed", "every") if name in sender.args}
    # Classes have a source port each: with a count for each of them a reflector's numbers would not be unique.
    classes = {"classes": len(stream.dscp), "stateless": True} if len(stream.dscp) > 1 else {}
    reflector = Job(
        id=REFLECTOR,
        endpoint=context.z.name,
        method="stamp.reflect",
        args={"address": str(context.z.address), "peer": str(context.a.address), **ends, **classes},
        role=Role.SERVE,
        deadline_s=deadline_s + SETUP_S,
        writes_bytes=stream.samples_bytes,
        secret=sender.secret,
    )
    return reflector, sender


def sender_job(
    context: Ends, task: str, stream: Stream, deadline_s: float, source: Endpoint, target: End, port: int, **more: Any
) -> Job:
    """The stream from one end to the reflector on this port of the other; ``more`` arguments of ``stamp.send``."""
    # The same plan gives the same stream; another task gives another one.
    identity = zlib.crc32(f"{context.circuit.id} {context.pair} {task}".encode())
    return Job(
        id=SENDER,
        endpoint=source.name,
        method="stamp.send",
        args={
            "peer": str(target.address),
            "source": str(source.address),
            "port": port,
            "ssid": identity % 65_535 + 1,
            "interval_ns": stream.interval_ns,
            "count": stream.count,
            "packet_bytes": _in_turn(stream.packet_bytes),
            "dscp": _in_turn(stream.dscp),
            "wait_ns": WAIT_NS,
            "pattern": stream.pattern,
            "seed": identity,
            **({"signed": AUTHENTICATED} if stream.authenticated else {}),
            **({"every": list(stream.every)} if max(stream.every) > 1 else {}),
            **more,
        },
        role=Role.DRIVE,
        deadline_s=deadline_s,
        writes_bytes=stream.samples_bytes,
        secret=SECRET if stream.authenticated else "",
    )


def _in_turn(values: Sequence[int]) -> int | list[int]:
    """As an argument of a job: one for all packets, or several."""
    return values[0] if len(values) == 1 else list(values)


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of a probe stream."""

    pieces: Pieces
    summary: Summary
    sent: Mapping[str, Any]
    """``data`` of the sender's result."""
    reflected: Mapping[str, Any]
    """``data`` of the reflector's result; empty where no agent reflects."""
    window: Window
    interval_ns: int
    packet_bytes: tuple[int, ...]
    authenticated: bool
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
    evidence = (
        files.sample_path(context.a.name, SENDER, "sender"),
        files.sample_path(context.z.name, REFLECTOR, "reflector"),
    )
    return summed_up(context.a.name, sent, pieces, reflected["data"], evidence)


def summed_up(
    sender: str, sent: Mapping[str, Any], pieces: Pieces, reflected: Mapping[str, Any], evidence: tuple[str, ...]
) -> Probe | str:
    """The stream that this host sent, by its result, or one sentence why there is none. Raises EvidenceBroken."""
    interval_ns, sizes = int(sent["args"]["interval_ns"]), sent["args"]["packet_bytes"]
    summary = summary_of(pieces, interval_ns)
    if not summary.sent:
        return f"{sender} sent no probe at all."
    start_ns = int(sent["data"]["start_unix_ns"])
    return Probe(
        pieces=pieces,
        summary=summary,
        sent=sent["data"],
        reflected=reflected,
        # A clock that is set back meanwhile shortens nothing.
        window=Window(start_ns, max(int(sent["ended_ns"]), start_ns + summary.span_ns)),
        interval_ns=interval_ns,
        packet_bytes=tuple(sizes) if isinstance(sizes, list) else (int(sizes),),
        evidence=evidence,
        authenticated=sent["args"].get("signed") == AUTHENTICATED,
    )


def summary_of(pieces: Pieces, interval_ns: int) -> Summary:
    """All of it, in one pass. Raises EvidenceBroken."""
    every = one_in(pieces.packets)
    return summarise(pieces.each(lambda samples: piece(samples, every, WAIT_NS)), pieces.packets, interval_ns)


def excused(found: Probe, hosts: Mapping[Direction, tuple[int, int]], late: float) -> Excused:
    """The most round trips that the hosts themselves may have lost, both ways together, and delayed.

    ``hosts``: the least and the most that they lost in each direction.
    """
    return Excused(sum(most for _, most in hosts.values()) + found.summary.unanswered, late)


def quantiles(
    metric: str,
    values: Distribution,
    which: Mapping[str, float],
    scope: Scope,
    context: Ends,
    found: Probe,
    excused: Excused = NOTHING,
) -> tuple[Observation, ...]:
    """An observation for each quantile of per-packet values in ns; lost packets are infinitely late.

    The lower bound is that without the ``excused`` packets, so that neither a host's loss nor its hypervisor makes a
    path late.
    """
    n, most = values.n, excused.packets(values)
    about = f"{most:,} of the latest packets may have been lost or delayed outside the circuit." if most else ""
    observations = []
    for name, q in which.items():
        value, interval = values.quantile(q) if n else (None, None)
        if interval is not None and most:
            lo = values.quantile(excused.level(values, q))[1].lo if most < n else -math.inf
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
    """Why none of the sender's figures can be believed; empty when they can."""
    reasons = []
    sent = found.sent["sent"]
    due = sent + found.sent["missed"] + found.sent["send_errors"]
    if sent < least_kept * due:
        reasons.append(f"it offered {sent:,} of the {due:,} packets of its schedule")
    return reasons + _no_common_key(found.sent, found.summary.replied)


def unfit_stamps(found: Probe) -> list[str]:
    """Why :data:`TIMED` figures cannot be believed; empty when they can."""
    reasons = []
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
    return reasons + _no_common_key(found.reflected, found.reflected.get("received", 0))


def _no_common_key(said: Mapping[str, Any], genuine: int) -> list[str]:
    """Where one digest was right both ends hold the same key: what else is missing was lost or altered on the way."""
    forged = forged_packets(said)
    if not forged or genuine:
        return []
    return [f"it refused all {forged:,} packets that came as forged: the ends hold two keys, or all is altered between"]


def forged_packets(said: Mapping[str, Any]) -> int:
    """How many packets without the right digest this end refused, by its result's ``data``."""
    return int(said.get("refused", {}).get(FORGED, 0))


def authenticity(found: Probe) -> dict[str, dict[str, int]]:
    """As facts for the report: the replies with the right digest, and what either end refused; empty if unsigned."""
    if not found.authenticated:
        return {}
    forged = forged_packets(found.sent) + forged_packets(found.reflected)
    return {"authenticated": {"replies": found.summary.replied, "forged": forged}}


def series(found: Probe, service: str = "") -> tuple[Series, ...]:
    """RTT over time, lost packets over time, and the share of packets later than a delay; of this class of service."""
    summary, start, both = found.summary, found.window.start_ns, Direction.ROUND_TRIP
    return (
        Series("RTT", *summary.drawn, "ns", "delay", both, start, service=service),
        *(
            Series("lost", *lost, "packets", "loss", way, start, service=service)
            for way, lost in summary.drawn_losses.items()
        ),
        Series("RTT", *summary.rtt.ccdf(), "1", "ccdf", both, start, x_unit="ns", service=service),
        Series("PDV", *summary.pdv.ccdf(), "1", "ccdf.pdv", both, start, x_unit="ns", service=service),
    )


def prober(found: Probe) -> dict[str, Any]:
    """For the report: how far the tester itself can be believed. Of the schedule's packets those sent and not, how
    late they left, and who took the stamps of how many round trips."""
    late = found.summary.timer_error
    counts = {name: int(found.sent.get(name, 0)) for name in ("sent", "missed", "send_errors")}
    return {
        **counts,
        "replied": found.summary.replied,
        "stamps": dict(found.summary.stamps),
        "timer_error_ns": {name: late.percentile(q) for name, q in TIMER_QUANTILES.items()} if late.n else {},
    }
