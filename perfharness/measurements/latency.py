"""latency: a STAMP stream on an otherwise idle path: delay, variation, loss by direction, reordering.

RTT = (T4-T1)-(T3-T2) (RFC 8762), percentiles with lost packets infinitely late (RFC 7679), PDV over the
minimum (RFC 5481), signed IPDV (RFC 3393), loss each way (RFC 7680), reordering (RFC 4737).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from perfharness.analysis import delay, loss
from perfharness.analysis.ledger import host_loss, loss_interval, remaining
from perfharness.analysis.statistics import (
    Floats,
    block_counts,
    clopper_pearson,
    effective_n,
    share_interval,
)
from perfharness.evidence import TaskFiles
from perfharness.measurements import probe
from perfharness.measurements.base import (
    SETUP_S,
    Context,
    counters,
    failed,
    not_completed,
    probe_port_use,
    window_of,
)
from perfharness.measurements.base import Params as Base
from perfharness.model import (
    Direction,
    Interval,
    LedgerRow,
    Measurement,
    Observation,
    Status,
    Task,
)
from perfharness.order.units import Duration, Size

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
PDV_QUANTILES = {"p99": 0.99, "p99.9": 0.999}
PDV_WINDOW_BLOCKS = 10
"""The minimum is taken over 10 s: a reroute is a step in delay, not variation (RFC 5481 section 6)."""
WAYS = (Direction.A_Z, Direction.Z_A)


class LatencyParams(Base):
    interval_ns: Duration = Field(default=1_000_000, alias="interval", ge=100_000, le=1_000_000_000)
    duration_ns: Duration = Field(default=30_000_000_000, alias="duration", ge=1_000_000_000)
    packet_bytes: Size = Field(default=64, alias="packet", ge=44, le=8972)
    dscp: int = Field(default=0, ge=0, le=63)
    pattern: Literal["periodic", "poisson"] = "periodic"


class Latency:
    name = "latency"
    parameters = LatencyParams

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
        rate = stream.rate_bps(context.layer, context.tagged)
        context.must_fit(stream.packet_bytes)
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
                privileges=(probe.PRIVILEGE,),
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
        rows = {way: probe.book(context, task.scope, way, files, found) for way in WAYS}
        rtt = delay.rtt_ns(found.samples)
        host = probe.host_lost(found, rows)
        observations = (
            *probe.quantiles("delay.rtt", rtt, QUANTILES, task.scope, context, found, host),
            *_variations(rtt, task, context, found, host),
            *_losses(task, context, found, rows),
            *_disorder(task, context, found),
        )
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=observations,
            ledger=(*rows[Direction.A_Z], *rows[Direction.Z_A]),
            fitness=probe.fitness_of(context, task, found),
            series=probe.series(rtt, found),
            facts=_facts(rtt, found),
        )


def _variations(rtt: Floats, task: Task, context: Context, found: probe.Probe, host: int) -> tuple[Observation, ...]:
    """PDV of the round trip over the minimum of each window."""
    window = found.samples.block // PDV_WINDOW_BLOCKS
    return probe.quantiles("variation.pdv", delay.pdv(rtt, window), PDV_QUANTILES, task.scope, context, found, host)


def _losses(
    task: Task, context: Context, found: probe.Probe, rows: dict[Direction, tuple[LedgerRow, ...]]
) -> list[Observation]:
    """Loss of each direction, less what the hosts lost of it."""
    losses = loss.by_direction(found.samples)
    observations = []
    for direction, way in ((Direction.A_Z, losses.forward), (Direction.Z_A, losses.backward)):
        scope = context.scope(direction, frame_bytes=task.scope.frame_bytes, load=task.scope.load)
        if way is None or not way.offered:
            why = (
                "The reflector left no log: loss there cannot be told from loss back."
                if way is None
                else "No packet entered this direction."
            )
            observations.append(Observation("loss", "ratio", scope, "1", None, 0, reason=why))
            continue
        host = host_loss(rows[direction])
        observations.append(
            Observation(
                metric="loss",
                statistic="ratio",
                scope=scope,
                unit="1",
                value=remaining(way.count, host)[1] / way.offered,
                n=way.offered,
                interval=loss_interval(way.count, way.offered, host, effective_n(*block_counts(way.lost, way.block))),
                evidence=found.evidence,
                reason=_about_loss(way, host),
                hosts=context.hosts,
            )
        )
    return observations


def _about_loss(way: loss.Way, host: tuple[int, int]) -> str:
    """What was lost, in which pattern (RFC 3357), and how much of it the hosts lost."""
    if not way.count:
        return f"None of {way.offered:,} packets was lost."
    lengths, _ = loss.periods(way.lost)
    said = f"{way.count:,} of {way.offered:,} packets were lost in {len(lengths):,} periods of up to {lengths.max():,}"
    return said + (f"; the hosts lost {host[0]:,} to {min(host[1], way.count):,} of them." if host[1] else ".")


def _disorder(task: Task, context: Context, found: probe.Probe) -> list[Observation]:
    """Reordering each way (RFC 4737) and replies that came twice."""
    observations = []
    for direction, arrivals in ((Direction.A_Z, found.samples.arrivals), (Direction.Z_A, loss.returns(found.samples))):
        scope = context.scope(direction, frame_bytes=task.scope.frame_bytes)
        late = loss.reordered(arrivals)
        if not len(late):
            why = "The reflector's log names no packet that arrived."
            observations.append(Observation("reordering", "ratio", scope, "1", None, 0, reason=why))
            continue
        block = np.arange(len(late)) * found.interval_ns // 1_000_000_000
        observations.append(
            Observation(
                metric="reordering",
                statistic="ratio",
                scope=scope,
                unit="1",
                value=float(late.mean()),
                n=len(late),
                interval=share_interval(late, block),
                evidence=found.evidence,
                reason=f"{int(late.sum()):,} of {len(late):,} packets arrived after one that was sent later.",
                hosts=context.hosts,
            )
        )
    return [*observations, _duplication(task, context, found)]


def _duplication(task: Task, context: Context, found: probe.Probe) -> Observation:
    n, twice = int(found.samples.replied.sum()), found.samples.duplicates
    share = min(1.0, twice / n) if n else None
    interval = None
    if share is not None:
        interval = Interval(*clopper_pearson(share, n), 0.95, "one", "Clopper–Pearson", n)
    return Observation(
        metric="duplication",
        statistic="ratio",
        scope=context.scope(Direction.ROUND_TRIP, frame_bytes=task.scope.frame_bytes),
        unit="1",
        value=share,
        n=n,
        interval=interval,
        evidence=found.evidence,
        reason=f"{twice:,} of {n:,} replies came again." if n else "No reply arrived.",
        hosts=context.hosts,
    )


def _facts(rtt: Floats, found: probe.Probe) -> dict[str, object]:
    """For the report: percentiles, timer error, and where the stamps come from."""
    arrived = rtt[np.isfinite(rtt)]
    late = delay.timer_error_ns(found.samples)
    late = late[~np.isnan(late)]
    facts: dict[str, object] = {
        "stamps": delay.rtt_sources(found.samples),
        "sent": found.sent["sent"],
        "missed": found.sent["missed"],
    }
    if len(arrived):
        named = {name: float(np.quantile(rtt[~np.isnan(rtt)], q, method="higher")) for name, q in QUANTILES.items()}
        figures = {"min": float(arrived.min()), **named, "max": float(arrived.max())}
        facts["percentiles"] = {name: value for name, value in figures.items() if np.isfinite(value)}
    if len(late):
        facts["timer_error_ns"] = {name: float(np.quantile(late, q)) for name, q in QUANTILES.items()}
    return facts
