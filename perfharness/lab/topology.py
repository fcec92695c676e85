"""Namespaces, links, addresses and static routes: planned as data, then built through netlink."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from perfharness.lab import namespaces, tagging
from perfharness.lab.spec import Host, LabSpec

ONPREM, CORE, CE, VBR, VPC, ECS = ("ph-onprem", "ph-core", "ph-ce-a", "ph-vbr-a", "ph-vpc", "ph-ecs")
NAMES = (ONPREM, CORE, CE, VBR, VPC, ECS)
ONPREM_B, ECS_B = ("ph-onprem-b", "ph-ecs-b")
"""Of the second hosts, where there are any."""
CE_B, VBR_B = ("ph-ce-b", "ph-vbr-b")
"""Of the second circuit, where there is one."""
ROUTERS = (CORE, CE, VBR, VPC, CE_B, VBR_B)
WAN = "wan"
WAN_RULE = f'"{WAN}*"'
"""For the packet filter: the port, or the VLAN on it."""
TAP_QUEUE = 4096
"""Frames that a TAP holds while the wire is busy: about 50 ms at 1 Gbit/s of full-size frames."""
TCP_OFFLOADS = tuple(f"tx-tcp{kind}-segmentation" for kind in ("", "-ecn", "-mangleid", "6"))
EVERYWHERE = "0.0.0.0/0"

SYSCTLS = {
    "ipv6/conf/default/disable_ipv6": "1",  # no neighbour discovery among the counted frames
    # Strict or loose, the filter would turn a missing return route into a loss on the way there.
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/icmp_ratelimit": "0",  # a trace through the lab is not thinned out
}
ROUTING = {
    "ipv4/ip_forward": "1",
    "ipv4/fib_multipath_hash_policy": "1",  # of two ways each flow takes one, told by its ports too
}


@dataclass(frozen=True, slots=True)
class End:
    namespace: str
    interface: str
    address: IPv4Interface
    vlan: int = 0
    """Of a circuit's port; what has the address may stand on it, see ``tagging``."""


@dataclass(frozen=True, slots=True)
class Route:
    namespace: str
    target: str
    via: End


@dataclass(frozen=True, slots=True)
class Switch:
    """Several hosts on one LAN: ``gateway`` is the router's interface, a bridge with a port for each."""

    gateway: End
    hosts: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """One circuit, and what leads to it: LAN router – CE ══ VBR – VPC router."""

    letter: str
    north: tuple[End, End]
    circuit: tuple[End, End]
    """The CE's end, the VBR's end."""
    south: tuple[End, End]
    mtu: int
    """Of the circuit."""

    @property
    def ce(self) -> str:
        return self.circuit[0].namespace

    @property
    def vbr(self) -> str:
        return self.circuit[1].namespace

    @property
    def before(self) -> tuple[End, End]:
        """The last interface that packets leave before those of the circuit, in each direction."""
        return self.north[0], self.south[1]


@dataclass(frozen=True, slots=True)
class Plan:
    namespaces: tuple[str, ...]
    mtu: int
    crossings: tuple[Crossing, ...]
    links: tuple[tuple[End, End], ...]
    """All but the circuits, the two sites' first; where there is a switch, this is its first host and the gateway."""
    switches: tuple[Switch, ...]
    routes: tuple[Route, ...]
    """Static ones."""

    @property
    def circuit(self) -> tuple[End, End]:
        """The first one."""
        return self.crossings[0].circuit

    @property
    def hosts(self) -> tuple[End, ...]:
        """The pair first."""
        (onprem, _), (_, ecs) = self.links[:2]
        return (onprem, ecs, *(host for switch in self.switches for host in switch.hosts[1:]))


def plan(spec: LabSpec) -> Plan:
    onprem, core_lan = _site(spec.onprem, spec.onprem_b)
    ecs, vpc_lan = _site(spec.ecs, spec.ecs_b)
    lan = (End(ONPREM, spec.onprem.interface, onprem), End(CORE, "onprem", core_lan))
    vpc = (End(VPC, "ecs", vpc_lan), End(ECS, spec.ecs.interface, ecs))
    crossings = tuple(_crossing(letter, circuit) for letter, circuit in spec.circuits.items())
    switches = tuple(
        Switch(gateway, (first, End(name, second.interface, _on(gateway.address.network, second.address))))
        for first, gateway, name, second in ((*lan, ONPREM_B, spec.onprem_b), (*vpc[::-1], ECS_B, spec.ecs_b))
        if second is not None
    )
    routers = tuple(name for way in crossings[1:] for name in (way.ce, way.vbr))
    return Plan(
        namespaces=(*NAMES, *routers, *(switch.hosts[1].namespace for switch in switches)),
        mtu=spec.mtu,
        crossings=crossings,
        links=(lan, vpc, *(link for way in crossings for link in (way.north, way.south))),
        switches=switches,
        routes=(
            Route(ONPREM, EVERYWHERE, lan[1]),
            Route(ECS, EVERYWHERE, vpc[0]),
            *(Route(switch.hosts[1].namespace, EVERYWHERE, switch.gateway) for switch in switches),
            *(route for way in crossings for route in _to_link(way)),
            *(() if spec.bgp else _across(crossings[0], spec)),
        ),
    )


def _crossing(letter: str, spec: LabSpec) -> Crossing:
    ce, vbr = (CE, VBR) if letter == "a" else (CE_B, VBR_B)
    number = "ab".index(letter)
    core_up, ce_down = _transit(IPv4Network(spec.onprem_prefix), number)
    vpc_up, vbr_down = _transit(IPv4Network(spec.cloud_prefix), number)
    return Crossing(
        letter,
        (End(CORE, f"ce-{letter}", core_up), End(ce, "core", ce_down)),
        (End(ce, WAN, spec.customer, spec.vlan), End(vbr, WAN, spec.cloud, spec.vlan)),
        (End(vbr, "vpc", vbr_down), End(VPC, f"vbr-{letter}", vpc_up)),
        spec.mtu,
    )


def _to_link(way: Crossing) -> tuple[Route, ...]:
    """The routers' own addresses on the circuit can be reached from both sites."""
    link = str(way.circuit[0].address.network)
    return Route(CORE, link, way.north[1]), Route(VPC, link, way.south[0])


def _across(way: Crossing, spec: LabSpec) -> tuple[Route, ...]:
    """From site to site, where no routing protocol says so."""
    return (
        Route(CORE, spec.cloud_prefix, way.north[1]),
        Route(way.ce, spec.onprem_prefix, way.north[0]),
        Route(way.ce, spec.cloud_prefix, way.circuit[1]),
        Route(way.vbr, spec.onprem_prefix, way.circuit[0]),
        Route(way.vbr, spec.cloud_prefix, way.south[1]),
        Route(VPC, spec.onprem_prefix, way.south[0]),
    )


def build(topology: Plan, *, taps: bool) -> None:
    """Into namespaces that exist and are empty; ``taps``: the circuits' ends are left to a wire."""
    netlink = {name: namespaces.netlink(name) for name in topology.namespaces}
    try:
        for name in topology.namespaces:
            _configure(name)
            _up(netlink[name], "lo")
        for switch in topology.switches:
            _switch(netlink[switch.gateway.namespace], switch, topology.mtu)
        gateways = {switch.gateway for switch in topology.switches}
        for a, z in topology.links:
            if not gateways & {a, z}:
                _veth(netlink[a.namespace], a, z)
        for way in topology.crossings:
            _join(netlink, way, taps)
        for end in _ends(topology):
            _address(netlink[end.namespace], end, topology.mtu)
        _route(netlink, topology.routes)
    finally:
        for socket in netlink.values():
            socket.close()


def rebuild(topology: Plan, way: Crossing, *, taps: bool) -> None:
    """One circuit anew, as a veth pair or as two TAPs; what went by it is routed again."""
    netlink = {name: namespaces.netlink(name) for name in (way.ce, way.vbr)}
    try:
        for end in way.circuit:  # of a veth pair the second goes with the first
            for index in netlink[end.namespace].link_lookup(ifname=end.interface):
                netlink[end.namespace].link("del", index=index)
        _join(netlink, way, taps)
        _route(netlink, (route for route in topology.routes if route.namespace in netlink))
    finally:
        for socket in netlink.values():
            socket.close()


def reroute(topology: Plan, namespace: str) -> None:
    """The static routes of this namespace are there again."""
    with namespaces.netlink(namespace) as netlink:
        _route({namespace: netlink}, (route for route in topology.routes if route.namespace == namespace))


def unroute(namespace: str, target: str) -> None:
    """This static route is there no more; none may have been."""
    from pyroute2.netlink.exceptions import NetlinkError

    with namespaces.netlink(namespace) as netlink:
        try:
            netlink.route("del", dst=target)
        except NetlinkError as error:
            if error.code != errno.ESRCH:
                raise


def resize(end: End, mtu: int) -> None:
    """The interface's MTU."""
    with namespaces.netlink(end.namespace) as netlink:
        for index in _stack(netlink, end):
            netlink.link("set", index=index, mtu=mtu)


def switch_on(end: End, on: bool) -> None:
    """The interface is up, or it is down and its routes are gone; a veth's other end then has no carrier."""
    with namespaces.netlink(end.namespace) as netlink:
        (index,) = netlink.link_lookup(ifname=end.interface)
        netlink.link("set", index=index, state="up" if on else "down")


def forget_paths(plan: Plan) -> None:
    """No host believes any more what a Packet Too Big told it within the last ten minutes."""
    for name in plan.namespaces:
        with namespaces.entered(name):
            Path("/proc/sys/net/ipv4/route/flush").write_text("1", encoding="ascii")


def site(plan: Plan, host: End) -> tuple[End, ...]:
    """Every interface from this host to the last one before the circuit."""
    onprem = host.namespace in (ONPREM, ONPREM_B)
    gateway = plan.links[0][1] if onprem else plan.links[1][0]
    ports = (
        End(gateway.namespace, f"{gateway.interface}-{letter}", gateway.address)
        for switch in plan.switches
        if switch.gateway == gateway
        for letter in "ab"
    )
    uplinks = (end for way in plan.crossings for end in (way.north if onprem else way.south))
    return (host, *ports, gateway, *uplinks)


def tagged(end: End) -> bool:
    """Whether the kernel tags what leaves this end of a circuit."""
    with namespaces.netlink(end.namespace) as netlink:
        return bool(tagging.found(netlink, end.interface, end.vlan))


def counters(end: End) -> dict[str, int]:
    """The interface's 64-bit counters, in the kernel's names."""
    with namespaces.netlink(end.namespace) as netlink:
        (link,) = netlink.link("get", ifname=end.interface)
        return {name: int(value) for name, value in link.get_attr("IFLA_STATS64").items()}


def keep_datagrams_apart(ends: Iterable[End]) -> None:
    """Without UDP segmentation offload every datagram is a packet of its own, and counts as one.

    TCP keeps its offload: one by one at 1 Gbit/s, its packets overtake each other between two processors.
    """
    for end in ends:
        _offload(end, ("tx-udp-segmentation",), False)


def segment(ends: Iterable[End], apart: bool) -> None:
    """Whether what leaves these ends is one packet each, or TCP's pieces of up to 64 KiB as they come.

    A device's own offloads are used after its queue, too late for a meter there: it takes those of the one before.
    """
    for end in ends:
        _offload(end, TCP_OFFLOADS, not apart)


def _offload(end: End, names: Iterable[str], enable: bool) -> None:
    from pyroute2.ethtool import Ethtool

    with namespaces.entered(end.namespace), Ethtool() as ethtool:
        features = ethtool.get_features(end.interface)
        changed = [offload for name in names if (offload := features.features.get(name)) and offload.enable != enable]
        for offload in changed:
            offload.enable = enable
        if changed:
            ethtool.set_features(end.interface, features)


def _site(host: Host, other: Host | None) -> tuple[IPv4Interface, IPv4Interface]:
    """The host and its gateway: the first address of the network that is no host's."""
    network = host.network
    taken = {host.address, other.address if other else None}
    gateway = next(address for address in network.hosts() if str(address) not in taken)
    return _on(network, host.address), _on(network, str(gateway))


def _on(network: IPv4Network, address: str) -> IPv4Interface:
    return IPv4Interface(f"{address}/{network.prefixlen}")


def _transit(prefix: IPv4Network, number: int) -> tuple[IPv4Interface, IPv4Interface]:
    """Between two routers of a site: the last /30 of its prefix, for the second circuit the one before."""
    last = int(prefix.broadcast_address) - 4 * number
    return IPv4Interface((last - 2, 30)), IPv4Interface((last - 1, 30))


def _ends(topology: Plan) -> tuple[End, ...]:
    others = tuple(host for switch in topology.switches for host in switch.hosts[1:])
    return tuple(end for link in topology.links for end in link) + others


def _configure(name: str) -> None:
    with namespaces.entered(name):
        for key, value in (SYSCTLS | (ROUTING if name in ROUTERS else {})).items():
            path = Path("/proc/sys/net", key)
            if path.exists():  # else there is no IPv6 to switch off, or no multipath to spread
                path.write_text(value, encoding="ascii")


def _join(netlink: Mapping[str, Any], way: Crossing, taps: bool) -> None:
    if taps:
        for end in way.circuit:
            _tap(end)
    else:
        _veth(netlink[way.ce], *way.circuit)
        for end in way.circuit:
            tagging.add(netlink[end.namespace], end.namespace, end.interface, end.vlan)
    for end in way.circuit:
        _address(netlink[end.namespace], end, way.mtu)


def _route(netlink: Mapping[str, Any], routes: Iterable[Route]) -> None:
    for route in routes:
        netlink[route.namespace].route("replace", dst=route.target, gateway=str(route.via.address.ip))


def _veth(netlink: Any, a: End, z: End) -> None:
    netlink.link("add", kind="veth", ifname=a.interface, peer={"ifname": z.interface, "net_ns_fd": z.namespace})


def _switch(netlink: Any, switch: Switch, mtu: int) -> None:
    """Its ports forward at once, for a bridge speaks no spanning tree unless it is told to."""
    netlink.link("add", kind="bridge", ifname=switch.gateway.interface)
    (bridge,) = netlink.link_lookup(ifname=switch.gateway.interface)
    for letter, host in zip("ab", switch.hosts, strict=True):
        name = f"{switch.gateway.interface}-{letter}"
        peer = {"ifname": host.interface, "net_ns_fd": host.namespace}
        netlink.link("add", kind="veth", ifname=name, peer=peer)
        (port,) = netlink.link_lookup(ifname=name)
        netlink.link("set", index=port, master=bridge, mtu=mtu, state="up")


def _tap(end: End) -> None:
    from pyroute2 import IPRoute

    with namespaces.entered(end.namespace), IPRoute() as netlink:
        netlink.link("add", kind="tuntap", mode="tap", ifname=end.interface)
        (index,) = netlink.link_lookup(ifname=end.interface)
        netlink.link("set", index=index, txqlen=TAP_QUEUE)


def _address(netlink: Any, end: End, mtu: int) -> None:
    stack = _stack(netlink, end)
    for index in stack:
        netlink.link("set", index=index, mtu=mtu)
    netlink.addr("add", index=stack[-1], address=str(end.address.ip), prefixlen=end.address.network.prefixlen)
    for index in stack:
        netlink.link("set", index=index, state="up")


def _stack(netlink: Any, end: End) -> list[int]:
    """The port, and the VLAN on it if there is one: a VLAN's MTU may not exceed its port's, so that comes first."""
    (port,) = netlink.link_lookup(ifname=end.interface)
    return [port, *tagging.found(netlink, end.interface, end.vlan)]


def _up(netlink: Any, interface: str) -> None:
    (index,) = netlink.link_lookup(ifname=interface)
    netlink.link("set", index=index, state="up")
