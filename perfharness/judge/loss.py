"""Packets that do not arrive, and that no host dropped: in the LAN, at the CE, or somewhere between the hosts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from perfharness.analysis.ledger import DAMAGED, LAN
from perfharness.analysis.statistics import clopper_pearson
from perfharness.judge.material import (
    MATERIAL,
    NOT_NARROWED,
    failed,
    harm,
    ids,
    losses_of,
    missing,
    of_ce,
    of_missing,
    other_classes,
    where,
)
from perfharness.model import Diagnosis, Direction, Finding, Measurement, Segment, Verdict

NOT_NARROWED_PAST_CE = "LAN and VPC router lie between the hosts too; this run did not measure them apart."
NOT_NARROWED_PAST_LAN = "The VPC router lies on this part of the way too; this run did not measure it apart."
NOT_THE_HOSTS = "The hosts' own counters do not explain it."
NOT_THE_CE = "The counters of the hosts and of the CE do not explain it."
APART = 0.2
"""How far the chance that a loss is followed by another must be above the chance of any loss, for bursts."""
MOST_DAMAGED = 0.5
"""Share of the missing packets that arrived damaged, from which on that is what happens to them."""
OPPOSITE: Mapping[Direction | None, Direction] = {Direction.A_Z: Direction.Z_A, Direction.Z_A: Direction.A_Z}


def ce_drop(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """The CE's counters of drops rose when packets were lost, and a finding is the worse for it."""
    found = [
        (row, losses)
        for measurement in measurements
        for row in measurement.ledger
        if of_ce(row) and row.packets_hi > 0
        for losses in (losses_of(row, measurement, findings),)
        if any(loss.verdict is not Verdict.PASS for loss in losses)
        if row.packets_hi >= MATERIAL * missing(row, losses)
    ]
    if found:
        yield Diagnosis(
            cause="ce-drop",
            certainty="likely",
            segment=Segment.CE,
            owner="own",
            because=tuple(
                f"{row.stage}: up to {row.packets_hi:,} packets{of_missing(row, losses)} ({row.counter})."
                for row, losses in found
            ),
            against=("The CE's counters count all traffic that passes it, so that the drops may be of other packets.",),
            checklist=("EC-048",),
            next="Look at queue limits, rates and CPU of the CE; run the step again without other traffic on it.",
            findings=ids(loss for _, losses in found for loss in losses if loss.verdict is not Verdict.PASS),
        )


def lan_loss(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Packets were lost on the customer's side of the CE, by what its port towards the circuit counted."""
    found = harm(findings, measurements, lambda row: row.stage == LAN)
    if found:
        yield Diagnosis(
            cause="lan-loss",
            certainty="likely",
            segment=Segment.LAN,
            owner="own",
            because=(
                *(
                    f"{row.scope.direction}: {row.packets_lo:,} packets{of_missing(row, losses)} ({row.counter})."
                    for row, losses, _ in found
                ),
                "Neither the host nor the CE counted a drop.",
            ),
            against=("A router tells of its drops what its counters say; one that hides some would look the same.",),
            checklist=tuple(dict.fromkeys(row for each in found for loss in each.losses for row in loss.checklist)),
            next="Read the counters of the switches and routers between the on-prem host and the CE.",
            findings=ids(finding for each in found for finding in each.worse),
        )


def loss(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Packets are lost between the hosts without load: one way only, damaged, one by one or in a row."""
    idle = [finding for finding in findings if finding.metric == "loss" and finding.scope.load == "idle"]
    for finding in failed(idle, "loss"):
        item = next((item for item in measurements if item.task.id == finding.task), None)
        seen = list(_kinds(finding, item))
        if _one_way(finding, idle):
            yield _lost("loss-one-way", "proven", finding, findings, item)
        elif not seen:
            yield _lost("unattributed-loss", "proven", finding, findings, item)
        for cause, said in seen:
            yield _lost(cause, "likely", finding, findings, item, said)


def _one_way(finding: Finding, idle: Sequence[Finding]) -> bool:
    """The same stream is shown to be well the other way, and no other one failed there: what was not measured, or is
    undecided, may lose as much."""
    way, pair = finding.scope.direction, finding.scope.pair
    back = [each for each in idle if each.scope.pair == pair and OPPOSITE.get(each.scope.direction) is way]
    stream = finding.task, finding.scope.service
    same = [each for each in back if (each.task, each.scope.service) == stream]
    well = any(each.verdict is Verdict.PASS or _loses_less(each, finding) for each in same)
    return well and not any(each.verdict is Verdict.FAIL for each in back)


def _loses_less(one: Finding, other: Finding) -> bool:
    """For certain, whatever was required of it."""
    return one.interval is not None and other.interval is not None and one.interval.hi < other.interval.lo


def _lost(
    cause: str, certainty: str, finding: Finding, findings: Sequence[Finding], item: Measurement | None, *said: str
) -> Diagnosis:
    read = item is not None and any(of_ce(row) for row in item.ledger)
    past = _past_the_ce(finding, item)
    return Diagnosis(
        cause=cause,
        certainty=certainty,
        segment=Segment.BETWEEN,
        owner="carrier" if past else "unknown",
        because=(
            f"{where(finding)}: {finding.reason}",
            *said,
            *([past] if past else []),
            NOT_THE_CE if read else NOT_THE_HOSTS,
            *other_classes(finding, findings),
        ),
        against=(NOT_NARROWED_PAST_LAN if past else NOT_NARROWED_PAST_CE if read else NOT_NARROWED,),
        checklist=finding.checklist,
        next="Ask the carrier for the interface counters over the same window."
        if read
        else "Read the interface counters of the CE and ask the carrier for theirs over the same window.",
        findings=(finding.id,),
    )


def _kinds(finding: Finding, item: Measurement | None) -> Iterator[tuple[str, str]]:
    """What the missing packets themselves tell: cause, and why."""
    if item is None or not isinstance(finding.value, int | float):
        return
    lost = finding.value * finding.n
    damaged = sum(
        row.packets_hi for row in item.ledger if row.stage == DAMAGED and row.scope.direction == finding.scope.direction
    )
    if lost and damaged >= MOST_DAMAGED * lost:
        yield "corruption", f"{damaged:,} packets came with a wrong checksum while these went missing."
        return
    facts = item.facts.get("classes", {}).get(finding.scope.service, item.facts)
    runs = facts.get("loss_runs", {}).get(str(finding.scope.direction))
    if runs and runs["lost"] < runs["packets"]:
        yield from _pattern(runs)


def _pattern(runs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """One by one, where a loss makes the next one no likelier; in a row, where it clearly does; else neither is said.

    That a packet follows a lost one and is lost itself was seen ``lost - periods`` times of ``lost``.
    """
    ratio, followed = runs["lost"] / runs["packets"], 1 - runs["periods"] / runs["lost"]
    least, most = clopper_pearson(followed, runs["lost"])
    mean = runs["lost"] / runs["periods"]
    if least > ratio + APART:
        yield (
            "circuit-loss-burst",
            f"They went missing {mean:.1f} in a row on average, up to {runs['longest']:,}; by chance it would be "
            f"{runs['chance_length']:.1f}.",
        )
    elif least <= ratio and most < ratio + APART:
        yield "circuit-loss-random", f"They went missing one by one: {mean:.1f} in a row on average, as chance has it."


def _past_the_ce(finding: Finding, item: Measurement | None) -> str:
    """That the CE's port towards the circuit saw those packets leave which never arrived, or did not see them come."""
    told = (item.facts.get("ce") or {}).get(str(finding.scope.direction)) if item is not None else None
    if not told:
        return ""
    unseen, some = told["packets"] - told["crossed"], MATERIAL * told["missing"]
    said = f"{told['interface']} counted {told['crossed']:,} of {told['packets']:,} packets"
    if finding.scope.direction is Direction.A_Z and unseen <= some:
        return f"{said}: the others left the site."
    if finding.scope.direction is Direction.Z_A and unseen >= told["missing"] - some:
        return f"{said}: the others never reached the site."
    return ""
