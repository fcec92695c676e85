"""What a service activation test (based on ITU-T Y.1564) is asked: services, their rates, what each must meet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from perfharness.measurements.base import Context
from perfharness.measurements.base import Params as Base
from perfharness.measurements.throughput import MOST_BUFFER, LoadDirections, ProbeParams
from perfharness.model import Direction
from perfharness.order.circuit import Circuit
from perfharness.order.dscp import BEST_EFFORT, Dscp, class_name
from perfharness.order.scenario import CriterionSpec
from perfharness.order.units import Duration, Ratio, Size, rate, rate_text
from perfharness.order.validation import Strict
from perfharness.order.wrong import wrong

MOST_SERVICES = 8
LEAST_CIR_BPS = 10_000
_SHARE = re.compile(r"(?:(?P<percent>[0-9]{1,3}(?:\.[0-9]{1,6})?) ?% of )?order(?:\.bandwidth)?")
_REMEDY = "Write a rate, as 30Mbps, or a share of the order, as `30% of order` or `order`."


@dataclass(frozen=True, slots=True)
class Portion:
    """A rate at the ordered layer: bit/s, or a share of what was ordered."""

    bps: int = 0
    share: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.bps or self.share)

    def __add__(self, other: Portion) -> Portion:
        return Portion(self.bps + other.bps, self.share + other.share)

    def of(self, order_bps: int) -> int:
        return self.bps + round(self.share * order_bps)

    def bound(self, factor: float) -> str:
        """``factor`` times this, as a scenario writes it."""
        if self.share:
            return f"{100 * factor * self.share:.6f}% of order.bandwidth"
        return f"{round(factor * self.bps)}bps"


def portion(value: Any) -> Portion:
    """What stands in a file. Raises ``wrong``."""
    if isinstance(value, Portion):
        return value
    if not isinstance(value, str):
        raise wrong("A single rate is needed here.", _REMEDY)
    found = _SHARE.fullmatch(value.strip())
    if not found:
        return Portion(bps=rate(value))
    share = float(found["percent"]) / 100 if found["percent"] else 1.0
    if not 0 < share <= 1:
        raise wrong(f"{value!r} is not a part of the order.", _REMEDY)
    return Portion(share=share)


ServiceRate = Annotated[
    Portion,
    PlainValidator(portion),
    PlainSerializer(lambda value: value.bound(1)),
    WithJsonSchema({"type": "string", "examples": ["30Mbps", "30% of order"]}),
]


class Service(Strict):
    """A service with a class of its own: how much it may send, and what it must meet while it sends no more than its
    CIR. What is left out of that, the order's objectives say."""

    cir: ServiceRate = Field(examples=["30Mbps"])
    """Committed information rate, at the ordered layer: a rate, or a share as `30% of order`."""
    eir: ServiceRate = Portion()
    """Excess information rate: what it may send beside its CIR, without a promise."""
    cbs_bytes: Size | None = Field(default=None, alias="cbs", ge=3000, le=64 << 20)
    """Committed burst size: so much must pass at once after a rest; tested where it is written."""
    ebs_bytes: Size | None = Field(default=None, alias="ebs", ge=3000, le=64 << 20)
    """Excess burst size: so much beside it, without a promise; reported."""
    dscp: Dscp = 0
    """How its packets are marked: EF, AF41, or a number."""
    packet_bytes: Size = Field(default=1400, alias="packet", ge=64, le=8972)
    """UDP payload of its load."""
    flr: Ratio | None = None
    """Frame loss ratio; the order's objective `loss` where it is left out."""
    ftd_ns: Duration | None = Field(default=None, alias="ftd", gt=0)
    """Frame transfer delay there and back, p99; the order's objective `rtt` where it is left out."""
    ftd_oneway_ns: Duration | None = Field(default=None, alias="ftd_oneway", gt=0)
    """The same each direction by itself; provable only with synchronised clocks."""
    fdv_ns: Duration | None = Field(default=None, alias="fdv", gt=0)
    """Frame delay variation there and back, p99 over the least; the order's objective `pdv` where it is left out."""

    @model_validator(mode="after")
    def _promises_something(self) -> Self:
        if self.flr == 1:
            raise wrong("A service that may lose all is promised nothing.", "Write an `flr` below 1.", at=("flr",))
        if 0 < self.cir.bps < LEAST_CIR_BPS:
            said = f"A CIR of {rate_text(self.cir.bps)} is less than a packet takes."
            raise wrong(said, f"Write {rate_text(LEAST_CIR_BPS)} or more.", at=("cir",))
        return self

    @model_validator(mode="after")
    def _can_be_added(self) -> Self:
        if self.eir and bool(self.cir.share) != bool(self.eir.share):
            said = "One of `cir` and `eir` is a rate and the other a share of the order."
            raise wrong(said, "Write both alike.", at=("eir",))
        if self.ebs_bytes and not self.cbs_bytes:
            raise wrong("There is an `ebs` without a `cbs`.", "Write both, or `cbs` alone.", at=("ebs",))
        return self


def _named(value: Any) -> Any:
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name):
                raise wrong(f"{name!r} cannot be the name of a service.", "Use letters, digits, _ and - only.")
    return value


class ServiceParams(Base):
    """What both tests say."""

    services: Annotated[dict[str, Service], BeforeValidator(_named)] = Field(
        default_factory=lambda: {"order": Service(cir=Portion(share=1.0))}, min_length=1, max_length=MOST_SERVICES
    )
    """By name; without any there is one, with the ordered rate and DSCP 0."""
    direction: LoadDirections = (Direction.A_Z, Direction.Z_A, Direction.BOTH)
    margin: Ratio = Field(default=0.005, gt=0, le=0.1)
    """Y.1564's M: by so much a rate may be beyond its bound, since it is not offered to the bit."""
    receive_buffer_bytes: Size | None = Field(default=16 << 20, alias="receive_buffer", le=MOST_BUFFER)
    """Forced on the receiver's own socket where the host allows it; no setting of the host is changed."""
    probe: ProbeParams = ProbeParams()

    @model_validator(mode="after")
    def _classes_differ(self) -> Self:
        seen: dict[int, str] = {}
        for name, service in self.services.items():
            if service.dscp in seen:
                said = f"{seen[service.dscp]} and {name} are both of class {class_name(service.dscp)}."
                raise wrong(said, "Give each a `dscp` of its own.", at=("services", name))
            seen[service.dscp] = name
        return self

    def scope_name(self, service: Service) -> str:
        """Its class, as figures name it; empty where there is only best effort."""
        name = class_name(service.dscp)
        return "" if name == BEST_EFFORT and len(self.services) == 1 else name

    def must_fit(self, context: Context) -> None:
        """Raises ``wrong`` for services that were not ordered together, or do not fit the port or a packet."""
        order, port = context.committed_bps, context.circuit.port.speed_bps
        total = 0
        for name, service in self.services.items():
            at = ("services", name)
            context.must_fit(service.packet_bytes, (*at, "packet"))
            total += service.cir.of(order)
            if total > order:
                said = f"With {name} the services are committed {rate_text(total)}, more than the {rate_text(order)} "
                raise wrong(f"{said}that were ordered.", "Lower a `cir`.", at=(*at, "cir"))
            both = (service.cir + service.eir).of(order)
            if both > port:
                said = f"CIR and EIR of {name} are {rate_text(both)}; the port has {rate_text(port)}."
                raise wrong(said, "Lower its `eir`.", at=(*at, "eir"))

    def direction_loads(self, load: str) -> tuple[str, ...]:
        """The names that a load has in the directions of this step, one way and both ways at once."""
        one_way = any(way is not Direction.BOTH for way in self.direction)
        both = Direction.BOTH in self.direction
        return (*((load,) if one_way else ()), *((in_both(load),) if both else ()))

    def met(self, service: Service, load: str, share: float, circuit: Circuit) -> Iterator[CriterionSpec]:
        """What a service must meet while it sends this share of its CIR."""
        yield self.least(service, load, share, circuit)
        row = {"class": self.scope_name(service) or None, "load": load}
        flr, ftd, fdv = (
            {"at_most": reference, "default": default} if own is None else {"at_most": own}
            for own, reference, default in (
                (None if service.flr is None else f"{service.flr:.12f}", "objectives.loss", "1e-3"),
                (_ns(service.ftd_ns), "objectives.rtt", "50ms"),
                (_ns(service.fdv_ns), "objectives.pdv", "10ms"),
            )
        )
        rows = {"loss": "EC-042", "delay.loaded": "EC-040", "variation.pdv": "EC-041", "delay.oneway": "EC-040"}
        asked: list[tuple[str, str, dict[str, str], str]] = [
            ("loss", "ratio", flr, "each"),
            ("delay.loaded", "p99", ftd, "round-trip"),
            ("variation.pdv", "p99", fdv, "round-trip"),
        ]
        if service.ftd_oneway_ns is not None:
            asked.append(("delay.oneway", "p99", {"at_most": f"{service.ftd_oneway_ns}ns"}, "each"))
        for metric, statistic, bound, way in asked:
            said = {**row, **bound, "metric": metric, "statistic": statistic, "direction": way, "rows": (rows[metric],)}
            yield CriterionSpec.model_validate(said)

    def least(self, service: Service, load: str, share: float, circuit: Circuit, row: str = "EC-035") -> CriterionSpec:
        """The rate that must arrive of this share of its CIR: CIR·(1-FLR), less the margin."""
        bound = service.cir.bound(share * (1 - flr_of(service, circuit)) * (1 - self.margin))
        return self.rate_bound(service, load, {"at_least": bound}, row)

    def rate_bound(
        self, service: Service, load: str, bound: Mapping[str, str], row: str, mandatory: bool = True
    ) -> CriterionSpec:
        return CriterionSpec.model_validate(
            {
                **bound,
                "metric": "throughput.udp",
                "statistic": "mean",
                "load": load,
                "class": self.scope_name(service) or None,
                "rows": (row,),
                "mandatory": mandatory,
            }
        )


def in_both(load: str) -> str:
    """The name of a load where both directions carry it at once."""
    return f"{load} both ways"


def flr_of(service: Service, circuit: Circuit) -> float:
    if service.flr is not None:
        return service.flr
    return 1e-3 if circuit.objectives.loss is None else circuit.objectives.loss


def _ns(value: int | None) -> str | None:
    return None if value is None else f"{value}ns"
