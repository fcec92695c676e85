"""The report's vocabulary: what each code word of the model is called in front of a reader."""

from __future__ import annotations

from dataclasses import dataclass

from perfharness.model import TOGETHER, Direction, Scope, Segment, Verdict


@dataclass(frozen=True, slots=True)
class VerdictWord:
    """A verdict to the eye: a word, a symbol that needs no colour, and the name of its colour."""

    word: str
    symbol: str
    tone: str
    counted: str
    """How the summary counts it."""


VERDICTS = {
    Verdict.PASS: VerdictWord("Pass", "✓", "pass", "passed"),
    Verdict.FAIL: VerdictWord("Fail", "✕", "fail", "failed"),
    Verdict.INCONCLUSIVE: VerdictWord("Inconclusive", "?", "open", "inconclusive"),
    Verdict.WARN: VerdictWord("Warning", "!", "open", "warnings"),
    Verdict.NOT_RUN: VerdictWord("Not measured", "○", "none", "not measured"),
    Verdict.WAIVED: VerdictWord("Waived", "◇", "none", "waived"),
    Verdict.NOT_APPLICABLE: VerdictWord("Not applicable", "–", "none", "not applicable"),
}

DIRECTIONS = {
    Direction.A_Z: "on-prem → cloud",
    Direction.Z_A: "cloud → on-prem",
    Direction.ROUND_TRIP: "round trip",
    Direction.BOTH: "both ways at once",
}

SEGMENTS = {
    Segment.HOST_A: "on-prem host",
    Segment.LAN: "LAN",
    Segment.CE: "CE router",
    Segment.CARRIER: "carrier circuit",
    Segment.CLOUD_EDGE: "cloud edge",
    Segment.HOST_Z: "cloud host",
    Segment.BETWEEN: "between the hosts",
}

OWNERS = {"own": "own network", "carrier": "carrier", "cloud": "cloud provider", "unknown": "not known"}

METRICS = {
    "tools": "Tools present",
    "footprint": "Left behind on hosts",
    "path": "Far host reachable",
    "port": "Agreed ports blocked",
    "pmtu": "Path MTU",
    "vlan": "VLAN",
    "bgp": "BGP",
    "route": "Route",
    "flows": "Flows that fare worse",
    "dscp": "DSCP preserved",
    "portspec": "Order",
    "throughput.udp": "UDP throughput at the committed rate",
    "throughput.tcp": "TCP throughput",
    "capacity.sustained": "Sustained capacity",
    "capacity.max": "Highest capacity in one second",
    "ceiling": "What a host can do by itself",
    "policing": "Policer or shaper",
    "policing.rate": "Metered rate",
    "policing.bucket": "Token bucket",
    "policing.queue": "Queue of the shaper",
    "tcp.efficiency": "TCP efficiency",
    "tcp.buffer_delay": "TCP buffer delay",
    "tcp.transfer_time_ratio": "TCP transfer time ratio",
    "delay.rtt": "Round-trip delay",
    "delay.loaded": "Round-trip delay under load",
    "delay.oneway": "One-way delay",
    "variation.pdv": "Delay variation (PDV)",
    "variation.ipdv": "Delay variation (IPDV)",
    "loss": "Packet loss",
    "reordering": "Reordering",
    "duplication": "Duplication",
    "availability": "Availability",
    "outage": "Outage",
}
"""In the order in which the rows of a table stand."""

FIGURES = {
    ("path", "symmetric"): "Same links both ways",
    ("path", "internet"): "Through the Internet",
    ("path", "this_circuit"): "Over this circuit, not the other one",
    ("path", "elsewhere"): "Off the ordered links while they are cut",
    ("pmtu", "swallowed"): "Swallowed by an MTU black hole",
    ("pmtu", "mss_cut"): "Cut from the MSS of TCP",
    ("pmtu", "host_excess"): "Host MTU beyond the ordered one",
    ("port", "open_undeclared"): "Undeclared ports open",
    ("port", "forbidden_open"): "Forbidden connections that came about",
    ("portspec", "light"): "Light, dB within the module's alarms",
    ("portspec", "light_warning"): "Light, dB within the module's warnings",
    ("portspec", "module_fits"): "Optical module of the ordered reach",
    ("portspec", "flaps"): "Changes of the carrier at the CE's port",
    ("portspec", "errors"): "Damaged frames at the CE's port",
    ("portspec", "discards"): "Frames dropped at the CE's port",
    ("bgp", "guarded"): "BGP session with prefix limit and filters",
    ("route", "leaked"): "New prefixes that are not in the plan",
}
"""Statistics that are figures of their own beside the one that their metric is named for."""

GROUPS = (
    ("Path", ("tools", "vlan", "bgp", "route", "path", "port", "pmtu", "flows", "dscp")),
    ("Rate", ("throughput", "capacity", "ceiling", "policing", "tcp")),
    ("Delay", ("delay", "variation")),
    ("Loss and availability", ("loss", "reordering", "duplication", "availability", "outage")),
)
"""The order of the rows by the first word of their metric; an unknown metric goes to the end."""

CAUSES = {
    "vlan-mismatch": "The VLAN does not match end to end",
    "vlan-leak": "The VBR answers on another VLAN too",
    "missing-return-route": "The return route is missing",
    "missing-forward-route": "The forward route is missing",
    "bgp-as-mismatch": "The AS numbers do not agree",
    "bgp-port-blocked": "BGP's TCP port 179 is blocked",
    "bgp-shut-down": "The BGP session is switched off",
    "bgp-neighbour-wrong": "The router has no such BGP neighbour",
    "bgp-prefix-limit": "A limit of prefixes ended the BGP session",
    "bgp-key-mismatch": "The BGP session's key does not match",
    "bgp-prefix-missing": "A prefix is not announced",
    "bgp-prefix-leak": "A prefix is announced that should not be",
    "mtu-below-plan": "The path MTU is below the plan",
    "mtu-black-hole": "Large packets vanish without a word (MTU black hole)",
    "mss-clamped": "The TCP segment size is clamped on the way",
    "port-blocked": "A declared port is blocked",
    "probes-filtered": "All probes are filtered out, while other packets get through",
    "circuit-loss-random": "Random loss between the hosts",
    "circuit-loss-burst": "Loss in bursts between the hosts",
    "loss-one-way": "Loss in one direction only",
    "unattributed-loss": "Loss that no counter explains",
    "lan-loss": "Loss in the LAN",
    "ce-drop": "The CE router drops",
    "lag-member-bad": "A member of the link group is bad",
    "policed-below-order": "Policed below the ordered rate",
    "shaped-below-order": "Shaped below the ordered rate",
    "policer-burst-too-small": "The policer's burst is too small for TCP",
    "tcp-window-too-small": "A host's TCP window is too small for the path",
    "delay-above-objective": "Delay above the objective",
    "jitter-above-objective": "Delay variation above the objective",
    "reordering": "Packets are reordered",
    "duplication": "Packets are duplicated",
    "corruption": "Packets are corrupted",
    "dscp-remarked": "DSCP is remarked on the way",
    "link-flap": "The link flapped",
    "link-down": "The link is down",
    "far-host-unreachable": "The far host cannot be reached",
    "other-circuit": "Traffic takes the other circuit",
    "failover-slow": "Failover takes too long",
    "host-receive-buffer": "The receiving host's socket buffer overflows",
    "host-cpu": "A test host ran short of CPU",
    "host-nic-limit": "A host's own interface is the limit",
    "host-nic-mtu": "A host's NIC has another MTU than the circuit",
    "ecs-instance-limit": "The cloud instance's own limit",
    "clock-unsynchronised": "The hosts' clocks are not synchronised",
    "background-traffic": "Other traffic was on the circuit",
    "unknown": "The cause is not known",
}

_LOADS = {
    "idle": "idle path",
    "tcp": "under TCP load",
    "udp": "under UDP load",
    "tcp both ways": "under TCP load both ways",
    "udp both ways": "under UDP load both ways",
    "service": "during the steps of a service",
    "service both ways": "during the steps of a service both ways",
    "CIR": "under all services at their CIR",
    "CIR both ways": "under all services at their CIR both ways",
}


def metric(name: str, statistic: str = "") -> str:
    """A metric's name for a reader; one that we do not know keeps its own."""
    return FIGURES.get((name, statistic)) or METRICS.get(name, name)


def cause(name: str) -> str:
    """A cause in words; one that we do not know keeps its own name."""
    return CAUSES.get(name, name)


def load(name: str) -> str:
    """What else was on the path, in words."""
    return _LOADS.get(name, f"at {name}")


def direction(which: Direction | None, service: str = "") -> str:
    """``on-prem → cloud, class EF``; nothing for a figure without direction or class of service."""
    return ", ".join(
        part for part in (DIRECTIONS[which] if which else "", f"class {service}" if service else "") if part
    )


PARTS = {Direction.A_Z: "as in on-prem → cloud", Direction.Z_A: "as in cloud → on-prem"}
"""The part of a host that is tried without the circuit: it sends, or takes, as in this direction."""


def between(of: Scope) -> str:
    """The pair, ``onprem-a ↔ ecs-a + ecs-b``; a host of several pairs is named once."""
    return " ↔ ".join(" + ".join(dict.fromkeys(side.split(TOGETHER))) for side in of.pair.split(":"))


def bracket(of: Scope) -> str:
    """Against whom a host was tried."""
    return "loopback" if of.bracket == of.host else f"against {of.bracket}"


def scope(of: Scope, *, pair: bool, load_too: bool = True) -> str:
    """What a figure speaks of, in one line; the pair only where there is more than one."""
    parts = [direction(of.direction), load(of.load) if load_too and of.load != "idle" else ""]
    if of.host:
        return ", ".join(part for part in (of.host, bracket(of), PARTS.get(of.direction or Direction.BOTH, "")) if part)
    if pair and of.pair:
        parts.append(between(of))
    if of.service:
        parts.append(f"class {of.service}")
    if of.family != "ipv4":
        parts.append(of.family.replace("ipv", "IPv"))
    return ", ".join(part for part in parts if part)
