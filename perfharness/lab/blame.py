"""Whose each fault of the lab really is, and on which part of the path: what a proven cause must not contradict."""

from __future__ import annotations

from perfharness.lab.wish import Wish
from perfharness.model import Segment

OWN, CARRIER, CLOUD, UNKNOWN = "own", "carrier", "cloud", "unknown"
PLACES = {
    "onprem": (OWN,),
    "core": (OWN,),
    "ce": (OWN,),
    "vbr": (CLOUD,),
    "vpc": (CLOUD,),
    "ecs": (OWN, CLOUD),
    "link": (OWN, CLOUD),
}
"""By how the name of a place begins. An instance is its user's, and its limits and firewall are the provider's. The
link's MTU is that of an interface of the CE and of one of the VBR."""
USUAL = {
    "mtu-low": "link",
    "mss-clamp": "ce",
    "lan-loss": "core",
    "ce-drop": "ce",
    "missing-forward-route": "ce",
    "missing-return-route": "vpc",
    "port-blocked": "ecs",
    "bgp-as-mismatch": "vbr",
    "bgp-port-blocked": "vbr",
    "bgp-prefix-missing": "vbr",
    "bgp-prefix-leak": "vbr",
}
"""Where they are made unless another place is asked for; hosts' faults are the instance's, all others the circuit's."""
CIRCUIT = (CARRIER, CLOUD)
"""The lab plays line and meter as one; which end of the circuit it was nobody can see from outside."""
SEGMENTS = {
    OWN: {Segment.HOST_A, Segment.LAN, Segment.CE, Segment.HOST_Z},
    CARRIER: {Segment.CARRIER},
    CLOUD: {Segment.CLOUD_EDGE, Segment.HOST_Z},
}


def owners(wish: Wish) -> tuple[str, ...]:
    place = wish.at or USUAL.get(wish.name) or ("ecs" if wish.name.startswith("host-") else "")
    return next((told for name, told in PLACES.items() if place.startswith(name)), CIRCUIT)


def contradicts(wish: Wish, owner: str, segment: str) -> bool:
    """What is not narrowed contradicts nothing."""
    true = owners(wish)
    wrong_place = segment != Segment.BETWEEN and not any(segment in SEGMENTS[each] for each in true)
    return wrong_place or owner not in (*true, UNKNOWN)
