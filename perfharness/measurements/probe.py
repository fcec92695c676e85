"""A probe stream between the two ends of a pair: its jobs, its samples, and what the hosts lost of it.

Shared by ``latency`` (the stream alone) and ``throughput`` (the stream beside a load).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfharness.analysis import ledger
from perfharness.analysis.capacity import overhead_bytes
from perfharness.analysis.samples import Samples, join
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, SETUP_S, Context, segment_of
from perfharness.model import Direction, Job, Layer, LedgerRow, Role, Scope, Task, Window

SENDER, REFLECTOR = "probe", "reflector"
WAIT_NS = 2_000_000_000
"""A packet without an answer for this long is lost (RFC 7680 leaves the choice; shown in the report)."""
LEAST_KEPT = 0.99
"""Share of the schedule that a sender must have kept for its figures to be believed."""
LEAST_KERNEL = 0.99
"""Share of round trips that must rest on kernel (or hardware) stamps at both ends."""


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
        packet = self.packet_bytes + overhead_bytes(layer, tagged=tagged, protocol="udp")
        return round(packet * 8 * 1e9 / self.interval_ns)


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

    samples: Samples
    sent: Mapping[str, Any]
    """``data`` of the sender's result."""
    reflected: Mapping[str, Any]
    window: Window
    evidence: tuple[str, ...]

    def lost(self, direction: Direction) -> int:
        """Packets sent in this direction that did not arrive."""
        flags = self.samples.lost_forward if direction is Direction.A_Z else self.samples.lost_backward
        return int(flags.sum())


def read(task: Task, files: TaskFiles, context: Context) -> Probe | str:
    """The stream's samples, or one sentence why there are none."""
    sent, reflected = files.result(context.a.name, SENDER), files.result(context.z.name, REFLECTOR)
    if sent is None or sent["status"] != "completed":
        return f"{context.a.name} left no result of its probe stream."
    if reflected is None:
        return f"{context.z.name} left no result of its reflector."
    raw = files.bytes(context.a.name, SENDER, "sender.rec")
    if raw is None:
        return f"{context.a.name} left no samples."
    samples = join(raw, files.bytes(context.z.name, REFLECTOR, "reflector.rec"), sent["data"])
    start = int(sent["data"]["start_unix_ns"])
    return Probe(
        samples=samples,
        sent=sent["data"],
        reflected=reflected["data"],
        window=Window(start, int(sent["ended_ns"])),
        evidence=(
            files.path(context.a.name, SENDER, "sender.rec"),
            files.path(context.z.name, REFLECTOR, "reflector.rec"),
        ),
    )


def unfit_sender(probe: Probe) -> list[str]:
    """Why the sender's figures cannot be believed; empty when they can."""
    reasons = []
    due = probe.sent["sent"] + probe.sent["missed"] + probe.sent["send_errors"]
    if due and probe.sent["sent"] < LEAST_KEPT * due:
        reasons.append(f"it sent {probe.sent['sent']} of the {due} packets offered by its schedule")
    kernel = probe.samples.kernel_share
    if kernel < LEAST_KERNEL:
        reasons.append(f"only {kernel:.1%} of its round trips rest on kernel time stamps")
    return reasons


def book(
    context: Context, scope: Scope, files: TaskFiles, window: Window, sockets: Sequence[Mapping[str, Any]]
) -> tuple[LedgerRow, ...]:
    """The ledger of one direction from both hosts' counters and the receiving sockets' exact drops."""
    sender, receiver = context.ends(scope.direction or Direction.A_Z)
    return ledger.book(
        sender=files.rows(sender.name, COUNTERS, "counters.jsonl"),
        receiver=files.rows(receiver.name, COUNTERS, "counters.jsonl"),
        window=window,
        sockets=sockets,
        scope=scope,
        sender_segment=segment_of(context, sender.name),
        receiver_segment=segment_of(context, receiver.name),
        evidence=tuple(files.path(end.name, COUNTERS, "counters.jsonl") for end in (sender, receiver)),
    )
