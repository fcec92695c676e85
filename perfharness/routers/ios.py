"""Cisco IOS and IOS XE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from perfharness.routers.state import (
    BfdPeer,
    BgpSession,
    Hop,
    Interface,
    Neighbour,
    Route,
    RouterState,
    prefixes,
)
from perfharness.routers.tables import duration_s, number, rows, said

PLATFORM = "cisco_ios"
COMMANDS = {
    "interfaces": "show interfaces",
    "neighbours": "show ip arp",
    "routes": "show ip route",
    "bgp-summary": "show ip bgp summary",
    "bgp-neighbor": "show ip bgp neighbors {peer}",
    "bgp-advertised": "show ip bgp neighbors {peer} advertised-routes",
    "bgp-received": "show ip bgp neighbors {peer} received-routes",
    "bgp-accepted": "show ip bgp neighbors {peer} routes",
    "bfd-peers": "show bfd neighbors details",
}
_PROTOCOLS = {"C": "connected", "L": "local", "S": "static", "B": "bgp", "O": "ospf", "D": "eigrp", "R": "rip"}
_SPEED_BPS = {"kb/s": 10**3, "mb/s": 10**6, "mbps": 10**6, "gb/s": 10**9, "gbps": 10**9}
_NO_BGP = "% BGP not active"


def parse(outputs: Mapping[str, str]) -> RouterState:
    return RouterState(
        interfaces=_each(_interface, rows(PLATFORM, "show interfaces", outputs.get("interfaces"))),
        neighbours=_each(_neighbour, rows(PLATFORM, "show ip arp", outputs.get("neighbours"))),
        routes=_routes(rows(PLATFORM, "show ip route", outputs.get("routes"))),
        bgp=_bgp(outputs),
        bfd=_each(_bfd, rows(PLATFORM, "show bfd neighbors details", outputs.get("bfd-peers"))),
    )


def _each(make: Any, found: Sequence[Mapping[str, Any]] | None) -> Any:
    return None if found is None else tuple(make(row) for row in found)


def _interface(row: Mapping[str, Any]) -> Interface:
    crc, frame = number(row["crc"]), number(row["frame"])
    dropped = number(row["queue_output_drops"])
    return Interface(
        name=row["interface"],
        up="administratively" not in row["link_status"],
        carrier=row["link_status"] == "up",
        speed_bps=_speed_bps(row["speed"]),
        duplex=_duplex(row["duplex"]),
        autoneg=True if "auto" in f"{row['duplex']} {row['speed']}".lower() else None,
        mtu=number(row["mtu"]),
        vlan=number(row["vlan_id"]) if "." in row["interface"] else None,  # of the port it is the native one's
        addresses=(f"{row['ip_address']}/{row['prefix_length']}",) if row["ip_address"] else (),
        frames_in=number(row["input_packets"]),
        damaged=None if crc is None or frame is None else crc + frame,
        discards=dropped,
    )


def _speed_bps(text: str) -> int | None:
    found = re.match(r"(\d+)\s?(\w+/?\w*)", text)
    unit = _SPEED_BPS.get(found[2].lower()) if found else None
    return int(found[1]) * unit if found and unit else None


def _duplex(text: str) -> str | None:
    """``Full Duplex``, ``Full-duplex``, ``a-full``."""
    return next((word for word in ("full", "half") if word in text.lower()), None)


def _neighbour(row: Mapping[str, Any]) -> Neighbour:
    known = row["mac_address"] != "Incomplete"
    return Neighbour(row["ip_address"], row["mac_address"] if known else None, row["interface"] or None, known)


def _routes(found: Sequence[Mapping[str, Any]] | None) -> tuple[Route, ...] | None:
    if found is None:
        return None
    hops: dict[tuple[str, str], list[Hop]] = {}
    for row in found:
        prefix = f"{row['network']}/{row['prefix_length']}"
        if prefixes([prefix]):
            key = prefix, _PROTOCOLS.get(row["protocol"], row["protocol"])
            hops.setdefault(key, []).append(Hop(row["nexthop_ip"] or None, row["nexthop_if"] or None))
    return tuple(Route(prefix, protocol, tuple(ways)) for (prefix, protocol), ways in hops.items())


def _bfd(row: Mapping[str, Any]) -> BfdPeer:
    tx, rx = number(row["min_tx_interval"]), number(row["min_rx_interval"])
    return BfdPeer(
        peer=row["neighbor_addr"],
        state=row["state"].lower(),
        tx_ms=None if tx is None else tx // 1000,  # in microseconds
        rx_ms=None if rx is None else rx // 1000,
        multiplier=number(row["multiplier"]),
        remote_multiplier=number(row["received_multiplier"]),
    )


def _bgp(outputs: Mapping[str, str]) -> tuple[BgpSession, ...] | None:
    """The session that was asked about; of the others the summary tells too little to be of use."""
    summary, text = outputs.get("bgp-summary"), outputs.get("bgp-neighbor")
    if summary is not None and summary.strip().startswith(_NO_BGP):
        return ()
    if text is None or summary is None:
        return None
    peer = said(r"^BGP neighbor is ([\d.]+)", text)
    local_as = number(said(r"local AS number (\d+)", summary))
    if peer is None:
        return () if local_as is not None else None
    state = said(r"BGP state = (\w+)", text)
    remote_as = number(said(r"remote AS (\d+)", text))
    return (
        BgpSession(
            peer=peer,
            local_as=number(said(r"local AS (\d+)", text)) or local_as,
            remote_as=remote_as,
            state=state,
            uptime_s=duration_s(said(r"Established, up for (\S+)", text)),
            established=number(said(r"Connections established (\d+)", text)),
            sent=_table(outputs.get("bgp-advertised"), remote_as),
            received=_table(outputs.get("bgp-received"), local_as),
            accepted=_table(outputs.get("bgp-accepted"), None),
            prefix_limit=number(said(r"Maximum prefixes allowed (\d+)", text)),
            md5=bool(re.search(r"Option Flags:.*\bmd5\b", text)) if "Option Flags:" in text else None,
            notification=_notification(text),
            last_reset=said(r"Last reset [^,]+, due to (.+)", text),
        ),
    )


def _notification(text: str) -> str | None:
    """IOS says in words what the codes are."""
    why = said(r"Last reset [^,]+, due to .*[Nn]otification[^,]*, (.+)", text)
    if why is None:
        return None
    return f"2/2 {why}" if "wrong AS" in why else why


def _table(text: str | None, looped_as: int | None) -> tuple[str, ...] | None:
    """Prefixes of a BGP table; an empty one is no table at all, only a count."""
    if text is None or text.lstrip().startswith("%"):
        return None
    if re.search(r"Total number of prefixes 0\s*$", text):
        return ()
    found = rows(PLATFORM, "show ip bgp", text)
    if found is None:
        return None
    return prefixes(_with_mask(row["network"]) for row in found if str(looped_as) not in row["as_path"].split())


def _with_mask(network: str) -> str:
    """A prefix without its mask has that of its class."""
    if "/" in network or network == "0.0.0.0":
        return network if "/" in network else "0.0.0.0/0"
    first = ip_address(network).packed[0]
    return f"{network}/{8 if first < 128 else 16 if first < 192 else 24}"
