"""Causes of packets that are too large: a low MTU that is told, a black hole, a clamped MSS, an interface unlike the
circuit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from perfharness.judge.material import NOT_NARROWED, where
from perfharness.model import Diagnosis, Direction, Finding, Measurement, Segment, Verdict

OWNER_OF_SIDE = {"onprem": "own", "cloud": "cloud"}
OWNER_OF_SEGMENT = {Segment.LAN: "own", Segment.CARRIER: "carrier", Segment.CLOUD_EDGE: "cloud"}
SPEAKER = (
    "By the order that router is of this side: its interface is too small, or what it was told of the link behind it."
)
EITHER_END = "The interface of the router before that link may be what is small, or what lies behind it."
SILENT_HOPS = "Routers that keep silent lie around that place, so it is not certain."
EATEN = "A filter nearer to the sender that eats Packet Too Big would look the same."
COMPARE = "Compare the MTU of both hosts, the CE, the VBR and the circuit"
REVERSE = {Direction.A_Z: Direction.Z_A, Direction.Z_A: Direction.A_Z}
HEADERS_BYTES = {"ipv4": 20 + 20, "ipv6": 40 + 20}
"""Of IP and TCP without options: what an MSS does not count (RFC 9293, section 3.7.1)."""

Findings = Sequence[Finding]
Measurements = Sequence[Measurement]


def too_small(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Packets of the ordered size do not arrive: told by ICMP, or swallowed."""
    for finding, facts in _found(findings, measurements, "largest", (Verdict.FAIL,)):
        hole = facts.get("icmp") in ("silent", "more")
        side = str(facts.get("said_on_side") or "")
        place = Segment(facts["segment"]) if hole and facts.get("segment") else Segment.BETWEEN
        owner = OWNER_OF_SEGMENT.get(place) or ("" if hole else OWNER_OF_SIDE.get(side)) or "unknown"
        yield Diagnosis(
            cause="mtu-black-hole" if hole else "mtu-below-plan",
            certainty="proven",
            segment=place,
            owner=owner,
            because=(
                f"{where(finding)}: {finding.reason}",
                *([SPEAKER] if side and not hole else []),
                *(_place(facts.get("stops")) if hole else []),
            ),
            against=(*_doubts(facts, place), *((EATEN,) if hole else ())),
            checklist=("EC-029", "EC-030") if hole else ("EC-029",),
            next=_remedy(facts, hole),
            findings=(finding.id,),
        )


def _place(stops: Mapping[str, Any] | None) -> Iterator[str]:
    """How far such packets get: likely and no more, since a router may keep silent for other reasons."""
    if stops and stops.get("last"):
        yield (
            f"{stops['last']} is the last that answers TTL-limited probes of {stops['size']} B: likely the one that "
            "should have said Packet Too Big."
        )
    if stops and stops.get("next"):
        yield f"{stops['next']} answers small ones and not these."


def _doubts(facts: Mapping[str, Any], place: Segment) -> Iterator[str]:
    if place is Segment.BETWEEN:
        yield NOT_NARROWED
    elif place is Segment.CARRIER:
        yield EITHER_END
    stops = facts.get("stops") or {}
    if stops.get("hops") and not stops.get("adjacent"):
        yield SILENT_HOPS


def _remedy(facts: Mapping[str, Any], hole: bool) -> str:
    router = (facts.get("stops") or {}).get("last")
    if not hole:
        return f"{COMPARE}; let ICMP Packet Too Big through."
    who = f"have {router} send ICMP Packet Too Big, and" if router else "have the routers send Packet Too Big, and"
    return f"{COMPARE}, first on the link where such packets stop; {who} let it through; until then clamp the MSS."


def mss_clamped(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Something on the way lowers the MSS of TCP connections; by what, and whether that is right."""
    for finding, facts in _found(findings, measurements, "mss_cut", (Verdict.FAIL, Verdict.WARN)):
        mss = facts["mss"]
        packet = mss["arrived"] + HEADERS_BYTES[finding.scope.family]
        # The MSS in a SYN bounds what its receiver sends, the other way.
        ways = next(item.facts for item in measurements if item.task.id == finding.task)
        back = ways.get(str(REVERSE.get(finding.scope.direction or Direction.BOTH)), {}).get("pmtu")
        yield Diagnosis(
            cause="mss-clamped",
            certainty="proven",
            segment=Segment.BETWEEN,
            owner="own",
            because=(
                f"{where(finding)}: {finding.reason}",
                f"So TCP the other way sends packets of {packet} B at most.{_use(packet, back)}",
            ),
            against=(NOT_NARROWED,),
            checklist=("EC-031",),
            next=f"Leave it if a tunnel, or a narrower backup path, needs packets of {packet} B; else take it off the "
            "CE or the firewall. It helps TCP only: other protocols still depend on Packet Too Big.",
            findings=(finding.id,),
        )


def _use(packet: int, pmtu: int | None) -> str:
    """Whether the path needs what the clamp does."""
    if pmtu is None:
        return ""
    if packet < pmtu:
        return f" The path carries {pmtu} B there: it costs {pmtu - packet} B of each packet that the path would carry."
    if packet == pmtu:
        return f" The path carries {pmtu} B there: it is set to just that, which keeps TCP out of trouble."
    return f" The path carries no more than {pmtu} B there: the clamp is too high to help."


def host_nic_mtu(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """A host's interface allows more than was ordered of the circuit, or so little that the order cannot be seen."""
    for finding, facts in _found(findings, measurements, "host_excess", (Verdict.FAIL, Verdict.WARN)):
        local, planned, size = facts["local_mtu"], facts["planned"], facts["pmtu"]
        if local > planned and size >= planned:
            told = "routers tell hosts so" if facts["icmp"] == "agrees" else "they vanish without a word"
            yield _nic(
                finding,
                f"{size} B is what the order says. Of larger ones, up to {local} B, none arrives: {told}.",
                f"Set the interface's MTU to {planned}, or that of the route to the other side "
                f"(`ip route … mtu {planned}`), or have the whole path ordered and set to {local}.",
            )
    for finding, facts in _found(findings, measurements, "largest", (Verdict.INCONCLUSIVE,)):
        local, planned = facts.get("local_mtu"), facts.get("planned", 0)
        if local is not None and local < planned:
            said = f"With {local} B at the sender's interface nobody can see whether the path carries {planned} B."
            yield _nic(finding, said, f"Set the interface's MTU to {planned} and run the step again.")


def _nic(finding: Finding, because: str, remedy: str) -> Diagnosis:
    return Diagnosis(
        cause="host-nic-mtu",
        certainty="proven",
        segment=Segment.HOST_Z if finding.scope.direction is Direction.Z_A else Segment.HOST_A,
        owner="own",
        because=(f"{where(finding)}: {finding.reason}", because),
        checklist=("EC-032",),
        next=remedy,
        findings=(finding.id,),
    )


def _found(
    findings: Findings, measurements: Measurements, statistic: str, verdicts: tuple[Verdict, ...]
) -> Iterator[tuple[Finding, Mapping[str, Any]]]:
    """Each such finding, with what its measurement knows of its direction."""
    facts = {item.task.id: item.facts for item in measurements}
    for finding in findings:
        if (finding.metric, finding.statistic) == ("pmtu", statistic) and finding.verdict in verdicts:
            yield finding, facts.get(finding.task, {}).get(str(finding.scope.direction), {})


RULES = (too_small, mss_clamped, host_nic_mtu)
