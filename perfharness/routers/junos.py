"""Junos, by the JSON of its show commands: each element a list, each leaf ``{"data": …}`` in one.

Of a physical port it tells the MTU with the Ethernet header, of a unit that of IP: the latter counts. Whether a session
has a limit and policies it tells in too many shapes to be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from perfharness.routers.light import digit
from perfharness.routers.state import (
    DARK_DBM,
    BfdPeer,
    BgpSession,
    Hop,
    Interface,
    Light,
    Neighbour,
    Optics,
    Route,
    RouterState,
    prefixes,
)
from perfharness.routers.tables import number

COMMANDS = {
    "interfaces": "show interfaces {wan} extensive | display json",
    "neighbours": "show arp no-resolve | display json",
    "routes": "show route table inet.0 active-path | display json",
    "bgp-summary": "show bgp summary | display json",
    "bgp-neighbor": "show bgp neighbor {peer} | display json",
    "bgp-advertised": "show route advertising-protocol bgp {peer} | display json",
    "bgp-received": "show route receive-protocol bgp {peer} | display json",
    "bfd-peers": "show bfd session detail | display json",
    "optics": "show interfaces diagnostics optics {wan} | display json",
}
_PROTOCOLS = {"Direct": "connected", "Local": "local", "Static": "static", "BGP": "bgp"}
_SPEED_BPS = {"mbps": 10**6, "gbps": 10**9}
_POWER = {"rx": ("rx-signal-avg-optical-power-dbm", "laser-rx-optical-power-dbm"), "tx": ("laser-output-power-dbm",)}
_OFF = "BGP is not running"
_LIMITS = ("low-alarm", "low-warn", "high-warn", "high-alarm")


def parse(outputs: Mapping[str, str]) -> RouterState:
    told = {name: _json(outputs.get(name)) for name in COMMANDS}
    ports = _each(told["interfaces"], "interface-information", "physical-interface")
    neighbours = _each(told["neighbours"], "arp-table-information", "arp-table-entry")
    return RouterState(
        interfaces=None if ports is None else tuple(each for port in ports for each in _interfaces(port)),
        neighbours=None if neighbours is None else tuple(map(_neighbour, neighbours)),
        routes=_routes(told["routes"]),
        bgp=_bgp(told, outputs.get("bgp-summary") or ""),
        bfd=_bfd(told["bfd-peers"]),
        optics=_optics(told["optics"]),
    )


def _json(text: str | None) -> Any:
    """``None`` for what is none; what the terminal prints around it is left out."""
    start, end = (text or "").find("{"), (text or "").rfind("}")
    try:
        return json.loads((text or "")[start : end + 1])
    except (ValueError, RecursionError):
        return None


def _each(told: Any, *keys: str) -> list[Mapping[str, Any]] | None:
    """The elements at this place; empty where the ones above are there, ``None`` where the first is not."""
    if not isinstance(told, dict) or not isinstance(told.get(keys[0]), list):
        return None
    found: list[Mapping[str, Any]] = [told]
    for key in keys:
        inside = [each[key] for each in found if isinstance(each.get(key), list)]
        found = [one for members in inside for one in members if isinstance(one, dict)]
    return found


def _leaf(told: Mapping[str, Any], *keys: str) -> str | None:
    """The text of the first such element."""
    found = _each(told, *keys)
    text = found[0].get("data") if found else None
    return text.strip() if isinstance(text, str) else None


def _interfaces(port: Mapping[str, Any]) -> list[Interface]:
    """The port and its units."""
    speed = re.fullmatch(r"(\d+)(mbps|gbps)", (_leaf(port, "speed") or "").lower())
    link = (_leaf(port, "link-mode") or _leaf(port, "duplex") or "").lower()
    crc = number(_leaf(port, "ethernet-mac-statistics", "input-crc-errors"))
    framing = number(_leaf(port, "input-error-list", "framing-errors"))
    drops = [
        number(_leaf(port, *place))
        for place in (("input-error-list", "input-drops"), ("output-error-list", "output-drops"))
    ]
    wan = Interface(
        name=_leaf(port, "name") or "",
        up={"up": True, "down": False}.get(_leaf(port, "admin-status") or ""),
        carrier={"up": True, "down": False}.get(_leaf(port, "oper-status") or ""),
        speed_bps=int(speed[1]) * _SPEED_BPS[speed[2]] if speed else None,
        duplex=next((word for word in ("full", "half") if word in link), None),
        autoneg={"enabled": True, "disabled": False}.get((_leaf(port, "if-auto-negotiation") or "").lower()),
        addresses=(),
        frames_in=number(_leaf(port, "traffic-statistics", "input-packets")),
        damaged=crc if framing is None else None if crc is None else max(crc, framing),  # one frame may count in both
        carrier_changes=number(_leaf(port, "output-error-list", "carrier-transitions")),
        discards=None if None in drops else sum(drop or 0 for drop in drops),
    )
    return [wan, *(_unit(unit, wan) for unit in _each(port, "logical-interface") or ())]


def _unit(unit: Mapping[str, Any], port: Interface) -> Interface:
    tag = re.search(r"\.(\d+)\s*\]", _leaf(unit, "link-address") or "")
    inet = [each for each in _each(unit, "address-family") or () if _leaf(each, "address-family-name") == "inet"]
    held = [one for each in inet for one in _each(each, "interface-address") or ()]
    addresses = (
        f"{_leaf(one, 'ifa-local')}/{(_leaf(one, 'ifa-destination') or '/32').rpartition('/')[2]}" for one in held
    )
    return Interface(
        name=_leaf(unit, "name") or "",
        up=port.up,
        carrier=port.carrier,
        mtu=next((number(_leaf(each, "mtu")) for each in inet), None),
        vlan=int(tag[1]) if tag else 0,
        addresses=tuple(addresses),
    )


def _neighbour(told: Mapping[str, Any]) -> Neighbour:
    return Neighbour(_leaf(told, "ip-address") or "", _leaf(told, "mac-address"), _leaf(told, "interface-name"), True)


def _routes(told: Any) -> tuple[Route, ...] | None:
    found = _each(told, "route-information", "route-table", "rt")
    if found is None:
        return None
    return tuple(
        Route(prefix, _PROTOCOLS.get(protocol, protocol.lower()), tuple(map(_hop, _each(entry, "nh") or ())))
        for rt in found
        for entry in (_each(rt, "rt-entry") or [])[:1]
        if prefixes([prefix := _leaf(rt, "rt-destination") or ""]) and (protocol := _leaf(entry, "protocol-name") or "")
    )


def _hop(told: Mapping[str, Any]) -> Hop:
    return Hop(_leaf(told, "to"), _leaf(told, "via") or _leaf(told, "nh-local-interface"))


def _bgp(told: Mapping[str, Any], text: str) -> tuple[BgpSession, ...] | None:
    """All sessions of the summary; the one that was asked about with all that the others told of it."""
    brief = _each(told["bgp-summary"], "bgp-information", "bgp-peer")
    if brief is None:
        return () if told["bgp-summary"] is None and _OFF in text else None
    detail = {_address(peer): peer for peer in _each(told["bgp-neighbor"], "bgp-information", "bgp-peer") or ()}
    return tuple(_session(peer, detail.get(_address(peer)), told) for peer in brief)


def _address(peer: Mapping[str, Any]) -> str:
    """``172.16.100.1+179`` has the port in it."""
    return (_leaf(peer, "peer-address") or "").partition("+")[0]


def _session(brief: Mapping[str, Any], detail: Mapping[str, Any] | None, told: Mapping[str, Any]) -> BgpSession:
    state, flaps = _leaf(brief, "peer-state"), number(_leaf(brief, "flap-count"))
    stands = state == "Established"
    since = _since(brief)
    remote_as = number(_leaf(brief, "peer-as"))
    local_as = number(_leaf(detail, "local-as")) if detail else None
    options = (_leaf(detail, "bgp-option-information", "bgp-options") or "") if detail else ""
    error = _leaf(detail, "last-error") if detail else None
    return BgpSession(
        peer=_address(brief),
        local_as=local_as,
        remote_as=remote_as,
        state=state,
        uptime_s=float(since) if stands and since and since.isdigit() else None,
        established=None if flaps is None else flaps + stands,  # a flap is an end; what stands came up once more
        sent=_table(told["bgp-advertised"], remote_as) if detail else None,
        received=_table(told["bgp-received"], local_as) if detail else None,
        md5="AuthKey" in options.split() if options else None,
        notification=_notification(error),
        dated=False,  # it keeps the last error for ever, and does not say when it was
        last_reset=_leaf(detail, "last-flap-event") if detail else None,
    )


def _since(brief: Mapping[str, Any]) -> str | None:
    """Seconds, which stand beside the words."""
    beside = next((each.get("attributes") for each in _each(brief, "elapsed-time") or ()), None)
    return str(beside.get("junos:seconds")) if isinstance(beside, dict) else None


def _notification(error: str | None) -> str | None:
    """Junos names it, without its codes."""
    if error in (None, "None"):
        return None
    return f"2/2 {error}" if "bad peer AS" in str(error) else error


def _table(told: Any, looped_as: int | None) -> tuple[str, ...] | None:
    """Prefixes of a table; one without routes has no such element at all."""
    found = _each(told, "route-information", "route-table", "rt")
    if found is None:
        return () if told == {} else None
    return prefixes(
        _leaf(rt, "rt-destination") or ""
        for rt in found
        if str(looped_as) not in re.findall(r"\d+", _leaf(rt, "rt-entry", "as-path") or "")
    )


def _bfd(told: Any) -> tuple[BfdPeer, ...] | None:
    found = _each(told, "bfd-session-information", "bfd-session")
    if found is None:
        return None
    return tuple(
        BfdPeer(
            peer=_leaf(one, "session-neighbor") or "",
            state=(_leaf(one, "session-state") or "").lower(),
            tx_ms=_ms(_leaf(one, "bfd-client", "client-transmission-interval")),
            rx_ms=_ms(_leaf(one, "bfd-client", "client-reception-interval")),
            multiplier=number(_leaf(one, "session-adaptive-multiplier")),
        )
        for one in found
    )


def _ms(seconds: str | None) -> int | None:
    return round(float(seconds) * 1000) if seconds and re.fullmatch(r"\d+(\.\d+)?", seconds) else None


def _optics(told: Any) -> Optics | None:
    found = _each(told, "interface-information", "physical-interface", "optics-diagnostics")
    if found is None:
        return None
    lights = tuple(
        light
        for module in found
        for lane, values in enumerate(_each(module, "optics-diagnostics-lane-values") or [module], 1)
        for way in _POWER
        if (light := _light(way, lane, values, module)) is not None
    )
    return Optics(None, lights, "" if lights else "its module has no digital monitoring")


def _light(way: str, lane: int, values: Mapping[str, Any], module: Mapping[str, Any]) -> Light | None:
    text = next((told for key in _POWER[way] if (told := _leaf(values, key))), None)
    dbm = DARK_DBM if text and "inf" in text.lower() else _dbm(text)
    if text is None or dbm is None:
        return None
    limits = [_dbm(_leaf(module, f"laser-{way}-power-{limit}-threshold-dbm")) for limit in _LIMITS]
    return Light(way, lane, dbm, digit(text), *limits)


def _dbm(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"-?\d+(\.\d+)?", text) else None
