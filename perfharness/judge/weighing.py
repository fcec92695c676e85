"""What several causes mean together: which of two is believed, what one may hide, what nobody explains, in which order.

The rules of diagnosis know nothing of one another. What is said here rests on one table: a kind of trouble, its causes,
and the metrics that tell of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from perfharness.judge.material import where
from perfharness.model import Diagnosis, Direction, Finding, Scope, Segment, Verdict

PROVEN, LIKELY, POSSIBLE, UNKNOWN = "proven", "likely", "possible", "unknown"
CERTAINTIES = (PROVEN, LIKELY, POSSIBLE, UNKNOWN)
SELF_TOLD = ("tools", "footprint", "portspec")
"""Metrics that need no cause when they fail: what is missing, or is other than ordered, says so itself."""
MAC_BYTES = 14
NOT_THE_HOSTS = "What the hosts' own counters explain is taken off already."


class Kind(NamedTuple):
    causes: tuple[str, ...]
    """Of two that explain the same figure the one that stands first says more, and is believed where it is proven."""
    metrics: tuple[str, ...]
    """How the names of the metrics begin that tell of it."""
    next: str = ""
    """What to measure where such a metric failed and no rule knows why."""


HOSTS, ROUTES = "test hosts", "routes"
KINDS: Mapping[str, Kind] = {
    HOSTS: Kind(
        (
            "host-cpu",
            "host-receive-buffer",
            "ecs-instance-limit",
            "host-nic-limit",
            "clock-unsynchronised",
            "background-traffic",
        ),
        (),  # what a host explains does not fail
    ),
    "link": Kind(
        ("link-down", "link-flap"),
        ("portspec",),
        "Read carrier, speed, duplex and error counters at both ends of the link.",
    ),
    "VLAN": Kind(
        ("vlan-mismatch", "vlan-leak"),
        ("vlan",),
        "Ask for the VBR's address on the ordered VLAN and on others from the CE.",
    ),
    "BGP": Kind(
        (
            "bgp-shut-down",
            "bgp-neighbour-wrong",
            "bgp-prefix-limit",
            "bgp-port-blocked",
            "bgp-as-mismatch",
            "bgp-key-mismatch",
            "bgp-prefix-missing",
            "bgp-prefix-leak",
        ),
        ("bgp",),
        "Read the session's state, its last error and both prefix lists at the CE, and ask the cloud for its side's.",
    ),
    ROUTES: Kind(
        ("missing-forward-route", "missing-return-route"),
        ("route",),
        "Look the far side's address up on each host and on the CE, and ask for the VPC's route table.",
    ),
    "reachability": Kind(
        ("far-host-unreachable", "other-circuit"),
        ("path",),
        "Trace the hops both ways, and count at the CE's two interfaces what goes out and what comes back.",
    ),
    "ports": Kind(
        ("probes-filtered", "port-blocked"),
        ("port",),
        "Try the same ports from another host of the same side, and capture at the far end what arrives.",
    ),
    "marks": Kind(("dscp-remarked",), ("dscp",), "Capture the marks at the CE's two interfaces."),
    "MTU": Kind(
        ("host-nic-mtu", "mtu-black-hole", "mtu-below-plan", "mss-clamped"),
        ("pmtu",),
        "Search the path MTU from the CE too, and read the MTU of each interface on the way.",
    ),
    "loss": Kind(
        (
            "lag-member-bad",
            "lan-loss",
            "ce-drop",
            "corruption",
            "circuit-loss-burst",
            "circuit-loss-random",
            "loss-one-way",
            "unattributed-loss",
        ),
        ("loss", "availability", "flows"),
        "Run a step `flows`, and read the counters of the CE's two interfaces over the same minutes; ask the carrier "
        "for its own.",
    ),
    "rate": Kind(
        ("policed-below-order", "shaped-below-order"),
        ("throughput.udp", "capacity", "policing"),
        "Run the steps `ceiling`, `capacity` and `policing`: they tell a host's limit, a policer and a shaper apart.",
    ),
    "TCP": Kind(
        ("policer-burst-too-small", "tcp-window-too-small"),
        ("throughput.tcp", "tcp."),
        "Run a step `rfc6349`: it says what limited TCP.",
    ),
    "delay": Kind(
        ("delay-above-objective", "jitter-above-objective"),
        ("delay.", "variation."),
        "Compare the hops both ways with the ordered route, and measure to a router on the way that answers probes.",
    ),
    "order of packets": Kind(
        ("reordering", "duplication"),
        ("reordering", "duplication"),
        "Run a step `flows`: packets of one flow change places where its members differ.",
    ),
    "failover": Kind(
        ("failover-slow",),
        ("outage",),
        "Compare the times of BGP, BFD and the routes at both ends with the moment of the cut.",
    ),
}
"""In the order in which they hide one another: a kind hides only what stands below it."""

BEYOND_THE_LINK = ("ports", "marks", "MTU", "loss", "rate", "TCP", "delay", "order of packets", "failover")
HIDES: Mapping[str, tuple[str, ...]] = {
    "host-cpu": ("loss", "rate", "TCP", "delay"),
    "host-receive-buffer": ("loss", "rate", "TCP"),
    "ecs-instance-limit": ("loss", "rate", "TCP"),
    "host-nic-limit": ("loss", "rate", "TCP"),
    "clock-unsynchronised": ("delay",),
    "background-traffic": ("loss", "rate", "TCP", "delay"),
    "link-down": ("VLAN", "BGP", "routes", "reachability", *BEYOND_THE_LINK),
    "link-flap": ("BGP", "routes", "reachability", "loss", "rate", "TCP", "delay", "failover"),
    "vlan-mismatch": ("BGP", "routes", "reachability", *BEYOND_THE_LINK),
    "bgp-shut-down": ("routes", "reachability", *BEYOND_THE_LINK),
    "bgp-neighbour-wrong": ("routes", "reachability", *BEYOND_THE_LINK),
    "bgp-prefix-limit": ("routes", "reachability", *BEYOND_THE_LINK),
    "bgp-key-mismatch": ("routes", "reachability", *BEYOND_THE_LINK),
    "bgp-port-blocked": ("routes", "reachability", *BEYOND_THE_LINK),
    "bgp-as-mismatch": ("routes", "reachability", *BEYOND_THE_LINK),
    "bgp-prefix-missing": ("routes", "reachability", *BEYOND_THE_LINK),
    "missing-forward-route": ("reachability", *BEYOND_THE_LINK),
    "missing-return-route": ("reachability", *BEYOND_THE_LINK),
    "far-host-unreachable": BEYOND_THE_LINK,
    "probes-filtered": ("loss", "delay", "order of packets"),
    "host-nic-mtu": ("loss", "rate", "TCP"),
    "mtu-black-hole": ("loss", "rate", "TCP"),
    "mtu-below-plan": ("loss", "rate", "TCP"),
    "lag-member-bad": ("rate", "TCP"),
    "lan-loss": ("rate", "TCP"),
    "ce-drop": ("rate", "TCP"),
    "corruption": ("rate", "TCP"),
    "circuit-loss-burst": ("rate", "TCP"),
    "circuit-loss-random": ("rate", "TCP"),
    "loss-one-way": ("rate", "TCP"),
    "unattributed-loss": ("rate", "TCP"),
    "policed-below-order": ("TCP",),
    "shaped-below-order": ("TCP",),
}
"""Cause → kinds of trouble that cannot be seen, or only wrongly, while it holds."""

_KIND_OF = {cause: name for name, kind in KINDS.items() for cause in kind.causes}


def weigh(found: Iterable[Diagnosis], findings: Sequence[Finding]) -> tuple[Diagnosis, ...]:
    """The causes that the rules found, the certain first and along the path, with what nobody explains at the end.

    One that a proven cause hides becomes ``possible``; of two proven ones of a kind for the same figure the vaguer
    becomes ``likely``; each that stands says what may lie behind it. What two tests say of the same is said once.
    """
    told = tuple(_once(found))
    weighed = [_beside(one, told, findings) for one in told]
    named = {one.cause for one in weighed}
    weighed = [replace(one, hides=tuple(_hidden(one, named, findings))) for one in weighed]
    return tuple(sorted((*weighed, *_unexplained(told, findings)), key=_place))


def _once(found: Iterable[Diagnosis]) -> list[Diagnosis]:
    """Of causes that two tests name, not each of a figure of its own, at one place or at one that is not narrowed, the
    surer one with the observations and the findings of both."""
    kept: list[Diagnosis] = []
    for one in found:
        same = next((each for each in kept if _same(each, one)), None)
        if same is None:
            kept.append(one)
            continue
        surer, other = sorted((same, one), key=lambda each: CERTAINTIES.index(each.certainty))
        kept[kept.index(same)] = replace(
            surer,
            segment=other.segment if surer.segment is Segment.BETWEEN else surer.segment,
            because=tuple(dict.fromkeys((*surer.because, *other.because))),
            checklist=tuple(dict.fromkeys((*surer.checklist, *other.checklist))),
            findings=tuple(dict.fromkeys((*surer.findings, *other.findings))),
        )
    return kept


def _same(one: Diagnosis, other: Diagnosis) -> bool:
    """What is broken on the way to the far host is one thing, however many figures tell of it; so is a host."""
    places = {one.segment, other.segment} - {Segment.BETWEEN}
    apart = bool(one.findings and other.findings) and _KIND_OF.get(one.cause) in BEYOND_THE_LINK
    return one.cause == other.cause and not apart and len(places) < 2


def explains(diagnosis: Diagnosis, finding: Finding, findings: Sequence[Finding]) -> bool:
    """This figure needs no cause besides: it tells of the same trouble, or of what that hides, in the same way.

    A host's fault explains none: what it spoils is left open, or judged with its part taken off.
    """
    kind = _KIND_OF.get(diagnosis.cause, HOSTS)
    if kind == HOSTS:
        return False
    own = told_by(diagnosis, findings)
    if finding in own:
        return True
    kinds = (kind, *HIDES.get(diagnosis.cause, ()))
    # A packet that is lost is late for ever: such a delay tells of loss.
    metric = "loss" if finding.value == math.inf else finding.metric
    if not any(metric.startswith(KINDS[name].metrics) for name in kinds):
        return False
    return not own or any(_same_way(each.scope, finding.scope) and _too_large(each, finding) for each in own)


def told_by(diagnosis: Diagnosis, findings: Sequence[Finding]) -> list[Finding]:
    """The findings that it rests on: those it names, else those of its kind and rows that did not pass."""
    if diagnosis.findings:
        return [finding for finding in findings if finding.id in diagnosis.findings]
    metrics = KINDS[_KIND_OF[diagnosis.cause]].metrics if diagnosis.cause in _KIND_OF else ()
    return [
        finding
        for finding in findings
        if finding.verdict in (Verdict.FAIL, Verdict.WARN)
        if finding.metric.startswith(metrics) and set(finding.checklist) & set(diagnosis.checklist)
    ]


def _beside(one: Diagnosis, told: Sequence[Diagnosis], findings: Sequence[Finding]) -> Diagnosis:
    """As certain as it is beside the others."""
    own, kind = told_by(one, findings), _KIND_OF.get(one.cause)
    # A route that is missing may have no figure of its own: what it rests on is the whole pair's.
    if kind is None or one.certainty == POSSIBLE or not (own or kind == ROUTES):
        return one
    proven = [
        other
        for other in told
        if other.certainty == PROVEN and all(explains(other, finding, findings) for finding in own)
    ]
    for other in proven:
        if kind in HIDES.get(other.cause, ()):
            said = f"{other.cause} is proven and explains the same: whether this is so too shows when that is mended."
            return replace(one, certainty=POSSIBLE, against=(*one.against, said))
    for other in proven:
        causes = KINDS[kind].causes
        if own and one.certainty == PROVEN and other.cause in causes[: causes.index(one.cause)]:
            said = f"{other.cause} is proven and explains the same."
            return replace(one, certainty=LIKELY, against=(*one.against, said))
    return one


def _hidden(one: Diagnosis, named: set[str], findings: Sequence[Finding]) -> Iterator[str]:
    """Causes that may lie behind this one: hidden by it, not named already, and not ruled out by what passed."""
    if one.certainty not in (PROVEN, LIKELY):
        return
    own = told_by(one, findings)
    for name in HIDES.get(one.cause, ()):
        judged = [
            finding.verdict
            for finding in findings
            if finding.operator is not None and finding.metric.startswith(KINDS[name].metrics)
            if not own or any(_same_way(each.scope, finding.scope) for each in own)
        ]
        if not judged or any(verdict is not Verdict.PASS for verdict in judged):
            yield from (cause for cause in KINDS[name].causes if cause not in named)


def _unexplained(told: Sequence[Diagnosis], findings: Sequence[Finding]) -> Iterator[Diagnosis]:
    """For each metric of which a mandatory finding failed and no rule says why: what is known, and what would tell."""
    open_by_metric: dict[str, list[Finding]] = {}
    measured = (each for each in findings if each.task and each.metric not in SELF_TOLD)
    for finding in (each for each in measured if each.mandatory and each.verdict is Verdict.FAIL):
        if not any(explains(one, finding, findings) for one in told):
            open_by_metric.setdefault(finding.metric, []).append(finding)
    for metric, failed in open_by_metric.items():
        kind = next((kind for kind in KINDS.values() if metric.startswith(kind.metrics)), KINDS["reachability"])
        yield Diagnosis(
            cause=UNKNOWN,
            certainty=UNKNOWN,
            segment=Segment.BETWEEN,
            owner=UNKNOWN,
            because=(*(f"{metric}, {_of(each)}: {each.reason}" for each in failed), *_beside_it(failed, findings)),
            against=(),
            checklist=tuple(dict.fromkeys(row for each in failed for row in each.checklist)),
            next=kind.next,
            findings=tuple(each.id for each in failed),
        )


def _of(finding: Finding) -> str:
    load = "" if finding.scope.load == "idle" else f", load {finding.scope.load}"
    return where(finding) + load


def _beside_it(failed: Sequence[Finding], findings: Sequence[Finding]) -> Iterator[str]:
    """What else is known of a figure that failed: the hosts, and where the same passed."""
    metric = failed[0].metric
    if metric.startswith(KINDS["loss"].metrics + KINDS["rate"].metrics):
        yield NOT_THE_HOSTS
    passed = (_of(each) for each in findings if each.metric == metric and each.verdict is Verdict.PASS)
    if said := "; ".join(dict.fromkeys(passed)):
        yield f"The same passed elsewhere: {said}."


def _same_way(one: Scope, other: Scope) -> bool:
    """They may speak of the same packets: of a common pair and family, and not of opposite directions."""
    apart = {one.direction, other.direction} == {Direction.A_Z, Direction.Z_A}
    pairs = set(one.pairs), set(other.pairs)
    return not apart and one.family == other.family and (not all(pairs) or bool(pairs[0] & pairs[1]))


def _too_large(limit: Finding, finding: Finding) -> bool:
    """Where the one is of a path MTU, the other is of packets that do not fit; true where a size is not known."""
    size = finding.scope.frame_bytes
    if finding.metric == "pmtu" or limit.metric != "pmtu" or size is None:
        return True
    if limit.statistic != "largest":  # how much more a host allows, or a SYN said: whatever arrives arrives
        return False
    return not isinstance(limit.value, int | float) or size - MAC_BYTES > limit.value


def _place(one: Diagnosis) -> tuple[int, int]:
    certainty = CERTAINTIES.index(one.certainty) if one.certainty in CERTAINTIES else len(CERTAINTIES)
    return certainty, list(Segment).index(one.segment)
