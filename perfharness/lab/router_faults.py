"""What can be wrong with a router: its routes, its BGP session, what it does to packets that it forwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from perfharness.errors import LabFault
from perfharness.lab import frr, places, topology
from perfharness.lab.fault_parts import LOSS, answer, counter_of, each_way
from perfharness.lab.filters import FIRST, LAST, Chain, Filter, some_of
from perfharness.lab.routing import Neighbor, Router, name_of, routers
from perfharness.lab.spec import LabSpec
from perfharness.lab.topology import CORE, EVERYWHERE, VPC, WAN_RULE, Crossing
from perfharness.lab.trouble import Trouble, filtered, together
from perfharness.lab.wish import Fault, Wish
from perfharness.model import Direction

MSS = 1300
LEAKED = "10.99.0.0/16"
LEAK_RULE = 99
"""Of the prefix list that lets it pass."""
BGP_PORT = 179
WRONG_BY = 1
FAMILY = "address-family ipv4 unicast"


# --- routes -----------------------------------------------------------------------------------


def _no_way_there(spec: LabSpec, wish: Wish) -> Trouble:
    spaces = (topology.ONPREM, topology.ONPREM_B, CORE, *(way.ce for way in topology.plan(spec).crossings))
    return _unrouted(spec, wish.at or spec.circuits[wish.letter].ce_alias, spec.cloud_prefix, spaces)


def _no_way_back(spec: LabSpec, wish: Wish) -> Trouble:
    spaces = (topology.ECS, topology.ECS_B, VPC, *(way.vbr for way in topology.plan(spec).crossings))
    return _unrouted(spec, wish.at or name_of(VPC), spec.onprem_prefix, spaces)


def _unrouted(spec: LabSpec, at: str, target: str, spaces: tuple[str, ...]) -> Trouble:
    """A host has its default route only; a router takes the prefix from nobody, or has no static route to it."""
    plan = topology.plan(spec)
    namespace, routes = places.anywhere(at, spec)
    if namespace not in spaces:
        raise LabFault(f"This cannot be made at {at}.", f"It can at {', '.join(map(name_of, spaces))}.")
    if spec.bgp is None or not routes:
        missing = target if routes else EVERYWHERE
        return Trouble(lambda: topology.unroute(namespace, missing), lambda: topology.reroute(plan, namespace))
    router = routers(spec, plan)[name_of(namespace)]
    outside = [neighbor for neighbor in router.neighbors if neighbor.bfd]
    return _policies(router, outside or router.neighbors, "in")


# --- BGP --------------------------------------------------------------------------------------


def _policies(router: Router, neighbors: Iterable[Neighbor], side: str) -> Trouble:
    """Nothing is taken from these neighbors (``in``) or told to them (``out``)."""
    head = [f"router bgp {router.local_as}", FAMILY]
    neighbors = tuple(neighbors)

    def usual(neighbor: Neighbor) -> str:
        if neighbor.policy:
            return f"neighbor {neighbor.address} route-map {neighbor.policy[side == 'out']} {side}"
        return f"no neighbor {neighbor.address} route-map NOTHING {side}"

    nothing = [f"neighbor {neighbor.address} route-map NOTHING {side}" for neighbor in neighbors]
    return Trouble(
        lambda: frr.configure(router.name, [*head, *nothing]),
        lambda: frr.configure(router.name, [*head, *map(usual, neighbors)]),
    )


def _edge(spec: LabSpec, wish: Wish) -> tuple[Router, Neighbor]:
    """The router of the session across the circuit that the fault is made at, the VBR by default; and its neighbor."""
    plan = topology.plan(spec)
    way = places.crossing(wish.letter, spec)
    edges = tuple(space for each in plan.crossings for space in (each.ce, each.vbr))
    namespace = places.router(wish.at, spec, edges) if wish.at else way.vbr
    router = routers(spec, plan)[name_of(namespace)]
    return router, next(neighbor for neighbor in router.neighbors if neighbor.bfd)


def _as_mismatch(spec: LabSpec, wish: Wish) -> Trouble:
    router, neighbor = _edge(spec, wish)

    def expect(number: int) -> None:
        lines = [f"router bgp {router.local_as}", f"neighbor {neighbor.address} remote-as {number}"]
        frr.configure(router.name, lines)

    return Trouble(lambda: expect(neighbor.remote_as + WRONG_BY), lambda: expect(neighbor.remote_as))


def _port_blocked(spec: LabSpec, wish: Wish) -> Trouble:
    """On the link, at the VBR; what is established breaks at once and not after the hold time."""
    way = places.crossing(wish.letter, spec)
    rules = (
        f"iifname {WAN_RULE} tcp dport {BGP_PORT} counter name blocked {answer(wish, 'port')}",
        f"iifname {WAN_RULE} tcp sport {BGP_PORT} counter name blocked drop",
    )
    table = filtered(Filter(way.vbr, "ph_bgp_port_blocked", (Chain("input", rules),), ("blocked",)))
    clear = f"clear bgp {way.circuit[0].address.ip}"
    return together(table, Trouble(lambda: frr.order(name_of(way.vbr), clear), lambda: None))


def _prefix_missing(spec: LabSpec, wish: Wish) -> Trouble:
    router, neighbor = _edge(spec, wish)
    return _policies(router, [neighbor], "out")


def _prefix_leak(spec: LabSpec, wish: Wish) -> Trouble:
    """Announced at one end, and let pass by the CE, whichever end it is."""
    router, neighbor = _edge(spec, wish)
    try:
        prefix = str(ip_network(wish.prefix or LEAKED))
    except ValueError as error:
        raise LabFault(f"--prefix {wish.prefix}: {error}.") from None
    if prefix in (spec.onprem_prefix, spec.cloud_prefix):
        raise LabFault(f"{prefix} is planned.", "Choose another: --prefix.")
    at_ce = neighbor.policy is not None
    ce, passing = (router.name, "ONPREM") if at_ce else (neighbor.router, "CLOUD")

    def leak(no: str) -> None:
        frr.configure(ce, [f"{no}ip prefix-list {passing} seq {LEAK_RULE} permit {prefix}"])
        frr.configure(router.name, [f"router bgp {router.local_as}", FAMILY, f"{no}network {prefix}"])

    return Trouble(lambda: leak(""), lambda: leak("no "))


# --- packets ----------------------------------------------------------------------------------


def _ce_drops(spec: LabSpec, wish: Wish) -> Trouble:
    way = places.crossing(wish.letter, spec)
    return _drops(wish, way.ce, {Direction.A_Z: f"oifname {WAN_RULE}", Direction.Z_A: f"iifname {WAN_RULE}"})


def _lan_loses(spec: LabSpec, wish: Wish) -> Trouble:
    """In the LAN's router; the hosts' TCP leaves packet by packet meanwhile."""
    plan = topology.plan(spec)
    ways = {Direction.A_Z: 'iifname "onprem"', Direction.Z_A: 'oifname "onprem"'}
    apart = Trouble(lambda: topology.segment(plan.hosts, True), lambda: topology.segment(plan.hosts, False))
    return together(apart, _drops(wish, CORE, ways))


def _drops(wish: Wish, namespace: str, where: Mapping[Direction, str]) -> Trouble:
    """``where``: the condition that a packet is on its way in this direction."""
    some = some_of(wish.share or LOSS)
    rules = tuple(f"{where[way]} {some}counter name {counter_of(way)} drop" for way in wish.ways())
    return filtered(each_way(wish, namespace, [Chain("forward", rules, FIRST)]))


def _clamps(spec: LabSpec, wish: Wish) -> Trouble:
    way: Crossing = places.crossing(wish.letter, spec)
    namespace = places.router(wish.at, spec) if wish.at else way.ce
    mss = wish.mss or MSS
    syn = f"tcp flags & (syn|rst) == syn tcp option maxseg size > {mss}"
    rule = f"{syn} counter name clamped tcp option maxseg size set {mss}"
    return filtered(Filter(namespace, "ph_mss_clamp", (Chain("forward", (rule,), LAST),), ("clamped",)))


ROUTER_FAULTS = {
    "missing-forward-route": Fault(
        "Nothing reaches the cloud: the CE, another router of the site, or the host has no route there.",
        ("at", "circuit"),
        trouble=_no_way_there,
    ),
    "missing-return-route": Fault(
        "Packets reach the cloud and no answer comes: the VPC, the VBR or the instance has no route back.",
        ("at", "circuit"),
        trouble=_no_way_back,
    ),
    "bgp-as-mismatch": Fault(
        "BGP never comes up: an OPEN is answered by a NOTIFICATION, Bad Peer AS (the VBR expects another, or the CE).",
        ("at", "circuit"),
        trouble=_as_mismatch,
        needs_bgp=True,
    ),
    "bgp-port-blocked": Fault(
        "BGP is down, although the link's addresses answer pings: TCP port 179 is silent, or refused.",
        ("answer", "circuit"),
        trouble=_port_blocked,
        needs_bgp=True,
    ),
    "bgp-prefix-missing": Fault(
        "BGP is up and the cloud's prefix does not come (at the CE: the site's is not announced): no route.",
        ("at", "circuit"),
        trouble=_prefix_missing,
        needs_bgp=True,
    ),
    "bgp-prefix-leak": Fault(
        "A prefix that nobody planned is announced and taken: 10.99.0.0/16, or the one asked for, as 0.0.0.0/0.",
        ("at", "prefix", "circuit"),
        trouble=_prefix_leak,
        needs_bgp=True,
    ),
    "mss-clamp": Fault(
        "TCP sends smaller segments than the path would carry: the CE rewrites the MSS in SYNs, to 1300.",
        ("at", "mss", "circuit"),
        trouble=_clamps,
    ),
    "lan-loss": Fault(
        "A hundredth of the packets is lost between the on-prem host and the CE: the circuit is not to blame.",
        ("share", "direction"),
        trouble=_lan_loses,
        packetwise=True,
    ),
    "ce-drop": Fault(
        "A hundredth of the packets comes into the CE and does not leave it.",
        ("share", "circuit", "direction"),
        trouble=_ce_drops,
        packetwise=True,
    ),
}
