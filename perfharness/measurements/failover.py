"""failover: what a cut of one circuit costs, each way and flow by flow, and what its return costs.

Two probe streams, one from each end, of several flows each, run all through it: before, while the circuit is cut, and
after it is back. Each direction is told by what arrived of the stream that was sent that way, so a failure in one
direction only is seen as such. The cut is made by a command or by a person (``Act``); meanwhile routers that can be
read say when their routes, carriers and sessions changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from perfharness.evidence import TaskFiles
from perfharness.measurements import failover_result, latency_oneway, probe
from perfharness.measurements.base import (
    SETUP_S,
    STAMP_PORT,
    WAN_COUNTERS,
    Context,
    Params,
    counters,
    not_completed,
    watcher,
)
from perfharness.measurements.failover_streams import REFLECTOR, SENDER, WAYS
from perfharness.measurements.failover_timeline import WATCH
from perfharness.measurements.flows import FIRST_PORT, must_keep_up, of_many_flows
from perfharness.model import Direction, Job, Measurement, PortUse, Role, Task
from perfharness.order.circuit import Endpoint
from perfharness.order.dscp import Dscp
from perfharness.order.hook import Hook
from perfharness.order.units import Duration

STATISTICS = ("duration", "failback", "flaps", "split")
WATCH_MS = 100
EDGE_ROWS_BYTES = 4_000_000
"""Of a router's changes: 20,000 of them."""
ASKS_FRR = "root or the group frrvty on {} to ask FRR for its sessions (routes and carriers alone without it)"
REACH_AGAIN_S = 60.0
"""Beyond the cut, for the coordinator to find its hosts again."""


class FailoverParams(Params):
    cut: Hook
    """What takes the circuit away."""
    restore: Hook
    """What gives it back; done also when the run fails or is interrupted."""
    event: Literal["cut", "shutdown", "silent"] = "cut"
    """A cut that the carrier shows, a BGP session that is shut down, or a failure that only timers notice."""
    before_ns: Duration = Field(default=5_000_000_000, alias="before", ge=2_000_000_000, le=600_000_000_000)
    down_ns: Duration = Field(default=20_000_000_000, alias="down", ge=1_000_000_000, le=3_600_000_000_000)
    after_ns: Duration = Field(default=20_000_000_000, alias="after", ge=1_000_000_000, le=3_600_000_000_000)
    flows: int = Field(default=4, ge=1, le=64)
    """Each has a source port of its own: a router that shares flows among circuits puts some on each."""
    interval_ns: Duration = Field(default=1_000_000, alias="interval", ge=100_000, le=1_000_000_000)
    """Between two probes of each flow: what the length of an outage is exact to."""
    packet_bytes: probe.PacketBytes = Field(default=probe.SMALL_BYTES, alias="packet", ge=44, le=8972)
    dscp: Dscp = 0


class Failover:
    name = "failover"
    parameters = FailoverParams
    statistics: Mapping[str, Collection[str]] = {"outage": STATISTICS}

    def tasks(self, params: FailoverParams, step: str, context: Context) -> tuple[Task, ...]:
        context.must_fit(params.packet_bytes)
        must_keep_up(params.flows, params.interval_ns)
        phases_s = (params.before_ns + params.down_ns + params.after_ns) / 1e9
        hooks_s = params.cut.within_s + params.restore.within_s
        stream = _stream(params, phases_s + hooks_s + SETUP_S)
        deadline_s = stream.duration_s + probe.WAIT_NS / 1e9 + 15.0
        rate_bps = stream.rate_bps(context.layer, context.tagged)
        return (
            Task(
                id=step,
                step=step,
                measurement=self.name,
                scope=context.scope(Direction.BOTH, frame_bytes=stream.frame_bytes),
                jobs=(
                    *counters(context, deadline_s + SETUP_S),
                    *latency_oneway.watchers(context, deadline_s + SETUP_S),
                    *_routers(context, deadline_s + SETUP_S),
                    *(job for way in WAYS for job in _streams(context, step, stream, params.flows, way, deadline_s)),
                ),
                duration_s=phases_s + probe.WAIT_NS / 1e9,
                load_bps=rate_bps,
                load_bytes=round(rate_bps / 8 * phases_s) * 2,
                ports=tuple(_port_use(context, way, params.flows) for way in WAYS),
                privileges=(probe.PRIVILEGE, *(ASKS_FRR.format(ce.name) for ce in context.circuit.ces)),
                yields={"outage": WAYS},
                acts=(
                    params.cut.act("cut", params.before_ns, kind=params.event),
                    params.restore.act("restore", params.down_ns, undoes=True),
                ),
                settle_s=params.after_ns / 1e9,
                silence_s=hooks_s + phases_s + REACH_AGAIN_S,
            ),
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        return not_completed(task, files) or failover_result.measured(task, files, context)


def _stream(params: FailoverParams, seconds: float) -> probe.Stream:
    """Long enough whatever the hooks take; it is stopped when all is over."""
    rounds = -(-round(seconds * 1e9) // params.interval_ns)
    return probe.Stream(
        params.interval_ns // params.flows, rounds * params.flows, (params.packet_bytes,), (params.dscp,)
    )


def _streams(
    context: Context, step: str, stream: probe.Stream, flows: int, way: Direction, deadline_s: float
) -> Iterator[Job]:
    """Reflector and sender of one direction."""
    source, target = context.ends(way)
    port = _port(target)
    single = probe.sender_job(context, f"{step} {way.value}", stream, deadline_s, source, target, port)
    yield Job(
        id=f"{REFLECTOR}-{way.value}",
        endpoint=target.name,
        method="stamp.reflect",
        # With counts of its own for each port the reflector's numbers would not be unique.
        args={
            "address": str(target.address),
            "peer": str(source.address),
            "port": port,
            "ssid": single.args["ssid"],
            "stateless": True,
            "answer": False,
        },
        role=Role.SERVE,
        deadline_s=deadline_s + SETUP_S,
        writes_bytes=stream.samples_bytes,
    )
    yield replace(of_many_flows(single, flows, in_turn=True), id=f"{SENDER}-{way.value}")


def _routers(context: Context, deadline_s: float) -> Iterator[Job]:
    """What the customer's routers do and carry meanwhile, where they can be read."""
    for ce in context.circuit.ces:
        if ce != context.circuit.ce_host:  # whose counters are watched beside any task
            yield watcher(ce.name, ce.wan, deadline_s, job=WAN_COUNTERS)
        yield Job(
            id=WATCH,
            endpoint=ce.name,
            method="edge.watch",
            args={
                "targets": [str(context.z.address), str(context.a.address)],
                "interfaces": [ce.lan, ce.wan],
                "period_ms": WATCH_MS,
                "vtysh": ce.vtysh,
            },
            role=Role.WATCH,
            deadline_s=deadline_s,
            optional=True,
            writes_bytes=EDGE_ROWS_BYTES,
        )


def _port(end: Endpoint) -> int:
    ports = list(end.ports)
    return STAMP_PORT if STAMP_PORT in ports else ports[-1]


def _port_use(context: Context, way: Direction, flows: int) -> PortUse:
    source, target = context.ends(way)
    said = f"failover probes, {flows} source ports from {FIRST_PORT} on"
    return PortUse(source.name, target.name, "udp", _port(target), said)
