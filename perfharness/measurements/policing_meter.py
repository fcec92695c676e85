"""What the phases of ``policing`` tell of who meters the circuit, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perfharness.analysis import policing
from perfharness.analysis.capacity import overhead_bytes
from perfharness.analysis.overload import Batches
from perfharness.analysis.policing import Accepted, Metered, Train
from perfharness.measurements import load_session
from perfharness.measurements.base import Context
from perfharness.measurements.capacity import PORT_SHARE, kind
from perfharness.measurements.load_overload import Overload
from perfharness.measurements.load_session import Phase, Session
from perfharness.model import Interval, Layer
from perfharness.order.units import duration_text, rate_text, size_text

TRAIN, LONG = "train", "long"
IDLE_NS = 2_000_000
"""What comes first from rest tells the idle path, for as long as this."""


@dataclass(frozen=True, slots=True)
class Meter:
    """All rates and bytes at the ordered layer."""

    large: Overload
    small: Overload | None
    kind: str | None
    header: Metered | None
    layer: tuple[Layer, bool] | None
    """(layer, with the VLAN tag)."""
    bucket: tuple[float, Interval] | None
    trains: int
    """From so many the bucket is known."""
    queue_ns: float | None
    session: Session

    @property
    def rate_bps(self) -> float:
        return self.large.rate_bps


def meter(session: Session, large: Overload, small: Overload | str, long: Overload | str, context: Context) -> Meter:
    heights = [
        height
        for phase in session.phases
        if phase.name.startswith(TRAIN) and phase.first_ns is not None
        if (height := policing.emptied(train_of(session, phase), large.rate_bps)) is not None
    ]
    if not heights and isinstance(long, Overload) and long.phase.first_ns is not None:
        whole = policing.emptied(train_of(session, long.phase), long.rate_bps)
        heights = [] if whole is None else [whole]
    bucket = policing.median_of(heights) if heights and large.proven else None
    other = small if isinstance(small, Overload) and small.proven and large.proven else None
    saved = 0.0 if bucket is None else bucket[1].lo
    header = None if other is None else policing.metered(*(_accepted(each, session, saved) for each in (large, other)))
    # From rest: the clocks have hardly drifted between the first packets and the queue's end.
    port = PORT_SHARE * context.port_bps(large.phase.packet_bytes) + 1
    told = long if isinstance(long, Overload) and long.proven else large
    return Meter(
        large=large,
        small=other,
        # An overload beyond the port's speed queues in the port.
        kind=kind(told) if large.proven and told.phase.rate_bps <= port else None,
        header=header,
        layer=None if header is None else header.layer(context.tagged),
        bucket=bucket,
        trains=len(heights),
        queue_ns=told.queue_ns if large.proven else None,
        session=session,
    )


def _accepted(found: Overload, session: Session, saved_bytes: float) -> Accepted:
    """``saved_bytes``: of the bucket, whose tokens a sender's gaps do not waste."""
    size = session.counted(found.phase)
    rate, least, most = found.of_meter(saved_bytes or found.queued_bytes, size)
    per = 8 * size
    return Accepted(
        payload_bytes=found.phase.packet_bytes,
        per_s=rate / per,
        lo=least / per,
        hi=most / per,
        offered_per_s=found.offered_bps / per,
    )


def train_of(session: Session, phase: Phase) -> Train:
    """Its batches, counted from before its first packet."""
    came = session.during(phase.name)
    earlier = session.phases[: session.phases.index(phase)]
    size = session.counted(phase)
    arrived = came.packets - sum(other.received + other.duplicates for other in earlier)
    offered = came.highest - sum(other.sent for other in earlier)
    return Train(Batches(came.t_ns, arrived * size, offered * size), phase.first_ns or 0, size)


def from_rest(session: Session) -> load_session.Arrivals:
    """What arrived in the first moments of the phases that come after a rest."""
    phases = [phase for phase in session.phases if phase.name.startswith((TRAIN, LONG))]
    came = session.during(*(phase.name for phase in phases))
    near = np.zeros(len(came.t_ns), np.bool_)
    for first_ns in (phase.first_ns for phase in phases if phase.first_ns is not None):
        near |= (came.t_ns >= first_ns) & (came.t_ns <= first_ns + IDLE_NS)
    return came.part(near)


# --- in words ---


def unproven(large: Overload) -> str:
    reasons = "; ".join(large.limit.reasons)
    return f"The circuit was not seen to be the limit: {reasons}."


def scaled(interval: Interval, scale: float) -> Interval:
    return replace(interval, lo=interval.lo * scale, hi=interval.hi * scale)


def counted(found: Meter, context: Context) -> int:
    """Bytes of a large packet as the meter counts it; as the order does, where nobody knows."""
    layer, tag = found.layer or (context.layer, context.tagged)
    return found.large.phase.packet_bytes + overhead_bytes(layer, tagged=tag)


def sentence(found: Meter, context: Context) -> str:
    """``polices 500 Mbit/s at L2, bucket 1.5 MB``."""
    scale = counted(found, context) / found.session.counted(found.large.phase)
    rate = rate_text(found.rate_bps * scale)
    where = f"at {layer_text(found.layer)}" if found.layer else f"at {context.layer} (as ordered; its own is not known)"
    if found.kind == "shaper" and found.queue_ns is not None:
        held = found.queue_ns / 8e9 * found.rate_bps * scale
        return f"shapes to {rate} {where}, queue {size_text(held)} ({duration_text(found.queue_ns)})"
    bucket = f", bucket {size_text(found.bucket[0] * scale)}" if found.bucket else ", its bucket was not emptied"
    return f"{'polices' if found.kind else 'limits to'} {rate} {where}{bucket if found.kind else ''}"


def layer_text(layer: tuple[Layer, bool]) -> str:
    return policing.WORDS[layer[0]] + (" with the VLAN tag" if layer[1] else "")


def header_text(found: Meter) -> str:
    if found.header is None:
        return ": not both were offered clearly more than passed"
    return f": it counts {found.header.lo:.1f} to {found.header.hi:.1f} B beside the payload"
