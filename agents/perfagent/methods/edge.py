"""What a router that is a Linux host says of itself: interfaces, neighbours, routes, and FRR where it is there."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing, suppress
from typing import Any

from perfagent import ports, vtysh
from perfagent.ethtool import Card
from perfagent.jobs import Job
from perfagent.netlink import Routes
from perfagent.sockets import canonical
from perfagent.wire import Fault

MOST = 256
"""Interfaces, and neighbours: a router may have thousands that are nobody's business here."""
_BGP = 179
_FAILED_NEIGHBOUR = 0x20 | 0x01  # NUD_FAILED, NUD_INCOMPLETE
_IFF_UP = 1
_TRYING = ("Idle", "Connect", "Active")
"""States of BGP without a connection (RFC 4271, section 8.2.2); one that an administrator ended is none of them."""


def read(
    job: Job,
    *,
    interfaces: list[str],
    targets: list[str],
    peer: str | None,
    source: str,
    vtysh_command: str,
    knock: bool,
) -> dict[str, Any]:
    """Read it all once, and change nothing. Beside ``result.json``: ``netlink.txt`` and an output for each of
    ``vtysh.COMMANDS``, as they came.

    ``interfaces`` come first, of these the port towards the circuit, whose optical module is read as well; others
    follow, up to ``MOST``. ``targets``: addresses to which a route is looked up.
    ``knock``: try TCP/179 of ``peer`` from ``source``, if FRR says that it has no connection with it and wants one.
    ``{"t_ns", "outputs": {name: {command, exit_code, cut}}, "port": open | refused | rejected | silent | None}``
    """
    vtysh.words(vtysh_command)
    t_ns = time.time_ns()
    told = {
        **_netlink(interfaces),
        "optics": _module(interfaces[0]),
        "lookups": {target: _lookup(canonical(target)) for target in targets},
    }
    (job.folder / "netlink.txt").write_text(json.dumps(told, indent=1), encoding="utf-8")
    deadline_s = min(time.monotonic() + 20.0, job.deadline_mono_ns / 1e9 - 6.0)
    outputs = vtysh.show(job.folder, vtysh_command, peer, deadline_s)
    outputs["netlink"] = {"command": "netlink", "exit_code": 0, "cut": False}
    port = None
    if knock and peer is not None and _is_down(job, peer):
        with suppress(Fault):  # no such source address here: nothing was tried
            port = ports.scan_tcp(canonical(peer), canonical(source), [_BGP])[_BGP].state
    return {"t_ns": t_ns, "outputs": outputs, "port": port}


def _is_down(job: Job, peer: str) -> bool:
    """FRR knows the session, and has no connection: one that stands, or is just being opened, is not disturbed."""
    try:
        summary = json.loads((job.folder / "bgp-summary.txt").read_bytes())
        return summary["ipv4Unicast"]["peers"][peer]["state"] in _TRYING
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _lookup(target: str) -> dict[str, str | None] | None:
    """How this host forwards to an address; ``None`` where it has no route."""
    try:
        with closing(Routes()) as routes:
            return routes.to(target)
    except OSError:
        return None


def _netlink(first: list[str]) -> dict[str, Any]:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        links = {link["index"]: link for link in route.get_links()}
        names = {index: str(link.get("ifname")) for index, link in links.items()}
        addresses: dict[int, list[str]] = {index: [] for index in links}
        for each in route.get_addr():
            held = f"{each.get('local') or each.get('address')}/{each['prefixlen']}"
            addresses.setdefault(each["index"], []).append(held)
        chosen = sorted(links, key=lambda index: (names[index] not in first, index))[:MOST]
        neighbours = [_neighbour(each, names) for each in route.get_neighbours(family=socket.AF_INET)]
    return {
        "interfaces": [
            {**_interface(links[index], names, addresses[index]), "vrf": _vrf(index, links)} for index in chosen
        ],
        "neighbours": neighbours[:MOST],
    }


def _vrf(index: int, links: dict[int, Any]) -> str:
    """The VRF that an interface belongs to; empty: none, so its routes are in the main table."""
    master = links.get(links[index].get("master"))
    return str(master.get("ifname")) if master and master.get(("linkinfo", "kind")) == "vrf" else ""


def _interface(link: Any, names: dict[int, str], addresses: list[str]) -> dict[str, Any]:
    name = names[link["index"]]
    with closing(Card(name)) as card:
        speed = {**card.link(), "driver": card.driver()}
    return {
        "name": name,
        "kind": link.get(("linkinfo", "kind")),
        "vlan": link.get(("linkinfo", "data", "vlan_id")),
        "up": bool(link["flags"] & _IFF_UP),
        "carrier": None if link.get("carrier") is None else bool(link.get("carrier")),
        "carrier_changes": link.get("carrier_changes"),
        "mtu": link.get("mtu"),
        "mac": link.get("address"),
        **speed,
        "addresses": addresses,
        "counters": _counters(link.get("stats64")),
    }


def _module(interface: str) -> dict[str, Any]:
    with closing(Card(interface)) as card:
        return card.module()


def _counters(counters: Any) -> dict[str, int]:
    return {str(name): int(value) for name, value in counters.items()} if counters else {}


def _neighbour(each: Any, names: dict[int, str]) -> dict[str, Any]:
    return {
        "address": each.get("dst"),
        "mac": each.get("lladdr"),
        "interface": names.get(each["ifindex"]),
        "answered": not each["state"] & _FAILED_NEIGHBOUR,
    }
