"""What came of a service's load: rate, loss, delay and variation of each step, or of all services at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from perfharness.analysis.ledger import host_loss, who
from perfharness.analysis.samples import Samples, sent_within
from perfharness.errors import ToolFailed
from perfharness.evidence import TaskFiles
from perfharness.measurements import (
    base,
    latency_classes,
    latency_oneway,
    load_others,
    load_session,
    probe,
    probe_ledger,
    service_figures,
)
from perfharness.measurements.base import Context, failed, window_of
from perfharness.measurements.latency_classes import OfClass
from perfharness.measurements.pieces import Pieces
from perfharness.measurements.service_step import Step, book
from perfharness.measurements.service_tasks import REST, WAYS, ways_of
from perfharness.model import (
    Direction,
    Fitness,
    LedgerRow,
    Measurement,
    Observation,
    Scope,
    Series,
    Status,
    Task,
    Window,
)

T = TypeVar("T")

QUANTILES = {"p50": 0.5, "p99": 0.99}
PDV_QUANTILES = {"p99": 0.99}
STATISTICS: Mapping[str, tuple[str, ...]] = {
    "throughput.udp": ("mean",),
    "loss": ("ratio",),
    "delay.loaded": tuple(QUANTILES),
    "variation.pdv": tuple(PDV_QUANTILES),
    "delay.oneway": ("p99",),
}
LEAST_PROBES_S = 1.0
"""A phase that is shorter says nothing of delay."""
DRAWN_S = 0.1
MOST_DRAWN = 600


@dataclass(frozen=True, slots=True)
class _Read:
    task: Task
    files: TaskFiles
    context: Context
    found: probe.Probe
    counted: probe_ledger.Counters
    sessions: tuple[load_session.Session, ...]
    steps: tuple[Step, ...]
    ledgers: Mapping[Scope, tuple[LedgerRow, ...]]


def by_step(task: Task, files: TaskFiles, context: Context) -> Measurement:
    """The service configuration test of one service."""
    read = _read(task, files, context)
    if isinstance(read, str):
        return failed(task, files, read)
    way = ways_of(task.scope.direction or Direction.A_Z)[0]
    parts = [
        part for step in read.steps if step.scope.direction is way and (part := _of_probes(step, read)) is not None
    ]
    return _measurement(read, parts, ())


def at_once(task: Task, files: TaskFiles, context: Context) -> Measurement:
    """The service performance test of all of them."""
    read = _read(task, files, context)
    if isinstance(read, str):
        return failed(task, files, read)
    rows = {way: probe_ledger.book(context, task.scope, way, read.counted, read.found)[0] for way in WAYS}
    beside = replace(task, scope=replace(task.scope, direction=Direction.ROUND_TRIP))
    classes = latency_classes.split(beside, context, read.found, read.counted, rows)
    available = [service_figures.available(step, read.ledgers[step.scope], context) for step in read.steps]
    return _measurement(read, classes, available)


def _read(task: Task, files: TaskFiles, context: Context) -> _Read | str:
    """What the jobs left, or one sentence why it cannot be used. Raises EvidenceBroken."""
    found = probe.read(task, files, context)
    if isinstance(found, str):
        return found
    try:
        sessions = load_session.sessions(task, files, outages=True)
    except ToolFailed as error:
        return str(error)
    counted = probe_ledger.counters(files, context)
    ways = ways_of(task.scope.direction or Direction.A_Z)
    names = dict.fromkeys(job.secret for job in task.jobs if job.method in (load_session.SERVE, load_session.DRIVE))
    steps = tuple(
        step
        for at, (session, name) in enumerate(zip(sessions, names, strict=True))
        for step in _steps(session, name, task, task.services[at // len(ways)])
    )
    ledgers = {step.scope: book(step, context, counted) for step in steps}
    return _Read(task, files, context, found, counted, tuple(sessions), steps, ledgers)


def _steps(session: load_session.Session, name: str, task: Task, service: str) -> Iterator[Step]:
    """Its phases in which something was to be sent."""
    for number, phase in enumerate(session.phases):
        if phase.name != REST:
            scope = replace(task.scope, direction=session.way, service=service, load=phase.name)
            scope = replace(scope, frame_bytes=probe.frame_bytes((phase.packet_bytes,)))
            yield Step(session, number, scope, name.removeprefix(f"load-{session.way.value}-"))


def _measurement(read: _Read, classes: Sequence[OfClass], more: Sequence[Observation]) -> Measurement:
    context, task = read.context, read.task
    beside_bps = read.found.stream.rate_bps(context.layer, context.tagged) / len(task.services)
    figures = [
        seen
        for step in read.steps
        for seen in service_figures.of_load(step, read.ledgers[step.scope], context, beside_bps)
    ]
    one_way = _one_way(classes, read)
    return Measurement(
        task,
        Status.COMPLETED,
        window=window_of(read.files.outcome()),
        observations=(
            *figures,
            *more,
            *(seen for each in classes for seen in _of_class(each, read)),
            *one_way.observations,
        ),
        ledger=tuple(row for rows in read.ledgers.values() for row in rows),
        fitness=_fitness(read),
        series=(*_series(read, beside_bps), *_delays(read, classes)),
        facts={
            **probe.authenticity(read.found),
            "prober": probe.prober(read.found),
            "oneway": one_way.facts,
            "steps": [_facts(step, beside_bps) for step in read.steps],
            "others": load_others.others_bps(read.files, context, read.sessions),
        },
    )


# --- delay beside the load --------------------------------------------------------------------


@dataclass(frozen=True)
class _Part(Pieces):
    """The packets of a stream that left within a window."""

    within: Window | None = None

    def each(self, work: Callable[[Samples], T]) -> Iterator[T]:
        """As of all of them."""
        within = self.within
        assert within is not None
        return super().each(lambda samples: work(sent_within(samples, within.start_ns, within.end_ns)))


def _of_probes(step: Step, read: _Read) -> OfClass | None:
    """The probes that were sent during a step, by the clock of their sender; None where nobody knows when that was."""
    phase = step.phase
    window = Window(phase.started_ns, phase.ended_ns)
    if step.session.way is Direction.Z_A:
        if phase.first_ns is None or phase.last_ns is None:
            return None
        window = Window(phase.first_ns, phase.last_ns)
    if step.seconds < LEAST_PROBES_S:
        return None
    whole = read.found.pieces
    pieces = _Part(whole.sender, whole.log, whole.told, whole.result, whole.turn, within=window)
    found = replace(read.found, pieces=pieces, summary=probe.summary_of(pieces, read.found.interval_ns), window=window)
    scope = replace(step.scope, direction=Direction.ROUND_TRIP, frame_bytes=probe.frame_bytes(read.found.packet_bytes))
    if not found.summary.sent:
        return None
    booked = {way: probe_ledger.book(read.context, scope, way, read.counted, found)[0] for way in WAYS}
    hosts = {way: host_loss(rows) for way, rows in booked.items()}
    where = {way: who(rows) for way, rows in booked.items()}
    return OfClass(scope, int(step.session.args["dscp"]), found, hosts, where, read.counted.late)


def _of_class(one: OfClass, read: _Read) -> Iterator[Observation]:
    excused = probe.excused(one.found, one.hosts, one.late)
    summary = one.found.summary
    yield from probe.quantiles("delay.loaded", summary.rtt, QUANTILES, one.scope, read.context, one.found, excused)
    yield from probe.quantiles("variation.pdv", summary.pdv, PDV_QUANTILES, one.scope, read.context, one.found, excused)


def _one_way(classes: Sequence[OfClass], read: _Read) -> latency_oneway.OneWay:
    """Where the clocks allow it; the direction of the load alone."""
    told = latency_oneway.observe(read.files, read.context, read.found, classes)
    ways = ways_of(read.task.scope.direction or Direction.A_Z)
    kept = tuple(
        seen
        for seen in told.observations
        if seen.metric == "delay.oneway" and seen.statistic == "p99" and seen.scope.direction in ways
    )
    return replace(told, observations=kept)


def _delays(read: _Read, classes: Sequence[OfClass]) -> tuple[Series, ...]:
    """The round trips over time; of a test in steps they are of no one load, so their distribution says nothing."""
    if read.task.loads:
        return tuple(one for one in probe.series(read.found) if one.kind in ("delay", "loss"))
    return tuple(one for each in classes for one in probe.series(each.found, each.scope.service))


# --- the testers, the report ------------------------------------------------------------------


def _fitness(read: _Read) -> tuple[Fitness, ...]:
    """What a host fell short of in a step is in that step's intervals; what the probes lack spoils what they tell."""
    rows = {way: probe_ledger.book(read.context, read.task.scope, way, read.counted, read.found)[0] for way in WAYS}
    prober = probe_ledger.fitness_of(read.context, read.task, read.found, rows)
    evidence = tuple(path for step in read.steps[:1] for path in step.session.evidence)
    return (
        *(replace(each, metrics=("delay", "variation")) for each in prober if not each.fit),
        *(base.fitness(host, read.task, (), evidence) for host in read.context.hosts),
    )


def _series(read: _Read, beside_bps: float) -> Iterator[Series]:
    """Rate, with that of the probes of its class, and share of loss of each session over its time, rests included."""
    for step in read.steps:
        session = step.session
        if step.number:
            continue
        rows, start = session.arrivals, int(session.arrivals.t_ns[0])
        length = int(rows.t_ns[-1]) - start
        width = max(DRAWN_S * 1e9, length / MOST_DRAWN)
        edges = start + np.arange(int(length / width) + 2) * width
        bits = np.array([session.counted(phase) * 8 for phase in session.phases])
        carried = np.cumsum(np.diff(rows.packets, prepend=0) * bits[rows.phase])
        rate = np.diff(np.interp(edges, rows.t_ns, carried, left=0.0)) / width * 1e9
        middle = (edges[:-1] + edges[1:] - 2 * start) / 2e9
        way, of = session.way, step.scope.service
        yield Series("rate", middle, rate + beside_bps, "bit/s", "service.rate", way, start, service=of)
        gone = np.interp(edges, rows.t_ns, rows.highest - rows.packets, left=0.0)
        lost, sent = np.diff(gone).clip(min=0), np.diff(np.interp(edges, rows.t_ns, rows.highest, left=0.0))
        share = np.divide(lost, sent, out=np.zeros(len(lost)), where=sent > 0).clip(max=1.0)
        yield Series("lost", middle, share, "1", "service.loss", way, start, service=of)


def _facts(step: Step, beside_bps: float) -> dict[str, Any]:
    """For the report: what was offered when."""
    phase = step.phase
    start = int(step.session.arrivals.t_ns[0])
    seen = [None if at is None else (at - start) / 1e9 for at in (phase.first_ns, phase.last_ns)]
    return {
        "service": step.service,
        "class": step.scope.service,
        "direction": step.session.way.value,
        "load": step.scope.load,
        "seconds": step.seconds,
        "intended_bps": step.intended_bps + beside_bps,
        "offered_bps": step.offered_bps + beside_bps,
        "seen_s": seen,
        "shed": phase.shed,
        "late_ns": phase.late_ns,
        "reordered": phase.reordered,
        "duplicates": phase.duplicates,
    }
