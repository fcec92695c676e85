"""Throughput over time, each direction, beside the ordered rate; what limited each load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from perfharness.model import Direction, Layer, Measurement, Observation, Scope, Series
from perfharness.report import drawing, loads, text, words
from perfharness.report.blocks import Block, Cell, Chart, Para, Row, Section, Sub, Table, absent
from perfharness.report.dossier import Dossier
from perfharness.report.sections.rfc6349 import limited

NAME = "Throughput over time"
LEGEND = (
    "Counted at the receiver, one point for each interval of the tool, at the layer of the ordered rate (L2 where the "
    "order names none). The figures above leave out the warm-up; the curves show it. Below them the share that was "
    "lost, of a UDP load itself or, beside TCP, of the probes, and the round trips of the probes."
)
LIMITED_COLUMNS = ("Load", "Limited by", "Why", ">Fairness")
LIMITED_NOTE = (
    "UDP is sent at the rate that is asked for: where that arrived nothing limited it. TCP takes what it gets, so "
    "something always limits it: its hosts, its window, or the path. Fairness is Jain's index over the streams: 1 "
    "where all have the same."
)
SECOND_NS = 10**9

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
    blocks += _limited(dossier)
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
    trips = [line for item, rate in _first(members) for line in _trips(item, rate)]
    lost = [line for item, rate in members for line in _lost(item, rate)]
    title = f"Step {step}" + (", both directions at once" if both else "")
    if dossier.several_pairs:
        title += f", {words.between(scope)}"
    said = [*(_spread(line.name, line.series) for line in lines), *map(_lost_text, lost), *map(_trip_text, trips)]
    return Chart(
        svg=loads.over_time(lines, lost, trips, committed, ordered, layer, salt=f"rate-{step}-{pair}-{both}"),
        title=title,
        caption="; ".join([*said, *([ordered] if ordered else [])]) + ".",
    )


def _first(members: list[tuple[Measurement, Series]]) -> list[tuple[Measurement, Series]]:
    """Of each measurement one of its rates: a load both ways has one stream of probes."""
    return list({item.task.id: (item, rate) for item, rate in reversed(members)}.values())[::-1]


def _trips(item: Measurement, rate: Series) -> list[drawing.Line]:
    """The round trips of its probes on the time of its rate."""
    way = item.task.scope.direction
    return [
        drawing.Line(replace(_as_of(one, rate), direction=way), words.direction(way) or one.label)
        for one in item.series
        if one.kind == "delay" and one.x.size and not one.service
    ][:1]


def _lost(item: Measurement, rate: Series) -> list[drawing.Line]:
    """What was lost of this direction's load or, where nobody counted its packets, of the probes both ways."""
    own = [one for one in item.series if one.kind == "load.loss" and one.direction is rate.direction]
    if own:
        return [drawing.Line(_as_of(one, rate), _name(rate)) for one in own]
    if item.task.scope.direction is Direction.BOTH and rate.direction is Direction.Z_A:
        return []  # the same probes as of the other direction
    return [
        drawing.Line(replace(_by_second(line.series), direction=rate.direction), f"{line.name}, probes")
        for line in _trips(item, rate)
    ]


def _as_of(series: Series, rate: Series) -> Series:
    """The same, its time counted from where that of the rate is."""
    return replace(series, x=series.x + (series.start_ns - rate.start_ns) / SECOND_NS, start_ns=rate.start_ns)


def _by_second(trips: Series) -> Series:
    """The share of probes without an answer, of those that left in each second."""
    second = np.floor(trips.x).astype(np.int64)
    first = int(second.min())
    sent = np.bincount(second - first)
    gone = np.bincount((second - first)[~np.isfinite(trips.y)], minlength=len(sent))
    seen = np.flatnonzero(sent)
    x = np.clip(first + seen + 0.5, trips.x.min(), trips.x.max())
    return replace(trips, x=x, y=gone[seen] / sent[seen], unit="1", kind="load.loss")


def _lost_text(line: drawing.Line) -> str:
    most = float(line.series.y.max())
    return f"{line.name}, lost at most {text.ratio(most)} in an interval" if most else f"{line.name}, nothing lost"


def _trip_text(line: drawing.Line) -> str:
    arrived = line.series.y[np.isfinite(line.series.y)]
    if not arrived.size:
        return f"{line.name}, no probe came back"
    return f"{line.name}, round trips {text.delay(float(arrived.min()))} to {text.delay(float(arrived.max()))}"


def _limited(dossier: Dossier) -> list[Block]:
    """What limited each load and why, and how evenly its streams fared."""
    rows = []
    for item in dossier.measured("throughput"):
        told = item.facts.get("limited_by", ())
        for way in dict.fromkeys(each["way"] for each in told):
            mine = [each for each in told if each["way"] == way]
            fair = (item.facts.get("fairness") or {}).get(way)
            cells = (
                Cell(item.task.id, words.direction(Direction(way)), kind="head"),
                Cell(limited(mine)),
                Cell(" ".join(reason for each in mine for reason in each["reasons"])),
                Cell(text.NONE if fair is None else f"{fair:.3f}", kind="num"),
            )
            rows.append(Row(cells))
    if not rows:
        return []
    return [Sub("What limited each load"), Table(LIMITED_COLUMNS, tuple(rows), small=True), Para(LIMITED_NOTE, "note")]


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
