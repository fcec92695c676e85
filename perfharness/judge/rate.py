"""Less than the committed rate is carried although the hosts sent it: is it a policer or a shaper?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from perfharness.judge.ceiling import proven
from perfharness.judge.material import NOT_NARROWED, failed, where
from perfharness.model import Diagnosis, Finding, Measurement, Segment

SHAPER_QUEUE_NS = 5_000_000
"""A shaper delays before it drops: at least this much more RTT under an overload than when idle."""
UNSEEN_LIMIT = (
    "An instance's limit drops without a counter in it, and no bracket run of this run shows that both hosts can do "
    "what was asked of them."
)
LOST_IDLE = "Packets are lost in this direction without a load as well: that may be all that is missing."
ASK_FOR_RATE = "Ask the carrier and the cloud for the rate set on the port and on the VBR."


def below_order(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Less than the committed rate arrives although the hosts sent it and dropped nothing."""
    lossy = {loss.scope.direction for loss in failed(findings, "loss") if loss.scope.load == "idle"}
    for finding in failed(findings, "throughput.udp"):
        if finding.operator == "<=" and _exceeds(finding):
            continue  # a policer that lets too much through
        rise = _delay_rise(findings, finding)
        if rise is None:
            cause, because = (
                "policed-below-order",
                "There is no delay figure under load to tell a policer from a shaper.",
            )
            certainty = "possible"
        elif rise >= SHAPER_QUEUE_NS:
            cause, certainty = "shaped-below-order", "likely"
            because = f"The median RTT rises by {rise / 1e6:.1f} ms under the load: packets queue before they are lost."
        else:
            cause, certainty = "policed-below-order", "likely"
            because = (
                f"The median RTT rises by only {rise / 1e6:.1f} ms under the load: packets are lost without a queue."
            )
        also = (LOST_IDLE,) if finding.scope.direction in lossy and cause != "shaped-below-order" else ()
        yield Diagnosis(
            cause=cause,
            certainty="possible" if also else certainty,
            segment=Segment.BETWEEN,
            owner="carrier",
            because=(f"{where(finding)}: {finding.reason}", because),
            against=(NOT_NARROWED, *also, *(() if _can(finding, measurements) else (UNSEEN_LIMIT,))),
            checklist=finding.checklist,
            next=ASK_FOR_RATE,
            findings=(finding.id,),
        )


def metered_below_order(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """An overload was cut to less than the committed rate, and the meter's own behaviour tells what it is."""
    for finding in failed(findings, "capacity.sustained"):
        way = str(finding.scope.direction)
        facts = {item.task.id: item.facts.get("capacity", {}).get(way, {}) for item in measurements}[finding.task]
        meters = [
            item.facts["policing"][way]
            for item in measurements
            if item.task.scope.pair == finding.scope.pair and way in item.facts.get("policing", {})
        ]
        how = next((meter["kind"] for meter in meters if meter["kind"]), facts.get("limited_by", {}).get("how"))
        yield Diagnosis(
            cause="shaped-below-order" if how == "shaper" else "policed-below-order",
            certainty="likely" if how else "possible",
            segment=Segment.BETWEEN,
            owner="carrier",
            because=(
                f"{where(finding)}: {finding.reason}",
                *(f"It {meter['sentence']}." for meter in meters if meter["sentence"]),
            ),
            against=(NOT_NARROWED, *(() if _can(finding, measurements) else (UNSEEN_LIMIT,))),
            checklist=finding.checklist,
            next=ASK_FOR_RATE,
            findings=(finding.id,),
        )


def _can(finding: Finding, measurements: Sequence[Measurement]) -> bool:
    """Both ends are proven to do by themselves what this load asked of them."""
    item = next((item for item in measurements if item.task.id == finding.task), None)
    return item is not None and proven(finding, item, measurements)


def _delay_rise(findings: Sequence[Finding], of: Finding) -> float | None:
    """Median RTT beside this load less the idle median of the same pair, ns; of several pairs, of the longest. None
    where one of them is not known."""

    def median(metric: str, beside: tuple[str, str] | None) -> float | None:
        values = [
            finding.value
            for finding in findings
            if finding.metric == metric
            and finding.statistic == "p50"
            and set(finding.scope.pairs) <= set(of.scope.pairs)
            and beside in (None, (finding.task, finding.scope.load))
        ]
        # Where half of the probes are lost their median tells of no queue.
        known = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
        return max(known) if known and len(of.scope.pairs) > 1 else next(iter(known), None)

    loaded, idle = median("delay.loaded", (of.task, of.scope.load)), median("delay.rtt", None)
    return None if loaded is None or idle is None else loaded - idle


def _exceeds(finding: Finding) -> bool:
    value, limit = finding.value, finding.threshold
    return isinstance(value, int | float) and isinstance(limit, int | float) and value > limit
