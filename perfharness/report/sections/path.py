"""The way that packets take, in each direction, as the hosts see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from perfharness.model import Direction, Measurement
from perfharness.order.dscp import class_name
from perfharness.report import text, words
from perfharness.report.blocks import Block, Cell, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Path in each direction"
LEGEND = (
    "The hops of one flow, found by packets of growing TTL; the delay is the least that a hop answered with. A hop may "
    "answer late, or not at all, and yet forward without loss: no loss or delay is judged from a hop in the middle."
)
Facts = Mapping[str, Any]
WAYS = (Direction.A_Z, Direction.Z_A)


class Way(NamedTuple):
    """A column: one direction of one pair."""

    title: str
    facts: Facts
    item: Measurement
    way: Direction


def build(dossier: Dossier) -> Section:
    found = [
        Way(_title(dossier, item, way), item.facts[way], item, way)
        for item in dossier.measured("path")
        for way in WAYS
        if isinstance(item.facts.get(way), Mapping)
    ]
    if not found:
        return Section("path", NAME, absent("The path was not looked at in this run."))
    titles = tuple(way.title for way in found)
    widths = (14, *(86 / len(found) for _ in found))
    rows = ((name, [write(way) for way in found]) for name, write in ROWS)
    general = tuple(Row((Cell(name, kind="head"), *map(Cell, cells))) for name, cells in rows if any(cells))
    longest = max(len(_hops(way.facts)) for way in found)
    hops = tuple(
        Row((Cell(str(ttl + 1), kind="head"), *(_hop(_hops(way.facts), ttl) for way in found)))
        for ttl in range(longest)
    )
    trace = (Sub("Hops"), Table(("Hop", *titles), hops, widths)) if hops else absent("No hops were traced.")
    marks = _marks(dossier)
    return Section("path", NAME, (Table(("", *titles), general, widths), *marks, *trace, Para(LEGEND, "note")))


def _marks(dossier: Dossier) -> tuple[Block, ...]:
    """How a few packets of each class came, in each direction."""
    tables: list[Block] = []
    for item in dossier.measured("path"):
        classes = item.facts.get("classes", {})
        sent = {dscp: None for way in WAYS for dscp in classes.get(way, {}).get("sent", {})}
        rows = tuple(
            Row((Cell(class_name(int(dscp)), kind="head"), *(Cell(_came(classes.get(way, {}), dscp)) for way in WAYS)))
            for dscp in sent
        )
        if rows:
            titles = tuple(_title(dossier, item, way) for way in WAYS)
            tables += [Sub("Classes of service"), Table(("Sent with", *titles), rows, (14, 43, 43))]
    return tuple(tables)


def _came(facts: Facts, dscp: str) -> str:
    sent, came = facts.get("sent", {}).get(dscp, 0), facts.get("came", {}).get(dscp, {})
    told = ", ".join(f"{text.count(packets)} came with {class_name(int(mark))}" for mark, packets in came.items())
    return f"{told or 'none came'}, of {text.count(sent)}"


def _title(dossier: Dossier, item: Measurement, way: Direction) -> str:
    pair = f", {item.task.scope.pair.replace(':', ' ↔ ')}" if dossier.several_pairs else ""
    family = "" if item.task.scope.family == "ipv4" else ", IPv6"
    return words.direction(way) + pair + family


def _said(statistic: str) -> Callable[[Way], str]:
    """What the measurement itself says of this figure."""

    def write(way: Way) -> str:
        seen = (one for one in way.item.observations if (one.metric, one.statistic) == ("path", statistic))
        return next((one.reason for one in seen if one.scope.direction is way.way), "")

    return write


def _next_hop(way: Way) -> str:
    """Who answers for the next hop: two stations are an address that was given twice."""
    if way.item.task.scope.family != "ipv4":
        return "IPv6 has no ARP"
    found = way.facts.get("next_hop") or {}
    stations = sorted({str(answer.get("mac")) for answer in found.get("answers") or ()})
    if not found:
        return "not asked: needs root"
    if not stations:
        return f"{found.get('address')} does not answer ARP"
    twice = "; an address that was given twice" if len(stations) > 1 else ""
    return f"{found.get('address')} is {', '.join(stations)}{twice}"


def _route(way: Way) -> str:
    route = (way.facts.get("route") or {}).get("route") or {}
    if not route:
        return "not told by the host"
    via = f"via {route['gateway']}" if route.get("gateway") else "directly"
    device = f" on {route['interface']}" if route.get("interface") else ""
    return via + device + (f", from {route['prefsrc']}" if route.get("prefsrc") else "")


def _ping(way: Way) -> str:
    ping = way.facts.get("ping") or {}
    if ping.get("sent") is None or ping.get("received") is None:
        return "not sent"
    return f"{text.count(ping['received'])} of {text.count(ping['sent'])} answered"


def _ports(way: Way) -> str:
    """How many ports were in each state; those that are not open by number, and who said so."""
    return "; ".join(_states(way.facts.get("ports"), way.facts.get("errors") or {})) or "not tried"


def _undeclared(way: Way) -> str:
    return "; ".join(_states(way.facts.get("undeclared"), {}, few="open"))


def _states(tried: Facts | None, errors: Facts, few: str = "") -> Iterator[str]:
    """Each state with its ports; of open ones only their number unless they are ``few``, of others then only that."""
    states: dict[str, list[str]] = {}
    for protocol, ports in (tried or {}).items():
        for port, state in ports.items() if isinstance(ports, Mapping) else ():
            name = f"{protocol}/{port}"
            error = errors.get(name) or {}
            by = f" by {error['from']}, {error['said']}" if error.get("from") else ""
            states.setdefault(f"{state}{by}", []).append(name)
    for state in sorted(states, key=lambda state: state != "open"):
        names = states[state]
        counted = state != few if few else state == "open"
        yield f"{len(names)} {state}" if counted else f"{state}: {', '.join(names)}"


def _forbidden(way: Way) -> str:
    return "; ".join(f"{name} {state}" for name, state in (way.facts.get("forbidden") or {}).items())


def _arrived(way: Way) -> str:
    """Told where it matters: when nothing came back."""
    if not way.item.facts.get("unreachable"):
        return ""
    seen = way.facts.get("arrived") or {}
    return f"{text.count(sum(sum(ports.values()) for ports in seen.values()))} packets seen by the far host"


def _flows(way: Way) -> str:
    """Whether further flows went another way than the one below, as far as their hops answered."""
    first, others = _hops(way.facts), (way.facts.get("hops") or {}).get("others") or ()
    if not others:
        return ""
    differ: dict[int, set[str]] = {}
    for place, hop in enumerate(first):
        usual = _addresses(hop)
        for flow in others:
            found = _addresses(flow["hops"][place]) if place < len(flow["hops"]) else set()
            if usual and found - usual:
                differ.setdefault(place + 1, set()).update(found - usual)
    if not differ:
        return f"{len(others) + 1} flows, no other hop seen"
    told = (f"hop {ttl} also {', '.join(sorted(addresses))}" for ttl, addresses in differ.items())
    return f"{len(others) + 1} flows: {'; '.join(told)}"


def _addresses(hop: Facts) -> set[str]:
    return {str(answer.get("address")) for answer in hop.get("answers") or ()}


ROWS: tuple[tuple[str, Callable[[Way], str]], ...] = (
    ("Route", _route),
    ("Next hop", _next_hop),
    ("Echo requests", _ping),
    ("Arrived", _arrived),
    ("Ports", _ports),
    ("Undeclared ports", _undeclared),
    ("Forbidden", _forbidden),
    ("Flows", _flows),
    ("Way back", _said("symmetric")),
    ("Circuit", _said("this_circuit")),
    ("Internet", _said("internet")),
)
"""A row is left out where it says nothing in any column."""


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
