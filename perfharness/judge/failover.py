"""Failover or failback takes too long: which timer would explain it, and which side noticed late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perfharness.judge.material import where
from perfharness.model import Diagnosis, Direction, Finding, Measurement, Segment, Verdict

SECOND_NS = 10**9
HEALTH_CHECK = (16 * SECOND_NS, "the provider's health check at its defaults (2 s × 8)")
COMMON = (
    (3 * SECOND_NS, "BFD at its defaults (1000 ms × 3)"),
    (9 * SECOND_NS, "a BGP hold time of 9 s"),
    (30 * SECOND_NS, "a BGP hold time of 30 s"),
    (90 * SECOND_NS, "a BGP hold time of 90 s"),
    (180 * SECOND_NS, "a BGP hold time of 180 s"),
)
"""What ends an outage where no router was read, and how long it takes at most."""
EARLY = 0.3
"""A hold timer runs since the last keepalive: an outage may be shorter by about the share that lies between two."""
NOTICED = ("route", "bgp", "bfd", "carrier")
TWO_WAYS = {Direction.A_Z: (Segment.CE, "own"), Direction.Z_A: (Segment.CLOUD_EDGE, "cloud")}
"""Who sends traffic another way in each direction."""
NOBODY = Segment.BETWEEN, "unknown"
EARLY_SHARE = 0.5
"""Of an outage: a router that knew by then was not what it waited for."""


def failover_slow(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Flows were cut off for longer than is allowed."""
    for finding in findings:
        if (finding.metric, finding.verdict) != ("outage", Verdict.FAIL) or finding.statistic not in (
            "duration",
            "failback",
        ):
            continue
        facts = next((item.facts for item in measurements if item.task.id == finding.task), {}).get("failover")
        if facts is None or finding.scope.direction not in TWO_WAYS:
            continue
        back = finding.statistic == "failback"
        segment, owner = NOBODY if back else _late(finding, facts)
        explained = "" if back else _explained(finding, facts)
        noticed, missed = _noticed(facts, "restore" if back else "cut")
        yield Diagnosis(
            cause="failover-slow",
            certainty="proven",
            segment=segment,
            owner=owner,
            because=tuple(each for each in (f"{where(finding)}: {finding.reason}", explained, noticed) if each),
            against=(missed,) if missed else (),
            checklist=finding.checklist,
            next="Compare BFD at both ends with the order: on, its interval and multiplier. Without it only BGP's hold "
            "time or the health check notices a failure."
            if not back
            else "Let a circuit that returns carry traffic only when its routes are complete at both ends.",
            findings=(finding.id,),
        )


def _late(finding: Finding, facts: Mapping[str, Any]) -> tuple[Segment, str]:
    """Whom the outage waited for, by what this circuit's CE told; the VBR tells nobody.

    Whoever sends into the failure hears well and does not notice: that is up to the end that hears nothing any more.
    """
    way, peer = finding.scope.direction, facts["expected"].get("peer")
    told = [row for row in facts["noticed"] if row["act"] == "cut" and (row["what"] == "carrier" or row["of"] == peer)]
    if way not in TWO_WAYS or not told:
        return NOBODY
    length_ns = float(finding.value or 0)
    if min(row["after_ns"] for row in told) < EARLY_SHARE * length_ns:
        return TWO_WAYS[way]  # the CE knew, and who sends this way went on sending
    other_too = _other_way_ns(finding, facts) >= EARLY_SHARE * length_ns
    deaf = other_too if way is Direction.A_Z else not other_too
    return TWO_WAYS[Direction.A_Z] if deaf else NOBODY  # it heard nothing, and knew late


def _explained(finding: Finding, facts: Mapping[str, Any]) -> str:
    """The detection time that this outage looks like."""
    length_ns = float(finding.value or 0)
    reroute_ns, ordered_ns = facts["expected"]["reroute_ns"], facts["expected"]["detection_ns"]
    by = facts["expected"].get("by") or "BFD"
    ordered = ((ordered_ns, f"{by} as ordered") for _ in range(ordered_ns is not None))
    timers = [*ordered, *(list(_set(facts)) or COMMON), HEALTH_CHECK]
    fitting = [name for most_ns, name in timers if (1 - EARLY) * most_ns <= length_ns <= most_ns + reroute_ns]
    if _outlasted(finding, facts):
        return "It ended only when the circuit was given back: nothing took over."
    if not fitting and _other_way_ns(finding, facts) < length_ns / 2:
        twice = [name for most_ns, name in _set(facts) if most_ns < length_ns <= 2 * most_ns + reroute_ns]
        if twice:
            return (
                f"A failure in one direction that is noticed by {' or '.join(twice)} takes up to twice that time: the "
                "far end goes on sending until its own timer has run out."
            )
    return f"A failure that is noticed by {' or '.join(fitting)} takes that long." if fitting else ""


def _other_way_ns(finding: Finding, facts: Mapping[str, Any]) -> float:
    """The longest that a flow was cut off in the other direction."""
    (other,) = (way.value for way in TWO_WAYS if way is not finding.scope.direction)
    return max((float(flow["outage_ns"][0]) for flow in facts["flows"][other]), default=0.0)


def _set(facts: Mapping[str, Any]) -> Iterable[tuple[int, str]]:
    """What the routers that were read are set to."""
    for who, timers in facts["expected"]["timers"].items():
        for name, of in (("bfd_ns", "BFD"), ("hold_ns", "the BGP hold time")):
            if timers[name]:
                yield timers[name], f"{of} as {who} is set"


def _outlasted(finding: Finding, facts: Mapping[str, Any]) -> bool:
    """A flow was still cut off when the circuit was about to be given back."""
    restored_ns = next((row["started_ns"] for row in facts["acts"] if row["id"] == "restore"), None)
    ends = [
        row["end_ns"]
        for row in facts["outages"]
        if (row["phase"], row["direction"]) == ("cut", finding.scope.direction)
    ]
    return restored_ns is not None and any(end is None or end >= restored_ns for end in ends)


def _noticed(facts: Mapping[str, Any], act: str) -> tuple[str, str]:
    """What the first router that was read said after this act; and that none was, where none was."""
    if not any(row["what"] in NOTICED for row in facts["timeline"]):
        return "", "No router told of any change, so which side noticed late was not seen."
    rows = [row for row in facts["noticed"] if row["act"] == act]
    if not rows:
        return "", "The routers that were read told of no change after it."
    first = rows[0]
    since = "the first probe was lost" if first["since"] == "loss" else f"the {act} began"
    said = (
        f"{first['who']} saw it {first['after_ns'] / 1e9:.1f} s after {since}"
        f" ({first['what']} {first['of']}: {first['said']})"
    )
    route = next((row for row in rows if row["what"] == "route"), None)
    if route is not None and route is not first:
        said += f", and the route of {route['who']} changed after {route['after_ns'] / 1e9:.1f} s"
    return f"{said}.", ""
