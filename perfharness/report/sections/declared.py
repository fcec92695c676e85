"""The order itself: whether it makes sense, and which of its fields nothing in this run has seen."""

from __future__ import annotations

from perfharness.model import Finding
from perfharness.order.circuit import Vbr
from perfharness.report import text
from perfharness.report.blocks import Block, Cell, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier
from perfharness.report.words import VERDICTS

EDGE_ROUTER, CLOUD_API = "the edge router", "the cloud API"
Field = tuple[str, str, tuple[str, ...], str]
"""Name, ordered value, how metric and statistic of what answers it begin, what could see it."""


def build(dossier: Dossier) -> Section:
    return Section(
        "declared",
        "Declared in the order",
        (
            Sub("Does the order make sense?"),
            *_checks(dossier),
            Sub("Fields of the order and whether they were seen"),
            Para(
                "A field that was only declared is what the order says, not what was found: nothing in this run "
                "has seen it."
            ),
            Table(
                columns=("Field", "Ordered", "Seen?", "What would see it"),
                widths=(22, 34, 24, 20),
                rows=tuple(_row(dossier, *field) for field in _fields(dossier)),
            ),
        ),
    )


def _checks(dossier: Dossier) -> tuple[Block, ...]:
    rows = [row for row in dossier.run.findings if dossier.declared(row)]
    if not rows:
        return absent("The order was not checked in this run.")
    return (
        Table(
            ("Row", "What the check says", "Verdict", "Evidence"),
            tuple(_check(dossier, row) for row in rows),
            widths=(12, 62, 16, 10),
        ),
    )


def _check(dossier: Dossier, row: Finding) -> Row:
    return Row(
        (
            Cell("\n".join(row.checklist), kind="id", anchor=f"f-{row.id}"),
            Cell(row.reason or text.finding_value(row)),
            Cell("", verdict=row.verdict),
            Cell("", refs=dossier.refs(row.evidence)),
        ),
        tone=VERDICTS[row.verdict].tone,
    )


def _row(dossier: Dossier, name: str, ordered: str, metrics: tuple[str, ...], needs: str) -> Row:
    seen = [
        row
        for row in dossier.run.findings
        if row.value is not None and f"{row.metric}.{row.statistic}".startswith(metrics)
    ]
    if not seen:
        return Row((Cell(name, kind="head"), Cell(ordered), Cell("○ declared, not measured"), Cell(f"needs {needs}")))
    rows = ", ".join(dict.fromkeys(identifier for row in seen for identifier in row.checklist))
    return Row(
        (Cell(name, kind="head"), Cell(ordered), Cell("measured" + (f", see {rows}" if rows else "")), Cell(text.NONE))
    )


def _fields(dossier: Dossier) -> list[Field]:
    circuit, port = dossier.circuit, dossier.circuit.port
    line = f"{text.rate(port.speed_bps)}, {port.duplex} duplex, autonegotiation {_on(port.autonegotiation)}"
    fields: list[Field] = [
        ("Access point", f"{circuit.access_point}, {circuit.region}", (), CLOUD_API),
        ("Port", f"{port.type} ({port.id})", (), EDGE_ROUTER),
        ("Port setting", line, ("portspec.speed", "portspec.duplex"), EDGE_ROUTER),
    ]
    for vbr in circuit.vbrs:
        fields += _fields_of(dossier, vbr)
    return [
        *fields,
        (
            "Prefixes on-prem",
            ", ".join(map(str, circuit.prefixes.onprem)),
            ("bgp.missing", "route.to_onprem"),
            EDGE_ROUTER,
        ),
        (
            "Prefixes in the cloud",
            ", ".join(map(str, circuit.prefixes.cloud)),
            ("bgp.missing", "route.to_cloud"),
            CLOUD_API,
        ),
    ]


def _fields_of(dossier: Dossier, vbr: Vbr) -> list[Field]:
    of = f" of {vbr.id}" if len(dossier.circuit.vbrs) > 1 else ""
    rate = ("throughput.udp", "capacity.sustained")
    fields: list[Field] = [
        (f"VLAN{of}", str(vbr.vlan) if vbr.vlan else "0 (untagged)", ("vlan",), EDGE_ROUTER),
        (f"Bandwidth{of}", text.rate(vbr.bandwidth_bps, dossier.circuit.rate_layer), rate, "paced UDP at this rate"),
        (f"MTU{of}", text.size(vbr.mtu), ("pmtu",), "a path MTU search"),
        (
            f"Link addresses{of}",
            f"{vbr.link.customer} customer, {vbr.link.cloud} cloud",
            ("portspec.link",),
            EDGE_ROUTER,
        ),
    ]
    if vbr.bgp:
        peers = f"AS {vbr.bgp.customer_as} customer, AS {vbr.bgp.cloud_as} cloud, MD5 {_on(vbr.bgp.md5)}"
        fields.append((f"BGP{of}", peers, ("bgp.established", "bgp.as"), EDGE_ROUTER))
    return fields


def _on(setting: bool) -> str:
    return "on" if setting else "off"
