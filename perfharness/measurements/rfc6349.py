"""rfc6349: TCP throughput by RFC 6349, one direction after the other, each in one task of five phases.

    path MTU → baseline RTT on the idle path → bottleneck bandwidth (our own even UDP at the ordered rate)
             → several streams whose window fills the path → a single stream

The probe stream runs from the second phase to the last, so baseline and loaded round trips come from the same packets.
It informs and recommends: TCP tells of its hosts and their windows too, and fails no circuit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from perfharness.evidence import TaskFiles
from perfharness.measurements import load_jobs, load_result, pmtu, probe, rfc6349_bottleneck, rfc6349_result
from perfharness.measurements.base import (
    COARSE_MS,
    SETUP_S,
    Context,
    counters,
    not_completed,
    probe_port_use,
    tuned,
)
from perfharness.measurements.load_options import MOST_NS, LoadOptions, Seconds, Window, window_arguments
from perfharness.measurements.load_session import DRIVE
from perfharness.measurements.rfc6349_result import FACTS, MANY, SINGLE
from perfharness.measurements.throughput import BUFFER_PRIVILEGE, ProbeParams
from perfharness.model import Direction, Job, Measurement, PortUse, Role, Task
from perfharness.order.units import Duration, Size
from perfharness.order.wrong import wrong

PROBE_NS = 20_000_000
"""Between two probes: enough of them for a baseline of seconds, few enough beside TCP."""
PAUSE_S = 2.0
"""Between two loads: for the end of the one, and for what it left in queues."""
SINGLE_OMIT_S = 1
BUFFER_BYTES = 16 << 20
"""Of the UDP receiver, where its host allows it."""
INTERVAL_S = 0.5
"""iperf3 reports this often."""


def _one_way(direction: Direction) -> Direction:
    if direction not in (Direction.A_Z, Direction.Z_A):
        raise wrong("RFC 6349 measures one direction after the other.", "Write a-z, z-a or [a-z, z-a].")
    return direction


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Rfc6349Params(LoadOptions):
    direction: Annotated[
        tuple[Annotated[Direction, AfterValidator(_one_way)], ...], Field(min_length=1), BeforeValidator(_listed)
    ] = (Direction.A_Z, Direction.Z_A)
    window: Annotated[tuple[Window, ...], Field(min_length=1, max_length=8), BeforeValidator(_listed)] = ("bdp",)
    """Of each stream; with several each direction is measured with one after the other."""
    streams: int = Field(default=4, ge=1, le=64)
    duration_ns: Seconds = Field(default=20_000_000_000, alias="duration", ge=3_000_000_000, le=MOST_NS)
    omit_ns: Seconds = Field(default=3_000_000_000, alias="omit", le=30_000_000_000)
    """Warm-up, left out of the figures."""
    baseline_ns: Duration = Field(default=3_000_000_000, alias="baseline", ge=1_000_000_000, le=MOST_NS)
    """How long the idle path is watched."""
    bottleneck_ns: Duration = Field(default=3_000_000_000, alias="bottleneck", ge=2_000_000_000, le=MOST_NS)
    """How long paced UDP is sent at the ordered rate."""
    single_ns: Seconds = Field(default=5_000_000_000, alias="single", le=MOST_NS)
    """How long a single stream is sent after them; 0s = not at all."""
    packet_bytes: Size = Field(default=1400, alias="packet", ge=64, le=8972)
    """UDP payload."""
    probe: ProbeParams = ProbeParams()


@dataclass(frozen=True, slots=True)
class Times:
    """When the phases begin, in seconds after the first driver."""

    probe: float
    bottleneck: float
    many: float
    single: float
    end: float

    @classmethod
    def of(cls, params: Rfc6349Params, context: Context) -> Times:
        probing = pmtu.duration_s(context) + 1.0
        bottleneck = probing + params.baseline_ns / 1e9
        many = bottleneck + params.bottleneck_ns / 1e9 + PAUSE_S
        single = many + _whole_s(params.omit_ns) + _whole_s(params.duration_ns) + PAUSE_S
        end = single + (_whole_s(params.single_ns) + SINGLE_OMIT_S if params.single_ns else 0)
        return cls(probing, bottleneck, many, single, end)


class Rfc6349:
    name = "rfc6349"
    parameters = Rfc6349Params
    statistics: Mapping[str, Collection[str]] = {
        "tcp.efficiency": ("ratio",),
        "tcp.buffer_delay": ("ratio",),
        "tcp.transfer_time_ratio": ("ratio",),
        "throughput.tcp": ("mean", "single"),
        "delay.loaded": load_result.LOADED_QUANTILES,
        "variation.pdv": load_result.VARIED_QUANTILES,
    }

    def tasks(self, params: Rfc6349Params, step: str, context: Context) -> tuple[Task, ...]:
        params.must_suit(context)
        context.must_fit(params.packet_bytes)
        several = len(params.window) > 1
        return tuple(
            self._task(params, f"{step}-{way.value}" + (f"-w{number}" if several else ""), step, context, way, window)
            for way in params.direction
            for number, window in enumerate(params.window, 1)
        )

    def _task(
        self, params: Rfc6349Params, name: str, step: str, context: Context, way: Direction, window: int | str
    ) -> Task:
        times = Times.of(params, context)
        deadline_s = times.end + probe.WAIT_NS / 1e9 + 20.0
        stream = _stream(params, times)
        probes = stream.rate_bps(context.layer, context.tagged)
        many = load_jobs.tcp(context, params.streams, 1)
        loads = _loads(params, context, many, way, window, times, context.committed_bps - probes, deadline_s)
        echo_port = _load_port(loads) if way is Direction.A_Z else next(iter(context.a.ports))
        search = tuple(
            replace(job, optional=job.role is Role.DRIVE) for job in pmtu.jobs(context, way, echo_port, times.end)
        )
        probing = tuple(
            replace(job, after_s=times.probe) if job.role is Role.DRIVE else job
            for job in probe.jobs(context, name, stream, deadline_s)
        )
        return Task(
            id=name,
            step=step,
            measurement=self.name,
            scope=context.scope(way, load="tcp"),
            jobs=tuned(context, deadline_s + SETUP_S)
            + counters(context, deadline_s + SETUP_S, COARSE_MS)
            + search
            + _facts(context)
            + probing
            + loads,
            duration_s=times.end + probe.WAIT_NS / 1e9,
            load_bps=context.circuit.port.speed_bps,
            load_bytes=_bytes(params, context, probes, stream),
            ports=(*_ports(context, loads), *_echo_port(context, way, echo_port), probe_port_use(context)),
            privileges=(probe.PRIVILEGE, BUFFER_PRIVILEGE, *_tuning(context)),
            notes=many.notes,
            yields={
                **{metric: (way,) for metric in self.statistics if metric.startswith(("tcp.", "throughput."))},
                "delay.loaded": (Direction.ROUND_TRIP,),
                "variation.pdv": (Direction.A_Z, Direction.Z_A),
            },
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        return not_completed(task, files) or rfc6349_result.measured(task, files, context)


def _stream(params: Rfc6349Params, times: Times) -> probe.Stream:
    interval_ns = params.probe.interval_ns or PROBE_NS
    count = math.ceil((times.end - times.probe) * 1e9 / interval_ns)
    return probe.Stream(interval_ns, count, (params.probe.packet_bytes,), authenticated=params.probe.authenticated)


def _loads(
    params: Rfc6349Params,
    context: Context,
    many: load_jobs.Load,
    way: Direction,
    window: int | str,
    times: Times,
    offered_bps: int,
    deadline_s: float,
) -> tuple[Job, ...]:
    """UDP, several streams, a single one; each on ports of its own, as far as there are enough."""
    both = {"interval_s": INTERVAL_S, "receive_buffer_bytes": BUFFER_BYTES}
    spare = len(many.ports)
    found: list[Job] = []
    if params.single_ns:
        one = load_jobs.tcp(context, 1, 1, beside=spare)
        spare += len(one.ports)
        found += _tcp(params, context, one, both, way, window, deadline_s, SINGLE, times.single)
    (port,) = load_jobs.free_ports(context, 1, beside=spare)
    return (
        *rfc6349_bottleneck.jobs(
            context,
            way,
            port,
            offered_bps,
            params.packet_bytes,
            params.bottleneck_ns / 1e9,
            params.dscp or 0,
            BUFFER_BYTES,
            deadline_s,
            times.bottleneck,
        ),
        *_tcp(params, context, many, both, way, window, deadline_s, MANY, times.many),
        *found,
    )


def _tcp(
    params: Rfc6349Params,
    context: Context,
    load: load_jobs.Load,
    both: Mapping[str, Any],
    way: Direction,
    window: int | str,
    deadline_s: float,
    phase: str,
    after_s: float,
) -> tuple[Job, ...]:
    seconds = (params.duration_ns, params.omit_ns) if phase == MANY else (params.single_ns, SINGLE_OMIT_S * 10**9)
    args = {
        **load.args,
        **params.arguments(load.processes),
        **window_arguments(window, context.committed_bps, load.processes * load.args["streams"]),
        "duration_s": _whole_s(seconds[0]),
        "omit_s": _whole_s(seconds[1]),
    }
    filled = replace(load, args=args)
    return load_jobs.jobs(context, filled, both, (way,), deadline_s, after_s, hears=window != "auto", phase=phase)


def _facts(context: Context) -> tuple[Job, ...]:
    """Interface speed and congestion control of both hosts, asked while the path MTU is looked for."""
    return tuple(
        Job(
            id=FACTS,
            endpoint=end.name,
            method="host.facts",
            args={"interface": end.interface, "address": str(end.address), "iperf3": end.iperf3},
            role=Role.DRIVE,
            deadline_s=20.0,
            optional=True,
        )
        for end in (context.a, context.z)
    )


def _load_port(loads: tuple[Job, ...]) -> int:
    """TCP's: as a UDP port it is free."""
    return next(int(job.args["port"]) for job in loads if job.id.startswith(MANY))


def _ports(context: Context, loads: tuple[Job, ...]) -> list[PortUse]:
    udp = {job.args["port"] for job in loads if job.method == DRIVE}
    tcp = {job.args["port"] for job in loads} - udp
    uses = [("tcp", port, "iperf3 control and TCP load") for port in sorted(tcp)]
    uses += [("udp", port, "UDP load and its reports") for port in sorted(udp)]
    return [PortUse(context.a.name, context.z.name, *use) for use in uses]


def _echo_port(context: Context, way: Direction, port: int) -> list[PortUse]:
    source, target = context.ends(way)
    return [PortUse(source.name, target.name, "udp", port, "packets of growing size with DF")]


def _tuning(context: Context) -> tuple[str, ...]:
    hosts = [end.name for end in context.agents if end.tune.socket_buffers_bytes is not None]
    return (
        (f"root on {' and '.join(hosts)}: limits of socket buffers, raised by consent and put back",) if hosts else ()
    )


def _bytes(params: Rfc6349Params, context: Context, probes_bps: int, stream: probe.Stream) -> int:
    """At the ordered rate."""
    seconds = [params.bottleneck_ns, params.omit_ns, params.duration_ns, params.single_ns]
    load = context.committed_bps / 8 * sum(seconds) / 1e9
    return round(load + probes_bps / 8 * stream.duration_s * 2) + pmtu.MOST_BYTES


def _whole_s(ns: int) -> int:
    """iperf3 takes whole seconds."""
    return round(ns / 1e9)
