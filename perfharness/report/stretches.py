"""The path cut into stretches, with what is known of each: of the order, of the hosts, of the findings, of the ledger.

Measurements that a run does not have leave gaps, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from perfharness.model import Diagnosis, Direction, Finding, Segment, Verdict
from perfharness.report import text, words
from perfharness.report.checklist import WORST
from perfharness.report.dossier import Dossier
from perfharness.report.words import VERDICTS

BETWEEN = (Segment.LAN, Segment.CE, Segment.CARRIER, Segment.CLOUD_EDGE, None)
"""What lies between the hosts; the VPC is no segment that anything is booked to by itself."""
SEEN: Mapping[tuple[str, str], tuple[Segment | None, str]] = {
    ("portspec", "carrier"): (Segment.CE, "link up"),
    ("portspec", "flaps"): (Segment.CE, "carrier changes"),
    ("portspec", "speed"): (Segment.CE, "speed"),
    ("portspec", "duplex"): (Segment.CE, "duplex"),
    ("portspec", "mtu"): (Segment.CE, "MTU"),
    ("portspec", "link_address"): (Segment.CE, "link address"),
    ("portspec", "light"): (Segment.CE, "light"),
    ("portspec", "errors"): (Segment.CE, "damaged frames"),
    ("route", "to_cloud"): (Segment.CE, "route to the cloud"),
    ("vlan", "answers"): (Segment.CARRIER, "VLAN answers"),
    ("vlan", "answers_elsewhere"): (Segment.CARRIER, "no other VLAN answers"),
    ("bgp", "established"): (Segment.CARRIER, "BGP established"),
    ("bgp", "as_agree"): (Segment.CARRIER, "AS numbers agree"),
    ("bgp", "bfd"): (Segment.CARRIER, "BFD"),
    ("bgp", "missing"): (Segment.CLOUD_EDGE, "prefixes missing"),
    ("bgp", "extra"): (Segment.CLOUD_EDGE, "prefixes extra"),
    ("route", "to_onprem"): (None, "route to on-prem"),
}
"""Metric and statistic → the stretch of which a finding speaks, and its name in a picture."""
THROUGH = (("pmtu", "path MTU"), ("loss", "loss"), ("throughput.udp", "UDP"), ("throughput.tcp", "TCP"))
"""Metrics that speak of the whole path, in one direction."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A station, or what lies between two."""

    segment: Segment | None
    name: str
    station: bool
    facts: tuple[str, ...]
    """Short lines; those that begin with the symbol of a verdict were judged."""
    wrong: tuple[Diagnosis, ...] = ()
    """Causes that name this segment."""


def stretches(dossier: Dossier) -> tuple[Stretch, ...]:
    """From the on-prem host to the cloud's; of several pairs all their hosts."""
    circuit = dossier.circuit
    vbrs, names = circuit.vbrs, ("host-a", "host-z")
    hosts = {name: tuple(_host(dossier, site)) for name, site in zip(names, ("onprem", "cloud"), strict=True)}
    carrier = [circuit.carrier.name, circuit.carrier.circuit, text.rate(circuit.port.speed_bps)]
    carrier += [f"VLAN {vbr.vlan}" if vbr.vlan else "untagged" for vbr in vbrs]
    carrier += [f"AS {vbr.bgp.customer_as} – {vbr.bgp.cloud_as}" for vbr in vbrs if vbr.bgp]
    edge = [
        line for vbr in vbrs for line in (vbr.id, str(vbr.link.cloud), _rate(dossier, vbr.bandwidth_bps), _mtu(vbr.mtu))
    ]
    customer = [circuit.ce_name or "", *(str(vbr.link.customer) for vbr in vbrs)]
    parts: tuple[tuple[Segment | None, str, bool, Iterable[str]], ...] = (
        (Segment.HOST_A, "On-prem host", True, hosts["host-a"]),
        (Segment.LAN, "LAN", False, (*map(str, circuit.prefixes.onprem), *_next_hop(dossier, Direction.A_Z))),
        (Segment.CE, "CE router", True, customer),
        (Segment.CARRIER, "Carrier", False, carrier),
        (Segment.CLOUD_EDGE, "Cloud edge (VBR)", True, edge),
        (None, "VPC", False, (*map(str, circuit.prefixes.cloud), *_next_hop(dossier, Direction.Z_A))),
        (Segment.HOST_Z, "Cloud host (ECS)", True, hosts["host-z"]),
    )
    return tuple(
        Stretch(
            segment,
            name,
            station,
            tuple(filter(None, (*facts, *_seen(dossier, segment), *_lost(dossier, segment)))),
            tuple(row for row in dossier.run.diagnosis if segment is not None and row.segment is segment),
        )
        for segment, name, station, facts in parts
    )


def not_narrowed(dossier: Dossier) -> tuple[Diagnosis, ...]:
    """Causes that lie somewhere between the hosts."""
    return tuple(row for row in dossier.run.diagnosis if row.segment is Segment.BETWEEN)


def through(dossier: Dossier) -> tuple[str, ...]:
    """What was measured from end to end, a line for each direction that has any."""
    lines = []
    for way in (Direction.A_Z, Direction.Z_A):
        told = [f"{symbol} {name} {value}" for name, symbol, value in _through(dossier, way)]
        if told:
            lines.append(f"{words.direction(way)}: " + " · ".join(told))
    return tuple(lines)


def _through(dossier: Dossier, way: Direction) -> Iterator[tuple[str, str, str]]:
    """The worst finding of each metric in this direction: name, symbol, value."""
    for metric, name in THROUGH:
        rows = [row for row in dossier.required if row.metric == metric and row.scope.direction is way]
        found = next(
            (row for verdict in WORST for row in rows if row.verdict is verdict and row.value is not None), None
        )
        if found is not None:
            yield name, VERDICTS[found.verdict].symbol, text.finding_value(found)


def _host(dossier: Dossier, site: str) -> Iterator[str]:
    """Name, address, interface as ordered; its speed and MTU as the host said."""
    paired = {name for pair in dossier.circuit.pairs for name in pair}
    facts: dict[str, object] = {}
    for item in dossier.measured("host"):
        facts.update(item.facts)
    for end in dossier.circuit.endpoints:
        if end.site != site or end.name not in paired:
            continue
        yield f"{end.name} {end.address}"
        told = facts.get(end.name)
        nic = told.get("nic") if isinstance(told, Mapping) else None
        if isinstance(nic, Mapping):
            speed, mtu = nic.get("speed_bps"), nic.get("mtu")
            yield ", ".join(str(part) for part in (nic.get("name"), text.rate(speed) if speed else None) if part)
            yield _mtu(mtu) if mtu else ""


def _next_hop(dossier: Dossier, way: Direction) -> Iterator[str]:
    """To which gateway the host of this side sends."""
    for item in dossier.measured("path"):
        facts = item.facts.get(way.value)
        route = facts.get("route") if isinstance(facts, Mapping) else None
        route = route.get("route") if isinstance(route, Mapping) else None
        if isinstance(route, Mapping) and route.get("gateway"):
            yield f"via {route['gateway']}"
            return


def _seen(dossier: Dossier, segment: Segment | None) -> list[str]:
    """What findings say of this stretch; several of one kind are told by the worst."""
    lines: dict[str, str] = {}
    for row in sorted(dossier.run.findings, key=lambda row: WORST.index(row.verdict)):
        place, name = SEEN.get((row.metric, row.statistic), (Segment.BETWEEN, ""))
        if place is segment and row.verdict is not Verdict.NOT_APPLICABLE:
            lines.setdefault(name, f"{VERDICTS[row.verdict].symbol} {name}{_value(row)}")
    return list(lines.values())


def _value(row: Finding) -> str:
    """A yes or no is said by its verdict."""
    plain = row.value is None or isinstance(row.value, bool)
    return "" if plain else f" {text.finding_value(row)}"


def _lost(dossier: Dossier, segment: Segment | None) -> Iterator[str]:
    """Packets that the ledger books to this stretch, in all of the run."""
    rows = [row for row in dossier.run.ledger if row.segment is segment and row.missing]
    low, high = sum(row.packets_lo for row in rows), sum(row.packets_hi for row in rows)
    if high:
        yield f"{text.count(low)}{'' if low == high else f' to {text.count(high)}'} packets lost"
    elif rows:
        yield "no packet lost"


def _rate(dossier: Dossier, bits_per_s: float) -> str:
    return text.rate(bits_per_s, dossier.circuit.rate_layer)


def _mtu(mtu_bytes: object) -> str:
    return f"MTU {mtu_bytes}"
