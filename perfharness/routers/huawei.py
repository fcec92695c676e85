"""Huawei VRP. The tag of a sub-interface is that with which its neighbour answered ARP: nothing else shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
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

PLATFORM = "huawei_vrp"
COMMANDS = {
    "interfaces": "display interface",
    "neighbours": "display arp all",
    "routes": "display ip routing-table verbose",
    "bgp-summary": "display bgp peer",
    "bgp-neighbor": "display bgp peer {peer} verbose",
    "bgp-advertised": "display bgp routing-table peer {peer} advertised-routes",
    "bgp-received": "display bgp routing-table peer {peer} received-routes",
    "bgp-log": "display bgp peer {peer} log-info",
    "bfd-peers": "display bfd session all verbose",
    "optics": "display transceiver interface {wan} verbose",
    "optics-levels": "display transceiver diagnosis interface {wan}",
    "optics-port": "display interface {wan}",
}
_REFUSED = ("Error:", "Info:")


def parse(outputs: Mapping[str, str]) -> RouterState:
    parts = _parts(outputs.get("interfaces") or "")
    counted = {name: _counted(text) for name, text in parts.items()}
    found = [row for text in parts.values() for row in rows(PLATFORM, "display interface", text) or ()]
    tags = _tags(outputs.get("neighbours") or "")
    neighbours = rows(PLATFORM, "display arp all", outputs.get("neighbours"))
    return RouterState(
        interfaces=tuple(_interface(row, counted, tags) for row in found) or None,
        neighbours=None
        if neighbours is None
        else tuple(
            Neighbour(row["ip_address"], row["mac_address"], row["interface"], True, tags.get(_short(row["interface"])))
            for row in neighbours
        ),
        routes=_routes(rows(PLATFORM, "display ip routing-table verbose", outputs.get("routes"))),
        bgp=_bgp(outputs),
        bfd=_bfd(outputs.get("bfd-peers")),
        optics=light.huawei(outputs),
    )


def _parts(text: str) -> dict[str, str]:
    """Each interface by itself: one that no template knows must not hide the others."""
    found = re.split(r"^(?=\S+ current state)", text, flags=re.MULTILINE)
    return {name: part for part in found if (name := said(r"^(\S+) current state", part))}


def _tags(text: str) -> dict[str, int]:
    """The VLAN with which ARP was answered, by interface in short; it stands at the entry or in the line below."""
    answered = re.findall(r"\sD-?\S*\s+(\S+)(?:\s+\S+)?\s+(\d+)/\S+", text)
    return {_short(name): int(tag) for name, tag in answered}


def _short(name: str) -> str:
    """``GE0/0/1.100`` of ``GigabitEthernet0/0/1.100``."""
    return name.replace("XGigabitEthernet", "XGE").replace("GigabitEthernet", "GE")


def _interface(row: Mapping[str, Any], counted: Mapping[str, Mapping[str, int]], tags: Mapping[str, int]) -> Interface:
    mbps, counts = number(row["speed"]), counted.get(row["interface"], {})
    return Interface(
        name=row["interface"],
        up="Administratively" not in row["link_status"],
        carrier=row["link_status"].strip() == "UP",
        speed_bps=None if mbps is None else mbps * 10**6,
        duplex=row["duplex"].lower() or None,
        autoneg={"ENABLE": True, "DISABLE": False}.get(row["negotiation"]),
        mtu=number(row["mtu"]),
        vlan=tags.get(_short(row["interface"])) if "." in row["interface"] else None,
        addresses=(row["ip_address"],) if "/" in row["ip_address"] else (),
        frames_in=counts.get("frames"),
        damaged=counts.get("CRC"),
        discards=counts.get("Discard"),
    )


def _counted(text: str) -> dict[str, int]:
    """Counters of what came in, which the template passes over."""
    came = said(r"Input:\s+((?:.|\n)*?)^\s*Output:", text)
    counts = {key: int(value) for key, value in re.findall(r"(CRC|Discard):\s+(\d+)", came or "")}
    frames = number(said(r"^(\d+) packets", came))
    return counts if frames is None else {**counts, "frames": frames}


def _routes(found: Sequence[Mapping[str, Any]] | None) -> tuple[Route, ...] | None:
    """Those in use."""
    if found is None:
        return None
    hops: dict[tuple[str, str], list[Hop]] = {}
    for row in found:
        length = f"/{row['prefix_length']}" if row["prefix_length"] else ""
        prefix = f"{row['destination']}{length}"
        if prefixes([prefix]) and row["state"].split()[:1] == ["Active"]:
            direct = row["protocol"] == "Direct"
            key = (
                prefix,
                {"Direct": "connected", "EBGP": "bgp", "IBGP": "bgp"}.get(row["protocol"], row["protocol"].lower()),
            )
            hops.setdefault(key, []).append(Hop(None if direct else row["next_hop"], row["interface"]))
    return tuple(Route(prefix, protocol, tuple(ways)) for (prefix, protocol), ways in hops.items())


def _bgp(outputs: Mapping[str, str]) -> tuple[BgpSession, ...] | None:
    """All sessions of the summary; the one that was asked about with all that the others told of it."""
    text = outputs.get("bgp-summary") or ""
    why = dict(re.findall(r"^\s*(\S+)\s.*\sIdle\((\w+)\)", text, re.MULTILINE))
    text = re.sub(r"\bIdle\(\w+\)", "Idle", text)  # the template knows bare states only
    local_as = number(said(r"[Ll]ocal AS number\s*:\s*(\d+)", text))
    found = rows(PLATFORM, "display bgp peer", text)
    if found is None or local_as is None:
        return None
    asked = said(r"BGP Peer is (\S+),", outputs.get("bgp-neighbor"))
    sessions = (_session(row, local_as, outputs if row["peer"] == asked else {}) for row in found)
    return tuple(replace(one, state=f"Idle ({why[one.peer]})") if one.peer in why else one for one in sessions)


def _session(row: Mapping[str, Any], local_as: int, told: Mapping[str, str]) -> BgpSession:
    remote_as, detail = number(row["asn"]), told.get("bgp-neighbor")
    notification, last_reset = _fall(told.get("bgp-log") or "")
    md5 = said(r"Authentication type configured\s*:\s*(\S+)", detail)
    return BgpSession(
        peer=row["peer"],
        local_as=local_as,
        remote_as=remote_as,
        state=row["state"],
        uptime_s=duration_s(row["up_down"]) if row["state"] == "Established" else None,
        established=number(said(r"BGP Peer Up count\s*:\s*(\d+)", detail)),
        sent=_table(told.get("bgp-advertised"), remote_as),
        received=_table(told.get("bgp-received"), local_as),
        accepted_count=number(row["pref_rcvd"]),
        prefix_limit=number(said(r"Maximum allowed (?:route|prefix) (?:limit|number)\s*:\s*(\d+)", detail)),
        filters=None if detail is None else _filters(detail),
        md5=None if md5 is None else md5 != "None",
        notification=notification,
        last_reset=last_reset,
    )


def _fall(log: str) -> tuple[str | None, str | None]:
    """(the notification, if its log has nothing newer; why the session last fell)."""
    entries = re.split(r"^\s*(?=Date/Time\s*:)", log, flags=re.MULTILINE)[1:]
    entries.sort(key=lambda entry: said(r"Date/Time\s*:\s*(\S.*?)\s*$", entry) or "", reverse=True)
    falls = [entry for entry in entries if said(r"State\s*:\s*(\S+)", entry) == "Down"]
    if not falls:
        return None, None
    error, who = _notification(falls[0]), said(r"Notification\s*:\s*(\S.*?)\s*$", falls[0])
    return error if falls[0] is entries[0] else None, ", ".join(filter(None, (who, error))) or None


def _notification(log: str) -> str | None:
    """``Error Code : 2(…)`` and its subcode."""
    found = re.search(r"Error Code\s*:\s*(\d+)\s*(?:\(([^)]*)\))?\s+Error Subcode\s*:\s*(\d+)\s*(?:\(([^)]*)\))?", log)
    if found is None:
        return None
    code, error, subcode, detail = found.groups()
    return f"{code}/{subcode} {', '.join(filter(None, (error, detail)))}".rstrip()


def _filters(detail: str) -> tuple[bool, bool]:
    """``No import …``, ``No routing policy is configured``, or the names of what is."""
    into, out = (
        re.search(rf"^\s*{way} (?!.*Refresh).*(?:policy|filter|prefix|list).*?\b(?:is|:)\s*\S", detail, re.M | re.I)
        for way in ("Import", "Export")
    )
    return into is not None, out is not None


def _table(text: str | None, looped_as: int | None) -> tuple[str, ...] | None:
    """Prefixes of a BGP table. An empty one is no answer at all, or a count of 0; of one that is not kept it says so.

    A route that a policy refused has no flag, and is left out. The AS path is the end of a line, with its origin.
    """
    if text is None or text.strip().startswith(_REFUSED):
        return None
    if not text.strip():
        return ()
    total = number(said(r"Total Number of Routes\s*:\s*(\d+)", text))
    if total is None:
        return None
    lines = re.findall(r"^\s*[*>dxahisS]{1,4}\s{1,8}(\d+\.\d+\.\d+\.\d+(?:/\d+)?)\s+\S+(.*)$", text, re.MULTILINE)
    if total and not lines:
        return None
    return prefixes(natural(net) for net, rest in lines if str(looped_as) not in re.findall(r"\d+", rest))


def _bfd(text: str | None) -> tuple[BfdPeer, ...] | None:
    """Each session of ``… verbose``; where there is none, VRP says so in prose or says nothing."""
    if text is None:
        return None
    parts = re.split(r"(?=\bState\s*:\s*\w+\s+Name\s*:)", text)[1:]
    if not parts and not re.search(r"Total UP/DOWN Session Number\s*:\s*0/0|No session|enabled?\b", text, re.I):
        return None
    return tuple(
        BfdPeer(
            peer=peer,
            state=str(said(r"State\s*:\s*(\w+)", part)).lower(),
            tx_ms=number(said(r"Min Tx Interval \(ms\)\s*:\s*(\d+)", part)),
            rx_ms=number(said(r"Min Rx Interval \(ms\)\s*:\s*(\d+)", part)),
            multiplier=number(said(r"Local Detect Multi\s*:\s*(\d+)", part)),
            remote_multiplier=number(said(r"Active Multi\s*:\s*(\d+)", part)),
        )
        for part in parts
        if (peer := said(r"Bind Peer I[Pp] Address\s*:\s*(\S+)", part))
    )
