"""The tasks of a service activation test: loads, their ports, and the probes beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perfharness.analysis.capacity import overhead_bytes
from perfharness.errors import BadInput
from perfharness.measurements import latency_oneway, load_session, probe
from perfharness.measurements.base import SETUP_S, Context, counters, probe_port_use
from perfharness.measurements.service_params import Service, ServiceParams
from perfharness.measurements.throughput import BUFFER_PRIVILEGE, LEAD_S
from perfharness.model import Direction, Job, PortUse, Task
from perfharness.order.units import rate_text
from perfharness.order.wrong import wrong

WAYS = (Direction.A_Z, Direction.Z_A)
REST = "rest"
Phase = Mapping[str, Any]
YIELDS: Mapping[str, tuple[Direction, ...]] = {
    "delay.loaded": (Direction.ROUND_TRIP,),
    "variation.pdv": (Direction.ROUND_TRIP,),
    "delay.oneway": WAYS,
}
"""What the probes tell of each step or service."""


def ways_of(direction: Direction) -> tuple[Direction, ...]:
    return WAYS if direction is Direction.BOTH else (direction,)


def ports(context: Context, count: int) -> list[int]:
    """One for each session. Raises BadInput."""
    free = context.load_ports(count)
    if len(free) < count:
        said = f"{context.z.name} allows {len(free)} ports beside the one for probes; the services need {count}."
        raise BadInput([context.circuit.source.problem(("endpoints", context.z.name, "ports"), said, "List more.")])
    return free


def stream(params: ServiceParams, services: Sequence[Service], seconds: float, interval_ns: int) -> probe.Stream:
    """Probes beside the load for so long, one of each service every interval."""
    beside = params.probe
    interval_ns = (beside.interval_ns or interval_ns) // len(services)
    return probe.Stream(
        interval_ns,
        math.ceil((seconds + LEAD_S) * 1e9 / interval_ns),
        (beside.packet_bytes,),
        tuple(service.dscp for service in services),
        authenticated=beside.authenticated,
        every=(1,) * len(services),
    )


def less_probes(rate_bps: int, probes: probe.Stream, name: str, context: Context) -> int:
    """What is left of a service's rate for its load, so that both together are what it says. Raises ``wrong``."""
    beside = round(probes.rate_bps(context.layer, context.tagged) / len(probes.dscp))
    if rate_bps <= beside:
        said = f"{rate_text(rate_bps)} of {name} are no more than the probes beside it take, {rate_text(beside)}."
        raise wrong(said, "Raise its `cir`, or the interval of the probe stream.", at=("services", name, "cir"))
    return rate_bps - beside


def seconds_of(phases: Sequence[Phase]) -> float:
    return sum(float(phase["seconds"]) for phase in phases)


def bytes_of(phases: Sequence[Phase], overhead_bytes: int) -> float:
    return sum(_bytes_of(phase, overhead_bytes) for phase in phases)


def _bytes_of(phase: Phase, overhead_bytes: int) -> float:
    bursts = phase.get("bursts")
    if bursts is None:
        return float(phase["seconds"]) * float(phase["rate_bps"]) / 8
    return float(bursts["packets"] * bursts["times"] * (phase["packet_bytes"] + overhead_bytes))


def sessions(
    params: ServiceParams,
    context: Context,
    direction: Direction,
    services: Mapping[str, tuple[Service, Sequence[Phase]]],
    deadline_s: float,
    row_ns: int,
) -> tuple[Job, ...]:
    """A load of each service, with a port of its own, in each direction. Raises BadInput."""
    ways = ways_of(direction)
    free = iter(ports(context, len(ways) * len(services)))
    return tuple(
        job
        for name, (service, phases) in services.items()
        for way in ways
        for job in load_session.jobs(
            context,
            way,
            next(free),
            phases,
            deadline_s,
            dscp=service.dscp,
            row_ns=row_ns,
            receive_buffer_bytes=params.receive_buffer_bytes,
            after_s=LEAD_S,
            name=name,
        )
    )


def task(
    measurement: str,
    params: ServiceParams,
    step: str,
    context: Context,
    direction: Direction,
    services: Mapping[str, tuple[Service, Sequence[Phase]]],
    probes: probe.Stream,
    load: str,
    loads: tuple[str, ...],
    name: str,
    row_ns: int,
    metrics: Sequence[str],
) -> Task:
    """Everything of a task but what is particular to either test. Raises BadInput."""
    ways = ways_of(direction)
    deadline = probes.duration_s + probe.WAIT_NS / 1e9 + 20.0
    jobs = sessions(params, context, direction, services, deadline, row_ns)
    beside = probes.rate_bps(context.layer, context.tagged)
    overhead = overhead_bytes(context.layer, tagged=context.tagged)
    classes = tuple(params.scope_name(service) for service, _ in services.values())
    return Task(
        id=name,
        step=step,
        measurement=measurement,
        scope=context.scope(direction, load=load, service=classes[0] if len(classes) == 1 else ""),
        jobs=(
            *counters(context, deadline + SETUP_S),
            *latency_oneway.watchers(context, deadline + SETUP_S),
            *probe.jobs(context, name, probes, deadline),
            *jobs,
        ),
        duration_s=probes.duration_s + probe.WAIT_NS / 1e9,
        load_bps=max(map(sum, zip(*(_rates(phases) for _, phases in services.values()), strict=True))) + beside,
        load_bytes=round(sum(bytes_of(phases, overhead) for _, phases in services.values())) * len(ways)
        + round(beside / 8 * probes.duration_s) * 2,
        ports=(*_port_uses(jobs, context), probe_port_use(context)),
        privileges=(probe.PRIVILEGE, BUFFER_PRIVILEGE),
        yields={**dict.fromkeys(metrics, ways), **YIELDS},
        services=classes,
        loads=loads,
    )


def _rates(phases: Sequence[Phase]) -> list[int]:
    return [int(phase["rate_bps"]) for phase in phases]


def _port_uses(jobs: Sequence[Job], context: Context) -> Iterator[PortUse]:
    for port in sorted({int(job.args["port"]) for job in jobs}):
        yield PortUse(context.a.name, context.z.name, "udp", port, "UDP load of a service")
