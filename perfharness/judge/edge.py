"""What the customer's router said, as causes: link, VLAN, BGP, routes. A rule reads what one step `edge` found.

A cause further down is no cause of its own: a link that is down has no VLAN, a session that is down no prefixes, and a
prefix that is missing explains the route that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from perfharness.model import Diagnosis, Finding, Measurement, Segment, Verdict

BROKEN = (Verdict.FAIL, Verdict.WARN)
BLOCKED = ("refused", "rejected", "silent")
ANNOUNCED, RECEIVED = "announced", "received"
FIRST_SEGMENT = "It is seen from the router: its own optics and cabling lie on this segment too."
WHO_CLOSED = "A filter on the router itself, or a session that is signed at the other end, would look the same."
OTHER_TABLES = "The tables of VBR and VPC router are not seen from here."


class Step(NamedTuple):
    """One step `edge`: what it found broken, by ``metric.statistic``, and what it knows."""

    item: Measurement
    broken: Mapping[str, Finding]
    facts: Mapping[str, Any]

    def because(self, *names: str) -> tuple[str, ...]:
        return tuple(
            f"{self.facts['router']['name']}: {self.broken[name].reason}" for name in names if name in self.broken
        )

    def ids(self, *names: str) -> tuple[str, ...]:
        return tuple(self.broken[name].id for name in names if name in self.broken)


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
    because = [f"The carrier of the port changed {changes} times between two readings."] if changes else []
    quiet = changes == 0
    yield Diagnosis(
        cause="link-flap",
        certainty="proven" if changes else "likely",
        segment=Segment.CARRIER if changes else Segment.BETWEEN,
        owner="carrier",
        because=(*because, *step.because("bgp.flaps")),
        against=(FIRST_SEGMENT,) if changes else (("The router's own port kept its carrier.",) if quiet else ()),
        checklist=("EC-017",),
        next="Hand the times to the carrier and ask for the alarms of its equipment.",
        findings=step.ids("portspec.flaps", "bgp.flaps"),
    )


def vlan_mismatch(step: Step) -> Iterator[Diagnosis]:
    """The VBR's link address is silent on the ordered VLAN."""
    if "vlan.answers" not in step.broken or "portspec.carrier" in step.broken:
        return
    vlan = step.facts["vlan"]
    own = vlan["carried"] not in (None, 0, vlan["ordered"])
    elsewhere = vlan.get("elsewhere", [])
    proven = own or bool(elsewhere)
    against = () if proven else ("A VBR that is not there, or that does not answer ARP, would look the same.",)
    yield Diagnosis(
        cause="vlan-mismatch",
        certainty="proven" if proven else "possible",
        segment=Segment.CE if own else Segment.BETWEEN,
        owner="own" if own else "carrier",
        because=(*step.because("vlan.answers"), f"{vlan['asked']} VLANs were asked on."),
        against=against,
        checklist=("EC-013", "EC-004"),
        next=f"Set the router's VLAN to {vlan['ordered']}."
        if own
        else f"Ask carrier and cloud which VLAN this circuit and its VBR have; ordered is {vlan['ordered']}.",
        findings=step.ids("vlan.answers", "vlan.answers_elsewhere"),
    )


def bgp_as_mismatch(step: Step) -> Iterator[Diagnosis]:
    """An AS number is another than ordered, here or at the other end."""
    if "bgp.as_agree" not in step.broken:
        return
    session, ordered = step.facts["bgp"]["session"], step.facts["bgp"]["ordered_as"]
    here = {"local": session["local_as"], "remote": session["remote_as"]}
    own = any(number is not None and number != ordered[end] for end, number in here.items())
    yield Diagnosis(
        cause="bgp-as-mismatch",
        certainty="proven",
        segment=Segment.CE if own else Segment.CLOUD_EDGE,
        owner="own" if own else "cloud",
        because=step.because("bgp.as_agree", "bgp.established"),
        checklist=("EC-018",),
        next="Set the AS numbers of the order on the router."
        if own
        else f"Ask the cloud which AS the VBR has and which it expects; ordered are {ordered['remote']} and "
        f"{ordered['local']}.",
        findings=step.ids("bgp.as_agree", "bgp.established"),
    )


def bgp_port_blocked(step: Step) -> Iterator[Diagnosis]:
    """The session does not come up, the VBR answers ARP, and TCP/179 of it does not open."""
    port = step.facts.get("bgp", {}).get("port")
    if "bgp.established" not in step.broken or port not in BLOCKED:
        return
    if not step.facts["vlan"]["answered"] or "bgp.as_agree" in step.broken:
        return
    yield Diagnosis(
        cause="bgp-port-blocked",
        certainty="likely",
        segment=Segment.CLOUD_EDGE if port == "refused" else Segment.BETWEEN,
        owner="cloud",
        because=(*step.because("bgp.established"), f"TCP/179 is {port} while the link itself answers."),
        against=(WHO_CLOSED,),
        checklist=("EC-019", "EC-017"),
        next="Look for a filter of TCP/179 on the router first, then ask the cloud for the VBR's BGP peer and its key.",
        findings=step.ids("bgp.established", "bgp.port_open"),
    )


def bgp_prefixes(step: Step) -> Iterator[Diagnosis]:
    """Prefixes that were ordered and are not exchanged; prefixes that are exchanged and were not ordered."""
    bgp = step.facts.get("bgp", {})
    yield from _prefixes(step, bgp, "bgp-prefix-missing", ("missing",), ("EC-020",))
    yield from _prefixes(step, bgp, "bgp-prefix-leak", ("broad", "extra"), ("EC-021", "EC-020"))


def _prefixes(
    step: Step, bgp: Mapping[str, Any], cause: str, kinds: Sequence[str], rows: tuple[str, ...]
) -> Iterator[Diagnosis]:
    broken = [kind for kind in kinds if f"bgp.{kind}" in step.broken]
    ways = [way for way in (ANNOUNCED, RECEIVED) if any(bgp[kind][way] for kind in broken)]
    filtered = bool(ways) and _filtered_here(bgp, cause)
    for own in dict.fromkeys(way == ANNOUNCED or filtered for way in ways):  # what the cloud does is not ours
        yield _of_prefixes(step, cause, broken, rows, own)


def _of_prefixes(step: Step, cause: str, broken: Sequence[str], rows: tuple[str, ...], own: bool) -> Diagnosis:
    return Diagnosis(
        cause=cause,
        certainty="proven",
        segment=Segment.CE if own else Segment.CLOUD_EDGE,
        owner="own" if own else "cloud",
        because=step.because(*(f"bgp.{kind}" for kind in broken)),
        checklist=rows,
        next="Compare the router's announcements and filters with the plan."
        if own
        else "Ask the cloud what the VBR announces, and why; filter on the router what is not wanted.",
        findings=step.ids(*(f"bgp.{kind}" for kind in broken)),
    )


def _filtered_here(bgp: Mapping[str, Any], cause: str) -> bool:
    """The prefix came, and a filter of the router's own refused it."""
    session = bgp["session"]
    came, missing = session["received"] or (), bgp["missing"][RECEIVED] or ()
    return cause == "bgp-prefix-missing" and bool(missing) and set(missing) <= set(came)


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
    bgp_as_mismatch,
    bgp_port_blocked,
    bgp_prefixes,
    missing_routes,
)
