"""What was ordered: one circuit, as its file says it. A ``Circuit`` that exists is well formed.

What one value must be (a VLAN id, a link with its mask) is checked here, while it is read; what
several values say together is checked in :mod:`perfharness.order.sense`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from perfharness.errors import BadInput
from perfharness.model import TOGETHER, Layer
from perfharness.order import document
from perfharness.order.closed import Forbidden as Forbidden
from perfharness.order.document import Document
from perfharness.order.endpoints import Appliance as Appliance
from perfharness.order.endpoints import Ce as Ce
from perfharness.order.endpoints import End as End
from perfharness.order.endpoints import Endpoint as Endpoint
from perfharness.order.endpoints import Router as Router
from perfharness.order.endpoints import Ssh as Ssh
from perfharness.order.endpoints import by_name, read_ce
from perfharness.order.units import Duration, Rate, Ratio, Size
from perfharness.order.validation import Strict, validate_mapping
from perfharness.order.values import (
    Day,
    FilePath,
    FormatVersion,
    Moment,
    Name,
    Prefix,
    Row,
    Text,
)
from perfharness.order.vbr import Vbr as Vbr
from perfharness.order.wrong import wrong

Pair: TypeAlias = tuple[str, str]
"""Names of two endpoints: on-prem, cloud; of several pairs together ``("a1+a2", "z1+z2")``."""
REFERENCES = {
    "order.bandwidth": "bit/s",
    "order.mtu": "B",
    "objectives.rtt": "ns",
    "objectives.oneway": "ns",
    "objectives.pdv": "ns",
    "objectives.loss": "1",
    "objectives.availability": "1",
    "objectives.outage": "ns",
    "objectives.pmtu": "B",
    "objectives.vpn_pmtu": "B",
    "objectives.rate": "bit/s",
}
"""Values of an order that a scenario may refer to, with their units."""
REROUTE_NS = 1_000_000_000
"""Allowed to routers, once they know that a circuit has failed, until all packets go the other way."""


class Ordered(NamedTuple):
    """A value of the order, and which line of it says so."""

    value: float
    unit: str
    origin: str


class Carrier(Strict):
    """Who carries the circuit between the CE and the access point."""

    name: Text = Field(examples=["ExampleTel"])
    """The carrier's name."""
    circuit: Text = Field(examples=["EXT-0042"])
    """The carrier's own number of this circuit."""
    loa: Text | None = None
    """Reference of the letter of authorisation (not the letter: it names people)."""
    contact: Text | None = None
    """Role in `contacts` of the carrier's fault desk."""


class Guard(Strict):
    """When a load on a circuit in service is ended at once, because its users suffer."""

    loss: Ratio = 0.05
    """Share of the guard's probes lost within half a second."""
    delay_ns: Duration = Field(default=20_000_000, alias="delay", gt=0)
    """How much longer than before the load these probes take, the median of half a second."""
    background: Ratio = 0.3
    """Share by which others' traffic may fall from what it was before the load; seen where the CE's counters are."""


class Change(Strict):
    """The change record that allows load on a circuit in service (EC-002)."""

    ticket: Text = Field(examples=["CHG-1234"])
    """Number of the change ticket."""
    window_start: Moment | None = None
    """Load may begin."""
    window_end: Moment | None = None
    """Load must have ended."""
    allowed_share: Ratio = 0.1
    """Share of the ordered rate that may be loaded outside the window."""
    guard: Guard = Guard()
    """What ends any load at once, whatever the window allows."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.window_start and self.window_end and self.window_end <= self.window_start:
            said = "The window ends before it starts."
            raise wrong(said, "Swap or mend the two times.", "EC-002", ("window_end",))
        if bool(self.window_start) != bool(self.window_end):
            raise wrong("A window needs window_start and window_end.", "Add the other one.", "EC-002")
        return self


class Port(Strict):
    """The ordered physical port."""

    id: Text = Field(examples=["pc-bp1example"])
    """The provider's id of the physical connection."""
    type: Text = Field(examples=["1000Base-LX"])
    """Port type in the provider's words."""
    speed_bps: Rate = Field(alias="speed", examples=["1Gbps"])
    """Line rate of the port."""
    duplex: Literal["full", "half"] = "full"
    """Duplex setting of both ends."""
    autonegotiation: bool = False
    """Ports are ordered with autonegotiation off."""


class Prefixes(Strict):
    """Which addresses are on which side."""

    onprem: tuple[Prefix, ...] = Field(min_length=1, examples=["[10.10.0.0/16]"])
    """LAN prefixes that the cloud must reach."""
    cloud: tuple[Prefix, ...] = Field(min_length=1, examples=["[192.168.0.0/16]"])
    """VPC prefixes that the LAN must reach."""


class Objectives(Strict):
    """What the circuit must do; what is left out is judged by a scenario's default and said to be."""

    rtt_ns: Duration | None = Field(default=None, alias="rtt", gt=0)
    """Round-trip time, p99 when idle."""
    oneway_ns: Duration | None = Field(default=None, alias="oneway", gt=0)
    """One-way delay, each direction, p99 when idle; provable only with synchronised clocks."""
    pdv_ns: Duration | None = Field(default=None, alias="pdv", gt=0)
    """Packet delay variation over the minimum, p99 (RFC 5481)."""
    loss: Ratio | None = Field(default=None, lt=1)
    """Share of packets that may be lost, each direction."""
    availability: Ratio | None = None
    """Share of time."""
    outage_ns: Duration | None = Field(default=None, alias="outage", gt=0)
    """How long a flow may be cut off when a circuit of a pair fails; left out, what BFD as ordered needs to notice it
    and a second to reroute."""
    pmtu: Size | None = Field(default=None, ge=576, le=65535)
    """Largest IP packet that must arrive, bytes."""
    vpn_pmtu: Size | None = Field(default=None, ge=576, le=65535)
    """Largest IP packet that must arrive over the VPN that backs the circuit up, bytes."""
    rate_bps: Rate | None = Field(default=None, alias="rate")
    """Committed rate, when it is not the bandwidth of the VBR."""


def _pair(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise wrong("A pair is the names of two endpoints.", "Write for example `- [onprem-a, ecs-a]`.")
    return value


def _default_pairs(validated: dict[str, Any]) -> tuple[Pair, ...]:
    """First on-prem host with first cloud host, and each router with the first host of the other side; none where a
    side has no host."""
    ends = validated.get("endpoints", ())
    first: dict[str, str] = {}
    for end in ends:
        if isinstance(end, Endpoint):
            first.setdefault(end.site, end.name)
    routers = [({**first, end.site: end.name}) for end in ends if isinstance(end, Router)]
    return tuple((names["onprem"], names["cloud"]) for names in (first, *routers) if len(names) == 2)


class Contact(Strict):
    """Whom to call."""

    role: Text = Field(examples=["carrier fault desk"])
    """What they answer for."""
    name: Text | None = None
    """A desk or a team rather than a person."""
    phone: Text | None = None
    """Telephone."""
    email: Text | None = None
    """Mail address."""


class Runbook(Strict):
    """What someone needs at night (EC-061)."""

    policy: Text | None = None
    """Routing policy in words: what is announced, what is preferred."""
    escalation: Text | None = None
    """Whom to escalate to, in which order, after how long."""


class Waiver(Strict):
    """A requirement that someone decided not to hold, for a time."""

    row: Row = Field(examples=["EC-050"])
    """Row of the checklist."""
    who: Text = Field(examples=["Head of Networks"])
    """Who decided."""
    why: Text = Field(examples=["second circuit is ordered for Q3"])
    """The reason."""
    until: Day = Field(examples=["2027-03-31"])
    """Last day on which it holds."""


class Circuit(Strict):
    """One dedicated circuit as it was ordered."""

    format_version: FormatVersion = Field(examples=["1"])
    """Version of this file's format."""
    id: Name = Field(examples=["ec-cn-hangzhou-xs-a-production-exampletel-ext-0042"])
    """Name of the circuit: ec-<region>-<access point>-<environment>-<carrier>-<circuit number>."""
    carrier: Carrier
    """Who carries it."""
    region: Text = Field(examples=["cn-hangzhou"])
    """The provider's region."""
    access_point: Text = Field(examples=["ap-cn-hangzhou-xs-A"])
    """The provider's access point."""
    ce: Annotated[
        Appliance | Ce | Text | None, BeforeValidator(read_ce, json_schema_input_type=Text | Ce | Appliance | None)
    ] = None
    """The customer's router on this circuit: its name, or how to read it as well."""
    environment: Literal["production", "staging", "test", "lab"]
    """What it is used for."""
    in_service: bool
    """Whether it carries traffic of users now: then load needs a change record."""
    change: Change | None = None
    """The change record."""
    rate_layer: Layer | None = None
    """Which bits of a frame the ordered rate counts; asked of the provider, not guessed."""
    per_flow_limit_bps: Rate | None = Field(default=None, alias="per_flow_limit")
    """What one flow may have, where the provider says so."""
    port: Port
    """The physical port."""
    vbrs: tuple[Vbr, ...] = Field(min_length=1)
    """Virtual border routers on the port."""
    prefixes: Prefixes
    """Addresses of both sides."""
    objectives: Objectives = Objectives()
    """What it must do."""
    endpoints: Annotated[
        tuple[Endpoint | Router, ...],
        BeforeValidator(by_name, json_schema_input_type=dict[Name, Endpoint | Router]),
    ]
    """The hosts to measure from, and routers that answer probes by themselves, by name."""
    pairs: tuple[Annotated[Pair, BeforeValidator(_pair)], ...] = Field(default_factory=_default_pairs)
    """Which on-prem end is measured with which cloud end; by default the first host of each, and each router with the
    first host of the other side."""
    forbidden: tuple[Forbidden, ...] = ()
    """Connections that the segmentation must not allow."""
    contacts: tuple[Contact, ...] = ()
    """Whom to call."""
    tags: dict[str, Text] = Field(default_factory=dict)
    """The provider's resource tags."""
    runbook: Runbook = Runbook()
    """For the people on call."""
    companion: FilePath | None = None
    """File of the second circuit of a production pair; relative to this file."""
    waivers: tuple[Waiver, ...] = ()
    """Rows that need not hold for now."""

    _source: Document = PrivateAttr(default=Document("circuit", {}, {}))
    _beside: Ce | None = PrivateAttr(default=None)

    @property
    def source(self) -> Document:
        """The file that it was read from."""
        return self._source

    @property
    def hosts(self) -> tuple[Endpoint, ...]:
        """The endpoints that take an agent."""
        return tuple(end for end in self.endpoints if isinstance(end, Endpoint))

    @property
    def ce_host(self) -> Ce | None:
        """The CE, where it takes an agent."""
        return self.ce if isinstance(self.ce, Ce) else None

    @property
    def ces(self) -> tuple[Ce, ...]:
        """The routers that can be read: its own, and that of the second circuit."""
        return tuple(ce for ce in (self.ce_host, self._beside) if ce is not None)

    @property
    def ce_router(self) -> Ce | Appliance | None:
        """The CE, where it can be asked at all."""
        return None if isinstance(self.ce, str) else self.ce

    @property
    def ce_name(self) -> str | None:
        return self.ce if isinstance(self.ce, str) or self.ce is None else self.ce.name

    @property
    def guard(self) -> Guard:
        """What ends a load while the circuit is in service."""
        return self.change.guard if self.change else Guard()

    def host(self, name: str) -> Endpoint | Ce:
        """The endpoint of this name, or one of the CEs. Raises KeyError."""
        return next((ce for ce in self.ces if ce.name == name), None) or self.endpoint(name)

    def asked(self, name: str) -> Endpoint | Ce | Appliance:
        """Whoever has jobs under this name. Raises KeyError."""
        return self.ce_router if self.ce_router is not None and self.ce_router.name == name else self.host(name)

    def endpoint(self, name: str) -> Endpoint:
        """The host of this name. Raises KeyError; where a job runs it never does."""
        return {host.name: host for host in self.hosts}[name]

    def end(self, name: str) -> Endpoint | Router:
        """The host or router of this name. Raises KeyError; a pair of this circuit never does."""
        return {end.name: end for end in self.endpoints}[name]

    def vbr_of(self, pair: Pair) -> Vbr:
        """The VBR that a pair's traffic goes through: the one that either host names, else the first.

        Of several pairs together (``model.Scope.pair``) it is the same for all.
        """
        named = {self.end(name).vbr for side in pair for name in side.split(TOGETHER)} - {None}
        return next((vbr for vbr in self.vbrs if vbr.id in named), self.vbrs[0])

    def committed_bps(self, pair: Pair) -> int:
        """Bit/s at ``rate_layer``; which line says so is in ``ordered("order.bandwidth", pair)``."""
        return self.objectives.rate_bps or self.vbr_of(pair).bandwidth_bps

    def ordered(self, reference: str, pair: Pair) -> Ordered | None:
        """What the order says for one of :data:`REFERENCES`; None when it says nothing."""
        vbr, objectives = self.vbr_of(pair), self.objectives
        unsaid = objectives.pmtu is None and "mtu" in vbr.model_fields_set
        if reference == "order.mtu" or (reference == "objectives.pmtu" and unsaid):
            return Ordered(vbr.mtu, "B", f"order: MTU of {vbr.id}")
        if reference == "order.bandwidth":
            said = "objective rate" if objectives.rate_bps else f"bandwidth of {vbr.id}"
            return Ordered(self.committed_bps(pair), "bit/s", f"order: {said}")
        if reference == "objectives.outage" and objectives.outage_ns is None:
            return _by_detection(vbr)
        name = reference.removeprefix("objectives.")
        attribute = next(key for key, info in Objectives.model_fields.items() if name == (info.alias or key))
        value = getattr(objectives, attribute)
        return None if value is None else Ordered(value, REFERENCES[reference], f"order: objective {name}")


def _by_detection(vbr: Vbr) -> Ordered | None:
    """How long an outage may be where no objective says so; None where nothing ordered notices one."""
    if vbr.noticed_by is None:
        return None
    what, time_ns = vbr.noticed_by
    said = f"order: {what} of {vbr.id} notices in {time_ns / 1e6:g} ms, and {REROUTE_NS / 1e9:g} s to reroute"
    return Ordered(time_ns + REROUTE_NS, "ns", said)


def load_circuit(path: str | Path) -> Circuit:
    """The circuit in this file, well formed; whether it makes sense is asked of :mod:`perfharness.order.sense`.

    Raises BadInput with every problem: where the form is broken, also what makes no sense elsewhere.
    """
    source = document.load(path)
    circuit, problems = validate_mapping(Circuit, source.data, source)
    if circuit is None:
        from perfharness.order import sense  # it knows circuits; only a malformed file needs it here

        raise BadInput(sorted([*problems, *sense.problems_beside(source)], key=lambda problem: problem.line))
    circuit._source = source
    circuit._beside = _companions_ce(circuit)
    return circuit


def _companions_ce(circuit: Circuit) -> Ce | None:
    """The router of the second circuit, where its file names one that can be read. Whether that file is well formed is
    asked of it elsewhere (:func:`load_companion`)."""
    if circuit.companion is None:
        return None
    try:
        source = document.load(circuit.companion)
    except BadInput:
        return None
    beside, _ = validate_mapping(Circuit, source.data, source)
    mine, its = circuit.ce_name, beside.ce_host if beside else None
    return its if its is not None and its.name != mine else None


def load_companion(circuit: Circuit) -> Circuit | None:
    """The second circuit of the pair; None when none is named. Raises BadInput."""
    return None if circuit.companion is None else load_circuit(circuit.companion)
