"""What the hosts can do by themselves, and whether that is why a load fell short.

A cloud instance's limits on packets and bits drop without any counter in the guest: only a run that does not touch
the circuit shows them. Such a bracket run excuses a shortfall where it shows that a host of the load cannot do what was
asked of it. What is not known excuses nothing and proves nothing, and what the load itself carried through a host
disproves a bracket run that showed less: its other end was the limit there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfharness.judge.material import ids
from perfharness.model import Diagnosis, Direction, Finding, Fitness, Measurement, Observation, Scope, Segment, Verdict
from perfharness.order.units import rate_text

EXCUSED = ("throughput.udp", "loss", "capacity.sustained")
"""What a host's limit spoils: a paced load that it did not send, or did not take."""
DISPROVED = 1.05
"""Who carried so many times the most of a bracket run can do more than it showed; nearer, both met the same limit."""


@dataclass(frozen=True, slots=True)
class Known:
    """What one host is known to send, or to take, by itself; bit/s at the ordered layer."""

    least_bps: float
    most_bps: float
    bracket: str
    """Against whom it came to its most."""


def ceiling(host: str, way: Direction | None, run: Sequence[Measurement]) -> Known | None:
    """What UDP this host can carry in its part of this direction of the circuit; None where nobody tried.

    Against several neighbours the best counts: the others were the neighbour's limit. A loopback never left the host.
    """
    seen = [
        (row.interval, row.scope.bracket)
        for item in run
        if item.task.measurement == "ceiling"
        for row in item.observations
        if (row.statistic, row.scope.host, row.scope.direction) == ("udp", host, way)
        if row.interval is not None and row.scope.bracket != host
    ]
    if not seen:
        return None
    most, bracket = max((interval.hi, bracket) for interval, bracket in seen)
    return Known(max(interval.lo for interval, _ in seen), most, bracket)


def asked_bps(host: str, scope: Scope, load_bps: float) -> float:
    """Of a load that the pairs share evenly, what one host has to send or to take; bit/s at the ordered layer."""
    return load_bps * sum(host in pair for pair in scope.pairs) / len(scope.pairs)


def needed_bps(seen: Observation | Finding, required: object, measurement: Measurement) -> float | None:
    """What this figure of a paced load asked of the hosts in its direction; bit/s at the ordered layer. None of others.

    A search offers whatever it can: of it no more is asked than is required. The services of one step share its hosts.
    """
    if seen.metric == "capacity.sustained":
        return float(required) if isinstance(required, int | float) else None
    return offered_bps(seen.scope, measurement) if seen.metric in EXCUSED else None


def offered_bps(scope: Scope, measurement: Measurement) -> float | None:
    """The paced load under which a figure was taken, in its direction; bit/s at the ordered layer. None without one."""
    if scope.load.startswith("udp"):
        return float(measurement.task.load_bps)
    both = scope.direction is Direction.ROUND_TRIP
    told = [each for each in measurement.facts.get("steps", ()) if each["load"] == scope.load]
    ways = {each["direction"] for each in told if both or each["direction"] == scope.direction}
    return max((sum(each["intended_bps"] for each in told if each["direction"] == way) for way in ways), default=None)


def carried_bps(host: str, seen: Observation | Finding, needed: float, measurement: Measurement) -> float:
    """What at least this host sent or took of the load under which a figure was taken; bit/s at the ordered layer.

    The services of one load add up. Of several pairs the others may have carried all that was asked of them.
    """
    rates = ("capacity.sustained",) if seen.metric == "capacity.sustained" else ("throughput.udp",)
    scope, task = seen.scope, measurement.task.scope
    arrived = sum(
        row.interval.lo
        for row in measurement.observations
        if (row.scope.direction, row.scope.load, row.scope.pairs) == (scope.direction, scope.load, scope.pairs)
        if row.metric in rates and row.interval is not None
    )
    return arrived - (needed - asked_bps(host, task, needed))


def limited(
    seen: Observation | Finding, required: object, measurement: Measurement, run: Sequence[Measurement]
) -> tuple[Fitness, ...]:
    """The hosts of a paced load that cannot do what was asked of them in this direction, and who says so."""
    task, way = measurement.task, seen.scope.direction
    needed = needed_bps(seen, required, measurement)
    if needed is None:
        return ()
    found = []
    for host in dict.fromkeys(name for pair in task.scope.pairs for name in pair):
        known, asked = ceiling(host, way, run), asked_bps(host, task.scope, needed)
        if known is None or carried_bps(host, seen, needed, measurement) > DISPROVED * known.most_bps:
            continue
        if known.most_bps < asked:
            said = f"a bracket run against {known.bracket} shows that it does no more than {rate_text(known.most_bps)} "
            said += f"without the circuit, of {rate_text(round(asked))} that were asked of it"
            found.append(Fitness(host, task.id, False, (said,), metrics=EXCUSED))
    return tuple(found)


def proven(finding: Finding, measurement: Measurement, run: Sequence[Measurement]) -> bool:
    """Every host of the load is shown to do by itself what was asked of it in this direction."""
    scope, needed = measurement.task.scope, needed_bps(finding, finding.threshold, measurement)
    known = {host: ceiling(host, finding.scope.direction, run) for pair in scope.pairs for host in pair}
    return needed is not None and all(
        each is not None and each.least_bps >= asked_bps(host, scope, needed) for host, each in known.items()
    )


def host_limit(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterator[Diagnosis]:
    """A row of a load stays open since one of its hosts cannot do as much by itself."""
    because: dict[str, dict[str, None]] = {}
    spoiled: dict[str, list[Finding]] = {}
    for item in measurements:
        for finding in findings:
            if finding.task == item.task.id and finding.verdict is Verdict.INCONCLUSIVE and finding.operator:
                for told in limited(finding, finding.threshold, item, measurements):
                    said = f"{finding.scope.direction}, {item.task.id}: {told.reasons[0]}."
                    because.setdefault(told.host, {})[said] = None
                    spoiled.setdefault(told.host, []).append(finding)
    clouds = {z for item in measurements for _, z in item.task.scope.pairs}
    for host, reasons in because.items():
        cloud = host in clouds
        yield Diagnosis(
            cause="ecs-instance-limit" if cloud else "host-cpu",
            certainty="likely",
            segment=Segment.HOST_Z if cloud else Segment.HOST_A,
            owner="cloud" if cloud else "own",
            because=tuple(f"{host}: {said}" for said in reasons),
            against=("The other end of the bracket run may be the limit there.",),
            checklist=("EC-033",),
            next="Use a larger instance or several of them (`pairs: together`), and run both steps again."
            if cloud
            else "Use a host that can do more, or several of them (`pairs: together`), and run both steps again.",
            findings=ids(spoiled[host]),
        )
