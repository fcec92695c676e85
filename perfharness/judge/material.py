"""What rules of diagnosis share: which findings failed, and where; is what one stage of the ledger dropped material
beside all that is missing in its direction?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from perfharness.model import Direction, Finding, Fitness, LedgerRow, Measurement, Segment, Verdict

MATERIAL = 0.1
"""Share of the missing packets below which a host's drops are a matter for the ledger, and no cause of anything."""
NOT_NARROWED = "LAN, CE and VPC router lie between the hosts too; this run did not measure them apart."
OF_CE = "CE "
"""How the stages begin that the CE's counters tell of."""


def judged_with(row: LedgerRow, measurement: Measurement, findings: Sequence[Finding]) -> list[Finding]:
    """The findings of the same task on which packets lost here tell: of their direction, or of the round trip; in a
    task of several loads those under the same one."""
    ways = (row.scope.direction, Direction.ROUND_TRIP)
    same = (finding for finding in findings if finding.task == measurement.task.id)
    loads = (row.scope.load,) if measurement.task.loads else None
    return [each for each in same if each.scope.direction in ways and (loads is None or each.scope.load in loads)]


def losses_of(row: LedgerRow, measurement: Measurement, findings: Sequence[Finding]) -> list[Finding]:
    """What is said of the loss in this row's direction, once for each class of service; empty if not measured."""
    said: dict[str, Finding] = {}
    for finding in judged_with(row, measurement, findings):
        if finding.metric == "loss" and finding.value is not None and finding.scope.direction == row.scope.direction:
            said.setdefault(finding.scope.service, finding)
    return list(said.values())


def missing(row: LedgerRow, losses: Sequence[Finding]) -> float:
    """Packets that did not arrive: those that the host certainly dropped and those that the findings leave."""
    return row.packets_lo + sum(loss.value * loss.n for loss in losses if isinstance(loss.value, int | float))


def of_missing(row: LedgerRow, losses: Sequence[Finding]) -> str:
    return f" of {missing(row, losses):,.0f} that were missing" if losses else ""


def matters(row: LedgerRow, losses: Sequence[Finding], judged: Sequence[Finding]) -> bool:
    """A material part of what is missing, and more than the criterion allows or beside a finding that did not pass."""
    if losses and row.packets_lo < MATERIAL * missing(row, losses):
        return False
    allowed = [loss.threshold * loss.n for loss in losses if isinstance(loss.threshold, int | float)]
    alone = bool(allowed) and row.packets_lo > sum(allowed)
    return alone or bool(not_passed(judged))


def not_passed(judged: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in judged if finding.verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE)]


class Harm(NamedTuple):
    """What one stage of the ledger lost that matters."""

    row: LedgerRow
    losses: list[Finding]
    worse: list[Finding]
    """The findings that are the worse for it, else those that tell how much was lost."""


def harm(
    findings: Sequence[Finding], measurements: Sequence[Measurement], of: Callable[[LedgerRow], bool]
) -> list[Harm]:
    """Of the stages that ``of`` takes."""
    found = []
    for measurement in measurements:
        for row in filter(of, measurement.ledger):
            losses, judged = losses_of(row, measurement, findings), judged_with(row, measurement, findings)
            if matters(row, losses, judged):
                found.append(Harm(row, losses, not_passed(judged) or losses))
    return found


def left_open(by: Fitness, findings: Sequence[Finding]) -> list[Finding]:
    """What could not be decided since this host could not measure it."""
    same = (each for each in findings if each.task == by.measurement and by.concerns(each.metric))
    return [each for each in same if each.verdict is Verdict.INCONCLUSIVE]


def ids(findings: Iterable[Finding]) -> tuple[str, ...]:
    """What a diagnosis names, each once."""
    return tuple(dict.fromkeys(finding.id for finding in findings))


def of_ce(row: LedgerRow) -> bool:
    """By the CE's counters; a router's own reflector may stand in its place, but nobody reads its counters."""
    return row.segment is Segment.CE and row.stage.startswith(OF_CE)


def where(finding: Finding) -> str:
    """The direction of which it speaks, or the pair; the class of service, and the family where it is not IPv4."""
    direction, service = finding.scope.direction, finding.scope.service
    way = direction.value if isinstance(direction, Direction) else finding.scope.pair
    family = "" if finding.scope.family == "ipv4" else f", {finding.scope.family.replace('ipv', 'IPv')}"
    return (f"{way}, class {service}" if service else way) + family


def failed(findings: Sequence[Finding], metric: str) -> list[Finding]:
    return [finding for finding in findings if finding.metric == metric and finding.verdict is Verdict.FAIL]


def segment_of(measurement: Measurement, host: str) -> Segment:
    return Segment.HOST_A if host in {a for a, _ in measurement.task.scope.pairs} else Segment.HOST_Z


def other_classes(of: Finding, findings: Sequence[Finding]) -> tuple[str, ...]:
    """What the same criterion says of the classes that were sent at the same time."""
    same = [
        finding.scope.service
        for finding in findings
        if (finding.task, finding.metric, finding.statistic, finding.scope.direction)
        == (of.task, of.metric, of.statistic, of.scope.direction)
        and finding.scope.service != of.scope.service
        and finding.verdict is Verdict.PASS
    ]
    if not same:
        return ()
    said = f"At the same time nothing of the kind befell {', '.join(same)}: ask how class {of.scope.service} is "
    return (said + "queued and policed.",)
