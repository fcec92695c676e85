"""What the customer's router said, as causes: link, VLAN, BGP, routes. A rule reads what one step `edge` found.

A cause further down is no cause of its own: a link that is down has no VLAN, a session that is down no prefixes, and a
prefix that is missing explains the route that is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from perfharness.judge.edge_bgp import (
    bgp_as_mismatch,
    bgp_key_mismatch,
    bgp_neighbour_wrong,
    bgp_port_blocked,
    bgp_prefix_limit,
    bgp_prefixes,
    bgp_shut_down,
    reset_by_hand,
)
from perfharness.judge.edge_step import ANNOUNCED, RECEIVED, Step
from perfharness.model import Diagnosis, Finding, Measurement, Segment, Verdict

BROKEN = (Verdict.FAIL, Verdict.WARN)
FIRST_SEGMENT = "It is seen from the router: its own optics and cabling lie on this segment too."
OF_THE_ROUTER = "A port that was switched off and on at the router, or its own optics and cabling, would look the same."
BUSY = "A router at either end that was too busy to answer would look the same."
PATH_LOST = re.compile(r"hold ?-?time|bfd", re.IGNORECASE)
"""What a router says where nothing came from the other end for too long."""
OTHER_TABLES = "The tables of VBR and VPC router are not seen from here."


def edge(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> Iterable[Diagnosis]:
    """Each cause once for a pair, as the first step that saw it tells it."""
    said: set[tuple[str, str]] = set()
    for item in measurements:
        if item.task.measurement != "edge" or not item.facts:
            continue
        broken = {
            f"{row.metric}.{row.statistic}": row
            for row in findings
            if row.task == item.task.id and row.verdict in BROKEN
        }
        before = set(said)
        for rule in RULES:
            for diagnosis in rule(Step(item, broken, item.facts)):
                key = item.task.scope.pair, diagnosis.cause
                if key not in before:
                    said.add(key)
                    yield diagnosis


def link_down(step: Step) -> Iterator[Diagnosis]:
    """The port towards the circuit has no carrier."""
    if "portspec.carrier" not in step.broken:
        return
    wan = step.facts["link"]["wan"]
    off = wan["up"] is False
    yield Diagnosis(
        cause="link-down",
        certainty="proven",
        segment=Segment.CE if off else Segment.CARRIER,
        owner="own" if off else "carrier",
        because=(
            f"{wan['name']} of {step.facts['router']['name']} has no carrier.",
            *step.because("portspec.carrier", "portspec.light"),
            *filter(None, [step.facts["link"].get("light")]),
        ),
        against=() if off else (FIRST_SEGMENT,),
        checklist=("EC-011",),
        next=f"Switch {wan['name']} on."
        if off
        else "Look at optics and patching at the router, then call the carrier.",
        findings=step.ids("portspec.carrier"),
    )


def link_flap(step: Step) -> Iterator[Diagnosis]:
    """The port or the session on it went down and came back between two readings."""
    changes = step.facts["link"].get("carrier_changes")
    if not changes and "bgp.flaps" not in step.broken:
        return
    session = step.facts.get("bgp", {}).get("session") or {}
    because = [f"The carrier of the port changed {changes} times between two readings."] if changes else []
    if session.get("last_reset") and "bgp.flaps" in step.broken:
        because.append(f"The router says why the session last fell: {_fell(session)}.")
    segment, owner, against, then = _whose_flap(session, changes)
    yield Diagnosis(
        cause="link-flap",
        certainty="likely",
        segment=segment,
        owner=owner,
        because=(*because, *step.because("bgp.flaps")),
        against=against,
        checklist=("EC-011", "EC-017") if changes else ("EC-017",),
        next=then,
        findings=step.ids("portspec.flaps", "bgp.flaps"),
    )


def _fell(session: Mapping[str, Any]) -> str:
    last, notified = session["last_reset"], session.get("notification")
    return f"{last} ({notified})" if notified and session.get("dated", True) and notified not in last else last


def _whose_flap(session: Mapping[str, Any], changes: int | None) -> tuple[Segment, str, tuple[str, ...], str]:
    """(segment, owner, what speaks against it, what to do): a carrier that went shows no hand, a session's end may."""
    quiet = ("The router's own port kept its carrier.",) if changes == 0 else ()
    if changes:
        then = "Read the router's log for who switched the port, then hand the times to the carrier."
        return Segment.BETWEEN, "unknown", (FIRST_SEGMENT, OF_THE_ROUTER), then
    hand = reset_by_hand(session)
    if hand is not None:
        segment = Segment.CE if hand == "own" else Segment.CLOUD_EDGE
        then = "Ask who reset the session on the router." if hand == "own" else "Ask the cloud who reset the session."
        return segment, hand, quiet, then
    then = "Hand the times to the carrier and ask for the alarms of its equipment."
    if PATH_LOST.search(_fell(session) if session.get("last_reset") else ""):
        return Segment.BETWEEN, "carrier", (*quiet, BUSY), then
    then = "Read the router's log for why the session fell, and ask the cloud for its side's."
    return Segment.BETWEEN, "unknown", quiet, then


def vlan_mismatch(step: Step) -> Iterator[Diagnosis]:
    """The VBR's link address is silent on the ordered VLAN. Only where it answers there is the router's tag surely the
    wrong one; where it answers on the router's, the link works, and the order may be what is wrong."""
    if "vlan.answers" not in step.broken or "portspec.carrier" in step.broken:
        return
    vlan = step.facts["vlan"]
    ordered, carried, heard = vlan["ordered"], vlan["carried"], set(vlan.get("heard", ()))
    otherwise = carried not in (None, 0, ordered)
    own, agreed = otherwise and ordered in heard, otherwise and heard == {carried}
    proven = own or (bool(vlan.get("elsewhere")) and not agreed)
    silent = () if heard else ("A VBR that is not there, or that does not answer ARP, would look the same.",)
    ask = f"Ask carrier and cloud which VLAN this circuit and its VBR have; ordered is {ordered}."
    if agreed:
        ask = f"Ask the cloud which VLAN the VBR has, {carried} or the ordered {ordered}; leave the router as it is."
    elif otherwise:
        ask += f" The router sends on {carried}."
    yield Diagnosis(
        cause="vlan-mismatch",
        certainty="proven" if proven else "likely" if agreed else "possible",
        segment=Segment.CE if own else Segment.CLOUD_EDGE if agreed else Segment.BETWEEN,
        owner="own" if own else "unknown" if otherwise else "carrier",
        because=(*step.because("vlan.answers"), f"{vlan['asked']} VLANs were asked on."),
        against=("Router and VBR agree: what was ordered may be wrong.",) if agreed else silent,
        checklist=("EC-013", "EC-004"),
        next=f"Set the router's VLAN to {ordered}." if own else ask,
        findings=step.ids("vlan.answers", "vlan.answers_elsewhere"),
    )


def vlan_leak(step: Step) -> Iterator[Diagnosis]:
    """The VBR's link address answers where it was ordered, and on another VLAN too."""
    vlan = step.facts["vlan"]
    if "vlan.answers_elsewhere" not in step.broken or not vlan["answered"]:
        return
    others = " and ".join(str(tag) if tag else "none (untagged)" for tag in vlan["elsewhere"])
    yield Diagnosis(
        cause="vlan-leak",
        certainty="likely",
        segment=Segment.BETWEEN,
        owner="unknown",
        because=step.because("vlan.answers_elsewhere"),
        against=("Another VBR with the same address, as of a second circuit on this port, would look the same.",),
        checklist=("EC-013",),
        next=f"Ask carrier and cloud who has {vlan['address']} on VLAN {others}; look for a bridge between VLANs here.",
        findings=step.ids("vlan.answers_elsewhere"),
    )


def missing_routes(step: Step) -> Iterator[Diagnosis]:
    """A route that a look-up did not find, where BGP does not explain it."""
    routes, bgp = step.facts["routes"], step.facts.get("bgp", {})
    a, z = step.item.task.scope.pairs[0]
    for name, host, cause, way, row in (
        ("to_cloud", routes["onprem"], "missing-forward-route", RECEIVED, "EC-016"),
        ("to_onprem", routes["cloud"], "missing-return-route", ANNOUNCED, "EC-015"),
    ):
        if f"route.{name}" not in step.broken:
            continue
        at_host = host.get("route") is None
        if name == "to_cloud" and not at_host and routes.get("preferred_elsewhere"):
            continue  # a router that prefers another way lacks none
        if not at_host and _explained(step, bgp, way):
            continue
        cloud = at_host and name == "to_onprem"
        yield Diagnosis(
            cause=cause,
            certainty="proven",
            segment=(Segment.HOST_Z if cloud else Segment.HOST_A) if at_host else Segment.CE,
            owner="cloud" if cloud else "own",
            because=(step.broken[f"route.{name}"].reason,),
            against=() if at_host else (OTHER_TABLES,),
            checklist=(row,),
            next=f"Add the route on {(z if cloud else a) if at_host else step.facts['router']['name']}.",
            findings=step.ids(f"route.{name}"),
        )


def _explained(step: Step, bgp: Mapping[str, Any], way: str) -> bool:
    """The session is down, or does not carry the prefix."""
    return "bgp.established" in step.broken or bool(
        "bgp.missing" in step.broken and (bgp.get("missing") or {}).get(way)
    )


RULES: tuple[Callable[[Step], Iterator[Diagnosis]], ...] = (
    link_down,
    link_flap,
    vlan_mismatch,
    vlan_leak,
    bgp_shut_down,
    bgp_neighbour_wrong,
    bgp_prefix_limit,
    bgp_as_mismatch,
    bgp_port_blocked,
    bgp_key_mismatch,
    bgp_prefixes,
    missing_routes,
)
