"""FRR, by the JSON of its show commands (tried with 8.4; older and newer ones lack or add fields)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from perfharness.routers.state import BfdPeer, BgpSession, Hop, Route, RouterState, prefixes

OUTPUTS = ("bgp-summary", "bgp-neighbor", "bgp-advertised", "bgp-received", "bgp-accepted", "bfd-peers", "routes")

_KINDS = ("Prefix", "Network", "AsPath")
_INTO = ("routeMapForIncomingAdvertisements", *(f"incomingUpdate{kind}FilterList" for kind in _KINDS))
_OUT = ("routeMapForOutgoingAdvertisements", *(f"outgoingUpdate{kind}FilterList" for kind in _KINDS))
"""Each is there only where such a policy is."""


def parse(outputs: Mapping[str, str]) -> RouterState:
    told = {name: _json(outputs.get(name)) for name in OUTPUTS}
    return RouterState(routes=_routes(told["routes"]), bgp=_bgp(told), bfd=_bfd(told["bfd-peers"]))


def _json(text: str | None) -> Any:
    """``None`` for what is none: vtysh answers in prose when a daemon is not there."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _bgp(told: Mapping[str, Any]) -> tuple[BgpSession, ...] | None:
    """All sessions of the summary; the one that was asked about with all that the others told of it."""
    summary = _at(told["bgp-summary"], "ipv4Unicast")
    peers = _at(summary, "peers")
    if not isinstance(peers, dict):
        # Without BGP, or without a neighbour, the summary is an empty object: then there is no session.
        return () if told["bgp-summary"] == {} or isinstance(summary, dict) else None
    detail = told["bgp-neighbor"] if isinstance(told["bgp-neighbor"], dict) else {}
    return tuple(
        _session(address, brief, detail[address], told)
        if isinstance(detail.get(address), dict)
        else _brief(address, brief)
        for address, brief in peers.items()
        if isinstance(brief, dict)
    )


def _brief(address: str, brief: Mapping[str, Any]) -> BgpSession:
    state = _text(brief.get("state"))
    up_ms = _number(brief.get("peerUptimeMsec"))
    return BgpSession(
        peer=address,
        local_as=_number(brief.get("localAs")),
        remote_as=_number(brief.get("remoteAs")),
        state=state,
        uptime_s=up_ms / 1000 if up_ms is not None and state == "Established" else None,
        established=_number(brief.get("connectionsEstablished")),
        accepted_count=_number(brief.get("pfxRcd")),
    )


def _session(address: str, brief: Mapping[str, Any], detail: Mapping[str, Any], told: Mapping[str, Any]) -> BgpSession:
    short = _brief(address, brief)
    family = _at(detail, "addressFamilyInfo", "ipv4Unicast")
    code = _text(detail.get("lastErrorCodeSubcode"))
    reason = _text(detail.get("lastNotificationReason"))
    return BgpSession(
        peer=address,
        local_as=short.local_as,
        remote_as=short.remote_as,
        state=short.state,
        uptime_s=short.uptime_s,
        established=short.established,
        sent=_sent(told["bgp-advertised"], short.remote_as),
        received=_sent(told["bgp-received"], short.local_as, "receivedRoutes"),
        accepted=_accepted(told["bgp-accepted"]),
        accepted_count=short.accepted_count,
        prefix_limit=_number(_at(family, "prefixAllowedMax")),
        filters=None if family is None else (_any_of(family, _INTO), _any_of(family, _OUT)),
        notification=_notification(code, reason),
        last_reset=_text(detail.get("lastResetDueTo")),
    )


def _any_of(family: Mapping[str, Any], names: Iterable[str]) -> bool:
    return any(family.get(name) for name in names)


def _notification(code: str | None, reason: str | None) -> str | None:
    """``0202`` is code 2, subcode 2."""
    if code is None or len(code) != 4:
        return reason
    return f"{int(code[:2], 16)}/{int(code[2:], 16)} {reason or ''}".rstrip()


def _sent(told: Any, looped_as: int | None, key: str = "advertisedRoutes") -> tuple[str, ...] | None:
    routes = _at(told, key)
    if not isinstance(routes, dict):
        return None
    return prefixes(
        prefix for prefix, route in routes.items() if str(looped_as) not in (_text(_at(route, "path")) or "").split()
    )


def _accepted(told: Any) -> tuple[str, ...] | None:
    routes = _at(told, "routes")
    return prefixes(routes) if isinstance(routes, dict) else None


def _bfd(told: Any) -> tuple[BfdPeer, ...] | None:
    if not isinstance(told, list):
        return None
    return tuple(
        BfdPeer(
            peer=str(each["peer"]),
            state=str(each["status"]),
            tx_ms=_number(each.get("transmit-interval")),
            rx_ms=_number(each.get("receive-interval")),
            multiplier=_number(each.get("detect-multiplier")),
            remote_multiplier=_number(each.get("remote-detect-multiplier")),
            remote_tx_ms=_number(each.get("remote-transmit-interval")),
            remote_rx_ms=_number(each.get("remote-receive-interval")),
        )
        for each in told
        if isinstance(each, dict) and "peer" in each and "status" in each
    )


def _routes(told: Any) -> tuple[Route, ...] | None:
    """Those that are selected."""
    if not isinstance(told, dict):
        return None
    return tuple(
        Route(prefix, str(each.get("protocol", "")), tuple(_hops(each.get("nexthops"))))
        for prefix, entries in told.items()
        if isinstance(entries, list) and prefixes([prefix])
        for each in entries
        if isinstance(each, dict) and each.get("selected")
    )


def _hops(told: Iterable[Any] | None) -> Iterator[Hop]:
    for each in told or ():
        if isinstance(each, dict) and each.get("active", True):
            yield Hop(_text(each.get("ip")), _text(each.get("interfaceName")))


def _at(told: Any, *keys: str) -> Any:
    for key in keys:
        told = told.get(key) if isinstance(told, dict) else None
    return told


def _number(told: Any) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def _text(told: Any) -> str | None:
    return told if isinstance(told, str) else None
