"""Others' traffic on the circuit (EC-049): a load that falls short beside it may have had its share all the same.

It is seen where the CE's counters are read; where they are not, nobody knows of any, and it excuses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from perfharness.judge.ceiling import offered_bps
from perfharness.model import Diagnosis, Finding, Fitness, Measurement, Observation, Segment, Verdict
from perfharness.order.units import rate_text

RATES = ("throughput.udp", "capacity.sustained", "policing.rate")
"""What must be carried, of which others may have had a part."""


def busy(seen: Observation | Finding, required: object, measurement: Measurement) -> Iterator[Fitness]:
    """That others may have had what a paced load lacks; nothing where they had less than that."""
    way = str(seen.scope.direction)
    others = measurement.facts.get("others", {}).get(way, 0.0)
    offered, interval = offered_bps(seen.scope, measurement), seen.interval
    if not offered or interval is None or not isinstance(required, int | float) or others <= 0:
        return
    # What was let through beyond a limit is no shortfall.
    lacking = interval.hi < required <= interval.hi + others
    may_be = {**dict.fromkeys(RATES, lacking), "loss": interval.lo <= others / offered}
    if may_be.get(seen.metric, False):
        host = measurement.task.scope.pairs[0][0 if way == "a-z" else 1]
        said = f"others sent {rate_text(others)} {way} over the circuit meanwhile, as the CE counted"
        yield Fitness(host, measurement.task.id, False, (said,), metrics=tuple(may_be))


def background_traffic(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """A row of a load stays open for others' traffic beside it."""
    because: dict[str, None] = {}
    rows: list[str] = []
    for item in measurements:
        for finding in findings:
            if finding.task == item.task.id and finding.verdict is Verdict.INCONCLUSIVE and finding.operator:
                for told in busy(finding, finding.threshold, item):
                    because[f"{item.task.id}: {told.reasons[0]}."] = None
                    rows += finding.checklist
    if because:
        yield Diagnosis(
            cause="background-traffic",
            certainty="likely",
            segment=Segment.BETWEEN,
            owner="own",
            because=tuple(because),
            against=(
                "Traffic of the on-prem host that does not cross the circuit would hide some of theirs.",
                "What the CE or the LAN lost of ours on its way to the on-prem host would look like theirs.",
            ),
            checklist=("EC-049", *dict.fromkeys(rows)),
            next="Run the step again when the circuit is quiet.",
        )
