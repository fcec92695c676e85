"""Packets that arrive, but too late, at uneven times, out of order or twice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from perfharness.judge.material import NOT_NARROWED, failed, other_classes, where
from perfharness.model import Diagnosis, Finding, Measurement, Segment, Verdict

ROUTE = "Compare the hops both ways with the ordered route and ask the carrier for the path in use."
COUNTERS = "Ask the carrier for the interface counters over the same window, and judge the loss of this step as well."
OF_THOSE_THAT_CAME = "A lost packet is late for ever: that those which arrived were late is not said by this."
SEVERAL_WAYS = (
    "Ask the carrier whether packets of one flow take several ways or are sent twice for protection; look at link "
    "groups of your own first."
)
CAUSES = {
    "delay.rtt": "delay-above-objective",
    "delay.oneway": "delay-above-objective",
    "variation.pdv": "jitter-above-objective",
    "variation.ipdv": "jitter-above-objective",
}


def above_objective(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Packets that arrive take longer, or vary more, than was ordered; or so many are lost that there is no delay."""
    lossy = {loss.task for loss in failed(findings, "loss")}
    for cause, finding in ((cause, each) for metric, cause in CAUSES.items() for each in failed(findings, metric)):
        if finding.value == math.inf and finding.task in lossy:
            continue  # the packets that were lost are late for ever: the loss has its own cause
        if finding.value == math.inf and (finding.interval is None or finding.interval.lo == math.inf):
            yield _between("unattributed-loss", finding, findings, COUNTERS, OF_THOSE_THAT_CAME)
        else:
            yield _between(cause, finding, findings, ROUTE)


def out_of_order(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Packets change places on the way, or come twice."""
    for finding in findings:
        if finding.metric in ("reordering", "duplication") and finding.verdict in (Verdict.FAIL, Verdict.WARN):
            yield _between(finding.metric, finding, findings, SEVERAL_WAYS)


def _between(cause: str, finding: Finding, findings: Sequence[Finding], remedy: str, *against: str) -> Diagnosis:
    """It is what was seen itself, somewhere between the hosts."""
    return Diagnosis(
        cause=cause,
        certainty="proven",
        segment=Segment.BETWEEN,
        owner="unknown",
        because=(f"{where(finding)}: {finding.reason}", *other_classes(finding, findings)),
        against=(NOT_NARROWED, *against),
        checklist=finding.checklist,
        next=remedy,
        findings=(finding.id,),
    )
