"""The way that packets take, in each direction, as the hosts see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perfharness.model import Direction, Measurement
from perfharness.report import text, words
from perfharness.report.blocks import Cell, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Path in each direction"
LEGEND = (
    "The hops of one flow, found by packets of growing TTL; the delay is the least that a hop answered with. A hop may "
    "answer late, or not at all, and yet forward without loss: nothing is judged from a hop in the middle."
)
Facts = Mapping[str, Any]


def build(dossier: Dossier) -> Section:
    found = [
        (_title(dossier, item, way), facts)
        for item in dossier.measured("path")
        for way, facts in item.facts.items()
        if isinstance(facts, Mapping)
    ]
    if not found:
        return Section("path", NAME, absent("The path was not looked at in this run."))
    titles = tuple(title for title, _ in found)
    widths = (14, *(86 / len(found) for _ in found))
    general = tuple(
        Row((Cell(name, kind="head"), *(Cell(write(facts)) for _, facts in found)))
        for name, write in (("Route", _route), ("Next hop", _next_hop), ("Echo requests", _ping), ("Ports", _ports))
    )
    longest = max(len(_hops(facts)) for _, facts in found)
    hops = tuple(
        Row((Cell(str(ttl + 1), kind="head"), *(_hop(_hops(facts), ttl) for _, facts in found)))
        for ttl in range(longest)
    )
    trace = (Sub("Hops"), Table(("Hop", *titles), hops, widths)) if hops else absent("No hops were traced.")
    return Section("path", NAME, (Table(("", *titles), general, widths), *trace, Para(LEGEND, "note")))


def _title(dossier: Dossier, item: Measurement, way: str) -> str:
    pair = f", {item.task.scope.pair.replace(':', ' ↔ ')}" if dossier.several_pairs else ""
    return words.direction(Direction(way)) + pair


def _next_hop(facts: Facts) -> str:
    """Who answers for the next hop: two stations are an address that was given twice."""
    found = facts.get("next_hop") or {}
    stations = sorted({str(answer.get("mac")) for answer in found.get("answers") or ()})
    if not found:
        return "not asked: needs root"
    if not stations:
        return f"{found.get('address')} does not answer ARP"
    twice = "; an address that was given twice" if len(stations) > 1 else ""
    return f"{found.get('address')} is {', '.join(stations)}{twice}"


def _route(facts: Facts) -> str:
    route = (facts.get("route") or {}).get("route") or {}
    if not route:
        return "not told by the host"
    via = f"via {route['gateway']}" if route.get("gateway") else "directly"
    device = f" on {route['interface']}" if route.get("interface") else ""
    return via + device + (f", from {route['prefsrc']}" if route.get("prefsrc") else "")


def _ping(facts: Facts) -> str:
    ping = facts.get("ping") or {}
    if ping.get("sent") is None or ping.get("received") is None:
        return "not sent"
    return f"{text.count(ping['received'])} of {text.count(ping['sent'])} answered"


def _ports(facts: Facts) -> str:
    """How many ports were in each state; those that are not open by number."""
    states: dict[str, list[str]] = {}
    for protocol, ports in (facts.get("ports") or {}).items():
        for port, state in ports.items() if isinstance(ports, Mapping) else ():
            states.setdefault(str(state), []).append(f"{protocol}/{port}")
    parts = [f"{len(states.pop('open'))} open"] if "open" in states else []
    parts += [f"{state}: {', '.join(names)}" for state, names in states.items()]
    return "; ".join(parts) or "not tried"


def _hops(facts: Facts) -> Sequence[Facts]:
    hops = (facts.get("hops") or {}).get("hops") if isinstance(facts.get("hops"), Mapping) else facts.get("hops")
    return hops if isinstance(hops, Sequence) else ()


def _hop(hops: Sequence[Facts], place: int) -> Cell:
    """Addresses that answered at this TTL, each with its least delay."""
    if place >= len(hops):
        return Cell("")
    least: dict[str, float | None] = {}
    for answer in hops[place].get("answers") or ():
        address, ns = str(answer.get("address")), answer.get("rtt_ns")
        known = least.get(address)
        least[address] = ns if known is None else min(known, ns) if ns is not None else known
    told = (f"{address} ({text.delay(ns)})" if ns is not None else address for address, ns in least.items())
    return Cell(", ".join(told) or "no answer")
