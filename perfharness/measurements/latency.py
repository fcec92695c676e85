"""latency: a STAMP stream on an otherwise idle path: delay, variation, loss by direction, reordering.

RTT = (T4-T1)-(T3-T2) (RFC 8762), percentiles with lost packets infinitely late (RFC 7679), PDV over the
minimum (RFC 5481), signed IPDV (RFC 3393), loss each way (RFC 7680), reordering (RFC 4737).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from perfharness.analysis.ledger import loss_interval, remaining
from perfharness.analysis.loss import Account
from perfharness.analysis.patterns import TURN_S, Availability, availability
from perfharness.analysis.statistics import (
    CONFIDENCE,
    block_counts,
    clopper_pearson,
    counts_interval,
    effective_n,
)
from perfharness.evidence import TaskFiles
from perfharness.measurements import (
    latency_classes,
    latency_oneway,
    latency_patterns,
    latency_sizes,
    probe,
    probe_ledger,
)
from perfharness.measurements.base import (
    SETUP_S,
    Context,
    counters,
    failed,
    not_completed,
    probe_port_use,
    window_of,
)
from perfharness.measurements.latency_classes import OfClass
from perfharness.measurements.latency_duplication import duplication
from perfharness.measurements.latency_params import LatencyParams
from perfharness.model import (
    Direction,
    Interval,
    Measurement,
    Observation,
    Status,
    Task,
)
from perfharness.order.dscp import BEST_EFFORT, class_name

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
PDV_QUANTILES = {"p99": 0.99, "p99.9": 0.999}
WAYS = (Direction.A_Z, Direction.Z_A)
OF_SECONDS = "Clopper–Pearson, design effect from minutes, ten seconds as one"


class Latency:
    name = "latency"
    parameters = LatencyParams
    statistics: Mapping[str, Collection[str]] = {
        "delay.rtt": QUANTILES,
        "delay.oneway": latency_oneway.QUANTILES,
        "variation.pdv": PDV_QUANTILES,
        "variation.ipdv": latency_oneway.IPDV_QUANTILES,
        **dict.fromkeys(("loss", "availability", "reordering", "duplication"), ("ratio",)),
        "dscp": ("preserved",),
    }

    def tasks(self, params: LatencyParams, step: str, context: Context) -> tuple[Task, ...]:
        stream = params.stream(context)
        duration = stream.duration_s + probe.WAIT_NS / 1e9
        deadline = duration + 15.0
        rate = stream.rate_bps(context.layer, context.tagged)
        names = tuple(class_name(each) for each in stream.dscp)
        services = names if names != (BEST_EFFORT,) else ("",)
        service = services[0] if len(services) == 1 else ""
        return (
            Task(
                id=step,
                step=step,
                measurement=self.name,
                scope=context.scope(Direction.ROUND_TRIP, frame_bytes=stream.frame_bytes, service=service),
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
                    "dscp": WAYS,
                },
                services=services,
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
        classes = latency_classes.split(task, context, found, counted, rows)
        one_way = latency_oneway.observe(files, context, found, classes)
        observations = [
            *(seen for each in classes for seen in _observed(each, context)),
            *one_way.observations,
            *(duplication(each.scope, files, context.a.name, context, each.found) for each in classes),
        ]
        told = {each.scope.service: _facts_of(each) for each in classes}
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=tuple(observations),
            ledger=(*rows[Direction.A_Z], *rows[Direction.Z_A]),
            fitness=probe_ledger.fitness_of(context, task, found, rows),
            series=(
                *(series for each in classes for series in probe.series(each.found, each.scope.service)),
                *(series for each in classes for series in latency_patterns.series(each.found, each.scope.service)),
                *one_way.series,
            ),
            facts={
                **facts(found),
                **({"classes": told} if len(classes) > 1 else told[task.scope.service]),
                "loss_events": latency_classes.name_losses(events, classes),
                "ce": _at_the_ce(context, counted, found),
                "oneway": one_way.facts,
            },
        )


def _observed(one: OfClass, context: Context) -> Iterator[Observation]:
    """The figures of one class that need no common clock."""
    excused = probe.excused(one.found, one.hosts, one.late)
    found = one.found
    rtt, pdv = found.summary.rtt, found.summary.pdv
    yield from probe.quantiles("delay.rtt", rtt, QUANTILES, one.scope, context, found, excused)
    yield from probe.quantiles("variation.pdv", pdv, PDV_QUANTILES, one.scope, context, found, excused)
    yield from _losses(one, context)
    yield from _availabilities(one, context)
    yield from _disorder(one, context)
    yield from latency_patterns.marks_kept(found, one.scope, one.dscp, context.hosts)


def _losses(one: OfClass, context: Context) -> list[Observation]:
    """Loss of each direction, less what the hosts lost of it."""
    observations = []
    for direction, way in one.found.summary.ways.items():
        scope = replace(one.scope, direction=direction)
        if way is None or not way.packets:
            why = (
                "The reflector left no log: loss there cannot be told from loss back."
                if way is None
                else "No packet entered this direction."
            )
            observations.append(Observation("loss", "ratio", scope, "1", None, 0, reason=why))
            continue
        host = one.hosts[direction]
        forged = probe.forged_packets(one.found.reflected if direction is Direction.A_Z else one.found.sent)
        observations.append(
            Observation(
                metric="loss",
                statistic="ratio",
                scope=scope,
                unit="1",
                value=remaining(way.count, host)[1] / way.packets,
                n=way.packets,
                interval=loss_interval(way.count, way.packets, host, effective_n(way.lost, way.offered)),
                evidence=one.found.evidence,
                reason=about_loss(way, host, one.who[direction])
                + (f" {forged:,} that came were refused as forged." if forged else ""),
                hosts=context.hosts,
            )
        )
    return observations


def about_loss(way: Account, host: tuple[int, int], who: str = "the hosts") -> str:
    """What was lost, in which pattern (RFC 3357), and how much of it the hosts lost."""
    if not way.count:
        return f"None of {way.packets:,} packets was lost."
    periods = f"{len(way.lengths):,} period{'s' * (len(way.lengths) != 1)} of up to {way.lengths.max():,}"
    said = f"{way.count:,} of {way.packets:,} packets were lost in {periods}"
    return said + (f"; {who} lost {host[0]:,} to {min(host[1], way.count):,} of them." if host[1] else ".")


def _at_the_ce(context: Context, counted: probe_ledger.Counters, found: probe.Probe) -> dict[str, dict[str, object]]:
    """Packets that the CE's WAN interface counted of each direction that lost some, where that says anything."""
    router, told = context.circuit.ce_host, {}
    if router is None or counted.ce is None:
        return {}
    stream = probe_ledger.passage(found)
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


def available(way: Account) -> tuple[Availability, Interval]:
    """The seconds (ITU-T Y.1563), and where the share of available ones lies, each minute one block of them. Such time
    comes and goes ten seconds together at least, so ten of them say as much as one."""
    seconds = availability(way.offered, way.lost)
    n_eff = min(effective_n(*block_counts(seconds.unavailable, way.block // 60)), seconds.seconds / TURN_S)
    bounds = clopper_pearson(1 - float(seconds.unavailable.mean()), n_eff)
    return seconds, Interval(*bounds, CONFIDENCE, "one", OF_SECONDS, n_eff)


def _availabilities(one: OfClass, context: Context) -> list[Observation]:
    observations = []
    for direction, way in one.found.summary.ways.items():
        scope = replace(one.scope, direction=direction)
        if way is None or not way.packets:
            why = "Nobody knows what entered this direction."
            observations.append(Observation("availability", "ratio", scope, "1", None, 0, reason=why))
            continue
        seconds, interval = available(way)
        if seconds.seconds < TURN_S:
            why = f"Time is available or not for {TURN_S} s together (ITU-T Y.1563); {seconds.seconds} s were measured."
            seen = one.found.evidence
            observations.append(Observation("availability", "ratio", scope, "1", None, 0, reason=why, evidence=seen))
            continue
        about = f"{int(seconds.unavailable.sum()):,} of {seconds.seconds:,} seconds were unavailable"
        about += f", {seconds.severely_errored:,} severely errored; hours of test prove no monthly availability."
        if one.hosts[direction][1] and seconds.unavailable.any():
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
                evidence=one.found.evidence,
                reason=about,
                hosts=context.hosts,
            )
        )
    return observations


def _disorder(one: OfClass, context: Context) -> list[Observation]:
    """Reordering each way (RFC 4737)."""
    observations = []
    for direction, (late, arrived) in one.found.summary.reordering.items():
        scope = replace(one.scope, direction=direction)
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
                evidence=one.found.evidence,
                reason=f"{count:,} of {n:,} packets arrived after one that was sent later.",
                hosts=context.hosts,
            )
        )
    return observations


def facts(found: probe.Probe) -> dict[str, object]:
    """For the report, of the whole stream: how far the prober can be believed."""
    return {"prober": probe.prober(found), **probe.authenticity(found)}


def _facts_of(one: OfClass) -> dict[str, object]:
    """For the report: what is said of each class."""
    return {
        **latency_patterns.facts(one.found, one.dscp),
        **latency_sizes.facts(one.found),
        **percentiles(one.found),
    }


def percentiles(found: probe.Probe) -> dict[str, object]:
    """For the report: the round trips in plain figures, if there are any."""
    rtt = found.summary.rtt
    ends = rtt.ends()
    if ends is None:
        return {}
    named = {name: rtt.percentile(q) for name, q in QUANTILES.items()}
    figures = {"min": ends[0], **named, "max": ends[1]}
    return {"percentiles": {name: value for name, value in figures.items() if math.isfinite(value)}}
