"""Throughput over time, each direction, beside the ordered rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfharness.model import Direction, Layer, Measurement, Observation, Scope, Series
from perfharness.report import charts, drawing, text, words
from perfharness.report.blocks import Block, Cell, Chart, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier

NAME = "Throughput over time"
LEGEND = (
    "Counted at the receiver, one point for each interval of the tool, at the layer of the ordered rate (L2 where the "
    "order names none). The figures above leave out the warm-up; the curves show it."
)

UDP_COLUMNS = ("Load", "Paced at (payload)", "Burst", "Packet numbers", "Receive buffer", ">Lost at the end")
UDP_NOTE = (
    "Burst: packets sent for each look at the clock. Lost at the end: packets after the last one that arrived, which "
    "no gap in the numbers shows; they are counted from both ends' totals and are part of the loss."
)


def build(dossier: Dossier) -> Section:
    measured = _measured(dossier)
    if not measured:
        return Section("throughput", NAME, absent("No rate over time was measured in this run."))
    groups: dict[tuple[str, str, bool], list[tuple[Measurement, Series]]] = {}
    for item, series in measured:
        scope = item.task.scope
        key = (item.task.step, scope.pair, scope.direction is Direction.BOTH)
        groups.setdefault(key, []).extend((item, one) for one in series)
    blocks: list[Block] = []
    for (step, pair, both), members in groups.items():
        blocks.append(_chart(dossier, step, pair, both, members))
        wholes = {item.task.id: item for item, _ in members if item.parts}
        blocks += [_pairs(item) for item in wholes.values()]
    blocks.append(Para(LEGEND, "note"))
    blocks += _udp(dossier)
    return Section("throughput", NAME, tuple(blocks))


def _measured(dossier: Dossier) -> list[tuple[Measurement, tuple[Series, ...]]]:
    """The rates over time; of several pairs together their sum alone, since ten lines tell nothing."""
    found = [(item, tuple(one for one in item.series if one.kind == "rate")) for item in dossier.run.measurements]
    return [(item, series) for item, series in found if series]


def _pairs(item: Measurement) -> Table:
    """What each of several pairs did of a load."""
    ways = [way for way in (Direction.A_Z, Direction.Z_A) if any(one.direction is way for one in item.series)]
    rows = []
    for part in item.parts:
        seen = {(row.metric.split(".")[0], row.scope.direction): row for row in part.observations}
        cells = [
            Cell(_figure(seen.get((metric, way))), kind="num") for way in ways for metric in ("throughput", "loss")
        ]
        rows.append(Row((Cell(words.between(part.task.scope), kind="head"), *cells)))
    heads = [f">{name}{words.direction(way)}" for way in ways for name in ("", "Lost, ")]
    seconds = item.facts["together"]["seconds"]
    said = f"{item.task.id}: the pairs that made this load. All of them were sending for {seconds:.1f} s."
    return Table(("Pair", *heads), tuple(rows), caption=said)


def _figure(seen: Observation | None) -> str:
    if seen is None or not isinstance(seen.value, int | float):
        return text.NONE
    return text.rate(seen.value) if seen.unit == "bit/s" else text.ratio(seen.value)


def _chart(dossier: Dossier, step: str, pair: str, both: bool, members: list[tuple[Measurement, Series]]) -> Chart:
    scope = members[0][0].task.scope
    committed = _committed(dossier, scope)
    layer = (dossier.circuit.rate_layer or Layer.L2).value
    ordered = f"ordered {text.rate(committed)}" if committed else ""
    lines = [drawing.Line(series, _name(series)) for _, series in members]
    title = f"Step {step}" + (", both directions at once" if both else "")
    if dossier.several_pairs:
        title += f", {words.between(scope)}"
    return Chart(
        svg=charts.rates(lines, committed, ordered, layer, salt=f"rate-{step}-{pair}-{both}"),
        title=title,
        caption="; ".join(_spread(line.name, line.series) for line in lines)
        + (f"; {ordered}" if ordered else "")
        + ".",
    )


def _udp(dossier: Dossier) -> list[Block]:
    """How each UDP load was sent and received: what a doubt about its losses asks for first."""
    told = [
        (item, way, facts)
        for item in dossier.measured("throughput")
        if isinstance(item.facts.get("udp"), Mapping)
        for way, facts in item.facts["udp"].items()
    ]
    if not told:
        return []
    rows = tuple(_udp_row(item, way, facts) for item, way, facts in told)
    return [
        Sub("How the UDP loads were sent and received"),
        Table(UDP_COLUMNS, rows, small=True),
        Para(UDP_NOTE, "note"),
    ]


def _udp_row(item: Measurement, way: str, facts: Mapping[str, Any]) -> Row:
    many = f"{facts['processes']} × " if facts["processes"] > 1 else ""
    burst = facts["burst_packets"]
    tail = facts["tail_packets"]
    cells = (
        Cell(item.task.id, words.direction(Direction(way)), kind="head"),
        Cell(f"{many}{text.rate(facts['rate_bps'])}" if facts["rate_bps"] else "as fast as it can"),
        Cell("1 packet" if burst == 1 else f"{burst} packets"),
        Cell("64 bits" if facts["counters_64bit"] else "32 bits: wrong from packet 4,294,967,296 on"),
        Cell(*_buffer(facts)),
        Cell("unknown" if tail is None else text.count(tail), kind="num"),
    )
    return Row(cells)


def _buffer(facts: Mapping[str, Any]) -> tuple[str, str]:
    """What the receiver's sockets have, and how that compares with what was asked."""
    asked, got = facts["buffer_asked_bytes"], facts["buffer_got_bytes"]
    if got is None:
        return "unknown", "its sockets could not be looked at"
    if asked is None:
        return text.file_size(got), "the host's own"
    forced = ", beyond the host's limit" if facts["buffer_forced"] else ""
    return text.file_size(got), f"as asked{forced}" if got >= asked else f"of {text.file_size(asked)} asked"


def _name(series: Series) -> str:
    where = words.direction(series.direction)
    return where or series.label


def _spread(name: str, series: Series) -> str:
    """The curve in words, for those who do not see it."""
    return f"{name}: {text.rate(float(series.y.min()))} to {text.rate(float(series.y.max()))}"


def _committed(dossier: Dossier, scope: Scope) -> int | None:
    """The ordered rate of this pair, or of all of them; None for pairs that the order does not know."""
    if not scope.pairs or not set(scope.pairs) <= set(dossier.circuit.pairs):
        return None
    return dossier.circuit.committed_bps(scope.pairs[0])
