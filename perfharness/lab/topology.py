"""Namespaces, links, addresses and static routes: planned as data, then built through netlink."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from perfharness.lab import namespaces
from perfharness.lab.spec import Host, LabSpec

ONPREM, CORE, CE, VBR, VPC, ECS = ("ph-onprem", "ph-core", "ph-ce-a", "ph-vbr-a", "ph-vpc", "ph-ecs")
NAMES = (ONPREM, CORE, CE, VBR, VPC, ECS)
ONPREM_B, ECS_B = ("ph-onprem-b", "ph-ecs-b")
"""Of the second hosts, where there are any."""
ROUTERS = (CORE, CE, VBR, VPC)
WAN = "wan"
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


@dataclass(frozen=True, slots=True)
class End:
    namespace: str
    interface: str
    address: IPv4Interface


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
class Plan:
    namespaces: tuple[str, ...]
    mtu: int
    circuit: tuple[End, End]
    """The CE's end, the VBR's end."""
    links: tuple[tuple[End, End], ...]
    """The others; where there is a switch, this is its first host and the gateway."""
    switches: tuple[Switch, ...]
    routes: tuple[Route, ...]

    @property
    def hosts(self) -> tuple[End, ...]:
        """The pair first."""
        return (self.links[0][0], self.links[-1][1], *(host for switch in self.switches for host in switch.hosts[1:]))

    @property
    def ce_lan(self) -> End:
        """Where the CE is reached from on-prem."""
        return self.links[1][1]

    @property
    def before_circuit(self) -> tuple[End, End]:
        """The last interface that packets leave before those of the circuit, in each direction."""
        return self.links[1][0], self.links[2][1]


def plan(spec: LabSpec) -> Plan:
    onprem, core_lan = _site(spec.onprem, spec.onprem_b)
    ecs, vpc_lan = _site(spec.ecs, spec.ecs_b)
    core_up, ce_down = _transit(IPv4Network(spec.onprem_prefix))
    vpc_up, vbr_down = _transit(IPv4Network(spec.cloud_prefix))
    lan = (End(ONPREM, spec.onprem.interface, onprem), End(CORE, "onprem", core_lan))
    north = (End(CORE, "ce-a", core_up), End(CE, "core", ce_down))
    circuit = (End(CE, WAN, spec.customer), End(VBR, WAN, spec.cloud))
    south = (End(VBR, "vpc", vbr_down), End(VPC, "vbr-a", vpc_up))
    vpc = (End(VPC, "ecs", vpc_lan), End(ECS, spec.ecs.interface, ecs))
    switches = tuple(
        Switch(gateway, (first, End(name, second.interface, _on(gateway.address.network, second.address))))
        for first, gateway, name, second in ((*lan, ONPREM_B, spec.onprem_b), (*vpc[::-1], ECS_B, spec.ecs_b))
        if second is not None
    )
    return Plan(
        namespaces=(*NAMES, *(switch.hosts[1].namespace for switch in switches)),
        mtu=spec.mtu,
        circuit=circuit,
        links=(lan, north, south, vpc),
        switches=switches,
        routes=(
            Route(ONPREM, EVERYWHERE, lan[1]),
            Route(CORE, spec.cloud_prefix, north[1]),
            Route(CORE, str(spec.link), north[1]),
            Route(CE, spec.onprem_prefix, north[0]),
            Route(CE, spec.cloud_prefix, circuit[1]),
            Route(VBR, spec.onprem_prefix, circuit[0]),
            Route(VBR, spec.cloud_prefix, south[1]),
            Route(VPC, spec.onprem_prefix, south[0]),
            Route(VPC, str(spec.link), south[0]),
            Route(ECS, EVERYWHERE, vpc[0]),
            *(Route(switch.hosts[1].namespace, EVERYWHERE, switch.gateway) for switch in switches),
        ),
    )


def build(topology: Plan, *, taps: bool) -> None:
    """Into namespaces that exist and are empty; ``taps``: the circuit's ends are left to a wire."""
    netlink = {name: _netlink(name) for name in topology.namespaces}
    try:
        for name in topology.namespaces:
            _configure(name)
            _up(netlink[name], "lo")
        for switch in topology.switches:
            _switch(netlink[switch.gateway.namespace], switch, topology.mtu)
        gateways = {switch.gateway for switch in topology.switches}
        for a, z in topology.links + (() if taps else (topology.circuit,)):
            if not gateways & {a, z}:
                _veth(netlink[a.namespace], a, z)
        for end in topology.circuit if taps else ():
            _tap(end)
        for end in _ends(topology):
            _address(netlink[end.namespace], end, topology.mtu)
        for route in topology.routes:
            gateway = str(route.via.address.ip)
            netlink[route.namespace].route("add", dst=route.target, gateway=gateway)
    finally:
        for socket in netlink.values():
            socket.close()


def counters(end: End) -> dict[str, int]:
    """The interface's 64-bit counters, in the kernel's names."""
    with _netlink(end.namespace) as netlink:
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


def _transit(prefix: IPv4Network) -> tuple[IPv4Interface, IPv4Interface]:
    """Between two routers of a site: the last /30 of its prefix."""
    last = int(prefix.broadcast_address)
    return IPv4Interface((last - 2, 30)), IPv4Interface((last - 1, 30))


def _ends(topology: Plan) -> tuple[End, ...]:
    others = tuple(host for switch in topology.switches for host in switch.hosts[1:])
    return tuple(end for link in (*topology.links, topology.circuit) for end in link) + others


def _configure(name: str) -> None:
    forwarding = {"ipv4/ip_forward": "1"} if name in ROUTERS else {}
    with namespaces.entered(name):
        for key, value in (SYSCTLS | forwarding).items():
            path = Path("/proc/sys/net", key)
            if path.exists():  # a kernel without IPv6 has nothing to switch off
                path.write_text(value, encoding="ascii")


def _netlink(namespace: str) -> Any:
    """Opened in the namespace and not by ``IPRoute(netns=…)``: that forks, and ends its child with a SIGTERM that
    would find the coordinator's handler there."""
    from pyroute2 import IPRoute

    with namespaces.entered(namespace):
        return IPRoute()


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
    (index,) = netlink.link_lookup(ifname=end.interface)
    netlink.link("set", index=index, mtu=mtu)
    netlink.addr("add", index=index, address=str(end.address.ip), prefixlen=end.address.network.prefixlen)
    netlink.link("set", index=index, state="up")


def _up(netlink: Any, interface: str) -> None:
    (index,) = netlink.link_lookup(ifname=interface)
    netlink.link("set", index=index, state="up")
