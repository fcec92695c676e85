"""One member of a link group is bad, or slower: some flows lose or wait, and others between the same hosts do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perfharness.judge.material import NOT_NARROWED, where
from perfharness.model import Diagnosis, Direction, Finding, Measurement, Segment, Verdict


def link_member(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Certain flows lose more, or come later, than others between the same hosts: those on one member of a group."""
    for finding in findings:
        if finding.metric != "flows" or finding.verdict not in (Verdict.FAIL, Verdict.WARN):
            continue
        facts = next((item.facts for item in measurements if item.task.id == finding.task), {})
        slow = finding.statistic == "slow_share"
        marked, others = _flows(facts, finding.scope.direction, "slow" if slow else "hit")
        if not marked:
            continue
        because = [f"{where(finding)}: {finding.reason}", _five_tuples(facts["ends"], marked, finding.scope.direction)]
        chance = facts["p_value"].get(where(finding))
        if not slow and chance is not None:
            because.append(f"The chance of this is at most 1 in {1 / chance:,.0f} if the path treats all flows alike.")
        against = [NOT_NARROWED]
        if slow:
            against.append("Members of different length are no fault by themselves.")
        if min(len(marked), others) < 2:
            against.append("A single flow may also be treated apart by a filter or a policer.")
        yield Diagnosis(
            cause="lag-member-bad",
            certainty="likely" if len(against) > 1 else "proven",
            segment=Segment.BETWEEN,
            owner="carrier",
            because=tuple(because),
            against=tuple(against),
            checklist=finding.checklist,
            next="Hand these addresses and ports to the carrier and ask which member of which link group they take, "
            "and for its counters; look at link groups of your own first.",
            findings=(finding.id,),
        )


def _flows(facts: Mapping[str, Any], way: Direction | None, mark: str) -> tuple[list[int], int]:
    """Source ports of the sweep's flows with this mark in this direction, and how many flows have it not."""
    flows = [flow for flow in facts.get("flows", ()) if way in flow]
    marked = [int(flow["source_port"]) for flow in flows if flow[way][mark]]
    return marked, len(flows) - len(marked)


def _five_tuples(ends: Mapping[str, Any], ports: Sequence[int], way: Direction | None) -> str:
    """What a carrier looks up: ``UDP from 10.0.0.1 ports 61000, 61004 to 10.1.0.1 port 862.``"""
    several = f"{ends['source']} port{'s' * (len(ports) > 1)} {', '.join(map(str, ports))}"
    one = f"{ends['target']} port {ends['port']}"
    return f"UDP from {one} to {several}." if way is Direction.Z_A else f"UDP from {several} to {one}."
