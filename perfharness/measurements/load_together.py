"""What came of a load of several pairs together: the sum of all of them while all of them were sending, and each one.

When that was the coordinator's clock tells alone, whatever the hosts' clocks say: a test began after it was asked for,
and its length before its end was heard of. Only intervals of iperf3 that lie for certain in the time that all tests
have in common are added up, the warm-up of the last one left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perfharness.analysis import limits
from perfharness.analysis.iperf3 import Flow
from perfharness.evidence import TaskFiles
from perfharness.measurements import load_ledger, load_limits, load_result, load_why, together
from perfharness.measurements.base import Context, failed, window_of
from perfharness.measurements.load_flow import Carried
from perfharness.measurements.load_result import Beside, Load
from perfharness.model import Direction, Fitness, Job, Measurement, Observation, Role, Status, Task
from perfharness.order.circuit import Circuit

SUMMED = ("throughput.tcp", "throughput.udp", "loss")
"""Metrics of which a pair's own figures stand beside the sum."""


@dataclass(frozen=True, slots=True)
class Span:
    """When one iperf3 test ran, s on the coordinator's clock."""

    earliest_s: float
    latest_s: float
    """Between these it began."""
    warm_up_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class Common:
    """The time in which all tests ran, each of them warmed up."""

    start_s: float
    end_s: float


def measured(task: Task, files: TaskFiles, circuit: Circuit) -> Measurement:
    """The figures of all pairs together, and those of each; failed when one of them left nothing that can be used."""
    loads: list[Load] = []
    for number, part in enumerate(task.parts, 1):
        a, z = part.scope.pairs[0]
        context = Context(circuit, circuit.endpoint(a), circuit.endpoint(z), among=len(task.parts))
        guard = task.guard if number == 1 else None  # its probes run between the first pair's hosts
        part = replace(part, id=task.id, guard=guard)
        load = load_result.read(part, together.part_files(files, task, number), context)
        if isinstance(load, str):
            return failed(task, files, f"{part.scope.pair}: {load}")
        loads.append(load)
    drove = (files.outcome() or {}).get("drove", {})
    spans = [{way: _spans(load, way, drove) for way in _ways(load)} for load in loads]
    common = common_time([span for each in spans for of_way in each.values() for span in of_way])
    sums = [_sum(loads, [each[way] for each in spans], way, common) for way in _ways(loads[0])]
    flows = [flow for flow in sums if flow is not None]
    if len(flows) < len(sums):
        said = "There was no time in which all pairs were sending. Test longer."
        return failed(task, files, said)
    parts = tuple(load_result.concluded(load, _others_bps(load, loads)) for load in loads)
    return Measurement(
        task,
        Status.COMPLETED,
        window=window_of(files.outcome()),
        observations=(
            *(figure for flow in flows for figure in _figures(task, flow, loads, parts)),
            *_worst(task, parts),
            *(seen for part in parts for seen in part.observations if seen.metric in SUMMED),
        ),
        ledger=tuple(row for part in parts for row in part.ledger),
        fitness=_unique([row for part in parts for row in part.fitness]),
        series=tuple(one for flow in flows for one in load_result.all_series(_shown(flow), loads[0].context)),
        facts={
            "together": {"pairs": len(loads), "seconds": round(common.end_s - common.start_s, 3)},
            "limited_by": [told for flow in flows for told in _limits(task, flow, loads, parts)],
            "fairness": load_why.fairness(loads),
        },
        parts=parts,
    )


# --- the common time --------------------------------------------------------------------------------


def common_time(spans: Sequence[Span]) -> Common:
    """From when the last test had surely warmed up until the first may have ended."""
    return Common(
        max(span.latest_s + span.warm_up_s for span in spans),
        min(span.earliest_s + span.length_s for span in spans),
    )


def within(flow: Flow, span: Span, common: Common, passage_s: float) -> Flow:
    """The same with every interval left out that is not surely within the common time; ``passage_s``: the longest that
    the other end began after this one."""
    first, last = common.start_s - span.earliest_s, common.end_s - span.latest_s - passage_s
    slices = tuple(
        replace(part, omitted=part.omitted or part.start_s < first or part.start_s + part.seconds > last)
        for part in flow.slices
    )
    return replace(flow, slices=slices)


def _spans(load: Load, way: Direction, drove: Mapping[str, Any]) -> tuple[Span, ...]:
    """Of each of its processes in this direction. Raises LookupError where the coordinator noted nothing."""
    return tuple(_span(job, drove[f"{job.endpoint}.{load.files.filed[job.id]}"]) for job in _clients(load.task, way))


def _span(job: Job, noted_ns: Sequence[int]) -> Span:
    asked_s, heard_s = (int(when) / 1e9 for when in noted_ns)
    length_s = float(job.args["duration_s"] + job.args["omit_s"])
    return Span(asked_s, max(asked_s, heard_s - length_s), float(job.args["omit_s"]), length_s)


def _clients(task: Task, way: Direction) -> list[Job]:
    """In the order of the flows that they are of."""
    driven = [job for job in task.jobs if job.method == "iperf3.drive" and job.role is Role.DRIVE]
    return [job for job in driven if f"-{way.value}-" in job.id]


def _ways(load: Load) -> tuple[Direction, ...]:
    return tuple(flow.way for flow in load.flows)


# --- the sum ----------------------------------------------------------------------------------------


def _sum(loads: Sequence[Load], spans: Sequence[Sequence[Span]], way: Direction, common: Common) -> Carried | None:
    """One direction of all pairs as if it were one pair's, in the common time; None where a process has none in it."""
    sent: list[Flow] = []
    received: list[Flow] = []
    for load, of_load in zip(loads, spans, strict=True):
        flow, passage_s = _of(load, way), load_ledger.longest_s(load.found)
        sent += [within(each, span, common, passage_s) for each, span in zip(flow.sent, of_load, strict=True)]
        received += [within(each, span, common, passage_s) for each, span in zip(flow.received, of_load, strict=True)]
    if not all(flow.kept for flow in (*sent, *received)):
        return None
    return replace(_all(loads, way), sent=tuple(sent), received=tuple(received))


def _all(loads: Sequence[Load], way: Direction) -> Carried:
    """One direction of all pairs as if it were one pair's, from begin to end."""
    flows = [_of(load, way) for load in loads]
    return replace(
        flows[0],
        sent=tuple(each for flow in flows for each in flow.sent),
        received=tuple(each for flow in flows for each in flow.received),
        sockets=tuple(each for flow in flows for each in flow.sockets),
        traces=(),
        wide_counters=all(flow.wide_counters for flow in flows),
        limits_bps=tuple(each for flow in flows for each in flow.limits_bps),
        evidence=tuple(dict.fromkeys(each for flow in flows for each in flow.evidence)),
    )


def _of(load: Load, way: Direction) -> Carried:
    return next(flow for flow in load.flows if flow.way is way)


def _figures(task: Task, flow: Carried, loads: Sequence[Load], parts: Sequence[Measurement]) -> list[Observation]:
    """Rate and loss of all pairs in one direction. The rate is that of the common time; the loss is of all that was
    sent, and its upper bound as if all that was lost had been lost in the common time: before and after it not all
    pairs were sending."""
    whole, context = _all(loads, flow.way), loads[0].context
    about = _beside(task, flow.way, loads, parts)
    found = [_named(load_result.rate(flow, about, context), loads)]
    if flow.udp:
        loss = load_result.loss(whole, about, context)
        share = _packets(flow) / (_packets(whole) or 1)
        if loss.interval is not None and 0 < share < 1:
            loss = replace(loss, interval=replace(loss.interval, hi=min(1.0, loss.interval.hi / share)))
        found.append(loss)
    return found


def _named(rate: Observation, loads: Sequence[Load]) -> Observation:
    said = f"{len(loads)} pairs together, while all of them were sending."
    return replace(rate, reason=f"{said} {rate.reason}".strip())


def _shown(flow: Carried) -> Carried:
    """Without what came when one pair had ended already: drawn by each one's own time, that would add up to more than
    there ever was."""
    until = [max(i for i, part in enumerate(each.slices, 1) if not part.omitted) for each in flow.received]
    received = zip(flow.received, until, strict=True)
    return replace(flow, received=tuple(replace(each, slices=each.slices[:end]) for each, end in received))


def _packets(flow: Carried) -> int:
    return sum(each.packets or 0 for each in flow.received)


def _beside(task: Task, way: Direction, loads: Sequence[Load], parts: Sequence[Measurement]) -> Beside:
    each = [load_result.beside(load, _of(load, way), ()) for load in loads]
    return Beside(
        scope=replace(task.scope, direction=way),
        rows=[row for part in parts for row in part.ledger if row.scope.direction is way],
        probes_bps=sum(one.probes_bps for one in each),
        longest_rtt_s=max(one.longest_rtt_s for one in each),
        hosts=tuple(dict.fromkeys(host for one in each for host in one.hosts)),
        short="; ".join(one.short for one in each if one.short),
        short_by=tuple(why for one in each for why in one.short_by),
        held_back="; ".join(f"{one.scope.pair}: {one.held_back}" for one in each if one.held_back),
    )


def _worst(task: Task, parts: Sequence[Measurement]) -> list[Observation]:
    """Delay and its variation are no sum: each quantile is that of the pair in which it is largest, bounded by those of
    all."""
    by_row: dict[object, list[Observation]] = {}
    for row in (row for part in parts for row in part.observations if row.metric not in SUMMED):
        by_row.setdefault((row.metric, row.statistic, row.scope.direction), []).append(row)
    found = []
    for seen in by_row.values():
        worst = max(seen, key=lambda row: row.value if isinstance(row.value, int | float) else -1)
        bounds = [row.interval for row in seen if row.interval is not None]
        interval = worst.interval and replace(
            worst.interval, lo=max(each.lo for each in bounds), hi=max(each.hi for each in bounds)
        )
        known = len(bounds) == len(parts)
        found.append(
            replace(
                worst,
                scope=replace(task.scope, direction=worst.scope.direction),
                interval=interval if known else None,
                reason=f"Of {len(parts)} pairs together {worst.scope.pair} has the largest. {worst.reason}".strip(),
                hosts=tuple(dict.fromkeys(host for row in seen for host in row.hosts)),
                evidence=tuple(dict.fromkeys(path for row in seen for path in row.evidence)),
            )
        )
    return found


def _limits(task: Task, flow: Carried, loads: Sequence[Load], parts: Sequence[Measurement]) -> list[dict[str, Any]]:
    """What limited one direction: of TCP the circuit where the sum fills it, or the interface of a host that all pairs
    share, else what held each pair back."""
    if flow.udp:
        return load_result.why_paced(_all(loads, flow.way), _beside(task, flow.way, loads, parts))
    first = loads[0]
    path = load_limits.Path(first.context.committed_bps, first.context.mtu)
    whole = load_limits.load(flow, first.task, first.files, first.context, first.found, path)
    if limits.filled(whole):
        return load_limits.facts(flow.way, whole)
    shared = limits.nic(_with_shared(whole, flow.way, loads))
    of_all = [{"limit": shared.limit, "way": flow.way.value, "reasons": list(shared.reasons)}] if shared else []
    return of_all + [
        {**told, "reasons": [f"{part.task.scope.pair}: {reason}" for reason in told["reasons"]]}
        for part in parts
        for told in part.facts["limited_by"]
        if told["way"] == flow.way.value
    ]


def _with_shared(whole: limits.Load, way: Direction, loads: Sequence[Load]) -> limits.Load:
    """Of its hosts what is known of those that are in all pairs: they carry the sum."""
    ends = [load.context.ends(way) for load in loads]
    sender, receiver = (
        limits.Host(host.name, speed_bps=host.speed_bps if len({each[side].name for each in ends}) == 1 else None)
        for side, host in enumerate((whole.sender, whole.receiver))
    )
    return replace(whole, sender=sender, receiver=receiver)


def _others_bps(load: Load, loads: Sequence[Load]) -> dict[Direction, float]:
    """What a direction's sender was to send at L2 for the other pairs that it is in, and their probes."""
    found = dict.fromkeys(_ways(load), 0.0)
    for other in loads:
        for flow in other.flows if other is not load else ():
            if flow.udp and other.context.ends(flow.way)[0] == load.context.ends(flow.way)[0]:
                found[flow.way] += load_ledger.sent_bps(flow, other.found, other.context)
    return found


def _unique(rows: Sequence[Fitness]) -> tuple[Fitness, ...]:
    """A host of several pairs is fit once, and unfit for each reason of its own."""
    unfit = {row.host for row in rows if not row.fit and not row.metrics}
    kept: dict[object, Fitness] = {}
    for row in rows:
        if not row.fit or row.host not in unfit:
            kept.setdefault((row.host, row.reasons, row.metrics), row)
    return tuple(kept.values())
