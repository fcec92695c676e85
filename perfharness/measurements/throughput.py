"""throughput: what the circuit carries, by iperf3, with a probe stream beside the load.

UDP is paced at the ordered rate and judged at the receiver: that is the contract. TCP with many streams tells
whether ordinary traffic can use it. The cloud end listens and the on-prem end connects, whatever the direction.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from perfharness.evidence import TaskFiles
from perfharness.measurements import guarding, latency_oneway, load_jobs, load_result, load_together, probe, together
from perfharness.measurements.base import (
    COARSE_MS,
    FINE_MS,
    SETUP_S,
    Context,
    counters,
    not_completed,
    probe_port_use,
    tuned,
)
from perfharness.measurements.load_options import MOST_NS, OneWindow, Seconds, window_arguments
from perfharness.model import Direction, Job, Measurement, PortUse, Task
from perfharness.order.units import Duration, Rate, Size, rate_text
from perfharness.order.validation import Strict
from perfharness.order.wrong import wrong

PROBE_NS = {"tcp": 50_000_000, "udp": 5_000_000}
"""Between two probes beside a load. Each takes CPU that TCP wants, to fill whatever path there is; a paced load leaves
some, and its bursts and losses want to be seen."""
LEAD_S = 0.2
"""The probe stream begins this long before the load, to see the path idle."""
TCP_LEAD_S = 0.4
"""... before TCP: its probes are seldom, and what limited it is told by what they saw of the idle path."""
LEAST_INTERVAL_S, MOST_INTERVALS = 0.2, 200
"""iperf3 reports this often: enough intervals for a statement about a test of seconds, no more for one of hours."""
MOST_BUFFER = 1 << 30
"""Of a socket: Linux takes no more."""
BUFFER_PRIVILEGE = "CAP_NET_ADMIN for a large receive buffer (measures without it, with the host's limit)"
WAYS = (Direction.A_Z, Direction.Z_A)


class ProbeParams(Strict):
    """The probe stream beside the load."""

    interval_ns: Duration | None = Field(default=None, alias="interval", ge=1_000_000, le=1_000_000_000)
    """Between two probes; left out, 50 ms beside TCP and 5 ms beside UDP."""
    authenticated: bool = False
    """Sign each packet and reply with a random key of this task alone (STAMP's authenticated mode)."""
    packet_bytes: probe.PacketBytes = Field(default_factory=probe.small_packet, alias="packet", ge=44, le=1472)


def _direction(direction: Direction) -> Direction:
    if direction is Direction.ROUND_TRIP:
        raise wrong("A load has no round trip.", "Write a-z, z-a or both.")
    return direction


LoadDirections = Annotated[
    tuple[Annotated[Direction, AfterValidator(_direction)], ...],
    Field(min_length=1),
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
]
"""One after the other; one alone needs no list."""


class ThroughputParams(OneWindow):
    protocol: Literal["tcp", "udp"]
    direction: LoadDirections = (Direction.A_Z, Direction.Z_A, Direction.BOTH)
    duration_ns: Seconds = Field(default=8_000_000_000, alias="duration", ge=3_000_000_000, le=MOST_NS)
    omit_ns: Seconds = Field(default=2_000_000_000, alias="omit", le=30_000_000_000)
    streams: int = Field(default=4, ge=1, le=64)
    rate_bps: Annotated[Rate | None, BeforeValidator(lambda value: None if value == "order" else value)] = Field(
        default=None, alias="rate"
    )
    """UDP: what to offer, at the ordered layer; None (``order`` in the file) = what was ordered."""
    packet_bytes: Size = Field(default=1400, alias="packet", ge=16, le=8972)
    """UDP payload."""
    receive_buffer_bytes: Size | None = Field(default=16 << 20, alias="receive_buffer", le=MOST_BUFFER)
    """Forced on the receiver's own socket where the host allows it; no setting of the host is changed."""
    pairs: Literal["each", "together"] = "each"
    """One pair of hosts after the other, or all of them at once, which share the rate."""
    probe: ProbeParams = ProbeParams()

    @model_validator(mode="after")
    def _of_udp(self) -> Self:
        if self.protocol == "tcp" and self.rate_bps is not None:
            raise wrong("TCP has no `rate`: it takes what it gets.", "Write `pacing` to hold it back.", at=("rate",))
        return self

    @property
    def of_all_pairs(self) -> bool:
        return self.pairs == "together"


class Throughput:
    name = "throughput"
    parameters = ThroughputParams
    statistics: Mapping[str, Collection[str]] = {
        "throughput.tcp": ("mean",),
        "throughput.udp": ("mean",),
        "delay.loaded": load_result.LOADED_QUANTILES,
        "delay.oneway": latency_oneway.QUANTILES,
        "variation.pdv": load_result.VARIED_QUANTILES,
        "loss": ("ratio",),
    }

    def tasks(self, params: ThroughputParams, step: str, context: Context) -> tuple[Task, ...]:
        contexts = together.contexts(context.circuit) if params.of_all_pairs else (context,)
        return tuple(
            together.merged([self._task(params, step, each, direction) for each in contexts])
            for direction in params.direction
        )

    def _task(self, params: ThroughputParams, step: str, context: Context, direction: Direction) -> Task:
        ways = WAYS if direction is Direction.BOTH else (direction,)
        seconds = (params.duration_ns + params.omit_ns) / 1e9
        stream = self._stream(params, seconds)
        duration = stream.duration_s + probe.WAIT_NS / 1e9
        deadline = duration + 20.0
        offered = self._offered(params, context, stream)
        loads, notes = self._loads(params, context, ways, offered, seconds, deadline)
        ports = sorted({job.args["port"] for job in loads})
        load = f"{params.protocol} both ways" if direction is Direction.BOTH else params.protocol
        probes = stream.rate_bps(context.layer, context.tagged)
        udp = params.protocol == "udp"
        return Task(
            id=f"{step}-{direction.value}",
            step=step,
            measurement=self.name,
            scope=context.scope(direction, load=load),
            # For UDP they tell bursts and losses, however long it runs; for TCP they cost CPU that its load wants.
            jobs=(() if udp else tuned(context, deadline + SETUP_S))
            + counters(context, deadline + SETUP_S, FINE_MS if udp else COARSE_MS)
            + (() if context.among > 1 else latency_oneway.watchers(context, deadline + SETUP_S))
            + probe.jobs(context, f"{step}-{direction.value}", stream, deadline)
            + loads,
            duration_s=duration,
            load_bps=offered + probes if udp else context.circuit.port.speed_bps,
            load_bytes=round(offered / 8 * seconds) * len(ways) + round(probes / 8 * stream.duration_s) * 2,
            ports=(
                *(
                    PortUse(context.a.name, context.z.name, "tcp", port, "iperf3 control and TCP load")
                    for port in ports
                ),
                *(PortUse(context.a.name, context.z.name, "udp", port, "iperf3 UDP load") for port in ports if udp),
                probe_port_use(context),
            ),
            privileges=(probe.PRIVILEGE, *((BUFFER_PRIVILEGE,) if udp else ())),
            notes=notes,
            yields={
                f"throughput.{params.protocol}": ways,
                "delay.loaded": (Direction.ROUND_TRIP,),
                "variation.pdv": WAYS,
                **({} if context.among > 1 else {"delay.oneway": WAYS}),
                **({"loss": ways} if udp else {}),
            },
        )

    @staticmethod
    def _stream(params: ThroughputParams, seconds: float) -> probe.Stream:
        beside = params.probe
        interval_ns = beside.interval_ns or PROBE_NS[params.protocol]
        count = math.ceil((seconds + _lead_s(params)) * 1e9 / interval_ns)
        return probe.Stream(interval_ns, count, (beside.packet_bytes,), authenticated=beside.authenticated)

    @staticmethod
    def _offered(params: ThroughputParams, context: Context, stream: probe.Stream) -> int:
        """Bit/s of load at the ordered layer; for UDP less the probes, so that the sum is what was ordered.

        Raises ``wrong`` for a UDP load that the port cannot be offered.
        """
        if params.protocol == "tcp":
            return context.committed_bps // context.among
        context.must_fit(params.packet_bytes)
        wanted, speed = params.rate_bps or context.committed_bps, context.circuit.port.speed_bps
        if params.rate_bps is not None and wanted > speed:
            raise wrong(f"A port of {rate_text(speed)} cannot be offered {rate_text(wanted)}.", at=("rate",))
        probes = stream.rate_bps(context.layer, context.tagged)
        probes += math.ceil(guarding.rate_bps(context) / context.among) if context.circuit.in_service else 0
        wanted //= context.among
        if wanted <= probes:
            said = f"{rate_text(wanted)} are no more than the probes beside the load take, {rate_text(probes)}."
            raise wrong(said, "Raise the rate, or the interval of the probe stream.", at=("rate",))
        return wanted - probes

    @staticmethod
    def _loads(
        params: ThroughputParams,
        context: Context,
        ways: tuple[Direction, ...],
        offered: int,
        seconds: float,
        deadline: float,
    ) -> tuple[tuple[Job, ...], tuple[str, ...]]:
        """One server and one client for each direction and process; reverse mode for traffic towards on-prem. And what
        the owner of the hosts should know of them."""
        if params.protocol == "udp":
            load = load_jobs.paced(context, offered, params.packet_bytes, len(ways))
        else:
            load = load_jobs.tcp(context, params.streams, len(ways))
        params.must_suit(context)
        args = {
            "duration_s": round(params.duration_ns / 1e9),
            "omit_s": round(params.omit_ns / 1e9),
            **load.args,
            **params.arguments(load.processes, len(ways) * _loads_at_once(context)),
            **window_arguments(params.window, context.committed_bps, load.processes * load.args["streams"]),
        }
        both = {
            "interval_s": max(LEAST_INTERVAL_S, math.ceil(seconds) / MOST_INTERVALS),
            "receive_buffer_bytes": params.receive_buffer_bytes,
        }
        hears = params.window != "auto"
        filled = replace(load, args=args)
        return load_jobs.jobs(context, filled, both, ways, deadline, _lead_s(params), hears=hears), load.notes

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        if task.parts:
            return load_together.measured(task, files, context.circuit)
        return load_result.measured(task, files, context)


def _lead_s(params: ThroughputParams) -> float:
    return TCP_LEAD_S if params.protocol == "tcp" else LEAD_S


def _loads_at_once(context: Context) -> int:
    """How many of all pairs together are those of the same on-prem host."""
    if context.among == 1:
        return 1
    return sum(a == context.a.name for a, _ in context.circuit.pairs)
