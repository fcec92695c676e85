"""Huawei VRP. No template reads the prefixes of one neighbour, nor the tag of a sub-interface: these stay untold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from perfharness.routers.state import BgpSession, Hop, Interface, Neighbour, Route, RouterState, prefixes
from perfharness.routers.tables import duration_s, number, rows, said

PLATFORM = "huawei_vrp"
COMMANDS = {
    "interfaces": "display interface",
    "neighbours": "display arp all",
    "routes": "display ip routing-table verbose",
    "bgp-summary": "display bgp peer",
}


def parse(outputs: Mapping[str, str]) -> RouterState:
    counted = _counted(outputs.get("interfaces") or "")
    interfaces = rows(PLATFORM, "display interface", outputs.get("interfaces"))
    neighbours = rows(PLATFORM, "display arp all", outputs.get("neighbours"))
    return RouterState(
        interfaces=None if interfaces is None else tuple(_interface(row, counted) for row in interfaces),
        neighbours=None
        if neighbours is None
        else tuple(Neighbour(row["ip_address"], row["mac_address"], row["interface"], True) for row in neighbours),
        routes=_routes(rows(PLATFORM, "display ip routing-table verbose", outputs.get("routes"))),
        bgp=_bgp(outputs.get("bgp-summary")),
    )


def _interface(row: Mapping[str, Any], counted: Mapping[str, Mapping[str, int]]) -> Interface:
    mbps, counts = number(row["speed"]), counted.get(row["interface"], {})
    return Interface(
        name=row["interface"],
        up="Administratively" not in row["link_status"],
        carrier=row["link_status"].strip() == "UP",
        speed_bps=None if mbps is None else mbps * 10**6,
        duplex=row["duplex"].lower() or None,
        autoneg={"ENABLE": True, "DISABLE": False}.get(row["negotiation"]),
        mtu=number(row["mtu"]),
        addresses=(row["ip_address"],) if "/" in row["ip_address"] else (),
        frames_in=counts.get("frames"),
        damaged=counts.get("CRC"),
        discards=counts.get("Discard"),
    )


def _counted(text: str) -> dict[str, dict[str, int]]:
    """Counters of what came in, which the template passes over, by interface."""
    found: dict[str, dict[str, int]] = {}
    for part in re.split(r"^(?=\S+ current state)", text, flags=re.MULTILINE):
        name = said(r"^(\S+) current state", part)
        came = said(r"Input:\s+((?:.|\n)*?)^\s*Output:", part)
        counts = {key: int(value) for key, value in re.findall(r"(CRC|Discard):\s+(\d+)", came or "")}
        frames = number(said(r"^(\d+) packets", came))
        if name is not None:
            found[name] = counts if frames is None else {**counts, "frames": frames}
    return found


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


def _bgp(text: str | None) -> tuple[BgpSession, ...] | None:
    local_as = number(said(r"[Ll]ocal AS number\s*:\s*(\d+)", text))
    found = rows(PLATFORM, "display bgp peer", text)
    if found is None or local_as is None:
        return None
    return tuple(
        BgpSession(
            peer=row["peer"],
            local_as=local_as,
            remote_as=number(row["asn"]),
            state=row["state"],
            uptime_s=duration_s(row["up_down"]) if row["state"] == "Established" else None,
            accepted_count=number(row["pref_rcvd"]),
        )
        for row in found
    )
