"""latency: a STAMP stream on an otherwise idle path: delay, variation, loss by direction, reordering.

RTT = (T4-T1)-(T3-T2) (RFC 8762), percentiles with lost packets infinitely late (RFC 7679), PDV over the
minimum (RFC 5481), signed IPDV (RFC 3393), loss each way (RFC 7680), reordering (RFC 4737).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from perfharness.analysis import delay, loss
from perfharness.analysis.ledger import host_loss, loss_interval
from perfharness.analysis.statistics import quantile, share_interval
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe
from perfharness.measurements.base import (
    SETUP_S,
    Context,
    counters,
    failed,
    fitness,
    not_completed,
    probe_port_use,
    window_of,
)
from perfharness.measurements.base import Params as Base
from perfharness.model import (
    Direction,
    Layer,
    LedgerRow,
    Measurement,
    Observation,
    Scope,
    Series,
    Status,
    Task,
)
from perfharness.order.units import Duration, Size

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
WAYS = (Direction.A_Z, Direction.Z_A)


class LatencyParams(Base):
    interval_ns: Duration = Field(default=1_000_000, alias="interval", ge=100_000)
    duration_ns: Duration = Field(default=30_000_000_000, alias="duration", ge=1_000_000_000)
    packet_bytes: Size = Field(default=64, alias="packet", ge=44, le=8972)
    dscp: int = Field(default=0, ge=0, le=63)
    pattern: Literal["periodic", "poisson"] = "periodic"


class Latency:
    name = "latency"
    Params = LatencyParams

    def tasks(self, params: LatencyParams, step: str, context: Context) -> tuple[Task, ...]:
        stream = probe.Stream(
            params.interval_ns,
            params.duration_ns // params.interval_ns,
            params.packet_bytes,
            params.dscp,
            params.pattern,
        )
        duration = stream.duration_s + probe.WAIT_NS / 1e9
        deadline = duration + 15.0
        rate = stream.rate_bps(Layer.L2, context.tagged)
        return (
            Task(
                id=step,
                step=step,
                measurement=self.name,
                scope=context.scope(Direction.ROUND_TRIP, frame_bytes=stream.packet_bytes + 42),
                jobs=counters(context, deadline + SETUP_S) + probe.jobs(context, step, stream, deadline),
                duration_s=duration,
                load_bps=rate,
                load_bytes=round(rate / 8 * stream.duration_s) * 2,
                ports=(probe_port_use(context),),
                privileges=("CAP_SYS_NICE for real-time priority of the prober (measures without it, less exactly)",),
                yields={
                    "delay.rtt": (Direction.ROUND_TRIP,),
                    "variation.pdv": (Direction.ROUND_TRIP,),
                    "loss": WAYS,
                    "reordering": WAYS,
                    "duplication": (Direction.ROUND_TRIP,),
                },
            ),
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        found = probe.read(task, files, context)
        if isinstance(found, str):
            return failed(task, files, found)
        rows = ledger_rows(task, files, context, found)
        observations = [
            *delays(task.scope, context, found, "delay.rtt"),
            *variations(task, context, found),
            *losses(task.scope, context, found, rows),
            *disorder(task, context, found),
        ]
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=tuple(observations),
            ledger=rows,
            fitness=(
                fitness(context.a.name, task, probe.unfit_sender(found), found.evidence),
                fitness(context.z.name, task, (), found.evidence),
            ),
            series=series(found),
            facts=facts(found),
        )
