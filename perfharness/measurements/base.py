"""What every measurement is given, and what it must offer.

A measurement says before the run which jobs it needs (``tasks``) and after the run what the files
of these jobs say (``analyse``). It never touches a host itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from perfharness.analysis.capacity import convert, headers_bytes
from perfharness.evidence import TaskFiles
from perfharness.model import (
    Direction,
    Fitness,
    Job,
    Layer,
    Measurement,
    PortUse,
    Role,
    Scope,
    Segment,
    Status,
    Task,
    Window,
)
from perfharness.order.circuit import Circuit, End, Endpoint, Router
from perfharness.order.document import KeyPath
from perfharness.order.scenario import CriterionSpec
from perfharness.order.validation import Strict
from perfharness.order.wrong import wrong

STAMP_PORT = 862
"""RFC 8762 section 4.1: the default, used where the endpoint allows it."""
MOST_PORTS = 64
"""Ports of one endpoint that the port matrix tries; a longer list is cut and the report says so."""
SETUP_S = 5.0
"""Allowed on top of a job's own time for start, login and tidy end."""
COUNTERS = "counters"
"""Job id of the counters beside a task."""
TUNE = "tune"
"""Job id of what changes a host's settings meanwhile."""
LAN_COUNTERS, WAN_COUNTERS = "counters-lan", "counters-wan"
"""Of the CE's two interfaces."""
FINE_MS, COARSE_MS = 100, 1000
"""Between two readings of the counters."""
FINE_UP_TO_S = 600.0
"""Of a longer task they are read once a second: a day of ten rows a second would be a gigabyte for each host."""


COUNTERS_ROW_BYTES = 4000
"""Of a row of a host with many counters; 3 kB as seen on two."""


V4, V6 = "ipv4", "ipv6"


def address_of(end: Endpoint, family: str) -> str:
    """Its test address; an end of a measurement over IPv6 has one."""
    return str(end.address if family == V4 else end.address6)


class Params(Strict):
    """A step's parameters as written in the scenario; a measurement without any uses this."""

    @property
    def of_all_pairs(self) -> bool:
        """Its tasks are made once, for all pairs of hosts, and not for each."""
        return False

    def criteria(self, circuit: Circuit) -> tuple[CriterionSpec, ...]:
        """What these parameters themselves require of the figures: judged where the step has no `judge`."""
        return ()


@dataclass(frozen=True, slots=True)
class Ends:
    """A circuit and one pair of its endpoints: a = on-prem, z = cloud."""

    circuit: Circuit
    a: End
    z: End

    @property
    def pair(self) -> str:
        return f"{self.a.name}:{self.z.name}"

    @property
    def agents(self) -> tuple[Endpoint, ...]:
        """The ends that take an agent, on-prem first."""
        return tuple(end for end in (self.a, self.z) if isinstance(end, Endpoint))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Their names: whose fitness decides whether a figure of this pair can be believed."""
        return tuple(end.name for end in self.agents)

    @property
    def committed_bps(self) -> int:
        """The rate that was ordered for this pair, in bit/s of :attr:`layer`."""
        return self.circuit.committed_bps((self.a.name, self.z.name))

    @property
    def layer(self) -> Layer:
        """The layer of the ordered rate; L2 where the order does not say (and the report tells so)."""
        return self.circuit.rate_layer or Layer.L2

    @property
    def tagged(self) -> bool:
        """Frames on the circuit carry a VLAN tag (VLAN 0 is a routed port without one)."""
        return self.circuit.vbr_of((self.a.name, self.z.name)).vlan != 0

    @property
    def mtu(self) -> int:
        """The IP packet size that was ordered, bytes."""
        return self.circuit.objectives.pmtu or self.circuit.vbr_of((self.a.name, self.z.name)).mtu

    def port_bps(self, payload_bytes: int) -> int:
        """The port's speed, which L1 counts, as :attr:`layer` counts packets of so much UDP payload."""
        size = payload_bytes + headers_bytes()
        return round(convert(self.circuit.port.speed_bps, Layer.L1, self.layer, size, tagged=self.tagged))

    def scope(self, direction: Direction | None, **more: Any) -> Scope:
        return Scope(circuit=self.circuit.id, pair=self.pair, direction=direction, **more)

    def must_fit(self, payload_bytes: int, at: KeyPath = ("packet",)) -> None:
        """Raises ``wrong`` for UDP payloads, written at this place of a step, that do not fit into one packet on this
        circuit."""
        most = self.circuit.vbr_of((self.a.name, self.z.name)).mtu - headers_bytes()
        if payload_bytes > most:
            said = f"Packets with {payload_bytes} B of payload do not fit the ordered MTU and would be fragmented."
            raise wrong(said, f"Write `packet: {most}` or less.", at=at)


@dataclass(frozen=True, slots=True)
class Context(Ends):
    """Two hosts with agents: everything can be measured between them."""

    a: Endpoint
    z: Endpoint
    among: int = 1
    """How many pairs, this one included, share the ordered rate at the same time."""

    def ends(self, direction: Direction) -> tuple[Endpoint, Endpoint]:
        """(sender, receiver) of traffic in this direction."""
        return (self.z, self.a) if direction is Direction.Z_A else (self.a, self.z)

    def probe_port(self) -> int:
        """Where the cloud end's reflector listens."""
        ports = list(self.z.ports)
        return STAMP_PORT if STAMP_PORT in ports else ports[-1]

    def load_ports(self, count: int) -> list[int]:
        """``count`` ports of the cloud end for iperf3; fewer when it allows fewer."""
        probe = self.probe_port()
        return [port for port in self.z.ports if port != probe][:count]


@dataclass(frozen=True, slots=True)
class RouterContext(Ends):
    """A host with an agent and a router that answers its probes, on whichever sides."""

    @property
    def host(self) -> Endpoint:
        return self.agents[0]

    @property
    def router(self) -> Router:
        return next(end for end in (self.a, self.z) if isinstance(end, Router))


class MeasurementKind(Protocol):
    """One entry of a registry, whose ``context`` is that of its pairs."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> type[Params]:
        """What a step may say besides ``id``, ``measure`` and ``judge``."""
        ...

    @property
    def statistics(self) -> Mapping[str, Collection[str]]:
        """Of each metric that its tasks yield."""
        ...

    def tasks(self, params: Any, step: str, context: Any) -> tuple[Task, ...]: ...

    def analyse(self, task: Task, files: TaskFiles, context: Any) -> Measurement: ...


def counters(context: Ends, deadline_s: float, period_ms: int | None = None) -> tuple[Job, ...]:
    """The watchers beside any task that moves packets: the counters of each host, and of the CE where it can be read.

    Ten times a second unless ``period_ms`` says otherwise, and once a second in a long task.
    """
    watched = [(COUNTERS, end.name, end.interface) for end in context.agents]
    ce = context.circuit.ce_host
    if ce is not None:
        watched += [(LAN_COUNTERS, ce.name, ce.lan), (WAN_COUNTERS, ce.name, ce.wan)]
    return tuple(watcher(host, interface, deadline_s, period_ms, job) for job, host, interface in watched)


def watcher(host: str, interface: str, deadline_s: float, period_ms: int | None = None, job: str = COUNTERS) -> Job:
    """The counters of one host beside a task; the task is complete without those of a router."""
    if period_ms is None:
        period_ms = FINE_MS if deadline_s <= FINE_UP_TO_S else COARSE_MS
    return Job(
        id=job,
        endpoint=host,
        method="host.counters",
        args={"interface": interface, "period_ms": period_ms},
        role=Role.WATCH,
        deadline_s=deadline_s,
        writes_bytes=round(deadline_s * 1000 / period_ms) * COUNTERS_ROW_BYTES,
        optional=job != COUNTERS,
    )


def tuned(context: Context, deadline_s: float) -> tuple[Job, ...]:
    """Raises the limits of socket buffers beside a task, on the hosts whose owner agreed to it."""
    return tuple(
        Job(
            id=TUNE,
            endpoint=end.name,
            method="tune.socket_buffers",
            args={"size_bytes": end.tune.socket_buffers_bytes},
            role=Role.WATCH,
            deadline_s=deadline_s,
            optional=True,
        )
        for end in context.agents
        if end.tune.socket_buffers_bytes is not None
    )


def probe_port_use(context: Context) -> PortUse:
    return PortUse(context.a.name, context.z.name, "udp", context.probe_port(), "STAMP probes and their replies")


def other(context: Ends, host: str) -> str:
    return context.z.name if host == context.a.name else context.a.name


def segment_of(context: Ends, host: str) -> Segment:
    return Segment.HOST_A if host == context.a.name else Segment.HOST_Z


def not_completed(task: Task, files: TaskFiles) -> Measurement | None:
    """The measurement when the orchestrator noted anything but success; None when all is well.

    What was cut short is not analysed: half a measurement must not look like a whole one.
    """
    outcome = files.outcome()
    if outcome is None:
        return Measurement(task, Status.SKIPPED, reason="The run ended before this task began.")
    status = Status(outcome["status"])
    if status is Status.COMPLETED:
        return None
    return Measurement(task, status, reason=str(outcome["reason"]), window=window_of(outcome))


def window_of(outcome: Any) -> Window | None:
    if not outcome or outcome.get("started_ns") is None or outcome.get("ended_ns") is None:
        return None
    return Window(outcome["started_ns"], outcome["ended_ns"])


def failed(task: Task, files: TaskFiles, reason: str) -> Measurement:
    return Measurement(task, Status.FAILED, reason=reason, window=window_of(files.outcome()))


def fitness(host: str, task: Task, reasons: Iterable[str], evidence: tuple[str, ...]) -> Fitness:
    """Fit when there is no reason against it."""
    reasons = tuple(reasons)
    return Fitness(host, task.id, not reasons, reasons, evidence)
