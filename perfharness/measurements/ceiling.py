"""ceiling: what the hosts can send and take without the circuit, so that their own limit is measured and not guessed.

Loopback is one host that sends and takes at once: it can do at least that much by its CPU, and nothing of a cloud
instance's limit shows there. Between two hosts of a site, and between a host and a CE that has iperf3, packets leave
the host: what does not arrive there is the limit of one of the two. Nothing crosses the circuit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from perfharness.analysis.capacity import convert
from perfharness.analysis.iperf3 import Flow, parse
from perfharness.analysis.statistics import mean_rate
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import SETUP_S, STAMP_PORT, Context, failed, not_completed, watcher, window_of
from perfharness.measurements.base import Params as Base
from perfharness.measurements.load_flow import LEAST_OFFERED, OUTPUT, SHORT
from perfharness.measurements.load_jobs import MOST_BURST, PACING_S, PROCESS_BPS, PROCESS_PPS
from perfharness.measurements.load_options import Seconds, of_client
from perfharness.model import (
    Direction,
    Interval,
    Job,
    Layer,
    Measurement,
    Observation,
    PortUse,
    Role,
    Scope,
    Status,
    Task,
)
from perfharness.order.circuit import Ce, Circuit, Endpoint
from perfharness.order.consistency import CEILING_FACTOR
from perfharness.order.units import Size, rate_text
from perfharness.order.wrong import wrong

LOOPBACK_FACTOR = 1.5
"""Times the order: one host does the work of both ends."""
WARM_UP_S = 0.5
INTERVAL_S = 0.2
RECEIVE_BUFFER_BYTES = 16 << 20
BUFFER_PRIVILEGE = "CAP_NET_ADMIN for a large receive buffer (measures without it, with the host's limit)"
MOSTLY = 0.5
"""Share of what is missing that a receiving socket must have dropped to be the limit alone."""

Listed = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)


class CeilingParams(Base):
    duration_ns: Seconds = Field(default=2_000_000_000, alias="duration", ge=2_000_000_000, le=60_000_000_000)
    """Of each test, its warm-up included."""
    packet_bytes: Size = Field(default=1400, alias="packet", ge=16, le=8972)
    """UDP payload."""
    protocol: Annotated[tuple[Literal["udp", "tcp"], ...], Field(min_length=1), Listed] = ("udp", "tcp")
    against: Annotated[tuple[Literal["loopback", "neighbour", "ce"], ...], Field(min_length=1), Listed] = (
        "loopback",
        "neighbour",
        "ce",
    )
    """A host alone, another host of its site, the CE that has iperf3; what the order does not have is left out."""

    @property
    def of_all_pairs(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Bracket:
    """One test: who sends, who takes, and who of the two has the ports."""

    sender: Endpoint | Ce
    receiver: Endpoint | Ce

    @property
    def server(self) -> Endpoint:
        return next(end for end in (self.receiver, self.sender) if isinstance(end, Endpoint))

    @property
    def client(self) -> Endpoint | Ce:
        return self.sender if self.server is self.receiver else self.receiver

    @property
    def loopback(self) -> bool:
        return self.sender.name == self.receiver.name

    @property
    def hosts(self) -> tuple[Endpoint, ...]:
        ends = (self.sender,) if self.loopback else (self.sender, self.receiver)
        return tuple(end for end in ends if isinstance(end, Endpoint))


class Ceiling:
    name = "ceiling"
    parameters = CeilingParams
    statistics: Mapping[str, Collection[str]] = {"ceiling": ("udp", "tcp")}

    def tasks(self, params: CeilingParams, step: str, context: Context) -> tuple[Task, ...]:
        context.must_fit(params.packet_bytes)
        found = tuple(brackets(context.circuit, params.against))
        if not found:
            said = f"The order has nothing to measure a host against {' or '.join(params.against)}."
            raise wrong(said, "Add `loopback`, a second host of a site, or a `ce` with `iperf3`.", at=("against",))
        return tuple(
            _task(params, step, context, bracket, protocol) for bracket in found for protocol in params.protocol
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        sender, receiver = (context.circuit.host(name) for name in (task.scope.host, task.scope.bracket))
        try:
            return _measured(task, files, context, Bracket(sender, receiver))
        except ToolFailed as error:
            return failed(task, files, str(error))


def brackets(circuit: Circuit, against: Collection[str]) -> Iterator[Bracket]:
    """All tests that the order makes possible: each host of a pair alone, then every host with one other of its site
    both ways, be that in a pair or not, then the on-prem hosts of pairs with the CE."""
    paired = {name for pair in circuit.pairs for name in pair}
    if "loopback" in against:
        yield from (Bracket(host, host) for host in circuit.hosts if host.name in paired)
    for site in ("onprem", "cloud") if "neighbour" in against else ():
        hosts = [host for host in circuit.hosts if host.site == site]
        for one in hosts[::2] if len(hosts) > 1 else ():
            other = hosts[(hosts.index(one) + 1) % len(hosts)]
            yield from (Bracket(one, other), Bracket(other, one))
    ce = circuit.ce_host
    if "ce" in against and ce is not None and ce.has_iperf3:
        for host in (host for host in circuit.hosts if host.site == "onprem" and host.name in paired):
            yield from (Bracket(host, ce), Bracket(ce, host))


# --- the plan ---------------------------------------------------------------------------------------


def _task(params: CeilingParams, step: str, context: Context, bracket: Bracket, protocol: str) -> Task:
    circuit, server, client = context.circuit, bracket.server, bracket.client
    seconds = params.duration_ns // 1_000_000_000
    deadline = seconds + 20.0
    udp = protocol == "udp"
    order_bps = max(circuit.committed_bps(pair) for pair in _pairs_of(circuit, bracket.hosts[0].name))
    wanted = order_bps * (LOOPBACK_FACTOR if bracket.loopback else CEILING_FACTOR)
    payload = params.packet_bytes
    goodput = convert(wanted, context.layer, Layer.L4, payload + 28, tagged=context.tagged)
    ports = sorted(server.ports, key=lambda port: port == STAMP_PORT)[
        : math.ceil(goodput / 8 / payload / PROCESS_PPS if udp else wanted / PROCESS_BPS)
    ]
    load = {
        "duration_s": seconds,
        "omit_s": 0,
        "streams": 1 if udp else 4,
        "udp": udp,
        "rate_bps": round(goodput / len(ports)) if udp else None,
        "burst": max(1, min(MOST_BURST, int(goodput / len(ports) / 8 / payload * PACING_S))) if udp else 1,
        "length": payload if udp else None,
        "reverse": server is bracket.sender and not bracket.loopback,
    }
    jobs = [watcher(host.name, host.interface, deadline + SETUP_S) for host in bracket.hosts]
    for number, port in enumerate(ports):
        jobs += _pair_of_jobs(server, client, number, port, load, deadline)
    flows = [PortUse(client.name, server.name, kind, port, "what the hosts can do") for kind in ("tcp", *["udp"] * udp)
             for port in ports]  # fmt: skip
    against = "loopback" if bracket.loopback else f"to-{bracket.receiver.name}"
    return Task(
        id=f"{step}-{bracket.sender.name}-{against}-{protocol}",
        step=step,
        measurement="ceiling",
        scope=Scope(
            circuit=circuit.id,
            pair=":".join(_pairs_of(circuit, bracket.hosts[0].name)[0]),
            load=protocol,
            host=bracket.sender.name,
            bracket=bracket.receiver.name,
        ),
        jobs=tuple(jobs),
        duration_s=float(seconds),
        ports=() if bracket.loopback else tuple(flows),
        privileges=(BUFFER_PRIVILEGE,) if udp else (),
        yields={"ceiling": tuple(dict.fromkeys(way for _, way in _roles(bracket)))},
    )


def _pairs_of(circuit: Circuit, host: str) -> list[tuple[str, str]]:
    """The pairs of hosts that it is in; all of them for a spare host."""
    names = {end.name for end in circuit.hosts}
    pairs = [pair for pair in circuit.pairs if names.issuperset(pair)]
    return [pair for pair in pairs if host in pair] or pairs


def _pair_of_jobs(
    server: Endpoint, client: Endpoint | Ce, number: int, port: int, load: Mapping[str, Any], deadline: float
) -> tuple[Job, Job]:
    """One server and its client, which load no circuit. Where the client is the CE the task is complete without it."""
    common = {"interval_s": INTERVAL_S, "receive_buffer_bytes": RECEIVE_BUFFER_BYTES, "port": port}
    there, here = str(server.address), str(client.address)
    serve = {"iperf3": server.iperf3, "address": there, "peer": here, **common}
    drive = of_client({"iperf3": client.iperf3 or "iperf3", "peer": there, "source": here, **common, **load})
    return (
        Job(f"server-{number}", server.name, "iperf3.serve", serve, Role.SERVE, deadline + SETUP_S, one_shot=True),
        Job(
            f"client-{number}",
            client.name,
            "iperf3.drive",
            drive,
            Role.DRIVE,
            deadline,
            optional=isinstance(client, Ce),
        ),
    )


def _roles(bracket: Bracket) -> Iterator[tuple[Endpoint, Direction]]:
    """Each host, and the direction of the circuit in which it has the same part: it sends, or it takes."""
    if isinstance(bracket.sender, Endpoint):
        yield bracket.sender, Direction.A_Z if bracket.sender.site == "onprem" else Direction.Z_A
    if isinstance(bracket.receiver, Endpoint):
        yield bracket.receiver, Direction.Z_A if bracket.receiver.site == "onprem" else Direction.A_Z


# --- what came of it --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What both ends reported, all processes together; payload bit/s."""

    offered_bps: float
    intended_bps: float
    carried_bps: float
    most_bps: float
    """Upper bound of what is carried."""
    missing: int
    dropped: int
    """By the receiving sockets."""
    intervals: int

    @property
    def all_came(self) -> bool:
        return self.carried_bps >= SHORT * self.offered_bps

    @property
    def withheld(self) -> bool:
        return self.offered_bps < LEAST_OFFERED * self.intended_bps


def _measured(task: Task, files: TaskFiles, context: Context, bracket: Bracket) -> Measurement:
    servers = [job for job in task.jobs if job.method == "iperf3.serve"]
    clients = [job for job in task.jobs if job.method == "iperf3.drive"]
    if any(files.bytes(job.endpoint, job.id, OUTPUT) is None for job in clients):
        raise ToolFailed(f"{bracket.client.name} left no report of iperf3.")
    udp, backwards = task.scope.load == "udp", bool(clients[0].args["reverse"])
    there = [_flow(job, files, backwards) for job in clients]
    here = [_flow(job, files, backwards) for job in servers]
    sent, received = (here, there) if backwards else (there, here)
    takers = clients if backwards else servers
    sockets = [row for job in takers for row in _data(job, files).get("sockets", ()) if row.get("kind") == "udp"]
    limits = [job.args["rate_bps"] for job in clients]
    seen = _seen(sent, received, sum(limits) if udp else None, sockets)
    evidence = tuple(files.path(job.endpoint, job.id, OUTPUT) for job in (*clients, *servers))
    scale = convert(1.0, Layer.L4, context.layer, (clients[0].args["length"] or context.mtu - 28) + 28,
                    tagged=context.tagged, protocol="udp" if udp else "tcp")  # fmt: skip
    return Measurement(
        task,
        Status.COMPLETED,
        window=window_of(files.outcome()),
        observations=tuple(
            _observation(task, context, bracket, host, way, seen, scale, evidence) for host, way in _roles(bracket)
        ),
        facts={"argv": {f"{job.endpoint}.{job.id}": _data(job, files).get("argv") for job in (*clients, *servers)}},
    )


def _data(job: Job, files: TaskFiles) -> Mapping[str, Any]:
    data: Mapping[str, Any] = (files.result(job.endpoint, job.id) or {}).get("data") or {}
    return data


def _flow(job: Job, files: TaskFiles, backwards: bool) -> Flow:
    """What one process reported. Raises ToolFailed."""
    report = parse(files.bytes(job.endpoint, job.id, OUTPUT) or b"", WARM_UP_S)
    flow = report.flow(reverse=backwards)
    if report.error is not None or flow is None or not flow.kept:
        raise ToolFailed(f"iperf3 on {job.endpoint}: {report.error or 'no interval was reported'}.")
    return flow


def _seen(
    sent: Sequence[Flow], received: Sequence[Flow], intended_bps: float | None, sockets: Sequence[Mapping[str, Any]]
) -> Seen:
    rates = [flow.rates_bps for flow in received]
    shortest = min(map(len, rates))
    carried, interval = mean_rate(np.sum([each[:shortest] for each in rates], axis=0))
    offered = sum(flow.rate_bps or 0.0 for flow in sent)
    return Seen(
        offered_bps=offered,
        intended_bps=offered if intended_bps is None else intended_bps,
        carried_bps=carried,
        most_bps=math.inf if interval is None or intended_bps is None else interval.hi,
        missing=sum(max(0, part.lost or 0) for flow in received for part in flow.slices),
        dropped=sum(int(row.get("drops") or 0) for row in sockets),
        intervals=shortest,
    )


def _observation(
    task: Task,
    context: Context,
    bracket: Bracket,
    host: Endpoint,
    way: Direction,
    seen: Seen,
    scale: float,
    evidence: tuple[str, ...],
) -> Observation:
    """What one of the hosts can do at least, and at most where a limit showed that may be its own.

    The least is exact: that much it did. A loopback has no most, since the host did the work of two.
    """
    sends = host is bracket.sender
    limited = (not seen.all_came and not (sends and seen.dropped > MOSTLY * seen.missing)) or (sends and seen.withheld)
    shown = limited and not bracket.loopback and seen.most_bps < seen.intended_bps
    most = seen.most_bps if shown else math.inf
    other = bracket.receiver if sends else bracket.sender
    interval = Interval(seen.carried_bps * scale, most * scale, 0.95, "one", "carried; mean of rates")
    offered = rate_text(round(seen.offered_bps * scale))
    told = f"{offered} were offered by {bracket.sender.name}" if task.scope.load == "udp" else "TCP is not paced"
    return Observation(
        metric="ceiling",
        statistic=task.scope.load,
        scope=Scope(
            circuit=task.scope.circuit,
            pair=task.scope.pair,
            direction=way,
            load=task.scope.load,
            host=host.name,
            bracket=other.name,
        ),
        unit="bit/s",
        layer=context.layer,
        value=seen.carried_bps * scale,
        n=seen.intervals,
        interval=interval,
        evidence=evidence,
        reason=f"{told}. " + ("More was not tried." if math.isinf(most) else "One of the two can do no more."),
    )
