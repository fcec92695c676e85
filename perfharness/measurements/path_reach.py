"""Does each direction of a path deliver, over which links, and whose are the routers that answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from perfharness.analysis.hops import Link, Said, Way, elsewhere, symmetric, this_circuit, through_internet, way
from perfharness.evidence import TaskFiles
from perfharness.measurements.base import V4, Context
from perfharness.measurements.path_ports import ANSWERED, states
from perfharness.model import Direction, Observation, Scope, Segment
from perfharness.order.circuit import Circuit, load_circuit

WAYS = (Direction.A_Z, Direction.Z_A)
NO_LINK = Said(None, "The order has no IPv6 link, so that hops prove no way: write `link6:` of the VBR.")
MOST_ANSWER = 0.9
"""Of the echo requests: fewer is worth a word, and no verdict; hosts and routers limit what they answer."""
ALWAYS = (ip_network("11.0.0.0/8"),)
"""Not announced to the Internet in earnest, and numbers the provider's own routers (default, not confirmed)."""


def answers(data: Mapping[str, Any], far: str) -> int:
    """What only the far host can have sent: echo replies, open ports, ICMP errors from its address."""
    ports = sum(state == "open" for state in states(data["ports"]).values())
    said = sum(1 for error in data["errors"].values() if error.get("from") == far)
    received: int = data["ping"]["received"]
    return received + ports + said


def resets(data: Mapping[str, Any]) -> int:
    """Ports that were refused although a listener of ours stood there: by a firewall, on that host or on the way."""
    return sum(state == "refused" for state in states(data["ports"]).values())


def arrived(data: Mapping[str, Any]) -> int:
    """Datagrams and connections of this direction that the far host's listener saw."""
    seen: Mapping[str, Mapping[str, int]] = data["arrived"]
    return sum(sum(ports.values()) for ports in seen.values())


def reachable(scope: Scope, data: Mapping[str, Any], far: str, evidence: str) -> Observation:
    """Reached = anything came back, or the far host saw what was sent: many hosts keep silent to ping, and an answer
    may be lost on a way back that is broken."""
    ping, ports = data["ping"], states(data["ports"])
    answered = sum(state in ANSWERED for state in ports.values())
    got_through: bool | None = answers(data, far) > 0
    reason = f"{ping['received']} of {ping['sent']} echo requests and {answered} ports answered."
    if 0 < ping["received"] < MOST_ANSWER * ping["sent"]:
        reason += " Few of the echo requests: how much is lost the rows of loss tell."
    if not got_through and arrived(data):
        got_through = True
        reason = f"Nothing came back, but the far host saw {arrived(data)} packets: this direction delivers."
    elif not got_through and resets(data):
        got_through = None
        reason = f"Nothing but {resets(data)} resets came back, which a firewall on the way can send as well."
    elif not got_through:
        reason += f" {how_far(data)}"
    return Observation(
        metric="path",
        statistic="reachable",
        scope=scope,
        unit="",
        value=got_through,
        n=ping["sent"] + len(ports),
        evidence=(evidence,),
        reason=reason,
    )


def how_far(data: Mapping[str, Any]) -> str:
    """Where the packets of a direction that delivers nothing are last seen."""
    if ping_failed := data["ping"].get("reason"):
        return f"{ping_failed[0].upper()}{ping_failed[1:]}."
    if data.get("hops") is None:
        return "The hops were not traced."
    if refused := data["refused"]:
        return f"{refused['from']} says {refused['said']}."
    return f"The last hop that answered is {data['last']}." if data["last"] else "No hop answered, not even the first."


def end_of_way(traced: Mapping[str, Any] | None, context: Context) -> dict[str, Any]:
    """The farthest hop that answered and where it lies, and who refused to send the probes on, for the facts of a
    direction."""
    found = way(traced, there=True)
    refused = None
    if found.refused:
        sender, said = found.refused
        refused = {"from": sender, "said": said, "segment": whose(sender, context).value}
    segment = whose(found.last, context).value if found.last else None
    return {"last": found.last, "segment": segment, "refused": refused}


def unreachable(found: Mapping[Direction, Mapping[str, Any]], far: Mapping[Direction, str]) -> str:
    """One sentence where nothing came back to either end; else empty."""
    if any(answers(found[each], far[each]) or resets(found[each]) for each in WAYS):
        return ""
    seen = [each.value for each in WAYS if arrived(found[each])]
    but = f", though what was sent {' and '.join(seen)} arrived" if seen else ""
    return f"The far host did not answer: no echo and no port, from either end{but}."


def links(circuit: Circuit, files: TaskFiles, family: str) -> dict[str, Link]:
    """Those of this order, and of its companion's as it was when the run began."""
    path = files.folder.path / "order/companion.yaml"
    orders = [circuit, *([load_circuit(path)] if path.exists() else ())]
    found = {f"the link of {vbr.id}": vbr.link if family == V4 else vbr.link6 for order in orders for vbr in order.vbrs}
    return {name: Link(link.network, link.customer.ip, link.cloud.ip) for name, link in found.items() if link}


def ways_seen(
    context: Context,
    family: str,
    files: TaskFiles,
    found: Mapping[Direction, Mapping[str, Any]],
    evidence: Mapping[Direction, str],
    cut: bool,
) -> Iterator[Observation]:
    """What the hops say of each direction; none where they were not asked for. ``cut``: the circuit was meanwhile."""
    if any("hops" not in found[each] for each in WAYS):
        return
    ordered = links(context.circuit, files, family)
    ways: dict[Direction, Way] = {each: way(found[each]["hops"], there=each is Direction.A_Z) for each in WAYS}
    same = symmetric(ways[Direction.A_Z], ways[Direction.Z_A], ordered)
    own = [f"the link of {vbr.id}" for vbr in context.circuit.vbrs]
    prefixes = context.circuit.prefixes
    inside = (*prefixes.onprem, *prefixes.cloud, *ALWAYS)
    for each in WAYS:
        scope = context.scope(each, family=family)
        sources = found[each]["translated"]
        public = through_internet(ways[each], ordered, inside, sources)
        over = {"elsewhere": elsewhere(ways[each], ordered)} if cut else {}
        over |= {} if cut else {"this_circuit": this_circuit(ways[each], ordered, own)}
        seen = {"symmetric": same, "internet": public, **over}
        for statistic, said in seen.items():
            unlinked = not ordered and said.value is None and said.applicable  # what no link can show
            yield _seen(statistic, scope, NO_LINK if unlinked else said, evidence[each])


def _seen(statistic: str, scope: Scope, said: Said, evidence: str) -> Observation:
    return Observation(
        "path",
        statistic,
        scope,
        "",
        said.value,
        1,
        evidence=(evidence,),
        reason=said.reason,
        applicable=said.applicable,
    )


def whose(address: str, context: Context) -> Segment:
    """Where on the path the order has this address; BETWEEN where it has it nowhere."""
    found, order = ip_address(address), context.circuit
    if found in (context.a.address, context.a.address6):
        return Segment.HOST_A
    if found in (context.z.address, context.z.address6):
        return Segment.HOST_Z
    ends = [(link.customer.ip, link.cloud.ip) for vbr in order.vbrs for link in (vbr.link, vbr.link6) if link]
    if found in [customer for customer, _ in ends]:
        return Segment.CE
    if found in [cloud for _, cloud in ends] or any(found in net for net in order.prefixes.cloud):
        return Segment.CLOUD_EDGE
    return Segment.LAN if any(found in net for net in order.prefixes.onprem) else Segment.BETWEEN
