"""What the hops of both directions say of the way: over which ordered links, the same way back or not, over the
Internet or not.

A router answers with an address of the interface by which its answer leaves (RFC 1812, 4.3.2.4), or of the one at which
the packet came in. So a link shows by its far end in a trace that crosses it: by the VBR's address on the way there,
by the CE's on the way back. Many routers answer nothing: what is not seen proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

OTHER_CIRCUIT = "Traffic takes the other circuit"

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

NOT_THE_INTERNET: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",  # RFC 1918
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",  # RFC 6598
            "169.254.0.0/16",  # RFC 3927
            "fc00::/7",  # RFC 4193
            "fe80::/10",  # RFC 4291
        ),
    )
)
"""Addresses that no router of the Internet has towards it."""


class Link(NamedTuple):
    """One that was ordered, and its ends."""

    network: Network
    customer: Address
    cloud: Address


@dataclass(frozen=True, slots=True)
class Way:
    """One direction: all flows that were traced."""

    there: bool
    """From on-prem to the cloud."""
    hops: frozenset[Address]
    """Every address that answered, the far host's included."""
    last: str
    """The farthest hop of all that answered; empty if none did."""
    reached: bool
    refused: tuple[str, str] | None = None
    """Address and words of a router that did not send the probes on."""
    whole: bool = False
    """Every hop of every flow answered, up to the far host."""


@dataclass(frozen=True, slots=True)
class Said:
    """Yes, no or unknown, and why."""

    value: bool | None
    reason: str
    applicable: bool = True


def way(traced: Mapping[str, Any] | None, *, there: bool) -> Way:
    """Of what ``path.hops`` leaves; nothing is known where it left nothing."""
    flows = [traced, *traced.get("others", ())] if traced else []
    hops: set[Address] = set()
    last, farthest, refused = "", 0, None
    whole = bool(flows) and all(flow["reached"] and all(hop["answers"] for hop in flow["hops"]) for flow in flows)
    for flow in flows:
        onward = ("time exceeded", "udp echo", *(("port unreachable",) if flow["reached"] else ()))
        for hop in flow["hops"]:
            for answer in hop["answers"]:
                hops.add(ip_address(answer["address"]))
                if hop["ttl"] > farthest:
                    farthest, last = hop["ttl"], answer["address"]
                if answer.get("icmp", "time exceeded") not in onward:
                    refused = answer["address"], answer["icmp"]
    return Way(there, frozenset(hops), last, any(flow["reached"] for flow in flows), refused, whole)


def crossed(one: Way, links: Mapping[str, Link]) -> frozenset[str]:
    """The links, by name, of which an address other than the near end's answered."""

    def beyond(link: Link) -> bool:
        near = link.customer if one.there else link.cloud
        return any(hop in link.network and hop != near for hop in one.hops)

    return frozenset(name for name, link in links.items() if beyond(link))


def symmetric(there: Way, back: Way, links: Mapping[str, Link]) -> Said:
    """Do both directions cross the same links?"""
    sets = {"a-z": crossed(there, links), "z-a": crossed(back, links)}
    unknown = [name for name, found in sets.items() if not found]
    if unknown:
        return Said(None, f"In {' and '.join(unknown)} no router answered with an address of an ordered link.")
    one, other = sets.values()
    words = f"a-z crosses {_listed(one)} and z-a {_listed(other)}"
    if one == other:
        return Said(True, f"Both directions cross {_listed(one)}.")
    if one & other:
        return Said(None, f"Of the flows that were traced, {words}: more flows would tell.")
    return Said(False, f"It is not the same way back: {words}.")


def this_circuit(one: Way, links: Mapping[str, Link], own: Collection[str]) -> Said:
    """Is it a link of this order that this direction crosses, where there is another circuit's? None, and nothing was
    measured of this circuit, where all flows that were traced take the other; of a pair that shares its flows, and
    where no link answered, it does not show."""
    over = crossed(one, links)
    if links.keys() <= set(own):
        return Said(None, "No other circuit is known.", applicable=False)
    if not over:
        return Said(None, "In this direction no router answered with an address of an ordered link.", applicable=False)
    if over <= set(own):
        return Said(True, f"It crosses {_listed(over)}.")
    if over & set(own):
        return Said(None, f"Its flows cross {_listed(over)}: which of them a test takes is not told.", applicable=False)
    return Said(None, f"{OTHER_CIRCUIT}: it crosses {_listed(over)}, and what this run measures is of that one.")


def elsewhere(one: Way, links: Mapping[str, Link]) -> Said:
    """Does this direction avoid every ordered link, as it must while a backup carries it?"""
    over = crossed(one, links)
    if not links:
        return Said(None, "No link is known.")
    if over:
        return Said(False, f"It crosses {_listed(over)}.")
    if one.whole:
        return Said(True, "Every hop answered, and none with an address of an ordered link.")
    return Said(None, "No hop answered with an address of an ordered link, but some did not answer at all.")


def through_internet(
    one: Way, links: Mapping[str, Link], inside: Sequence[Network], sources: Iterable[str] = ()
) -> Said:
    """Does this direction go through the Internet? Carriers and sites number routers of their own with public addresses
    too: where packets for a private address arrive beyond such a one, it is none of the Internet's, or a tunnel's.

    ``inside``: further addresses that are not the Internet's, such as the order's prefixes. ``sources``: addresses,
    other than the sender's, from which its packets came to the far host.
    """
    known = (*NOT_THE_INTERNET, *(link.network for link in links.values()), *inside)
    public = [str(hop) for hop in sorted(one.hops, key=str) if not any(hop in network for network in known)]
    turned = [source for source in sources if not any(ip_address(source) in network for network in known)]
    over = crossed(one, links)
    if turned:
        return Said(True, f"Packets came to the far host from {', '.join(turned)}, a public address that is not ours.")
    if public and not over and one.reached and any(ip_address(one.last) in network for network in NOT_THE_INTERNET):
        said = f"{', '.join(public)} answered on the way, public and not of the order, but the Internet forwards "
        return Said(None, f"{said}nothing to {one.last}: whose routers these are, the order does not say.")
    if public and not over:
        return Said(True, f"{', '.join(public)} answered on the way: public, and not of the order.")
    if public:
        said = f"{', '.join(public)} answered on the way, public and not of the order, but so did {_listed(over)}"
        return Said(None, f"{said}: whose router that is, the order does not say.")
    if over:
        return Said(False, f"It crosses {_listed(over)}, and no hop that answered has a public address.")
    return Said(None, "No hop answered with an address of an ordered link: a tunnel would look the same.")


def _listed(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))
