"""TCP fell short of a recommendation: what limited it becomes a cause, and whose it is. It never fails a circuit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from perfharness.analysis import limits
from perfharness.model import Diagnosis, Finding, Measurement, Segment, Verdict
from perfharness.order.units import ratio_text

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
    limits.NIC: _Cause(
        "host-nic-limit", "own", "Use a faster interface, or lift the limit that its queue is set to, and run it again."
    ),
    limits.INSTANCE: _Cause("ecs-instance-limit", "own", "Choose a larger instance type, and run the step again."),
}
"""What a limit is called as a cause; others explain a figure and need nobody to act."""


def tcp_short(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """TCP is below what was recommended, or seems to be, and something is known to have limited it."""
    for finding in findings:
        if finding.metric != "throughput.tcp" or not (finding.verdict is Verdict.WARN or _seems_short(finding)):
            continue
        item = next((item for item in measurements if item.task.id == finding.task), None)
        # RFC 6349's own paced load was compared already.
        paced = 0.0 if item is None or item.task.measurement == "rfc6349" else _lost_paced(finding, findings)
        for told in item.facts.get("limited_by", ()) if item is not None else ():
            cause = _CAUSES.get(told["limit"]) if told["way"] == finding.scope.direction else None
            if cause is not None and (told["limit"] != limits.POLICER or _paced_passes(finding, findings)):
                yield _diagnosis(finding, told, cause, paced)


def _diagnosis(finding: Finding, told: Mapping[str, Any], cause: _Cause, paced: float) -> Diagnosis:
    """``paced``: the share that is lost of packets that are sent evenly."""
    because = [f"{finding.scope.direction}: {finding.reason}", *told["reasons"]]
    against = ["TCP is no part of the order: the circuit does not fail for it."]
    policer = told["limit"] == limits.POLICER
    if policer:
        because.append("Evenly sent UDP passes at the ordered rate in the same direction.")
    undecided = finding.verdict is Verdict.INCONCLUSIVE
    if undecided:
        against.append("It is not certain that TCP falls short: its interval holds what was recommended.")
    doubtful = policer and paced >= limits.RESENT
    if doubtful:
        against.append(
            f"Evenly sent packets are lost too, {ratio_text(paced)} of them: that may be all that slows TCP."
        )
    return Diagnosis(
        cause=cause.name,
        certainty="possible" if doubtful or undecided else "likely",
        segment=_segment(finding, told),
        owner=cause.owner,
        because=tuple(because),
        against=tuple(against),
        checklist=finding.checklist,
        next=cause.next,
        findings=(finding.id,),
    )


def _seems_short(finding: Finding) -> bool:
    """Undecided, with a mean below what was recommended."""
    value, asked = finding.value, finding.threshold
    if not (isinstance(value, int | float) and isinstance(asked, int | float)):
        return False
    return finding.verdict is Verdict.INCONCLUSIVE and value < asked


def _paced_passes(finding: Finding, findings: Sequence[Finding]) -> bool:
    """The contract is kept in this direction: so it is not the rate that is missing."""
    there = (finding.scope.pair, finding.scope.direction)
    judged = {
        other.verdict
        for other in findings
        if other.metric in _CONTRACT and (other.scope.pair, other.scope.direction) == there and other.operator
    }
    return Verdict.PASS in judged and Verdict.FAIL not in judged


def _lost_paced(finding: Finding, findings: Sequence[Finding]) -> float:
    """The largest share of evenly sent packets that went missing in this direction, with a load or without."""
    there = (finding.scope.pair, finding.scope.direction)
    losses = [each for each in findings if each.metric == "loss"]
    same = (each.value for each in losses if (each.scope.pair, each.scope.direction) == there)
    return max((value for value in same if isinstance(value, int | float)), default=0.0)


def _segment(finding: Finding, told: Mapping[str, Any]) -> Segment:
    """The host that the limit is at, the path, or both hosts."""
    a_sends = finding.scope.direction != "z-a"
    if told["limit"] == limits.SENDER_CPU:
        return Segment.HOST_A if a_sends else Segment.HOST_Z
    if told["limit"] == limits.RECEIVER_CPU:
        return Segment.HOST_Z if a_sends else Segment.HOST_A
    if told["limit"] in (limits.INSTANCE, limits.NIC):
        said = " ".join(told["reasons"]).split()
        return Segment.HOST_A if any(a in said for a, _ in finding.scope.pairs) else Segment.HOST_Z
    if told["limit"] == limits.WINDOW:
        return Segment.HOST_Z if a_sends else Segment.HOST_A
    return Segment.BETWEEN
