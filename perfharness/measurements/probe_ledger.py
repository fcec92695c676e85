"""What the hosts lost of a probe stream, direction by direction and event by event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perfharness.analysis import ledger, stolen, timeline
from perfharness.analysis.counters import Recording, record
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import COUNTERS, Context, Ends, fitness, segment_of
from perfharness.measurements.ce import CeCounters, read_ce
from perfharness.measurements.probe import LEAST_KEPT, TIMED, Probe, unfit_reflector, unfit_sender, unfit_stamps
from perfharness.model import Direction, Fitness, LedgerRow, Scope, Segment, Task, Window

WAYS = (Direction.A_Z, Direction.Z_A)
LAST_PASSAGE_NS = 500_000_000
"""After the last probe was sent, for it to pass the CE and come back."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What the hosts' counters said beside a task, by endpoint."""

    recordings: Mapping[str, Recording]
    paths: Mapping[str, str]
    ce: CeCounters | None = None

    @property
    def late(self) -> float:
        """The largest share of round trips that the hosts' hypervisors can have delayed."""
        return stolen.most_late(each.stolen for each in self.recordings.values())

    def book(
        self, context: Context, scope: Scope, missing: ledger.Missing, more: Sequence[LedgerRow] = ()
    ) -> tuple[LedgerRow, ...]:
        """One direction's stages, ``more`` that the caller knows of before them."""
        sender, receiver = (end.name for end in context.ends(scope.direction or Direction.A_Z))
        rows = ledger.book(
            missing,
            self.recordings[sender],
            self.recordings[receiver],
            scope=scope,
            sender_segment=segment_of(context, sender),
            receiver_segment=segment_of(context, receiver),
            evidence=(self.paths[sender], self.paths[receiver]),
        )
        return (*more, *rows, *(self.ce.book(scope, missing) if self.ce else ()))


def counters(files: TaskFiles, context: Ends) -> Counters:
    """The hosts' counters beside this task, and the CE's."""
    return Counters(
        {host: record(files.each_row(host, COUNTERS, "counters.jsonl")) for host in context.hosts},
        {host: files.path(host, COUNTERS, "counters.jsonl") for host in context.hosts},
        read_ce(files, context),
    )


def book(
    context: Context, scope: Scope, way: Direction, counted: Counters, found: Probe
) -> tuple[tuple[LedgerRow, ...], list[dict[str, Any]]]:
    """The stages of this direction, and its loss events as facts for the report."""
    scope = replace(scope, direction=way)
    stream = found.summary.ways[way]
    lost = stream.count if stream else 0
    receiver = found.reflected if way is Direction.A_Z else found.sent
    missing = ledger.Missing(
        packets=lost,
        window=found.window,
        sockets=[{"drops": receiver.get("rxq_dropped"), "others": receiver.get("foreign", 0) > 0}],
        untransmitted=found.summary.untransmitted[way],
        unread=int(receiver.get("unread", 0)),
    )
    when = found.summary.departures[way]
    if when is not None:
        here, there = when.moments()
        missing = replace(missing, at_sender=here, at_receiver=there, held=int(when.held.sum()))
    rows = counted.book(context, scope, missing, _unsent(context, scope, way, found))
    if counted.ce is not None and stream is not None:
        rows += counted.ce.book_lan(scope, passage(found), stream.packets, lost, rows)
    told = [] if when is None else _events(context, scope, counted, missing, when)
    return (*rows, ledger.rest(lost, rows, scope)), undated(told, rows, lost)


def passage(found: Probe) -> Window:
    """When the stream's packets passed the CE, by the on-prem host's clock."""
    return replace(found.window, end_ns=found.window.start_ns + found.summary.span_ns + LAST_PASSAGE_NS)


def _unsent(context: Context, scope: Scope, way: Direction, found: Probe) -> tuple[LedgerRow, ...]:
    """What the schedule asked for, or the other end's probes, and this direction's sender did not send."""
    host = context.ends(way)[0].name
    if way is Direction.A_Z:
        packets, counter = (
            found.sent["missed"] + found.sent["send_errors"],
            "missed by the schedule, refused on sending",
        )
    else:
        packets, counter = found.summary.unanswered, "received and not answered"
    path = found.evidence[0 if way is Direction.A_Z else 1]
    return (ledger.unsent(packets, scope, segment_of(context, host), counter, (path,)),) if packets else ()


def _events(
    context: Context, scope: Scope, counted: Counters, missing: ledger.Missing, when: timeline.Departures
) -> list[dict[str, Any]]:
    told = []
    for chosen in timeline.events(when):
        here, there = when.moments(chosen)
        packets = chosen.stop - chosen.start
        some = replace(
            missing,
            packets=packets,
            at_sender=here,
            at_receiver=there,
            untransmitted=int(when.untransmitted[chosen].sum()),
            held=int(when.held[chosen].sum()),
            part=packets < missing.packets,
        )
        rows = counted.book(context, scope, some)
        span = int(when.t_ns[chosen.start]), int(when.t_ns[chosen.stop - 1])
        told.append(event(context.ends(scope.direction or Direction.A_Z)[0].name, scope, span, packets, rows))
    return told


def event(
    clock: str, scope: Scope, span_ns: tuple[int, int], packets: int, rows: Sequence[LedgerRow]
) -> dict[str, Any]:
    """One loss event as plain facts: when by this host's clock, how many, and who may have lost them."""
    least, most = ledger.remaining(packets, ledger.host_loss(rows))
    stages = [row for row in rows if row.missing and row.packets_hi]
    return {
        "direction": (scope.direction or Direction.A_Z).value,
        "clock": clock,
        "start_ns": span_ns[0],
        "end_ns": span_ns[1],
        "packets": packets,
        "between": [least, most],
        "stages": {row.stage: [row.packets_lo, row.packets_hi] for row in stages},
    }


def undated(events: Sequence[dict[str, Any]], rows: Sequence[LedgerRow], lost: int) -> list[dict[str, Any]]:
    """The events with what a host counted as its own loss, by the stages of the whole direction that lost so many
    packets, but at no event's time: it may be of any of them, up to ``undated`` packets by stage.

    A socket's own count has no times. The namespace's tells when it rose, by a clock that may have been set meanwhile.
    """
    untold = max(0, lost - sum(event["packets"] for event in events))
    left = {
        row.stage: row.packets_hi - untold - sum(event["stages"].get(row.stage, (0, 0))[1] for event in events)
        for row in rows
        if row.missing and not row.shared and row.segment is not Segment.BETWEEN
    }
    return [_with_undated(event, left) for event in events]


def _with_undated(event: dict[str, Any], left: Mapping[str, int]) -> dict[str, Any]:
    room = {stage: event["packets"] - event["stages"].get(stage, (0, 0))[1] for stage in left}
    more = {stage: most for stage, packets in left.items() if (most := min(packets, room[stage])) > 0}
    if not more:
        return event
    least, most = event["between"]
    return {**event, "undated": more, "between": [max(0, least - sum(more.values())), most]}


def fitness_of(
    context: Context,
    task: Task,
    found: Probe,
    rows: Mapping[Direction, Sequence[LedgerRow]],
    least_kept: float = LEAST_KEPT,
) -> tuple[Fitness, ...]:
    """Whether both ends of the stream can be believed; ``least_kept``: the share of its schedule that was sent."""
    of_a = unfit_sender(found, least_kept) + dropped(context.a.name, rows, found, context)
    of_z = unfit_reflector(found) + dropped(context.z.name, rows, found, context)
    return (
        fitness(context.a.name, task, of_a, found.evidence),
        fitness(context.z.name, task, of_z, found.evidence),
        *stamped(context.a.name, task, found),
    )


def stamped(host: str, task: Task, found: Probe) -> tuple[Fitness, ...]:
    """That its time stamps make it unfit for figures that rest on them, if so."""
    reasons = unfit_stamps(found)
    return (replace(fitness(host, task, reasons, found.evidence), metrics=TIMED),) if reasons else ()


def dropped(host: str, rows: Mapping[Direction, Sequence[LedgerRow]], found: Probe, context: Context) -> list[str]:
    """Why the host that receives cannot be believed: most of what is missing had reached it, or its own program kept
    it. Empty when it can."""
    reasons = []
    for way, stream in found.summary.ways.items():
        if stream is None:
            continue
        own = [row for row in rows[way] if row.segment is segment_of(context, host)]
        reasons += lost_most(ledger.host_loss(own)[0], stream.count, stream.packets - stream.count, way)
    return reasons


def lost_most(lost: int, missing: int, arrived: int, way: Direction) -> list[str]:
    """The reason against a host that lost so many of what is missing; none where that is a trifle or a lesser part."""
    if lost <= (1 - LEAST_KEPT) * arrived or 2 * lost <= missing:
        return []
    return [f"it dropped {lost:,} of the {missing:,} packets that are missing ({way.value})"]
