"""How the lab's routers exchange routes where BGP is asked for: FRR's configuration, as text.

::

            iBGP 65010                eBGP, BFD               iBGP 45104
    core ───────────── ce-a ═════════════════════════ vbr-a ───────────── vpc
      └─────────────── ce-b ═════════════════════════ vbr-b ───────────────┘

The sites' own routers announce their site's prefix; CE and VBR pass it on. A CE takes and announces what is planned and
nothing else; the VBR takes up to 110 routes, as the provider's does. Both circuits carry (equal paths), or the second
stands by: its CE prefers what it learns less, and prolongs the path of what it announces.
"""

from __future__ import annotations

from dataclasses import dataclass

from perfharness.lab.spec import Bgp, LabSpec
from perfharness.lab.topology import CORE, VPC, Crossing, End, Plan

MOST_ROUTES = 110
"""That the provider takes from a peer."""
PREFERRED, LESS = 100, 50
"""Local preference (RFC 4271 §5.1.5) of what the CE learns from its VBR."""
PROLONGED = 3
NS_PER_MS = 1_000_000
COMMON = """\
ip prefix-list ONPREM seq 5 permit {onprem}
ip prefix-list CLOUD seq 5 permit {cloud}
route-map NOTHING deny 10
route-map FROM-CLOUD permit 10
 match ip address prefix-list CLOUD
 set local-preference {preference}
route-map TO-CLOUD permit 10
 match ip address prefix-list ONPREM
{prolonged}bgp route-map delay-timer 0
"""


@dataclass(frozen=True, slots=True)
class Neighbor:
    router: str
    address: str
    remote_as: int
    policy: tuple[str, str] | None = None
    """Route maps: of what comes in, of what goes out."""
    bfd: bool = False
    passive: bool = False
    """The other end opens the session."""


@dataclass(frozen=True, slots=True)
class Router:
    name: str
    """``ce-a``: the namespace without its ``ph-``."""
    namespace: str
    local_as: int
    id: str
    neighbors: tuple[Neighbor, ...]
    announces: str | None
    session: Bgp
    preference: int = PREFERRED
    prolonged: int = 0
    """How many times more than once its AS stands in the path of what it announces."""

    @property
    def daemons(self) -> tuple[str, ...]:
        return ("bgpd", "bfdd") if any(neighbor.bfd for neighbor in self.neighbors) else ("bgpd",)

    def neighbor(self, router: str) -> Neighbor:
        """Raises KeyError."""
        return {neighbor.router: neighbor for neighbor in self.neighbors}[router]


def routers(spec: LabSpec, plan: Plan) -> dict[str, Router]:
    """Every router by its name; none where routes are static."""
    if spec.bgp is None:
        return {}
    made: list[Router] = []
    for way, circuit in zip(plan.crossings, spec.circuits.values(), strict=True):
        made += _edge(way, circuit.bgp or spec.bgp, standby=spec.standby and way.letter != "a")
    core = (Neighbor(name_of(way.ce), _ip(way.north[1]), spec.bgp.customer_as) for way in plan.crossings)
    vpc = (Neighbor(name_of(way.vbr), _ip(way.south[0]), spec.bgp.cloud_as) for way in plan.crossings)
    first = plan.crossings[0]
    made.append(
        Router("core", CORE, spec.bgp.customer_as, _ip(first.north[0]), tuple(core), spec.onprem_prefix, spec.bgp)
    )
    made.append(Router("vpc", VPC, spec.bgp.cloud_as, _ip(first.south[1]), tuple(vpc), spec.cloud_prefix, spec.bgp))
    return {router.name: router for router in made}


def configuration(router: Router, spec: LabSpec) -> dict[str, str]:
    """The text for each daemon."""
    return {"zebra": "", "bgpd": _bgpd(router, spec), "bfdd": _bfdd(router.session)}


def name_of(namespace: str) -> str:
    return namespace.removeprefix("ph-")


def _edge(way: Crossing, session: Bgp, *, standby: bool) -> tuple[Router, Router]:
    customer, cloud = session.customer_as, session.cloud_as
    ce, vbr = name_of(way.ce), name_of(way.vbr)
    to_vbr = Neighbor(vbr, _ip(way.circuit[1]), cloud, ("FROM-CLOUD", "TO-CLOUD"), bfd=True)
    to_ce = Neighbor(ce, _ip(way.circuit[0]), customer, bfd=True, passive=True)
    to_core, to_vpc = Neighbor("core", _ip(way.north[0]), customer), Neighbor("vpc", _ip(way.south[1]), cloud)
    prefer, prolonged = (LESS, PROLONGED) if standby else (PREFERRED, 0)
    return (
        Router(ce, way.ce, customer, _ip(way.north[1]), (to_vbr, to_core), None, session, prefer, prolonged),
        Router(vbr, way.vbr, cloud, _ip(way.south[0]), (to_ce, to_vpc), None, session),
    )


def _ip(end: End) -> str:
    return str(end.address.ip)


def _bgpd(router: Router, spec: LabSpec) -> str:
    prepended = f" set as-path prepend {' '.join([str(router.local_as)] * router.prolonged)}\n"
    common = COMMON.format(
        onprem=spec.onprem_prefix,
        cloud=spec.cloud_prefix,
        preference=router.preference,
        prolonged=prepended if router.prolonged else "",
    )
    sessions, family = [], []
    for neighbor in router.neighbors:
        internal, here = neighbor.remote_as == router.local_as, f" neighbor {neighbor.address}"
        sessions += [
            f"{here} remote-as {neighbor.remote_as}",
            f"{here} description {neighbor.router}",
            f"{here} timers connect 1",
            *([f"{here} bfd profile circuit"] if neighbor.bfd else []),
            *([f"{here} passive"] if neighbor.passive else []),
        ]
        family += [f" {here} next-hop-self"] if internal else [f" {here} maximum-prefix {MOST_ROUTES}"]
        if neighbor.policy:
            came, goes = neighbor.policy
            family += [f" {here} soft-reconfiguration inbound", f" {here} route-map {came} in"]
            family += [f" {here} route-map {goes} out"]
    announced = [f"  network {router.announces}"] if router.announces else []
    lines = [
        f"router bgp {router.local_as}",
        f" bgp router-id {router.id}",
        " no bgp ebgp-requires-policy",
        " no bgp network import-check",
        " timers bgp 10 30",
        *sessions,
        " address-family ipv4 unicast",
        *announced,
        *family,
        "  maximum-paths ibgp 2",
        " exit-address-family",
    ]
    return f"hostname {router.name}\n{common}" + "\n".join(lines) + "\n"


def _bfdd(session: Bgp) -> str:
    return (
        "bfd\n profile circuit\n"
        f"  detect-multiplier {session.multiplier}\n"
        f"  receive-interval {session.rx_ns // NS_PER_MS}\n"
        f"  transmit-interval {session.tx_ns // NS_PER_MS}\n"
    )
