"""The classes of service of a latency stream: they take turns in it, so that what differs between them is the network's
doing and not the hour's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfagent.schedule import turns
from perfharness.analysis.distribution import Excused
from perfharness.analysis.ledger import host_loss, who
from perfharness.analysis.turns import Turn
from perfharness.measurements import probe, probe_ledger
from perfharness.measurements.base import Context
from perfharness.model import Direction, LedgerRow, Scope, Task

Rows = Mapping[Direction, tuple[LedgerRow, ...]]


@dataclass(frozen=True, slots=True)
class OfClass:
    """One of them, or the whole stream where there is only one."""

    scope: Scope
    """Of its round trips."""
    dscp: int
    """As it was sent."""
    found: probe.Probe
    """Its own packets."""
    hosts: Mapping[Direction, tuple[int, int]]
    """The least and the most of its packets that were lost outside the circuit in each direction."""
    who: Mapping[Direction, str]
    """Where they were lost, in words."""
    late: float
    """The largest share of its round trips that the hosts can have delayed."""

    def excused(self, way: Direction) -> Excused:
        """What the hosts may have done to its packets in this direction."""
        return Excused(self.hosts[way][1], self.late)


def split(
    task: Task, context: Context, found: probe.Probe, counted: probe_ledger.Counters, rows: Rows
) -> tuple[OfClass, ...]:
    """Each class by itself; ``rows``: the ledger of them all. Raises EvidenceBroken."""
    args = next(job.args for job in task.jobs if job.id == probe.SENDER)
    dscps = args["dscp"] if isinstance(args["dscp"], list) else [int(args["dscp"])]
    every = args.get("every", [1] * len(dscps))
    hosts = {way: host_loss(booked) for way, booked in rows.items()}
    where = {way: who(booked) for way, booked in rows.items()}
    if len(dscps) == 1:
        return (OfClass(task.scope, dscps[0], found, hosts, where, counted.late),)
    classes = []
    for which, (dscp, service) in enumerate(zip(dscps, task.services, strict=True)):
        own = _own(found, which, every)
        scope = replace(task.scope, service=service, frame_bytes=probe.frame_bytes(own.packet_bytes))
        shares = {way: _share(context, scope, way, counted, found, own, whole) for way, whole in hosts.items()}
        classes.append(OfClass(scope, dscp, own, shares, where, counted.late))
    return tuple(classes)


def name_losses(events: Sequence[Mapping[str, Any]], classes: Sequence[OfClass]) -> list[dict[str, Any]]:
    """The loss events of the stream with ``classes``, the packets that each class with a name lost in them: events
    are so far apart that what was lost from the first moment of one to its last is of that one."""
    named = [each for each in classes if each.scope.service]
    if not named:
        return [dict(event) for event in events]
    return [
        {**event, "classes": {each.scope.service: lost for each in named if (lost := _lost_in(event, each))}}
        for event in events
    ]


def _lost_in(event: Mapping[str, Any], one: OfClass) -> int:
    lost = one.found.summary.departures[Direction(event["direction"])]
    if lost is None:  # a class of which nothing was sent
        return 0
    first, after = np.searchsorted(lost.t_ns, event["start_ns"]), np.searchsorted(lost.t_ns, event["end_ns"], "right")
    return int(after - first)


def _own(found: probe.Probe, which: int, every: Sequence[int]) -> probe.Probe:
    """The stream as if there were only the packets of this class."""
    again = found.sent["duplicates_by_class"][which]
    kinds = turns(every)
    pieces = replace(found.pieces, turn=Turn(which, kinds), result={**found.pieces.result, "duplicates": again})
    interval_ns = found.interval_ns * len(every) * every[which]
    sizes = tuple(size for at, size in enumerate(found.packet_bytes) if kinds[at % len(kinds)] == which)
    return replace(
        found,
        pieces=pieces,
        summary=probe.summary_of(pieces, interval_ns),
        sent=_marked(found.sent, which),
        reflected=_marked(found.reflected, which),
        interval_ns=interval_ns,
        packet_bytes=sizes or found.packet_bytes,
    )


def _marked(result: Mapping[str, Any], which: int) -> Mapping[str, Any]:
    """An end's result that tells how packets of this class were marked."""
    classes = result.get("tos_by_class") or ()
    return {**result, "tos_seen": classes[which] if which < len(classes) else {}}


def _share(
    context: Context,
    scope: Scope,
    way: Direction,
    counted: probe_ledger.Counters,
    every: probe.Probe,
    own: probe.Probe,
    whole: tuple[int, int],
) -> tuple[int, int]:
    """The least and the most of a class that the hosts lost, of what they lost of all classes.

    No counter knows classes. What it says is of this one only as far as the others lost too few for it, and at most
    what it rose by when this one lost packets.
    """
    lost, mine = (0 if (stream := each.summary.ways[way]) is None else stream.count for each in (every, own))
    most = min(whole[1], host_loss(probe_ledger.book(context, scope, way, counted, own)[0])[1])
    return min(most, max(0, whole[0] - (lost - mine))), most
