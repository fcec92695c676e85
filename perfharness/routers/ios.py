"""Cisco IOS and IOS XE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from perfharness.routers import light
from perfharness.routers.state import (
    BfdPeer,
    BgpSession,
    Hop,
    Interface,
    Neighbour,
    Route,
    RouterState,
    natural,
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
    "optics": "show interfaces {wan} transceiver detail",
}
_PROTOCOLS = {"C": "connected", "L": "local", "S": "static", "B": "bgp", "O": "ospf", "D": "eigrp", "R": "rip"}
_SPEED_BPS = {"kb/s": 10**3, "mb/s": 10**6, "mbps": 10**6, "gb/s": 10**9, "gbps": 10**9}
_NO_BGP = "% BGP not active"


def parse(outputs: Mapping[str, str]) -> RouterState:
    interfaces, links = rows(PLATFORM, "show interfaces", outputs.get("interfaces")), _links(outputs)
    shown = outputs.get("optics")
    return RouterState(
        interfaces=None if interfaces is None else tuple(_interface(row, links) for row in interfaces),
        neighbours=_each(_neighbour, rows(PLATFORM, "show ip arp", outputs.get("neighbours"))),
        routes=_routes(rows(PLATFORM, "show ip route", outputs.get("routes"))),
        bgp=_bgp(outputs),
        bfd=_each(_bfd, rows(PLATFORM, "show bfd neighbors details", outputs.get("bfd-peers"))),
        optics=light.ios(shown, _medium(shown or "", interfaces or ())),
    )


def _each(make: Any, found: Sequence[Mapping[str, Any]] | None) -> Any:
    return None if found is None else tuple(make(row) for row in found)


def _links(outputs: Mapping[str, str]) -> dict[str, str]:
    """``link type is …`` by interface: the template passes over it."""
    parts = re.split(r"^(\S+) is (?=.*line protocol)", outputs.get("interfaces") or "", flags=re.MULTILINE)
    return {
        name: said(r"link type is ([\w-]+)", text) or "" for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def _medium(optics: str, interfaces: Sequence[Mapping[str, Any]]) -> str | None:
    """What is plugged into the port of which the optics tell: its name is shortened there, as ``Gi0/0/1``."""
    port = re.search(r"^\s*([A-Z][a-z])[A-Za-z]*(\d[\d/]*)\s+(?:\d+\s+)?-?\d+\.\d", optics, re.MULTILINE)
    if port is None:
        return None
    full = re.compile(rf"{port[1]}[A-Za-z]+{re.escape(port[2])}")
    return next((row["media_type"] or None for row in interfaces if full.fullmatch(row["interface"])), None)


def _interface(row: Mapping[str, Any], links: Mapping[str, str]) -> Interface:
    crc, frame = number(row["crc"]), number(row["frame"])
    dropped = number(row["queue_output_drops"])
    return Interface(
        name=row["interface"],
        up="administratively" not in row["link_status"],
        carrier=row["link_status"] == "up",
        speed_bps=_speed_bps(row["speed"]),
        duplex=_duplex(row["duplex"]),
        autoneg=_autoneg(row, links.get(row["interface"], "")),
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


def _autoneg(row: Mapping[str, Any], link: str) -> bool | None:
    """``link type is auto``, ``Auto-duplex``; ``force-up`` is off."""
    told = f"{link} {row['duplex']} {row['speed']}".lower()
    return True if "auto" in told else False if "force" in told else None


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
    state = _state(text)
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
            filters=_filters(text),
            md5=bool(re.search(r"Option Flags:.*\bmd5\b", text)) if "Option Flags:" in text else None,
            notification=_notification(text),
            last_reset=said(r"Last reset [^,]+, due to (.+)", text),
        ),
    )


def _state(text: str) -> str | None:
    """With the reason why it stays down, which stands in a line of its own, as the summary writes it."""
    state = said(r"BGP state = (\w+)", text)
    if state == "Idle" and re.search(r"Administratively shut down", text, re.IGNORECASE):
        return "Idle (Admin)"
    return "Idle (PfxCt)" if state == "Idle" and "exceeded the max. no. of prefixes" in text else state


def _filters(text: str) -> tuple[bool, bool]:
    """IOS names what is configured and is silent of what is not."""
    ways = (("Incoming", "Inbound", "incoming"), ("Outgoing", "Outbound", "outgoing"))
    found = (
        re.search(rf"{lists} update .*filter list is|{policy} path policy configured|Route map for {maps}", text)
        for lists, policy, maps in ways
    )
    into, out = (each is not None for each in found)
    return into, out


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
    return prefixes(natural(row["network"]) for row in found if str(looped_as) not in row["as_path"].split())
