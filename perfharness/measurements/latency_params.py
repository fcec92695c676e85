"""What a latency step says, and the probe stream that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd, lcm
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from perfagent.schedule import turns
from perfharness.measurements import probe
from perfharness.measurements.base import Ends
from perfharness.measurements.base import Params as Base
from perfharness.order.dscp import Dscp, class_name
from perfharness.order.packets import Packets, PacketSizes
from perfharness.order.units import Duration, duration_text
from perfharness.order.validation import Strict
from perfharness.order.wrong import wrong

MOST_CLASSES = 8
LEAST_INTERVAL_NS = 100_000
"""Between packets of any class: what the prober keeps up with on a small host."""
MOST_IN_TURN = 1024
"""Packets after which classes and sizes must come again in the same order."""


def _with_room(sizes: Packets, info: ValidationInfo) -> Packets:
    """An authenticated packet is larger."""
    return sizes.with_room(probe.SIGNED_BYTES) if info.data.get("authenticated") else sizes


class ServiceClass(Strict):
    """One of several classes of service; what it does not say of its packets the step does."""

    dscp: Dscp
    interval_ns: Duration | None = Field(default=None, alias="interval", ge=100_000, le=1_000_000_000)
    packet_bytes: PacketSizes | None = Field(default=None, alias="packet")


def _classes_with_room(classes: tuple[ServiceClass, ...], info: ValidationInfo) -> tuple[ServiceClass, ...]:
    return tuple(
        each.model_copy(update={"packet_bytes": _with_room(each.packet_bytes, info)}) if each.packet_bytes else each
        for each in classes
    )


def _as_mapping(value: Any) -> Any:
    """A class that says no more than its name or number."""
    return value if isinstance(value, Mapping | ServiceClass) else {"dscp": value}


class LatencyParams(Base):
    interval_ns: Duration = Field(default=1_000_000, alias="interval", ge=100_000, le=1_000_000_000)
    duration_ns: Duration = Field(default=30_000_000_000, alias="duration", ge=1_000_000_000)
    authenticated: bool = False
    """Sign each packet and reply with a random key of this step alone (STAMP's authenticated mode)."""
    packet_bytes: Annotated[PacketSizes, AfterValidator(_with_room)] = Field(
        default_factory=lambda said: Packets((probe.small_packet(said),)), alias="packet"
    )
    dscp: Dscp = 0
    classes: Annotated[
        tuple[Annotated[ServiceClass, BeforeValidator(_as_mapping)], ...], AfterValidator(_classes_with_room)
    ] = Field(default=(), max_length=MOST_CLASSES)
    """Several at once, each with a packet every interval: EF, or {dscp: EF, interval: 20ms, packet: 200B} for one with
    an interval and sizes of its own."""
    pattern: Literal["periodic", "poisson"] = "periodic"

    @model_validator(mode="after")
    def _classes_differ(self) -> Self:
        if self.classes and "dscp" in self.model_fields_set:
            raise wrong("`dscp` and `classes` both say how packets are marked.", "Keep one of the two.", at=("dscp",))
        for i, each in enumerate(self.classes):
            if each.dscp in [other.dscp for other in self.classes[:i]]:
                raise wrong(f"The class {class_name(each.dscp)} is there twice.", "Keep one.", at=("classes", i))
        if self.pattern == "poisson" and len({each.interval_ns or self.interval_ns for each in self.classes}) > 1:
            said = "A Poisson stream has one interval for all its classes."
            raise wrong(said, "Leave out those of the classes, or write `pattern: periodic`.", at=("pattern",))
        return self

    def stream(self, context: Ends) -> probe.Stream:
        """Classes take turns, and packets of each have the sizes in turn. Raises ``wrong`` for too much."""
        classes = self.classes or (ServiceClass(dscp=self.dscp),)
        payloads = [(each.packet_bytes or self.packet_bytes).payloads(context.mtu) for each in classes]
        context.must_fit(max(map(max, payloads)))
        intervals = [each.interval_ns or self.interval_ns for each in classes]
        common_ns = gcd(*intervals)
        if common_ns // len(classes) < LEAST_INTERVAL_NS:
            raise _too_close(len(classes), common_ns, len(set(intervals)) == 1)
        every = tuple(interval // common_ns for interval in intervals)
        rounds = self.duration_ns // common_ns
        return probe.Stream(
            common_ns // len(classes),
            sum(-(-rounds // each) for each in every),
            _sizes(payloads, every),
            tuple(each.dscp for each in classes),
            self.pattern,
            self.authenticated,
            every,
        )


def _too_close(classes: int, common_ns: int, alike: bool) -> Exception:
    least = duration_text(LEAST_INTERVAL_NS * classes)
    if alike:
        said = f"{classes} classes at this interval are more than {10**9 // LEAST_INTERVAL_NS:,} packets/s."
        return wrong(said, f"Write `interval: {least}` or more.", at=("interval",))
    said = f"The intervals of {classes} classes have only {duration_text(common_ns)} in common: their packets would be "
    said += f"less than {duration_text(LEAST_INTERVAL_NS)} apart."
    return wrong(said, f"Write multiples of {least} or of more.", at=("classes",))


def _sizes(payloads: Sequence[Sequence[int]], every: Sequence[int]) -> tuple[int, ...]:
    """Of the packets in turn: each class has its own payloads in their order. Raises ``wrong``."""
    if len({size for sizes in payloads for size in sizes}) == 1:
        payloads = [sizes[:1] for sizes in payloads]
    in_cycle = [lcm(*every) // each for each in every]
    cycles = lcm(*(len(sizes) // gcd(len(sizes), own) for sizes, own in zip(payloads, in_cycle, strict=True)))
    if cycles * sum(in_cycle) > MOST_IN_TURN:
        said = f"Classes and sizes come again in the same order only after {cycles * sum(in_cycle):,} packets, "
        said += f"more than {MOST_IN_TURN:,}."
        raise wrong(said, "Write intervals that are multiples of one another, or fewer sizes.", at=("classes",))
    sent = [0] * len(every)
    found = []
    for kind in turns(every) * cycles:
        found.append(payloads[kind][sent[kind] % len(payloads[kind])])
        sent[kind] += 1
    return tuple(found) if len(set(found)) > 1 else (found[0],)
