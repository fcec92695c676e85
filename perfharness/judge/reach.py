"""Does the far host answer, do the agreed ports let through, do packets keep their class: causes of what does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from perfharness.analysis.hops import OTHER_CIRCUIT
from perfharness.judge.filtered import FIREWALL
from perfharness.judge.material import NOT_NARROWED, failed, ids, where
from perfharness.model import Diagnosis, Direction, Finding, Measurement, Segment, Verdict

Findings = Sequence[Finding]
Measurements = Sequence[Measurement]

REACHABLE = ("path", "reachable")
OWNERS = {Segment.CLOUD_EDGE: "cloud", Segment.BETWEEN: "unknown"}
"""Of what lies there; all else is the customer's own, the instance and its firewall too."""
BEYOND = {
    Direction.A_Z: (Segment.CLOUD_EDGE, Segment.HOST_Z),
    Direction.Z_A: (Segment.CE, Segment.LAN, Segment.HOST_A),
}
"""Where a hop lies whose answer crossed the circuit, as did what it answered."""
LINK = (("vlan", "answers"), ("bgp", "established"))
"""What the CE is told by the VBR itself, over the circuit."""
NO_ROUTE = ("net unreachable", "no route", "route rejected")
"""What a router says that has no route; that a host is unreachable it says too when the host itself is not there."""
SENDER = {Direction.A_Z: Segment.HOST_A, Direction.Z_A: Segment.HOST_Z}
ROUTE_OF = {Direction.A_Z: "missing-forward-route", Direction.Z_A: "missing-return-route"}
LOOK_UP = {
    Direction.A_Z: "Look up the route to the cloud's prefix on the on-prem host, the CE and the VBR.",
    Direction.Z_A: "Look up the route to the on-prem prefix in the VPC's route table, on the VBR and on the CE.",
}
CLOSED = "A packet filter of the far host, or its security group, that lets nothing in would look the same."
NOT_ONLY_OWN = "Routes of VBR and VPC router, which may be the provider's to mend, lie behind the circuit too."
BEHIND = "Look behind the last hop that answered: security group, network ACL, firewall and routes of that end."
SILENT = "A packet filter, or a circuit that is cut in this direction only, would look the same."
IMITATED = "A firewall can imitate a host's refusal."


def far_host_unreachable(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Nothing that one end sends is answered by the other, and a finding failed for it."""
    for item in measurements:
        seen = [row for row in findings if row.task == item.task.id and (row.metric, row.statistic) == REACHABLE]
        broken = [row for row in seen if row.verdict in (Verdict.FAIL, Verdict.WARN)]
        if not item.facts.get("unreachable") or not broken:
            continue
        one_way, owner, crossed = len(broken) < len(seen), _owner_of_break(item, broken), tuple(_crossed(item))
        stands = _link_stands(findings, item.task.scope.pair)
        unsaid = NOT_ONLY_OWN if crossed and owner == "own" else NOT_NARROWED
        yield Diagnosis(
            cause="far-host-unreachable",
            certainty="proven",
            segment=Segment.BETWEEN,
            owner=owner,
            because=(item.facts["unreachable"], *(f"{where(row)}: {row.reason}" for row in seen), *crossed),
            against=(unsaid, *((CLOSED,) if owner == "unknown" and not one_way else ()), *stands),
            checklist=("EC-024",),
            next=BEHIND
            if crossed
            else "Look beyond the last hop that answered in each direction: link, VLAN, routes and filters there.",
            findings=ids(broken),
        )
        yield from _missing_routes(item, seen, broken)


def _crossed(item: Measurement) -> Iterator[str]:
    """Each direction whose trace was answered from the circuit's other end: question and answer crossed it."""
    for way, segments in BEYOND.items():
        told = item.facts.get(way.value, {})
        if told.get("segment") in [segment.value for segment in segments]:
            yield f"{way}: {told['last']} lies behind the circuit and answered, so packets get there and back."


def _link_stands(findings: Findings, pair: str) -> Iterator[str]:
    """That what the CE saw of the VBR speaks for the link: it is well as far as that goes."""
    words = {"vlan": "The CE gets answers from the VBR by ARP", "bgp": "The CE's BGP session with the VBR stands"}
    for name in LINK:
        rows = [row for row in findings if (row.metric, row.statistic) == name and row.scope.pair == pair]
        if rows and all(row.verdict is Verdict.PASS for row in rows):
            yield f"{words[name[0]]}: when that was asked, packets crossed the link both ways."


def _missing_routes(item: Measurement, seen: Findings, broken: Findings) -> Iterator[Diagnosis]:
    """For each direction that does not deliver, where the host or a router says so; where the other direction delivers
    it is possible without a word, too. It rests on both, since a route one way is needed for answers the other way."""
    for row in broken:
        way = row.scope.direction
        if way not in ROUTE_OF:
            continue
        told = item.facts.get(way.value, {})
        refused, route = told.get("refused") or {}, told.get("route") or {}
        certainty, segment = "likely", Segment.BETWEEN
        against: tuple[str, ...] = ()
        if "route" in route and route["route"] is None:
            certainty, segment, because = "proven", SENDER[way], route["reason"]
        elif refused.get("said") in NO_ROUTE:
            segment, because = Segment(refused["segment"]), f"{refused['from']} answers {refused['said']}"
        elif len(broken) < len(seen):
            certainty, because = "possible", "packets of the other direction arrive, and nothing comes back"
            against = (SILENT,)
        else:
            continue
        yield Diagnosis(
            cause=ROUTE_OF[way],
            certainty=certainty,
            segment=segment,
            owner="own" if certainty == "possible" else OWNERS.get(segment, "own"),
            because=(f"{where(row)}: {because}.",),
            against=against,
            checklist=("EC-016" if way is Direction.A_Z else "EC-015",),
            next=LOOK_UP[way],
            findings=ids(seen),
        )


def _owner_of_break(item: Measurement, broken: Findings) -> str:
    """Of whoever refuses; of the site whose host cannot send; the customer's own where the circuit delivers, since
    instance, security group and LAN are; else nobody knows: many a router says nothing, also where it delivers."""
    for row in broken:
        told = item.facts.get(str(row.scope.direction), {})
        if refused := told.get("refused"):
            return OWNERS.get(Segment(refused["segment"]), "own")
        if told.get("ping", {}).get("reason"):
            return "own"
    return "own" if any(_crossed(item)) else "unknown"


def port_blocked(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Agreed ports that are not open, while the host behind them answers."""
    facts = {item.task.id: item.facts for item in measurements}
    for finding in failed(findings, "port"):
        known = facts.get(finding.task, {})
        if finding.statistic != "blocked" or known.get("unreachable"):
            continue  # what is forbidden and open has no cause but its own; a host that is gone closes all ports
        told: Mapping[str, Any] = known.get(str(finding.scope.direction), {})
        states = {
            f"{kind}/{port}": state for kind, some in told.get("ports", {}).items() for port, state in some.items()
        }
        closed = {name: state for name, state in states.items() if state != "open"}
        errors: Mapping[str, Any] = told.get("errors", {})
        where_said = {errors.get(name, {}).get("segment") for name in closed}
        segment = Segment(where_said.pop() or Segment.BETWEEN) if len(where_said) == 1 else Segment.BETWEEN
        refused = "refused" in closed.values()
        yield Diagnosis(
            cause="port-blocked",
            certainty="proven",
            segment=segment,
            owner="cloud" if segment is Segment.CLOUD_EDGE else "own",
            because=(f"{where(finding)}: {finding.reason}",),
            against=(*((NOT_NARROWED,) if segment is Segment.BETWEEN else ()), *((IMITATED,) if refused else ())),
            checklist=finding.checklist,
            findings=(finding.id,),
            next=FIREWALL,
        )


def other_circuit(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Every flow that was traced in a direction crosses the companion's link, and none this circuit's."""
    for row in findings:
        if (row.metric, row.statistic, row.verdict) == ("path", "this_circuit", Verdict.NOT_RUN):
            if not row.reason.startswith(OTHER_CIRCUIT):
                continue
            yield Diagnosis(
                cause="other-circuit",
                certainty="proven",
                segment=Segment.BETWEEN,
                owner="own",
                because=(f"{where(row)}: {row.reason}",),
                against=("Of a pair of which one stands by, this one may be meant to.",),
                checklist=row.checklist,
                findings=(row.id,),
                next="Prefer this circuit for the time of the run, or run the other one's order.",
            )


def dscp_remarked(findings: Findings, measurements: Measurements) -> Iterable[Diagnosis]:
    """Packets arrive in another class than they were sent in."""
    for finding in findings:
        if finding.metric == "dscp" and finding.verdict in (Verdict.FAIL, Verdict.WARN):
            yield Diagnosis(
                cause="dscp-remarked",
                certainty="proven",
                segment=Segment.BETWEEN,
                owner="unknown",
                because=(f"{where(finding)}: {finding.reason}",),
                against=(NOT_NARROWED,),
                checklist=finding.checklist,
                findings=(finding.id,),
                next="Look at the trust settings of the CE and of the switches before it first, then ask the carrier "
                "and the cloud which DSCPs they keep.",
            )
