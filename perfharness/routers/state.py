"""What is known of a router, whoever made it. ``None`` everywhere = it was not told; an empty tuple = it has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

DARK_DBM = -40.0
"""0.1 µW: the least that a module can tell (SFF-8472, table 9-5), and what vendors print for no light at all."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A port, or a VLAN on one."""

    name: str
    up: bool | None = None
    """As configured."""
    carrier: bool | None = None
    """Whether the other end is there."""
    speed_bps: int | None = None
    duplex: str | None = None
    """``full`` or ``half``."""
    autoneg: bool | None = None
    mtu: int | None = None
    """Bytes of an IP packet."""
    vlan: int | None = None
    """The tag that it sends with, where it is a VLAN on a port."""
    driver: str | None = None
    addresses: tuple[str, ...] | None = None
    """With their masks."""
    frames_in: int | None = None
    damaged: int | None = None
    """Frames that came with a wrong check sum or shape (CRC, FCS, alignment)."""
    carrier_changes: int | None = None
    """How often the carrier came or went since the router was started."""
    discards: int | None = None
    """Frames that were whole and were dropped, both ways."""
    vrf: str | None = None
    """The VRF that its routes are in; empty: none."""


@dataclass(frozen=True, slots=True)
class Light:
    """Optical power of one lane in one direction as the module itself measures it, and its own thresholds, in dBm."""

    way: str
    """``rx`` or ``tx``."""
    lane: int
    """From 1."""
    dbm: float
    """``DARK_DBM`` stands for that and for all that is darker."""
    digit_db: float
    """By how much the reading may be off for its last digit."""
    low_alarm: float | None = None
    low_warn: float | None = None
    high_warn: float | None = None
    high_alarm: float | None = None


@dataclass(frozen=True, slots=True)
class Optics:
    """The module in the port towards the circuit."""

    module: str | None = None
    """What it is, in its own words."""
    lights: tuple[Light, ...] = ()
    reason: str = ""
    """Why it tells no power: a clause."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the ARP table."""

    address: str
    mac: str | None
    interface: str | None
    answered: bool | None = None
    vlan: int | None = None
    """The tag with which its answer came."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a packet goes next: to a gateway, or to a station on the interface itself."""

    gateway: str | None
    interface: str | None


@dataclass(frozen=True, slots=True)
class Route:
    """A route that is in use, with all its next hops."""

    prefix: str
    protocol: str
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class BgpSession:
    """A neighbour as it is configured, and how the session with it stands."""

    peer: str
    local_as: int | None = None
    remote_as: int | None = None
    """As configured here."""
    state: str | None = None
    """RFC 4271, section 8.2.2: ``Idle`` … ``Established``."""
    uptime_s: float | None = None
    established: int | None = None
    """How often it came up since the router was started or the counter cleared."""
    sent: tuple[str, ...] | None = None
    """Prefixes advertised to the peer. Those with its own AS in their path are left out: it ignores them (RFC 4271,
    section 9)."""
    received: tuple[str, ...] | None = None
    """Prefixes that came, before filters of ours; those with our AS in their path are left out."""
    accepted: tuple[str, ...] | None = None
    """... and after them."""
    accepted_count: int | None = None
    prefix_limit: int | None = None
    """How many this router takes of the peer."""
    filters: tuple[bool, bool] | None = None
    """Whether a policy of ours stands before what comes, and before what goes."""
    md5: bool | None = None
    notification: str | None = None
    """The last one, in words; ``2/2`` is another AS number than expected (RFC 4271, section 4.5)."""
    dated: bool = True
    """Whether the notification is surely that of the last fall; else it may be older."""
    last_reset: str | None = None
    """Why it last fell, in words."""

    @property
    def learned(self) -> tuple[str, ...] | None:
        """What came and was accepted; where that is not told, what came."""
        return self.received if self.accepted is None else self.accepted


@dataclass(frozen=True, slots=True)
class BfdPeer:
    """A BFD session (RFC 5880) as this router sees it; intervals in ms."""

    peer: str
    state: str
    """``up`` or another word."""
    tx_ms: int | None = None
    rx_ms: int | None = None
    multiplier: int | None = None
    remote_multiplier: int | None = None
    remote_tx_ms: int | None = None
    remote_rx_ms: int | None = None
    """As the other end says, while the session stands."""


@dataclass(frozen=True, slots=True)
class RouterState:
    """All of it, at one moment."""

    interfaces: tuple[Interface, ...] | None = None
    neighbours: tuple[Neighbour, ...] | None = None
    routes: tuple[Route, ...] | None = None
    bgp: tuple[BgpSession, ...] | None = None
    bfd: tuple[BfdPeer, ...] | None = None
    optics: Optics | None = None
    """Of the port towards the circuit."""
    lookups: Mapping[str, Hop | None] = field(default_factory=dict)
    """Where it sends packets to these addresses, as it answered itself; ``None``: it has no route."""

    def interface(self, name: str) -> Interface | None:
        return next((each for each in self.interfaces or () if each.name == name), None)

    def holder(self, address: str) -> Interface | None:
        """The interface with this IP address."""
        held = (each for each in self.interfaces or () for one in each.addresses or () if one.split("/")[0] == address)
        return next(held, None)

    def in_vrf(self, address: str) -> bool | None:
        """Whether the interface with this address of the router's own belongs to a VRF, whose tables are not read:
        as it says itself, else by the routes of the link that the table lacks; ``None`` where neither tells."""
        holder = self.holder(address)
        if holder is None:  # of a router that tells of VRFs it is on no interface of any
            return False if any(each.vrf is not None for each in self.interfaces or ()) else None
        if holder.vrf is not None:
            return bool(holder.vrf)
        if self.routes is None or not holder.carrier:
            return None
        link = next(ip_interface(one).network for one in holder.addresses or () if one.split("/")[0] == address)
        near = {ip_network(route.prefix) for route in self.routes if route.protocol in ("connected", "local")}
        gateways = {ip_address(hop.gateway) for route in self.routes for hop in route.hops if hop.gateway}
        return link not in near and not any(gateway in link for gateway in gateways)

    def session(self, peer: str) -> BgpSession | None:
        return next((each for each in self.bgp or () if each.peer == peer), None)

    def bfd_with(self, peer: str) -> BfdPeer | None:
        return next((each for each in self.bfd or () if each.peer == peer), None)

    def ways_to(self, address: str) -> tuple[Hop, ...] | None:
        """Its next hops towards an address: as it said itself, else by the longest prefix. Empty: it has no route;
        ``None``: not told."""
        if address in self.lookups:
            hop = self.lookups[address]
            return () if hop is None else (hop,)
        if self.routes is None:
            return None
        target = ip_address(address)
        covering = [route for route in self.routes if target in ip_network(route.prefix)]
        longest = max(covering, key=lambda route: ip_network(route.prefix).prefixlen, default=None)
        return () if longest is None else longest.hops


class Platform(NamedTuple):
    """How routers of one make are asked, and understood."""

    commands: Mapping[str, str]
    """Output → read-only command; ``{peer}`` is the BGP neighbour's address, ``{wan}`` the port towards the circuit."""
    parse: Callable[[Mapping[str, str]], RouterState]
    """Outputs by name, those that there are → state. Raises nothing for text that is not as expected."""


def prefixes(written: Iterable[str]) -> tuple[str, ...]:
    """As networks, in order, each once; what is no prefix is left out."""
    found = set()
    for each in written:
        try:
            found.add(ip_network(each, strict=False))
        except ValueError:
            continue
    return tuple(str(net) for net in sorted(found, key=lambda net: (net.version, net)))


def natural(network: str) -> str:
    """Some routers print a prefix without its mask where that is the one of its class."""
    if "/" in network:
        return network
    if network == "0.0.0.0":
        return "0.0.0.0/0"
    first = ip_address(network).packed[0]
    return f"{network}/{8 if first < 128 else 16 if first < 192 else 24}"
