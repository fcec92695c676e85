"""latency: a STAMP stream on an otherwise idle path: delay, variation, loss by direction, reordering.

RTT = (T4-T1)-(T3-T2) (RFC 8762), percentiles with lost packets infinitely late (RFC 7679), PDV over the
minimum (RFC 5481), signed IPDV (RFC 3393), loss each way (RFC 7680), reordering (RFC 4737).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from pydantic import Field

from perfharness.analysis.ledger import host_loss, loss_interval, remaining, who
from perfharness.analysis.loss import Account
from perfharness.analysis.patterns import availability
from perfharness.analysis.statistics import clopper_pearson, counts_interval, effective_n, share_interval
from perfharness.evidence import TaskFiles
from perfharness.measurements import latency_oneway, latency_patterns, probe, probe_ledger
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
WAYS = (Direction.A_Z, Direction.Z_A)
LAST_PASSAGE_NS = 500_000_000
"""After the last probe was sent, for it to pass the CE and come back."""


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
                jobs=(
                    *counters(context, deadline + SETUP_S),
                    *latency_oneway.watchers(context, deadline + SETUP_S),
                    *probe.jobs(context, step, stream, deadline),
                ),
                duration_s=duration,
                load_bps=rate,
                load_bytes=round(rate / 8 * stream.duration_s) * 2,
                ports=(probe_port_use(context),),
                privileges=(probe.PRIVILEGE,),
                yields={
                    "delay.rtt": (Direction.ROUND_TRIP,),
                    "delay.oneway": WAYS,
                    "variation.pdv": (Direction.ROUND_TRIP,),
                    "variation.ipdv": WAYS,
                    "loss": WAYS,
                    "availability": WAYS,
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
        counted = probe_ledger.counters(files, context)
        booked = {way: probe_ledger.book(context, task.scope, way, counted, found) for way in WAYS}
        rows = {way: each for way, (each, _) in booked.items()}
        events = [event for _, told in booked.values() for event in told]
        host = probe.host_lost(found, rows)
        found = probe.with_intervals(found, host, QUANTILES.values(), PDV_QUANTILES.values())
        rtt, pdv = found.summary.rtt, found.summary.pdv
        one_way = latency_oneway.observe(task, files, context, found, rows)
        observations = (
            *probe.quantiles("delay.rtt", rtt, QUANTILES, task.scope, context, found, host),
            *probe.quantiles("variation.pdv", pdv, PDV_QUANTILES, task.scope, context, found, host),
            *one_way.observations,
            *_losses(task, context, found, rows),
            *_availabilities(task, context, found, rows),
            *_disorder(task, context, found),
        )
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=observations,
            ledger=(*rows[Direction.A_Z], *rows[Direction.Z_A]),
            fitness=probe_ledger.fitness_of(context, task, found, rows),
            series=(*probe.series(found), *one_way.series),
            facts={
                **_facts(found),
                **latency_patterns.facts(found, _dscp(task)),
                "loss_events": events,
                "ce": _at_the_ce(context, counted, found),
                "oneway": one_way.facts,
            },
        )


def _losses(
    task: Task, context: Context, found: probe.Probe, rows: dict[Direction, tuple[LedgerRow, ...]]
) -> list[Observation]:
    """Loss of each direction, less what the hosts lost of it."""
    observations = []
    for direction, way in found.summary.ways.items():
        scope = context.scope(direction, frame_bytes=task.scope.frame_bytes, load=task.scope.load)
        if way is None or not way.packets:
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
                value=remaining(way.count, host)[1] / way.packets,
                n=way.packets,
                interval=loss_interval(way.count, way.packets, host, effective_n(way.lost, way.offered)),
                evidence=found.evidence,
                reason=_about_loss(way, host, who(rows[direction])),
                hosts=context.hosts,
            )
        )
    return observations


def _about_loss(way: Account, host: tuple[int, int], who: str) -> str:
    """What was lost, in which pattern (RFC 3357), and how much of it the hosts lost."""
    if not way.count:
        return f"None of {way.packets:,} packets was lost."
    periods = f"{len(way.lengths):,} periods of up to {way.lengths.max():,}"
    said = f"{way.count:,} of {way.packets:,} packets were lost in {periods}"
    return said + (f"; {who} lost {host[0]:,} to {min(host[1], way.count):,} of them." if host[1] else ".")


def _at_the_ce(context: Context, counted: probe_ledger.Counters, found: probe.Probe) -> dict[str, dict[str, object]]:
    """Packets that the CE's WAN interface counted of each direction that lost some, where that says anything."""
    router, told = context.circuit.ce_host, {}
    if router is None or counted.ce is None:
        return {}
    stream = replace(found.window, end_ns=found.window.start_ns + found.summary.span_ns + LAST_PASSAGE_NS)
    for direction, way in found.summary.ways.items():
        crossed = counted.ce.crossed(direction, stream, way.count) if way is not None and way.count else None
        if way is not None and crossed is not None:
            told[direction.value] = {
                "interface": f"{router.wan} of {router.name}",
                "crossed": crossed,
                "packets": way.packets,
                "missing": way.count,
            }
    return told


def _availabilities(
    task: Task, context: Context, found: probe.Probe, rows: dict[Direction, tuple[LedgerRow, ...]]
) -> list[Observation]:
    """Share of the seconds that were available (ITU-T Y.1563), each minute one block of them."""
    observations = []
    for direction, way in found.summary.ways.items():
        scope = context.scope(direction, frame_bytes=task.scope.frame_bytes, load=task.scope.load)
        if way is None or not way.packets:
            why = "Nobody knows what entered this direction."
            observations.append(Observation("availability", "ratio", scope, "1", None, 0, reason=why))
            continue
        seconds = availability(way.offered, way.lost)
        interval = share_interval(~seconds.unavailable, way.block // 60)
        about = f"{int(seconds.unavailable.sum()):,} of {seconds.seconds:,} seconds were unavailable"
        about += f", {seconds.severely_errored:,} severely errored; hours of test prove no monthly availability."
        if host_loss(rows[direction])[1] and seconds.unavailable.any():
            interval = replace(interval, hi=1.0)
            about += " Some of the packets may have been lost outside the circuit."
        observations.append(
            Observation(
                metric="availability",
                statistic="ratio",
                scope=scope,
                unit="1",
                value=1 - float(seconds.unavailable.mean()),
                n=seconds.seconds,
                interval=interval,
                evidence=found.evidence,
                reason=about,
                hosts=context.hosts,
            )
        )
    return observations


def _dscp(task: Task) -> int:
    return next((int(job.args["dscp"]) for job in task.jobs if job.id == probe.SENDER), 0)


def _disorder(task: Task, context: Context, found: probe.Probe) -> list[Observation]:
    """Reordering each way (RFC 4737) and replies that came twice."""
    observations = []
    for direction, (late, arrived) in found.summary.reordering.items():
        scope = context.scope(direction, frame_bytes=task.scope.frame_bytes)
        count, n = int(late.sum()), int(arrived.sum())
        if not n:
            why = "The reflector's log names no packet that arrived."
            observations.append(Observation("reordering", "ratio", scope, "1", None, 0, reason=why))
            continue
        observations.append(
            Observation(
                metric="reordering",
                statistic="ratio",
                scope=scope,
                unit="1",
                value=count / n,
                n=n,
                interval=counts_interval(late, arrived),
                evidence=found.evidence,
                reason=f"{count:,} of {n:,} packets arrived after one that was sent later.",
                hosts=context.hosts,
            )
        )
    return [*observations, _duplication(task, context, found)]


def _duplication(task: Task, context: Context, found: probe.Probe) -> Observation:
    n, twice = found.summary.replied, found.summary.duplicates
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


def _facts(found: probe.Probe) -> dict[str, object]:
    """For the report: percentiles, timer error, and where the stamps come from."""
    rtt, late = found.summary.rtt, found.summary.timer_error
    facts: dict[str, object] = {
        "stamps": found.summary.stamps,
        "sent": found.sent["sent"],
        "missed": found.sent["missed"],
    }
    ends = rtt.ends()
    if ends is not None:
        named = {name: rtt.percentile(q) for name, q in QUANTILES.items()}
        figures = {"min": ends[0], **named, "max": ends[1]}
        facts["percentiles"] = {name: value for name, value in figures.items() if math.isfinite(value)}
    if late.n:
        facts["timer_error_ns"] = {name: late.percentile(q) for name, q in QUANTILES.items()}
    return facts
