"""Packets that do not arrive, and that no host dropped: at the CE, or somewhere between the hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perfharness.judge.material import (
    MATERIAL,
    NOT_NARROWED,
    failed,
    losses_of,
    missing,
    of_ce,
    of_missing,
    other_classes,
    where,
)
from perfharness.model import Diagnosis, Finding, Measurement, Segment, Verdict

NOT_NARROWED_PAST_CE = "LAN and VPC router lie between the hosts too; this run did not measure them apart."
NOT_THE_HOSTS = "The hosts' own counters do not explain it."
NOT_THE_CE = "The counters of the hosts and of the CE do not explain it."


def ce_drop(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """The CE's counters of drops rose when packets were lost, and a finding is the worse for it."""
    because = tuple(
        f"{row.stage}: up to {row.packets_hi:,} packets{of_missing(row, losses)} ({row.counter})."
        for measurement in measurements
        for row in measurement.ledger
        if of_ce(row) and row.packets_hi > 0
        for losses in (losses_of(row, measurement, findings),)
        if any(loss.verdict is not Verdict.PASS for loss in losses)
        if row.packets_hi >= MATERIAL * missing(row, losses)
    )
    if because:
        yield Diagnosis(
            cause="ce-drop",
            certainty="likely",
            segment=Segment.CE,
            owner="own",
            because=because,
            against=("The CE's counters count all traffic that passes it, so that the drops may be of other packets.",),
            checklist=("EC-048",),
            next="Look at queue limits, rates and CPU of the CE; run the step again without other traffic on it.",
        )


def loss(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Packets are lost between the hosts without load."""
    idle = [finding for finding in failed(findings, "loss") if finding.scope.load == "idle"]
    directions = {finding.scope.direction for finding in idle}
    for finding in idle:
        read = any(of_ce(row) for item in measurements if item.task.id == finding.task for row in item.ledger)
        yield Diagnosis(
            cause="loss-one-way" if len(directions) == 1 else "unattributed-loss",
            certainty="proven",
            segment=Segment.BETWEEN,
            owner="carrier",
            because=(
                f"{where(finding)}: {finding.reason}",
                NOT_THE_CE if read else NOT_THE_HOSTS,
                *other_classes(finding, findings),
            ),
            against=(NOT_NARROWED_PAST_CE if read else NOT_NARROWED,),
            checklist=finding.checklist,
            next="Ask the carrier for the interface counters over the same window."
            if read
            else "Read the interface counters of the CE and ask the carrier for theirs over the same window.",
            findings=(finding.id,),
        )
