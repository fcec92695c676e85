"""TCP fell short of a recommendation: what limited it becomes a cause, and whose it is. It never fails a circuit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from perfharness.analysis import limits
from perfharness.model import Diagnosis, Finding, Measurement, Segment, Verdict

_CONTRACT = ("throughput.udp", "capacity.sustained")
"""What tells whether the ordered rate is there, by packets that are sent evenly."""
RAISE = "Raise net.core.rmem_max and wmem_max and the last number of net.ipv4.tcp_rmem and tcp_wmem on both hosts, or "
RAISE += "let the test do it with `tune: {socket_buffers: 64MiB}` in the circuit file."


class _Cause(NamedTuple):
    name: str
    owner: str
    next: str


_CAUSES = {
    limits.POLICER: _Cause(
        "policer-burst-too-small",
        "carrier",
        "Ask the carrier and the cloud for the burst size (CBS) of the policer at the ordered rate, or for a shaper.",
    ),
    limits.WINDOW: _Cause("tcp-window-too-small", "own", RAISE),
    limits.SENDER_CPU: _Cause("host-cpu", "own", "Use a host with more CPU, or free this one, and run the step again."),
    limits.RECEIVER_CPU: _Cause(
        "host-cpu", "own", "Use a host with more CPU, or free this one, and run the step again."
    ),
    limits.INSTANCE: _Cause("ecs-instance-limit", "own", "Choose a larger instance type, and run the step again."),
}
"""What a limit is called as a cause; others explain a figure and need nobody to act."""


def tcp_short(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """TCP is below what was recommended, and something is known to have limited it."""
    for finding in findings:
        if finding.metric != "throughput.tcp" or finding.verdict is not Verdict.WARN:
            continue
        facts = next((item.facts for item in measurements if item.task.id == finding.task), {})
        for told in facts.get("limited_by", ()):
            cause = _CAUSES.get(told["limit"]) if told["way"] == finding.scope.direction else None
            if cause is not None and (told["limit"] != limits.POLICER or _paced_passes(finding, findings)):
                yield _diagnosis(finding, told, cause)


def _diagnosis(finding: Finding, told: Mapping[str, Any], cause: _Cause) -> Diagnosis:
    because = [f"{finding.scope.direction}: {finding.reason}", *told["reasons"]]
    if told["limit"] == limits.POLICER:
        because.append("Evenly sent UDP passes at the ordered rate in the same direction.")
    return Diagnosis(
        cause=cause.name,
        certainty="likely",
        segment=_segment(finding, told),
        owner=cause.owner,
        because=tuple(because),
        against=("TCP is no part of the order: the circuit does not fail for it.",),
        checklist=finding.checklist,
        next=cause.next,
        findings=(finding.id,),
    )


def _paced_passes(finding: Finding, findings: Sequence[Finding]) -> bool:
    """The contract is kept in this direction: so it is not the rate that is missing."""
    there = (finding.scope.pair, finding.scope.direction)
    judged = {
        other.verdict
        for other in findings
        if other.metric in _CONTRACT and (other.scope.pair, other.scope.direction) == there and other.operator
    }
    return Verdict.PASS in judged and Verdict.FAIL not in judged


def _segment(finding: Finding, told: Mapping[str, Any]) -> Segment:
    """The host that the limit is at, the path, or both hosts."""
    a_sends = finding.scope.direction != "z-a"
    if told["limit"] == limits.SENDER_CPU:
        return Segment.HOST_A if a_sends else Segment.HOST_Z
    if told["limit"] == limits.RECEIVER_CPU:
        return Segment.HOST_Z if a_sends else Segment.HOST_A
    if told["limit"] == limits.INSTANCE:
        said = " ".join(told["reasons"]).split()
        return Segment.HOST_A if any(a in said for a, _ in finding.scope.pairs) else Segment.HOST_Z
    if told["limit"] == limits.WINDOW:
        return Segment.HOST_Z if a_sends else Segment.HOST_A
    return Segment.BETWEEN
